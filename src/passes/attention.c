/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention(q, k, v) = softmax(scale * q k^T + mask) v per head, found from each Softmax: backwards through masks and
 * factors to the product of queries and keys, forwards to the product with the values and the merge of the heads.
 * Scalars may stand on q, on k, on the product or around a mask; masks may be added, or chosen by Where with a fill so
 * low that adding it says the same. Batch and heads may be two axes or one. Probabilities may be guarded against NaN,
 * masked again, multiplied by a head mask, and looked at. Requires no-op, reshape, expand and linear.
 */
#include "build.h"
#include "heads.h"
#include "masks.h"
#include "pass.h"
#include "passes.h"
#include <math.h>

typedef struct found {
    gr_graph *g;
    gr_node *softmax;
    gr_node *product, *context; /* of queries and keys, of probabilities and values */
    gr_value *scores;           /* of the product; [batch, heads, queries, keys], or the first two as one */
    gr_value *shown;            /* the probabilities, if somebody else looks at them, [batch, heads, queries, keys] */
    gr_value *end;              /* that is replaced */
    enum {
        ROWS,
        SPLIT_ROWS,
        SPLIT_HEADS,
        ITEMS
    } form; /* of end: [batch, queries, heads * size] or with the first two
               as one; [batch, queries, heads, size]; [batch, heads, queries,
               size]; [items, queries, size] */
    gr_heads q, k, v;
    double scale;
    bool guarded;      /* a query without keys gives zeros */
    gr_value *factors; /* of probabilities */
    int depth;         /* how far it was traced, so that the furthest attempt gives the reason */
    gr_masks masks;
} found;


static gr_node *only_reader(const gr_value *v) { return v->nuses == 1 && !v->is_output ? v->uses->user : NULL; }

static bool miss(const found *f, const gr_node *culprit, const char *why)
{
    gr_miss_at(f->g, "attention", f->softmax, culprit, f->depth, why);
    return false;
}

/* ---- from the softmax back to the product ---- */

/* A product of two values that are not constant: MatMul, or ONNX Runtime's with a factor and a transposed operand. */
static bool is_product(const gr_node *n, bool *transposed, double *alpha)
{
    int64_t a = 0, b = 0, batch_a = 0, batch_b = 0;
    float factor = 1;
    *transposed = false;
    if (gr_is_op(n, "MatMul")) return true;
    if (!n || !n->op->domain || !gr_is_named(n, "FusedMatMul")) return false;
    if (gr_attr_int(n->attrs, "transA", 0, &a, NULL) != GR_OK ||
        gr_attr_int(n->attrs, "transB", 0, &b, NULL) != GR_OK ||
        gr_attr_int(n->attrs, "transBatchA", 0, &batch_a, NULL) != GR_OK ||
        gr_attr_int(n->attrs, "transBatchB", 0, &batch_b, NULL) != GR_OK ||
        gr_attr_float(n->attrs, "alpha", 1, &factor, NULL) != GR_OK)
        return false;
    *transposed = b != 0;
    *alpha *= (double)factor;
    return !a && !batch_a && !batch_b;
}

/* Whether what is done to scores leaves their shape alone. The last axis need not be looked at: its length is that of
 * the values, by the product that follows. */
static bool same_shape(const gr_value *a, const gr_value *b)
{
    if (a->type.rank != b->type.rank || a->type.rank < 3) return false;
    for (int i = 0; i < a->type.rank - 1; i++)
        if (!gr_dim_same(a->type.dims[i], b->type.dims[i])) return false;
    return true;
}

/* Batch and heads from one axis to two, or back. */
static gr_value *reshaped(const gr_value *v)
{
    gr_node *n = gr_maker(v, "Reshape");
    gr_value *x = n && gr_known_shape(gr_in(n, 1)) ? gr_in(n, 0) : NULL;
    int a = x ? x->type.rank : 0, b = v->type.rank;
    if (!((a == 3 && b == 4) || (a == 4 && b == 3))) return NULL;
    return gr_dim_same(x->type.dims[a - 2], v->type.dims[b - 2]) &&
                   gr_dim_same(x->type.dims[a - 1], v->type.dims[b - 1])
               ? x
               : NULL;
}

enum { MAX_STEPS = 16 };

