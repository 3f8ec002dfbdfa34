/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of quantised matrices. Parameters of A and y are one value or one per row, those of B one or one per column,
 * with or without batch dims. A constant B is packed once, as bytes; everything after the sum is done while it is in the
 * cache.
 */
#include "iproduct.h"
#include "ops/act.h"
#include "ops/codes.h"
#include "ops/elem.h"
#include "packs.h"
#include "simd/igemm.h"

/* ---- a step's product ---- */

/* An operand or parameter: strides of batch dims, rows and columns, in elements; 0 where it repeats. */
typedef struct view {
    const gr_tensor *t; /* NULL: absent */
    int64_t batch[GR_MAX_RANK], row, col;
} view;

typedef struct product {
    int64_t m, n, k;
    int nbatch;
    int64_t batch[GR_MAX_RANK], items;
    view a, b, a_scale, b_scale, a_zero, b_zero, y_scale, y_zero, bias, addend;
    const gr_tensor *residual; /* of the result's shape, or NULL */
    float alpha;
    enum gr_gemm_act act;
    enum gr_iproduct_order order;
} product;

/* Strides of t as [batch..., rows, cols]; a vector lies along `axis` (0 rows, 1 columns). */
static view view_of(const gr_step *s, const product *p, int i, int64_t rows, int64_t cols, int axis, bool swap)
{
    view v = {.t = i < 0 ? NULL : gr_step_in(s, (uint32_t)i)};
    if (!v.t || v.t->elements == 1) return v; /* one value has no strides, even where a dimension is 1 */
    gr_tensor t = *v.t;
    int64_t dims[GR_MAX_RANK + 2], strides[GR_MAX_RANK + 2];
    if (t.rank < 2) {
        int64_t n = t.elements;
        t.rank = 2;
        t.dims[axis] = n;
        t.dims[!axis] = 1;
    }
    for (int d = 0; d < p->nbatch; d++) dims[d] = p->batch[d];
    dims[p->nbatch] = swap ? cols : rows;
    dims[p->nbatch + 1] = swap ? rows : cols;
    gr_broadcast_strides(&t, p->nbatch + 2, dims, strides);
    memcpy(v.batch, strides, (size_t)p->nbatch * sizeof *strides);
    v.row = strides[p->nbatch + swap];
    v.col = strides[p->nbatch + !swap];
    return v;
}

static product product_of(const gr_step *s)
{
    const gr_iproduct *q = s->params;
    const gr_iproduct_form *f = q->form;
    const gr_tensor *a = s->in[f->a], *b = s->in[f->b];
    product p = {.items = 1, .alpha = q->alpha, .act = q->act, .order = q->order};
    int ba = a->rank > 2 ? a->rank - 2 : 0, bb = b->rank > 2 ? b->rank - 2 : 0;
    p.k = a->dims[a->rank - 1 - q->trans_a];
    p.m = a->rank > 1 ? a->dims[a->rank - 2 + q->trans_a] : 1;
    p.n = b->rank > 1 ? b->dims[b->rank - 1 - q->trans_b] : 1;
    p.nbatch = ba > bb ? ba : bb;
    for (int d = 1; d <= p.nbatch; d++) {
        const int64_t x = d > ba ? 1 : a->dims[ba - d], y = d > bb ? 1 : b->dims[bb - d];
        p.batch[p.nbatch - d] = x == 1 ? y : x;
        p.items *= x == 1 ? y : x;
    }
    p.a = view_of(s, &p, f->a, p.m, p.k, 1, q->trans_a);
    p.b = view_of(s, &p, f->b, p.k, p.n, 0, q->trans_b);
    p.a_scale = view_of(s, &p, f->a_scale, p.m, 1, 0, false);
    p.a_zero = view_of(s, &p, f->a_zero, p.m, 1, 0, false);
    p.y_scale = view_of(s, &p, f->y_scale, p.m, 1, 0, false);
    p.y_zero = view_of(s, &p, f->y_zero, p.m, 1, 0, false);
    p.b_scale = view_of(s, &p, f->b_scale, 1, p.n, 1, false);
    p.b_zero = view_of(s, &p, f->b_zero, 1, p.n, 1, false);
    p.bias = view_of(s, &p, f->bias, 1, p.n, 1, false);
    p.addend = view_of(s, &p, f->addend, p.m, p.n, 1, false);
    p.residual = f->residual < 0 ? NULL : gr_step_in(s, (uint32_t)f->residual);
    return p;
}

