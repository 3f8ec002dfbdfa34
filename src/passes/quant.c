/* SPDX-License-Identifier: Apache-2.0
 *
 * Quantised linear layers. Products of codes, y = activation(sum * (a_scale * b_scale) + bias) + residual:
 *     MatMulInteger, Cast and Mul, after DynamicQuantizeLinear; com.microsoft's MatMulIntegerToFloat
 *     MatMul or Gemm of two DequantizeLinear, one of a matrix of constant bytes
 * and products of floats with weights of few bits, where A is not dequantised from bytes. Integer sums are exact, as in
 * the file; where the file has floats, the scales are taken out of the sum, unless the graph is strict: then they are
 * products of floats. Requires quant-weights and gelu.
 */
#include "build.h"
#include "passes.h"
#include "quant.h"

/* Sums of so many products of differences of bytes fit 32 bits; where the file adds floats nothing may wrap. */
enum { LONGEST_SUM = INT32_MAX / (255 * 255) };

static bool is_bytes(const gr_value *v) { return v && (v->type.dtype == GR_UINT8 || v->type.dtype == GR_INT8); }

static bool is_float(const gr_value *v) { return v && v->type.dtype == GR_FLOAT; }

/* One element, or one per column of a product with n columns, in a shape that adds no dimension to it. */
static bool per_column(const gr_value *v, gr_dim n)
{
    if (!is_float(v) || v->type.rank < 0 || v->type.rank > 2) return false;
    for (int d = 0; d < v->type.rank; d++)
        if (!gr_dim_is(v->type.dims[d], 1) && (d != v->type.rank - 1 || !gr_dim_same(v->type.dims[d], n))) return false;
    return true;
}

static gr_value *fused(gr_build *b, gr_value *const *in, bool transposed, const char *scales)
{
    gr_attr attrs[] = {gr_attr_of_int("transB", transposed), gr_attr_of_string("activation", ""),
                       gr_attr_of_string("scales", scales)};
    return gr_build_node(b, "graphrun", "QuantizedLinear", gr_build_attrs(b, 3, attrs), 8, in);
}

/* ---- MatMulInteger ---- */

/* The factor as scales of A and B: a product of one value with constants, or constants alone, with *a NULL. */
static bool split_factor(gr_value *f, gr_dim n, gr_value **a, gr_value **b)
{
    *a = NULL;
    *b = f;
    if (f->konst) return per_column(f, n);
    const gr_node *mul = f->def;
    if (!mul || !gr_is_named(mul, "Mul") || mul->nin != 2) return false;
    for (uint32_t i = 0; i < 2; i++) {
        *a = gr_in(mul, i);
        *b = gr_in(mul, 1 - i);
        if ((*b)->konst && per_column(*b, n) && gr_quant_is_one(*a) && per_column(*a, n)) return true;
    }
    return false;
}

static bool check_sum(const gr_match *m, gr_why *why)
{
    const gr_node *n = gr_bound_node(m, "m"), *cast = gr_bound_node(m, "c");
    const gr_value *a = gr_in(n, 0), *w = gr_in(n, 1);
    if (!is_float(cast->out[0])) return gr_nomatch(why, "the sum is not cast to float");
    if (a->type.rank < 2 || w->type.rank != 2) return gr_nomatch(why, "not a matrix applied to rows");
    return true;
}

static bool check_integer(const gr_match *m, gr_why *why)
{
    gr_value *a, *b;
    if (!check_sum(m, why)) return false;
    if (!split_factor(gr_bound(m, "f"), gr_bound(m, "w")->type.dims[1], &a, &b))
        return gr_nomatch(why, "the factor is no product of a scale of A and constants for the columns");
    return true;
}

static gr_value *rewrite_integer(gr_build *b, const gr_match *m)
{
    const gr_node *n = gr_bound_node(m, "m");
    gr_value *w = gr_bound(m, "w"), *as, *ws;
    if (!split_factor(gr_bound(m, "f"), w->type.dims[1], &as, &ws)) return NULL;
    if (!as && !(as = gr_graph_scalar(b->g, "one", 1))) return gr_err_write(b->err, GR_ENOMEM, "out of memory"), NULL;
    gr_value *in[8] = {gr_in(n, 0), w, as, ws, gr_in(n, 2), gr_in(n, 3)};
    return fused(b, in, false, "product");
}

