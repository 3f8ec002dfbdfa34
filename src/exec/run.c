/* SPDX-License-Identifier: Apache-2.0
 *
 * Running a plan: bind, loop, hand out.
 */
#include "exec/plan_data.h"
#include "exec/rounded.h"
#include "exec/rows.h"
#include <time.h>

void gr_plan_free_dynamic(gr_plan *p)
{
    for (size_t i = 0; p->dynamic && i < p->nslots; i++) {
        gr_tensor_free(p->slots[i].dynamic);
        p->slots[i].dynamic = NULL;
    }
    p->exec.live_bytes = 0;
    p->exec.iterations = 0;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A wanted value with a buffer of its own that nothing else ever uses can be computed where the caller wants it. */
static bool may_rehome(const gr_plan *p, const slot *s)
{
    if (s->place != IN_BLOCK || p->slots[s->root].last != p->nsteps) return false;
    uint32_t users = 0;
    for (size_t i = 0; i < p->nwanted; i++) users += wanted_slot(p, i)->root == s->root;
    return users == 1;
}

static void bind(gr_plan *p, const gr_tensor *inputs, char *block, const gr_tensor *results)
{
    bool rehome = false;
    for (size_t i = 0; i < p->nwanted; i++) {
        const slot *s = wanted_slot(p, i);
        bool home = results[i].data && (uintptr_t)results[i].data % 8 == 0 && may_rehome(p, s) &&
                    s->t.size <= results[i].size;
        if (home || p->rehomed)
            if (s->place == IN_BLOCK) p->homes[p->slots[s->root].buffer] = home ? results[i].data : NULL;
        rehome |= home;
    }
    bool all = p->bound != block || rehome || p->rehomed;
    for (size_t v = 0; v < p->nslots; v++) {
        slot *s = &p->slots[v];
        if (s->place == IS_INPUT) {
            const gr_tensor *t = &inputs[s->input];
            s->t.data = t->data;
            if (t->kind == GR_KIND_SEQUENCE) s->t.items = t->items, s->t.count = t->count, s->t.size = t->size;
        }
        if (!all || s->place != IN_BLOCK) continue;
        uint32_t b = p->slots[s->root].buffer;
        s->t.data = p->homes[b] ? p->homes[b] : block + p->buffers[b].offset;
    }
    for (size_t i = 0; all && i < p->nsteps; i++)
        if (p->steps[i].step.scratch_size) p->steps[i].step.scratch = block + p->buffers[p->steps[i].scratch].offset;
    if (all) gr_rounded_bind(p, block);
    p->bound = block;
    p->rehomed = rehome;
}

static gr_status run_dynamic(gr_plan *p, plan_step *ps, uint32_t index, gr_err *err)
{
    const gr_node *n = ps->node;
    gr_step *s = &ps->step;
    for (uint32_t i = 0; i < n->nin; i++) {
        slot *in = slot_of(p, gr_in(n, i));
        s->in[i] = !in ? NULL : in->place == DYNAMIC ? in->dynamic : &in->t;
    }
    bool *wanted = gr_calloc(n->nout, sizeof *wanted);
    if (!wanted) return gr_nomem(err);
    for (uint32_t i = 0; i < n->nout; i++) wanted[i] = n->out[i] && p->need[n->out[i]->id];
    gr_status status = gr_eval(&p->exec, n->op, n->params, n, NULL, n->nin, (const gr_tensor *const *)s->in, n->nout,
                               wanted, s->out, err);
    gr_free(wanted);
    if (status != GR_OK) return status;
    for (uint32_t i = 0; i < n->nout; i++)
        if (n->out[i]) slot_of(p, n->out[i])->dynamic = s->out[i];
    for (uint32_t i = 0; i < n->nin; i++) {
        slot *in = slot_of(p, gr_in(n, i));
        if (!in || in->place != DYNAMIC || !in->dynamic || in->last != index) continue;
        p->exec.live_bytes -= in->dynamic->size;
        gr_tensor_free(in->dynamic);
        in->dynamic = NULL;
    }
    return GR_OK;
}

void gr_plan_vacate(const gr_plan *p, char *block, size_t size, size_t keep)
{
    for (size_t i = 0; i < p->nresults && size > keep; i++) {
        const gr_buffer *b = p->result_buffers[i];
        if (b->offset > keep) gr_vacate_pages(block + keep, b->offset - keep);
        if (b->offset + b->size > keep) keep = b->offset + b->size;
    }
    if (size > keep) gr_vacate_pages(block + keep, size - keep);
}

/* [batch, tokens, ...] to [rows, ...], or [batch * tokens, ...] likewise. */
static void shape_picked(const gr_plan *p, gr_tensor *t)
{
    const int64_t all = p->sets[p->nsets - 1].batch * p->sets[p->nsets - 1].tokens, n = (int64_t)p->options.npicked;
    if (t->dims[0] * t->dims[1] == all) {
        t->rank--;
        memmove(t->dims + 1, t->dims + 2, (size_t)(t->rank - 1) * sizeof *t->dims);
    }
    t->dims[0] = n;
    t->size = t->size / (size_t)all * (size_t)n;
    t->elements = t->elements / all * n;
}

gr_status gr_plan_run(gr_plan *p, const gr_tensor *inputs, void *block, gr_tensor *results, const volatile int *cancel,
                      gr_err *err)
{
    p->exec.cancel = cancel;
    const gr_rows *grid = p->nsets ? &p->sets[p->nsets - 1] : NULL;
    const size_t npicked = grid ? p->options.npicked : 0;
    if (npicked && p->picks[npicked - 1] >= grid->batch * grid->tokens)
        return gr_fail(err, GR_EINPUT, "row %lld is wanted of %lld", (long long)p->picks[npicked - 1],
                       (long long)(grid->batch * grid->tokens));
    gr_plan_free_dynamic(p);
    bind(p, inputs, block, results);
    for (uint32_t i = 0; i < p->nsteps; i++) {
        plan_step *ps = &p->steps[i];
        if (cancel && *cancel) return gr_fail(err, GR_ECANCELLED, "the run was cancelled");
        if (p->times) p->times[i] = now();
        if (p->nsets && i == p->rows_from) gr_rows_fill(p);
        gr_status status = ps->dynamic ? run_dynamic(p, ps, i, err) : ps->step.kernel->run(&ps->step, err);
        if (status != GR_OK) return gr_fail_at(ps->node->op, ps->node->name, status, err);
    }
    if (p->times) p->times[p->nsteps] = now();
    for (size_t i = 0; i < p->nwanted; i++) {
        const slot *s = wanted_slot(p, i);
        bool elsewhere = results[i].data != NULL;
        results[i] = s->place == DYNAMIC ? *s->dynamic : s->t;
        if (p->picked[i]) shape_picked(p, &results[i]);
        if (s->place != IS_INPUT || elsewhere || !s->t.size || s->t.kind != GR_KIND_TENSOR) continue;
        results[i].data = (char *)block + p->buffers[p->copies[i]].offset;
        memcpy(results[i].data, s->t.data, s->t.size);
    }
    return GR_OK;
}
