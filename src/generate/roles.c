/* SPDX-License-Identifier: Apache-2.0 */
#include "generate/roles.h"
#include "exec/plan.h"
#include "ops/op.h"

static bool has_word(const char *name, const char *word) { return strstr(name, word) != NULL; }

static bool is_index(const gr_type *t)
{
    return t->kind == GR_KIND_TENSOR && (t->dtype == GR_INT64 || t->dtype == GR_INT32) && t->rank == 2;
}

const char *gr_decoder_switch(const gr_graph *g)
{
    for (size_t i = 0; i < g->ninputs; i++) {
        const gr_value *v = g->inputs[i];
        if (v->type.dtype != GR_BOOL || v->type.rank > 1) continue;
        for (const gr_use *u = v->uses; u; u = u->next)
            if (!strcmp(u->user->op->name, "If") || has_word(v->name, "cache")) return v->name;
    }
    return NULL;
}

/* ---- caches ---- */

/* What a cache may be: floating-point numbers of rank 4 or more with one unknown dimension besides the batch. */
static bool may_be_cache(const gr_value *v)
{
    const gr_type *t = &v->type;
    return t->kind == GR_KIND_TENSOR && gr_dtype_is_float(t->dtype) && t->rank >= 4 && t->rank <= 5;
}

static bool moves(const gr_node *n)
{
    return !n->nsubgraphs && n->op->flags & (GR_OP_MOVE | GR_OP_MOVE_ALL | GR_OP_VIEW);
}

/* The one input that `v` has elements of by moving alone, or that the operator which makes it takes at the place where
 * attention takes the past of that output; NULL if there is none or more than one. */
static const gr_value *origin(const gr_graph *g, const gr_value *v, bool *seen, const gr_value **stack)
{
    size_t n = 0;
    const gr_value *found = NULL;
    memset(seen, 0, g->nvalues * sizeof *seen);
    seen[v->id] = true;
    for (stack[n++] = v; n;) {
        const gr_value *x = stack[--n];
        if (x->is_input && may_be_cache(x)) {
            if (found) return NULL;
            found = x;
        }
        const gr_node *def = x->def;
        const bool mover = def && moves(def);
        uint32_t nth = 0, out = 0;
        while (def && out < def->nout && def->out[out] != x) out++;
        for (uint32_t i = 0; def && i < def->nin; i++) {
            const gr_value *in = gr_in(def, i);
            if (!in) continue;
            /* Attention takes pasts in the order in which it gives presents, its outputs from 1 on. */
            const bool past = !mover && in->is_input && may_be_cache(in) && ++nth == out;
            if ((!mover && !past) || seen[in->id]) continue;
            seen[in->id] = true;
            stack[n++] = in;
        }
    }
    return found;
}

/* Which axis grows: of those that are no number the last that is not the batch. */
static bool set_axes(const gr_type *t, gr_dim batch, gr_cache_role *c)
{
    c->rank = t->rank;
    c->dtype = t->dtype;
    c->axis = c->batch_axis = -1;
    for (int d = 0; d < t->rank; d++) {
        c->dims[d] = t->dims[d].expr ? 0 : t->dims[d].k;
        if (!t->dims[d].expr) continue;
        if (c->batch_axis < 0 && (gr_dim_same(t->dims[d], batch) || d < t->rank - 3))
            c->batch_axis = d;
        else
            c->axis = d;
    }
    if (c->batch_axis < 0 && t->dims[t->rank - 4].k == 1) c->batch_axis = t->rank - 4;
    return c->axis >= 0 && c->batch_axis >= 0;
}

static gr_status find_caches(const gr_graph *g, gr_arena *arena, gr_dim batch, gr_decoder *d, gr_err *err)
{
    bool *seen = GR_NEWS(arena, g->nvalues, bool), *taken = GR_NEWS(arena, g->nvalues, bool);
    const gr_value **stack = GR_NEWS(arena, g->nvalues, const gr_value *);
    d->caches = GR_NEWS(arena, g->noutputs, gr_cache_role);
    if (!seen || !taken || !stack || !d->caches) return gr_nomem(err);
    d->in_place = true;
    for (size_t i = 0; i < g->noutputs; i++) {
        const gr_type *t = &g->outputs[i]->type;
        if (t->kind != GR_KIND_TENSOR || !gr_dtype_is_float(t->dtype) || (t->rank >= 0 && t->rank < 4)) continue;
        const gr_value *past = origin(g, g->outputs[i], seen, stack);
        gr_cache_role *c = &d->caches[d->ncaches];
        if (!past || taken[past->id]) continue;
        if (!set_axes(&past->type, batch, c))
            return gr_fail(err, GR_EUNSUPPORTED, "input '%s' looks like a cache, but none of its axes can grow",
                           gr_show(past->name));
        taken[past->id] = true;
        c->past = past->name;
        c->present = g->output_names[i];
        c->grows = gr_cache_may_grow(g, c->past, c->present);
        d->in_place &= c->grows;
        d->ncaches++;
    }
    d->in_place &= d->ncaches > 0;
    return GR_OK;
}

