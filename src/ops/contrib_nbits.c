/* SPDX-License-Identifier: Apache-2.0
 *
 * com.microsoft's operators on weights of 2, 4 or 8 bits that have a scale, and maybe a zero point, for every block of
 * them: MatMulNBits and GatherBlockQuantized. The weights stay as they are in memory; MatMulNBits turns some columns at
 * a time into floats, or, where many rows will use them, all columns into scratch.
 */
#include "codes.h"
#include "elem.h"
#include "exec/columns.h"
#include <math.h>

static int64_t quotient_up(int64_t a, int64_t b) { return a / b + (a % b != 0); }

/* Code i of bytes that hold 8 / bits of them each, the first in the lowest bits. */
static int code_at(const uint8_t *codes, int bits, int64_t i)
{
    const int each = 8 / bits;
    return codes[i / each] >> (i % each * bits) & ((1 << bits) - 1);
}

static gr_status parse_bits(gr_attrs attrs, int *out, gr_err *err)
{
    int64_t bits;
    GR_TRY(gr_attr_int(attrs, "bits", 4, &bits, err));
    if (bits != 2 && bits != 4 && bits != 8)
        return gr_fail(err, GR_EUNSUPPORTED, "attribute 'bits' is %lld, expected 2, 4 or 8", (long long)bits);
    *out = (int)bits;
    return GR_OK;
}

static gr_status parse_block(gr_attrs attrs, int64_t missing, int64_t *out, gr_err *err)
{
    GR_TRY(gr_attr_int_in(attrs, "block_size", missing, 16, INT32_MAX, out, err));
    if (*out & (*out - 1))
        return gr_fail(err, GR_EMODEL, "attribute 'block_size' is %lld, which is not a power of 2", (long long)*out);
    return GR_OK;
}

/* ---- MatMulNBits: y[m][n] = sum over k of a[m][k] (code[n][k] - zero[n][block]) scale[n][block] + bias[n] ---- */

enum { A, CODES, SCALES, ZEROS, GROUPS, BIAS };

typedef struct nbits_params {
    int64_t k, n, block;
    int bits;
    bool coarse; /* accuracy_level 4: activations count as 8-bit numbers with a scale for each block */
} nbits_params;

static gr_status parse_nbits(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    int64_t packed, level;
    nbits_params *p = GR_NEW(arena, nbits_params);
    *out = p;
    if (!p) return gr_nomem(err);
    if (!gr_attr_find(attrs, "K") || !gr_attr_find(attrs, "N") || !gr_attr_find(attrs, "block_size"))
        return gr_fail(err, GR_EMODEL, "attribute 'K', 'N' or 'block_size' is missing");
    GR_TRY(gr_attr_int_in(attrs, "K", 1, 1, INT32_MAX, &p->k, err));
    GR_TRY(gr_attr_int_in(attrs, "N", 1, 1, INT32_MAX, &p->n, err));
    GR_TRY(parse_block(attrs, 16, &p->block, err));
    GR_TRY(gr_attr_int(attrs, "weight_prepacked", 0, &packed, err));
    GR_TRY(gr_attr_int(attrs, "accuracy_level", 0, &level, err));
    p->coarse = level == 4;
    if (packed)
        return gr_fail(err, GR_EUNSUPPORTED, "weights in layout %lld of another engine are not supported",
                       (long long)packed);
    return parse_bits(attrs, &p->bits, err);
}

static int64_t blocks_of(const nbits_params *p) { return quotient_up(p->k, p->block); }
static int64_t row_bytes(const nbits_params *p) { return blocks_of(p) * (p->block * p->bits / 8); }

/* Input i, if it is given, has that many elements. */
static gr_status check_count(const gr_infer *c, uint32_t i, int64_t want, gr_err *err)
{
    int64_t n = 1;
    if (!gr_rank_known(c, i)) return GR_OK;
    for (int d = 0; d < c->in[i]->rank; d++) {
        if (!gr_dim_known(c->in[i]->dims[d])) return GR_OK;
        if (__builtin_mul_overflow(n, c->in[i]->dims[d].k, &n)) n = INT64_MAX;
    }
    return n == want
               ? GR_OK
               : gr_fail(err, GR_EMODEL, "input %u has %lld elements, expected %lld", i, (long long)n, (long long)want);
}

