/* SPDX-License-Identifier: Apache-2.0
 *
 * Einsum of two operands as what it mostly is: a linear layer whose weight has more than two axes ("abc,cde->abde",
 * "abcd,cde->abe"), or a product of matrices in another order of axes ("bqnd,bknd->bnqk"). Weights are read in another
 * shape, never moved. A bias with two axes goes in front of the split that it was added behind. Requires inference.
 */
#include "build.h"
#include "heads.h"
#include "pass.h"
#include "passes.h"
#include <stdio.h>

enum { MAX_LABELS = 8 };

typedef struct equation {
    char a[MAX_LABELS + 1], b[MAX_LABELS + 1], y[MAX_LABELS + 1];
} equation;

/* Labels of one term; false if there is an ellipsis or a label twice. */
static bool term(const char **at, const char *end, char *out)
{
    int n = 0;
    for (; *at < end && **at != ',' && **at != '-'; ++*at) {
        const char c = **at;
        if (c == ' ') continue;
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) || n == MAX_LABELS || memchr(out, c, (size_t)n))
            return false;
        out[n++] = c;
    }
    out[n] = 0;
    return n > 0;
}

static bool parse(const gr_node *n, equation *e)
{
    const gr_attr *attr = gr_attr_find(n->attrs, "equation");
    if (!attr || attr->type != GR_ATTR_STRING || n->nin != 2 || !gr_in(n, 0) || !gr_in(n, 1)) return false;
    const char *at = attr->s.data, *end = at + attr->s.size;
    if (!term(&at, end, e->a) || at == end || *at++ != ',' || !term(&at, end, e->b)) return false;
    if (end - at < 2 || at[0] != '-' || at[1] != '>') return false;
    at += 2;
    return term(&at, end, e->y) && at == end && gr_in(n, 0)->type.rank == (int)strlen(e->a) &&
           gr_in(n, 1)->type.rank == (int)strlen(e->b);
}

/* Labels of x that are (or are not) in p and in q. */
static void pick(const char *x, const char *p, bool in_p, const char *q, bool in_q, char *out)
{
    for (; *x; x++)
        if (!strchr(p, *x) == !in_p && !strchr(q, *x) == !in_q) *out++ = *x;
    *out = 0;
}

static bool spells(const char *x, const char *head, const char *tail)
{
    size_t n = strlen(head);
    return !strncmp(x, head, n) && !strcmp(x + n, tail);
}

/* The same contents in another shape. */
static gr_value *constant_view(gr_graph *g, const gr_value *v, int rank, const int64_t *dims)
{
    gr_value *view = gr_graph_const(g, v->name, v->konst->dtype, rank, dims, v->konst->data);
    if (!view) return NULL;
    view->konst->mapped = v->konst->mapped;
    view->type.dtype = v->type.dtype; /* not the tensor's where weights are kept in 16 bits */
    return view;
}

/* ---- with a constant weight ---- */

static gr_value *layer(gr_build *b, const gr_node *n, const equation *e)
{
    char inner[MAX_LABELS + 1], rows[MAX_LABELS + 1], columns[MAX_LABELS + 1];
    gr_value *x = gr_in(n, 0), *w = gr_in(n, 1);
    pick(e->a, e->b, true, e->y, false, inner);
    pick(e->a, e->b, false, e->y, true, rows);
    pick(e->b, e->a, false, e->y, true, columns);
    if (!w->konst || !w->konst->elements || !*inner || !*rows || !*columns || !spells(e->a, rows, inner) ||
        !spells(e->y, rows, columns))
        return NULL;
    const bool flipped = !spells(e->b, inner, columns);
    if (flipped && !spells(e->b, columns, inner)) return NULL;
    const int nrows = (int)strlen(rows), ncolumns = (int)strlen(columns), ninner = (int)strlen(inner);
    int64_t from[MAX_LABELS] = {0}, to[2 * MAX_LABELS] = {0}, matrix[2] = {1, 1};
    const int64_t *d = w->konst->dims;
    for (int i = 0; i < ninner + ncolumns; i++) matrix[i >= (flipped ? ncolumns : ninner)] *= d[i];
    for (int i = 0; i < ncolumns; i++) to[nrows + i] = d[flipped ? i : ninner + i];
    from[nrows] = matrix[flipped];
    if (ninner > 1) x = gr_build_reshape(b, x, nrows + 1, from);
    gr_value *in[] = {x, ninner + ncolumns > 2 ? constant_view(b->g, w, 2, matrix) : w};
    if (in[1] && flipped) in[1] = gr_build_transpose(b, in[1], 2, "10");
    gr_value *y = in[0] && in[1] ? gr_build_node(b, "", "MatMul", (gr_attrs){0}, 2, in) : NULL;
    return y && ncolumns > 1 ? gr_build_reshape(b, y, nrows + ncolumns, to) : y;
}

