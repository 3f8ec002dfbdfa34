/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs through the public interface: memory of inputs and outputs, values fetched from inside, refused inputs, and that
 * a shape that is planned allocates nothing.
 */
#include "graph/doc.h"
#include "model.h"
#include "ragged.h"
#include "support.h"
#include <math.h>
#include <stdlib.h>

static gr_err err;

#define HEAD "<ir_version: 10, opset_import: [\"\" : 17]> "
#define BERT GR_SOURCE_DIR "/models/bert-tiny/model.onnx"
static const gr_model_options raw = {.struct_size = sizeof raw, .no_passes = true};
static const int64_t pair[] = {2}, two_by_three[] = {2, 3};

enum { BATCH = 2, LENGTH = 5, TOKENS = BATCH * LENGTH };
static int64_t ids[TOKENS] = {101, 2023, 2003, 1037, 102, 101, 2592, 102, 0, 0},
               mask[TOKENS] = {1, 1, 1, 1, 1, 1, 1, 1}, types[TOKENS] = {0, 0, 0, 1, 1};
static const int64_t bert_dims[] = {BATCH, LENGTH};

static void bert_inputs(gr_named_tensor *in)
{
    in[0] = INTS("input_ids", 2, bert_dims, ids);
    in[1] = INTS("attention_mask", 2, bert_dims, mask);
    in[2] = INTS("token_type_ids", 2, bert_dims, types);
}

/* ---- allocation ---- */

/* Run again with the next allocation set to fail; it must still be set to fail afterwards. */
static void check_no_allocation(gr_session *s, gr_named_tensor *in, size_t nin, gr_named_tensor *out, size_t nout)
{
    CHECK_OK(gr_session_run(s, in, nin, out, nout, &err));
    gr_malloc_fail_after(1);
    gr_status status = gr_session_run(s, in, nin, out, nout, &err);
    void *p = gr_malloc(1);
    gr_malloc_fail_after(0);
    CU_ASSERT_EQUAL(status, GR_OK);
    CU_ASSERT_PTR_NULL(p);
    gr_free(p);
}

static void test_no_allocation(void)
{
    running r;
    gr_named_tensor in[3], out[] = {WANTED("logits")};
    if (!open_file(BERT, NULL, NULL, &r)) return;
    bert_inputs(in);
    check_no_allocation(r.session, in, 3, out, 1);
    char odd[sizeof ids + 1]; /* inputs at odd addresses are copied, into memory that is kept */
    memcpy(odd + 1, ids, sizeof ids);
    in[0].tensor.data = odd + 1;
    check_no_allocation(r.session, in, 3, out, 1);
    close_running(&r);
}

/* ---- views, and who owns an output ---- */

static void test_views(void)
{
    running r;
    float x[6] = {1, -2, 3, -4, 5, -6}, relu[] = {1, 0, 3, 0, 5, 0}, negative[] = {-1, 0, -3, 0, -5, 0};
    gr_named_tensor in = FLOATS("x", 2, two_by_three, x), out[] = {WANTED("y"), WANTED("v"), WANTED("a")};
    gr_work_info work;
    if (!open_text(HEAD "g (float[2,3] x) => (float[3,2] y, float[6] v) <int64[2] to = {3, 2}, int64[1] all = {-1}> "
                        "{ a = Relu (x)  b = Reshape (a, to)  y = Neg (b)  v = Reshape (a, all) }",
                   &raw, NULL, &r))
        return;
    CHECK_OK(gr_session_run(r.session, &in, 1, out, 3, &err));
    gr_session_work(r.session, &work);
    CU_ASSERT_EQUAL(work.steps, 2); /* Relu and Neg; a reshape moves nothing */
    CU_ASSERT_PTR_EQUAL(out[1].tensor.data, out[2].tensor.data);
    check_floats(&out[0].tensor, 6, negative);
    check_floats(&out[1].tensor, 6, relu);
    CU_ASSERT_TRUE(out[0].tensor.rank == 2 && out[0].tensor.dims[0] == 3 && out[1].tensor.rank == 1);
    close_running(&r);
}

