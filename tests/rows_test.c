/* SPDX-License-Identifier: Apache-2.0
 *
 * Padding costs nothing and changes nothing: a sequence has the same bits alone, in a batch with longer ones, with
 * padding computed and without, and with any number of threads.
 */
#include "exec/rows.h"
#include "ragged.h"
#include "support.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gr_err err;

/* ---- what a mask lets be seen ---- */

static void test_live_keys(void)
{
    const float low = -3.4028235e38f;
    const struct {
        float mask[5];
        int64_t begin, end;
    } cases[] = {
        {{0, 0, 0, 0, 0}, 0, 5},
        {{0, 0, 0, -10000, -10000}, 0, 3},
        {{low, 0, 0, low, low}, 1, 3},
        {{0, low, 0, low, 0}, 0, 5}, /* what is hidden in between stays */
        {{-INFINITY, -INFINITY, 1, 0, -INFINITY}, 2, 4},
        {{low, low, low, low, low}, 0, 5}, /* all are hidden alike: softmax sees them all */
        {{-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY}, 0, 5},
        {{0, -100, -5000, -100, -8999}, 0, 5}, /* a bias is no mask */
        {{0, 0, NAN, low, low}, 0, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t begin, end;
        gr_live_keys(cases[i].mask, 5, &begin, &end);
        if (begin != cases[i].begin || end != cases[i].end)
            FAIL("case %zu: keys %lld to %lld, expected %lld to %lld", i, (long long)begin, (long long)end,
                 (long long)cases[i].begin, (long long)cases[i].end);
    }
}

static void test_copy(void)
{
    int32_t some[] = {0, 1, 4, 5, 6}, few[] = {0, 4};
    int64_t some_first[] = {0, 2, 5}, few_first[] = {0, 1, 2};
    const gr_rows from = {2, 4, 5, 0, some, some_first}, to = {2, 4, 2, 0, few, few_first};
    const float all[] = {0, 1, 2, 3, 4, 5, 6, 7}, held[] = {10, 11, 14, 15, 16};
    float y[2] = {0};
    gr_rows_copy(NULL, all, &to, y, sizeof *y);
    CU_ASSERT_TRUE(y[0] == 0 && y[1] == 4);
    gr_rows_copy(&from, held, &to, y, sizeof *y);
    CU_ASSERT_TRUE(y[0] == 10 && y[1] == 14);
}

/* ---- whole models ---- */

static void check_alone(const char *name, gr_model *m, gr_precision precision, const ragged *r, const trial *batch)
{
    for (int64_t b = 0; b < r->batch; b++) {
        int64_t dims[2];
        gr_named_tensor in[MAX_INPUTS];
        const gr_session_options one = {.struct_size = sizeof one, .threads = 1, .precision = precision};
        trial alone;
        cut(r, b, dims, in);
        if (run_trial(m, &one, in, r->nin, &alone))
            for (size_t i = 0; i < alone.count; i++)
                if (compares(&batch->out[i].tensor, r->batch, r->tokens) &&
                    !same_sequence(&batch->out[i].tensor, b, &alone.out[i].tensor, 0, r->tokens, r->length[b]))
                    FAIL("%s: '%s' of sequence %lld is another one alone", name, alone.out[i].name, (long long)b);
        free_trial(&alone);
    }
}

typedef struct seen {
    int models, by_rows;
    bool quantised; /* those files, in sessions of bytes: the others scale activations by the whole batch */
} seen;

static void check_model(const char *name, const char *folder, const char *dtype, void *user)
{
    static zoo_tensors in;
    char path[1024];
    int64_t length[8];
    gr_model *m = NULL;
    ragged r = {.length = length};
    trial exact = {0}, skipped = {0}, dense = {0};
    gr_named_tensor unpadded[MAX_INPUTS];
    seen *s = user;
    const gr_precision precision = s->quantised ? GR_PRECISION_INT8 : GR_PRECISION_F32;
    const gr_session_options all = {.struct_size = sizeof all, .precision = precision};
    gr_session_options skip = all;
    skip.skip_padding = true;
    skip.threads = 2;
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    if (s->quantised ? strncmp(dtype, "int", 3) : strcmp(dtype, "float32")) return;
    CHECK_OK(gr_model_load(path, NULL, &m, &err));
    snprintf(path, sizeof path, "%s/test_data_set_1", folder);
    if (m && zoo_read(path, "input", m, gr_model_input, &in, &err) && is_ragged(&in, &r) &&
        run_trial(m, &all, r.in, r.nin, &exact) && run_trial(m, &skip, r.in, r.nin, &skipped)) {
        s->models++;
        int64_t *ones = malloc((size_t)(r.batch * r.tokens) * sizeof *ones + 1);
        if (!ones) abort();
        unmask(&r, ones, unpadded);
        const bool left_out = run_trial(m, &all, unpadded, r.nin, &dense) && skipped.flops < dense.flops;
        free(ones);
        s->by_rows += left_out;
        if (!left_out && getenv("GR_ROWS_SHOW")) printf("%s ", name);
        for (size_t i = 0; i < exact.count; i++)
            for (int64_t b = 0; b < r.batch && compares(&exact.out[i].tensor, r.batch, r.tokens); b++)
                if (!same_sequence(&exact.out[i].tensor, b, &skipped.out[i].tensor, b, r.tokens, r.length[b]))
                    FAIL("%s: '%s' of sequence %lld changes where padding is left out", name, exact.out[i].name,
                         (long long)b);
        if (left_out && is_open(m)) check_alone(name, m, precision, &r, &skipped);
    }
    free_trial(&exact);
    free_trial(&skipped);
    free_trial(&dense);
    zoo_free(&in);
    gr_model_free(m);
}

static void test_models(void)
{
    const char *own[] = {"bert-tiny", "bert-tiny-cls", "bert-tiny-encoder"};
    seen s = {0}, quantised = {.quantised = true};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        char folder[512];
        snprintf(folder, sizeof folder, GR_SOURCE_DIR "/models/%s", own[i]);
        check_model(own[i], folder, "float32", &s);
    }
    zoo_each(check_model, &s);
    zoo_each(check_model, &quantised);
    printf("(padding left out of %d models of %d, of %d quantised ones of %d) ", s.by_rows, s.models, quantised.by_rows,
           quantised.models);
    CU_ASSERT_TRUE(s.by_rows > 0);
}

