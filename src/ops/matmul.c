/* SPDX-License-Identifier: Apache-2.0
 *
 * MatMul, Gemm, and their fused forms: FusedMatMul (com.microsoft) and Linear (graphrun), which is
 * y = activation(x W + bias) + residual. Each describes itself as a gr_product over strides; the kernels are shared.
 */
#include "act.h"
#include "elem.h"
#include "graph/spell.h"
#include "exec/product.h"

enum form { MATMUL, FUSED, GEMM, LINEAR };

typedef struct matmul_params {
    enum form form;
    bool trans_a, trans_b;             /* exchange the last two dims */
    bool trans_batch_a, trans_batch_b; /* then move dim 0 before the last one (FusedMatMul) */
    bool broadcast;                    /* Gemm's addend need not have the result's shape */
    float alpha, beta;
    enum gr_gemm_act act;
} matmul_params;

/* ---- attributes ---- */

static matmul_params *new_params(gr_arena *arena, enum form form, const void **out)
{
    matmul_params *p = GR_NEW(arena, matmul_params);
    if (p) *p = (matmul_params){.form = form, .alpha = 1, .beta = 1, .broadcast = true};
    *out = p;
    return p;
}

static gr_status parse_matmul(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    (void)attrs;
    return new_params(arena, MATMUL, params) ? GR_OK : gr_nomem(err);
}

static gr_status parse_fused(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    matmul_params *p = new_params(arena, FUSED, params);
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_float(attrs, "alpha", 1, &p->alpha, err));
    GR_TRY(gr_attr_bool(attrs, "transA", false, &p->trans_a, err));
    GR_TRY(gr_attr_bool(attrs, "transB", false, &p->trans_b, err));
    GR_TRY(gr_attr_bool(attrs, "transBatchA", false, &p->trans_batch_a, err));
    return gr_attr_bool(attrs, "transBatchB", false, &p->trans_batch_b, err);
}

static gr_status parse_gemm(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    matmul_params *p = new_params(arena, GEMM, params);
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_float(attrs, "alpha", 1, &p->alpha, err));
    GR_TRY(gr_attr_float(attrs, "beta", 1, &p->beta, err));
    GR_TRY(gr_attr_bool(attrs, "transA", false, &p->trans_a, err));
    return gr_attr_bool(attrs, "transB", false, &p->trans_b, err);
}

/* Up to version 6 an attribute allows the addend to be broadcast. */
static gr_status parse_gemm_1(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    GR_TRY(parse_gemm(attrs, arena, params, err));
    matmul_params *p = (matmul_params *)(uintptr_t)*params;
    return gr_attr_bool(attrs, "broadcast", false, &p->broadcast, err);
}

static gr_status parse_linear(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    matmul_params *p = new_params(arena, LINEAR, params);
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_bool(attrs, "transB", false, &p->trans_b, err));
    return gr_act_parse(attrs, &p->act, err);
}

/* ---- inference ---- */

/* The order in which an operand's dims are batch..., rows, columns. An operand of rank 1 has no transposed form. */
static void matrix_order(int rank, bool trans, bool trans_batch, int *order)
{
    for (int d = 0; d < rank; d++) order[d] = d;
    if (rank < 2) return;
    if (trans_batch) {
        for (int d = 0; d < rank - 2; d++) order[d] = d + 1;
        order[rank - 2] = 0;
    }
    if (trans) {
        const int last = order[rank - 1];
        order[rank - 1] = order[rank - 2];
        order[rank - 2] = last;
    }
}

static gr_status same_inner(gr_dim a, gr_dim b, gr_err *err)
{
    if (!gr_dim_known(a) || !gr_dim_known(b) || a.k == b.k) return GR_OK;
    return gr_fail(err, GR_EMODEL, "a product of matrices with %lld columns and %lld rows", (long long)a.k,
                   (long long)b.k);
}

static uint64_t types_of(const gr_op *op)
{
    const uint64_t old = GR_T(FLOAT) | GR_T(DOUBLE) | GR_T(FLOAT16);
    const uint64_t ints = GR_T(INT32) | GR_T(INT64) | GR_T(UINT32) | GR_T(UINT64);
    if (op->domain) return GR_T_FLOATS;
    return op->since < 9 ? old : op->since < 13 && op->since != 11 ? old | ints : GR_T_FLOATS | ints;
}

