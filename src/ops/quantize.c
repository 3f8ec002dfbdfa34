/* SPDX-License-Identifier: Apache-2.0
 *
 * QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear. Scale and zero point are one value, one per index of an
 * axis, or one per block of an axis. Element (o, a, i) of x seen as [outer, axis, inner] has the scale number
 *     0                                  one value
 *     a                                  per axis
 *     (o * blocks + a / block) * inner + i   blocked
 */
#include "codes.h"
#include "elem.h"
#include "simd/igemm.h"

typedef struct params {
    int64_t axis, block;
    gr_dtype output, precision; /* GR_UNDEFINED: not given */
    bool saturate;
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    if (!p) return gr_nomem(err);
    *out = p;
    GR_TRY(gr_attr_int(attrs, "axis", 1, &p->axis, err));
    GR_TRY(gr_attr_int_in(attrs, "block_size", 0, 0, INT64_MAX, &p->block, err));
    GR_TRY(gr_attr_bool(attrs, "saturate", true, &p->saturate, err));
    GR_TRY(gr_attr_dtype(attrs, "output_dtype", GR_UNDEFINED, &p->output, err));
    return gr_attr_dtype(attrs, "precision", GR_UNDEFINED, &p->precision, err);
}

/* ---- inference ---- */

static gr_status check_axis(const gr_infer *c, int *axis, gr_err *err)
{
    const params *p = c->params;
    int rank = c->in[0]->rank;
    if (p->axis >= -rank && p->axis < rank) return gr_axis(p->axis, rank, axis, err);
    return gr_fail(err, GR_EMODEL, "axis %lld is out of range for rank %d", (long long)p->axis, rank);
}

/* Dimension d of a blocked scale: one entry per block along the axis, else that of x. */
static gr_status check_block(const gr_infer *c, uint32_t i, int d, int axis, gr_err *err)
{
    const params *p = c->params;
    gr_dim x = c->in[0]->dims[d], s = c->in[i]->dims[d];
    if (!gr_dim_known(x) || !gr_dim_known(s)) return GR_OK;
    int64_t want = d == axis ? x.k / p->block + (x.k % p->block != 0) : x.k;
    if (s.k == want) return GR_OK;
    return gr_fail(err, GR_EMODEL, "dimension %d of input %u is %lld, expected %lld for blocks of %lld", d, i,
                   (long long)s.k, (long long)want, (long long)p->block);
}

/* Scale (input 1) or zero point (input 2) against x. */
static gr_status check_scale(const gr_infer *c, uint32_t i, gr_err *err)
{
    const params *p = c->params;
    int axis = 0;
    if (!gr_rank_known(c, i) || !gr_rank_known(c, 0)) return GR_OK;
    const gr_type *x = c->in[0], *s = c->in[i];
    bool one = true;
    for (int d = 0; d < s->rank; d++) one = one && gr_dim_is(s->dims[d], 1);
    if (one && (s->rank < 2 || !p->block)) return GR_OK;
    GR_TRY(check_axis(c, &axis, err));
    if (p->block) {
        if (s->rank != x->rank)
            return gr_fail(err, GR_EMODEL, "input %u has rank %d, expected %d as it has blocks", i, s->rank, x->rank);
        for (int d = 0; d < x->rank; d++) GR_TRY(check_block(c, i, d, axis, err));
        return GR_OK;
    }
    if (s->rank != 1) return gr_fail(err, GR_EMODEL, "input %u has rank %d, expected at most 1", i, s->rank);
    if (gr_dim_known(s->dims[0]) && gr_dim_known(x->dims[axis]) && s->dims[0].k != x->dims[axis].k)
        return gr_fail(err, GR_EMODEL, "input %u has %lld elements, expected %lld as axis %d of input 0", i,
                       (long long)s->dims[0].k, (long long)x->dims[axis].k, axis);
    return GR_OK;
}

