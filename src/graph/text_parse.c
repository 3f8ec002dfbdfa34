/* SPDX-License-Identifier: Apache-2.0
 *
 * ONNX's textual syntax, read. Beyond what onnx.parser reads:
 *   - names that are no identifiers may be quoted everywhere: operators, domains, attributes, constants;
 *   - "..." stands for a constant's values that were left out; onnx.printer writes it for types it cannot print;
 *   - ["base64": "..."] for them gives the bytes of raw_data;
 *   - sparse_tensor(float[3,4]) w = (float[2] {1,2}, int64[2] {0,5}) is a sparse constant: values and indices;
 *   - types below 8 bits may be given by element instead of by packed byte, 16-bit floats as numbers with a point;
 *   - `undefined` is an element type that is not given, seq(), optional() and map(string,) lack their inner type;
 *   - notes (text_lex.h) carry doc strings, metadata and denotations.
 * A text is a list of functions without a model if it begins with a function: no ir_version in its head, but a domain
 * or overload there, or attributes between the name and the inputs.
 */
#include "text_lex.h"

typedef struct header {
    bool any, is_model, is_function;
    int64_t ir_version, model_version;
    bool has_model_version;
    const char *producer_name, *producer_version, *domain, *doc_string, *overload;
    gr_doc_opsets opsets;
    gr_doc_props metadata;
} header;

static gr_status parse_graph(gr_lex *lex, gr_doc_graph **out);
static gr_status parse_nodes(gr_lex *lex, gr_doc_nodes *out);

/* ---- attributes ---- */

/* An attribute's type by its name in the grammar; singles and their lists are neighbours. */
static const struct attr_kind {
    const char *name;
    gr_attr_type single, list;
} attr_kinds[] = {
    {"float", GR_ATTR_FLOAT, GR_ATTR_FLOATS},    {"int", GR_ATTR_INT, GR_ATTR_INTS},
    {"string", GR_ATTR_STRING, GR_ATTR_STRINGS}, {"tensor", GR_ATTR_TENSOR, GR_ATTR_TENSORS},
    {"graph", GR_ATTR_GRAPH, GR_ATTR_GRAPHS},    {"sparse_tensor", GR_ATTR_SPARSE, GR_ATTR_SPARSES},
    {"type_proto", GR_ATTR_TYPE, GR_ATTR_TYPES}, {"undefined", GR_ATTR_UNDEFINED, GR_ATTR_UNDEFINED},
};
enum { ATTR_KINDS = sizeof attr_kinds / sizeof *attr_kinds };

static gr_attr_type list_of(gr_attr_type single)
{
    for (int i = 0; i < ATTR_KINDS; i++)
        if (attr_kinds[i].single == single) return attr_kinds[i].list;
    return GR_ATTR_UNDEFINED;
}

static gr_attr_type single_of(gr_attr_type list)
{
    for (int i = 0; i < ATTR_KINDS; i++)
        if (attr_kinds[i].list == list) return attr_kinds[i].single;
    return GR_ATTR_UNDEFINED;
}

static gr_status parse_attr_type(gr_lex *lex, gr_attr_type *out)
{
    for (int i = 0; i < ATTR_KINDS; i++) {
        const char *name = attr_kinds[i].name;
        size_t n = strlen(name);
        bool plural = lex->n == n + 1 && lex->s[n] == 's';
        if (lex->kind != GR_TOK_IDENT || (lex->n != n && !plural) || memcmp(lex->s, name, n) != 0) continue;
        *out = plural ? attr_kinds[i].list : attr_kinds[i].single;
        return gr_lex_next(lex);
    }
    return gr_lex_expected(lex, "an attribute's type");
}

/* A value that starts with a type: the type itself, or a constant of it. */
static gr_status parse_typed_value(gr_lex *lex, gr_attr *attr)
{
    gr_notes notes = lex->notes;
    gr_doc_type *type;
    GR_TRY(gr_text_parse_type(lex, &type));
    if (type->kind == GR_KIND_SPARSE && (lex->kind == '(' || lex->kind == '=')) {
        attr->type = GR_ATTR_SPARSE;
        return gr_text_parse_sparse(lex, type, NULL, &attr->sparse);
    }
    if (gr_text_is_constant(lex)) {
        attr->type = GR_ATTR_TENSOR;
        return gr_text_parse_constant(lex, type, &notes, &attr->t);
    }
    attr->type = GR_ATTR_TYPE;
    attr->tp = type;
    return GR_OK;
}

