/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files that make an outline share: attention nodes, and what is known of each node and value.
 */
#ifndef GR_OUTLINE_WALK_H
#define GR_OUTLINE_WALK_H

#include "outline.h"

/* An attention: the fused node, or the product of probabilities and values. */
typedef struct anchor {
    const gr_node *node;
    const gr_value *query;  /* what its queries are made from: the one input that carries the stream of hidden states */
    const gr_value *border; /* the hidden states it starts from, which the residual connection goes around it with */
    int prev;               /* the attention before it, on whose results its queries depend; -1 */
    int layer;              /* of all layers of the graph */
    bool crosses;           /* keys and values do not come from the queries' stream */
} anchor;

typedef struct layer {
    int stack, index;       /* of the stack */
    int first, last;        /* attentions */
    const gr_value *border; /* hidden states before it */
    const gr_value *end;    /* after it; the border of the next one in the stack */
} layer;

typedef struct walk {
    const gr_graph *g;
    gr_arena *arena;
    size_t nanchors, canchors, nlayers, clayers, nstacks;
    anchor *anchors;
    layer *layers;
    int *anchor_of;  /* by node: 1 + index, or 0 */
    int *last;       /* by node: the latest attention that its results depend on; -1 */
    bool *ancestor;  /* by value: some attention's queries depend on it */
    int *stage;      /* by node: the layer it stands in, as far as layers' borders go; -1 before the first */
    const gr_value *hidden;
    const gr_node *norm; /* the last normalisation, if it stands outside the layers */
} walk;

/* Attentions and layers with their borders. False: out of memory. */
bool gr_walk_layers(walk *w);

/* Whether a node is one of those normalisations, whatever the spelling. */
bool gr_is_norm(const gr_node *n);
/* A value that carries data: not absent, not constant, not integers that only index and shape. */
bool gr_carries(const gr_value *v);
/* The value before casts and quantisation. */
const gr_value *gr_before_conversions(const gr_value *v);

/* Give parts their names. False: out of memory. */
bool gr_outline_name(gr_outline *o, gr_arena *arena);

#endif
