/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of token ids: one sequence per line, ids apart by spaces, tabs or commas, '|' between the segments of a pair,
 * '#' up to the end of the line a comment.
 */
#ifndef CLI_IDS_H
#define CLI_IDS_H

#include "cli.h"

typedef struct cli_line {
    int64_t number;    /* in the file, from 1 */
    int64_t first;     /* index of its first id in cli_ids.ids */
    int64_t length;    /* ids */
    int64_t boundary;  /* ids before '|'; length if there is none */
    int64_t paragraph; /* counts up at each blank line after a line with ids */
} cli_line;

typedef struct cli_ids {
    int64_t *ids;
    cli_line *lines;
    size_t id_count, line_count;
    size_t id_cap, line_cap;
} cli_ids;

bool cli_ids_parse(const cli_file *file, cli_ids *out, gr_err *err);
void cli_ids_free(cli_ids *ids);

/* The whole token as a number; NULL, or what is wrong with it. */
const char *cli_id_parse(const char *token, size_t size, int64_t *out);

/* The start of a token, terminated. */
typedef struct cli_token_text {
    char s[48];
} cli_token_text;
cli_token_text cli_token(const char *token, size_t size);

/* ---- Batches ---- */

/* Items are what a row of a batch is: a line, or for models with choices a question. */
typedef struct cli_item {
    size_t line;    /* index of the first one */
    size_t lines;   /* choices; 1 otherwise */
    int64_t length; /* of the longest line */
} cli_item;

typedef struct cli_batch_rules {
    int64_t rows;       /* at most */
    int64_t tokens;     /* at most, padding counted; one item is always allowed */
    bool equal_lengths; /* for models that can't be told what is padding */
    size_t window;      /* items that are reordered together */
} cli_batch_rules;

/* Order items[0..n) so that batches, which are consecutive, hold items of similar length: within each window by
 * length, stable. order[] gets indices into items; starts[] (room for n + 1) where in order[] each batch begins, and
 * n at the end. Returns the number of batches. */
size_t cli_batches(const cli_item *items, size_t n, const cli_batch_rules *rules, size_t *order, size_t *starts);

#endif
