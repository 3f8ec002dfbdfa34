/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of bytes over itiles.c. With a' = a + 128 where A is signed and b' = b - 128 where B is not, differences
 * from the zero points stay what they are, and sum (a - za)(b - zb) = sum a'b' - zb' sum a' - za' sum b' + k za' zb'.
 * All of it is counted modulo 2^32. Packed: sums of the columns of b'; for each panel the order of its fours; the
 * panels.
 */
#include "igemm.h"
#include "exec/threads.h"
#include "isa.h"
#include "itiles.h"
#include <pthread.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum {
    ROW_BLOCK = 64,
    LINE = 64,              /* bytes of the cache */
    MANY = 6,               /* tiles of rows from which on fetching a panel early pays */
    GROUP = 8,              /* panels whose sums are kept together */
    SHORT = 2, LONG = 8,    /* the same of one row, in units of several panels side by side */
    SMALL_WORK = 256 * 1024 /* multiplications below which waking other threads costs more than they save */
};

static const gr_itiles *tiles = &gr_itiles_base;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)
static bool has_avx_vnni(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
#endif

static void choose(void)
{
#if defined(__x86_64__)
    const char *isa = gr_simd_best()->name;
    __builtin_cpu_init();
    if (!strcmp(isa, "avx512"))
        tiles = __builtin_cpu_supports("avx512vnni") ? &gr_itiles_vnni_avx512 : &gr_itiles_avx512;
    else if (!strcmp(isa, "avx2"))
        tiles = has_avx_vnni() ? &gr_itiles_vnni_avx2 : &gr_itiles_avx2;
#endif
}

static const gr_itiles *best(void)
{
    pthread_once(&once, choose);
    return tiles;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t quotient_up(int64_t a, int64_t b) { return a / b + (a % b != 0); }

const char *gr_igemm_layout(bool by_panel) { return by_panel ? best()->by_panel : best()->name; }

static size_t sums_size(int64_t panels) { return (size_t)panels * (size_t)best()->width * sizeof(int32_t); }
static int64_t panel_size(int64_t k) { return quotient_up(k, 4) * 4 * best()->width; }

/* For each piece of k the number of fours of each class; then the places of all fours in their piece. */
typedef uint16_t counts[GR_ITILE_CLASSES];
static int64_t pieces_of(int64_t k) { return k ? quotient_up(k, GR_ITILE_K) : 1; }
static int64_t head_size(int64_t k)
{
    return quotient_up(pieces_of(k) * (int64_t)sizeof(counts) + quotient_up(k, 4), 64) * 64;
}

size_t gr_igemm_packed_size(int64_t k, int64_t n)
{
    const int64_t width = best()->width;
    size_t bytes;
    if (k < 0 || n < 0 || k > INT64_MAX / 128 || n > INT64_MAX / 128) return SIZE_MAX;
    const int64_t panels = quotient_up(n, width);
    if (__builtin_mul_overflow(panels, panel_size(k) + head_size(k) + width * (int64_t)sizeof(int32_t), &bytes) ||
        bytes > SIZE_MAX / 2)
        return SIZE_MAX;
    return bytes ? bytes : 1;
}

typedef struct source {
    int64_t k, row, col; /* strides */
    const uint8_t *b;
    uint8_t flip;
    int limit; /* of sums in 16 bits */
} source;

/* Rows k0.. of columns: four bytes for each of them. */
static void pack_four(const source *s, int64_t k0, int64_t cols, int32_t *sums, int8_t *to)
{
    const int64_t rows = least(4, s->k - k0);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) {
            const int8_t v = (int8_t)(s->b[(k0 + i) * s->row + j * s->col] ^ s->flip);
            to[j * 4 + i] = v;
            sums[j] = (int32_t)((uint32_t)sums[j] + (uint32_t)v);
        }
}

/* ---- which fours may be added up in 16 bits ----
 * A sum of products of bytes of A, at most 255, with weights fits 16 bits if neither the weights above zero nor those
 * below sum up to more than 128; of smaller bytes more. There is one sum for each pair of a column. */

enum { FOURS = GR_ITILE_K / 4, PAIRS = GR_ITILE_WIDTH_MAX * 2, TRIES = 12, BYTE = 255 };

/* The greatest sum of weights of one sign, if elements of A are at most `greatest`. Sums are kept in bytes, which end
 * below 255 so that those that do not fit stand out. */
static int limit_of(int greatest)
{
    const int limit = INT16_MAX / greatest;
    return limit < BYTE ? limit : BYTE - 1;
}

typedef struct group {
    uint8_t sums[2 * PAIRS]; /* of weights above zero and of those below, at most 255: two of 128 are 256 */
    uint8_t members[3];
    uint8_t size; /* 0: has gone into another */
    uint8_t worst;
} group;

static uint8_t sum_of(uint8_t a, uint8_t b)
{
    const uint8_t room = (uint8_t)(BYTE - a);
    return (uint8_t)(a + (b < room ? b : room));
}

static uint8_t worst_of(const group *a, const group *b)
{
    uint8_t worst = 0;
    for (int j = 0; j < 2 * PAIRS; j++) {
        const uint8_t sum = sum_of(a->sums[j], b->sums[j]);
        worst = sum > worst ? sum : worst;
    }
    return worst;
}

static group group_of(const int8_t *four, int pairs, int number)
{
    const group none = {.size = 0};
    group g = {.members = {(uint8_t)number}, .size = 1};
    for (int j = 0; j < pairs; j++) {
        const int x = four[2 * j], y = four[2 * j + 1];
        const int above = (x > 0 ? x : 0) + (y > 0 ? y : 0), below = above - x - y;
        g.sums[2 * j] = (uint8_t)above;
        g.sums[2 * j + 1] = (uint8_t)(below < BYTE ? below : BYTE);
    }
    g.worst = worst_of(&g, &none);
    return g;
}

static void join(group *a, group *b)
{
    for (int j = 0; j < 2 * PAIRS; j++) a->sums[j] = sum_of(a->sums[j], b->sums[j]);
    memcpy(a->members + a->size, b->members, b->size);
    a->size = (uint8_t)(a->size + b->size);
    b->size = 0;
}

/* Those with the largest sums first. */
static void sort(group *groups, int n, group **sorted)
{
    int at[BYTE + 2] = {0};
    for (int i = 0; i < n; i++) at[BYTE - groups[i].worst + 1]++;
    for (int i = 0; i < BYTE; i++) at[i + 1] += at[i];
    for (int i = 0; i < n; i++) sorted[at[BYTE - groups[i].worst]++] = &groups[i];
}

/* Of groups from `at` on and before `end`, either way, the first of the next few single ones that fits with g. */
static group *partner_of(const group *g, group **groups, int at, int end, int limit)
{
    const int step = at < end ? 1 : -1;
    for (int tries = 0; tries < TRIES && at != end; at += step) {
        if (groups[at]->size != 1) continue;
        tries++;
        if (worst_of(g, groups[at]) <= limit) return groups[at];
    }
    return NULL;
}

/* Three together: the first two of the largest, the third of the smallest. */
static void join_three(group **groups, int n, int i, int limit)
{
    for (int j = i + 1, tries = 0; j < n - 1 && tries < TRIES; j++) {
        if (groups[j]->size != 1) continue;
        tries++;
        if (worst_of(groups[i], groups[j]) > limit) continue;
        group both = *groups[i], second = *groups[j];
        join(&both, &second);
        group *third = partner_of(&both, groups, n - 1, j, limit);
        if (!third) continue;
        join(groups[i], groups[j]);
        join(groups[i], third);
        return;
    }
}

/* The order of n fours, and how many are of each class. */
static void classify(int8_t (*fours)[GR_ITILE_WIDTH_MAX * 4], int n, int limit, uint8_t *order, counts count)
{
    static const int of_size[] = {GR_ITILE_CLASSES, GR_ONE_FOUR, GR_TWO_FOURS, GR_THREE_FOURS};
    const gr_itiles *t = best();
    group all[FOURS], *groups[FOURS];
    int wide = 0;
    memset(count, 0, sizeof(counts));
    if (t->bytes != GR_BYTES_SMALL) {
        count[t->bytes == GR_BYTES_ALWAYS ? GR_ONE_FOUR : GR_WIDE_FOUR] = (uint16_t)n;
        for (int i = 0; i < n; i++) order[i] = (uint8_t)i;
        return;
    }
    for (int i = 0; i < n; i++) all[i] = group_of(fours[i], t->width * 2, i);
    sort(all, n, groups);
    while (wide < n && groups[wide]->worst > limit) wide++;
    for (int i = wide; i < n; i++)
        if (groups[i]->size == 1) join_three(groups, n, i, limit);
    for (int i = wide; i + 1 < n; i++) {
        group *second = groups[i]->size == 1 ? partner_of(groups[i], groups, i + 1, n, limit) : NULL;
        if (second) join(groups[i], second);
    }
    for (int c = 0, at = 0; c < GR_ITILE_CLASSES; c++)
        for (int i = 0; i < n; i++) {
            if ((i < wide ? GR_WIDE_FOUR : of_size[groups[i]->size]) != c) continue;
            memcpy(order + at, groups[i]->members, groups[i]->size);
            at += groups[i]->size;
            count[c] = (uint16_t)(count[c] + groups[i]->size);
        }
}

/* One piece of a panel. */
static void pack_piece(const source *s, int64_t k0, int64_t cols, int32_t *sums, uint8_t *order, counts count,
                       int8_t *panel)
{
    const size_t bytes = (size_t)best()->width * 4;
    const int n = (int)quotient_up(least(GR_ITILE_K, s->k - k0), 4);
    int8_t fours[FOURS][GR_ITILE_WIDTH_MAX * 4];
    memset(fours, 0, sizeof fours);
    for (int i = 0; i < n; i++) pack_four(s, k0 + 4 * i, cols, sums, fours[i]);
    classify(fours, n, s->limit, order, count);
    for (int i = 0; i < n; i++) memcpy(panel + (size_t)i * bytes, fours[order[i]], bytes);
}

static void pack_panel(const source *s, int64_t cols, int32_t *sums, uint8_t *head, int8_t *panel)
{
    const int64_t pieces = pieces_of(s->k), width = best()->width;
    uint8_t *order = head + pieces * (int64_t)sizeof(counts);
    memset(head, 0, (size_t)head_size(s->k)); /* its padding is written into files, too */
    for (int64_t j = 0; j < width; j++) sums[j] = 0;
    for (int64_t i = 0; i < pieces; i++) {
        const int64_t k0 = i * GR_ITILE_K;
        counts count;
        pack_piece(s, k0, cols, sums, order + k0 / 4, count, panel + k0 * width);
        memcpy(head + i * (int64_t)sizeof count, count, sizeof count);
    }
}

void gr_igemm_pack(int64_t k, int64_t n, const void *b, bool b_signed, int64_t row, int64_t col, void *packed)
{
    const int64_t width = best()->width, panels = quotient_up(n, width);
    uint8_t *heads = (uint8_t *)packed + sums_size(panels);
    int8_t *data = (int8_t *)heads + panels * head_size(k);
#pragma omp parallel for schedule(static) if (k * n > SMALL_WORK && !gr_in_parallel())
    for (int64_t p = 0; p < panels; p++) {
        const source s = {k, row, col, (const uint8_t *)b + p * width * col, b_signed ? 0 : 0x80, limit_of(BYTE)};
        pack_panel(&s, least(width, n - p * width), (int32_t *)packed + p * width, heads + p * head_size(k),
                   data + p * panel_size(k));
    }
}

int64_t gr_igemm_width(void) { return best()->width; }

void gr_igemm_pack_panel(int64_t k, int64_t n, int64_t number, const int8_t *columns, int64_t row, int64_t col,
                         int greatest, void *packed)
{
    const int64_t width = best()->width, panels = quotient_up(n, width);
    uint8_t *heads = (uint8_t *)packed + sums_size(panels);
    int8_t *data = (int8_t *)heads + panels * head_size(k);
    const source s = {k, row, col, (const uint8_t *)columns, 0, limit_of(greatest)};
    pack_panel(&s, least(width, n - number * width), (int32_t *)packed + number * width, heads + number * head_size(k),
               data + number * panel_size(k));
}

static bool check_head(const uint8_t *head, int64_t k)
{
    const int64_t pieces = pieces_of(k);
    const uint8_t *order = head + pieces * (int64_t)sizeof(counts);
    for (int64_t i = 0; i < pieces; i++) {
        const int64_t fours = quotient_up(least(GR_ITILE_K, k - i * GR_ITILE_K), 4);
        counts count;
        memcpy(count, head + i * (int64_t)sizeof count, sizeof count);
        int64_t sum = 0;
        for (int c = 0; c < GR_ITILE_CLASSES; c++) sum += count[c];
        if (sum != fours || count[GR_THREE_FOURS] % 3 || count[GR_TWO_FOURS] % 2) return false;
        for (int64_t f = 0; f < fours; f++)
            if (order[i * (GR_ITILE_K / 4) + f] >= fours) return false;
    }
    return true;
}

bool gr_igemm_check(int64_t k, int64_t n, const void *packed)
{
    const int64_t panels = quotient_up(n, best()->width);
    const uint8_t *heads = (const uint8_t *)packed + sums_size(panels);
    for (int64_t p = 0; p < panels; p++)
        if (!check_head(heads + p * head_size(k), k)) return false;
    return true;
}

/* ---- run ---- */

typedef struct run {
    const gr_igemm *g;
    const gr_itiles *t;
    bool b_zero;                                     /* some column has a zero point after the shift */
    int64_t row_blocks, panels, pieces, head, panel; /* the sizes of a panel's head and data */
    const uint8_t *heads;
    const int8_t *data;
    int64_t unit, units; /* panels that a thread takes at once, and how many such there are */
} run;

static uint32_t zero_a(const gr_igemm *g, int64_t row)
{
    const int32_t z = g->a_zero ? g->a_zero[row * g->a_zero_step] : 0;
    return (uint32_t)z + (g->a_signed ? 128u : 0);
}

static uint32_t zero_b(const gr_igemm *g, int64_t col)
{
    const int32_t z = g->b_zero ? g->b_zero[col * g->b_zero_step] : 0;
    return (uint32_t)z - (g->b_signed ? 0 : 128u);
}

static uint32_t row_sum(const gr_igemm *g, int64_t row)
{
    const uint8_t *a = (const uint8_t *)g->a + row * g->lda, flip = g->a_signed ? 0x80 : 0;
    uint32_t sum = 0;
    for (int64_t i = 0; i < g->k; i++) sum += (uint8_t)(a[i] ^ flip);
    return sum;
}

static void correct(const run *r, int64_t row, int64_t col, int64_t n, int32_t *sums)
{
    const gr_igemm *g = r->g;
    const int32_t *columns = (const int32_t *)g->packed + col;
    const uint32_t za = zero_a(g, row), rest = r->b_zero ? row_sum(g, row) - (uint32_t)g->k * za : 0;
    int32_t zeros[GR_ITILE_WIDTH_MAX];
    if (!r->b_zero) {
        best()->correct(n, za, columns, 0, NULL, sums);
        return;
    }
    for (int64_t j = 0, m; j < n; j += m) {
        m = least(GR_ITILE_WIDTH_MAX, n - j);
        for (int64_t i = 0; i < m; i++) zeros[i] = (int32_t)zero_b(g, col + j + i);
        best()->correct(m, za, columns + j, rest, zeros, sums + j);
    }
}

/* Rows of A as unsigned bytes, readable to the end of their last four: in place if they are so, else in `copy`. */
static const uint8_t *rows_of(const gr_igemm *g, int64_t row, int64_t rows, int64_t k, int64_t depth, uint8_t *copy,
                              int64_t *lda)
{
    const uint8_t *a = (const uint8_t *)g->a + row * g->lda + k;
    *lda = g->lda;
    if (!g->a_signed && depth % 4 == 0) return a;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < depth; i++)
            copy[r * GR_ITILE_K + i] = (uint8_t)(a[r * g->lda + i] ^ (g->a_signed ? 0x80 : 0));
    *lda = GR_ITILE_K;
    return copy;
}