/* `outer`: product of the factors that have been passed. A value that several look at must exist. */
static bool find_product(found *f, gr_value *v, double outer, int steps)
{
    bool transposed;
    f->depth = steps;
    if (v->is_output || v->nuses != 1) return miss(f, v->def, "the scores are read elsewhere");
    gr_value *inner = gr_strip_scale(v, &outer);
    if (inner->is_output || inner->nuses != 1) return miss(f, inner->def, "the scores are read elsewhere");
    if (inner->def && !inner->konst && is_product(inner->def, &transposed, &outer)) {
        f->product = inner->def;
        f->scores = inner;
        f->scale = outer;
        f->depth = MAX_STEPS + 1;
        return true;
    }
    if (steps == MAX_STEPS) return false;
    gr_value *next = f->masks.whole ? NULL : reshaped(inner);
    if (next && inner->type.rank == 4) f->masks.split = inner->def;
    if (next) return find_product(f, next, outer, steps + 1);
    bool masked = false;
    for (int which = 0; which < 2; which++) {
        found before = *f;
        next = gr_mask_under(&f->masks, inner, which, outer);
        if (next && find_product(f, next, outer, steps + 1)) return true;
        masked |= next != NULL;
        if (f->masks.why) {
            before.masks.culprit = f->masks.culprit;
            before.masks.why = f->masks.why;
        }
        *f = before;
    }
    if (f->masks.why) return miss(f, f->masks.culprit, f->masks.why);
    /* What is wrong below a mask has been noted there. */
    return masked ? false : miss(f, inner->def, "what is done to the scores is neither a factor nor a mask");
}

/* ---- from the softmax on to the end ---- */

/* Where(IsNaN(p), 0, p) */
static gr_value *unguarded(const gr_value *p, found *f)
{
    if (p->nuses != 2 || p->is_output) return NULL;
    gr_node *a = p->uses->user, *b = p->uses->next->user;
    gr_node *where = gr_is_op(a, "Where") ? a : b, *nan = where == a ? b : a;
    double zero;
    if (!gr_is_op(where, "Where") || !gr_is_op(nan, "IsNaN") || gr_in(where, 0) != nan->out[0] || nan->out[0]->nuses != 1 ||
        nan->out[0]->is_output)
        return NULL;
    if (gr_in(where, 2) != p || !gr_scalar_of(gr_in(where, 1), &zero) || zero != 0) return NULL;
    f->guarded = true;
    return where->out[0];
}

/* Where(c, 0, p) after the outermost mask was Where(c, lowest, scores): only a query without keys sees the difference,
 * and with -inf for the lowest, that is what guarding does. */
static gr_value *masked_again(gr_node *where, const gr_value *p, found *f)
{
    double zero;
    gr_mask_step *m = &f->masks.steps[0];
    if (!gr_is_op(where, "Where") || !f->masks.n || !m->cond || gr_in(where, 0) != m->cond) return NULL;
    uint32_t kept = m->fill_if ? 2 : 1;
    if (gr_in(where, kept) != p || !gr_scalar_of(gr_in(where, 3 - kept), &zero) || zero != 0) return NULL;
    m->fill = -INFINITY;
    m->factor = 1;
    f->guarded = true;
    return where->out[0];
}

/* p times something that broadcasts to it. */
static gr_value *multiplied(gr_node *mul, const gr_value *p, found *f)
{
    if (!gr_is_op(mul, "Mul") || f->factors || p->type.rank != 4) return NULL;
    gr_value *x = gr_in(mul, gr_in(mul, 0) == p ? 1 : 0);
    if (x == p || !same_shape(p, mul->out[0]) || x->type.rank < 0 || x->type.dtype != GR_FLOAT) return NULL;
    f->factors = x;
    return mul->out[0];
}

/* The product with the values: the reader of p (or of its reshaped form) that multiplies from the left. */
static gr_node *context_of(found *f, gr_value *p)
{
    bool transposed;
    double alpha = 1;
    for (gr_use *u = p->uses; u; u = u->next) {
        gr_node *n = u->user;
        if (gr_is_op(n, "Reshape") && !f->masks.whole && gr_in(n, 0) == p && reshaped(n->out[0]) && only_reader(n->out[0])) {
            n = only_reader(n->out[0]);
            if (gr_in(n, 0)->def != u->user) continue;
        } else if (gr_in(n, 0) != p) {
            continue;
        }
        if (is_product(n, &transposed, &alpha) && !transposed && alpha == 1 && gr_in(n, 1) != p) return n;
    }
    return NULL;
}

/* Whether a reader of the probabilities, other than the context, stands where they will not be there yet. */
static bool read_before(const gr_value *p, const gr_node *context)
{
    enum { FAR = 1024 };
    const gr_node *n = p->def->next;
    for (int i = 0; i < FAR && n; i++, n = n->next) {
        if (n == context) return false;
        for (uint32_t k = 0; k < n->nin; k++)
            if (gr_in(n, k) == p && context->in[0].value->def != n) return true;
    }
    return true;
}

