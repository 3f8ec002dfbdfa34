/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of quantised matrices: MatMulInteger, QLinearMatMul, and com.microsoft's MatMulIntegerToFloat and QGemm. All
 * have sums of (a - a_zero)(b - b_zero) in 32 bits, exact; they differ in what follows:
 *     MatMulInteger                  y = sum
 *     MatMulIntegerToFloat, QGemm    y = sum * (a_scale * b_scale) + bias
 *     QLinearMatMul, QGemm           y = saturate(round(sum * (a_scale * b_scale / y_scale)) + y_zero)
 * Parameters of A and y are one value or one per row, those of B one or one per column, with or without batch dims.
 */
#include "codes.h"
#include "elem.h"
#include "exec/packs.h"
#include "simd/igemm.h"

/* Numbers of the inputs; -1: the operator has no such input. */
typedef struct form {
    int a, b, a_scale, b_scale, a_zero, b_zero, y_scale, y_zero, bias, addend;
} form;

static const form integer_form = {0, 1, -1, -1, 2, 3, -1, -1, -1, -1};
static const form linear_form = {0, 3, 1, 4, 2, 5, 6, 7, -1, -1};
static const form float_form = {0, 1, 2, 3, 4, 5, -1, -1, 6, -1};
static const form gemm_form = {0, 3, 1, 4, 2, 5, 7, 8, -1, 6};

typedef struct params {
    const form *form;
    bool trans_a, trans_b;
    float alpha;
} params;

