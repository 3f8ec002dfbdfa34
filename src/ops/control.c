/* SPDX-License-Identifier: Apache-2.0
 *
 * If, Loop and Scan: graphs inside a node, run by the interpreter. Captured outer values are the node's last inputs and
 * the subgraph's last inputs, in one order.
 */
#include "control.h"

static size_t proper_inputs(const gr_graph *g) { return g->ninputs - g->ncaptured; }

/* The type of output j of a subgraph, with `extra` unknown dimensions before it. Dimensions of another inference walk
 * mean nothing here: those that are not numbers become fresh. */
static gr_status set_from(const gr_infer *c, uint32_t o, const gr_graph *g, size_t j, int extra, gr_err *err)
{
    if (j >= g->noutputs) return gr_fail(err, GR_EMODEL, "a subgraph has %zu outputs, the node needs more", g->noutputs);
    const gr_type *t = &g->outputs[j]->type;
    if (t->kind != GR_KIND_TENSOR || t->rank < 0) {
        if (extra)
            gr_set(c, o, t->dtype, GR_RANK_UNKNOWN, NULL);
        else
            c->out[o] = *t;
        return GR_OK;
    }
    gr_dim *d = gr_dims(c, t->rank + extra);
    for (int i = 0; i < extra; i++) d[i] = gr_sym_fresh(c->syms);
    for (int i = 0; i < t->rank; i++) d[extra + i] = t->dims[i].expr ? gr_sym_fresh(c->syms) : t->dims[i];
    return gr_set(c, o, t->dtype, t->rank + extra, d);
}

gr_status gr_control_run(const gr_step *s, const gr_graph *g, const gr_tensor *const *own, size_t n, gr_tensor **out,
                         gr_err *err)
{
    if (n != proper_inputs(g))
        return gr_fail(err, GR_EMODEL, "its subgraph has %zu inputs, expected %zu", proper_inputs(g), n);
    const gr_tensor **in = gr_calloc(g->ninputs, sizeof *in);
    if (!in) return gr_nomem(err);
    if (n) memcpy(in, own, n * sizeof *in);
    for (size_t i = 0; i < g->ncaptured; i++) in[n + i] = s->in[s->nin - g->ncaptured + i];
    gr_status status = gr_eval_graph(s->exec, g, in, out, err);
    gr_free(in);
    return status;
}

static bool truth(const gr_tensor *t) { return t->elements > 0 && *(const uint8_t *)t->data != 0; }

/* What a subgraph has made counts among the live bytes of the run until it goes, here or to an output, which counts
 * anew. */
static void discount(const gr_step *s, const gr_tensor *t)
{
    if (s->exec && t) s->exec->live_bytes -= t->size < s->exec->live_bytes ? t->size : s->exec->live_bytes;
}

void gr_control_drop(const gr_step *s, gr_tensor *t)
{
    discount(s, t);
    gr_tensor_free(t);
}

/* Let output o of the step be t, which it takes over. */
static void give(const gr_step *s, uint32_t o, gr_tensor *t)
{
    if (!s->out[o] || !t) {
        gr_control_drop(s, t);
        return;
    }
    discount(s, t);
    gr_free_aligned(s->out[o]->data, s->out[o]->size); /* made where inference knew the shape */
    *s->out[o] = *t;
    gr_free(t);
}

/* ---- If ---- */

