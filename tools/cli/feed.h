/* SPDX-License-Identifier: Apache-2.0
 *
 * From lines of ids (or a few given tensors) to all the inputs that a model wants: which input plays which part is told
 * by its name and shape, and what can be derived is: masks, token types, positions, an empty cache.
 */
#ifndef CLI_FEED_H
#define CLI_FEED_H

#include "ids.h"
#include "tensor.h"

typedef enum feed_role {
    FEED_UNKNOWN,
    FEED_GIVEN,
    FEED_IDS,
    FEED_MASK,
    FEED_TYPES,
    FEED_POSITIONS,
    FEED_CACHE,
    FEED_CACHE_POSITIONS,
    FEED_USE_CACHE,
    FEED_LABELS,
    FEED_HEAD_MASK
} feed_role;

typedef struct feed_slot {
    gr_value_info info;
    feed_role role;
    const cli_tensor *given;
    cli_tensor made; /* of the batch at hand */
} feed_slot;

/* One sequence of a batch. */
typedef struct feed_cell {
    const int64_t *ids;
    int64_t length, boundary;
} feed_cell;

typedef struct feed {
    feed_slot *slots;
    size_t count;
    int base;           /* the slot of the ids (or of the embeddings that are given in their place); -1: none */
    int64_t pad;        /* id that fills short rows */
    int64_t batch_size; /* fixed by the model, or -1; likewise: */
    int64_t length_fixed, choices_fixed;
    bool has_mask, labels_derived;
    int64_t past; /* length of the cache */
    bool past_given;
    uint64_t seed; /* of feed_random */
    /* of the batch at hand: */
    int64_t rows, choices, length;
    gr_named_tensor *inputs;
    size_t input_count;
} feed;

/* Settle the parts. `given` must outlive the feed; each is converted to the type that the model wants. `lines`: ids
 * come as lines. Fails with the first input that neither is given nor can be derived. */
bool feed_init(feed *f, const gr_model *model, cli_tensor *given, size_t given_count, bool lines, gr_err *err);
void feed_free(feed *f);

/* Rank of the ids: 3 for models with choices. 0 if there is no base. */
int feed_rank(const feed *f);

/* Make the inputs of one run from items order[0..n) of `total`. Given tensors with `total` rows are cut alike. */
bool feed_lines(feed *f, const cli_ids *ids, const cli_item *items, const size_t *order, size_t n, size_t total,
                gr_err *err);
/* Make the inputs of the one run in which the ids (or everything) are given tensors. */
bool feed_given(feed *f, gr_err *err);
/* Make inputs of a size with random ids below `vocabulary`, and random numbers for what can't be derived. */
bool feed_random(feed *f, int64_t rows, int64_t choices, int64_t length, int64_t vocabulary, gr_err *err);

/* feed_init for feed_random: there is nothing that has to be given. */
bool feed_init_random(feed *f, const gr_model *model, cli_tensor *given, size_t given_count, gr_err *err);

/* Where rows and positions are in an output. */
typedef struct feed_layout {
    int batch_axis;     /* -1: none */
    uint32_t positions; /* bit per axis */
} feed_layout;
/* `info` is NULL for a value that the model doesn't declare as an output. */
feed_layout feed_output_layout(const feed *f, const gr_value_info *info, const gr_tensor_view *view);

#endif
