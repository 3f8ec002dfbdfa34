/* SPDX-License-Identifier: Apache-2.0
 *
 * A file that gets its name when all of it is there: written beside it, and then renamed.
 */
#ifndef GR_OUTPUT_H
#define GR_OUTPUT_H

#include "base.h"
#include <limits.h>

typedef struct gr_output {
    const char *path; /* outlives it */
    char temporary[PATH_MAX];
    int fd;           /* to write to; -1 if it is not open */
} gr_output;

/* In this order; sentences name the path. After a failure, or when all is done, gr_output_abandon. */
gr_status gr_output_open(gr_output *o, const char *path, gr_err *err);
gr_status gr_output_close(gr_output *o, gr_err *err);
gr_status gr_output_rename(gr_output *o, gr_err *err);
void gr_output_abandon(gr_output *o);

/* All of `size` bytes; the sentence does not name the path. */
gr_status gr_output_write(int fd, const void *data, size_t size, gr_err *err);

#endif
