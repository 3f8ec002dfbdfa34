/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun extract: a part of a model, or what lies between some of its values, as a model of its own.
 */
#include "engine.h"
#include "inspect/heads.h"
#include "model.h"
#include <stdlib.h>

typedef struct request {
    const char *part, *from, *to, *out;
    bool raw, list;
} request;

static bool write_text(void *user, const char *text, size_t size) { return cli_out_write(user, text, size, NULL); }

static bool save(const gr_doc *doc, const char *path, gr_err *err)
{
    size_t n = strlen(path);
    cli_out out;
    if (n < 8 || strcmp(path + n - 8, ".onnxtxt")) return gr_doc_save(doc, path, err) == GR_OK;
    gr_text_options options = {.max_elements = SIZE_MAX};
    if (!cli_out_open(&out, path, err)) return false;
    if (gr_doc_print_text(doc, &options, write_text, &out, err) == GR_OK && cli_out_commit(&out, err)) return true;
    cli_out_abandon(&out);
    return false;
}

/* "a,b,c": all values of these names. A name that holds a comma is taken whole if there is such a value. */
static gr_status find_all(const gr_outline *o, const char *list, bool to, gr_arena *arena, size_t *count,
                          const gr_value ***out, gr_err *err)
{
    size_t cap = 0;
    *count = 0;
    *out = NULL;
    if (!list) return GR_OK;
    if (gr_extract_find(o, list, to, arena, count, out, NULL) == GR_OK) return GR_OK;
    for (const char *at = list; *at;) {
        size_t length = strcspn(at, ","), n;
        const gr_value **found;
        char *name = gr_arena_strndup(arena, at, length);
        if (!name) return gr_nomem(err);
        GR_TRY(gr_extract_find(o, name, to, arena, &n, &found, err));
        for (size_t i = 0; i < n; i++) {
            const gr_value **slot = gr_arena_push(arena, out, count, &cap, sizeof *slot);
            if (!slot) return gr_nomem(err);
            *slot = found[i];
        }
        at += length + (at[length] == ',');
    }
    return GR_OK;
}

static void list_parts(const gr_outline *o)
{
    cli_text out = {0};
    for (size_t i = 0; i < o->nparts; i++) {
        const gr_part *p = &o->parts[i];
        cli_add(&out, "%-24s %zu nodes\n", cli_show(p->name), p->nnodes);
        for (size_t k = 0; k < p->ninputs; k++) cli_add(&out, "  %s %s\n", k ? "    " : "from", cli_show(p->inputs[k]->name));
        for (size_t k = 0; k < p->noutputs; k++) cli_add(&out, "  %s %s\n", k ? "    " : "to  ", cli_show(p->outputs[k]->name));
    }
    if (!o->nparts) cli_add(&out, "no parts are recognised\n");
    cli_flush(&out);
    cli_text_free(&out);
}

/* A part, or a head by its own name ("masked-lm"), which then must be in the graph that runs. */
static gr_status find_part(engine *e, const gr_outline *o, const request *r, gr_arena *arena, gr_cut *cut, gr_err *err)
{
    const gr_part *p = gr_outline_find(o, r->part);
    gr_heads h;
    if (p) {
        *cut = gr_extract_part(p);
        return GR_OK;
    }
    if (!r->raw) GR_TRY(gr_heads_find(e->model, arena, &h, err));
    for (size_t i = 0; !r->raw && i < h.nheads; i++)
        if (!strcmp(h.heads[i].name, r->part))
            return gr_head_cut(&h.heads[i], o->graph, arena, cut) ? GR_OK : gr_nomem(err);
    return gr_fail(err, GR_EINVAL, "there is no part '%s'; --list and graphrun heads show those there are",
                   gr_show(r->part));
}

static gr_status cut_out(engine *e, const request *r, gr_arena *arena, gr_err *err)
{
    const gr_graph *g;
    gr_outline o;
    gr_doc *doc;
    gr_cut cut = {0};
    gr_variant v = {.raw = r->raw};
    GR_TRY(gr_model_graph(e->model, &v, &g, err));
    GR_TRY(gr_outline_make(g, arena, &o, err));
    if (r->list) {
        list_parts(&o);
        return GR_OK;
    }
    if (r->part) {
        GR_TRY(find_part(e, &o, r, arena, &cut, err));
    } else {
        GR_TRY(find_all(&o, r->from, false, arena, &cut.nfrom, &cut.from, err));
        GR_TRY(find_all(&o, r->to, true, arena, &cut.nto, &cut.to, err));
    }
    GR_TRY(gr_extract(g, &cut, &doc, err));
    gr_status status = save(doc, r->out, err) ? GR_OK : err->status;
    gr_doc_free(doc);
    return status;
}

static int extract(const cli_command *self, int argc, char **argv)
{
    engine e = {0};
    request r = {0};
    cli_list names = {0};
    gr_err err;
    const cli_option options[] = {
        {"--part", "NAME", CLI_WORD, &r.part, "a part: embeddings, mask, encoder.layer.0, ..., pooler, head; or a\nhead by its name, as masked-lm", 0},
        {"--from", "NAMES", CLI_WORD, &r.from, "values that become inputs, with commas between; a part stands for\nits inputs", 0},
        {"--to", "NAMES", CLI_WORD, &r.to, "values that become outputs; a part stands for its outputs", 0},
        {"-o", "FILE", CLI_WORD, &r.out, "the model to write; text if its name ends in .onnxtxt", 0},
        {"--raw", NULL, CLI_FLAG, &r.raw, "cut from the file's own graph, not from the one after the passes", 0},
        {"--list", NULL, CLI_FLAG, &r.list, "show the parts with the values at their borders", 0},
        {0}};
    cli_parse(self, options, argc, argv, &names);
    if (names.n != 1) cli_usage(self, "give one model");
    if (!r.list && (r.part != NULL) == (r.to != NULL)) cli_usage(self, "give either --part or --to");
    if (r.part && r.from) cli_usage(self, "--part and --from exclude each other");
    if (!r.list && !r.out) cli_usage(self, "give the file to write with --output");
    if (!engine_load(&e, names.items[0], &err)) engine_die(&e, &err);
    gr_arena *arena = gr_arena_new();
    if (!arena) cli_die(CLI_EXIT_FAILURE, "out of memory");
    if (cut_out(&e, &r, arena, &err) != GR_OK) engine_die(&e, &err);
    gr_arena_free(arena);
    free(names.items);
    engine_close(&e);
    return CLI_EXIT_OK;
}

const cli_command cli_extract_command = {
    "extract", extract, "a part of a model as a model of its own", "graphrun extract MODEL --part NAME --output FILE",
    "Writes one part of a model, or all that lies between the values of --from and those of --to. Parts run\n"
    "one after another (embeddings, mask, the layers, pooler, head), each fed what the ones before it gave\n"
    "under the same names, give bit for bit what the whole model gives."};
