/* SPDX-License-Identifier: Apache-2.0
 *
 * Quantised layers: for every spelling a graph and edits of it, with what must be there after the passes and the values
 * of the graph without them; weights that stay in their few bits; and every quantised model of the zoo.
 */
#include "passes/pass.h"
#include "support.h"
#include "zoo.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static gr_err err;

#define HEAD "<ir_version: 10, opset_import: [\"\" : 21, \"com.microsoft\" : 1]> "
enum { MAX_TEXT = 4096, ROWS = 6, WIDTH = 4 };

typedef struct edit {
    const char *what, *from[2], *to[2];
    int quantized, weight_only;
} edit;

/* ---- values ---- */

static void compare_values(const gr_graph *plain, const gr_graph *fused, const char *what)
{
    gr_tensor *in[4], *want[4] = {0}, *got[4] = {0};
    uint32_t seed = 7;
    for (size_t i = 0; i < plain->ninputs; i++) {
        const gr_type *t = &plain->inputs[i]->type;
        int64_t dims[] = {2, ROWS / 2, WIDTH};
        if (t->rank == 2) dims[0] = ROWS, dims[1] = WIDTH;
        in[i] = gr_tensor_new(t->dtype, t->rank, dims);
        if (!in[i]) abort();
        for (int64_t k = 0; k < in[i]->elements; k++) {
            if (t->dtype == GR_FLOAT) ((float *)in[i]->data)[k] = (float)(next_random(&seed) % 2000) / 500 - 2;
            if (t->dtype == GR_INT64) ((int64_t *)in[i]->data)[k] = next_random(&seed) % 3;
        }
    }
    CHECK_OK(gr_eval_graph(NULL, plain, (const gr_tensor *const *)in, want, &err));
    CHECK_OK(gr_eval_graph(NULL, fused, (const gr_tensor *const *)in, got, &err));
    for (size_t i = 0; i < plain->noutputs; i++) {
        char why[256];
        if (want[i] && got[i] && !same_tensor(got[i], want[i], why, sizeof why))
            FAIL("%s: output '%s' %s", what, plain->output_names[i], why);
        gr_tensor_free(want[i]);
        gr_tensor_free(got[i]);
    }
    for (size_t i = 0; i < plain->ninputs; i++) gr_tensor_free(in[i]);
}

static void check(const char *text, const char *what, int quantized, int weight_only)
{
    built plain = infer_text(text), b = infer_text(text);
    if (plain.graph && b.graph) {
        CHECK_OK(gr_passes_run(b.graph, NULL, &err));
        CHECK_OK(gr_graph_infer(b.graph, 1 << 20, &err));
        CHECK_OK(gr_graph_check(b.graph, &err));
        const int q = count_ops(b.graph, "QuantizedLinear"), w = count_ops(b.graph, "WeightOnlyLinear");
        if (q != quantized || w != weight_only)
            FAIL("%s: %d and %d fused layers, expected %d and %d", what, q, w, quantized, weight_only);
        compare_values(plain.graph, b.graph, what);
        size_t count;
        const gr_pass *all = gr_pass_list(&count);
        for (size_t i = 0; i < count; i++) {
            int hits = 0;
            CHECK_OK(all[i].run(b.graph, &hits, &err));
            if (hits) FAIL("%s: pass %s has %d hits in a second walk", what, all[i].name, hits);
        }
    } else {
        FAIL("%s does not build:\n%s", what, text);
    }
    built_free(&plain);
    built_free(&b);
}

static void check_edits(const char *text, const edit *edits)
{
    for (const edit *e = edits; e->what; e++) {
        char edited[MAX_TEXT];
        snprintf(edited, sizeof edited, "%s", text);
        for (int i = 0; i < 2 && e->from[i]; i++) {
            char *at = strstr(edited, e->from[i]), rest[MAX_TEXT];
            if (!at) {
                FAIL("%s: '%s' is not in the text", e->what, e->from[i]);
                continue;
            }
            snprintf(rest, sizeof rest, "%s", at + strlen(e->from[i]));
            snprintf(at, sizeof edited - (size_t)(at - edited), "%s%s", e->to[i], rest);
        }
        check(edited, e->what, e->quantized, e->weight_only);
    }
}

