/* SPDX-License-Identifier: Apache-2.0
 *
 * The graphs run node by node. Graph a runs ahead just as far as the next comparison needs, and a value is freed after
 * its last reader and comparison, so what is held at once is what is live in both.
 */
#include "deviation.h"
#include "exec/eval.h"
#include <math.h>

typedef struct lane {
    const gr_graph *g;
    const gr_node *next; /* to be run */
    gr_tensor **t;       /* by id of value */
    uint32_t *left;      /* readers and comparisons to come */
    bool *needed;        /* by id of node */
    bool *held;          /* by id of value: compared */
    gr_exec exec;
} lane;

typedef struct search {
    const gr_divergence_options *options;
    const gr_graph *graph; /* b */
    const gr_align *align; /* NULL: saved tensors */
    const gr_tensor *const *saved;
    const gr_tensor *const *inputs[2];
    const gr_value **a_of; /* by id of b's values; refuted pairs taken out */
    gr_compared **item;    /* likewise */
    gr_divergence *out;
    gr_arena *arena;
} search;

/* ---- running one graph ---- */

static void drop(lane *l, const gr_value *v)
{
    gr_tensor *t = l->t[v->id];
    if (!t) return;
    l->exec.live_bytes -= t->size < l->exec.live_bytes ? t->size : l->exec.live_bytes;
    gr_tensor_free(t);
    l->t[v->id] = NULL;
}

static void release(lane *l, const gr_value *v)
{
    if (l->left[v->id] && --l->left[v->id] == 0) drop(l, v);
}

static bool is_wanted(const lane *l, const gr_value *v) { return v && (l->held[v->id] || l->left[v->id]); }

/* Which nodes are needed for what is compared, and how often each value is read. */
static gr_status open_lane(lane *l, const search *s, const gr_graph *g, const bool *held, gr_err *err)
{
    *l = (lane){
        .g = g,
        .next = g->first,
        .exec = {.max_bytes = s->options->max_memory, .cancel = s->options->cancel, .threads = s->options->threads,
                 .precision = g == s->graph ? s->options->precision : GR_PRECISION_F32}};
    l->t = gr_calloc(g->nvalues + 1, sizeof *l->t);
    l->left = gr_calloc(g->nvalues + 1, sizeof *l->left);
    l->held = gr_calloc(g->nvalues + 1, sizeof *l->held);
    l->needed = gr_calloc(g->nnodes + 1, sizeof *l->needed);
    if (!l->t || !l->left || !l->held || !l->needed) return gr_nomem(err);
    memcpy(l->held, held, g->nvalues * sizeof *held);
    for (const gr_node *n = g->last; n; n = n->prev) {
        for (uint32_t o = 0; o < n->nout; o++) l->needed[n->id] |= is_wanted(l, n->out[o]);
        for (uint32_t i = 0; l->needed[n->id] && i < n->nin; i++)
            if (gr_in(n, i)) l->left[gr_in(n, i)->id]++;
    }
    for (uint32_t i = 0; i < g->nvalues; i++) l->left[i] += l->held[i];
    return GR_OK;
}

static void close_lane(lane *l)
{
    for (uint32_t i = 0; l->t && i < l->g->nvalues; i++) gr_tensor_free(l->t[i]);
    gr_free(l->t);
    gr_free(l->left);
    gr_free(l->held);
    gr_free(l->needed);
}

static gr_status set_inputs(lane *l, const gr_tensor *const *inputs, gr_err *err)
{
    for (size_t i = 0; i < l->g->ninputs; i++)
        if (inputs[i] && !(l->t[l->g->inputs[i]->id] = gr_tensor_copy(inputs[i]))) return gr_nomem(err);
    return GR_OK;
}

static const gr_tensor *tensor_of(const lane *l, const gr_value *v) { return gr_is_leaf(v) ? v->konst : l->t[v->id]; }

