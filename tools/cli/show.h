/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensors for people and for JSON: type, shape, range, first and last values, and the likeliest ids of logits.
 */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include "json.h"
#include "tensor.h"

typedef struct show_options {
    int64_t top_k;      /* ids per position; 0: none; -1: not asked for, so as many as fit a screen */
    const int64_t *at;  /* positions of the rows of outputs in the sequence; NULL: 0, 1, ... */
    const int64_t *ids; /* of the sequence, shown beside the positions; NULL: not known */
    int64_t id_count;
    bool positions_last; /* the last axis counts positions, not classes */
    int name_width;
} show_options;

void show_tensor(cli_text *out, const char *name, const gr_tensor_view *view, const show_options *options);
void show_json(cli_json *json, const char *name, const gr_tensor_view *view, const show_options *options);

/* What a tensor holds, of its finite values; count of the others. */
typedef struct show_range {
    double min, max, mean;
    int64_t finite, nan, infinite;
} show_range;
show_range show_range_of(const gr_tensor_view *view);
int64_t show_elements(const gr_tensor_view *view);

#endif
