/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun diff: what two files say differently, without running them.
 */
#include "args.h"
#include "engine.h"
#include "inspect/deviation.h"
#include "inspect/diff.h"
#include "json.h"
#include "tensor.h"
#include "ops/op.h"
#include <stdlib.h>

typedef struct side {
    char *path;
    gr_doc *doc;
    gr_arena *arena;
    gr_graph *graph;
} side;

static _Noreturn void die(const side *s, const gr_err *err)
{
    if (strstr(err->text, cli_show(s->path))) cli_die(CLI_EXIT_USAGE, "%s", err->text);
    cli_die(CLI_EXIT_USAGE, "%s: %s", cli_show(s->path), err->text);
}

static void open_side(side *s, const char *path)
{
    const gr_doc_limits limits = {0};
    const gr_doc_names none = {0};
    gr_err err;
    s->path = engine_model_path(path);
    if (gr_doc_load(s->path, &limits, &s->doc, &err) != GR_OK) die(s, &err);
    if (!(s->arena = gr_arena_new())) cli_die(CLI_EXIT_USAGE, "out of memory");
    if (gr_graph_build(s->doc, s->arena, &none, &s->graph, &err) != GR_OK) die(s, &err);
}

static void close_side(side *s)
{
    gr_arena_free(s->arena);
    gr_doc_free(s->doc);
    free(s->path);
}

/* ---- text ---- */

static void add_node(cli_text *out, const gr_node *n)
{
    cli_add(out, "%s '%s'", n->op->name, cli_show(*n->name ? n->name : gr_out(n, 0) ? gr_out(n, 0)->name : ""));
}

static void add_texts(cli_text *out, const gr_diff_text *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const gr_diff_text *t = &items[i];
        if (t->a && t->b)
            cli_add(out, "~ %s: %s -> ", t->what, cli_show(t->a)), cli_add(out, "%s\n", cli_show(t->b));
        else
            cli_add(out, "%c %s: %s\n", t->a ? '-' : '+', t->what, cli_show(t->a ? t->a : t->b));
    }
}

static void add_constant(cli_text *out, const gr_value *a, const gr_value *b)
{
    gr_change c = gr_change_of(a->konst, b->konst);
    cli_add(out, "~ constant '%s'", cli_show(b->name));
    if (strcmp(a->name, b->name)) cli_add(out, " (was '%s')", cli_show(a->name));
    if (!c.same_shape || a->konst->dtype != b->konst->dtype) {
        cli_add(out, ": %s ->", cli_shape(a->konst->dtype, a->konst->rank, a->konst->dims));
        cli_add(out, " %s", cli_shape(b->konst->dtype, b->konst->rank, b->konst->dims));
    }
    if (c.same_shape && c.elements == 1)
        cli_add(out, ": %.9g -> %.9g", gr_element(a->konst, 0), gr_element(b->konst, 0));
    else if (c.same_shape)
        cli_add(out, " %s: %s of %s elements, norm of the change %.3g of %.3g, at most %.3g",
                cli_shape(b->konst->dtype, b->konst->rank, b->konst->dims), cli_thousands(c.changed),
                cli_thousands(c.elements), c.change, c.norm, c.greatest);
    cli_add(out, "\n");
}

static void add_attributes(cli_text *out, const gr_node *a, const gr_node *b, gr_arena *arena)
{
    gr_attr_change *changes;
    size_t n = gr_attr_changes(a->attrs, b->attrs, arena, &changes);
    for (size_t i = 0; i < n; i++) {
        cli_add(out, "~ ");
        add_node(out, b);
        cli_add(out, ": %s %s -> %s\n", cli_show(changes[i].name), changes[i].a, changes[i].b);
    }
}

static void add_text(cli_text *out, const gr_diff *d, gr_arena *arena)
{
    add_texts(out, d->metadata, d->nmetadata);
    add_texts(out, d->interface, d->ninterface);
    for (size_t i = 0; i < d->nonly_a; i++) {
        cli_add(out, "- ");
        add_node(out, d->only_a[i]);
        cli_add(out, "\n");
    }
    for (size_t i = 0; i < d->nonly_b; i++) {
        cli_add(out, "+ ");
        add_node(out, d->only_b[i]);
        cli_add(out, "\n");
    }
    for (size_t i = 0; i < d->nattrs; i++) add_attributes(out, d->attrs[i].a, d->attrs[i].b, arena);
    for (size_t i = 0; i < d->nwired; i++) {
        cli_add(out, "~ ");
        add_node(out, d->wired[i].b);
        cli_add(out, ": reads other values\n");
    }
    for (size_t i = 0; i < d->nconsts; i++) add_constant(out, d->consts[i].a, d->consts[i].b);
}

/* ---- JSON ---- */

