/* SPDX-License-Identifier: Apache-2.0
 *
 * From documents to graphs: functions, captures, order, constants in all their spellings, and what must be refused.
 * Graphs without inputs fold, so that their outputs tell what was built.
 */
#include "support.h"
#include <stdio.h>

static gr_err err;

#define HEAD "<ir_version: 10, opset_import: [\"\" : 17, \"d\" : 1]> "

static void check_refused(const char *text, gr_status status, const char *part)
{
    built b;
    err.text[0] = 0;
    gr_status got = build_text(text, &b, &err);
    CHECK_THAT(got == status && strstr(err.text, part), "expected %s with '%s', got %s: %s\n%s", gr_status_text(status),
               part, gr_status_text(got), err.text, text);
    if (got == GR_OK) built_free(&b);
}

/* Build, fold, and compare an output with numbers. */
static void check_folds(const char *text, const char *name, int64_t count, const double *want)
{
    built b = infer_text(text);
    if (!b.graph) return;
    const gr_tensor *t = NULL;
    for (size_t i = 0; i < b.graph->noutputs; i++)
        if (!strcmp(b.graph->output_names[i], name)) t = b.graph->outputs[i]->konst;
    if (!t || t->elements != count) FAIL("'%s' is not a constant of %lld elements\n%s", name, (long long)count, text);
    for (int64_t i = 0; t && t->elements == count && i < count; i++)
        CHECK_THAT(element_of(t, i) == want[i], "'%s'[%lld] is %g, expected %g", name, (long long)i, element_of(t, i),
                   want[i]);
    built_free(&b);
}
#define CHECK_FOLDS(text, name, ...)                                                                                   \
    check_folds(text, name, (int64_t)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)), (double[]){__VA_ARGS__})

/* ---- functions ---- */

static void test_functions(void)
{
    static const char text[] =
        HEAD "g (float[N] x) => (float[N] y) { a = d.twice (x)  y = d.twice (a) }\n"
             "<domain: \"d\", opset_import: [\"\" : 17]> twice (x) => (y) { t = d.same (x)  y = Add (t, t) }\n"
             "<domain: \"d\", opset_import: [\"\" : 17]> same (x) => (y) { y = Relu (x) }";
    built b = infer_text(text);
    if (!b.graph) return;
    CU_ASSERT_TRUE(count_ops(b.graph, "Add") == 2 && count_ops(b.graph, "Relu") == 2);
    CU_ASSERT_STRING_EQUAL(type_of_value(b.graph, "a/t/y"), "float[N]"); /* inner values bear the names of the calls */
    CU_ASSERT_STRING_EQUAL(b.graph->output_names[0], "y");
    built_free(&b);
    CHECK_FOLDS(HEAD "g () => (float[1] y) <float[1] x = {3.0}> { y = d.f (x) }\n"
                     "<domain: \"d\", opset_import: [\"\" : 17]> f (x, absent) => (y) { y = Clip (x, absent, absent) }",
                "y", 3); /* an input that the call leaves out is absent in the body */
    CHECK_FOLDS(HEAD "g () => (float[1] b) <float[1] x = {3.0}> { a, b = d.f (x, x) }\n"
                     "<domain: \"d\", opset_import: [\"\" : 17]> f (x, y) => (x, z) { z = Sub (x, y) }",
                "b", 0);
}

