/* SPDX-License-Identifier: Apache-2.0
 *
 * The optimised graph of a model as a document that can be saved for different readers.
 */
#ifndef GR_OPTIMIZE_H
#define GR_OPTIMIZE_H

#include "graph/spell.h"
#include "model.h"

typedef enum gr_form {
    GR_FORM_NATIVE,   /* fused operators of the domain graphrun: for this library */
    GR_FORM_STANDARD, /* only operators that ONNX has in the file's opset */
    GR_FORM_CONTRIB   /* com.microsoft's where they exist, for ONNX Runtime */
} gr_form;

/* The document to save; free it before the model. Operators that have no other spelling stay as they are. */
gr_status gr_optimize(gr_model *m, gr_form form, gr_doc **out, gr_err *err);

/* The function bodies of the operator `name` ("graphrun.Attention") in the graph that runs: each kind once, at most 64.
 * GR_EINVAL if it has no such operator. */
gr_status gr_print_bodies(gr_model *m, const char *name, gr_write_fn write, void *user, gr_err *err);

/* What `form` puts in the place of a node, NULL for the node itself. */
gr_spell_fn gr_form_body(gr_form form, const gr_node *n);

/* com.microsoft's operator for a node of ours, NULL if there is none that does the same (contrib.c). */
gr_spell_fn gr_contrib_body(const gr_node *n);

#endif
