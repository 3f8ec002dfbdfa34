/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun compare: the first value in which two models, two levels of one, or a model and saved values part.
 */
#include "compare_report.h"
#include "data_set.h"
#include "engine.h"
#include "feed.h"
#include "model.h"
#include "run_inputs.h"
#include <stdlib.h>

/* Of models with 16-bit weights against values that another program has saved, perhaps in more precision. */
#define SAVED_HALF   1e-2
#define SAVED_BFLOAT 8e-2

enum { RANDOM_ROWS = 2, RANDOM_LENGTH = 16, VOCABULARY_TRY = 1000, BATCH_ROWS = 8 };

/* One of the two, or the only one: the model and its inputs in the order of its graph. */
typedef struct party {
    engine e;
    run_inputs in;
    feed f;
    const gr_graph *graph;
    gr_tensor *tensors;
    const gr_tensor **inputs;
} party;

typedef struct job {
    const cli_command *self;
    party a, b;          /* a is unused when B is compared with saved values */
    const char *against; /* "raw", or NULL */
    const char *level;   /* "raw", "optimized" or NULL */
    const char *shape;
    cli_list files;
    int64_t seed, vocabulary;
    bool json, all;
    char *saved_path;
    cli_tensor *saved;
    int64_t *lengths; /* of the rows of saved values */
    size_t saved_count;
    gr_divergence_options options;
    gr_arena *arena;
    gr_align *align;
    gr_divergence found;
    compare_report report;
} job;

static _Noreturn void die(const gr_err *err) { cli_die(CLI_EXIT_USAGE, "%s", err->text); }

static void load(party *p, const char *path)
{
    gr_err err;
    if (!engine_load(&p->e, path, &err)) engine_die(&p->e, &err);
    p->in = (run_inputs){.model = p->e.model, .max_memory = p->e.max_memory};
}

/* ---- inputs ---- */

/* A folder of --input is a data set: its input_I.pb. */
static void add_set(party *p, const char *folder)
{
    cli_tensor *tensors = NULL;
    size_t count = 0;
    gr_err err;
    if (!set_read(p->e.model, folder, "input", &tensors, &count, &err)) die(&err);
    if (!count) cli_die(CLI_EXIT_USAGE, "%s: there is no input_0.pb", cli_show(folder));
    for (size_t i = 0; i < count; i++) {
        const char *name = set_value_name(p->e.model, gr_model_input, gr_model_input_count(p->e.model), &tensors[i], i);
        if (!name) cli_die(CLI_EXIT_USAGE, "%s: input_%zu.pb has no input in the model", cli_show(folder), i);
        free(tensors[i].name);
        tensors[i].name = cli_strdup(name);
        *CLI_PUSH(p->in.tensors, p->in.count, p->in.cap) = tensors[i];
    }
    free(tensors);
}

/* The first rows of a file of ids, as many as make one batch. */
static void feed_ids(party *p, size_t most, char *what, size_t room)
{
    size_t n = p->in.ids.line_count, rows = 0;
    bool grouped = feed_rank(&p->f) == 3;
    cli_item *items = cli_array(n, sizeof *items);
    size_t *order = cli_array(n, sizeof *order);
    gr_err err;
    for (size_t i = 0; i < n; i++) {
        const cli_line *line = &p->in.ids.lines[i];
        cli_item *last = rows ? &items[rows - 1] : NULL;
        if (grouped && last && p->in.ids.lines[last->line].paragraph == line->paragraph) {
            last->lines++;
            if (line->length > last->length) last->length = line->length;
            continue;
        }
        bool fits = !last ||
                    (rows < most && (p->f.batch_size < 0 || (int64_t)rows < p->f.batch_size) && feed_rank(&p->f) > 1 &&
                     (p->f.has_mask || line->length == items[0].length) && (!grouped || last->lines == items[0].lines));
        if (!fits) break;
        order[rows] = rows;
        items[rows++] = (cli_item){i, 1, line->length};
    }
    if (!feed_lines(&p->f, &p->in.ids, items, order, rows, rows, &err)) die(&err);
    snprintf(what, room, "the first %zu row%s of %s", rows, rows == 1 ? "" : "s", cli_show(p->in.ids_path));
    free(items);
    free(order);
}

