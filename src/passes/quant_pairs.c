/* SPDX-License-Identifier: Apache-2.0
 *
 * Activations that a file rounds to codes with one constant scale and takes back at once,
 *     DequantizeLinear (QuantizeLinear (x, s, z), s, z)
 * are x: the pairs stand for a model of floats, and products quantise each row anew. Where z is the least code the pair
 * becomes Relu (x), as quantisers leave out a Relu before it. All fusions then find what they find in the model of
 * floats, and padding can be left out. Only for graphs of sessions in bytes, and not if the graph is strict. Requires
 * duplicates, so that equal scales are one value.
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

/* The QuantizeLinear whose codes n takes back, or NULL; *clips: it leaves nothing below 0. */
static const gr_node *pair_of(const gr_node *n, bool *clips)
{
    const gr_value *codes = gr_is_named(n, "DequantizeLinear") ? gr_in(n, 0) : NULL;
    const gr_node *q = codes && !codes->konst ? codes->def : NULL;
    const gr_tensor *z;
    double scale;
    int32_t zero = 0;
    int least, greatest;
    if (!q || !gr_is_named(q, "QuantizeLinear")) return NULL;
    if (gr_in(q, 1) != gr_in(n, 1) || gr_in(q, 2) != gr_in(n, 2)) return NULL;
    const gr_dtype type = codes->type.dtype;
    if (type != GR_UINT8 && type != GR_INT8 && type != GR_UINT16 && type != GR_INT16) return NULL;
    if (!gr_in(q, 0) || gr_in(q, 0)->type.dtype != GR_FLOAT || n->out[0]->type.dtype != GR_FLOAT) return NULL;
    if (!gr_in(q, 1) || !gr_scalar_of(gr_in(q, 1), &scale) || !(scale > 0)) return NULL;
    if (gr_in(q, 2) && (!(z = gr_in(q, 2)->konst) || z->elements != 1 || z->dtype != type)) return NULL;
    if (gr_in(q, 2)) gr_codes_load(type, z->data, 0, 1, &zero);
    gr_code_range(type, &least, &greatest);
    *clips = zero == least;
    return q;
}

gr_status gr_pass_quant_pairs(gr_graph *g, int *hits, gr_err *err)
{
    if (!g->by_row || g->strict) return GR_OK;
    for (gr_node *n = g->first, *next; n; n = next) {
        bool clips = false;
        const gr_node *q = n->out[0] ? pair_of(n, &clips) : NULL;
        next = n->next;
        if (!q) continue;
        if (gr_pass_stopped(g)) break;
        gr_value *x = gr_in(q, 0);
        if (clips && !never_negative(x) &&
            !(x = gr_build_node(&(gr_build){g, n, err}, "", "Relu", (gr_attrs){0}, 1, &x)))
            return err ? err->status : GR_ENOMEM;
        gr_replace_uses(n->out[0], x);
        ++*hits;
    }
    return GR_OK;
}
