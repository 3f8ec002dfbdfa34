/* SPDX-License-Identifier: Apache-2.0
 *
 * LayerNorm and RMS norm put together from parts, where layer-norm did not find all of them: what is normalised first,
 * without a scale and a bias, by way of BatchNormalization too (tf2onnx: rows as channels) or with the variance as
 * mean(x^2) - mean(x)^2 (flax); then a scale and a bias of LayerNormalization that has none yet, as in files of opset 17
 * whose layers are not affine. Requires layer-norm.
 */
#include "build.h"
#include "norm.h"
#include "passes.h"

#define DEVIATION        "d:(Sub x m:(ReduceMean x ...))"
#define ROOT(variance)   "(Sqrt (Add " variance " $eps))"
#define MEAN(square)     "v:(ReduceMean " square " ...)"
#define POWER(variance)  "(Pow (Add " variance " $eps) -0.5)"
#define INVERSES(F, v)   F("(Reciprocal " ROOT(v) ")"), F("(Div 1 " ROOT(v) ")"), F(POWER(v))
#define BY_INVERSE(r)    "(Mul " DEVIATION " (Mul " r " $g))", "(Mul " DEVIATION " " r ")"
#define FORMS(v)         "(Div " DEVIATION " " ROOT(v) ")", INVERSES(BY_INVERSE, v)
#define DIFFERENCE       "(Sub v:(ReduceMean (Mul x x) ...) (Mul m m))"
/* TensorFlow's: x * r - mean * r */
#define FOLDED(r)        "(Sub (Mul x r:" r ") (Mul m:(ReduceMean x ...) r))", "(Add (Mul x r:" r ") (Sub $b (Mul m:(ReduceMean x ...) r)))"
#define SQUARED          MEAN("(Mul (Sub x (ReduceMean x ...)) (Sub x (ReduceMean x ...)))")

static const char *const plain_patterns[] = {FORMS(MEAN("(Pow d 2)")), FORMS(MEAN("(Mul d d)")), FORMS(DIFFERENCE),
                                             FOLDED("(Reciprocal " ROOT(SQUARED) ")"), NULL};

static bool known_width(const gr_value *x)
{
    return x->type.dtype == GR_FLOAT && x->type.rank >= 1 && gr_dim_known(x->type.dims[x->type.rank - 1]) &&
           x->type.dims[x->type.rank - 1].k > 0;
}

static bool check_plain(const gr_match *m, gr_why *why)
{
    const gr_value *x = gr_bound(m, "x");
    double eps;
    if (!known_width(x)) return gr_nomatch(why, "x is not a float tensor of known width");
    for (int i = 0; i < m->nnodes; i++)
        if (gr_is_op(m->nodes[i], "ReduceMean") && !gr_reduces_last_axis(m->nodes[i]))
            return gr_nomatch_at(why, m->nodes[i], "'%s' is not over the last axis alone, with its dimension kept",
                                 gr_show(gr_node_label(m->nodes[i])));
    if (!gr_scalar_of(gr_bound(m, "eps"), &eps) || !(eps >= 0)) return gr_nomatch(why, "epsilon is not a scalar");
    for (int i = 0; i < 2; i++) {
        const gr_value *row = gr_bound(m, i ? "b" : "g");
        if (row && !gr_norm_row(row, x)) return gr_nomatch(why, "scale or bias is not a row as wide as x");
    }
    return true;
}

/* A row of ones as wide as x. NULL: out of memory. */
static gr_value *ones(gr_build *b, const gr_value *x)
{
    const int64_t width = x->type.dims[x->type.rank - 1].k;
    float *row = GR_NEWS(b->g->arena, (size_t)width, float);
    for (int64_t i = 0; row && i < width; i++) row[i] = 1;
    gr_value *v = row ? gr_graph_const(b->g, "ones", GR_FLOAT, 1, &width, row) : NULL;
    return v ? v : (gr_err_write(b->err, GR_ENOMEM, "out of memory"), NULL);
}

