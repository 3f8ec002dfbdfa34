/* SPDX-License-Identifier: Apache-2.0
 *
 * Conv, ConvInteger and QLinearConv with any number of spatial axes, groups, strides, dilations and pads:
 *
 *     y[n, m, o] = bias[m] + sum over c, k of x[n, c, o * stride + k * dilation - pad] * w[m, c, k]
 *
 * with c over the channels of m's group. Kernel "gemm" lays the patches under a block of outputs out as the columns of a
 * matrix and multiplies the group's weights with it; "depthwise" adds scaled rows where each channel is by itself.
 */
#include "elem.h"
#include "simd/simd.h"
#include "window.h"

typedef struct params {
    gr_window window;
    int64_t group;
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    if (!p) return gr_nomem(err);
    *out = p;
    GR_TRY(gr_attr_int_in(attrs, "group", 1, 1, INT32_MAX, &p->group, err));
    return gr_window_parse(attrs, &p->window, err);
}

/* ---- inference ---- */

/* Input i is absent, a scalar, or a list of as many elements as w has output channels. */
static gr_status check_per_channel(const gr_infer *c, uint32_t i, uint32_t w, bool scalar, gr_err *err)
{
    if (!gr_rank_known(c, i) || !gr_rank_known(c, w)) return GR_OK;
    const gr_type *t = c->in[i];
    gr_dim n = t->rank ? t->dims[0] : GR_DIM(1), want = c->in[w]->dims[0];
    if (t->rank > 1 || (t->rank == 0 && !scalar))
        return gr_fail(err, GR_EMODEL, "input %u has rank %d, expected %s1", i, t->rank, scalar ? "0 or " : "");
    if (gr_dim_known(n) && gr_dim_known(want) && n.k != want.k && !(scalar && n.k == 1))
        return gr_fail(err, GR_EMODEL, "input %u has %lld elements for %lld output channels", i, (long long)n.k,
                       (long long)want.k);
    return GR_OK;
}

static gr_status check_weights(const gr_infer *c, uint32_t w, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    const gr_type *x = c->in[0], *t = c->in[w];
    gr_dim channels = x->dims[1], per_group = t->dims[1], made = t->dims[0];
    if (x->rank != t->rank)
        return gr_fail(err, GR_EMODEL, "input has rank %d and its weights rank %d, they must be equal", x->rank, t->rank);
    if (gr_dim_known(made) && made.k % p->group)
        return gr_fail(err, GR_EMODEL, "%lld output channels do not divide into %lld groups", (long long)made.k,
                       (long long)p->group);
    if (gr_dim_known(channels) && gr_dim_known(per_group) &&
        (channels.k % p->group || channels.k / p->group != per_group.k))
        return gr_fail(err, GR_EMODEL, "the input has %lld channels, weights are for %lld groups of %lld",
                       (long long)channels.k, (long long)p->group, (long long)per_group.k);
    for (int i = 0; p->window.kernel && i < t->rank - 2; i++)
        if (gr_dim_known(t->dims[i + 2]) && t->dims[i + 2].k != p->window.kernel[i])
            return gr_fail(err, GR_EMODEL, "attribute 'kernel_shape' says %lld for axis %d, the weights have %lld",
                           (long long)p->window.kernel[i], i, (long long)t->dims[i + 2].k);
    for (int i = 0; i < t->rank - 2; i++)
        if (gr_dim_is(t->dims[i + 2], 0)) return gr_fail(err, GR_EMODEL, "axis %d of the weights is empty", i + 2);
    return GR_OK;
}

static gr_status infer_shape(const gr_infer *c, uint32_t w, gr_dtype dtype, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    GR_TRY(gr_window_check(c, 0, &p->window, err));
    if (!gr_rank_known(c, 0) || !gr_rank_known(c, w)) return gr_set(c, 0, dtype, GR_RANK_UNKNOWN, NULL);
    GR_TRY(check_weights(c, w, err));
    int rank = c->in[0]->rank;
    gr_dim *d = gr_dims(c, rank);
    d[0] = c->in[0]->dims[0];
    d[1] = c->in[w]->dims[0];
    for (int i = 2; i < rank; i++)
        GR_TRY(gr_window_dim(c, &p->window, i - 2, c->in[w]->dims[i], c->in[0]->dims[i], &d[i], err));
    return gr_set(c, 0, dtype, rank, d);
}

