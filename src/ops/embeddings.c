/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun.Embeddings: y = LayerNormalization(sum of rows). Inputs are scale, bias (both may be absent: without scale y
 * is the sum), then pairs of values and ids: rows values[ids] of a table, or, where ids are absent, values that
 * broadcast to the sum. Tables are read where they lie in the file; no [batch, tokens, width] but y is made.
 */
#include "elem.h"
#include "exec/packs.h"
#include "graph/spell.h"
#include "move.h"
#include "simd/simd.h"
#include <omp.h>
#include <stdio.h>

enum { SCALE, BIAS, FIRST, MOST = 6 }; /* inputs; the first pair; greatest number of pairs */

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    return gr_parse_epsilon(attrs, arena, 1e-5f, params, err);
}

static uint32_t pairs_of(uint32_t nin) { return nin > FIRST ? (nin - FIRST + 1) / 2 : 0; }

/* Dims of a summand; false if they are not known. */
static bool summand_dims(const gr_infer *c, uint32_t pair, gr_dim **dims, int *rank)
{
    const uint32_t v = FIRST + 2 * pair, ids = v + 1;
    if (!gr_rank_known(c, v)) return false;
    const gr_type *t = c->in[v];
    *rank = t->rank;
    *dims = (gr_dim *)(uintptr_t)t->dims;
    if (!gr_has(c, ids)) return true;
    if (!gr_rank_known(c, ids)) return false;
    const gr_type *ix = c->in[ids];
    *rank = ix->rank + 1;
    *dims = gr_dims(c, *rank);
    for (int i = 0; i < ix->rank; i++) (*dims)[i] = ix->dims[i];
    (*dims)[ix->rank] = t->dims[1];
    return true;
}

