/* SPDX-License-Identifier: Apache-2.0
 *
 * Expand in front of an element-wise operator that broadcasts anyway: Cast(Expand(x)) becomes Expand(Cast(x)), and an
 * operand keeps its small shape where the other operands give the result its shape. Masks stay [batch, 1, 1, keys].
 * Requires inference and no-op.
 */
#include "match.h"
#include "passes.h"

static bool is_op(const gr_node *n, const char *const *names)
{
    for (; n && !n->op->domain && *names; names++)
        if (!strcmp(n->op->name, *names)) return true;
    return false;
}

static gr_node *expand_of(const gr_value *v)
{
    return v && v->def && !v->konst && !v->def->op->domain && !strcmp(v->def->op->name, "Expand") ? v->def : NULL;
}

/* Whether the inputs of n with x in place of input i still broadcast to the type that n's output has. */
static bool same_without(const gr_node *n, uint32_t i, const gr_value *x)
{
    const gr_type *y = &n->out[0]->type;
    if (y->rank < 0 || x->type.rank < 0) return false;
    for (int axis = 0; axis < y->rank; axis++) {
        bool given = gr_dim_is(y->dims[axis], 1);
        for (uint32_t k = 0; k < n->nin; k++) {
            const gr_value *v = k == i ? x : gr_in(n, k);
            if (!v || v->type.rank < 0) return false;
            int at = axis - (y->rank - v->type.rank);
            if (at >= 0 && gr_dim_same(v->type.dims[at], y->dims[axis])) given = true;
        }
        if (!given) return false;
    }
    return true;
}

static gr_status sink(gr_node *n, gr_node *expand, int *hits, gr_err *err)
{
    gr_build b = {n->graph, n, err};
    gr_value *x = gr_in(expand, 0), *in[] = {NULL, gr_in(expand, 1)}, *old = n->out[0];
    in[0] = gr_build_node(&b, "", n->op->name, n->attrs, 1, &x);
    gr_value *y = in[0] ? gr_build_node(&b, "", "Expand", (gr_attrs){0}, 2, in) : NULL;
    if (!y) return err ? err->status : GR_ENOMEM;
    y->type = old->type;
    gr_replace_uses(old, y);
    gr_take_name(y, old);
    ++*hits;
    return GR_OK;
}

gr_status gr_pass_expand(gr_graph *g, int *hits, gr_err *err)
{
    static const char *const unary[] = {"Cast", "Not", NULL};
    static const char *const binary[] = {"Add", "Sub", "Mul", "Div", "And", "Or", "Where", "Equal", NULL};
    for (gr_node *n = g->first, *next; n && !gr_pass_stopped(g); n = next) {
        next = n->next;
        if (!n->out[0] || n->out[0]->konst) continue;
        if (is_op(n, unary) && expand_of(gr_in(n, 0)) && n->nin == 1)
            GR_TRY(sink(n, expand_of(gr_in(n, 0)), hits, err));
        for (uint32_t i = 0; is_op(n, binary) && i < n->nin; i++) {
            gr_node *e = expand_of(gr_in(n, i));
            if (!e || !same_without(n, i, gr_in(e, 0))) continue;
            gr_set_input(n, i, gr_in(e, 0));
            ++*hits;
        }
    }
    return GR_OK;
}
