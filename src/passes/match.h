/* SPDX-License-Identifier: Apache-2.0
 *
 * Rules that replace a small subgraph by one node, with patterns that look like the formula.
 *
 *     (Op arg ...)   a node of that operator (of any domain and version) with these inputs, all of them
 *     x              any value; the same name means the same value
 *     $w             a value that must be constant
 *     1.4142         a constant with one element of that value (relative tolerance 1e-3: exporters round); to multiply by it and to divide by
 *                    its reciprocal are the same
 *     n:(Op ...)     a node with a name; n alone means its first output from then on
 *     _              any value, or none
 *     ...            at the end of a node's inputs: further inputs do not matter
 *
 * The driver tries both orders of operators that commute, refuses a match whose inner values are read or wanted
 * elsewhere, refuses a replacement of another type, splices, erases and counts.
 */
#ifndef GR_MATCH_H
#define GR_MATCH_H

#include "ops/op.h"
#include "pass.h"

enum { GR_MATCH_NAMES = 24, GR_MATCH_NODES = 48 };

typedef struct gr_match {
    gr_graph *g;
    gr_node *root;
    int nnames, nnodes;
    struct {
        char name[16];
        gr_value *value;
        gr_node *node; /* of n:(...) */
    } names[GR_MATCH_NAMES];
    gr_node *nodes[GR_MATCH_NODES]; /* that the match covers, the root among them */
} gr_match;

/* What a name of the pattern stands for; NULL if this pattern has no such name. */
gr_value *gr_bound(const gr_match *m, const char *name);
gr_node *gr_bound_node(const gr_match *m, const char *name);

/* Where a rewrite puts its nodes: before the root. */
typedef struct gr_build {
    gr_graph *g;
    gr_node *at;
    gr_err *err;
} gr_build;

/* A new node with one output, its types inferred. Trailing NULL inputs are left out. NULL: failed, b->err says why. */
gr_value *gr_build_node(gr_build *b, const char *domain, const char *op, gr_attrs attrs, uint32_t nin,
                        gr_value *const *in);
/* Attributes for it: up to `n` of them, filled in with these. */
gr_attr gr_attr_of_int(const char *name, int64_t i);
gr_attr gr_attr_of_float(const char *name, float f);
gr_attr gr_attr_of_string(const char *name, const char *s);
gr_attrs gr_build_attrs(gr_build *b, size_t n, const gr_attr *items);

typedef struct gr_rule {
    const char *name;
    const char *const *patterns; /* NULL-ended */
    /* Whether the match means what it looks like: types, axes, shapes. Changes nothing. */
    bool (*check)(const gr_match *m, gr_why *why);
    /* The value that replaces the root's first output, or NULL after a failure noted in b->err. Only builds. */
    gr_value *(*rewrite)(gr_build *b, const gr_match *m);
    /* The operator that makes a reader expect the rule to apply; NULL: there is none. Each one left that begins to look
     * like a pattern is a near miss. */
    const char *anchor;
    bool (*expected)(const gr_node *anchor); /* of those only; NULL: of all */
    bool sure; /* the operator says it all: even without any likeness */
} gr_rule;

/* Apply a rule wherever it matches, in one walk. */
gr_status gr_apply_rule(gr_graph *g, const gr_rule *rule, int *hits, gr_err *err);

/* ---- For checks ---- */
bool gr_nomatch(gr_why *why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same with the node that is to blame; the sentence names it. */
bool gr_nomatch_at(gr_why *why, const gr_node *node, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A constant of one element; false if it is not one. */
bool gr_scalar_of(const gr_value *v, double *out);
/* A constant list of integers (rank 0 or 1). */
bool gr_ints_of(const gr_value *v, int64_t *n, int64_t *out, int64_t max);
/* Whether the input that tells a node a shape is known, in numbers or symbols (or absent). Types inferred without that
 * hold only if the shape that comes at run time is a valid one, which somebody has to check. */
static inline bool gr_known_shape(const gr_value *v) { return !v || v->konst || v->ivals; }
/* Axes that a reduction node reduces, whichever spelling its opset has: `n` of them, from 0 to rank - 1. */
bool gr_reduced_axes(const gr_node *n, int64_t *count, int64_t *axes, bool *keepdims);
bool gr_reduces_last_axis(const gr_node *n);

#endif
