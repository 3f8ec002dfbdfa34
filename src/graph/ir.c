/* SPDX-License-Identifier: Apache-2.0
 *
 * The graph: values, nodes, names, and the functions that change edges.
 */
#include "ir.h"
#include "names.h"
#include "ops/op.h"
#include <assert.h>
#include <stdio.h>

/* ---- building ---- */

gr_value *gr_graph_find(const gr_graph *g, const char *name)
{
    const gr_name *e = gr_names_find(g->names, name);
    return e ? e->value : NULL;
}


gr_graph *gr_graph_new(gr_arena *arena, gr_syms *syms, const char *name, gr_graph *parent)
{
    gr_graph *g = GR_NEW(arena, gr_graph);
    if (!g || !(g->names = GR_NEW(arena, gr_names))) return NULL;
    g->arena = arena;
    g->syms = syms;
    g->name = name ? name : "";
    g->parent = parent;
    g->opset = parent ? parent->opset : 0;
    return g;
}

/* The entry of `name`, or, if that is taken or empty, of one like it with a number; NULL: out of memory. */
static gr_name *free_name(gr_graph *g, const char *name)
{
    const char *stem = name && *name ? name : "value";
    gr_name *e = name && *name ? gr_names_add(g->names, g->arena, name) : NULL;
    if (name && *name && (!e || !e->value)) return e;
    /* The id makes a number that is rarely taken; then go on in growing steps, as numbers can be taken in rows. */
    for (uint32_t i = g->nvalues, step = 1;; i += step, step *= 2) {
        if (!step) step = 1;
        const char *made = gr_arena_printf(g->arena, "%s_%u", stem, i);
        e = made ? gr_names_add(g->names, g->arena, made) : NULL;
        if (!e || !e->value) return e;
    }
}

gr_value *gr_graph_value(gr_graph *g, const char *name)
{
    gr_value *v = GR_NEW(g->arena, gr_value);
    gr_name *e = v ? free_name(g, name) : NULL;
    if (!e) return NULL;
    e->value = v;
    v->graph = g;
    v->name = e->name;
    v->id = g->nvalues++;
    v->output_index = -1;
    v->type.rank = GR_RANK_UNKNOWN;
    return v;
}

gr_value *gr_graph_const(gr_graph *g, const char *name, gr_dtype dtype, int rank, const int64_t *dims, const void *data)
{
    gr_value *v = gr_graph_value(g, name);
    gr_tensor *t = GR_NEW(g->arena, gr_tensor);
    gr_dim *d = GR_NEWS(g->arena, rank > 0 ? (size_t)rank : 1, gr_dim);
    if (!v || !t || !d) return NULL;
    *t = (gr_tensor){.kind = GR_KIND_TENSOR, .dtype = dtype, .rank = rank, .is_const = true};
    for (int i = 0; i < rank; i++) {
        t->dims[i] = dims[i];
        d[i] = GR_DIM(dims[i]);
    }
    if (!gr_elements(rank, t->dims, &t->elements) || !gr_bytes(dtype, t->elements, &t->size)) return NULL;
    union {
        const void *in;
        void *out;
    } drop = {data}; /* constants are never written, but tensors of one type hold them and results */
    t->data = drop.out;
    size_t align = (size_t)(gr_dtype_bits(dtype) + 7) / 8;
    t->aligned = align < 2 || (uintptr_t)data % (align > 8 ? 8 : align) == 0;
    v->konst = t;
    v->type = gr_type_tensor(dtype, rank, d);
    return v;
}

gr_value *gr_graph_scalar(gr_graph *g, const char *name, float x)
{
    float *copy = GR_NEW(g->arena, float);
    if (!copy) return NULL;
    *copy = x;
    return gr_graph_const(g, name, GR_FLOAT, 0, NULL, copy);
}

gr_value *gr_graph_ints(gr_graph *g, const char *name, int64_t n, const int64_t *v)
{
    int64_t *copy = GR_NEWS(g->arena, (size_t)n, int64_t);
    if (!copy) return NULL;
    if (n) memcpy(copy, v, (size_t)n * sizeof *v);
    return gr_graph_const(g, name, GR_INT64, 1, &n, copy);
}

static void link_use(gr_use *u, gr_value *v)
{
    u->value = v;
    u->next = NULL;
    u->link = NULL;
    if (!v) return;
    u->next = v->uses;
    u->link = &v->uses;
    if (v->uses) v->uses->link = &u->next;
    v->uses = u;
    v->nuses++;
}

static void unlink_use(gr_use *u)
{
    if (!u->value) return;
    *u->link = u->next;
    if (u->next) u->next->link = u->link;
    u->value->nuses--;
    u->value = NULL;
    u->next = NULL;
    u->link = NULL;
}

