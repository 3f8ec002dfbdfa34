/* SPDX-License-Identifier: Apache-2.0
 *
 * DFT and STFT. Complex numbers are the last axis, [re] or [re, im]. With w = exp(-2 pi i / n):
 *
 *     y[k] = sum over j of x[j] w^(j k);  the inverse has w's conjugate and divides by n
 *
 * One-sided: the forward transform of a real signal keeps the first n / 2 + 1 numbers, and the inverse takes that many,
 * whose mirror images it adds, and gives a real signal. Computed in double by splitting n into its prime factors.
 */
#include "elem.h"
#include "move.h"

typedef struct params {
    bool inverse, onesided, axis_input;
    int64_t axis;
} params;

static gr_status parse_of(gr_attrs attrs, gr_arena *arena, bool axis_input, bool onesided, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    if (!p) return gr_nomem(err);
    *out = p;
    p->axis_input = axis_input;
    GR_TRY(gr_attr_bool(attrs, "inverse", false, &p->inverse, err));
    GR_TRY(gr_attr_bool(attrs, "onesided", onesided, &p->onesided, err));
    return gr_attr_int(attrs, "axis", 1, &p->axis, err);
}

static gr_status parse_17(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return parse_of(attrs, arena, false, false, out, err);
}
static gr_status parse_20(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return parse_of(attrs, arena, true, false, out, err);
}
static gr_status parse_stft(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return parse_of(attrs, arena, false, true, out, err);
}

/* ---- one transform ---- */

typedef struct complex_number {
    double re, im;
} cplx;

