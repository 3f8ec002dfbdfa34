/* SPDX-License-Identifier: Apache-2.0
 *
 * Linear layers of one x that the same attention reads become one step with as many outputs: Q, K and V of
 * self-attention, K and V of cross-attention. Weights are not touched. Requires attention and linear-residual.
 */
#include "match.h"
#include "pass.h"
#include "passes.h"

enum { READ = 3 }; /* inputs of attention: queries, keys, values */

static bool is_fused(const gr_node *n, const char *name)
{
    return n && n->op->domain && !strcmp(n->op->domain, "graphrun") && gr_is_named(n, name);
}

/* The layer that makes v, if it is nothing but x W + b. */
static gr_node *plain_layer(const gr_value *v)
{
    const char *activation = "";
    gr_node *n = v && !v->konst ? v->def : NULL;
    if (!is_fused(n, "Linear") && !gr_is_op(n, "MatMul")) return NULL;
    const gr_value *x = gr_in(n, 0), *w = gr_in(n, 1);
    if (gr_in(n, 3) || !w->konst || w->type.rank != 2 || x->konst || x->type.rank < 2 || x->type.dtype != GR_FLOAT)
        return NULL;
    return gr_attr_string(n->attrs, "activation", "", &activation, NULL) == GR_OK && !*activation ? n : NULL;
}

static int64_t transposed(const gr_node *n)
{
    int64_t t = 0;
    return gr_attr_int(n->attrs, "transB", 0, &t, NULL) == GR_OK ? t : 0;
}

static bool goes_with(const gr_node *a, const gr_node *b)
{
    return a && b && a != b && gr_in(a, 0) == gr_in(b, 0) && transposed(a) == transposed(b);
}

/* The first of the layers in the graph's order (they depend on x only, so all may stand there); NULL if they stand too
 * far apart to be meant together. */
static gr_node *first_of(gr_node *const *layers, uint32_t count)
{
    enum { FAR = 1024 };
    gr_node *at[READ];
    uint32_t met[READ] = {0};
    memcpy(at, layers, count * sizeof *at);
    for (int step = 0; step < FAR; step++)
        for (uint32_t i = 0; i < count; i++) {
            at[i] = at[i] ? at[i]->next : NULL;
            for (uint32_t k = 0; k < count; k++) met[i] += at[i] == layers[k];
            if (met[i] == count - 1) return layers[i];
        }
    return NULL;
}

static gr_status merge(gr_node *const *layers, uint32_t count, bool *done, gr_err *err)
{
    gr_graph *g = layers[0]->graph;
    gr_build b = {g, first_of(layers, count), err};
    gr_attr attr = gr_attr_of_int("transB", transposed(layers[0]));
    gr_value *in[1 + 2 * READ] = {gr_in(layers[0], 0)};
    uint32_t nin = 1 + 2 * count;
    const void *params = NULL;
    const gr_op *op = gr_op_find("graphrun", "Projections", 1, NULL);
    gr_attrs attrs = gr_build_attrs(&b, 1, &attr);
    for (uint32_t i = 0; i < count; i++) {
        in[1 + 2 * i] = gr_in(layers[i], 1);
        in[2 + 2 * i] = gr_in(layers[i], 2);
    }
    while (!in[nin - 1]) nin--;
    if (!b.at) return GR_OK;
    *done = true;
    GR_TRY(op->parse(attrs, g->arena, &params, err));
    gr_node *n = attrs.count ? gr_graph_node(g, op, params, attrs, nin, in, count, NULL) : NULL;
    if (!n) return gr_nomem(err);
    gr_insert_before(n, b.at);
    GR_TRY(gr_node_infer(n, err));
    for (uint32_t i = 0; i < count; i++) {
        gr_value *old = layers[i]->out[0];
        gr_replace_uses(old, n->out[i]);
        gr_take_name(n->out[i], old);
    }
    n->name = layers[0]->name;
    for (uint32_t i = 0; i < count; i++) gr_erase(layers[i]);
    return GR_OK;
}

gr_status gr_pass_projections(gr_graph *g, int *hits, gr_err *err)
{
    for (gr_node *n = g->first; n && !gr_pass_stopped(g); n = n->next) {
        gr_node *layers[READ];
        uint32_t count = 0;
        if (!is_fused(n, "Attention")) continue;
        /* The values' partners: with cross-attention queries come from elsewhere. */
        gr_node *value = plain_layer(gr_in(n, 2));
        for (uint32_t i = 0; i < 2; i++) {
            gr_node *layer = plain_layer(gr_in(n, i));
            if (goes_with(layer, value) && !(count && layers[0] == layer)) layers[count++] = layer;
        }
        if (!count) continue;
        layers[count++] = value;
        bool done = false;
        GR_TRY(merge(layers, count, &done, err));
        *hits += done;
    }
    return GR_OK;
}
