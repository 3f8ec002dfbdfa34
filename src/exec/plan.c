/* SPDX-License-Identifier: Apache-2.0
 *
 * Planning: infer with numbers, keep what the wanted values need, prepare kernels, place buffers.
 */
#include "exec/plan_data.h"
#include "exec/grow.h"
#include "exec/packs.h"
#include "exec/rounded.h"
#include "exec/rows.h"
#include "exec/strides.h"
#include "exec/threads.h"
#include <stdio.h>
#include <stdlib.h>

/* What depends on shapes only is computed once per plan, if it is not larger than this. */
enum { FOLD_OUTPUT = 16 << 20, FOLD_BUDGET = 128 << 20 };

/* Floating-point operations of a run below which one thread does it: some 100 microseconds. */
#define SMALL_WORK 1e7

/* ---- planning ---- */

/* What a run knows of an input beforehand: of a sequence not its length, nor the shapes of its items. */
static bool input_type(gr_plan *p, const gr_tensor *t, gr_type *out)
{
    gr_dim *dims = GR_NEWS(p->arena, (size_t)t->rank, gr_dim);
    gr_type *elem = GR_NEW(p->arena, gr_type);
    if (!dims || !elem) return false;
    for (int d = 0; d < t->rank; d++) dims[d] = GR_DIM(t->dims[d]);
    *out = gr_type_tensor(t->dtype, t->rank, dims);
    if (t->kind == GR_KIND_TENSOR) return true;
    *elem = gr_type_tensor(t->dtype, GR_RANK_UNKNOWN, NULL);
    *out = (gr_type){.kind = t->kind, .dtype = t->dtype, .rank = GR_RANK_UNKNOWN, .elem = elem};
    return true;
}

static gr_status infer(gr_plan *p, gr_err *err)
{
    const gr_graph *g = p->graph;
    gr_facts *f = &p->facts;
    gr_fold fold = {.max_output = FOLD_OUTPUT, .budget = FOLD_BUDGET, .only_new = true, .exec = &p->exec};
    f->arena = p->arena;
    f->syms = gr_syms_new(p->arena);
    f->types = GR_NEWS(p->arena, g->nvalues, gr_type);
    f->ivals = GR_NEWS(p->arena, g->nvalues, const gr_ivals *);
    f->konst = GR_NEWS(p->arena, g->nvalues, gr_tensor *);
    if (!f->syms || !f->types || !f->ivals || !f->konst) return gr_nomem(err);
    for (size_t i = 0; i < g->ninputs; i++)
        if (!input_type(p, &p->inputs[i], &f->types[g->inputs[i]->id])) return gr_nomem(err);
    for (const gr_node *n = g->first; n; n = n->next)
        for (uint32_t i = 0; i < n->nin; i++) {
            const gr_value *v = gr_in(n, i);
            if (!v || !v->konst || f->konst[v->id]) continue;
            f->types[v->id] = v->type;
            f->konst[v->id] = v->konst;
            f->ivals[v->id] = v->ivals ? v->ivals : gr_ivals_of(p->arena, v->konst);
        }
    return gr_infer_facts(g, f, &fold, err);
}

static bool runs(const gr_plan *p, const gr_node *n)
{
    for (uint32_t i = 0; i < n->nout; i++)
        if (n->out[i] && p->need[n->out[i]->id] && !p->facts.konst[n->out[i]->id]) return true;
    return false;
}

/* Mark what the wanted values need, from the last node to the first; count the nodes that run. */
static size_t mark_needed(gr_plan *p)
{
    size_t count = 0;
    for (size_t i = 0; i < p->nwanted; i++) p->need[p->wanted[i]->id] = true;
    for (const gr_node *n = p->graph->last; n; n = n->prev) {
        if (!runs(p, n)) continue;
        count++;
        for (uint32_t i = 0; i < n->nin; i++)
            if (gr_in(n, i)) p->need[gr_in(n, i)->id] = true;
    }
    return count;
}

