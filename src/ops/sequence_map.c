/* SPDX-License-Identifier: Apache-2.0
 *
 * SequenceMap: runs its body once for each item of a sequence; further inputs are sequences of as many items, or tensors
 * that every turn gets whole. Each output of the body makes a sequence.
 */
#include "control.h"

static gr_status infer_map(const gr_infer *c, gr_err *err)
{
    if (!c->node || c->node->nsubgraphs != 1) return gr_fail(err, GR_EMODEL, "a body is needed");
    const gr_graph *g = c->node->subgraphs[0];
    if (g->noutputs != c->nout)
        return gr_fail(err, GR_EMODEL, "its body has %zu outputs, expected %u", g->noutputs, c->nout);
    if (!gr_has(c, 0) || (c->in[0]->kind != GR_KIND_SEQUENCE && c->in[0]->kind != GR_KIND_NONE))
        return gr_fail(err, GR_EMODEL, "input 0 must be a sequence");
    for (uint32_t o = 0; o < c->nout; o++) {
        gr_dtype t = g->outputs[o]->type.dtype;
        gr_type *elem = GR_NEW(c->arena, gr_type);
        if (!elem) return gr_nomem(err);
        *elem = gr_type_tensor(t, GR_RANK_UNKNOWN, NULL);
        c->out[o] = (gr_type){.kind = GR_KIND_SEQUENCE, .dtype = t, .rank = GR_RANK_UNKNOWN, .elem = elem};
    }
    return GR_OK;
}

static gr_status map_item(const gr_step *s, size_t item, const gr_tensor **own, uint32_t n, gr_tensor **out, gr_err *err)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!s->in[i]) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
        own[i] = s->in[i]->kind == GR_KIND_SEQUENCE ? s->in[i]->items[item] : s->in[i];
    }
    GR_TRY(gr_control_run(s, s->node->subgraphs[0], own, n, out, err));
    gr_status status = GR_OK;
    for (uint32_t o = 0; o < s->nout; o++) {
        if (status == GR_OK && out[o]->kind != GR_KIND_TENSOR)
            status = gr_fail(err, GR_EUNSUPPORTED, "output %u of its body is no tensor", o);
        if (status == GR_OK && s->out[o]) {
            s->out[o]->dtype = out[o]->dtype;
            status = gr_out_item_copy(s, o, item, out[o], err);
        }
        gr_control_drop(s, out[o]);
    }
    return status;
}

static gr_status run_map(const gr_step *s, gr_err *err)
{
    uint32_t n = s->nin - s->node->ncaptured;
    size_t count = s->in[0]->count;
    for (uint32_t i = 1; i < n; i++)
        if (s->in[i] && s->in[i]->kind == GR_KIND_SEQUENCE && s->in[i]->count != count)
            return gr_fail(err, GR_EINPUT, "input %u has %zu items, input 0 has %zu", i, s->in[i]->count, count);
    for (uint32_t o = 0; o < s->nout; o++) GR_TRY(gr_out_sequence(s, o, count, err));
    const gr_tensor **own = gr_calloc(n, sizeof *own);
    gr_tensor **out = gr_calloc(s->nout, sizeof *out);
    gr_status status = own && out ? GR_OK : gr_nomem(err);
    for (size_t i = 0; status == GR_OK && i < count; i++) status = map_item(s, i, own, n, out, err);
    gr_free(own);
    gr_free(out);
    return status;
}

static const gr_kernel map_kernels[] = {{"ref", NULL, run_map, NULL}, {0}};
static const char *const body[] = {"body", NULL};

const gr_op op_sequence_map[] = {
    {"SequenceMap", 17, .in = {1, -1}, .out = -1, .flags = GR_OP_DYNAMIC, .infer = infer_map, .kernels = map_kernels,
     .graphs = body},
    {0},
};