/* Random rows are full; padding at the end of the last one lets a fault in masks show. */
static void pad_last_row(party *p)
{
    for (size_t i = 0; i < p->f.count; i++) {
        cli_tensor *t = &p->f.slots[i].made;
        if (p->f.slots[i].role != FEED_MASK || t->rank < 2 || !t->elements) continue;
        int64_t keys = t->dims[t->rank - 1], row = t->elements / t->dims[0];
        for (int64_t k = t->elements - row; k < t->elements; k++) {
            if (k % keys < keys - keys / 3) continue;
            if (cli_is_float(t->type))
                cli_store_float(t->type, t->owned, k, 0);
            else
                cli_store_integer(t->type, t->owned, k, 0);
        }
    }
}

static void feed_any(job *c, party *p, char *what, size_t room)
{
    const feed *f = &p->f;
    cli_sizes size = {2, {f->batch_size > 0 ? f->batch_size : RANDOM_ROWS, RANDOM_LENGTH, 0}};
    int64_t choices = f->choices_fixed > 0 ? f->choices_fixed : 2;
    gr_err err;
    if (f->length_fixed > 0) size.at[1] = f->length_fixed;
    if (c->shape && (cli_parse_sizes(c->shape, &size, 1) != 1 || size.count < 2))
        cli_usage(c->self, "--shape wants a size as 2x16, not '%s'", cli_show(c->shape));
    if (size.count == 3) choices = size.at[1];
    if (feed_rank(f) != 3) choices = 1;
    if (!feed_random(&p->f, size.at[0], choices, size.at[size.count - 1], c->vocabulary, &err)) die(&err);
    pad_last_row(p);
    snprintf(what, room, "random inputs (%lldx%lld, seed %lld)", (long long)size.at[0],
             (long long)size.at[size.count - 1], (long long)c->seed);
}

/* The inputs of a party from the command line or at random. */
static void feed_party(job *c, party *p)
{
    gr_err err;
    bool lines = p->in.ids_path != NULL, random = !lines && !p->in.count;
    bool ok = random ? feed_init_random(&p->f, p->e.model, p->in.tensors, p->in.count, &err)
                     : feed_init(&p->f, p->e.model, p->in.tensors, p->in.count, lines, &err);
    if (!ok) die(&err);
    p->f.seed = (uint64_t)c->seed;
    if (random)
        feed_any(c, p, c->report.inputs, sizeof c->report.inputs);
    else if (lines)
        feed_ids(p, c->saved_path ? SIZE_MAX : BATCH_ROWS, c->report.inputs, sizeof c->report.inputs);
    else if (!feed_given(&p->f, &err))
        die(&err);
    if (!random && !lines)
        snprintf(c->report.inputs, sizeof c->report.inputs, "%s",
                 cli_show(c->files.n ? c->files.items[0] : c->saved_path));
}

static cli_tensor copy_of(const char *name, const gr_tensor_view *view)
{
    cli_tensor t;
    gr_err err;
    if (!cli_tensor_make(&t, view->type, view->rank, view->dims, &err)) die(&err);
    if (view->size) memcpy(t.owned, view->data, view->size);
    t.name = cli_strdup(name);
    return t;
}