/* Elements of input i; -1 if that is not known. */
static int64_t count_of(const gr_infer *c, uint32_t i)
{
    int64_t n = 1;
    if (!gr_rank_known(c, i)) return -1;
    for (int d = 0; d < c->in[i]->rank; d++)
        if (!gr_dim_known(c->in[i]->dims[d]) || __builtin_mul_overflow(n, c->in[i]->dims[d].k, &n)) return -1;
    return n;
}

static gr_status check_shapes(const gr_infer *c, gr_err *err)
{
    for (uint32_t i = 1; i < 3; i++) GR_TRY(check_scale(c, i, err));
    int64_t scales = count_of(c, 1), zeros = count_of(c, 2);
    if (scales < 0 || zeros < 0 || scales == zeros) return GR_OK;
    return gr_fail(err, GR_EMODEL, "there are %lld scales and %lld zero points", (long long)scales, (long long)zeros);
}

#define T_CODES (GR_T_BYTES | GR_T(INT16) | GR_T(UINT16) | GR_T_TINY | (GR_T_MINI & ~GR_T(FLOAT8E8M0)))
#define T_SCALE (GR_T(FLOAT) | GR_T(FLOAT16) | GR_T(BFLOAT16) | GR_T(FLOAT8E8M0) | GR_T(INT32))

static gr_status infer_quantize(const gr_infer *c, gr_err *err)
{
    const params *p = c->params;
    gr_dtype to = p->output != GR_UNDEFINED ? p->output : GR_UINT8;
    GR_TRY(gr_require(c, 0, GR_T(FLOAT) | GR_T(FLOAT16) | GR_T(BFLOAT16) | GR_T(INT32), err));
    GR_TRY(gr_require(c, 1, T_SCALE, err));
    GR_TRY(gr_require(c, 2, T_CODES, err));
    if (gr_has(c, 2)) {
        gr_dtype zero = c->in[2]->dtype;
        if (p->output != GR_UNDEFINED && zero != GR_UNDEFINED && zero != p->output)
            return gr_fail(err, GR_EMODEL, "the zero point is %s, attribute 'output_dtype' says %s",
                           gr_dtype_name(zero), gr_dtype_name(p->output));
        to = zero;
    }
    if (to != GR_UNDEFINED && !(T_CODES >> to & 1))
        return gr_fail(err, GR_EMODEL, "attribute 'output_dtype' is %s, which is no quantised type", gr_dtype_name(to));
    if (p->precision != GR_UNDEFINED && (!gr_dtype_is_float(p->precision) || p->precision == GR_DOUBLE))
        return gr_fail(err, GR_EMODEL, "attribute 'precision' is %s, expected float, float16 or bfloat16",
                       gr_dtype_name(p->precision));
    GR_TRY(check_shapes(c, err));
    return gr_set_like_as(c, 0, 0, to);
}

static gr_status infer_dequantize(const gr_infer *c, gr_err *err)
{
    const params *p = c->params;
    gr_dtype scale = gr_has(c, 1) ? c->in[1]->dtype : GR_UNDEFINED;
    GR_TRY(gr_require(c, 0, T_CODES | GR_T(INT32), err));
    GR_TRY(gr_require(c, 1, T_SCALE & ~GR_T(INT32), err));
    GR_TRY(gr_require_same(c, 2, 0, err));
    if (p->output != GR_UNDEFINED && (!gr_dtype_is_float(p->output) || p->output == GR_DOUBLE))
        return gr_fail(err, GR_EMODEL, "attribute 'output_dtype' is %s, expected float, float16 or bfloat16",
                       gr_dtype_name(p->output));
    GR_TRY(check_shapes(c, err));
    if (p->output != GR_UNDEFINED) scale = p->output;
    return gr_set_like_as(c, 0, 0, scale == GR_FLOAT8E8M0 ? GR_FLOAT : scale);
}

/* ---- which scale an element has ---- */

typedef struct layout {
    enum { ONE, PER_AXIS, BLOCKED } kind;
    int64_t axis, inner, block, blocks;
} layout;

