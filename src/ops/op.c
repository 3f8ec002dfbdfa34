/* SPDX-License-Identifier: Apache-2.0
 *
 * Operator look-up, and the helpers that parse, infer and prepare functions of all families use.
 */
#include "op.h"
#include <stdio.h>

const gr_op *gr_op_find(const char *domain, const char *name, int64_t opset, int *lowest)
{
    const gr_op *best = NULL;
    int low = 0;
    for (size_t f = 0; gr_op_families[f]; f++) {
        for (const gr_op *op = gr_op_families[f]; op->name; op++) {
            if (*op->name != *name || strcmp(op->name, name)) continue;
            if (strcmp(op->domain ? op->domain : "", domain)) continue;
            if (!low || op->since < low) low = op->since;
            if (op->since <= opset && (!best || op->since > best->since)) best = op;
        }
    }
    if (lowest) *lowest = low;
    return best;
}

/* ---- attributes ---- */

const gr_attr *gr_attr_find(gr_attrs attrs, const char *name)
{
    for (size_t i = 0; i < attrs.count; i++)
        if (!strcmp(attrs.items[i].name, name)) return &attrs.items[i];
    return NULL;
}

static gr_status typed(gr_attrs attrs, const char *name, gr_attr_type type, const char *what, const gr_attr **out,
                       gr_err *err)
{
    *out = gr_attr_find(attrs, name);
    if (*out && (*out)->type != type) return gr_fail(err, GR_EMODEL, "attribute '%s' must be %s", name, what);
    return GR_OK;
}

gr_status gr_attr_int(gr_attrs attrs, const char *name, int64_t missing, int64_t *out, gr_err *err)
{
    const gr_attr *a;
    GR_TRY(typed(attrs, name, GR_ATTR_INT, "an integer", &a, err));
    *out = a ? a->i : missing;
    return GR_OK;
}

gr_status gr_attr_int_in(gr_attrs attrs, const char *name, int64_t missing, int64_t min, int64_t max, int64_t *out,
                         gr_err *err)
{
    GR_TRY(gr_attr_int(attrs, name, missing, out, err));
    if (*out < min || *out > max)
        return gr_fail(err, GR_EMODEL, "attribute '%s' is %lld, expected %lld to %lld", name, (long long)*out,
                       (long long)min, (long long)max);
    return GR_OK;
}

gr_status gr_attr_bool(gr_attrs attrs, const char *name, bool missing, bool *out, gr_err *err)
{
    int64_t v;
    GR_TRY(gr_attr_int(attrs, name, missing, &v, err));
    *out = v != 0;
    return GR_OK;
}

gr_status gr_parse_epsilon(gr_attrs attrs, gr_arena *arena, float missing, const void **params, gr_err *err)
{
    gr_epsilon *p = GR_NEW(arena, gr_epsilon);
    if (!p) return gr_nomem(err);
    *params = p;
    return gr_attr_float(attrs, "epsilon", missing, &p->epsilon, err);
}

gr_status gr_attr_dtype(gr_attrs attrs, const char *name, gr_dtype missing, gr_dtype *out, gr_err *err)
{
    int64_t v;
    GR_TRY(gr_attr_int(attrs, name, missing, &v, err));
    if (v != (int64_t)missing && (v < 1 || v > GR_INT2))
        return gr_fail(err, GR_EMODEL, "attribute '%s' is %lld, which is not an element type", name, (long long)v);
    *out = (gr_dtype)v;
    return GR_OK;
}

gr_status gr_attr_float(gr_attrs attrs, const char *name, float missing, float *out, gr_err *err)
{
    const gr_attr *a;
    GR_TRY(typed(attrs, name, GR_ATTR_FLOAT, "a float", &a, err));
    *out = a ? a->f : missing;
    return GR_OK;
}

