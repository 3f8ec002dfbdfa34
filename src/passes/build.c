/* SPDX-License-Identifier: Apache-2.0
 *
 * Building what rewrites have in common beyond nodes with one output.
 */
#include "build.h"
#include <math.h>

gr_node *gr_build_outputs(gr_build *b, const char *domain, const char *name, gr_attrs attrs, uint32_t nin,
                          gr_value *const *in, uint32_t nout, const char *const *out_names)
{
    const gr_op *op = gr_op_find(domain, name, INT32_MAX, NULL);
    const void *params = NULL;
    if (!op) return gr_err_write(b->err, GR_EUNSUPPORTED, "operator %s is not known", name), NULL;
    if (op->parse && op->parse(attrs, b->g->arena, &params, b->err) != GR_OK) return NULL;
    while (nin && !in[nin - 1]) nin--;
    gr_node *n = gr_graph_node(b->g, op, params, attrs, nin, in, nout, out_names);
    if (!n) return gr_err_write(b->err, GR_ENOMEM, "out of memory"), NULL;
    gr_insert_before(n, b->at);
    return gr_node_infer(n, b->err) == GR_OK ? n : NULL;
}

gr_value *gr_build_reshape(gr_build *b, gr_value *x, int rank, const int64_t *shape)
{
    gr_value *in[] = {x, x ? gr_graph_ints(b->g, "shape", rank, shape) : NULL};
    if (!x) return NULL;
    if (!in[1]) return gr_err_write(b->err, GR_ENOMEM, "out of memory"), NULL;
    return gr_build_node(b, "", "Reshape", (gr_attrs){0}, 2, in);
}

gr_value *gr_build_transpose(gr_build *b, gr_value *x, int rank, const char *order)
{
    int64_t *perm = x ? GR_NEWS(b->g->arena, (size_t)rank, int64_t) : NULL;
    if (!perm) return x ? (gr_err_write(b->err, GR_ENOMEM, "out of memory"), NULL) : NULL;
    for (int i = 0; i < rank; i++) perm[i] = order[i] - '0';
    gr_attr attr = {.name = "perm", .type = GR_ATTR_INTS, .count = (size_t)rank, .ints = perm};
    return gr_build_node(b, "", "Transpose", gr_build_attrs(b, 1, &attr), 1, &x);
}

gr_value *gr_build_unsqueeze(gr_build *b, gr_value *x, int64_t axis)
{
    gr_value *in[] = {x, x ? gr_graph_ints(b->g, "axes", 1, &axis) : NULL};
    if (!x) return NULL;
    if (!in[1]) return gr_err_write(b->err, GR_ENOMEM, "out of memory"), NULL;
    return gr_build_node(b, "", "Unsqueeze", (gr_attrs){0}, 2, in);
}

#define QUICK_GELU 1.702f /* the factor of "quick_gelu" */

const char *gr_activation_name(const gr_node *n)
{
    const char *approximate = "none";
    if (gr_is_named(n, "Relu")) return "relu";
    if (gr_is_named(n, "Tanh")) return "tanh";
    if (gr_is_named(n, "Sigmoid")) return "sigmoid";
    if (gr_is_named(n, "Swish")) {
        float alpha = 0;
        if (gr_attr_float(n->attrs, "alpha", 1, &alpha, NULL) != GR_OK) return NULL;
        return alpha == 1 ? "silu" : fabsf(alpha - QUICK_GELU) < 1e-6f ? "quick_gelu" : NULL;
    }
    if (gr_attr_string(n->attrs, "approximate", "none", &approximate, NULL) != GR_OK) return NULL;
    return !strcmp(approximate, "tanh") ? "gelu_tanh" : "gelu";
}
