/* SPDX-License-Identifier: Apache-2.0
 *
 * Row kernels against libm in double, for every instruction set that this CPU runs.
 */
#include "graph/base.h"
#include "simd/isa.h"
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ISAS 3
static const gr_simd *isas[MAX_ISAS];
static int nisas;

static int find_isas(void)
{
    nisas = 0;
    isas[nisas++] = &gr_simd_base;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) isas[nisas++] = &gr_simd_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        isas[nisas++] = &gr_simd_avx512;
#endif
    return 0;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double gelu(double x) { return 0.5 * x * erfc(-x * M_SQRT1_2); }
static double gelu_tanh(double x) { return x * sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x)); }
static double quick_gelu(double x) { return x * sigmoid((double)1.702f * x); }
static double silu(double x) { return x * sigmoid(x); }
static double relu(double x) { return x < 0 ? 0 : x; }
static double negative(double x) { return -x; }
static double reciprocal(double x) { return 1 / x; }

/* Allowed: `ulps` of the true result, or that absolute error. */
static const struct {
    enum gr_simd_unary which;
    const char *name;
    double (*exact)(double);
    double low, high, ulps, absolute;
} unaries[] = {
    {GR_V_EXP, "exp", exp, -104, 89, 2, 0},
    {GR_V_LOG, "log", log, 0, 3e38, 2, 0},
    {GR_V_LOG, "log near 1", log, 0.5, 2, 2, 0},
    {GR_V_ERF, "erf", erf, -6, 6, 0, 2e-7},
    {GR_V_TANH, "tanh", tanh, -12, 12, 3, 0},
    {GR_V_TANH, "tanh near 0", tanh, -1e-3, 1e-3, 3, 0},
    {GR_V_SIGMOID, "sigmoid", sigmoid, -90, 90, 4, 0},
    {GR_V_GELU_ERF, "gelu", gelu, -12, 12, 1, 2e-7},
    {GR_V_GELU_TANH, "gelu tanh", gelu_tanh, -12, 12, 1, 2e-7},
    {GR_V_QUICK_GELU, "quick gelu", quick_gelu, -30, 30, 4, 2e-7},
    {GR_V_SILU, "silu", silu, -60, 60, 4, 2e-7},
    {GR_V_RELU, "relu", relu, -5, 5, 0, 0},
    {GR_V_SQRT, "sqrt", sqrt, 0, 1e38, 0.5, 0},
    {GR_V_NEG, "neg", negative, -9, 9, 0, 0},
    {GR_V_ABS, "abs", fabs, -9, 9, 0, 0},
    {GR_V_RECIPROCAL, "reciprocal", reciprocal, -9, 9, 0.5, 0},
};

/* Size of the last place of a float near x. */
static double ulp(double x)
{
    int e;
    frexp(x, &e);
    return ldexp(1, e - 24 < -149 ? -149 : e - 24);
}

enum { SAMPLES = 200003 }; /* odd, so that the rest of a row is tried too */

static void test_unary(void)
{
    float *x = malloc(SAMPLES * sizeof *x), *y = malloc(SAMPLES * sizeof *y);
    for (int i = 0; i < nisas; i++) {
        for (size_t u = 0; u < sizeof unaries / sizeof *unaries; u++) {
            for (int k = 0; k < SAMPLES; k++)
                x[k] = (float)(unaries[u].low + (unaries[u].high - unaries[u].low) * k / (SAMPLES - 1));
            isas[i]->unary[unaries[u].which](SAMPLES, x, y);
            double worst = 0;
            int at = 0, overflows = 0;
            for (int k = 0; k < SAMPLES; k++) {
                const double exact = unaries[u].exact(x[k]);
                if (exact == y[k] || (fabs(exact) > 3.4028235e38 && isinf(y[k]) && ++overflows)) continue;
                double error = fmax(fabs(exact - y[k]) - unaries[u].absolute, 0) / ulp(exact);
                if (!(error <= worst)) {
                    worst = error;
                    at = k;
                }
            }
            if (!(worst <= unaries[u].ulps))
                printf("\n    %s %s(%.9g) = %.9g, exactly %.9g: %g ulp ", isas[i]->name, unaries[u].name, x[at], y[at],
                       unaries[u].exact(x[at]), worst);
            CU_ASSERT(worst <= unaries[u].ulps);
        }
    }
    free(x);
    free(y);
}

