/* SPDX-License-Identifier: Apache-2.0
 *
 * Greedy by size: the largest buffer first, each at the lowest gap among those placed that are alive with it. Very long
 * graphs, for which that would take quadratic time, are placed in the order of time from a list of free gaps.
 */
#include "memory.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ALIGN = 64, GREEDY_MAX = 6000 };

static size_t rounded(size_t size) { return (size + ALIGN - 1) / ALIGN * ALIGN; }

static int larger_first(const void *a, const void *b)
{
    const gr_buffer *x = *(gr_buffer *const *)a, *y = *(gr_buffer *const *)b;
    if (x->size != y->size) return x->size > y->size ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first ? 1 : x < y ? -1 : x > y;
}

static int earlier_first(const void *a, const void *b)
{
    const gr_buffer *x = *(gr_buffer *const *)a, *y = *(gr_buffer *const *)b;
    return x->first < y->first ? -1 : x->first > y->first ? 1 : x < y ? -1 : x > y;
}

/* `placed` is sorted by offset. */
static void place(gr_buffer **placed, size_t n, gr_buffer *b)
{
    size_t at = 0, need = rounded(b->size), i;
    for (i = 0; i < n; i++) {
        const gr_buffer *p = placed[i];
        if (p->last < b->first || p->first > b->last) continue;
        if (p->offset >= at && p->offset - at >= need) break;
        if (p->offset + rounded(p->size) > at) at = p->offset + rounded(p->size);
    }
    b->offset = at;
    for (i = n; i > 0 && placed[i - 1]->offset > at; i--) placed[i] = placed[i - 1];
    placed[i] = b;
}

typedef struct gap {
    size_t offset, size;
} gap;

/* Buffers that have ended leave gaps; a new one takes the first that is large enough. Gaps are not merged: in a chain
 * of equal operators they are taken again as they are. */
static size_t place_in_time(gr_buffer **order, size_t n, gap *gaps, gr_buffer **active)
{
    size_t ngaps = 0, nactive = 0, end = 0;
    for (size_t i = 0; i < n; i++) {
        gr_buffer *b = order[i];
        for (size_t j = 0; j < nactive;) {
            if (active[j]->last >= b->first) {
                j++;
                continue;
            }
            gaps[ngaps++] = (gap){active[j]->offset, rounded(active[j]->size)};
            active[j] = active[--nactive];
        }
        size_t g = 0;
        while (g < ngaps && gaps[g].size < rounded(b->size)) g++;
        if (g < ngaps) {
            b->offset = gaps[g].offset;
            gaps[g].offset += rounded(b->size);
            gaps[g].size -= rounded(b->size);
            if (!gaps[g].size) gaps[g] = gaps[--ngaps];
        } else {
            b->offset = end;
            end += rounded(b->size);
        }
        active[nactive++] = b;
    }
    return end;
}

gr_status gr_plan_memory(gr_buffer *buffers, size_t n, size_t *total, gr_err *err)
{
    size_t sum = 0, end = 0;
    for (size_t i = 0; i < n; i++)
        if (buffers[i].size > SIZE_MAX / 4 || !gr_add(sum, rounded(buffers[i].size), &sum))
            return gr_fail(err, GR_ELIMIT, "the buffers of this shape are larger than any memory");
    gr_buffer **order = gr_calloc(n, sizeof *order), **placed = gr_calloc(n, sizeof *placed);
    gap *gaps = gr_calloc(2 * n, sizeof *gaps);
    gr_status status = order && placed && gaps ? GR_OK : gr_nomem(err);
    for (size_t i = 0; status == GR_OK && i < n; i++) order[i] = &buffers[i];
    if (status == GR_OK && n <= GREEDY_MAX) {
        qsort(order, n, sizeof *order, larger_first);
        for (size_t i = 0; i < n; i++) {
            place(placed, i, order[i]);
            if (order[i]->offset + rounded(order[i]->size) > end) end = order[i]->offset + rounded(order[i]->size);
        }
    } else if (status == GR_OK) {
        qsort(order, n, sizeof *order, earlier_first);
        end = place_in_time(order, n, gaps, placed);
    }
    gr_free(order);
    gr_free(placed);
    gr_free(gaps);
    *total = end;
    return status;
}

static size_t read_limit(const char *path)
{
    char text[64] = "";
    FILE *f = fopen(path, "re");
    if (!f) return SIZE_MAX;
    bool got = fgets(text, sizeof text, f) != NULL;
    fclose(f);
    if (!got || text[0] < '0' || text[0] > '9') return SIZE_MAX;
    unsigned long long v = strtoull(text, NULL, 10);
    return v ? (size_t)v : SIZE_MAX;
}

size_t gr_machine_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    size_t all = pages > 0 && size > 0 ? (size_t)pages * (size_t)size : SIZE_MAX;
    size_t v2 = read_limit("/sys/fs/cgroup/memory.max"), v1 = read_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    if (v2 < all) all = v2;
    return v1 < all ? v1 : all;
}
