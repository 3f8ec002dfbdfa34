/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the queries, keys and values of an attention come from.
 */
#ifndef GR_HEADS_H
#define GR_HEADS_H

#include "match.h"

/* An operand of attention, traced back over scalar factors, the split into heads, the transposition and the repetition
 * of shared heads as far as they are understood. */
typedef struct gr_heads {
    gr_value *v;   /* [batch, tokens, heads * size], that with batch and tokens as one, or split by heads */
    gr_type split; /* [batch, tokens, heads, size] or [batch, heads, tokens, size], as v is taken to be */
    bool by_heads; /* v is [batch, heads, tokens, size] */
    bool lies;     /* v has size before tokens: it must be transposed */
    bool whole;    /* v is [items, tokens, size]: every item is a sample with one head */
    int64_t heads;
    double scale;
} gr_heads;

/* The node of ai.onnx of that operator that makes v, or NULL. */
gr_node *gr_maker(const gr_value *v, const char *op);
/* Whether a Transpose has this order of axes, as "0213". */
bool gr_has_order(const gr_node *n, const char *order);
/* Step back through a few multiplications and divisions by scalars, collecting the factor. */
gr_value *gr_strip_scale(gr_value *v, double *scale);
/* What is [a, b, m, n] of v = [a * b, m, n], or NULL. */
gr_value *gr_unmerged(const gr_value *v);

/* v is an operand of a product of attention: [batch, heads, tokens, size], or [items, tokens, size]; `flipped`: with
 * the last two exchanged. `whole`: do not look how items are made. */
bool gr_heads_of(gr_value *v, bool flipped, bool whole, gr_heads *out);

#endif
