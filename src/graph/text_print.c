/* SPDX-License-Identifier: Apache-2.0
 *
 * ONNX's textual syntax, written: what onnx.parser reads wherever its grammar can say it, else in the additions that
 * text_parse.c lists. One line per node, initializer and value; the text goes to the caller in pieces.
 */
#include "text_out.h"

/* ---- attributes ---- */

static void put_graph(gr_text_out *p, const gr_doc_graph *graph, bool is_value);

/* One value of an attribute; `of` is its type or that of the list's elements, `i` its place in a list, -1 if single. */
static void put_value(gr_text_out *p, const gr_attr *attr, gr_attr_type of, ptrdiff_t i)
{
    switch (of) {
    case GR_ATTR_FLOAT: gr_text_put_float(p, i < 0 ? &attr->f : &attr->floats[i]); break;
    case GR_ATTR_INT: gr_text_put_int(p, i < 0 ? attr->i : attr->ints[i]); break;
    case GR_ATTR_STRING: gr_text_put_bytes(p, i < 0 ? attr->s : attr->strings[i]); break;
    case GR_ATTR_TENSOR: gr_text_put_constant(p, i < 0 ? attr->t : attr->tensors[i]); break;
    case GR_ATTR_GRAPH: put_graph(p, i < 0 ? attr->g : attr->graphs[i], true); break;
    case GR_ATTR_TYPE: gr_text_put_type(p, i < 0 ? attr->tp : attr->types[i]); break;
    case GR_ATTR_SPARSE: {
        const gr_doc_sparse *sparse = i < 0 ? attr->sparse : attr->sparses[i];
        gr_text_put_sparse_type(p, sparse);
        gr_text_put_sparse_data(p, sparse, false);
        break;
    }
    default: break;
    }
}

static const struct attr_word {
    const char *name;
    gr_attr_type of; /* a list's elements */
} attr_words[] = {
    [GR_ATTR_UNDEFINED] = {"undefined", 0},
    [GR_ATTR_FLOAT] = {"float", 0},
    [GR_ATTR_INT] = {"int", 0},
    [GR_ATTR_STRING] = {"string", 0},
    [GR_ATTR_TENSOR] = {"tensor", 0},
    [GR_ATTR_GRAPH] = {"graph", 0},
    [GR_ATTR_SPARSE] = {"sparse_tensor", 0},
    [GR_ATTR_TYPE] = {"type_proto", 0},
    [GR_ATTR_FLOATS] = {"floats", GR_ATTR_FLOAT},
    [GR_ATTR_INTS] = {"ints", GR_ATTR_INT},
    [GR_ATTR_STRINGS] = {"strings", GR_ATTR_STRING},
    [GR_ATTR_TENSORS] = {"tensors", GR_ATTR_TENSOR},
    [GR_ATTR_GRAPHS] = {"graphs", GR_ATTR_GRAPH},
    [GR_ATTR_SPARSES] = {"sparse_tensors", GR_ATTR_SPARSE},
    [GR_ATTR_TYPES] = {"type_protos", GR_ATTR_TYPE},
};

static void put_attr(gr_text_out *p, const gr_attr *attr)
{
    gr_attr_type of = attr_words[attr->type].of;
    gr_text_put_notes(p, attr->doc_string, NULL);
    gr_text_put_word(p, attr->name);
    if (attr->type != GR_ATTR_UNDEFINED || !attr->ref) {
        gr_text_puts(p, ": ");
        gr_text_puts(p, attr_words[attr->type].name);
    }
    if (attr->ref) {
        gr_text_puts(p, " = @");
        gr_text_put_word(p, attr->ref);
        return;
    }
    if (attr->type == GR_ATTR_UNDEFINED) return;
    gr_text_puts(p, " = ");
    if (!of) {
        put_value(p, attr, attr->type, -1);
        return;
    }
    gr_text_puts(p, "[");
    for (size_t i = 0; i < attr->count && !p->stopped; i++) {
        if (i > 0) gr_text_puts(p, ", ");
        put_value(p, attr, of, (ptrdiff_t)i);
    }
    gr_text_puts(p, "]");
}

static void put_attrs(gr_text_out *p, const gr_attrs *attrs)
{
    if (attrs->count == 0) return;
    gr_text_puts(p, " <");
    p->indent += 3;
    for (size_t i = 0; i < attrs->count; i++) {
        if (i > 0) gr_text_puts(p, ", ");
        put_attr(p, &attrs->items[i]);
    }
    p->indent -= 3;
    gr_text_puts(p, ">");
}

/* ---- nodes ---- */

static void put_names(gr_text_out *p, const gr_doc_names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        if (i > 0) gr_text_puts(p, ", ");
        gr_text_put_name(p, names->items[i]);
    }
}

