/* SPDX-License-Identifier: Apache-2.0
 *
 * The tree of modules. A node says where it belongs by its name ("/encoder/layer.0/output/dense/MatMul") or by that of
 * a weight it reads ("encoder.layer.0.output.dense.weight"). One that does not belongs where what it reads and what
 * reads it meet. Names are a stranger's: their number, depth and length are limited, and what is beyond is left where
 * it would branch off.
 */
#include "view.h"
#include "ops/op.h"

typedef struct tree {
    gr_view *w;
    size_t cap;
    uint32_t *slots; /* hash table of modules by parent and name; plus one */
} tree;

enum { SLOTS = GR_VIEW_MODULES * 2, PATH = 1024 };

static uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 31;
}

static uint64_t hash_text(uint64_t h, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) h = mix(h, (unsigned char)s[i]);
    return mix(h, n);
}

/* The module of that name within `parent`, made if need be; `parent` itself where a limit forbids it. */
static gr_status child(tree *t, uint32_t parent, const char *name, size_t n, uint32_t *out, gr_err *err)
{
    gr_view *w = t->w;
    if (n > GR_VIEW_NAME) n = GR_VIEW_NAME;
    size_t at = hash_text(parent + 1, name, n) & (SLOTS - 1);
    for (; t->slots[at]; at = (at + 1) & (SLOTS - 1)) {
        const gr_view_module *m = &w->modules[t->slots[at] - 1];
        if (m->parent != parent || strlen(m->name) != n || memcmp(m->name, name, n)) continue;
        *out = t->slots[at] - 1;
        return GR_OK;
    }
    *out = parent;
    if (w->module_count == GR_VIEW_MODULES || w->modules[parent].depth == GR_VIEW_DEPTH) return GR_OK;
    char *copy = gr_arena_strndup(w->arena, name, n);
    gr_view_module *m = GR_PUSH(w->arena, w->modules, w->module_count, t->cap);
    if (!copy || !m) return gr_nomem(err);
    *out = (uint32_t)(w->module_count - 1);
    gr_view_module *above = &w->modules[parent];
    *m = (gr_view_module){.name = copy,
                          .parent = parent,
                          .first_child = GR_VIEW_NONE,
                          .last_child = GR_VIEW_NONE,
                          .next = GR_VIEW_NONE,
                          .depth = above->depth + 1};
    if (above->last_child == GR_VIEW_NONE)
        above->first_child = *out;
    else
        w->modules[above->last_child].next = *out;
    above->last_child = *out;
    t->slots[at] = *out + 1;
    return GR_OK;
}

/* Walk down "a/b.c/d" from a module, but for the last component if `drop`. */
static gr_status descend(tree *t, uint32_t from, const char *path, bool drop, uint32_t *out, gr_err *err)
{
    size_t size = strnlen(path, PATH), end = size;
    *out = from;
    if (path[size]) drop = false; /* cut off already */
    while (drop && end > 0 && path[end - 1] != '/' && path[end - 1] != '.') end--;
    for (size_t i = 0; i < end;) {
        size_t n = 0;
        while (i + n < end && path[i + n] != '/' && path[i + n] != '.') n++;
        if (n) GR_TRY(child(t, *out, path + i, n, out, err));
        i += n + 1;
    }
    return GR_OK;
}

/* A name that exporters give to what has none of its own ("onnx::MatMul_12", "val_3") says nothing. */
static bool says_module(const char *name) { return strncmp(name, "onnx::", 6) && strchr(name, '.') != NULL; }

/* Exporters that rename a weight leave the bias its name, which is added next. */
static const char *bias_after(const gr_node *n)
{
    const gr_value *product = gr_out(n, 0);
    const gr_node *add = product && product->nuses == 1 ? product->uses->user : NULL;
    if (!add || !gr_is_named(add, "Add")) return NULL;
    const gr_value *bias = gr_in(add, gr_in(add, 0) == product);
    return bias && bias->konst && !bias->def && says_module(bias->name) ? bias->name : NULL;
}

