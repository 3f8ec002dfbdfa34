/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DUMP_SHAPES_H
#define DUMP_SHAPES_H

#include "args.h"

typedef struct dump_shapes {
    gr_named_tensor *inputs; /* without data */
    size_t count;
    char text[80]; /* "1x128" */
} dump_shapes;

/* `sizes`: length, batch and length, or batch, choices and length; what the model fixes stays as it is. To be freed, on
 * failure too. */
bool dump_shapes_make(const gr_model *model, const cli_sizes *sizes, dump_shapes *out, gr_err *err);
void dump_shapes_free(dump_shapes *shapes);

#endif
