/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products: own kernels and oneDNN against sums in double, and the promise that a row of the result has the same
 * bits whatever is computed beside it.
 */
#include "exec/packs.h"
#include "ops/dnnl.h"
#include "simd/simd.h"
#include "support.h"
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t seed;

static float draw(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(int32_t)seed / 0x1p31f;
}

static float *drawn(size_t n)
{
    float *p = malloc((n ? n : 1) * sizeof *p);
    for (size_t i = 0; i < n; i++) p[i] = draw();
    return p;
}

static double activation(double x, enum gr_gemm_act act)
{
    switch (act) {
    case GR_ACT_GELU_ERF: return 0.5 * x * erfc(-x * M_SQRT1_2);
    case GR_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
    case GR_ACT_RELU: return x < 0 ? 0 : x;
    case GR_ACT_TANH: return tanh(x);
    case GR_ACT_SIGMOID: return 1 / (1 + exp(-x));
    case GR_ACT_SILU: return x / (1 + exp(-x));
    case GR_ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case GR_ACT_NONE: break;
    }
    return x;
}

typedef struct problem {
    int64_t m, n, k, lda, ldc;
    float *a, *b, *bias, *residual, *c; /* b: dense k x n */
    void *packed;
    size_t packed_size;
} problem;

static problem make_problem(int64_t m, int64_t n, int64_t k, bool transposed)
{
    problem p = {.m = m, .n = n, .k = k, .lda = k + 3, .ldc = n + 5};
    p.a = drawn((size_t)(m * p.lda));
    p.b = drawn((size_t)(k * n));
    p.bias = drawn((size_t)n);
    p.residual = drawn((size_t)(m * p.ldc));
    p.c = drawn((size_t)(m * p.ldc));
    p.packed_size = gr_gemm_packed_size(k, n);
    p.packed = gr_malloc_aligned(p.packed_size);
    char *odd = malloc((size_t)(k * n) * sizeof(float) + 1); /* weights in a file stand at any address */
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < n; j++) memcpy(odd + 1 + (transposed ? j * k + i : i * n + j) * 4, &p.b[i * n + j], 4);
    gr_gemm_pack(k, n, (const float *)(const void *)(odd + 1), transposed ? 1 : n, transposed ? k : 1, p.packed);
    free(odd);
    return p;
}

static void free_problem(problem *p)
{
    free(p->a);
    free(p->b);
    free(p->bias);
    free(p->residual);
    free(p->c);
    gr_free_aligned(p->packed, p->packed_size);
}

static gr_gemm whole(const problem *p)
{
    return (gr_gemm){.m = p->m,
                     .n = p->n,
                     .k = p->k,
                     .a = p->a,
                     .lda = p->lda,
                     .packed = p->packed,
                     .alpha = 1,
                     .c = p->c,
                     .ldc = p->ldc};
}

/* Operands are below 1: a sum of k products wanders to about sqrt(k) / 3, and each of k roundings is of that size. */
static bool close_to(double x, double exact, int64_t k)
{
    return fabs(x - exact) <= 5e-7 + 6e-8 * (double)k + 1e-6 * fabs(exact);
}

/* Compare C with the formula; what lies between its rows must be as it was. */
static void check(const problem *p, const gr_gemm *g, const float *before)
{
    int bad = 0;
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = 0; j < p->ldc; j++) {
            const float got = p->c[i * p->ldc + j];
            if (j >= p->n) {
                bad += got != before[i * p->ldc + j];
                continue;
            }
            double sum = 0;
            for (int64_t l = 0; l < p->k; l++) sum += (double)p->a[i * p->lda + l] * p->b[l * p->n + j];
            sum = sum * g->alpha + (g->bias ? g->bias[j] : 0);
            sum = activation(sum, g->act) + (g->residual ? g->residual[i * p->ldc + j] : 0);
            bad += !close_to(got, sum, p->k);
        }
    }
    if (bad) printf("\n    m %d n %d k %d act %d: %d wrong ", (int)p->m, (int)p->n, (int)p->k, (int)g->act, bad);
    CU_ASSERT_EQUAL(bad, 0);
}

