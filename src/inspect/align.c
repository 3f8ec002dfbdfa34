/* SPDX-License-Identifier: Apache-2.0
 *
 * Three hashes describe a value. `exact`: all that leads to it, contents of constants included; equal hashes mean equal
 * values. `shape`: the same with dims in place of contents. `back`: all that follows from it, up to the outputs. One
 * difference between two graphs leaves `exact` equal before it and `back` equal behind it, so these two align
 * everything but the difference itself; several differences leave gaps, which are filled by propagation along edges.
 */
#include "align.h"
#include "hash.h"
#include "ops/op.h"
#include <stdlib.h>

enum { MANY_READERS = 64, MANY_OUTPUTS = 4096 };

typedef struct side {
    const gr_graph *g;
    const uint64_t *content, *attrs; /* by value, by node */
    uint64_t *label;                 /* of a node: operator, attributes, dims of constants */
    uint64_t *exact, *shape, *back;
    const gr_value **values; /* made by nodes, in order */
    size_t count;
    const gr_value **other; /* counterparts */
    const gr_node **nodes;  /* likewise */
} side;

typedef struct pair {
    const gr_value *a, *b;
} pair;

typedef struct aligner {
    side a, b;
    gr_arena *arena;
    pair *queue; /* all pairs in the order of their finding */
    size_t count, cap, done;
    bool failed;
} aligner;

/* ---- hashes ---- */

static uint64_t op_hash(const gr_node *n)
{
    return gr_hash_mix(gr_hash_text(n->op->name), gr_hash_text(n->op->domain));
}

static uint64_t dims_hash(const gr_tensor *t)
{
    uint64_t h = gr_hash_mix((uint64_t)t->dtype, (uint64_t)t->rank);
    for (int i = 0; i < t->rank; i++) h = gr_hash_mix(h, (uint64_t)t->dims[i]);
    return h;
}

static bool commutes(const gr_node *n) { return (n->op->flags & GR_OP_COMMUTES) && n->nin == 2; }

static bool prepare_side(side *s, gr_arena *arena, int threads)
{
    const gr_graph *g = s->g;
    uint64_t *attrs = GR_NEWS(arena, g->nnodes, uint64_t);
    s->content = gr_hash_constants(g, arena, threads);
    s->attrs = attrs;
    s->label = GR_NEWS(arena, g->nnodes, uint64_t);
    s->exact = GR_NEWS(arena, g->nvalues, uint64_t);
    s->shape = GR_NEWS(arena, g->nvalues, uint64_t);
    s->back = GR_NEWS(arena, g->nvalues, uint64_t);
    s->values = GR_NEWS(arena, g->nvalues, const gr_value *);
    s->other = GR_NEWS(arena, g->nvalues, const gr_value *);
    s->nodes = GR_NEWS(arena, g->nnodes, const gr_node *);
    if (!s->content || !attrs || !s->label || !s->exact || !s->shape || !s->back || !s->values || !s->other ||
        !s->nodes)
        return false;
    GR_FOR_NODES(n, g)
    {
        attrs[n->id] = gr_hash_attrs(n->attrs);
        uint64_t h = gr_hash_mix(op_hash(n), attrs[n->id]), sum = 0;
        for (uint32_t i = 0; i < n->nin; i++) {
            const gr_value *v = gr_in(n, i);
            uint64_t one = !v ? 1 : gr_is_leaf(v) ? dims_hash(v->konst) : 2;
            sum += commutes(n) ? one : gr_hash_mix(i, one);
        }
        s->label[n->id] = gr_hash_mix(h, sum);
        for (uint32_t i = 0; i < n->nout; i++)
            if (n->out[i]) s->values[s->count++] = n->out[i];
    }
    return true;
}

static void hash_forward(side *s)
{
    GR_FOR_NODES(n, s->g)
    {
        uint64_t exact = gr_hash_mix(op_hash(n), s->attrs[n->id]), shape = exact, sum_exact = 0, sum_shape = 0;
        for (uint32_t i = 0; i < n->nin; i++) {
            const gr_value *v = gr_in(n, i);
            uint64_t e = !v ? 1 : gr_is_leaf(v) ? s->content[v->id] : s->exact[v->id];
            uint64_t d = !v ? 1 : gr_is_leaf(v) ? dims_hash(v->konst) : s->shape[v->id];
            sum_exact += commutes(n) ? e * e : gr_hash_mix(i, e);
            sum_shape += commutes(n) ? d * d : gr_hash_mix(i, d);
        }
        exact = gr_hash_mix(exact, sum_exact), shape = gr_hash_mix(shape, sum_shape);
        for (uint32_t o = 0; o < n->nout; o++) {
            if (!n->out[o]) continue;
            s->exact[n->out[o]->id] = gr_hash_mix(exact, o);
            s->shape[n->out[o]->id] = gr_hash_mix(shape, o);
        }
    }
}

