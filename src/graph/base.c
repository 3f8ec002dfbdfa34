/* SPDX-License-Identifier: Apache-2.0
 *
 * Errors as sentences, allocation with one hook for tests, arenas, checked sizes, 16-bit floats.
 */
#include "base.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- errors ---- */

/* Cut at a character's end, so that a shortened sentence is still UTF-8. */
static void finish_utf8(char *text, size_t written, size_t room)
{
    if (written < room) return;
    size_t end = room - 1;
    while (end > 0 && ((unsigned char)text[end - 1] & 0xC0) == 0x80) end--;
    if (end > 0 && (unsigned char)text[end - 1] >= 0xC0) end--;
    text[end] = 0;
}

void gr_err_write(gr_err *err, gr_status status, const char *fmt, ...)
{
    if (!err) return;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    err->status = status;
    if (n > 0) finish_utf8(err->text, (size_t)n, sizeof err->text);
}

void gr_err_prefix(gr_err *err, gr_status status, const char *fmt, ...)
{
    if (!err) return;
    char rest[GR_ERR_SIZE];
    memcpy(rest, err->text, sizeof rest);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof err->text) {
        int m = snprintf(err->text + n, sizeof err->text - (size_t)n, ": %.*s", GR_ERR_SIZE - 1, rest);
        if (m > 0) finish_utf8(err->text, (size_t)n + (size_t)m, sizeof err->text);
    }
    err->status = status;
}

const char *gr_status_text(gr_status status)
{
    static const char *const texts[] = {
#define X(name, text) text,
        GR_STATUS_MAP(X)
#undef X
    };
    return (size_t)status < sizeof texts / sizeof *texts ? texts[status] : "unknown status";
}

/* Length of the well-formed UTF-8 sequence at s (NUL-terminated), 0 if there is none. */
static int utf8_length(const unsigned char *s)
{
    if (s[0] < 0x80) return 1;
    int n = s[0] >= 0xF0 && s[0] < 0xF5 ? 4 : s[0] >= 0xE0 ? 3 : s[0] >= 0xC2 ? 2 : 0;
    if (s[0] >= 0xF5) n = 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    if (n == 3 && s[0] == 0xE0 && s[1] < 0xA0) return 0;
    if (n == 3 && s[0] == 0xED && s[1] >= 0xA0) return 0;
    if (n == 4 && s[0] == 0xF0 && s[1] < 0x90) return 0;
    if (n == 4 && s[0] == 0xF4 && s[1] >= 0x90) return 0;
    return n;
}

gr_shown gr_show_name(const char *name)
{
    gr_shown out;
    size_t at = 0;
    const size_t room = sizeof out.s - 8; /* an escape is four bytes, the ellipsis three */
    const unsigned char *s = (const unsigned char *)(name ? name : "");
    while (*s && at < room) {
        int n = utf8_length(s);
        bool control = *s < 0x20 || *s == 0x7F || (s[0] == 0xC2 && s[1] < 0xA0);
        if (n == 0 || control) {
            if (s[0] == 0xC0 && s[1] == 0x80) {
                at += (size_t)snprintf(out.s + at, 5, "\\0");
                s += 2;
            } else {
                at += (size_t)snprintf(out.s + at, 5, "\\x%02x", *s);
                s += 1;
            }
        } else if (*s == '\'' || *s == '\\') {
            out.s[at++] = '\\';
            out.s[at++] = (char)*s++;
        } else {
            memcpy(out.s + at, s, (size_t)n);
            at += (size_t)n;
            s += n;
        }
    }
    if (*s) {
        memcpy(out.s + at, "...", 3);
        at += 3;
    }
    out.s[at] = 0;
    return out;
}

/* ---- allocation ---- */

static _Thread_local long fail_after;
static _Thread_local unsigned long failures;

void gr_malloc_fail_after(long n) { fail_after = n; }