static void check_special(const gr_simd *s, enum gr_simd_unary f, float x, float expected)
{
    float in[19], out[19];
    for (int k = 0; k < 19; k++) in[k] = x;
    s->unary[f](19, in, out);
    for (int k = 0; k < 19; k++) {
        const bool good = isnan(expected) ? isnan(out[k]) : out[k] == expected;
        if (!good) printf("\n    %s function %d of %g: %g, expected %g ", s->name, (int)f, x, out[k], expected);
        CU_ASSERT(good);
    }
}

static void test_special(void)
{
    for (int i = 0; i < nisas; i++) {
        const gr_simd *s = isas[i];
        for (int f = 0; f < GR_V_UNARY_COUNT; f++) check_special(s, (enum gr_simd_unary)f, NAN, NAN);
        check_special(s, GR_V_EXP, INFINITY, INFINITY);
        check_special(s, GR_V_EXP, -INFINITY, 0);
        check_special(s, GR_V_EXP, 0, 1);
        check_special(s, GR_V_EXP, 1e30f, INFINITY);
        check_special(s, GR_V_LOG, 0, -INFINITY);
        check_special(s, GR_V_LOG, -1, NAN);
        check_special(s, GR_V_LOG, INFINITY, INFINITY);
        check_special(s, GR_V_LOG, 1e-42f, logf(1e-42f));
        check_special(s, GR_V_ERF, INFINITY, 1);
        check_special(s, GR_V_ERF, -30, -1);
        check_special(s, GR_V_TANH, INFINITY, 1);
        check_special(s, GR_V_TANH, -1e20f, -1);
        check_special(s, GR_V_SIGMOID, INFINITY, 1);
        check_special(s, GR_V_SIGMOID, -INFINITY, 0);
        check_special(s, GR_V_GELU_ERF, INFINITY, INFINITY);
        check_special(s, GR_V_GELU_ERF, 1e30f, 1e30f);
        check_special(s, GR_V_GELU_ERF, -1e30f, 0);
        check_special(s, GR_V_GELU_TANH, 1e20f, 1e20f);
        check_special(s, GR_V_GELU_TANH, -1e20f, 0);
        check_special(s, GR_V_SILU, 200, 200);
        check_special(s, GR_V_SILU, -200, 0);
        check_special(s, GR_V_RELU, -INFINITY, 0);
        check_special(s, GR_V_SQRT, -1, NAN);
    }
}

/* An element's result must not depend on where it stands in its row, nor on whether input and output are one. */
static void test_place(void)
{
    float x[70], y[70], alone[1];
    for (int i = 0; i < nisas; i++) {
        for (int f = 0; f < GR_V_UNARY_COUNT; f++) {
            for (size_t n = 0; n < 70; n++) {
                for (size_t k = 0; k < 70; k++) x[k] = y[k] = (float)k * 0.37f - 9;
                isas[i]->unary[f](n, y, y);
                for (size_t k = 0; k < n; k++) {
                    isas[i]->unary[f](1, x + k, alone);
                    CU_ASSERT_EQUAL(memcmp(alone, y + k, sizeof *y), 0);
                }
                for (size_t k = n; k < 70; k++) CU_ASSERT_EQUAL(y[k], x[k]);
            }
        }
    }
}

static float apply(int op, float a, float b)
{
    switch (op) {
    case GR_V_ADD: return a + b;
    case GR_V_SUB: return a - b;
    case GR_V_MUL: return a * b;
    case GR_V_DIV: return a / b;
    case GR_V_MIN: return isnan(a) || isnan(b) ? NAN : fminf(a, b);
    default: return isnan(a) || isnan(b) ? NAN : fmaxf(a, b);
    }
}

