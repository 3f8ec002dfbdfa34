/* SPDX-License-Identifier: Apache-2.0
 *
 * Typed loops that operator families share. Two ways to be generic over element types without writing a loop twice:
 * GR_DISPATCH_* runs a block once per type with T as the stored type and GR_GET/GR_PUT to read and write it; and the
 * gr_load/gr_store functions convert spans to the class a type is computed in (half precision in float, every integer
 * in 64 bits, where arithmetic wraps to the stored width). gr_loop walks tensors that broadcast to one shape as few,
 * long, contiguous spans.
 */
#ifndef GR_LOOPS_H
#define GR_LOOPS_H

#include "exec/threads.h"
#include "op.h"

#include <math.h>
#include <omp.h>

typedef struct gr_half {
    uint16_t bits;
} gr_half;
typedef struct gr_bfloat {
    uint16_t bits;
} gr_bfloat;

/* ---- A block per type ----
 * GR_DISPATCH_NUMBERS(dtype, T, { T *y = out->data; GR_PUT(&y[0], GR_GET(y[0]) + 1); })
 * Types outside of the set do nothing. The value of GR_GET has the type it is computed in: float for gr_half and
 * gr_bfloat, else T. GR_COMPUTE(T) names that type. */
#define GR_CASE(name, type, T, ...)                                                                                    \
    case GR_##name: {                                                                                                  \
        typedef type T;                                                                                                \
        __VA_ARGS__                                                                                                    \
    } break;
#define GR_CASES_HALVES(T, ...) GR_CASE(FLOAT16, gr_half, T, __VA_ARGS__) GR_CASE(BFLOAT16, gr_bfloat, T, __VA_ARGS__)
#define GR_CASES_FLOATS(T, ...)                                                                                        \
    GR_CASE(FLOAT, float, T, __VA_ARGS__) GR_CASE(DOUBLE, double, T, __VA_ARGS__) GR_CASES_HALVES(T, __VA_ARGS__)
#define GR_CASES_INTS(T, ...)                                                                                          \
    GR_CASE(INT8, int8_t, T, __VA_ARGS__)                                                                              \
    GR_CASE(INT16, int16_t, T, __VA_ARGS__)                                                                            \
    GR_CASE(INT32, int32_t, T, __VA_ARGS__)                                                                            \
    GR_CASE(INT64, int64_t, T, __VA_ARGS__)                                                                            \
    GR_CASE(UINT8, uint8_t, T, __VA_ARGS__)                                                                            \
    GR_CASE(UINT16, uint16_t, T, __VA_ARGS__)                                                                          \
    GR_CASE(UINT32, uint32_t, T, __VA_ARGS__)                                                                          \
    GR_CASE(UINT64, uint64_t, T, __VA_ARGS__)
#define GR_SWITCH(dtype, ...)                                                                                          \
    switch ((int)(dtype)) {                                                                                            \
        __VA_ARGS__                                                                                                    \
    default: break;                                                                                                    \
    }
#define GR_DISPATCH_FLOATS(dtype, T, ...) GR_SWITCH(dtype, GR_CASES_FLOATS(T, __VA_ARGS__))
#define GR_DISPATCH_INTS(dtype, T, ...)   GR_SWITCH(dtype, GR_CASES_INTS(T, __VA_ARGS__))
#define GR_DISPATCH_NUMBERS(dtype, T, ...)                                                                             \
    GR_SWITCH(dtype, GR_CASES_FLOATS(T, __VA_ARGS__) GR_CASES_INTS(T, __VA_ARGS__))

/* clang-format off */
#define GR_SCALARS(X)                                                                                                  \
    X(float, f32) X(double, f64) X(int8_t, i8) X(int16_t, i16) X(int32_t, i32) X(int64_t, i64)                         \
    X(uint8_t, u8) X(uint16_t, u16) X(uint32_t, u32) X(uint64_t, u64)
/* clang-format on */
#define GR_ACCESS(T, suffix)                                                                                           \
    static inline T gr_get_##suffix(T x) { return x; }                                                                 \
    static inline void gr_put_##suffix(T *p, T x) { *p = x; }
