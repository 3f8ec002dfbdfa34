/* SPDX-License-Identifier: Apache-2.0
 *
 * Passes: for every rule a graph that it is for and edits of it, each with the number of fused operators that must be
 * there in the end. Whether hit or near miss, the graph must hold together, a second walk must find nothing, and the
 * values must be those of the graph without passes.
 */
#include "passes/pass.h"
#include "passes/passes.h"
#include "support.h"
#include <stdio.h>
#include <stdlib.h>

static gr_err err;

#define HEAD "<ir_version: 10, opset_import: [\"\" : 17]> "
enum { MAX_TEXT = 8192, MAX_VALUES = 16 };

typedef struct edit {
    const char *what;
    const char *from[3], *to[3]; /* every occurrence */
    int count;                   /* of the rule's operator afterwards */
} edit;

typedef struct rule {
    const char *name, *op;
    int count;
    const char *text;
    const edit *edits; /* ended by one without a name */
} rule;

/* ---- text ---- */

static bool replace_all(char *text, const char *from, const char *to)
{
    char out[MAX_TEXT] = "";
    size_t n = 0;
    bool found = false;
    for (const char *at = text; *at;) {
        bool here = !strncmp(at, from, strlen(from));
        n += (size_t)snprintf(out + n, sizeof out - n, "%.*s", here ? (int)strlen(to) : 1, here ? to : at);
        at += here ? strlen(from) : 1;
        found |= here;
    }
    memcpy(text, out, n + 1);
    return found;
}

/* ---- values ---- */

static const gr_sym_binding sizes[] = {{"batch", 2}, {"sequence", 5}, {"past", 3}, {"N", 3}, {"M", 4}};

static gr_tensor *random_input(const gr_type *t, uint32_t *seed)
{
    int64_t dims[GR_MAX_RANK];
    for (int i = 0; i < t->rank; i++)
        if (!gr_sym_eval(t->dims[i], sizes, sizeof sizes / sizeof *sizes, &dims[i])) dims[i] = 4;
    gr_tensor *x = gr_tensor_new(t->dtype, t->rank, dims);
    if (!x) abort();
    for (int64_t i = 0; i < x->elements; i++) {
        float f = (float)(next_random(seed) % 2000) / 500 - 2;
        if (t->dtype == GR_FLOAT) ((float *)x->data)[i] = f;
        if (t->dtype == GR_DOUBLE) ((double *)x->data)[i] = (double)f;
        if (t->dtype == GR_INT64) ((int64_t *)x->data)[i] = next_random(seed) % 3;
        if (t->dtype == GR_BOOL) ((uint8_t *)x->data)[i] = next_random(seed) % 3 != 0;
    }
    return x;
}

static void compare_values(const gr_graph *plain, const gr_graph *rewritten, const char *what)
{
    gr_tensor *in[MAX_VALUES], *want[MAX_VALUES] = {0}, *got[MAX_VALUES] = {0};
    uint32_t seed = 99;
    char why[256];
    for (size_t i = 0; i < plain->ninputs; i++) in[i] = random_input(&plain->inputs[i]->type, &seed);
    CHECK_OK(gr_eval_graph(NULL, plain, (const gr_tensor *const *)in, want, &err));
    CHECK_OK(gr_eval_graph(NULL, rewritten, (const gr_tensor *const *)in, got, &err));
    for (size_t i = 0; i < plain->noutputs; i++) {
        if (want[i] && got[i] && !same_tensor(got[i], want[i], why, sizeof why))
            FAIL("%s: output '%s' %s", what, plain->output_names[i], why);
        gr_tensor_free(want[i]);
        gr_tensor_free(got[i]);
    }
    for (size_t i = 0; i < plain->ninputs; i++) gr_tensor_free(in[i]);
}

/* ---- one graph ---- */

static void check_idle(gr_graph *g, const char *what)
{
    gr_status (*const all[])(gr_graph *, int *, gr_err *) = {
        gr_pass_dead,      gr_pass_inline_if,      gr_pass_parts,          gr_pass_noop, gr_pass_chains, gr_pass_common,
        gr_pass_reshape,   gr_pass_expand,         gr_pass_layer_norm,     gr_pass_gelu, gr_pass_linear,
        gr_pass_attention, gr_pass_add_layer_norm, gr_pass_linear_residual, gr_pass_projections, gr_pass_embeddings, gr_pass_sentence, gr_pass_einsum, gr_pass_duplicates, gr_pass_linear_activation};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int hits = 0;
        CHECK_OK(all[i](g, &hits, &err));
        if (hits) FAIL("%s: pass %zu has %d hits in a second walk", what, i, hits);
    }
}

static void check_rule(const char *text, const char *op, int count, const char *what)
{
    built plain = infer_text(text), b = infer_text(text);
    if (plain.graph && b.graph) {
        CHECK_OK(gr_passes_run(b.graph, NULL, &err));
        CHECK_OK(gr_graph_infer(b.graph, 1 << 20, &err));
        CHECK_OK(gr_graph_check(b.graph, &err));
        int found = count_ops(b.graph, op);
        if (found != count) FAIL("%s: %d of %s, expected %d", what, found, op, count);
        compare_values(plain.graph, b.graph, what);
        check_idle(b.graph, what);
    } else {
        FAIL("%s does not build:\n%s", what, text);
    }
    built_free(&plain);
    built_free(&b);
}

static void run_rule(const rule *r)
{
    char text[MAX_TEXT], what[128];
    snprintf(what, sizeof what, "%s", r->name);
    check_rule(r->text, r->op, r->count, what);
    for (const edit *e = r->edits; e && e->what; e++) {
        snprintf(text, sizeof text, "%s", r->text);
        snprintf(what, sizeof what, "%s, %s", r->name, e->what);
        for (int i = 0; i < 3 && e->from[i]; i++)
            if (!replace_all(text, e->from[i], e->to[i])) FAIL("%s: '%s' is not in the text", what, e->from[i]);
        check_rule(text, r->op, e->count, what);
    }
}

/* ---- formulas ---- */

