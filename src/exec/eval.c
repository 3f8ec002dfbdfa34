/* SPDX-License-Identifier: Apache-2.0
 *
 * One operator at a time on concrete tensors. Slow next to a plan (each call infers, prepares and allocates), but it
 * needs to know nothing before: shapes that depend on data, bodies of loops and constant folding are its business.
 */
#include "eval.h"
#include "packs.h"
#include <omp.h>

/* ---- tensors ---- */

static gr_tensor *shell(gr_kind kind, gr_dtype dtype)
{
    gr_tensor *t = gr_calloc(1, sizeof *t);
    if (t) *t = (gr_tensor){.kind = kind, .dtype = dtype, .aligned = true};
    return t;
}

static bool shape(gr_tensor *t, int rank, const int64_t *dims)
{
    if (rank < 0 || rank > GR_MAX_RANK) return false;
    t->rank = rank;
    if (rank) memcpy(t->dims, dims, (size_t)rank * sizeof *dims);
    return gr_elements(rank, t->dims, &t->elements) && gr_bytes(t->dtype, t->elements, &t->size);
}

gr_tensor *gr_tensor_new(gr_dtype dtype, int rank, const int64_t *dims)
{
    gr_tensor *t = shell(GR_KIND_TENSOR, dtype);
    if (t && (!shape(t, rank, dims) || !(t->data = gr_malloc_aligned(t->size)))) {
        gr_free(t);
        return NULL;
    }
    return t;
}

void gr_tensor_free(gr_tensor *t)
{
    if (!t) return;
    if (t->kind == GR_KIND_SEQUENCE) {
        for (size_t i = 0; i < t->count; i++) gr_tensor_free(t->items[i]);
        gr_free(t->items);
    } else {
        gr_free_aligned(t->data, t->size);
    }
    gr_free(t);
}

gr_tensor *gr_sequence_new(gr_dtype dtype, size_t count)
{
    gr_tensor *t = shell(GR_KIND_SEQUENCE, dtype);
    if (!t || !gr_mul(count, sizeof *t->items, &t->size) || !(t->items = gr_calloc(count, sizeof *t->items))) {
        gr_free(t);
        return NULL;
    }
    t->count = count;
    return t;
}

gr_tensor *gr_tensor_copy(const gr_tensor *t)
{
    if (t->kind == GR_KIND_OPTIONAL) return shell(GR_KIND_OPTIONAL, t->dtype);
    if (t->kind != GR_KIND_SEQUENCE) {
        gr_tensor *copy = gr_tensor_new(t->dtype, t->rank, t->dims);
        if (copy && t->size) memcpy(copy->data, t->data, t->size);
        return copy;
    }
    gr_tensor *copy = gr_sequence_new(t->dtype, t->count);
    if (copy) copy->size = t->size;
    for (size_t i = 0; copy && i < t->count; i++)
        if (!(copy->items[i] = gr_tensor_copy(t->items[i]))) {
            gr_tensor_free(copy);
            return NULL;
        }
    return copy;
}

static gr_status charge(gr_exec *exec, size_t bytes, gr_err *err)
{
    if (!exec) return GR_OK;
    if (exec->max_bytes && (bytes > exec->max_bytes || exec->live_bytes > exec->max_bytes - bytes))
        return gr_fail(err, GR_ELIMIT, "an output of %zu bytes would exceed the memory limit of %zu bytes", bytes,
                       exec->max_bytes);
    return GR_OK;
}

gr_status gr_out_alloc(const gr_step *s, uint32_t o, int rank, const int64_t *dims, gr_err *err)
{
    gr_tensor *t = s->out[o];
    if (!t) return GR_OK;
    gr_free_aligned(t->data, t->size);
    t->data = NULL;
    if (!shape(t, rank, dims)) return gr_fail(err, GR_ELIMIT, "output %u would be too large", o);
    GR_TRY(charge(s->exec, t->size, err));
    t->data = gr_malloc_aligned(t->size);
    return t->data ? GR_OK : gr_fail(err, GR_ENOMEM, "out of memory for an output of %zu bytes", t->size);
}

