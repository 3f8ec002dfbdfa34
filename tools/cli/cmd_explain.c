/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun explain: what the passes made of a model, what they did not, and why.
 */
#include "exec/eval.h"
#include "graph/missing.h"
#include "inspect/explain.h"
#include "inspect/provenance.h"
#include "json.h"
#include "pass_choice.h"
#include "trial.h"
#include <math.h>
#include <stdlib.h>

/* Rounding in another order moves outputs by less than this part of their range. */
#define VERIFY_LIMIT 1e-5
/* The pass that computes 16-bit graphs in float drops the rounding of every node, and later ones that of constants. */
#define WIDEN_PASS  "widen"
#define WIDEN_LIMIT 2e-2
/* Of a constant in a dump. */
#define DUMPED_ELEMENTS 16

typedef struct explain_job {
    const cli_command *self;
    trial t;
    bool json, nodes, verify;
    const char *expect, *dump_after, *shape;
    pass_choice choice;
    cli_list inputs;
    const gr_graph *graph;
    gr_arena *arena;
    gr_tensor *in;      /* of the graph, in its order */
    gr_tensor **before; /* outputs before the pass that is checked */
    double worst, limit;
    const char *blamed; /* the pass that was beyond the limit */
    bool dumped;
    gr_doc *doc; /* where operators are missing: the graph is not the model's */
    cli_text out;
    cli_json j;
} explain_job;

/* ---- passes as they run ---- */

static double element(const gr_tensor *t, int64_t i)
{
    float f;
    double d;
    uint16_t half;
    if (t->dtype == GR_FLOAT16 || t->dtype == GR_BFLOAT16) {
        memcpy(&half, (const char *)t->data + i * 2, 2);
        return (double)(t->dtype == GR_FLOAT16 ? gr_half_to_float(half) : gr_bfloat_to_float(half));
    }
    if (t->dtype == GR_DOUBLE) return memcpy(&d, (const char *)t->data + i * 8, 8), d;
    memcpy(&f, (const char *)t->data + i * 4, 4);
    return (double)f;
}

/* The greatest difference as a part of the range of `want`; infinite where they are not alike at all. */
static double difference(const gr_tensor *got, const gr_tensor *want)
{
    double range = 0, worst = 0;
    if (got->kind != GR_KIND_TENSOR || want->kind != GR_KIND_TENSOR) return 0;
    if (got->dtype != want->dtype || got->size != want->size) return INFINITY;
    if (!gr_dtype_is_float(got->dtype) || gr_dtype_bits(got->dtype) < 16)
        return got->size == 0 || !memcmp(got->data, want->data, got->size) ? 0 : INFINITY;
    for (int64_t i = 0; i < want->elements; i++)
        if (isfinite(element(want, i)) && fabs(element(want, i)) > range) range = fabs(element(want, i));
    for (int64_t i = 0; i < want->elements; i++) {
        double a = element(got, i), b = element(want, i);
        if (a == b || (isnan(a) && isnan(b))) continue;
        double error = fabs(a - b) / (range > 0 ? range : 1);
        if (!(error <= worst)) worst = isnan(error) ? INFINITY : error;
    }
    return worst;
}

static gr_status evaluate(const explain_job *job, const gr_graph *g, gr_tensor **out, gr_err *err)
{
    const gr_tensor **in = cli_array(g->ninputs + 1, sizeof *in);
    gr_exec exec = {.threads = job->t.e.threads ? (int)job->t.e.threads : gr_default_threads()};
    for (size_t i = 0; i < g->ninputs; i++) in[i] = &job->in[i];
    gr_status status = gr_eval_graph(&exec, g, in, out, err);
    free(in);
    return status;
}

static gr_status check_pass(explain_job *job, const gr_graph *g, const char *pass, int hits, gr_err *err)
{
    double worst = 0;
    gr_tensor **now = cli_array(g->noutputs + 1, sizeof *now);
    GR_TRY(evaluate(job, g, now, err));
    for (size_t i = 0; i < g->noutputs; i++) {
        double d = difference(now[i], job->before[i]);
        if (d > worst) worst = d;
        gr_tensor_free(job->before[i]);
    }
    free(job->before);
    job->before = now;
    if (hits && !strcmp(pass, WIDEN_PASS)) job->limit = WIDEN_LIMIT;
    if (worst > job->limit && !job->blamed) job->blamed = pass;
    if (worst > job->worst) job->worst = worst;
    if (job->json) {
        json_open(&job->j, NULL, '{');
        json_text(&job->j, "pass", pass);
        json_int(&job->j, "rewrites", hits);
        json_number(&job->j, "error", worst);
        json_close(&job->j, '}');
    } else {
        cli_add(&job->out, "%-11s %-18s %5d rewrites, error %.2g of the range\n", "verified", pass, hits, worst);
    }
    return GR_OK;
}

