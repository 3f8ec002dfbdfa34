/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators on codes of constant scales
 *     QLinearMatMul, com.microsoft's QLinearAdd, QLinearMul and QGemm
 * become what they stand for: the operator on floats between DequantizeLinear and QuantizeLinear. So files that hold
 * such operators are fused as those that hold pairs are. Only for graphs of sessions in bytes, and not if the graph is
 * strict. Requires parts.
 */
#include "build.h"
#include "ops/codes.h"
#include "passes.h"

enum { A, A_SCALE, A_ZERO, B, B_SCALE, B_ZERO, C };

/* What differs between the operators: places of the result's parameters, and the operator on floats. */
typedef struct form {
    const char *name, *floats;
    uint32_t scale, zero;
    bool product; /* of matrices: of constant bytes with a scale for each column, too */
} form;

static const form *form_of(const gr_node *n)
{
    static const form forms[] = {{"QLinearMatMul", "MatMul", 6, 7, true},
                                 {"QLinearAdd", "Add", 6, 7, false},
                                 {"QLinearMul", "Mul", 6, 7, false},
                                 {"QGemm", "Gemm", 7, 8, true},
                                 {0}};
    const form *f = forms;
    while (f->name && strcmp(n->op->name, f->name)) f++;
    return f->name ? f : NULL;
}

static bool is_codes(const gr_value *v)
{
    return v && (v->type.dtype == GR_UINT8 || v->type.dtype == GR_INT8 || v->type.dtype == GR_UINT16 ||
                 v->type.dtype == GR_INT16);
}

static bool is_scale(const gr_value *v)
{
    double x;
    return v && v->konst && v->konst->dtype == GR_FLOAT && gr_scalar_of(v, &x) && x > 0;
}

static bool is_zero(const gr_value *v) { return v && v->konst && v->konst->elements == 1; }

/* The axis that B has scales for; -1: it has one. */
static int64_t axis_of(const gr_node *n)
{
    int64_t trans = 0;
    if (gr_in(n, B_SCALE)->konst->elements == 1) return -1;
    gr_attr_int(n->attrs, "transB", 0, &trans, NULL);
    return trans ? 0 : 1;
}

/* A constant matrix with a scale and a zero point, if it has any, for each column. */
static bool has_columns(const gr_node *n)
{
    const gr_value *b = gr_in(n, B), *s = gr_in(n, B_SCALE), *z = gr_in(n, B_ZERO);
    if (!b->konst || b->type.rank != 2 || !s || !s->konst || s->konst->dtype != GR_FLOAT || s->type.rank != 1)
        return false;
    return axis_of(n) >= 0 && s->konst->elements == b->konst->dims[axis_of(n)] &&
           (!z || (z->konst && z->type.rank == 1 && z->konst->elements == s->konst->elements));
}

static bool check(const gr_match *m, gr_why *why)
{
    const gr_node *n = m->root;
    const form *f = form_of(n);
    const gr_value *c = f->zero > C + 1 ? gr_in(n, C) : NULL;
    if (!is_codes(gr_in(n, A)) || !is_codes(gr_in(n, B)))
        return gr_nomatch(why, "its operands are not codes of 8 or 16 bits");
    if (!is_scale(gr_in(n, A_SCALE)) || (gr_in(n, A_ZERO) && !is_zero(gr_in(n, A_ZERO))))
        return gr_nomatch(why, "A has no constant scale of its own");
    if (!(is_scale(gr_in(n, B_SCALE)) && (!gr_in(n, B_ZERO) || is_zero(gr_in(n, B_ZERO)))) &&
        !(f->product && has_columns(n)))
        return gr_nomatch(why, "B has no constant scales");
    if (c && (!c->konst || c->type.dtype != GR_INT32 || c->type.rank > 1))
        return gr_nomatch(why, "its bias is not a constant row");
    if (c && c->konst->elements != 1 && gr_in(n, B_SCALE)->konst->elements != 1 &&
        gr_in(n, B_SCALE)->konst->elements != c->konst->elements)
        return gr_nomatch(why, "its bias has another length than its scales");
    if (gr_in(n, f->scale) ? !is_scale(gr_in(n, f->scale)) || !is_zero(gr_in(n, f->zero)) : f->zero <= C + 1)
        return gr_nomatch(why, "the result has no constant scale");
    return true;
}