/* One value, its type found out by its look. An integer is taken as a float where one is expected. */
static gr_status parse_single(gr_lex *lex, gr_attr_type expected, gr_attr *attr)
{
    if (lex->kind == GR_TOK_STRING) {
        attr->type = GR_ATTR_STRING;
        return gr_lex_bytes(lex, &attr->s);
    }
    if (lex->kind == GR_TOK_INT && expected != GR_ATTR_FLOAT) {
        attr->type = GR_ATTR_INT;
        return gr_lex_int(lex, "an integer", &attr->i);
    }
    if (gr_lex_is_float(lex)) {
        attr->type = GR_ATTR_FLOAT;
        return gr_lex_float(lex, &attr->f);
    }
    if (lex->kind != GR_TOK_IDENT) return gr_lex_expected(lex, "an attribute's value");
    if (gr_text_is_type(lex->s, lex->n)) return parse_typed_value(lex, attr);
    attr->type = GR_ATTR_GRAPH;
    return parse_graph(lex, &attr->g);
}

/* The list's elements: floats and the like by value, the rest by pointer. */
typedef struct value_list {
    size_t n, cap;
    void *items;
} value_list;

static size_t value_size(gr_attr_type type)
{
    switch (type) {
    case GR_ATTR_FLOAT: return sizeof(float);
    case GR_ATTR_INT: return sizeof(int64_t);
    case GR_ATTR_STRING: return sizeof(gr_bytes_view);
    default: return sizeof(void *);
    }
}

/* Integers before the first float of an untyped list become floats. */
static gr_status ints_to_floats(gr_lex *lex, value_list *list)
{
    float *floats = GR_NEWS(lex->arena, list->cap ? list->cap : 1, float);
    if (!floats) return gr_nomem(lex->err);
    for (size_t i = 0; i < list->n; i++) floats[i] = (float)((int64_t *)list->items)[i];
    list->items = floats;
    return GR_OK;
}

static gr_status parse_list(gr_lex *lex, gr_attr *attr)
{
    value_list list = {0};
    gr_attr_type expected = single_of(attr->type);
    bool untyped = attr->type == GR_ATTR_UNDEFINED, found;
    if (!untyped && expected == GR_ATTR_UNDEFINED)
        return gr_lex_fail(lex, GR_EFORMAT, "the attribute '%s' has a list where one value is expected",
                           gr_show(attr->name));
    GR_TRY(gr_lex_next(lex));
    GR_TRY(gr_lex_accept(lex, ']', &found));
    if (found) {
        if (untyped) return gr_lex_expected(lex, "a type for the attribute with an empty list");
        return GR_OK;
    }
    do {
        gr_attr value = {0};
        gr_lex before = *lex;
        GR_TRY(parse_single(lex, expected, &value));
        if (untyped && expected == GR_ATTR_INT && value.type == GR_ATTR_FLOAT) {
            GR_TRY(ints_to_floats(lex, &list));
            expected = GR_ATTR_FLOAT;
        } else if (expected == GR_ATTR_UNDEFINED) {
            expected = value.type;
        } else if (value.type != expected) {
            return gr_lex_fail(&before, GR_EFORMAT, "the list of the attribute '%s' mixes types", gr_show(attr->name));
        }
        void *slot = gr_arena_push(lex->arena, &list.items, &list.n, &list.cap, value_size(expected));
        if (!slot) return gr_nomem(lex->err);
        memcpy(slot, &value.s, value_size(expected)); /* the members of the union share their address */
        GR_TRY(gr_lex_accept(lex, ',', &found));
    } while (found);
    attr->type = list_of(expected);
    attr->count = list.n;
    attr->ints = list.items;
    return gr_lex_expect(lex, ']', "',' or ']' after a value");
}

/* What follows an attribute's name: [: type] = value. */
static gr_status parse_attr_value(gr_lex *lex, gr_attr *attr)
{
    bool found;
    gr_attr_type declared = GR_ATTR_UNDEFINED;
    GR_TRY(gr_lex_accept(lex, ':', &found));
    if (found) {
        GR_TRY(parse_attr_type(lex, &declared));
        if (declared == GR_ATTR_UNDEFINED && lex->kind != '=') return GR_OK;
    }
    GR_TRY(gr_lex_expect(lex, '=', "'=' and an attribute's value"));
    attr->type = declared;
    if (lex->kind == '[') return parse_list(lex, attr);
    GR_TRY(gr_lex_accept(lex, '@', &found));
    if (found) return gr_lex_name(lex, "the name of a function's attribute", &attr->ref);
    gr_lex before = *lex;
    GR_TRY(parse_single(lex, declared, attr));
    if (declared != GR_ATTR_UNDEFINED && attr->type != declared)
        return gr_lex_fail(&before, GR_EFORMAT, "the value of the attribute '%s' is not of its declared type",
                           gr_show(attr->name));
    return GR_OK;
}