/* Outputs have put their keys into `back` before. */
static void hash_backward(side *s)
{
    for (const gr_node *n = s->g->last; n; n = n->prev) {
        uint64_t h = s->label[n->id];
        for (uint32_t o = 0; o < n->nout; o++)
            if (n->out[o]) h = gr_hash_mix(h, gr_hash_mix(o, s->back[n->out[o]->id]));
        for (uint32_t i = 0; i < n->nin; i++) {
            const gr_value *v = gr_in(n, i);
            if (v && v->graph == s->g) s->back[v->id] += gr_hash_mix(h, commutes(n) ? 0 : i);
        }
    }
}

/* ---- pairs ---- */

static bool same_op(const gr_node *a, const gr_node *b)
{
    return a && b && a->nin == b->nin && !strcmp(a->op->name, b->op->name) &&
           !strcmp(a->op->domain ? a->op->domain : "", b->op->domain ? b->op->domain : "");
}

static bool may_be(const gr_value *a, const gr_value *b)
{
    const gr_type *s = &a->type, *t = &b->type;
    if (gr_is_leaf(a) != gr_is_leaf(b) || a->is_input != b->is_input) return false;
    if (same_op(a->def, b->def)) return true; /* whatever a fault has made of the type */
    if (s->kind && t->kind && s->kind != t->kind) return false;
    if (s->dtype && t->dtype && s->dtype != t->dtype && (!gr_dtype_is_float(s->dtype) || !gr_dtype_is_float(t->dtype)))
        return false;
    return s->rank < 0 || t->rank < 0 || s->rank == t->rank;
}

static int output_index(const gr_value *v)
{
    for (uint32_t o = 0; v->def && o < v->def->nout; o++)
        if (v->def->out[o] == v) return (int)o;
    return -1;
}

static void join(aligner *l, const gr_value *a, const gr_value *b)
{
    if (l->a.other[a->id] || l->b.other[b->id]) return;
    l->a.other[a->id] = b;
    l->b.other[b->id] = a;
    pair *p = GR_PUSH(l->arena, l->queue, l->count, l->cap);
    if (p)
        *p = (pair){a, b};
    else
        l->failed = true;
}

static void join_values(aligner *l, const gr_value *a, const gr_value *b)
{
    const gr_node *m = a->def, *n = b->def;
    if (l->a.other[a->id] || l->b.other[b->id] || !may_be(a, b)) return;
    join(l, a, b);
    if (!same_op(m, n) || l->a.nodes[m->id] || l->b.nodes[n->id] || output_index(a) != output_index(b)) return;
    l->a.nodes[m->id] = n;
    l->b.nodes[n->id] = m;
    for (uint32_t o = 0; o < m->nout && o < n->nout; o++)
        if (m->out[o] && n->out[o]) join(l, m->out[o], n->out[o]);
}

/* ---- pairs by equal keys ---- */

typedef struct item {
    uint64_t key, name;
    size_t at;
    const gr_value *v;
} item;

static int by_key(const void *x, const void *y)
{
    const item *a = x, *b = y;
    if (a->key != b->key) return a->key < b->key ? -1 : 1;
    if (a->name != b->name) return a->name < b->name ? -1 : 1;
    return (a->at > b->at) - (a->at < b->at);
}

typedef uint64_t (*key_fn)(const side *s, const gr_value *v);

static item *collect(aligner *l, const side *s, key_fn key, bool names, size_t *n)
{
    item *items = GR_NEWS(l->arena, s->count, item);
    *n = 0;
    if (!items) {
        l->failed = true;
        return NULL;
    }
    for (size_t i = 0; i < s->count; i++) {
        const gr_value *v = s->values[i];
        if (s->other[v->id]) continue;
        items[(*n)++] = (item){key(s, v), names ? gr_hash_text(v->name) : 0, i, v};
    }
    qsort(items, *n, sizeof *items, by_key);
    return items;
}

