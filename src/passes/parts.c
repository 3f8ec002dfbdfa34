/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators that are put together from others (com.microsoft's fused ones) are replaced by their parts, so that there
 * is one set of patterns and kernels for all spellings. Those whose parts depend on ranks that are not known stay.
 */
#include "exec/body.h"
#include "passes.h"

static gr_status take_apart(gr_node *n, bool *done, gr_err *err)
{
    gr_graph *g = n->graph;
    gr_value **in = GR_NEWS(g->arena, n->nin, gr_value *), **out = GR_NEWS(g->arena, (size_t)n->nout + 1, gr_value *);
    bool *wanted = GR_NEWS(g->arena, n->nout, bool);
    gr_err failed = {GR_OK, ""};
    *done = false;
    if (!in || !out || !wanted) return gr_nomem(err);
    for (uint32_t i = 0; i < n->nin; i++) in[i] = gr_in(n, i);
    for (uint32_t o = 0; o < n->nout; o++) wanted[o] = n->out[o] && (n->out[o]->nuses || n->out[o]->is_output);
    gr_body b = {.g = g,
                 .at = n,
                 .name = n->name,
                 .params = n->params,
                 .nin = n->nin,
                 .nout = n->nout,
                 .in = in,
                 .wanted = wanted,
                 .out = out,
                 .err = &failed};
    gr_status status = n->op->body(&b);
    if (status == GR_ENOMEM || b.status == GR_ENOMEM) return gr_nomem(err);
    if (status != GR_OK || b.status != GR_OK || b.open) return GR_OK; /* what was built is dead and swept */
    for (uint32_t o = 0; o < n->nout; o++)
        if (wanted[o] && (!out[o] || !out[o]->def)) return GR_OK;
    for (uint32_t o = 0; o < n->nout; o++) {
        if (!wanted[o]) continue;
        gr_replace_uses(n->out[o], out[o]);
        gr_take_name(out[o], n->out[o]);
    }
    gr_erase(n);
    *done = true;
    return GR_OK;
}

gr_status gr_pass_parts(gr_graph *g, int *hits, gr_err *err)
{
    GR_FOR_NODES(n, g)
    {
        bool done;
        if (!n->op->body) continue;
        GR_TRY(take_apart(n, &done, err));
        *hits += done;
    }
    return GR_OK;
}
