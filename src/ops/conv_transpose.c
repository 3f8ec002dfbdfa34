/* SPDX-License-Identifier: Apache-2.0
 *
 * ConvTranspose: every element of x is spread over a window of y,
 *
 *     y[n, m, i * stride + k * dilation - pad] += x[n, c, i] * w[c, m, k]    for m in the group of c, plus bias[m]
 *
 * The extent of y is given, or stride * (in - 1) + output_padding + reach - pads.
 */
#include "elem.h"
#include "window.h"

typedef struct params {
    gr_window window;
    int64_t group;
    const int64_t *more, *shape; /* output_padding, output_shape; NULL: not given */
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    int64_t n;
    if (!p) return gr_nomem(err);
    *out = p;
    GR_TRY(gr_attr_int_in(attrs, "group", 1, 1, INT32_MAX, &p->group, err));
    GR_TRY(gr_window_parse(attrs, &p->window, err));
    GR_TRY(gr_window_list(attrs, "output_padding", 1, 0, &p->window.n, &p->more, err));
    /* Some exporters list batch and channels too. */
    GR_TRY(gr_attr_ints(attrs, "output_shape", &n, &p->shape, err));
    if (n <= 0) p->shape = NULL;
    if (p->shape && p->window.n >= 0 && n == p->window.n + 2) p->shape += 2, n -= 2;
    if (p->shape && p->window.n >= 0 && n != p->window.n)
        return gr_fail(err, GR_EMODEL, "attribute 'output_shape' has %lld elements for %lld axes", (long long)n,
                       (long long)p->window.n);
    if (p->shape) p->window.n = n;
    for (int64_t i = 0; p->shape && i < n; i++)
        if (p->shape[i] < 0) return gr_fail(err, GR_EMODEL, "attribute 'output_shape' holds %lld", (long long)p->shape[i]);
    return GR_OK;
}

static gr_status fit(const params *p, int i, int64_t kernel, int64_t in, gr_span *s, gr_err *err)
{
    const gr_window *w = &p->window;
    int64_t full;
    GR_TRY(gr_span_check(in, kernel, err));
    *s = gr_window_span(w, i, kernel);
    s->in = in;
    if (__builtin_mul_overflow(s->stride, in - 1, &full) || full > INT64_MAX / 4)
        return gr_fail(err, GR_ELIMIT, "axis %d of the output would be too large", i + 2);
    full += (p->more ? p->more[i] : 0) + gr_span_reach(s);
    bool same = w->pad >= GR_PAD_SAME_UPPER;
    if (p->shape || same) {
        s->out = p->shape ? p->shape[i] : in * s->stride;
        int64_t pad = full > s->out ? full - s->out : 0;
        s->begin = w->pad == GR_PAD_SAME_UPPER ? pad / 2 : pad - pad / 2;
        s->end = pad - s->begin;
        return GR_OK;
    }
    s->out = full - s->begin - s->end;
    if (in && s->out > 0) return GR_OK;
    return gr_fail(err, GR_EMODEL, "axis %d of the output would have %lld elements", i + 2, (long long)s->out);
}

static gr_status infer_dim(const gr_infer *c, int i, gr_dim kernel, gr_dim in, gr_dim *out, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    gr_span s;
    *out = p->shape ? GR_DIM(p->shape[i]) : gr_sym_fresh(c->syms);
    if (!gr_dim_known(kernel) || p->shape) return GR_OK;
    if (gr_dim_known(in)) {
        GR_TRY(fit(p, i, kernel.k, in.k, &s, err));
        *out = GR_DIM(s.out);
        return GR_OK;
    }
    GR_TRY(gr_span_check(0, kernel.k, err));
    s = gr_window_span(&p->window, i, kernel.k);
    *out = gr_sym_mul(c->syms, in, GR_DIM(s.stride));
    int64_t more = (p->more ? p->more[i] : 0) + gr_span_reach(&s) - s.stride - s.begin - s.end;
    if (p->window.pad < GR_PAD_SAME_UPPER) *out = gr_sym_add(c->syms, *out, GR_DIM(more));
    return GR_OK;
}