/* The name, of the node or of a weight, that says where it belongs; NULL if none does. */
static const char *telling_name(const gr_view *w, const gr_view_node *n)
{
    const char *name = n->node->name ? n->node->name : "";
    bool weights = false;
    while (*name == '/') name++;
    if (strchr(name, '/')) return name;
    for (uint32_t i = 0; i < n->node->nin; i++) {
        const gr_view_value *v = n->in[i] == GR_VIEW_NONE ? NULL : &w->values[n->in[i]];
        if (!v || !v->parameter) continue;
        if (says_module(v->value->name)) return v->value->name;
        weights = true;
    }
    return weights ? bias_after(n->node) : NULL;
}

/* What a path says behind the name of a part: of "bert/encoder/layer.0/output/Add", "output/Add" in "encoder.layer.0".
 * NULL if the part is not in it. */
static const char *behind_part(const char *path, const char *part)
{
    size_t n = strlen(part);
    const char *end = path + strnlen(path, PATH);
    for (const char *at = path; at + n < end; at++) {
        size_t i = 0;
        if (at > path && at[-1] != '/' && at[-1] != '.') continue;
        while (i < n && (at[i] == part[i] || (at[i] == '/' && part[i] == '.'))) i++;
        if (i == n && (at[n] == '/' || at[n] == '.')) return at + n + 1;
    }
    return NULL;
}

static gr_status own_module(tree *t, const gr_view_node *n, uint32_t *out, gr_err *err)
{
    const char *name = telling_name(t->w, n);
    *out = GR_VIEW_NONE;
    return name ? descend(t, 0, name, true, out, err) : GR_OK;
}

/* Parts in place of what names say; within a part, what they say beyond it. */
static gr_status module_in_part(tree *t, const gr_view_node *n, uint32_t *top, uint32_t *out, gr_err *err)
{
    const gr_view *w = t->w;
    *top = 0;
    *out = GR_VIEW_NONE;
    if (n->part == GR_VIEW_NONE) return GR_OK;
    const gr_part *part = &w->outline.parts[n->part];
    const char *name = telling_name(w, n), *rest = name ? behind_part(name, part->name) : NULL;
    if (name && !rest && part->alias) rest = behind_part(name, part->alias);
    if (name && !rest && part->kind == GR_PART_HEAD) rest = name;
    GR_TRY(descend(t, 0, part->name, false, top, err));
    return rest ? descend(t, *top, rest, true, out, err) : GR_OK;
}

static uint32_t meet(const gr_view *w, uint32_t a, uint32_t b)
{
    if (a == GR_VIEW_NONE) return b;
    if (b == GR_VIEW_NONE) return a;
    while (a != b) {
        if (w->modules[a].depth >= w->modules[b].depth)
            a = w->modules[a].parent;
        else
            b = w->modules[b].parent;
    }
    return a;
}

/* Where what a node reads was made last. */
static uint32_t module_before(const gr_view *w, const gr_view_node *n, const uint32_t *modules)
{
    uint32_t last = GR_VIEW_NONE;
    for (uint32_t i = 0; i < n->node->nin; i++) {
        uint32_t maker = n->in[i] == GR_VIEW_NONE ? GR_VIEW_NONE : w->values[n->in[i]].maker;
        if (maker == GR_VIEW_NONE || modules[maker] == GR_VIEW_NONE) continue;
        if (last == GR_VIEW_NONE || maker > last) last = maker;
    }
    return last == GR_VIEW_NONE ? GR_VIEW_NONE : modules[last];
}

/* Nodes without a module of their own, between those that have one: forwards what comes before, backwards where all
 * that read them meet. */
static gr_status settle(gr_view *w, uint32_t *own, gr_err *err)
{
    uint32_t *before = GR_NEWS(w->arena, w->node_count, uint32_t), *after = GR_NEWS(w->arena, w->value_count, uint32_t);
    if (!before || !after) return gr_nomem(err);
    for (size_t i = 0; i < w->value_count; i++) after[i] = w->values[i].output ? 0 : GR_VIEW_NONE;
    for (size_t i = 0; i < w->node_count; i++)
        before[i] = own[i] != GR_VIEW_NONE ? own[i] : module_before(w, &w->nodes[i], before);
    for (size_t i = w->node_count; i-- > 0;) {
        const gr_view_node *n = &w->nodes[i];
        uint32_t then = GR_VIEW_NONE;
        for (uint32_t o = 0; o < n->node->nout; o++)
            if (n->out[o] != GR_VIEW_NONE) then = meet(w, then, after[n->out[o]]);
        if (own[i] != GR_VIEW_NONE) then = own[i];
        for (uint32_t k = 0; k < n->node->nin; k++)
            if (n->in[k] != GR_VIEW_NONE) after[n->in[k]] = meet(w, then, after[n->in[k]]);
        uint32_t here = own[i] != GR_VIEW_NONE ? own[i] : meet(w, then, before[i]);
        w->nodes[i].module = here == GR_VIEW_NONE ? 0 : here;
    }
    return GR_OK;
}

