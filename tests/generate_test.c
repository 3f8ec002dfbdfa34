/* SPDX-License-Identifier: Apache-2.0
 *
 * Generation: all forms of one decoder and all ways of keeping its cache give the same tokens, and beams those of a
 * search that runs everything anew.
 */
#include "generate/decode.h"
#include "model.h"
#include "support.h"
#include "zoo.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { NEW = 40, PROMPTS = 5, MOST = 16, VOCAB = 60, BEAMS = 3 };

static const int64_t ids[PROMPTS][MOST] = {
    {3, 5, 7, 9}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {42}, {8, 8, 8, 8}, {20, 1, 59}};
static const size_t lengths[PROMPTS] = {4, 11, 1, 4, 3};

typedef struct result {
    size_t count[PROMPTS];
    int64_t ids[PROMPTS][NEW];
    gr_generate_info info;
} result;

static bool generate_at(const char *path, const gr_generate_options *o, size_t first, size_t n, result *out)
{
    gr_err err = {0};
    gr_model *m = NULL;
    gr_generator *g = NULL;
    gr_sequence prompts[PROMPTS], got[PROMPTS];
    const gr_session_options so = {.struct_size = sizeof so, .threads = 1};
    for (size_t i = 0; i < n; i++) prompts[i] = (gr_sequence){ids[first + i], lengths[first + i]};
    gr_status status = gr_model_load(path, NULL, &m, &err);
    if (status == GR_OK) status = gr_generator_create(m, &so, &g, &err);
    if (status == GR_OK) status = gr_generator_run(g, prompts, n, o, got, &err);
    if (status != GR_OK) FAIL("%s: %s", path, err.text);
    for (size_t i = 0; status == GR_OK && i < n; i++) {
        out->count[i] = got[i].count;
        memcpy(out->ids[i], got[i].ids, got[i].count * sizeof(int64_t));
    }
    if (status == GR_OK) gr_generator_info(g, &out->info);
    gr_generator_free(g);
    gr_model_free(m);
    return status == GR_OK;
}

static bool generate(const char *form, const gr_generate_options *o, size_t first, size_t n, result *out)
{
    char path[1024];
    snprintf(path, sizeof path, GR_SOURCE_DIR "/models/decoder-%s/model.onnx", form);
    return generate_at(path, o, first, n, out);
}

static void same(const char *what, const result *a, const result *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a->count[i] != b->count[i] || memcmp(a->ids[i], b->ids[i], a->count[i] * sizeof(int64_t)))
            FAIL("%s: prompt %zu goes on otherwise", what, i);
}

/* ---- tokens ---- */

static void all_forms(const char *what, gr_generate_options o)
{
    static const char *const forms[] = {"past", "merged", "plain"};
    static result want, got;
    o.struct_size = sizeof o;
    if (!generate("plain", &o, 0, PROMPTS, &want)) return;
    CU_ASSERT_FALSE(want.info.cached);
    for (int copy = 0; copy < 2; copy++)
        for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
            o.copy_cache = copy;
            if (!generate(forms[f], &o, 0, PROMPTS, &got)) continue;
            same(what, &got, &want, PROMPTS);
            CU_ASSERT_EQUAL(got.info.in_place, f < 2 && !copy);
        }
}

static void test_greedy(void) { all_forms("greedy", (gr_generate_options){.max_new_tokens = NEW}); }

static void test_ends(void)
{
    static const int64_t eos[] = {7, 30, 31, 32};
    static result got;
    const gr_generate_options o = {.struct_size = sizeof o, .max_new_tokens = NEW, .eos = eos, .eos_count = 4};
    all_forms("greedy with ends", o);
    if (!generate("past", &o, 0, PROMPTS, &got)) return;
    for (size_t i = 0; i < PROMPTS; i++)
        for (size_t k = 0; k + 1 < got.count[i]; k++)
            for (size_t e = 0; e < 4; e++) CU_ASSERT_NOT_EQUAL(got.ids[i][k], eos[e]);
}

