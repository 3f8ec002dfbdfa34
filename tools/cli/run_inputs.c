/* SPDX-License-Identifier: Apache-2.0 */
#include "run_inputs.h"
#include "args.h"
#include <stdlib.h>

static void add_tensors(run_inputs *r, cli_tensor *tensors, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (name) {
            free(tensors[i].name);
            tensors[i].name = cli_strdup(name);
        }
        for (size_t g = 0; g < r->count; g++)
            if (tensors[i].name && !strcmp(r->tensors[g].name, tensors[i].name))
                cli_die(CLI_EXIT_USAGE, "input '%s' is given twice", cli_show(tensors[i].name));
        *CLI_PUSH(r->tensors, r->count, r->cap) = tensors[i];
    }
    free(tensors);
}

static bool find_input(const gr_model *model, const char *name, size_t size, gr_value_info *info)
{
    for (size_t i = 0; i < gr_model_input_count(model); i++)
        if (gr_model_input(model, i, info) == GR_OK && strlen(info->name) == size && !memcmp(info->name, name, size))
            return true;
    return false;
}

static cli_read_options read_options(const run_inputs *r, const gr_value_info *info)
{
    return (cli_read_options){info ? info->type : GR_UNDEFINED, info ? info->rank : -1,
                              r->max_memory ? r->max_memory : CLI_INFLATE_MAX, true,
                              info ? info->kind : GR_VALUE_TENSOR};
}

static void read_named(run_inputs *r, const gr_value_info *info, const char *path)
{
    cli_tensor *tensors;
    size_t count;
    gr_err err;
    cli_read_options options = read_options(r, info);
    if (!cli_tensors_read(path, &options, &tensors, &count, &err)) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
    size_t pick = count == 1 ? 0 : count;
    for (size_t i = 0; i < count && pick == count; i++)
        if (tensors[i].name && !strcmp(tensors[i].name, info->name)) pick = i;
    if (pick == count)
        cli_die(CLI_EXIT_FAILURE, "%s: none of its %zu members is named '%s'", cli_show(path), count,
                cli_show(info->name));
    cli_tensor *one = cli_alloc(sizeof *one);
    for (size_t i = 0; i < count; i++)
        if (i != pick) cli_tensor_free(&tensors[i]);
    *one = tensors[pick];
    free(tensors);
    add_tensors(r, one, 1, info->name);
}

/* A file whose tensors carry the names of inputs. What the model doesn't know is left out with a word. */
static void read_unnamed(run_inputs *r, const char *path)
{
    cli_tensor *tensors, *known, *unknown;
    size_t count, n = 0, left = 0;
    gr_err err;
    gr_value_info info;
    cli_read_options options = read_options(r, NULL);
    if (!cli_tensors_read(path, &options, &tensors, &count, &err)) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
    known = cli_array(count, sizeof *known);
    unknown = cli_array(count, sizeof *unknown);
    for (size_t i = 0; i < count; i++) {
        const char *name = tensors[i].name;
        if (!name && gr_model_input_count(r->model) == 1 && gr_model_input(r->model, 0, &info) == GR_OK)
            tensors[i].name = cli_strdup(info.name);
        else if (!name)
            cli_die(CLI_EXIT_USAGE, "%s does not say which input it is: give --input NAME=%s", cli_show(path),
                    cli_show(path));
        if (find_input(r->model, tensors[i].name, strlen(tensors[i].name), &info)) {
            known[n++] = tensors[i];
        } else {
            unknown[left++] = tensors[i];
        }
    }
    if (!n)
        cli_die(CLI_EXIT_FAILURE, "%s: it holds no input of the model%s%s%s", cli_show(path), left ? ", but '" : "",
                left ? cli_show(unknown[0].name) : "", left ? "'" : "");
    for (size_t i = 0; i < left; i++) {
        cli_note("%s: the model has no input '%s'", cli_show(path), cli_show(unknown[i].name));
        cli_tensor_free(&unknown[i]);
    }
    free(unknown);
    free(tensors);
    add_tensors(r, known, n, NULL);
}

static void read_ids(run_inputs *r, const char *path)
{
    gr_err err;
    bool end;
    if (r->ids_path)
        cli_die(CLI_EXIT_USAGE, "token ids are given twice, as %s and %s", cli_show(r->ids_path), cli_show(path));
    r->ids_path = strcmp(path, "-") ? path : "standard input";
    if (!cli_ids_open(path, &r->reader, &err)) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
    if (!r->later && !run_inputs_read(r, SIZE_MAX, 1, &r->ids, &end, &err)) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
}

bool run_inputs_read(run_inputs *r, size_t lines, int64_t group, cli_ids *out, bool *end, gr_err *err)
{
    return cli_ids_read(r->reader, lines, group, out, end, err) || cli_fail_context(err, "%s", cli_show(r->ids_path));
}

static _Noreturn void unknown_input(const run_inputs *r, const char *name, size_t size)
{
    size_t count = gr_model_input_count(r->model), n = 0;
    const char **names = cli_array(count, sizeof *names);
    for (size_t i = 0; i < count; i++) {
        gr_value_info info;
        if (gr_model_input(r->model, i, &info) == GR_OK) names[n++] = info.name;
    }
    const cli_token_text word = cli_token(name, size);
    const char *near = cli_nearest(word.s, names, n);
    if (near)
        cli_die(CLI_EXIT_FAILURE, "the model has no input '%s'; did you mean '%s'?", cli_show(word.s), cli_show(near));
    cli_die(CLI_EXIT_FAILURE, "the model has no input '%s'", cli_show(word.s));
}

void run_inputs_add(run_inputs *r, const char *text)
{
    gr_value_info info;
    for (const char *equals = strrchr(text, '='); equals;) {
        if (find_input(r->model, text, (size_t)(equals - text), &info)) {
            read_named(r, &info, equals + 1);
            return;
        }
        const char *before = equals;
        for (equals = NULL; before > text && !equals; before--)
            if (before[-1] == '=') equals = before - 1;
    }
    const char *equals = strchr(text, '=');
    if (equals && !cli_exists(text)) unknown_input(r, text, (size_t)(equals - text));
    if (cli_ends_with(text, ".npz") || cli_ends_with(text, ".npy") || cli_ends_with(text, ".pb"))
        read_unnamed(r, text);
    else
        read_ids(r, text);
}

void run_inputs_free(run_inputs *r)
{
    for (size_t i = 0; i < r->count; i++) cli_tensor_free(&r->tensors[i]);
    free(r->tensors);
    cli_ids_free(&r->ids);
    cli_ids_close(r->reader);
}
