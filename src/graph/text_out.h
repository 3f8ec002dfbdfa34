/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of the writer of the textual syntax: text_out.c has its words and notes, text_value.c types and constants,
 * text_print.c nodes, graphs and models.
 */
#ifndef GR_TEXT_OUT_H
#define GR_TEXT_OUT_H

#include "text_lex.h"

enum { GR_TEXT_BUFFER = 8192 };

typedef struct gr_text_out {
    gr_write_fn write;
    void *user;
    gr_text_options options;
    bool stopped; /* the caller wants no more */
    bool fresh;   /* at the start of a line, indented */
    int indent;
    size_t column, used;
    char buffer[GR_TEXT_BUFFER];
} gr_text_out;

void gr_text_put(gr_text_out *p, const char *s, size_t n);
void gr_text_puts(gr_text_out *p, const char *s);
void gr_text_put_char(gr_text_out *p, char c);
void gr_text_new_line(gr_text_out *p);
void gr_text_put_int(gr_text_out *p, int64_t value);
void gr_text_put_float(gr_text_out *p, const void *at);
void gr_text_put_double(gr_text_out *p, const void *at);
void gr_text_flush(gr_text_out *p); /* what the buffer holds, to the caller */

/* In quotes. */
void gr_text_put_quoted(gr_text_out *p, const char *name);
void gr_text_put_bytes(gr_text_out *p, gr_bytes_view bytes);
/* In quotes if need be: where a type could stand, where none can, and words joined by dots. */
void gr_text_put_name(gr_text_out *p, const char *name);
void gr_text_put_word(gr_text_out *p, const char *word);
void gr_text_put_dotted(gr_text_out *p, const char *name);
/* A word that no type bears, so that it needs no quotes anywhere. */
bool gr_text_is_identifier(const char *s);

/* On lines of their own: #: key "first", or "first": "second" if the latter is not NULL. */
void gr_text_put_note(gr_text_out *p, const char *key, const char *first, const char *second);
/* Those of an element, if the caller wants notes; NULL is allowed. */
void gr_text_put_notes(gr_text_out *p, const char *doc, const gr_doc_props *meta);
void gr_text_put_denotation(gr_text_out *p, const char *denotation);

void gr_text_put_type(gr_text_out *p, const gr_doc_type *type);
void gr_text_put_shape(gr_text_out *p, gr_dtype dtype, int rank, const int64_t *dims);
void gr_text_put_sparse_type(gr_text_out *p, const gr_doc_sparse *sparse);
void gr_text_put_props(gr_text_out *p, const gr_doc_props *props);
/* What stands behind type and name; and all of a constant that is a value. */
void gr_text_put_data(gr_text_out *p, const gr_doc_tensor *t);
void gr_text_put_constant(gr_text_out *p, const gr_doc_tensor *t);
/* "(values, indices)". An initializer's name stands before, so the values go without. */
void gr_text_put_sparse_data(gr_text_out *p, const gr_doc_sparse *sparse, bool unnamed);

#endif
