/* SPDX-License-Identifier: Apache-2.0 */
#include "data_set.h"
#include <stdlib.h>

#define TENSORS_MAX 4096

static char *numbered(const char *folder, const char *kind, size_t i)
{
    char name[48];
    snprintf(name, sizeof name, "%s_%zu.pb", kind, i);
    return cli_join(folder, name);
}

bool set_is(const char *folder)
{
    char *path = numbered(folder, "output", 0);
    bool found = cli_exists(path);
    free(path);
    return found;
}

void set_free(data_set *d)
{
    for (size_t i = 0; i < d->in_count; i++) cli_tensor_free(&d->in[i]);
    for (size_t i = 0; i < d->out_count; i++) cli_tensor_free(&d->out[i]);
    free(d->in);
    free(d->out);
}

bool set_read(const gr_model *model, const char *folder, const char *kind, cli_tensor **out, size_t *count, gr_err *err)
{
    bool inputs = !strcmp(kind, "input");
    size_t cap = 0;
    for (size_t i = 0; i < TENSORS_MAX; i++) {
        char *path = numbered(folder, kind, i);
        cli_file *file = NULL;
        cli_tensor tensor;
        gr_value_info info = {0};
        if (inputs) gr_model_input(model, i, &info);
        else gr_model_output(model, i, &info);
        bool there = cli_exists(path);
        bool ok = !there || cli_file_open(path, false, &file, err);
        if (file) {
            ok = cli_pb_parse_as(file, info.kind, &tensor, err) || cli_fail_context(err, "%s", cli_show(path));
            if (ok) *CLI_PUSH(*out, *count, cap) = tensor;
            cli_file_drop(file);
        }
        free(path);
        if (!ok) return false;
        if (!there) break;
    }
    return true;
}

const char *set_value_name(const gr_model *model, gr_status (*get)(const gr_model *, size_t, gr_value_info *),
                           size_t count, const cli_tensor *tensor, size_t index)
{
    gr_value_info info;
    for (size_t i = 0; tensor->name && i < count; i++)
        if (get(model, i, &info) == GR_OK && !strcmp(info.name, tensor->name)) return info.name;
    return index < count && get(model, index, &info) == GR_OK ? info.name : NULL;
}
