/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading and writing tests/passes/<pass>/<subject>.onnxtxt: models, and what passes make of them.
 * tests/passes/README.md has the form.
 */
#ifndef TEST_GOLDEN_H
#define TEST_GOLDEN_H

#include "support.h"

enum { GOLDEN_PASSES = 32 };

typedef struct golden {
    const char *file; /* from tests/ on */
    unsigned line;    /* of the file, where the model begins; it stands on its own line in `model`, too */
    char *model;      /* as the file has it, without the line that ends it */
    char *want;       /* what is expected afterwards, NULL: nothing yet */
    unsigned want_line;
    size_t fold;    /* bytes up to which constants are computed */
    double rows;    /* not 0: the graph is of a session in bytes, and its values may be off by so much of their range */
    size_t npasses; /* that are run; 0: all */
    const char *passes[GOLDEN_PASSES];
} golden;

/* A failure of the running test that names file and line. */
void golden_fails(const golden *c, unsigned line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Calls `run` for every case of a file. What it returns, allocated, is what the case has come to: it is compared with
 * what the file expects, or, if GR_GOLDENS=write is in the environment, written there. NULL: the case has failed. */
void golden_file(const char *path, char *(*run)(const golden *c));

/* The graph as text: without head and types in between; names of values that the file (`before`) does not have are
 * numbered in their order, contents of large constants are their hash. malloc'ed. */
char *golden_text(const gr_graph *g, const gr_graph *before);

#endif