gr_node *gr_graph_node(gr_graph *g, const gr_op *op, const void *params, gr_attrs attrs, uint32_t nin,
                       gr_value *const *in, uint32_t nout, const char *const *out_names)
{
    gr_node *n = GR_NEW(g->arena, gr_node);
    if (!n) return NULL;
    n->in = GR_NEWS(g->arena, nin, gr_use);
    n->out = GR_NEWS(g->arena, nout, gr_value *);
    if (!n->in || !n->out) return NULL;
    n->id = g->nnodes++;
    n->name = "";
    n->op = op;
    n->params = params;
    n->attrs = attrs;
    n->graph = g;
    n->nin = nin;
    n->nout = nout;
    for (uint32_t i = 0; i < nin; i++) {
        n->in[i].user = n;
        link_use(&n->in[i], in[i]);
    }
    for (uint32_t i = 0; i < nout; i++) {
        if (out_names && (!out_names[i] || !*out_names[i])) continue;
        gr_value *v = gr_graph_value(g, out_names ? out_names[i] : op->name);
        if (!v) return NULL;
        v->def = n;
        n->out[i] = v;
    }
    return n;
}

/* ---- changing edges ---- */

void gr_insert_before(gr_node *n, gr_node *at)
{
    gr_graph *g = n->graph;
    n->next = at;
    n->prev = at ? at->prev : g->last;
    *(n->prev ? &n->prev->next : &g->first) = n;
    *(at ? &at->prev : &g->last) = n;
}

static void take_out(gr_node *n)
{
    gr_graph *g = n->graph;
    *(n->prev ? &n->prev->next : &g->first) = n->next;
    *(n->next ? &n->next->prev : &g->last) = n->prev;
    n->prev = n->next = NULL;
}

void gr_move_before(gr_node *n, gr_node *at)
{
    take_out(n);
    gr_insert_before(n, at);
}

void gr_set_input(gr_node *n, uint32_t i, gr_value *v)
{
    assert(i < n->nin);
    unlink_use(&n->in[i]);
    link_use(&n->in[i], v);
}

/* Output i is no longer v. */
static void leave_output(gr_graph *g, size_t i, gr_value *v)
{
    int *at = &v->output_index;
    while (*at != (int)i) at = &g->next_output[*at];
    *at = g->next_output[i];
    v->is_output = v->output_index >= 0;
}

void gr_set_output(gr_graph *g, size_t i, gr_value *v)
{
    assert(i < g->noutputs);
    if (g->outputs[i]) leave_output(g, i, g->outputs[i]);
    g->outputs[i] = v;
    if (!v) return;
    g->next_output[i] = v->output_index;
    v->output_index = (int)i;
    v->is_output = true;
}

void gr_replace_uses(gr_value *old, gr_value *new)
{
    assert(old != new);
    while (old->uses) gr_set_input(old->uses->user, (uint32_t)(old->uses - old->uses->user->in), new);
    while (old->is_output) gr_set_output(old->graph, (size_t)old->output_index, new);
    old->became = new;
    new->became = NULL; /* it is read again if it was replaced before: so there are no circles */
}

void gr_erase(gr_node *n)
{
    for (uint32_t i = 0; i < n->nout; i++) {
        gr_value *v = n->out[i];
        if (!v) continue;
        assert(v->konst || (!v->nuses && !v->is_output));
        v->def = NULL;
    }
    for (uint32_t i = 0; i < n->nin; i++) unlink_use(&n->in[i]);
    take_out(n);
}

void gr_take_name(gr_value *v, gr_value *from)
{
    gr_name *a = gr_names_find(v->graph->names, v->name), *b = gr_names_find(v->graph->names, from->name);
    const char *name = v->name;
    v->name = from->name;
    from->name = name;
    a->value = from;
    b->value = v;
}

size_t gr_graph_constant_bytes(const gr_graph *g)
{
    size_t sum = 0;
    for (const gr_node *n = g->first; n; n = n->next)
        for (uint32_t i = 0; i < n->nin; i++) {
            const gr_value *v = gr_in(n, i);
            if (v && v->konst && !v->def && v->uses == &n->in[i]) sum += v->konst->size;
        }
    return sum;
}

/* ---- checking ---- */

#define BROKEN(...) return gr_fail(err, GR_EMODEL, "graph is broken: " __VA_ARGS__)