/* A prompt's tokens do not depend on those beside it. */
static void test_batches(void)
{
    static result want, got;
    gr_generate_options o = {.struct_size = sizeof o, .max_new_tokens = NEW, .do_sample = true, .seed = 3, .top_k = 20};
    if (!generate("past", &o, 0, PROMPTS, &want)) return;
    o.max_batch = 2;
    if (generate("past", &o, 0, PROMPTS, &got)) same("pairs", &got, &want, PROMPTS);
    o.max_batch = 1;
    if (generate("past", &o, 0, PROMPTS, &got)) same("one by one", &got, &want, PROMPTS);
}

static void test_sampling(void)
{
    static result greedy, got, other;
    gr_generate_options o = {.struct_size = sizeof o, .max_new_tokens = NEW};
    if (!generate("past", &o, 0, PROMPTS, &greedy)) return;
    o.do_sample = true;
    o.top_k = 1;
    if (generate("past", &o, 0, PROMPTS, &got)) same("the likeliest alone", &got, &greedy, PROMPTS);
    o.top_k = 0;
    o.top_p = 1e-6F;
    if (generate("past", &o, 0, PROMPTS, &got)) same("the smallest part", &got, &greedy, PROMPTS);
    o.top_p = 0.9F;
    o.temperature = 2;
    o.seed = 1;
    all_forms("sampling", o);
    bool differs = false;
    if (!generate("past", &o, 0, PROMPTS, &got)) return;
    o.seed = 2;
    if (!generate("past", &o, 0, PROMPTS, &other)) return;
    for (size_t i = 0; i < PROMPTS; i++) differs |= memcmp(got.ids[i], other.ids[i], sizeof got.ids[i]) != 0;
    CU_ASSERT_TRUE(differs);
}

/* ---- beams: the reference keeps whole sequences and runs all of each for every token ---- */

typedef struct beam {
    double score;
    int length;
    int64_t ids[MOST + NEW];
} beam;

static bool log_probabilities(gr_session *s, const beam *b, double *out)
{
    static int64_t ones[MOST + NEW], places[MOST + NEW];
    gr_err err = {0};
    const int64_t dims[] = {1, b->length};
    const size_t size = (size_t)b->length * sizeof(int64_t);
    for (int i = 0; i < b->length; i++) ones[i] = 1, places[i] = i;
    const gr_named_tensor in[] = {{"input_ids", {GR_INT64, 2, dims, (void *)(uintptr_t)b->ids, size}},
                                  {"attention_mask", {GR_INT64, 2, dims, ones, size}},
                                  {"position_ids", {GR_INT64, 2, dims, places, size}}};
    gr_named_tensor logits = {"logits", {0}};
    if (gr_session_run(s, in, 3, &logits, 1, &err) != GR_OK) {
        FAIL("%s", err.text);
        return false;
    }
    const float *x = (const float *)logits.tensor.data + (b->length - 1) * VOCAB;
    double sum = 0;
    for (int i = 0; i < VOCAB; i++) sum += exp((double)x[i]);
    for (int i = 0; i < VOCAB; i++) out[i] = (double)x[i] - log(sum);
    return true;
}

