/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of some queries of one head, compiled once per instruction set. Keys pass in blocks whose scores stay in
 * the first-level cache: a product, the softmax with the greatest score so far, a product onto y. Where a block has a
 * greater score than those before, their share of y and of the sum is scaled down; that is exact where it changes
 * nothing. So the bits of a row depend on its own scores alone, and keys of weight zero behind the others do not change
 * them.
 */
#include "tile.h"
#include <math.h>

enum { QUERIES = GR_ATTEND_ROWS, KEYS = GR_ATTEND_KEYS };

/* What stays of the keys so far, for each query; arrays of floats are whole vectors. */
enum { SLOTS = (QUERIES + GR_LANES - 1) / GR_LANES * GR_LANES };
typedef struct state {
    vf sum[SLOTS];
    float top[SLOTS];
    float base[SLOTS];   /* what scores of this block are lessened by */
    float shrink[SLOTS]; /* what this block makes of the share of those before */
} state;

typedef struct tile {
    int64_t k, cols;
    const float *a, *b;
    int64_t lda, panel;
    float *c;
    int64_t ldc;
    const float *shrink, *finish; /* factors of what is in C, NULL: nothing is; and of the result, or NULL */
} tile;

VINLINE void tile_of(const tile *t, const int rows, const int panels)
{
    vf acc[ROWS][4 * VECTORS];
    const bool whole = t->cols >= panels * WIDTH;
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int v = 0; v < panels * VECTORS; v++) acc[r][v] = vset(0);
    }
    if (t->shrink && whole) {
        UNROLL
        for (int r = 0; r < rows; r++) {
            UNROLL
            for (int v = 0; v < panels * VECTORS; v++)
                acc[r][v] = vload(t->c + r * t->ldc + v * GR_LANES) * t->shrink[r];
        }
    } else if (t->shrink) {
        float c[ROWS][4 * WIDTH] = {{0}};
        for (int r = 0; r < rows; r++) memcpy(c[r], t->c + r * t->ldc, (size_t)t->cols * sizeof(float));
        UNROLL
        for (int r = 0; r < rows; r++) {
            UNROLL
            for (int v = 0; v < panels * VECTORS; v++) acc[r][v] = vload(c[r] + v * GR_LANES) * t->shrink[r];
        }
    }
    multiply(rows, panels, GR_STORE_FLOAT, t->k, t->a, t->lda, t->b, t->panel, acc, false, NULL, 0, 0);
    if (t->finish) {
        UNROLL
        for (int r = 0; r < rows; r++) {
            UNROLL
            for (int v = 0; v < panels * VECTORS; v++) acc[r][v] *= t->finish[r];
        }
    }
    if (whole) {
        UNROLL
        for (int r = 0; r < rows; r++) {
            UNROLL
            for (int v = 0; v < panels * VECTORS; v++) vstore(t->c + r * t->ldc + v * GR_LANES, acc[r][v]);
        }
    } else {
        float c[ROWS][4 * WIDTH];
        UNROLL
        for (int r = 0; r < rows; r++) {
            UNROLL
            for (int v = 0; v < panels * VECTORS; v++) vstore(c[r] + v * GR_LANES, acc[r][v]);
        }
        for (int r = 0; r < rows; r++) memcpy(t->c + r * t->ldc, c[r], (size_t)t->cols * sizeof(float));
    }
}

#define TILE(rows)                                                                                                     \
    static void tile_##rows(const tile *t) { tile_of(t, rows, 1); }
#define ENTRY(rows) [rows] = tile_##rows,
EACH_HEIGHT(TILE)
static void wide_1(const tile *t) { tile_of(t, 1, 4); }
static void wide_2(const tile *t) { tile_of(t, 2, 2); }

static void (*const tiles[ROWS + 1])(const tile *) = {EACH_HEIGHT(ENTRY)};

/* C[rows][n] from all panels; `t` says the rest. */
static void product(const tile *whole, int64_t rows, int64_t n)
{
    const int64_t count = (rows + ROWS - 1) / ROWS;
    const int64_t wide = rows == 1 ? 4 : rows == 2 ? 2 : 1;
    for (int64_t j = 0; j < n;) {
        const int64_t panels = n - j > (wide - 1) * WIDTH ? wide : 1;
        tile t = *whole;
        t.b += j / WIDTH * t.panel;
        t.c += j;
        t.cols = n - j < panels * WIDTH ? n - j : panels * WIDTH;
        for (int64_t i = 0, row = 0; i < count; i++) { /* tiles of even height */
            const int64_t height = (rows - row + count - i - 1) / (count - i);
            t.a = whole->a + row * t.lda;
            t.c = whole->c + row * t.ldc + j;
            if (t.shrink) t.shrink = whole->shrink + row;
            if (t.finish) t.finish = whole->finish + row;
            (panels == 4 ? wide_1 : panels == 2 ? wide_2 : tiles[height])(&t);
            row += height;
        }
        j += panels * WIDTH;
    }
}

