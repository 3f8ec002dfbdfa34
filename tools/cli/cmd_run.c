/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun MODEL --input …: run a model on lines of token ids, or once on given tensors, and show or write the outputs.
 */
#include "collect.h"
#include "engine.h"
#include "feed.h"
#include "run_inputs.h"
#include "show.h"
#include <stdlib.h>

/* Lines whose results may wait for those before them while batches take similar lengths together. */
#define WINDOW         2048
#define ROWS_DEFAULT   128
#define TOKENS_DEFAULT 2048 /* enough to keep cores busy; logits of a vocabulary stay below 250 MB */

typedef struct job {
    engine e;
    cli_list inputs, fetch;
    const char *output;
    bool json, time, padding;
    int64_t top_k, batch, pad, choices;

    run_inputs in;
    cli_item *items;
    size_t item_count;

    const char *positions; /* which rows of outputs are wanted; NULL: all */
    int64_t *picks, *places, *pick_starts; /* of the batch at hand: rows, positions in the line, where each item begins */
    size_t pick_cap, place_cap, start_cap;

    feed f;
    gr_value_info *declared; /* per wanted output; without a name: a value inside the graph */
    const char **names;
    size_t wanted;
    gr_named_tensor *outputs;

    collect keep;
    cli_text *shown; /* per item, until those before it are printed */
    size_t printed;
    cli_text text; /* stdout; for JSON the whole document */
    cli_json j;
    progress bar;
    size_t done;
    int64_t tokens, padded;
    double start, first_run, run_seconds;
} job;

/* ---- Items: lines, or groups of lines for models with choices ---- */

static bool fits(const job *r, size_t line, gr_err *err)
{
    const cli_line *l = &r->in.ids.lines[line];
    if (r->f.length_fixed < 0 || l->length <= r->f.length_fixed) return true;
    return cli_fail(err, GR_EINPUT, "%s, line %lld: there are %lld ids, and the model takes at most %lld",
                    cli_show(r->in.ids_path), (long long)l->number, (long long)l->length, (long long)r->f.length_fixed);
}

static bool make_items(job *r, gr_err *err)
{
    size_t n = r->in.ids.line_count;
    bool grouped = feed_rank(&r->f) == 3;
    int64_t group = r->f.choices_fixed > 0 ? r->f.choices_fixed : r->choices;
    r->items = cli_array(n, sizeof *r->items);
    for (size_t i = 0; i < n; i++) {
        const cli_line *line = &r->in.ids.lines[i];
        cli_item *last = r->item_count ? &r->items[r->item_count - 1] : NULL;
        if (!fits(r, i, err)) return false;
        bool joins = grouped && last &&
                     (group > 0 ? (int64_t)last->lines < group : line->paragraph == r->in.ids.lines[i - 1].paragraph);
        if (joins) {
            last->lines++;
            if (line->length > last->length) last->length = line->length;
        } else {
            r->items[r->item_count++] = (cli_item){i, 1, line->length};
        }
    }
    const cli_item *last = &r->items[r->item_count - 1];
    if (grouped && group > 0 && (int64_t)last->lines != group)
        return cli_fail(err, GR_EINPUT, "%s: %zu lines do not make questions of %lld choices", cli_show(r->in.ids_path),
                        n, (long long)group);
    return true;
}

/* "ids.txt, line 3" or "ids.txt, lines 1-4". */
static cli_shown item_place(const job *r, size_t item)
{
    const cli_item *it = &r->items[item];
    long long from = r->in.ids.lines[it->line].number, to = r->in.ids.lines[it->line + it->lines - 1].number;
    cli_shown out;
    if (from == to)
        snprintf(out.s, sizeof out.s, "line %lld", from);
    else
        snprintf(out.s, sizeof out.s, "lines %lld-%lld", from, to);
    return out;
}

/* ---- Outputs ---- */

