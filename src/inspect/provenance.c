/* SPDX-License-Identifier: Apache-2.0
 *
 * Fates of the file's nodes, resolved against their order: a node that neither stands nor was replaced shares the fate
 * of those that read it. Three tables by value id for each graph, and one by node id for the main graph; nothing is
 * searched.
 */
#include "provenance.h"
#include "ops/op.h"

/* What a value depends on. */
typedef enum depends { ON_CONSTANTS, ON_SHAPES, ON_DATA } depends;

typedef struct verdict { /* of the nodes that read a value; `read` false: there is none */
    bool read;
    gr_fate fate;
    const gr_node *into;
} verdict;

typedef struct trace {
    const gr_graph *main;
    gr_arena *arena; /* of the result */
    gr_arena *scratch;
    const gr_value **last;                 /* of the main graph's values, by id: the end of the chain of replacements */
    uint8_t *value_depends, *node_depends; /* of the main graph, by id */
    bool *stands;                          /* its nodes, by id */
    gr_provenance *out;
    size_t cap;
    gr_err *err;
} trace;

typedef struct level { /* one graph of the file */
    const gr_graph *graph;
    verdict *readers; /* by value id */
    uint8_t *depends; /* likewise: what the value depends on in the file */
    struct level *outer;
} level;

const char *gr_fate_name(gr_fate fate)
{
    static const char *const names[GR_FATES] = {"dead", "folded", "fused", "executed"};
    return names[fate];
}

/* ---- what nodes depend on ---- */


typedef struct reads { /* the inputs of a node as it stands, or as the file has it */
    const gr_node *now;
    const gr_source *then;
} reads;

static depends depends_of(const gr_node *n, reads from, const uint8_t *values)
{
    depends worst = ON_CONSTANTS;
    bool known = n->nout > 0;
    if (n->nsubgraphs || (n->op->flags & GR_OP_IMPURE)) return ON_DATA;
    if (gr_is_op(n, "Shape") || gr_is_op(n, "Size")) return ON_SHAPES;
    for (uint32_t i = 0; i < (from.now ? from.now->nin : from.then->nin); i++) {
        const gr_value *v = from.now ? gr_in(from.now, i) : from.then->in[i];
        if (v && !v->konst && values[v->id] > worst) worst = (depends)values[v->id];
    }
    for (uint32_t i = 0; i < n->nout; i++) known &= !n->out[i] || n->out[i]->konst || n->out[i]->ivals;
    return known && worst == ON_DATA ? ON_SHAPES : worst;
}

static void mark(const gr_node *n, depends d, uint8_t *values)
{
    for (uint32_t i = 0; i < n->nout; i++)
        if (n->out[i]) values[n->out[i]->id] = (uint8_t)d;
}

static gr_status look_at_main(trace *t)
{
    const gr_graph *g = t->main;
    t->value_depends = GR_NEWS(t->scratch, g->nvalues + 1, uint8_t);
    t->node_depends = GR_NEWS(t->scratch, g->nnodes + 1, uint8_t);
    t->stands = GR_NEWS(t->scratch, g->nnodes + 1, bool);
    t->last = GR_NEWS(t->scratch, g->nvalues + 1, const gr_value *);
    if (!t->value_depends || !t->node_depends || !t->stands || !t->last) return gr_nomem(t->err);
    for (size_t i = 0; i < g->ninputs; i++) t->value_depends[g->inputs[i]->id] = ON_DATA;
    for (const gr_node *n = g->first; n; n = n->next) {
        depends d = depends_of(n, (reads){.now = n}, t->value_depends);
        mark(n, d, t->value_depends);
        t->node_depends[n->id] = (uint8_t)d;
        t->stands[n->id] = true;
    }
    return GR_OK;
}

/* ---- replacements ---- */

/* The first value of the main graph that stands for v: itself there, or what it became when its graph was lifted. */
static const gr_value *in_main(const trace *t, const gr_value *v)
{
    while (v && v->graph != t->main) v = v->became;
    return v;
}

/* The end of the chain; the way is shortened for those who come later. */
static const gr_value *end_of(trace *t, const gr_value *v)
{
    const gr_value *end = v;
    while (end->became || t->last[end->id]) end = t->last[end->id] ? t->last[end->id] : end->became;
    for (const gr_value *next; v != end; v = next) {
        next = t->last[v->id] ? t->last[v->id] : v->became;
        t->last[v->id] = end;
    }
    return end;
}

/* ---- one source ---- */

static gr_status add(trace *t, const gr_graph *g, const gr_source *s, verdict v)
{
    gr_origin *o = GR_PUSH(t->arena, t->out->items, t->out->count, t->cap);
    if (!o) return gr_nomem(t->err);
    *o = (gr_origin){s, g, v.fate, v.fate >= GR_FATE_FUSED ? v.into : NULL};
    t->out->fates[v.fate]++;
    return GR_OK;
}

/* Readers come last first, so the first reader of the file has the last word; but one that runs outweighs those that do
 * not. */
static void read_by(level *at, const gr_value *v, verdict by)
{
    for (; at; at = at->outer) {
        if (v->graph != at->graph) continue;
        verdict *r = &at->readers[v->id];
        bool runs = by.fate >= GR_FATE_FUSED;
        if (!r->read || by.fate > r->fate || (runs && r->fate >= GR_FATE_FUSED)) *r = by;
        r->read = true;
        return;
    }
}

