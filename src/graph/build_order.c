/* SPDX-License-Identifier: Apache-2.0
 *
 * The order of nodes: a node is built after those whose outputs it reads, else in the order of the file.
 */
#include "build.h"

typedef struct reads {
    size_t count, cap;
    uint32_t *items;
} reads;

static gr_status note_read(builder *b, const scope *s, const char *name, reads *out)
{
    const gr_name *e = gr_names_find(&s->names, name);
    if (!e || e->value || !e->index) return GR_OK;
    uint32_t *added = GR_PUSH(b->scratch, out->items, out->count, out->cap);
    if (!added) return gr_nomem(b->err);
    *added = e->index - 1;
    return GR_OK;
}

typedef struct inner { /* names that a graph inside a node defines: they hide those outside */
    const struct inner *outer;
    gr_names names;
} inner;

static gr_status names_of(builder *b, const gr_doc_graph *g, gr_names *out)
{
    bool good = true;
    for (size_t i = 0; i < g->in.count; i++)
        good &= !g->in.items[i].name || gr_names_add(out, b->scratch, g->in.items[i].name);
    for (size_t i = 0; i < g->ninit; i++) good &= !g->init[i]->name || gr_names_add(out, b->scratch, g->init[i]->name);
    for (size_t i = 0; i < g->nodes.count; i++)
        for (size_t k = 0; k < g->nodes.items[i].out.count; k++)
            good &= gr_names_add(out, b->scratch, g->nodes.items[i].out.items[k]) != NULL;
    return good ? GR_OK : gr_nomem(b->err);
}

static gr_status note_captured(builder *b, const scope *s, const inner *in, const char *name, reads *out)
{
    for (; in; in = in->outer)
        if (gr_names_find(&in->names, name)) return GR_OK;
    return note_read(b, s, name, out);
}

/* Nodes of this scope that are not built yet and whose outputs a node reads. A graph inside it may read any. */
static gr_status nodes_read(builder *b, const scope *s, const inner *in, const gr_doc_node *n, reads *out, int depth)
{
    if (depth > GR_BUILDER_MAX_DEPTH)
        return gr_fail(b->err, GR_ELIMIT, "graphs are nested more than %d deep", GR_BUILDER_MAX_DEPTH);
    for (size_t i = 0; i < n->in.count; i++) GR_TRY(note_captured(b, s, in, n->in.items[i], out));
    for (size_t i = 0; i < n->attrs.count; i++) {
        const gr_doc_graph *g = n->attrs.items[i].type == GR_ATTR_GRAPH ? n->attrs.items[i].g : NULL;
        inner own = {.outer = in};
        if (!g) continue;
        GR_TRY(names_of(b, g, &own.names));
        for (size_t j = 0; j < g->nodes.count; j++) GR_TRY(nodes_read(b, s, &own, &g->nodes.items[j], out, depth + 1));
        for (size_t j = 0; j < g->out.count; j++)
            if (g->out.items[j].name) GR_TRY(note_captured(b, s, &own, g->out.items[j].name, out));
    }
    return GR_OK;
}

typedef struct frame {
    uint32_t node;
    size_t next; /* of those it reads, to look at */
    reads reads;
} frame;

static gr_status register_outputs(builder *b, scope *s, const gr_doc_nodes *nodes)
{
    for (size_t i = 0; i < nodes->count; i++)
        for (size_t j = 0; j < nodes->items[i].out.count; j++) {
            const char *name = nodes->items[i].out.items[j];
            if (!*name) continue;
            gr_name *e = gr_names_add(&s->names, b->scratch, name);
            if (!e) return gr_nomem(b->err);
            if (e->value || e->index)
                return gr_fail(b->err, GR_EMODEL, "node '%s' (%s) defines '%s', which is defined already",
                               gr_show(gr_builder_label(&nodes->items[i])), gr_show(nodes->items[i].op_type),
                               gr_show(name));
            e->index = (uint32_t)i + 1;
        }
    return GR_OK;
}

gr_status gr_builder_nodes(builder *b, scope *s, const gr_doc_nodes *nodes)
{
    enum { WAITING, OPEN, DONE };
    if (nodes->count >= UINT32_MAX) return gr_fail(b->err, GR_ELIMIT, "too many nodes");
    uint8_t *state = GR_NEWS(b->scratch, nodes->count, uint8_t);
    size_t depth = 0, cap = 0;
    frame *stack = NULL;
    if (!state) return gr_nomem(b->err);
    GR_TRY(register_outputs(b, s, nodes));
    for (size_t i = 0; i < nodes->count; i++) {
        uint32_t node = (uint32_t)i;
        for (bool open = state[i] == WAITING; open || depth;) {
            if (open) {
                frame *f = GR_PUSH(b->scratch, stack, depth, cap);
                if (!f) return gr_nomem(b->err);
                *f = (frame){.node = node};
                state[node] = OPEN;
                GR_TRY(nodes_read(b, s, NULL, &nodes->items[node], &f->reads, 0));
                open = false;
            }
            frame *f = &stack[depth - 1];
            while (!open && f->next < f->reads.count) {
                node = f->reads.items[f->next++];
                if (state[node] == DONE) continue;
                if (state[node] == OPEN)
                    return gr_fail(b->err, GR_EMODEL, "node '%s' (%s) depends on itself",
                                   gr_show(gr_builder_label(&nodes->items[node])), gr_show(nodes->items[node].op_type));
                open = true;
            }
            if (open) continue;
            GR_TRY(gr_builder_node(b, s, &nodes->items[f->node]));
            state[f->node] = DONE;
            depth--;
        }
    }
    return GR_OK;
}
