/* SPDX-License-Identifier: Apache-2.0
 *
 * Transpose, and the strided copy that it shares with the other operators that move elements. The copy merges loops
 * that run on, then takes one of four inner loops: contiguous rows, one value repeated, square tiles where one side is
 * contiguous in the source and the other in the target ([B,S,N,D] -> [B,N,D,S]), and single elements.
 */
#include "move.h"
#include <omp.h>

enum { TILE = 32, PARALLEL_BYTES = 128 << 10 };

typedef struct copy {
    gr_move outer;
    int64_t n, from, to; /* innermost loop */
    int64_t k, k_to;     /* tiles: the loop across it, contiguous in the source */
    int64_t parts;       /* units per outer index */
    const char *src;
    char *dst;
    void (*unit)(const struct copy *c, const char *src, char *dst, int64_t part);
} copy;

typedef uint8_t e1;
typedef uint16_t e2;
typedef uint32_t e4;
typedef uint64_t e8;
typedef struct e16 {
    uint64_t low, high;
} e16;

/* Cut a line into parts: part p is [n*p/parts, n*(p+1)/parts), without the product overflowing. */
static int64_t cut(int64_t n, int64_t parts, int64_t p) { return n / parts * p + (n % parts) * p / parts; }

#define UNITS(T)                                                                                                       \
    static void row_##T(const copy *c, const char *src, char *dst, int64_t part)                                       \
    {                                                                                                                  \
        int64_t a = cut(c->n, c->parts, part), b = cut(c->n, c->parts, part + 1);                                      \
        memcpy(dst + a * (int64_t)sizeof(T), src + a * (int64_t)sizeof(T), (size_t)(b - a) * sizeof(T));               \
    }                                                                                                                  \
    static void fill_##T(const copy *c, const char *src, char *dst, int64_t part)                                      \
    {                                                                                                                  \
        int64_t a = cut(c->n, c->parts, part), b = cut(c->n, c->parts, part + 1);                                      \
        T v;                                                                                                           \
        memcpy(&v, src, sizeof v);                                                                                     \
        for (int64_t i = a; i < b; i++) memcpy(dst + i * (int64_t)sizeof v, &v, sizeof v);                             \
    }                                                                                                                  \
    static void line_##T(const copy *c, const char *src, char *dst, int64_t part)                                      \
    {                                                                                                                  \
        int64_t a = cut(c->n, c->parts, part), b = cut(c->n, c->parts, part + 1);                                      \
        int64_t from = c->from * (int64_t)sizeof(T), to = c->to * (int64_t)sizeof(T);                                  \
        for (int64_t i = a; i < b; i++) {                                                                              \
            T v;                                                                                                       \
            memcpy(&v, src + i * from, sizeof v);                                                                      \
            memcpy(dst + i * to, &v, sizeof v);                                                                        \
        }                                                                                                              \
    }                                                                                                                  \
    static void corner_##T(const copy *c, const char *src, char *dst, int64_t i0, int64_t i1, int64_t k0, int64_t k1)  \
    {                                                                                                                  \
        int64_t from = c->from * (int64_t)sizeof(T), to = c->k_to * (int64_t)sizeof(T);                                \
        for (int64_t k = k0; k < k1; k++)                                                                              \
            for (int64_t i = i0; i < i1; i++) {                                                                        \
                T v;                                                                                                   \
                memcpy(&v, src + k * (int64_t)sizeof v + i * from, sizeof v);                                          \
                memcpy(dst + k * to + i * (int64_t)sizeof v, &v, sizeof v);                                            \
            }                                                                                                          \
    }
UNITS(e1)
UNITS(e2)
UNITS(e4)
UNITS(e8)
UNITS(e16)

#define TILES(T)                                                                                                       \
    static void tile_##T(const copy *c, const char *src, char *dst, int64_t part)                                      \
    {                                                                                                                  \
        int64_t k0 = part * TILE, k1 = k0 + TILE < c->k ? k0 + TILE : c->k;                                            \
        for (int64_t i = 0; i < c->n; i += TILE) block_##T(c, src, dst, i, i + TILE < c->n ? i + TILE : c->n, k0, k1); \
    }

typedef uint32_t v4 __attribute__((vector_size(16)));
#define SHUFFLE __builtin_shufflevector

/* Four by four 32-bit elements through registers. */
static void square_e4(const char *src, int64_t from, char *dst, int64_t to)
{
    v4 a, b, c, d;
    memcpy(&a, src, 16);
    memcpy(&b, src + from, 16);
    memcpy(&c, src + 2 * from, 16);
    memcpy(&d, src + 3 * from, 16);
    v4 ab = SHUFFLE(a, b, 0, 4, 1, 5), AB = SHUFFLE(a, b, 2, 6, 3, 7);
    v4 cd = SHUFFLE(c, d, 0, 4, 1, 5), CD = SHUFFLE(c, d, 2, 6, 3, 7);
    a = SHUFFLE(ab, cd, 0, 1, 4, 5);
    b = SHUFFLE(ab, cd, 2, 3, 6, 7);
    c = SHUFFLE(AB, CD, 0, 1, 4, 5);
    d = SHUFFLE(AB, CD, 2, 3, 6, 7);
    memcpy(dst, &a, 16);
    memcpy(dst + to, &b, 16);
    memcpy(dst + 2 * to, &c, 16);
    memcpy(dst + 3 * to, &d, 16);
}