static void choose_outputs(job *r)
{
    size_t declared = gr_model_output_count(r->e.model), n = r->fetch.n ? r->fetch.n : declared;
    r->declared = cli_array(n, sizeof *r->declared);
    r->names = cli_array(n, sizeof *r->names);
    r->outputs = cli_array(n, sizeof *r->outputs);
    for (size_t i = 0; i < n; i++) {
        gr_value_info info = {.name = NULL};
        for (size_t o = 0; o < declared; o++) {
            if (gr_model_output(r->e.model, o, &info) != GR_OK) continue;
            if (r->fetch.n ? !strcmp(info.name, r->fetch.items[i]) : o == i) break;
            info.name = NULL;
        }
        bool loss = info.name && strstr(info.name, "loss") && r->f.labels_derived;
        if (loss && !r->fetch.n) {
            cli_note("'%s' is left out, as the labels are not given", cli_show(info.name));
            continue;
        }
        if (loss) cli_note("'%s' is of labels that are all 0, as none are given", cli_show(info.name));
        r->declared[r->wanted] = info;
        r->names[r->wanted++] = info.name ? info.name : r->fetch.items[i];
    }
    if (!r->wanted) cli_die(CLI_EXIT_FAILURE, "no output is left");
}

/* A value that isn't told apart by rows is got by running one line at a time, where the model lets us. */
static bool line_by_line(const job *r)
{
    for (size_t i = 0; i < r->wanted; i++)
        if (!r->declared[i].name || r->declared[i].rank == 0) return true;
    return false;
}

static bool run_model(job *r, gr_err *err)
{
    for (size_t i = 0; i < r->wanted; i++) r->outputs[i] = (gr_named_tensor){.name = r->names[i]};
    double start = cli_now();
    bool ok = gr_session_run(r->e.session, r->f.inputs, r->f.input_count, r->outputs, r->wanted, err) == GR_OK;
    double seconds = cli_now() - start;
    if (ok && !r->run_seconds) r->first_run = seconds;
    if (ok) r->run_seconds += seconds;
    return ok;
}

/* The part of an output that belongs to one row of the batch, without padded positions: a view where it lies in one
 * piece, else a copy in `copy`. */
static gr_tensor_view row_view(const gr_tensor_view *v, feed_layout layout, int64_t row, int64_t length, const feed *f,
                               int64_t *dims, cli_tensor *copy, gr_err *err)
{
    int64_t cut[CLI_MAX_RANK];
    int rank = 0;
    for (int a = 0; a < v->rank; a++) {
        cut[a] = v->dims[a];
        if (layout.positions >> a & 1) cut[a] -= f->length - length;
        if (a != layout.batch_axis) dims[rank++] = cut[a];
    }
    gr_tensor_view out = {v->type, rank, dims, v->data, 0};
    int64_t elements;
    *copy = (cli_tensor){0};
    if (!cli_tensor_bytes(v->type, rank, dims, &elements, &out.size)) out.size = 0;
    int width = gr_dtype_bits(v->type) / 8;
    int64_t stride[CLI_MAX_RANK], at = 0, index[CLI_MAX_RANK] = {0};
    for (int a = v->rank - 1, s = 1; a >= 0; a--, s = 0) stride[a] = s ? 1 : stride[a + 1] * v->dims[a + 1];
    if (layout.batch_axis >= 0) at = row * stride[layout.batch_axis];
    if (v->type == GR_STRING || !width || elements == 0) return out;
    bool piece = layout.batch_axis <= 0;
    for (int a = layout.batch_axis + 2; a < v->rank; a++) piece = piece && cut[a] == v->dims[a];
    if (piece) {
        out.data = (char *)v->data + at * width;
        return out;
    }
    if (!cli_tensor_make(copy, v->type, rank, dims, err)) cli_die(CLI_EXIT_FAILURE, "%s", err->text);
    for (int64_t i = 0; i < elements; i++) {
        memcpy((char *)copy->owned + i * width, (char *)v->data + at * width, (size_t)width);
        for (int a = v->rank - 1; a >= 0; a--) {
            if (a == layout.batch_axis) continue;
            at += stride[a];
            if (++index[a] < cut[a]) break;
            at -= stride[a] * cut[a], index[a] = 0;
        }
    }
    out.data = copy->owned;
    return out;
}

