/* SPDX-License-Identifier: Apache-2.0
 *
 * Saving optimised models: what a fused operator's function body computes is what its kernels compute, and a saved
 * model is the model.
 */
#include "graph/lower.h"
#include "hostile.h"
#include "inspect/optimize.h"
#include "op_case.h"
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

static CU_TestInfo tests[] = {
    {"every fused operator has a body", test_all_have_bodies},
    {"bodies compute what kernels do", test_bodies},
    CU_TEST_INFO_NULL,
};
extern CU_SuiteInfo suite_optimize;
CU_SuiteInfo suite_optimize = {"optimize", scratch_make, scratch_remove, NULL, NULL, tests};
