/* SPDX-License-Identifier: Apache-2.0
 *
 * The next token from a row of logits: the greatest, one drawn at random, or the best for a set of beams.
 */
#ifndef GR_CHOOSE_H
#define GR_CHOOSE_H

#include "base.h"

/* xorshift-multiply generator (splitmix64): the same numbers for a seed everywhere. */
typedef struct gr_random {
    uint64_t state;
} gr_random;
double gr_random_next(gr_random *r); /* in [0, 1) */

/* Of equal ones the first; NaN is never chosen, but for rows without a number, whose choice is 0. */
int64_t gr_choose_greatest(const float *logits, int64_t n);

typedef struct gr_sampling {
    float temperature, top_p; /* top_p >= 1: all */
    int64_t top_k;            /* 0: all */
} gr_sampling;
/* A token with the probability that softmax(logits / temperature) gives it among the top_k most likely, and of these
 * the fewest whose probabilities make up top_p. `room` is for n floats and n int64s. */
int64_t gr_choose_random(const float *logits, int64_t n, const gr_sampling *s, gr_random *r, float *p, int64_t *order);

/* One way to go on: beam `from` with a token. */
typedef struct gr_step_on {
    double score;
    int64_t from, token;
} gr_step_on;
/* The `room` best of beams[i].score + log softmax(logits[i]), best first, of equal ones the earlier; returns how many
 * there are. Row i of the logits is at logits[i * n]. */
size_t gr_choose_best(const float *logits, int64_t n, size_t beams, const double *scores, gr_step_on *best, size_t room);

#endif
