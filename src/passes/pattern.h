/* SPDX-License-Identifier: Apache-2.0
 *
 * Patterns as matching (match.c) and explaining (near.c) share them.
 */
#ifndef GR_PATTERN_H
#define GR_PATTERN_H

#include "match.h"

enum { MAX_ARGS = 6, MAX_PATTERN_NODES = 64, MAX_COMMUTATIVE = 16 };

/* Exporters write sqrt(2) as 1.4142135, 1.41421354 and 1.4142. */
#define NUMBER_TOLERANCE 1e-3

typedef enum { P_NODE, P_NAME, P_CONST, P_NUMBER, P_ANY } pattern_kind;

typedef struct pattern {
    pattern_kind kind;
    char op[40], name[16];
    double number;
    int nargs;
    bool more; /* further inputs do not matter */
    bool commutes;
    int commutative;     /* nodes that commute, this one included */
    const char *inverse; /* of a product with a number or a quotient by one: the operator that does it by 1/number */
    struct pattern *args[MAX_ARGS];
} pattern;

/* Whether a constant is the number of a P_NUMBER. */
bool gr_pattern_number(const pattern *t, double x);
/* Whether the values inside are seen by nobody else. */
bool gr_match_closed(const gr_match *m, gr_why *why);
/* Note a near miss for each anchor of the rule that is left in the graph. */
gr_status gr_explain_rule(gr_graph *g, const gr_rule *rule, pattern *const *roots, int n, gr_err *err);

#endif