static const char *const integer_patterns[] = {"(Mul c:(Cast m:(MatMulInteger _ $w ...)) f)", NULL};

/* One scale after the other. */
static bool check_twice(const gr_match *m, gr_why *why)
{
    const gr_value *s = gr_bound(m, "s"), *v = gr_bound(m, "v");
    if (!check_sum(m, why)) return false;
    if (!gr_quant_is_one(s) || !per_column(s, GR_DIM(1)) || s->konst) return gr_nomatch(why, "no single scale of A");
    if (!per_column(v, gr_bound(m, "w")->type.dims[1])) return gr_nomatch(why, "the constants are not one per column");
    return true;
}

static gr_value *rewrite_twice(gr_build *b, const gr_match *m, const char *order)
{
    const gr_node *n = gr_bound_node(m, "m");
    gr_value *in[8] = {gr_in(n, 0), gr_bound(m, "w"), gr_bound(m, "s"), gr_bound(m, "v"), gr_in(n, 2), gr_in(n, 3)};
    return fused(b, in, false, order);
}

static gr_value *rewrite_a_first(gr_build *b, const gr_match *m) { return rewrite_twice(b, m, "a_first"); }
static gr_value *rewrite_b_first(gr_build *b, const gr_match *m) { return rewrite_twice(b, m, "b_first"); }

static const char *const a_first_patterns[] = {"(Mul (Mul c:(Cast m:(MatMulInteger _ $w ...)) s) $v)", NULL};
static const char *const b_first_patterns[] = {"(Mul (Mul c:(Cast m:(MatMulInteger _ $w ...)) $v) s)", NULL};

/* ---- MatMulIntegerToFloat ---- */

static bool check_to_float(const gr_match *m, gr_why *why)
{
    const gr_node *n = m->root;
    const gr_value *w = gr_bound(m, "w");
    if (gr_in(n, 0)->type.rank < 2 || w->type.rank != 2 || !is_float(n->out[0]))
        return gr_nomatch(why, "not a matrix applied to rows, or not to float");
    if (gr_in(n, 6) && gr_in(n, 6)->type.rank != 1) return gr_nomatch(why, "the bias is not a row");
    return true;
}

static gr_value *rewrite_to_float(gr_build *b, const gr_match *m)
{
    gr_value *in[8] = {0};
    for (uint32_t i = 0; i < 7; i++) in[i] = gr_in(m->root, i);
    return fused(b, in, false, "product");
}

static const char *const to_float_patterns[] = {"(MatMulIntegerToFloat _ $w ...)", NULL};

/* ---- DequantizeLinear around a product ---- */

typedef struct operands {
    const gr_node *a, *w; /* DequantizeLinear; a NULL: floats */
    bool transposed;
    int64_t axis, block;
    gr_value *bias;
} operands;

/* A comes from bytes with one scale, and constants have one scale or one for each column. */
static bool all_bytes(const gr_value *x, const operands *o)
{
    const gr_node *n = x->konst ? NULL : x->def;
    const gr_value *codes = gr_in(o->w, 0);
    if (!n || !gr_is_named(n, "DequantizeLinear") || !is_bytes(gr_in(n, 0)) || !is_bytes(codes)) return false;
    if (!gr_quant_is_one(gr_in(n, 1)) || !per_column(gr_in(n, 1), GR_DIM(1)) || o->block) return false;
    if (!gr_quant_is_one(gr_in(o->w, 1)) && o->axis != !o->transposed) return false;
    return codes->konst->dims[o->transposed] <= LONGEST_SUM && (!gr_in(n, 2) || gr_quant_is_one(gr_in(n, 2)));
}

