/* SPDX-License-Identifier: Apache-2.0
 *
 * MaxPool, AveragePool, LpPool, their Global forms (the window is the whole plane), and MaxUnpool.
 *
 *     MaxPool: the greatest element under the window, and its index      LpPool: (sum |x|^p)^(1/p)
 *     AveragePool: the mean; with count_include_pad zeros of the padding count, but not what lies behind it
 */
#include "elem.h"
#include "move.h"
#include "window.h"

enum kind { MAX, AVERAGE, LP };

typedef struct params {
    gr_window window;
    bool global;
    bool count_pads;
    bool column_major; /* indices */
    double p;
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    if (!p) return gr_nomem(err);
    *out = p;
    GR_TRY(gr_attr_bool(attrs, "count_include_pad", false, &p->count_pads, err));
    GR_TRY(gr_attr_bool(attrs, "storage_order", false, &p->column_major, err));
    GR_TRY(gr_window_parse(attrs, &p->window, err));
    return p->window.kernel ? GR_OK : gr_fail(err, GR_EMODEL, "attribute 'kernel_shape' is missing");
}

/* p was a float at first. */
static gr_status parse_power(gr_attrs attrs, params *p, gr_err *err)
{
    const gr_attr *a = gr_attr_find(attrs, "p");
    int64_t power = 2;
    if (a && a->type == GR_ATTR_FLOAT)
        p->p = (double)a->f;
    else if (a)
        GR_TRY(gr_attr_int(attrs, "p", 2, &power, err));
    if (!a || a->type != GR_ATTR_FLOAT) p->p = (double)power;
    return p->p > 0 ? GR_OK : gr_fail(err, GR_EMODEL, "attribute 'p' is %g, expected a positive number", p->p);
}

static gr_status parse_lp(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    if (!p) return gr_nomem(err);
    *out = p;
    GR_TRY(parse_power(attrs, p, err));
    GR_TRY(gr_window_parse(attrs, &p->window, err));
    return p->window.kernel ? GR_OK : gr_fail(err, GR_EMODEL, "attribute 'kernel_shape' is missing");
}

static gr_status parse_global(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    if (!p) return gr_nomem(err);
    *out = p;
    p->global = true;
    return parse_power(attrs, p, err);
}

/* ---- inference ---- */

static gr_status infer_windows(const gr_infer *c, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    const gr_type *x = c->in[0];
    gr_dim *d = gr_dims(c, x->rank);
    if (p->global && x->rank < 2)
        return gr_fail(err, GR_EMODEL, "input 0 has rank %d, expected batch and channels", x->rank);
    if (!p->global) GR_TRY(gr_window_check(c, 0, &p->window, err));
    for (int i = 0; i < x->rank; i++) {
        d[i] = i < 2 ? x->dims[i] : GR_DIM(1);
        if (i < 2) continue;
        if (p->global && gr_dim_is(x->dims[i], 0)) return gr_fail(err, GR_EMODEL, "axis %d of the input is empty", i);
        if (!p->global)
            GR_TRY(gr_window_dim(c, &p->window, i - 2, GR_DIM(p->window.kernel[i - 2]), x->dims[i], &d[i], err));
    }
    gr_set(c, 1, GR_INT64, x->rank, d);
    return gr_set(c, 0, x->dtype, x->rank, d);
}

static gr_status infer_of(const gr_infer *c, uint64_t types, gr_err *err)
{
    if (!gr_has(c, 0)) return gr_fail(err, GR_EMODEL, "input 0 is missing");
    GR_TRY(gr_require(c, 0, types, err));
    gr_set(c, 1, GR_INT64, GR_RANK_UNKNOWN, NULL);
    if (!gr_rank_known(c, 0)) return gr_set(c, 0, c->in[0]->dtype, GR_RANK_UNKNOWN, NULL);
    return infer_windows(c, err);
}

static gr_status infer(const gr_infer *c, gr_err *err) { return infer_of(c, GR_T_FLOATS, err); }
static gr_status infer_max(const gr_infer *c, gr_err *err)
{
    return infer_of(c, GR_T_FLOATS | GR_T(INT8) | GR_T(UINT8), err);
}

