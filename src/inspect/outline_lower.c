/* SPDX-License-Identifier: Apache-2.0
 *
 * An outline as a document: the graph's own document with the nodes of each part moved into a function.
 */
#include "graph/lower.h"
#include "outline.h"
#include <ctype.h>

enum { INSIDE_ELEMENTS = 16 }; /* lists of at most so many integers stand in the function that reads them */

#define DOMAIN_NAME "model"

typedef struct lowering {
    const gr_outline *o;
    gr_doc *doc;
    gr_arena *arena;
    const gr_node **origins;       /* by node of the document */
    struct made {
        size_t first, count;
    } *made;                       /* by node: what it is in the document */
    gr_doc_nodes whole;            /* the document's as they were */
    const gr_doc_value **declared; /* by value: its type in the document, if there is one */
    const gr_node **nodes, **by_id; /* in the graph's order; by their ids */
    size_t count;
    bool *wanted;                  /* by value: the main graph still needs it */
} lowering;

static bool stands_inside(const gr_value *v)
{
    const gr_tensor *k = v->konst;
    if (k->dtype == GR_STRING || !k->data) return false;
    return gr_dtype_is_float(k->dtype) ? k->rank == 0 : k->elements <= INSIDE_ELEMENTS;
}

/* ---- functions ---- */

static bool constant_node(lowering *l, const gr_value *v, gr_doc_node *out)
{
    const char **name = GR_NEW(l->arena, const char *);
    gr_attr *attr = GR_NEW(l->arena, gr_attr);
    gr_doc_tensor *t = GR_NEW(l->arena, gr_doc_tensor);
    if (!name || !attr || !t) return false;
    const gr_tensor *k = v->konst;
    *name = v->name;
    *t = (gr_doc_tensor){.name = "", .dtype = k->dtype, .rank = k->rank, .dims = k->dims, .elements = k->elements,
                         .data = k->data, .size = k->size, .mapped = k->mapped};
    *attr = (gr_attr){.name = "value", .type = GR_ATTR_TENSOR, .t = t};
    *out = (gr_doc_node){.name = "", .op_type = "Constant", .domain = "", .overload = "", .out = {1, name},
                         .attrs = {1, attr}};
    return true;
}

static bool names_of(lowering *l, size_t n, const gr_value **values, size_t more, const gr_value **weights,
                     gr_doc_names *out)
{
    out->items = GR_NEWS(l->arena, n + more, const char *);
    out->count = 0;
    if (!out->items) return false;
    for (size_t i = 0; i < n; i++) out->items[out->count++] = values[i]->name;
    for (size_t i = 0; i < more; i++)
        if (!stands_inside(weights[i])) out->items[out->count++] = weights[i]->name;
    return true;
}

static void put_node(const lowering *l, const gr_node *n, gr_doc_nodes *out)
{
    const struct made *m = &l->made[n->id];
    memcpy(out->items + out->count, l->whole.items + m->first, m->count * sizeof *out->items);
    out->count += m->count;
}

static bool fill_body(lowering *l, const gr_part *p, gr_doc_function *f)
{
    size_t cap = 0, room = p->nweights;
    for (size_t i = 0; i < p->nnodes; i++) room += l->made[p->nodes[i]->id].count;
    f->nodes.items = GR_NEWS(l->arena, room, gr_doc_node);
    if (!f->nodes.items) return false;
    for (size_t i = 0; i < p->nweights; i++)
        if (stands_inside(p->weights[i]) && !constant_node(l, p->weights[i], &f->nodes.items[f->nodes.count++])) return false;
    for (size_t i = 0; i < p->nnodes; i++) {
        put_node(l, p->nodes[i], &f->nodes);
        for (uint32_t k = 0; k < p->nodes[i]->nout; k++) {
            const gr_value *v = p->nodes[i]->out[k];
            if (!v || !l->declared[v->id]) continue;
            gr_doc_value *info = GR_PUSH(l->arena, f->info.items, f->info.count, cap);
            if (!info) return false;
            *info = *l->declared[v->id];
        }
    }
    return true;
}

static const char *function_name(lowering *l, const char *part)
{
    char *name = gr_arena_strdup(l->arena, part);
    for (char *c = name; c && *c; c++)
        if (!isalnum((unsigned char)*c)) *c = '_';
    return name;
}

