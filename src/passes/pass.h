/* SPDX-License-Identifier: Apache-2.0
 *
 * Passes rewrite a graph that has been inferred into one that computes the same in fewer steps. pipeline.c has their
 * order. A pass leaves the graph in a state that gr_graph_check accepts and says in its file what it needs before it.
 */
#ifndef GR_PASS_H
#define GR_PASS_H

#include "graph/ir.h"

typedef struct gr_pass {
    const char *name;
    /* Count of changes in *hits (added to). */
    gr_status (*run)(gr_graph *g, int *hits, gr_err *err);
} gr_pass;

/* All passes in their order; records types of new values too. */
gr_status gr_passes_run(gr_graph *g, gr_err *err);

#endif
