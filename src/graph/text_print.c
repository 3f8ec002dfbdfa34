/* SPDX-License-Identifier: Apache-2.0
 *
 * ONNX's textual syntax, written: what onnx.parser reads wherever its grammar can say it, else in the additions that
 * text_parse.c lists. One line per node, initializer and value; the text goes to the caller in pieces.
 */
#include "text_lex.h"
#include <stdio.h>

enum { BUFFER = 8192, LINE = 110, MAX_INDENT = 60 };

typedef struct printer {
    gr_write_fn write;
    void *user;
    gr_text_options options;
    bool stopped; /* the caller wants no more */
    bool fresh;   /* at the start of a line, indented */
    int indent;
    size_t column, used;
    char buffer[BUFFER];
} printer;

/* ---- output ---- */

static void flush(printer *p)
{
    if (p->used && !p->stopped && !p->write(p->user, p->buffer, p->used)) p->stopped = true;
    p->used = 0;
}

static void put(printer *p, const char *s, size_t n)
{
    p->fresh = false;
    p->column += n;
    while (n > 0) {
        size_t part = n < BUFFER - p->used ? n : BUFFER - p->used;
        memcpy(p->buffer + p->used, s, part);
        p->used += part;
        s += part;
        n -= part;
        if (p->used == BUFFER) flush(p);
    }
}

static void puts_(printer *p, const char *s) { put(p, s, strlen(s)); }

static void put_char(printer *p, char c) { put(p, &c, 1); }

static void new_line(printer *p)
{
    static const char spaces[MAX_INDENT + 1] = "                                                            ";
    puts_(p, "\n");
    put(p, spaces, p->indent < MAX_INDENT ? (size_t)p->indent : MAX_INDENT);
    p->column = 0;
    p->fresh = true;
}

static void put_int(printer *p, int64_t value)
{
    char text[GR_NUMBER_ROOM];
    put(p, text, gr_int_to_text(value, text));
}

/* A nan whose bits are not those that "nan" reads back as gets them in a note; the note's line must end behind it. */
static void put_bits(printer *p, uint64_t bits, int width)
{
    char text[16];
    for (int i = 0; i < width; i++) text[i] = "0123456789abcdef"[bits >> 4 * (width - 1 - i) & 15];
    puts_(p, " #: bits ");
    put(p, text, (size_t)width);
    new_line(p);
}

static void put_float(printer *p, const void *at)
{
    char text[GR_NUMBER_ROOM];
    float f;
    uint32_t bits;
    memcpy(&f, at, sizeof f);
    memcpy(&bits, at, sizeof bits);
    put(p, text, gr_float_to_text(f, text));
    if (f != f && (bits & 0x7FFFFFFF) != 0x7FC00000) put_bits(p, bits, 8);
}

static void put_double(printer *p, const void *at)
{
    char text[GR_NUMBER_ROOM];
    double d;
    uint64_t bits;
    memcpy(&d, at, sizeof d);
    memcpy(&bits, at, sizeof bits);
    put(p, text, gr_double_to_text(d, text));
    if (d != d && (bits & INT64_MAX) != 0x7FF8000000000000) put_bits(p, bits, 16);
}

/* Within quotes; bytes that are held as C0 80 in a name go out as NUL. In notes a newline is \n. */
static void put_escaped(printer *p, const char *s, size_t n, bool is_name, bool is_note)
{
    size_t done = 0;
    for (size_t i = 0; i < n; i++) {
        bool nul = is_name && (unsigned char)s[i] == 0xC0 && i + 1 < n && (unsigned char)s[i + 1] == 0x80;
        bool line = is_note && s[i] == '\n';
        if (!nul && !line && s[i] != '"' && s[i] != '\\') continue;
        put(p, s + done, i - done);
        done = i;
        if (nul) {
            put(p, "", 1);
            done = i + 2;
            i++;
        } else if (line) {
            put(p, "\\n", 2);
            done = i + 1;
        } else {
            put_char(p, '\\');
        }
    }
    put(p, s + done, n - done);
}

static void put_quoted(printer *p, const char *name)
{
    put_char(p, '"');
    put_escaped(p, name, strlen(name), true, false);
    put_char(p, '"');
}

