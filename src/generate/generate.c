/* SPDX-License-Identifier: Apache-2.0
 *
 * Generation: prompts in groups that run together, a token at a time, greedily, at random or with beams.
 */
#include "generate/choose.h"
#include "generate/decode.h"
#include "generate/search.h"
#include "model.h"
#include <math.h>
#include <time.h>

enum { DEFAULT_NEW = 20, DEFAULT_BATCH = 16, MOST_NEW = 1 << 24, MOST_BEAMS = 1024 };

struct gr_generator {
    gr_session *session;
    gr_arena *arena;
    gr_decoder decoder;
    gr_decode decode;
    gr_generate_info info;
    gr_sequence *results;
    int64_t *kept; /* the ids of all results */
    volatile int cancel;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- creation ---- */

static gr_status find_decoder(gr_generator *g, gr_model *model, gr_err *err)
{
    const gr_graph *graph;
    gr_variant variant = {0};
    GR_TRY(gr_model_graph(model, &variant, &graph, err));
    const char *name = gr_decoder_switch(graph);
    if (name) {
        variant.switch_name = name;
        variant.switch_on = true;
        GR_TRY(gr_model_graph(model, &variant, &graph, err));
    }
    g->decoder.cache_switch = name;
    return gr_decoder_find(graph, g->arena, &g->decoder, err);
}

enum { PROBE = 3 };

/* A sum over the logits of the first token of three, of which the last is `last`. */
static gr_status probe(gr_generator *g, int64_t last, double *sum, gr_err *err)
{
    gr_decode *x = &g->decode;
    const gr_input_role *roles[] = {&x->d->ids, &x->d->mask, &x->d->positions, &x->d->types};
    const int64_t values[][PROBE] = {{1, 2, last}, {1, 1, 1}, {0, 1, 2}, {0}}, dims[] = {1, PROBE};
    int64_t room[4][PROBE];
    size_t n = 0;
    for (int f = 0; f < 4; f++) {
        const gr_dtype type = roles[f]->dtype;
        if (!roles[f]->name) continue;
        for (int i = 0; i < PROBE; i++) gr_decode_put(type, room[f], i, values[f][i]);
        const gr_tensor_view view = {type, 2, dims, room[f], PROBE * (size_t)gr_dtype_bits(type) / 8};
        x->inputs[n++] = (gr_named_tensor){roles[f]->name, view};
    }
    x->outputs[0] = (gr_named_tensor){x->d->logits, {0}};
    GR_TRY(gr_session_run(g->session, x->inputs, n, x->outputs, 1, err));
    const gr_tensor_view *t = &x->outputs[0].tensor;
    *sum = 0;
    for (int64_t i = 0; t->rank == 3 && t->dims[1] == PROBE && i < t->dims[2]; i++)
        *sum += (double)((const float *)t->data)[i] * (double)(1 + i % 7);
    return GR_OK;
}

/* Without a cache nothing in the graph says that it is causal: what stands behind a token must not change its logits. */
static gr_status check_causal(gr_generator *g, gr_err *err)
{
    double a, b;
    GR_TRY(probe(g, 3, &a, err));
    GR_TRY(probe(g, 4, &b, err));
    if (fabs(a - b) <= 1e-4 * (1 + fabs(a))) return GR_OK;
    return gr_fail(err, GR_EUNSUPPORTED,
                   "the logits of a token depend on the tokens behind it; expected a causal language model");
}

gr_status gr_generator_create(gr_model *model, const gr_session_options *options, gr_generator **out, gr_err *err)
{
    if (!model || !out) return gr_fail(err, GR_EINVAL, "gr_generator_create: model and out must not be NULL");
    gr_generator *g = gr_calloc(1, sizeof *g);
    if (!g) return gr_nomem(err);
    gr_status status = (g->arena = gr_arena_new()) ? GR_OK : gr_nomem(err);
    if (status == GR_OK) status = find_decoder(g, model, err);
    if (status == GR_OK) status = gr_session_create(model, options, &g->session, err);
    if (status == GR_OK) {
        g->decode = (gr_decode){.session = g->session, .d = &g->decoder, .cached = g->decoder.ncaches > 0};
        status = gr_decode_new(&g->decode, g->arena, err);
    }
    if (status == GR_OK && !g->decode.cached) status = check_causal(g, err);
    if (status == GR_OK) {
        *out = g;
        return GR_OK;
    }
    g->decode.session = NULL;
    gr_generator_free(g);
    return status;
}

static void forget_results(gr_generator *g)
{
    gr_free(g->results);
    gr_free(g->kept);
    g->results = NULL;
    g->kept = NULL;
}

void gr_generator_free(gr_generator *g)
{
    if (!g) return;
    forget_results(g);
    if (g->decode.session) gr_decode_end(&g->decode);
    gr_session_free(g->session);
    gr_arena_free(g->arena);
    gr_free(g);
}

void gr_generator_cancel(gr_generator *g)
{
    g->cancel = 1;
    gr_session_cancel(g->session);
}

void gr_generator_info(const gr_generator *g, gr_generate_info *out) { *out = g->info; }

/* ---- groups ---- */

typedef struct request {
    const gr_sequence *prompts;
    gr_generate_options o;
    size_t *order; /* prompts, longest first, of one length in their order */
} request;

static gr_status fill(gr_generator *g, const request *r, const size_t *which, size_t n, gr_err *err)
{
    gr_decode *x = &g->decode;
    const int64_t beams = r->o.num_beams;
    const int64_t longest = (int64_t)r->prompts[which[0]].count;
    x->in_place = g->decoder.in_place && !r->o.copy_cache;
    GR_TRY(gr_decode_begin(x, (int64_t)n * beams, beams, longest + r->o.max_new_tokens, err));
    x->end = longest;
    for (int64_t row = 0; row < x->rows; row++) {
        const gr_sequence *p = &r->prompts[which[row / beams]];
        x->start[row] = longest - (int64_t)p->count;
        memcpy(x->tokens + row * x->capacity + x->start[row], p->ids, p->count * sizeof *p->ids);
    }
    return GR_OK;
}

/* Prompts which[0..n), which run together. */
static gr_status run_group(gr_generator *g, const request *r, const size_t *which, size_t n, gr_err *err)
{
    gr_decode *x = &g->decode;
    gr_search search;
    GR_TRY(fill(g, r, which, n, err));
    GR_TRY(gr_search_begin(&search, x, &r->o, which, n, err));
    double start = now();
    gr_status status = gr_decode_prompts(x, err);
    g->info.prompt_seconds += now() - start;
    if (x->cache_bytes > g->info.cache_bytes) g->info.cache_bytes = x->cache_bytes;
    start = now();
    while (status == GR_OK) {
        bool done;
        if ((status = gr_search_advance(&search, x, &done, err)) != GR_OK || done) break;
        if (g->cancel) status = gr_fail(err, GR_ECANCELLED, "generation was cancelled");
        const double before = now();
        if (status == GR_OK) status = gr_decode_step(x, err);
        const double took = now() - before;
        if (!g->info.steps++ || took < g->info.least_step_seconds) g->info.least_step_seconds = took;
    }
    g->info.step_seconds += now() - start;
    for (size_t i = 0; i < n && status == GR_OK; i++) {
        int64_t *to = g->kept + which[i] * (size_t)r->o.max_new_tokens;
        g->results[which[i]] = (gr_sequence){to, gr_search_result(&search, x, i, to)};
        g->info.new_tokens += (int64_t)g->results[which[i]].count;
    }
    gr_search_end(&search);
    gr_decode_end(x);
    return status;
}

/* How many of the prompts order[0..n), longest first, can run together. */
static size_t group_size(const gr_generator *g, const request *r, const size_t *order, size_t n)
{
    const gr_decoder *d = &g->decoder;
    const bool ragged = d->in_place && !r->o.copy_cache && d->mask.name && d->positions.name;
    size_t most = n < r->o.max_batch ? n : r->o.max_batch, k = 1;
    while (k < most && (ragged || r->prompts[order[k]].count == r->prompts[order[0]].count)) k++;
    return k;
}

/* Longest first; insertion by counting would need as many counters as the longest is long, so a stable merge. */
static void sort_prompts(const gr_sequence *p, size_t *order, size_t *room, size_t n)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t at = 0; at < n; at += 2 * width) {
            const size_t middle = at + width < n ? at + width : n, end = middle + width < n ? middle + width : n;
            for (size_t a = at, b = middle, k = at; k < end; k++)
                room[k] = b == end || (a < middle && p[order[a]].count >= p[order[b]].count) ? order[a++] : order[b++];
        }
        memcpy(order, room, n * sizeof *order);
    }
}