static layout layout_of(const gr_step *s)
{
    const params *p = s->params;
    const gr_tensor *x = s->in[0], *scale = s->in[1];
    if (scale->elements == 1 && (scale->rank < 2 || !p->block)) return (layout){.kind = ONE};
    int axis = (int)(p->axis < 0 ? p->axis + x->rank : p->axis);
    layout l = {.kind = p->block ? BLOCKED : PER_AXIS, .axis = x->dims[axis], .block = p->block};
    l.inner = gr_extent(x, axis + 1, x->rank);
    if (l.kind == BLOCKED) l.blocks = l.axis / l.block + (l.axis % l.block != 0);
    return l;
}

/* Elements from `at` on that lie next to each other and whose scales do too (*step 1) or are the same (*step 0). */
static int64_t run_of(const layout *l, int64_t at, int64_t n, int64_t *first, int64_t *step)
{
    int64_t i, a, run;
    *first = *step = 0;
    if (l->kind == ONE) return n;
    i = at % l->inner;
    a = at / l->inner % l->axis;
    if (l->kind == PER_AXIS) {
        *first = a;
        *step = l->inner == 1;
        run = l->inner == 1 ? l->axis - a : l->inner - i;
    } else {
        *first = (at / l->inner / l->axis * l->blocks + a / l->block) * l->inner + i;
        *step = l->inner > 1;
        run = l->inner - i;
        if (l->inner == 1) run = l->axis - a < l->block - a % l->block ? l->axis - a : l->block - a % l->block;
    }
    return run < n ? run : n;
}

/* Scales and zero points of a span, as they apply to its elements. */
typedef struct factors {
    float scale[GR_SPAN];
    int32_t zero[GR_SPAN];     /* integers */
    float float_zero[GR_SPAN]; /* small floats */
} factors;

static void load_factors(const gr_step *s, const layout *l, int64_t at, int64_t n, factors *f)
{
    const gr_tensor *scale = s->in[1], *zero = gr_step_in(s, 2);
    const bool mini = zero && (GR_T_MINI >> zero->dtype & 1);
    for (int64_t i = 0, run; i < n; i += run) {
        int64_t first, step;
        run = run_of(l, at + i, n - i, &first, &step);
        int64_t count = step ? run : 1;
        if (scale->dtype == GR_INT32)
            for (int64_t k = 0; k < count; k++) f->scale[i + k] = (float)((const int32_t *)scale->data)[first + k];
        else
            gr_codes_load_float(scale->dtype, scale->data, first, count, f->scale + i);
        if (zero && mini) gr_codes_load_float(zero->dtype, zero->data, first, count, f->float_zero + i);
        if (zero && !mini) gr_codes_load(zero->dtype, zero->data, first, count, f->zero + i);
        for (int64_t k = count; k < run; k++) {
            f->scale[i + k] = f->scale[i];
            if (zero && mini) f->float_zero[i + k] = f->float_zero[i];
            if (zero && !mini) f->zero[i + k] = f->zero[i];
        }
    }
    for (int64_t i = 0; i < n && (!zero || mini); i++) f->zero[i] = 0;
    for (int64_t i = 0; i < n && !mini; i++) f->float_zero[i] = 0;
}

typedef struct job {
    const gr_step *s;
    layout l;
} job;

/* ---- y = saturate(round(x / scale) + zero) ---- */

static void quantize_mini(const params *p, gr_tensor *y, int64_t at, int64_t n, const float *v, const float *zero)
{
    const gr_minifloat *format = gr_minifloat_find(y->dtype);
    for (int64_t i = 0; i < n; i++) {
        uint8_t code = gr_minifloat_encode(format, v[i] + zero[i], p->saturate);
        if (y->dtype == GR_FLOAT4E2M1)
            gr_tiny_put(GR_UINT4, y->data, at + i, code);
        else
            ((uint8_t *)y->data)[at + i] = code;
    }
}