/* Where a former run has left values, rows that are left out hold zeros nevertheless. */
static void test_hidden(void)
{
    enum { BATCH = 2, TOKENS = 6, KEPT = 4 };
    static int64_t ids[BATCH * TOKENS], mask[BATCH * TOKENS], types[BATCH * TOKENS];
    static const int64_t dims[] = {BATCH, TOKENS};
    gr_named_tensor in[] = {INTS("input_ids", 2, dims, ids), INTS("attention_mask", 2, dims, mask),
                            INTS("token_type_ids", 2, dims, types)},
                    out = WANTED("last_hidden_state");
    const gr_session_options skip = {.struct_size = sizeof skip, .skip_padding = true};
    running r;
    for (int i = 0; i < BATCH * TOKENS; i++) ids[i] = 3 + i;
    if (!open_file(GR_SOURCE_DIR "/models/bert-tiny-encoder/model.onnx", NULL, &skip, &r)) return;
    for (int hidden = 0; hidden < 2; hidden++) {
        for (int i = 0; i < BATCH * TOKENS; i++) mask[i] = !hidden || i % TOKENS < KEPT;
        CHECK_OK(gr_session_run(r.session, in, 3, &out, 1, &err));
        const size_t row = out.tensor.size / (BATCH * TOKENS) / sizeof(float);
        for (int i = 0; i < BATCH * TOKENS; i++) {
            const float *x = (const float *)out.tensor.data + (size_t)i * row;
            size_t zeros = 0;
            for (size_t j = 0; j < row; j++) zeros += x[j] == 0;
            CU_ASSERT_EQUAL(zeros == row, !mask[i]);
        }
    }
    close_running(&r);
}

/* Masks with a row for each query, as decoders have them: two sequences of TOKENS tokens, REAL of the second one. */
enum { TOKENS = 6, REAL = 4, WIDTH = 8 };

static const char two_layers[] =
    "<ir_version: 10, opset_import: [\"\" : 17, \"graphrun\" : 1]> "
    "g (float[b,s,8] x, float[b,h,s,s] mask) => (float[b,s,8] y) "
    "<float[8] g = {1, 2, 3, 1, 2, 3, 1, 2}, float[8] z = {0, 1, 0, 1, 0, 1, 0, 1}> { "
    "h = LayerNormalization (x, g, z) a = graphrun.Attention <num_heads = 2> (h, h, h, mask) "
    "c = graphrun.AddLayerNormalization (a, h, g, z) k = LayerNormalization (c, g, z) "
    "e = graphrun.Attention <num_heads = 2> (c, k, k, mask) y = graphrun.AddLayerNormalization (e, c, g, z) }";

typedef enum padding { RIGHT, LEFT, SEEN } padding;

