/* SPDX-License-Identifier: Apache-2.0 */
#include "trial.h"
#include "positions.h"
#include <stdlib.h>

#define VOCABULARY_TRY 1000

void trial_open(trial *t, const cli_command *self, const char *path, const cli_list *inputs)
{
    gr_err err;
    if (t->positions && (!cli_is_positions(t->positions) || !strncmp(t->positions, "mask", 4)))
        cli_usage(self, "--positions is first, last or numbers as 0,3,7, not '%s'", cli_show(t->positions));
    double start = cli_now();
    t->vocabulary = VOCABULARY_TRY;
    if (!engine_open(&t->e, path, &err)) {
        t->missing = t->look && err.status == GR_EUNSUPPORTED;
        if (t->missing) return;
        engine_die(&t->e, &err);
    }
    t->create_seconds = cli_now() - start - t->e.load_seconds;
    t->in = (run_inputs){.model = t->e.model, .max_memory = t->e.max_memory};
    for (size_t i = 0; i < inputs->n; i++) run_inputs_add(&t->in, inputs->items[i]);
    if (t->in.ids_path)
        cli_usage(self, "%s makes its own token ids, so %s has no use", self->name, cli_show(t->in.ids_path));
    if (!feed_init_random(&t->f, t->e.model, t->in.tensors, t->in.count, &err)) engine_die(&t->e, &err);
    t->output_count = gr_model_output_count(t->e.model);
    t->outputs = cli_array(t->output_count, sizeof *t->outputs);
}

void trial_close(trial *t)
{
    feed_free(&t->f);
    run_inputs_free(&t->in);
    free(t->outputs);
    free(t->picks);
    engine_close(&t->e);
}

size_t trial_shapes(const trial *t, const cli_command *self, const char *text, const char *missing, cli_sizes *shapes)
{
    const feed *f = &t->f;
    size_t n;
    if (text) {
        n = cli_parse_sizes(text, shapes, TRIAL_SHAPES);
        if (!n) cli_usage(self, "--shape wants sizes as 1x8,4x128, not '%s'", cli_show(text));
    } else if (f->length_fixed > 0 || f->batch_size > 0) {
        shapes[0] =
            (cli_sizes){2, {f->batch_size > 0 ? f->batch_size : 1, f->length_fixed > 0 ? f->length_fixed : 128}};
        return 1;
    } else {
        n = cli_parse_sizes(missing, shapes, TRIAL_SHAPES);
    }
    for (size_t i = 0; i < n; i++) {
        if (shapes[i].count < 2) shapes[i] = (cli_sizes){2, {1, shapes[i].at[0]}};
        if (shapes[i].count == 3 && feed_rank(f) != 3)
            cli_usage(self, "the model has no choices, so give --shape as BATCHxLENGTH");
    }
    return n;
}

void trial_shape_text(const cli_sizes *s, char *out, size_t room)
{
    size_t used = 0;
    for (int i = 0; i < s->count; i++)
        used += (size_t)snprintf(out + used, room - used, "%s%lld", i ? "x" : "", (long long)s->at[i]);
}

static bool pick(trial *t, gr_err *err)
{
    size_t n = 0;
    for (int64_t row = 0; row < t->f.rows; row++)
        for (int64_t i = 0; i < t->f.length; i++) {
            if (!cli_has_position(t->positions, i, t->f.length, 0)) continue;
            t->picks = cli_grow(t->picks, &t->pick_cap, n + 1, sizeof *t->picks);
            t->picks[n++] = row * t->f.length + i;
        }
    if (!n)
        return cli_fail(err, GR_EINVAL, "none of the %lld tokens is at '%s'", (long long)t->f.length,
                        cli_show(t->positions));
    return gr_session_pick(t->e.session, t->picks, n, err) == GR_OK;
}

bool trial_feed(trial *t, const cli_sizes *shape, gr_err *err)
{
    int64_t choices = shape->count == 3       ? shape->at[1]
                      : feed_rank(&t->f) == 3 ? (t->f.choices_fixed > 0 ? t->f.choices_fixed : 2)
                                              : 1;
    return feed_random(&t->f, shape->at[0], choices, shape->at[shape->count - 1], t->vocabulary, err) &&
           (!t->positions || pick(t, err));
}

static void name_outputs(trial *t)
{
    for (size_t i = 0; i < t->output_count; i++) {
        gr_value_info info;
        gr_model_output(t->e.model, i, &info);
        t->outputs[i] = (gr_named_tensor){.name = info.name};
    }
}

bool trial_run(trial *t, double *seconds, gr_err *err)
{
    name_outputs(t);
    double start = cli_now();
    engine_check_interrupt();
    gr_status status = gr_session_run(t->e.session, t->f.inputs, t->f.input_count, t->outputs, t->output_count, err);
    *seconds = cli_now() - start;
    if (engine_interrupted()) exit(CLI_EXIT_INTERRUPT);
    return status == GR_OK;
}

/* The vocabulary is not in the file's interface, so ids that the model refuses are tried again below half the bound. */
bool trial_first(trial *t, const cli_sizes *shape, double *seconds, gr_err *err)
{
    for (;; t->vocabulary /= 2) {
        if (!trial_feed(t, shape, err)) return false;
        if (trial_run(t, seconds, err)) return true;
        if (err->status != GR_EINPUT || t->vocabulary == 1) return false;
    }
}

bool trial_prepare(trial *t, gr_err *err)
{
    name_outputs(t);
    return gr_session_prepare(t->e.session, t->f.inputs, t->f.input_count, t->outputs, t->output_count, err) == GR_OK;
}
