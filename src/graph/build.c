/* SPDX-License-Identifier: Apache-2.0
 *
 * From a document to a graph: names become edges, functions are inlined, subgraphs learn what they capture, nodes are
 * put in order, operators are looked up. A document comes from strangers: depth, counts and names are all checked here.
 */
#include "build.h"
#include "missing.h"
#include <limits.h>
#include <stdio.h>

enum {
    MAX_INLINED = 1 << 20, /* what functions add, weighed: those that call twice the next double with every level */
    NODE_WEIGHT = 4,
    NEWEST_OPSET = 28,
    NEWEST_IR = 14,
    MAX_MISSING_SHOWN = 12,
    MAX_MISSING = 64, /* kinds of missing operators that are told apart */
    MAX_NAME = 512,   /* of a value inside a function, with the names of the calls around it */
};

/* ---- versions ---- */

/* Version of a domain in a scope; 0: not imported. ONNX Runtime writes its own operators without importing them. */
static int64_t version_of(const builder *b, const scope *s, const char *domain)
{
    const imports *lists[] = {s->imports, &b->imports};
    for (int l = 0; l < 2; l++) {
        const gr_name *e = lists[l] ? gr_names_find(&lists[l]->domains, domain) : NULL;
        if (e) return lists[l]->list->items[e->index - 1].version;
    }
    return *domain ? 1 : 0;
}

gr_status gr_builder_read_imports(builder *b, const gr_doc_opsets *list, const char *where, imports *out)
{
    for (size_t i = 0; i < list->count; i++) {
        const char *domain = gr_builder_domain(list->items[i].domain);
        int64_t version = list->items[i].version;
        if (version < 1 || (!*domain && version > NEWEST_OPSET))
            return gr_fail(b->err, version < 1 ? GR_EMODEL : GR_EUNSUPPORTED,
                           "%s imports opset %lld of domain '%s', expected 1 to %d", where, (long long)version,
                           *domain ? gr_show(domain) : "ai.onnx", NEWEST_OPSET);
        gr_name *e = gr_names_add(&out->domains, b->scratch, domain);
        if (!e) return gr_nomem(b->err);
        if (e->index && list->items[e->index - 1].version != version)
            return gr_fail(b->err, GR_EMODEL, "%s imports domain '%s' twice, with versions %lld and %lld", where,
                           *domain ? gr_show(domain) : "ai.onnx", (long long)list->items[e->index - 1].version,
                           (long long)version);
        e->index = (uint32_t)i + 1;
    }
    out->list = list;
    return GR_OK;
}

gr_status gr_builder_spend(builder *b, const scope *s, size_t weight)
{
    if (!s->function) return GR_OK;
    b->inlined += weight;
    if (b->inlined <= MAX_INLINED) return GR_OK;
    return gr_fail(b->err, GR_ELIMIT, "function '%s': the model's functions, written out, are larger than the limit",
                   gr_show(s->function->name));
}

static gr_status note_missing(builder *b, const char *domain, const gr_doc_node *n, int64_t opset, int lowest)
{
    for (size_t i = 0; i < b->nmissing; i++) {
        missing *m = &b->missing[i];
        if (strcmp(m->domain, domain) || strcmp(m->name, n->op_type) || m->opset != opset) continue;
        m->count++;
        return GR_OK;
    }
    if (b->nmissing == MAX_MISSING) {
        b->more_missing = true;
        return GR_OK;
    }
    missing *m = GR_PUSH(b->scratch, b->missing, b->nmissing, b->capmissing);
    if (!m) return gr_nomem(b->err);
    const char *first = n->name && *n->name ? n->name : n->out.count ? n->out.items[0] : "";
    *m = (missing){domain, n->op_type, first, opset, lowest, 1};
    return GR_OK;
}

