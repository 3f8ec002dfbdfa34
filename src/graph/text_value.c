/* SPDX-License-Identifier: Apache-2.0
 *
 * Types and constants in the textual syntax, written; text_tensor.c reads them.
 */
#include "text_out.h"
#include <stdio.h>

enum { LINE = 110 }; /* columns after which a list of values goes on in the next line */

/* ---- types ---- */

static void put_dims(gr_text_out *p, const gr_doc_type *type)
{
    gr_text_puts(p, gr_dtype_name(type->dtype));
    if (type->rank == 0) return;
    gr_text_puts(p, "[");
    for (int i = 0; i < type->rank; i++) {
        const gr_doc_dim *dim = &type->dims[i];
        if (i > 0) gr_text_puts(p, ",");
        gr_text_put_denotation(p, dim->denotation);
        if (dim->value >= 0)
            gr_text_put_int(p, dim->value);
        else if (!dim->param)
            gr_text_puts(p, "?");
        else
            gr_text_put_word(p, dim->param);
    }
    gr_text_puts(p, "]");
}

static void put_opaque(gr_text_out *p, const gr_doc_type *type)
{
    if (type->opaque_domain && *type->opaque_domain) {
        gr_text_put_dotted(p, type->opaque_domain);
        gr_text_puts(p, ",");
        gr_text_put_word(p, type->opaque_name);
    } else if (type->opaque_name && *type->opaque_name) {
        gr_text_put_dotted(p, type->opaque_name);
    }
}

void gr_text_put_type(gr_text_out *p, const gr_doc_type *type)
{
    static const char *const words[] = {[GR_KIND_SEQUENCE] = "seq(",
                                        [GR_KIND_OPTIONAL] = "optional(",
                                        [GR_KIND_MAP] = "map(",
                                        [GR_KIND_SPARSE] = "sparse_tensor(",
                                        [GR_KIND_OPAQUE] = "opaque("};
    gr_text_put_denotation(p, type->denotation);
    if (type->kind == GR_KIND_TENSOR) {
        put_dims(p, type);
        return;
    }
    gr_text_puts(p, words[type->kind]);
    if (type->kind == GR_KIND_MAP) {
        gr_text_puts(p, gr_dtype_name(type->dtype));
        gr_text_puts(p, ", ");
    }
    if (type->kind == GR_KIND_SPARSE)
        put_dims(p, type);
    else if (type->kind == GR_KIND_OPAQUE)
        put_opaque(p, type);
    else if (type->elem && type->elem->kind != GR_KIND_NONE)
        gr_text_put_type(p, type->elem);
    gr_text_puts(p, ")");
}

/* ---- constants ---- */

static void put_element(gr_text_out *p, gr_dtype dtype, const unsigned char *at)
{
    uint64_t bits = 0;
    int width = gr_dtype_bits(dtype) < 8 ? 8 : gr_dtype_bits(dtype);
    if (dtype == GR_FLOAT || dtype == GR_COMPLEX64) {
        gr_text_put_float(p, at);
        return;
    }
    if (dtype == GR_DOUBLE || dtype == GR_COMPLEX128) {
        gr_text_put_double(p, at);
        return;
    }
    for (int i = 0; i < width / 8; i++) bits |= (uint64_t)at[i] << 8 * i;
    if (gr_dtype_is_signed(dtype)) {
        gr_text_put_int(p, (int64_t)(bits << (64 - width)) >> (64 - width));
    } else {
        char text[GR_NUMBER_ROOM];
        gr_text_put(p, text, gr_uint_to_text(bits, text));
    }
}

/* Values with commas between, in lines of a readable length. */
static void put_values(gr_text_out *p, const gr_doc_tensor *t)
{
    bool is_complex = t->dtype == GR_COMPLEX64 || t->dtype == GR_COMPLEX128;
    size_t step = (size_t)(gr_dtype_bits(t->dtype) + 7) / (is_complex ? 16 : 8);
    size_t count = t->dtype == GR_STRING ? (size_t)t->elements : t->size / step;
    p->indent += 3;
    gr_text_puts(p, "{");
    for (size_t i = 0; i < count && !p->stopped; i++) {
        if (i > 0) gr_text_puts(p, ",");
        if (i > 0 && p->column > LINE) gr_text_new_line(p);
        if (t->dtype == GR_STRING)
            gr_text_put_bytes(p, t->strings[i]);
        else
            put_element(p, t->dtype, (const unsigned char *)t->data + i * step);
    }
    gr_text_puts(p, "}");
    p->indent -= 3;
}

