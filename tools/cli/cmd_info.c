/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun info: what is in a model. graphrun print: the model in ONNX's textual syntax.
 */
#include "engine.h"
#include "inspect/hash.h"
#include "inspect/optimize.h"
#include "json.h"
#include "model.h"
#include "pass_choice.h"
#include "tensor.h"
#include <errno.h>
#include <stdlib.h>

#define NAME_MAX_WIDTH 40
#define OPS_PER_LINE   8

typedef gr_status (*value_fn)(const gr_model *model, size_t index, gr_value_info *out);

static int values_width(const gr_model *model, value_fn get, size_t count, int width)
{
    gr_value_info info;
    for (size_t i = 0; i < count; i++) {
        if (get(model, i, &info) != GR_OK) continue;
        int n = (int)strlen(cli_show(info.name));
        if (n > width) width = n < NAME_MAX_WIDTH ? n : NAME_MAX_WIDTH;
    }
    return width;
}

static void print_values(cli_text *out, const char *title, const gr_model *model, value_fn get, size_t count, int width)
{
    gr_value_info info;
    for (size_t i = 0; i < count; i++) {
        if (get(model, i, &info) != GR_OK) continue;
        cli_add(out, "%-11s %-*s  %s%s\n", i ? "" : title, width, cli_show(info.name), cli_declared(&info),
                info.optional && info.kind == GR_VALUE_TENSOR ? "  (has a default)" : "");
    }
    if (!count) cli_add(out, "%-11s none\n", title);
}

static const char *domain_name(const gr_count *c) { return c->domain && *c->domain ? c->domain : "ai.onnx"; }

static void print_counts(cli_text *out, const char *title, const char *what, const gr_count *counts, size_t n,
                         int64_t per_layer)
{
    int64_t total = 0;
    for (size_t i = 0; i < n; i++) total += counts[i].count;
    cli_add(out, "%-11s %s %s", title, cli_thousands(total), what);
    if (per_layer) cli_add(out, ", %s per layer", cli_thousands(per_layer));
    for (size_t i = 0; i < n; i++) {
        cli_add(out, i % OPS_PER_LINE ? " · " : "\n            ");
        if (counts[i].domain && *counts[i].domain) cli_add(out, "%s.", cli_show(counts[i].domain));
        cli_add(out, "%s %s", cli_show(counts[i].name), cli_thousands(counts[i].count));
    }
    cli_add(out, "\n");
}

/* Empty strings are as good as absent. */
static bool given(const char *text) { return text && *text; }

static void info_text(cli_text *out, const engine *e, const gr_model_summary *s)
{
    size_t ins = gr_model_input_count(e->model), outs = gr_model_output_count(e->model);
    int width = values_width(e->model, gr_model_output, outs, values_width(e->model, gr_model_input, ins, 0));
    cli_add(out, "%-11s %s\n", "model", e->path);
    if (given(s->graph_name)) cli_add(out, "%-11s %s\n", "graph", cli_show(s->graph_name));
    if (given(s->producer_name))
        cli_add(out, "%-11s %s%s%s\n", "producer", cli_show(s->producer_name), given(s->producer_version) ? " " : "",
                cli_show(s->producer_version));
    cli_add(out, "%-11s IR %lld", "versions", (long long)s->ir_version);
    for (size_t i = 0; i < s->opset_count; i++)
        cli_add(out, ", %s %lld", cli_show(domain_name(&s->opsets[i])), (long long)s->opsets[i].count);
    cli_add(out, "\n");
    print_values(out, "inputs", e->model, gr_model_input, ins, width);
    print_values(out, "outputs", e->model, gr_model_output, outs, width);
    cli_add(out, "%-11s %s", "parameters", cli_thousands(s->parameters));
    for (size_t i = 0; i < s->parameter_count_by_module && s->parameters > 0; i++)
        cli_add(out, " · %s %.1f %%", cli_show(s->modules[i].name),
                100.0 * (double)s->modules[i].count / (double)s->parameters);
    cli_add(out, "\n%-11s %s\n", "weights", cli_bytes(s->weight_bytes));
    print_counts(out, "operators", "in the file", s->ops, s->op_count, 0);
    print_counts(out, "steps", "after the passes", s->steps, s->step_count, s->layer_steps);
}