/* ---- spellings ---- */

#define W "int8[4,3] w = {1, -2, 3, 40, 50, -60, 7, 127, -128, 10, 11, 12}"
#define DYNAMIC                                                                                                        \
    "q, s, z = DynamicQuantizeLinear (x)  i = MatMulInteger (q, w, z, wz)  f = Cast <to = 1> (i)  k = Mul (s, ws)  "   \
    "m = Mul (f, k)  y = Add (b, m)"

static void test_dynamic(void)
{
    check_edits(
        HEAD "g (float[N,M,4] x) => (float[N,M,3] y) <" W
             ", int8 wz = {3}, float ws = {0.01}, float[3] b = {1, 2, 3}> { " DYNAMIC " }",
        (const edit[]){
            {"dynamic", {0}, {0}, 1, 0},
            {"operands exchanged", {"Mul (f, k)", "Add (b, m)"}, {"Mul (k, f)", "Add (m, b)"}, 1, 0},
            {"a scale per column", {"float ws = {0.01}"}, {"float[3] ws = {0.01, 0.02, 0.5}"}, 1, 0},
            {"scale of A first", {"k = Mul (s, ws)", "Mul (f, k)"}, {"k = Mul (f, s)", "Mul (k, ws)"}, 1, 0},
            {"scale of B first", {"k = Mul (s, ws)", "Mul (f, k)"}, {"k = Mul (f, ws)", "Mul (k, s)"}, 1, 0},
            {"without zero points", {", z, wz)"}, {")"}, 1, 0},
            {"an activation", {"y = Add (b, m)"}, {"a = Add (b, m)  y = Relu (a)"}, 1, 0},
            {"a residual",
             {"float[N,M,4] x)", "y = Add (b, m)"},
             {"float[N,M,4] x, float[N,M,4] w2)",
              "a = Add (b, m)  c = Slice (w2, zero, three, two)  y = Add (a, c)  zero = Constant <value_ints = [0]> () "
              " three = Constant <value_ints = [3]> ()  two = Constant <value_ints = [2]> ()"},
             1,
             0},
            {"a bias that is no row", {"float[3] b = {1, 2, 3}"}, {"float[1,1,3] b = {1, 2, 3}"}, 1, 0},
            {"to double", {"<to = 1> (i)", "Mul (f, k)"}, {"<to = 11> (i)  h = Cast <to = 1> (f)", "Mul (h, k)"}, 0, 0},
            {"a scale per row", {"float ws = {0.01}"}, {"float[3,1] ws = {0.01, 0.02, 0.5}"}, 0, 0},
            {"the sum read elsewhere",
             {"float[N,M,3] y)", "y = Add"},
             {"float[N,M,3] y, int32[N,M,3] n)", "n = Neg (i)  y = Add"},
             0,
             0},
            {"the sum an output", {"float[N,M,3] y)"}, {"float[N,M,3] y, int32[N,M,3] i)"}, 0, 0},
            {"weights that are not constant",
             {"MatMulInteger (q, w, z, wz)"},
             {"MatMulInteger (q, v, z, wz)  u = ReduceMax <keepdims = 0> (q)  t = Cast <to = 3> (u)  v = Mul (w, o)  o "
              "= Sub (t, t)"},
             0,
             0},
            {0}});
}

/* Scales that are powers of two: then the floats of the file are exact, too. */
#define QDQ                                                                                                            \
    "q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)  e = DequantizeLinear <axis = 1> (w, ws, wz)  "      \
    "m = MatMul (d, e)  y = Add (m, b)"
#define QDQ_HEAD                                                                                                       \
    HEAD "g (float[N,M,4] x) => (float[N,M,3] y) <" W                                                                  \
         ", int8 wz = {0}, float ws = {0.03125}, float[3] b = {1, 2, 3}, float s = {0.015625}, uint8 z = {120}> { "