static bool make_call(lowering *l, const gr_part *p, gr_doc_node *call)
{
    gr_doc_function *f = &l->doc->functions[l->doc->nfunctions++];
    *f = (gr_doc_function){.name = function_name(l, p->name), .domain = DOMAIN_NAME, .overload = "",
                           .opsets = l->doc->opsets};
    if (!f->name || !names_of(l, p->ninputs, p->inputs, p->nweights, p->weights, &f->in) ||
        !names_of(l, p->noutputs, p->outputs, 0, NULL, &f->out) || !fill_body(l, p, f))
        return false;
    for (size_t i = 0; i < p->noutputs; i++) l->wanted[p->outputs[i]->id] = true;
    for (size_t i = 0; i < p->nweights; i++) l->wanted[p->weights[i]->id] |= !stands_inside(p->weights[i]);
    const char *name = gr_arena_strdup(l->arena, p->name);
    *call = (gr_doc_node){.name = name, .op_type = f->name, .domain = DOMAIN_NAME, .overload = "", .in = f->in,
                          .out = f->out};
    return name != NULL;
}

/* ---- the main graph ---- */

/* What runs as one: a part, or a node in the open. */
typedef struct units {
    size_t n;
    uint32_t *waits; /* for so many others */
    size_t *ready;
} units;

static size_t unit_of(const lowering *l, const gr_node *n)
{
    const gr_part *p = l->o->part_of[n->id];
    return p ? (size_t)(p - l->o->parts) : l->o->nparts + n->id;
}

/* Count, or count down, what each reader of a unit's results waits for. */
static void settle(const lowering *l, units *u, const gr_node *n, size_t *tail, bool count)
{
    size_t self = unit_of(l, n);
    for (uint32_t o = 0; o < n->nout; o++)
        for (const gr_use *use = n->out[o] ? n->out[o]->uses : NULL; use; use = use->next) {
            size_t reader = unit_of(l, use->user);
            if (reader == self) continue;
            if (count)
                u->waits[reader]++;
            else if (!--u->waits[reader])
                u->ready[(*tail)++] = reader;
        }
}

/* Units in an order in which each finds what it needs. Parts that wait for each other are left out. */
static bool order_units(const lowering *l, units *u)
{
    size_t all = l->o->nparts + l->o->graph->nnodes, tail = 0, head = 0;
    u->waits = GR_NEWS(l->arena, all, uint32_t);
    u->ready = GR_NEWS(l->arena, all, size_t);
    bool *seen = GR_NEWS(l->arena, all, bool);
    if (!u->waits || !u->ready || !seen) return false;
    for (size_t i = 0; i < l->count; i++) settle(l, u, l->nodes[i], &tail, true);
    for (size_t i = 0; i < l->count; i++) {
        size_t unit = unit_of(l, l->nodes[i]);
        if (!seen[unit] && !u->waits[unit]) u->ready[tail++] = unit;
        seen[unit] = true;
    }
    for (; head < tail; head++) {
        size_t unit = u->ready[head];
        if (unit >= l->o->nparts)
            settle(l, u, l->by_id[unit - l->o->nparts], &tail, false);
        else
            for (size_t i = 0; i < l->o->parts[unit].nnodes; i++) settle(l, u, l->o->parts[unit].nodes[i], &tail, false);
    }
    u->n = tail;
    return true;
}

static void emit(lowering *l, const gr_node *n, gr_doc_nodes *out)
{
    put_node(l, n, out);
    for (uint32_t i = 0; i < n->nin; i++)
        if (gr_in(n, i)) l->wanted[gr_in(n, i)->id] = true;
    for (uint32_t i = 0; i < n->nout; i++)
        if (n->out[i]) l->wanted[n->out[i]->id] = true;
}

