/* SPDX-License-Identifier: Apache-2.0
 *
 * What a plan tells about itself: sizes, steps and what they cost, where values live.
 */
#include "exec/plan_data.h"

size_t gr_plan_block(const gr_plan *p) { return p->block_size; }
size_t gr_plan_bytes(const gr_plan *p) { return gr_arena_bytes(p->arena); }
double gr_plan_flops(const gr_plan *p) { return p->flops; }
int gr_plan_threads(const gr_plan *p) { return p->options.threads; }
size_t gr_plan_steps(const gr_plan *p) { return p->nsteps; }

/* Bytes that the step has to read and write once: its operands, and of a table those that it gathers. */
static size_t operand_bytes(const gr_step *s)
{
    size_t in = 0, out = 0;
    for (uint32_t i = 0; i < s->nin; i++) in += s->in[i] ? s->in[i]->size : 0;
    for (uint32_t o = 0; o < s->nout; o++) out += s->out[o] ? s->out[o]->size : 0;
    bool moves = s->op->flags & (GR_OP_MOVE | GR_OP_MOVE_ALL);
    return out + (moves && in > out ? out : in);
}

static size_t constant_bytes(const gr_plan *p, const plan_step *ps)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < ps->node->nin && i < ps->step.nin; i++)
        if (ps->step.in[i] && slot_of(p, gr_in(ps->node, i))->place == IS_CONST) bytes += ps->step.in[i]->size;
    return bytes;
}

/* For the rows that the last run had. */
static double flops_of(const gr_step *s)
{
    const gr_rows *r = s->rows;
    if (!r || !r->count || !(s->op->flags & GR_OP_ROWS)) return s->flops;
    return s->flops * (double)r->count / ((double)r->batch * (double)r->tokens);
}

gr_step_info gr_plan_step(const gr_plan *p, size_t i)
{
    const plan_step *ps = &p->steps[i];
    const gr_step *s = &ps->step;
    gr_step_info info = {.node = ps->node->name,
                         .op = s->op->name,
                         .domain = s->op->domain ? s->op->domain : "",
                         .output = "",
                         .kernel = s->kernel ? s->kernel->name : "interpreter",
                         .flops = flops_of(s)};
    if (!ps->dynamic) {
        const size_t constants = constant_bytes(p, ps);
        info.bytes = operand_bytes(s);
        info.constant_bytes = constants < info.bytes ? constants : info.bytes;
    }
    for (uint32_t o = 0; o < s->nout && !*info.output; o++)
        if (o < ps->node->nout && ps->node->out[o]) info.output = ps->node->out[o]->name;
    if (!ps->dynamic && s->nout && s->out[0]) info.rank = s->out[0]->rank, info.dims = s->out[0]->dims;
    if (p->times) info.start = p->times[i] - p->times[0], info.seconds = p->times[i + 1] - p->times[i];
    return info;
}

const gr_node *gr_plan_node(const gr_plan *p, size_t i) { return p->steps[i].node; }
size_t gr_plan_scratch(const gr_plan *p, size_t i) { return p->steps[i].step.scratch_size; }

gr_plan_value_info gr_plan_value(const gr_plan *p, const gr_value *v)
{
    static const gr_plan_place places[] = {[UNUSED] = GR_PLAN_UNUSED,
                                           [IS_CONST] = GR_PLAN_CONST,
                                           [IS_INPUT] = GR_PLAN_INPUT,
                                           [IN_BLOCK] = GR_PLAN_BLOCK,
                                           [DYNAMIC] = GR_PLAN_DYNAMIC};
    const slot *s = slot_of(p, v);
    gr_plan_value_info info = {.place = places[s->place], .root = v->id};
    if (s->place == UNUSED || s->place == DYNAMIC) return info;
    info.tensor = &s->t;
    info.root = s->root;
    if (s->place != IN_BLOCK) return info;
    const gr_buffer *b = &p->buffers[p->slots[s->root].buffer];
    info.offset = b->offset;
    info.size = b->size;
    info.first = b->first;
    info.last = b->last;
    return info;
}
