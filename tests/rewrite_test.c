/* SPDX-License-Identifier: Apache-2.0
 *
 * Exports written down in other ways that mean the same (respell.h): the passes must make the same fused operators of
 * them, and they must compute the same. And whatever the passes do, outputs are those of the file's own nodes.
 * GR_REWRITES sets how many spellings of each model are tried, GR_REWRITE_CHANGES how many changes each has, GR_REWRITE_SEED
 * where to begin, GR_REWRITE_ONLY one way of changing, GR_REWRITE_MODEL one model, whose last spelling is then kept.
 */
#include "compare.h"
#include "model.h"
#include "passes/pass.h"
#include "respell.h"
#include "support.h"
#include "tensor.h"
#include "zoo.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { CHANGES = 40, MAX_OPS = 64 };

/* ---- what the passes left ---- */

typedef struct count {
    const char *domain, *name;
    int n;
} count;

typedef struct counts {
    int used;
    count ops[MAX_OPS];
} counts;

/* Operators that fusion is about: ours, and those that it should have taken along. */
static bool matters(const gr_op *op)
{
    static const char *const names[] = {
        "LayerNormalization", "Gelu",      "Softmax", "Erf", "MatMul", "Gemm", "Tanh", "Sqrt",
        "ReduceMean",         "Attention", "Einsum",  "Pow"};
    if (op->domain) return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i], op->name)) return true;
    return false;
}

static counts count_all(gr_model *m)
{
    counts c = {0};
    const gr_graph *g = NULL;
    gr_err err = {0};
    CHECK_OK(gr_model_graph(m, &(gr_variant){0}, &g, &err));
    for (const gr_node *n = g ? g->first : NULL; n; n = n->next) {
        int i = 0;
        if (!matters(n->op)) continue;
        while (i < c.used && strcmp(c.ops[i].name, n->op->name)) i++;
        if (i == MAX_OPS) continue;
        if (i == c.used) c.ops[c.used++] = (count){n->op->domain, n->op->name, 0};
        c.ops[i].n++;
    }
    return c;
}

static int count_of(const counts *c, const char *name)
{
    for (int i = 0; i < c->used; i++)
        if (!strcmp(c->ops[i].name, name)) return c->ops[i].n;
    return 0;
}

static bool same_counts(const counts *a, const counts *b, char *why, size_t room)
{
    const counts *both[] = {a, b};
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < both[k]->used; i++) {
            const char *name = both[k]->ops[i].name;
            if (count_of(a, name) == count_of(b, name)) continue;
            snprintf(why, room, "%d of %s, expected %d", count_of(b, name), name, count_of(a, name));
            return false;
        }
    return true;
}

/* ---- runs ---- */

static float range_of(const gr_tensor_view *t)
{
    float most = 0;
    for (size_t i = 0; t->type == GR_FLOAT && i < t->size / sizeof(float); i++) {
        float x = fabsf(((const float *)t->data)[i]);
        if (x > most && x < 1e30f) most = x;
    }
    return most;
}

/* Both models on the inputs of a set; every output within 1e-5 of its range. */
static bool same_values(gr_model *a, gr_model *b, const char *folder, char *why, size_t room)
{
    static zoo_tensors in;
    gr_named_tensor x[ZOO_TENSORS], y[ZOO_TENSORS];
    gr_session *sa = NULL, *sb = NULL;
    gr_err err = {0};
    size_t n = gr_model_output_count(a);
    bool same =
        n <= ZOO_TENSORS && gr_model_output_count(b) == n && zoo_read(folder, "input", a, gr_model_input, &in, &err);
    for (size_t i = 0; same && i < n; i++) {
        gr_value_info info;
        same = gr_model_output(a, i, &info) == GR_OK;
        x[i] = y[i] = (gr_named_tensor){.name = info.name};
    }
    same = same && gr_session_create(a, NULL, &sa, &err) == GR_OK && gr_session_create(b, NULL, &sb, &err) == GR_OK &&
           gr_session_run(sa, in.views, in.count, x, n, &err) == GR_OK &&
           gr_session_run(sb, in.views, in.count, y, n, &err) == GR_OK;
    if (!same) snprintf(why, room, "%.400s", err.text);
    for (size_t i = 0; same && i < n; i++) {
        const compare_limits limits = {.atol = 1e-5 * (double)(1 + range_of(&x[i].tensor)), .rtol = 0, .cosine = -2};
        compare_result r = compare_tensors(&y[i].tensor, &x[i].tensor, &limits);
        same = r.ok;
        if (!same) snprintf(why, room, "'%s'[%lld] is %g off %s", x[i].name, (long long)r.at, r.error, r.why);
    }
    gr_session_free(sa);
    gr_session_free(sb);
    zoo_free(&in);
    return same;
}

/* ---- one model ---- */

static uint32_t number_of(const char *variable, uint32_t missing)
{
    const char *text = getenv(variable);
    return text && *text ? (uint32_t)strtoul(text, NULL, 10) : missing;
}