/* <name = value, ...>; with `names` not NULL, bare names are allowed and collected there. */
static gr_status parse_attrs(gr_lex *lex, gr_attrs *out, gr_doc_names *names)
{
    gr_attr *attrs = NULL;
    size_t cap = 0, names_cap = 0;
    bool found;
    GR_TRY(gr_lex_accept(lex, '<', &found));
    if (!found) return GR_OK;
    do {
        const char *name, *doc = lex->notes.doc;
        GR_TRY(gr_lex_name(lex, "an attribute's name", &name));
        if (names && lex->kind != ':' && lex->kind != '=') {
            const char **slot = GR_PUSH(lex->arena, names->items, names->count, names_cap);
            if (!slot) return gr_nomem(lex->err);
            *slot = name;
        } else {
            gr_attr *attr = GR_PUSH(lex->arena, attrs, out->count, cap);
            if (!attr) return gr_nomem(lex->err);
            *attr = (gr_attr){.name = name, .doc_string = doc};
            GR_TRY(parse_attr_value(lex, attr));
        }
        GR_TRY(gr_lex_accept(lex, ',', &found));
    } while (found);
    out->items = attrs;
    return gr_lex_expect(lex, '>', "',' or '>' after an attribute");
}

/* ---- nodes ---- */

/* Names with commas between; an absent one is "" or nothing before a comma, and a comma may follow the last. */
static gr_status parse_names(gr_lex *lex, gr_doc_names *out)
{
    size_t cap = 0;
    bool found;
    do {
        const char *name = "";
        if (lex->kind == GR_TOK_IDENT || lex->kind == GR_TOK_STRING)
            GR_TRY(gr_lex_name(lex, "a name", &name));
        else if (lex->kind != ',')
            return GR_OK;
        const char **slot = GR_PUSH(lex->arena, out->items, out->count, cap);
        if (!slot) return gr_nomem(lex->err);
        *slot = name;
        GR_TRY(gr_lex_accept(lex, ',', &found));
    } while (found);
    return GR_OK;
}

static gr_status parse_node(gr_lex *lex, gr_doc_node *node)
{
    bool found;
    node->doc_string = lex->notes.doc;
    node->metadata = lex->notes.meta;
    GR_TRY(gr_lex_accept(lex, '[', &found));
    if (found) {
        node->name = "";
        if (lex->kind != ']') GR_TRY(gr_lex_name(lex, "a node's name", &node->name));
        GR_TRY(gr_lex_expect(lex, ']', "']' after a node's name"));
    }
    GR_TRY(parse_names(lex, &node->out));
    GR_TRY(gr_lex_expect(lex, '=', node->out.count ? "',' or '=' after an output" : "a node or '}'"));
    GR_TRY(gr_lex_dotted(lex, "an operator", &node->domain, &node->op_type));
    if (!node->domain) node->domain = "";
    GR_TRY(gr_lex_accept(lex, ':', &found));
    if (found) GR_TRY(gr_lex_name(lex, "an overload's name", &node->overload));
    GR_TRY(parse_attrs(lex, &node->attrs, NULL));
    GR_TRY(gr_lex_expect(lex, '(', "'(' and the inputs of a node"));
    GR_TRY(parse_names(lex, &node->in));
    GR_TRY(gr_lex_expect(lex, ')', "',' or ')' after an input"));
    return node->attrs.count ? GR_OK : parse_attrs(lex, &node->attrs, NULL);
}

static gr_status parse_nodes(gr_lex *lex, gr_doc_nodes *out)
{
    size_t cap = 0;
    GR_TRY(gr_lex_expect(lex, '{', "'{' and nodes"));
    while (lex->kind != '}') {
        gr_doc_node *node = GR_PUSH(lex->arena, out->items, out->count, cap);
        if (!node) return gr_nomem(lex->err);
        *node = (gr_doc_node){0};
        GR_TRY(parse_node(lex, node));
    }
    return gr_lex_next(lex);
}

/* ---- values ---- */