/* Run one node. *ran is false if an input is missing, because a node before it could not be run. */
static gr_status run_node(lane *l, const gr_node *n, bool *ran, gr_err *err)
{
    if (l->exec.cancel && *l->exec.cancel) return gr_fail(err, GR_ECANCELLED, "the run was cancelled");
    gr_arena *wide = gr_arena_new(); /* for constants in 16 bits */
    const gr_tensor **in = gr_calloc(n->nin + 1, sizeof *in);
    gr_tensor **made = gr_calloc(n->nout + 1, sizeof *made);
    bool *wanted = gr_calloc(n->nout + 1, sizeof *wanted);
    gr_status status = wide && in && made && wanted ? GR_OK : gr_nomem(err);
    *ran = true;
    for (uint32_t i = 0; status == GR_OK && i < n->nin; i++) {
        const gr_value *v = gr_in(n, i);
        bool leaf = v && gr_is_leaf(v);
        in[i] = !v ? NULL : leaf ? gr_tensor_as(wide, v->konst, v->type.dtype) : l->t[v->id];
        if (leaf && !in[i]) status = gr_nomem(err);
        if (v && !in[i]) *ran = false;
    }
    for (uint32_t o = 0; status == GR_OK && o < n->nout; o++) wanted[o] = is_wanted(l, n->out[o]);
    if (status == GR_OK && *ran) {
        status = gr_eval(&l->exec, n->op, n->params, n, NULL, n->nin, in, n->nout, wanted, made, err);
        if (status != GR_OK) gr_fail_at(n->op, n->name, status, err);
    }
    for (uint32_t o = 0; status == GR_OK && o < n->nout; o++)
        if (made[o]) l->t[n->out[o]->id] = made[o];
    for (uint32_t i = 0; status == GR_OK && i < n->nin; i++)
        if (gr_in(n, i)) release(l, gr_in(n, i));
    gr_arena_free(wide);
    gr_free(in);
    gr_free(made);
    gr_free(wanted);
    return status;
}

/* Run on until value v is there. */
static gr_status run_until(lane *l, const gr_value *v, gr_err *err)
{
    bool ran;
    for (; l->next && !tensor_of(l, v); l->next = l->next->next)
        if (l->needed[l->next->id]) GR_TRY(run_node(l, l->next, &ran, err));
    return tensor_of(l, v) ? GR_OK : gr_fail(err, GR_EMODEL, "value '%s' is never computed", gr_show(v->name));
}

/* ---- comparing ---- */

/* What b's value v is compared with; NULL: nothing. */
static gr_status reference(const search *s, lane *a, const gr_value *v, const gr_tensor **out, gr_err *err)
{
    *out = NULL;
    if (s->saved) {
        *out = s->saved[v->id];
    } else if (s->a_of[v->id]) {
        GR_TRY(run_until(a, s->a_of[v->id], err));
        *out = tensor_of(a, s->a_of[v->id]);
    }
    return GR_OK;
}

/* In the run on a's contents, v becomes what a has, unless its type is no number's. */
static gr_status take_over(lane *b, const gr_value *v, const gr_tensor *ref, gr_err *err)
{
    gr_tensor *mine = b->t[v->id];
    gr_dtype dtype = mine ? mine->dtype : v->type.dtype ? v->type.dtype : ref->dtype;
    if (mine && mine->kind != GR_KIND_TENSOR) return GR_OK;
    if (dtype != ref->dtype && (!gr_dtype_is_float(dtype) || !gr_dtype_is_float(ref->dtype))) return GR_OK;
    gr_tensor *copy = gr_tensor_in(ref, dtype);
    if (!copy) return gr_nomem(err);
    drop(b, v);
    b->t[v->id] = copy;
    b->exec.live_bytes += copy->size;
    return GR_OK;
}

/* A saved tensor whose padding is what the run has there; NULL: it has none, or no memory. */
static gr_tensor *with_padding(const gr_divergence_options *o, const gr_tensor *ref, const gr_tensor *mine)
{
    if (!o->lengths || !mine || ref->rank < 2 || ref->dims[0] != o->rows || ref->dims[1] != o->width) return NULL;
    if (mine->dtype != ref->dtype || mine->size != ref->size || mine->dims[1] != o->width) return NULL;
    gr_tensor *out = gr_tensor_copy(ref);
    size_t row = ref->size / (size_t)(o->rows ? o->rows : 1), position = row / (size_t)(o->width ? o->width : 1);
    for (int64_t r = 0; out && r < o->rows; r++) {
        if (o->lengths[r] < 0 || o->lengths[r] >= o->width) continue;
        size_t at = (size_t)r * row + (size_t)o->lengths[r] * position;
        memcpy((char *)out->data + at, (const char *)mine->data + at, (size_t)(r + 1) * row - at);
    }
    return out;
}

