/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun MODEL --input …: run a model on lines of token ids, or once on given tensors, and show or write the outputs.
 */
#include "positions.h"
#include "run_job.h"
#include <stdlib.h>

/* Lines whose results may wait for those before them while batches take similar lengths together. */
#define WINDOW         2048
#define ROWS_DEFAULT   128
#define TOKENS_DEFAULT 1024 /* enough for a thread's products to be at their best, and little memory for each stream */

typedef struct command {
    run_job job;
    cli_list inputs, fetch;
    bool time, padding;
    int64_t streams_asked, window;
    run_stream *streams;
    size_t stream_count;
    collect keep;
    int64_t *lengths; /* of lines, for --output */
    size_t length_count, length_cap, choice_count;
    bool uneven; /* items of different numbers of lines */
    bool printed;
    cli_text text; /* stdout; for JSON the whole document */
    cli_json j;
    progress bar;
    double start;
} command;

/* ---- Outputs ---- */

static void choose_outputs(command *c)
{
    size_t declared = gr_model_output_count(c->job.e.model), n = c->fetch.n ? c->fetch.n : declared;
    c->job.declared = cli_array(n, sizeof *c->job.declared);
    c->job.names = cli_array(n, sizeof *c->job.names);
    for (size_t i = 0; i < n; i++) {
        gr_value_info info = {.name = NULL};
        for (size_t o = 0; o < declared; o++) {
            if (gr_model_output(c->job.e.model, o, &info) != GR_OK) continue;
            if (c->fetch.n ? !strcmp(info.name, c->fetch.items[i]) : o == i) break;
            info.name = NULL;
        }
        bool loss = info.name && strstr(info.name, "loss") && c->streams[0].f.labels_derived;
        if (loss && !c->fetch.n) {
            cli_note("'%s' is left out, as the labels are not given", cli_show(info.name));
            continue;
        }
        if (loss) cli_note("'%s' is of labels that are all 0, as none are given", cli_show(info.name));
        c->job.declared[c->job.wanted] = info;
        c->job.names[c->job.wanted++] = info.name ? info.name : c->fetch.items[i];
    }
    if (!c->job.wanted) cli_die(CLI_EXIT_FAILURE, "no output is left");
}

static int widest_name(const run_job *r)
{
    size_t width = 0;
    for (size_t i = 0; i < r->wanted; i++)
        if (strlen(r->names[i]) > width) width = strlen(r->names[i]);
    return (int)(width < 40 ? width : 40);
}

/* ---- Lines ---- */

/* A value that isn't told apart by rows is got by running one line at a time, where the model lets us. */
static bool line_by_line(const run_job *job)
{
    for (size_t i = 0; i < job->wanted; i++)
        if (!job->declared[i].name || job->declared[i].rank == 0) return true;
    return false;
}

static void settle_rules(command *c)
{
    run_job *job = &c->job;
    const feed *f = &c->streams[0].f;
    const bool single = f->batch_size < 0 && (line_by_line(job) || job->rank == 1);
    const int64_t rows = f->batch_size > 0 ? f->batch_size : single ? 1 : job->batch > 0 ? job->batch : ROWS_DEFAULT;
    job->rules = (cli_batch_rules){rows, job->batch > 0 || f->batch_size > 0 ? INT64_MAX : TOKENS_DEFAULT,
                                   !f->has_mask && f->length_fixed < 0};
    if (f->choices_fixed > 0) job->choices = f->choices_fixed;
    job->window = job->in.count ? SIZE_MAX : (size_t)c->window; /* given tensors have rows for all lines */
    if (!f->has_mask && f->length_fixed > 0)
        cli_note("the model has a fixed length of %lld and no mask, so it sees the padding", (long long)f->length_fixed);
}

/* So few lines that packing all weights would take longer than the runs. */
static bool is_short(const run_window *w)
{
    enum { FEW_LINES = 8, FEW_TOKENS = 512 };
    return !w || (w->ids.line_count <= FEW_LINES && w->ids.id_count <= FEW_TOKENS);
}

/* Runs of one thread each, side by side, wait for nobody, and while one result is printed others are computed. So there
 * are as many streams as threads, if each gets enough batches that they end together. */
static int64_t choose_streams(const command *c, const run_window *w, bool end, int64_t threads)
{
    enum { BATCHES_EACH = 4 };
    const run_job *job = &c->job;
    if (c->streams_asked) return c->streams_asked;
    if (!w || job->e.max_memory || engine_precision(&job->e) == GR_PRECISION_AUTO) return 1;
    int64_t n = end ? (int64_t)w->batches / BATCHES_EACH : threads;
    if (n > threads) n = threads;
    while (n > 1 && threads % n) n--;
    return n < 1 ? 1 : n;
}

