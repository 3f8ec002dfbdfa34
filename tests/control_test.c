/* SPDX-License-Identifier: Apache-2.0
 *
 * If, Loop and Scan through sessions, with passes and without.
 */
#include "model.h"
#include "support.h"
#include <stdlib.h>

static gr_err err;

#define HEAD "<ir_version: 10, opset_import: [\"\" : 17]> "
static const gr_model_options raw = {.struct_size = sizeof raw, .no_passes = true};
static const int64_t dims2[] = {2}, dims3[] = {3}, dims32[] = {3, 2};

/* Run twice with passes and twice without; output `name` must have this shape and, as floats, these values. */
static void check_run(const char *text, gr_named_tensor *in, size_t nin, const char *name, int rank,
                      const int64_t *dims, const float *want)
{
    for (int passes = 0; passes < 2; passes++) {
        running r;
        int64_t count = 1;
        gr_named_tensor out = WANTED(name);
        if (!open_text(text, passes ? NULL : &raw, NULL, &r)) return;
        for (int i = 0; i < 2; i++) {
            gr_status status = gr_session_run(r.session, in, nin, &out, 1, &err);
            if (status != GR_OK) FAIL("%s\n%s", err.text, text);
        }
        for (int i = 0; i < rank; i++) count *= dims[i];
        if (out.tensor.rank != rank || (rank && memcmp(out.tensor.dims, dims, (size_t)rank * sizeof *dims)))
            FAIL("'%s' has another shape\n%s", name, text);
        else
            check_floats(&out.tensor, count, want);
        close_running(&r);
    }
}
#define CHECK_RUN(text, in, nin, name, rank, dims, ...)                                                                \
    check_run(text, in, nin, name, rank, (const int64_t[])dims, (const float[]){__VA_ARGS__})
#define DIMS(...)                                                                                                      \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

static void check_refused(const char *text, gr_named_tensor *in, size_t nin, gr_status status, const char *part)
{
    gr_model *model = NULL;
    gr_session *session = NULL;
    gr_named_tensor out = WANTED("y");
    err.text[0] = 0;
    gr_status got = gr_model_load_memory(text, strlen(text), NULL, NULL, &model, &err);
    if (got == GR_OK) got = gr_session_create(model, NULL, &session, &err);
    if (got == GR_OK) got = gr_session_run(session, in, nin, &out, 1, &err);
    CHECK_THAT(got == status && strstr(err.text, part), "expected %s with '%s', got %s: %s", gr_status_text(status), part,
               gr_status_text(got), err.text);
    gr_session_free(session);
    gr_model_free(model);
}

/* ---- If ---- */

static void test_if(void)
{
    float x[3] = {1, 2, 3};
    bool c = true;
    gr_named_tensor in[] = {view_of("c", GR_BOOL, 0, NULL, &c), FLOATS("x", 1, dims3, x)};
    static const char text[] =
        HEAD "g (bool c, float[N] x) => (float[M] y) <float two = {2.0}, int64[1] zero = {0}, int64[1] one = {1}> {\n"
             "  t = Mul (x, two)\n"
             "  y = If (c) <then_branch = a () => (float[N] p) { p = Add (t, x) },\n"
             "              else_branch = b () => (float[1] q) { q = Slice (t, zero, one) }>\n}";
    CHECK_RUN(text, in, 2, "y", 1, DIMS(3), 3, 6, 9);
    c = false;
    CHECK_RUN(text, in, 2, "y", 1, DIMS(1), 2);
    /* A branch that is nothing but a value from outside, or a constant; one inside the other. */
    static const char nested[] =
        HEAD "g (bool c, float[N] x) => (float[N] y) {\n"
             "  d = Not (c)\n"
             "  y = If (d) <then_branch = a () => (float[N] p) { p = Identity (x) },\n"
             "    else_branch = b () => (float[N] q) { n = Neg (x)  q = If (c) <then_branch = e () => (float[N] r) { r "
             "= Abs (n) },\n"
             "      else_branch = f () => (float[3] s) <float[3] s = {7.0, 8.0, 9.0}> { }> }>\n}";
    CHECK_RUN(nested, in, 2, "y", 1, DIMS(3), 1, 2, 3);
    c = true;
    CHECK_RUN(nested, in, 2, "y", 1, DIMS(3), 1, 2, 3);
}

