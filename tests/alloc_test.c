/* SPDX-License-Identifier: Apache-2.0
 *
 * Out of memory: one allocation fails, the first, the second, and so on, while a model is loaded, gets a session, runs,
 * and gives a value that passes have dissolved. Each time it is GR_ENOMEM or the right result; the sanitizer build
 * tells whether anything is lost.
 */
#include "support.h"
#include <stdio.h>
#include <stdlib.h>

#define HEAD "<ir_version: 10, opset_import: [\"\" : 17, \"d\" : 1]> "

typedef struct job {
    const char *path, *text; /* one of them */
    gr_named_tensor in[3];
    size_t nin;
    const char *want[2];
    size_t size; /* of the first output, when nothing fails */
    void *bytes;
} job;

static gr_status run_once(job *j, gr_session *session, gr_err *err)
{
    gr_named_tensor out[2] = {WANTED(j->want[0]), WANTED(j->want[1])};
    gr_status status = gr_session_run(session, j->in, j->nin, out, 2, err);
    if (status != GR_OK) return status;
    if (!j->bytes) {
        j->size = out[0].tensor.size;
        if (!(j->bytes = malloc(j->size + 1))) abort();
        memcpy(j->bytes, out[0].tensor.data, j->size);
    }
    if (out[0].tensor.size != j->size || memcmp(out[0].tensor.data, j->bytes, j->size))
        FAIL("the result is another");
    return GR_OK;
}

/* Whether the allocation that was to fail has been asked for: else it still fails. */
static bool has_failed(long n)
{
    void *p = gr_malloc(1);
    for (; p && n; n--) {
        gr_free(p);
        p = gr_malloc(1);
    }
    gr_free(p);
    return p != NULL;
}

/* `n`: which allocation fails; 0: none. Returns whether one has failed. */
static bool attempt(job *j, long n)
{
    gr_err err = {0};
    gr_model *model = NULL;
    gr_session *session = NULL;
    gr_malloc_fail_after(n);
    gr_status status = j->path ? gr_model_load(j->path, NULL, &model, &err)
                               : gr_model_load_memory(j->text, strlen(j->text), NULL, NULL, &model, &err);
    if (status == GR_OK) status = gr_session_create(model, NULL, &session, &err);
    if (status == GR_OK) status = run_once(j, session, &err);
    bool failed = has_failed(n);
    gr_malloc_fail_after(0);
    if (status != GR_OK && status != GR_ENOMEM) FAIL("allocation %ld: %s: %s", n, gr_status_text(status), err.text);
    if (status == GR_ENOMEM && !*err.text) FAIL("allocation %ld: no sentence", n);
    if (status == GR_ENOMEM && session) { /* the session is as good as before */
        err.text[0] = 0;
        if (run_once(j, session, &err) != GR_OK) FAIL("allocation %ld: then %s", n, err.text);
    }
    gr_session_free(session);
    gr_model_free(model);
    return failed;
}

static void fail_each(job *j)
{
    enum { EVERY_UP_TO = 300, MOST = 100000000 };
    long n = 1, runs = 0;
    CU_ASSERT_TRUE(attempt(j, 0));
    CU_ASSERT_PTR_NOT_NULL_FATAL(j->bytes);
    for (; n < MOST && attempt(j, n); runs++) n += n < EVERY_UP_TO ? 1 : n / 10;
    CU_ASSERT_TRUE(n < MOST && runs > 20);
    free(j->bytes);
}

static void test_bert(void)
{
    static int64_t ids[4] = {101, 7, 8, 102}, ones[4] = {1, 1, 1, 1}, zeros[4];
    static const int64_t dims[] = {1, 4};
    job j = {.path = GR_SOURCE_DIR "/models/bert-tiny/model.onnx",
             .in = {INTS("input_ids", 2, dims, ids), INTS("attention_mask", 2, dims, ones),
                    INTS("token_type_ids", 2, dims, zeros)},
             .nin = 3,
             .want = {"logits", "/bert/encoder/layer.0/attention/self/Softmax_output_0"}};
    fail_each(&j);
}

/* Functions, subgraphs, sequences, shapes that depend on data, sparse and overridden constants. */
static void test_everything_else(void)
{
    static float x[3] = {1, 0, 3}, k[3] = {1, 1, 1};
    static int64_t n = 2;
    static const int64_t dims[] = {3};
    job j = {.text = HEAD
             "g (float[N] x, int64 n, float[3] k) => (float[M] y) <bool yes = {1}, float[3] k = {2.0, 2.0, 2.0}, "
             "sparse_tensor(float[3]) w = (float[1] {1.0}, int64[1] {2}), int64[1] at = {1}> {\n"
             "  a = d.f <b = 0> (x, k)  t = Add (a, w)  e = SequenceEmpty <dtype = 1> ()\n"
             "  l, z, h = Loop (n, yes, t, e) <body = p (int64 i, bool c, float[N] v, seq(float[N]) s) => "
             "(bool o, float[N] q, seq(float[N]) r, float[N] u) { o = Identity (c)  q = Add (v, x)  r = SequenceInsert "
             "(s, v)  "
             "u = If (c) <then_branch = aa () => (float[N] m) { m = Neg (v) }, else_branch = bb () => (float[N] m) { m "
             "= Abs (v) }> }>\n"
             "  j = ConcatFromSequence <axis = 0> (z)  f = NonZero (j)  g = Transpose (f)  s = Squeeze (g, at)  y = "
             "Gather (j, s)\n}\n"
             "<domain: \"d\", opset_import: [\"\" : 17]> f <b> (x, k) => (y) { t = Softmax <axis = @b> (x)  y = Mul "
             "(t, k) }",
             .in = {FLOATS("x", 1, dims, x), INTS("n", 0, NULL, &n), FLOATS("k", 1, dims, k)},
             .nin = 3,
             .want = {"y", "l"}};
    fail_each(&j);
}

static CU_TestInfo tests[] = {{"BERT", test_bert}, {"everything else", test_everything_else}, CU_TEST_INFO_NULL};
CU_SuiteInfo suite_alloc = {"alloc", NULL, NULL, NULL, NULL, tests};
