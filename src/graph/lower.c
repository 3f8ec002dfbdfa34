/* SPDX-License-Identifier: Apache-2.0
 *
 * From a graph to a document that says the same, for dumps and for saving. Constants become initializers, inferred types
 * value infos. It points into the graph. Passes build nodes of the newest version of an operator, so a few are written
 * in the form that the file's opset has for them.
 */
#include "lower.h"
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

static gr_status lower_graph(gr_lowering *l, const gr_graph *g, gr_doc_graph **out);

/* ---- nodes ---- */

const char *gr_lower_name(const gr_lowering *l, const gr_value *v)
{
    const char *outside = v && l->captured ? l->captured[v->id] : NULL;
    return outside ? outside : v ? v->name : "";
}

/* A graph inside node n, which reads what n captures now. */
static gr_status lower_inside(gr_lowering *l, const gr_node *n, const gr_graph *g, gr_doc_graph **out)
{
    const char *const *around = l->captured;
    const char **names = GR_NEWS(l->arena, (size_t)g->nvalues + 1, const char *);
    if (!names) return gr_nomem(l->err);
    for (uint32_t i = 0; i < n->ncaptured; i++)
        names[g->inputs[g->ninputs - g->ncaptured + i]->id] = gr_lower_name(l, gr_in(n, n->nin - n->ncaptured + i));
    l->captured = names;
    gr_status status = lower_graph(l, g, out);
    l->captured = around;
    return status;
}

/* Attributes as they are, but graphs among them as they are now. */
static gr_status lower_attrs(gr_lowering *l, const gr_node *n, gr_attrs *out)
{
    *out = n->attrs;
    if (!n->nsubgraphs) return GR_OK;
    gr_attr *items = GR_NEWS(l->arena, n->attrs.count, gr_attr);
    if (!items) return gr_nomem(l->err);
    memcpy(items, n->attrs.items, n->attrs.count * sizeof *items);
    for (size_t i = 0; i < n->attrs.count; i++)
        for (uint32_t k = 0; k < n->nsubgraphs; k++)
            if (items[i].type == GR_ATTR_GRAPH && !strcmp(items[i].name, n->op->graphs[k]))
                GR_TRY(lower_inside(l, n, n->subgraphs[k], &items[i].g));
    *out = (gr_attrs){n->attrs.count, items};
    return GR_OK;
}

/* Input 1 of these was an attribute before an opset. */
static const struct moved {
    const char *op, *attr;
    int64_t since;
} moved[] = {{"Squeeze", "axes", 13},    {"Unsqueeze", "axes", 13},   {"ReduceSum", "axes", 13},
             {"Split", "split", 13},     {"ReduceMean", "axes", 18},  {"ReduceMax", "axes", 18},
             {"ReduceMin", "axes", 18},  {"ReduceProd", "axes", 18},  {"ReduceL1", "axes", 18},
             {"ReduceL2", "axes", 18},   {"ReduceSumSquare", "axes", 18}, {"ReduceLogSum", "axes", 18},
             {"ReduceLogSumExp", "axes", 18}};

/* Write input 1 as the attribute that the opset has for it. */
static gr_status move_input(gr_lowering *l, const gr_node *n, const struct moved *m, gr_doc_node *out)
{
    const gr_value *v = gr_in(n, 1);
    const gr_tensor *k = v->konst;
    if (!k || k->dtype != GR_INT64 || k->rank != 1)
        return gr_fail(l->err, GR_EUNSUPPORTED,
                       "node '%s' (%s): input '%s' is not constant, and opset %lld has an attribute for it",
                       gr_show(n->name), n->op->name, gr_show(v->name), (long long)l->root->opset);
    int64_t *list = GR_NEWS(l->arena, (size_t)k->elements, int64_t);
    gr_attr *attrs = GR_NEWS(l->arena, n->attrs.count + 1, gr_attr);
    if (!list || !attrs) return gr_nomem(l->err);
    if (k->size) memcpy(list, k->data, k->size);
    size_t count = 0;
    for (size_t i = 0; i < n->attrs.count; i++)
        if (strcmp(n->attrs.items[i].name, "noop_with_empty_axes") && strcmp(n->attrs.items[i].name, "num_outputs"))
            attrs[count++] = n->attrs.items[i];
    attrs[count++] = (gr_attr){.name = m->attr, .type = GR_ATTR_INTS, .count = (size_t)k->elements, .ints = list};
    out->attrs = (gr_attrs){count, attrs};
    out->in.count = 1;
    return GR_OK;
}

