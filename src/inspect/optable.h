/* SPDX-License-Identifier: Apache-2.0
 *
 * The operators of this library, as their tables and their inference functions tell it.
 */
#ifndef GR_OPTABLE_H
#define GR_OPTABLE_H

#include "ops/op.h"

enum { GR_OP_VERSIONS = 32, GR_OP_KERNELS = 8 };

typedef struct gr_op_entry {
    const char *domain, *name; /* domain "": ai.onnx */
    const gr_op *newest;
    int versions[GR_OP_VERSIONS], nversions; /* opsets in which its definition changed, ascending */
    const char *kernels[GR_OP_KERNELS];      /* of the newest, fastest first */
    int nkernels;
    bool composed;  /* put together from other operators, whose types hold */
    uint64_t types; /* element types that the newest accepts for its first input, a set of GR_T bits; 0: not known, as for
                       operators without inputs or with subgraphs */
} gr_op_entry;

/* All of them by domain and name, in the arena. */
gr_status gr_op_entries(gr_arena *arena, size_t *count, gr_op_entry **out, gr_err *err);

#endif