/* Offset of a view's matrix in item i of the batch. */
static int64_t item_of(const product *p, const view *v, int64_t i)
{
    int64_t at = 0;
    for (int d = p->nbatch - 1; d >= 0; d--) {
        at += i % p->batch[d] * v->batch[d];
        i /= p->batch[d];
    }
    return at;
}

static bool repeats_by_row(const view *v) { return !v->t || v->t->elements == 1; }

/* Items of the batch that share B and all parameters of rows are further rows of A. */
static void merge_batch(product *p)
{
    bool same = repeats_by_row(&p->a_scale) && repeats_by_row(&p->a_zero) && repeats_by_row(&p->y_scale) &&
                repeats_by_row(&p->y_zero) && p->a.col == 1 && p->a.row == p->k;
    const view *columns[] = {&p->b, &p->b_scale, &p->b_zero, &p->bias};
    int64_t want = p->m * p->k;
    for (int d = p->nbatch - 1; d >= 0; d--) {
        for (int i = 0; i < 4; i++) same = same && columns[i]->batch[d] == 0;
        same = same && (p->a.batch[d] == want || p->batch[d] == 1);
        want *= p->batch[d];
    }
    if (!same || p->addend.t) return;
    p->m *= p->items;
    p->items = 1;
    p->nbatch = 0;
}

/* ---- ref ---- */

static double code_at(const gr_tensor *t, int64_t i)
{
    float f = 0;
    int32_t v = 0;
    if (GR_T_MINI >> t->dtype & 1) return gr_codes_load_float(t->dtype, t->data, i, 1, &f), (double)f;
    return gr_codes_load(t->dtype, t->data, i, 1, &v), v;
}

static double zero_at(const product *p, const view *v, int64_t item, int64_t row, int64_t col)
{
    return v->t ? code_at(v->t, item_of(p, v, item) + row * v->row + col * v->col) : 0;
}

static float scale_at(const product *p, const view *v, int64_t item, int64_t row, int64_t col, float missing)
{
    return v->t ? (float)gr_at(v->t, item_of(p, v, item) + row * v->row + col * v->col) : missing;
}

static void put_code(const gr_tensor *y, int64_t i, float v, int zero)
{
    int least, greatest;
    if (GR_T_MINI >> y->dtype & 1) {
        ((uint8_t *)y->data)[i] = gr_minifloat_encode(gr_minifloat_find(y->dtype), v, true);
        return;
    }
    gr_code_range(y->dtype, &least, &greatest);
    int32_t code = gr_round_within(v, (float)(least - zero), (float)(greatest - zero)) + zero;
    gr_codes_store(y->dtype, y->data, i, 1, &code);
}

static int32_t wrapped(int64_t v) { return (int32_t)(uint32_t)(uint64_t)v; }

/* One element; `sum` counts integers exactly, and small floats well. */
static void put_result(const gr_step *s, const product *p, int64_t item, int64_t row, int64_t col, double sum)
{
    const gr_tensor *y = s->out[0];
    const int64_t at = (item * p->m + row) * p->n + col;
    const bool mini = GR_T_MINI >> p->a.t->dtype & 1 || GR_T_MINI >> p->b.t->dtype & 1;
    if (!mini) sum = wrapped((int64_t)sum);
    if (p->addend.t)
        sum = wrapped((int64_t)sum + (int64_t)code_at(p->addend.t, row * p->addend.row + col * p->addend.col));
    if (y->dtype == GR_INT32) {
        ((int32_t *)y->data)[at] = (int32_t)sum;
        return;
    }
    const float a = p->alpha * scale_at(p, &p->a_scale, item, row, 0, 1);
    const float w = scale_at(p, &p->b_scale, item, 0, col, 1), first = p->order == GR_SCALES_A_FIRST ? a : w;
    if (p->y_scale.t) {
        const float factor = a * w / scale_at(p, &p->y_scale, item, row, 0, 1);
        put_code(y, at, (float)sum * factor, (int)zero_at(p, &p->y_zero, item, row, 0));
        return;
    }
    float v = p->order == GR_SCALES_PRODUCT ? (float)sum * (a * w) : (float)sum * first * (first == a ? w : a);
    if (p->bias.t) v += scale_at(p, &p->bias, item, 0, col, 0);
    if (p->act != GR_ACT_NONE) v = (float)gr_act_value((double)v, p->act);
    gr_at_put(y, at, (double)v + (p->residual ? gr_at(p->residual, at) : 0));
}

