/* SPDX-License-Identifier: Apache-2.0
 *
 * Floats of 8 and 4 bits: float8e4m3fn, float8e4m3fnuz, float8e5m2, float8e5m2fnuz, float8e8m0 and float4e2m1, one
 * element at a time.
 */
#ifndef GR_MINIFLOAT_H
#define GR_MINIFLOAT_H

#include "graph/base.h"

#include <math.h>

typedef struct gr_minifloat {
    gr_dtype dtype;
    int mantissa, bias; /* bits; exponent offset */
    int sign;           /* position of the sign bit, which is also the number of other bits */
    uint8_t max;        /* code of the greatest finite value */
    uint8_t inf, nan;   /* codes; inf == nan: no infinity; nan == 0: neither */
    bool unsigned_nan;  /* "fnuz": one NaN, no negative zero */
} gr_minifloat;

/* The format of an element type; NULL if it is none of these. */
static inline const gr_minifloat *gr_minifloat_find(gr_dtype t)
{
    static const gr_minifloat formats[] = {
        {GR_FLOAT8E4M3FN, 3, 7, 7, 0x7E, 0x7F, 0x7F, false}, {GR_FLOAT8E4M3FNUZ, 3, 8, 7, 0x7F, 0x80, 0x80, true},
        {GR_FLOAT8E5M2, 2, 15, 7, 0x7B, 0x7C, 0x7E, false},  {GR_FLOAT8E5M2FNUZ, 2, 16, 7, 0x7F, 0x80, 0x80, true},
        {GR_FLOAT4E2M1, 1, 1, 3, 0x7, 0, 0, false},          {GR_FLOAT8E8M0, 0, 127, 8, 0xFE, 0xFF, 0xFF, false}};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (formats[i].dtype == t) return &formats[i];
    return NULL;
}

static inline float gr_minifloat_decode(const gr_minifloat *f, uint8_t code)
{
    if (f->dtype == GR_FLOAT8E8M0) return code == f->nan ? NAN : ldexpf(1, code - f->bias);
    int magnitude = code & ((1 << f->sign) - 1), negative = code >> f->sign & 1;
    if (f->unsigned_nan && code == f->nan) return NAN;
    if (!f->unsigned_nan && f->nan && magnitude > f->max)
        return magnitude == f->inf && f->inf != f->nan ? (negative ? -INFINITY : INFINITY) : (negative ? -NAN : NAN);
    int exponent = magnitude >> f->mantissa, fraction = magnitude & ((1 << f->mantissa) - 1);
    if (exponent) fraction |= 1 << f->mantissa;
    float v = ldexpf((float)fraction, (exponent ? exponent : 1) - f->bias - f->mantissa);
    return negative ? -v : v;
}

/* Nearest code, ties to even. What is too large becomes the greatest finite value if `saturate`, else infinity or NaN
 * as the format has it; float4e2m1 has neither and always saturates. */
static inline uint8_t gr_minifloat_encode(const gr_minifloat *f, float x, bool saturate)
{
    uint8_t sign = signbit(x) ? (uint8_t)(1 << f->sign) : 0;
    if (isnan(x)) return f->unsigned_nan ? f->nan : f->nan ? f->nan | sign : (uint8_t)(sign ^ 1 << f->sign);
    float a = fabsf(x);
    int code = f->max + 1, least = 1 - f->bias;
    if (a <= 0x1p30f) {
        int e = a > 0 ? ilogbf(a) : least;
        if (e < least) e = least;
        code = ((e + f->bias - 1) << f->mantissa) + (int)rint(ldexp(a, f->mantissa - e));
    }
    if (code > f->max) {
        if (saturate || !f->nan)
            code = f->max;
        else if (f->unsigned_nan)
            return f->nan;
        else
            code = f->inf;
    }
    return f->unsigned_nan && !code ? 0 : (uint8_t)(code | sign);
}

/* float8e8m0 is a bare exponent. round > 0: up; 0: to nearest, halves up; < 0: down. */
static inline uint8_t gr_e8m0_encode(float x, bool saturate, int round)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    uint32_t exponent = u >> 23 & 0xFF, fraction = u & 0x7FFFFF;
    if (exponent == 0xFF) return 0xFF;
    /* Below the normal range a half is no half: there the exponent stays 0. */
    bool up = round > 0 ? fraction != 0 : round == 0 && (fraction > 0x400000 || (fraction == 0x400000 && exponent));
    if (up && !(saturate && exponent == 0xFE)) exponent++;
    return (uint8_t)exponent;
}

#endif