static void quantize_part(const job *j, int64_t at, int64_t n, factors *f)
{
    const params *p = j->s->params;
    const gr_tensor *x = j->s->in[0], *scale = j->s->in[1];
    gr_tensor *y = j->s->out[0];
    gr_dtype precision = p->precision != GR_UNDEFINED      ? p->precision
                         : gr_dtype_is_float(scale->dtype) ? scale->dtype
                                                           : GR_FLOAT;
    float v[GR_SPAN];
    if (j->l.kind != ONE) load_factors(j->s, &j->l, at, n, f);
    gr_load_f32(x->dtype, n, x->data, at, 1, v);
    for (int64_t i = 0; i < n; i++) v[i] /= f->scale[i];
    if (precision == GR_FLOAT16) /* the quotient is a number of that type */
        for (int64_t i = 0; i < n; i++) v[i] = gr_half_to_float(gr_float_to_half(v[i]));
    if (precision == GR_BFLOAT16)
        for (int64_t i = 0; i < n; i++) v[i] = gr_bfloat_to_float(gr_float_to_bfloat(v[i]));
    if (GR_T_MINI >> y->dtype & 1) {
        quantize_mini(p, y, at, n, v, f->float_zero);
        return;
    }
    int32_t codes[GR_SPAN];
    int least, greatest;
    gr_code_range(y->dtype, &least, &greatest);
    for (int64_t i = 0; i < n; i++)
        codes[i] = gr_round_within(v[i], (float)(least - f->zero[i]), (float)(greatest - f->zero[i])) + f->zero[i];
    gr_codes_store(y->dtype, y->data, at, n, codes);
}

static void each_part(const job *j, int64_t at, int64_t n, void (*part)(const job *, int64_t, int64_t, factors *))
{
    factors f;
    if (j->l.kind == ONE) load_factors(j->s, &j->l, at, GR_SPAN < n ? GR_SPAN : n, &f);
    for (int64_t i = 0; i < n; i += GR_SPAN) part(j, at + i, n - i < GR_SPAN ? n - i : GR_SPAN, &f);
}

static void quantize_span(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)
{
    (void)l, (void)off;
    each_part(user, at, n, quantize_part);
}

/* Neighbours that share a byte are written by one thread. */
static gr_status run_spans(const gr_step *s, gr_loop_fn fn)
{
    job j = {s, layout_of(s)};
    gr_loop l = {.rank = 1, .total = s->in[0]->elements, .dims = {s->in[0]->elements}};
    if (!l.total) return GR_OK;
    if (gr_dtype_bits(s->out[0]->dtype) < 8) {
        ((uint8_t *)s->out[0]->data)[s->out[0]->size - 1] = 0;
        fn(&j, &l, 0, l.total, NULL);
    } else {
        gr_loop_run(&l, 2, fn, &j);
    }
    return GR_OK;
}

static gr_status run_quantize(const gr_step *s, gr_err *err) { return (void)err, run_spans(s, quantize_span); }

/* ---- y = (x - zero) * scale ---- */

static void dequantize_part(const job *j, int64_t at, int64_t n, factors *f)
{
    const gr_tensor *x = j->s->in[0];
    const gr_tensor *y = j->s->out[0];
    float v[GR_SPAN], *to = y->dtype == GR_FLOAT ? (float *)y->data + at : v;
    if (j->l.kind != ONE) load_factors(j->s, &j->l, at, n, f);
    if (GR_T_MINI >> x->dtype & 1) {
        gr_codes_load_float(x->dtype, x->data, at, n, v);
        for (int64_t i = 0; i < n; i++) to[i] = (v[i] - f->float_zero[i]) * f->scale[i];
    } else {
        int32_t codes[GR_SPAN];
        gr_codes_load(x->dtype, x->data, at, n, codes);
        if (x->dtype == GR_INT32) /* the difference may need a bit more */
            for (int64_t i = 0; i < n; i++) to[i] = (float)((int64_t)codes[i] - f->zero[i]) * f->scale[i];
        else
            for (int64_t i = 0; i < n; i++) to[i] = (float)(codes[i] - f->zero[i]) * f->scale[i];
    }
    if (to == v) gr_store_f32(y->dtype, n, v, y->data, at);
}

static void dequantize_span(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)
{
    (void)l, (void)off;
    each_part(user, at, n, dequantize_part);
}

