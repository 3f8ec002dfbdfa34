/* SPDX-License-Identifier: Apache-2.0
 *
 * Inference: types, symbolic shapes, and contents where they can be known without running the model. At load the
 * dimensions are symbols and what folds is constant for every input; for a plan they are numbers and all shape
 * arithmetic folds. Both are this one walk.
 */
#include "ir.h"
#include "exec/eval.h"

/* Elements of symbolic contents in one walk. */
enum { MAX_FOLLOWED = 1 << 19 };

typedef struct walk {
    gr_facts *f;
    gr_fold *fold;
    const gr_type **in; /* as long as the longest node */
    const gr_tensor **konst;
    const gr_ivals **ivals;
    gr_type *out;
    gr_tensor **made;
    bool *wanted;
} walk;

/* A tensor in the facts' arena with the contents of t. */
static gr_tensor *keep(gr_arena *arena, const gr_tensor *t)
{
    gr_tensor *k = GR_NEW(arena, gr_tensor);
    if (!k) return NULL;
    *k = *t;
    k->is_const = true;
    k->aligned = true;
    k->data = gr_arena_alloc(arena, t->size);
    if (!k->data) return NULL;
    if (t->size) memcpy(k->data, t->data, t->size);
    return k;
}

static gr_type type_of_tensor(gr_arena *arena, const gr_tensor *t)
{
    gr_dim *d = GR_NEWS(arena, (size_t)t->rank, gr_dim);
    if (!d) return (gr_type){.rank = GR_RANK_UNKNOWN};
    for (int i = 0; i < t->rank; i++) d[i] = GR_DIM(t->dims[i]);
    return gr_type_tensor(t->dtype, t->rank, d);
}

/* ---- contents as symbolic integers ---- */

static bool integral(gr_dtype t) { return t == GR_INT64 || t == GR_INT32 || t == GR_BOOL; }

/* Elements of a static type, if it is small enough to be followed; -1 if not. */
static int64_t small_elements(const gr_type *t)
{
    int64_t dims[GR_MAX_RANK], n;
    if (!gr_type_is_static(t) || !integral(t->dtype) || t->rank > GR_MAX_RANK) return -1;
    for (int i = 0; i < t->rank; i++) dims[i] = t->dims[i].k;
    return gr_elements(t->rank, dims, &n) && n <= GR_MAX_SYMBOLIC ? n : -1;
}

static gr_tensor shape_of(const gr_type *t)
{
    gr_tensor s = {.kind = GR_KIND_TENSOR, .dtype = t->dtype, .rank = t->rank, .aligned = true};
    for (int i = 0; i < t->rank; i++) s.dims[i] = t->dims[i].k;
    gr_elements(s.rank, s.dims, &s.elements);
    return s;
}

static gr_ivals *new_ivals(gr_arena *arena, int64_t n)
{
    gr_ivals *v = gr_arena_alloc(arena, sizeof *v + (size_t)n * sizeof v->v[0]);
    if (v) v->n = n;
    return v;
}

/* Element by element, with broadcasting. */
static const gr_ivals *apply_symbolic(const gr_infer *c)
{
    enum { MAX_ARGS = 8 };
    int64_t n = small_elements(&c->out[0]), strides[MAX_ARGS][GR_MAX_RANK];
    if (n < 0 || c->nin > MAX_ARGS || c->nin == 0) return NULL;
    gr_tensor out = shape_of(&c->out[0]);
    for (uint32_t i = 0; i < c->nin; i++) {
        if (!c->in[i] || !c->ivals[i] || small_elements(c->in[i]) != c->ivals[i]->n) return NULL;
        gr_tensor t = shape_of(c->in[i]);
        gr_broadcast_strides(&t, out.rank, out.dims, strides[i]);
    }
    gr_ivals *v = new_ivals(c->arena, n);
    if (!v) return NULL;
    for (int64_t e = 0; e < n; e++) {
        gr_dim args[MAX_ARGS];
        for (uint32_t i = 0; i < c->nin; i++) {
            int64_t at = 0, rest = e;
            for (int d = out.rank - 1; d >= 0; d--) {
                at += rest % out.dims[d] * strides[i][d];
                rest /= out.dims[d];
            }
            args[i] = c->ivals[i]->v[at];
        }
        v->v[e] = c->op->symbolic(c->syms, args, (int)c->nin, c->params);
    }
    return v;
}