static void test_around_products(void)
{
    check_edits(
        QDQ_HEAD QDQ " }",
        (const edit[]){
            {"QDQ", {0}, {0}, 1, 0},
            {"signed", {"uint8 z = {120}"}, {"int8 z = {-3}"}, 1, 0},
            {"a scale per column",
             {"int8 wz = {0}", "float ws = {0.03125}"},
             {"int8[3] wz = {0, 1, 2}", "float[3] ws = {0.25, 0.5, 1.0}"},
             1,
             0},
            {"transposed",
             {"int8[4,3] w", "m = MatMul (d, e)"},
             {"int8[3,4] w", "t = Transpose <perm = [1, 0]> (e)  m = MatMul (d, t)"},
             1,
             0},
            {"no zero points", {"(w, ws, wz)"}, {"(w, ws)"}, 1, 0},
            {"the activation read twice",
             {"y = Add (m, b)"},
             {"o = MatMul (d, e)  a = Add (m, o)  y = Add (a, b)"},
             1,
             0},
            {"16 bits", {"uint8 z = {120}"}, {"uint16 z = {30000}"}, 0, 1},
            {"floats", {"MatMul (d, e)"}, {"MatMul (x, e)"}, 0, 1},
            {"a scale per row of W",
             {"axis = 1> (w, ws, wz)", "float ws = {0.03125}"},
             {"axis = 0> (w, ws)", "float[4] ws = {0.25, 0.5, 1.0, 2.0}"},
             0,
             1},
            {"blocks",
             {"axis = 1> (w, ws, wz)", "float ws = {0.03125}"},
             {"axis = 0, block_size = 2> (w, ws)", "float[2,3] ws = {0.25, 0.5, 1.0, 2.0, 4.0, 0.125}"},
             0,
             1},
            {"4 bits",
             {"int8[4,3] w = {1, -2, 3, 40, 50, -60, 7, 127, -128, 10, 11, 12}", "int8 wz = {0}"},
             {"int4[4,3] w = {1, -2, 3, 4, 5, -6, 7, 0, -8, 1, 1, 2}", "int4 wz = {1}"},
             0,
             1},
            {"a scale that is not constant", {"(w, ws, wz)"}, {"(w, v, wz)  v = ReduceMax <keepdims = 0> (x)"}, 0, 0},
            {"weights of rank 3", {"int8[4,3] w"}, {"int8[1,4,3] w"}, 0, 0},
            {0}});
}

/* The value that a model computes for x = [[1, 2, 3, 4]], and which fused operators are its steps. */
static float run_layer(const gr_model_options *options, int *quantized, int *weight_only)
{
    static const char text[] =
        HEAD "g (float[N,4] x) => (float[N,1] y) <int8[4,1] w = {127, -126, 125, -124}, float s = {0.0171}, uint8 z = "
             "{3}, float ws = {0.0033}> { q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)  "
             "e = DequantizeLinear (w, ws)  y = MatMul (d, e) }";
    float x[] = {1, 2, 3, 4}, y = 0;
    gr_model *model = NULL;
    gr_session *session = NULL;
    gr_model_summary summary;
    gr_named_tensor in = {"x", {GR_FLOAT, 2, (int64_t[]){1, 4}, x, sizeof x}}, out = {"y", {.data = &y, .size = sizeof y}};
    *quantized = *weight_only = 0;
    CHECK_OK(gr_model_load_memory(text, strlen(text), NULL, options, &model, &err));
    if (!model) return 0;
    gr_model_summarize(model, &summary);
    for (size_t i = 0; i < summary.step_count; i++) {
        if (!strcmp(summary.steps[i].name, "QuantizedLinear")) *quantized += (int)summary.steps[i].count;
        if (!strcmp(summary.steps[i].name, "WeightOnlyLinear")) *weight_only += (int)summary.steps[i].count;
    }
    CHECK_OK(gr_session_create(model, NULL, &session, &err));
    if (session) CHECK_OK(gr_session_run(session, &in, 1, &out, 1, &err));
    gr_session_free(session);
    gr_model_free(model);
    return y;
}

