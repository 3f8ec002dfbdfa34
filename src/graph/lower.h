/* SPDX-License-Identifier: Apache-2.0
 *
 * From a graph to a document: what lower.c and lower_body.c share, and what one can choose.
 */
#ifndef GR_LOWER_H
#define GR_LOWER_H

#include "names.h"
#include "spell.h"

typedef struct gr_lower_options {
    /* What writes the nodes that stand for n in the document; NULL: n stays as it is. */
    gr_spell_fn (*body)(const gr_node *n);
    /* The document that the graph was built from, or NULL: what it says about the model and the types of its inputs and
     * outputs is taken over (it must outlive the result), types in between are left out, and a node that would mean
     * something else in the file's opset is refused. */
    const gr_doc *like;
    /* NULL, or set to the graph's node for each node of the document's graph, NULL for those that read constants or name
     * outputs; in the document's arena. */
    const gr_node ***origins;
} gr_lower_options;

/* As gr_graph_lower. Opsets that no node needs are not imported. */
gr_status gr_graph_lower_as(const gr_graph *g, const gr_lower_options *options, gr_doc **out, gr_err *err);

/* The constant stored in 16 bits that a node of g's document widens, or NULL. */
const gr_value *gr_lower_widened(const gr_graph *g, const gr_doc_node *n);
/* Drop initializers of constants that are not to be kept, and those in 16 bits that no node widens any more; the nodes
 * that do stand in the order in which they were written. */
void gr_lower_keep(const gr_graph *g, gr_doc_graph *d, bool (*keep)(const void *user, const gr_value *v),
                   const void *user);

/* The hook of n's row if the opset of its graph has no such operator, else NULL: what every document needs. */
gr_spell_fn gr_lower_missing(const gr_node *n);

/* ---- Within lowering ---- */

typedef struct gr_lowering {
    gr_arena *arena; /* of the document */
    const gr_lower_options *options;
    const gr_graph *root;
    /* Of the graph that is being written, if it stands inside another: what the file calls the values that it captures, by
     * their ids. Passes may have put others in their place outside. */
    const char *const *captured;
    gr_doc *doc;
    bool ours, contrib; /* domains that nodes need */
    gr_names bodies;    /* their text to a gr_doc_function */
    size_t body_bytes;
    /* Names that are taken: of all values, once there is a body; of nodes so far. */
    gr_names values, nodes;
    gr_err *err;
} gr_lowering;

typedef struct gr_lower_nodes {
    gr_doc_node *items;
    size_t count, cap;
    const gr_node **origins;
    size_t norigins, origin_cap;
} gr_lower_nodes;

/* What the file calls a value of the graph that is being written; "": an absent one. */
const char *gr_lower_name(const gr_lowering *l, const gr_value *v);

/* A name that no node has yet: `name`, or that with a number. "" stays what it is. */
gr_status gr_lower_node_name(gr_lowering *l, const char *name, const char **out);

/* Append the nodes that `fn` writes for n. */
gr_status gr_lower_body(gr_lowering *l, const gr_node *n, gr_spell_fn fn, gr_lower_nodes *nodes);

#endif