static void test_gemm(void)
{
    const int64_t ms[] = {1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 17, 61, 100, 197},
                  ns[] = {1, 2, 15, 16, 31, 64, 65, 100, 257}, ks[] = {0, 1, 2, 7, 64, 129, 800, 1600};
    int flags = 0;
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++)
        for (size_t j = 0; j < sizeof ns / sizeof *ns; j++)
            for (size_t l = 0; l < sizeof ks / sizeof *ks; l++, flags++) {
                if (ms[i] * ns[j] * ks[l] > 6000000) continue;
                problem p = make_problem(ms[i], ns[j], ks[l], flags & 1);
                gr_gemm g = whole(&p);
                if (flags & 2) g.bias = p.bias;
                if (flags & 4) g.residual = p.residual;
                g.act = (enum gr_gemm_act)(flags % 7);
                g.alpha = flags % 5 ? 1 : 0.125f;
                float *before = malloc((size_t)(p.m * p.ldc) * sizeof *before);
                memcpy(before, p.c, (size_t)(p.m * p.ldc) * sizeof *before);
                gr_gemm_run(&g);
                check(&p, &g, before);
                free(before);
                free_problem(&p);
            }
}

/* Rows computed alone, in blocks of any size and by any number of threads have the same bits. */
static void test_same_bits(void)
{
    const int64_t ms[] = {1, 2, 3, 5, 6, 7, 8, 13, 31, 64, 97, 128, 130, 200};
    const int threads = omp_get_max_threads();
    for (int shape = 0; shape < 2; shape++) {
        problem p = make_problem(200, shape ? 96 : 333, shape ? 3072 : 768, false);
        gr_gemm g = whole(&p);
        g.bias = p.bias;
        g.act = GR_ACT_GELU_ERF;
        gr_gemm_run(&g);
        float *c = malloc((size_t)(p.m * p.ldc) * sizeof *c);
        for (size_t i = 0; i < sizeof ms / sizeof *ms; i++)
            for (int t = 1; t <= 3; t++) {
                const int64_t row = p.m - ms[i] < 11 ? p.m - ms[i] : 11;
                gr_gemm part = g;
                part.m = ms[i];
                part.a = p.a + row * p.lda;
                part.c = c;
                omp_set_num_threads(t);
                gr_gemm_run(&part);
                for (int64_t r = 0; r < ms[i]; r++)
                    CU_ASSERT_EQUAL(memcmp(c + r * p.ldc, p.c + (row + r) * p.ldc, (size_t)p.n * sizeof *c), 0);
            }
        omp_set_num_threads(threads);
        free(c);
        free_problem(&p);
    }
}

/* A packed operand of 16 bits gives the bits that the same numbers as floats give. */
static void test_narrow(void)
{
    const int64_t ms[] = {1, 2, 5, 6, 7, 13, 100}, ns[] = {1, 16, 33, 100, 257}, ks[] = {0, 1, 7, 129, 1600};
    int flags = 0;
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++)
        for (size_t j = 0; j < sizeof ns / sizeof *ns; j++)
            for (size_t l = 0; l < sizeof ks / sizeof *ks; l++, flags++) {
                const int64_t m = ms[i], n = ns[j], k = ks[l], row = flags & 2 ? 1 : n, col = flags & 2 ? k : 1;
                problem p = make_problem(m, n, k, false);
                uint16_t *b = malloc((size_t)(k * n) * sizeof *b + 1);
                char *odd = (char *)b + 1;
                for (int64_t r = 0; r < k; r++)
                    for (int64_t c = 0; c < n; c++) {
                        float *x = &p.b[r * n + c];
                        const uint16_t h = flags & 1 ? gr_float_to_half(*x) : gr_float_to_bfloat(*x);
                        *x = flags & 1 ? gr_half_to_float(h) : gr_bfloat_to_float(h);
                        memcpy(odd + (r * row + c * col) * 2, &h, 2);
                    }
                gr_gemm_pack(k, n, p.b, n, 1, p.packed);
                gr_gemm g = whole(&p);
                g.bias = p.bias;
                gr_gemm_run(&g);
                const size_t size = (size_t)(p.m * p.ldc) * sizeof *p.c;
                float *want = malloc(size);
                memcpy(want, p.c, size);
                gr_gemm_pack_narrow(k, n, odd, row, col, p.packed);
                g.store = flags & 1 ? GR_STORE_HALF : GR_STORE_BFLOAT;
                gr_gemm_run(&g);
                CU_ASSERT_EQUAL(memcmp(want, p.c, size), 0);
                free(want);
                free(b);
                free_problem(&p);
            }
}

static float rounded(float x) { return gr_bfloat_to_float(gr_float_to_bfloat(x)); }

