/* SPDX-License-Identifier: Apache-2.0
 *
 * Cases of tests/ops/<family>.onnxtxt: models whose inputs and expected outputs stand as initializers named like them,
 * separated by lines "---". A case named bad_* must be refused; a line "# error: text" before it says with what words.
 */
#ifndef TEST_OP_CASE_H
#define TEST_OP_CASE_H

#include "support.h"

typedef struct op_case {
    const char *file;
    unsigned line;       /* of the file, where the case begins */
    char *text;
    char error[160];     /* "" if none is expected in words */
    bool bad;
    gr_doc *doc;         /* without the values */
    size_t nin, nout;
    gr_doc_tensor **in;  /* of the graph's inputs, in their order */
    gr_tensor **want;    /* of its outputs; NULL where a bad case has none */
    size_t nrest;
    gr_doc_tensor **rest; /* initializers that are nothing else */
} op_case;

/* Calls `run` for every case of a file, after it has been parsed. False if there are none or one cannot be read. */
bool each_case(const char *path, void (*run)(op_case *c));

/* A failure of the running test that names file, case and line. */
void case_fails(const op_case *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Which inputs become constants of the graph again. */
typedef enum keep { KEEP_NONE, KEEP_LISTS, KEEP_ALL } keep;
bool kept_input(const op_case *c, size_t i, keep which);
gr_status build_case(op_case *c, keep which, built *out, gr_err *err);

/* A copy of a document's tensor: aligned, or one byte off its element. */
typedef enum alignment { ALIGNED, SHIFTED } alignment;
gr_tensor *tensor_of(const gr_doc_tensor *t, alignment how);
void tensor_of_free(gr_tensor *t);

#endif