static int by_score(const void *a, const void *b)
{
    const double x = ((const beam *)a)->score, y = ((const beam *)b)->score;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void keep_ended(beam *ended, int *n, const beam *b, int prompt, double penalty)
{
    ended[*n] = *b;
    ended[(*n)++].score = b->score / pow(b->length - prompt, penalty);
    qsort(ended, (size_t)*n, sizeof *ended, by_score);
    if (*n > BEAMS) *n = BEAMS;
}

/* As in the definition: of all ways to go on the 2 BEAMS best, those that end put aside. */
static bool reference(gr_session *s, const int64_t *prompt, int length, int new, int64_t eos, double penalty, beam *best)
{
    static beam live[BEAMS], ways[BEAMS * VOCAB], ended[BEAMS + 1], next[BEAMS];
    int nlive = 1, nended = 0;
    live[0] = (beam){.length = length};
    memcpy(live[0].ids, prompt, (size_t)length * sizeof *prompt);
    for (int step = 0; step < new && nlive; step++) {
        int n = 0, kept = 0;
        for (int b = 0; b < nlive; b++) {
            double p[VOCAB];
            if (!log_probabilities(s, &live[b], p)) return false;
            for (int t = 0; t < VOCAB; t++, n++) {
                ways[n] = live[b];
                ways[n].ids[ways[n].length++] = t;
                ways[n].score += p[t];
            }
        }
        qsort(ways, (size_t)n, sizeof *ways, by_score);
        for (int i = 0; i < n && kept < BEAMS; i++) {
            if (ways[i].ids[ways[i].length - 1] != eos) next[kept++] = ways[i];
            else if (i < BEAMS) keep_ended(ended, &nended, &ways[i], length, penalty);
        }
        const double possible = ways[0].score / pow(step + 1, penalty);
        nlive = nended == BEAMS && ended[BEAMS - 1].score >= possible ? 0 : kept;
        memcpy(live, next, sizeof live);
    }
    for (int b = 0; b < nlive; b++) keep_ended(ended, &nended, &live[b], length, penalty);
    *best = ended[0];
    return true;
}

static void test_beams(void)
{
    enum { SHORT = 12 };
    static result got;
    gr_err err = {0};
    gr_model *m = NULL;
    gr_session *s = NULL;
    const gr_session_options so = {.struct_size = sizeof so, .threads = 1, .max_plans = 40};
    if (gr_model_load(GR_SOURCE_DIR "/models/decoder-plain/model.onnx", NULL, &m, &err) != GR_OK ||
        gr_session_create(m, &so, &s, &err) != GR_OK)
        FAIL("%s", err.text);
    for (int64_t eos = 20; s && eos < 60; eos += 13)
        for (int penalty = 0; penalty < 2; penalty++) {
            const gr_generate_options o = {.struct_size = sizeof o, .max_new_tokens = SHORT, .num_beams = BEAMS,
                                           .eos = &eos, .eos_count = 1, .length_penalty = penalty ? 1 : 0.3F};
            if (!generate("past", &o, 0, PROMPTS, &got)) continue;
            for (size_t i = 0; i < PROMPTS; i++) {
                static beam want;
                if (!reference(s, ids[i], (int)lengths[i], SHORT, eos, o.length_penalty, &want)) continue;
                const size_t n = (size_t)want.length - lengths[i];
                if (got.count[i] != n || memcmp(got.ids[i], want.ids + lengths[i], n * sizeof(int64_t)))
                    FAIL("eos %d, prompt %zu: not the best of beams", (int)eos, i);
            }
        }
    gr_session_free(s);
    gr_model_free(m);
    static const int64_t eos = 33;
    all_forms("beams", (gr_generate_options){.max_new_tokens = NEW, .num_beams = 4, .eos = &eos, .eos_count = 1});
}

/* ---- the cache ---- */

typedef struct bench {
    gr_model *model;
    gr_session *session;
    gr_arena *arena;
    gr_decoder decoder;
    gr_decode x;
} bench;

static const gr_session_options alone = {.struct_size = sizeof alone, .threads = 1};

static bool open_bench(bench *b, const char *path)
{
    gr_err err = {0};
    const gr_graph *g;
    gr_variant variant = {0};
    *b = (bench){.arena = gr_arena_new()};
    gr_status status = gr_model_load(path, NULL, &b->model, &err);
    if (status == GR_OK) status = gr_session_create(b->model, &alone, &b->session, &err);
    if (status == GR_OK) status = gr_model_graph(b->model, &variant, &g, &err);
    if (status == GR_OK) status = gr_decoder_find(g, b->arena, &b->decoder, &err);
    b->x = (gr_decode){.session = b->session, .d = &b->decoder, .cached = b->decoder.ncaches > 0,
                       .in_place = b->decoder.in_place};
    if (status == GR_OK) status = gr_decode_new(&b->x, b->arena, &err);
    if (status != GR_OK) FAIL("%s: %s", path, err.text);
    return status == GR_OK;
}

static void close_bench(bench *b)
{
    if (b->x.dims) gr_decode_end(&b->x);
    gr_session_free(b->session);
    gr_model_free(b->model);
    gr_arena_free(b->arena);
}

/* The greatest difference of two rows of logits; not a number counts as infinite. */
static double farthest(const float *a, const float *b)
{
    double most = 0;
    for (int v = 0; v < VOCAB; v++) {
        const double d = fabs((double)(a[v] - b[v]));
        if (!(d <= most)) most = isnan(d) ? INFINITY : d;
    }
    return most;
}

/* Logits of a step are those of the model run over everything, and a step whose shapes have been seen allocates
 * nothing. */
static void test_steps(void)
{
    enum { STEPS = 100, PROMPT = 5 };
    bench with, without;
    gr_err err = {0};
    bool ok = open_bench(&with, GR_SOURCE_DIR "/models/decoder-past/model.onnx");
    ok &= open_bench(&without, GR_SOURCE_DIR "/models/decoder-plain/model.onnx");
    bench *both[] = {&with, &without};
    for (int k = 0; k < 2 && ok; k++) {
        gr_decode *x = &both[k]->x;
        ok = gr_decode_begin(x, 1, 1, PROMPT + STEPS, &err) == GR_OK;
        for (int i = 0; ok && i < PROMPT + STEPS; i++) x->tokens[i] = (i * 7 + 3) % VOCAB;
        x->end = PROMPT;
        ok = ok && gr_decode_prompts(x, &err) == GR_OK;
    }
    double worst = 0;
    for (int i = 0; i < STEPS && ok; i++) {
        const int64_t past = with.x.end;
        with.x.end++, without.x.end++;
        if (i > 0 && past % GR_SLACK > 1) gr_malloc_fail_after(1);
        ok = gr_decode_step(&with.x, &err) == GR_OK;
        gr_malloc_fail_after(0);
        if (!ok) FAIL("step %d: %s", i, err.text);
        ok = ok && gr_decode_step(&without.x, &err) == GR_OK;
        if (ok) worst = fmax(worst, farthest(with.x.logits, without.x.logits));
    }
    CU_ASSERT_TRUE(ok);
    if (worst > 1e-5) FAIL("logits differ by %g", worst);
    CU_ASSERT_TRUE(with.x.rounded); /* else every step would plan anew */
    close_bench(&with);
    close_bench(&without);
}

/* ---- rows ---- */

enum { ROWS_BATCH = 2, ROWS_TOKENS = 100 };

static gr_status run_rows(const char *path, const int64_t *picks, size_t n, float **out, int64_t *columns, gr_err *err)
{
    static int64_t tokens[ROWS_BATCH * ROWS_TOKENS], mask[ROWS_BATCH * ROWS_TOKENS], places[ROWS_BATCH * ROWS_TOKENS],
        types[ROWS_BATCH * ROWS_TOKENS];
    const int64_t dims[] = {ROWS_BATCH, ROWS_TOKENS};
    gr_named_tensor in[] = {{"input_ids", {GR_INT64, 2, dims, tokens, sizeof tokens}},
                            {"attention_mask", {GR_INT64, 2, dims, mask, sizeof mask}},
                            {strstr(path, "bert") ? "token_type_ids" : "position_ids",
                             {GR_INT64, 2, dims, strstr(path, "bert") ? types : places, sizeof types}}};
    gr_named_tensor logits = {"logits", {0}};
    gr_model *m = NULL;
    gr_session *s = NULL;
    for (int i = 0; i < ROWS_BATCH * ROWS_TOKENS; i++) {
        tokens[i] = (i * 7 + 1) % VOCAB;
        places[i] = i % ROWS_TOKENS;
        mask[i] = i < ROWS_TOKENS + 60;
    }
    gr_status status = gr_model_load(path, NULL, &m, err);
    if (status == GR_OK) status = gr_session_create(m, &alone, &s, err);
    if (status == GR_OK) status = gr_session_pick(s, picks, n, err);
    if (status == GR_OK) status = gr_session_run(s, in, 3, &logits, 1, err);
    if (status == GR_OK) {
        const gr_tensor_view *t = &logits.tensor;
        CU_ASSERT_EQUAL(t->rank, n ? 2 : 3);
        CU_ASSERT_EQUAL(t->dims[0], n ? (int64_t)n : ROWS_BATCH);
        *columns = t->dims[t->rank - 1];
        *out = malloc(t->size);
        memcpy(*out, t->data, t->size);
    }
    gr_session_free(s);
    gr_model_free(m);
    return status;
}

/* Picked rows have the bits of a full run, under a causal mask and under one that tells padding. */
static void test_picked(void)
{
    static const int64_t picks[] = {0, 50, 99, 100, 131, 159};
    static const char *const models[] = {"decoder-plain", "bert-tiny"};
    enum { N = sizeof picks / sizeof *picks };
    for (size_t k = 0; k < 2; k++) {
        char path[1024];
        gr_err err = {0};
        float *all = NULL, *some = NULL;
        int64_t columns = 0;
        snprintf(path, sizeof path, GR_SOURCE_DIR "/models/%s/model.onnx", models[k]);
        bool ok = run_rows(path, NULL, 0, &all, &columns, &err) == GR_OK;
        ok = ok && run_rows(path, picks, N, &some, &columns, &err) == GR_OK;
        if (!ok) FAIL("%s: %s", path, err.text);
        for (size_t i = 0; i < N && ok; i++)
            if (memcmp(all + picks[i] * columns, some + (int64_t)i * columns, (size_t)columns * sizeof(float)))
                FAIL("%s: row %d has other bits", models[k], (int)picks[i]);
        const int64_t beyond = ROWS_BATCH * ROWS_TOKENS;
        CU_ASSERT_EQUAL(run_rows(path, &beyond, 1, &some, &columns, &err), GR_EINPUT);
        free(all);
        free(some);
    }
}

/* ---- models that are no decoders, and exporters' spellings ---- */

static void refused(const char *model, const char *word)
{
    char path[1024];
    gr_err err = {0};
    gr_model *m = NULL;
    gr_generator *g = NULL;
    snprintf(path, sizeof path, GR_SOURCE_DIR "/models/%s/model.onnx", model);
    if (gr_model_load(path, NULL, &m, &err) != GR_OK) FAIL("%s", err.text);
    CU_ASSERT_EQUAL(gr_generator_create(m, NULL, &g, &err), GR_EUNSUPPORTED);
    if (!strstr(err.text, word)) FAIL("%s: \"%s\" does not speak of %s", model, err.text, word);
    gr_model_free(m);
}

static void test_refused(void)
{
    refused("bert-tiny", "causal");
    refused("bert-tiny-cls", "logits");
    refused("bert-tiny-encoder", "logits");
}

static void test_zoo(void)
{
#ifdef GR_ZOO_DIR
    /* Models with a cache, whether it can grow in place or not. */
    static const char *const names[] = {"gpt2_optimum_text-generation-with-past", "bert_clm_past_14", "gpt2_ortopt_14",
                                        "bert_clm_past_sdpa_17", "gpt2_clm_past_ts_14", "gpt2_clm_past_ts_sdpa_18",
                                        "gpt2_clm_past_dynamo_18", "bert_clm_past_dynamo_18", "gpt2_qdyn"};
    static result want, got;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[1024];
        snprintf(path, sizeof path, GR_ZOO_DIR "/%s/model.onnx", names[i]);
        gr_generate_options o = {.struct_size = sizeof o, .max_new_tokens = 20, .num_beams = 2};
        if (!generate_at(path, &o, 0, PROMPTS, &want)) continue;
        CU_ASSERT_TRUE(want.info.in_place);
        o.copy_cache = true;
        if (generate_at(path, &o, 0, PROMPTS, &got)) same(names[i], &got, &want, PROMPTS);
    }
#endif
}

static CU_TestInfo tests[] = {{"greedy", test_greedy},   {"ends", test_ends},       {"batches", test_batches},
                              {"sampling", test_sampling}, {"beams", test_beams},   {"steps", test_steps},
                              {"picked", test_picked},   {"refused", test_refused}, {"zoo", test_zoo},         CU_TEST_INFO_NULL};
CU_SuiteInfo suite_generate = {"generate", NULL, NULL, NULL, NULL, tests};