static gr_status infer_if(const gr_infer *c, gr_err *err)
{
    if (!c->node || c->node->nsubgraphs != 2) return gr_fail(err, GR_EMODEL, "two branches are needed");
    const gr_graph *a = c->node->subgraphs[0], *b = c->node->subgraphs[1];
    if (a->noutputs != c->nout || b->noutputs != c->nout)
        return gr_fail(err, GR_EMODEL, "its branches have %zu and %zu outputs, expected %u", a->noutputs, b->noutputs,
                       c->nout);
    const gr_tensor *condition = c->konst[0];
    GR_TRY(gr_require(c, 0, GR_T(BOOL), err));
    for (uint32_t o = 0; o < c->nout; o++) {
        if (condition && condition->dtype == GR_BOOL && condition->elements == 1) {
            GR_TRY(set_from(c, o, *(const uint8_t *)condition->data ? a : b, o, 0, err));
            continue;
        }
        const gr_type *x = &a->outputs[o]->type, *y = &b->outputs[o]->type;
        if (x->dtype && y->dtype && x->dtype != y->dtype)
            return gr_fail(err, GR_EMODEL, "output %u is %s in one branch and %s in the other", o,
                           gr_dtype_name(x->dtype), gr_dtype_name(y->dtype));
        bool other = y->kind == GR_KIND_OPTIONAL; /* where only one branch may be empty, so may the output */
        GR_TRY(set_from(c, o, other ? b : a, o, 0, err));
        if (other) continue;
        if (x->rank != y->rank || x->kind != GR_KIND_TENSOR) {
            if (x->kind == GR_KIND_TENSOR) gr_set(c, o, x->dtype, GR_RANK_UNKNOWN, NULL);
            continue;
        }
        gr_dim *d = gr_dims(c, x->rank);
        for (int i = 0; i < x->rank; i++)
            d[i] = !x->dims[i].expr && gr_dim_same(x->dims[i], y->dims[i]) ? x->dims[i] : gr_sym_fresh(c->syms);
        gr_set(c, o, x->dtype, x->rank, d);
    }
    return GR_OK;
}

static gr_status run_if(const gr_step *s, gr_err *err)
{
    if (s->in[0]->elements != 1) return gr_fail(err, GR_EINPUT, "its condition has %lld elements, expected 1",
                                                (long long)s->in[0]->elements);
    const gr_graph *g = s->node->subgraphs[truth(s->in[0]) ? 0 : 1];
    gr_tensor **out = gr_calloc(g->noutputs, sizeof *out);
    if (!out) return gr_nomem(err);
    gr_status status = gr_control_run(s, g, NULL, 0, out, err);
    for (uint32_t o = 0; status == GR_OK && o < s->nout; o++) give(s, o, out[o]);
    gr_free(out);
    return status;
}

/* ---- Loop: body(i, condition, carried...) -> condition, carried..., scan outputs... ---- */

static gr_status infer_loop(const gr_infer *c, gr_err *err)
{
    if (!c->node || c->node->nsubgraphs != 1) return gr_fail(err, GR_EMODEL, "a body is needed");
    const gr_graph *g = c->node->subgraphs[0];
    uint32_t own = c->nin - c->node->ncaptured, carried = own > 2 ? own - 2 : 0;
    if (proper_inputs(g) != carried + 2 || g->noutputs < carried + 1 || g->noutputs - 1 < c->nout)
        return gr_fail(err, GR_EMODEL, "its body has %zu inputs and %zu outputs, which do not fit %u carried values",
                       proper_inputs(g), g->noutputs, carried);
    if (own > 0) GR_TRY(gr_require(c, 0, GR_T(INT64), err));
    if (own > 1) GR_TRY(gr_require(c, 1, GR_T(BOOL), err));
    for (uint32_t k = 0; k <= carried; k++) {
        gr_dtype made = g->outputs[k]->type.dtype, want = k == 0 ? GR_BOOL : gr_has(c, 1 + k) ? c->in[1 + k]->dtype : made;
        if (made && want && made != want)
            return gr_fail(err, GR_EMODEL, "output %u of its body is %s, expected %s", k, gr_dtype_name(made),
                           gr_dtype_name(want));
    }
    for (uint32_t o = 0; o < c->nout; o++) {
        GR_TRY(set_from(c, o, g, o + 1, o >= carried, err));
        /* A carried value may change its shape from turn to turn, and comes out as it went in after none. */
        if (o < carried && c->out[o].kind != GR_KIND_SEQUENCE)
            gr_set(c, o, c->out[o].dtype, GR_RANK_UNKNOWN, NULL);
    }
    return GR_OK;
}

typedef struct loop {
    const gr_step *s;
    const gr_graph *body;
    size_t carried, scans;
    gr_tensor **state;  /* condition, carried values; owned */
    gr_tensor **out;    /* of the last turn */
    gr_tensor ***rows;  /* of each scan output, one tensor per turn; owned */
    size_t turns, cap;
    size_t first, grown; /* bytes of the state after the first turn; and beyond that, of all turns together */
} loop;

