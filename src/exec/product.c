/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products as steps. Operands that cannot be read in place (16-bit floats, constants at odd addresses) are
 * converted to float in scratch in each run, but for a constant right-hand side, which is packed once for good.
 */
#include "product.h"
#include "int8.h"
#include "packs.h"
#include "ops/act.h"
#include "ops/dnnl.h"
#include <omp.h>

enum { A, B, BIAS, RESIDUAL, ADDEND, OPERANDS, ALIGNMENT = 64, PARALLEL_FROM = 32 * 1024 };
enum { MOST_READ = 16 << 20 }; /* bytes of weights that are read into scratch; more would not stay in a cache */

typedef struct state {
    gr_product p;
    int input[OPERANDS];         /* numbers of the step's inputs, or -1 */
    size_t converted[OPERANDS];  /* offset in scratch of a float copy; SIZE_MAX: read in place */
    size_t result;               /* the same for C */
    size_t inner;                /* offset of the scratch of the kernel below */
    enum gr_gemm_store store;    /* of the packed B */
    gr_packs *own;               /* if the step has none */
    const gr_pack *pack;         /* constant B, for own kernels */
    bool plain;                  /* constant B as it is, for them */
    size_t room;                 /* where in scratch that is read to from its file, or SIZE_MAX */
    bool bytes;                  /* made by gr_int8_pack */
    gr_dnnl_matmul *dnnl;
} state;

void gr_product_simplify(gr_product *p)
{
    int kept = 0;
    for (int d = 0; d < p->nbatch; d++) {
        if (p->batch[d] == 1) continue;
        p->batch[kept] = p->batch[d];
        p->a_batch[kept] = p->a_batch[d];
        p->b_batch[kept++] = p->b_batch[d];
    }
    p->nbatch = kept;
    while (p->nbatch > 0) {
        const int d = p->nbatch - 1;
        if (p->m == 1) p->a_row = p->a_batch[d];
        int64_t rows;
        if (p->b_batch[d] != 0 || __builtin_mul_overflow(p->m, p->a_row, &rows) || p->a_batch[d] != rows) break;
        p->m *= p->batch[d];
        p->nbatch--;
    }
}

/* ---- prepare ---- */

/* Take `count` floats of scratch. */
static bool reserve(size_t *total, int64_t count, size_t *at)
{
    size_t bytes;
    if (!gr_bytes(GR_FLOAT, count, &bytes) || !gr_add(bytes, ALIGNMENT - 1, &bytes)) return false;
    *at = *total;
    return gr_add(*total, bytes / ALIGNMENT * ALIGNMENT, total);
}

static bool in_place(const gr_tensor *t) { return t->dtype == GR_FLOAT && (!t->is_const || t->aligned); }

/* State with room for what must be converted; B only if it is not packed. */
static state *new_state(gr_step *s, const gr_product *p, bool packed, gr_why *why)
{
    state *st = GR_NEW(s->arena, state);
    if (!st) {
        gr_decline(why, "out of memory");
        return NULL;
    }
    st->p = *p;
    const int input[OPERANDS] = {p->a, p->b, p->bias, p->residual, p->addend};
    bool fits = true;
    s->scratch_size = 0;
    for (int i = 0; i < OPERANDS; i++) {
        st->input[i] = input[i];
        st->converted[i] = SIZE_MAX;
        if (input[i] < 0 || (i == B && packed) || in_place(s->in[input[i]])) continue;
        fits = fits && reserve(&s->scratch_size, s->in[input[i]]->elements, &st->converted[i]);
    }
    st->result = SIZE_MAX;
    if (p->dtype != GR_FLOAT) fits = fits && reserve(&s->scratch_size, s->out[0]->elements, &st->result);
    st->inner = s->scratch_size;
    if (!fits) {
        gr_decline(why, "sizes overflow");
        return NULL;
    }
    s->flops = 2.0 * (double)s->out[0]->elements * (double)p->k;
    return st;
}

/* B is one matrix of constants and A's rows can be read as they are. */
static bool is_linear(const gr_step *s, const gr_product *p)
{
    return p->nbatch == 0 && s->in[p->b]->is_const && (p->a_col == 1 || p->k <= 1);
}

