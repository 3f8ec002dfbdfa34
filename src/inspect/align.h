/* SPDX-License-Identifier: Apache-2.0
 *
 * Which value of one graph is which of another. Names are a hint at most: equal computations are found by hashes of
 * what leads to a value and of what follows from it, the gaps between them by walking outwards from what is known.
 */
#ifndef GR_ALIGN_H
#define GR_ALIGN_H

#include "graph/ir.h"

typedef struct gr_align {
    const gr_graph *a, *b;
    const gr_value **a_of, **b_of;          /* counterpart by id of the other side's value; NULL: none. Constants too */
    const gr_node **node_a_of, **node_b_of; /* nodes with the same operator and aligned outputs, by id */
    const uint64_t *content_a, *content_b;  /* hashes of constants by id of value */
    const uint64_t *attrs_a, *attrs_b;      /* hashes of attributes by id of node */
    const uint64_t *exact_a, *exact_b;      /* by id of value: equal ones are computed equally */
    size_t nodes_a, nodes_b, paired;        /* nodes, and how many have a counterpart */
} gr_align;

/* Align two graphs without subgraphs' insides. Time is that of sorting the nodes. Lives in `arena`. */
gr_status gr_align_graphs(const gr_graph *a, const gr_graph *b, gr_arena *arena, int threads, gr_align **out,
                          gr_err *err);
/* Align by names alone: two graphs of one model, between which passes have kept the names of values. */
gr_status gr_align_names(const gr_graph *a, const gr_graph *b, gr_arena *arena, int threads, gr_align **out,
                         gr_err *err);

/* A constant that no node makes. */
static inline bool gr_is_leaf(const gr_value *v) { return v->konst && !v->def; }

#endif
