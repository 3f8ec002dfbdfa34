/* SPDX-License-Identifier: Apache-2.0
 *
 * What the operators that only move elements share: a copy between strided layouts, which knows elements by their size
 * alone, and access to the integer inputs (axes, starts, indices) that steer them.
 */
#ifndef GR_MOVE_H
#define GR_MOVE_H

#include "op.h"

/* A table row; families list their versions with it. */
#define GR_OP_ROW(NAME, SINCE, MIN, MAX, OUT, FLAGS, PARSE, INFER, KERNELS)                                            \
    {                                                                                                                  \
        .name = NAME, .since = SINCE, .in = {MIN, MAX}, .out = OUT, .flags = FLAGS, .parse = PARSE, .infer = INFER,    \
        .kernels = KERNELS                                                                                             \
    }

#define GR_MOVE_RANK (2 * GR_MAX_RANK)

/* Nested loops of a copy, outermost first, strides in elements; those of `to` should be descending. */
typedef struct gr_move {
    int rank;
    int64_t dims[GR_MOVE_RANK], from[GR_MOVE_RANK], to[GR_MOVE_RANK];
} gr_move;

static inline void gr_move_loop(gr_move *m, int64_t n, int64_t from, int64_t to)
{
    m->dims[m->rank] = n;
    m->from[m->rank] = from;
    m->to[m->rank++] = to;
}

/* Copy elements of `bits` bits (2, 4, or whole bytes up to 16) from src + from to dst + to (in elements), at any
 * alignment; in parallel if it is much. The two do not overlap. */
void gr_move_run(const gr_move *m, int bits, const void *src, int64_t from, void *dst, int64_t to);

/* n elements with the value of the first element of `value`. */
static inline void gr_move_fill(int64_t n, int bits, const void *value, void *dst)
{
    gr_move m = {.rank = 0};
    gr_move_loop(&m, n, 0, 1);
    gr_move_run(&m, bits, value, 0, dst, 0);
}

/* Before elements are written one by one: give the unused bits of the last byte of a 2- or 4-bit tensor a value. */
static inline void gr_clear_tail(gr_tensor *out)
{
    if (gr_dtype_bits(out->dtype) < 8 && out->size) ((uint8_t *)out->data)[out->size - 1] = 0;
}

static inline int64_t gr_product(const int64_t *dims, int first, int end)
{
    int64_t n = 1;
    for (int i = first; i < end; i++) n *= dims[i];
    return n;
}

/* Element i of an int32 or int64 tensor at any alignment. */
static inline int64_t gr_int_at(const gr_tensor *t, int64_t i)
{
    int64_t x = 0;
    int32_t y = 0;
    if (t->dtype != GR_INT32) return memcpy(&x, (const char *)t->data + i * 8, 8), x;
    memcpy(&y, (const char *)t->data + i * 4, 4);
    return y;
}

/* Prepare of operators whose shapes follow from values: declines where inference could not tell them. */
static inline bool gr_prepare_shaped(gr_step *s, gr_why *why)
{
    for (uint32_t i = 0; i < s->nout; i++)
        if (s->out[i] && s->out[i]->kind == GR_KIND_TENSOR && s->out[i]->rank < 0)
            return gr_decline(why, "the shape of output %u does not follow from the values of the inputs", i);
    return true;
}

/* An index in [-n, n) as one in [0, n); negative if it is out of range. */
static inline int64_t gr_wrap_index(int64_t i, int64_t n) { return i >= n || i < -n ? -1 : i < 0 ? i + n : i; }

static inline gr_status gr_bad_index(int64_t i, int64_t n, gr_err *err)
{
    if (n == 0) return gr_fail(err, GR_EINPUT, "index %lld into an empty dimension", (long long)i);
    return gr_fail(err, GR_EINPUT, "index %lld is out of range, expected %lld to %lld", (long long)i, (long long)-n,
                   (long long)(n - 1));
}

/* ---- Inference ---- */

#define GR_T_INDEX (GR_T(INT32) | GR_T(INT64))

