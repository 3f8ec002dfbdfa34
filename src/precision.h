/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a model can be computed in bfloat16: asked with inputs that somebody runs it on.
 */
#ifndef GR_PRECISION_H
#define GR_PRECISION_H

#include "model.h"

/* BF16 if the CPU multiplies such numbers and all outputs of a run on these inputs, in sessions with these options, point
 * into nearly the same direction as in floats, row by row; else F32. The options' log is told. Weights that are packed
 * in floats for that are freed again. */
gr_status gr_precision_choose(gr_model *model, const gr_session_options *options, const gr_named_tensor *inputs,
                              size_t nin, const gr_named_tensor *outputs, size_t nout, gr_precision *out, gr_err *err);

#endif
