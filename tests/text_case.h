/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts in ONNX's textual syntax that must be read, printed as they were, or refused with certain words.
 */
#ifndef TEST_TEXT_CASE_H
#define TEST_TEXT_CASE_H

#include "doc.h"
#include <CUnit/CUnit.h>

#define HEAD        "<ir_version: 8, opset_import: [\"\" : 17]>\n"
#define MODEL(body) HEAD "g (float[N] x) => (float[N] y) " body

extern gr_err text_err; /* of the last call */

/* What is being written; start from {0}, free `s`. */
typedef struct text {
    char *s;
    size_t n, room;
} text;

bool text_append(void *user, const char *s, size_t n); /* a gr_write_fn */
void text_add(text *t, const char *s);

/* NULL: refused. */
gr_doc *text_parse_bytes(const char *s, size_t n);
gr_doc *text_parse(const char *s);
text text_print(const gr_doc *doc, const gr_text_options *options);
/* Print what `s` gives; then parse and print again, which must not change it. */
text text_reprinted(const char *s, size_t n, const gr_text_options *options);

/* The model `s` is printed with the words `wanted` in it. */
void check_prints(const char *s, const char *wanted);
/* The node `s` comes back as it is; a declaration as `wanted`. */
void check_node(const char *s);
void check_declaration(const char *s, const char *wanted);
/* A model, a declaration, a node is refused with a sentence that has these words. */
void check_refused(const char *s, gr_status status, const char *says);
void check_value_refused(const char *declaration, const char *says);
void check_node_refused(const char *node, const char *says);

#endif
