/* SPDX-License-Identifier: Apache-2.0
 *
 * Where: each element from one of two tensors as a bool tensor says, all three broadcast together. Clip: elements
 * limited to an interval that attributes (ONNX 1, 6) or scalar inputs (11 and later) give.
 */
#include "elementwise.h"

#include <float.h>

/* ---- Where ---- */
typedef struct where_job {
    size_t size; /* of an element */
    const void *cond, *x, *y;
    void *out;
} where_job;

typedef struct wide {
    uint64_t half[2];
} wide;

/* out = cond ? x : y. Each combination of strides has its own loop, which GCC vectorises if told that out, which may be
 * x or y, never lies across them; clang would warn wherever it does not manage to. */
#if defined(__clang__)
#define VECTOR
#else
#define VECTOR _Pragma("GCC ivdep")
#endif
#define SCALAR
#define SELECT(T, how, sc, sx, sy)                                                                                     \
    how for (int64_t i = 0; i < n; i++)                                                                                \
    {                                                                                                                  \
        T yes = x[i * (sx)], no = y[i * (sy)];                                                                         \
        out[i] = cond[i * (sc)] ? yes : no;                                                                            \
    }
#define SELECT_SPAN(T, how)                                                                                            \
    static void where_span_##T(const where_job *j, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)        \
    {                                                                                                                  \
        const uint8_t *cond = (const uint8_t *)j->cond + off[0];                                                       \
        const T *x = (const T *)j->x + off[1], *y = (const T *)j->y + off[2];                                          \
        T *out = (T *)j->out + at;                                                                                     \
        int64_t sc = gr_loop_step(l, 0), sx = gr_loop_step(l, 1), sy = gr_loop_step(l, 2);                             \
        if (sc && sx && sy)                                                                                            \
            SELECT(T, how, 1, 1, 1)                                                                                    \
        else if (sc && sx)                                                                                             \
            SELECT(T, how, 1, 1, 0)                                                                                    \
        else if (sc && sy)                                                                                             \
            SELECT(T, how, 1, 0, 1)                                                                                    \
        else if (sc)                                                                                                   \
            SELECT(T, how, 1, 0, 0)                                                                                    \
        else                                                                                                           \
            SELECT(T, SCALAR, 0, sx, sy)                                                                               \
    }
/* clang-format off */
SELECT_SPAN(uint8_t, VECTOR)
SELECT_SPAN(uint16_t, VECTOR)
SELECT_SPAN(uint32_t, VECTOR)
SELECT_SPAN(uint64_t, VECTOR)
SELECT_SPAN(wide, SCALAR)
/* clang-format on */

static void where_span(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)
{
    const where_job *j = user;
    switch (j->size) {
    case 1: where_span_uint8_t(j, l, at, n, off); break;
    case 2: where_span_uint16_t(j, l, at, n, off); break;
    case 4: where_span_uint32_t(j, l, at, n, off); break;
    case 8: where_span_uint64_t(j, l, at, n, off); break;
    case 16: where_span_wide(j, l, at, n, off); break;
    }
}

static gr_status where_ref(const gr_step *s, gr_err *err)
{
    (void)err;
    where_job j = {(size_t)gr_dtype_bits(s->out[0]->dtype) / 8, s->in[0]->data, s->in[1]->data, s->in[2]->data,
                   s->out[0]->data};
    gr_loop l = gr_loop_make(3, (const gr_tensor *const *)s->in, s->out[0]->rank, s->out[0]->dims);
    gr_loop_run(&l, 1, where_span, &j);
    return GR_OK;
}
static const gr_kernel where_kernels[] = {{"ref", NULL, where_ref, NULL}, {0}};

static gr_status infer_where(const gr_infer *c, gr_err *err)
{
    uint64_t mask = GR_T_ALL | GR_T(COMPLEX64) | GR_T(COMPLEX128);
    GR_TRY(gr_need(c, 3, mask, err));
    GR_TRY(gr_require(c, 0, GR_T(BOOL), err));
    GR_TRY(gr_require_same(c, 1, 2, err));
    return gr_set_broadcast(c, 0, 0, 2, c->in[1]->dtype ? c->in[1]->dtype : c->in[2]->dtype, err);
}

static gr_dim sym_where(gr_syms *s, const gr_dim *a, int n, const void *params)
{
    (void)n, (void)params;
    return gr_sym_select(s, a[0], a[1], a[2]);
}

/* ---- Clip ---- */
struct bounds { /* ONNX 1 and 6 */
    float min, max;
};

