/* SPDX-License-Identifier: Apache-2.0
 *
 * Inference: symbolic shapes and contents through the chains that exporters write around a model's arithmetic.
 */
#include "support.h"
#include <stdio.h>

static gr_err err;

#define HEAD "<ir_version: 10, opset_import: [\"\" : 17]> "

/* Pairs of a value's name and its type as text, NULL-ended. */
static void check_types(const char *text, const char *const *want)
{
    built b = infer_text(text);
    for (; b.graph && *want; want += 2) {
        const char *got = type_of_value(b.graph, want[0]);
        CHECK_THAT(!strcmp(got, want[1]), "'%s' is inferred as %s, expected %s", want[0], got, want[1]);
    }
    built_free(&b);
}
#define CHECK_TYPES(text, ...) check_types(text, (const char *const[]){__VA_ARGS__, NULL})

static const char *contents(const gr_graph *g, const char *name)
{
    const gr_value *v = gr_graph_find(g, name);
    char *text = gr_arena_strdup(g->arena, v && v->ivals ? "" : "unknown");
    for (int64_t i = 0; v && v->ivals && i < v->ivals->n; i++)
        text = gr_arena_printf(g->arena, "%s%s%s", text, i ? ", " : "", gr_sym_text(g->syms, v->ivals->v[i]));
    return text;
}

#define CHECK_CONTENTS(g, name, want)                                                                                  \
    CHECK_THAT(!strcmp(contents(g, name), want), "'%s' holds %s, expected %s", name, contents(g, name), want)

/* Heads split and merged the way TorchScript does it: each dimension taken out of Shape and put together again. */
static void test_split_heads(void)
{
    built b = infer_text(
        HEAD "g (float[batch, sequence, 32] x) => (float[A, B, C] y) "
             "<int64 zero = {0}, int64 one = {1}, int64[1] axes = {0}, int64[1] heads = {4}, int64[1] size = {8}, "
             "int64[1] all = {32}> {\n"
             "  s = Shape (x)  b0 = Gather <axis = 0> (s, zero)  b1 = Unsqueeze (b0, axes)\n"
             "  t = Shape (x)  n0 = Gather <axis = 0> (t, one)  n1 = Unsqueeze (n0, axes)\n"
             "  to = Concat <axis = 0> (b1, n1, heads, size)  split = Reshape (x, to)\n"
             "  turned = Transpose <perm = [0, 2, 1, 3]> (split)  keys = Transpose <perm = [0, 2, 3, 1]> (split)\n"
             "  scores = MatMul (turned, keys)  p = Softmax <axis = -1> (scores)  c = MatMul (p, turned)\n"
             "  back = Transpose <perm = [0, 2, 1, 3]> (c)  whole = Concat <axis = 0> (b1, n1, all)  y = Reshape "
             "(back, whole)\n"
             "}");
    if (!b.graph) return;
    CHECK_CONTENTS(b.graph, "b0", "batch");
    CHECK_CONTENTS(b.graph, "to", "batch, sequence, 4, 8");
    CU_ASSERT_STRING_EQUAL(type_of_value(b.graph, "split"), "float[batch, sequence, 4, 8]");
    CU_ASSERT_STRING_EQUAL(type_of_value(b.graph, "scores"), "float[batch, 4, sequence, sequence]");
    CU_ASSERT_STRING_EQUAL(type_of_value(b.graph, "y"), "float[batch, sequence, 32]");
    built_free(&b);
}

static void test_reshape_forms(void)
{
    CHECK_TYPES(HEAD "g (float[batch, sequence, 32] x) => (float[A, B, C] y) "
                     "<int64[4] a = {0, 0, -1, 8}, int64[2] rows = {-1, 32}, int64[1] flat = {-1}> {\n"
                     "  u = Reshape (x, a)  v = Reshape (x, rows)  w = Reshape (x, flat)\n"
                     "  s = Shape (x)  y = Reshape (v, s)  h = Flatten <axis = 2> (x)\n}",
                "u", "float[batch, sequence, 4, 8]", "v", "float[batch*sequence, 32]", "w", "float[32*batch*sequence]",
                "y", "float[batch, sequence, 32]", "h", "float[batch*sequence, 32]");
    /* What a run-time list makes of it is known by its length only. */
    built b = infer_text(HEAD "g (float[batch, 32] x, int64[3] to, int64[N] any) => (float[A, B, C] y) "
                              "{ y = Reshape (x, to)  z = Reshape (x, any) }");
    if (!b.graph) return;
    CU_ASSERT_EQUAL(gr_graph_find(b.graph, "y")->type.rank, 3);
    CU_ASSERT_EQUAL(gr_graph_find(b.graph, "z")->type.rank, GR_RANK_UNKNOWN);
    built_free(&b);
}