/* Batch dims of the two operands, and the matrix dims: those that are there, after transposition. */
static gr_status product_dims(const gr_infer *c, const matmul_params *p, gr_dim *dims, int *rank, gr_err *err)
{
    const gr_type *a = c->in[0], *b = c->in[1];
    int oa[GR_MAX_RANK], ob[GR_MAX_RANK], n = 0;
    if (a->rank == 0 || b->rank == 0) return gr_fail(err, GR_EMODEL, "an operand of a matrix product has rank 0");
    if (a->rank > GR_MAX_RANK || b->rank > GR_MAX_RANK)
        return gr_fail(err, GR_EUNSUPPORTED, "an operand has more than %d dimensions", GR_MAX_RANK);
    matrix_order(a->rank, p->trans_a, p->trans_batch_a, oa);
    matrix_order(b->rank, p->trans_b, p->trans_batch_b, ob);
    GR_TRY(same_inner(a->dims[oa[a->rank - 1]], b->dims[b->rank == 1 ? 0 : ob[b->rank - 2]], err));
    const int ba = a->rank > 2 ? a->rank - 2 : 0, bb = b->rank > 2 ? b->rank - 2 : 0, batch = ba > bb ? ba : bb;
    for (int d = batch; d > 0; d--, n++) {
        const gr_dim x = d > ba ? GR_DIM(1) : a->dims[oa[ba - d]], y = d > bb ? GR_DIM(1) : b->dims[ob[bb - d]];
        if (!gr_sym_broadcast(c->syms, x, y, &dims[n]))
            return gr_fail(err, GR_EMODEL, "batch dimensions %s and %s of a matrix product do not broadcast",
                           gr_sym_text(c->syms, x), gr_sym_text(c->syms, y));
    }
    if (a->rank > 1) dims[n++] = a->dims[oa[a->rank - 2]];
    if (b->rank > 1) dims[n++] = b->dims[ob[b->rank - 1]];
    *rank = n;
    return GR_OK;
}

static gr_dtype known_dtype(const gr_infer *c)
{
    for (uint32_t i = 0; i < c->nin; i++)
        if (gr_has(c, i) && c->in[i]->kind == GR_KIND_TENSOR && c->in[i]->dtype != GR_UNDEFINED) return c->in[i]->dtype;
    return GR_UNDEFINED;
}

/* An input that is added to the result must broadcast to it without making it larger. */
static gr_status fits_result(const gr_infer *c, uint32_t i, const gr_dim *dims, int rank, bool exact, const char *what,
                             gr_err *err)
{
    if (!gr_rank_known(c, i)) return GR_OK;
    const gr_type *t = c->in[i];
    if (t->rank > rank || (exact && t->rank != rank))
        return gr_fail(err, GR_EMODEL, "%s of rank %d is added to a product of rank %d", what, t->rank, rank);
    for (int d = 1; d <= t->rank; d++) {
        const gr_dim x = t->dims[t->rank - d], y = dims[rank - d];
        if (!gr_dim_known(x) || !gr_dim_known(y) || x.k == y.k || (!exact && x.k == 1)) continue;
        return gr_fail(err, GR_EMODEL, "dimension %lld of %s does not fit %lld of the product", (long long)x.k, what,
                       (long long)y.k);
    }
    return GR_OK;
}

static gr_status infer_common(const gr_infer *c, gr_dim **dims, int *rank, gr_err *err)
{
    const matmul_params *p = c->params;
    *rank = GR_RANK_UNKNOWN;
    for (uint32_t i = 0; i < c->nin; i++) {
        if (!gr_has(c, i)) continue;
        GR_TRY(gr_require(c, i, types_of(c->op), err));
        if (i) GR_TRY(gr_require_same(c, 0, i, err));
    }
    if (!gr_has(c, 0) || !gr_has(c, 1)) return gr_fail(err, GR_EMODEL, "an operand of a matrix product is absent");
    if (!gr_rank_known(c, 0) || !gr_rank_known(c, 1)) return gr_set(c, 0, known_dtype(c), GR_RANK_UNKNOWN, NULL);
    *dims = gr_dims(c, c->in[0]->rank + c->in[1]->rank);
    GR_TRY(product_dims(c, p, *dims, rank, err));
    if (*rank > GR_MAX_RANK) return gr_fail(err, GR_EUNSUPPORTED, "a result of more than %d dimensions", GR_MAX_RANK);
    return gr_set(c, 0, known_dtype(c), *rank, *dims);
}