static bool shape_tensor(const gr_type *t, gr_tensor *out)
{
    if (!gr_type_is_static(t)) return false;
    *out = (gr_tensor){.kind = GR_KIND_TENSOR, .dtype = t->dtype, .rank = t->rank, .aligned = true};
    for (int i = 0; i < t->rank; i++) out->dims[i] = t->dims[i].k;
    return gr_elements(out->rank, out->dims, &out->elements) && gr_bytes(out->dtype, out->elements, &out->size);
}

static void place_constant(gr_plan *p, const gr_value *v)
{
    gr_tensor *konst = v->konst ? v->konst : p->facts.konst[v->id];
    slot *s = slot_of(p, v);
    if (!konst || s->place != UNUSED) return;
    s->place = IS_CONST;
    s->root = v->id;
    s->t = *konst;
    /* Only what lives as long as the model may be packed; what this plan has folded goes with it. */
    s->t.is_const = v->konst != NULL;
}

/* A node that only gives its input another shape: its output is the input's memory. */
static bool place_view(gr_plan *p, const gr_node *n)
{
    gr_tensor shaped;
    const slot *from = slot_of(p, gr_in(n, 0));
    slot *s = slot_of(p, gr_out(n, 0));
    if (!(n->op->flags & GR_OP_VIEW) || !from || !s || from->place == DYNAMIC || from->place == UNUSED) return false;
    for (uint32_t i = 1; i < n->nout; i++)
        if (n->out[i] && p->need[n->out[i]->id]) return false;
    if (!shape_tensor(&p->facts.types[n->out[0]->id], &shaped) || shaped.size != from->t.size) return false;
    *s = *from;
    s->t.rank = shaped.rank;
    memcpy(s->t.dims, shaped.dims, sizeof shaped.dims);
    return true;
}

static bool is_dynamic(const gr_plan *p, const gr_node *n)
{
    gr_tensor shaped;
    if (n->nsubgraphs) return true;
    for (uint32_t i = 0; i < n->nin; i++) {
        const slot *s = slot_of(p, gr_in(n, i));
        if (s && (s->place == DYNAMIC || (s->place == IS_INPUT && s->t.kind != GR_KIND_TENSOR))) return true;
    }
    for (uint32_t i = 0; i < n->nout; i++)
        if (n->out[i] && !shape_tensor(&p->facts.types[n->out[i]->id], &shaped)) return true;
    return false;
}

static bool add_step(gr_plan *p, const gr_node *n)
{
    plan_step *ps = &p->steps[p->nsteps];
    *ps = (plan_step){.node = n, .op = n->op, .nin = n->nin, .nout = n->nout, .dynamic = is_dynamic(p, n)};
    ps->in = GR_NEWS(p->arena, n->nin, uint32_t);
    ps->out = GR_NEWS(p->arena, n->nout, uint32_t);
    if (!ps->in || !ps->out) return false;
    for (uint32_t i = 0; i < n->nin; i++) {
        ps->in[i] = gr_in(n, i) ? gr_in(n, i)->id : NO_SLOT;
        if (ps->in[i] != NO_SLOT) p->slots[ps->in[i]].widen |= ps->dynamic || !(n->op->flags & GR_OP_NARROW);
    }
    for (uint32_t i = 0; i < n->nout; i++) {
        slot *s = slot_of(p, n->out[i]);
        ps->out[i] = s && p->need[n->out[i]->id] ? n->out[i]->id : NO_SLOT;
        if (ps->out[i] == NO_SLOT) continue;
        s->place = ps->dynamic ? DYNAMIC : IN_BLOCK;
        s->root = n->out[i]->id;
        if (!ps->dynamic) shape_tensor(&p->facts.types[n->out[i]->id], &s->t);
    }
    if (!ps->dynamic) gr_grow_step(p, ps);
    p->dynamic |= ps->dynamic;
    p->nsteps++;
    return true;
}

