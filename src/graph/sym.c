/* SPDX-License-Identifier: Apache-2.0
 *
 * Symbolic integers as interned polynomials. Terms are kept sorted (higher degree first, then by symbols), without zero
 * coefficients; a polynomial that is a plain number is never an expression. Interning makes equality a comparison of
 * pointers.
 */
#include "sym.h"
#include <stdio.h>

enum { MAX_DEGREE = 6, MAX_TERMS = 24, FIRST_BUCKETS = 64, TEXT_SIZE = 512, MAX_WORK = 1 << 20, MAX_DEPTH = 64 };

typedef enum { S_NAMED, S_FRESH, S_DIV, S_MOD, S_MIN, S_MAX, S_EQ, S_LT, S_SELECT, S_BROADCAST } sym_kind;

typedef struct symbol {
    sym_kind kind;
    uint32_t id;
    uint32_t depth;    /* of nested operators */
    const char *name;  /* S_NAMED */
    gr_dim arg[3];     /* the others */
    int64_t lower;
    uint32_t hash;
    struct symbol *next;
} symbol;

typedef struct term {
    int64_t c;
    uint32_t n; /* factors */
    const symbol *f[MAX_DEGREE];
} term;

struct gr_expr {
    uint32_t n, hash;
    gr_expr *next;
    const term *t;
};

typedef struct poly {
    uint32_t n;
    bool bad; /* overflow or too large: has no canonical form */
    term t[MAX_TERMS];
} poly;

struct gr_syms {
    gr_arena *arena;
    uint32_t count;
    uint32_t work;                 /* terms multiplied or kept so far */
    uint32_t nexprs, nsymbols;     /* in the tables */
    uint32_t capexprs, capsymbols; /* buckets; powers of 2, or 0 */
    gr_expr **exprs;
    symbol **symbols;
};

gr_syms *gr_syms_new(gr_arena *arena)
{
    gr_syms *s = GR_NEW(arena, gr_syms);
    if (s) s->arena = arena;
    return s;
}

/* ---- symbols ---- */

/* Stands in when memory is out; whoever ran out of it fails later for that reason. */
static const symbol no_memory_symbol = {.kind = S_FRESH, .id = UINT32_MAX};
static const term no_memory_term = {.c = 1, .n = 1, .f = {&no_memory_symbol}};
static const gr_expr no_memory = {.n = 1, .t = &no_memory_term};

static uint32_t hash_bytes(uint32_t h, const void *data, size_t size)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < size; i++) h = (h ^ p[i]) * 16777619u;
    return h;
}

/* Twice as many buckets once there are as many entries; the old ones serve on if memory is out. */
#define GROW(s, T, table, n, cap)                                                                                      \
    do {                                                                                                               \
        uint32_t grown_ = (cap) ? 2 * (cap) : FIRST_BUCKETS;                                                           \
        T **new_ = (n) < (cap) || grown_ == 0 ? NULL : GR_NEWS((s)->arena, grown_, T *);                               \
        for (uint32_t i_ = 0; new_ && i_ < (cap); i_++)                                                                \
            for (T *e_ = (table)[i_], *next_; e_; e_ = next_) {                                                        \
                next_ = e_->next;                                                                                      \
                e_->next = new_[e_->hash & (grown_ - 1)];                                                              \
                new_[e_->hash & (grown_ - 1)] = e_;                                                                    \
            }                                                                                                          \
        if (new_) (table) = new_, (cap) = grown_;                                                                      \
    } while (0)

static gr_dim intern(gr_syms *s, poly *p);

static gr_dim of_symbol(gr_syms *s, const symbol *v)
{
    if (!v) return (gr_dim){&no_memory, 0};
    poly p = {.n = 1, .t = {{.c = 1, .n = 1, .f = {v}}}};
    return intern(s, &p);
}

static uint32_t depth_of(gr_dim d)
{
    uint32_t deepest = 0;
    if (!d.expr) return 0;
    for (uint32_t i = 0; i < d.expr->n; i++)
        for (uint32_t j = 0; j < d.expr->t[i].n; j++)
            if (d.expr->t[i].f[j]->depth > deepest) deepest = d.expr->t[i].f[j]->depth;
    return deepest;
}