static gr_status infer_nbits(const gr_infer *c, gr_err *err)
{
    const nbits_params *p = c->params;
    const uint64_t floats = GR_T(FLOAT) | GR_T(FLOAT16) | GR_T(BFLOAT16);
    if (!gr_has(c, A) || !gr_has(c, CODES) || !gr_has(c, SCALES))
        return gr_fail(err, GR_EMODEL, "an operand or the scales are missing");
    GR_TRY(gr_require(c, A, floats, err));
    GR_TRY(gr_require(c, CODES, GR_T(UINT8), err));
    GR_TRY(gr_require(c, SCALES, floats, err));
    GR_TRY(gr_require(c, ZEROS, floats | GR_T(UINT8), err));
    GR_TRY(gr_require(c, GROUPS, GR_T(INT32), err));
    GR_TRY(gr_require_same(c, BIAS, A, err));
    const bool packed = gr_has(c, ZEROS) && c->in[ZEROS]->dtype == GR_UINT8;
    GR_TRY(check_count(c, CODES, p->n * row_bytes(p), err));
    GR_TRY(check_count(c, SCALES, p->n * blocks_of(p), err));
    GR_TRY(check_count(c, ZEROS, p->n * (packed ? quotient_up(blocks_of(p) * p->bits, 8) : blocks_of(p)), err));
    GR_TRY(check_count(c, BIAS, p->n, err));
    if (gr_rank_known(c, GROUPS)) {
        const gr_type *g = c->in[GROUPS];
        if (g->rank != 1 || (gr_dim_known(g->dims[0]) && g->dims[0].k < p->k))
            return gr_fail(err, GR_EMODEL, "g_idx must be a list of %lld entries", (long long)p->k);
    }
    if (!gr_rank_known(c, A)) return gr_set(c, 0, c->in[A]->dtype, GR_RANK_UNKNOWN, NULL);
    const gr_type *a = c->in[A];
    if (a->rank < 1) return gr_fail(err, GR_EMODEL, "operand A has rank 0");
    if (gr_dim_known(a->dims[a->rank - 1]) && a->dims[a->rank - 1].k != p->k)
        return gr_fail(err, GR_EMODEL, "operand A has %lld columns, attribute 'K' says %lld",
                       (long long)a->dims[a->rank - 1].k, (long long)p->k);
    gr_dim *d = gr_dims(c, a->rank);
    for (int i = 0; i < a->rank - 1; i++) d[i] = a->dims[i];
    d[a->rank - 1] = GR_DIM(p->n);
    return gr_set(c, 0, a->dtype, a->rank, d);
}

static float zero_of(const gr_step *s, int64_t n, int64_t block)
{
    const nbits_params *p = s->params;
    const gr_tensor *z = gr_step_in(s, ZEROS);
    const int64_t blocks = blocks_of(p);
    if (!z) return (float)(1 << (p->bits - 1));
    if (z->dtype != GR_UINT8) return (float)gr_at(z, n * blocks + block);
    return (float)code_at((const uint8_t *)z->data + n * quotient_up(blocks * p->bits, 8), p->bits, block);
}

static float scale_of(const gr_step *s, int64_t n, int64_t block)
{
    return (float)gr_at(s->in[SCALES], n * blocks_of(s->params) + block);
}

static gr_status check_groups(const gr_step *s, gr_err *err)
{
    const nbits_params *p = s->params;
    const gr_tensor *g = gr_step_in(s, GROUPS);
    for (int64_t k = 0; g && k < p->k; k++) {
        const int32_t v = ((const int32_t *)g->data)[k];
        if (v < 0 || v >= blocks_of(p))
            return gr_fail(err, GR_EINPUT, "g_idx has %d, expected 0 to %lld", v, (long long)blocks_of(p) - 1);
    }
    return GR_OK;
}

static void codes_to_floats(const uint8_t *codes, int bits, int64_t n, float *w)
{
    if (bits == 8)
        for (int64_t i = 0; i < n; i++) w[i] = codes[i];
    else if (bits == 4)
        for (int64_t i = 0; i < n / 2; i++) {
            w[2 * i] = (float)(codes[i] & 15);
            w[2 * i + 1] = (float)(codes[i] >> 4);
        }
    else
        for (int64_t i = 0; i < n; i++) w[i] = (float)code_at(codes, bits, i);
}

