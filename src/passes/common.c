/* SPDX-License-Identifier: Apache-2.0
 *
 * Common subexpressions: of nodes with the same operator, attributes and inputs (in either order where it commutes) one
 * is kept. Integers known to be the same symbols, constants with the same memory, and small ones with equal contents
 * count as the same input. Requires nothing.
 */
#include "ops/op.h"
#include "passes.h"

enum { SMALL = 1024 };
#define BASIS 14695981039346656037u

static uint64_t mix(uint64_t h, const void *data, size_t size)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < size; i++) h = (h ^ p[i]) * 1099511628211u;
    return h;
}

static bool is_tensor(const gr_value *v) { return v->konst && v->konst->kind == GR_KIND_TENSOR; }

/* Integers that are known as symbols: shapes that a file computes in several places. */
static bool is_symbolic(const gr_value *v) { return v->ivals && !v->konst && v->type.rank >= 0; }

static bool same_symbols(const gr_value *a, const gr_value *b)
{
    if (a->type.dtype != b->type.dtype || a->type.rank != b->type.rank || a->ivals->n != b->ivals->n) return false;
    for (int64_t i = 0; i < a->ivals->n; i++)
        if (!gr_dim_same(a->ivals->v[i], b->ivals->v[i])) return false;
    return a->type.rank <= 1;
}

static bool same_value(const gr_value *a, const gr_value *b)
{
    if (a == b) return true;
    if (!a || !b) return false;
    if (is_symbolic(a) && is_symbolic(b)) return same_symbols(a, b);
    if (!is_tensor(a) || !is_tensor(b)) return false;
    const gr_tensor *x = a->konst, *y = b->konst;
    if (x->dtype != y->dtype || x->rank != y->rank || x->size != y->size) return false;
    if (memcmp(x->dims, y->dims, (size_t)x->rank * sizeof *x->dims)) return false;
    return x->data == y->data || (x->size <= SMALL && !memcmp(x->data, y->data, x->size));
}

static bool same_attr(const gr_attr *a, const gr_attr *b)
{
    if (!b || a->type != b->type || a->count != b->count) return false;
    switch (a->type) {
    case GR_ATTR_INT: return a->i == b->i;
    case GR_ATTR_FLOAT: return !memcmp(&a->f, &b->f, sizeof a->f);
    case GR_ATTR_STRING: return a->s.size == b->s.size && !memcmp(a->s.data, b->s.data, a->s.size);
    case GR_ATTR_INTS: return !a->count || !memcmp(a->ints, b->ints, a->count * sizeof *a->ints);
    case GR_ATTR_FLOATS: return !a->count || !memcmp(a->floats, b->floats, a->count * sizeof *a->floats);
    default: return false;
    }
}

/* Attributes of other types are equal to none, so that their place says enough. */
static uint64_t hash_attr(const gr_attr *a)
{
    uint64_t h = mix(BASIS, a->name, strlen(a->name));
    switch (a->type) {
    case GR_ATTR_INT: return mix(h, &a->i, sizeof a->i);
    case GR_ATTR_FLOAT: return mix(h, &a->f, sizeof a->f);
    case GR_ATTR_STRING: return mix(h, a->s.data, a->s.size);
    case GR_ATTR_INTS: return mix(h, a->ints, a->count * sizeof *a->ints);
    case GR_ATTR_FLOATS: return mix(h, a->floats, a->count * sizeof *a->floats);
    default: return mix(h, &a, sizeof a);
    }
}

static bool commutes(const gr_node *n) { return (n->op->flags & GR_OP_COMMUTES) && n->nin == 2; }

static uint64_t hash_input(const gr_value *v)
{
    if (v && is_symbolic(v)) return mix(BASIS, &v->ivals->n, sizeof v->ivals->n);
    if (!v || !is_tensor(v)) return mix(BASIS, &v, sizeof v);
    const gr_tensor *t = v->konst;
    return t->size <= SMALL ? mix(BASIS, t->data, t->size) : mix(BASIS, &t->data, sizeof t->data);
}

static uint64_t hash_node(const gr_node *n)
{
    uint64_t h = mix(BASIS, &n->op, sizeof n->op), attrs = 0, either = 0;
    for (uint32_t i = 0; i < n->nin; i++) {
        uint64_t in = hash_input(gr_in(n, i));
        either += in;
        if (!commutes(n)) h = mix(h, &in, sizeof in);
    }
    if (commutes(n)) h = mix(h, &either, sizeof either);
    /* In any order. */
    for (size_t i = 0; i < n->attrs.count; i++) attrs += hash_attr(&n->attrs.items[i]);
    return mix(mix(h, &attrs, sizeof attrs), &n->nout, sizeof n->nout);
}

static bool same_inputs(const gr_node *a, const gr_node *b)
{
    if (commutes(a) && same_value(gr_in(a, 0), gr_in(b, 1)) && same_value(gr_in(a, 1), gr_in(b, 0))) return true;
    for (uint32_t i = 0; i < a->nin; i++)
        if (!same_value(gr_in(a, i), gr_in(b, i))) return false;
    return true;
}

static bool same_node(const gr_node *a, const gr_node *b)
{
    if (a->op != b->op || a->nin != b->nin || a->nout != b->nout || a->attrs.count != b->attrs.count) return false;
    if (!same_inputs(a, b)) return false;
    for (size_t i = 0; i < a->attrs.count; i++)
        if (!same_attr(&a->attrs.items[i], gr_attr_find(b->attrs, a->attrs.items[i].name))) return false;
    for (uint32_t i = 0; i < a->nout; i++)
        if (b->out[i] && !a->out[i]) return false;
    return true;
}

gr_status gr_pass_common(gr_graph *g, int *hits, gr_err *err)
{
    size_t cap = 64;
    while (cap < 2 * (size_t)g->nnodes) cap *= 2;
    gr_node **table = gr_calloc(cap, sizeof *table);
    if (!table) return gr_nomem(err);
    for (gr_node *n = g->first; n && !gr_pass_stopped(g); n = n->next) {
        if (n->nsubgraphs || (n->op->flags & GR_OP_IMPURE)) continue;
        size_t i = (size_t)hash_node(n) & (cap - 1);
        while (table[i] && !same_node(table[i], n)) i = (i + 1) & (cap - 1);
        if (!table[i]) {
            table[i] = n;
            continue;
        }
        for (uint32_t o = 0; o < n->nout; o++)
            if (n->out[o] && table[i]->out[o] != n->out[o]) gr_replace_uses(n->out[o], table[i]->out[o]);
        ++*hits;
    }
    gr_free(table);
    return GR_OK;
}
