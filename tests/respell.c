/* SPDX-License-Identifier: Apache-2.0
 *
 * Equivalent spellings. Each way looks at one node that was picked and says whether it could change something there.
 */
#include "respell.h"
#include "speller.h"
#include "support.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

uint32_t spell_below(speller *s, size_t n) { return (uint32_t)(next_random(s->seed) % n); }

void *spell_room_for(speller *s, size_t bytes)
{
    void *p = gr_arena_alloc(s->doc->arena, bytes);
    if (!p) s->broke = true;
    return p;
}

const char *spell_new_name(speller *s)
{
    char text[32];
    snprintf(text, sizeof text, "respelt %d", s->fresh++);
    char *name = spell_room_for(s, strlen(text) + 1);
    return name ? strcpy(name, text) : "";
}

/* ---- building ---- */

static gr_attr *one_attr(speller *s, gr_attr a)
{
    gr_attr *p = spell_room_for(s, sizeof *p);
    if (p) *p = a;
    return p;
}

gr_attr spell_ints_attr(speller *s, const char *name, size_t n, const int64_t *v)
{
    int64_t *copy = spell_room_for(s, (n + 1) * sizeof *copy);
    if (copy) memcpy(copy, v, n * sizeof *copy);
    return (gr_attr){.name = name, .type = GR_ATTR_INTS, .count = n, .ints = copy};
}

/* A node of one output before node `at`, whose pointer stays valid until the next call. */
const char *spell_add_node(speller *s, size_t at, const char *op, size_t nin, const char *const *in,
                           const gr_attr *attr)
{
    gr_doc_nodes *nodes = &s->g->nodes;
    if (nodes->count == s->capnodes) {
        size_t cap = s->capnodes + 256;
        gr_doc_node *more = spell_room_for(s, cap * sizeof *more);
        if (!more) return "";
        if (nodes->count) memcpy(more, nodes->items, nodes->count * sizeof *more);
        nodes->items = more;
        s->capnodes = cap;
    }
    const char **ins = spell_room_for(s, nin * sizeof *ins), **out = spell_room_for(s, sizeof *out);
    if (s->broke) return "";
    if (nin) memcpy(ins, in, nin * sizeof *ins);
    *out = spell_new_name(s);
    memmove(&nodes->items[at + 1], &nodes->items[at], (nodes->count++ - at) * sizeof *nodes->items);
    nodes->items[at] =
        (gr_doc_node){.name = "", .op_type = op, .domain = "", .overload = "", .in = {nin, ins}, .out = {1, out}};
    if (attr) nodes->items[at].attrs = (gr_attrs){1, one_attr(s, *attr)};
    return *out;
}

const char *spell_add_init(speller *s, gr_doc_tensor t)
{
    if (s->g->ninit == s->capinit) {
        size_t cap = s->capinit + 256;
        gr_doc_tensor **more = spell_room_for(s, cap * sizeof *more);
        if (!more) return "";
        if (s->g->ninit) memcpy(more, s->g->init, s->g->ninit * sizeof *more);
        s->g->init = more;
        s->capinit = cap;
    }
    gr_doc_tensor *p = spell_room_for(s, sizeof *p);
    if (!p) return "";
    *p = t;
    p->name = spell_new_name(s);
    s->g->init[s->g->ninit++] = p;
    return p->name;
}

const char *spell_add_const(speller *s, gr_dtype dtype, int rank, int64_t count, const void *data, size_t size)
{
    int64_t *dims = spell_room_for(s, sizeof *dims);
    void *copy = spell_room_for(s, size);
    if (s->broke) return "";
    *dims = count;
    memcpy(copy, data, size);
    return spell_add_init(
        s, (gr_doc_tensor){.dtype = dtype, .rank = rank, .dims = dims, .elements = count, .data = copy, .size = size});
}

/* ---- looking ---- */

gr_doc_node *spell_node_at(speller *s, size_t at) { return &s->g->nodes.items[at]; }