/* Column n of the weights. `w` has room for whole blocks. */
static void column(const gr_step *s, int64_t n, float *w)
{
    const nbits_params *p = s->params;
    const uint8_t *codes = (const uint8_t *)s->in[CODES]->data + n * row_bytes(p);
    const int32_t *groups = gr_step_in(s, GROUPS) ? s->in[GROUPS]->data : NULL;
    for (int64_t b = 0; b < blocks_of(p); b++) {
        float *to = w + b * p->block, scale, zero;
        codes_to_floats(codes + b * (p->block * p->bits / 8), p->bits, p->block, to);
        if (groups) continue;
        scale = scale_of(s, n, b);
        zero = zero_of(s, n, b);
        for (int64_t i = 0; i < p->block; i++) to[i] = (to[i] - zero) * scale;
    }
    for (int64_t k = 0; groups && k < p->k; k++) w[k] = (w[k] - zero_of(s, n, groups[k])) * scale_of(s, n, groups[k]);
}

static bool is_coarse(const gr_step *s) { return ((const nbits_params *)s->params)->coarse && !gr_step_in(s, GROUPS); }

/* What n numbers of a block are after rounding to [-127, 127] * scale, the greatest in magnitude being 127 * scale. */
static void round_block(const float *x, int64_t n, float *to)
{
    float greatest = 0;
    for (int64_t i = 0; i < n; i++) greatest = fmaxf(greatest, fabsf(x[i]));
    const float scale = greatest / 127, inverse = greatest > 0 ? 127 / greatest : 0;
    for (int64_t i = 0; i < n; i++) to[i] = (float)gr_round_within(x[i] * inverse, -127, 127) * scale;
}

static void round_rows(const nbits_params *p, int64_t rows, const float *a, float *to)
{
#pragma omp parallel for if (rows * p->k > GR_PARALLEL_MIN)
    for (int64_t m = 0; m < rows; m++)
        for (int64_t k = 0; k < p->k; k += p->block) {
            const int64_t n = p->k - k < p->block ? p->k - k : p->block;
            round_block(a + m * p->k + k, n, to + m * p->k + k);
        }
}

/* Element k of row m of A, as the product takes it. */
static double rounded_at(const gr_step *s, int64_t m, int64_t k)
{
    const nbits_params *p = s->params;
    const gr_tensor *a = s->in[A];
    if (!is_coarse(s)) return gr_at(a, m * p->k + k);
    const int64_t first = k / p->block * p->block, n = p->k - first < p->block ? p->k - first : p->block;
    float x = 0, greatest = 0;
    for (int64_t i = 0; i < n; i++) greatest = fmaxf(greatest, fabsf((float)gr_at(a, m * p->k + first + i)));
    x = (float)gr_at(a, m * p->k + k);
    const float inverse = greatest > 0 ? 127 / greatest : 0;
    return (double)((float)gr_round_within(x * inverse, -127, 127) * (greatest / 127));
}

static gr_status ref_nbits(const gr_step *s, gr_err *err)
{
    const nbits_params *p = s->params;
    const gr_tensor *y = s->out[0], *groups = gr_step_in(s, GROUPS), *bias = gr_step_in(s, BIAS);
    GR_TRY(check_groups(s, err));
    for (int64_t i = 0; i < y->elements; i++) {
        const int64_t m = i / p->n, n = i % p->n;
        const uint8_t *codes = (const uint8_t *)s->in[CODES]->data + n * row_bytes(p);
        double sum = bias ? gr_at(bias, n) : 0;
        for (int64_t k = 0; k < p->k; k++) {
            const int64_t b = groups ? ((const int32_t *)groups->data)[k] : k / p->block;
            const float code = (float)code_at(codes, p->bits, k);
            sum += rounded_at(s, m, k) * (double)((code - zero_of(s, n, b)) * scale_of(s, n, b));
        }
        gr_at_put(y, i, sum);
    }
    return GR_OK;
}

typedef struct nbits_state {
    gr_columns columns;
    size_t a, y, bias; /* offsets in scratch: float copies of operands */
} nbits_state;

enum { ALIGNMENT = 64 };

