/* SPDX-License-Identifier: Apache-2.0
 *
 * From an ONNX file's bytes to a document: scan (wire.c), unpack the skeleton with protobuf-c, convert, forget
 * protobuf. Pages that hold weights are not touched. What is checked here is what one message alone can show; how
 * names, types and opsets fit together is the business of build.c.
 */
#include "load.h"
#include "onnx.pb-c.h"
#include "payload.h"
#include "wire.h"
#include <limits.h>

typedef struct importer {
    gr_doc *doc;
    gr_arena *arena;
    const uint8_t *file;
    gr_source *source;
    gr_err *err;
} importer;

#define REFER(number)            &onnx__tensor_proto__descriptor, number, GR_WIRE_REFER, GR_PAYLOAD_RAW
#define SKIP(message, number)    &onnx__##message##__descriptor, number, GR_WIRE_SKIP, 0
#define REQUIRE(message, number) &onnx__##message##__descriptor, number, GR_WIRE_REQUIRE, 0

/* Elements stay in the file; training (model 20), placement on devices (model 26, node 10) and annotations (graph 14)
 * have no part in running. A node without operator or an attribute without name is refused before anything is
 * allocated for it. */
static const gr_wire_rule rules[] = {
    {REFER(GR_PAYLOAD_RAW)},       {REFER(GR_PAYLOAD_FLOAT)},  {REFER(GR_PAYLOAD_INT32)},  {REFER(GR_PAYLOAD_INT64)},
    {REFER(GR_PAYLOAD_DOUBLE)},    {REFER(GR_PAYLOAD_UINT64)}, {REFER(GR_PAYLOAD_STRING)}, {SKIP(model_proto, 20)},
    {SKIP(model_proto, 26)},       {SKIP(graph_proto, 14)},    {SKIP(node_proto, 10)},     {REQUIRE(node_proto, 4)},
    {REQUIRE(attribute_proto, 1)},
};

/* ---- text ---- */

/* A copy with NUL bytes written as C0 80. Those two bytes are not UTF-8, so nothing else may use them. */
static gr_status copy_text(importer *im, const ProtobufCBinaryData *b, const char **out)
{
    size_t nuls = 0;
    const uint8_t *s = b->data;
    for (size_t i = 0; i < b->len; i++) {
        nuls += s[i] == 0;
        if (s[i] == 0xC0 && i + 1 < b->len && s[i + 1] == 0x80)
            return gr_fail(im->err, GR_EFORMAT, "a name or text holds the bytes C0 80, which are not UTF-8");
    }
    char *text = gr_arena_alloc(im->arena, b->len + nuls + 1);
    if (!text) return gr_nomem(im->err);
    *out = text;
    for (size_t i = 0; i < b->len; i++) {
        if (s[i] == 0) *text++ = (char)0xC0;
        *text++ = s[i] ? (char)s[i] : (char)0x80;
    }
    return GR_OK;
}

