/* SPDX-License-Identifier: Apache-2.0
 *
 * Sessions: a bounded cache of plans, and the memory that their runs share.
 */
#include "session_data.h"
#include "exec/packs.h"
#include "exec/threads.h"
#include "precision.h"

/* FEW_ROWS: up to which weights are multiplied without being packed for good, where runs are few: all rows pass over a few
 * panels then, and A has to stay in the cache. KEPT: bytes of activations that stay in memory between runs, whatever a
 * large shape needed; the next large one gets its pages anew in about a thousandth of its time. */
enum { DEFAULT_PLANS = 16, MAX_THREADS = 1024, FEW_ROWS = 512, KEPT = 16 << 20 };

/* Only a graph with quantised activations, or MatMulNBits, has another form for sessions in bytes. */
static gr_status choose_graph(gr_session *s, gr_err *err)
{
    const gr_variant plain = {0};
    const gr_graph *g;
    if (s->options.precision != GR_PRECISION_INT8) return GR_OK;
    GR_TRY(gr_model_graph(s->model, &plain, &g, err));
    for (const gr_node *n = g->first; n && !g->strict && !s->by_row; n = n->next)
        s->by_row = gr_is_named(n, "DynamicQuantizeLinear") || gr_is_named(n, "QuantizeLinear") ||
                    gr_is_named(n, "MatMulNBits");
    return GR_OK;
}

/* About what the weights of products take when they are packed as floats. */
static size_t weight_bytes(const gr_graph *g)
{
    size_t sum = 0;
    for (const gr_node *n = g->first; n; n = n->next) {
        if (!strcmp(n->op->name, "Gather") || !strcmp(n->op->name, "Embeddings")) continue;
        for (uint32_t i = 0; i < n->nin; i++) {
            const gr_value *v = gr_in(n, i);
            if (v && v->konst && v->konst->rank == 2 && v->uses == &n->in[i]) sum += v->konst->size;
        }
    }
    return sum;
}

/* Weights for which there is no room stay where they are, whatever the number of rows. */
static gr_status choose_plain(gr_session *s, gr_err *err)
{
    const gr_variant plain = {0};
    const gr_graph *g;
    s->plain_rows = s->options.few_runs ? FEW_ROWS : 0;
    if (!s->options.max_total) return GR_OK;
    GR_TRY(gr_model_graph(s->model, &plain, &g, err));
    if (weight_bytes(g) > s->options.max_total) s->plain_rows = INT64_MAX;
    return GR_OK;
}

gr_status gr_session_create(gr_model *model, const gr_session_options *options, gr_session **out, gr_err *err)
{
    if (!model || !out) return gr_fail(err, GR_EINVAL, "gr_session_create: model and out must not be NULL");
    if (options && options->struct_size > sizeof *options)
        return gr_fail(err, GR_EINVAL, "gr_session_create: options are of a later version of this library");
    gr_session_options o = {0};
    if (options) memcpy(&o, options, options->struct_size);
    if (o.threads < 0 || o.threads > MAX_THREADS || o.max_plans < 0 || o.max_iterations < 0)
        return gr_fail(err, GR_EINVAL, "gr_session_create: threads must be 0 to %d, max_plans and max_iterations >= 0",
                       MAX_THREADS);
    if ((unsigned)o.precision > GR_PRECISION_AUTO)
        return gr_fail(err, GR_EINVAL, "gr_session_create: precision %d is not known", (int)o.precision);
    if (!o.threads) o.threads = gr_default_threads();
    if (!o.max_plans) o.max_plans = DEFAULT_PLANS;
    if (o.max_plans < LANES) o.max_plans = LANES; /* a run's plans live until its outputs have been read */
    gr_session *s = gr_calloc(1, sizeof *s);
    cached *plans = gr_calloc((size_t)o.max_plans, sizeof *plans);
    if (!s || !plans) {
        gr_free(s);
        gr_free(plans);
        return gr_nomem(err);
    }
    s->model = model;
    s->options = o;
    s->packs = gr_model_packs(model);
    s->open = o.precision == GR_PRECISION_AUTO;
    if (s->open) s->options.precision = GR_PRECISION_F32;
    s->plans = plans;
    gr_status status = choose_graph(s, err);
    if (status == GR_OK) status = choose_plain(s, err);
    if (status == GR_OK)
        *out = s;
    else
        gr_session_free(s);
    return status;
}

void gr_session_use_packs(gr_session *s, gr_packs *packs) { s->packs = packs; }

