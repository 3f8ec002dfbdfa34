/* SPDX-License-Identifier: Apache-2.0
 *
 * Col2Im: columns of blocks added back into the image that they were cut from,
 *
 *     y[n, c, o * stride + k * dilation - pad] += x[n, (c, k), o]
 */
#include "loops.h"
#include "move.h"
#include "window.h"

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    gr_window *w = GR_NEW(arena, gr_window);
    if (!w) return gr_nomem(err);
    *out = w;
    return gr_window_parse(attrs, w, err);
}

/* The windows over an image; their number is the product of their extents. */
static gr_status windows(const gr_window *w, int64_t n, const int64_t *image, const int64_t *block, gr_span *spans,
                         int64_t *count, gr_err *err)
{
    if (n < 1 || n > GR_MAX_SPATIAL || (w->n >= 0 && w->n != n))
        return gr_fail(err, GR_EMODEL, "an image of %lld axes does not fit the attributes", (long long)n);
    *count = 1;
    for (int64_t i = 0; i < n; i++) {
        if (image[i] < 0 || block[i] < 1)
            return gr_fail(err, GR_EINPUT, "blocks of %lld elements of an axis of %lld", (long long)block[i],
                           (long long)image[i]);
        GR_TRY(gr_window_fit(w, (int)i, block[i], image[i], &spans[i], err));
        if (__builtin_mul_overflow(*count, spans[i].out, count)) return gr_fail(err, GR_ELIMIT, "too many blocks");
    }
    return GR_OK;
}

/* A list that is known; *n = -1 otherwise. */
static gr_status known_list(const gr_infer *c, uint32_t i, int64_t *n, int64_t *out, gr_err *err)
{
    const gr_dim *v;
    GR_TRY(gr_require_list(c, i, GR_T(INT64), n, err));
    if (!gr_known_ints(c, i, n, &v) || *n > GR_MAX_SPATIAL) return GR_OK;
    for (int64_t k = 0; k < *n; k++) {
        if (!gr_dim_known(v[k])) *n = -1;
        else out[k] = v[k].k;
    }
    return GR_OK;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const gr_window *w = GR_PARAMS(gr_window, c);
    int64_t n, m, image[GR_MAX_SPATIAL], block[GR_MAX_SPATIAL], blocks, taps = 1;
    gr_span spans[GR_MAX_SPATIAL];
    const gr_dim *v;
    for (uint32_t i = 0; i < 3; i++)
        if (!gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
    gr_dtype t = gr_in_dtype(c, 0);
    GR_TRY(gr_require(c, 0, GR_T_NUMBERS, err));
    if (gr_rank_known(c, 0) && c->in[0]->rank != 3)
        return gr_fail(err, GR_EMODEL, "input 0 has rank %d, expected 3", c->in[0]->rank);
    GR_TRY(known_list(c, 2, &m, block, err));
    bool block_known = m >= 0 && c->ivals[2];
    GR_TRY(known_list(c, 1, &n, image, err));
    bool image_known = n >= 0 && c->ivals[1];
    if (n >= 0 && m >= 0 && n != m)
        return gr_fail(err, GR_EMODEL, "an image of %lld axes and blocks of %lld", (long long)n, (long long)m);
    if (n < 0 && !gr_known_ints(c, 1, &n, &v)) n = m;
    if (n < 0) return gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL);
    GR_TRY(gr_check_rank(n + 2, err));
    gr_dim *d = gr_dims(c, (int)n + 2);
    for (int64_t i = 0; i < n + 2; i++) d[i] = gr_sym_fresh(c->syms);
    if (gr_known_ints(c, 1, &m, &v))
        for (int64_t i = 0; i < n && m == n; i++) d[2 + i] = v[i];
    if (gr_rank_known(c, 0)) d[0] = c->in[0]->dims[0];
    for (int64_t i = 0; i < n && block_known; i++)
        if (block[i] < 1 || __builtin_mul_overflow(taps, block[i], &taps))
            return gr_fail(err, GR_EINPUT, "blocks of %lld elements along an axis", (long long)block[i]);
    if (gr_rank_known(c, 0) && block_known) {
        gr_dim rows = c->in[0]->dims[1], columns = c->in[0]->dims[2];
        if (gr_dim_known(rows) && rows.k % taps)
            return gr_fail(err, GR_EMODEL, "%lld rows do not make up channels of %lld elements", (long long)rows.k,
                           (long long)taps);
        d[1] = gr_sym_div(c->syms, rows, GR_DIM(taps));
        if (image_known) GR_TRY(windows(w, n, image, block, spans, &blocks, err));
        if (image_known && gr_dim_known(columns) && columns.k != blocks)
            return gr_fail(err, GR_EMODEL, "%lld columns, the image has %lld blocks", (long long)columns.k,
                           (long long)blocks);
    }
    return gr_set(c, 0, t, (int)n + 2, d);
}

