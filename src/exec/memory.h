/* SPDX-License-Identifier: Apache-2.0
 *
 * One block of memory for all buffers of a plan: each gets an offset such that buffers that are alive at the same time
 * do not overlap.
 */
#ifndef GR_MEMORY_H
#define GR_MEMORY_H

#include "graph/base.h"

typedef struct gr_buffer {
    size_t size;            /* in; bytes */
    uint32_t first, last;   /* in; steps during which it is alive, both included */
    size_t offset;          /* out; a multiple of 64 */
} gr_buffer;

/* Place all buffers. *total is the size of the block. GR_ELIMIT if sizes overflow. */
gr_status gr_plan_memory(gr_buffer *buffers, size_t n, size_t *total, gr_err *err);

/* Of a part of memory from gr_malloc_pages the whole huge pages go back to the system; they are zero when they are used
 * again. */
void gr_vacate_pages(char *part, size_t size);

/* Memory of this machine or container that a process may hope to get, in bytes. */
size_t gr_machine_memory(void);

#endif