/* A product of words of two bfloat16 numbers, its B from a matrix at an odd address; then some of its rows alone. */
static void pairs_case(int64_t m, int64_t n, int64_t k, enum gr_gemm_store from, bool transposed, int flags)
{
    problem p = make_problem(m, n, k, false);
    const int64_t row = transposed ? 1 : n, col = transposed ? k : 1, size = from == GR_STORE_FLOAT ? 4 : 2;
    const int64_t words = gr_gemm_pairs(k), some = (m + 1) / 2, first = m - some;
    char *odd = malloc((size_t)(k * n * size) + 1);
    uint32_t *rows = malloc((size_t)(m * words) * sizeof *rows + 1);
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < n; j++) {
            float *x = &p.b[i * n + j];
            const uint16_t h = from == GR_STORE_HALF ? gr_float_to_half(*x) : gr_float_to_bfloat(*x);
            memcpy(odd + 1 + (i * row + j * col) * size, from == GR_STORE_FLOAT ? (void *)x : (void *)&h, (size_t)size);
            *x = rounded(from == GR_STORE_HALF ? gr_half_to_float(h) : *x);
        }
    gr_gemm_pack_pairs(from, k, n, odd + 1, row, col, p.packed);
    gr_gemm_round(m, k, p.a, p.lda, rows);
    for (int64_t i = 0; i < m * p.lda; i++) p.a[i] = rounded(p.a[i]);
    gr_gemm g = whole(&p);
    g.store = GR_STORE_PAIRS;
    g.a = rows;
    g.k = g.lda = words;
    g.act = (enum gr_gemm_act)(flags % 7);
    if (flags & 8) g.bias = p.bias;
    if (flags & 16) g.residual = p.residual;
    float *before = malloc((size_t)(m * p.ldc) * sizeof *before), *part = malloc((size_t)(m * p.ldc) * sizeof *part);
    memcpy(before, p.c, (size_t)(m * p.ldc) * sizeof *before);
    gr_gemm_run(&g);
    check(&p, &g, before);
    g.m = some;
    g.a = rows + first * words;
    if (g.residual) g.residual += first * p.ldc;
    g.c = part;
    gr_gemm_run(&g);
    for (int64_t r = 0; r < some; r++)
        CU_ASSERT_EQUAL(memcmp(part + r * p.ldc, p.c + (first + r) * p.ldc, (size_t)n * sizeof *part), 0);
    free(part);
    free(before);
    free(rows);
    free(odd);
    free_problem(&p);
}

static void test_pairs(void)
{
    enum { CASES = 300 };
    for (int i = 0; i < CASES; i++) {
        const int64_t m = 1 + (int64_t)((draw() + 1) * 19.99f), n = 1 + (int64_t)((draw() + 1) * 49.99f);
        pairs_case(m, n, 1 + (int64_t)((draw() + 1) * 149.99f), (enum gr_gemm_store)(i % 3), i & 1, i / 2);
    }
    pairs_case(5, 40, 0, GR_STORE_FLOAT, false, 8);
    pairs_case(100, 70, 4001, GR_STORE_FLOAT, true, 24); /* in pieces of k */
    pairs_case(200, 600, 768, GR_STORE_BFLOAT, false, 9);
    const float special[] = {NAN, INFINITY, -INFINITY, 0, -0.0f, 1e-40f, 3.4e38f, 1.00390625f, 1.01171875f};
    enum { SPECIAL = sizeof special / sizeof *special };
    uint16_t to[SPECIAL + 1];
    gr_gemm_round(1, SPECIAL, special, SPECIAL, to);
    for (int i = 1; i < SPECIAL; i++)
        CU_ASSERT(to[i] == gr_float_to_bfloat(special[i]) || (i == 5 && !to[i])); /* may be flushed to zero */
    CU_ASSERT((to[0] & 0x7F80) == 0x7F80 && (to[0] & 0x7F));
    CU_ASSERT_EQUAL(to[SPECIAL], 0);
}

static void test_small(void)
{
    for (int64_t m = 1; m < 20; m += 3)
        for (int64_t n = 1; n < 70; n += 17)
            for (int64_t k = 0; k < 70; k += 23) {
                problem p = make_problem(m, n, k, false);
                const size_t size = gr_gemm_small_scratch(n, k);
                void *packed = gr_malloc_aligned(size);
                float *before = malloc((size_t)(p.m * p.ldc) * sizeof *before);
                memcpy(before, p.c, (size_t)(p.m * p.ldc) * sizeof *before);
                gr_gemm_small_pack(k, n, p.b, n, 1, packed);
                gr_gemm_small_packed(m, n, k, 0.5f, p.a, p.lda, packed, p.c, p.ldc);
                check(&p, &(gr_gemm){.alpha = 0.5f}, before);
                free(before);
                gr_free_aligned(packed, size);
                free_problem(&p);
            }
    CU_ASSERT_EQUAL(gr_gemm_packed_size(INT64_MAX / 2, 8), SIZE_MAX);
    CU_ASSERT_EQUAL(gr_gemm_packed_size(8, INT64_MAX), SIZE_MAX);
    CU_ASSERT_EQUAL(gr_gemm_packed_size(-1, 8), SIZE_MAX);
}

