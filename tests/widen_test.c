/* SPDX-License-Identifier: Apache-2.0
 *
 * Models in 16 bits: that they are fused like float ones, keep the types of their inputs and outputs, agree with the
 * same nodes run one by one with a rounding after each, and hold their weights in 16 bits.
 */
#include "passes/pass.h"
#include "simd/simd.h"
#include "support.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static gr_err err;

#define HEAD "<ir_version: 10, opset_import: [\"\" : 18]> "
enum { ROWS = 3, K = 1024, N = 288 }; /* a weight of that size is worth keeping as it is */

static void check_counts(const char *text, const char *op, int count, int casts)
{
    built b = infer_text(text);
    if (!b.graph) return;
    CHECK_OK(gr_passes_run(b.graph, NULL, &err));
    CHECK_OK(gr_graph_infer(b.graph, 1 << 20, &err));
    CHECK_OK(gr_graph_check(b.graph, &err));
    CU_ASSERT_EQUAL(count_ops(b.graph, op), count);
    if (count_ops(b.graph, op) != count) FAIL("%d of %s in %s", count_ops(b.graph, op), op, text);
    CU_ASSERT_EQUAL(count_ops(b.graph, "Cast"), casts);
    built_free(&b);
}

static void test_fused(void)
{
    check_counts(HEAD "g (float16[n,4] x) => (float16[n,2] y) <float16[4,2] w = {1, 2, 3, 4, 5, 6, 7, 8}, "
                      "float16[2] b = {1, -1}> { p = MatMul (x, w)  q = Add (p, b)  y = Relu (q) }",
                 "Linear", 1, 2);
    check_counts(HEAD "g (float[n,4] x) => (float[n,2] y) <bfloat16[4,2] w = {1, 2, 3, 4, 5, 6, 7, 8}, bfloat16[2] b = "
                      "{1, -1}> { c = Cast <to = 16> (x)  p = MatMul (c, w)  q = Add (p, b)  y = Cast <to = 1> (q) }",
                 "Linear", 1, 0);
    /* Both precisions in one: a normalization in float between products in half. */
    check_counts(HEAD "g (float16[n,4] x) => (float16[n,4] y) <float16[4,4] w = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, "
                      "6, 7, 8}, float16[4] b = {1, -1, 0, 2}, float[4] g = {1, 1, 2, 2}, float[4] h = {0, 0, 1, 1}> "
                      "{ p = MatMul (x, w)  q = Add (p, b)  c = Cast <to = 1> (q)  r = Cast <to = 1> (x)  s = Add (c, r)  "
                      "n = LayerNormalization (s, g, h)  y = Cast <to = 10> (n) }",
                 "AddLayerNormalization", 1, 2);
    /* What makes 16-bit numbers of none, and what has no float form. */
    check_counts(HEAD "g (float16[n,4] x) => (float16[n,4] y) { s = Shape (x)  c = ConstantOfShape <value = float16 {2}> "
                      "(s)  y = Add (x, c) }",
                 "Add", 1, 3);
    check_counts(HEAD "g (float16[n,4] x, bool c) => (float16[n,4] y) { a = Exp (x)  b = If (c) <then_branch = t () => "
                      "(float16[n,4] p) { p = Neg (a) }, else_branch = e () => (float16[n,4] q) { q = Abs (x) }>  "
                      "y = Exp (b) }",
                 "Exp", 2, 4);
    check_counts(HEAD "g (float16[n,4] x) => (int64[n,4] y) { y = Cast <to = 7> (x) }", "Cast", 2, 2);
}

/* ---- runs ---- */

static gr_named_tensor run_one(running *r, gr_named_tensor in, const char *wanted)
{
    gr_named_tensor out = WANTED(wanted);
    CHECK_OK(gr_session_run(r->session, &in, 1, &out, 1, &err));
    return out;
}

static void test_types(void)
{
    const char *text = HEAD "g (float16[n,2] x) => (float16[n,2] y) <float16 k = {16896}> { a = Mul (x, k)  y = Exp (a) }";
    const int64_t dims[] = {1, 2};
    uint16_t x[] = {gr_float_to_half(0.5f), gr_float_to_half(-0.25f)};
    running r;
    if (!open_text(text, NULL, NULL, &r)) return;
    gr_named_tensor y = run_one(&r, view_of("x", GR_FLOAT16, 2, dims, x), "y");
    CU_ASSERT_EQUAL(y.tensor.type, GR_FLOAT16);
    const uint16_t want[] = {gr_float_to_half(expf(1.5f)), gr_float_to_half(expf(-0.75f))};
    CU_ASSERT(y.tensor.data && !memcmp(y.tensor.data, want, sizeof want));
    /* A value inside has the type that the file gives it, and so has a constant. */
    y = run_one(&r, view_of("x", GR_FLOAT16, 2, dims, x), "a");
    CU_ASSERT_EQUAL(y.tensor.type, GR_FLOAT16);
    y = run_one(&r, view_of("x", GR_FLOAT16, 2, dims, x), "k");
    CU_ASSERT_EQUAL(y.tensor.type, GR_FLOAT16);
    close_running(&r);
}