static void test_attribute_references(void)
{
    static const char function[] = "<domain: \"d\", opset_import: [\"\" : 17]> f <a, b: int = 1> (x) => (y) "
                                   "{ t = Concat <axis = @b> (x, x)  y = Transpose <perm = @a> (t) }";
    char text[1024];
    snprintf(text, sizeof text,
             HEAD "g () => (float[2,2] y) <float[2,1] x = {1.0, 2.0}> { y = d.f <a = [1, 0]> (x) }\n%s", function);
    CHECK_FOLDS(text, "y", 1, 2, 1, 2);
    snprintf(text, sizeof text,
             HEAD "g () => (float[4,1] y) <float[2,1] x = {1.0, 2.0}> { y = d.f <a = [0, 1], b = 0> (x) }\n%s",
             function);
    CHECK_FOLDS(text, "y", 1, 2, 1, 2);
    snprintf(text, sizeof text, HEAD "g () => (float[2,2] y) <float[2,1] x = {1.0, 2.0}> { y = d.f (x) }\n%s",
             function);
    CHECK_FOLDS(text, "y", 1, 2, 1, 2); /* nothing given: the attribute is absent, and Transpose reverses the axes */
    check_refused(HEAD "g (float[2] x) => (float[2] y) { y = Softmax <axis = @a> (x) }", GR_EMODEL,
                  "refers to a function");
    CHECK_FOLDS(HEAD "g () => (float[2] y) <float[2] x = {1.0, 2.0}, bool c = {1}> { y = d.f <n = 7.0> (x, c) }\n"
                     "<domain: \"d\", opset_import: [\"\" : 17]> f <n> (x, c) => (y) { "
                     "k = Constant <value_float = @n> ()  y = Add (x, k) }",
                "y", 8, 9);
}

static void test_bad_functions(void)
{
    check_refused(HEAD "g (float[2] x) => (float[2] y) { y = d.f (x) }\n"
                       "<domain: \"d\", opset_import: [\"\" : 17]> f (x) => (y) { y = d.f (x) }",
                  GR_EMODEL, "calls itself");
    check_refused(HEAD "g (float[2] x) => (float[2] y) { y = d.f (x, x) }\n"
                       "<domain: \"d\", opset_import: [\"\" : 17]> f (x) => (y) { y = Relu (x) }",
                  GR_EMODEL, "2 inputs");
    check_refused(HEAD "g (float[2] x) => (float[2] y) { y = d.f (x) }\n"
                       "<domain: \"d\", opset_import: [\"\" : 17]> f (x) => (y) { z = Relu (x) }",
                  GR_EMODEL, "does not define");
    check_refused(HEAD "g (float[2] x) => (float[2] y) { y = d.f (x) }\n"
                       "<domain: \"d\", opset_import: [\"\" : 17]> f (x) => (y) { y = Relu (x) }\n"
                       "<domain: \"d\", opset_import: [\"\" : 17]> f (x) => (y) { y = Relu (x) }",
                  GR_EMODEL, "twice");
    check_refused(HEAD "g (float[2] x, float[2] z) => (float[2] y) { y = d.f (x) }\n"
                       "<domain: \"d\", opset_import: [\"\" : 17]> f (x) => (y) { y = Add (x, z) }",
                  GR_EMODEL, "'z'");
    char text[8192] = HEAD "g (float[2] x) => (float[2] y) { y = d.f0 (x) }\n", part[256];
    for (int i = 0; i < 40; i++) { /* 2^40 nodes when inlined */
        snprintf(part, sizeof part,
                 "<domain: \"d\", opset_import: [\"\" : 17]> f%d (x) => (y) { t = d.f%d (x) y = d.f%d (t) }\n", i,
                 i + 1, i + 1);
        strcat(text, part);
    }
    strcat(text, "<domain: \"d\", opset_import: [\"\" : 17]> f40 (x) => (y) { y = Relu (x) }");
    check_refused(text, GR_ELIMIT, "larger than the limit");
}

/* ---- subgraphs ---- */

