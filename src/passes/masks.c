/* SPDX-License-Identifier: Apache-2.0
 *
 * Masks of attention: s + m, s - m, Where(c, fill, s), s * b - c * (1 - b) with b of zeros and ones (GPT-2), and
 * Max(s, lowest). They come to one mask that is added, because a score disappears in a fill that is low enough. A fill
 * that is not quite so low means the same only where nothing else is masked: then a query sees either keys beside which
 * the fill is nothing, or the fill alone, which is equal weights whatever its value is.
 */
#include "masks.h"
#include "build.h"
#include "heads.h"
#include <float.h>
#include <math.h>

/* A fill from which on a score disappears in it, so that choosing and adding are the same (half of float's range), and
 * one from which on exp(fill - s) is 0 for every score s that is not hundreds away from what scores are. */
#define LOWEST_FILL (-1e37)
#define LOW_FILL    (-9e3)

/* ---- what is known of contents ---- */

/* A float that all elements are: of a constant, or of one that is filled or repeated at run time. */
static bool single(const gr_value *v, double *out)
{
    if (gr_scalar_of(v, out)) return true;
    if (v->konst) {
        if (v->konst->dtype != GR_FLOAT || v->konst->elements < 1 || v->konst->elements > 1 << 16) return false;
        float first, x;
        memcpy(&first, v->konst->data, sizeof first);
        for (int64_t i = 0; i < v->konst->elements; i++) {
            memcpy(&x, (const char *)v->konst->data + i * 4, sizeof x);
            if (x != first) return false;
        }
        return *out = (double)first, true;
    }
    if (gr_is_op(v->def, "Expand")) return gr_scalar_of(gr_in(v->def, 0), out);
    const gr_attr *a = gr_is_op(v->def, "ConstantOfShape") ? gr_attr_find(v->def->attrs, "value") : NULL;
    float x;
    if (!a || a->type != GR_ATTR_TENSOR || a->t->dtype != GR_FLOAT || a->t->size != sizeof x) return false;
    memcpy(&x, a->t->data, sizeof x);
    return *out = (double)x, true;
}

static bool zeros_and_ones(const gr_tensor *t)
{
    if (t->kind != GR_KIND_TENSOR || (t->dtype != GR_FLOAT && t->dtype != GR_UINT8 && t->dtype != GR_BOOL)) return false;
    for (int64_t i = 0; i < t->elements; i++) {
        float x = 1;
        uint8_t byte = 1;
        if (t->dtype == GR_FLOAT)
            memcpy(&x, (const char *)t->data + i * 4, sizeof x);
        else
            byte = ((const uint8_t *)t->data)[i];
        if ((x != 0 && x != 1) || byte > 1) return false;
    }
    return true;
}

/* Whether v has zeros and ones only: truth values as numbers, or parts of such a constant. */
static bool is_binary(const gr_value *v)
{
    static const char *const moves[] = {"Slice", "Unsqueeze", "Squeeze", "Reshape", "Expand", "Transpose", "Gather", "Cast"};
    enum { STEPS = 16 };
    for (int i = 0; i < STEPS; i++) {
        if (v->type.dtype == GR_BOOL) return true;
        if (v->konst) return zeros_and_ones(v->konst);
        bool moved = false;
        for (size_t k = 0; v->def && k < sizeof moves / sizeof *moves; k++) moved |= gr_is_op(v->def, moves[k]);
        if (!moved || !gr_in(v->def, 0)) return false;
        v = gr_in(v->def, 0);
    }
    return false;
}

/* ---- finding ---- */

