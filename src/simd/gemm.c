/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products over tiles.c: packing of B, the order of blocks, threads.
 *
 * B is packed in panels of `width` columns over the whole of k, so that few rows of A read it as one stream. For many
 * rows the work is cut into items of a block of rows by a group of panels; inside an item k is cut so that a piece of a
 * panel stays in the cache while all row tiles pass over it. A is read in place.
 */
#include "exec/threads.h"
#include "isa.h"
#include <string.h>

enum {
    K_BLOCK = 1536,         /* of 128 to 3072 the best: short pieces cost more in passes over C than the cache saves */
    ROW_BLOCK = 72,         /* with those of A, a piece of a panel and C an item stays in the second-level cache */
    SMALL_WORK = 64 * 1024, /* multiplications below which waking other threads costs more than they save */
    UNITS_PER_THREAD = 8,   /* so that a thread that is disturbed leaves others something to do */
    MOST_PANELS = 8,        /* that a thread takes at a time: their columns of C stay in the cache */
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t quotient_up(int64_t a, int64_t b) { return a / b + (a % b != 0); }
static int64_t tile_rows(const gr_gemm *g) { return gr_tile_rows(gr_tiles_best()->rows, g->lda * 4); } /* floats or pairs */
static int64_t element_size(enum gr_gemm_store s) { return s == GR_STORE_FLOAT || s == GR_STORE_PAIRS ? 4 : 2; }

size_t gr_gemm_packed_size(int64_t k, int64_t n)
{
    const int64_t width = gr_tiles_best()->width;
    size_t bytes;
    if (k < 0 || n < 0 || n > INT64_MAX - width || __builtin_mul_overflow(quotient_up(n, width) * width, k, &bytes) ||
        __builtin_mul_overflow(bytes, sizeof(float), &bytes) || bytes > SIZE_MAX / 2)
        return SIZE_MAX;
    return bytes ? bytes : sizeof(float);
}

/* Panel p of memory that begins with panel `origin`. */
static void pack_panel(const gr_tiles *tiles, size_t size, int64_t k, int64_t n, int64_t p, const void *b, int64_t row,
                       int64_t col, void *packed, int64_t origin)
{
    const int64_t j = p * tiles->width, bytes = (int64_t)size;
    tiles->pack(size, k, least(n - j, tiles->width), (const char *)b + j * col * bytes, row, col,
                (char *)packed + (p - origin) * tiles->width * k * bytes);
}

static void pack_all(size_t size, int64_t k, int64_t n, const void *b, int64_t row, int64_t col, void *packed)
{
    const gr_tiles *tiles = gr_tiles_best();
    const int64_t panels = quotient_up(n, tiles->width);
#pragma omp parallel for schedule(dynamic) if (panels > 1 && k * panels * tiles->width > SMALL_WORK)
    for (int64_t p = 0; p < panels; p++) pack_panel(tiles, size, k, n, p, b, row, col, packed, 0);
}

void gr_gemm_pack(int64_t k, int64_t n, const float *b, int64_t row, int64_t col, float *packed)
{
    pack_all(sizeof *b, k, n, b, row, col, packed);
}

void gr_gemm_pack_narrow(int64_t k, int64_t n, const void *b, int64_t row, int64_t col, void *packed)
{
    pack_all(sizeof(uint16_t), k, n, b, row, col, packed);
}

void gr_gemm_pack_bfloat(int64_t k, int64_t n, const float *b, int64_t row, int64_t col, void *packed)
{
    const gr_tiles *tiles = gr_tiles_best();
    const int64_t panels = quotient_up(n, tiles->width);
#pragma omp parallel for schedule(dynamic) if (panels > 1 && k * panels * tiles->width > SMALL_WORK)
    for (int64_t p = 0; p < panels; p++) {
        const int64_t j = p * tiles->width;
        tiles->pack_bfloat(k, least(n - j, tiles->width), b + j * col, row, col, (uint16_t *)packed + j * k);
    }
}

void gr_gemm_pack_pairs(enum gr_gemm_store from, int64_t k, int64_t n, const void *b, int64_t row, int64_t col,
                        void *packed)
{
    const gr_tiles *tiles = gr_tiles_best();
    const int64_t panels = quotient_up(n, tiles->width), size = element_size(from);
#pragma omp parallel for schedule(dynamic) if (panels > 1 && k * panels * tiles->width > SMALL_WORK)
    for (int64_t p = 0; p < panels; p++) {
        const int64_t j = p * tiles->width;
        tiles->pack_pairs(from, k, least(n - j, tiles->width), (const char *)b + j * col * size, row, col,
                          (uint32_t *)packed + j * gr_gemm_pairs(k));
    }
}

void gr_gemm_round_row(int64_t k, const float *a, void *row) { gr_tiles_best()->round_row(k, a, row); }

typedef struct rounding {
    int64_t k, lda;
    const float *a;
    uint16_t *to;
} rounding;

static void round_rows(void *user, int64_t first, int64_t end, int thread)
{
    const rounding *r = user;
    (void)thread;
    for (int64_t i = first; i < end; i++)
        gr_tiles_best()->round_row(r->k, r->a + i * r->lda, r->to + i * 2 * gr_gemm_pairs(r->k));
}

void gr_gemm_round(int64_t m, int64_t k, const float *a, int64_t lda, void *rows)
{
    gr_parallel_rows(m, m * k < SMALL_WORK ? 1 : gr_team_size(), round_rows, &(rounding){k, lda, a, rows});
}

/* What one thread does at a time: rows [row, end) by panels [p, last). */
typedef struct part {
    int64_t row, end, p, last;
    const void *packed; /* begins with panel `origin` */
    int64_t origin;
    const char *next; /* what the thread will probably read after it, or NULL */
} part;

/* Row tiles of one piece of a panel group, `next` the piece after it. The tile's fields that depend on k and columns are
 * set. */
static void rows_of_piece(const gr_gemm *g, const gr_tiles *tiles, gr_tile *t, bool wide, const part *x, int64_t k0,
                          int64_t j, const char *next)
{
    const int64_t count = quotient_up(x->end - x->row, tile_rows(g));
    int64_t row = x->row;
    for (int64_t i = 0; i < count; i++) {
        /* Tiles of even height: a last one of few rows would leave the multipliers idle. */
        const int64_t rows = quotient_up(x->end - row, count - i);
        t->a = (const char *)g->a + (row * g->lda + k0) * 4; /* floats or pairs */
        t->c = g->c ? g->c + row * g->ldc + j : NULL;
        t->rounded = g->rounded ? g->rounded + row * g->n + j : NULL;
        t->residual = g->residual ? g->residual + row * g->ldc + j : NULL;
        t->ahead = next + i * t->k * t->pace;
        (wide ? tiles->wide : tiles->tile)[rows](t);
        row += rows;
    }
}

static void run_part(const gr_gemm *g, const gr_tiles *tiles, const part *x)
{
    const int64_t width = tiles->width, rows = x->end - x->row, size = element_size(g->store);
    gr_tile t = {.lda = g->lda, .ldc = g->ldc, .ld_rounded = g->n, .panel = width * g->k, .alpha = g->alpha,
                 .store = g->store, .act = g->act};
    /* Without floats of C there is no place for sums of pieces. */
    const int64_t pieces = g->c ? quotient_up(g->k, K_BLOCK) : 1, from = (x->p - x->origin) * t.panel * size;
    int64_t k0 = 0;
    for (int64_t piece = 0; piece < pieces || piece == 0; piece++) {
        const int64_t k1 = pieces > 1 ? g->k * (piece + 1) / pieces : g->k;
        const char *b = (const char *)x->packed + from, *after = k1 < g->k ? b + k1 * width * size : x->next;
        t.k = k1 - k0;
        t.first = piece == 0;
        t.last = k1 == g->k;
        b += k0 * width * size;
        for (int64_t q = x->p, step; q < x->last; q += step) {
            const int64_t j = q * width;
            const bool wide = rows <= tiles->rows && tiles->wide[rows] && x->last - q >= tiles->wide_panels[rows];
            step = wide ? tiles->wide_panels[rows] : 1;
            const char *next = q + step < x->last ? b + step * t.panel * size : after ? after : b;
            t.b = b;
            /* Row tiles fetch the next piece into the cache together, each a share, while they compute with this one. */
            t.apart = t.k * width * size / 2;
            t.pace = quotient_up(width * size, 2 * quotient_up(rows, tile_rows(g)));
            t.cols = least(g->n - j, step * width);
            t.bias = g->bias ? g->bias + j : NULL;
            rows_of_piece(g, tiles, &t, wide, x, k0, j, next);
            b += step * t.panel * size;
        }
        k0 = k1;
    }
}

/* B is packed here: a few panels at a time, which stay in the cache while all rows pass over them. */
enum { PLAIN_PANELS = 4 };

size_t gr_gemm_room(int64_t k) { return gr_gemm_packed_size(k, (int64_t)PLAIN_PANELS * gr_tiles_best()->width); }

static void plain_item(const gr_gemm *g, const gr_tiles *tiles, int64_t p, int64_t last, int thread)
{
    const size_t size = (size_t)element_size(g->store);
    char *room = (char *)g->room + (size_t)thread * gr_gemm_room(g->k);
    for (int64_t q = p, end; q < last; q = end) {
        end = least(last, q + PLAIN_PANELS);
        if (g->plain_col == 1 && end * tiles->width <= g->n)
            tiles->pack(size, g->k, (end - q) * tiles->width, (const char *)g->plain + q * tiles->width * (int64_t)size,
                        g->plain_row, 1, room);
        else
            for (int64_t i = q; i < end; i++)
                pack_panel(tiles, size, g->k, g->n, i, g->plain, g->plain_row, g->plain_col, room, q);
        run_part(g, tiles, &(part){0, g->m, q, end, room, q, NULL});
    }
}

/* A product is cut into units: a block of rows by as many panels as tiles of so few rows take at a time. */
typedef struct cut {
    int64_t panels, row_blocks, step, groups;
} cut;

static cut cut_for(const gr_gemm *g, const gr_tiles *tiles, int threads)
{
    cut c = {.panels = quotient_up(g->n, tiles->width), .row_blocks = 1, .step = 1};
    if (!g->packed) c.step = PLAIN_PANELS;
    else if (g->m <= tiles->rows && tiles->wide[g->m]) c.step = tiles->wide_panels[g->m];
    c.groups = quotient_up(c.panels, c.step);
    if (!g->packed) return c; /* panels are packed for all rows */
    c.row_blocks = quotient_up(g->m, ROW_BLOCK);
    /* Panels alone do not give every thread work: lower the row blocks. */
    const int64_t wanted = quotient_up((int64_t)threads * UNITS_PER_THREAD, c.groups);
    if (threads > 1 && c.row_blocks < wanted) c.row_blocks = least(quotient_up(g->m, tile_rows(g)), wanted);
    return c;
}

typedef struct products {
    const gr_gemm *g;
    cut cuts[GR_GEMM_MAX];
    int64_t ends[GR_GEMM_MAX]; /* of their units */
    int64_t units;
} products;

/* Where the groups of panels stand that unit i begins with. */
typedef struct place {
    int which;
    int64_t block, group;
} place;

static place place_of(const products *p, int64_t i)
{
    int which = 0;
    while (i >= p->ends[which]) which++;
    if (which) i -= p->ends[which - 1];
    return (place){which, i / p->cuts[which].groups, i % p->cuts[which].groups};
}

/* Groups up to `end` of one row block, and what the thread will read after them. */
static void run_groups(const products *p, place x, int64_t end, const char *next, int thread)
{
    const gr_gemm *g = &p->g[x.which];
    const cut *c = &p->cuts[x.which];
    const int64_t first = x.group * c->step, last = least(end * c->step, c->panels);
    if (!g->packed)
        plain_item(g, gr_tiles_best(), first, last, thread);
    else
        run_part(g, gr_tiles_best(),
                 &(part){g->m * x.block / c->row_blocks, g->m * (x.block + 1) / c->row_blocks, first, last, g->packed,
                         0, next});
}

static const char *panels_of(const products *p, place x)
{
    const gr_gemm *g = &p->g[x.which];
    const int64_t panel = gr_tiles_best()->width * g->k * element_size(g->store);
    return g->packed ? (const char *)g->packed + x.group * p->cuts[x.which].step * panel : NULL;
}

static void run_units(void *user, int64_t first, int64_t end, int64_t next, int thread)
{
    const products *p = user;
    while (first < end) {
        const place at = place_of(p, first);
        const int64_t groups = p->cuts[at.which].groups, count = least(end - first, groups - at.group);
        first += count;
        const int64_t then = first < end ? first : next;
        run_groups(p, at, at.group + count, then < p->units ? panels_of(p, place_of(p, then)) : NULL, thread);
    }
}

void gr_gemm_run_all(const gr_gemm *g, int count)
{
    const gr_tiles *tiles = gr_tiles_best();
    products p = {.g = g};
    int64_t step = 1;
    double work = 0;
    for (int i = 0; i < count; i++) work += (double)g[i].m * (double)g[i].n * (double)g[i].k;
    const int team = work < SMALL_WORK ? 1 : gr_team_size();
    const int threads = team == 1 ? 1 : (int)quotient_up(team, count);
    for (int i = 0; i < count; i++) {
        if (g[i].m > 0 && g[i].n > 0) {
            p.cuts[i] = cut_for(&g[i], tiles, threads);
            p.units += p.cuts[i].row_blocks * p.cuts[i].groups;
            step = p.cuts[i].step;
        }
        p.ends[i] = p.units;
    }
    gr_parallel_parts(p.units, MOST_PANELS / step, team, run_units, &p);
}

void gr_gemm_run(const gr_gemm *g) { gr_gemm_run_all(g, 1); }

/* ---- small products ---- */

size_t gr_gemm_small_scratch(int64_t n, int64_t k) { return gr_gemm_packed_size(k, n); }

void gr_gemm_small_pack(int64_t k, int64_t n, const float *b, int64_t row, int64_t col, void *packed)
{
    const gr_tiles *tiles = gr_tiles_best();
    for (int64_t p = 0; p * tiles->width < n; p++) pack_panel(tiles, sizeof *b, k, n, p, b, row, col, packed, 0);
}

void gr_gemm_small_packed(int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t a_row,
                          const void *packed, float *c, int64_t c_row)
{
    const gr_tiles *tiles = gr_tiles_best();
    const gr_gemm g = {.m = m, .n = n, .k = k, .a = a, .lda = a_row, .packed = packed, .alpha = alpha, .c = c, .ldc = c_row};
    if (m <= 0 || n <= 0) return;
    const int64_t panels = quotient_up(n, tiles->width);
    for (int64_t row = 0; row < m; row += ROW_BLOCK)
        run_part(&g, tiles, &(part){row, least(row + ROW_BLOCK, m), 0, panels, packed, 0, NULL});
}

/* ---- batches ---- */

enum { BATCH_ROWS = 64 }; /* rows of A that are copied at a time if its columns are not contiguous */

typedef struct needs {
    int64_t items;       /* of the batch */
    bool spread;         /* over threads by item */
    bool copy;           /* rows of A must be made contiguous */
    size_t packed, rows; /* bytes, per thread if spread */
} needs;

static bool batch_needs(const gr_gemm_batch *g, int threads, needs *out)
{
    *out = (needs){.items = 1, .copy = g->a_col != 1 && g->k > 1};
    for (int i = 0; i < g->nbatch; i++) out->items *= g->batch[i];
    out->spread = out->items >= threads;
    out->packed = gr_gemm_packed_size(g->k, g->n);
    if (out->packed == SIZE_MAX) return false;
    out->packed = (out->packed + 63) / 64 * 64;
    if (!out->copy) return true;
    const int64_t rows = out->spread ? least(g->m, BATCH_ROWS) : g->m;
    if (__builtin_mul_overflow(rows, g->k, &out->rows) || out->rows > SIZE_MAX / 16) return false;
    out->rows = (out->rows * sizeof(float) + 63) / 64 * 64;
    return true;
}

bool gr_gemm_batch_scratch(const gr_gemm_batch *g, int threads, size_t *bytes)
{
    /* For both ways, as the run may get another number of threads. */
    needs one, all;
    if (!batch_needs(g, 0, &all) || !batch_needs(g, INT32_MAX, &one)) return false;
    const size_t teams = (size_t)least(threads > 0 ? threads : 1, all.items > 0 ? all.items : 1);
    size_t spread;
    if (__builtin_mul_overflow(teams, all.packed + all.rows, &spread)) return false;
    const size_t whole = one.packed + one.rows;
    *bytes = spread > whole ? spread : whole;
    return true;
}

/* Where item i of the batch lies in an operand. */
static int64_t offset(const gr_gemm_batch *g, const int64_t *strides, int64_t i)
{
    int64_t at = 0;
    for (int d = g->nbatch - 1; d >= 0; d--) {
        at += i % g->batch[d] * strides[d];
        i /= g->batch[d];
    }
    return at;
}

static void copy_rows(const gr_gemm_batch *g, const float *a, int64_t rows, float *to)
{
    for (int64_t k = 0; k < g->k; k++)
        for (int64_t r = 0; r < rows; r++) to[r * g->k + k] = a[r * g->a_row + k * g->a_col];
}

/* One item in one thread; B is packed already. */
static void batch_item(const gr_gemm_batch *g, const needs *n, int64_t i, const void *packed, float *rows)
{
    const float *a = g->a + offset(g, g->a_batch, i);
    float *c = g->c + offset(g, g->c_batch, i);
    if (!n->copy) {
        gr_gemm_small_packed(g->m, g->n, g->k, g->alpha, a, g->a_row, packed, c, g->c_row);
        return;
    }
    for (int64_t r = 0; r < g->m; r += BATCH_ROWS) {
        const int64_t count = least(BATCH_ROWS, g->m - r);
        copy_rows(g, a + r * g->a_row, count, rows);
        gr_gemm_small_packed(count, g->n, g->k, g->alpha, rows, g->k, packed, c + r * g->c_row, g->c_row);
    }
}

typedef struct spread {
    const gr_gemm_batch *g;
    const needs *n;
} spread;

static void spread_items(void *user, int64_t first, int64_t end, int thread)
{
    const gr_gemm_batch *g = ((const spread *)user)->g;
    const needs *n = ((const spread *)user)->n;
    char *own = (char *)g->scratch + (size_t)thread * (n->packed + n->rows);
    const float *packed_from = NULL; /* the B that stands in scratch: a repeated one is packed once */
    for (int64_t i = first; i < end; i++) {
        const float *b = g->b + offset(g, g->b_batch, i);
        if (b != packed_from) gr_gemm_small_pack(g->k, g->n, b, g->b_row, g->b_col, own);
        packed_from = b;
        batch_item(g, n, i, own, (float *)(own + n->packed));
    }
}

static void run_spread(const gr_gemm_batch *g, const needs *n, int threads)
{
    const bool small = (double)n->items * (double)g->m * (double)g->n * (double)g->k < SMALL_WORK;
    gr_parallel_rows(n->items, small ? 1 : threads, spread_items, &(spread){g, n});
}

void gr_gemm_batch_run(const gr_gemm_batch *g)
{
    const int threads = gr_team_size();
    needs n;
    if (!batch_needs(g, threads, &n) || n.items == 0 || g->m <= 0 || g->n <= 0) return;
    if (n.spread) {
        run_spread(g, &n, threads);
        return;
    }
    const float *packed_from = NULL;
    float *rows = (float *)((char *)g->scratch + n.packed);
    for (int64_t i = 0; i < n.items; i++) {
        const float *a = g->a + offset(g, g->a_batch, i), *b = g->b + offset(g, g->b_batch, i);
        if (b != packed_from) gr_gemm_pack(g->k, g->n, b, g->b_row, g->b_col, g->scratch);
        packed_from = b;
        if (n.copy) {
#pragma omp parallel for schedule(static) if (g->m * g->k > SMALL_WORK)
            for (int64_t r = 0; r < g->m; r += BATCH_ROWS)
                copy_rows(g, a + r * g->a_row, least(BATCH_ROWS, g->m - r), rows + r * g->k);
        }
        gr_gemm_run(&(gr_gemm){.m = g->m, .n = g->n, .k = g->k, .a = n.copy ? rows : a, .lda = n.copy ? g->k : g->a_row,
                               .packed = g->scratch, .alpha = g->alpha, .c = g->c + offset(g, g->c_batch, i),
                               .ldc = g->c_row});
    }
}