static gr_value *norm(gr_build *b, const char *op, float eps, gr_value *x, gr_value *scale, gr_value *bias)
{
    gr_attr attrs[] = {gr_attr_of_int("axis", -1), gr_attr_of_float("epsilon", eps)};
    gr_value *in[] = {x, scale ? scale : ones(b, x), bias};
    return in[1] ? gr_build_node(b, "", op, gr_build_attrs(b, 2, attrs), 3, in) : NULL;
}

static gr_value *rewrite_plain(gr_build *b, const gr_match *m)
{
    double eps = 0;
    gr_scalar_of(gr_bound(m, "eps"), &eps);
    gr_value *g = gr_norm_flat(b, gr_bound(m, "g")), *bias = gr_norm_flat(b, gr_bound(m, "b"));
    return norm(b, "LayerNormalization", (float)eps, gr_bound(m, "x"), g, bias);
}

/* ---- without a mean ---- */

#define RMS_BY(r) "(Mul x (Mul " r " $g))", "(Mul x " r ")"
static const char *const rms_patterns[] = {"(Div x " ROOT(MEAN("(Pow x 2)")) ")", "(Div x " ROOT(MEAN("(Mul x x)")) ")",
                                           INVERSES(RMS_BY, MEAN("(Pow x 2)")), INVERSES(RMS_BY, MEAN("(Mul x x)")), NULL};

static gr_value *rewrite_rms(gr_build *b, const gr_match *m)
{
    double eps = 0;
    gr_scalar_of(gr_bound(m, "eps"), &eps);
    return norm(b, "SimplifiedLayerNormalization", (float)eps, gr_bound(m, "x"), gr_norm_flat(b, gr_bound(m, "g")), NULL);
}

/* ---- rows as channels of BatchNormalization ---- */

#define BATCH(view, count)                                                                                             \
    "(Reshape n:(BatchNormalization f s z (" view " m:(ReduceMean f ...) ...) (Div q:(ReduceSumSquare (Sub f m) ...) " \
    count ")) _)"
/* Elements of a channel: known, or counted at run time. */
#define ALL  "(ReduceProd all:(Shape f) ...)"
#define EACH "(Gather all 1)"
#define COUNTED(view)                                                                                                  \
    BATCH(view, "$c"), BATCH(view, "(Cast (Div " ALL " " EACH "))"),                                                   \
        BATCH(view, "(Div (Cast " ALL ") (Cast " EACH "))")
static const char *const batch_patterns[] = {COUNTED("Squeeze"), COUNTED("Reshape"), NULL};

/* All axes but the second. */
static bool within_channels(const gr_node *n)
{
    int64_t count, axes[GR_MAX_RANK], seen = 0;
    bool keep;
    if (!gr_reduced_axes(n, &count, axes, &keep)) return false;
    for (int64_t i = 0; i < count; i++) seen |= INT64_C(1) << axes[i];
    return seen == (INT64_C(1) << gr_in(n, 0)->type.rank) - 1 - 2;
}

static bool check_batch(const gr_match *m, gr_why *why)
{
    const gr_value *f = gr_bound(m, "f");
    const gr_node *view = f->konst ? NULL : f->def;
    const gr_value *x = gr_is_op(view, "Reshape") ? gr_in(view, 0) : NULL;
    const gr_type *y = &m->root->out[0]->type;
    double count, width = x && known_width(x) ? (double)x->type.dims[x->type.rank - 1].k : 0;
    if (!width || f->type.rank != 4 || y->rank != x->type.rank) return gr_nomatch(why, "not rows as channels");
    for (int i = 0; i < y->rank; i++)
        if (!gr_dim_same(y->dims[i], x->type.dims[i])) return gr_nomatch(why, "the shape before it is another");
    if (!gr_dim_is(f->type.dims[0], 1) || !gr_dim_is(f->type.dims[2], (int64_t)width) || !gr_dim_is(f->type.dims[3], 1))
        return gr_nomatch(why, "channels are not rows");
    if (!gr_norm_filled(gr_bound(m, "s"), 1) || !gr_norm_filled(gr_bound(m, "z"), 0))
        return gr_nomatch(why, "rows have scales or biases of their own");
    if (!within_channels(gr_bound_node(m, "m")) || !within_channels(gr_bound_node(m, "q")))
        return gr_nomatch(why, "mean or variance are not those of rows");
    const gr_node *shape = gr_bound_node(m, "all");
    return (shape ? !shape->attrs.count : gr_scalar_of(gr_bound(m, "c"), &count) && count == width) ||
           gr_nomatch(why, "squares are not divided by their number");
}

