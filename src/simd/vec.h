/* SPDX-License-Identifier: Apache-2.0
 *
 * Vectors of floats as wide as the instruction set that a file is compiled for, and the transcendental functions on
 * them. Written with the compiler's vector types, so that one source serves SSE2, AVX2, AVX-512 and NEON; intrinsics
 * only where the compiler cannot be trusted to find the instruction. Coefficients are own minimax fits.
 */
#ifndef GR_VEC_H
#define GR_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifndef GR_LANES
#if defined(__AVX512F__)
#define GR_LANES 16
#elif defined(__AVX2__)
#define GR_LANES 8
#else
#define GR_LANES 4
#endif
#endif

/* A file that includes this is compiled once per instruction set: its one exported symbol gets the set's name. */
#ifndef GR_ISA
#define GR_ISA base
#endif
#define GR_ISA_PASTE_(a, b) a##_##b
#define GR_ISA_PASTE(a, b)  GR_ISA_PASTE_(a, b)
#define GR_ISA_SYMBOL(name) GR_ISA_PASTE(name, GR_ISA)
#define GR_ISA_TEXT_(x)     #x
#define GR_ISA_TEXT(x)      GR_ISA_TEXT_(x)

typedef float vf __attribute__((vector_size(GR_LANES * 4)));
typedef int32_t vi __attribute__((vector_size(GR_LANES * 4)));
typedef uint32_t vu __attribute__((vector_size(GR_LANES * 4)));
typedef float vf_any __attribute__((vector_size(GR_LANES * 4), aligned(1), may_alias));
typedef int32_t vi_any __attribute__((vector_size(GR_LANES * 4), aligned(1), may_alias));

#define VINLINE static inline __attribute__((always_inline, unused))

VINLINE vf vset(float x) { return x - (vf){0}; }
VINLINE vf vload(const float *p) { return *(const vf_any *)p; }
VINLINE void vstore(float *p, vf v) { *(vf_any *)p = v; }

/* r < GR_LANES elements; the other lanes are 0 on load and untouched in memory on store. */
VINLINE vf vload_part(const float *p, size_t r)
{
#if GR_LANES == 16 && defined(__AVX512F__)
    return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << r) - 1), p);
#elif GR_LANES == 8 && defined(__AVX2__)
    static const int32_t mask[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return (vf)_mm256_maskload_ps(p, _mm256_loadu_si256((const __m256i *)(mask + 8 - r)));
#else
    float t[GR_LANES] = {0};
    for (size_t i = 0; i < r; i++) t[i] = p[i];
    return vload(t);
#endif
}

VINLINE void vstore_part(float *p, vf v, size_t r)
{
#if GR_LANES == 16 && defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << r) - 1), (__m512)v);
#elif GR_LANES == 8 && defined(__AVX2__)
    static const int32_t mask[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    _mm256_maskstore_ps(p, _mm256_loadu_si256((const __m256i *)(mask + 8 - r)), (__m256)v);
#else
    for (size_t i = 0; i < r; i++) p[i] = v[i];
#endif
}

/* All bits set in the lanes below r. */
VINLINE vi vlanes_below(size_t r)
{
    static const int32_t mask[2 * GR_LANES] = {
        -1, -1, -1, -1,
#if GR_LANES >= 8
        -1, -1, -1, -1,
#endif
#if GR_LANES >= 16
        -1, -1, -1, -1, -1, -1, -1, -1,
#endif
    };
    return *(const vi_any *)(mask + GR_LANES - r);
}

/* a * b + c, in one rounding where the instruction set can. */
VINLINE vf vfma(vf a, vf b, vf c)
{
#if GR_LANES == 16 && defined(__AVX512F__)
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif GR_LANES == 8 && defined(__FMA__)
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif GR_LANES == 4 && defined(__aarch64__)
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

/* sum += a * b, in the one form of the instruction that does so in place: free to choose, GCC 12 overwrites factors and
 * moves sums about, which costs inner loops of products a tenth where a core is shared with another thread. */
VINLINE void vadd_product(vf *sum, vf a, vf b)
{
#if GR_LANES == 16 && defined(__AVX512F__)
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(b));
#elif GR_LANES == 8 && defined(__FMA__)
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(*sum) : "x"(a), "x"(b));
#else
    *sum = vfma(a, b, *sum);
#endif
}

