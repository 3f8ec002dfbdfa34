/* SPDX-License-Identifier: Apache-2.0
 *
 * Normalisations over trailing axes: LayerNormalization (below opset 17 too, as ONNX Runtime writes it into the
 * standard domain), SimplifiedLayerNormalization, RMSNormalization, and the fused graphrun.AddLayerNormalization y =
 * LayerNormalization(x + residual). Those with statistics per channel or group are in norm_channel.c.
 */
#include "elem.h"
#include "exec/threads.h"
#include "graph/spell.h"
#include "simd/simd.h"

typedef struct params {
    int64_t axis;
    float epsilon;
    gr_dtype stash;     /* type of the statistics as outputs */
    bool rms;           /* no mean, no bias */
    bool residual;      /* inputs x, residual, scale, bias?; outputs y, sum */
    bool type_of_scale; /* y has the element type of scale, else scale has that of x */
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, params given, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    if (!p) return gr_nomem(err);
    *p = given;
    *out = p;
    GR_TRY(gr_attr_int(attrs, "axis", -1, &p->axis, err));
    GR_TRY(gr_attr_float(attrs, "epsilon", 1e-5f, &p->epsilon, err));
    GR_TRY(gr_attr_dtype(attrs, "stash_type", GR_FLOAT, &p->stash, err));
    if (!gr_dtype_is_float(p->stash))
        return gr_fail(err, GR_EMODEL, "attribute 'stash_type' is %s, expected a type of floating-point numbers",
                       gr_dtype_name(p->stash));
    return GR_OK;
}

static gr_status parse_17(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return parse(attrs, arena, (params){0}, out, err);
}

static gr_status parse_contrib(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return parse(attrs, arena, (params){.type_of_scale = true}, out, err);
}

static gr_status parse_rms(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return parse(attrs, arena, (params){.rms = true, .type_of_scale = true}, out, err);
}

static gr_status parse_add(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return parse(attrs, arena, (params){.residual = true}, out, err);
}

static gr_status infer_statistics(const gr_infer *c, const params *p, int axis)
{
    uint32_t last = p->rms ? 1 : 2;
    for (uint32_t o = 1; o <= last; o++) {
        if (!gr_rank_known(c, 0)) {
            gr_set(c, o, p->stash, GR_RANK_UNKNOWN, NULL);
            continue;
        }
        int rank = c->in[0]->rank;
        gr_dim *d = gr_dims(c, rank);
        for (int i = 0; i < rank; i++) d[i] = i < axis ? c->in[0]->dims[i] : GR_DIM(1);
        gr_set(c, o, p->stash, rank, d);
    }
    return GR_OK;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    uint32_t scale = p->residual ? 2 : 1;
    int axis = 0;
    for (uint32_t i = 0; i < c->nin; i++) {
        GR_TRY(gr_require(c, i, GR_T_FLOATS, err));
        GR_TRY(gr_require_onto(c, i, 0, err));
        GR_TRY(gr_require_same(c, i, p->type_of_scale && i >= scale ? scale : 0, err));
    }
    if (gr_rank_known(c, 0)) GR_TRY(gr_axis(p->axis, c->in[0]->rank, &axis, err));
    if (!gr_has(c, scale)) return gr_fail(err, GR_EMODEL, "input %u (scale) is missing", scale);
    if (p->residual)
        gr_set_like(c, 1, 0);
    else
        infer_statistics(c, p, axis);
    return gr_set_like_as(c, 0, 0, p->type_of_scale ? c->in[scale]->dtype : c->in[0]->dtype);
}

/* Operands of a step by what they are for; NULL where absent. */
typedef struct operands {
    const gr_tensor *x, *residual, *scale, *bias, *y, *sum, *mean, *deviation;
    int axis;
    int64_t rows, n; /* n elements of a row are normalised together */
} operands;

static operands operands_of(const gr_step *s)
{
    const params *p = GR_PARAMS(params, s);
    uint32_t at = p->residual ? 2 : 1;
    operands o = {
        .x = s->in[0], .scale = s->in[at], .bias = p->rms ? NULL : gr_step_in(s, at + 1), .y = gr_step_out(s, 0)};
    if (p->residual) {
        o.residual = s->in[1];
        o.sum = gr_step_out(s, 1);
    } else {
        o.mean = p->rms ? NULL : gr_step_out(s, 1);
        o.deviation = gr_step_out(s, p->rms ? 1 : 2);
    }
    o.axis = (int)(p->axis < 0 ? p->axis + o.x->rank : p->axis);
    o.rows = gr_extent(o.x, 0, o.axis);
    o.n = gr_extent(o.x, o.axis, o.x->rank);
    return o;
}

