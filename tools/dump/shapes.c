/* SPDX-License-Identifier: Apache-2.0
 *
 * Shapes for a model's inputs from a batch and a length, as `graphrun bench` would feed it, but without any contents: a
 * dimension with a name has one size wherever it stands, a cache is empty.
 */
#include "shapes.h"
#include <stdlib.h>

enum { BATCH = 1, CHOICES = 2 };

typedef struct binding {
    const char *symbol;
    int64_t value;
} binding;

typedef struct maker {
    const gr_model *model;
    const cli_sizes *sizes;
    int rank; /* of the token ids */
    int64_t batch, choices, length;
    binding *bound;
    size_t n, cap;
} maker;

static bool is_integer(gr_dtype t) { return t == GR_INT64 || t == GR_INT32; }

/* The first input of whole numbers with a row and a column is as good as token ids. */
static bool find_base(const gr_model *model, gr_value_info *out)
{
    for (size_t i = 0; i < gr_model_input_count(model); i++)
        if (gr_model_input(model, i, out) == GR_OK && is_integer(out->type) && out->rank >= 2 && out->rank <= 3)
            return true;
    for (size_t i = 0; i < gr_model_input_count(model); i++)
        if (gr_model_input(model, i, out) == GR_OK && is_integer(out->type) && out->rank == 1) return true;
    return false;
}

static void bind(maker *m, const char *symbol, int64_t value)
{
    enum { MOST = 256 }; /* more names than that are no language model's, and would take long to search */
    if (symbol && m->n < MOST) *CLI_PUSH(m->bound, m->n, m->cap) = (binding){symbol, value};
}

static bool bound(const maker *m, const char *symbol, int64_t *value)
{
    for (size_t i = 0; symbol && i < m->n; i++)
        if (!strcmp(m->bound[i].symbol, symbol)) {
            *value = m->bound[i].value;
            return true;
        }
    return false;
}

static void settle(maker *m)
{
    gr_value_info base;
    const cli_sizes *s = m->sizes;
    m->batch = s->count > 1 ? s->at[0] : BATCH;
    m->length = s->at[s->count - 1];
    m->choices = s->count == 3 ? s->at[1] : CHOICES;
    m->rank = find_base(m->model, &base) ? base.rank : 2;
    if (m->rank == 1) m->batch = 1;
    if (m->rank < 1 || m->rank > 3 || !find_base(m->model, &base)) return;
    int64_t *parts[3][3] = {{&m->length}, {&m->batch, &m->length}, {&m->batch, &m->choices, &m->length}};
    for (int d = 0; d < m->rank; d++) {
        int64_t *part = parts[m->rank - 1][d];
        if (base.dims[d].value >= 0)
            *part = base.dims[d].value;
        else
            bind(m, base.dims[d].symbol, *part);
    }
}

static int64_t open_dim(maker *m, const gr_value_info *info, int axis)
{
    const char *symbol = info->dims[axis].symbol;
    int64_t value;
    bool cache = !strncmp(info->name, "past", 4) && info->rank >= 4;
    if (bound(m, symbol, &value)) return value;
    if (cache && axis > 0) return 0;
    bool past = symbol && strstr(symbol, "past") && !strpbrk(symbol, "+*");
    value = past                                           ? 0
            : info->rank == 1                              ? (m->rank == 1 ? m->length : m->batch)
            : axis == 0                                    ? m->batch
            : axis == 1 && m->rank == 3 && info->rank >= 3 ? m->choices
                                                           : m->length;
    bind(m, symbol, value);
    return value;
}

bool dump_shapes_make(const gr_model *model, const cli_sizes *sizes, dump_shapes *out, gr_err *err)
{
    maker m = {.model = model, .sizes = sizes};
    size_t count = gr_model_input_count(model);
    *out = (dump_shapes){.inputs = cli_array(count, sizeof *out->inputs)};
    settle(&m);
    if (sizes->count == 3 && m.rank != 3)
        return cli_fail(err, GR_EINVAL, "the model has no choices, so give --shape as BATCHxLENGTH");
    for (size_t i = 0; i < count; i++) {
        gr_value_info info;
        if (gr_model_input(model, i, &info) != GR_OK || info.optional || info.rank < 0) continue;
        int64_t *dims = cli_array((size_t)info.rank, sizeof *dims);
        for (int d = 0; d < info.rank; d++)
            dims[d] = info.dims[d].value >= 0 ? info.dims[d].value : open_dim(&m, &info, d);
        out->inputs[out->count++] = (gr_named_tensor){info.name, {info.type, info.rank, dims, NULL, 0}};
    }
    if (m.rank == 3)
        snprintf(out->text, sizeof out->text, "%lldx%lldx%lld", (long long)m.batch, (long long)m.choices,
                 (long long)m.length);
    else
        snprintf(out->text, sizeof out->text, "%lldx%lld", (long long)m.batch, (long long)m.length);
    free(m.bound);
    return true;
}

void dump_shapes_free(dump_shapes *s)
{
    for (size_t i = 0; i < s->count; i++) free((void *)s->inputs[i].tensor.dims);
    free(s->inputs);
    *s = (dump_shapes){0};
}