static void test_captures(void)
{
    static const char text[] = HEAD
        "g (bool c, float[N] x, float[N] z) => (float[N] y) <float[1] k = {2.0}> {\n"
        "  t = Relu (z)\n"
        "  y = If (c) <then_branch = a () => (float[N] p) { p = Mul (x, k) },\n"
        "    else_branch = b () => (float[N] q) { q = If (c) <then_branch = e () => (float[N] r) { r = Add (t, x) },\n"
        "      else_branch = f () => (float[N] s) { s = Identity (t) }> }>\n"
        "}";
    built b = infer_text(text);
    if (!b.graph) return;
    const gr_node *n = find_op(b.graph, "If");
    CU_ASSERT_PTR_NOT_NULL_FATAL(n);
    CU_ASSERT_TRUE(n->nsubgraphs == 2 && n->nin == 1 + n->ncaptured &&
                   n->ncaptured == 3); /* x, t and c; k is constant */
    for (uint32_t i = 0; i < 2; i++) {
        const gr_graph *s = n->subgraphs[i];
        CU_ASSERT_TRUE(s->parent == b.graph && s->ncaptured == 3 && s->ninputs == 3);
        for (uint32_t k = 0; k < 3; k++) CU_ASSERT_TRUE(s->inputs[k]->is_input);
    }
    CU_ASSERT_STRING_EQUAL(type_of_value(b.graph, "t"), "float[N]");
    built_free(&b);
    check_refused(HEAD
                  "g (bool c) => (float[1] y) { y = If (c) <then_branch = a () => (float[1] p) { p = Relu (nothing) }, "
                  "else_branch = b () => (float[1] q) { q = Relu (nothing) }> }",
                  GR_EMODEL, "'nothing'");
    check_refused(HEAD "g (bool c) => (float[1] y) { y = If (c) }", GR_EMODEL, "lacks its graph");
}

/* A graph inside a node has names of its own, which may be those of values that the node's neighbours make. */
static void test_hidden_names(void)
{
    built b = infer_text(HEAD "g (bool c, float[N] x) => (float[N] y, float[N] t) {\n"
                              "  y = If (c) <then_branch = a () => (float[N] y) { t = Neg (x)  y = Abs (t) },\n"
                              "              else_branch = b () => (float[N] y) { y = Relu (t) }>\n  t = Exp (x)\n}");
    if (!b.graph) return;
    const gr_node *n = b.graph->last;
    CU_ASSERT_STRING_EQUAL(n->op->name, "If"); /* one branch has a t of its own, the other reads the one outside */
    CU_ASSERT_EQUAL(n->ncaptured, 2);
    built_free(&b);
}

/* What a branch reads may be made by a node that the file has later. */
static void test_order(void)
{
    built b = infer_text(HEAD "g (bool c, float[N] x) => (float[N] y) {\n"
                              "  y = If (c) <then_branch = a () => (float[N] p) { p = Neg (w) }, else_branch = "
                              "b () => (float[N] q) { q = Identity (w) }>\n"
                              "  w = Add (v, u)  v = Relu (u)  u = Relu (x)\n}");
    if (b.graph) {
        const char *order[] = {"Relu", "Relu", "Add", "If"};
        const gr_node *n = b.graph->first;
        for (int i = 0; i < 4 && n; i++, n = n->next) CU_ASSERT_STRING_EQUAL(n->op->name, order[i]);
        built_free(&b);
    }
    check_refused(HEAD "g (float[1] x) => (float[1] y) { y = Add (x, z)  z = Relu (w)  w = Neg (y) }", GR_EMODEL,
                  "depends on itself");
    check_refused(HEAD "g (float[1] x) => (float[1] y) { y = Relu (y) }", GR_EMODEL, "depends on itself");
}

/* ---- what must be refused ---- */

static void test_names(void)
{
    check_refused(HEAD "g (float[1] x) => (float[1] y) { y = Relu (x)  y = Neg (x) }", GR_EMODEL, "defined already");
    check_refused(HEAD "g (float[1] x) => (float[1] y) { x = Relu (x)  y = Neg (x) }", GR_EMODEL, "defined already");
    check_refused(HEAD "g (float[1] x, float[1] x) => (float[1] y) { y = Relu (x) }", GR_EMODEL, "defined twice");
    check_refused(HEAD "g (float[1] x) => (float[1] y) <float w = {1.0}, float w = {1.0}> { y = Add (x, w) }",
                  GR_EMODEL, "'w' is defined twice");
    check_refused(HEAD "g (float[1] x) => (float[1] y) { y = Relu (z) }", GR_EMODEL, "'z'");
    check_refused(HEAD "g (float[1] x) => (float[1] y) { z = Relu (x) }", GR_EMODEL, "'y'");
    check_refused(HEAD "g (float[1] x) => (float[1] y) { y = Add (x) }", GR_EMODEL, "1 inputs");
    check_refused(HEAD "g (float[1] x) => (float[1] y) { y = Relu (x, x) }", GR_EMODEL, "2 inputs");
    check_refused(HEAD "g (float[1] x) => (float[1] y) { y = Add (, x) }", GR_EMODEL, "lacks input 0");
    check_refused(HEAD "g (float[1] x) => (float[1] y) { y, z = Relu (x) }", GR_EMODEL, "2 outputs");
}