static gr_packs *packs_of(const gr_step *s, state *st)
{
    if (!s->packs && !st->own) st->own = gr_packs_new(NULL);
    return s->packs ? s->packs : st->own;
}

static bool computes(const gr_step *s, const gr_product *p, gr_why *why)
{
    if (p->dtype != GR_FLOAT && p->dtype != GR_FLOAT16 && p->dtype != GR_BFLOAT16)
        return gr_decline(why, "element type %s", gr_dtype_name(p->dtype));
    return s->out[0] ? true : gr_decline(why, "the result is not wanted");
}

bool gr_product_prepare_dnnl(gr_step *s, const gr_product *p, gr_why *why)
{
    if (!computes(s, p, why)) return false;
    if (p->dtype != GR_FLOAT) return gr_decline(why, "element type %s", gr_dtype_name(p->dtype));
    if (p->nbatch > GR_DNNL_MAX_BATCH) return gr_decline(why, "%d batch dimensions", p->nbatch);
    if (p->alpha != 1 || p->addend >= 0) return gr_decline(why, "factors other than 1");
    if (is_linear(s, p)) return gr_decline(why, "constant weights are for the packed kernel");
    if (p->bias >= 0 || p->residual >= 0 || p->act != GR_ACT_NONE) return gr_decline(why, "an epilogue");
    if (s->rows) return gr_decline(why, "its rows are not those of one matrix");
    gr_dnnl_spec spec = {.m = p->m, .n = p->n, .k = p->k, .nbatch = p->nbatch, .a_row = p->a_row, .a_col = p->a_col,
                         .b_row = p->b_row, .b_col = p->b_col};
    const size_t dims = (size_t)p->nbatch * sizeof *spec.batch;
    memcpy(spec.batch, p->batch, dims);
    memcpy(spec.a_batch, p->a_batch, dims);
    memcpy(spec.b_batch, p->b_batch, dims);
    state *st = new_state(s, p, false, why);
    size_t total;
    if (!st || !(st->dnnl = gr_dnnl_new(&spec, why))) return false;
    if (gr_add(st->inner, gr_dnnl_scratch(st->dnnl), &total)) {
        s->scratch_size = total;
        s->state = st;
        return true;
    }
    gr_dnnl_free(st->dnnl);
    return gr_decline(why, "sizes overflow");
}

typedef struct pack_job {
    const gr_product *p;
    const gr_tensor *b;
    enum gr_gemm_store store;
} pack_job;

static enum gr_gemm_store store_of(gr_dtype dtype)
{
    return dtype == GR_FLOAT16 ? GR_STORE_HALF : dtype == GR_BFLOAT16 ? GR_STORE_BFLOAT : GR_STORE_FLOAT;
}

static void from_float(gr_dtype dtype, const float *from, int64_t n, uint16_t *to)
{
#pragma omp parallel for if (n > PARALLEL_FROM)
    for (int64_t i = 0; i < n; i++)
        to[i] = dtype == GR_FLOAT16 ? gr_float_to_half(from[i]) : gr_float_to_bfloat(from[i]);
}

static bool make_pack(void *user, gr_pack *pack)
{
    const pack_job *j = user;
    const gr_product *p = j->p;
    pack->size = gr_gemm_packed_size(j->store == GR_STORE_PAIRS ? gr_gemm_pairs(p->k) : p->k, p->n);
    if (pack->size == SIZE_MAX) return false;
    if (j->store == GR_STORE_HALF || j->store == GR_STORE_BFLOAT) pack->size /= 2;
    if (!gr_pack_alloc(pack)) return false;
    if (pack->empty) return true;
    if (j->store == GR_STORE_PAIRS)
        gr_gemm_pack_pairs(store_of(j->b->dtype), p->k, p->n, j->b->data, p->b_row, p->b_col, pack->data);
    else if (j->store == GR_STORE_BFLOAT && j->b->dtype == GR_FLOAT)
        gr_gemm_pack_bfloat(p->k, p->n, j->b->data, p->b_row, p->b_col, pack->data);
    else if (j->b->dtype == GR_FLOAT)
        gr_gemm_pack(p->k, p->n, j->b->data, p->b_row, p->b_col, pack->data);
    else
        gr_gemm_pack_narrow(p->k, p->n, j->b->data, p->b_row, p->b_col, pack->data);
    return true;
}