unsigned long gr_malloc_failures(void) { return failures; }

static bool refused(void) { return fail_after > 0 && --fail_after == 0; }

static void *counted(void *memory)
{
    failures += !memory;
    return memory;
}

void *gr_malloc(size_t size) { return counted(refused() ? NULL : malloc(size ? size : 1)); }
void *gr_calloc(size_t count, size_t size)
{
    return counted(refused() ? NULL : calloc(count ? count : 1, size ? size : 1));
}
void *gr_realloc(void *old, size_t size) { return counted(refused() ? NULL : realloc(old, size ? size : 1)); }
void gr_free(void *memory) { free(memory); }

/* From this size on memory comes straight from the kernel and goes straight back, whatever malloc's thresholds are. */
enum { MAP_FROM = 1 << 20, HUGE_PAGE = 2 << 20 };

static char *map_pages(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Beginning with a huge page, if the kernel has such. What is behind the last whole one is small pages, so that it
 * takes no more memory. */
static void *map_huge(size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (size > SIZE_MAX / 2) return NULL;
    size = (size + page - 1) / page * page;
    char *p = map_pages(size + HUGE_PAGE);
    if (!p) return map_pages(size);
    const size_t before = (size_t)(-(uintptr_t)p % HUGE_PAGE);
    if (before) munmap(p, before);
    munmap(p + before + size, HUGE_PAGE - before);
    madvise(p + before, size, MADV_HUGEPAGE);
    return p + before;
}

void *gr_malloc_pages(size_t size)
{
    return counted(refused() ? NULL : size < HUGE_PAGE ? map_pages(size + !size) : map_huge(size));
}

void gr_free_pages(void *memory, size_t size)
{
    if (memory) munmap(memory, size + !size);
}

void *gr_malloc_aligned(size_t size)
{
    if (size >= MAP_FROM) return gr_malloc_pages(size);
    return counted(refused() ? NULL : aligned_alloc(64, (size + 63) / 64 * 64 + (size == 0) * 64));
}

void gr_free_aligned(void *memory, size_t size)
{
    if (size >= MAP_FROM)
        gr_free_pages(memory, size);
    else
        free(memory);
}

/* ---- arenas ---- */

typedef struct block {
    struct block *next;
    size_t used, size;
    _Alignas(16) char data[];
} block;

struct gr_arena {
    block *head;
    size_t bytes;
};

enum { BLOCK_MIN = 4096, BLOCK_MAX = 1 << 20 };

gr_arena *gr_arena_new(void) { return gr_calloc(1, sizeof(gr_arena)); }

void gr_arena_free(gr_arena *arena)
{
    if (!arena) return;
    for (block *b = arena->head, *next; b; b = next) {
        next = b->next;
        gr_free(b);
    }
    gr_free(arena);
}

void *gr_arena_alloc(gr_arena *arena, size_t size)
{
    if (size > SIZE_MAX - 64) return NULL;
    size = (size + 15) / 16 * 16;
    block *b = arena->head;
    if (!b || b->size - b->used < size) {
        size_t want = b ? b->size * 2 : BLOCK_MIN;
        if (want > BLOCK_MAX) want = BLOCK_MAX;
        /* A large request gets a block of its own behind the head, so that the head's rest is not lost. */
        bool own = size > want / 2;
        size_t room = own ? size : want;
        block *n = gr_calloc(1, sizeof(block) + room);
        if (!n) return NULL;
        n->size = room;
        arena->bytes += sizeof(block) + room;
        if (own && b) {
            n->next = b->next;
            b->next = n;
        } else {
            n->next = b;
            arena->head = n;
        }
        b = n;
    }
    void *p = b->data + b->used;
    b->used += size;
    return p;
}

void *gr_arena_array(gr_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    return gr_mul(count, size, &bytes) ? gr_arena_alloc(arena, bytes) : NULL;
}

char *gr_arena_strndup(gr_arena *arena, const char *text, size_t length)
{
    if (length == SIZE_MAX) return NULL;
    char *p = gr_arena_alloc(arena, length + 1);
    if (p && length) memcpy(p, text, length);
    return p;
}

char *gr_arena_strdup(gr_arena *arena, const char *text) { return gr_arena_strndup(arena, text, strlen(text)); }

char *gr_arena_printf(gr_arena *arena, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *p = n < 0 ? NULL : gr_arena_alloc(arena, (size_t)n + 1);
    if (p) vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

size_t gr_arena_bytes(const gr_arena *arena) { return arena ? arena->bytes : 0; }

void *gr_arena_push(gr_arena *arena, void *items, size_t *n, size_t *cap, size_t size)
{
    void **array = items;
    if (*n == *cap) {
        size_t grown = *cap ? *cap * 2 : 8;
        void *p = grown < *cap ? NULL : gr_arena_array(arena, grown, size);
        if (!p) return NULL;
        if (*n) memcpy(p, *array, *n * size);
        *array = p;
        *cap = grown;
    }
    return (char *)*array + (*n)++ * size;
}

/* ---- sizes and types ---- */

bool gr_elements(int rank, const int64_t *dims, int64_t *out)
{
    int64_t product = 1;
    bool empty = false;
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 0) return false;
        if (dims[i] == 0)
            empty = true;
        else if (__builtin_mul_overflow(product, dims[i], &product))
            return false;
    }
    *out = empty ? 0 : product;
    return true;
}

