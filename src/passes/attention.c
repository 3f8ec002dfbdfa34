/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention(q, k, v) = softmax(scale * q k^T + mask) v per head, found from each Softmax: backwards through masks and
 * scalar factors to the product of queries and keys, forwards to the product with the values and the merge of the heads.
 * Scalars may stand on q, on k or on the product; keys may be transposed in one step or two, and come from a projection
 * or a cache. Masks may be added, or chosen by Where with a fill so low that adding it says the same. Requires no-op,
 * reshape, expand and linear.
 */
#include "match.h"
#include "passes.h"
#include <math.h>

/* A fill from which on a score disappears in it, so that choosing and adding are the same (half of float's range). */
#define LOWEST_FILL (-1e37)

enum { MAX_MASKS = 4 };

typedef struct mask_step { /* from the scores outwards */
    gr_value *add;         /* added, or */
    gr_value *cond, *fill; /* chosen by a condition */
    bool fill_if;          /* the fill is taken where the condition holds */
} mask_step;

typedef struct found {
    gr_node *softmax, *merge; /* merge: the Reshape to [batch, queries, heads * size] */
    gr_value *scores;         /* of the product, [batch, heads, queries, keys] */
    gr_value *q, *k, *v;
    int64_t heads;
    double scale;
    bool guarded;             /* by Where(IsNaN(p), 0, p) */
    int nmasks;
    mask_step masks[MAX_MASKS]; /* the outermost first */
} found;

static bool is_op(const gr_node *n, const char *name) { return n && !n->op->domain && !strcmp(n->op->name, name); }

static gr_node *maker(const gr_value *v, const char *op)
{
    return v && !v->konst && is_op(v->def, op) && v->def->out[0] == v ? v->def : NULL;
}

static gr_node *only_reader(const gr_value *v) { return v->nuses == 1 && !v->is_output ? v->uses->user : NULL; }

static bool has_order(const gr_node *n, const char *order)
{
    int64_t count;
    const int64_t *perm;
    if (gr_attr_ints(n->attrs, "perm", &count, &perm, NULL) != GR_OK || count != (int64_t)strlen(order)) return false;
    for (int64_t i = 0; i < count; i++)
        if (perm[i] != order[i] - '0') return false;
    return true;
}

/* Step back through multiplications and divisions by scalars, collecting the factor. */
static gr_value *strip_scale(gr_value *v, double *scale)
{
    double x;
    for (;;) {
        gr_node *mul = maker(v, "Mul"), *div = maker(v, "Div");
        if (mul && gr_scalar_of(gr_in(mul, 1), &x)) {
            v = gr_in(mul, 0);
        } else if (mul && gr_scalar_of(gr_in(mul, 0), &x)) {
            v = gr_in(mul, 1);
        } else if (div && gr_scalar_of(gr_in(div, 1), &x) && x != 0) {
            v = gr_in(div, 0);
            x = 1 / x;
        } else {
            return v;
        }
        *scale *= x;
    }
}

/* ---- from the softmax back to the product ---- */

/* Whether what is done to scores leaves their shape alone. The last axis need not be looked at: its length is that of
 * the values, by the product that follows. */
static bool same_shape(const gr_value *a, const gr_value *b)
{
    if (a->type.rank != 4 || b->type.rank != 4) return false;
    for (int i = 0; i < 3; i++)
        if (!gr_dim_same(a->type.dims[i], b->type.dims[i])) return false;
    return true;
}

static bool is_low(const gr_value *v)
{
    double x;
    return gr_scalar_of(v, &x) && x <= LOWEST_FILL;
}

/* The value under an added mask or a choice, or NULL; the mask is noted. */
static gr_value *under_mask(found *f, gr_value *v, int which)
{
    gr_node *add = maker(v, "Add"), *where = maker(v, "Where");
    if (f->nmasks == MAX_MASKS || (!add && !where)) return NULL;
    gr_value *inner = add ? gr_in(add, (uint32_t)which) : gr_in(where, 1 + (uint32_t)which);
    mask_step *m = &f->masks[f->nmasks];
    if (!same_shape(inner, v)) return NULL;
    if (add)
        *m = (mask_step){.add = gr_in(add, 1 - (uint32_t)which)};
    else if (is_low(gr_in(where, 2 - (uint32_t)which)))
        *m = (mask_step){.cond = gr_in(where, 0), .fill = gr_in(where, 2 - (uint32_t)which), .fill_if = which == 1};
    else
        return NULL;
    f->nmasks++;
    return inner;
}

