/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators that are put together from others. Such an operator has a function `body` in its row instead of kernels of
 * its own: it writes the nodes that compute the outputs. The pass `parts` lets it write them into the model's graph,
 * where other passes see them; where that cannot be done (ranks that the file leaves open, passes switched off, one
 * node by itself), GR_BODY_KERNELS plan the body as a small graph for the step's shapes. Inference can be derived from
 * the body too.
 */
#ifndef GR_BODY_H
#define GR_BODY_H

#include "ops/op.h"

typedef struct gr_body {
    gr_graph *g;
    gr_node *at;      /* new nodes stand before it, or at the end if it is NULL */
    const char *name; /* of the new nodes */
    const void *params;
    uint32_t nin, nout;
    gr_value **in; /* NULL: absent; those beyond nin too, see gr_body_in */
    const bool *wanted;
    gr_value **out; /* to be set where wanted; there is room for the first in any case */
    gr_err *err;
    gr_status status; /* of the first failure; from then on nothing is built */
    bool open;        /* the body depends on something that is not known yet */
} gr_body;

static inline gr_value *gr_body_in(const gr_body *b, uint32_t i) { return i < b->nin ? b->in[i] : NULL; }
static inline bool gr_body_wants(const gr_body *b, uint32_t o) { return o < b->nout && b->wanted[o]; }
/* Rank of a value; if it is not known the body is left open (and the caller returns). */
int gr_body_rank(gr_body *b, const gr_value *v);
/* Dimension d of a value with that rank, which must be a number; likewise. */
int64_t gr_body_dim(gr_body *b, const gr_value *v, int d);
/* Type of a value's elements; likewise. */
gr_dtype gr_body_dtype(gr_body *b, const gr_value *v);

/* A node of the newest version of an operator ("Add", "graphrun.Linear") with `nout` outputs, of which the first is
 * returned and all are written to `out` if that is not NULL. NULL inputs at the end are left out. The result is NULL
 * after a failure, and building may go on with it. */
gr_value *gr_body_node(gr_body *b, const char *op, gr_attrs attrs, uint32_t nin, gr_value *const *in, uint32_t nout,
                       gr_value **out);
#define GR_BODY_NODE(b, op, attrs, ...)                                                                                \
    gr_body_node((b), (op), (attrs), sizeof((gr_value *[]){__VA_ARGS__}) / sizeof(gr_value *),                         \
                 (gr_value *[]){__VA_ARGS__}, 1, NULL)
#define GR_NO_ATTRS   ((gr_attrs){0, NULL})
#define GR_ATTRS(...) ((gr_attrs){sizeof((gr_attr[]){__VA_ARGS__}) / sizeof(gr_attr), (gr_attr[]){__VA_ARGS__}})
#define GR_INT_ATTR(n, v)                                                                                              \
    {                                                                                                                  \
        .name = (n), .type = GR_ATTR_INT, .i = (v)                                                                     \
    }
#define GR_FLOAT_ATTR(n, v)                                                                                            \
    {                                                                                                                  \
        .name = (n), .type = GR_ATTR_FLOAT, .f = (v)                                                                   \
    }
#define GR_STRING_ATTR(n, v)                                                                                           \
    {                                                                                                                  \
        .name = (n), .type = GR_ATTR_STRING, .s = {(v), strlen(v) }                                                    \
    }

/* Constants: a list of integers, a float or int32 of rank 0. */
gr_value *gr_body_ints(gr_body *b, int64_t n, const int64_t *v);
gr_value *gr_body_float(gr_body *b, float x);
gr_value *gr_body_int32(gr_body *b, int32_t x);
/* Elements [first, first + n) of a vector; of a constant one without a node. */
gr_value *gr_body_part(gr_body *b, gr_value *v, int64_t first, int64_t n);
/* v in another shape, as Reshape has it: 0 keeps a dimension, -1 is what is left. */
gr_value *gr_body_reshape(gr_body *b, gr_value *v, int64_t n, const int64_t *shape);
gr_value *gr_body_transpose(gr_body *b, gr_value *v, int64_t n, const int64_t *perm);
/* Pieces of these sizes along an axis. */
void gr_body_split(gr_body *b, gr_value *v, int64_t axis, int64_t n, const int64_t *sizes, gr_value **out);

/* For rows of operators with a body. */
gr_status gr_body_infer(const gr_infer *c, gr_err *err);
bool gr_body_prepare(gr_step *s, gr_why *why);
gr_status gr_body_run(const gr_step *s, gr_err *err);
void gr_body_release(gr_step *s);
extern const gr_kernel gr_body_kernels[];
/* A row of com.microsoft. */
#define GR_CONTRIB_ROW(name_, least, most, outputs, parse_, body_)                                                     \
    {                                                                                                                  \
        .name = name_, .since = 1, .in = {least, most}, .out = outputs, .parse = parse_, .infer = gr_body_infer,       \
        .kernels = gr_body_kernels, .body = body_, .domain = "com.microsoft"                                           \
    }

#endif
