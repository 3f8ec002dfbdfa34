/* SPDX-License-Identifier: Apache-2.0
 *
 * Sessions: options, limits, cancelling, several threads, and the state of the thread that runs.
 */
#include "support.h"
#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

static gr_err err;

#define HEAD   "<ir_version: 10, opset_import: [\"\" : 17]> "
#define BERT   GR_SOURCE_DIR "/models/bert-tiny/model.onnx"
#define SIMPLE HEAD "g (float[A,B] x) => (float[A,B] y) { t = Relu (x)  y = Exp (t) }"

/* Adds 1 to x `n` times. */
#define COUNTER                                                                                                        \
    HEAD "g (int64 n, float[N] x) => (float[N] y) <bool yes = {1}, float one = {1.0}> {\n"                             \
         "  y = Loop (n, yes, x) <body = b (int64 i, bool c, float[N] v) => (bool d, float[N] w) "                     \
         "{ d = Identity (c)  w = Add (v, one) }>\n}"

static void pause_ms(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

/* ---- cancelling and limits ---- */

static void *cancel_later(void *session)
{
    for (int i = 0; i < 200; i++) { /* a run that has not begun when it comes goes on: ask again */
        pause_ms(10);
        gr_session_cancel(session);
    }
    return NULL;
}

static void test_cancel(void)
{
    running r;
    int64_t n = 900000000;
    float x[1] = {0};
    const int64_t dims[] = {1};
    gr_named_tensor in[] = {INTS("n", 0, NULL, &n), FLOATS("x", 1, dims, x)}, out = WANTED("y");
    pthread_t thread;
    if (!open_text(COUNTER, NULL, NULL, &r)) return;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, cancel_later, r.session), 0);
    CHECK_FAILS(gr_session_run(r.session, in, 2, &out, 1, &err), GR_ECANCELLED, "cancelled");
    pthread_join(thread, NULL);
    n = 5; /* the session is as good as before */
    CHECK_OK(gr_session_run(r.session, in, 2, &out, 1, &err));
    check_floats(&out.tensor, 1, (float[]){5});
    close_running(&r);
}

static void test_iterations(void)
{
    running r;
    int64_t n = 11;
    float x[1] = {0};
    const int64_t dims[] = {1};
    const gr_session_options ten = {.struct_size = sizeof ten, .max_iterations = 10};
    gr_named_tensor in[] = {INTS("n", 0, NULL, &n), FLOATS("x", 1, dims, x)}, out = WANTED("y");
    if (!open_text(COUNTER, NULL, &ten, &r)) return;
    CHECK_FAILS(gr_session_run(r.session, in, 2, &out, 1, &err), GR_ELIMIT, "10");
    n = 10;
    CHECK_OK(gr_session_run(r.session, in, 2, &out, 1, &err));
    close_running(&r);
}

static void test_memory_limit(void)
{
    running r;
    const gr_session_options limited = {.struct_size = sizeof limited, .max_memory = 1 << 20};
    const int64_t small[] = {4, 4}, large[] = {1024, 1024};
    float *x = calloc(1024 * 1024, sizeof *x);
    gr_named_tensor in = FLOATS("x", 2, small, x), out = WANTED("y");
    if (!x) abort();
    if (open_text(SIMPLE, NULL, &limited, &r)) {
        CHECK_OK(gr_session_run(r.session, &in, 1, &out, 1, &err));
        in = FLOATS("x", 2, large, x);
        CHECK_FAILS(gr_session_run(r.session, &in, 1, &out, 1, &err), GR_ELIMIT, "the limit is 1048576");
        in = FLOATS("x", 2, small, x);
        CHECK_OK(gr_session_run(r.session, &in, 1, &out, 1, &err));
        close_running(&r);
    }
    /* A value that doubles with every turn of a loop. */
    int64_t n = 60;
    const int64_t one[] = {1};
    out = WANTED("y"); /* of another session */
    gr_named_tensor grows[] = {INTS("n", 0, NULL, &n), FLOATS("x", 1, one, x)};
    if (open_text(HEAD "g (int64 n, float[N] x) => (float[M] y) <bool yes = {1}> {\n"
                       "  y = Loop (n, yes, x) <body = b (int64 i, bool c, float[K] v) => (bool d, float[L] w) "
                       "{ d = Identity (c)  w = Concat <axis = 0> (v, v) }>\n}",
                  NULL, &limited, &r)) {
        CHECK_FAILS(gr_session_run(r.session, grows, 2, &out, 1, &err), GR_ELIMIT, "memory limit");
        n = 3;
        CHECK_OK(gr_session_run(r.session, grows, 2, &out, 1, &err));
        CU_ASSERT_EQUAL(out.tensor.size, 8 * sizeof(float));
        close_running(&r);
    }
    free(x);
}

