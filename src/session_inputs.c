/* SPDX-License-Identifier: Apache-2.0
 *
 * What callers feed: checked against the graph, copied where it is not aligned.
 */
#include "session_data.h"
#include <stdio.h>

void gr_session_free_copies(gr_session *s)
{
    for (size_t i = 0; i < s->capinputs; i++) {
        gr_free_aligned(s->copies[i], s->copy_sizes[i]);
        s->copies[i] = NULL;
        gr_tensor_free(s->sequences[i]);
        s->sequences[i] = NULL;
    }
}

/* What an empty tensor points at: nobody reads or writes it, but a pointer that is NULL could not even be passed on. */
static _Alignas(64) char nothing[64];

static gr_status check_view(const char *name, const gr_tensor_view *t, bool shape_only, gr_tensor *out, gr_err *err)
{
    if (t->rank < 0 || t->rank > GR_MAX_RANK || (t->rank && !t->dims))
        return gr_fail(err, GR_EINPUT, "input '%s' has rank %d, expected 0 to %d", gr_show(name), t->rank, GR_MAX_RANK);
    *out = (gr_tensor){.kind = GR_KIND_TENSOR, .dtype = t->type, .rank = t->rank, .data = t->data};
    if (t->rank) memcpy(out->dims, t->dims, (size_t)t->rank * sizeof *t->dims);
    if (gr_dtype_bits(t->type) == 0 || !gr_elements(out->rank, out->dims, &out->elements) ||
        !gr_bytes(out->dtype, out->elements, &out->size))
        return gr_fail(err, GR_EINPUT, "input '%s' has a type or shape that no tensor can have", gr_show(name));
    if (shape_only) return GR_OK;
    if (out->size != t->size || (out->size && !t->data))
        return gr_fail(err, GR_EINPUT, "input '%s' comes with %zu bytes, its shape needs %zu", gr_show(name), t->size,
                       out->size);
    if (!out->data) out->data = nothing;
    return GR_OK;
}

/* The session's copy of a sequence that is fed; items of other types than the first are refused. */
static gr_status copy_sequence(gr_session *s, size_t i, const gr_named_tensor *in, bool shape_only, gr_err *err)
{
    const gr_tensor_view *items = in->tensor.data;
    size_t n = shape_only ? 0 : in->tensor.size / sizeof *items;
    if (in->tensor.size % sizeof *items || (n && !items))
        return gr_fail(err, GR_EINPUT, "input '%s' is a sequence, and its data no array of views", gr_show(in->name));
    gr_tensor_free(s->sequences[i]);
    gr_tensor *q = s->sequences[i] = gr_sequence_new(n ? items[0].type : in->tensor.type, n);
    if (!q) return gr_nomem(err);
    for (size_t k = 0; k < n; k++) {
        gr_tensor t;
        GR_TRY(check_view(in->name, &items[k], false, &t, err));
        if (t.dtype != q->dtype)
            return gr_fail(err, GR_EINPUT, "item %zu of input '%s' is %s, item 0 is %s", k, gr_show(in->name),
                           gr_dtype_name(t.dtype), gr_dtype_name(q->dtype));
        if (!(q->items[k] = gr_tensor_copy(&t))) return gr_nomem(err);
        q->size += t.size;
    }
    s->inputs[i] = *q;
    return GR_OK;
}

static gr_status take_input(gr_session *s, size_t i, const gr_named_tensor *in, bool shape_only, gr_err *err)
{
    if (in->tensor.rank == GR_VIEW_SEQUENCE) return copy_sequence(s, i, in, shape_only, err);
    if (in->tensor.rank != GR_VIEW_EMPTY) return check_view(in->name, &in->tensor, shape_only, &s->inputs[i], err);
    s->inputs[i] = (gr_tensor){.kind = GR_KIND_OPTIONAL, .dtype = in->tensor.type};
    return GR_OK;
}

static const char *shape_text(char *text, size_t room, int rank, const int64_t *dims)
{
    size_t at = (size_t)snprintf(text, room, "[");
    for (int i = 0; i < rank && at < room; i++)
        at += (size_t)snprintf(text + at, room - at, "%s%lld", i ? ", " : "", (long long)dims[i]);
    if (at < room) snprintf(text + at, room - at, "]");
    return text;
}

/* What a sequence or an optional says of itself, for a message. */
static const char *tensor_text(char *text, size_t room, const gr_tensor *t)
{
    char shape[160];
    if (t->kind == GR_KIND_OPTIONAL) return "empty";
    if (t->kind == GR_KIND_SEQUENCE)
        snprintf(text, room, "a sequence of %s", gr_dtype_name(t->dtype));
    else
        snprintf(text, room, "%s%s", gr_dtype_name(t->dtype), shape_text(shape, sizeof shape, t->rank, t->dims));
    return text;
}

static bool fits(const gr_type *want, const gr_tensor *t)
{
    if (want->kind == GR_KIND_OPTIONAL && t->kind == GR_KIND_OPTIONAL) return true;
    if (want->kind == GR_KIND_OPTIONAL && want->elem) want = want->elem;
    if (want->kind != t->kind) return want->kind == GR_KIND_NONE && t->kind == GR_KIND_TENSOR;
    if (want->dtype != GR_UNDEFINED && want->dtype != t->dtype) return t->kind == GR_KIND_SEQUENCE && !t->count;
    if (t->kind != GR_KIND_TENSOR) return !want->elem || want->elem->kind == GR_KIND_TENSOR;
    if (want->rank >= 0 && want->rank != t->rank) return false;
    for (int i = 0; i < want->rank; i++)
        if (!want->dims[i].expr && want->dims[i].k != t->dims[i]) return false;
    return true;
}

