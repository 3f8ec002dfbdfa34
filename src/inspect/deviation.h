/* SPDX-License-Identifier: Apache-2.0
 *
 * How far one tensor is from another.
 */
#ifndef GR_DEVIATION_H
#define GR_DEVIATION_H

#include "divergence.h"

/* What may lie between two tensors: one node on the same operands, a few nodes that compute the same, or a whole other
 * implementation. Each has a default tolerance of its own. */
typedef enum gr_distance { GR_ONE_NODE, GR_SOME_NODES, GR_OTHER_PROGRAM } gr_distance;

/* Deviation of b from a. Whole numbers have no rtol. */
gr_deviation gr_deviation_of(const gr_tensor *a, const gr_tensor *b, const gr_tolerance *tolerance,
                             gr_distance distance);
/* What became of a tensor's elements. */
typedef struct gr_change {
    bool same_shape;    /* and both hold numbers; else nothing below is set */
    int64_t elements, changed;
    double greatest;    /* difference */
    double norm, change; /* Euclidean norms of a and of b - a */
} gr_change;
gr_change gr_change_of(const gr_tensor *a, const gr_tensor *b);

/* A copy of t with another floating-point type; any other change of type, and lack of memory, gives NULL. */
gr_tensor *gr_tensor_in(const gr_tensor *t, gr_dtype dtype);
/* Element i of a numeric tensor of at least 8 bits. */
double gr_element(const gr_tensor *t, int64_t i);

#endif