/* A node of a function that imports an older opset than the model, and means something else in the model's. */
static gr_status check_version(gr_lowering *l, const gr_node *n)
{
    const gr_op *op = gr_op_find("", n->op->name, l->root->opset, NULL);
    if (!l->options->like || n->op->domain || !op || n->op->since >= op->since) return GR_OK;
    if (op->parse == n->op->parse && op->infer == n->op->infer && op->kernels == n->op->kernels) return GR_OK;
    return gr_fail(l->err, GR_EUNSUPPORTED, "node '%s' is a %s of opset %d, which cannot stand in a file of opset %lld",
                   gr_show(n->name), n->op->name, n->op->since, (long long)l->root->opset);
}

static gr_status lower_node(gr_lowering *l, const gr_node *n, gr_lower_nodes *nodes)
{
    gr_spell_fn fn = l->options->body ? l->options->body(n) : NULL;
    if (fn) return gr_lower_body(l, n, fn, nodes);
    gr_doc_node *out = GR_PUSH(l->arena, nodes->items, nodes->count, nodes->cap);
    uint32_t nin = n->nin - n->ncaptured;
    const char **in = GR_NEWS(l->arena, nin, const char *), **results = GR_NEWS(l->arena, n->nout, const char *);
    if (!out || !in || !results) return gr_nomem(l->err);
    for (uint32_t i = 0; i < nin; i++) in[i] = gr_lower_name(l, gr_in(n, i));
    for (uint32_t i = 0; i < n->nout; i++) results[i] = gr_lower_name(l, n->out[i]);
    const char *domain = n->op->domain ? n->op->domain : "";
    *out = (gr_doc_node){.name = n->name, .op_type = n->op->name, .domain = domain, .overload = "",
                         .in = {nin, in}, .out = {n->nout, results}, .attrs = n->attrs};
    if (l->options->like) GR_TRY(gr_lower_node_name(l, n->name, &out->name));
    l->ours |= !strcmp(domain, "graphrun");
    l->contrib |= !strcmp(domain, "com.microsoft");
    for (size_t i = 0; i < sizeof moved / sizeof *moved; i++)
        if (!*domain && l->root->opset < moved[i].since && gr_in(n, 1) && gr_is_named(n, moved[i].op))
            return move_input(l, n, &moved[i], out);
    GR_TRY(check_version(l, n));
    return lower_attrs(l, n, &out->attrs);
}

gr_spell_fn gr_lower_missing(const gr_node *n)
{
    const gr_op *op = n->op;
    if (!op->function || op->domain || op->since <= n->graph->opset) return NULL;
    const gr_op *had = gr_op_find("", op->name, n->graph->opset, NULL);
    return had && (had->flags & GR_OP_FOREIGN) ? NULL : op->function;
}

/* ---- graphs ---- */

/* An initializer for a constant, unless it has one. What it takes to read it stands before the reader. */
static gr_status lower_init(gr_lowering *l, gr_doc_graph *d, size_t *cap, bool *seen, const gr_value *v,
                            gr_lower_nodes *nodes)
{
    if (!v || !v->konst || v->def || seen[v->id]) return GR_OK;
    seen[v->id] = true;
    gr_doc_tensor **t = GR_PUSH(l->arena, d->init, d->ninit, *cap);
    if (!t || !(*t = lower_const(l->arena, v))) return gr_nomem(l->err);
    if (!gr_is_narrow(v)) return GR_OK;
    gr_doc_node *cast = GR_PUSH(l->arena, nodes->items, nodes->count, nodes->cap);
    return cast && lower_narrow(l->arena, v, *t, cast) ? GR_OK : gr_nomem(l->err);
}