static gr_status report_missing(const builder *b)
{
    char text[GR_ERR_SIZE];
    size_t at = 0;
    for (size_t i = 0; i < b->nmissing && i < MAX_MISSING_SHOWN; i++) {
        const missing *m = &b->missing[i];
        char note[64] = "";
        if (m->lowest) snprintf(note, sizeof note, ", known from opset %d", m->lowest);
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s%s%.60s of opset %lld%s (%zu node%s, first '%.60s')",
                               i ? "; " : "", *m->domain ? gr_show(m->domain) : "", *m->domain ? "." : "",
                               gr_show(m->name), (long long)m->opset, note, m->count, m->count == 1 ? "" : "s",
                               gr_show(m->first));
        if (at > sizeof text - 320) break;
    }
    if (b->nmissing > MAX_MISSING_SHOWN)
        snprintf(text + at, sizeof text - at, "; and %s%zu more", b->more_missing ? "over " : "",
                 b->nmissing - MAX_MISSING_SHOWN);
    return gr_fail(b->err, GR_EUNSUPPORTED, "the model needs operators that are not supported: %s", text);
}

/* ---- values ---- */

static gr_status type_of(builder *b, const gr_doc_type *t, gr_type *out)
{
    *out = (gr_type){.kind = t->kind, .dtype = t->dtype, .rank = GR_RANK_UNKNOWN};
    if (t->kind == GR_KIND_SEQUENCE || t->kind == GR_KIND_OPTIONAL) {
        gr_type *elem = GR_NEW(b->arena, gr_type);
        if (!elem) return gr_nomem(b->err);
        if (t->elem) GR_TRY(type_of(b, t->elem, elem));
        out->elem = elem;
        out->dtype = elem->dtype;
    }
    if (t->kind != GR_KIND_TENSOR || t->rank < 0) return GR_OK;
    if (t->rank > GR_MAX_RANK)
        return gr_fail(b->err, GR_EUNSUPPORTED, "a value has rank %d, at most %d is supported", t->rank, GR_MAX_RANK);
    gr_dim *dims = GR_NEWS(b->arena, (size_t)t->rank, gr_dim);
    if (!dims) return gr_nomem(b->err);
    for (int i = 0; i < t->rank; i++) {
        const gr_doc_dim *d = &t->dims[i];
        dims[i] = d->value >= 0           ? GR_DIM(d->value)
                  : d->param && *d->param ? gr_sym_named(b->syms, d->param)
                                          : gr_sym_fresh(b->syms);
    }
    out->rank = t->rank;
    out->dims = dims;
    return GR_OK;
}

/* A name that a subgraph does not define: the same constant, or an input added for the outer value. */
static gr_status capture(builder *b, scope *s, const char *name, gr_value **out)
{
    gr_value *outer;
    GR_TRY(gr_builder_lookup(b, s->outer, name, &outer));
    *out = NULL;
    if (!outer) return GR_OK;
    gr_name *e = gr_names_add(&s->names, b->scratch, name);
    if (!e) return gr_nomem(b->err);
    if (!(*out = e->value = gr_graph_value(s->graph, name))) return gr_nomem(b->err);
    (*out)->type = outer->type;
    (*out)->became = outer;
    if (outer->konst) {
        (*out)->konst = outer->konst;
        return GR_OK;
    }
    (*out)->is_input = true;
    captured *added = GR_PUSH(b->scratch, s->captured, s->ncaptured, s->capcaptured);
    if (!added) return gr_nomem(b->err);
    *added = (captured){outer, *out};
    return GR_OK;
}

gr_status gr_builder_lookup(builder *b, scope *s, const char *name, gr_value **out)
{
    gr_name *e = gr_names_find(&s->names, name);
    *out = e ? e->value : NULL;
    if (*out || !s->outer) return GR_OK;
    return capture(b, s, name, out);
}

const char *gr_builder_inner_name(builder *b, const scope *s, const char *name)
{
    if (!s->prefix) return name;
    if (strlen(s->prefix) + strlen(name) < MAX_NAME) return gr_arena_printf(b->arena, "%s/%s", s->prefix, name);
    return gr_arena_printf(b->arena, "call_%zu/value", b->inlined);
}

/* ---- nodes ---- */

static gr_status build_graph(builder *b, scope *outer, const gr_doc_graph *d, scope *s);