/* ---- inputs ---- */

static const gr_cache_role *cache_of(const gr_decoder *d, const char *name)
{
    for (size_t i = 0; i < d->ncaches; i++)
        if (!strcmp(d->caches[i].past, name)) return &d->caches[i];
    return NULL;
}

static bool set_input(gr_input_role *role, const gr_value *v)
{
    if (role->name) return false;
    *role = (gr_input_role){v->name, v->type.dtype};
    return true;
}

static gr_status find_input(const gr_value *v, gr_decoder *d, gr_err *err)
{
    const gr_type *t = &v->type;
    bool known = false;
    if (cache_of(d, v->name) || (d->cache_switch && !strcmp(d->cache_switch, v->name))) return GR_OK;
    if (has_word(v->name, "mask"))
        known = t->rank == 2 && (is_index(t) || t->dtype == GR_BOOL || t->dtype == GR_FLOAT) && set_input(&d->mask, v);
    else if (has_word(v->name, "position"))
        known = is_index(t) && set_input(&d->positions, v);
    else if (has_word(v->name, "type") || has_word(v->name, "segment"))
        known = is_index(t) && set_input(&d->types, v);
    else if (is_index(t))
        known = set_input(&d->ids, v);
    if (known) return GR_OK;
    return gr_fail(err, GR_EUNSUPPORTED,
                   "generation does not know what to feed as input '%s'; a decoder takes token ids, and may take an "
                   "attention mask, positions and token types of rank 2, and a cache of keys and values",
                   gr_show(v->name));
}

/* Rows of the table that the ids choose from; 0: not known. */
static int64_t table_rows(const gr_graph *g, const char *ids)
{
    const gr_value *v = gr_graph_find(g, ids);
    int64_t most = 0;
    for (const gr_use *u = v ? v->uses : NULL; u; u = u->next)
        for (uint32_t i = 1; i < u->user->nin; i++) {
            /* Gather and the fused embeddings read ids right after their table. */
            const gr_value *table = gr_in(u->user, i) == v ? gr_in(u->user, i - 1) : NULL;
            if (!table || !table->konst || table->type.rank != 2 || table->type.dims[0].expr) continue;
            if (table->type.dims[0].k > most) most = table->type.dims[0].k;
        }
    return most;
}

static gr_status find_logits(const gr_graph *g, gr_decoder *d, gr_err *err)
{
    const int64_t rows = table_rows(g, d->ids.name);
    for (int named = 1; named >= 0 && !d->logits; named--)
        for (size_t i = 0; i < g->noutputs && !d->logits; i++) {
            const gr_type *t = &g->outputs[i]->type;
            if (t->kind != GR_KIND_TENSOR || t->dtype != GR_FLOAT || t->rank != 3) continue;
            if (has_word(g->output_names[i], "logits") != named) continue;
            const int64_t columns = t->dims[2].expr ? -1 : t->dims[2].k;
            if (columns >= 0 && rows > 0 && columns < rows / 2) continue;
            if (!named && columns != rows) continue;
            d->logits = g->output_names[i];
            d->vocab = columns;
        }
    if (d->logits) return GR_OK;
    return gr_fail(err, GR_EUNSUPPORTED,
                   "the model has no output to generate from; expected logits, float[batch, tokens, vocabulary], as a "
                   "causal language model has");
}

gr_status gr_decoder_find(const gr_graph *g, gr_arena *arena, gr_decoder *d, gr_err *err)
{
    const char *sw = d->cache_switch;
    *d = (gr_decoder){.cache_switch = sw};
    const gr_value *choice = sw ? gr_graph_find(g, sw) : NULL;
    if (choice) d->switch_rank = choice->type.rank;
    gr_dim batch = GR_DIM(1);
    for (size_t i = 0; i < g->ninputs; i++)
        if (is_index(&g->inputs[i]->type) && has_word(g->inputs[i]->name, "ids")) batch = g->inputs[i]->type.dims[0];
    GR_TRY(find_caches(g, arena, batch, d, err));
    for (size_t i = 0; i < g->ninputs; i++) GR_TRY(find_input(g->inputs[i], d, err));
    if (!d->ids.name)
        return gr_fail(err, GR_EUNSUPPORTED, "the model has no input of token ids, expected int64[batch, tokens]");
    return find_logits(g, d, err);
}
