/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators that make tensors out of shapes and numbers: Shape, Size, ConstantOfShape, Range, EyeLike.
 */
#include "graph/spell.h"
#include "loops.h"
#include "move.h"

/* Room for n symbolic contents of output 0; NULL if that is too many. */
static gr_ivals *new_contents(const gr_infer *c, int64_t n)
{
    if (n < 0 || n > GR_MAX_SYMBOLIC) return NULL;
    gr_ivals *v = gr_arena_alloc(c->arena, sizeof *v + (size_t)n * sizeof v->v[0]);
    if (v) v->n = n;
    return v;
}

/* ---- Shape (from 15 on of a range of axes) and Size ---- */

typedef struct shape_params {
    int64_t start, end; /* as given: negative from the end, clamped */
} shape_params;

static gr_status parse_shape(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    shape_params *p = GR_NEW(arena, shape_params);
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_int(attrs, "start", 0, &p->start, err));
    GR_TRY(gr_attr_int(attrs, "end", INT64_MAX, &p->end, err));
    *params = p;
    return GR_OK;
}

static int clamp_axis(int64_t axis, int rank)
{
    if (axis < 0) axis += rank;
    return axis < 0 ? 0 : axis > rank ? rank : (int)axis;
}

static int shape_count(const shape_params *p, int rank, int *start)
{
    int end = clamp_axis(p->end, rank);
    *start = clamp_axis(p->start, rank);
    return end > *start ? end - *start : 0;
}

static gr_status infer_shape(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_require(c, 0, ~UINT64_C(0), err));
    if (!gr_rank_known(c, 0)) return gr_set_rank(c, 0, GR_INT64, 1);
    int start;
    gr_dim *d = gr_dims(c, 1);
    d[0] = GR_DIM(shape_count(c->params, c->in[0]->rank, &start));
    return gr_set(c, 0, GR_INT64, 1, d);
}

/* A part of the shape as opsets before 15 have to write it. */
static gr_status spell_shape(gr_spell *s)
{
    int64_t start, end;
    GR_TRY(gr_attr_int(s->node->attrs, "start", 0, &start, s->err));
    GR_TRY(gr_attr_int(s->node->attrs, "end", INT64_MAX, &end, s->err));
    gr_spell_begin(s, "x", "shape");
    gr_spell_node(s, "all = Shape (x)");
    gr_spell_ints(s, "start", 1, &start);
    gr_spell_ints(s, "end", 1, &end);
    gr_spell_slice(s, "shape", "all", 0, "start", "end");
    return GR_OK;
}

static gr_status run_shape(const gr_step *s, gr_err *err)
{
    int start, n = shape_count(s->params, s->in[0]->rank, &start);
    GR_TRY(gr_check_extent(n, s->out[0]->elements, err));
    if (n) memcpy(s->out[0]->data, s->in[0]->dims + start, (size_t)n * sizeof(int64_t));
    return GR_OK;
}

static const gr_ivals *contents_of_shape(const gr_infer *c)
{
    int start;
    if (!gr_rank_known(c, 0)) return NULL;
    gr_ivals *v = new_contents(c, shape_count(c->params, c->in[0]->rank, &start));
    if (v && v->n) memcpy(v->v, c->in[0]->dims + start, (size_t)v->n * sizeof *v->v);
    return v;
}

static gr_status infer_size(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_require(c, 0, ~UINT64_C(0), err));
    return gr_set(c, 0, GR_INT64, 0, NULL);
}

static gr_status run_size(const gr_step *s, gr_err *err)
{
    (void)err;
    memcpy(s->out[0]->data, &s->in[0]->elements, sizeof(int64_t));
    return GR_OK;
}

static const gr_ivals *contents_of_size(const gr_infer *c)
{
    gr_ivals *v = gr_rank_known(c, 0) ? new_contents(c, 1) : NULL;
    if (!v) return NULL;
    v->v[0] = GR_DIM(1);
    for (int i = 0; i < c->in[0]->rank; i++) v->v[0] = gr_sym_mul(c->syms, v->v[0], c->in[0]->dims[i]);
    return v;
}

/* ---- ConstantOfShape ---- */

typedef struct constant_params {
    gr_dtype dtype;
    _Alignas(16) uint8_t value[16];
} constant_params;

