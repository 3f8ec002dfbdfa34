/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of long sequences: memory grows with their length, not with its square, and values are those of the formula
 * in double precision, whatever a block of keys holds.
 */
#include "support.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define HEAD "<ir_version: 10, opset_import: [\"\" : 23]> g (float[1,n,32] q, float[1,n,32] k, float[1,n,32] v) => "

enum { TOKENS = 8192, HIDDEN = 32, HEADS = 2, SIZE = HIDDEN / HEADS, LIMIT = 16 << 20 }; /* scores: 2 x 256 MiB */

typedef struct band {
    const char *attributes;
    int64_t before, behind; /* keys that a query sees on either side of itself */
} band;

static void fill(float *x, int64_t n, uint32_t state, float most)
{
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525 + 1013904223;
        x[i] = most * ((float)(state >> 8) / (1 << 23) - 1);
    }
}

/* One element of the result by the formula. */
static double expected(const band *c, const float *q, const float *k, const float *v, int64_t row, int64_t column)
{
    const int64_t head = column / SIZE * SIZE;
    double sum = 0, y = 0;
    for (int64_t t = 0; t < TOKENS; t++) {
        if (t < row - c->before || t > row + c->behind) continue;
        double score = 0;
        for (int64_t i = head; i < head + SIZE; i++) score += (double)q[row * HIDDEN + i] * k[t * HIDDEN + i];
        const double weight = exp(score / sqrt(SIZE)); /* scores are small enough */
        sum += weight;
        y += weight * v[t * HIDDEN + column];
    }
    return y / sum;
}

static void check(const band *c, float *const x[3])
{
    static const int64_t dims[] = {1, TOKENS, HIDDEN}, rows[] = {0, 1, 255, 256, 300, 4095, 8191};
    const gr_session_options options = {.struct_size = sizeof options, .max_memory = LIMIT, .threads = 2};
    char text[400];
    running r;
    gr_err err = {0};
    snprintf(text, sizeof text,
             HEAD "(float[1,n,32] y) { y = Attention <%s q_num_heads = 2, kv_num_heads = 2> (q, k, v) }",
             c->attributes);
    if (!open_text(text, NULL, &options, &r)) return;
    gr_named_tensor in[] = {FLOATS("q", 3, dims, x[0]), FLOATS("k", 3, dims, x[1]), FLOATS("v", 3, dims, x[2])};
    gr_named_tensor out[] = {WANTED("y")};
    CHECK_OK(gr_session_run(r.session, in, 3, out, 1, &err));
    const float *y = out[0].tensor.data;
    for (size_t i = 0; y && i < sizeof rows / sizeof *rows; i++)
        for (int64_t j = 3; j < HIDDEN; j += 13) {
            const double want = expected(c, x[0], x[1], x[2], rows[i], j), have = y[rows[i] * HIDDEN + j];
            if (!(fabs(have - want) <= 1e-5))
                FAIL("%s row %d: %g, expected %g", c->attributes, (int)rows[i], have, want);
        }
    close_running(&r);
}

static void test_long(void)
{
    static const band bands[] = {{"", TOKENS, TOKENS},
                                 {"is_causal = 1,", TOKENS, 0},
                                 {"left_window_size = 300, right_window_size = 7,", 300, 7}};
    float *x[3];
    for (int i = 0; i < 3; i++) {
        if (!(x[i] = malloc(sizeof(float) * TOKENS * HIDDEN))) abort();
        fill(x[i], TOKENS * HIDDEN, 7 + (uint32_t)i, i < 2 ? 3 : 1); /* scores between -36 and 36 */
    }
    for (size_t i = 0; i < sizeof bands / sizeof *bands; i++) check(&bands[i], x);
    for (int i = 0; i < 3; i++) free(x[i]);
}

static CU_TestInfo tests[] = {{"8192 tokens", test_long}, CU_TEST_INFO_NULL};
CU_SuiteInfo suite_attention = {"attention", NULL, NULL, NULL, NULL, tests};
