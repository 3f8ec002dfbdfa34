/* SPDX-License-Identifier: Apache-2.0
 *
 * A sequence that is split off a tensor and only read at known places need not be one: SplitToSequence and its
 * SequenceAt become Split, whose parts have shapes. Exporters write the unpacking of a split like this. Requires
 * inference.
 */
#include "build.h"
#include "pass.h"
#include "passes.h"

enum { MOST = 64 }; /* parts */

/* Sizes of the parts as Split takes them, or 0 of them: not known, or not what Split makes. */
static int64_t sizes_of(const gr_node *n, int64_t axis, int64_t sizes[MOST])
{
    const gr_value *split = gr_in(n, 1);
    const gr_dim dim = gr_in(n, 0)->type.dims[axis];
    int64_t keep, count = 0, chunk = 1, left = dim.k;
    if (gr_attr_int(n->attrs, "keepdims", 1, &keep, NULL) != GR_OK || (!split && !keep) || !gr_dim_known(dim)) return 0;
    if (split && split->type.rank == 1) {
        if (!gr_ints_of(split, &count, sizes, MOST)) return 0;
        for (int64_t i = 0; i < count; i++) {
            if (sizes[i] < 0 || sizes[i] > left) return 0;
            left -= sizes[i];
        }
        return left == 0 ? count : 0;
    }
    if (split && (!gr_ints_of(split, &count, &chunk, 1) || chunk < 1)) return 0;
    for (count = 0; left > 0 && count < MOST; left -= sizes[count++]) sizes[count] = chunk < left ? chunk : left;
    return left == 0 ? count : 0;
}

/* Which of `count` parts a reader of a sequence takes, or -1. */
static int64_t part_of(const gr_use *u, const gr_value *sequence, int64_t count)
{
    int64_t one, at;
    const gr_node *n = u->user;
    if (!gr_is_op(n, "SequenceAt") || !gr_out(n, 0) || gr_in(n, 0) != sequence) return -1;
    if (!gr_ints_of(gr_in(n, 1), &one, &at, 1)) return -1;
    if (at < 0) at += count;
    return at >= 0 && at < count ? at : -1;
}

static gr_status rewrite(gr_node *n, bool *done, gr_err *err)
{
    int64_t sizes[MOST], axis;
    gr_value *s = n->out[0], *x = gr_in(n, 0);
    gr_build b = {n->graph, n, err};
    if (!s || s->is_output || x->type.rank < 1 || gr_attr_int(n->attrs, "axis", 0, &axis, NULL) != GR_OK) return GR_OK;
    if (axis < -x->type.rank || axis >= x->type.rank) return GR_OK;
    if (axis < 0) axis += x->type.rank;
    const int64_t count = sizes_of(n, axis, sizes);
    for (const gr_use *u = s->uses; u; u = u->next)
        if (part_of(u, s, count) < 0) return GR_OK;
    if (!count || !s->uses) return GR_OK;
    gr_attr attr = gr_attr_of_int("axis", axis);
    gr_value *in[] = {x, gr_graph_ints(n->graph, "sizes", count, sizes)};
    if (!in[1]) return gr_nomem(err);
    gr_node *split = gr_build_outputs(&b, "", "Split", gr_build_attrs(&b, 1, &attr), 2, in, (uint32_t)count, NULL);
    if (!split) return err ? err->status : GR_ENOMEM;
    split->name = n->name;
    for (gr_use *u = s->uses; u; u = u->next) {
        gr_value *part = split->out[part_of(u, s, count)], *read = u->user->out[0];
        gr_replace_uses(read, part);
        gr_take_name(part, read);
    }
    *done = true;
    return GR_OK;
}

gr_status gr_pass_split_sequence(gr_graph *g, int *hits, gr_err *err)
{
    for (gr_node *n = g->first; n && !gr_pass_stopped(g); n = n->next) {
        bool done = false;
        if (!gr_is_op(n, "SplitToSequence")) continue;
        GR_TRY(rewrite(n, &done, err));
        *hits += done;
    }
    /* The parts have shapes, and so has now what is made of them. */
    return *hits ? gr_graph_infer(g, 0, err) : GR_OK;
}