void gr_session_free(gr_session *s)
{
    if (!s) return;
    for (int i = 0; i < s->nplans; i++) gr_plan_free(s->plans[i].plan);
    for (int i = 0; i < LANES; i++) {
        gr_free_pages(s->lanes[i].block, s->lanes[i].block_size);
        gr_free(s->lanes[i].wanted);
        gr_free(s->lanes[i].output);
        gr_free(s->lanes[i].results);
    }
    gr_session_free_copies(s);
    gr_session_free_views(s);
    gr_free(s->views);
    gr_free(s->sequences);
    gr_free(s->copies);
    gr_free(s->copy_sizes);
    gr_free(s->inputs);
    gr_free(s->given);
    gr_free(s->picks);
    gr_free(s->fed.items);
    gr_free(s->plans);
    gr_free(s);
}

gr_status gr_session_pick(gr_session *s, const int64_t *rows, size_t count, gr_err *err)
{
    if (!s || (count && !rows)) return gr_fail(err, GR_EINVAL, "gr_session_pick: session and rows must not be NULL");
    for (size_t i = 0; i < count; i++)
        if (rows[i] < 0 || (i && rows[i] <= rows[i - 1]))
            return gr_fail(err, GR_EINVAL, "gr_session_pick: row %lld is negative or not greater than the one before it",
                           (long long)rows[i]);
    int64_t *picks = gr_calloc(count + 1, sizeof *picks);
    if (!picks) return gr_nomem(err);
    if (count) memcpy(picks, rows, count * sizeof *picks);
    gr_free(s->picks);
    s->picks = picks;
    s->mode.picks = picks;
    s->mode.npicks = count;
    return GR_OK;
}

void gr_session_set_mode(gr_session *s, const gr_session_mode *mode) { s->mode = *mode; }

void gr_session_cancel(gr_session *s) { s->cancel = 1; }

/* ---- room for as many inputs and outputs as a run has; grows only ---- */

static bool grow(void *array, size_t count, size_t size)
{
    void **p = array;
    void *grown = gr_calloc(count, size);
    if (!grown) return false;
    gr_free(*p);
    *p = grown;
    return true;
}

static gr_status make_room(gr_session *s, size_t inputs, size_t outputs, gr_err *err)
{
    if (inputs > s->capinputs) {
        gr_session_free_copies(s);
        s->capinputs = 0;
        if (!grow(&s->inputs, inputs, sizeof *s->inputs) || !grow(&s->copies, inputs, sizeof *s->copies) ||
            !grow(&s->copy_sizes, inputs, sizeof *s->copy_sizes) ||
            !grow(&s->sequences, inputs, sizeof *s->sequences) || !grow(&s->fed.items, inputs, sizeof *s->fed.items))
            return gr_nomem(err);
        s->capinputs = inputs;
    }
    if (outputs > s->capoutputs) {
        gr_session_free_views(s);
        s->capoutputs = 0;
        if (!grow(&s->given, outputs, sizeof *s->given) || !grow(&s->views, outputs, sizeof *s->views))
            return gr_nomem(err);
        for (int i = 0; i < LANES; i++) {
            lane *l = &s->lanes[i];
            if (!grow(&l->wanted, outputs, sizeof *l->wanted) || !grow(&l->output, outputs, sizeof *l->output) ||
                !grow(&l->results, outputs, sizeof *l->results))
                return gr_nomem(err);
        }
        s->capoutputs = outputs;
    }
    return GR_OK;
}

/* ---- plans ---- */

/* What the session and the packed weights take, once the run at hand has its room. */
static size_t total_bytes(const gr_session *s)
{
    size_t sum = gr_packs_bytes(s->packs);
    for (int i = 0; i < LANES; i++) {
        const size_t need = s->last[i] ? gr_plan_block(s->last[i]) : 0;
        sum += need > s->lanes[i].block_size ? need : s->lanes[i].block_size;
    }
    for (int i = 0; i < s->nplans; i++) sum += gr_plan_bytes(s->plans[i].plan);
    return sum;
}

static gr_status exceeds_limit(const gr_session *s, size_t need, size_t packed, gr_err *err)
{
    return gr_fail(err, GR_ELIMIT, "this shape needs %zu bytes of memory, %zu of them packed weights; the limit is %zu", need,
                   packed, s->options.max_total);
}

typedef struct lacking {
    gr_packs *packs;
    size_t bytes; /* of packs that are not in them */
} lacking;

static bool add_lacking(void *user, const gr_pack_key *key, const gr_pack *pack)
{
    lacking *x = user;
    if (!gr_packs_has(x->packs, key)) x->bytes += pack->size;
    return true;
}

/* What will not fit is told before weights are packed for it: by a plan that packs nothing. */
static gr_status foretell(gr_session *s, const lane *l, gr_plan_options o, gr_err *err)
{
    lacking x = {s->packs, 0};
    gr_plan *plan = NULL;
    o.log = NULL;
    if (!(o.packs = gr_packs_new_empty())) return gr_nomem(err);
    gr_status status = gr_plan_new(l->graph, s->inputs, l->count, l->wanted, &o, &plan, err);
    if (status == GR_OK) {
        gr_packs_visit(o.packs, add_lacking, &x);
        const size_t need = total_bytes(s) + x.bytes + gr_plan_block(plan) + gr_plan_bytes(plan);
        if (need > s->options.max_total) status = exceeds_limit(s, need, gr_packs_bytes(s->packs) + x.bytes, err);
    }
    gr_plan_free(plan);
    gr_packs_free(o.packs);
    return status;
}