static gr_value *rewrite_batch(gr_build *b, const gr_match *m)
{
    float eps = 1e-5f;
    if (gr_attr_float(gr_bound_node(m, "n")->attrs, "epsilon", eps, &eps, b->err) != GR_OK) return NULL;
    return norm(b, "LayerNormalization", eps, gr_in(gr_bound(m, "f")->def, 0), NULL, NULL);
}

/* ---- scale and bias ---- */

static const char *const scale_patterns[] = {"(Mul n:(LayerNormalization x $s) $g)",
                                             "(Mul n:(SimplifiedLayerNormalization x $s) $g)", NULL};
static const char *const bias_patterns[] = {"(Add n:(LayerNormalization x $s) $b)", NULL};

static bool over_last_axis(const gr_node *n)
{
    int64_t axis;
    const int rank = gr_in(n, 0)->type.rank;
    return rank >= 1 && gr_attr_int(n->attrs, "axis", -1, &axis, NULL) == GR_OK && (axis == -1 || axis == rank - 1) &&
           gr_in(n, 0)->type.dtype == GR_FLOAT;
}

static bool check_scale(const gr_match *m, gr_why *why)
{
    if (!over_last_axis(gr_bound_node(m, "n"))) return gr_nomatch(why, "it is not over the last axis");
    if (!gr_norm_filled(gr_bound(m, "s"), 1)) return gr_nomatch(why, "there is a scale already");
    return gr_norm_row(gr_bound(m, "g"), gr_bound(m, "x")) || gr_nomatch(why, "the scale is not a row as wide as x");
}

static bool check_bias(const gr_match *m, gr_why *why)
{
    if (!over_last_axis(gr_bound_node(m, "n"))) return gr_nomatch(why, "it is not over the last axis");
    return gr_norm_row(gr_bound(m, "b"), gr_bound(m, "x")) || gr_nomatch(why, "the bias is not a row as wide as x");
}

static gr_value *rewrite_affine(gr_build *b, const gr_match *m)
{
    const gr_node *n = gr_bound_node(m, "n");
    float eps = 1e-5f;
    if (gr_attr_float(n->attrs, "epsilon", eps, &eps, b->err) != GR_OK) return NULL;
    gr_value *g = gr_bound(m, "g") ? gr_norm_flat(b, gr_bound(m, "g")) : gr_bound(m, "s");
    return g ? norm(b, n->op->name, eps, gr_bound(m, "x"), g, gr_norm_flat(b, gr_bound(m, "b"))) : NULL;
}

static const gr_rule rules[] = {{"norm-plain", plain_patterns, check_plain, rewrite_plain, NULL, NULL, false},
                                {"rms-norm", rms_patterns, check_plain, rewrite_rms, "ReduceMean", NULL, false},
                                {"norm-batch", batch_patterns, check_batch, rewrite_batch, NULL, NULL, false},
                                {"norm-scale", scale_patterns, check_scale, rewrite_affine, NULL, NULL, false},
                                {"norm-bias", bias_patterns, check_bias, rewrite_affine, NULL, NULL, false}};

gr_status gr_pass_norm_parts(gr_graph *g, int *hits, gr_err *err)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) GR_TRY(gr_apply_rule(g, &rules[i], hits, err));
    return GR_OK;
}
