/* SPDX-License-Identifier: Apache-2.0
 *
 * What operators with graphs inside them share (control.c).
 */
#ifndef GR_CONTROL_H
#define GR_CONTROL_H

#include "exec/eval.h"

typedef struct gr_scan_params {
    int64_t inputs;
    int64_t nin_dir, nout_dir, nin_axes, nout_axes;
    const int64_t *in_dir, *out_dir, *in_axes, *out_axes;
} gr_scan_params;

/* Run the subgraph g of a step on `n` values of its own and the step's captured ones; out[i] are new tensors, which
 * count among the run's live bytes until they are dropped. */
gr_status gr_control_run(const gr_step *s, const gr_graph *g, const gr_tensor *const *own, size_t n, gr_tensor **out,
                         gr_err *err);
void gr_control_drop(const gr_step *s, gr_tensor *t);
/* Slice `at` of t along an axis, without that axis; a new tensor, NULL if out of memory. */
gr_tensor *gr_control_slice(const gr_tensor *t, int axis, int64_t at);

#endif