static int widest_name(const job *r)
{
    size_t width = 0;
    for (size_t i = 0; i < r->wanted; i++)
        if (strlen(r->names[i]) > width) width = strlen(r->names[i]);
    return (int)(width < 40 ? width : 40);
}

static void show_one(job *r, size_t output, const gr_tensor_view *v, const show_options *o, cli_text *text, cli_json *j)
{
    if (r->json)
        show_json(j, r->names[output], v, o);
    else if (!cli_quiet)
        show_tensor(text, r->names[output], v, o);
}

/* ---- Positions ---- */

/* Whether position i of a line is wanted. */
static bool is_wanted(const job *r, const cli_line *line, int64_t i)
{
    const char *at = r->positions;
    if (!strcmp(at, "first")) return i == 0;
    if (!strcmp(at, "last")) return i == line->length - 1;
    if (!strncmp(at, "mask:", 5)) return r->in.ids.ids[line->first + i] == strtoll(at + 5, NULL, 10);
    for (char *end; *at; at = *end ? end + 1 : end)
        if (strtoll(at, &end, 10) == i) return true;
    return false;
}

/* first, last, mask:ID, or numbers apart by commas. */
static bool is_positions(const char *text)
{
    if (!strcmp(text, "first") || !strcmp(text, "last")) return true;
    const char *at = strncmp(text, "mask:", 5) ? text : text + 5;
    for (bool more = true; more;) {
        const size_t digits = strspn(at, "0123456789");
        if (!digits || digits > 18) return false;
        at += digits;
        more = *at == ',' && at[-1] != ':' && text[0] != 'm';
        at += more;
    }
    return !*at;
}

static bool pick_positions(job *r, const size_t *order, size_t n, gr_err *err)
{
    int64_t count = 0;
    r->pick_starts = cli_grow(r->pick_starts, &r->start_cap, n + 1, sizeof *r->pick_starts);
    for (size_t k = 0; k < n; k++) {
        const cli_line *line = &r->in.ids.lines[r->items[order[k]].line];
        r->pick_starts[k] = count;
        for (int64_t i = 0; i < line->length; i++) {
            if (!is_wanted(r, line, i)) continue;
            r->picks = cli_grow(r->picks, &r->pick_cap, (size_t)count + 1, sizeof *r->picks);
            r->places = cli_grow(r->places, &r->place_cap, (size_t)count + 1, sizeof *r->places);
            r->places[count] = i;
            r->picks[count++] = (int64_t)k * r->f.length + i;
        }
        if (count == r->pick_starts[k])
            return cli_fail(err, GR_EINVAL, "%s, line %lld: none of its %lld tokens is at '%s'", cli_show(r->in.ids_path),
                            (long long)line->number, (long long)line->length, cli_show(r->positions));
    }
    r->pick_starts[n] = count;
    return gr_session_pick(r->e.session, r->picks, (size_t)count, err) == GR_OK;
}

/* The rows of one item of an output that has picked rows; false for one that has none of its own. */
static bool picked_view(const job *r, size_t output, int64_t row, gr_tensor_view *view, int64_t *dims)
{
    gr_value_info info = r->declared[output];
    const gr_tensor_view *v = &r->outputs[output].tensor;
    if (!r->positions || (!info.name && gr_model_value(r->e.model, r->names[output], &info, NULL) != GR_OK)) return false;
    const int64_t begin = r->pick_starts[row], end = r->pick_starts[row + 1], all = r->pick_starts[r->f.rows];
    if (v->rank < 1 || info.rank != v->rank + 1 || v->dims[0] != all) return false;
    memcpy(dims, v->dims, (size_t)v->rank * sizeof *dims);
    dims[0] = end - begin;
    const size_t bytes = v->size / (size_t)all;
    *view = (gr_tensor_view){v->type, v->rank, dims, (char *)v->data + bytes * (size_t)begin, bytes * (size_t)dims[0]};
    return true;
}