static inline gr_dtype gr_in_dtype(const gr_infer *c, uint32_t i)
{
    return gr_has(c, i) ? c->in[i]->dtype : GR_UNDEFINED;
}

/* Input i is a tensor of any type whose elements have a fixed size. */
static inline gr_status gr_require_movable(const gr_infer *c, uint32_t i, gr_err *err)
{
    GR_TRY(gr_require(c, i, ~UINT64_C(0), err));
    if (gr_in_dtype(c, i) == GR_STRING) return gr_fail(err, GR_EUNSUPPORTED, "tensors of strings are not supported");
    return GR_OK;
}

/* The same, of whole bytes. */
static inline gr_status gr_require_bytes(const gr_infer *c, uint32_t i, gr_err *err)
{
    GR_TRY(gr_require_movable(c, i, err));
    gr_dtype t = gr_in_dtype(c, i);
    if (t != GR_UNDEFINED && gr_dtype_bits(t) < 8)
        return gr_fail(err, GR_EUNSUPPORTED, "elements of type %s are not supported", gr_dtype_name(t));
    return GR_OK;
}

/* Input i is a list of integers (a scalar counts as a list of one). *n is its length if that is known, else -1. */
static inline gr_status gr_require_list(const gr_infer *c, uint32_t i, uint64_t types, int64_t *n, gr_err *err)
{
    *n = -1;
    GR_TRY(gr_require(c, i, types, err));
    if (!gr_rank_known(c, i)) return GR_OK;
    if (c->in[i]->rank > 1)
        return gr_fail(err, GR_EMODEL, "input %u must be a list, not of rank %d", i, c->in[i]->rank);
    if (c->in[i]->rank == 0 || gr_dim_known(c->in[i]->dims[0])) *n = c->in[i]->rank ? c->in[i]->dims[0].k : 1;
    return GR_OK;
}

/* Input i has exactly one element, as far as is known. */
static inline gr_status gr_require_scalar(const gr_infer *c, uint32_t i, gr_err *err)
{
    for (int d = 0; gr_rank_known(c, i) && d < c->in[i]->rank; d++)
        if (gr_dim_known(c->in[i]->dims[d]) && c->in[i]->dims[d].k != 1)
            return gr_fail(err, GR_EMODEL, "input %u must have one element, dimension %d is %lld", i, d,
                           (long long)c->in[i]->dims[d].k);
    return GR_OK;
}

static inline gr_status gr_check_rank(int64_t rank, gr_err *err)
{
    if (rank <= GR_MAX_RANK) return GR_OK;
    return gr_fail(err, GR_EUNSUPPORTED, "a tensor of rank %lld, more than %d", (long long)rank, GR_MAX_RANK);
}

/* An output of that rank about whose dims nothing is known. */
static inline gr_status gr_set_rank(const gr_infer *c, uint32_t o, gr_dtype dtype, int rank)
{
    gr_dim *d = gr_dims(c, rank);
    for (int i = 0; i < rank; i++) d[i] = gr_sym_fresh(c->syms);
    return gr_set(c, o, dtype, rank, d);
}

/* Two dims that must be equal: *out is the one that says more. */
static inline gr_status gr_same_dim(const gr_infer *c, gr_dim a, gr_dim b, int axis, gr_dim *out, gr_err *err)
{
    *out = gr_dim_known(a) ? a : b;
    if (gr_dim_known(a) && gr_dim_known(b) && a.k != b.k)
        return gr_fail(err, GR_EMODEL, "dimensions %s and %s of axis %d must be equal", gr_sym_text(c->syms, a),
                       gr_sym_text(c->syms, b), axis);
    return GR_OK;
}

/* The same at run time, for what only values can tell. */
static inline gr_status gr_check_extent(int64_t is, int64_t planned, gr_err *err)
{
    if (is == planned) return GR_OK;
    return gr_fail(err, GR_EINPUT, "values give a dimension of %lld where the plan has %lld", (long long)is,
                   (long long)planned);
}

#endif