/* An output that is an input in another shape, or as it is, is the session's memory all the same. */
static void test_outputs_are_owned(void)
{
    for (int passes = 0; passes < 2; passes++) {
        running r;
        float *x = malloc(6 * sizeof *x);
        const float want[] = {0, 1, 2, 3, 4, 5};
        float given[6];
        gr_named_tensor in = FLOATS("x", 2, two_by_three, x);
        gr_named_tensor out[] = {WANTED("y"), WANTED("z"), WANTED("x"), WANTED("y")};
        out[3].tensor = (gr_tensor_view){.data = given, .size = sizeof given};
        if (!x) abort();
        for (int i = 0; i < 6; i++) x[i] = (float)i;
        if (open_text(HEAD "g (float[2,3] x) => (float[6] y, float[2,3] z) <int64[1] all = {-1}> "
                           "{ y = Reshape (x, all)  z = Identity (x) }",
                      passes ? NULL : &raw, NULL, &r)) {
            for (int i = 0; i < 2; i++) CHECK_OK(gr_session_run(r.session, &in, 1, out, 4, &err));
            memset(x, 0xFF, 6 * sizeof *x);
            for (int i = 0; i < 4; i++) check_floats(&out[i].tensor, 6, want);
            CU_ASSERT_PTR_EQUAL(out[3].tensor.data, given);
            close_running(&r);
        }
        free(x);
    }
}

static void test_callers_buffers(void)
{
    running r;
    float x[2] = {1, -2}, y[4] = {9, 9, 9, 9}, z[2] = {9, 9};
    const float neg[] = {-1, 2}, sum[] = {0, 0};
    char odd[2 * sizeof(float) + 1];
    gr_named_tensor in = FLOATS("x", 1, pair, x), out[] = {WANTED("y"), WANTED("z"), WANTED("y")};
    if (!open_text(HEAD "g (float[2] x) => (float[2] y, float[2] z) { y = Neg (x)  z = Add (y, x) }", NULL, NULL, &r))
        return;
    out[0].tensor = (gr_tensor_view){.data = y, .size = sizeof y};
    out[1].tensor = (gr_tensor_view){.data = z, .size = sizeof z};
    CHECK_OK(gr_session_run(r.session, &in, 1, out, 3, &err));
    CU_ASSERT_TRUE(out[0].tensor.data == y && out[0].tensor.size == 8 && y[2] == 9 && y[3] == 9);
    CU_ASSERT_TRUE(out[2].tensor.data != y && out[2].tensor.data != NULL);
    check_floats(&out[0].tensor, 2, neg);
    check_floats(&out[1].tensor, 2, sum);
    check_floats(&out[2].tensor, 2, neg);
    out[0].tensor = (gr_tensor_view){.data = odd + 1, .size = sizeof odd - 1};
    out[2].tensor = (gr_tensor_view){0};
    CHECK_OK(gr_session_run(r.session, &in, 1, out, 3, &err));
    check_floats(&out[0].tensor, 2, neg);
    CU_ASSERT_PTR_EQUAL(out[0].tensor.data, odd + 1);
    out[0].tensor = (gr_tensor_view){0}; /* back to the session's: the caller's buffer is left alone */
    memset(y, 0, sizeof y);
    CHECK_OK(gr_session_run(r.session, &in, 1, out, 1, &err));
    check_floats(&out[0].tensor, 2, neg);
    CU_ASSERT_TRUE(out[0].tensor.data != y && y[0] == 0);
    out[0].tensor = (gr_tensor_view){.data = y, .size = 7};
    CHECK_FAILS(gr_session_run(r.session, &in, 1, out, 1, &err), GR_EINVAL,
                "output 'y' needs 8 bytes, its buffer has 7");
    close_running(&r);
}

/* ---- values inside ---- */

/* Every value of the file that a run can give, from the model as it runs and from one without passes. */
static size_t all_values(gr_model *model, gr_named_tensor *out, size_t room)
{
    const gr_doc_graph *g = gr_model_doc(model)->graph;
    size_t n = 0;
    for (size_t i = 0; i < g->nodes.count; i++)
        for (size_t k = 0; k < g->nodes.items[i].out.count && n < room; k++)
            if (*g->nodes.items[i].out.items[k]) out[n++] = WANTED(g->nodes.items[i].out.items[k]);
    return n;
}

/* Sums in another order move values of the size of the logits by a few units in their last places. */
static void check_close(const gr_named_tensor *a, const gr_named_tensor *b)
{
    const gr_tensor_view *x = &a->tensor, *y = &b->tensor;
    bool same = x->type == y->type && x->rank == y->rank && x->size == y->size &&
                (!x->rank || !memcmp(x->dims, y->dims, (size_t)x->rank * sizeof *x->dims));
    if (!same) FAIL("'%s' has another type or shape", a->name);
    if (same && x->type != GR_FLOAT && x->size && memcmp(x->data, y->data, x->size)) FAIL("'%s' differs", a->name);
    for (size_t i = 0; same && x->type == GR_FLOAT && i < x->size / 4; i++) {
        float p = ((const float *)x->data)[i], q = ((const float *)y->data)[i];
        if (p == q || fabsf(p - q) <= 2e-5f * (1 + fabsf(q))) continue;
        FAIL("'%s'[%zu] is %g, without passes %g", a->name, i, (double)p, (double)q);
        break;
    }
}

