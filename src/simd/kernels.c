/* SPDX-License-Identifier: Apache-2.0
 *
 * Row kernels for float32, compiled once per instruction set. Error bounds of the functions stand in vec.h.
 *
 * Every element goes through the same vector code wherever it stands in its row: the rest of a row that does not fill
 * a vector is computed in a vector of its own with idle lanes.
 */
#include "isa.h"
#include "vec.h"
#include <math.h>

/* y[i] = expression of x */
#define UNARY(name, expression)                                                                                        \
    static void name(size_t n, const float *px, float *py)                                                            \
    {                                                                                                                  \
        size_t i = 0;                                                                                                  \
        for (; i + GR_LANES <= n; i += GR_LANES) {                                                                     \
            const vf x = vload(px + i);                                                                                \
            vstore(py + i, expression);                                                                                \
        }                                                                                                              \
        if (i < n) {                                                                                                   \
            const vf x = vload_part(px + i, n - i);                                                                    \
            vstore_part(py + i, expression, n - i);                                                                    \
        }                                                                                                              \
    }

UNARY(exp_, vexp(x))
UNARY(log_, vlog(x))
UNARY(erf_, verf(x))
UNARY(tanh_, vtanh(x))
UNARY(sigmoid_, vsigmoid(x))
UNARY(gelu_erf_, vgelu_erf(x))
UNARY(gelu_tanh_, vgelu_tanh(x))
UNARY(quick_gelu_, vquick_gelu(x))
UNARY(silu_, vsilu(x))
UNARY(relu_, vrelu(x))
UNARY(sqrt_, vsqrt(x))
UNARY(neg_, -x)
UNARY(abs_, vabs(x))
UNARY(reciprocal_, 1.0f / x)

/* y[i] = expression of a and b; LOAD and PART say where each comes from */
#define BINARY_LOOP(name, parameters, load_a, load_b, part_a, part_b, expression)                                      \
    static void name parameters                                                                                        \
    {                                                                                                                  \
        size_t i = 0;                                                                                                  \
        for (; i + GR_LANES <= n; i += GR_LANES) {                                                                     \
            const vf a = load_a, b = load_b;                                                                           \
            vstore(y + i, expression);                                                                                 \
        }                                                                                                              \
        if (i < n) {                                                                                                   \
            const vf a = part_a, b = part_b;                                                                           \
            vstore_part(y + i, expression, n - i);                                                                     \
        }                                                                                                              \
    }
#define BINARY(name, expression)                                                                                       \
    BINARY_LOOP(name##_vv, (size_t n, const float *pa, const float *pb, float *y), vload(pa + i), vload(pb + i),       \
                vload_part(pa + i, n - i), vload_part(pb + i, n - i), expression)                                      \
    BINARY_LOOP(name##_vs, (size_t n, const float *pa, float sb, float *y), vload(pa + i), vset(sb),                   \
                vload_part(pa + i, n - i), vset(sb), expression)                                                       \
    BINARY_LOOP(name##_sv, (size_t n, float sa, const float *pb, float *y), vset(sa), vload(pb + i), vset(sa),         \
                vload_part(pb + i, n - i), expression)

BINARY(add, a + b)
BINARY(sub, a - b)
BINARY(mul, a *b)
BINARY(div, a / b)
BINARY(min, vmin(a, b))
BINARY(max, vmax(a, b))

static void softmax(size_t n, const float *x, float scale, const float *mask, float *y)
{
    const vf low = vset(-__builtin_inff());
    const size_t rest = n % GR_LANES, whole = n - rest;
    vf top = low;
    for (size_t i = 0; i < whole; i += GR_LANES) {
        vf z = vload(x + i) * scale;
        if (mask) z += vload(mask + i);
        vstore(y + i, z);
        top = vselect(z > top, z, top);
    }
    vf last = low;
    if (rest) {
        last = vload_part(x + whole, rest) * scale;
        if (mask) last += vload_part(mask + whole, rest);
        last = vselect(vlanes_below(rest), last, low);
        top = vselect(last > top, last, top);
    }
    const float greatest = vgreatest(top); /* a NaN in the row reaches the sum by itself */
    vf sum = vset(0);
    for (size_t i = 0; i < whole; i += GR_LANES) {
        vf e = vexp_negative(vload(y + i) - greatest);
        vstore(y + i, e);
        sum += e;
    }
    if (rest) {
        last = vexp_negative(last - greatest);
        sum += vselect(vlanes_below(rest), last, vset(0));
    }
    const float inverse = 1.0f / vsum(sum);
    for (size_t i = 0; i < whole; i += GR_LANES) vstore(y + i, vload(y + i) * inverse);
    if (rest) vstore_part(y + whole, last * inverse, rest);
}

