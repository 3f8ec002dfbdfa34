/* SPDX-License-Identifier: Apache-2.0
 *
 * Pieces of models: the parts of every plain float model of the zoo, run one after another, give the bits that the whole
 * gives; cuts by name, and what is wrong with those that cannot be.
 */
#include "inspect/extract.h"
#include "model.h"
#include "support.h"
#include "zoo.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- parts, one after another ---- */

enum { MAX_KNOWN = 256 };

typedef struct known { /* values by name, made so far */
    size_t n;
    gr_named_tensor items[MAX_KNOWN];
    int64_t dims[MAX_KNOWN][GR_MAX_RANK];
} known;

static void keep(known *k, const char *name, const gr_tensor_view *t)
{
    if (k->n == MAX_KNOWN) return;
    gr_named_tensor *to = &k->items[k->n];
    *to = (gr_named_tensor){.name = strdup(name), .tensor = *t};
    for (int i = 0; i < t->rank; i++) k->dims[k->n][i] = t->dims[i];
    to->tensor.dims = k->dims[k->n];
    to->tensor.data = malloc(t->size + 1);
    if (t->size) memcpy(to->tensor.data, t->data, t->size);
    k->n++;
}

static const gr_named_tensor *get(const known *k, const char *name)
{
    for (size_t i = 0; i < k->n; i++)
        if (!strcmp(k->items[i].name, name)) return &k->items[i];
    return NULL;
}

static void forget(known *k)
{
    for (size_t i = 0; i < k->n; i++) {
        free((char *)k->items[i].name);
        free(k->items[i].tensor.data);
    }
    k->n = 0;
}

/* Run a piece, which has been saved and loaded, on what is known, and keep what it gives. */
static bool run_piece(const char *what, const gr_doc *doc, known *k)
{
    char path[256];
    gr_err err = {0};
    gr_model *m = NULL;
    gr_session *s = NULL;
    gr_named_tensor in[ZOO_TENSORS], out[ZOO_TENSORS];
    snprintf(path, sizeof path, GR_BINARY_DIR "/piece-%ld.onnx", (long)getpid());
    gr_status status = gr_doc_save(doc, path, &err);
    if (status == GR_OK) status = gr_model_load(path, NULL, &m, &err);
    if (status == GR_OK) status = gr_session_create(m, NULL, &s, &err);
    size_t nin = m ? gr_model_input_count(m) : 0, nout = m ? gr_model_output_count(m) : 0;
    for (size_t i = 0; status == GR_OK && i < nin; i++) {
        gr_value_info info;
        gr_model_input(m, i, &info);
        const gr_named_tensor *t = get(k, info.name);
        if (!t) status = gr_fail(&err, GR_EINPUT, "nobody has made '%s'", info.name);
        if (t) in[i] = *t;
    }
    for (size_t i = 0; i < nout; i++) {
        gr_value_info info;
        gr_model_output(m, i, &info);
        out[i] = WANTED(info.name);
    }
    if (status == GR_OK) status = gr_session_run(s, in, nin, out, nout, &err);
    if (status != GR_OK) FAIL("%s: %s", what, err.text);
    for (size_t i = 0; status == GR_OK && i < nout; i++) keep(k, out[i].name, &out[i].tensor);
    gr_session_free(s);
    gr_model_free(m);
    remove(path);
    return status == GR_OK;
}

/* What stands in the open, first and last: all that no part makes. */
static bool run_parts(const char *name, const gr_graph *g, gr_arena *arena, known *k)
{
    gr_err err = {0};
    gr_outline o;
    gr_doc *doc;
    if (gr_outline_make(g, arena, &o, &err) != GR_OK) return false;
    for (size_t i = 0; i < o.nparts; i++) {
        char what[256];
        gr_cut cut = gr_extract_part(&o.parts[i]);
        snprintf(what, sizeof what, "%s, %s", name, o.parts[i].name);
        if (gr_extract(g, &cut, &doc, &err) != GR_OK) {
            FAIL("%s: %s", what, err.text);
            return false;
        }
        bool ran = run_piece(what, doc, k);
        gr_doc_free(doc);
        if (!ran) return false;
    }
    return true;
}

static bool same_bits(const gr_tensor_view *a, const gr_tensor_view *b)
{
    return a->type == b->type && a->size == b->size && (!a->size || !memcmp(a->data, b->data, a->size));
}

static int chained, outputs_compared, mixed;

/* Whether a node is of a later opset than its file, as what com.microsoft's operators are made of may be: no file can say
 * so. */
static bool mixes_opsets(const gr_graph *g)
{
    for (const gr_node *n = g->first; n; n = n->next)
        if (!strcmp(n->op->name, "ReduceSum") && n->nin > 1 && g->opset < 13) return true;
    return false;
}