bool spell_is_op(const gr_doc_node *n, const char *op) { return !strcmp(n->op_type, op) && !*n->domain; }

gr_doc_tensor *spell_init_of(speller *s, const char *name)
{
    for (size_t i = 0; i < s->g->ninit; i++)
        if (!strcmp(s->g->init[i]->name, name)) return s->g->init[i];
    return NULL;
}

const gr_type *spell_type_of(speller *s, const char *name)
{
    const gr_value *v = gr_graph_find(s->types, name);
    return v && v->type.kind == GR_KIND_TENSOR ? &v->type : NULL;
}

/* A float constant with one element. */
bool spell_scalar_of(speller *s, const char *name, float *out)
{
    const gr_doc_tensor *t = spell_init_of(s, name);
    if (!t || t->dtype != GR_FLOAT || t->elements != 1 || !t->data) return false;
    memcpy(out, t->data, sizeof *out);
    return true;
}

/* A random input slot whose value has a known type; NULL if the node has none. */
static const char **some_input(speller *s, size_t at, const gr_type **type)
{
    gr_doc_node *n = spell_node_at(s, at);
    if (!n->in.count) return NULL;
    const char **slot = &n->in.items[spell_below(s, n->in.count)];
    *type = **slot ? spell_type_of(s, *slot) : NULL;
    return *type && (*type)->rank >= 0 ? slot : NULL;
}

/* ---- ways ---- */

static bool commute(speller *s, size_t at)
{
    gr_doc_node *n = spell_node_at(s, at);
    if (s->opset < 7 || n->in.count != 2) return false;
    if (!spell_is_op(n, "Add") && !spell_is_op(n, "Mul") && !spell_is_op(n, "And") && !spell_is_op(n, "Or") &&
        !spell_is_op(n, "Equal"))
        return false;
    const char *first = n->in.items[0];
    n->in.items[0] = n->in.items[1];
    n->in.items[1] = first;
    return true;
}

/* Let an input of a node come through what `through` puts before it. */
bool spell_insert(speller *s, size_t at, const char *(*through)(speller *, size_t, const char *, const gr_type *))
{
    const gr_type *type;
    const char **slot = some_input(s, at, &type);
    if (!slot) return false;
    size_t before = s->g->nodes.count;
    const char *name = through(s, at, *slot, type);
    if (!name) return false;
    *slot = name;
    return s->g->nodes.count > before;
}

static const char *identity(speller *s, size_t at, const char *x, const gr_type *t)
{
    (void)t;
    return spell_add_node(s, at, "Identity", 1, &x, NULL);
}

static const char *same_cast(speller *s, size_t at, const char *x, const gr_type *t)
{
    gr_attr to = {.name = "to", .type = GR_ATTR_INT, .i = t->dtype};
    return spell_add_node(s, at, "Cast", 1, &x, &to);
}

static const char *same_reshape(speller *s, size_t at, const char *x, const gr_type *t)
{
    if (t->rank < 1) return NULL;
    const char *shape = spell_add_node(s, at, "Shape", 1, &x, NULL), *in[] = {x, shape};
    return spell_add_node(s, at + 1, "Reshape", 2, in, NULL);
}

static const char *there_and_back(speller *s, size_t at, const char *x, const gr_type *t)
{
    if (t->rank < 2 || t->rank > 6) return NULL;
    int64_t perm[6], back[6];
    for (int i = 0; i < t->rank; i++) perm[i] = i;
    for (int i = t->rank - 1; i > 0; i--) {
        int k = (int)spell_below(s, (size_t)i + 1);
        int64_t p = perm[i];
        perm[i] = perm[k];
        perm[k] = p;
    }
    for (int i = 0; i < t->rank; i++) back[perm[i]] = i;
    gr_attr a = spell_ints_attr(s, "perm", (size_t)t->rank, perm),
            b = spell_ints_attr(s, "perm", (size_t)t->rank, back);
    const char *y = spell_add_node(s, at, "Transpose", 1, &x, &a);
    return spell_add_node(s, at + 1, "Transpose", 1, &y, &b);
}