static gr_status lower_info(gr_lowering *l, gr_doc_graph *d, size_t *cap, const gr_node *n)
{
    for (uint32_t i = 0; i < n->nout; i++) {
        if (!n->out[i] || n->out[i]->is_output) continue;
        gr_doc_value *info = GR_PUSH(l->arena, d->info.items, d->info.count, *cap);
        if (!info || !gr_lower_value(l->arena, n->out[i], n->out[i]->name, info)) return gr_nomem(l->err);
    }
    return GR_OK;
}

/* A graph output may be an input, a constant, or one value under two names: an Identity gives it the name. */
static gr_status lower_output(gr_lowering *l, const gr_graph *g, size_t i, gr_lower_nodes *nodes, gr_doc_value *out)
{
    const gr_value *v = g->outputs[i];
    if (!gr_lower_value(l->arena, v, g->output_names[i], out)) return gr_nomem(l->err);
    const char *name = gr_lower_name(l, v);
    if (!strcmp(name, g->output_names[i])) return GR_OK;
    const char **names = GR_NEWS(l->arena, 2, const char *);
    gr_doc_node *n = GR_PUSH(l->arena, nodes->items, nodes->count, nodes->cap);
    if (!names || !n) return gr_nomem(l->err);
    names[0] = name;
    names[1] = g->output_names[i];
    *n = (gr_doc_node){.name = "", .op_type = "Identity", .domain = "", .overload = "", .in = {1, names},
                       .out = {1, names + 1}};
    return GR_OK;
}

/* Nodes that were added last come from n. */
static gr_status note_origin(gr_lowering *l, gr_lower_nodes *nodes, const gr_node *n)
{
    while (l->options->origins && nodes->norigins < nodes->count) {
        const gr_node **origin = GR_PUSH(l->arena, nodes->origins, nodes->norigins, nodes->origin_cap);
        if (!origin) return gr_nomem(l->err);
        *origin = n;
    }
    return GR_OK;
}

static gr_status lower_graph(gr_lowering *l, const gr_graph *g, gr_doc_graph **out)
{
    gr_doc_graph *d = GR_NEW(l->arena, gr_doc_graph);
    size_t proper = g->ninputs - g->ncaptured, capinit = 0, capinfo = 0;
    gr_lower_nodes nodes = {0};
    bool *seen = GR_NEWS(l->arena, g->nvalues, bool);
    if (!d || !seen || !(d->in.items = GR_NEWS(l->arena, proper, gr_doc_value)) ||
        !(d->out.items = GR_NEWS(l->arena, g->noutputs, gr_doc_value)))
        return gr_nomem(l->err);
    *out = d;
    d->name = g->name;
    for (size_t i = 0; i < proper; i++)
        if (!gr_lower_value(l->arena, g->inputs[i], g->inputs[i]->name, &d->in.items[d->in.count++]))
            return gr_nomem(l->err);
    for (const gr_node *node = g->first; node; node = node->next) {
        for (uint32_t i = 0; i < node->nin; i++) GR_TRY(lower_init(l, d, &capinit, seen, gr_in(node, i), &nodes));
        GR_TRY(note_origin(l, &nodes, NULL));
        GR_TRY(lower_node(l, node, &nodes));
        GR_TRY(note_origin(l, &nodes, node));
        if (!l->options->like) GR_TRY(lower_info(l, d, &capinfo, node));
    }
    for (size_t i = 0; i < g->noutputs; i++) {
        GR_TRY(lower_init(l, d, &capinit, seen, g->outputs[i], &nodes));
        GR_TRY(lower_output(l, g, i, &nodes, &d->out.items[d->out.count++]));
    }
    GR_TRY(note_origin(l, &nodes, NULL));
    if (l->options->origins && g == l->root) *l->options->origins = nodes.origins;
    d->nodes = (gr_doc_nodes){nodes.count, nodes.items};
    return GR_OK;
}

/* ---- documents ---- */

static const gr_doc_value *find_value(const gr_doc_values *values, const char *name)
{
    for (size_t i = 0; i < values->count; i++)
        if (values->items[i].name && !strcmp(values->items[i].name, name)) return &values->items[i];
    return NULL;
}