/* clang-format off */
static const rule gelu_erf = {"gelu-erf", "Gelu", 1,
    HEAD "g (float[N,4] x, float[N,4] w) => (float[N,4] y) <float r = {1.4142135}, float one = {1.0}, float half = {0.5}> "
    "{ d = Div (x, r)  e = Erf (d)  p = Add (e, one)  m = Mul (x, p)  y = Mul (m, half) }",
    (const edit[]){
        {"operands exchanged", {"Add (e, one)", "Mul (x, p)"}, {"Add (one, e)", "Mul (p, x)"}, 1},
        {"by the reciprocal", {"Div (x, r)", "1.4142135"}, {"Mul (x, r)", "0.70710678"}, 1},
        {"half first", {"Mul (x, p)", "Mul (m, half)"}, {"Mul (x, half)", "Mul (m, p)"}, 1},
        {"half by division", {"y = Mul (m, half)", "{0.5}"}, {"y = Div (m, half)", "{2.0}"}, 1},
        {"half by division by half", {"y = Mul (m, half)"}, {"y = Div (m, half)"}, 0},
        {"half divided", {"y = Mul (m, half)", "{0.5}"}, {"y = Div (half, m)", "{2.0}"}, 0},
        {"other root", {"1.4142135"}, {"1.5"}, 0},
        {"other summand", {"one = {1.0}"}, {"one = {2.0}"}, 0},
        {"other factor", {"half = {0.5}"}, {"half = {0.25}"}, 0},
        {"another x", {"Mul (x, p)"}, {"Mul (w, p)"}, 0},
        {"double", {"float"}, {"double"}, 0},
        {"inner value read", {"y)", "half) }"}, {"y, float[N,4] z)", "half)  z = Neg (e) }"}, 0},
        {"inner value an output", {" y)"}, {" y, float[N,4] e)"}, 0},
        {0}}};

static const rule gelu_tanh = {"gelu-tanh", "Gelu", 1,
    HEAD "g (float[N,4] x) => (float[N,4] y) <float c = {0.044715}, float k = {0.79788456}, float one = {1.0}, "
    "float half = {0.5}, float three = {3.0}> { q = Pow (x, three)  a = Mul (q, c)  s = Add (x, a)  t = Mul (s, k)  "
    "h = Tanh (t)  p = Add (h, one)  m = Mul (x, p)  y = Mul (m, half) }",
    (const edit[]){
        {"operands exchanged", {"Mul (s, k)", "Add (x, a)"}, {"Mul (k, s)", "Add (a, x)"}, 1},
        {"by a square", {"Pow (x, three)", "three = {3.0}"}, {"Mul (x, r)  r = Pow (x, three)", "three = {2.0}"}, 1},
        {"by products", {"Pow (x, three)"}, {"Mul (x, r)  r = Mul (x, x)"}, 1},
        {"other power", {"three = {3.0}"}, {"three = {2.0}"}, 0},
        {"other constant", {"0.044715"}, {"0.05"}, 0},
        {"inner value an output", {" y)"}, {" y, float[N,4] h)"}, 0},
        {0}}};

#define NORM                                                                                                           \
    "d = Sub (x, m)  q = Pow (d, two)  v = ReduceMean <axes = [-1]> (q)  e = Add (v, eps)  s = Sqrt (e)  n = Div (d, s)  " \
    "t = Mul (n, g)  y = Add (t, b)"
static const rule layer_norm = {"layer-norm", "LayerNormalization", 1,
    HEAD "g (float[batch,4,4] x) => (float[batch,4,4] y) <float two = {2.0}, float eps = {1e-5}, "
    "float[4] g = {1.0, 2.0, -1.0, 0.5}, float[4] b = {0.0, 1.0, 2.0, 3.0}> { m = ReduceMean <axes = [-1]> (x)  " NORM " }",
    (const edit[]){
        {"axis from the front", {"[-1]"}, {"[2]"}, 1},
        {"by a product", {"Pow (d, two)"}, {"Mul (d, d)"}, 1},
        {"by the reciprocal", {"n = Div (d, s)"}, {"rs = Reciprocal (s)  n = Mul (d, rs)"}, 1},
        {"by one divided, scaled first", {"n = Div (d, s)  t = Mul (n, g)", "eps ="},
         {"rs = Div (one, s)  n = Mul (rs, g)  t = Mul (n, d)", "one = {1.0}, float eps ="}, 1},
        {"by a power", {"s = Sqrt (e)", "eps ="}, {"s = Pow (e, half)", "half = {0.5}, float eps ="}, 1},
        {"by an inverse power", {"s = Sqrt (e)  n = Div (d, s)", "eps ="},
         {"s = Pow (e, half)  n = Mul (d, s)", "half = {-0.5}, float eps ="}, 1},
        {"by one divided by a power", {"s = Sqrt (e)  n = Div (d, s)", "eps ="},
         {"s = Pow (e, half)  i = Div (one, s)  n = Mul (d, i)", "half = {0.5}, float one = {1.0}, float eps ="}, 1},
        {"by another power", {"s = Sqrt (e)", "eps ="}, {"s = Pow (e, half)", "half = {0.25}, float eps ="}, 0},
        {"other axis", {"[-1]"}, {"[1]"}, 0},
        {"two axes", {"[-1]"}, {"[1, 2]"}, 0},
        {"axes that differ", {"ReduceMean <axes = [-1]> (q)"}, {"ReduceMean <axes = [1]> (q)"}, 0},
        {"other power", {"two = {2.0}"}, {"two = {4.0}"}, 0},
        {"scale that is broadcast", {"float[4] g = {1.0, 2.0, -1.0, 0.5}"}, {"float[1] g = {2.0}"}, 0},
        {"bias of higher rank", {"float[4] b ="}, {"float[1,4] b ="}, 0},
        {"deviation read", {"y) <", "b) }"}, {"y, float[batch,4,4] z) <", "b)  z = Neg (d) }"}, 0},
        {"variance an output", {" y) <"}, {" y, float[batch,4,1] v) <"}, 0},
        {"double", {"float"}, {"double"}, 0},
        {0}}};

static const rule add_layer_norm = {"add-layer-norm", "AddLayerNormalization", 1,
    HEAD "g (float[batch,2,4] x, float[batch,2,4] r) => (float[batch,2,4] y) <float[4] g = {1.0, 2.0, -1.0, 0.5}, "
    "float[4] b = {0.0, 1.0, 2.0, 3.0}> { a = Add (x, r)  y = LayerNormalization <axis = -1> (a, g, b) }",
    (const edit[]){
        {"axis from the front", {"axis = -1"}, {"axis = 2"}, 1},
        {"sum that is broadcast", {"float[batch,2,4] r"}, {"float[2,4] r"}, 0},
        {"two axes", {"axis = -1", "float[4] g = {1.0, 2.0, -1.0, 0.5}", "float[4] b = {0.0, 1.0, 2.0, 3.0}"},
         {"axis = 1", "float[2,4] g = {1.0, 2.0, -1.0, 0.5, 1.0, 2.0, -1.0, 0.5}",
          "float[2,4] b = {0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0}"}, 0},
        {"mean read", {" y) <", "y = LayerN"}, {" y, float[batch,2,1] m) <", "y, m = LayerN"}, 0},
        {"double", {"float"}, {"double"}, 0},
        {0}}};