/* An input of the function around, if the call left it out. */
static bool left_out(const scope *s, const char *name)
{
    for (; s && s->function; s = s->outer) {
        const gr_name *e = gr_names_find(&s->names, name);
        if (e) return !e->value && !e->index;
    }
    return false;
}

static gr_status inputs_of(builder *b, scope *s, const gr_doc_node *n, gr_value **in)
{
    for (size_t i = 0; i < n->in.count; i++) {
        in[i] = NULL;
        if (!*n->in.items[i]) continue;
        GR_TRY(gr_builder_lookup(b, s, n->in.items[i], &in[i]));
        if (!in[i] && !left_out(s, n->in.items[i]))
            return gr_fail(b->err, GR_EMODEL, "node '%s' (%s) reads '%s', which nothing defines",
                           gr_show(gr_builder_label(n)), gr_show(n->op_type), gr_show(n->in.items[i]));
    }
    return GR_OK;
}

gr_status gr_builder_define(builder *b, scope *s, const char *name, gr_value *v)
{
    gr_name *e = gr_names_add(&s->names, b->scratch, name);
    if (!e) return gr_nomem(b->err);
    e->value = v;
    return GR_OK;
}

static gr_status check_arity(builder *b, const gr_op *op, const gr_doc_node *n, size_t nin, gr_value *const *in)
{
    bool too_many = (op->in.max >= 0 && nin > (size_t)op->in.max) || (op->out >= 0 && n->out.count > (size_t)op->out);
    if (too_many || nin < (size_t)op->in.min)
        return gr_fail(b->err, GR_EMODEL,
                       "node '%s' (%s) has %zu inputs and %zu outputs, expected %d to %d and up to %d",
                       gr_show(gr_builder_label(n)), op->name, nin, n->out.count, op->in.min, op->in.max, op->out);
    for (int i = 0; i < op->in.min; i++)
        if (!in[i])
            return gr_fail(b->err, GR_EMODEL, "node '%s' (%s) lacks input %d", gr_show(gr_builder_label(n)), op->name,
                           i);
    return GR_OK;
}

/* Values of a graph by address: where each captured one stands among all. */
typedef struct places {
    size_t cap; /* a power of 2, more than twice as many as there are values */
    struct place {
        const gr_value *value;
        size_t at;
    } * slots;
} places;

static gr_status new_places(builder *b, size_t values, places *out)
{
    for (out->cap = 8; out->cap <= 2 * values;) out->cap *= 2;
    out->slots = GR_NEWS(b->scratch, out->cap, struct place);
    return out->slots ? GR_OK : gr_nomem(b->err);
}

static struct place *place_of(const places *p, const gr_value *v)
{
    size_t i = (uintptr_t)v / 16 * 0x9E3779B97F4A7C15u >> 20 & (p->cap - 1);
    while (p->slots[i].value && p->slots[i].value != v) i = (i + 1) & (p->cap - 1);
    return &p->slots[i];
}

/* Inputs for captured values behind a subgraph's own, one for each of all; unused where it does not capture it. */
static gr_status append_captured(builder *b, scope *s, size_t nall, const places *all)
{
    gr_graph *g = s->graph;
    size_t proper = g->ninputs;
    gr_value **inputs = GR_NEWS(b->arena, proper + nall, gr_value *);
    if (!inputs) return gr_nomem(b->err);
    if (proper) memcpy(inputs, g->inputs, proper * sizeof *inputs);
    for (size_t j = 0; j < s->ncaptured; j++)
        inputs[proper + place_of(all, s->captured[j].outer)->at] = s->captured[j].inner;
    for (size_t k = proper; k < proper + nall; k++) {
        if (!inputs[k] && !(inputs[k] = gr_graph_value(g, NULL))) return gr_nomem(b->err);
        inputs[k]->is_input = true;
    }
    g->inputs = inputs;
    g->ninputs = proper + nall;
    g->ncaptured = nall;
    return GR_OK;
}

typedef struct subgraphs {
    size_t count, ncaptured;
    gr_graph **graphs;
    gr_value **captured;
} subgraphs;

