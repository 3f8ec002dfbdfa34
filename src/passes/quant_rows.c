/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers whose activations are quantised in the run with one scale for all of them,
 *     QuantizedLinear (DynamicQuantizeLinear (x), w, ...)
 * become WeightOnlyLinear (x, w, ...), which an int8 session computes with one scale for each row: nearer to the floats
 * that the model was made from, and a sequence is not disturbed by those it is batched with. Only for graphs of such
 * sessions, and not if the graph is strict. Requires all passes on quantised layers.
 */
#include "passes.h"
#include "quant.h"

enum { A, W, A_SCALE, W_SCALE, A_ZERO, W_ZERO, BIAS, RESIDUAL };

/* A parameter of columns as a list, or as it is if it is one value. */
static gr_value *list_of(gr_graph *g, gr_value *v)
{
    if (!v || v->konst->elements == 1 || v->type.rank == 1) return v;
    return gr_graph_const(g, v->name, v->konst->dtype, 1, &v->konst->elements, v->konst->data);
}

static bool check(const gr_match *m, gr_why *why)
{
    const gr_node *n = m->root, *quantize = gr_in(n, A)->def;
    const gr_value *scale = gr_in(n, W_SCALE), *zero = gr_in(n, W_ZERO);
    if (!quantize || strcmp(quantize->op->name, "DynamicQuantizeLinear") || gr_in(n, A) != gr_out(quantize, 0) ||
        gr_in(n, A_SCALE) != gr_out(quantize, 1) || gr_in(n, A_ZERO) != gr_out(quantize, 2))
        return gr_nomatch(why, "its scale is not chosen in the run");
    if (!scale->konst || (zero && !zero->konst)) return gr_nomatch(why, "its weights are not constant");
    if (zero && zero->konst->elements != 1 && zero->konst->elements != scale->konst->elements)
        return gr_nomatch(why, "there are more zero points than scales");
    return true;
}

static gr_value *rewrite(gr_build *b, const gr_match *m)
{
    const gr_node *n = m->root;
    int64_t trans = 0;
    const char *activation = "";
    gr_attr_int(n->attrs, "transB", 0, &trans, NULL);
    gr_attr_string(n->attrs, "activation", "", &activation, NULL);
    gr_attr attrs[] = {gr_attr_of_int("transB", trans), gr_attr_of_string("activation", activation),
                       gr_attr_of_int("axis", !trans), gr_attr_of_int("block_size", 0)};
    gr_value *zero = gr_in(n, W_ZERO),
             *in[] = {gr_in(gr_in(n, A)->def, 0), gr_in(n, W),    list_of(b->g, gr_in(n, W_SCALE)),
                      list_of(b->g, zero),        gr_in(n, BIAS), gr_in(n, RESIDUAL)};
    if (!in[2] || (zero && !in[3])) return gr_err_write(b->err, GR_ENOMEM, "out of memory"), NULL;
    return gr_build_node(b, "graphrun", "WeightOnlyLinear", gr_build_attrs(b, 4, attrs), 6, in);
}

static const char *const patterns[] = {"(QuantizedLinear _ $w ...)", NULL};
static const gr_rule rule = {"quant-rows", patterns, check, rewrite, NULL, NULL, false};

gr_status gr_pass_quant_rows(gr_graph *g, int *hits, gr_err *err)
{
    return g->by_row && !g->strict ? gr_apply_rule(g, &rule, hits, err) : GR_OK;
}