static void test_missing(void)
{
    check_refused(HEAD "g (float[1] x) => (float[1] y) { a = Quux (x)  b = com.example.Frob (a)  c = Quux (b)\n"
                       "  [n0] d = Attention (c)  y = Relu (d) }",
                  GR_EUNSUPPORTED, "Quux of opset 17 (2 nodes, first 'a')");
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "com.example.Frob"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "Attention of opset 17, known from opset 23"));
    check_refused(HEAD "g (bool c, float[1] x) => (float[1] y) { y = If (c) <then_branch = a () => (float[1] p) "
                       "{ p = Quux (x) }, else_branch = b () => (float[1] q) { q = Corge (x) }> }",
                  GR_EUNSUPPORTED, "Quux");
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "Corge"));
}

static void test_opsets(void)
{
#define BODY "g (float[1] x) => (float[1] y) { y = Relu (x) }"
    check_refused("<ir_version: 10, opset_import: [\"\" : 99]> " BODY, GR_EUNSUPPORTED, "opset 99");
    check_refused("<ir_version: 10, opset_import: [\"\" : 0]> " BODY, GR_EMODEL, "opset 0");
    check_refused("<ir_version: 10, opset_import: [\"d\" : 1]> " BODY, GR_EMODEL, "does not import");
    check_refused("<ir_version: 10, opset_import: [\"\" : 12, \"ai.onnx\" : 13]> " BODY, GR_EMODEL, "twice");
    check_refused("<ir_version: 99, opset_import: [\"\" : 12]> " BODY, GR_EUNSUPPORTED, "IR version 99");
    check_refused("<ir_version: 0, opset_import: [\"\" : 12]> " BODY, GR_EMODEL, "IR version");
    built b = infer_text("<ir_version: 10, opset_import: [\"ai.onnx\" : 12]> " BODY);
    CU_ASSERT_TRUE(b.graph && b.graph->opset == 12);
    built_free(&b);
    /* A function has imports of its own: Softmax changed its meaning in between. */
    b = infer_text("<ir_version: 10, opset_import: [\"\" : 17, \"d\" : 1]> g (float[2,3] x) => (float[2,3] y) "
                   "{ t = d.f (x)  y = Softmax (t) }\n"
                   "<domain: \"d\", opset_import: [\"\" : 11]> f (x) => (y) { y = Softmax (x) }");
    CU_ASSERT_TRUE(b.graph && b.graph->first->op->since < 13 && b.graph->last->op->since == 13);
    built_free(&b);
}

/* ---- constants ---- */

static void test_overridable(void)
{
    static const char text[] =
        HEAD "g (float[2] x, float[2] w) => (float[2] y) <float[2] w = {1.0, 2.0}> { y = Add (x, w) }";
    const char *name = "w";
    const gr_doc_names fed = {1, &name};
    gr_doc *doc = NULL;
    gr_graph *g = NULL;
    gr_arena *arena = gr_arena_new();
    CHECK_OK(gr_doc_parse_text(text, sizeof text - 1, "text", &doc, &err));
    CHECK_OK(gr_graph_build(doc, arena, NULL, &g, &err));
    CU_ASSERT_TRUE(g->ninputs == 1 && gr_graph_find(g, "w")->konst && !gr_graph_find(g, "w")->is_input);
    CHECK_OK(gr_graph_build(doc, arena, &fed, &g, &err));
    CU_ASSERT_TRUE(g->ninputs == 2 && !gr_graph_find(g, "w")->konst && gr_graph_find(g, "w")->is_input);
    CHECK_OK(gr_graph_check(g, &err));
    gr_arena_free(arena);
    gr_doc_free(doc);
}