/* A condition that hangs on shapes is settled by the plan, one that is constant by the passes. */
static void test_known_conditions(void)
{
    float x[3] = {1, 2, 3};
    const int64_t row[] = {1, 3};
    gr_named_tensor in[] = {FLOATS("x", 2, row, x)};
    static const char squeeze[] =
        HEAD "g (float[A,B] x) => (float[N] y) <int64 zero = {0}, int64 one = {1}, int64[1] axes = {0}, int64[1] all = "
             "{-1}> {\n"
             "  s = Shape (x)  n = Gather (s, zero)  c = Equal (n, one)\n"
             "  y = If (c) <then_branch = a () => (float[B] p) { p = Squeeze (x, axes) },\n"
             "              else_branch = b () => (float[N] q) { z = Reshape (x, all)  q = Neg (z) }>\n}";
    CHECK_RUN(squeeze, in, 1, "y", 1, DIMS(3), 1, 2, 3);
    const int64_t column[] = {3, 1};
    in[0].tensor.dims = column;
    CHECK_RUN(squeeze, in, 1, "y", 1, DIMS(3), -1, -2, -3);
    static const char constant[] = HEAD "g (float[N] x) => (float[N] y) <bool c = {0}> { y = If (c) <then_branch = a "
                                        "() => (float[N] p) { p = Neg (x) },\n"
                                        "  else_branch = b () => (float[N] q) { t = Abs (x)  q = If (c) <then_branch = "
                                        "e () => (float[N] r) { r = Neg (t) },\n"
                                        "    else_branch = f () => (float[N] s) { s = Add (t, x) }> }>\n}";
    in[0] = FLOATS("x", 1, dims3, x);
    CHECK_RUN(constant, in, 1, "y", 1, DIMS(3), 2, 4, 6);
}

static void test_bad_if(void)
{
    float x[3] = {1, 2, 3};
    bool c[2] = {true, false};
    gr_named_tensor in[] = {view_of("c", GR_BOOL, 1, dims2, c), FLOATS("x", 1, dims3, x)};
    check_refused(
        HEAD
        "g (bool[K] c, float[N] x) => (float[N] y) { y = If (c) <then_branch = a () => (float[N] p) { p = Neg (x) },"
        " else_branch = b () => (float[N] q) { q = Abs (x) }> }",
        in, 2, GR_EINPUT, "2 elements");
    check_refused(
        HEAD
        "g (bool[K] c, float[N] x) => (float[N] y) { y = If (c) <then_branch = a () => (float[N] p) { p = Neg (x) },"
        " else_branch = b () => (int64[N] q) { q = Cast <to = 7> (x) }> }",
        in, 2, GR_EMODEL, "in one branch");
    check_refused(
        HEAD "g (bool[K] c, float[N] x) => (float[N] y) { y = If (c) <then_branch = a () => (float[N] p, float[N] r) "
             "{ p = Neg (x)  r = Neg (x) }, else_branch = b () => (float[N] q) { q = Abs (x) }> }",
        in, 2, GR_EMODEL, "2 and 1 outputs");
}

/* ---- Loop ---- */

#define BODY(v, w) "<body = b (int64 i, bool c, float" v " v) => (bool d, float" w " w, float s) "

