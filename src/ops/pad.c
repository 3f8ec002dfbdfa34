/* SPDX-License-Identifier: Apache-2.0
 *
 * Pad: constant, reflect, edge and (from 19) wrap. 1 and 2 have pads and value as attributes, from 11 on they are
 * inputs, from 18 on with a list of axes. Negative pads crop; what is reflected, repeated or wrapped is then the
 * cropped part.
 */
#include "loops.h"
#include "move.h"

typedef enum pad_mode { CONSTANT, REFLECT, EDGE, WRAP } pad_mode;

typedef struct pad_params {
    pad_mode mode;
    int64_t n; /* -1: pads are an input */
    const int64_t *pads;
    float value;
} pad_params;

static gr_status parse_mode(gr_attrs attrs, pad_mode last, pad_mode *mode, gr_err *err)
{
    static const char *const names[] = {"constant", "reflect", "edge", "wrap"};
    const char *name;
    GR_TRY(gr_attr_string(attrs, "mode", "constant", &name, err));
    for (*mode = CONSTANT; *mode <= last; ++*mode)
        if (!strcmp(name, names[*mode])) return GR_OK;
    return gr_fail(err, GR_EMODEL, "attribute 'mode' is '%s'", gr_show(name));
}

static gr_status parse_attrs(gr_attrs attrs, gr_arena *arena, const void **params, const char *name, gr_err *err)
{
    pad_params *p = GR_NEW(arena, pad_params);
    if (!p) return gr_nomem(err);
    *params = p;
    GR_TRY(parse_mode(attrs, EDGE, &p->mode, err));
    GR_TRY(gr_attr_float(attrs, "value", 0, &p->value, err));
    GR_TRY(gr_attr_ints(attrs, name, &p->n, &p->pads, err));
    return p->n < 0 ? gr_fail(err, GR_EMODEL, "attribute '%s' is missing", name) : GR_OK;
}

static gr_status parse_1(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    return parse_attrs(attrs, arena, params, "paddings", err);
}

static gr_status parse_2(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    return parse_attrs(attrs, arena, params, "pads", err);
}

static gr_status parse_inputs(gr_attrs attrs, gr_arena *arena, const void **params, pad_mode last, gr_err *err)
{
    pad_params *p = GR_NEW(arena, pad_params);
    if (!p) return gr_nomem(err);
    *params = p;
    p->n = -1;
    return parse_mode(attrs, last, &p->mode, err);
}

static gr_status parse_11(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    return parse_inputs(attrs, arena, params, EDGE, err);
}

static gr_status parse_19(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    return parse_inputs(attrs, arena, params, WRAP, err);
}

/* dim + before + after; a negative pad takes away no more than there is. */
static gr_status padded_extent(int64_t dim, int64_t before, int64_t after, int axis, int64_t *out, gr_err *err)
{
    *out = 0;
    if (before >= -dim && after >= -dim && !__builtin_add_overflow(dim, before, out) &&
        !__builtin_add_overflow(*out, after, out) && *out >= 0)
        return GR_OK;
    return gr_fail(err, GR_EINPUT, "pads of %lld and %lld do not fit axis %d of %lld", (long long)before,
                   (long long)after, axis, (long long)dim);
}

static gr_status padded(const gr_infer *c, pad_mode mode, gr_dim *d, gr_dim before, gr_dim after, int axis, gr_err *err)
{
    gr_dim in = *d;
    *d = gr_sym_add(c->syms, gr_sym_add(c->syms, in, before), after);
    if (gr_dim_known(in) && gr_dim_known(before) && gr_dim_known(after)) {
        int64_t sum = 0;
        GR_TRY(padded_extent(in.k, before.k, after.k, axis, &sum, err));
        *d = GR_DIM(sum);
    }
    if (mode != CONSTANT && gr_dim_is(in, 0) && gr_dim_known(*d) && d->k > 0)
        return gr_fail(err, GR_EINPUT, "axis %d is empty, there is nothing to pad it with", axis);
    return GR_OK;
}