static void put_base64(gr_text_out *p, const gr_doc_tensor *t)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *data = t->data;
    gr_text_puts(p, "[\"base64\": \"");
    for (size_t i = 0; i < t->size && !p->stopped; i += 3) {
        size_t left = t->size - i;
        uint32_t held =
            (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) | (left > 2 ? data[i + 2] : 0);
        char out[4] = {digits[held >> 18], digits[held >> 12 & 63], left > 1 ? digits[held >> 6 & 63] : '=',
                       left > 2 ? digits[held & 63] : '='};
        if (i % 90 == 0) gr_text_put_char(p, '\n');
        gr_text_put(p, out, 4);
    }
    gr_text_puts(p, "\"]");
}

void gr_text_put_props(gr_text_out *p, const gr_doc_props *props)
{
    gr_text_puts(p, "[");
    for (size_t i = 0; i < props->count; i++) {
        if (i > 0) gr_text_puts(p, ", ");
        gr_text_put_quoted(p, props->items[i].key ? props->items[i].key : "");
        gr_text_puts(p, ": ");
        gr_text_put_quoted(p, props->items[i].value ? props->items[i].value : "");
    }
    gr_text_puts(p, "]");
}

static void put_content(gr_text_out *p, const gr_doc_tensor *t)
{
    char text[24];
    snprintf(text, sizeof text, "#%016llx", (unsigned long long)p->options.content(t));
    gr_text_puts(p, text);
}

void gr_text_put_data(gr_text_out *p, const gr_doc_tensor *t)
{
    size_t elements = (size_t)t->elements;
    bool has_data = t->dtype == GR_STRING ? t->strings != NULL : t->data != NULL;
    if (p->options.content && has_data && elements > p->options.max_elements)
        put_content(p, t);
    else if (t->external.count)
        gr_text_put_props(p, &t->external);
    else if (elements > 0 && (t->elided || !has_data || elements > p->options.max_elements))
        gr_text_puts(p, "...");
    else if (elements > p->options.dense_above && p->options.dense_above && t->dtype != GR_STRING)
        put_base64(p, t);
    else
        put_values(p, t);
}

void gr_text_put_shape(gr_text_out *p, gr_dtype dtype, int rank, const int64_t *dims)
{
    gr_text_puts(p, gr_dtype_name(dtype));
    for (int i = 0; i < rank; i++) {
        gr_text_puts(p, i ? "," : "[");
        gr_text_put_int(p, dims[i]);
    }
    if (rank) gr_text_puts(p, "]");
}

/* A constant as a value. onnx.parser takes no quotes around its name, so others than identifiers go into a note. */
void gr_text_put_constant(gr_text_out *p, const gr_doc_tensor *t)
{
    bool named = t->name && *t->name, plain = gr_text_is_identifier(t->name);
    gr_text_put_notes(p, t->doc_string, &t->metadata);
    if (named && !plain && !p->options.no_notes) gr_text_put_note(p, "name", t->name, NULL);
    gr_text_put_shape(p, t->dtype, t->rank, t->dims);
    gr_text_puts(p, " ");
    if (plain) {
        gr_text_puts(p, t->name);
        gr_text_puts(p, " ");
    }
    if (t->external.count || p->options.dense_above) gr_text_puts(p, "= "); /* '[' would read as the type's shape */
    gr_text_put_data(p, t);
}

void gr_text_put_sparse_data(gr_text_out *p, const gr_doc_sparse *sparse, bool unnamed)
{
    gr_doc_tensor values = *sparse->values;
    if (unnamed) values.name = NULL;
    gr_text_puts(p, "(");
    gr_text_put_constant(p, &values);
    gr_text_puts(p, ", ");
    gr_text_put_constant(p, sparse->indices);
    gr_text_puts(p, ")");
}

void gr_text_put_sparse_type(gr_text_out *p, const gr_doc_sparse *sparse)
{
    gr_text_puts(p, "sparse_tensor(");
    gr_text_put_shape(p, sparse->values->dtype, sparse->rank, sparse->dims);
    gr_text_puts(p, ") ");
}
