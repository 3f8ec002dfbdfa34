/* SPDX-License-Identifier: Apache-2.0
 *
 * Optional, OptionalHasElement and OptionalGetElement as far as it is known beforehand what is there: a tensor or a
 * sequence counts as an optional that has an element, an input that is left out as one that has none.
 */
#include "exec/eval.h"
#include "move.h"

static gr_status refuse(gr_err *err)
{
    return gr_fail(err, GR_EUNSUPPORTED, "optional values that may be empty are not supported");
}

static gr_status infer_has(const gr_infer *c, gr_err *err)
{
    if (gr_has(c, 0) && c->in[0]->kind == GR_KIND_OPTIONAL) return refuse(err);
    return gr_set(c, 0, GR_BOOL, 0, NULL);
}

static gr_status run_has(const gr_step *s, gr_err *err)
{
    (void)err;
    *(uint8_t *)s->out[0]->data = s->nin > 0 && s->in[0];
    return GR_OK;
}

/* Optional and OptionalGetElement hand on what they get. */
static gr_status infer_same(const gr_infer *c, gr_err *err)
{
    if (!gr_has(c, 0) || c->in[0]->kind == GR_KIND_OPTIONAL) return refuse(err);
    if (c->in[0]->kind == GR_KIND_TENSOR) GR_TRY(gr_require_movable(c, 0, err));
    return gr_set_like(c, 0, 0);
}

static gr_status run_same(const gr_step *s, gr_err *err)
{
    const gr_tensor *x = s->in[0];
    gr_tensor *y = s->out[0];
    if (x->kind != GR_KIND_SEQUENCE) {
        if (x->size) memmove(y->data, x->data, x->size);
        return GR_OK;
    }
    GR_TRY(gr_out_sequence(s, 0, x->count, err));
    for (size_t i = 0; i < x->count; i++) GR_TRY(gr_out_item_copy(s, 0, i, x->items[i], err));
    return GR_OK;
}

static const gr_kernel has_kernels[] = {{"ref", NULL, run_has, NULL}, {0}};
static const gr_kernel same_kernels[] = {{"ref", NULL, run_same, NULL}, {0}};

#define HAS(since, min) GR_OP_ROW("OptionalHasElement", since, min, 1, 1, 0, NULL, infer_has, has_kernels)
#define SAME(name, since, min) GR_OP_ROW(name, since, min, 1, 1, 0, NULL, infer_same, same_kernels)

const gr_op op_optional[] = {HAS(15, 1), HAS(18, 0), HAS(28, 0), SAME("OptionalGetElement", 15, 1),
                             SAME("OptionalGetElement", 18, 1), SAME("OptionalGetElement", 28, 1),
                             SAME("Optional", 15, 0), SAME("Optional", 28, 0), {0}};
