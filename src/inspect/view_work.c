/* SPDX-License-Identifier: Apache-2.0
 *
 * Figures of a view: the graph is planned for a shape as for a run, with packs that stay empty, so that no weight is
 * read; what the kernels count is the work.
 */
#include "view.h"
#include "exec/packs.h"
#include <stdio.h>

static const gr_tensor_view *shape_of(const gr_view_options *o, const char *name)
{
    for (size_t i = 0; i < o->input_count; i++)
        if (!strcmp(o->inputs[i].name, name)) return &o->inputs[i].tensor;
    return NULL;
}

static gr_status shape_input(const gr_view_options *o, const gr_value *v, gr_tensor *t, gr_err *err)
{
    const gr_tensor_view *x = shape_of(o, v->name);
    if (!x) return gr_fail(err, GR_EINPUT, "the shape of input '%s' is not known", gr_show(v->name));
    *t = (gr_tensor){.kind = GR_KIND_TENSOR, .dtype = x->type, .rank = x->rank, .aligned = true};
    if (x->rank < 0 || x->rank > GR_MAX_RANK || (v->type.rank >= 0 && x->rank != v->type.rank))
        return gr_fail(err, GR_EINPUT, "input '%s' cannot have rank %d", gr_show(v->name), x->rank);
    for (int i = 0; i < x->rank; i++) t->dims[i] = x->dims[i];
    if (!gr_elements(t->rank, t->dims, &t->elements) || !gr_bytes(t->dtype, t->elements, &t->size))
        return gr_fail(err, GR_EINPUT, "input '%s' cannot be that large", gr_show(v->name));
    return GR_OK;
}

static gr_status plan_graph(gr_view *w, const gr_view_options *o, gr_err *err)
{
    const gr_graph *g = w->graph;
    gr_tensor *inputs = GR_NEWS(w->arena, g->ninputs, gr_tensor);
    if (!inputs || !(w->packs = gr_packs_new_empty())) return gr_nomem(err);
    if (!o->inputs) return gr_fail(err, GR_EINPUT, "no shape is given");
    for (size_t i = 0; i < g->ninputs; i++) GR_TRY(shape_input(o, g->inputs[i], &inputs[i], err));
    const gr_plan_options options = {.threads = 1, .packs = w->packs};
    GR_TRY(gr_plan_new(g, inputs, g->noutputs, g->outputs, &options, &w->plan, err));
    w->block = gr_plan_block(w->plan);
    return GR_OK;
}

gr_status gr_view_measure(gr_view *w, const gr_view_options *o, gr_err *err)
{
    gr_err why = {GR_OK, ""};
    gr_status status = plan_graph(w, o, &why);
    if (status == GR_OK) return GR_OK;
    if (status == GR_ENOMEM) return gr_nomem(err);
    if (w->level == GR_VIEW_PLAN) return gr_fail(err, status, "%s", why.text);
    snprintf(w->work_missing, sizeof w->work_missing, "%s", why.text);
    return GR_OK;
}

/* ---- nodes ---- */

/* What a kernel does not count: one operation per element that it makes, none for moving and for views. */
static double elements_made(const gr_view *w, const gr_view_node *n)
{
    double sum = 0;
    if (n->node->op->flags & (GR_OP_VIEW | GR_OP_MOVE | GR_OP_MOVE_ALL)) return 0;
    for (uint32_t i = 0; i < n->node->nout; i++) {
        const gr_tensor *t = n->out[i] == GR_VIEW_NONE ? NULL : w->values[n->out[i]].plan.tensor;
        if (t) sum += (double)t->elements;
    }
    return sum;
}

gr_status gr_view_figures(gr_view *w, gr_err *err)
{
    if (!w->plan) return GR_OK;
    uint32_t *step = GR_NEWS(w->arena, w->graph->nnodes, uint32_t); /* plus one, by node id */
    if (!step) return gr_nomem(err);
    for (size_t i = 0; i < gr_plan_steps(w->plan); i++) step[gr_plan_node(w->plan, i)->id] = (uint32_t)i + 1;
    for (size_t i = 0; i < w->node_count; i++) {
        gr_view_node *n = &w->nodes[i];
        if (!step[n->node->id]) continue;
        size_t at = step[n->node->id] - 1;
        gr_step_info s = gr_plan_step(w->plan, at);
        n->runs = true;
        n->kernel = s.kernel;
        n->scratch = gr_plan_scratch(w->plan, at);
        n->work = s.flops > 0 ? s.flops : elements_made(w, n);
        n->bytes = (double)s.bytes;
        w->work += n->work;
    }
    return GR_OK;
}