static gr_status parse_constant(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    constant_params *p = GR_NEW(arena, constant_params);
    if (!p) return gr_nomem(err);
    *params = p;
    p->dtype = GR_FLOAT;
    const gr_attr *a = gr_attr_find(attrs, "value");
    if (!a) return GR_OK;
    if (a->type != GR_ATTR_TENSOR || !a->t) return gr_fail(err, GR_EMODEL, "attribute 'value' must be a tensor");
    if (a->t->elements != 1 || a->t->dtype == GR_STRING || !a->t->data || a->t->size > sizeof p->value)
        return gr_fail(err, GR_EMODEL, "attribute 'value' must hold one number");
    p->dtype = a->t->dtype;
    memcpy(p->value, a->t->data, a->t->size);
    return GR_OK;
}

static gr_status infer_constant(const gr_infer *c, gr_err *err)
{
    const constant_params *p = c->params;
    int64_t n;
    const gr_dim *v;
    GR_TRY(gr_require_list(c, 0, GR_T(INT64), &n, err));
    GR_TRY(gr_check_rank(n, err));
    if (!gr_known_ints(c, 0, &n, &v))
        return n < 0 ? gr_set(c, 0, p->dtype, GR_RANK_UNKNOWN, NULL) : gr_set_rank(c, 0, p->dtype, (int)n);
    GR_TRY(gr_check_rank(n, err));
    for (int64_t i = 0; i < n; i++)
        if (gr_dim_known(v[i]) && v[i].k < 0)
            return gr_fail(err, GR_EINPUT, "dimension %lld is %lld", (long long)i, (long long)v[i].k);
    return gr_set(c, 0, p->dtype, (int)n, v);
}

static gr_status run_constant(const gr_step *s, gr_err *err)
{
    const constant_params *p = s->params;
    gr_tensor *y = s->out[0];
    (void)err;
    gr_clear_tail(y);
    gr_move_fill(y->elements, gr_dtype_bits(y->dtype), p->value, y->data);
    return GR_OK;
}

static const gr_ivals *contents_of_constant(const gr_infer *c)
{
    const constant_params *p = c->params;
    gr_dim count = GR_DIM(1);
    int64_t value = 0;
    if (p->dtype != GR_INT64 && p->dtype != GR_INT32 && p->dtype != GR_BOOL) return NULL;
    for (int i = 0; i < c->out[0].rank; i++) count = gr_sym_mul(c->syms, count, c->out[0].dims[i]);
    gr_ivals *v = c->out[0].rank >= 0 && gr_dim_known(count) ? new_contents(c, count.k) : NULL;
    gr_load_i64(p->dtype, 1, p->value, 0, 1, &value);
    for (int64_t i = 0; v && i < v->n; i++) v->v[i] = GR_DIM(value);
    return v;
}

/* ---- Range ---- */

/* A number in 0, or a symbolic one; false if it is not known. */
static bool known_number(const gr_infer *c, uint32_t i, gr_dim *v)
{
    if (gr_known_int(c, i, v)) return true;
    if (i >= c->nin || !c->konst[i] || c->konst[i]->elements != 1 || !gr_dtype_is_int(c->konst[i]->dtype)) return false;
    int64_t k = 0;
    gr_load_i64(c->konst[i]->dtype, 1, c->konst[i]->data, 0, 1, &k);
    *v = GR_DIM(k);
    return true;
}

static gr_status count_ints(int64_t start, int64_t limit, int64_t step, int64_t *n, gr_err *err)
{
    bool up = step > 0;
    *n = 0;
    if (up ? limit <= start : limit >= start) return GR_OK;
    uint64_t span = up ? (uint64_t)limit - (uint64_t)start : (uint64_t)start - (uint64_t)limit;
    uint64_t size = up ? (uint64_t)step : -(uint64_t)step, count = span / size + (span % size != 0);
    if (count > INT64_MAX) return gr_fail(err, GR_ELIMIT, "a range of %llu elements", (unsigned long long)count);
    *n = (int64_t)count;
    return GR_OK;
}