static gr_status loop_turn(loop *l, int64_t i, gr_err *err)
{
    int64_t dims[1] = {1};
    gr_tensor *number = gr_tensor_new(GR_INT64, 0, dims);
    const gr_tensor **in = gr_calloc(l->carried + 2, sizeof *in);
    gr_status status = number && in ? GR_OK : gr_nomem(err);
    if (status == GR_OK) {
        *(int64_t *)number->data = i;
        in[0] = number;
        for (size_t k = 0; k <= l->carried; k++) in[1 + k] = l->state[k];
        status = gr_control_run(l->s, l->body, in, l->carried + 2, l->out, err);
    }
    for (size_t k = 0; status == GR_OK && k <= l->carried; k++) {
        gr_control_drop(l->s, l->state[k]);
        l->state[k] = l->out[k];
    }
    gr_tensor_free(number);
    gr_free(in);
    return status;
}

static gr_status begin_turn(loop *l, gr_err *err)
{
    gr_exec *exec = l->s->exec;
    if (exec) {
        int64_t limit = exec->max_iterations ? exec->max_iterations : GR_MAX_TURNS;
        if (exec->cancel && *exec->cancel) return gr_fail(err, GR_ECANCELLED, "the run was cancelled");
        if (exec->iterations++ >= limit)
            return gr_fail(err, GR_ELIMIT, "the loops of the model have made %lld turns, the limit", (long long)limit);
    }
    size_t cap = l->cap ? l->cap * 2 : 16;
    if (l->turns < l->cap) return GR_OK;
    for (size_t k = 0; k < l->scans; k++) {
        gr_tensor **grown = gr_realloc(l->rows[k], cap * sizeof *grown);
        if (!grown) return gr_nomem(err);
        l->rows[k] = grown;
    }
    l->cap = cap;
    return GR_OK;
}

/* A state that grows with every turn is copied in every turn: the bytes of that have a limit, too. */
static gr_status check_growth(loop *l, size_t states, gr_err *err)
{
    enum { TIMES = 8 };
    const gr_exec *exec = l->s->exec;
    size_t bytes = 0;
    for (size_t k = 0; k < states; k++) bytes += l->state[k]->size;
    if (l->turns == 1) l->first = bytes;
    if (bytes > l->first) l->grown += bytes - l->first;
    if (!exec || !exec->max_bytes || l->grown / TIMES <= exec->max_bytes) return GR_OK;
    return gr_fail(err, GR_ELIMIT, "what it carries from turn to turn has grown beyond the limit");
}

/* `made`: the scan outputs of this turn, which are the loop's from now on. */
static gr_status keep_rows(loop *l, gr_tensor **made, gr_err *err)
{
    size_t t = l->turns++;
    for (size_t k = 0; k < l->scans; k++) l->rows[k][t] = made[k];
    for (size_t k = 0; k < l->scans; k++) {
        const gr_tensor *row = l->rows[k][t], *first = l->rows[k][0];
        if (row->rank != first->rank || memcmp(row->dims, first->dims, (size_t)row->rank * sizeof *row->dims))
            return gr_fail(err, GR_EINPUT, "a scan output changes its shape from turn to turn");
    }
    return GR_OK;
}

static void drop_rows(loop *l)
{
    for (size_t k = 0; l->rows && k < l->scans; k++) {
        for (size_t t = 0; l->rows[k] && t < l->turns; t++) gr_control_drop(l->s, l->rows[k][t]);
        gr_free(l->rows[k]);
    }
    gr_free(l->rows);
}

