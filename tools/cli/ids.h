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

/* All lines of a file; at least one, or it fails. */
bool cli_ids_parse(const cli_file *file, cli_ids *out, gr_err *err);
void cli_ids_free(cli_ids *ids);

/* The same, some lines after others, from a file or a pipe. */
typedef struct cli_ids_reader cli_ids_reader;
/* "-" is standard input. */
bool cli_ids_open(const char *path, cli_ids_reader **out, gr_err *err);
/* Lines until there are `lines` of them, or MANY_IDS ids. `group` > 1: only whole groups of so many lines, 0: whole
 * paragraphs, as far as there are enough. *end: no more will come. */
bool cli_ids_read(cli_ids_reader *r, size_t lines, int64_t group, cli_ids *out, bool *end, gr_err *err);
void cli_ids_close(cli_ids_reader *r);

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
} cli_batch_rules;

/* Order items[0..n) by length, stable, so that batches, which are consecutive, hold items of similar length. order[] gets indices into items; starts[] (room for n + 1) where in order[] each batch begins, and
 * n at the end. Returns the number of batches. */
size_t cli_batches(const cli_item *items, size_t n, const cli_batch_rules *rules, size_t *order, size_t *starts);

#endif