/* The probabilities that others than the context look at. */
static bool find_shown(found *f, gr_value *p)
{
    const gr_value *left = gr_in(f->context, 0);
    if (p->nuses == 1 && !p->is_output && (left == p || left->nuses == 1)) return true;
    f->shown = p;
    if (p->type.rank == 3 && !f->masks.whole && p->nuses == 2 && !p->is_output) {
        gr_node *other = p->uses->user == f->context ? p->uses->next->user : p->uses->user;
        if (gr_is_op(other, "Reshape") && reshaped(other->out[0])) f->shown = other->out[0];
    }
    if (f->shown->type.rank != 4) return miss(f, p->def, "the probabilities are read elsewhere, in another shape");
    if (read_before(f->shown, f->context))
        return miss(f, p->def, "the probabilities are read before the values are made");
    return true;
}

static bool find_context(found *f)
{
    gr_value *p = f->softmax->out[0], *next = unguarded(p, f);
    for (int i = 0; i < 3 && (next || i == 0); i++) {
        if (next) p = next;
        gr_node *n = only_reader(p);
        next = n ? masked_again(n, p, f) : NULL;
        if (!next && n) next = multiplied(n, p, f);
    }
    if (next) p = next;
    f->context = context_of(f, p);
    if (!f->context) return miss(f, p->uses ? p->uses->user : NULL, "the probabilities are not multiplied with values");
    return find_shown(f, p);
}

/* What the heads are merged to. */
static void find_end(found *f)
{
    gr_value *c = f->context->out[0];
    gr_node *n = only_reader(c);
    f->end = c;
    f->form = c->type.rank == 3 ? ITEMS : SPLIT_HEADS;
    if (!f->masks.whole && c->type.rank == 3 && gr_is_op(n, "Reshape") && reshaped(n->out[0])) {
        f->end = c = n->out[0];
        f->form = SPLIT_HEADS;
        n = only_reader(c);
    }
    if (f->form != SPLIT_HEADS || !gr_is_op(n, "Transpose") || !gr_has_order(n, "0213")) return;
    f->end = c = n->out[0];
    f->form = SPLIT_ROWS;
    n = only_reader(c);
    if (!gr_is_op(n, "Reshape") || gr_in(n, 0) != c || c->type.rank != 4) return;
    const gr_type *y = &n->out[0]->type, *x = &c->type;
    if (x->dims[2].expr || x->dims[3].expr || y->rank < 2 || y->rank > 3) return;
    if (!gr_dim_is(y->dims[y->rank - 1], x->dims[2].k * x->dims[3].k)) return;
    if (y->rank == 3 && (!gr_dim_same(y->dims[0], x->dims[0]) || !gr_dim_same(y->dims[1], x->dims[1]))) return;
    f->end = n->out[0];
    f->form = ROWS;
}

/* ---- all together ---- */

static bool last_axis(const gr_node *n)
{
    int64_t axis, rank = n->out[0]->type.rank;
    bool ok = gr_attr_int(n->attrs, "axis", n->op->since < 13 ? 1 : -1, &axis, NULL) == GR_OK;
    return ok && (axis == -1 || axis == rank - 1);
}

static bool may_differ(gr_dim a, gr_dim b)
{
    return gr_dim_known(a) != gr_dim_known(b) || (gr_dim_known(a) && a.k != b.k);
}

/* The sizes that broadcasting would have to make equal: attention wants them equal. */
static bool fit_together(const found *f)
{
    if (f->q.whole != f->masks.whole || f->k.whole != f->masks.whole || f->v.whole != f->masks.whole)
        return miss(f, f->product, "batch and heads are one axis");
    if (f->masks.whole) return true;
    if (may_differ(f->q.split.dims[0], f->k.split.dims[0]) || may_differ(f->k.split.dims[0], f->v.split.dims[0]))
        return miss(f, f->product, "queries, keys and values are broadcast along the batch");
    if (f->k.heads != f->v.heads || f->k.heads < 1 || f->q.heads % f->k.heads)
        return miss(f, f->product, "keys and values have other heads than queries");
    return true;
}

static bool find(found *f)
{
    const gr_value *p = f->softmax->out[0];
    bool transposed;
    double alpha = 1;
    if (p->konst || p->type.rank < 3 || p->type.rank > 4 || p->type.dtype != GR_FLOAT || !last_axis(f->softmax))
        return false;
    if (!find_product(f, gr_in(f->softmax, 0), 1, 0) || !find_context(f)) return false;
    is_product(f->product, &transposed, &alpha);
    if (!gr_heads_of(gr_in(f->product, 0), false, f->masks.whole, &f->q) || f->q.lies)
        return miss(f, f->product, "the queries are not split into heads");
    if (!gr_heads_of(gr_in(f->product, 1), !transposed, f->masks.whole, &f->k))
        return miss(f, f->product, "the keys are not split into heads");
    if (!gr_heads_of(gr_in(f->context, 1), false, f->masks.whole, &f->v) || f->v.scale != 1)
        return miss(f, f->context, "the values are not split into heads");
    if (!fit_together(f) || (f->masks.whole && f->factors)) return false;
    if (!gr_masks_fit(&f->masks, f->softmax)) return miss(f, f->masks.culprit, f->masks.why);
    f->scale *= f->q.scale * f->k.scale;
    find_end(f);
    if (f->form == ITEMS && !f->masks.whole) return miss(f, f->context, "the heads are not merged");
    const gr_type *v = &f->v.split;
    return f->form == ROWS || gr_dim_known(v->dims[v->rank - 1]) ||
           miss(f, f->context, "the size of a head is not known");
}