static bool reserve(size_t *total, int64_t floats, size_t *at)
{
    size_t bytes;
    *at = *total;
    return gr_bytes(GR_FLOAT, floats, &bytes) && gr_add(bytes, ALIGNMENT - 1, &bytes) &&
           gr_add(*total, bytes / ALIGNMENT * ALIGNMENT, total);
}

static void unpack(const gr_step *s, int64_t first, int64_t count, float *to)
{
    const nbits_params *p = s->params;
    for (int64_t j = 0; j < count; j++) column(s, first + j, to + j * blocks_of(p) * p->block);
}

static bool prepare_nbits(gr_step *s, gr_why *why)
{
    const nbits_params *p = s->params;
    const gr_tensor *a = s->in[A];
    nbits_state *st = GR_NEW(s->arena, nbits_state);
    size_t total = 0;
    if (!st) return gr_decline(why, "out of memory");
    const bool convert = a->dtype != GR_FLOAT, copy = convert || is_coarse(s);
    st->columns = (gr_columns){.m = s->out[0]->elements / p->n, .n = p->n, .k = p->k, .unpack = unpack,
                               .room = blocks_of(p) * p->block, .by_column = true};
    if (!reserve(&total, copy ? a->elements : 0, &st->a) ||
        !reserve(&total, convert ? s->out[0]->elements : 0, &st->y) ||
        !reserve(&total, convert ? p->n : 0, &st->bias) || !gr_columns_prepare(&st->columns, s, &total))
        return gr_decline(why, "sizes overflow");
    s->scratch_size = total;
    s->flops = 2.0 * (double)s->out[0]->elements * (double)p->k;
    s->state = st;
    return true;
}

static gr_status run_nbits(const gr_step *s, gr_err *err)
{
    const nbits_params *p = s->params;
    const nbits_state *st = s->state;
    const gr_tensor *a = s->in[A], *y = s->out[0], *bias = gr_step_in(s, BIAS);
    GR_TRY(check_groups(s, err));
    if (!y->elements) return GR_OK;
    float *fa = (float *)((char *)s->scratch + st->a), *fy = (float *)((char *)s->scratch + st->y);
    float *fb = (float *)((char *)s->scratch + st->bias);
    const bool convert = a->dtype != GR_FLOAT;
    const float *from = convert ? fa : a->data, *added = !bias ? NULL : convert ? fb : bias->data;
    if (convert) gr_load_f32(a->dtype, a->elements, a->data, 0, 1, fa);
    if (convert && bias) gr_load_f32(bias->dtype, p->n, bias->data, 0, 1, fb);
    if (is_coarse(s)) {
        round_rows(p, st->columns.m, from, fa);
        from = fa;
    }
    gr_columns_run(&st->columns, s, st->columns.m, from, added, NULL, GR_ACT_NONE, convert ? fy : y->data);
    if (convert) gr_store_f32(y->dtype, y->elements, fy, y->data, 0);
    return GR_OK;
}

static const gr_kernel nbits_kernels[] = {
    {"columns", prepare_nbits, run_nbits, NULL}, {"ref", NULL, ref_nbits, NULL}, {0}};

/* ---- GatherBlockQuantized: data, indices, scales, zeros? ---- */

enum { DATA, INDICES, TABLE_SCALES, TABLE_ZEROS };

typedef struct gather_params {
    int64_t gather, quantize, block;
    int bits; /* of codes in bytes */
} gather_params;

static gr_status parse_gather(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    gather_params *p = GR_NEW(arena, gather_params);
    *out = p;
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_int(attrs, "gather_axis", 0, &p->gather, err));
    GR_TRY(gr_attr_int(attrs, "quantize_axis", 1, &p->quantize, err));
    GR_TRY(parse_block(attrs, 128, &p->block, err));
    return parse_bits(attrs, &p->bits, err);
}

/* Codes in one element of the data. */
static int codes_each(const gather_params *p, gr_dtype data) { return data == GR_UINT8 ? 8 / p->bits : 1; }

