/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers found from their attention. A residual connection leads around every attention; the value it starts from is the
 * border between two layers: all that a layer gives to later ones passes it. The first sum after an attention with a
 * summand that does not depend on that attention, but that its queries depend on, tells the border. Every node is looked
 * at a bounded number of times.
 */
#include "outline_walk.h"
#include "ops/op.h"

enum { MAX_STEPS = 8, MAX_READERS = 64, NONE = -2 };

bool gr_is_norm(const gr_node *n) { return n && (strstr(n->op->name, "LayerNorm") || strstr(n->op->name, "RMSNorm")); }

bool gr_carries(const gr_value *v)
{
    if (!v || v->konst || v->type.kind == GR_KIND_SEQUENCE) return false;
    return v->type.dtype != GR_INT64 && v->type.dtype != GR_BOOL && v->type.dtype != GR_STRING;
}


static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

/* ---- attentions ---- */

static const gr_node *only_next(const gr_value *v)
{
    for (const gr_use *u = v->uses; u; u = u->next)
        if (!gr_is_named(u->user, "Shape") && !gr_is_named(u->user, "IsNaN")) return u->user;
    return NULL;
}

/* The product with the values that a softmax's probabilities go into, and through which input; NULL if there is none. */
static const gr_node *product_of(const gr_node *softmax, const gr_value **probabilities)
{
    const gr_value *v = gr_out(softmax, 0);
    if (!v || v->type.rank < 3) return NULL;
    for (int i = 0; i < MAX_STEPS && v; i++) {
        const gr_node *n = only_next(v);
        if (!n) return NULL;
        bool product = strstr(n->op->name, "MatMul") || gr_is_named(n, "Einsum");
        if (product) {
            *probabilities = v;
            for (uint32_t k = 0; k < n->nin; k++)
                if (gr_in(n, k) != v && gr_carries(gr_in(n, k))) return n;
            return NULL;
        }
        v = gr_out(n, 0);
    }
    return NULL;
}

static bool add_anchor(walk *w, const gr_node *n, const gr_value *query)
{
    if (w->anchor_of[n->id]) return true;
    anchor *a = GR_PUSH(w->arena, w->anchors, w->nanchors, w->canchors);
    if (!a) return false;
    *a = (anchor){.node = n, .query = query, .prev = -1, .layer = -1};
    w->anchor_of[n->id] = (int)w->nanchors;
    return true;
}

static bool find_anchors(walk *w)
{
    for (const gr_node *n = w->g->first; n; n = n->next) {
        const gr_value *p = NULL;
        if (ends_with(n->op->name, "Attention") && gr_carries(gr_in(n, 0))) {
            if (!add_anchor(w, n, gr_in(n, 0))) return false;
        } else if (gr_is_named(n, "Softmax")) {
            const gr_node *product = product_of(n, &p);
            if (product && !add_anchor(w, product, p)) return false;
        }
    }
    return true;
}

/* ---- the stream of hidden states ---- */

static int last_of(const walk *w, const gr_value *v) { return v->def ? w->last[v->def->id] : -1; }

/* Anchors of unfused attentions were numbered where their softmax stands; here they are met in the graph's order, and get
 * their final numbers. */
static bool follow_stream(walk *w)
{
    anchor *ordered = GR_NEWS(w->arena, w->nanchors, anchor);
    int count = 0;
    if (!ordered) return false;
    for (const gr_node *n = w->g->first; n; n = n->next) {
        int at = w->anchor_of[n->id] - 1, last = -1, others = NONE;
        const gr_value *query = at >= 0 ? w->anchors[at].query : NULL;
        for (uint32_t i = 0; i < n->nin; i++) {
            const gr_value *v = gr_in(n, i);
            if (!gr_carries(v)) continue;
            int l = last_of(w, v);
            if (query && v != query) {
                if (i <= 2 && l > others) others = l;
            } else if (l > last) {
                last = l;
            }
        }
        if (at >= 0) {
            ordered[count] = w->anchors[at];
            ordered[count].prev = last;
            ordered[count].crosses = last >= 0 && others != NONE && others != last;
            last = count++;
            w->anchor_of[n->id] = count;
        }
        w->last[n->id] = last;
    }
    w->anchors = ordered;
    return true;
}

/* Mark a value and what is made beside it: a normalisation may give the sum, too, that goes around the attention. */
static bool mark(walk *w, const gr_value *v)
{
    if (w->ancestor[v->id]) return false;
    w->ancestor[v->id] = true;
    for (uint32_t o = 0; v->def && o < v->def->nout; o++)
        if (v->def->out[o]) w->ancestor[v->def->out[o]->id] = true;
    return true;
}