static const char *wrap_axis(speller *s, size_t at, const char *x, const gr_type *t)
{
    int64_t axis = spell_below(s, (size_t)t->rank + 1);
    if (t->rank > 5) return NULL;
    if (s->opset < 13) {
        gr_attr a = spell_ints_attr(s, "axes", 1, &axis);
        const char *y = spell_add_node(s, at, "Unsqueeze", 1, &x, &a);
        return spell_add_node(s, at + 1, "Squeeze", 1, &y, &a);
    }
    const char *axes = spell_add_const(s, GR_INT64, 1, 1, &axis, sizeof axis), *in[] = {x, axes};
    in[0] = spell_add_node(s, at, "Unsqueeze", 2, in, NULL);
    return spell_add_node(s, at + 1, "Squeeze", 2, in, NULL);
}

static const char *dropout(speller *s, size_t at, const char *x, const gr_type *t)
{
    return t->dtype == GR_FLOAT && s->opset >= 7 ? spell_add_node(s, at, "Dropout", 1, &x, NULL) : NULL;
}

static bool insert_identity(speller *s, size_t at) { return spell_insert(s, at, identity); }
static bool insert_cast(speller *s, size_t at) { return spell_insert(s, at, same_cast); }
static bool insert_reshape(speller *s, size_t at) { return spell_insert(s, at, same_reshape); }
static bool insert_transposes(speller *s, size_t at) { return spell_insert(s, at, there_and_back); }
static bool insert_axis(speller *s, size_t at) { return spell_insert(s, at, wrap_axis); }
static bool insert_dropout(speller *s, size_t at) { return spell_insert(s, at, dropout); }

/* A copy of the node; one later reader of the first output reads that of the copy. */
static bool twice(speller *s, size_t at)
{
    gr_doc_node n = *spell_node_at(s, at);
    if (n.out.count != 1 || !strcmp(n.op_type, "If") || !strcmp(n.op_type, "Loop") || !strcmp(n.op_type, "Scan"))
        return false;
    const char *copy = NULL;
    for (size_t i = s->g->nodes.count - 1; i > at; i--) {
        gr_doc_node *reader = spell_node_at(s, i);
        for (size_t k = 0; k < reader->in.count; k++) {
            if (strcmp(reader->in.items[k], n.out.items[0])) continue;
            const char **slot = &reader->in.items[k];
            copy = spell_add_node(s, at, n.op_type, n.in.count, n.in.items, NULL);
            spell_node_at(s, at)->domain = n.domain;
            spell_node_at(s, at)->overload = n.overload;
            spell_node_at(s, at)->attrs = n.attrs;
            *slot = copy;
            return true;
        }
    }
    return false;
}

static bool by_reciprocal(speller *s, size_t at)
{
    gr_doc_node *n = spell_node_at(s, at);
    float c;
    if (!spell_is_op(n, "Div") || !spell_scalar_of(s, n->in.items[1], &c) || c == 0) return false;
    c = 1 / c;
    n->in.items[1] = spell_add_const(s, GR_FLOAT, spell_init_of(s, n->in.items[1])->rank, 1, &c, sizeof c);
    n->op_type = "Mul";
    return true;
}

static bool square(speller *s, size_t at)
{
    gr_doc_node *n = spell_node_at(s, at);
    float c;
    if (!spell_is_op(n, "Pow") || !spell_scalar_of(s, n->in.items[1], &c) || c != 2 ||
        spell_init_of(s, n->in.items[1])->rank)
        return false;
    n->in.items[1] = n->in.items[0];
    n->op_type = "Mul";
    return true;
}

