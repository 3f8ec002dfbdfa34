/* SPDX-License-Identifier: Apache-2.0
 *
 * Parts of graphs: models of this tree and the zoo's, with and without passes, and the document of calls made of them.
 */
#include "inspect/outline.h"
#include "model.h"
#include "support.h"
#include "zoo.h"
#include <stdio.h>
#include <stdlib.h>

typedef struct seen {
    gr_model *model;
    gr_arena *arena;
    gr_outline o;
} seen;

static bool outline_of(const char *path, bool raw, seen *out)
{
    gr_err err = {0};
    const gr_graph *g;
    gr_variant v = {.raw = raw};
    *out = (seen){.arena = gr_arena_new()};
    gr_status status = gr_model_load(path, NULL, &out->model, &err);
    if (status == GR_OK) status = gr_model_graph(out->model, &v, &g, &err);
    if (status == GR_OK) status = gr_outline_make(g, out->arena, &out->o, &err);
    if (status != GR_OK) FAIL("%s: %s", path, err.text);
    return status == GR_OK;
}

static void done(seen *s)
{
    gr_arena_free(s->arena);
    gr_model_free(s->model);
}

static void names(const gr_outline *o, char *out, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < o->nparts; i++)
        n += (size_t)snprintf(out + n, n < room ? room - n : 0, "%s%s", i ? " " : "", o->parts[i].name);
}

/* Every node is in the part that lists it, what crosses a border is listed, and no part reads a later one. */
static void check_outline(const char *what, const gr_outline *o)
{
    size_t listed = 0, owned = 0;
    for (const gr_node *n = o->graph->first; n; n = n->next) owned += o->part_of[n->id] != NULL;
    for (size_t i = 0; i < o->nparts; i++) {
        const gr_part *p = &o->parts[i];
        listed += p->nnodes;
        if (!p->nnodes || !p->noutputs) FAIL("%s: part %s does nothing", what, p->name);
        for (size_t k = 0; k < p->nnodes; k++)
            if (o->part_of[p->nodes[k]->id] != p) FAIL("%s: %s is listed in the wrong part", what, p->nodes[k]->name);
        for (size_t k = 0; k < p->ninputs; k++) {
            const gr_part *from = p->inputs[k]->def ? o->part_of[p->inputs[k]->def->id] : NULL;
            if (from >= p) FAIL("%s: %s reads '%s' of %s", what, p->name, p->inputs[k]->name, from->name);
        }
        for (size_t k = 0; k < i; k++)
            if (!strcmp(o->parts[k].name, p->name)) FAIL("%s: two parts are called %s", what, p->name);
        if (gr_outline_find(o, p->name) != p) FAIL("%s: %s is not found", what, p->name);
    }
    CU_ASSERT_EQUAL(listed, owned);
}

static void test_tree(void)
{
    static const struct { const char *model, *parts; } want[] = {
        {"bert-tiny", "embeddings mask encoder.layer.0 encoder.layer.1 head"},
        {"bert-tiny-cls", "embeddings mask encoder.layer.0 encoder.layer.1 pooler head"},
        {"bert-tiny-encoder", "embeddings mask encoder.layer.0 encoder.layer.1 pooler"},
        {"gpt2-tiny", "embeddings mask transformer.h.0 transformer.h.1 norm head"},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        char path[1024], got[1024];
        seen s;
        snprintf(path, sizeof path, GR_SOURCE_DIR "/models/%s/model.onnx", want[i].model);
        if (outline_of(path, false, &s)) {
            names(&s.o, got, sizeof got);
            CU_ASSERT_STRING_EQUAL(got, want[i].parts);
            check_outline(want[i].model, &s.o);
        }
        done(&s);
    }
}

/* As many layers as the model has, whoever exported it, fused or as the file has it. */
static void zoo_case(const char *name, const char *folder, const char *dtype, void *user)
{
    char path[1024], layers[16];
    (void)dtype;
    (void)user;
    CU_ASSERT_TRUE_FATAL(zoo_cell(name, 6, layers, sizeof layers));
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    for (int raw = 0; raw < 2; raw++) {
        seen s;
        int count = 0;
        if (!outline_of(path, raw, &s)) break;
        for (size_t i = 0; i < s.o.nparts; i++) count += s.o.parts[i].kind == GR_PART_LAYER;
        if (count != atoi(layers)) FAIL("%s%s: %d layers, expected %s", name, raw ? " (raw)" : "", count, layers);
        if (s.o.nparts && s.o.parts[0].kind != GR_PART_EMBEDDINGS) FAIL("%s: starts with %s", name, s.o.parts[0].name);
        check_outline(name, &s.o);
        done(&s);
    }
}