static gr_status check(const gr_infer *c, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    const gr_type *x = c->in[0], *w = c->in[1];
    if (x->rank != w->rank)
        return gr_fail(err, GR_EMODEL, "input has rank %d and its weights rank %d, they must be equal", x->rank, w->rank);
    if (gr_dim_known(x->dims[1]) && (x->dims[1].k % p->group || (gr_dim_known(w->dims[0]) && w->dims[0].k != x->dims[1].k)))
        return gr_fail(err, GR_EMODEL, "the input has %lld channels, which do not fit the weights in %lld groups",
                       (long long)x->dims[1].k, (long long)p->group);
    for (int i = 2; i < w->rank; i++) {
        gr_dim k = w->dims[i];
        if (gr_dim_known(k) && (k.k < 1 || (p->window.kernel && p->window.kernel[i - 2] != k.k)))
            return gr_fail(err, GR_EMODEL, "axis %d of the weights has %lld elements, which is not the kernel's", i,
                           (long long)k.k);
    }
    if (!gr_rank_known(c, 2)) return GR_OK;
    gr_dim made = gr_sym_mul(c->syms, w->dims[1], GR_DIM(p->group));
    if (c->in[2]->rank != 1 || (gr_dim_known(made) && gr_dim_known(c->in[2]->dims[0]) && made.k != c->in[2]->dims[0].k))
        return gr_fail(err, GR_EMODEL, "the bias must be a list of as many elements as there are output channels");
    return GR_OK;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    for (uint32_t i = 0; i < 2; i++)
        if (!gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
    gr_dtype dtype = c->in[0]->dtype;
    GR_TRY(gr_require(c, 0, GR_T_FLOATS, err));
    GR_TRY(gr_require_same(c, 0, 1, err));
    GR_TRY(gr_require_same(c, 0, 2, err));
    GR_TRY(gr_window_check(c, 0, &p->window, err));
    if (!gr_rank_known(c, 0) || !gr_rank_known(c, 1)) return gr_set(c, 0, dtype, GR_RANK_UNKNOWN, NULL);
    GR_TRY(check(c, err));
    int rank = c->in[0]->rank;
    gr_dim *d = gr_dims(c, rank);
    d[0] = c->in[0]->dims[0];
    d[1] = gr_sym_mul(c->syms, c->in[1]->dims[1], GR_DIM(p->group));
    for (int i = 2; i < rank; i++)
        GR_TRY(infer_dim(c, i - 2, c->in[1]->dims[i], c->in[0]->dims[i], &d[i], err));
    return gr_set(c, 0, dtype, rank, d);
}

typedef struct layout {
    int n;
    int64_t group, in, out; /* channels of a group */
    int64_t plane, taps, positions;
    gr_span span[GR_MAX_SPATIAL];
    int64_t window[GR_MAX_SPATIAL], places[GR_MAX_SPATIAL]; /* extents of a window and of x */
} layout;

static layout layout_of(const gr_step *s)
{
    const params *p = GR_PARAMS(params, s);
    const gr_tensor *x = s->in[0], *w = s->in[1], *y = s->out[0];
    layout l = {.n = x->rank - 2, .group = p->group, .in = x->dims[1] / p->group, .out = w->dims[1]};
    l.plane = gr_extent(x, 2, x->rank);
    l.taps = gr_extent(w, 2, w->rank);
    l.positions = gr_extent(y, 2, y->rank);
    for (int i = 0; i < l.n; i++) {
        fit(p, i, w->dims[i + 2], x->dims[i + 2], &l.span[i], NULL);
        l.window[i] = l.span[i].kernel;
        l.places[i] = l.span[i].in;
    }
    return l;
}

/* Where tap `tap` of the window of x's element `at` lies in y; -1: outside. */
static int64_t target(const layout *l, const int64_t *at, const int64_t *tap)
{
    int64_t offset = 0;
    for (int i = 0; i < l->n; i++) {
        const gr_span *s = &l->span[i];
        int64_t to = at[i] * s->stride + tap[i] * s->dilation - s->begin;
        if (to < 0 || to >= s->out) return -1;
        offset = offset * s->out + to;
    }
    return offset;
}

/* One plane of y, summed in double. */
static void channel(const gr_step *s, const layout *l, int64_t item, double *plane)
{
    const gr_tensor *x = s->in[0], *w = s->in[1], *bias = s->nin > 2 ? s->in[2] : NULL;
    int64_t m = item % (l->group * l->out), batch = item / (l->group * l->out), group = m / l->out;
    double start = bias ? gr_at(bias, m) : 0;
    for (int64_t i = 0; i < l->positions; i++) plane[i] = start;
    for (int64_t c = group * l->in; l->plane && c < (group + 1) * l->in; c++) {
        int64_t at[GR_MAX_SPATIAL] = {0}, first = (batch * l->group * l->in + c) * l->plane, i = 0;
        do {
            int64_t tap[GR_MAX_SPATIAL] = {0}, k = (c * l->out + m % l->out) * l->taps;
            double v = gr_at(x, first + i++);
            do {
                int64_t to = target(l, at, tap);
                if (to >= 0) plane[to] += v * gr_at(w, k);
                k++;
            } while (gr_next_index(l->n, l->window, tap));
        } while (gr_next_index(l->n, l->places, at));
    }
    gr_store_f64(s->out[0]->dtype, l->positions, plane, s->out[0]->data, item * l->positions);
}

static bool prepare(gr_step *s, gr_why *why)
{
    size_t plane = (size_t)gr_extent(s->out[0], 2, s->out[0]->rank);
    if (!gr_mul(plane, sizeof(double) * (size_t)gr_step_threads(s), &s->scratch_size))
        return gr_decline(why, "its planes are too large");
    return true;
}

static gr_status run(const gr_step *s, gr_err *err)
{
    (void)err;
    layout l = layout_of(s);
    const gr_tensor *y = s->out[0];
    int64_t items = y->dims[0] * y->dims[1];
    if (!y->elements) return GR_OK;
#pragma omp parallel for num_threads(gr_step_threads(s)) if (y->elements * l.in * l.taps > GR_PARALLEL_MIN)
    for (int64_t i = 0; i < items; i++)
        channel(s, &l, i, (double *)s->scratch + (int64_t)omp_get_thread_num() * l.positions);
    return GR_OK;
}

static const gr_kernel kernels[] = {{"ref", prepare, run, NULL}, {0}};

/* clang-format off */
#define ROW(since_)                                                                                                    \
    {.name = "ConvTranspose", .since = since_, .in = {2, 3}, .out = 1, .parse = parse, .infer = infer, .kernels = kernels}
const gr_op op_conv_transpose[] = {ROW(1), ROW(11), ROW(22), {0}};
/* clang-format on */