/* acc += q x `deep` elements of each of n keys, one key in each lane. */
VINLINE vf add_keys(vf acc, const int64_t deep, const float *q, const int64_t n, const float *k, int64_t row)
{
    vf v[GR_LANES];
    UNROLL
    for (int i = 0; i < GR_LANES; i++) {
        v[i] = deep == GR_LANES ? vload(k) : vload_part(k, (size_t)deep);
        if (i + 1 < n) k += row;
    }
    vtranspose(v);
    if (deep == GR_LANES) {
        UNROLL
        for (int i = 0; i < GR_LANES; i++) acc = vfma(vset(q[i]), v[i], acc);
    } else {
        for (int i = 0; i < deep; i++) acc = vfma(vset(q[i]), v[i], acc);
    }
    return acc;
}

VINLINE void fetch_rows(const float *from, int64_t row, int64_t n)
{
    for (int i = 0; i < GR_LANES; i++, from += row)
        for (int64_t j = 0; j < n; j += 64 / (int64_t)sizeof *from) __builtin_prefetch(from + j);
}

/* Scores of n keys from `first` on as they are for one query, up to a whole vector of them; the bits are those of packed
 * ones. The next keys, which are read column by column, are fetched meanwhile, after the last ones the first values. */
static void scores_in_place(const gr_attend *g, const float *q, int64_t first, int64_t n, float *scores)
{
    const int64_t whole = g->head / GR_LANES * GR_LANES;
    const float *k = g->k + first * g->k_row;
    for (int64_t j = 0; j < n; j += GR_LANES, k += GR_LANES * g->k_row) {
        const int64_t keys = n - j < GR_LANES ? n - j : GR_LANES;
        vf acc = vset(0);
        if (j + GR_LANES < n)
            fetch_rows(k + GR_LANES * g->k_row, g->k_row, g->head);
        else
            fetch_rows(g->v + first * g->v_row, g->v_row, g->v_head);
        for (int64_t d = 0; d < whole && keys == GR_LANES; d += GR_LANES)
            acc = add_keys(acc, GR_LANES, q + d, GR_LANES, k + d, g->k_row);
        for (int64_t d = 0; d < whole && keys < GR_LANES; d += GR_LANES)
            acc = add_keys(acc, GR_LANES, q + d, keys, k + d, g->k_row);
        if (whole < g->head) acc = add_keys(acc, g->head - whole, q + whole, keys, k + whole, g->k_row);
        vstore(scores + j, acc);
    }
}

/* y = (y * shrink + weights x v) * finish for `vectors` vectors of v's columns; part: the last `rest` elements are all
 * that there is of the only one. */
VINLINE void values_of(const int vectors, const bool part, size_t rest, int64_t n, const float *weights, const float *v,
                       int64_t v_row, const float *shrink, const float *finish, float *y)
{
    vf acc[8];
    UNROLL
    for (int i = 0; i < vectors; i++) {
        acc[i] = vset(0);
        if (shrink) acc[i] = (part ? vload_part(y, rest) : vload(y + i * GR_LANES)) * *shrink;
    }
    for (int64_t j = 0; j < n; j++, v += v_row) {
        const vf w = vset(weights[j]);
        UNROLL
        for (int i = 0; i < vectors; i++) acc[i] = vfma(w, part ? vload_part(v, rest) : vload(v + i * GR_LANES), acc[i]);
    }
    UNROLL
    for (int i = 0; i < vectors; i++) {
        if (finish) acc[i] *= *finish;
        if (part)
            vstore_part(y, acc[i], rest);
        else
            vstore(y + i * GR_LANES, acc[i]);
    }
}

static void values_in_place(int64_t n, const float *weights, const gr_attend *g, int64_t first, const float *shrink,
                            const float *finish)
{
    const float *v = g->v + first * g->v_row;
    int64_t j = 0;
    for (; j + 8 * GR_LANES <= g->v_head; j += 8 * GR_LANES)
        values_of(8, false, 0, n, weights, v + j, g->v_row, shrink, finish, g->y + j);
    for (; j + GR_LANES <= g->v_head; j += GR_LANES)
        values_of(1, false, 0, n, weights, v + j, g->v_row, shrink, finish, g->y + j);
    if (j < g->v_head)
        values_of(1, true, (size_t)(g->v_head - j), n, weights, v + j, g->v_row, shrink, finish, g->y + j);
}

