/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention(q, k, v) = softmax(scale * q k^T + mask) v per head, found from each Softmax: backwards through an added
 * mask and scalar factors to the product of queries and keys, forwards to the product with the values and the merge of
 * the heads. Scalars may stand on q, on k or on the product; keys may be transposed in one step or two. Requires no-op
 * and linear.
 */
#include "match.h"
#include "passes.h"
#include <math.h>

typedef struct found {
    gr_node *softmax, *merged; /* merged: the Reshape to [batch, queries, heads * size] */
    gr_value *q, *k, *v, *mask;
    int64_t heads;
    double scale;
    gr_node *nodes[24];        /* between them, all of which the match covers */
    int count;
} found;

static bool cover(found *f, gr_node *n)
{
    if (!n || f->count == (int)(sizeof f->nodes / sizeof *f->nodes)) return false;
    f->nodes[f->count++] = n;
    return true;
}

static bool is_op(const gr_node *n, const char *name) { return n && !n->op->domain && !strcmp(n->op->name, name); }

static gr_node *maker(const gr_value *v, const char *op)
{
    return v && !v->konst && is_op(v->def, op) && v->def->out[0] == v ? v->def : NULL;
}

static gr_node *only_reader(const gr_value *v)
{
    return v->nuses == 1 && !v->is_output ? v->uses->user : NULL;
}

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
static gr_value *strip_scale(found *f, gr_value *v)
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
        f->scale *= x;
        if (!cover(f, mul ? mul : div)) return NULL;
    }
}

/* x of Reshape(x, [batch, tokens, heads, size]). */
static gr_value *split_source(found *f, const gr_value *v)
{
    gr_node *n = maker(v, "Reshape");
    gr_value *x = gr_in(n ? n : f->softmax, 0);
    if (!n || x->type.rank != 3 || v->type.rank != 4 || !cover(f, n)) return NULL;
    const gr_dim *a = x->type.dims, *b = v->type.dims;
    if (!gr_dim_same(a[0], b[0]) || !gr_dim_same(a[1], b[1]) || b[2].expr || b[3].expr || a[2].expr) return NULL;
    if (b[2].k * b[3].k != a[2].k || (f->heads && f->heads != b[2].k)) return NULL;
    f->heads = b[2].k;
    return x;
}

/* [batch, heads, tokens, size] back to [batch, tokens, heads * size]. */
static gr_value *head_source(found *f, gr_value *v)
{
    v = strip_scale(f, v);
    gr_node *n = maker(v, "Transpose");
    if (!n || !has_order(n, "0213") || !cover(f, n)) return NULL;
    return split_source(f, strip_scale(f, gr_in(n, 0)));
}

/* [batch, heads, size, tokens] likewise. */
static gr_value *key_source(found *f, gr_value *v)
{
    v = strip_scale(f, v);
    gr_node *n = maker(v, "Transpose");
    if (!n || !cover(f, n)) return NULL;
    if (has_order(n, "0231")) return split_source(f, strip_scale(f, gr_in(n, 0)));
    return has_order(n, "0132") ? head_source(f, gr_in(n, 0)) : NULL;
}

/* A mask that is added to scores [batch, heads, queries, keys] without changing their shape. */
static bool is_mask(const gr_value *mask, const gr_value *scores)
{
    const gr_type *m = &mask->type, *s = &scores->type;
    if (m->dtype != GR_FLOAT || m->rank < 0 || m->rank > 4) return false;
    for (int i = 0; i < m->rank; i++) {
        gr_dim d = m->dims[i];
        if (!gr_dim_is(d, 1) && !gr_dim_same(d, s->dims[4 - m->rank + i])) return false;
    }
    return true;
}

