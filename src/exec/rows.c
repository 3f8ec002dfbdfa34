/* SPDX-License-Identifier: Apache-2.0
 *
 * Sets of rows, chosen backwards from what is wanted: a step makes the rows that its readers want, and wants the same
 * rows of its inputs; attention wants the live rows of keys and values; taking the first token wants the first rows.
 * Whatever does not work row by row wants all.
 */
#include "rows.h"
#include "exec/plan_data.h"
#include "simd/simd.h"
#include <math.h>

/* Sets: all rows, those that can be seen, those at one place in each sequence, and those that the caller has picked. */
enum { ALL, LIVE, FIRST, PICKED, SETS, NONE = -1 };

/* A mask value this far below the greatest of its row leaves exp(score) = 0 in float32 (which ends at exp(-104)), if
 * scores themselves do not differ by thousands, as those of no trained model do. Exporters write -10000 or less. */
#define UNSEEN 9000.0f

void gr_live_keys(const float *mask, int64_t n, int64_t *begin, int64_t *end)
{
    float most = gr_simd_best()->max((size_t)n, mask);
    if (isnan(most)) /* the greatest of the others */
        for (int64_t i = 0; i < n; i++) most = mask[i] > most || isnan(most) ? mask[i] : most;
    *begin = 0;
    *end = n;
    /* Written so that a NaN is seen. */
    while (*end > 0 && mask[*end - 1] < most - UNSEEN) --*end;
    while (*begin < *end && mask[*begin] < most - UNSEEN) ++*begin;
    if (*begin == *end) *begin = 0, *end = n;
}

void gr_rows_copy(const gr_rows *from, const void *x, const gr_rows *to, void *y, size_t row_bytes)
{
    for (int64_t b = 0; b < to->batch; b++) {
        int64_t at = from ? from->first[b] : 0;
        for (int64_t i = to->first[b]; i < to->first[b + 1]; i++) {
            int64_t source = to->index[i];
            while (from && from->index[at] != to->index[i]) at++;
            if (from) source = at;
            memcpy((char *)y + (size_t)i * row_bytes, (const char *)x + (size_t)source * row_bytes, row_bytes);
        }
    }
}

/* The rows that `from` holds to their places among all; the others are zeros. */
static void spread(const gr_rows *from, const void *x, void *y, size_t row_bytes)
{
    int64_t at = 0, all = from->batch * from->tokens;
    for (int64_t i = 0; i < all; i++) {
        char *row = (char *)y + (size_t)i * row_bytes;
        if (at < from->count && from->index[at] == i)
            memcpy(row, (const char *)x + (size_t)at++ * row_bytes, row_bytes);
        else
            memset(row, 0, row_bytes);
    }
}

/* ---- copies as steps ---- */

static gr_status copy_run(const gr_step *s, gr_err *err)
{
    (void)err;
    const gr_rows *grid = s->rows ? s->rows : s->key_rows;
    size_t row = s->in[0]->size / (size_t)(grid->batch * grid->tokens);
    if (!s->rows)
        spread(s->key_rows, s->in[0]->data, s->out[0]->data, row);
    else
        gr_rows_copy(s->key_rows, s->in[0]->data, s->rows, s->out[0]->data, row);
    return GR_OK;
}

static const gr_kernel copy_kernels[] = {{"rows", NULL, copy_run, NULL}, {0}};
static const gr_op copy_op = {
    .name = "Rows", .since = 1, .in = {1, 1}, .out = 1, .kernels = copy_kernels, .domain = "graphrun"};

/* ---- the grid ---- */

static bool is_attention(const plan_step *ps) { return (ps->op->flags & GR_OP_KEY_ROWS) && !ps->dynamic; }

static slot *in_slot(gr_plan *p, const plan_step *ps, uint32_t i)
{
    return i < ps->nin && ps->in[i] != NO_SLOT ? &p->slots[ps->in[i]] : NULL;
}

/* Rows of the grid in a tensor: [batch, tokens, ...] or [batch * tokens, ...]. */
static bool in_grid(const gr_tensor *t, int64_t batch, int64_t tokens)
{
    if (t->rank >= 3 && t->dims[0] == batch && t->dims[1] == tokens) return true;
    return t->rank >= 2 && t->dims[0] == batch * tokens;
}

