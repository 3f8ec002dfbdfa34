/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun profile: where the time of a run goes, step by step, and how near each is to what the machine can do.
 */
#include "inspect/roof.h"
#include "json.h"
#include "trial.h"
#include <stdlib.h>

typedef struct line { /* a step, or all steps of one operator */
    gr_step_info step;
    int64_t count;
    double seconds, flops, bytes, roof; /* roof: the least time that the machine could take */
} line;

typedef struct profile {
    trial t;
    bool json;
    int64_t runs, top;
    gr_roof roof;
    line *steps, *ops;
    size_t nsteps, nops;
    double total, wall; /* of the steps, and of the run around them */
    cli_text out;
} profile;

/* A step cannot be faster than its operations at full speed, nor than its operands come from memory. What stays in a
 * cache comes sooner, so small steps may be above that. */
static double least_time(const gr_roof *roof, const gr_step_info *s)
{
    double compute = s->flops / roof->flops, memory = (double)s->bytes / roof->bandwidth;
    return compute > memory ? compute : memory;
}

static void add_run(profile *p)
{
    for (size_t i = 0; i < p->nsteps; i++) {
        gr_step_info s;
        if (gr_session_step(p->t.e.session, i, &s, NULL) != GR_OK) continue;
        line *l = &p->steps[i];
        /* The best of the runs: what others take of the machine is not the step's. */
        if (!l->count || s.seconds < l->seconds) l->seconds = s.seconds;
        l->step = s;
        l->count = 1;
        l->flops = s.flops;
        l->bytes = (double)s.bytes;
        l->roof = least_time(&p->roof, &s);
    }
}

static int slower(const void *a, const void *b)
{
    const line *x = a, *y = b;
    return x->seconds != y->seconds ? (x->seconds < y->seconds) - (x->seconds > y->seconds)
                                    : (x->step.start > y->step.start) - (x->step.start < y->step.start);
}

/* No run is faster than all its products at full speed, nor than their constants come from memory once. */
static double least_run(const profile *p)
{
    double flops = 0, constants = 0;
    for (size_t i = 0; i < p->nsteps; i++) {
        flops += p->steps[i].flops;
        if (p->steps[i].flops > 0) constants += (double)p->steps[i].step.constant_bytes;
    }
    const double compute = flops / p->roof.flops, memory = constants / p->roof.bandwidth;
    return compute > memory ? compute : memory;
}

static void sum_ops(profile *p)
{
    p->ops = cli_array(p->nsteps, sizeof *p->ops);
    for (size_t i = 0; i < p->nsteps; i++) {
        const line *s = &p->steps[i];
        size_t k = 0;
        while (k < p->nops && (strcmp(p->ops[k].step.op, s->step.op) || strcmp(p->ops[k].step.domain, s->step.domain) ||
                               strcmp(p->ops[k].step.kernel, s->step.kernel)))
            k++;
        line *o = &p->ops[k];
        if (k == p->nops) p->nops++, o->step = s->step;
        o->count++;
        o->seconds += s->seconds;
        o->flops += s->flops;
        o->bytes += s->bytes;
        o->roof += s->roof;
        p->total += s->seconds;
    }
    qsort(p->ops, p->nops, sizeof *p->ops, slower);
}

static bool measure(profile *p, const cli_sizes *shape, gr_err *err)
{
    double seconds;
    gr_work_info work;
    if (!trial_first(&p->t, shape, &seconds, err)) return false;
    gr_session_work(p->t.e.session, &work);
    p->nsteps = work.steps;
    p->steps = cli_array(p->nsteps, sizeof *p->steps);
    for (int64_t i = 0; i < p->runs; i++) {
        if (!trial_run(&p->t, &seconds, err)) return false;
        if (!i || seconds < p->wall) p->wall = seconds;
        add_run(p);
    }
    sum_ops(p);
    return true;
}

/* ---- text ---- */

static void figures(profile *p, const line *l)
{
    double s = l->seconds > 0 ? l->seconds : 1e-9;
    cli_add(&p->out, " %10.1f us %6.1f %%", 1e6 * l->seconds, p->total > 0 ? 100 * l->seconds / p->total : 0);
    if (l->flops > 0)
        cli_add(&p->out, " %9.1f", l->flops / s / 1e9);
    else
        cli_add(&p->out, " %9s", "");
    cli_add(&p->out, " %8.1f %6.0f %%", l->bytes / s / 1e9, 100 * l->roof / s);
}

