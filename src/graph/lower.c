/* SPDX-License-Identifier: Apache-2.0
 *
 * From a graph to a document that says the same, for dumps and for saving. Constants become initializers, inferred types
 * value infos. It points into the graph.
 */
#include "ir.h"
#include "ops/op.h"
#include <stdio.h>

static bool lower_type(gr_arena *a, gr_syms *syms, const gr_type *t, gr_doc_type **out)
{
    gr_doc_type *d = GR_NEW(a, gr_doc_type);
    *out = d;
    if (!d) return false;
    *d = (gr_doc_type){.kind = t->kind == GR_KIND_NONE ? GR_KIND_TENSOR : t->kind, .dtype = t->dtype, .rank = t->rank};
    if (t->elem && !lower_type(a, syms, t->elem, &d->elem)) return false;
    if (t->kind != GR_KIND_TENSOR || t->rank < 0) return true;
    gr_doc_dim *dims = GR_NEWS(a, (size_t)t->rank, gr_doc_dim);
    if (!dims) return false;
    for (int i = 0; i < t->rank; i++) {
        const char *text = t->dims[i].expr ? gr_sym_text(syms, t->dims[i]) : NULL;
        dims[i] = (gr_doc_dim){text ? -1 : t->dims[i].k, text && text[0] != '?' ? text : NULL, NULL};
    }
    d->dims = dims;
    return true;
}

bool gr_lower_value(gr_arena *a, const gr_value *v, const char *name, gr_doc_value *out)
{
    *out = (gr_doc_value){.name = name};
    return lower_type(a, v->graph->syms, &v->type, &out->type);
}

static gr_doc_tensor *lower_const(gr_arena *a, const gr_value *v)
{
    gr_doc_tensor *t = GR_NEW(a, gr_doc_tensor);
    if (!t) return NULL;
    const gr_tensor *k = v->konst;
    *t = (gr_doc_tensor){.name = v->name, .dtype = k->dtype, .rank = k->rank, .dims = k->dims,
                         .elements = k->elements, .data = k->data, .size = k->size, .mapped = k->mapped};
    return t;
}

/* A constant whose value is float and which is stored in 16 bits: an initializer of its own, and a Cast of it. */
static bool lower_narrow(gr_arena *a, const gr_value *v, gr_doc_tensor *t, gr_doc_node *out)
{
    static const char suffix[] = "_16_bit";
    const size_t room = strlen(v->name) + sizeof suffix + 16;
    char *name = gr_arena_alloc(a, room);
    const char **names = GR_NEWS(a, 2, const char *);
    gr_attr *to = GR_NEW(a, gr_attr);
    if (!name || !names || !to) return false;
    int n = snprintf(name, room, "%s%s", v->name, suffix);
    for (unsigned k = 1; gr_graph_find(v->graph, name); k++) snprintf(name + n, room - (size_t)n, "_%u", k);
    t->name = names[0] = name;
    names[1] = v->name;
    *to = (gr_attr){.name = "to", .type = GR_ATTR_INT, .i = GR_FLOAT};
    *out = (gr_doc_node){.name = "", .op_type = "Cast", .domain = "", .overload = "", .in = {1, names},
                         .out = {1, names + 1}, .attrs = {1, to}};
    return true;
}

static bool lower_graph(gr_arena *a, const gr_graph *g, gr_doc_graph **out);

/* Attributes as they are, but graphs among them as they are now. */
static bool lower_attrs(gr_arena *a, const gr_node *n, gr_attrs *out)
{
    *out = n->attrs;
    if (!n->nsubgraphs) return true;
    gr_attr *items = GR_NEWS(a, n->attrs.count, gr_attr);
    if (!items) return false;
    memcpy(items, n->attrs.items, n->attrs.count * sizeof *items);
    for (size_t i = 0; i < n->attrs.count; i++)
        for (uint32_t k = 0; k < n->nsubgraphs; k++)
            if (items[i].type == GR_ATTR_GRAPH && !strcmp(items[i].name, n->op->graphs[k]) &&
                !lower_graph(a, n->subgraphs[k], &items[i].g))
                return false;
    *out = (gr_attrs){n->attrs.count, items};
    return true;
}

static const char *name_here(const gr_value *v) { return v ? v->name : ""; }

static bool lower_node(gr_arena *a, const gr_node *n, gr_doc_node *out)
{
    uint32_t nin = n->nin - n->ncaptured;
    const char **in = GR_NEWS(a, nin, const char *), **results = GR_NEWS(a, n->nout, const char *);
    if (!in || !results) return false;
    for (uint32_t i = 0; i < nin; i++) in[i] = name_here(gr_in(n, i));
    for (uint32_t i = 0; i < n->nout; i++) results[i] = name_here(n->out[i]);
    *out = (gr_doc_node){.name = n->name, .op_type = n->op->name, .domain = n->op->domain ? n->op->domain : "",
                         .overload = "", .in = {nin, in}, .out = {n->nout, results}};
    return lower_attrs(a, n, &out->attrs);
}