/* ---- kernels ---- */

typedef struct layout {
    int n;
    int64_t plane, positions;
    gr_span span[GR_MAX_SPATIAL];
    int64_t window[GR_MAX_SPATIAL], places[GR_MAX_SPATIAL];
} layout;

static layout layout_of(const gr_step *s)
{
    const params *p = GR_PARAMS(params, s);
    const gr_tensor *x = s->in[0];
    layout l = {.n = x->rank - 2, .plane = gr_extent(x, 2, x->rank), .positions = 1};
    for (int i = 0; i < l.n; i++) {
        int64_t in = x->dims[i + 2];
        if (p->global)
            l.span[i] = (gr_span){.in = in, .out = 1, .kernel = in, .stride = 1, .dilation = 1};
        else
            gr_window_fit(&p->window, i, p->window.kernel[i], in, &l.span[i], NULL);
        l.window[i] = l.span[i].kernel;
        l.places[i] = l.span[i].out;
        l.positions *= l.places[i];
    }
    return l;
}

/* What has been seen under a window. */
typedef struct seen {
    double value;  /* maximum, or sum */
    int64_t at;    /* of the maximum */
    int64_t count; /* taps in the plane, and in the padding if that counts */
} seen;

/* Whether every coordinate of the tap lies before the end of the padding. */
static bool in_padding(const layout *l, const int64_t *out, const int64_t *tap)
{
    for (int i = 0; i < l->n; i++) {
        const gr_span *s = &l->span[i];
        if (out[i] * s->stride + tap[i] * s->dilation - s->begin >= s->in + s->end) return false;
    }
    return true;
}

static seen look(const params *p, enum kind kind, const layout *l, const int64_t *out, const double *plane)
{
    seen s = {.value = kind == MAX ? -INFINITY : 0, .at = -1};
    int64_t tap[GR_MAX_SPATIAL] = {0};
    do {
        int64_t at = gr_span_offset(l->n, l->span, out, tap);
        if (at < 0) {
            s.count += p->count_pads && in_padding(l, out, tap);
            continue;
        }
        double v = plane[at];
        s.count++;
        if (kind == MAX && (s.at < 0 || v > s.value || isnan(v))) s.value = v, s.at = at;
        if (kind == AVERAGE) s.value += v;
        if (kind == LP) s.value += pow(fabs(v), p->p);
    } while (gr_next_index(l->n, l->window, tap));
    return s;
}

static double result(const params *p, enum kind kind, const seen *s)
{
    if (kind == AVERAGE) return s->count ? s->value / (double)s->count : 0;
    return kind == LP ? pow(s->value, 1 / p->p) : s->value;
}

/* Offset in a plane counted with the first axis fastest. */
static int64_t column_major(const layout *l, int64_t at)
{
    int64_t offset = 0;
    for (int i = l->n - 1; i >= 0; i--) {
        int64_t step = 1;
        for (int k = 0; k < i; k++) step *= l->span[k].in;
        offset += at % l->span[i].in * step;
        at /= l->span[i].in;
    }
    return offset;
}

static void pool_plane(const gr_step *s, enum kind kind, const layout *l, int64_t item, double *plane)
{
    const params *p = GR_PARAMS(params, s);
    const gr_tensor *x = s->in[0], *y = gr_step_out(s, 0), *indices = gr_step_out(s, 1);
    int64_t out[GR_MAX_SPATIAL] = {0}, i = item * l->positions;
    gr_load_f64(x->dtype, l->plane, x->data, item * l->plane, 1, plane);
    do {
        seen w = look(p, kind, l, out, plane);
        double v = result(p, kind, &w);
        if (y && gr_dtype_is_float(y->dtype)) gr_at_put(y, i, v);
        else if (y) ((uint8_t *)y->data)[i] = (uint8_t)(int)(w.at < 0 ? 0 : v);
        if (indices && w.at >= 0)
            ((int64_t *)indices->data)[i] = item * l->plane + (p->column_major ? column_major(l, w.at) : w.at);
        else if (indices)
            ((int64_t *)indices->data)[i] = item * l->plane;
        i++;
    } while (gr_next_index(l->n, l->places, out));
}