static void test_loop(void)
{
    int64_t n = 3;
    bool c = true;
    float x[2] = {1, 10};
    gr_named_tensor in[] = {INTS("n", 0, NULL, &n), view_of("c", GR_BOOL, 0, NULL, &c), FLOATS("x", 1, dims2, x)};
    /* A carried value, one that is scanned, and one captured from outside. */
    static const char text[] = HEAD
        "g (int64 n, bool c, float[N] x) => (float[N] y, float[M] z) <float two = {2.0}> {\n"
        "  t = Mul (x, two)\n"
        "  y, z = Loop (n, c, x) " BODY("[N]", "[N]") "{ d = Identity (c)  w = Add (v, t)  s = Cast <to = 1> (i) }>\n}";
    CHECK_RUN(text, in, 3, "y", 1, DIMS(2), 7, 70);
    CHECK_RUN(text, in, 3, "z", 1, DIMS(3), 0, 1, 2);
    n = 0; /* comes out as it went in */
    CHECK_RUN(text, in, 3, "y", 1, DIMS(2), 1, 10);
    CHECK_RUN(text, in, 3, "z", 1, DIMS(0), 0);
    n = 3;
    c = false;
    CHECK_RUN(text, in, 3, "y", 1, DIMS(2), 1, 10);
}

/* Until the body says so; no trip count, no first condition. */
static void test_while(void)
{
    int64_t n = 5;
    float x[2] = {1, 10};
    gr_named_tensor in[] = {INTS("n", 0, NULL, &n), FLOATS("x", 1, dims2, x)};
    static const char text[] =
        HEAD "g (int64 n, float[N] x) => (float[N] y) {\n"
             "  y = Loop (, , x) <body = b (int64 i, bool c, float[N] v) => (bool d, float[N] w) "
             "{ d = Less (i, n)  w = Add (v, x) }>\n}";
    CHECK_RUN(text, in, 2, "y", 1, DIMS(2), 7, 70);
    static const char none[] =
        HEAD "g (int64 n) => (float[M] y) { y = Loop (n, ) <body = b (int64 i, bool c) => (bool d, float s) "
             "{ d = Identity (c)  s = Cast <to = 1> (i) }> }";
    CHECK_RUN(none, in, 1, "y", 1, DIMS(5), 0, 1, 2, 3, 4);
}

/* A carried value that grows, a loop in a loop, and a branch in it. */
static void test_nested_loops(void)
{
    int64_t n = 3;
    float x[2] = {1, 2};
    gr_named_tensor in[] = {INTS("n", 0, NULL, &n), FLOATS("x", 1, dims2, x)};
    static const char grows[] =
        HEAD "g (int64 n, float[N] x) => (float[M] y) { y = Loop (n, , x) <body = b (int64 i, bool c, float[K] v) => "
             "(bool d, float[L] w) { d = Identity (c)  w = Concat <axis = 0> (v, x) }> }";
    CHECK_RUN(grows, in, 2, "y", 1, DIMS(8), 1, 2, 1, 2, 1, 2, 1, 2);
    static const char nested[] = HEAD
        "g (int64 n, float[N] x) => (float[N] y) <float one = {1.0}, int64 two = {2}> {\n"
        "  y = Loop (n, , x) <body = b (int64 i, bool c, float[N] v) => (bool d, float[N] w) {\n"
        "    d = Identity (c)  e = Equal (i, two)\n"
        "    w = If (e) <then_branch = p () => (float[N] q) { q = Neg (v) }, else_branch = r () => (float[N] u) {\n"
        "      u = Loop (two, , v) <body = k (int64 j, bool f, float[N] a) => (bool h, float[N] o) "
        "{ h = Identity (f)  o = Add (a, x) }> }> }>\n}";
    CHECK_RUN(nested, in, 2, "y", 1, DIMS(2), -5, -10);
}