/* Rows of one scan output stacked along `axis`, in order or backwards, as output o. */
static gr_status stack(const gr_step *s, uint32_t o, const gr_type *declared, gr_tensor **rows, size_t turns, int64_t axis,
                       bool reverse, gr_err *err)
{
    int64_t dims[GR_MAX_RANK];
    int rank = turns ? rows[0]->rank : declared->rank < 0 ? 0 : declared->rank;
    if (rank + 1 > GR_MAX_RANK) return gr_fail(err, GR_EUNSUPPORTED, "a scan output has rank %d", rank + 1);
    if (axis < 0) axis += rank + 1;
    if (axis < 0 || axis > rank) return gr_fail(err, GR_EMODEL, "a scan output's axis is out of range");
    if (!s->out[o]) return GR_OK;
    size_t outer = 1, inner;
    for (int i = 0, at = 0; i <= rank; i++) {
        if (i == axis) {
            dims[i] = (int64_t)turns;
            continue;
        }
        dims[i] = turns ? rows[0]->dims[at] : declared->rank < 0 || declared->dims[at].expr ? 0 : declared->dims[at].k;
        if (i < axis) outer *= (size_t)dims[i];
        at++;
    }
    if (turns) s->out[o]->dtype = rows[0]->dtype;
    GR_TRY(gr_out_alloc(s, o, rank + 1, dims, err));
    if (!turns || !rows[0]->size) return GR_OK;
    inner = rows[0]->size / outer;
    for (size_t t = 0; t < turns; t++) {
        const gr_tensor *row = rows[reverse ? turns - 1 - t : t];
        for (size_t i = 0; i < outer; i++)
            memcpy((char *)s->out[o]->data + (i * turns + t) * inner, (const char *)row->data + i * inner, inner);
    }
    return GR_OK;
}

static gr_status loop_turns(loop *l, gr_err *err)
{
    const gr_step *s = l->s;
    int64_t trips = INT64_MAX;
    if (s->in[0]) {
        if (s->in[0]->elements != 1 || s->in[0]->dtype != GR_INT64)
            return gr_fail(err, GR_EINPUT, "its trip count must be one int64");
        memcpy(&trips, s->in[0]->data, sizeof trips);
    }
    for (int64_t i = 0; i < trips && truth(l->state[0]); i++) {
        GR_TRY(begin_turn(l, err));
        GR_TRY(loop_turn(l, i, err));
        GR_TRY(keep_rows(l, l->out + 1 + l->carried, err));
        GR_TRY(check_growth(l, l->carried + 1, err));
    }
    for (uint32_t o = 0; o < s->nout; o++) {
        if (o < l->carried) {
            give(s, o, l->state[1 + o]);
            l->state[1 + o] = NULL;
        } else {
            size_t k = o - l->carried;
            GR_TRY(stack(s, o, &l->body->outputs[1 + o]->type, l->rows[k], l->turns, 0, false, err));
        }
    }
    return GR_OK;
}

static gr_status run_loop(const gr_step *s, gr_err *err)
{
    loop l = {.s = s, .body = s->node->subgraphs[0]};
    uint32_t own = s->nin - s->node->ncaptured;
    int64_t one[1] = {1};
    l.carried = own > 2 ? own - 2 : 0;
    if (l.body->noutputs < l.carried + 1) return gr_fail(err, GR_EMODEL, "its body has too few outputs");
    l.scans = l.body->noutputs - 1 - l.carried;
    l.state = gr_calloc(l.carried + 1, sizeof *l.state);
    l.out = gr_calloc(l.body->noutputs, sizeof *l.out);
    l.rows = gr_calloc(l.scans, sizeof *l.rows);
    gr_status status = l.state && l.out && l.rows ? GR_OK : gr_nomem(err);
    if (status == GR_OK && s->nin > 1 && own > 1 && s->in[1]) {
        l.state[0] = gr_tensor_copy(s->in[1]);
    } else if (status == GR_OK && (l.state[0] = gr_tensor_new(GR_BOOL, 0, one))) {
        *(uint8_t *)l.state[0]->data = 1;
    }
    if (status == GR_OK && !l.state[0]) status = gr_nomem(err);
    for (size_t k = 0; status == GR_OK && k < l.carried; k++) {
        if (!s->in[2 + k]) status = gr_fail(err, GR_EMODEL, "a carried value is absent");
        else if (!(l.state[1 + k] = gr_tensor_copy(s->in[2 + k]))) status = gr_nomem(err);
    }
    if (status == GR_OK) status = loop_turns(&l, err);
    for (size_t k = 0; l.state && k <= l.carried; k++) gr_control_drop(s, l.state[k]);
    drop_rows(&l);
    gr_free(l.state);
    gr_free(l.out);
    return status;
}

