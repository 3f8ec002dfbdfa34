/* SPDX-License-Identifier: Apache-2.0
 *
 * Views of a graph: figures at each level, modules, parts around a node, their documents; that no weight is read for
 * them; names that are hostile; graphs that are large.
 */
#include "inspect/view.h"
#include "support.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static const char model_path[] = GR_SOURCE_DIR "/models/bert-tiny/model.onnx";
static gr_err err;

static const int64_t one_by_8[] = {1, 8};
static const gr_named_tensor shapes[] = {
    {"input_ids", {GR_INT64, 2, one_by_8, NULL, 0}},
    {"attention_mask", {GR_INT64, 2, one_by_8, NULL, 0}},
    {"token_type_ids", {GR_INT64, 2, one_by_8, NULL, 0}},
};

static gr_view *view_of_model(gr_model *m, gr_view_level level, const char *focus, int64_t radius)
{
    const gr_view_options o = {.level = level, .inputs = shapes, .input_count = 3, .focus = focus, .radius = radius};
    gr_view *w = NULL;
    CHECK_OK(gr_view_new(m, &o, &w, &err));
    return w;
}

static gr_model *load(const char *path)
{
    gr_model *m = NULL;
    CHECK_OK(gr_model_load(path, NULL, &m, &err));
    return m;
}

/* ---- what always holds ---- */

static bool is_value(const gr_view *w, uint32_t v) { return v == GR_VIEW_NONE || v < w->value_count; }

static void check_tree(const gr_view *w)
{
    int64_t parameters = 0;
    double work = 0;
    uint32_t nodes = 0;
    for (size_t i = 0; i < w->module_count; i++) {
        const gr_view_module *m = &w->modules[i];
        CU_ASSERT_FATAL(i == 0 ? m->parent == GR_VIEW_NONE : m->parent < i);
        CU_ASSERT(m->depth <= GR_VIEW_DEPTH && strlen(m->name) <= GR_VIEW_NAME);
        uint32_t within = m->own_nodes;
        for (uint32_t c = m->first_child; c != GR_VIEW_NONE; c = w->modules[c].next) {
            CU_ASSERT_EQUAL(w->modules[c].parent, i);
            within += w->modules[c].nodes;
        }
        CU_ASSERT_EQUAL(within, m->nodes);
        for (uint32_t k = 0; k < m->own_nodes; k++)
            CU_ASSERT_EQUAL(w->nodes[w->by_module[m->first_node + k]].module, i);
    }
    for (size_t i = 0; i < w->node_count; i++) {
        parameters += w->nodes[i].parameters;
        work += w->nodes[i].work;
        nodes++;
    }
    CU_ASSERT_EQUAL(w->modules[0].nodes, nodes);
    CU_ASSERT_EQUAL(w->modules[0].parameters, parameters);
    CU_ASSERT_EQUAL(w->parameters, parameters);
    CU_ASSERT(w->modules[0].work <= work * (1 + 1e-9) && w->modules[0].work >= work * (1 - 1e-9));
}

/* Edges refer to each other, results are made before they are read, borders are what they are called. */
static void check_view(const gr_view *w)
{
    for (uint32_t i = 0; i < w->node_count; i++) {
        const gr_view_node *n = &w->nodes[i];
        for (uint32_t k = 0; k < n->node->nout; k++) {
            CU_ASSERT_FATAL(is_value(w, n->out[k]));
            if (n->out[k] != GR_VIEW_NONE) CU_ASSERT_EQUAL(w->values[n->out[k]].maker, i);
        }
        for (uint32_t k = 0; k < n->node->nin; k++) {
            CU_ASSERT_FATAL(is_value(w, n->in[k]));
            if (n->in[k] == GR_VIEW_NONE) continue;
            const gr_view_value *v = &w->values[n->in[k]];
            CU_ASSERT_EQUAL(v->kind == GR_VIEW_RESULT, v->maker != GR_VIEW_NONE);
            if (v->kind == GR_VIEW_RESULT) CU_ASSERT(v->maker < i);
        }
    }
    for (size_t i = 0; i < w->input_count; i++) CU_ASSERT_EQUAL(w->values[w->inputs[i]].kind, GR_VIEW_INPUT);
    check_tree(w);
}