/* ---- the call ---- */

static gr_status read_options(const gr_generate_options *given, gr_generate_options *o, gr_err *err)
{
    *o = (gr_generate_options){0};
    if (given && given->struct_size > sizeof *o)
        return gr_fail(err, GR_EINVAL, "gr_generator_run: options are of a later version of this library");
    if (given) memcpy(o, given, given->struct_size);
    if (!o->max_new_tokens) o->max_new_tokens = DEFAULT_NEW;
    if (!o->num_beams) o->num_beams = 1;
    if (!o->max_batch) o->max_batch = DEFAULT_BATCH;
    if (o->temperature == 0) o->temperature = 1;
    if (o->top_p == 0) o->top_p = 1;
    if (o->length_penalty == 0) o->length_penalty = 1;
    if (o->max_new_tokens < 1 || o->max_new_tokens > MOST_NEW || o->num_beams < 1 || o->num_beams > MOST_BEAMS || o->top_k < 0)
        return gr_fail(err, GR_EINVAL, "gr_generator_run: max_new_tokens must be 1 to %d, num_beams 1 to %d, top_k >= 0",
                       MOST_NEW, MOST_BEAMS);
    if (!(o->temperature > 0) || !(o->top_p > 0) || (o->eos_count && !o->eos))
        return gr_fail(err, GR_EINVAL, "gr_generator_run: temperature and top_p must be greater than 0, eos not NULL");
    if (o->num_beams > 1 && o->do_sample)
        return gr_fail(err, GR_EINVAL, "gr_generator_run: sampling with beams is not offered; choose one of them");
    return GR_OK;
}