static bool same(float a, float b) { return isnan(a) ? isnan(b) : a == b; }

static void test_binary(void)
{
    float a[37], b[37], y[3][37];
    for (int k = 0; k < 37; k++) {
        a[k] = k % 11 == 3 ? NAN : (float)(k * 7 % 13) - 6;
        b[k] = k % 7 == 2 ? NAN : (float)(k * 5 % 17) - 8;
    }
    for (int i = 0; i < nisas; i++) {
        for (int op = 0; op < GR_V_BINARY_COUNT; op++) {
            isas[i]->binary[op](37, a, b, y[0]);
            isas[i]->binary_scalar[op](37, a, 3, y[1]);
            isas[i]->scalar_binary[op](37, -2, b, y[2]);
            for (int k = 0; k < 37; k++) {
                CU_ASSERT(same(y[0][k], apply(op, a[k], b[k])));
                CU_ASSERT(same(y[1][k], apply(op, a[k], 3)));
                CU_ASSERT(same(y[2][k], apply(op, -2, b[k])));
            }
        }
    }
}

static void softmax_case(const gr_simd *s, size_t n, bool masked)
{
    float x[600], mask[600], y[600];
    double e[600], top = -INFINITY, sum = 0;
    for (size_t k = 0; k < n; k++) {
        x[k] = (float)((k * 7919) % 1000) / 50 - 10;
        mask[k] = k % 5 == 1 ? -INFINITY : k % 5 == 2 ? -10000 : 0;
        e[k] = (double)x[k] * 0.125 + (masked ? mask[k] : 0);
        top = fmax(top, e[k]);
    }
    for (size_t k = 0; k < n; k++) sum += e[k] = exp(e[k] - top);
    s->softmax(n, x, 0.125f, masked ? mask : NULL, y);
    for (size_t k = 0; k < n; k++) CU_ASSERT(fabs(y[k] - e[k] / sum) <= 4e-7 * e[k] / sum + 1e-37);
    s->softmax(n, x, 0.125f, masked ? mask : NULL, x);
    CU_ASSERT_EQUAL(memcmp(x, y, n * sizeof *x), 0);
}

static void test_softmax(void)
{
    for (int i = 0; i < nisas; i++) {
        for (size_t n = 1; n < 70; n++) {
            softmax_case(isas[i], n, false);
            softmax_case(isas[i], n, true);
        }
        softmax_case(isas[i], 513, true);
        float x[19], y[19];
        for (int k = 0; k < 19; k++) x[k] = -INFINITY;
        isas[i]->softmax(19, x, 1, NULL, y);
        for (int k = 0; k < 19; k++) CU_ASSERT(isnan(y[k]));
        for (int k = 0; k < 19; k++) x[k] = k == 18 ? NAN : 1;
        isas[i]->softmax(19, x, 1, NULL, y);
        for (int k = 0; k < 19; k++) CU_ASSERT(isnan(y[k]));
        isas[i]->softmax(0, x, 1, NULL, y);
    }
}

static void layernorm_case(const gr_simd *s, size_t n, bool residual, bool affine, bool stored)
{
    float x[1000], r[1000], g[1000], b[1000], sum[1000], y[1000];
    double mean = 0, variance = 0;
    for (size_t k = 0; k < n; k++) {
        x[k] = (float)((k * 7919) % 1000) / 100 + 20;
        r[k] = (float)((k * 104729) % 1000) / 300 - 2;
        g[k] = (float)(k % 3) + 0.5f;
        b[k] = (float)(k % 7) - 3;
        mean += (double)(residual ? x[k] + r[k] : x[k]) / (double)n;
    }
    for (size_t k = 0; k < n; k++) variance += pow((residual ? x[k] + r[k] : x[k]) - mean, 2) / (double)n;
    s->layernorm(n, x, residual ? r : NULL, affine ? g : NULL, affine ? b : NULL, 1e-5f, stored ? sum : NULL, y);
    for (size_t k = 0; k < n; k++) {
        const float in = residual ? x[k] + r[k] : x[k];
        double exact = (in - mean) / sqrt(variance + 1e-5f);
        if (affine) exact = exact * g[k] + b[k];
        CU_ASSERT(fabs(y[k] - exact) <= 3e-5);
        if (stored) CU_ASSERT_EQUAL(sum[k], in);
    }
    s->layernorm(n, x, residual ? r : NULL, affine ? g : NULL, affine ? b : NULL, 1e-5f, stored ? sum : NULL, x);
    CU_ASSERT_EQUAL(memcmp(x, y, n * sizeof *x), 0);
}