/* Mark what queries depend on, each from the attention before it on. Work list: values. */
static bool mark_ancestors(walk *w)
{
    const gr_value **todo = GR_NEWS(w->arena, w->g->nvalues, const gr_value *);
    size_t n = 0;
    if (!todo) return false;
    for (size_t i = 0; i < w->nanchors; i++) {
        const anchor *a = &w->anchors[i];
        if (mark(w, a->query)) todo[n++] = a->query;
        while (n) {
            const gr_node *def = todo[--n]->def;
            if (!def || w->anchor_of[def->id]) continue;
            for (uint32_t k = 0; k < def->nin; k++)
                if (gr_carries(gr_in(def, k)) && mark(w, gr_in(def, k))) todo[n++] = gr_in(def, k);
        }
    }
    return true;
}

/* ---- borders ---- */

static bool may_join(const gr_node *n)
{
    return gr_is_named(n, "Add") || gr_is_named(n, "Sum") || n->op->domain || strstr(n->op->name, "Add");
}

const gr_value *gr_before_conversions(const gr_value *v)
{
    while (v->def && v->def->out[0] == v && (gr_is_named(v->def, "Cast") || strstr(v->def->op->name, "uantizeLinear")) &&
           gr_carries(gr_in(v->def, 0)))
        v = gr_in(v->def, 0);
    return v;
}

/* The value that a summand was made from by steps with one input each (a cast, a quantised copy), the queries' too. */
static const gr_value *source_of(const walk *w, const gr_value *v)
{
    for (int i = 0; i < MAX_STEPS; i++) {
        const gr_value *only = NULL;
        if (w->ancestor[v->id] || !v->def) break;
        for (uint32_t k = 0; k < v->def->nin; k++) {
            const gr_value *in = gr_in(v->def, k);
            if (!gr_carries(in)) continue;
            if (only && only != in) return v;
            only = in;
        }
        if (!only) break;
        v = only;
    }
    return gr_before_conversions(v);
}

static void find_borders(walk *w)
{
    for (const gr_node *n = w->g->first; n; n = n->next) {
        int at = w->last[n->id];
        if (at < 0 || w->anchors[at].border || w->anchor_of[n->id] || !may_join(n)) continue;
        for (uint32_t i = 0; i < n->nin; i++) {
            const gr_value *v = gr_in(n, i);
            if (!gr_carries(v) || last_of(w, v) != w->anchors[at].prev) continue;
            if (!v->def && !v->is_input) continue;
            v = source_of(w, v);
            if (w->ancestor[v->id] && last_of(w, v) == w->anchors[at].prev) w->anchors[at].border = v;
        }
    }
}

/* ---- layers ---- */

/* Cross-attention belongs to the layer of the self-attention before it; so does what has no residual connection. */
static bool group(walk *w)
{
    for (size_t i = 0; i < w->nanchors; i++) {
        anchor *a = &w->anchors[i];
        int before = a->prev >= 0 ? w->anchors[a->prev].layer : -1;
        bool joins = before >= 0 && w->layers[before].last == a->prev;
        if (joins && (a->crosses || !a->border)) {
            a->layer = before;
            w->layers[before].last = (int)i;
            continue;
        }
        if (!a->border) continue;
        layer *l = GR_PUSH(w->arena, w->layers, w->nlayers, w->clayers);
        if (!l) return false;
        a->layer = (int)w->nlayers - 1;
        *l = (layer){.stack = (int)w->nstacks, .first = (int)i, .last = (int)i, .border = a->border};
        if (joins && !w->layers[before].end) {
            l->stack = w->layers[before].stack;
            l->index = w->layers[before].index + 1;
            w->layers[before].end = l->border;
        } else {
            w->nstacks++;
        }
    }
    return true;
}

typedef struct pairing {
    const walk *w;
    const gr_node **twin, **todo;
    bool *taken;
} pairing;

/* A reader of v that reads it as reader u of another value does. */
static const gr_node *equal_reader(const pairing *p, const gr_use *u, const gr_value *v, int last)
{
    int tried = 0;
    for (const gr_use *y = v->uses; y && tried < MAX_READERS; y = y->next, tried++) {
        const gr_node *n = y->user;
        if (n->op == u->user->op && y - n->in == u - u->user->in && p->w->last[n->id] == last && !p->taken[n->id])
            return n;
    }
    return NULL;
}

/* Pair the nodes after attention b with those after a, by walking from both through equal readers. */
static void pair_after(pairing *p, const gr_node *a, const gr_node *b)
{
    size_t n = 0;
    int la = p->w->last[a->id], lb = p->w->last[b->id];
    p->twin[a->id] = b;
    p->todo[n++] = a;
    while (n) {
        const gr_node *u = p->todo[--n], *v = p->twin[u->id];
        for (uint32_t o = 0; o < u->nout && o < v->nout; o++) {
            int readers = 0;
            if (!u->out[o] || !v->out[o]) continue;
            for (const gr_use *x = u->out[o]->uses; x && readers < MAX_READERS; x = x->next, readers++) {
                const gr_node *c = x->user;
                if (p->w->last[c->id] != la || p->twin[c->id]) continue;
                if (!(p->twin[c->id] = equal_reader(p, x, v->out[o], lb))) continue;
                p->taken[p->twin[c->id]->id] = true;
                p->todo[n++] = c;
            }
        }
    }
}