static const rule embeddings = {"embeddings", "Embeddings", 1,
    HEAD "g (int64[batch,sequence] ids, int64[batch,sequence] types, float[batch,sequence,4] other) => (float[batch,sequence,4] y) "
    "<float[3,4] word = {0.0, 0.5, 1.0, 2.0, 1.0, -1.0, 0.0, 0.0, 0.5, 0.5, 0.25, 0.75}, "
    "float[3,4] type = {0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 3.0, 1.0, 1.0, 2.0}, float[1,1,4] place = {1.0, 1.5, 1.0, 4.0}, "
    "float[4] g = {1.0, 2.0, -1.0, 0.5}, float[4] b = {0.0, 1.0, 2.0, 3.0}> { w = Gather (word, ids)  t = Gather (type, types)  "
    "s = Add (w, t)  a = Add (place, s)  y = LayerNormalization <axis = -1> (a, g, b) }",
    (const edit[]){
        {"axis from behind", {"Gather (word", "Gather (type"}, {"Gather <axis = -2> (word", "Gather <axis = -2> (type"}, 1},
        {"one table", {"Add (w, t)"}, {"Add (w, other)"}, 1},
        {"without a norm", {"y = LayerNormalization <axis = -1> (a, g, b)"}, {"y = Relu (a)"}, 1},
        {"one table without a norm", {"y = LayerNormalization <axis = -1> (a, g, b)", "Add (w, t)"}, {"y = Relu (a)", "Add (w, other)"}, 0},
        {"a sum an output", {" y) <"}, {" y, float[batch,sequence,4] s) <"}, 1},
        {"all of the sum an output", {" y) <"}, {" y, float[batch,sequence,4] a) <"}, 1},
        {"columns of a table", {"Gather (word, ids)", "Gather (type, types)", "float[batch,sequence,4] y"},
         {"Gather <axis = 1> (word, some)  some = Range (i0, i4, i1)  i0 = Constant <value_int = 0> ()  i4 = Constant <value_int = 4> ()  "
          "i1 = Constant <value_int = 1> ()", "Gather <axis = 1> (type, some)", "float[1,3,4] y"}, 0},
        {"tables that are fed", {"other)", "float[3,4] word = {0.0, 0.5, 1.0, 2.0, 1.0, -1.0, 0.0, 0.0, 0.5, 0.5, 0.25, 0.75}, "},
         {"other, float[3,4] word)", ""}, 1},
        {0}}};

static void test_formulas(void)
{
    run_rule(&embeddings);
    run_rule(&gelu_erf);
    run_rule(&layer_norm);
    run_rule(&add_layer_norm);
}

static const rule rms_norm = {"rms-norm", "SimplifiedLayerNormalization", 1,
    HEAD "g (float[batch,4,4] d) => (float[batch,4,4] y) <float two = {2.0}, float eps = {1e-5}, "
    "float[4] g = {1.0, 2.0, -1.0, 0.5}, float one = {1.0}> { q = Pow (d, two)  v = ReduceMean <axes = [-1]> (q)  "
    "e = Add (v, eps)  s = Sqrt (e)  n = Div (d, s)  y = Mul (n, g) }",
    (const edit[]){
        {"by the reciprocal", {"n = Div (d, s)"}, {"rs = Reciprocal (s)  n = Mul (d, rs)"}, 1},
        {"by one divided, scaled first", {"n = Div (d, s)  y = Mul (n, g)"}, {"rs = Div (one, s)  n = Mul (rs, g)  y = Mul (n, d)"}, 1},
        {"two divided", {"n = Div (d, s)"}, {"rs = Div (two, s)  n = Mul (d, rs)"}, 0},
        {"other axis", {"[-1]"}, {"[1]"}, 0},
        {"other power", {"two = {2.0}"}, {"two = {4.0}"}, 0},
        {"scale that is broadcast", {"float[4] g = {1.0, 2.0, -1.0, 0.5}"}, {"float[1] g = {2.0}"}, 0},
        {0}}};

static const rule instance_norm = {"layer-norm-instance", "LayerNormalization", 1,
    HEAD "g (float[batch,sequence,4] x) => (float[batch,sequence,4] y) <int64[1] i1 = {1}, int64[1] i2 = {2}, "
    "float[4] g = {1.0, 2.0, -1.0, 0.5}, float[4] b = {0.0, 1.0, 2.0, 3.0}> { sx = Shape (x)  n = Slice (sx, i1, i2)  "
    "ones = ConstantOfShape <value = float[1] {1.0}> (n)  zeros = ConstantOfShape (n)  "
    "i = InstanceNormalization <epsilon = 0.001> (x, ones, zeros)  m = Mul (i, g)  y = Add (m, b) }",
    (const edit[]){
        {"scales of their own", {"{1.0}> (n)"}, {"{2.0}> (n)"}, 0},
        {"normalised an output", {" y) <"}, {" y, float[batch,sequence,4] i) <"}, 0},
        {0}}};

static const rule swish = {"swish", "Swish", 1,
    HEAD "g (float[N,4] x, float[N,4] w) => (float[N,4] y) <float a = {1.702}, float one = {1.0}> "
    "{ p = Mul (x, a)  s = Sigmoid (p)  y = Mul (x, s) }",
    (const edit[]){
        {"no factor", {"Sigmoid (p)"}, {"Sigmoid (x)"}, 1},
        {"operands exchanged", {"Mul (x, s)", "Mul (x, a)"}, {"Mul (s, x)", "Mul (a, x)"}, 1},
        {"another x", {"Mul (x, s)"}, {"Mul (w, s)"}, 0},
        {"inner value read", {" y) <"}, {" y, float[N,4] s) <"}, 0},
        {0}}};

static const rule mean_pool = {"mean-pool", "MeanPool", 1,
    HEAD "g (float[batch,sequence,4] x, int64[batch,sequence] mask) => (float[batch,4] y) <int64[1] last = {-1}, int64[1] one = {1}, "
    "float tiny = {1e-9}> { u = Unsqueeze (mask, last)  sx = Shape (x)  e = Expand (u, sx)  m = Cast <to = 1> (e)  p = Mul (x, m)  "
    "s = ReduceSum <keepdims = 0> (p, one)  c = ReduceSum <keepdims = 0> (m, one)  k = Clip (c, tiny)  y = Div (s, k) }",
    (const edit[]){
        {"by Max", {"Clip (c, tiny)"}, {"Max (c, tiny)"}, 1},
        {"not expanded", {"e = Expand (u, sx)"}, {"e = Identity (u)"}, 1},
        {"counted before", {"e = Expand (u, sx)  m = Cast <to = 1> (e)", "ReduceSum <keepdims = 0> (m, one)"},
         {"f = Cast <to = 1> (mask)  m = Unsqueeze (f, last)", "ReduceSum <keepdims = 1> (f, one)"}, 1},
        {"not bounded", {"Clip (c, tiny)"}, {"Add (c, tiny)"}, 0},
        {"bounded above", {"Clip (c, tiny)"}, {"Clip (c, tiny, tiny)"}, 0},
        {"other axis", {"one = {1}", "(float[batch,4] y)"}, {"one = {2}", "(float[batch,sequence] y)"}, 0},
        {"another mask is counted", {"ReduceSum <keepdims = 0> (m, one)"}, {"ReduceSum <keepdims = 0> (x, one)"}, 0},
        {0}}};