/* Sums that float16 cannot hold do not overflow on the way; the result does where it must. */
static void test_range(void)
{
    const char *text = HEAD "g (float16[2] x) => (float16[2] y, float16[2] z) { a = Add (x, x)  b = Add (a, a)  "
                            "y = Sub (b, a)  z = Add (b, b) }";
    const int64_t dims[] = {2};
    uint16_t x[] = {gr_float_to_half(30000), gr_float_to_half(1)};
    running r;
    if (!open_text(text, NULL, NULL, &r)) return;
    gr_named_tensor y = run_one(&r, view_of("x", GR_FLOAT16, 1, dims, x), "y");
    CU_ASSERT_EQUAL(gr_half_to_float(((uint16_t *)y.tensor.data)[0]), 60000);
    y = run_one(&r, view_of("x", GR_FLOAT16, 1, dims, x), "z");
    CU_ASSERT(isinf(gr_half_to_float(((uint16_t *)y.tensor.data)[0])));
    CU_ASSERT_EQUAL(gr_half_to_float(((uint16_t *)y.tensor.data)[1]), 8);
    close_running(&r);
}

/* Masked keys stay masked, and a row in which all are counts them alike, as in the type of the file. */
static void test_mask(void)
{
    /* -65504, -inf, -10000: the text has the bits. */
    static const char *const fills[] = {"64511", "64512", "61666"};
    for (size_t i = 0; i < sizeof fills / sizeof *fills; i++) {
        char text[1024];
        const int64_t dims[] = {2, 4};
        float x[] = {1, 2, 3, 4, 1, 0.5, 3, 4};
        running r;
        snprintf(text, sizeof text,
                 HEAD "g (float[2,4] x) => (float[2,4] y) <float16[2,4] m = {0, 0, %s, %s, %s, %s, %s, %s}> "
                      "{ h = Cast <to = 10> (x)  s = Add (h, m)  p = Softmax <axis = -1> (s)  y = Cast <to = 1> (p) }",
                 fills[i], fills[i], fills[i], fills[i], fills[i], fills[i]);
        if (!open_text(text, NULL, NULL, &r)) continue;
        gr_named_tensor y = run_one(&r, FLOATS("x", 2, dims, x), "y");
        const float *p = y.tensor.data;
        CU_ASSERT(fabsf(p[0] - 0.26894f) < 1e-3f && p[2] == 0 && p[3] == 0);
        if (i == 0) CU_ASSERT_EQUAL(p[4], 0.25f);
        if (i == 0) CU_ASSERT_EQUAL(p[7], 0.25f);
        if (i == 1) CU_ASSERT(isnan(p[4]));
        close_running(&r);
    }
}

/* ---- weights ---- */

/* "float16[1024,288] w = {...}", with the bits of numbers from 0.5 to 1 or 3e-5 to 2e-3 */
static char *weights_text(const char *format, const char *type)
{
    char *text = malloc((size_t)K * N * 16 + 4096), *numbers = malloc((size_t)K * N * 16);
    size_t n = 0;
    uint32_t seed = 7;
    for (int i = 0; i < K * N; i++)
        n += (size_t)sprintf(numbers + n, "%s%u", i ? "," : "",
                             0x3800 + next_random(&seed) % 0x400 + (next_random(&seed) % 2 ? 0x8000 : 0));
    sprintf(text, format, type, K, N, numbers);
    free(numbers);
    return text;
}

static void compare_runs(const char *text, gr_named_tensor in, const char *what, size_t most)
{
    const gr_model_options plain = {.struct_size = sizeof plain, .no_passes = true};
    running a, b;
    if (!open_text(text, NULL, NULL, &a)) return;
    if (open_text(text, &plain, NULL, &b)) {
        gr_named_tensor y = run_one(&a, in, "y"), z = run_one(&b, in, "y");
        CU_ASSERT_EQUAL(y.tensor.size, z.tensor.size);
        if (y.tensor.size != z.tensor.size || memcmp(y.tensor.data, z.tensor.data, y.tensor.size))
            FAIL("%s: other bits than without passes", what);
        gr_memory_info memory;
        gr_session_memory(a.session, &memory);
        if (memory.packed_bytes > most) FAIL("%s: %zu bytes of packed weights", what, memory.packed_bytes);
        close_running(&b);
    }
    close_running(&a);
}

