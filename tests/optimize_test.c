/* SPDX-License-Identifier: Apache-2.0
 *
 * Saving optimised models: what a fused operator's function body computes is what its kernels compute, and a saved
 * model is the model.
 */
#include "compare.h"
#include "graph/lower.h"
#include "hostile.h"
#include "inspect/optimize.h"
#include "op_case.h"
#include "zoo.h"
#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_VALUES = 24 };

static gr_err err;

/* ---- function bodies ---- */

static bool is_ours(const gr_op *op) { return op->domain && !strcmp(op->domain, "graphrun"); }

static void test_all_have_bodies(void)
{
    int count = 0;
    for (size_t f = 0; gr_op_families[f]; f++)
        for (const gr_op *op = gr_op_families[f]; op->name; op++) {
            if (!is_ours(op)) continue;
            if (!op->function) FAIL("graphrun.%s has no function body", op->name);
            count++;
        }
    CU_ASSERT(count >= 5);
}

static int bodies;

static gr_spell_fn every_body(const gr_node *n) { return n->op->function; }

static void run_saved(const op_case *c, const char *path)
{
    running r;
    gr_named_tensor in[MAX_VALUES], out[MAX_VALUES];
    char why[256];
    gr_model_options options = {.struct_size = sizeof options, .no_passes = true};
    if (!open_file(path, &options, NULL, &r)) return;
    for (size_t i = 0; i < c->nin; i++)
        in[i] = (gr_named_tensor){
            c->in[i]->name, {c->in[i]->dtype, c->in[i]->rank, c->in[i]->dims, (void *)c->in[i]->data, c->in[i]->size}};
    for (size_t i = 0; i < c->nout; i++) out[i] = WANTED(c->doc->graph->out.items[i].name);
    if (gr_session_run(r.session, in, c->nin, out, c->nout, &err) != GR_OK) {
        case_fails(c, "%s", err.text);
    } else {
        for (size_t i = 0; i < c->nout; i++) {
            const gr_tensor_view *v = &out[i].tensor;
            gr_tensor t = {.kind = GR_KIND_TENSOR, .dtype = v->type, .rank = v->rank, .data = v->data, .size = v->size};
            memcpy(t.dims, v->dims, (size_t)v->rank * sizeof *v->dims);
            gr_elements(t.rank, t.dims, &t.elements);
            if (!same_tensor(&t, c->want[i], why, sizeof why)) case_fails(c, "the body's '%s' %s", out[i].name, why);
        }
        bodies++;
    }
    close_running(&r);
}

/* The body in the opset of the case, and in others that spell it differently. */
static void check_body(op_case *c)
{
    built b;
    gr_doc *doc = NULL;
    static const int64_t opsets[] = {0, 11, 13, 14, 17, 18, 20, 23};
    if (c->bad || c->nin > MAX_VALUES || c->nout > MAX_VALUES || build_case(c, KEEP_NONE, &b, &err) != GR_OK) return;
    const gr_node *n = b.graph->first;
    bool one = n && !n->next && is_ours(n->op);
    if (one && gr_graph_infer(b.graph, 0, &err) != GR_OK) case_fails(c, "%s", err.text);
    for (size_t i = 0; one && i < sizeof opsets / sizeof *opsets; i++) {
        if (opsets[i]) b.graph->opset = opsets[i];
        gr_status status = gr_graph_lower_as(b.graph, &(gr_lower_options){.body = every_body}, &doc, &err);
        if (i && status == GR_EUNSUPPORTED) continue; /* older opsets lack what it needs */
        if (status != GR_OK || gr_doc_save(doc, scratch_path("case.onnx"), &err) != GR_OK)
            case_fails(c, "%s", err.text);
        else
            run_saved(c, scratch_path("case.onnx"));
        gr_doc_free(doc);
        doc = NULL;
    }
    built_free(&b);
}