static void put_bytes(printer *p, gr_bytes_view bytes)
{
    put_char(p, '"');
    put_escaped(p, bytes.data, bytes.size, false, false);
    put_char(p, '"');
}

/* The length of the word at s, 0 if there is none. */
static size_t word_length(const char *s)
{
    static const char letters[] = "_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    return *s >= '0' && *s <= '9' ? 0 : strspn(s, letters);
}

static bool is_word(const char *s) { return s && word_length(s) && s[word_length(s)] == 0; }

/* A word that no type bears, so that it needs no quotes anywhere. */
static bool is_identifier(const char *s) { return is_word(s) && !gr_text_is_type(s, strlen(s)); }

static void put_name(printer *p, const char *name)
{
    if (is_identifier(name))
        puts_(p, name);
    else
        put_quoted(p, name ? name : "");
}

/* Where no type can stand. onnx.parser takes no quotes in these places. */
static void put_word(printer *p, const char *word)
{
    if (is_word(word))
        puts_(p, word);
    else
        put_quoted(p, word ? word : "");
}

/* ---- notes ---- */

static void put_note(printer *p, const char *key, const char *first, const char *second)
{
    if (!p->fresh) new_line(p);
    puts_(p, "#: ");
    puts_(p, key);
    puts_(p, " \"");
    put_escaped(p, first, strlen(first), true, true);
    if (second) {
        puts_(p, "\": \"");
        put_escaped(p, second, strlen(second), true, true);
    }
    puts_(p, "\"");
    new_line(p);
}

static void put_notes(printer *p, const char *doc, const gr_doc_props *meta)
{
    if (p->options.no_notes) return;
    if (doc && *doc) put_note(p, "doc", doc, NULL);
    for (size_t i = 0; meta && i < meta->count; i++)
        put_note(p, "meta", meta->items[i].key ? meta->items[i].key : "",
                 meta->items[i].value ? meta->items[i].value : "");
}

static void put_denotation(printer *p, const char *denotation)
{
    if (denotation && *denotation && !p->options.no_notes) put_note(p, "denotation", denotation, NULL);
}

/* ---- types ---- */

static void put_dims(printer *p, const gr_doc_type *type)
{
    puts_(p, gr_dtype_name(type->dtype));
    if (type->rank == 0) return;
    puts_(p, "[");
    for (int i = 0; i < type->rank; i++) {
        const gr_doc_dim *dim = &type->dims[i];
        if (i > 0) puts_(p, ",");
        put_denotation(p, dim->denotation);
        if (dim->value >= 0)
            put_int(p, dim->value);
        else if (!dim->param)
            puts_(p, "?");
        else
            put_word(p, dim->param);
    }
    puts_(p, "]");
}

static void put_dotted(printer *p, const char *name)
{
    const char *s = name;
    while (word_length(s) && s[word_length(s)] == '.') s += word_length(s) + 1;
    if (is_word(s))
        puts_(p, name);
    else
        put_quoted(p, name);
}

static void put_opaque(printer *p, const gr_doc_type *type)
{
    if (type->opaque_domain && *type->opaque_domain) {
        put_dotted(p, type->opaque_domain);
        puts_(p, ",");
        put_word(p, type->opaque_name);
    } else if (type->opaque_name && *type->opaque_name) {
        put_dotted(p, type->opaque_name);
    }
}

static void put_type(printer *p, const gr_doc_type *type)
{
    static const char *const words[] = {[GR_KIND_SEQUENCE] = "seq(",
                                        [GR_KIND_OPTIONAL] = "optional(",
                                        [GR_KIND_MAP] = "map(",
                                        [GR_KIND_SPARSE] = "sparse_tensor(",
                                        [GR_KIND_OPAQUE] = "opaque("};
    put_denotation(p, type->denotation);
    if (type->kind == GR_KIND_TENSOR) {
        put_dims(p, type);
        return;
    }
    puts_(p, words[type->kind]);
    if (type->kind == GR_KIND_MAP) {
        puts_(p, gr_dtype_name(type->dtype));
        puts_(p, ", ");
    }
    if (type->kind == GR_KIND_SPARSE)
        put_dims(p, type);
    else if (type->kind == GR_KIND_OPAQUE)
        put_opaque(p, type);
    else if (type->elem && type->elem->kind != GR_KIND_NONE)
        put_type(p, type->elem);
    puts_(p, ")");
}

