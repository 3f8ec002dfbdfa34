/* SPDX-License-Identifier: Apache-2.0
 *
 * graphdump, the command: a model's graph at some level, in some format.
 */
#include "dump/dump.h"
#include "engine.h"
#include "dump/shapes.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

typedef struct word {
    const char *name;
    int level;
    dump_fn format;
} word;

static const word levels[] = {{"raw", GR_VIEW_RAW, NULL},     {"canonical", GR_VIEW_CANONICAL, NULL},
                              {"fused", GR_VIEW_FUSED, NULL}, {"outlined", GR_VIEW_OUTLINED, NULL},
                              {"plan", GR_VIEW_PLAN, NULL},   {0}};
static const word formats[] = {
    {"tree", 0, dump_tree}, {"text", 0, dump_text}, {"dot", 0, dump_dot}, {"json", 0, dump_json}, {0}};

typedef struct request {
    engine e;
    dump_options d;
    const char *format, *output, *focus, *color;
    int64_t radius, constants;
    bool parts;
} request;

static const word *choose(const cli_command *self, const char *option, const char *name, const word *words)
{
    const char *names[16] = {NULL};
    size_t n = 0;
    for (const word *w = words; w->name; w++) {
        if (!strcmp(w->name, name)) return w;
        names[n++] = w->name;
    }
    const char *near = cli_nearest(name, names, n);
    cli_text all = {0};
    for (size_t i = 0; i < n; i++) cli_add(&all, "%s%s", i ? ", " : "", names[i]);
    if (near) cli_usage(self, "%s knows no '%s'; did you mean %s?", option, cli_show(name), near);
    cli_usage(self, "%s is one of %s, not '%s'", option, all.data, cli_show(name));
}

/* ---- the shape ---- */

enum { LENGTH = 128, SHORTEST = 8 };

/* The view at a shape. Without --shape a model that has no room for the default length is tried at half of it. */
static gr_view *make_view(request *r, const cli_command *self, gr_view_options *o, bool measured, dump_shapes *shapes)
{
    gr_err err;
    gr_view *view = NULL;
    cli_sizes sizes = {1, {LENGTH}};
    bool given = r->d.shape != NULL;
    if (given && cli_parse_sizes(r->d.shape, &sizes, 1) != 1)
        cli_usage(self, "--shape wants one size as 1x128, not '%s'", cli_show(r->d.shape));
    for (;; sizes.at[0] /= 2) {
        dump_shapes_free(shapes);
        if (measured && !dump_shapes_make(r->e.model, &sizes, shapes, &err)) engine_die(&r->e, &err);
        o->inputs = shapes->inputs;
        o->input_count = shapes->count;
        gr_status status = gr_view_new(r->e.model, o, &view, &err);
        bool last = given || !measured || sizes.at[0] <= SHORTEST;
        if (status != GR_OK && (last || o->level != GR_VIEW_PLAN)) engine_die(&r->e, &err);
        if (status == GR_OK && (view->plan || last)) break;
        if (status == GR_OK) gr_view_free(view);
    }
    r->d.shape = view->plan ? shapes->text : NULL;
    return view;
}

/* ---- output ---- */

static bool use_color(const cli_command *self, const request *r)
{
    static const word whens[] = {{"auto", 0, NULL}, {"always", 0, NULL}, {"never", 0, NULL}, {0}};
    const char *no = getenv("NO_COLOR");
    const char *when = choose(self, "--color", r->color, whens)->name;
    if (strcmp(when, "auto")) return !strcmp(when, "always");
    return !r->output && !(no && *no) && isatty(STDOUT_FILENO);
}

static size_t terminal_width(const request *r)
{
    struct winsize size;
    if (r->output || !isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size)) return 0;
    return size.ws_col;
}

static void write_view(const request *r, dump_fn format, const gr_view *view)
{
    cli_out out = {0};
    dump_sink sink = {.file = stdout};
    gr_err err;
    if (r->output && !cli_out_open(&out, r->output, &err)) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
    if (r->output) sink.file = out.file;
    if (!format(view, &r->d, &sink, &err)) engine_die(&r->e, &err);
    bool written = dump_drain(&sink, r->output, &err);
    if (written && r->output) written = cli_out_commit(&out, &err);
    if (!written) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
}