/* Attention of a grid to itself under a mask with one row for each sequence, or one for each of its queries. */
static bool has_grid(gr_plan *p, const plan_step *ps, int64_t *batch, int64_t *tokens)
{
    const slot *q = in_slot(p, ps, 0), *k = in_slot(p, ps, 1), *v = in_slot(p, ps, 2), *mask = in_slot(p, ps, 3);
    if (!is_attention(ps) || !q || !k || !v || !mask || (mask->place != IN_BLOCK && mask->place != IS_INPUT))
        return false;
    const gr_node *maker = gr_in(ps->node, 3)->def;
    if (maker && !p->early[maker->id]) return false;
    *batch = q->t.dims[0];
    *tokens = q->t.dims[1];
    const int64_t *m = mask->t.dims;
    return q->t.rank == 3 && k->t.rank == 3 && v->t.rank == 3 && k->t.dims[1] == *tokens && v->t.dims[1] == *tokens &&
           mask->t.dtype == GR_FLOAT && mask->t.rank == 4 && m[0] == *batch && m[1] == 1 &&
           (m[2] == 1 || m[2] == *tokens) && m[3] == *tokens && *batch > 0 && *tokens > 0;
}

/* Whether each query has a mask of its own. */
static bool by_query(gr_plan *p, const plan_step *ps)
{
    const slot *mask = in_slot(p, ps, 3);
    return mask && mask->t.rank == 4 && mask->t.dims[2] > 1;
}

/* Queries [batch, tokens, width] of attention under any mask: those that are picked can be computed alone. */
static bool has_queries(gr_plan *p, const plan_step *ps, int64_t *batch, int64_t *tokens)
{
    const slot *q = in_slot(p, ps, 0);
    if (!is_attention(ps) || !q || q->t.rank != 3 || q->place == IS_CONST) return false;
    *batch = q->t.dims[0];
    *tokens = q->t.dims[1];
    return *batch > 0 && *tokens > 0;
}

/* The node that makes a value in the run, or NULL. */
static const gr_node *made_by(const gr_plan *p, const gr_value *v)
{
    return v && !p->facts.konst[v->id] ? v->def : NULL;
}

gr_status gr_rows_find_early(gr_plan *p, gr_err *err)
{
    const gr_graph *g = p->graph;
    if (!(p->early = GR_NEWS(p->arena, g->nnodes + 1, bool))) return gr_nomem(err);
    bool *early = p->early, nested = false;
    for (const gr_node *n = g->last; n; n = n->prev) {
        const uint32_t mask = n->op->flags & GR_OP_KEY_ROWS ? 3 : 1;
        const bool masked = n->op->flags & (GR_OP_KEY_ROWS | GR_OP_POOL_ROWS);
        if (masked && made_by(p, gr_in(n, mask))) early[gr_in(n, mask)->def->id] = true;
        if (!early[n->id]) continue;
        nested |= n->op->flags & GR_OP_KEY_ROWS; /* a mask that attention has made: nothing can be known before */
        for (uint32_t i = 0; i < n->nin; i++)
            if (made_by(p, gr_in(n, i))) early[gr_in(n, i)->def->id] = true;
    }
    if (nested) memset(early, 0, g->nnodes * sizeof *early);
    return GR_OK;
}

/* ---- choosing ---- */

typedef struct choice {
    gr_plan *p;
    int64_t batch, tokens;
    bool masked; /* a mask tells which rows are live; else all are */
    int *need;   /* by slot, of roots */
} choice;

static int *need_of(choice *c, uint32_t slot) { return &c->need[c->p->slots[slot].root]; }

static int join(choice *c, int a, int b)
{
    if (a == NONE || a == b) return b;
    if (b == NONE) return a;
    if (a == ALL || b == ALL || a == PICKED || b == PICKED) return ALL;
    c->p->from_start = true; /* the first rows are among those that are seen */
    return LIVE;
}

static void want(choice *c, uint32_t slot, int set)
{
    if (set == LIVE && !c->masked) set = ALL;
    if (slot != NO_SLOT) *need_of(c, slot) = join(c, *need_of(c, slot), set);
}

