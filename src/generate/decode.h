/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs of a decoder over a group of rows that end together: which tokens, which past, and where the cache is.
 *
 * Rows are aligned to their ends; a row's tokens begin in column start[row]. A cache that grows in place has its tokens
 * in the same columns, behind GR_SLACK columns of zeros, so that a step may take a past that begins before the first
 * token, which the attention mask hides: the past then has one of few lengths, and hardly a step needs a new plan.
 */
#ifndef GR_DECODE_H
#define GR_DECODE_H

#include "generate/roles.h"
#include "session.h"

enum { GR_SLACK = 64 };

typedef struct gr_decode {
    gr_session *session;
    const gr_decoder *d;
    gr_named_tensor *inputs; /* room for ids, mask, positions, types, switch and pasts */
    gr_named_tensor *outputs;
    const char **pasts, **presents;
    int64_t (*dims)[GR_MAX_RANK]; /* of the pasts */
    bool cached, in_place, rounded; /* rounded: the past is taken with a length that is a multiple of GR_SLACK */
    /* of the group */
    int64_t rows, beams, capacity, end, past; /* past: tokens in the cache, if it does not grow in place */
    int64_t *tokens;                          /* [rows, capacity] */
    int64_t *start;                           /* [rows] */
    int64_t *lasts;                           /* [rows]: of a run, the places of the last tokens */
    void *feed[4];                            /* ids, mask, positions, types: [rows, GR_SLACK + capacity] */
    char **cache, **spare;                    /* of each pair; spare: the other buffer where it is copied */
    void *block;                              /* that they all lie in */
    size_t block_size;
    size_t *cache_size, aside_size;
    void *aside;                              /* for rows that are reordered, as large as the largest cache */
    size_t cache_bytes;
    float *logits;                            /* [rows, vocab] of the last columns */
    int64_t vocab;
} gr_decode;

gr_status gr_decode_new(gr_decode *x, gr_arena *arena, gr_err *err);
/* Memory for rows of up to `capacity` tokens; what was there before is gone. */
gr_status gr_decode_begin(gr_decode *x, int64_t rows, int64_t beams, int64_t capacity, gr_err *err);
/* Logits and cache of the tokens up to column `end` of every `beams`-th row; rows of one length run together. */
gr_status gr_decode_prompts(gr_decode *x, gr_err *err);
/* Logits and cache of the last column, of all rows. */
gr_status gr_decode_step(gr_decode *x, gr_err *err);
/* Row i becomes what row from[i] was, tokens and cache; only columns in which they differ are copied. */
void gr_decode_reorder(gr_decode *x, const int64_t *from);
/* A number as an element of what an input is fed: int64, int32, float, or bool. */
void gr_decode_put(gr_dtype type, void *to, int64_t at, int64_t value);
/* Frees the memory of the group. */
void gr_decode_end(gr_decode *x);

#endif
