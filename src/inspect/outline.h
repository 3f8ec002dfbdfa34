/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of a graph, as people speak of a transformer: embeddings, mask, encoder.layer.0 ..., pooler, heads. They are
 * found by structure alone, from the attention nodes and the residual connections around them, so it does not matter
 * which exporter wrote the file, whether passes ran, and what anything is called. Names of weights only name the parts.
 *
 * A part's nodes depend on no later part. What isn't recognised belongs to no part.
 */
#ifndef GR_OUTLINE_H
#define GR_OUTLINE_H

#include "graph/ir.h"

typedef enum gr_part_kind {
    GR_PART_EMBEDDINGS,
    GR_PART_MASK,   /* what several layers read and no layer computes: masks, position biases */
    GR_PART_LAYER,  /* self-attention, cross-attention if there is one, feed-forward network */
    GR_PART_NORM,   /* the last normalisation of a pre-normalised stack */
    GR_PART_POOLER, /* first token, dense, tanh */
    GR_PART_HEAD,
} gr_part_kind;

typedef struct gr_part {
    gr_part_kind kind;
    int stack, index;  /* of a layer: which stack it belongs to (encoder, decoder) and its number in it */
    const char *name;  /* unique among the parts; "encoder.layer.3", or as its weights are called, "transformer.h.3" */
    const char *alias; /* of a layer: the name by position, "encoder.layer.3"; else NULL */
    size_t nnodes, ninputs, noutputs, nweights;
    const gr_node **nodes;    /* in topological order */
    const gr_value **inputs;  /* that its nodes read and others make, constants excepted */
    const gr_value **outputs; /* that others read or that are outputs of the graph */
    const gr_value **weights; /* constants that its nodes read, small ones too */
} gr_part;

typedef struct gr_outline {
    const gr_graph *graph;
    size_t nparts;
    gr_part *parts;
    const gr_part **part_of; /* by node id; NULL: in the open */
    const gr_value *hidden;  /* what the last layer (and norm) gives to the heads; NULL: no layers */
} gr_outline;

/* The graph is only read, and must live as long as the outline; the arena owns the outline. Linear in the graph's size. */
gr_status gr_outline_make(const gr_graph *g, gr_arena *arena, gr_outline *out, gr_err *err);
/* By name or alias; NULL if there is none. */
const gr_part *gr_outline_find(const gr_outline *o, const char *name);

/* A document whose main graph calls one function of the domain "model" per part ("encoder.layer.0" is the function
 * encoder_layer_0). Weights are arguments; small constants stand in the functions. It points into the graph. */
gr_status gr_outline_lower(const gr_outline *o, gr_doc **out, gr_err *err);

#endif