static gr_gemm_batch batch_of(const gr_product *p)
{
    return (gr_gemm_batch){.m = p->m, .n = p->n, .k = p->k, .nbatch = p->nbatch, .batch = p->batch,
                           .a_batch = p->a_batch, .b_batch = p->b_batch, .a_row = p->a_row, .a_col = p->a_col,
                           .b_row = p->b_row, .b_col = p->b_col, .c_row = p->n, .alpha = p->alpha};
}

/* How a constant B is kept. */
static enum gr_gemm_store wanted_store(const gr_step *s, const gr_tensor *b)
{
    if (s->precision != GR_PRECISION_BF16) return store_of(b->dtype);
    if (gr_simd_has_bfloat()) return GR_STORE_PAIRS;
    return b->dtype == GR_FLOAT ? GR_STORE_BFLOAT : store_of(b->dtype);
}

static const char *layout_of(enum gr_gemm_store store, const gr_tensor *b)
{
    const gr_simd *simd = gr_simd_best();
    if (store == GR_STORE_PAIRS) return simd->pairs;
    return store == GR_STORE_BFLOAT && b->dtype == GR_FLOAT ? simd->bfloat : simd->name;
}

/* Room for the rounded rows of A. */
static bool reserve_pairs(gr_step *s, const state *st)
{
    size_t bytes;
    if (!gr_mul((size_t)st->p.m, (size_t)gr_gemm_pairs(st->p.k), &bytes) || !gr_mul(bytes, sizeof(uint32_t), &bytes) ||
        !gr_add(st->inner, bytes, &s->scratch_size))
        return false;
    const gr_product *p = &st->p;
    s->takes_bytes = bytes;
    s->takes_row = p->a == 0 && st->converted[A] == SIZE_MAX && p->a_row == p->k ? p->k : 0;
    s->gives_row = st->result == SIZE_MAX && p->addend < 0 && p->n % 2 == 0 ? p->n : 0;
    s->gives_only = true;
    return true;
}

/* Weights that are not packed. One of few runs reads them from the file, which takes less time than to map pages and to
 * unmap them at the end; who lacks the memory for packs maps them once. */
