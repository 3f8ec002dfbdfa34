/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators that give their input back: Identity, Dropout in inference, Cast to the same type, Reshape, Expand, Slice
 * and the like to the same shape, Transpose in the same order, Concat of one or of the pieces that Split made, times
 * one, Cast of truth values to numbers and back, Not of Not. A Where that reads Not has its branches exchanged. Requires
 * inference.
 */
#include "match.h"
#include "passes.h"

enum { FOLD_SMALL = 1 << 20 };

static bool same_type(const gr_type *a, const gr_type *b)
{
    if (a->kind != b->kind || a->dtype != b->dtype || a->rank != b->rank || a->rank < 0) return false;
    for (int i = 0; i < a->rank; i++)
        if (!gr_dim_same(a->dims[i], b->dims[i])) return false;
    return true;
}

static bool named(const gr_node *n, const char *const *names)
{
    for (; *names; names++)
        if (gr_is_named(n, *names)) return true;
    return false;
}

static bool identity_order(const gr_node *n)
{
    int64_t count;
    const int64_t *perm;
    if (gr_attr_ints(n->attrs, "perm", &count, &perm, NULL) != GR_OK || count < 0) return gr_in(n, 0)->type.rank <= 1;
    for (int64_t i = 0; i < count; i++)
        if (perm[i] != i) return false;
    return true;
}

/* A slice with the shape of its input and no negative step takes all of it. */
static bool forward_steps(const gr_node *n)
{
    int64_t count, steps[GR_MAX_RANK];
    if (!gr_in(n, 4)) return true;
    if (!gr_ints_of(gr_in(n, 4), &count, steps, GR_MAX_RANK)) return false;
    for (int64_t i = 0; i < count; i++)
        if (steps[i] <= 0) return false;
    return true;
}

static bool inference_dropout(const gr_node *n)
{
    double training = 0;
    if (gr_out(n, 1) && (n->out[1]->nuses || n->out[1]->is_output)) return false;
    return !gr_in(n, 2) || (gr_in(n, 2)->konst && gr_in(n, 2)->konst->dtype == GR_BOOL &&
                            gr_in(n, 2)->konst->elements == 1 && !*(const uint8_t *)gr_in(n, 2)->konst->data) ||
           (gr_scalar_of(gr_in(n, 2), &training) && training == 0);
}

static gr_node *maker(const gr_value *v, const char *op)
{
    return v && v->def && !v->konst && gr_is_op(v->def, op) ? v->def : NULL;
}

/* Concat of all that Split made, in its order. */
static gr_value *put_together(const gr_node *n)
{
    const gr_node *split = maker(gr_in(n, 0), "Split");
    int64_t from, to;
    if (!split || split->nout != n->nin || gr_in(split, 0)->type.rank < 1 ||
        gr_attr_int(split->attrs, "axis", 0, &from, NULL) != GR_OK || gr_attr_int(n->attrs, "axis", 1, &to, NULL) != GR_OK)
        return NULL;
    for (uint32_t i = 0; i < n->nin; i++)
        if (gr_in(n, i) != split->out[i]) return NULL;
    const int rank = gr_in(split, 0)->type.rank;
    return (from < 0 ? from + rank : from) == (to < 0 ? to + rank : to) ? gr_in(split, 0) : NULL;
}

/* Truth values that have been numbers on the way. */
static gr_value *still_true(const gr_node *n)
{
    const gr_node *inner = maker(gr_in(n, 0), "Cast");
    gr_value *x = inner ? gr_in(inner, 0) : NULL;
    const gr_dtype t = inner ? inner->out[0]->type.dtype : GR_UNDEFINED;
    const bool number = t == GR_FLOAT || t == GR_DOUBLE || t == GR_FLOAT16 || t == GR_INT32 || t == GR_INT64 ||
                        t == GR_UINT8 || t == GR_INT8;
    return number && x && x->type.dtype == GR_BOOL && n->out[0]->type.dtype == GR_BOOL ? x : NULL;
}

