/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun optimize: save the graph that runs.
 */
#include "engine.h"
#include "inspect/optimize.h"
#include <stdlib.h>

/* Operators that the chosen form has no other spelling for, by name with their count. */
static void note_rest(const gr_doc *doc, gr_form form)
{
    cli_text names = {0};
    size_t total = 0;
    for (size_t i = 0; i < doc->graph->nodes.count; i++) {
        const gr_doc_node *n = &doc->graph->nodes.items[i];
        if (!*n->domain || (form == GR_FORM_CONTRIB && strcmp(n->domain, "graphrun") != 0)) continue;
        cli_text one = {0};
        cli_add(&one, "%s.%s", cli_show(n->domain), cli_show(n->op_type));
        if (!names.data || !strstr(names.data, one.data)) cli_add(&names, "%s%s", total ? ", " : "", one.data);
        cli_text_free(&one);
        total++;
    }
    if (total && form != GR_FORM_NATIVE)
        cli_note("%zu node%s have no standard form and stay as they are: %s", total, total == 1 ? "" : "s", names.data);
    cli_text_free(&names);
}

static gr_form form_of(const cli_command *self, bool standard, bool contrib, bool native)
{
    if (standard + contrib + native > 1) cli_usage(self, "give one of --standard, --contrib and --native");
    return standard ? GR_FORM_STANDARD : contrib ? GR_FORM_CONTRIB : GR_FORM_NATIVE;
}

static int optimize(const cli_command *self, int argc, char **argv)
{
    engine e = {0};
    const char *to = NULL, *external = NULL;
    bool standard = false, contrib = false, native = false;
    cli_list names = {0};
    gr_err err;
    gr_doc *doc = NULL;
    const cli_option options[] = {
        {"-o", "OUT", CLI_WORD, &to, "the file to write; it may be MODEL itself", 0},
        {"--native", NULL, CLI_FLAG, &native, "fused operators of graphrun's own domain (the default)", 0},
        {"--standard", NULL, CLI_FLAG, &standard, "only ONNX's operators, in the file's opset", 0},
        {"--contrib", NULL, CLI_FLAG, &contrib, "com.microsoft's operators where they do the same,\nelse ONNX's", 0},
        {"--external-data", "FILE", CLI_WORD, &external,
         "put the weights into this file, in OUT's folder; without it only\nif OUT would pass 2 GiB, into OUT.data", 0},
        {"--quiet", NULL, CLI_FLAG, &cli_quiet, "no notes", 0},
        {0}};
    cli_parse(self, options, argc, argv, &names);
    if (names.n != 1) cli_usage(self, "give one model");
    if (!to) cli_usage(self, "say with -o where to write");
    gr_form form = form_of(self, standard, contrib, native);
    if (!engine_load(&e, names.items[0], &err)) engine_die(&e, &err);
    gr_status status = gr_optimize(e.model, form, &doc, &err);
    if (status != GR_OK) engine_die(&e, &err);
    note_rest(doc, form);
    status = gr_doc_save_as(doc, to, &(gr_save_options){.external = external}, &err);
    gr_doc_free(doc);
    if (status != GR_OK) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
    free(names.items);
    engine_close(&e);
    return CLI_EXIT_OK;
}

const cli_command cli_optimize_command = {
    "optimize", optimize, "save the optimised model", "graphrun optimize MODEL -o OUT [options]",
    "Writes the graph that runs, after all passes, as an ONNX file: with graphrun's fused operators, which\n"
    "load without being searched for again; or with each of them written out as what it stands for, for\n"
    "any other program (--standard) or for ONNX Runtime's fused kernels (--contrib). Names, types and\n"
    "symbolic shapes of inputs and outputs, the opset and the metadata stay as they are in MODEL. An\n"
    "input with a default in the file becomes the constant that it is."};
