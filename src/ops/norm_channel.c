/* SPDX-License-Identifier: Apache-2.0
 *
 * Normalisations with statistics per channel, group or axis: BatchNormalization, InstanceNormalization,
 * GroupNormalization, LpNormalization, MeanVarianceNormalization. They are rare in BERT-like graphs (tf2onnx writes
 * layer norms as instance norms), so only instance and group norm have a fast kernel.
 */
#include "elem.h"
#include "simd/simd.h"

/* ---- BatchNormalization ---- */

typedef struct batch_params {
    float epsilon, momentum;
    bool training; /* from 14 on; before, a wanted second output means training */
    bool legacy;
    bool spatial; /* statistics per channel; else per element of a sample */
} batch_params;

static gr_status parse_batch(gr_attrs attrs, gr_arena *arena, bool legacy, const void **out, gr_err *err)
{
    batch_params *p = GR_NEW(arena, batch_params);
    if (!p) return gr_nomem(err);
    bool test;
    *p = (batch_params){.legacy = legacy, .spatial = true};
    *out = p;
    GR_TRY(gr_attr_float(attrs, "epsilon", 1e-5f, &p->epsilon, err));
    GR_TRY(gr_attr_float(attrs, "momentum", 0.9f, &p->momentum, err));
    GR_TRY(gr_attr_bool(attrs, "is_test", false, &test, err));
    if (legacy) GR_TRY(gr_attr_bool(attrs, "spatial", true, &p->spatial, err));
    if (!legacy) GR_TRY(gr_attr_bool(attrs, "training_mode", false, &p->training, err));
    p->legacy = legacy && !test;
    return GR_OK;
}

static gr_status parse_batch_1(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return parse_batch(attrs, arena, true, out, err);
}

static gr_status parse_batch_14(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return parse_batch(attrs, arena, false, out, err);
}

/* The shape that scale, bias, mean and variance must have for input 0; its rank is known. */
static int batch_stat_dims(const gr_infer *c, const batch_params *p, gr_dim *d)
{
    const gr_type *x = c->in[0];
    d[0] = x->rank > 1 ? x->dims[1] : GR_DIM(1);
    if (p->spatial || x->rank < 2) return 1;
    for (int i = 1; i < x->rank; i++) d[i - 1] = x->dims[i];
    return x->rank - 1;
}

static gr_status require_dims(const gr_infer *c, uint32_t i, int rank, const gr_dim *d, gr_err *err)
{
    if (!gr_rank_known(c, i)) return GR_OK;
    if (c->in[i]->rank != rank)
        return gr_fail(err, GR_EMODEL, "input %u has rank %d, expected %d", i, c->in[i]->rank, rank);
    for (int k = 0; k < rank; k++) {
        gr_dim have = c->in[i]->dims[k];
        if (gr_dim_known(have) && gr_dim_known(d[k]) && have.k != d[k].k)
            return gr_fail(err, GR_EMODEL, "axis %d of input %u has %lld elements, expected %lld", k, i,
                           (long long)have.k, (long long)d[k].k);
    }
    return GR_OK;
}

static gr_status infer_batch(const gr_infer *c, gr_err *err)
{
    const batch_params *p = GR_PARAMS(batch_params, c);
    for (uint32_t i = 0; i < 5; i++) GR_TRY(gr_require(c, i, GR_T_FLOATS, err));
    if (gr_rank_known(c, 0)) {
        if (c->in[0]->rank < 1) return gr_fail(err, GR_EMODEL, "input 0 is a scalar, expected a batch of samples");
        gr_dim *d = gr_dims(c, c->in[0]->rank);
        int rank = batch_stat_dims(c, p, d);
        for (uint32_t i = 1; i < 5; i++) GR_TRY(require_dims(c, i, rank, d, err));
    }
    for (uint32_t o = 1; o < c->nout; o++) gr_set_like(c, o, o % 2 ? 3 : 4);
    return gr_set_like(c, 0, 0);
}