/* Files with weights in 16 bits and all else in float: no rounding is left out, so that the bits are the same. */
static void test_weights(void)
{
    static const char *const types[] = {"float16", "bfloat16"};
    static float x[ROWS * K];
    static int64_t ids[ROWS] = {0, K - 1, 7};
    const int64_t dims[] = {ROWS, K}, rows[] = {ROWS}, wide[] = {ROWS, N};
    for (int i = 0; i < ROWS * K; i++) x[i] = (float)(i * 37 % 101) / 64 - 0.7f;
    for (int i = 0; i < 2; i++) {
        char *product = weights_text(HEAD "g (float[r,1024] x) => (float[r,288] y) <%s[%d,%d] w = {%s}> "
                                          "{ f = Cast <to = 1> (w)  y = MatMul (x, f) }", types[i]);
        compare_runs(product, FLOATS("x", 2, dims, x), "product", K * N * 2 + 4096);
        char *transposed = weights_text(HEAD "g (float[r,288] x) => (float[r,1024] y) <%s[%d,%d] w = {%s}> "
                                             "{ f = Cast <to = 1> (w)  t = Transpose (f)  y = MatMul (x, t) }", types[i]);
        compare_runs(transposed, FLOATS("x", 2, wide, x), "transposed product", (N + 32) * K * 2 + 4096);
        char *table = weights_text(HEAD "g (int64[r] x) => (float[r,288] y) <%s[%d,%d] w = {%s}> "
                                        "{ f = Cast <to = 1> (w)  y = Gather (f, x) }", types[i]);
        compare_runs(table, INTS("x", 1, rows, ids), "table", 0);
        char *read = weights_text(HEAD "g (float[r,288] x) => (float[1024,288] y) <%s[%d,%d] w = {%s}, int64[1] a = {0}> "
                                       "{ f = Cast <to = 1> (w)  s = ReduceSum <keepdims = 1> (x, a)  y = Add (f, s) }",
                                  types[i]);
        compare_runs(read, FLOATS("x", 2, wide, x), "sum", K * N * 4);
        free(product);
        free(transposed);
        free(table);
        free(read);
    }
}

typedef struct buffer {
    char *text;
    size_t size;
} buffer;

static bool append(void *user, const char *text, size_t size)
{
    buffer *b = user;
    char *more = realloc(b->text, b->size + size + 1);
    if (!more) return false;
    b->text = more;
    memcpy(b->text + b->size, text, size);
    b->size += size;
    b->text[b->size] = 0;
    return true;
}

/* What is printed holds the weights as they are, and runs. */
static void test_printed(void)
{
    char *text = weights_text(HEAD "g (float16[r,1024] x) => (float16[r,288] y) <%s[%d,%d] w = {%s}> { y = MatMul (x, w) }",
                              "float16");
    static uint16_t x[ROWS * K];
    const int64_t dims[] = {ROWS, K};
    buffer printed = {0};
    running r, again;
    for (int i = 0; i < ROWS * K; i++) x[i] = gr_float_to_half((float)(i % 19) / 16);
    if (open_text(text, NULL, NULL, &r)) {
        CHECK_OK(gr_model_print(r.model, GR_PRINT_OPTIMIZED, SIZE_MAX, append, &printed, &err));
        CU_ASSERT_PTR_NOT_NULL(strstr(printed.text, "float16[1024,288]"));
        CU_ASSERT_PTR_NULL(strstr(printed.text, "float[1024,288] w ="));
        if (open_text(printed.text, NULL, NULL, &again)) {
            gr_named_tensor y = run_one(&r, view_of("x", GR_FLOAT16, 2, dims, x), "y");
            gr_named_tensor z = run_one(&again, view_of("x", GR_FLOAT16, 2, dims, x), "y");
            CU_ASSERT(y.tensor.size == z.tensor.size && !memcmp(y.tensor.data, z.tensor.data, y.tensor.size));
            close_running(&again);
        }
        close_running(&r);
    }
    free(printed.text);
    free(text);
}

static CU_TestInfo tests[] = {
    {"fused like float", test_fused},
    {"types outside", test_types},
    {"range", test_range},
    {"masks", test_mask},
    {"weights stay in 16 bits", test_weights},
    {"printed and read again", test_printed},
    CU_TEST_INFO_NULL,
};
CU_SuiteInfo suite_widen = {"widen", NULL, NULL, NULL, NULL, tests};
