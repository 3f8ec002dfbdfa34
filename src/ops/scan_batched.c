/* SPDX-License-Identifier: Apache-2.0
 *
 * Scan of opset 8: a batch of the scans that later versions have. Input 0, which may be absent, holds the length of each
 * sequence; all others have an axis for the batch, and those that are scanned one for the sequence behind it. Rows
 * behind the end of a sequence are zeros in the outputs.
 */
#include "control.h"
#include "move.h"

static gr_status parse_batched(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    gr_scan_params *p = GR_NEW(arena, gr_scan_params);
    if (!p) return gr_nomem(err);
    *params = p;
    p->nout_dir = p->nin_axes = p->nout_axes = -1;
    GR_TRY(gr_attr_int_in(attrs, "num_scan_inputs", 0, 1, 1 << 16, &p->inputs, err));
    return gr_attr_ints(attrs, "directions", &p->nin_dir, &p->in_dir, err);
}

static gr_status infer_batched(const gr_infer *c, gr_err *err)
{
    if (!c->node || c->node->nsubgraphs != 1 || c->nin < 2)
        return gr_fail(err, GR_EMODEL, "a body and an input to scan are needed");
    const gr_graph *g = c->node->subgraphs[0];
    if (g->noutputs < c->nout)
        return gr_fail(err, GR_EMODEL, "its body has %zu outputs, the node needs %u", g->noutputs, c->nout);
    GR_TRY(gr_require(c, 0, GR_T_INDEX, err));
    for (uint32_t o = 0; o < c->nout; o++) gr_set(c, o, g->outputs[o]->type.dtype, GR_RANK_UNKNOWN, NULL);
    return GR_OK;
}

typedef struct batch {
    const gr_step *s;
    const gr_op *scan;
    uint32_t nin, states; /* inputs without the lengths; */
    int64_t count;        /* sequences */
    gr_tensor **slices, **out; /* of one sequence; [count][nout] */
} batch;

static gr_status check_batch(batch *k, gr_err *err)
{
    const gr_step *s = k->s;
    uint32_t own = k->nin - s->node->ncaptured;
    int64_t scanned = GR_PARAMS(gr_scan_params, s)->inputs;
    if ((int64_t)own < scanned) return gr_fail(err, GR_EMODEL, "it has fewer inputs than it scans");
    k->states = own - (uint32_t)scanned;
    for (uint32_t i = 0; i < own; i++) {
        const gr_tensor *t = s->in[1 + i];
        if (!t || t->kind != GR_KIND_TENSOR || t->rank < (i < k->states ? 1 : 2))
            return gr_fail(err, GR_EMODEL, "input %u has no axis for a batch and a sequence", 1 + i);
        if (i && t->dims[0] != k->count)
            return gr_fail(err, GR_EINPUT, "batches of %lld and of %lld", (long long)k->count, (long long)t->dims[0]);
        k->count = t->dims[0];
    }
    if (s->in[0] && s->in[0]->elements != k->count)
        return gr_fail(err, GR_EINPUT, "%lld lengths for a batch of %lld", (long long)s->in[0]->elements,
                       (long long)k->count);
    return GR_OK;
}