static void test_layernorm(void)
{
    const size_t sizes[] = {1, 3, 8, 15, 16, 17, 33, 64, 100, 768, 1000};
    for (int i = 0; i < nisas; i++)
        for (size_t z = 0; z < sizeof sizes / sizeof *sizes; z++)
            for (int flags = 0; flags < 8; flags++)
                layernorm_case(isas[i], sizes[z], flags & 1, flags & 2, flags & 4);
}

static void test_reductions(void)
{
    float a[300], b[300];
    for (int i = 0; i < nisas; i++) {
        for (size_t n = 0; n < 300; n++) {
            double dot = 0, sum = 0, top = -INFINITY;
            for (size_t k = 0; k < n; k++) {
                a[k] = (float)((k * 31) % 17) - 8;
                b[k] = (float)((k * 13) % 19) - 9;
                dot += a[k] * b[k];
                sum += a[k];
                top = fmax(top, a[k]);
            }
            CU_ASSERT_EQUAL(isas[i]->dot(n, a, b), dot);
            CU_ASSERT_EQUAL(isas[i]->sum(n, a), sum);
            CU_ASSERT_EQUAL(isas[i]->max(n, a), top);
            if (!n) continue;
            a[n / 2] = NAN;
            CU_ASSERT(isnan(isas[i]->max(n, a)));
        }
    }
}

/* All numbers of 16 bits, from an odd address. */
static void test_widen(void)
{
    enum { ALL = 65536, SOME = 61 };
    static char bytes[2 * ALL + 1];
    static float y[ALL];
    for (int h = 0; h < ALL; h++) memcpy(bytes + 1 + 2 * h, &(uint16_t){(uint16_t)h}, 2);
    for (int i = 0; i < nisas; i++)
        for (int bfloat = 0; bfloat < 2; bfloat++) {
            int bad = 0;
            for (int at = 0; at < ALL; at += SOME)
                isas[i]->widen(bfloat ? GR_STORE_BFLOAT : GR_STORE_HALF, (size_t)(ALL - at < SOME ? ALL - at : SOME),
                               bytes + 1 + 2 * at, y + at);
            for (int h = 0; h < ALL; h++) {
                const float want = bfloat ? gr_bfloat_to_float((uint16_t)h) : gr_half_to_float((uint16_t)h);
                bad += isnan(want) ? !isnan(y[h]) : memcmp(&y[h], &want, sizeof want) != 0;
            }
            CU_ASSERT_EQUAL(bad, 0);
        }
}

static void test_best(void)
{
    const gr_simd *best = gr_simd_best();
    bool found = false;
    for (int i = 0; i < nisas; i++) found = found || best == isas[i];
    CU_ASSERT(found);
    CU_ASSERT(getenv("GRAPHRUN_ISA") || best == isas[nisas - 1]);
}

static CU_TestInfo tests[] = {
    {"functions against libm", test_unary},
    {"special values", test_special},
    {"an element's place does not matter", test_place},
    {"arithmetic", test_binary},
    {"softmax", test_softmax},
    {"layer normalization", test_layernorm},
    {"reductions", test_reductions},
    {"numbers of 16 bits", test_widen},
    {"choice of the instruction set", test_best},
    CU_TEST_INFO_NULL,
};

extern CU_SuiteInfo suite_simd;
CU_SuiteInfo suite_simd = {"simd", find_isas, NULL, NULL, NULL, tests};