/* Element of t, broadcast to the shape of x, that stands at x's i-th; 0 if t is absent. */
static double at_onto(const gr_tensor *t, const gr_tensor *x, int64_t i)
{
    int64_t strides[GR_MAX_RANK];
    if (!t) return 0;
    gr_broadcast_strides(t, x->rank, x->dims, strides);
    return gr_at(t, gr_offset(x->rank, x->dims, strides, i));
}

static double summed(const operands *o, int64_t i)
{
    return o->residual ? gr_rounded(o->x->dtype, gr_at(o->x, i) + at_onto(o->residual, o->x, i)) : gr_at(o->x, i);
}

/* v = x + residual, m = mean(v) (0 in the rms form), r = 1 / sqrt(mean((v - m)^2) + epsilon), y = (v - m) r scale +
 * bias */
static gr_status ref_run(const gr_step *s, gr_err *err)
{
    (void)err;
    const params *p = GR_PARAMS(params, s);
    operands o = operands_of(s);
    if (!o.x->elements && !o.mean && !o.deviation) return GR_OK;
    for (int64_t row = 0; row < o.rows; row++) {
        int64_t first = row * o.n, end = first + o.n;
        double mean = 0, square = 0;
        if (!p->rms)
            for (int64_t i = first; i < end; i++) mean += summed(&o, i) / (double)o.n;
        for (int64_t i = first; i < end; i++) square += pow(summed(&o, i) - mean, 2);
        double r = 1 / sqrt(square / (double)o.n + (double)p->epsilon);
        for (int64_t i = first; i < end; i++) {
            double v = summed(&o, i);
            if (o.sum) gr_at_put(o.sum, i, v);
            if (o.y) gr_at_put(o.y, i, (v - mean) * r * at_onto(o.scale, o.x, i) + at_onto(o.bias, o.x, i));
        }
        if (o.mean) gr_at_put(o.mean, row, mean);
        if (o.deviation) gr_at_put(o.deviation, row, r);
    }
    return GR_OK;
}

/* ---- float32, or converted to it row by row ---- */

/* t, broadcast to the shape of x, is one dense vector that repeats for every row. */
static bool is_row(const gr_tensor *t, const gr_tensor *x, int axis)
{
    int lead = x->rank - t->rank;
    for (int i = 0; i < x->rank; i++) {
        int64_t d = i < lead ? 1 : t->dims[i - lead];
        if (d != (i < axis ? 1 : x->dims[i])) return false;
    }
    return true;
}

static bool same_row_shape(const gr_tensor *t, const gr_tensor *x, int axis)
{
    for (int i = axis; i < x->rank; i++) {
        int at = i - (x->rank - t->rank);
        if (at < 0 || t->dims[at] != x->dims[i]) return false;
    }
    return true;
}

static bool simd_prepare(gr_step *s, gr_why *why)
{
    operands o = operands_of(s);
    for (uint32_t i = 0; i < s->nin; i++)
        if (s->in[i] && s->in[i]->dtype == GR_DOUBLE) return gr_decline(why, "input %u is double", i);
    if (!o.y) return gr_decline(why, "output 0 is not wanted");
    if (o.mean || o.deviation) return gr_decline(why, "the statistics are wanted as outputs");
    if (!is_row(o.scale, o.x, o.axis)) return gr_decline(why, "scale is not one row");
    if (o.bias && !is_row(o.bias, o.x, o.axis)) return gr_decline(why, "bias is not one row");
    if (o.residual && !same_row_shape(o.residual, o.x, o.axis))
        return gr_decline(why, "the residual repeats within a row");
    if (s->rows && (o.rows != s->rows->batch * s->rows->tokens || (o.residual && !same_row_shape(o.residual, o.x, 0))))
        return gr_decline(why, "its rows are not those of the grid");
    /* Scale and bias, and for each thread x, residual and sum. */
    s->scratch_size = (2 + (size_t)gr_step_threads(s) * 3) * (size_t)o.n * sizeof(float);
    if (o.y->dtype == GR_FLOAT && o.n % 2 == 0) s->gives_row = o.n;
    return true;
}

static void rms_row(const gr_simd *v, size_t n, const float *x, const float *scale, float epsilon, float *y)
{
    float r = 1 / sqrtf(v->dot(n, x, x) / (float)n + epsilon);
    v->binary_scalar[GR_V_MUL](n, x, r, y);
    v->binary[GR_V_MUL](n, y, scale, y);
}

typedef struct norm_job {
    const gr_step *s;
    operands o;
    const float *scale, *bias;
    const int64_t *step; /* of the residual, broadcast to x */
} norm_job;

