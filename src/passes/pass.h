/* SPDX-License-Identifier: Apache-2.0
 *
 * Passes rewrite a graph that has been inferred into one that computes the same in fewer steps. pipeline.c has their
 * order. A pass leaves the graph in a state that gr_graph_check accepts and says in its file what it needs before it.
 * Whoever asks for a log learns what each rule did, and what it almost did.
 */
#ifndef GR_PASS_H
#define GR_PASS_H

#include "graph/ir.h"

typedef struct gr_pass {
    const char *name;
    /* Count of changes in *hits (added to). */
    gr_status (*run)(gr_graph *g, int *hits, gr_err *err);
    bool repeats; /* with its neighbours that repeat, too, until none of them changes anything (or for some rounds) */
} gr_pass;

typedef struct gr_pass_options {
    size_t ndisabled;
    const char *const *disabled; /* names of passes that are left out */
    bool stops; /* after `stop_after` rewrites nothing more is changed: to find the one that is to blame */
    int64_t stop_after;
    /* Called with the graph as it is after each pass that was run, each time, also one that changed nothing; NULL: not called. May
     * look and evaluate; a failure ends the passes. */
    gr_status (*after)(void *user, const gr_graph *g, const char *pass, int hits, gr_err *err);
    void *user;
} gr_pass_options;

/* All passes in their order; records types of new values too. With options (NULL: none) the graph gets a log. */
gr_status gr_passes_run(gr_graph *g, const gr_pass_options *options, gr_err *err);
/* The passes in their order. */
const gr_pass *gr_pass_list(size_t *count);

/* ---- The log, in the graph's arena ---- */

/* Something that looked like the beginning of a fusion and was none. */
typedef struct gr_near_miss {
    const char *rule;       /* "layer-norm" */
    const gr_node *anchor;  /* the node that makes a reader expect the fusion */
    const gr_node *culprit; /* the node to look at; NULL: none in particular */
    const char *why;        /* "'Sqrt_3' adds 0.1 where a small epsilon was expected" */
    int depth;              /* nodes that fitted */
} gr_near_miss;

typedef struct gr_hits {
    const char *pass, *rule;
    int64_t count;
} gr_hits;

typedef struct gr_log {
    size_t nmisses, capmisses, nhits, caphits;
    gr_near_miss *misses;
    gr_hits *hits;
    const char *pass; /* that is running */
    bool stops;       /* further rewrites are not made once *rewrites reaches `last` */
    int64_t last;
    const int *rewrites;
} gr_log;

/* Note that a rule did not apply at an anchor because of a node, if the graph has a log; else do nothing. Of several
 * notes about one rule and anchor the last one counts: note the attempt that went furthest at the end. The anchor may
 * be fused later after all, then the note is dropped. A note that can't be kept is lost; nothing depends on it. */
void gr_miss(gr_graph *g, const char *rule, const gr_node *anchor, const gr_node *culprit, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* The same for an attempt in which `depth` nodes fitted: it replaces a note of fewer only. */
void gr_miss_at(gr_graph *g, const char *rule, const gr_node *anchor, const gr_node *culprit, int depth,
                const char *why);
/* Note that a rule was applied. Passes without rules need not: the driver counts their changes. */
void gr_hit(gr_graph *g, const char *rule);
/* Whether no more rewrites are wanted: a pass looks before each of its own. */
static inline bool gr_pass_stopped(const gr_graph *g)
{
    return g->log && g->log->stops && *g->log->rewrites >= g->log->last;
}

#endif
