/* SPDX-License-Identifier: Apache-2.0
 *
 * GELU(x) = x/2 * (1 + erf(x / sqrt 2)) (Hendrycks and Gimpel 2016), and its approximation
 * x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))), in the associations that exporters write; and x * sigmoid(a x):
 * SiLU and, with 1.702 for a, another approximation of GELU. Requires inference.
 */
#include "match.h"
#include "passes.h"

/* The three ways to multiply x, 1/2 and a factor. */
#define HALVES(factor) "(Mul (Mul x 0.5) " factor ")", "(Mul (Mul x " factor ") 0.5)", "(Mul x (Mul " factor " 0.5))"

static const char *const erf_patterns[] = {HALVES("(Add (Erf (Div x 1.4142135)) 1)"), NULL};

#define INNER(cube) "(Add (Tanh (Mul (Add x (Mul " cube " 0.044715)) 0.79788456)) 1)"
static const char *const tanh_patterns[] = {
    HALVES(INNER("(Pow x 3)")),
    HALVES(INNER("(Mul x (Mul x x))")),
    HALVES(INNER("(Mul x (Pow x 2))")),
    HALVES("(Add (Tanh (Mul (Mul x 0.79788456) (Add (Mul (Mul x 0.044715) x) 1))) 1)"),
    HALVES("(Add (Tanh (Mul x (Mul 0.79788456 (Add (Mul (Mul x 0.044715) x) 1)))) 1)"),
    HALVES("(Add (Tanh (Mul (Mul x 0.79788456) (Add (Mul (Mul x x) 0.044715) 1))) 1)"),
    HALVES("(Add (Tanh (Mul (Mul x 0.79788456) (Add (Mul (Pow x 2) 0.044715) 1))) 1)"),
    NULL};
static const char *const swish_patterns[] = {"(Mul x (Sigmoid x))", "(Mul x (Sigmoid (Mul x $a)))", NULL};

static bool check(const gr_match *m, gr_why *why)
{
    const gr_value *x = gr_bound(m, "x");
    if (x->type.dtype != GR_FLOAT) return gr_nomatch(why, "x is not float");
    return true;
}

static gr_value *build(gr_build *b, const gr_match *m, const char *approximate)
{
    gr_attr attr = gr_attr_of_string("approximate", approximate);
    gr_value *x = gr_bound(m, "x");
    return gr_build_node(b, "graphrun", "Gelu", gr_build_attrs(b, 1, &attr), 1, &x);
}

static gr_value *rewrite_erf(gr_build *b, const gr_match *m) { return build(b, m, "none"); }
static gr_value *rewrite_tanh(gr_build *b, const gr_match *m) { return build(b, m, "tanh"); }

static bool check_swish(const gr_match *m, gr_why *why)
{
    double alpha;
    const gr_value *a = gr_bound(m, "a");
    if (a && (!gr_scalar_of(a, &alpha) || a->type.rank > gr_bound(m, "x")->type.rank))
        return gr_nomatch(why, "the factor is not a scalar");
    return check(m, why);
}

/* A gate times something else is no attempt at it. */
static bool gates_itself(const gr_node *sigmoid)
{
    const gr_value *x = gr_in(sigmoid, 0);
    const gr_node *factor = x->konst ? NULL : x->def;
    for (const gr_use *u = sigmoid->out[0]->uses; u; u = u->next)
        for (uint32_t i = 0; gr_is_op(u->user, "Mul") && i < 2; i++) {
            const gr_value *v = gr_in(u->user, i);
            if (v == x || (gr_is_op(factor, "Mul") && (v == gr_in(factor, 0) || v == gr_in(factor, 1)))) return true;
        }
    return false;
}

static gr_value *rewrite_swish(gr_build *b, const gr_match *m)
{
    double alpha = 1;
    if (gr_bound(m, "a")) gr_scalar_of(gr_bound(m, "a"), &alpha);
    gr_attr attr = gr_attr_of_float("alpha", (float)alpha);
    gr_value *x = gr_bound(m, "x");
    return gr_build_node(b, "graphrun", "Swish", gr_build_attrs(b, 1, &attr), 1, &x);
}

static const gr_rule rules[] = {{"gelu-erf", erf_patterns, check, rewrite_erf, "Erf", NULL, true},
                                {"gelu-tanh", tanh_patterns, check, rewrite_tanh, "Tanh", NULL, false},
                                {"swish", swish_patterns, check_swish, rewrite_swish, "Sigmoid", gates_itself, false}};

gr_status gr_pass_gelu(gr_graph *g, int *hits, gr_err *err)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) GR_TRY(gr_apply_rule(g, &rules[i], hits, err));
    return GR_OK;
}