static void json_texts(cli_json *j, const char *key, const gr_diff_text *items, size_t n)
{
    json_open(j, key, '[');
    for (size_t i = 0; i < n; i++) {
        json_open(j, NULL, '{');
        json_text(j, "what", items[i].what);
        json_text(j, "a", items[i].a);
        json_text(j, "b", items[i].b);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void json_node(cli_json *j, const gr_node *n)
{
    json_text(j, "name", n->name);
    json_text(j, "op", n->op->name);
    json_text(j, "output", gr_out(n, 0) ? gr_out(n, 0)->name : NULL);
}

static void json_nodes(cli_json *j, const char *key, const gr_node *const *nodes, size_t n)
{
    json_open(j, key, '[');
    for (size_t i = 0; i < n; i++) {
        json_open(j, NULL, '{');
        json_node(j, nodes[i]);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void json_attributes(cli_json *j, const gr_diff *d, gr_arena *arena)
{
    json_open(j, "attributes", '[');
    for (size_t i = 0; i < d->nattrs; i++) {
        const gr_node *a = d->attrs[i].a, *b = d->attrs[i].b;
        gr_attr_change *changes;
        size_t n = gr_attr_changes(a->attrs, b->attrs, arena, &changes);
        for (size_t k = 0; k < n; k++) {
            json_open(j, NULL, '{');
            json_node(j, b);
            json_text(j, "attribute", changes[k].name);
            json_text(j, "a", changes[k].a);
            json_text(j, "b", changes[k].b);
            json_close(j, '}');
        }
    }
    json_close(j, ']');
}

static void add_json(cli_text *out, const gr_diff *d, gr_arena *arena)
{
    cli_json j = {out, true};
    json_open(&j, NULL, '{');
    json_texts(&j, "metadata", d->metadata, d->nmetadata);
    json_texts(&j, "interface", d->interface, d->ninterface);
    json_nodes(&j, "removed", d->only_a, d->nonly_a);
    json_nodes(&j, "added", d->only_b, d->nonly_b);
    json_attributes(&j, d, arena);
    json_open(&j, "rewired", '[');
    for (size_t i = 0; i < d->nwired; i++) {
        json_open(&j, NULL, '{');
        json_node(&j, d->wired[i].b);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    json_open(&j, "constants", '[');
    for (size_t i = 0; i < d->nconsts; i++) {
        const gr_value *a = d->consts[i].a, *b = d->consts[i].b;
        gr_change c = gr_change_of(a->konst, b->konst);
        json_open(&j, NULL, '{');
        json_text(&j, "name", b->name);
        json_text(&j, "name_a", a->name);
        json_dims(&j, "shape", b->konst->rank, b->konst->dims);
        json_bool(&j, "same_shape", c.same_shape);
        json_int(&j, "changed", c.changed);
        json_number(&j, "norm", c.norm);
        json_number(&j, "change", c.change);
        json_number(&j, "greatest", c.greatest);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    json_close(&j, '}');
    cli_add(out, "\n");
}

static int run(const cli_command *self, int argc, char **argv)
{
    side a = {0}, b = {0};
    bool json = false, graph_only = false;
    cli_list args = {0};
    cli_text out = {0};
    gr_align *align;
    gr_diff d;
    gr_err err;
    const cli_option options[] = {
        {"--graph", NULL, CLI_FLAG, &graph_only, "leave versions, producer and metadata aside", 0},
        {"--json", NULL, CLI_FLAG, &json, "print JSON instead of text", 0},
        {0}};
    cli_failure_status = CLI_EXIT_USAGE;
    cli_parse(self, options, argc, argv, &args);
    if (args.n != 2) cli_usage(self, "give two models");
    open_side(&a, args.items[0]);
    open_side(&b, args.items[1]);
    if (gr_align_graphs(a.graph, b.graph, b.arena, gr_default_threads(), &align, &err) != GR_OK ||
        gr_diff_make(a.doc, b.doc, align, b.arena, &d, &err) != GR_OK)
        die(&b, &err);
    if (graph_only) d.nmetadata = 0;
    if (json)
        add_json(&out, &d, b.arena);
    else
        add_text(&out, &d, b.arena);
    cli_flush(&out);
    cli_text_free(&out);
    bool same = !(d.nmetadata + d.ninterface + d.nonly_a + d.nonly_b + d.nattrs + d.nwired + d.nconsts);
    close_side(&a);
    close_side(&b);
    free(args.items);
    return same ? CLI_EXIT_OK : CLI_EXIT_FAILURE;
}

const cli_command cli_diff_command = {
    "diff", run, "what two models say differently, without running them", "graphrun diff A B [options]",
    "Lists what was removed (-), added (+) and changed (~) from A to B: versions and metadata, inputs and\n"
    "outputs, nodes, attributes, and constants by their contents, with the norm of the change. Nodes\n"
    "correspond by structure and by contents of weights; their names, their order and the names of inner\n"
    "values make no difference. Prints nothing if the models are the same.\n"
    "\n"
    "The exit status is 0 if they are, 1 if they differ, 2 if one cannot be read.\n"
    "\n"
    "For \"git diff\" of models see graphrun print --textconv."};
