/* SPDX-License-Identifier: Apache-2.0
 *
 * Where two graphs part: both are run on the same inputs, and every value that has a counterpart is compared twice. The
 * cumulative deviation is that of the two runs; the own one is what is left when the nodes between a value and the
 * nearest values with counterparts are fed the other graph's contents. Rounding accumulates in the first and not in the
 * second, so the first value whose own deviation is too large stands at the fault.
 */
#ifndef GR_DIVERGENCE_H
#define GR_DIVERGENCE_H

#include "align.h"

typedef struct gr_deviation {
    double error;  /* greatest absolute difference; infinite if type or shape differ or one side alone is finite */
    double scale;  /* greatest magnitude in the reference, fills of masks left out */
    double excess; /* greatest difference as a multiple of what is allowed */
    int64_t at;    /* element of the greatest excess */
    double a, b;   /* the two values there */
} gr_deviation;

typedef struct gr_compared {
    const gr_value *b;
    const gr_value *a; /* NULL: a saved tensor */
    bool alone;        /* one node each, with the same operator on values with counterparts */
    bool measured;     /* whether `own` is set */
    gr_dtype dtype;    /* of b */
    int rank;
    int64_t dims[GR_MAX_RANK];
    gr_deviation own, cumulative;
} gr_compared;

typedef struct gr_tolerance {
    double atol, rtol; /* relative to the element or to the scale, whichever is larger; rtol < 0: by type */
} gr_tolerance;

typedef struct gr_divergence_options {
    gr_tolerance tolerance;
    int threads;
    size_t max_memory; /* of all values held at once; 0: none */
    gr_precision precision; /* that b is computed in */
    bool all;          /* own deviations of all values, not just up to the first that is too large */
    const volatile int *cancel;
    /* Saved tensors [rows, width, ...] have contents only up to each row's length; NULL: all have. */
    const int64_t *lengths;
    int64_t rows, width;
} gr_divergence_options;

typedef struct gr_divergence {
    gr_compared *items; /* in the order of b's nodes */
    size_t count;
    const gr_compared *first; /* the first whose own deviation is too large; NULL: none */
    const gr_compared *worst; /* the greatest cumulative excess; NULL: nothing was compared */
    /* What stands between `first` and the values before it, at most GR_REGION of each. */
    size_t nonly_a, nonly_b, nattrs, nconsts;
    const gr_node **only_a, **only_b; /* without counterpart */
    const gr_node **attrs;            /* of b: the counterpart has other attributes */
    const gr_value **consts;          /* of b: the counterpart has other contents */
} gr_divergence;
enum { GR_REGION = 32 };

/* Compare graph b with graph a; inputs are by the graphs' order. */
gr_status gr_divergence_find(const gr_align *align, const gr_tensor *const *inputs_a, const gr_tensor *const *inputs_b,
                             const gr_divergence_options *options, gr_arena *arena, gr_divergence *out, gr_err *err);
/* Compare graph b with saved tensors, by id of value (NULL where there is none). */
gr_status gr_divergence_saved(const gr_graph *b, const gr_tensor *const *saved, const gr_tensor *const *inputs,
                              const gr_divergence_options *options, gr_arena *arena, gr_divergence *out, gr_err *err);

#endif