static gr_value *refuse(gr_masks *m, const gr_node *n, const char *why)
{
    m->culprit = n;
    m->why = why;
    return NULL;
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

/* A fill that is taken for `lowest`. */
static bool take_fill(gr_masks *m, gr_mask_step *step, double fill, const gr_node *n)
{
    step->fill = fill;
    if (fill * fmin(step->factor, 1) <= LOWEST_FILL) return true;
    if (!(fill * step->factor <= LOW_FILL)) {
        refuse(m, n, "the fill is not so low that scores disappear in it");
        return false;
    }
    step->fill = (double)-FLT_MAX;
    step->factor = 1;
    return m->alone = true;
}

/* c of c * (1 - b) where both are constants. */
static bool constant_complement(const gr_tensor *v, const gr_tensor *b, double *c)
{
    bool known = false;
    if (v->dtype != GR_FLOAT || b->dtype != GR_FLOAT || v->elements != b->elements) return false;
    for (int64_t i = 0; i < v->elements; i++) {
        float x, kept;
        memcpy(&x, (const char *)v->data + i * 4, sizeof x);
        memcpy(&kept, (const char *)b->data + i * 4, sizeof kept);
        if (kept == 0 && !known) *c = (double)x;
        known |= kept == 0;
        if ((double)x != (kept == 0 ? *c : 0)) return false;
    }
    return known;
}

/* c of c * (1 - b), or of 1 - b alone. */
static bool complement(const gr_value *v, const gr_value *b, double *c)
{
    const gr_node *mul = gr_maker(v, "Mul"), *sub;
    double one;
    if (v->konst && b->konst) return constant_complement(v->konst, b->konst, c);
    *c = 1;
    if (mul && gr_scalar_of(gr_in(mul, 0), c))
        v = gr_in(mul, 1);
    else if (mul && gr_scalar_of(gr_in(mul, 1), c))
        v = gr_in(mul, 0);
    sub = gr_maker(v, "Sub");
    return sub && gr_in(sub, 1) == b && gr_scalar_of(gr_in(sub, 0), &one) && one == 1;
}

/* s of s * b - c * (1 - b), or of s * b + -c * (1 - b). */
static gr_value *under_product(gr_masks *m, const gr_node *sum, bool minus, uint32_t which, gr_mask_step *step)
{
    for (uint32_t side = 0; side < (minus ? 1u : 2u); side++) {
        const gr_node *mul = gr_maker(gr_in(sum, side), "Mul");
        gr_value *b = mul ? gr_in(mul, 1 - which) : NULL;
        double c;
        if (!b || !complement(gr_in(sum, 1 - side), b, &c)) continue;
        if (!is_binary(b)) return refuse(m, mul, "scores are multiplied by what may be other than 0 and 1");
        step->cond = b;
        return take_fill(m, step, minus ? -c : c, sum) ? gr_in(mul, which) : NULL;
    }
    return NULL;
}

static gr_value *under_where(gr_masks *m, const gr_node *where, uint32_t which, gr_mask_step *step)
{
    double fill = 0;
    if (!single(gr_in(where, 2 - which), &fill)) return NULL;
    step->cond = gr_in(where, 0);
    return take_fill(m, step, fill, where) ? gr_in(where, 1 + which) : NULL;
}

gr_value *gr_mask_under(gr_masks *m, gr_value *v, int which, double factor)
{
    gr_node *add = gr_maker(v, "Add"), *sub = gr_maker(v, "Sub"), *where = gr_maker(v, "Where");
    gr_node *max = gr_maker(v, "Max"), *sum = add ? add : sub;
    const uint32_t at = (uint32_t)which;
    gr_value *inner = NULL;
    double low;
    if (m->n == GR_MAX_MASKS) return NULL;
    gr_mask_step *step = &m->steps[m->n];
    *step = (gr_mask_step){.factor = factor, .fill_if = where && which == 1, .rank = v->type.rank};
    if (where) inner = under_where(m, where, at, step);
    if (sum) inner = under_product(m, sum, sub != NULL, at, step);
    if (sum && !inner && !step->cond && (add || !which)) {
        inner = gr_in(sum, at);
        step->add = gr_in(sum, 1 - at);
        step->negative = sub != NULL;
    }
    if (max && max->nin == 2 && gr_scalar_of(gr_in(max, 1 - at), &low) && low <= LOWEST_FILL && low * factor >= (double)-FLT_MAX) {
        inner = gr_in(max, at);
        step->floor = true;
        step->fill = low;
    }
    if (!inner || !same_shape(inner, v)) return NULL;
    m->n++;
    return inner;
}

bool gr_masks_fit(gr_masks *m, const gr_node *softmax)
{
    if (m->alone && m->n > 1)
        return refuse(m, softmax, "a fill that is not as low as can be stands beside another mask") != NULL;
    for (int i = 0; i < m->n; i++) {
        const gr_mask_step *s = &m->steps[i];
        const gr_value *v = s->add ? s->add : s->cond;
        if (s->floor) continue;
        if (v->type.rank < 0 || v->type.rank > (m->whole ? 3 : 4)) return refuse(m, softmax, "a mask of unknown rank") != NULL;
        if (m->whole || v->type.rank != 3 || s->rank != 3 || gr_unmerged(v)) continue;
        const gr_value *scores = m->split ? gr_in(m->split, 0) : NULL;
        if (!scores || !same_shape(v, scores) || !gr_dim_same(v->type.dims[2], scores->type.dims[2]))
            return refuse(m, v->def, "the mask has batch and heads as one axis") != NULL;
    }
    return true;
}

/* ---- building ---- */

/* A mask of items has no axis for heads: they are samples with one. */
static gr_value *shaped(gr_build *b, const gr_masks *m, gr_value *v, int rank)
{
    if (!v || v->type.rank != 3 || rank != 3) return v;
    if (m->whole) return gr_build_unsqueeze(b, v, 1);
    if (gr_unmerged(v)) return gr_unmerged(v);
    gr_value *in[] = {v, gr_in(m->split, 1)};
    return gr_build_node(b, "", "Reshape", m->split->attrs, 2, in);
}

static gr_value *scaled(gr_build *b, gr_value *m, double factor)
{
    gr_value *in[] = {m, factor == 1 ? NULL : gr_graph_scalar(b->g, "factor", (float)factor)};
    return factor == 1 || !m ? m : in[1] ? gr_build_node(b, "", "Mul", (gr_attrs){0}, 2, in) : NULL;
}

static gr_value *truth(gr_build *b, gr_value *v)
{
    if (!v || v->type.dtype == GR_BOOL) return v;
    gr_attr to = gr_attr_of_int("to", GR_BOOL);
    return gr_build_node(b, "", "Cast", gr_build_attrs(b, 1, &to), 1, &v);
}

static gr_value *add_step(gr_build *b, const gr_masks *m, const gr_mask_step *s, gr_value *mask)
{
    const double factor = s->negative ? -s->factor : s->factor;
    gr_value *in[] = {mask, scaled(b, shaped(b, m, s->add, s->rank), factor)};
    return mask && in[1] ? gr_build_node(b, "", "Add", (gr_attrs){0}, 2, in) : in[1];
}

static gr_value *fill_step(gr_build *b, const gr_masks *m, const gr_mask_step *s, gr_value *mask)
{
    gr_value *kept = mask ? mask : gr_graph_scalar(b->g, "zero", 0);
    gr_value *fill = gr_graph_scalar(b->g, "fill", (float)(s->fill * s->factor));
    gr_value *in[] = {shaped(b, m, truth(b, s->cond), s->rank), s->fill_if ? fill : kept, s->fill_if ? kept : fill};
    return kept && fill && in[0] ? gr_build_node(b, "", "Where", (gr_attrs){0}, 3, in) : NULL;
}

static gr_value *floor_step(gr_build *b, const gr_mask_step *s, gr_value *mask)
{
    gr_value *in[] = {mask, gr_graph_scalar(b->g, "lowest", (float)(s->fill * s->factor))};
    return in[1] ? gr_build_node(b, "", "Max", (gr_attrs){0}, 2, in) : NULL;
}

gr_value *gr_mask_build(gr_build *b, const gr_masks *m, bool *ok)
{
    gr_value *mask = NULL;
    *ok = true;
    for (int i = m->n - 1; i >= 0 && *ok; i--) { /* from the innermost outwards */
        const gr_mask_step *s = &m->steps[i];
        if (s->floor && !mask) continue; /* scores are never that low */
        mask = s->floor ? floor_step(b, s, mask) : s->add ? add_step(b, m, s, mask) : fill_step(b, m, s, mask);
        *ok = mask != NULL;
    }
    return mask;
}
