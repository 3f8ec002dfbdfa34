/* SPDX-License-Identifier: Apache-2.0
 *
 * Sessions: from named tensors to a plan's inputs and back, with a bounded cache of plans.
 */
#include "session.h"
#include "exec/packs.h"
#include "exec/plan.h"
#include "exec/threads.h"
#include "model.h"
#include "precision.h"
#include <stdio.h>

enum { DEFAULT_PLANS = 16, MAX_THREADS = 1024 };

typedef struct cached {
    gr_plan *plan;
    uint64_t used;
} cached;

/* The wanted values of one graph. Nearly always all are the plain graph's; what passes have dissolved is computed by a
 * second plan over the graph as it was in the file, so that looking at a value changes nothing for the others. */
typedef struct lane {
    const gr_graph *graph;
    size_t count;
    gr_value **wanted;
    size_t *output;      /* which of the caller's outputs */
    gr_tensor *results;
    void *block;
    size_t block_size;
    size_t enough;       /* the most that the last runs needed */
    int small_runs;      /* so many that needed far less than the block has */
} lane;

enum { PLAIN, RAW, LANES };

struct gr_session {
    gr_model *model;
    gr_session_options options;
    gr_packs *packs;
    bool open;           /* the precision is chosen by the first run */
    bool by_row;         /* the graph is that for bytes, not the one that all others run */
    cached *plans;
    int nplans;
    uint64_t clock;
    lane lanes[LANES];
    size_t capinputs, capoutputs;
    gr_tensor *inputs;
    gr_tensor **sequences; /* of inputs that are */
    void **copies;       /* room for inputs that are not aligned */
    size_t *copy_sizes;
    void **given;        /* memory of the session that the last run has handed out */
    size_t ngiven;
    gr_tensor_view **views; /* of items, by output that is a sequence */
    gr_session_mode mode;
    int64_t *picks;      /* the caller's, behind mode.picks */
    gr_doc_names fed;    /* overridden initializers of this run */
    volatile int cancel;
    double flops;
    size_t steps;
    gr_plan *last[LANES]; /* of the last run; they stay in the cache until the next */
};

/* Only a graph with activations that are quantised in the run has another form for sessions in bytes. */
static gr_status choose_graph(gr_session *s, gr_err *err)
{
    const gr_variant plain = {0};
    const gr_graph *g;
    if (s->options.precision != GR_PRECISION_INT8) return GR_OK;
    GR_TRY(gr_model_graph(s->model, &plain, &g, err));
    for (const gr_node *n = g->first; n && !g->strict && !s->by_row; n = n->next)
        s->by_row = !n->op->domain && !strcmp(n->op->name, "DynamicQuantizeLinear");
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
    if (status == GR_OK)
        *out = s;
    else
        gr_session_free(s);
    return status;
}

void gr_session_use_packs(gr_session *s, gr_packs *packs) { s->packs = packs; }

static void free_copies(gr_session *s)
{
    for (size_t i = 0; i < s->capinputs; i++) {
        gr_free_aligned(s->copies[i], s->copy_sizes[i]);
        s->copies[i] = NULL;
        gr_tensor_free(s->sequences[i]);
        s->sequences[i] = NULL;
    }
}