/* B is given what A is given: by name, else by place; what only B has is derived from that. */
static void feed_other(const party *a, party *b)
{
    size_t n = gr_model_input_count(b->e.model);
    bool *used = cli_array(a->f.input_count + 1, sizeof *used);
    gr_err err;
    for (int by_place = 0; by_place < 2; by_place++) {
        for (size_t i = 0; i < n; i++) {
            gr_value_info info;
            gr_model_input(b->e.model, i, &info);
            size_t k = by_place ? i : 0;
            bool given = false;
            for (size_t g = 0; g < b->in.count; g++) given |= !strcmp(b->in.tensors[g].name, info.name);
            while (!by_place && k < a->f.input_count && strcmp(a->f.inputs[k].name, info.name)) k++;
            if (given || k >= a->f.input_count || used[k]) continue;
            used[k] = true;
            *CLI_PUSH(b->in.tensors, b->in.count, b->in.cap) = copy_of(info.name, &a->f.inputs[k].tensor);
        }
    }
    free(used);
    if (!feed_init(&b->f, b->e.model, b->in.tensors, b->in.count, false, &err) || !feed_given(&b->f, &err)) die(&err);
}

/* ---- graphs ---- */

/* The graph of a party, with the initializers among its inputs that are fed. */
static void take_graph(party *p, bool raw)
{
    const gr_graph *g;
    gr_variant variant = {.raw = raw};
    gr_err err;
    const char **names = cli_array(p->f.input_count + 1, sizeof *names);
    for (size_t i = 0; i < p->f.input_count; i++)
        if (gr_model_can_override(p->e.model, p->f.inputs[i].name))
            names[variant.overridden.count++] = p->f.inputs[i].name;
    variant.overridden.items = names;
    if (gr_model_graph(p->e.model, &variant, &g, &err) != GR_OK) engine_die(&p->e, &err);
    free(names);
    p->graph = g;
    free(p->tensors);
    free(p->inputs);
    p->tensors = cli_array(g->ninputs + 1, sizeof *p->tensors);
    p->inputs = cli_array(g->ninputs + 1, sizeof *p->inputs);
    for (size_t i = 0; i < g->ninputs; i++) {
        const gr_tensor_view *view = NULL;
        gr_tensor *t = &p->tensors[i];
        for (size_t k = 0; k < p->f.input_count && !view; k++)
            if (!strcmp(p->f.inputs[k].name, g->inputs[i]->name)) view = &p->f.inputs[k].tensor;
        if (!view || view->rank > GR_MAX_RANK)
            cli_die(CLI_EXIT_USAGE, "%s: no value is given for input '%s'", cli_show(p->e.path),
                    cli_show(g->inputs[i]->name));
        *t = (gr_tensor){
            .kind = GR_KIND_TENSOR, .dtype = view->type, .rank = view->rank, .size = view->size, .data = view->data};
        if (view->rank) memcpy(t->dims, view->dims, (size_t)view->rank * sizeof *view->dims);
        gr_elements(t->rank, t->dims, &t->elements);
        p->inputs[i] = t;
    }
}

static gr_align *align_at(job *c, bool raw_a, bool raw_b, bool by_name)
{
    gr_align *align;
    gr_err err;
    take_graph(&c->a, raw_a);
    take_graph(&c->b, raw_b);
    gr_status status = (by_name ? gr_align_names : gr_align_graphs)(c->a.graph, c->b.graph, c->arena,
                                                                    c->options.threads, &align, &err);
    if (status != GR_OK) die(&err);
    return align;
}

/* Share of nodes that have a counterpart. */
static double covered(const gr_align *l)
{
    size_t all = l->nodes_a + l->nodes_b;
    return all ? 2 * (double)l->paired / (double)all : 1;
}

/* Files of one exporter correspond as they are; what two exporters wrote, after the passes have made the same of it. */
static void align_models(job *c)
{
    const double enough = 0.9;
    if (c->level) {
        bool raw = !strcmp(c->level, "raw");
        c->align = align_at(c, raw, raw, false);
        c->report.level = c->level;
        return;
    }
    c->align = align_at(c, true, true, false);
    c->report.level = "raw";
    if (covered(c->align) >= enough) return;
    gr_align *optimized = align_at(c, false, false, false);
    if (covered(optimized) > covered(c->align)) {
        c->align = optimized;
        c->report.level = "optimized";
    } else {
        c->align = align_at(c, true, true, false);
    }
}