VINLINE vf vselect(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }

/* Half-precision and bfloat numbers, at any address, as floats. */
VINLINE vf vload_half(const void *p)
{
#if GR_LANES == 16 && defined(__AVX512F__)
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256(p));
#elif GR_LANES == 8 && defined(__F16C__)
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128(p));
#elif GR_LANES == 4 && defined(__aarch64__)
    return (vf)vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
#else
    uint16_t t[GR_LANES];
    vu h;
    memcpy(t, p, sizeof t);
    for (int i = 0; i < GR_LANES; i++) h[i] = t[i];
    const vu magnitude = (h & 0x7FFF) << 13;
    /* 112 is what the exponents' offsets differ by. No subnormal float on the way: threads of a run flush them. */
    const vf tiny = (vf)(magnitude + (113u << 23)) - vset(0x1p-14f), normal = (vf)(magnitude + (112u << 23));
    const vf scaled = vselect((vi)((h & 0x7C00) == 0), tiny, normal);
    const vi special = (vi)((h & 0x7C00) == 0x7C00);
    const vf v = vselect(special, (vf)(magnitude | 0x7F800000), scaled);
    return (vf)((vu)v | (h & 0x8000) << 16);
#endif
}

VINLINE vf vload_bfloat(const void *p)
{
#if GR_LANES == 16 && defined(__AVX512F__)
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16);
#elif GR_LANES == 8 && defined(__AVX2__)
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16);
#elif GR_LANES == 4 && defined(__aarch64__)
    return (vf)vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16);
#else
    uint16_t t[GR_LANES];
    vu h;
    memcpy(t, p, sizeof t);
    for (int i = 0; i < GR_LANES; i++) h[i] = t[i];
    return (vf)(h << 16);
#endif
}

