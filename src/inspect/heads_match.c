/* SPDX-License-Identifier: Apache-2.0
 *
 * A simultaneous walk from a head's output and a value of the model backwards. Linear layers are compared as such,
 * fused or not, quantised or not; of other nodes operator, attributes and inputs must agree, save for how shapes and axes
 * are written. The walk is as deep as the head's file.
 */
#include "heads_match.h"
#include "ops/op.h"
#include "passes/match.h"
#include <math.h>

enum { LINEAR_STEPS = 12 };

static bool is(const gr_node *n, const char *name) { return n && gr_is_named(n, name); }

static bool one_of(const gr_node *n, const char *const *names)
{
    for (; *names; names++)
        if (is(n, *names)) return true;
    return false;
}

static bool push_node(head_match *m, const gr_node *n)
{
    for (int i = 0; i < m->nnodes; i++)
        if (m->nodes[i] == n) return true;
    if (m->nnodes == HEAD_NODES) return false;
    m->nodes[m->nnodes++] = n;
    return true;
}

static bool bind(head_match *m, const gr_value *p, const gr_value *g)
{
    if (m->bound[p->id]) return m->bound[p->id] == g;
    if (m->ntrail == (int)(sizeof m->trail / sizeof *m->trail)) return false;
    m->bound[p->id] = g;
    m->trail[m->ntrail++] = p;
    return true;
}

void gr_head_undo(head_match *m, int ntrail, int nnodes)
{
    while (m->ntrail > ntrail) m->bound[m->trail[--m->ntrail]->id] = NULL;
    m->nnodes = nnodes;
}

const gr_value *gr_head_peel(const gr_value *v)
{
    static const char *const quantising[] = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Identity", NULL};
    for (int i = 0; i < LINEAR_STEPS && v->def && v->def->out[0] == v && gr_in(v->def, 0); i++) {
        const gr_type *from = &gr_in(v->def, 0)->type;
        bool cast = is(v->def, "Cast") && gr_dtype_is_float(from->dtype) && gr_dtype_is_float(v->type.dtype);
        if (!cast && !one_of(v->def, quantising)) break;
        v = gr_in(v->def, 0);
    }
    return v;
}

/* ---- linear layers ---- */

typedef struct linear {
    const gr_value *x, *w, *bias;
    const char *activation;
    const gr_node *nodes[LINEAR_STEPS];
    int n;
} linear;

static const char *activation_of(const gr_node *n)
{
    if (is(n, "Tanh")) return "tanh";
    if (is(n, "Relu")) return "relu";
    if (is(n, "Gelu") || is(n, "FastGelu") || is(n, "BiasGelu")) return "gelu";
    return NULL;
}

static bool is_product(const gr_node *n)
{
    return strstr(n->op->name, "MatMul") || strstr(n->op->name, "Gemm") || strstr(n->op->name, "Linear");
}

/* A constant, if need be behind a transposition or what unfolds a quantised one. */
static const gr_value *weight_behind(const gr_value *v)
{
    for (int i = 0; v && i < 4; i++) {
        if (v->konst && !v->def) return v;
        if (!v->def || !gr_in(v->def, 0) || !(is(v->def, "Transpose") || is(v->def, "DequantizeLinear") || is(v->def, "Cast")))
            return v->konst ? v : NULL;
        v = gr_in(v->def, 0);
    }
    return NULL;
}

/* Which input is the bias of an operator that has one in floating point; the residual stands behind it. */
static uint32_t bias_slot(const gr_node *n)
{
    return is(n, "QuantizedLinear") ? 6 : is(n, "WeightOnlyLinear") ? 4 : 2;
}

static bool take_product(const gr_node *n, linear *l)
{
    const char *activation = "";
    bool fused = n->op->domain && !strcmp(n->op->domain, "graphrun");
    if (fused && gr_in(n, bias_slot(n) + 1)) return false; /* with a residual: no head */
    for (uint32_t i = 1; i < n->nin; i++) {
        const gr_value *w = weight_behind(gr_in(n, i));
        if (!w) continue;
        if (w->konst->rank >= 2 && (!l->w || w->konst->elements > l->w->konst->elements)) l->w = w;
        bool quantised = w->konst->dtype == GR_INT32; /* floats there are scales */
        if (w->konst->rank == 1 && (quantised || (i == bias_slot(n) && gr_dtype_is_float(w->konst->dtype)))) l->bias = w;
    }
    if (gr_attr_string(n->attrs, "activation", "", &activation, NULL) == GR_OK && *activation) {
        if (*l->activation) return false;
        l->activation = activation;
    }
    l->x = gr_in(n, 0) ? gr_head_peel(gr_in(n, 0)) : NULL;
    return l->w && l->x && !l->x->konst;
}

