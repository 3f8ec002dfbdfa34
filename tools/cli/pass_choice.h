/* SPDX-License-Identifier: Apache-2.0
 *
 * Which passes run, as the commands that look at them are told.
 */
#ifndef PASS_CHOICE_H
#define PASS_CHOICE_H

#include "args.h"
#include "passes/pass.h"

typedef struct pass_choice {
    cli_list disable;
    int64_t stop_after;     /* -1: not told */
    gr_pass_options passes; /* what both come to, once they are parsed */
} pass_choice;

/* Rows for a command's table of options. */
#define PASS_CHOICE_OPTIONS(c)                                                                                         \
    {"--disable", "PASS[,PASS]", CLI_WORDS, &(c).disable, "leave passes out", 0},                                      \
    {                                                                                                                  \
        "--stop-after", "N", CLI_INT, &(c).stop_after, "make the first N rewrites only", 0                             \
    }

static inline bool pass_choice_given(const pass_choice *c) { return c->disable.n || c->stop_after >= 0; }
/* Fill `passes`. A name that no pass has ends the process with status 2. */
void pass_choice_resolve(pass_choice *c, const cli_command *self);
void pass_choice_free(pass_choice *c);
void pass_choice_known(const cli_command *self, const char *name);

/* A graph in textual syntax to standard output. */
gr_status graph_write_text(const gr_graph *g, size_t max_elements, gr_err *err);
bool cli_write_stdout(void *user, const char *text, size_t size);

#endif