static gr_status need(const gr_infer *c, uint32_t n, gr_err *err)
{
    for (uint32_t i = 0; i < n; i++)
        if (!gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
    return GR_OK;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    GR_TRY(need(c, 2, err));
    GR_TRY(gr_require(c, 0, GR_T_FLOATS, err));
    GR_TRY(gr_require_same(c, 0, 1, err));
    GR_TRY(gr_require_same(c, 0, 2, err));
    GR_TRY(check_per_channel(c, 2, 1, false, err));
    return infer_shape(c, 1, c->in[0]->dtype, err);
}

#define T_BYTES (GR_T(UINT8) | GR_T(INT8))

static gr_status infer_integer(const gr_infer *c, gr_err *err)
{
    GR_TRY(need(c, 2, err));
    for (uint32_t i = 0; i < 4; i++) GR_TRY(gr_require(c, i, T_BYTES, err));
    GR_TRY(gr_require_same(c, 0, 2, err));
    GR_TRY(gr_require_same(c, 1, 3, err));
    GR_TRY(check_per_channel(c, 3, 1, true, err));
    return infer_shape(c, 1, GR_INT32, err);
}

enum { X, X_SCALE, X_ZERO, W, W_SCALE, W_ZERO, Y_SCALE, Y_ZERO, BIAS };

static gr_status infer_qlinear(const gr_infer *c, gr_err *err)
{
    GR_TRY(need(c, BIAS, err));
    for (uint32_t i = X; i < BIAS; i++) {
        bool scale = i == X_SCALE || i == W_SCALE || i == Y_SCALE;
        GR_TRY(gr_require(c, i, scale ? GR_T(FLOAT) : T_BYTES, err));
    }
    GR_TRY(gr_require(c, BIAS, GR_T(INT32), err));
    GR_TRY(gr_require_same(c, X, X_ZERO, err));
    GR_TRY(gr_require_same(c, W, W_ZERO, err));
    GR_TRY(check_per_channel(c, W_SCALE, W, true, err));
    GR_TRY(check_per_channel(c, W_ZERO, W, true, err));
    GR_TRY(check_per_channel(c, BIAS, W, false, err));
    return infer_shape(c, W, c->in[Y_ZERO]->dtype, err);
}

/* ---- what the kernels share ---- */

typedef struct layout {
    int n; /* spatial axes */
    int64_t batch, group, in, out; /* channels of one group */
    int64_t plane, taps, depth, positions; /* of x; of a window; in * taps; of y */
    gr_span span[GR_MAX_SPATIAL];
    int64_t window[GR_MAX_SPATIAL], places[GR_MAX_SPATIAL]; /* extents of a window and of y */
} layout;

static layout layout_of(const gr_step *s, uint32_t weights)
{
    const params *p = GR_PARAMS(params, s);
    const gr_tensor *x = s->in[0], *w = s->in[weights], *y = s->out[0];
    layout l = {.n = x->rank - 2, .batch = x->dims[0], .group = p->group, .in = w->dims[1], .out = w->dims[0] / p->group};
    l.plane = gr_extent(x, 2, x->rank);
    l.taps = gr_extent(w, 2, w->rank);
    l.depth = l.in * l.taps;
    l.positions = gr_extent(y, 2, y->rank);
    for (int i = 0; i < l.n; i++) {
        gr_window_fit(&p->window, i, w->dims[i + 2], x->dims[i + 2], &l.span[i], NULL);
        l.window[i] = l.span[i].kernel;
        l.places[i] = l.span[i].out;
    }
    return l;
}

/* ---- ref: one output position at a time; sums in double, which hold the integer ones exactly ---- */

typedef struct ref_job {
    const gr_step *s;
    layout l;
    const gr_tensor *x, *w, *x_zero, *w_zero;
    void (*finish)(const gr_step *s, int64_t channel, int64_t at, double sum);
} ref_job;

static double zero_of(const gr_tensor *t, int64_t channel)
{
    return t ? gr_at(t, t->elements == 1 ? 0 : channel) : 0;
}

/* The elements of x under the window, less their zero point; 0 in the padding. */
static void ref_patch(const ref_job *j, int64_t batch, int64_t group, const int64_t *out, double *patch)
{
    const layout *l = &j->l;
    int64_t tap[GR_MAX_SPATIAL] = {0}, k = 0, first = (batch * l->group + group) * l->in * l->plane;
    double zero = zero_of(j->x_zero, 0);
    do {
        int64_t offset = gr_span_offset(l->n, l->span, out, tap);
        for (int64_t c = 0; c < l->in; c++)
            patch[c * l->taps + k] = offset < 0 ? 0 : gr_at(j->x, first + c * l->plane + offset) - zero;
        k++;
    } while (gr_next_index(l->n, l->window, tap));
}

static void ref_position(const ref_job *j, int64_t item, double *patch, double *row)
{
    const layout *l = &j->l;
    int64_t out[GR_MAX_SPATIAL], at = item % l->positions, rest = item / l->positions;
    int64_t batch = rest / l->group, group = rest % l->group;
    gr_index_of(l->n, l->places, at, out);
    ref_patch(j, batch, group, out, patch);
    for (int64_t m = group * l->out; m < (group + 1) * l->out; m++) {
        double sum = 0, zero = zero_of(j->w_zero, m);
        gr_load_f64(j->w->dtype, l->depth, j->w->data, m * l->depth, 1, row);
        for (int64_t k = 0; k < l->depth; k++) sum += patch[k] * (row[k] - zero);
        j->finish(j->s, m, (batch * l->group * l->out + m) * l->positions + at, sum);
    }
}

static bool ref_scratch(gr_step *s, uint32_t weights, gr_why *why)
{
    layout l = layout_of(s, weights);
    size_t each;
    if (!gr_mul((size_t)l.depth, 2 * sizeof(double), &each) ||
        !gr_mul(each, (size_t)gr_step_threads(s), &s->scratch_size))
        return gr_decline(why, "its windows are too large");
    return true;
}

static gr_status ref_run(const gr_step *s, const ref_job *j)
{
    int64_t items = j->l.batch * j->l.group * j->l.positions;
    if (!s->out[0]->elements) return GR_OK;
#pragma omp parallel for num_threads(gr_step_threads(s)) if (s->out[0]->elements * j->l.depth > GR_PARALLEL_MIN)
    for (int64_t i = 0; i < items; i++) {
        double *own = (double *)s->scratch + (int64_t)omp_get_thread_num() * 2 * j->l.depth;
        ref_position(j, i, own, own + j->l.depth);
    }
    return GR_OK;
}

static void finish_float(const gr_step *s, int64_t channel, int64_t at, double sum)
{
    const gr_tensor *bias = gr_step_in(s, 2);
    gr_at_put(s->out[0], at, sum + (bias ? gr_at(bias, channel) : 0));
}

/* y = sum, as 32 bits hold it */
static void finish_integer(const gr_step *s, int64_t channel, int64_t at, double sum)
{
    (void)channel;
    ((uint32_t *)s->out[0]->data)[at] = (uint32_t)(int64_t)sum;
}

/* y = saturate(round((sum + bias) * x_scale * w_scale / y_scale) + y_zero), halves to even */
static void finish_qlinear(const gr_step *s, int64_t channel, int64_t at, double sum)
{
    const gr_tensor *scales = s->in[W_SCALE], *bias = gr_step_in(s, BIAS), *y = s->out[0];
    float scale = *(const float *)s->in[X_SCALE]->data *
                  ((const float *)scales->data)[scales->elements == 1 ? 0 : channel] /
                  *(const float *)s->in[Y_SCALE]->data;
    bool is_signed = y->dtype == GR_INT8;
    double v = nearbyint((sum + (bias ? gr_at(bias, channel) : 0)) * (double)scale) + gr_at(s->in[Y_ZERO], 0);
    double least = is_signed ? -128 : 0, most = is_signed ? 127 : 255;
    ((uint8_t *)y->data)[at] = (uint8_t)(int)(v > most ? most : v >= least ? v : least); /* NaN: least */
}

static bool ref_prepare(gr_step *s, gr_why *why) { return ref_scratch(s, 1, why); }
static bool qlinear_prepare(gr_step *s, gr_why *why) { return ref_scratch(s, W, why); }

static gr_status run_ref(const gr_step *s, gr_err *err)
{
    (void)err;
    ref_job j = {s, layout_of(s, 1), s->in[0], s->in[1], NULL, NULL, finish_float};
    return ref_run(s, &j);
}

static gr_status run_integer(const gr_step *s, gr_err *err)
{
    (void)err;
    ref_job j = {s, layout_of(s, 1), s->in[0], s->in[1], gr_step_in(s, 2), gr_step_in(s, 3), finish_integer};
    return ref_run(s, &j);
}

static gr_status run_qlinear(const gr_step *s, gr_err *err)
{
    for (uint32_t i = X_SCALE; i <= Y_ZERO; i++)
        if (i != W && s->in[i]->elements < 1) return gr_fail(err, GR_EINPUT, "input %u is empty", i);
    ref_job j = {s, layout_of(s, W), s->in[X], s->in[W], s->in[X_ZERO], s->in[W_ZERO], finish_qlinear};
    return ref_run(s, &j);
}

/* ---- gemm: float32 and the half types ---- */

enum { COLUMN_BYTES = 256 << 10, COLUMN_STEP = 32, MAX_COLUMNS = 512 };

typedef struct gemm_plan {
    int64_t block, blocks;           /* output positions multiplied at a time */
    size_t packed, columns, results; /* bytes of scratch for each thread */
    size_t each, weights;            /* the sum of them; bytes of weights as floats, before all threads' */
    bool in_place;                   /* a plane of x is the matrix as it lies */
} gemm_plan;

static size_t rounded(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

static bool plain_window(const layout *l)
{
    for (int i = 0; i < l->n; i++)
        if (l->span[i].stride != 1 || l->span[i].begin || l->span[i].end) return false;
    return l->taps == 1;
}

static bool plan_gemm(const gr_step *s, const layout *l, gemm_plan *g)
{
    bool plain = s->in[0]->dtype == GR_FLOAT;
    int64_t fair = (l->positions * l->batch * l->group + gr_step_threads(s) - 1) / gr_step_threads(s);
    if (l->depth > INT32_MAX || l->out > INT32_MAX) return false;
    g->block = COLUMN_BYTES / ((l->depth ? l->depth : 1) * (int64_t)sizeof(float));
    if (g->block > fair) g->block = fair;
    g->block = (g->block + COLUMN_STEP - 1) / COLUMN_STEP * COLUMN_STEP;
    if (g->block < COLUMN_STEP) g->block = COLUMN_STEP;
    if (g->block > MAX_COLUMNS) g->block = MAX_COLUMNS;
    g->blocks = (l->positions + g->block - 1) / g->block;
    g->in_place = plain && plain_window(l);
    g->packed = gr_gemm_small_scratch(g->block, l->depth);
    size_t column = (size_t)g->block * sizeof(float);
    if (g->packed == SIZE_MAX || !gr_mul(g->in_place ? 0 : (size_t)l->depth, column, &g->columns) ||
        !gr_mul(plain ? 0 : (size_t)l->out, column, &g->results) ||
        !gr_mul(plain ? 0 : (size_t)s->in[1]->elements, sizeof(float), &g->weights))
        return false;
    g->packed = rounded(g->packed);
    g->weights = rounded(g->weights);
    return gr_add(g->packed, g->columns, &g->each) && gr_add(g->each, g->results, &g->each) &&
           g->each < SIZE_MAX / 2 && (g->each = rounded(g->each)) != 0;
}

static bool gemm_prepare(gr_step *s, gr_why *why)
{
    layout l = layout_of(s, 1);
    gemm_plan g;
    size_t bytes;
    if (s->in[0]->dtype == GR_DOUBLE) return gr_decline(why, "elements are double");
    if (!l.depth) return gr_decline(why, "there is nothing to multiply");
    if (!plan_gemm(s, &l, &g) || !gr_mul(g.each, (size_t)gr_step_threads(s), &bytes) ||
        !gr_add(bytes, g.weights, &s->scratch_size))
        return gr_decline(why, "its windows are too large");
    s->flops = 2.0 * (double)s->out[0]->elements * (double)l.depth;
    return true;
}

/* `count` neighbours of y's last axis from `out` on, under one tap: their elements of x, in a row. */
static void gather_run(const gr_step *s, const layout *l, int64_t first, const int64_t *out, const int64_t *tap,
                       int64_t count, float *to)
{
    const gr_tensor *x = s->in[0];
    const gr_span *last = &l->span[l->n - 1];
    int64_t base = gr_span_offset(l->n - 1, l->span, out, tap);
    int64_t at = out[l->n - 1] * last->stride + tap[l->n - 1] * last->dilation - last->begin, i = 0;
    int64_t end = at >= last->in ? 0 : (last->in - 1 - at) / last->stride + 1; /* positions before the end of x */
    if (base < 0 || end < 0) end = 0;
    if (end > count) end = count;
    for (; i < end && at < 0; i++, at += last->stride) to[i] = 0;
    if (i < end && x->dtype == GR_FLOAT && last->stride == 1)
        memcpy(to + i, (const float *)x->data + first + base * last->in + at, (size_t)(end - i) * sizeof *to);
    else if (i < end)
        gr_load_f32(x->dtype, end - i, x->data, first + base * last->in + at, last->stride, to + i);
    for (i = end; i < count; i++) to[i] = 0;
}

/* columns[c * taps + k][j]: what tap k of the window at position `at` + j sees of channel c */
static void gather_columns(const gr_step *s, const layout *l, int64_t first, int64_t at, int64_t n, int64_t step,
                           float *columns)
{
    int64_t out[GR_MAX_SPATIAL], row = l->places[l->n - 1];
    for (int64_t j = 0; j < n;) {
        gr_index_of(l->n, l->places, at + j, out);
        int64_t count = row - out[l->n - 1] < n - j ? row - out[l->n - 1] : n - j, k = 0, tap[GR_MAX_SPATIAL] = {0};
        do {
            for (int64_t c = 0; c < l->in; c++)
                gather_run(s, l, first + c * l->plane, out, tap, count, columns + (c * l->taps + k) * step + j);
            k++;
        } while (gr_next_index(l->n, l->window, tap));
        j += count;
    }
}

static void gemm_block(const gr_step *s, const layout *l, const gemm_plan *g, int64_t item, const float *weights,
                       char *own)
{
    const gr_tensor *x = s->in[0], *y = s->out[0], *bias = gr_step_in(s, 2);
    int64_t at = item % g->blocks * g->block, rest = item / g->blocks, group = rest % l->group;
    int64_t n = l->positions - at < g->block ? l->positions - at : g->block;
    int64_t first = rest * l->in * l->plane, target = rest * l->out * l->positions + at;
    float *columns = (float *)(own + g->packed), *results = (float *)(own + g->packed + g->columns);
    bool plain = y->dtype == GR_FLOAT;
    if (g->in_place) {
        gr_gemm_small_pack(l->depth, n, (const float *)x->data + first + at, l->positions, 1, own);
    } else {
        gather_columns(s, l, first, at, n, g->block, columns);
        gr_gemm_small_pack(l->depth, n, columns, g->block, 1, own);
    }
    float *to = plain ? (float *)y->data + target : results;
    int64_t step = plain ? l->positions : g->block;
    gr_gemm_small_packed(l->out, n, l->depth, 1, weights + group * l->out * l->depth, l->depth, own, to, step);
    for (int64_t m = 0; m < l->out; m++) {
        float b = bias ? (float)gr_at(bias, group * l->out + m) : 0;
        for (int64_t i = 0; i < n && bias; i++) to[m * step + i] += b;
        if (!plain) gr_store_f32(y->dtype, n, to + m * step, y->data, target + m * l->positions);
    }
}

static gr_status gemm_run(const gr_step *s, gr_err *err)
{
    (void)err;
    layout l = layout_of(s, 1);
    gemm_plan g;
    const gr_tensor *w = s->in[1];
    const float *weights = w->data;
    if (!s->out[0]->elements) return GR_OK;
    plan_gemm(s, &l, &g);
    if (w->dtype != GR_FLOAT) {
        gr_load_f32(w->dtype, w->elements, w->data, 0, 1, s->scratch);
        weights = s->scratch;
    }
    char *scratch = (char *)s->scratch + g.weights;
    int64_t items = l.batch * l.group * g.blocks;
#pragma omp parallel for schedule(dynamic) num_threads(gr_step_threads(s)) if (s->flops > GR_PARALLEL_MIN)
    for (int64_t i = 0; i < items; i++)
        gemm_block(s, &l, &g, i, weights, scratch + (size_t)omp_get_thread_num() * g.each);
    return GR_OK;
}

/* ---- depthwise: float32, every output channel sees one input channel ---- */

static bool depthwise_prepare(gr_step *s, gr_why *why)
{
    layout l = layout_of(s, 1);
    if (s->in[0]->dtype != GR_FLOAT) return gr_decline(why, "elements of type %s", gr_dtype_name(s->in[0]->dtype));
    if (l.in != 1 || l.out > 4) return gr_decline(why, "groups have %lld and %lld channels", (long long)l.in, (long long)l.out);
    s->flops = 2.0 * (double)s->out[0]->elements * (double)l.depth;
    return true;
}

/* y[o] += weight * x[o * stride + at] where that lies in the row */
static void add_row(const gr_span *last, float weight, int64_t at, const float *x, float *y)
{
    int64_t begin = at < 0 ? (-at + last->stride - 1) / last->stride : 0;
    int64_t end = at >= last->in ? 0 : (last->in - 1 - at) / last->stride + 1;
    if (end > last->out) end = last->out;
    if (last->stride == 1)
        for (int64_t o = begin; o < end; o++) y[o] += weight * x[o + at];
    else
        for (int64_t o = begin; o < end; o++) y[o] += weight * x[o * last->stride + at];
}

static void depthwise_channel(const gr_step *s, const layout *l, int64_t item)
{
    const gr_tensor *bias = gr_step_in(s, 2);
    int64_t m = item % (l->group * l->out), out[GR_MAX_SPATIAL] = {0};
    const gr_span *last = &l->span[l->n - 1];
    const float *x = (const float *)s->in[0]->data + item / l->out * l->plane;
    const float *w = (const float *)s->in[1]->data + m * l->taps;
    float *y = (float *)s->out[0]->data + item * l->positions;
    float start = bias ? ((const float *)bias->data)[m] : 0;
    do {
        int64_t tap[GR_MAX_SPATIAL] = {0}, k = 0;
        for (int64_t o = 0; o < last->out; o++) y[o] = start;
        do {
            int64_t base = gr_span_offset(l->n - 1, l->span, out, tap);
            if (base >= 0)
                add_row(last, w[k], tap[l->n - 1] * last->dilation - last->begin, x + base * last->in, y);
            k++;
        } while (gr_next_index(l->n, l->window, tap));
        y += last->out;
    } while (gr_next_index(l->n - 1, l->places, out));
}

static gr_status depthwise_run(const gr_step *s, gr_err *err)
{
    (void)err;
    layout l = layout_of(s, 1);
    int64_t items = l.batch * l.group * l.out;
    if (!s->out[0]->elements) return GR_OK;
#pragma omp parallel for num_threads(gr_step_threads(s)) if (s->flops > GR_PARALLEL_MIN)
    for (int64_t i = 0; i < items; i++) depthwise_channel(s, &l, i);
    return GR_OK;
}

static const gr_kernel kernels[] = {{"depthwise", depthwise_prepare, depthwise_run, NULL},
                                    {"gemm", gemm_prepare, gemm_run, NULL},
                                    {"ref", ref_prepare, run_ref, NULL},
                                    {0}};
static const gr_kernel integer_kernels[] = {{"ref", ref_prepare, run_integer, NULL}, {0}};
static const gr_kernel qlinear_kernels[] = {{"ref", qlinear_prepare, run_qlinear, NULL}, {0}};

/* clang-format off */
#define ROW(name_, since_, min, max, infer_, kernels_)                                                                 \
    {.name = name_, .since = since_, .in = {min, max}, .out = 1, .parse = parse, .infer = infer_, .kernels = kernels_}

const gr_op op_conv[] = {
    ROW("Conv", 1, 2, 3, infer, kernels), ROW("Conv", 11, 2, 3, infer, kernels), ROW("Conv", 22, 2, 3, infer, kernels),
    ROW("ConvInteger", 10, 2, 4, infer_integer, integer_kernels),
    ROW("QLinearConv", 10, 8, 9, infer_qlinear, qlinear_kernels), {0}};
/* clang-format on */