/* exp(x) for x <= 0, relative error 2e-7; 0 from -87.7 on. NaN stays NaN. */
VINLINE vf weight(vf x)
{
    x = vgreater(vset(-88.0f), x);
    const vf magic =
        vset(0x1.8p23f + 127); /* adding it leaves the exponent of the nearest power of two in the low bits */
    const vf log2e = vset(0x1.715476p0f);
    const vf t = vfma(x, log2e, magic), f = vfma(x, log2e, magic - t);
    vf p = VPOLY(f, 1.0f, 0.6931470036506653f, 0.24022242426872253f, 0.05550733581185341f, 0.009671512991189957f,
                 0.001326472731307149f);
    return p * (vf)((vi)t << 23);
}

/* -inf for scores of keys that are not seen. */
static void hide(float *s, int64_t n, int64_t begin, int64_t end)
{
    for (int64_t j = 0; j < begin && j < n; j++) s[j] = -INFINITY;
    for (int64_t j = end > 0 ? end : 0; j < n; j++) s[j] = -INFINITY;
}

/* Bias on scores, -inf behind them up to a whole vector; the greatest of a row. */
VINLINE float greatest_of(float *s, int64_t n, const float *bias)
{
    vf top = vset(-INFINITY), other = top;
    int64_t j = 0;
    for (; bias && j + GR_LANES <= n; j += GR_LANES) {
        const vf v = vload(s + j) + vload(bias + j);
        vstore(s + j, v);
        top = vgreater(v, top);
    }
    for (; j + 2 * GR_LANES <= n; j += 2 * GR_LANES) {
        top = vgreater(vload(s + j), top);
        other = vgreater(vload(s + j + GR_LANES), other);
    }
    for (; j + GR_LANES <= n; j += GR_LANES) top = vgreater(vload(s + j), top);
    if (j < n) {
        const size_t rest = (size_t)(n - j);
        vf v = vload(s + j);
        if (bias) v += vload_part(bias + j, rest);
        v = vselect(vlanes_below(rest), v, vset(-INFINITY));
        vstore(s + j, v);
        other = vgreater(v, other);
    }
    return vgreatest(vgreater(other, top));
}

VINLINE vf weights_of(float *s, int64_t n, float top)
{
    vf sum = vset(0), other = sum;
    int64_t j = 0;
    for (; j + 3 * GR_LANES < n; j += 4 * GR_LANES) {
        const vf a = weight(vload(s + j) - top), b = weight(vload(s + j + GR_LANES) - top);
        const vf c = weight(vload(s + j + 2 * GR_LANES) - top), d = weight(vload(s + j + 3 * GR_LANES) - top);
        vstore(s + j, a);
        vstore(s + j + GR_LANES, b);
        vstore(s + j + 2 * GR_LANES, c);
        vstore(s + j + 3 * GR_LANES, d);
        sum += a;
        other += b;
        sum += c;
        other += d;
    }
    for (int even = 1; j < n; j += GR_LANES, even = !even) {
        const vf a = weight(vload(s + j) - top);
        vstore(s + j, a);
        if (even)
            sum += a;
        else
            other += a;
    }
    return sum + other;
}

/* What only some callers want of row i: factors on its weights, and to keep them. */
static void keep_weights(const gr_attend *g, int64_t i, int64_t first, int64_t n, float *s, float shrink)
{
    for (int64_t j = 0; j < n && g->factors; j++) s[j] *= g->factors[i][(first + j) * g->factors_step];
    if (!g->weights) return;
    float *kept = g->weights + i * g->weights_row;
    for (int64_t j = 0; j < first && shrink != 1; j++) kept[j] *= shrink;
    memcpy(kept + first, s, (size_t)n * sizeof *s);
}