/* Where the i-th element of channel c lies. */
static int64_t batch_at(int64_t i, int64_t c, int64_t channels, int64_t inner)
{
    return (i / inner * channels + c) * inner + i % inner;
}

/* y = (x - mean) / sqrt(variance + epsilon) * scale + bias. In training, mean and variance are those of the batch and
 * the running ones are momentum * old + (1 - momentum) * batch's. */
static gr_status batch_ref(const gr_step *s, gr_err *err)
{
    (void)err;
    const batch_params *p = GR_PARAMS(batch_params, s);
    const gr_tensor *x = s->in[0], *y = gr_step_out(s, 0);
    bool training = p->training;
    for (uint32_t o = 1; o < s->nout; o++) training |= p->legacy && s->out[o];
    int64_t n = x->dims[0], channels = x->rank > 1 ? gr_extent(x, 1, p->spatial ? 2 : x->rank) : 1;
    int64_t inner = p->spatial && x->rank > 2 ? gr_extent(x, 2, x->rank) : 1;
    for (int64_t c = 0; c < channels; c++) {
        double old[2] = {gr_at(s->in[3], c), gr_at(s->in[4], c)}, now[2] = {old[0], old[1]};
        double scale = gr_at(s->in[1], c), bias = gr_at(s->in[2], c), count = (double)n * (double)inner;
        if (training) {
            now[0] = now[1] = 0;
            for (int64_t i = 0; i < n * inner; i++) now[0] += gr_at(x, batch_at(i, c, channels, inner)) / count;
            for (int64_t i = 0; i < n * inner; i++)
                now[1] += pow(gr_at(x, batch_at(i, c, channels, inner)) - now[0], 2) / count;
        }
        for (int64_t i = 0; y && i < n * inner; i++) {
            int64_t at = batch_at(i, c, channels, inner);
            gr_at_put(y, at, (gr_at(x, at) - now[0]) / sqrt(now[1] + (double)p->epsilon) * scale + bias);
        }
        for (uint32_t o = 1; o < s->nout; o++) {
            if (!s->out[o]) continue;
            int k = o % 2 ? 0 : 1; /* mean, variance, saved mean, saved variance */
            double m = (double)p->momentum, running = training ? m * old[k] + (1 - m) * now[k] : old[k];
            gr_at_put(s->out[o], c, o <= 2 ? running : now[k]);
        }
    }
    return GR_OK;
}

/* ---- InstanceNormalization, GroupNormalization ---- */

typedef struct group_params {
    float epsilon;
    int64_t groups;   /* 0: as many as channels */
    bool per_channel; /* scale and bias have an entry per channel, else per group */
} group_params;

static gr_status parse_groups(gr_attrs attrs, gr_arena *arena, group_params given, const void **out, gr_err *err)
{
    group_params *p = GR_NEW(arena, group_params);
    if (!p) return gr_nomem(err);
    *p = given;
    *out = p;
    GR_TRY(gr_attr_float(attrs, "epsilon", 1e-5f, &p->epsilon, err));
    if (!given.groups) return GR_OK;
    if (!gr_attr_find(attrs, "num_groups")) return gr_fail(err, GR_EMODEL, "attribute 'num_groups' is missing");
    return gr_attr_int_in(attrs, "num_groups", 1, 1, INT64_MAX, &p->groups, err);
}

static gr_status parse_instance(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return parse_groups(attrs, arena, (group_params){.per_channel = true}, out, err);
}

static gr_status parse_group_18(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return parse_groups(attrs, arena, (group_params){.groups = 1}, out, err);
}

static gr_status parse_group_21(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return parse_groups(attrs, arena, (group_params){.groups = 1, .per_channel = true}, out, err);
}