static void free_views(gr_session *s)
{
    for (size_t i = 0; i < s->capoutputs; i++) {
        gr_free(s->views[i]);
        s->views[i] = NULL;
    }
}

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
    free_copies(s);
    free_views(s);
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
        free_copies(s);
        s->capinputs = 0;
        if (!grow(&s->inputs, inputs, sizeof *s->inputs) || !grow(&s->copies, inputs, sizeof *s->copies) ||
            !grow(&s->copy_sizes, inputs, sizeof *s->copy_sizes) ||
            !grow(&s->sequences, inputs, sizeof *s->sequences) || !grow(&s->fed.items, inputs, sizeof *s->fed.items))
            return gr_nomem(err);
        s->capinputs = inputs;
    }
    if (outputs > s->capoutputs) {
        free_views(s);
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

/* ---- inputs ---- */

/* What an empty tensor points at: nobody reads or writes it, but a pointer that is NULL could not even be passed on. */
static _Alignas(64) char nothing[64];

static gr_status check_view(const char *name, const gr_tensor_view *t, bool shape_only, gr_tensor *out, gr_err *err)
{
    if (t->rank < 0 || t->rank > GR_MAX_RANK || (t->rank && !t->dims))
        return gr_fail(err, GR_EINPUT, "input '%s' has rank %d, expected 0 to %d", gr_show(name), t->rank, GR_MAX_RANK);
    *out = (gr_tensor){.kind = GR_KIND_TENSOR, .dtype = t->type, .rank = t->rank, .data = t->data};
    if (t->rank) memcpy(out->dims, t->dims, (size_t)t->rank * sizeof *t->dims);
    if (gr_dtype_bits(t->type) == 0 || !gr_elements(out->rank, out->dims, &out->elements) ||
        !gr_bytes(out->dtype, out->elements, &out->size))
        return gr_fail(err, GR_EINPUT, "input '%s' has a type or shape that no tensor can have", gr_show(name));
    if (shape_only) return GR_OK;
    if (out->size != t->size || (out->size && !t->data))
        return gr_fail(err, GR_EINPUT, "input '%s' comes with %zu bytes, its shape needs %zu", gr_show(name), t->size,
                       out->size);
    if (!out->data) out->data = nothing;
    return GR_OK;
}

/* The session's copy of a sequence that is fed; items of other types than the first are refused. */
static gr_status copy_sequence(gr_session *s, size_t i, const gr_named_tensor *in, bool shape_only, gr_err *err)
{
    const gr_tensor_view *items = in->tensor.data;
    size_t n = shape_only ? 0 : in->tensor.size / sizeof *items;
    if (in->tensor.size % sizeof *items || (n && !items))
        return gr_fail(err, GR_EINPUT, "input '%s' is a sequence, and its data no array of views", gr_show(in->name));
    gr_tensor_free(s->sequences[i]);
    gr_tensor *q = s->sequences[i] = gr_sequence_new(n ? items[0].type : in->tensor.type, n);
    if (!q) return gr_nomem(err);
    for (size_t k = 0; k < n; k++) {
        gr_tensor t;
        GR_TRY(check_view(in->name, &items[k], false, &t, err));
        if (t.dtype != q->dtype)
            return gr_fail(err, GR_EINPUT, "item %zu of input '%s' is %s, item 0 is %s", k, gr_show(in->name),
                           gr_dtype_name(t.dtype), gr_dtype_name(q->dtype));
        if (!(q->items[k] = gr_tensor_copy(&t))) return gr_nomem(err);
        q->size += t.size;
    }
    s->inputs[i] = *q;
    return GR_OK;
}

static gr_status take_input(gr_session *s, size_t i, const gr_named_tensor *in, bool shape_only, gr_err *err)
{
    if (in->tensor.rank == GR_VIEW_SEQUENCE) return copy_sequence(s, i, in, shape_only, err);
    if (in->tensor.rank != GR_VIEW_EMPTY) return check_view(in->name, &in->tensor, shape_only, &s->inputs[i], err);
    s->inputs[i] = (gr_tensor){.kind = GR_KIND_OPTIONAL, .dtype = in->tensor.type};
    return GR_OK;
}

static const char *shape_text(char *text, size_t room, int rank, const int64_t *dims)
{
    size_t at = (size_t)snprintf(text, room, "[");
    for (int i = 0; i < rank && at < room; i++)
        at += (size_t)snprintf(text + at, room - at, "%s%lld", i ? ", " : "", (long long)dims[i]);
    if (at < room) snprintf(text + at, room - at, "]");
    return text;
}

/* What a sequence or an optional says of itself, for a message. */
static const char *tensor_text(char *text, size_t room, const gr_tensor *t)
{
    char shape[160];
    if (t->kind == GR_KIND_OPTIONAL) return "empty";
    if (t->kind == GR_KIND_SEQUENCE)
        snprintf(text, room, "a sequence of %s", gr_dtype_name(t->dtype));
    else
        snprintf(text, room, "%s%s", gr_dtype_name(t->dtype), shape_text(shape, sizeof shape, t->rank, t->dims));
    return text;
}

static bool fits(const gr_type *want, const gr_tensor *t)
{
    if (want->kind == GR_KIND_OPTIONAL && t->kind == GR_KIND_OPTIONAL) return true;
    if (want->kind == GR_KIND_OPTIONAL && want->elem) want = want->elem;
    if (want->kind != t->kind) return want->kind == GR_KIND_NONE && t->kind == GR_KIND_TENSOR;
    if (want->dtype != GR_UNDEFINED && want->dtype != t->dtype) return t->kind == GR_KIND_SEQUENCE && !t->count;
    if (t->kind != GR_KIND_TENSOR) return !want->elem || want->elem->kind == GR_KIND_TENSOR;
    if (want->rank >= 0 && want->rank != t->rank) return false;
    for (int i = 0; i < want->rank; i++)
        if (!want->dims[i].expr && want->dims[i].k != t->dims[i]) return false;
    return true;
}

static gr_status check_type(const gr_value *v, gr_tensor *t, gr_err *err)
{
    char text[224];
    if (fits(&v->type, t)) {
        if (t->kind != GR_KIND_TENSOR && v->type.dtype) t->dtype = v->type.dtype; /* nobody can tell of an empty one */
        return GR_OK;
    }
    gr_arena *a = gr_arena_new();
    gr_syms *syms = a ? gr_syms_new(a) : NULL;
    gr_status status = gr_fail(err, GR_EINPUT, "input '%s' is %s, expected %s", gr_show(v->name),
                               tensor_text(text, sizeof text, t),
                               syms ? gr_type_text(syms, a, &v->type) : "another type");
    gr_arena_free(a);
    return status;
}

static bool agrees(const gr_graph *g, const gr_tensor *inputs, size_t i, int d, size_t j)
{
    for (int e = 0; e < g->inputs[j]->type.rank; e++)
        if (gr_dim_same(g->inputs[i]->type.dims[d], g->inputs[j]->type.dims[e]) && inputs[i].dims[d] != inputs[j].dims[e])
            return false;
    return true;
}

/* Whether dimensions of one name have one value in all inputs. Of very
 * many inputs that is not asked: the names are not relied on then. */
static bool names_agree(const gr_graph *g, const gr_tensor *inputs)
{
    enum { MANY = 256 };
    if (g->ninputs > MANY) return false;
    for (size_t i = 0; i < g->ninputs; i++)
        for (int d = 0; d < g->inputs[i]->type.rank; d++)
            for (size_t j = 0; g->inputs[i]->type.dims[d].expr && j <= i; j++)
                if (!agrees(g, inputs, i, d, j)) return false;
    return true;
}

static gr_status missing_input(const gr_graph *g, const gr_value *v, gr_err *err)
{
    char list[512] = "";
    size_t at = 0;
    if (v->type.dtype == GR_STRING)
        return gr_fail(err, GR_EUNSUPPORTED, "input '%s' holds strings, which are not supported", gr_show(v->name));
    for (size_t i = 0; i < g->ninputs && at < sizeof list - 130; i++)
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", gr_show(g->inputs[i]->name));
    return gr_fail(err, GR_EINPUT, "input '%s' is missing; the model needs %s", gr_show(v->name), list);
}

/* More is given than there are inputs. */
static gr_status too_many_inputs(const gr_graph *g, const gr_named_tensor *inputs, size_t n, gr_err *err)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            if (!strcmp(inputs[i].name, inputs[j].name))
                return gr_fail(err, GR_EINPUT, "input '%s' is given twice", gr_show(inputs[i].name));
    return gr_fail(err, GR_EINPUT, "%zu inputs are given, the model has %zu", n, g->ninputs);
}