static void test_fetch(void)
{
    enum { ROOM = 1000 };
    static gr_named_tensor fetched[ROOM], plain[ROOM];
    running fused, files;
    gr_named_tensor in[3], logits = WANTED("logits"), some[2];
    bert_inputs(in);
    if (!open_file(BERT, NULL, NULL, &fused)) return;
    if (open_file(BERT, &raw, NULL, &files)) {
        CHECK_OK(gr_session_run(fused.session, in, 3, &logits, 1, &err));
        float *first = malloc(logits.tensor.size);
        if (!first) abort();
        memcpy(first, logits.tensor.data, logits.tensor.size);
        size_t n = all_values(fused.model, fetched, ROOM), size = logits.tensor.size;
        CU_ASSERT_TRUE(n > 100);
        memcpy(plain, fetched, sizeof plain);
        CHECK_OK(gr_session_run(fused.session, in, 3, fetched, n, &err));
        CHECK_OK(gr_session_run(files.session, in, 3, plain, n, &err));
        for (size_t i = 0; i < n; i++) check_close(&fetched[i], &plain[i]);
        for (size_t i = 0; i < n; i += 9) { /* looking at a value changes nothing for the others */
            some[0] = WANTED(fetched[i].name);
            some[1] = WANTED("logits");
            CHECK_OK(gr_session_run(fused.session, in, 3, some, 2, &err));
            if (some[1].tensor.size != size || memcmp(some[1].tensor.data, first, size))
                FAIL("logits change when '%s' is fetched", some[0].name);
            check_close(&some[0], &plain[i]);
        }
        some[0] = WANTED("no_such_value");
        CHECK_FAILS(gr_session_run(fused.session, in, 3, some, 1, &err), GR_EINPUT, "no value 'no_such_value'");
        free(first);
        close_running(&files);
    }
    close_running(&fused);
}

/* One output from the graph as it runs, one from the file's: neither plan may push the other out of a small cache. */
static void test_fetch_in_one_plan(void)
{
    running r;
    float x[3] = {1, 0, -3};
    const int64_t dims[] = {3};
    const float want[] = {1, 0, -3};
    const gr_session_options one = {.struct_size = sizeof one, .max_plans = 1};
    gr_named_tensor in = FLOATS("x", 1, dims, x), out[] = {WANTED("y"), WANTED("t"), WANTED("s")};
    if (!open_text(HEAD "g (float[N] x) => (int64[A, B] y, float[N] z, int64[1] s) "
                        "{ y = NonZero (x)  t = Identity (x)  z = Neg (t)  s = Shape (x) }",
                   NULL, &one, &r))
        return;
    for (int i = 0; i < 3; i++) {
        CHECK_OK(gr_session_run(r.session, &in, 1, out, 3, &err));
        CU_ASSERT_TRUE(out[0].tensor.rank == 2 && out[0].tensor.dims[1] == 2 &&
                       ((int64_t *)out[0].tensor.data)[1] == 2);
        check_floats(&out[1].tensor, 3, want);
        CU_ASSERT_EQUAL(*(int64_t *)out[2].tensor.data, 3);
    }
    close_running(&r);
}

/* ---- shapes that depend on data, and empty ones ---- */

static void test_dynamic(void)
{
    running r;
    float x[4] = {0, 2, 0, 4}, got[4];
    const int64_t dims[] = {4};
    const float want[] = {2, 4}, one[] = {2};
    gr_named_tensor in = FLOATS("x", 1, dims, x), out = WANTED("y");
    if (!open_text(HEAD "g (float[N] x) => (float[M] y) <int64[1] at = {1}> "
                        "{ n = NonZero (x)  t = Transpose (n)  s = Squeeze (t, at)  y = Gather (x, s) }",
                   NULL, NULL, &r))
        return;
    CHECK_OK(gr_session_run(r.session, &in, 1, &out, 1, &err));
    check_floats(&out.tensor, 2, want);
    x[3] = 0; /* the same plan, another shape */
    out.tensor = (gr_tensor_view){.data = got, .size = sizeof got};
    CHECK_OK(gr_session_run(r.session, &in, 1, &out, 1, &err));
    check_floats(&out.tensor, 1, one);
    CU_ASSERT_PTR_EQUAL(out.tensor.data, got);
    x[1] = 0;
    out.tensor = (gr_tensor_view){0};
    CHECK_OK(gr_session_run(r.session, &in, 1, &out, 1, &err));
    CU_ASSERT_TRUE(out.tensor.size == 0 && out.tensor.rank == 1 && out.tensor.dims[0] == 0);
    close_running(&r);
}