static cplx times(cplx a, cplx b) { return (cplx){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }

/* roots[j] = exp(sign * 2 pi i j / n) */
static void make_roots(int64_t n, double sign, cplx *roots)
{
    const double turn = 2 * 3.14159265358979323846;
    for (int64_t j = 0; j < n; j++) {
        double angle = turn * (double)j / (double)n;
        roots[j] = (cplx){cos(angle), sign * sin(angle)};
    }
}

static int64_t least_factor(int64_t n)
{
    for (int64_t p = 2; p * p <= n; p++)
        if (n % p == 0) return p;
    return n;
}

/* y[0..n) = transform of x[0], x[step], ...; `roots` are those of n * step, `hold` has room for the greatest prime of n.
 * The p parts of every p-th element are transformed by themselves, then put together. */
static void transform(int64_t n, const cplx *x, int64_t step, cplx *y, const cplx *roots, cplx *hold)
{
    if (n == 1) {
        *y = *x;
        return;
    }
    int64_t p = least_factor(n), m = n / p, all = n * step;
    for (int64_t q = 0; q < p; q++) transform(m, x + q * step, step * p, y + q * m, roots, hold);
    for (int64_t k = 0; k < m; k++) {
        for (int64_t q = 0; q < p; q++) hold[q] = times(y[q * m + k], roots[q * k * step]);
        for (int64_t r = 0; r < p; r++) {
            cplx sum = hold[0];
            int64_t turn = r * m * step, at = 0; /* hold[q] turns by r q / p */
            for (int64_t q = 1; q < p; q++) {
                at = at + turn < all ? at + turn : at + turn - all;
                cplx part = times(hold[q], roots[at]);
                sum.re += part.re, sum.im += part.im;
            }
            y[r * m + k] = sum;
        }
    }
}

/* Complex numbers of scratch: the roots, which all threads read, and for each thread signal, result and `hold`. */
static bool need_scratch(gr_step *s, int64_t n, gr_why *why)
{
    size_t parts = 1 + 3 * (size_t)gr_step_threads(s);
    if (n > INT32_MAX || !gr_mul((size_t)(n ? n : 1) * sizeof(cplx), parts, &s->scratch_size))
        return gr_decline(why, "a signal of %lld elements", (long long)n);
    return true;
}

/* Lines of x and y: `count` complex or real numbers, `step` numbers apart. */
typedef struct line {
    int64_t first, step, count;
    int parts; /* 1: real, 2: complex */
} line;

static cplx number_at(const gr_tensor *x, const line *l, int64_t i)
{
    int64_t at = (l->first + i * l->step) * l->parts;
    return (cplx){gr_at(x, at), l->parts == 2 ? gr_at(x, at + 1) : 0};
}

static void write_line(const gr_tensor *y, const line *l, const cplx *values, double scale)
{
    for (int64_t i = 0; i < l->count; i++) {
        int64_t at = (l->first + i * l->step) * l->parts;
        gr_at_put(y, at, values[i].re * scale);
        if (l->parts == 2) gr_at_put(y, at + 1, values[i].im * scale);
    }
}

/* ---- DFT ---- */

/* The axis as an attribute or input; false if it is not known. */
static bool axis_of(const gr_infer *c, int64_t *axis)
{
    const params *p = GR_PARAMS(params, c);
    gr_dim d;
    *axis = p->axis_input ? -2 : p->axis;
    if (!p->axis_input || !gr_has(c, 2)) return true;
    if (!gr_known_int(c, 2, &d) || !gr_dim_known(d)) return false;
    *axis = d.k;
    return true;
}

static gr_status signal_axis(int64_t axis, int rank, int *out, gr_err *err)
{
    GR_TRY(gr_axis(axis, rank, out, err));
    if (*out == rank - 1) return gr_fail(err, GR_EMODEL, "axis %lld is that of the complex numbers", (long long)axis);
    return GR_OK;
}

static gr_status check_parts(const gr_infer *c, uint32_t i, gr_err *err)
{
    if (!gr_rank_known(c, i)) return GR_OK;
    const gr_type *t = c->in[i];
    gr_dim parts = t->rank ? t->dims[t->rank - 1] : GR_DIM(0);
    if (t->rank < 2 || (gr_dim_known(parts) && parts.k != 1 && parts.k != 2))
        return gr_fail(err, GR_EMODEL, "the last of at least two axes of input %u must have 1 or 2 elements", i);
    return GR_OK;
}

/* Elements of the output along the axis for a transform of n. */
static gr_dim kept(const gr_infer *c, gr_dim n)
{
    const params *p = GR_PARAMS(params, c);
    if (!p->onesided || p->inverse) return n;
    return gr_sym_add(c->syms, gr_sym_div(c->syms, n, GR_DIM(2)), GR_DIM(1));
}

static gr_status infer_dft(const gr_infer *c, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    int64_t axis;
    int at;
    if (!gr_has(c, 0)) return gr_fail(err, GR_EMODEL, "input 0 is missing");
    gr_dtype dtype = c->in[0]->dtype;
    GR_TRY(gr_require(c, 0, GR_T_FLOATS, err));
    for (uint32_t i = 1; i < 3; i++) {
        GR_TRY(gr_require(c, i, GR_T_INDEX, err));
        GR_TRY(gr_require_scalar(c, i, err));
    }
    GR_TRY(check_parts(c, 0, err));
    if (!gr_rank_known(c, 0)) return gr_set(c, 0, dtype, GR_RANK_UNKNOWN, NULL);
    const gr_type *x = c->in[0];
    if (!axis_of(c, &axis)) return gr_set_rank(c, 0, dtype, x->rank);
    GR_TRY(signal_axis(axis, x->rank, &at, err));
    gr_dim *d = gr_dims(c, x->rank), n = x->dims[at];
    for (int i = 0; i < x->rank; i++) d[i] = x->dims[i];
    if (p->inverse && p->onesided) n = gr_sym_mul(c->syms, GR_DIM(2), gr_sym_sub(c->syms, n, GR_DIM(1)));
    if (gr_has(c, 1) && !gr_known_int(c, 1, &n)) n = gr_sym_fresh(c->syms);
    if (gr_dim_known(n) && n.k < 1) return gr_fail(err, GR_EINPUT, "a transform of length %lld", (long long)n.k);
    d[at] = kept(c, n);
    d[x->rank - 1] = GR_DIM(p->inverse && p->onesided ? 1 : 2);
    return gr_set(c, 0, dtype, x->rank, d);
}

typedef struct plan {
    int64_t n;            /* length of the transform */
    int64_t outer, inner; /* lines: before the axis, and behind it up to the parts */
    int64_t in, out;      /* elements of the axis */
    int in_parts, out_parts;
} plan;

static gr_status plan_dft(const gr_step *s, plan *l, gr_err *err)
{
    const params *p = GR_PARAMS(params, s);
    const gr_tensor *x = s->in[0], *length = gr_step_in(s, 1), *axis = gr_step_in(s, 2), *y = s->out[0];
    int at;
    GR_TRY(signal_axis(!p->axis_input ? p->axis : axis ? gr_int_at(axis, 0) : -2, x->rank, &at, err));
    *l = (plan){.in = x->dims[at], .in_parts = (int)x->dims[x->rank - 1]};
    l->outer = gr_extent(x, 0, at);
    l->inner = gr_extent(x, at + 1, x->rank - 1);
    l->out_parts = p->inverse && p->onesided ? 1 : 2;
    l->n = length ? gr_int_at(length, 0) : p->inverse && p->onesided ? 2 * (l->in - 1) : l->in;
    if (l->n < 1) return gr_fail(err, GR_EINPUT, "a transform of length %lld", (long long)l->n);
    l->out = p->onesided && !p->inverse ? l->n / 2 + 1 : l->n;
    GR_TRY(gr_check_extent(l->out, y->dims[at], err));
    return gr_check_extent(l->out_parts, y->dims[y->rank - 1], err);
}

/* The signal cut or filled up with zeros; for the one-sided inverse with the conjugates that are left out. */
static void read_signal(const gr_tensor *x, const plan *l, const line *from, bool mirror, cplx *signal)
{
    int64_t given = mirror ? l->n / 2 + 1 : l->n;
    for (int64_t i = 0; i < l->n; i++)
        signal[i] = i < given && i < from->count ? number_at(x, from, i) : (cplx){0, 0};
    for (int64_t i = given; i < l->n; i++) signal[i] = (cplx){signal[l->n - i].re, -signal[l->n - i].im};
    if (mirror) { /* numbers that are their own conjugates */
        signal[0].im = 0;
        if (l->n % 2 == 0) signal[l->n / 2].im = 0;
    }
}

static bool dft_prepare(gr_step *s, gr_why *why)
{
    plan l;
    gr_err err = {.text = ""};
    if (!gr_prepare_shaped(s, why)) return false;
    const gr_tensor *length = gr_step_in(s, 1), *axis = gr_step_in(s, 2);
    bool known = (!length || length->data) && (!axis || axis->data);
    if (!known) { /* no transform is longer than this */
        int64_t n = 1;
        for (int i = 0; i + 1 < s->out[0]->rank; i++)
            if (s->out[0]->dims[i] > n) n = s->out[0]->dims[i];
        return need_scratch(s, 2 * n, why);
    }
    if (plan_dft(s, &l, &err) != GR_OK) return need_scratch(s, 1, why); /* run fails likewise */
    return need_scratch(s, l.n, why);
}

static gr_status dft_run(const gr_step *s, gr_err *err)
{
    const params *p = GR_PARAMS(params, s);
    const gr_tensor *x = s->in[0], *y = s->out[0];
    plan l;
    GR_TRY(plan_dft(s, &l, err));
    cplx *roots = s->scratch, *own = roots + l.n;
    make_roots(l.n, p->inverse ? 1 : -1, roots);
    bool mirror = p->inverse && p->onesided;
#pragma omp parallel for num_threads(gr_step_threads(s)) if (y->elements > GR_PARALLEL_MIN / 16)
    for (int64_t i = 0; i < l.outer * l.inner; i++) {
        cplx *signal = own + omp_get_thread_num() * 3 * l.n, *result = signal + l.n, *hold = result + l.n;
        int64_t o = i / l.inner, k = i % l.inner;
        line from = {o * l.in * l.inner + k, l.inner, l.in, l.in_parts};
        line to = {o * l.out * l.inner + k, l.inner, l.out, l.out_parts};
        read_signal(x, &l, &from, mirror, signal);
        transform(l.n, signal, 1, result, roots, hold);
        write_line(y, &to, result, p->inverse ? 1 / (double)l.n : 1);
    }
    return GR_OK;
}

/* ---- STFT: transforms of windowed frames, frame_step apart ---- */

enum { SIGNAL, FRAME_STEP, WINDOW, FRAME_LENGTH };

/* Elements of a frame; fresh if not known. */
static gr_dim frame_of(const gr_infer *c, gr_dim signal)
{
    gr_dim n;
    if (gr_has(c, FRAME_LENGTH)) return gr_known_int(c, FRAME_LENGTH, &n) ? n : gr_sym_fresh(c->syms);
    if (!gr_has(c, WINDOW)) return signal;
    return gr_rank_known(c, WINDOW) ? c->in[WINDOW]->dims[0] : gr_sym_fresh(c->syms);
}

static gr_status infer_stft(const gr_infer *c, gr_err *err)
{
    gr_dim step;
    for (uint32_t i = 0; i < 2; i++)
        if (!gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
    gr_dtype dtype = c->in[SIGNAL]->dtype;
    GR_TRY(gr_require(c, SIGNAL, GR_T_FLOATS, err));
    GR_TRY(gr_require_same(c, SIGNAL, WINDOW, err));
    for (uint32_t i = FRAME_STEP; i <= FRAME_LENGTH; i += 2) {
        GR_TRY(gr_require(c, i, GR_T_INDEX, err));
        GR_TRY(gr_require_scalar(c, i, err));
    }
    GR_TRY(check_parts(c, SIGNAL, err));
    if (gr_rank_known(c, WINDOW) && c->in[WINDOW]->rank != 1)
        return gr_fail(err, GR_EMODEL, "the window has rank %d, expected 1", c->in[WINDOW]->rank);
    if (gr_rank_known(c, SIGNAL) && c->in[SIGNAL]->rank != 3)
        return gr_fail(err, GR_EMODEL, "the signal has rank %d, expected 3", c->in[SIGNAL]->rank);
    gr_dim *d = gr_dims(c, 4), signal = gr_rank_known(c, SIGNAL) ? c->in[SIGNAL]->dims[1] : gr_sym_fresh(c->syms);
    gr_dim frame = frame_of(c, signal);
    d[0] = gr_rank_known(c, SIGNAL) ? c->in[SIGNAL]->dims[0] : gr_sym_fresh(c->syms);
    d[1] = gr_sym_fresh(c->syms);
    if (gr_known_int(c, FRAME_STEP, &step) && gr_dim_known(step)) {
        if (step.k < 1) return gr_fail(err, GR_EINPUT, "a step of %lld between frames", (long long)step.k);
        gr_dim room = gr_sym_sub(c->syms, signal, frame);
        if (gr_dim_known(room) && room.k < 0)
            return gr_fail(err, GR_EINPUT, "a frame is %lld elements longer than the signal", (long long)-room.k);
        d[1] = gr_sym_add(c->syms, gr_sym_div(c->syms, room, step), GR_DIM(1));
    }
    if (gr_dim_known(frame) && frame.k < 1) return gr_fail(err, GR_EINPUT, "frames of %lld elements", (long long)frame.k);
    d[2] = kept(c, frame);
    d[3] = GR_DIM(2);
    return gr_set(c, 0, dtype, 4, d);
}

typedef struct frames {
    int64_t step, n, count, out, signal;
} frames;

static gr_status plan_stft(const gr_step *s, frames *f, gr_err *err)
{
    const gr_tensor *x = s->in[SIGNAL], *window = gr_step_in(s, WINDOW), *length = gr_step_in(s, FRAME_LENGTH);
    *f = (frames){.signal = x->dims[1], .step = gr_int_at(s->in[FRAME_STEP], 0)};
    f->n = length ? gr_int_at(length, 0) : window ? window->elements : f->signal;
    if (f->step < 1 || f->n < 1 || f->n > f->signal || (window && window->elements != f->n))
        return gr_fail(err, GR_EINPUT, "frames of %lld elements, %lld apart, do not fit a signal of %lld%s",
                       (long long)f->n, (long long)f->step, (long long)f->signal, window ? " or the window" : "");
    f->count = (f->signal - f->n) / f->step + 1;
    f->out = GR_PARAMS(params, s)->onesided ? f->n / 2 + 1 : f->n;
    GR_TRY(gr_check_extent(f->count, s->out[0]->dims[1], err));
    return gr_check_extent(f->out, s->out[0]->dims[2], err);
}

static bool stft_prepare(gr_step *s, gr_why *why)
{
    return gr_prepare_shaped(s, why) && need_scratch(s, s->in[SIGNAL]->dims[1], why);
}

static gr_status stft_run(const gr_step *s, gr_err *err)
{
    const gr_tensor *x = s->in[SIGNAL], *window = gr_step_in(s, WINDOW), *y = s->out[0];
    frames f;
    GR_TRY(plan_stft(s, &f, err));
    cplx *roots = s->scratch, *own = roots + f.n;
    make_roots(f.n, -1, roots);
#pragma omp parallel for num_threads(gr_step_threads(s)) if (y->elements > GR_PARALLEL_MIN / 16)
    for (int64_t i = 0; i < x->dims[0] * f.count; i++) {
        cplx *signal = own + omp_get_thread_num() * 3 * f.n, *result = signal + f.n, *hold = result + f.n;
        line from = {i / f.count * f.signal + i % f.count * f.step, 1, f.n, (int)x->dims[2]};
        line to = {i * f.out, 1, f.out, 2};
        for (int64_t k = 0; k < f.n; k++) {
            double by = window ? gr_at(window, k) : 1;
            signal[k] = number_at(x, &from, k);
            signal[k].re *= by, signal[k].im *= by;
        }
        transform(f.n, signal, 1, result, roots, hold);
        write_line(y, &to, result, 1);
    }
    return GR_OK;
}

static const gr_kernel dft_kernels[] = {{"ref", dft_prepare, dft_run, NULL}, {0}};
static const gr_kernel stft_kernels[] = {{"ref", stft_prepare, stft_run, NULL}, {0}};

const gr_op op_dft[] = {GR_OP_ROW("DFT", 17, 1, 2, 1, GR_OP_DYNAMIC, parse_17, infer_dft, dft_kernels),
                        GR_OP_ROW("DFT", 20, 1, 3, 1, GR_OP_DYNAMIC, parse_20, infer_dft, dft_kernels),
                        GR_OP_ROW("STFT", 17, 2, 4, 1, GR_OP_DYNAMIC, parse_stft, infer_stft, stft_kernels),
                        {0}};