static bool has_graphs(const gr_attrs *attrs)
{
    for (size_t i = 0; i < attrs->count; i++)
        if (attrs->items[i].type == GR_ATTR_GRAPH || attrs->items[i].type == GR_ATTR_GRAPHS) return true;
    return false;
}

static void put_node(gr_text_out *p, const gr_doc_node *node)
{
    bool attrs_last = has_graphs(&node->attrs);
    gr_text_put_notes(p, node->doc_string, &node->metadata);
    if (node->name && *node->name) {
        gr_text_puts(p, "[");
        gr_text_put_name(p, node->name);
        gr_text_puts(p, "] ");
    }
    put_names(p, &node->out);
    gr_text_puts(p, node->out.count ? " = " : "= ");
    if (node->domain && *node->domain) {
        gr_text_put_dotted(p, node->domain);
        gr_text_puts(p, ".");
    }
    gr_text_put_word(p, node->op_type);
    if (node->overload && *node->overload) {
        gr_text_puts(p, ":");
        gr_text_put_word(p, node->overload);
    }
    if (!attrs_last) put_attrs(p, &node->attrs);
    gr_text_puts(p, " (");
    put_names(p, &node->in);
    gr_text_puts(p, ")");
    if (attrs_last) put_attrs(p, &node->attrs);
}

static void put_nodes(gr_text_out *p, const gr_doc_nodes *nodes)
{
    gr_text_puts(p, "{");
    p->indent += 3;
    for (size_t i = 0; i < nodes->count && !p->stopped; i++) {
        gr_text_new_line(p);
        put_node(p, &nodes->items[i]);
    }
    p->indent -= 3;
    gr_text_new_line(p);
    gr_text_puts(p, "}");
}

/* ---- graphs and functions ---- */

static void put_value_info(gr_text_out *p, const gr_doc_value *value)
{
    gr_text_put_notes(p, value->doc_string, &value->metadata);
    if (value->type && value->type->kind != GR_KIND_NONE) {
        gr_text_put_type(p, value->type);
        gr_text_puts(p, " ");
    }
    gr_text_put_name(p, value->name);
}

static void put_value_infos(gr_text_out *p, const gr_doc_values *values)
{
    gr_text_puts(p, "(");
    p->indent += 3;
    for (size_t i = 0; i < values->count; i++) {
        if (i > 0) gr_text_puts(p, ", ");
        put_value_info(p, &values->items[i]);
    }
    p->indent -= 3;
    gr_text_puts(p, ")");
}

static void next_line(gr_text_out *p, bool *first)
{
    if (!*first) gr_text_puts(p, ",");
    *first = false;
    gr_text_new_line(p);
}

/* <initializers and value infos>, one to a line. */
static void put_declarations(gr_text_out *p, const gr_doc_graph *graph)
{
    bool first = true;
    if (graph->ninit + graph->nsparse + graph->info.count == 0) return;
    gr_text_new_line(p);
    gr_text_puts(p, "<");
    p->indent += 3;
    for (size_t i = 0; i < graph->ninit && !p->stopped; i++) {
        const gr_doc_tensor *t = graph->init[i];
        next_line(p, &first);
        gr_text_put_notes(p, t->doc_string, &t->metadata);
        gr_text_put_shape(p, t->dtype, t->rank, t->dims);
        gr_text_puts(p, " ");
        gr_text_put_name(p, t->name);
        gr_text_puts(p, " = ");
        gr_text_put_data(p, t);
    }
    for (size_t i = 0; i < graph->nsparse && !p->stopped; i++) {
        next_line(p, &first);
        gr_text_put_sparse_type(p, graph->sparse[i]);
        gr_text_put_name(p, graph->sparse[i]->values->name);
        gr_text_puts(p, " = ");
        gr_text_put_sparse_data(p, graph->sparse[i], true);
    }
    for (size_t i = 0; i < graph->info.count && !p->stopped; i++) {
        next_line(p, &first);
        put_value_info(p, &graph->info.items[i]);
    }
    p->indent -= 3;
    gr_text_new_line(p);
    gr_text_puts(p, ">");
}

/* Would onnx.parser take this word for a subgraph's name where a value is expected? */
static bool is_graph_word(const char *name)
{
    double ignored;
    return gr_text_is_identifier(name) && !gr_text_to_double(name, strlen(name), &ignored);
}

static void put_graph(gr_text_out *p, const gr_doc_graph *graph, bool is_value)
{
    const char *name = graph->name ? graph->name : "";
    gr_text_put_notes(p, graph->doc_string, &graph->metadata);
    if (is_value && !is_graph_word(name)) {
        gr_text_put_note(p, "name", name, NULL);
        gr_text_puts(p, "subgraph");
    } else {
        gr_text_put_name(p, name);
    }
    gr_text_puts(p, " ");
    put_value_infos(p, &graph->in);
    gr_text_puts(p, " => ");
    put_value_infos(p, &graph->out);
    put_declarations(p, graph);
    gr_text_new_line(p);
    put_nodes(p, &graph->nodes);
}

