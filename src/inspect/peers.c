/* SPDX-License-Identifier: Apache-2.0
 *
 * A layer is found from its product of probabilities and values. From there two layers are walked together: backwards
 * to what their linear layers read, then forwards to what the next layer's linear layers read. Where they part, the
 * walk stops and notes how. Works on the file's nodes, so that it does not depend on what was fused.
 */
#include "peers.h"
#include "passes/match.h"
#include <math.h>

/* Layers beyond these are not compared, nor pairs of nodes; more differences than that are another kind of layer. */
enum { MAX_LAYERS = 96, MAX_PAIRS = 4096, MAX_DIFFERENCES = 6, MAX_TOLD = 3, MAX_READERS = 64 };
#define SAME_NUMBER 1e-3

typedef enum {
    OTHER_OP,
    INSERTED,
    OTHER_ATTR,
    OTHER_NUMBER,
    OTHER_WEIGHT,
    OTHER_VALUE,
    OTHER_READERS,
    OTHER_TYPE
} kind;

typedef struct difference {
    kind what;
    const gr_source *node[2];  /* of either layer */
    const gr_source *where[2]; /* INSERTED: the reader of what is only in layer `side`, and what that reads */
    int side;
    uint32_t slot;
    const char *attr;
} difference;

typedef struct reader {
    uint32_t source, slot;
} reader;

typedef struct layers {
    const gr_graph *g;
    gr_arena *arena, *scratch;
    uint32_t *maker; /* source + 1 by value */
    uint32_t *first; /* readers by value: first[id] to first[id + 1] */
    reader *readers;
    bool *varies, *waits;   /* by value: depends on the graph's inputs; made of scores, before the next product */
    bool *inside;           /* by value: made of what is a root */
    uint32_t *level;        /* by value: anchors before it */
    bool *root;             /* by value: linear layers before an anchor read it */
    const gr_value **other; /* by value: its counterpart in the walk */
    uint32_t *mark;         /* by source: walked in this walk */
    uint32_t walk;
    bool *left; /* by source: it was not fused */
    size_t n;
    uint32_t anchors[MAX_LAYERS];
    bool many;
    struct {
        uint32_t a, b;
    } pairs[MAX_PAIRS];
    size_t npairs;
    difference found[MAX_DIFFERENCES];
    size_t nfound;
    const gr_source *stray; /* the first of layer y found by its other operand */
    bool too_many;
    int unfused[2];
} layers;

static bool is(const gr_source *s, const char *op) { return s && *s->op == *op && !strcmp(s->op, op); }

bool gr_source_product(const gr_source *s, const gr_value **a, const gr_value **b)
{
    bool q = is(s, "QLinearMatMul");
    if (!q && !strstr(s->op, "MatMul") && !is(s, "Gemm") && !is(s, "Einsum")) return false;
    *a = s->nin ? s->in[0] : NULL;
    *b = s->nin > (q ? 3 : 1) ? s->in[q ? 3 : 1] : NULL;
    return *a && *b;
}

static const gr_source *source(const layers *l, const gr_value *v)
{
    return v && v->graph == l->g && l->maker[v->id] ? &l->g->sources[l->maker[v->id] - 1] : NULL;
}

static const gr_value *made(const gr_source *s) { return s && s->node ? gr_out(s->node, 0) : NULL; }

static uint32_t number(const layers *l, const gr_source *s) { return (uint32_t)(s - l->g->sources); }

/* ---- what is known of each value ---- */

static bool varying(const layers *l, const gr_value *v)
{
    return v && v->graph == l->g && !v->konst && (v->is_input || l->varies[v->id]);
}