/* A strict model has the products of floats that the file has, and so its bits; still its weights stay codes. */
static void test_strict(void)
{
    const gr_model_options raw = {.struct_size = sizeof raw, .no_passes = true};
    const gr_model_options strict = {.struct_size = sizeof strict, .strict = true};
    int quantized, weight_only;
    const float want = run_layer(&raw, &quantized, &weight_only);
    const float exact = run_layer(NULL, &quantized, &weight_only);
    if (quantized != 1 || weight_only != 0) FAIL("not strict: %d and %d fused layers", quantized, weight_only);
    const float got = run_layer(&strict, &quantized, &weight_only);
    if (quantized != 0 || weight_only != 1) FAIL("strict: %d and %d fused layers", quantized, weight_only);
    if (got != want) FAIL("strict gives %.9g, the file's nodes %.9g", (double)got, (double)want);
    if (exact == want) FAIL("floats round %.9g as integers do: the test tells nothing", (double)exact);
}

static void test_gemm(void)
{
    check_edits(
        HEAD "g (float[N,4] x) => (float[N,3] y) <int8[3,4] w = {1, -2, 3, 40, 50, -60, 7, 127, -128, 10, 11, 12}, "
             "float[3] ws = {0.25, 0.5, 1.0}, int8[3] wz = {0, 1, 2}, int32[3] c = {1, 2, 3}, float[3] cs = {0.5, 0.5, "
             "1.0}, "
             "float s = {0.015625}, uint8 z = {120}> { q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)  "
             "e = DequantizeLinear <axis = 0> (w, ws, wz)  b = DequantizeLinear <axis = 0> (c, cs)  y = Gemm <transB = "
             "1> (d, e, b) }",
        (const edit[]){
            {"Gemm", {0}, {0}, 1, 0},
            {"without bias", {"(d, e, b)"}, {"(d, e)"}, 1, 0},
            {"then tanh", {"y = Gemm <transB = 1> (d, e, b)"}, {"g = Gemm <transB = 1> (d, e, b)  y = Tanh (g)"}, 1, 0},
            {"another factor", {"transB = 1"}, {"transB = 1, alpha = 0.5"}, 0, 0},
            {"another axis",
             {"axis = 0> (w", "float[3] ws = {0.25, 0.5, 1.0}, int8[3] wz = {0, 1, 2}"},
             {"axis = 1> (w", "float[4] ws = {0.25, 0.5, 1.0, 2.0}, int8[4] wz = {0, 1, 2, 3}"},
             0,
             1},
            {0}});
}

static void test_formula(void)
{
    check_edits(
        HEAD "g (float[N,M,4] x) => (float[N,M,3] y) <" W ", float s = {0.25}, float z = {3}> "
             "{ c = Cast <to = 1> (w)  d = Sub (c, z)  e = Mul (d, s)  y = MatMul (x, e) }",
        (const edit[]){{"weights by formula", {0}, {0}, 0, 1},
                       {"no zero point", {"Mul (d, s)"}, {"Mul (s, c)"}, 0, 1},
                       {"a scale per column", {"float s = {0.25}"}, {"float[3] s = {0.25, 0.5, 1.0}"}, 0, 1},
                       {"a scale per row", {"float s = {0.25}"}, {"float[4,1] s = {0.25, 0.5, 1.0, 2.0}"}, 0, 1},
                       {"a zero point that is no code", {"z = {3}"}, {"z = {2.5}"}, 0, 0},
                       {"a zero point out of range", {"z = {3}"}, {"z = {200}"}, 0, 0},
                       {"a scale per element",
                        {"float s = {0.25}"},
                        {"float[4,3] s = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3}"},
                        0,
                        0},
                       {0}});
}

/* ---- tables ---- */

static void check_table(const char *scale, const char *attrs, bool sinks)
{
    char text[MAX_TEXT];
    snprintf(
        text, sizeof text,
        HEAD
        "g (int64[N,4] i) => (float[N,4,4] y) <int8[3,4] w = {1, -2, 3, 40, 50, -60, 7, 127, -128, 10, 11, 12}, %s> "
        "{ e = DequantizeLinear %s (w, s)  y = Gather (e, i) }",
        scale, attrs);
    built plain = infer_text(text), b = infer_text(text);
    if (plain.graph && b.graph) {
        CHECK_OK(gr_passes_run(b.graph, NULL, &err));
        CHECK_OK(gr_graph_infer(b.graph, 1 << 20, &err));
        const gr_node *n = find_op(b.graph, "DequantizeLinear");
        if (!n || (n->in[0].value->konst != NULL) == sinks) FAIL("%s: the whole table is dequantised", scale);
        compare_values(plain.graph, b.graph, scale);
    }
    built_free(&plain);
    built_free(&b);
}

