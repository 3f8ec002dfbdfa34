/* SPDX-License-Identifier: Apache-2.0
 *
 * Function bodies in ONNX's textual syntax. An operator that ONNX (or a file's opset) does not have says in its row's
 * hook `function` what one node of it comes to in operators that are there: for the node's attributes, the inputs and
 * outputs that exist, their types, and the opset. lower.c puts such bodies in the place of nodes when a graph is saved
 * for others; they are also the operator's documentation.
 *
 *     gr_spell_begin(s, "x, w, b", "y");
 *     gr_spell_node(s, "product = MatMul (x, w)");
 *     gr_spell_node(s, "y = Add (product, b)");
 */
#ifndef GR_SPELL_H
#define GR_SPELL_H

#include "ops/op.h"

typedef struct gr_spell {
    gr_arena *arena; /* for what a hook needs while it runs, and for the text */
    const gr_node *node;
    const gr_type *const *in, *const *out; /* NULL: absent */
    uint32_t nin, nout;
    int64_t opset; /* of ai.onnx, that the body may use */
    char *text;
    size_t used, room;
    bool failed; /* out of memory */
    gr_err *err;
} gr_spell;

/* What writes bodies: an operator's hook, or what takes its place for a certain reader. Anything but GR_OK: the node
 * cannot be written so, for the reason in s->err. */
typedef gr_status (*gr_spell_fn)(gr_spell *s);

static inline const gr_type *gr_spell_in(const gr_spell *s, uint32_t i) { return i < s->nin ? s->in[i] : NULL; }
static inline bool gr_spell_wants(const gr_spell *s, uint32_t o) { return o < s->nout && s->out[o]; }
/* Rank of an input, GR_RANK_UNKNOWN if it is absent or not known; dimension d of it (from the end if negative), -1 if
 * it is not a known number; its element type. */
int gr_spell_rank(const gr_spell *s, uint32_t i);
int64_t gr_spell_dim(const gr_spell *s, uint32_t i, int d);
gr_dtype gr_spell_dtype(const gr_spell *s, uint32_t i);

/* The head: names of all inputs and outputs that the operator can have, in their order, apart by ", ". A body must not
 * read an absent input and need not set an absent output. */
void gr_spell_begin(gr_spell *s, const char *inputs, const char *outputs);
/* One node. Values may be called as one likes. */
void gr_spell_node(gr_spell *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Constants: one float of an element type, and a list of int64. */
void gr_spell_float(gr_spell *s, const char *name, gr_dtype dtype, double x);
void gr_spell_ints(gr_spell *s, const char *name, int64_t n, const int64_t *v);

/* ---- Spellings that differ between opsets, or that several operators share ---- */

/* y = Op(x, axes), for the operators whose axes were an attribute first: Squeeze, Unsqueeze, ReduceMean, ... */
void gr_spell_axes(gr_spell *s, const char *y, const char *op, const char *x, int64_t n, const int64_t *axes);
/* y = x[begin : end] along an axis */
void gr_spell_slice(gr_spell *s, const char *y, const char *x, int64_t axis, const char *begin, const char *end);
/* n = the length of an axis of x as int64[1] */
void gr_spell_length(gr_spell *s, const char *n, const char *x, int64_t axis);
/* y = activation(x): "" (which is Identity), "gelu", "gelu_tanh", "relu", "tanh", "sigmoid", "silu", "quick_gelu" */
void gr_spell_activation(gr_spell *s, const char *y, const char *activation, const char *x, gr_dtype dtype);
/* y = LayerNormalization(x, scale, bias) from `axis` (negative) to the last; bias may be NULL. */
typedef struct gr_spell_norm {
    const char *x, *scale, *bias;
    gr_dtype from, to; /* element types of x, and of scale and y */
    int64_t axis;
    float epsilon;
    bool rms; /* without the mean */
} gr_spell_norm;
void gr_spell_layer_norm(gr_spell *s, const char *y, const gr_spell_norm *n);
/* Attributes axis (made negative; false with a sentence if the rank is needed for that and not known) and epsilon. */
gr_status gr_spell_norm_attrs(gr_spell *s, gr_spell_norm *n);

/* ---- Hooks that are too long for their operator's file (spell_attention.c) ---- */
gr_status gr_spell_attention(gr_spell *s);
gr_status gr_spell_attention_bias(gr_spell *s);

/* ---- Reading them ---- */

/* The text of a node's body as `fn` writes it, in the arena. */
gr_status gr_spell_text(const gr_node *n, gr_spell_fn fn, int64_t opset, gr_arena *arena, const char **out,
                        gr_err *err);

#endif
