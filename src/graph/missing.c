/* SPDX-License-Identifier: Apache-2.0 */
#include "missing.h"

static gr_status infer(const gr_infer *c, gr_err *err)
{
    for (uint32_t o = 0; o < c->nout; o++) {
        gr_status status = gr_has(c, 0) ? gr_set_like(c, o, 0) : gr_set(c, o, GR_UNDEFINED, GR_RANK_UNKNOWN, NULL);
        if (status != GR_OK) return gr_nomem(err);
    }
    return GR_OK;
}

static gr_status run(const gr_step *s, gr_err *err)
{
    return gr_fail(err, GR_EUNSUPPORTED, "the operator %s is missing", gr_show(s->op->name));
}

static const gr_kernel kernels[] = {{"missing", NULL, run, NULL}, {0}};

const gr_op *gr_missing_op(gr_arena *arena, const char *domain, const char *name)
{
    gr_op *op = GR_NEW(arena, gr_op);
    if (op)
        *op = (gr_op){.name = name,
                      .since = 1,
                      .in = {0, -1},
                      .out = -1,
                      .flags = GR_OP_IMPURE, /* so that nothing runs it to fold it, nor takes two for one */
                      .infer = infer,
                      .kernels = kernels,
                      .domain = *domain ? domain : NULL};
    return op;
}

bool gr_is_missing(const gr_node *n) { return n->op->kernels == kernels; }