static gr_status infer_groups(const gr_infer *c, gr_err *err)
{
    const group_params *p = GR_PARAMS(group_params, c);
    for (uint32_t i = 0; i < 3; i++) {
        GR_TRY(gr_require(c, i, GR_T_FLOATS, err));
        GR_TRY(gr_require_same(c, i, 0, err));
    }
    if (gr_rank_known(c, 0)) {
        if (c->in[0]->rank < 2)
            return gr_fail(err, GR_EMODEL, "input 0 has rank %d, expected at least 2", c->in[0]->rank);
        gr_dim channels = c->in[0]->dims[1], want = p->per_channel ? channels : GR_DIM(p->groups);
        if (p->groups && gr_dim_known(channels) && channels.k % p->groups)
            return gr_fail(err, GR_EMODEL, "%lld channels do not make up %lld equal groups", (long long)channels.k,
                           (long long)p->groups);
        for (uint32_t i = 1; i < 3; i++) GR_TRY(require_dims(c, i, 1, &want, err));
    }
    return gr_set_like(c, 0, 0);
}

/* A sample has `groups` groups of `width` channels of `inner` elements. */
typedef struct groups {
    int64_t rows, groups, width, inner;
} groups;

static groups groups_of(const gr_step *s)
{
    const gr_tensor *x = s->in[0];
    if (!x->elements) return (groups){0};
    int64_t wanted = GR_PARAMS(group_params, s)->groups, n = wanted ? wanted : x->dims[1];
    return (groups){.rows = x->dims[0] * n, .groups = n, .width = x->dims[1] / n, .inner = gr_extent(x, 2, x->rank)};
}

/* y = (x - m) / sqrt(v + epsilon) * scale + bias, m and v being mean and variance over one group of one sample. */
static gr_status groups_ref(const gr_step *s, gr_err *err)
{
    (void)err;
    const group_params *p = GR_PARAMS(group_params, s);
    groups g = groups_of(s);
    int64_t n = g.width * g.inner;
    for (int64_t row = 0; row < g.rows; row++) {
        double mean = 0, variance = 0;
        for (int64_t i = row * n; i < (row + 1) * n; i++) mean += gr_at(s->in[0], i) / (double)n;
        for (int64_t i = row * n; i < (row + 1) * n; i++) variance += pow(gr_at(s->in[0], i) - mean, 2) / (double)n;
        for (int64_t i = 0; i < n; i++) {
            int64_t k = p->per_channel ? row % g.groups * g.width + i / g.inner : row % g.groups;
            double v = (gr_at(s->in[0], row * n + i) - mean) / sqrt(variance + (double)p->epsilon);
            gr_at_put(s->out[0], row * n + i, v * gr_at(s->in[1], k) + gr_at(s->in[2], k));
        }
    }
    return GR_OK;
}

static bool groups_prepare(gr_step *s, gr_why *why)
{
    if (s->in[0]->dtype != GR_FLOAT) return gr_decline(why, "elements are %s", gr_dtype_name(s->in[0]->dtype));
    groups g = groups_of(s);
    if (g.inner < 16) return gr_decline(why, "a channel has only %lld elements", (long long)g.inner);
    return true;
}

static gr_status groups_simd(const gr_step *s, gr_err *err)
{
    (void)err;
    const gr_simd *v = gr_simd_best();
    const group_params *p = GR_PARAMS(group_params, s);
    const groups g = groups_of(s);
    const float *x = s->in[0]->data, *scale = s->in[1]->data, *bias = s->in[2]->data;
    float *y = s->out[0]->data;
    int64_t n = g.width * g.inner;
    if (!s->in[0]->elements) return GR_OK;
#pragma omp parallel for schedule(static) if (s->in[0]->elements >= GR_PARALLEL_MIN)
    for (int64_t row = 0; row < g.rows; row++) {
        v->layernorm((size_t)n, x + row * n, NULL, NULL, NULL, p->epsilon, NULL, y + row * n);
        for (int64_t w = 0; w < g.width; w++) {
            int64_t k = p->per_channel ? row % g.groups * g.width + w : row % g.groups;
            float *part = y + row * n + w * g.inner;
            v->binary_scalar[GR_V_MUL]((size_t)g.inner, part, scale[k], part);
            v->binary_scalar[GR_V_ADD]((size_t)g.inner, part, bias[k], part);
        }
    }
    return GR_OK;
}