/* How long each value lives. */
static void place_in_time(gr_plan *p)
{
    for (uint32_t i = 0; i < p->nsteps; i++) {
        const plan_step *ps = &p->steps[i];
        for (uint32_t k = 0; k < ps->nin; k++)
            if (ps->in[k] != NO_SLOT) p->slots[p->slots[ps->in[k]].root].last = i;
        for (uint32_t k = 0; k < ps->nout; k++)
            if (ps->out[k] != NO_SLOT) p->slots[ps->out[k]].last = i;
    }
    for (size_t i = 0; i < p->nwanted; i++) {
        slot *s = wanted_slot(p, i);
        p->slots[s->root].last = (uint32_t)p->nsteps;
        s->widen = true;
    }
}

/* Which nodes are steps, in which order, and where each value lives. */
static gr_status place_values(gr_plan *p, gr_err *err)
{
    for (size_t i = 0; i < p->graph->ninputs; i++) {
        slot *s = slot_of(p, p->graph->inputs[i]);
        s->place = IS_INPUT;
        s->root = p->graph->inputs[i]->id;
        s->input = (uint32_t)i;
        s->t = p->inputs[i];
    }
    for (size_t i = 0; i < p->nwanted; i++) place_constant(p, p->wanted[i]);
    for (int late = 0; late < 2; late++)
        for (const gr_node *n = p->graph->first; n; n = n->next) {
            if (p->early[n->id] == late || !runs(p, n)) continue;
            for (uint32_t i = 0; i < n->nin; i++)
                if (gr_in(n, i)) place_constant(p, gr_in(n, i));
            if (!place_view(p, n) && !add_step(p, n)) return gr_nomem(err);
        }
    return GR_OK;
}

/* Constants that are stored in 16 bits, for steps that want floats: one copy, which all plans share. */
static gr_status widen_constant(gr_plan *p, const gr_value *v, gr_err *err)
{
    slot *s = slot_of(p, v);
    if (!s || !s->widen || s->place != IS_CONST || !gr_is_narrow(v) || s->t.dtype == GR_FLOAT) return GR_OK;
    if (!(s->t.data = gr_packs_widened(p->options.packs, &s->t))) return gr_nomem(err);
    s->t.dtype = GR_FLOAT;
    s->t.size *= 2;
    s->t.aligned = true;
    s->t.mapped = false;
    return GR_OK;
}

static gr_status widen_constants(gr_plan *p, gr_err *err)
{
    for (size_t i = 0; i < p->nwanted; i++) GR_TRY(widen_constant(p, p->wanted[i], err));
    for (size_t i = 0; i < p->nsteps; i++)
        for (uint32_t k = 0; k < p->steps[i].node->nin; k++)
            GR_TRY(widen_constant(p, gr_in(p->steps[i].node, k), err));
    return GR_OK;
}

gr_status gr_plan_buffer(gr_plan *p, size_t size, uint32_t first, uint32_t last, uint32_t *out, gr_err *err)
{
    gr_buffer *b = GR_PUSH(p->arena, p->buffers, p->nbuffers, p->capbuffers);
    if (!b) return gr_nomem(err);
    *b = (gr_buffer){.size = size, .first = first, .last = last};
    *out = (uint32_t)(p->nbuffers - 1);
    return GR_OK;
}

/* The buffer of an element-wise node's input that nobody reads after it can take the output. */
static bool take_over(gr_plan *p, const plan_step *ps, uint32_t step, const slot *out, uint32_t *buffer)
{
    if (!(ps->op->flags & GR_OP_INPLACE)) return false;
    for (uint32_t i = 0; i < ps->nin; i++) {
        const slot *s = ps->in[i] == NO_SLOT ? NULL : &p->slots[ps->in[i]];
        if (!s || s->place != IN_BLOCK || s->t.size != out->t.size || s->t.dtype != out->t.dtype) continue;
        if (p->slots[s->root].rows != out->rows) continue;
        *buffer = p->slots[s->root].buffer;
        if (p->buffers[*buffer].last == step) return true;
    }
    return false;
}