static const gr_value *same_output(const gr_value *v, const gr_node *twin)
{
    for (uint32_t o = 0; twin && o < v->def->nout && o < twin->nout; o++)
        if (v->def->out[o] == v) return twin->out[o];
    return NULL;
}

static bool like(const gr_value *a, const gr_value *b)
{
    return a->type.rank == b->type.rank && a->type.rank > 0 &&
           gr_dim_same(a->type.dims[a->type.rank - 1], b->type.dims[b->type.rank - 1]);
}

static const gr_node *norm_reader(const gr_value *v)
{
    for (const gr_use *u = v->uses; u; u = u->next)
        if (gr_is_norm(u->user)) return u->user;
    return NULL;
}

/* Whether a layer normalises what it reads before it uses it. */
static bool normalises_first(const walk *w, const layer *l)
{
    const gr_node *n = norm_reader(l->border);
    return n && n->out[0] && w->ancestor[n->out[0]->id];
}

/* The last sum of hidden states after each attention. */
static const gr_value **last_sums(const walk *w)
{
    const gr_value **sums = GR_NEWS(w->arena, w->nanchors, const gr_value *);
    for (const gr_node *n = sums ? w->g->first : NULL; n; n = n->next) {
        int at = w->last[n->id], summands = 0;
        if (at < 0 || w->anchors[at].layer < 0 || w->anchor_of[n->id] || !may_join(n) || !gr_out(n, 0)) continue;
        const gr_value *border = w->layers[w->anchors[at].layer].border;
        if (!like(n->out[0], border)) continue;
        for (uint32_t i = 0; i < n->nin; i++) summands += gr_carries(gr_in(n, i)) && like(gr_in(n, i), border);
        if (summands > 1 || (summands && n->nin > 3 && gr_carries(gr_in(n, 3)))) sums[at] = n->out[0];
    }
    return sums;
}

/* The end of a layer that has no equal before it: its last sum, with the normalisation that follows in a post-normalised
 * stack. */
static const gr_value *end_alone(const walk *w, const layer *l, const gr_value *sum)
{
    if (!sum) return gr_out(w->anchors[l->last].node, 0);
    const gr_node *norm = !gr_is_norm(sum->def) && !normalises_first(w, l) ? norm_reader(sum) : NULL;
    return norm && norm->out[0] ? norm->out[0] : sum;
}

static bool find_ends(walk *w)
{
    pairing p = {w, GR_NEWS(w->arena, w->g->nnodes, const gr_node *), GR_NEWS(w->arena, w->g->nnodes, const gr_node *),
                 GR_NEWS(w->arena, w->g->nnodes, bool)};
    const gr_value **sums = last_sums(w);
    int *previous = GR_NEWS(w->arena, w->nstacks, int);
    if (!p.twin || !p.todo || !p.taken || !sums || !previous) return false;
    for (size_t i = 0; i < w->nlayers; i++) {
        layer *l = &w->layers[i];
        if (!l->end && l->index > 0 && l->border->def) {
            pair_after(&p, w->anchors[w->layers[previous[l->stack]].last].node, w->anchors[l->last].node);
            l->end = same_output(l->border, p.twin[l->border->def->id]);
        }
        if (!l->end) l->end = end_alone(w, l, sums[l->last]);
        previous[l->stack] = (int)i;
    }
    return true;
}

bool gr_walk_layers(walk *w)
{
    w->anchor_of = GR_NEWS(w->arena, w->g->nnodes, int);
    w->last = GR_NEWS(w->arena, w->g->nnodes, int);
    w->ancestor = GR_NEWS(w->arena, w->g->nvalues, bool);
    if (!w->anchor_of || !w->last || !w->ancestor) return false;
    if (!find_anchors(w) || !follow_stream(w) || !mark_ancestors(w)) return false;
    find_borders(w);
    if (!group(w) || !find_ends(w) || !w->nlayers) return !w->nlayers;
    const layer *l = &w->layers[w->nlayers - 1];
    bool sum = l->end->def && gr_is_norm(l->end->def) && l->end->def->out[0]; /* which goes on beside the normalised */
    w->hidden = sum ? l->end->def->out[0] : l->end;
    const gr_node *norm = normalises_first(w, l) && l->end->def && !gr_is_norm(l->end->def) ? norm_reader(l->end) : NULL;
    if (norm && norm->out[0]) {
        w->norm = norm;
        w->hidden = norm->out[0];
    }
    return true;
}