gr_status gr_attr_string(gr_attrs attrs, const char *name, const char *missing, const char **out, gr_err *err)
{
    const gr_attr *a;
    GR_TRY(typed(attrs, name, GR_ATTR_STRING, "a string", &a, err));
    *out = missing;
    if (!a) return GR_OK;
    if (memchr(a->s.data, 0, a->s.size)) return gr_fail(err, GR_EMODEL, "attribute '%s' holds a NUL byte", name);
    *out = a->s.data; /* importers put a NUL behind every attribute string */
    return GR_OK;
}

gr_status gr_attr_ints(gr_attrs attrs, const char *name, int64_t *n, const int64_t **out, gr_err *err)
{
    const gr_attr *a = gr_attr_find(attrs, name);
    *n = -1;
    *out = NULL;
    if (!a) return GR_OK;
    /* An empty list may come without a type or as an empty list of floats: all spellings of nothing. */
    bool list = a->type == GR_ATTR_INTS || (a->count == 0 && (a->type == GR_ATTR_FLOATS || a->type == GR_ATTR_STRINGS));
    if (!list && a->type != GR_ATTR_UNDEFINED)
        return gr_fail(err, GR_EMODEL, "attribute '%s' must be a list of integers", name);
    *n = (int64_t)a->count;
    *out = a->ints;
    return GR_OK;
}

/* ---- inference ---- */

enum { SPARE_DIMS = 64 };

gr_dim *gr_dims(const gr_infer *c, int rank)
{
    /* Where an allocation failed: written to by the caller, refused by gr_set, never read. */
    static _Thread_local gr_dim spare[SPARE_DIMS];
    gr_dim *d = GR_NEWS(c->arena, rank > 0 ? (size_t)rank : 1, gr_dim);
    return d ? d : spare;
}

gr_status gr_set(const gr_infer *c, uint32_t o, gr_dtype dtype, int rank, const gr_dim *dims)
{
    if (o >= c->nout) return GR_OK;
    c->out[o] = (gr_type){.kind = GR_KIND_TENSOR, .dtype = dtype, .rank = rank, .dims = dims};
    return GR_OK;
}

gr_status gr_set_like_as(const gr_infer *c, uint32_t o, uint32_t i, gr_dtype dtype)
{
    if (!gr_has(c, i) || c->in[i]->kind != GR_KIND_TENSOR) return gr_set(c, o, dtype, GR_RANK_UNKNOWN, NULL);
    return gr_set(c, o, dtype, c->in[i]->rank, c->in[i]->dims);
}

gr_status gr_set_like(const gr_infer *c, uint32_t o, uint32_t i)
{
    if (gr_has(c, i) && o < c->nout && c->in[i]->kind != GR_KIND_NONE) {
        c->out[o] = *c->in[i];
        return GR_OK;
    }
    return gr_set(c, o, GR_UNDEFINED, GR_RANK_UNKNOWN, NULL);
}

gr_status gr_set_broadcast(const gr_infer *c, uint32_t o, uint32_t first, uint32_t last, gr_dtype dtype, gr_err *err)
{
    int rank = 0;
    for (uint32_t i = first; i <= last; i++) {
        if (!gr_has(c, i)) continue;
        if (!gr_rank_known(c, i)) return gr_set(c, o, dtype, GR_RANK_UNKNOWN, NULL);
        if (c->in[i]->rank > rank) rank = c->in[i]->rank;
    }
    gr_dim *d = gr_dims(c, rank);
    for (int axis = 0; axis < rank; axis++) {
        d[axis] = GR_DIM(1);
        for (uint32_t i = first; i <= last; i++) {
            if (!gr_has(c, i)) continue;
            int at = axis - (rank - c->in[i]->rank);
            if (at < 0) continue;
            gr_dim a = d[axis], b = c->in[i]->dims[at];
            if (!gr_sym_broadcast(c->syms, a, b, &d[axis]))
                return gr_fail(err, GR_EMODEL, "shapes do not broadcast: dimensions %s and %s meet in axis %d",
                               gr_sym_text(c->syms, a), gr_sym_text(c->syms, b), axis);
        }
    }
    return gr_set(c, o, dtype, rank, d);
}