/* Nodes of one module together, as a counting sort leaves them. */
static gr_status group(gr_view *w, gr_err *err)
{
    uint32_t start = 0;
    w->by_module = GR_NEWS(w->arena, w->node_count, uint32_t);
    if (!w->by_module) return gr_nomem(err);
    for (size_t i = 0; i < w->node_count; i++) w->modules[w->nodes[i].module].own_nodes++;
    for (size_t i = 0; i < w->module_count; i++) {
        w->modules[i].first_node = start;
        start += w->modules[i].own_nodes;
        w->modules[i].own_nodes = 0;
    }
    for (size_t i = 0; i < w->node_count; i++) {
        gr_view_module *m = &w->modules[w->nodes[i].module];
        w->by_module[m->first_node + m->own_nodes++] = (uint32_t)i;
    }
    return GR_OK;
}

gr_status gr_view_find_modules(gr_view *w, gr_err *err)
{
    tree t = {.w = w, .slots = GR_NEWS(w->arena, SLOTS, uint32_t)};
    gr_view_module *whole = GR_PUSH(w->arena, w->modules, w->module_count, t.cap);
    uint32_t *own = GR_NEWS(w->arena, w->node_count, uint32_t), *top = GR_NEWS(w->arena, w->node_count, uint32_t);
    bool by_part = w->level == GR_VIEW_OUTLINED;
    if (!t.slots || !whole || !own || !top) return gr_nomem(err);
    *whole = (gr_view_module){.name = "",
                              .parent = GR_VIEW_NONE,
                              .first_child = GR_VIEW_NONE,
                              .last_child = GR_VIEW_NONE,
                              .next = GR_VIEW_NONE};
    for (size_t i = 0; i < w->node_count; i++) {
        const gr_view_node *n = &w->nodes[i];
        GR_TRY(by_part ? module_in_part(&t, n, &top[i], &own[i], err) : own_module(&t, n, &own[i], err));
    }
    GR_TRY(settle(w, own, err));
    for (size_t i = 0; by_part && i < w->node_count; i++) {
        gr_view_node *n = &w->nodes[i];
        if (n->part == GR_VIEW_NONE || meet(w, n->module, top[i]) != top[i]) n->module = top[i];
    }
    return group(w, err);
}

static uint64_t likeness_of(const gr_view *w, const gr_view_node *n)
{
    const gr_value *out = gr_out(n->node, 0);
    uint64_t h = hash_text(n->node->nin, n->node->op->name, strlen(n->node->op->name));
    h = mix(mix(h, (uint64_t)n->parameters), (uint64_t)n->work);
    return out ? hash_text(h, w->values[n->out[0]].type, strlen(w->values[n->out[0]].type)) : h;
}

void gr_view_sum_modules(gr_view *w)
{
    for (size_t i = 0; i < w->node_count; i++) {
        const gr_view_node *n = &w->nodes[i];
        gr_view_module *m = &w->modules[n->module];
        m->nodes++;
        m->parameters += n->parameters;
        m->work += n->work;
        m->likeness = mix(m->likeness, likeness_of(w, n));
    }
    for (size_t i = w->module_count; i-- > 1;) {
        const gr_view_module *m = &w->modules[i];
        gr_view_module *above = &w->modules[m->parent];
        above->nodes += m->nodes;
        above->parameters += m->parameters;
        above->work += m->work;
        above->likeness += mix(hash_text(1, m->name, strlen(m->name)), m->likeness);
    }
}