/* What an item needs beside the operands. */
typedef struct work {
    _Alignas(64) int32_t sums[ROW_BLOCK * GROUP * GR_ITILE_WIDTH_MAX];
    uint8_t copy[ROW_BLOCK * GR_ITILE_K];
} work;

/* The piece of a panel that the next tiles need. */
typedef struct ahead {
    const int8_t *from;
    int64_t size;
} ahead;

/* A piece of a panel stays in the cache while all rows pass over it; meanwhile what comes next is fetched. */
static void run_piece(gr_itile *tile, int64_t rows, const ahead *next, int32_t *sums)
{
    const gr_itiles *t = best();
    const uint8_t *a = tile->a;
    const int64_t count = quotient_up(rows, gr_tile_rows(t->rows, tile->lda)), size = count < MANY ? 0 : next->size;
    for (int64_t i = 0, at = 0, row = 0, step; i < count; i++, row += step) {
        step = quotient_up(rows - row, count - i); /* of even height */
        for (const int64_t end = size * (i + 1) / count; at < end; at += LINE)
            __builtin_prefetch(next->from + at, 0, 2);
        tile->a = a + row * tile->lda;
        tile->sums = sums + row * tile->stride;
        t->tile[step](tile);
    }
    tile->a = a;
}

/* Piece i of panel p. */
static void place_tile(const run *r, int64_t i, int64_t p, gr_itile *tile)
{
    const uint8_t *head = r->heads + p * r->head;
    memcpy(tile->count, head + i * (int64_t)sizeof(counts), sizeof(counts));
    tile->order = head + r->pieces * (int64_t)sizeof(counts) + i * (GR_ITILE_K / 4);
    tile->b = r->data + p * r->panel + i * GR_ITILE_K * r->t->width;
}