static const rule normalize = {"normalize", "Normalize", 1,
    HEAD "g (float[batch,4] x, float[batch,4] w) => (float[batch,4] y) <int64[1] last = {-1}, float tiny = {1e-12}, float two = {2.0}> "
    "{ n = ReduceL2 <axes = [-1]> (x)  k = Clip (n, tiny)  sx = Shape (x)  e = Expand (k, sx)  y = Div (x, e) }",
    (const edit[]){
        {"written out", {"n = ReduceL2 <axes = [-1]> (x)"}, {"q = Pow (x, two)  r = ReduceSum (q, last)  n = Sqrt (r)"}, 1},
        {"by a product", {"n = ReduceL2 <axes = [-1]> (x)"}, {"q = Mul (x, x)  r = ReduceSum (q, last)  n = Sqrt (r)"}, 1},
        {"of another", {"(x)  k"}, {"(w)  k"}, 0},
        {"other axis", {"[-1]"}, {"[0]"}, 0},
        {0}}};

static void test_sentence(void)
{
    run_rule(&mean_pool);
    run_rule(&normalize);
}

static void test_more_formulas(void)
{
    run_rule(&rms_norm);
    run_rule(&instance_norm);
    run_rule(&swish);
}

static void test_gelu_tanh(void) { run_rule(&gelu_tanh); }

/* ---- linear layers ---- */

#define WEIGHTS "float[4,2] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0}, float[2] b = {1.0, -1.0}"
static const rule linear = {"linear", "Linear", 1,
    HEAD "g (float[batch,3,4] x) => (float[batch,3,2] y) <" WEIGHTS "> { p = MatMul (x, w)  y = Add (p, b) }",
    (const edit[]){
        {"operands exchanged", {"Add (p, b)"}, {"Add (b, p)"}, 1},
        {"transposed weight", {"MatMul (x, w)", "float[4,2] w"}, {"MatMul (x, t)  t = Transpose <perm = [1, 0]> (w)", "float[2,4] w"}, 1},
        {"with an activation", {"y = Add (p, b)"}, {"a = Add (p, b)  y = Relu (a)"}, 1},
        {"with SiLU", {"y = Add (p, b)"}, {"a = Add (p, b)  s = Sigmoid (a)  y = Mul (a, s)"}, 1},
        {"bias that is broadcast", {"float[2] b = {1.0, -1.0}"}, {"float[1] b = {1.0}"}, 0},
        {"bias along another axis", {"float[2] b = {1.0, -1.0}"}, {"float[3,1] b = {1.0, -1.0, 2.0}"}, 0},
        {"weight that is fed", {"x) =>", WEIGHTS}, {"x, float[4,2] w) =>", "float[2] b = {1.0, -1.0}"}, 0},
        {"product an output", {" y) <"}, {" y, float[batch,3,2] p) <"}, 0},
        {"double", {"float"}, {"double"}, 0},
        {0}}};

static const rule gemm = {"linear-gemm", "Linear", 1,
    HEAD "g (float[N,4] x) => (float[N,2] y) <" WEIGHTS "> { y = Gemm (x, w, b) }",
    (const edit[]){
        {"transposed weight", {"Gemm", "float[4,2] w"}, {"Gemm <transB = 1>", "float[2,4] w"}, 1},
        {"factor", {"Gemm"}, {"Gemm <alpha = 2.0>"}, 0},
        {"factor of the bias", {"Gemm"}, {"Gemm <beta = 0.5>"}, 0},
        {"transposed rows", {"Gemm", "float[N,4] x"}, {"Gemm <transA = 1>", "float[4,N] x"}, 0},
        {"bias that is broadcast", {"float[2] b = {1.0, -1.0}"}, {"float[1] b = {1.0}"}, 0},
        {0}}};

/* Counted are the operators that must be gone. */
static const rule reshaped = {"linear-reshaped", "Reshape", 0,
    HEAD "g (float[batch,sequence,4] x) => (float[batch,sequence,2] y) <" WEIGHTS ", int64[2] flat = {-1, 4}, int64[1] two = {2}, "
    "int64[1] from = {0}, int64[1] to = {2}> { f = Reshape (x, flat)  p = Gemm (f, w, b)  s = Shape (x)  l = Slice (s, from, to)  "
    "c = Concat <axis = 0> (l, two)  y = Reshape (p, c) }",
    (const edit[]){
        {"other order", {"(float[batch,sequence,2] y)", "Concat <axis = 0> (l, two)", "int64[1] two = {2}"},
         {"(float[sequence,batch,2] y)", "Concat <axis = 0> (k, h, two)  h = Gather (s, from)  k = Gather (s, one)",
          "int64[1] two = {2}, int64[1] one = {1}"}, 2},
        {"product an output", {" y) <"}, {" y, float[M,2] p) <"}, 2},
        {"flat rows shared", {" y) <", "y = Reshape (p, c)"}, {" y, float[batch,sequence,2] z) <",
         "y = Reshape (p, c)  r = Relu (p2)  p2 = Gemm (f, v, b)  z = Reshape (r, c)  v = Neg (w)"}, 0},
        {0}}};

static const rule activation = {"linear-activation", "Relu", 0,
    HEAD "g (float[batch,3,4] x) => (float[batch,3,2] y) <" WEIGHTS "> { p = MatMul (x, w)  a = Add (p, b)  y = Relu (a) }",
    (const edit[]){
        {"layer an output", {" y) <"}, {" y, float[batch,3,2] a) <"}, 1},
        {"layer read", {" y) <", "(a) }"}, {" y, float[batch,3,2] z) <", "(a)  z = Neg (a) }"}, 1},
        {"an activation already", {"y = Relu (a)"}, {"t = Tanh (a)  y = Relu (t)"}, 1},
        {0}}};

static const rule residual = {"linear-residual", "Add", 0,
    HEAD "g (float[batch,3,4] x, float[batch,3,2] r) => (float[batch,3,2] y) <" WEIGHTS "> "
    "{ p = MatMul (x, w)  a = Add (p, b)  y = Add (a, r) }",
    (const edit[]){
        {"operands exchanged", {"Add (a, r)"}, {"Add (r, a)"}, 0},
        {"broadcast", {"float[batch,3,2] r"}, {"float[3,2] r"}, 1},
        {"layer read", {" y) <", "(a, r) }"}, {" y, float[batch,3,2] z) <", "(a, r)  z = Neg (a) }"}, 1},
        {0}}};

static void test_linear(void)
{
    run_rule(&linear);
    run_rule(&gemm);
    run_rule(&reshaped);
    run_rule(&activation);
    run_rule(&residual);
}

/* ---- attention ---- */

