/* SPDX-License-Identifier: Apache-2.0
 *
 * Graphs of float16 and bfloat16 numbers are computed in float: every value in between holds floats, and only what
 * enters and leaves the graph, or goes through a node that has no float form (one with subgraphs or sequences), keeps
 * its type behind a Cast. Casts between the two precisions fall away. Constants of some size stay in 16 bits as the
 * file has them (gr_is_narrow). Requires inference; all fusions come after it.
 */
#include "exec/packs.h"
#include "match.h"
#include "passes.h"

enum { NARROW_FROM = 32 * 1024 }; /* elements of a constant that is worth keeping in 16 bits */

typedef struct walk {
    gr_graph *g;
    gr_value **wide;  /* by value id: the float value to read instead, NULL: none yet */
    gr_dtype *before; /* by value id: the type that a value had before it was made float */
    size_t nvalues;   /* that the arrays cover: those of the graph as it was */
    int *hits;
    gr_err *err;
} walk;

static bool is_16_bit(const gr_value *v) { return v && v->type.kind == GR_KIND_TENSOR && gr_is_16_bit(v->type.dtype); }

static gr_value *cast(walk *w, gr_value *v, gr_dtype to, gr_node *at)
{
    gr_build b = {w->g, at, w->err};
    gr_attr attr = gr_attr_of_int("to", to);
    return gr_build_node(&b, "", "Cast", gr_build_attrs(&b, 1, &attr), 1, &v);
}

/* A constant with the same contents and the type float. */
static gr_value *widen_constant(walk *w, gr_value *v)
{
    const gr_tensor *k = v->konst;
    const bool narrow = k->rank >= 2 && k->elements >= NARROW_FROM;
    size_t bytes;
    float *data = NULL;
    if (!narrow) {
        if (!gr_bytes(GR_FLOAT, k->elements, &bytes) || !(data = gr_arena_alloc(w->g->arena, bytes))) return NULL;
        gr_widen_const(k->dtype, k->data, k->elements, data);
    }
    gr_value *f = gr_graph_const(w->g, v->name, GR_FLOAT, k->rank, k->dims, data ? (void *)data : k->data);
    if (!f || !narrow) return f;
    *f->konst = *k;
    return f;
}

/* The float form of a 16-bit value. */
static gr_value *wide_of(walk *w, gr_value *v)
{
    gr_value *f = w->wide[v->id];
    if (f) return f;
    if (v->konst) {
        if (!(f = widen_constant(w, v))) return NULL;
        f->widened = true;
        gr_take_name(f, v);
    } else {
        f = cast(w, v, GR_FLOAT, v->def ? v->def->next : w->g->first);
    }
    return w->wide[v->id] = f;
}

static gr_status no_value(const walk *w) { return w->err && w->err->status ? w->err->status : gr_nomem(w->err); }

/* Node n reads its values in the types that they had. */
static gr_status keep_inputs(walk *w, gr_node *n)
{
    for (uint32_t i = 0; i < n->nin; i++) {
        gr_value *v = gr_in(n, i);
        if (!v || v->id >= w->nvalues || !w->before[v->id]) continue;
        gr_value *back = cast(w, v, w->before[v->id], n);
        if (!back) return no_value(w);
        gr_set_input(n, i, back);
    }
    return GR_OK;
}

static bool all_tensors(const gr_node *n)
{
    for (uint32_t i = 0; i < n->nin; i++)
        if (gr_in(n, i) && gr_in(n, i)->type.kind != GR_KIND_TENSOR) return false;
    for (uint32_t i = 0; i < n->nout; i++)
        if (n->out[i] && n->out[i]->type.kind != GR_KIND_TENSOR) return false;
    return true;
}


/* What is cast to 16 bits is the number itself, or cast to float. */
static gr_status widen_cast(walk *w, gr_node *n)
{
    gr_value *x = gr_in(n, 0), *out = n->out[0];
    if (is_16_bit(x) && !(x = wide_of(w, x))) return no_value(w);
    if (x->type.dtype != GR_FLOAT && !(x = cast(w, x, GR_FLOAT, n))) return no_value(w);
    w->wide[out->id] = x;
    return GR_OK;
}

/* A Cast that makes the first float form of a value: it stays, and others read it, too. */
static bool is_widening(const walk *w, const gr_node *n)
{
    const gr_value *x = gr_in(n, 0);
    return gr_is_op(n, "Cast") && is_16_bit(x) && !x->konst && !w->wide[x->id] && n->out[0]->type.dtype == GR_FLOAT;
}