static gr_status ref_run(const gr_step *s, gr_err *err)
{
    (void)err;
    const product p = product_of(s);
#pragma omp parallel for if ((double)s->out[0]->elements * (double)p.k > 32768)
    for (int64_t i = 0; i < s->out[0]->elements; i++) {
        const int64_t item = i / p.n / p.m, row = i / p.n % p.m, col = i % p.n;
        const int64_t a = item_of(&p, &p.a, item) + row * p.a.row, b = item_of(&p, &p.b, item) + col * p.b.col;
        const double za = zero_at(&p, &p.a_zero, item, row, 0), zb = zero_at(&p, &p.b_zero, item, 0, col);
        double sum = 0;
        for (int64_t k = 0; k < p.k; k++)
            sum += (code_at(p.a.t, a + k * p.a.col) - za) * (code_at(p.b.t, b + k * p.b.row) - zb);
        put_result(s, &p, item, row, col, sum);
    }
    return GR_OK;
}

/* ---- bytes ---- */

typedef struct state {
    product p;
    gr_packs *own;
    const gr_pack *pack; /* of a constant B; NULL: packed into scratch in each run */
    size_t packed, a_zero, b_zero, a_scale, y_scale, b_scale, bias, factors, second; /* offsets in scratch */
} state;

static bool is_bytes(const gr_tensor *t) { return t->dtype == GR_UINT8 || t->dtype == GR_INT8; }

static bool make_pack(void *user, gr_pack *pack)
{
    const product *p = user;
    pack->size = gr_igemm_packed_size(p->k, p->n);
    if (pack->size == SIZE_MAX) return false;
    if (gr_pack_fits_saved(pack) && !gr_igemm_check(p->k, p->n, pack->saved)) pack->saved = NULL;
    if (!gr_pack_alloc(pack)) return false;
    if (!pack->empty)
        gr_igemm_pack(p->k, p->n, p->b.t->data, p->b.t->dtype == GR_INT8, p->b.row, p->b.col, pack->data);
    return true;
}

static bool reserve_words(size_t *total, int64_t n, size_t *at)
{
    size_t bytes;
    *at = *total;
    return gr_mul((size_t)n, sizeof(float), &bytes) && gr_add(bytes, 63, &bytes) &&
           gr_add(*total, bytes / 64 * 64, total);
}

/* Room for one word per element of a parameter. */
static bool reserve(size_t *total, const view *v, size_t *at)
{
    *at = *total;
    return !v->t || reserve_words(total, v->t->elements, at);
}

static bool prepare_bytes(gr_step *s, gr_why *why)
{
    state *st = GR_NEW(s->arena, state);
    if (!st) return gr_decline(why, "out of memory");
    st->p = product_of(s);
    product *p = &st->p;
    if (!is_bytes(p->a.t) || !is_bytes(p->b.t) || (p->y_zero.t && !is_bytes(p->y_zero.t)))
        return gr_decline(why, "an operand is not of bytes");
    if (p->a.col != 1 && p->k > 1) return gr_decline(why, "columns of A are not contiguous");
    merge_batch(p);
    size_t total = 0;
    bool fits = reserve(&total, &p->a_zero, &st->a_zero) && reserve(&total, &p->b_zero, &st->b_zero) &&
                reserve(&total, &p->a_scale, &st->a_scale) && reserve(&total, &p->b_scale, &st->b_scale) &&
                reserve(&total, &p->y_scale, &st->y_scale) && reserve(&total, &p->bias, &st->bias) &&
                reserve_words(&total, p->a_scale.t ? p->n : 0, &st->factors) &&
                reserve_words(&total, p->order != GR_SCALES_PRODUCT ? p->n : 0, &st->second);
    size_t packed = gr_igemm_packed_size(p->k, p->n);
    st->packed = total;
    if (p->b.t->is_const && p->b.t->elements == p->k * p->n) {
        const gr_pack_key key = {.data = p->b.t->data, .dtype = p->b.t->dtype, .rows = p->k, .cols = p->n,
                                 .row = p->b.row, .col = p->b.col, .layout = gr_igemm_layout(false)};
        gr_packs *packs = s->packs ? s->packs : (st->own = gr_packs_new(NULL));
        st->pack = packs ? gr_packs_get(packs, &key, p->b.t->size, make_pack, p) : NULL;
        if (!st->pack) gr_packs_free(st->own);
        if (!st->pack) return gr_decline(why, "out of memory for packed weights");
    } else {
        fits = fits && packed != SIZE_MAX && gr_add(total, packed, &total);
    }
    if (!fits) {
        gr_packs_free(st->own);
        return gr_decline(why, "sizes overflow");
    }
    s->scratch_size = total;
    s->flops = 2.0 * (double)s->out[0]->elements * (double)p->k;
    s->state = st;
    return true;
}

