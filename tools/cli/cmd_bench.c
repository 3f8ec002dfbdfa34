/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun bench: how long a model takes by shape, with random ids.
 */
#include "json.h"
#include "trial.h"
#include <math.h>
#include <stdlib.h>

#define RUNS_MIN 5
#define RUNS_MAX 100000

typedef struct bench {
    trial t;
    double seconds;
    int64_t runs;
    bool json;
    double *times;
    size_t count, cap;
    cli_text out;
    cli_json j;
} bench;

typedef struct measured {
    double first, median, p90, least;
    double tokens, flops;
    size_t anonymous, arena;
    size_t runs;
} measured;

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool measure(bench *b, const cli_sizes *shape, measured *m, gr_err *err)
{
    *m = (measured){0};
    if (!trial_first(&b->t, shape, &m->first, err)) return false;
    m->tokens = (double)(b->t.f.rows * b->t.f.choices * b->t.f.length);
    b->count = 0;
    double seconds, start = cli_now();
    size_t least = b->runs > 0 ? (size_t)b->runs : RUNS_MIN, most = b->runs > 0 ? (size_t)b->runs : RUNS_MAX;
    while (b->count < least || (cli_now() - start < b->seconds && b->count < most)) {
        if (!trial_run(&b->t, &seconds, err)) return false;
        *CLI_PUSH(b->times, b->count, b->cap) = seconds;
    }
    qsort(b->times, b->count, sizeof *b->times, ascending);
    size_t n = b->count;
    m->runs = n;
    m->least = b->times[0];
    m->median = n % 2 ? b->times[n / 2] : (b->times[n / 2 - 1] + b->times[n / 2]) / 2;
    m->p90 = b->times[(size_t)ceil(0.9 * (double)n) - 1];
    gr_work_info work = {0};
    gr_memory_info memory = {0};
    gr_session_work(b->t.e.session, &work);
    gr_session_memory(b->t.e.session, &memory);
    m->flops = work.flops;
    m->arena = memory.arena_bytes;
    m->anonymous = engine_anonymous_memory();
    return true;
}

static void report(bench *b, const cli_sizes *shape, const measured *m)
{
    char name[80];
    trial_shape_text(shape, name, sizeof name);
    if (b->json) {
        json_open(&b->j, NULL, '{');
        json_text(&b->j, "shape", name);
        json_int(&b->j, "runs", (int64_t)m->runs);
        json_number(&b->j, "first_run_ms", 1e3 * m->first);
        json_number(&b->j, "median_ms", 1e3 * m->median);
        json_number(&b->j, "p90_ms", 1e3 * m->p90);
        json_number(&b->j, "least_ms", 1e3 * m->least);
        json_number(&b->j, "tokens_per_second", m->tokens / m->median);
        json_number(&b->j, "gflop_per_second", m->flops / m->median / 1e9);
        json_int(&b->j, "anonymous_bytes", (int64_t)m->anonymous);
        json_int(&b->j, "arena_bytes", (int64_t)m->arena);
        json_close(&b->j, '}');
        return;
    }
    cli_add(&b->out, "%-10s %9.2f ms %9.2f ms %9.2f ms %10s %8.1f %11s %11s\n", name, 1e3 * m->first, 1e3 * m->median,
            1e3 * m->p90, cli_thousands((int64_t)(m->tokens / m->median)), m->flops / m->median / 1e9,
            cli_bytes(m->anonymous), cli_bytes(m->arena));
    cli_flush(&b->out);
}