/* Join values of equal keys. With `names` only those whose names are equal too; without, in their order, and where the
 * numbers differ only if the key says that all are the same. */
static void match_keys(aligner *l, key_fn key, bool names, bool uneven)
{
    size_t na, nb, i = 0, j = 0;
    item *a = collect(l, &l->a, key, names, &na), *b = collect(l, &l->b, key, names, &nb);
    while (a && b && i < na && j < nb) {
        item x = a[i], y = b[j];
        x.at = y.at = 0;
        int c = by_key(&x, &y);
        if (c) {
            i += c<0, j += c> 0;
            continue;
        }
        size_t p = i, q = j;
        while (p < na && a[p].key == x.key && a[p].name == x.name) p++;
        while (q < nb && b[q].key == x.key && b[q].name == x.name) q++;
        for (size_t k = 0; (uneven || p - i == q - j) && k < p - i && k < q - j; k++)
            join_values(l, a[i + k].v, b[j + k].v);
        i = p, j = q;
    }
}

static uint64_t key_exact(const side *s, const gr_value *v) { return s->exact[v->id]; }
/* Of several equal values the one that is used alike. */
static uint64_t key_same(const side *s, const gr_value *v) { return gr_hash_mix(s->exact[v->id], s->back[v->id]); }
static uint64_t key_around(const side *s, const gr_value *v) { return gr_hash_mix(s->shape[v->id], s->back[v->id]); }
static uint64_t key_back(const side *s, const gr_value *v)
{
    return gr_hash_mix(gr_hash_mix(op_hash(v->def), v->def->nin), s->back[v->id]);
}
static uint64_t key_back_alone(const side *s, const gr_value *v) { return s->back[v->id]; }
static uint64_t key_name(const side *s, const gr_value *v)
{
    (void)s;
    return op_hash(v->def);
}

/* ---- propagation ---- */

static bool contradicts(const aligner *l, const gr_node *a, const gr_node *b)
{
    for (uint32_t i = 0; i < a->nin && !commutes(a); i++) {
        const gr_value *x = gr_in(a, i), *y = gr_in(b, i);
        if (!x != !y) return true;
        if (x && x->graph == l->a.g && l->a.other[x->id] && l->a.other[x->id] != y) return true;
    }
    return false;
}

static bool same_weights(const aligner *l, const gr_node *a, const gr_node *b)
{
    for (uint32_t i = 0; i < a->nin; i++) {
        const gr_value *x = gr_in(a, i), *y = gr_in(b, i);
        if (x && y && gr_is_leaf(x) && gr_is_leaf(y) && x->konst->elements > 1 &&
            l->a.content[x->id] == l->b.content[y->id])
            return true;
    }
    return false;
}

/* How well node b fits as a's counterpart: 0 not at all. */
static int fitness(const aligner *l, const gr_use *u, const gr_use *w)
{
    const gr_node *a = u->user, *b = w->user;
    if (a->graph != l->a.g || b->graph != l->b.g || l->b.nodes[b->id] || !same_op(a, b)) return 0;
    if (!commutes(a) && u - a->in != w - b->in) return 0;
    if (contradicts(l, a, b)) return 0;
    return same_weights(l, a, b) ? 4 : l->a.label[a->id] == l->b.label[b->id] ? 2 : 1;
}

static void forward(aligner *l, const gr_value *a, const gr_value *b)
{
    if (a->nuses > MANY_READERS || b->nuses > MANY_READERS) return;
    for (const gr_use *u = a->uses; u; u = u->next) {
        const gr_use *best = NULL;
        int top = 0, ties = 0;
        if (u->user->graph != l->a.g || l->a.nodes[u->user->id]) continue;
        for (const gr_use *w = b->uses; w; w = w->next) {
            int f = fitness(l, u, w);
            if (f > top)
                top = f, best = w, ties = 1;
            else
                ties += f && f == top && w->user != best->user;
        }
        /* The same the other way round: another reader of a may have the better claim. */
        for (const gr_use *w = a->uses; best && w; w = w->next)
            if (w->user != u->user && w->user->graph == l->a.g && !l->a.nodes[w->user->id] &&
                fitness(l, w, best) >= top)
                ties++;
        if (best && ties == 1 && gr_out(u->user, 0) && gr_out(best->user, 0))
            join_values(l, u->user->out[0], best->user->out[0]);
    }
}