static void test_empty(void)
{
    running r;
    const int64_t dims[] = {0, LENGTH};
    gr_named_tensor in[3], out = WANTED("logits");
    if (!open_file(BERT, NULL, NULL, &r)) return;
    bert_inputs(in);
    for (int i = 0; i < 3; i++) in[i].tensor = (gr_tensor_view){GR_INT64, 2, dims, NULL, 0};
    CHECK_OK(gr_session_run(r.session, in, 3, &out, 1, &err));
    CU_ASSERT_TRUE(out.tensor.size == 0 && out.tensor.rank == 3 && out.tensor.dims[0] == 0 &&
                   out.tensor.dims[1] == LENGTH);
    close_running(&r);
}

/* ---- refused inputs ---- */

static void test_refused(void)
{
    running r;
    float x[6] = {0}, k[2] = {1, 2};
    const int64_t wrong[] = {2, 4}, negative[] = {-1, 3};
    gr_named_tensor good = FLOATS("x", 2, two_by_three, x), in[3], out = WANTED("y");
    if (!open_text(HEAD "g (float[B,3] x, float[2] k) => (float[B,3] y) <float[2] k = {3.0, 4.0}> "
                        "{ s = ReduceSum <keepdims = 0> (k)  y = Mul (x, s) }",
                   NULL, NULL, &r))
        return;
#define REFUSED(part) CHECK_FAILS(gr_session_run(r.session, in, 1, &out, 1, &err), GR_EINPUT, part)
    in[0] = good;
    in[0].tensor.type = GR_INT32;
    REFUSED("input 'x' is int32[2, 3], expected float[B, 3]");
    in[0] = FLOATS("x", 1, pair, x);
    REFUSED("input 'x' is float[2], expected float[B, 3]");
    in[0] = FLOATS("x", 2, wrong, x);
    REFUSED("input 'x' is float[2, 4], expected float[B, 3]");
    in[0] = FLOATS("z", 2, two_by_three, x);
    REFUSED("no input 'z'");
    in[0] = FLOATS("k", 1, pair, k);
    REFUSED("input 'x' is missing; the model needs");
    in[0] = good;
    in[0].tensor.size = 20;
    REFUSED("20 bytes, its shape needs 24");
    in[0] = good;
    in[0].tensor.data = NULL;
    REFUSED("24 bytes");
    in[0] = good;
    in[0].tensor.dims = negative;
    REFUSED("shape that no tensor can have");
    in[0].tensor.rank = 99;
    REFUSED("rank 99");
    in[0] = good;
    in[0].tensor.type = (gr_dtype)77;
    REFUSED("type or shape");
    in[0] = in[1] = good;
    CHECK_FAILS(gr_session_run(r.session, in, 2, &out, 1, &err), GR_EINPUT, "'x' is given twice");
    CHECK_FAILS(gr_session_run(r.session, NULL, 1, &out, 1, &err), GR_EINVAL, "NULL");
    in[0].name = NULL;
    CHECK_FAILS(gr_session_run(r.session, in, 1, &out, 1, &err), GR_EINVAL, "name");
    CHECK_OK(gr_session_run(r.session, &good, 1, &out, 1, &err)); /* none of that has harmed the session */
    CHECK_OK(gr_session_run(r.session, &good, 1, NULL, 0, NULL));
    close_running(&r);
}

static void test_defaults(void)
{
    running r;
    float x[2] = {1, 2}, k[2] = {10, 10};
    const float with_default[] = {4, 6}, fed[] = {11, 12};
    gr_named_tensor in[] = {FLOATS("x", 1, pair, x), FLOATS("k", 1, pair, k)}, out = WANTED("y");
    if (!open_text(HEAD "g (float[2] x, float[2] k) => (float[2] y) <float[2] k = {3.0, 4.0}> { y = Add (x, k) }", NULL,
                   NULL, &r))
        return;
    CHECK_OK(gr_session_run(r.session, in, 1, &out, 1, &err));
    check_floats(&out.tensor, 2, with_default);
    CHECK_OK(gr_session_run(r.session, in, 2, &out, 1, &err));
    check_floats(&out.tensor, 2, fed);
    check_no_allocation(r.session, in, 2, &out, 1);
    CHECK_OK(gr_session_run(r.session, in, 1, &out, 1, &err));
    check_floats(&out.tensor, 2, with_default);
    close_running(&r);
}