/* A graph output may be an input, a constant, or one value under two names: an Identity gives it the name. */
static bool needs_identity(const gr_graph *g, size_t i)
{
    return strcmp(g->outputs[i]->name, g->output_names[i]) != 0;
}

static bool lower_graph(gr_arena *a, const gr_graph *g, gr_doc_graph **out)
{
    gr_doc_graph *d = GR_NEW(a, gr_doc_graph);
    size_t proper = g->ninputs - g->ncaptured, n = 0, capinit = 0, capinfo = 0;
    if (!d) return false;
    *out = d;
    d->name = g->name;
    bool *seen = GR_NEWS(a, g->nvalues, bool);
    d->in.items = GR_NEWS(a, proper, gr_doc_value);
    d->out.items = GR_NEWS(a, g->noutputs, gr_doc_value);
    for (const gr_node *node = g->first; node; node = node->next) {
        n++;
        for (uint32_t i = 0; i < node->nin; i++) n += gr_in(node, i) && gr_is_narrow(gr_in(node, i));
    }
    d->nodes.items = GR_NEWS(a, n + 2 * g->noutputs, gr_doc_node);
    if (!seen || !d->in.items || !d->out.items || !d->nodes.items) return false;
    for (size_t i = 0; i < proper; i++)
        if (!gr_lower_value(a, g->inputs[i], g->inputs[i]->name, &d->in.items[d->in.count++])) return false;
    for (const gr_node *node = g->first; node; node = node->next) {
        for (uint32_t i = 0; i < node->nin; i++) {
            const gr_value *v = gr_in(node, i);
            if (!v || !v->konst || v->def || seen[v->id]) continue;
            seen[v->id] = true;
            gr_doc_tensor **t = GR_PUSH(a, d->init, d->ninit, capinit);
            if (!t || !(*t = lower_const(a, v))) return false;
            if (gr_is_narrow(v) && !lower_narrow(a, v, *t, &d->nodes.items[d->nodes.count++])) return false;
        }
        if (!lower_node(a, node, &d->nodes.items[d->nodes.count++])) return false;
        for (uint32_t i = 0; i < node->nout; i++) {
            if (!node->out[i] || node->out[i]->is_output) continue;
            gr_doc_value *info = GR_PUSH(a, d->info.items, d->info.count, capinfo);
            if (!info || !gr_lower_value(a, node->out[i], node->out[i]->name, info)) return false;
        }
    }
    for (size_t i = 0; i < g->noutputs; i++) {
        const gr_value *v = g->outputs[i];
        if (!gr_lower_value(a, v, g->output_names[i], &d->out.items[d->out.count++])) return false;
        if (v->konst && !v->def && !seen[v->id]) {
            seen[v->id] = true;
            gr_doc_tensor **t = GR_PUSH(a, d->init, d->ninit, capinit);
            if (!t || !(*t = lower_const(a, v))) return false;
            if (gr_is_narrow(v) && !lower_narrow(a, v, *t, &d->nodes.items[d->nodes.count++])) return false;
        }
        if (!needs_identity(g, i)) continue;
        const char **names = GR_NEWS(a, 2, const char *);
        if (!names) return false;
        names[0] = v->name;
        names[1] = g->output_names[i];
        d->nodes.items[d->nodes.count++] = (gr_doc_node){
            .name = "", .op_type = "Identity", .domain = "", .overload = "", .in = {1, names}, .out = {1, names + 1}};
    }
    return true;
}

gr_status gr_graph_lower(const gr_graph *g, gr_doc **out, gr_err *err)
{
    gr_arena *a = gr_arena_new();
    gr_doc *d = a ? GR_NEW(a, gr_doc) : NULL;
    gr_doc_opset *opsets = d ? GR_NEWS(a, 3, gr_doc_opset) : NULL;
    if (!opsets) {
        gr_arena_free(a);
        return gr_nomem(err);
    }
    d->arena = a;
    d->ir_version = 10;
    d->producer_name = "graphrun";
    d->producer_version = gr_version_string();
    opsets[0] = (gr_doc_opset){"", g->opset > 0 ? g->opset : 1};
    opsets[1] = (gr_doc_opset){"graphrun", 1};
    opsets[2] = (gr_doc_opset){"com.microsoft", 1};
    d->opsets = (gr_doc_opsets){3, opsets};
    if (!lower_graph(a, g, &d->graph)) {
        gr_arena_free(a);
        return gr_nomem(err);
    }
    *out = d;
    return GR_OK;
}
