/* SPDX-License-Identifier: Apache-2.0 */
#include "diff.h"
#include "hash.h"
#include <inttypes.h>
#include <stdlib.h>

typedef struct differ {
    const gr_doc *docs[2];
    const gr_align *align;
    gr_arena *arena;
    gr_diff *out;
    size_t cap_metadata, cap_interface, cap_a, cap_b, cap_attrs, cap_wired, cap_consts;
    bool failed;
} differ;

/* ---- attributes ---- */

enum { LISTED = 16 };

static const char *list_text(const gr_attr *a, gr_arena *arena)
{
    const char *text = "[";
    for (size_t i = 0; text && i < a->count && i < LISTED; i++)
        text = a->type == GR_ATTR_INTS ? gr_arena_printf(arena, "%s%s%" PRId64, text, i ? ", " : "", a->ints[i])
                                       : gr_arena_printf(arena, "%s%s%.9g", text, i ? ", " : "", (double)a->floats[i]);
    return text ? gr_arena_printf(arena, "%s%s]", text, a->count > LISTED ? ", ..." : "") : NULL;
}

static const char *attr_text(const gr_attr *a, gr_arena *arena)
{
    const char *text = NULL;
    if (!a) return "absent";
    switch (a->type) {
    case GR_ATTR_FLOAT: text = gr_arena_printf(arena, "%.9g", (double)a->f); break;
    case GR_ATTR_INT: text = gr_arena_printf(arena, "%" PRId64, a->i); break;
    case GR_ATTR_INTS:
    case GR_ATTR_FLOATS: text = list_text(a, arena); break;
    case GR_ATTR_STRING: {
        const char *s = gr_arena_strndup(arena, a->s.data ? a->s.data : "", a->s.size);
        text = s ? gr_arena_printf(arena, "'%s'", gr_show(s)) : NULL;
        break;
    }
    default: text = gr_arena_printf(arena, "#%016" PRIx64, gr_hash_attrs((gr_attrs){1, a}));
    }
    return text ? text : "?";
}

static const gr_attr *attr_named(gr_attrs attrs, const char *name)
{
    for (size_t i = 0; i < attrs.count; i++)
        if (!strcmp(attrs.items[i].name, name)) return &attrs.items[i];
    return NULL;
}

size_t gr_attr_changes(gr_attrs a, gr_attrs b, gr_arena *arena, gr_attr_change **out)
{
    size_t n = 0;
    *out = GR_NEWS(arena, a.count + b.count, gr_attr_change);
    for (size_t i = 0; *out && i < a.count; i++) {
        const gr_attr *other = attr_named(b, a.items[i].name);
        if (other && gr_hash_attrs((gr_attrs){1, other}) == gr_hash_attrs((gr_attrs){1, &a.items[i]})) continue;
        (*out)[n++] = (gr_attr_change){a.items[i].name, attr_text(&a.items[i], arena), attr_text(other, arena)};
    }
    for (size_t i = 0; *out && i < b.count; i++)
        if (!attr_named(a, b.items[i].name))
            (*out)[n++] = (gr_attr_change){b.items[i].name, "absent", attr_text(&b.items[i], arena)};
    return n;
}

/* ---- metadata ---- */

static bool same_text(const char *a, const char *b) { return a && b ? !strcmp(a, b) : !a && !b; }

static void note(differ *d, bool interface, const char *what, const char *a, const char *b)
{
    gr_diff_text *t;
    if (a && !*a) a = NULL;
    if (b && !*b) b = NULL;
    if (same_text(a, b)) return;
    t = interface ? GR_PUSH(d->arena, d->out->interface, d->out->ninterface, d->cap_interface)
                  : GR_PUSH(d->arena, d->out->metadata, d->out->nmetadata, d->cap_metadata);
    if (t && what)
        *t = (gr_diff_text){what, a, b};
    else
        d->failed = true;
}

static const char *number(differ *d, bool there, int64_t n)
{
    const char *text = there ? gr_arena_printf(d->arena, "%" PRId64, n) : NULL;
    if (there && !text) d->failed = true;
    return text;
}