static const symbol *symbol_of(gr_syms *s, sym_kind kind, const char *name, const gr_dim *arg, int64_t lower)
{
    gr_dim none[3] = {{0}};
    if (!arg) arg = none;
    uint32_t h = hash_bytes(2166136261u, &kind, sizeof kind), depth = 0;
    if (name) h = hash_bytes(h, name, strlen(name));
    for (int i = 0; i < 3; i++) {
        h = hash_bytes(h, &arg[i].expr, sizeof arg[i].expr);
        h = hash_bytes(h, &arg[i].k, sizeof arg[i].k);
        uint32_t d = depth_of(arg[i]) + 1;
        if (kind >= S_DIV && d > depth) depth = d;
    }
    if (depth > MAX_DEPTH) kind = S_FRESH; /* text and evaluation recurse over arguments */
    GROW(s, symbol, s->symbols, s->nsymbols, s->capsymbols);
    if (!s->capsymbols) return NULL;
    symbol **bucket = &s->symbols[h & (s->capsymbols - 1)];
    if (kind != S_FRESH)
        for (symbol *v = *bucket; v; v = v->next) {
            if (v->hash != h || v->kind != kind || (name && strcmp(v->name, name))) continue;
            if (gr_dim_same(v->arg[0], arg[0]) && gr_dim_same(v->arg[1], arg[1]) && gr_dim_same(v->arg[2], arg[2]))
                return v;
        }
    symbol *v = GR_NEW(s->arena, symbol);
    if (!v) return NULL;
    *v = (symbol){.kind = kind, .id = s->count++, .lower = lower, .hash = h, .depth = kind == S_FRESH ? 0 : depth};
    if (name && !(v->name = gr_arena_strdup(s->arena, name))) return NULL;
    if (kind == S_FRESH) return v; /* equals nothing: nobody looks for it */
    memcpy(v->arg, arg, sizeof v->arg);
    v->next = *bucket;
    *bucket = v;
    s->nsymbols++;
    return v;
}

gr_dim gr_sym_named(gr_syms *s, const char *name) { return of_symbol(s, symbol_of(s, S_NAMED, name, NULL, 0)); }
gr_dim gr_sym_fresh(gr_syms *s) { return of_symbol(s, symbol_of(s, S_FRESH, NULL, NULL, 0)); }

static gr_dim unknown(gr_syms *s) { return of_symbol(s, symbol_of(s, S_FRESH, NULL, NULL, INT64_MIN)); }

static gr_dim operation(gr_syms *s, sym_kind kind, gr_dim a, gr_dim b, gr_dim c, int64_t lower)
{
    gr_dim arg[3] = {a, b, c};
    return of_symbol(s, symbol_of(s, kind, NULL, arg, lower));
}

/* ---- polynomials ---- */

static int compare_factors(const term *a, const term *b)
{
    if (a->n != b->n) return a->n > b->n ? -1 : 1;
    for (uint32_t i = 0; i < a->n; i++)
        if (a->f[i] != b->f[i]) return a->f[i]->id < b->f[i]->id ? -1 : 1;
    return 0;
}

static poly to_poly(gr_dim d)
{
    poly p = {0};
    if (d.expr) {
        p.n = d.expr->n;
        memcpy(p.t, d.expr->t, d.expr->n * sizeof(term));
    } else if (d.k) {
        p.n = 1;
        p.t[0] = (term){.c = d.k};
    }
    return p;
}

/* p += scale * q */
static void accumulate(poly *p, int64_t scale, const poly *q)
{
    poly r = {.bad = p->bad || q->bad};
    for (uint32_t i = 0, j = 0; i < p->n || j < q->n;) {
        int order = i == p->n ? 1 : j == q->n ? -1 : compare_factors(&p->t[i], &q->t[j]);
        term t = order <= 0 ? p->t[i] : q->t[j];
        int64_t add = 0;
        if (order >= 0 && __builtin_mul_overflow(q->t[j].c, scale, &add)) r.bad = true;
        if (order > 0)
            t.c = add;
        else if (order == 0 && __builtin_add_overflow(t.c, add, &t.c))
            r.bad = true;
        i += order <= 0;
        j += order >= 0;
        if (r.bad) break;
        if (!t.c) continue;
        if (r.n == MAX_TERMS) {
            r.bad = true;
            break;
        }
        r.t[r.n++] = t;
    }
    *p = r;
}

static bool multiply_terms(const term *a, const term *b, term *out)
{
    *out = (term){0};
    if (a->n + b->n > MAX_DEGREE || __builtin_mul_overflow(a->c, b->c, &out->c)) return false;
    for (uint32_t i = 0, j = 0; i < a->n || j < b->n;) {
        bool left = j == b->n || (i < a->n && a->f[i]->id <= b->f[j]->id);
        out->f[out->n++] = left ? a->f[i++] : b->f[j++];
    }
    return true;
}

