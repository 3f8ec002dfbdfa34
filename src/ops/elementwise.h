/* SPDX-License-Identifier: Apache-2.0
 *
 * What the element-wise families (binary.c, compare.c, unary.c, activation.c) share: row functions per class of types,
 * the span loops that convert to and from that class, and the broadcasting of ONNX 1 and 6, where attributes
 * `broadcast` and `axis` say where the second operand's dimensions stand in the first's.
 */
#ifndef GR_ELEMENTWISE_H
#define GR_ELEMENTWISE_H

#include "loops.h"

/* The first n inputs are given and have types in the mask. */
static inline gr_status gr_need(const gr_infer *c, uint32_t n, uint64_t mask, gr_err *err)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
        GR_TRY(gr_require(c, i, mask, err));
        if (c->in[i]->rank > GR_MAX_RANK)
            return gr_fail(err, GR_EUNSUPPORTED, "input %u has rank %d, at most %d is supported", i, c->in[i]->rank,
                           GR_MAX_RANK);
    }
    return GR_OK;
}

/* ---- Broadcasting before ONNX 7: params of such rows; later rows have none (NULL). ---- */
typedef struct gr_legacy {
    bool broadcast, has_axis;
    int64_t axis;
} gr_legacy;

static inline gr_status gr_legacy_parse(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    gr_legacy *p = GR_NEW(arena, gr_legacy);
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_bool(attrs, "broadcast", false, &p->broadcast, err));
    GR_TRY(gr_attr_int(attrs, "axis", 0, &p->axis, err));
    p->has_axis = gr_attr_find(attrs, "axis") != NULL;
    *params = p;
    return GR_OK;
}

/* First axis of A that B's dims stand at; fails if they do not fit into A's rank. */
static inline gr_status gr_legacy_axis(const gr_legacy *p, int a_rank, int b_rank, int *axis, gr_err *err)
{
    if (b_rank > a_rank)
        return gr_fail(err, GR_EMODEL, "input 1 of rank %d does not broadcast to input 0 of rank %d", b_rank, a_rank);
    *axis = a_rank - b_rank;
    if (!p->has_axis || p->axis == *axis) return GR_OK;
    if (b_rank) GR_TRY(gr_axis(p->axis, a_rank, axis, err));
    if (*axis + b_rank > a_rank)
        return gr_fail(err, GR_EMODEL, "axis %d leaves no room for the %d dimensions of input 1", *axis, b_rank);
    return GR_OK;
}

static inline gr_status gr_legacy_infer(const gr_infer *c, gr_dtype dtype, gr_err *err)
{
    const gr_legacy *p = (const gr_legacy *)c->params;
    if (!gr_rank_known(c, 0) || !gr_rank_known(c, 1)) return gr_set_like_as(c, 0, 0, dtype);
    const gr_type *a = c->in[0], *b = c->in[1];
    int axis = 0;
    if (!p->broadcast && a->rank != b->rank)
        return gr_fail(err, GR_EMODEL, "shapes of rank %d and %d differ, and attribute 'broadcast' is not set", a->rank,
                       b->rank);
    GR_TRY(gr_legacy_axis(p, a->rank, b->rank, &axis, err));
    for (int i = 0; i < b->rank; i++) {
        gr_dim x = a->dims[axis + i], y = b->dims[i];
        if (gr_dim_known(x) && gr_dim_known(y) && x.k != y.k && !(p->broadcast && y.k == 1))
            return gr_fail(err, GR_EMODEL, "dimensions %lld and %lld of axis %d do not broadcast", (long long)x.k,
                           (long long)y.k, axis + i);
    }
    return gr_set_like_as(c, 0, 0, dtype);
}

/* Input 1 as a tensor whose dims align with the output's from the right. */
static inline gr_tensor gr_legacy_view(const gr_legacy *p, const gr_tensor *a, const gr_tensor *b)
{
    gr_tensor t = *b;
    int axis;
    if (!p || !p->broadcast || gr_legacy_axis(p, a->rank, b->rank, &axis, NULL) != GR_OK) return t;
    for (; axis + t.rank < a->rank; t.rank++) t.dims[t.rank] = 1;
    return t;
}

/* Two inputs of one type in the mask; the output has that type, or `dtype` if that is not GR_UNDEFINED. */
static inline gr_status gr_infer_binary(const gr_infer *c, uint64_t mask, gr_dtype dtype, gr_err *err)
{
    GR_TRY(gr_need(c, 2, mask, err));
    GR_TRY(gr_require_same(c, 0, 1, err));
    if (dtype == GR_UNDEFINED) dtype = c->in[0]->dtype ? c->in[0]->dtype : c->in[1]->dtype;
    return c->params ? gr_legacy_infer(c, dtype, err) : gr_set_broadcast(c, 0, 0, 1, dtype, err);
}

