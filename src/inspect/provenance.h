/* SPDX-License-Identifier: Apache-2.0
 *
 * What became of every node of the file: exactly one fate each. Needs nothing but the graph after its passes: values
 * remember what replaced them, and the graph keeps what the file's nodes read.
 */
#ifndef GR_PROVENANCE_H
#define GR_PROVENANCE_H

#include "graph/ir.h"

typedef enum gr_fate {
    GR_FATE_DEAD,     /* nothing needs it */
    GR_FATE_FOLDED,   /* computed before the run: it depends on constants and on shapes only */
    GR_FATE_FUSED,    /* part of node `into`, which came from others too; merged duplicates and what `into` computes
                         without it (a reshape that it looks through) among them */
    GR_FATE_EXECUTED, /* as node `into`; nodes of a body as the If, Loop or Scan that runs it */
    GR_FATES
} gr_fate;

typedef struct gr_origin {
    const gr_source *source;
    const gr_graph *graph; /* whose source it is: the main graph, or a body */
    gr_fate fate;
    const gr_node *into; /* a node of the main graph for FUSED and EXECUTED, else NULL */
} gr_origin;

typedef struct gr_provenance {
    size_t count;
    gr_origin *items; /* in the order of the file, nodes of a body behind the node that holds it */
    size_t fates[GR_FATES];
} gr_provenance;

/* "executed", "fused", "folded", "dead". */
const char *gr_fate_name(gr_fate fate);

/* The fates of all nodes of the file that g was built from, in `arena`. Linear in the size of the graph. */
gr_status gr_provenance_of(const gr_graph *g, gr_arena *arena, gr_provenance *out, gr_err *err);

#endif