#define HEADS(x, order)                                                                                                \
    x "s = Reshape (" x ", split)  " x "h = Transpose <perm = " order "> (" x "s)  "
static const rule attention = {"attention", "Attention", 1,
    HEAD "g (float[batch,sequence,8] q, float[batch,past,8] k, float[batch,past,8] v, float[batch,1,1,past] mask, "
    "bool[batch,1,1,past] see) => (float[batch,sequence,8] y) <int64[4] split = {0, 0, 2, 4}, int64[3] merge = {0, 0, 8}, "
    "float root = {2.0}, float low = {-3.4028234663852886e38}, float zero = {0.0}> { "
    HEADS("q", "[0, 2, 1, 3]") HEADS("k", "[0, 2, 3, 1]") HEADS("v", "[0, 2, 1, 3]")
    "p = MatMul (qh, kh)  c = Div (p, root)  m = Add (c, mask)  w = Softmax <axis = -1> (m)  o = MatMul (w, vh)  "
    "b = Transpose <perm = [0, 2, 1, 3]> (o)  y = Reshape (b, merge) }",
    (const edit[]){
        {"operands exchanged", {"Add (c, mask)"}, {"Add (mask, c)"}, 1},
        {"scaled query", {"MatMul (qh, kh)", "Div (p, root)"}, {"MatMul (qr, kh)  qr = Div (qh, root)", "Identity (p)"}, 1},
        {"no mask", {"Add (c, mask)"}, {"Identity (c)"}, 1},
        {"axis from the front", {"axis = -1"}, {"axis = 3"}, 1},
        {"chosen by Where", {"Add (c, mask)"}, {"Where (see, c, low)"}, 1},
        {"scale after the mask", {"c = Div (p, root)  m = Add (c, mask)"}, {"c = Add (p, mask)  m = Div (c, root)"}, 1},
        {"scale after a mask that is chosen", {"c = Div (p, root)  m = Add (c, mask)"},
         {"c = Where (see, p, low)  m = Div (c, root)"}, 1},
        {"factor that is negative after a mask that is chosen",
         {"c = Div (p, root)  m = Add (c, mask)", "root = {2.0}"}, {"c = Where (see, p, low)  m = Div (c, root)", "root = {-2.0}"}, 0},
        {"fill that is not low", {"Add (c, mask)", "-3.4028234663852886e38"}, {"Where (see, c, low)", "-1.0"}, 0},
        {"other axis", {"axis = -1"}, {"axis = 2"}, 0},
        {"other merge", {"b = Transpose <perm = [0, 2, 1, 3]>", "y = Reshape (b, merge)", "float[batch,sequence,8] y"},
         {"b = Transpose <perm = [0, 2, 3, 1]>", "y = Identity (b)", "float[batch,sequence,4,2] y"}, 1},
        {"scores an output", {" y) <"}, {" y, float[batch,2,sequence,past] p) <"}, 0},
        {"weights an output", {" y) <"}, {" y, float[batch,2,sequence,past] w) <"}, 1},
        {"weights read", {" y) <", "merge) }"}, {" y, float[batch,2,sequence,past] z) <", "merge)  z = Neg (w) }"}, 1},
        {"weights read before the values are there", {" y) <", "o = MatMul (w, vh)"},
         {" y, float[batch,2,sequence,past] z) <", "z = Neg (w)  zs = ReduceSum <keepdims = 0> (z)  vz = Add (vh, zs)  o = MatMul (w, vz)"}, 0},
        {"head mask", {"o = MatMul (w, vh)", "float[batch,1,1,past] mask"},
         {"wf = Mul (w, hm)  o = MatMul (wf, vh)", "float[1,2,1,1] hm, float[batch,1,1,past] mask"}, 1},
        {"head mask, weights an output", {"o = MatMul (w, vh)", "float[batch,1,1,past] mask", " y) <"},
         {"wf = Mul (hm, w)  o = MatMul (wf, vh)", "float[1,2,1,1] hm, float[batch,1,1,past] mask",
          " y, float[batch,2,sequence,past] wf) <"}, 1},
        {"guarded", {"o = MatMul (w, vh)"}, {"n = IsNaN (w)  wn = Where (n, zero, w)  o = MatMul (wn, vh)"}, 1},
        {"masked again", {"Add (c, mask)", "o = MatMul (w, vh)"},
         {"Where (see, c, low)", "wm = Where (see, w, zero)  o = MatMul (wm, vh)"}, 1},
        {"masked again by another", {"Add (c, mask)", "o = MatMul (w, vh)"},
         {"Where (see, c, low)", "seen = Not (see)  wm = Where (seen, w, zero)  o = MatMul (wm, vh)"}, 0},
        {"bias before the scale", {"c = Div (p, root)"}, {"pb = Add (p, mask)  c = Div (pb, root)"}, 1},
        {"unsplit operands", {"MatMul (qh, kh)", "o = MatMul (w, vh)"},
         {"MatMul (qx, kx)  qx = Tanh (qh)  kx = Tanh (kh)", "vx = Tanh (vh)  o = MatMul (w, vx)"}, 1},
        {"context an output", {" y) <"}, {" y, float[batch,2,sequence,4] o) <"}, 1},
        {"weights read twice", {"o = MatMul (w, vh)", "past"},
         {"o = MatMul (w, u)  u = MatMul (w, vh)", "sequence"}, 0},
        {"double", {"float"}, {"double"}, 0},
        {0}}};

