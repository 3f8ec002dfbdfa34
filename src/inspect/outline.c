/* SPDX-License-Identifier: Apache-2.0
 *
 * From layers' borders to parts. Every node gets a stage: the last border that its results depend on. What stands before
 * the first border and leads to it is embeddings, what else stands there is mask, unless only one part has a use for it;
 * what stands behind the last border is heads, one for each piece that hangs together.
 */
#include "outline_walk.h"
#include "ops/op.h"

enum { NOWHERE = -1 };

typedef struct sorter {
    walk w;
    gr_outline *o;
    size_t cap;
    int *part;    /* by node; NOWHERE: open */
    int *border;  /* by value: 1 + the layer that starts with it (or the number of layers for what ends the last) */
    int *of_layer; /* part of each layer */
    bool *weighty; /* by node: a weight has a share in its results */
} sorter;

static int new_part(sorter *s, gr_part_kind kind, int stack, int index)
{
    gr_part *p = GR_PUSH(s->w.arena, s->o->parts, s->o->nparts, s->cap);
    if (!p) return NOWHERE;
    *p = (gr_part){.kind = kind, .stack = stack, .index = index};
    return (int)s->o->nparts - 1;
}

/* ---- stages ---- */

static bool is_weight(const gr_value *v) { return v && v->konst && v->konst->rank >= 2 && v->konst->elements > 1; }

static void mark_border(sorter *s, const gr_value *v, int number)
{
    if (!v->def) {
        s->border[v->id] = number;
        return;
    }
    for (uint32_t o = 0; o < v->def->nout; o++)
        if (v->def->out[o] && s->border[v->def->out[o]->id] < number) s->border[v->def->out[o]->id] = number;
}

/* A shape is known before what has it. */
static int stage_of(const sorter *s, const gr_value *v, bool shape_only)
{
    int before = v->def ? s->w.stage[v->def->id] : NOWHERE, at = s->border[v->id] - 1;
    return at > before && !shape_only ? at : before;
}

static void find_stages(sorter *s)
{
    for (const gr_node *n = s->w.g->first; n; n = n->next) {
        bool shape = gr_is_named(n, "Shape") || gr_is_named(n, "Size");
        int stage = NOWHERE;
        for (uint32_t i = 0; i < n->nin; i++) {
            const gr_value *v = gr_in(n, i);
            s->weighty[n->id] |= is_weight(v) || (v && v->def && s->weighty[v->def->id]);
            int at = v && !v->konst ? stage_of(s, v, shape) : NOWHERE;
            if (at > stage) stage = at;
        }
        s->w.stage[n->id] = stage;
    }
}

/* ---- before the layers ---- */

/* What a stack's first border is made from, shape arithmetic included. */
static bool take_embeddings(sorter *s)
{
    const gr_node **todo = GR_NEWS(s->w.arena, s->w.g->nnodes, const gr_node *);
    if (!todo) return false;
    for (size_t i = 0; i < s->w.nlayers; i++) {
        const layer *l = &s->w.layers[i];
        size_t n = 0;
        int part;
        if (l->index || !l->border->def || s->part[l->border->def->id] != NOWHERE) continue;
        if ((part = new_part(s, GR_PART_EMBEDDINGS, l->stack, 0)) == NOWHERE) return false;
        s->part[l->border->def->id] = part;
        todo[n++] = l->border->def;
        while (n) {
            const gr_node *u = todo[--n];
            for (uint32_t k = 0; k < u->nin; k++) {
                const gr_node *def = gr_in(u, k) ? gr_in(u, k)->def : NULL;
                if (!def || s->part[def->id] != NOWHERE || s->w.stage[def->id] > s->w.stage[l->border->def->id]) continue;
                s->part[def->id] = part;
                todo[n++] = def;
            }
        }
    }
    return true;
}