static gr_status int_length(const gr_infer *c, gr_dim *out, gr_err *err)
{
    gr_dim start, limit, step;
    *out = gr_sym_fresh(c->syms);
    if (!known_number(c, 2, &step) || !gr_dim_known(step)) return GR_OK;
    if (step.k == 0) return gr_fail(err, GR_EINPUT, "delta is 0");
    if (!known_number(c, 0, &start) || !known_number(c, 1, &limit)) return GR_OK;
    if (gr_dim_known(start) && gr_dim_known(limit)) {
        int64_t n;
        GR_TRY(count_ints(start.k, limit.k, step.k, &n, err));
        *out = GR_DIM(n);
        return GR_OK;
    }
    if (step.k == INT64_MIN) return GR_OK;
    int64_t size = step.k < 0 ? -step.k : step.k;
    gr_dim span = step.k > 0 ? gr_sym_sub(c->syms, limit, start) : gr_sym_sub(c->syms, start, limit);
    span = gr_sym_max(c->syms, span, GR_DIM(0));
    /* ceil(span / size); a span that is a multiple divides as it is */
    if (gr_dim_is(gr_sym_mod(c->syms, span, GR_DIM(size)), 0))
        *out = gr_sym_div(c->syms, span, GR_DIM(size));
    else
        *out = gr_sym_div(c->syms, gr_sym_add(c->syms, span, GR_DIM(size - 1)), GR_DIM(size));
    return GR_OK;
}

static double number_at(const gr_tensor *t)
{
    double x = 0;
    gr_load_f64(t->dtype, 1, t->data, 0, 1, &x);
    return x;
}

static gr_status float_length(const gr_infer *c, gr_dim *out, gr_err *err)
{
    *out = gr_sym_fresh(c->syms);
    for (uint32_t i = 0; i < 3; i++)
        if (!c->konst[i] || c->konst[i]->elements != 1) return GR_OK;
    double start = number_at(c->konst[0]), limit = number_at(c->konst[1]), step = number_at(c->konst[2]);
    if (step == 0 || isnan(step)) return gr_fail(err, GR_EINPUT, "delta is %g", step);
    double n = ceil((limit - start) / step);
    if (isnan(n) || n > 1e15) return gr_fail(err, GR_EINPUT, "a range from %g to %g by %g", start, limit, step);
    *out = GR_DIM(n > 0 ? (int64_t)n : 0);
    return GR_OK;
}

static gr_status infer_range(const gr_infer *c, gr_err *err)
{
    for (uint32_t i = 0; i < 3; i++) {
        GR_TRY(gr_require(c, i, GR_T_FLOATS | GR_T(INT16) | GR_T(INT32) | GR_T(INT64), err));
        GR_TRY(gr_require_scalar(c, i, err));
        GR_TRY(gr_require_same(c, 0, i, err));
    }
    gr_dtype t = gr_in_dtype(c, 0);
    for (uint32_t i = 1; i < 3 && t == GR_UNDEFINED; i++) t = gr_in_dtype(c, i);
    gr_dim *d = gr_dims(c, 1);
    if (gr_dtype_is_float(t))
        GR_TRY(float_length(c, d, err));
    else
        GR_TRY(int_length(c, d, err));
    return gr_set(c, 0, t, 1, d);
}

/* y[i] = start + i * delta */
static gr_status run_range(const gr_step *s, gr_err *err)
{
    gr_tensor *y = s->out[0];
    (void)err;
    if (gr_dtype_is_float(y->dtype)) {
        double start = number_at(s->in[0]), step = number_at(s->in[2]);
        for (int64_t i = 0; i < y->elements; i++) {
            double v = start + (double)i * step;
            gr_store_f64(y->dtype, 1, &v, y->data, i);
        }
        return GR_OK;
    }
    int64_t start = 0, step = 0;
    gr_load_i64(y->dtype, 1, s->in[0]->data, 0, 1, &start);
    gr_load_i64(y->dtype, 1, s->in[2]->data, 0, 1, &step);
    for (int64_t i = 0; i < y->elements; i++) {
        int64_t v = (int64_t)((uint64_t)start + (uint64_t)i * (uint64_t)step);
        gr_store_i64(y->dtype, 1, &v, y->data, i);
    }
    return GR_OK;
}

static const gr_ivals *contents_of_range(const gr_infer *c)
{
    gr_dim start, step;
    gr_dtype t = c->out[0].dtype;
    if ((t != GR_INT64 && t != GR_INT32) || !gr_dim_known(c->out[0].dims[0])) return NULL;
    if (!known_number(c, 0, &start) || !known_number(c, 2, &step)) return NULL;
    gr_ivals *v = new_contents(c, c->out[0].dims[0].k);
    for (int64_t i = 0; v && i < v->n; i++) v->v[i] = gr_sym_add(c->syms, start, gr_sym_mul(c->syms, GR_DIM(i), step));
    return v;
}

/* ---- EyeLike ---- */

