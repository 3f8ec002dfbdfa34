/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun ops: the table of operators.
 */
#include "args.h"
#include "cli.h"
#include "inspect/optable.h"
#include "json.h"
#include <stdlib.h>

typedef struct ops {
    bool markdown, json, all;
    cli_text out;
} ops;

static void add_versions(cli_text *out, const gr_op_entry *e)
{
    for (int i = 0; i < e->nversions; i++) cli_add(out, "%s%d", i ? ", " : "", e->versions[i]);
}

static void add_kernels(cli_text *out, const gr_op_entry *e)
{
    if (e->composed) cli_add(out, "others'");
    for (int i = 0; i < e->nkernels; i++) cli_add(out, "%s%s", i ? ", " : "", e->kernels[i]);
}

/* Groups of types by name, then the others one by one; in words where inference does not tell them. */
static void add_types(cli_text *out, const gr_op_entry *e)
{
    uint64_t types = e->types;
    if (!types)
        cli_add(out, "%s",
                e->composed              ? "its parts'"
                : e->newest->in.max == 0 ? "none"
                : e->newest->graphs      ? "its graphs'"
                                         : "any");
    static const struct {
        const char *name;
        uint64_t types;
    } groups[] = {{"floats", GR_T_FLOATS},
                  {"integers", GR_T_INTS},
                  {"float8", GR_T(FLOAT8E4M3FN) | GR_T(FLOAT8E4M3FNUZ) | GR_T(FLOAT8E5M2) | GR_T(FLOAT8E5M2FNUZ)},
                  {"4 and 2 bits", GR_T(UINT4) | GR_T(INT4) | GR_T(FLOAT4E2M1) | GR_T(UINT2) | GR_T(INT2)},
                  {"complex", GR_T(COMPLEX64) | GR_T(COMPLEX128)}};
    const char *apart = "";
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        if ((types & groups[i].types) != groups[i].types) continue;
        cli_add(out, "%s%s", apart, groups[i].name);
        types &= ~groups[i].types;
        apart = ", ";
    }
    for (int t = GR_FLOAT; t <= GR_INT2; t++) {
        if (!(types >> t & 1)) continue;
        cli_add(out, "%s%s", apart, gr_dtype_name((gr_dtype)t));
        apart = ", ";
    }
}

static void show_markdown(cli_text *out, const gr_op_entry *e, const char *domain)
{
    if (!domain || strcmp(domain, e->domain))
        cli_add(out, "\n## %s\n\n| operator | versions | first input | kernels |\n|---|---|---|---|\n",
                *e->domain ? e->domain : "ai.onnx");
    cli_add(out, "| %s | ", e->name);
    add_versions(out, e);
    cli_add(out, " | ");
    add_types(out, e);
    cli_add(out, " | ");
    add_kernels(out, e);
    cli_add(out, " |\n");
}

static void show_json(cli_json *j, const gr_op_entry *e)
{
    json_open(j, NULL, '{');
    json_text(j, "name", e->name);
    json_text(j, "domain", e->domain);
    json_open(j, "versions", '[');
    for (int i = 0; i < e->nversions; i++) json_int(j, NULL, e->versions[i]);
    json_close(j, ']');
    json_open(j, "types", '[');
    for (int t = GR_FLOAT; t <= GR_INT2; t++)
        if (e->types >> t & 1) json_text(j, NULL, gr_dtype_name((gr_dtype)t));
    json_close(j, ']');
    json_open(j, "kernels", '[');
    for (int i = 0; i < e->nkernels; i++) json_text(j, NULL, e->kernels[i]);
    json_close(j, ']');
    json_bool(j, "composed", e->composed);
    json_close(j, '}');
}

static void show_text(cli_text *out, const gr_op_entry *e)
{
    cli_add(out, "%s%s%s  ", e->domain, *e->domain ? "." : "", e->name);
    add_versions(out, e);
    cli_add(out, "  [");
    add_types(out, e);
    cli_add(out, "]  ");
    add_kernels(out, e);
    cli_add(out, "\n");
}

static const char introduction[] =
    "# Operators\n"
    "\n"
    "What `graphrun ops --markdown` prints. Versions are the opsets in which the operator's definition changed: a "
    "model of\n"
    "any opset gets the newest that is not newer than its own. Types are those that the newest version accepts for "
    "the\n"
    "first input, found by asking it; \"floats\" are float16, bfloat16, float and double, \"integers\" those of 8 to "
    "64 bits.\n"
    "Kernels stand in the order in which they are tried; `ref` takes everything. Operators that are put together from\n"
    "others run on those, with their types.\n";

static void show(ops *o, const gr_op_entry *entries, size_t n)
{
    const char *domain = NULL;
    cli_json j = {&o->out, true};
    if (o->json) json_open(&j, NULL, '[');
    if (o->markdown) cli_add(&o->out, "%s", introduction);
    for (size_t i = 0; i < n; i++) {
        const gr_op_entry *e = &entries[i];
        if (!o->all && !strcmp(e->domain, "graphrun")) continue;
        if (o->json)
            show_json(&j, e);
        else if (o->markdown)
            show_markdown(&o->out, e, domain);
        else
            show_text(&o->out, e);
        domain = e->domain;
    }
    if (o->json) {
        json_close(&j, ']');
        cli_add(&o->out, "\n");
    }
}

static int run(const cli_command *self, int argc, char **argv)
{
    ops o = {0};
    cli_list args = {0};
    gr_err err;
    size_t n;
    gr_op_entry *entries;
    const cli_option options[] = {
        {"--markdown", NULL, CLI_FLAG, &o.markdown, "a table in Markdown, as docs/operators.md", 0},
        {"--json", NULL, CLI_FLAG, &o.json, "print JSON instead of text", 0},
        {"--all", NULL, CLI_FLAG, &o.all, "also the fused operators that passes make (domain graphrun)", 0},
        {0}};
    cli_parse(self, options, argc, argv, &args);
    if (args.n) cli_usage(self, "it takes no model");
    gr_arena *arena = gr_arena_new();
    if (!arena) cli_die(CLI_EXIT_FAILURE, "out of memory");
    if (gr_op_entries(arena, &n, &entries, &err) != GR_OK) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
    show(&o, entries, n);
    cli_flush(&o.out);
    cli_text_free(&o.out);
    gr_arena_free(arena);
    free(args.items);
    return CLI_EXIT_OK;
}

const cli_command cli_ops_command = {
    "ops", run, "list the operators that models may contain", "graphrun ops [options]",
    "Prints each operator with the opsets in which it changed, the element types that its first input may\n"
    "have, and its kernels in the order in which they are tried."};