static verdict by_readers(const level *at, const gr_node *n)
{
    verdict best = {false, GR_FATE_DEAD, NULL};
    bool before_run = false;
    for (uint32_t i = 0; i < n->nout; i++) {
        const gr_value *v = n->out[i];
        if (!v) continue;
        const verdict *r = &at->readers[v->id];
        if (r->read && r->fate > best.fate) best = *r;
        if (v->is_output) best = (verdict){true, GR_FATE_FOLDED, NULL};
        before_run |= v->konst || at->depends[v->id] == ON_SHAPES;
    }
    if (best.fate == GR_FATE_DEAD) return best;
    best.fate = before_run ? GR_FATE_FOLDED : best.fate == GR_FATE_EXECUTED ? GR_FATE_FUSED : best.fate;
    return best;
}

static verdict as_node(const trace *t, const gr_node *n, bool itself)
{
    if (t->node_depends[n->id] != ON_DATA) return (verdict){true, GR_FATE_FOLDED, n};
    return (verdict){true, itself ? GR_FATE_EXECUTED : GR_FATE_FUSED, n};
}

/* A node of the main graph, or of a body that was lifted into it. */
static verdict fate_of_node(trace *t, const level *at, const gr_node *n)
{
    if (at->graph == t->main && t->stands[n->id]) return as_node(t, n, true);
    for (uint32_t i = 0; i < n->nout; i++) {
        const gr_value *first = n->out[i] ? in_main(t, n->out[i]) : NULL;
        const gr_value *end = first ? end_of(t, first) : NULL;
        if (!end || end == n->out[i]) continue;
        if (end->def && t->stands[end->def->id]) return as_node(t, end->def, end == first);
        if (end->konst || end->is_input) return (verdict){true, GR_FATE_FOLDED, NULL};
    }
    return by_readers(at, n);
}

static verdict fate_of_constant(const level *at, const gr_source *s)
{
    const gr_value *v = s->value;
    const verdict *r = v->graph == at->graph ? &at->readers[v->id] : NULL;
    bool used = v->is_output || !r || (r->read && r->fate != GR_FATE_DEAD);
    return (verdict){used, used ? GR_FATE_FOLDED : GR_FATE_DEAD, NULL};
}

/* ---- graphs ---- */

static gr_status trace_graph(trace *t, level *outer, const gr_graph *g, const verdict *whole);

/* Bodies of a node: what runs inside it, was lifted out of it, or went with it. */
static gr_status trace_bodies(trace *t, level *at, const gr_node *n, verdict v)
{
    bool lifted = false;
    for (uint32_t i = 0; i < n->nsubgraphs; i++) lifted |= n->subgraphs[i]->lifted;
    for (uint32_t i = n->nsubgraphs; i-- > 0;) {
        verdict body = v;
        if (lifted && !n->subgraphs[i]->lifted) body = (verdict){false, GR_FATE_DEAD, NULL};
        GR_TRY(trace_graph(t, at, n->subgraphs[i], &body));
    }
    return GR_OK;
}

static gr_status trace_source(trace *t, level *at, const gr_source *s, const verdict *whole)
{
    verdict v = !s->node                      ? fate_of_constant(at, s)
                : !whole || at->graph->lifted ? fate_of_node(t, at, s->node)
                                              : *whole;
    if (s->node) GR_TRY(trace_bodies(t, at, s->node, v));
    for (uint32_t k = 0; k < s->nin; k++) {
        const gr_value *in = s->in[k];
        if (!in) continue;
        read_by(at, in, v);
        if (in->konst && in->became && whole) read_by(at->outer, in->became, v); /* a constant from outside */
    }
    return add(t, at->graph, s, v);
}

/* What the file's nodes depend on, whether or not they still stand. */
static void look_at_sources(level *at)
{
    const gr_graph *g = at->graph;
    for (size_t i = 0; i < g->ninputs; i++) at->depends[g->inputs[i]->id] = ON_DATA;
    for (size_t i = 0; i < g->nsources; i++) {
        const gr_source *s = &g->sources[i];
        if (s->node) mark(s->node, depends_of(s->node, (reads){.then = s}, at->depends), at->depends);
    }
}

/* `whole`: what became of the node around the graph; NULL for the main graph. */
static gr_status trace_graph(trace *t, level *outer, const gr_graph *g, const verdict *whole)
{
    level at = {g, GR_NEWS(t->scratch, (size_t)g->nvalues + 1, verdict),
                GR_NEWS(t->scratch, (size_t)g->nvalues + 1, uint8_t), outer};
    if (!at.readers || !at.depends) return gr_nomem(t->err);
    look_at_sources(&at);
    for (size_t i = 0; i < g->noutputs; i++)
        if (whole && g->outputs[i]) read_by(&at, g->outputs[i], *whole);
    for (size_t i = g->nsources; i-- > 0;) GR_TRY(trace_source(t, &at, &g->sources[i], whole));
    return GR_OK;
}

/* Sources were looked at from the last to the first. */
static void turn_round(gr_provenance *p)
{
    for (size_t i = 0, j = p->count; i + 1 < j; i++) {
        gr_origin o = p->items[i];
        p->items[i] = p->items[--j];
        p->items[j] = o;
    }
}

gr_status gr_provenance_of(const gr_graph *g, gr_arena *arena, gr_provenance *out, gr_err *err)
{
    trace t = {.main = g, .arena = arena, .scratch = gr_arena_new(), .out = out, .err = err};
    *out = (gr_provenance){0};
    gr_status status = t.scratch ? look_at_main(&t) : gr_nomem(err);
    if (status == GR_OK) status = trace_graph(&t, NULL, g, NULL);
    if (status == GR_OK) turn_round(out);
    gr_arena_free(t.scratch);
    return status;
}