static void test_bodies(void)
{
    DIR *d = opendir(GR_SOURCE_DIR "/tests/ops");
    CU_ASSERT_PTR_NOT_NULL_FATAL(d);
    for (struct dirent *e; (e = readdir(d));) {
        char path[512];
        if (!strstr(e->d_name, ".onnxtxt")) continue;
        snprintf(path, sizeof path, GR_SOURCE_DIR "/tests/ops/%s", e->d_name);
        CU_ASSERT_TRUE(each_case(path, check_body));
    }
    closedir(d);
    CU_ASSERT(bodies > 100);
}

/* ---- whole models ---- */

static size_t steps_of(const gr_model *m, gr_count *fused, size_t *nfused)
{
    gr_model_summary s;
    gr_model_summarize(m, &s);
    *nfused = 0;
    for (size_t i = 0; i < s.step_count; i++)
        if (!strcmp(s.steps[i].domain, "graphrun") && *nfused < MAX_VALUES) fused[(*nfused)++] = s.steps[i];
    return s.step_count;
}

/* What passes find in a saved model is what they had found in the original. */
static void check_counts(const char *name, const gr_model *a, const gr_model *b)
{
    gr_count x[MAX_VALUES], y[MAX_VALUES];
    size_t n, m;
    steps_of(a, x, &n);
    steps_of(b, y, &m);
    if (n != m) FAIL("%s: %zu kinds of fused operators, saved %zu", name, n, m);
    for (size_t i = 0; i < n && n == m; i++)
        if (strcmp(x[i].name, y[i].name) || x[i].count != y[i].count)
            FAIL("%s: %lld %s, saved %lld %s", name, (long long)x[i].count, x[i].name, (long long)y[i].count, y[i].name);
}

static void check_same(const char *name, const gr_tensor_view *a, const gr_tensor_view *b, bool bits)
{
    bool alike = a->type == b->type && a->rank == b->rank && a->size == b->size &&
                 !memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims);
    if (!alike)
        FAIL("%s: another type or shape", name);
    else
        CHECK_THAT(bits ? !memcmp(a->data, b->data, a->size)
                        : compare_tensors(b, a, &(compare_limits){.atol = 1e-4, .rtol = 1e-4, .cosine = -2}).ok,
                   "%s: other values", name);
}

static void check_runs(const char *name, const char *folder, running *a, running *b, bool bits)
{
    char path[1024];
    zoo_tensors in = {0};
    gr_named_tensor x[ZOO_TENSORS], y[ZOO_TENSORS];
    size_t n = gr_model_output_count(a->model);
    snprintf(path, sizeof path, "%s/test_data_set_0", folder);
    CHECK_OK(zoo_read(path, "input", a->model, gr_model_input, &in, &err) ? GR_OK : err.status);
    for (size_t i = 0; i < n && n < ZOO_TENSORS; i++) {
        gr_value_info info;
        gr_model_output(a->model, i, &info);
        x[i] = y[i] = WANTED(info.name);
    }
    CHECK_OK(gr_session_run(a->session, in.views, in.count, x, n, &err));
    CHECK_OK(gr_session_run(b->session, in.views, in.count, y, n, &err));
    for (size_t i = 0; i < n && n < ZOO_TENSORS; i++) check_same(name, &x[i].tensor, &y[i].tensor, bits);
    zoo_free(&in);
}

static void check_form(const char *name, const char *folder, running *a, gr_form form, bool plain)
{
    static const char *const names[] = {"native", "standard", "contrib"};
    char title[256];
    running b;
    gr_doc *doc = NULL;
    const char *path = scratch_path("form.onnx");
    snprintf(title, sizeof title, "%s, %s", name, names[form]);
    gr_status status = gr_optimize(a->model, form, &doc, &err);
    if (status == GR_OK) status = gr_doc_save(doc, path, &err);
    gr_doc_free(doc);
    if (status != GR_OK) FAIL("%s: %s", title, err.text);
    if (status != GR_OK || !open_file(path, NULL, NULL, &b)) return;
    check_runs(title, folder, a, &b, form == GR_FORM_NATIVE);
    /* Rules for quantised products may find more in what they have left. */
    if (form == GR_FORM_NATIVE && plain) check_counts(title, a->model, b.model);
    close_running(&b);
}