static gr_status check_inputs(const gr_infer *c, int64_t *n, int64_t *naxes, gr_err *err)
{
    const pad_params *p = c->params;
    *n = *naxes = -1;
    GR_TRY(gr_require(c, 0, GR_T_ALL | GR_T(COMPLEX64) | GR_T(COMPLEX128), err));
    if (p->n >= 0) {
        *n = p->n;
        return GR_OK;
    }
    GR_TRY(gr_require_list(c, 1, GR_T(INT64), n, err));
    GR_TRY(gr_require_same(c, 0, 2, err));
    GR_TRY(gr_require_scalar(c, 2, err));
    if (gr_has(c, 3)) GR_TRY(gr_require_list(c, 3, GR_T_INDEX, naxes, err));
    return GR_OK;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const pad_params *p = c->params;
    gr_dtype t = gr_in_dtype(c, 0);
    int64_t n, naxes;
    const gr_dim *v = NULL, *axes = NULL;
    unsigned seen = 0;
    GR_TRY(check_inputs(c, &n, &naxes, err));
    if (!gr_rank_known(c, 0)) return gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL);
    int rank = c->in[0]->rank;
    if (p->n < 0) gr_known_ints(c, 1, &n, &v);
    if (p->n < 0 && gr_has(c, 3)) gr_known_ints(c, 3, &naxes, &axes);
    int64_t count = gr_has(c, 3) && p->n < 0 ? naxes : rank;
    if (n >= 0 && count >= 0 && (n % 2 || n / 2 != count))
        return gr_fail(err, GR_EMODEL, "%lld pads for %lld axes", (long long)n, (long long)count);
    if (count > rank) return gr_fail(err, GR_EMODEL, "%lld axes for an input of rank %d", (long long)count, rank);
    if ((p->n < 0 && !v) || count < 0 || (gr_has(c, 3) && p->n < 0 && !axes)) return gr_set_rank(c, 0, t, rank);
    gr_dim *d = gr_dims(c, rank);
    for (int i = 0; i < rank; i++) d[i] = c->in[0]->dims[i];
    for (int64_t i = 0; i < count; i++) {
        int axis = (int)i;
        if (axes && !gr_dim_known(axes[i])) return gr_set_rank(c, 0, t, rank);
        if (axes) GR_TRY(gr_axis(axes[i].k, rank, &axis, err));
        if (seen >> axis & 1) return gr_fail(err, GR_EMODEL, "axis %d is given twice", axis);
        seen |= 1u << axis;
        gr_dim before = v ? v[i] : GR_DIM(p->pads[i]), after = v ? v[i + count] : GR_DIM(p->pads[i + count]);
        GR_TRY(padded(c, p->mode, &d[axis], before, after, axis, err));
    }
    return gr_set(c, 0, t, rank, d);
}

/* Pads before and after every axis. */
static gr_status pads_of(const gr_step *s, int64_t *before, int64_t *after, gr_err *err)
{
    const pad_params *p = s->params;
    const gr_tensor *x = s->in[0], *y = s->out[0], *axes = s->nin > 3 ? s->in[3] : NULL;
    int64_t n = (p->n >= 0 ? p->n : s->in[1]->elements) / 2;
    for (int i = 0; i < x->rank; i++) before[i] = after[i] = 0;
    for (int64_t i = 0; i < n; i++) {
        int axis;
        GR_TRY(gr_axis(axes ? gr_int_at(axes, i) : i, x->rank, &axis, err));
        before[axis] = p->n >= 0 ? p->pads[i] : gr_int_at(s->in[1], i);
        after[axis] = p->n >= 0 ? p->pads[i + n] : gr_int_at(s->in[1], i + n);
    }
    for (int i = 0; i < x->rank; i++) {
        int64_t sum = 0;
        GR_TRY(padded_extent(x->dims[i], before[i], after[i], i, &sum, err));
        GR_TRY(gr_check_extent(sum, y->dims[i], err));
    }
    return GR_OK;
}

static int64_t positive(int64_t x) { return x > 0 ? x : 0; }
static int64_t cropped(int64_t pad) { return pad < 0 ? -pad : 0; } /* no less than -dim */