/* A parameter that is one number, without dimensions. */
static gr_value *plain(gr_graph *g, gr_value *v)
{
    if (!v || v->konst->elements != 1 || v->type.rank == 0) return v;
    return gr_graph_const(g, v->name, v->konst->dtype, 0, NULL, v->konst->data);
}

/* (codes[i] - zero) * scale * factors[i] as a constant; factors may be one or NULL. */
static gr_value *computed(gr_build *b, const gr_value *codes, int32_t zero, float scale, const gr_value *factors)
{
    const gr_tensor *t = codes->konst;
    const int64_t one = factors ? factors->konst->elements : 1, count = t->elements == 1 ? one : t->elements;
    float *to = count <= INT32_MAX ? gr_arena_alloc(b->g->arena, (size_t)count * sizeof *to + 1) : NULL;
    for (int64_t i = 0; to && i < count; i++) {
        int32_t code;
        float factor = 1;
        gr_codes_load(t->dtype, t->data, t->elements == 1 ? 0 : i, 1, &code);
        if (factors) gr_codes_load_float(GR_FLOAT, factors->konst->data, one == 1 ? 0 : i, 1, &factor);
        to[i] = (float)(code - zero) * (scale * factor);
    }
    const bool grown = count != t->elements;
    const int64_t *dims = grown ? &count : t->dims;
    gr_value *v = to ? gr_graph_const(b->g, codes->name, GR_FLOAT, grown ? 1 : t->rank, dims, to) : NULL;
    if (!v) gr_err_write(b->err, GR_ENOMEM, "out of memory");
    return v;
}

/* Operand `at` in floats. */
static gr_value *floats_of(gr_build *b, const gr_node *n, uint32_t at, bool product)
{
    gr_value *codes = gr_in(n, at), *scale = gr_in(n, at + 1), *zero = gr_in(n, at + 2);
    const int64_t axis = at == B ? axis_of(n) : -1;
    if (codes->konst && !product) {
        double s = 0;
        int32_t z = 0;
        gr_scalar_of(scale, &s);
        if (zero) gr_codes_load(zero->konst->dtype, zero->konst->data, 0, 1, &z);
        return computed(b, codes, z, (float)s, NULL);
    }
    gr_attr attr = gr_attr_of_int("axis", axis);
    gr_value *in[] = {codes, plain(b->g, scale), plain(b->g, zero)};
    if (!in[1] || (zero && !in[2])) return gr_err_write(b->err, GR_ENOMEM, "out of memory"), NULL;
    return gr_build_node(b, "", "DequantizeLinear", axis < 0 ? (gr_attrs){0} : gr_build_attrs(b, 1, &attr), 3, in);
}

static gr_value *rewrite(gr_build *b, const gr_match *m)
{
    const gr_node *n = m->root;
    const form *f = form_of(n);
    gr_value *in[3] = {floats_of(b, n, A, f->product)}, *c = f->zero > C + 1 ? gr_in(n, C) : NULL;
    double scale = 1;
    float alpha = 1;
    gr_scalar_of(gr_in(n, A_SCALE), &scale);
    gr_attr_float(n->attrs, "alpha", 1, &alpha, NULL);
    if (!in[0] || !(in[1] = floats_of(b, n, B, f->product))) return NULL;
    /* C is added to the codes, before any scale. */
    if (c && !(in[2] = computed(b, c, 0, (float)scale * alpha, gr_in(n, B_SCALE)))) return NULL;
    gr_value *y = gr_build_node(b, "", f->floats, n->attrs, 3, in);
    if (!y || !gr_in(n, f->scale)) return y;
    gr_value *codes[] = {y, plain(b->g, gr_in(n, f->scale)), plain(b->g, gr_in(n, f->zero))};
    if (!codes[1] || !codes[2]) return gr_err_write(b->err, GR_ENOMEM, "out of memory"), NULL;
    return gr_build_node(b, "", "QuantizeLinear", (gr_attrs){0}, 3, codes);
}

static const char *const patterns[] = {"(QLinearMatMul ...)", "(QLinearAdd ...)", "(QLinearMul ...)", "(QGemm ...)",
                                       NULL};
static const gr_rule rule = {"quant-operators", patterns, check, rewrite, NULL, NULL, false};

gr_status gr_pass_quant_operators(gr_graph *g, int *hits, gr_err *err)
{
    return g->by_row && !g->strict ? gr_apply_rule(g, &rule, hits, err) : GR_OK;
}
