/* SPDX-License-Identifier: Apache-2.0
 *
 * WeightOnlyLinear: y = activation(x dequantized(w) + bias) + residual, a linear layer whose weights of 2 to 8 bits stay
 * so in memory. Inputs x, w, scale, zero?, bias?, residual?; attributes as DequantizeLinear's (axis, block_size) and
 * Linear's (transB, activation). Passes make it; w is [k, n], or [n, k] with transB.
 */
#include "act.h"
#include "codes.h"
#include "elem.h"
#include "exec/columns.h"
#include "exec/int8.h"
#include "graph/spell.h"
#include <stdio.h>

enum { X, W, SCALE, ZERO, BIAS, RESIDUAL };

typedef struct params {
    bool trans;
    int64_t axis, block;
    enum gr_gemm_act act;
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    *out = p;
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_bool(attrs, "transB", false, &p->trans, err));
    GR_TRY(gr_attr_int_in(attrs, "axis", 1, 0, 1, &p->axis, err));
    GR_TRY(gr_attr_int_in(attrs, "block_size", 0, 0, INT64_MAX, &p->block, err));
    return gr_act_parse(attrs, &p->act, err);
}

/* ---- inference ---- */

static bool differ(gr_dim a, int64_t b) { return gr_dim_known(a) && a.k != b; }

static gr_status check_parameter(const gr_infer *c, uint32_t i, gr_err *err)
{
    const params *p = c->params;
    if (!gr_rank_known(c, i)) return GR_OK;
    const gr_type *w = c->in[W], *s = c->in[i];
    bool one = true;
    for (int d = 0; d < s->rank; d++) one = one && gr_dim_is(s->dims[d], 1);
    if (one && (s->rank < 2 || !p->block)) return GR_OK;
    if (s->rank != (p->block ? 2 : 1))
        return gr_fail(err, GR_EMODEL, "input %u has rank %d, expected %d", i, s->rank, p->block ? 2 : 1);
    for (int d = 0; d < s->rank; d++) {
        const gr_dim of = w->dims[p->block ? d : (int)p->axis];
        if (!gr_dim_known(of)) continue;
        const int64_t want = p->block && d == p->axis ? of.k / p->block + (of.k % p->block != 0) : of.k;
        if (differ(s->dims[d], want))
            return gr_fail(err, GR_EMODEL, "dimension %d of input %u is %lld, expected %lld", d, i,
                           (long long)s->dims[d].k, (long long)want);
    }
    return GR_OK;
}

static gr_status check_added(const gr_infer *c, const gr_dim *dims, int rank, gr_err *err)
{
    for (uint32_t i = BIAS; i <= RESIDUAL; i++) {
        const int want = i == BIAS ? 1 : rank;
        if (!gr_rank_known(c, i)) continue;
        const gr_type *t = c->in[i];
        if (t->rank != want) return gr_fail(err, GR_EMODEL, "input %u has rank %d, expected %d", i, t->rank, want);
        for (int d = 0; d < want; d++)
            if (gr_dim_known(dims[rank - want + d]) && differ(t->dims[d], dims[rank - want + d].k))
                return gr_fail(err, GR_EMODEL, "dimension %d of input %u is %lld, expected %lld", d, i,
                               (long long)t->dims[d].k, (long long)dims[rank - want + d].k);
    }
    return GR_OK;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const params *p = c->params;
    if (!gr_has(c, X) || !gr_has(c, W) || !gr_has(c, SCALE))
        return gr_fail(err, GR_EMODEL, "an operand or the scale is missing");
    GR_TRY(gr_require(c, W, GR_T_BYTES | GR_T_TINY, err));
    GR_TRY(gr_require_same(c, ZERO, W, err));
    static const uint32_t floats[] = {X, SCALE, BIAS, RESIDUAL};
    for (int i = 0; i < 4; i++) GR_TRY(gr_require(c, floats[i], GR_T(FLOAT), err));
    if (!gr_rank_known(c, X) || !gr_rank_known(c, W)) return gr_set(c, 0, GR_FLOAT, GR_RANK_UNKNOWN, NULL);
    const gr_type *x = c->in[X], *w = c->in[W];
    if (w->rank != 2) return gr_fail(err, GR_EMODEL, "the weights have rank %d, expected a matrix", w->rank);
    if (x->rank < 1) return gr_fail(err, GR_EMODEL, "an operand of a matrix product has rank 0");
    GR_TRY(check_parameter(c, SCALE, err));
    GR_TRY(check_parameter(c, ZERO, err));
    if (gr_has(c, ZERO) && gr_rank_known(c, ZERO) && gr_rank_known(c, SCALE) && c->in[ZERO]->rank != c->in[SCALE]->rank)
        return gr_fail(err, GR_EMODEL, "the zero point does not have the shape of the scale");
    const gr_dim rows = w->dims[p->trans], k = x->dims[x->rank - 1];
    if (gr_dim_known(rows) && differ(k, rows.k))
        return gr_fail(err, GR_EMODEL, "a product of matrices with %lld columns and %lld rows", (long long)k.k,
                       (long long)rows.k);
    gr_dim *dims = gr_dims(c, x->rank);
    for (int d = 0; d < x->rank - 1; d++) dims[d] = x->dims[d];
    dims[x->rank - 1] = w->dims[!p->trans];
    GR_TRY(check_added(c, dims, x->rank, err));
    return gr_set(c, 0, GR_FLOAT, x->rank, dims);
}