static gr_value *unchanged(const gr_node *n)
{
    static const char *const shapers[] = {"Reshape", "Expand", "Squeeze", "Unsqueeze", "Flatten", "Tile", "Cast", NULL};
    gr_value *x = gr_in(n, 0), *y = gr_out(n, 0);
    double one;
    if (!x || !y || n->op->domain) return NULL;
    const char *op = n->op->name;
    if (!strcmp(op, "Identity")) return x;
    if (!strcmp(op, "Dropout")) return inference_dropout(n) ? x : NULL;
    if (!strcmp(op, "Concat")) return n->nin == 1 ? x : put_together(n);
    if (!strcmp(op, "Cast") && still_true(n)) return still_true(n);
    if (!same_type(&x->type, &y->type)) {
        bool times = !strcmp(op, "Mul") && gr_scalar_of(x, &one) && one == 1 && gr_in(n, 1);
        return times && same_type(&gr_in(n, 1)->type, &y->type) ? gr_in(n, 1) : NULL;
    }
    if (!strcmp(op, "CastLike")) return x;
    if (named(n, shapers)) return gr_known_shape(gr_in(n, 1)) ? x : NULL;
    if (!strcmp(op, "Transpose")) return identity_order(n) ? x : NULL;
    if (!strcmp(op, "Slice")) return forward_steps(n) ? x : NULL;
    if (!strcmp(op, "Not")) return maker(x, "Not") ? gr_in(x->def, 0) : NULL;
    if (!strcmp(op, "Mul") || !strcmp(op, "Div")) return gr_scalar_of(gr_in(n, 1), &one) && one == 1 ? x : NULL;
    return NULL;
}

static bool exchange_branches(gr_node *n)
{
    const gr_node *not = !gr_is_op(n, "Where") ? NULL : maker(gr_in(n, 0), "Not");
    if (!not) return false;
    gr_value *kept = gr_in(n, 1);
    gr_set_input(n, 0, gr_in(not, 0));
    gr_set_input(n, 1, gr_in(n, 2));
    gr_set_input(n, 2, kept);
    return true;
}

enum { MAX_CAST_ATTRS = 8 };

/* CastLike to a type that is known is a Cast, which folds without a look at the other operand. */
static gr_status cast_plainly(gr_node *n, int *hits, gr_err *err)
{
    const gr_value *like = gr_in(n, 1);
    if (!gr_is_op(n, "CastLike") || !like || like->type.dtype == GR_UNDEFINED) return GR_OK;
    gr_build b = {n->graph, n, err};
    gr_attr attrs[MAX_CAST_ATTRS] = {gr_attr_of_int("to", like->type.dtype)};
    if (n->attrs.count >= MAX_CAST_ATTRS) return GR_OK;
    for (size_t i = 0; i < n->attrs.count; i++) attrs[1 + i] = n->attrs.items[i];
    gr_value *x = gr_in(n, 0);
    gr_value *y = gr_build_node(&b, "", "Cast", gr_build_attrs(&b, 1 + n->attrs.count, attrs), 1, &x);
    if (!y) return err ? err->status : GR_ENOMEM;
    gr_value *old = n->out[0];
    gr_replace_uses(old, y);
    gr_take_name(y, old);
    y->def->name = n->name;
    ++*hits;
    return GR_OK;
}

gr_status gr_pass_noop(gr_graph *g, int *hits, gr_err *err)
{
    int casts = 0;
    for (gr_node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (n->out[0] && !n->out[0]->konst) GR_TRY(cast_plainly(n, &casts, err));
    }
    if (casts) GR_TRY(gr_pass_dead(g, &casts, err));
    *hits += casts;
    for (gr_node *n = g->first, *next; n && !gr_pass_stopped(g); n = next) {
        next = n->next;
        *hits += exchange_branches(n);
        gr_value *x = unchanged(n);
        if (!x || n->out[0]->konst) continue;
        gr_replace_uses(n->out[0], x);
        ++*hits;
    }
    return casts ? gr_graph_infer(g, FOLD_SMALL, err) : GR_OK; /* what hung on the casts may be constant now */
}