static gr_status index_sources(layers *l, gr_err *err)
{
    const gr_graph *g = l->g;
    size_t values = g->nvalues + 2, uses = 0;
    l->maker = GR_NEWS(l->scratch, values, uint32_t);
    l->first = GR_NEWS(l->scratch, values, uint32_t);
    l->varies = GR_NEWS(l->scratch, values, bool);
    l->waits = GR_NEWS(l->scratch, values, bool);
    l->level = GR_NEWS(l->scratch, values, uint32_t);
    if (!l->maker || !l->first || !l->varies || !l->waits || !l->level) return gr_nomem(err);
    for (uint32_t i = 0; i < g->nsources; i++) {
        const gr_source *s = &g->sources[i];
        for (uint32_t k = 0; s->node && k < s->node->nout; k++)
            if (s->node->out[k]) l->maker[s->node->out[k]->id] = i + 1;
        for (uint32_t k = 0; k < s->nin; k++)
            if (s->in[k] && s->in[k]->graph == g) l->first[s->in[k]->id + 1]++, uses++;
    }
    for (size_t i = 1; i < values; i++) l->first[i] += l->first[i - 1];
    uint32_t *next = GR_NEWS(l->scratch, values, uint32_t);
    l->readers = GR_NEWS(l->scratch, uses + 1, reader);
    if (!next || !l->readers) return gr_nomem(err);
    memcpy(next, l->first, values * sizeof *next);
    for (uint32_t i = 0; i < g->nsources; i++)
        for (uint32_t k = 0; k < g->sources[i].nin; k++) {
            const gr_value *v = g->sources[i].in[k];
            if (v && v->graph == g) l->readers[next[v->id]++] = (reader){i, k};
        }
    return GR_OK;
}

/* Anchors: products of what was made of another product of two values, as probabilities are; and whole attentions. */
static void find_anchors(layers *l)
{
    const gr_graph *g = l->g;
    for (uint32_t i = 0; i < g->nsources; i++) {
        const gr_source *s = &g->sources[i];
        const gr_value *a = NULL, *b = NULL;
        bool varies = false, waits = false, anchor = strstr(s->op, "Attention") != NULL;
        uint32_t level = 0;
        if (!s->node) continue;
        for (uint32_t k = 0; k < s->nin; k++) {
            if (!varying(l, s->in[k])) continue;
            varies = true;
            waits |= l->waits[s->in[k]->id];
            if (l->level[s->in[k]->id] > level) level = l->level[s->in[k]->id];
        }
        if (gr_source_product(s, &a, &b)) {
            bool both = varying(l, a) && varying(l, b);
            anchor = both && waits;
            waits = both && !waits;
        }
        if (anchor && l->n == MAX_LAYERS) l->many = true;
        if (anchor && l->n < MAX_LAYERS) l->anchors[l->n++] = i;
        for (uint32_t k = 0; k < s->node->nout; k++) {
            if (!s->node->out[k]) continue;
            uint32_t id = s->node->out[k]->id;
            l->varies[id] = varies, l->waits[id] = waits && !anchor, l->level[id] = level + anchor;
        }
    }
}

/* The value of which a node makes another spelling, or which it normalises; NULL: it does something else. */
static const gr_value *spelt(const layers *l, const gr_source *s)
{
    if (!s || !s->nin) return NULL;
    if (strstr(s->op, "uantize") || is(s, "Reshape") || is(s, "Cast") || is(s, "Identity")) return s->in[0];
    if (is(s, "LayerNormalization") || is(s, "SimplifiedLayerNormalization") || is(s, "Div") || is(s, "Sub"))
        return s->in[0];
    if ((!is(s, "Add") && !is(s, "Mul")) || s->nin != 2) return NULL;
    bool a = varying(l, s->in[0]), b = varying(l, s->in[1]);
    return a == b ? NULL : s->in[a ? 0 : 1];
}

/* A value that linear layers read is a border, and so are those that it is a spelling or a normalised form of. */
static void mark_root(layers *l, const gr_value *h)
{
    enum { SPELLINGS = 12 };
    for (int i = 0; i < SPELLINGS && varying(l, h); i++) {
        const gr_source *s = source(l, h);
        l->root[h->id] = true;
        for (uint32_t k = 0; s && k < s->node->nout; k++)
            if (s->node->out[k]) l->root[s->node->out[k]->id] = true;
        h = spelt(l, s);
    }
}

