/* SPDX-License-Identifier: Apache-2.0
 *
 * For Graphviz: modules are clusters, nodes boxes with operator, name and weights, edges carry types. Names appear in
 * labels only, escaped twice: for the eye, then for the language.
 */
#include "dump.h"

static void put_label(cli_text *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            cli_add(out, "\\%c", *text);
        else if (*text == '&')
            cli_add(out, "&amp;");
        else
            cli_add_bytes(out, text, 1);
    }
}

/* The end of a path says most. */
static const char *last_part(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash && slash[1] ? slash + 1 : name;
}

static void put_node(const gr_view *w, uint32_t i, int indent, cli_text *out)
{
    const gr_view_node *n = &w->nodes[i];
    cli_add(out, "%*sn%u [label=\"", indent, "", i);
    put_label(out, cli_show(dump_op(n)));
    if (n->node->name && *n->node->name) {
        cli_add(out, "\\n");
        put_label(out, cli_show(last_part(n->node->name)));
    }
    for (uint32_t k = 0; k < n->node->nin; k++) {
        if (n->in[k] == GR_VIEW_NONE || !w->values[n->in[k]].parameter) continue;
        cli_add(out, "\\n");
        put_label(out, cli_show(w->values[n->in[k]].type));
    }
    if (n->work > 0) cli_add(out, "\\n%s operations", dump_scaled(n->work));
    if (w->level == GR_VIEW_PLAN) {
        cli_add(out, "\\n");
        put_label(out, n->kernel ? n->kernel : "view");
    }
    cli_add(out, "\"%s];\n", n->parameters ? ", style=filled, fillcolor=\"#dce9f7\"" : "");
}

/* Recursion ends at GR_VIEW_DEPTH. */
static void put_module(const gr_view *w, uint32_t module, int indent, dump_sink *s)
{
    const gr_view_module *m = &w->modules[module];
    cli_text *out = &s->text;
    for (uint32_t i = 0; i < m->own_nodes; i++) {
        put_node(w, w->by_module[m->first_node + i], indent, out);
        dump_spill(s);
    }
    for (uint32_t c = m->first_child; c != GR_VIEW_NONE; c = w->modules[c].next) {
        cli_add(out, "%*ssubgraph cluster_%u {\n%*slabel=\"", indent, "", c, indent + 2, "");
        put_label(out, cli_show(w->modules[c].name));
        cli_add(out, "\";\n");
        put_module(w, c, indent + 2, s);
        cli_add(out, "%*s}\n", indent, "");
    }
}

static void put_border(const gr_view *w, const uint32_t *values, size_t n, char prefix, dump_sink *s)
{
    for (size_t i = 0; i < n; i++) {
        const gr_view_value *v = &w->values[values[i]];
        cli_add(&s->text, "  %c%u [shape=ellipse, label=\"", prefix, values[i]);
        put_label(&s->text, cli_show(v->value->name));
        cli_add(&s->text, "\\n");
        put_label(&s->text, cli_show(v->type));
        cli_add(&s->text, "\"];\n");
        dump_spill(s);
    }
}

static void put_source(const gr_view_value *v, uint32_t index, cli_text *out)
{
    if (v->kind == GR_VIEW_INPUT)
        cli_add(out, "  i%u", index);
    else
        cli_add(out, "  n%u", v->maker);
}

static void put_edges(const gr_view *w, dump_sink *s)
{
    cli_text *out = &s->text;
    for (uint32_t i = 0; i < w->node_count; i++)
        for (uint32_t k = 0; k < w->nodes[i].node->nin; k++) {
            uint32_t at = w->nodes[i].in[k];
            if (at == GR_VIEW_NONE || w->values[at].kind == GR_VIEW_CONSTANT) continue;
            put_source(&w->values[at], at, out);
            cli_add(out, " -> n%u [label=\"", i);
            put_label(out, cli_show(w->values[at].type));
            cli_add(out, "\"];\n");
            dump_spill(s);
        }
    for (size_t i = 0; i < w->output_count; i++) {
        const gr_view_value *v = &w->values[w->outputs[i]];
        if (v->kind == GR_VIEW_CONSTANT) continue;
        put_source(v, w->outputs[i], out);
        cli_add(out, " -> o%u;\n", w->outputs[i]);
    }
}

bool dump_dot(const gr_view *view, const dump_options *options, dump_sink *sink, gr_err *err)
{
    (void)err;
    cli_text *out = &sink->text;
    cli_add(out, "digraph \"");
    put_label(out, cli_show(view->graph->name ? view->graph->name : ""));
    cli_add(out, "\" {\n  label=\"%s: ", options->level);
    put_label(out, cli_show(options->model));
    cli_add(out, "\";\n  node [shape=box, fontsize=10];\n  edge [fontsize=8];\n");
    put_border(view, view->inputs, view->input_count, 'i', sink);
    put_module(view, 0, 2, sink);
    put_border(view, view->outputs, view->output_count, 'o', sink);
    put_edges(view, sink);
    cli_add(out, "}\n");
    return true;
}
