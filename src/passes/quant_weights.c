/* SPDX-License-Identifier: Apache-2.0
 *
 * Quantised weights in one spelling: (q - zero) * scale in floats becomes DequantizeLinear, and rows are gathered before
 * they are dequantised, so that a table stays in its few bits. All of it is exact: the same operations on the same
 * numbers. Requires inference that leaves such weights unfolded.
 */
#include "passes.h"
#include "quant.h"
#include <math.h>

bool gr_quant_is_one(const gr_value *v)
{
    if (!v || v->type.kind != GR_KIND_TENSOR || v->type.rank < 0) return false;
    for (int d = 0; d < v->type.rank; d++)
        if (!gr_dim_is(v->type.dims[d], 1)) return false;
    return true;
}

bool gr_quant_layout(const gr_node *n, int64_t *axis, int64_t *block)
{
    if (gr_attr_int(n->attrs, "axis", 1, axis, NULL) != GR_OK || gr_attr_int(n->attrs, "block_size", 0, block, NULL) != GR_OK)
        return false;
    if (*axis < 0) *axis += 2;
    if (gr_quant_is_one(gr_in(n, 1))) {
        if (gr_in(n, 1)->type.rank < 2) *block = 0;
        *axis = 1;
    }
    return *axis >= 0 && *axis <= 1 && *block >= 0;
}

static bool is_codes(const gr_value *v)
{
    if (!v || !v->konst || v->konst->kind != GR_KIND_TENSOR) return false;
    const gr_dtype t = v->konst->dtype;
    return t == GR_INT8 || t == GR_UINT8 || t == GR_INT4 || t == GR_UINT4 || t == GR_INT2 || t == GR_UINT2;
}

static bool dequantizes(const gr_node *n, int rank)
{
    return n && gr_is_named(n, "DequantizeLinear") && is_codes(gr_in(n, 0)) && gr_in(n, 0)->type.rank == rank &&
           gr_in(n, 1) && gr_in(n, 1)->konst && gr_in(n, 1)->type.dtype == GR_FLOAT &&
           n->out[0]->type.dtype == GR_FLOAT && (!gr_in(n, 2) || gr_in(n, 2)->konst);
}

const gr_node *gr_quant_weight(const gr_value *v, bool *transposed)
{
    const gr_node *n = v && !v->konst ? v->def : NULL;
    int64_t rank;
    const int64_t *perm;
    *transposed = false;
    if (n && gr_is_named(n, "Transpose") && gr_in(n, 0)) {
        if (gr_attr_ints(n->attrs, "perm", &rank, &perm, NULL) != GR_OK) return NULL;
        if (rank >= 0 && (rank != 2 || perm[0] != 1 || perm[1] != 0)) return NULL;
        *transposed = true;
        n = gr_in(n, 0)->def;
    }
    return dequantizes(n, 2) ? n : NULL;
}

/* ---- (q - zero) * scale ---- */

/* Which axis of q the constant v varies along: -1 none, -2 several or not a broadcast along one. */
static int axis_of(const gr_value *v, const gr_type *q)
{
    int axis = -1;
    if (v->konst->rank > q->rank) return -2;
    for (int d = 0; d < v->konst->rank; d++) {
        const int at = q->rank - v->konst->rank + d;
        if (v->konst->dims[d] == 1) continue;
        if (axis >= 0 || !gr_dim_is(q->dims[at], v->konst->dims[d])) return -2;
        axis = at;
    }
    return axis;
}

static float float_of(const gr_tensor *t, int64_t i)
{
    float v;
    memcpy(&v, (const char *)t->data + i * (int64_t)sizeof v, sizeof v);
    return v;
}

/* Zero points are integers of the codes' type; only bytes are looked at. */
static bool whole(const gr_tensor *z, gr_dtype q)
{
    const float least = q == GR_INT8 ? -128 : 0, greatest = q == GR_INT8 ? 127 : 255;
    for (int64_t i = 0; i < z->elements; i++) {
        const float v = float_of(z, i);
        if (!(v >= least && v <= greatest) || v != floorf(v)) return false;
    }
    return true;
}

static bool check_formula(const gr_match *m, gr_why *why)
{
    const gr_value *q = gr_bound(m, "q"), *s = gr_bound(m, "s"), *z = gr_bound(m, "z");
    if ((q->konst->dtype != GR_INT8 && q->konst->dtype != GR_UINT8) || q->type.rank < 2)
        return gr_nomatch(why, "no matrix of bytes is dequantised");
    if (gr_bound(m, "c")->type.dtype != GR_FLOAT || s->konst->dtype != GR_FLOAT)
        return gr_nomatch(why, "the scale is not float");
    const int axis = axis_of(s, &q->type);
    if (axis == -2) return gr_nomatch(why, "the scale varies along several axes");
    if (!z) return true;
    const int zeros = axis_of(z, &q->type);
    if (zeros != axis && zeros != -1) return gr_nomatch(why, "zero point and scale lie along different axes");
    if (z->konst->dtype != GR_FLOAT || !whole(z->konst, q->konst->dtype))
        return gr_nomatch(why, "the zero point is no code");
    return true;
}