/* ---- comparing ---- */

/* What "graphrun run --output" adds to rows of different lengths. */
static bool take_lengths(job *c, const cli_tensor *t)
{
    if (!t->name || strcmp(t->name, "lengths") || t->rank != 1 || t->type != GR_INT64 || !t->elements) return false;
    int64_t *lengths = cli_array((size_t)t->elements, sizeof *lengths);
    memcpy(lengths, t->data, t->size);
    c->options.lengths = c->lengths = lengths;
    c->options.rows = t->elements;
    for (int64_t i = 0; i < t->elements; i++)
        if (lengths[i] > c->options.width) c->options.width = lengths[i];
    return true;
}

static gr_status find_saved(job *c, gr_err *err)
{
    const gr_graph *g = c->b.graph;
    gr_model_summary summary;
    gr_model_summarize(c->b.e.model, &summary);
    if (c->options.tolerance.rtol < 0 && summary.weight_type == GR_FLOAT16) c->options.tolerance.rtol = SAVED_HALF;
    if (c->options.tolerance.rtol < 0 && summary.weight_type == GR_BFLOAT16) c->options.tolerance.rtol = SAVED_BFLOAT;
    gr_tensor *tensors = cli_array(c->saved_count + 1, sizeof *tensors);
    const gr_tensor **saved = cli_array(g->nvalues + 1, sizeof *saved);
    size_t known = 0;
    for (size_t i = 0; i < c->saved_count; i++) {
        const cli_tensor *s = &c->saved[i];
        gr_value *v = s->name ? gr_graph_find(g, s->name) : NULL;
        for (size_t o = 0; o < g->noutputs && s->name; o++)
            if (!strcmp(g->output_names[o], s->name)) v = g->outputs[o];
        bool usable = v && v->def && s->rank <= GR_MAX_RANK;
        if (!usable) {
            if (!take_lengths(c, s) && (!v || !v->is_input))
                cli_note("the model has no value '%s'", cli_show(s->name ? s->name : ""));
            continue;
        }
        gr_tensor *t = &tensors[known++];
        *t = (gr_tensor){
            .kind = GR_KIND_TENSOR, .dtype = s->type, .rank = s->rank, .elements = s->elements, .size = s->size};
        memcpy(t->dims, s->dims, sizeof t->dims);
        const void *data = s->data;
        memcpy(&t->data, &data, sizeof data); /* never written */
        saved[v->id] = t;
    }
    if (!known)
        cli_die(CLI_EXIT_USAGE, "%s: none of its tensors has the name of a value of the model",
                cli_show(c->saved_path));
    gr_status status = gr_divergence_saved(g, saved, c->b.inputs, &c->options, c->arena, &c->found, err);
    free(tensors);
    free(saved);
    return status;
}

static gr_status find(job *c, gr_err *err)
{
    party *first = c->saved_path ? &c->b : &c->a;
    feed_free(&first->f);
    feed_party(c, first);
    if (c->saved_path) {
        take_graph(&c->b, true);
        return find_saved(c, err);
    }
    if (!c->against && !c->b.f.slots) feed_other(&c->a, &c->b);
    if (c->against) c->b.f = c->a.f;
    if (c->against)
        c->align = align_at(c, true, false, true);
    else
        align_models(c);
    return gr_divergence_find(c->align, c->a.inputs, c->b.inputs, &c->options, c->arena, &c->found, err);
}

/* Random ids that the model refuses are tried again below half the bound: the vocabulary is not in the interface. */
static void search(job *c)
{
    gr_err err;
    bool random = !c->files.n && !(c->saved_path && c->b.in.count);
    for (c->vocabulary = VOCABULARY_TRY; find(c, &err) != GR_OK; c->vocabulary /= 2) {
        if (!random || err.status != GR_EINPUT || c->vocabulary == 1) die(&err);
        if (c->b.f.slots && !c->saved_path && !c->against) {
            feed_free(&c->b.f);
            for (size_t i = 0; i < c->b.in.count; i++) cli_tensor_free(&c->b.in.tensors[i]);
            c->b.in.count = 0;
        }
    }
}