/* ---- constants ---- */

static void put_element(printer *p, gr_dtype dtype, const unsigned char *at)
{
    uint64_t bits = 0;
    int width = gr_dtype_bits(dtype) < 8 ? 8 : gr_dtype_bits(dtype);
    if (dtype == GR_FLOAT || dtype == GR_COMPLEX64) {
        put_float(p, at);
        return;
    }
    if (dtype == GR_DOUBLE || dtype == GR_COMPLEX128) {
        put_double(p, at);
        return;
    }
    for (int i = 0; i < width / 8; i++) bits |= (uint64_t)at[i] << 8 * i;
    if (gr_dtype_is_signed(dtype)) {
        put_int(p, (int64_t)(bits << (64 - width)) >> (64 - width));
    } else {
        char text[GR_NUMBER_ROOM];
        put(p, text, gr_uint_to_text(bits, text));
    }
}

/* Values with commas between, in lines of a readable length. */
static void put_values(printer *p, const gr_doc_tensor *t)
{
    bool is_complex = t->dtype == GR_COMPLEX64 || t->dtype == GR_COMPLEX128;
    size_t step = (size_t)(gr_dtype_bits(t->dtype) + 7) / (is_complex ? 16 : 8);
    size_t count = t->dtype == GR_STRING ? (size_t)t->elements : t->size / step;
    p->indent += 3;
    puts_(p, "{");
    for (size_t i = 0; i < count && !p->stopped; i++) {
        if (i > 0) puts_(p, ",");
        if (i > 0 && p->column > LINE) new_line(p);
        if (t->dtype == GR_STRING)
            put_bytes(p, t->strings[i]);
        else
            put_element(p, t->dtype, (const unsigned char *)t->data + i * step);
    }
    puts_(p, "}");
    p->indent -= 3;
}

static void put_base64(printer *p, const gr_doc_tensor *t)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *data = t->data;
    puts_(p, "[\"base64\": \"");
    for (size_t i = 0; i < t->size && !p->stopped; i += 3) {
        size_t left = t->size - i;
        uint32_t held =
            (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) | (left > 2 ? data[i + 2] : 0);
        char out[4] = {digits[held >> 18], digits[held >> 12 & 63], left > 1 ? digits[held >> 6 & 63] : '=',
                       left > 2 ? digits[held & 63] : '='};
        if (i % 90 == 0) put_char(p, '\n');
        put(p, out, 4);
    }
    puts_(p, "\"]");
}

static void put_props(printer *p, const gr_doc_props *props)
{
    puts_(p, "[");
    for (size_t i = 0; i < props->count; i++) {
        if (i > 0) puts_(p, ", ");
        put_quoted(p, props->items[i].key ? props->items[i].key : "");
        puts_(p, ": ");
        put_quoted(p, props->items[i].value ? props->items[i].value : "");
    }
    puts_(p, "]");
}

static void put_content(printer *p, const gr_doc_tensor *t)
{
    char text[24];
    snprintf(text, sizeof text, "#%016llx", (unsigned long long)p->options.content(t));
    puts_(p, text);
}

static void put_data(printer *p, const gr_doc_tensor *t)
{
    size_t elements = (size_t)t->elements;
    bool has_data = t->dtype == GR_STRING ? t->strings != NULL : t->data != NULL;
    if (p->options.content && has_data && elements > p->options.max_elements)
        put_content(p, t);
    else if (t->external.count)
        put_props(p, &t->external);
    else if (elements > 0 && (t->elided || !has_data || elements > p->options.max_elements))
        puts_(p, "...");
    else if (elements > p->options.dense_above && p->options.dense_above && t->dtype != GR_STRING)
        put_base64(p, t);
    else
        put_values(p, t);
}

static void put_shape(printer *p, gr_dtype dtype, int rank, const int64_t *dims)
{
    puts_(p, gr_dtype_name(dtype));
    for (int i = 0; i < rank; i++) {
        puts_(p, i ? "," : "[");
        put_int(p, dims[i]);
    }
    if (rank) puts_(p, "]");
}