/* [type] name. A type's word is a name if nothing that continues a value follows it. */
static gr_status parse_value_info(gr_lex *lex, gr_doc_value *value)
{
    *value = (gr_doc_value){.doc_string = lex->notes.doc, .metadata = lex->notes.meta};
    if (lex->kind == GR_TOK_IDENT && gr_text_is_type(lex->s, lex->n)) {
        gr_lex word = *lex;
        GR_TRY(gr_lex_next(lex));
        bool is_name = lex->kind == ',' || lex->kind == ')' || lex->kind == '>';
        *lex = word;
        if (!is_name) GR_TRY(gr_text_parse_type(lex, &value->type));
    }
    return gr_lex_name(lex, "a value's type and name", &value->name);
}

typedef struct graph_lists {
    size_t init_cap, sparse_cap;
} graph_lists;

/* What follows "= " behind a value: an initializer. */
static gr_status parse_initializer(gr_lex *lex, const gr_doc_value *value, gr_doc_graph *graph, graph_lists *caps)
{
    if (!value->type) return gr_lex_fail(lex, GR_EFORMAT, "the initializer '%s' has no type", gr_show(value->name));
    if (value->type->kind == GR_KIND_SPARSE) {
        gr_doc_sparse **sparse = GR_PUSH(lex->arena, graph->sparse, graph->nsparse, caps->sparse_cap);
        return sparse ? gr_text_parse_sparse(lex, value->type, value->name, sparse) : gr_nomem(lex->err);
    }
    gr_doc_tensor **slot = GR_PUSH(lex->arena, graph->init, graph->ninit, caps->init_cap);
    gr_doc_tensor *t = GR_NEW(lex->arena, gr_doc_tensor);
    if (!slot || !t) return gr_nomem(lex->err);
    *slot = t;
    t->name = value->name;
    return gr_text_parse_data(lex, value->type, t);
}

/* A list of values up to `close`. With a graph, "= data" makes an initializer: besides the value for inputs, instead of
 * it and with the value's notes where values and initializers share a list. */
static gr_status parse_value_list(gr_lex *lex, int close, gr_doc_values *out, gr_doc_graph *graph, graph_lists *caps)
{
    size_t cap = 0;
    bool found;
    GR_TRY(gr_lex_accept(lex, close, &found));
    if (found) return GR_OK;
    do {
        gr_doc_value value;
        GR_TRY(parse_value_info(lex, &value));
        found = false;
        if (graph) GR_TRY(gr_lex_accept(lex, '=', &found));
        if (found) {
            size_t before = graph->ninit;
            GR_TRY(parse_initializer(lex, &value, graph, caps));
            if (close == '>' && graph->ninit > before) {
                graph->init[before]->doc_string = value.doc_string;
                graph->init[before]->metadata = value.metadata;
            }
        }
        if (!found || close == ')') {
            gr_doc_value *slot = GR_PUSH(lex->arena, out->items, out->count, cap);
            if (!slot) return gr_nomem(lex->err);
            *slot = value;
        }
        GR_TRY(gr_lex_accept(lex, ',', &found));
    } while (found);
    return gr_lex_expect(lex, close, close == ')' ? "',' or ')' after a value" : "',' or '>' after a value");
}

/* ---- graphs and functions ---- */

/* What follows a graph's name. */
static gr_status parse_graph_body(gr_lex *lex, gr_doc_graph *graph)
{
    graph_lists caps = {0};
    bool found;
    GR_TRY(gr_lex_enter(lex));
    GR_TRY(gr_lex_accept(lex, '(', &found));
    if (found) GR_TRY(parse_value_list(lex, ')', &graph->in, graph, &caps));
    GR_TRY(gr_lex_expect(lex, GR_TOK_ARROW, found ? "'=>' and the outputs" : "'(' and the inputs of a graph"));
    GR_TRY(gr_lex_expect(lex, '(', "'(' and the outputs"));
    GR_TRY(parse_value_list(lex, ')', &graph->out, NULL, NULL));
    GR_TRY(gr_lex_accept(lex, '<', &found));
    if (found) GR_TRY(parse_value_list(lex, '>', &graph->info, graph, &caps));
    GR_TRY(parse_nodes(lex, &graph->nodes));
    gr_lex_leave(lex);
    return GR_OK;
}

static gr_status parse_graph(gr_lex *lex, gr_doc_graph **out)
{
    gr_doc_graph *graph = *out = GR_NEW(lex->arena, gr_doc_graph);
    if (!graph) return gr_nomem(lex->err);
    graph->doc_string = lex->notes.doc;
    graph->metadata = lex->notes.meta;
    const char *name = lex->notes.name;
    GR_TRY(gr_lex_name(lex, "a graph's name", &graph->name));
    if (name) graph->name = name;
    return parse_graph_body(lex, graph);
}

