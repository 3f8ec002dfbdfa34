/* SPDX-License-Identifier: Apache-2.0
 *
 * What the inputs and outputs of a decoder are for. Caches are recognised by what the graph does with them, not by
 * names: an output that only moves elements of one input and of new tokens is that input's successor.
 */
#ifndef GR_ROLES_H
#define GR_ROLES_H

#include "ir.h"

typedef struct gr_cache_role {
    const char *past, *present;
    gr_dtype dtype;
    int rank, axis, batch_axis;  /* axis: the one that grows */
    int64_t dims[GR_MAX_RANK];   /* of both; what axis and batch_axis have means nothing */
    bool grows;                  /* can be extended in place */
} gr_cache_role;

typedef struct gr_input_role {
    const char *name; /* NULL: the model has none */
    gr_dtype dtype;
} gr_input_role;

typedef struct gr_decoder {
    gr_input_role ids, mask, positions, types;
    const char *cache_switch; /* of a file with two branches; NULL: none */
    int switch_rank;          /* 0 or 1 */
    const char *logits;
    int64_t vocab;            /* columns of the logits; -1: known in a run only */
    size_t ncaches;
    gr_cache_role *caches;
    bool in_place;            /* all caches can grow in place */
} gr_decoder;

/* The name of the input that chooses between branches with and without a past, or NULL. */
const char *gr_decoder_switch(const gr_graph *g);
/* Roles of a graph whose switch, if it has one, is a constant. Names are the graph's. GR_EUNSUPPORTED with a sentence
 * about what a decoder must have if this is none. */
gr_status gr_decoder_find(const gr_graph *g, gr_arena *arena, gr_decoder *out, gr_err *err);

#endif
