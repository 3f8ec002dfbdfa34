/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls of the model's functions, written out where they stand: their attributes, inputs and outputs.
 */
#include "build.h"

enum {
    MAX_ATTRIBUTES = 4096, /* of a node: they are searched one by one */
    FEW_ATTRIBUTES = 16,
};

/* ---- attributes ---- */

static gr_status check_attrs(builder *b, gr_attrs in)
{
    gr_names names = {0};
    bool few = in.count <= FEW_ATTRIBUTES, twice = false;
    if (in.count > MAX_ATTRIBUTES)
        return gr_fail(b->err, GR_ELIMIT, "it has %zu attributes, at most %d are supported", in.count, MAX_ATTRIBUTES);
    for (size_t i = 0; i < in.count; i++) {
        for (size_t j = 0; few && j < i; j++) twice |= !strcmp(in.items[j].name, in.items[i].name);
        gr_name *e = few ? NULL : gr_names_add(&names, b->scratch, in.items[i].name);
        if (!few && !e) return gr_nomem(b->err);
        if (e) twice |= e->index++ > 0;
        if (twice) return gr_fail(b->err, GR_EMODEL, "attribute '%s' is given twice", gr_show(in.items[i].name));
    }
    return GR_OK;
}

gr_status gr_builder_resolve(builder *b, const scope *s, gr_attrs in, gr_attrs *out)
{
    bool any = false;
    GR_TRY(check_attrs(b, in));
    for (size_t i = 0; i < in.count; i++) any |= in.items[i].ref != NULL;
    *out = in;
    if (!any) return GR_OK;
    if (!s->function) return gr_fail(b->err, GR_EMODEL, "an attribute refers to a function's, but this is none");
    gr_attr *list = GR_NEWS(b->arena, in.count, gr_attr);
    if (!list) return gr_nomem(b->err);
    size_t n = 0;
    for (size_t i = 0; i < in.count; i++) {
        const gr_attr *a = &in.items[i];
        if (a->ref) {
            const gr_attr *given = gr_attr_find(s->call, a->ref);
            if (!given) given = gr_attr_find(s->function->attr_defaults, a->ref);
            if (!given) continue;
            list[n] = *given;
            list[n].name = a->name;
        } else {
            list[n] = *a;
        }
        n++;
    }
    *out = (gr_attrs){n, list};
    return GR_OK;
}

/* ---- functions ---- */

static const char *function_key(builder *b, const char *domain, const char *name, const char *overload)
{
    return gr_arena_printf(b->scratch, "%s:%s:%s", gr_builder_domain(domain), name, overload ? overload : "");
}

gr_status gr_builder_index_functions(builder *b)
{
    if (!(b->function_imports = GR_NEWS(b->scratch, b->doc->nfunctions, imports))) return gr_nomem(b->err);
    for (size_t i = 0; i < b->doc->nfunctions; i++) {
        const gr_doc_function *f = &b->doc->functions[i];
        const char *key = function_key(b, f->domain, f->name, f->overload);
        gr_name *e = key ? gr_names_add(&b->functions, b->scratch, key) : NULL;
        if (!e) return gr_nomem(b->err);
        if (e->index) return gr_fail(b->err, GR_EMODEL, "function '%s' is defined twice", gr_show(f->name));
        e->index = (uint32_t)i + 1;
    }
    return GR_OK;
}

gr_status gr_builder_find_function(builder *b, const gr_doc_node *n, const gr_doc_function **out)
{
    *out = NULL;
    if (!b->doc->nfunctions) return GR_OK;
    const char *key = function_key(b, n->domain, n->op_type, n->overload);
    if (!key) return gr_nomem(b->err);
    const gr_name *e = gr_names_find(&b->functions, key);
    if (e) *out = &b->doc->functions[e->index - 1];
    return GR_OK;
}

gr_status gr_builder_call(builder *b, scope *s, const gr_doc_node *n, const gr_doc_function *f, gr_attrs attrs,
                          gr_value **in)
{
    if (s->depth >= GR_BUILDER_MAX_DEPTH)
        return gr_fail(b->err, GR_EMODEL, "function '%s' calls itself or is nested more than %d deep", gr_show(f->name),
                       GR_BUILDER_MAX_DEPTH);
    if (n->in.count > f->in.count || n->out.count > f->out.count)
        return gr_fail(
            b->err, GR_EMODEL, "node '%s' gives function '%s' %zu inputs and %zu outputs, it has %zu and %zu",
            gr_show(gr_builder_label(n)), gr_show(f->name), n->in.count, n->out.count, f->in.count, f->out.count);
    imports *imported = &b->function_imports[f - b->doc->functions];
    if (!imported->list) GR_TRY(gr_builder_read_imports(b, &f->opsets, "a function", imported));
    scope inner = {.graph = s->graph, .function = f, .call = attrs, .imports = imported, .depth = s->depth + 1};
    GR_TRY(gr_builder_spend(b, &inner, GR_BUILDER_CALL_WEIGHT + f->in.count + f->out.count));
    if (!(inner.prefix = gr_builder_inner_name(b, s, gr_builder_label(n)))) return gr_nomem(b->err);
    for (size_t i = 0; i < f->in.count; i++) {
        if (gr_names_find(&inner.names, f->in.items[i]))
            return gr_fail(b->err, GR_EMODEL, "function '%s' has two inputs '%s'", gr_show(f->name),
                           gr_show(f->in.items[i]));
        /* An input that the call leaves out reads as absent in the body. */
        GR_TRY(gr_builder_define(b, &inner, f->in.items[i], i < n->in.count ? in[i] : NULL));
    }
    GR_TRY(gr_builder_nodes(b, &inner, &f->nodes));
    for (size_t i = 0; i < n->out.count; i++) {
        gr_value *v;
        if (!*n->out.items[i]) continue;
        GR_TRY(gr_builder_lookup(b, &inner, f->out.items[i], &v));
        if (!v)
            return gr_fail(b->err, GR_EMODEL, "function '%s' does not define its output '%s'", gr_show(f->name),
                           gr_show(f->out.items[i]));
        GR_TRY(gr_builder_define(b, s, n->out.items[i], v));
    }
    return GR_OK;
}
