/* SPDX-License-Identifier: Apache-2.0
 *
 * What this machine can do at best, to hold a step against (Williams, Waterman, Patterson: Roofline, 2009).
 */
#ifndef GR_ROOF_H
#define GR_ROOF_H

#include "graph/base.h"

typedef struct gr_roof {
    int threads;
    double flops;     /* floating-point operations a second, of float32 products whose operands are in first-level caches */
    double bandwidth; /* bytes a second read from memory */
} gr_roof;

/* Takes some tenths of a second. False: out of memory. */
bool gr_roof_measure(int threads, gr_roof *out, gr_err *err);

#endif
