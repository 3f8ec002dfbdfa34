/* SPDX-License-Identifier: Apache-2.0
 *
 * Constants of a graph: initializers, tensors in attributes, sparse tensors, and every spelling of the Constant node.
 */
#include "ir.h"
#include "ops/op.h"

/* Larger ones stay where they are; kernels that cannot read them unaligned get a copy when they are planned. */
enum { COPY_BELOW = 64 * 1024 };

gr_status gr_graph_const_of(gr_graph *g, const char *name, const gr_doc_tensor *t, gr_value **out, gr_err *err)
{
    if (t->elided)
        return gr_fail(err, GR_EMODEL, "the contents of tensor '%s' were left out of the text, expected %lld elements",
                       gr_show(name), (long long)t->elements);
    if (t->rank > GR_MAX_RANK)
        return gr_fail(err, GR_EUNSUPPORTED, "tensor '%s' has rank %d, at most %d is supported", gr_show(name), t->rank,
                       GR_MAX_RANK);
    if (t->dtype == GR_STRING)
        return gr_fail(err, GR_EUNSUPPORTED, "tensor '%s' holds strings, which are not supported", gr_show(name));
    const void *data = t->data;
    size_t align = (size_t)(gr_dtype_bits(t->dtype) + 7) / 8;
    bool unaligned = align > 1 && (uintptr_t)data % (align > 8 ? 8 : align);
    if (t->dtype == GR_BOOL || !data || (unaligned && t->size < COPY_BELOW)) {
        unsigned char *copy = gr_arena_alloc(g->arena, t->size);
        if (!copy) return gr_nomem(err);
        if (t->size) memcpy(copy, data, t->size);
        for (size_t i = 0; t->dtype == GR_BOOL && i < t->size; i++) copy[i] = copy[i] != 0;
        data = copy;
    }
    *out = gr_graph_const(g, name, t->dtype, t->rank, t->dims, data);
    if (!*out) return gr_nomem(err);
    (*out)->konst->mapped = t->mapped && data == t->data;
    return GR_OK;
}

/* Where element `i` of a sparse tensor stands: a linear index, or coordinates (ONNX allows both). */
static gr_status sparse_position(const gr_doc_sparse *s, int64_t i, int64_t elements, int64_t *at, gr_err *err)
{
    const gr_doc_tensor *x = s->indices;
    int64_t position = 0, coordinate;
    int width = x->rank == 2 ? s->rank : 1;
    for (int d = 0; d < width; d++) {
        memcpy(&coordinate, (const char *)x->data + ((size_t)i * (size_t)width + (size_t)d) * 8, 8);
        int64_t limit = x->rank == 2 ? s->dims[d] : elements;
        if (coordinate < 0 || coordinate >= limit)
            return gr_fail(err, GR_EMODEL, "sparse tensor '%s' has index %lld, expected 0 to %lld",
                           gr_show(s->values->name), (long long)coordinate, (long long)limit - 1);
        position = x->rank == 2 ? position * limit + coordinate : coordinate;
    }
    *at = position;
    return GR_OK;
}

gr_status gr_graph_const_sparse(gr_graph *g, const char *name, const gr_doc_sparse *s, gr_value **out, gr_err *err)
{
    const gr_doc_tensor *v = s->values, *x = s->indices;
    int64_t elements = 0;
    size_t bytes = 0, each = (size_t)gr_dtype_bits(v->dtype) / 8;
    if (s->rank > GR_MAX_RANK || !gr_elements(s->rank, s->dims, &elements) || !gr_bytes(v->dtype, elements, &bytes) ||
        bytes > (size_t)1 << 30)
        return gr_fail(err, GR_ELIMIT, "sparse tensor '%s' is too large when dense", gr_show(name));
    bool linear = x->rank == 1 && x->elements == v->elements;
    bool coordinates = x->rank == 2 && x->dims[0] == v->elements && x->dims[1] == s->rank;
    if (v->rank != 1 || x->dtype != GR_INT64 || !each || (!linear && !coordinates) || (v->elements && !v->data))
        return gr_fail(err, GR_EMODEL, "sparse tensor '%s' has values and indices that do not fit each other",
                       gr_show(name));
    char *dense = gr_arena_alloc(g->arena, bytes);
    if (!dense) return gr_nomem(err);
    for (int64_t i = 0; i < v->elements; i++) {
        int64_t at;
        GR_TRY(sparse_position(s, i, elements, &at, err));
        memcpy(dense + (size_t)at * each, (const char *)v->data + (size_t)i * each, each);
    }
    *out = gr_graph_const(g, name, v->dtype, s->rank, s->dims, dense);
    return *out ? GR_OK : gr_nomem(err);
}

gr_status gr_graph_const_node(gr_graph *g, const char *name, gr_attrs attrs, gr_value **out, gr_err *err)
{
    const gr_attr *a = NULL;
    for (size_t i = 0; i < attrs.count; i++) {
        if (strncmp(attrs.items[i].name, "value", 5) && strcmp(attrs.items[i].name, "sparse_value")) continue;
        if (a) return gr_fail(err, GR_EMODEL, "Constant '%s' has two values", gr_show(name));
        a = &attrs.items[i];
    }
    int64_t n = a ? (int64_t)a->count : 0;
    gr_attr_type type = a ? a->type : GR_ATTR_UNDEFINED;
    if (type == GR_ATTR_TENSOR && !strcmp(a->name, "value")) return gr_graph_const_of(g, name, a->t, out, err);
    if (type == GR_ATTR_SPARSE && !strcmp(a->name, "sparse_value")) return gr_graph_const_sparse(g, name, a->sparse, out, err);
    if (type == GR_ATTR_FLOAT && !strcmp(a->name, "value_float"))
        *out = gr_graph_const(g, name, GR_FLOAT, 0, NULL, &a->f);
    else if (type == GR_ATTR_INT && !strcmp(a->name, "value_int"))
        *out = gr_graph_const(g, name, GR_INT64, 0, NULL, &a->i);
    else if (type == GR_ATTR_FLOATS && !strcmp(a->name, "value_floats"))
        *out = gr_graph_const(g, name, GR_FLOAT, 1, &n, a->floats);
    else if (type == GR_ATTR_INTS && !strcmp(a->name, "value_ints"))
        *out = gr_graph_const(g, name, GR_INT64, 1, &n, a->ints);
    else if (type == GR_ATTR_STRING || type == GR_ATTR_STRINGS)
        return gr_fail(err, GR_EUNSUPPORTED, "Constant '%s' holds strings, which are not supported", gr_show(name));
    else
        return gr_fail(err, GR_EMODEL, "Constant '%s' has no value that the standard knows", gr_show(name));
    return *out ? GR_OK : gr_nomem(err);
}