static poly multiply_by_term(const poly *p, const term *t)
{
    poly r = {.bad = p->bad};
    for (uint32_t i = 0; i < p->n && !r.bad; i++) {
        poly one = {.n = 1};
        one.bad = !multiply_terms(&p->t[i], t, &one.t[0]);
        accumulate(&r, 1, &one);
    }
    return r;
}

static gr_dim intern(gr_syms *s, poly *p)
{
    if (p->bad) return unknown(s);
    if (p->n == 0) return GR_DIM(0);
    if (p->n == 1 && p->t[0].n == 0) return GR_DIM(p->t[0].c);
    uint32_t h = 2166136261u;
    for (uint32_t i = 0; i < p->n; i++) {
        h = hash_bytes(h, &p->t[i].c, sizeof p->t[i].c);
        for (uint32_t j = 0; j < p->t[i].n; j++) h = hash_bytes(h, &p->t[i].f[j]->id, sizeof p->t[i].f[j]->id);
    }
    GROW(s, gr_expr, s->exprs, s->nexprs, s->capexprs);
    if (!s->capexprs) return (gr_dim){&no_memory, 0};
    gr_expr **bucket = &s->exprs[h & (s->capexprs - 1)];
    for (gr_expr *e = *bucket; e; e = e->next) {
        if (e->hash != h || e->n != p->n) continue;
        bool same = true;
        for (uint32_t i = 0; i < p->n && same; i++)
            same = e->t[i].c == p->t[i].c && !compare_factors(&e->t[i], &p->t[i]);
        if (same) return (gr_dim){e, 0};
    }
    s->work += p->n;
    gr_expr *e = GR_NEW(s->arena, gr_expr);
    term *t = GR_NEWS(s->arena, p->n, term);
    if (!e || !t) return (gr_dim){&no_memory, 0};
    memcpy(t, p->t, p->n * sizeof(term));
    *e = (gr_expr){.n = p->n, .hash = h, .t = t, .next = *bucket};
    *bucket = e;
    s->nexprs++;
    return (gr_dim){e, 0};
}

gr_dim gr_sym_add(gr_syms *s, gr_dim a, gr_dim b)
{
    int64_t k;
    if (!a.expr && !b.expr && !__builtin_add_overflow(a.k, b.k, &k)) return GR_DIM(k);
    poly p = to_poly(a), q = to_poly(b);
    if (s->work > MAX_WORK) return unknown(s);
    accumulate(&p, 1, &q);
    return intern(s, &p);
}

gr_dim gr_sym_sub(gr_syms *s, gr_dim a, gr_dim b)
{
    int64_t k;
    if (!a.expr && !b.expr && !__builtin_sub_overflow(a.k, b.k, &k)) return GR_DIM(k);
    poly p = to_poly(a), q = to_poly(b);
    if (s->work > MAX_WORK) return unknown(s);
    accumulate(&p, -1, &q);
    return intern(s, &p);
}

gr_dim gr_sym_neg(gr_syms *s, gr_dim a) { return gr_sym_sub(s, GR_DIM(0), a); }

/* Whether to multiply or divide these: polynomials of many terms, thousands of times, are nobody's shapes. */
static bool affordable(gr_syms *s, const poly *p, const poly *q)
{
    if (s->work > MAX_WORK) return false;
    s->work += p->n * q->n;
    return true;
}

gr_dim gr_sym_mul(gr_syms *s, gr_dim a, gr_dim b)
{
    int64_t k;
    if (!a.expr && !b.expr && !__builtin_mul_overflow(a.k, b.k, &k)) return GR_DIM(k);
    poly p = to_poly(a), q = to_poly(b), r = {0};
    if (!affordable(s, &p, &q)) return unknown(s);
    for (uint32_t i = 0; i < q.n && !r.bad; i++) {
        poly part = multiply_by_term(&p, &q.t[i]);
        accumulate(&r, 1, &part);
    }
    return intern(s, &r);
}

