/* SPDX-License-Identifier: Apache-2.0
 *
 * Task heads: which of those in models/heads an export ends with. Every file there is a small model that calls one head
 * as a function; it is embedded into the library, goes through the same passes as any model, and what is left of it is
 * looked for before the model's outputs. So spelling doesn't matter, and adding a head is adding one text file.
 *
 * In a head's file the model's input `hidden` is the encoder's last value, initializers are weights of any size, the
 * outputs' names say what the outputs are. Of its metadata, `head` is the name (several files may spell one head), and
 * `requires` what structure alone doesn't tell: "causal" (attention looks only back) or "name X" (X is part of a
 * weight's or output's name).
 */
#ifndef GR_HEADS_H
#define GR_HEADS_H

#include "extract.h"
#include "model.h"

typedef struct gr_head_file {
    const char *stem; /* "masked-lm" */
    const char *text;
    size_t size;
} gr_head_file;

/* All files of models/heads by name, ended by a row without one; made by the build. */
extern const gr_head_file gr_head_files[];

typedef struct gr_head_weight {
    const char *role; /* as the head's file calls it: "cls.predictions.bias" */
    const gr_value *value;
} gr_head_weight;

typedef struct gr_head {
    const char *name; /* "masked-lm" */
    const char *file; /* stem of the file */
    size_t nnodes, nweights, noutputs;
    const gr_node **nodes;
    gr_head_weight *weights;
    const gr_value **outputs;
    const char **roles;       /* of the outputs, as the file calls them */
    const gr_value *tied;     /* the weight that is the table of the word embeddings, or NULL */
} gr_head;

typedef struct gr_heads {
    gr_outline outline;
    size_t nheads; /* poolers among them; the largest first */
    gr_head *heads;
    const char **outputs; /* what each output of the graph is, as "logits of masked-lm"; in the graph's order */
    const char *summary;  /* "masked-lm", "base model with pooler", "sequence-classification + token-classification" */
} gr_heads;

/* The arena owns the result, which points into the model's plain graph. */
gr_status gr_heads_find(gr_model *m, gr_arena *arena, gr_heads *out, gr_err *err);

/* What a head reads of others (hidden states, labels, a mask), for cutting it out; its own outputs are `to`. False: out of
 * memory. */
bool gr_head_cut(const gr_head *head, const gr_graph *g, gr_arena *arena, gr_cut *out);

#endif
