/* SPDX-License-Identifier: Apache-2.0
 *
 * LayerNorm(x + residual) in one pass over memory. Requires layer-norm.
 */
#include "match.h"
#include "passes.h"

static const char *const patterns[] = {"(LayerNormalization (Add x r) g b)", "(LayerNormalization (Add x r) g)", NULL};

static bool check(const gr_match *m, gr_why *why)
{
    const gr_type *x = &gr_bound(m, "x")->type, *r = &gr_bound(m, "r")->type;
    int64_t axis;
    if (x->dtype != GR_FLOAT || x->rank < 1 || x->rank != r->rank) return gr_nomatch(why, "summands are not alike");
    for (int i = 0; i < x->rank; i++)
        if (!gr_dim_same(x->dims[i], r->dims[i])) return gr_nomatch(why, "one summand is broadcast along axis %d", i);
    if (gr_attr_int(m->root->attrs, "axis", -1, &axis, NULL) != GR_OK || (axis != -1 && axis != x->rank - 1))
        return gr_nomatch(why, "it is not over the last axis");
    const gr_value *b = gr_bound(m, "b");
    if (gr_bound(m, "g")->type.rank != 1 || (b && b->type.rank != 1))
        return gr_nomatch(why, "scale or bias is not a row");
    for (uint32_t i = 1; i < m->root->nout; i++)
        if (m->root->out[i] && m->root->out[i]->nuses) return gr_nomatch(why, "its mean or deviation is used");
    return true;
}

static gr_value *rewrite(gr_build *b, const gr_match *m)
{
    float eps = 1e-5f;
    if (gr_attr_float(m->root->attrs, "epsilon", eps, &eps, b->err) != GR_OK) return NULL;
    gr_attr attrs[] = {gr_attr_of_int("axis", -1), gr_attr_of_float("epsilon", eps)};
    gr_value *in[] = {gr_bound(m, "x"), gr_bound(m, "r"), gr_bound(m, "g"), gr_bound(m, "b")};
    return gr_build_node(b, "graphrun", "AddLayerNormalization", gr_build_attrs(b, 2, attrs), 4, in);
}

static const gr_rule rule = {"add-layer-norm", patterns, check, rewrite, NULL, NULL, false};

gr_status gr_pass_add_layer_norm(gr_graph *g, int *hits, gr_err *err) { return gr_apply_rule(g, &rule, hits, err); }