/* The one part that reads a node's results; NOWHERE if there are several or none. */
static int only_user(const sorter *s, const gr_node *n)
{
    int part = NOWHERE;
    for (uint32_t o = 0; o < n->nout; o++) {
        const gr_value *v = n->out[o];
        if (!v) continue;
        if (v->is_output) return NOWHERE;
        for (const gr_use *u = v->uses; u; u = u->next) {
            int at = s->part[u->user->id];
            if (at == NOWHERE || (part != NOWHERE && at != part)) return NOWHERE;
            part = at;
        }
    }
    return part;
}

/* What leads to one part alone belongs to it; masks, though, stay apart even if there is only one layer. */
static void sink(sorter *s)
{
    for (const gr_node *n = s->w.g->last; n; n = n->prev) {
        if (s->part[n->id] != NOWHERE) continue;
        int part = only_user(s, n);
        if (part == NOWHERE || (s->o->parts[part].kind == GR_PART_LAYER && !s->weighty[n->id])) continue;
        s->part[n->id] = part;
    }
}

/* What is left and leads to layers. */
static bool take_mask(sorter *s)
{
    int part = NOWHERE;
    for (const gr_node *n = s->w.g->last; n; n = n->prev) {
        bool leads = false;
        if (s->part[n->id] != NOWHERE || s->w.stage[n->id] != NOWHERE) continue;
        for (uint32_t o = 0; o < n->nout && !leads; o++)
            for (const gr_use *u = n->out[o] ? n->out[o]->uses : NULL; u && !leads; u = u->next) {
                int at = s->part[u->user->id];
                leads = at != NOWHERE && (s->o->parts[at].kind == GR_PART_LAYER || at == part);
            }
        if (!leads) continue;
        if (part == NOWHERE && (part = new_part(s, GR_PART_MASK, 0, 0)) == NOWHERE) return false;
        s->part[n->id] = part;
    }
    return true;
}

/* ---- layers ---- */

static bool take_layers(sorter *s)
{
    int end = (int)s->w.nlayers;
    for (size_t i = 0; i < s->w.nlayers; i++) {
        const layer *l = &s->w.layers[i];
        if ((s->of_layer[i] = new_part(s, GR_PART_LAYER, l->stack, l->index)) == NOWHERE) return false;
    }
    for (const gr_node *n = s->w.g->first; n; n = n->next) {
        int stage = s->w.stage[n->id];
        if (s->part[n->id] == NOWHERE && stage >= 0 && stage < end) s->part[n->id] = s->of_layer[stage];
    }
    if (s->w.norm && s->part[s->w.norm->id] == NOWHERE) {
        int part = new_part(s, GR_PART_NORM, s->w.layers[end - 1].stack, 0);
        if (part == NOWHERE) return false;
        s->part[s->w.norm->id] = part;
    }
    return true;
}

/* ---- heads ---- */

static bool is_tanh(const gr_node *n)
{
    const char *activation = "";
    if (gr_is_named(n, "Tanh")) return true;
    return gr_is_named(n, "Linear") &&
           gr_attr_string(n->attrs, "activation", "", &activation, NULL) == GR_OK && !strcmp(activation, "tanh");
}

/* Pooler: from a Gather of hidden states over steps with one reader each to a tanh. */
static const gr_node *pooler_end(const sorter *s, const gr_node *n)
{
    if (!gr_is_named(n, "Gather") || !gr_carries(gr_in(n, 0))) return NULL;
    if (gr_before_conversions(gr_in(n, 0)) != gr_before_conversions(s->w.hidden)) return NULL;
    for (int i = 0; i < 10 && gr_out(n, 0) && n->out[0]->uses; i++) {
        n = n->out[0]->uses->user;
        if (is_tanh(n)) return n;
        if (n->out[0]->nuses != 1) return NULL;
    }
    return NULL;
}