static void check_model(const char *name, const char *folder, const char *dtype, void *user)
{
    char path[1024];
    running a;
    (void)user;
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    if (!zoo_exists(path) || !open_file(path, NULL, NULL, &a)) return;
    bool plain = !strcmp(dtype, "float32");
    check_form(name, folder, &a, GR_FORM_NATIVE, plain);
    if (plain) check_form(name, folder, &a, GR_FORM_STANDARD, plain);
    if (plain) check_form(name, folder, &a, GR_FORM_CONTRIB, plain);
    close_running(&a);
}

static void test_models(void)
{
    check_model("bert-tiny", GR_SOURCE_DIR "/models/bert-tiny", "float32", NULL);
    check_model("bert-tiny-cls", GR_SOURCE_DIR "/models/bert-tiny-cls", "float32", NULL);
    check_model("gpt2-tiny", GR_SOURCE_DIR "/models/gpt2-tiny", "float32", NULL);
}

static void test_zoo(void)
{
    int cases = zoo_each(check_model, NULL);
    printf("(%d cases) ", cases);
}

/* ---- what is kept, and where it goes ---- */

static const char annotated[] =
    "<ir_version: 9, opset_import: [\"\" : 11], producer_name: \"somebody\", model_version: 7, doc_string: \"a model\",\n"
    " metadata_props: [\"task\": \"none\"]>\n"
    "agraph (float[rows, 64] x) => (float[rows, 64] y)\n"
    "<float[64, 64] w = {%s}, float[64] b = {%s}>\n"
    "{ p = MatMul (x, w)\n  s = Add (p, b)\n  y = Relu (s) }\n";

static gr_model *load_annotated(char **text)
{
    gr_model *m = NULL;
    char *w = calloc(64 * 64 * 4 + 1, 1), *b = calloc(64 * 4 + 1, 1);
    for (size_t i = 0; i < 64 * 64; i++) memcpy(w + 4 * i, i ? ",0.5" : " 0.5", 4);
    for (size_t i = 0; i < 64; i++) memcpy(b + 4 * i, i ? ", -1" : "  -1", 4);
    size_t room = sizeof annotated + 64 * 65 * 4 + 16;
    *text = malloc(room);
    snprintf(*text, room, annotated, w, b);
    CHECK_OK(gr_model_load_memory(*text, strlen(*text), NULL, NULL, &m, &err));
    free(w);
    free(b);
    return m;
}

static void check_annotations(const gr_doc *d)
{
    const gr_doc_type *x = d->graph->in.items[0].type, *y = d->graph->out.items[0].type;
    CU_ASSERT_STRING_EQUAL(d->doc_string, "a model");
    CU_ASSERT_STRING_EQUAL(d->graph->name, "agraph");
    CU_ASSERT_EQUAL(d->model_version, 7);
    CU_ASSERT_EQUAL(d->ir_version, 9);
    CU_ASSERT_EQUAL_FATAL(d->metadata.count, 1);
    CU_ASSERT_STRING_EQUAL(d->metadata.items[0].value, "none");
    CU_ASSERT_STRING_EQUAL(x->dims[0].param, "rows");
    CU_ASSERT_STRING_EQUAL(y->dims[0].param, "rows");
    CU_ASSERT_EQUAL(d->opsets.items[0].version, 11);
}

static void test_annotations(void)
{
    char *text;
    gr_model *m = load_annotated(&text);
    gr_doc *d = NULL;
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    CHECK_OK(gr_optimize(m, GR_FORM_NATIVE, &d, &err));
    check_annotations(d);
    CU_ASSERT_EQUAL(d->graph->nodes.count, 1);
    CU_ASSERT_EQUAL(d->opsets.count, 2);
    gr_doc_free(d);
    CHECK_OK(gr_optimize(m, GR_FORM_STANDARD, &d, &err));
    check_annotations(d);
    CU_ASSERT_EQUAL(d->opsets.count, 1);
    gr_doc_free(d);
    gr_model_free(m);
    free(text);
}

