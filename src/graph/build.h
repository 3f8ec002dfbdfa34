/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parts of gr_graph_build share: build.c makes graphs and nodes, build_order.c puts nodes in order,
 * build_call.c writes out functions.
 */
#ifndef GR_GRAPH_BUILD_H
#define GR_GRAPH_BUILD_H
#include "ir.h"
#include "names.h"
#include "ops/op.h"

enum {
    GR_BUILDER_MAX_DEPTH = 64,   /* functions in functions, graphs in graphs */
    GR_BUILDER_CALL_WEIGHT = 24, /* of a call or a graph, in what functions add */
};

typedef struct captured { /* a value of the graph outside, and the input of the subgraph that stands for it */
    gr_value *outer, *inner;
} captured;

/* What a model or a function imports: canonical domain -> index + 1. */
typedef struct imports {
    const gr_doc_opsets *list; /* NULL: not read yet */
    gr_names domains;
} imports;

typedef struct scope {
    gr_graph *graph;
    struct scope *outer; /* of a subgraph: where captured names are looked up */
    const gr_doc_function *function;
    gr_attrs call;      /* attributes of the call that the function's references mean */
    const char *prefix; /* before names of inner values of a function */
    const imports *imports;
    gr_names names; /* to a gr_value, or, while it is not built, to the index + 1 of the node that makes it */
    size_t ncaptured, capcaptured;
    captured *captured;
    int depth;
} scope;

typedef struct missing {
    const char *domain, *name, *first;
    int64_t opset;
    int lowest;
    size_t count;
} missing;

typedef struct builder {
    const gr_doc *doc;
    gr_arena *arena;   /* of the graph */
    gr_arena *scratch; /* gone when it stands */
    gr_syms *syms;
    const gr_doc_names *overridden;
    size_t inlined;  /* weight of what functions have added */
    imports imports; /* the model's */
    imports *function_imports;
    gr_names functions; /* "domain:name:overload" -> index + 1 */
    size_t nmissing, capmissing;
    bool more_missing;
    bool stand_ins; /* for operators that are missing */
    struct found_op { /* operators that were looked up lately, by name */
        const char *domain, *name;
        int64_t opset;
        const gr_op *op;
        int lowest;
    } found[64];
    missing *missing;
    gr_err *err;
} builder;

/* "" for ai.onnx however it is spelt. */
static inline const char *gr_builder_domain(const char *domain)
{
    return !domain || !strcmp(domain, "ai.onnx") ? "" : domain;
}

/* What errors call a node that may have no name. */
static inline const char *gr_builder_label(const gr_doc_node *n)
{
    return n->name && *n->name ? n->name : n->out.count ? n->out.items[0] : "";
}

/* The value that a name means here, or NULL. Values that nodes of this scope make must have been built. */
gr_status gr_builder_lookup(builder *b, scope *s, const char *name, gr_value **out);
gr_status gr_builder_define(builder *b, scope *s, const char *name, gr_value *v);
/* The name of something inside a function, behind those of the calls. Names of any length are a stranger's, and each
 * call would repeat them: a long one becomes a number. NULL: out of memory. */
const char *gr_builder_inner_name(builder *b, const scope *s, const char *name);
/* Count what is built inside a function's body against the limit. */
gr_status gr_builder_spend(builder *b, const scope *s, size_t weight);
gr_status gr_builder_read_imports(builder *b, const gr_doc_opsets *list, const char *where, imports *out);

/* One node, whose inputs are built; nodes in an order in which they can be. */
gr_status gr_builder_node(builder *b, scope *s, const gr_doc_node *n);
gr_status gr_builder_nodes(builder *b, scope *s, const gr_doc_nodes *nodes);

/* Attributes with the call's in place of references to them; those that the call leaves out vanish. */
gr_status gr_builder_resolve(builder *b, const scope *s, gr_attrs in, gr_attrs *out);
gr_status gr_builder_index_functions(builder *b);
/* The model's function that a node calls, or NULL. */
gr_status gr_builder_find_function(builder *b, const gr_doc_node *n, const gr_doc_function **out);
gr_status gr_builder_call(builder *b, scope *s, const gr_doc_node *n, const gr_doc_function *f, gr_attrs attrs,
                          gr_value **in);

#endif