/* Whether a step works row by row on this grid. */
static bool by_rows(choice *c, const plan_step *ps)
{
    gr_plan *p = c->p;
    const slot *x = in_slot(p, ps, 0);
    int64_t batch, tokens;
    if (ps->dynamic || p->whole[ps->node->id] || p->early[ps->node->id]) return false;
    if (ps->op->flags & GR_OP_ANY_ROWS)
        return ps->out[0] != NO_SLOT && in_grid(&p->slots[ps->out[0]].t, c->batch, c->tokens);
    if (!(ps->op->flags & (GR_OP_ROWS | GR_OP_KEY_ROWS)) || !x) return false;
    if (is_attention(ps) && !c->masked)
        return has_queries(p, ps, &batch, &tokens) && batch == c->batch && tokens == c->tokens;
    if (is_attention(ps))
        return has_grid(p, ps, &batch, &tokens) && batch == c->batch && tokens == c->tokens &&
               p->slots[ps->in[3]].root == p->mask;
    if (!in_grid(&x->t, c->batch, c->tokens) || x->place == IS_CONST) return false;
    for (uint32_t i = 1; i < ps->nin; i++) {
        const slot *s = in_slot(p, ps, i);
        if (!s) continue;
        const bool rows =
            s->t.rank > 0 && s->t.elements == x->t.elements / x->t.dims[x->t.rank - 1] * s->t.dims[s->t.rank - 1];
        if (s->place == IS_CONST ? s->t.rank > 2 : !rows || !in_grid(&s->t, c->batch, c->tokens)) return false;
    }
    for (uint32_t o = 0; o < ps->nout; o++)
        if (ps->out[o] != NO_SLOT && !in_grid(&p->slots[ps->out[o]].t, c->batch, c->tokens)) return false;
    return true;
}

/* Gather of the first token of each sequence. */
static bool takes_first(choice *c, const plan_step *ps)
{
    gr_plan *p = c->p;
    const slot *x = in_slot(p, ps, 0), *at = in_slot(p, ps, 1);
    int64_t axis, index = -1;
    if (strcmp(ps->op->name, "Gather") || ps->op->domain || ps->dynamic || p->early[ps->node->id] || !x || !at)
        return false;
    if (x->place == IS_CONST || at->place != IS_CONST || at->t.elements != 1) return false;
    if (gr_attr_int(ps->node->attrs, "axis", 0, &axis, NULL) != GR_OK || axis != 1) return false;
    if (at->t.dtype == GR_INT64) memcpy(&index, at->t.data, 8);
    return index == 0 && x->t.rank == 3 && x->t.dims[0] == c->batch && x->t.dims[1] == c->tokens;
}

/* Pooling of a grid with weights that are known before the first row is made. */
static bool pools(choice *c, const plan_step *ps)
{
    gr_plan *p = c->p;
    if (!(ps->op->flags & GR_OP_POOL_ROWS) || !c->masked || ps->dynamic || p->whole[ps->node->id]) return false;
    const slot *x = in_slot(p, ps, 0), *w = in_slot(p, ps, 1);
    if (!x || !w || x->place != IN_BLOCK || (w->place != IN_BLOCK && w->place != IS_INPUT)) return false;
    const gr_node *maker = gr_in(ps->node, 1)->def;
    const int64_t *d = x->t.dims, *e = w->t.dims;
    return (!maker || p->early[maker->id]) && x->t.rank == 3 && d[0] == c->batch && d[1] == c->tokens &&
           w->t.dtype == GR_FLOAT && w->t.rank == 3 && e[0] == c->batch && e[1] == c->tokens && e[2] == 1;
}

static int set_of(choice *c, const plan_step *ps)
{
    int set = NONE;
    for (uint32_t o = 0; o < ps->nout; o++)
        if (ps->out[o] != NO_SLOT) set = join(c, set, *need_of(c, ps->out[o]));
    return set == NONE ? ALL : set;
}

static void choose_step(choice *c, const plan_step *ps)
{
    int set = by_rows(c, ps) ? set_of(c, ps) : ALL;
    for (uint32_t o = 0; o < ps->nout; o++)
        if (ps->out[o] != NO_SLOT) *need_of(c, ps->out[o]) = set;
    if (takes_first(c, ps)) {
        want(c, ps->in[0], FIRST);
        return;
    }
    if (pools(c, ps)) {
        want(c, ps->in[0], LIVE);
        want(c, ps->in[1], ALL);
        return;
    }
    /* A query that is padding may have a mask that shows it other padding. */
    const int keys = by_query(c->p, ps) && set != LIVE ? ALL : LIVE;
    for (uint32_t i = 0; i < ps->nin; i++) {
        const slot *s = in_slot(c->p, ps, i);
        if (!s || s->place == IS_CONST) continue;
        if (!by_rows(c, ps) || (ps->op->flags & GR_OP_ANY_ROWS))
            want(c, ps->in[i], ALL);
        else if (is_attention(ps))
            want(c, ps->in[i], i == 0 ? set : i < 3 ? keys : ALL);
        else
            want(c, ps->in[i], set);
    }
}