static const char *opset(differ *d, const gr_doc *doc, const char *domain)
{
    for (size_t i = 0; i < doc->opsets.count; i++)
        if (same_text(doc->opsets.items[i].domain, domain)) return number(d, true, doc->opsets.items[i].version);
    return NULL;
}

static const char *property(const gr_doc *doc, const char *key)
{
    for (size_t i = 0; i < doc->metadata.count; i++)
        if (same_text(doc->metadata.items[i].key, key)) return doc->metadata.items[i].value;
    return NULL;
}

static void compare_metadata(differ *d)
{
    const gr_doc *a = d->docs[0], *b = d->docs[1];
    note(d, false, "IR version", number(d, true, a->ir_version), number(d, true, b->ir_version));
    note(d, false, "model version", number(d, a->has_model_version, a->model_version),
         number(d, b->has_model_version, b->model_version));
    note(d, false, "producer", a->producer_name, b->producer_name);
    note(d, false, "producer version", a->producer_version, b->producer_version);
    note(d, false, "domain", a->domain, b->domain);
    note(d, false, "doc string", a->doc_string, b->doc_string);
    note(d, false, "graph name", a->graph->name, b->graph->name);
    for (int k = 0; k < 2; k++) { /* what only b has comes in the second round */
        for (size_t i = 0; i < d->docs[k]->opsets.count; i++) {
            const char *domain = d->docs[k]->opsets.items[i].domain;
            if (k && opset(d, a, domain)) continue;
            note(d, false, gr_arena_printf(d->arena, "opset of %s", domain && *domain ? gr_show(domain) : "ai.onnx"),
                 opset(d, a, domain), opset(d, b, domain));
        }
        for (size_t i = 0; i < d->docs[k]->metadata.count; i++) {
            const char *key = d->docs[k]->metadata.items[i].key;
            if (k && property(a, key)) continue;
            note(d, false, gr_arena_printf(d->arena, "metadata '%s'", key ? gr_show(key) : ""), property(a, key),
                 property(b, key));
        }
    }
}

/* ---- inputs and outputs ---- */

static const char *type_text(differ *d, const gr_doc_type *t)
{
    if (!t || t->kind != GR_KIND_TENSOR) return t ? "no tensor" : "of no declared type";
    const char *text = gr_dtype_name(t->dtype);
    for (int i = 0; text && i < t->rank; i++) {
        const gr_doc_dim *m = &t->dims[i];
        const char *before = i ? ", " : "[";
        text = m->value >= 0 ? gr_arena_printf(d->arena, "%s%s%" PRId64, text, before, m->value)
                             : gr_arena_printf(d->arena, "%s%s%s", text, before, m->param ? gr_show(m->param) : "?");
    }
    if (text && t->rank >= 0) text = gr_arena_printf(d->arena, "%s%s", text, t->rank ? "]" : "[]");
    if (!text) d->failed = true;
    return text ? text : "";
}

static const gr_doc_value *declared(const gr_doc_values *values, const char *name)
{
    for (size_t i = 0; i < values->count; i++)
        if (same_text(values->items[i].name, name)) return &values->items[i];
    return NULL;
}

enum { MANY_VALUES = 4096 }; /* beyond that the lists are compared place by place */

static void compare_values(differ *d, const char *kind, const gr_doc_values *a, const gr_doc_values *b)
{
    const gr_doc_values *sides[2] = {a, b};
    bool many = a->count > MANY_VALUES || b->count > MANY_VALUES;
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < sides[k]->count; i++) {
            const gr_doc_value *v = &sides[k]->items[i];
            const gr_doc_values *o = sides[1 - k];
            const gr_doc_value *w = !many                                                  ? declared(o, v->name)
                                    : i < o->count && same_text(o->items[i].name, v->name) ? &o->items[i]
                                                                                           : NULL;
            if (k && w) continue;
            const char *mine = type_text(d, v->type), *other = w ? type_text(d, w->type) : NULL;
            note(d, true, gr_arena_printf(d->arena, "%s '%s'", kind, v->name ? gr_show(v->name) : ""), k ? other : mine,
                 k ? mine : other);
        }
    }
}