static gr_status after_pass(void *user, const gr_graph *g, const char *pass, int hits, gr_err *err)
{
    explain_job *job = user;
    if (job->dump_after && !strcmp(job->dump_after, pass)) {
        job->dumped = true;
        return graph_write_text(g, DUMPED_ELEMENTS, err);
    }
    return job->verify ? check_pass(job, g, pass, hits, err) : GR_OK;
}

/* ---- inputs ---- */

static bool bind_inputs(explain_job *job, const gr_graph *g)
{
    job->in = cli_array(g->ninputs + 1, sizeof *job->in);
    for (size_t i = 0; i < g->ninputs; i++) {
        const gr_tensor_view *v = NULL;
        for (size_t k = 0; k < job->t.f.input_count; k++)
            if (!strcmp(job->t.f.inputs[k].name, g->inputs[i]->name)) v = &job->t.f.inputs[k].tensor;
        if (!v || v->rank > GR_MAX_RANK) return false;
        gr_tensor *t = &job->in[i];
        *t = (gr_tensor){.kind = GR_KIND_TENSOR,
                         .dtype = v->type,
                         .rank = v->rank,
                         .elements = 1,
                         .size = v->size,
                         .data = v->data,
                         .aligned = true};
        for (int d = 0; d < v->rank; d++) t->elements *= t->dims[d] = v->dims[d];
    }
    return true;
}

/* The graph as it runs, or as the options ask, with a log; shapes for the work, and inputs for --verify-each. */
static void make_graph(explain_job *job, const cli_sizes *shape, gr_err *err)
{
    gr_variant raw = {.raw = true}, asked = {.passes = &job->choice.passes};
    const gr_graph *g;
    double seconds;
    bool fed = job->verify ? trial_first(&job->t, shape, &seconds, err) : trial_feed(&job->t, shape, err);
    if (!fed && job->verify) engine_die(&job->t.e, err);
    if (gr_model_graph(job->t.e.model, &raw, &g, err) != GR_OK) engine_die(&job->t.e, err);
    bool bound = fed && bind_inputs(job, g);
    if (!bound && job->verify) cli_die(CLI_EXIT_FAILURE, "%s: its inputs cannot be made up", cli_show(job->t.e.path));
    if (!bound) free(job->in), job->in = NULL;
    if (job->verify) {
        job->before = cli_array(g->noutputs + 1, sizeof *job->before);
        if (evaluate(job, g, job->before, err) != GR_OK) engine_die(&job->t.e, err);
    }
    job->choice.passes.after = after_pass;
    job->choice.passes.user = job;
    if (gr_model_graph(job->t.e.model, &asked, &job->graph, err) != GR_OK) engine_die(&job->t.e, err);
}

/* The graph of a file whose operators are missing, with stand-ins. */
static void make_look(explain_job *job, gr_err *err)
{
    const gr_doc_limits limits = {0};
    gr_graph *g;
    job->choice.passes.after = after_pass;
    job->choice.passes.user = job;
    if (job->verify)
        cli_die(CLI_EXIT_FAILURE, "%s: operators are missing, so no pass can be verified", cli_show(job->t.e.path));
    if (gr_doc_load(job->t.e.path, &limits, &job->doc, err) != GR_OK ||
        gr_graph_build_all(job->doc, job->arena, &g, err) != GR_OK || gr_graph_infer(g, 1 << 20, err) != GR_OK ||
        gr_passes_run(g, &job->choice.passes, err) != GR_OK)
        engine_die(&job->t.e, err);
    job->graph = g;
}

/* ---- text ---- */

static void text_fusions(explain_job *job, const gr_explanation *x)
{
    for (int i = 0; i < GR_FUSIONS; i++) {
        const gr_fusion *f = &x->fusions[i];
        cli_add(&job->out, "%-11s %-10s %lld of %lld expected (%s", i ? "" : "fused", f->name, (long long)f->count,
                (long long)f->expected, f->source);
        if (x->layers && f->expected >= x->layers)
            cli_add(&job->out, "; %lld layers x %lld%s", (long long)x->layers, (long long)(f->expected / x->layers),
                    f->expected % x->layers ? " and more" : "");
        cli_add(&job->out, ")\n");
    }
}