/* All that is given is an input of the graph; they mostly come in its order. */
static gr_status bind_inputs(gr_session *s, const gr_graph *g, const gr_named_tensor *inputs, size_t n, bool shape_only,
                             gr_err *err)
{
    size_t k = 0;
    for (size_t i = 0; i < g->ninputs; i++, k++) {
        size_t tried = 0;
        for (; tried < n && strcmp(inputs[k % n].name, g->inputs[i]->name); tried++) k++;
        if (tried == n && g->inputs[i]->type.kind != GR_KIND_OPTIONAL) return missing_input(g, g->inputs[i], err);
        const gr_named_tensor empty = {g->inputs[i]->name, {.rank = GR_VIEW_EMPTY}};
        if (n) k %= n;
        GR_TRY(take_input(s, i, tried == n ? &empty : &inputs[k], shape_only, err));
        GR_TRY(check_type(g->inputs[i], &s->inputs[i], err));
        gr_tensor *t = &s->inputs[i];
        if (t->kind != GR_KIND_TENSOR) continue;
        size_t align = ((size_t)gr_dtype_bits(t->dtype) + 7) / 8;
        t->aligned = true;
        if (shape_only || !t->size || (uintptr_t)t->data % (align > 8 ? 8 : align) == 0) continue;
        if (s->copy_sizes[i] != t->size || !s->copies[i]) {
            gr_free_aligned(s->copies[i], s->copy_sizes[i]);
            s->copy_sizes[i] = t->size;
            if (!(s->copies[i] = gr_malloc_aligned(t->size))) return gr_nomem(err);
        }
        memcpy(s->copies[i], t->data, t->size);
        t->data = s->copies[i];
    }
    return GR_OK;
}