/* Threads and memory are shared out among the streams. */
static void open_streams(command *c, const run_window *w, bool end)
{
    gr_err err;
    run_job *job = &c->job;
    const int64_t threads = job->e.threads ? job->e.threads : gr_default_threads(), n = choose_streams(c, w, end, threads);
    run_stream *streams = cli_array((size_t)n, sizeof *streams);
    streams[0] = c->streams[0];
    free(c->streams);
    c->streams = streams;
    job->e.threads = threads / n ? threads / n : 1;
    job->e.sharing = (size_t)n;
    job->e.few_runs = end && is_short(w);
    if (!engine_start(&job->e, &err)) engine_die(&job->e, &err);
    streams[0].session = job->e.session;
    for (c->stream_count = 1; (int64_t)c->stream_count < n; c->stream_count++) {
        gr_session *session;
        if (!engine_add_session(&job->e, &session, &err) ||
            !run_stream_open(&streams[c->stream_count], job, session, &err))
            engine_die(&job->e, &err);
    }
}

static void keep_window(command *c, const run_window *w)
{
    for (size_t i = 0; i < w->ids.line_count; i++)
        *CLI_PUSH(c->lengths, c->length_count, c->length_cap) = w->ids.lines[i].length;
    if (!c->choice_count) c->choice_count = w->items[0].lines;
    for (size_t i = 0; i < w->item_count; i++) c->uneven |= w->items[i].lines != c->choice_count;
    collect_add(&c->keep, w->kept, w->item_count);
}

static void take_window(void *user, const run_window *w)
{
    command *c = user;
    for (size_t i = 0; i < w->item_count; i++) {
        if (c->job.json && c->printed) cli_add(&c->text, ",\n  ");
        c->printed = true;
        if (w->shown[i].size) cli_add_bytes(&c->text, w->shown[i].data, w->shown[i].size);
    }
    if (c->job.output) keep_window(c, w);
    if (c->job.json || !c->text.size) return;
    progress_clear(&c->bar);
    cli_flush(&c->text);
}

static void take_progress(void *user, size_t items, int64_t tokens)
{
    command *c = user;
    if (items) progress_step(&c->bar, items, tokens);
}

static void run_all(command *c, run_window *first, bool end)
{
    gr_err err;
    const run_listener listener = {take_window, take_progress, c};
    progress_start(&c->bar, end ? first->item_count : 0, "lines");
    const bool ok = run_lines(&c->job, c->streams, c->stream_count, first, end, &listener, &err);
    progress_clear(&c->bar);
    if (ok) return;
    if (err.status == GR_ECANCELLED) exit(CLI_EXIT_INTERRUPT);
    cli_die(CLI_EXIT_FAILURE, "%s", err.text);
}

static void write_lengths(command *c)
{
    const bool grouped = c->job.rank == 3 && !c->uneven;
    const int64_t lines = (int64_t)c->length_count, dims[2] = {(int64_t)c->keep.items, (int64_t)c->choice_count};
    gr_err err;
    if (!collect_lengths(&c->keep, grouped ? 2 : 1, grouped ? dims : &lines, c->lengths, &err))
        cli_die(CLI_EXIT_FAILURE, "%s", err.text);
}

/* ---- Given tensors ---- */

static void run_once(command *c)
{
    gr_err err;
    run_job *job = &c->job;
    run_stream *s = &c->streams[0];
    show_options o = {.top_k = job->top_k, .name_width = job->name_width};
    cli_tensor *kept = cli_array(job->wanted, sizeof *kept);
    engine_check_interrupt();
    if (!feed_given(&s->f, &err) || !run_stream_run(s, &err)) {
        if (engine_interrupted()) exit(CLI_EXIT_INTERRUPT);
        engine_die(&job->e, &err);
    }
    for (size_t i = 0; i < job->wanted; i++) {
        const gr_tensor_view *v = &s->outputs[i].tensor;
        run_show(job, i, v, &o, &c->text, &c->j);
        if (job->output && !collect_copy(&kept[i], job->names[i], v, &err)) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
    }
    if (job->output) collect_add(&c->keep, kept, 1);
    free(kept);
    s->tokens = s->padded = s->f.base >= 0 ? s->f.rows * s->f.choices * s->f.length : 0;
}

/* ---- The document around the results ---- */

static void count_tokens(const command *c, int64_t *tokens, int64_t *padded)
{
    *tokens = *padded = 0;
    for (size_t i = 0; i < c->stream_count; i++) *tokens += c->streams[i].tokens, *padded += c->streams[i].padded;
}

