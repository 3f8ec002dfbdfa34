/* SPDX-License-Identifier: Apache-2.0
 *
 * Graphs written as documents, and thinned out.
 */
#include "graph/lower.h"
#include "passes/pass.h"
#include "support.h"

static gr_err err;

static bool is_it(const void *user, const gr_value *v) { return v == user; }

/* Constants in 16 bits are initializers of their own, and leave with the Casts that read them. */
static void test_16_bits(void)
{
    built b =
        infer_text("<ir_version: 10, opset_import: [\"\" : 18]> g (float16[n,256] x) => (float16[n,128] y, "
                   "float16[n,128] z) <int64[2] s = {256, 128}> { w = ConstantOfShape <value = float16 {0.5}> (s)  "
                   "y = MatMul (x, w)  r = Abs (x)  v = ConstantOfShape <value = float16 {2}> (s)  "
                   "z = MatMul (r, v) }");
    gr_doc *doc = NULL;
    const gr_node **origins = NULL;
    if (!b.graph) return;
    CHECK_OK(gr_passes_run(b.graph, NULL, &err));
    CHECK_OK(gr_graph_lower_as(b.graph, &(gr_lower_options){.origins = &origins}, &doc, &err));
    const gr_value *v = gr_graph_find(b.graph, "v");
    CU_ASSERT_FATAL(doc && v && gr_is_narrow(v));
    gr_doc_graph *d = doc->graph;
    size_t kept = 0, casts = 0;
    for (size_t i = 0; i < d->nodes.count; i++) {
        const gr_value *widened = origins[i] ? NULL : gr_lower_widened(b.graph, &d->nodes.items[i]);
        casts += widened != NULL;
        if (widened == v || origins[i]) d->nodes.items[kept++] = d->nodes.items[i];
    }
    CU_ASSERT_EQUAL(casts, 2);
    CU_ASSERT_EQUAL(d->ninit, 2);
    d->nodes.count = kept;
    gr_lower_keep(b.graph, d, is_it, NULL);
    CU_ASSERT_EQUAL_FATAL(d->ninit, 1);
    CU_ASSERT_EQUAL(d->init[0]->dtype, GR_FLOAT16);
    for (size_t i = 0; i < kept; i++)
        if (gr_lower_widened(b.graph, &d->nodes.items[i]))
            CU_ASSERT_STRING_EQUAL(d->nodes.items[i].in.items[0], d->init[0]->name);
    gr_doc_free(doc);
    built_free(&b);
}

static CU_TestInfo tests[] = {
    {"16 bits", test_16_bits},
    CU_TEST_INFO_NULL,
};

extern CU_SuiteInfo suite_lower;
CU_SuiteInfo suite_lower = {"lower", NULL, NULL, NULL, NULL, tests};