/* Names that are given: inputs of the graph, or initializers that the run overrides; nothing else. */
static gr_status sort_names(gr_session *s, const gr_graph *g, const gr_named_tensor *inputs, size_t n, gr_err *err)
{
    s->fed.count = 0;
    for (size_t i = 0; i < n; i++) {
        if (!inputs[i].name) return gr_fail(err, GR_EINVAL, "an input has no name");
        const gr_value *v = gr_graph_find(g, inputs[i].name);
        if (v && v->is_input) continue;
        if (!gr_model_can_override(s->model, inputs[i].name))
            return gr_fail(err, GR_EINPUT, "the model has no input '%s'", gr_show(inputs[i].name));
        s->fed.items[s->fed.count++] = inputs[i].name;
    }
    return GR_OK;
}

/* ---- outputs ---- */

/* `hint`: the output that it is likely to be. */
static gr_value *find_value(const gr_graph *g, const char *name, size_t hint)
{
    if (hint < g->noutputs && !strcmp(g->output_names[hint], name)) return g->outputs[hint];
    for (size_t i = 0; i < g->noutputs; i++)
        if (!strcmp(g->output_names[i], name)) return g->outputs[i];
    gr_value *v = gr_graph_find(g, name);
    return v && gr_value_lives(v) ? v : NULL;
}

static gr_status bind_outputs(gr_session *s, const gr_variant *variant, const gr_named_tensor *outputs, size_t n,
                              gr_err *err)
{
    s->lanes[PLAIN].count = s->lanes[RAW].count = 0;
    for (size_t i = 0; i < n; i++) {
        if (!outputs[i].name) return gr_fail(err, GR_EINVAL, "an output has no name");
        lane *l = &s->lanes[PLAIN];
        gr_value *v = find_value(l->graph, outputs[i].name, i);
        if (!v) {
            gr_variant raw = *variant;
            raw.raw = true;
            l = &s->lanes[RAW];
            GR_TRY(gr_model_graph(s->model, &raw, &l->graph, err));
            v = find_value(l->graph, outputs[i].name, i);
        }
        if (!v) return gr_fail(err, GR_EINPUT, "the model has no value '%s'", gr_show(outputs[i].name));
        l->wanted[l->count] = v;
        l->output[l->count] = i;
        l->results[l->count] = (gr_tensor){.data = outputs[i].tensor.data, .size = outputs[i].tensor.size};
        l->count++;
    }
    return GR_OK;
}

/* A caller who runs again with the views of the last run means the session's memory, not a buffer of his own. */
static void take_back(gr_session *s, gr_named_tensor *outputs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; outputs[i].tensor.data && k < s->ngiven; k++)
            if (outputs[i].tensor.data == s->given[k]) outputs[i].tensor.data = NULL;
    s->ngiven = 0;
    free_views(s);
}