enum { MAX_PIECES = 16 };

/* An operator that only moves elements is run on their numbers; where number i arrives, symbol i arrives. */
static const gr_ivals *apply_move(const gr_infer *c, const gr_node *node, uint32_t which)
{
    bool all = c->op->flags & GR_OP_MOVE_ALL;
    if (small_elements(&c->out[which]) < 0 || c->nout > MAX_PIECES || c->nin == 0) return NULL;
    gr_arena *arena = gr_arena_new();
    const gr_tensor **in = arena ? GR_NEWS(arena, c->nin, const gr_tensor *) : NULL;
    int64_t count = 0;
    bool ready = in != NULL;
    for (uint32_t i = 0; ready && i < c->nin; i++) {
        bool data = all || i == 0;
        if (!c->in[i] || !data) {
            in[i] = c->konst[i];
            ready = !c->in[i] || c->konst[i];
            continue;
        }
        gr_tensor *ids = GR_NEW(arena, gr_tensor);
        ready = ids && c->ivals[i] && small_elements(c->in[i]) == c->ivals[i]->n;
        if (!ready) break;
        *ids = shape_of(c->in[i]);
        ids->dtype = GR_INT64;
        ids->size = (size_t)ids->elements * 8;
        int64_t *number = ids->data = gr_arena_alloc(arena, ids->size);
        ready = number != NULL;
        for (int64_t e = 0; ready && e < ids->elements; e++) number[e] = count++;
        in[i] = ids;
    }
    gr_tensor *outs[MAX_PIECES] = {NULL};
    gr_ivals *v = NULL;
    if (ready && gr_eval(NULL, c->op, c->params, node, NULL, c->nin, in, c->nout, NULL, outs, NULL) != GR_OK)
        ready = false;
    const gr_tensor *out = outs[which];
    if (ready && out && out->elements == small_elements(&c->out[which])) v = new_ivals(c->arena, out->elements);
    for (int64_t e = 0; v && e < out->elements; e++) {
        int64_t number = ((const int64_t *)out->data)[e];
        uint32_t i = 0;
        while (all && number >= c->ivals[i]->n) number -= c->ivals[i++]->n;
        v->v[e] = c->ivals[i]->v[number];
    }
    for (uint32_t i = 0; i < c->nout; i++) gr_tensor_free(outs[i]);
    gr_arena_free(arena);
    return v;
}

static const gr_ivals *contents_of(const gr_infer *c, const gr_node *node, uint32_t which)
{
    if (which && !(c->op->flags & (GR_OP_MOVE | GR_OP_MOVE_ALL))) return NULL;
    if (c->op->contents) return c->op->contents(c);
    if (c->op->symbolic) return apply_symbolic(c);
    if (c->op->flags & (GR_OP_MOVE | GR_OP_MOVE_ALL)) return apply_move(c, node, which);
    return NULL;
}

/* Symbolic contents that are all numbers are a constant. */
static gr_tensor *constant_of(gr_arena *arena, const gr_type *type, const gr_ivals *v)
{
    if (small_elements(type) != v->n) return NULL;
    for (int64_t i = 0; i < v->n; i++)
        if (v->v[i].expr) return NULL;
    gr_tensor t = shape_of(type), *k;
    int64_t buffer[GR_MAX_SYMBOLIC];
    for (int64_t i = 0; i < v->n; i++) {
        if (t.dtype == GR_INT64) buffer[i] = v->v[i].k;
        if (t.dtype == GR_INT32) ((int32_t *)buffer)[i] = (int32_t)v->v[i].k;
        if (t.dtype == GR_BOOL) ((uint8_t *)buffer)[i] = v->v[i].k != 0;
    }
    gr_bytes(t.dtype, t.elements, &t.size);
    t.data = buffer;
    k = keep(arena, &t);
    return k;
}

