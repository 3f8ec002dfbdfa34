/* SPDX-License-Identifier: Apache-2.0
 *
 * A graph as arrays: which nodes are shown, the values between them, and where the border of a part cuts edges.
 */
#include "view.h"
#include "ops/op.h"
#include "exec/packs.h"
#include "summary.h"

/* Whether a node of the plan's graph is a step of it, or only gives memory another shape. */
static bool in_plan(const gr_view *w, const gr_node *n, const bool *steps)
{
    if (steps[n->id]) return true;
    const gr_value *v = gr_out(n, 0);
    if (!v || !(n->op->flags & GR_OP_VIEW)) return false;
    gr_plan_place place = gr_plan_value(w->plan, v).place;
    return place == GR_PLAN_BLOCK || place == GR_PLAN_INPUT;
}

static gr_status keep_all(const gr_view *w, bool *keep, gr_err *err)
{
    bool *steps = GR_NEWS(w->arena, w->graph->nnodes, bool);
    if (!steps) return gr_nomem(err);
    if (w->plan)
        for (size_t i = 0; i < gr_plan_steps(w->plan); i++) steps[gr_plan_node(w->plan, i)->id] = true;
    for (const gr_node *n = w->graph->first; n; n = n->next)
        keep[n->id] = w->level != GR_VIEW_PLAN || in_plan(w, n, steps);
    return GR_OK;
}

/* ---- a part around a node or value ---- */

typedef struct search {
    const bool *shown; /* nodes, by id */
    bool *nodes, *values;
    const gr_node **queue;
    size_t n;
} search;

static void reach(search *s, const gr_node *n)
{
    if (!n || !s->shown[n->id] || s->nodes[n->id]) return;
    s->nodes[n->id] = true;
    s->queue[s->n++] = n;
}

/* Constants do not bring together those who read them. */
static void reach_over(search *s, const gr_value *v)
{
    if (!v || s->values[v->id] || (v->konst && !v->def)) return;
    s->values[v->id] = true;
    reach(s, v->def);
    for (const gr_use *u = v->uses; u; u = u->next) reach(s, u->user);
}

static bool is_named(const gr_value *v, const char *name) { return v && !strcmp(v->name, name); }

/* The value of that name which a shown node makes or reads. */
static const gr_value *find_value(const gr_view *w, const bool *shown, const char *name)
{
    for (const gr_node *n = w->graph->first; n; n = n->next) {
        for (uint32_t i = 0; shown[n->id] && i < n->nout; i++)
            if (is_named(n->out[i], name)) return n->out[i];
        for (uint32_t i = 0; shown[n->id] && i < n->nin; i++)
            if (is_named(gr_in(n, i), name)) return gr_in(n, i);
    }
    return NULL;
}

static gr_status seed(const gr_view *w, search *s, const char *name, int64_t *radius, gr_err *err)
{
    for (const gr_node *n = w->graph->first; n; n = n->next)
        if (n->name && !strcmp(n->name, name) && s->shown[n->id]) {
            reach(s, n);
            return GR_OK;
        }
    const gr_value *v = find_value(w, s->shown, name);
    if (!v) return gr_fail(err, GR_EINVAL, "there is no node or value '%s' at this level", gr_show(name));
    reach(s, v->def);
    for (const gr_use *u = v->uses; u; u = u->next) reach(s, u->user);
    if (*radius > 0) --*radius;
    return GR_OK;
}

static gr_status keep_near(const gr_view *w, const char *name, int64_t radius, bool *keep, gr_err *err)
{
    search s = {.shown = keep};
    s.nodes = GR_NEWS(w->arena, w->graph->nnodes, bool);
    s.values = GR_NEWS(w->arena, w->graph->nvalues, bool);
    s.queue = GR_NEWS(w->arena, w->graph->nnodes, const gr_node *);
    if (!s.nodes || !s.values || !s.queue) return gr_nomem(err);
    GR_TRY(seed(w, &s, name, &radius, err));
    for (size_t from = 0; radius > 0 && from < s.n; radius--)
        for (size_t to = s.n; from < to; from++) {
            const gr_node *n = s.queue[from];
            for (uint32_t i = 0; i < n->nin; i++) reach_over(&s, gr_in(n, i));
            for (uint32_t i = 0; i < n->nout; i++) reach_over(&s, n->out[i]);
        }
    memcpy(keep, s.nodes, w->graph->nnodes * sizeof *keep);
    return GR_OK;
}

