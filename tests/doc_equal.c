/* SPDX-License-Identifier: Apache-2.0
 *
 * A walk over two documents side by side.
 */
#include "doc_equal.h"

#define SAME(condition, what)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) return what;                                                                                 \
    } while (0)
#define WALK(call)                                                                                                     \
    do {                                                                                                               \
        const char *differs_ = (call);                                                                                 \
        if (differs_) return differs_;                                                                                 \
    } while (0)

static const char *graph_difference(const gr_doc_graph *a, const gr_doc_graph *b);

static bool same_text(const char *a, const char *b) { return a && b ? !strcmp(a, b) : a == b; }

static bool same_bytes(gr_bytes_view a, gr_bytes_view b)
{
    return a.size == b.size && (!a.size || !memcmp(a.data, b.data, a.size));
}

static bool same_names(gr_doc_names a, gr_doc_names b)
{
    if (a.count != b.count) return false;
    for (size_t i = 0; i < a.count; i++)
        if (!same_text(a.items[i], b.items[i])) return false;
    return true;
}

static bool same_props(gr_doc_props a, gr_doc_props b)
{
    if (a.count != b.count) return false;
    for (size_t i = 0; i < a.count; i++)
        if (!same_text(a.items[i].key, b.items[i].key) || !same_text(a.items[i].value, b.items[i].value)) return false;
    return true;
}

static bool same_opsets(gr_doc_opsets a, gr_doc_opsets b)
{
    if (a.count != b.count) return false;
    for (size_t i = 0; i < a.count; i++)
        if (!same_text(a.items[i].domain, b.items[i].domain) || a.items[i].version != b.items[i].version) return false;
    return true;
}

static bool same_ints(size_t n, const int64_t *a, const int64_t *b) { return !n || !memcmp(a, b, n * sizeof *a); }

static const char *tensor_difference(const gr_doc_tensor *a, const gr_doc_tensor *b)
{
    SAME(same_text(a->name, b->name), "name of a tensor");
    SAME(a->dtype == b->dtype && a->rank == b->rank && a->elided == b->elided, "type of a tensor");
    SAME(same_ints((size_t)a->rank, a->dims, b->dims) && a->elements == b->elements, "shape of a tensor");
    SAME(a->size == b->size && (!a->size || !memcmp(a->data, b->data, a->size)), "contents of a tensor");
    SAME(!a->strings == !b->strings, "strings of a tensor");
    for (int64_t i = 0; a->strings && i < a->elements; i++)
        SAME(same_bytes(a->strings[i], b->strings[i]), "string in a tensor");
    SAME(same_text(a->doc_string, b->doc_string) && same_props(a->metadata, b->metadata), "notes on a tensor");
    return NULL;
}

static const char *sparse_difference(const gr_doc_sparse *a, const gr_doc_sparse *b)
{
    WALK(tensor_difference(a->values, b->values));
    WALK(tensor_difference(a->indices, b->indices));
    SAME(a->rank == b->rank && same_ints((size_t)a->rank, a->dims, b->dims), "shape of a sparse tensor");
    return NULL;
}

static const char *type_difference(const gr_doc_type *a, const gr_doc_type *b)
{
    for (; a && b; a = a->elem, b = b->elem) {
        SAME(a->kind == b->kind && a->dtype == b->dtype && a->rank == b->rank, "type");
        SAME(same_text(a->denotation, b->denotation), "denotation of a type");
        for (int i = 0; i < a->rank; i++) {
            SAME(a->dims[i].value == b->dims[i].value && same_text(a->dims[i].param, b->dims[i].param), "dimension");
            SAME(same_text(a->dims[i].denotation, b->dims[i].denotation), "denotation of a dimension");
        }
    }
    return a || b ? "type" : NULL;
}

static const char *values_difference(gr_doc_values a, gr_doc_values b)
{
    SAME(a.count == b.count, "number of values");
    for (size_t i = 0; i < a.count; i++) {
        const gr_doc_value *x = &a.items[i], *y = &b.items[i];
        SAME(same_text(x->name, y->name) && same_text(x->doc_string, y->doc_string), "name of a value");
        SAME(same_props(x->metadata, y->metadata), "metadata of a value");
        WALK(type_difference(x->type, y->type));
    }
    return NULL;
}

static const char *list_difference(const gr_attr *a, const gr_attr *b)
{
    SAME(a->type != GR_ATTR_FLOATS || !a->count || !memcmp(a->floats, b->floats, a->count * sizeof *a->floats),
         "floats");
    SAME(a->type != GR_ATTR_INTS || same_ints(a->count, a->ints, b->ints), "ints");
    for (size_t i = 0; i < a->count; i++) {
        switch (a->type) {
        case GR_ATTR_STRINGS: SAME(same_bytes(a->strings[i], b->strings[i]), "strings"); break;
        case GR_ATTR_TENSORS: WALK(tensor_difference(a->tensors[i], b->tensors[i])); break;
        case GR_ATTR_GRAPHS: WALK(graph_difference(a->graphs[i], b->graphs[i])); break;
        case GR_ATTR_SPARSES: WALK(sparse_difference(a->sparses[i], b->sparses[i])); break;
        case GR_ATTR_TYPES: WALK(type_difference(a->types[i], b->types[i])); break;
        default: break;
        }
    }
    return NULL;
}

