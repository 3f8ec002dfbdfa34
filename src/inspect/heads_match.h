/* SPDX-License-Identifier: Apache-2.0
 *
 * Matching one head's optimised graph against a model's.
 */
#ifndef GR_HEADS_MATCH_H
#define GR_HEADS_MATCH_H

#include "graph/ir.h"

enum { HEAD_NODES = 64, HEAD_WEIGHTS = 32, HEAD_OUTPUTS = 8 };

typedef struct head_match {
    const gr_graph *head, *model;
    const gr_value *hidden;         /* of the model */
    const gr_value **bound;         /* by the head's value ids */
    const gr_value *trail[HEAD_NODES * 2]; /* the head's values, in the order they were bound */
    int ntrail;
    const gr_node *nodes[HEAD_NODES];
    int nnodes;
    int budget;                     /* steps left, so that no graph makes this long */
} head_match;

/* Whether the head's value can be the model's value; what it stands on is bound on the way, or nothing is. */
bool gr_head_match(head_match *m, const gr_value *p, const gr_value *g);
/* Forget what was bound since there were `ntrail` and `nnodes`. */
void gr_head_undo(head_match *m, int ntrail, int nnodes);
/* The value before casts and quantisation, which say the same with less precision. */
const gr_value *gr_head_peel(const gr_value *v);

#endif