static gr_status scan_one(batch *k, int64_t b, gr_err *err)
{
    const gr_step *s = k->s;
    uint32_t own = k->nin - s->node->ncaptured;
    gr_tensor *cut = gr_calloc(k->nin, sizeof *cut); /* the slices, as long as their sequence */
    const gr_tensor **in = gr_calloc(k->nin, sizeof *in);
    gr_status status = cut && in ? GR_OK : gr_nomem(err);
    for (uint32_t i = 0; status == GR_OK && i < k->nin; i++) {
        in[i] = i < own ? &cut[i] : s->in[1 + i];
        if (i >= own) continue;
        if (!(k->slices[i] = gr_control_slice(s->in[1 + i], 0, b))) {
            status = gr_nomem(err);
            break;
        }
        cut[i] = *k->slices[i];
        if (i < k->states || !s->in[0]) continue;
        int64_t length = gr_int_at(s->in[0], b), whole = cut[i].dims[0];
        if (length < 0 || length > whole) {
            status = gr_fail(err, GR_EINPUT, "a length of %lld, expected 0 to %lld", (long long)length, (long long)whole);
            break;
        }
        cut[i].dims[0] = length;
        cut[i].elements = gr_product(cut[i].dims, 0, cut[i].rank);
        gr_bytes(cut[i].dtype, cut[i].elements, &cut[i].size);
    }
    if (status == GR_OK)
        status = gr_eval(s->exec, k->scan, s->params, s->node, NULL, k->nin, in, s->nout, NULL,
                         k->out + b * (int64_t)s->nout, err);
    for (uint32_t i = 0; i < own; i++) {
        gr_tensor_free(k->slices[i]);
        k->slices[i] = NULL;
    }
    gr_free(cut);
    gr_free(in);
    return status;
}

/* What the sequences have made, one behind the other. */
static gr_status join(const batch *k, uint32_t o, gr_err *err)
{
    const gr_step *s = k->s;
    const gr_tensor *first = k->count ? k->out[o] : NULL;
    int64_t dims[GR_MAX_RANK] = {k->count};
    if (!s->out[o]) return GR_OK;
    if (!first) return gr_fail(err, GR_EUNSUPPORTED, "an empty batch");
    GR_TRY(gr_check_rank(first->rank + 1, err));
    memcpy(dims + 1, first->dims, (size_t)first->rank * sizeof *dims);
    if (o >= k->states) dims[1] = s->in[1 + k->states]->dims[1];
    s->out[o]->dtype = first->dtype;
    GR_TRY(gr_out_alloc(s, o, first->rank + 1, dims, err));
    gr_tensor *y = s->out[o];
    size_t stride = y->size / (size_t)k->count;
    if (y->size) memset(y->data, 0, y->size);
    for (int64_t b = 0; b < k->count; b++) {
        const gr_tensor *row = k->out[b * (int64_t)s->nout + o];
        if (row->size > stride) return gr_fail(err, GR_EINPUT, "output %u differs in shape between sequences", o);
        if (row->size) memcpy((char *)y->data + (size_t)b * stride, row->data, row->size);
    }
    return GR_OK;
}

static gr_status run_batched(const gr_step *s, gr_err *err)
{
    batch k = {.s = s, .scan = gr_op_find("", "Scan", 9, NULL), .nin = s->nin - 1};
    GR_TRY(check_batch(&k, err));
    size_t all;
    if (!gr_mul((size_t)k.count, s->nout, &all)) return gr_fail(err, GR_ELIMIT, "a batch of %lld", (long long)k.count);
    k.slices = gr_calloc(k.nin, sizeof *k.slices);
    k.out = gr_calloc(all, sizeof *k.out);
    gr_status status = k.slices && k.out ? GR_OK : gr_nomem(err);
    for (int64_t b = 0; status == GR_OK && b < k.count; b++) status = scan_one(&k, b, err);
    for (uint32_t o = 0; status == GR_OK && o < s->nout; o++) status = join(&k, o, err);
    for (size_t i = 0; k.out && i < all; i++)
        if (k.out[i]) gr_control_drop(s, k.out[i]);
    gr_free(k.slices);
    gr_free(k.out);
    return status;
}

static const gr_kernel batched_kernels[] = {{"ref", NULL, run_batched, NULL}, {0}};
static const char *const body[] = {"body", NULL};

const gr_op op_scan_batched[] = {
    {"Scan", 8, .in = {0, -1}, .out = -1, .flags = GR_OP_DYNAMIC, .parse = parse_batched, .infer = infer_batched,
     .kernels = batched_kernels, .graphs = body},
    {0},
};