static gr_status check_type(const gr_value *v, gr_tensor *t, gr_err *err)
{
    char text[224];
    if (fits(&v->type, t)) {
        if (t->kind != GR_KIND_TENSOR && v->type.dtype) t->dtype = v->type.dtype; /* nobody can tell of an empty one */
        return GR_OK;
    }
    gr_arena *a = gr_arena_new();
    gr_syms *syms = a ? gr_syms_new(a) : NULL;
    gr_status status = gr_fail(err, GR_EINPUT, "input '%s' is %s, expected %s", gr_show(v->name),
                               tensor_text(text, sizeof text, t),
                               syms ? gr_type_text(syms, a, &v->type) : "another type");
    gr_arena_free(a);
    return status;
}

static bool agrees(const gr_graph *g, const gr_tensor *inputs, size_t i, int d, size_t j)
{
    for (int e = 0; e < g->inputs[j]->type.rank; e++)
        if (gr_dim_same(g->inputs[i]->type.dims[d], g->inputs[j]->type.dims[e]) && inputs[i].dims[d] != inputs[j].dims[e])
            return false;
    return true;
}

bool gr_session_names_agree(const gr_graph *g, const gr_tensor *inputs)
{
    enum { MANY = 256 };
    if (g->ninputs > MANY) return false;
    for (size_t i = 0; i < g->ninputs; i++)
        for (int d = 0; d < g->inputs[i]->type.rank; d++)
            for (size_t j = 0; g->inputs[i]->type.dims[d].expr && j <= i; j++)
                if (!agrees(g, inputs, i, d, j)) return false;
    return true;
}

static gr_status missing_input(const gr_graph *g, const gr_value *v, gr_err *err)
{
    char list[512] = "";
    size_t at = 0;
    if (v->type.dtype == GR_STRING)
        return gr_fail(err, GR_EUNSUPPORTED, "input '%s' holds strings, which are not supported", gr_show(v->name));
    for (size_t i = 0; i < g->ninputs && at < sizeof list - 130; i++)
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", gr_show(g->inputs[i]->name));
    return gr_fail(err, GR_EINPUT, "input '%s' is missing; the model needs %s", gr_show(v->name), list);
}

/* More is given than there are inputs. */
static gr_status too_many_inputs(const gr_graph *g, const gr_named_tensor *inputs, size_t n, gr_err *err)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            if (!strcmp(inputs[i].name, inputs[j].name))
                return gr_fail(err, GR_EINPUT, "input '%s' is given twice", gr_show(inputs[i].name));
    return gr_fail(err, GR_EINPUT, "%zu inputs are given, the model has %zu", n, g->ninputs);
}

/* All that is given is an input of the graph; they mostly come in its order. */
gr_status gr_session_bind_inputs(gr_session *s, const gr_graph *g, const gr_named_tensor *inputs, size_t n, bool shape_only,
                                 gr_err *err)
{
    size_t k = 0;
    for (size_t i = 0; i < g->ninputs; i++, k++) {
        size_t tried = 0;
        for (; tried < n && strcmp(inputs[k % n].name, g->inputs[i]->name); tried++) k++;
        if (tried == n && g->inputs[i]->type.kind != GR_KIND_OPTIONAL) return missing_input(g, g->inputs[i], err);
        const gr_named_tensor empty = {g->inputs[i]->name, {.rank = GR_VIEW_EMPTY}};
        if (n) k %= n;
        GR_TRY(take_input(s, i, tried == n ? &empty : &inputs[k], shape_only, err));
        GR_TRY(check_type(g->inputs[i], &s->inputs[i], err));
        gr_tensor *t = &s->inputs[i];
        if (t->kind != GR_KIND_TENSOR) continue;
        size_t align = ((size_t)gr_dtype_bits(t->dtype) + 7) / 8;
        t->aligned = true;
        if (shape_only || !t->size || (uintptr_t)t->data % (align > 8 ? 8 : align) == 0) continue;
        if (s->copy_sizes[i] != t->size || !s->copies[i]) {
            gr_free_aligned(s->copies[i], s->copy_sizes[i]);
            s->copy_sizes[i] = t->size;
            if (!(s->copies[i] = gr_malloc_aligned(t->size))) return gr_nomem(err);
        }
        memcpy(s->copies[i], t->data, t->size);
        t->data = s->copies[i];
    }
    return n > g->ninputs ? too_many_inputs(g, inputs, n, err) : GR_OK;
}

gr_status gr_session_sort_names(gr_session *s, const gr_graph *g, const gr_named_tensor *inputs, size_t n, gr_err *err)
{
    s->fed.count = 0;
    for (size_t i = 0; i < n; i++) {
        if (!inputs[i].name) return gr_fail(err, GR_EINVAL, "an input has no name");
        const gr_value *v = gr_graph_find(g, inputs[i].name);
        if (v && v->is_input) continue;
        if (!gr_model_can_override(s->model, inputs[i].name))
            return gr_fail(err, GR_EINPUT, "the model has no input '%s'", gr_show(inputs[i].name));
        s->fed.items[s->fed.count++] = inputs[i].name;
    }
    return GR_OK;
}
