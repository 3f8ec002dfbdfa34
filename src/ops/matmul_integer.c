/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of quantised matrices: MatMulInteger, QLinearMatMul, com.microsoft's MatMulIntegerToFloat and QGemm, and what
 * passes make of them and of DequantizeLinear around a product: QuantizedLinear. All have sums of
 * (a - a_zero)(b - b_zero) in 32 bits, exact; they differ in what follows:
 *     MatMulInteger                  y = sum
 *     MatMulIntegerToFloat, QGemm    y = sum * (a_scale * b_scale) + bias
 *     QLinearMatMul, QGemm           y = saturate(round(sum * (a_scale * b_scale / y_scale)) + y_zero)
 *     QuantizedLinear                y = activation(sum * (a_scale * b_scale) + bias) + residual
 * Parameters of A and y are one value or one per row, those of B one or one per column, with or without batch dims.
 */
#include "act.h"
#include "codes.h"
#include "exec/iproduct.h"
#include "graph/spell.h"

typedef gr_iproduct_form form;
typedef gr_iproduct params;

static const form integer_form = {0, 1, -1, -1, 2, 3, -1, -1, -1, -1, -1};
static const form linear_form = {0, 3, 1, 4, 2, 5, 6, 7, -1, -1, -1};
static const form float_form = {0, 1, 2, 3, 4, 5, -1, -1, 6, -1, -1};
static const form gemm_form = {0, 3, 1, 4, 2, 5, 7, 8, -1, 6, -1};
static const form fused_form = {0, 1, 2, 3, 4, 5, -1, -1, 6, -1, 7};