/* Batch and heads as one axis, as by bmm. */
static const rule batched = {"attention, batched", "Attention", 1,
    HEAD "g (float[batch,sequence,8] q, float[batch,past,8] k, float[batch,past,8] v, float[batch,1,sequence,past] mask) => "
    "(float[batch,sequence,8] y) <int64[4] split = {0, 0, 2, 4}, int64[3] merge = {0, 0, 8}, float scale = {0.5}, int64 i0 = {0}, "
    "int64 i1 = {1}, int64[1] z = {0}, int64[1] two = {2}, int64[1] four = {4}, int64 t2 = {2}> { "
    "sq = Shape (q)  sk = Shape (k)  B = Gather (sq, i0)  S0 = Gather (sq, i1)  T0 = Gather (sk, i1)  BN0 = Mul (B, t2)  "
    "BN = Unsqueeze (BN0, z)  S = Unsqueeze (S0, z)  T = Unsqueeze (T0, z)  Bu = Unsqueeze (B, z)  "
    "flatq = Concat <axis = 0> (BN, S, four)  flatk = Concat <axis = 0> (BN, T, four)  fullp = Concat <axis = 0> (Bu, two, S, T)  "
    "flatp = Concat <axis = 0> (BN, S, T)  fullc = Concat <axis = 0> (Bu, two, S, four)  "
    "qm = Mul (q, scale)  " HEADS("q", "[0, 2, 1, 3]") HEADS("k", "[0, 2, 1, 3]") HEADS("v", "[0, 2, 1, 3]")
    "q3 = Reshape (qh, flatq)  k3 = Reshape (kh, flatk)  v3 = Reshape (vh, flatk)  kt = Transpose <perm = [0, 2, 1]> (k3)  "
    "p3 = MatMul (q3, kt)  p4 = Reshape (p3, fullp)  m4 = Add (p4, mask)  m3 = Reshape (m4, flatp)  w = Softmax <axis = -1> (m3)  "
    "o3 = MatMul (w, v3)  o4 = Reshape (o3, fullc)  b = Transpose <perm = [0, 2, 1, 3]> (o4)  y = Reshape (b, merge) }",
    (const edit[]){
        {"no mask", {"Add (p4, mask)"}, {"Identity (p4)"}, 1},
        {"softmax over four axes", {"w = Softmax <axis = -1> (m3)", "m3 = Reshape (m4, flatp)"},
         {"w = Reshape (w4, flatp)", "w4 = Softmax <axis = -1> (m4)"}, 1},
        {"weights an output", {"y) <int64[4]", "o3 = MatMul (w, v3)"},
         {"y, float[batch,2,sequence,past] w4) <int64[4]", "w4 = Reshape (w, fullp)  o3 = MatMul (w, v3)"}, 1},
        {"not merged", {"b = Transpose <perm = [0, 2, 1, 3]> (o4)  y = Reshape (b, merge)", "(float[batch,sequence,8] y)"},
         {"y = Neg (o4)", "(float[batch,2,sequence,4] y)"}, 1},
        {0}}};

/* One axis of items and no heads. */
static const rule items = {"attention, one head", "Attention", 1,
    HEAD "g (float[batch,sequence,4] q, float[batch,past,4] k, float[batch,past,3] v, float[batch,1,past] mask) => "
    "(float[batch,sequence,3] y) { t = Transpose <perm = [0, 2, 1]> (k)  p = MatMul (q, t)  m = Add (p, mask)  "
    "w = Softmax <axis = -1> (m)  y = MatMul (w, v) }",
    (const edit[]){
        {"keys that lie", {"t = Transpose <perm = [0, 2, 1]> (k)  p = MatMul (q, t)", "float[batch,past,4] k"},
         {"p = MatMul (q, k)", "float[batch,4,past] k"}, 1},
        {"values that are scaled", {"y = MatMul (w, v)", "(float[batch,sequence,3] y) {"},
         {"vs = Mul (v, c)  y = MatMul (w, vs)", "(float[batch,sequence,3] y) <float c = {2.0}> {"}, 0},
        {"other axis", {"axis = -1"}, {"axis = 1"}, 0},
        {0}}};

/* Key heads that several query heads share. */
static const rule shared_heads = {"attention, shared heads", "Expand", 0,
    HEAD "g (float[batch,sequence,8] q, float[batch,past,4] k, float[batch,past,4] v) => (float[batch,sequence,8] y) "
    "<int64[4] split = {0, 0, 4, 2}, int64[4] less = {0, 0, 2, 2}, int64[3] merge = {0, 0, 8}, int64[1] two = {2}, int64[5] rep = {1, 1, 2, 1, 1}, "
    "int64[4] all = {0, 4, -1, 2}> { " HEADS("q", "[0, 2, 1, 3]")
    "ks = Reshape (k, less)  vs = Reshape (v, less)  k4 = Transpose <perm = [0, 2, 1, 3]> (ks)  v4 = Transpose <perm = [0, 2, 1, 3]> (vs)  "
    "k5 = Unsqueeze (k4, two)  v5 = Unsqueeze (v4, two)  ke = Expand (k5, rep)  ve = Expand (v5, rep)  kr = Reshape (ke, all)  "
    "vr = Reshape (ve, all)  kt = Transpose <perm = [0, 1, 3, 2]> (kr)  p = MatMul (qh, kt)  w = Softmax <axis = -1> (p)  o = MatMul (w, vr)  "
    "b = Transpose <perm = [0, 2, 1, 3]> (o)  y = Reshape (b, merge) }",
    (const edit[]){
        {"keys only", {"v5 = Unsqueeze (v4, two)", "ve = Expand (v5, rep)", "vr = Reshape (ve, all)"},
         {"v5 = Concat <axis = 1> (v4, v4)", "ve = Identity (v5)", "vr = Identity (ve)"}, 1},
        {0}}};

/* Two layers of one x for keys and values; the queries are another's. */
static const rule projections = {"projections", "Projections", 1,
    HEAD "g (float[batch,sequence,8] x, float[batch,sequence,8] q) => (float[batch,sequence,8] y) <int64[4] split = {0, 0, 2, 4}, "
    "int64[3] merge = {0, 0, 8}, float[8] kb = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0}, int64 w64 = {64}, int64[2] ws = {8, 8}> { "
    "f = Cast <to = 1> (s64)  s64 = Range (w0, w64, w1)  w0 = Constant <value_int = 0> ()  w1 = Constant <value_int = 1> ()  "
    "c64 = Constant <value_float = 64.0> ()  f1 = Div (f, c64)  kw = Reshape (f1, ws)  vw = Sub (c64, kw)  "
    "km = MatMul (x, kw)  k = Add (km, kb)  v = MatMul (x, vw)  "
    HEADS("q", "[0, 2, 1, 3]") HEADS("k", "[0, 2, 3, 1]") HEADS("v", "[0, 2, 1, 3]")
    "p = MatMul (qh, kh)  w = Softmax <axis = -1> (p)  o = MatMul (w, vh)  b = Transpose <perm = [0, 2, 1, 3]> (o)  "
    "y = Reshape (b, merge) }",
    (const edit[]){
        {"of different inputs", {"v = MatMul (x, vw)"}, {"v = MatMul (q, vw)"}, 0},
        {"an activation between", {"k = Add (km, kb)"}, {"k = Relu (ka)  ka = Add (km, kb)"}, 0},
        {"a residual between", {"k = Add (km, kb)"}, {"k = Add (ka, x)  ka = Add (km, kb)"}, 0},
        {"keys an output", {" y) <"}, {" y, float[batch,sequence,8] k) <"}, 1},
        {0}}};

