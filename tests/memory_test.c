/* SPDX-License-Identifier: Apache-2.0
 *
 * Placing buffers: nothing that is alive together overlaps, by either algorithm, and chains take little more than what
 * is alive at their fullest step.
 */
#include "exec/memory.h"
#include "support.h"
#include <stdlib.h>

static gr_err err;

enum { ALIGN = 64, MANY = 7000 }; /* more than the greedy algorithm is asked to place */

static size_t rounded(size_t size) { return (size + ALIGN - 1) / ALIGN * ALIGN; }

static int earlier(const void *a, const void *b)
{
    const gr_buffer *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Pairs that overlap in memory and in time; sorted by offset, only neighbours within a buffer's range are looked at. */
static int overlaps(gr_buffer *b, size_t n)
{
    int found = 0;
    qsort(b, n, sizeof *b, earlier);
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n && b[j].offset < b[i].offset + b[i].size; j++)
            found += b[j].size && b[i].first <= b[j].last && b[j].first <= b[i].last;
    return found;
}

static size_t fullest_step(const gr_buffer *b, size_t n, uint32_t steps)
{
    size_t *alive = calloc((size_t)steps + 2, sizeof *alive), most = 0, now = 0;
    if (!alive) abort();
    for (size_t i = 0; i < n; i++) {
        alive[b[i].first] += rounded(b[i].size);
        alive[b[i].last + 1] -= rounded(b[i].size); /* wraps, and back in the sum */
    }
    for (uint32_t t = 0; t <= steps; t++) {
        now += alive[t];
        if (now > most) most = now;
    }
    free(alive);
    return most;
}

static void check_plan(gr_buffer *b, size_t n, uint32_t steps, double most)
{
    size_t total = 0, bound = fullest_step(b, n, steps);
    CHECK_OK(gr_plan_memory(b, n, &total, &err));
    for (size_t i = 0; i < n; i++)
        if (b[i].offset % ALIGN || b[i].offset + b[i].size > total)
            FAIL("buffer %zu of %zu bytes at %zu leaves the block of %zu", i, b[i].size, b[i].offset, total);
    CHECK_THAT(total >= bound && (double)total <= most * (double)bound,
               "%zu buffers take %zu bytes, at their fullest step %zu are alive", n, total, bound);
    int count = overlaps(b, n);
    CHECK_THAT(!count, "%d of %zu buffers overlap", count, n);
}

static void random_lifetimes(uint32_t n, uint32_t steps, uint32_t longest, double most)
{
    uint32_t seed = n + steps;
    gr_buffer *b = calloc(n, sizeof *b);
    if (!b) abort();
    for (uint32_t i = 0; i < n; i++) {
        b[i].first = next_random(&seed) % steps;
        b[i].last = b[i].first + next_random(&seed) % longest;
        if (b[i].last > steps) b[i].last = steps;
        b[i].size = next_random(&seed) % 8 ? next_random(&seed) % 5000 : 0;
    }
    check_plan(b, n, steps, most);
    free(b);
}

static void test_random(void)
{
    for (uint32_t round = 0; round < 60; round++) random_lifetimes(1 + round * 7, 1 + round * 3, 1 + round % 40, 2);
    random_lifetimes(3000, 1000, 20, 2);
    random_lifetimes(500, 400, 400, 2);
}

/* In the order of time; gaps of all sizes are its worst case. */
static void test_random_long(void)
{
    random_lifetimes(MANY, 3000, 10, 4);
    random_lifetimes(MANY, 7000, 3, 4);
    random_lifetimes(MANY, 5, 2, 4);
}

/* An encoder's layers: three projections, scores, context, the wide layer, and a residual that spans them. */
static size_t encoder(gr_buffer *b, uint32_t layers, size_t row)
{
    size_t n = 0;
    b[n++] = (gr_buffer){.size = row, .first = 0, .last = 1};
    for (uint32_t l = 0; l < layers; l++) {
        uint32_t t = 1 + l * 8;
        b[n - 1].last = t + 4; /* the residual of what came before */
        for (uint32_t i = 0; i < 3; i++) b[n++] = (gr_buffer){.size = row, .first = t + i, .last = t + 3};
        b[n++] = (gr_buffer){.size = row * 2, .first = t + 3, .last = t + 3}; /* scratch */
        b[n++] = (gr_buffer){.size = row, .first = t + 3, .last = t + 4};
        b[n++] = (gr_buffer){.size = row, .first = t + 4, .last = t + 6};
        b[n++] = (gr_buffer){.size = row * 4, .first = t + 5, .last = t + 6};
        b[n++] = (gr_buffer){.size = row, .first = t + 6, .last = t + 9};
    }
    return n;
}

static void test_encoders(void)
{
    gr_buffer *b = calloc(MANY * 2, sizeof *b);
    if (!b) abort();
    for (uint32_t layers = 1; layers <= 48; layers += 11)
        check_plan(b, encoder(b, layers, 128 * 768 * 4 + 4), layers * 8 + 20, 1.3);
    check_plan(b, encoder(b, MANY / 8 + 40, 4096), MANY + 400, 1.3); /* by the other algorithm */
    free(b);
}

static void test_chain(void)
{
    static gr_buffer b[MANY];
    for (uint32_t count = 10; count <= MANY; count += MANY - 10) {
        for (uint32_t i = 0; i < count; i++) b[i] = (gr_buffer){.size = 1000, .first = i, .last = i + 1};
        check_plan(b, count, count, 1);
    }
}

static void test_limits(void)
{
    gr_buffer b[4] = {{.size = 0, .last = 3}, {.size = 0, .first = 1, .last = 1}};
    size_t total = 1;
    CHECK_OK(gr_plan_memory(b, 0, &total, &err));
    CU_ASSERT_EQUAL(total, 0);
    CHECK_OK(gr_plan_memory(b, 2, &total, &err));
    CU_ASSERT_EQUAL(total, 0);
    b[0].size = SIZE_MAX - 3;
    CHECK_FAILS(gr_plan_memory(b, 2, &total, &err), GR_ELIMIT, "larger than any memory");
    for (int i = 0; i < 4; i++) b[i].size = SIZE_MAX / 4;
    CHECK_FAILS(gr_plan_memory(b, 4, &total, &err), GR_ELIMIT, "larger than any memory");
    CU_ASSERT_TRUE(gr_machine_memory() > (size_t)1 << 26);
}

static CU_TestInfo tests[] = {
    {"random lifetimes", test_random}, {"random lifetimes of very many", test_random_long},
    {"encoders", test_encoders},       {"chain", test_chain},
    {"limits", test_limits},           CU_TEST_INFO_NULL,
};
CU_SuiteInfo suite_memory = {"memory", NULL, NULL, NULL, NULL, tests};
