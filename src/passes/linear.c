/* SPDX-License-Identifier: Apache-2.0
 *
 * Linear layers: act(x W + b) + residual in one node, from MatMul and Add, Gemm, or Gemm between two Reshapes (GPT-2).
 * A transposed constant becomes an attribute, so that a weight is never copied for it. The activation requires gelu; the
 * residual is taken last, after LayerNorm had its chance.
 */
#include "build.h"
#include "passes.h"

static bool is_matrix(const gr_value *w) { return w->konst && w->type.rank == 2 && w->type.dtype == GR_FLOAT; }

static bool has_weight(const gr_node *product) { return gr_in(product, 1) && gr_in(product, 1)->konst; }

static bool is_row(const gr_value *b, gr_dim n) { return b->type.rank == 1 && b->type.dtype == GR_FLOAT && gr_dim_same(b->type.dims[0], n); }

static bool swaps_two(const gr_node *transpose)
{
    int64_t n;
    const int64_t *perm;
    if (gr_attr_ints(transpose->attrs, "perm", &n, &perm, NULL) != GR_OK) return false;
    return n < 0 || (n == 2 && perm[0] == 1 && perm[1] == 0);
}

static bool check_weight(const gr_match *m, gr_why *why)
{
    const gr_value *x = gr_bound(m, "x"), *w = gr_bound(m, "w"), *b = gr_bound(m, "b");
    const gr_node *t = gr_bound_node(m, "t");
    if (!is_matrix(w) || x->type.dtype != GR_FLOAT || x->type.rank < 2)
        return gr_nomatch(why, "not a float matrix applied to rows");
    if (t && !swaps_two(t)) return gr_nomatch(why, "the weight is not just transposed");
    if (b && !is_row(b, w->type.dims[t ? 0 : 1])) return gr_nomatch(why, "the bias is not a row");
    return true;
}

static gr_value *linear(gr_build *b, gr_value *x, gr_value *w, gr_value *bias, gr_value *residual, bool transposed,
                        const char *activation)
{
    gr_attr attrs[] = {gr_attr_of_int("transB", transposed), gr_attr_of_string("activation", activation)};
    gr_value *in[] = {x, w, bias, residual};
    return gr_build_node(b, "graphrun", "Linear", gr_build_attrs(b, 2, attrs), 4, in);
}

static gr_value *rewrite_matmul(gr_build *b, const gr_match *m)
{
    return linear(b, gr_bound(m, "x"), gr_bound(m, "w"), gr_bound(m, "b"), NULL, gr_bound_node(m, "t") != NULL, "");
}

static const char *const matmul_patterns[] = {"(Add (MatMul x $w) $b)", "(Add (MatMul x t:(Transpose $w)) $b)",
                                              "(MatMul x t:(Transpose $w))", NULL};

/* ---- without a bias, once nothing can bring one any more ---- */

static const char *const bare_patterns[] = {"(MatMul x $w)", NULL};

static bool check_late_bias(const gr_match *m, gr_why *why)
{
    const gr_node *n = gr_bound_node(m, "n");
    const char *activation = "";
    if (gr_attr_string(n->attrs, "activation", "", &activation, NULL) != GR_OK || *activation)
        return gr_nomatch(why, "the layer has an activation already");
    return is_row(gr_bound(m, "b"), n->out[0]->type.dims[n->out[0]->type.rank - 1]) ||
           gr_nomatch(why, "the bias is not a row");
}

static const char *const late_bias_patterns[] = {"(Add n:(Linear x $w) $b)", NULL};

/* ---- Gemm ---- */

static bool plain_gemm(const gr_node *n)
{
    int64_t ta;
    float alpha, beta;
    return gr_attr_int(n->attrs, "transA", 0, &ta, NULL) == GR_OK && !ta &&
           gr_attr_float(n->attrs, "alpha", 1, &alpha, NULL) == GR_OK && alpha == 1 &&
           gr_attr_float(n->attrs, "beta", 1, &beta, NULL) == GR_OK && beta == 1;
}

static bool is_transposed(const gr_node *n)
{
    int64_t tb = 0;
    return gr_attr_int(n->attrs, "transB", 0, &tb, NULL) == GR_OK && tb;
}

static bool check_gemm(const gr_match *m, gr_why *why)
{
    const gr_value *x = gr_bound(m, "x"), *w = gr_bound(m, "w");
    if (!plain_gemm(m->root) || !is_matrix(w) || x->type.dtype != GR_FLOAT)
        return gr_nomatch(why, "not a plain product with a float matrix");
    if (!is_row(gr_bound(m, "b"), w->type.dims[is_transposed(m->root) ? 0 : 1]))
        return gr_nomatch(why, "the bias is not a row");
    return true;
}

static gr_value *rewrite_gemm(gr_build *b, const gr_match *m)
{
    return linear(b, gr_bound(m, "x"), gr_bound(m, "w"), gr_bound(m, "b"), NULL, is_transposed(m->root), "");
}

static const char *const gemm_patterns[] = {"(Gemm x $w $b)", NULL};

static gr_value *rewrite_late_bias(gr_build *b, const gr_match *m)
{
    return linear(b, gr_bound(m, "x"), gr_bound(m, "w"), gr_bound(m, "b"), NULL, is_transposed(gr_bound_node(m, "n")),
                  "");
}

/* ---- between two Reshapes ---- */

static const char *own_activation(const gr_node *n)
{
    const char *activation = "";
    return gr_attr_string(n->attrs, "activation", "", &activation, NULL) == GR_OK ? activation : "?";
}