static void fetch_lines(const void *from, int64_t size)
{
    for (int64_t at = 0; at < size; at += LINE) __builtin_prefetch((const char *)from + at);
}

/* Panels [p0, p1) for one row. Several stretches of them are read side by side, as memory delivers long streams soonest;
 * what lies apart from their bytes is fetched. */
static void run_beside(const run *r, int64_t p0, int64_t p1, work *w)
{
    const gr_igemm *g = r->g;
    const int64_t width = r->t->width, length = (p1 - p0) / GR_ITILE_BESIDE, single = p1 - p0 - GR_ITILE_BESIDE * length;
    gr_itile tiles[GR_ITILE_BESIDE] = {{.stride = 0}};
    for (int64_t step = 0; step < length + single; step++) {
        const int64_t n = step < length ? GR_ITILE_BESIDE : 1;
        const int64_t first = p0 + step + (step < length ? 0 : (GR_ITILE_BESIDE - 1) * length);
        for (int64_t i = 0; i < r->pieces; i++) {
            const int64_t k = i * GR_ITILE_K;
            const uint8_t *a = rows_of(g, 0, 1, k, least(GR_ITILE_K, g->k - k), w->copy, &tiles[0].lda);
            for (int64_t j = 0; j < n; j++) {
                const int64_t p = first + j * length;
                tiles[j].a = a;
                tiles[j].first = i == 0;
                tiles[j].sums = w->sums + (p - p0) * width;
                place_tile(r, i, p, &tiles[j]);
                if (i > 0) continue;
                fetch_lines((const int32_t *)g->packed + p * width, width * (int64_t)sizeof(int32_t));
                fetch_lines(r->heads + (p + 1) * r->head, r->head);
            }
            (n > 1 ? r->t->beside : r->t->tile[1])(tiles);
        }
    }
}

