/* SPDX-License-Identifier: Apache-2.0
 *
 * Quantised numbers, one or a span at a time: integers of 2 to 32 bits as int32, floats of 4 to 16 bits as float. Those
 * of less than a byte lie with the first element in the lowest bits.
 */
#ifndef GR_CODES_H
#define GR_CODES_H

#include "loops.h"
#include "minifloat.h"

#define GR_T_MINI                                                                                                      \
    (GR_T(FLOAT8E4M3FN) | GR_T(FLOAT8E4M3FNUZ) | GR_T(FLOAT8E5M2) | GR_T(FLOAT8E5M2FNUZ) | GR_T(FLOAT8E8M0) |          \
     GR_T(FLOAT4E2M1))
#define GR_T_TINY  (GR_T(UINT4) | GR_T(INT4) | GR_T(UINT2) | GR_T(INT2))
#define GR_T_BYTES (GR_T(UINT8) | GR_T(INT8))

/* Least and greatest value of an integer type of at most 16 bits. */
static inline void gr_code_range(gr_dtype t, int *least, int *greatest)
{
    int bits = gr_dtype_bits(t);
    bool is_signed = gr_dtype_is_signed(t) || t == GR_INT4 || t == GR_INT2;
    *least = is_signed ? -(1 << (bits - 1)) : 0;
    *greatest = is_signed ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
}

static inline int gr_tiny_get(gr_dtype t, const void *src, int64_t i)
{
    int bits = gr_dtype_bits(t), each = 8 / bits;
    int v = ((const uint8_t *)src)[i / each] >> (i % each * bits) & ((1 << bits) - 1);
    bool is_signed = t == GR_INT4 || t == GR_INT2;
    return is_signed && v >> (bits - 1) ? v - (1 << bits) : v;
}

static inline void gr_tiny_put(gr_dtype t, void *dst, int64_t i, int v)
{
    uint8_t *to = (uint8_t *)dst;
    int bits = gr_dtype_bits(t), each = 8 / bits, shift = (int)(i % each) * bits, mask = (1 << bits) - 1;
    to[i / each] = (uint8_t)((to[i / each] & ~(mask << shift)) | (v & mask) << shift);
}

/* n of 4 bits, two of a byte at a time. */
static inline void gr_fours_load(gr_dtype t, const void *src, int64_t first, int64_t n, int32_t *to)
{
    const int32_t flip = t == GR_INT4 ? 8 : 0; /* x ^ 8 - 8 extends the sign */
    const uint8_t *from = (const uint8_t *)src + first / 2;
    if (n > 0 && first % 2) {
        *to++ = (*from++ >> 4 ^ flip) - flip;
        n--;
    }
    for (int64_t i = 0; i < n / 2; i++) {
        to[2 * i] = ((from[i] & 15) ^ flip) - flip;
        to[2 * i + 1] = (from[i] >> 4 ^ flip) - flip;
    }
    if (n % 2) to[n - 1] = ((from[n / 2] & 15) ^ flip) - flip;
}

/* n integers of at most 32 bits, from element `first` on. */
static inline void gr_codes_load(gr_dtype t, const void *src, int64_t first, int64_t n, int32_t *to)
{
    switch ((int)t) {
        GR_CASE(UINT8, uint8_t, T, for (int64_t i = 0; i < n; i++) to[i] = ((const T *)src)[first + i];)
        GR_CASE(INT8, int8_t, T, for (int64_t i = 0; i < n; i++) to[i] = ((const T *)src)[first + i];)
        GR_CASE(UINT16, uint16_t, T, for (int64_t i = 0; i < n; i++) to[i] = ((const T *)src)[first + i];)
        GR_CASE(INT16, int16_t, T, for (int64_t i = 0; i < n; i++) to[i] = ((const T *)src)[first + i];)
        GR_CASE(INT32, int32_t, T, for (int64_t i = 0; i < n; i++) to[i] = ((const T *)src)[first + i];)
    case GR_UINT4:
    case GR_INT4: gr_fours_load(t, src, first, n, to); break;
    default:
        for (int64_t i = 0; i < n; i++) to[i] = gr_tiny_get(t, src, first + i);
    }
}

/* The same of floats of 4 to 32 bits. */
static inline void gr_codes_load_float(gr_dtype t, const void *src, int64_t first, int64_t n, float *to)
{
    if (gr_dtype_is_float(t)) {
        gr_load_f32(t, n, src, first, 1, to);
        return;
    }
    const gr_minifloat *f = gr_minifloat_find(t);
    for (int64_t i = 0; f && i < n; i++) {
        int code =
            f->dtype == GR_FLOAT4E2M1 ? gr_tiny_get(GR_UINT4, src, first + i) : ((const uint8_t *)src)[first + i];
        to[i] = gr_minifloat_decode(f, (uint8_t)code);
    }
}

/* n integers that lie in the type's range. */
static inline void gr_codes_store(gr_dtype t, void *dst, int64_t first, int64_t n, const int32_t *v)
{
    switch ((int)t) {
        GR_CASE(UINT8, uint8_t, T, for (int64_t i = 0; i < n; i++)((T *)dst)[first + i] = (T)v[i];)
        GR_CASE(INT8, int8_t, T, for (int64_t i = 0; i < n; i++)((T *)dst)[first + i] = (T)v[i];)
        GR_CASE(UINT16, uint16_t, T, for (int64_t i = 0; i < n; i++)((T *)dst)[first + i] = (T)v[i];)
        GR_CASE(INT16, int16_t, T, for (int64_t i = 0; i < n; i++)((T *)dst)[first + i] = (T)v[i];)
    default:
        for (int64_t i = 0; i < n; i++) gr_tiny_put(t, dst, first + i, v[i]);
    }
}

/* x rounded to the nearest integer in [least, greatest], halves to even; NaN becomes the least. |bounds| < 2^22, so
 * that adding 1.5 * 2^23 leaves no bits for a fraction. */
static inline int32_t gr_round_within(float x, float least, float greatest)
{
    const float shifter = 0x1.8p23f;
    x = x > least ? x : least;
    x = x < greatest ? x : greatest;
    return (int32_t)((x + shifter) - shifter);
}

#endif