static bool prepare(gr_step *s, gr_why *why)
{
    const gr_tensor *x = s->in[0];
    if (!gr_mul((size_t)gr_extent(x, 2, x->rank), sizeof(double) * (size_t)gr_step_threads(s), &s->scratch_size))
        return gr_decline(why, "its planes are too large");
    return true;
}

static gr_status run(const gr_step *s, enum kind kind)
{
    const gr_tensor *x = s->in[0];
    layout l = layout_of(s);
    int64_t items = x->dims[0] * x->dims[1];
    if (!items || !l.positions) return GR_OK;
#pragma omp parallel for num_threads(gr_step_threads(s)) if (x->elements > GR_PARALLEL_MIN / 8)
    for (int64_t i = 0; i < items; i++)
        pool_plane(s, kind, &l, i, (double *)s->scratch + (int64_t)omp_get_thread_num() * l.plane);
    return GR_OK;
}

static gr_status max_ref(const gr_step *s, gr_err *err) { return (void)err, run(s, MAX); }
static gr_status average_ref(const gr_step *s, gr_err *err) { return (void)err, run(s, AVERAGE); }
static gr_status lp_ref(const gr_step *s, gr_err *err) { return (void)err, run(s, LP); }
static const gr_kernel max_kernels[] = {{"ref", prepare, max_ref, NULL}, {0}};
static const gr_kernel average_kernels[] = {{"ref", prepare, average_ref, NULL}, {0}};
static const gr_kernel lp_kernels[] = {{"ref", prepare, lp_ref, NULL}, {0}};

/* ---- MaxUnpool: zeros, and x[i] where indices[i] points in the shape that the attributes give ---- */

/* What the extent of an axis has beyond in * stride: (in - 1) * stride + kernel - pads. */
static int64_t unpooled_more(const gr_window *w, int i)
{
    gr_span s = gr_window_span(w, i, w->kernel[i]);
    return s.kernel - s.stride - s.begin - s.end;
}