/* Expand as PyTorch exports it: -1 in the wanted shape means the dimension that is there. */
static void test_expand_guard(void)
{
    built b = infer_text(
        HEAD
        "g (int64[batch, sequence] mask) => (int64[A, B, C, D] y) "
        "<int64 zero = {0}, int64 one = {1}, int64[1] first = {0}, int64[1] ones = {1}, int64 minus = {-1}, "
        "int64[2] at = {1, 2}> {\n"
        "  s = Shape (mask)  b0 = Gather (s, zero)  n0 = Gather (s, one)  b1 = Unsqueeze (b0, first)\n"
        "  n1 = Unsqueeze (n0, first)  wide = Unsqueeze (mask, at)  want = Concat <axis = 0> (b1, ones, n1, n1)\n"
        "  count = Shape (want)  filled = ConstantOfShape <value = int64[1] {1}> (count)  guard = Mul (filled, minus)\n"
        "  asks = Equal (want, guard)  to = Where (asks, filled, want)  y = Expand (wide, to)\n}");
    if (!b.graph) return;
    CHECK_CONTENTS(b.graph, "filled", "1, 1, 1, 1");
    CHECK_CONTENTS(b.graph, "asks", "0, 0, 0, 0");
    CHECK_CONTENTS(b.graph, "to", "batch, 1, sequence, sequence");
    CU_ASSERT_STRING_EQUAL(type_of_value(b.graph, "wide"), "int64[batch, 1, 1, sequence]");
    CU_ASSERT_STRING_EQUAL(type_of_value(b.graph, "y"), "int64[batch, 1, sequence, sequence]");
    CU_ASSERT_PTR_NOT_NULL(gr_graph_find(b.graph, "asks")->konst); /* known for every input */
    built_free(&b);
}

static void test_positions(void)
{
    CHECK_TYPES(HEAD "g (int64[batch, sequence] ids, float[batch, 4, past, 8] key) => (int64[N] y) "
                     "<int64 zero = {0}, int64 one = {1}, int64 two = {2}> {\n"
                     "  s = Shape (ids)  n = Gather (s, one)  y = Range (zero, n, one)\n"
                     "  k = Shape (key)  p = Gather (k, two)  end = Add (p, n)  z = Range (p, end, one)  w = Range "
                     "(zero, end, one)\n}",
                "y", "int64[sequence]", "z", "int64[sequence]", "w",
                "int64[sequence + past]"); /* in the order they are met */
    /* BERT's table of positions, cut to the sequence, looked up and added to what has the sequence's length. */
    CHECK_TYPES(
        HEAD "g (int64[batch, sequence] ids, float[100, 32] words, float[512, 32] table, int64[1,512] positions) => "
             "(float[A, B, C] y) "
             "<int64[1] from = {0}, int64[1] axes = {1}, int64 one = {1}> {\n"
             "  s = Shape (ids)  n = Gather (s, one)  to = Unsqueeze (n, from)  p = Slice (positions, from, to, axes)\n"
             "  e = Gather (words, ids)  q = Gather (table, p)  y = Add (e, q)\n}",
        "y", "float[batch, sequence, 32]");
}

/* sqrt(sqrt(size)) on both sides of the product, from the shape of the query. */
static void test_sdpa_scale(void)
{
    built b =
        infer_text(HEAD "g (float[batch, 4, sequence, 16] q, float[batch, 4, 16, sequence] k) => (float[A, B, C, D] y) "
                        "<int64[1] last = {-1}, int64[1] end = {9223372036854775807}, float one = {1.0}> {\n"
                        "  s = Shape (q)  n = Slice (s, last, end)  f = Cast <to = 1> (n)  r = Sqrt (f)  c = Div (one, "
                        "r)  w = Cast <to = 1> (c)\n"
                        "  root = Sqrt (w)  a = Mul (q, root)  b = Mul (k, root)  y = MatMul (a, b)\n}");
    if (!b.graph) return;
    const gr_value *root = gr_graph_find(b.graph, "root");
    CU_ASSERT_PTR_NOT_NULL_FATAL(root->konst);
    CU_ASSERT_DOUBLE_EQUAL(element_of(root->konst, 0), 0.5, 1e-7);
    CU_ASSERT_STRING_EQUAL(type_of_value(b.graph, "y"), "float[batch, 4, sequence, sequence]");
    built_free(&b);
}

static void test_cache(void)
{
    CHECK_TYPES(HEAD "g (float[batch, 4, past, 8] old, float[batch, 4, sequence, 8] new, bool[1, 1, 64, 64] triangle) "
                     "=> (float[A, B, C, D] y) <int64 two = {2}, int64[1] first = {0}, int64[1] axis2 = {2}, int64[1] "
                     "axis3 = {3}> {\n"
                     "  y = Concat <axis = 2> (old, new)  s = Shape (y)  total = Gather (s, two)\n"
                     "  t = Shape (new)  n = Gather (t, two)  from = Sub (total, n)  from1 = Unsqueeze (from, first)\n"
                     "  total1 = Unsqueeze (total, first)  rows = Slice (triangle, from1, total1, axis2)\n"
                     "  mask = Slice (rows, first, total1, axis3)\n}",
                "y", "float[batch, 4, past + sequence, 8]", "total", "int64[]");
    built b =
        infer_text(HEAD "g (float[batch, 4, past, 8] old, float[batch, 4, sequence, 8] new) => (int64 from) "
                        "<int64 two = {2}> { y = Concat <axis = 2> (old, new)  s = Shape (y)  t = Gather (s, two)\n"
                        "  u = Shape (new)  n = Gather (u, two)  from = Sub (t, n) }");
    if (b.graph) CHECK_CONTENTS(b.graph, "from", "past");
    built_free(&b);
}

