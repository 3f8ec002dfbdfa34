/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators whose output is their input under another shape: Reshape, Flatten, Squeeze, Unsqueeze, Identity, and
 * Dropout, which drops nothing outside of training. Plans make no step for the ones marked GR_OP_VIEW; the kernel that
 * copies is for single evaluation.
 */
#include "exec/eval.h"
#include "loops.h"
#include "move.h"

typedef struct ints_params { /* axes, or a shape; n = -1: not given */
    int64_t n;
    int64_t v[GR_MAX_RANK];
    bool allow_zero;
} ints_params;

static gr_status parse_ints(gr_attrs attrs, const char *name, bool required, ints_params *p, gr_err *err)
{
    const int64_t *v;
    GR_TRY(gr_attr_ints(attrs, name, &p->n, &v, err));
    if (required && p->n < 0) return gr_fail(err, GR_EMODEL, "attribute '%s' is missing", name);
    GR_TRY(gr_check_rank(p->n, err));
    if (p->n > 0) memcpy(p->v, v, (size_t)p->n * sizeof *v);
    return GR_OK;
}

/* The list of integers in an attribute or in input 1. known: all of it is. */
static gr_status list_of(const gr_infer *c, int64_t *n, const gr_dim **v, bool *known, gr_err *err)
{
    const ints_params *p = c->params;
    *known = false;
    *n = -1;
    if (p && p->n >= 0) {
        gr_dim *d = gr_dims(c, (int)p->n);
        for (int64_t i = 0; i < p->n; i++) d[i] = GR_DIM(p->v[i]);
        *known = true;
        *n = p->n;
        *v = d;
        return GR_OK;
    }
    if (!gr_has(c, 1)) return GR_OK;
    GR_TRY(gr_require_list(c, 1, GR_T(INT64), n, err));
    *known = gr_known_ints(c, 1, n, v);
    return gr_check_rank(*n, err);
}

/* ---- copying ---- */

static gr_status copy_tensor(const gr_tensor *x, gr_tensor *y, gr_err *err)
{
    if (x->elements != y->elements)
        return gr_fail(err, GR_EINPUT, "%lld elements do not fit a shape of %lld", (long long)x->elements,
                       (long long)y->elements);
    if (y->size && y->data != x->data) memcpy(y->data, x->data, y->size);
    return GR_OK;
}

static gr_status run_copy(const gr_step *s, gr_err *err)
{
    const gr_tensor *x = s->in[0];
    return x->kind == GR_KIND_TENSOR ? copy_tensor(x, s->out[0], err) : gr_out_same(s, 0, x, err);
}

static const gr_kernel k_copy[] = {{"ref", gr_prepare_shaped, run_copy, NULL}, {0}};

/* ---- Reshape ---- */

static gr_status parse_reshape_1(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    ints_params *p = GR_NEW(arena, ints_params);
    if (!p) return gr_nomem(err);
    *params = p;
    return parse_ints(attrs, "shape", true, p, err);
}

static gr_status parse_reshape_5(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    ints_params *p = GR_NEW(arena, ints_params);
    if (!p) return gr_nomem(err);
    p->n = -1;
    *params = p;
    return gr_attr_bool(attrs, "allowzero", false, &p->allow_zero, err);
}

static gr_status product(const gr_infer *c, const gr_dim *d, const bool *skip, int n, gr_dim *out, gr_err *err)
{
    int64_t k = 1;
    bool overflow = false;
    *out = GR_DIM(1);
    for (int i = 0; i < n; i++) {
        if (skip[i]) continue;
        *out = gr_sym_mul(c->syms, *out, d[i]);
        overflow |= gr_dim_known(d[i]) && d[i].k && __builtin_mul_overflow(k, d[i].k, &k);
    }
    return overflow ? gr_fail(err, GR_EINPUT, "the product of the dimensions is too large") : GR_OK;
}

/* Fill in dims[rest], the one given as -1 (or check the count if rest is -1). Equal factors of both sides are cancelled
 * first: [0, 3, 4] becomes [0, 12] by the shape (0, -1) although 0 elements could be anything, and symbols that no
 * division knows cancel too. */