/* ---- Scan: body(states..., rows...) -> states..., rows... ---- */

static gr_status parse_scan(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    gr_scan_params *p = GR_NEW(arena, gr_scan_params);
    if (!p) return gr_nomem(err);
    *params = p;
    GR_TRY(gr_attr_int_in(attrs, "num_scan_inputs", 0, 1, 1 << 16, &p->inputs, err));
    GR_TRY(gr_attr_ints(attrs, "scan_input_directions", &p->nin_dir, &p->in_dir, err));
    GR_TRY(gr_attr_ints(attrs, "scan_output_directions", &p->nout_dir, &p->out_dir, err));
    GR_TRY(gr_attr_ints(attrs, "scan_input_axes", &p->nin_axes, &p->in_axes, err));
    return gr_attr_ints(attrs, "scan_output_axes", &p->nout_axes, &p->out_axes, err);
}

static int64_t listed(int64_t n, const int64_t *list, int64_t i) { return i < n ? list[i] : 0; }

static gr_status infer_scan(const gr_infer *c, gr_err *err)
{
    const gr_scan_params *p = c->params;
    if (!c->node || c->node->nsubgraphs != 1) return gr_fail(err, GR_EMODEL, "a body is needed");
    const gr_graph *g = c->node->subgraphs[0];
    int64_t states = (int64_t)(c->nin - c->node->ncaptured) - p->inputs;
    if (states < 0 || (int64_t)proper_inputs(g) != states + p->inputs || g->noutputs < c->nout ||
        (int64_t)g->noutputs < states)
        return gr_fail(err, GR_EMODEL, "its body does not fit %lld states and %lld scanned inputs", (long long)states,
                       (long long)p->inputs);
    for (uint32_t o = 0; o < c->nout; o++) {
        GR_TRY(set_from(c, o, g, o, o >= states, err));
        gr_set(c, o, c->out[o].dtype, GR_RANK_UNKNOWN, NULL);
    }
    return GR_OK;
}

gr_tensor *gr_control_slice(const gr_tensor *t, int axis, int64_t at)
{
    int64_t dims[GR_MAX_RANK];
    size_t outer = 1, inner;
    for (int i = 0, k = 0; i < t->rank; i++) {
        if (i != axis) dims[k++] = t->dims[i];
        if (i < axis) outer *= (size_t)t->dims[i];
    }
    gr_tensor *out = gr_tensor_new(t->dtype, t->rank - 1, dims);
    if (!out || !out->size) return out;
    inner = out->size / outer;
    for (size_t i = 0; i < outer; i++)
        memcpy((char *)out->data + i * inner,
               (const char *)t->data + (i * (size_t)t->dims[axis] + (size_t)at) * inner, inner);
    return out;
}

typedef struct scan {
    loop l;             /* states without a condition in l.state, rows in l.rows */
    const gr_scan_params *p;
    int axis[64];
    int64_t length;
} scan;

static gr_status scan_shapes(scan *c, gr_err *err)
{
    const gr_step *s = c->l.s;
    if (c->p->inputs > 64) return gr_fail(err, GR_EUNSUPPORTED, "more than 64 scanned inputs");
    for (int64_t i = 0; i < c->p->inputs; i++) {
        const gr_tensor *t = s->in[c->l.carried + (size_t)i];
        if (!t || t->kind != GR_KIND_TENSOR) return gr_fail(err, GR_EMODEL, "a scanned input is absent");
        GR_TRY(gr_axis(listed(c->p->nin_axes, c->p->in_axes, i), t->rank, &c->axis[i], err));
        if (i && t->dims[c->axis[i]] != c->length)
            return gr_fail(err, GR_EINPUT, "scanned inputs have lengths %lld and %lld", (long long)c->length,
                           (long long)t->dims[c->axis[i]]);
        c->length = t->dims[c->axis[i]];
    }
    return GR_OK;
}