static void test_zoo(void)
{
    if (!zoo_each(zoo_case, NULL)) printf("(there is none) ");
}

/* ---- as a document ---- */

typedef struct text {
    char *data;
    size_t size, cap;
} text;

static bool append(void *user, const char *data, size_t size)
{
    text *t = user;
    if (t->size + size + 1 > t->cap) {
        t->cap = (t->size + size + 1) * 2;
        t->data = realloc(t->data, t->cap);
    }
    memcpy(t->data + t->size, data, size);
    t->size += size;
    t->data[t->size] = 0;
    return true;
}

static bool run(gr_model *m, const gr_named_tensor *in, size_t count, const char *output, float *out, size_t *size)
{
    gr_session *s = NULL;
    gr_err err = {0};
    gr_named_tensor want = {.name = output};
    gr_status status = gr_session_create(m, NULL, &s, &err);
    if (status == GR_OK) status = gr_session_run(s, in, count, &want, 1, &err);
    if (status != GR_OK) FAIL("%s", err.text);
    if (status == GR_OK) memcpy(out, want.tensor.data, *size = want.tensor.size < *size ? want.tensor.size : *size);
    gr_session_free(s);
    return status == GR_OK;
}

static void test_document(void)
{
    static const char *const models[] = {"bert-tiny", "bert-tiny-cls", "gpt2-tiny"};
    int64_t ids[] = {2, 17, 35, 4, 3, 0, 9, 1}, mask[] = {1, 1, 1, 1, 1, 0, 1, 1}, types[8] = {0}, dims[] = {2, 4};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        static float a[1 << 16], b[1 << 16];
        char path[1024];
        gr_err err = {0};
        text t = {0};
        gr_model *whole = NULL, *outlined = NULL;
        gr_value_info info;
        gr_named_tensor in[] = {INTS("input_ids", 2, dims, ids), INTS("attention_mask", 2, dims, mask),
                                INTS("token_type_ids", 2, dims, types)};
        snprintf(path, sizeof path, GR_SOURCE_DIR "/models/%s/model.onnx", models[i]);
        CHECK_OK(gr_model_load(path, NULL, &whole, &err));
        CHECK_OK(gr_model_print(whole, GR_PRINT_OUTLINED, SIZE_MAX, append, &t, &err));
        CU_ASSERT_PTR_NOT_NULL(strstr(t.data, "model.embeddings ("));
        CHECK_OK(gr_model_load_memory(t.data, t.size, NULL, NULL, &outlined, &err));
        size_t count = gr_model_input_count(whole);
        CU_ASSERT_EQUAL_FATAL(gr_model_input_count(outlined), count);
        CU_ASSERT_EQUAL(gr_model_output(whole, 0, &info), GR_OK);
        size_t na = sizeof a, nb = sizeof b;
        if (run(whole, in, count, info.name, a, &na) && run(outlined, in, count, info.name, b, &nb))
            CU_ASSERT_TRUE(na > 0 && na == nb && !memcmp(a, b, na));
        gr_model_free(outlined);
        gr_model_free(whole);
        free(t.data);
    }
}

/* ---- what has no layers ---- */

static void test_none(void)
{
    gr_err err = {0};
    gr_outline o;
    gr_arena *arena = gr_arena_new();
    built b = infer_text("<ir_version: 8, opset_import: [\"\" : 17]> g (float[n,4] x) => (float[n,4] y) { y = Softmax (x) }");
    CHECK_OK(gr_outline_make(b.graph, arena, &o, &err));
    CU_ASSERT_EQUAL(o.nparts, 0);
    CU_ASSERT_PTR_NULL(o.hidden);
    built_free(&b);
    gr_arena_free(arena);
}

static CU_TestInfo tests[] = {{"models of this tree", test_tree},
                              {"zoo", test_zoo},
                              {"as a document", test_document},
                              {"no layers", test_none},
                              CU_TEST_INFO_NULL};
CU_SuiteInfo suite_outline = {"outline", NULL, NULL, NULL, NULL, tests};
