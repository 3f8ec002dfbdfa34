/* SPDX-License-Identifier: Apache-2.0
 *
 * SoftmaxCrossEntropyLoss and NegativeLogLikelihoodLoss: for every label the negative log-probability of its class,
 * weighted, then kept, summed or averaged. Labels that equal ignore_index count for nothing.
 */
#include "elem.h"
#include "simd/simd.h"

enum reduction { NONE, SUM, MEAN };

typedef struct params {
    bool softmax; /* the input is scores, else it is log-probabilities */
    enum reduction reduction;
    bool ignores;
    int64_t ignore_index;
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, bool softmax, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    const char *reduction;
    if (!p) return gr_nomem(err);
    *out = p;
    p->softmax = softmax;
    p->ignores = gr_attr_find(attrs, "ignore_index") != NULL;
    GR_TRY(gr_attr_int(attrs, "ignore_index", 0, &p->ignore_index, err));
    GR_TRY(gr_attr_string(attrs, "reduction", "mean", &reduction, err));
    if (!strcmp(reduction, "none"))
        p->reduction = NONE;
    else if (!strcmp(reduction, "sum"))
        p->reduction = SUM;
    else if (!strcmp(reduction, "mean"))
        p->reduction = MEAN;
    else
        return gr_fail(err, GR_EMODEL, "attribute 'reduction' is '%s', expected none, sum or mean", gr_show(reduction));
    return GR_OK;
}

static gr_status parse_scores(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return parse(attrs, arena, true, out, err);
}

static gr_status parse_log_probabilities(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return parse(attrs, arena, false, out, err);
}

static gr_status same_dim(const gr_infer *c, gr_dim a, gr_dim b, const char *what, gr_err *err)
{
    if (gr_dim_known(a) && gr_dim_known(b) && a.k != b.k)
        return gr_fail(err, GR_EMODEL, "%s: %s and %s differ", what, gr_sym_text(c->syms, a), gr_sym_text(c->syms, b));
    return GR_OK;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    GR_TRY(gr_require(c, 0, GR_T_FLOATS, err));
    GR_TRY(gr_require(c, 1, GR_T(INT32) | GR_T(INT64), err));
    GR_TRY(gr_require(c, 2, GR_T_FLOATS, err));
    GR_TRY(gr_require_same(c, 0, 2, err));
    const gr_type *x = c->in[0], *t = c->in[1];
    if (gr_rank_known(c, 0)) {
        if (x->rank < 2) return gr_fail(err, GR_EMODEL, "input 0 has rank %d, expected at least 2", x->rank);
        if (gr_rank_known(c, 2)) {
            if (c->in[2]->rank != 1) return gr_fail(err, GR_EMODEL, "weights have rank %d, expected 1", c->in[2]->rank);
            GR_TRY(same_dim(c, x->dims[1], c->in[2]->dims[0], "classes and weights", err));
        }
    }
    if (gr_rank_known(c, 0) && gr_rank_known(c, 1)) {
        if (t->rank != x->rank - 1)
            return gr_fail(err, GR_EMODEL, "labels have rank %d, expected %d", t->rank, x->rank - 1);
        for (int i = 0; i < t->rank; i++)
            GR_TRY(same_dim(c, t->dims[i], x->dims[i ? i + 1 : 0], "dimensions of labels and scores", err));
    }
    gr_set_like(c, 1, 0);
    return p->reduction == NONE ? gr_set_like_as(c, 0, 1, x->dtype) : gr_set(c, 0, x->dtype, 0, NULL);
}

/* ---- what both kernels share ---- */

/* Class of the i-th label, -1 if it is to be ignored. */
static gr_status label_at(const gr_step *s, int64_t i, int64_t classes, int64_t *out, gr_err *err)
{
    const params *p = GR_PARAMS(params, s);
    gr_load_i64(s->in[1]->dtype, 1, s->in[1]->data, i, 1, out);
    if (p->ignores && *out == p->ignore_index)
        *out = -1;
    else if (*out < 0 || *out >= classes)
        return gr_fail(err, GR_EINPUT, "label %lld is out of range, expected 0 to %lld", (long long)*out,
                       (long long)classes - 1);
    return GR_OK;
}

typedef struct total {
    double loss, weight;
} total;

/* Take in the log-probability of the i-th label. */
static void add_label(const gr_step *s, int64_t i, int64_t label, double log_probability, total *t)
{
    const gr_tensor *weights = gr_step_in(s, 2);
    double weight = label < 0 ? 0 : weights ? gr_at(weights, label) : 1;
    double loss = label < 0 ? 0 : -log_probability * weight;
    t->loss += loss;
    t->weight += weight;
    if (GR_PARAMS(params, s)->reduction == NONE && gr_step_out(s, 0)) gr_at_put(s->out[0], i, loss);
}