/* A query that attends to keys and values as they are has the bits that it has with packed ones, among others. */
static void attend_case(int64_t head, int64_t v_head, int64_t keys, int64_t first, bool biased, float cap)
{
    enum { ROWS = 3, WHICH = 1 };
    const int64_t k_row = head + keys % 3, v_row = v_head + keys % 5;
    float *q = drawn((size_t)(ROWS * head)), *k = drawn((size_t)(keys * k_row)), *v = drawn((size_t)(keys * v_row));
    float *y = drawn((size_t)(ROWS * v_head)), *one = drawn((size_t)v_head + 1), *mask = drawn((size_t)keys);
    const float behind = one[v_head], *bias[ROWS] = {mask, mask, mask};
    const size_t k_size = gr_gemm_small_scratch(keys, head), v_size = gr_gemm_small_scratch(v_head, keys);
    const size_t room_size = GR_ATTEND_ROWS * (size_t)(head + GR_ATTEND_KEYS) * sizeof(float);
    void *packed_k = gr_malloc_aligned(k_size), *packed_v = gr_malloc_aligned(v_size),
         *room = gr_malloc_aligned(room_size);
    gr_gemm_small_pack(head, keys, k, 1, k_row, packed_k);
    gr_gemm_small_pack(keys, v_head, v, v_row, 1, packed_v);
    gr_attend a = {.rows = ROWS,
                   .head = head,
                   .v_head = v_head,
                   .first = first,
                   .keys = keys,
                   .q = q,
                   .q_row = head,
                   .scale = 0.5f,
                   .cap = cap,
                   .packed_k = packed_k,
                   .packed_v = packed_v,
                   .depth = keys,
                   .bias = biased ? bias : NULL,
                   .y = y,
                   .y_row = v_head,
                   .room = room};
    gr_simd_best()->attend(&a);
    a.rows = 1;
    a.q += WHICH * head;
    a.packed_k = NULL;
    a.k = k, a.k_row = k_row, a.v = v, a.v_row = v_row;
    a.y = one;
    gr_simd_best()->attend(&a);
    CU_ASSERT(!memcmp(one, y + WHICH * v_head, (size_t)v_head * sizeof *one) && one[v_head] == behind);
    gr_free_aligned(packed_k, k_size);
    gr_free_aligned(packed_v, v_size);
    gr_free_aligned(room, room_size);
    float *all[] = {q, k, v, y, one, mask};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void test_attend(void)
{
    for (int64_t head = 1; head < 90; head += 7)
        for (int64_t keys = 1; keys < 3 * GR_ATTEND_KEYS; keys += 1 + keys / 4)
            attend_case(head, 1 + (head * 11 + keys) % 150, keys, keys % 4 ? 0 : keys / 2, keys & 1,
                        keys % 3 ? 0 : 5.0f);
    attend_case(64, 64, 2 * GR_ATTEND_KEYS, 0, false, 0);
}

/* C[x][y][m][n] = A[x][.][m][k] B[.][y][k][n], each operand with or without its last two dims exchanged. */
static void batch_case(int64_t x, int64_t y, int64_t m, int64_t n, int64_t k, bool ta, bool tb, int threads)
{
    float *a = drawn((size_t)(x * m * k)), *b = drawn((size_t)(y * k * n)), *c = drawn((size_t)(x * y * m * n));
    const int64_t batch[] = {x, y}, sa[] = {m * k, 0}, sb[] = {0, k * n}, sc[] = {y * m * n, m * n};
    gr_gemm_batch g = {.m = m,
                       .n = n,
                       .k = k,
                       .nbatch = 2,
                       .batch = batch,
                       .a = a,
                       .b = b,
                       .c = c,
                       .a_batch = sa,
                       .b_batch = sb,
                       .c_batch = sc,
                       .a_row = ta ? 1 : k,
                       .a_col = ta ? m : 1,
                       .b_row = tb ? 1 : n,
                       .b_col = tb ? k : 1,
                       .c_row = n,
                       .alpha = 0.25f};
    size_t bytes;
    CU_ASSERT_FATAL(gr_gemm_batch_scratch(&g, threads, &bytes));
    g.scratch = gr_malloc_aligned(bytes);
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    gr_gemm_batch_run(&g);
    omp_set_num_threads(before);
    int bad = 0;
    for (int64_t i = 0; i < x * y * m * n; i++) {
        const int64_t ix = i / (y * m * n), iy = i / (m * n) % y, r = i / n % m, col = i % n;
        double sum = 0;
        for (int64_t l = 0; l < k; l++)
            sum += (double)a[ix * m * k + r * g.a_row + l * g.a_col] * b[iy * k * n + l * g.b_row + col * g.b_col];
        bad += !close_to(c[i], 0.25 * sum, k);
    }
    CU_ASSERT_EQUAL(bad, 0);
    gr_free_aligned(g.scratch, bytes);
    free(a);
    free(b);
    free(c);
}

static void test_batch(void)
{
    for (int flags = 0; flags < 4; flags++)
        for (int threads = 1; threads <= 3; threads++) {
            batch_case(1, 1, 70, 33, 129, flags & 1, flags & 2, threads);
            batch_case(2, 3, 65, 40, 64, flags & 1, flags & 2, threads);
            batch_case(1, 2, 150, 17, 90, flags & 1, flags & 2, threads);
            batch_case(3, 1, 1, 1, 5, flags & 1, flags & 2, threads);
            batch_case(2, 2, 3, 4, 0, flags & 1, flags & 2, threads);
            batch_case(0, 2, 3, 4, 7, flags & 1, flags & 2, threads);
        }
    gr_gemm_batch huge = {.m = INT64_MAX / 4, .n = 16, .k = 1000, .a_col = 2};
    size_t bytes;
    CU_ASSERT_FALSE(gr_gemm_batch_scratch(&huge, 2, &bytes));
}

/* ---- packs ---- */

static int made;

static bool make_pack(void *user, gr_pack *pack)
{
    made++;
    pack->size = *(size_t *)user;
    pack->data = pack->size ? gr_malloc_aligned(pack->size) : NULL;
    return pack->data != NULL;
}

/* Two layouts of each datum. */
static gr_pack_key some_key(const char *data, int i)
{
    return (gr_pack_key){.data = data + i / 2, .dtype = GR_FLOAT, .rows = 3, .cols = 4, .row = 4, .col = 1,
                         .layout = i % 2 ? "one" : "other"};
}

static void test_packs(void)
{
    enum { KEYS = 300 };
    char data[KEYS];
    size_t size = 100, none = 0;
    gr_packs *packs = gr_packs_new(NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(packs);
    const gr_pack *packed[KEYS];
    made = 0;
    for (int i = 0; i < KEYS; i++) {
        const gr_pack_key key = some_key(data, i);
        CU_ASSERT_FALSE(gr_packs_has(packs, &key));
        CU_ASSERT_PTR_NULL(gr_packs_get(packs, &key, 1, make_pack, &none));
        packed[i] = gr_packs_get(packs, &key, 1, make_pack, &size);
        CU_ASSERT_PTR_NOT_NULL_FATAL(packed[i]);
    }
    CU_ASSERT_EQUAL(made, 2 * KEYS);
    CU_ASSERT_EQUAL(gr_packs_bytes(packs), KEYS * size);
    for (int i = 0; i < KEYS; i++) {
        const gr_pack_key key = some_key(data, i);
        CU_ASSERT_TRUE(gr_packs_has(packs, &key));
        CU_ASSERT_PTR_EQUAL(gr_packs_get(packs, &key, 1, make_pack, &size), packed[i]);
    }
    CU_ASSERT_EQUAL(made, 2 * KEYS);
    memset(data, 7, sizeof data);
    const char *copy = gr_packs_aligned(packs, data + 1, 200);
    CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
    CU_ASSERT_EQUAL((uintptr_t)copy % 64, 0);
    CU_ASSERT_EQUAL(memcmp(copy, data + 1, 200), 0);
    CU_ASSERT_PTR_EQUAL(gr_packs_aligned(packs, data + 1, 200), copy);
    gr_packs_free(packs);
    gr_packs_free(NULL);
}

/* ---- oneDNN ---- */

/* Any kind of implementation serves the purpose here. */
static void dnnl_case(int64_t m, int64_t n, int64_t k, bool transposed)
{
    problem p = make_problem(m, n, k, false);
    p.lda = k;
    p.ldc = n;
    float *b = malloc((size_t)(k * n) * sizeof *b);
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < n; j++) b[transposed ? j * k + i : i * n + j] = p.b[i * n + j];
    const gr_dnnl_spec spec = {.m = m,
                               .n = n,
                               .k = k,
                               .a_row = k,
                               .a_col = 1,
                               .b_row = transposed ? 1 : n,
                               .b_col = transposed ? k : 1,
                               .any_kind = true};
    gr_why why = {0};
    gr_err err;
    gr_dnnl_matmul *d = gr_dnnl_new(&spec, &why), *same = gr_dnnl_new(&spec, &why);
    CHECK_THAT(d && same, "declined: %s", why.text);
    if (d) {
        const size_t size = gr_dnnl_scratch(d);
        void *scratch = gr_malloc_aligned(size);
        for (int again = 0; again < 2; again++) {
            memset(p.c, 255, (size_t)(m * n) * sizeof *p.c);
            CU_ASSERT_EQUAL(gr_dnnl_run(d, p.a, b, p.c, scratch, &err), GR_OK);
            check(&p, &(gr_gemm){.alpha = 1}, p.c);
        }
        gr_free_aligned(scratch, size);
    }
    gr_dnnl_free(d);
    gr_dnnl_free(same);
    free_problem(&p);
    free(b);
}

static void test_dnnl(void)
{
    const int64_t shapes[][3] = {{1, 64, 32}, {8, 768, 96}, {13, 100, 77}, {128, 48, 200}, {130, 3, 64}, {5, 1, 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int transposed = 0; transposed < 2; transposed++)
            dnnl_case(shapes[i][0], shapes[i][1], shapes[i][2], transposed);
    for (int64_t m = 1; m <= 150; m++) dnnl_case(m, 40, 24, false); /* more primitives than are kept */
    gr_why why = {0};
    CU_ASSERT_PTR_NULL(gr_dnnl_new(&(gr_dnnl_spec){.m = 3, .n = 4, .any_kind = true}, &why));
    CU_ASSERT_STRING_NOT_EQUAL(why.text, "");
    CU_ASSERT(gr_dnnl_version()[0] >= '2');
}

static void test_dnnl_batch(void)
{
    enum { X = 2, Y = 3, M = 9, N = 20, K = 16 };
    float *a = drawn(X * M * K), *b = drawn(Y * K * N), *c = drawn(X * Y * M * N);
    const gr_dnnl_spec spec = {.m = M,
                               .n = N,
                               .k = K,
                               .nbatch = 2,
                               .batch = {X, Y},
                               .a_batch = {M * K, 0},
                               .b_batch = {0, K * N},
                               .a_row = K,
                               .a_col = 1,
                               .b_row = 1,
                               .b_col = K,
                               .any_kind = true};
    gr_why why = {0};
    gr_dnnl_matmul *d = gr_dnnl_new(&spec, &why);
    CHECK_THAT(d, "declined: %s", why.text);
    if (d) {
        void *scratch = gr_malloc_aligned(gr_dnnl_scratch(d));
        CU_ASSERT_EQUAL(gr_dnnl_run(d, a, b, c, scratch, NULL), GR_OK);
        int bad = 0;
        for (int i = 0; i < X * Y * M * N; i++) {
            double sum = 0;
            for (int l = 0; l < K; l++)
                sum +=
                    (double)a[i / (Y * M * N) * M * K + i / N % M * K + l] * b[i / (M * N) % Y * K * N + i % N * K + l];
            bad += !close_to(c[i], sum, K);
        }
        CU_ASSERT_EQUAL(bad, 0);
        gr_free_aligned(scratch, gr_dnnl_scratch(d));
    }
    gr_dnnl_free(d);
    free(a);
    free(b);
    free(c);
}

static CU_TestInfo tests[] = {
    {"packed product and epilogue", test_gemm},
    {"same bits for any batch and threads", test_same_bits},
    {"weights of 16 bits", test_narrow},
    {"pairs of bfloat16", test_pairs},
    {"small products", test_small},
    {"a query with keys in place", test_attend},
    {"batches", test_batch},
    {"table of packed weights", test_packs},
    {"oneDNN", test_dnnl},
    {"oneDNN batches", test_dnnl_batch},
    CU_TEST_INFO_NULL,
};

extern CU_SuiteInfo suite_gemm;
CU_SuiteInfo suite_gemm = {"gemm", NULL, NULL, NULL, NULL, tests};