static void test_constants(void)
{
    CHECK_FOLDS(HEAD "g () => (float y) { y = Constant <value_float = 2.5> () }", "y", 2.5);
    CHECK_FOLDS(HEAD "g () => (int64 y) { y = Constant <value_int = 7> () }", "y", 7);
    CHECK_FOLDS(HEAD "g () => (float[2] y) { y = Constant <value_floats = [1.0, 2.0]> () }", "y", 1, 2);
    CHECK_FOLDS(HEAD "g () => (int64[2] y) { y = Constant <value_ints = [3, 4]> () }", "y", 3, 4);
    CHECK_FOLDS(HEAD "g () => (float[2] y) { y = Constant <value = float[2] {5.0, 6.0}> () }", "y", 5, 6);
    CHECK_FOLDS(HEAD "g () => (int32[2] y) { t = Constant <value = int32[2] {5, 6}> ()  y = Identity (t) }", "y", 5, 6);
    CHECK_FOLDS(HEAD "g () => (bool[2] y) { y = Constant <value = bool[2] {0, 1}> () }", "y", 0, 1);
    CHECK_FOLDS(HEAD "g () => (float[4] y) { y = Constant <sparse_value: sparse_tensor = sparse_tensor(float[4]) "
                     "(float[2] {1.0, 2.0}, int64[2] {0, 3})> () }",
                "y", 1, 0, 0, 2);
    check_refused(HEAD "g () => (float y) { y = Constant () }", GR_EMODEL, "no value");
    check_refused(HEAD "g () => (float y) { y = Constant <value_float = 1.0, value_int = 2> () }", GR_EMODEL,
                  "two values");
    check_refused(HEAD "g () => (float y) { y = Constant <value_string = \"a\"> () }", GR_EUNSUPPORTED, "strings");
}

static void test_sparse(void)
{
    CHECK_FOLDS(HEAD "g () => (float[2,3] y) <sparse_tensor(float[2,3]) w = (float[2] {1.0, 2.0}, int64[2] {1, 5})> "
                     "{ y = Identity (w) }",
                "y", 0, 1, 0, 0, 0, 2);
    CHECK_FOLDS(HEAD
                "g () => (float[2,3] y) <sparse_tensor(float[2,3]) w = (float[2] {1.0, 2.0}, int64[2,2] {0, 1, 1, 2})> "
                "{ y = Identity (w) }",
                "y", 0, 1, 0, 0, 0, 2);
    check_refused(HEAD "g () => (float[2,3] y) <sparse_tensor(float[2,3]) w = (float[1] {1.0}, int64[1] {6})> "
                       "{ y = Identity (w) }",
                  GR_EMODEL, "index 6");
    check_refused(HEAD "g () => (float[2,3] y) <sparse_tensor(float[2,3]) w = (float[1] {1.0}, int64[1,2] {0, 3})> "
                       "{ y = Identity (w) }",
                  GR_EMODEL, "index 3");
    check_refused(HEAD "g () => (float[2,3] y) <sparse_tensor(float[2,3]) w = (float[1] {1.0}, int64[1] {-1})> "
                       "{ y = Identity (w) }",
                  GR_EMODEL, "index -1");
    check_refused(HEAD "g () => (float[2,3] y) <sparse_tensor(float[2,3]) w = (float[2] {1.0, 2.0}, int64[1] {0})> "
                       "{ y = Identity (w) }",
                  GR_EMODEL, "do not fit");
    check_refused(HEAD
                  "g () => (float[2,3] y) <sparse_tensor(float[1000000,1000000]) w = (float[1] {1.0}, int64[1] {0})> "
                  "{ y = Identity (w) }",
                  GR_ELIMIT, "too large");
}

static CU_TestInfo tests[] = {
    {"functions", test_functions},
    {"attribute references", test_attribute_references},
    {"bad functions", test_bad_functions},
    {"captured values", test_captures},
    {"names inside", test_hidden_names},
    {"order of nodes", test_order},
    {"names and counts", test_names},
    {"missing operators", test_missing},
    {"opsets", test_opsets},
    {"overridable initializers", test_overridable},
    {"constants", test_constants},
    {"sparse tensors", test_sparse},
    CU_TEST_INFO_NULL,
};
CU_SuiteInfo suite_build = {"build", NULL, NULL, NULL, NULL, tests};
