/* SPDX-License-Identifier: Apache-2.0
 *
 * A node written out: the function body that its operator gives for it is parsed, and its nodes take the node's place,
 * values inside it renamed. Nodes that are alike share one parsed body.
 */
#include "lower.h"
#include <stdio.h>

/* Documents of bodies; models have a dozen, files made to fill memory have any number. */
#define MAX_BODY_BYTES ((size_t)256 << 20)

/* ---- names ---- */

/* `name`, with a number if it is taken, in growing steps as numbers can be taken in rows. NULL: out of memory. */
static const char *free_name(gr_lowering *l, gr_names *set, const char *name)
{
    const char *made = name;
    for (size_t i = set->count, step = 1; made && gr_names_find(set, made); i += step, step *= 2)
        made = gr_arena_printf(l->arena, "%s_%zu", name, i);
    return made && gr_names_add(set, l->arena, made) ? made : NULL;
}

gr_status gr_lower_node_name(gr_lowering *l, const char *name, const char **out)
{
    *out = name;
    if (!name || !*name) return GR_OK;
    *out = free_name(l, &l->nodes, name);
    return *out ? GR_OK : gr_nomem(l->err);
}

static gr_status take_value(gr_lowering *l, const gr_value *v)
{
    return !v || gr_names_add(&l->values, l->arena, v->name) ? GR_OK : gr_nomem(l->err);
}

static gr_status take_values(gr_lowering *l, const gr_graph *g)
{
    for (size_t i = 0; i < g->ninputs; i++) GR_TRY(take_value(l, g->inputs[i]));
    for (size_t i = 0; i < g->noutputs; i++)
        if (!gr_names_add(&l->values, l->arena, g->output_names[i])) return gr_nomem(l->err);
    for (const gr_node *n = g->first; n; n = n->next) {
        for (uint32_t i = 0; i < n->nin; i++) GR_TRY(take_value(l, gr_in(n, i)));
        for (uint32_t i = 0; i < n->nout; i++) GR_TRY(take_value(l, n->out[i]));
        for (uint32_t i = 0; i < n->nsubgraphs; i++) GR_TRY(take_values(l, n->subgraphs[i]));
    }
    return GR_OK;
}

/* ---- bodies ---- */

static gr_status parse_body(gr_lowering *l, const char *text, gr_doc_function **out)
{
    gr_doc *doc;
    GR_TRY(gr_doc_parse_text(text, strlen(text), "body", &doc, l->err));
    doc->next = l->doc->next; /* freed with the document that points into it */
    l->doc->next = doc;
    l->body_bytes += gr_arena_bytes(doc->arena);
    if (l->body_bytes > MAX_BODY_BYTES)
        return gr_fail(l->err, GR_ELIMIT, "the bodies of its operators, written out, are larger than the limit");
    if (doc->graph || doc->nfunctions != 1) return gr_fail(l->err, GR_EMODEL, "its body is not a function");
    *out = &doc->functions[0];
    return GR_OK;
}

static gr_status find_body(gr_lowering *l, const gr_node *n, gr_spell_fn fn, const gr_doc_function **out)
{
    const char *text;
    gr_arena *scratch = gr_arena_new();
    if (!scratch) return gr_nomem(l->err);
    gr_status status = gr_spell_text(n, fn, l->root->opset, scratch, &text, l->err);
    gr_name *known = status == GR_OK ? gr_names_find(&l->bodies, text) : NULL;
    gr_doc_function *function = known ? known->value : NULL;
    if (status == GR_OK && !function) {
        const char *kept = gr_arena_strdup(l->arena, text);
        status = kept ? parse_body(l, kept, &function) : gr_nomem(l->err);
        if (status == GR_OK && !(known = gr_names_add(&l->bodies, l->arena, kept))) status = gr_nomem(l->err);
        if (status == GR_OK) known->value = function;
    }
    *out = function;
    gr_arena_free(scratch);
    return status;
}

/* ---- in place ---- */

/* What a body's values are called outside: a short list, for bodies have a few dozen. */
typedef struct renaming {
    const char *stem;
    size_t count, cap;
    struct pair {
        const char *inside, *outside;
    } * pairs;
} renaming;

static gr_status call_it(gr_lowering *l, renaming *r, const char *inside, const char *outside)
{
    struct pair *p = GR_PUSH(l->arena, r->pairs, r->count, r->cap);
    if (!p) return gr_nomem(l->err);
    *p = (struct pair){inside, outside};
    return GR_OK;
}

static gr_status outside(gr_lowering *l, renaming *r, const char *inside, const char **out)
{
    *out = "";
    if (!*inside) return GR_OK;
    for (size_t i = 0; i < r->count; i++)
        if (!strcmp(r->pairs[i].inside, inside)) return *out = r->pairs[i].outside, GR_OK;
    const char *name = gr_arena_printf(l->arena, "%s/%s", r->stem, inside);
    *out = name ? free_name(l, &l->values, name) : NULL;
    return *out ? call_it(l, r, inside, *out) : gr_nomem(l->err);
}

static gr_status rename_list(gr_lowering *l, renaming *r, const gr_doc_names *from, gr_doc_names *to)
{
    *to = (gr_doc_names){from->count, GR_NEWS(l->arena, from->count, const char *)};
    if (!to->items) return gr_nomem(l->err);
    for (size_t i = 0; i < from->count; i++) GR_TRY(outside(l, r, from->items[i], &to->items[i]));
    return GR_OK;
}

static gr_status bind_values(gr_lowering *l, const gr_node *n, const gr_doc_function *f, renaming *r)
{
    for (size_t i = 0; i < f->in.count; i++) {
        const gr_value *v = gr_in(n, (uint32_t)i);
        GR_TRY(call_it(l, r, f->in.items[i], gr_lower_name(l, v)));
    }
    for (size_t i = 0; i < f->out.count; i++) {
        const gr_value *v = gr_out(n, (uint32_t)i);
        if (v) GR_TRY(call_it(l, r, f->out.items[i], v->name));
        if (v && !r->stem) r->stem = v->name;
    }
    if (!r->stem) r->stem = n->op->name;
    return GR_OK;
}

gr_status gr_lower_body(gr_lowering *l, const gr_node *n, gr_spell_fn fn, gr_lower_nodes *nodes)
{
    const gr_doc_function *f;
    renaming r = {0};
    gr_status status = find_body(l, n, fn, &f);
    if (status != GR_OK) return gr_fail_context(l->err, status, "node '%s' (%s)", gr_show(n->name), n->op->name);
    if (!l->values.cap) GR_TRY(take_values(l, l->root));
    GR_TRY(bind_values(l, n, f, &r));
    for (size_t i = 0; i < f->nodes.count; i++) {
        const gr_doc_node *inner = &f->nodes.items[i];
        gr_doc_node *to = GR_PUSH(l->arena, nodes->items, nodes->count, nodes->cap);
        if (!to) return gr_nomem(l->err);
        *to = *inner;
        const char *name = gr_arena_printf(l->arena, "%s/%s", r.stem, inner->out.count ? inner->out.items[0] : "");
        if (!name) return gr_nomem(l->err);
        GR_TRY(gr_lower_node_name(l, name, &to->name));
        if (!strcmp(to->domain, "com.microsoft")) l->contrib = true;
        GR_TRY(rename_list(l, &r, &inner->in, &to->in));
        GR_TRY(rename_list(l, &r, &inner->out, &to->out));
    }
    return GR_OK;
}
