/* SPDX-License-Identifier: Apache-2.0
 *
 * How well the passes did on a model: what was fused and what was to be expected, what nearly was, and what is left.
 * Plain structs in an arena; they point into the graph.
 */
#ifndef GR_EXPLAIN_H
#define GR_EXPLAIN_H

#include "model.h"

typedef enum gr_fusion_kind {
    GR_FUSION_ATTENTION,
    GR_FUSION_LAYER_NORM,
    GR_FUSION_GELU,
    GR_FUSION_LINEAR,
    GR_FUSIONS
} gr_fusion_kind;

typedef struct gr_fusion {
    const char *name;   /* as --expect names it */
    int64_t count;      /* of fused operators that do it, alone or with more */
    int64_t expected;   /* by what the file's nodes look like */
    const char *source; /* what was counted: "Softmax between two products" */
} gr_fusion;

typedef struct gr_work_row { /* steps of one operator that stayed what they were in the file */
    const char *op;
    int64_t steps;
    double work;
} gr_work_row;

typedef struct gr_twice { /* a weight that the file stores once more */
    const gr_value *value, *first;
} gr_twice;

typedef struct gr_explanation {
    gr_fusion fusions[GR_FUSIONS];
    int64_t layers; /* that weights' and nodes' names count; 0: they count none */
    size_t nmisses;
    const gr_near_miss *misses; /* of fusions that did not come about */
    int64_t missing;        /* of the misses: nodes whose operator is missing */
    size_t nremarks;
    gr_near_miss *remarks;  /* about some that did: an epsilon that is no small number */
    int64_t steps, unfused; /* nodes to be run, and of those what is no fused operator and no product with weights */
    size_t nrows;
    gr_work_row *rows;         /* what `unfused` counts, most work first */
    double work, unfused_work; /* at the shapes that were given; 0: not known, and `why` says so */
    const char *why;
    size_t ntwice;
    gr_twice *twice;
    int64_t twice_bytes;
    int64_t casts, casts_left; /* between types of floating-point numbers: in the file, and still to be run */
} gr_explanation;

/* Explain a graph that was made with pass options, and so has a log. `m` may be NULL where `inputs` is. `inputs`: shapes of its inputs in their order, at
 * which work is measured; NULL: it is not. */
gr_status gr_explain(gr_model *m, const gr_graph *g, const gr_tensor *inputs, gr_arena *arena, gr_explanation *out,
                     gr_err *err);

/* The name that a fused operator counts under, or GR_FUSIONS. */
gr_fusion_kind gr_fusion_of(const gr_node *n);

#endif