static void read_saved(job *c, const char *path)
{
    gr_err err;
    c->saved_path = cli_strdup(path);
    bool folder = cli_is_folder(path);
    cli_read_options options = {GR_UNDEFINED, -1, c->b.e.max_memory ? c->b.e.max_memory : CLI_INFLATE_MAX, false,
                                GR_VALUE_TENSOR};
    bool ok = folder ? set_read(c->b.e.model, path, "output", &c->saved, &c->saved_count, &err)
                     : cli_tensors_read(path, &options, &c->saved, &c->saved_count, &err);
    if (!ok) die(&err);
    for (size_t i = 0; folder && i < c->saved_count; i++) {
        const gr_model *m = c->b.e.model;
        if (c->saved[i].name) continue;
        const char *name = set_value_name(m, gr_model_output, gr_model_output_count(m), &c->saved[i], i);
        c->saved[i].name = name ? cli_strdup(name) : NULL;
    }
    if (folder && !c->files.n) add_set(&c->b, path);
}

static void open_job(job *c, const cli_list *args)
{
    const char *other = args->n == 2 ? args->items[1] : NULL;
    bool saved = other && (cli_ends_with(other, ".npz") || cli_ends_with(other, ".npy") ||
                           cli_ends_with(other, ".pb") || (cli_is_folder(other) && set_is(other)));
    c->b.e = c->a.e;
    if (saved) {
        load(&c->b, args->items[0]);
        read_saved(c, other);
    } else {
        load(&c->a, args->items[0]);
        if (c->against)
            c->b.e.path = c->a.e.path, c->b.e.model = c->a.e.model;
        else
            load(&c->b, other);
    }
    party *first = saved ? &c->b : &c->a;
    for (size_t i = 0; i < c->files.n; i++) {
        if (cli_is_folder(c->files.items[i]))
            add_set(first, c->files.items[i]);
        else
            run_inputs_add(&first->in, c->files.items[i]);
    }
}

static void close_party(party *p)
{
    feed_free(&p->f);
    run_inputs_free(&p->in);
    free(p->tensors);
    free(p->inputs);
    engine_close(&p->e);
}

static void close_job(job *c)
{
    if (c->against) {
        c->b.f = (feed){0};
        c->b.e = (engine){0};
    }
    for (size_t i = 0; i < c->saved_count; i++) cli_tensor_free(&c->saved[i]);
    free(c->saved);
    free(c->saved_path);
    free(c->lengths);
    gr_arena_free(c->arena);
    close_party(&c->a);
    close_party(&c->b);
    free(c->files.items);
}

static int compare(job *c, const cli_list *args)
{
    cli_text out = {0};
    if (!(c->arena = gr_arena_new())) cli_die(CLI_EXIT_USAGE, "out of memory");
    open_job(c, args);
    search(c);
    c->report.name_a = c->saved_path ? c->saved_path : c->against ? "the nodes of the file" : c->a.e.path;
    c->report.name_b = c->against ? "the model after the passes" : c->b.e.path;
    c->report.align = c->align;
    c->report.found = &c->found;
    c->report.all = c->all;
    c->report.table = c->all ? INT64_MAX : 0;
    if (c->json)
        compare_report_json(&c->report, &out);
    else
        compare_report_text(&c->report, &out);
    cli_flush(&out);
    cli_text_free(&out);
    bool diverges = c->found.first != NULL;
    close_job(c);
    return diverges ? CLI_EXIT_FAILURE : CLI_EXIT_OK;
}

