/* SPDX-License-Identifier: Apache-2.0
 *
 * Erases nodes whose outputs nobody needs: unread, or constants by now. Requires nothing.
 */
#include "passes.h"

static bool needed(const gr_node *n)
{
    for (uint32_t i = 0; i < n->nout; i++) {
        const gr_value *v = n->out[i];
        if (v && !v->konst && (v->nuses || v->is_output)) return true;
    }
    return false;
}

gr_status gr_pass_dead(gr_graph *g, int *hits, gr_err *err)
{
    (void)err;
    for (gr_node *n = g->last, *prev; n; n = prev) {
        prev = n->prev;
        if (needed(n)) continue;
        gr_erase(n);
        ++*hits;
    }
    return GR_OK;
}
