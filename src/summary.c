/* SPDX-License-Identifier: Apache-2.0
 *
 * Counts that describe a model. Modules are told from the names of weights; where an exporter has renamed a weight
 * ("onnx::MatMul_123", "val_48"), from the node that reads it, whose name holds the module's path, or from its bias.
 */
#include "summary.h"
#include "ops/op.h"
#include <stdlib.h>

/* Names are a stranger's: only so many are told apart, the rest is "other". */
enum { NAME_SIZE = 128, MAX_CANDIDATES = 64, MAX_MODULES = 256 };

typedef struct counts {
    size_t n, cap;
    gr_count *items;
} counts;

static gr_status count(gr_arena *arena, counts *c, const char *domain, const char *name, int64_t add, gr_err *err)
{
    for (size_t i = 0; i < c->n; i++)
        if (!strcmp(c->items[i].name, name) && !strcmp(c->items[i].domain, domain)) {
            c->items[i].count += add;
            return GR_OK;
        }
    if (c->n == MAX_MODULES && strcmp(name, "other")) return count(arena, c, "", "other", add, err);
    gr_count *item = GR_PUSH(arena, c->items, c->n, c->cap);
    const char *copy = gr_arena_strdup(arena, name);
    if (!item || !copy) return gr_nomem(err);
    *item = (gr_count){domain, copy, add};
    return GR_OK;
}

static int by_count(const void *a, const void *b)
{
    const gr_count *x = a, *y = b;
    if (x->count != y->count) return x->count > y->count ? -1 : 1;
    return strcmp(x->name, y->name);
}

static gr_status count_ops(const gr_graph *g, gr_arena *arena, counts *c, gr_err *err)
{
    for (const gr_node *n = g->first; n; n = n->next) {
        GR_TRY(count(arena, c, n->op->domain ? n->op->domain : "", n->op->name, 1, err));
        for (uint32_t i = 0; i < n->nsubgraphs; i++) GR_TRY(count_ops(n->subgraphs[i], arena, c, err));
    }
    return GR_OK;
}

/* ---- modules ---- */

typedef struct weight {
    char path[NAME_SIZE]; /* "bert.embeddings.word_embeddings.weight" */
    int64_t elements;
} weight;

bool gr_is_weight(const gr_value *v)
{
    gr_dtype t = v->konst->dtype;
    if (v->def || !v->nuses) return false;
    if (gr_dtype_is_float(t)) return v->konst->rank >= 1 && (v->konst->elements > 1 || strchr(v->name, '.'));
    return (t == GR_INT8 || t == GR_UINT8 || t == GR_INT4 || t == GR_UINT4) && v->konst->rank >= 2;
}

/* "/encoder/layer.0/output/dense/MatMul" -> "encoder.layer.0.output.dense" */
static void path_of_node(const char *name, char *out)
{
    size_t n = 0;
    while (*name == '/') name++;
    for (; *name && n < NAME_SIZE - 1; name++) out[n++] = *name == '/' ? '.' : *name;
    out[n] = 0;
    char *last = strrchr(out, '.');
    if (last) *last = 0;
}

static bool is_renamed(const char *name) { return !strncmp(name, "onnx::", 6) || !strchr(name, '.'); }

/* The constant that is added to what a weight makes: its layer's bias, which exporters leave its name. */
static const gr_value *bias_of(const gr_value *weight)
{
    const gr_value *product = gr_out(weight->uses->user, 0);
    const gr_node *add = product && product->uses ? product->uses->user : NULL;
    if (!add || !gr_is_named(add, "Add")) return NULL;
    const gr_value *bias = gr_in(add, gr_in(add, 0) == product);
    return bias && bias->konst && !is_renamed(bias->name) ? bias : NULL;
}

static void path_of(const gr_value *v, char *out)
{
    const char *name = v->name, *user = v->uses->user->name;
    if (is_renamed(name) && user && strchr(user, '/')) {
        path_of_node(user, out);
        return;
    }
    if (is_renamed(name) && bias_of(v)) name = bias_of(v)->name;
    size_t n = strlen(name);
    if (n > NAME_SIZE - 1) n = NAME_SIZE - 1;
    memcpy(out, name, n);
    out[n] = 0;
}

static size_t component(const char *path) { return strcspn(path, "."); }

/* The first component of all paths is dropped if most weights share it and there are several parts under it: "bert."
 * before "embeddings" and "encoder" says nothing. */