/* As TensorFlow writes it. */
static const rule einsum = {"attention by Einsum", "Einsum", 0,
    HEAD "g (float[batch,sequence,4] x, float[batch,1,1,sequence] mask) => (float[batch,sequence,3] y) <"
    "float[4,2,2] wq = {1.0, 2.0, 3.0, 4.0, 0.5, -1.0, 0.25, 2.0, -2.0, -1.0, 0.0, 1.0, 1.0, 0.5, 0.75, -0.25}, "
    "float[4,2,2] wk = {0.5, 1.0, -3.0, 0.25, 0.5, -1.0, 0.25, 2.0, -2.0, -1.0, 0.0, 1.0, 1.0, 0.5, 0.75, -0.25}, "
    "float[2,2] bq = {1.0, -1.0, 0.5, 2.0}, float[2,2,3] wo = {1.0, 2.0, 3.0, 4.0, 0.5, -1.0, 0.25, 2.0, -2.0, -1.0, 0.0, 1.0}> { "
    "q0 = Einsum <equation = \"abc,cde->abde\"> (x, wq)  q = Add (q0, bq)  k = Einsum <equation = \"abc,cde->abde\"> (x, wk)  "
    "s = Einsum <equation = \"bqnd,bknd->bnqk\"> (q, k)  m = Add (s, mask)  p = Softmax <axis = -1> (m)  "
    "c = Einsum <equation = \"bnqk, bknd -> bqnd\"> (p, k)  y = Einsum <equation = \"bfnd,ndh->bfh\"> (c, wo) }",
    (const edit[]){
        {"keys first", {"bqnd,bknd->bnqk", "(q, k)"}, {"bknd,bqnd->bnqk", "(k, q)"}, 0},
        {"weight the other way round", {"bfnd,ndh->bfh", "float[2,2,3] wo"}, {"bfnd,hnd->bfh", "float[3,2,2] wo"}, 0},
        {"a sum beside", {"bfnd,ndh->bfh", "float[batch,sequence,3] y"}, {"bfnd,ndh->fh", "float[sequence,3] y"}, 1},
        {"axes that the weight has in another order", {"bfnd,ndh->bfh"}, {"bfnd,dnh->bfh"}, 1},
        {0}}};

static const rule einsum_attention = {"attention by Einsum", "Attention", 1, NULL, NULL};

static void test_attention(void)
{
    rule found = einsum_attention;
    found.text = einsum.text;
    run_rule(&einsum);
    run_rule(&found);
    run_rule(&attention);
    run_rule(&batched);
    run_rule(&items);
    run_rule(&shared_heads);
    run_rule(&projections);
}

/* ---- what changes nothing, what is there twice, what nobody needs ---- */

typedef struct simple {
    const char *what, *op;
    int count;
    const char *text;
} simple;

