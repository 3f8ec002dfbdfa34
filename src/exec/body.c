/* SPDX-License-Identifier: Apache-2.0
 *
 * Bodies of operators: building their nodes, and a plan inside a step for those that stayed whole.
 */
#include "exec/body.h"
#include "exec/plan.h"

/* ---- building ---- */

int gr_body_rank(gr_body *b, const gr_value *v)
{
    if (v && v->type.kind == GR_KIND_TENSOR && v->type.rank >= 0) return v->type.rank;
    b->open = true;
    return GR_RANK_UNKNOWN;
}

int64_t gr_body_dim(gr_body *b, const gr_value *v, int d)
{
    if (v && v->type.rank > d && gr_dim_known(v->type.dims[d])) return v->type.dims[d].k;
    b->open = true;
    return -1;
}

gr_dtype gr_body_dtype(gr_body *b, const gr_value *v)
{
    if (v && v->type.kind == GR_KIND_TENSOR && v->type.dtype != GR_UNDEFINED) return v->type.dtype;
    b->open = true;
    return GR_UNDEFINED;
}

static gr_value *fail(gr_body *b, gr_status status)
{
    if (b->status == GR_OK) b->status = status;
    return NULL;
}

/* A list or a text of an attribute may be the caller's own: all of it is copied. */
static bool copy_attr(gr_arena *arena, gr_attr *a)
{
    if (a->type == GR_ATTR_INTS) {
        int64_t *ints = GR_NEWS(arena, a->count, int64_t);
        if (ints && a->count) memcpy(ints, a->ints, a->count * sizeof *ints);
        a->ints = ints;
        return ints != NULL;
    }
    return a->type != GR_ATTR_STRING || (a->s.data = gr_arena_strndup(arena, a->s.data, a->s.size));
}

static const gr_op *find(const char *name)
{
    char domain[32] = "";
    const char *dot = strrchr(name, '.');
    if (!dot) return gr_op_find("", name, INT32_MAX, NULL);
    size_t n = (size_t)(dot - name);
    if (n >= sizeof domain) return NULL;
    memcpy(domain, name, n);
    return gr_op_find(domain, dot + 1, INT32_MAX, NULL);
}

gr_value *gr_body_node(gr_body *b, const char *op, gr_attrs attrs, uint32_t nin, gr_value *const *in, uint32_t nout,
                       gr_value **out)
{
    gr_arena *arena = b->g->arena;
    const gr_op *o = find(op);
    const void *params = NULL;
    for (uint32_t i = 0; out && i < nout; i++) out[i] = NULL;
    if (b->status != GR_OK || b->open) return NULL;
    if (!o) return fail(b, gr_fail(b->err, GR_EUNSUPPORTED, "operator %s is not known", op));
    gr_attr *items = GR_NEWS(arena, attrs.count, gr_attr);
    if (!items) return fail(b, gr_nomem(b->err));
    for (size_t i = 0; i < attrs.count; i++) {
        items[i] = attrs.items[i];
        if (!copy_attr(arena, &items[i])) return fail(b, gr_nomem(b->err));
    }
    attrs.items = items;
    if (o->parse) {
        gr_status status = o->parse(attrs, arena, &params, b->err);
        if (status != GR_OK) return fail(b, status);
    }
    while (nin && !in[nin - 1]) nin--;
    gr_node *n = gr_graph_node(b->g, o, params, attrs, nin, in, nout, NULL);
    if (!n) return fail(b, gr_nomem(b->err));
    n->name = b->name ? b->name : "";
    gr_insert_before(n, b->at);
    gr_status status = gr_node_infer(n, b->err);
    if (status != GR_OK) return fail(b, status);
    for (uint32_t i = 0; out && i < nout; i++) out[i] = n->out[i];
    return n->out[0];
}

gr_value *gr_body_ints(gr_body *b, int64_t n, const int64_t *v)
{
    gr_value *c = b->status == GR_OK ? gr_graph_ints(b->g, b->name, n, v) : NULL;
    return c ? c : fail(b, GR_ENOMEM);
}

gr_value *gr_body_float(gr_body *b, float x)
{
    gr_value *c = b->status == GR_OK ? gr_graph_scalar(b->g, b->name, x) : NULL;
    return c ? c : fail(b, GR_ENOMEM);
}

gr_value *gr_body_int32(gr_body *b, int32_t x)
{
    int32_t *copy = b->status == GR_OK ? GR_NEW(b->g->arena, int32_t) : NULL;
    if (!copy) return fail(b, GR_ENOMEM);
    *copy = x;
    gr_value *c = gr_graph_const(b->g, b->name, GR_INT32, 0, NULL, copy);
    return c ? c : fail(b, GR_ENOMEM);
}