/* A constant as a value. onnx.parser takes no quotes around its name, so others than identifiers go into a note. */
static void put_constant(printer *p, const gr_doc_tensor *t)
{
    bool named = t->name && *t->name, plain = is_identifier(t->name);
    put_notes(p, t->doc_string, &t->metadata);
    if (named && !plain && !p->options.no_notes) put_note(p, "name", t->name, NULL);
    put_shape(p, t->dtype, t->rank, t->dims);
    puts_(p, " ");
    if (plain) {
        puts_(p, t->name);
        puts_(p, " ");
    }
    if (t->external.count || p->options.dense_above) puts_(p, "= "); /* '[' would read as the type's shape */
    put_data(p, t);
}

/* "(values, indices)". An initializer's name stands before, so the values go without. */
static void put_sparse_data(printer *p, const gr_doc_sparse *sparse, bool unnamed)
{
    gr_doc_tensor values = *sparse->values;
    if (unnamed) values.name = NULL;
    puts_(p, "(");
    put_constant(p, &values);
    puts_(p, ", ");
    put_constant(p, sparse->indices);
    puts_(p, ")");
}

static void put_sparse_type(printer *p, const gr_doc_sparse *sparse)
{
    puts_(p, "sparse_tensor(");
    put_shape(p, sparse->values->dtype, sparse->rank, sparse->dims);
    puts_(p, ") ");
}

/* ---- attributes ---- */

static void put_graph(printer *p, const gr_doc_graph *graph, bool is_value);