/* Take the results of one row of the batch: to be shown, to be written. */
static bool take_item(job *r, size_t item, int64_t row, gr_err *err)
{
    const cli_item *it = &r->items[item];
    const cli_line *line = &r->in.ids.lines[it->line];
    cli_text *text = &r->shown[item];
    cli_json j = {text, true};
    show_options o = {r->top_k, NULL, it->lines == 1 ? r->in.ids.ids + line->first : NULL, line->length, false,
                      widest_name(r)};
    if (r->json) {
        json_open(&j, NULL, '{');
        json_int(&j, "line", line->number);
        if (feed_rank(&r->f) == 3) json_int(&j, "choices", (int64_t)it->lines);
        json_int(&j, "tokens", it->length);
        json_open(&j, "outputs", '[');
    } else if (!cli_quiet) {
        cli_add(text, "%s: ", item_place(r, item).s);
        if (feed_rank(&r->f) == 3) cli_add(text, "%zu choice%s, at most ", it->lines, it->lines == 1 ? "" : "s");
        cli_add(text, "%lld token%s\n", (long long)it->length, it->length == 1 ? "" : "s");
    }
    for (size_t i = 0; i < r->wanted; i++) {
        const gr_tensor_view *v = &r->outputs[i].tensor;
        if (v->rank > CLI_MAX_RANK)
            return cli_fail(err, GR_EUNSUPPORTED, "output '%s' has too many dimensions", cli_show(r->names[i]));
        feed_layout layout = feed_output_layout(&r->f, r->declared[i].name ? &r->declared[i] : NULL, v);
        if (layout.batch_axis >= 0 && r->f.rows > 1 && gr_dtype_bits(v->type) < 8)
            return cli_fail(err, GR_EUNSUPPORTED, "output '%s' is packed %s: give --batch 1", cli_show(r->names[i]),
                            gr_dtype_name(v->type));
        int64_t dims[CLI_MAX_RANK];
        cli_tensor copy;
        gr_tensor_view view = *v; /* sequences have no rows */
        copy = (cli_tensor){0};
        const bool picked = picked_view(r, i, row, &view, dims);
        o.at = picked ? r->places + r->pick_starts[row] : NULL;
        if (picked)
            layout = (feed_layout){.batch_axis = -1};
        else if (v->rank >= 0)
            view = row_view(v, layout, row, it->length, &r->f, dims, &copy, err);
        o.positions_last = v->rank > 1 && (layout.positions >> (v->rank - 1) & 1);
        show_one(r, i, &view, &o, text, &j);
        bool ok = !r->output || collect_add(&r->keep, item, i, &view, err);
        cli_tensor_free(&copy);
        if (!ok) return false;
    }
    if (r->json) json_close(&j, ']'), json_close(&j, '}');
    r->tokens += it->length * (int64_t)it->lines;
    return true;
}

/* Print what is ready and has everything before it printed. */
static void print_ready(job *r, size_t until)
{
    for (; r->printed < until; r->printed++) {
        cli_text *text = &r->shown[r->printed];
        if (r->json && r->printed) cli_add(&r->text, ",\n  ");
        if (text->size) cli_add_bytes(&r->text, text->data, text->size);
        cli_text_free(text);
    }
    if (!r->json && r->text.size) {
        progress_clear(&r->bar);
        cli_flush(&r->text);
    }
}

/* Is the trouble a value that --fetch asks for and the graph lacks? */
static bool names_fetched(const job *r, const gr_err *err)
{
    for (size_t i = 0; i < r->wanted; i++) {
        char quoted[160];
        snprintf(quoted, sizeof quoted, "'%s'", cli_show(r->names[i]));
        if (!r->declared[i].name && strstr(err->text, quoted)) return true;
    }
    return false;
}