/* Dimensions that the file gives one name and that differ all the same, as long as the arithmetic allows it. */
static void test_names_that_differ(void)
{
    running r;
    float x[2] = {1, 2}, k[1] = {10};
    const int64_t one[] = {1};
    const float want[] = {11, 12};
    gr_named_tensor in[] = {FLOATS("x", 1, pair, x), FLOATS("k", 1, one, k)}, out = WANTED("y");
    if (!open_text(HEAD "g (float[N] x, float[N] k) => (float[N] y) { y = Add (x, k) }", NULL, NULL, &r)) return;
    CHECK_OK(gr_session_run(r.session, in, 2, &out, 1, &err));
    check_floats(&out.tensor, 2, want);
    close_running(&r);
}

/* h = x w, y = h v, and z = -h if `other`: a model with `wide` columns of h. */
static gr_model *wide_model(int wide, bool other)
{
    cli_text text = {0};
    gr_model *m = NULL;
    cli_add(&text, "<ir_version: 10, opset_import: [\"\" : 17]> g (float[n, 3] x) => (float[n, 2] y%s) <float[3, %d] w = {",
            other ? ", float[n, k] z" : "", wide);
    for (int i = 0; i < 3 * wide; i++) cli_add(&text, "%s%d", i ? ", " : "", i % 7 - 3);
    cli_add(&text, "}, float[%d, 2] v = {", wide);
    for (int i = 0; i < 2 * wide; i++) cli_add(&text, "%s%d.5", i ? ", " : "", i % 11);
    cli_add(&text, "}> { h = MatMul (x, w) y = MatMul (h, v) %s }", other ? "z = Neg (h)" : "");
    CHECK_OK(gr_model_load_memory(text.data, text.size, NULL, NULL, &m, &err));
    free(text.data);
    CU_ASSERT_FATAL(m != NULL);
    return m;
}

enum { WIDE_ROWS = 8 };

/* Bytes for activations. */
static size_t run_wide(gr_model *m, const char *beside, float *y)
{
    static float x[WIDE_ROWS * 3];
    static const int64_t dims[] = {WIDE_ROWS, 3};
    for (int i = 0; i < WIDE_ROWS * 3; i++) x[i] = (float)(i % 5) - 1.5f;
    gr_named_tensor in = FLOATS("x", 2, dims, x), out[] = {WANTED("y"), WANTED(beside)};
    gr_memory_info memory = {0};
    gr_session *s = NULL;
    CHECK_OK(gr_session_create(m, NULL, &s, &err));
    CHECK_OK(gr_session_run(s, &in, 1, out, beside ? 2 : 1, &err));
    if (out->tensor.data) memcpy(y, out->tensor.data, WIDE_ROWS * 2 * sizeof *y);
    gr_session_memory(s, &memory);
    gr_session_free(s);
    return memory.arena_bytes;
}

/* Rows of 4 KiB between two products alone have gaps, 16 floats each; whoever else reads them, a caller or a step, finds
 * none. */
static void test_gaps(void)
{
    float alone[WIDE_ROWS * 2], wanted[WIDE_ROWS * 2], beside[WIDE_ROWS * 2], ignored[WIDE_ROWS * 2];
    gr_model *m = wide_model(1024, false), *wider = wide_model(1040, false), *other = wide_model(1024, true);
    const size_t bytes = run_wide(m, NULL, alone);
    CU_ASSERT_EQUAL(bytes, run_wide(wider, NULL, ignored));
    run_wide(m, "h", wanted);
    CU_ASSERT_FALSE(memcmp(alone, wanted, sizeof alone));
    run_wide(other, "z", beside);
    CU_ASSERT_FALSE(memcmp(alone, beside, sizeof alone));
    gr_model_free(m);
    gr_model_free(wider);
    gr_model_free(other);
}

static CU_TestInfo tests[] = {
    {"no allocation in a second run", test_no_allocation},
    {"views", test_views},
    {"outputs are the session's", test_outputs_are_owned},
    {"callers' buffers", test_callers_buffers},
    {"values inside", test_fetch},
    {"values inside with one plan", test_fetch_in_one_plan},
    {"shapes that depend on data", test_dynamic},
    {"empty batch", test_empty},
    {"refused inputs", test_refused},
    {"defaults", test_defaults},
    {"names that differ", test_names_that_differ},
    {"rows apart", test_gaps},
    CU_TEST_INFO_NULL,
};
CU_SuiteInfo suite_plan = {"plan", NULL, NULL, NULL, NULL, tests};