/* Rounded to bfloat16, halves to even, at any address; NaN stays NaN. */
VINLINE void vstore_bfloat(void *p, vf x)
{
#if GR_LANES == 16 && defined(__AVX512BF16__)
    _mm256_storeu_si256(p, (__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
    typedef uint16_t narrow __attribute__((vector_size(GR_LANES * 2)));
    const vu bits = (vu)x, rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16, nan = bits >> 16 | 0x40;
    const narrow y = __builtin_convertvector((vu)vselect(x == x, (vf)rounded, (vf)nan), narrow);
    memcpy(p, &y, sizeof y);
#endif
}

/* sum += a * b for the upper, then for the lower of the two bfloat16 numbers in each lane, whose products are exact. */
VINLINE void vadd_product_pairs(vf *sum, vf a, vf b)
{
#if GR_LANES == 16 && defined(__AVX512BF16__)
    *sum = (vf)_mm512_dpbf16_ps((__m512)*sum, (__m512bh)a, (__m512bh)b);
#else
    const vu upper = (vu){0} + 0xFFFF0000u;
    vadd_product(sum, (vf)((vu)a & upper), (vf)((vu)b & upper));
    vadd_product(sum, (vf)((vu)a << 16), (vf)((vu)b << 16));
#endif
}

/* Elements of x and y in turn: the first half of them in x, the rest in y. */
VINLINE void vzip(vf *x, vf *y)
{
    const vf a = *x, b = *y;
#if GR_LANES == 16
    *x = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    *y = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif GR_LANES == 8
    *x = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
    *y = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
    *x = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    *y = __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}

/* v[2 i] and v[2 i + 1] become the elements of v[i] and v[i + GR_LANES / 2] in turn. */
VINLINE void vinterleave(vf *v)
{
    vf x[GR_LANES];
    for (int i = 0; i < GR_LANES; i++) x[i] = v[i];
    for (int i = 0; i < GR_LANES / 2; i++) {
        v[2 * i] = x[i];
        v[2 * i + 1] = x[i + GR_LANES / 2];
        vzip(&v[2 * i], &v[2 * i + 1]);
    }
}

/* Element j of v[i] becomes element i of v[j]. */
VINLINE void vtranspose(vf v[GR_LANES])
{
#if GR_LANES == 8 && defined(__AVX2__) /* 24 instructions; of vinterleave's shuffles compilers make more */
    __m256 a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_ps((__m256)v[i], (__m256)v[i + 1]);
        a[i + 1] = _mm256_unpackhi_ps((__m256)v[i], (__m256)v[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            b[i + 2 * j] = _mm256_shuffle_ps(a[i + j], a[i + j + 2], 0x44);
            b[i + 2 * j + 1] = _mm256_shuffle_ps(a[i + j], a[i + j + 2], 0xEE);
        }
    for (int i = 0; i < 4; i++) {
        v[i] = (vf)_mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
        v[i + 4] = (vf)_mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
#else
    for (int n = 1; n < GR_LANES; n *= 2) vinterleave(v);
#endif
}

/* The inverse of vzip. */
VINLINE void vunzip(vf *x, vf *y)
{
    const vf a = *x, b = *y;
#if GR_LANES == 16
    *x = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    *y = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif GR_LANES == 8
    *x = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
    *y = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
    *x = __builtin_shufflevector(a, b, 0, 2, 4, 6);
    *y = __builtin_shufflevector(a, b, 1, 3, 5, 7);
#endif
}

VINLINE vf vabs(vf x) { return (vf)((vi)x & 0x7FFFFFFF); }
VINLINE vf vcopysign(vf x, vf sign) { return (vf)(((vi)x & 0x7FFFFFFF) | ((vi)sign & INT32_MIN)); }
/* Either is NaN: NaN. */
VINLINE vf vmax(vf a, vf b) { return vselect((a > b) | (a != a), a, b); }
VINLINE vf vmin(vf a, vf b) { return vselect((a < b) | (a != a), a, b); }

/* Lane i gets what is in lane i ^ w, w a power of two below GR_LANES. */
VINLINE vf vexchange(vf v, const int w)
{
#if GR_LANES == 16
    if (w == 8) return __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    if (w == 4) return __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    if (w == 2) return __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    return __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
#elif GR_LANES == 8
    if (w == 4) return __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
    if (w == 2) return __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5);
    return __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
#else
    if (w == 2) return __builtin_shufflevector(v, v, 2, 3, 0, 1);
    return __builtin_shufflevector(v, v, 1, 0, 3, 2);
#endif
}

VINLINE float vsum(vf v)
{
#pragma GCC unroll 4
    for (int w = GR_LANES / 2; w; w /= 2) v += vexchange(v, w);
    return v[0];
}

/* The greater one, and the lesser one, in one instruction; b if either is NaN. */
VINLINE vf vgreater(vf a, vf b)
{
#if GR_LANES == 16 && defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif GR_LANES == 8 && defined(__AVX2__)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (vf)_mm_max_ps((__m128)a, (__m128)b);
#else
    return vselect(a > b, a, b);
#endif
}
VINLINE vf vlesser(vf a, vf b)
{
#if GR_LANES == 16 && defined(__AVX512F__)
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif GR_LANES == 8 && defined(__AVX2__)
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (vf)_mm_min_ps((__m128)a, (__m128)b);
#else
    return vselect(a < b, a, b);
#endif
}

/* The bound if x is beyond it; NaN stays NaN. */
VINLINE vf vat_most(vf x, float bound) { return vlesser(vset(bound), x); }
VINLINE vf vat_least(vf x, float bound) { return vgreater(vset(bound), x); }

/* If none is NaN. */
VINLINE float vgreatest(vf v)
{
#pragma GCC unroll 4
    for (int w = GR_LANES / 2; w; w /= 2) v = vgreater(v, vexchange(v, w));
    return v[0];
}

/* c[0] + c[1] x + ... by Horner's rule. */
VINLINE vf vpoly(vf x, int n, const float *c)
{
    vf p = vset(c[n - 1]);
    for (int i = n - 2; i >= 0; i--) p = vfma(p, x, vset(c[i]));
    return p;
}
#define VPOLY(x, ...) vpoly((x), (int)(sizeof((float[]){__VA_ARGS__}) / sizeof(float)), (const float[]){__VA_ARGS__})

/* exp(x) = 2^n exp(r), n the integer nearest to x / ln 2. Gives exp(r), |r| <= ln 2 / 2, and n, for |x| < 2^21. */
VINLINE vf vexp_reduced(vf x, vi *n)
{
    const vf magic = vset(0x1.8p23f); /* adding it rounds to an integer that stands in the low bits */
    vf t = vfma(x, vset(0x1.715476p0f), magic);
    *n = (vi)t - (vi)magic;
    t -= magic;
    vf r = vfma(t, vset(-0x1.63p-1f), x); /* ln 2 in two pieces, the first of so few bits that t times it is exact */
    r = vfma(t, vset(0x1.bd0106p-13f), r);
    vf p = VPOLY(r, 0.49999994f, 0.166665211f, 0.041668389f, 0.00836874451f, 0.00138145394f);
    return vfma(r * r, p, r) + 1.0f;
}

/* 2 ulp over all of the range, infinity and subnormals included. */
VINLINE vf vexp(vf x)
{
    vi n;
    vf p = vexp_reduced(vat_least(vat_most(x, 89.0f), -105.0f), &n);
    vi half = n >> 1; /* twice half of the exponent: 2^n alone may not be a float */
    return p * (vf)((half + 127) << 23) * (vf)((n - half + 127) << 23);
}

/* exp(x) for x <= 0; 0 where the result would be below the least normal number. */
VINLINE vf vexp_negative(vf x)
{
    vi n;
    vf p = vexp_reduced(vat_least(x, -88.0f), &n);
    vf y = (vf)((vi)p + (n << 23));
    y = vselect(x < vset(-87.0f), vset(0), y);
    return vselect(x != x, x, y);
}

/* 2 ulp. log 0 = -inf, log of a negative number is NaN. */
VINLINE vf vlog(vf x)
{
    vi tiny = x < vset(0x1p-126f);
    vf y = vselect(tiny, x * 0x1p25f, x);
    vi bits = (vi)((vu)y - 0x3F3504F3u); /* bits of sqrt 1/2: the mantissa comes to lie in [sqrt 1/2, sqrt 2) */
    vi e = bits >> 23;
    vf f = (vf)((bits & 0x7FFFFF) + 0x3F3504F3) - 1.0f;
    vf n = __builtin_convertvector(e - (tiny & 25), vf);
    vf p =
        VPOLY(f, 0.333340406f, -0.250007719f, 0.19957082f, -0.165947184f, 0.150029555f, -0.141471788f, 0.0826197714f);
    vf s = f * f;
    vf low = vfma(n, vset(-0x1.bd0106p-13f), s * f * p);
    low = vfma(s, vset(-0.5f), low);
    vf r = vfma(n, vset(0x1.63p-1f), f + low);
    r = vselect((x > vset(0)) & (x < vset(__builtin_inff())), r, x); /* infinity and NaN give themselves */
    r = vselect(x == vset(0), vset(-__builtin_inff()), r);
    return vselect(x < vset(0), vset(__builtin_nanf("")), r);
}

/* 3 ulp: below 0.625 an odd polynomial, else 1 - 2 / (exp 2|x| + 1). */
VINLINE vf vtanh(vf x)
{
    vf t = vabs(x), s = x * x;
    vf p = VPOLY(s, -0.333333313f, 0.133330554f, -0.0538829342f, 0.0211081002f, -0.00621563615f);
    vi n;
    vf e = vexp_reduced(vat_most(t, 10.0f) * 2.0f, &n);
    e = (vf)((vi)e + (n << 23));
    vf big = vcopysign(1.0f - 2.0f / (e + 1.0f), x);
    vf r = vselect(t < vset(0.625f), vfma(x * s, p, x), big);
    return vselect(x != x, x, r);
}

/* Absolute error 1.2e-7: below 1 an odd polynomial, else 1 - erfc, the logarithm of erfc being a polynomial. */
VINLINE vf verf(vf x)
{
    vf t = vat_most(vabs(x), 4.0f), s = x * x;
    vf small = x * VPOLY(s, 1.12837911f, -0.37612325f, 0.112801805f, -0.0267113131f, 0.00491755363f, -0.000563143112f);
    vf l = VPOLY(t, -0.000227064578f, -1.12784231f, -0.636239231f, -0.105589285f, 0.0236651953f, -0.00371432933f,
                 0.000357215351f, -1.56624519e-05f);
    vf r = vselect(t < vset(1.0f), small, vcopysign(1.0f - vexp_negative(l), x));
    return vselect(x != x, x, r);
}

/* 2^x = p 2^n, n the integer nearest to x. Gives p, relative error 2e-7, and 2^n; for n from -127, where that is 0, to
 * 127. */
VINLINE vf vexp2_reduced(vf x, vf *power)
{
    const vf magic = vset(0x1.8p23f + 127); /* adding it leaves the exponent of the nearest power in the low bits */
    const vf t = x + magic, f = x - (t - magic);
    *power = (vf)((vi)t << 23);
    return VPOLY(f, 1.0f, 0.6931470036506653f, 0.24022242426872253f, 0.05550733581185341f, 0.009671512991189957f,
                 0.001326472731307149f);
}

/* x Phi(x) = max(x, 0) - |x| Phi(-|x|); log2 Phi(-t) is a polynomial, which falls to -127 where t is kept from growing.
 * Absolute error 5e-8 + half an ulp. */
VINLINE vf vgelu_erf(vf x)
{
    const vf t = vgreater(-vset(10.3892002f), -vabs(x));
    const vf l = VPOLY(t, -1.0f, 1.15111101f, -0.459162146f, 0.0526276119f, 0.00724542094f, 0.000272075675f,
                       -0.000131473236f, -2.80569428e-05f, -1.90206584e-06f);
    vf power;
    const vf p = t * vexp2_reduced(l, &power); /* times t first: no subnormal number, which only some threads flush */
    return vfma(p, power, vgreater(vset(0), x));
}

VINLINE vf vsigmoid(vf x)
{
    vf e = vexp(-vabs(x)); /* never infinite, so that small results stay exact to the last */
    return vselect(x < vset(0), e, vset(1)) / (1.0f + e);
}
VINLINE vf vsilu(vf x) { return x / (1.0f + vexp(-x)); }
VINLINE vf vquick_gelu(vf x) { return x / (1.0f + vexp(-1.702f * x)); }
/* x (1 + tanh u) / 2 = x / (1 + exp -2u), u = sqrt(2/pi) (x + 0.044715 x^3). */
VINLINE vf vgelu_tanh(vf x)
{
    vf u = vfma(x * x, vset(0.0356774081f), vset(0.797884561f));
    return x / (1.0f + vexp(-2.0f * x * u));
}
VINLINE vf vrelu(vf x) { return vat_least(x, 0); }

VINLINE vf vsqrt(vf x)
{
#if GR_LANES == 16 && defined(__AVX512F__)
    return (vf)_mm512_sqrt_ps((__m512)x);
#elif GR_LANES == 8 && defined(__AVX2__)
    return (vf)_mm256_sqrt_ps((__m256)x);
#else
    vf r = x;
    for (int i = 0; i < GR_LANES; i++) r[i] = __builtin_sqrtf(x[i]);
    return r;
#endif
}

#endif