static gr_status find_plan(gr_session *s, const lane *l, gr_plan **out, gr_err *err)
{
    int oldest = 0;
    s->clock++;
    for (int i = 0; i < s->nplans; i++) {
        if (gr_plan_fits(s->plans[i].plan, l->graph, s->inputs, l->count, l->wanted, &s->mode.caches, s->mode.npicks)) {
            s->plans[i].used = s->clock;
            *out = s->plans[i].plan;
            return GR_OK;
        }
        if (s->plans[i].used < s->plans[oldest].used) oldest = i;
    }
    gr_plan_options o = {s->options.threads, s->options.max_memory, s->options.max_iterations,
                         s->packs, s->options.log, s->options.log_user, s->options.profile,
                         s->options.precision, s->plain_rows, s->options.skip_padding, s->mode.npicks,
                         s->mode.caches};
    gr_plan *made;
    if (s->nplans == s->options.max_plans) {
        gr_plan_free(s->plans[oldest].plan);
        s->plans[oldest] = s->plans[--s->nplans];
    }
    gr_threads_state threads = gr_threads_enter_alone(s->options.threads);
    gr_status status = s->options.max_total && !s->nplans ? foretell(s, l, o, err) : GR_OK;
    if (status == GR_OK) status = gr_plan_new(l->graph, s->inputs, l->count, l->wanted, &o, &made, err);
    gr_threads_leave(threads);
    GR_TRY(status);
    s->plans[s->nplans++] = (cached){made, s->clock};
    *out = made;
    return GR_OK;
}

static gr_status plan_lane(gr_session *s, int which, gr_err *err)
{
    gr_plan *plan;
    GR_TRY(find_plan(s, &s->lanes[which], &plan, err));
    s->last[which] = plan;
    s->flops += gr_plan_flops(plan);
    s->steps += gr_plan_steps(plan);
    return GR_OK;
}

static gr_status give_room(lane *l, size_t size, gr_err *err)
{
    if (l->block && size <= l->block_size) return GR_OK;
    gr_free_pages(l->block, l->block_size);
    l->block_size = 0;
    if (!(l->block = gr_malloc_pages(size)))
        return gr_fail(err, GR_ENOMEM, "out of memory for %zu bytes of activations", size);
    l->block_size = size;
    return GR_OK;
}

static gr_status run_lane(gr_session *s, int which, gr_named_tensor *outputs, gr_err *err)
{
    lane *l = &s->lanes[which];
    gr_plan *plan = s->last[which];
    GR_TRY(give_room(l, gr_plan_block(plan), err));
    gr_plan_pick(plan, s->mode.picks);
    gr_threads_state threads = gr_threads_enter(gr_plan_threads(plan));
    gr_status status = gr_plan_run(plan, s->inputs, l->block, l->results, &s->cancel, err);
    gr_threads_leave(threads);
    if (status == GR_OK) status = gr_session_give_outputs(s, l, outputs, err);
    gr_plan_vacate(plan, l->block, l->block_size, KEPT);
    return status;
}

/* Of a shape that was used longest ago, and not in this run. */
static bool drop_plan(gr_session *s)
{
    int oldest = -1;
    for (int i = 0; i < s->nplans; i++) {
        bool used = false;
        for (int l = 0; l < LANES; l++) used |= s->last[l] == s->plans[i].plan;
        if (!used && (oldest < 0 || s->plans[i].used < s->plans[oldest].used)) oldest = i;
    }
    if (oldest < 0) return false;
    gr_plan_free(s->plans[oldest].plan);
    s->plans[oldest] = s->plans[--s->nplans];
    return true;
}

static gr_status keep_limit(gr_session *s, gr_err *err)
{
    const size_t limit = s->options.max_total;
    if (!limit) return GR_OK;
    while (total_bytes(s) > limit && drop_plan(s)) {}
    for (int i = 0; total_bytes(s) > limit && i < LANES; i++) {
        gr_free_pages(s->lanes[i].block, s->lanes[i].block_size);
        s->lanes[i].block = NULL;
        s->lanes[i].block_size = 0;
    }
    if (total_bytes(s) <= limit) return GR_OK;
    return exceeds_limit(s, total_bytes(s), gr_packs_bytes(s->packs), err);
}