static bool operands_of(const gr_match *m, operands *o, gr_why *why)
{
    const gr_node *n = m->root;
    const bool gemm = gr_is_named(n, "Gemm");
    const gr_value *x = gr_in(n, 0);
    int64_t ta = 0, tb = 0;
    float alpha = 1, beta = 1;
    *o = (operands){.w = gr_quant_weight(gr_in(n, 1), &o->transposed)};
    o->w = gr_quant_weight(gr_in(n, 1), &o->transposed);
    if (!o->w || !gr_quant_layout(o->w, &o->axis, &o->block)) return gr_nomatch(why, "no matrix of codes as weight");
    if (!is_float(x) || x->type.rank < 2) return gr_nomatch(why, "not applied to rows of floats");
    if (gemm && (gr_attr_int(n->attrs, "transA", 0, &ta, NULL) != GR_OK || ta ||
                 gr_attr_int(n->attrs, "transB", 0, &tb, NULL) != GR_OK ||
                 gr_attr_float(n->attrs, "alpha", 1, &alpha, NULL) != GR_OK || alpha != 1 ||
                 gr_attr_float(n->attrs, "beta", 1, &beta, NULL) != GR_OK || beta != 1))
        return gr_nomatch(why, "not a plain product");
    o->transposed = o->transposed != (tb != 0);
    o->bias = gemm ? gr_in(n, 2) : NULL;
    const gr_dim columns = gr_in(o->w, 0)->type.dims[!o->transposed];
    if (o->bias && (!o->bias->konst || !is_float(o->bias) || o->bias->type.rank != 1 ||
                    !gr_dim_same(o->bias->type.dims[0], columns)))
        return gr_nomatch(why, "the bias is not a constant row");
    if (!m->g->strict && all_bytes(x, o)) o->a = x->def;
    return true;
}

static bool check_product(const gr_match *m, gr_why *why)
{
    operands o;
    return operands_of(m, &o, why);
}

static gr_value *rewrite_product(gr_build *b, const gr_match *m)
{
    operands o;
    gr_why why;
    if (!operands_of(m, &o, &why)) return NULL;
    if (o.a) {
        gr_value *in[8] = {gr_in(o.a, 0), gr_in(o.w, 0), gr_in(o.a, 1), gr_in(o.w, 1),
                           gr_in(o.a, 2), gr_in(o.w, 2), o.bias};
        return fused(b, in, o.transposed, "product");
    }
    gr_attr attrs[] = {gr_attr_of_int("transB", o.transposed), gr_attr_of_string("activation", ""),
                       gr_attr_of_int("axis", o.axis), gr_attr_of_int("block_size", o.block)};
    gr_value *in[] = {gr_in(m->root, 0), gr_in(o.w, 0), gr_in(o.w, 1), gr_in(o.w, 2), o.bias};
    return gr_build_node(b, "graphrun", "WeightOnlyLinear", gr_build_attrs(b, 4, attrs), 5, in);
}

static const char *const product_patterns[] = {"(MatMul x e)", NULL};
static const char *const gemm_patterns[] = {"(Gemm x e ...)", NULL};

/* ---- bias, activation, residual ---- */

/* A layer with another input in a slot, and another activation if that is not NULL. */
static gr_value *extended(gr_build *b, const gr_node *n, uint32_t slot, gr_value *v, const char *activation)
{
    gr_value *in[8] = {0};
    gr_attr attrs[8];
    size_t count = 0;
    for (uint32_t i = 0; i < n->nin; i++) in[i] = gr_in(n, i);
    if (v) in[slot] = v;
    for (; count < n->attrs.count; count++) {
        attrs[count] = n->attrs.items[count];
        if (activation && !strcmp(attrs[count].name, "activation"))
            attrs[count] = gr_attr_of_string("activation", activation);
    }
    return gr_build_node(b, "graphrun", n->op->name, gr_build_attrs(b, count, attrs), 8, in);
}

static uint32_t bias_slot(const gr_node *n) { return !gr_is_named(n, "QuantizedLinear") ? 4 : 6; }

static const char *activation_of(const gr_node *n)
{
    const char *activation = "";
    return gr_attr_string(n->attrs, "activation", "", &activation, NULL) == GR_OK ? activation : "?";
}

static bool check_bias(const gr_match *m, gr_why *why)
{
    const gr_node *n = gr_bound_node(m, "n");
    const gr_value *b = gr_bound(m, "b");
    const gr_type *y = &n->out[0]->type;
    if (gr_in(n, bias_slot(n)) || gr_in(n, bias_slot(n) + 1) || *activation_of(n))
        return gr_nomatch(why, "the layer has a bias already");
    if (!is_float(b) || b->type.rank != 1 || y->rank < 1 || !gr_dim_same(b->type.dims[0], y->dims[y->rank - 1]))
        return gr_nomatch(why, "the bias is not a row");
    return true;
}