/* Inputs or outputs of a function: names, whose types if given become value infos. */
static gr_status parse_function_values(gr_lex *lex, gr_doc_names *names, gr_doc_values *info, size_t *info_cap)
{
    size_t cap = 0;
    bool found;
    GR_TRY(gr_lex_expect(lex, '(', "'(' and the inputs or outputs of a function"));
    GR_TRY(gr_lex_accept(lex, ')', &found));
    if (found) return GR_OK;
    do {
        gr_doc_value value;
        GR_TRY(parse_value_info(lex, &value));
        const char **name = GR_PUSH(lex->arena, names->items, names->count, cap);
        gr_doc_value *slot = value.type ? GR_PUSH(lex->arena, info->items, info->count, *info_cap) : NULL;
        if (!name || (value.type && !slot)) return gr_nomem(lex->err);
        *name = value.name;
        if (slot) *slot = value;
        GR_TRY(gr_lex_accept(lex, ',', &found));
    } while (found);
    return gr_lex_expect(lex, ')', "',' or ')' after a value");
}

static gr_status append_info(gr_lex *lex, gr_doc_values *info, size_t cap)
{
    gr_doc_values more = {0};
    GR_TRY(gr_lex_next(lex));
    GR_TRY(parse_value_list(lex, '>', &more, NULL, NULL));
    for (size_t i = 0; i < more.count; i++) {
        gr_doc_value *slot = GR_PUSH(lex->arena, info->items, info->count, cap);
        if (!slot) return gr_nomem(lex->err);
        *slot = more.items[i];
    }
    return GR_OK;
}

/* From the attributes on; the name and what stands before it has been read. */
static gr_status parse_function_body(gr_lex *lex, const header *head, const gr_notes *notes, const char *name,
                                     gr_doc_function *f)
{
    size_t info_cap = 0;
    *f = (gr_doc_function){.name = name,
                           .domain = head->domain ? head->domain : "",
                           .overload = head->overload,
                           .doc_string = head->doc_string,
                           .opsets = head->opsets,
                           .metadata = notes->meta};
    if (head->is_model)
        return gr_lex_fail(lex, GR_EFORMAT, "the function '%s' has an entry in its head that only models have",
                           gr_show(name));
    GR_TRY(parse_attrs(lex, &f->attr_defaults, &f->attr_names));
    GR_TRY(parse_function_values(lex, &f->in, &f->info, &info_cap));
    GR_TRY(gr_lex_expect(lex, GR_TOK_ARROW, "'=>' and the outputs"));
    GR_TRY(parse_function_values(lex, &f->out, &f->info, &info_cap));
    if (lex->kind == '<') GR_TRY(append_info(lex, &f->info, info_cap));
    return parse_nodes(lex, &f->nodes);
}

/* ---- heads ---- */

static gr_status parse_opsets(gr_lex *lex, gr_doc_opsets *out)
{
    size_t cap = 0;
    bool found;
    *out = (gr_doc_opsets){0};
    GR_TRY(gr_lex_expect(lex, '[', "'[' and opsets"));
    GR_TRY(gr_lex_accept(lex, ']', &found));
    if (found) return GR_OK;
    do {
        gr_doc_opset *opset = GR_PUSH(lex->arena, out->items, out->count, cap);
        if (!opset) return gr_nomem(lex->err);
        GR_TRY(gr_lex_string(lex, "a domain in quotes", &opset->domain));
        GR_TRY(gr_lex_expect(lex, ':', "':' and the opset's version"));
        GR_TRY(gr_lex_int(lex, "the opset's version", &opset->version));
        GR_TRY(gr_lex_accept(lex, ',', &found));
    } while (found);
    return gr_lex_expect(lex, ']', "',' or ']' after an opset");
}

