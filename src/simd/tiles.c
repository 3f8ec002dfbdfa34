/* SPDX-License-Identifier: Apache-2.0
 *
 * The inner part of matrix products, compiled once per instruction set: tiles with their epilogues, and packing.
 */
#include "isa.h"
#include "tile.h"

VINLINE vf activated(vf v, enum gr_gemm_act act)
{
    switch (act) {
    case GR_ACT_GELU_ERF: return vgelu_erf(v);
    case GR_ACT_GELU_TANH: return vgelu_tanh(v);
    case GR_ACT_RELU: return vrelu(v);
    case GR_ACT_TANH: return vtanh(v);
    case GR_ACT_SIGMOID: return vsigmoid(v);
    case GR_ACT_SILU: return vsilu(v);
    case GR_ACT_QUICK_GELU: return vquick_gelu(v);
    case GR_ACT_NONE: break;
    }
    return v;
}

VINLINE void store_bfloat_part(uint16_t *p, vf v, size_t rest)
{
    uint16_t t[GR_LANES];
    vstore_bfloat(t, v);
    memcpy(p, t, rest * sizeof *t);
}

/* Finished sums of columns j.. to C through the epilogue, a vector of each row; of the last one `rest` are there. */
VINLINE void finish_vectors(const gr_tile *t, int rows, const float *sums, int64_t stride, const enum gr_gemm_act act,
                            int64_t j, const size_t rest)
{
    const vf alpha = vset(t->alpha);
    const vf bias = !t->bias ? vset(0) : rest ? vload_part(t->bias + j, rest) : vload(t->bias + j);
    for (int r = 0; r < rows; r++) {
        vf v = activated(vfma(vload(sums + r * stride + j), alpha, bias), act);
        if (t->residual) {
            const float *from = t->residual + r * t->ldc + j;
            v += rest ? vload_part(from, rest) : vload(from);
        }
        if (t->c && rest)
            vstore_part(t->c + r * t->ldc + j, v, rest);
        else if (t->c)
            vstore(t->c + r * t->ldc + j, v);
        if (t->rounded && rest)
            store_bfloat_part(t->rounded + r * t->ld_rounded + j, v, rest);
        else if (t->rounded)
            vstore_bfloat(t->rounded + r * t->ld_rounded + j, v);
    }
}

/* Rows of them. */
VINLINE void finish_rows(const gr_tile *t, int rows, const float *sums, int64_t stride, const enum gr_gemm_act act)
{
    int64_t j = 0;
    for (; j + GR_LANES <= t->cols; j += GR_LANES) finish_vectors(t, rows, sums, stride, act, j, 0);
    if (j < t->cols) finish_vectors(t, rows, sums, stride, act, j, (size_t)(t->cols - j));
}

static __attribute__((noinline)) void finish(const gr_tile *t, int rows, const float *sums, int64_t stride)
{
    switch (t->act) {
    case GR_ACT_NONE: finish_rows(t, rows, sums, stride, GR_ACT_NONE); break;
    case GR_ACT_GELU_ERF: finish_rows(t, rows, sums, stride, GR_ACT_GELU_ERF); break;
    case GR_ACT_GELU_TANH: finish_rows(t, rows, sums, stride, GR_ACT_GELU_TANH); break;
    case GR_ACT_RELU: finish_rows(t, rows, sums, stride, GR_ACT_RELU); break;
    case GR_ACT_TANH: finish_rows(t, rows, sums, stride, GR_ACT_TANH); break;
    case GR_ACT_SIGMOID: finish_rows(t, rows, sums, stride, GR_ACT_SIGMOID); break;
    case GR_ACT_SILU: finish_rows(t, rows, sums, stride, GR_ACT_SILU); break;
    case GR_ACT_QUICK_GELU: finish_rows(t, rows, sums, stride, GR_ACT_QUICK_GELU); break;
    }
}

/* Sums that a former block of k left in C, or back to it. */
static __attribute__((noinline)) void copy_rows(int rows, int64_t cols, const float *from, int64_t from_stride,
                                                float *to, int64_t to_stride)
{
    for (int r = 0; r < rows; r++) memcpy(to + r * to_stride, from + r * from_stride, (size_t)cols * sizeof(float));
}

VINLINE void load_sums(const int rows, const int panels, const float *from, int64_t stride, vf (*acc)[4 * VECTORS])
{
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int v = 0; v < panels * VECTORS; v++) acc[r][v] = vload(from + r * stride + v * GR_LANES);
    }
}

