/* SPDX-License-Identifier: Apache-2.0
 *
 * Lines through a model on several threads: one reads windows ahead, each stream takes the next batch, and the calling
 * thread tells of windows in their order. Whoever has nothing to do sleeps. Batches depend on the lines alone, not on
 * who is quick, and so does what is told when one fails.
 */
#include "run_job.h"
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>

enum { AHEAD = 3 }; /* windows in memory: one that ends, one that begins, one that is read */

typedef struct flow {
    run_job *job;
    const feed *feed;
    pthread_mutex_t lock;
    pthread_cond_t work, room; /* for streams, for the reader */
    sem_t news;                /* for the calling thread; a signal handler can post it */
    run_window *first, *last;  /* not yet told of */
    size_t windows;
    bool end, stop;           /* no more windows come; no more batches are taken */
    const run_window *failed; /* of the first batch that failed */
    size_t failed_batch;
    gr_err batch_err, read_err;
    bool read_failed;
    size_t items;
    int64_t tokens;
} flow;

typedef struct hand {
    flow *flow;
    run_stream *stream;
    pthread_t thread;
} hand;

/* ---- Reading ---- */

/* The lock is held. */
static void append(flow *f, run_window *w)
{
    *(f->first ? &f->last->next : &f->first) = w;
    f->last = w;
    f->windows++;
    pthread_cond_broadcast(&f->work);
}

/* An empty window is only ever the last. */
static void take_window(flow *f, run_window *w)
{
    if (w->item_count)
        append(f, w);
    else
        run_window_free(f->job, w);
}

static void *read_ahead(void *user)
{
    flow *f = user;
    run_window *w;
    bool end = false;
    pthread_mutex_lock(&f->lock);
    while (!end) {
        while (f->windows >= AHEAD && !f->stop) pthread_cond_wait(&f->room, &f->lock);
        if (f->stop) break;
        pthread_mutex_unlock(&f->lock);
        const bool ok = run_window_read(f->job, f->feed, &w, &end, &f->read_err);
        pthread_mutex_lock(&f->lock);
        f->read_failed = !ok;
        if (ok)
            take_window(f, w);
        else
            end = true;
    }
    f->end = true;
    pthread_cond_broadcast(&f->work);
    pthread_mutex_unlock(&f->lock);
    sem_post(&f->news);
    return NULL;
}

/* ---- Running ---- */

/* The next batch; waits for it. The lock is held. */
static run_window *take_batch(flow *f, size_t *batch)
{
    while (!f->stop) {
        run_window *w = f->first;
        while (w && w->taken == w->batches) w = w->next;
        if (w) {
            *batch = w->taken++;
            return w;
        }
        if (f->end) break;
        pthread_cond_wait(&f->work, &f->lock);
    }
    return NULL;
}

static void note_failure(flow *f, const run_window *w, size_t batch, const gr_err *err)
{
    f->stop = true;
    pthread_cond_broadcast(&f->work);
    pthread_cond_broadcast(&f->room);
    if (f->failed && (f->failed->lines_before < w->lines_before || (f->failed == w && f->failed_batch < batch))) return;
    f->failed = w;
    f->failed_batch = batch;
    f->batch_err = *err;
}

static void *run_batches(void *user)
{
    hand *h = user;
    flow *f = h->flow;
    run_window *w;
    size_t b;
    gr_err err;
    pthread_mutex_lock(&f->lock);
    while ((w = take_batch(f, &b))) {
        pthread_mutex_unlock(&f->lock);
        const int64_t before = h->stream->tokens;
        const size_t n = w->starts[b + 1] - w->starts[b];
        const bool ok = run_batch(h->stream, w, w->order + w->starts[b], n, &err);
        pthread_mutex_lock(&f->lock);
        w->done += ok;
        f->items += n;
        f->tokens += h->stream->tokens - before;
        if (!ok) note_failure(f, w, b, &err);
        sem_post(&f->news);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

/* ---- Telling ---- */

static run_window *take_done(flow *f)
{
    run_window *w = f->first;
    if (!w || w->done < w->batches) return NULL;
    f->first = w->next;
    f->windows--;
    pthread_cond_signal(&f->room);
    return w;
}

/* False: there is nothing more to wait for. */
static bool tell(flow *f, const run_listener *listener)
{
    pthread_mutex_lock(&f->lock);
    run_window *w = take_done(f);
    const bool over = !w && (f->stop || (f->end && !f->first));
    const size_t items = f->items;
    const int64_t tokens = f->tokens;
    pthread_mutex_unlock(&f->lock);
    listener->progress(listener->user, items, tokens);
    if (!w) return !over;
    listener->window(listener->user, w);
    run_window_free(f->job, w);
    sem_post(&f->news); /* the next may be done, too */
    return true;
}

static void stop(flow *f)
{
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_broadcast(&f->work);
    pthread_cond_broadcast(&f->room);
    pthread_mutex_unlock(&f->lock);
}

/* ---- All of it ---- */

static void start(pthread_t *thread, void *(*work)(void *), void *user)
{
    if (pthread_create(thread, NULL, work, user)) cli_die(CLI_EXIT_FAILURE, "no thread can be started");
}

static bool outcome(const flow *f, gr_err *err)
{
    if (engine_interrupted()) return cli_fail(err, GR_ECANCELLED, "interrupted");
    if (f->failed || f->read_failed) *err = f->failed ? f->batch_err : f->read_err;
    return !f->failed && !f->read_failed;
}

bool run_lines(run_job *job, run_stream *streams, size_t count, run_window *first, bool end,
               const run_listener *listener, gr_err *err)
{
    flow *f = cli_alloc(sizeof *f);
    hand *hands = cli_array(count, sizeof *hands);
    pthread_t reader;
    *f = (flow){.job = job,
                .feed = &streams[0].f,
                .lock = PTHREAD_MUTEX_INITIALIZER,
                .work = PTHREAD_COND_INITIALIZER,
                .room = PTHREAD_COND_INITIALIZER,
                .end = end};
    sem_init(&f->news, 0, 0);
    engine_wake_on_interrupt(&f->news);
    append(f, first);
    if (!end) start(&reader, read_ahead, f);
    for (size_t i = 0; i < count; i++) {
        hands[i] = (hand){.flow = f, .stream = &streams[i]};
        start(&hands[i].thread, run_batches, &hands[i]);
    }
    for (bool more = true; more && !engine_interrupted();) {
        if (sem_wait(&f->news) && errno == EINTR) continue;
        more = tell(f, listener);
    }
    stop(f);
    for (size_t i = 0; i < count; i++) pthread_join(hands[i].thread, NULL);
    /* A batch may have failed while one before it ran. */
    while (!engine_interrupted() && tell(f, listener)) continue;
    const bool ok = outcome(f, err);
    free(hands);
    if (!ok) { /* the reader may wait for a pipe, and has what is here until the process ends */
        if (!end) pthread_detach(reader);
        return false;
    }
    if (!end) pthread_join(reader, NULL);
    engine_wake_on_interrupt(NULL);
    sem_destroy(&f->news);
    free(f);
    return true;
}