static void norm_rows(void *user, int64_t first, int64_t end, int thread)
{
    const norm_job *j = user;
    const gr_simd *v = gr_simd_best();
    const params *p = GR_PARAMS(params, j->s);
    const operands o = j->o;
    const int64_t n = o.n;
    float *own = (float *)j->s->scratch + (2 + 3 * (int64_t)thread) * n;
    for (int64_t row = first; row < end; row++) {
        const float *x = gr_row_read(o.x, row * n, n, own), *with = NULL;
        float *y = gr_row_open(o.y, row * n, own), *sum = o.sum ? gr_row_open(o.sum, row * n, own + 2 * n) : NULL;
        if (o.residual) with = gr_row_read(o.residual, gr_offset(o.axis, o.x->dims, j->step, row), n, own + n);
        if (p->rms)
            rms_row(v, (size_t)n, x, j->scale, p->epsilon, y);
        else
            v->layernorm((size_t)n, x, with, j->scale, j->bias, p->epsilon, sum, y);
        gr_row_write(o.y, row * n, n, y);
        if (j->s->rounded_out) gr_gemm_round_row(n, y, (uint16_t *)j->s->rounded_out + row * n);
        if (sum) gr_row_write(o.sum, row * n, n, sum);
    }
}

static gr_status simd_run(const gr_step *s, gr_err *err)
{
    (void)err;
    const operands o = operands_of(s);
    const int64_t rows = s->rows ? s->rows->count : o.rows;
    int64_t step[GR_MAX_RANK] = {0};
    if (!o.x->elements) return GR_OK;
    norm_job j = {s, o, gr_row_read(o.scale, 0, o.n, s->scratch), NULL, step};
    if (o.bias) j.bias = gr_row_read(o.bias, 0, o.n, (float *)s->scratch + o.n);
    if (o.residual) gr_broadcast_strides(o.residual, o.x->rank, o.x->dims, step);
    gr_parallel_rows(rows, rows * o.n >= GR_PARALLEL_MIN ? gr_step_threads(s) : 1, norm_rows, &j);
    return GR_OK;
}

static const gr_kernel kernels[] = {{"simd", simd_prepare, simd_run, NULL}, {"ref", NULL, ref_run, NULL}, {0}};

static gr_status spell_norm(gr_spell *s, bool rms)
{
    gr_spell_norm n = {"x", "scale", gr_spell_in(s, 2) && !rms ? "bias" : NULL, gr_spell_dtype(s, 0),
                       gr_spell_dtype(s, 1), -1, 0, rms};
    for (uint32_t o = 1; o < s->nout; o++)
        if (s->out[o]) return gr_fail(s->err, GR_EUNSUPPORTED, "its statistics are wanted as outputs");
    GR_TRY(gr_spell_norm_attrs(s, &n));
    gr_spell_begin(s, rms ? "x, scale" : "x, scale, bias", rms ? "y, deviations" : "y, means, deviations");
    gr_spell_layer_norm(s, "y", &n);
    return GR_OK;
}

static gr_status spell_layer_norm(gr_spell *s) { return spell_norm(s, false); }
static gr_status spell_rms_norm(gr_spell *s) { return spell_norm(s, true); }

static gr_status spell_add_layer_norm(gr_spell *s)
{
    gr_dtype dtype = gr_spell_dtype(s, 0);
    gr_spell_norm n = {"sum", "scale", gr_spell_in(s, 3) ? "bias" : NULL, dtype, dtype, -1, 0, false};
    GR_TRY(gr_spell_norm_attrs(s, &n));
    gr_spell_begin(s, "x, residual, scale, bias", "y, sum");
    gr_spell_node(s, "sum = Add (x, residual)");
    gr_spell_layer_norm(s, "y", &n);
    return GR_OK;
}

#define ROW(Name, version, least, most, outputs, parse_function, ...)                                                  \
    {                                                                                                                  \
        .name = Name, .since = version, .in = {least, most}, .out = outputs, .parse = parse_function, .infer = infer,  \
        .kernels = kernels, __VA_ARGS__                                                                                \
    }

const gr_op op_norm[] = {
    ROW("LayerNormalization", 1, 2, 3, 3, parse_contrib, .flags = GR_OP_ROWS | GR_OP_FOREIGN,
        .function = spell_layer_norm),
    ROW("LayerNormalization", 17, 2, 3, 3, parse_17, .function = spell_layer_norm, .flags = GR_OP_ROWS),
    ROW("RMSNormalization", 23, 2, 2, 1, parse_rms, .function = spell_rms_norm, .flags = GR_OP_ROWS),
    ROW("SimplifiedLayerNormalization", 1, 2, 2, 2, parse_rms, .flags = GR_OP_ROWS | GR_OP_FOREIGN,
        .function = spell_rms_norm),
    ROW("SimplifiedLayerNormalization", 1, 2, 2, 2, parse_rms, .flags = GR_OP_ROWS, .function = spell_rms_norm,
        .domain = "com.microsoft"),
    ROW("AddLayerNormalization", 1, 3, 4, 2, parse_add, .flags = GR_OP_ROWS, .function = spell_add_layer_norm,
        .domain = "graphrun"),
    {0},
};
