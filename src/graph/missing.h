/* SPDX-License-Identifier: Apache-2.0
 *
 * Graphs of files that need operators which are missing: they can be looked at and not run.
 */
#ifndef GR_MISSING_H
#define GR_MISSING_H

#include "ops/op.h"

/* As gr_graph_build, with a stand-in for each operator that is missing. What a stand-in makes is taken to have the type
 * of its first input; running it fails with a sentence. */
gr_status gr_graph_build_all(const gr_doc *doc, gr_arena *arena, gr_graph **out, gr_err *err);

/* A stand-in for an operator; NULL: out of memory. The names are not copied. */
const gr_op *gr_missing_op(gr_arena *arena, const char *domain, const char *name);
bool gr_is_missing(const gr_node *n);

#endif
