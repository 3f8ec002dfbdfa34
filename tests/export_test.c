/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing ONNX files: what is written and read again says the same.
 */
#define _GNU_SOURCE
#include "doc.h"
#include "doc_equal.h"
#include "hostile.h"
#include <CUnit/CUnit.h>
#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

static gr_err err;

static void check_round_trip(const gr_doc *doc, const char *name)
{
    gr_doc *again = NULL;
    const char *path = scratch_path("saved.onnx");
    gr_status status = gr_doc_save(doc, path, &err);
    if (!status) status = gr_doc_load(path, NULL, &again, &err);
    const char *difference = status ? err.text : doc_difference(doc, again);
    CU_ASSERT_PTR_NULL(difference);
    if (difference) fprintf(stderr, "%s: %s\n", name, difference);
    gr_doc_free(again);
}

static void test_round_trip(void)
{
    bytes m = full_model();
    gr_doc *doc = NULL;
    CU_ASSERT_EQUAL_FATAL(gr_doc_load_memory(m.data, m.size, NULL, "test", NULL, &doc, &err), GR_OK);
    check_round_trip(doc, "the full model");
    check_round_trip(doc, "the full model, over itself");
    doc->graph->init[0]->elided = true;
    CU_ASSERT_EQUAL(gr_doc_save(doc, scratch_path("elided.onnx"), &err), GR_EMODEL);
    CHECK_SAYS("tensor 'empty' cannot be saved");
    CU_ASSERT_NOT_EQUAL(access(scratch_path("elided.onnx"), F_OK), 0);
    doc->graph->init[0]->elided = false;
    CU_ASSERT_EQUAL(gr_doc_save(doc, scratch_path("none/saved.onnx"), &err), GR_EIO);
    CU_ASSERT_EQUAL(gr_doc_save(doc, scratch_path("."), &err), GR_EIO);
    gr_doc_free(doc);
    bytes_free(&m);
}

static void test_out_of_memory(void)
{
    bytes m = full_model();
    gr_status status = GR_ENOMEM;
    for (long n = 1; status == GR_ENOMEM && n < 10000; n++) {
        gr_doc *doc = NULL;
        gr_malloc_fail_after(n);
        status = gr_doc_load_memory(m.data, m.size, NULL, "test", NULL, &doc, &err);
        if (!status) status = gr_doc_save(doc, scratch_path("memory.onnx"), &err);
        gr_malloc_fail_after(0);
        gr_doc_free(doc);
    }
    CU_ASSERT_EQUAL(status, GR_OK);
    bytes_free(&m);
}

/* Every model of a folder of exports. */
static void test_zoo(void)
{
    const char *zoo = getenv("GR_ZOO");
#ifdef GR_ZOO_DIR
    if (!zoo) zoo = GR_ZOO_DIR;
#endif
    DIR *d = zoo ? opendir(zoo) : NULL;
    if (!d) {
        printf("(no folder of models: skipped) ");
        return;
    }
    size_t count = 0;
    for (struct dirent *e; (e = readdir(d));) {
        char path[1024];
        gr_doc *doc = NULL;
        if (snprintf(path, sizeof path, "%s/%s/model.onnx", zoo, e->d_name) >= (int)sizeof path || access(path, R_OK))
            continue;
        gr_status status = gr_doc_load(path, NULL, &doc, &err);
        CU_ASSERT_EQUAL(status, GR_OK);
        if (status)
            fprintf(stderr, "%s\n", err.text);
        else
            check_round_trip(doc, path);
        gr_doc_free(doc);
        count++;
    }
    closedir(d);
    CU_ASSERT(count > 0);
}

static CU_TestInfo export_tests[] = {
    {"round trip", test_round_trip},
    {"out of memory", test_out_of_memory},
    {"all models", test_zoo},
    CU_TEST_INFO_NULL,
};

extern CU_SuiteInfo suite_export;
CU_SuiteInfo suite_export = {"export", scratch_make, scratch_remove, NULL, NULL, export_tests};
