/* SPDX-License-Identifier: Apache-2.0
 *
 * Windows that slide over the spatial axes (those behind batch and channels) of Conv and of pooling: their attributes,
 * the extents that follow from them, and where a tap of a window lies in a plane.
 */
#ifndef GR_WINDOW_H
#define GR_WINDOW_H

#include "op.h"

enum { GR_MAX_SPATIAL = GR_MAX_RANK - 2 };
enum gr_auto_pad { GR_PAD_GIVEN, GR_PAD_VALID, GR_PAD_SAME_UPPER, GR_PAD_SAME_LOWER };

typedef struct gr_window {
    enum gr_auto_pad pad;
    bool ceil;
    int64_t n; /* axes that the lists are about; -1: none is given */
    const int64_t *kernel, *strides, *dilations, *pads; /* NULL: not given, then 1 or 0 */
} gr_window;

/* One axis of concrete shapes: tap k of window o lies at o * stride + k * dilation - begin. */
typedef struct gr_span {
    int64_t in, out, kernel, stride, dilation, begin, end;
} gr_span;

/* A list of `each` numbers per axis in [least, INT32_MAX]; all lists must be about the same number of axes. */
static inline gr_status gr_window_list(gr_attrs attrs, const char *name, int each, int64_t least, int64_t *axes,
                                       const int64_t **out, gr_err *err)
{
    int64_t n;
    GR_TRY(gr_attr_ints(attrs, name, &n, out, err));
    if (n <= 0) {
        *out = NULL;
        return GR_OK;
    }
    if (n % each || n / each > GR_MAX_SPATIAL || (*axes >= 0 && *axes != n / each))
        return gr_fail(err, GR_EMODEL, "attribute '%s' has %lld elements, which do not fit the other attributes", name,
                       (long long)n);
    *axes = n / each;
    for (int64_t i = 0; i < n; i++)
        if ((*out)[i] < least || (*out)[i] > INT32_MAX)
            return gr_fail(err, GR_EMODEL, "attribute '%s' holds %lld, expected %lld to %d", name, (long long)(*out)[i],
                           (long long)least, INT32_MAX);
    return GR_OK;
}