static void text_misses(explain_job *job, const char *title, const gr_near_miss *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *culprit = cli_strdup(m[i].culprit ? cli_show(gr_node_label(m[i].culprit)) : "");
        bool named = m[i].culprit == m[i].anchor || strstr(m[i].why, culprit);
        cli_add(&job->out, "%-11s %s at '%s': %s", i ? "" : title, m[i].rule, cli_show(gr_node_label(m[i].anchor)),
                m[i].why);
        if (!named) cli_add(&job->out, ", '%s'", culprit);
        cli_add(&job->out, "\n");
        free(culprit);
    }
}

static void text_left(explain_job *job, const gr_explanation *x, const char *shape)
{
    cli_add(&job->out, "%-11s %lld of %lld steps", "unfused", (long long)x->unfused, (long long)x->steps);
    if (x->why)
        cli_add(&job->out, "; their share of the work is not known: %s", x->why);
    else
        cli_add(&job->out, ", %.2f %% of the work at %s", x->work > 0 ? 100 * x->unfused_work / x->work : 0, shape);
    for (size_t i = 0; i < x->nrows; i++) {
        cli_add(&job->out, i % 6 ? " · " : "\n            ");
        cli_add(&job->out, "%s %lld", cli_show(x->rows[i].op), (long long)x->rows[i].steps);
        if (!x->why && x->work > 0) cli_add(&job->out, " (%.2f %%)", 100 * x->rows[i].work / x->work);
    }
    cli_add(&job->out, "\n");
}

static void text_weights(explain_job *job, const gr_explanation *x)
{
    for (size_t i = 0; i < x->ntwice; i++)
        cli_add(&job->out, "%-11s '%s' is '%s' again, %s\n", i ? "" : "twice", cli_show(x->twice[i].value->name),
                cli_show(x->twice[i].first->name), cli_bytes(x->twice[i].value->konst->size));
    if (x->casts)
        cli_add(&job->out, "%-11s %lld between types of floats in the file, %lld left\n", "casts", (long long)x->casts,
                (long long)x->casts_left);
}

static void text_nodes(explain_job *job, const gr_provenance *p)
{
    for (size_t i = 0; i < p->count; i++) {
        const gr_origin *o = &p->items[i];
        cli_add(&job->out, "%-8s  %-20s %s", gr_fate_name(o->fate), cli_show(o->source->op), cli_show(o->source->name));
        if (o->into && o->into != o->source->node)
            cli_add(&job->out, "  -> %s '%s'", o->into->op->name, cli_show(gr_node_label(o->into)));
        cli_add(&job->out, "\n");
    }
}

static void text_all(explain_job *job, const gr_explanation *x, const gr_provenance *p, const char *shape)
{
    if (job->nodes) text_nodes(job, p);
    cli_add(&job->out, "%-11s %zu in the file: %zu executed, %zu fused, %zu folded, %zu dead\n", "nodes", p->count,
            p->fates[GR_FATE_EXECUTED], p->fates[GR_FATE_FUSED], p->fates[GR_FATE_FOLDED], p->fates[GR_FATE_DEAD]);
    text_fusions(job, x);
    text_misses(job, "near misses", x->misses, x->nmisses);
    text_misses(job, "remarks", x->remarks, x->nremarks);
    text_left(job, x, shape);
    text_weights(job, x);
}

/* ---- JSON ---- */