/* What was flattened; several layers may share that. NULL: nothing was. */
static gr_value *unflattened(const gr_value *f)
{
    const gr_node *n = f->konst ? NULL : f->def;
    return gr_is_op(n, "Reshape") ? gr_in(n, 0) : NULL;
}

/* Rows keep their length going in, and come out in the order that they had. */
static bool check_reshaped(const gr_match *m, gr_why *why)
{
    const gr_node *n = gr_bound_node(m, "n");
    if (!unflattened(gr_bound(m, "f"))) return gr_nomatch(why, "no reshape before it");
    const gr_type *x = &unflattened(gr_bound(m, "f"))->type, *y = &m->root->out[0]->type, *in = &gr_in(n, 0)->type;
    if (gr_in(n, 3) || x->rank < 1 || y->rank != x->rank || in->rank < 1)
        return gr_nomatch(why, "the reshapes around it differ");
    if (!gr_dim_same(x->dims[x->rank - 1], in->dims[in->rank - 1]) ||
        !gr_dim_same(y->dims[y->rank - 1], n->out[0]->type.dims[in->rank - 1]))
        return gr_nomatch(why, "the reshapes around it change the rows");
    for (int i = 0; i < x->rank - 1; i++)
        if (!gr_dim_same(x->dims[i], y->dims[i])) return gr_nomatch(why, "the reshapes around it differ");
    return true;
}

static gr_value *rewrite_reshaped(gr_build *b, const gr_match *m)
{
    const gr_node *n = gr_bound_node(m, "n");
    return linear(b, unflattened(gr_bound(m, "f")), gr_in(n, 1), gr_in(n, 2), NULL, is_transposed(n), own_activation(n));
}

static const char *const reshaped_patterns[] = {"(Reshape n:(Linear f ...) _)", NULL};

/* ---- activation ---- */

static bool check_activation(const gr_match *m, gr_why *why)
{
    const gr_node *n = gr_bound_node(m, "n");
    if (*own_activation(n) || gr_in(n, 3)) return gr_nomatch(why, "the layer has an activation already");
    return gr_activation_name(m->root) != NULL;
}

static gr_value *rewrite_activation(gr_build *b, const gr_match *m)
{
    const gr_node *n = gr_bound_node(m, "n");
    return linear(b, gr_in(n, 0), gr_in(n, 1), gr_in(n, 2), NULL, is_transposed(n), gr_activation_name(m->root));
}

static const char *const activation_patterns[] = {"(Gelu n:(Linear _ ...))", "(Relu n:(Linear _ ...))",
                                                  "(Tanh n:(Linear _ ...))", "(Swish n:(Linear _ ...))",
                                                  "(Sigmoid n:(Linear _ ...))", NULL};

/* ---- residual ---- */

static bool check_residual(const gr_match *m, gr_why *why)
{
    const gr_node *n = gr_bound_node(m, "n");
    const gr_type *r = &gr_bound(m, "r")->type, *y = &n->out[0]->type;
    if (gr_in(n, 3)) return gr_nomatch(why, "the layer has a residual already");
    if (gr_bound(m, "r") == n->out[0]) return gr_nomatch(why, "it is the layer itself");
    if (r->dtype != y->dtype || r->rank != y->rank) return gr_nomatch(why, "the summand is broadcast");
    for (int i = 0; i < r->rank; i++)
        if (!gr_dim_same(r->dims[i], y->dims[i])) return gr_nomatch(why, "the summand is broadcast along axis %d", i);
    return true;
}

static gr_value *rewrite_residual(gr_build *b, const gr_match *m)
{
    const gr_node *n = gr_bound_node(m, "n");
    return linear(b, gr_in(n, 0), gr_in(n, 1), gr_in(n, 2), gr_bound(m, "r"), is_transposed(n), own_activation(n));
}

static const char *const residual_patterns[] = {"(Add n:(Linear _ ...) r)", NULL};

#define REWRITES(name) {"linear-" #name, name##_patterns, check_##name, rewrite_##name, NULL, NULL, false}
static const gr_rule rules[] = {{"linear", matmul_patterns, check_weight, rewrite_matmul, "MatMul", has_weight, false},
                                {"linear-gemm", gemm_patterns, check_gemm, rewrite_gemm, "Gemm", has_weight, false},
                                REWRITES(reshaped)};
static const gr_rule activations[] = {{"linear-bare", bare_patterns, check_weight, rewrite_matmul, NULL, NULL, false},
                                      REWRITES(late_bias), REWRITES(activation), REWRITES(reshaped), REWRITES(activation)};
static const gr_rule late[] = {REWRITES(reshaped), REWRITES(residual)};

static gr_status apply(gr_graph *g, const gr_rule *list, size_t n, int *hits, gr_err *err)
{
    for (size_t i = 0; i < n; i++) GR_TRY(gr_apply_rule(g, &list[i], hits, err));
    return GR_OK;
}

gr_status gr_pass_linear(gr_graph *g, int *hits, gr_err *err)
{
    return apply(g, rules, sizeof rules / sizeof *rules, hits, err);
}

gr_status gr_pass_linear_activation(gr_graph *g, int *hits, gr_err *err)
{
    return apply(g, activations, sizeof activations / sizeof *activations, hits, err);
}

gr_status gr_pass_linear_residual(gr_graph *g, int *hits, gr_err *err)
{
    return apply(g, late, sizeof late / sizeof *late, hits, err);
}