/* Scale and masks do not commute: once a mask is passed, a factor further out would scale it too. */
static bool find_product(found *f, gr_value *v)
{
    double scale = 1;
    if (v->is_output || v->nuses != 1) return false; /* somebody looks at scores: they must exist */
    gr_value *inner = strip_scale(v, &scale);
    if (maker(inner, "MatMul") && inner->nuses == 1 && !inner->is_output) {
        f->scores = inner;
        f->scale = scale;
        return true;
    }
    if (scale != 1) return false;
    for (int which = 0; which < 2; which++) {
        found before = *f;
        gr_value *next = under_mask(f, v, which);
        if (next && find_product(f, next)) return true;
        *f = before;
    }
    return false;
}

/* ---- queries, keys and values ---- */

/* x of Reshape(x, [batch, tokens, heads, size]): [batch, tokens, heads * size], or that with the first two axes as one,
 * where their sizes are numbers. */
static gr_value *split_source(found *f, const gr_value *v)
{
    gr_node *n = maker(v, "Reshape");
    gr_value *x = n ? gr_in(n, 0) : NULL;
    if (!x || v->type.rank != 4) return NULL;
    const gr_dim *a = x->type.dims, *b = v->type.dims;
    bool rows = x->type.rank == 3 && gr_dim_same(a[0], b[0]) && gr_dim_same(a[1], b[1]);
    bool flat = x->type.rank == 2 && !b[0].expr && !b[1].expr && !a[0].expr;
    if ((!rows && !flat) || b[2].expr || b[3].expr || a[x->type.rank - 1].expr) return NULL;
    if (b[2].k * b[3].k != a[x->type.rank - 1].k || (f->heads && f->heads != b[2].k)) return NULL;
    f->heads = b[2].k;
    return x;
}

/* [batch, heads, tokens, size]: back to [batch, tokens, heads * size] if it was made of that. */
static gr_value *head_source(found *f, gr_value *v)
{
    v = strip_scale(v, &f->scale);
    gr_node *n = maker(v, "Transpose");
    return n && has_order(n, "0213") ? split_source(f, strip_scale(gr_in(n, 0), &f->scale)) : NULL;
}

/* The same, or split by heads as it is (from a cache). */
static gr_value *cache_source(found *f, gr_value *v)
{
    double scale = f->scale;
    gr_value *x = head_source(f, v);
    if (x) return x;
    f->scale = scale;
    v = strip_scale(v, &f->scale);
    bool split = v->type.rank == 4 && gr_dim_is(v->type.dims[1], f->heads) && gr_dim_known(v->type.dims[3]);
    return split ? v : NULL;
}

/* [batch, heads, size, tokens]. */
static gr_value *key_source(found *f, gr_value *v)
{
    v = strip_scale(v, &f->scale);
    gr_node *n = maker(v, "Transpose");
    if (!n) return NULL;
    if (has_order(n, "0231")) return split_source(f, strip_scale(gr_in(n, 0), &f->scale));
    return has_order(n, "0132") ? cache_source(f, gr_in(n, 0)) : NULL;
}

static bool find_context(found *f)
{
    gr_value *p = f->softmax->out[0];
    gr_node *n = only_reader(p);
    /* Where(IsNaN(p), 0, p) */
    if (!n && p->nuses == 2 && !p->is_output) {
        gr_node *a = p->uses->user, *b = p->uses->next->user;
        gr_node *where = is_op(a, "Where") ? a : b, *nan = where == a ? b : a;
        double zero;
        if (!is_op(where, "Where") || !is_op(nan, "IsNaN") || gr_in(where, 0) != nan->out[0]) return false;
        if (gr_in(where, 2) != p || !gr_scalar_of(gr_in(where, 1), &zero) || zero != 0) return false;
        f->guarded = true;
        p = where->out[0];
        n = only_reader(p);
    }
    if (!is_op(n, "MatMul") || gr_in(n, 0) != p) return false;
    double before = f->scale;
    f->v = cache_source(f, gr_in(n, 1));
    if (!f->v || f->scale != before) return false;
    gr_node *back = only_reader(n->out[0]);
    if (!is_op(back, "Transpose") || !has_order(back, "0213")) return false;
    f->merge = only_reader(back->out[0]);
    if (!is_op(f->merge, "Reshape") || gr_in(f->merge, 0) != back->out[0]) return false;
    /* [batch, queries, heads, size] to [batch, queries, heads * size], or with the first two axes as one */
    const gr_type *y = &f->merge->out[0]->type, *c = &back->out[0]->type;
    if (c->rank != 4 || c->dims[2].expr || c->dims[3].expr) return false;
    if (y->rank < 2 || y->rank > 3 || !gr_dim_is(y->dims[y->rank - 1], c->dims[2].k * c->dims[3].k)) return false;
    return y->rank == 2 || (gr_dim_same(y->dims[0], c->dims[0]) && gr_dim_same(y->dims[1], c->dims[1]));
}

