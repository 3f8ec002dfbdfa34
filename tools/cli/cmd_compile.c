/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun compile: store the optimised graph and the packed weights.
 */
#include "trial.h"
#include <stdlib.h>
#include <sys/stat.h>

/* Pack what any shape needs; which layouts those are may depend on the number of rows. */
static void prepare(trial *t, const cli_command *self, const char *text)
{
    cli_sizes shapes[TRIAL_SHAPES];
    gr_err err;
    const size_t n = trial_shapes(t, self, text, "1x16,1x128", shapes);
    for (size_t i = 0; i < n; i++) {
        char name[80];
        if (trial_feed(t, &shapes[i], &err) && trial_prepare(t, &err)) continue;
        trial_shape_text(&shapes[i], name, sizeof name);
        cli_fail_context(&err, "shape %s", name);
        engine_die(&t->e, &err);
    }
}

static int check(const cli_command *self, const char *path, bool alone)
{
    gr_err err;
    if (!alone) cli_usage(self, "--check takes no other options");
    if (gr_model_check_compiled(path, &err) != GR_OK) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
    printf("%s: as it was written\n", cli_show(path));
    return CLI_EXIT_OK;
}

static int compile(const cli_command *self, int argc, char **argv)
{
    trial t = {0};
    const char *to = NULL, *shape = NULL;
    cli_list names = {0}, inputs = {0};
    bool checking = false;
    gr_compile_options o = {.struct_size = sizeof o};
    gr_err err;
    const cli_option options[] = {
        {"-o", "FILE", CLI_WORD, &to, "the file to write, as MODEL.plan", 0},
        {"--standalone", NULL, CLI_FLAG, &o.standalone,
         "store the plain weights too, so that FILE needs no MODEL beside it", 0},
        {"--check", NULL, CLI_FLAG, &checking,
         "only say whether MODEL, a compiled one, is what was written", 0},
        {"--shape", "LIST", CLI_WORD, &shape,
         "shapes that the weights are packed for, as 1x8,4x128 (default\n1x16,1x128, or what the model fixes)", 0},
        {"--input", "NAME=FILE", CLI_WORDS, &inputs, "an input whose shape is not to be derived; repeatable", 0},
        {"--quiet", NULL, CLI_FLAG, &cli_quiet, "no notes", 0},
        ENGINE_OPTIONS(t.e),
        {0}};
    cli_parse(self, options, argc, argv, &names);
    if (names.n != 1) cli_usage(self, "give one model");
    if (checking) return check(self, names.items[0], !to && !shape && !inputs.n);
    if (!to) cli_usage(self, "say with -o where to write");
    if (t.e.precision && !strcmp(t.e.precision, "auto"))
        cli_usage(self, "--precision auto is decided in a run: give f32, bf16 or int8");
    t.e.skip_padding = true;
    trial_open(&t, self, names.items[0], &inputs);
    prepare(&t, self, shape);
    gr_memory_info memory;
    gr_session_memory(t.e.session, &memory);
    o.precision = engine_precision(&t.e);
    if (gr_model_compile(t.e.model, to, &o, &err) != GR_OK) engine_die(&t.e, &err);
    struct stat st;
    if (!stat(to, &st))
        cli_note("%s: %s, of which packed weights %s", cli_show(to), cli_bytes((size_t)st.st_size),
                 cli_bytes(memory.packed_bytes));
    trial_close(&t);
    free(names.items);
    free(inputs.items);
    return CLI_EXIT_OK;
}

const cli_command cli_compile_command = {
    "compile", compile, "store the optimised graph and packed weights, for a quick start",
    "graphrun compile MODEL -o FILE.plan [options]",
    "FILE.plan is used like a model: by graphrun FILE.plan --input ids.txt, bench, plan and the C API. Its packed\n"
    "weights are mapped, not made: the first result comes sooner, and processes that run it share them.\n"
    "\n"
    "In MODEL's folder it needs MODEL beside it, for weights that are read as they are (embeddings) and for\n"
    "values that the optimised graph has no more; they move together. Elsewhere, or with --standalone, it has\n"
    "all weights in it. What is packed is good for the CPU's instruction set and the version of graphrun that\n"
    "packed it; where they differ, or MODEL has changed, MODEL is loaded instead (a standalone file packs its\n"
    "weights anew), with a note. Options of the packing (--precision, --strict) are kept.\n"
    "\n"
    "A start reads no more than it needs: that packed weights are as they were is found out by --check FILE.plan."};