/* ---- one node ---- */

/* Weights of few bits stay as they are in the file; who reads them makes floats of them. */
static bool unpacks(const walk *w, const gr_node *n)
{
    const gr_value *v = gr_in(n, 0);
    const gr_tensor *x = v ? w->f->konst[v->id] : NULL;
    if (!(n->op->flags & GR_OP_UNPACKS) || w->fold->only_new || !x || x->kind != GR_KIND_TENSOR) return false;
    if (x->rank < 2 || x->elements < 2) return false;
    return x->dtype != GR_BOOL && gr_dtype_bits(x->dtype) <= 8 && w->out[0].kind == GR_KIND_TENSOR &&
           gr_dtype_is_float(w->out[0].dtype) && gr_dtype_bits(w->out[0].dtype) > 8;
}

static bool may_fold(const walk *w, const gr_node *n)
{
    bool new = false;
    if (n->nsubgraphs || (n->op->flags & GR_OP_IMPURE) || !w->fold->max_output) return false;
    for (uint32_t i = 0; i < n->nin; i++) {
        const gr_value *v = gr_in(n, i);
        if (v && !w->f->konst[v->id]) return false;
        if (v && !v->konst) new = true;
    }
    return new || !w->fold->only_new || n->nin == 0;
}

/* Bytes that a node's outputs would take; false if that is not known or more than the limits allow. */
static bool fits(const walk *w, const gr_node *n)
{
    size_t total = 0;
    for (uint32_t i = 0; i < n->nout; i++) {
        const gr_type *t = &w->out[i];
        size_t bytes;
        if (!n->out[i]) continue;
        if (!gr_type_is_static(t)) {
            if (t->kind == GR_KIND_TENSOR && (n->op->flags & GR_OP_DYNAMIC)) continue; /* bounded by exec */
            return false;
        }
        gr_tensor s = {.rank = t->rank};
        for (int d = 0; d < t->rank; d++) s.dims[d] = t->dims[d].k;
        if (!gr_elements(s.rank, s.dims, &s.elements) || !gr_bytes(t->dtype, s.elements, &bytes)) return false;
        if (bytes > w->fold->max_output || !gr_add(total, bytes, &total)) return false;
    }
    if (total > w->fold->budget) return false;
    w->fold->budget -= total;
    return true;
}

static gr_status fold_node(walk *w, const gr_node *n, gr_err *err)
{
    gr_exec limited = {.max_bytes = w->fold->max_output}, *exec = &limited;
    if (w->fold->exec) {
        limited = *w->fold->exec;
        limited.max_bytes = w->fold->max_output;
        limited.live_bytes = 0;
        limited.packs = NULL; /* inputs may die with the facts */
        limited.precision = GR_PRECISION_F32;
    }
    gr_arena *scratch = gr_arena_new();
    gr_tensor **in = scratch ? GR_NEWS(scratch, n->nin, gr_tensor *) : NULL;
    gr_status status = in ? GR_OK : gr_nomem(err);
    for (uint32_t i = 0; in && i < n->nin; i++) {
        const gr_value *v = gr_in(n, i);
        in[i] = v ? gr_tensor_as(scratch, w->f->konst[v->id], w->f->types[v->id].dtype) : NULL;
        if (v && !in[i]) status = gr_nomem(err);
    }
    for (uint32_t i = 0; i < n->nout; i++) w->wanted[i] = n->out[i] != NULL;
    if (status == GR_OK)
        status = gr_eval(exec, n->op, n->params, n, NULL, n->nin, (const gr_tensor *const *)in, n->nout, w->wanted,
                         w->made, err);
    gr_arena_free(scratch);
    if (status == GR_ELIMIT) return GR_OK; /* larger than it looked: left to the run */
    if (status != GR_OK) return status;
    for (uint32_t i = 0; i < n->nout; i++) {
        gr_tensor *t = w->made[i];
        if (!t) continue;
        if (t->kind == GR_KIND_TENSOR) {
            uint32_t id = n->out[i]->id;
            w->f->konst[id] = keep(w->f->arena, t);
            w->f->types[id] = type_of_tensor(w->f->arena, t);
            if (w->fold->followed < MAX_FOLLOWED) w->f->ivals[id] = gr_ivals_of(w->f->arena, t);
            if (w->f->ivals[id]) w->fold->followed += (size_t)w->f->ivals[id]->n;
            if (!w->f->konst[id]) status = gr_nomem(err);
        }
        gr_tensor_free(t);
    }
    return status;
}

