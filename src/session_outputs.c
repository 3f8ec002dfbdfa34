/* SPDX-License-Identifier: Apache-2.0
 *
 * What callers want and get: values by name, in the session's memory or in theirs.
 */
#include "session_data.h"

void gr_session_free_views(gr_session *s)
{
    for (size_t i = 0; i < s->capoutputs; i++) {
        gr_free(s->views[i]);
        s->views[i] = NULL;
    }
}

/* `hint`: the output that it is likely to be. */
static gr_value *find_value(const gr_graph *g, const char *name, size_t hint)
{
    if (hint < g->noutputs && !strcmp(g->output_names[hint], name)) return g->outputs[hint];
    for (size_t i = 0; i < g->noutputs; i++)
        if (!strcmp(g->output_names[i], name)) return g->outputs[i];
    gr_value *v = gr_graph_find(g, name);
    return v && gr_value_lives(v) ? v : NULL;
}

gr_status gr_session_bind_outputs(gr_session *s, const gr_variant *variant, const gr_named_tensor *outputs, size_t n,
                                  gr_err *err)
{
    s->lanes[PLAIN].count = s->lanes[RAW].count = 0;
    for (size_t i = 0; i < n; i++) {
        if (!outputs[i].name) return gr_fail(err, GR_EINVAL, "an output has no name");
        lane *l = &s->lanes[PLAIN];
        gr_value *v = find_value(l->graph, outputs[i].name, i);
        if (!v) {
            gr_variant raw = *variant;
            raw.raw = true;
            l = &s->lanes[RAW];
            GR_TRY(gr_model_graph(s->model, &raw, &l->graph, err));
            v = find_value(l->graph, outputs[i].name, i);
        }
        if (!v) return gr_fail(err, GR_EINPUT, "the model has no value '%s'", gr_show(outputs[i].name));
        l->wanted[l->count] = v;
        l->output[l->count] = i;
        l->results[l->count] = (gr_tensor){.data = outputs[i].tensor.data, .size = outputs[i].tensor.size};
        l->count++;
    }
    return GR_OK;
}

void gr_session_take_back(gr_session *s, gr_named_tensor *outputs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; outputs[i].tensor.data && k < s->ngiven; k++)
            if (outputs[i].tensor.data == s->given[k]) outputs[i].tensor.data = NULL;
    s->ngiven = 0;
    gr_session_free_views(s);
}

/* Views of the items, in memory of the session; an empty optional has none. */
static gr_status give_sequence(gr_session *s, size_t output, gr_named_tensor *out, const gr_tensor *r, gr_err *err)
{
    if (out->tensor.data)
        return gr_fail(err, GR_EINVAL, "output '%s' is no tensor, and only tensors are written to a caller's buffer",
                       gr_show(out->name));
    out->tensor = (gr_tensor_view){.type = r->dtype, .rank = GR_VIEW_EMPTY};
    if (r->kind == GR_KIND_OPTIONAL) return GR_OK;
    gr_tensor_view *views = gr_calloc(r->count + 1, sizeof *views);
    if (!views) return gr_nomem(err);
    for (size_t i = 0; i < r->count; i++) {
        const gr_tensor *t = r->items[i];
        views[i] = (gr_tensor_view){t->dtype, t->rank, t->dims, t->data, t->size};
    }
    s->views[output] = views;
    s->given[s->ngiven++] = views;
    out->tensor.rank = GR_VIEW_SEQUENCE;
    out->tensor.data = views;
    out->tensor.size = r->count * sizeof *views;
    return GR_OK;
}

gr_status gr_session_give_outputs(gr_session *s, lane *l, gr_named_tensor *outputs, gr_err *err)
{
    for (size_t i = 0; i < l->count; i++) {
        gr_tensor *r = &l->results[i];
        gr_tensor_view *out = &outputs[l->output[i]].tensor;
        if (r->kind != GR_KIND_TENSOR) {
            GR_TRY(give_sequence(s, l->output[i], &outputs[l->output[i]], r, err));
            continue;
        }
        void *data = r->data;
        if (out->data && out->data != r->data) {
            if (out->size < r->size)
                return gr_fail(err, GR_EINVAL, "output '%s' needs %zu bytes, its buffer has %zu",
                               gr_show(outputs[l->output[i]].name), r->size, out->size);
            if (r->size) memcpy(out->data, r->data, r->size);
            data = out->data;
        }
        if (!out->data && data) s->given[s->ngiven++] = data;
        *out = (gr_tensor_view){r->dtype, r->rank, r->dims, data, r->size};
    }
    return GR_OK;
}
