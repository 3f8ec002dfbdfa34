/* SPDX-License-Identifier: Apache-2.0
 *
 * Sequences of tensors: construct, insert, erase, at, length, split and concatenate. A sequence owns its items, so
 * every operator copies what it hands on. Items of one sequence may differ in shape: its type tells their element type,
 * and a shape only if all are known to have that one.
 */
#include "exec/eval.h"
#include "move.h"

enum { MAX_ITEMS = 1 << 24 }; /* each costs memory even if it is empty */

static gr_status set_sequence(const gr_infer *c, gr_dtype dtype, int rank, const gr_dim *dims, gr_err *err)
{
    gr_type *elem = GR_NEW(c->arena, gr_type);
    if (!elem) return gr_nomem(err);
    *elem = (gr_type){.kind = GR_KIND_TENSOR, .dtype = dtype, .rank = rank, .dims = dims};
    c->out[0] = (gr_type){.kind = GR_KIND_SEQUENCE, .dtype = dtype, .rank = GR_RANK_UNKNOWN, .elem = elem};
    return GR_OK;
}

static gr_status require_sequence(const gr_infer *c, uint32_t i, gr_err *err)
{
    if (!gr_has(c, i) || c->in[i]->kind == GR_KIND_NONE || c->in[i]->kind == GR_KIND_SEQUENCE) return GR_OK;
    return gr_fail(err, GR_EMODEL, "input %u must be a sequence", i);
}

static gr_dtype elem_dtype(const gr_infer *c, uint32_t i)
{
    return gr_has(c, i) && c->in[i]->elem ? c->in[i]->elem->dtype : GR_UNDEFINED;
}

static gr_status require_position(const gr_infer *c, uint32_t i, gr_err *err)
{
    GR_TRY(gr_require(c, i, GR_T_INDEX, err));
    return gr_require_scalar(c, i, err);
}

/* ---- SequenceEmpty, SequenceConstruct ---- */

typedef struct empty_params {
    gr_dtype dtype;
} empty_params;

static gr_status parse_empty(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    empty_params *p = GR_NEW(arena, empty_params);
    if (!p) return gr_nomem(err);
    *params = p;
    return gr_attr_dtype(attrs, "dtype", GR_FLOAT, &p->dtype, err);
}

static gr_status infer_empty(const gr_infer *c, gr_err *err)
{
    return set_sequence(c, ((const empty_params *)c->params)->dtype, GR_RANK_UNKNOWN, NULL, err);
}

static gr_status run_empty(const gr_step *s, gr_err *err) { return gr_out_sequence(s, 0, 0, err); }

static bool same_shape(const gr_type *a, const gr_type *b)
{
    if (a->rank != b->rank || a->rank < 0) return false;
    for (int i = 0; i < a->rank; i++)
        if (!gr_dim_same(a->dims[i], b->dims[i])) return false;
    return true;
}