/* Bounds: a plain symbol is >= 0, so a term with a positive coefficient and nonnegative factors is >= 0. */
static int64_t lower_of(const poly *p)
{
    int64_t low = 0;
    if (p->bad) return INT64_MIN;
    for (uint32_t i = 0; i < p->n; i++) {
        int64_t product = p->t[i].c;
        if (p->t[i].n && p->t[i].c < 0) return INT64_MIN;
        for (uint32_t j = 0; j < p->t[i].n; j++) {
            int64_t l = p->t[i].f[j]->lower;
            if (l < 0) return INT64_MIN;
            if (__builtin_mul_overflow(product, l, &product)) return INT64_MIN;
        }
        if (__builtin_add_overflow(low, product, &low)) return INT64_MIN;
    }
    return low;
}

int64_t gr_sym_lower(gr_dim d)
{
    if (!d.expr) return d.k;
    poly p = to_poly(d);
    return lower_of(&p);
}

/* Sign of a - b if it is certain: 1 greater, 0 equal, -1 less; 2: not known, >= ; -2: not known, <= ; 3: nothing. */
static int compare(gr_dim a, gr_dim b)
{
    if (!a.expr && !b.expr) return a.k > b.k ? 1 : a.k < b.k ? -1 : 0;
    if (gr_dim_same(a, b)) return 0;
    poly p = to_poly(a), q = to_poly(b), r = q;
    accumulate(&p, -1, &q);
    poly u = to_poly(a);
    accumulate(&r, -1, &u);
    int64_t up = lower_of(&p), down = lower_of(&r);
    return up > 0 ? 1 : down > 0 ? -1 : up == 0 ? 2 : down == 0 ? -2 : 3;
}

/* Quotient a / b when the division leaves nothing. */
static bool divide_exactly(const poly *a, const poly *b, poly *quotient)
{
    poly rest = *a, q = {0};
    if (b->n == 0 || a->bad || b->bad) return false;
    const term *lead = &b->t[0];
    for (int round = 0; rest.n && round < MAX_TERMS; round++) {
        term t = {0};
        const term *top = &rest.t[0];
        if ((lead->c == -1 && top->c == INT64_MIN) || top->c % lead->c) return false;
        t.c = top->c / lead->c;
        uint32_t j = 0;
        for (uint32_t i = 0; i < top->n; i++) {
            if (j < lead->n && top->f[i] == lead->f[j])
                j++;
            else
                t.f[t.n++] = top->f[i];
        }
        if (j != lead->n) return false;
        poly one = {.n = 1, .t = {t}}, back = multiply_by_term(b, &t);
        accumulate(&q, 1, &one);
        accumulate(&rest, -1, &back);
        if (q.bad || rest.bad) return false;
    }
    *quotient = q;
    return rest.n == 0;
}

gr_dim gr_sym_div(gr_syms *s, gr_dim a, gr_dim b)
{
    if (gr_dim_is(b, 0)) return unknown(s);
    if (gr_dim_is(b, 1)) return a;
    if (!a.expr && !b.expr && !(a.k == INT64_MIN && b.k == -1)) return GR_DIM(a.k / b.k);
    poly p = to_poly(a), q = to_poly(b), r;
    if (affordable(s, &p, &q) && divide_exactly(&p, &q, &r)) return intern(s, &r);
    bool positive = lower_of(&p) >= 0 && lower_of(&q) >= 0;
    return operation(s, S_DIV, a, b, GR_DIM(0), positive ? 0 : INT64_MIN);
}

gr_dim gr_sym_mod(gr_syms *s, gr_dim a, gr_dim b)
{
    if (gr_dim_is(b, 0)) return unknown(s);
    if (gr_dim_is(b, 1) || gr_dim_is(b, -1)) return GR_DIM(0);
    if (!a.expr && !b.expr) {
        int64_t r = a.k % b.k;
        return GR_DIM(r && (r < 0) != (b.k < 0) ? r + b.k : r);
    }
    poly p = to_poly(a), q = to_poly(b), r;
    if (affordable(s, &p, &q) && divide_exactly(&p, &q, &r)) return GR_DIM(0);
    return operation(s, S_MOD, a, b, GR_DIM(0), lower_of(&q) >= 0 ? 0 : INT64_MIN);
}

gr_dim gr_sym_min(gr_syms *s, gr_dim a, gr_dim b)
{
    int order = compare(a, b);
    if (order == 1 || order == 2) return b;
    if (order != 3) return a;
    int64_t x = gr_sym_lower(a), y = gr_sym_lower(b);
    return operation(s, S_MIN, a, b, GR_DIM(0), x < y ? x : y);
}

