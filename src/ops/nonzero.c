/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators whose output shape depends on the values: NonZero, Compress, Unique. Inference leaves that dimension open
 * and the kernels make their outputs themselves.
 */
#include "exec/eval.h"
#include "move.h"
#include "order.h"

/* ---- NonZero ---- */

static gr_status infer_nonzero(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_require(c, 0, GR_T_ALL, err));
    gr_dim *d = gr_dims(c, 2);
    d[0] = gr_rank_known(c, 0) ? GR_DIM(c->in[0]->rank) : gr_sym_fresh(c->syms);
    d[1] = gr_sym_fresh(c->syms);
    return gr_set(c, 0, GR_INT64, 2, d);
}

/* Row d of y lists coordinate d of every element that is not zero. A scalar gives no rows. */
static gr_status run_nonzero(const gr_step *s, gr_err *err)
{
    const gr_tensor *x = s->in[0];
    const uint8_t none[8] = {0};
    const uint64_t zero = gr_sort_key(x->dtype, none, 0);
    int64_t count = 0, at = 0, strides[GR_MAX_RANK];
    for (int64_t i = 0; i < x->elements; i++) count += gr_sort_key(x->dtype, x->data, i) != zero;
    const int64_t dims[2] = {x->rank, count};
    GR_TRY(gr_out_alloc(s, 0, 2, dims, err));
    int64_t *y = s->out[0]->data;
    gr_dense_strides(x->rank, x->dims, strides);
    for (int64_t i = 0; i < x->elements; i++) {
        if (gr_sort_key(x->dtype, x->data, i) == zero) continue;
        for (int d = 0; d < x->rank; d++) y[d * count + at] = i / strides[d] % x->dims[d];
        at++;
    }
    return GR_OK;
}

/* ---- Compress, Unique: along an axis, or of the flattened input ---- */

typedef struct axis_params {
    bool flat, sorted;
    int64_t axis;
} axis_params;

static gr_status parse_axis(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    axis_params *p = GR_NEW(arena, axis_params);
    if (!p) return gr_nomem(err);
    *params = p;
    p->flat = !gr_attr_find(attrs, "axis");
    GR_TRY(gr_attr_int(attrs, "axis", 0, &p->axis, err));
    return gr_attr_bool(attrs, "sorted", true, &p->sorted, err);
}

/* The input as [outer, n, inner] with n the dimension in question. */
typedef struct lines {
    int axis;
    int64_t outer, n, inner;
} lines;

static gr_status lines_of(const gr_step *s, lines *l, gr_err *err)
{
    const axis_params *p = s->params;
    const gr_tensor *x = s->in[0];
    *l = (lines){0, 1, x->elements, 1};
    if (p->flat) return GR_OK;
    GR_TRY(gr_axis(p->axis, x->rank, &l->axis, err));
    l->outer = gr_product(x->dims, 0, l->axis);
    l->n = x->dims[l->axis];
    l->inner = gr_product(x->dims, l->axis + 1, x->rank);
    if (l->inner == 0) l->outer = 0;
    return GR_OK;
}

/* Output 0 has the input's shape but for one dimension. */
static gr_status infer_lines(const gr_infer *c, gr_err *err)
{
    const axis_params *p = c->params;
    gr_dtype t = gr_in_dtype(c, 0);
    int axis;
    if (p->flat) return gr_set_rank(c, 0, t, 1);
    if (!gr_rank_known(c, 0)) return gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL);
    GR_TRY(gr_axis(p->axis, c->in[0]->rank, &axis, err));
    gr_dim *d = gr_dims(c, c->in[0]->rank);
    for (int i = 0; i < c->in[0]->rank; i++) d[i] = i == axis ? gr_sym_fresh(c->syms) : c->in[0]->dims[i];
    return gr_set(c, 0, t, c->in[0]->rank, d);
}