static bool take_plain(gr_step *s, state *st, const gr_pack_key *key, gr_packs *packs)
{
    const gr_tensor *b = s->in[st->p.b];
    size_t bytes = gr_gemm_room(key->rows);
    st->room = SIZE_MAX;
    if (st->p.m > s->plain_rows || gr_packs_has(packs, key)) return false;
    st->plain = bytes != SIZE_MAX && gr_mul(bytes, (size_t)s->threads, &bytes) &&
                gr_add(st->inner, bytes, &s->scratch_size);
    if (!st->plain || s->plain_rows == INT64_MAX || !b->size || b->size > MOST_READ) return st->plain;
    if (!gr_packs_may_read(packs, b->data, b->size)) return true;
    st->room = (s->scratch_size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    st->plain = gr_add(st->room, b->size, &s->scratch_size);
    return st->plain;
}

/* Rows of A and of C may have gaps behind them. */
static void offer_gaps(gr_step *s, const state *st)
{
    const gr_product *p = &st->p;
    if (p->a == 0 && st->converted[A] == SIZE_MAX && p->a_row == p->k) s->takes_apart = p->k;
    if (st->result == SIZE_MAX && p->addend < 0 && p->residual < 0) s->gives_apart = p->n;
}

bool gr_product_prepare_packed(gr_step *s, const gr_product *p, gr_why *why)
{
    if (!computes(s, p, why)) return false;
    const bool linear = is_linear(s, p);
    if (s->rows && (!linear || p->m != s->rows->batch * s->rows->tokens || p->addend >= 0))
        return gr_decline(why, "its rows are not those of one matrix");
    state *st = new_state(s, p, linear, why);
    if (!st) return false;
    if (linear) {
        const gr_tensor *b = s->in[p->b];
        pack_job j = {p, b, wanted_store(s, b)};
        const gr_pack_key key = {.data = b->data, .dtype = b->dtype, .rows = p->k, .cols = p->n,
                                 .row = p->b_row, .col = p->b_col, .layout = layout_of(j.store, b)};
        gr_packs *packs = packs_of(s, st);
        st->store = j.store;
        if (j.store == GR_STORE_PAIRS && !reserve_pairs(s, st)) return gr_decline(why, "sizes overflow");
        if (packs && (j.store != store_of(b->dtype) || !take_plain(s, st, &key, packs)))
            st->pack = gr_packs_get(packs, &key, b->size, make_pack, &j);
        if (!st->pack && !st->plain) {
            gr_packs_free(st->own);
            return gr_decline(why, "out of memory for packed weights");
        }
        if (j.store != GR_STORE_PAIRS) offer_gaps(s, st);
    } else {
        const gr_gemm_batch g = batch_of(p);
        size_t bytes;
        if (!gr_gemm_batch_scratch(&g, s->threads, &bytes) || !gr_add(st->inner, bytes, &s->scratch_size))
            return gr_decline(why, "sizes overflow");
    }
    s->state = st;
    return true;
}

static void widen_row(gr_dtype dtype, const void *from, int64_t n, float *to)
{
    if (dtype == GR_FLOAT)
        memcpy(to, from, (size_t)n * sizeof *to);
    else
        gr_simd_best()->widen(store_of(dtype), (size_t)n, from, to);
}

/* Columns of B as floats, wherever they stand. */
static void columns_of(const void *user, int64_t first, int64_t count, int64_t stride, float *to, float *units)
{
    (void)units;
    const pack_job *j = user;
    const gr_product *p = j->p;
    const int64_t size = gr_dtype_bits(j->b->dtype) / 8;
    const char *from = (const char *)j->b->data + first * p->b_col * size;
    if (p->b_col == 1) {
        for (int64_t i = 0; i < p->k; i++) widen_row(j->b->dtype, from + i * p->b_row * size, count, to + i * stride);
        return;
    }
    /* A few k at a time: what is read of each column is then a cache line. */
    enum { STEP = 16 };
    for (int64_t i = 0; i < p->k; i += STEP) {
        const int64_t end = i + STEP < p->k ? i + STEP : p->k;
        for (int64_t c = 0; c < count; c++)
            for (int64_t l = i; l < end; l++)
                widen_row(j->b->dtype, from + (l * p->b_row + c * p->b_col) * size, 1, to + l * stride + c);
    }
}

bool gr_product_prepare_int8(gr_step *s, const gr_product *p, gr_why *why)
{
    if (!computes(s, p, why)) return false;
    if (s->precision != GR_PRECISION_INT8) return gr_decline(why, "not asked for");
    if (!is_linear(s, p)) return gr_decline(why, "no constant matrix");
    if (!gr_int8_wants(p->k, p->n)) return gr_decline(why, "a matrix of %lld x %lld", (long long)p->k, (long long)p->n);
    if (s->rows && (p->m != s->rows->batch * s->rows->tokens || p->addend >= 0))
        return gr_decline(why, "its rows are not those of one matrix");
    state *st = new_state(s, p, true, why);
    if (!st) return false;
    const gr_tensor *b = s->in[p->b];
    const gr_pack_key key = {.data = b->data, .dtype = b->dtype, .rows = p->k, .cols = p->n, .row = p->b_row,
                             .col = p->b_col};
    const size_t rows = gr_int8_rows_size(p->m, p->k);
    if (rows == SIZE_MAX || !gr_add(st->inner, rows, &s->scratch_size)) return gr_decline(why, "sizes overflow");
    gr_packs *packs = packs_of(s, st);
    st->pack = packs ? gr_int8_pack(packs, key, b->size, columns_of, &(pack_job){.p = p, .b = b}) : NULL;
    st->bytes = true;
    s->state = st;
    if (st->pack) return true;
    gr_packs_free(st->own);
    return gr_decline(why, "out of memory for packed weights");
}

void gr_product_release(gr_step *s)
{
    state *st = s->state;
    if (!st) return;
    gr_dnnl_free(st->dnnl);
    gr_packs_free(st->own);
    s->state = NULL;
}

/* ---- run ---- */

static const float *operand(const gr_step *s, const state *st, int which)
{
    if (st->input[which] < 0) return NULL;
    const gr_tensor *t = s->in[st->input[which]];
    if (st->converted[which] == SIZE_MAX) return t->data;
    float *to = (float *)((char *)s->scratch + st->converted[which]);
    gr_widen(t->dtype, t->data, t->elements, to);
    return to;
}

/* What the product itself has not applied yet, row by row. */
static void finish(const gr_product *p, int64_t rows, const float *bias, const float *residual, const float *addend,
                   enum gr_gemm_act act, float *c)
{
    const gr_simd *simd = gr_simd_best();
    const size_t n = (size_t)p->n;
    if (!bias && !residual && !addend && act == GR_ACT_NONE) return;
#pragma omp parallel for if (rows * p->n > PARALLEL_FROM)
    for (int64_t r = 0; r < rows; r++) {
        float *y = c + r * p->n;
        if (bias) simd->binary[GR_V_ADD](n, y, bias, y);
        if (act != GR_ACT_NONE) simd->unary[gr_act_unary(act)](n, y, y);
        if (residual) simd->binary[GR_V_ADD](n, y, residual + r * p->n, y);
        const float *x = addend ? addend + r * p->addend_row : NULL;
        for (int64_t j = 0; x && j < p->n; j++) y[j] += p->beta * x[j * p->addend_col];
    }
}

/* Have the weights at hand that a run reads; where they are if they are not packed. */
static const void *fetch_weights(const gr_step *s, const state *st)
{
    const gr_tensor *b = s->in[st->p.b];
    if (st->pack) gr_packs_fetch(s->packs, st->pack->data, st->pack->size);
    else if (st->room == SIZE_MAX) gr_packs_fetch(s->packs, b->data, b->size);
    else return gr_packs_read(s->packs, b->data, b->size, (char *)s->scratch + st->room);
    return b->data;
}

static gr_gemm packed_gemm(const gr_step *s, const state *st, const float *a, const float *bias, const float *residual,
                           float *c)
{
    const gr_product *p = &st->p;
    return (gr_gemm){.m = s->rows ? s->rows->count : p->m,
                     .n = p->n,
                     .k = p->k,
                     .a = a,
                     .lda = s->in_stride ? s->in_stride : p->a_row,
                     .packed = st->pack ? st->pack->data : NULL,
                     .plain = fetch_weights(s, st),
                     .plain_row = p->b_row,
                     .plain_col = p->b_col,
                     .room = (char *)s->scratch + st->inner,
                     .store = st->store,
                     .alpha = p->alpha,
                     .bias = bias,
                     .residual = residual,
                     .act = p->act,
                     .c = c,
                     .ldc = s->out_stride ? s->out_stride : p->n};
}

/* A of a product with pairs: its rows rounded, by whoever made them or into scratch. */
static void take_rounded(const gr_step *s, const state *st, gr_gemm *g, bool ready)
{
    void *own = (char *)s->scratch + st->inner;
    if (!s->rounded_in && !ready) gr_gemm_round(g->m, g->k, g->a, g->lda, own);
    g->a = s->rounded_in ? s->rounded_in : own;
    g->k = g->lda = gr_gemm_pairs(g->k);
}

gr_status gr_product_run(const gr_step *s, gr_err *err)
{
    state *st = s->state;
    const gr_product *p = &st->p;
    gr_tensor *out = s->out[0];
    if (!out->elements) return GR_OK;
    float *c = st->result == SIZE_MAX ? out->data : (float *)((char *)s->scratch + st->result);
    void *inner = (char *)s->scratch + st->inner;
    const float *a = operand(s, st, A), *b = st->pack || st->plain ? NULL : operand(s, st, B);
    const float *bias = operand(s, st, BIAS), *residual = operand(s, st, RESIDUAL), *addend = operand(s, st, ADDEND);
    if (st->dnnl) return gr_dnnl_run(st->dnnl, a, b, c, inner, err);
    const int64_t rows = out->elements / p->n;
    if (st->pack || st->plain) {
        gr_gemm g = packed_gemm(s, st, a, bias, residual, c);
        if (st->store == GR_STORE_PAIRS) take_rounded(s, st, &g, false);
        g.rounded = s->rounded_out;
        if (s->only_rounded) g.c = NULL;
        if (st->bytes) {
            gr_int8_quantize(g.m, g.k, g.a, g.lda, inner);
            gr_int8_run(&g, inner);
        } else {
            gr_gemm_run(&g);
        }
        finish(p, rows, NULL, NULL, addend, GR_ACT_NONE, c);
    } else {
        gr_gemm_batch g = batch_of(p);
        int64_t c_batch[GR_MAX_RANK];
        for (int64_t d = p->nbatch - 1, stride = p->m * p->n; d >= 0; stride *= p->batch[d--]) c_batch[d] = stride;
        g.a = a;
        g.b = b;
        g.c = c;
        g.c_batch = c_batch;
        g.scratch = inner;
        gr_gemm_batch_run(&g);
        finish(p, rows, bias, residual, addend, p->act, c);
    }
    if (st->result != SIZE_MAX) from_float(p->dtype, c, out->elements, out->data);
    return GR_OK;
}

/* ---- several products in one step: each is a step of its own inside ---- */

typedef struct products {
    int count;
    state *states[GR_GEMM_MAX]; /* NULL: the output is not wanted */
    size_t scratch[GR_GEMM_MAX];
} products;

static gr_step part_of(const gr_step *s, const products *all, int i)
{
    gr_step part = *s;
    part.out = s->out + i;
    part.nout = 1;
    part.state = all->states[i];
    part.scratch = (char *)s->scratch + all->scratch[i];
    return part;
}

void gr_products_release(gr_step *s)
{
    const products *all = s->state;
    for (int i = 0; all && i < all->count; i++) {
        gr_step part = part_of(s, all, i);
        gr_product_release(&part);
    }
    s->state = NULL;
}

/* Whether two parts need nothing in scratch but the same rounded rows. */
static bool share_rows(const state *x, const state *y)
{
    return x && y && x->store == GR_STORE_PAIRS && y->store == GR_STORE_PAIRS && !x->inner && !y->inner &&
           x->p.a == y->p.a && x->p.a_row == y->p.a_row && x->p.m == y->p.m && x->p.k == y->p.k;
}

bool gr_products_prepare(gr_step *s, int count, const gr_product *p, gr_product_prepare *prepare, gr_why *why)
{
    products *all = GR_NEW(s->arena, products);
    size_t total = 0;
    double flops = 0;
    if (!all) return gr_decline(why, "out of memory");
    if (count > GR_GEMM_MAX) return gr_decline(why, "%d products", count);
    all->count = count;
    for (int i = 0; i < count; i++) {
        if (!s->out[i]) continue;
        gr_step part = part_of(s, all, i);
        const bool ready = prepare(&part, &p[i], why);
        if (ready) all->states[i] = part.state;
        all->scratch[i] = total;
        flops += part.flops;
        s->takes_row = part.takes_row;
        s->takes_bytes = part.takes_bytes;
        const bool shares = i && share_rows(all->states[i - 1], all->states[i]);
        if (shares) all->scratch[i] = all->scratch[i - 1];
        if (ready && shares) continue;
        if (ready && gr_add(total, (part.scratch_size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT, &total)) continue;
        s->state = all;
        gr_products_release(s);
        return ready ? gr_decline(why, "sizes overflow") : false;
    }
    s->flops = flops;
    s->scratch_size = total;
    s->state = all;
    return true;
}

/* Whether the run is a product with constant weights and nothing after it. */
static bool is_alone(const state *st)
{
    return (st->pack || st->plain) && !st->bytes && st->result == SIZE_MAX && st->input[ADDEND] < 0;
}

gr_status gr_products_run(const gr_step *s, gr_err *err)
{
    const products *all = s->state;
    gr_gemm together[GR_GEMM_MAX];
    size_t rounded = SIZE_MAX; /* scratch of the part whose rows are */
    int n = 0;
    for (int i = 0; i < all->count; i++) {
        const state *st = all->states[i];
        const gr_step part = part_of(s, all, i);
        if (!st || !part.out[0]->elements) continue;
        if (!is_alone(st)) {
            GR_TRY(gr_product_run(&part, err));
            continue;
        }
        together[n] = packed_gemm(&part, st, operand(&part, st, A), operand(&part, st, BIAS),
                                  operand(&part, st, RESIDUAL), part.out[0]->data);
        if (st->store == GR_STORE_PAIRS) {
            take_rounded(&part, st, &together[n], all->scratch[i] == rounded);
            rounded = all->scratch[i];
        }
        n++;
    }
    gr_gemm_run_all(together, n);
    return GR_OK;
}