static bool take_pooler(sorter *s)
{
    const gr_node *end = NULL, **todo = GR_NEWS(s->w.arena, s->w.g->nnodes, const gr_node *);
    size_t count = 0;
    if (!todo) return false;
    for (const gr_node *n = s->w.g->first; n && !end; n = n->next)
        if (s->part[n->id] == NOWHERE) end = pooler_end(s, n);
    if (!end) return true;
    int part = new_part(s, GR_PART_POOLER, 0, 0);
    if (part == NOWHERE) return false;
    s->part[end->id] = part;
    todo[count++] = end;
    while (count) {
        const gr_node *n = todo[--count];
        for (uint32_t i = 0; i < n->nin; i++) {
            const gr_node *def = gr_in(n, i) ? gr_in(n, i)->def : NULL;
            if (!def || s->part[def->id] != NOWHERE || s->w.stage[def->id] < 0) continue;
            s->part[def->id] = part;
            todo[count++] = def;
        }
    }
    return true;
}

static int root(int *up, int i)
{
    while (up[i] != i) i = up[i] = up[up[i]];
    return i;
}

/* Nodes behind the layers that hang together, by union of what values connect. */
static bool take_heads(sorter *s)
{
    size_t count = s->w.g->nnodes;
    int *up = GR_NEWS(s->w.arena, count, int), *made = GR_NEWS(s->w.arena, count, int);
    if (!up || !made) return false;
    for (size_t i = 0; i < count; i++) {
        up[i] = (int)i;
        made[i] = NOWHERE;
    }
    for (const gr_node *n = s->w.g->first; n; n = n->next) {
        if (s->part[n->id] != NOWHERE || s->w.stage[n->id] < 0) continue;
        for (uint32_t i = 0; i < n->nin; i++) {
            const gr_node *def = gr_in(n, i) ? gr_in(n, i)->def : NULL;
            if (def && s->part[def->id] == NOWHERE && s->w.stage[def->id] >= 0)
                up[root(up, (int)n->id)] = root(up, (int)def->id);
        }
    }
    for (const gr_node *n = s->w.g->first; n; n = n->next) {
        if (s->part[n->id] != NOWHERE || s->w.stage[n->id] < 0) continue;
        int r = root(up, (int)n->id);
        if (made[r] == NOWHERE && (made[r] = new_part(s, GR_PART_HEAD, 0, 0)) == NOWHERE) return false;
    }
    for (const gr_node *n = s->w.g->first; n; n = n->next)
        if (s->part[n->id] == NOWHERE && s->w.stage[n->id] >= 0) s->part[n->id] = made[root(up, (int)n->id)];
    return true;
}

/* ---- the result ---- */

static bool push(gr_arena *a, const gr_value ***items, size_t *n, size_t *cap, const gr_value *v)
{
    const gr_value **slot = gr_arena_push(a, items, n, cap, sizeof **items);
    if (slot) *slot = v;
    return slot != NULL;
}

static bool leaves(const sorter *s, const gr_value *v, int part)
{
    if (v->is_output) return true;
    for (const gr_use *u = v->uses; u; u = u->next)
        if (s->part[u->user->id] != part) return true;
    return false;
}

/* One walk over each part's nodes; `seen` holds by value the part that has noted it last. */
static bool describe(sorter *s)
{
    gr_arena *a = s->w.arena;
    int *seen = GR_NEWS(a, s->w.g->nvalues, int);
    if (!seen) return false;
    for (size_t k = 0; k < s->o->nparts; k++) {
        gr_part *p = &s->o->parts[k];
        size_t capin = 0, capout = 0, capw = 0;
        for (size_t j = 0; j < p->nnodes; j++) {
            const gr_node *n = p->nodes[j];
            for (uint32_t i = 0; i < n->nin; i++) {
                const gr_value *v = gr_in(n, i);
                if (!v || seen[v->id] == (int)k + 1) continue;
                seen[v->id] = (int)k + 1;
                if (v->konst && !v->def ? !push(a, &p->weights, &p->nweights, &capw, v)
                    : (!v->def || s->part[v->def->id] != (int)k) && !push(a, &p->inputs, &p->ninputs, &capin, v))
                    return false;
            }
            for (uint32_t i = 0; i < n->nout; i++)
                if (n->out[i] && leaves(s, n->out[i], (int)k) && !push(a, &p->outputs, &p->noutputs, &capout, n->out[i]))
                    return false;
        }
    }
    return true;
}