static gr_status infer_unpool(const gr_infer *c, gr_err *err)
{
    const gr_window *w = &GR_PARAMS(params, c)->window;
    int64_t n;
    const gr_dim *shape;
    for (uint32_t i = 0; i < 2; i++)
        if (!gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
    gr_dtype dtype = c->in[0]->dtype;
    GR_TRY(gr_require(c, 0, GR_T_FLOATS, err));
    GR_TRY(gr_require(c, 1, GR_T(INT64), err));
    GR_TRY(gr_require_list(c, 2, GR_T(INT64), &n, err));
    GR_TRY(gr_window_check(c, 0, w, err));
    if (!gr_rank_known(c, 0)) return gr_set(c, 0, dtype, GR_RANK_UNKNOWN, NULL);
    const gr_type *x = c->in[0];
    if (gr_rank_known(c, 1) && c->in[1]->rank != x->rank)
        return gr_fail(err, GR_EMODEL, "indices have rank %d and the input rank %d", c->in[1]->rank, x->rank);
    for (int i = 0; gr_rank_known(c, 1) && i < x->rank; i++) {
        gr_dim same;
        GR_TRY(gr_same_dim(c, x->dims[i], c->in[1]->dims[i], i, &same, err));
    }
    if (gr_has(c, 2) && !gr_known_ints(c, 2, &n, &shape)) return gr_set_rank(c, 0, dtype, x->rank);
    if (gr_has(c, 2) && n != x->rank)
        return gr_fail(err, GR_EMODEL, "the output shape has %lld elements, expected %d", (long long)n, x->rank);
    if (gr_has(c, 2)) return gr_set(c, 0, dtype, x->rank, shape);
    gr_dim *d = gr_dims(c, x->rank);
    for (int i = 0; i < x->rank; i++) {
        d[i] = x->dims[i];
        if (i < 2) continue;
        gr_dim starts = gr_sym_mul(c->syms, x->dims[i], GR_DIM(w->strides ? w->strides[i - 2] : 1));
        d[i] = gr_sym_add(c->syms, starts, GR_DIM(unpooled_more(w, i - 2)));
    }
    return gr_set(c, 0, dtype, x->rank, d);
}

static gr_status unpool_ref(const gr_step *s, gr_err *err)
{
    const gr_window *w = &GR_PARAMS(params, s)->window;
    const gr_tensor *x = s->in[0], *y = s->out[0];
    const int64_t *indices = s->in[1]->data;
    size_t bytes = (size_t)gr_dtype_bits(x->dtype) / 8;
    gr_tensor full = *x; /* in shape only */
    for (int i = 2; i < x->rank; i++) {
        int64_t stride = w->strides ? w->strides[i - 2] : 1;
        if (__builtin_mul_overflow(x->dims[i], stride, &full.dims[i])) full.dims[i] = -1;
        else full.dims[i] += unpooled_more(w, i - 2);
    }
    if (!gr_elements(full.rank, full.dims, &full.elements))
        return gr_fail(err, GR_EINPUT, "strides, kernel and pads do not give a shape");
    if (y->size) memset(y->data, 0, y->size);
    for (int64_t i = 0; i < x->elements; i++) {
        int64_t index[GR_MAX_RANK], from = gr_wrap_index(indices[i], full.elements), to = 0;
        if (from < 0) return gr_bad_index(indices[i], full.elements, err);
        gr_index_of(full.rank, full.dims, from, index);
        for (int d = 0; d < y->rank; d++) {
            if (index[d] >= y->dims[d]) return gr_bad_index(index[d], y->dims[d], err);
            to = to * y->dims[d] + index[d];
        }
        memcpy((char *)y->data + (size_t)to * bytes, (const char *)x->data + (size_t)i * bytes, bytes);
    }
    return GR_OK;
}
static const gr_kernel unpool_kernels[] = {{"ref", gr_prepare_shaped, unpool_ref, NULL}, {0}};

/* clang-format off */
#define POOL(name, since, outputs, parse_, infer_, what)                                                               \
    GR_OP_ROW(name, since, 1, 1, outputs, 0, parse_, infer_, what##_kernels)
#define UNPOOL(since) GR_OP_ROW("MaxUnpool", since, 2, 3, 1, GR_OP_DYNAMIC, parse, infer_unpool, unpool_kernels)

const gr_op op_pool[] = {
    POOL("MaxPool", 1, 1, parse, infer_max, max), POOL("MaxPool", 8, 2, parse, infer_max, max),
    POOL("MaxPool", 10, 2, parse, infer_max, max), POOL("MaxPool", 11, 2, parse, infer_max, max),
    POOL("MaxPool", 12, 2, parse, infer_max, max), POOL("MaxPool", 22, 2, parse, infer_max, max),
    POOL("AveragePool", 1, 1, parse, infer, average), POOL("AveragePool", 7, 1, parse, infer, average),
    POOL("AveragePool", 10, 1, parse, infer, average), POOL("AveragePool", 11, 1, parse, infer, average),
    POOL("AveragePool", 19, 1, parse, infer, average), POOL("AveragePool", 22, 1, parse, infer, average),
    POOL("LpPool", 1, 1, parse_lp, infer, lp), POOL("LpPool", 2, 1, parse_lp, infer, lp),
    POOL("LpPool", 11, 1, parse_lp, infer, lp), POOL("LpPool", 18, 1, parse_lp, infer, lp),
    POOL("LpPool", 22, 1, parse_lp, infer, lp),
    POOL("GlobalMaxPool", 1, 1, parse_global, infer, max), POOL("GlobalMaxPool", 22, 1, parse_global, infer, max),
    POOL("GlobalAveragePool", 1, 1, parse_global, infer, average),
    POOL("GlobalAveragePool", 22, 1, parse_global, infer, average),
    POOL("GlobalLpPool", 1, 1, parse_global, infer, lp), POOL("GlobalLpPool", 2, 1, parse_global, infer, lp),
    POOL("GlobalLpPool", 22, 1, parse_global, infer, lp),
    UNPOOL(9), UNPOOL(11), UNPOOL(22), {0}};
/* clang-format on */
