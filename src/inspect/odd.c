/* SPDX-License-Identifier: Apache-2.0 */
#include "odd.h"
#include "passes/match.h"
#include "peers.h"
#include <math.h>

enum { MAX_REMARKS = 16, MAX_POSITIONS = 1 << 16 };

typedef enum { OTHER, ROWS, FIRST, POOLED } content; /* of a value: rows of a table, first tokens, a layer of those */

typedef struct search {
    const gr_graph *g;
    const gr_source *const *maker;
    uint8_t *what; /* content by value */
    gr_arena *arena;
    gr_near_miss **list;
    size_t *n, *cap;
    int told;
    gr_err *err;
} search;

static bool is(const gr_source *s, const char *op) { return s && *s->op == *op && !strcmp(s->op, op); }

static bool one_of(const gr_source *s, const char *const *ops)
{
    while (*ops && strcmp(*ops, s->op)) ops++;
    return *ops != NULL;
}

static const char *label(const gr_source *s)
{
    const gr_value *v = s->node ? gr_out(s->node, 0) : NULL;
    return *s->name || !v ? s->name : v->name;
}

static const gr_source *made_by(const search *c, const gr_value *v)
{
    return v && v->graph == c->g ? c->maker[v->id] : NULL;
}

static content content_of(const search *c, const gr_value *v)
{
    return v && v->graph == c->g && !v->konst ? (content)c->what[v->id] : OTHER;
}

static gr_status tell(search *c, const char *rule, const gr_source *s, const char *why)
{
    gr_near_miss *m = why ? GR_PUSH(c->arena, *c->list, *c->n, *c->cap) : NULL;
    if (!m) return gr_nomem(c->err);
    *m = (gr_near_miss){rule, s->node, s->node, why, 0};
    c->told++;
    return GR_OK;
}

static bool is_table(const search *c, const gr_value *v)
{
    const gr_source *s = made_by(c, v);
    if (v && !v->konst && s && s->nin && (is(s, "DequantizeLinear") || is(s, "Cast"))) v = s->in[0];
    return v && v->konst && v->type.rank == 2 && gr_dtype_bits(v->type.dtype) <= 32;
}

/* Whether constant positions go up by one, or are all the same, along their last axis. */
static bool counts_up(const gr_tensor *t)
{
    int64_t row = t->rank ? t->dims[t->rank - 1] : 1;
    int64_t step = 0;
    for (int64_t i = 1; i < row; i++) {
        int64_t pair[2];
        memcpy(pair, (const char *)t->data + (i - 1) * (int64_t)sizeof *pair, sizeof pair);
        if (i == 1) step = pair[1] - pair[0];
        if (pair[1] - pair[0] != step || (step != 0 && step != 1)) return false;
    }
    return true;
}

static gr_status check_positions(search *c, const gr_source *gather)
{
    const gr_value *v = gather->in[1];
    const gr_source *s;
    for (int i = 0; i < 3 && v && !v->konst && (s = made_by(c, v)) && s->nin && !is(s, "Gather"); i++) v = s->in[0];
    const gr_tensor *t = v ? v->konst : NULL;
    if (!t || t->kind != GR_KIND_TENSOR || t->dtype != GR_INT64 || t->elements > MAX_POSITIONS || !t->data ||
        counts_up(t))
        return GR_OK;
    return tell(c, "embeddings", gather,
                gr_arena_printf(c->arena, "'%s' takes rows by the numbers of '%s', which do not count up",
                                gr_show(label(gather)), gr_show(v->name)));
}

/* What is made of rows before anything is normalised or multiplied with weights: sums, and spellings of them. */
static gr_status see_rows(search *c, const gr_source *s, content *out)
{
    static const char *const combine[] = {"Sub", "Mul", "Div", "Max", "Min", "Pow", "Mean", "Where", NULL};
    static const char *const change[] = {"Abs",   "Neg",  "Exp",     "Log",        "Relu",       "Tanh",  "Sigmoid",
                                         "Erf",   "Sqrt", "Sin",     "Cos",        "Reciprocal", "Floor", "Ceil",
                                         "Round", "Sign", "Softmax", "LogSoftmax", "Gelu",       NULL};
    static const char *const spell[] = {"Cast",           "Identity",         "Dropout", "Reshape",
                                        "Transpose",      "Unsqueeze",        "Squeeze", "Expand",
                                        "QuantizeLinear", "DequantizeLinear", NULL};
    bool first = s->nin && content_of(c, s->in[0]) == ROWS, second = s->nin > 1 && content_of(c, s->in[1]) == ROWS;
    bool both = first && second && s->in[0] != s->in[1];
    if (first && one_of(s, spell)) *out = ROWS;
    if ((is(s, "Add") || is(s, "Sum")) && (first || second)) *out = ROWS;
    if (both && one_of(s, combine)) {
        *out = ROWS;
        return tell(
            c, "embeddings", s,
            gr_arena_printf(c->arena, "'%s' is a %s of rows of embeddings, expected an Add", gr_show(label(s)), s->op));
    }
    if (!first || !one_of(s, change)) return GR_OK;
    *out = ROWS;
    return tell(c, "embeddings", s,
                gr_arena_printf(c->arena, "'%s' (%s) changes rows of embeddings, where only their sum was expected",
                                gr_show(label(s)), s->op));
}