gr_dim gr_sym_max(gr_syms *s, gr_dim a, gr_dim b)
{
    int order = compare(a, b);
    if (order == 1 || order == 2) return a;
    if (order != 3) return b;
    int64_t x = gr_sym_lower(a), y = gr_sym_lower(b);
    return operation(s, S_MAX, a, b, GR_DIM(0), x > y ? x : y);
}

gr_dim gr_sym_abs(gr_syms *s, gr_dim a) { return gr_sym_max(s, a, gr_sym_neg(s, a)); }

gr_dim gr_sym_eq(gr_syms *s, gr_dim a, gr_dim b)
{
    int order = compare(a, b);
    if (order == 0) return GR_DIM(1);
    if (order == 1 || order == -1) return GR_DIM(0);
    /* a = b and b = a are one question: ask it of the difference with a positive leading coefficient. */
    gr_dim d = gr_sym_sub(s, a, b);
    if (d.expr && d.expr->t[0].c < 0) d = gr_sym_neg(s, d);
    return operation(s, S_EQ, d, GR_DIM(0), GR_DIM(0), 0);
}

gr_dim gr_sym_lt(gr_syms *s, gr_dim a, gr_dim b)
{
    int order = compare(a, b);
    if (order == -1) return GR_DIM(1);
    if (order == 0 || order == 1 || order == 2) return GR_DIM(0);
    return operation(s, S_LT, a, b, GR_DIM(0), 0);
}

gr_dim gr_sym_not(gr_syms *s, gr_dim a) { return gr_sym_eq(s, a, GR_DIM(0)); }

gr_dim gr_sym_select(gr_syms *s, gr_dim cond, gr_dim yes, gr_dim no)
{
    if (!cond.expr) return cond.k ? yes : no;
    if (gr_dim_same(yes, no)) return yes;
    int64_t x = gr_sym_lower(yes), y = gr_sym_lower(no);
    return operation(s, S_SELECT, cond, yes, no, x < y ? x : y);
}

static const symbol *only_symbol(gr_dim d)
{
    bool one = d.expr && d.expr->n == 1 && d.expr->t[0].n == 1 && d.expr->t[0].c == 1;
    return one ? d.expr->t[0].f[0] : NULL;
}

/* Whether broadcasting `whole` with `part` can only give `whole`. A stretch of a table, min(n, k) long and perhaps
 * written max(min(n, k), 0), fits n only where it equals n (or is 1); and what already came from broadcasting n fits n
 * only as itself. */
static bool absorbs(gr_dim whole, gr_dim part)
{
    const symbol *v = only_symbol(part), *w = only_symbol(whole);
    for (int i = 0; i < 2 && v && v->kind == S_MAX; i++)
        if (gr_dim_is(v->arg[i], 0)) v = only_symbol(v->arg[1 - i]);
    if (v && v->kind == S_MIN && (gr_dim_same(v->arg[0], whole) || gr_dim_same(v->arg[1], whole))) return true;
    return w && w->kind == S_BROADCAST && (gr_dim_same(w->arg[0], part) || gr_dim_same(w->arg[1], part));
}

bool gr_sym_broadcast(gr_syms *s, gr_dim a, gr_dim b, gr_dim *out)
{
    if (gr_dim_same(a, b) || gr_dim_is(b, 1) || absorbs(a, b)) return *out = a, true;
    if (absorbs(b, a)) return *out = b, true;
    if (gr_dim_is(a, 1)) return *out = b, true;
    if (!a.expr && !b.expr) return false;
    if (!a.expr || !b.expr) return *out = a.expr ? b : a, true; /* n with a symbol: the symbol is 1 or n */
    if (gr_sym_lower(a) > 1) return *out = a, true;
    if (gr_sym_lower(b) > 1) return *out = b, true;
    bool swap = a.expr->t[0].f[0]->id > b.expr->t[0].f[0]->id; /* one order, whatever the call's */
    *out = operation(s, S_BROADCAST, swap ? b : a, swap ? a : b, GR_DIM(0), 0);
    return true;
}

/* ---- text and evaluation ---- */

typedef struct text {
    char s[TEXT_SIZE];
    size_t n;
} text;

static void put(text *t, const char *s)
{
    size_t n = strlen(s), room = sizeof t->s - 1 - t->n;
    if (n > room) n = room;
    memcpy(t->s + t->n, s, n);
    t->n += n;
}

static void put_dim(text *t, gr_dim d, bool nested);

