/* SPDX-License-Identifier: Apache-2.0
 *
 * The sum of embeddings in one step, with the LayerNormalization behind it: rows of constant tables chosen by ids, in
 * any order and number, and whatever else is added to them (a slice of positions). Requires layer-norm, and that
 * add-layer-norm has not been yet.
 */
#include "build.h"
#include "pass.h"
#include "passes.h"

enum { SCALE, BIAS, FIRST, MOST = 6 };

typedef struct sum {
    int n, tables;
    gr_value *values[MOST], *ids[MOST]; /* ids NULL: added as they are */
} sum;


static bool is_table(const gr_node *n)
{
    int64_t axis;
    const gr_value *t = gr_in(n, 0);
    return gr_is_op(n, "Gather") && gr_attr_int(n->attrs, "axis", 0, &axis, NULL) == GR_OK && (axis == 0 || axis == -2) && t->konst &&
           t->type.rank == 2 && t->type.dtype == GR_FLOAT && gr_in(n, 1)->type.rank >= 0;
}

/* The summands of v in the order in which they are added. A sum that others read, too, is a summand. */
static bool collect(gr_value *v, sum *s, bool top)
{
    gr_node *n = v->konst ? NULL : v->def;
    if (gr_is_op(n, "Add") && (top || (v->nuses == 1 && !v->is_output))) {
        gr_value *a = gr_in(n, 0), *b = gr_in(n, 1);
        /* The one that is a sum itself goes first, so that the order of additions stays. */
        if (gr_is_op(b->def, "Add") && !gr_is_op(a->def, "Add")) a = gr_in(n, 1), b = gr_in(n, 0);
        return collect(a, s, false) && collect(b, s, false);
    }
    if (s->n == MOST || v->type.rank < 1 || v->type.dtype != GR_FLOAT) return false;
    const bool table = n && is_table(n);
    s->values[s->n] = table ? gr_in(n, 0) : v;
    s->ids[s->n++] = table ? gr_in(n, 1) : NULL;
    s->tables += table;
    return true;
}

/* The summands reach no deeper than they have room for, so neither does this. */
static bool shallow(const gr_value *v)
{
    for (int i = 0; i < MOST; i++) {
        if (!v->def || v->konst || !gr_is_op(v->def, "Add")) return true;
        const gr_value *a = gr_in(v->def, 0), *b = gr_in(v->def, 1);
        const bool left = a->def && gr_is_op(a->def, "Add"), right = b->def && gr_is_op(b->def, "Add");
        if (left && right) return false;
        v = left ? a : b;
    }
    return false;
}

static bool normalises_rows(const gr_node *n)
{
    int64_t axis;
    const gr_value *x = gr_in(n, 0), *g = gr_in(n, 1), *b = gr_in(n, 2);
    if (!gr_is_op(n, "LayerNormalization") || gr_attr_int(n->attrs, "axis", -1, &axis, NULL) != GR_OK) return false;
    if (x->type.rank < 1 || (axis != -1 && axis != x->type.rank - 1)) return false;
    if (g->type.rank != 1 || g->type.dtype != GR_FLOAT || (b && b->type.rank != 1)) return false;
    for (uint32_t i = 1; i < n->nout; i++)
        if (n->out[i] && (n->out[i]->nuses || n->out[i]->is_output)) return false;
    return true;
}

static gr_status rewrite(gr_node *n, const sum *s, bool normal, gr_err *err)
{
    gr_value *in[FIRST + 2 * MOST] = {normal ? gr_in(n, 1) : NULL, normal ? gr_in(n, 2) : NULL}, *old = n->out[0];
    float epsilon = 1e-5f;
    gr_build b = {n->graph, n, err};
    for (int i = 0; i < s->n; i++) {
        in[FIRST + 2 * i] = s->values[i];
        in[FIRST + 2 * i + 1] = s->ids[i];
    }
    if (normal) GR_TRY(gr_attr_float(n->attrs, "epsilon", epsilon, &epsilon, err));
    gr_attr attr = gr_attr_of_float("epsilon", epsilon);
    gr_value *y =
        gr_build_node(&b, "graphrun", "Embeddings", gr_build_attrs(&b, normal, &attr), FIRST + 2 * (uint32_t)s->n, in);
    if (!y) return err ? err->status : GR_ENOMEM;
    y->def->name = n->name;
    y->type = old->type;
    gr_replace_uses(old, y);
    gr_take_name(y, old);
    return GR_OK;
}

gr_status gr_pass_embeddings(gr_graph *g, int *hits, gr_err *err)
{
    for (gr_node *n = g->first, *next; n && !gr_pass_stopped(g); n = next) {
        next = n->next;
        sum s = {0};
        gr_value *x = gr_is_op(n, "Add") ? n->out[0] : gr_in(n, 0);
        if (!n->out[0] || n->out[0]->konst || !x) continue;
        const bool normal = normalises_rows(n) && x->nuses == 1 && !x->is_output;
        /* A sum that is normalised waits for that. */
        const gr_node *reader = x->nuses == 1 && !x->is_output ? x->uses->user : NULL;
        if (!normal && (!gr_is_op(n, "Add") || gr_is_op(reader, "Add") || (reader && normalises_rows(reader)))) continue;
        if (!shallow(x) || !collect(x, &s, true) || s.tables < (normal ? 1 : 2)) continue;
        GR_TRY(rewrite(n, &s, normal, err));
        ++*hits;
    }
    return GR_OK;
}
