/* SPDX-License-Identifier: Apache-2.0
 *
 * Linear layers: act(x W + b) + residual in one node, from MatMul and Add, Gemm, or Gemm between two Reshapes (GPT-2).
 * A transposed constant becomes an attribute, so that a weight is never copied for it. Requires gelu; the residual is
 * taken last, after LayerNorm had its chance.
 */
#include "match.h"
#include "passes.h"

static bool is_matrix(const gr_value *w) { return w->konst && w->type.rank == 2 && w->type.dtype == GR_FLOAT; }

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

/* ---- Gemm ---- */

static bool plain_gemm(const gr_node *n)
{
    int64_t ta;
    float alpha, beta;
    return gr_attr_int(n->attrs, "transA", 0, &ta, NULL) == GR_OK && !ta &&
           gr_attr_float(n->attrs, "alpha", 1, &alpha, NULL) == GR_OK && alpha == 1 &&
           gr_attr_float(n->attrs, "beta", 1, &beta, NULL) == GR_OK && beta == 1;
}

static bool transposed_gemm(const gr_node *n)
{
    int64_t tb = 0;
    return gr_attr_int(n->attrs, "transB", 0, &tb, NULL) == GR_OK && tb;
}

static bool check_gemm(const gr_match *m, gr_why *why)
{
    const gr_node *n = gr_bound_node(m, "n");
    const gr_value *x = gr_bound(m, "x"), *w = gr_bound(m, "w"), *y = m->root->out[0];
    if (!plain_gemm(n) || !is_matrix(w) || x->type.dtype != GR_FLOAT || x->type.rank < 2)
        return gr_nomatch(why, "not a plain product with a float matrix");
    gr_dim width = w->type.dims[transposed_gemm(n) ? 0 : 1], depth = w->type.dims[transposed_gemm(n) ? 1 : 0];
    if (!is_row(gr_bound(m, "b"), width)) return gr_nomatch(why, "the bias is not a row");
    /* Between two Reshapes: rows keep their length going in, and come out in the order they had. */
    if (y->type.rank != x->type.rank || !gr_dim_same(x->type.dims[x->type.rank - 1], depth) ||
        !gr_dim_same(y->type.dims[y->type.rank - 1], width))
        return gr_nomatch(why, "the reshapes around it change the rows");
    for (int i = 0; i < x->type.rank - 1; i++)
        if (!gr_dim_same(x->type.dims[i], y->type.dims[i])) return gr_nomatch(why, "the reshapes around it differ");
    return true;
}

static gr_value *rewrite_gemm(gr_build *b, const gr_match *m)
{
    return linear(b, gr_bound(m, "x"), gr_bound(m, "w"), gr_bound(m, "b"), NULL, transposed_gemm(gr_bound_node(m, "n")), "");
}

static const char *const gemm_patterns[] = {"(Reshape n:(Gemm (Reshape x _) $w $b) _)", "n:(Gemm x $w $b)", NULL};

/* ---- activation ---- */

static const char *activation_of(const gr_node *n)
{
    const char *approximate = "none";
    if (!strcmp(n->op->name, "Relu")) return "relu";
    if (!strcmp(n->op->name, "Tanh")) return "tanh";
    if (gr_attr_string(n->attrs, "approximate", "none", &approximate, NULL) != GR_OK) return NULL;
    return !strcmp(approximate, "tanh") ? "gelu_tanh" : "gelu";
}

static const char *own_activation(const gr_node *n)
{
    const char *activation = "";
    return gr_attr_string(n->attrs, "activation", "", &activation, NULL) == GR_OK ? activation : "?";
}

static bool check_activation(const gr_match *m, gr_why *why)
{
    const gr_node *n = gr_bound_node(m, "n");
    if (*own_activation(n) || gr_in(n, 3)) return gr_nomatch(why, "the layer has an activation already");
    return activation_of(m->root) != NULL;
}

static gr_value *rewrite_activation(gr_build *b, const gr_match *m)
{
    const gr_node *n = gr_bound_node(m, "n");
    return linear(b, gr_in(n, 0), gr_in(n, 1), gr_in(n, 2), NULL, transposed_gemm(n), activation_of(m->root));
}

static const char *const activation_patterns[] = {"(Gelu n:(Linear _ ...))", "(Relu n:(Linear _ ...))",
                                                  "(Tanh n:(Linear _ ...))", NULL};

/* ---- residual ---- */

static bool check_residual(const gr_match *m, gr_why *why)
{
    const gr_node *n = gr_bound_node(m, "n");
    const gr_type *r = &gr_bound(m, "r")->type, *y = &n->out[0]->type;
    if (gr_in(n, 3)) return gr_nomatch(why, "the layer has a residual already");
    if (r->dtype != y->dtype || r->rank != y->rank) return gr_nomatch(why, "the summand is broadcast");
    for (int i = 0; i < r->rank; i++)
        if (!gr_dim_same(r->dims[i], y->dims[i])) return gr_nomatch(why, "the summand is broadcast along axis %d", i);
    return true;
}

static gr_value *rewrite_residual(gr_build *b, const gr_match *m)
{
    const gr_node *n = gr_bound_node(m, "n");
    return linear(b, gr_in(n, 0), gr_in(n, 1), gr_in(n, 2), gr_bound(m, "r"), transposed_gemm(n), own_activation(n));
}

static const char *const residual_patterns[] = {"(Add n:(Linear _ ...) r)", NULL};

static const gr_rule rules[] = {{"linear", matmul_patterns, check_weight, rewrite_matmul},
                                {"linear-gemm", gemm_patterns, check_gemm, rewrite_gemm},
                                {"linear-activation", activation_patterns, check_activation, rewrite_activation}};
static const gr_rule residual = {"linear-residual", residual_patterns, check_residual, rewrite_residual};

gr_status gr_pass_linear(gr_graph *g, int *hits, gr_err *err)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) GR_TRY(gr_apply_rule(g, &rules[i], hits, err));
    return GR_OK;
}

gr_status gr_pass_linear_residual(gr_graph *g, int *hits, gr_err *err) { return gr_apply_rule(g, &residual, hits, err); }