static gr_status alloc_lines(const gr_step *s, const lines *l, int64_t count, gr_err *err)
{
    int64_t dims[GR_MAX_RANK];
    if (((const axis_params *)s->params)->flat) return gr_out_alloc(s, 0, 1, &count, err);
    memcpy(dims, s->in[0]->dims, sizeof dims);
    dims[l->axis] = count;
    return gr_out_alloc(s, 0, s->in[0]->rank, dims, err);
}

/* Entry `to` of count in output 0 becomes entry `from` of the input. */
static void copy_line(const gr_step *s, const lines *l, int64_t from, int64_t to, int64_t count)
{
    size_t row = (size_t)l->inner * (size_t)gr_dtype_bits(s->in[0]->dtype) / 8;
    if (!row) return;
    for (int64_t o = 0; o < l->outer; o++)
        memcpy((char *)s->out[0]->data + (size_t)(o * count + to) * row,
               (const char *)s->in[0]->data + (size_t)(o * l->n + from) * row, row);
}

static gr_status infer_compress(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_require_bytes(c, 0, err));
    GR_TRY(gr_require(c, 1, GR_T(BOOL), err));
    if (gr_rank_known(c, 1) && c->in[1]->rank != 1)
        return gr_fail(err, GR_EMODEL, "the condition must have rank 1, not %d", c->in[1]->rank);
    return infer_lines(c, err);
}

/* The entries whose condition holds; a condition that is too short stands for false at its end. */
static gr_status run_compress(const gr_step *s, gr_err *err)
{
    const uint8_t *keep = s->in[1]->data;
    lines l;
    int64_t count = 0, at = 0;
    GR_TRY(lines_of(s, &l, err));
    int64_t n = s->in[1]->elements < l.n ? s->in[1]->elements : l.n;
    for (int64_t i = 0; i < n; i++) count += keep[i] != 0;
    GR_TRY(alloc_lines(s, &l, count, err));
    for (int64_t i = 0; i < n; i++)
        if (keep[i]) copy_line(s, &l, i, at++, count);
    return GR_OK;
}

static gr_status infer_unique(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_require(c, 0, GR_T_ALL, err));
    GR_TRY(infer_lines(c, err));
    gr_dim count = gr_sym_fresh(c->syms), all = gr_sym_fresh(c->syms);
    if (gr_rank_known(c, 0)) {
        const axis_params *p = c->params;
        int axis = 0;
        if (!p->flat) GR_TRY(gr_axis(p->axis, c->in[0]->rank, &axis, err));
        count = c->out[0].dims[axis];
        all = p->flat ? GR_DIM(1) : c->in[0]->dims[axis];
        for (int i = 0; p->flat && i < c->in[0]->rank; i++) all = gr_sym_mul(c->syms, all, c->in[0]->dims[i]);
    }
    for (uint32_t o = 1; o < 4; o++) {
        gr_dim *d = gr_dims(c, 1);
        d[0] = o == 2 ? all : count;
        GR_TRY(gr_set(c, o, GR_INT64, 1, d));
    }
    return GR_OK;
}

/* -1, 0, 1: entries a and b of the axis in lexicographic order. */
static int compare_lines(const gr_tensor *x, const lines *l, int64_t a, int64_t b)
{
    for (int64_t o = 0; o < l->outer; o++)
        for (int64_t i = 0; i < l->inner; i++) {
            uint64_t u = gr_sort_key(x->dtype, x->data, (o * l->n + a) * l->inner + i);
            uint64_t v = gr_sort_key(x->dtype, x->data, (o * l->n + b) * l->inner + i);
            if (u != v) return u < v ? -1 : 1;
        }
    return 0;
}

/* Merge sort from the bottom, which keeps equal entries in their order. Returns the array that holds the result. */
static int64_t *sort_lines(const gr_tensor *x, const lines *l, int64_t *order, int64_t *spare)
{
    for (int64_t i = 0; i < l->n; i++) order[i] = i;
    for (int64_t width = 1; width < l->n; width *= 2) {
        for (int64_t low = 0; low < l->n; low += 2 * width) {
            int64_t mid = low + width < l->n ? low + width : l->n, high = mid + width < l->n ? mid + width : l->n;
            for (int64_t i = low, j = mid, k = low; k < high; k++) {
                bool left = i < mid && (j == high || compare_lines(x, l, order[i], order[j]) <= 0);
                spare[k] = order[left ? i++ : j++];
            }
        }
        int64_t *swap = order;
        order = spare;
        spare = swap;
    }
    return order;
}