static void release_bytes(gr_step *s)
{
    state *st = s->state;
    if (st) gr_packs_free(st->own);
    s->state = NULL;
}

/* One item of the batch: parameters of its rows and columns. */
typedef struct job {
    const gr_step *s;
    const product *p;
    int64_t first; /* of its results */
    const float *a_scale, *b_scale, *y_scale, *bias;
    const float *factors, *second; /* [n], what a sum is multiplied with; NULL: factors differ from row to row; one is enough */
    int64_t y_zero;
} job;

enum { PIECE = 256 }; /* columns of a piece of a row, at most */

static void add_addend(const product *p, int64_t row, int64_t col, int64_t n, const int32_t *sums, int32_t *to)
{
    const int32_t *c = (const int32_t *)p->addend.t->data + row * p->addend.row + col * p->addend.col;
    for (int64_t j = 0; j < n; j++) to[j] = (int32_t)((uint32_t)sums[j] + (uint32_t)c[j * p->addend.col]);
}

/* n factors for columns from `col` on: of a row, or of all. */
static void factors_of(const job *j, int64_t row, int64_t col, int64_t n, float *to)
{
    const product *p = j->p;
    const float a = p->alpha * j->a_scale[row * p->a_scale.row], *b = j->b_scale + col * p->b_scale.col;
    for (int64_t i = 0; i < n; i++) to[i] = a * b[i * p->b_scale.col];
    const float y = j->y_scale ? j->y_scale[row * p->y_scale.row] : 1;
    for (int64_t i = 0; j->y_scale && i < n; i++) to[i] /= y;
}

static void store_floats(const job *j, int64_t at, int64_t col, int64_t n, const int32_t *sums, const float *factors)
{
    const gr_simd *simd = gr_simd_best();
    const gr_tensor *y = j->s->out[0];
    const size_t count = (size_t)n;
    float v[PIECE], *to = y->dtype == GR_FLOAT ? (float *)y->data + at : v;
    gr_igemm_scale(n, sums, factors, to);
    if (j->second) simd->binary[GR_V_MUL](count, to, j->second + col, to);
    if (j->bias && j->p->bias.col)
        simd->binary[GR_V_ADD](count, to, j->bias + col, to);
    else if (j->bias)
        simd->binary_scalar[GR_V_ADD](count, to, *j->bias, to);
    if (j->p->act != GR_ACT_NONE) simd->unary[gr_act_unary(j->p->act)](count, to, to);
    if (j->p->residual) simd->binary[GR_V_ADD](count, to, (const float *)j->p->residual->data + at, to);
    if (to == v) gr_store_f32(y->dtype, n, v, y->data, at);
}

static void store_codes(const job *j, int64_t at, int64_t row, int64_t n, const int32_t *sums, const float *factors)
{
    const gr_tensor *y = j->s->out[0];
    float v[PIECE];
    int least, greatest, zero = (int)code_at(j->p->y_zero.t, j->y_zero + row * j->p->y_zero.row);
    gr_code_range(y->dtype, &least, &greatest);
    gr_igemm_scale(n, sums, factors, v);
    gr_igemm_quantize(n, v, 1, least, greatest, zero, (uint8_t *)y->data + at);
}

static void store(void *user, int64_t row, int64_t col, int64_t n, const int32_t *sums)
{
    const job *j = user;
    int32_t own[PIECE];
    float rows[PIECE];
    for (int64_t i = 0, m; i < n; i += m, col += m, sums += m) {
        const int32_t *from = sums;
        const int64_t at = j->first + row * j->p->n + col;
        m = n - i < PIECE ? n - i : PIECE;
        if (j->p->addend.t) {
            add_addend(j->p, row, col, m, sums, own);
            from = own;
        }
        if (j->s->out[0]->dtype == GR_INT32) {
            memcpy((int32_t *)j->s->out[0]->data + at, from, (size_t)m * sizeof *from);
            continue;
        }
        if (!j->factors) factors_of(j, row, col, m, rows);
        const float *factors = j->factors ? j->factors + col : rows;
        if (j->y_scale)
            store_codes(j, at, row, m, from, factors);
        else
            store_floats(j, at, col, m, from, factors);
    }
}