static void one_set(const char *name, gr_model *m, const gr_graph *g, gr_arena *arena, const char *set)
{
    static zoo_tensors in;
    static known k;
    gr_err err = {0};
    gr_session *s = NULL;
    gr_named_tensor out[ZOO_TENSORS];
    size_t nout = gr_model_output_count(m);
    bool ready = zoo_read(set, "input", m, gr_model_input, &in, &err) && gr_session_create(m, NULL, &s, &err) == GR_OK;
    for (size_t i = 0; i < nout; i++) {
        gr_value_info info;
        gr_model_output(m, i, &info);
        out[i] = WANTED(info.name);
    }
    if (!ready || gr_session_run(s, in.views, in.count, out, nout, &err) != GR_OK) FAIL("%s: %s", name, err.text);
    else {
        for (size_t i = 0; i < in.count; i++) keep(&k, in.views[i].name, &in.views[i].tensor);
        if (run_parts(name, g, arena, &k)) chained++;
        for (size_t i = 0; i < nout; i++) {
            const gr_named_tensor *t = get(&k, out[i].name);
            if (!t) continue; /* made in the open */
            outputs_compared++;
            if (!same_bits(&t->tensor, &out[i].tensor)) FAIL("%s: '%s' of the parts has other bits", name, out[i].name);
        }
    }
    gr_session_free(s);
    forget(&k);
    zoo_free(&in);
}

static void zoo_case(const char *name, const char *folder, const char *dtype, void *user)
{
    char path[1024];
    gr_err err = {0};
    gr_model *m = NULL;
    const gr_graph *g;
    gr_variant plain = {0};
    (void)user;
    if (strcmp(dtype, "float32")) return;
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    gr_arena *arena = gr_arena_new();
    gr_status status = gr_model_load(path, NULL, &m, &err);
    if (status == GR_OK) status = gr_model_graph(m, &plain, &g, &err);
    if (status != GR_OK) FAIL("%s: %s", name, err.text);
    snprintf(path, sizeof path, "%s/test_data_set_1", folder);
    if (!zoo_exists(path)) snprintf(path, sizeof path, "%s/test_data_set_0", folder);
    if (status == GR_OK && mixes_opsets(g)) mixed++;
    else if (status == GR_OK) one_set(name, m, g, arena, path);
    gr_arena_free(arena);
    gr_model_free(m);
}

static void test_zoo(void)
{
    int n = zoo_each(zoo_case, NULL);
    if (!n) printf("(there is none) ");
    else printf("(%d models in parts, %d outputs, %d left out) ", chained, outputs_compared, mixed);
    CU_ASSERT_TRUE(!n || outputs_compared >= chained);
}

/* ---- cuts by name ---- */

static void test_names(void)
{
    gr_err err = {0};
    gr_model *m = NULL;
    const gr_graph *g = NULL;
    gr_variant plain = {0};
    gr_outline o;
    gr_arena *arena = gr_arena_new();
    gr_cut cut = {0};
    gr_doc *doc;
    CHECK_OK(gr_model_load(GR_SOURCE_DIR "/models/bert-tiny-encoder/model.onnx", NULL, &m, &err));
    CHECK_OK(gr_model_graph(m, &plain, &g, &err));
    CHECK_OK(gr_outline_make(g, arena, &o, &err));
    CHECK_OK(gr_extract_find(&o, "encoder.layer.1", false, arena, &cut.nfrom, &cut.from, &err));
    CHECK_OK(gr_extract_find(&o, "pooler", true, arena, &cut.nto, &cut.to, &err));
    CHECK_OK(gr_extract(g, &cut, &doc, &err));
    CU_ASSERT_EQUAL(doc->graph->in.count, 2); /* hidden states and mask */
    CU_ASSERT_EQUAL(doc->graph->out.count, 1);
    for (size_t i = 0; i < doc->graph->ninit; i++) CU_ASSERT_PTR_NULL(strstr(doc->graph->init[i]->name, "layer.0"));
    gr_doc_free(doc);
    cut.nfrom = 1; /* without the mask, or the hidden states */
    CHECK_FAILS(gr_extract(g, &cut, &doc, &err), GR_EINVAL, "also needs '");
    cut.nfrom = 0; /* from the model's own inputs */
    CHECK_OK(gr_extract(g, &cut, &doc, &err));
    CU_ASSERT_EQUAL(doc->graph->in.count, gr_model_input_count(m));
    gr_doc_free(doc);
    gr_cut back = {cut.nto, 1, cut.to, o.parts[0].outputs};
    CHECK_FAILS(gr_extract(g, &back, &doc, &err), GR_EINVAL, "also needs");
    gr_cut same = {cut.nto, cut.nto, cut.to, cut.to};
    CHECK_FAILS(gr_extract(g, &same, &doc, &err), GR_EINVAL, "given and to be made");
    CHECK_FAILS(gr_extract_find(&o, "encoder.layer.7", true, arena, &cut.nto, &cut.to, &err), GR_EINVAL, "no part");
    gr_arena_free(arena);
    gr_model_free(m);
}

static CU_TestInfo tests[] = {{"parts one after another", test_zoo}, {"cuts by name", test_names}, CU_TEST_INFO_NULL};
CU_SuiteInfo suite_extract = {"extract", NULL, NULL, NULL, NULL, tests};