static void test_external_data(void)
{
    char *text;
    gr_model *m = load_annotated(&text);
    gr_doc *d = NULL, *again = NULL;
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    CHECK_OK(gr_optimize(m, GR_FORM_NATIVE, &d, &err));
    CHECK_OK(gr_doc_save_as(d, scratch_path("m.onnx"), &(gr_save_options){.external = "w.bin"}, &err));
    CHECK_OK(gr_doc_load(scratch_path("m.onnx"), NULL, &again, &err));
    const gr_doc_tensor *w = again->graph->init[0], *b = again->graph->init[1];
    CU_ASSERT_EQUAL_FATAL(w->size, 64 * 64 * 4);
    CU_ASSERT_TRUE(w->external.count == 3 && !b->external.count); /* the row is short and stays inside */
    CU_ASSERT_EQUAL(memcmp(w->data, d->graph->init[0]->data, w->size), 0);
    gr_doc_free(again);
    /* Too large for one file, which one can choose here. */
    CHECK_OK(gr_doc_save_as(d, scratch_path("big.onnx"), &(gr_save_options){.max_inside = 4096}, &err));
    CU_ASSERT_EQUAL(access(scratch_path("big.onnx.data"), F_OK), 0);
    CHECK_OK(gr_doc_load(scratch_path("big.onnx"), NULL, &again, &err));
    CU_ASSERT_EQUAL(memcmp(again->graph->init[0]->data, d->graph->init[0]->data, 64 * 64 * 4), 0);
    gr_doc_free(again);
    static const char *const wrong[] = {"", "/tmp/w.bin", "../w.bin", "a/../w.bin", "a/..", "no/", "m.onnx", "none/w.bin"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CU_ASSERT_NOT_EQUAL(gr_doc_save_as(d, scratch_path("m.onnx"), &(gr_save_options){.external = wrong[i]}, &err),
                            GR_OK);
    gr_doc_free(d);
    gr_model_free(m);
    free(text);
}

/* A function that imports an older opset than the model holds a Softmax that means something else in the model's. */
static void test_mixed_opsets(void)
{
    static const char text[] = "<ir_version: 9, opset_import: [\"\" : 17, \"own\" : 1]>\n"
                               "g (float[2, 3, 4] x) => (float[2, 3, 4] y) { y = own.soft (x) }\n"
                               "<domain: \"own\", opset_import: [\"\" : 11]> soft (x) => (y) { y = Softmax (x) }\n";
    gr_model *m = NULL;
    gr_doc *d = NULL;
    CHECK_OK(gr_model_load_memory(text, sizeof text - 1, NULL, NULL, &m, &err));
    CHECK_FAILS(gr_optimize(m, GR_FORM_STANDARD, &d, &err), GR_EUNSUPPORTED, "Softmax of opset 11");
    gr_model_free(m);
}

static void test_out_of_memory(void)
{
    char *text;
    gr_model *m = load_annotated(&text);
    gr_status status = GR_ENOMEM;
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    for (long n = 1; status == GR_ENOMEM && n < 10000; n++) {
        gr_doc *d = NULL;
        gr_malloc_fail_after(n);
        status = gr_optimize(m, GR_FORM_STANDARD, &d, &err);
        if (status == GR_OK) status = gr_doc_save(d, scratch_path("memory.onnx"), &err);
        gr_malloc_fail_after(0);
        gr_doc_free(d);
    }
    CU_ASSERT_EQUAL(status, GR_OK);
    gr_model_free(m);
    free(text);
}

static CU_TestInfo tests[] = {
    {"every fused operator has a body", test_all_have_bodies},
    {"bodies compute what kernels do", test_bodies},
    {"models of this tree", test_models},
    {"zoo", test_zoo},
    {"what a file says is kept", test_annotations},
    {"external data", test_external_data},
    {"functions of other opsets", test_mixed_opsets},
    {"out of memory", test_out_of_memory},
    CU_TEST_INFO_NULL,
};
extern CU_SuiteInfo suite_optimize;
CU_SuiteInfo suite_optimize = {"optimize", scratch_make, scratch_remove, NULL, NULL, tests};
