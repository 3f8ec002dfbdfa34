/* SPDX-License-Identifier: Apache-2.0
 *
 * A model's graph as data to be shown: nodes, values, the tree of modules that they belong to, types, parameters and
 * work, at one of several levels. Plain arrays that refer to each other by index; formats are made from them elsewhere.
 * Nothing here reads weights.
 */
#ifndef GR_VIEW_H
#define GR_VIEW_H

#include "exec/plan.h"
#include "inspect/outline.h"
#include "inspect/provenance.h"
#include "model.h"

typedef enum gr_view_level {
    GR_VIEW_RAW,       /* the file's graph: functions inlined, Constant nodes as constants, no pass */
    GR_VIEW_CANONICAL, /* after the passes that only clean: nothing is fused */
    GR_VIEW_FUSED,     /* after all passes: the graph that runs */
    GR_VIEW_OUTLINED,  /* the same, where modules are the parts of a transformer, as they are found by structure */
    GR_VIEW_PLAN,      /* what of it runs at one shape, with kernels and memory */
} gr_view_level;

typedef struct gr_view_options {
    gr_view_level level;
    /* Shapes of inputs, by name (data is not read); NULL: work stays unknown, and there is no plan. */
    const gr_named_tensor *inputs;
    size_t input_count;
    const char *focus; /* a node or value: only what is at most `radius` edges from it; NULL: all */
    int64_t radius;
    bool origins; /* tell what became of the file's nodes, at levels after passes */
} gr_view_options;

#define GR_VIEW_NONE UINT32_MAX

typedef enum gr_view_kind { GR_VIEW_INPUT, GR_VIEW_CONSTANT, GR_VIEW_RESULT } gr_view_kind;

typedef struct gr_view_value {
    const gr_value *value;
    gr_view_kind kind;
    bool output;       /* of the graph */
    bool folded;       /* of a result: its contents follow from constants and input shapes alone */
    uint32_t maker;    /* node, of a result; else GR_VIEW_NONE */
    uint32_t readers;  /* input slots among the nodes of the view */
    const char *type;  /* "float[batch, 768]" */
    bool parameter;    /* of a constant: a weight, as `graphrun info` counts them */
    gr_plan_value_info plan; /* place UNUSED if there is no plan */
} gr_view_value;

typedef struct gr_view_node {
    const gr_node *node;
    const char *domain; /* "" for ai.onnx */
    uint32_t module;
    uint32_t part; /* of view->outline; GR_VIEW_NONE: in the open */
    uint32_t *in, *out; /* node->nin and node->nout values; GR_VIEW_NONE: absent */
    int64_t parameters; /* elements of the weights that it is the first to read */
    double work;        /* operations at the view's shape; 0 where unknown */
    double bytes;       /* that it has to read and write once at that shape */
    bool runs;          /* is a step of the plan; false: a view of memory, folded or not needed */
    const char *kernel; /* of a step; else NULL */
    size_t scratch;
} gr_view_node;

/* A module: what names of nodes and weights say ("encoder", in it "layer", in it "0"). The first is the whole. */
typedef struct gr_view_module {
    const char *name; /* one component, valid UTF-8 or not, at most GR_VIEW_NAME bytes; "" for the whole */
    uint32_t parent, first_child, last_child, next; /* GR_VIEW_NONE at the ends */
    uint32_t depth;      /* 0 for the whole; at most GR_VIEW_DEPTH */
    uint32_t own_nodes;  /* nodes that belong to it and to none within */
    uint32_t first_node; /* in view->by_module: its own nodes, `own_nodes` of them */
    uint32_t nodes;      /* with all within */
    int64_t parameters;
    double work;
    uint64_t likeness;   /* equal for modules with equal contents but for their own name */
} gr_view_module;

enum { GR_VIEW_DEPTH = 12, GR_VIEW_NAME = 96, GR_VIEW_MODULES = 1 << 16 };

typedef struct gr_view {
    gr_arena *arena;
    const gr_model *model;
    const gr_graph *graph;
    gr_view_level level;
    size_t node_count, value_count, module_count;
    gr_view_node *nodes;     /* in topological order */
    gr_view_value *values;   /* inputs, then in the order of nodes: constants when first read, results */
    gr_view_module *modules; /* parents first */
    uint32_t *by_module;     /* nodes, those of one module together, in their order */
    size_t input_count, output_count;
    uint32_t *inputs, *outputs; /* values; of a part of the graph: where its border cuts edges */
    bool part;               /* options had a focus */
    gr_outline outline;      /* of the whole graph */
    gr_provenance origins;   /* empty if not asked for */
    int64_t parameters;
    double work;
    gr_plan *plan;           /* of the whole graph at the given shape; NULL if there is none */
    gr_packs *packs;
    char work_missing[GR_ERR_SIZE];  /* why there is no plan, "" if there is one */
    size_t block;            /* bytes of the plan's memory */
} gr_view;

/* On success *out is the caller's, to be freed before the model. A shape that cannot be planned leaves a sentence in
 * work_missing, and fails only at GR_VIEW_PLAN. */
gr_status gr_view_new(gr_model *model, const gr_view_options *options, gr_view **out, gr_err *err);
void gr_view_free(gr_view *view);

/* The view as a document: what it shows and nothing else. Outlined, parts are functions that the graph calls, unless
 * there was a focus. Of a part, cut edges are inputs and outputs; of a plan, types are those of its shape, and kernels
 * and figures are the nodes' metadata. Free with gr_doc_free, before the view. */
gr_status gr_view_lower(const gr_view *view, gr_doc **out, gr_err *err);

/* ---- for the files that make a view ---- */

/* The tree of modules, and which node belongs where (view_modules.c). */
gr_status gr_view_find_modules(gr_view *view, gr_err *err);
/* Sums and likeness over the tree, once nodes have their figures. */
void gr_view_sum_modules(gr_view *view);
/* Plan the graph, and give the nodes what the plan says of them (view_work.c). */
gr_status gr_view_measure(gr_view *view, const gr_view_options *options, gr_err *err);
gr_status gr_view_figures(gr_view *view, gr_err *err);

#endif