gr_status gr_out_sequence(const gr_step *s, uint32_t o, size_t count, gr_err *err)
{
    gr_tensor *t = s->out[o];
    if (!t) return GR_OK;
    size_t bytes;
    if (!gr_mul(count, sizeof *t->items, &bytes)) return gr_fail(err, GR_ELIMIT, "a sequence of %zu items", count);
    GR_TRY(charge(s->exec, bytes, err));
    t->items = gr_calloc(count, sizeof *t->items);
    t->count = t->items ? count : 0;
    t->size = bytes;
    return t->items ? GR_OK : gr_nomem(err);
}

gr_status gr_out_item(const gr_step *s, uint32_t o, size_t i, gr_dtype dtype, int rank, const int64_t *dims, gr_err *err)
{
    gr_tensor *t = s->out[o], item = {.kind = GR_KIND_TENSOR, .dtype = dtype};
    size_t all;
    if (!shape(&item, rank, dims) || !gr_add(t->size, item.size, &all) || !gr_add(all, sizeof item, &all))
        return gr_fail(err, GR_ELIMIT, "an item of a sequence would be too large");
    GR_TRY(charge(s->exec, all, err));
    t->size = all;
    return (t->items[i] = gr_tensor_new(dtype, rank, dims)) ? GR_OK : gr_nomem(err);
}

gr_status gr_out_item_copy(const gr_step *s, uint32_t o, size_t i, const gr_tensor *x, gr_err *err)
{
    GR_TRY(gr_out_item(s, o, i, x->dtype, x->rank, x->dims, err));
    if (x->size) memcpy(s->out[o]->items[i]->data, x->data, x->size);
    return GR_OK;
}

gr_status gr_out_same(const gr_step *s, uint32_t o, const gr_tensor *x, gr_err *err)
{
    gr_tensor *y = s->out[o];
    if (!y) return GR_OK;
    bool has_room = y->kind == GR_KIND_TENSOR && y->rank >= 0;
    y->kind = x->kind;
    if (x->kind == GR_KIND_OPTIONAL) return GR_OK;
    y->dtype = x->dtype;
    if (x->kind == GR_KIND_TENSOR) {
        if (!has_room) GR_TRY(gr_out_alloc(s, o, x->rank, x->dims, err));
        if (x->size) memmove(y->data, x->data, x->size);
        return GR_OK;
    }
    GR_TRY(gr_out_sequence(s, o, x->count, err));
    for (size_t i = 0; i < x->count; i++) GR_TRY(gr_out_item_copy(s, o, i, x->items[i], err));
    return GR_OK;
}

gr_status gr_fail_at(const gr_op *op, const char *node_name, gr_status status, gr_err *err)
{
    if (node_name && *node_name) return gr_fail_context(err, status, "node '%s' (%s)", gr_show(node_name), op->name);
    return gr_fail_context(err, status, "a node %s", op->name);
}

/* ---- one operator ---- */

static const gr_type *type_of(gr_arena *arena, const gr_tensor *t)
{
    gr_type *type = GR_NEW(arena, gr_type);
    gr_dim *dims = GR_NEWS(arena, (size_t)t->rank, gr_dim);
    if (!type || !dims) return NULL;
    if (t->kind != GR_KIND_TENSOR) {
        gr_type *elem = GR_NEW(arena, gr_type);
        if (!elem) return NULL;
        *elem = gr_type_tensor(t->dtype, GR_RANK_UNKNOWN, NULL);
        *type = (gr_type){.kind = t->kind, .dtype = t->dtype, .rank = GR_RANK_UNKNOWN, .elem = elem};
        return type;
    }
    for (int i = 0; i < t->rank; i++) dims[i] = GR_DIM(t->dims[i]);
    *type = gr_type_tensor(t->dtype, t->rank, dims);
    return type;
}

const gr_ivals *gr_ivals_of(gr_arena *arena, const gr_tensor *t)
{
    if (t->kind != GR_KIND_TENSOR || t->elements > GR_MAX_SYMBOLIC) return NULL;
    if (t->dtype != GR_INT64 && t->dtype != GR_INT32 && t->dtype != GR_BOOL) return NULL;
    gr_ivals *v = gr_arena_alloc(arena, sizeof *v + (size_t)t->elements * sizeof v->v[0]);
    if (!v) return NULL;
    v->n = t->elements;
    for (int64_t i = 0; i < t->elements; i++) {
        int64_t x = 0;
        int32_t y = 0;
        if (t->dtype == GR_INT64)
            memcpy(&x, (const char *)t->data + i * 8, 8);
        else if (t->dtype == GR_INT32)
            memcpy(&y, (const char *)t->data + i * 4, 4), x = y;
        else
            x = ((const uint8_t *)t->data)[i] != 0;
        v->v[i] = GR_DIM(x);
    }
    return v;
}