size_t gr_plan_held_bytes(const gr_plan *p, const slot *s)
{
    const gr_rows *r = p->nsets ? &p->sets[s->rows] : NULL;
    return r && r->most ? s->t.size / (size_t)(r->batch * r->tokens) * (size_t)r->most : s->t.size;
}

static gr_status place_buffers(gr_plan *p, uint32_t step, gr_err *err)
{
    plan_step *ps = &p->steps[step];
    bool taken = false;
    for (uint32_t o = 0; o < ps->nout; o++) {
        slot *s = ps->out[o] == NO_SLOT ? NULL : &p->slots[ps->out[o]];
        if (!s || s->place != IN_BLOCK) continue;
        if (!taken && take_over(p, ps, step, s, &s->buffer)) {
            p->buffers[s->buffer].last = s->last;
            taken = true;
        } else {
            GR_TRY(gr_plan_buffer(p, gr_plan_held_bytes(p, s), step, s->last, &s->buffer, err));
        }
    }
    return ps->step.scratch_size ? gr_plan_buffer(p, ps->step.scratch_size, step, step, &ps->scratch, err) : GR_OK;
}

/* Kernels that read constants only where they are aligned get a copy, which all plans share. */
static gr_status align_constants(gr_plan *p, const plan_step *ps, gr_err *err)
{
    for (uint32_t i = 0; i < ps->nin && !(ps->op->flags & GR_OP_UNALIGNED); i++) {
        slot *s = ps->in[i] == NO_SLOT ? NULL : &p->slots[ps->in[i]];
        if (!s || s->place != IS_CONST || s->t.aligned || !s->t.size) continue;
        if (!(s->t.data = gr_packs_aligned(p->options.packs, s->t.data, s->t.size))) return gr_nomem(err);
        s->t.aligned = true;
    }
    return GR_OK;
}