static void run_constant(const gr_step *s, const int64_t *before, const int64_t *after)
{
    const pad_params *p = s->params;
    const gr_tensor *x = s->in[0], *given = s->nin > 2 ? s->in[2] : NULL;
    gr_tensor *y = s->out[0];
    int bits = gr_dtype_bits(x->dtype);
    _Alignas(16) uint8_t value[16] = {0};
    int64_t strides[GR_MAX_RANK], to[GR_MAX_RANK], source = 0, target = 0;
    if (p->n >= 0 && gr_dtype_is_float(x->dtype)) gr_store_f32(x->dtype, 1, &p->value, value, 0);
    if (given) memcpy(value, given->data, (size_t)bits / 8);
    gr_move_fill(y->elements, bits, value, y->data);
    gr_dense_strides(x->rank, x->dims, strides);
    gr_dense_strides(y->rank, y->dims, to);
    gr_move m = {.rank = 0};
    for (int i = 0; i < x->rank; i++) {
        gr_move_loop(&m, positive(x->dims[i] - cropped(before[i]) - cropped(after[i])), strides[i], to[i]);
        source += cropped(before[i]) * strides[i];
        target += positive(before[i]) * to[i];
    }
    gr_move_run(&m, bits, x->data, source, y->data, target);
}

/* Position `at`, counted from the first element that is kept, folded into the n that are kept. */
static int64_t fold(pad_mode mode, int64_t at, int64_t n)
{
    if (mode == EDGE) return at < 0 ? 0 : at >= n ? n - 1 : at;
    int64_t period = mode == WRAP ? n : n > 1 ? 2 * (n - 1) : 1;
    at %= period;
    if (at < 0) at += period;
    return at < n ? at : period - at;
}

/* For each axis the offset in x of every position of y, one table after the other. */
static gr_status make_tables(const gr_step *s, const int64_t *before, const int64_t *after, gr_err *err)
{
    const pad_params *p = s->params;
    const gr_tensor *x = s->in[0], *y = s->out[0];
    int64_t strides[GR_MAX_RANK], *table = s->scratch;
    gr_dense_strides(x->rank, x->dims, strides);
    for (int i = 0; i < y->rank; i++) {
        int64_t first = cropped(before[i]), n = x->dims[i] - first - cropped(after[i]);
        if (n <= 0) return gr_fail(err, GR_EINPUT, "nothing is left of axis %d to pad it with", i);
        for (int64_t k = 0; k < y->dims[i]; k++)
            *table++ = (first + fold(p->mode, k - positive(before[i]), n)) * strides[i];
    }
    return GR_OK;
}

static void run_tables(const gr_step *s)
{
    const gr_tensor *x = s->in[0];
    gr_tensor *y = s->out[0];
    size_t bytes = (size_t)gr_dtype_bits(x->dtype) / 8;
    for (int64_t i = 0; i < y->elements; i++) {
        const int64_t *table = s->scratch;
        int64_t rest = i, from = 0, step = y->elements;
        for (int d = 0; d < y->rank; d++) {
            step /= y->dims[d];
            from += table[rest / step];
            rest %= step;
            table += y->dims[d];
        }
        memcpy((char *)y->data + (size_t)i * bytes, (const char *)x->data + (size_t)from * bytes, bytes);
    }
}

static bool prepare(gr_step *s, gr_why *why)
{
    if (!gr_prepare_shaped(s, why)) return false;
    if (((const pad_params *)s->params)->mode == CONSTANT || !s->out[0]->elements) return true;
    for (int i = 0; i < s->out[0]->rank; i++) s->scratch_size += (size_t)s->out[0]->dims[i] * sizeof(int64_t);
    return true;
}

static gr_status run(const gr_step *s, gr_err *err)
{
    int64_t before[GR_MAX_RANK], after[GR_MAX_RANK];
    GR_TRY(pads_of(s, before, after, err));
    if (!s->out[0]->elements) return GR_OK;
    if (((const pad_params *)s->params)->mode == CONSTANT) {
        run_constant(s, before, after);
        return GR_OK;
    }
    GR_TRY(make_tables(s, before, after, err));
    run_tables(s);
    return GR_OK;
}

static const gr_kernel kernels[] = {{"ref", prepare, run, NULL}, {0}};

#define PAD(since, max, parse) GR_OP_ROW("Pad", since, 2, max, 1, GR_OP_DYNAMIC, parse, infer, kernels)
/* clang-format off */
const gr_op op_pad[] = {
    GR_OP_ROW("Pad", 1, 1, 1, 1, 0, parse_1, infer, kernels), GR_OP_ROW("Pad", 2, 1, 1, 1, 0, parse_2, infer, kernels),
    PAD(11, 3, parse_11), PAD(13, 3, parse_11), PAD(18, 4, parse_11), PAD(19, 4, parse_19), PAD(21, 4, parse_19),
    PAD(23, 4, parse_19), PAD(24, 4, parse_19), PAD(25, 4, parse_19), {0},
};