static void test_plan_cache(void)
{
    const int limits[] = {0, 4}, want[] = {16, 4};
    float x[64] = {0};
    for (int k = 0; k < 2; k++) {
        running r;
        const gr_session_options options = {.struct_size = sizeof options, .max_plans = limits[k]};
        gr_memory_info memory;
        gr_named_tensor out = WANTED("y");
        if (!open_text(SIMPLE, NULL, &options, &r)) return;
        for (int round = 0; round < 2; round++)
            for (int64_t i = 1; i <= 40; i++) {
                const int64_t dims[] = {1, i};
                gr_named_tensor in = FLOATS("x", 2, dims, x);
                CHECK_OK(gr_session_run(r.session, &in, 1, &out, 1, &err));
                CU_ASSERT_EQUAL(out.tensor.size, (size_t)i * 4);
                gr_session_memory(r.session, &memory);
                CU_ASSERT_TRUE(memory.plan_count <= (size_t)want[k]);
            }
        CU_ASSERT_EQUAL(memory.plan_count, (size_t)want[k]);
        CU_ASSERT_TRUE(memory.plan_bytes > 0 && memory.plan_bytes < 16u << 20);
        close_running(&r);
    }
}

/* ---- threads ---- */

enum { RUNS = 4, TOKENS = 24 };
typedef struct job {
    gr_model *model;
    int first; /* which of the shapes comes first */
    gr_status status;
    size_t sizes[RUNS];
    float *results[RUNS];
} job;

static void *run_all(void *user)
{
    static int64_t ids[TOKENS], ones[TOKENS], zeros[TOKENS];
    const int64_t shapes[RUNS][2] = {{1, 3}, {2, 12}, {3, 8}, {4, 1}};
    job *j = user;
    gr_session *session = NULL;
    const gr_session_options two = {.struct_size = sizeof two, .threads = 2};
    j->status = gr_session_create(j->model, &two, &session, NULL);
    for (int i = 0; i < RUNS && j->status == GR_OK; i++) {
        int which = (i + j->first) % RUNS;
        gr_named_tensor in[] = {INTS("input_ids", 2, shapes[which], ids),
                                INTS("attention_mask", 2, shapes[which], ones),
                                INTS("token_type_ids", 2, shapes[which], zeros)};
        gr_named_tensor out = WANTED("logits");
        j->status = gr_session_run(session, in, 3, &out, 1, NULL);
        if (j->status != GR_OK) break;
        j->sizes[which] = out.tensor.size;
        if (!(j->results[which] = malloc(out.tensor.size))) abort();
        memcpy(j->results[which], out.tensor.data, out.tensor.size);
    }
    gr_session_free(session);
    return NULL;
}