static bool open_pair(const aligner *l, const gr_value *a, const gr_value *b)
{
    return a && b && a->graph == l->a.g && b->graph == l->b.g && a->def && b->def && !l->a.other[a->id] &&
           !l->b.other[b->id];
}

static void backward(aligner *l, const gr_value *a, const gr_value *b, bool any_op)
{
    const gr_node *m = a->def, *n = b->def;
    if (!m || !n || l->a.nodes[m->id] != n) return;
    bool crossed = false;
    if (commutes(m)) {
        const gr_value *x0 = gr_in(m, 0), *y1 = gr_in(n, 1), *x1 = gr_in(m, 1), *y0 = gr_in(n, 0);
        bool straight = (x0 && y0 && l->a.other[x0->id] == y0) || (x1 && y1 && l->a.other[x1->id] == y1);
        crossed = (x0 && y1 && l->a.other[x0->id] == y1) || (x1 && y0 && l->a.other[x1->id] == y0);
        if (!straight && !crossed && x0 && y1 && x1 && y0) {
            bool same = same_op(x0->def, y0->def) || same_op(x1->def, y1->def);
            crossed = same_op(x0->def, y1->def) || same_op(x1->def, y0->def);
            if (same && crossed) return;
        }
    }
    for (uint32_t i = 0; i < m->nin; i++) {
        const gr_value *x = gr_in(m, i), *y = gr_in(n, crossed ? 1 - i : i);
        if (open_pair(l, x, y) && (any_op || same_op(x->def, y->def))) join_values(l, x, y);
    }
}

static void propagate(aligner *l, bool any_op)
{
    for (l->done = 0; l->done < l->count; l->done++) {
        pair p = l->queue[l->done];
        forward(l, p.a, p.b);
        backward(l, p.a, p.b, any_op);
    }
}

/* Whether values that are the same mostly have the same name, so that names may decide where structure doesn't. */
static bool names_hold(const aligner *l)
{
    size_t equal = 0;
    for (size_t i = 0; i < l->count; i++) equal += !strcmp(l->queue[i].a->name, l->queue[i].b->name);
    return equal * 10 > l->count * 9;
}

/* ---- what stands at the ends, and constants ---- */

static void match_inputs(aligner *l)
{
    const gr_graph *a = l->a.g, *b = l->b.g;
    for (size_t i = 0; i < b->ninputs; i++) {
        const gr_value *v = gr_graph_find(a, b->inputs[i]->name);
        if (v && v->is_input) join_values(l, v, b->inputs[i]);
    }
    for (size_t i = 0; i < b->ninputs && i < a->ninputs; i++) join_values(l, a->inputs[i], b->inputs[i]);
    for (size_t i = 0; i < a->ninputs; i++) {
        uint64_t key = gr_hash_mix(11, i);
        l->a.exact[a->inputs[i]->id] = l->a.shape[a->inputs[i]->id] = key;
        const gr_value *v = l->a.other[a->inputs[i]->id];
        if (v) l->b.exact[v->id] = l->b.shape[v->id] = key;
    }
    for (size_t i = 0; i < b->ninputs; i++) {
        const gr_value *v = b->inputs[i];
        if (!l->b.other[v->id]) l->b.exact[v->id] = l->b.shape[v->id] = gr_hash_mix(13, i);
    }
}

static int by_name(const void *x, const void *y) { return strcmp(*(const char *const *)x, *(const char *const *)y); }

/* Outputs that have a name in both graphs are told by it, others by their place. */
static bool key_outputs(aligner *l)
{
    const gr_graph *sides[2] = {l->a.g, l->b.g};
    uint64_t *back[2] = {l->a.back, l->b.back};
    for (int k = 0; k < 2; k++) {
        const gr_graph *g = sides[k], *o = sides[1 - k];
        const char **names = GR_NEWS(l->arena, o->noutputs, const char *);
        if (!names) return false;
        if (o->noutputs) memcpy(names, o->output_names, o->noutputs * sizeof *names);
        qsort(names, o->noutputs, sizeof *names, by_name);
        for (size_t i = 0; i < g->noutputs; i++) {
            bool named = bsearch(&g->output_names[i], names, o->noutputs, sizeof *names, by_name) != NULL;
            back[k][g->outputs[i]->id] += named ? gr_hash_text(g->output_names[i]) : gr_hash_mix(17, i);
        }
    }
    return true;
}