static void begin_report(bench *b)
{
    int threads = b->t.e.threads > 0 ? (int)b->t.e.threads : gr_default_threads();
    if (b->json) {
        b->j = (cli_json){&b->out, true};
        json_open(&b->j, NULL, '{');
        json_text(&b->j, "model", b->t.e.path);
        json_text(&b->j, "version", gr_version_string());
        json_int(&b->j, "threads", threads);
        json_number(&b->j, "load_ms", 1e3 * b->t.e.load_seconds);
        json_number(&b->j, "create_ms", 1e3 * b->t.create_seconds);
        json_open(&b->j, "shapes", '[');
        return;
    }
    cli_add(&b->out, "%s: %d thread%s, loaded in %.1f ms, session in %.1f ms\n", cli_show(b->t.e.path), threads,
            threads == 1 ? "" : "s", 1e3 * b->t.e.load_seconds, 1e3 * b->t.create_seconds);
    cli_add(&b->out, "%-10s %12s %12s %12s %10s %8s %11s %11s\n", "shape", "first run", "median", "p90", "tokens/s",
            "GFLOP/s", "anonymous", "arena");
    cli_flush(&b->out);
}

static void end_report(bench *b)
{
    if (b->json) {
        json_close(&b->j, ']');
        json_text(&b->j, "onednn", gr_onednn_version_string()); /* loads it, which was not to be measured */
        json_close(&b->j, '}');
        cli_add(&b->out, "\n");
    }
    cli_flush(&b->out);
}

static void run_shapes(bench *b, const cli_sizes *shapes, size_t n)
{
    gr_err err;
    for (size_t i = 0; i < n; i++) {
        measured m;
        if (!measure(b, &shapes[i], &m, &err)) {
            char name[80];
            trial_shape_text(&shapes[i], name, sizeof name);
            cli_fail_context(&err, "shape %s", name);
            engine_die(&b->t.e, &err);
        }
        report(b, &shapes[i], &m);
    }
}

static int run(const cli_command *self, int argc, char **argv)
{
    bench b = {.seconds = 1};
    cli_list names = {0}, inputs = {0};
    const char *shape = NULL;
    cli_sizes shapes[TRIAL_SHAPES];
    const cli_option options[] = {
        {"--shape", "LIST", CLI_WORD, &shape,
         "BATCHxLENGTH or BATCHxCHOICESxLENGTH, several apart by commas\n(default 1x8,1x32,1x128,8x128, or what the "
         "model fixes)",
         0},
        {"--seconds", "X", CLI_REAL, &b.seconds, "measure each shape for that long, and at least 5 runs (default 1)",
         0},
        {"--runs", "N", CLI_INT, &b.runs, "exactly N runs per shape instead", 1},
        {"--input", "NAME=FILE", CLI_WORDS, &inputs, "an input that is not to be random; repeatable", 0},
        TRIAL_POSITIONS(b.t),
        {"--json", NULL, CLI_FLAG, &b.json, "print JSON instead of text", 0},
        ENGINE_OPTIONS(b.t.e),
        {0}};
    cli_parse(self, options, argc, argv, &names);
    if (names.n != 1) cli_usage(self, "give one model");
    trial_open(&b.t, self, names.items[0], &inputs);
    size_t n = trial_shapes(&b.t, self, shape, "1x8,1x32,1x128,8x128", shapes);
    engine_catch_interrupt(&b.t.e);
    begin_report(&b);
    run_shapes(&b, shapes, n);
    end_report(&b);
    free(b.times);
    free(names.items);
    free(inputs.items);
    cli_text_free(&b.out);
    trial_close(&b.t);
    return CLI_EXIT_OK;
}

const cli_command cli_bench_command = {
    "bench", run, "latency, throughput and memory by shape", "graphrun bench MODEL [options]",
    "Runs the model with random token ids of each shape and prints the time of the first run (which plans\n"
    "the shape and packs weights that are not packed yet), median and 90th percentile of the further runs,\n"
    "tokens per second, floating-point speed of its matrix products, the anonymous memory of the process\n"
    "and the activations and scratch among it. Masks, token types and positions are derived as for\n"
    "\"graphrun run\"; inputs that can't be are random, with BATCH for the first open dimension and LENGTH\n"
    "for the others, unless --input gives them."};