static void json_misses(cli_json *j, const char *key, const gr_near_miss *m, size_t n)
{
    json_open(j, key, '[');
    for (size_t i = 0; i < n; i++) {
        json_open(j, NULL, '{');
        json_text(j, "fusion", m[i].rule);
        json_text(j, "at", gr_node_label(m[i].anchor));
        json_text(j, "node", m[i].culprit ? gr_node_label(m[i].culprit) : NULL);
        json_text(j, "why", m[i].why);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void json_nodes(cli_json *j, const gr_provenance *p)
{
    json_open(j, "nodes", '[');
    for (size_t i = 0; i < p->count; i++) {
        const gr_origin *o = &p->items[i];
        json_open(j, NULL, '{');
        json_text(j, "name", o->source->name);
        json_text(j, "op", o->source->op);
        json_text(j, "fate", gr_fate_name(o->fate));
        json_text(j, "into", o->into ? gr_node_label(o->into) : NULL);
        json_text(j, "into_op", o->into ? o->into->op->name : NULL);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void json_left(cli_json *j, const gr_explanation *x, const char *shape)
{
    json_int(j, "steps", x->steps);
    json_int(j, "unfused_steps", x->unfused);
    json_text(j, "shape", x->why ? NULL : shape);
    json_number(j, "unfused_share", x->why || !(x->work > 0) ? NAN : x->unfused_work / x->work);
    json_open(j, "unfused", '[');
    for (size_t i = 0; i < x->nrows; i++) {
        json_open(j, NULL, '{');
        json_text(j, "op", x->rows[i].op);
        json_int(j, "steps", x->rows[i].steps);
        json_number(j, "share", x->why || !(x->work > 0) ? NAN : x->rows[i].work / x->work);
        json_close(j, '}');
    }
    json_close(j, ']');
    json_open(j, "stored_twice", '[');
    for (size_t i = 0; i < x->ntwice; i++) {
        json_open(j, NULL, '{');
        json_text(j, "name", x->twice[i].value->name);
        json_text(j, "same_as", x->twice[i].first->name);
        json_int(j, "bytes", (int64_t)x->twice[i].value->konst->size);
        json_close(j, '}');
    }
    json_close(j, ']');
    json_int(j, "casts", x->casts);
    json_int(j, "casts_left", x->casts_left);
}

static void json_all(explain_job *job, const gr_explanation *x, const gr_provenance *p, const char *shape)
{
    cli_json *j = &job->j;
    json_open(j, "fates", '{');
    for (int i = GR_FATES; i-- > 0;) json_int(j, gr_fate_name((gr_fate)i), (int64_t)p->fates[i]);
    json_close(j, '}');
    json_int(j, "layers", x->layers);
    json_open(j, "fusions", '[');
    for (int i = 0; i < GR_FUSIONS; i++) {
        json_open(j, NULL, '{');
        json_text(j, "name", x->fusions[i].name);
        json_int(j, "count", x->fusions[i].count);
        json_int(j, "expected", x->fusions[i].expected);
        json_close(j, '}');
    }
    json_close(j, ']');
    json_misses(j, "near_misses", x->misses, x->nmisses);
    json_misses(j, "remarks", x->remarks, x->nremarks);
    json_left(j, x, shape);
    if (job->nodes) json_nodes(j, p);
}

/* ---- --expect ---- */

/* "attention=12,gelu=12"; writes a sentence for each that is not met. Returns how many are not. */
static int unmet(const explain_job *job, const gr_explanation *x, bool check)
{
    static const char *const names[GR_FUSIONS] = {"attention", "layernorm", "gelu", "linear"};
    int bad = 0;
    for (const char *at = job->expect; at && *at;) {
        size_t n = strcspn(at, ",");
        char *word = cli_strndup(at, n), *equals = strchr(word, '='), *end = NULL;
        int which = 0;
        if (equals) *equals = 0;
        while (which < GR_FUSIONS && strcmp(names[which], word)) which++;
        long long want = equals ? strtoll(equals + 1, &end, 10) : -1;
        if (which == GR_FUSIONS || !end || end == equals + 1 || *end || want < 0)
            cli_usage(job->self, "--expect wants counts as attention=12,layernorm=25,gelu=12,linear=48, not '%s'",
                      cli_show(job->expect));
        if (check && x->fusions[which].count != want) {
            fflush(stdout);
            fprintf(stderr, "graphrun: %s: %lld %s fused, %lld expected\n", cli_show(job->t.e.path),
                    (long long)x->fusions[which].count, word, want);
            bad++;
        }
        free(word);
        at += n + (at[n] == ',');
    }
    return bad;
}

/* ---- the command ---- */

static int report(explain_job *job, const char *shape)
{
    gr_explanation x;
    gr_provenance p;
    gr_err err;
    if (gr_explain(job->t.e.model, job->graph, job->in, job->arena, &x, &err) != GR_OK ||
        gr_provenance_of(job->graph, job->arena, &p, &err) != GR_OK)
        engine_die(&job->t.e, &err);
    if (job->json) {
        json_all(job, &x, &p, shape);
        json_close(&job->j, '}');
        cli_add(&job->out, "\n");
    } else {
        text_all(job, &x, &p, shape);
    }
    cli_flush(&job->out);
    if (job->blamed)
        fprintf(stderr, "graphrun: %s: pass %s changes outputs by %.2g of their range, at most %g was expected\n",
                cli_show(job->t.e.path), job->blamed, job->worst, job->limit);
    return unmet(job, &x, true) || job->blamed || x.missing ? CLI_EXIT_FAILURE : CLI_EXIT_OK;
}

static void open_job(explain_job *job, const char *path)
{
    gr_err err;
    cli_sizes shapes[TRIAL_SHAPES];
    char shape[80] = "";
    if (job->dump_after) pass_choice_known(job->self, job->dump_after);
    pass_choice_resolve(&job->choice, job->self);
    unmet(job, NULL, false);
    job->t.look = true;
    trial_open(&job->t, job->self, path, &job->inputs);
    shapes[0].count = 0;
    if (!job->t.missing) trial_shapes(&job->t, job->self, job->shape, "1x128", shapes);
    trial_shape_text(&shapes[0], shape, sizeof shape);
    job->arena = gr_arena_new();
    if (!job->arena) cli_die(CLI_EXIT_FAILURE, "out of memory");
    if (job->json && !job->dump_after) {
        job->j = (cli_json){&job->out, true};
        json_open(&job->j, NULL, '{');
        json_text(&job->j, "model", job->t.e.path);
        if (job->verify) json_open(&job->j, "verified", '[');
    }
    if (job->t.missing)
        make_look(job, &err);
    else
        make_graph(job, &shapes[0], &err);
    if (job->json && job->verify && !job->dump_after) json_close(&job->j, ']');
    job->shape = cli_strdup(shape);
}

static void close_job(explain_job *job)
{
    for (size_t i = 0; job->before && i < job->graph->noutputs; i++) gr_tensor_free(job->before[i]);
    free(job->before);
    free(job->in);
    pass_choice_free(&job->choice);
    free((char *)job->shape);
    gr_arena_free(job->arena);
    gr_doc_free(job->doc);
    trial_close(&job->t);
    cli_text_free(&job->out);
}

static int run(const cli_command *self, int argc, char **argv)
{
    explain_job job = {.self = self, .choice.stop_after = -1, .limit = VERIFY_LIMIT};
    cli_list names = {0};
    const cli_option options[] = {
        {"--nodes", NULL, CLI_FLAG, &job.nodes, "list every node of the file with what became of it", 0},
        {"--expect", "LIST", CLI_WORD, &job.expect,
         "counts as attention=12,layernorm=25,gelu=12,linear=48:\nexit 1 if they are others", 0},
        {"--verify-each", NULL, CLI_FLAG, &job.verify,
         "compare outputs before and after each pass; exit 1 beyond 1e-5 of the range", 0},
        {"--input", "NAME=FILE", CLI_WORDS, &job.inputs,
         "an input for that, or a .pb of a data set; others are random; repeatable", 0},
        {"--shape", "BxL", CLI_WORD, &job.shape,
         "batch and length at which work is measured (default 1x128, or what the\nmodel fixes)", 0},
        PASS_CHOICE_OPTIONS(job.choice),
        {"--dump-after", "PASS", CLI_WORD, &job.dump_after,
         "print the graph after that pass, in textual syntax, and nothing else", 0},
        {"--json", NULL, CLI_FLAG, &job.json, "print JSON instead of text", 0},
        {0}};
    cli_parse(self, options, argc, argv, &names);
    if (names.n != 1) cli_usage(self, "give one model");
    open_job(&job, names.items[0]);
    if (job.dump_after && !job.dumped) cli_die(CLI_EXIT_FAILURE, "pass '%s' was not run", cli_show(job.dump_after));
    int code = job.dump_after ? CLI_EXIT_OK : report(&job, job.shape);
    close_job(&job);
    free(names.items);
    return code;
}

const cli_command cli_explain_command = {
    "explain", run, "what the passes fused, what they did not, and why", "graphrun explain MODEL [options]",
    "Counts what was fused beside what the file's nodes promise, and gives every near miss one line: the\n"
    "node that a reader would expect to be fused, the node that broke it, and the reason. Then what runs\n"
    "unfused with its share of the work, weights that the file stores twice, and casts between precisions.\n"
    "Every node of the file is executed, fused, folded or dead. Operators that are missing are near misses,\n"
    "too, and exit 1."};
