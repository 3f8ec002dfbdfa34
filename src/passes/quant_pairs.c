/* SPDX-License-Identifier: Apache-2.0
 *
 * Activations that a file rounds to codes with one constant scale and takes back, at once or after Reshape and the
 * like,
 *     DequantizeLinear (QuantizeLinear (x, s, z), s, z)
 * are x: the pairs stand for a model of floats, and products quantise each row anew. Where z is the least code the pair
 * becomes Relu (x), as quantisers leave out a Relu before it. All fusions then find what they find in the model of
 * floats, and padding can be left out. Only for graphs of sessions in bytes, and not if the graph is strict. Requires
 * quant-operators.
 */
#include "build.h"
#include "ops/codes.h"
#include "passes.h"

static bool is_one_of(const gr_node *n, const char *const *names)
{
    while (*names && !gr_is_named(n, *names)) names++;
    return *names != NULL;
}

/* Whether it is known that no element is below 0; looked for at a few nodes before v. */
static bool never_negative(const gr_value *v)
{
    static const char *const always[] = {"Softmax", "Relu", "Sigmoid", "Sqrt", "Exp", "Abs", NULL};
    static const char *const passing[] = {"ReduceMean", "Reshape", "Transpose", NULL};
    enum { NODES = 4 };
    static const char *const bounded[] = {"Erf", "Tanh", NULL}; /* by -1 */
    double x;
    for (int i = 0; i < NODES && v->def && v->def->nin; i++) {
        const gr_node *n = v->def;
        const bool second = n->nin > 1 && gr_in(n, 1);
        if (is_one_of(n, always)) return true;
        if (gr_is_named(n, "Pow")) return second && gr_scalar_of(gr_in(n, 1), &x) && x == 2;
        if (gr_is_named(n, "Mul") && gr_in(n, 0) == gr_in(n, 1)) return true;
        const bool adds = gr_is_named(n, "Add") && second && gr_scalar_of(gr_in(n, 1), &x) && x >= 0;
        if (adds && x >= 1 && gr_in(n, 0) && gr_in(n, 0)->def && is_one_of(gr_in(n, 0)->def, bounded)) return true;
        if ((!adds && !is_one_of(n, passing)) || !gr_in(n, 0)) return false;
        v = gr_in(n, 0);
    }
    return false;
}

/* Whether n only moves or repeats elements of its first input. */
static bool is_layout(const gr_node *n)
{
    static const char *const names[] = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Expand",
                                        "Gather",  "Slice",     "Identity", NULL};
    return n && is_one_of(n, names) && n->nin && gr_in(n, 0);
}

enum { LAYOUTS = 8 };

/* What lies between a pair, from the end on. */
typedef struct between {
    const gr_node *nodes[LAYOUTS];
    int count;
    bool clips; /* the pair leaves nothing below 0 */
} between;

/* One value, or constants of one element with the same contents. */
static bool same(const gr_value *a, const gr_value *b)
{
    if (a == b) return true;
    const gr_tensor *s = a ? a->konst : NULL, *t = b ? b->konst : NULL;
    return s && t && s->elements == 1 && t->elements == 1 && s->dtype == t->dtype && !memcmp(s->data, t->data, s->size);
}

/* The QuantizeLinear whose codes n takes back, or NULL. */
static const gr_node *pair_of(const gr_node *n, between *x)
{
    const gr_value *codes = gr_is_named(n, "DequantizeLinear") ? gr_in(n, 0) : NULL;
    x->count = 0;
    for (; codes && !codes->konst && is_layout(codes->def) && x->count < LAYOUTS; codes = gr_in(codes->def, 0))
        x->nodes[x->count++] = codes->def;
    const gr_node *q = codes && !codes->konst ? codes->def : NULL;
    const gr_tensor *z;
    double scale;
    int32_t zero = 0;
    int least, greatest;
    if (!q || !gr_is_named(q, "QuantizeLinear")) return NULL;
    if (!same(gr_in(q, 1), gr_in(n, 1)) || !same(gr_in(q, 2), gr_in(n, 2))) return NULL;
    const gr_dtype type = codes->type.dtype;
    if (type != GR_UINT8 && type != GR_INT8 && type != GR_UINT16 && type != GR_INT16) return NULL;
    if (!gr_in(q, 0) || gr_in(q, 0)->type.dtype != GR_FLOAT || n->out[0]->type.dtype != GR_FLOAT) return NULL;
    if (!gr_in(q, 1) || !gr_scalar_of(gr_in(q, 1), &scale) || !(scale > 0)) return NULL;
    if (gr_in(q, 2) && (!(z = gr_in(q, 2)->konst) || z->elements != 1 || z->dtype != type)) return NULL;
    if (gr_in(q, 2)) gr_codes_load(type, z->data, 0, 1, &zero);
    gr_code_range(type, &least, &greatest);
    x->clips = zero == least;
    return q;
}

/* n of x instead of its first input, by the operator of the same opset. */
static gr_value *layout_of(gr_build *b, const gr_node *n, gr_value *x)
{
    gr_value **in = GR_NEWS(b->g->arena, n->nin, gr_value *);
    if (!in) return gr_err_write(b->err, GR_ENOMEM, "out of memory"), NULL;
    in[0] = x;
    for (uint32_t i = 1; i < n->nin; i++) in[i] = gr_in(n, i);
    gr_node *copy = gr_graph_node(b->g, n->op, n->params, n->attrs, n->nin, in, 1, NULL);
    if (!copy) return gr_err_write(b->err, GR_ENOMEM, "out of memory"), NULL;
    gr_insert_before(copy, b->at);
    return gr_node_infer(copy, b->err) == GR_OK ? copy->out[0] : NULL;
}

/* x without the pair: what is between, in floats. */
static gr_value *moved(gr_build *b, gr_value *x, const between *z)
{
    if (z->clips && !never_negative(x)) x = gr_build_node(b, "", "Relu", (gr_attrs){0}, 1, &x);
    for (int i = z->count; x && i-- > 0;) x = layout_of(b, z->nodes[i], x);
    return x;
}

gr_status gr_pass_quant_pairs(gr_graph *g, int *hits, gr_err *err)
{
    if (!g->by_row || g->strict) return GR_OK;
    for (gr_node *n = g->first, *next; n; n = next) {
        between z = {0};
        const gr_node *q = n->out[0] ? pair_of(n, &z) : NULL;
        next = n->next;
        if (!q) continue;
        if (gr_pass_stopped(g)) break;
        gr_value *x = moved(&(gr_build){g, n, err}, gr_in(q, 0), &z);
        if (!x) return err ? err->status : GR_ENOMEM;
        gr_replace_uses(n->out[0], x);
        ++*hits;
    }
    return GR_OK;
}