/* Outputs of one name are to be compared, whatever has become of them; those without, at one place. */
static void match_outputs(aligner *l)
{
    const gr_graph *a = l->a.g, *b = l->b.g;
    bool many = a->noutputs > MANY_OUTPUTS || b->noutputs > MANY_OUTPUTS; /* then by place alone */
    for (int by_place = many; by_place < 2; by_place++) {
        for (size_t i = 0, j = 0; i < b->noutputs; i++, j++) {
            size_t tried = 0;
            for (; !by_place && tried < a->noutputs && strcmp(a->output_names[j % a->noutputs], b->output_names[i]);
                 tried++)
                j++;
            if (tried == a->noutputs || (by_place && i >= a->noutputs)) continue;
            const gr_value *x = a->outputs[by_place ? i : j % a->noutputs], *y = b->outputs[i];
            if (x->def && y->def) join(l, x, y);
        }
    }
}

/* Constants of paired nodes, by content and then by place. */
static void match_constants(aligner *l)
{
    GR_FOR_NODES(n, l->b.g)
    {
        const gr_node *m = l->b.nodes[n->id];
        for (uint32_t i = 0; m && i < n->nin; i++) {
            const gr_value *x = gr_in(m, i), *y = gr_in(n, i);
            if (commutes(n) && x && y && gr_is_leaf(x) != gr_is_leaf(y)) x = gr_in(m, 1 - i);
            if (x && y && gr_is_leaf(x) && gr_is_leaf(y) && x->graph == l->a.g && y->graph == l->b.g) join(l, x, y);
        }
    }
}

static gr_align *finish(aligner *l)
{
    gr_align *out = GR_NEW(l->arena, gr_align);
    if (!out || l->failed) return NULL;
    *out = (gr_align){
        l->a.g,     l->b.g,     l->b.other, l->a.other, l->b.nodes, l->a.nodes, l->a.content, l->b.content, l->a.attrs,
        l->b.attrs, l->a.exact, l->b.exact, 0,          0,          0};
    GR_FOR_NODES(n, l->a.g) out->nodes_a++;
    GR_FOR_NODES(m, l->b.g) out->nodes_b++, out->paired += l->b.nodes[m->id] != NULL;
    return out;
}

gr_status gr_align_graphs(const gr_graph *a, const gr_graph *b, gr_arena *arena, int threads, gr_align **out,
                          gr_err *err)
{
    aligner l = {.a = {.g = a}, .b = {.g = b}, .arena = arena};
    if (!prepare_side(&l.a, arena, threads) || !prepare_side(&l.b, arena, threads) || !key_outputs(&l))
        return gr_nomem(err);
    match_inputs(&l);
    hash_forward(&l.a), hash_forward(&l.b);
    hash_backward(&l.a), hash_backward(&l.b);
    match_keys(&l, key_same, true, false);
    match_keys(&l, key_same, false, true);
    match_keys(&l, key_exact, true, true);
    match_keys(&l, key_exact, false, true);
    match_keys(&l, key_around, true, false);
    match_keys(&l, key_around, false, false);
    match_keys(&l, key_back, true, false);
    match_keys(&l, key_back, false, false);
    propagate(&l, false);
    if (names_hold(&l)) {
        match_keys(&l, key_name, true, false);
        propagate(&l, false);
    }
    match_outputs(&l);
    match_keys(&l, key_back_alone, false, false);
    propagate(&l, true);
    match_constants(&l);
    *out = finish(&l);
    return *out ? GR_OK : gr_nomem(err);
}

gr_status gr_align_names(const gr_graph *a, const gr_graph *b, gr_arena *arena, int threads, gr_align **out,
                         gr_err *err)
{
    aligner l = {.a = {.g = a}, .b = {.g = b}, .arena = arena};
    if (!prepare_side(&l.a, arena, threads) || !prepare_side(&l.b, arena, threads)) return gr_nomem(err);
    match_inputs(&l);
    for (size_t i = 0; i < l.b.count; i++) {
        const gr_value *v = gr_graph_find(a, l.b.values[i]->name);
        if (v && v->def) join_values(&l, v, l.b.values[i]);
    }
    for (size_t i = 0; i < a->noutputs && i < b->noutputs; i++) join_values(&l, a->outputs[i], b->outputs[i]);
    match_constants(&l);
    *out = finish(&l);
    return *out ? GR_OK : gr_nomem(err);
}