VINLINE void store_sums(const int rows, const int panels, vf (*acc)[4 * VECTORS], float *to, int64_t stride)
{
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int v = 0; v < panels * VECTORS; v++) vstore(to + r * stride + v * GR_LANES, acc[r][v]);
    }
}

/* Sums of columns as multiply() has them, or `back` in their order. */
VINLINE void turn(const bool back, const int rows, const int panels, const enum gr_gemm_store store,
                  vf (*acc)[4 * VECTORS])
{
    if (store != GR_STORE_BFLOAT) return;
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int v = 0; v < panels * VECTORS; v += VECTORS) {
            if (back)
                vzip(&acc[r][v], &acc[r][v + 1]);
            else
                vunzip(&acc[r][v], &acc[r][v + 1]);
        }
    }
}

/* The epilogue without an activation, in registers. */
VINLINE void finish_sums(const gr_tile *t, const int rows, const int panels, vf (*acc)[4 * VECTORS])
{
    const vf alpha = vset(t->alpha);
    UNROLL
    for (int v = 0; v < panels * VECTORS; v++) {
        const vf bias = t->bias ? vload(t->bias + v * GR_LANES) : vset(0);
        UNROLL
        for (int r = 0; r < rows; r++) {
            acc[r][v] = vfma(acc[r][v], alpha, bias);
            if (t->residual) acc[r][v] += vload(t->residual + r * t->ldc + v * GR_LANES);
        }
    }
}

VINLINE void tile_of(const gr_tile *t, const int rows, const int panels, const enum gr_gemm_store store)
{
    _Alignas(64) float sums[GR_TILE_ROWS_MAX * WIDEST];
    const int stride = panels * WIDTH;
    const bool whole = t->c && t->cols == stride;
    vf acc[ROWS][4 * VECTORS]; /* constant sizes, or the compiler would not keep it in registers */
    if (t->first) {
        UNROLL
        for (int r = 0; r < rows; r++) {
            UNROLL
            for (int v = 0; v < panels * VECTORS; v++) acc[r][v] = vset(0);
        }
    } else {
        if (!whole) copy_rows(rows, t->cols, t->c, t->ldc, sums, stride);
        load_sums(rows, panels, whole ? t->c : sums, whole ? t->ldc : stride, acc);
        turn(false, rows, panels, store, acc);
    }
    const float *end = t->last && t->residual ? t->residual : t->c; /* what the epilogue reads or stores to */
    if (end) {
        UNROLL
        for (int r = 0; r < rows; r++) __builtin_prefetch(end + r * t->ldc);
    }
    const bool fetch = panels < 4; /* four panels are read as four streams, which prefetching only disturbs */
    multiply(rows, panels, store, t->k, t->a, t->lda, t->b, t->panel, acc, fetch, t->ahead, t->apart, t->pace);
    turn(true, rows, panels, store, acc);
    if (whole && (!t->last || (t->act == GR_ACT_NONE && !t->rounded))) {
        if (t->last) finish_sums(t, rows, panels, acc);
        store_sums(rows, panels, acc, t->c, t->ldc);
        return;
    }
    store_sums(rows, panels, acc, sums, stride);
    if (t->last)
        finish(t, rows, sums, stride);
    else
        copy_rows(rows, t->cols, sums, stride, t->c, t->ldc);
}

VINLINE void tile(const gr_tile *t, const int rows, const int panels)
{
    switch (t->store) {
    case GR_STORE_FLOAT: tile_of(t, rows, panels, GR_STORE_FLOAT); break;
    case GR_STORE_HALF: tile_of(t, rows, panels, GR_STORE_HALF); break;
    case GR_STORE_BFLOAT: tile_of(t, rows, panels, GR_STORE_BFLOAT); break;
    case GR_STORE_PAIRS: tile_of(t, rows, panels, GR_STORE_PAIRS); break;
    }
}

#define TILE(rows)                                                                                                     \
    static void tile_##rows(const gr_tile *t) { tile(t, rows, 1); }
#define ENTRY(rows) [rows] = tile_##rows,
EACH_HEIGHT(TILE)
static void wide_1(const gr_tile *t) { tile(t, 1, 4); }
static void wide_2(const gr_tile *t) { tile(t, 2, 2); }

double GR_ISA_SYMBOL(gr_multiply)(int64_t turns);