/* One value of an attribute; `of` is its type or that of the list's elements, `i` its place in a list, -1 if single. */
static void put_value(printer *p, const gr_attr *attr, gr_attr_type of, ptrdiff_t i)
{
    switch (of) {
    case GR_ATTR_FLOAT: put_float(p, i < 0 ? &attr->f : &attr->floats[i]); break;
    case GR_ATTR_INT: put_int(p, i < 0 ? attr->i : attr->ints[i]); break;
    case GR_ATTR_STRING: put_bytes(p, i < 0 ? attr->s : attr->strings[i]); break;
    case GR_ATTR_TENSOR: put_constant(p, i < 0 ? attr->t : attr->tensors[i]); break;
    case GR_ATTR_GRAPH: put_graph(p, i < 0 ? attr->g : attr->graphs[i], true); break;
    case GR_ATTR_TYPE: put_type(p, i < 0 ? attr->tp : attr->types[i]); break;
    case GR_ATTR_SPARSE: {
        const gr_doc_sparse *sparse = i < 0 ? attr->sparse : attr->sparses[i];
        put_sparse_type(p, sparse);
        put_sparse_data(p, sparse, false);
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

static void put_attr(printer *p, const gr_attr *attr)
{
    gr_attr_type of = attr_words[attr->type].of;
    put_notes(p, attr->doc_string, NULL);
    put_word(p, attr->name);
    if (attr->type != GR_ATTR_UNDEFINED || !attr->ref) {
        puts_(p, ": ");
        puts_(p, attr_words[attr->type].name);
    }
    if (attr->ref) {
        puts_(p, " = @");
        put_word(p, attr->ref);
        return;
    }
    if (attr->type == GR_ATTR_UNDEFINED) return;
    puts_(p, " = ");
    if (!of) {
        put_value(p, attr, attr->type, -1);
        return;
    }
    puts_(p, "[");
    for (size_t i = 0; i < attr->count && !p->stopped; i++) {
        if (i > 0) puts_(p, ", ");
        put_value(p, attr, of, (ptrdiff_t)i);
    }
    puts_(p, "]");
}

static void put_attrs(printer *p, const gr_attrs *attrs)
{
    if (attrs->count == 0) return;
    puts_(p, " <");
    p->indent += 3;
    for (size_t i = 0; i < attrs->count; i++) {
        if (i > 0) puts_(p, ", ");
        put_attr(p, &attrs->items[i]);
    }
    p->indent -= 3;
    puts_(p, ">");
}

/* ---- nodes ---- */

static void put_names(printer *p, const gr_doc_names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        if (i > 0) puts_(p, ", ");
        put_name(p, names->items[i]);
    }
}

static bool has_graphs(const gr_attrs *attrs)
{
    for (size_t i = 0; i < attrs->count; i++)
        if (attrs->items[i].type == GR_ATTR_GRAPH || attrs->items[i].type == GR_ATTR_GRAPHS) return true;
    return false;
}

static void put_node(printer *p, const gr_doc_node *node)
{
    bool attrs_last = has_graphs(&node->attrs);
    put_notes(p, node->doc_string, &node->metadata);
    if (node->name && *node->name) {
        puts_(p, "[");
        put_name(p, node->name);
        puts_(p, "] ");
    }
    put_names(p, &node->out);
    puts_(p, node->out.count ? " = " : "= ");
    if (node->domain && *node->domain) {
        put_dotted(p, node->domain);
        puts_(p, ".");
    }
    put_word(p, node->op_type);
    if (node->overload && *node->overload) {
        puts_(p, ":");
        put_word(p, node->overload);
    }
    if (!attrs_last) put_attrs(p, &node->attrs);
    puts_(p, " (");
    put_names(p, &node->in);
    puts_(p, ")");
    if (attrs_last) put_attrs(p, &node->attrs);
}

static void put_nodes(printer *p, const gr_doc_nodes *nodes)
{
    puts_(p, "{");
    p->indent += 3;
    for (size_t i = 0; i < nodes->count && !p->stopped; i++) {
        new_line(p);
        put_node(p, &nodes->items[i]);
    }
    p->indent -= 3;
    new_line(p);
    puts_(p, "}");
}

/* ---- graphs and functions ---- */

static void put_value_info(printer *p, const gr_doc_value *value)
{
    put_notes(p, value->doc_string, &value->metadata);
    if (value->type && value->type->kind != GR_KIND_NONE) {
        put_type(p, value->type);
        puts_(p, " ");
    }
    put_name(p, value->name);
}

static void put_value_infos(printer *p, const gr_doc_values *values)
{
    puts_(p, "(");
    p->indent += 3;
    for (size_t i = 0; i < values->count; i++) {
        if (i > 0) puts_(p, ", ");
        put_value_info(p, &values->items[i]);
    }
    p->indent -= 3;
    puts_(p, ")");
}

static void next_line(printer *p, bool *first)
{
    if (!*first) puts_(p, ",");
    *first = false;
    new_line(p);
}

/* <initializers and value infos>, one to a line. */
static void put_declarations(printer *p, const gr_doc_graph *graph)
{
    bool first = true;
    if (graph->ninit + graph->nsparse + graph->info.count == 0) return;
    new_line(p);
    puts_(p, "<");
    p->indent += 3;
    for (size_t i = 0; i < graph->ninit && !p->stopped; i++) {
        const gr_doc_tensor *t = graph->init[i];
        next_line(p, &first);
        put_notes(p, t->doc_string, &t->metadata);
        put_shape(p, t->dtype, t->rank, t->dims);
        puts_(p, " ");
        put_name(p, t->name);
        puts_(p, " = ");
        put_data(p, t);
    }
    for (size_t i = 0; i < graph->nsparse && !p->stopped; i++) {
        next_line(p, &first);
        put_sparse_type(p, graph->sparse[i]);
        put_name(p, graph->sparse[i]->values->name);
        puts_(p, " = ");
        put_sparse_data(p, graph->sparse[i], true);
    }
    for (size_t i = 0; i < graph->info.count && !p->stopped; i++) {
        next_line(p, &first);
        put_value_info(p, &graph->info.items[i]);
    }
    p->indent -= 3;
    new_line(p);
    puts_(p, ">");
}

/* Would onnx.parser take this word for a subgraph's name where a value is expected? */
static bool is_graph_word(const char *name)
{
    double ignored;
    return is_identifier(name) && !gr_text_to_double(name, strlen(name), &ignored);
}

static void put_graph(printer *p, const gr_doc_graph *graph, bool is_value)
{
    const char *name = graph->name ? graph->name : "";
    put_notes(p, graph->doc_string, &graph->metadata);
    if (is_value && !is_graph_word(name)) {
        put_note(p, "name", name, NULL);
        puts_(p, "subgraph");
    } else {
        put_name(p, name);
    }
    puts_(p, " ");
    put_value_infos(p, &graph->in);
    puts_(p, " => ");
    put_value_infos(p, &graph->out);
    put_declarations(p, graph);
    new_line(p);
    put_nodes(p, &graph->nodes);
}

static void put_opsets(printer *p, const gr_doc_opsets *opsets)
{
    puts_(p, "opset_import: [");
    for (size_t i = 0; i < opsets->count; i++) {
        if (i > 0) puts_(p, ", ");
        put_quoted(p, opsets->items[i].domain);
        puts_(p, " : ");
        put_int(p, opsets->items[i].version);
    }
    puts_(p, "]");
}

static void put_entry(printer *p, const char *key, const char *value)
{
    if (!value) return;
    puts_(p, ",");
    new_line(p);
    puts_(p, key);
    puts_(p, ": ");
    put_quoted(p, value);
}

/* <attr, attr: float = 1, ...> */
static void put_function_attrs(printer *p, const gr_doc_function *f)
{
    bool first = true;
    if (f->attr_names.count + f->attr_defaults.count == 0) return;
    puts_(p, "<");
    p->indent += 3;
    put_names(p, &f->attr_names);
    for (size_t i = 0; i < f->attr_defaults.count; i++) {
        if (!first || f->attr_names.count) puts_(p, ", ");
        first = false;
        put_attr(p, &f->attr_defaults.items[i]);
    }
    p->indent -= 3;
    puts_(p, "> ");
}

static void put_function(printer *p, const gr_doc_function *f)
{
    put_notes(p, NULL, &f->metadata);
    puts_(p, "<");
    p->indent += 3;
    new_line(p);
    puts_(p, "domain: ");
    put_quoted(p, f->domain ? f->domain : "");
    if (f->overload && *f->overload) put_entry(p, "overload", f->overload);
    puts_(p, ",");
    new_line(p);
    put_opsets(p, &f->opsets);
    if (f->doc_string && *f->doc_string) put_entry(p, "doc_string", f->doc_string);
    p->indent -= 3;
    new_line(p);
    puts_(p, ">");
    new_line(p);
    put_name(p, f->name);
    puts_(p, " ");
    put_function_attrs(p, f);
    puts_(p, "(");
    put_names(p, &f->in);
    puts_(p, ") => (");
    put_names(p, &f->out);
    puts_(p, ")");
    put_declarations(p, &(gr_doc_graph){.info = f->info});
    new_line(p);
    put_nodes(p, &f->nodes);
    new_line(p);
}

static void put_model(printer *p, const gr_doc *doc)
{
    puts_(p, "<");
    p->indent += 3;
    new_line(p);
    puts_(p, "ir_version: ");
    put_int(p, doc->ir_version);
    puts_(p, ",");
    new_line(p);
    put_opsets(p, &doc->opsets);
    put_entry(p, "producer_name", doc->producer_name);
    put_entry(p, "producer_version", doc->producer_version);
    put_entry(p, "domain", doc->domain);
    if (doc->has_model_version) {
        puts_(p, ",");
        new_line(p);
        puts_(p, "model_version: ");
        put_int(p, doc->model_version);
    }
    put_entry(p, "doc_string", doc->doc_string);
    if (doc->metadata.count) {
        puts_(p, ",");
        new_line(p);
        puts_(p, "metadata_props: ");
        put_props(p, &doc->metadata);
    }
    p->indent -= 3;
    new_line(p);
    puts_(p, ">");
    new_line(p);
    put_graph(p, doc->graph, false);
    new_line(p);
}

gr_status gr_doc_print_text(const gr_doc *doc, const gr_text_options *options, gr_write_fn write, void *user,
                            gr_err *err)
{
    printer *p = gr_calloc(1, sizeof *p);
    if (!p) return gr_nomem(err);
    *p = (printer){.write = write, .user = user, .fresh = true, .options = {.max_elements = SIZE_MAX}};
    if (options) p->options = *options;
    if (doc->graph) put_model(p, doc);
    for (size_t i = 0; i < doc->nfunctions && !p->stopped; i++) {
        if (doc->graph || i) new_line(p);
        put_function(p, &doc->functions[i]);
    }
    flush(p);
    bool stopped = p->stopped;
    gr_free(p);
    if (stopped) return gr_fail(err, GR_EIO, "the text could not be written");
    return GR_OK;
}