typedef struct clip_job {
    gr_dtype dtype;
    const void *x;
    void *y;
    const void *min, *max; /* one element each; NULL: unbounded */
} clip_job;

/* min(max, max(min, x)): where the bounds are crossed, `max` wins; NaN in any of the three gives NaN. */
static void clip_span(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)
{
    const clip_job *j = user;
    (void)l, (void)off;
    GR_DISPATCH_NUMBERS(j->dtype, T, {
        const T *x = j->x;
        T *y = j->y;
        GR_COMPUTE(T) low = 0, high = 0;
        bool has_low = j->min != NULL, has_high = j->max != NULL;
        if (has_low) low = GR_GET(*(const T *)j->min);
        if (has_high) high = GR_GET(*(const T *)j->max);
        for (int64_t i = at; i < at + n; i++) {
            GR_COMPUTE(T) v = GR_GET(x[i]);
            if (has_low && (v < low || low != low)) v = low;
            if (has_high && (v > high || high != high)) v = high;
            GR_PUT(&y[i], v);
        }
    })
}

static gr_status run_clip(const gr_step *s, const void *min, const void *max)
{
    clip_job j = {s->in[0]->dtype, s->in[0]->data, s->out[0]->data, min, max};
    gr_loop l = {.rank = 1, .total = s->in[0]->elements, .dims = {s->in[0]->elements}};
    gr_loop_run(&l, 1, clip_span, &j);
    return GR_OK;
}

static gr_status clip_ref(const gr_step *s, gr_err *err)
{
    (void)err;
    const gr_tensor *min = s->nin > 1 ? s->in[1] : NULL, *max = s->nin > 2 ? s->in[2] : NULL;
    return run_clip(s, min ? min->data : NULL, max ? max->data : NULL);
}
static const gr_kernel clip_kernels[] = {{"ref", NULL, clip_ref, NULL}, {0}};

static gr_status clip_attr_ref(const gr_step *s, gr_err *err)
{
    (void)err;
    const struct bounds *b = s->params;
    _Alignas(8) unsigned char min[8], max[8]; /* the bounds in the element type */
    gr_store_f32(s->in[0]->dtype, 1, &b->min, min, 0);
    gr_store_f32(s->in[0]->dtype, 1, &b->max, max, 0);
    return run_clip(s, min, max);
}
static const gr_kernel clip_attr_kernels[] = {{"ref", NULL, clip_attr_ref, NULL}, {0}};

static gr_status parse_bounds(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    struct bounds *p = GR_NEW(arena, struct bounds);
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_float(attrs, "min", -FLT_MAX, &p->min, err));
    GR_TRY(gr_attr_float(attrs, "max", FLT_MAX, &p->max, err));
    *params = p;
    return GR_OK;
}

static gr_status infer_clip_attr(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_need(c, 1, GR_T_FLOATS, err));
    return gr_set_like(c, 0, 0);
}

static gr_status infer_clip(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_need(c, 1, GR_T_NUMBERS, err));
    for (uint32_t i = 1; i < c->nin; i++) {
        GR_TRY(gr_require(c, i, GR_T_NUMBERS, err));
        GR_TRY(gr_require_same(c, 0, i, err));
        if (!gr_rank_known(c, i)) continue;
        const gr_type *t = c->in[i];
        if (t->rank > 1 || (t->rank == 1 && gr_dim_known(t->dims[0]) && t->dims[0].k != 1))
            return gr_fail(err, GR_EMODEL, "input %u must be a single number", i);
    }
    return gr_set_like(c, 0, 0);
}

/* clang-format off */
#define WHERE(since_)                                                                                                  \
    {.name = "Where", .since = since_, .in = {3, 3}, .out = 1, .flags = GR_OP_INPLACE, .infer = infer_where,           \
     .symbolic = sym_where, .kernels = where_kernels}
#define CLIP_ATTR(since_)                                                                                              \
    {.name = "Clip", .since = since_, .in = {1, 1}, .out = 1, .flags = GR_OP_INPLACE, .parse = parse_bounds,           \
     .infer = infer_clip_attr, .kernels = clip_attr_kernels}
#define CLIP(since_)                                                                                                   \
    {.name = "Clip", .since = since_, .in = {1, 3}, .out = 1, .flags = GR_OP_INPLACE, .infer = infer_clip,             \
     .kernels = clip_kernels}

const gr_op op_where[] = {WHERE(9),      WHERE(16), CLIP_ATTR(1), CLIP_ATTR(6),
                          CLIP(11),      CLIP(12),  CLIP(13),     {0}};
/* clang-format on */