/* Let all graphs of a node capture the same outer values in the same order. */
static gr_status share_captured(builder *b, scope *scopes, size_t n, subgraphs *out)
{
    size_t most = 0;
    places all;
    for (size_t i = 0; i < n; i++) most += scopes[i].ncaptured;
    if (!(out->captured = GR_NEWS(b->scratch, most, gr_value *))) return gr_nomem(b->err);
    GR_TRY(new_places(b, most, &all));
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < scopes[i].ncaptured; j++) {
            gr_value *v = scopes[i].captured[j].outer;
            struct place *p = place_of(&all, v);
            if (p->value) continue;
            *p = (struct place){v, out->ncaptured};
            out->captured[out->ncaptured++] = v;
        }
    for (size_t i = 0; i < n; i++) GR_TRY(append_captured(b, &scopes[i], out->ncaptured, &all));
    return GR_OK;
}

/* Build the graphs among a node's attributes. */
static gr_status subgraphs_of(builder *b, scope *s, const gr_doc_node *node, const gr_op *op, gr_attrs attrs,
                              subgraphs *out)
{
    static gr_doc_value x = {.name = "x"};
    static const gr_doc_graph identity = {.name = "", .in = {1, &x}, .out = {1, &x}};
    size_t n = 0;
    *out = (subgraphs){0};
    if (!op->graphs) return GR_OK;
    while (op->graphs[n]) n++;
    scope *scopes = GR_NEWS(b->scratch, n, scope);
    if (!scopes || !(out->graphs = GR_NEWS(b->arena, n, gr_graph *))) return gr_nomem(b->err);
    for (size_t i = 0; i < n; i++) {
        const gr_attr *a = gr_attr_find(attrs, op->graphs[i]);
        bool plain = !a && (op->flags & GR_OP_PLAIN_GRAPHS);
        if (!plain && (!a || a->type != GR_ATTR_GRAPH || !a->g))
            return gr_fail(b->err, GR_EMODEL, "node '%s' (%s) lacks its graph '%s'", gr_show(gr_builder_label(node)),
                           op->name, op->graphs[i]);
        GR_TRY(build_graph(b, s, plain ? &identity : a->g, &scopes[i]));
        out->graphs[i] = scopes[i].graph;
    }
    out->count = n;
    return share_captured(b, scopes, n, out);
}

/* The names of a node's outputs within the graph: those of inner values of a function get the call's name before. */
static gr_status output_names(builder *b, const scope *s, const gr_doc_node *n, const char ***out)
{
    const char **names = GR_NEWS(b->scratch, n->out.count, const char *);
    if (!names) return gr_nomem(b->err);
    for (size_t i = 0; i < n->out.count; i++) {
        if (!*n->out.items[i]) continue;
        names[i] = gr_builder_inner_name(b, s, n->out.items[i]);
        if (!names[i]) return gr_nomem(b->err);
    }
    *out = names;
    return GR_OK;
}

/* Keep what a node of the file is and reads, for those who ask later what became of it. */
static gr_status note_source(builder *b, gr_graph *g, gr_source source)
{
    gr_source *added = GR_PUSH(b->arena, g->sources, g->nsources, g->capsources);
    if (!added) return gr_nomem(b->err);
    *added = source;
    return GR_OK;
}