/* Run items order[0..n) as one batch. If that fails, its halves are tried, down to the line that is to blame: a batch
 * that was too large then passes, and a wrong id is told with its line. */
static void run_batch(job *r, const size_t *order, size_t n)
{
    gr_err err;
    engine_check_interrupt();
    bool ok = feed_lines(&r->f, &r->in.ids, r->items, order, n, r->item_count, &err) &&
              (!r->positions || pick_positions(r, order, n, &err)) && run_model(r, &err);
    if (ok) {
        r->padded += r->f.rows * r->f.choices * r->f.length;
        for (size_t i = 0; ok && i < n; i++) ok = take_item(r, order[i], (int64_t)i, &err);
        if (!ok) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
        r->done += n;
        progress_step(&r->bar, r->done, r->tokens);
        return;
    }
    if (err.status == GR_ECANCELLED || engine_interrupted()) exit(CLI_EXIT_INTERRUPT);
    bool of_lines = err.status != GR_EINVAL && !names_fetched(r, &err);
    if (n == 1 || !of_lines) progress_clear(&r->bar);
    if (!of_lines) engine_die(&r->e, &err);
    if (n == 1)
        cli_die(CLI_EXIT_FAILURE, "%s, %s, %lld id%s: %s", cli_show(r->in.ids_path), item_place(r, order[0]).s,
                (long long)r->items[order[0]].length, r->items[order[0]].length == 1 ? "" : "s", err.text);
    run_batch(r, order, n / 2);
    run_batch(r, order + n / 2, n - n / 2);
}

static void write_lengths(job *r)
{
    int64_t *lengths = cli_array(r->in.ids.line_count, sizeof *lengths), dims[2] = {(int64_t)r->item_count, 0};
    gr_err err;
    bool grouped = feed_rank(&r->f) == 3, even = true;
    dims[1] = (int64_t)r->items[0].lines;
    for (size_t i = 0; i < r->in.ids.line_count; i++) lengths[i] = r->in.ids.lines[i].length;
    for (size_t i = 0; i < r->item_count; i++) even = even && (int64_t)r->items[i].lines == dims[1];
    int64_t lines = (int64_t)r->in.ids.line_count;
    if (!collect_lengths(&r->keep, grouped && even ? 2 : 1, grouped && even ? dims : &lines, lengths, &err))
        cli_die(CLI_EXIT_FAILURE, "%s", err.text);
    free(lengths);
}

static void run_lines(job *r)
{
    bool single = r->f.batch_size < 0 && (line_by_line(r) || feed_rank(&r->f) == 1);
    cli_batch_rules rules = {r->f.batch_size > 0 ? r->f.batch_size
                             : single            ? 1
                             : r->batch > 0      ? r->batch
                                                 : ROWS_DEFAULT,
                             r->batch > 0 || r->f.batch_size > 0 ? INT64_MAX : TOKENS_DEFAULT,
                             !r->f.has_mask && r->f.length_fixed < 0, WINDOW};
    size_t *order = cli_array(r->item_count, sizeof *order), *starts = cli_array(r->item_count + 1, sizeof *starts);
    size_t batches = cli_batches(r->items, r->item_count, &rules, order, starts);
    r->shown = cli_array(r->item_count, sizeof *r->shown);
    if (!r->f.has_mask && r->f.length_fixed > 0)
        cli_note("the model has a fixed length of %lld and no mask, so it sees the padding",
                 (long long)r->f.length_fixed);
    progress_start(&r->bar, r->item_count, "lines");
    for (size_t b = 0; b < batches; b++) {
        run_batch(r, order + starts[b], starts[b + 1] - starts[b]);
        size_t end = starts[b + 1];
        if (end == r->item_count || end % WINDOW == 0) print_ready(r, end);
    }
    progress_clear(&r->bar);
    free(order);
    free(starts);
}

