/* SPDX-License-Identifier: Apache-2.0
 *
 * Run one operator on concrete tensors: infer, choose a kernel, allocate, run. Constant folding, values that depend on
 * shapes only, nodes whose shape depends on data, and bodies of If, Loop and Scan go through here; so do unit tests.
 */
#ifndef GR_EVAL_H
#define GR_EVAL_H

#include "ops/op.h"

/* A turn costs some microseconds: a loop that never ends is found out in less than a second. */
#define GR_MAX_TURNS 131072

typedef struct gr_exec {          /* limits of one run */
    size_t max_bytes;             /* of all live outputs; 0: none */
    size_t live_bytes;
    int64_t max_iterations;       /* of all loops together; 0: GR_MAX_TURNS */
    int64_t iterations;           /* so far */
    const volatile int *cancel;   /* NULL: cannot be cancelled */
    int threads;
    gr_packs *packs;
    gr_precision precision;
} gr_exec;

/* A tensor of its own (data 64-byte aligned, contents undefined); NULL if out of memory. Free with gr_tensor_free. */
gr_tensor *gr_tensor_new(gr_dtype dtype, int rank, const int64_t *dims);
void gr_tensor_free(gr_tensor *t);
/* Contents of a small integer or bool tensor as symbolic integers; NULL if it is not one (or out of memory). */
const gr_ivals *gr_ivals_of(gr_arena *arena, const gr_tensor *t);
gr_tensor *gr_tensor_copy(const gr_tensor *t);
/* A sequence with room for `count` items, which it owns once they are there; NULL if out of memory. */
gr_tensor *gr_sequence_new(gr_dtype dtype, size_t count);
/* A constant as its value says it is: t itself, or, where it is stored in 16 bits and `dtype` is float, a copy in the
 * arena; NULL if out of memory. */
gr_tensor *gr_tensor_as(gr_arena *arena, gr_tensor *t, gr_dtype dtype);

/* For a run function of a GR_OP_DYNAMIC operator: give output o its shape and memory, when inference could not. */
gr_status gr_out_alloc(const gr_step *s, uint32_t o, int rank, const int64_t *dims, gr_err *err);
/* The same for a sequence: room for `count` items, which the caller fills with tensors that the sequence then owns. */
gr_status gr_out_sequence(const gr_step *s, uint32_t o, size_t count, gr_err *err);
/* Item i of output o: a tensor that is made for it, or a copy of one. It counts against the limits. */
gr_status gr_out_item(const gr_step *s, uint32_t o, size_t i, gr_dtype dtype, int rank, const int64_t *dims, gr_err *err);
gr_status gr_out_item_copy(const gr_step *s, uint32_t o, size_t i, const gr_tensor *x, gr_err *err);

/* Output o is what x is: a tensor, a sequence or an empty optional. */
gr_status gr_out_same(const gr_step *s, uint32_t o, const gr_tensor *x, gr_err *err);

/* Put "node 'x' (Softmax): " before the sentence in err. */
gr_status gr_fail_at(const gr_op *op, const char *node_name, gr_status status, gr_err *err);

/* On success out[i] is a new tensor of the caller's (NULL where `wanted` is given and false). `kernel` names one kernel of the list, NULL: by dispatch. On GR_EUNSUPPORTED from a named
 * kernel that declines, err says why. */
gr_status gr_eval(gr_exec *exec, const gr_op *op, const void *params, const gr_node *node, const char *kernel,
                  uint32_t nin, const gr_tensor *const *in, uint32_t nout, const bool *wanted, gr_tensor **out,
                  gr_err *err);

/* Run a subgraph on concrete tensors: `in` are its inputs, captured ones included; out[i] are new tensors. */
gr_status gr_eval_graph(gr_exec *exec, const gr_graph *g, const gr_tensor *const *in, gr_tensor **out, gr_err *err);

#endif