static gr_status infer_construct(const gr_infer *c, gr_err *err)
{
    bool one = true;
    for (uint32_t i = 0; i < c->nin; i++) {
        if (!gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
        GR_TRY(gr_require_movable(c, i, err));
        GR_TRY(gr_require_same(c, 0, i, err));
        one = one && same_shape(c->in[0], c->in[i]);
    }
    return set_sequence(c, gr_in_dtype(c, 0), one ? c->in[0]->rank : GR_RANK_UNKNOWN, one ? c->in[0]->dims : NULL, err);
}

static gr_status run_construct(const gr_step *s, gr_err *err)
{
    GR_TRY(gr_out_sequence(s, 0, s->nin, err));
    for (uint32_t i = 0; i < s->nin; i++) GR_TRY(gr_out_item_copy(s, 0, i, s->in[i], err));
    return GR_OK;
}

/* ---- SequenceInsert, SequenceErase ---- */

static gr_status infer_insert(const gr_infer *c, gr_err *err)
{
    GR_TRY(require_sequence(c, 0, err));
    GR_TRY(gr_require_movable(c, 1, err));
    GR_TRY(require_position(c, 2, err));
    gr_dtype s = elem_dtype(c, 0), t = gr_in_dtype(c, 1);
    if (s != GR_UNDEFINED && t != GR_UNDEFINED && s != t)
        return gr_fail(err, GR_EMODEL, "a tensor of %s into a sequence of %s", gr_dtype_name(t), gr_dtype_name(s));
    bool one = gr_has(c, 0) && c->in[0]->elem && gr_has(c, 1) && same_shape(c->in[0]->elem, c->in[1]);
    return set_sequence(c, s == GR_UNDEFINED ? t : s, one ? c->in[1]->rank : GR_RANK_UNKNOWN,
                        one ? c->in[1]->dims : NULL, err);
}

/* A position in [-n, last]. */
static gr_status position(const gr_tensor *t, size_t n, int64_t last, size_t *out, gr_err *err)
{
    int64_t p = gr_int_at(t, 0), count = (int64_t)n;
    if (p < -count || p > last)
        return gr_fail(err, GR_EINPUT, "position %lld in a sequence of %lld", (long long)p, (long long)count);
    *out = (size_t)(p < 0 ? p + count : p);
    return GR_OK;
}

static gr_status run_insert(const gr_step *s, gr_err *err)
{
    const gr_tensor *x = s->in[0];
    size_t at = x->count;
    if (s->nin > 2 && s->in[2]) GR_TRY(position(s->in[2], x->count, (int64_t)x->count, &at, err));
    GR_TRY(gr_out_sequence(s, 0, x->count + 1, err));
    for (size_t i = 0; i <= x->count; i++)
        GR_TRY(gr_out_item_copy(s, 0, i, i == at ? s->in[1] : x->items[i - (i > at)], err));
    return GR_OK;
}

static gr_status infer_erase(const gr_infer *c, gr_err *err)
{
    GR_TRY(require_sequence(c, 0, err));
    GR_TRY(require_position(c, 1, err));
    return gr_set_like(c, 0, 0);
}

static gr_status run_erase(const gr_step *s, gr_err *err)
{
    const gr_tensor *x = s->in[0];
    if (x->count == 0) return gr_fail(err, GR_EINPUT, "the sequence is empty");
    size_t at = x->count - 1;
    if (s->nin > 1 && s->in[1]) GR_TRY(position(s->in[1], x->count, (int64_t)x->count - 1, &at, err));
    GR_TRY(gr_out_sequence(s, 0, x->count - 1, err));
    for (size_t i = 0; i + 1 < x->count; i++) GR_TRY(gr_out_item_copy(s, 0, i, x->items[i + (i >= at)], err));
    return GR_OK;
}

/* ---- SequenceAt, SequenceLength ---- */

static gr_status infer_at(const gr_infer *c, gr_err *err)
{
    GR_TRY(require_sequence(c, 0, err));
    GR_TRY(require_position(c, 1, err));
    const gr_type *elem = gr_has(c, 0) ? c->in[0]->elem : NULL;
    if (!elem) return gr_set(c, 0, GR_UNDEFINED, GR_RANK_UNKNOWN, NULL);
    return gr_set(c, 0, elem->dtype, elem->rank, elem->dims);
}

static gr_status run_at(const gr_step *s, gr_err *err)
{
    const gr_tensor *x = s->in[0];
    size_t at = 0;
    GR_TRY(position(s->in[1], x->count, (int64_t)x->count - 1, &at, err));
    const gr_tensor *item = x->items[at];
    s->out[0]->dtype = item->dtype;
    GR_TRY(gr_out_alloc(s, 0, item->rank, item->dims, err));
    if (item->size) memcpy(s->out[0]->data, item->data, item->size);
    return GR_OK;
}

static gr_status infer_length(const gr_infer *c, gr_err *err)
{
    GR_TRY(require_sequence(c, 0, err));
    return gr_set(c, 0, GR_INT64, 0, NULL);
}

static gr_status run_length(const gr_step *s, gr_err *err)
{
    int64_t n = (int64_t)s->in[0]->count;
    (void)err;
    memcpy(s->out[0]->data, &n, sizeof n);
    return GR_OK;
}

/* ---- SplitToSequence: no sizes: one item per entry of the axis; a scalar: chunks of that size; a list: sizes ---- */

typedef struct split_params {
    int64_t axis;
    bool keep_dims;
} split_params;

static gr_status parse_split(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    split_params *p = GR_NEW(arena, split_params);
    if (!p) return gr_nomem(err);
    *params = p;
    GR_TRY(gr_attr_int(attrs, "axis", 0, &p->axis, err));
    return gr_attr_bool(attrs, "keepdims", true, &p->keep_dims, err);
}

static gr_status infer_split(const gr_infer *c, gr_err *err)
{
    const split_params *p = c->params;
    gr_dtype t = gr_in_dtype(c, 0);
    int64_t n;
    int axis, rank = 0;
    GR_TRY(gr_require_movable(c, 0, err));
    if (gr_has(c, 1)) GR_TRY(gr_require_list(c, 1, GR_T_INDEX, &n, err));
    if (!gr_rank_known(c, 0)) return set_sequence(c, t, GR_RANK_UNKNOWN, NULL, err);
    GR_TRY(gr_axis(p->axis, c->in[0]->rank, &axis, err));
    if (gr_has(c, 1)) return set_sequence(c, t, GR_RANK_UNKNOWN, NULL, err);
    gr_dim *d = gr_dims(c, c->in[0]->rank);
    for (int i = 0; i < c->in[0]->rank; i++)
        if (i != axis || p->keep_dims) d[rank++] = i == axis ? GR_DIM(1) : c->in[0]->dims[i];
    return set_sequence(c, t, rank, d, err);
}

/* Number of items; *chunk is their size, or 0 if the sizes are listed. */
static gr_status count_items(const gr_step *s, int64_t dim, int64_t *count, int64_t *chunk, gr_err *err)
{
    const gr_tensor *split = s->nin > 1 ? s->in[1] : NULL;
    *chunk = 1;
    if (split && split->rank == 0) *chunk = gr_int_at(split, 0);
    if (*chunk <= 0) return gr_fail(err, GR_EINPUT, "a split size of %lld", (long long)*chunk);
    *count = dim / *chunk + (dim % *chunk != 0);
    if (split && split->rank) {
        int64_t sum = 0;
        *chunk = 0;
        *count = split->elements;
        for (int64_t i = 0; i < *count; i++) {
            int64_t size = gr_int_at(split, i);
            if (size < 0 || __builtin_add_overflow(sum, size, &sum))
                return gr_fail(err, GR_EINPUT, "a split size of %lld", (long long)size);
        }
        if (sum != dim)
            return gr_fail(err, GR_EINPUT, "the sizes add up to %lld, the dimension is %lld", (long long)sum,
                           (long long)dim);
    }
    if (*count > MAX_ITEMS) return gr_fail(err, GR_ELIMIT, "a sequence of %lld items", (long long)*count);
    return GR_OK;
}

static gr_status cut_item(const gr_step *s, int axis, int64_t at, int64_t size, size_t item, gr_err *err)
{
    const split_params *p = s->params;
    const gr_tensor *x = s->in[0];
    int64_t dims[GR_MAX_RANK], inner = gr_product(x->dims, axis + 1, x->rank);
    int rank = 0;
    for (int i = 0; i < x->rank; i++)
        if (i != axis || p->keep_dims || (s->nin > 1 && s->in[1])) dims[rank++] = i == axis ? size : x->dims[i];
    GR_TRY(gr_out_item(s, 0, item, x->dtype, rank, dims, err));
    gr_tensor *out = s->out[0]->items[item];
    gr_move m = {.rank = 0};
    gr_move_loop(&m, gr_product(x->dims, 0, axis), x->dims[axis] * inner, size * inner);
    gr_move_loop(&m, size * inner, 1, 1);
    gr_clear_tail(out);
    gr_move_run(&m, gr_dtype_bits(x->dtype), x->data, at * inner, out->data, 0);
    return GR_OK;
}

static gr_status run_split(const gr_step *s, gr_err *err)
{
    const split_params *p = s->params;
    const gr_tensor *x = s->in[0];
    int axis;
    int64_t count = 0, chunk = 0, at = 0;
    GR_TRY(gr_axis(p->axis, x->rank, &axis, err));
    int64_t dim = x->dims[axis];
    GR_TRY(count_items(s, dim, &count, &chunk, err));
    GR_TRY(gr_out_sequence(s, 0, (size_t)count, err));
    for (int64_t i = 0; i < count; i++) {
        int64_t size = chunk ? (chunk < dim - at ? chunk : dim - at) : gr_int_at(s->in[1], i);
        GR_TRY(cut_item(s, axis, at, size, (size_t)i, err));
        at += size;
    }
    return GR_OK;
}

/* ---- ConcatFromSequence: along an axis, or stacked on a new one ---- */

typedef struct join_params {
    int64_t axis;
    bool stack;
} join_params;

static gr_status parse_join(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    join_params *p = GR_NEW(arena, join_params);
    if (!p) return gr_nomem(err);
    *params = p;
    if (!gr_attr_find(attrs, "axis")) return gr_fail(err, GR_EMODEL, "attribute 'axis' is missing");
    GR_TRY(gr_attr_int(attrs, "axis", 0, &p->axis, err));
    return gr_attr_bool(attrs, "new_axis", false, &p->stack, err);
}

static gr_status infer_join(const gr_infer *c, gr_err *err)
{
    const join_params *p = c->params;
    int axis;
    GR_TRY(require_sequence(c, 0, err));
    const gr_type *elem = gr_has(c, 0) ? c->in[0]->elem : NULL;
    if (!elem || elem->rank < 0) return gr_set(c, 0, elem_dtype(c, 0), GR_RANK_UNKNOWN, NULL);
    int rank = elem->rank + p->stack;
    GR_TRY(gr_check_rank(rank, err));
    GR_TRY(gr_axis(p->axis, rank, &axis, err));
    gr_dim *d = gr_dims(c, rank);
    for (int i = 0; i < rank; i++) d[i] = i == axis ? gr_sym_fresh(c->syms) : elem->dims[i - (p->stack && i > axis)];
    return gr_set(c, 0, elem->dtype, rank, d);
}

static gr_status joined_shape(const gr_step *s, int *rank, int *axis, int64_t *dims, gr_err *err)
{
    const join_params *p = s->params;
    const gr_tensor *x = s->in[0];
    if (x->count == 0) return gr_fail(err, GR_EINPUT, "the sequence is empty");
    const gr_tensor *first = x->items[0];
    *rank = first->rank + p->stack;
    GR_TRY(gr_check_rank(*rank, err));
    GR_TRY(gr_axis(p->axis, *rank, axis, err));
    for (int i = 0; i < *rank; i++) dims[i] = i == *axis ? 0 : first->dims[i - (p->stack && i > *axis)];
    for (size_t k = 0; k < x->count; k++) {
        const gr_tensor *t = x->items[k];
        bool fits = t->rank == first->rank && t->dtype == first->dtype;
        for (int i = 0; i < first->rank && fits; i++) fits = t->dims[i] == first->dims[i] || (i == *axis && !p->stack);
        if (!fits) return gr_fail(err, GR_EINPUT, "item %zu differs in type or shape from item 0", k);
        if (__builtin_add_overflow(dims[*axis], p->stack ? 1 : t->dims[*axis], &dims[*axis]))
            return gr_fail(err, GR_ELIMIT, "the dimensions add up to too much");
    }
    return GR_OK;
}

static gr_status run_join(const gr_step *s, gr_err *err)
{
    const join_params *p = s->params;
    const gr_tensor *x = s->in[0];
    gr_tensor *y = s->out[0];
    int rank = 0, axis = 0;
    int64_t dims[GR_MAX_RANK], at = 0;
    GR_TRY(joined_shape(s, &rank, &axis, dims, err));
    y->dtype = x->items[0]->dtype;
    GR_TRY(gr_out_alloc(s, 0, rank, dims, err));
    int64_t outer = gr_product(dims, 0, axis), inner = gr_product(dims, axis + 1, rank);
    gr_clear_tail(y);
    for (size_t k = 0; k < x->count; k++) {
        int64_t piece = (p->stack ? 1 : x->items[k]->dims[axis]) * inner;
        gr_move m = {.rank = 0};
        gr_move_loop(&m, outer, piece, dims[axis] * inner);
        gr_move_loop(&m, piece, 1, 1);
        gr_move_run(&m, gr_dtype_bits(y->dtype), x->items[k]->data, 0, y->data, at);
        at += piece;
    }
    return GR_OK;
}

#define KERNEL(name) static const gr_kernel k_##name[] = {{"ref", NULL, run_##name, NULL}, {0}}
KERNEL(empty);
KERNEL(construct);
KERNEL(insert);
KERNEL(erase);
KERNEL(at);
KERNEL(length);
KERNEL(split);
KERNEL(join);

#define ROW(name, since, min, max, parse, which)                                                                       \
    GR_OP_ROW(name, since, min, max, 1, GR_OP_DYNAMIC, parse, infer_##which, k_##which)
/* clang-format off */
const gr_op op_sequence[] = {
    ROW("SequenceEmpty", 11, 0, 0, parse_empty, empty),
    ROW("SequenceConstruct", 11, 1, -1, NULL, construct),
    ROW("SequenceInsert", 11, 2, 3, NULL, insert),
    ROW("SequenceErase", 11, 1, 2, NULL, erase),
    ROW("SequenceAt", 11, 2, 2, NULL, at),
    ROW("SequenceLength", 11, 1, 1, NULL, length),
    ROW("SplitToSequence", 11, 1, 2, parse_split, split),
    ROW("SplitToSequence", 24, 1, 2, parse_split, split),
    ROW("ConcatFromSequence", 11, 1, 1, parse_join, join), {0},
};