static int run(const cli_command *self, int argc, char **argv)
{
    job c = {.self = self};
    cli_list args = {0};
    double atol = 0, rtol = -1;
    const cli_option options[] = {
        {"--input", "[NAME=]FILE", CLI_WORDS, &c.files,
         "inputs as for \"graphrun run\", or a folder with input_I.pb; repeatable\n(default: random ids, the last row "
         "padded)",
         0},
        {"--against", "raw", CLI_WORD, &c.against, "compare MODEL after the passes with the nodes of its file", 0},
        {"--level", "LEVEL", CLI_WORD, &c.level,
         "compare two models raw or optimized (default: whichever corresponds better)", 0},
        {"--seed", "N", CLI_INT, &c.seed, "of random inputs (default 0)", 0},
        {"--shape", "BxL", CLI_WORD, &c.shape, "of random inputs (default 2x16)", 0},
        {"--atol", "X", CLI_REAL, &atol, "absolute tolerance (default 0)", 0},
        {"--rtol", "X", CLI_REAL, &rtol, "tolerance relative to the greatest magnitude of a value", 0},
        {"--all", NULL, CLI_FLAG, &c.all, "list every value with both errors, the worst first", 0},
        {"--precision", "WHAT", CLI_WORD, &c.b.e.precision, "f32 (default), bf16 or int8: what B computes products with weights in",
         0},
        {"--json", NULL, CLI_FLAG, &c.json, "print JSON instead of text", 0},
        {"--threads", "N", CLI_INT, &c.a.e.threads, "threads to run with (0: what affinity and cgroup allow)", 0},
        {"--max-memory", "BYTES", CLI_SIZE, &c.a.e.max_memory, "limit for the values of one model held at once", 0},
        {0}};
    cli_failure_status = CLI_EXIT_USAGE;
    cli_parse(self, options, argc, argv, &args);
    if (c.against && strcmp(c.against, "raw")) cli_usage(self, "--against knows 'raw', not '%s'", cli_show(c.against));
    if (c.level && strcmp(c.level, "raw") && strcmp(c.level, "optimized"))
        cli_usage(self, "--level is 'raw' or 'optimized', not '%s'", cli_show(c.level));
    if (args.n != (c.against ? 1 : 2))
        cli_usage(self, c.against ? "give one model" : "give two models, or a model and saved values");
    c.options = (gr_divergence_options){.tolerance = {atol, rtol},
                                        .threads = c.a.e.threads ? (int)c.a.e.threads : gr_default_threads(),
                                        .max_memory = c.a.e.max_memory,
                                        .precision = engine_precision(&c.b.e),
                                        .all = c.all};
    if (c.options.precision == GR_PRECISION_AUTO) cli_usage(self, "--precision is f32, bf16 or int8 here");
    int status = compare(&c, &args);
    free(args.items);
    return status;
}

const cli_command cli_compare_command = {
    "compare", run, "the first value in which two models part",
    "graphrun compare A B [options]\n       graphrun compare MODEL --against raw [options]\n       graphrun compare "
    "MODEL SAVED [options]",
    "Runs both on the same inputs and names the first value, in the order of the graph, that differs, with\n"
    "the node that computes it and what is different about that node. Values correspond by structure and\n"
    "by contents of weights, so names and order of nodes don't matter. SAVED is an .npz with values by\n"
    "name, inner ones too, or a data set in ONNX's layout.\n"
    "\n"
    "Two errors are told of a value: the cumulative one, and its own, which is left when the nodes that\n"
    "compute it are fed A's values. Rounding that adds up along the graph is in the first only; a value\n"
    "diverges by its own. Allowed is, of the greatest magnitude in the value, 1e-6 if one node of the same\n"
    "kind computes it in both, 1e-5 if several do, 1e-4 against saved values, more for 16-bit types; whole\n"
    "numbers are equal. Fills of masks, all below -1e4, are alike. --atol and --rtol replace that.\n"
    "\n"
    "The exit status is 0 if nothing diverges, 1 if something does, 2 if the models cannot be compared."};