gr_value *gr_body_part(gr_body *b, gr_value *v, int64_t first, int64_t n)
{
    if (!v || b->status != GR_OK || b->open) return NULL;
    int64_t end, whole = gr_body_dim(b, v, 0);
    if (b->open) return NULL;
    if (__builtin_add_overflow(first, n, &end) || end > whole)
        return fail(b, gr_fail(b->err, GR_EMODEL, "a vector of %lld elements is too short, expected %lld from %lld on",
                               (long long)whole, (long long)n, (long long)first));
    size_t size = (size_t)gr_dtype_bits(v->type.dtype) / 8;
    if (v->konst && !gr_is_narrow(v) && v->type.rank == 1 && size) {
        gr_value *c =
            gr_graph_const(b->g, v->name, v->type.dtype, 1, &n, (const char *)v->konst->data + (size_t)first * size);
        if (!c) return fail(b, gr_nomem(b->err));
        c->konst->aligned = v->konst->aligned;
        c->konst->mapped = v->konst->mapped;
        return c;
    }
    return GR_BODY_NODE(b, "Slice", GR_NO_ATTRS, v, gr_body_ints(b, 1, &first), gr_body_ints(b, 1, &end),
                        gr_body_ints(b, 1, &(int64_t){0}));
}

gr_value *gr_body_reshape(gr_body *b, gr_value *v, int64_t n, const int64_t *shape)
{
    return GR_BODY_NODE(b, "Reshape", GR_NO_ATTRS, v, gr_body_ints(b, n, shape));
}

gr_value *gr_body_transpose(gr_body *b, gr_value *v, int64_t n, const int64_t *perm)
{
    gr_attr attr = {.name = "perm", .type = GR_ATTR_INTS, .count = (size_t)n, .ints = perm};
    return GR_BODY_NODE(b, "Transpose", ((gr_attrs){1, &attr}), v);
}

void gr_body_split(gr_body *b, gr_value *v, int64_t axis, int64_t n, const int64_t *sizes, gr_value **out)
{
    gr_value *in[] = {v, gr_body_ints(b, n, sizes)};
    gr_body_node(b, "Split", GR_ATTRS(GR_INT_ATTR("axis", axis)), 2, in, (uint32_t)n, out);
}

static gr_status write_body(gr_body *b, const gr_op *op)
{
    gr_status status = op->body(b);
    if (b->status != GR_OK) return b->status == GR_ENOMEM ? gr_nomem(b->err) : b->status;
    return status;
}

/* A body that has been written must have made what is wanted. */
static gr_status check_made(const gr_body *b, const gr_op *op)
{
    if (b->open) return GR_OK;
    for (uint32_t o = 0; o < b->nout; o++)
        if (b->wanted[o] && !b->out[o])
            return gr_fail(b->err, GR_EUNSUPPORTED, "output %u of %s is not supported", o, op->name);
    return GR_OK;
}

/* ---- inference ---- */

gr_status gr_body_infer(const gr_infer *c, gr_err *err)
{
    gr_graph *g = gr_graph_new(c->arena, c->syms, "body", NULL);
    gr_value **in = GR_NEWS(c->arena, c->nin, gr_value *), **out = GR_NEWS(c->arena, (size_t)c->nout + 1, gr_value *);
    bool *wanted = GR_NEWS(c->arena, c->nout, bool);
    if (!g || !in || !out || !wanted) return gr_nomem(err);
    for (uint32_t i = 0; i < c->nin; i++) {
        if (!c->in[i]) continue;
        if (!(in[i] = gr_graph_value(g, NULL))) return gr_nomem(err);
        in[i]->type = *c->in[i];
        in[i]->ivals = c->ivals[i];
        in[i]->is_input = true;
        if (!c->konst[i]) continue;
        if (!(in[i]->konst = GR_NEW(c->arena, gr_tensor))) return gr_nomem(err);
        *in[i]->konst = *c->konst[i];
    }
    for (uint32_t o = 0; o < c->nout; o++) wanted[o] = true;
    gr_body b = {.g = g,
                 .params = c->params,
                 .nin = c->nin,
                 .nout = c->nout,
                 .in = in,
                 .wanted = wanted,
                 .out = out,
                 .err = err};
    GR_TRY(write_body(&b, c->op));
    for (uint32_t o = 0; o < c->nout; o++) {
        if (b.open || !out[o])
            gr_set(c, o, GR_UNDEFINED, GR_RANK_UNKNOWN, NULL);
        else
            c->out[o] = out[o]->type;
    }
    return GR_OK;
}

/* ---- the step ---- */

typedef struct state {
    gr_arena *arena;
    gr_plan *plan;
    uint32_t ninputs, nresults;
    uint32_t *from, *to; /* numbers of the step's inputs and outputs */
    gr_tensor *inputs, *results;
} state;

