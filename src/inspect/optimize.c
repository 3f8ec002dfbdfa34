/* SPDX-License-Identifier: Apache-2.0
 *
 * Which spelling each reader of an optimised model needs.
 */
#include "optimize.h"
#include "graph/lower.h"

static bool is_foreign(const gr_node *n) { return (n->op->flags & GR_OP_FOREIGN) || n->op->since > n->graph->opset; }

gr_spell_fn gr_form_body(gr_form form, const gr_node *n)
{
    const gr_op *op = n->op;
    gr_spell_fn contrib;
    if (form == GR_FORM_NATIVE) return gr_lower_missing(n);
    if (form == GR_FORM_CONTRIB && (contrib = gr_contrib_body(n))) return contrib;
    if (form == GR_FORM_CONTRIB && op->domain && strcmp(op->domain, "graphrun") != 0) return NULL;
    return op->domain || is_foreign(n) ? op->function : NULL;
}

static gr_spell_fn native_body(const gr_node *n) { return gr_form_body(GR_FORM_NATIVE, n); }
static gr_spell_fn standard_body(const gr_node *n) { return gr_form_body(GR_FORM_STANDARD, n); }
static gr_spell_fn contrib_body(const gr_node *n) { return gr_form_body(GR_FORM_CONTRIB, n); }

gr_status gr_optimize(gr_model *m, gr_form form, gr_doc **out, gr_err *err)
{
    const gr_graph *g;
    gr_variant plain = {0};
    gr_lower_options options = {.like = gr_model_doc(m)};
    options.body = form == GR_FORM_NATIVE ? native_body : form == GR_FORM_STANDARD ? standard_body : contrib_body;
    GR_TRY(gr_model_graph(m, &plain, &g, err));
    return gr_graph_lower_as(g, &options, out, err);
}

/* ---- bodies to read ---- */

enum { MAX_SHOWN = 64 };

static bool is_called(const gr_op *op, const char *name)
{
    const char *domain = op->domain ? op->domain : "";
    size_t n = strlen(domain);
    return n ? !strncmp(name, domain, n) && name[n] == '.' && !strcmp(name + n + 1, op->name) : !strcmp(name, op->name);
}

static bool write_text(gr_write_fn write, void *user, const char *text) { return write(user, text, strlen(text)); }

gr_status gr_print_bodies(gr_model *m, const char *name, gr_write_fn write, void *user, gr_err *err)
{
    const gr_graph *g;
    gr_variant plain = {0};
    const char *shown[MAX_SHOWN], *text;
    size_t n = 0, i;
    GR_TRY(gr_model_graph(m, &plain, &g, err));
    gr_arena *arena = gr_arena_new();
    gr_status status = arena ? GR_OK : gr_nomem(err);
    for (const gr_node *node = g->first; node && status == GR_OK && n < MAX_SHOWN; node = node->next) {
        if (!node->op->function || !is_called(node->op, name)) continue;
        status = gr_spell_text(node, node->op->function, g->opset, arena, &text, err);
        for (i = 0; status == GR_OK && i < n && strcmp(shown[i], text) != 0;) i++;
        if (status != GR_OK || i < n) continue;
        shown[n++] = text;
        if (!write_text(write, user, text)) status = gr_fail(err, GR_EIO, "the text cannot be written");
    }
    if (status == GR_OK && !n)
        status = gr_fail(err, GR_EINVAL, "none of its steps is a '%s' with a function body", gr_show(name));
    gr_arena_free(arena);
    return status;
}