static void block_e4(const copy *c, const char *src, char *dst, int64_t i0, int64_t i1, int64_t k0, int64_t k1)
{
    int64_t i4 = i0 + (i1 - i0) / 4 * 4, k4 = k0 + (k1 - k0) / 4 * 4;
    for (int64_t k = k0; k < k4; k += 4)
        for (int64_t i = i0; i < i4; i += 4)
            square_e4(src + (k + i * c->from) * 4, c->from * 4, dst + (k * c->k_to + i) * 4, c->k_to * 4);
    corner_e4(c, src, dst, i4, i1, k0, k4);
    corner_e4(c, src, dst, i0, i1, k4, k1);
}
#define block_e1  corner_e1
#define block_e2  corner_e2
#define block_e8  corner_e8
#define block_e16 corner_e16
TILES(e1)
TILES(e2)
TILES(e4)
TILES(e8)
TILES(e16)

enum { ROW, FILL, LINE, TILED };

static void set_unit(copy *c, int kind, int bits)
{
#define KINDS(T)                                                                                                       \
    {                                                                                                                  \
        row_##T, fill_##T, line_##T, tile_##T                                                                          \
    }
    static void (*const units[5][4])(const copy *, const char *, char *, int64_t) = {KINDS(e1), KINDS(e2), KINDS(e4),
                                                                                     KINDS(e8), KINDS(e16)};
#undef KINDS
    c->unit = units[__builtin_ctz((unsigned)bits / 8)][kind];
}

/* Units first..end-1, where unit = outer index * parts + part. */
static void run_units(const copy *c, int64_t bytes, int64_t first, int64_t end)
{
    const gr_move *m = &c->outer;
    int64_t index[GR_MOVE_RANK], part = first % c->parts, rest = first / c->parts, from = 0, to = 0;
    for (int d = m->rank - 1; d >= 0; d--) {
        index[d] = rest % m->dims[d];
        rest /= m->dims[d];
        from += index[d] * m->from[d];
        to += index[d] * m->to[d];
    }
    for (int64_t u = first; u < end; u++) {
        c->unit(c, c->src + from * bytes, c->dst + to * bytes, part);
        if (++part < c->parts) continue;
        part = 0;
        for (int d = m->rank - 1; d >= 0; d--) {
            from += m->from[d];
            to += m->to[d];
            if (++index[d] < m->dims[d]) break;
            from -= m->dims[d] * m->from[d];
            to -= m->dims[d] * m->to[d];
            index[d] = 0;
        }
    }
}

/* Drop loops of one turn and merge neighbours that run on in both layouts. False if there is nothing to copy. */
static bool merge(const gr_move *m, gr_move *out, int64_t *total)
{
    out->rank = 0;
    *total = 1;
    for (int d = 0; d < m->rank; d++) {
        int64_t n = m->dims[d];
        if (n == 0) return false;
        *total *= n;
        if (n == 1) continue;
        int last = out->rank - 1;
        if (last >= 0 && out->from[last] == m->from[d] * n && out->to[last] == m->to[d] * n) {
            out->dims[last] *= n;
            out->from[last] = m->from[d];
            out->to[last] = m->to[d];
        } else {
            gr_move_loop(out, n, m->from[d], m->to[d]);
        }
    }
    return true;
}

static void move_bits(const gr_move *m, int bits, const uint8_t *src, int64_t from, uint8_t *dst, int64_t to)
{
    int64_t index[GR_MOVE_RANK] = {0}, per = 8 / bits;
    unsigned mask = (1u << bits) - 1;
    for (int d = 0; d >= 0;) {
        unsigned shift = (unsigned)(to % per * bits), value = src[from / per] >> (from % per * bits) & mask;
        dst[to / per] = (uint8_t)((dst[to / per] & ~(mask << shift)) | value << shift);
        for (d = m->rank - 1; d >= 0; d--) {
            from += m->from[d];
            to += m->to[d];
            if (++index[d] < m->dims[d]) break;
            from -= m->dims[d] * m->from[d];
            to -= m->dims[d] * m->to[d];
            index[d] = 0;
        }
    }
}

/* The loop that is contiguous in the source, if tiles between it and the innermost loop pay; else -1. */
static int tile_loop(const gr_move *m)
{
    int last = m->rank - 1;
    if (last < 1 || m->to[last] != 1 || m->from[last] == 0 || m->dims[last] < 4) return -1;
    for (int d = last - 1; d >= 0; d--)
        if (m->from[d] == 1 && m->dims[d] >= 4) return d;
    return -1;
}