/* What the file says about values stands, unless it says nothing. */
static void keep_values(const gr_doc_values *from, gr_doc_values *to)
{
    for (size_t i = 0; i < to->count; i++) {
        const gr_doc_value *v = i < from->count && !strcmp(from->items[i].name, to->items[i].name)
                                    ? &from->items[i]
                                    : find_value(from, to->items[i].name);
        if (!v) continue;
        to->items[i].doc_string = v->doc_string;
        to->items[i].metadata = v->metadata;
        if (v->type && v->type->kind == GR_KIND_TENSOR && (v->type->rank >= 0 || to->items[i].type->rank < 0))
            to->items[i].type = v->type;
    }
}

static void keep_model(const gr_doc *from, gr_doc *to)
{
    to->ir_version = from->ir_version > 4 ? from->ir_version : 4; /* before, initializers had to be inputs */
    to->domain = from->domain;
    to->doc_string = from->doc_string;
    to->has_model_version = from->has_model_version;
    to->model_version = from->model_version;
    to->metadata = from->metadata;
    to->graph->name = from->graph->name;
    to->graph->doc_string = from->graph->doc_string;
    to->graph->metadata = from->graph->metadata;
    keep_values(&from->graph->in, &to->graph->in);
    keep_values(&from->graph->out, &to->graph->out);
}

static gr_status lower_model(gr_lowering *l)
{
    gr_doc_opset *opsets = GR_NEWS(l->arena, 3, gr_doc_opset);
    gr_doc *d = l->doc;
    if (!opsets) return gr_nomem(l->err);
    d->ir_version = 10;
    d->producer_name = "graphrun";
    d->producer_version = gr_version_string();
    GR_TRY(lower_graph(l, l->root, &d->graph));
    opsets[d->opsets.count++] = (gr_doc_opset){"", l->root->opset > 0 ? l->root->opset : 1};
    if (l->ours) opsets[d->opsets.count++] = (gr_doc_opset){"graphrun", 1};
    if (l->contrib) opsets[d->opsets.count++] = (gr_doc_opset){"com.microsoft", 1};
    d->opsets.items = opsets;
    if (l->options->like) keep_model(l->options->like, d);
    return GR_OK;
}

gr_status gr_graph_lower_as(const gr_graph *g, const gr_lower_options *options, gr_doc **out, gr_err *err)
{
    gr_arena *a = gr_arena_new();
    gr_lowering l = {.arena = a, .options = options, .root = g, .doc = a ? GR_NEW(a, gr_doc) : NULL, .err = err};
    if (!l.doc) {
        gr_arena_free(a);
        return gr_nomem(err);
    }
    l.doc->arena = a;
    gr_status status = lower_model(&l);
    if (status != GR_OK) {
        gr_doc_free(l.doc);
        return status;
    }
    *out = l.doc;
    return GR_OK;
}

gr_status gr_graph_lower(const gr_graph *g, gr_doc **out, gr_err *err)
{
    return gr_graph_lower_as(g, &(gr_lower_options){.body = gr_lower_missing}, out, err);
}

/* ---- for those who thin documents out ---- */

const gr_value *gr_lower_widened(const gr_graph *g, const gr_doc_node *n)
{
    if (strcmp(n->op_type, "Cast") || *n->domain || n->out.count != 1) return NULL;
    const gr_value *v = gr_graph_find(g, n->out.items[0]);
    return v && !v->def && gr_is_narrow(v) ? v : NULL;
}

void gr_lower_keep(const gr_graph *g, gr_doc_graph *d, bool (*keep)(const void *user, const gr_value *v),
                   const void *user)
{
    size_t kept = 0, cast = 0;
    for (size_t i = 0; i < d->ninit; i++) {
        const gr_value *v = gr_graph_find(g, d->init[i]->name);
        while (!v && cast < d->nodes.count && !gr_lower_widened(g, &d->nodes.items[cast])) cast++;
        bool read = !v && cast < d->nodes.count && d->nodes.items[cast].in.items[0] == d->init[i]->name;
        cast += read;
        if (v ? keep(user, v) : read) d->init[kept++] = d->init[i];
    }
    d->ninit = kept;
}