/* ---- Two inputs ---- */
typedef struct gr_rows2 {
    void (*f32)(int64_t n, const float *a, const float *b, float *y);
    void (*f64)(int64_t n, const double *a, const double *b, double *y);
    void (*i64)(int64_t n, const int64_t *a, const int64_t *b, int64_t *y);
    void (*u64)(int64_t n, const uint64_t *a, const uint64_t *b, uint64_t *y);
} gr_rows2;

#define GR_ROW2(name, C, ...)                                                                                          \
    static void name(int64_t n, const C *a, const C *b, C *y)                                                          \
    {                                                                                                                  \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            C x = a[i], z = b[i];                                                                                      \
            y[i] = __VA_ARGS__;                                                                                        \
        }                                                                                                              \
    }

/* ---- One input; p are the attributes, as floats ---- */
typedef struct gr_rows1 {
    void (*f32)(int64_t n, const float *x, float *y, const float *p);
    void (*f64)(int64_t n, const double *x, double *y, const float *p);
    void (*i64)(int64_t n, const int64_t *x, int64_t *y, const float *p);
    void (*u64)(int64_t n, const uint64_t *x, uint64_t *y, const float *p);
} gr_rows1;

#define GR_ROW1(name, C, ...)                                                                                          \
    static void name(int64_t n, const C *in, C *y, const float *p)                                                     \
    {                                                                                                                  \
        (void)p;                                                                                                       \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            C x = in[i];                                                                                               \
            y[i] = __VA_ARGS__;                                                                                        \
        }                                                                                                              \
    }

typedef struct gr_unary_job {
    const gr_rows1 *rows;
    gr_dtype dtype;
    const void *x;
    void *y;
    const float *p;
} gr_unary_job;

#define GR_UNARY_SPANS(C, suffix)                                                                                      \
    for (int64_t i = 0; i < n; i += GR_SPAN) {                                                                         \
        C x[GR_SPAN], y[GR_SPAN];                                                                                      \
        int64_t m = n - i < GR_SPAN ? n - i : GR_SPAN;                                                                 \
        gr_load_##suffix(j->dtype, m, j->x, at + i, 1, x);                                                             \
        j->rows->suffix(m, x, y, j->p);                                                                                \
        gr_store_##suffix(j->dtype, m, y, j->y, at + i);                                                               \
    }

static inline void gr_unary_span(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)
{
    const gr_unary_job *j = (const gr_unary_job *)user;
    (void)l, (void)off;
    switch (gr_class_of(j->dtype)) {
    case GR_CLASS_F32: GR_UNARY_SPANS(float, f32) break;
    case GR_CLASS_F64: GR_UNARY_SPANS(double, f64) break;
    case GR_CLASS_I64: GR_UNARY_SPANS(int64_t, i64) break;
    case GR_CLASS_U64: GR_UNARY_SPANS(uint64_t, u64) break;
    }
}

enum { GR_UNARY_COST = 8 }; /* of a function like exp, in additions */

static inline gr_status gr_unary_run(const gr_step *s, const gr_rows1 *rows, const float *p)
{
    gr_unary_job j = {rows, s->in[0]->dtype, s->in[0]->data, s->out[0]->data, p};
    gr_loop l = {.rank = 1, .total = s->in[0]->elements, .dims = {s->in[0]->elements}};
    gr_loop_run(&l, GR_UNARY_COST, gr_unary_span, &j);
    return GR_OK;
}

/* ---- float32 with a vector function of gr_simd ---- */
typedef void (*gr_simd_row)(size_t n, const float *x, float *y);
typedef struct gr_simd_job {
    gr_simd_row row;
    const float *x;
    float *y;
} gr_simd_job;

static inline void gr_simd_span(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)
{
    const gr_simd_job *j = (const gr_simd_job *)user;
    (void)l, (void)off;
    j->row((size_t)n, j->x + at, j->y + at);
}

static inline gr_status gr_simd_unary_run(const gr_step *s, gr_simd_row row, int64_t cost)
{
    gr_simd_job j = {row, (const float *)s->in[0]->data, (float *)s->out[0]->data};
    gr_loop l = {.rank = 1, .total = s->in[0]->elements, .dims = {s->in[0]->elements}};
    gr_loop_run(&l, cost, gr_simd_span, &j);
    return GR_OK;
}

static inline bool gr_float_only(gr_step *s, gr_why *why)
{
    if (s->in[0]->dtype != GR_FLOAT) return gr_decline(why, "elements of type %s", gr_dtype_name(s->in[0]->dtype));
    return true;
}

#endif