/* x c as (x c/2) 2; exact but for the smallest numbers. */
static bool split_factor(speller *s, size_t at)
{
    gr_doc_node *n = spell_node_at(s, at);
    float c, two = 2;
    if (!spell_is_op(n, "Mul") || !spell_scalar_of(s, n->in.items[1], &c) || spell_init_of(s, n->in.items[1])->rank)
        return false;
    c /= 2;
    const char *in[] = {n->in.items[0], spell_add_const(s, GR_FLOAT, 0, 1, &c, sizeof c)};
    const char **mine = n->in.items;
    mine[0] = spell_add_node(s, at, "Mul", 2, in, NULL);
    mine[1] = spell_add_const(s, GR_FLOAT, 0, 1, &two, sizeof two);
    return true;
}

static bool plain_gemm(const gr_doc_node *n)
{
    for (size_t i = 0; i < n->attrs.count; i++) {
        const gr_attr *a = &n->attrs.items[i];
        if (a->type == GR_ATTR_FLOAT && a->f != 1) return false;
        if (a->type == GR_ATTR_INT && a->i != 0 && strcmp(a->name, "transB")) return false;
    }
    return true;
}

/* Gemm as product and sum, the weight transposed by a node. */
static bool ungemm(speller *s, size_t at)
{
    gr_doc_node *n = spell_node_at(s, at);
    if (!spell_is_op(n, "Gemm") || n->in.count != 3 || !plain_gemm(n)) return false;
    const gr_doc_tensor *bias = spell_init_of(s, n->in.items[2]);
    if (!bias || bias->rank != 1) return false;
    bool transposed = false;
    for (size_t i = 0; i < n->attrs.count; i++)
        transposed |= n->attrs.items[i].type == GR_ATTR_INT && n->attrs.items[i].i;
    const char *in[] = {n->in.items[0], n->in.items[1]}, *sum = n->in.items[2], **mine = n->in.items;
    size_t to = at;
    if (transposed) in[1] = spell_add_node(s, to++, "Transpose", 1, &in[1], NULL);
    mine[0] = spell_add_node(s, to++, "MatMul", 2, in, NULL);
    mine[1] = sum;
    n = spell_node_at(s, to);
    n->op_type = "Add";
    n->in.count = 2;
    n->attrs = (gr_attrs){0};
    return true;
}

/* A constant input gets a copy of its own, as an initializer or as a Constant node. */
static bool own_constant(speller *s, size_t at)
{
    gr_doc_node *n = spell_node_at(s, at);
    if (!n->in.count) return false;
    const char **slot = &n->in.items[spell_below(s, n->in.count)];
    gr_doc_tensor *t = spell_init_of(s, *slot);
    if (!t || !t->data) return false;
    if (spell_below(s, 2)) return *slot = spell_add_init(s, *t), true;
    gr_attr a = {.name = "value", .type = GR_ATTR_TENSOR, .t = t};
    *slot = spell_add_node(s, at, "Constant", 0, NULL, &a);
    return true;
}

static const spelling ways[] = {{"commute", commute},
                                {"identity", insert_identity},
                                {"cast", insert_cast},
                                {"reshape", insert_reshape},
                                {"transposes", insert_transposes},
                                {"axis", insert_axis},
                                {"dropout", insert_dropout},
                                {"twice", twice},
                                {"reciprocal", by_reciprocal},
                                {"square", square},
                                {"factor", split_factor},
                                {"gemm", ungemm},
                                {"constant", own_constant}};
enum { WAYS = sizeof ways / sizeof *ways };

static const spelling *way_at(size_t i) { return i < WAYS ? &ways[i] : &more_spellings[i - WAYS]; }

/* ---- names and order ---- */

static bool is_outer(speller *s, const char *name)
{
    for (size_t i = 0; i < s->g->in.count; i++)
        if (!strcmp(s->g->in.items[i].name, name)) return true;
    for (size_t i = 0; i < s->g->out.count; i++)
        if (!strcmp(s->g->out.items[i].name, name)) return true;
    return false;
}