/* Views of the items, in memory of the session; an empty optional has none. */
static gr_status give_sequence(gr_session *s, size_t output, gr_named_tensor *out, const gr_tensor *r, gr_err *err)
{
    if (out->tensor.data)
        return gr_fail(err, GR_EINVAL, "output '%s' is no tensor, and only tensors are written to a caller's buffer",
                       gr_show(out->name));
    out->tensor = (gr_tensor_view){.type = r->dtype, .rank = GR_VIEW_EMPTY};
    if (r->kind == GR_KIND_OPTIONAL) return GR_OK;
    gr_tensor_view *views = gr_calloc(r->count + 1, sizeof *views);
    if (!views) return gr_nomem(err);
    for (size_t i = 0; i < r->count; i++) {
        const gr_tensor *t = r->items[i];
        views[i] = (gr_tensor_view){t->dtype, t->rank, t->dims, t->data, t->size};
    }
    s->views[output] = views;
    s->given[s->ngiven++] = views;
    out->tensor.rank = GR_VIEW_SEQUENCE;
    out->tensor.data = views;
    out->tensor.size = r->count * sizeof *views;
    return GR_OK;
}

static gr_status give_outputs(gr_session *s, lane *l, gr_named_tensor *outputs, gr_err *err)
{
    for (size_t i = 0; i < l->count; i++) {
        gr_tensor *r = &l->results[i];
        gr_tensor_view *out = &outputs[l->output[i]].tensor;
        if (r->kind != GR_KIND_TENSOR) {
            GR_TRY(give_sequence(s, l->output[i], &outputs[l->output[i]], r, err));
            continue;
        }
        void *data = r->data;
        if (out->data && out->data != r->data) {
            if (out->size < r->size)
                return gr_fail(err, GR_EINVAL, "output '%s' needs %zu bytes, its buffer has %zu",
                               gr_show(outputs[l->output[i]].name), r->size, out->size);
            if (r->size) memcpy(out->data, r->data, r->size);
            data = out->data;
        }
        if (!out->data && data) s->given[s->ngiven++] = data;
        *out = (gr_tensor_view){r->dtype, r->rank, r->dims, data, r->size};
    }
    return GR_OK;
}

/* ---- plans ---- */

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
                         s->options.precision, s->options.few_runs, s->options.skip_padding, s->mode.npicks,
                         s->mode.caches};
    gr_plan *made;
    if (s->nplans == s->options.max_plans) {
        gr_plan_free(s->plans[oldest].plan);
        s->plans[oldest] = s->plans[--s->nplans];
    }
    gr_threads_state threads = gr_threads_enter_alone(s->options.threads);
    gr_status status = gr_plan_new(l->graph, s->inputs, l->count, l->wanted, &o, &made, err);
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

/* A block that is far too large for many runs on end is given back: one large batch does not stay for good. */
static bool is_too_large(lane *l, size_t size)
{
    enum { MANY = 64, FAR = 4, SMALL = 1 << 20 };
    if (l->block_size < SMALL || size > l->block_size / FAR) l->small_runs = 0, l->enough = 0;
    else l->small_runs++;
    if (size > l->enough) l->enough = size;
    return l->small_runs >= MANY;
}

static gr_status give_room(lane *l, size_t size, gr_err *err)
{
    if (l->block && size <= l->block_size) {
        if (!is_too_large(l, size)) return GR_OK;
        size = l->enough;
    }
    l->small_runs = 0;
    l->enough = 0;
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
    GR_TRY(status);
    return give_outputs(s, l, outputs, err);
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
    GR_TRY(sort_names(s, plain->graph, inputs, nin, err));
    if (s->fed.count) {
        variant.overridden = s->fed;
        GR_TRY(gr_model_graph(s->model, &variant, &plain->graph, err));
    }
    GR_TRY(make_room(s, plain->graph->ninputs, nout, err));
    GR_TRY(bind_inputs(s, plain->graph, inputs, nin, shape_only, err));
    if (nin > plain->graph->ninputs) return too_many_inputs(plain->graph, inputs, nin, err);
    if (!names_agree(plain->graph, s->inputs)) {
        variant.nameless = true;
        GR_TRY(gr_model_graph(s->model, &variant, &plain->graph, err));
    }
    GR_TRY(bind_outputs(s, &variant, outputs, nout, err));
    for (int i = 0; i < LANES; i++)
        if (s->lanes[i].count) GR_TRY(plan_lane(s, i, err));
    return GR_OK;
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
    take_back(s, outputs, output_count);
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