/* ---- nodes and constants ---- */

static void push_pair(differ *d, gr_diff_pair **items, size_t *n, size_t *cap, const void *a, const void *b)
{
    gr_diff_pair *p = gr_arena_push(d->arena, items, n, cap, sizeof *p);
    if (p)
        *p = (gr_diff_pair){a, b};
    else
        d->failed = true;
}

static void push_node(differ *d, const gr_node ***items, size_t *n, size_t *cap, const gr_node *node)
{
    const gr_node **p = gr_arena_push(d->arena, items, n, cap, sizeof *p);
    if (p)
        *p = node;
    else
        d->failed = true;
}

static bool same_value(const gr_align *l, const gr_value *a, const gr_value *b)
{
    return a && (l->a_of[b->id] == a || l->exact_a[a->id] == l->exact_b[b->id]);
}

/* Whether node b reads something in a place where its counterpart reads something else; operands may be exchanged. */
static bool wired_otherwise(const gr_align *l, const gr_node *a, const gr_node *b)
{
    for (uint32_t i = 0; i < b->nin; i++) {
        const gr_value *x = gr_in(a, i), *y = gr_in(b, i);
        if (!x != !y) return true;
        if (!y || y->graph != l->b) continue;
        bool pair = b->nin == 2 && gr_in(a, 1 - i);
        if (gr_is_leaf(y) != gr_is_leaf(x) && (!pair || gr_is_leaf(y) != gr_is_leaf(gr_in(a, 1 - i)))) return true;
        if (gr_is_leaf(y) || !l->a_of[y->id]) continue;
        if (!same_value(l, x, y) && !(pair && same_value(l, gr_in(a, 1 - i), y))) return true;
    }
    return false;
}

static void compare_graphs(differ *d)
{
    const gr_align *l = d->align;
    gr_diff *out = d->out;
    bool *seen = GR_NEWS(d->arena, l->b->nvalues, bool);
    if (!seen) {
        d->failed = true;
        return;
    }
    GR_FOR_NODES(m, l->a)
    {
        if (!l->node_b_of[m->id]) push_node(d, &out->only_a, &out->nonly_a, &d->cap_a, m);
    }
    GR_FOR_NODES(n, l->b)
    {
        const gr_node *a = l->node_a_of[n->id];
        if (!a) {
            push_node(d, &out->only_b, &out->nonly_b, &d->cap_b, n);
            continue;
        }
        if (l->attrs_a[a->id] != l->attrs_b[n->id]) push_pair(d, &out->attrs, &out->nattrs, &d->cap_attrs, a, n);
        if (wired_otherwise(l, a, n)) push_pair(d, &out->wired, &out->nwired, &d->cap_wired, a, n);
        for (uint32_t i = 0; i < n->nin; i++) {
            const gr_value *y = gr_in(n, i), *x = y && y->graph == l->b && gr_is_leaf(y) ? l->a_of[y->id] : NULL;
            if (!x || seen[y->id]) continue;
            seen[y->id] = true;
            if (l->content_a[x->id] != l->content_b[y->id])
                push_pair(d, &out->consts, &out->nconsts, &d->cap_consts, x, y);
        }
    }
}

gr_status gr_diff_make(const gr_doc *a, const gr_doc *b, const gr_align *align, gr_arena *arena, gr_diff *out,
                       gr_err *err)
{
    *out = (gr_diff){0};
    differ d = {.docs = {a, b}, .align = align, .arena = arena, .out = out};
    compare_metadata(&d);
    compare_values(&d, "input", &a->graph->in, &b->graph->in);
    compare_values(&d, "output", &a->graph->out, &b->graph->out);
    compare_graphs(&d);
    return d.failed ? gr_nomem(err) : GR_OK;
}