double GR_ISA_SYMBOL(gr_multiply)(int64_t turns)
{
    enum { DEPTH = 128 };
    static const _Alignas(64) float a[ROWS * DEPTH], b[DEPTH * WIDTH];
    vf acc[ROWS][4 * VECTORS], sum = vset(0);
    UNROLL
    for (int r = 0; r < ROWS; r++) acc[r][0] = acc[r][1] = vset(0);
    for (int64_t n = 0; n < turns; n++)
        multiply(ROWS, 1, GR_STORE_FLOAT, DEPTH, a, DEPTH, b, 0, acc, false, NULL, 0, 0);
    UNROLL
    for (int r = 0; r < ROWS; r++) sum += acc[r][0] + acc[r][1];
    volatile float used = vsum(sum); /* or a compiler could leave all of it out */
    (void)used;
    return 2.0 * ROWS * WIDTH * DEPTH * (double)turns;
}

/* GR_LANES columns of B that are contiguous along k, as keys of attention are; zeros for those behind `cols`. */
VINLINE void transpose_columns(const bool whole, int64_t deep, int64_t cols, const float *b, int64_t col, float *panel)
{
    vf v[GR_LANES];
    UNROLL
    for (int i = 0; i < GR_LANES; i++)
        v[i] = whole ? vload(b + i * col) : i >= cols ? vset(0) : vload_part(b + i * col, (size_t)deep);
    vtranspose(v);
    UNROLL
    for (int i = 0; i < GR_LANES; i++)
        if (whole || i < deep) vstore(panel + i * WIDTH, v[i]);
}

static void pack_transposed(int64_t k, int64_t cols, const float *b, int64_t col, float *panel)
{
    if (cols <= WIDTH - GR_LANES) memset(panel, 0, (size_t)(k * WIDTH) * sizeof *panel);
    for (int64_t j = 0; j < cols; j += GR_LANES, b += GR_LANES * col, panel += GR_LANES) {
        int64_t l = 0;
        for (; l + GR_LANES <= k && j + GR_LANES <= cols; l += GR_LANES)
            transpose_columns(true, GR_LANES, GR_LANES, b + l, col, panel + l * WIDTH);
        for (; l < k; l += GR_LANES)
            transpose_columns(false, k - l < GR_LANES ? k - l : GR_LANES, cols - j, b + l, col, panel + l * WIDTH);
    }
}

/* Columns whose k lie behind each other: turned four by four. Returns how many k are done. */
static int64_t pack_turned(int64_t k, int64_t cols, const float *b, int64_t col, float *panel)
{
#if defined(__SSE__)
    const int64_t whole = cols % 4 == 0 ? k / 4 * 4 : 0;
    for (int64_t l = 0; l < whole; l += 4)
        for (int64_t j = 0; j < cols; j += 4) {
            const float *from = b + l + j * col;
            float *to = panel + l * WIDTH + j;
            __m128 x = _mm_loadu_ps(from), y = _mm_loadu_ps(from + col);
            __m128 z = _mm_loadu_ps(from + 2 * col), w = _mm_loadu_ps(from + 3 * col);
            _MM_TRANSPOSE4_PS(x, y, z, w);
            _mm_storeu_ps(to, x);
            _mm_storeu_ps(to + WIDTH, y);
            _mm_storeu_ps(to + 2 * WIDTH, z);
            _mm_storeu_ps(to + 3 * WIDTH, w);
        }
    return whole;
#else
    (void)k, (void)cols, (void)b, (void)col, (void)panel;
    return 0;
#endif
}

/* Whole panels side by side, whose columns are contiguous. */
VINLINE void pack_rows(const int64_t size, int64_t k, int64_t cols, const char *b, int64_t row, char *panel)
{
    enum { AHEAD = 16, LINE = 64 }; /* rows; they lie a page apart, where no prefetcher follows */
    const int64_t bytes = WIDTH * size;
    for (int64_t i = 0; i < k; i++) {
        const char *from = b + i * row, *ahead = from + AHEAD * row;
        if (i + AHEAD < k) {
            for (int64_t j = 0; j < cols * size; j += LINE) __builtin_prefetch(ahead + j);
            __builtin_prefetch(ahead + cols * size - 1);
        }
        char *to = panel + i * bytes;
        for (int64_t c = 0; c < cols; c += WIDTH, from += bytes, to += k * bytes)
            for (int64_t j = 0; j < bytes; j += (int64_t)sizeof(vf)) *(vf_any *)(to + j) = *(const vf_any *)(from + j);
    }
}