static void print_text(profile *p, const char *shape)
{
    static const char columns[] = "time    share   GFLOP/s     GB/s   of roof";
    line *sorted = cli_array(p->nsteps, sizeof *sorted);
    memcpy(sorted, p->steps, p->nsteps * sizeof *sorted);
    qsort(sorted, p->nsteps, sizeof *sorted, slower);
    cli_add(&p->out, "%s, %s: %zu steps take %.3f ms of a run of %.3f ms\n", cli_show(p->t.e.path), shape, p->nsteps,
            1e3 * p->total, 1e3 * p->wall);
    cli_add(&p->out, "roof: %.1f GFLOP/s, %.1f GB/s with %d thread%s: products and their weights take %.3f ms at least\n\n",
            p->roof.flops / 1e9, p->roof.bandwidth / 1e9, p->roof.threads, p->roof.threads == 1 ? "" : "s",
            1e3 * least_run(p));
    cli_add(&p->out, "%5s  %-26s %-11s %11s\n", "steps", "operator", "kernel", columns);
    for (size_t i = 0; i < p->nops; i++) {
        const line *l = &p->ops[i];
        cli_add(&p->out, "%5lld  %-26s %-11s", (long long)l->count, l->step.op, l->step.kernel);
        figures(p, l);
        cli_add(&p->out, "\n");
    }
    cli_add(&p->out, "\n%5s  %-26s %-11s %11s\n", "step", "operator", "kernel", columns);
    for (size_t i = 0; i < p->nsteps && (int64_t)i < p->top; i++) {
        const line *l = &sorted[i];
        size_t at = 0;
        while (at < p->nsteps && p->steps[at].step.start != l->step.start) at++;
        cli_add(&p->out, "%5zu  %-26s %-11s", at, l->step.op, l->step.kernel);
        figures(p, l);
        cli_add(&p->out, "  %s\n", cli_show(l->step.output));
    }
    free(sorted);
    cli_flush(&p->out);
}

/* ---- JSON ---- */

static void json_line(cli_json *j, const line *l, bool is_step)
{
    json_open(j, NULL, '{');
    json_text(j, "op", l->step.op);
    json_text(j, "domain", l->step.domain);
    json_text(j, "kernel", l->step.kernel);
    if (is_step) {
        json_text(j, "node", l->step.node);
        json_text(j, "output", l->step.output);
        json_dims(j, "shape", l->step.rank, l->step.dims);
    } else {
        json_int(j, "steps", l->count);
    }
    json_number(j, "seconds", l->seconds);
    json_number(j, "flops", l->flops);
    json_number(j, "bytes", l->bytes);
    json_number(j, "least_seconds", l->roof);
    json_close(j, '}');
}

static void print_json(profile *p, const char *shape)
{
    cli_json j = {&p->out, true};
    json_open(&j, NULL, '{');
    json_text(&j, "model", p->t.e.path);
    json_text(&j, "shape", shape);
    json_int(&j, "threads", p->roof.threads);
    json_number(&j, "roof_flops_per_second", p->roof.flops);
    json_number(&j, "roof_bytes_per_second", p->roof.bandwidth);
    json_number(&j, "run_seconds", p->wall);
    json_number(&j, "least_seconds", least_run(p));
    json_open(&j, "operators", '[');
    for (size_t i = 0; i < p->nops; i++) json_line(&j, &p->ops[i], false);
    json_close(&j, ']');
    json_open(&j, "steps", '[');
    for (size_t i = 0; i < p->nsteps; i++) json_line(&j, &p->steps[i], true);
    json_close(&j, ']');
    json_close(&j, '}');
    cli_add(&p->out, "\n");
    cli_flush(&p->out);
}