/* Values for the step's inputs: constants as such, the others as inputs of the graph. */
static gr_status make_inputs(const gr_step *s, state *st, gr_graph *g, gr_value **in, gr_err *err)
{
    if (!(g->inputs = GR_NEWS(st->arena, s->nin, gr_value *))) return gr_nomem(err);
    for (uint32_t i = 0; i < s->nin; i++) {
        const gr_tensor *t = s->in[i];
        if (!t) continue;
        gr_dim *dims = GR_NEWS(st->arena, (size_t)t->rank, gr_dim);
        if (!dims) return gr_nomem(err);
        for (int d = 0; d < t->rank; d++) dims[d] = GR_DIM(t->dims[d]);
        in[i] = t->is_const ? gr_graph_const(g, NULL, t->dtype, t->rank, t->dims, t->data) : gr_graph_value(g, NULL);
        if (!in[i]) return gr_nomem(err);
        if (t->is_const) {
            in[i]->konst->aligned = in[i]->konst->is_const = true; /* who runs the step has seen to it */
            continue;
        }
        in[i]->type = gr_type_tensor(t->dtype, t->rank, dims);
        in[i]->is_input = true;
        g->inputs[g->ninputs++] = in[i];
        st->inputs[st->ninputs] = *t;
        st->from[st->ninputs++] = i;
    }
    return GR_OK;
}

static gr_status make_plan(const gr_step *s, state *st, gr_graph *g, gr_value **in, gr_value **out, bool *wanted,
                           gr_err *err)
{
    GR_TRY(make_inputs(s, st, g, in, err));
    gr_body b = {.g = g,
                 .params = s->params,
                 .nin = s->nin,
                 .nout = s->nout,
                 .in = in,
                 .wanted = wanted,
                 .out = out,
                 .err = err};
    for (uint32_t o = 0; o < s->nout; o++) wanted[o] = s->out[o] != NULL;
    GR_TRY(write_body(&b, s->op));
    GR_TRY(check_made(&b, s->op));
    if (b.open) return gr_fail(err, GR_EUNSUPPORTED, "its body depends on what is not known");
    uint32_t n = 0;
    for (uint32_t o = 0; o < s->nout; o++) {
        if (!wanted[o]) continue;
        st->to[n] = o;
        out[n++] = out[o];
    }
    st->nresults = n;
    const gr_plan_options options = {.threads = s->threads, .packs = s->packs, .precision = s->precision};
    return gr_plan_new(g, st->inputs, n, out, &options, &st->plan, err);
}

bool gr_body_prepare(gr_step *s, gr_why *why)
{
    gr_err err = {GR_OK, ""};
    gr_arena *arena = gr_arena_new();
    state *st = arena ? GR_NEW(arena, state) : NULL;
    gr_syms *syms = st ? gr_syms_new(arena) : NULL;
    gr_graph *g = syms ? gr_graph_new(arena, syms, "body", NULL) : NULL;
    gr_value **in = g ? GR_NEWS(arena, s->nin, gr_value *) : NULL,
             **out = g ? GR_NEWS(arena, (size_t)s->nout + 1, gr_value *) : NULL;
    bool *wanted = g ? GR_NEWS(arena, s->nout, bool) : NULL;
    bool room = in && out && wanted && (st->from = GR_NEWS(arena, s->nin, uint32_t)) &&
                (st->to = GR_NEWS(arena, s->nout, uint32_t)) && (st->inputs = GR_NEWS(arena, s->nin, gr_tensor)) &&
                (st->results = GR_NEWS(arena, s->nout, gr_tensor));
    if (room) st->arena = arena;
    if (!room || make_plan(s, st, g, in, out, wanted, &err) != GR_OK) {
        gr_arena_free(arena);
        return gr_decline(why, "%s", room ? err.text : "out of memory");
    }
    s->scratch_size = gr_plan_block(st->plan);
    s->flops = gr_plan_flops(st->plan);
    s->state = st;
    return true;
}

gr_status gr_body_run(const gr_step *s, gr_err *err)
{
    state *st = s->state;
    for (uint32_t i = 0; i < st->ninputs; i++) st->inputs[i].data = s->in[st->from[i]]->data;
    for (uint32_t i = 0; i < st->nresults; i++)
        st->results[i] = (gr_tensor){.data = s->out[st->to[i]]->data, .size = s->out[st->to[i]]->size};
    GR_TRY(gr_plan_run(st->plan, st->inputs, s->scratch, st->results, s->exec ? s->exec->cancel : NULL, err));
    for (uint32_t i = 0; i < st->nresults; i++) {
        gr_tensor *to = s->out[st->to[i]];
        const gr_tensor *from = &st->results[i];
        if (from->size != to->size)
            return gr_fail(err, GR_EINPUT, "output %u has %zu bytes where %zu were planned", st->to[i], from->size,
                           to->size);
        if (from->data != to->data && to->size) memcpy(to->data, from->data, to->size);
    }
    return GR_OK;
}

void gr_body_release(gr_step *s)
{
    state *st = s->state;
    if (!st) return;
    gr_plan_free(st->plan);
    gr_arena_free(st->arena);
    s->state = NULL;
}

const gr_kernel gr_body_kernels[] = {{"body", gr_body_prepare, gr_body_run, gr_body_release}, {0}};