static void report_time(const command *c)
{
    const run_clock *clock = &c->job.clock;
    int64_t tokens, padded;
    count_tokens(c, &tokens, &padded);
    fprintf(stderr, "load %.1f ms, first run %.1f ms, all runs %.1f ms", 1e3 * c->job.e.load_seconds, 1e3 * clock->first,
            1e3 * clock->seconds);
    if (tokens && clock->seconds > 0)
        fprintf(stderr, ", %s tokens (%s with padding), %s tokens/s", cli_thousands(tokens), cli_thousands(padded),
                cli_thousands((int64_t)((double)tokens / clock->seconds)));
    if (c->stream_count > 1) fprintf(stderr, ", %zu streams", c->stream_count);
    fprintf(stderr, ", in total %.1f ms\n", 1e3 * (cli_now() - c->start));
}

static void begin_document(command *c)
{
    c->j = (cli_json){&c->text, true};
    if (!c->job.json) return;
    json_open(&c->j, NULL, '{');
    json_text(&c->j, "model", c->job.e.path);
    json_open(&c->j, c->job.in.ids_path ? "lines" : "outputs", '[');
    if (c->job.in.ids_path) cli_add(&c->text, "\n  ");
}

static void end_document(command *c)
{
    int64_t tokens, padded;
    if (!c->job.json) return;
    count_tokens(c, &tokens, &padded);
    json_close(&c->j, ']');
    if (c->time) {
        json_open(&c->j, "time", '{');
        json_number(&c->j, "load_ms", 1e3 * c->job.e.load_seconds);
        json_number(&c->j, "first_run_ms", 1e3 * c->job.clock.first);
        json_number(&c->j, "runs_ms", 1e3 * c->job.clock.seconds);
        json_int(&c->j, "tokens", tokens);
        json_int(&c->j, "tokens_with_padding", padded);
        json_int(&c->j, "streams", (int64_t)c->stream_count);
        json_close(&c->j, '}');
    }
    json_close(&c->j, '}');
    cli_add(&c->text, "\n");
}

/* ---- The command ---- */

static void run_job_of(command *c)
{
    gr_err err;
    run_job *job = &c->job;
    run_window *first = NULL;
    bool end = true;
    c->streams = cli_array(1, sizeof *c->streams);
    if (!run_stream_open(&c->streams[0], job, NULL, &err)) engine_die(&job->e, &err);
    job->rank = feed_rank(&c->streams[0].f);
    choose_outputs(c);
    job->name_width = widest_name(job);
    settle_rules(c);
    if (job->in.ids_path && !run_window_read(job, &c->streams[0].f, &first, &end, &err))
        cli_die(CLI_EXIT_FAILURE, "%s", err.text);
    open_streams(c, first, end);
    if (job->output && !collect_open(&c->keep, job->output, !first, job->names, job->wanted, &err))
        cli_die(err.status == GR_EINVAL ? CLI_EXIT_USAGE : CLI_EXIT_FAILURE, "%s", err.text);
    engine_catch_interrupt(&job->e);
    begin_document(c);
    if (first)
        run_all(c, first, end);
    else
        run_once(c);
    end_document(c);
    if (job->output) {
        if (first) write_lengths(c);
        engine_check_interrupt();
        if (!collect_write(&c->keep, &err)) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
    }
    cli_flush(&c->text);
    if (c->time && !job->json) report_time(c);
}

static void close_command(command *c)
{
    collect_free(&c->keep);
    for (size_t i = 0; i < c->stream_count; i++) run_stream_close(&c->streams[i]);
    run_inputs_free(&c->job.in);
    cli_text_free(&c->text);
    free(c->streams);
    free(c->lengths);
    free(c->job.declared);
    free(c->job.names);
    free(c->inputs.items);
    free(c->fetch.items);
    pthread_mutex_destroy(&c->job.clock.lock);
    engine_close(&c->job.e);
}

/* The padding of lines is ours; who gives tensors by name gets what the graph says of each of their rows. */
static bool all_lines(const cli_list *inputs)
{
    for (size_t i = 0; i < inputs->n; i++)
        if (strchr(inputs->items[i], '=')) return false;
    return true;
}