static gr_status infer_matmul(const gr_infer *c, gr_err *err)
{
    gr_dim *dims;
    int rank;
    return infer_common(c, &dims, &rank, err);
}

static gr_status infer_gemm(const gr_infer *c, gr_err *err)
{
    const matmul_params *p = c->params;
    gr_dim *dims;
    int rank;
    for (uint32_t i = 0; i < 2; i++)
        if (gr_rank_known(c, i) && c->in[i]->rank != 2)
            return gr_fail(err, GR_EMODEL, "input %u has rank %d, expected a matrix", i, c->in[i]->rank);
    GR_TRY(infer_common(c, &dims, &rank, err));
    if (rank == GR_RANK_UNKNOWN) { /* a matrix in any case; one operand may tell its size */
        dims = gr_dims(c, 2);
        dims[0] = gr_rank_known(c, 0) ? c->in[0]->dims[p->trans_a] : gr_sym_fresh(c->syms);
        dims[1] = gr_rank_known(c, 1) ? c->in[1]->dims[!p->trans_b] : gr_sym_fresh(c->syms);
        rank = 2;
        GR_TRY(gr_set(c, 0, known_dtype(c), rank, dims));
    }
    return gr_has(c, 2) ? fits_result(c, 2, dims, rank, !p->broadcast, "input C", err) : GR_OK;
}

static gr_status infer_linear(const gr_infer *c, gr_err *err)
{
    gr_dim *dims;
    int rank;
    if (gr_rank_known(c, 1) && c->in[1]->rank != 2)
        return gr_fail(err, GR_EMODEL, "the weights have rank %d, expected a matrix", c->in[1]->rank);
    if (gr_rank_known(c, 2) && c->in[2]->rank != 1)
        return gr_fail(err, GR_EMODEL, "the bias has rank %d, expected 1", c->in[2]->rank);
    GR_TRY(infer_common(c, &dims, &rank, err));
    if (rank == GR_RANK_UNKNOWN) return GR_OK;
    if (gr_has(c, 2)) GR_TRY(fits_result(c, 2, dims + rank - 1, 1, true, "the bias", err));
    return gr_has(c, 3) ? fits_result(c, 3, dims, rank, true, "the residual", err) : GR_OK;
}

/* ---- the product of a step ---- */

static bool has_input(const gr_step *s, uint32_t i) { return i < s->nin && s->in[i]; }

/* Gemm's addend as what the kernels have a place for: a bias, a residual, or anything else by strides. */
static void place_addend(const gr_step *s, const matmul_params *params, gr_product *p)
{
    const gr_tensor *c = s->in[2];
    const int64_t rows = c->rank > 1 ? c->dims[c->rank - 2] : 1, cols = c->rank > 0 ? c->dims[c->rank - 1] : 1;
    p->addend_row = rows == 1 ? 0 : cols;
    p->addend_col = cols == 1 ? 0 : 1;
    p->beta = params->beta;
    if (p->beta == 1 && rows == 1 && cols == p->n)
        p->bias = 2;
    else if (p->beta == 1 && rows == p->m && cols == p->n)
        p->residual = 2;
    else
        p->addend = 2;
}