static gr_status check_scales(const gr_infer *c, int quantize, int each, gr_err *err)
{
    const gather_params *p = c->params;
    const gr_type *x = c->in[DATA], *s = c->in[TABLE_SCALES];
    if (!gr_rank_known(c, TABLE_SCALES)) return GR_OK;
    if (s->rank != x->rank) return gr_fail(err, GR_EMODEL, "the scales have rank %d, expected %d", s->rank, x->rank);
    for (int d = 0; d < x->rank; d++) {
        if (!gr_dim_known(x->dims[d]) || !gr_dim_known(s->dims[d])) continue;
        int64_t have;
        if (__builtin_mul_overflow(x->dims[d].k, d == x->rank - 1 ? each : 1, &have)) have = INT64_MAX;
        int64_t want = d == quantize ? quotient_up(have, p->block) : have;
        if (s->dims[d].k != want)
            return gr_fail(err, GR_EMODEL, "dimension %d of the scales is %lld, expected %lld", d,
                           (long long)s->dims[d].k, (long long)want);
    }
    return GR_OK;
}

static gr_status check_zeros(const gr_infer *c, int each, gr_err *err)
{
    if (!gr_rank_known(c, TABLE_ZEROS) || !gr_rank_known(c, TABLE_SCALES)) return GR_OK;
    const gr_type *z = c->in[TABLE_ZEROS], *s = c->in[TABLE_SCALES];
    bool good = z->rank == s->rank;
    for (int d = 0; good && d < z->rank; d++) {
        if (!gr_dim_known(z->dims[d]) || !gr_dim_known(s->dims[d])) continue;
        good = z->dims[d].k == (d == z->rank - 1 ? quotient_up(s->dims[d].k, each) : s->dims[d].k);
    }
    return good ? GR_OK : gr_fail(err, GR_EMODEL, "the zero points do not have the shape of the scales");
}