static gr_status make(gr_arena *arena, const params *p, const void **out, gr_err *err)
{
    params *kept = GR_NEW(arena, params);
    *out = kept;
    if (!kept) return gr_nomem(err);
    *kept = *p;
    return GR_OK;
}
#define PARSE(which)                                                                                                   \
    static gr_status parse_##which(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)                     \
    {                                                                                                                  \
        (void)attrs;                                                                                                   \
        return make(arena, &(params){.form = &which##_form, .alpha = 1}, out, err);                                    \
    }
PARSE(integer)
PARSE(linear)
PARSE(float)

static gr_status parse_gemm(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params p = {.form = &gemm_form};
    GR_TRY(gr_attr_bool(attrs, "transA", false, &p.trans_a, err));
    GR_TRY(gr_attr_bool(attrs, "transB", false, &p.trans_b, err));
    GR_TRY(gr_attr_float(attrs, "alpha", 1, &p.alpha, err));
    return make(arena, &p, out, err);
}

static gr_status parse_fused(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    static const char *const orders[] = {[GR_SCALES_PRODUCT] = "product", [GR_SCALES_A_FIRST] = "a_first",
                                         [GR_SCALES_B_FIRST] = "b_first"};
    params p = {.form = &fused_form, .alpha = 1};
    const char *order;
    GR_TRY(gr_attr_bool(attrs, "transB", false, &p.trans_b, err));
    GR_TRY(gr_act_parse(attrs, &p.act, err));
    GR_TRY(gr_attr_string(attrs, "scales", "product", &order, err));
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        if (strcmp(order, orders[i])) continue;
        p.order = (enum gr_iproduct_order)i;
        return make(arena, &p, out, err);
    }
    return gr_fail(err, GR_EMODEL, "attribute 'scales' is '%s', which is not known", gr_show(order));
}

/* ---- inference ---- */

static bool has(const gr_infer *c, int i) { return i >= 0 && gr_has(c, (uint32_t)i); }

/* Batch dims, then rows and columns as far as the operands are matrices. */
static gr_status product_dims(const gr_infer *c, gr_dim *dims, int *rank, gr_err *err)
{
    const params *p = c->params;
    const gr_type *a = c->in[p->form->a], *b = c->in[p->form->b];
    int n = 0, ba = a->rank > 2 ? a->rank - 2 : 0, bb = b->rank > 2 ? b->rank - 2 : 0, batch = ba > bb ? ba : bb;
    if (a->rank == 0 || b->rank == 0) return gr_fail(err, GR_EMODEL, "an operand of a matrix product has rank 0");
    if (p->form == &fused_form && b->rank != 2)
        return gr_fail(err, GR_EMODEL, "the weights have rank %d, expected a matrix", b->rank);
    if (p->form == &gemm_form && (a->rank != 2 || b->rank != 2))
        return gr_fail(err, GR_EMODEL, "operands have ranks %d and %d, expected matrices", a->rank, b->rank);
    gr_dim ka = a->dims[a->rank - 1 - p->trans_a], kb = b->dims[b->rank == 1 ? 0 : b->rank - 2 + p->trans_b];
    if (gr_dim_known(ka) && gr_dim_known(kb) && ka.k != kb.k)
        return gr_fail(err, GR_EMODEL, "a product of matrices with %lld columns and %lld rows", (long long)ka.k,
                       (long long)kb.k);
    for (int d = batch; d > 0; d--, n++) {
        gr_dim x = d > ba ? GR_DIM(1) : a->dims[ba - d], y = d > bb ? GR_DIM(1) : b->dims[bb - d];
        if (!gr_sym_broadcast(c->syms, x, y, &dims[n]))
            return gr_fail(err, GR_EMODEL, "batch dimensions %s and %s of a matrix product do not broadcast",
                           gr_sym_text(c->syms, x), gr_sym_text(c->syms, y));
    }
    if (a->rank > 1) dims[n++] = a->dims[a->rank - 2 + p->trans_a];
    if (b->rank > 1) dims[n++] = b->dims[b->rank - 1 - p->trans_b];
    *rank = n;
    return n <= GR_MAX_RANK ? GR_OK : gr_fail(err, GR_EUNSUPPORTED, "a result of more than %d dimensions", GR_MAX_RANK);
}

/* Input i has one element or one for each of `along` (rows of A, columns of B), in the right axis if it has several. */
static gr_status check_parameter(const gr_infer *c, int i, gr_dim along, bool rows, gr_err *err)
{
    if (!has(c, i) || !gr_rank_known(c, (uint32_t)i)) return GR_OK;
    const gr_type *t = c->in[i];
    int at = t->rank == 1 ? 0 : t->rank - (rows ? 2 : 1), other = t->rank - (rows ? 1 : 2);
    if (t->rank == 0) return GR_OK;
    if (t->rank > 1 && gr_dim_known(t->dims[other]) && t->dims[other].k != 1)
        return gr_fail(err, GR_EMODEL, "dimension %d of input %d is %lld, expected 1", other, i,
                       (long long)t->dims[other].k);
    if (gr_dim_known(t->dims[at]) && gr_dim_known(along) && t->dims[at].k != 1 && t->dims[at].k != along.k)
        return gr_fail(err, GR_EMODEL, "input %d has %lld entries, expected 1 or %lld, one for each %s", i,
                       (long long)t->dims[at].k, (long long)along.k, rows ? "row" : "column");
    return GR_OK;
}

static gr_status check_parameters(const gr_infer *c, const gr_dim *dims, int rank, gr_err *err)
{
    const params *p = c->params;
    const form *f = p->form;
    bool a_rows = c->in[f->a]->rank > 1, b_cols = c->in[f->b]->rank > 1;
    gr_dim n = b_cols ? dims[rank - 1] : GR_DIM(1), m = a_rows ? dims[rank - 1 - b_cols] : GR_DIM(1);
    const int of_rows[] = {f->a_scale, f->a_zero, f->y_scale, f->y_zero};
    const int of_columns[] = {f->b_scale, f->b_zero, f->bias};
    for (int i = 0; i < 4; i++) GR_TRY(check_parameter(c, of_rows[i], m, true, err));
    for (int i = 0; i < 3; i++) GR_TRY(check_parameter(c, of_columns[i], n, false, err));
    for (uint32_t i = 0; i < c->nin; i++) { /* batch dims of parameters */
        bool column = (int)i == f->b_scale || (int)i == f->b_zero || (int)i == f->bias;
        if ((int)i == f->a || (int)i == f->b || (int)i == f->addend || (int)i == f->residual || !gr_rank_known(c, i)) continue;
        for (int d = 0; d < c->in[i]->rank - 2; d++) {
            int at = rank - a_rows - b_cols - (c->in[i]->rank - 2) + d;
            gr_dim x = c->in[i]->dims[d];
            if (gr_dim_is(x, 1) || !gr_dim_known(x)) continue;
            if (at < 0 || (gr_dim_known(dims[at]) && dims[at].k != x.k))
                return gr_fail(err, GR_EMODEL, "dimension %d of input %u does not fit the batch of the %s", d, i,
                               column ? "columns" : "rows");
        }
    }
    if (f->addend >= 0 && gr_rank_known(c, (uint32_t)f->addend)) {
        const gr_type *t = c->in[f->addend];
        if (t->rank > 2) return gr_fail(err, GR_EMODEL, "input C has rank %d, expected at most 2", t->rank);
        for (int d = 1; d <= t->rank; d++) {
            gr_dim x = t->dims[t->rank - d], y = dims[rank - d];
            if (gr_dim_known(x) && gr_dim_known(y) && x.k != 1 && x.k != y.k)
                return gr_fail(err, GR_EMODEL, "dimension %lld of input C does not fit %lld of the product",
                               (long long)x.k, (long long)y.k);
        }
    }
    return GR_OK;
}

static gr_status require(const gr_infer *c, int i, uint64_t mask, gr_err *err)
{
    return i < 0 ? GR_OK : gr_require(c, (uint32_t)i, mask, err);
}

static gr_status check_types(const gr_infer *c, gr_err *err)
{
    const form *f = ((const params *)c->params)->form;
    const bool minis = f == &linear_form && c->op->since >= 21;
    const uint64_t codes = GR_T_BYTES | (minis ? GR_T_MINI & ~(GR_T(FLOAT4E2M1) | GR_T(FLOAT8E8M0)) : 0);
    const uint64_t scales = GR_T(FLOAT) | GR_T(FLOAT16) | GR_T(BFLOAT16);
    GR_TRY(require(c, f->a, codes, err));
    GR_TRY(require(c, f->b, codes, err));
    GR_TRY(require(c, f->y_zero, codes, err));
    GR_TRY(require(c, f->a_scale, scales, err));
    GR_TRY(require(c, f->b_scale, scales, err));
    GR_TRY(require(c, f->y_scale, scales, err));
    GR_TRY(require(c, f->bias, scales, err));
    GR_TRY(require(c, f->addend, GR_T(INT32), err));
    if (f->residual >= 0) {
        const int floats[] = {f->a_scale, f->b_scale, f->bias, f->residual};
        for (int i = 0; i < 4; i++) GR_TRY(require(c, floats[i], GR_T(FLOAT), err));
    }
    if (has(c, f->a_zero)) GR_TRY(gr_require_same(c, (uint32_t)f->a_zero, (uint32_t)f->a, err));
    if (has(c, f->b_zero)) GR_TRY(gr_require_same(c, (uint32_t)f->b_zero, (uint32_t)f->b, err));
    if (f->a_scale >= 0 && (!has(c, f->a_scale) || !has(c, f->b_scale)))
        return gr_fail(err, GR_EMODEL, "a scale is missing");
    if (has(c, f->y_scale) != has(c, f->y_zero))
        return gr_fail(err, GR_EMODEL, "scale and zero point of the result must be given together");
    return GR_OK;
}

/* What only QuantizedLinear has: the residual, and factors that do not depend on the row if their order is not usual. */
static gr_status check_fused(const gr_infer *c, const gr_dim *dims, int rank, gr_err *err)
{
    const params *p = c->params;
    const form *f = p->form;
    if (f->residual < 0) return GR_OK;
    for (int d = 0; p->order != GR_SCALES_PRODUCT && gr_rank_known(c, (uint32_t)f->a_scale) && d < c->in[f->a_scale]->rank; d++)
        if (!gr_dim_is(c->in[f->a_scale]->dims[d], 1))
            return gr_fail(err, GR_EMODEL, "several scales of rows need the order 'product'");
    if (!gr_rank_known(c, (uint32_t)f->residual)) return GR_OK;
    const gr_type *r = c->in[f->residual];
    if (r->rank != rank)
        return gr_fail(err, GR_EMODEL, "the residual has rank %d, expected %d", r->rank, rank);
    for (int d = 0; d < rank; d++)
        if (gr_dim_known(r->dims[d]) && gr_dim_known(dims[d]) && r->dims[d].k != dims[d].k)
            return gr_fail(err, GR_EMODEL, "dimension %d of the residual is %lld, expected %lld", d,
                           (long long)r->dims[d].k, (long long)dims[d].k);
    return GR_OK;
}

static gr_dtype result_type(const gr_infer *c)
{
    const form *f = ((const params *)c->params)->form;
    if (f->a_scale < 0) return GR_INT32;
    if (has(c, f->y_zero)) return c->in[f->y_zero]->dtype;
    return c->in[f->b_scale]->dtype;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const form *f = ((const params *)c->params)->form;
    int rank;
    if (!has(c, f->a) || !has(c, f->b)) return gr_fail(err, GR_EMODEL, "an operand of a matrix product is absent");
    GR_TRY(check_types(c, err));
    if (!gr_rank_known(c, (uint32_t)f->a) || !gr_rank_known(c, (uint32_t)f->b))
        return gr_set(c, 0, result_type(c), GR_RANK_UNKNOWN, NULL);
    gr_dim *dims = gr_dims(c, c->in[f->a]->rank + c->in[f->b]->rank);
    GR_TRY(product_dims(c, dims, &rank, err));
    GR_TRY(check_parameters(c, dims, rank, err));
    GR_TRY(check_fused(c, dims, rank, err));
    return gr_set(c, 0, result_type(c), rank, dims);
}

/* A parameter of A with one value per row stands in a column. */
static const char *spell_rows(gr_spell *s)
{
    if (gr_spell_rank(s, 2) != 1 || gr_spell_dim(s, 2, 0) == 1) return "a_scale";
    gr_spell_axes(s, "rows", "Unsqueeze", "a_scale", 1, (int64_t[]){1});
    return "rows";
}

static gr_status spell_fused(gr_spell *s)
{
    const gr_attrs attrs = s->node->attrs;
    const gr_dtype dtype = gr_spell_dtype(s, 3);
    bool trans, bias = gr_spell_in(s, 6), residual = gr_spell_in(s, 7);
    bool a_zero = gr_spell_in(s, 4), b_zero = gr_spell_in(s, 5);
    const char *how, *order;
    GR_TRY(gr_attr_bool(attrs, "transB", false, &trans, s->err));
    GR_TRY(gr_attr_string(attrs, "activation", "", &how, s->err));
    GR_TRY(gr_attr_string(attrs, "scales", "product", &order, s->err));
    gr_spell_begin(s, "a, b, a_scale, b_scale, a_zero, b_zero, bias, residual", "y");
    if (trans) gr_spell_node(s, "columns = Transpose <perm = [1, 0]> (b)");
    gr_spell_node(s, "codes = MatMulInteger (a, %s%s%s)", trans ? "columns" : "b",
                  a_zero ? ", a_zero" : b_zero ? ", \"\"" : "", b_zero ? ", b_zero" : "");
    gr_spell_node(s, "product = Cast <to = %d> (codes)", (int)dtype);
    const char *rows = spell_rows(s), *first = !strcmp(order, "b_first") ? "b_scale" : rows;
    if (!strcmp(order, "product")) {
        gr_spell_node(s, "scale = Mul (%s, b_scale)", rows);
        gr_spell_node(s, "floats = Mul (product, scale)");
    } else {
        gr_spell_node(s, "half_scaled = Mul (product, %s)", first);
        gr_spell_node(s, "floats = Mul (half_scaled, %s)", first == rows ? "b_scale" : rows);
    }
    if (bias) gr_spell_node(s, "biased = Add (floats, bias)");
    gr_spell_activation(s, residual ? "activated" : "y", how, bias ? "biased" : "floats", dtype);
    if (residual) gr_spell_node(s, "y = Add (activated, residual)");
    return GR_OK;
}

/* clang-format off */
#define ROW(name_, since_, least, most, which, ...)                                                                    \
    {.name = name_, .since = since_, .in = {least, most}, .out = 1, .parse = parse_##which,                        \
     .infer = infer, .kernels = gr_iproduct_kernels, __VA_ARGS__}
const gr_op op_matmul_integer[] = {
    ROW("MatMulInteger", 10, 2, 4, integer, ),
    ROW("QLinearMatMul", 10, 8, 8, linear, ), ROW("QLinearMatMul", 21, 8, 8, linear, ),
    ROW("MatMulIntegerToFloat", 1, 4, 7, float, .domain = "com.microsoft"),
    ROW("QuantizedLinear", 1, 4, 8, fused, .function = spell_fused, .domain = "graphrun"),
    ROW("QGemm", 1, 6, 9, gemm, .domain = "com.microsoft"),
    {0}};
/* clang-format on */
