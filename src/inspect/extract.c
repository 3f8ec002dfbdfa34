/* SPDX-License-Identifier: Apache-2.0
 *
 * Cutting is a walk from the wanted values back to those that are given; the piece is then picked from the document of
 * the whole graph.
 */
#include "extract.h"
#include "graph/lower.h"
#include <stdio.h>

enum { SHOWN = 8 };

typedef struct cutter {
    const gr_graph *g;
    const gr_cut *cut;
    gr_arena *arena;
    bool *given, *wanted, *reached; /* by value */
    bool *taken;           /* by node */
    const gr_node **origins; /* by node of the document */
    const gr_value **todo;
    size_t ntodo;
} cutter;

static void reach(cutter *c, const gr_value *v)
{
    if (!v || c->reached[v->id]) return;
    c->reached[v->id] = true;
    c->todo[c->ntodo++] = v;
}

static gr_status walk_back(cutter *c, gr_err *err)
{
    char missing[GR_ERR_SIZE / 2] = "";
    size_t n = 0, count = 0;
    for (size_t i = 0; i < c->cut->nto; i++) reach(c, c->cut->to[i]);
    while (c->ntodo) {
        const gr_value *v = c->todo[--c->ntodo];
        if (c->given[v->id]) continue;
        if (!v->def && !v->konst && c->cut->nfrom) {
            if (count++ < SHOWN && n < sizeof missing)
                n += (size_t)snprintf(missing + n, sizeof missing - n, "%s'%s'", n ? ", " : "", gr_show(v->name));
            continue;
        }
        if (!v->def || c->taken[v->def->id]) continue;
        c->taken[v->def->id] = true;
        for (uint32_t i = 0; i < v->def->nin; i++) reach(c, gr_in(v->def, i));
    }
    if (count)
        return gr_fail(err, GR_EINVAL, "what is to be cut out also needs %s%s, which --from does not cover", missing,
                       count > SHOWN ? " and others" : "");
    for (size_t i = 0; i < c->cut->nfrom; i++)
        if (!c->reached[c->cut->from[i]->id])
            return gr_fail(err, GR_EINVAL, "what is to be cut out does not depend on '%s'", gr_show(c->cut->from[i]->name));
    return GR_OK;
}

/* ---- the document ---- */

static bool add_inputs(cutter *c, gr_doc_graph *d)
{
    d->in.items = GR_NEWS(c->arena, c->g->ninputs + c->cut->nfrom, gr_doc_value);
    d->in.count = 0;
    if (!d->in.items) return false;
    for (size_t i = 0; i < c->cut->nfrom; i++)
        if (!gr_lower_value(c->arena, c->cut->from[i], c->cut->from[i]->name, &d->in.items[d->in.count++])) return false;
    for (size_t i = 0; i < c->g->ninputs && !c->cut->nfrom; i++) {
        const gr_value *v = c->g->inputs[i];
        if (c->reached[v->id] && !gr_lower_value(c->arena, v, v->name, &d->in.items[d->in.count++])) return false;
    }
    return true;
}

static bool add_identity(cutter *c, gr_doc_graph *d, const char *from, const char *to)
{
    const char **names = GR_NEWS(c->arena, 2, const char *);
    if (!names) return false;
    names[0] = from;
    names[1] = to;
    d->nodes.items[d->nodes.count++] = (gr_doc_node){
        .name = "", .op_type = "Identity", .domain = "", .overload = "", .in = {1, names}, .out = {1, names + 1}};
    return true;
}

/* Each under its own name, and under those that the graph's outputs give it. */
static bool add_outputs(cutter *c, gr_doc_graph *d)
{
    d->out.items = GR_NEWS(c->arena, c->cut->nto + c->g->noutputs, gr_doc_value);
    d->out.count = 0;
    if (!d->out.items) return false;
    for (size_t i = 0; i < c->cut->nto; i++) {
        const gr_value *v = c->cut->to[i];
        if (!gr_lower_value(c->arena, v, v->name, &d->out.items[d->out.count++])) return false;
        for (int o = v->is_output ? v->output_index : -1; o >= 0; o = c->g->next_output[o]) {
            const char *name = c->g->output_names[o];
            if (!strcmp(name, v->name)) continue;
            if (!gr_lower_value(c->arena, v, name, &d->out.items[d->out.count++])) return false;
            if (!add_identity(c, d, v->name, name)) return false;
        }
    }
    return true;
}