static gr_status compare_value(const search *s, lane *a, lane *b, const gr_value *v, bool own, const char *failed,
                               gr_err *err)
{
    const gr_tensor *ref;
    gr_compared *c = s->item[v->id];
    if (!c || (!s->saved && !s->a_of[v->id])) return GR_OK;
    GR_TRY(reference(s, a, v, &ref, err));
    const gr_tensor *mine = tensor_of(b, v);
    gr_tensor *padded = s->saved ? with_padding(s->options, ref, mine) : NULL;
    if (padded) ref = padded;
    gr_distance distance = s->saved ? GR_OTHER_PROGRAM : own && c->alone ? GR_ONE_NODE : GR_SOME_NODES;
    gr_deviation d = {.at = -1};
    if (failed) d.error = d.excess = INFINITY;
    if (mine && mine->kind == GR_KIND_TENSOR && ref->kind == GR_KIND_TENSOR && !(v->def->op->flags & GR_OP_IMPURE))
        d = gr_deviation_of(ref, mine, &s->options->tolerance, distance);
    if (mine && mine->kind == GR_KIND_TENSOR && mine->rank >= 0) {
        c->dtype = mine->dtype, c->rank = mine->rank;
        memcpy(c->dims, mine->dims, sizeof c->dims);
    }
    if (own)
        c->own = d, c->measured = true;
    else
        c->cumulative = d;
    gr_status status = GR_OK;
    if ((own || (v->def->op->flags & GR_OP_IMPURE)) && ref->kind == GR_KIND_TENSOR) status = take_over(b, v, ref, err);
    gr_tensor_free(padded);
    if (!s->saved) release(a, s->a_of[v->id]);
    release(b, v);
    return status;
}

/* One run of b beside a. With `own`, values with counterparts take over a's contents after they have been compared. */
static gr_status walk(const search *s, lane *a, lane *b, bool own, gr_err *err)
{
    for (const gr_node *n = s->graph->first; n; n = n->next) {
        bool ran, stop = false;
        gr_err failure = {.text = ""};
        if (!b->needed[n->id]) continue;
        gr_status status = run_node(b, n, &ran, &failure);
        bool refused = own && status != GR_OK && status != GR_ENOMEM && status != GR_ECANCELLED && status != GR_ELIMIT;
        if (status != GR_OK && !refused) return gr_fail(err, status, "%s", failure.text);
        for (uint32_t o = 0; o < n->nout; o++) {
            if (!n->out[o] || !b->held[n->out[o]->id]) continue;
            GR_TRY(compare_value(s, a, b, n->out[o], own, refused ? failure.text : NULL, err));
            stop |= own && s->item[n->out[o]->id]->own.excess > 1;
        }
        if (stop && !s->options->all) return GR_OK;
    }
    return GR_OK;
}

static gr_status run_both(const search *s, bool own, gr_err *err)
{
    lane a = {0}, b = {0};
    bool *held = gr_calloc(s->graph->nvalues + 1, sizeof *held), *held_a = NULL;
    gr_status status = held ? GR_OK : gr_nomem(err);
    for (uint32_t i = 0; held && i < s->graph->nvalues; i++) held[i] = s->item[i] && (s->saved || s->a_of[i]);
    if (status == GR_OK) status = open_lane(&b, s, s->graph, held, err);
    if (status == GR_OK) status = set_inputs(&b, s->inputs[1], err);
    if (status == GR_OK && s->align) {
        held_a = gr_calloc(s->align->a->nvalues + 1, sizeof *held_a);
        if (!held_a) status = gr_nomem(err);
        for (uint32_t i = 0; held_a && i < s->graph->nvalues; i++)
            if (held[i]) held_a[s->a_of[i]->id] = true;
        if (status == GR_OK) status = open_lane(&a, s, s->align->a, held_a, err);
        if (status == GR_OK) status = set_inputs(&a, s->inputs[0], err);
    }
    if (status == GR_OK) status = walk(s, &a, &b, own, err);
    close_lane(&a);
    close_lane(&b);
    gr_free(held);
    gr_free(held_a);
    return status;
}

/* ---- what the comparison means ---- */