static gr_status check_types(const walk *w, const gr_node *n, gr_err *err)
{
    for (uint32_t i = 0; i < n->nout; i++) {
        const gr_type *t = &w->out[i];
        if (t->kind != GR_KIND_TENSOR || t->rank <= 0) continue;
        if (t->rank > GR_MAX_RANK)
            return gr_fail(err, GR_EUNSUPPORTED, "output %u has rank %d, at most %d is supported", i, t->rank, GR_MAX_RANK);
        for (int d = 0; d < t->rank; d++)
            if (!t->dims[d].expr && t->dims[d].k < 0)
                return gr_fail(err, GR_EMODEL, "output %u would have dimension %lld", i, (long long)t->dims[d].k);
    }
    return GR_OK;
}

static gr_status infer_node(walk *w, const gr_node *n, gr_err *err)
{
    gr_facts *f = w->f;
    gr_infer c = {f->arena, f->syms, n->op, n->params, n, n->nin, n->nout, w->in, w->konst, w->ivals, w->out};
    for (uint32_t i = 0; i < n->nin; i++) {
        const gr_value *v = gr_in(n, i);
        w->in[i] = v ? &f->types[v->id] : NULL;
        w->konst[i] = v ? f->konst[v->id] : NULL;
        w->ivals[i] = v ? f->ivals[v->id] : NULL;
    }
    for (uint32_t i = 0; i < n->nout; i++) w->out[i] = (gr_type){.rank = GR_RANK_UNKNOWN};
    GR_TRY(n->op->infer(&c, err));
    GR_TRY(check_types(w, n, err));
    for (uint32_t i = 0; i < n->nout; i++)
        if (n->out[i]) f->types[n->out[i]->id] = w->out[i];
    if (may_fold(w, n) && !unpacks(w, n) && fits(w, n)) return fold_node(w, n, err);
    for (uint32_t i = 0; i < n->nout && i < MAX_PIECES; i++) {
        if (!n->out[i]) continue;
        const uint32_t id = n->out[i]->id;
        if (w->fold->followed < MAX_FOLLOWED) f->ivals[id] = contents_of(&c, n, i);
        if (f->ivals[id]) w->fold->followed += (size_t)f->ivals[id]->n;
        if (f->ivals[id] && !f->konst[id]) f->konst[id] = constant_of(f->arena, &f->types[id], f->ivals[id]);
    }
    return GR_OK;
}

static gr_status prepare(walk *w, const gr_graph *g, gr_err *err)
{
    size_t longest = 1;
    for (const gr_node *n = g->first; n; n = n->next) {
        if (n->nin > longest) longest = n->nin;
        if (n->nout > longest) longest = n->nout;
    }
    gr_arena *a = w->f->arena;
    w->in = GR_NEWS(a, longest, const gr_type *);
    w->konst = GR_NEWS(a, longest, const gr_tensor *);
    w->ivals = GR_NEWS(a, longest, const gr_ivals *);
    w->out = GR_NEWS(a, longest, gr_type);
    w->made = GR_NEWS(a, longest, gr_tensor *);
    w->wanted = GR_NEWS(a, longest, bool);
    return w->in && w->konst && w->ivals && w->out && w->made && w->wanted ? GR_OK : gr_nomem(err);
}