static bool has_subgraphs(speller *s)
{
    for (size_t i = 0; i < s->g->nodes.count; i++)
        for (size_t k = 0; k < spell_node_at(s, i)->attrs.count; k++)
            if (spell_node_at(s, i)->attrs.items[k].g && spell_node_at(s, i)->attrs.items[k].type == GR_ATTR_GRAPH)
                return true;
    return false;
}

static void rename_value(speller *s, const char *old, const char *name)
{
    for (size_t i = 0; i < s->g->nodes.count; i++)
        for (size_t k = 0; k < spell_node_at(s, i)->in.count; k++)
            if (!strcmp(spell_node_at(s, i)->in.items[k], old)) spell_node_at(s, i)->in.items[k] = name;
}

/* Subgraphs read outer values by name, so a graph that has any keeps its names. */
static void rename_all(speller *s)
{
    s->g->info.count = 0;
    for (size_t i = 0; i < s->g->nodes.count; i++) {
        gr_doc_node *n = spell_node_at(s, i);
        n->name = "";
        for (size_t k = 0; k < n->out.count; k++) {
            if (!*n->out.items[k] || is_outer(s, n->out.items[k])) continue;
            const char *old = n->out.items[k];
            rename_value(s, old, n->out.items[k] = spell_new_name(s));
        }
    }
    for (size_t i = 0; i < s->g->ninit; i++) {
        if (is_outer(s, s->g->init[i]->name)) continue;
        const char *old = s->g->init[i]->name;
        rename_value(s, old, s->g->init[i]->name = spell_new_name(s));
    }
}

static bool reads(const gr_doc_node *n, const gr_doc_node *maker)
{
    for (size_t i = 0; i < n->in.count; i++)
        for (size_t k = 0; k < maker->out.count; k++)
            if (*maker->out.items[k] && !strcmp(n->in.items[i], maker->out.items[k])) return true;
    return false;
}

/* Exchange neighbours that do not depend on each other, until the order is another one. */
static void shuffle(speller *s)
{
    for (size_t round = 0; round < 8; round++)
        for (size_t i = s->g->nodes.count - 1; i > 0; i--) {
            gr_doc_node *a = spell_node_at(s, i - 1), *b = spell_node_at(s, i), keep = *a;
            if (reads(b, a) || !spell_below(s, 4)) continue;
            *a = *b;
            *b = keep;
        }
}

bool respell(gr_doc *doc, const gr_graph *types, uint32_t *seed, int count, char *what, size_t room)
{
    speller s = {.doc = doc, .g = doc->graph, .types = types, .seed = seed};
    const size_t nways = WAYS + more_spellings_count;
    int counts[WAYS + MORE_SPELLINGS] = {0};
    const char *only = getenv("GR_REWRITE_ONLY");
    size_t used = 0;
    s.capnodes = s.g->nodes.count;
    s.capinit = s.g->ninit;
    for (size_t i = 0; i < doc->opsets.count; i++)
        if (!*doc->opsets.items[i].domain) s.opset = doc->opsets.items[i].version;
    for (int done = 0, tries = 0; done < count && tries < count * 400 && s.g->nodes.count && !s.broke; tries++) {
        size_t way = spell_below(&s, nways);
        if (only && strcmp(way_at(way)->name, only)) continue;
        if (!way_at(way)->apply(&s, spell_below(&s, s.g->nodes.count))) continue;
        counts[way]++;
        done++;
    }
    for (size_t i = 0; i < nways && used < room; i++)
        if (counts[i]) used += (size_t)snprintf(what + used, room - used, " %d %s", counts[i], way_at(i)->name);
    if (!s.broke && !has_subgraphs(&s)) {
        rename_all(&s);
        shuffle(&s);
        for (int i = 0; i < 2; i++) spell_wrap(&s);
    }
    return !s.broke;
}