static gr_status run_dequantize(const gr_step *s, gr_err *err) { return (void)err, run_spans(s, dequantize_span); }

/* ---- DynamicQuantizeLinear: the range of x, widened to hold 0, is mapped onto 0..255 ---- */

static gr_status infer_dynamic(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_require(c, 0, GR_T(FLOAT), err));
    gr_set(c, 1, GR_FLOAT, 0, NULL);
    gr_set(c, 2, GR_UINT8, 0, NULL);
    return gr_set_like_as(c, 0, 0, GR_UINT8);
}

static void range_of(const float *x, int64_t n, float *least, float *greatest)
{
    float low = 0, high = 0;
#pragma omp parallel for simd reduction(min : low) reduction(max : high) if (n >= GR_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    *least = low;
    *greatest = high;
}

typedef struct dynamic_job {
    const float *x;
    uint8_t *y;
    float scale;
    int zero;
} dynamic_job;

static void dynamic_span(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)
{
    const dynamic_job *j = user;
    (void)l, (void)off;
    gr_igemm_quantize(n, j->x + at, j->scale, 0, 255, j->zero, j->y + at);
}

/* scale = (max - min) / 255, or 1 if there is nothing but zeros; zero = round(-min / scale); y = round(x / scale) +
 * zero */
static gr_status run_dynamic(const gr_step *s, gr_err *err)
{
    (void)err;
    const gr_tensor *x = s->in[0], *y = gr_step_out(s, 0), *scale = gr_step_out(s, 1), *zero = gr_step_out(s, 2);
    float least, greatest;
    range_of(x->data, x->elements, &least, &greatest);
    dynamic_job j = {x->data, y ? y->data : NULL, greatest > least ? (greatest - least) / 255 : 1, 0};
    j.zero = gr_round_within(-least / j.scale, 0, 255);
    if (scale) *(float *)scale->data = j.scale;
    if (zero) *(uint8_t *)zero->data = (uint8_t)j.zero;
    gr_loop l = {.rank = 1, .total = x->elements, .dims = {x->elements}};
    if (y) gr_loop_run(&l, 2, dynamic_span, &j);
    return GR_OK;
}

static const gr_kernel quantize_kernels[] = {{"ref", NULL, run_quantize, NULL}, {0}};
static const gr_kernel dequantize_kernels[] = {{"ref", NULL, run_dequantize, NULL}, {0}};
static const gr_kernel dynamic_kernels[] = {{"ref", NULL, run_dynamic, NULL}, {0}};

/* clang-format off */
#define QUANTIZE(since_, ...)                                                                                          \
    {.name = "QuantizeLinear", .since = since_, .in = {2, 3}, .out = 1, .parse = parse, .infer = infer_quantize,       \
     .kernels = quantize_kernels, __VA_ARGS__}
#define DEQUANTIZE(since_, ...)                                                                                        \
    {.name = "DequantizeLinear", .since = since_, .in = {2, 3}, .out = 1, .parse = parse, .infer = infer_dequantize,   \
     .flags = GR_OP_UNPACKS, .kernels = dequantize_kernels, __VA_ARGS__}
const gr_op op_quantize[] = {
    QUANTIZE(10, ), QUANTIZE(13, ), QUANTIZE(19, ), QUANTIZE(21, ), QUANTIZE(23, ), QUANTIZE(24, ), QUANTIZE(25, ),
    QUANTIZE(1, .domain = "com.microsoft"),
    DEQUANTIZE(10, ), DEQUANTIZE(13, ), DEQUANTIZE(19, ), DEQUANTIZE(21, ), DEQUANTIZE(23, ), DEQUANTIZE(24, ),
    DEQUANTIZE(25, ),
    DEQUANTIZE(1, .domain = "com.microsoft"),
    {.name = "DynamicQuantizeLinear", .since = 11, .in = {1, 1}, .out = 3, .infer = infer_dynamic,
     .kernels = dynamic_kernels},
    {0}};
/* clang-format on */