/* Parts that wait for each other, which no transformer has, are left as they were: node by node in the graph's order. */
static bool main_nodes(lowering *l)
{
    units u = {0};
    gr_doc_nodes old = l->whole, *out = &l->doc->graph->nodes;
    bool *done = GR_NEWS(l->arena, l->o->graph->nnodes, bool);
    *out = (gr_doc_nodes){0, GR_NEWS(l->arena, old.count + l->o->nparts, gr_doc_node)};
    l->doc->functions = GR_NEWS(l->arena, l->o->nparts, gr_doc_function);
    if (!done || !out->items || !l->doc->functions || !order_units(l, &u)) return false;
    for (size_t i = 0; i < old.count; i++)
        if (!l->origins[i] && gr_lower_widened(l->o->graph, &old.items[i])) out->items[out->count++] = old.items[i];
    for (size_t k = 0; k < u.n; k++) {
        const gr_part *p = u.ready[k] < l->o->nparts ? &l->o->parts[u.ready[k]] : NULL;
        const gr_node *n = p ? NULL : l->by_id[u.ready[k] - l->o->nparts];
        if (p && !make_call(l, p, &out->items[out->count++])) return false;
        for (size_t i = 0; p && i < p->nnodes; i++) done[p->nodes[i]->id] = true;
        if (n) emit(l, n, out);
        if (n) done[n->id] = true;
    }
    for (size_t i = 0; i < l->count; i++)
        if (!done[l->nodes[i]->id]) emit(l, l->nodes[i], out);
    for (size_t i = 0; i < old.count; i++)
        if (!l->origins[i] && !gr_lower_widened(l->o->graph, &old.items[i])) out->items[out->count++] = old.items[i];
    return true;
}

static bool is_wanted(const void *user, const gr_value *v)
{
    const lowering *l = user;
    return v->is_output || l->wanted[v->id];
}

/* Constants and types of values that only functions know leave the main graph. The document's lists are in the order in
 * which gr_graph_lower met them. */
static void drop_unwanted(lowering *l)
{
    gr_doc_graph *d = l->doc->graph;
    size_t kept = 0;
    gr_lower_keep(l->o->graph, d, is_wanted, l);
    for (size_t i = 0; i < d->info.count; i++) {
        const gr_value *v = gr_graph_find(l->o->graph, d->info.items[i].name);
        if (!v || l->wanted[v->id]) d->info.items[kept++] = d->info.items[i];
    }
    d->info.count = kept;
}

static bool lower(lowering *l)
{
    const gr_graph *g = l->o->graph;
    l->made = GR_NEWS(l->arena, g->nnodes, struct made);
    l->declared = GR_NEWS(l->arena, g->nvalues, const gr_doc_value *);
    l->wanted = GR_NEWS(l->arena, g->nvalues, bool);
    l->nodes = GR_NEWS(l->arena, l->doc->graph->nodes.count, const gr_node *);
    l->by_id = GR_NEWS(l->arena, g->nnodes, const gr_node *);
    if (!l->made || !l->declared || !l->wanted || !l->nodes || !l->by_id) return false;
    for (const gr_node *n = g->first; n; n = n->next) {
        l->by_id[n->id] = l->nodes[l->count++] = n;
    }
    for (size_t i = 0; i < l->whole.count; i++) {
        if (!l->origins[i]) continue;
        struct made *m = &l->made[l->origins[i]->id];
        if (!m->count) m->first = i;
        m->count++;
    }
    for (size_t i = 0; i < l->doc->graph->info.count; i++) {
        const gr_value *v = gr_graph_find(g, l->doc->graph->info.items[i].name);
        gr_doc_value *copy = v ? GR_NEW(l->arena, gr_doc_value) : NULL;
        if (!v) continue;
        if (!copy) return false;
        *copy = l->doc->graph->info.items[i];
        l->declared[v->id] = copy;
    }
    if (!main_nodes(l)) return false;
    drop_unwanted(l);
    return true;
}

gr_status gr_outline_lower(const gr_outline *o, gr_doc **out, gr_err *err)
{
    lowering l = {.o = o};
    const gr_lower_options options = {.body = gr_lower_missing, .origins = &l.origins};
    GR_TRY(gr_graph_lower_as(o->graph, &options, &l.doc, err));
    l.whole = l.doc->graph->nodes;
    l.arena = l.doc->arena;
    gr_doc_opset *opsets = GR_NEWS(l.arena, l.doc->opsets.count + 1, gr_doc_opset);
    if (!opsets || !lower(&l)) {
        gr_doc_free(l.doc);
        return gr_nomem(err);
    }
    memcpy(opsets, l.doc->opsets.items, l.doc->opsets.count * sizeof *opsets);
    opsets[l.doc->opsets.count] = (gr_doc_opset){DOMAIN_NAME, 1};
    l.doc->opsets = (gr_doc_opsets){l.doc->opsets.count + 1, opsets};
    *out = l.doc;
    return GR_OK;
}