/* What linear layers read on the way back from an anchor: the borders of its layer. */
static gr_status find_roots(layers *l, uint32_t layer, gr_err *err)
{
    size_t n = 0, cap = 0;
    uint32_t *stack = NULL, *top = GR_PUSH(l->scratch, stack, n, cap);
    if (!top) return gr_nomem(err);
    *top = l->anchors[layer];
    l->walk++;
    for (int steps = 0; n && steps < MAX_PAIRS; steps++) {
        const gr_source *s = &l->g->sources[stack[--n]];
        const gr_value *a = NULL, *b = NULL;
        bool product = gr_source_product(s, &a, &b) && varying(l, a) != varying(l, b);
        bool whole = strstr(s->op, "Attention") && s->nin > 1 && varying(l, s->in[0]) && !varying(l, s->in[1]);
        if (l->mark[number(l, s)] == l->walk) continue;
        l->mark[number(l, s)] = l->walk;
        if (product || whole) {
            mark_root(l, product ? (varying(l, a) ? a : b) : s->in[0]);
            continue;
        }
        for (uint32_t k = 0; k < s->nin; k++) {
            const gr_source *m = varying(l, s->in[k]) ? source(l, s->in[k]) : NULL;
            /* Codes made in the run are read by products alone, their scale by others, too. */
            if (!m || s->in[k]->type.dtype == GR_INT64 || is(m, "DynamicQuantizeLinear")) continue;
            if (!(top = GR_PUSH(l->scratch, stack, n, cap))) return gr_nomem(err);
            *top = number(l, m);
        }
    }
    return GR_OK;
}

static void find_insides(layers *l)
{
    for (uint32_t i = 0; i < l->g->nsources; i++) {
        const gr_source *s = &l->g->sources[i];
        bool inside = false;
        for (uint32_t k = 0; k < s->nin && !is(s, "Shape"); k++)
            inside |= varying(l, s->in[k]) && (l->inside[s->in[k]->id] || l->root[s->in[k]->id]);
        for (uint32_t k = 0; inside && s->node && k < s->node->nout; k++)
            if (s->node->out[k]) l->inside[s->node->out[k]->id] = true;
    }
}

/* ---- one node beside another ---- */

static void differ(layers *l, difference d)
{
    if (l->nfound == MAX_DIFFERENCES)
        l->too_many = true;
    else
        l->found[l->nfound++] = d;
}

static bool same_attr(const gr_attr *a, const gr_attr *b)
{
    if (a->type != b->type) return false;
    switch (a->type) {
    case GR_ATTR_INT: return a->i == b->i;
    case GR_ATTR_FLOAT: return fabs((double)(a->f - b->f)) <= SAME_NUMBER * fabs((double)b->f);
    case GR_ATTR_STRING: return a->s.size == b->s.size && (!a->s.size || !memcmp(a->s.data, b->s.data, a->s.size));
    case GR_ATTR_INTS:
        return a->count == b->count && (!a->count || !memcmp(a->ints, b->ints, a->count * sizeof *a->ints));
    default: return true;
    }
}

/* The name of an attribute that one has otherwise; NULL: none. */
static const char *other_attr(gr_attrs a, gr_attrs b)
{
    for (size_t i = 0; i < a.count; i++) {
        size_t k = 0;
        while (k < b.count && strcmp(a.items[i].name, b.items[k].name)) k++;
        if (k == b.count || !same_attr(&a.items[i], &b.items[k])) return a.items[i].name;
    }
    return NULL;
}

