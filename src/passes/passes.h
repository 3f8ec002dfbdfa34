/* SPDX-License-Identifier: Apache-2.0
 *
 * The passes, one per file of this name.
 */
#ifndef GR_PASSES_H
#define GR_PASSES_H

#include "pass.h"

gr_status gr_pass_dead(gr_graph *g, int *hits, gr_err *err);           /* nodes that nothing needs, and folded ones */
gr_status gr_pass_inline_if(gr_graph *g, int *hits, gr_err *err);      /* If with a known condition */
gr_status gr_pass_split_sequence(gr_graph *g, int *hits, gr_err *err);
gr_status gr_pass_widen(gr_graph *g, int *hits, gr_err *err);          /* float16 and bfloat16 to float */
gr_status gr_pass_parts(gr_graph *g, int *hits, gr_err *err);          /* operators that are put together from others */
gr_status gr_pass_noop(gr_graph *g, int *hits, gr_err *err);           /* operators that change nothing */
gr_status gr_pass_chains(gr_graph *g, int *hits, gr_err *err);         /* views, orders and factors in a row */
gr_status gr_pass_einsum(gr_graph *g, int *hits, gr_err *err);         /* as products of matrices */
gr_status gr_pass_duplicates(gr_graph *g, int *hits, gr_err *err);     /* weights with equal contents */
gr_status gr_pass_common(gr_graph *g, int *hits, gr_err *err);         /* equal nodes on equal inputs */
gr_status gr_pass_reshape(gr_graph *g, int *hits, gr_err *err);        /* shape arithmetic out of the graph */
gr_status gr_pass_expand(gr_graph *g, int *hits, gr_err *err);         /* operands keep their small shape */
gr_status gr_pass_mask_sizes(gr_graph *g, int *hits, gr_err *err);     /* one bias for one mask */
gr_status gr_pass_quant_operators(gr_graph *g, int *hits, gr_err *err); /* operators on codes as pairs, for int8 sessions */
gr_status gr_pass_quant_pairs(gr_graph *g, int *hits, gr_err *err);    /* activations to codes and back, for int8 sessions */
gr_status gr_pass_quant_weights(gr_graph *g, int *hits, gr_err *err);  /* weights of few bits in one spelling */
gr_status gr_pass_quant_nbits(gr_graph *g, int *hits, gr_err *err);    /* MatMulNBits as linear layers */
gr_status gr_pass_layer_norm(gr_graph *g, int *hits, gr_err *err);
gr_status gr_pass_norm_parts(gr_graph *g, int *hits, gr_err *err);     /* LayerNorm piece by piece */
gr_status gr_pass_gelu(gr_graph *g, int *hits, gr_err *err);
gr_status gr_pass_quant(gr_graph *g, int *hits, gr_err *err);          /* products of codes as linear layers */
gr_status gr_pass_sentence(gr_graph *g, int *hits, gr_err *err);       /* mean over kept tokens, rows of length 1 */
gr_status gr_pass_linear(gr_graph *g, int *hits, gr_err *err);         /* MatMul or Gemm with bias */
gr_status gr_pass_linear_activation(gr_graph *g, int *hits, gr_err *err);
gr_status gr_pass_attention(gr_graph *g, int *hits, gr_err *err);
gr_status gr_pass_attention_rows(gr_graph *g, int *hits, gr_err *err);
gr_status gr_pass_projections(gr_graph *g, int *hits, gr_err *err);    /* Q, K and V in one step */
gr_status gr_pass_linear_residual(gr_graph *g, int *hits, gr_err *err);
gr_status gr_pass_quant_residual(gr_graph *g, int *hits, gr_err *err);
gr_status gr_pass_quant_rows(gr_graph *g, int *hits, gr_err *err);     /* scales of rows, for int8 sessions */
gr_status gr_pass_embeddings(gr_graph *g, int *hits, gr_err *err);     /* rows of tables, summed and normalised */
gr_status gr_pass_add_layer_norm(gr_graph *g, int *hits, gr_err *err); /* residual into LayerNormalization */

#endif
