/* SPDX-License-Identifier: Apache-2.0
 *
 * Expand in front of an element-wise operator that broadcasts anyway: f(Expand(x), c) becomes Expand(f(x, c)), and an
 * operand keeps its small shape where the other operands give the result its shape, as does the mask of an attention.
 * Masks stay [batch, 1, 1, keys]. Requires inference and no-op.
 */
#include "match.h"
#include "passes.h"

enum { MAX_OPERANDS = 3 };

static bool is_op(const gr_node *n, const char *const *names)
{
    for (; n && !n->op->domain && *names; names++)
        if (gr_is_named(n, *names)) return true;
    return false;
}

static gr_node *expand_of(const gr_value *v)
{
    return v && v->def && !v->konst && gr_is_op(v->def, "Expand") ? v->def : NULL;
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

static bool same_dims(const gr_type *a, const gr_type *b)
{
    if (a->rank != b->rank || a->rank < 0) return false;
    for (int i = 0; i < a->rank; i++)
        if (!gr_dim_same(a->dims[i], b->dims[i])) return false;
    return true;
}

/* The Expand among the operands that has the shape of the result, if without the Expands the result is smaller. */
static gr_node *expand_to_sink(const gr_node *n)
{
    const gr_type *y = &n->out[0]->type;
    gr_node *found = NULL;
    for (uint32_t i = 0; i < n->nin; i++) {
        gr_node *e = expand_of(gr_in(n, i));
        if (e && same_dims(&e->out[0]->type, y)) found = e;
        if (!gr_in(n, i)) return NULL;
    }
    for (int axis = 0; found && axis < y->rank; axis++) {
        bool given = gr_dim_is(y->dims[axis], 1);
        for (uint32_t i = 0; i < n->nin; i++) {
            const gr_node *e = expand_of(gr_in(n, i));
            const gr_type *t = &(e ? gr_in(e, 0) : gr_in(n, i))->type;
            const int at = axis - (y->rank - t->rank);
            if (t->rank < 0) return NULL;
            given |= at >= 0 && gr_dim_same(t->dims[at], y->dims[axis]);
        }
        if (!given) return found;
    }
    return NULL;
}

/* f(Expand(x), c) is Expand(f(x, c)). */
static gr_status sink(gr_node *n, gr_node *expand, int *hits, gr_err *err)
{
    gr_build b = {n->graph, n, err};
    gr_value *in[MAX_OPERANDS], *old = n->out[0];
    for (uint32_t i = 0; i < n->nin; i++)
        in[i] = expand_of(gr_in(n, i)) ? gr_in(expand_of(gr_in(n, i)), 0) : gr_in(n, i);
    in[0] = gr_build_node(&b, "", n->op->name, n->attrs, n->nin, in);
    in[1] = gr_in(expand, 1);
    gr_value *y = in[0] ? gr_build_node(&b, "", "Expand", (gr_attrs){0}, 2, in) : NULL;
    if (!y) return err ? err->status : GR_ENOMEM;
    y->type = old->type;
    gr_replace_uses(old, y);
    gr_take_name(y, old);
    ++*hits;
    return GR_OK;
}

/* Attention broadcasts its mask over the batch, the heads and the queries: an Expand to these says nothing. */
static bool repeats_mask(const gr_node *n, const gr_node *e)
{
    const gr_value *q = gr_in(n, 0);
    if (!e || (q->type.rank != 3 && q->type.rank != 4)) return false;
    const gr_type *x = &gr_in(e, 0)->type, *y = &e->out[0]->type;
    if (x->rank != 4 || y->rank != 4 || !gr_dim_same(x->dims[3], y->dims[3])) return false;
    const bool split = q->type.rank == 4; /* into heads */
    const gr_dim to[] = {q->type.dims[0], split ? q->type.dims[1] : GR_DIM(1), q->type.dims[split ? 2 : 1]};
    for (int axis = 0; axis < 3; axis++)
        if (!gr_dim_same(x->dims[axis], y->dims[axis]) && !gr_dim_same(y->dims[axis], to[axis])) return false;
    return true;
}

gr_status gr_pass_expand(gr_graph *g, int *hits, gr_err *err)
{
    static const char *const unary[] = {"Cast", "Not", NULL};
    static const char *const binary[] = {"Add", "Sub", "Mul", "Div", "And", "Or", "Where", "Equal", NULL};
    for (gr_node *n = g->first, *next; n && !gr_pass_stopped(g); n = next) {
        next = n->next;
        if (!n->out[0] || n->out[0]->konst) continue;
        if ((is_op(n, unary) || is_op(n, binary)) && n->nin <= MAX_OPERANDS && expand_to_sink(n)) {
            GR_TRY(sink(n, expand_to_sink(n), hits, err));
            continue;
        }
        const bool attention = n->op->flags & GR_OP_KEY_ROWS || gr_is_op(n, "Attention");
        gr_node *mask = attention ? expand_of(gr_in(n, 3)) : NULL;
        if (repeats_mask(n, mask)) {
            gr_set_input(n, 3, gr_in(mask, 0));
            ++*hits;
        }
        for (uint32_t i = 0; is_op(n, binary) && i < n->nin; i++) {
            gr_node *e = expand_of(gr_in(n, i));
            if (!e || !same_without(n, i, gr_in(e, 0))) continue;
            gr_set_input(n, i, gr_in(e, 0));
            ++*hits;
        }
    }
    return GR_OK;
}
