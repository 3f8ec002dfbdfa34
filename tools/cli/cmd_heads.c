/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun heads: which task a model was made for, with the weights of its head and what each output is.
 */
#include "engine.h"
#include "graph/ir.h"
#include "inspect/heads.h"
#include "json.h"
#include <stdlib.h>

static void add_shape(cli_text *out, const gr_value *w)
{
    cli_add(out, "%s[", gr_dtype_name(w->konst->dtype));
    for (int d = 0; d < w->konst->rank; d++) cli_add(out, d ? ", %lld" : "%lld", (long long)w->konst->dims[d]);
    cli_add(out, "]");
}

static void heads_text(cli_text *out, const engine *e, const gr_heads *h)
{
    cli_add(out, "%-11s %s\n%-11s %s\n", "model", e->path, "head", cli_show(h->summary));
    for (size_t i = 0; i < h->nheads; i++) {
        const gr_head *head = &h->heads[i];
        cli_add(out, "%-11s (models/heads/%s.onnxtxt)\n", cli_show(head->name), head->file);
        for (size_t k = 0; k < head->nweights; k++) {
            cli_add(out, "            %-42s ", cli_show(head->weights[k].role));
            add_shape(out, head->weights[k].value);
            cli_add(out, "  %s%s\n", cli_show(head->weights[k].value->name),
                    head->weights[k].value == head->tied ? "  (the table of word embeddings)" : "");
        }
    }
    for (size_t i = 0; i < h->outline.graph->noutputs; i++)
        cli_add(out, "%-11s %s: %s\n", i ? "" : "outputs", cli_show(h->outline.graph->output_names[i]),
                cli_show(h->outputs[i]));
}

static void heads_json(cli_text *out, const engine *e, const gr_heads *h)
{
    cli_json j = {out, true};
    json_open(&j, NULL, '{');
    json_text(&j, "model", e->path);
    json_text(&j, "summary", h->summary);
    json_open(&j, "heads", '[');
    for (size_t i = 0; i < h->nheads; i++) {
        const gr_head *head = &h->heads[i];
        json_open(&j, NULL, '{');
        json_text(&j, "name", head->name);
        json_text(&j, "file", head->file);
        json_bool(&j, "tied", head->tied != NULL);
        json_open(&j, "weights", '[');
        for (size_t k = 0; k < head->nweights; k++) {
            const gr_value *w = head->weights[k].value;
            json_open(&j, NULL, '{');
            json_text(&j, "role", head->weights[k].role);
            json_text(&j, "name", w->name);
            json_text(&j, "type", gr_dtype_name(w->konst->dtype));
            json_open(&j, "shape", '[');
            for (int d = 0; d < w->konst->rank; d++) json_int(&j, NULL, w->konst->dims[d]);
            json_close(&j, ']');
            json_close(&j, '}');
        }
        json_close(&j, ']');
        json_close(&j, '}');
    }
    json_close(&j, ']');
    json_open(&j, "outputs", '[');
    for (size_t i = 0; i < h->outline.graph->noutputs; i++) {
        json_open(&j, NULL, '{');
        json_text(&j, "name", h->outline.graph->output_names[i]);
        json_text(&j, "is", h->outputs[i]);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    json_close(&j, '}');
    cli_add(out, "\n");
}

static int heads(const cli_command *self, int argc, char **argv)
{
    engine e = {0};
    bool json = false;
    cli_list names = {0};
    cli_text out = {0};
    gr_heads h;
    gr_err err;
    const cli_option options[] = {{"--json", NULL, CLI_FLAG, &json, "print JSON instead of text", 0}, {0}};
    cli_parse(self, options, argc, argv, &names);
    if (names.n != 1) cli_usage(self, "give one model");
    if (!engine_load(&e, names.items[0], &err)) engine_die(&e, &err);
    gr_arena *arena = gr_arena_new();
    if (!arena) cli_die(CLI_EXIT_FAILURE, "out of memory");
    if (gr_heads_find(e.model, arena, &h, &err) != GR_OK) engine_die(&e, &err);
    if (json)
        heads_json(&out, &e, &h);
    else
        heads_text(&out, &e, &h);
    cli_flush(&out);
    cli_text_free(&out);
    gr_arena_free(arena);
    free(names.items);
    engine_close(&e);
    return CLI_EXIT_OK;
}

const cli_command cli_heads_command = {
    "heads", heads, "which task a model was made for", "graphrun heads MODEL [options]",
    "Names the task heads of a model (masked-lm, question-answering, ...), whoever exported it, with the\n"
    "weights of each and what every output is; a base model says so. Every head is a text file of\n"
    "models/heads: a model is compared with all of them after the passes."};