__attribute__((format(printf, 2, 3))) static void log_line(const gr_plan *p, const char *fmt, ...)
{
    char line[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    p->options.log(p->options.log_user, GR_LOG_DISPATCH, line);
}

/* The kernel that is best for a step does not heed rows: the plan is made again with all of them here. */
static gr_status blocked(gr_plan *p, const plan_step *ps)
{
    p->whole[ps->node->id] = true;
    p->again = true;
    return GR_EUNSUPPORTED;
}

static gr_status choose_kernel(gr_plan *p, plan_step *ps, gr_err *err)
{
    gr_step *s = &ps->step;
    gr_why why = {0};
    const bool by_rows =
        (s->op->flags & (GR_OP_ROWS | GR_OP_KEY_ROWS | GR_OP_ANY_ROWS | GR_OP_POOL_ROWS)) && (s->rows || s->key_rows);
    for (const gr_kernel *k = s->op->kernels; k->name; k++) {
        s->scratch_size = 0;
        s->takes_row = s->gives_row = s->takes_apart = s->gives_apart = 0;
        s->state = NULL;
        const unsigned long failures = gr_malloc_failures();
        if (!k->prepare || k->prepare(s, &why)) {
            if (by_rows && !k[1].name) {
                if (k->release) k->release(s);
                return blocked(p, ps);
            }
            s->kernel = k;
            p->flops += s->flops;
            if (p->options.log) log_line(p, "%s '%s': %s", s->op->name, gr_show(ps->node->name), k->name);
            return GR_OK;
        }
        if (gr_malloc_failures() != failures) return gr_nomem(err); /* the next kernel's bits may be others */
        if (p->options.log)
            log_line(p, "%s '%s': %s declines: %s", s->op->name, gr_show(ps->node->name), k->name, why.text);
    }
    return gr_fail(err, GR_EUNSUPPORTED, "no kernel for it: %s", why.text);
}

static gr_status prepare_step(gr_plan *p, uint32_t i, gr_err *err)
{
    plan_step *ps = &p->steps[i];
    const gr_node *n = ps->node;
    gr_step *s = &ps->step;
    const gr_rows *rows = s->rows, *key_rows = s->key_rows;
    *s = (gr_step){.op = ps->op, .params = ps->op == n->op ? n->params : NULL, .node = n, .nin = ps->nin,
                   .nout = ps->nout, .arena = p->arena, .packs = p->options.packs, .threads = p->options.threads,
                   .exec = &p->exec, .rows = rows, .key_rows = key_rows, .precision = p->options.precision,
                   .plain_rows = p->options.plain_rows};
    s->in = GR_NEWS(p->arena, ps->nin, gr_tensor *);
    s->out = GR_NEWS(p->arena, ps->nout, gr_tensor *);
    if (!s->in || !s->out) return gr_nomem(err);
    if (ps->dynamic) return GR_OK;
    for (uint32_t k = 0; k < ps->nin; k++) s->in[k] = ps->in[k] == NO_SLOT ? NULL : &p->slots[ps->in[k]].t;
    for (uint32_t k = 0; k < ps->nout; k++) s->out[k] = ps->out[k] == NO_SLOT ? NULL : &p->slots[ps->out[k]].t;
    GR_TRY(align_constants(p, ps, err));
    GR_TRY(choose_kernel(p, ps, err));
    return place_buffers(p, i, err);
}

/* Bytes of the outputs of a step that are known. */
static size_t output_bytes(const gr_plan *p, const plan_step *ps)
{
    size_t sum = 0;
    for (uint32_t o = 0; o < ps->nout; o++) {
        const slot *s = ps->out[o] == NO_SLOT ? NULL : &p->slots[ps->out[o]];
        if (s && s->place == IN_BLOCK && !gr_add(sum, s->t.size, &sum)) return SIZE_MAX;
    }
    return sum;
}

/* Before kernels are prepared for shapes that cannot be. */
static gr_status check_outputs(const gr_plan *p, gr_err *err)
{
    size_t limit = p->options.max_memory ? p->options.max_memory : gr_machine_memory();
    for (size_t i = 0; i < p->nsteps; i++) {
        const gr_node *n = p->steps[i].node;
        size_t bytes = output_bytes(p, &p->steps[i]);
        if (bytes <= limit) continue;
        gr_status status = gr_fail(err, GR_ELIMIT, "its output would take %zu bytes, the %s is %zu", bytes,
                                   p->options.max_memory ? "limit" : "machine's memory", limit);
        return gr_fail_at(n->op, n->name, status, err);
    }
    return GR_OK;
}

static int lower_first(const void *a, const void *b)
{
    const size_t x = (*(gr_buffer *const *)a)->offset, y = (*(gr_buffer *const *)b)->offset;
    return x < y ? -1 : x > y;
}

/* Where results will lie in the block. */
static gr_status list_results(gr_plan *p, gr_err *err)
{
    if (!(p->result_buffers = GR_NEWS(p->arena, p->nwanted, gr_buffer *))) return gr_nomem(err);
    for (size_t i = 0; i < p->nwanted; i++) {
        const slot *s = wanted_slot(p, i);
        if (s->place == IN_BLOCK) p->result_buffers[p->nresults++] = &p->buffers[p->slots[s->root].buffer];
        if (s->place == IS_INPUT) p->result_buffers[p->nresults++] = &p->buffers[p->copies[i]];
    }
    qsort(p->result_buffers, p->nresults, sizeof *p->result_buffers, lower_first);
    return GR_OK;
}

static gr_status check_memory(gr_plan *p, gr_err *err)
{
    GR_TRY(gr_plan_memory(p->buffers, p->nbuffers, &p->block_size, err));
    GR_TRY(list_results(p, err));
    size_t limit = p->options.max_memory ? p->options.max_memory : gr_machine_memory();
    size_t need = p->block_size + gr_arena_bytes(p->arena);
    if (need <= limit) return GR_OK;
    const gr_node *most = NULL;
    size_t size = 0;
    for (size_t i = 0; i < p->nsteps; i++)
        if (output_bytes(p, &p->steps[i]) >= size) most = p->steps[i].node, size = output_bytes(p, &p->steps[i]);
    return gr_fail(err, GR_ELIMIT, "this shape needs %zu bytes of memory, the %s is %zu; node '%s' (%s) makes %zu of them",
                   need, p->options.max_memory ? "limit" : "machine's", limit, most ? gr_show(most->name) : "",
                   most ? most->op->name : "none", size);
}

/* What a run gives is not memory that the caller has fed: an input that is wanted is copied at the end. */
static gr_status place_copies(gr_plan *p, gr_err *err)
{
    uint32_t end = (uint32_t)p->nsteps;
    if (!(p->copies = GR_NEWS(p->arena, p->nwanted, uint32_t))) return gr_nomem(err);
    for (size_t i = 0; i < p->nwanted; i++) {
        const slot *s = wanted_slot(p, i);
        size_t size = s->t.kind == GR_KIND_TENSOR ? s->t.size : 0;
        if (s->place == IS_INPUT) GR_TRY(gr_plan_buffer(p, size, end, end, &p->copies[i], err));
    }
    return GR_OK;
}

static gr_status make_plan(gr_plan *p, gr_err *err)
{
    const gr_graph *g = p->graph;
    p->need = GR_NEWS(p->arena, g->nvalues, bool);
    p->nslots = g->nvalues;
    p->slots = GR_NEWS(p->arena, p->nslots, slot);
    if (!p->need || !p->slots) return gr_nomem(err);
    GR_TRY(infer(p, err));
    p->steps = GR_NEWS(p->arena, mark_needed(p), plan_step);
    if (!p->steps) return gr_nomem(err);
    if (!(p->results = GR_NEWS(p->arena, p->nwanted, uint32_t))) return gr_nomem(err);
    for (size_t i = 0; i < p->nwanted; i++) p->results[i] = p->wanted[i]->id;
    GR_TRY(gr_rows_find_early(p, err));
    GR_TRY(place_values(p, err));
    GR_TRY(gr_rows_choose(p, err));
    place_in_time(p);
    GR_TRY(check_outputs(p, err));
    GR_TRY(widen_constants(p, err));
    for (uint32_t i = 0; i < p->nsteps; i++) {
        gr_status status = prepare_step(p, i, err);
        if (p->again) return status;
        if (status != GR_OK) return gr_fail_at(p->steps[i].node->op, p->steps[i].node->name, status, err);
    }
    GR_TRY(gr_rounded_place(p, err));
    GR_TRY(gr_strides_place(p, err));
    GR_TRY(place_copies(p, err));
    p->homes = GR_NEWS(p->arena, p->nbuffers, char *);
    if (p->options.profile && !(p->times = GR_NEWS(p->arena, p->nsteps + 1, double))) return gr_nomem(err);
    return p->homes ? check_memory(p, err) : gr_nomem(err);
}

/* What shapes that depend on data may take, when nobody sets a limit. They cannot be checked before the run; so a model
 * has room that goes with its weights and inputs, and one that grows without end stops early. */
static size_t dynamic_limit(const gr_graph *g, const gr_tensor *inputs)
{
    const size_t base = (size_t)224 << 20, per_weight = 64, per_input = 1024, machine = gr_machine_memory();
    size_t bytes, all = base;
    for (size_t i = 0; i < g->ninputs; i++)
        if (!gr_mul(inputs[i].size, per_input, &bytes) || !gr_add(all, bytes, &all)) return machine;
    if (!gr_mul(gr_graph_constant_bytes(g), per_weight, &bytes) || !gr_add(all, bytes, &all)) return machine;
    return all < machine ? all : machine;
}

/* `whole`: nodes that want all rows; if one more is found out, *again is set and the attempt fails. */
static gr_status attempt_plan(const gr_graph *g, const gr_tensor *inputs, size_t nwanted, gr_value *const *wanted,
                              const gr_plan_options *options, bool *whole, bool *again, gr_plan **out, gr_err *err)
{
    gr_arena *arena = gr_arena_new();
    gr_plan *p = arena ? GR_NEW(arena, gr_plan) : NULL;
    if (!p) {
        gr_arena_free(arena);
        return gr_nomem(err);
    }
    p->arena = arena;
    p->graph = g;
    p->options = *options;
    p->nwanted = nwanted;
    p->whole = whole;
    p->exec = (gr_exec){.max_bytes = options->max_memory ? options->max_memory : dynamic_limit(g, inputs),
                        .max_iterations = options->max_iterations, .threads = options->threads,
                        .packs = options->packs, .precision = options->precision};
    p->inputs = GR_NEWS(arena, g->ninputs, gr_tensor);
    p->wanted = GR_NEWS(arena, nwanted, gr_value *);
    gr_status status = p->inputs && p->wanted ? GR_OK : gr_nomem(err);
    if (status == GR_OK) {
        if (g->ninputs) memcpy(p->inputs, inputs, g->ninputs * sizeof *inputs);
        if (nwanted) memcpy(p->wanted, wanted, nwanted * sizeof *wanted);
        status = make_plan(p, err);
    }
    *again = p->again;
    p->whole = NULL;
    if (status != GR_OK) {
        gr_plan_free(p);
        return status;
    }
    *out = p;
    return GR_OK;
}

static gr_status new_plan(const gr_graph *g, const gr_tensor *inputs, size_t nwanted, gr_value *const *wanted,
                          const gr_plan_options *options, gr_plan **out, gr_err *err)
{
    enum { ATTEMPTS = 16 };
    bool *whole = gr_calloc(g->nnodes + 1, sizeof *whole), again = true;
    gr_status status = whole ? GR_EUNSUPPORTED : gr_nomem(err);
    for (int i = 0; whole && again && i <= ATTEMPTS; i++) {
        if (i == ATTEMPTS) memset(whole, true, g->nnodes);
        status = attempt_plan(g, inputs, nwanted, wanted, options, whole, &again, out, err);
    }
    gr_free(whole);
    return status;
}

gr_status gr_plan_new(const gr_graph *g, const gr_tensor *inputs, size_t nwanted, gr_value *const *wanted,
                      const gr_plan_options *options, gr_plan **out, gr_err *err)
{
    GR_TRY(new_plan(g, inputs, nwanted, wanted, options, out, err));
    if (options->threads == 1 || (*out)->flops > SMALL_WORK) return GR_OK;
    /* Waking a team for each of many small steps takes longer than the steps. */
    gr_plan_options alone = *options;
    alone.threads = 1;
    gr_plan_free(*out);
    gr_threads_state threads = gr_threads_enter_alone(1);
    gr_status status = new_plan(g, inputs, nwanted, wanted, &alone, out, err);
    gr_threads_leave(threads);
    return status;
}

void gr_plan_free(gr_plan *p)
{
    if (!p) return;
    gr_plan_free_dynamic(p);
    for (size_t i = 0; i < p->nsteps; i++) {
        gr_step *s = &p->steps[i].step;
        if (s->kernel && s->kernel->release) s->kernel->release(s);
    }
    gr_arena_free(p->arena);
}

bool gr_plan_fits(const gr_plan *p, const gr_graph *g, const gr_tensor *inputs, size_t nwanted, gr_value *const *wanted,
                  const gr_plan_caches *caches, size_t npicked)
{
    const gr_plan_caches *own = &p->options.caches;
    if (p->options.npicked != npicked) return false;
    if (p->graph != g || p->nwanted != nwanted) return false;
    if (own->count != caches->count || (own->count && (own->capacity != caches->capacity || own->rows != caches->rows)))
        return false;
    for (size_t i = 0; i < nwanted; i++)
        if (p->wanted[i] != wanted[i]) return false;
    for (size_t i = 0; i < g->ninputs; i++) {
        const gr_tensor *a = &p->inputs[i], *b = &inputs[i];
        if (a->kind != b->kind || a->dtype != b->dtype || a->rank != b->rank ||
            memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims))
            return false;
    }
    return true;
}

void gr_plan_pick(gr_plan *p, const int64_t *rows) { p->picks = rows; }
