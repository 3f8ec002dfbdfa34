/* SPDX-License-Identifier: Apache-2.0
 *
 * Symbolic integers: dimensions, and the values of the shape arithmetic that exporters emit.
 *
 * A gr_dim is a number, or a polynomial over symbols ("batch", "past + sequence", "12*batch"). Polynomials are kept
 * in a canonical form and interned in a pool, so equal expressions are the same pointer. What is not a polynomial
 * (quotient, remainder, minimum, comparison, choice) becomes an opaque symbol of the pool that is interned by its
 * operator and arguments, so that it too is equal to itself. Every plain symbol stands for a dimension: an integer >= 0.
 */
#ifndef GR_SYM_H
#define GR_SYM_H

#include "base.h"

typedef struct gr_expr gr_expr;
typedef struct gr_syms gr_syms; /* the pool; not thread-safe */

typedef struct gr_dim {
    const gr_expr *expr; /* NULL: the number k */
    int64_t k;
} gr_dim;

#define GR_DIM(n) ((gr_dim){NULL, (n)})
static inline bool gr_dim_known(gr_dim d) { return !d.expr; }
static inline bool gr_dim_is(gr_dim d, int64_t k) { return !d.expr && d.k == k; }
/* Surely equal. False may mean "not known to be". */
static inline bool gr_dim_same(gr_dim a, gr_dim b) { return a.expr == b.expr && (a.expr || a.k == b.k); }

gr_syms *gr_syms_new(gr_arena *arena); /* lives in the arena; NULL if out of memory */

/* The symbol of that name; a new one that equals nothing else. Operations never fail: out of memory or an overflow of a
 * coefficient gives a fresh symbol. */
gr_dim gr_sym_named(gr_syms *s, const char *name);
gr_dim gr_sym_fresh(gr_syms *s);

gr_dim gr_sym_add(gr_syms *s, gr_dim a, gr_dim b);
gr_dim gr_sym_sub(gr_syms *s, gr_dim a, gr_dim b);
gr_dim gr_sym_mul(gr_syms *s, gr_dim a, gr_dim b);
gr_dim gr_sym_neg(gr_syms *s, gr_dim a);
gr_dim gr_sym_div(gr_syms *s, gr_dim a, gr_dim b);  /* truncating, as ONNX Div; x / 0 is a fresh symbol */
gr_dim gr_sym_mod(gr_syms *s, gr_dim a, gr_dim b);  /* sign of the divisor, as ONNX Mod with fmod = 0 */
gr_dim gr_sym_min(gr_syms *s, gr_dim a, gr_dim b);
gr_dim gr_sym_max(gr_syms *s, gr_dim a, gr_dim b);
gr_dim gr_sym_abs(gr_syms *s, gr_dim a);
gr_dim gr_sym_eq(gr_syms *s, gr_dim a, gr_dim b);   /* 0 or 1, decided if bounds allow */
gr_dim gr_sym_lt(gr_syms *s, gr_dim a, gr_dim b);
gr_dim gr_sym_not(gr_syms *s, gr_dim a);            /* of a 0/1 value */
gr_dim gr_sym_select(gr_syms *s, gr_dim cond, gr_dim yes, gr_dim no);

/* Broadcasting of two dimensions: the other one if one is 1; if neither is known to be, the two must be equal or one of
 * them 1, and the result is a symbol for that. False if they surely do not fit (2 and 3). */
bool gr_sym_broadcast(gr_syms *s, gr_dim a, gr_dim b, gr_dim *out);

/* Least value that d can have (INT64_MIN: unknown). */
int64_t gr_sym_lower(gr_dim d);

/* "batch", "past + sequence", "2*sequence - 1", "7"; in the pool's arena. Fresh symbols print as "?1". */
const char *gr_sym_text(gr_syms *s, gr_dim d);

/* Value of d when named symbols have the given values. False if a symbol is missing or fresh. */
typedef struct gr_sym_binding {
    const char *name;
    int64_t value;
} gr_sym_binding;
bool gr_sym_eval(gr_dim d, const gr_sym_binding *b, size_t n, int64_t *out);

#endif