bool gr_bytes(gr_dtype dtype, int64_t elements, size_t *out)
{
    size_t bits = (size_t)gr_dtype_bits(dtype);
    if (elements < 0 || (uint64_t)elements > SIZE_MAX / 16 / 8) return false;
    if (bits < 8)
        *out = ((size_t)elements * bits + 7) / 8;
    else
        *out = (size_t)elements * (bits / 8);
    return true;
}

const char *gr_dtype_name(gr_dtype type)
{
    switch (type) {
#define X(name, number, text, bits)                                                                                    \
    case GR_##name: return text;
        GR_DTYPE_MAP(X)
#undef X
    case GR_UNDEFINED: break;
    }
    return "undefined";
}

int gr_dtype_bits(gr_dtype type)
{
    switch (type) {
#define X(name, number, text, bits)                                                                                    \
    case GR_##name: return bits;
        GR_DTYPE_MAP(X)
#undef X
    case GR_UNDEFINED: break;
    }
    return 0;
}

float gr_half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3FF, u;
    if (exponent == 31)
        u = sign | 0x7F800000 | mantissa << 13;
    else if (exponent)
        u = sign | (exponent + 112) << 23 | mantissa << 13;
    else if (!mantissa)
        u = sign;
    else {
        int shift = __builtin_clz(mantissa) - 21;
        u = sign | (uint32_t)(113 - shift) << 23 | (mantissa << shift & 0x3FF) << 13;
    }
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

uint16_t gr_float_to_half(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    u &= 0x7FFFFFFF;
    if (u > 0x7F800000) return (uint16_t)(sign | 0x7E00 | (u >> 13 & 0x3FF));
    if (u >= 0x47800000) return sign | 0x7C00;
    if (u < 0x33000000) return sign;
    uint32_t exponent = u >> 23, mantissa = (u & 0x7FFFFF) | 0x800000;
    uint32_t drop = exponent < 113 ? 126 - exponent : 13;
    uint32_t half = exponent < 113 ? mantissa >> drop : (exponent - 112) << 10 | (mantissa >> 13 & 0x3FF);
    uint32_t rest = mantissa & ((1u << drop) - 1), tie = 1u << (drop - 1);
    if (rest > tie || (rest == tie && (half & 1))) half++;
    return (uint16_t)(sign | half);
}

uint16_t gr_float_to_bfloat(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7FFFFFFF) > 0x7F800000) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}
