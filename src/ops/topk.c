/* SPDX-License-Identifier: Apache-2.0
 *
 * TopK: the k greatest or smallest along an axis, best first, and their positions; of equals the first ones. NaN counts
 * as greater than everything. k is an attribute in version 1, then an input.
 */
#include "move.h"
#include "order.h"
#include <omp.h>

enum { PARALLEL_ELEMENTS = 32 << 10 };

typedef struct topk_params {
    int64_t axis, k; /* k -1: input 1 */
    bool largest;
} topk_params;

static gr_status parse_10(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    topk_params *p = GR_NEW(arena, topk_params);
    if (!p) return gr_nomem(err);
    *params = p;
    p->k = -1;
    GR_TRY(gr_attr_int(attrs, "axis", -1, &p->axis, err));
    return gr_attr_bool(attrs, "largest", true, &p->largest, err);
}

static gr_status parse_1(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    GR_TRY(parse_10(attrs, arena, params, err));
    if (!gr_attr_find(attrs, "k")) return gr_fail(err, GR_EMODEL, "attribute 'k' is missing");
    return gr_attr_int_in(attrs, "k", 0, 0, INT64_MAX, &((topk_params *)*params)->k, err);
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const topk_params *p = c->params;
    gr_dtype t = gr_in_dtype(c, 0);
    gr_dim k = GR_DIM(p->k);
    int axis;
    GR_TRY(gr_require(c, 0, GR_T_NUMBERS, err));
    if (p->k < 0) {
        GR_TRY(gr_require(c, 1, GR_T(INT64), err));
        GR_TRY(gr_require_scalar(c, 1, err));
        if (!gr_known_int(c, 1, &k)) k = gr_sym_fresh(c->syms);
    }
    if (!gr_rank_known(c, 0)) {
        GR_TRY(gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL));
        return gr_set(c, 1, GR_INT64, GR_RANK_UNKNOWN, NULL);
    }
    const gr_type *x = c->in[0];
    GR_TRY(gr_axis(p->axis, x->rank, &axis, err));
    if (gr_dim_known(k) && (k.k < 0 || (gr_dim_known(x->dims[axis]) && k.k > x->dims[axis].k)))
        return gr_fail(err, GR_EINPUT, "k is %lld, expected 0 to %s", (long long)k.k,
                       gr_sym_text(c->syms, x->dims[axis]));
    gr_dim *d = gr_dims(c, x->rank);
    for (int i = 0; i < x->rank; i++) d[i] = i == axis ? k : x->dims[i];
    GR_TRY(gr_set(c, 0, t, x->rank, d));
    return gr_set(c, 1, GR_INT64, x->rank, d);
}

typedef struct entry {
    uint64_t key;
    int64_t index;
} entry;

static bool worse(entry a, entry b) { return a.key != b.key ? a.key < b.key : a.index > b.index; }

/* Let heap[at] sink in a heap of n whose root is the worst. */
static void sink(entry *heap, int64_t n, int64_t at)
{
    entry e = heap[at];
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && worse(heap[child + 1], heap[child])) child++;
        if (!worse(heap[child], e)) break;
        heap[at] = heap[child];
    }
    heap[at] = e;
}

typedef struct line {
    const gr_tensor *x;
    int64_t n, k, stride;
    uint64_t flip; /* all ones: the smallest are the best */
} line;

/* The k best of a line that starts at element `base`, best first. */
static void select_line(const line *l, int64_t base, entry *heap)
{
    for (int64_t i = 0; i < l->n; i++) {
        entry e = {gr_sort_key(l->x->dtype, l->x->data, base + i * l->stride) ^ l->flip, i};
        if (i < l->k) {
            heap[i] = e;
            if (i == l->k - 1)
                for (int64_t at = l->k / 2; at-- > 0;) sink(heap, l->k, at);
        } else if (worse(heap[0], e)) {
            heap[0] = e;
            sink(heap, l->k, 0);
        }
    }
    for (int64_t left = l->k; left-- > 1;) {
        entry worst = heap[0];
        heap[0] = heap[left];
        sink(heap, left, 0);
        heap[left] = worst;
    }
}

static void store_line(const gr_step *s, const line *l, int64_t base, int64_t at, const entry *heap)
{
    size_t bytes = (size_t)gr_dtype_bits(l->x->dtype) / 8;
    for (int64_t j = 0; j < l->k; j++) {
        int64_t to = at + j * l->stride;
        if (s->out[0])
            memcpy((char *)s->out[0]->data + (size_t)to * bytes,
                   (const char *)l->x->data + (size_t)(base + heap[j].index * l->stride) * bytes, bytes);
        if (s->nout > 1 && s->out[1]) ((int64_t *)s->out[1]->data)[to] = heap[j].index;
    }
}

static const gr_tensor *any_output(const gr_step *s) { return s->out[0] ? s->out[0] : s->nout > 1 ? s->out[1] : NULL; }

static int team(const gr_step *s) { return s->in[0]->elements >= PARALLEL_ELEMENTS && s->threads > 1 ? s->threads : 1; }

static bool prepare(gr_step *s, gr_why *why)
{
    const topk_params *p = s->params;
    const gr_tensor *y = any_output(s);
    int axis;
    if (!y) return true;
    if (!gr_prepare_shaped(s, why)) return false;
    if (gr_axis(p->axis, y->rank, &axis, NULL) != GR_OK) return gr_decline(why, "the axis is out of range");
    size_t heap;
    if (!gr_mul((size_t)y->dims[axis], sizeof(entry), &heap) || !gr_mul(heap, (size_t)team(s), &s->scratch_size))
        return gr_decline(why, "k is too large");
    return true;
}

static gr_status run(const gr_step *s, gr_err *err)
{
    const topk_params *p = s->params;
    const gr_tensor *x = s->in[0], *y = any_output(s);
    int axis;
    if (!y || !y->elements) return GR_OK;
    GR_TRY(gr_axis(p->axis, x->rank, &axis, err));
    if (p->k < 0) GR_TRY(gr_check_extent(gr_int_at(s->in[1], 0), y->dims[axis], err));
    int64_t inner = gr_product(x->dims, axis + 1, x->rank), outer = gr_product(x->dims, 0, axis);
    line l = {x, x->dims[axis], y->dims[axis], inner, p->largest ? 0 : UINT64_MAX};
#pragma omp parallel for schedule(static) num_threads(team(s)) if (outer * inner > 1)
    for (int64_t i = 0; i < outer * inner; i++) {
        entry *heap = (entry *)s->scratch + omp_get_thread_num() * l.k;
        int64_t base = i / inner * l.n * inner + i % inner;
        select_line(&l, base, heap);
        store_line(s, &l, base, i / inner * l.k * inner + i % inner, heap);
    }
    return GR_OK;
}

static const gr_kernel kernels[] = {{"ref", prepare, run, NULL}, {0}};

#define TOPK(since) GR_OP_ROW("TopK", since, 2, 2, 2, GR_OP_DYNAMIC, parse_10, infer, kernels)
const gr_op op_topk[] = {
    GR_OP_ROW("TopK", 1, 1, 1, 2, 0, parse_1, infer, kernels), TOPK(10), TOPK(11), TOPK(24), {0},
};
