/* SPDX-License-Identifier: Apache-2.0
 *
 * LayerNorm(x) = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * g + b over the last axis, as exporters write it out
 * before opset 17 (PyTorch), and as TensorFlow's batch normalisation does: x * r + (b - mean * r) with
 * r = g / sqrt(var + eps). Requires inference and no common subexpressions.
 */
#include "match.h"
#include "passes.h"

#define DEVIATION "d:(Sub x m:(ReduceMean x ...))"

static const char *const patterns[] = {
    "(Add (Mul (Div " DEVIATION " (Sqrt (Add v:(ReduceMean (Pow d 2) ...) $eps))) $g) $b)",
    "(Add (Mul (Div " DEVIATION " (Sqrt (Add v:(ReduceMean (Mul d d) ...) $eps))) $g) $b)",
    "(Add (Mul (Mul " DEVIATION " (Reciprocal (Sqrt (Add v:(ReduceMean (Mul d d) ...) $eps)))) $g) $b)",
    "(Add (Mul x r:(Mul (Reciprocal (Sqrt (Add v:(ReduceMean (Mul " DEVIATION " d) ...) $eps))) $g)) (Sub $b (Mul m r)))",
    NULL};

static bool is_row(const gr_value *v, gr_dim width)
{
    return v->type.rank == 1 && v->type.dtype == GR_FLOAT && gr_dim_same(v->type.dims[0], width);
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
    if (!is_row(gr_bound(m, "g"), width) || !is_row(gr_bound(m, "b"), width))
        return gr_nomatch(why, "scale or bias is not a row as wide as x");
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

static const gr_rule rule = {"layer-norm", patterns, check, rewrite, "ReduceMean", NULL, false};

gr_status gr_pass_layer_norm(gr_graph *g, int *hits, gr_err *err) { return gr_apply_rule(g, &rule, hits, err); }