static bool last_axis(const gr_node *n)
{
    int64_t axis;
    return gr_attr_int(n->attrs, "axis", n->op->since < 13 ? 1 : -1, &axis, NULL) == GR_OK && (axis == -1 || axis == 3);
}

static bool find(found *f)
{
    const gr_value *p = f->softmax->out[0];
    if (p->konst || p->type.rank != 4 || p->type.dtype != GR_FLOAT || !last_axis(f->softmax)) return false;
    if (!find_product(f, gr_in(f->softmax, 0))) return false;
    gr_node *product = f->scores->def;
    f->q = head_source(f, gr_in(product, 0));
    f->k = f->q ? key_source(f, gr_in(product, 1)) : NULL;
    return f->k && find_context(f);
}

/* ---- rewriting ---- */

/* What the masks come to when they are added to scores, from the innermost outwards. NULL with *ok: none. */
static gr_value *build_mask(gr_build *b, const found *f, bool *ok)
{
    gr_value *mask = NULL, *zero = NULL;
    *ok = true;
    for (int i = f->nmasks - 1; i >= 0 && *ok; i--) {
        const mask_step *m = &f->masks[i];
        if (m->add) {
            gr_value *in[] = {mask, m->add};
            mask = mask ? gr_build_node(b, "", "Add", (gr_attrs){0}, 2, in) : m->add;
        } else {
            if (!mask && !zero) zero = gr_graph_scalar(b->g, "zero", 0);
            gr_value *kept = mask ? mask : zero;
            gr_value *in[] = {m->cond, m->fill_if ? m->fill : kept, m->fill_if ? kept : m->fill};
            mask = kept ? gr_build_node(b, "", "Where", (gr_attrs){0}, 3, in) : NULL;
        }
        *ok = mask != NULL;
    }
    return mask;
}

/* x with its rows laid out as [batch, tokens, width] if they are not. */
static gr_value *as_rows(gr_build *b, const found *f, gr_value *x, int batch, int tokens)
{
    if (!x || x->type.rank != 2) return x;
    const gr_dim *s = f->scores->type.dims;
    int64_t shape[] = {s[batch].k, s[tokens].k, x->type.dims[1].k};
    gr_value *in[] = {x, gr_graph_ints(b->g, "shape", 3, shape)};
    return in[1] ? gr_build_node(b, "", "Reshape", (gr_attrs){0}, 2, in) : NULL;
}

static gr_value *as_merged(gr_build *b, const gr_type *want, gr_value *y)
{
    if (!y || want->rank != 2) return y;
    int64_t shape[] = {-1, want->dims[1].k};
    gr_value *in[] = {y, gr_graph_ints(b->g, "shape", 2, shape)};
    y = in[1] ? gr_build_node(b, "", "Reshape", (gr_attrs){0}, 2, in) : NULL;
    if (y) y->type = *want;
    return y;
}

static gr_status rewrite(gr_graph *g, const found *f, gr_err *err)
{
    bool ok;
    gr_build b = {g, f->merge, err};
    gr_attr attrs[] = {gr_attr_of_int("num_heads", f->heads), gr_attr_of_float("scale", (float)f->scale),
                       gr_attr_of_int("empty_is_zero", 1)};
    gr_value *in[] = {as_rows(&b, f, f->q, 0, 2), as_rows(&b, f, f->k, 0, 3), as_rows(&b, f, f->v, 0, 3),
                      build_mask(&b, f, &ok)};
    gr_value *old = f->merge->out[0], *y = NULL;
    if (ok && in[0] && in[1] && in[2])
        y = gr_build_node(&b, "graphrun", "Attention", gr_build_attrs(&b, f->guarded ? 3 : 2, attrs), 4, in);
    if (y) y->def->name = f->softmax->name;
    y = as_merged(&b, &old->type, y);
    if (!y) return err ? err->status : GR_ENOMEM;
    gr_replace_uses(old, y);
    gr_take_name(y, old);
    return GR_OK;
}

gr_status gr_pass_attention(gr_graph *g, int *hits, gr_err *err)
{
    for (gr_node *n = g->first, *next; n && !gr_pass_stopped(g); n = next) {
        next = n->next;
        found f = {.softmax = n, .scale = 1};
        if (!is_op(n, "Softmax") || !find(&f)) continue;
        GR_TRY(rewrite(g, &f, err));
        ++*hits;
    }
    return *hits ? gr_pass_common(g, hits, err) : GR_OK; /* layers build their masks alike */
}