static gr_status solve(const gr_infer *c, int rank, gr_dim *dims, int rest, gr_err *err)
{
    const gr_type *x = c->in[0];
    bool in_gone[GR_MAX_RANK] = {false}, out_gone[GR_MAX_RANK] = {false};
    for (int i = 0; i < rank; i++) {
        out_gone[i] = i == rest;
        for (int j = 0; j < x->rank && !out_gone[i]; j++) {
            if (in_gone[j] || !gr_dim_same(dims[i], x->dims[j])) continue;
            in_gone[j] = out_gone[i] = true;
        }
    }
    gr_dim have, want;
    GR_TRY(product(c, x->dims, in_gone, x->rank, &have, err));
    GR_TRY(product(c, dims, out_gone, rank, &want, err));
    bool numbers = gr_dim_known(have) && gr_dim_known(want);
    if (rest >= 0) {
        if (numbers && (want.k == 0 || have.k % want.k))
            return gr_fail(err, GR_EINPUT, "%lld elements cannot be divided into %lld for the dimension -1",
                           (long long)have.k, (long long)want.k);
        dims[rest] = gr_dim_is(have, 0) ? have : gr_sym_div(c->syms, have, want);
        return GR_OK;
    }
    bool all = numbers;
    for (int j = 0; j < x->rank; j++) all = all && gr_dim_known(x->dims[j]);
    for (int i = 0; i < rank; i++) all = all && gr_dim_known(dims[i]);
    if (!all || have.k == want.k) return GR_OK;
    bool none[GR_MAX_RANK] = {false};
    GR_TRY(product(c, x->dims, none, x->rank, &have, err));
    GR_TRY(product(c, dims, none, rank, &want, err));
    if (have.k == want.k) return GR_OK;
    return gr_fail(err, GR_EINPUT, "%lld elements do not fit a shape of %lld", (long long)have.k, (long long)want.k);
}

static gr_status infer_reshape(const gr_infer *c, gr_err *err)
{
    const ints_params *p = c->params;
    gr_dtype t = gr_in_dtype(c, 0);
    bool known;
    int64_t n;
    const gr_dim *v;
    GR_TRY(gr_require_movable(c, 0, err));
    GR_TRY(list_of(c, &n, &v, &known, err));
    if (!known) return n < 0 ? gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL) : gr_set_rank(c, 0, t, (int)n);
    int rank = (int)n, rest = -1, zeros = 0;
    bool input = gr_rank_known(c, 0);
    gr_dim *d = gr_dims(c, rank);
    for (int i = 0; i < rank; i++) {
        d[i] = v[i];
        if (!gr_dim_known(v[i]) || v[i].k > 0) continue;
        if (v[i].k < -1) return gr_fail(err, GR_EINPUT, "dimension %d of the shape is %lld", i, (long long)v[i].k);
        if (v[i].k == -1) {
            if (rest >= 0) return gr_fail(err, GR_EINPUT, "dimensions %d and %d of the shape are both -1", rest, i);
            d[i] = gr_sym_fresh(c->syms);
            rest = i;
        } else if (p->allow_zero) {
            zeros++;
        } else if (input) {
            if (i >= c->in[0]->rank)
                return gr_fail(err, GR_EINPUT, "dimension %d of the shape is 0 but the input has rank %d", i,
                               c->in[0]->rank);
            d[i] = c->in[0]->dims[i];
        } else {
            d[i] = gr_sym_fresh(c->syms);
        }
    }
    if (rest >= 0 && zeros) return gr_fail(err, GR_EINPUT, "a shape with -1 and, as allowzero is set, a true 0");
    if (input) GR_TRY(solve(c, rank, d, rest, err));
    return gr_set(c, 0, t, rank, d);
}

/* ---- Flatten ---- */

static gr_status parse_flatten(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    ints_params *p = GR_NEW(arena, ints_params);
    if (!p) return gr_nomem(err);
    *params = p;
    return gr_attr_int(attrs, "axis", 1, &p->v[0], err);
}