/* Panels [p0, p1) of a block of rows; the thread will probably go on with panel `then`. */
static void run_panels(const run *r, int64_t block, int64_t p0, int64_t p1, int64_t then, work *w)
{
    const gr_igemm *g = r->g;
    const gr_itiles *t = r->t;
    const int64_t first = g->m * block / r->row_blocks, rows = g->m * (block + 1) / r->row_blocks - first;
    const int64_t col = p0 * t->width, cols = least(g->n, p1 * t->width) - col;
    gr_itile tile = {.stride = GROUP * t->width};
    if (r->unit > 1) run_beside(r, p0, p1, w);
    for (int64_t i = 0; i < r->pieces && r->unit == 1; i++) {
        const int64_t k = i * GR_ITILE_K, depth = least(GR_ITILE_K, g->k - k);
        tile.a = rows_of(g, first, rows, k, depth, w->copy, &tile.lda);
        tile.first = i == 0;
        for (int64_t p = p0; p < p1; p++) {
            place_tile(r, i, p, &tile);
            const ahead next = {tile.b + ((p + 1 < p1 ? p + 1 : then) - p) * r->panel, depth * t->width};
            run_piece(&tile, rows, &next, w->sums + (p - p0) * t->width);
        }
    }
    for (int64_t j = 0; j < rows; j++) {
        int32_t *from = w->sums + j * tile.stride;
        correct(r, first + j, col, cols, from);
        g->store(g->user, first + j, col, cols, from);
    }
}