typedef struct call {
    gr_arena *arena;
    gr_step step;
    gr_type *types;
    gr_tensor **copies; /* aligned copies of constants that were not */
} call;

static gr_status infer_call(call *k, gr_err *err)
{
    gr_step *s = &k->step;
    const gr_type **in = GR_NEWS(k->arena, s->nin, const gr_type *);
    const gr_tensor **konst = GR_NEWS(k->arena, s->nin, const gr_tensor *);
    const gr_ivals **ivals = GR_NEWS(k->arena, s->nin, const gr_ivals *);
    gr_syms *syms = gr_syms_new(k->arena);
    k->types = GR_NEWS(k->arena, s->nout, gr_type);
    if (!in || !konst || !ivals || !syms || !k->types) return gr_nomem(err);
    for (uint32_t i = 0; i < s->nin; i++) {
        if (!s->in[i]) continue;
        if (!(in[i] = type_of(k->arena, s->in[i]))) return gr_nomem(err);
        konst[i] = s->in[i]->kind == GR_KIND_TENSOR ? s->in[i] : NULL;
        ivals[i] = gr_ivals_of(k->arena, s->in[i]);
    }
    gr_infer c = {k->arena, syms, s->op, s->params, s->node, s->nin, s->nout, in, konst, ivals, k->types};
    return s->op->infer(&c, err);
}

static gr_status align_inputs(call *k, gr_err *err)
{
    gr_step *s = &k->step;
    if (s->op->flags & GR_OP_UNALIGNED) return GR_OK;
    for (uint32_t i = 0; i < s->nin; i++) {
        if (!s->in[i] || s->in[i]->kind != GR_KIND_TENSOR || s->in[i]->aligned) continue;
        if (!(k->copies[i] = gr_tensor_copy(s->in[i]))) return gr_nomem(err);
        k->copies[i]->is_const = s->in[i]->is_const;
        s->in[i] = k->copies[i];
    }
    return GR_OK;
}

static gr_status make_outputs(call *k, const bool *wanted, gr_err *err)
{
    gr_step *s = &k->step;
    for (uint32_t i = 0; i < s->nout; i++) {
        const gr_type *t = &k->types[i];
        if (wanted && !wanted[i]) continue;
        if (t->rank > GR_MAX_RANK) return gr_fail(err, GR_EUNSUPPORTED, "rank %d is more than %d", t->rank, GR_MAX_RANK);
        if (t->kind == GR_KIND_TENSOR && gr_type_is_static(t)) {
            gr_tensor made = {.kind = GR_KIND_TENSOR, .dtype = t->dtype};
            int64_t dims[GR_MAX_RANK];
            for (int d = 0; d < t->rank; d++) dims[d] = t->dims[d].k;
            if (!shape(&made, t->rank, dims)) return gr_fail(err, GR_ELIMIT, "output %u would be too large", i);
            GR_TRY(charge(s->exec, made.size, err));
            if (!(s->out[i] = gr_tensor_new(t->dtype, t->rank, dims)))
                return gr_fail(err, GR_ENOMEM, "out of memory for an output of %zu bytes", made.size);
            continue;
        }
        if (!(s->op->flags & GR_OP_DYNAMIC) && t->kind != GR_KIND_SEQUENCE && t->kind != GR_KIND_OPTIONAL)
            return gr_fail(err, GR_EMODEL, "the shape of output %u cannot be determined", i);
        if (!(s->out[i] = shell(t->kind, t->kind != GR_KIND_TENSOR && t->elem ? t->elem->dtype : t->dtype)))
            return gr_nomem(err);
        if (t->kind == GR_KIND_TENSOR) s->out[i]->rank = -1;
    }
    return GR_OK;
}