/* Parts in the order people read them. */
static int rank_of(const gr_part *p) { return p->kind == GR_PART_EMBEDDINGS && p->stack ? GR_PART_MASK : (int)p->kind; }

static bool sort_parts(sorter *s)
{
    size_t n = s->o->nparts, at = 0;
    gr_part *sorted = GR_NEWS(s->w.arena, n, gr_part);
    int *moved = GR_NEWS(s->w.arena, n, int);
    if (!sorted || !moved) return false;
    for (int rank = 0; rank <= GR_PART_HEAD; rank++)
        for (size_t i = 0; i < n; i++)
            if (rank_of(&s->o->parts[i]) == rank) {
                moved[i] = (int)at;
                sorted[at++] = s->o->parts[i];
            }
    s->o->parts = sorted;
    for (const gr_node *u = s->w.g->first; u; u = u->next)
        if (s->part[u->id] != NOWHERE) sorted[s->part[u->id] = moved[s->part[u->id]]].nnodes++;
    for (size_t i = 0; i < n; i++) {
        if (!(sorted[i].nodes = GR_NEWS(s->w.arena, sorted[i].nnodes, const gr_node *))) return false;
        sorted[i].nnodes = 0;
    }
    for (const gr_node *u = s->w.g->first; u; u = u->next) {
        if (s->part[u->id] == NOWHERE) continue;
        gr_part *p = &sorted[s->part[u->id]];
        p->nodes[p->nnodes++] = u;
        s->o->part_of[u->id] = p;
    }
    return true;
}

static bool partition(sorter *s)
{
    size_t nnodes = s->w.g->nnodes;
    s->w.stage = GR_NEWS(s->w.arena, nnodes, int);
    s->part = GR_NEWS(s->w.arena, nnodes, int);
    s->weighty = GR_NEWS(s->w.arena, nnodes, bool);
    s->border = GR_NEWS(s->w.arena, s->w.g->nvalues, int);
    s->of_layer = GR_NEWS(s->w.arena, s->w.nlayers, int);
    if (!s->w.stage || !s->part || !s->weighty || !s->border || !s->of_layer) return false;
    for (size_t i = 0; i < nnodes; i++) s->part[i] = NOWHERE;
    for (size_t i = 0; i < s->w.nlayers; i++) mark_border(s, s->w.layers[i].border, (int)i + 1);
    if (s->w.nlayers) mark_border(s, s->w.layers[s->w.nlayers - 1].end, (int)s->w.nlayers + 1);
    return true;
}

gr_status gr_outline_make(const gr_graph *g, gr_arena *arena, gr_outline *out, gr_err *err)
{
    sorter s = {.w = {.g = g, .arena = arena}, .o = out};
    *out = (gr_outline){.graph = g, .part_of = GR_NEWS(arena, g->nnodes, const gr_part *)};
    if (!out->part_of || !gr_walk_layers(&s.w)) return gr_nomem(err);
    if (!s.w.nlayers) return GR_OK;
    out->hidden = s.w.hidden;
    if (!partition(&s)) return gr_nomem(err);
    find_stages(&s);
    if (!take_embeddings(&s) || !take_layers(&s) || !take_pooler(&s) || !take_heads(&s)) return gr_nomem(err);
    sink(&s);
    if (!take_mask(&s) || !sort_parts(&s) || !describe(&s) || !gr_outline_name(out, arena)) return gr_nomem(err);
    return GR_OK;
}

const gr_part *gr_outline_find(const gr_outline *o, const char *name)
{
    for (size_t i = 0; i < o->nparts; i++)
        if (!strcmp(o->parts[i].name, name)) return &o->parts[i];
    for (size_t i = 0; i < o->nparts; i++)
        if (o->parts[i].alias && !strcmp(o->parts[i].alias, name)) return &o->parts[i];
    return NULL;
}