static int run(const cli_command *self, int argc, char **argv)
{
    command c = {.job = {.top_k = -1, .clock.lock = PTHREAD_MUTEX_INITIALIZER}, .window = WINDOW, .start = cli_now()};
    run_job *job = &c.job;
    cli_list names = {0};
    gr_err err;
    const cli_option options[] = {
        {"--input", "[NAME=]FILE", CLI_WORDS, &c.inputs, "ids.txt, or an input by its name; repeatable, see above", 0},
        {"--output", "WHERE", CLI_WORD, &job->output, "write the outputs to FILE.npz, FILE.npy or a folder, see above", 0},
        {"--fetch", "NAME", CLI_WORDS, &c.fetch,
         "this output, or any value inside the graph, instead of all outputs;\nrepeatable", 0},
        {"--positions", "WHICH", CLI_WORD, &job->positions,
         "all (default), first, last, mask:ID (where that id stands) or numbers as 0,3,7: only these\ntokens of every output that has tokens; the others are not computed", 0},
        {"--json", NULL, CLI_FLAG, &job->json, "print one JSON document instead of text", 0},
        {"--top-k", "K", CLI_INT, &job->top_k, "likeliest ids of logits at every position (0: none)", 0},
        {"--batch", "N", CLI_INT, &job->batch, "lines per run (default: up to 128, and 1024 tokens with padding)", 1},
        {"--streams", "N", CLI_INT, &c.streams_asked,
         "runs side by side, among which threads and memory are shared out (default: one for each\nthread if there are enough lines, else 1)", 1},
        {"--window", "N", CLI_INT, &c.window,
         "lines that are read, sorted by length into batches and printed together (default 2048);\n1: each line's result before the next line", 1},
        {"--pad", "ID", CLI_INT, &job->pad, "id that fills short lines of a batch (default 0)", INT64_MIN},
        {"--padding", NULL, CLI_FLAG, &c.padding, "compute rows of padding too, which are left out or zeros else", 0},
        {"--choices", "N", CLI_INT, &job->choices, "lines per question, for multiple-choice models", 1},
        ENGINE_OPTIONS(c.job.e),
        {"--time", NULL, CLI_FLAG, &c.time, "say on stderr how long loading and running took", 0},
        {"--quiet", NULL, CLI_FLAG, &cli_quiet, "no summary, no notes, no progress bar", 0},
        {0}};
    cli_parse(self, options, argc, argv, &names);
    if (names.n != 1)
        cli_usage(self, names.n ? "'%s' is one name too many" : "give a model%s",
                  names.n ? cli_show(names.items[1]) : "");
    if (job->e.verbose && strcmp(job->e.verbose, "dispatch")) cli_usage(self, "--verbose knows only 'dispatch'");
    if (job->positions && !strcmp(job->positions, "all")) job->positions = NULL;
    if (job->positions && !cli_is_positions(job->positions))
        cli_usage(self, "--positions is all, first, last, mask:ID or numbers as 0,3,7, not '%s'", cli_show(job->positions));
    if (c.streams_asked > 1024) cli_usage(self, "--streams is at most 1024");
    if (c.streams_asked > 1 && job->e.precision && !strcmp(job->e.precision, "auto"))
        cli_usage(self, "--precision auto is settled by the first run of one session: give --streams 1 or a precision");
    job->e.skip_padding = !c.padding && all_lines(&c.inputs);
    if (!engine_load(&job->e, names.items[0], &err)) engine_die(&job->e, &err);
    job->in.model = job->e.model, job->in.max_memory = job->e.max_memory, job->in.later = true;
    for (size_t i = 0; i < c.inputs.n; i++) run_inputs_add(&job->in, c.inputs.items[i]);
    if (job->positions && !job->in.ids_path) cli_usage(self, "--positions needs lines of token ids");
    run_job_of(&c);
    close_command(&c);
    free(names.items);
    return CLI_EXIT_OK;
}

const cli_command cli_run_command = {
    "run", run, "run a model on token ids or on given tensors (the word \"run\" can be left out)",
    "graphrun MODEL --input ids.txt [--input NAME=FILE]... [options]",
    "MODEL is an .onnx file, a folder with model.onnx in it, or .onnxtxt (ONNX's textual syntax).\n"
    "\n"
    "ids.txt (\"-\": standard input) has one sequence of token ids per line, apart by spaces or commas;\n"
    "'|' stands between the segments of a pair, blank lines are skipped, '#' begins a comment. Lines\n"
    "of similar length run as one batch; results come in the order of the lines. What the model wants\n"
    "beside the ids is derived from them unless it is given: attention mask, token types, positions,\n"
    "an empty cache of keys and values, a head mask of ones. A model without a mask gets only lines of\n"
    "one length together; one with fixed shapes is filled up, and the filling is not shown. For a model\n"
    "with inputs [batch, choices, sequence] each line is a choice and a blank line ends a question.\n"
    "\n"
    "NAME=FILE gives an input as .npy, .npz (the member NAME, or the only one), .pb (ONNX TensorProto),\n"
    "or as text: numbers, one row per line, with comments \"# shape 2x3\" and \"# type float\" if needed.\n"
    "Without NAME, an .npz gives every member by its name, a .pb is what its tensor is called. Beside\n"
    "ids, an input with as many rows as there are lines is cut into the same batches.\n"
    "\n"
    "Shown are type, shape, least … greatest value and the first and last values of each output; for\n"
    "logits the likeliest ids with their probabilities (softmax) per position.\n"
    "--output holds one array per output: with ids one row per line, short rows filled with zeros, and\n"
    "an array \"lengths\" with the tokens of each line; else the tensors as they are. In a folder each is\n"
    "NAME.npy. A leading '/' of a name is dropped; bfloat16 and 8-bit floats are written as float32."};