static const char *attr_difference(const gr_attr *a, const gr_attr *b)
{
    SAME(same_text(a->name, b->name) && same_text(a->ref, b->ref) && a->type == b->type, "attribute");
    SAME(same_text(a->doc_string, b->doc_string), "text on an attribute");
    if (a->ref) return NULL;
    SAME(a->count == b->count, "length of an attribute");
    switch (a->type) {
    case GR_ATTR_FLOAT: SAME(!memcmp(&a->f, &b->f, sizeof a->f), "float"); return NULL;
    case GR_ATTR_INT: SAME(a->i == b->i, "int"); return NULL;
    case GR_ATTR_STRING: SAME(same_bytes(a->s, b->s), "string"); return NULL;
    case GR_ATTR_TENSOR: return tensor_difference(a->t, b->t);
    case GR_ATTR_GRAPH: return graph_difference(a->g, b->g);
    case GR_ATTR_SPARSE: return sparse_difference(a->sparse, b->sparse);
    case GR_ATTR_TYPE: return type_difference(a->tp, b->tp);
    default: return list_difference(a, b);
    }
}

static const char *attrs_difference(gr_attrs a, gr_attrs b)
{
    SAME(a.count == b.count, "number of attributes");
    for (size_t i = 0; i < a.count; i++) WALK(attr_difference(&a.items[i], &b.items[i]));
    return NULL;
}

static const char *nodes_difference(gr_doc_nodes a, gr_doc_nodes b)
{
    SAME(a.count == b.count, "number of nodes");
    for (size_t i = 0; i < a.count; i++) {
        const gr_doc_node *x = &a.items[i], *y = &b.items[i];
        SAME(same_text(x->name, y->name) && same_text(x->doc_string, y->doc_string), "name of a node");
        SAME(same_text(x->op_type, y->op_type) && same_text(x->domain, y->domain), "operator of a node");
        SAME(same_text(x->overload, y->overload) && same_props(x->metadata, y->metadata), "metadata of a node");
        SAME(same_names(x->in, y->in) && same_names(x->out, y->out), "inputs and outputs of a node");
        WALK(attrs_difference(x->attrs, y->attrs));
    }
    return NULL;
}

static const char *graph_difference(const gr_doc_graph *a, const gr_doc_graph *b)
{
    SAME(same_text(a->name, b->name) && same_text(a->doc_string, b->doc_string), "name of a graph");
    SAME(same_props(a->metadata, b->metadata), "metadata of a graph");
    SAME(a->ninit == b->ninit && a->nsparse == b->nsparse, "number of initializers");
    WALK(nodes_difference(a->nodes, b->nodes));
    WALK(values_difference(a->in, b->in));
    WALK(values_difference(a->out, b->out));
    WALK(values_difference(a->info, b->info));
    for (size_t i = 0; i < a->ninit; i++) WALK(tensor_difference(a->init[i], b->init[i]));
    for (size_t i = 0; i < a->nsparse; i++) WALK(sparse_difference(a->sparse[i], b->sparse[i]));
    return NULL;
}

const char *doc_difference(const gr_doc *a, const gr_doc *b)
{
    SAME(a->ir_version == b->ir_version && a->has_model_version == b->has_model_version, "version");
    SAME(a->model_version == b->model_version && same_opsets(a->opsets, b->opsets), "version");
    SAME(same_text(a->producer_name, b->producer_name), "producer");
    SAME(same_text(a->producer_version, b->producer_version), "producer");
    SAME(same_text(a->domain, b->domain) && same_text(a->doc_string, b->doc_string), "text on the model");
    SAME(same_props(a->metadata, b->metadata) && a->nfunctions == b->nfunctions, "metadata of the model");
    for (size_t i = 0; i < a->nfunctions; i++) {
        const gr_doc_function *x = &a->functions[i], *y = &b->functions[i];
        SAME(same_text(x->name, y->name) && same_text(x->domain, y->domain), "name of a function");
        SAME(same_text(x->overload, y->overload) && same_text(x->doc_string, y->doc_string), "name of a function");
        SAME(same_names(x->in, y->in) && same_names(x->out, y->out), "inputs and outputs of a function");
        SAME(same_names(x->attr_names, y->attr_names) && same_opsets(x->opsets, y->opsets), "head of a function");
        SAME(same_props(x->metadata, y->metadata), "metadata of a function");
        WALK(attrs_difference(x->attr_defaults, y->attr_defaults));
        WALK(values_difference(x->info, y->info));
        WALK(nodes_difference(x->nodes, y->nodes));
    }
    if (!a->graph || !b->graph) return a->graph == b->graph ? NULL : "graph";
    return graph_difference(a->graph, b->graph);
}