static inline gr_status gr_window_parse(gr_attrs attrs, gr_window *w, gr_err *err)
{
    static const char *const names[] = {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"};
    const char *name;
    w->n = -1;
    GR_TRY(gr_attr_string(attrs, "auto_pad", "NOTSET", &name, err));
    for (w->pad = GR_PAD_GIVEN; strcmp(name, names[w->pad]);)
        if (++w->pad > GR_PAD_SAME_LOWER) return gr_fail(err, GR_EMODEL, "attribute 'auto_pad' is '%s'", gr_show(name));
    GR_TRY(gr_attr_bool(attrs, "ceil_mode", false, &w->ceil, err));
    GR_TRY(gr_window_list(attrs, "kernel_shape", 1, 1, &w->n, &w->kernel, err));
    GR_TRY(gr_window_list(attrs, "strides", 1, 1, &w->n, &w->strides, err));
    GR_TRY(gr_window_list(attrs, "dilations", 1, 1, &w->n, &w->dilations, err));
    return gr_window_list(attrs, "pads", 2, 0, &w->n, &w->pads, err);
}

/* Axis i of a window without what depends on the input. */
static inline gr_span gr_window_span(const gr_window *w, int i, int64_t kernel)
{
    bool given = w->pads && w->pad == GR_PAD_GIVEN;
    return (gr_span){.kernel = kernel,
                     .stride = w->strides ? w->strides[i] : 1,
                     .dilation = w->dilations ? w->dilations[i] : 1,
                     .begin = given ? w->pads[i] : 0,
                     .end = given ? w->pads[w->n + i] : 0};
}

/* Elements that one window covers, gaps included. */
static inline int64_t gr_span_reach(const gr_span *s) { return (s->kernel - 1) * s->dilation + 1; }

static inline gr_status gr_span_check(int64_t in, int64_t kernel, gr_err *err)
{
    if (in <= INT64_MAX / 8 && kernel <= INT32_MAX) return GR_OK;
    return gr_fail(err, GR_ELIMIT, "a window of %lld over %lld elements", (long long)kernel, (long long)in);
}

/* Windows start every `stride` elements; with `ceil` one more may reach over the end, but none may start behind it. */
static inline gr_status gr_window_fit(const gr_window *w, int i, int64_t kernel, int64_t in, gr_span *s, gr_err *err)
{
    GR_TRY(gr_span_check(in, kernel, err));
    *s = gr_window_span(w, i, kernel);
    s->in = in;
    int64_t reach = gr_span_reach(s);
    if (w->pad >= GR_PAD_SAME_UPPER) {
        s->out = (in + s->stride - 1) / s->stride;
        int64_t pad = (s->out - 1) * s->stride + reach - in, more, less;
        if (pad < 0) pad = 0;
        more = pad - pad / 2, less = pad / 2;
        s->begin = w->pad == GR_PAD_SAME_UPPER ? less : more;
        s->end = pad - s->begin;
        return GR_OK;
    }
    int64_t room = in + s->begin + s->end - reach;
    if (room < 0)
        return gr_fail(err, GR_EMODEL, "a window that reaches over %lld elements does not fit the %lld of axis %d",
                       (long long)reach, (long long)(in + s->begin + s->end), i + 2);
    s->out = (room + (w->ceil ? s->stride - 1 : 0)) / s->stride + 1;
    if (w->ceil && (s->out - 1) * s->stride >= in + s->begin) s->out--;
    return GR_OK;
}

/* The extent of the output along spatial axis i. */
static inline gr_status gr_window_dim(const gr_infer *c, const gr_window *w, int i, gr_dim kernel, gr_dim in,
                                      gr_dim *out, gr_err *err)
{
    gr_span s;
    *out = gr_sym_fresh(c->syms);
    if (!gr_dim_known(kernel)) return GR_OK;
    if (gr_dim_known(in)) {
        GR_TRY(gr_window_fit(w, i, kernel.k, in.k, &s, err));
        *out = GR_DIM(s.out);
        return GR_OK;
    }
    GR_TRY(gr_span_check(0, kernel.k, err));
    s = gr_window_span(w, i, kernel.k);
    int64_t pads = w->pad >= GR_PAD_SAME_UPPER ? s.stride - 1 : s.begin + s.end - gr_span_reach(&s);
    gr_dim room = gr_sym_add(c->syms, in, GR_DIM(pads));
    if (w->pad >= GR_PAD_SAME_UPPER)
        *out = gr_sym_div(c->syms, room, GR_DIM(s.stride));
    else if (!w->ceil || s.stride == 1)
        *out = gr_sym_add(c->syms, gr_sym_div(c->syms, room, GR_DIM(s.stride)), GR_DIM(1));
    return GR_OK;
}

/* The lists are about the spatial axes of input i, which has at least one. */
static inline gr_status gr_window_check(const gr_infer *c, uint32_t i, const gr_window *w, gr_err *err)
{
    if (!gr_rank_known(c, i)) return GR_OK;
    int rank = c->in[i]->rank;
    if (rank < 3) return gr_fail(err, GR_EMODEL, "input %u has rank %d, expected batch, channels and axes", i, rank);
    if (w->n >= 0 && w->n != rank - 2)
        return gr_fail(err, GR_EMODEL, "its attributes are about %lld axes, input %u has %d behind the channels",
                       (long long)w->n, i, rank - 2);
    return GR_OK;
}

/* ---- Walking: indices count like a row-major odometer. ---- */

static inline bool gr_next_index(int n, const int64_t *dims, int64_t *index)
{
    for (int i = n - 1; i >= 0; i--) {
        if (++index[i] < dims[i]) return true;
        index[i] = 0;
    }
    return false;
}

static inline void gr_index_of(int n, const int64_t *dims, int64_t at, int64_t *index)
{
    for (int i = n - 1; i >= 0; at /= dims[i--]) index[i] = at % dims[i];
}

/* Offset in the plane of tap `tap` of window `out`; -1: in the padding. */
static inline int64_t gr_span_offset(int n, const gr_span *s, const int64_t *out, const int64_t *tap)
{
    int64_t offset = 0;
    for (int i = 0; i < n; i++) {
        int64_t at = out[i] * s[i].stride + tap[i] * s[i].dilation - s[i].begin;
        if (at < 0 || at >= s[i].in) return -1;
        offset = offset * s[i].in + at;
    }
    return offset;
}

#endif