/* ---- two matrices ---- */

static gr_value *ordered(gr_build *b, gr_value *x, const char *have, const char *want)
{
    char order[MAX_LABELS + 1] = "";
    if (!x || !strcmp(have, want)) return x;
    for (int i = 0; want[i]; i++) order[i] = (char)('0' + (strchr(have, want[i]) - have));
    return gr_build_transpose(b, x, (int)strlen(want), order);
}

static gr_value *product(gr_build *b, const gr_node *n, const equation *e)
{
    char inner[MAX_LABELS + 1], row[MAX_LABELS + 1], column[MAX_LABELS + 1], batch[MAX_LABELS + 1],
        text[3][3 * MAX_LABELS + 1];
    pick(e->a, e->b, true, e->y, false, inner);
    pick(e->a, e->b, false, e->y, true, row);
    pick(e->b, e->a, false, e->y, true, column);
    pick(e->y, e->a, true, e->b, true, batch);
    if (strlen(inner) != 1 || strlen(row) != 1 || strlen(column) != 1) return NULL;
    const size_t n_batch = strlen(batch);
    if (strlen(e->a) != n_batch + 2 || strlen(e->b) != n_batch + 2 || strlen(e->y) != n_batch + 2) return NULL;
    snprintf(text[0], sizeof text[0], "%s%s%s", batch, row, inner);
    snprintf(text[1], sizeof text[1], "%s%s%s", batch, inner, column);
    snprintf(text[2], sizeof text[2], "%s%s%s", batch, row, column);
    gr_value *in[] = {ordered(b, gr_in(n, 0), e->a, text[0]), ordered(b, gr_in(n, 1), e->b, text[1])};
    gr_value *y = in[0] && in[1] ? gr_build_node(b, "", "MatMul", (gr_attrs){0}, 2, in) : NULL;
    return ordered(b, y, text[2], e->y);
}

/* ---- a bias behind the split ---- */

static gr_value *biased(gr_build *b, gr_node *add)
{
    for (uint32_t i = 0; i < 2; i++) {
        gr_value *split = gr_in(add, i), *bias = gr_in(add, 1 - i);
        gr_node *reshape = gr_maker(split, "Reshape");
        gr_value *x = reshape ? gr_in(reshape, 0) : NULL;
        if (!x || !bias->konst || bias->type.rank != 2 || split->nuses != 1 || split->is_output) continue;
        const gr_type *s = &split->type;
        if (s->rank != x->type.rank + 1 || !gr_maker(x, "MatMul") || !gr_known_shape(gr_in(reshape, 1))) continue;
        bool same = gr_dim_same(s->dims[s->rank - 1], bias->type.dims[1]) &&
                    gr_dim_same(s->dims[s->rank - 2], bias->type.dims[0]) &&
                    gr_dim_is(x->type.dims[x->type.rank - 1], bias->konst->elements);
        for (int d = 0; d < s->rank - 2; d++) same = same && gr_dim_same(s->dims[d], x->type.dims[d]);
        if (!same) continue;
        gr_value *in[] = {x, constant_view(b->g, bias, 1, &bias->konst->elements)};
        gr_value *sum = in[1] ? gr_build_node(b, "", "Add", (gr_attrs){0}, 2, in) : NULL;
        gr_value *back[] = {sum, gr_in(reshape, 1)};
        return sum ? gr_build_node(b, "", "Reshape", reshape->attrs, 2, back) : NULL;
    }
    return NULL;
}

gr_status gr_pass_einsum(gr_graph *g, int *hits, gr_err *err)
{
    for (gr_node *n = g->first, *next; n && !gr_pass_stopped(g); n = next) {
        next = n->next;
        equation e;
        gr_err failed = {GR_OK, ""};
        gr_build b = {g, n, &failed};
        gr_value *old = n->out[0], *y = NULL;
        if (!old || old->konst || n->op->domain || old->type.dtype != GR_FLOAT) continue;
        if (gr_is_named(n, "Add")) y = biased(&b, n);
        if (gr_is_named(n, "Einsum") && parse(n, &e)) {
            y = layer(&b, n, &e);
            if (!y && failed.status == GR_OK) y = product(&b, n, &e);
        }
        if (failed.status == GR_ENOMEM) return gr_nomem(err);
        if (!y || y->type.rank != old->type.rank) continue;
        y->type = old->type;
        y->def->name = n->name;
        gr_replace_uses(old, y);
        gr_take_name(y, old);
        ++*hits;
    }
    return GR_OK;
}