static void test_broadcasting(void)
{
    CHECK_TYPES(
        HEAD
        "g (float[batch, 4, sequence, sequence] scores, float[batch, 1, 1, sequence] mask, float[1, 1] one, "
        "float[M] m, float[N] n) => (float[A, B, C, D] y) { y = Add (scores, mask)  z = Mul (one, m)  w = Add (m, m)\n"
        "  c = Equal (m, one)  v = Where (c, one, m)  u = Concat <axis = 0> (m, n) }",
        "y", "float[batch, 4, sequence, sequence]", "z", "float[1, M]", "w", "float[M]", "v", "float[1, M]", "u",
        "float[M + N]");
}

static void test_unknown(void)
{
    built b = infer_text(HEAD "g (float[N] x, float any) => (int64[A, B] y) { y = NonZero (x)  z = Transpose (y)  "
                              "n = Size (z)  s = Shape (y) }");
    if (!b.graph) return;
    CU_ASSERT_TRUE(gr_graph_find(b.graph, "y")->type.rank == 2 &&
                   gr_dim_is(gr_graph_find(b.graph, "y")->type.dims[0], 1));
    CU_ASSERT_FALSE(gr_dim_known(gr_graph_find(b.graph, "y")->type.dims[1]));
    CU_ASSERT_TRUE(gr_dim_same(gr_graph_find(b.graph, "y")->type.dims[1], gr_graph_find(b.graph, "z")->type.dims[0]));
    built_free(&b);
}

static void check_refused(const char *text, const char *part)
{
    built b;
    err.text[0] = 0;
    if (build_text(text, &b, &err) != GR_OK) {
        FAIL("does not build: %s", err.text);
        return;
    }
    CHECK_FAILS(gr_graph_infer(b.graph, 1 << 20, &err), err.status, part);
    built_free(&b);
}

static void test_refusals(void)
{
    check_refused(HEAD "g (float[2] x, float[3] z) => (float[2] y) { [sum] y = Add (x, z) }", "node 'sum' (Add)");
    check_refused(HEAD "g (float[2] x, int64[2] z) => (float[2] y) { y = Add (x, z) }", "type");
    check_refused(HEAD "g (float[2,3] x) => (float[4] y) <int64[1] to = {4}> { y = Reshape (x, to) }", "Reshape");
    check_refused(HEAD "g (float[2,3] x, float[4,5] z) => (float[2,5] y) { y = MatMul (x, z) }", "MatMul");
    check_refused(HEAD "g (float[2,3] x) => (float[2,3] y) { y = Softmax <axis = 2> (x) }", "Softmax");
    check_refused(HEAD "g (float[2,3] x, float[2] z) => (float[2,3] y) { y = Concat <axis = 0> (x, z) }", "Concat");
    check_refused(HEAD "g (float[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1] x) => (float[1] y) <int64[1] axes = {0}> "
                       "{ y = Unsqueeze (x, axes) }",
                  "rank 17");
    check_refused(HEAD "g () => (int64[1] y) <int64[1] x = {1}, int64[1] zero = {0}> { y = Div (x, zero) }", "zero");
}

/* What depends on constants only is folded up to a size; shape arithmetic always. */
static void test_limits(void)
{
    static const char text[] =
        HEAD "g (float[batch, 8] x) => (float[64,64] y, int64 b) <int64[2] to = {64, 64}, "
             "float one = {1.0}, int64 zero = {0}> "
             "{ y = Expand (one, to)  s = Shape (x)  b = Gather (s, zero)  e = Add (zero, zero) }";
    const size_t limits[] = {0, 1024, 64 * 64 * 4};
    for (int i = 0; i < 3; i++) {
        built b;
        if (build_text(text, &b, &err) != GR_OK) {
            FAIL("%s", err.text);
            return;
        }
        CHECK_OK(gr_graph_infer(b.graph, limits[i], &err));
        CU_ASSERT_EQUAL(gr_graph_find(b.graph, "y")->konst != NULL, i == 2);
        CHECK_CONTENTS(b.graph, "b", "batch");
        CU_ASSERT_PTR_NOT_NULL(gr_graph_find(b.graph, "e")->konst);
        CHECK_OK(gr_graph_check(b.graph, &err));
        built_free(&b);
    }
}

static CU_TestInfo tests[] = {
    {"heads split and merged", test_split_heads},
    {"reshapes", test_reshape_forms},
    {"guarded expand", test_expand_guard},
    {"positions", test_positions},
    {"scale of sdpa", test_sdpa_scale},
    {"cache", test_cache},
    {"broadcasting", test_broadcasting},
    {"unknown shapes", test_unknown},
    {"refusals", test_refusals},
    {"limits of folding", test_limits},
    CU_TEST_INFO_NULL,
};
CU_SuiteInfo suite_infer = {"infer", NULL, NULL, NULL, NULL, tests};