/* ---- rewriting ---- */

/* The operand as the fused operator takes it. */
static gr_value *operand(gr_build *b, const gr_heads *h)
{
    gr_value *x = h->v;
    if (h->lies) x = gr_build_transpose(b, x, x->type.rank, h->whole ? "021" : "0132");
    if (h->whole) return gr_build_unsqueeze(b, x, 1);
    if (h->by_heads || !x || x->type.rank == 3) return x;
    int64_t shape[] = {h->split.dims[0].k, h->split.dims[1].k, x->type.dims[1].k};
    return gr_build_reshape(b, x, 3, shape);
}

/* The rows that attention gives in the form of what it replaces. */
static gr_value *as_end(gr_build *b, const found *f, gr_value *y)
{
    const gr_type *want = &f->end->type, *v = &f->v.split;
    int64_t size = v->dims[v->rank - 1].expr ? -1 : v->dims[v->rank - 1].k;
    int64_t split[] = {0, 0, f->q.heads, size}, flat[] = {-1, want->dims[want->rank - 1].k};
    if (!y || f->form == ITEMS) return y;
    if (f->form == ROWS) y = want->rank == 2 ? gr_build_reshape(b, y, 2, flat) : y;
    if (f->form == SPLIT_ROWS || f->form == SPLIT_HEADS) y = gr_build_reshape(b, y, 4, split);
    if (f->form == SPLIT_HEADS) y = gr_build_transpose(b, y, 4, "0213");
    if (y && y->def && y->type.rank == want->rank) y->type = *want;
    return y;
}

/* The fused node before `b->at`, with the probabilities as output 3 if somebody wants to see them. */
static gr_node *build_attention(gr_build *b, const found *f)
{
    static const char *const outputs[] = {"Attention", "", "", "probabilities"};
    bool ok;
    gr_attr attrs[4] = {gr_attr_of_int("num_heads", f->q.heads), gr_attr_of_float("scale", (float)f->scale)};
    size_t n = 2;
    if (f->guarded) attrs[n++] = gr_attr_of_int("empty_is_zero", 1);
    if (f->k.heads != f->q.heads) attrs[n++] = gr_attr_of_int("kv_num_heads", f->k.heads);
    gr_value *in[8] = {operand(b, &f->q), operand(b, &f->k), operand(b, &f->v), gr_mask_build(b, &f->masks, &ok)};
    in[7] = f->factors;
    if (!ok || !in[0] || !in[1] || !in[2]) return NULL;
    gr_node *node = gr_build_outputs(b, "graphrun", "Attention", gr_build_attrs(b, n, attrs), 8, in, f->shown ? 4 : 1,
                                     f->shown ? outputs : NULL);
    if (node) node->name = f->softmax->name;
    return node;
}

static gr_status rewrite(gr_graph *g, const found *f, gr_err *err)
{
    gr_build b = {g, f->shown ? f->context : f->end->def, err};
    gr_node *node = build_attention(&b, f);
    gr_value *y = node ? as_end(&b, f, node->out[0]) : NULL;
    if (!y) return err ? err->status : GR_ENOMEM;
    gr_replace_uses(f->end, y);
    gr_take_name(y, f->end);
    if (f->shown) {
        gr_replace_uses(f->shown, node->out[3]);
        gr_take_name(node->out[3], f->shown);
    }
    return GR_OK;
}

gr_status gr_pass_attention(gr_graph *g, int *hits, gr_err *err)
{
    int more = 0;
    for (gr_node *n = g->first, *next; n && !gr_pass_stopped(g); n = next) {
        next = n->next;
        if (!gr_is_op(n, "Softmax")) continue;
        found f = {.g = g, .softmax = n};
        bool ok = find(&f);
        if (!ok && n->out[0]->type.rank == 3) {
            f = (found){.g = g, .softmax = n, .masks.whole = true};
            ok = find(&f);
        }
        if (!ok) continue;
        GR_TRY(rewrite(g, &f, err));
        ++*hits;
    }
    if (!*hits) return GR_OK;
    /* What has been put around attention may undo what is there, and layers build their masks alike. */
    GR_TRY(gr_pass_chains(g, &more, err));
    if (more) GR_TRY(gr_pass_dead(g, &more, err));
    return gr_pass_common(g, &more, err);
}