static gr_status infer_gather(const gr_infer *c, gr_err *err)
{
    const gather_params *p = c->params;
    int gather, quantize;
    for (uint32_t i = 0; i < 3; i++)
        if (!gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
    GR_TRY(gr_require(c, DATA, GR_T(UINT8) | GR_T(UINT4) | GR_T(INT4), err));
    GR_TRY(gr_require(c, INDICES, GR_T(INT32) | GR_T(INT64), err));
    GR_TRY(gr_require(c, TABLE_SCALES, GR_T(FLOAT) | GR_T(FLOAT16) | GR_T(BFLOAT16), err));
    GR_TRY(gr_require_same(c, TABLE_ZEROS, DATA, err));
    gr_dtype dtype = c->in[TABLE_SCALES]->dtype;
    if (!gr_rank_known(c, DATA) || !gr_rank_known(c, INDICES)) return gr_set(c, 0, dtype, GR_RANK_UNKNOWN, NULL);
    const gr_type *x = c->in[DATA], *ix = c->in[INDICES];
    const int each = codes_each(p, x->dtype), rank = x->rank - 1 + ix->rank;
    GR_TRY(gr_axis(p->gather, x->rank, &gather, err));
    GR_TRY(gr_axis(p->quantize, x->rank, &quantize, err));
    if (each > 1 && (quantize != x->rank - 1 || gather == quantize))
        return gr_fail(err, GR_EUNSUPPORTED, "codes in bytes need blocks along the last axis and another one to gather");
    GR_TRY(check_scales(c, quantize, each, err));
    GR_TRY(check_zeros(c, each, err));
    if (rank > GR_MAX_RANK) return gr_fail(err, GR_EUNSUPPORTED, "a result of more than %d dimensions", GR_MAX_RANK);
    gr_dim *d = gr_dims(c, rank);
    for (int i = 0; i < gather; i++) d[i] = x->dims[i];
    for (int i = 0; i < ix->rank; i++) d[gather + i] = ix->dims[i];
    for (int i = gather + 1; i < x->rank; i++) d[ix->rank + i - 1] = x->dims[i];
    if (each > 1) d[rank - 1] = gr_sym_mul(c->syms, d[rank - 1], GR_DIM(each));
    return gr_set(c, 0, dtype, rank, d);
}

/* The table with its codes counted one by one. */
typedef struct table {
    int64_t outer, dim, inner;          /* around the gathered axis */
    int64_t axis, blocks, within, last; /* blocked axis, blocks along it, elements after it; last dim of the scales */
    int bits;                           /* of codes in bytes */
} table;

static table table_of(const gr_step *s)
{
    const gather_params *p = s->params;
    const gr_tensor *x = s->in[DATA], *scales = s->in[TABLE_SCALES];
    const int each = codes_each(p, x->dtype), gather = (int)(p->gather < 0 ? p->gather + x->rank : p->gather);
    const int quantize = (int)(p->quantize < 0 ? p->quantize + x->rank : p->quantize);
    table t = {.outer = gr_extent(x, 0, gather),
               .dim = x->dims[gather],
               .bits = p->bits,
               .inner = gr_extent(x, gather + 1, x->rank) * each,
               .blocks = scales->dims[quantize],
               .within = gr_extent(x, quantize + 1, x->rank),
               .last = scales->dims[x->rank - 1]};
    t.axis = x->dims[quantize] * (quantize == x->rank - 1 ? each : 1);
    return t;
}

static int table_code(const gr_tensor *x, const table *t, int64_t i)
{
    return x->dtype == GR_UINT8 ? code_at(x->data, t->bits, i) : gr_tiny_get(x->dtype, x->data, i);
}

/* Zero point beside scale i; without one, the middle of the range of unsigned bytes. */
static int table_zero(const gr_step *s, const table *t, int64_t i)
{
    const gr_tensor *z = gr_step_in(s, TABLE_ZEROS), *x = s->in[DATA];
    if (!z) return x->dtype == GR_UINT8 ? 1 << (t->bits - 1) : 0;
    if (z->dtype != GR_UINT8) return gr_tiny_get(z->dtype, z->data, i);
    const int64_t row = quotient_up(t->last * t->bits, 8);
    return code_at((const uint8_t *)z->data + i / t->last * row, t->bits, i % t->last);
}

/* y[outer, i..., inner] = (x - zero) * scale of x[outer, indices[i...], inner]; 0 where the index is out of range */
static gr_status run_gather(const gr_step *s, gr_err *err)
{
    (void)err;
    const gather_params *p = s->params;
    const gr_tensor *x = s->in[DATA], *ix = s->in[INDICES], *y = s->out[0];
    if (!y->elements) return GR_OK;
    const table t = table_of(s);
#pragma omp parallel for schedule(static) if (y->elements >= GR_PARALLEL_MIN)
    for (int64_t r = 0; r < t.outer * ix->elements; r++) {
        const int64_t n = ix->elements;
        int64_t index = ix->dtype == GR_INT64 ? ((const int64_t *)ix->data)[r % n] : ((const int32_t *)ix->data)[r % n];
        if (index < 0 && index >= -t.dim) index += t.dim;
        const bool outside = index < 0 || index >= t.dim;
        const int64_t from = outside ? 0 : (r / n * t.dim + index) * t.inner;
        int64_t at = -1;
        float scale = 0, zero = 0;
        for (int64_t i = 0; i < t.inner; i += GR_SPAN) {
            float v[GR_SPAN];
            const int64_t m = t.inner - i < GR_SPAN ? t.inner - i : GR_SPAN;
            for (int64_t k = 0; k < m; k++) {
                const int64_t e = from + i + k, q = e / t.within % t.axis;
                const int64_t b = (e / t.within / t.axis * t.blocks + q / p->block) * t.within + e % t.within;
                if (b != at && !outside) {
                    at = b;
                    scale = (float)gr_at(s->in[TABLE_SCALES], b);
                    zero = (float)table_zero(s, &t, b);
                }
                v[k] = outside ? 0 : ((float)table_code(x, &t, e) - zero) * scale;
            }
            gr_store_f32(y->dtype, m, v, y->data, r * t.inner + i);
        }
    }
    return GR_OK;
}

static const gr_kernel gather_kernels[] = {{"ref", NULL, run_gather, NULL}, {0}};

const gr_op op_contrib_nbits[] = {
    {.name = "MatMulNBits",
     .since = 1,
     .in = {3, 6},
     .out = 1,
     .parse = parse_nbits,
     .infer = infer_nbits,
     .kernels = nbits_kernels,
     .domain = "com.microsoft"},
    {.name = "GatherBlockQuantized",
     .since = 1,
     .in = {3, 4},
     .out = 1,
     .parse = parse_gather,
     .infer = infer_gather,
     .kernels = gather_kernels,
     .domain = "com.microsoft"},
    {0},
};
