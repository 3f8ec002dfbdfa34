/* SPDX-License-Identifier: Apache-2.0
 *
 * Lines of ids through a model: what all streams of a run read, the windows of lines that they work on, and what a
 * stream has for itself. A window is read, made into batches, run and printed as a whole; results keep the order of
 * the lines.
 */
#ifndef CLI_RUN_JOB_H
#define CLI_RUN_JOB_H

#include "collect.h"
#include "engine.h"
#include "feed.h"
#include "run_inputs.h"
#include "show.h"
#include <pthread.h>

/* Time in which at least one run is under way. */
typedef struct run_clock {
    pthread_mutex_t lock;
    int active;
    double since, seconds, first; /* first: of the run that ended first */
} run_clock;

/* Settled before the first run. */
typedef struct run_job {
    engine e;
    run_inputs in;
    const char *positions; /* which rows of outputs are wanted; NULL: all */
    const char *output;
    bool json;
    int64_t top_k, batch, pad;
    int64_t choices;      /* 0: paragraphs say */
    size_t window;        /* lines that are read together; SIZE_MAX: all */
    size_t lines;         /* read so far */
    int rank, name_width; /* of the ids; of the widest name */
    cli_batch_rules rules;
    gr_value_info *declared; /* per wanted output; without a name: a value inside the graph */
    const char **names;
    size_t wanted;
    run_clock clock;
} run_job;

typedef struct run_window {
    struct run_window *next;
    size_t lines_before;
    cli_ids ids;
    cli_item *items; /* lines, or groups of lines for models with choices */
    size_t item_count;
    size_t *order, *starts; /* of batches, see cli_batches */
    size_t batches, taken, done;
    cli_text *shown;  /* per item */
    cli_tensor *kept; /* [item][output], for --output */
} run_window;

typedef struct run_stream {
    run_job *job;
    gr_session *session;
    feed f;
    gr_named_tensor *outputs;
    int64_t *picks, *places,
        *pick_starts; /* of the batch at hand: rows, positions in the line, where each item begins */
    size_t pick_cap, place_cap, start_cap;
    int64_t tokens, padded;
} run_stream;

bool run_stream_open(run_stream *s, run_job *job, gr_session *session, gr_err *err);
void run_stream_close(run_stream *s);
/* Run on the inputs that the feed has made. */
bool run_stream_run(run_stream *s, gr_err *err);
void run_show(const run_job *job, size_t output, const gr_tensor_view *v, const show_options *o, cli_text *text,
              cli_json *j);

/* The next lines, at least one unless *end is set: there are no more then. Items and batches of them. */
bool run_window_read(run_job *job, const feed *f, run_window **out, bool *end, gr_err *err);
void run_window_free(const run_job *job, run_window *w);
/* Run items order[0..n) as one batch and keep what is to be shown and written. On failure the sentence is complete. */
bool run_batch(run_stream *s, run_window *w, const size_t *order, size_t n, gr_err *err);

/* Who is told, on the calling thread, as long as the run takes. */
typedef struct run_listener {
    void (*window)(void *user, const run_window *w); /* one after another, in their order */
    void (*progress)(void *user, size_t items, int64_t tokens);
    void *user;
} run_listener;

/* Run all lines, of which `first` (it becomes the callee's) has been read, on as many threads as there are streams,
 * while one reads ahead. What fails is the first batch, in their order, that does; windows before it are told of. */
bool run_lines(run_job *job, run_stream *streams, size_t count, run_window *first, bool end,
               const run_listener *listener, gr_err *err);

#endif