static bool is_read(const void *user, const gr_value *v)
{
    const cutter *c = user;
    return c->reached[v->id] && !c->given[v->id];
}

static bool is_taken(const cutter *c, const gr_doc_node *n, const gr_node *origin)
{
    if (origin) return c->taken[origin->id];
    const gr_value *v = gr_lower_widened(c->g, n);
    return v && is_read(c, v);
}

static bool pick(cutter *c, gr_doc_graph *d)
{
    gr_doc_nodes all = d->nodes;
    size_t kept = 0;
    d->nodes = (gr_doc_nodes){0, GR_NEWS(c->arena, all.count + c->g->noutputs, gr_doc_node)};
    if (!d->nodes.items) return false;
    for (size_t k = 0; k < all.count; k++)
        if (is_taken(c, &all.items[k], c->origins[k])) d->nodes.items[d->nodes.count++] = all.items[k];
    gr_lower_keep(c->g, d, is_read, c);
    if (!add_inputs(c, d) || !add_outputs(c, d)) return false;
    for (size_t i = 0; i < d->info.count; i++) {
        const gr_value *v = gr_graph_find(c->g, d->info.items[i].name);
        bool inside = v && v->def && c->taken[v->def->id] && !c->given[v->id];
        if (inside && !c->wanted[v->id]) d->info.items[kept++] = d->info.items[i];
    }
    d->info.count = kept;
    return true;
}

gr_status gr_extract(const gr_graph *g, const gr_cut *cut, gr_doc **out, gr_err *err)
{
    gr_doc *doc;
    const gr_node **origins;
    GR_TRY(gr_graph_lower_as(g, &(gr_lower_options){.body = gr_lower_missing, .origins = &origins}, &doc, err));
    cutter c = {.g = g, .cut = cut, .arena = doc->arena, .origins = origins};
    c.given = GR_NEWS(c.arena, g->nvalues, bool);
    c.wanted = GR_NEWS(c.arena, g->nvalues, bool);
    c.reached = GR_NEWS(c.arena, g->nvalues, bool);
    c.taken = GR_NEWS(c.arena, g->nnodes, bool);
    c.todo = GR_NEWS(c.arena, g->nvalues, const gr_value *);
    gr_status status = c.given && c.wanted && c.reached && c.taken && c.todo ? GR_OK : gr_nomem(err);
    for (size_t i = 0; status == GR_OK && i < cut->nfrom; i++) c.given[cut->from[i]->id] = true;
    for (size_t i = 0; status == GR_OK && i < cut->nto; i++)
        if (c.given[cut->to[i]->id])
            status = gr_fail(err, GR_EINVAL, "'%s' is to be given and to be made", gr_show(cut->to[i]->name));
    for (size_t i = 0; status == GR_OK && i < cut->nto; i++) c.wanted[cut->to[i]->id] = true;
    if (status == GR_OK) status = walk_back(&c, err);
    if (status == GR_OK && !pick(&c, doc->graph)) status = gr_nomem(err);
    if (status == GR_OK)
        *out = doc;
    else
        gr_doc_free(doc);
    return status;
}

/* ---- what to cut ---- */

gr_cut gr_extract_part(const gr_part *p) { return (gr_cut){p->ninputs, p->noutputs, p->inputs, p->outputs}; }

gr_status gr_extract_find(const gr_outline *o, const char *name, bool to, gr_arena *arena, size_t *n,
                          const gr_value ***out, gr_err *err)
{
    const gr_part *p = gr_outline_find(o, name);
    const gr_value *v = gr_graph_find(o->graph, name);
    bool lives = v && gr_value_lives(v);
    for (size_t i = 0; i < o->graph->noutputs && !lives; i++)
        if (!strcmp(o->graph->output_names[i], name)) lives = (v = o->graph->outputs[i]) != NULL;
    if (!lives && p) {
        *n = to ? p->noutputs : p->ninputs;
        *out = to ? p->outputs : p->inputs;
        return GR_OK;
    }
    if (!lives && v)
        return gr_fail(err, GR_EINVAL, "value '%s' is inside a fused operator; --raw cuts from the file's own graph",
                       gr_show(name));
    if (!lives) return gr_fail(err, GR_EINVAL, "the model has no value and no part '%s'", gr_show(name));
    *n = 1;
    *out = GR_NEW(arena, const gr_value *);
    if (!*out) return gr_nomem(err);
    **out = v;
    return GR_OK;
}