static gr_status make(gr_arena *arena, const form *f, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    *out = p;
    if (!p) return gr_nomem(err);
    *p = (params){.form = f, .alpha = 1};
    return GR_OK;
}
#define PARSE(which)                                                                                                   \
    static gr_status parse_##which(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)                     \
    {                                                                                                                  \
        (void)attrs;                                                                                                   \
        return make(arena, &which##_form, out, err);                                                                   \
    }
PARSE(integer)
PARSE(linear)
PARSE(float)

static gr_status parse_gemm(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params p = {.form = &gemm_form};
    GR_TRY(gr_attr_bool(attrs, "transA", false, &p.trans_a, err));
    GR_TRY(gr_attr_bool(attrs, "transB", false, &p.trans_b, err));
    GR_TRY(gr_attr_float(attrs, "alpha", 1, &p.alpha, err));
    params *kept = GR_NEW(arena, params);
    *out = kept;
    if (!kept) return gr_nomem(err);
    *kept = p;
    return GR_OK;
}

/* ---- inference ---- */

static bool has(const gr_infer *c, int i) { return i >= 0 && gr_has(c, (uint32_t)i); }

/* Batch dims, then rows and columns as far as the operands are matrices. */
static gr_status product_dims(const gr_infer *c, gr_dim *dims, int *rank, gr_err *err)
{
    const params *p = c->params;
    const gr_type *a = c->in[p->form->a], *b = c->in[p->form->b];
    int n = 0, ba = a->rank > 2 ? a->rank - 2 : 0, bb = b->rank > 2 ? b->rank - 2 : 0, batch = ba > bb ? ba : bb;
    if (a->rank == 0 || b->rank == 0) return gr_fail(err, GR_EMODEL, "an operand of a matrix product has rank 0");
    if ((p->trans_a || p->trans_b || p->form == &gemm_form) && (a->rank != 2 || b->rank != 2))
        return gr_fail(err, GR_EMODEL, "operands have ranks %d and %d, expected matrices", a->rank, b->rank);
    gr_dim ka = a->dims[a->rank - 1 - p->trans_a], kb = b->dims[b->rank == 1 ? 0 : b->rank - 2 + p->trans_b];
    if (gr_dim_known(ka) && gr_dim_known(kb) && ka.k != kb.k)
        return gr_fail(err, GR_EMODEL, "a product of matrices with %lld columns and %lld rows", (long long)ka.k,
                       (long long)kb.k);
    for (int d = batch; d > 0; d--, n++) {
        gr_dim x = d > ba ? GR_DIM(1) : a->dims[ba - d], y = d > bb ? GR_DIM(1) : b->dims[bb - d];
        if (!gr_sym_broadcast(c->syms, x, y, &dims[n]))
            return gr_fail(err, GR_EMODEL, "batch dimensions %s and %s of a matrix product do not broadcast",
                           gr_sym_text(c->syms, x), gr_sym_text(c->syms, y));
    }
    if (a->rank > 1) dims[n++] = a->dims[a->rank - 2 + p->trans_a];
    if (b->rank > 1) dims[n++] = b->dims[b->rank - 1 - p->trans_b];
    *rank = n;
    return n <= GR_MAX_RANK ? GR_OK : gr_fail(err, GR_EUNSUPPORTED, "a result of more than %d dimensions", GR_MAX_RANK);
}

/* Input i has one element or one for each of `along` (rows of A, columns of B), in the right axis if it has several. */
static gr_status check_parameter(const gr_infer *c, int i, gr_dim along, bool rows, gr_err *err)
{
    if (!has(c, i) || !gr_rank_known(c, (uint32_t)i)) return GR_OK;
    const gr_type *t = c->in[i];
    int at = t->rank == 1 ? 0 : t->rank - (rows ? 2 : 1), other = t->rank - (rows ? 1 : 2);
    if (t->rank == 0) return GR_OK;
    if (t->rank > 1 && gr_dim_known(t->dims[other]) && t->dims[other].k != 1)
        return gr_fail(err, GR_EMODEL, "dimension %d of input %d is %lld, expected 1", other, i,
                       (long long)t->dims[other].k);
    if (gr_dim_known(t->dims[at]) && gr_dim_known(along) && t->dims[at].k != 1 && t->dims[at].k != along.k)
        return gr_fail(err, GR_EMODEL, "input %d has %lld entries, expected 1 or %lld, one for each %s", i,
                       (long long)t->dims[at].k, (long long)along.k, rows ? "row" : "column");
    return GR_OK;
}

static gr_status check_parameters(const gr_infer *c, const gr_dim *dims, int rank, gr_err *err)
{
    const params *p = c->params;
    const form *f = p->form;
    bool a_rows = c->in[f->a]->rank > 1, b_cols = c->in[f->b]->rank > 1;
    gr_dim n = b_cols ? dims[rank - 1] : GR_DIM(1), m = a_rows ? dims[rank - 1 - b_cols] : GR_DIM(1);
    const int of_rows[] = {f->a_scale, f->a_zero, f->y_scale, f->y_zero};
    const int of_columns[] = {f->b_scale, f->b_zero, f->bias};
    for (int i = 0; i < 4; i++) GR_TRY(check_parameter(c, of_rows[i], m, true, err));
    for (int i = 0; i < 3; i++) GR_TRY(check_parameter(c, of_columns[i], n, false, err));
    for (uint32_t i = 0; i < c->nin; i++) { /* batch dims of parameters */
        bool column = (int)i == f->b_scale || (int)i == f->b_zero || (int)i == f->bias;
        if ((int)i == f->a || (int)i == f->b || (int)i == f->addend || !gr_rank_known(c, i)) continue;
        for (int d = 0; d < c->in[i]->rank - 2; d++) {
            int at = rank - a_rows - b_cols - (c->in[i]->rank - 2) + d;
            gr_dim x = c->in[i]->dims[d];
            if (gr_dim_is(x, 1) || !gr_dim_known(x)) continue;
            if (at < 0 || (gr_dim_known(dims[at]) && dims[at].k != x.k))
                return gr_fail(err, GR_EMODEL, "dimension %d of input %u does not fit the batch of the %s", d, i,
                               column ? "columns" : "rows");
        }
    }
    if (f->addend >= 0 && gr_rank_known(c, (uint32_t)f->addend)) {
        const gr_type *t = c->in[f->addend];
        if (t->rank > 2) return gr_fail(err, GR_EMODEL, "input C has rank %d, expected at most 2", t->rank);
        for (int d = 1; d <= t->rank; d++) {
            gr_dim x = t->dims[t->rank - d], y = dims[rank - d];
            if (gr_dim_known(x) && gr_dim_known(y) && x.k != 1 && x.k != y.k)
                return gr_fail(err, GR_EMODEL, "dimension %lld of input C does not fit %lld of the product",
                               (long long)x.k, (long long)y.k);
        }
    }
    return GR_OK;
}

static gr_status require(const gr_infer *c, int i, uint64_t mask, gr_err *err)
{
    return i < 0 ? GR_OK : gr_require(c, (uint32_t)i, mask, err);
}

static gr_status check_types(const gr_infer *c, gr_err *err)
{
    const form *f = ((const params *)c->params)->form;
    const bool minis = f == &linear_form && c->op->since >= 21;
    const uint64_t codes = GR_T_BYTES | (minis ? GR_T_MINI & ~(GR_T(FLOAT4E2M1) | GR_T(FLOAT8E8M0)) : 0);
    const uint64_t scales = GR_T(FLOAT) | GR_T(FLOAT16) | GR_T(BFLOAT16);
    GR_TRY(require(c, f->a, codes, err));
    GR_TRY(require(c, f->b, codes, err));
    GR_TRY(require(c, f->y_zero, codes, err));
    GR_TRY(require(c, f->a_scale, scales, err));
    GR_TRY(require(c, f->b_scale, scales, err));
    GR_TRY(require(c, f->y_scale, scales, err));
    GR_TRY(require(c, f->bias, scales, err));
    GR_TRY(require(c, f->addend, GR_T(INT32), err));
    if (has(c, f->a_zero)) GR_TRY(gr_require_same(c, (uint32_t)f->a_zero, (uint32_t)f->a, err));
    if (has(c, f->b_zero)) GR_TRY(gr_require_same(c, (uint32_t)f->b_zero, (uint32_t)f->b, err));
    if (f->a_scale >= 0 && (!has(c, f->a_scale) || !has(c, f->b_scale)))
        return gr_fail(err, GR_EMODEL, "a scale is missing");
    if (has(c, f->y_scale) != has(c, f->y_zero))
        return gr_fail(err, GR_EMODEL, "scale and zero point of the result must be given together");
    return GR_OK;
}

static gr_dtype result_type(const gr_infer *c)
{
    const form *f = ((const params *)c->params)->form;
    if (f->a_scale < 0) return GR_INT32;
    if (has(c, f->y_zero)) return c->in[f->y_zero]->dtype;
    return c->in[f->b_scale]->dtype;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const form *f = ((const params *)c->params)->form;
    int rank;
    if (!has(c, f->a) || !has(c, f->b)) return gr_fail(err, GR_EMODEL, "an operand of a matrix product is absent");
    GR_TRY(check_types(c, err));
    if (!gr_rank_known(c, (uint32_t)f->a) || !gr_rank_known(c, (uint32_t)f->b))
        return gr_set(c, 0, result_type(c), GR_RANK_UNKNOWN, NULL);
    gr_dim *dims = gr_dims(c, c->in[f->a]->rank + c->in[f->b]->rank);
    GR_TRY(product_dims(c, dims, &rank, err));
    GR_TRY(check_parameters(c, dims, rank, err));
    return gr_set(c, 0, result_type(c), rank, dims);
}

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
    float alpha;
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
    const params *q = s->params;
    const form *f = q->form;
    const gr_tensor *a = s->in[f->a], *b = s->in[f->b];
    product p = {.items = 1, .alpha = q->alpha};
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
    float factor = p->alpha * scale_at(p, &p->a_scale, item, row, 0, 1) * scale_at(p, &p->b_scale, item, 0, col, 1);
    if (p->y_scale.t) {
        factor /= scale_at(p, &p->y_scale, item, row, 0, 1);
        put_code(y, at, (float)sum * factor, (int)zero_at(p, &p->y_zero, item, row, 0));
    } else {
        gr_at_put(y, at, (double)((float)sum * factor + scale_at(p, &p->bias, item, 0, col, 0)));
    }
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
    size_t packed, a_zero, b_zero, a_scale, y_scale, b_scale, bias; /* offsets in scratch */
} state;

