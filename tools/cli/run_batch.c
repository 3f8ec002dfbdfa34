/* SPDX-License-Identifier: Apache-2.0
 *
 * One batch of lines: from a window's lines to the inputs, through a session, and from the outputs to what is shown and
 * kept of each line.
 */
#include "positions.h"
#include "run_job.h"
#include <stdlib.h>

/* ---- Streams ---- */

bool run_stream_open(run_stream *s, run_job *job, gr_session *session, gr_err *err)
{
    *s = (run_stream){.job = job, .session = session};
    if (!feed_init(&s->f, job->e.model, job->in.tensors, job->in.count, job->in.ids_path != NULL, err)) return false;
    s->f.pad = job->pad;
    return true;
}

void run_stream_close(run_stream *s)
{
    feed_free(&s->f);
    free(s->outputs);
    free(s->picks);
    free(s->places);
    free(s->pick_starts);
}

static void clock_in(run_clock *c)
{
    pthread_mutex_lock(&c->lock);
    if (!c->active++) c->since = cli_now();
    pthread_mutex_unlock(&c->lock);
}

static void clock_out(run_clock *c)
{
    pthread_mutex_lock(&c->lock);
    const double now = cli_now();
    if (!c->first) c->first = now - c->since;
    if (!--c->active) c->seconds += now - c->since;
    pthread_mutex_unlock(&c->lock);
}

bool run_stream_run(run_stream *s, gr_err *err)
{
    run_job *job = s->job;
    if (!s->outputs) s->outputs = cli_array(job->wanted, sizeof *s->outputs);
    for (size_t i = 0; i < job->wanted; i++) s->outputs[i] = (gr_named_tensor){.name = job->names[i]};
    clock_in(&job->clock);
    bool ok = gr_session_run(s->session, s->f.inputs, s->f.input_count, s->outputs, job->wanted, err) == GR_OK;
    clock_out(&job->clock);
    return ok;
}

/* ---- Items: lines, or groups of lines for models with choices ---- */

static bool fits(const run_job *job, const feed *f, const cli_line *l, gr_err *err)
{
    if (f->length_fixed < 0 || l->length <= f->length_fixed) return true;
    return cli_fail(err, GR_EINPUT, "%s, line %lld: there are %lld ids, and the model takes at most %lld",
                    cli_show(job->in.ids_path), (long long)l->number, (long long)l->length, (long long)f->length_fixed);
}

static bool make_items(const run_job *job, const feed *f, run_window *w, gr_err *err)
{
    const bool grouped = job->rank == 3;
    const int64_t group = job->choices;
    w->items = cli_array(w->ids.line_count, sizeof *w->items);
    for (size_t i = 0; i < w->ids.line_count; i++) {
        const cli_line *line = &w->ids.lines[i];
        cli_item *last = w->item_count ? &w->items[w->item_count - 1] : NULL;
        if (!fits(job, f, line, err)) return false;
        bool joins = grouped && last &&
                     (group > 0 ? (int64_t)last->lines < group : line->paragraph == w->ids.lines[i - 1].paragraph);
        if (joins) {
            last->lines++;
            if (line->length > last->length) last->length = line->length;
        } else {
            w->items[w->item_count++] = (cli_item){i, 1, line->length};
        }
    }
    const cli_item *last = &w->items[w->item_count - 1];
    if (grouped && group > 0 && (int64_t)last->lines != group)
        return cli_fail(err, GR_EINPUT, "%s: %zu lines do not make questions of %lld choices",
                        cli_show(job->in.ids_path), w->lines_before + w->ids.line_count, (long long)group);
    return true;
}

static void make_batches(const run_job *job, run_window *w)
{
    const size_t n = w->item_count;
    w->order = cli_array(n, sizeof *w->order);
    w->starts = cli_array(n + 1, sizeof *w->starts);
    w->batches = cli_batches(w->items, n, &job->rules, w->order, w->starts);
    w->shown = cli_array(n, sizeof *w->shown);
    if (job->output) w->kept = cli_array(n * job->wanted, sizeof *w->kept);
}

bool run_window_read(run_job *job, const feed *f, run_window **out, bool *end, gr_err *err)
{
    run_window *w = cli_alloc(sizeof *w);
    bool ok = run_inputs_read(&job->in, job->window, job->rank == 3 ? job->choices : 1, &w->ids, end, err);
    w->lines_before = job->lines;
    job->lines += w->ids.line_count;
    ok = ok && (!w->ids.line_count || make_items(job, f, w, err));
    if (ok) {
        make_batches(job, w);
        *out = w;
        return true;
    }
    run_window_free(job, w);
    return false;
}

void run_window_free(const run_job *job, run_window *w)
{
    for (size_t i = 0; w->shown && i < w->item_count; i++) cli_text_free(&w->shown[i]);
    for (size_t i = 0; w->kept && i < w->item_count * job->wanted; i++) cli_tensor_free(&w->kept[i]);
    cli_ids_free(&w->ids);
    free(w->items);
    free(w->order);
    free(w->starts);
    free(w->shown);
    free(w->kept);
    free(w);
}