bool gr_known_ints(const gr_infer *c, uint32_t i, int64_t *n, const gr_dim **v)
{
    if (i >= c->nin || !c->ivals[i]) return false;
    *n = c->ivals[i]->n;
    *v = c->ivals[i]->v;
    return true;
}

bool gr_known_int(const gr_infer *c, uint32_t i, gr_dim *v)
{
    int64_t n;
    const gr_dim *all;
    if (!gr_known_ints(c, i, &n, &all) || n != 1) return false;
    *v = all[0];
    return true;
}

gr_status gr_require(const gr_infer *c, uint32_t i, uint64_t mask, gr_err *err)
{
    if (!gr_has(c, i) || c->in[i]->kind == GR_KIND_NONE) return GR_OK;
    if (c->in[i]->kind != GR_KIND_TENSOR) return gr_fail(err, GR_EMODEL, "input %u must be a tensor", i);
    gr_dtype t = c->in[i]->dtype;
    if (t == GR_UNDEFINED || (mask >> t & 1)) return GR_OK;
    if (t == GR_STRING) return gr_fail(err, GR_EUNSUPPORTED, "input %u holds strings, which are not supported", i);
    char list[256];
    int at = 0;
    for (int d = 1; d <= GR_INT2 && at < (int)sizeof list - 24; d++)
        if (mask >> d & 1) at += snprintf(list + at, sizeof list - (size_t)at, "%s%s", at ? ", " : "", gr_dtype_name(d));
    return gr_fail(err, GR_EMODEL, "input %u has elements of type %s, expected %s", i, gr_dtype_name(t), list);
}

gr_status gr_require_same(const gr_infer *c, uint32_t i, uint32_t j, gr_err *err)
{
    if (!gr_has(c, i) || !gr_has(c, j)) return GR_OK;
    gr_dtype a = c->in[i]->dtype, b = c->in[j]->dtype;
    if (a == b || a == GR_UNDEFINED || b == GR_UNDEFINED) return GR_OK;
    return gr_fail(err, GR_EMODEL, "inputs %u and %u must have one element type, not %s and %s", i, j, gr_dtype_name(a),
                   gr_dtype_name(b));
}

gr_status gr_unify_dim(const gr_infer *c, uint32_t i, int axis, gr_dim *d, gr_err *err)
{
    if (!gr_rank_known(c, i)) return GR_OK;
    gr_dim is = c->in[i]->dims[axis];
    if (gr_dim_known(is) && gr_dim_known(*d) && is.k != d->k)
        return gr_fail(err, GR_EMODEL, "axis %d of input %u has %lld elements, expected %lld", axis, i, (long long)is.k,
                       (long long)d->k);
    if (gr_dim_known(is)) *d = is;
    return GR_OK;
}

gr_status gr_axis(int64_t axis, int rank, int *out, gr_err *err)
{
    if (axis < -(int64_t)rank || axis >= rank)
        return gr_fail(err, GR_EMODEL, "axis %lld is out of range for rank %d", (long long)axis, rank);
    *out = (int)(axis < 0 ? axis + rank : axis);
    return GR_OK;
}

/* ---- execution ---- */

bool gr_decline(gr_why *why, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(why->text, sizeof why->text, fmt, args);
    va_end(args);
    return false;
}

void gr_dense_strides(int rank, const int64_t *dims, int64_t *strides)
{
    int64_t step = 1;
    for (int i = rank - 1; i >= 0; i--) {
        strides[i] = step;
        step *= dims[i] > 0 ? dims[i] : 1;
    }
}

void gr_broadcast_strides(const gr_tensor *t, int rank, const int64_t *out, int64_t *strides)
{
    int64_t dense[GR_MAX_RANK];
    gr_dense_strides(t->rank, t->dims, dense);
    for (int i = 0; i < rank; i++) {
        int at = i - (rank - t->rank);
        strides[i] = at < 0 || (t->dims[at] == 1 && out[i] != 1) ? 0 : dense[at];
    }
}