/* Bind inputs and outputs, and find or make the plans; `shape_only`: the inputs' data is not looked at. */
static gr_status settle(gr_session *s, const gr_named_tensor *inputs, size_t nin, const gr_named_tensor *outputs,
                        size_t nout, bool shape_only, gr_err *err)
{
    gr_variant variant = {.by_row = s->by_row, .switch_name = s->mode.switch_name, .switch_on = s->mode.switch_on};
    lane *plain = &s->lanes[PLAIN];
    s->flops = 0;
    s->steps = 0;
    for (int i = 0; i < LANES; i++) s->last[i] = NULL;
    GR_TRY(gr_model_graph(s->model, &variant, &plain->graph, err));
    GR_TRY(make_room(s, nin > plain->graph->ninputs ? nin : plain->graph->ninputs, nout, err));
    GR_TRY(gr_session_sort_names(s, plain->graph, inputs, nin, err));
    if (s->fed.count) {
        variant.overridden = s->fed;
        GR_TRY(gr_model_graph(s->model, &variant, &plain->graph, err));
    }
    GR_TRY(make_room(s, plain->graph->ninputs, nout, err));
    GR_TRY(gr_session_bind_inputs(s, plain->graph, inputs, nin, shape_only, err));
    if (!gr_session_names_agree(plain->graph, s->inputs)) {
        variant.nameless = true;
        GR_TRY(gr_model_graph(s->model, &variant, &plain->graph, err));
    }
    GR_TRY(gr_session_bind_outputs(s, &variant, outputs, nout, err));
    for (int i = 0; i < LANES; i++)
        if (s->lanes[i].count) GR_TRY(plan_lane(s, i, err));
    return keep_limit(s, err);
}

/* Plans that were made before the first run are for floats. */
static gr_status settle_precision(gr_session *s, const gr_named_tensor *inputs, size_t nin, const gr_named_tensor *outputs,
                                  size_t nout, gr_err *err)
{
    GR_TRY(gr_precision_choose(s->model, &s->options, inputs, nin, outputs, nout, &s->options.precision, err));
    s->open = false;
    while (s->options.precision != GR_PRECISION_F32 && s->nplans) gr_plan_free(s->plans[--s->nplans].plan);
    return GR_OK;
}

gr_status gr_session_run(gr_session *s, const gr_named_tensor *inputs, size_t input_count, gr_named_tensor *outputs,
                         size_t output_count, gr_err *err)
{
    if (!s || (input_count && !inputs) || (output_count && !outputs))
        return gr_fail(err, GR_EINVAL, "gr_session_run: session, inputs and outputs must not be NULL");
    s->cancel = 0;
    if (s->open) GR_TRY(settle_precision(s, inputs, input_count, outputs, output_count, err));
    gr_session_take_back(s, outputs, output_count);
    GR_TRY(settle(s, inputs, input_count, outputs, output_count, false, err));
    for (int i = 0; i < LANES; i++)
        if (s->last[i]) GR_TRY(run_lane(s, i, outputs, err));
    return GR_OK;
}

gr_status gr_session_prepare(gr_session *s, const gr_named_tensor *inputs, size_t input_count,
                             const gr_named_tensor *outputs, size_t output_count, gr_err *err)
{
    if (!s || (input_count && !inputs) || (output_count && !outputs))
        return gr_fail(err, GR_EINVAL, "gr_session_prepare: session, inputs and outputs must not be NULL");
    GR_TRY(settle(s, inputs, input_count, outputs, output_count, true, err));
    for (int i = 0; i < LANES; i++)
        if (s->last[i]) GR_TRY(give_room(&s->lanes[i], gr_plan_block(s->last[i]), err));
    return GR_OK;
}

gr_status gr_session_step(const gr_session *s, size_t index, gr_step_info *out, gr_err *err)
{
    size_t i = index;
    for (int l = 0; s && out && l < LANES; l++) {
        size_t n = s->last[l] ? gr_plan_steps(s->last[l]) : 0;
        if (i < n) {
            *out = gr_plan_step(s->last[l], i);
            return GR_OK;
        }
        i -= n;
    }
    return gr_fail(err, GR_EINVAL, "gr_session_step: there is no step %zu", index);
}

void gr_session_memory(const gr_session *s, gr_memory_info *out)
{
    *out = (gr_memory_info){.plan_count = (size_t)s->nplans};
    for (int i = 0; i < LANES; i++) out->arena_bytes += s->lanes[i].block_size;
    for (int i = 0; i < s->nplans; i++) out->plan_bytes += gr_plan_bytes(s->plans[i].plan);
    out->packed_bytes = gr_packs_bytes(gr_model_packs(s->model));
    out->mapped_bytes = gr_model_mapped_bytes(s->model);
    out->graph_bytes = gr_model_graph_bytes(s->model);
}

void gr_session_work(const gr_session *s, gr_work_info *out) { *out = (gr_work_info){s->flops, s->steps}; }