/* "line 3" or "lines 1-4". */
static cli_shown item_place(const run_window *w, size_t item)
{
    const cli_item *it = &w->items[item];
    long long from = w->ids.lines[it->line].number, to = w->ids.lines[it->line + it->lines - 1].number;
    cli_shown out;
    if (from == to)
        snprintf(out.s, sizeof out.s, "line %lld", from);
    else
        snprintf(out.s, sizeof out.s, "lines %lld-%lld", from, to);
    return out;
}

/* ---- Positions ---- */

static bool pick_positions(run_stream *s, const run_window *w, const size_t *order, size_t n, gr_err *err)
{
    const run_job *job = s->job;
    int64_t count = 0;
    s->pick_starts = cli_grow(s->pick_starts, &s->start_cap, n + 1, sizeof *s->pick_starts);
    for (size_t k = 0; k < n; k++) {
        const cli_line *line = &w->ids.lines[w->items[order[k]].line];
        s->pick_starts[k] = count;
        for (int64_t i = 0; i < line->length; i++) {
            if (!cli_has_position(job->positions, i, line->length, w->ids.ids[line->first + i])) continue;
            s->picks = cli_grow(s->picks, &s->pick_cap, (size_t)count + 1, sizeof *s->picks);
            s->places = cli_grow(s->places, &s->place_cap, (size_t)count + 1, sizeof *s->places);
            s->places[count] = i;
            s->picks[count++] = (int64_t)k * s->f.length + i;
        }
        if (count == s->pick_starts[k])
            return cli_fail(err, GR_EINVAL, "%s, line %lld: none of its %lld tokens is at '%s'",
                            cli_show(job->in.ids_path), (long long)line->number, (long long)line->length,
                            cli_show(job->positions));
    }
    s->pick_starts[n] = count;
    return gr_session_pick(s->session, s->picks, (size_t)count, err) == GR_OK;
}

/* The rows of one item of an output that has picked rows; false for one that has none of its own. */
static bool picked_view(const run_stream *s, size_t output, int64_t row, gr_tensor_view *view, int64_t *dims)
{
    const run_job *job = s->job;
    gr_value_info info = job->declared[output];
    const gr_tensor_view *v = &s->outputs[output].tensor;
    if (!job->positions) return false;
    if (!info.name && gr_model_value(job->e.model, job->names[output], &info, NULL) != GR_OK) return false;
    const int64_t begin = s->pick_starts[row], end = s->pick_starts[row + 1], all = s->pick_starts[s->f.rows];
    if (v->rank < 1 || info.rank != v->rank + 1 || v->dims[0] != all) return false;
    memcpy(dims, v->dims, (size_t)v->rank * sizeof *dims);
    dims[0] = end - begin;
    const size_t bytes = v->size / (size_t)all;
    *view = (gr_tensor_view){v->type, v->rank, dims, (char *)v->data + bytes * (size_t)begin, bytes * (size_t)dims[0]};
    return true;
}

/* ---- Results ---- */

/* The part of an output that belongs to one row of the batch, without padded positions: a view where it lies in one
 * piece, else a copy in `copy`. */
static bool row_view(const gr_tensor_view *v, feed_layout layout, int64_t row, int64_t length, const feed *f,
                     gr_tensor_view *part, int64_t *dims, cli_tensor *copy, gr_err *err)
{
    int64_t cut[CLI_MAX_RANK];
    int rank = 0;
    for (int a = 0; a < v->rank; a++) {
        cut[a] = v->dims[a];
        if (layout.positions >> a & 1) cut[a] -= f->length - length;
        if (a != layout.batch_axis) dims[rank++] = cut[a];
    }
    *part = (gr_tensor_view){v->type, rank, dims, v->data, 0};
    int64_t elements;
    *copy = (cli_tensor){0};
    if (!cli_tensor_bytes(v->type, rank, dims, &elements, &part->size)) part->size = 0;
    int width = gr_dtype_bits(v->type) / 8;
    int64_t stride[CLI_MAX_RANK] = {0}, at = 0, index[CLI_MAX_RANK] = {0};
    for (int a = v->rank - 1, s = 1; a >= 0; a--, s = 0) stride[a] = s ? 1 : stride[a + 1] * v->dims[a + 1];
    if (layout.batch_axis >= 0) at = row * stride[layout.batch_axis];
    if (v->type == GR_STRING || !width || elements == 0) return true;
    bool piece = layout.batch_axis <= 0;
    for (int a = layout.batch_axis + 2; a < v->rank; a++) piece = piece && cut[a] == v->dims[a];
    if (piece) {
        part->data = (char *)v->data + at * width;
        return true;
    }
    if (!cli_tensor_make(copy, v->type, rank, dims, err)) return false;
    for (int64_t i = 0; i < elements; i++) {
        memcpy((char *)copy->owned + i * width, (char *)v->data + at * width, (size_t)width);
        for (int a = v->rank - 1; a >= 0; a--) {
            if (a == layout.batch_axis) continue;
            at += stride[a];
            if (++index[a] < cut[a]) break;
            at -= stride[a] * cut[a], index[a] = 0;
        }
    }
    part->data = copy->owned;
    return true;
}

