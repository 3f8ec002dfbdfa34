/* SPDX-License-Identifier: Apache-2.0
 *
 * Outputs kept for --output: one row per line of ids, written as one array per output, short rows filled with zeros.
 */
#ifndef CLI_COLLECT_H
#define CLI_COLLECT_H

#include "tensor.h"

typedef struct collect {
    size_t items, outputs, cap;
    bool whole; /* one run without lines: arrays are the tensors themselves */
    char **names;
    cli_tensor *rows;   /* [item][output] */
    cli_tensor lengths; /* without a type: not written */
    char *path;
    bool folder, npy;
    cli_out out; /* open from the start, so that a long run doesn't end at a folder that can't be written */
} collect;

/* Check and open the destination: FILE.npz, FILE.npy (one output only), or a folder, which is made. */
bool collect_open(collect *c, const char *path, bool whole, const char *const *names, size_t outputs, gr_err *err);
/* A copy of an output of an item, in the type that it is written in. */
bool collect_copy(cli_tensor *row, const char *name, const gr_tensor_view *view, gr_err *err);
/* Append items with all their outputs; the rows become the collection's. */
void collect_add(collect *c, cli_tensor *rows, size_t items);
/* The array `lengths`, beside the outputs: tokens per line. */
bool collect_lengths(collect *c, int rank, const int64_t *dims, const int64_t *values, gr_err *err);
bool collect_write(collect *c, gr_err *err);
void collect_free(collect *c);

#endif
