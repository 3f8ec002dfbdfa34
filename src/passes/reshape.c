/* SPDX-License-Identifier: Apache-2.0
 *
 * Shape arithmetic leaves the graph: a Reshape whose target is computed gets a constant one, with 0 for a dimension
 * that it copies and -1 for at most one other. And transposing the last two of four axes by way of three,
 * Reshape - Transpose(0, 2, 1) - Reshape, becomes one Transpose. Requires inference.
 */
#include "match.h"
#include "passes.h"

/* A target that needs no arithmetic. -1 next to a copied dimension is not used: on an empty tensor it has no meaning. */
static bool constant_target(const gr_type *x, const gr_type *y, int64_t *target)
{
    int copied = 0, open = 0;
    if (x->rank < 0 || y->rank < 0 || y->rank > GR_MAX_RANK) return false;
    for (int i = 0; i < y->rank; i++) {
        gr_dim d = y->dims[i];
        if (gr_dim_known(d)) {
            if (d.k == 0) return false;
            target[i] = d.k;
        } else if (i < x->rank && gr_dim_same(d, x->dims[i])) {
            target[i] = 0;
            copied++;
        } else {
            target[i] = -1;
            open++;
        }
    }
    return open == 0 || (open == 1 && copied == 0);
}

static gr_status simplify_target(gr_node *n, int *hits, gr_err *err)
{
    int64_t target[GR_MAX_RANK], allowzero = 0;
    const gr_value *shape = gr_in(n, 1);
    if (!shape || shape->konst || !gr_known_shape(shape) || gr_attr_int(n->attrs, "allowzero", 0, &allowzero, NULL) != GR_OK) return GR_OK;
    if (!constant_target(&gr_in(n, 0)->type, &n->out[0]->type, target)) return GR_OK;
    gr_build b = {n->graph, n, err};
    gr_value *in[] = {gr_in(n, 0), gr_graph_ints(n->graph, "shape", n->out[0]->type.rank, target)}, *old = n->out[0];
    if (!in[1]) return gr_nomem(err);
    gr_value *y = gr_build_node(&b, "", "Reshape", (gr_attrs){0}, 2, in);
    if (!y) return err ? err->status : GR_ENOMEM;
    y->type = old->type;
    y->def->name = n->name;
    gr_replace_uses(old, y);
    gr_take_name(y, old);
    ++*hits;
    return GR_OK;
}

static const char *const patterns[] = {"(Reshape t:(Transpose (Reshape x _)) _)", NULL};

static bool check(const gr_match *m, gr_why *why)
{
    int64_t n;
    const int64_t *perm;
    const gr_node *t = gr_bound_node(m, "t");
    const gr_type *x = &gr_bound(m, "x")->type, *y = &m->root->out[0]->type, *flat = &gr_in(t, 0)->type;
    if (gr_attr_ints(t->attrs, "perm", &n, &perm, NULL) != GR_OK || n != 3 || perm[0] != 0 || perm[1] != 2)
        return gr_nomatch(why, "not a transpose of the last two of three axes");
    if (x->rank != 4 || y->rank != 4 || flat->rank != 3) return gr_nomatch(why, "not from four axes to four");
    for (int i = 0; i < 4; i++)
        if (!gr_dim_same(x->dims[i], y->dims[i < 2 ? i : 5 - i])) return gr_nomatch(why, "axis %d changes", i);
    return gr_dim_same(flat->dims[1], x->dims[2]) && gr_dim_same(flat->dims[2], x->dims[3]);
}

static gr_value *rewrite(gr_build *b, const gr_match *m)
{
    static const int64_t order[] = {0, 1, 3, 2};
    gr_attr attr = {.name = "perm", .type = GR_ATTR_INTS, .count = 4, .ints = order};
    gr_value *x = gr_bound(m, "x");
    return gr_build_node(b, "", "Transpose", gr_build_attrs(b, 1, &attr), 1, &x);
}

static const gr_rule rule = {"transpose-last-two", patterns, check, rewrite, NULL, NULL, false};

gr_status gr_pass_reshape(gr_graph *g, int *hits, gr_err *err)
{
    for (gr_node *n = g->first, *next; n && !gr_pass_stopped(g); n = next) {
        next = n->next;
        if (gr_is_named(n, "Reshape") && n->out[0] && !n->out[0]->konst) GR_TRY(simplify_target(n, hits, err));
    }
    if (*hits) GR_TRY(gr_pass_dead(g, hits, err));
    return gr_apply_rule(g, &rule, hits, err);
}
