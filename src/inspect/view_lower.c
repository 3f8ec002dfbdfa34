/* SPDX-License-Identifier: Apache-2.0
 *
 * A view as a document. The graph is lowered whole and then thinned out, so that what is shown is said as it is when a
 * model is saved.
 */
#include "graph/lower.h"
#include "view.h"
#include <stdio.h>

typedef struct thinner {
    const gr_view *w;
    gr_doc *doc;
    const gr_node **origins; /* by node of the document */
    uint32_t *index;         /* values of the view, by id */
} thinner;

static uint32_t find(const thinner *t, const char *name)
{
    const gr_value *v = name && *name ? gr_graph_find(t->w->graph, name) : NULL;
    return v ? t->index[v->id] : GR_VIEW_NONE;
}

static gr_doc_type *static_type(gr_arena *a, const gr_tensor *t)
{
    gr_doc_type *type = GR_NEW(a, gr_doc_type);
    gr_doc_dim *dims = GR_NEWS(a, (size_t)t->rank, gr_doc_dim);
    if (!type || !dims) return NULL;
    for (int i = 0; i < t->rank; i++) dims[i] = (gr_doc_dim){t->dims[i], NULL, NULL};
    *type = (gr_doc_type){.kind = GR_KIND_TENSOR, .dtype = t->dtype, .rank = t->rank, .dims = dims};
    return type;
}

/* ---- a plan: types of its shape, figures as metadata, folded values as constants ---- */

static bool add_prop(gr_arena *a, gr_doc_node *n, const char *key, const char *value)
{
    gr_doc_props *p = &n->metadata;
    if (!value) return false;
    p->items[p->count++] = (gr_doc_prop){gr_arena_strdup(a, key), value};
    return p->items[p->count - 1].key != NULL;
}

static gr_status annotate(thinner *t, gr_doc_node *d, const gr_view_node *n, gr_err *err)
{
    enum { PROPS = 5 };
    gr_arena *a = t->doc->arena;
    const gr_view_value *v = n->node->nout && n->out[0] != GR_VIEW_NONE ? &t->w->values[n->out[0]] : NULL;
    d->metadata = (gr_doc_props){0, GR_NEWS(a, PROPS, gr_doc_prop)};
    if (!d->metadata.items) return gr_nomem(err);
    bool ok = add_prop(a, d, "kernel", gr_arena_strdup(a, n->kernel ? n->kernel : "view"));
    ok = ok && add_prop(a, d, "operations", gr_arena_printf(a, "%.0f", n->work));
    ok = ok && add_prop(a, d, "bytes", gr_arena_printf(a, "%.0f", n->bytes));
    if (ok && n->scratch) ok = add_prop(a, d, "scratch", gr_arena_printf(a, "%zu", n->scratch));
    if (ok && v && v->plan.place == GR_PLAN_BLOCK)
        ok = add_prop(a, d, "memory", gr_arena_printf(a, "%zu+%zu", v->plan.offset, v->plan.size));
    return ok ? GR_OK : gr_nomem(err);
}

static gr_status set_types(thinner *t, gr_doc_values *values, gr_err *err)
{
    for (size_t i = 0; i < values->count; i++) {
        uint32_t at = find(t, values->items[i].name);
        const gr_tensor *shape = at == GR_VIEW_NONE ? NULL : t->w->values[at].plan.tensor;
        if (!shape || shape->kind != GR_KIND_TENSOR) continue;
        if (!(values->items[i].type = static_type(t->doc->arena, shape))) return gr_nomem(err);
    }
    return GR_OK;
}

static gr_status add_folded(thinner *t, gr_err *err)
{
    gr_arena *a = t->doc->arena;
    gr_doc_graph *d = t->doc->graph;
    size_t cap = d->ninit;
    for (size_t i = 0; i < t->w->value_count; i++) {
        const gr_view_value *v = &t->w->values[i];
        if (v->kind != GR_VIEW_CONSTANT || !v->value->def || !v->plan.tensor) continue;
        const gr_tensor *k = v->plan.tensor;
        gr_doc_tensor *x = GR_NEW(a, gr_doc_tensor), **slot = GR_PUSH(a, d->init, d->ninit, cap);
        if (!x || !slot) return gr_nomem(err);
        *x = (gr_doc_tensor){.name = v->value->name,
                             .dtype = k->dtype,
                             .rank = k->rank,
                             .dims = k->dims,
                             .elements = k->elements,
                             .data = k->data,
                             .size = k->size};
        *slot = x;
    }
    return GR_OK;
}

/* ---- thinning ---- */

static bool is_shown(const void *user, const gr_value *v)
{
    const thinner *t = user;
    return t->index[v->id] != GR_VIEW_NONE;
}