static gr_status parse_entry(gr_lex *lex, header *head)
{
    enum { INT, TEXT, OPSETS, PROPS };
    const struct {
        const char *key;
        int type;
        void *to;
        bool model, function;
    } keys[] = {
        {"ir_version", INT, &head->ir_version, true, false},
        {"opset_import", OPSETS, &head->opsets, false, false},
        {"producer_name", TEXT, &head->producer_name, true, false},
        {"producer_version", TEXT, &head->producer_version, true, false},
        {"domain", TEXT, &head->domain, false, true},
        {"model_version", INT, &head->model_version, true, false},
        {"doc_string", TEXT, &head->doc_string, false, false},
        {"metadata_props", PROPS, &head->metadata, true, false},
        {"overload", TEXT, &head->overload, false, true},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!gr_lex_is_word(lex, keys[i].key)) continue;
        head->is_model |= keys[i].model;
        head->is_function |= keys[i].function;
        head->has_model_version |= keys[i].to == &head->model_version;
        GR_TRY(gr_lex_next(lex));
        GR_TRY(gr_lex_expect(lex, ':', "':' after a key"));
        switch (keys[i].type) {
        case INT: return gr_lex_int(lex, "an integer", keys[i].to);
        case TEXT: return gr_lex_string(lex, "a string in quotes", keys[i].to);
        case OPSETS: return parse_opsets(lex, keys[i].to);
        default: return gr_text_parse_props(lex, keys[i].to);
        }
    }
    return gr_lex_expected(lex, "a key such as ir_version, opset_import or domain");
}

static gr_status parse_header(gr_lex *lex, header *head)
{
    bool found;
    *head = (header){0};
    GR_TRY(gr_lex_accept(lex, '<', &found));
    if (!found) return GR_OK;
    GR_TRY(gr_lex_accept(lex, '>', &found));
    if (found) return GR_OK;
    do {
        GR_TRY(parse_entry(lex, head));
        GR_TRY(gr_lex_accept(lex, ',', &found));
    } while (found);
    return gr_lex_expect(lex, '>', "',' or '>' after an entry of the head");
}

static gr_status parse_function(gr_lex *lex, gr_doc_function *f)
{
    header head;
    const char *name;
    gr_notes notes = lex->notes;
    GR_TRY(parse_header(lex, &head));
    GR_TRY(gr_lex_name(lex, "a function's name", &name));
    return parse_function_body(lex, &head, &notes, name, f);
}

/* The model's graph, or the first function of a text that has only functions. */
static gr_status parse_first(gr_lex *lex, gr_doc *doc, size_t *cap)
{
    header head;
    const char *name;
    gr_notes notes = lex->notes;
    GR_TRY(parse_header(lex, &head));
    gr_notes graph_notes = lex->notes;
    GR_TRY(gr_lex_name(lex, "the name of a graph or function", &name));
    if (!head.is_model && (head.is_function || lex->kind == '<')) {
        gr_doc_function *f = GR_PUSH(lex->arena, doc->functions, doc->nfunctions, *cap);
        return f ? parse_function_body(lex, &head, &notes, name, f) : gr_nomem(lex->err);
    }
    if (head.overload) return gr_lex_fail(lex, GR_EFORMAT, "a model cannot have an overload");
    doc->ir_version = head.ir_version;
    doc->has_model_version = head.has_model_version;
    doc->model_version = head.model_version;
    doc->producer_name = head.producer_name;
    doc->producer_version = head.producer_version;
    doc->domain = head.domain;
    doc->doc_string = head.doc_string;
    doc->opsets = head.opsets;
    doc->metadata = head.metadata;
    doc->graph = GR_NEW(lex->arena, gr_doc_graph);
    if (!doc->graph) return gr_nomem(lex->err);
    doc->graph->name = graph_notes.name ? graph_notes.name : name;
    doc->graph->doc_string = graph_notes.doc;
    doc->graph->metadata = graph_notes.meta;
    return parse_graph_body(lex, doc->graph);
}

static gr_status parse_all(gr_lex *lex, gr_doc *doc)
{
    size_t cap = 0;
    GR_TRY(parse_first(lex, doc, &cap));
    while (lex->kind != GR_TOK_END) {
        gr_doc_function *f = GR_PUSH(lex->arena, doc->functions, doc->nfunctions, cap);
        if (!f) return gr_nomem(lex->err);
        GR_TRY(parse_function(lex, f));
    }
    return GR_OK;
}

gr_status gr_doc_parse_text(const char *text, size_t size, const char *name, gr_doc **out, gr_err *err)
{
    gr_arena *arena = gr_arena_new();
    gr_doc *doc = arena ? GR_NEW(arena, gr_doc) : NULL;
    gr_lex lex;
    if (!doc) {
        gr_arena_free(arena);
        return gr_nomem(err);
    }
    doc->arena = arena;
    gr_status status = gr_lex_start(&lex, text, size, name ? name : "text", arena, err);
    if (status == GR_OK) status = parse_all(&lex, doc);
    if (status == GR_OK)
        *out = doc;
    else
        gr_arena_free(arena);
    return status;
}