static void run_once(job *r)
{
    gr_err err;
    show_options o = {.top_k = r->top_k, .name_width = widest_name(r)};
    engine_check_interrupt();
    if (!feed_given(&r->f, &err) || !run_model(r, &err)) {
        if (engine_interrupted()) exit(CLI_EXIT_INTERRUPT);
        engine_die(&r->e, &err);
    }
    for (size_t i = 0; i < r->wanted; i++) {
        const gr_tensor_view *v = &r->outputs[i].tensor;
        show_one(r, i, v, &o, &r->text, &r->j);
        if (r->output && !collect_add(&r->keep, 0, i, v, &err)) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
    }
    r->tokens = r->padded = r->f.base >= 0 ? r->f.rows * r->f.choices * r->f.length : 0;
}

static void report_time(const job *r)
{
    fprintf(stderr, "load %.1f ms, first run %.1f ms, all runs %.1f ms", 1e3 * r->e.load_seconds, 1e3 * r->first_run,
            1e3 * r->run_seconds);
    if (r->tokens && r->run_seconds > 0)
        fprintf(stderr, ", %s tokens (%s with padding), %s tokens/s", cli_thousands(r->tokens),
                cli_thousands(r->padded), cli_thousands((int64_t)((double)r->tokens / r->run_seconds)));
    fprintf(stderr, ", in total %.1f ms\n", 1e3 * (cli_now() - r->start));
}

static void begin_document(job *r)
{
    r->j = (cli_json){&r->text, true};
    if (!r->json) return;
    json_open(&r->j, NULL, '{');
    json_text(&r->j, "model", r->e.path);
    json_open(&r->j, r->in.ids_path ? "lines" : "outputs", '[');
    if (r->in.ids_path) cli_add(&r->text, "\n  ");
}

static void end_document(job *r)
{
    if (!r->json) return;
    json_close(&r->j, ']');
    if (r->time) {
        json_open(&r->j, "time", '{');
        json_number(&r->j, "load_ms", 1e3 * r->e.load_seconds);
        json_number(&r->j, "first_run_ms", 1e3 * r->first_run);
        json_number(&r->j, "runs_ms", 1e3 * r->run_seconds);
        json_int(&r->j, "tokens", r->tokens);
        json_int(&r->j, "tokens_with_padding", r->padded);
        json_close(&r->j, '}');
    }
    json_close(&r->j, '}');
    cli_add(&r->text, "\n");
}

static void run_job(job *r)
{
    gr_err err;
    size_t items = 1;
    if (!feed_init(&r->f, r->e.model, r->in.tensors, r->in.count, r->in.ids_path != NULL, &err))
        engine_die(&r->e, &err);
    r->f.pad = r->pad;
    if (r->in.ids_path) {
        if (!make_items(r, &err)) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
        items = r->item_count;
    }
    choose_outputs(r);
    if (r->output && !collect_open(&r->keep, r->output, items, !r->in.ids_path, r->names, r->wanted, &err))
        cli_die(err.status == GR_EINVAL ? CLI_EXIT_USAGE : CLI_EXIT_FAILURE, "%s", err.text);
    engine_catch_interrupt(&r->e);
    begin_document(r);
    if (r->in.ids_path)
        run_lines(r);
    else
        run_once(r);
    end_document(r);
    if (r->output) {
        if (r->in.ids_path) write_lengths(r);
        engine_check_interrupt();
        if (!collect_write(&r->keep, &err)) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
    }
    cli_flush(&r->text);
    if (r->time && !r->json) report_time(r);
}

static void close_job(job *r)
{
    collect_free(&r->keep);
    feed_free(&r->f);
    run_inputs_free(&r->in);
    cli_text_free(&r->text);
    free(r->items);
    free(r->declared);
    free(r->names);
    free(r->outputs);
    free(r->shown);
    free(r->picks);
    free(r->places);
    free(r->pick_starts);
    free(r->inputs.items);
    free(r->fetch.items);
    engine_close(&r->e);
}