static bool is_bytes(const gr_tensor *t) { return t->dtype == GR_UINT8 || t->dtype == GR_INT8; }

static bool make_pack(void *user, gr_pack *pack)
{
    const product *p = user;
    pack->size = gr_igemm_packed_size(p->k, p->n);
    pack->data = pack->size == SIZE_MAX ? NULL : gr_malloc_aligned(pack->size);
    if (pack->data) gr_igemm_pack(p->k, p->n, p->b.t->data, p->b.t->dtype == GR_INT8, p->b.row, p->b.col, pack->data);
    return pack->data != NULL;
}

/* Room for one word per element of a parameter. */
static bool reserve(size_t *total, const view *v, size_t *at)
{
    size_t bytes;
    *at = *total;
    if (!v->t) return true;
    return gr_mul((size_t)v->t->elements, sizeof(float), &bytes) && gr_add(bytes, 63, &bytes) &&
           gr_add(*total, bytes / 64 * 64, total);
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
                reserve(&total, &p->y_scale, &st->y_scale) && reserve(&total, &p->bias, &st->bias);
    size_t packed = gr_igemm_packed_size(p->k, p->n);
    st->packed = total;
    if (p->b.t->is_const && p->b.t->elements == p->k * p->n) {
        const gr_pack_key key = {p->b.t->data, p->b.t->dtype, p->k, p->n, p->b.row, p->b.col, gr_igemm_layout()};
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
    int64_t y_zero;
} job;

enum { PIECE = 256 }; /* columns of a piece of a row, at most */

static void add_addend(const product *p, int64_t row, int64_t col, int64_t n, const int32_t *sums, int32_t *to)
{
    const int32_t *c = (const int32_t *)p->addend.t->data + row * p->addend.row + col * p->addend.col;
    for (int64_t j = 0; j < n; j++) to[j] = (int32_t)((uint32_t)sums[j] + (uint32_t)c[j * p->addend.col]);
}

static void store_floats(const job *j, int64_t at, int64_t col, int64_t n, const int32_t *sums, float factor)
{
    const gr_tensor *y = j->s->out[0];
    float v[PIECE], *to = y->dtype == GR_FLOAT ? (float *)y->data + at : v;
    const float *b = j->b_scale + col * j->p->b_scale.col, *bias = j->bias ? j->bias + col * j->p->bias.col : NULL;
    const int64_t step = j->p->b_scale.col, bias_step = j->p->bias.col;
    for (int64_t i = 0; i < n; i++) to[i] = (float)sums[i] * (factor * b[i * step]);
    for (int64_t i = 0; bias && i < n; i++) to[i] += bias[i * bias_step];
    if (to == v) gr_store_f32(y->dtype, n, v, y->data, at);
}

static void store_codes(const job *j, int64_t at, int64_t row, int64_t col, int64_t n, const int32_t *sums,
                        float factor)
{
    const gr_tensor *y = j->s->out[0];
    const float *b = j->b_scale + col * j->p->b_scale.col, y_scale = j->y_scale[row * j->p->y_scale.row];
    const int64_t step = j->p->b_scale.col;
    int32_t codes[PIECE];
    int least, greatest, zero = (int)code_at(j->p->y_zero.t, j->y_zero + row * j->p->y_zero.row);
    gr_code_range(y->dtype, &least, &greatest);
    for (int64_t i = 0; i < n; i++) {
        const float v = (float)sums[i] * (factor * b[i * step] / y_scale);
        codes[i] = gr_round_within(v, (float)(least - zero), (float)(greatest - zero)) + zero;
    }
    gr_codes_store(y->dtype, y->data, at, n, codes);
}

static void store(void *user, int64_t row, int64_t col, int64_t n, const int32_t *sums)
{
    const job *j = user;
    int32_t own[PIECE];
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
        const float factor = j->p->alpha * j->a_scale[row * j->p->a_scale.row];
        if (j->y_scale)
            store_codes(j, at, row, col, m, from, factor);
        else
            store_floats(j, at, col, m, from, factor);
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

static const gr_kernel kernels[] = {
    {"bytes", prepare_bytes, run_bytes, release_bytes}, {"ref", NULL, ref_run, NULL}, {0}};

/* clang-format off */
#define ROW(name_, since_, least, most, which, ...)                                                                    \
    {.name = name_, .since = since_, .in = {least, most}, .out = 1, .parse = parse_##which,                        \
     .infer = infer, .kernels = kernels, __VA_ARGS__}
const gr_op op_matmul_integer[] = {
    ROW("MatMulInteger", 10, 2, 4, integer, ),
    ROW("QLinearMatMul", 10, 8, 8, linear, ), ROW("QLinearMatMul", 21, 8, 8, linear, ),
    ROW("MatMulIntegerToFloat", 1, 4, 7, float, .domain = "com.microsoft"),
    ROW("QGemm", 1, 6, 9, gemm, .domain = "com.microsoft"),
    {0}};
/* clang-format on */
