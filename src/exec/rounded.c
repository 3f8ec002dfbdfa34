/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/rounded.h"

/* The step that makes each slot and can round it; NO_SLOT: none. */
static uint32_t *find_makers(const gr_plan *p)
{
    uint32_t *maker = GR_NEWS(p->arena, p->nslots, uint32_t);
    for (size_t v = 0; maker && v < p->nslots; v++) maker[v] = NO_SLOT;
    for (uint32_t i = 0; maker && i < p->nsteps; i++) {
        const plan_step *ps = &p->steps[i];
        if (ps->step.gives_row && ps->out[0] != NO_SLOT) maker[ps->out[0]] = i;
    }
    return maker;
}

static bool takes(const gr_plan *p, const plan_step *ps, uint32_t root, int64_t row)
{
    return ps->step.takes_row == row && ps->in[0] != NO_SLOT && p->slots[ps->in[0]].root == root;
}

/* Whether all that reads the slot takes it rounded; the last step that does. */
static bool all_take(const gr_plan *p, uint32_t root, int64_t row, uint32_t *last)
{
    bool all = p->slots[root].last < p->nsteps;
    *last = NO_SLOT;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        const plan_step *ps = &p->steps[i];
        const bool rounded = takes(p, ps, root, row);
        if (rounded) *last = i;
        for (uint32_t k = rounded; k < ps->nin; k++)
            if (ps->in[k] != NO_SLOT && p->slots[ps->in[k]].root == root) all = false;
    }
    return all;
}

static gr_status place_rounded(gr_plan *p, uint32_t root, uint32_t maker, gr_err *err)
{
    plan_step *from = &p->steps[maker];
    const int64_t row = from->step.gives_row;
    slot *s = &p->slots[root];
    uint32_t last, buffer = s->buffer;
    const bool only = all_take(p, root, row, &last) && from->step.gives_only && p->buffers[buffer].first == maker;
    if (last == NO_SLOT) return GR_OK;
    if (only)
        p->buffers[buffer].size /= 2;
    else
        GR_TRY(gr_plan_buffer(p, gr_plan_held_bytes(p, s) / 2, maker, last, &buffer, err));
    from->rounded_out = buffer;
    from->step.only_rounded = only;
    for (uint32_t i = maker + 1; i <= last; i++) {
        plan_step *to = &p->steps[i];
        if (!takes(p, to, root, row)) continue;
        to->rounded_in = buffer;
        p->buffers[to->scratch].size -= to->step.takes_bytes;
        to->step.scratch_size -= to->step.takes_bytes;
    }
    return GR_OK;
}

gr_status gr_rounded_place(gr_plan *p, gr_err *err)
{
    bool any = false;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        p->steps[i].rounded_in = p->steps[i].rounded_out = NO_SLOT;
        any |= p->steps[i].step.takes_row != 0;
    }
    if (!any) return GR_OK;
    uint32_t *maker = find_makers(p);
    if (!maker) return gr_nomem(err);
    for (uint32_t v = 0; v < p->nslots; v++)
        if (maker[v] != NO_SLOT && p->slots[v].place == IN_BLOCK) GR_TRY(place_rounded(p, v, maker[v], err));
    return GR_OK;
}

void gr_rounded_bind(gr_plan *p, char *block)
{
    for (size_t i = 0; i < p->nsteps; i++) {
        plan_step *ps = &p->steps[i];
        ps->step.rounded_in = ps->rounded_in == NO_SLOT ? NULL : block + p->buffers[ps->rounded_in].offset;
        ps->step.rounded_out = ps->rounded_out == NO_SLOT ? NULL : block + p->buffers[ps->rounded_out].offset;
    }
}
