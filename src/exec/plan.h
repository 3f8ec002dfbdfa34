/* SPDX-License-Identifier: Apache-2.0
 *
 * A plan: a frozen graph made ready for concrete shapes and wanted values. Shape arithmetic is folded into it, every
 * step has its kernel prepared, every buffer its place in one block of memory. Running it allocates nothing, unless the
 * graph has nodes whose shapes depend on data; those and what follows from them go through the interpreter.
 */
#ifndef GR_PLAN_H
#define GR_PLAN_H

#include "exec/eval.h"

typedef struct gr_plan gr_plan;

/* Caches of keys and values that grow in place. Pair i: an input [batch, heads, past, size], and what Concat with new
 * rows makes of it. Both are the same memory of the caller, in which each head has room for `capacity` tokens and
 * `rows` sequences lie from one of the batch to the next; a run writes the new rows behind the past. */
typedef struct gr_plan_caches {
    size_t count;
    const char *const *past, *const *present; /* names */
    int64_t capacity, rows;
} gr_plan_caches;

typedef struct gr_plan_options {
    int threads;
    size_t max_memory;      /* of block and constants; 0: what the machine has */
    int64_t max_iterations;
    gr_packs *packs;
    gr_log_fn log;          /* NULL: silent */
    void *log_user;
    bool profile;           /* time every step */
    gr_precision precision; /* never GR_PRECISION_AUTO */
    int64_t plain_rows;     /* where rows are no more, weights that are not packed stay so */
    bool skip_padding;      /* wanted values have zeros in rows that no other row of the sequence can see */
    /* 0: none. Wanted values [batch, tokens, ...] hold only so many rows of that grid, as [rows, ...]; which ones is
     * said before each run. A value that cannot be had so holds all. */
    size_t npicked;
    gr_plan_caches caches;  /* its arrays live as long as the plan; each pair as gr_cache_may_grow says */
} gr_plan_options;

/* Shapes of the graph's inputs, in their order, and values of the graph that are wanted. `inputs` need no data. */
gr_status gr_plan_new(const gr_graph *g, const gr_tensor *inputs, size_t nwanted, gr_value *const *wanted,
                      const gr_plan_options *options, gr_plan **out, gr_err *err);
void gr_plan_free(gr_plan *plan);
bool gr_plan_fits(const gr_plan *plan, const gr_graph *g, const gr_tensor *inputs, size_t nwanted,
                  gr_value *const *wanted, const gr_plan_caches *caches, size_t npicked);
/* Rows for the next runs, options.npicked numbers of the grid, ascending, each once; the array stays the caller's. */
void gr_plan_pick(gr_plan *plan, const int64_t *rows);

/* Whether nothing but that Concat reads the past, and nothing but attention what it makes of it, so that the pair can
 * be one memory. */
bool gr_cache_may_grow(const gr_graph *g, const char *past, const char *present);

/* Bytes of the block that a run needs, 64-byte aligned, and of what the plan itself keeps. */
size_t gr_plan_block(const gr_plan *plan);
size_t gr_plan_bytes(const gr_plan *plan);
/* After a run: of a block of `size` bytes, what is behind the first `keep` goes back to the system, but for results. */
void gr_plan_vacate(const gr_plan *plan, char *block, size_t size, size_t keep);
double gr_plan_flops(const gr_plan *plan);
int gr_plan_threads(const gr_plan *plan); /* that a run must have; fewer than asked for where the work is small */
size_t gr_plan_steps(const gr_plan *plan);
/* Step i: what it is and, of the last run, when it ran if the plan is profiled. Names live as long as the plan. */
gr_step_info gr_plan_step(const gr_plan *plan, size_t i);

/* What a plan consists of, for those who look into it; it points into plan and graph. The node of step i, and bytes of
 * its scratch. */
const gr_node *gr_plan_node(const gr_plan *plan, size_t i);
size_t gr_plan_scratch(const gr_plan *plan, size_t i);

typedef enum gr_plan_place {
    GR_PLAN_UNUSED,  /* nothing that is wanted needs it */
    GR_PLAN_CONST,   /* a weight, or folded into the plan */
    GR_PLAN_INPUT,
    GR_PLAN_BLOCK,
    GR_PLAN_DYNAMIC, /* its shape depends on data */
} gr_plan_place;

typedef struct gr_plan_value_info {
    gr_plan_place place;
    const gr_tensor *tensor; /* type and shape, of constants the contents; NULL if unused or dynamic */
    uint32_t root;           /* id of the value whose memory it is; its own unless it is a view */
    size_t offset, size;     /* in the block, of the buffer that holds it */
    size_t first, last;      /* steps from and to which that buffer is held; last may be the number of steps */
} gr_plan_value_info;
gr_plan_value_info gr_plan_value(const gr_plan *plan, const gr_value *v);

/* Run with inputs' data, in a block. `results[i]`: if its data is not NULL, it has room for `size` bytes, and the value
 * is computed right there if it has a buffer of its own that fits. On success results[i] describes the i-th wanted value; its data lies in the block, in
 * the plan, or where the caller asked. Valid until the next run with this block or plan. */
gr_status gr_plan_run(gr_plan *plan, const gr_tensor *inputs, void *block, gr_tensor *results,
                      const volatile int *cancel, gr_err *err);

#endif