static gr_status build_op(builder *b, scope *s, const gr_doc_node *n, const gr_op *op, gr_attrs attrs, gr_value **in)
{
    size_t nin = n->in.count;
    const void *params = NULL;
    const char **names;
    subgraphs sub;
    while (nin && !in[nin - 1]) nin--; /* trailing absent inputs are no inputs */
    GR_TRY(check_arity(b, op, n, nin, in));
    if (op->parse) {
        gr_status status = op->parse(attrs, b->arena, &params, b->err);
        if (status != GR_OK)
            return gr_fail_context(b->err, status, "node '%s' (%s)", gr_show(gr_builder_label(n)), op->name);
    }
    GR_TRY(subgraphs_of(b, s, n, op, attrs, &sub));
    gr_value **all = in;
    if (sub.ncaptured) {
        if (!(all = GR_NEWS(b->arena, nin + sub.ncaptured, gr_value *))) return gr_nomem(b->err);
        if (nin) memcpy(all, in, nin * sizeof *in);
        memcpy(all + nin, sub.captured, sub.ncaptured * sizeof *all);
    }
    GR_TRY(output_names(b, s, n, &names));
    gr_node *made =
        gr_graph_node(s->graph, op, params, attrs, (uint32_t)(nin + sub.ncaptured), all, (uint32_t)n->out.count, names);
    if (!made) return gr_nomem(b->err);
    made->name = gr_builder_inner_name(b, s, gr_builder_label(n));
    if (!made->name) return gr_nomem(b->err);
    made->ncaptured = (uint32_t)sub.ncaptured;
    made->nsubgraphs = (uint32_t)sub.count;
    made->subgraphs = sub.graphs;
    gr_insert_before(made, NULL);
    for (size_t i = 0; i < n->out.count; i++)
        if (*n->out.items[i]) GR_TRY(gr_builder_define(b, s, n->out.items[i], made->out[i]));
    return note_source(b, s->graph, (gr_source){made->name, made, NULL, op->name, made->nin, all});
}

static const gr_op *find_op(builder *b, const char *domain, const char *name, int64_t opset, int *lowest)
{
    struct found_op *f = &b->found[gr_name_hash(name) % (sizeof b->found / sizeof *b->found)];
    if (!f->name || f->opset != opset || strcmp(f->name, name) || strcmp(f->domain, domain)) {
        *f = (struct found_op){domain, name, opset, NULL, 0};
        f->op = gr_op_find(domain, name, opset, &f->lowest);
    }
    *lowest = f->lowest;
    return f->op;
}

gr_status gr_builder_node(builder *b, scope *s, const gr_doc_node *n)
{
    const char *domain = gr_builder_domain(n->domain);
    gr_attrs attrs;
    int lowest = 0;
    GR_TRY(gr_builder_spend(b, s, NODE_WEIGHT + n->in.count + n->out.count + n->attrs.count));
    gr_value **in = GR_NEWS(b->arena, n->in.count, gr_value *);
    if (!in) return gr_nomem(b->err);
    GR_TRY(inputs_of(b, s, n, in));
    gr_status status = gr_builder_resolve(b, s, n->attrs, &attrs);
    if (status != GR_OK)
        return gr_fail_context(b->err, status, "node '%s' (%s)", gr_show(gr_builder_label(n)), gr_show(n->op_type));
    int64_t opset = version_of(b, s, domain);
    const gr_op *op = find_op(b, domain, n->op_type, opset, &lowest);
    /* Our own operators come with function bodies for others to run; everybody else's function is what it says. */
    const gr_doc_function *f = NULL;
    if (!op || strcmp(domain, "graphrun")) GR_TRY(gr_builder_find_function(b, n, &f));
    if (f) return gr_builder_call(b, s, n, f, attrs, in);
    if (!*domain && !opset)
        return gr_fail(b->err, GR_EMODEL, "node '%s' (%s) is of domain ai.onnx, which the model does not import",
                       gr_show(gr_builder_label(n)), gr_show(n->op_type));
    bool constant = !*domain && !strcmp(n->op_type, "Constant");
    bool identity = !*domain && !strcmp(n->op_type, "Identity") && n->in.count == 1 && in[0] && in[0]->konst;
    if ((constant || identity) && n->out.count == 1 && *n->out.items[0]) {
        gr_value *v = identity ? in[0] : NULL;
        const char *name = gr_builder_inner_name(b, s, gr_builder_label(n));
        if (!name) return gr_nomem(b->err);
        if (constant)
            GR_TRY(gr_graph_const_node(s->graph, gr_builder_inner_name(b, s, n->out.items[0]), attrs, &v, b->err));
        GR_TRY(note_source(b, s->graph, (gr_source){name, NULL, v, constant ? "Constant" : "Identity", identity, in}));
        return gr_builder_define(b, s, n->out.items[0], v);
    }
    if (!op && b->stand_ins && !(op = gr_missing_op(b->arena, domain, n->op_type))) return gr_nomem(b->err);
    if (op) return build_op(b, s, n, op, attrs, in);
    GR_TRY(note_missing(b, domain, n, opset, lowest));
    for (size_t i = 0; i < n->out.count; i++) { /* go on, to find all that is missing */
        gr_value *v = gr_graph_value(s->graph, n->out.items[i]);
        if (!v) return gr_nomem(b->err);
        if (*n->out.items[i]) GR_TRY(gr_builder_define(b, s, n->out.items[i], v));
    }
    return GR_OK;
}