/* The side of an Add or Mul that is not constant; the other one in *constant. NULL if both or none are. */
static const gr_value *data_side(const gr_node *n, const gr_value **constant)
{
    const gr_value *a = gr_in(n, 0), *b = gr_in(n, 1);
    if (!a || !b || (a->konst != NULL) == (b->konst != NULL)) return NULL;
    *constant = a->konst ? a : b;
    return a->konst ? b : a;
}

/* Read act(x W + b) from its result, whatever it is put together from. */
static bool linear_of(const gr_value *v, linear *l)
{
    *l = (linear){.activation = ""};
    for (int i = 0; i < LINEAR_STEPS; i++) {
        const gr_node *n = v->def;
        const gr_value *constant = NULL, *next = NULL;
        if (!n || n->out[0] != v) return false;
        l->nodes[l->n++] = n;
        if (is_product(n) && !strstr(n->op->name, "uantizeLinear")) return take_product(n, l);
        if (activation_of(n) && !*l->activation && !l->bias) {
            l->activation = activation_of(n);
            next = gr_in(n, 0);
        } else if (is(n, "Add") && !l->bias && (next = data_side(n, &constant))) {
            if (constant->konst->rank > 1) return false;
            l->bias = constant;
        } else if (is(n, "Mul")) { /* by the scale of a quantised product */
            const gr_value *a = gr_in(n, 0), *b = gr_in(n, 1);
            next = a->type.rank >= b->type.rank ? a : b;
            if (next->konst || next->type.rank < 2 || (next == a ? b : a)->type.rank > 1) return false;
        } else if (gr_head_peel(v) != v || is(n, "Cast")) {
            next = gr_in(n, 0);
        }
        if (!next) return false;
        v = next;
    }
    return false;
}

static bool same_activation(const char *a, const char *b)
{
    return !strcmp(a, b) || (!strncmp(a, "gelu", 4) && !strncmp(b, "gelu", 4));
}

static bool match_linear(head_match *m, const linear *p, const linear *g)
{
    if (!same_activation(p->activation, g->activation) || (p->bias != NULL) != (g->bias != NULL)) return false;
    if (!bind(m, p->w, g->w) || (p->bias && !bind(m, p->bias, g->bias))) return false;
    for (int i = 0; i < g->n; i++)
        if (!push_node(m, g->nodes[i])) return false;
    return gr_head_match(m, p->x, g->x);
}

/* ---- leaves ---- */

static bool match_constant(head_match *m, const gr_value *p, const gr_value *g)
{
    double a, b;
    if (!g->konst) return false;
    if (p->konst->rank == 0 && gr_dtype_is_float(p->konst->dtype)) {
        const double tiny = 1e-4; /* guards against division by zero are as good as each other */
        if (!gr_scalar_of(p, &a) || !gr_scalar_of(g, &b)) return false;
        return (fabs(a) < tiny && fabs(b) < tiny) || fabs(a - b) <= 1e-3 * fabs(a);
    }
    if (!gr_dtype_is_float(p->konst->dtype)) return gr_scalar_of(p, &a) && gr_scalar_of(g, &b) && a == b;
    return p->konst->rank == g->konst->rank && bind(m, p, g);
}

static bool match_input(head_match *m, const gr_value *p, const gr_value *g)
{
    if (!strcmp(p->name, "hidden")) return gr_head_peel(g) == gr_head_peel(m->hidden) && bind(m, p, g);
    if (g->konst || (g->type.rank >= 0 && g->type.rank != p->type.rank)) return false;
    bool floats = gr_dtype_is_float(p->type.dtype);
    return floats == gr_dtype_is_float(g->type.dtype) && bind(m, p, g);
}

/* ---- other nodes ---- */

static bool same_attr(const gr_attr *a, const gr_attr *b, int rank)
{
    static const char *const ignored[] = {"epsilon", "ignore_index", "split", "num_outputs", "allowzero", "axes", "transB", NULL};
    for (const char *const *name = ignored; *name; name++)
        if (!strcmp(a->name, *name)) return true;
    if (a->type != b->type) return false;
    if (a->type == GR_ATTR_INT) return a->i == b->i || (rank > 0 && (a->i + rank) % rank == (b->i + rank) % rank);
    if (a->type == GR_ATTR_FLOAT) return fabsf(a->f - b->f) <= 1e-3f * fabsf(a->f);
    if (a->type == GR_ATTR_STRING) return a->s.size == b->s.size && !memcmp(a->s.data, b->s.data, a->s.size);
    return true;
}