/* A list (or scalar, for axis -1) of n constants with the bytes at data. */
static gr_value *list(gr_build *b, const char *name, gr_dtype dtype, int axis, int64_t n, const void *data)
{
    gr_value *v = gr_graph_const(b->g, name, dtype, axis >= 0, &n, data);
    if (!v) gr_err_write(b->err, GR_ENOMEM, "out of memory");
    return v;
}

static gr_value *rewrite_formula(gr_build *b, const gr_match *m)
{
    gr_value *q = gr_bound(m, "q"), *s = gr_bound(m, "s"), *z = gr_bound(m, "z");
    const int axis = axis_of(s, &q->type);
    const int64_t n = s->konst->elements;
    gr_value *scale = list(b, s->name, GR_FLOAT, axis, n, s->konst->data), *zero = NULL;
    if (!scale) return NULL;
    if (z) {
        uint8_t *bytes = GR_NEWS(b->g->arena, (size_t)n, uint8_t);
        if (!bytes) return gr_err_write(b->err, GR_ENOMEM, "out of memory"), NULL;
        for (int64_t i = 0; i < n; i++) {
            const float v = float_of(z->konst, z->konst->elements == 1 ? 0 : i);
            bytes[i] = (uint8_t)(int)v;
        }
        if (!(zero = list(b, z->name, q->konst->dtype, axis, n, bytes))) return NULL;
    }
    gr_attr attr = gr_attr_of_int("axis", axis < 0 ? 1 : axis);
    gr_value *in[] = {q, scale, zero};
    return gr_build_node(b, "", "DequantizeLinear", gr_build_attrs(b, 1, &attr), 3, in);
}

static const char *const formulas[] = {"(Mul c:(Cast $q) $s)", "(Mul (Sub c:(Cast $q) $z) $s)", NULL};

/* ---- Gather ---- */

static bool check_gather(const gr_match *m, gr_why *why)
{
    const gr_value *table = gr_bound(m, "t");
    int64_t axis, along, block;
    if (table->konst || !dequantizes(table->def, 2) || !gr_quant_layout(table->def, &along, &block))
        return gr_nomatch(why, "no matrix of codes is gathered from");
    if (gr_attr_int(m->root->attrs, "axis", 0, &axis, NULL) != GR_OK || axis != 0)
        return gr_nomatch(why, "it is not rows that are gathered");
    if (gr_bound(m, "i")->type.rank < 0) return gr_nomatch(why, "the rank of the indices is not known");
    if (block && along == 0) return gr_nomatch(why, "blocks span rows");
    return true;
}

static gr_value *gather(gr_build *b, gr_value *from, gr_value *indices)
{
    gr_attr attr = gr_attr_of_int("axis", 0);
    gr_value *in[] = {from, indices};
    return from ? gr_build_node(b, "", "Gather", gr_build_attrs(b, 1, &attr), 2, in) : NULL;
}

/* A list of one parameter per row as a column. */
static gr_value *column(gr_build *b, const gr_value *v)
{
    const int64_t dims[] = {v->konst->elements, 1};
    return gr_graph_const(b->g, v->name, v->konst->dtype, 2, dims, v->konst->data);
}

/* Parameters of rows are gathered, too, and are blocks as long as a row. */
static gr_value *rewrite_gather(gr_build *b, const gr_match *m)
{
    const gr_node *n = gr_bound(m, "t")->def;
    gr_value *i = gr_bound(m, "i"), *in[] = {gather(b, gr_in(n, 0), i), gr_in(n, 1), gr_in(n, 2)};
    int64_t axis, block;
    gr_quant_layout(n, &axis, &block);
    const bool one = gr_quant_is_one(gr_in(n, 1)) && !block;
    for (int k = 1; k < 3 && !one; k++) {
        if (!in[k] || (axis == 1 && !block)) continue;
        in[k] = gather(b, block ? in[k] : column(b, in[k]), i);
        if (!in[k]) return NULL;
    }
    if (axis == 0 && !one) block = gr_in(n, 0)->konst->dims[1];
    gr_attr attrs[] = {gr_attr_of_int("axis", -1), gr_attr_of_int("block_size", block)};
    if (!in[0]) return NULL;
    return gr_build_node(b, "", "DequantizeLinear", gr_build_attrs(b, block ? 2 : 1, attrs), 3, in);
}

static const char *const gathers[] = {"(Gather t i)", NULL};

static const gr_rule rules[] = {{"dequantize", formulas, check_formula, rewrite_formula, NULL, NULL, false},
                                {"gather-codes", gathers, check_gather, rewrite_gather, NULL, NULL, false}};

gr_status gr_pass_quant_weights(gr_graph *g, int *hits, gr_err *err)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) GR_TRY(gr_apply_rule(g, &rules[i], hits, err));
    return GR_OK;
}