static gr_status infer_flatten(const gr_infer *c, gr_err *err)
{
    int64_t axis = ((const ints_params *)c->params)->v[0];
    GR_TRY(gr_require_movable(c, 0, err));
    if (!gr_rank_known(c, 0)) return gr_set_rank(c, 0, gr_in_dtype(c, 0), 2);
    int rank = c->in[0]->rank;
    if (axis < -(int64_t)rank || axis > rank)
        return gr_fail(err, GR_EMODEL, "axis %lld is out of range for rank %d", (long long)axis, rank);
    if (axis < 0) axis += rank;
    gr_dim *d = gr_dims(c, 2);
    d[0] = d[1] = GR_DIM(1);
    for (int i = 0; i < rank; i++) d[i >= axis] = gr_sym_mul(c->syms, d[i >= axis], c->in[0]->dims[i]);
    return gr_set(c, 0, gr_in_dtype(c, 0), 2, d);
}

/* ---- Squeeze, Unsqueeze ---- */

static gr_status parse_squeeze_1(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    ints_params *p = GR_NEW(arena, ints_params);
    if (!p) return gr_nomem(err);
    *params = p;
    return parse_ints(attrs, "axes", false, p, err);
}

static gr_status parse_unsqueeze_1(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    ints_params *p = GR_NEW(arena, ints_params);
    if (!p) return gr_nomem(err);
    *params = p;
    return parse_ints(attrs, "axes", true, p, err);
}

/* Axes as a set of bits; false in *known if any is not a number. */
static gr_status axes_of(int64_t n, const gr_dim *v, int rank, bool twice, uint64_t *set, bool *known, gr_err *err)
{
    *set = 0;
    for (int64_t i = 0; i < n; i++) {
        int axis;
        if (!gr_dim_known(v[i])) return *known = false, GR_OK;
        GR_TRY(gr_axis(v[i].k, rank, &axis, err));
        if (!twice && (*set >> axis & 1)) return gr_fail(err, GR_EMODEL, "axis %d is given twice", axis);
        *set |= UINT64_C(1) << axis;
    }
    return GR_OK;
}

/* All dimensions of 1. Known only where every dimension surely is 1 or surely is not. */
static uint64_t ones(const gr_type *t, bool *known)
{
    uint64_t set = 0;
    for (int i = 0; i < t->rank; i++) {
        if (gr_dim_is(t->dims[i], 1)) set |= UINT64_C(1) << i;
        if (!gr_dim_known(t->dims[i]) && gr_sym_lower(t->dims[i]) < 2) *known = false;
    }
    return set;
}

/* An empty list of axes means all, as it does for ONNX Runtime. */
static gr_status infer_squeeze(const gr_infer *c, gr_err *err)
{
    gr_dtype t = gr_in_dtype(c, 0);
    bool known;
    int64_t n;
    const gr_dim *v;
    uint64_t set;
    GR_TRY(gr_require_movable(c, 0, err));
    GR_TRY(list_of(c, &n, &v, &known, err));
    if (!gr_rank_known(c, 0)) return gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL);
    const gr_type *x = c->in[0];
    bool all = n == 0 || (!known && !gr_has(c, 1));
    if (all) {
        known = true;
        set = ones(x, &known);
    } else if (known) {
        GR_TRY(axes_of(n, v, x->rank, true, &set, &known, err));
    }
    if (!known && !all && n >= 0 && n <= x->rank) return gr_set_rank(c, 0, t, x->rank - (int)n);
    if (!known) return gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL);
    gr_dim *d = gr_dims(c, x->rank);
    int rank = 0;
    for (int i = 0; i < x->rank; i++) {
        if (!(set >> i & 1)) {
            d[rank++] = x->dims[i];
        } else if (gr_dim_known(x->dims[i]) && x->dims[i].k != 1) {
            return gr_fail(err, GR_EINPUT, "dimension %d is %lld, only 1 can be squeezed", i, (long long)x->dims[i].k);
        }
    }
    return gr_set(c, 0, t, rank, d);
}