static void test_sequence(void)
{
    int64_t n = 3;
    float x[2] = {1, 2};
    gr_named_tensor in[] = {INTS("n", 0, NULL, &n), FLOATS("x", 1, dims2, x)};
    static const char text[] =
        HEAD "g (int64 n, float[N] x) => (float[A,B] y) {\n"
             "  e = SequenceEmpty <dtype = 1> ()\n"
             "  l = Loop (n, , e) <body = b (int64 i, bool c, seq(float[N]) v) => (bool d, seq(float[N]) w) {\n"
             "    d = Identity (c)  f = Cast <to = 1> (i)  t = Add (x, f)  w = SequenceInsert (v, t) }>\n"
             "  y = ConcatFromSequence <axis = 0, new_axis = 1> (l)\n}";
    CHECK_RUN(text, in, 2, "y", 2, DIMS(3, 2), 1, 2, 2, 3, 3, 4);
}

static void test_bad_loops(void)
{
    int64_t n = 3;
    float x[2] = {1, 2};
    gr_named_tensor in[] = {INTS("n", 0, NULL, &n), FLOATS("x", 1, dims2, x)};
    check_refused(HEAD
                  "g (int64 n, float[N] x) => (float[N] y) { y = Loop (n, , x) <body = b (int64 i, bool c) => (bool d) "
                  "{ d = Identity (c) }> }",
                  in, 2, GR_EMODEL, "do not fit 1 carried");
    /* Two scan outputs, the first of which changes its shape. */
    check_refused(HEAD "g (int64 n, float[N] x) => (float[A,B] y) { v, y, z = Loop (n, , x) <body = "
                       "b (int64 i, bool c, float[K] v) => (bool d, float[L] w, float[P] s, float[2] t) "
                       "{ d = Identity (c)  w = Concat <axis = 0> (v, v)  s = Neg (w)  t = Neg (x) }> }",
                  in, 2, GR_EINPUT, "changes its shape");
    check_refused(HEAD
                  "g (int64 n, float[N] x) => (float[N] y) { y = Loop (n, , x) <body = b (int64 i, bool c, float[N] v) "
                  "=> (bool d, float[N] w) { d = Identity (c)  [inner] t = Gather (x, i)  w = Add (v, t) }> }",
                  in, 2, GR_EINPUT, "node 'inner' (Gather)");
}

/* ---- Scan ---- */

static void test_scan(void)
{
    float x[6] = {1, 2, 3, 4, 5, 6}, s[2] = {0, 0}, r[6] = {1, 2, 3, 4, 5, 6};
    const int64_t dims23[] = {2, 3};
    gr_named_tensor in[] = {FLOATS("s", 1, dims2, s), FLOATS("x", 2, dims32, x), FLOATS("r", 2, dims23, r)};
    static const char sums[] =
        HEAD "g (float[2] s, float[T,2] x) => (float[2] last, float[T,2] y) {\n"
             "  last, y = Scan <num_scan_inputs = 1, body = b (float[2] a, float[2] e) => (float[2] sum, float[2] row) "
             "{ sum = Add (a, e)  row = Identity (sum) }> (s, x)\n}";
    CHECK_RUN(sums, in, 2, "last", 1, DIMS(2), 9, 12);
    CHECK_RUN(sums, in, 2, "y", 2, DIMS(3, 2), 1, 2, 4, 6, 9, 12);
    static const char backwards[] =
        HEAD "g (float[2] s, float[T,2] x, float[2,T] r) => (float[2] last, float[2,T] y) {\n"
             "  last, y = Scan <num_scan_inputs = 2, scan_input_directions = [1, 0], scan_input_axes = [0, 1], "
             "scan_output_axes = [1], scan_output_directions = [1], "
             "body = b (float[2] a, float[2] e, float[2] f) => (float[2] sum, float[2] row) "
             "{ t = Sub (e, f)  sum = Add (a, t)  row = Identity (t) }> (s, x, r)\n}";
    /* rows 5 6, 3 4, 1 2 against columns 1 4, 2 5, 3 6 */
    CHECK_RUN(backwards, in, 3, "last", 1, DIMS(2), 3, -3);
    CHECK_RUN(backwards, in, 3, "y", 2, DIMS(2, 3), -2, 1, 4, -4, -1, 2);
    const int64_t none[] = {0, 2};
    in[1] = FLOATS("x", 2, none, x);
    CHECK_RUN(sums, in, 2, "last", 1, DIMS(2), 0, 0);
    CHECK_RUN(sums, in, 2, "y", 2, DIMS(0, 2), 0);
    const int64_t four[] = {2, 2};
    in[2] = FLOATS("r", 2, four, r);
    in[1] = FLOATS("x", 2, dims32, x);
    check_refused(backwards, in, 3, GR_EINPUT, "lengths 3 and 2");
}

