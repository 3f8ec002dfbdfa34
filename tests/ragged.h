/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs of zoo cases with sequences of several lengths, together and one by one, for suites that compare their bits.
 */
#ifndef TEST_RAGGED_H
#define TEST_RAGGED_H

#include "zoo.h"

enum { MAX_OUTPUTS = 16, MAX_INPUTS = 3 };

/* Outputs of a session, copied; to be freed in any case. */
typedef struct trial {
    size_t count;
    gr_named_tensor out[MAX_OUTPUTS];
    int64_t dims[MAX_OUTPUTS][8];
    double flops; /* of matrix products, for the rows that were computed */
    gr_memory_info memory;
} trial;

/* All outputs of the model in a session of its own; a failure fails the test. */
bool run_trial(gr_model *m, const gr_session_options *options, const gr_named_tensor *in, size_t nin, trial *t);
void free_trial(trial *t);

/* Inputs of a case, padded on the right. */
typedef struct ragged {
    int64_t batch, tokens, *length; /* room for 8 lengths */
    size_t nin;
    gr_named_tensor in[MAX_INPUTS];
} ragged;

/* Ids, a mask and perhaps types, [batch, tokens], padded on the right. */
bool is_ragged(const zoo_tensors *in, ragged *r);
/* Batch and length of the first input may be any. */
bool is_open(const gr_model *m);
/* The same inputs, but nothing is padding; `ones` has room for a mask of int64. */
void unmask(const ragged *r, int64_t *ones, gr_named_tensor *out);
/* Sequence b alone, without padding: r->nin inputs. */
void cut(const ragged *r, int64_t b, int64_t dims[2], gr_named_tensor *out);
/* Outputs that have a row for each token, or one for each sequence; attention probabilities have neither. */
bool compares(const gr_tensor_view *t, int64_t batch, int64_t tokens);
/* Rows [0, rows) of sequence a in x, which has `tokens` of them, and of sequence b in y; all of the sequence if it has no
 * rows. */
bool same_sequence(const gr_tensor_view *x, int64_t a, const gr_tensor_view *y, int64_t b, int64_t tokens, int64_t rows);

#endif