GR_SCALARS(GR_ACCESS)
#undef GR_ACCESS
static inline float gr_get_f16(gr_half x) { return gr_half_to_float(x.bits); }
static inline void gr_put_f16(gr_half *p, float x) { p->bits = gr_float_to_half(x); }
static inline float gr_get_bf16(gr_bfloat x) { return gr_bfloat_to_float(x.bits); }
static inline void gr_put_bf16(gr_bfloat *p, float x) { p->bits = gr_float_to_bfloat(x); }
/* clang-format off */
#define GR_ACCESSOR(x, kind)                                                                                           \
    _Generic((x), float: gr_##kind##_f32, double: gr_##kind##_f64, gr_half: gr_##kind##_f16,                           \
             gr_bfloat: gr_##kind##_bf16, int8_t: gr_##kind##_i8, int16_t: gr_##kind##_i16, int32_t: gr_##kind##_i32,  \
             int64_t: gr_##kind##_i64, uint8_t: gr_##kind##_u8, uint16_t: gr_##kind##_u16, uint32_t: gr_##kind##_u32,  \
             uint64_t: gr_##kind##_u64)
/* clang-format on */
#define GR_GET(x)     (GR_ACCESSOR(x, get)(x))
#define GR_PUT(p, x)  (GR_ACCESSOR(*(p), put)((p), (x)))
#define GR_COMPUTE(T) __typeof__(GR_GET(*(T *)0))

/* ---- Spans in the class of a type ---- */
typedef enum gr_class { GR_CLASS_F32, GR_CLASS_F64, GR_CLASS_I64, GR_CLASS_U64 } gr_class;
static inline gr_class gr_class_of(gr_dtype t)
{
    if (t == GR_DOUBLE) return GR_CLASS_F64;
    if (gr_dtype_is_float(t)) return GR_CLASS_F32;
    return gr_dtype_is_signed(t) ? GR_CLASS_I64 : GR_CLASS_U64;
}
#define GR_SPAN 512 /* elements converted at a time, in buffers on the stack */

/* dst[i] = src[first + i * stride] for a span; bool reads as 0 or 1. Floats are not read into integer classes. */
#define GR_LOAD_LOOP(T, value)                                                                                         \
    {                                                                                                                  \
        const T *x = (const T *)src + first;                                                                           \
        for (int64_t i = 0; i < n; i++) dst[i] = value;                                                                \
        break;                                                                                                         \
    }
#define GR_LOAD_FUNCTION(suffix, C, CASES)                                                                             \
    static inline void gr_load_##suffix(gr_dtype t, int64_t n, const void *src, int64_t first, int64_t stride, C *dst) \
    {                                                                                                                  \
        GR_SWITCH(t, CASES(T, GR_LOAD_LOOP(T, (C)GR_GET(x[i * stride]))) case GR_BOOL                                  \
                  : GR_LOAD_LOOP(uint8_t, (C)(x[i * stride] != 0)))                                                    \
    }
#define GR_CASES_NUMBERS(T, ...) GR_CASES_FLOATS(T, __VA_ARGS__) GR_CASES_INTS(T, __VA_ARGS__)
GR_LOAD_FUNCTION(f32, float, GR_CASES_NUMBERS)
GR_LOAD_FUNCTION(f64, double, GR_CASES_NUMBERS)
GR_LOAD_FUNCTION(i64, int64_t, GR_CASES_INTS)
GR_LOAD_FUNCTION(u64, uint64_t, GR_CASES_INTS)

/* dst[first + i] = src[i]; integers keep their low bits. Integer classes store into integers and bool only, float
 * classes into floats only. */
#define GR_STORE_FUNCTION(suffix, C, ...)                                                                              \
    static inline void gr_store_##suffix(gr_dtype t, int64_t n, const C *src, void *dst, int64_t first)                \
    {                                                                                                                  \
        GR_SWITCH(t, __VA_ARGS__)                                                                                      \
    }
#define GR_STORE_LOOP                                                                                                  \
    T *y = (T *)dst + first;                                                                                           \
    for (int64_t i = 0; i < n; i++) GR_PUT(&y[i], (GR_COMPUTE(T))src[i]);
#define GR_CASE_BOOL(C)                                                                                                \
    case GR_BOOL:                                                                                                      \
        for (int64_t i = 0; i < n; i++) ((uint8_t *)dst)[first + i] = src[i] != 0;                                     \
        break;
GR_STORE_FUNCTION(f32, float, GR_CASES_FLOATS(T, GR_STORE_LOOP))
GR_STORE_FUNCTION(f64, double, GR_CASES_FLOATS(T, GR_STORE_LOOP))
GR_STORE_FUNCTION(i64, int64_t, GR_CASES_INTS(T, GR_STORE_LOOP) GR_CASE_BOOL(int64_t))
GR_STORE_FUNCTION(u64, uint64_t, GR_CASES_INTS(T, GR_STORE_LOOP) GR_CASE_BOOL(uint64_t))

/* ---- Broadcasting as spans ---- */

#define GR_PARALLEL_MIN 32768 /* elements below which a team costs more than it gains */
#define GR_LOOP_INPUTS  3

/* Dims of the output with neighbours merged where every input allows it. The innermost stride of an input is 0 or 1. */
typedef struct gr_loop {
    int rank, nin;
    int64_t total;
    int64_t dims[GR_MAX_RANK];
    int64_t stride[GR_LOOP_INPUTS][GR_MAX_RANK];
} gr_loop;

static inline gr_loop gr_loop_make(int nin, const gr_tensor *const *in, int rank, const int64_t *dims)
{
    gr_loop l = {.nin = nin, .total = 1};
    int64_t strides[GR_LOOP_INPUTS][GR_MAX_RANK];
    for (int k = 0; k < nin; k++) gr_broadcast_strides(in[k], rank, dims, strides[k]);
    for (int d = 0; d < rank; d++) {
        l.total *= dims[d];
        if (dims[d] == 1) continue;
        bool merge = l.rank > 0;
        for (int k = 0; k < nin && merge; k++) merge = l.stride[k][l.rank - 1] == strides[k][d] * dims[d];
        int at = merge ? l.rank - 1 : l.rank++;
        l.dims[at] = merge ? l.dims[at] * dims[d] : dims[d];
        for (int k = 0; k < nin; k++) l.stride[k][at] = strides[k][d];
    }
    if (!l.rank) { /* one element */
        l.rank = 1;
        l.dims[0] = 1;
    }
    return l;
}

static inline int64_t gr_loop_step(const gr_loop *l, int input) { return l->stride[input][l->rank - 1]; }

/* Work on n output elements from `at` on; input k starts at element off[k] and advances by gr_loop_step(l, k). */
typedef void (*gr_loop_fn)(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off);

static inline void gr_loop_range(const gr_loop *l, int64_t begin, int64_t end, gr_loop_fn fn, void *user)
{
    int last = l->rank - 1;
    int64_t index[GR_MAX_RANK], off[GR_LOOP_INPUTS] = {0};
    int64_t rest = begin;
    for (int d = last; d >= 0; d--) {
        index[d] = rest % l->dims[d];
        rest /= l->dims[d];
        for (int k = 0; k < l->nin; k++) off[k] += index[d] * l->stride[k][d];
    }
    while (begin < end) {
        int64_t n = l->dims[last] - index[last];
        if (n > end - begin) n = end - begin;
        fn(user, l, begin, n, off);
        begin += n;
        index[last] += n;
        for (int k = 0; k < l->nin; k++) off[k] += n * l->stride[k][last];
        for (int d = last; d > 0 && index[d] == l->dims[d]; d--) {
            for (int k = 0; k < l->nin; k++) off[k] += l->stride[k][d - 1] - l->dims[d] * l->stride[k][d];
            index[d] = 0;
            index[d - 1]++;
        }
    }
}

typedef struct gr_loop_job {
    const gr_loop *l;
    gr_loop_fn fn;
    void *user;
} gr_loop_job;

static inline void gr_loop_stretch(void *user, int64_t first, int64_t end, int thread)
{
    const gr_loop_job *j = user;
    (void)thread;
    gr_loop_range(j->l, first, end, j->fn, j->user);
}

/* Calls fn on spans that cover the output, in parallel if the work (elements times their cost in additions) is worth
 * it. */
static inline void gr_loop_run(const gr_loop *l, int64_t cost, gr_loop_fn fn, void *user)
{
    gr_loop_job j = {l, fn, user};
    gr_parallel_rows(l->total, l->total >= GR_PARALLEL_MIN / cost ? gr_team_size() : 1, gr_loop_stretch, &j);
}

#endif
