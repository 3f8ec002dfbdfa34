/* SPDX-License-Identifier: Apache-2.0
 *
 * LayerNorm(x) = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * g + b over the last axis, as exporters write it
 * out before opset 17 (PyTorch), and as TensorFlow's batch normalisation does: x * r + (b - mean * r) with r = g /
 * sqrt(var + eps), or by way of InstanceNormalization; and the form without a mean. Requires inference and no common
 * subexpressions.
 */
#include "match.h"
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

static bool is_row(const gr_value *v, gr_dim width)
{
    return v->type.rank == 1 && v->type.dtype == GR_FLOAT && gr_dim_same(v->type.dims[0], width);
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
    gr_dim width = x->type.dims[x->type.rank - 1];
    for (int i = 0; i < 2; i++) {
        const gr_value *row = gr_bound(m, i ? "b" : "g");
        const gr_node *reader = reader_of(m, row);
        if (!is_row(row, width))
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
    gr_value *in[] = {gr_bound(m, "x"), gr_bound(m, "g"), gr_bound(m, "b")};
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

/* ---- without the mean: x / sqrt(mean(x^2) + eps) * g ---- */

#define RMS(inverse) "(Mul (Mul x " inverse ") $g)", "(Mul x (Mul " inverse " $g))"
static const char *const rms_patterns[] = {"(Mul (Div x " ROOT("(Pow x 2)") ") $g)",
                                           "(Mul (Div x " ROOT("(Mul x x)") ") $g)",
                                           RMS("(Reciprocal " ROOT("(Pow x 2)") ")"),
                                           RMS("(Reciprocal " ROOT("(Mul x x)") ")"),
                                           RMS("(Div 1 " ROOT("(Pow x 2)") ")"),
                                           RMS("(Div 1 " ROOT("(Mul x x)") ")"),
                                           RMS(POWER("(Pow x 2)", "-0.5")),
                                           RMS(POWER("(Mul x x)", "-0.5")),
                                           NULL};

static bool check_rms(const gr_match *m, gr_why *why)
{
    const gr_value *x = gr_bound(m, "x");
    double eps;
    if (x->type.dtype != GR_FLOAT || x->type.rank < 1) return gr_nomatch(why, "x is not a float tensor of known rank");
    if (!gr_reduces_last_axis(gr_bound_node(m, "v"))) return gr_nomatch(why, "the mean is not over the last axis");
    if (!gr_scalar_of(gr_bound(m, "eps"), &eps) || !(eps >= 0)) return gr_nomatch(why, "epsilon is not a scalar");
    return is_row(gr_bound(m, "g"), x->type.dims[x->type.rank - 1]) ||
           gr_nomatch(why, "the scale is not a row as wide as x");
}

static gr_value *rewrite_rms(gr_build *b, const gr_match *m)
{
    double eps = 0;
    gr_scalar_of(gr_bound(m, "eps"), &eps);
    gr_attr attrs[] = {gr_attr_of_int("axis", -1), gr_attr_of_float("epsilon", (float)eps)};
    gr_value *in[] = {gr_bound(m, "x"), gr_bound(m, "g")};
    return gr_build_node(b, "", "SimplifiedLayerNormalization", gr_build_attrs(b, 2, attrs), 2, in);
}

/* ---- with the tokens as channels: InstanceNormalization normalises each row of [batch, tokens, width] ---- */

static const char *const instance_patterns[] = {"(Add (Mul i:(InstanceNormalization x s z) $g) $b)", NULL};

/* Whether every element is `want`: of a constant, or of one that is filled at run time. */
static bool filled_with(const gr_value *v, float want)
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
    if (!gr_is_op(v->def, "ConstantOfShape")) return false;
    const gr_attr *value = gr_attr_find(v->def->attrs, "value");
    if (!value) return want == 0;
    if (value->type != GR_ATTR_TENSOR || value->t->dtype != GR_FLOAT || value->t->size != 4) return false;
    memcpy(&x, value->t->data, 4);
    return x == want;
}

static bool check_instance(const gr_match *m, gr_why *why)
{
    const gr_value *x = gr_bound(m, "x");
    if (x->type.dtype != GR_FLOAT || x->type.rank != 3) return gr_nomatch(why, "x has other than three axes");
    if (!filled_with(gr_bound(m, "s"), 1) || !filled_with(gr_bound(m, "z"), 0))
        return gr_nomatch(why, "rows have scales or biases of their own");
    return (is_row(gr_bound(m, "g"), x->type.dims[2]) && is_row(gr_bound(m, "b"), x->type.dims[2])) ||
           gr_nomatch(why, "scale or bias is not a row as wide as x");
}

static gr_value *rewrite_instance(gr_build *b, const gr_match *m)
{
    float eps = 1e-5f;
    if (gr_attr_float(gr_bound_node(m, "i")->attrs, "epsilon", eps, &eps, b->err) != GR_OK) return NULL;
    gr_attr attrs[] = {gr_attr_of_int("axis", -1), gr_attr_of_float("epsilon", eps)};
    gr_value *in[] = {gr_bound(m, "x"), gr_bound(m, "g"), gr_bound(m, "b")};
    return gr_build_node(b, "", "LayerNormalization", gr_build_attrs(b, 2, attrs), 3, in);
}

static const gr_rule rules[] = {
    {"root", root_patterns, check_root, rewrite_root, NULL, NULL, false},
    {"layer-norm", patterns, check, rewrite, "ReduceMean", NULL, false},
    {"layer-norm-instance", instance_patterns, check_instance, rewrite_instance, "InstanceNormalization", NULL, false},
    {"rms-norm", rms_patterns, check_rms, rewrite_rms, "ReduceMean", NULL, false}};

gr_status gr_pass_layer_norm(gr_graph *g, int *hits, gr_err *err)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) GR_TRY(gr_apply_rule(g, &rules[i], hits, err));
    return GR_OK;
}