static gr_status add_dims(const gr_infer *c, gr_dim *sum, int *rank, const gr_dim *dims, int n, gr_err *err)
{
    if (n < 1 || n > GR_MAX_RANK) return gr_fail(err, GR_EMODEL, "a summand has rank %d", n);
    const int all = n > *rank ? n : *rank;
    for (int i = 1; i <= all; i++) {
        const gr_dim a = i <= *rank ? sum[GR_MAX_RANK - i] : GR_DIM(1), b = i <= n ? dims[n - i] : GR_DIM(1);
        if (!gr_sym_broadcast(c->syms, a, b, &sum[GR_MAX_RANK - i]))
            return gr_fail(err, GR_EMODEL, "dimensions %s and %s of summands do not broadcast", gr_sym_text(c->syms, a),
                           gr_sym_text(c->syms, b));
    }
    *rank = all;
    return GR_OK;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    gr_dim sum[GR_MAX_RANK], *dims = NULL;
    int rank = 0, n = 0;
    bool known = true;
    if (pairs_of(c->nin) < 1 || pairs_of(c->nin) > MOST)
        return gr_fail(err, GR_EMODEL, "%u summands, expected 1 to %d", pairs_of(c->nin), MOST);
    for (uint32_t i = 0; i < c->nin; i++) {
        const bool ids = i >= FIRST && (i - FIRST) % 2;
        if (!ids && i >= FIRST && !gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
        GR_TRY(gr_require(c, i, ids ? GR_T_INDEX : GR_T_FLOATS, err));
        if (!ids && gr_has(c, i)) GR_TRY(gr_require_same(c, FIRST, i, err));
        if (ids && gr_has(c, i) && gr_rank_known(c, i - 1) && c->in[i - 1]->rank != 2)
            return gr_fail(err, GR_EMODEL, "table %u has rank %d, expected 2", i - 1, c->in[i - 1]->rank);
    }
    for (uint32_t i = 0; i < pairs_of(c->nin); i++) {
        if (!summand_dims(c, i, &dims, &n))
            known = false;
        else
            GR_TRY(add_dims(c, sum, &rank, dims, n, err));
    }
    for (uint32_t i = SCALE; i <= BIAS; i++)
        if (gr_rank_known(c, i) && c->in[i]->rank != 1)
            return gr_fail(err, GR_EMODEL, "input %u has rank %d, expected 1", i, c->in[i]->rank);
    if (!known) return gr_set(c, 0, c->in[FIRST]->dtype, GR_RANK_UNKNOWN, NULL);
    gr_dim *y = gr_dims(c, rank);
    memcpy(y, sum + GR_MAX_RANK - rank, (size_t)rank * sizeof *y);
    return gr_set(c, 0, c->in[FIRST]->dtype, rank, y);
}

/* ---- where rows of summands are ---- */

typedef struct summand {
    const gr_tensor *values, *ids;
    int64_t strides[GR_MAX_RANK]; /* of ids, or of values in elements, over the dims of y but the last */
    int64_t step;                 /* 0: one value for a whole row */
} summand;

typedef struct work {
    int n, rank; /* summands; dims of rows */
    int64_t rows, width;
    summand of[MOST];
} work;

static work work_of(const gr_step *s)
{
    const gr_tensor *y = s->out[0];
    work w = {.n = (int)pairs_of(s->nin), .rank = y->rank - 1, .width = y->dims[y->rank - 1]};
    w.rows = gr_extent(y, 0, w.rank);
    for (int i = 0; i < w.n; i++) {
        summand *m = &w.of[i];
        int64_t strides[GR_MAX_RANK];
        *m = (summand){.values = s->in[FIRST + 2 * i], .ids = gr_step_in(s, (uint32_t)(FIRST + 2 * i + 1)), .step = 1};
        if (m->ids) {
            gr_broadcast_strides(m->ids, w.rank, y->dims, m->strides);
        } else {
            gr_broadcast_strides(m->values, y->rank, y->dims, strides);
            memcpy(m->strides, strides, (size_t)w.rank * sizeof *strides);
            m->step = strides[w.rank];
        }
    }
    return w;
}

static gr_status bad_id(const gr_step *s, int pair, int64_t id, int64_t n, gr_err *err)
{
    if (!s->node) return gr_bad_index(id, n, err);
    return gr_fail(err, GR_EINPUT, "index %lld is out of range of table '%s', expected %lld to %lld", (long long)id,
                   gr_show(gr_in(s->node, (uint32_t)(FIRST + 2 * pair))->name), (long long)-n, (long long)n - 1);
}

static gr_status check_ids(const gr_step *s, const work *w, gr_err *err)
{
    for (int i = 0; i < w->n; i++) {
        const gr_tensor *ids = w->of[i].ids;
        const int64_t n = w->of[i].values->dims[0];
        for (int64_t k = 0; ids && k < ids->elements; k++)
            if (gr_wrap_index(gr_int_at(ids, k), n) < 0) return bad_id(s, i, gr_int_at(ids, k), n, err);
    }
    return GR_OK;
}

/* Element of the values where the row of a summand begins. */
static int64_t row_at(const work *w, const summand *m, const int64_t *dims, int64_t row)
{
    const int64_t at = gr_offset(w->rank, dims, m->strides, row);
    return m->ids ? gr_wrap_index(gr_int_at(m->ids, at), m->values->dims[0]) * w->width : at;
}

/* ---- kernels ---- */

/* v = sum of the rows; y = (v - mean(v)) / sqrt(mean((v - mean(v))^2) + epsilon) * scale + bias, or v without scale */
static gr_status ref_run(const gr_step *s, gr_err *err)
{
    const work w = work_of(s);
    const gr_tensor *y = s->out[0], *scale = gr_step_in(s, SCALE), *bias = gr_step_in(s, BIAS);
    double *v = s->scratch;
    GR_TRY(check_ids(s, &w, err));
    for (int64_t row = 0; row < w.rows; row++) {
        double mean = 0, square = 0;
        for (int64_t j = 0; j < w.width; j++) {
            v[j] = 0;
            for (int i = 0; i < w.n; i++)
                v[j] = gr_rounded(y->dtype, v[j] + gr_at_unaligned(w.of[i].values, row_at(&w, &w.of[i], y->dims, row) +
                                                                                       j * w.of[i].step));
            mean += v[j] / (double)w.width;
        }
        for (int64_t j = 0; j < w.width; j++) square += pow(v[j] - mean, 2) / (double)w.width;
        const double r = 1 / sqrt(square + (double)GR_PARAMS(gr_epsilon, s)->epsilon);
        for (int64_t j = 0; j < w.width; j++) {
            double x = scale ? (v[j] - mean) * r * gr_at_unaligned(scale, j) : v[j];
            gr_at_put(y, row * w.width + j, bias ? x + gr_at_unaligned(bias, j) : x);
        }
    }
    return GR_OK;
}

static bool ref_prepare(gr_step *s, gr_why *why)
{
    (void)why;
    if (s->out[0]) s->scratch_size = (size_t)s->out[0]->dims[s->out[0]->rank - 1] * sizeof(double) + 8;
    return true;
}

static bool simd_prepare(gr_step *s, gr_why *why)
{
    const gr_tensor *y = s->out[0];
    if (!y) return gr_decline(why, "the result is not wanted");
    if (y->dtype != GR_FLOAT) return gr_decline(why, "element type %s", gr_dtype_name(y->dtype));
    const work w = work_of(s);
    for (int i = 0; i < w.n; i++)
        if (w.of[i].step != 1 && w.width > 1) return gr_decline(why, "a summand repeats within a row");
    if (gr_step_in(s, BIAS) && !gr_step_in(s, SCALE)) return gr_decline(why, "a bias without a scale");
    /* Scale and bias, and for each thread the sum and a row that is not aligned. */
    s->scratch_size = (2 + 2 * (size_t)gr_step_threads(s)) * (size_t)w.width * sizeof(float);
    return true;
}

static const float *aligned(const gr_tensor *t, int64_t first, int64_t n, float *buffer)
{
    if (t->dtype != GR_FLOAT) { /* a table that is stored in 16 bits */
        gr_widen(t->dtype, (const char *)t->data + first * 2, n, buffer);
        return buffer;
    }
    const char *at = (const char *)t->data + first * (int64_t)sizeof(float);
    if (!((uintptr_t)at % sizeof(float))) return (const float *)(const void *)at;
    memcpy(buffer, at, (size_t)n * sizeof(float));
    return buffer;
}

static gr_status simd_run(const gr_step *s, gr_err *err)
{
    const work w = work_of(s);
    const gr_simd *v = gr_simd_best();
    const gr_tensor *y = s->out[0], *scale = gr_step_in(s, SCALE), *bias = gr_step_in(s, BIAS);
    const size_t n = (size_t)w.width;
    const float *g = NULL, *b = NULL;
    const int64_t rows = s->rows ? s->rows->count : w.rows;
    GR_TRY(check_ids(s, &w, err));
    if (scale) g = aligned(scale, 0, w.width, s->scratch);
    if (bias) b = aligned(bias, 0, w.width, (float *)s->scratch + n);
#pragma omp parallel for schedule(static) num_threads(gr_step_threads(s)) if (rows * w.width >= GR_PARALLEL_MIN)
    for (int64_t i = 0; i < rows; i++) {
        const int64_t row = s->rows ? s->rows->index[i] : i;
        float *sum = (float *)s->scratch + (2 + 2 * (size_t)omp_get_thread_num()) * n, *buffer = sum + n;
        float *to = (float *)y->data + i * w.width;
        const float *x = NULL;
        for (int k = 0; k < w.n; k++) {
            const bool last = k == w.n - 1;
            const float *more = aligned(w.of[k].values, row_at(&w, &w.of[k], y->dims, row), w.width, x ? buffer : sum);
            if (last && scale)
                v->layernorm(n, x ? x : more, x ? more : NULL, g, b, GR_PARAMS(gr_epsilon, s)->epsilon, NULL, to);
            else if (x)
                v->binary[GR_V_ADD](n, x, more, last ? to : sum);
            else if (last)
                memcpy(to, more, n * sizeof *to);
            x = x ? sum : more;
        }
    }
    return GR_OK;
}

static const gr_kernel kernels[] = {{"simd", simd_prepare, simd_run, NULL}, {"ref", ref_prepare, ref_run, NULL}, {0}};

static gr_status spell(gr_spell *s)
{
    const gr_dtype dtype = gr_spell_dtype(s, FIRST);
    const uint32_t n = pairs_of(s->nin);
    char inputs[32 * (MOST + 1)] = "scale, bias", row[32], sum[32];
    bool norm = gr_spell_in(s, SCALE);
    for (uint32_t i = 0, at = (uint32_t)strlen(inputs); i < n; i++)
        at += (uint32_t)snprintf(inputs + at, sizeof inputs - at, ", values_%u, ids_%u", i, i);
    gr_spell_begin(s, inputs, "y");
    for (uint32_t i = 0; i < n; i++) {
        bool ids = gr_spell_in(s, FIRST + 2 * i + 1);
        snprintf(row, sizeof row, "%s_%u", ids ? "rows" : "values", i);
        if (ids) gr_spell_node(s, "%s = Gather <axis = 0> (values_%u, ids_%u)", row, i, i);
        char to[32];
        snprintf(to, sizeof to, i + 1 == n && !norm ? "y" : "sum_%u", i);
        gr_spell_node(s, "%s = %s (%s%s%s)", to, i ? "Add" : "Identity", i ? sum : "", i ? ", " : "", row);
        memcpy(sum, to, sizeof sum);
    }
    gr_spell_norm ln = {sum, "scale", gr_spell_in(s, BIAS) ? "bias" : NULL, dtype, dtype, -1, 0, false};
    GR_TRY(gr_attr_float(s->node->attrs, "epsilon", 1e-5f, &ln.epsilon, s->err));
    if (norm) gr_spell_layer_norm(s, "y", &ln);
    return GR_OK;
}

/* Scale and bias are absent where there is no norm. */
const gr_op op_embeddings[] = {
    GR_FUSED_ROW("Embeddings", 0, FIRST + 2 * MOST, 1, GR_OP_UNALIGNED | GR_OP_NARROW | GR_OP_ANY_ROWS), {0}};
