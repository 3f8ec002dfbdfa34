/* SPDX-License-Identifier: Apache-2.0
 *
 * AttentionBias takes from queries and keys their sizes only. It gets them from what the first layer's projections
 * read, so that all layers with one mask have one bias, which is known before any of them runs: then padding can be left
 * out. Requires parts and inference.
 */
#include "match.h"
#include "passes.h"

enum { MASK, QUERY, KEY, PAST };

static bool same_rows(const gr_value *a, const gr_value *b)
{
    return a && b && a->type.rank == 3 && b->type.rank == 3 && a->type.dtype == b->type.dtype &&
           gr_dim_same(a->type.dims[0], b->type.dims[0]) && gr_dim_same(a->type.dims[1], b->type.dims[1]);
}

/* The operand of a projection or of a part of one that makes v; v if there is none. */
static gr_value *source_of(gr_value *v)
{
    static const char *const names[] = {"Split", "Add", "MatMul", NULL};
    enum { NODES = 4 }; /* a projection has no more */
    for (int k = 0; k < NODES; k++) {
        const gr_node *n = v->konst ? NULL : v->def;
        size_t i = 0;
        while (n && names[i] && !gr_is_op(n, names[i])) i++;
        if (!n || !names[i]) return v;
        gr_value *x = gr_in(n, 0), *y = n->nin > 1 ? gr_in(n, 1) : NULL;
        if (x && x->konst) x = y, y = gr_in(n, 0);
        if ((y && !y->konst) || !same_rows(x, v)) return v;
        v = x;
    }
    return v;
}

static bool is_bias(const gr_node *n)
{
    return n->op->domain && !strcmp(n->op->domain, "graphrun") && !strcmp(n->op->name, "AttentionBias") &&
           (n->nin <= PAST || !gr_in(n, PAST)) && same_rows(gr_in(n, QUERY), gr_in(n, KEY));
}

enum { KEPT = 4 }; /* masks that are told apart at a time; more are rare, and a walk back would take quadratic time */

gr_status gr_pass_mask_sizes(gr_graph *g, int *hits, gr_err *err)
{
    const gr_node *kept[KEPT] = {0};
    size_t count = 0;
    (void)err;
    for (gr_node *n = g->first; n; n = n->next) {
        if (!is_bias(n)) continue;
        const gr_node *e = NULL;
        for (size_t i = 0; i < KEPT && !e; i++)
            if (kept[i] && gr_in(kept[i], MASK) == gr_in(n, MASK) && same_rows(gr_in(kept[i], QUERY), gr_in(n, QUERY)))
                e = kept[i];
        gr_value *x = e ? gr_in(e, QUERY) : source_of(gr_in(n, QUERY));
        if (!e) kept[count++ % KEPT] = n;
        if (x == gr_in(n, QUERY) && x == gr_in(n, KEY)) continue;
        if (gr_pass_stopped(g)) break;
        gr_set_input(n, QUERY, x);
        gr_set_input(n, KEY, x);
        ++*hits;
    }
    return GR_OK;
}