/* What query i of the second sequence adds to the score of key j. Padding before the tokens sees all. */
static float query_mask(padding where, int i, int j)
{
    const int begin = where == LEFT ? TOKENS - REAL : 0, end = begin + REAL;
    if (where == LEFT && i < begin) return 0;
    if (where == SEEN && i == REAL - 1 && j == TOKENS - 1) return 0;
    return j <= i && j >= begin && j < end ? 0 : -3.4028235e38f;
}

/* All rows to y, or the one that is picked (not NULL). */
static bool run_queries(const gr_session_options *o, int64_t batch, int64_t heads, int64_t tokens, const float *x,
                        const float *mask, const int64_t *pick, float *y)
{
    const int64_t dims[] = {batch, tokens, WIDTH}, mask_dims[] = {batch, heads, tokens, tokens};
    gr_named_tensor in[] = {FLOATS("x", 3, dims, (void *)x), FLOATS("mask", 4, mask_dims, (void *)mask)},
                    out = WANTED("y");
    running r;
    if (!open_text(two_layers, NULL, o, &r)) return false;
    const bool ok = (!pick || gr_session_pick(r.session, pick, 1, &err) == GR_OK) &&
                    gr_session_run(r.session, in, 2, &out, 1, &err) == GR_OK;
    if (ok) memcpy(y, out.tensor.data, out.tensor.size);
    if (!ok) FAIL("%s", err.text);
    close_running(&r);
    return ok;
}

static void check_queries(padding where)
{
    enum { ROWS = 2 * TOKENS };
    static float x[ROWS][WIDTH], mask[2][TOKENS][TOKENS], both[2][2][TOKENS][TOKENS], alone_mask[REAL][REAL],
        all[ROWS][WIDTH], fewer[ROWS][WIDTH], alone[REAL][WIDTH];
    const gr_session_options exact = {.struct_size = sizeof exact},
                             skip = {.struct_size = sizeof skip, .skip_padding = true};
    const int begin = TOKENS + (where == LEFT ? TOKENS - REAL : 0);
    uint32_t seed = 7;
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < WIDTH; j++) x[i][j] = (float)(next_random(&seed) % 2001) / 500 - 2;
    for (int i = 0; i < TOKENS; i++)
        for (int j = 0; j < TOKENS; j++) {
            mask[0][i][j] = both[0][0][i][j] = both[0][1][i][j] = j <= i ? 0 : -INFINITY;
            mask[1][i][j] = both[1][0][i][j] = both[1][1][i][j] = query_mask(where, i, j);
        }
    for (int i = 0; i < REAL; i++)
        for (int j = 0; j < REAL; j++) alone_mask[i][j] = mask[1][begin - TOKENS + i][begin - TOKENS + j];
    /* A mask for each head tells nothing about padding. */
    if (!run_queries(&exact, 2, 2, TOKENS, x[0], both[0][0][0], NULL, all[0]) ||
        !run_queries(&skip, 2, 1, TOKENS, x[0], mask[0][0], NULL, fewer[0]) ||
        !run_queries(&skip, 1, 1, REAL, x[begin], alone_mask[0], NULL, alone[0]))
        return;
    for (int i = 0; i < ROWS; i++) {
        const bool padded = i >= TOKENS && (i < begin || i >= begin + REAL);
        for (int j = 0; j < WIDTH; j++) {
            const float want = padded && where != SEEN ? 0 : all[i][j];
            if (memcmp(&fewer[i][j], &want, sizeof want))
                FAIL("padding %d row %d: %g, expected %g", where, i, (double)fewer[i][j], (double)want);
        }
    }
    if (where != SEEN) CU_ASSERT_EQUAL(memcmp(alone, fewer[begin], sizeof alone), 0);
    for (int64_t i = TOKENS; i < ROWS; i++)
        CU_ASSERT_TRUE(run_queries(&exact, 2, 1, TOKENS, x[0], mask[0][0], &i, fewer[0]) &&
                       !memcmp(fewer[0], all[i], sizeof all[i]));
    CU_ASSERT_TRUE(run_queries(&exact, 2, 1, TOKENS, x[0], mask[0][0], NULL, fewer[0]) &&
                   !memcmp(fewer, all, sizeof all));
}

static void test_queries(void)
{
    check_queries(RIGHT);
    check_queries(LEFT);
    check_queries(SEEN);
}

static CU_TestInfo tests[] = {{"live keys", test_live_keys},
                              {"copies", test_copy},
                              {"hidden rows", test_hidden},
                              {"masks of queries", test_queries},
                              {"models", test_models},
                              CU_TEST_INFO_NULL};
CU_SuiteInfo suite_rows = {"rows", NULL, NULL, NULL, NULL, tests};
