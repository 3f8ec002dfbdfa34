/* SPDX-License-Identifier: Apache-2.0
 *
 * Trilu: the upper or lower triangle of the matrices in the last two dimensions, zeros elsewhere. k moves the diagonal.
 */
#include "move.h"

typedef struct trilu_params {
    bool upper;
} trilu_params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    trilu_params *p = GR_NEW(arena, trilu_params);
    if (!p) return gr_nomem(err);
    *params = p;
    return gr_attr_bool(attrs, "upper", true, &p->upper, err);
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_require_bytes(c, 0, err));
    GR_TRY(gr_require(c, 1, GR_T(INT64), err));
    GR_TRY(gr_require_scalar(c, 1, err));
    if (gr_rank_known(c, 0) && c->in[0]->rank < 2)
        return gr_fail(err, GR_EMODEL, "the input must have a rank of at least 2, not %d", c->in[0]->rank);
    return gr_set_like(c, 0, 0);
}

/* upper: y[i, j] = j >= i + k ? x[i, j] : 0; lower: j <= i + k */
static gr_status run(const gr_step *s, gr_err *err)
{
    bool upper = ((const trilu_params *)s->params)->upper;
    const gr_tensor *x = s->in[0];
    gr_tensor *y = s->out[0];
    (void)err;
    if (!y->elements) return GR_OK;
    int64_t rows = y->dims[y->rank - 2], cols = y->dims[y->rank - 1], all = y->elements / cols;
    int64_t k = s->nin > 1 && s->in[1] ? gr_int_at(s->in[1], 0) : 0;
    k = k < -rows ? -rows : k > cols ? cols : k;
    size_t bytes = (size_t)gr_dtype_bits(x->dtype) / 8;
    for (int64_t r = 0; r < all; r++) {
        int64_t edge = r % rows + k + !upper; /* first column of the upper part, or behind the lower part */
        edge = edge < 0 ? 0 : edge > cols ? cols : edge;
        char *to = (char *)y->data + (size_t)(r * cols) * bytes;
        const char *from = (const char *)x->data + (size_t)(r * cols) * bytes;
        size_t left = (size_t)edge * bytes, right = (size_t)(cols - edge) * bytes;
        memmove(upper ? to + left : to, upper ? from + left : from, upper ? right : left);
        memset(upper ? to : to + left, 0, upper ? left : right);
    }
    return GR_OK;
}

static const gr_kernel kernels[] = {{"ref", NULL, run, NULL}, {0}};

const gr_op op_trilu[] = {GR_OP_ROW("Trilu", 14, 1, 2, 1, GR_OP_UNALIGNED, parse, infer, kernels), {0}};