/* A unit is a block of rows and a panel, or as many as one row takes at a time. */
static void run_units(void *user, int64_t first, int64_t end, int64_t next, int thread)
{
    const run *r = user;
    work w;
    (void)thread;
    while (first < end) {
        const int64_t at = first % r->units, count = least(end - first, r->units - at);
        const int64_t then = first + count < end ? 0 : next % r->units;
        run_panels(r, first / r->units, at * r->unit, least((at + count) * r->unit, r->panels), then * r->unit, &w);
        first += count;
    }
}

void gr_igemm_run(const gr_igemm *g)
{
    if (g->m <= 0 || g->n <= 0) return;
    run r = {.g = g, .t = best(), .pieces = pieces_of(g->k), .head = head_size(g->k), .panel = panel_size(g->k)};
    r.panels = quotient_up(g->n, r.t->width);
    r.heads = (const uint8_t *)g->packed + sums_size(r.panels);
    r.data = (const int8_t *)r.heads + r.panels * r.head;
    const int64_t zeros = g->b_zero && g->b_zero_step ? g->n : 1;
    for (int64_t j = 0; j < zeros && !r.b_zero; j++) r.b_zero = zero_b(g, j) != 0;
    r.row_blocks = quotient_up(g->m, ROW_BLOCK);
    r.unit = g->m == 1 && r.t->beside ? GR_ITILE_BESIDE : 1;
    r.units = quotient_up(r.panels, r.unit);
    const int threads = (double)g->m * (double)g->n * (double)g->k < SMALL_WORK ? 1 : gr_team_size();
    const int64_t fair = r.units / (4 * threads), most = r.unit == 1 ? GROUP : fair > SHORT ? least(fair, LONG) : SHORT;
    gr_parallel_parts(r.row_blocks * r.units, most, threads, run_units, &r);
}

void gr_igemm_scale(int64_t n, const int32_t *sums, const float *factors, float *to)
{
    best()->scale(n, sums, factors, to);
}

void gr_igemm_quantize(int64_t n, const float *x, float scale, int lowest, int highest, int zero, uint8_t *to)
{
    best()->quantize(n, x, scale, lowest, highest, zero, to);
}

void gr_igemm_quantize_row(int64_t n, const float *x, uint8_t *to, float *scale, int32_t *zero)
{
    best()->quantize_row(n, x, to, scale, zero);
}

void gr_igemm_finish(int64_t n, const int32_t *sums, float row, const float *columns, const float *bias, float *to)
{
    best()->finish(n, sums, row, columns, bias, to);
}

void gr_igemm_quantize_panel(int64_t k, const float *panel, int8_t *to, float *scales)
{
    best()->quantize_panel(best()->bytes, k, panel, to, scales);
}