static int dump(const cli_command *self, int argc, char **argv)
{
    request r = {.d = {.level = "fused"}, .format = "tree", .radius = 2, .constants = 16, .color = "auto"};
    cli_list names = {0};
    gr_err err;
    const cli_option options[] = {
        {"--level", "LEVEL", CLI_WORD, &r.d.level,
         "raw: the file's graph, its functions inlined and nothing else done\n"
         "canonical: after the passes that only clean, nothing is fused\n"
         "fused: after all passes, the graph that runs (default)\n"
         "outlined: the same by parts: embeddings, layers, pooler, heads;\nin text each part is a function\n"
         "plan: the steps of a run at --shape, with kernels and memory",
         0},
        {"--format", "FORMAT", CLI_WORD, &r.format,
         "tree: modules with shapes, parameters and work (default)\n"
         "text: ONNX's textual syntax, which graphrun and onnx.parser read\n"
         "dot: for Graphviz\njson: everything, for programs (docs/graphdump-json.md)",
         0},
        {"--shape", "BxL", CLI_WORD, &r.d.shape,
         "batch and length that work, bytes and plan are for\n(default 1x128, or what the model fixes)", 0},
        {"--focus", "NAME", CLI_WORD, &r.focus,
         "only what is near this node or value; in text, edges that are\ncut are inputs and outputs", 0},
        {"--radius", "N", CLI_INT, &r.radius, "how near: edges from it (default 2)", 0},
        {"--list-parts", NULL, CLI_FLAG, &r.parts, "list the parts with what goes into them and comes out", 0},
        {"--depth", "N", CLI_INT, &r.d.depth, "tree: no deeper than N modules (0: all)", 0},
        {"--constants", "N", CLI_INT, &r.constants,
         "text: leave out contents of constants of more than N elements\n(default 16)", 0},
        {"--stats", NULL, CLI_FLAG, &r.d.stats, "read the weights, and tell least, greatest and mean value", 0},
        {"--color", "WHEN", CLI_WORD, &r.color, "always, never, or auto: on a terminal if NO_COLOR is not set", 0},
        {"-o", "FILE", CLI_WORD, &r.output, "write to FILE instead of standard output", 0},
        {0}};
    cli_parse(self, options, argc, argv, &names);
    if (names.n != 1) cli_usage(self, names.n ? "give one model, not %zu" : "give a model", names.n);
    const word *level = choose(self, "--level", r.d.level, levels),
               *format = choose(self, "--format", r.format, formats);
    dump_fn write = r.parts ? dump_parts : format->format;
    r.d.color = use_color(self, &r);
    r.d.width = terminal_width(&r);
    r.d.constants = (size_t)r.constants;
    if (!engine_load(&r.e, names.items[0], &err)) engine_die(&r.e, &err);
    r.d.model = r.e.path;
    dump_shapes shapes = {0};
    gr_view_options o = {
        .level = (gr_view_level)level->level, .focus = r.focus, .radius = r.radius, .origins = write == dump_json};
    gr_view *view = make_view(&r, self, &o, write != dump_text || o.level == GR_VIEW_PLAN, &shapes);
    write_view(&r, write, view);
    gr_view_free(view);
    dump_shapes_free(&shapes);
    free(names.items);
    engine_close(&r.e);
    return CLI_EXIT_OK;
}

static const cli_command command = {
    "", dump, "", "graphdump MODEL [options]",
    "Shows the graph of a model: as a tree of modules, in ONNX's textual syntax, for Graphviz or as JSON.\n"
    "Weights are not read, unless --stats asks for it. The same model gives the same bytes."};

int main(int argc, char **argv)
{
    cli_program = "graphdump";
    if (argc == 2 && (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))) {
        printf("graphdump %s\n", gr_version_string());
        return CLI_EXIT_OK;
    }
    return command.run(&command, argc - 1, argv + 1);
}