static gr_status check_prompts(const gr_sequence *prompts, size_t count, gr_err *err)
{
    for (size_t i = 0; i < count; i++)
        if (!prompts[i].ids || !prompts[i].count || prompts[i].count > MOST_NEW)
            return gr_fail(err, GR_EINPUT, "prompt %zu has %zu tokens, expected 1 to %d", i, prompts[i].count, MOST_NEW);
    return GR_OK;
}

static gr_status run_all(gr_generator *g, request *r, size_t count, gr_err *err)
{
    size_t ids, *room = r->order + count;
    if (!gr_mul(count, (size_t)r->o.max_new_tokens, &ids) || !(g->results = gr_calloc(count, sizeof *g->results)) ||
        !(g->kept = gr_calloc(ids, sizeof *g->kept)))
        return gr_nomem(err);
    for (size_t i = 0; i < count; i++) {
        r->order[i] = i;
        g->info.prompt_tokens += (int64_t)r->prompts[i].count;
    }
    sort_prompts(r->prompts, r->order, room, count);
    for (size_t i = 0, n; i < count; i += n) {
        n = group_size(g, r, r->order + i, count - i);
        GR_TRY(run_group(g, r, r->order + i, n, err));
    }
    return GR_OK;
}

gr_status gr_generator_run(gr_generator *g, const gr_sequence *prompts, size_t count, const gr_generate_options *options,
                           gr_sequence *results, gr_err *err)
{
    if (!g || (count && (!prompts || !results)))
        return gr_fail(err, GR_EINVAL, "gr_generator_run: generator, prompts and results must not be NULL");
    request r = {.prompts = prompts};
    g->cancel = 0;
    forget_results(g);
    GR_TRY(read_options(options, &r.o, err));
    GR_TRY(check_prompts(prompts, count, err));
    g->info = (gr_generate_info){.cached = g->decode.cached, .in_place = g->decoder.in_place && !r.o.copy_cache};
    if (!count) return GR_OK;
    if (!(r.order = gr_calloc(2 * count, sizeof *r.order))) return gr_nomem(err);
    gr_status status = run_all(g, &r, count, err);
    gr_free(r.order);
    if (status == GR_OK) memcpy(results, g->results, count * sizeof *results);
    return status;
}
