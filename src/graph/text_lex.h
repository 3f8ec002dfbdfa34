/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of the textual syntax: tokens, notes and numbers, shared by text_*.c. The grammar is ONNX's (docs/Syntax.md of
 * onnx/onnx); docs of our additions stand in text_parse.c.
 *
 * Notes carry what the grammar has no place for. A note is a comment line that starts with "#:", so that ONNX's own
 * parser skips it, and belongs to the element whose first token follows:
 *     #: doc "text"            doc_string
 *     #: meta "key": "value"   one entry of metadata_props
 *     #: name "odd/name"       name of a constant or subgraph inside an attribute
 *     #: denotation "text"     of a type or dimension
 *     #: bits 7fc00001         follows a nan whose bits are not the usual ones
 * Strings in notes write a newline as \n. A comment that does not read as a note is a comment.
 */
#ifndef GR_TEXT_LEX_H
#define GR_TEXT_LEX_H

#include "doc.h"

typedef struct gr_notes {
    const char *doc, *name, *denotation;
    gr_doc_props meta;
    size_t meta_cap;
    bool any, has_bits;
    uint64_t bits;
} gr_notes;

/* Kinds of tokens; a punctuation mark is its own kind. */
enum { GR_TOK_END = 256, GR_TOK_IDENT, GR_TOK_STRING, GR_TOK_INT, GR_TOK_FLOAT, GR_TOK_ARROW, GR_TOK_DOTS };

/* Reads one token ahead: kind, s and n are the current one, notes those that stood before it. */
typedef struct gr_lex {
    const char *begin, *end, *at; /* at: behind the current token */
    const char *file;             /* for messages */
    gr_arena *arena;
    gr_err *err;
    int kind;
    const char *s; /* a string's without its quotes */
    size_t n;
    bool escaped; /* a string has backslashes */
    gr_notes notes;
    int depth;           /* of types and graphs that are open */
    size_t tensor_bytes; /* part of the arena that holds tensors' data */
} gr_lex;

gr_status gr_lex_start(gr_lex *lex, const char *text, size_t size, const char *file, gr_arena *arena, gr_err *err);
gr_status gr_lex_next(gr_lex *lex);
/* Skip the current token if it is of this kind. */
gr_status gr_lex_accept(gr_lex *lex, int kind, bool *found);
/* The current token must be of this kind and is skipped. */
gr_status gr_lex_expect(gr_lex *lex, int kind, const char *what);
bool gr_lex_is_word(const gr_lex *lex, const char *word);
/* An identifier or a string as a name, in the arena, skipped. */
gr_status gr_lex_name(gr_lex *lex, const char *what, const char **out);
/* Names joined by dots: *last is the one behind the last dot, *head the rest, NULL if there is no dot. */
gr_status gr_lex_dotted(gr_lex *lex, const char *what, const char **head, const char **last);
/* A string in quotes as a name, or as bytes. */
gr_status gr_lex_string(gr_lex *lex, const char *what, const char **out);
gr_status gr_lex_bytes(gr_lex *lex, gr_bytes_view *out);
gr_status gr_lex_int(gr_lex *lex, const char *what, int64_t *out);
gr_status gr_lex_uint(gr_lex *lex, uint64_t *out);
/* Numbers and inf, nan; floats of any spelling. */
bool gr_lex_is_float(const gr_lex *lex);
gr_status gr_lex_float(gr_lex *lex, float *out);
gr_status gr_lex_double(gr_lex *lex, double *out);
/* Fail at the current token: "file:line:column: <sentence>", or "...: expected <what>, but found <token>". */
gr_status gr_lex_fail(const gr_lex *lex, gr_status status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
gr_status gr_lex_expected(const gr_lex *lex, const char *what);
/* Count a level of nesting; refuses too many. */
gr_status gr_lex_enter(gr_lex *lex);
void gr_lex_leave(gr_lex *lex);

/* Numbers, whatever the locale. Writers give the fewest digits that read back exactly and return the length; `out` has
 * GR_NUMBER_ROOM bytes. */
enum { GR_NUMBER_ROOM = 40 };
bool gr_text_to_float(const char *s, size_t n, float *out); /* false: not a number or too large */
bool gr_text_to_double(const char *s, size_t n, double *out);
size_t gr_float_to_text(float value, char *out);
size_t gr_double_to_text(double value, char *out);
size_t gr_int_to_text(int64_t value, char *out);
size_t gr_uint_to_text(uint64_t value, char *out);

/* Is this word a type's name ("float", "seq")? */
bool gr_text_is_type(const char *s, size_t n);

/* text_tensor.c */
gr_status gr_text_parse_type(gr_lex *lex, gr_doc_type **out);
gr_status gr_text_parse_props(gr_lex *lex, gr_doc_props *out); /* ["key": "value", ...] */
/* The data of a constant whose type, a tensor with numbers as dimensions, has been read. Where they lie in another
 * file, that is for the caller to read: `external` is set, `data` is NULL. */
gr_status gr_text_parse_data(gr_lex *lex, const gr_doc_type *type, gr_doc_tensor *tensor);
/* [name] [=] data, behind the type; `notes` stood before the type. */
gr_status gr_text_parse_constant(gr_lex *lex, const gr_doc_type *type, const gr_notes *notes, gr_doc_tensor **out);
/* "(values, indices)" of a sparse tensor, behind its type. A `name` that is not NULL becomes that of the values. */
gr_status gr_text_parse_sparse(gr_lex *lex, const gr_doc_type *type, const char *name, gr_doc_sparse **out);
/* Does the current token, behind a type, begin a constant? */
bool gr_text_is_constant(const gr_lex *lex);

#endif