/* ---- LpNormalization ---- */

typedef struct lp_params {
    int64_t axis, p;
} lp_params;

static gr_status parse_lp(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    lp_params *p = GR_NEW(arena, lp_params);
    if (!p) return gr_nomem(err);
    *out = p;
    GR_TRY(gr_attr_int(attrs, "axis", -1, &p->axis, err));
    return gr_attr_int_in(attrs, "p", 2, 1, 2, &p->p, err);
}

static gr_status infer_lp(const gr_infer *c, gr_err *err)
{
    int axis;
    GR_TRY(gr_require(c, 0, GR_T_FLOATS, err));
    if (gr_rank_known(c, 0)) GR_TRY(gr_axis(GR_PARAMS(lp_params, c)->axis, c->in[0]->rank, &axis, err));
    return gr_set_like(c, 0, 0);
}

/* y = x / norm, norm = sum |x| (p = 1) or sqrt(sum x^2) (p = 2) along the axis; 0 where the norm is 0. */
static gr_status lp_ref(const gr_step *s, gr_err *err)
{
    (void)err;
    const lp_params *p = GR_PARAMS(lp_params, s);
    const gr_tensor *x = s->in[0];
    int axis = (int)(p->axis < 0 ? p->axis + x->rank : p->axis);
    int64_t n = x->dims[axis], inner = gr_extent(x, axis + 1, x->rank), rows = gr_extent(x, 0, axis) * inner;
    if (!x->elements) return GR_OK;
    for (int64_t row = 0; row < rows; row++) {
        int64_t first = row / inner * n * inner + row % inner;
        double norm = 0;
        for (int64_t i = 0; i < n; i++) {
            double v = gr_at(x, first + i * inner);
            norm += p->p == 1 ? fabs(v) : v * v;
        }
        if (p->p == 2) norm = sqrt(norm);
        for (int64_t i = first; i < first + n * inner; i += inner)
            gr_at_put(s->out[0], i, norm == 0 ? 0 : gr_at(x, i) / norm);
    }
    return GR_OK;
}

/* ---- MeanVarianceNormalization ---- */

typedef struct mvn_params {
    int64_t count;
    const int64_t *axes;
} mvn_params;

static gr_status parse_mvn(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    static const int64_t batch_and_space[] = {0, 2, 3};
    mvn_params *p = GR_NEW(arena, mvn_params);
    if (!p) return gr_nomem(err);
    *out = p;
    GR_TRY(gr_attr_ints(attrs, "axes", &p->count, &p->axes, err));
    if (p->count < 0) *p = (mvn_params){3, batch_and_space};
    return GR_OK;
}

/* Sets reduced[axis] for the axes that the statistics run over. */
static gr_status mvn_axes(const mvn_params *p, int rank, bool *reduced, gr_err *err)
{
    for (int i = 0; i < rank; i++) reduced[i] = p->count == 0; /* an empty list means all, as in reductions */
    for (int64_t i = 0; i < p->count; i++) {
        int axis;
        GR_TRY(gr_axis(p->axes[i], rank, &axis, err));
        reduced[axis] = true;
    }
    return GR_OK;
}

static gr_status infer_mvn(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_require(c, 0, GR_T_FLOATS, err));
    if (gr_rank_known(c, 0) && c->in[0]->rank <= GR_MAX_RANK) {
        bool reduced[GR_MAX_RANK];
        GR_TRY(mvn_axes(GR_PARAMS(mvn_params, c), c->in[0]->rank, reduced, err));
    }
    return gr_set_like(c, 0, 0);
}

