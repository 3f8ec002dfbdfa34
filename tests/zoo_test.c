/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole exports with inputs and expected outputs: the models of this tree, and a zoo of them if the build has found one
 * (GR_ZOO_DIR, or $GR_ZOO_DIR). Plain float models must run and agree; of the others is told what does.
 */
#include "compare.h"
#include "support.h"
#include "zoo.h"
#include <stdio.h>
#include <stdlib.h>

enum { MAX_SETS = 64 };

/* Of exports as deep as these PyTorch's own results move by 1e-6 to 1e-5 with the order of summation. */
static const compare_limits float_limits = {.atol = 1e-4, .rtol = 1e-4, .cosine = -2};
/* Outputs of 16-bit files come from who rounds after every node, and are some roundings away from the exact ones. */
static const compare_limits half_limits = {.atol = 1e-2, .rtol = 1e-2, .cosine = 0.9999};
static const compare_limits bfloat_limits = {.atol = 8e-2, .rtol = 8e-2, .cosine = 0.999};
static const compare_limits *limits = &float_limits;

typedef enum verdict { RIGHT, WRONG, REFUSED, MISSING } verdict;

typedef struct outcome {
    verdict verdict;
    int sets;
    double error; /* the greatest */
    char why[GR_ERR_SIZE];
} outcome;

static void compare_outputs(const zoo_tensors *want, const gr_named_tensor *got, outcome *o)
{
    for (size_t i = 0; i < want->count; i++) {
        compare_result r = compare_tensors(&got[i].tensor, &want->views[i].tensor, limits);
        if (r.error > o->error) o->error = r.error;
        if (r.ok || o->verdict == WRONG) continue;
        o->verdict = WRONG;
        snprintf(o->why, sizeof o->why, "set %d, '%s'[%lld] is %g off %s", o->sets, got[i].name, (long long)r.at,
                 r.error, r.why);
    }
}

static bool run_set(gr_model *model, gr_session *session, const char *folder, outcome *o)
{
    static zoo_tensors in, want;
    gr_named_tensor got[ZOO_TENSORS];
    gr_err err = {0};
    bool read = zoo_read(folder, "input", model, gr_model_input, &in, &err) &&
                zoo_read(folder, "output", model, gr_model_output, &want, &err);
    for (size_t i = 0; i < want.count; i++) got[i] = (gr_named_tensor){.name = want.views[i].name};
    gr_status status = read ? gr_session_run(session, in.views, in.count, got, want.count, &err) : err.status;
    if (read && want.count && status == GR_OK) {
        compare_outputs(&want, got, o);
        o->sets++;
    } else if (!read || status != GR_OK) {
        o->verdict = status == GR_EUNSUPPORTED ? REFUSED : WRONG;
        snprintf(o->why, sizeof o->why, "set %d: %.1900s", o->sets, err.text);
    }
    zoo_free(&in);
    zoo_free(&want);
    return o->verdict == RIGHT;
}

static outcome run_case(const char *folder)
{
    outcome o = {.verdict = RIGHT};
    gr_model *model = NULL;
    gr_session *session = NULL;
    gr_err err = {0};
    char path[1024];
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    gr_status status = gr_model_load(path, NULL, &model, &err);
    if (status == GR_OK) status = gr_session_create(model, NULL, &session, &err);
    if (status != GR_OK) {
        o.verdict = status == GR_EUNSUPPORTED ? REFUSED : zoo_exists(path) ? WRONG : MISSING;
        snprintf(o.why, sizeof o.why, "%s", err.text);
    }
    for (int i = 0; i < MAX_SETS && status == GR_OK; i++) {
        snprintf(path, sizeof path, "%s/test_data_set_%d/input_0.pb", folder, i);
        if (!zoo_exists(path)) break;
        *strrchr(path, '/') = 0;
        if (!run_set(model, session, path, &o)) break;
    }
    if (status == GR_OK && !o.sets && o.verdict == RIGHT) {
        o.verdict = MISSING;
        snprintf(o.why, sizeof o.why, "%s has no sets of data", folder);
    }
    gr_session_free(session);
    gr_model_free(model);
    return o;
}

/* ---- the models of this tree ---- */

static void test_models(void)
{
    const char *names[] = {"bert-tiny", "bert-tiny-cls", "bert-tiny-encoder", "gpt2-tiny"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char folder[512];
        snprintf(folder, sizeof folder, GR_SOURCE_DIR "/models/%s", names[i]);
        outcome o = run_case(folder);
        if (o.verdict != RIGHT) FAIL("%s: %s", names[i], o.why);
        CU_ASSERT_TRUE(o.sets >= 2);
    }
}

/* ---- the zoo ---- */

typedef struct totals {
    int right, wrong, refused, sets;
    double error;
} totals;

static void one_case(const char *name, const char *folder, const char *dtype, void *user)
{
    limits = !strcmp(dtype, "float16") ? &half_limits : !strcmp(dtype, "bfloat16") ? &bfloat_limits : &float_limits;
    bool is_plain = !strcmp(dtype, "float32") || limits != &float_limits;
    totals *out = (totals *)user + !is_plain;
    outcome o = run_case(folder);
    out->sets += o.sets;
    if (o.error > out->error && o.verdict == RIGHT) out->error = o.error;
    out->right += o.verdict == RIGHT;
    out->wrong += o.verdict == WRONG || o.verdict == MISSING;
    out->refused += o.verdict == REFUSED;
    if (o.verdict == RIGHT) return;
    printf("\n    %s %s: %s", name, o.verdict == REFUSED ? "is not supported" : is_plain ? "fails" : "differs", o.why);
    if (is_plain && o.verdict != REFUSED) FAIL("%s: %s", name, o.why);
}

static void test_zoo(void)
{
    totals all[2] = {{0}, {0}}, *plain = &all[0], *others = &all[1];
    if (!zoo_each(one_case, all)) {
        printf("(there is none) ");
        return;
    }
    printf("\n    float: %d right (%d sets, greatest error %.2g), %d wrong, %d not supported", plain->right, plain->sets,
           plain->error, plain->wrong, plain->refused);
    printf("\n    others: %d right (%d sets), %d differ by more, %d not supported\n    ", others->right, others->sets,
           others->wrong, others->refused);
    CU_ASSERT_TRUE(plain->right > 0);
}

static CU_TestInfo tests[] = {{"models of this tree", test_models}, {"zoo", test_zoo}, CU_TEST_INFO_NULL};
CU_SuiteInfo suite_zoo = {"zoo", NULL, NULL, NULL, NULL, tests};
