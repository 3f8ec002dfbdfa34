/* SPDX-License-Identifier: Apache-2.0
 *
 * What every module uses: errors as sentences, arenas, overflow-checked sizes.
 */
#ifndef GR_BASE_H
#define GR_BASE_H

#include "graphrun.h"
#include <stdarg.h>
#include <string.h>

/* ---- Errors: a callee writes one complete sentence once; err may be NULL. ---- */

/* Write the sentence (truncated to fit, always valid UTF-8) and return `status`. Macros, so that compilers see which
 * status comes back; `status` is evaluated twice. */
#define gr_fail(err, status, ...) (gr_err_write((err), (status), __VA_ARGS__), (status))
/* Put "prefix: " before a sentence that a callee wrote, and return `status`. */
#define gr_fail_context(err, status, ...) (gr_err_prefix((err), (status), __VA_ARGS__), (status))
void gr_err_write(gr_err *err, gr_status status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void gr_err_prefix(gr_err *err, gr_status status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#define gr_nomem(err) gr_fail((err), GR_ENOMEM, "out of memory")

#define GR_TRY(call)                                                                                                   \
    do {                                                                                                               \
        gr_status gr_try_ = (call);                                                                                    \
        if (gr_try_ != GR_OK) return gr_try_;                                                                          \
    } while (0)

/* A name from a file made fit for a message: control bytes, quotes and broken UTF-8 escaped, shortened to about 80
 * bytes. `gr_show(name).s` lives until the end of the full expression. */
typedef struct gr_shown { char s[112]; } gr_shown;
gr_shown gr_show_name(const char *name);
#define gr_show(name) (gr_show_name(name).s)

/* ---- Memory ---- */

/* All allocations go through these. They return NULL on failure, never abort. */
void *gr_malloc(size_t size);
void *gr_calloc(size_t count, size_t size);
void *gr_realloc(void *old, size_t size);
void gr_free(void *memory);
/* 64-byte aligned; to be freed with gr_free_aligned. Large ones are backed by huge pages where the kernel likes to. */
void *gr_malloc_aligned(size_t size);
void gr_free_aligned(void *memory, size_t size);
/* Whole pages of their own, which take no memory before they are written to; to be freed with gr_free_pages. */
void *gr_malloc_pages(size_t size);
void gr_free_pages(void *memory, size_t size);
/* How many of these have failed in this thread. Who would go on without what it asked for, with other bits, sees it. */
unsigned long gr_malloc_failures(void);
/* For tests: fail the nth allocation from now on (1: the next; 0: none) in this thread. */
void gr_malloc_fail_after(long n);

/* An arena: everything allocated from it is freed at once. Memory is zeroed and 16-byte aligned. */
typedef struct gr_arena gr_arena;
gr_arena *gr_arena_new(void);
void gr_arena_free(gr_arena *arena);
void *gr_arena_alloc(gr_arena *arena, size_t size);               /* NULL if out of memory; size 0 gives a valid pointer */
void *gr_arena_array(gr_arena *arena, size_t count, size_t size); /* NULL also if the product overflows */
char *gr_arena_strdup(gr_arena *arena, const char *text);
char *gr_arena_strndup(gr_arena *arena, const char *text, size_t length);
char *gr_arena_printf(gr_arena *arena, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
size_t gr_arena_bytes(const gr_arena *arena);
#define GR_NEW(arena, T)      ((T *)gr_arena_alloc((arena), sizeof(T)))
#define GR_NEWS(arena, n, T)  ((T *)gr_arena_array((arena), (n), sizeof(T)))

/* Append one element of size `size` to *items (count *n, capacity doubled in the arena). NULL if out of memory. */
void *gr_arena_push(gr_arena *arena, void *items, size_t *n, size_t *cap, size_t size);
#define GR_PUSH(arena, items, n, cap)                                                                                  \
    ((__typeof__(items))gr_arena_push((arena), &(items), &(n), &(cap), sizeof *(items)))

/* ---- Sizes: false if the result does not fit. ---- */
static inline bool gr_mul(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool gr_add(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }
/* Elements of a shape, and bytes of that many elements. Negative dims are refused. The product of the nonzero dims must
 * fit too, so that no order of multiplication can wrap. */
bool gr_elements(int rank, const int64_t *dims, int64_t *out);
bool gr_bytes(gr_dtype dtype, int64_t elements, size_t *out);

/* ---- Types of elements ---- */
static inline bool gr_dtype_is_float(gr_dtype t)
{
    return t == GR_FLOAT || t == GR_DOUBLE || t == GR_FLOAT16 || t == GR_BFLOAT16;
}
static inline bool gr_dtype_is_int(gr_dtype t)
{
    return (t >= GR_UINT8 && t <= GR_INT64) || t == GR_UINT32 || t == GR_UINT64;
}
static inline bool gr_dtype_is_signed(gr_dtype t)
{
    return t == GR_INT8 || t == GR_INT16 || t == GR_INT32 || t == GR_INT64;
}
float gr_half_to_float(uint16_t h);
uint16_t gr_float_to_half(float f);
static inline float gr_bfloat_to_float(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
uint16_t gr_float_to_bfloat(float f);

#endif