static void test_tables(void)
{
    check_table("float s = {0.3}", "", true);
    check_table("float[4] s = {0.1, 0.2, 0.3, 0.4}", "<axis = 1>", true);
    check_table("float[3] s = {0.1, 0.2, 0.3}", "<axis = 0>", true);
    check_table("float[3,2] s = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6}", "<axis = 1, block_size = 2>", true);
    check_table("float[2,4] s = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8}", "<axis = 0, block_size = 2>", false);
}

/* ---- the zoo ---- */

static bool constant_codes(const gr_value *v)
{
    const gr_node *n = v ? v->def : NULL;
    return n && !strcmp(n->op->name, "DequantizeLinear") && gr_in(n, 0)->konst;
}

/* Products with quantised constant weights as the file has them. */
static int quantised_products(const gr_graph *g)
{
    int count = 0;
    GR_FOR_NODES(n, g)
    {
        const char *op = n->op->name;
        const gr_value *w = gr_in(n, 1);
        if (!strcmp(op, "MatMulInteger") || !strcmp(op, "MatMulIntegerToFloat") ||
            !strcmp(op, "DynamicQuantizeMatMul") || !strcmp(op, "QAttention"))
            count += w && w->konst;
        if (!strcmp(op, "QLinearMatMul") || !strcmp(op, "QGemm")) count += gr_in(n, 3) && gr_in(n, 3)->konst;
        if (!strcmp(op, "MatMulNBits")) count++;
        if (!strcmp(op, "MatMul") || !strcmp(op, "Gemm")) count += constant_codes(w);
    }
    return count;
}

static int fused_products(const gr_graph *g)
{
    int count = count_ops(g, "QuantizedLinear") + count_ops(g, "WeightOnlyLinear") + count_ops(g, "MatMulNBits");
    GR_FOR_NODES(n, g)
    {
        if (strcmp(n->op->name, "QLinearMatMul") && strcmp(n->op->name, "QGemm")) continue;
        count += gr_in(n, 3) && gr_in(n, 3)->konst;
    }
    return count;
}

static void count_case(const char *name, const char *folder, const char *dtype, void *user)
{
    char path[1024];
    gr_doc *doc;
    gr_graph *g = NULL;
    if (strcmp(dtype, "int8") && strcmp(dtype, "int4")) return;
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    gr_arena *arena = gr_arena_new();
    if (!arena) abort();
    if (gr_doc_load(path, NULL, &doc, &err) != GR_OK) {
        FAIL("%s: %s", name, err.text);
        gr_arena_free(arena);
        return;
    }
    CHECK_OK(gr_graph_build(doc, arena, NULL, &g, &err));
    CHECK_OK(gr_graph_infer(g, 1 << 20, &err));
    const int want = quantised_products(g);
    CHECK_OK(gr_passes_run(g, NULL, &err));
    const int got = fused_products(g);
    if (got != want) FAIL("%s: %d quantised products are fused, expected %d", name, got, want);
    if (!want) FAIL("%s has no quantised products", name);
    ++*(int *)user;
    gr_arena_free(arena);
    gr_doc_free(doc);
}

static void test_zoo(void)
{
    int count = 0;
    if (!zoo_folder()) return;
    zoo_each(count_case, &count);
    if (count < 20) FAIL("only %d quantised models", count);
}

static CU_TestInfo tests[] = {{"after DynamicQuantizeLinear", test_dynamic},
                              {"between QuantizeLinear and DequantizeLinear", test_around_products},
                              {"strict", test_strict},
                              {"Gemm", test_gemm},
                              {"weights by formula", test_formula},
                              {"tables", test_tables},
                              {"every quantised product of the zoo", test_zoo},
                              CU_TEST_INFO_NULL};

CU_SuiteInfo suite_quant = {"quant", NULL, NULL, NULL, NULL, tests};