/* What all rows have in common, once. */
static void set_factors(job *j, const state *st, char *scratch)
{
    const product *p = j->p;
    float *factors = (float *)(scratch + st->factors), *second = (float *)(scratch + st->second);
    if (!p->a_scale.t || p->a_scale.row || p->y_scale.row) return;
    j->factors = factors;
    if (p->order == GR_SCALES_PRODUCT) {
        factors_of(j, 0, 0, p->n, factors);
        return;
    }
    j->second = second;
    float *a = p->order == GR_SCALES_A_FIRST ? factors : second, *b = p->order == GR_SCALES_A_FIRST ? second : factors;
    for (int64_t i = 0; i < p->n; i++) {
        a[i] = p->alpha * *j->a_scale;
        b[i] = j->b_scale[i * p->b_scale.col];
    }
}

static const float *floats_of(const gr_step *s, const view *v, size_t at)
{
    float *to = (float *)((char *)s->scratch + at);
    if (!v->t) return NULL;
    gr_load_f32(v->t->dtype, v->t->elements, v->t->data, 0, 1, to);
    return to;
}

static const int32_t *zeros_of(const gr_step *s, const view *v, size_t at)
{
    int32_t *to = (int32_t *)((char *)s->scratch + at);
    if (!v->t) return NULL;
    gr_codes_load(v->t->dtype, v->t->data, 0, v->t->elements, to);
    return to;
}

static gr_status run_bytes(const gr_step *s, gr_err *err)
{
    (void)err;
    const state *st = s->state;
    const product *p = &st->p;
    if (!s->out[0]->elements) return GR_OK;
    const int32_t *a_zero = zeros_of(s, &p->a_zero, st->a_zero), *b_zero = zeros_of(s, &p->b_zero, st->b_zero);
    const float *a_scale = floats_of(s, &p->a_scale, st->a_scale), *b_scale = floats_of(s, &p->b_scale, st->b_scale);
    const float *y_scale = floats_of(s, &p->y_scale, st->y_scale), *bias = floats_of(s, &p->bias, st->bias);
    void *scratch = (char *)s->scratch + st->packed;
    int64_t packed_at = -1;
    for (int64_t i = 0; i < p->items; i++) {
        const int64_t b = item_of(p, &p->b, i);
        const bool b_signed = p->b.t->dtype == GR_INT8;
        if (!st->pack && b != packed_at)
            gr_igemm_pack(p->k, p->n, (const char *)p->b.t->data + b, b_signed, p->b.row, p->b.col, scratch);
        packed_at = b;
        job j = {.s = s, .p = p, .first = i * p->m * p->n};
        if (a_scale) j.a_scale = a_scale + item_of(p, &p->a_scale, i);
        if (b_scale) j.b_scale = b_scale + item_of(p, &p->b_scale, i);
        if (y_scale) j.y_scale = y_scale + item_of(p, &p->y_scale, i);
        if (bias) j.bias = bias + item_of(p, &p->bias, i);
        j.y_zero = item_of(p, &p->y_zero, i);
        set_factors(&j, st, s->scratch);
        gr_igemm_run(&(gr_igemm){.m = p->m,
                                 .n = p->n,
                                 .k = p->k,
                                 .a = (const char *)p->a.t->data + item_of(p, &p->a, i),
                                 .lda = p->a.row,
                                 .a_signed = p->a.t->dtype == GR_INT8,
                                 .b_signed = b_signed,
                                 .packed = st->pack ? st->pack->data : scratch,
                                 .a_zero = a_zero ? a_zero + item_of(p, &p->a_zero, i) : NULL,
                                 .b_zero = b_zero ? b_zero + item_of(p, &p->b_zero, i) : NULL,
                                 .a_zero_step = p->a_zero.row,
                                 .b_zero_step = p->b_zero.col,
                                 .store = store,
                                 .user = &j});
    }
    return GR_OK;
}

const gr_kernel gr_iproduct_kernels[] = {
    {"bytes", prepare_bytes, run_bytes, release_bytes}, {"ref", NULL, ref_run, NULL}, {0}};