typedef struct eye_params {
    gr_dtype dtype; /* GR_UNDEFINED: the input's */
    int64_t k;
} eye_params;

static gr_status parse_eye(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    eye_params *p = GR_NEW(arena, eye_params);
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_dtype(attrs, "dtype", GR_UNDEFINED, &p->dtype, err));
    GR_TRY(gr_attr_int(attrs, "k", 0, &p->k, err));
    if (p->dtype != GR_UNDEFINED && !(GR_T_ALL >> p->dtype & 1))
        return gr_fail(err, GR_EMODEL, "attribute 'dtype' is %s, expected a number or bool", gr_dtype_name(p->dtype));
    *params = p;
    return GR_OK;
}

static gr_status infer_eye(const gr_infer *c, gr_err *err)
{
    const eye_params *p = c->params;
    GR_TRY(gr_require(c, 0, GR_T_ALL, err));
    if (gr_rank_known(c, 0) && c->in[0]->rank != 2)
        return gr_fail(err, GR_EMODEL, "the input must have rank 2, not %d", c->in[0]->rank);
    gr_dtype t = p->dtype == GR_UNDEFINED ? gr_in_dtype(c, 0) : p->dtype;
    return gr_rank_known(c, 0) ? gr_set_like_as(c, 0, 0, t) : gr_set_rank(c, 0, t, 2);
}

/* y[i, j] = j == i + k */
static gr_status run_eye(const gr_step *s, gr_err *err)
{
    const eye_params *p = s->params;
    gr_tensor *y = s->out[0];
    int64_t one = 1;
    float one_f = 1;
    (void)err;
    if (!y->size) return GR_OK;
    memset(y->data, 0, y->size);
    for (int64_t i = 0; i < y->dims[0]; i++) {
        int64_t j;
        if (__builtin_add_overflow(i, p->k, &j) || j < 0 || j >= y->dims[1]) continue;
        if (gr_dtype_is_float(y->dtype))
            gr_store_f32(y->dtype, 1, &one_f, y->data, i * y->dims[1] + j);
        else
            gr_store_i64(y->dtype, 1, &one, y->data, i * y->dims[1] + j);
    }
    return GR_OK;
}

static const gr_kernel k_shape[] = {{"ref", NULL, run_shape, NULL}, {0}};
static const gr_kernel k_size[] = {{"ref", NULL, run_size, NULL}, {0}};
static const gr_kernel k_constant[] = {{"ref", gr_prepare_shaped, run_constant, NULL}, {0}};
static const gr_kernel k_range[] = {{"ref", gr_prepare_shaped, run_range, NULL}, {0}};
static const gr_kernel k_eye[] = {{"ref", NULL, run_eye, NULL}, {0}};

#define ROW(NAME, SINCE, INPUTS, FLAGS, PARSE, which)                                                                  \
    {                                                                                                                  \
        .name = NAME, .since = SINCE, .in = {INPUTS, INPUTS}, .out = 1, .flags = FLAGS, .parse = PARSE,                \
        .infer = infer_##which, .contents = contents_of_##which, .kernels = k_##which                                  \
    }
#define SHAPE(version)                                                                                                 \
    {                                                                                                                  \
        .name = "Shape", .since = version, .in = {1, 1}, .out = 1, .flags = GR_OP_UNALIGNED, .parse = parse_shape,     \
        .infer = infer_shape, .contents = contents_of_shape, .kernels = k_shape, .function = spell_shape               \
    }
#define SIZE(since)     ROW("Size", since, 1, GR_OP_UNALIGNED, NULL, size)
#define CONSTANT(since) ROW("ConstantOfShape", since, 1, GR_OP_DYNAMIC, parse_constant, constant)
#define EYE(since)      GR_OP_ROW("EyeLike", since, 1, 1, 1, GR_OP_UNALIGNED, parse_eye, infer_eye, k_eye)

/* clang-format off */
const gr_op op_shape[] = {
    SHAPE(1), SHAPE(13), SHAPE(15), SHAPE(19), SHAPE(21), SHAPE(23), SHAPE(24), SHAPE(25),
    SIZE(1), SIZE(13), SIZE(19), SIZE(21), SIZE(23), SIZE(24), SIZE(25),
    CONSTANT(9), CONSTANT(20), CONSTANT(21), CONSTANT(23), CONSTANT(24), CONSTANT(25),
    ROW("Range", 11, 3, GR_OP_DYNAMIC, NULL, range), EYE(9), EYE(22), {0},
};
