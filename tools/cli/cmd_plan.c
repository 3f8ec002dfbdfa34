/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun plan: what a run of some shape takes, before it is run.
 */
#include "json.h"
#include "trial.h"
#include <stdlib.h>

typedef struct report {
    trial t;
    bool json, steps;
    cli_text out;
    cli_json j;
} report;

static void dims_text(const gr_step_info *s, char *out, size_t room)
{
    size_t used = (size_t)snprintf(out, room, "[");
    for (int i = 0; i < s->rank && used < room; i++)
        used += (size_t)snprintf(out + used, room - used, "%s%lld", i ? "," : "", (long long)s->dims[i]);
    if (used < room) snprintf(out + used, room - used, "]");
}

static void list_steps(report *r, size_t count)
{
    if (r->json) json_open(&r->j, "steps", '[');
    for (size_t i = 0; i < count; i++) {
        gr_step_info s;
        char shape[200];
        if (gr_session_step(r->t.e.session, i, &s, NULL) != GR_OK) break;
        if (r->json) {
            json_open(&r->j, NULL, '{');
            json_text(&r->j, "output", s.output);
            json_text(&r->j, "domain", s.domain);
            json_text(&r->j, "op", s.op);
            json_text(&r->j, "kernel", s.kernel);
            json_dims(&r->j, "shape", s.rank, s.dims);
            json_number(&r->j, "flops", s.flops);
            json_int(&r->j, "bytes", (int64_t)s.bytes);
            json_close(&r->j, '}');
            continue;
        }
        dims_text(&s, shape, sizeof shape);
        cli_add(&r->out, "  %4zu  %-24s %-10s %-20s %s\n", i, s.op, s.kernel, shape, cli_show(s.output));
    }
    if (r->json) json_close(&r->j, ']');
}

/* All that this process has in memory of its own by now, and what only a run takes: activations, whose pages nobody has
 * touched, and threads. */
static size_t foretell(const report *r, const gr_memory_info *m)
{
    const int threads = r->t.e.threads ? (int)r->t.e.threads : gr_default_threads();
    return engine_anonymous_memory() + m->arena_bytes + (size_t)(threads - 1) * ENGINE_THREAD_BYTES;
}

static void show(report *r, const cli_sizes *shape)
{
    gr_memory_info m;
    gr_work_info w;
    char name[80];
    gr_session_memory(r->t.e.session, &m);
    gr_session_work(r->t.e.session, &w);
    trial_shape_text(shape, name, sizeof name);
    const size_t peak = foretell(r, &m), known = m.arena_bytes + m.plan_bytes + m.packed_bytes;
    const size_t rest = peak > known ? peak - known : 0, graph = m.graph_bytes < rest ? m.graph_bytes : rest;
    if (r->json) {
        json_open(&r->j, NULL, '{');
        json_text(&r->j, "shape", name);
        json_int(&r->j, "step_count", (int64_t)w.steps);
        json_number(&r->j, "flops", w.flops);
        json_int(&r->j, "activation_bytes", (int64_t)m.arena_bytes);
        json_int(&r->j, "plan_bytes", (int64_t)m.plan_bytes);
        json_int(&r->j, "packed_bytes", (int64_t)m.packed_bytes);
        json_int(&r->j, "graph_bytes", (int64_t)graph);
        json_int(&r->j, "program_bytes", (int64_t)(rest - graph));
        json_int(&r->j, "peak_bytes", (int64_t)peak);
        if (r->steps) list_steps(r, w.steps);
        json_close(&r->j, '}');
        return;
    }
    cli_add(&r->out, "%s: %zu steps, %.2f GFLOP, peak %s: activations %s, plan %s, packed weights %s, graph and program %s\n",
            name, w.steps, w.flops / 1e9, cli_bytes(peak), cli_bytes(m.arena_bytes), cli_bytes(m.plan_bytes),
            cli_bytes(m.packed_bytes), cli_bytes(rest));
    if (r->steps) list_steps(r, w.steps);
    cli_flush(&r->out);
}

static int run(const cli_command *self, int argc, char **argv)
{
    report r = {0};
    cli_list names = {0}, inputs = {0};
    const char *shape = NULL;
    cli_sizes shapes[TRIAL_SHAPES];
    gr_err err;
    const cli_option options[] = {
        {"--shape", "LIST", CLI_WORD, &shape,
         "BATCHxLENGTH or BATCHxCHOICESxLENGTH, several apart by commas\n(default 1x128, or what the model fixes)", 0},
        {"--steps", NULL, CLI_FLAG, &r.steps, "list the steps with their kernels too", 0},
        {"--input", "NAME=FILE", CLI_WORDS, &inputs, "an input whose shape is not to be derived; repeatable", 0},
        {"--json", NULL, CLI_FLAG, &r.json, "print JSON instead of text", 0},
        ENGINE_OPTIONS(r.t.e),
        {0}};
    cli_parse(self, options, argc, argv, &names);
    if (names.n != 1) cli_usage(self, "give one model");
    trial_open(&r.t, self, names.items[0], &inputs);
    size_t n = trial_shapes(&r.t, self, shape, "1x128", shapes);
    r.j = (cli_json){&r.out, true};
    if (r.json) json_open(&r.j, NULL, '[');
    for (size_t i = 0; i < n; i++) {
        if (!trial_feed(&r.t, &shapes[i], &err) || !trial_prepare(&r.t, &err)) {
            char name[80];
            trial_shape_text(&shapes[i], name, sizeof name);
            cli_fail_context(&err, "shape %s", name);
            engine_die(&r.t.e, &err);
        }
        show(&r, &shapes[i]);
    }
    if (r.json) {
        json_close(&r.j, ']');
        cli_add(&r.out, "\n");
        cli_flush(&r.out);
    }
    trial_close(&r.t);
    free(names.items);
    free(inputs.items);
    cli_text_free(&r.out);
    return CLI_EXIT_OK;
}

const cli_command cli_plan_command = {
    "plan", run, "what a run of a shape takes, without running", "graphrun plan MODEL [options]",
    "Plans a run of each shape and prints its steps, the floating-point operations of its matrix products and\n"
    "the anonymous memory that the process has at its peak: activations and scratch, the plan itself, weights\n"
    "in the layout of the kernels, which all shapes share, the graph, and what the program takes by itself. A\n"
    "later shape reuses what the earlier ones hold. Pages of files are not counted: they belong to the page\n"
    "cache. It is what a session takes that packs its weights: run takes less for a few lines."};