static bool prepare_unique(gr_step *s, gr_why *why)
{
    lines l;
    if (lines_of(s, &l, NULL) != GR_OK) return gr_decline(why, "the axis is out of range");
    return gr_mul((size_t)l.n, 5 * sizeof(int64_t), &s->scratch_size) || gr_decline(why, "too many entries");
}

typedef struct groups {
    int64_t count;
    int64_t *group;       /* of every entry, in order of values */
    int64_t *first;       /* entry of every group */
    int64_t *size, *rank; /* of every group; its place in the output */
} groups;

/* Equal entries become one group; the output has the groups by value, or by their first entry. */
static groups find_groups(const gr_step *s, const lines *l)
{
    const gr_tensor *x = s->in[0];
    int64_t n = l->n, *memory = s->scratch, *order = sort_lines(x, l, memory, memory + n);
    int64_t *spare = order == memory ? memory + n : memory;
    groups g = {0, memory + 2 * n, memory + 3 * n, memory + 4 * n, spare};
    for (int64_t i = 0; i < n; i++) {
        bool again = i && compare_lines(x, l, order[i - 1], order[i]) == 0;
        if (!again) {
            g.first[g.count] = order[i];
            g.size[g.count++] = 0;
        }
        g.group[order[i]] = g.count - 1;
        g.size[g.count - 1]++;
    }
    int64_t seen = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t k = g.group[i];
        if (g.first[k] == i) g.rank[k] = ((const axis_params *)s->params)->sorted ? k : seen++;
    }
    return g;
}

static gr_status run_unique(const gr_step *s, gr_err *err)
{
    lines l;
    GR_TRY(lines_of(s, &l, err));
    groups g = find_groups(s, &l);
    GR_TRY(alloc_lines(s, &l, g.count, err));
    int64_t *out[4] = {NULL};
    for (uint32_t o = 1; o < s->nout && o < 4; o++) {
        if (!s->out[o]) continue;
        const int64_t n = o == 2 ? l.n : g.count;
        if (s->out[o]->rank < 0) GR_TRY(gr_out_alloc(s, o, 1, &n, err));
        out[o] = s->out[o]->data;
    }
    for (int64_t k = 0; k < g.count; k++) {
        if (s->out[0]) copy_line(s, &l, g.first[k], g.rank[k], g.count);
        if (out[1]) out[1][g.rank[k]] = g.first[k];
        if (out[3]) out[3][g.rank[k]] = g.size[k];
    }
    for (int64_t i = 0; out[2] && i < l.n; i++) out[2][i] = g.rank[g.group[i]];
    return GR_OK;
}

static const gr_kernel k_nonzero[] = {{"ref", NULL, run_nonzero, NULL}, {0}};
static const gr_kernel k_compress[] = {{"ref", NULL, run_compress, NULL}, {0}};
static const gr_kernel k_unique[] = {{"ref", prepare_unique, run_unique, NULL}, {0}};

/* clang-format off */
const gr_op op_nonzero[] = {
    GR_OP_ROW("NonZero", 9, 1, 1, 1, GR_OP_DYNAMIC, NULL, infer_nonzero, k_nonzero),
    GR_OP_ROW("NonZero", 13, 1, 1, 1, GR_OP_DYNAMIC, NULL, infer_nonzero, k_nonzero),
    GR_OP_ROW("Compress", 9, 2, 2, 1, GR_OP_DYNAMIC, parse_axis, infer_compress, k_compress),
    GR_OP_ROW("Compress", 11, 2, 2, 1, GR_OP_DYNAMIC, parse_axis, infer_compress, k_compress),
    GR_OP_ROW("Unique", 11, 1, 1, 4, GR_OP_DYNAMIC, parse_axis, infer_unique, k_unique), {0},
};
