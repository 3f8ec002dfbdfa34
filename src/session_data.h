/* SPDX-License-Identifier: Apache-2.0
 *
 * A session from the inside, for the files that make it: session.c (plans and runs), session_inputs.c and
 * session_outputs.c (what callers give and get).
 */
#ifndef GR_SESSION_DATA_H
#define GR_SESSION_DATA_H

#include "exec/plan.h"
#include "model.h"
#include "session.h"

typedef struct cached {
    gr_plan *plan;
    uint64_t used;
} cached;

/* The wanted values of one graph. Nearly always all are the plain graph's; what passes have dissolved is computed by a
 * second plan over the graph as it was in the file, so that looking at a value changes nothing for the others. */
typedef struct lane {
    const gr_graph *graph;
    size_t count;
    gr_value **wanted;
    size_t *output;      /* which of the caller's outputs */
    gr_tensor *results;
    void *block;
    size_t block_size;
} lane;

enum { PLAIN, RAW, LANES };

struct gr_session {
    gr_model *model;
    gr_session_options options;
    gr_packs *packs;
    int64_t plain_rows;  /* as in gr_plan_options */
    bool open;           /* the precision is chosen by the first run */
    bool by_row;         /* the graph is that for bytes, not the one that all others run */
    cached *plans;
    int nplans;
    uint64_t clock;
    lane lanes[LANES];
    size_t capinputs, capoutputs;
    gr_tensor *inputs;
    gr_tensor **sequences; /* of inputs that are */
    void **copies;       /* room for inputs that are not aligned */
    size_t *copy_sizes;
    void **given;        /* memory of the session that the last run has handed out */
    size_t ngiven;
    gr_tensor_view **views; /* of items, by output that is a sequence */
    gr_session_mode mode;
    int64_t *picks;      /* the caller's, behind mode.picks */
    gr_doc_names fed;    /* overridden initializers of this run */
    volatile int cancel;
    double flops;
    size_t steps;
    gr_plan *last[LANES]; /* of the last run; they stay in the cache until the next */
};

/* The names that are given are inputs of the graph, or initializers that the run overrides: those go to s->fed. */
gr_status gr_session_sort_names(gr_session *s, const gr_graph *g, const gr_named_tensor *inputs, size_t n, gr_err *err);
/* Fill s->inputs, in the graph's order; `shape_only`: the data is not looked at. */
gr_status gr_session_bind_inputs(gr_session *s, const gr_graph *g, const gr_named_tensor *inputs, size_t n, bool shape_only,
                                 gr_err *err);
/* Whether dimensions of one name have one value in all inputs. Of very many inputs that is not asked: the names are not
 * relied on then. */
bool gr_session_names_agree(const gr_graph *g, const gr_tensor *inputs);
void gr_session_free_copies(gr_session *s);

/* A caller who runs again with the views of the last run means the session's memory, not a buffer of his own. */
void gr_session_take_back(gr_session *s, gr_named_tensor *outputs, size_t n);
/* Spread the wanted values over the lanes. */
gr_status gr_session_bind_outputs(gr_session *s, const gr_variant *variant, const gr_named_tensor *outputs, size_t n,
                                  gr_err *err);
/* Tell the caller what a lane has computed. */
gr_status gr_session_give_outputs(gr_session *s, lane *l, gr_named_tensor *outputs, gr_err *err);
void gr_session_free_views(gr_session *s);

#endif