static float sum(size_t n, const float *x)
{
    vf s0 = vset(0), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; i + 4 * GR_LANES <= n; i += 4 * GR_LANES) {
        s0 += vload(x + i);
        s1 += vload(x + i + GR_LANES);
        s2 += vload(x + i + 2 * GR_LANES);
        s3 += vload(x + i + 3 * GR_LANES);
    }
    for (; i + GR_LANES <= n; i += GR_LANES) s0 += vload(x + i);
    if (i < n) s1 += vload_part(x + i, n - i);
    return vsum((s0 + s1) + (s2 + s3));
}

static float dot(size_t n, const float *a, const float *b)
{
    vf s0 = vset(0), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; i + 4 * GR_LANES <= n; i += 4 * GR_LANES) {
        s0 = vfma(vload(a + i), vload(b + i), s0);
        s1 = vfma(vload(a + i + GR_LANES), vload(b + i + GR_LANES), s1);
        s2 = vfma(vload(a + i + 2 * GR_LANES), vload(b + i + 2 * GR_LANES), s2);
        s3 = vfma(vload(a + i + 3 * GR_LANES), vload(b + i + 3 * GR_LANES), s3);
    }
    for (; i + GR_LANES <= n; i += GR_LANES) s0 = vfma(vload(a + i), vload(b + i), s0);
    if (i < n) s1 = vfma(vload_part(a + i, n - i), vload_part(b + i, n - i), s1);
    return vsum((s0 + s1) + (s2 + s3));
}

/* NaN if one is among them, -inf if there are none. */
static float max(size_t n, const float *x)
{
    vf top = vset(-__builtin_inff());
    size_t i = 0;
    for (; i + GR_LANES <= n; i += GR_LANES) top = vmax(vload(x + i), top);
    if (i < n) top = vmax(vselect(vlanes_below(n - i), vload_part(x + i, n - i), top), top);
    for (int j = 0; j < GR_LANES; j++)
        if (top[j] != top[j]) return top[j];
    return vgreatest(top);
}

/* Lanes i.. of the sum of x and the residual; the row's rest is filled with zeros. */
VINLINE vf added(const float *x, const float *residual, size_t i, size_t n)
{
    if (i + GR_LANES <= n) return residual ? vload(x + i) + vload(residual + i) : vload(x + i);
    vf v = vload_part(x + i, n - i);
    return residual ? v + vload_part(residual + i, n - i) : v;
}