static bool same_type(const gr_type *a, const gr_type *b)
{
    if (a->dtype != b->dtype || a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (gr_dim_known(a->dims[i]) && gr_dim_known(b->dims[i]) && a->dims[i].k != b->dims[i].k) return false;
    return true;
}

/* Scales of codes are each layer's own, as are positions in what all layers share. */
static bool own_numbers(const layers *l, const gr_source *s)
{
    if (strstr(s->op, "uantize") || strstr(s->op, "Integer") || strstr(s->op, "QLinear") || is(s, "Gather") ||
        is(s, "Slice"))
        return true;
    for (uint32_t i = 0; i < s->nin; i++) {
        const gr_source *m = source(l, s->in[i]);
        if (m && strstr(m->op, "uantize")) return true;
    }
    return false;
}

static void compare_constants(layers *l, difference d, const gr_value *a, const gr_value *b)
{
    double x, y;
    bool numbers = gr_scalar_of(a, &x) && gr_scalar_of(b, &y);
    d.what = OTHER_WEIGHT;
    if (!same_type(&a->type, &b->type) && a->type.dtype != GR_INT64) {
        differ(l, d);
    } else if (numbers && gr_dtype_is_float(a->type.dtype) && !own_numbers(l, d.node[0])) {
        d.what = OTHER_NUMBER;
        if (!(x == y || fabs(x - y) <= SAME_NUMBER * fabs(y))) differ(l, d);
    }
}

/* Readers of a value, and the caller if it is an output. */
static size_t count_readers(const layers *l, const gr_value *v)
{
    const gr_value *now = v;
    for (int i = 0; i < MAX_READERS && now->became; i++) now = now->became;
    size_t n = now->is_output;
    for (uint32_t i = l->first[v->id]; i < l->first[v->id + 1]; i++)
        n += !is(&l->g->sources[l->readers[i].source], "Shape");
    return n;
}

/* ---- the walk ---- */

static void pair(layers *l, const gr_source *a, const gr_source *b)
{
    uint32_t i = number(l, a), k = number(l, b);
    if (l->mark[i] == l->walk || l->mark[k] == l->walk || l->npairs == MAX_PAIRS) return;
    l->mark[i] = l->mark[k] = l->walk;
    l->pairs[l->npairs].a = i, l->pairs[l->npairs++].b = k;
    l->unfused[0] += l->left[i];
    l->unfused[1] += l->left[k];
    for (uint32_t o = 0; o < a->node->nout && o < b->node->nout; o++)
        if (a->node->out[o] && b->node->out[o]) l->other[a->node->out[o]->id] = b->node->out[o];
}

/* Pair what two readers read: `d` names them and the input. Something that stands between in one layer is stepped over.
 */
static void pair_makers(layers *l, difference d, const gr_value *va, const gr_value *vb)
{
    const gr_source *a = source(l, va), *b = source(l, vb);
    if (!a || !b || !a->node || !b->node) return;
    const gr_source *under_a = a->nin ? source(l, a->in[0]) : NULL, *under_b = b->nin ? source(l, b->in[0]) : NULL;
    if (strcmp(a->op, b->op) && under_b && under_b->node && !strcmp(under_b->op, a->op)) {
        d = (difference){INSERTED, {d.node[0], b}, {d.node[1], under_b}, 1, 0, NULL};
        differ(l, d);
        pair(l, a, under_b);
    } else if (strcmp(a->op, b->op) && under_a && under_a->node && !strcmp(under_a->op, b->op)) {
        d = (difference){INSERTED, {a, d.node[1]}, {d.node[0], under_a}, 0, 0, NULL};
        differ(l, d);
        pair(l, under_a, b);
    } else {
        pair(l, a, b);
    }
}

static void look_back(layers *l, const gr_source *a, const gr_source *b, uint32_t least)
{
    for (uint32_t i = 0; i < a->nin && i < b->nin; i++) {
        const gr_value *va = a->in[i], *vb = b->in[i];
        difference d = {OTHER_VALUE, {a, b}, {NULL, NULL}, 0, i, NULL};
        if (va == vb || !va || !vb || va->type.dtype == GR_INT64 || va->graph != l->g || vb->graph != l->g) continue;
        bool vary_a = varying(l, va), vary_b = varying(l, vb);
        if (!vary_a && !vary_b && source(l, va) && source(l, vb))
            pair_makers(l, d, va, vb); /* a folded Sqrt is to be named, not who reads it */
        else if (!vary_a && !vary_b && va->konst && vb->konst)
            compare_constants(l, d, va, vb);
        if (vary_a != vary_b || l->root[va->id]) {
            bool known = l->root[va->id] && vary_b && l->root[vb->id] && (!l->other[va->id] || l->other[va->id] == vb);
            if (known) l->other[va->id] = vb;
            if (!known && vary_a | vary_b) differ(l, d);
            continue;
        }
        if (!vary_a || (!l->inside[va->id] && !l->inside[vb->id])) continue; /* what all layers share, as masks */
        if (l->other[va->id] && l->other[va->id] != vb)
            differ(l, d);
        else if (!l->other[va->id] && l->root[vb->id])
            differ(l, d);
        else if (l->level[va->id] >= least)
            pair_makers(l, d, va, vb);
    }
}

/* The reader of b that stands for a reader of a: of that operator in that place, or the only one left. */
static const gr_source *counterpart(const layers *l, const reader *r, const gr_value *vb)
{
    const gr_source *a = &l->g->sources[r->source], *only = NULL;
    int left = 0;
    for (uint32_t i = l->first[vb->id]; i < l->first[vb->id + 1] && i < l->first[vb->id] + MAX_READERS; i++) {
        const gr_source *b = &l->g->sources[l->readers[i].source];
        if (!b->node || l->mark[l->readers[i].source] == l->walk) continue;
        if (!strcmp(a->op, b->op) && l->readers[i].slot == r->slot) return b;
        only = b;
        left++;
    }
    return left == 1 ? only : NULL;
}

/* The counterpart of a reader that reads something else in that place, found by what else it reads. */
static const gr_source *strayed(const layers *l, const reader *r)
{
    const gr_source *a = &l->g->sources[r->source], *b;
    for (uint32_t k = 0; k < a->nin; k++) {
        const gr_value *v = k != r->slot && varying(l, a->in[k]) ? l->other[a->in[k]->id] : NULL;
        if (v && (b = counterpart(l, &(reader){r->source, k}, v)) && !strcmp(a->op, b->op)) return b;
    }
    return NULL;
}

static void look_on(layers *l, const gr_source *a, const gr_source *b)
{
    const gr_value *va = made(a), *vb = made(b);
    if (!va || !vb || l->root[va->id]) return;
    if (l->level[va->id] < l->level[made(&l->g->sources[l->pairs[0].a])->id]) return;
    size_t na = count_readers(l, va), nb = count_readers(l, vb);
    if (na != nb && !l->root[vb->id]) differ(l, (difference){OTHER_READERS, {a, b}, {NULL, NULL}, 0, 0, NULL});
    for (uint32_t i = l->first[va->id]; i < l->first[va->id + 1] && i < l->first[va->id] + MAX_READERS; i++) {
        const gr_source *r = &l->g->sources[l->readers[i].source];
        if (!r->node || l->mark[l->readers[i].source] == l->walk || is(r, "Shape")) continue;
        const gr_source *s = counterpart(l, &l->readers[i], vb);
        if (!s && (s = strayed(l, &l->readers[i]))) {
            pair(l, r, s);
            l->stray = l->stray ? l->stray : s;
            continue;
        }
        if (s) pair_makers(l, (difference){OTHER_OP, {a, b}, {NULL, NULL}, 0, 0, NULL}, made(r), made(s));
    }
}

static void compare_nodes(layers *l, const gr_source *a, const gr_source *b, bool *same)
{
    difference d = {OTHER_OP, {a, b}, {NULL, NULL}, 0, 0, NULL};
    *same = !strcmp(a->op, b->op) && a->nin == b->nin;
    if (!*same) {
        differ(l, d);
        *same = a->nin == b->nin;
        return;
    }
    d.attr = other_attr(a->node->attrs, b->node->attrs);
    if (!d.attr) d.attr = other_attr(b->node->attrs, a->node->attrs);
    d.what = d.attr ? OTHER_ATTR : OTHER_TYPE;
    const gr_value *va = made(a), *vb = made(b);
    if (d.attr || (va && vb && !same_type(&va->type, &vb->type))) differ(l, d);
}

/* Walk layers x and y; true: they are alike. Differences are in l->found. */
static bool alike(layers *l, size_t x, size_t y)
{
    const gr_graph *g = l->g;
    const uint32_t least = l->level[made(&g->sources[l->anchors[x]])->id];
    l->walk++;
    l->npairs = l->nfound = 0;
    l->too_many = false;
    l->stray = NULL;
    l->unfused[0] = l->unfused[1] = 0;
    memset(l->other, 0, (g->nvalues + 1) * sizeof *l->other);
    pair(l, &g->sources[l->anchors[x]], &g->sources[l->anchors[y]]);
    size_t back = 0;
    for (; back < l->npairs; back++) {
        const gr_source *a = &g->sources[l->pairs[back].a], *b = &g->sources[l->pairs[back].b];
        bool same;
        compare_nodes(l, a, b, &same);
        if (same) look_back(l, a, b, 0);
    }
    for (size_t on = 0; on < l->npairs; on++) {
        const gr_source *a = &g->sources[l->pairs[on].a], *b = &g->sources[l->pairs[on].b];
        bool same = on < back;
        if (!same) compare_nodes(l, a, b, &same);
        if (on >= back && same) look_back(l, a, b, least);
        look_on(l, a, b);
    }
    return l->nfound == 0;
}

/* ---- telling ---- */

static const char *label(const gr_source *s)
{
    const gr_value *v = made(s);
    return *s->name || !v ? s->name : v->name;
}

/* The sentence, from the point of view of the layer that is odd. */
static const char *tell(const layers *l, const difference *d, int odd)
{
    const gr_source *s = d->node[odd], *o = d->node[!odd];
    const gr_value *v = s->nin > d->slot ? s->in[d->slot] : NULL, *w = o->nin > d->slot ? o->in[d->slot] : NULL;
    double x = 0, y = 0;
    switch (d->what) {
    case OTHER_OP:
        return gr_arena_printf(l->arena, "'%s' is a %s, where '%s' in another layer is a %s", gr_show(label(s)), s->op,
                               gr_show(label(o)), o->op);
    case INSERTED:
        return gr_arena_printf(l->arena,
                               "'%s' (%s) stands between '%s' and '%s', where nothing does in the other layer",
                               gr_show(label(d->node[d->side])), d->node[d->side]->op, gr_show(label(d->where[1])),
                               gr_show(label(d->where[0])));
    case OTHER_ATTR:
        return gr_arena_printf(l->arena, "'%s' (%s) has another %s than '%s' in another layer", gr_show(label(s)),
                               s->op, gr_show(d->attr), gr_show(label(o)));
    case OTHER_NUMBER:
        gr_scalar_of(v, &x), gr_scalar_of(w, &y);
        return gr_arena_printf(l->arena, "'%s' (%s) takes the number %g, where '%s' in another layer takes %g",
                               gr_show(label(s)), s->op, x, gr_show(label(o)), y);
    case OTHER_WEIGHT:
        return gr_arena_printf(l->arena, "'%s' (%s) reads %s, where '%s' in another layer reads %s", gr_show(label(s)),
                               s->op, gr_type_text(l->g->syms, l->scratch, &v->type), gr_show(label(o)),
                               gr_type_text(l->g->syms, l->scratch, &w->type));
    case OTHER_VALUE:
        return gr_arena_printf(l->arena, "'%s' (%s) reads '%s', which is not what '%s' in another layer reads there",
                               gr_show(label(s)), s->op, v ? gr_show(v->name) : "", gr_show(label(o)));
    case OTHER_READERS:
        return gr_arena_printf(l->arena, "'%s' (%s) is read by %zu nodes, '%s' in another layer by %zu",
                               gr_show(label(s)), s->op, count_readers(l, made(s)), gr_show(label(o)),
                               count_readers(l, made(o)));
    default:
        return gr_arena_printf(l->arena, "'%s' (%s) makes %s, where '%s' in another layer makes %s", gr_show(label(s)),
                               s->op, gr_type_text(l->g->syms, l->scratch, &made(s)->type), gr_show(label(o)),
                               gr_type_text(l->g->syms, l->scratch, &made(o)->type));
    }
}

/* What follows from a difference (types, readers) is told only if nothing else is. */
static gr_status tell_all(layers *l, int odd, gr_near_miss **list, size_t *n, size_t *cap, gr_err *err)
{
    int told = 0;
    const kind last[] = {OTHER_VALUE, OTHER_READERS, OTHER_TYPE};
    for (size_t pass = 0; pass < sizeof last / sizeof *last && !told; pass++)
        for (size_t i = 0; i < l->nfound && told < MAX_TOLD; i++) {
            const difference *d = &l->found[i];
            if (d->what > last[pass]) continue;
            const gr_source *culprit = d->what == INSERTED ? d->node[d->side] : d->node[odd];
            const char *why = tell(l, d, odd);
            gr_near_miss *m = why ? GR_PUSH(l->arena, *list, *n, *cap) : NULL;
            if (!m) return gr_nomem(err);
            *m = (gr_near_miss){"layers", culprit->node, culprit->node, why, 0};
            told++;
        }
    return GR_OK;
}

/* The one layer that differs from layer x while all others do not; l->n: there is none, or more than one. */
static size_t odd_against(layers *l, size_t x, bool *all)
{
    size_t odd = l->n, count = 0;
    for (size_t y = 0; y < l->n; y++) {
        if (y == x || alike(l, x, y)) continue;
        odd = y;
        count++;
    }
    *all = count == l->n - 1;
    return count == 1 ? odd : l->n;
}

/* Where a layer lacks a reader, it is seen from the other one who that is, and that it reads something else there. */
static bool reads_elsewhere(layers *l, size_t x, size_t y)
{
    size_t kept = 0;
    alike(l, x, y);
    for (size_t i = 0; i < l->nfound; i++)
        if (l->found[i].what == OTHER_VALUE && l->found[i].node[1] == l->stray) l->found[kept++] = l->found[i];
    l->nfound = kept;
    return kept != 0;
}

static gr_status compare_layers(layers *l, gr_near_miss **list, size_t *n, size_t *cap, gr_err *err)
{
    bool all;
    int side = 1;
    size_t x = 0, odd = odd_against(l, 0, &all);
    if (l->n > 2 && all) { /* the first differs from all others, perhaps from each alone */
        x = 1;
        if (odd_against(l, 1, &all) != 0) return GR_OK;
        odd = 0;
    }
    if (odd == l->n) return GR_OK;
    alike(l, x, odd);
    if (l->too_many) return GR_OK;
    bool only_follows = true;
    for (size_t i = 0; i < l->nfound; i++) only_follows &= l->found[i].what >= OTHER_READERS;
    if (only_follows && reads_elsewhere(l, odd, x))
        side = 0;
    else
        alike(l, x, odd);
    if (l->n == 2 && side) side = l->unfused[0] > l->unfused[1] ? 0 : 1;
    return tell_all(l, side, list, n, cap, err);
}

gr_status gr_compare_layers(const gr_graph *g, const gr_provenance *p, gr_arena *arena, gr_arena *scratch,
                            gr_near_miss **list, size_t *n, size_t *cap, gr_err *err)
{
    layers *l = GR_NEW(scratch, layers);
    if (!l) return gr_nomem(err);
    l->g = g, l->arena = arena, l->scratch = scratch;
    GR_TRY(index_sources(l, err));
    find_anchors(l);
    if (l->n < 2 || l->many) return GR_OK;
    l->root = GR_NEWS(scratch, g->nvalues + 1, bool);
    l->inside = GR_NEWS(scratch, g->nvalues + 1, bool);
    l->other = GR_NEWS(scratch, g->nvalues + 1, const gr_value *);
    l->mark = GR_NEWS(scratch, g->nsources + 1, uint32_t);
    l->left = GR_NEWS(scratch, g->nsources + 1, bool);
    if (!l->root || !l->inside || !l->other || !l->mark || !l->left) return gr_nomem(err);
    for (size_t i = 0; i < p->count; i++)
        if (p->items[i].graph == g) l->left[p->items[i].source - g->sources] = p->items[i].fate == GR_FATE_EXECUTED;
    for (uint32_t i = 0; i < l->n; i++) GR_TRY(find_roots(l, i, err));
    find_insides(l);
    return compare_layers(l, list, n, cap, err);
}