/* The node and its sentence, and where its operands come from: what is wrong about a shape is mostly wrong there. */
static gr_status fail_node(const gr_node *n, gr_status status, gr_err *err)
{
    enum { BACK = 4 };
    char text[GR_ERR_SIZE];
    int told = 0;
    gr_fail_at(n->op, n->name, status, err);
    for (uint32_t i = 0; err && status == GR_EMODEL && i < n->nin && told < 2; i++) {
        const gr_value *v = gr_in(n, i);
        const gr_node *m = v && !v->konst ? v->def : NULL, *view = m;
        for (int k = 0; k < BACK && view && !gr_is_op(view, "Transpose") && !gr_is_op(view, "Reshape"); k++)
            view = gr_in(view, 0) && !gr_in(view, 0)->konst ? gr_in(view, 0)->def : NULL;
        if (view) m = view;
        if (!m) continue;
        memcpy(text, err->text, sizeof text);
        gr_err_write(err, status, "%s%s '%s' (%s)", text, told++ ? " and" : ", which come from", gr_show(gr_node_label(m)),
                     m->op->name);
    }
    return status;
}

gr_status gr_infer_facts(const gr_graph *g, gr_facts *f, gr_fold *fold, gr_err *err)
{
    walk w = {.f = f, .fold = fold};
    GR_TRY(prepare(&w, g, err));
    for (const gr_node *n = g->first; n; n = n->next) {
        gr_status status = infer_node(&w, n, err);
        if (status != GR_OK) return fail_node(n, status, err);
    }
    return GR_OK;
}

/* ---- recorded in the graph ---- */

/* All that is folded: weights may unfold (4-bit numbers to floats are eight times as large), a small file may not. */
enum { FOLD_FREE = 64 << 20, FOLD_TIMES = 16, FOLD_MAX = 1 << 30 };

static size_t fold_budget(const gr_graph *g)
{
    size_t bytes = gr_graph_constant_bytes(g);
    return bytes > (FOLD_MAX - FOLD_FREE) / FOLD_TIMES ? FOLD_MAX : FOLD_FREE + FOLD_TIMES * bytes;
}

static bool is_if(const gr_node *n) { return n->nsubgraphs == 2 && gr_is_op(n, "If"); }

/* Branch `s` of an If whose condition is known to choose the other. */
static bool never_taken(const gr_node *n, uint32_t s, const gr_facts *f)
{
    const gr_value *v = gr_in(n, 0);
    const gr_tensor *condition = v && is_if(n) ? f->konst[v->id] : NULL;
    if (!condition || condition->dtype != GR_BOOL || condition->elements != 1) return false;
    return (*(const uint8_t *)condition->data != 0) != (s == 0);
}

/* A node that an earlier walk has folded stays so. */
static bool take_known(gr_facts *f, const gr_node *n)
{
    bool known = n->nout > 0;
    for (uint32_t i = 0; i < n->nout; i++) known &= n->out[i] && n->out[i]->konst;
    for (uint32_t i = 0; known && i < n->nout; i++) {
        const gr_value *v = n->out[i];
        f->types[v->id] = v->type;
        f->konst[v->id] = v->konst;
        f->ivals[v->id] = v->ivals;
    }
    return known;
}

static gr_status infer_within(gr_graph *g, gr_fold *fold, gr_err *err);

