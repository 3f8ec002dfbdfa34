/* SPDX-License-Identifier: Apache-2.0
 *
 * What a plan consists of, for the files that make it (plan.c, rows.c) and run it (run.c).
 */
#ifndef GR_PLAN_DATA_H
#define GR_PLAN_DATA_H

#include "exec/memory.h"
#include "exec/plan.h"

typedef enum { UNUSED, IS_CONST, IS_INPUT, IN_BLOCK, DYNAMIC } place;

typedef struct slot { /* of a value */
    gr_tensor t;
    place place;
    uint32_t root;      /* id of the value whose memory it is; its own unless it is a view */
    uint32_t buffer;    /* of a root in the block */
    uint32_t input;     /* of an input */
    uint32_t last;      /* of a root: the last step that reads it; the number of steps if it is wanted */
    bool widen;         /* a constant stored in 16 bits that a step reads as floats */
    int rows;           /* of a root: the set of rows that it holds, an index of gr_plan.sets; 0: all */
    gr_tensor *dynamic; /* made during the run */
} slot;

#define NO_SLOT UINT32_MAX

typedef struct plan_step {
    gr_step step;
    const gr_node *node; /* of a copy of rows: the node that wants it */
    const gr_op *op;     /* the node's, or that of a copy of rows */
    uint32_t nin, nout;
    uint32_t *in, *out;  /* slots; NO_SLOT: absent, or not wanted */
    bool dynamic;
    uint32_t scratch; /* buffer, if step.scratch_size */
    uint32_t rounded_in, rounded_out; /* buffers, or NO_SLOT */
} plan_step;

struct gr_plan {
    gr_arena *arena;
    const gr_graph *graph;
    gr_plan_options options;
    gr_facts facts;
    gr_tensor *inputs; /* the shapes it is for */
    size_t nwanted;
    gr_value **wanted;
    uint32_t *results; /* slots of the wanted values */
    bool *need;        /* by value id */
    size_t nslots;
    slot *slots;       /* by value id, then those of copies of rows */
    size_t nsteps;
    plan_step *steps;
    size_t nbuffers, capbuffers;
    gr_buffer *buffers;
    char **homes;      /* of buffers that the caller wants elsewhere, else NULL */
    uint32_t *copies;  /* by wanted value: buffer for one that is an input */
    size_t block_size;
    size_t nresults;   /* buffers of results, by offset */
    gr_buffer **result_buffers;
    char *bound;       /* block that slots point into */
    bool rehomed;
    bool dynamic;      /* some step is */
    double flops;
    size_t nsets;      /* of rows, the first (all) included; 0: every value holds all */
    gr_rows *sets;
    bool *early;       /* by node id: masks are made of it */
    bool *whole;       /* by node id: its kernel wants all rows, as was found out in an earlier attempt */
    bool again;        /* that was found out just now */
    bool masked;       /* some set is known from a mask: */
    uint32_t mask;     /* slot of the mask that tells padding */
    bool *picked;      /* by wanted value: holds picked rows alone */
    const int64_t *picks; /* options.npicked of them, during a run */
    size_t nweights;
    uint32_t *weights; /* slots of what pooling multiplies rows with */
    bool from_start;   /* what is seen of a sequence begins with its first token */
    uint32_t rows_from; /* the sets are filled before this step */
    double *times; /* NULL: not profiled; seconds on a clock when step i of the last run began, and after the last */
    gr_exec exec;
};

/* A new buffer that is alive in steps [first, last]. */
gr_status gr_plan_buffer(gr_plan *p, size_t size, uint32_t first, uint32_t last, uint32_t *out, gr_err *err);
/* Bytes of a slot in the block: those of the rows that it may hold. */
size_t gr_plan_held_bytes(const gr_plan *p, const slot *s);

static inline slot *slot_of(const gr_plan *p, const gr_value *v) { return v ? &p->slots[v->id] : NULL; }

/* What the last run has made of shapes that depend on data. */
void gr_plan_free_dynamic(gr_plan *p);

static inline slot *wanted_slot(const gr_plan *p, size_t i) { return &p->slots[p->results[i]]; }

#endif
