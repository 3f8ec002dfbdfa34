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