static void json_values(cli_json *j, const char *key, const gr_model *model, value_fn get, size_t count)
{
    static const char *const kinds[] = {"tensor", "sequence", "optional", "optional sequence", "other"};
    gr_value_info info;
    json_open(j, key, '[');
    for (size_t i = 0; i < count; i++) {
        if (get(model, i, &info) != GR_OK) continue;
        json_open(j, NULL, '{');
        json_text(j, "name", info.name);
        json_text(j, "type", gr_dtype_name(info.type));
        if (info.kind != GR_VALUE_TENSOR) json_text(j, "kind", kinds[info.kind]);
        if (info.rank < 0) {
            json_text(j, "shape", NULL);
        } else {
            json_open(j, "shape", '[');
            for (int d = 0; d < info.rank; d++) {
                if (info.dims[d].value >= 0)
                    json_int(j, NULL, info.dims[d].value);
                else
                    json_text(j, NULL, info.dims[d].symbol);
            }
            json_close(j, ']');
        }
        json_bool(j, "optional", info.optional);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void json_counts(cli_json *j, const char *key, const gr_count *counts, size_t n)
{
    json_open(j, key, '[');
    for (size_t i = 0; i < n; i++) {
        json_open(j, NULL, '{');
        if (counts[i].domain) json_text(j, "domain", domain_name(&counts[i]));
        if (counts[i].name) json_text(j, "name", counts[i].name);
        json_int(j, counts[i].name ? "count" : "version", counts[i].count);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void info_json(cli_text *out, const engine *e, const gr_model_summary *s)
{
    cli_json j = {out, true};
    json_open(&j, NULL, '{');
    json_text(&j, "model", e->path);
    json_text(&j, "graph", s->graph_name);
    json_text(&j, "producer", s->producer_name);
    json_text(&j, "producer_version", s->producer_version);
    json_int(&j, "ir_version", s->ir_version);
    json_counts(&j, "opsets", s->opsets, s->opset_count);
    json_values(&j, "inputs", e->model, gr_model_input, gr_model_input_count(e->model));
    json_values(&j, "outputs", e->model, gr_model_output, gr_model_output_count(e->model));
    json_int(&j, "parameters", s->parameters);
    json_int(&j, "weight_bytes", s->weight_bytes);
    json_open(&j, "modules", '[');
    for (size_t i = 0; i < s->parameter_count_by_module; i++) {
        json_open(&j, NULL, '{');
        json_text(&j, "name", s->modules[i].name);
        json_int(&j, "parameters", s->modules[i].count);
        json_number(&j, "share", s->parameters ? (double)s->modules[i].count / (double)s->parameters : 0);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    json_counts(&j, "operators", s->ops, s->op_count);
    json_counts(&j, "steps", s->steps, s->step_count);
    if (s->layer_steps) json_int(&j, "steps_per_layer", s->layer_steps);
    json_close(&j, '}');
    cli_add(out, "\n");
}

static int info(const cli_command *self, int argc, char **argv)
{
    engine e = {0};
    bool json = false;
    cli_list names = {0};
    gr_err err;
    const cli_option options[] = {
        {"--json", NULL, CLI_FLAG, &json, "print JSON instead of text", 0},
        {"--no-passes", NULL, CLI_FLAG, &e.no_passes, "count the steps of the file as it is", 0},
        {0}};
    cli_parse(self, options, argc, argv, &names);
    if (names.n != 1) cli_usage(self, "give one model");
    if (!engine_load(&e, names.items[0], &err)) engine_die(&e, &err);
    gr_model_summary summary = {0};
    cli_text out = {0};
    gr_model_summarize(e.model, &summary);
    if (json)
        info_json(&out, &e, &summary);
    else
        info_text(&out, &e, &summary);
    cli_flush(&out);
    cli_text_free(&out);
    free(names.items);
    engine_close(&e);
    return CLI_EXIT_OK;
}

/* The document as it is: what does not run should still be seen in a diff. */
static int print_hashed(const char *path, size_t elide)
{
    const gr_doc_limits limits = {0};
    const gr_text_options options = {.max_elements = elide, .content = gr_hash_doc_tensor};
    gr_doc *doc;
    gr_err err;
    char *file = engine_model_path(path);
    gr_status status = gr_doc_load(file, &limits, &doc, &err);
    if (status != GR_OK) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
    status = gr_doc_print_text(doc, &options, cli_write_stdout, NULL, &err);
    if (status != GR_OK || fflush(stdout)) cli_die(CLI_EXIT_FAILURE, "standard output: %s", strerror(errno));
    gr_doc_free(doc);
    free(file);
    return CLI_EXIT_OK;
}

/* The graph after the passes that are asked for. */
static gr_status print_chosen(gr_model *model, const pass_choice *choice, size_t elide, gr_err *err)
{
    const gr_variant asked = {.passes = &choice->passes};
    const gr_graph *g;
    GR_TRY(gr_model_graph(model, &asked, &g, err));
    return graph_write_text(g, elide, err);
}

static int print(const cli_command *self, int argc, char **argv)
{
    engine e = {0};
    int64_t elide = 16;
    bool all = false, optimized = false, outlined = false, textconv = false;
    const char *function = NULL;
    pass_choice choice = {.stop_after = -1};
    cli_list names = {0};
    gr_err err;
    const cli_option options[] = {
        {"--elide", "N", CLI_INT, &elide, "elide tensors of more than N elements (default 16)", 0},
        {"--all", NULL, CLI_FLAG, &all, "print every element", 0},
        {"--optimized", NULL, CLI_FLAG, &optimized, "print the graph that runs, after the passes, not the file", 0},
        PASS_CHOICE_OPTIONS(choice),
        {"--outlined", NULL, CLI_FLAG, &outlined, "the same as calls of functions: embeddings, layers, pooler, heads", 0},
        {"--textconv", NULL, CLI_FLAG, &textconv, "print a hash of its contents for what is elided, for git diff", 0},
        {"--function", "NAME", CLI_WORD, &function,
         "only what this operator of that graph (graphrun.Attention)\nstands for, as functions of ONNX's operators", 0},
        {0}};
    cli_parse(self, options, argc, argv, &names);
    if (names.n != 1) cli_usage(self, "give one model");
    if (pass_choice_given(&choice) && (!optimized || outlined || function || textconv))
        cli_usage(self, "--disable and --stop-after go with --optimized alone");
    pass_choice_resolve(&choice, self);
    if (textconv) {
        int code = print_hashed(names.items[0], (size_t)elide);
        free(names.items);
        return code;
    }
    if (!engine_load(&e, names.items[0], &err)) engine_die(&e, &err);
    gr_print_level level = outlined ? GR_PRINT_OUTLINED : optimized ? GR_PRINT_OPTIMIZED : GR_PRINT_FILE;
    size_t most = all ? SIZE_MAX : (size_t)elide;
    errno = 0;
    gr_status status = function ? gr_print_bodies(e.model, function, cli_write_stdout, NULL, &err)
                       : pass_choice_given(&choice) ? print_chosen(e.model, &choice, most, &err)
                                                    : gr_model_print(e.model, level, most, cli_write_stdout, NULL, &err);
    if (status != GR_OK) {
        if (ferror(stdout)) cli_die(CLI_EXIT_FAILURE, "standard output: %s", strerror(errno));
        engine_die(&e, &err);
    }
    if (fflush(stdout)) cli_die(CLI_EXIT_FAILURE, "standard output: %s", strerror(errno));
    free(names.items);
    pass_choice_free(&choice);
    engine_close(&e);
    return CLI_EXIT_OK;
}

const cli_command cli_info_command = {
    "info", info, "inputs, outputs, operators and parameters of a model", "graphrun info MODEL [options]",
    "Prints the inputs and outputs with their types and shapes (names are dimensions that are open), the\n"
    "versions the file asks for, its parameters with the share of each module, and how many operators of\n"
    "each kind are in the file and left to be run after the passes."};

const cli_command cli_print_command = {
    "print", print, "the model in ONNX's textual syntax", "graphrun print MODEL [options]",
    "Writes the model in ONNX's textual syntax to standard output. Longer tensors are elided by a marker;\n"
    "with --all nothing is, and the text can be read back as FILE.onnxtxt.\n"
    "\n"
    "With --textconv a hash of its contents stands for each longer tensor, for git to compare:\n"
    "  .gitattributes:  *.onnx diff=onnx\n"
    "  git config diff.onnx.textconv \"graphrun print --textconv\""};
