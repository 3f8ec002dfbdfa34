/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole exports with inputs and expected outputs: the models of this tree, and a zoo of them if the build has found one
 * (GR_ZOO_DIR, or $GR_ZOO_DIR). Plain float models must run and agree; of the others is told what does.
 */
#include "compare.h"
#include "support.h"
#include "tensor.h"
#include <stdio.h>
#include <stdlib.h>

enum { MAX_TENSORS = 80, MAX_SETS = 64 };

/* Of exports as deep as these PyTorch's own results move by 1e-6 to 1e-5 with the order of summation. */
static const compare_limits limits = {.atol = 1e-4, .rtol = 1e-4, .cosine = -2};

typedef enum verdict { RIGHT, WRONG, REFUSED, MISSING } verdict;

typedef struct outcome {
    verdict verdict;
    int sets;
    double error; /* the greatest */
    char why[GR_ERR_SIZE];
} outcome;

typedef struct tensors {
    cli_tensor *items[MAX_TENSORS];
    gr_named_tensor views[MAX_TENSORS];
    size_t count;
} tensors;

static void free_tensors(tensors *t)
{
    for (size_t i = 0; i < t->count; i++) {
        cli_tensor_free(t->items[i]);
        free(t->items[i]);
    }
    t->count = 0;
}

static bool exists(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f) fclose(f);
    return f != NULL;
}

/* <folder>/<kind>_0.pb and so on; a tensor without a name is the model's at that place. */
static bool read_tensors(const char *folder, const char *kind, const gr_model *model,
                         gr_status (*info)(const gr_model *, size_t, gr_value_info *), tensors *out, gr_err *err)
{
    const cli_read_options options = {.rank = -1};
    for (out->count = 0; out->count < MAX_TENSORS;) {
        char path[1024];
        size_t n;
        gr_value_info declared;
        snprintf(path, sizeof path, "%s/%s_%zu.pb", folder, kind, out->count);
        if (!exists(path)) return true;
        cli_tensor *t;
        if (!cli_tensors_read(path, &options, &t, &n, err)) return false;
        const char *name = t->name && *t->name                           ? t->name
                           : info(model, out->count, &declared) == GR_OK ? declared.name
                                                                         : "?";
        out->items[out->count] = t;
        out->views[out->count++] = (gr_named_tensor){name, cli_view(t)};
    }
    return true;
}

static void compare_outputs(const tensors *want, const gr_named_tensor *got, outcome *o)
{
    for (size_t i = 0; i < want->count; i++) {
        compare_result r = compare_tensors(&got[i].tensor, &want->views[i].tensor, &limits);
        if (r.error > o->error) o->error = r.error;
        if (r.ok || o->verdict == WRONG) continue;
        o->verdict = WRONG;
        snprintf(o->why, sizeof o->why, "set %d, '%s'[%lld] is %g off %s", o->sets, got[i].name, (long long)r.at,
                 r.error, r.why);
    }
}

static bool run_set(gr_model *model, gr_session *session, const char *folder, outcome *o)
{
    static tensors in, want;
    gr_named_tensor got[MAX_TENSORS];
    gr_err err = {0};
    bool read = read_tensors(folder, "input", model, gr_model_input, &in, &err) &&
                read_tensors(folder, "output", model, gr_model_output, &want, &err);
    for (size_t i = 0; i < want.count; i++) got[i] = (gr_named_tensor){.name = want.views[i].name};
    gr_status status = read ? gr_session_run(session, in.views, in.count, got, want.count, &err) : err.status;
    if (read && want.count && status == GR_OK) {
        compare_outputs(&want, got, o);
        o->sets++;
    } else if (!read || status != GR_OK) {
        o->verdict = status == GR_EUNSUPPORTED ? REFUSED : WRONG;
        snprintf(o->why, sizeof o->why, "set %d: %.1900s", o->sets, err.text);
    }
    free_tensors(&in);
    free_tensors(&want);
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
        o.verdict = status == GR_EUNSUPPORTED ? REFUSED : exists(path) ? WRONG : MISSING;
        snprintf(o.why, sizeof o.why, "%s", err.text);
    }
    for (int i = 0; i < MAX_SETS && status == GR_OK; i++) {
        snprintf(path, sizeof path, "%s/test_data_set_%d/input_0.pb", folder, i);
        if (!exists(path)) break;
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

/* Column `index` of a row with tabs. */
static void column(const char *row, int index, char *out, size_t room)
{
    for (; index && row; index--) row = strchr(row, '\t') ? strchr(row, '\t') + 1 : NULL;
    snprintf(out, room, "%.*s", row ? (int)strcspn(row, "\t\r\n") : 0, row ? row : "");
}

static void one_row(const char *zoo, const char *row, totals *out, bool is_plain)
{
    char name[128], folder[1024];
    column(row, 0, name, sizeof name);
    snprintf(folder, sizeof folder, "%s/%s", zoo, name);
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

static const char *zoo_folder(void)
{
    const char *given = getenv("GR_ZOO_DIR");
#ifdef GR_ZOO_DIR
    if (!given || !*given) given = GR_ZOO_DIR;
#endif
    return given;
}

static void test_zoo(void)
{
    char path[1024], row[4096], dtype[32];
    totals plain = {0}, others = {0};
    if (!zoo_folder()) {
        printf("(there is none) ");
        return;
    }
    snprintf(path, sizeof path, "%s/zoo.tsv", zoo_folder());
    FILE *f = fopen(path, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    char *head = fgets(row, sizeof row, f);
    column(row, 11, dtype, sizeof dtype);
    CU_ASSERT_TRUE(head && !strcmp(dtype, "dtype"));
    while (fgets(row, sizeof row, f)) {
        column(row, 11, dtype, sizeof dtype);
        bool is_plain = !strcmp(dtype, "float32");
        one_row(zoo_folder(), row, is_plain ? &plain : &others, is_plain);
    }
    fclose(f);
    printf("\n    float: %d right (%d sets, greatest error %.2g), %d wrong, %d not supported", plain.right, plain.sets,
           plain.error, plain.wrong, plain.refused);
    printf("\n    others: %d right (%d sets), %d differ by more, %d not supported\n    ", others.right, others.sets,
           others.wrong, others.refused);
    CU_ASSERT_TRUE(plain.right > 0);
}

static CU_TestInfo tests[] = {{"models of this tree", test_models}, {"zoo", test_zoo}, CU_TEST_INFO_NULL};
CU_SuiteInfo suite_zoo = {"zoo", NULL, NULL, NULL, NULL, tests};