/* Scores of keys [first, first + n), rows of `row`, to weights, and what becomes of the share of those before. */
static void block_weights(const gr_attend *g, int64_t first, int64_t n, float *scores, int64_t row, state *z)
{
    const int64_t rows = g->rows;
    const bool kept = g->factors || g->weights;
    for (int64_t i = 0; i < rows && g->cap != 0; i++)
        for (int64_t j = 0; j < n; j += GR_LANES)
            vstore(scores + i * row + j, vtanh(vload(scores + i * row + j)) * g->cap);
    for (int64_t i = 0; i < rows && g->begin; i++) hide(scores + i * row, n, g->begin[i] - first, g->end[i] - first);
    for (int64_t i = 0; i < rows && g->bias; i++) z->base[i] = greatest_of(scores + i * row, n, g->bias[i] + first);
    for (int64_t i = 0; i < rows && !g->bias; i++) z->base[i] = greatest_of(scores + i * row, n, NULL);
    for (int64_t i = 0; i < rows; i += GR_LANES) {
        const vf old = vload(z->top + i), top = vgreater(vload(z->base + i), old);
        const vf base = vselect(top == vset(-INFINITY), vset(0), top);
        vstore(z->top + i, top);
        vstore(z->base + i, base);
        vstore(z->shrink + i, weight(old - base));
    }
    for (int64_t i = 0; i < rows; i++) {
        float *s = scores + i * row;
        z->sum[i] = z->sum[i] * z->shrink[i] + weights_of(s, n, z->base[i]);
        if (kept) keep_weights(g, i, first, n, s, z->shrink[i]);
    }
}

/* Factors that make rows of weights have the sum 1. */
static void finish_of(int64_t rows, float empty, const state *z, float *finish)
{
    for (int64_t i = 0; i < rows; i += GR_LANES) {
        vf v[GR_LANES];
        for (int j = 0; j < GR_LANES; j++) v[j] = z->sum[i + j];
        vtranspose(v);
        for (int w = GR_LANES / 2; w; w /= 2)
            for (int j = 0; j < w; j++) v[j] += v[j + w];
        vstore(finish + i, vselect(v[0] == vset(0), vset(empty), 1.0f / v[0]));
    }
}

/* Queries, times the scale, behind each other; nothing of keys yet. */
static void begin(const gr_attend *g, float *q, state *z)
{
    const int64_t rows = g->rows, head = g->head, q_row = g->q_row;
    const float *from = g->q, scale = g->cap != 0 ? g->scale / g->cap : g->scale;
    for (int64_t i = 0; i < rows; i++, q += head, from += q_row) {
        int64_t j = 0;
        for (; j + 4 * GR_LANES <= head; j += 4 * GR_LANES) {
            UNROLL
            for (int v = 0; v < 4 * GR_LANES; v += GR_LANES) vstore(q + j + v, vload(from + j + v) * scale);
        }
        for (; j + GR_LANES <= head; j += GR_LANES) vstore(q + j, vload(from + j) * scale);
        for (; j < head; j++) q[j] = from[j] * scale;
    }
    for (int64_t i = 0; i < rows; i += GR_LANES) {
        UNROLL
        for (int j = 0; j < GR_LANES; j++) z->sum[i + j] = vset(0);
        vstore(z->top + i, vset(-INFINITY));
        vstore(z->base + i, vset(0));
    }
}

void GR_ISA_SYMBOL(gr_attend_rows)(const gr_attend *g);

void GR_ISA_SYMBOL(gr_attend_rows)(const gr_attend *g)
{
    float *scores = g->room, *q = scores + QUERIES * KEYS, finish[SLOTS];
    const int64_t start = g->first / KEYS * KEYS;
    const int64_t row = (g->keys - start < KEYS ? g->keys - start + WIDTH - 1 : KEYS) / WIDTH * WIDTH;
    state z;
    begin(g, q, &z);
    for (int64_t first = start; first < g->keys; first += KEYS) {
        const int64_t n = g->keys - first < KEYS ? g->keys - first : KEYS;
        const bool last = first + n == g->keys;
        if (!g->packed_k)
            scores_in_place(g, q, first, n, scores);
        else
            product(&(tile){.k = g->head,
                            .a = q,
                            .lda = g->head,
                            .b = g->packed_k + first * g->head,
                            .panel = WIDTH * g->head,
                            .c = scores,
                            .ldc = row},
                    g->rows, (n + WIDTH - 1) / WIDTH * WIDTH);
        block_weights(g, first, n, scores, row, &z);
        if (last) finish_of(g->rows, g->empty, &z, finish);
        if (!g->packed_k)
            values_in_place(n, scores, g, first, first > start ? z.shrink : NULL, last ? finish : NULL);
        else
            product(&(tile){.k = n,
                            .a = scores,
                            .lda = row,
                            .b = g->packed_v + first * WIDTH,
                            .panel = WIDTH * g->depth,
                            .c = g->y,
                            .ldc = g->y_row,
                            .shrink = first > start ? z.shrink : NULL,
                            .finish = last ? finish : NULL},
                    g->rows, g->v_head);
    }
    for (int64_t i = 0; i < g->rows && g->weights; i++)
        for (int64_t j = 0; j < g->keys; j++) g->weights[i * g->weights_row + j] *= finish[i];
}
