/* SPDX-License-Identifier: Apache-2.0
 *
 * ONNX's Attention between Transposes that split and merge heads, or of rows with a number of heads, becomes the fused
 * one, which takes rows as they leave their matrix product and gives rows. One that has a cache, hides keys without a
 * mask, caps scores or shows them stays as it is. Requires no-op, reshape, chains and linear.
 */
#include "build.h"
#include "exec/attention.h"
#include "heads.h"
#include "masks.h"
#include "pass.h"
#include "passes.h"
#include <math.h>

/* Whether n gives softmax(scale * q k^T + mask) v and nothing else. */
static bool is_plain(const gr_node *n)
{
    const gr_att_params *p = n->params;
    if (!gr_is_op(n, "Attention") || !gr_out(n, Y) || gr_in(n, QUERY)->type.dtype != GR_FLOAT) return false;
    for (uint32_t i = PAST_KEY; i < n->nin; i++)
        if (gr_in(n, i)) return false;
    for (uint32_t o = PRESENT_KEY; o < n->nout; o++)
        if (gr_out(n, o) && (gr_out(n, o)->nuses || gr_out(n, o)->is_output)) return false;
    return !p->causal && p->softcap == 0 && p->left < 0 && p->right < 0 &&
           (p->precision == GR_UNDEFINED || p->precision == GR_FLOAT);
}

/* The rows [batch, tokens, heads * size] of an operand, and the size of a head in *size. */
static bool rows_of(gr_value *v, int64_t heads, gr_heads *out, int64_t *size)
{
    if (v->type.rank == 3) {
        *out = (gr_heads){.v = v, .heads = heads, .scale = 1};
    } else if (!gr_heads_of(v, false, false, out) || out->by_heads || out->v->type.rank != 3) {
        return false;
    }
    const gr_dim width = out->v->type.dims[2];
    *size = out->heads > 0 && gr_dim_known(width) ? width.k / out->heads : 0;
    return *size > 0;
}

/* The rows that the result is merged to, `width` wide, or NULL. */
static gr_value *end_of(const gr_node *n, int64_t width)
{
    gr_value *y = n->out[0];
    if (y->type.rank == 3) return y;
    const gr_node *flip = y->nuses == 1 && !y->is_output ? y->uses->user : NULL;
    if (!gr_is_op(flip, "Transpose") || !gr_has_order(flip, "0213")) return NULL;
    const gr_value *z = flip->out[0];
    const gr_node *merge = z->nuses == 1 && !z->is_output ? z->uses->user : NULL;
    if (!gr_is_op(merge, "Reshape") || gr_in(merge, 0) != z) return NULL;
    const gr_type *to = &merge->out[0]->type;
    const bool rows = to->rank == 3 && gr_dim_same(to->dims[0], z->type.dims[0]) &&
                      gr_dim_same(to->dims[1], z->type.dims[1]) && gr_dim_is(to->dims[2], width);
    return rows ? merge->out[0] : NULL;
}

/* The mask as floats to add; *ok is false where it cannot be made. */
static gr_value *mask_of(gr_build *b, gr_value *mask, bool *ok)
{
    *ok = true;
    if (!mask || mask->type.dtype == GR_FLOAT) return mask;
    return gr_mask_build(b, &(gr_masks){.n = 1, .steps = {{.cond = mask, .fill = -INFINITY, .factor = 1}}}, ok);
}

static bool miss(gr_graph *g, const gr_node *n, const char *why)
{
    gr_miss_at(g, "attention-rows", n, NULL, 1, why);
    return false;
}

static gr_status rewrite(gr_node *n, bool *done, gr_err *err)
{
    const gr_att_params *p = n->params;
    gr_heads q, k, v;
    int64_t head, k_head, v_head;
    if (!rows_of(gr_in(n, QUERY), p->heads, &q, &head) || !rows_of(gr_in(n, KEY), p->kv_heads, &k, &k_head) ||
        !rows_of(gr_in(n, VALUE), p->kv_heads, &v, &v_head) || v.scale != 1)
        return miss(n->graph, n, "queries, keys or values are not split from rows"), GR_OK;
    gr_value *mask = gr_in(n, MASK), *end = end_of(n, q.heads * v_head);
    if (k.heads != v.heads || q.heads % k.heads || head != k_head) return GR_OK;
    if (mask && mask->type.dtype != GR_FLOAT && mask->type.dtype != GR_BOOL) return GR_OK;
    if (!end) return miss(n->graph, n, "its heads are not merged to rows"), GR_OK;
    /* From opset 24 on a short mask hides the keys that it does not name. */
    if (mask && (mask->type.rank < 1 || !gr_dim_same(mask->type.dims[mask->type.rank - 1], k.v->type.dims[1])))
        return miss(n->graph, n, "its mask may be shorter than the keys"), GR_OK;
    bool ok;
    gr_build b = {n->graph, n, err};
    const double scale = (p->scaled ? (double)p->scale : 1 / sqrt((double)head)) * q.scale * k.scale;
    gr_attr attrs[4] = {gr_attr_of_int("num_heads", q.heads), gr_attr_of_float("scale", (float)scale),
                        gr_attr_of_int("empty_is_zero", 1)};
    const size_t count = k.heads == q.heads ? 3 : 4;
    if (count == 4) attrs[3] = gr_attr_of_int("kv_num_heads", k.heads);
    gr_value *in[] = {q.v, k.v, v.v, mask_of(&b, mask, &ok)};
    gr_value *y = ok ? gr_build_node(&b, "graphrun", "Attention", gr_build_attrs(&b, count, attrs), mask ? 4 : 3, in) : NULL;
    if (!y) return err ? err->status : GR_ENOMEM;
    y->def->name = n->name;
    y->type = end->type;
    gr_replace_uses(end, y);
    gr_take_name(y, end);
    *done = true;
    return GR_OK;
}

gr_status gr_pass_attention_rows(gr_graph *g, int *hits, gr_err *err)
{
    int more = 0;
    for (gr_node *n = g->first; n && !gr_pass_stopped(g); n = n->next) {
        bool done = false;
        if (!is_plain(n)) continue;
        GR_TRY(rewrite(n, &done, err));
        *hits += done;
    }
    return *hits ? gr_pass_common(g, &more, err) : GR_OK; /* layers make floats of their masks alike */
}
