/* SPDX-License-Identifier: Apache-2.0
 *
 * LayerNorm(x) = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * g + b over the last axis, as exporters write it
 * out before opset 17 (PyTorch), and as TensorFlow's batch normalisation does: x * r + (b - mean * r) with r = g /
 * sqrt(var + eps), or by way of InstanceNormalization. Requires inference and no common subexpressions.
 */
#include "norm.h"
#include "passes.h"

#define DEVIATION            "d:(Sub x m:(ReduceMean x ...))"
#define ROOT(square)         "(Sqrt (Add v:(ReduceMean " square " ...) $eps))"
#define POWER(square, power) "(Pow (Add v:(ReduceMean " square " ...) $eps) " power ")"
/* d / root, times scale, plus bias */
#define DIVIDED(square) "(Add (Mul (Div " DEVIATION " " ROOT(square) ") $g) $b)"
#define TIMES(inverse)                                                                                                 \
    "(Add (Mul (Mul " DEVIATION " " inverse ") $g) $b)", "(Add (Mul " DEVIATION " (Mul " inverse " $g)) $b)"

static const char *const patterns[] = {DIVIDED("(Pow d 2)"),
                                       DIVIDED("(Mul d d)"),
                                       TIMES("(Reciprocal " ROOT("(Mul d d)") ")"),
                                       TIMES("(Reciprocal " ROOT("(Pow d 2)") ")"),
                                       TIMES("(Div 1 " ROOT("(Mul d d)") ")"),
                                       TIMES("(Div 1 " ROOT("(Pow d 2)") ")"),
                                       TIMES(POWER("(Mul d d)", "-0.5")),
                                       TIMES(POWER("(Pow d 2)", "-0.5")),
                                       "(Add (Mul x r:(Mul (Reciprocal (Sqrt (Add v:(ReduceMean (Mul " DEVIATION
                                       " d) ...) $eps))) $g)) (Sub $b (Mul m r)))",
                                       NULL};

bool gr_norm_row(const gr_value *v, const gr_value *x)
{
    const int last = v->type.rank - 1;
    if (last < 0 || v->type.rank > x->type.rank || v->type.dtype != GR_FLOAT) return false;
    for (int i = 0; i < last; i++)
        if (!gr_dim_is(v->type.dims[i], 1)) return false;
    return gr_dim_same(v->type.dims[last], x->type.dims[x->type.rank - 1]);
}

gr_value *gr_norm_flat(gr_build *b, gr_value *v)
{
    if (!v || v->type.rank == 1 || gr_is_narrow(v)) return v;
    gr_value *flat = gr_graph_const(b->g, v->name, GR_FLOAT, 1, &v->konst->elements, v->konst->data);
    return flat ? flat : (gr_err_write(b->err, GR_ENOMEM, "out of memory"), NULL);
}

bool gr_norm_filled(const gr_value *v, float want)
{
    enum { MOST = 1 << 16 };
    float x = 0;
    if (v->konst) {
        if (v->konst->dtype != GR_FLOAT || v->konst->elements > MOST) return false;
        for (int64_t i = 0; i < v->konst->elements; i++) {
            memcpy(&x, (const char *)v->konst->data + i * 4, 4);
            if (x != want) return false;
        }
        return true;
    }
    if (gr_is_op(v->def, "Expand") && gr_in(v->def, 0)->konst) return gr_norm_filled(gr_in(v->def, 0), want);
    if (!gr_is_op(v->def, "ConstantOfShape")) return false;
    const gr_attr *value = gr_attr_find(v->def->attrs, "value");
    if (!value) return want == 0;
    if (value->type != GR_ATTR_TENSOR || value->t->dtype != GR_FLOAT || value->t->size != 4) return false;
    memcpy(&x, value->t->data, 4);
    return x == want;
}

/* The node of the match that reads a constant. */
static const gr_node *reader_of(const gr_match *m, const gr_value *v)
{
    for (int i = 0; i < m->nnodes; i++)
        for (uint32_t k = 0; k < m->nodes[i]->nin; k++)
            if (gr_in(m->nodes[i], k) == v) return m->nodes[i];
    return m->root;
}