static gr_product product_of(const gr_step *s)
{
    const matmul_params *params = s->params;
    const gr_tensor *a = s->in[0], *b = s->in[1];
    gr_product p = {.dtype = s->out[0] ? s->out[0]->dtype : a->dtype, .a = 0, .b = 1, .bias = -1, .residual = -1, .addend = -1, .m = 1, .n = 1,
                    .alpha = params->alpha, .beta = 1, .act = params->act};
    int64_t sa[GR_MAX_RANK], sb[GR_MAX_RANK];
    int oa[GR_MAX_RANK] = {0}, ob[GR_MAX_RANK] = {0};
    gr_dense_strides(a->rank, a->dims, sa);
    gr_dense_strides(b->rank, b->dims, sb);
    matrix_order(a->rank, params->trans_a, params->trans_batch_a, oa);
    matrix_order(b->rank, params->trans_b, params->trans_batch_b, ob);
    p.k = a->dims[oa[a->rank - 1]];
    p.a_col = sa[oa[a->rank - 1]];
    p.b_row = b->rank == 1 ? sb[0] : sb[ob[b->rank - 2]];
    p.b_col = 1;
    p.a_row = p.k;
    if (a->rank > 1) {
        p.m = a->dims[oa[a->rank - 2]];
        p.a_row = sa[oa[a->rank - 2]];
    }
    if (b->rank > 1) {
        p.n = b->dims[ob[b->rank - 1]];
        p.b_col = sb[ob[b->rank - 1]];
    }
    const int ba = a->rank > 2 ? a->rank - 2 : 0, bb = b->rank > 2 ? b->rank - 2 : 0;
    p.nbatch = ba > bb ? ba : bb;
    for (int d = 1; d <= p.nbatch; d++) {
        const int64_t x = d > ba ? 1 : a->dims[oa[ba - d]], y = d > bb ? 1 : b->dims[ob[bb - d]];
        p.batch[p.nbatch - d] = x == 1 ? y : x;
        p.a_batch[p.nbatch - d] = x == 1 ? 0 : sa[oa[ba - d]];
        p.b_batch[p.nbatch - d] = y == 1 ? 0 : sb[ob[bb - d]];
    }
    gr_product_simplify(&p);
    if (params->form == GEMM && has_input(s, 2)) place_addend(s, params, &p);
    if (params->form == LINEAR && has_input(s, 2)) p.bias = 2;
    if (params->form == LINEAR && has_input(s, 3)) p.residual = 3;
    return p;
}

static bool prepare_int8(gr_step *s, gr_why *why)
{
    const gr_product p = product_of(s);
    return gr_product_prepare_int8(s, &p, why);
}

static bool prepare_dnnl(gr_step *s, gr_why *why)
{
    const gr_product p = product_of(s);
    return gr_product_prepare_dnnl(s, &p, why);
}

static bool prepare_packed(gr_step *s, gr_why *why)
{
    const gr_product p = product_of(s);
    return gr_product_prepare_packed(s, &p, why);
}

/* ---- reference: c[i][j] = act(alpha * sum over k of a[i][k] b[k][j] + bias[j]) + residual[i][j] + beta * addend[i][j]
 * ---- */

/* An element of an input, which may stand at any address. */
static uint64_t int_at(const gr_tensor *t, int64_t i)
{
    uint64_t value = 0;
    GR_DISPATCH_INTS(t->dtype, T, {
        T x;
        memcpy(&x, (const char *)t->data + i * (int64_t)sizeof x, sizeof x);
        value = (uint64_t)x;
    })
    return value;
}

static void ref_float(const gr_step *s, const gr_product *p, int64_t row, int64_t j, int64_t a, int64_t b)
{
    double y = 0;
    for (int64_t k = 0; k < p->k; k++)
        y += gr_at_unaligned(s->in[p->a], a + k * p->a_col) * gr_at_unaligned(s->in[p->b], b + k * p->b_row);
    y *= (double)p->alpha;
    if (p->bias >= 0) y += gr_at_unaligned(s->in[p->bias], j);
    y = gr_act_value(y, p->act);
    if (p->residual >= 0) y += gr_at_unaligned(s->in[p->residual], row * p->n + j);
    if (p->addend >= 0)
        y += (double)p->beta * gr_at_unaligned(s->in[p->addend], row * p->addend_row + j * p->addend_col);
    GR_DISPATCH_FLOATS(p->dtype, T, GR_PUT((T *)s->out[0]->data + row * p->n + j, (GR_COMPUTE(T))y);)
}

/* Integers wrap; factors other than 1 act on the wrapped sum, and the result is truncated. */
static void ref_int(const gr_step *s, const gr_product *p, int64_t row, int64_t j, int64_t a, int64_t b)
{
    const int added = p->bias >= 0 ? p->bias : p->residual >= 0 ? p->residual : p->addend;
    const int64_t at = p->bias >= 0 ? j : p->residual >= 0 ? row * p->n + j : row * p->addend_row + j * p->addend_col;
    uint64_t sum = 0, c = added >= 0 ? int_at(s->in[added], at) : 0;
    for (int64_t k = 0; k < p->k; k++)
        sum += int_at(s->in[p->a], a + k * p->a_col) * int_at(s->in[p->b], b + k * p->b_row);
    GR_DISPATCH_INTS(p->dtype, T, {
        T *y = (T *)s->out[0]->data + row * p->n + j;
        if (p->alpha == 1 && p->beta == 1) {
            *y = (T)(sum + c);
        } else {
            const double scaled = (double)p->alpha * (double)(T)sum + (double)p->beta * (double)(T)c;
            *y = scaled > -0x1p63 && scaled < 0x1p63 ? (T)(int64_t)scaled : (T)0;
        }
    })
}