/* ---- weights as floats ---- */

/* Scale and zero point of element (i, j) of x's [k, n] are number i / k_each * k_step + j / n_each * n_step. */
typedef struct layout {
    int64_t k, n, k_each, k_step, n_each, n_step;
    bool trans;
} layout;

static layout layout_of(const gr_step *s)
{
    const params *p = s->params;
    const gr_tensor *w = s->in[W], *scale = s->in[SCALE];
    layout l = {.k = w->dims[p->trans], .n = w->dims[!p->trans], .k_each = 1, .n_each = 1, .trans = p->trans};
    const bool of_rows = (p->axis == 0) != p->trans; /* the axis of scales is that of k */
    if (scale->elements == 1) return l;
    if (!p->block) {
        *(of_rows ? &l.k_step : &l.n_step) = 1;
        return l;
    }
    *(of_rows ? &l.k_each : &l.n_each) = p->block;
    const int64_t row = scale->dims[1]; /* strides in the tensor of scales, which is ordered as w */
    l.k_step = p->trans ? 1 : row;
    l.n_step = p->trans ? row : 1;
    return l;
}

static void factor_of(const gr_step *s, const layout *l, int64_t i, int64_t j, float *scale, int32_t *zero)
{
    const int64_t at = i / l->k_each * l->k_step + j / l->n_each * l->n_step;
    const gr_tensor *z = gr_step_in(s, ZERO);
    memcpy(scale, (const float *)s->in[SCALE]->data + at, sizeof *scale);
    *zero = 0;
    if (z) gr_codes_load(z->dtype, z->data, z->elements == 1 ? 0 : at, 1, zero);
}

/* One column of w [n, k]; its elements go `step` apart. */
static void unpack_column(const gr_step *s, const layout *l, int64_t j, int64_t step, float *to)
{
    float scale = 0;
    int32_t codes[GR_SPAN], zero = 0;
    const int64_t each = l->k_step ? l->k_each : l->k;
    for (int64_t i = 0, m; i < l->k; i += m) {
        m = each - i % each < GR_SPAN ? each - i % each : GR_SPAN;
        if (m > l->k - i) m = l->k - i;
        if (i == 0 || l->k_step) factor_of(s, l, i, j, &scale, &zero);
        gr_codes_load(s->in[W]->dtype, s->in[W]->data, j * l->k + i, m, codes);
        for (int64_t e = 0; e < m; e++) to[(i + e) * step] = (float)(codes[e] - zero) * scale;
    }
}

enum { TOGETHER = 32 }; /* columns, at most */

/* Columns [first, first + count) of w [k, n]; its rows go `stride` apart. */
static void unpack_rows(const gr_step *s, const layout *l, int64_t first, int64_t count, int64_t stride, float *to)
{
    float scale[TOGETHER];
    int32_t zero[TOGETHER], codes[TOGETHER];
    for (int64_t i = 0; i < l->k; i++, to += stride) {
        if (i == 0 || (l->k_step && i % l->k_each == 0))
            for (int64_t j = 0; j < count; j++) factor_of(s, l, i, first + j, &scale[j], &zero[j]);
        gr_codes_load(s->in[W]->dtype, s->in[W]->data, i * l->n + first, count, codes);
        for (int64_t j = 0; j < count; j++) to[j] = (float)(codes[j] - zero[j]) * scale[j];
    }
}

