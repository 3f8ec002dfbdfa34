/* SPDX-License-Identifier: Apache-2.0
 *
 * Caches that grow in place: which values may, and the step that appends.
 */
#include "exec/grow.h"

static bool is_shape(const gr_node *n) { return !n->op->domain && (!strcmp(n->op->name, "Shape") || !strcmp(n->op->name, "Size")); }

static bool reads_heads(const gr_node *n, const gr_value *v)
{
    enum { KEY = 1, VALUE = 2 };
    if (!(n->op->flags & GR_OP_KEY_ROWS)) return false;
    for (uint32_t i = 0; i < n->nin; i++)
        if (gr_in(n, i) == v && i != KEY && i != VALUE) return false;
    return true;
}

bool gr_cache_may_grow(const gr_graph *g, const char *past, const char *present)
{
    const gr_value *from = gr_graph_find(g, past), *to = NULL;
    for (size_t i = 0; i < g->noutputs; i++)
        if (!strcmp(g->output_names[i], present)) to = g->outputs[i];
    const gr_node *n = to ? to->def : NULL;
    int64_t axis;
    if (!from || !n || strcmp(n->op->name, "Concat") || n->op->domain || n->nin != 2 || gr_in(n, 0) != from) return false;
    if (gr_in(n, 1) == from || gr_in(n, 1)->konst || !gr_in(n, 1)->def || gr_in(n, 1)->def->nsubgraphs) return false;
    if (gr_attr_int(n->attrs, "axis", 1, &axis, NULL) != GR_OK || (axis != 2 && axis != -2)) return false;
    const gr_type *t = &from->type;
    if (t->rank != 4 || t->dtype != GR_FLOAT || to->type.rank != 4 || t->dims[1].expr || t->dims[3].expr) return false;
    for (const gr_use *u = from->uses; u; u = u->next)
        if (u->user != n && !is_shape(u->user)) return false;
    for (const gr_use *u = to->uses; u; u = u->next)
        if (!is_shape(u->user) && !reads_heads(u->user, to)) return false;
    return !from->is_output;
}

/* Input 0, [batch, heads, new, size], to the last tokens of output 0. */
static gr_status append_run(const gr_step *s, gr_err *err)
{
    (void)err;
    const gr_tensor *x = s->in[0], *y = s->out[0];
    const int64_t rows = x->dims[2] * x->dims[3], heads = x->dims[1], old = (y->dims[2] - x->dims[2]) * x->dims[3];
    for (int64_t i = 0; i < x->dims[0] * heads; i++) {
        float *to = (float *)y->data + i / heads * y->row_pitch + i % heads * y->head_pitch + old;
        memcpy(to, (const float *)x->data + i * rows, (size_t)rows * sizeof *to);
    }
    return GR_OK;
}

static const gr_kernel append_kernels[] = {{"append", NULL, append_run, NULL}, {0}};
static const gr_op append_op = {
    .name = "Append", .since = 1, .in = {1, 1}, .out = 1, .kernels = append_kernels, .domain = "graphrun"};

static const gr_value *output_named(const gr_graph *g, const char *name)
{
    for (size_t i = 0; i < g->noutputs; i++)
        if (!strcmp(g->output_names[i], name)) return g->outputs[i];
    return NULL;
}

static void set_pitch(const gr_plan *p, gr_tensor *t)
{
    t->head_pitch = p->options.caches.capacity * t->dims[3];
    t->row_pitch = p->options.caches.rows * t->dims[1] * t->head_pitch;
}

bool gr_grow_step(gr_plan *p, plan_step *ps)
{
    const gr_plan_caches *c = &p->options.caches;
    const gr_value *to = gr_out(ps->node, 0);
    for (size_t i = 0; i < c->count && to; i++) {
        if (output_named(p->graph, c->present[i]) != to) continue;
        const gr_value *from = gr_in(ps->node, 0);
        slot *present = slot_of(p, to), *past = slot_of(p, from);
        set_pitch(p, &past->t);
        set_pitch(p, &present->t);
        present->place = IS_INPUT;
        present->input = past->input;
        ps->op = &append_op;
        ps->in[0] = ps->in[1];
        ps->nin = 1;
        return true;
    }
    return false;
}