/* A layer with a square matrix over first tokens is a pooler's, or that of a head of its kind. */
static gr_status see_first(search *c, const gr_source *s, content *out)
{
    static const char *const odd[] = {"Abs",  "Neg",   "Exp",   "Log",     "Sigmoid",    "Sqrt",       "Sin",
                                      "Cos",  "Tan",   "Atan",  "Sinh",    "Cosh",       "Reciprocal", "Floor",
                                      "Ceil", "Round", "Sign",  "Softmax", "LogSoftmax", "Hardmax",    "HardSigmoid",
                                      "Erf",  "Asinh", "Acosh", "Atanh",   "Softsign",   "Identity",   NULL};
    const gr_value *a = NULL, *b = NULL;
    content first = s->nin ? content_of(c, s->in[0]) : OTHER, second = s->nin > 1 ? content_of(c, s->in[1]) : OTHER;
    if (first == FIRST && gr_source_product(s, &a, &b) && is_table(c, b) && b->type.rank == 2 &&
        gr_dim_same(b->type.dims[0], b->type.dims[1]))
        *out = POOLED;
    if (first == FIRST && (is(s, "Squeeze") || is(s, "Reshape") || is(s, "Cast") || is(s, "DynamicQuantizeLinear") ||
                           is(s, "QuantizeLinear") || is(s, "DequantizeLinear") || is(s, "Flatten")))
        *out = FIRST;
    if (is(s, "Add") || is(s, "Cast") || is(s, "Reshape") || is(s, "Mul") || is(s, "QuantizeLinear") ||
        is(s, "DequantizeLinear"))
        if (first == POOLED || second == POOLED) *out = POOLED;
    if (first != POOLED || s->nin != 1 || !one_of(s, odd)) return GR_OK;
    return tell(c, "pooler", s,
                gr_arena_printf(c->arena, "'%s' (%s) follows the layer over first tokens, where a Tanh was expected",
                                gr_show(label(s)), s->op));
}

/* Gather of token 0, or a Slice from 0 to 1, of [batch, tokens, size]. */
static bool takes_first(const gr_source *s)
{
    double zero, one;
    const gr_value *x = s->nin ? s->in[0] : NULL;
    if (!x || x->konst || x->type.rank != 3) return false;
    if (is(s, "Gather")) return s->nin == 2 && s->in[1] && gr_scalar_of(s->in[1], &zero);
    return is(s, "Slice") && s->nin > 2 && gr_scalar_of(s->in[1], &zero) && gr_scalar_of(s->in[2], &one) && zero == 0 &&
           one == 1;
}

/* Add(op(x / sqrt 2), 1) is the heart of a GELU, whatever the operator is. */
static gr_status see_gelu(search *c, const gr_source *s)
{
    static const double root = 1.4142135623730951, tolerance = 1e-3;
    double x = 0;
    for (uint32_t i = 0; is(s, "Add") && s->nin == 2 && i < 2; i++) {
        const gr_source *m = made_by(c, s->in[i]), *div = m && m->nin == 1 ? made_by(c, m->in[0]) : NULL;
        if (!div || div->nin != 2 || is(m, "Erf") || !gr_scalar_of(s->in[1 - i], &x) || x != 1) continue;
        bool half = is(div, "Mul") && (gr_scalar_of(div->in[0], &x) || gr_scalar_of(div->in[1], &x));
        if (half ? x == 0 : !is(div, "Div") || !gr_scalar_of(div->in[1], &x)) continue;
        if (fabs((half ? 1 / x : x) - root) < tolerance)
            return tell(c, "gelu", m,
                        gr_arena_printf(c->arena, "'%s' is a %s of x / sqrt 2 to which 1 is added, expected an Erf",
                                        gr_show(label(m)), m->op));
    }
    return GR_OK;
}

gr_status gr_find_odd(const gr_graph *g, const gr_source *const *maker, gr_arena *arena, gr_arena *scratch,
                      gr_near_miss **list, size_t *n, size_t *cap, gr_err *err)
{
    search c = {g, maker, GR_NEWS(scratch, g->nvalues + 1, uint8_t), arena, list, n, cap, 0, err};
    if (!c.what) return gr_nomem(err);
    for (size_t i = 0; i < g->nsources && c.told < MAX_REMARKS; i++) {
        const gr_source *s = &g->sources[i];
        content made = OTHER;
        if (!s->node || !gr_out(s->node, 0)) continue;
        if (is(s, "Gather") && s->nin == 2 && s->in[1] && !(s->in[0] && s->in[0]->is_input) && is_table(&c, s->in[0])) {
            made = ROWS;
            GR_TRY(check_positions(&c, s));
        } else if (takes_first(s)) {
            made = FIRST;
        }
        GR_TRY(see_rows(&c, s, &made));
        GR_TRY(see_first(&c, s, &made));
        GR_TRY(see_gelu(&c, s));
        c.what[s->node->out[0]->id] = (uint8_t)made;
    }
    return GR_OK;
}
