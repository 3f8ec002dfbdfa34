/* SPDX-License-Identifier: Apache-2.0
 *
 * Nodes that several rewrites build. As with gr_build_node NULL means failed, and b->err says why; NULL as x gives
 * NULL.
 */
#ifndef GR_BUILD_H
#define GR_BUILD_H

#include "match.h"

/* A new node with several outputs; names as for gr_graph_node ("": absent; NULL: all are there). */
gr_node *gr_build_outputs(gr_build *b, const char *domain, const char *op, gr_attrs attrs, uint32_t nin,
                          gr_value *const *in, uint32_t nout, const char *const *out_names);
gr_value *gr_build_reshape(gr_build *b, gr_value *x, int rank, const int64_t *shape);
/* Axes in the order "0213". */
gr_value *gr_build_transpose(gr_build *b, gr_value *x, int rank, const char *order);
gr_value *gr_build_unsqueeze(gr_build *b, gr_value *x, int64_t axis);

/* The value of the attribute `activation` of linear layers that a node of one input stands for; NULL: none. */
const char *gr_activation_name(const gr_node *n);

#endif