static bool same_attrs(const gr_node *p, const gr_node *g)
{
    for (size_t i = 0; i < p->attrs.count; i++) {
        const gr_attr *a = &p->attrs.items[i], *b = gr_attr_find(g->attrs, a->name);
        bool axis = !strcmp(a->name, "axis");
        if (b && !same_attr(a, b, axis && gr_in(p, 0) ? gr_in(p, 0)->type.rank : 0)) return false;
    }
    return true;
}

static bool same_axes(const gr_node *p, const gr_node *g)
{
    int64_t np, ng, ap[GR_MAX_RANK], ag[GR_MAX_RANK];
    bool kp, kg;
    if (!gr_reduced_axes(p, &np, ap, &kp) || !gr_reduced_axes(g, &ng, ag, &kg)) return false;
    return kp == kg && np == ng && !memcmp(ap, ag, (size_t)np * sizeof *ap);
}

static bool match_inputs(head_match *m, const gr_node *p, const gr_node *g, bool swapped)
{
    static const char *const shaping[] = {"Reshape", "Expand", "Split", "Squeeze", "Unsqueeze", "Clip", NULL};
    bool reduces = !strncmp(p->op->name, "Reduce", 6);
    if (one_of(p, shaping) || reduces) {
        int rank = g->out[0] ? g->out[0]->type.rank : GR_RANK_UNKNOWN;
        if (reduces ? !same_axes(p, g) : rank >= 0 && p->out[0]->type.rank != rank) return false;
        return gr_head_match(m, gr_in(p, 0), gr_in(g, 0));
    }
    for (uint32_t i = 0; i < p->nin; i++) {
        uint32_t k = swapped && i < 2 ? 1 - i : i;
        if ((gr_in(p, i) != NULL) != (gr_in(g, k) != NULL)) return false;
        if (gr_in(p, i) && !gr_head_match(m, gr_in(p, i), gr_in(g, k))) return false;
    }
    for (uint32_t i = p->nin; i < g->nin; i++)
        if (gr_in(g, i) && !gr_in(g, i)->konst) return false;
    return true;
}

/* Some exporters split into a sequence and take the pieces out of it. */
static bool match_piece(head_match *m, const gr_node *split, uint32_t o, const gr_node *at)
{
    double index;
    const gr_node *b = gr_in(at, 0) ? gr_in(at, 0)->def : NULL;
    if (!is(b, "SplitToSequence") || !gr_in(at, 1) || !gr_scalar_of(gr_in(at, 1), &index) || index != o) return false;
    return same_attrs(split, b) && push_node(m, at) && push_node(m, b) && gr_head_match(m, gr_in(split, 0), gr_in(b, 0));
}

static bool match_node(head_match *m, const gr_value *p, const gr_value *g)
{
    const gr_node *a = p->def, *b = g->def;
    uint32_t o = 0;
    while (o < a->nout && a->out[o] != p) o++;
    if (b && is(a, "Split") && is(b, "SequenceAt")) return match_piece(m, a, o, b);
    if (!b || strcmp(a->op->name, b->op->name) || !same_attrs(a, b)) return false;
    if (gr_out(b, o) != g || !push_node(m, b)) return false;
    int ntrail = m->ntrail, nnodes = m->nnodes;
    for (int swapped = 0; swapped < (a->op->flags & GR_OP_COMMUTES ? 2 : 1); swapped++) {
        if (match_inputs(m, a, b, swapped)) return true;
        gr_head_undo(m, ntrail, nnodes);
    }
    return false;
}

bool gr_head_match(head_match *m, const gr_value *p, const gr_value *g)
{
    int ntrail = m->ntrail, nnodes = m->nnodes;
    linear lp, lg;
    bool found;
    if (--m->budget < 0) return false;
    if (m->bound[p->id]) return m->bound[p->id] == g || m->bound[p->id] == gr_head_peel(g);
    if (p->konst && !p->def) return match_constant(m, p, g);
    if (p->is_input) return match_input(m, p, g);
    if (linear_of(p, &lp)) {
        found = linear_of(g, &lg) && match_linear(m, &lp, &lg);
    } else {
        const gr_value *peeled = gr_head_peel(g);
        found = match_node(m, p, g);
        if (!found && peeled != g) {
            gr_head_undo(m, ntrail, nnodes);
            found = match_node(m, p, peeled);
        }
    }
    if (found && bind(m, p, g)) return true;
    gr_head_undo(m, ntrail, nnodes);
    return false;
}