/* Bodies with nodes that nobody reads, that are constant, and with one value as two outputs. */
static void test_bodies(void)
{
    int64_t n = 3;
    float x[2] = {1, 2};
    gr_named_tensor in[] = {INTS("n", 0, NULL, &n), FLOATS("x", 1, dims2, x)};
    static const char text[] =
        HEAD "g (int64 n, float[N] x) => (float[N] y, float[M,N] z, float[M,N] u) <int64[1] axes = {0}, int64[1] one = "
             "{1}> {\n"
             "  y, z, u = Loop (n, , x) <body = b (int64 i, bool c, float[N] v) => (bool d, float[N] w, float[N] w, "
             "float[N] w) "
             "<float[2] k = {1.0, 2.0}> {\n"
             "    d = Identity (c)  e = Exp (v)  unread = Slice (e, axes, one)  t = Add (k, k)  w = Add (v, t) }>\n}";
    CHECK_RUN(text, in, 2, "y", 1, DIMS(2), 7, 14);
    CHECK_RUN(text, in, 2, "z", 2, DIMS(3, 2), 3, 6, 5, 10, 7, 14);
    CHECK_RUN(text, in, 2, "u", 2, DIMS(3, 2), 3, 6, 5, 10, 7, 14);
}

/* What a loop and its graphs make is counted while it lives, and not for longer. */
static void test_live_bytes(void)
{
    int64_t n = 20000;
    float x[2] = {1, 2};
    const gr_session_options limited = {.struct_size = sizeof limited, .max_memory = 1 << 20};
    gr_named_tensor in[] = {INTS("n", 0, NULL, &n), FLOATS("x", 1, dims2, x)}, out = WANTED("y");
    running r;
    if (!open_text(
            HEAD "g (int64 n, float[N] x) => (float[N] y) <int64 two = {2}, bool yes = {1}> {\n"
                 "  y = Loop (n, , x) <body = b (int64 i, bool c, float[N] v) => (bool d, float[N] w) {\n"
                 "    d = Identity (c)  l, k = Loop (two, , v) <body = k (int64 j, bool f, float[N] a) => "
                 "(bool h, float[N] o, float[N] s) { h = Identity (f)  o = Neg (a)  s = Neg (a) }>\n"
                 "    z, t = Scan <num_scan_inputs = 1, body = m (float[N] e, float[N] q) => (float[N] u, float[N] p) "
                 "{ u = Add (e, q)  p = Neg (q) }> (l, k)\n"
                 "    w = If (yes) <then_branch = p () => (float[N] q) { q = Sub (v, z) }, "
                 "else_branch = r () => (float[N] u) { u = Neg (v) }> }>\n}",
            &raw, &limited, &r))
        return;
    CHECK_OK(gr_session_run(r.session, in, 2, &out, 1, &err));
    close_running(&r);
}

static CU_TestInfo tests[] = {
    {"If", test_if},
    {"If with a known condition", test_known_conditions},
    {"bad If", test_bad_if},
    {"Loop", test_loop},
    {"Loop without a count", test_while},
    {"nested", test_nested_loops},
    {"Loop over a sequence", test_sequence},
    {"bad Loop", test_bad_loops},
    {"Scan", test_scan},
    {"bodies", test_bodies},
    {"live bytes", test_live_bytes},
    CU_TEST_INFO_NULL,
};
CU_SuiteInfo suite_control = {"control", NULL, NULL, NULL, NULL, tests};