static gr_status ref_run(const gr_step *s, gr_err *err)
{
    (void)err;
    const gr_product p = product_of(s);
    const int64_t rows = p.n ? s->out[0]->elements / p.n : 0;
#pragma omp parallel for if ((double)rows * (double)p.n * (double)p.k > 32768)
    for (int64_t row = 0; row < rows; row++) {
        int64_t a = row % p.m * p.a_row, b = 0, rest = row / p.m;
        for (int d = p.nbatch - 1; d >= 0; d--) {
            a += rest % p.batch[d] * p.a_batch[d];
            b += rest % p.batch[d] * p.b_batch[d];
            rest /= p.batch[d];
        }
        for (int64_t j = 0; j < p.n; j++)
            (gr_dtype_is_float(p.dtype) ? ref_float : ref_int)(s, &p, row, j, a, b + j * p.b_col);
    }
    return GR_OK;
}

static const gr_kernel kernels[] = {
    {"int8", prepare_int8, gr_product_run, gr_product_release},
    {"dnnl", prepare_dnnl, gr_product_run, gr_product_release},
    {"packed", prepare_packed, gr_product_run, gr_product_release},
    {"ref", NULL, ref_run, NULL},
    {0},
};

/* y = activation(x W + b) + residual */
static gr_status spell_linear(gr_spell *s)
{
    bool transposed, bias = gr_spell_in(s, 2), residual = gr_spell_in(s, 3);
    const char *activation, *last = residual ? "activated" : "y";
    GR_TRY(gr_attr_bool(s->node->attrs, "transB", false, &transposed, s->err));
    GR_TRY(gr_attr_string(s->node->attrs, "activation", "", &activation, s->err));
    const char *biased = *activation ? "biased" : last, *product = bias ? "product" : biased;
    gr_spell_begin(s, "x, w, b, residual", "y");
    if (transposed) gr_spell_node(s, "columns = Transpose <perm = [1, 0]> (w)");
    gr_spell_node(s, "%s = MatMul (x, %s)", product, transposed ? "columns" : "w");
    if (bias) gr_spell_node(s, "%s = Add (product, b)", biased);
    if (*activation) gr_spell_activation(s, last, activation, biased, gr_spell_dtype(s, 0));
    if (residual) gr_spell_node(s, "y = Add (activated, residual)");
    return GR_OK;
}

/* clang-format off */
#define MATMUL_ROW(v) \
    {"MatMul", v, .in = {2, 2}, .out = 1, .flags = GR_OP_UNALIGNED | GR_OP_NARROW, .parse = parse_matmul, .infer = infer_matmul, .kernels = kernels}
#define GEMM_ROW(v, least, parse_) \
    {"Gemm", v, .in = {least, 3}, .out = 1, .flags = GR_OP_UNALIGNED | GR_OP_NARROW, .parse = parse_, .infer = infer_gemm, .kernels = kernels}
const gr_op op_matmul[] = {
    MATMUL_ROW(1), MATMUL_ROW(9), MATMUL_ROW(13),
    GEMM_ROW(1, 3, parse_gemm_1), GEMM_ROW(6, 3, parse_gemm_1),
    GEMM_ROW(7, 3, parse_gemm), GEMM_ROW(9, 3, parse_gemm), GEMM_ROW(11, 2, parse_gemm), GEMM_ROW(13, 2, parse_gemm),
    {"FusedMatMul", 1, .in = {2, 2}, .out = 1, .flags = GR_OP_UNALIGNED | GR_OP_NARROW, .parse = parse_fused, .infer = infer_matmul,
     .kernels = kernels, .domain = "com.microsoft"},
    {"Linear", 1, .in = {2, 4}, .out = 1, .flags = GR_OP_UNALIGNED | GR_OP_NARROW | GR_OP_ROWS, .parse = parse_linear, .infer = infer_linear,
     .kernels = kernels, .function = spell_linear, .domain = "graphrun"},
    {0},
};
/* clang-format on */