static gr_status infer_graph(gr_graph *g, gr_facts *f, gr_fold *fold, gr_err *err)
{
    for (size_t i = 0; i < g->ninputs; i++) f->types[g->inputs[i]->id] = g->inputs[i]->type;
    walk w = {.f = f, .fold = fold};
    GR_TRY(prepare(&w, g, err));
    for (gr_node *n = g->first; n; n = n->next) {
        for (uint32_t i = 0; i < n->nin; i++) {
            const gr_value *v = gr_in(n, i);
            if (!v || v->def || f->types[v->id].kind != GR_KIND_NONE) continue;
            f->types[v->id] = v->type;
            f->konst[v->id] = v->konst;
            f->ivals[v->id] = v->konst ? gr_ivals_of(g->arena, v->konst) : NULL;
        }
        for (uint32_t s = 0; s < n->nsubgraphs; s++) {
            gr_graph *sub = n->subgraphs[s];
            size_t proper = sub->ninputs - sub->ncaptured;
            for (uint32_t i = 0; i < n->ncaptured; i++)
                sub->inputs[proper + i]->type = f->types[gr_in(n, n->nin - n->ncaptured + i)->id];
            if (never_taken(n, s, f)) continue;
            gr_status status = infer_within(sub, fold, err);
            /* A branch may contradict the shapes for which it is not taken; it fails if it is. */
            bool branch = is_if(n) && (status == GR_EMODEL || status == GR_EINPUT);
            if (status != GR_OK && !branch) return status;
        }
        if (take_known(f, n)) continue;
        gr_status status = infer_node(&w, n, err);
        if (status != GR_OK) return fail_node(n, status, err);
        for (uint32_t i = 0; i < n->nout; i++) {
            gr_value *v = n->out[i];
            if (!v) continue;
            v->type = f->types[v->id];
            v->ivals = f->ivals[v->id];
            v->konst = f->konst[v->id];
        }
    }
    return GR_OK;
}

gr_status gr_node_infer(gr_node *n, gr_err *err)
{
    gr_arena *a = n->graph->arena;
    const gr_type **in = GR_NEWS(a, n->nin, const gr_type *);
    const gr_tensor **konst = GR_NEWS(a, n->nin, const gr_tensor *);
    const gr_ivals **ivals = GR_NEWS(a, n->nin, const gr_ivals *);
    gr_type *out = GR_NEWS(a, n->nout, gr_type);
    if (!in || !konst || !ivals || !out) return gr_nomem(err);
    for (uint32_t i = 0; i < n->nin; i++) {
        const gr_value *v = gr_in(n, i);
        if (!v) continue;
        in[i] = &v->type;
        konst[i] = v->konst;
        ivals[i] = v->ivals ? v->ivals : v->konst ? gr_ivals_of(a, v->konst) : NULL;
    }
    gr_infer c = {a, n->graph->syms, n->op, n->params, n, n->nin, n->nout, in, konst, ivals, out};
    gr_status status = n->op->infer(&c, err);
    if (status != GR_OK) return gr_fail_at(n->op, n->name, status, err);
    for (uint32_t i = 0; i < n->nout; i++)
        if (n->out[i]) n->out[i]->type = out[i];
    for (uint32_t i = 0; i < n->nout && i < MAX_PIECES; i++)
        if (n->out[i]) n->out[i]->ivals = contents_of(&c, n, i);
    return GR_OK;
}

static gr_status infer_within(gr_graph *g, gr_fold *fold, gr_err *err)
{
    gr_facts f = {.arena = g->arena, .syms = g->syms};
    f.types = gr_calloc(g->nvalues, sizeof *f.types);
    f.ivals = gr_calloc(g->nvalues, sizeof *f.ivals);
    f.konst = gr_calloc(g->nvalues, sizeof *f.konst);
    gr_status status = f.types && f.ivals && f.konst ? infer_graph(g, &f, fold, err) : gr_nomem(err);
    gr_free(f.types);
    gr_free(f.ivals);
    gr_free(f.konst);
    return status;
}

gr_status gr_graph_infer(gr_graph *g, size_t max_output, gr_err *err)
{
    gr_fold fold = {.max_output = max_output, .budget = fold_budget(g)};
    const unsigned long failures = gr_malloc_failures();
    GR_TRY(infer_within(g, &fold, err));
    /* What is not folded, or not known, for want of memory would be fused in another way. */
    return gr_malloc_failures() == failures ? GR_OK : gr_nomem(err);
}