/* Sessions of one model side by side give, to the bit, what they give one after the other. */
static void test_two_threads(void)
{
    enum { JOBS = 3 };
    running r;
    job alone = {0}, jobs[JOBS] = {{0}};
    pthread_t threads[JOBS];
    if (!open_file(BERT, NULL, NULL, &r)) return;
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (job){.model = r.model, .first = i};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, run_all, &jobs[i]), 0);
    }
    for (int i = 0; i < JOBS; i++) pthread_join(threads[i], NULL);
    alone.model = r.model;
    run_all(&alone);
    CU_ASSERT_EQUAL(alone.status, GR_OK);
    for (int i = 0; i < JOBS; i++) {
        CU_ASSERT_EQUAL(jobs[i].status, GR_OK);
        for (int k = 0; k < RUNS; k++) {
            CU_ASSERT_TRUE(jobs[i].sizes[k] == alone.sizes[k] && alone.sizes[k] > 0 &&
                           !memcmp(jobs[i].results[k], alone.results[k], alone.sizes[k]));
            free(jobs[i].results[k]);
        }
    }
    for (int k = 0; k < RUNS; k++) free(alone.results[k]);
    close_running(&r);
}

static void test_thread_options(void)
{
    running r;
    gr_session *session = NULL;
    gr_session_options o = {.struct_size = sizeof o};
    float x[6] = {1, 2, 3, 4, 5, 6};
    const int64_t dims[] = {2, 3};
    gr_named_tensor in = FLOATS("x", 2, dims, x);
    if (!open_text(SIMPLE, NULL, NULL, &r)) return;
    CU_ASSERT_TRUE(gr_default_threads() >= 1);
    const int bad[] = {-1, 100000};
    for (int i = 0; i < 2; i++) {
        o.threads = bad[i];
        CHECK_FAILS(gr_session_create(r.model, &o, &session, &err), GR_EINVAL, "threads must be");
    }
    int before = omp_get_max_threads();
    for (o.threads = 1; o.threads <= 4; o.threads++) {
        gr_named_tensor out = WANTED("y");
        CHECK_OK(gr_session_create(r.model, &o, &session, &err));
        CHECK_OK(gr_session_run(session, &in, 1, &out, 1, &err));
        CU_ASSERT_EQUAL(out.tensor.size, sizeof x);
        CU_ASSERT_EQUAL(omp_get_max_threads(), before);
        gr_session_free(session);
    }
    close_running(&r);
}

/* ---- the thread that runs ---- */

static float quotient(float x, float y)
{
    volatile float p = x, q = y;
    return p / q;
}

static void test_denormals(void)
{
    running r;
    float x[4] = {1e-30f, 1, 1e-30f, 2};
    const int64_t dims[] = {2, 2};
    gr_named_tensor in = FLOATS("x", 2, dims, x), out = WANTED("y");
    if (!open_text(HEAD "g (float[A,B] x) => (float[A,B] y) <float tiny = {1e-10}> { y = Mul (x, tiny) }", NULL, NULL,
                   &r))
        return;
    CHECK_OK(gr_session_run(r.session, &in, 1, &out, 1, &err));
    const float *y = out.tensor.data;
#if defined(__x86_64__) || defined(__aarch64__)
    CU_ASSERT_TRUE(y[0] == 0 && y[1] == 1e-10f);
#endif
    CU_ASSERT_TRUE(quotient(1e-30f, 1e10f) > 0); /* and not flushed for the caller */
#if defined(__x86_64__)
    unsigned old = _mm_getcsr();
    const unsigned states[] = {0x1F80, 0x1F80 | 0x8040, 0x1F80 | 0x6000}; /* plain, flushing, rounding to zero */
    for (int i = 0; i < 3; i++) {
        _mm_setcsr(states[i]);
        gr_status status = gr_session_run(r.session, &in, 1, &out, 1, &err);
        unsigned after = _mm_getcsr();
        _mm_setcsr(old);
        CU_ASSERT_EQUAL(status, GR_OK);
        CU_ASSERT_EQUAL(after & ~0x3Fu, states[i]); /* but for the flags of exceptions */
    }
    _mm_setcsr(0x1F80);
    in.tensor.rank = 1; /* a run that fails restores it too */
    CU_ASSERT_EQUAL(gr_session_run(r.session, &in, 1, &out, 1, NULL), GR_EINPUT);
    CU_ASSERT_EQUAL(_mm_getcsr() & ~0x3Fu, 0x1F80);
    _mm_setcsr(old);
#endif
    close_running(&r);
}