/* A node of the graph may be several of the document. Others read constants, or name outputs. */
static gr_status thin_nodes(thinner *t, gr_err *err)
{
    const gr_view *w = t->w;
    gr_doc_nodes *nodes = &t->doc->graph->nodes;
    const gr_node *last = NULL;
    size_t at = 0, kept = 0;
    for (size_t i = 0; i < nodes->count; i++) {
        const gr_node *n = t->origins[i];
        const gr_value *v = n ? NULL : gr_lower_widened(w->graph, &nodes->items[i]);
        if (n && n != last) {
            at += last && at < w->node_count && w->nodes[at].node == last;
            last = n;
        }
        if (n ? at == w->node_count || w->nodes[at].node != n : v ? !is_shown(t, v) : w->part) continue;
        nodes->items[kept] = nodes->items[i];
        if (n && w->level == GR_VIEW_PLAN) GR_TRY(annotate(t, &nodes->items[kept], &w->nodes[at], err));
        kept++;
    }
    nodes->count = kept;
    gr_lower_keep(w->graph, t->doc->graph, is_shown, t);
    return GR_OK;
}

static void types_by_id(const thinner *t, const gr_doc_values *values, const gr_doc_type **types)
{
    for (size_t i = 0; i < values->count; i++) {
        const gr_value *v = gr_graph_find(t->w->graph, values->items[i].name);
        if (v) types[v->id] = values->items[i].type;
    }
}

static gr_status border(thinner *t, const uint32_t *values, size_t n, const gr_doc_type **types, gr_doc_values *out,
                        gr_err *err)
{
    out->items = GR_NEWS(t->doc->arena, n, gr_doc_value);
    out->count = 0;
    if (!out->items) return gr_nomem(err);
    for (size_t i = 0; i < n; i++) {
        const gr_value *v = t->w->values[values[i]].value;
        out->items[out->count++] = (gr_doc_value){.name = v->name, .type = (gr_doc_type *)types[v->id]};
    }
    return GR_OK;
}

/* Value infos of what is made inside and is no output. */
static void thin_infos(thinner *t, const bool *output)
{
    gr_doc_values *info = &t->doc->graph->info;
    size_t kept = 0;
    for (size_t i = 0; i < info->count; i++) {
        uint32_t at = find(t, info->items[i].name);
        if (at != GR_VIEW_NONE && t->w->values[at].kind == GR_VIEW_RESULT && !output[at])
            info->items[kept++] = info->items[i];
    }
    info->count = kept;
}

static gr_status thin(thinner *t, gr_err *err)
{
    const gr_view *w = t->w;
    gr_doc_graph *d = t->doc->graph;
    gr_arena *a = t->doc->arena;
    const gr_doc_type **types = GR_NEWS(a, w->graph->nvalues, const gr_doc_type *);
    bool *output = GR_NEWS(a, w->value_count, bool);
    if (!types || !output) return gr_nomem(err);
    GR_TRY(thin_nodes(t, err));
    if (w->level == GR_VIEW_PLAN) {
        GR_TRY(add_folded(t, err));
        GR_TRY(set_types(t, &d->in, err));
        GR_TRY(set_types(t, &d->out, err));
        GR_TRY(set_types(t, &d->info, err));
    }
    if (w->part) {
        types_by_id(t, &d->in, types);
        types_by_id(t, &d->out, types);
        types_by_id(t, &d->info, types);
        GR_TRY(border(t, w->inputs, w->input_count, types, &d->in, err));
        GR_TRY(border(t, w->outputs, w->output_count, types, &d->out, err));
    }
    for (size_t i = 0; i < w->output_count; i++) output[w->outputs[i]] = true;
    thin_infos(t, output);
    return GR_OK;
}

gr_status gr_view_lower(const gr_view *w, gr_doc **out, gr_err *err)
{
    thinner t = {.w = w};
    if (w->level == GR_VIEW_OUTLINED && !w->part) return gr_outline_lower(&w->outline, out, err);
    const gr_lower_options options = {.body = gr_lower_missing, .origins = &t.origins};
    GR_TRY(gr_graph_lower_as(w->graph, &options, &t.doc, err));
    t.index = GR_NEWS(t.doc->arena, w->graph->nvalues, uint32_t);
    gr_status status = t.index ? GR_OK : gr_nomem(err);
    if (status == GR_OK) memset(t.index, 0xff, w->graph->nvalues * sizeof *t.index);
    for (size_t i = 0; status == GR_OK && i < w->value_count; i++) t.index[w->values[i].value->id] = (uint32_t)i;
    if (status == GR_OK && (w->part || w->level == GR_VIEW_PLAN)) status = thin(&t, err);
    if (status != GR_OK) {
        gr_doc_free(t.doc);
        return status;
    }
    *out = t.doc;
    return GR_OK;
}