static bool stands_alone(const search *s, const gr_value *v)
{
    const gr_node *n = v->def, *m = s->align ? s->align->node_a_of[n->id] : NULL;
    if (!m) return false;
    for (uint32_t i = 0; i < n->nin; i++) {
        const gr_value *x = gr_in(n, i);
        if (!x || gr_is_leaf(x)) continue;
        const gr_value *y = s->a_of[x->id];
        if (!y || (gr_in(m, i) != y && (n->nin != 2 || gr_in(m, 1 - i) != y))) return false;
    }
    return true;
}

static gr_status list_items(search *s, gr_err *err)
{
    size_t cap = 0;
    GR_FOR_NODES(n, s->graph)
    {
        for (uint32_t o = 0; o < n->nout; o++) {
            const gr_value *v = n->out[o];
            if (!v || (s->saved ? !s->saved[v->id] : !s->a_of[v->id] || !s->a_of[v->id]->def)) continue;
            cap++;
        }
    }
    s->out->items = GR_NEWS(s->arena, cap, gr_compared);
    if (!s->out->items) return gr_nomem(err);
    GR_FOR_NODES(m, s->graph)
    {
        for (uint32_t o = 0; o < m->nout; o++) {
            const gr_value *v = m->out[o];
            if (!v || (s->saved ? !s->saved[v->id] : !s->a_of[v->id] || !s->a_of[v->id]->def)) continue;
            gr_compared *c = &s->out->items[s->out->count++];
            *c = (gr_compared){.b = v, .a = s->saved ? NULL : s->a_of[v->id], .alone = stands_alone(s, v)};
            s->item[v->id] = c;
        }
    }
    return GR_OK;
}

/* A value that is far off while all that is computed from it is not, was no counterpart: two spellings of a formula
 * have values of their own inside. Such pairs are given up. */
static gr_status refute(search *s, gr_err *err)
{
    bool *behind = gr_calloc(s->graph->nvalues + 1, sizeof *behind); /* something off follows from the value */
    if (!behind) return gr_nomem(err);
    for (const gr_node *n = s->graph->last; n; n = n->prev) {
        bool off = false;
        for (uint32_t o = 0; o < n->nout; o++) {
            const gr_value *v = n->out[o];
            gr_compared *c = v ? s->item[v->id] : NULL;
            if (!v) continue;
            if (c && (!c->alone || c->cumulative.at < 0) && c->cumulative.excess > 1 && v->nuses && !v->is_output &&
                !behind[v->id])
                s->a_of[v->id] = NULL, s->item[v->id] = NULL;
            off |= c ? c->cumulative.excess > 1 && s->item[v->id] : behind[v->id];
        }
        for (uint32_t i = 0; i < n->nin; i++)
            if (gr_in(n, i) && gr_in(n, i)->graph == s->graph) behind[gr_in(n, i)->id] |= off;
    }
    gr_free(behind);
    size_t kept = 0;
    for (size_t i = 0; i < s->out->count; i++) {
        gr_compared c = s->out->items[i];
        if (!s->item[c.b->id]) continue;
        c.alone = stands_alone(s, c.b);
        s->out->items[kept] = c;
        s->item[c.b->id] = &s->out->items[kept++];
    }
    s->out->count = kept;
    return GR_OK;
}

/* ---- what stands around the first one ---- */

typedef struct region {
    const gr_node *nodes[GR_REGION];
    size_t count;
} region;

/* Nodes between a value and the values with counterparts before it. */
static void collect(region *r, const gr_value *v, const gr_graph *g, const gr_value *const *other)
{
    if (v->def) r->nodes[r->count++] = v->def;
    for (size_t k = 0; k < r->count; k++) {
        const gr_node *n = r->nodes[k];
        for (uint32_t i = 0; i < n->nin; i++) {
            const gr_value *x = gr_in(n, i);
            bool known = !x || !x->def || x->graph != g || other[x->id] || r->count == GR_REGION;
            for (size_t j = 0; !known && j < r->count; j++) known = r->nodes[j] == x->def;
            if (!known) r->nodes[r->count++] = x->def;
        }
    }
}

static void note_constants(const search *s, const gr_node *n)
{
    gr_divergence *d = s->out;
    for (uint32_t i = 0; i < n->nin; i++) {
        const gr_value *x = gr_in(n, i), *y = x && gr_is_leaf(x) ? s->align->a_of[x->id] : NULL;
        if (y && d->nconsts < GR_REGION && s->align->content_b[x->id] != s->align->content_a[y->id])
            d->consts[d->nconsts++] = x;
    }
}

