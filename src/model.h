/* SPDX-License-Identifier: Apache-2.0
 *
 * A loaded model: its document, the graph that passes made of it, and what all sessions share.
 */
#ifndef GR_MODEL_H
#define GR_MODEL_H

#include "graph/ir.h"
#include "ops/op.h"
#include "passes/pass.h"

/* Which graph of the model: most runs use the plain one. Others are made when first asked for, and kept. */
typedef struct gr_variant {
    bool raw;        /* without passes: every value of the file exists */
    bool by_row;     /* for sessions in bytes: activations that are quantised in the run may be so row by row */
    bool nameless;   /* dimensions with one name may differ, as some files' do */
    gr_doc_names overridden; /* initializers that are fed */
    const char *switch_name; /* an input of type bool that is a constant in this graph; NULL: none */
    bool switch_on;
    const gr_pass_options *passes; /* a graph made for this question alone, with these options; NULL: as for runs */
} gr_variant;

/* The graph of a variant, frozen; owned by the model. Thread-safe. */
gr_status gr_model_graph(gr_model *m, const gr_variant *v, const gr_graph **out, gr_err *err);
gr_packs *gr_model_packs(gr_model *m);
const gr_doc *gr_model_doc(const gr_model *m);
/* Whether the file has an initializer of that name, which may be fed instead. */
bool gr_model_can_override(const gr_model *m, const char *name);
size_t gr_model_mapped_bytes(const gr_model *m);
/* Of documents, graphs and descriptions. Thread-safe. */
size_t gr_model_graph_bytes(gr_model *m);

#endif
