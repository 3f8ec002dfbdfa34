/* SPDX-License-Identifier: Apache-2.0
 *
 * Symbolic integers: canonical forms, what bounds decide, text, and random expressions against plain arithmetic.
 */
#include "sym.h"
#include "support.h"
#include <stdio.h>

static gr_arena *arena;
static gr_syms *syms;
static gr_dim a, b, n;

static void set_up(void)
{
    arena = gr_arena_new();
    syms = gr_syms_new(arena);
    a = gr_sym_named(syms, "past");
    b = gr_sym_named(syms, "batch");
    n = gr_sym_named(syms, "sequence");
}

static void tear_down(void) { gr_arena_free(arena); }

#define CHECK_TEXT(d, expected)                                                                                        \
    do {                                                                                                               \
        const char *text_ = gr_sym_text(syms, d);                                                                      \
        CHECK_THAT(!strcmp(text_, expected), "%s is written '%s', expected '%s'", #d, text_, expected);                \
    } while (0)
#define CHECK_SAME(x, y)                                                                                               \
    do {                                                                                                               \
        gr_dim x_ = (x), y_ = (y);                                                                                     \
        CHECK_THAT(gr_dim_same(x_, y_), "%s is %s, %s is %s", #x, gr_sym_text(syms, x_), #y, gr_sym_text(syms, y_));   \
    } while (0)
#define K(k)       GR_DIM(k)
#define ADD(x, y)  gr_sym_add(syms, x, y)
#define SUB(x, y)  gr_sym_sub(syms, x, y)
#define MUL(x, y)  gr_sym_mul(syms, x, y)
#define DIV(x, y)  gr_sym_div(syms, x, y)
#define MOD(x, y)  gr_sym_mod(syms, x, y)
#define LESS(x, y) gr_sym_lt(syms, x, y)
#define SAME(x, y) gr_sym_eq(syms, x, y)

static void test_polynomials(void)
{
    gr_dim sum = ADD(a, n);
    CHECK_SAME(gr_sym_named(syms, "past"), a);
    CHECK_SAME(ADD(n, a), sum);
    CHECK_SAME(SUB(sum, a), n);
    CHECK_SAME(SUB(a, a), K(0));
    CHECK_SAME(MUL(a, K(0)), K(0));
    CHECK_SAME(MUL(sum, sum), ADD(ADD(MUL(a, a), MUL(n, n)), MUL(K(2), MUL(n, a))));
    CHECK_SAME(MUL(SUB(a, n), sum), SUB(MUL(a, a), MUL(n, n)));
    CHECK_SAME(gr_sym_neg(syms, gr_sym_neg(syms, sum)), sum);
    CHECK_SAME(ADD(K(2), K(3)), K(5));
    CU_ASSERT_FALSE(gr_dim_same(gr_sym_fresh(syms), gr_sym_fresh(syms)));
    CHECK_TEXT(sum, "past + sequence");
    CHECK_TEXT(SUB(MUL(K(2), n), K(1)), "2*sequence - 1");
    CHECK_TEXT(MUL(b, MUL(K(12), n)), "12*batch*sequence");
    CHECK_TEXT(gr_sym_neg(syms, n), "-sequence");
    CHECK_TEXT(K(7), "7");
    CU_ASSERT_EQUAL(gr_sym_text(syms, gr_sym_fresh(syms))[0], '?');
}

static void test_division(void)
{
    CHECK_SAME(DIV(MUL(K(12), b), K(12)), b);
    CHECK_SAME(DIV(MUL(b, n), b), n);
    CHECK_SAME(DIV(ADD(MUL(K(2), a), K(4)), K(2)), ADD(a, K(2)));
    CHECK_SAME(DIV(SUB(MUL(a, a), MUL(n, n)), ADD(a, n)), SUB(a, n));
    CHECK_SAME(DIV(K(-7), K(2)), K(-3));
    CHECK_SAME(MOD(K(-7), K(3)), K(2));
    CHECK_SAME(MOD(K(7), K(-3)), K(-2));
    CHECK_SAME(MOD(MUL(K(6), b), K(3)), K(0));
    CHECK_SAME(DIV(n, K(2)), DIV(n, K(2)));
    CU_ASSERT_FALSE(gr_dim_same(DIV(n, K(2)), DIV(n, K(3))));
    CU_ASSERT_FALSE(gr_dim_same(DIV(n, K(0)), DIV(n, K(0))));
    CU_ASSERT_FALSE(gr_dim_known(DIV(K(5), K(0))));
    CU_ASSERT_FALSE(gr_dim_known(MOD(K(5), K(0))));
    CU_ASSERT_FALSE(gr_dim_known(DIV(K(INT64_MIN), K(-1))));
    CHECK_SAME(MOD(K(INT64_MIN), K(-1)), K(0));
    CHECK_TEXT(DIV(ADD(n, K(1)), K(2)), "((sequence + 1) / 2)");
}

static void test_bounds(void)
{
    gr_dim one_more = ADD(n, K(1));
    CU_ASSERT_EQUAL(gr_sym_lower(n), 0);
    CU_ASSERT_EQUAL(gr_sym_lower(ADD(MUL(K(3), n), K(2))), 2);
    CU_ASSERT_EQUAL(gr_sym_lower(SUB(n, K(1))), -1);
    CU_ASSERT_EQUAL(gr_sym_lower(SUB(K(1), n)), INT64_MIN);
    CU_ASSERT_EQUAL(gr_sym_lower(gr_sym_max(syms, n, K(4))), 4);
    CHECK_SAME(SAME(n, n), K(1));
    CHECK_SAME(SAME(n, one_more), K(0));
    CHECK_SAME(SAME(n, K(-1)), K(0));
    CHECK_SAME(SAME(K(-1), n), K(0));
    CU_ASSERT_FALSE(gr_dim_known(SAME(n, K(3))));
    CHECK_SAME(SAME(a, n), SAME(n, a));
    CHECK_SAME(LESS(n, one_more), K(1));
    CHECK_SAME(LESS(one_more, n), K(0));
    CHECK_SAME(LESS(n, K(0)), K(0));
    CU_ASSERT_FALSE(gr_dim_known(LESS(a, n)));
    CHECK_SAME(gr_sym_max(syms, n, K(0)), n);
    CHECK_SAME(gr_sym_min(syms, n, K(-2)), K(-2));
    CHECK_SAME(gr_sym_max(syms, n, one_more), one_more);
    CHECK_SAME(gr_sym_abs(syms, n), n);
    CHECK_SAME(gr_sym_abs(syms, K(-4)), K(4));
    CHECK_SAME(gr_sym_not(syms, K(0)), K(1));
    CHECK_SAME(gr_sym_not(syms, K(1)), K(0));
    gr_dim cond = LESS(a, n);
    CHECK_SAME(gr_sym_select(syms, K(1), a, n), a);
    CHECK_SAME(gr_sym_select(syms, K(0), a, n), n);
    CHECK_SAME(gr_sym_select(syms, cond, n, n), n);
    CHECK_SAME(gr_sym_select(syms, cond, a, n), gr_sym_select(syms, cond, a, n));
}

static void test_broadcast(void)
{
    gr_dim d, e;
    CU_ASSERT_TRUE(gr_sym_broadcast(syms, K(1), n, &d));
    CHECK_SAME(d, n);
    CU_ASSERT_TRUE(gr_sym_broadcast(syms, n, K(1), &d));
    CHECK_SAME(d, n);
    CU_ASSERT_TRUE(gr_sym_broadcast(syms, n, n, &d));
    CHECK_SAME(d, n);
    CU_ASSERT_TRUE(gr_sym_broadcast(syms, n, K(3), &d));
    CHECK_SAME(d, K(3));
    CU_ASSERT_TRUE(gr_sym_broadcast(syms, n, K(0), &d));
    CHECK_SAME(d, K(0));
    CU_ASSERT_FALSE(gr_sym_broadcast(syms, K(2), K(3), &d));
    CU_ASSERT_FALSE(gr_sym_broadcast(syms, K(0), K(2), &d));
    CU_ASSERT_TRUE(gr_sym_broadcast(syms, a, n, &d));
    CU_ASSERT_TRUE(gr_sym_broadcast(syms, n, a, &e));
    CHECK_SAME(d, e);
    CU_ASSERT_TRUE(gr_sym_broadcast(syms, d, n, &e));
    CHECK_SAME(e, d);
    gr_dim sliced = gr_sym_min(syms, n, K(512)); /* the position table, cut to the sequence */
    CU_ASSERT_TRUE(gr_sym_broadcast(syms, n, sliced, &d));
    CHECK_SAME(d, n);
}

static void test_overflow(void)
{
    gr_dim huge = K(INT64_MAX), big = MUL(huge, n), power = n, sum = K(0);
    CU_ASSERT_FALSE(gr_dim_known(ADD(huge, K(1))));
    CU_ASSERT_FALSE(gr_dim_known(MUL(huge, K(2))));
    CU_ASSERT_FALSE(gr_dim_known(gr_sym_neg(syms, K(INT64_MIN))));
    CU_ASSERT_FALSE(gr_dim_known(MUL(big, K(2))));
    CU_ASSERT_FALSE(gr_dim_same(MUL(big, K(2)), MUL(big, K(2)))); /* unknown equals nothing */
    CU_ASSERT_EQUAL(gr_sym_lower(MUL(big, K(2))), INT64_MIN);
    for (int i = 0; i < 20; i++) power = MUL(power, n);
    CU_ASSERT_FALSE(gr_dim_known(power));
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%d", i);
        sum = ADD(sum, gr_sym_named(syms, name));
    }
    CU_ASSERT_FALSE(gr_dim_known(sum));
    gr_dim deep = n; /* deep nests are cut off, not recursed into */
    for (int i = 0; i < 10000; i++) deep = DIV(ADD(deep, K(1)), K(3));
    CU_ASSERT_TRUE(strlen(gr_sym_text(syms, deep)) > 0);
    int64_t value;
    const gr_sym_binding bind = {"sequence", 5};
    gr_sym_eval(deep, &bind, 1, &value);
}

static void test_eval(void)
{
    const gr_sym_binding bind[] = {{"batch", 2}, {"sequence", 7}};
    int64_t x = 0;
    CU_ASSERT_TRUE(gr_sym_eval(SUB(MUL(b, n), K(1)), bind, 2, &x) && x == 13);
    CU_ASSERT_TRUE(gr_sym_eval(DIV(n, K(2)), bind, 2, &x) && x == 3);
    CU_ASSERT_FALSE(gr_sym_eval(a, bind, 2, &x));
    CU_ASSERT_FALSE(gr_sym_eval(gr_sym_fresh(syms), bind, 2, &x));
    CU_ASSERT_FALSE(gr_sym_eval(DIV(n, SUB(b, K(2))), bind, 2, &x));
    CU_ASSERT_FALSE(gr_sym_eval(MUL(K(INT64_MAX), n), bind, 2, &x));
}

/* ---- random expressions ---- */

typedef struct pair {
    gr_dim d;
    int64_t value;
    bool valid; /* below 1e9, so that no product overflows; no division by zero */
} pair;

static int64_t floor_mod(int64_t x, int64_t y)
{
    int64_t r = x % y;
    return r && (r < 0) != (y < 0) ? r + y : r;
}

static pair combine(uint32_t op, pair x, pair y, pair z)
{
    pair r = {.valid = x.valid && y.valid && z.valid};
    if ((op == 3 || op == 4) && !y.value) r.valid = false;
    if (!r.valid) return r;
    switch (op) {
    case 0: return r.d = ADD(x.d, y.d), r.value = x.value + y.value, r;
    case 1: return r.d = SUB(x.d, y.d), r.value = x.value - y.value, r;
    case 2: return r.d = MUL(x.d, y.d), r.value = x.value * y.value, r;
    case 3: return r.d = DIV(x.d, y.d), r.value = x.value / y.value, r;
    case 4: return r.d = MOD(x.d, y.d), r.value = floor_mod(x.value, y.value), r;
    case 5: return r.d = gr_sym_min(syms, x.d, y.d), r.value = x.value < y.value ? x.value : y.value, r;
    case 6: return r.d = gr_sym_max(syms, x.d, y.d), r.value = x.value > y.value ? x.value : y.value, r;
    case 7: return r.d = gr_sym_abs(syms, x.d), r.value = x.value < 0 ? -x.value : x.value, r;
    case 8: return r.d = SAME(x.d, y.d), r.value = x.value == y.value, r;
    case 9: return r.d = LESS(x.d, y.d), r.value = x.value < y.value, r;
    default:
        return r.d = gr_sym_select(syms, LESS(x.d, y.d), y.d, z.d), r.value = x.value < y.value ? y.value : z.value, r;
    }
}

/* Whatever form an expression takes, its value is that of the arithmetic, and its lower bound holds. */
static void test_random(void)
{
    uint32_t seed = 20240917;
    int known = 0;
    for (int round = 0; round < 3000; round++) {
        gr_sym_binding bind[] = {{"past", next_random(&seed) % 4},
                                 {"batch", next_random(&seed) % 9},
                                 {"sequence", next_random(&seed) % 600}};
        pair pool[12] = {{a, bind[0].value, true}, {b, bind[1].value, true}, {n, bind[2].value, true},
                         {K(1), 1, true},          {K(12), 12, true},        {K(-3), -3, true}};
        for (int i = 6; i < 12; i++) {
            uint32_t r = next_random(&seed);
            pair p =
                combine(r % 11, pool[r / 16 % (uint32_t)i], pool[r / 256 % (uint32_t)i], pool[r / 4096 % (uint32_t)i]);
            int64_t got = 0;
            if (p.value > 1000000000 || p.value < -1000000000) p.valid = false;
            pool[i] = p.valid ? p : pool[0];
            if (!p.valid || !gr_sym_eval(p.d, bind, 3, &got)) continue;
            known++;
            if (got != (int64_t)p.value)
                FAIL("%s is %lld, expected %lld", gr_sym_text(syms, p.d), (long long)got, (long long)p.value);
            if (gr_sym_lower(p.d) > (int64_t)p.value)
                FAIL("%s has lower bound %lld but is %lld", gr_sym_text(syms, p.d), (long long)gr_sym_lower(p.d),
                     (long long)p.value);
        }
    }
    CU_ASSERT_TRUE(known > 10000);
}

static void test_out_of_memory(void)
{
    gr_dim d = n;
    for (long at = 1; at < 40; at++) {
        gr_malloc_fail_after(at);
        for (int i = 0; i < 400; i++) d = ADD(MUL(d, gr_sym_fresh(syms)), gr_sym_min(syms, d, b));
        gr_malloc_fail_after(0);
        CU_ASSERT_TRUE(gr_dim_same(d, d));
        d = n;
    }
}

static CU_TestInfo tests[] = {
    {"polynomials", test_polynomials}, {"division", test_division},           {"bounds", test_bounds},
    {"broadcasting", test_broadcast},  {"overflow", test_overflow},           {"evaluation", test_eval},
    {"random", test_random},           {"out of memory", test_out_of_memory}, CU_TEST_INFO_NULL,
};
CU_SuiteInfo suite_sym = {"sym", NULL, NULL, set_up, tear_down, tests};