/* ---- values and nodes ---- */

typedef struct filler {
    gr_view *w;
    const bool *keep;
    uint32_t *index; /* of values, by id */
    size_t capacity; /* of w->values */
} filler;

static const char *type_text(const gr_view *w, const gr_value *v, const gr_plan_value_info *plan)
{
    gr_type t = v->type;
    if (w->level == GR_VIEW_PLAN && plan->tensor && plan->tensor->kind == GR_KIND_TENSOR) {
        gr_dim *dims = GR_NEWS(w->arena, (size_t)plan->tensor->rank, gr_dim);
        if (!dims) return NULL;
        for (int i = 0; i < plan->tensor->rank; i++) dims[i] = GR_DIM(plan->tensor->dims[i]);
        t = gr_type_tensor(plan->tensor->dtype, plan->tensor->rank, dims);
    }
    return gr_type_text(w->graph->syms, w->arena, &t);
}

static gr_status add_value(filler *f, const gr_value *v, uint32_t maker, uint32_t *at, gr_err *err)
{
    gr_view *w = f->w;
    if (!v) {
        *at = GR_VIEW_NONE;
        return GR_OK;
    }
    if (f->index[v->id] != GR_VIEW_NONE) {
        *at = f->index[v->id];
        return GR_OK;
    }
    gr_view_value *x = GR_PUSH(w->arena, w->values, w->value_count, f->capacity);
    if (!x) return gr_nomem(err);
    *x = (gr_view_value){.value = v, .output = v->is_output, .maker = maker};
    if (w->plan) x->plan = gr_plan_value(w->plan, v);
    bool constant = (v->konst && !v->def) || (w->level == GR_VIEW_PLAN && x->plan.place == GR_PLAN_CONST);
    x->kind = maker != GR_VIEW_NONE ? GR_VIEW_RESULT : constant ? GR_VIEW_CONSTANT : GR_VIEW_INPUT;
    x->folded = v->def && (v->konst || x->plan.place == GR_PLAN_CONST);
    x->parameter = x->kind == GR_VIEW_CONSTANT && v->konst && gr_is_weight(v);
    if (!(x->type = type_text(w, v, &x->plan))) return gr_nomem(err);
    *at = f->index[v->id] = (uint32_t)(w->value_count - 1);
    return GR_OK;
}

static gr_status add_node(filler *f, const gr_node *n, gr_err *err)
{
    gr_view *w = f->w;
    uint32_t at = (uint32_t)w->node_count++;
    gr_view_node *x = &w->nodes[at];
    const gr_part *part = w->outline.part_of[n->id];
    *x = (gr_view_node){.node = n, .domain = n->op->domain ? n->op->domain : ""};
    x->part = part ? (uint32_t)(part - w->outline.parts) : GR_VIEW_NONE;
    x->in = GR_NEWS(w->arena, n->nin, uint32_t);
    x->out = GR_NEWS(w->arena, n->nout, uint32_t);
    if (!x->in || !x->out) return gr_nomem(err);
    for (uint32_t i = 0; i < n->nin; i++) {
        size_t before = w->value_count;
        GR_TRY(add_value(f, gr_in(n, i), GR_VIEW_NONE, &x->in[i], err));
        if (x->in[i] == GR_VIEW_NONE) continue;
        gr_view_value *v = &w->values[x->in[i]];
        v->readers++;
        if (w->value_count > before && v->parameter) x->parameters += v->value->konst->elements;
    }
    for (uint32_t i = 0; i < n->nout; i++) GR_TRY(add_value(f, n->out[i], at, &x->out[i], err));
    w->parameters += x->parameters;
    return GR_OK;
}

/* Read or wanted by somebody outside. */
static bool crosses(const filler *f, const gr_value *v)
{
    if (v->is_output) return true;
    for (const gr_use *u = v->uses; u; u = u->next)
        if (!f->keep[u->user->id]) return true;
    return false;
}

static gr_status find_border(filler *f, gr_err *err)
{
    gr_view *w = f->w;
    w->inputs = GR_NEWS(w->arena, w->value_count, uint32_t);
    w->outputs = GR_NEWS(w->arena, w->part ? w->value_count : w->graph->noutputs, uint32_t);
    if (!w->inputs || !w->outputs) return gr_nomem(err);
    for (size_t i = 0; i < w->value_count; i++) {
        const gr_view_value *x = &w->values[i];
        if (x->kind == GR_VIEW_INPUT) w->inputs[w->input_count++] = (uint32_t)i;
        /* What nobody reads is shown, too: a part without outputs would be no graph. */
        if (w->part && x->kind == GR_VIEW_RESULT && (crosses(f, x->value) || !x->value->nuses))
            w->outputs[w->output_count++] = (uint32_t)i;
    }
    return GR_OK;
}

