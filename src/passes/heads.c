/* SPDX-License-Identifier: Apache-2.0
 *
 * Tracing the operands of attention back to the projections that they come from. What is not understood is taken as it
 * is: split by heads, and for keys perhaps transposed.
 */
#include "heads.h"


gr_node *gr_maker(const gr_value *v, const char *op)
{
    return v && !v->konst && gr_is_op(v->def, op) && v->def->out[0] == v ? v->def : NULL;
}

bool gr_has_order(const gr_node *n, const char *order)
{
    int64_t count;
    const int64_t *perm;
    if (!n || gr_attr_ints(n->attrs, "perm", &count, &perm, NULL) != GR_OK || count != (int64_t)strlen(order))
        return false;
    for (int64_t i = 0; i < count; i++)
        if (perm[i] != order[i] - '0') return false;
    return true;
}

gr_value *gr_strip_scale(gr_value *v, double *scale)
{
    enum { FACTORS = 16 };
    double x;
    for (int i = 0; i < FACTORS; i++) {
        gr_node *mul = gr_maker(v, "Mul"), *div = gr_maker(v, "Div");
        gr_value *next = NULL;
        if (mul && gr_scalar_of(gr_in(mul, 1), &x)) {
            next = gr_in(mul, 0);
        } else if (mul && gr_scalar_of(gr_in(mul, 0), &x)) {
            next = gr_in(mul, 1);
        } else if (div && gr_scalar_of(gr_in(div, 1), &x) && x != 0) {
            next = gr_in(div, 0);
            x = 1 / x;
        }
        if (!next || next->type.rank != v->type.rank) return v;
        v = next;
        *scale *= x;
    }
    return v;
}

gr_value *gr_unmerged(const gr_value *v)
{
    gr_node *n = gr_maker(v, "Reshape");
    gr_value *x = n && gr_known_shape(gr_in(n, 1)) ? gr_in(n, 0) : NULL;
    if (!x || v->type.rank != 3 || x->type.rank != 4) return NULL;
    return gr_dim_same(x->type.dims[2], v->type.dims[1]) && gr_dim_same(x->type.dims[3], v->type.dims[2]) ? x : NULL;
}

/* x of v = Reshape(x, [batch, tokens, heads, size]): [batch, tokens, heads * size], or that with the first two axes as
 * one, where their sizes are numbers. */
static bool rows_of(gr_value *v, gr_heads *out)
{
    gr_node *n = gr_maker(v, "Reshape");
    gr_value *x = n ? gr_in(n, 0) : NULL;
    if (!x || v->type.rank != 4) return false;
    const gr_dim *a = x->type.dims, *b = v->type.dims;
    bool rows = x->type.rank == 3 && gr_dim_same(a[0], b[0]) && gr_dim_same(a[1], b[1]);
    bool flat = x->type.rank == 2 && !b[0].expr && !b[1].expr && !a[0].expr;
    if ((!rows && !flat) || b[2].expr || b[3].expr || a[x->type.rank - 1].expr) return false;
    if (b[2].k * b[3].k != a[x->type.rank - 1].k) return false;
    out->v = gr_strip_scale(x, &out->scale);
    out->split = v->type;
    out->heads = b[2].k;
    return true;
}

/* x of v = Reshape(Expand(Unsqueeze(x, 2)), [batch, heads, tokens, size]), where each head of x is repeated. */
static gr_value *unrepeated(gr_value *v)
{
    gr_node *merge = gr_maker(v, "Reshape"), *expand = merge ? gr_maker(gr_in(merge, 0), "Expand") : NULL;
    gr_value *five = expand ? gr_in(expand, 0) : NULL;
    gr_node *insert = gr_maker(five, "Unsqueeze");
    gr_value *x = insert ? gr_in(insert, 0) : NULL;
    if (!insert) insert = gr_maker(five, "Reshape"), x = insert ? gr_in(insert, 0) : NULL;
    if (!x || v->type.rank != 4 || x->type.rank != 4 || five->type.rank != 5) return NULL;
    const gr_dim *a = x->type.dims, *b = five->type.dims, *c = gr_in(merge, 0)->type.dims, *d = v->type.dims;
    if (gr_in(merge, 0)->type.rank != 5 || !gr_dim_is(b[2], 1) || !gr_dim_known(a[1]) || !gr_dim_known(d[1]))
        return NULL;
    for (int i = 0; i < 4; i++)
        if (!gr_dim_same(a[i], b[i < 2 ? i : i + 1]) || !gr_dim_same(a[i], c[i < 2 ? i : i + 1])) return NULL;
    if (!gr_dim_same(a[0], d[0]) || !gr_dim_same(a[2], d[2]) || !gr_dim_same(a[3], d[3])) return NULL;
    return x;
}

/* v as it is. */
static bool as_it_is(gr_value *v, bool lies, gr_heads *out)
{
    out->v = v;
    out->split = v->type;
    out->by_heads = true;
    out->lies = lies;
    out->whole = v->type.rank == 3;
    out->heads = out->whole ? 1 : v->type.dims[1].k;
    return out->whole || gr_dim_known(v->type.dims[1]);
}

/* [batch, heads, tokens, size] */
static bool upright(gr_value *v, gr_heads *out)
{
    v = gr_strip_scale(v, &out->scale);
    gr_value *single = unrepeated(v);
    if (single) v = gr_strip_scale(single, &out->scale);
    gr_node *n = gr_maker(v, "Transpose");
    double before = out->scale;
    if (gr_has_order(n, "0213") && rows_of(gr_strip_scale(gr_in(n, 0), &out->scale), out)) return true;
    out->scale = before;
    return as_it_is(v, false, out);
}

bool gr_heads_of(gr_value *v, bool flipped, bool whole, gr_heads *out)
{
    *out = (gr_heads){.scale = 1};
    v = gr_strip_scale(v, &out->scale);
    gr_node *n = gr_maker(v, "Transpose");
    if (flipped && v->type.rank == 3 && gr_has_order(n, "021")) {
        v = gr_strip_scale(gr_in(n, 0), &out->scale);
        flipped = false;
    }
    if (v->type.rank == 3) {
        gr_value *four = whole ? NULL : gr_unmerged(v);
        if (!four) return as_it_is(v, flipped, out);
        v = gr_strip_scale(four, &out->scale);
        n = gr_maker(v, "Transpose");
    }
    if (v->type.rank != 4 || whole) return false;
    if (!flipped) return upright(v, out);
    double before = out->scale;
    if (gr_has_order(n, "0231") && rows_of(gr_strip_scale(gr_in(n, 0), &out->scale), out)) return true;
    out->scale = before;
    return gr_has_order(n, "0132") ? upright(gr_in(n, 0), out) : as_it_is(v, true, out);
}
