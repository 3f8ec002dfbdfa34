/* SPDX-License-Identifier: Apache-2.0
 *
 * Chains that come to less than their parts: views (Reshape, Squeeze, Unsqueeze, Flatten) that end in a shape they have
 * been through, two Transposes, two factors. Requires no-op.
 */
#include "match.h"
#include "passes.h"

/* Views in a row; a file that has more of them loses little. */
enum { MAX_VIEWS = 16 };


static gr_node *maker(const gr_value *v, const char *op)
{
    return v && !v->konst && gr_is_op(v->def, op) && v->def->out[0] == v ? v->def : NULL;
}

static bool is_view(const gr_node *n)
{
    return (gr_is_op(n, "Reshape") || gr_is_op(n, "Squeeze") || gr_is_op(n, "Unsqueeze") || gr_is_op(n, "Flatten")) &&
           gr_known_shape(gr_in(n, 1));
}

static bool same_type(const gr_type *a, const gr_type *b)
{
    if (a->kind != b->kind || a->dtype != b->dtype || a->rank != b->rank || a->rank < 0) return false;
    for (int i = 0; i < a->rank; i++)
        if (!gr_dim_same(a->dims[i], b->dims[i])) return false;
    return true;
}

/* The earliest value on the way that had the shape at the end: views keep the order of elements. */
static gr_value *seen_before(const gr_node *n)
{
    gr_value *found = NULL, *v = n->out[0];
    for (int i = 0; i < MAX_VIEWS && v->def && !v->konst && is_view(v->def); i++) {
        v = gr_in(v->def, 0);
        if (v && same_type(&v->type, &n->out[0]->type)) found = v;
        if (!v) break;
    }
    return found;
}

/* x in one order instead of two; NULL with no error: there are not two, or the first has other readers. */
static gr_value *one_order(gr_build *b, const gr_node *n)
{
    const gr_node *first = gr_is_op(n, "Transpose") ? maker(gr_in(n, 0), "Transpose") : NULL;
    int64_t count, inner;
    const int64_t *p, *q;
    if (!first || gr_attr_ints(n->attrs, "perm", &count, &p, NULL) != GR_OK || count < 0 || count > GR_MAX_RANK)
        return NULL;
    if (gr_attr_ints(first->attrs, "perm", &inner, &q, NULL) != GR_OK || inner != count) return NULL;
    int64_t *both = GR_NEWS(b->g->arena, (size_t)count, int64_t);
    if (!both) return gr_err_write(b->err, GR_ENOMEM, "out of memory"), NULL;
    bool same = true;
    for (int64_t i = 0; i < count; i++) same &= (both[i] = q[p[i]]) == i;
    gr_value *x = gr_in(first, 0);
    gr_attr attr = {.name = "perm", .type = GR_ATTR_INTS, .count = (size_t)count, .ints = both};
    return same ? x : gr_build_node(b, "", "Transpose", gr_build_attrs(b, 1, &attr), 1, &x);
}

/* x times a float scalar: the operand and the factor. */
static gr_value *scaled(const gr_value *v, double *factor)
{
    const gr_node *mul = maker(v, "Mul"), *div = maker(v, "Div");
    if (mul && gr_scalar_of(gr_in(mul, 1), factor) && gr_in(mul, 1)->type.rank <= 1) return gr_in(mul, 0);
    if (mul && gr_scalar_of(gr_in(mul, 0), factor) && gr_in(mul, 0)->type.rank <= 1) return gr_in(mul, 1);
    if (!div || !gr_scalar_of(gr_in(div, 1), factor) || gr_in(div, 1)->type.rank > 1 || *factor == 0) return NULL;
    *factor = 1 / *factor;
    return gr_in(div, 0);
}

/* Two factors as one, if the product in between is nobody else's and nothing overflows on the way. */
static gr_value *one_factor(gr_build *b, const gr_node *n)
{
    double outer, inner;
    gr_value *y = n->out[0], *v = y->type.dtype == GR_FLOAT && y->type.rank > 0 ? scaled(y, &outer) : NULL;
    if (!v || v->konst || v->nuses != 1 || v->is_output || v->type.rank != y->type.rank) return NULL;
    gr_value *x = scaled(v, &inner);
    if (!x || x->konst || x->type.rank != y->type.rank) return NULL;
    double limits[] = {outer, inner, outer * inner};
    for (int i = 0; i < 3; i++)
        if (!(limits[i] > 1e-6 && limits[i] < 1e6) && !(limits[i] < -1e-6 && limits[i] > -1e6)) return NULL;
    gr_value *in[] = {x, gr_graph_scalar(b->g, "factor", (float)(outer * inner))};
    if (!in[1]) return gr_err_write(b->err, GR_ENOMEM, "out of memory"), NULL;
    return gr_build_node(b, "", "Mul", (gr_attrs){0}, 2, in);
}

gr_status gr_pass_chains(gr_graph *g, int *hits, gr_err *err)
{
    for (gr_node *n = g->first, *next; n && !gr_pass_stopped(g); n = next) {
        next = n->next;
        const uint32_t before = g->nnodes;
        gr_err failed = {GR_OK, ""};
        gr_build b = {g, n, &failed};
        if (!gr_out(n, 0) || n->out[0]->konst || n->nsubgraphs) continue;
        gr_value *x = is_view(n) ? seen_before(n) : one_order(&b, n);
        if (!x) x = one_factor(&b, n);
        if (!x && failed.status == GR_ENOMEM) return gr_nomem(err);
        if (!x || !same_type(&x->type, &n->out[0]->type)) continue;
        gr_replace_uses(n->out[0], x);
        if (x->def && x->def->id >= before) {
            gr_take_name(x, n->out[0]);
            x->def->name = n->name;
        }
        ++*hits;
    }
    return GR_OK;
}