static bool find_scores(found *f)
{
    gr_value *s = strip_scale(f, gr_in(f->softmax, 0));
    if (!s || f->scale != 1) return false;
    gr_node *add = maker(s, "Add");
    gr_value *product = s;
    if (add && cover(f, add)) {
        for (uint32_t i = 0; i < 2 && !f->mask; i++) {
            found before = *f;
            product = strip_scale(f, gr_in(add, i));
            if (product && maker(product, "MatMul") && is_mask(gr_in(add, 1 - i), product))
                f->mask = gr_in(add, 1 - i);
            else
                *f = before;
        }
        if (!f->mask) return false;
    } else {
        product = strip_scale(f, s);
    }
    gr_node *n = maker(product, "MatMul");
    if (!n || !cover(f, n)) return false;
    f->q = head_source(f, gr_in(n, 0));
    f->k = f->q ? key_source(f, gr_in(n, 1)) : NULL;
    return f->k != NULL;
}

static bool find_context(found *f)
{
    gr_node *n = only_reader(f->softmax->out[0]);
    if (!is_op(n, "MatMul") || gr_in(n, 0) != f->softmax->out[0] || !cover(f, n)) return false;
    double before = f->scale;
    f->v = head_source(f, gr_in(n, 1));
    if (!f->v || f->scale != before) return false;
    gr_node *back = only_reader(n->out[0]);
    if (!is_op(back, "Transpose") || !has_order(back, "0213") || !cover(f, back)) return false;
    gr_node *merge = only_reader(back->out[0]);
    if (!is_op(merge, "Reshape") || gr_in(merge, 0) != back->out[0] || !cover(f, merge)) return false;
    const gr_type *y = &merge->out[0]->type, *q = &f->q->type, *v = &f->v->type;
    f->merged = merge;
    return y->rank == 3 && gr_dim_same(y->dims[0], q->dims[0]) && gr_dim_same(y->dims[1], q->dims[1]) &&
           gr_dim_same(y->dims[2], v->dims[2]);
}

static bool last_axis(const gr_node *n)
{
    int64_t axis;
    return gr_attr_int(n->attrs, "axis", n->op->since < 13 ? 1 : -1, &axis, NULL) == GR_OK && (axis == -1 || axis == 3);
}

/* Shared producers (a k that two layers read) are fine: what is still read stays. Only the scores must be ours alone,
 * or computing them twice would be worse than leaving them. */
static bool scores_escape(const found *f)
{
    const gr_value *v = gr_in(f->softmax, 0);
    while (v->def && f->merged) {
        if (v->nuses != 1 || v->is_output) return true;
        if (is_op(v->def, "MatMul")) return false;
        const gr_value *next = gr_in(v->def, 0);
        if (next == f->mask || next->konst) next = gr_in(v->def, 1);
        v = next;
    }
    return true;
}

static gr_status rewrite(gr_graph *g, const found *f, bool *done, gr_err *err)
{
    gr_build b = {g, f->merged, err};
    gr_attr attrs[] = {gr_attr_of_int("num_heads", f->heads), gr_attr_of_float("scale", (float)f->scale)};
    gr_value *in[] = {f->q, f->k, f->v, f->mask}, *old = f->merged->out[0];
    gr_value *y = gr_build_node(&b, "graphrun", "Attention", gr_build_attrs(&b, 2, attrs), 4, in);
    if (!y) return err ? err->status : GR_ENOMEM;
    gr_replace_uses(old, y);
    gr_take_name(y, old);
    y->def->name = f->softmax->name;
    *done = true;
    return GR_OK;
}

gr_status gr_pass_attention(gr_graph *g, int *hits, gr_err *err)
{
    for (gr_node *n = g->first, *next; n; n = next) {
        next = n->next;
        found f = {.softmax = n, .scale = 1};
        bool done = false;
        if (!is_op(n, "Softmax") || n->out[0]->konst || n->out[0]->type.rank != 4) continue;
        if (n->out[0]->type.dtype != GR_FLOAT || !last_axis(n)) continue;
        if (!find_scores(&f) || !find_context(&f) || scores_escape(&f)) continue;
        GR_TRY(rewrite(g, &f, &done, err));
        if (done) ++*hits;
    }
    return GR_OK;
}