/* ---- options and what a session tells ---- */

static int lines;
static void count_lines(void *user, gr_log_level level, const char *line)
{
    lines += user == &lines && level == GR_LOG_DISPATCH && *line && !strchr(line, '\n');
}

static void test_options(void)
{
    running r;
    gr_session *session = NULL;
    gr_session_options o = {.struct_size = sizeof o + 8};
    gr_model_options m = {.struct_size = sizeof m + 8};
    gr_model *model = NULL;
    if (!open_text(SIMPLE, NULL, NULL, &r)) return;
    CHECK_FAILS(gr_session_create(r.model, &o, &session, &err), GR_EINVAL, "later version");
    CHECK_FAILS(gr_model_load_memory(SIMPLE, sizeof SIMPLE - 1, NULL, &m, &model, &err), GR_EINVAL, "later version");
    CHECK_FAILS(gr_session_create(NULL, NULL, &session, &err), GR_EINVAL, "NULL");
    CHECK_FAILS(gr_session_create(r.model, NULL, NULL, &err), GR_EINVAL, "NULL");
    CHECK_FAILS(gr_model_load(NULL, NULL, &model, &err), GR_EINVAL, "NULL");
    o = (gr_session_options){.struct_size = offsetof(gr_session_options, max_plans),
                             .max_plans = -7}; /* an older one */
    CHECK_OK(gr_session_create(r.model, &o, &session, &err));
    gr_session_free(session);
    float x[6] = {0};
    const int64_t dims[] = {2, 3};
    gr_named_tensor in = FLOATS("x", 2, dims, x), out = WANTED("y");
    o = (gr_session_options){.struct_size = sizeof o, .log = count_lines, .log_user = &lines};
    lines = 0;
    CHECK_OK(gr_session_create(r.model, &o, &session, &err));
    CHECK_OK(gr_session_run(session, &in, 1, &out, 1, &err));
    CU_ASSERT_TRUE(lines >= 2);
    gr_session_free(session);
    gr_session_free(NULL);
    gr_model_free(NULL);
    close_running(&r);
}

/* ---- plans and profiles ---- */

static void test_prepare(void)
{
    running r;
    const gr_session_options options = {.struct_size = sizeof options, .profile = true, .threads = 1};
    const int64_t dims[] = {8, 16};
    float x[8 * 16];
    gr_named_tensor in = {"x", {GR_FLOAT, 2, dims, NULL, 0}}, out = WANTED("y");
    gr_memory_info before, after;
    gr_work_info work;
    gr_step_info step;
    for (int i = 0; i < 8 * 16; i++) x[i] = -1;
    if (!open_text(SIMPLE, NULL, &options, &r)) return;
    CHECK_FAILS(gr_session_step(r.session, 0, &step, &err), GR_EINVAL, "there is no step 0");
    CHECK_OK(gr_session_prepare(r.session, &in, 1, &out, 1, &err));
    gr_session_memory(r.session, &before);
    gr_session_work(r.session, &work);
    CU_ASSERT_EQUAL(work.steps, 2);
    CHECK_OK(gr_session_step(r.session, 1, &step, &err));
    CU_ASSERT_STRING_EQUAL(step.op, "Exp");
    CU_ASSERT_STRING_EQUAL(step.output, "y");
    CU_ASSERT_EQUAL(step.rank, 2);
    CU_ASSERT_EQUAL(step.bytes, 2 * sizeof x);
    CU_ASSERT_EQUAL(step.seconds, 0);
    in = FLOATS("x", 2, dims, x);
    CHECK_OK(gr_session_run(r.session, &in, 1, &out, 1, &err));
    gr_session_memory(r.session, &after);
    CU_ASSERT_TRUE(!memcmp(&before, &after, sizeof before)); /* the run takes what the plan said */
    CU_ASSERT_EQUAL(((float *)out.tensor.data)[0], 1);
    CHECK_OK(gr_session_step(r.session, 1, &step, &err));
    CU_ASSERT_TRUE(step.seconds > 0 && step.start > 0);
    CHECK_FAILS(gr_session_step(r.session, 2, &step, &err), GR_EINVAL, "there is no step 2");
    in.tensor.data = NULL; /* a run needs data */
    CHECK_FAILS(gr_session_run(r.session, &in, 1, &out, 1, &err), GR_EINPUT, "bytes");
    close_running(&r);
}

