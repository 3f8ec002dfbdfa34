/* SPDX-License-Identifier: Apache-2.0
 *
 * What spectra are made with: HannWindow, HammingWindow and BlackmanWindow, and MelWeightMatrix. Computed in double and
 * cut to integers where such are asked for.
 */
#include "elem.h"
#include "move.h"

typedef struct params {
    gr_dtype dtype;
    bool periodic;
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    if (!p) return gr_nomem(err);
    *out = p;
    GR_TRY(gr_attr_bool(attrs, "periodic", true, &p->periodic, err));
    GR_TRY(gr_attr_dtype(attrs, "output_datatype", GR_FLOAT, &p->dtype, err));
    if (GR_T_NUMBERS >> p->dtype & 1) return GR_OK;
    return gr_fail(err, GR_EMODEL, "attribute 'output_datatype' is %s, expected a type of numbers",
                   gr_dtype_name(p->dtype));
}

static void put(const gr_tensor *y, int64_t i, double v)
{
    int64_t whole = v > -0x1p63 && v < 0x1p63 ? (int64_t)v : 0;
    if (gr_dtype_is_float(y->dtype)) gr_at_put(y, i, v);
    else gr_store_i64(y->dtype, 1, &whole, y->data, i);
}

/* An input that is one integer: its value if that is known, which may not be less than `least`. */
static gr_status number(const gr_infer *c, uint32_t i, int64_t least, gr_dim *out, gr_err *err)
{
    if (!gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
    GR_TRY(gr_require(c, i, GR_T_INDEX, err));
    GR_TRY(gr_require_scalar(c, i, err));
    if (!gr_known_int(c, i, out)) *out = gr_sym_fresh(c->syms);
    if (gr_dim_known(*out) && out->k < least) return gr_fail(err, GR_EINPUT, "input %u is %lld", i, (long long)out->k);
    return GR_OK;
}

/* ---- windows: a - b cos(2 pi n / N) + c cos(4 pi n / N) ---- */

static gr_status infer_window(const gr_infer *c, gr_err *err)
{
    gr_dim *d = gr_dims(c, 1);
    GR_TRY(number(c, 0, 0, &d[0], err));
    return gr_set(c, 0, GR_PARAMS(params, c)->dtype, 1, d);
}

static gr_status run_window(const gr_step *s, double a, double b, double c, gr_err *err)
{
    const gr_tensor *y = s->out[0];
    const double pi = 3.14159265358979323846;
    int64_t size = gr_int_at(s->in[0], 0), turn = GR_PARAMS(params, s)->periodic ? size : size - 1;
    GR_TRY(gr_check_extent(size, y->dims[0], err));
    for (int64_t n = 0; n < size; n++) {
        double angle = turn ? 2 * pi * (double)n / (double)turn : pi; /* a window of one element is its peak */
        put(y, n, a - b * cos(angle) + c * cos(2 * angle));
    }
    return GR_OK;
}

static gr_status hann(const gr_step *s, gr_err *err) { return run_window(s, 0.5, 0.5, 0, err); }
static gr_status hamming(const gr_step *s, gr_err *err) { return run_window(s, 25.0 / 46, 21.0 / 46, 0, err); }
static gr_status blackman(const gr_step *s, gr_err *err) { return run_window(s, 0.42, 0.5, 0.08, err); }

/* ---- MelWeightMatrix: column i is a triangle over the bins of a spectrum that lie between mel numbers i and i + 2 ---- */

enum { BANDS, LENGTH, RATE, LOWER, UPPER };

static gr_status infer_mel(const gr_infer *c, gr_err *err)
{
    gr_dim *d = gr_dims(c, 2), length, rate;
    GR_TRY(number(c, BANDS, 0, &d[1], err));
    GR_TRY(number(c, LENGTH, 0, &length, err));
    GR_TRY(number(c, RATE, 1, &rate, err));
    for (uint32_t i = LOWER; i <= UPPER; i++) {
        if (!gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
        GR_TRY(gr_require(c, i, GR_T_FLOATS, err));
        GR_TRY(gr_require_scalar(c, i, err));
    }
    d[0] = gr_sym_add(c->syms, gr_sym_div(c->syms, length, GR_DIM(2)), GR_DIM(1));
    return gr_set(c, 0, GR_PARAMS(params, c)->dtype, 2, d);
}

typedef struct mel {
    double low, step, length, rate; /* in mel numbers; DFT; Hz */
} mel;

static double to_mel(double hertz) { return 2595 * log10(1 + hertz / 700); }

/* The bin of the spectrum where mel number `low + i * step` lies. */
static double bin_at(const mel *m, int64_t i)
{
    double hertz = 700 * (pow(10, (m->low + (double)i * m->step) / 2595) - 1);
    return floor((m->length + 1) * hertz / m->rate);
}

static gr_status mel_ref(const gr_step *s, gr_err *err)
{
    const gr_tensor *y = s->out[0];
    int64_t bands = gr_int_at(s->in[BANDS], 0), length = gr_int_at(s->in[LENGTH], 0), rate = gr_int_at(s->in[RATE], 0);
    double high = to_mel(gr_at(s->in[UPPER], 0));
    if (bands < 0 || length < 0 || rate < 1)
        return gr_fail(err, GR_EINPUT, "%lld bands of %lld elements at %lld Hz", (long long)bands, (long long)length,
                       (long long)rate);
    mel m = {.low = to_mel(gr_at(s->in[LOWER], 0)), .length = (double)length, .rate = (double)rate};
    m.step = (high - m.low) / (double)(bands + 2);
    GR_TRY(gr_check_extent(length / 2 + 1, y->dims[0], err));
    GR_TRY(gr_check_extent(bands, y->dims[1], err));
    for (int64_t i = 0; i < bands; i++) {
        double left = bin_at(&m, i), peak = bin_at(&m, i + 1), right = bin_at(&m, i + 2);
        for (int64_t j = 0; j < y->dims[0]; j++) {
            double x = (double)j, v = 0;
            if (x == peak) v = 1;
            else if (x > left && x < peak) v = (x - left) / (peak - left);
            else if (x > peak && x < right) v = (right - x) / (right - peak);
            put(y, j * bands + i, v);
        }
    }
    return GR_OK;
}

static const gr_kernel hann_kernels[] = {{"ref", gr_prepare_shaped, hann, NULL}, {0}};
static const gr_kernel hamming_kernels[] = {{"ref", gr_prepare_shaped, hamming, NULL}, {0}};
static const gr_kernel blackman_kernels[] = {{"ref", gr_prepare_shaped, blackman, NULL}, {0}};
static const gr_kernel mel_kernels[] = {{"ref", gr_prepare_shaped, mel_ref, NULL}, {0}};

#define ROW(name, inputs, infer, kernels) GR_OP_ROW(name, 17, inputs, inputs, 1, GR_OP_DYNAMIC, parse, infer, kernels)

const gr_op op_signal[] = {ROW("HannWindow", 1, infer_window, hann_kernels),
                           ROW("HammingWindow", 1, infer_window, hamming_kernels),
                           ROW("BlackmanWindow", 1, infer_window, blackman_kernels),
                           ROW("MelWeightMatrix", 5, infer_mel, mel_kernels), {0}};