static void put_opsets(gr_text_out *p, const gr_doc_opsets *opsets)
{
    gr_text_puts(p, "opset_import: [");
    for (size_t i = 0; i < opsets->count; i++) {
        if (i > 0) gr_text_puts(p, ", ");
        gr_text_put_quoted(p, opsets->items[i].domain);
        gr_text_puts(p, " : ");
        gr_text_put_int(p, opsets->items[i].version);
    }
    gr_text_puts(p, "]");
}

static void put_entry(gr_text_out *p, const char *key, const char *value)
{
    if (!value) return;
    gr_text_puts(p, ",");
    gr_text_new_line(p);
    gr_text_puts(p, key);
    gr_text_puts(p, ": ");
    gr_text_put_quoted(p, value);
}

/* <attr, attr: float = 1, ...> */
static void put_function_attrs(gr_text_out *p, const gr_doc_function *f)
{
    bool first = true;
    if (f->attr_names.count + f->attr_defaults.count == 0) return;
    gr_text_puts(p, "<");
    p->indent += 3;
    put_names(p, &f->attr_names);
    for (size_t i = 0; i < f->attr_defaults.count; i++) {
        if (!first || f->attr_names.count) gr_text_puts(p, ", ");
        first = false;
        put_attr(p, &f->attr_defaults.items[i]);
    }
    p->indent -= 3;
    gr_text_puts(p, "> ");
}

static void put_function(gr_text_out *p, const gr_doc_function *f)
{
    gr_text_put_notes(p, NULL, &f->metadata);
    gr_text_puts(p, "<");
    p->indent += 3;
    gr_text_new_line(p);
    gr_text_puts(p, "domain: ");
    gr_text_put_quoted(p, f->domain ? f->domain : "");
    if (f->overload && *f->overload) put_entry(p, "overload", f->overload);
    gr_text_puts(p, ",");
    gr_text_new_line(p);
    put_opsets(p, &f->opsets);
    if (f->doc_string && *f->doc_string) put_entry(p, "doc_string", f->doc_string);
    p->indent -= 3;
    gr_text_new_line(p);
    gr_text_puts(p, ">");
    gr_text_new_line(p);
    gr_text_put_name(p, f->name);
    gr_text_puts(p, " ");
    put_function_attrs(p, f);
    gr_text_puts(p, "(");
    put_names(p, &f->in);
    gr_text_puts(p, ") => (");
    put_names(p, &f->out);
    gr_text_puts(p, ")");
    put_declarations(p, &(gr_doc_graph){.info = f->info});
    gr_text_new_line(p);
    put_nodes(p, &f->nodes);
    gr_text_new_line(p);
}

static void put_model(gr_text_out *p, const gr_doc *doc)
{
    gr_text_puts(p, "<");
    p->indent += 3;
    gr_text_new_line(p);
    gr_text_puts(p, "ir_version: ");
    gr_text_put_int(p, doc->ir_version);
    gr_text_puts(p, ",");
    gr_text_new_line(p);
    put_opsets(p, &doc->opsets);
    put_entry(p, "producer_name", doc->producer_name);
    put_entry(p, "producer_version", doc->producer_version);
    put_entry(p, "domain", doc->domain);
    if (doc->has_model_version) {
        gr_text_puts(p, ",");
        gr_text_new_line(p);
        gr_text_puts(p, "model_version: ");
        gr_text_put_int(p, doc->model_version);
    }
    put_entry(p, "doc_string", doc->doc_string);
    if (doc->metadata.count) {
        gr_text_puts(p, ",");
        gr_text_new_line(p);
        gr_text_puts(p, "metadata_props: ");
        gr_text_put_props(p, &doc->metadata);
    }
    p->indent -= 3;
    gr_text_new_line(p);
    gr_text_puts(p, ">");
    gr_text_new_line(p);
    put_graph(p, doc->graph, false);
    gr_text_new_line(p);
}

gr_status gr_doc_print_text(const gr_doc *doc, const gr_text_options *options, gr_write_fn write, void *user,
                            gr_err *err)
{
    gr_text_out *p = gr_calloc(1, sizeof *p);
    if (!p) return gr_nomem(err);
    *p = (gr_text_out){.write = write, .user = user, .fresh = true, .options = {.max_elements = SIZE_MAX}};
    if (options) p->options = *options;
    if (doc->graph) put_model(p, doc);
    for (size_t i = 0; i < doc->nfunctions && !p->stopped; i++) {
        if (doc->graph || i) gr_text_new_line(p);
        put_function(p, &doc->functions[i]);
    }
    gr_text_flush(p);
    bool stopped = p->stopped;
    gr_free(p);
    if (stopped) return gr_fail(err, GR_EIO, "the text could not be written");
    return GR_OK;
}