static gr_status finish(const gr_step *s, total t)
{
    enum reduction r = GR_PARAMS(params, s)->reduction;
    if (r != NONE && gr_step_out(s, 0)) gr_at_put(s->out[0], 0, r == SUM ? t.loss : t.loss / t.weight);
    return GR_OK;
}

/* ---- ref ---- */

/* log(sum(exp(x))) over the classes of one position */
static double log_sum_exp(const gr_tensor *x, int64_t first, int64_t classes, int64_t step)
{
    double max = -INFINITY, sum = 0;
    for (int64_t k = 0; k < classes; k++) max = fmax(max, gr_at(x, first + k * step));
    for (int64_t k = 0; k < classes; k++) sum += exp(gr_at(x, first + k * step) - max);
    return max + log(sum);
}

/* loss = -(x[label] - log(sum(exp(x)))) * weight[label]; without the logarithm for log-probabilities. The mean divides
 * by the sum of the weights of labels that are not ignored. */
static gr_status ref_run(const gr_step *s, gr_err *err)
{
    const params *p = GR_PARAMS(params, s);
    const gr_tensor *x = s->in[0], *log_prob = gr_step_out(s, 1);
    int64_t classes = x->dims[1], inner = gr_extent(x, 2, x->rank), count = s->in[1]->elements, label;
    total t = {0, 0};
    for (int64_t i = 0; i < count; i++) {
        int64_t first = i / inner * classes * inner + i % inner;
        double norm = p->softmax ? log_sum_exp(x, first, classes, inner) : 0;
        for (int64_t k = 0; log_prob && k < classes; k++)
            gr_at_put(log_prob, first + k * inner, gr_at(x, first + k * inner) - norm);
        GR_TRY(label_at(s, i, classes, &label, err));
        add_label(s, i, label, label < 0 ? 0 : gr_at(x, first + label * inner) - norm, &t);
    }
    return finish(s, t);
}

/* ---- float32 scores, one row of classes per label ---- */

static bool simd_prepare(gr_step *s, gr_why *why)
{
    const gr_tensor *x = s->in[0];
    if (x->dtype != GR_FLOAT) return gr_decline(why, "elements are %s", gr_dtype_name(x->dtype));
    if (gr_extent(x, 2, x->rank) != 1) return gr_decline(why, "the classes of a label are not contiguous");
    s->scratch_size =
        (size_t)x->dims[0] * sizeof(double) + (size_t)gr_step_threads(s) * (size_t)x->dims[1] * sizeof(float);
    return true;
}

static gr_status simd_run(const gr_step *s, gr_err *err)
{
    const gr_simd *v = gr_simd_best();
    const gr_tensor *x = s->in[0], *log_prob = gr_step_out(s, 1);
    int64_t rows = s->in[1]->elements, classes = x->dims[1], label;
    double *norms = s->scratch;
    float *exps = (float *)(norms + x->dims[0]);
    size_t n = (size_t)classes;
#pragma omp parallel for schedule(static) num_threads(gr_step_threads(s)) if (x->elements >= GR_PARALLEL_MIN / 4)
    for (int64_t i = 0; i < rows; i++) {
        const float *row = (const float *)x->data + i * classes;
        float *e = exps + (size_t)omp_get_thread_num() * n, max = n ? v->max(n, row) : 0;
        v->binary_scalar[GR_V_SUB](n, row, max, e);
        v->unary[GR_V_EXP](n, e, e);
        norms[i] = (double)max + log((double)v->sum(n, e));
        if (log_prob) v->binary_scalar[GR_V_SUB](n, row, (float)norms[i], (float *)log_prob->data + i * classes);
    }
    total t = {0, 0};
    for (int64_t i = 0; i < rows; i++) {
        GR_TRY(label_at(s, i, classes, &label, err));
        double at = label < 0 ? 0 : (double)((const float *)x->data)[i * classes + label] - norms[i];
        add_label(s, i, label, at, &t);
    }
    return finish(s, t);
}

static const gr_kernel scores[] = {{"simd", simd_prepare, simd_run, NULL}, {"ref", NULL, ref_run, NULL}, {0}};
static const gr_kernel log_probabilities[] = {{"ref", NULL, ref_run, NULL}, {0}};

#define ROW(Name, version, outputs, parse_function, list)                                                              \
    {                                                                                                                  \
        .name = Name, .since = version, .in = {2, 3}, .out = outputs, .parse = parse_function, .infer = infer,         \
        .kernels = list                                                                                                \
    }

const gr_op op_loss[] = {
    ROW("SoftmaxCrossEntropyLoss", 12, 2, parse_scores, scores),
    ROW("SoftmaxCrossEntropyLoss", 13, 2, parse_scores, scores),
    ROW("NegativeLogLikelihoodLoss", 12, 1, parse_log_probabilities, log_probabilities),
    ROW("NegativeLogLikelihoodLoss", 13, 1, parse_log_probabilities, log_probabilities),
    ROW("NegativeLogLikelihoodLoss", 22, 1, parse_log_probabilities, log_probabilities),
    {0},
};