static void test_levels(void)
{
    gr_model *m = load(model_path);
    gr_model_summary s;
    gr_model_summarize(m, &s);
    int64_t ops = 0;
    for (size_t i = 0; i < s.op_count; i++) ops += s.ops[i].count;
    for (int level = GR_VIEW_RAW; level <= GR_VIEW_PLAN; level++) {
        gr_view *w = view_of_model(m, (gr_view_level)level, NULL, 0);
        if (!w) continue;
        check_view(w);
        CU_ASSERT_STRING_EQUAL(w->work_missing, "");
        if (level == GR_VIEW_RAW) {
            CU_ASSERT_EQUAL((int64_t)w->node_count, ops);
            CU_ASSERT_EQUAL(w->parameters, s.parameters);
        }
        /* The products alone: 4 of 32x32, 2 of 32x128 and attention in each layer, transform and decoder. */
        double products = 2.0 * 8 * (2 * (4 * 32 * 32 + 2 * 32 * 128 + 2 * 8 * 32) + 32 * 32 + 32 * 3000);
        CU_ASSERT(w->work >= products && w->work <= 1.2 * products);
        gr_view_free(w);
    }
    gr_model_free(m);
}

static uint32_t find_module(const gr_view *w, uint32_t in, const char *name)
{
    for (uint32_t c = w->modules[in].first_child; c != GR_VIEW_NONE; c = w->modules[c].next)
        if (!strcmp(w->modules[c].name, name)) return c;
    FAIL("no module %s", name);
    return 0;
}

static void test_modules(void)
{
    gr_model *m = load(model_path);
    gr_view *w = view_of_model(m, GR_VIEW_RAW, NULL, 0);
    uint32_t bert = find_module(w, 0, "bert"), layer = find_module(w, find_module(w, bert, "encoder"), "layer");
    const gr_view_module *first = &w->modules[find_module(w, layer, "0")],
                         *second = &w->modules[find_module(w, layer, "1")];
    CU_ASSERT_EQUAL(first->likeness, second->likeness);
    CU_ASSERT_EQUAL(first->parameters, 12704);
    CU_ASSERT_EQUAL(first->nodes, second->nodes);
    CU_ASSERT_NOT_EQUAL(first->likeness, w->modules[find_module(w, bert, "embeddings")].likeness);
    CU_ASSERT_EQUAL(w->modules[find_module(w, bert, "embeddings")].parameters, (3000 + 128 + 2 + 2) * 32);
    gr_view_free(w);
    gr_model_free(m);
}

/* ---- parts ---- */

static gr_status count_text(const gr_view *w, size_t *nodes, gr_err *e)
{
    gr_doc *doc;
    GR_TRY(gr_view_lower(w, &doc, e));
    *nodes = doc->graph->nodes.count;
    gr_doc_free(doc);
    return GR_OK;
}

static void test_parts(void)
{
    static const char text[] =
        "<ir_version: 8, opset_import: [\"\" : 17]>\n"
        "chain (float[n] x) => (float[n] y)\n"
        "{ a = Neg (x)\n b = Abs (a)\n c = Exp (b)\n d = Add (c, a)\n e = Sqrt (d)\n y = Erf (e) }";
    static const struct {
        const char *focus;
        int64_t radius;
        size_t nodes, inputs, outputs;
    } cases[] = {{"c", 0, 1, 1, 1}, {"c", 1, 3, 1, 1}, {"c", 2, 5, 1, 1}, {"c", 9, 6, 1, 1}, {"x", 1, 1, 1, 1}};
    gr_model *m;
    CHECK_OK(gr_model_load_memory(text, sizeof text - 1, NULL, NULL, &m, &err));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const gr_view_options o = {.level = GR_VIEW_RAW, .focus = cases[i].focus, .radius = cases[i].radius};
        gr_view *w;
        size_t nodes = 0;
        CHECK_OK(gr_view_new(m, &o, &w, &err));
        check_view(w);
        CU_ASSERT(w->part);
        CU_ASSERT_EQUAL(w->node_count, cases[i].nodes);
        CU_ASSERT_EQUAL(w->input_count, cases[i].inputs);
        CU_ASSERT_EQUAL(w->output_count, cases[i].outputs);
        CHECK_OK(count_text(w, &nodes, &err));
        CU_ASSERT_EQUAL(nodes, cases[i].nodes);
        gr_view_free(w);
    }
    gr_view *w;
    const gr_view_options nothing = {.level = GR_VIEW_RAW, .focus = "nobody", .radius = 1};
    CHECK_FAILS(gr_view_new(m, &nothing, &w, &err), GR_EINVAL, "no node or value 'nobody'");
    const gr_view_options shapeless = {.level = GR_VIEW_PLAN};
    CHECK_FAILS(gr_view_new(m, &shapeless, &w, &err), GR_EINPUT, "no shape is given");
    gr_model_free(m);
}

/* ---- weights ---- */