/* Fields of text: NULL if absent, or (NAME) empty then. */
#define TEXT(to, m, field)                                                                                             \
    do {                                                                                                               \
        if ((m)->has_##field) GR_TRY(copy_text(im, &(m)->field, &(to)));                                               \
    } while (0)
#define NAME(to, m, field)                                                                                             \
    do {                                                                                                               \
        (to) = "";                                                                                                     \
        TEXT(to, m, field);                                                                                            \
    } while (0)
#define NEWS(items, n)                                                                                                 \
    do {                                                                                                               \
        if (!((items) = gr_arena_array(im->arena, (n), sizeof *(items)))) return gr_nomem(im->err);                    \
    } while (0)

static gr_status convert_names(importer *im, size_t n, const ProtobufCBinaryData *from, gr_doc_names *to)
{
    NEWS(to->items, n);
    for (; to->count < n; to->count++) GR_TRY(copy_text(im, &from[to->count], &to->items[to->count]));
    return GR_OK;
}

static gr_status convert_props(importer *im, size_t n, Onnx__StringStringEntryProto *const *from, gr_doc_props *to)
{
    NEWS(to->items, n);
    for (; to->count < n; to->count++) {
        NAME(to->items[to->count].key, from[to->count], key);
        NAME(to->items[to->count].value, from[to->count], value);
    }
    return GR_OK;
}

/* ---- tensors ---- */

static gr_status convert_dtype(importer *im, int64_t number, const char *what, const char *name, gr_dtype *out)
{
    if (number < GR_UNDEFINED || number > GR_INT2)
        return gr_fail(im->err, GR_EUNSUPPORTED, "%s '%s' has element type %lld, which is not known", what,
                       gr_show(name), (long long)number);
    *out = (gr_dtype)number;
    return GR_OK;
}

static gr_status convert_dims(importer *im, size_t n, const int64_t *from, gr_doc_tensor *t)
{
    int64_t *dims;
    if (n > INT_MAX) return gr_fail(im->err, GR_ELIMIT, "tensor '%s' has too many dimensions", gr_show(t->name));
    NEWS(dims, n);
    if (n) memcpy(dims, from, n * sizeof *dims);
    t->rank = (int)n;
    t->dims = dims;
    if (gr_elements(t->rank, dims, &t->elements)) return GR_OK;
    return gr_fail(im->err, GR_EMODEL, "tensor '%s' has a negative dimension or more elements than can be counted",
                   gr_show(t->name));
}

static gr_status convert_tensor(importer *im, const Onnx__TensorProto *m, gr_doc_tensor **out)
{
    gr_doc_tensor *t = *out = GR_NEW(im->arena, gr_doc_tensor);
    if (!t) return gr_nomem(im->err);
    TEXT(t->name, m, name);
    TEXT(t->doc_string, m, doc_string);
    GR_TRY(convert_props(im, m->n_metadata_props, m->metadata_props, &t->metadata));
    GR_TRY(convert_props(im, m->n_external_data, m->external_data, &t->external));
    GR_TRY(convert_dtype(im, m->data_type, "tensor", t->name, &t->dtype));
    if (t->dtype == GR_UNDEFINED)
        return gr_fail(im->err, GR_EMODEL, "tensor '%s' has no element type", gr_show(t->name));
    if (m->segment)
        return gr_fail(im->err, GR_EUNSUPPORTED, "tensor '%s' is a segment of a larger one", gr_show(t->name));
    GR_TRY(convert_dims(im, m->n_dims, m->dims, t));
    gr_payload payload = {im->file, m->raw_data.data, m->raw_data.len / sizeof(gr_wire_ref)};
    bool external = m->has_data_location && m->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    if (m->has_data_location &&
        (m->data_location < 0 || m->data_location > ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL))
        return gr_fail(im->err, GR_EMODEL, "tensor '%s' has data location %d, which does not exist", gr_show(t->name),
                       (int)m->data_location);
    if (!external) return gr_payload_read(im->arena, &payload, t, im->err);
    for (size_t i = 0; i < payload.count; i++) {
        gr_wire_ref r;
        memcpy(&r, (const char *)payload.refs + i * sizeof r, sizeof r);
        if (r.size)
            return gr_fail(im->err, GR_EMODEL, "tensor '%s' has external data and elements in the file",
                           gr_show(t->name));
    }
    return gr_source_resolve(im->source, im->doc, t, im->err);
}

static gr_status convert_tensors(importer *im, size_t n, Onnx__TensorProto *const *from, gr_doc_tensor ***to)
{
    NEWS(*to, n);
    for (size_t i = 0; i < n; i++) GR_TRY(convert_tensor(im, from[i], &(*to)[i]));
    return GR_OK;
}

static gr_status convert_sparse(importer *im, const Onnx__SparseTensorProto *m, gr_doc_sparse **out)
{
    int64_t elements;
    gr_doc_sparse *s = *out = GR_NEW(im->arena, gr_doc_sparse);
    if (!s) return gr_nomem(im->err);
    if (!m->values || !m->indices)
        return gr_fail(im->err, GR_EMODEL, "a sparse tensor lacks its values or its indices");
    GR_TRY(convert_tensor(im, m->values, &s->values));
    GR_TRY(convert_tensor(im, m->indices, &s->indices));
    int64_t *dims;
    NEWS(dims, m->n_dims);
    if (m->n_dims) memcpy(dims, m->dims, m->n_dims * sizeof *dims);
    s->dims = dims;
    s->rank = m->n_dims > INT_MAX ? INT_MAX : (int)m->n_dims;
    if (gr_elements(s->rank, dims, &elements)) return GR_OK;
    return gr_fail(im->err, GR_EMODEL,
                   "sparse tensor '%s' has a negative dimension or more elements than can be counted",
                   gr_show(s->values->name));
}

static gr_status convert_sparses(importer *im, size_t n, Onnx__SparseTensorProto *const *from, gr_doc_sparse ***to)
{
    NEWS(*to, n);
    for (size_t i = 0; i < n; i++) GR_TRY(convert_sparse(im, from[i], &(*to)[i]));
    return GR_OK;
}

/* ---- types ---- */

static gr_status convert_shape(importer *im, const Onnx__TensorShapeProto *m, const char *name, gr_doc_type *t)
{
    gr_doc_dim *dims;
    t->rank = -1;
    if (!m) return GR_OK;
    if (m->n_dim > INT_MAX) return gr_fail(im->err, GR_ELIMIT, "value '%s' has too many dimensions", gr_show(name));
    NEWS(dims, m->n_dim);
    for (size_t i = 0; i < m->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *d = m->dim[i];
        dims[i].value = -1;
        TEXT(dims[i].denotation, d, denotation);
        if (d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM)
            GR_TRY(copy_text(im, &d->dim_param, &dims[i].param));
        if (d->value_case != ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE) continue;
        /* Some converters write -1 for a dimension they do not know. */
        if (d->dim_value < -1)
            return gr_fail(im->err, GR_EMODEL, "value '%s' has the dimension %lld", gr_show(name),
                           (long long)d->dim_value);
        dims[i].value = d->dim_value;
    }
    t->rank = (int)m->n_dim;
    t->dims = dims;
    return GR_OK;
}

static gr_status convert_type(importer *im, const Onnx__TypeProto *m, const char *name, gr_doc_type **out)
{
    gr_doc_type *t = *out = NULL;
    if (!m) return GR_OK;
    if (!(t = *out = GR_NEW(im->arena, gr_doc_type))) return gr_nomem(im->err);
    t->rank = -1;
    TEXT(t->denotation, m, denotation);
    switch (m->value_case) {
    case ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE:
        t->kind = GR_KIND_TENSOR;
        GR_TRY(convert_dtype(im, m->tensor_type->elem_type, "value", name, &t->dtype));
        return convert_shape(im, m->tensor_type->shape, name, t);
    case ONNX__TYPE_PROTO__VALUE_SPARSE_TENSOR_TYPE:
        t->kind = GR_KIND_SPARSE;
        GR_TRY(convert_dtype(im, m->sparse_tensor_type->elem_type, "value", name, &t->dtype));
        return convert_shape(im, m->sparse_tensor_type->shape, name, t);
    case ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE:
        t->kind = GR_KIND_SEQUENCE;
        return convert_type(im, m->sequence_type->elem_type, name, &t->elem);
    case ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE:
        t->kind = GR_KIND_OPTIONAL;
        return convert_type(im, m->optional_type->elem_type, name, &t->elem);
    case ONNX__TYPE_PROTO__VALUE_MAP_TYPE:
        t->kind = GR_KIND_MAP;
        GR_TRY(convert_dtype(im, m->map_type->key_type, "value", name, &t->dtype));
        return convert_type(im, m->map_type->value_type, name, &t->elem);
    case ONNX__TYPE_PROTO__VALUE_OPAQUE_TYPE: t->kind = GR_KIND_OPAQUE; break;
    default: break;
    }
    return GR_OK;
}

static gr_status convert_types(importer *im, size_t n, Onnx__TypeProto *const *from, const char *name,
                               gr_doc_type ***to)
{
    NEWS(*to, n);
    for (size_t i = 0; i < n; i++) GR_TRY(convert_type(im, from[i], name, &(*to)[i]));
    return GR_OK;
}

static gr_status convert_values(importer *im, size_t n, Onnx__ValueInfoProto *const *from, gr_doc_values *to)
{
    NEWS(to->items, n);
    for (; to->count < n; to->count++) {
        const Onnx__ValueInfoProto *m = from[to->count];
        gr_doc_value *v = &to->items[to->count];
        NAME(v->name, m, name);
        TEXT(v->doc_string, m, doc_string);
        GR_TRY(convert_type(im, m->type, v->name, &v->type));
        GR_TRY(convert_props(im, m->n_metadata_props, m->metadata_props, &v->metadata));
    }
    return GR_OK;
}

/* ---- attributes ---- */

static gr_status convert_graph(importer *im, const Onnx__GraphProto *m, gr_doc_graph **out);

/* Which fields of an attribute hold something, as a set of 1 << gr_attr_type. */
static unsigned used_fields(const Onnx__AttributeProto *m)
{
    return (unsigned)(!!m->has_f << GR_ATTR_FLOAT | !!m->has_i << GR_ATTR_INT | !!m->has_s << GR_ATTR_STRING |
                      !!m->t << GR_ATTR_TENSOR | !!m->g << GR_ATTR_GRAPH | !!m->n_floats << GR_ATTR_FLOATS |
                      !!m->n_ints << GR_ATTR_INTS | !!m->n_strings << GR_ATTR_STRINGS |
                      !!m->n_tensors << GR_ATTR_TENSORS | !!m->n_graphs << GR_ATTR_GRAPHS |
                      !!m->sparse_tensor << GR_ATTR_SPARSE | !!m->n_sparse_tensors << GR_ATTR_SPARSES |
                      !!m->tp << GR_ATTR_TYPE | !!m->n_type_protos << GR_ATTR_TYPES);
}

/* Files of IR version 1 have no types. Writers that leave out zeros leave out `i` of an integer 0. */
static gr_status attr_type(importer *im, const Onnx__AttributeProto *m, gr_attr *a)
{
    const unsigned must = 1u << GR_ATTR_TENSOR | 1u << GR_ATTR_GRAPH | 1u << GR_ATTR_SPARSE | 1u << GR_ATTR_TYPE;
    unsigned used = used_fields(m);
    if (m->type < 0 || m->type > (int)GR_ATTR_TYPES)
        return gr_fail(im->err, GR_EMODEL, "attribute '%s' has type %d, which does not exist", gr_show(a->name),
                       (int)m->type);
    a->type = (gr_attr_type)m->type;
    if (a->ref) {
        if (!used) return GR_OK;
        return gr_fail(im->err, GR_EMODEL, "attribute '%s' has a value and refers to '%s'", gr_show(a->name),
                       gr_show(a->ref));
    }
    if (a->type == GR_ATTR_UNDEFINED && used && im->doc->ir_version > 1)
        return gr_fail(im->err, GR_EMODEL, "attribute '%s' does not say its type", gr_show(a->name));
    if (a->type == GR_ATTR_UNDEFINED && used && !(used & (used - 1))) a->type = (gr_attr_type)__builtin_ctz(used);
    if (a->type == GR_ATTR_UNDEFINED || (1u << a->type & must & ~used))
        return gr_fail(im->err, GR_EMODEL, "attribute '%s' has no value", gr_show(a->name));
    if (used & ~(1u << a->type))
        return gr_fail(im->err, GR_EMODEL, "attribute '%s' has a value of another type than it says", gr_show(a->name));
    return GR_OK;
}

static gr_status copy_bytes(importer *im, const ProtobufCBinaryData *b, gr_bytes_view *out)
{
    char *copy = gr_arena_strndup(im->arena, (const char *)b->data, b->len);
    if (!copy) return gr_nomem(im->err);
    *out = (gr_bytes_view){copy, b->len};
    return GR_OK;
}

/* The lists of scalars and strings. */
static gr_status convert_list(importer *im, const Onnx__AttributeProto *m, gr_attr *a)
{
    float *floats;
    int64_t *ints;
    gr_bytes_view *strings;
    switch (a->type) {
    case GR_ATTR_FLOATS:
        NEWS(floats, a->count = m->n_floats);
        if (a->count) memcpy(floats, m->floats, a->count * sizeof *floats);
        a->floats = floats;
        return GR_OK;
    case GR_ATTR_INTS:
        NEWS(ints, a->count = m->n_ints);
        if (a->count) memcpy(ints, m->ints, a->count * sizeof *ints);
        a->ints = ints;
        return GR_OK;
    default:
        NEWS(strings, a->count = m->n_strings);
        for (size_t i = 0; i < a->count; i++) GR_TRY(copy_bytes(im, &m->strings[i], &strings[i]));
        a->strings = strings;
        return GR_OK;
    }
}

static gr_status convert_attr(importer *im, const Onnx__AttributeProto *m, gr_attr *a)
{
    NAME(a->name, m, name);
    TEXT(a->doc_string, m, doc_string);
    if (m->has_ref_attr_name && m->ref_attr_name.len) TEXT(a->ref, m, ref_attr_name);
    GR_TRY(attr_type(im, m, a));
    if (a->ref) return GR_OK;
    switch (a->type) {
    case GR_ATTR_UNDEFINED: return GR_OK;
    case GR_ATTR_FLOAT: a->f = m->f; return GR_OK;
    case GR_ATTR_INT: a->i = m->i; return GR_OK;
    case GR_ATTR_STRING: return copy_bytes(im, &m->s, &a->s);
    case GR_ATTR_TENSOR: return convert_tensor(im, m->t, &a->t);
    case GR_ATTR_GRAPH: return convert_graph(im, m->g, &a->g);
    case GR_ATTR_SPARSE: return convert_sparse(im, m->sparse_tensor, &a->sparse);
    case GR_ATTR_TYPE: return convert_type(im, m->tp, a->name, &a->tp);
    case GR_ATTR_FLOATS:
    case GR_ATTR_INTS:
    case GR_ATTR_STRINGS: return convert_list(im, m, a);
    case GR_ATTR_TENSORS: return convert_tensors(im, a->count = m->n_tensors, m->tensors, &a->tensors);
    case GR_ATTR_SPARSES: return convert_sparses(im, a->count = m->n_sparse_tensors, m->sparse_tensors, &a->sparses);
    case GR_ATTR_TYPES: return convert_types(im, a->count = m->n_type_protos, m->type_protos, a->name, &a->types);
    case GR_ATTR_GRAPHS:
        NEWS(a->graphs, a->count = m->n_graphs);
        for (size_t i = 0; i < a->count; i++) GR_TRY(convert_graph(im, m->graphs[i], &a->graphs[i]));
        return GR_OK;
    }
    return GR_OK;
}

static gr_status convert_attrs(importer *im, size_t n, Onnx__AttributeProto *const *from, gr_attrs *to)
{
    gr_attr *items;
    NEWS(items, n);
    to->items = items;
    for (; to->count < n; to->count++) GR_TRY(convert_attr(im, from[to->count], &items[to->count]));
    return GR_OK;
}

/* ---- nodes, graphs, functions, the model ---- */

static gr_status convert_node(importer *im, const Onnx__NodeProto *m, gr_doc_node *n)
{
    TEXT(n->name, m, name);
    NAME(n->op_type, m, op_type);
    NAME(n->domain, m, domain);
    NAME(n->overload, m, overload);
    TEXT(n->doc_string, m, doc_string);
    GR_TRY(convert_names(im, m->n_input, m->input, &n->in));
    GR_TRY(convert_names(im, m->n_output, m->output, &n->out));
    GR_TRY(convert_props(im, m->n_metadata_props, m->metadata_props, &n->metadata));
    gr_status status = convert_attrs(im, m->n_attribute, m->attribute, &n->attrs);
    if (!status) return GR_OK;
    return gr_fail_context(im->err, status, "node '%s' (%s)", gr_show(n->name), gr_show(n->op_type));
}

static gr_status convert_nodes(importer *im, size_t n, Onnx__NodeProto *const *from, gr_doc_nodes *to)
{
    NEWS(to->items, n);
    for (; to->count < n; to->count++) GR_TRY(convert_node(im, from[to->count], &to->items[to->count]));
    return GR_OK;
}

static gr_status convert_graph(importer *im, const Onnx__GraphProto *m, gr_doc_graph **out)
{
    gr_doc_graph *g = *out = GR_NEW(im->arena, gr_doc_graph);
    if (!g) return gr_nomem(im->err);
    TEXT(g->name, m, name);
    TEXT(g->doc_string, m, doc_string);
    GR_TRY(convert_nodes(im, m->n_node, m->node, &g->nodes));
    GR_TRY(convert_values(im, m->n_input, m->input, &g->in));
    GR_TRY(convert_values(im, m->n_output, m->output, &g->out));
    GR_TRY(convert_values(im, m->n_value_info, m->value_info, &g->info));
    GR_TRY(convert_tensors(im, g->ninit = m->n_initializer, m->initializer, &g->init));
    GR_TRY(convert_sparses(im, g->nsparse = m->n_sparse_initializer, m->sparse_initializer, &g->sparse));
    return convert_props(im, m->n_metadata_props, m->metadata_props, &g->metadata);
}

static gr_status convert_opsets(importer *im, size_t n, Onnx__OperatorSetIdProto *const *from, gr_doc_opsets *to)
{
    NEWS(to->items, n);
    for (; to->count < n; to->count++) {
        NAME(to->items[to->count].domain, from[to->count], domain);
        to->items[to->count].version = from[to->count]->version;
    }
    return GR_OK;
}

static gr_status convert_function(importer *im, const Onnx__FunctionProto *m, gr_doc_function *f)
{
    NAME(f->name, m, name);
    NAME(f->domain, m, domain);
    NAME(f->overload, m, overload);
    TEXT(f->doc_string, m, doc_string);
    GR_TRY(convert_names(im, m->n_input, m->input, &f->in));
    GR_TRY(convert_names(im, m->n_output, m->output, &f->out));
    GR_TRY(convert_names(im, m->n_attribute, m->attribute, &f->attr_names));
    GR_TRY(convert_opsets(im, m->n_opset_import, m->opset_import, &f->opsets));
    GR_TRY(convert_values(im, m->n_value_info, m->value_info, &f->info));
    GR_TRY(convert_props(im, m->n_metadata_props, m->metadata_props, &f->metadata));
    gr_status status = convert_attrs(im, m->n_attribute_proto, m->attribute_proto, &f->attr_defaults);
    if (!status) status = convert_nodes(im, m->n_node, m->node, &f->nodes);
    return status ? gr_fail_context(im->err, status, "function '%s'", gr_show(f->name)) : GR_OK;
}

static gr_status convert_model(importer *im, const Onnx__ModelProto *m)
{
    gr_doc *d = im->doc;
    d->ir_version = m->ir_version;
    d->has_model_version = m->has_model_version;
    d->model_version = m->model_version;
    TEXT(d->producer_name, m, producer_name);
    TEXT(d->producer_version, m, producer_version);
    TEXT(d->domain, m, domain);
    TEXT(d->doc_string, m, doc_string);
    GR_TRY(convert_opsets(im, m->n_opset_import, m->opset_import, &d->opsets));
    GR_TRY(convert_props(im, m->n_metadata_props, m->metadata_props, &d->metadata));
    NEWS(d->functions, m->n_functions);
    for (; d->nfunctions < m->n_functions; d->nfunctions++)
        GR_TRY(convert_function(im, m->functions[d->nfunctions], &d->functions[d->nfunctions]));
    return convert_graph(im, m->graph, &d->graph);
}

/* ---- unpacking ---- */

typedef struct unpack_memory {
    gr_arena *arena;
    bool failed;
} unpack_memory;

static void *unpack_alloc(void *memory, size_t size)
{
    unpack_memory *m = memory;
    void *p = gr_arena_alloc(m->arena, size);
    if (!p) m->failed = true;
    return p;
}

static void unpack_free(void *memory, void *p)
{
    (void)memory;
    (void)p;
}

gr_status gr_import(gr_doc *doc, const void *file, size_t size, gr_source *source, size_t limit, gr_err *err)
{
    importer im = {doc, doc->arena, file, source, err};
    uint8_t *skeleton = NULL;
    size_t skeleton_size;
    GR_TRY(gr_wire_skeleton(file, size, &onnx__model_proto__descriptor, rules, sizeof rules / sizeof *rules, limit,
                            &skeleton, &skeleton_size, err));
    unpack_memory memory = {gr_arena_new(), false};
    ProtobufCAllocator allocator = {unpack_alloc, unpack_free, &memory};
    ProtobufCMessage *m = NULL;
    if (memory.arena)
        m = protobuf_c_message_unpack(&onnx__model_proto__descriptor, &allocator, skeleton_size, skeleton);
    gr_free(skeleton);
    gr_status status = GR_OK;
    if (!m)
        status = memory.failed || !memory.arena ? gr_nomem(err) : gr_fail(err, GR_EFORMAT, "not valid protobuf");
    else if (!((Onnx__ModelProto *)m)->graph)
        status = gr_fail(err, GR_EMODEL, "there is no graph in it");
    else
        status = convert_model(&im, (Onnx__ModelProto *)m);
    gr_arena_free(memory.arena);
    return status;
}