/* ---- graphs ---- */

static bool listed(const gr_doc_names *names, const char *name)
{
    for (size_t i = 0; names && i < names->count; i++)
        if (!strcmp(names->items[i], name)) return true;
    return false;
}

static gr_status build_inputs(builder *b, scope *s, const gr_doc_graph *d)
{
    gr_graph *g = s->graph;
    if (!(g->inputs = GR_NEWS(b->arena, d->in.count, gr_value *))) return gr_nomem(b->err);
    for (size_t i = 0; i < d->in.count; i++) {
        const gr_doc_value *in = &d->in.items[i];
        if (!in->name || !*in->name) return gr_fail(b->err, GR_EMODEL, "input %zu of the graph has no name", i);
        gr_name *e = gr_names_add(&s->names, b->scratch, in->name);
        if (!e) return gr_nomem(b->err);
        /* One with an initializer is a constant with a right to be overridden. */
        gr_value *v = e->value;
        if (v && v->konst && !g->parent) continue;
        if (v) return gr_fail(b->err, GR_EMODEL, "input '%s' of the graph is defined twice", gr_show(in->name));
        if (!in->type && !g->parent)
            return gr_fail(b->err, GR_EMODEL, "input '%s' of the graph has no type", gr_show(in->name));
        e->value = v = gr_graph_value(g, in->name);
        if (!v) return gr_nomem(b->err);
        if (in->type) GR_TRY(type_of(b, in->type, &v->type));
        v->is_input = true;
        g->inputs[g->ninputs++] = v;
    }
    return GR_OK;
}

static gr_status build_initializer(builder *b, scope *s, const char *name, const gr_doc_tensor *t,
                                   const gr_doc_sparse *sparse)
{
    gr_value *v = NULL;
    if (!name || !*name) return gr_fail(b->err, GR_EMODEL, "an initializer of the graph has no name");
    if (listed(b->overridden, name) && !s->graph->parent) return GR_OK;
    gr_name *e = gr_names_add(&s->names, b->scratch, name);
    if (!e) return gr_nomem(b->err);
    if (e->value) return gr_fail(b->err, GR_EMODEL, "initializer '%s' is defined twice", gr_show(name));
    if (sparse)
        GR_TRY(gr_graph_const_sparse(s->graph, name, sparse, &v, b->err));
    else if (t->dtype == GR_STRING) /* may stand there unused */
        v = gr_graph_value(s->graph, name);
    else
        GR_TRY(gr_graph_const_of(s->graph, name, t, &v, b->err));
    if (!v) return gr_nomem(b->err);
    if (!v->konst) v->type = gr_type_tensor(GR_STRING, GR_RANK_UNKNOWN, NULL), v->is_input = true;
    e->value = v;
    return GR_OK;
}

