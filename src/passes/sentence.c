/* SPDX-License-Identifier: Apache-2.0
 *
 * Sentence embeddings: sum(x * mask) / max(sum(mask), c) over the tokens becomes MeanPool, x / max(|x|, c) Normalize,
 * found from their division. The mask may have been expanded to the width of x for its sum; the length may be ReduceL2
 * or written out. Requires no-op and expand.
 */
#include "build.h"
#include "heads.h"
#include "pass.h"
#include "passes.h"

static gr_value *unexpanded(gr_value *v)
{
    gr_node *n = gr_maker(v, "Expand");
    return n ? gr_in(n, 0) : v;
}

/* v of max(v, least), however it is written; NULL if there is no such bound. */
static gr_value *bounded(gr_value *v, double *least)
{
    gr_node *clip = gr_maker(v, "Clip"), *max = gr_maker(v, "Max");
    float min = 0, most = 0;
    if (clip && clip->op->since < 11) {
        if (!gr_attr_find(clip->attrs, "min") || gr_attr_float(clip->attrs, "min", 0, &min, NULL) != GR_OK) return NULL;
        if (gr_attr_float(clip->attrs, "max", 3.4e38f, &most, NULL) != GR_OK || most < 3.4e38f) return NULL;
        *least = (double)min;
        return gr_in(clip, 0);
    }
    if (clip) return !gr_in(clip, 2) && gr_scalar_of(gr_in(clip, 1), least) ? gr_in(clip, 0) : NULL;
    if (!max || max->nin != 2) return NULL;
    if (gr_scalar_of(gr_in(max, 1), least)) return gr_in(max, 0);
    return gr_scalar_of(gr_in(max, 0), least) ? gr_in(max, 1) : NULL;
}

/* The input of a reduction of v over one axis, or NULL. */
static gr_value *reduced(const gr_value *v, const char *op, int axis_of_three, bool *keeps)
{
    gr_node *n = gr_maker(v, op);
    int64_t count, axes[GR_MAX_RANK];
    if (!n || !gr_reduced_axes(n, &count, axes, keeps) || count != 1) return NULL;
    gr_value *x = gr_in(n, 0);
    return axes[0] == (axis_of_three >= 0 ? axis_of_three : x->type.rank - 1) ? x : NULL;
}

/* ---- the mean ---- */

/* Whether e, which is summed, has the mask m [batch, tokens, 1] for every column. */
static bool same_mask(gr_value *e, const gr_value *m)
{
    if (unexpanded(e) == m) return true;
    const gr_node *n = m->def;
    const bool widened = gr_is_op(n, "Unsqueeze") || gr_is_op(n, "Reshape");
    return widened && gr_in(n, 0) == e && e->type.rank == 2 && gr_dim_same(e->type.dims[0], m->type.dims[0]) &&
           gr_dim_same(e->type.dims[1], m->type.dims[1]);
}

static gr_value *mean_of(gr_build *b, gr_node *div)
{
    bool keeps, mask_keeps;
    double least = 0;
    gr_value *below = bounded(gr_in(div, 1), &least);
    gr_value *product = reduced(gr_in(div, 0), "ReduceSum", 1, &keeps);
    gr_value *e = below ? reduced(below, "ReduceSum", 1, &mask_keeps) : NULL;
    gr_node *mul = product ? gr_maker(product, "Mul") : NULL;
    if (!e || !mul || keeps || product->type.rank != 3 || div->out[0]->type.rank != 2) return NULL;
    for (uint32_t i = 0; i < 2; i++) {
        gr_value *x = gr_in(mul, i), *m = unexpanded(gr_in(mul, 1 - i));
        if (m->type.rank != 3 || !gr_dim_is(m->type.dims[2], 1) || !same_mask(e, m)) continue;
        /* Without its axis a sum over [batch, tokens, 1] stands below the batch only if it keeps one. */
        if (e->type.rank == 2 ? !mask_keeps : mask_keeps) continue;
        if (x->type.dtype != GR_FLOAT || x->type.rank != 3 || !gr_dim_same(x->type.dims[0], m->type.dims[0]) ||
            !gr_dim_same(x->type.dims[1], m->type.dims[1]))
            continue;
        gr_attr attr = gr_attr_of_float("min", (float)least);
        gr_value *in[] = {x, m};
        return gr_build_node(b, "graphrun", "MeanPool", gr_build_attrs(b, 1, &attr), 2, in);
    }
    gr_miss(b->g, "mean-pool", div, mul, "what is summed is not a product with the mask that is counted");
    return NULL;
}

/* ---- the length ---- */

static bool is_square(gr_value *v, const gr_value *x)
{
    double two;
    gr_node *mul = gr_maker(v, "Mul"), *pow = gr_maker(v, "Pow");
    if (mul) return gr_in(mul, 0) == x && gr_in(mul, 1) == x;
    return pow && gr_in(pow, 0) == x && gr_scalar_of(gr_in(pow, 1), &two) && two == 2;
}

static gr_value *normalized(gr_build *b, gr_node *div)
{
    bool keeps = false;
    double least = 0, half = 0;
    gr_value *x = gr_in(div, 0), *length = bounded(unexpanded(gr_in(div, 1)), &least), *inner = NULL;
    if (!length || !x || x->type.dtype != GR_FLOAT || x->type.rank < 1) return NULL;
    gr_node *root = gr_maker(length, "Sqrt"), *power = gr_maker(length, "Pow");
    if (power && gr_scalar_of(gr_in(power, 1), &half) && half == 0.5) root = power;
    bool ok = reduced(length, "ReduceL2", -1, &keeps) == x;
    if (root) {
        inner = reduced(gr_in(root, 0), "ReduceSum", -1, &keeps);
        ok = inner ? is_square(inner, x) : reduced(gr_in(root, 0), "ReduceSumSquare", -1, &keeps) == x;
    }
    if (!ok || !keeps) return NULL;
    gr_attr attr = gr_attr_of_float("min", (float)least);
    return gr_build_node(b, "graphrun", "Normalize", gr_build_attrs(b, 1, &attr), 1, &x);
}

gr_status gr_pass_sentence(gr_graph *g, int *hits, gr_err *err)
{
    for (gr_node *n = g->first, *next; n && !gr_pass_stopped(g); n = next) {
        next = n->next;
        if (!gr_is_op(n, "Div") || !n->out[0] || n->out[0]->konst) continue;
        gr_err failed = {GR_OK, ""};
        gr_build b = {g, n, &failed};
        gr_value *old = n->out[0], *y = mean_of(&b, n);
        if (!y && failed.status == GR_OK) y = normalized(&b, n);
        if (failed.status == GR_ENOMEM) return gr_nomem(err);
        if (!y || y->type.rank != old->type.rank) continue;
        y->def->name = n->name;
        y->type = old->type;
        gr_replace_uses(old, y);
        gr_take_name(y, old);
        ++*hits;
    }
    return GR_OK;
}