/* Whether n accepts the inputs it has now; if so its outputs get the element types that follow. */
static bool retype(walk *w, gr_node *n)
{
    gr_err why = {GR_OK, ""};
    gr_type *types = GR_NEWS(w->g->arena, n->nout, gr_type);
    const gr_ivals *contents = n->nout && n->out[0] ? n->out[0]->ivals : NULL;
    if (!types) return false;
    for (uint32_t i = 0; i < n->nout; i++)
        if (n->out[i]) types[i] = n->out[i]->type;
    const bool fits = gr_node_infer(n, &why) == GR_OK;
    for (uint32_t i = 0; i < n->nout; i++) {
        gr_value *v = n->out[i];
        if (!v) continue;
        const gr_dtype dtype = v->type.dtype;
        v->type = types[i]; /* shapes are the same, and known to others by their symbols */
        if (!fits || !is_16_bit(v) || dtype != GR_FLOAT) continue;
        w->before[v->id] = v->type.dtype;
        v->type.dtype = GR_FLOAT;
        v->widened = true;
    }
    if (n->nout && n->out[0]) n->out[0]->ivals = contents;
    return fits;
}

static gr_status widen_node(walk *w, gr_node *n)
{
    bool touched = false;
    if (n->nsubgraphs || !all_tensors(n)) return keep_inputs(w, n);
    if (gr_is_op(n, "Cast") && is_16_bit(n->out[0]) && gr_in(n, 0)) return widen_cast(w, n);
    if (is_widening(w, n)) {
        w->wide[gr_in(n, 0)->id] = n->out[0];
        return GR_OK;
    }
    for (uint32_t i = 0; i < n->nin; i++) touched |= is_16_bit(gr_in(n, i));
    for (uint32_t i = 0; i < n->nin && !touched; i++) {
        const gr_value *v = gr_in(n, i);
        touched = v && v->id < w->nvalues && w->before[v->id];
    }
    if (!touched) return GR_OK;
    gr_value **was = GR_NEWS(w->g->arena, n->nin, gr_value *);
    if (!was) return gr_nomem(w->err);
    for (uint32_t i = 0; i < n->nin; i++) {
        was[i] = gr_in(n, i);
        if (!is_16_bit(was[i])) continue;
        gr_value *f = wide_of(w, was[i]);
        if (!f) return no_value(w);
        gr_set_input(n, i, f);
    }
    ++*w->hits;
    if (retype(w, n)) return GR_OK;
    for (uint32_t i = 0; i < n->nin; i++) gr_set_input(n, i, was[i]);
    return keep_inputs(w, n);
}

/* Outputs of the graph have the types and names of the file. */
static gr_status keep_outputs(walk *w)
{
    for (size_t i = 0; i < w->g->noutputs; i++) {
        gr_value *v = w->g->outputs[i];
        if (v->id >= w->nvalues || !w->before[v->id]) continue;
        gr_value *back = cast(w, v, w->before[v->id], NULL);
        if (!back) return no_value(w);
        while (v->is_output) gr_set_output(w->g, (size_t)v->output_index, back);
        gr_take_name(back, v);
    }
    return GR_OK;
}

/* What this pass itself leaves: inputs made float, outputs made what the file says. */
static bool is_border(const gr_node *n)
{
    const gr_value *x = gr_in(n, 0), *y = gr_out(n, 0);
    if (!gr_is_op(n, "Cast") || !x || !y) return false;
    return (x->is_input && y->type.dtype == GR_FLOAT) || (y->is_output && !y->nuses && x->type.dtype == GR_FLOAT);
}

static bool has_16_bit(const gr_graph *g)
{
    for (const gr_node *n = g->first; n; n = n->next) {
        if (is_border(n)) continue;
        for (uint32_t i = 0; i < n->nin; i++)
            if (is_16_bit(gr_in(n, i))) return true;
        for (uint32_t i = 0; i < n->nout; i++)
            if (is_16_bit(n->out[i])) return true;
    }
    return false;
}

static gr_status widen_all(walk *w)
{
    for (gr_node *n = w->g->first, *next; n; n = next) {
        next = n->next;
        if (n->nout) GR_TRY(widen_node(w, n));
    }
    return keep_outputs(w);
}

gr_status gr_pass_widen(gr_graph *g, int *hits, gr_err *err)
{
    if (!has_16_bit(g)) return GR_OK;
    walk w = {.g = g, .nvalues = g->nvalues, .hits = hits, .err = err};
    w.wide = gr_calloc(w.nvalues, sizeof *w.wide);
    w.before = gr_calloc(w.nvalues, sizeof *w.before);
    gr_status status = w.wide && w.before ? widen_all(&w) : gr_nomem(err);
    gr_free(w.wide);
    gr_free(w.before);
    return status;
}