/* ---- copies ---- */

/* A step that copies the rows of `set` from one slot to another. */
static gr_status add_copy(gr_plan *p, plan_step *copy, const gr_node *node, uint32_t from, int set, uint32_t to,
                          gr_err *err)
{
    const int has = p->slots[p->slots[from].root].rows;
    *copy = (plan_step){.node = node, .op = &copy_op, .nin = 1, .nout = 1};
    copy->in = GR_NEWS(p->arena, 1, uint32_t);
    copy->out = GR_NEWS(p->arena, 1, uint32_t);
    if (!copy->in || !copy->out) return gr_nomem(err);
    copy->in[0] = from;
    copy->out[0] = to;
    copy->step.rows = set == ALL ? NULL : &p->sets[set];
    copy->step.key_rows = has == ALL ? NULL : &p->sets[has];
    return GR_OK;
}

/* A slot with the rows of `set` of another slot; one for all steps that want it. */
static gr_status copy_of(gr_plan *p, plan_step *steps, size_t *n, const gr_node *node, uint32_t from, int set,
                         uint32_t *to, gr_err *err)
{
    const slot *x = &p->slots[from];
    for (size_t i = 0; i < *n; i++) {
        const slot *y = steps[i].op == &copy_op ? &p->slots[steps[i].out[0]] : NULL;
        if (!y || y->rows != set || p->slots[steps[i].in[0]].root != x->root || y->t.rank != x->t.rank) continue;
        if (memcmp(y->t.dims, x->t.dims, (size_t)x->t.rank * sizeof *x->t.dims)) continue;
        *to = steps[i].out[0];
        return GR_OK;
    }
    *to = (uint32_t)p->nslots++;
    p->slots[*to] = (slot){.t = x->t, .place = IN_BLOCK, .root = *to, .rows = set};
    p->slots[*to].t.data = NULL;
    p->slots[*to].t.is_const = p->slots[*to].t.mapped = false;
    return add_copy(p, &steps[(*n)++], node, from, set, *to, err);
}

/* What the caller wants holds all rows, or those that he has picked. */
static gr_status spread_results(gr_plan *p, plan_step *steps, size_t *n, gr_err *err)
{
    for (size_t i = 0; i < p->nwanted; i++) {
        const slot *s = wanted_slot(p, i);
        const gr_node *maker = p->wanted[i]->def;
        if (p->picked[i] && p->slots[s->root].rows == ALL)
            GR_TRY(copy_of(p, steps, n, maker, p->results[i], PICKED, &p->results[i], err));
        if (p->picked[i]) continue;
        if (p->slots[s->root].rows != ALL) GR_TRY(copy_of(p, steps, n, maker, p->results[i], ALL, &p->results[i], err));
    }
    return GR_OK;
}

/* The step as it is, with its inputs in the sets that it wants. */
static gr_status settle_step(choice *c, plan_step *steps, size_t *n, plan_step *ps, gr_err *err)
{
    gr_plan *p = c->p;
    if (takes_first(c, ps) && p->slots[p->slots[ps->in[0]].root].rows != ALL) {
        return add_copy(p, &steps[(*n)++], ps->node, ps->in[0], FIRST, ps->out[0], err);
    }
    int set = ps->nout && ps->out[0] != NO_SLOT ? p->slots[ps->out[0]].rows : ALL;
    for (uint32_t o = 0; o < ps->nout; o++)
        if (ps->out[o] != NO_SLOT) set = p->slots[ps->out[o]].rows;
    bool rows = by_rows(c, ps), any = ps->op->flags & GR_OP_ANY_ROWS;
    if (pools(c, ps) && p->slots[p->slots[ps->in[0]].root].rows != ALL) {
        ps->step.key_rows = &p->sets[p->slots[p->slots[ps->in[0]].root].rows];
        p->weights[p->nweights++] = ps->in[1];
    }
    for (uint32_t i = 0; rows && !any && set != ALL && i < ps->nin; i++) {
        const slot *s = in_slot(p, ps, i);
        if (!s || s->place == IS_CONST || (is_attention(ps) && i > 0)) continue;
        if (p->slots[s->root].rows == set) continue;
        GR_TRY(copy_of(p, steps, n, ps->node, ps->in[i], set, &ps->in[i], err));
    }
    if (rows && set != ALL) ps->step.rows = &p->sets[set];
    if (rows && is_attention(ps) && p->slots[p->slots[ps->in[1]].root].rows != ALL)
        ps->step.key_rows = &p->sets[p->slots[p->slots[ps->in[1]].root].rows];
    steps[(*n)++] = *ps;
    return GR_OK;
}

