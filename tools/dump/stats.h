/* SPDX-License-Identifier: Apache-2.0
 *
 * The range of a weight's values.
 */
#ifndef DUMP_STATS_H
#define DUMP_STATS_H

#include "graph/ir.h"

typedef struct dump_stats {
    double least, greatest, mean, deviation;
    int64_t count, odd; /* values that are numbers, and NaNs and infinities, which nothing else counts */
} dump_stats;

/* Reads the tensor. False if its element type has no values to compare, or nothing in it is a number. */
bool dump_stats_of(const gr_tensor *t, dump_stats *out);

#endif
