/* SPDX-License-Identifier: Apache-2.0
 *
 * Counts that describe a model: operators, opsets, parameters by module.
 */
#ifndef GR_SUMMARY_H
#define GR_SUMMARY_H

#include "graph/ir.h"

/* What is in the file, from its document and the graph before any pass. */
gr_status gr_summary_file(const gr_doc *doc, const gr_graph *g, gr_arena *arena, gr_model_summary *out, gr_err *err);
/* What is left after the passes. */
gr_status gr_summary_steps(const gr_graph *g, gr_arena *arena, gr_model_summary *out, gr_err *err);
/* Whether a constant that nodes read counts as a weight of the model. */
bool gr_is_weight(const gr_value *v);

#endif