VINLINE void layernorm_row(size_t n, const float *x, const float *residual, const float *gamma, const float *beta,
                           float eps, float *stored, float *y)
{
    const size_t rest = n % GR_LANES, whole = n - rest;
    vf s0 = vset(0), s1 = s0;
    size_t i = 0;
    for (; i + 2 * GR_LANES <= n; i += 2 * GR_LANES) {
        vf a = added(x, residual, i, n), b = added(x, residual, i + GR_LANES, n);
        if (stored) {
            vstore(stored + i, a);
            vstore(stored + i + GR_LANES, b);
        }
        s0 += a;
        s1 += b;
    }
    for (; i < n; i += GR_LANES) {
        vf a = added(x, residual, i, n);
        if (stored && i < whole) vstore(stored + i, a);
        if (stored && i >= whole) vstore_part(stored + i, a, rest);
        s0 += a;
    }
    if (stored) {
        x = stored;
        residual = NULL;
    }
    const float mean = vsum(s0 + s1) / (float)n;
    s0 = s1 = vset(0);
    for (i = 0; i + 2 * GR_LANES <= n; i += 2 * GR_LANES) {
        vf a = added(x, residual, i, n) - mean, b = added(x, residual, i + GR_LANES, n) - mean;
        s0 = vfma(a, a, s0);
        s1 = vfma(b, b, s1);
    }
    for (; i < n; i += GR_LANES) {
        vf a = added(x, residual, i, n) - mean;
        if (i >= whole) a = vselect(vlanes_below(rest), a, vset(0));
        s0 = vfma(a, a, s0);
    }
    const float inverse = 1.0f / sqrtf(vsum(s0 + s1) / (float)n + eps);
    for (i = 0; i < whole; i += GR_LANES) {
        vf v = (added(x, residual, i, n) - mean) * inverse;
        if (gamma) v *= vload(gamma + i);
        if (beta) v += vload(beta + i);
        vstore(y + i, v);
    }
    if (rest) {
        vf v = (added(x, residual, i, n) - mean) * inverse;
        if (gamma) v *= vload_part(gamma + i, rest);
        if (beta) v += vload_part(beta + i, rest);
        vstore_part(y + i, v, rest);
    }
}

static void layernorm(size_t n, const float *x, const float *residual, const float *gamma, const float *beta, float eps,
                      float *stored, float *y)
{
    if (residual)
        layernorm_row(n, x, residual, gamma, beta, eps, stored, y);
    else
        layernorm_row(n, x, NULL, gamma, beta, eps, stored, y);
}

VINLINE void widen_as(const enum gr_gemm_store store, size_t n, const char *x, float *y)
{
    size_t i = 0;
    for (; i + GR_LANES <= n; i += GR_LANES)
        vstore(y + i, store == GR_STORE_HALF ? vload_half(x + 2 * i) : vload_bfloat(x + 2 * i));
    if (i < n) {
        uint16_t t[GR_LANES] = {0};
        memcpy(t, x + 2 * i, 2 * (n - i));
        vstore_part(y + i, store == GR_STORE_HALF ? vload_half(t) : vload_bfloat(t), n - i);
    }
}

static void widen(enum gr_gemm_store store, size_t n, const void *x, float *y)
{
    if (store == GR_STORE_HALF)
        widen_as(GR_STORE_HALF, n, x, y);
    else
        widen_as(GR_STORE_BFLOAT, n, x, y);
}

void GR_ISA_SYMBOL(gr_attend_rows)(const gr_attend *g);
double GR_ISA_SYMBOL(gr_multiply)(int64_t turns);

const gr_simd GR_ISA_SYMBOL(gr_simd) = {
    .name = GR_ISA_TEXT(GR_ISA),
    .bfloat = "bfloat16 " GR_ISA_TEXT(GR_ISA),
    .pairs = "pairs of bfloat16 " GR_ISA_TEXT(GR_ISA),
    .unary = {[GR_V_EXP] = exp_, [GR_V_LOG] = log_, [GR_V_ERF] = erf_, [GR_V_TANH] = tanh_, [GR_V_SIGMOID] = sigmoid_,
              [GR_V_GELU_ERF] = gelu_erf_, [GR_V_GELU_TANH] = gelu_tanh_, [GR_V_QUICK_GELU] = quick_gelu_,
              [GR_V_SILU] = silu_, [GR_V_RELU] = relu_, [GR_V_SQRT] = sqrt_, [GR_V_NEG] = neg_, [GR_V_ABS] = abs_,
              [GR_V_RECIPROCAL] = reciprocal_},
    .binary = {add_vv, sub_vv, mul_vv, div_vv, min_vv, max_vv},
    .binary_scalar = {add_vs, sub_vs, mul_vs, div_vs, min_vs, max_vs},
    .scalar_binary = {add_sv, sub_sv, mul_sv, div_sv, min_sv, max_sv},
    .softmax = softmax,
    .attend = GR_ISA_SYMBOL(gr_attend_rows),
    .layernorm = layernorm,
    .widen = widen,
    .dot = dot,
    .sum = sum,
    .max = max,
    .multiply = GR_ISA_SYMBOL(gr_multiply),
};