VINLINE void pack_of(const int64_t size, int64_t k, int64_t cols, const char *b, int64_t row, int64_t col, char *panel)
{
    if (cols < WIDTH) memset(panel, 0, (size_t)(k * WIDTH * size));
    row *= size;
    if (col == 1 && cols >= WIDTH) {
        pack_rows(size, k, cols, b, row, panel);
        return;
    }
    if (col == 1) {
        for (int64_t i = 0; i < k; i++) memcpy(panel + i * WIDTH * size, b + i * row, (size_t)(cols * size));
        return;
    }
    col *= size;
    /* A few k at a time: what is read of each column is then a cache line, and what is written stays in the cache. */
    enum { STEP = 16 };
    const int64_t done = size == sizeof(float) && row == size
                             ? pack_turned(k, cols, (const float *)(const void *)b, col / size, (float *)(void *)panel)
                             : 0;
    for (int64_t i = done; i < k; i += STEP) {
        const int64_t end = i + STEP < k ? i + STEP : k;
        for (int64_t j = 0; j < cols; j++)
            for (int64_t l = i; l < end; l++)
                memcpy(panel + (l * WIDTH + j) * size, b + l * row + j * col, (size_t)size);
    }
}

static void pack(size_t size, int64_t k, int64_t cols, const void *b, int64_t row, int64_t col, void *panel)
{
    if (size == 2)
        pack_of(2, k, cols, b, row, col, panel);
    else if (row == 1 && col != 1 && k >= GR_LANES)
        pack_transposed(k, cols, b, col, panel);
    else
        pack_of(4, k, cols, b, row, col, panel);
}

/* A row of a panel, as it is stored. */
VINLINE void columns_of(const int64_t size, int64_t cols, const char *b, int64_t col, char *to)
{
    if (col == 1)
        memcpy(to, b, (size_t)(cols * size));
    else
        for (int64_t j = 0; j < cols; j++) memcpy(to + j * size, b + j * col * size, (size_t)size);
}

static void pack_bfloat(int64_t k, int64_t cols, const float *b, int64_t row, int64_t col, uint16_t *panel)
{
    float columns[WIDTH] = {0};
    for (int64_t i = 0; i < k; i++, panel += WIDTH) {
        columns_of(sizeof *b, cols, (const char *)(b + i * row), col, (char *)columns);
        for (int j = 0; j < WIDTH; j += GR_LANES) vstore_bfloat(panel + j, vload(columns + j));
    }
}

VINLINE void pack_pairs_of(const enum gr_gemm_store from, int64_t k, int64_t cols, const char *b, int64_t row,
                           int64_t col, uint32_t *panel)
{
    const int64_t size = from == GR_STORE_FLOAT ? 4 : 2;
    char columns[2][WIDTH * 4] = {{0}};
    uint16_t rounded[2][WIDTH];
    for (int64_t i = 0; i < k; i += 2, panel += WIDTH) {
        columns_of(size, cols, b + i * row * size, col, columns[0]);
        if (i + 1 < k)
            columns_of(size, cols, b + (i + 1) * row * size, col, columns[1]);
        else
            memset(columns[1], 0, sizeof columns[1]);
        for (int h = 0; h < 2; h++)
            for (int j = 0; j < WIDTH; j += GR_LANES) vstore_bfloat(rounded[h] + j, load_b(columns[h] + j * size, from));
        for (int j = 0; j < WIDTH; j++) panel[j] = rounded[0][j] | (uint32_t)rounded[1][j] << 16;
    }
}

static void pack_pairs(enum gr_gemm_store from, int64_t k, int64_t cols, const void *b, int64_t row, int64_t col,
                       uint32_t *panel)
{
    switch (from) {
    case GR_STORE_FLOAT: pack_pairs_of(GR_STORE_FLOAT, k, cols, b, row, col, panel); break;
    case GR_STORE_HALF: pack_pairs_of(GR_STORE_HALF, k, cols, b, row, col, panel); break;
    case GR_STORE_BFLOAT: pack_pairs_of(GR_STORE_BFLOAT, k, cols, b, row, col, panel); break;
    case GR_STORE_PAIRS: break; /* no matrix comes in them */
    }
}

static void round_row(int64_t k, const float *x, uint16_t *to)
{
    int64_t i = 0;
    for (; i + GR_LANES <= k; i += GR_LANES) vstore_bfloat(to + i, vload(x + i));
    if (i == k) return;
    uint16_t last[GR_LANES];
    vstore_bfloat(last, vload_part(x + i, (size_t)(k - i)));
    memcpy(to + i, last, (size_t)gr_gemm_pairs(k - i) * sizeof(uint32_t));
}

const gr_tiles GR_ISA_SYMBOL(gr_tiles) = {
    .width = WIDTH,
    .rows = ROWS,
    .tile = {EACH_HEIGHT(ENTRY)},
    .wide = {NULL, wide_1, wide_2},
    .wide_panels = {0, 4, 2},
    .pack = pack,
    .pack_bfloat = pack_bfloat,
    .pack_pairs = pack_pairs,
    .round_row = round_row,
};