static gr_status fill(gr_view *w, const bool *keep, gr_err *err)
{
    const gr_graph *g = w->graph;
    filler f = {.w = w, .keep = keep, .index = GR_NEWS(w->arena, g->nvalues, uint32_t)};
    size_t count = 0;
    uint32_t at;
    for (const gr_node *n = g->first; n; n = n->next) count += keep[n->id];
    w->nodes = GR_NEWS(w->arena, count, gr_view_node);
    if (!f.index || !w->nodes) return gr_nomem(err);
    memset(f.index, 0xff, g->nvalues * sizeof *f.index);
    for (size_t i = 0; i < g->ninputs && !w->part; i++) GR_TRY(add_value(&f, g->inputs[i], GR_VIEW_NONE, &at, err));
    for (const gr_node *n = g->first; n; n = n->next)
        if (keep[n->id]) GR_TRY(add_node(&f, n, err));
    if (!w->part)
        for (size_t i = 0; i < g->noutputs; i++) GR_TRY(add_value(&f, g->outputs[i], GR_VIEW_NONE, &at, err));
    GR_TRY(find_border(&f, err));
    if (w->part) return GR_OK;
    for (size_t i = 0; i < g->noutputs; i++) w->outputs[w->output_count++] = f.index[g->outputs[i]->id];
    return GR_OK;
}

/* ---- levels ---- */

/* Passes that remove what does nothing and leave operators what they are. */
static bool only_cleans(const char *pass)
{
    static const char *const names[] = {"inline-if", "no-op", "chains", "common", "reshape", "expand"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i], pass)) return true;
    return false;
}

static gr_status graph_of_level(gr_view *w, gr_model *model, gr_err *err)
{
    gr_variant variant = {.raw = w->level == GR_VIEW_RAW};
    if (w->level != GR_VIEW_CANONICAL) return gr_model_graph(model, &variant, &w->graph, err);
    size_t count;
    const gr_pass *list = gr_pass_list(&count);
    const char **disabled = GR_NEWS(w->arena, count, const char *);
    gr_pass_options passes = {.disabled = disabled};
    if (!disabled) return gr_nomem(err);
    for (size_t i = 0; i < count; i++)
        if (!only_cleans(list[i].name)) disabled[passes.ndisabled++] = list[i].name;
    variant.passes = &passes;
    return gr_model_graph(model, &variant, &w->graph, err);
}

static gr_status make(gr_view *w, gr_model *model, const gr_view_options *o, gr_err *err)
{
    GR_TRY(graph_of_level(w, model, err));
    GR_TRY(gr_outline_make(w->graph, w->arena, &w->outline, err));
    if (o->origins && w->level != GR_VIEW_RAW) GR_TRY(gr_provenance_of(w->graph, w->arena, &w->origins, err));
    bool *keep = GR_NEWS(w->arena, w->graph->nnodes, bool);
    if (!keep) return gr_nomem(err);
    GR_TRY(gr_view_measure(w, o, err));
    GR_TRY(keep_all(w, keep, err));
    if (o->focus) GR_TRY(keep_near(w, o->focus, o->radius, keep, err));
    w->part = o->focus != NULL;
    GR_TRY(fill(w, keep, err));
    GR_TRY(gr_view_figures(w, err));
    GR_TRY(gr_view_find_modules(w, err));
    gr_view_sum_modules(w);
    return GR_OK;
}

gr_status gr_view_new(gr_model *model, const gr_view_options *options, gr_view **out, gr_err *err)
{
    gr_arena *arena = gr_arena_new();
    gr_view *w = arena ? GR_NEW(arena, gr_view) : NULL;
    if (!w) {
        gr_arena_free(arena);
        return gr_nomem(err);
    }
    w->arena = arena;
    w->model = model;
    w->level = options->level;
    gr_status status = make(w, model, options, err);
    if (status != GR_OK) {
        gr_view_free(w);
        return status;
    }
    *out = w;
    return GR_OK;
}

void gr_view_free(gr_view *w)
{
    if (!w) return;
    gr_plan_free(w->plan);
    gr_packs_free(w->packs);
    gr_arena_free(w->arena);
}
