/* SPDX-License-Identifier: Apache-2.0
 *
 * If with a condition that is known (it hangs on shapes): the branch takes its place. Requires inference.
 */
#include "ops/op.h"
#include "passes.h"

/* The value outside that stands for one inside: a captured one, a copied constant, or one of a moved node. */
typedef struct mapping {
    gr_value **of; /* by id of the value inside */
    gr_graph *to;
} mapping;

static gr_value *outside(mapping *m, gr_value *v)
{
    if (!v) return NULL;
    if (m->of[v->id]) return m->of[v->id];
    if (!v->konst) return NULL;
    gr_value *copy = gr_graph_value(m->to, v->name);
    if (!copy) return NULL;
    copy->konst = v->konst;
    copy->type = v->type;
    copy->ivals = v->ivals;
    return m->of[v->id] = copy;
}

static gr_status copy_node(mapping *m, const gr_node *n, gr_node *at, gr_err *err)
{
    gr_arena *a = m->to->arena;
    gr_value **in = GR_NEWS(a, n->nin, gr_value *);
    const char **names = GR_NEWS(a, n->nout, const char *);
    if (!in || !names) return gr_nomem(err);
    for (uint32_t i = 0; i < n->nin; i++) {
        in[i] = outside(m, gr_in(n, i));
        if (gr_in(n, i) && !in[i]) return gr_nomem(err);
    }
    for (uint32_t i = 0; i < n->nout; i++) names[i] = n->out[i] ? n->out[i]->name : "";
    gr_node *copy = gr_graph_node(m->to, n->op, n->params, n->attrs, n->nin, in, n->nout, names);
    if (!copy) return gr_nomem(err);
    copy->name = n->name;
    copy->ncaptured = n->ncaptured;
    copy->nsubgraphs = n->nsubgraphs;
    copy->subgraphs = n->subgraphs;
    for (uint32_t i = 0; i < n->nsubgraphs; i++) n->subgraphs[i]->parent = m->to;
    gr_insert_before(copy, at);
    for (uint32_t i = 0; i < n->nout; i++) {
        if (!n->out[i]) continue;
        m->of[n->out[i]->id] = copy->out[i];
        copy->out[i]->type = n->out[i]->type;
        copy->out[i]->ivals = n->out[i]->ivals;
        copy->out[i]->konst = n->out[i]->konst;
        n->out[i]->became = copy->out[i];
    }
    return GR_OK;
}

static gr_status inline_branch(gr_node *n, gr_graph *branch, gr_err *err)
{
    mapping m = {GR_NEWS(n->graph->arena, branch->nvalues, gr_value *), n->graph};
    if (!m.of) return gr_nomem(err);
    size_t proper = branch->ninputs - branch->ncaptured;
    for (uint32_t i = 0; i < n->ncaptured; i++)
        m.of[branch->inputs[proper + i]->id] = gr_in(n, n->nin - n->ncaptured + i);
    for (const gr_node *inner = branch->first; inner; inner = inner->next) GR_TRY(copy_node(&m, inner, n, err));
    for (uint32_t i = 0; i < n->nout && i < branch->noutputs; i++) {
        if (!n->out[i]) continue;
        gr_value *v = outside(&m, branch->outputs[i]);
        if (!v) return gr_nomem(err);
        gr_replace_uses(n->out[i], v);
    }
    gr_erase(n);
    branch->lifted = true;
    return GR_OK;
}

gr_status gr_pass_inline_if(gr_graph *g, int *hits, gr_err *err)
{
    for (gr_node *n = g->first, *next; n && !gr_pass_stopped(g); n = next) {
        next = n->next;
        const gr_value *cond = gr_in(n, 0);
        if (!gr_is_op(n, "If") || n->nsubgraphs != 2 || !cond->konst) continue;
        if (cond->konst->elements != 1) continue;
        gr_node *before = n->prev;
        GR_TRY(inline_branch(n, n->subgraphs[*(const uint8_t *)cond->konst->data ? 0 : 1], err));
        next = before ? before->next : g->first; /* what came in may hold another If */
        ++*hits;
    }
    /* Types that two branches left open are known now. */
    return *hits ? gr_graph_infer(g, 0, err) : GR_OK;
}