static gr_status scan_turn(scan *c, int64_t turn, gr_err *err)
{
    loop *l = &c->l;
    size_t n = l->carried + (size_t)c->p->inputs;
    const gr_tensor **in = gr_calloc(n, sizeof *in);
    gr_tensor **rows = gr_calloc((size_t)c->p->inputs, sizeof *rows);
    gr_status status = in && rows ? GR_OK : gr_nomem(err);
    for (size_t k = 0; status == GR_OK && k < l->carried; k++) in[k] = l->state[k];
    for (int64_t i = 0; status == GR_OK && i < c->p->inputs; i++) {
        bool backwards = listed(c->p->nin_dir, c->p->in_dir, i) == 1;
        rows[i] = gr_control_slice(l->s->in[l->carried + (size_t)i], c->axis[i], backwards ? c->length - 1 - turn : turn);
        if (!(in[l->carried + (size_t)i] = rows[i])) status = gr_nomem(err);
    }
    if (status == GR_OK) status = gr_control_run(l->s, l->body, in, n, l->out, err);
    for (size_t k = 0; status == GR_OK && k < l->carried; k++) {
        gr_control_drop(l->s, l->state[k]);
        l->state[k] = l->out[k];
    }
    for (int64_t i = 0; rows && i < c->p->inputs; i++) gr_tensor_free(rows[i]);
    gr_free(in);
    gr_free(rows);
    return status;
}

static gr_status scan_turns(scan *c, gr_err *err)
{
    loop *l = &c->l;
    for (size_t k = 0; k < l->carried; k++)
        if (!l->s->in[k] || !(l->state[k] = gr_tensor_copy(l->s->in[k]))) return gr_nomem(err);
    GR_TRY(scan_shapes(c, err));
    for (int64_t t = 0; t < c->length; t++) {
        GR_TRY(begin_turn(l, err));
        GR_TRY(scan_turn(c, t, err));
        GR_TRY(keep_rows(l, l->out + l->carried, err));
        GR_TRY(check_growth(l, l->carried, err));
    }
    for (uint32_t o = 0; o < l->s->nout; o++) {
        if (o < l->carried) {
            give(l->s, o, l->state[o]);
            l->state[o] = NULL;
            continue;
        }
        int64_t k = (int64_t)(o - l->carried);
        GR_TRY(stack(l->s, o, &l->body->outputs[o]->type, l->rows[k], l->turns,
                     listed(c->p->nout_axes, c->p->out_axes, k), listed(c->p->nout_dir, c->p->out_dir, k) == 1, err));
    }
    return GR_OK;
}

static gr_status run_scan(const gr_step *s, gr_err *err)
{
    scan c = {.l = {.s = s, .body = s->node->subgraphs[0]}, .p = s->params};
    loop *l = &c.l;
    l->carried = s->nin - s->node->ncaptured - (size_t)c.p->inputs;
    l->scans = l->body->noutputs - l->carried;
    l->state = gr_calloc(l->carried, sizeof *l->state);
    l->out = gr_calloc(l->body->noutputs, sizeof *l->out);
    l->rows = gr_calloc(l->scans, sizeof *l->rows);
    gr_status status = l->state && l->out && l->rows ? scan_turns(&c, err) : gr_nomem(err);
    for (size_t k = 0; l->state && k < l->carried; k++) gr_control_drop(s, l->state[k]);
    drop_rows(l);
    gr_free(l->state);
    gr_free(l->out);
    return status;
}

static const gr_kernel if_kernels[] = {{"ref", NULL, run_if, NULL}, {0}};
static const gr_kernel loop_kernels[] = {{"ref", NULL, run_loop, NULL}, {0}};
static const gr_kernel scan_kernels[] = {{"ref", NULL, run_scan, NULL}, {0}};
static const char *const branches[] = {"then_branch", "else_branch", NULL};
static const char *const body[] = {"body", NULL};

const gr_op op_control[] = {
    {"If", 1, .in = {1, 1}, .out = -1, .flags = GR_OP_DYNAMIC, .infer = infer_if, .kernels = if_kernels, .graphs = branches},
    {"Loop", 1, .in = {0, -1}, .out = -1, .flags = GR_OP_DYNAMIC, .infer = infer_loop, .kernels = loop_kernels, .graphs = body},
    {"Scan", 9, .in = {1, -1}, .out = -1, .flags = GR_OP_DYNAMIC, .parse = parse_scan, .infer = infer_scan,
     .kernels = scan_kernels, .graphs = body},
    {0},
};