void gr_move_run(const gr_move *move, int bits, const void *src, int64_t from, void *dst, int64_t to)
{
    gr_move m;
    int64_t total, bytes = bits / 8;
    if (!merge(move, &m, &total)) return;
    if (bits < 8) {
        move_bits(&m, bits, src, from, dst, to);
        return;
    }
    if (!m.rank) gr_move_loop(&m, 1, 1, 1);
    copy c = {.parts = 1, .src = (const char *)src + from * bytes, .dst = (char *)dst + to * bytes};
    int last = m.rank - 1, tile = tile_loop(&m);
    int kind = m.to[last] != 1 ? LINE : m.from[last] == 1 ? ROW : m.from[last] == 0 ? FILL : tile >= 0 ? TILED : LINE;
    c.n = m.dims[last];
    c.from = m.from[last];
    c.to = m.to[last];
    int64_t units = 1;
    for (int d = 0; d < last; d++) {
        if (kind == TILED && d == tile) {
            c.k = m.dims[d];
            c.k_to = m.to[d];
            continue;
        }
        units *= m.dims[d];
        gr_move_loop(&c.outer, m.dims[d], m.from[d], m.to[d]);
    }
    set_unit(&c, kind, bits);
    int threads = total >= PARALLEL_BYTES / bytes ? omp_get_max_threads() : 1;
    if (kind == TILED)
        c.parts = (c.k + TILE - 1) / TILE;
    else if (threads > 1 && units < 4 * threads && c.n >= 4 * threads)
        c.parts = 4 * threads;
    units *= c.parts;
    if (threads == 1 || units == 1) {
        run_units(&c, bytes, 0, units);
        return;
    }
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int t = 0; t < threads; t++) run_units(&c, bytes, cut(units, threads, t), cut(units, threads, t + 1));
}

/* ---- Transpose ---- */

typedef struct transpose_params {
    int64_t n; /* -1: axes reversed */
    int perm[GR_MAX_RANK];
} transpose_params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    transpose_params *p = GR_NEW(arena, transpose_params);
    if (!p) return gr_nomem(err);
    const int64_t *perm;
    unsigned seen = 0;
    GR_TRY(gr_attr_ints(attrs, "perm", &p->n, &perm, err));
    GR_TRY(gr_check_rank(p->n, err));
    if (p->n == 0) p->n = -1; /* some writers cannot tell an empty list from an absent one */
    for (int64_t i = 0; i < p->n; i++) {
        if (perm[i] < 0 || perm[i] >= p->n || (seen >> perm[i] & 1))
            return gr_fail(err, GR_EMODEL, "attribute 'perm' is not a permutation: %lld at position %lld",
                           (long long)perm[i], (long long)i);
        seen |= 1u << perm[i];
        p->perm[i] = (int)perm[i];
    }
    *params = p;
    return GR_OK;
}

static int source_axis(const transpose_params *p, int rank, int i) { return p->n < 0 ? rank - 1 - i : p->perm[i]; }

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const transpose_params *p = c->params;
    GR_TRY(gr_require_movable(c, 0, err));
    gr_dtype t = gr_in_dtype(c, 0);
    if (!gr_rank_known(c, 0)) {
        if (p->n < 0) return gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL);
        return gr_set_rank(c, 0, t, (int)p->n);
    }
    int rank = c->in[0]->rank;
    if (p->n >= 0 && p->n != rank)
        return gr_fail(err, GR_EMODEL, "attribute 'perm' has %lld entries for an input of rank %d", (long long)p->n,
                       rank);
    gr_dim *d = gr_dims(c, rank);
    for (int i = 0; i < rank; i++) d[i] = c->in[0]->dims[source_axis(p, rank, i)];
    return gr_set(c, 0, t, rank, d);
}

/* y[i0, i1, ...] = x[j0, j1, ...] with j[perm[d]] = i[d] */
static gr_status run(const gr_step *s, gr_err *err)
{
    const transpose_params *p = s->params;
    const gr_tensor *x = s->in[0];
    gr_tensor *y = s->out[0];
    int64_t strides[GR_MAX_RANK], to[GR_MAX_RANK];
    gr_move m = {.rank = 0};
    (void)err;
    gr_dense_strides(x->rank, x->dims, strides);
    gr_dense_strides(y->rank, y->dims, to);
    for (int i = 0; i < y->rank; i++) {
        int axis = source_axis(p, y->rank, i);
        gr_move_loop(&m, y->dims[i], strides[axis], to[i]);
    }
    gr_clear_tail(y);
    gr_move_run(&m, gr_dtype_bits(x->dtype), x->data, 0, y->data, 0);
    return GR_OK;
}

static const gr_kernel kernels[] = {{"ref", NULL, run, NULL}, {0}};

#define ROW_SINCE(version) GR_OP_ROW("Transpose", version, 1, 1, 1, GR_OP_MOVE | GR_OP_UNALIGNED, parse, infer, kernels)
const gr_op op_transpose[] = {
    ROW_SINCE(1), ROW_SINCE(13), ROW_SINCE(21), ROW_SINCE(23), ROW_SINCE(24), ROW_SINCE(25), {0},
};
