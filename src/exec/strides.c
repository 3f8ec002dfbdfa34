/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/strides.h"

enum { ALIAS = 4096, GAP = 64 / sizeof(float) };

/* Floats in a row of the step's output 0 if they are to have a gap behind them and it can leave one, else 0. */
static int64_t gives(const gr_step *s) { return s->gives_apart * (int64_t)sizeof(float) % ALIAS ? 0 : s->gives_apart; }

/* Whether an input is read as rows of so many floats that may be apart. */
static bool takes(const gr_plan *p, const plan_step *ps, uint32_t input)
{
    const slot *s = &p->slots[ps->in[input]];
    return input == 0 && s->root == ps->in[0] && s->t.rank > 0 && ps->step.takes_apart == s->t.dims[s->t.rank - 1];
}

gr_status gr_strides_place(gr_plan *p, gr_err *err)
{
    bool any = false;
    for (size_t i = 0; i < p->nsteps; i++) any |= gives(&p->steps[i].step) > 0;
    if (!any) return GR_OK;
    bool *dense = GR_NEWS(p->arena, p->nslots, bool); /* somebody wants it so */
    int64_t *strides = GR_NEWS(p->arena, p->nslots, int64_t);
    if (!dense || !strides) return gr_nomem(err);
    for (size_t i = 0; i < p->nsteps; i++)
        for (uint32_t k = 0; k < p->steps[i].nin; k++)
            if (p->steps[i].in[k] != NO_SLOT && !takes(p, &p->steps[i], k))
                dense[p->slots[p->steps[i].in[k]].root] = true;
    for (size_t i = 0; i < p->nsteps; i++) {
        plan_step *ps = &p->steps[i];
        const int64_t row = gives(&ps->step);
        if (!row || ps->out[0] == NO_SLOT) continue;
        const slot *s = &p->slots[ps->out[0]];
        gr_buffer *b = s->place == IN_BLOCK ? &p->buffers[s->buffer] : NULL;
        if (!b || s->root != ps->out[0] || s->last >= p->nsteps || b->first != i || dense[s->root]) continue;
        const size_t gaps = gr_plan_held_bytes(p, s) / (size_t)row * GAP; /* rows x 4 bytes x GAP */
        if (!gr_add(b->size, gaps, &b->size)) return gr_fail(err, GR_ELIMIT, "its size overflows");
        ps->step.out_stride = strides[s->root] = row + GAP;
    }
    for (size_t i = 0; i < p->nsteps; i++) {
        plan_step *ps = &p->steps[i];
        if (ps->nin && ps->in[0] != NO_SLOT && takes(p, ps, 0)) ps->step.in_stride = strides[ps->in[0]];
    }
    return GR_OK;
}