void run_show(const run_job *job, size_t output, const gr_tensor_view *v, const show_options *o, cli_text *text,
              cli_json *j)
{
    if (job->json)
        show_json(j, job->names[output], v, o);
    else if (!cli_quiet)
        show_tensor(text, job->names[output], v, o);
}

static void open_item(const run_job *job, const run_window *w, size_t item, cli_text *text, cli_json *j)
{
    const cli_item *it = &w->items[item];
    if (job->json) {
        json_open(j, NULL, '{');
        json_int(j, "line", w->ids.lines[it->line].number);
        if (job->rank == 3) json_int(j, "choices", (int64_t)it->lines);
        json_int(j, "tokens", it->length);
        json_open(j, "outputs", '[');
    } else if (!cli_quiet) {
        cli_add(text, "%s: ", item_place(w, item).s);
        if (job->rank == 3) cli_add(text, "%zu choice%s, at most ", it->lines, it->lines == 1 ? "" : "s");
        cli_add(text, "%lld token%s\n", (long long)it->length, it->length == 1 ? "" : "s");
    }
}

/* Take the results of one row of the batch: to be shown, to be written. */
static bool take_item(run_stream *s, run_window *w, size_t item, int64_t row, gr_err *err)
{
    const run_job *job = s->job;
    const cli_item *it = &w->items[item];
    cli_text *text = &w->shown[item];
    cli_json j = {text, true};
    const cli_line *line = &w->ids.lines[it->line];
    show_options o = {job->top_k,   NULL,  it->lines == 1 ? w->ids.ids + line->first : NULL,
                      line->length, false, job->name_width};
    open_item(job, w, item, text, &j);
    for (size_t i = 0; i < job->wanted; i++) {
        const gr_tensor_view *v = &s->outputs[i].tensor;
        if (v->rank > CLI_MAX_RANK)
            return cli_fail(err, GR_EUNSUPPORTED, "output '%s' has too many dimensions", cli_show(job->names[i]));
        feed_layout layout = feed_output_layout(&s->f, job->declared[i].name ? &job->declared[i] : NULL, v);
        if (layout.batch_axis >= 0 && s->f.rows > 1 && gr_dtype_bits(v->type) < 8)
            return cli_fail(err, GR_EUNSUPPORTED, "output '%s' is packed %s: give --batch 1", cli_show(job->names[i]),
                            gr_dtype_name(v->type));
        int64_t dims[CLI_MAX_RANK];
        cli_tensor copy = {0};
        gr_tensor_view view = *v; /* sequences have no rows */
        const bool picked = picked_view(s, i, row, &view, dims);
        o.at = picked ? s->places + s->pick_starts[row] : NULL;
        if (picked)
            layout = (feed_layout){.batch_axis = -1};
        else if (v->rank >= 0 && !row_view(v, layout, row, it->length, &s->f, &view, dims, &copy, err))
            return false;
        o.positions_last = v->rank > 1 && (layout.positions >> (v->rank - 1) & 1);
        run_show(job, i, &view, &o, text, &j);
        bool ok = !job->output || collect_copy(&w->kept[item * job->wanted + i], job->names[i], &view, err);
        cli_tensor_free(&copy);
        if (!ok) return false;
    }
    if (job->json) json_close(&j, ']'), json_close(&j, '}');
    s->tokens += it->length * (int64_t)it->lines;
    return true;
}

/* ---- Batches ---- */

/* Is the trouble a value that --fetch asks for and the graph lacks? */
static bool names_fetched(const run_job *job, const gr_err *err)
{
    for (size_t i = 0; i < job->wanted; i++) {
        char quoted[160];
        snprintf(quoted, sizeof quoted, "'%s'", cli_show(job->names[i]));
        if (!job->declared[i].name && strstr(err->text, quoted)) return true;
    }
    return false;
}

/* If a batch fails, its halves are tried, down to the line that is to blame: a batch that was too large then passes,
 * and a wrong id is told with its line. */
bool run_batch(run_stream *s, run_window *w, const size_t *order, size_t n, gr_err *err)
{
    const run_job *job = s->job;
    if (engine_interrupted()) return cli_fail(err, GR_ECANCELLED, "interrupted");
    bool ok = feed_lines(&s->f, &w->ids, w->items, order, n, w->item_count, err) &&
              (!job->positions || pick_positions(s, w, order, n, err)) && run_stream_run(s, err);
    if (ok) {
        s->padded += s->f.rows * s->f.choices * s->f.length;
        for (size_t i = 0; ok && i < n; i++) ok = take_item(s, w, order[i], (int64_t)i, err);
        return ok;
    }
    if (err->status == GR_ECANCELLED) return false;
    if (err->status == GR_EINVAL || names_fetched(job, err)) return engine_fail(&job->e, err);
    if (n == 1)
        return cli_fail_context(err, "%s, %s, %lld id%s", cli_show(job->in.ids_path), item_place(w, order[0]).s,
                                (long long)w->items[order[0]].length, w->items[order[0]].length == 1 ? "" : "s");
    return run_batch(s, w, order, n / 2, err) && run_batch(s, w, order + n / 2, n - n / 2, err);
}