static gr_status choose_and_run(gr_step *s, const char *kernel, gr_err *err)
{
    gr_why why = {0};
    const gr_kernel *k = s->op->kernels;
    for (; k->name; k++) {
        if (kernel && strcmp(kernel, k->name)) continue;
        s->state = NULL;
        s->scratch_size = 0;
        if (!k->prepare || k->prepare(s, &why)) break;
    }
    if (!k->name) return gr_fail(err, GR_EUNSUPPORTED, "no kernel for it: %s", why.text);
    s->kernel = k;
    gr_status status = GR_OK;
    if (s->scratch_size && !(s->scratch = gr_malloc_aligned(s->scratch_size))) status = gr_nomem(err);
    if (status == GR_OK) status = k->run(s, err);
    if (k->release) k->release(s);
    gr_free_aligned(s->scratch, s->scratch_size);
    return status;
}

static gr_status eval(call *k, const char *kernel, const bool *wanted, gr_err *err)
{
    GR_TRY(align_inputs(k, err));
    GR_TRY(infer_call(k, err));
    GR_TRY(make_outputs(k, wanted, err));
    return choose_and_run(&k->step, kernel, err);
}

gr_status gr_eval(gr_exec *exec, const gr_op *op, const void *params, const gr_node *node, const char *kernel,
                  uint32_t nin, const gr_tensor *const *in, uint32_t nout, const bool *wanted, gr_tensor **out,
                  gr_err *err)
{
    call k = {.arena = gr_arena_new()};
    for (uint32_t i = 0; i < nout; i++) out[i] = NULL;
    if (!k.arena) return gr_nomem(err);
    k.step = (gr_step){.op = op, .params = params, .node = node, .nin = nin, .nout = nout, .out = out, .arena = k.arena,
                       .packs = exec ? exec->packs : NULL, .exec = exec,
                       .precision = exec ? exec->precision : GR_PRECISION_F32,
                       .threads = exec && exec->threads ? exec->threads : omp_get_max_threads()};
    k.step.in = GR_NEWS(k.arena, nin, gr_tensor *);
    k.copies = GR_NEWS(k.arena, nin, gr_tensor *);
    gr_status status = k.step.in && k.copies ? GR_OK : gr_nomem(err);
    if (status == GR_OK) {
        if (nin) memcpy(k.step.in, in, nin * sizeof *in);
        status = eval(&k, kernel, wanted, err);
    }
    for (uint32_t i = 0; k.copies && i < nin; i++) gr_tensor_free(k.copies[i]);
    for (uint32_t i = 0; i < nout; i++) {
        if (status != GR_OK) {
            gr_tensor_free(out[i]);
            out[i] = NULL;
        } else if (out[i] && exec) {
            exec->live_bytes += out[i]->size;
        }
    }
    gr_arena_free(k.arena);
    return status;
}

/* ---- constants in 16 bits ---- */

gr_tensor *gr_tensor_as(gr_arena *arena, gr_tensor *t, gr_dtype dtype)
{
    size_t bytes;
    if (t->kind != GR_KIND_TENSOR || dtype != GR_FLOAT || !gr_is_16_bit(t->dtype)) return t;
    gr_tensor *wide = GR_NEW(arena, gr_tensor);
    if (!wide || !gr_bytes(GR_FLOAT, t->elements, &bytes)) return NULL;
    *wide = *t;
    wide->dtype = GR_FLOAT;
    wide->size = bytes;
    wide->aligned = true;
    wide->mapped = false;
    if (!(wide->data = gr_arena_alloc(arena, bytes))) return NULL;
    gr_widen_const(t->dtype, t->data, t->elements, wide->data);
    return wide;
}

/* ---- a graph ---- */

typedef struct live {
    gr_tensor *t;
    uint32_t left; /* reads still to come */
    bool owned;
} live;

static void drop(gr_exec *exec, live *v)
{
    if (v->owned) {
        if (exec) exec->live_bytes -= v->t->size;
        gr_tensor_free(v->t);
    }
    v->t = NULL;
    v->owned = false;
}