static gr_status describe_first(search *s, gr_err *err)
{
    gr_divergence *d = s->out;
    region a = {.count = 0}, b = {.count = 0};
    d->only_a = GR_NEWS(s->arena, GR_REGION, const gr_node *);
    d->only_b = GR_NEWS(s->arena, GR_REGION, const gr_node *);
    d->attrs = GR_NEWS(s->arena, GR_REGION, const gr_node *);
    d->consts = GR_NEWS(s->arena, GR_REGION, const gr_value *);
    const gr_value **b_of = s->align ? GR_NEWS(s->arena, s->align->a->nvalues, const gr_value *) : NULL;
    if (!d->only_a || !d->only_b || !d->attrs || !d->consts || (s->align && !b_of)) return gr_nomem(err);
    if (!s->align || !d->first) return GR_OK;
    for (uint32_t i = 0; i < s->graph->nvalues; i++)
        if (s->a_of[i]) b_of[s->a_of[i]->id] = s->align->b_of[s->a_of[i]->id];
    collect(&b, d->first->b, s->graph, s->a_of);
    collect(&a, d->first->a, s->align->a, b_of);
    for (size_t i = 0; i < b.count; i++) {
        const gr_node *n = b.nodes[i], *m = s->align->node_a_of[n->id];
        note_constants(s, n);
        if (!m)
            d->only_b[d->nonly_b++] = n;
        else if (s->align->attrs_b[n->id] != s->align->attrs_a[m->id])
            d->attrs[d->nattrs++] = n;
    }
    for (size_t i = 0; i < a.count; i++)
        if (!s->align->node_b_of[a.nodes[i]->id]) d->only_a[d->nonly_a++] = a.nodes[i];
    return GR_OK;
}

static gr_status find(search *s, gr_err *err)
{
    bool off = false;
    GR_TRY(list_items(s, err));
    if (!s->out->count) return gr_fail(err, GR_EINVAL, "no value of one model corresponds to a value of the other");
    GR_TRY(run_both(s, false, err));
    for (size_t i = 0; i < s->out->count; i++) off |= s->out->items[i].cumulative.excess > 1;
    if (off && !s->saved) GR_TRY(refute(s, err));
    GR_TRY(run_both(s, true, err));
    for (size_t i = 0; i < s->out->count; i++) {
        const gr_compared *c = &s->out->items[i];
        if (!s->out->first && c->measured && c->own.excess > 1) s->out->first = c;
        if (!s->out->worst || c->cumulative.excess > s->out->worst->cumulative.excess) s->out->worst = c;
    }
    return describe_first(s, err);
}

gr_status gr_divergence_find(const gr_align *align, const gr_tensor *const *inputs_a, const gr_tensor *const *inputs_b,
                             const gr_divergence_options *options, gr_arena *arena, gr_divergence *out, gr_err *err)
{
    *out = (gr_divergence){0};
    search s = {.options = options,
                .graph = align->b,
                .align = align,
                .inputs = {inputs_a, inputs_b},
                .out = out,
                .arena = arena};
    s.a_of = GR_NEWS(arena, align->b->nvalues, const gr_value *);
    s.item = GR_NEWS(arena, align->b->nvalues, gr_compared *);
    if (!s.a_of || !s.item) return gr_nomem(err);
    memcpy(s.a_of, align->a_of, align->b->nvalues * sizeof *s.a_of);
    return find(&s, err);
}

gr_status gr_divergence_saved(const gr_graph *b, const gr_tensor *const *saved, const gr_tensor *const *inputs,
                              const gr_divergence_options *options, gr_arena *arena, gr_divergence *out, gr_err *err)
{
    *out = (gr_divergence){0};
    search s = {.options = options, .graph = b, .saved = saved, .inputs = {NULL, inputs}, .out = out, .arena = arena};
    s.a_of = GR_NEWS(arena, b->nvalues, const gr_value *);
    s.item = GR_NEWS(arena, b->nvalues, gr_compared *);
    if (!s.a_of || !s.item) return gr_nomem(err);
    return find(&s, err);
}
