/* SPDX-License-Identifier: Apache-2.0
 *
 * What the operators and the kernels of attention share: parameters, where operands have their heads, which keys a
 * query may see. The operators are in ops/attention.c, which says what is computed; each kernel has a file of its own.
 */
#ifndef GR_ATTENTION_H
#define GR_ATTENTION_H

#include "ops/op.h"

enum { QUERY, KEY, VALUE, MASK, PAST_KEY, PAST_VALUE, VALID, FACTORS }; /* inputs; the last one of the fused operator */
enum { Y, PRESENT_KEY, PRESENT_VALUE, SCORES };                         /* outputs */
enum gr_att_mode { RAW, CAPPED, BIASED, PROBABILITIES };

typedef struct gr_att_params {
    bool fused;
    bool zero_empty; /* a query that sees no key gives zeros, not NaN */
    bool causal;
    bool pads_mask;          /* a mask of one column is short, not repeated (from opset 24 on) */
    int64_t heads, kv_heads; /* of 3-D inputs; 0: not given */
    float scale, softcap;
    bool scaled;         /* scale is given, else it is 1 / sqrt(size of a head) */
    int64_t left, right; /* window; -1: unbounded */
    enum gr_att_mode mode;
    gr_dtype precision; /* of the softmax; GR_UNDEFINED: that of q */
} gr_att_params;

/* Where an operand has its heads, as strides in elements; elements of a head are contiguous. */
typedef struct gr_att_place {
    int64_t batch, head, token;
} gr_att_place;

typedef struct gr_att_layout {
    int64_t batch, heads, kv_heads, queries, keys, past, total, head, v_head;
    gr_att_place q, k, v, y;    /* k and v without the past */
    int64_t factors[4];         /* strides */
    int64_t mask[4], mask_keys; /* strides, and keys that the mask has an entry for (others may not be seen) */
    double scale;
} gr_att_layout;

gr_att_layout gr_att_layout_of(const gr_step *s);

typedef struct gr_att_span {
    int64_t begin, end;
} gr_att_span;
/* Keys [begin, end) that causality, window and padding leave for a query. */
gr_att_span gr_att_visible(const gr_step *s, const gr_att_layout *l, int64_t b, int64_t query);

/* What mask and parameters leave for a query: no key outside of [begin, end) has weight, and if it is plain, the scores
 * of those within stay as they are. A query that sees no key is not plain unless begin is end. */
typedef struct gr_att_seen {
    int64_t begin, end;
    bool plain;
} gr_att_seen;
gr_att_seen gr_att_look(const gr_step *s, const gr_att_layout *l, int64_t b, int64_t h, int64_t query);
/* Whether the numbers of keys that an input gives are those of the operands. */
gr_status gr_att_check_valid(const gr_step *s, const gr_att_layout *l, gr_err *err);

/* Past and new rows behind each other: present[b, h, t], with elements of `bytes` bytes; the second one to the output
 * for them, if it is wanted. */
void gr_att_concatenate(const gr_att_layout *l, const gr_tensor *past, const gr_tensor *now, gr_att_place at,
                        int64_t size, size_t bytes, void *present);
void gr_att_write_present(const gr_step *s, const gr_att_layout *l, uint32_t o, uint32_t past, uint32_t now,
                          gr_att_place at, int64_t size);

/* Kernels. `ref` rounds every tensor of ONNX's function body to the type that it has there. */
bool gr_att_ref_prepare(gr_step *s, gr_why *why);
gr_status gr_att_ref_run(const gr_step *s, gr_err *err);
bool gr_att_tiled_prepare(gr_step *s, gr_why *why);
gr_status gr_att_tiled_run(const gr_step *s, gr_err *err);

#endif