static gr_status infer_unsqueeze(const gr_infer *c, gr_err *err)
{
    gr_dtype t = gr_in_dtype(c, 0);
    bool known;
    int64_t n;
    const gr_dim *v;
    uint64_t set;
    GR_TRY(gr_require_movable(c, 0, err));
    GR_TRY(list_of(c, &n, &v, &known, err));
    if (!gr_rank_known(c, 0) || n < 0) return gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL);
    int rank = c->in[0]->rank + (int)n;
    GR_TRY(gr_check_rank(rank, err));
    if (known) GR_TRY(axes_of(n, v, rank, false, &set, &known, err));
    if (!known) return gr_set_rank(c, 0, t, rank);
    gr_dim *d = gr_dims(c, rank);
    const gr_dim *next = c->in[0]->dims;
    for (int i = 0; i < rank; i++) d[i] = set >> i & 1 ? GR_DIM(1) : *next++;
    return gr_set(c, 0, t, rank, d);
}

/* ---- Identity ---- */

static gr_status infer_identity(const gr_infer *c, gr_err *err)
{
    if (gr_in_dtype(c, 0) == GR_STRING) return gr_require_movable(c, 0, err);
    return gr_set_like(c, 0, 0);
}

enum { VIEW = GR_OP_VIEW | GR_OP_MOVE | GR_OP_UNALIGNED };
#define RESHAPE(since)                                                                                                 \
    GR_OP_ROW("Reshape", since, 2, 2, 1, VIEW | GR_OP_DYNAMIC, parse_reshape_5, infer_reshape, k_copy)
#define FLATTEN(since)   GR_OP_ROW("Flatten", since, 1, 1, 1, VIEW, parse_flatten, infer_flatten, k_copy)
#define SQUEEZE(since)   GR_OP_ROW("Squeeze", since, 1, 2, 1, VIEW | GR_OP_DYNAMIC, NULL, infer_squeeze, k_copy)
#define UNSQUEEZE(since) GR_OP_ROW("Unsqueeze", since, 2, 2, 1, VIEW | GR_OP_DYNAMIC, NULL, infer_unsqueeze, k_copy)
#define IDENTITY(since)  GR_OP_ROW("Identity", since, 1, 1, 1, VIEW, NULL, infer_identity, k_copy)

/* clang-format off */
const gr_op op_reshape[] = {
    GR_OP_ROW("Reshape", 1, 1, 1, 1, VIEW, parse_reshape_1, infer_reshape, k_copy),
    RESHAPE(5), RESHAPE(13), RESHAPE(14), RESHAPE(19), RESHAPE(21), RESHAPE(23), RESHAPE(24), RESHAPE(25),
    FLATTEN(1), FLATTEN(9), FLATTEN(11), FLATTEN(13), FLATTEN(21), FLATTEN(23), FLATTEN(24), FLATTEN(25),
    GR_OP_ROW("Squeeze", 1, 1, 1, 1, VIEW, parse_squeeze_1, infer_squeeze, k_copy),
    GR_OP_ROW("Squeeze", 11, 1, 1, 1, VIEW, parse_squeeze_1, infer_squeeze, k_copy),
    SQUEEZE(13), SQUEEZE(21), SQUEEZE(23), SQUEEZE(24), SQUEEZE(25),
    GR_OP_ROW("Unsqueeze", 1, 1, 1, 1, VIEW, parse_unsqueeze_1, infer_unsqueeze, k_copy),
    GR_OP_ROW("Unsqueeze", 11, 1, 1, 1, VIEW, parse_unsqueeze_1, infer_unsqueeze, k_copy),
    UNSQUEEZE(13), UNSQUEEZE(21), UNSQUEEZE(23), UNSQUEEZE(24), UNSQUEEZE(25),
    IDENTITY(1), IDENTITY(13), IDENTITY(14), IDENTITY(16), IDENTITY(19), IDENTITY(21), IDENTITY(23), IDENTITY(24),
    IDENTITY(25), {0},
};