static gr_status eval_node(gr_exec *exec, const gr_node *n, live *values, gr_err *err)
{
    gr_arena *arena = gr_arena_new();
    if (!arena) return gr_nomem(err);
    const gr_tensor **in = GR_NEWS(arena, n->nin, const gr_tensor *);
    gr_tensor **out = GR_NEWS(arena, n->nout, gr_tensor *);
    bool *wanted = GR_NEWS(arena, n->nout, bool);
    gr_status status = in && out && wanted ? GR_OK : gr_nomem(err);
    for (uint32_t i = 0; status == GR_OK && i < n->nin; i++) in[i] = gr_in(n, i) ? values[gr_in(n, i)->id].t : NULL;
    for (uint32_t i = 0; status == GR_OK && i < n->nout; i++)
        wanted[i] = n->out[i] && (n->out[i]->nuses || n->out[i]->is_output);
    if (status == GR_OK) status = gr_eval(exec, n->op, n->params, n, NULL, n->nin, in, n->nout, wanted, out, err);
    if (status == GR_OK) {
        for (uint32_t i = 0; i < n->nout; i++)
            if (out[i]) values[n->out[i]->id] = (live){out[i], n->out[i]->nuses + n->out[i]->is_output, true};
        for (uint32_t i = 0; i < n->nin; i++) {
            live *v = gr_in(n, i) ? &values[gr_in(n, i)->id] : NULL;
            if (v && v->owned && --v->left == 0) drop(exec, v);
        }
    } else {
        status = gr_fail_at(n->op, n->name, status, err);
    }
    gr_arena_free(arena);
    return status;
}

/* Bodies keep what nobody reads, and what inference has folded. */
static bool needed(const gr_node *n)
{
    for (uint32_t i = 0; i < n->nout; i++)
        if (n->out[i] && !n->out[i]->konst && (n->out[i]->nuses || n->out[i]->is_output)) return true;
    return false;
}

/* v has its contents if it is constant; copies of those in 16 bits live in `wide`. */
static gr_status give_constant(const gr_value *v, gr_arena *wide, live *values, gr_err *err)
{
    live *l = v ? &values[v->id] : NULL;
    if (!v || !v->konst || l->owned || (l->t && gr_is_narrow(v))) return GR_OK;
    l->t = gr_tensor_as(wide, v->konst, v->type.dtype);
    return l->t ? GR_OK : gr_nomem(err);
}

static gr_status eval_graph(gr_exec *exec, const gr_graph *g, const gr_tensor *const *in, gr_arena *wide, live *values,
                            gr_tensor **out, gr_err *err)
{
    for (size_t i = 0; i < g->ninputs; i++) {
        union {
            const gr_tensor *in;
            gr_tensor *t;
        } borrowed = {in[i]}; /* never written: not owned */
        values[g->inputs[i]->id].t = borrowed.t;
    }
    for (const gr_node *n = g->first; n; n = n->next) {
        if (exec && exec->cancel && *exec->cancel) return gr_fail(err, GR_ECANCELLED, "the run was cancelled");
        if (!needed(n)) continue;
        for (uint32_t i = 0; i < n->nin; i++) GR_TRY(give_constant(gr_in(n, i), wide, values, err));
        GR_TRY(eval_node(exec, n, values, err));
    }
    for (size_t i = 0; i < g->noutputs; i++) {
        gr_value *v = g->outputs[i];
        live *l = &values[v->id];
        GR_TRY(give_constant(v, wide, values, err));
        if (l->owned && v->output_index == (int)i) {
            /* Hand it over; a second output of the same value copies it from the first. */
            out[i] = l->t;
            l->owned = false;
        } else if (!(out[i] = gr_tensor_copy(l->t))) {
            return gr_nomem(err);
        } else if (exec) {
            exec->live_bytes += out[i]->size;
        }
    }
    return GR_OK;
}

gr_status gr_eval_graph(gr_exec *exec, const gr_graph *g, const gr_tensor *const *in, gr_tensor **out, gr_err *err)
{
    live *values = gr_calloc(g->nvalues, sizeof *values);
    for (size_t i = 0; i < g->noutputs; i++) out[i] = NULL;
    gr_arena *wide = gr_arena_new();
    if (!values || !wide) {
        gr_free(values);
        gr_arena_free(wide);
        return gr_nomem(err);
    }
    gr_status status = eval_graph(exec, g, in, wide, values, out, err);
    gr_arena_free(wide);
    for (uint32_t i = 0; i < g->nvalues; i++) drop(exec, &values[i]);
    if (status != GR_OK)
        for (size_t i = 0; i < g->noutputs; i++) {
            gr_tensor_free(out[i]);
            out[i] = NULL;
        }
    gr_free(values);
    return status;
}