static gr_status check_node(const gr_graph *g, const gr_node *n, const bool *seen, gr_err *err)
{
    if (n->graph != g) BROKEN("node %u belongs to another graph", n->id);
    if (n->next ? n->next->prev != n : g->last != n) BROKEN("list at node %u", n->id);
    for (uint32_t i = 0; i < n->nin; i++) {
        const gr_use *u = &n->in[i];
        if (u->user != n) BROKEN("use %u of node %u names another user", i, n->id);
        if (!u->value) continue;
        if (*u->link != u || (u->next && u->next->link != &u->next)) BROKEN("use list at node %u input %u", n->id, i);
        if (u->value->id >= g->nvalues || !seen[u->value->id])
            BROKEN("node %u (%s) reads '%s' before it is defined", n->id, n->op->name, gr_show(u->value->name));
    }
    for (uint32_t i = 0; i < n->nout; i++) {
        if (!n->out[i]) continue;
        if (n->out[i]->def != n) BROKEN("output %u of node %u has another definition", i, n->id);
        if (seen[n->out[i]->id]) BROKEN("'%s' is defined twice", gr_show(n->out[i]->name));
        if (n->out[i]->konst && n->out[i]->is_input) BROKEN("'%s' is input and constant", gr_show(n->out[i]->name));
    }
    for (uint32_t i = 0; i < n->nsubgraphs; i++) {
        if (n->subgraphs[i]->ncaptured != n->ncaptured) BROKEN("captured values of node %u", n->id);
        GR_TRY(gr_graph_check(n->subgraphs[i], err));
    }
    return GR_OK;
}

static gr_status check_value(const gr_value *v, gr_err *err)
{
    uint32_t uses = 0;
    for (const gr_use *u = v->uses; u; u = u->next, uses++)
        if (u->value != v) BROKEN("use list of '%s'", gr_show(v->name));
    if (uses != v->nuses) BROKEN("'%s' counts %u uses but has %u", gr_show(v->name), v->nuses, uses);
    if (v->type.kind == GR_KIND_TENSOR && v->type.rank > 0 && !v->type.dims)
        BROKEN("'%s' has a rank but no dimensions", gr_show(v->name));
    if (!v->konst) return GR_OK;
    if ((v->type.dtype != v->konst->dtype && !gr_is_narrow(v)) || v->type.rank != v->konst->rank)
        BROKEN("type of constant '%s'", gr_show(v->name));
    for (int i = 0; i < v->type.rank; i++)
        if (!gr_dim_is(v->type.dims[i], v->konst->dims[i])) BROKEN("shape of constant '%s'", gr_show(v->name));
    return GR_OK;
}

static gr_status check_all(const gr_graph *g, bool *seen, gr_err *err)
{
    for (size_t i = 0; i < g->names->cap; i++) {
        const gr_value *v = g->names->slots[i].value;
        if (!v) continue;
        GR_TRY(check_value(v, err));
        if (!v->def) seen[v->id] = v->is_input || v->konst;
    }
    for (const gr_node *n = g->first; n; n = n->next) {
        GR_TRY(check_node(g, n, seen, err));
        for (uint32_t i = 0; i < n->nout; i++)
            if (n->out[i]) seen[n->out[i]->id] = true;
    }
    for (size_t i = 0; i < g->noutputs; i++) {
        if (!g->outputs[i]) BROKEN("output %zu is nothing", i);
        if (!g->outputs[i]->is_output) BROKEN("output '%s' does not know it", gr_show(g->outputs[i]->name));
        if (!seen[g->outputs[i]->id]) BROKEN("output '%s' is not defined", gr_show(g->outputs[i]->name));
    }
    return GR_OK;
}

gr_status gr_graph_check(const gr_graph *g, gr_err *err)
{
    bool *seen = gr_calloc(g->nvalues + 1, sizeof *seen);
    if (!seen) return gr_nomem(err);
    gr_status status = check_all(g, seen, err);
    gr_free(seen);
    return status;
}

/* ---- types ---- */

gr_type gr_type_tensor(gr_dtype dtype, int rank, const gr_dim *dims)
{
    return (gr_type){.kind = GR_KIND_TENSOR, .dtype = dtype, .rank = rank, .dims = dims};
}

bool gr_type_is_static(const gr_type *t)
{
    if (t->kind != GR_KIND_TENSOR || t->rank < 0 || t->dtype == GR_UNDEFINED) return false;
    for (int i = 0; i < t->rank; i++)
        if (t->dims[i].expr) return false;
    return true;
}

const char *gr_type_text(gr_syms *s, gr_arena *a, const gr_type *t)
{
    const char *text = "?";
    if (t->kind == GR_KIND_SEQUENCE || t->kind == GR_KIND_OPTIONAL) {
        const char *elem = t->elem ? gr_type_text(s, a, t->elem) : "?";
        text = gr_arena_printf(a, t->kind == GR_KIND_SEQUENCE ? "seq(%s)" : "optional(%s)", elem);
    } else if (t->kind == GR_KIND_TENSOR && t->rank < 0) {
        text = gr_arena_printf(a, "%s[...]", gr_dtype_name(t->dtype));
    } else if (t->kind == GR_KIND_TENSOR) {
        text = gr_arena_printf(a, "%s[", gr_dtype_name(t->dtype));
        for (int i = 0; text && i < t->rank; i++)
            text = gr_arena_printf(a, "%s%s%s", text, i ? ", " : "", gr_sym_text(s, t->dims[i]));
        if (text) text = gr_arena_printf(a, "%s]", text);
    }
    return text ? text : "?";
}