/* y = (x - m) / (sqrt(mean((x - m)^2)) + 1e-9) over the given axes; the epsilon is that of ONNX's function body. */
static gr_status mvn_ref(const gr_step *s, gr_err *err)
{
    const gr_tensor *x = s->in[0];
    bool reduced[GR_MAX_RANK];
    GR_TRY(mvn_axes(GR_PARAMS(mvn_params, s), x->rank, reduced, err));
    if (!x->elements) return GR_OK;
    int64_t dense[GR_MAX_RANK], dims[2][GR_MAX_RANK], strides[2][GR_MAX_RANK], count[2] = {1, 1};
    int rank[2] = {0, 0}; /* [0]: axes that stay apart, [1]: axes that the statistics run over */
    gr_dense_strides(x->rank, x->dims, dense);
    for (int i = 0; i < x->rank; i++) {
        int k = reduced[i];
        dims[k][rank[k]] = x->dims[i];
        strides[k][rank[k]++] = dense[i];
        count[k] *= x->dims[i];
    }
    for (int64_t o = 0; o < count[0]; o++) {
        int64_t first = gr_offset(rank[0], dims[0], strides[0], o);
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < count[1]; i++)
            mean += gr_at(x, first + gr_offset(rank[1], dims[1], strides[1], i)) / (double)count[1];
        for (int64_t i = 0; i < count[1]; i++)
            variance += pow(gr_at(x, first + gr_offset(rank[1], dims[1], strides[1], i)) - mean, 2) / (double)count[1];
        for (int64_t i = 0; i < count[1]; i++) {
            int64_t at = first + gr_offset(rank[1], dims[1], strides[1], i);
            gr_at_put(s->out[0], at, (gr_at(x, at) - mean) / (sqrt(variance) + 1e-9));
        }
    }
    return GR_OK;
}

static const gr_kernel batch[] = {{"ref", NULL, batch_ref, NULL}, {0}};
static const gr_kernel group[] = {{"simd", groups_prepare, groups_simd, NULL}, {"ref", NULL, groups_ref, NULL}, {0}};
static const gr_kernel lp[] = {{"ref", NULL, lp_ref, NULL}, {0}};
static const gr_kernel mvn[] = {{"ref", NULL, mvn_ref, NULL}, {0}};

#define ROW(Name, version, inputs, outputs, parse_function, infer_function, list)                                      \
    {                                                                                                                  \
        .name = Name, .since = version, .in = {inputs, inputs}, .out = outputs, .parse = parse_function,               \
        .infer = infer_function, .kernels = list                                                                       \
    }

const gr_op op_norm_channel[] = {
    ROW("BatchNormalization", 1, 5, 5, parse_batch_1, infer_batch, batch),
    ROW("BatchNormalization", 6, 5, 5, parse_batch_1, infer_batch, batch),
    ROW("BatchNormalization", 7, 5, 5, parse_batch_1, infer_batch, batch),
    ROW("BatchNormalization", 9, 5, 5, parse_batch_1, infer_batch, batch),
    ROW("BatchNormalization", 14, 5, 3, parse_batch_14, infer_batch, batch),
    ROW("BatchNormalization", 15, 5, 3, parse_batch_14, infer_batch, batch),
    ROW("InstanceNormalization", 1, 3, 1, parse_instance, infer_groups, group),
    ROW("InstanceNormalization", 6, 3, 1, parse_instance, infer_groups, group),
    ROW("InstanceNormalization", 22, 3, 1, parse_instance, infer_groups, group),
    ROW("GroupNormalization", 18, 3, 1, parse_group_18, infer_groups, group),
    ROW("GroupNormalization", 21, 3, 1, parse_group_21, infer_groups, group),
    ROW("LpNormalization", 1, 1, 1, parse_lp, infer_lp, lp),
    ROW("LpNormalization", 22, 1, 1, parse_lp, infer_lp, lp),
    ROW("MeanVarianceNormalization", 9, 1, 1, parse_mvn, infer_mvn, mvn),
    ROW("MeanVarianceNormalization", 13, 1, 1, parse_mvn, infer_mvn, mvn),
    {0},
};