static bool check(const gr_match *m, gr_why *why)
{
    const gr_value *x = gr_bound(m, "x");
    double eps;
    if (x->type.dtype != GR_FLOAT || x->type.rank < 1) return gr_nomatch(why, "x is not a float tensor of known rank");
    for (int i = 0; i < 2; i++) {
        const gr_node *mean = gr_bound_node(m, i ? "v" : "m");
        if (!gr_reduces_last_axis(mean))
            return gr_nomatch_at(why, mean, "'%s' is not over the last axis alone, with its dimension kept",
                                 gr_show(gr_node_label(mean)));
    }
    if (!gr_scalar_of(gr_bound(m, "eps"), &eps) || !(eps >= 0)) return gr_nomatch(why, "epsilon is not a scalar");
    for (int i = 0; i < 2; i++) {
        const gr_value *row = gr_bound(m, i ? "b" : "g");
        const gr_node *reader = reader_of(m, row);
        if (!gr_norm_row(row, x))
            return gr_nomatch_at(why, reader, "'%s' reads '%s', which is not a row as wide as the normalised axis",
                                 gr_show(gr_node_label(reader)), gr_show(row->name));
    }
    return true;
}

static gr_value *rewrite(gr_build *b, const gr_match *m)
{
    double eps = 0;
    gr_scalar_of(gr_bound(m, "eps"), &eps);
    gr_attr attrs[] = {gr_attr_of_int("axis", -1), gr_attr_of_float("epsilon", (float)eps)};
    gr_value *in[] = {gr_bound(m, "x"), gr_norm_flat(b, gr_bound(m, "g")), gr_norm_flat(b, gr_bound(m, "b"))};
    return gr_build_node(b, "", "LayerNormalization", gr_build_attrs(b, 2, attrs), 3, in);
}

/* ---- roots written as powers ---- */

static const char *const root_patterns[] = {"(Pow x $p)", NULL};

static bool check_root(const gr_match *m, gr_why *why)
{
    double p;
    return (gr_bound(m, "x")->type.dtype == GR_FLOAT && gr_scalar_of(gr_bound(m, "p"), &p) && p == 0.5) ||
           gr_nomatch(why, "not the power 1/2 of floats");
}

static gr_value *rewrite_root(gr_build *b, const gr_match *m)
{
    gr_value *x = gr_bound(m, "x");
    return gr_build_node(b, "", "Sqrt", (gr_attrs){0}, 1, &x);
}

/* ---- with the tokens as channels: InstanceNormalization normalises each row of [batch, tokens, width] ---- */

static const char *const instance_patterns[] = {"(Add (Mul i:(InstanceNormalization x s z) $g) $b)", NULL};

static bool check_instance(const gr_match *m, gr_why *why)
{
    const gr_value *x = gr_bound(m, "x");
    if (x->type.dtype != GR_FLOAT || x->type.rank != 3) return gr_nomatch(why, "x has other than three axes");
    if (!gr_norm_filled(gr_bound(m, "s"), 1) || !gr_norm_filled(gr_bound(m, "z"), 0))
        return gr_nomatch(why, "rows have scales or biases of their own");
    return (gr_norm_row(gr_bound(m, "g"), x) && gr_norm_row(gr_bound(m, "b"), x)) ||
           gr_nomatch(why, "scale or bias is not a row as wide as x");
}

static gr_value *rewrite_instance(gr_build *b, const gr_match *m)
{
    float eps = 1e-5f;
    if (gr_attr_float(gr_bound_node(m, "i")->attrs, "epsilon", eps, &eps, b->err) != GR_OK) return NULL;
    gr_attr attrs[] = {gr_attr_of_int("axis", -1), gr_attr_of_float("epsilon", eps)};
    gr_value *in[] = {gr_bound(m, "x"), gr_norm_flat(b, gr_bound(m, "g")), gr_norm_flat(b, gr_bound(m, "b"))};
    return gr_build_node(b, "", "LayerNormalization", gr_build_attrs(b, 2, attrs), 3, in);
}

static const gr_rule rules[] = {
    {"root", root_patterns, check_root, rewrite_root, NULL, NULL, false},
    {"layer-norm", patterns, check, rewrite, "ReduceMean", NULL, false},
    {"layer-norm-instance", instance_patterns, check_instance, rewrite_instance, "InstanceNormalization", NULL, false}};

gr_status gr_pass_layer_norm(gr_graph *g, int *hits, gr_err *err)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) GR_TRY(gr_apply_rule(g, &rules[i], hits, err));
    return GR_OK;
}
