/* SPDX-License-Identifier: Apache-2.0
 *
 * Many threads with a session each over one model: all that sessions share (graphs, packed weights, descriptions) is
 * first made while others use it, and every result has the bits of a thread alone.
 */
#include "support.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { STREAMS = 6, SHAPES = 12, ROUNDS = 2, MOST_ROWS = 6, MOST_TOKENS = 40, PICKS = 3, MIDDLES = 2 };

static gr_err err;

/* One batch with padding; the same for the same number. */
typedef struct batch {
    int64_t dims[2];
    int64_t ids[MOST_ROWS * MOST_TOKENS], mask[MOST_ROWS * MOST_TOKENS], types[MOST_ROWS * MOST_TOKENS];
    gr_named_tensor in[3];
} batch;

static void make_batch(uint32_t number, batch *b)
{
    uint32_t state = number + 1;
    b->dims[0] = 1 + number % MOST_ROWS;
    b->dims[1] = 3 + next_random(&state) % (MOST_TOKENS - 2);
    for (int64_t r = 0, i = 0; r < b->dims[0]; r++) {
        const int64_t length = r ? 1 + next_random(&state) % (uint32_t)b->dims[1] : b->dims[1];
        for (int64_t t = 0; t < b->dims[1]; t++, i++) {
            b->mask[i] = t < length;
            b->ids[i] = t < length ? next_random(&state) % 3000 : 0;
            b->types[i] = 0;
        }
    }
    b->in[0] = INTS("input_ids", 2, b->dims, b->ids);
    b->in[1] = INTS("attention_mask", 2, b->dims, b->mask);
    b->in[2] = INTS("token_type_ids", 2, b->dims, b->types);
}

/* What a session is told, by its number. */
static gr_session_options options_of(int session)
{
    static const gr_precision precisions[] = {GR_PRECISION_F32, GR_PRECISION_INT8, GR_PRECISION_BF16};
    return (gr_session_options){.struct_size = sizeof(gr_session_options), .threads = 1 + session % 2, .max_plans = 4,
                                .skip_padding = session % 3 != 1, .few_runs = session == STREAMS - 1,
                                .precision = precisions[session % 3]};
}

typedef struct stream {
    gr_model *model;
    int number;
    const char *middle; /* a value that only the graph as it is in the file has */
    atomic_int *ready;  /* counts threads, so that all begin together; NULL: nobody waits */
    uint64_t sums[SHAPES][MIDDLES];
    gr_status status;
    gr_err err;
} stream;

static uint64_t sum_of(const gr_tensor_view *t)
{
    uint64_t sum = (uint64_t)t->size;
    for (size_t i = 0; i < t->size / 4; i++) sum = (sum ^ ((const uint32_t *)t->data)[i]) * UINT64_C(0x100000001B3);
    return sum;
}

static gr_status run_shape(stream *s, gr_session *session, uint32_t shape, bool first)
{
    batch b;
    const int64_t rows[PICKS] = {0, 1, 2};
    gr_named_tensor out[] = {WANTED("logits"), WANTED(s->middle)};
    make_batch(shape, &b);
    GR_TRY(gr_session_pick(session, rows, shape % 4 == 3 ? PICKS : 0, &s->err));
    GR_TRY(gr_session_run(session, b.in, 3, out, shape % 2 + 1, &s->err));
    for (uint32_t i = 0; i < shape % 2 + 1; i++) {
        const uint64_t sum = sum_of(&out[i].tensor);
        if (first) s->sums[shape][i] = sum;
        else if (s->sums[shape][i] != sum) return gr_fail(&s->err, GR_EINVAL, "shape %u has other bits", shape);
    }
    return GR_OK;
}

static gr_status run_all(stream *s)
{
    gr_session *session;
    gr_value_info info;
    gr_memory_info memory;
    const gr_session_options o = options_of(s->number);
    GR_TRY(gr_session_create(s->model, &o, &session, &s->err));
    gr_status status = GR_OK;
    for (uint32_t i = 0; status == GR_OK && i < SHAPES * ROUNDS; i++) {
        status = run_shape(s, session, (i + (uint32_t)s->number) % SHAPES, i < SHAPES);
        gr_session_memory(session, &memory);
        if (status == GR_OK) status = gr_model_value(s->model, i % 2 ? "logits" : s->middle, &info, &s->err);
    }
    gr_session_free(session);
    return status;
}

static void *work(void *user)
{
    stream *s = user;
    if (s->ready) (*s->ready)++;
    while (s->ready && *s->ready < STREAMS) continue;
    s->status = run_all(s);
    return NULL;
}

/* The output of the last Softmax: attention takes it in, so only the graph without passes has it. */
static const char *find_middle(gr_model *m)
{
    gr_value_info info;
    static const char name[] = "/bert/encoder/layer.1/attention/self/Softmax_output_0";
    return gr_model_value(m, name, &info, &err) == GR_OK ? name : "logits";
}

static void run_streams(const char *path)
{
    running alone, shared;
    stream want[STREAMS] = {0}, got[STREAMS] = {0};
    pthread_t threads[STREAMS];
    atomic_int ready = 0;
    if (!open_file(path, NULL, NULL, &alone)) return;
    const char *middle = find_middle(alone.model);
    if (!open_file(path, NULL, NULL, &shared)) {
        close_running(&alone);
        return;
    }
    for (int i = 0; i < STREAMS; i++) {
        want[i] = (stream){.model = alone.model, .number = i, .middle = middle};
        work(&want[i]);
        CHECK_THAT(want[i].status == GR_OK, "session %d: %s", i, want[i].err.text);
    }
    for (int i = 0; i < STREAMS; i++) {
        got[i] = (stream){.model = shared.model, .number = i, .middle = middle, .ready = &ready};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, work, &got[i]), 0);
    }
    for (int i = 0; i < STREAMS; i++) {
        pthread_join(threads[i], NULL);
        CHECK_THAT(got[i].status == GR_OK, "stream %d: %s", i, got[i].err.text);
        CHECK_THAT(!memcmp(got[i].sums, want[i].sums, sizeof want[i].sums), "stream %d has other bits than alone", i);
    }
    close_running(&shared);
    close_running(&alone);
}

static void test_streams(void) { run_streams(GR_SOURCE_DIR "/models/bert-tiny/model.onnx"); }

static CU_TestInfo tests[] = {
    {"many sessions of one model at once have the bits of each alone", test_streams},
    CU_TEST_INFO_NULL,
};

CU_SuiteInfo suite_streams = {"streams", NULL, NULL, NULL, NULL, tests};