static bool spell_to(const char *path, const char *to, uint32_t *seed, char *what, size_t room)
{
    gr_err err = {0};
    gr_doc *doc = NULL;
    gr_graph *types = NULL;
    gr_arena *arena = gr_arena_new();
    bool ok = arena && gr_doc_load(path, NULL, &doc, &err) == GR_OK &&
              gr_graph_build(doc, arena, NULL, &types, &err) == GR_OK && gr_graph_infer(types, 0, &err) == GR_OK &&
              respell(doc, types, seed, (int)number_of("GR_REWRITE_CHANGES", CHANGES), what, room) && gr_doc_save(doc, to, &err) == GR_OK;
    if (!ok) FAIL("%s: %s", path, err.text);
    gr_doc_free(doc);
    gr_arena_free(arena);
    return ok;
}

static void one_spelling(const char *name, const char *folder, gr_model *model, uint32_t seed)
{
    const char *to = GR_BINARY_DIR "/respelt.onnx";
    char path[1024], set[1024], what[512] = "", why[1024];
    gr_err err = {0};
    gr_model *other = NULL;
    uint32_t state = seed;
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    snprintf(set, sizeof set, "%s/test_data_set_1", folder);
    if (!spell_to(path, to, &state, what, sizeof what)) return;
    if (gr_model_load(to, NULL, &other, &err) != GR_OK) {
        FAIL("%s, seed %u (%s): %s", name, seed, what, err.text);
        return;
    }
    counts want = count_all(model), got = count_all(other);
    const bool same = same_counts(&want, &got, why, sizeof why) && same_values(model, other, set, why, sizeof why);
    CHECK_THAT(same, "%s, seed %u (%s): %s", name, seed, what, why);
    gr_model_free(other);
    if (!getenv("GR_REWRITE_MODEL")) unlink(to);
}

static void spellings_of(const char *name, const char *folder, const char *dtype, void *user)
{
    char path[1024];
    gr_err err = {0};
    gr_model *model = NULL;
    uint32_t first = number_of("GR_REWRITE_SEED", 1), count = number_of("GR_REWRITES", 1);
    const char *only = getenv("GR_REWRITE_MODEL");
    if (strcmp(dtype, "float32") || (only && strcmp(only, name))) return;
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    CHECK_OK(gr_model_load(path, NULL, &model, &err));
    for (uint32_t i = 0; model && i < count; i++) one_spelling(name, folder, model, first + i);
    gr_model_free(model);
    ++*(int *)user;
}

static void each_model(zoo_fn *fn, int *seen)
{
    const char *own[] = {"bert-tiny", "bert-tiny-cls", "bert-tiny-encoder", "gpt2-tiny"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        char folder[512];
        snprintf(folder, sizeof folder, GR_SOURCE_DIR "/models/%s", own[i]);
        fn(own[i], folder, "float32", seen);
    }
    zoo_each(fn, seen);
}

static void test_spellings(void)
{
    int seen = 0;
    each_model(spellings_of, &seen);
    CU_ASSERT_TRUE(seen >= 4);
}

/* ---- passes on and off ---- */

static void raw_of(const char *name, const char *folder, const char *dtype, void *user)
{
    const gr_model_options raw = {.struct_size = sizeof raw, .no_passes = true};
    char path[1024], set[1024], why[1024];
    gr_err err = {0};
    gr_model *a = NULL, *b = NULL;
    if (strcmp(dtype, "float32")) return;
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    snprintf(set, sizeof set, "%s/test_data_set_1", folder);
    CHECK_OK(gr_model_load(path, &raw, &a, &err));
    CHECK_OK(gr_model_load(path, NULL, &b, &err));
    if (a && b && !same_values(a, b, set, why, sizeof why)) FAIL("%s: %s", name, why);
    gr_model_free(a);
    gr_model_free(b);
    ++*(int *)user;
}

static void test_passes_off(void)
{
    int seen = 0;
    each_model(raw_of, &seen);
    CU_ASSERT_TRUE(seen >= 4);
}

/* ---- a second time ---- */

typedef struct second {
    const char *name;
    bool again;
} second;

static gr_status note_hits(void *user, const gr_graph *g, const char *pass, int hits, gr_err *err)
{
    const second *s = user;
    (void)g, (void)err;
    if (s->again && hits) FAIL("%s: pass %s has %d hits in a second run", s->name, pass, hits);
    return GR_OK;
}

static void twice_of(const char *name, const char *folder, const char *dtype, void *user)
{
    char path[1024];
    gr_err err = {0};
    gr_doc *doc = NULL;
    gr_graph *g = NULL;
    gr_arena *arena = gr_arena_new();
    second s = {.name = name};
    const gr_pass_options options = {.after = note_hits, .user = &s};
    (void)dtype;
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    CHECK_OK(gr_doc_load(path, NULL, &doc, &err));
    if (doc) CHECK_OK(gr_graph_build(doc, arena, NULL, &g, &err));
    for (int i = 0; g && i < 2; i++) {
        CHECK_OK(gr_graph_infer(g, 1 << 20, &err));
        s.again = i == 1;
        CHECK_OK(gr_passes_run(g, &options, &err));
    }
    gr_doc_free(doc);
    gr_arena_free(arena);
    ++*(int *)user;
}

static void test_twice(void)
{
    int seen = 0;
    each_model(twice_of, &seen);
    CU_ASSERT_TRUE(seen >= 4);
}

static CU_TestInfo tests[] = {
    {"other spellings", test_spellings}, {"passes on and off", test_passes_off}, {"a second run changes nothing", test_twice}, CU_TEST_INFO_NULL};
CU_SuiteInfo suite_rewrite = {"rewrite", NULL, NULL, NULL, NULL, tests};
