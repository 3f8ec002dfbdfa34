/* SPDX-License-Identifier: Apache-2.0
 *
 * Greedy by size: the largest buffer first, each at the lowest gap among those placed that are alive with it. Very long
 * graphs, for which that would take quadratic time, are placed in the order of time from a list of free gaps.
 */
#include "memory.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGN = 64, GREEDY_MAX = 6000, MAX_GAPS = 1024 };

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
    return x->first != y->first ? (x->first < y->first ? -1 : 1) : larger_first(a, b);
}

static int sooner_over(const void *a, const void *b)
{
    const gr_buffer *x = *(gr_buffer *const *)a, *y = *(gr_buffer *const *)b;
    return x->last < y->last ? -1 : x->last > y->last ? 1 : x < y ? -1 : x > y;
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

/* What is free below `top`: gaps by offset, none empty, no two adjacent, none at the top. */
typedef struct space {
    gap *gaps;
    size_t n, top, most;
} space;

static void give_back(space *s, const gr_buffer *b)
{
    size_t offset = b->offset, size = rounded(b->size), i = s->n, taken = 0;
    if (!size) return;
    while (i > 0 && s->gaps[i - 1].offset > offset) i--;
    if (i < s->n && s->gaps[i].offset == offset + size) size += s->gaps[i].size, taken++;
    if (i > 0 && s->gaps[i - 1].offset + s->gaps[i - 1].size == offset) {
        offset = s->gaps[--i].offset;
        size += s->gaps[i].size;
        taken++;
    }
    bool top = offset + size == s->top;
    if (!top && !taken && s->n == MAX_GAPS) return; /* lost: searching more would take longer than they are worth */
    memmove(s->gaps + i + !top, s->gaps + i + taken, (s->n - i - taken) * sizeof *s->gaps);
    s->n = s->n - taken + !top;
    if (top) s->top = offset;
    else s->gaps[i] = (gap){offset, size};
}

static void take(space *s, gr_buffer *b)
{
    size_t size = rounded(b->size), best = s->n;
    for (size_t i = 0; i < s->n; i++)
        if (s->gaps[i].size >= size && (best == s->n || s->gaps[i].size < s->gaps[best].size)) best = i;
    if (best == s->n || !size) {
        b->offset = size ? s->top : 0;
        s->top += size;
        if (s->top > s->most) s->most = s->top;
        return;
    }
    gap *g = &s->gaps[best];
    b->offset = g->offset;
    g->offset += size;
    g->size -= size;
    if (!g->size) memmove(g, g + 1, (--s->n - best) * sizeof *g);
}

/* By first step; each takes the smallest gap that fits, of those that buffers have left which are over. */
static size_t place_in_time(gr_buffer **by_first, gr_buffer **by_last, size_t n, gap *gaps)
{
    space s = {.gaps = gaps};
    size_t over = 0;
    for (size_t i = 0; i < n; i++) {
        while (by_last[over]->last < by_first[i]->first) give_back(&s, by_last[over++]);
        take(&s, by_first[i]);
    }
    return s.most;
}

gr_status gr_plan_memory(gr_buffer *buffers, size_t n, size_t *total, gr_err *err)
{
    size_t sum = 0, end = 0;
    for (size_t i = 0; i < n; i++)
        if (buffers[i].size > SIZE_MAX / 4 || !gr_add(sum, rounded(buffers[i].size), &sum))
            return gr_fail(err, GR_ELIMIT, "the buffers of this shape are larger than any memory");
    gr_buffer **order = gr_calloc(n, sizeof *order), **placed = gr_calloc(n, sizeof *placed);
    gap *gaps = gr_calloc(n + 1, sizeof *gaps);
    gr_status status = order && placed && gaps ? GR_OK : gr_nomem(err);
    for (size_t i = 0; status == GR_OK && i < n; i++) order[i] = &buffers[i];
    if (status == GR_OK && n <= GREEDY_MAX) {
        qsort(order, n, sizeof *order, larger_first);
        for (size_t i = 0; i < n; i++) {
            place(placed, i, order[i]);
            if (order[i]->offset + rounded(order[i]->size) > end) end = order[i]->offset + rounded(order[i]->size);
        }
    } else if (status == GR_OK) {
        memcpy(placed, order, n * sizeof *order);
        qsort(order, n, sizeof *order, earlier_first);
        qsort(placed, n, sizeof *placed, sooner_over);
        end = place_in_time(order, placed, n, gaps);
    }
    gr_free(order);
    gr_free(placed);
    gr_free(gaps);
    *total = end;
    return status;
}

void gr_vacate_pages(char *part, size_t size)
{
    enum { HUGE_PAGE = 2 << 20 };
    const size_t before = (size_t)(-(uintptr_t)part % HUGE_PAGE);
    if (size >= before + HUGE_PAGE) madvise(part + before, (size - before) / HUGE_PAGE * HUGE_PAGE, MADV_DONTNEED);
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

static size_t read_machine_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    size_t all = pages > 0 && size > 0 ? (size_t)pages * (size_t)size : SIZE_MAX;
    size_t v2 = read_limit("/sys/fs/cgroup/memory.max"), v1 = read_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    if (v2 < all) all = v2;
    return v1 < all ? v1 : all;
}

size_t gr_machine_memory(void)
{
    static size_t known; /* asking the kernel takes as long as a tenth of a plan */
    size_t size = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (!size) __atomic_store_n(&known, size = read_machine_memory(), __ATOMIC_RELAXED);
    return size;
}