/* The padding of lines is ours; who gives tensors by name gets what the graph says of each of their rows. */
static bool all_lines(const cli_list *inputs)
{
    for (size_t i = 0; i < inputs->n; i++)
        if (strchr(inputs->items[i], '=')) return false;
    return true;
}

/* So few lines that packing all weights would take longer than the runs. */
static bool is_short(const job *r)
{
    enum { FEW_LINES = 8, FEW_TOKENS = 512 };
    int64_t tokens = 0;
    if (!r->in.ids_path) return true;
    for (size_t i = 0; i < r->in.ids.line_count; i++) tokens += r->in.ids.lines[i].length;
    return r->in.ids.line_count <= FEW_LINES && tokens <= FEW_TOKENS;
}

static int run(const cli_command *self, int argc, char **argv)
{
    job r = {.top_k = -1, .batch = 0, .start = cli_now()};
    cli_list names = {0};
    gr_err err;
    const cli_option options[] = {
        {"--input", "[NAME=]FILE", CLI_WORDS, &r.inputs, "ids.txt, or an input by its name; repeatable, see above", 0},
        {"--output", "WHERE", CLI_WORD, &r.output, "write the outputs to FILE.npz, FILE.npy or a folder, see above", 0},
        {"--fetch", "NAME", CLI_WORDS, &r.fetch,
         "this output, or any value inside the graph, instead of all outputs;\nrepeatable", 0},
        {"--positions", "WHICH", CLI_WORD, &r.positions,
         "all (default), first, last, mask:ID (where that id stands) or numbers as 0,3,7: only these\ntokens of every output that has tokens; the others are not computed", 0},
        {"--json", NULL, CLI_FLAG, &r.json, "print one JSON document instead of text", 0},
        {"--top-k", "K", CLI_INT, &r.top_k, "likeliest ids of logits at every position (0: none)", 0},
        {"--batch", "N", CLI_INT, &r.batch, "lines per run (default: up to 128, and 2048 tokens with padding)", 1},
        {"--pad", "ID", CLI_INT, &r.pad, "id that fills short lines of a batch (default 0)", INT64_MIN},
        {"--padding", NULL, CLI_FLAG, &r.padding, "compute rows of padding too, which are left out or zeros else", 0},
        {"--choices", "N", CLI_INT, &r.choices, "lines per question, for multiple-choice models", 1},
        ENGINE_OPTIONS(r.e),
        {"--time", NULL, CLI_FLAG, &r.time, "say on stderr how long loading and running took", 0},
        {"--quiet", NULL, CLI_FLAG, &cli_quiet, "no summary, no notes, no progress bar", 0},
        {0}};
    cli_parse(self, options, argc, argv, &names);
    if (names.n != 1)
        cli_usage(self, names.n ? "'%s' is one name too many" : "give a model%s",
                  names.n ? cli_show(names.items[1]) : "");
    if (r.e.verbose && strcmp(r.e.verbose, "dispatch")) cli_usage(self, "--verbose knows only 'dispatch'");
    if (r.positions && !strcmp(r.positions, "all")) r.positions = NULL;
    if (r.positions && !is_positions(r.positions))
        cli_usage(self, "--positions is all, first, last, mask:ID or numbers as 0,3,7, not '%s'", cli_show(r.positions));
    r.e.skip_padding = !r.padding && all_lines(&r.inputs);
    if (!engine_load(&r.e, names.items[0], &err)) engine_die(&r.e, &err);
    r.in.model = r.e.model, r.in.max_memory = r.e.max_memory;
    for (size_t i = 0; i < r.inputs.n; i++) run_inputs_add(&r.in, r.inputs.items[i]);
    r.e.few_runs = is_short(&r);
    if (!engine_start(&r.e, &err)) engine_die(&r.e, &err);
    if (r.positions && !r.in.ids_path) cli_usage(self, "--positions needs lines of token ids");
    run_job(&r);
    close_job(&r);
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