static gr_status build_outputs(builder *b, scope *s, const gr_doc_graph *d)
{
    gr_graph *g = s->graph;
    g->outputs = GR_NEWS(b->arena, d->out.count, gr_value *);
    g->output_names = GR_NEWS(b->arena, d->out.count, const char *);
    g->next_output = GR_NEWS(b->arena, d->out.count, int);
    if (!g->outputs || !g->output_names || !g->next_output) return gr_nomem(b->err);
    if (d->out.count > INT_MAX) return gr_fail(b->err, GR_ELIMIT, "the graph has too many outputs");
    g->noutputs = d->out.count;
    for (size_t i = 0; i < d->out.count; i++) {
        const gr_doc_value *out = &d->out.items[i];
        gr_value *v = NULL;
        if (out->name && *out->name) GR_TRY(gr_builder_lookup(b, s, out->name, &v));
        if (!v)
            return gr_fail(b->err, GR_EMODEL, "output %zu of the graph ('%s') is not defined by any node", i,
                           gr_show(out->name));
        gr_set_output(g, i, v);
        g->output_names[i] = out->name;
    }
    return GR_OK;
}

static gr_status build_graph(builder *b, scope *outer, const gr_doc_graph *d, scope *s)
{
    int depth = outer ? outer->depth + 1 : 0;
    if (depth > GR_BUILDER_MAX_DEPTH)
        return gr_fail(b->err, GR_ELIMIT, "graphs are nested more than %d deep", GR_BUILDER_MAX_DEPTH);
    *s = (scope){.outer = outer, .depth = depth, .imports = outer ? outer->imports : &b->imports};
    if (outer) {
        s->function = outer->function;
        s->call = outer->call;
        s->prefix = outer->prefix;
    }
    GR_TRY(gr_builder_spend(
        b, s, GR_BUILDER_CALL_WEIGHT + NODE_WEIGHT * (d->ninit + d->nsparse) + d->in.count + d->out.count));
    s->graph = gr_graph_new(b->arena, b->syms, d->name, outer ? outer->graph : NULL);
    if (!s->graph) return gr_nomem(b->err);
    s->graph->opset = version_of(b, s, "");
    for (size_t i = 0; i < d->ninit; i++) GR_TRY(build_initializer(b, s, d->init[i]->name, d->init[i], NULL));
    for (size_t i = 0; i < d->nsparse; i++)
        GR_TRY(build_initializer(b, s, d->sparse[i]->values->name, NULL, d->sparse[i]));
    GR_TRY(build_inputs(b, s, d));
    GR_TRY(gr_builder_nodes(b, s, &d->nodes));
    return build_outputs(b, s, d);
}

static gr_status build_all(builder *b, gr_graph **out)
{
    const gr_doc *doc = b->doc;
    scope s;
    if (!b->syms) return gr_nomem(b->err);
    if (!doc->graph) return gr_fail(b->err, GR_EMODEL, "the model has no graph");
    if (doc->ir_version < 1 || doc->ir_version > NEWEST_IR)
        return gr_fail(b->err, doc->ir_version < 1 ? GR_EMODEL : GR_EUNSUPPORTED,
                       "the model has IR version %lld, expected 1 to %d", (long long)doc->ir_version, NEWEST_IR);
    GR_TRY(gr_builder_read_imports(b, &doc->opsets, "the model", &b->imports));
    GR_TRY(gr_builder_index_functions(b));
    GR_TRY(build_graph(b, NULL, doc->graph, &s));
    if (b->nmissing) return report_missing(b);
    *out = s.graph;
    return GR_OK;
}

static gr_status build_doc(const gr_doc *doc, gr_arena *arena, const gr_doc_names *overridden, bool stand_ins,
                           gr_graph **out, gr_err *err)
{
    builder b = {.doc = doc,
                 .arena = arena,
                 .scratch = gr_arena_new(),
                 .overridden = overridden,
                 .stand_ins = stand_ins,
                 .err = err,
                 .syms = gr_syms_new(arena)};
    gr_status status = b.scratch ? build_all(&b, out) : gr_nomem(err);
    gr_arena_free(b.scratch);
    return status;
}

gr_status gr_graph_build(const gr_doc *doc, gr_arena *arena, const gr_doc_names *overridden, gr_graph **out,
                         gr_err *err)
{
    return build_doc(doc, arena, overridden, false, out, err);
}

gr_status gr_graph_build_all(const gr_doc *doc, gr_arena *arena, gr_graph **out, gr_err *err)
{
    return build_doc(doc, arena, NULL, true, out, err);
}