static gr_value *rewrite_bias(gr_build *b, const gr_match *m)
{
    const gr_node *n = gr_bound_node(m, "n");
    return extended(b, n, bias_slot(n), gr_bound(m, "b"), NULL);
}

static bool check_activation(const gr_match *m, gr_why *why)
{
    const gr_node *n = gr_bound_node(m, "n");
    if (*activation_of(n) || gr_in(n, bias_slot(n) + 1)) return gr_nomatch(why, "the layer has an activation already");
    return gr_activation_name(m->root) != NULL;
}

static gr_value *rewrite_activation(gr_build *b, const gr_match *m)
{
    return extended(b, gr_bound_node(m, "n"), 0, NULL, gr_activation_name(m->root));
}

static bool check_residual(const gr_match *m, gr_why *why)
{
    const gr_node *n = gr_bound_node(m, "n");
    const gr_type *r = &gr_bound(m, "r")->type, *y = &n->out[0]->type;
    if (gr_in(n, bias_slot(n) + 1)) return gr_nomatch(why, "the layer has a residual already");
    if (gr_bound(m, "r") == n->out[0]) return gr_nomatch(why, "it is the layer itself");
    if (r->dtype != y->dtype || r->rank != y->rank || r->rank < 0) return gr_nomatch(why, "the summand is broadcast");
    for (int i = 0; i < r->rank; i++)
        if (!gr_dim_same(r->dims[i], y->dims[i])) return gr_nomatch(why, "the summand is broadcast along axis %d", i);
    return true;
}

static gr_value *rewrite_residual(gr_build *b, const gr_match *m)
{
    const gr_node *n = gr_bound_node(m, "n");
    return extended(b, n, bias_slot(n) + 1, gr_bound(m, "r"), NULL);
}

#define LAYERS(before, after)                                                                                          \
    "(" before " n:(QuantizedLinear _ ...)" after ")", "(" before " n:(WeightOnlyLinear _ ...)" after ")"
static const char *const bias_patterns[] = {LAYERS("Add", " $b"), NULL};
static const char *const activation_patterns[] = {LAYERS("Gelu", ""), LAYERS("Relu", ""), LAYERS("Tanh", ""), LAYERS("Swish", ""),
                                                  LAYERS("Sigmoid", ""), NULL};
static const char *const residual_patterns[] = {LAYERS("Add", " r"), NULL};

/* Two factors first: of them the first alone may look like all. */
static bool has_codes(const gr_node *n)
{
    bool transposed;
    return gr_quant_weight(gr_in(n, 1), &transposed) != NULL;
}

static bool has_weight(const gr_node *n) { return gr_in(n, 1) && gr_in(n, 1)->konst; }

/* Two factors first: of them the first alone may look like all. */
static const gr_rule rules[] = {
    {"quant-a-first", a_first_patterns, check_twice, rewrite_a_first, NULL, NULL, false},
    {"quant-b-first", b_first_patterns, check_twice, rewrite_b_first, NULL, NULL, false},
    {"quant-integer", integer_patterns, check_integer, rewrite_integer, "MatMulInteger", has_weight, false},
    {"quant-to-float", to_float_patterns, check_to_float, rewrite_to_float, "MatMulIntegerToFloat", has_weight, false},
    {"quant-product", product_patterns, check_product, rewrite_product, "MatMul", has_codes, false},
    {"quant-gemm", gemm_patterns, check_product, rewrite_product, "Gemm", has_codes, false},
    {"quant-bias", bias_patterns, check_bias, rewrite_bias, NULL, NULL, false},
    {"quant-activation", activation_patterns, check_activation, rewrite_activation, NULL, NULL, false},
};
static const gr_rule residual = {"quant-residual", residual_patterns, check_residual, rewrite_residual, NULL, NULL, false};

gr_status gr_pass_quant(gr_graph *g, int *hits, gr_err *err)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) GR_TRY(gr_apply_rule(g, &rules[i], hits, err));
    return GR_OK;
}

gr_status gr_pass_quant_residual(gr_graph *g, int *hits, gr_err *err) { return gr_apply_rule(g, &residual, hits, err); }