static void put_symbol(text *t, const symbol *v)
{
    static const char *const names[] = {[S_MOD] = "mod", [S_MIN] = "min", [S_MAX] = "max", [S_SELECT] = "where",
                                        [S_BROADCAST] = "broadcast"};
    static const char *const infix[] = {[S_DIV] = " / ", [S_EQ] = " == ", [S_LT] = " < "};
    char number[24];
    if (v->kind == S_NAMED) {
        put(t, v->name);
    } else if (v->kind == S_FRESH) {
        snprintf(number, sizeof number, "?%u", v->id);
        put(t, number);
    } else if (v->kind == S_DIV || v->kind == S_EQ || v->kind == S_LT) {
        put(t, "(");
        put_dim(t, v->arg[0], true);
        put(t, infix[v->kind]);
        put_dim(t, v->arg[1], true);
        put(t, ")");
    } else {
        put(t, names[v->kind]);
        for (int i = 0; i < (v->kind == S_SELECT ? 3 : 2); i++) {
            put(t, i ? ", " : "(");
            put_dim(t, v->arg[i], false);
        }
        put(t, ")");
    }
}

static void put_dim(text *t, gr_dim d, bool nested)
{
    char number[24];
    if (!d.expr) {
        snprintf(number, sizeof number, "%lld", (long long)d.k);
        put(t, number);
        return;
    }
    bool bracket = nested && d.expr->n > 1;
    if (bracket) put(t, "(");
    for (uint32_t i = 0; i < d.expr->n && t->n < sizeof t->s - 1; i++) {
        const term *m = &d.expr->t[i];
        uint64_t c = m->c < 0 ? -(uint64_t)m->c : (uint64_t)m->c;
        put(t, i ? m->c < 0 ? " - " : " + " : m->c < 0 ? "-" : "");
        if (c != 1 || m->n == 0) {
            snprintf(number, sizeof number, "%llu", (unsigned long long)c);
            put(t, number);
            if (m->n) put(t, "*");
        }
        for (uint32_t j = 0; j < m->n; j++) {
            if (j) put(t, "*");
            put_symbol(t, m->f[j]);
        }
    }
    if (bracket) put(t, ")");
}

const char *gr_sym_text(gr_syms *s, gr_dim d)
{
    text t = {0};
    put_dim(&t, d, false);
    const char *copy = gr_arena_strndup(s->arena, t.s, t.n);
    return copy ? copy : "?";
}

typedef struct bindings {
    const gr_sym_binding *b;
    size_t n;
} bindings;

static bool eval_symbol(const symbol *v, const bindings *b, int64_t *out)
{
    int64_t x = 0, y = 0, z = 0;
    if (v->kind == S_NAMED) {
        for (size_t i = 0; i < b->n; i++)
            if (!strcmp(b->b[i].name, v->name)) return *out = b->b[i].value, true;
        return false;
    }
    if (v->kind == S_FRESH) return false;
    if (!gr_sym_eval(v->arg[0], b->b, b->n, &x) || !gr_sym_eval(v->arg[1], b->b, b->n, &y) ||
        !gr_sym_eval(v->arg[2], b->b, b->n, &z))
        return false;
    switch (v->kind) {
    case S_DIV:
        if (y == 0 || (y == -1 && x == INT64_MIN)) return false;
        return *out = x / y, true;
    case S_MOD:
        if (y == 0 || y == -1) return *out = 0, y != 0;
        return *out = x % y && (x % y < 0) != (y < 0) ? x % y + y : x % y, true;
    case S_MIN: return *out = x < y ? x : y, true;
    case S_MAX: return *out = x > y ? x : y, true;
    case S_EQ: return *out = x == y, true;
    case S_LT: return *out = x < y, true;
    case S_SELECT: return *out = x ? y : z, true;
    case S_BROADCAST: return *out = x == 1 ? y : x, x == 1 || y == 1 || x == y;
    default: return false;
    }
}

bool gr_sym_eval(gr_dim d, const gr_sym_binding *b, size_t n, int64_t *out)
{
    int64_t sum = 0;
    bindings all = {b, n};
    if (!d.expr) return *out = d.k, true;
    for (uint32_t i = 0; i < d.expr->n; i++) {
        int64_t product = d.expr->t[i].c, x;
        for (uint32_t j = 0; j < d.expr->t[i].n; j++)
            if (!eval_symbol(d.expr->t[i].f[j], &all, &x) || __builtin_mul_overflow(product, x, &product)) return false;
        if (__builtin_add_overflow(sum, product, &sum)) return false;
    }
    return *out = sum, true;
}