static gr_status settle(choice *c, gr_err *err)
{
    gr_plan *p = c->p;
    size_t copies = p->nwanted, n = 0, early = 0; /* at most */
    for (size_t i = 0; i < p->nsteps; i++)
        for (uint32_t k = 0; k < p->steps[i].nin; k++) {
            const slot *s = in_slot(p, &p->steps[i], k);
            copies += s && s->place != IS_CONST;
        }
    slot *slots = GR_NEWS(p->arena, p->nslots + copies, slot);
    plan_step *steps = GR_NEWS(p->arena, p->nsteps + copies, plan_step);
    p->sets = GR_NEWS(p->arena, SETS, gr_rows);
    p->weights = GR_NEWS(p->arena, p->nsteps, uint32_t);
    if (!slots || !steps || !p->sets || !p->weights) return gr_nomem(err);
    memcpy(slots, p->slots, p->nslots * sizeof *slots);
    p->slots = slots;
    for (size_t i = 0; i < p->nslots; i++) slots[i].rows = c->need[i] == NONE ? ALL : c->need[i];
    p->nsets = SETS;
    for (int k = LIVE; k < SETS; k++) {
        gr_rows *r = &p->sets[k];
        *r = (gr_rows){.batch = c->batch, .tokens = c->tokens};
        if (k == FIRST) r->most = c->batch;
        if (k == PICKED) r->most = (int64_t)p->options.npicked;
        r->index = GR_NEWS(p->arena, (size_t)(r->most ? r->most : c->batch * c->tokens), int32_t);
        r->first = GR_NEWS(p->arena, (size_t)c->batch + 1, int64_t);
        if (!r->index || !r->first) return gr_nomem(err);
    }
    for (size_t i = 0; i < p->nsteps; i++) {
        if (p->early[p->steps[i].node->id]) early = i + 1;
        GR_TRY(settle_step(c, steps, &n, &p->steps[i], err));
    }
    GR_TRY(spread_results(p, steps, &n, err));
    p->rows_from = (uint32_t)early;
    p->steps = steps;
    p->nsteps = n;
    return GR_OK;
}

/* The grid that attention has, from a mask that tells padding or, if rows are picked, from queries alone. */
static bool find_grid(choice *c)
{
    gr_plan *p = c->p;
    for (size_t i = 0; i < p->nsteps && !c->masked; i++) {
        c->masked = has_grid(p, &p->steps[i], &c->batch, &c->tokens) && !p->early[p->steps[i].node->id];
        if (c->masked) p->mask = p->slots[p->steps[i].in[3]].root;
    }
    bool found = c->masked;
    for (size_t i = 0; i < p->nsteps && !found && p->options.npicked; i++)
        found = has_queries(p, &p->steps[i], &c->batch, &c->tokens) && !p->early[p->steps[i].node->id];
    return found && c->batch <= INT32_MAX / c->tokens;
}

/* Whether rows of a wanted value are those of tokens: its maker works by rows. Dimensions alone could mislead, where
 * there are as many heads as tokens. */
static bool has_token_rows(choice *c, const slot *s)
{
    const gr_plan *p = c->p;
    for (size_t i = p->nsteps; i-- > 0;)
        for (uint32_t o = 0; o < p->steps[i].nout; o++)
            if (p->steps[i].out[o] == s->root) return by_rows(c, &p->steps[i]);
    return false;
}