/* For columns.h: columns of [n, k] lie k apart. */
static void unpack(const gr_step *s, int64_t first, int64_t count, float *to)
{
    const layout l = layout_of(s);
    if (!l.trans) unpack_rows(s, &l, first, count, count, to);
    for (int64_t j = 0; l.trans && j < count; j++) unpack_column(s, &l, first + j, 1, to + j * l.k);
}

/* For int8.h: in rows. */
static void columns_of(const void *step, int64_t first, int64_t count, int64_t stride, float *to, float *units)
{
    const gr_step *s = step;
    const layout l = layout_of(s);
    int32_t zero;
    for (int64_t j = 0; !l.k_step && j < count; j++) factor_of(s, &l, 0, first + j, &units[j], &zero);
    if (!l.trans) unpack_rows(s, &l, first, count, stride, to);
    for (int64_t j = 0; l.trans && j < count; j++) unpack_column(s, &l, first + j, stride, to + j);
}

/* ---- kernels ---- */

static int64_t rows_of(const gr_step *s, int64_t n) { return s->rows ? s->rows->count : n ? s->out[0]->elements / n : 0; }
static const float *floats_of(const gr_step *s, uint32_t i) { return gr_step_in(s, i) ? s->in[i]->data : NULL; }

typedef struct bytes {
    layout l;
    const gr_pack *pack;
    gr_packs *own; /* if the step has none */
} bytes;

static bool prepare_int8(gr_step *s, gr_why *why)
{
    const params *p = s->params;
    const gr_tensor *w = s->in[W], *zero = gr_step_in(s, ZERO);
    if (s->precision != GR_PRECISION_INT8) return gr_decline(why, "not asked for");
    bytes *b = GR_NEW(s->arena, bytes);
    if (!b) return gr_decline(why, "out of memory");
    const layout l = b->l = layout_of(s);
    if (!w->is_const || !s->in[SCALE]->is_const || (zero && !zero->is_const))
        return gr_decline(why, "the weights are not constant");
    if (!gr_int8_wants(l.k, l.n)) return gr_decline(why, "a matrix of %lld x %lld", (long long)l.k, (long long)l.n);
    if (!s->packs) b->own = gr_packs_new(NULL);
    gr_packs *packs = s->packs ? s->packs : b->own;
    const gr_pack_key key = {.data = w->data, .dtype = w->dtype, .rows = l.k, .cols = l.n, .row = l.trans ? 1 : l.n,
                             .col = l.trans ? l.k : 1, .beside = {s->in[SCALE]->data, zero ? zero->data : NULL},
                             .form = p->block * 2 + p->axis};
    s->scratch_size = gr_int8_rows_size(s->out[0]->elements / l.n, l.k);
    b->pack = packs && s->scratch_size != SIZE_MAX ? gr_int8_pack(packs, key, w->size, columns_of, s) : NULL;
    s->flops = 2.0 * (double)s->out[0]->elements * (double)l.k;
    s->state = b;
    if (b->pack) return true;
    gr_packs_free(b->own);
    return gr_decline(why, "out of memory for packed weights");
}

static gr_status run_int8(const gr_step *s, gr_err *err)
{
    const bytes *b = s->state;
    const layout *l = &b->l;
    (void)err;
    const gr_gemm g = {.m = rows_of(s, l->n), .n = l->n, .k = l->k, .a = s->in[X]->data, .lda = l->k, .alpha = 1,
                       .packed = b->pack->data, .bias = floats_of(s, BIAS), .residual = floats_of(s, RESIDUAL),
                       .act = GR_PARAMS(params, s)->act, .c = s->out[0]->data, .ldc = l->n};
    gr_int8_quantize(g.m, g.k, g.a, g.lda, s->scratch);
    gr_int8_run(&g, s->scratch);
    return GR_OK;
}

static void release_int8(gr_step *s)
{
    const bytes *b = s->state;
    if (b) gr_packs_free(b->own);
    s->state = NULL;
}

static bool prepare(gr_step *s, gr_why *why)
{
    gr_columns *c = GR_NEW(s->arena, gr_columns);
    if (!c) return gr_decline(why, "out of memory");
    const layout l = layout_of(s);
    *c = (gr_columns){.m = l.n ? s->out[0]->elements / l.n : 0, .n = l.n, .k = l.k, .unpack = unpack, .room = l.k,
                      .by_column = l.trans};
    s->scratch_size = 0;
    if (!gr_columns_prepare(c, s, &s->scratch_size)) return gr_decline(why, "sizes overflow");
    s->flops = 2.0 * (double)s->out[0]->elements * (double)l.k;
    s->state = c;
    return true;
}

