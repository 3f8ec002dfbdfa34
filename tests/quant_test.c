/* SPDX-License-Identifier: Apache-2.0
 *
 * Quantised layers: the arithmetic of strict graphs, and every quantised model of the zoo. Spellings and near misses
 * are in tests/passes/quant and quant-weights.
 */
#include "passes/pass.h"
#include "support.h"
#include "zoo.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static gr_err err;

#define HEAD "<ir_version: 10, opset_import: [\"\" : 21, \"com.microsoft\" : 1]> "

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
    gr_named_tensor in = {"x", {GR_FLOAT, 2, (int64_t[]){1, 4}, x, sizeof x}},
                    out = {"y", {.data = &y, .size = sizeof y}};
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

/* y, r and f of x = [[-1.3, 0.2, 0.6, 2.1]] in a session. */
static void run_pairs(bool strict, gr_precision precision, float *y)
{
    static const char text[] =
        HEAD "g (float[N,4] x) => (float[N,4] y, float[N,4] r, float[N,4] f) "
             "<float s = {0.5}, uint8 z = {0}, int8 m = {3}, float other = {0.25}> { "
             "a = QuantizeLinear (x, s, z)  y = DequantizeLinear (a, s, z)  b = QuantizeLinear (x, s, m)  "
             "r = DequantizeLinear (b, s, m)  f = DequantizeLinear (b, other, m) }";
    const gr_model_options options = {.struct_size = sizeof options, .strict = strict};
    const gr_session_options how = {.struct_size = sizeof how, .precision = precision};
    float x[] = {-1.3f, 0.2f, 0.6f, 2.1f};
    gr_model *model = NULL;
    gr_session *session = NULL;
    gr_named_tensor in = {"x", {GR_FLOAT, 2, (int64_t[]){1, 4}, x, sizeof x}}, out[3];
    static const char *const names[] = {"y", "r", "f"};
    for (int i = 0; i < 3; i++) out[i] = (gr_named_tensor){names[i], {.data = y + 4 * i, .size = sizeof x}};
    CHECK_OK(gr_model_load_memory(text, strlen(text), NULL, &options, &model, &err));
    if (model) CHECK_OK(gr_session_create(model, &how, &session, &err));
    if (session) CHECK_OK(gr_session_run(session, &in, 1, out, 3, &err));
    gr_session_free(session);
    gr_model_free(model);
}

/* Rounding to constant codes and back is left out in bytes, but for what it cuts off below 0 and for another scale. */
static void test_pairs(void)
{
    static const float rounded[] = {0, 0, 0.5f, 2, -1.5f, 0, 0.5f, 2, -0.75f, 0, 0.25f, 1};
    static const float left_out[] = {0, 0.2f, 0.6f, 2.1f, -1.3f, 0.2f, 0.6f, 2.1f, -0.75f, 0, 0.25f, 1};
    for (int strict = 0; strict < 2; strict++)
        for (gr_precision p = GR_PRECISION_F32; p <= GR_PRECISION_INT8; p++) {
            float y[12] = {0};
            const float *want = p == GR_PRECISION_INT8 && !strict ? left_out : rounded;
            run_pairs(strict, p, y);
            for (int i = 0; i < 12; i++)
                CHECK_THAT(y[i] == want[i], "strict %d, precision %d: element %d is %g, expected %g", strict, (int)p, i,
                           (double)y[i], (double)want[i]);
        }
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

static CU_TestInfo tests[] = {
    {"strict", test_strict}, {"pairs", test_pairs}, {"every quantised product of the zoo", test_zoo}, CU_TEST_INFO_NULL};

CU_SuiteInfo suite_quant = {"quant", NULL, NULL, NULL, NULL, tests};
