/* SPDX-License-Identifier: Apache-2.0
 *
 * FlexAttention (ai.onnx.preview): prob_mod(softmax(score_mod(q k^T scale))) v, where the model brings the two functions
 * as graphs of one tensor [batch, heads, queries, keys]. Query heads share key heads in groups. As in ONNX's body the
 * root of the scale goes to queries and keys, in their type; softmax and functions work in `softmax_precision`.
 */
#include "elem.h"
#include "exec/eval.h"

enum { QUERY, KEY, VALUE };
enum { SCORE_MOD, PROB_MOD };

typedef struct params {
    bool scaled;
    float scale;
    gr_dtype precision; /* GR_UNDEFINED: float, or double for doubles */
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    if (!p) return gr_nomem(err);
    *out = p;
    p->scaled = gr_attr_find(attrs, "scale") != NULL;
    GR_TRY(gr_attr_float(attrs, "scale", 0, &p->scale, err));
    GR_TRY(gr_attr_dtype(attrs, "softmax_precision", GR_UNDEFINED, &p->precision, err));
    if (p->precision == GR_UNDEFINED || gr_dtype_is_float(p->precision)) return GR_OK;
    return gr_fail(err, GR_EMODEL, "attribute 'softmax_precision' is %s, expected a type of floating-point numbers",
                   gr_dtype_name(p->precision));
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    bool known = true;
    for (uint32_t i = QUERY; i <= VALUE; i++) {
        if (!gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
        GR_TRY(gr_require(c, i, GR_T_FLOATS, err));
        GR_TRY(gr_require_same(c, QUERY, i, err));
        if (gr_rank_known(c, i) && c->in[i]->rank != 4)
            return gr_fail(err, GR_EMODEL, "input %u has rank %d, expected 4", i, c->in[i]->rank);
        known = known && gr_rank_known(c, i);
    }
    if (!c->node || c->node->nsubgraphs != 2) return gr_fail(err, GR_EMODEL, "it stands in no graph");
    for (uint32_t i = 0; i < 2; i++) {
        const gr_graph *g = c->node->subgraphs[i];
        if (g->ninputs - g->ncaptured != 1 || g->noutputs != 1)
            return gr_fail(err, GR_EMODEL, "graph '%s' has %zu inputs and %zu outputs, expected one of each",
                           c->op->graphs[i], g->ninputs - g->ncaptured, g->noutputs);
    }
    if (!known) return gr_set(c, 0, c->in[QUERY]->dtype, GR_RANK_UNKNOWN, NULL);
    const gr_dim *q = c->in[QUERY]->dims;
    gr_dim batch = q[0], size = q[3], heads = c->in[KEY]->dims[1], keys = c->in[KEY]->dims[2];
    for (uint32_t i = KEY; i <= VALUE; i++) GR_TRY(gr_unify_dim(c, i, 0, &batch, err));
    GR_TRY(gr_unify_dim(c, VALUE, 1, &heads, err));
    GR_TRY(gr_unify_dim(c, VALUE, 2, &keys, err));
    GR_TRY(gr_unify_dim(c, KEY, 3, &size, err));
    if (gr_dim_known(heads) && gr_dim_known(q[1]) && (heads.k < 1 || q[1].k % heads.k))
        return gr_fail(err, GR_EMODEL, "%lld query heads cannot be shared out among %lld key heads", (long long)q[1].k,
                       (long long)heads.k);
    gr_dim *y = gr_dims(c, 4);
    y[0] = batch, y[1] = q[1], y[2] = q[2], y[3] = c->in[VALUE]->dims[3];
    return gr_set(c, 0, c->in[QUERY]->dtype, 4, y);
}

/* ---- ref ---- */

static gr_dtype precision_of(const gr_step *s)
{
    gr_dtype given = GR_PARAMS(params, s)->precision;
    return given != GR_UNDEFINED ? given : s->in[QUERY]->dtype == GR_DOUBLE ? GR_DOUBLE : GR_FLOAT;
}

/* The tensor of scores, without memory. */
static bool scores_of(const gr_step *s, gr_tensor *t)
{
    const gr_tensor *q = s->in[QUERY];
    *t = (gr_tensor){.kind = GR_KIND_TENSOR, .dtype = precision_of(s), .rank = 4, .aligned = true};
    for (int i = 0; i < 3; i++) t->dims[i] = q->dims[i];
    t->dims[3] = s->in[KEY]->dims[2];
    return gr_elements(4, t->dims, &t->elements) && gr_bytes(t->dtype, t->elements, &t->size);
}

static bool prepare(gr_step *s, gr_why *why)
{
    gr_tensor t;
    if (!scores_of(s, &t)) return gr_decline(why, "its scores are too large");
    s->scratch_size = t.size ? t.size : 1;
    return true;
}

/* Row of k or v for query head h. */
static int64_t shared_row(const gr_tensor *q, const gr_tensor *k, int64_t b, int64_t h, int64_t row)
{
    return ((b * k->dims[1] + h / (q->dims[1] / k->dims[1])) * k->dims[2] + row) * k->dims[3];
}

static void score(const gr_step *s, gr_tensor *scores)
{
    const params *p = GR_PARAMS(params, s);
    const gr_tensor *q = s->in[QUERY], *k = s->in[KEY];
    const gr_dtype type = q->dtype;
    const double scale = p->scaled ? (double)p->scale : 1 / sqrt((double)q->dims[3]);
    const double root = scale < 0 ? 1 : gr_rounded(type, sqrt(scale)), rest = scale < 0 ? scale : 1;
    const int64_t keys = k->dims[2], size = q->dims[3];
#pragma omp parallel for if (scores->elements * size > GR_PARALLEL_MIN / 4)
    for (int64_t i = 0; i < scores->elements; i++) {
        int64_t row = i / keys, h = row / q->dims[2] % q->dims[1], b = row / q->dims[2] / q->dims[1];
        int64_t at = shared_row(q, k, b, h, i % keys);
        double sum = 0;
        for (int64_t j = 0; j < size; j++)
            sum += gr_rounded(type, gr_at(q, row * size + j) * root) * gr_rounded(type, gr_at(k, at + j) * root);
        gr_at_put(scores, i, gr_rounded(type, sum * rest));
    }
}

/* A graph of the node on one tensor; the result must be like it, and is the caller's. */
static gr_status modify(const gr_step *s, uint32_t which, const gr_tensor *x, gr_tensor **out, gr_err *err)
{
    const gr_graph *g = s->node->subgraphs[which];
    const gr_tensor **in = gr_calloc(g->ninputs, sizeof *in);
    if (!in) return gr_nomem(err);
    in[0] = x;
    for (size_t i = 0; i < g->ncaptured; i++) in[1 + i] = s->in[s->nin - g->ncaptured + i];
    gr_status status = gr_eval_graph(s->exec, g, in, out, err);
    gr_free(in);
    GR_TRY(status);
    bool alike = (*out)->kind == GR_KIND_TENSOR && (*out)->dtype == x->dtype && (*out)->rank == 4;
    for (int i = 0; i < 4 && alike; i++) alike = (*out)->dims[i] == x->dims[i];
    if (alike) return GR_OK;
    return gr_fail(err, GR_EINPUT, "graph '%s' does not keep type and shape", s->op->graphs[which]);
}

static void discard(const gr_step *s, gr_tensor *t)
{
    if (s->exec && t) s->exec->live_bytes -= t->size < s->exec->live_bytes ? t->size : s->exec->live_bytes;
    gr_tensor_free(t);
}

/* x = exp(x - max) / sum(exp(x - max)) along the keys */
static void softmax(gr_tensor *t)
{
    const int64_t n = t->dims[3], rows = n ? t->elements / n : 0;
#pragma omp parallel for if (t->elements > GR_PARALLEL_MIN / 8)
    for (int64_t r = 0; r < rows; r++) {
        double max = -INFINITY, sum = 0;
        for (int64_t i = r * n; i < (r + 1) * n; i++) max = fmax(max, gr_at(t, i));
        for (int64_t i = r * n; i < (r + 1) * n; i++) sum += exp(gr_at(t, i) - max);
        for (int64_t i = r * n; i < (r + 1) * n; i++) gr_at_put(t, i, exp(gr_at(t, i) - max) / sum);
    }
}

static void weigh(const gr_step *s, const gr_tensor *p)
{
    const gr_tensor *q = s->in[QUERY], *v = s->in[VALUE], *y = s->out[0];
    const int64_t keys = v->dims[2], size = v->dims[3];
#pragma omp parallel for if (p->elements * size > GR_PARALLEL_MIN / 4)
    for (int64_t i = 0; i < y->elements; i++) {
        int64_t row = i / size, h = row / q->dims[2] % q->dims[1], b = row / q->dims[2] / q->dims[1];
        double sum = 0;
        for (int64_t t = 0; t < keys; t++)
            sum += gr_rounded(y->dtype, gr_at(p, row * keys + t)) * gr_at(v, shared_row(q, v, b, h, t) + i % size);
        gr_at_put(y, i, sum);
    }
}

static gr_status run(const gr_step *s, gr_err *err)
{
    gr_tensor scores, *modified = NULL, *probabilities = NULL;
    if (!scores_of(s, &scores)) return gr_fail(err, GR_ELIMIT, "its scores are too large");
    scores.data = s->scratch;
    if (!s->out[0]->elements) return GR_OK;
    score(s, &scores);
    gr_status status = modify(s, SCORE_MOD, &scores, &modified, err);
    if (status == GR_OK) {
        softmax(modified);
        status = modify(s, PROB_MOD, modified, &probabilities, err);
    }
    if (status == GR_OK) weigh(s, probabilities);
    discard(s, modified);
    discard(s, probabilities);
    return status;
}

static const gr_kernel kernels[] = {{"ref", prepare, run, NULL}, {0}};
static const char *const graphs[] = {"score_mod", "prob_mod", NULL};

const gr_op op_flex_attention[] = {{.name = "FlexAttention",
                                    .since = 1,
                                    .in = {3, 3},
                                    .out = 1,
                                    .flags = GR_OP_DYNAMIC | GR_OP_PLAIN_GRAPHS,
                                    .parse = parse,
                                    .infer = infer,
                                    .kernels = kernels,
                                    .domain = "ai.onnx.preview",
                                    .graphs = graphs},
                                   {0}};