/* The Trace Event Format that Chrome's tracing and Perfetto read: microseconds, complete events. */
static void write_trace(profile *p, const char *path)
{
    cli_text text = {0};
    cli_json j = {&text, true};
    cli_out out;
    gr_err err;
    json_open(&j, NULL, '{');
    json_text(&j, "displayTimeUnit", "ms");
    json_open(&j, "traceEvents", '[');
    for (size_t i = 0; i < p->nsteps; i++) {
        gr_step_info s;
        if (gr_session_step(p->t.e.session, i, &s, NULL) != GR_OK) continue;
        json_open(&j, NULL, '{');
        json_text(&j, "name", s.op);
        json_text(&j, "cat", s.kernel);
        json_text(&j, "ph", "X");
        json_number(&j, "ts", 1e6 * s.start);
        json_number(&j, "dur", 1e6 * s.seconds);
        json_int(&j, "pid", 1);
        json_int(&j, "tid", 1);
        json_open(&j, "args", '{');
        json_text(&j, "output", s.output);
        json_dims(&j, "shape", s.rank, s.dims);
        json_number(&j, "flops", s.flops);
        json_int(&j, "bytes", (int64_t)s.bytes);
        json_close(&j, '}');
        json_close(&j, '}');
    }
    json_close(&j, ']');
    json_close(&j, '}');
    cli_add(&text, "\n");
    if (!cli_out_open(&out, path, &err) || !cli_out_write(&out, text.data, text.size, &err) ||
        !cli_out_commit(&out, &err))
        cli_die(CLI_EXIT_FAILURE, "%s", err.text);
    cli_text_free(&text);
}

static int run(const cli_command *self, int argc, char **argv)
{
    profile p = {.runs = 20, .top = 12};
    cli_list names = {0}, inputs = {0};
    const char *shape = NULL, *trace = NULL;
    cli_sizes shapes[TRIAL_SHAPES];
    char name[80];
    gr_err err;
    const cli_option options[] = {
        {"--shape", "SIZES", CLI_WORD, &shape,
         "BATCHxLENGTH or BATCHxCHOICESxLENGTH (default 1x128, or what the\nmodel fixes)", 0},
        {"--runs", "N", CLI_INT, &p.runs, "the best of N runs of each step (default 20)", 1},
        {"--top", "N", CLI_INT, &p.top, "list the N slowest steps (default 12)", 0},
        {"--trace", "FILE", CLI_WORD, &trace, "write the last run as a Chrome trace (JSON)", 0},
        {"--input", "NAME=FILE", CLI_WORDS, &inputs, "an input that is not to be random; repeatable", 0},
        TRIAL_POSITIONS(p.t),
        {"--json", NULL, CLI_FLAG, &p.json, "print JSON, all steps included", 0},
        ENGINE_OPTIONS(p.t.e),
        {0}};
    cli_parse(self, options, argc, argv, &names);
    if (names.n != 1) cli_usage(self, "give one model");
    p.t.e.profile = true;
    trial_open(&p.t, self, names.items[0], &inputs);
    if (trial_shapes(&p.t, self, shape, "1x128", shapes) != 1) cli_usage(self, "profile wants one shape");
    trial_shape_text(&shapes[0], name, sizeof name);
    engine_catch_interrupt(&p.t.e);
    if (!gr_roof_measure(p.t.e.threads ? (int)p.t.e.threads : gr_default_threads(), &p.roof, &err) ||
        !measure(&p, &shapes[0], &err)) {
        cli_fail_context(&err, "shape %s", name);
        engine_die(&p.t.e, &err);
    }
    (p.json ? print_json : print_text)(&p, name);
    if (trace) write_trace(&p, trace);
    free(p.steps);
    free(p.ops);
    trial_close(&p.t);
    free(names.items);
    free(inputs.items);
    cli_text_free(&p.out);
    return CLI_EXIT_OK;
}

const cli_command cli_profile_command = {
    "profile", run, "where the time of a run goes", "graphrun profile MODEL [options]",
    "Runs the model with random token ids of a shape, times every step, and prints for each operator and for\n"
    "the slowest steps: time, share, floating-point speed, bytes of operands per second, and how near that is\n"
    "to the roof: the least time that the step could take by the speed of products whose operands are in the\n"
    "first-level cache and by that of memory, both measured at the start. Operands that stay in a cache can be\n"
    "above 100 %."};