static const simple simples[] = {
    {"Identity", "Identity", 0, "g (float[N,4] x) => (float[N,4] y) { a = Neg (x)  b = Identity (a)  y = Neg (b) }"},
    {"Identity to an output", "Identity", 0, "g (float[N,4] x) => (float[N,4] y, float[N,4] a) { a = Neg (x)  y = Identity (a) }"},
    {"Dropout", "Dropout", 0, "g (float[N,4] x) => (float[N,4] y) <float r = {0.5}, bool t = {0}> { a = Dropout (x, r, t)  y = Neg (a) }"},
    {"Dropout whose mask is read", "Dropout", 1, "g (float[N,4] x) => (float[N,4] y, bool[N,4] m) { a, m = Dropout (x)  y = Neg (a) }"},
    {"Cast to the same", "Cast", 0, "g (float[N,4] x) => (float[N,4] y) { a = Cast <to = 1> (x)  y = Neg (a) }"},
    {"Cast to another", "Cast", 1, "g (float[N,4] x) => (double[N,4] y) { a = Cast <to = 11> (x)  y = Neg (a) }"},
    {"Reshape to the same", "Reshape", 0, "g (float[N,4] x) => (float[N,4] y) <int64[2] s = {0, 4}> { a = Reshape (x, s)  y = Neg (a) }"},
    {"Reshape to another", "Reshape", 1, "g (float[N,4] x) => (float[M,2] y) <int64[2] s = {-1, 2}> { a = Reshape (x, s)  y = Neg (a) }"},
    {"Transpose in order", "Transpose", 0, "g (float[N,4] x) => (float[N,4] y) { a = Transpose <perm = [0, 1]> (x)  y = Neg (a) }"},
    {"Transpose of equal sizes", "Transpose", 1, "g (float[4,4] x) => (float[4,4] y) { a = Transpose (x)  y = Neg (a) }"},
    {"Slice of all", "Slice", 0, "g (float[N,4] x) => (float[N,4] y) <int64[1] f = {0}, int64[1] t = {4}, int64[1] a = {1}> "
                                 "{ b = Slice (x, f, t, a)  y = Neg (b) }"},
    {"Slice backwards", "Slice", 1, "g (float[N,4] x) => (float[N,4] y) <int64[1] f = {-1}, int64[1] t = {-9}, int64[1] a = {1}, "
                                    "int64[1] s = {-1}> { b = Slice (x, f, t, a, s)  y = Neg (b) }"},
    {"Concat of one", "Concat", 0, "g (float[N,4] x) => (float[N,4] y) { a = Concat <axis = 0> (x)  y = Neg (a) }"},
    {"Concat of what Split made", "Concat", 0, "g (float[N,4] x) => (float[N,4] y) <int64[2] s = {1, 3}> "
                                               "{ a, b = Split <axis = 1> (x, s)  c = Concat <axis = -1> (a, b)  y = Neg (c) }"},
    {"Concat of pieces in another order", "Concat", 1, "g (float[N,4] x) => (float[N,4] y) <int64[2] s = {1, 3}> "
                                                       "{ a, b = Split <axis = 1> (x, s)  y = Concat <axis = 1> (b, a) }"},
    {"Concat of pieces along another axis", "Concat", 1, "g (float[4,4] x) => (float[8,2] y) <int64[2] s = {2, 2}> "
                                                         "{ a, b = Split <axis = 1> (x, s)  y = Concat <axis = 0> (a, b) }"},
    {"Concat of some pieces", "Concat", 1, "g (float[N,4] x) => (float[N,3] y) <int64[3] s = {1, 2, 1}> "
                                           "{ a, b, c = Split <axis = 1> (x, s)  y = Concat <axis = 1> (a, b) }"},
    {"truth values as numbers", "Cast", 0, "g (bool[N,4] x) => (bool[N,4] y) { a = Cast <to = 6> (x)  b = Cast <to = 9> (a)  y = Not (b) }"},
    {"numbers as truth values", "Cast", 2, "g (float[N,4] x) => (float[N,4] y) { a = Cast <to = 9> (x)  y = Cast <to = 1> (a) }"},
    {"Not of Not", "Not", 1, "g (bool[N,4] x) => (bool[N,4] y) { a = Not (x)  b = Not (a)  y = Not (b) }"},
    {"Where over Not", "Not", 0, "g (bool[N,4] c, float[N,4] x) => (float[N,4] y) <float z = {0.0}> { n = Not (c)  y = Where (n, x, z) }"},
    {"target from pieces of a shape", "Split", 0,
     "g (float[batch,sequence,8] x) => (float[batch,sequence,2,4] y) <int64[2] l = {2, 1}, int64[2] h = {2, 4}> "
     "{ s = Shape (x)  a, b = Split (s, l)  e = Concat <axis = 0> (a, h)  y = Reshape (x, e) }"},
    {"times one", "Mul", 0, "g (float[N,4] x) => (float[N,4] y) <float k = {1.0}> { a = Mul (k, x)  b = Mul (a, k)  y = Neg (b) }"},
    {"times one of higher rank", "Mul", 1, "g (float[4] x) => (float[1,4] y) <float[1,1] k = {1.0}> { a = Mul (x, k)  y = Neg (a) }"},
    {"one divided", "Div", 1, "g (float[N,4] x) => (float[N,4] y) <float k = {1.0}> { a = Div (k, x)  y = Neg (a) }"},
    {"Expand to the same", "Expand", 0, "g (float[N,4] x) => (float[N,4] y) <int64[2] s = {1, 4}> { a = Expand (x, s)  y = Neg (a) }"},
    {"equal nodes", "Exp", 1, "g (float[N,4] x) => (float[N,4] y) { a = Exp (x)  b = Exp (x)  y = Add (a, b) }"},
    {"equal attributes and constants", "Add", 1,
     "g (float[N,4] x) => (float[N,4] y, float[N,4] z) <float k = {2.0}, float l = {2.0}> { a = Add (x, k)  b = Add (x, l)  y = Neg (a)  z = Abs (b) }"},
    {"other constants", "Add", 2,
     "g (float[N,4] x) => (float[N,4] y, float[N,4] z) <float k = {2.0}, float l = {3.0}> { a = Add (x, k)  b = Add (x, l)  y = Neg (a)  z = Abs (b) }"},
    {"constants of other types", "Cast", 2,
     "g (float[N,4] x) => (int32[N,4] y, int64[N,4] z) { y = Cast <to = 6> (x)  z = Cast <to = 7> (x) }"},
    {"other attributes", "Softmax", 2,
     "g (float[N,4] x) => (float[N,4] y) { a = Softmax <axis = 0> (x)  b = Softmax <axis = 1> (x)  y = Add (a, b) }"},
    {"equal outputs", "Exp", 1, "g (float[N,4] x) => (float[N,4] y, float[N,4] z) { y = Exp (x)  z = Exp (x) }"},
    {"nobody needs it", "Exp", 0, "g (float[N,4] x) => (float[N,4] y) { a = Exp (x)  b = Exp (a)  y = Neg (x) }"},
    {"If that is known", "If", 0,
     "g (float[N,4] x) => (float[N,4] y) <bool c = {0}> { t = Exp (x)  y = If (c) <then_branch = a () => (float[N,4] p) { p = Neg (t) }, "
     "else_branch = b () => (float[N,4] q) { u = Abs (t)  q = Add (u, x) }> }"},
    {"If that is not known", "If", 1,
     "g (bool c, float[N,4] x) => (float[N,4] y) { y = If (c) <then_branch = a () => (float[N,4] p) { p = Neg (x) }, "
     "else_branch = b () => (float[N,4] q) { q = Abs (x) }> }"},
    {"computed target", "Gather", 0,
     "g (float[batch,sequence,8] x) => (float[batch,sequence,2,4] y) <int64 i = {0}, int64 j = {1}, int64[1] z = {0}, int64[2] h = {2, 4}> "
     "{ s = Shape (x)  a = Gather (s, i)  b = Gather (s, j)  c = Unsqueeze (a, z)  d = Unsqueeze (b, z)  e = Concat <axis = 0> (c, d, h)  "
     "y = Reshape (x, e) }"},
    {"transposed by way of three axes", "Reshape", 0,
     "g (float[batch,2,sequence,4] x) => (float[batch,2,4,sequence] y) <int64[3] f = {-1, 0, 4}, int64[1] o = {2}, int64 i = {2}, int64[1] z = {0}, "
     "int64[1] b = {-1}, int64[1] k = {4}, int64[1] n = {-1}> { s = Shape (x)  t = Gather (s, i)  u = Unsqueeze (t, z)  "
     "l = Concat <axis = 0> (n, u, k)  a = Reshape (x, l)  c = Transpose <perm = [0, 2, 1]> (a)  m = Concat <axis = 0> (b, o, k, u)  "
     "y = Reshape (c, m) }"},
    {"Expand under a sum", "Expand", 0,
     "g (float[batch,1,1,sequence] m, float[batch,2,sequence,sequence] s) => (float[batch,2,sequence,sequence] y) <int64[4] z = {1, 2, 1, 1}> "
     "{ e = Expand (m, z)  y = Add (e, s) }"},
    {"Expand that gives the shape", "Expand", 1,
     "g (float[batch,1,4] m, float[4] s) => (float[batch,2,4] y) <int64[3] z = {1, 2, 1}> { e = Expand (m, z)  y = Add (e, s) }"},
    {0}};
/* clang-format on */

/* Two constants of 64 KiB. */
static const rule duplicates = {"duplicates", "MatMul", 1,
    HEAD "g (float[N,128] x) => (float[N,128] y, float[N,128] z) <int64[2] ws = {128, 128}, int64 from = {0}, int64 to = {16384}, "
    "int64 step = {1}, float k = {0.001}> { a = Range (from, to, step)  b = Cast <to = 1> (a)  c = Reshape (b, ws)  w = Mul (c, k)  "
    "d = Neg (w)  v = Neg (d)  p = MatMul (x, w)  q = MatMul (x, v)  y = Relu (p)  z = Neg (q) }",
    (const edit[]){
        {"other contents", {"v = Neg (d)"}, {"v = Identity (d)"}, 2},
        {"other shape", {"v = Neg (d)", "float[N,128] z", "q = MatMul (x, v)"},
         {"n = Neg (d)  v = Reshape (n, two)  two = Constant <value_ints = [2, 128, 64]> ()", "float[2,N,64] z", "q = MatMul (x, v)"}, 2},
        {"contents that begin alike", {"v = Neg (d)"}, {"n = Neg (d)  l = Less (n, lim)  v = Where (l, n, d)  "
         "lim = Constant <value_float = 16.382> ()"}, 2},
        {0}}};

static void test_simple(void)
{
    char text[MAX_TEXT];
    run_rule(&duplicates);
    for (const simple *s = simples; s->what; s++) {
        snprintf(text, sizeof text, HEAD "%s", s->text);
        check_rule(text, s->op, s->count, s->what);
    }
}

static CU_TestInfo tests[] = {
    {"GELU and LayerNorm", test_formulas},
    {"GELU by tanh", test_gelu_tanh},
    {"further norms and activations", test_more_formulas},
    {"sentence embeddings", test_sentence},
    {"linear layers", test_linear},
    {"attention", test_attention},
    {"what changes nothing or is there twice", test_simple},
    CU_TEST_INFO_NULL,
};
CU_SuiteInfo suite_passes = {"passes", NULL, NULL, NULL, NULL, tests};