static size_t anonymous(void)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %llu", &kib) == 1) break;
    if (f) fclose(f);
    return (size_t)kib * 1024;
}

/* What one large batch needed goes back to the system: its results with the next run, all else at once. */
static void test_large_once(void)
{
    enum { LARGE = 16 << 20, KEPT = 20 << 20 };
    running r;
    float *x = calloc(LARGE, sizeof *x);
    int64_t dims[] = {1, LARGE};
    gr_named_tensor in = FLOATS("x", 2, dims, x), out = WANTED("y");
    if (!x || !open_text(SIMPLE, NULL, NULL, &r)) return;
    memset(x, 0, LARGE * sizeof *x);
    in.tensor.size = LARGE * sizeof *x;
    const size_t before = anonymous();
    CHECK_OK(gr_session_run(r.session, &in, 1, &out, 1, &err));
    CU_ASSERT_DOUBLE_EQUAL(((float *)out.tensor.data)[LARGE - 1], 1, 1e-5);
    const size_t large = anonymous();
    dims[1] = 3;
    in.tensor.size = 3 * sizeof *x;
    out = WANTED("y");
    CHECK_OK(gr_session_run(r.session, &in, 1, &out, 1, &err));
    const size_t after = anonymous();
    CU_ASSERT_DOUBLE_EQUAL(*(float *)out.tensor.data, 1, 1e-5);
#if !defined(__SANITIZE_ADDRESS__)
    CHECK_THAT(!before || (large - before >= LARGE * sizeof *x && after < before + KEPT), "%zu bytes, %zu, then %zu",
               before, large, after);
#endif
    (void)before, (void)large, (void)after;
    close_running(&r);
    free(x);
}

/* What a prepared session says it takes is what a run takes. */
static void test_foretold(void)
{
    enum { COUNT = 16 << 20 };
    running r;
    gr_memory_info memory;
    float *x = calloc(COUNT, sizeof *x);
    int64_t dims[] = {1, COUNT};
    gr_named_tensor in = FLOATS("x", 2, dims, x), out = WANTED("y");
    if (!x || !open_text(SIMPLE, NULL, NULL, &r)) return;
    memset(x, 1, COUNT * sizeof *x);
    in.tensor.size = COUNT * sizeof *x;
    const size_t before = anonymous();
    CHECK_OK(gr_session_prepare(r.session, &in, 1, &out, 1, &err));
    CHECK_OK(gr_session_run(r.session, &in, 1, &out, 1, &err));
    gr_session_memory(r.session, &memory);
    const double took = (double)anonymous() - (double)before;
    const double said = (double)(memory.arena_bytes + memory.plan_bytes + memory.packed_bytes);
#if !defined(__SANITIZE_ADDRESS__)
    CHECK_THAT(!before || (took < said * 1.03 && took > said * 0.97), "it took %.0f bytes and said %.0f", took, said);
#endif
    (void)took, (void)said;
    close_running(&r);
    free(x);
}

static CU_TestInfo tests[] = {
    {"plans and profiles", test_prepare},
    {"cancelling", test_cancel},
    {"limit of iterations", test_iterations},
    {"limit of memory", test_memory_limit},
    {"cache of plans", test_plan_cache},
    {"a large batch once", test_large_once},
    {"foretold memory", test_foretold},
    {"sessions in several threads", test_two_threads},
    {"number of threads", test_thread_options},
    {"denormals", test_denormals},
    {"options", test_options},
    CU_TEST_INFO_NULL,
};
CU_SuiteInfo suite_session = {"session", NULL, NULL, NULL, NULL, tests};
