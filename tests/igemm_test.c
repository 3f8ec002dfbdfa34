/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of bytes: random sizes, signs, zero points and strides against sums in 64 bits; small weights are added up
 * in 16 bits, large ones must not be.
 */
#include "simd/igemm.h"
#include "support.h"
#include <math.h>
#include <stdlib.h>

typedef struct problem {
    gr_igemm g;
    uint8_t *a, *b;
    int64_t row, col; /* strides of B */
    int32_t *a_zero, *b_zero, *c;
} problem;

static void store(void *user, int64_t row, int64_t col, int64_t n, const int32_t *sums)
{
    problem *p = user;
    memcpy(p->c + row * p->g.n + col, sums, (size_t)n * sizeof *sums);
}

static int value(const uint8_t *x, int64_t i, bool is_signed) { return is_signed ? (int8_t)x[i] : x[i]; }

static int32_t sum_of(const problem *p, int64_t row, int64_t col)
{
    const gr_igemm *g = &p->g;
    const int za = g->a_zero ? g->a_zero[row * g->a_zero_step] : 0,
              zb = g->b_zero ? g->b_zero[col * g->b_zero_step] : 0;
    int64_t sum = 0;
    for (int64_t k = 0; k < g->k; k++) {
        const int a = value(p->a, row * g->k + k, g->a_signed) - za;
        sum += (int64_t)a * (value(p->b, k * p->row + col * p->col, g->b_signed) - zb);
    }
    return (int32_t)sum;
}

static void *room(size_t bytes)
{
    void *p = gr_malloc_aligned(bytes + 1);
    if (!p) abort();
    return p;
}

static void fill_zeros(int32_t *zeros, int64_t n, bool is_signed, uint32_t *seed)
{
    for (int64_t i = 0; i < n; i++) zeros[i] = (int32_t)(next_random(seed) % 256) - (is_signed ? 128 : 0);
}

static void check(int64_t m, int64_t n, int64_t k, int range, uint32_t *seed)
{
    const uint32_t choice = next_random(seed);
    problem p = {.g = {.m = m,
                       .n = n,
                       .k = k,
                       .lda = k,
                       .a_signed = choice & 1,
                       .b_signed = choice >> 1 & 1,
                       .a_zero_step = choice >> 2 & 1,
                       .b_zero_step = choice >> 3 & 1,
                       .store = store}};
    const size_t packed = gr_igemm_packed_size(k, n), rows = (size_t)(m * k), weights = (size_t)(k * n);
    p.row = choice >> 4 & 1 ? 1 : n;
    p.col = choice >> 4 & 1 ? k : 1;
    p.a = room(rows);
    p.b = room(weights);
    p.c = room((size_t)(m * n) * 4);
    p.a_zero = room((size_t)m * 4);
    p.b_zero = room((size_t)n * 4);
    for (size_t i = 0; i < rows; i++)
        p.a[i] = next_random(seed) % 4 ? (uint8_t)next_random(seed) : p.g.a_signed ? 127 : 255;
    for (size_t i = 0; i < weights; i++)
        p.b[i] = (uint8_t)((int)(next_random(seed) % (2 * (unsigned)range)) - range + (p.g.b_signed ? 0 : 128));
    fill_zeros(p.a_zero, m, p.g.a_signed, seed);
    fill_zeros(p.b_zero, n, p.g.b_signed, seed);
    if (choice >> 5 & 1) p.g.a_zero = p.a_zero;
    if (choice >> 6 & 1) p.g.b_zero = p.b_zero;
    void *pack = room(packed);
    gr_igemm_pack(k, n, p.b, p.g.b_signed, p.row, p.col, pack);
    p.g.a = p.a;
    p.g.packed = pack;
    p.g.user = &p;
    gr_igemm_run(&p.g);
    int64_t wrong = 0;
    for (int64_t i = 0; i < m * n; i++) wrong += p.c[i] != sum_of(&p, i / n, i % n);
    CHECK_THAT(!wrong, "%lldx%lldx%lld, weights below %d, choice %u: %lld wrong sums", (long long)m, (long long)k,
               (long long)n, range, choice & 127, (long long)wrong);
    gr_free_aligned(pack, packed + 1);
    gr_free_aligned(p.a, rows + 1);
    gr_free_aligned(p.b, weights + 1);
    gr_free_aligned(p.c, (size_t)(m * n) * 4 + 1);
    gr_free_aligned(p.a_zero, (size_t)m * 4 + 1);
    gr_free_aligned(p.b_zero, (size_t)n * 4 + 1);
}

static void test_sums(void)
{
    static const int ranges[] = {1, 12, 30, 64, 100, 128};
    uint32_t seed = 11;
    for (int i = 0; i < 240; i++) {
        const int64_t m =
            i % 4 ? 1 + next_random(&seed) % (i % 7 ? 9 : 130) : 1; /* one row reads panels side by side */
        const int64_t n = 1 + next_random(&seed) % (i % 20 == 0 ? 3000 : i % 3 && m > 1 ? 40 : 300);
        const int64_t k = i % 5 ? 1 + next_random(&seed) % (i % 12 ? 90 : 2100) : next_random(&seed) % 5;
        check(m, n, k, ranges[i % 6], &seed);
    }
}

enum { DEPTH = 96 };

/* Whole numbers stay what they are in the unit that a column is said to have; others have a finer one. */
static void test_units(void)
{
    static float panel[DEPTH * GR_IGEMM_WIDTH_MAX], scales[GR_IGEMM_WIDTH_MAX];
    static int8_t codes[DEPTH * GR_IGEMM_WIDTH_MAX];
    const int64_t width = gr_igemm_width();
    const float unit = 0.013f;
    uint32_t seed = 3;
    for (int64_t i = 0; i < DEPTH * width; i++)
        panel[i] = unit * (float)((int)(next_random(&seed) % 31 + next_random(&seed) % 31) - 30 + (i < width ? 30 : 0));
    panel[width + 1] = __builtin_nanf("");
    for (int64_t j = 0; j < width; j++) scales[j] = j % 2 ? unit : j % 4 ? -unit : 0;
    gr_igemm_quantize_panel(DEPTH, panel, codes, scales);
    CHECK_THAT(!(scales[1] - scales[1] == 0), "a column with NaN has the scale %g", (double)scales[1]);
    for (int64_t j = 0; j < width; j++) {
        int64_t wrong = 0;
        for (int64_t i = 0; j != 1 && i < DEPTH; i++) {
            const float error = (float)codes[i * width + j] * scales[j] - panel[i * width + j];
            wrong += j % 2 ? codes[i * width + j] != (int)roundf(panel[i * width + j] / unit)
                           : fabsf(error) > scales[j] * 0.5001f;
        }
        CHECK_THAT(!wrong && (j % 2 ? j == 1 || scales[j] == unit : scales[j] > 0 && scales[j] < unit),
                   "column %d: %d wrong codes, scale %g", (int)j, (int)wrong, (double)scales[j]);
    }
}

static CU_TestInfo tests[] = {{"exact sums", test_sums}, {"units of codes", test_units}, CU_TEST_INFO_NULL};

CU_SuiteInfo suite_igemm = {"igemm", NULL, NULL, NULL, NULL, tests};