gr_status gr_rows_choose(gr_plan *p, gr_err *err)
{
    choice c = {.p = p};
    bool fewer = false;
    if (!(p->picked = GR_NEWS(p->arena, p->nwanted, bool))) return gr_nomem(err);
    if (!find_grid(&c)) return GR_OK;
    if (!(c.need = GR_NEWS(p->arena, p->nslots, int))) return gr_nomem(err);
    for (size_t i = 0; i < p->nslots; i++) c.need[i] = NONE;
    p->masked = c.masked;
    for (size_t i = 0; i < p->nwanted; i++) {
        const slot *s = wanted_slot(p, i);
        const bool grid = s->place == IN_BLOCK && s->t.rank >= 2 && in_grid(&s->t, c.batch, c.tokens);
        /* [batch, tokens] is a view of rows of one number, or its maker wants all. */
        const bool kept = s->place == IN_BLOCK && s->t.rank == 2 && s->t.dims[0] == c.batch && s->t.dims[1] == c.tokens;
        p->picked[i] = grid && p->options.npicked && has_token_rows(&c, s);
        fewer |= p->picked[i];
        want(&c, p->results[i], p->picked[i] ? PICKED : (grid || kept) && p->options.skip_padding ? LIVE : ALL);
    }
    for (size_t i = p->nsteps; i-- > 0;) choose_step(&c, &p->steps[i]);
    for (size_t i = 0; i < p->nslots; i++) {
        /* What no step has made holds all. */
        if (p->slots[i].place != IN_BLOCK) c.need[i] = ALL;
        fewer |= c.need[i] > ALL;
    }
    return fewer ? settle(&c, err) : GR_OK;
}

/* ---- running ---- */

/* Whether pooling gives weight to a row that attention does not see. */
static bool weighs(const gr_plan *p, int64_t b, int64_t begin, int64_t end)
{
    const int64_t tokens = p->sets[LIVE].tokens;
    for (size_t i = 0; i < p->nweights; i++) {
        const float *w = (const float *)p->slots[p->weights[i]].t.data + b * tokens;
        for (int64_t t = 0; t < tokens; t++)
            if ((t < begin || t >= end) && w[t] != 0) return true;
    }
    return false;
}

/* The rows of the grid that the caller has picked, which are in its order. */
static void fill_picked(gr_plan *p)
{
    gr_rows *r = &p->sets[PICKED];
    size_t n = 0;
    for (int64_t b = 0; b < r->batch; b++) {
        r->first[b] = (int64_t)n;
        for (; n < p->options.npicked && p->picks[n] < (b + 1) * r->tokens; n++) r->index[n] = (int32_t)p->picks[n];
    }
    r->first[r->batch] = r->count = (int64_t)n;
}

/* Rows [*begin, *end) of sequence b that are not padding: the keys that its last query sees, if its other queries among
 * them see no more. Else all. */
static void live_rows(const gr_plan *p, int64_t b, int64_t *begin, int64_t *end)
{
    const slot *s = &p->slots[p->mask];
    const int64_t tokens = p->sets[LIVE].tokens, rows = s->t.elements / tokens / p->sets[LIVE].batch;
    const float *mask = (const float *)s->t.data + b * rows * tokens;
    gr_live_keys(mask + (rows - 1) * tokens, tokens, begin, end);
    if (p->from_start) *begin = 0;
    bool closed = !weighs(p, b, *begin, *end);
    for (int64_t i = *begin; closed && i < *end && i < rows - 1; i++) {
        int64_t first, last;
        gr_live_keys(mask + i * tokens, tokens, &first, &last);
        closed = first >= *begin && last <= *end;
    }
    if (!closed) *begin = 0, *end = tokens;
}

void gr_rows_fill(gr_plan *p)
{
    gr_rows *live = &p->sets[LIVE], *first = &p->sets[FIRST];
    int64_t begin, end;
    if (p->options.npicked) fill_picked(p);
    first->count = first->first[first->batch] = first->batch;
    for (int64_t b = 0; b < first->batch; b++) {
        first->first[b] = b;
        first->index[b] = (int32_t)(b * first->tokens);
    }
    if (!p->masked) return;
    live->count = 0;
    for (int64_t b = 0; b < live->batch; b++) {
        live->first[b] = live->count;
        live_rows(p, b, &begin, &end);
        for (int64_t t = begin; t < end; t++) live->index[live->count++] = (int32_t)(b * live->tokens + t);
    }
    live->first[live->batch] = live->count;
    first->first[first->batch] = first->batch;
}