/* A model with a weight of 64 MiB; how much of it is in memory after it was looked at. */
static void test_no_weight_is_read(void)
{
    enum { ROWS = 4096, PAGE = 4096 };
    const size_t size = (size_t)ROWS * ROWS * 4;
    char name[] = "/tmp/view-weights-XXXXXX", path[64];
    CU_ASSERT_FATAL(mkdtemp(name) != NULL);
    snprintf(path, sizeof path, "%s/w.bin", name);
    FILE *f = fopen(path, "wb");
    CU_ASSERT_FATAL(f != NULL && ftruncate(fileno(f), (off_t)size) == 0);
    fclose(f);
    char model[64];
    snprintf(model, sizeof model, "%s/m.onnxtxt", name);
    f = fopen(model, "wb");
    CU_ASSERT_FATAL(f != NULL);
    fputs("<ir_version: 8, opset_import: [\"\" : 17]>\n"
          "g (float[n, 4096] x) => (float[n, 4096] y)\n"
          "<float[4096, 4096] w = [\"location\": \"w.bin\"]>\n{ y = MatMul (x, w) }\n",
          f);
    fclose(f);
    gr_model *m;
    CHECK_OK(gr_model_load(model, NULL, &m, &err));
    const int64_t dims[] = {16, ROWS};
    const gr_named_tensor in = {"x", {GR_FLOAT, 2, dims, NULL, 0}};
    for (int level = GR_VIEW_RAW; level <= GR_VIEW_PLAN; level++) {
        const gr_view_options o = {.level = (gr_view_level)level, .inputs = &in, .input_count = 1};
        gr_view *w;
        CHECK_OK(gr_view_new(m, &o, &w, &err));
        CU_ASSERT_EQUAL(w->work, 2.0 * 16 * ROWS * ROWS);
        for (size_t i = 0; i < w->value_count; i++) {
            if (!w->values[i].parameter) continue;
            static unsigned char resident[ROWS * ROWS * 4 / PAGE];
            size_t there = 0;
            CU_ASSERT_FATAL(mincore(w->values[i].value->konst->data, size, resident) == 0);
            for (size_t p = 0; p < sizeof resident; p++) there += resident[p] & 1;
            CU_ASSERT(there * PAGE < 1 << 20);
        }
        gr_view_free(w);
    }
    gr_model_free(m);
    remove(model);
    remove(path);
    rmdir(name);
}

/* ---- names and sizes that nobody means well with ---- */

/* A chain of `count` nodes whose names are paths of `depth` components, each of them another and `length` long. */
static char *chain_text(int count, int depth, int length)
{
    size_t room = (size_t)count * ((size_t)depth * (size_t)(length + 12) + 80) + 256, n;
    char *text = malloc(room);
    n = (size_t)snprintf(
        text, room, "<ir_version: 8, opset_import: [\"\" : 17]>\ng (float[n] x) => (float[n] v%d)\n{\n", count - 1);
    for (int i = 0; i < count; i++) {
        n += (size_t)snprintf(text + n, room - n, "[\"");
        for (int d = 0; d < depth; d++) {
            memset(text + n, 'a' + d % 26, (size_t)length);
            n += (size_t)length;
            n += (size_t)snprintf(text + n, room - n, "%d/", i);
        }
        n += (size_t)snprintf(text + n, room - n, "Neg\"] v%d = Neg (", i);
        n += (size_t)snprintf(text + n, room - n, i ? "v%d)\n" : "x)\n", i - 1);
    }
    snprintf(text + n, room - n, "}\n");
    return text;
}

static void check_chain(int count, int depth, int length)
{
    char *text = chain_text(count, depth, length);
    gr_model *m = NULL;
    gr_view *w = NULL;
    const int64_t dims[] = {3};
    const gr_named_tensor in = {"x", {GR_FLOAT, 1, dims, NULL, 0}};
    const gr_view_options o = {.level = GR_VIEW_RAW, .inputs = &in, .input_count = 1};
    CHECK_OK(gr_model_load_memory(text, strlen(text), NULL, NULL, &m, &err));
    if (m) CHECK_OK(gr_view_new(m, &o, &w, &err));
    if (w) {
        check_view(w);
        CU_ASSERT_EQUAL(w->node_count, (size_t)count);
        CU_ASSERT_EQUAL(w->work, 3.0 * count);
        CU_ASSERT(w->module_count > 1 && w->module_count <= GR_VIEW_MODULES);
    }
    gr_view_free(w);
    gr_model_free(m);
    free(text);
}

static void test_names(void)
{
    check_chain(3, 200, 10);
    check_chain(3, 2, 300000);
    check_chain(40000, 6, 2);
}

static CU_TestInfo tests[] = {{"levels", test_levels},         {"modules", test_modules},
                              {"parts", test_parts},           {"no weight is read", test_no_weight_is_read},
                              {"names and depth", test_names}, CU_TEST_INFO_NULL};
CU_SuiteInfo suite_view = {"view", NULL, NULL, NULL, NULL, tests};