typedef struct layout {
    int n;
    int64_t plane, taps, blocks;
    gr_span spans[GR_MAX_SPATIAL];
    int64_t window[GR_MAX_SPATIAL], places[GR_MAX_SPATIAL];
} layout;

/* W is a type whose arithmetic wraps or rounds as T's should. */
#define ADD_PLANE(T, W)                                                                                                \
    {                                                                                                                  \
        const T *x = (const T *)src + first;                                                                           \
        T *y = (T *)dst + target;                                                                                      \
        do {                                                                                                           \
            int64_t out[GR_MAX_SPATIAL] = {0};                                                                         \
            do {                                                                                                       \
                int64_t at = gr_span_offset(l->n, l->spans, out, tap);                                                 \
                if (at >= 0) GR_PUT(&y[at], (GR_COMPUTE(T))((W)GR_GET(y[at]) + (W)GR_GET(*x)));                        \
                x++;                                                                                                   \
            } while (gr_next_index(l->n, l->places, out));                                                             \
        } while (gr_next_index(l->n, l->window, tap));                                                                 \
    }

static void add_plane(gr_dtype dtype, const layout *l, const void *src, int64_t first, void *dst, int64_t target)
{
    int64_t tap[GR_MAX_SPATIAL] = {0};
    GR_DISPATCH_FLOATS(dtype, T, ADD_PLANE(T, GR_COMPUTE(T)))
    GR_DISPATCH_INTS(dtype, T, ADD_PLANE(T, uint64_t))
}

static gr_status run(const gr_step *s, gr_err *err)
{
    const gr_tensor *x = s->in[0], *y = s->out[0];
    int64_t image[GR_MAX_SPATIAL], block[GR_MAX_SPATIAL];
    layout l = {.n = y->rank - 2, .plane = 1, .taps = 1};
    if (s->in[1]->elements != l.n || s->in[2]->elements != l.n)
        return gr_fail(err, GR_EINPUT, "the image and its blocks have %lld and %lld axes, expected %d",
                       (long long)s->in[1]->elements, (long long)s->in[2]->elements, l.n);
    for (int i = 0; i < l.n; i++) image[i] = gr_int_at(s->in[1], i), block[i] = gr_int_at(s->in[2], i);
    GR_TRY(windows(GR_PARAMS(gr_window, s), l.n, image, block, l.spans, &l.blocks, err));
    for (int i = 0; i < l.n; i++) {
        GR_TRY(gr_check_extent(image[i], y->dims[i + 2], err));
        l.window[i] = block[i], l.places[i] = l.spans[i].out;
        l.plane *= image[i];
        if (__builtin_mul_overflow(l.taps, block[i], &l.taps)) l.taps = -1;
    }
    if (l.taps < 1 || x->dims[1] % l.taps || x->dims[1] / l.taps != y->dims[1] || x->dims[2] != l.blocks)
        return gr_fail(err, GR_EINPUT, "columns of shape [%lld, %lld] do not fit %lld blocks", (long long)x->dims[1],
                       (long long)x->dims[2], (long long)l.blocks);
    if (y->size) memset(y->data, 0, y->size);
    if (!y->elements || !x->elements) return GR_OK;
    int64_t items = y->dims[0] * y->dims[1];
#pragma omp parallel for if (x->elements > GR_PARALLEL_MIN / 4)
    for (int64_t i = 0; i < items; i++)
        add_plane(x->dtype, &l, x->data, i * l.taps * l.blocks, y->data, i * l.plane);
    return GR_OK;
}

static const gr_kernel kernels[] = {{"ref", gr_prepare_shaped, run, NULL}, {0}};

const gr_op op_col2im[] = {GR_OP_ROW("Col2Im", 18, 3, 3, 1, GR_OP_DYNAMIC, parse, infer, kernels), {0}};
