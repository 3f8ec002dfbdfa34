/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun.Projections: several linear layers of one x in one step, y_i = x W_i + bias_i. Queries, keys and values of
 * self-attention, or keys and values of cross-attention. Inputs are x, W_0, bias_0, W_1, bias_1, ...; a bias may be
 * absent. The weights stay where they are: each is packed as for a layer of its own, and gives the same bits.
 */
#include "elem.h"
#include "exec/product.h"
#include "graph/spell.h"
#include <stdio.h>

typedef struct params {
    bool trans; /* every W_i is stored as its transpose */
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    if (!p) return gr_nomem(err);
    *out = p;
    return gr_attr_bool(attrs, "transB", false, &p->trans, err);
}

static gr_status infer_one(const gr_infer *c, uint32_t o, gr_err *err)
{
    const bool trans = GR_PARAMS(params, c)->trans;
    const uint32_t w = 1 + 2 * o, bias = w + 1;
    const gr_type *x = c->in[0];
    if (!gr_has(c, w)) return gr_fail(err, GR_EMODEL, "input %u, the weights of output %u, is missing", w, o);
    if (!gr_rank_known(c, 0) || !gr_rank_known(c, w)) return gr_set(c, o, x->dtype, GR_RANK_UNKNOWN, NULL);
    const gr_type *m = c->in[w];
    if (m->rank != 2) return gr_fail(err, GR_EMODEL, "input %u has rank %d, expected a matrix", w, m->rank);
    if (x->rank < 1) return gr_fail(err, GR_EMODEL, "input 0 has rank 0, expected rows");
    const gr_dim inner = m->dims[trans ? 1 : 0], width = m->dims[trans ? 0 : 1], k = x->dims[x->rank - 1];
    if (gr_dim_known(inner) && gr_dim_known(k) && inner.k != k.k)
        return gr_fail(err, GR_EMODEL, "rows of %lld elements and a matrix of %lld rows", (long long)k.k,
                       (long long)inner.k);
    if (gr_rank_known(c, bias)) {
        const gr_type *b = c->in[bias];
        if (b->rank != 1 || (gr_dim_known(b->dims[0]) && gr_dim_known(width) && b->dims[0].k != width.k))
            return gr_fail(err, GR_EMODEL, "input %u is not a row for output %u", bias, o);
    }
    gr_dim *dims = gr_dims(c, x->rank);
    memcpy(dims, x->dims, (size_t)x->rank * sizeof *dims);
    dims[x->rank - 1] = width;
    return gr_set(c, o, x->dtype, x->rank, dims);
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    if (!gr_has(c, 0)) return gr_fail(err, GR_EMODEL, "input 0 is missing");
    for (uint32_t i = 0; i < c->nin; i++) {
        if (!gr_has(c, i)) continue;
        GR_TRY(gr_require(c, i, GR_T_FLOATS, err));
        GR_TRY(gr_require_same(c, 0, i, err));
    }
    for (uint32_t o = 0; o < c->nout; o++) GR_TRY(infer_one(c, o, err));
    return GR_OK;
}

static gr_product product_of(const gr_step *s, uint32_t o)
{
    const gr_tensor *x = s->in[0], *w = s->in[1 + 2 * o];
    const bool trans = GR_PARAMS(params, s)->trans;
    const int64_t k = w->dims[trans ? 1 : 0], n = w->dims[trans ? 0 : 1];
    return (gr_product){.dtype = x->dtype,
                        .m = gr_extent(x, 0, x->rank - 1),
                        .n = n,
                        .k = k,
                        .a_row = k,
                        .a_col = 1,
                        .b_row = trans ? 1 : n,
                        .b_col = trans ? k : 1,
                        .a = 0,
                        .b = (int)(1 + 2 * o),
                        .bias = gr_step_in(s, 2 + 2 * o) ? (int)(2 + 2 * o) : -1,
                        .residual = -1,
                        .addend = -1,
                        .alpha = 1,
                        .beta = 1};
}

static bool prepare(gr_step *s, gr_product_prepare *one, gr_why *why)
{
    gr_product p[GR_GEMM_MAX];
    if (s->nout > GR_GEMM_MAX) return gr_decline(why, "%u products", s->nout);
    for (uint32_t o = 0; o < s->nout; o++) p[o] = product_of(s, o);
    return gr_products_prepare(s, (int)s->nout, p, one, why);
}

static bool prepare_int8(gr_step *s, gr_why *why) { return prepare(s, gr_product_prepare_int8, why); }
static bool prepare_dnnl(gr_step *s, gr_why *why) { return prepare(s, gr_product_prepare_dnnl, why); }
static bool prepare_packed(gr_step *s, gr_why *why) { return prepare(s, gr_product_prepare_packed, why); }

static gr_status ref_run(const gr_step *s, gr_err *err)
{
    (void)err;
    for (uint32_t o = 0; o < s->nout; o++) {
        const gr_product p = product_of(s, o);
        for (int64_t i = 0; s->out[o] && i < s->out[o]->elements; i++) {
            const int64_t row = i / p.n, j = i % p.n;
            double y = 0;
            for (int64_t k = 0; k < p.k; k++)
                y += gr_at_unaligned(s->in[0], row * p.k + k) * gr_at_unaligned(s->in[p.b], k * p.b_row + j * p.b_col);
            gr_at_put(s->out[o], i, p.bias < 0 ? y : y + gr_at_unaligned(s->in[p.bias], j));
        }
    }
    return GR_OK;
}

static const gr_kernel kernels[] = {{"int8", prepare_int8, gr_products_run, gr_products_release},
                                    {"dnnl", prepare_dnnl, gr_products_run, gr_products_release},
                                    {"packed", prepare_packed, gr_products_run, gr_products_release},
                                    {"ref", NULL, ref_run, NULL},
                                    {0}};

enum { SPELLED = 64 };

static gr_status spell(gr_spell *s)
{
    bool trans;
    char inputs[SPELLED * 32] = "x", outputs[SPELLED * 16] = "";
    int in = 1, out = 0;
    if (s->nout > SPELLED)
        return gr_fail(s->err, GR_EUNSUPPORTED, "it has %u outputs, more than %d", s->nout, SPELLED);
    GR_TRY(gr_attr_bool(s->node->attrs, "transB", false, &trans, s->err));
    for (uint32_t o = 0; o < s->nout; o++) {
        in += snprintf(inputs + in, sizeof inputs - (size_t)in, ", w_%u, b_%u", o, o);
        out += snprintf(outputs + out, sizeof outputs - (size_t)out, "%sy_%u", o ? ", " : "", o);
    }
    gr_spell_begin(s, inputs, outputs);
    for (uint32_t o = 0; o < s->nout; o++) {
        bool bias = gr_spell_in(s, 2 + 2 * o);
        if (!gr_spell_wants(s, o)) continue;
        if (trans) gr_spell_node(s, "columns_%u = Transpose <perm = [1, 0]> (w_%u)", o, o);
        gr_spell_node(s, "%s_%u = MatMul (x, %s_%u)", bias ? "product" : "y", o, trans ? "columns" : "w", o);
        if (bias) gr_spell_node(s, "y_%u = Add (product_%u, b_%u)", o, o, o);
    }
    return GR_OK;
}

const gr_op op_projections[] = {GR_FUSED_ROW("Projections", 2, -1, -1, GR_OP_UNALIGNED | GR_OP_NARROW | GR_OP_ROWS), {0}};