static gr_status run(const gr_step *s, gr_err *err)
{
    const params *p = s->params;
    (void)err;
    if (s->out[0]->elements)
        gr_columns_run(s->state, s, rows_of(s, ((const gr_columns *)s->state)->n), s->in[X]->data, floats_of(s, BIAS),
                       floats_of(s, RESIDUAL), p->act, s->out[0]->data);
    return GR_OK;
}

static gr_status ref_run(const gr_step *s, gr_err *err)
{
    const params *p = s->params;
    const layout l = layout_of(s);
    const gr_tensor *w = s->in[W], *bias = gr_step_in(s, BIAS), *residual = gr_step_in(s, RESIDUAL);
    (void)err;
#pragma omp parallel for if ((double)s->out[0]->elements * (double)l.k > 32768)
    for (int64_t at = 0; at < s->out[0]->elements; at++) {
        const int64_t row = at / l.n, j = at % l.n;
        double y = 0;
        for (int64_t i = 0; i < l.k; i++) {
            float scale;
            int32_t zero, code;
            factor_of(s, &l, i, j, &scale, &zero);
            gr_codes_load(w->dtype, w->data, l.trans ? j * l.k + i : i * l.n + j, 1, &code);
            y += gr_at(s->in[X], row * l.k + i) * (double)((float)(code - zero) * scale);
        }
        y = gr_act_value(y + (bias ? gr_at(bias, j) : 0), p->act);
        gr_at_put(s->out[0], at, y + (residual ? gr_at(residual, at) : 0));
    }
    return GR_OK;
}

static const gr_kernel kernels[] = {{"int8", prepare_int8, run_int8, release_int8}, {"columns", prepare, run, NULL}, {"ref", NULL, ref_run, NULL}, {0}};

static gr_status spell(gr_spell *s)
{
    const gr_attrs attrs = s->node->attrs;
    const gr_dtype codes = gr_spell_dtype(s, W), dtype = gr_spell_dtype(s, X);
    int64_t axis, block;
    bool trans, bias = gr_spell_in(s, BIAS), residual = gr_spell_in(s, RESIDUAL), zero = gr_spell_in(s, ZERO);
    const char *how;
    GR_TRY(gr_attr_bool(attrs, "transB", false, &trans, s->err));
    GR_TRY(gr_attr_int(attrs, "axis", 1, &axis, s->err));
    GR_TRY(gr_attr_int(attrs, "block_size", 0, &block, s->err));
    GR_TRY(gr_attr_string(attrs, "activation", "", &how, s->err));
    const bool one = !block && gr_spell_rank(s, SCALE) == 1 && gr_spell_dim(s, SCALE, 0) == 1;
    const int64_t needs = gr_dtype_bits(codes) < 4 ? 25 : gr_dtype_bits(codes) < 8 || block ? 21 : 13;
    if (s->opset < needs)
        return gr_fail(s->err, GR_EUNSUPPORTED, "its weights need DequantizeLinear of opset %lld", (long long)needs);
    gr_spell_begin(s, "x, w, scale, zero, bias, residual", "y");
    if (one) {
        gr_spell_node(s, "none = Constant <value = int64[0] {}> ()");
        gr_spell_node(s, "scale_one = Reshape (scale, none)");
        if (zero) gr_spell_node(s, "zero_one = Reshape (zero, none)");
    }
    char size[48] = "";
    if (block) snprintf(size, sizeof size, ", block_size = %lld", (long long)block);
    gr_spell_node(s, "matrix = DequantizeLinear <axis = %lld%s> (w, scale%s%s%s)", (long long)axis, size,
                  one ? "_one" : "", zero ? ", zero" : "", zero && one ? "_one" : "");
    if (trans) gr_spell_node(s, "columns = Transpose <perm = [1, 0]> (matrix)");
    gr_spell_node(s, "product = MatMul (x, %s)", trans ? "columns" : "matrix");
    if (bias) gr_spell_node(s, "biased = Add (product, bias)");
    gr_spell_activation(s, residual ? "activated" : "y", how, bias ? "biased" : "product", dtype);
    if (residual) gr_spell_node(s, "y = Add (activated, residual)");
    return GR_OK;
}

const gr_op op_weight_only[] = {
    {"WeightOnlyLinear", 1, .in = {3, 6}, .out = 1, .flags = GR_OP_ROWS, .parse = parse, .infer = infer, .kernels = kernels,
     .function = spell, .domain = "graphrun"},
    {0},
};