static const char *common_first(const weight *w, size_t n, int64_t total)
{
    for (size_t i = 0; i < n && i < MAX_CANDIDATES; i++) {
        size_t length = component(w[i].path);
        if (!w[i].path[length]) continue;
        const char *child = w[i].path + length + 1;
        int64_t under = 0;
        bool several = false;
        for (size_t j = 0; j < n; j++) {
            if (component(w[j].path) != length || memcmp(w[j].path, w[i].path, length) || !w[j].path[length]) continue;
            under += w[j].elements;
            const char *other = w[j].path + length + 1;
            several |= component(other) != component(child) || memcmp(other, child, component(child));
        }
        /* Parts called 0, 1, 2 are layers of a stack, not parts of a model. */
        if (under * 2 > total && several && (child[0] < '0' || child[0] > '9')) return w[i].path;
    }
    return NULL;
}

static void drop_common(weight *w, size_t n, int64_t total)
{
    char first[NAME_SIZE];
    const char *found = common_first(w, n, total);
    static const char *const parts[] = {"embeddings", "encoder", "decoder", "pooler", "layer"};
    if (!found) return;
    size_t length = component(found);
    memcpy(first, found, length);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strlen(parts[i]) == length && !memcmp(parts[i], first, length)) return;
    for (size_t i = 0; i < n; i++)
        if (component(w[i].path) == length && !memcmp(w[i].path, first, length) && w[i].path[length])
            memmove(w[i].path, w[i].path + length + 1, strlen(w[i].path + length + 1) + 1);
}

static gr_status count_modules(const gr_graph *g, gr_arena *arena, gr_model_summary *out, gr_err *err)
{
    size_t n = 0, cap = 0;
    weight *w = NULL;
    counts modules = {0};
    int64_t elements[GR_INT2 + 1] = {0}; /* by type */
    bool *seen = GR_NEWS(arena, g->nvalues, bool);
    if (!seen) return gr_nomem(err);
    for (const gr_node *node = g->first; node; node = node->next)
        for (uint32_t i = 0; i < node->nin; i++) {
            const gr_value *v = gr_in(node, i);
            if (!v || !v->konst || seen[v->id] || !gr_is_weight(v)) continue;
            seen[v->id] = true;
            weight *next = GR_PUSH(arena, w, n, cap);
            if (!next) return gr_nomem(err);
            next->elements = v->konst->elements;
            path_of(v, next->path);
            out->parameters += v->konst->elements;
            out->weight_bytes += (int64_t)v->konst->size;
            elements[v->konst->dtype] += v->konst->elements;
        }
    for (int t = 0; t <= GR_INT2; t++)
        if (gr_dtype_is_float(t) && elements[t] > elements[out->weight_type]) out->weight_type = (gr_dtype)t;
    drop_common(w, n, out->parameters);
    for (size_t i = 0; i < n; i++) {
        w[i].path[component(w[i].path)] = 0;
        GR_TRY(count(arena, &modules, "", w[i].path, w[i].elements, err));
    }
    out->parameter_count_by_module = modules.n;
    out->modules = modules.items;
    return GR_OK;
}

gr_status gr_summary_file(const gr_doc *doc, const gr_graph *g, gr_arena *arena, gr_model_summary *out, gr_err *err)
{
    counts ops = {0};
    gr_count *opsets = GR_NEWS(arena, doc->opsets.count, gr_count);
    if (!opsets) return gr_nomem(err);
    *out = (gr_model_summary){.ir_version = doc->ir_version,
                              .producer_name = doc->producer_name ? doc->producer_name : "",
                              .producer_version = doc->producer_version ? doc->producer_version : "",
                              .graph_name = doc->graph->name ? doc->graph->name : "",
                              .opset_count = doc->opsets.count,
                              .opsets = opsets};
    for (size_t i = 0; i < doc->opsets.count; i++)
        opsets[i] = (gr_count){doc->opsets.items[i].domain ? doc->opsets.items[i].domain : "", NULL,
                               doc->opsets.items[i].version};
    GR_TRY(count_ops(g, arena, &ops, err));
    if (ops.n) qsort(ops.items, ops.n, sizeof *ops.items, by_count);
    out->op_count = ops.n;
    out->ops = ops.items;
    return count_modules(g, arena, out, err);
}

/* Of the graph itself; what only shapes its input anew is no step. */
static int64_t layer_steps(const gr_graph *g)
{
    int64_t most = 0, since = -1;
    for (const gr_node *n = g->first; n; n = n->next) {
        const bool attention = n->op->domain && !strcmp(n->op->domain, "graphrun") && gr_is_named(n, "Attention");
        if (attention && since > most) most = since;
        if (attention) since = 0;
        since += since >= 0 && !(n->op->flags & GR_OP_VIEW);
    }
    return most;
}

gr_status gr_summary_steps(const gr_graph *g, gr_arena *arena, gr_model_summary *out, gr_err *err)
{
    counts steps = {0};
    GR_TRY(count_ops(g, arena, &steps, err));
    if (steps.n) qsort(steps.items, steps.n, sizeof *steps.items, by_count);
    out->step_count = steps.n;
    out->steps = steps.items;
    out->layer_steps = layer_steps(g);
    return GR_OK;
}
