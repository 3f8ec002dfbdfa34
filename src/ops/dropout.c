/* SPDX-License-Identifier: Apache-2.0
 *
 * Dropout: 1, 6, 7, 10 have an attribute for the ratio; 12, 13, 22 inputs for ratio and training mode. The mask has the
 * type of the data before 10, then bool. is_test of 1 and 6, 0 by default, is not heeded: a file that is run is not
 * being trained. In training mode y = mask * x / (1 - ratio), where mask = uniform >= ratio; numbers are the same in every
 * run, so that it may be folded like any other node.
 */
#include "loops.h"
#include "move.h"
#include "random.h"

typedef struct dropout_params {
    bool typed_mask, has_seed;
    int64_t seed;
} dropout_params;

static gr_status parse_dropout_1(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    dropout_params *p = GR_NEW(arena, dropout_params);
    (void)attrs;
    if (!p) return gr_nomem(err);
    p->typed_mask = true;
    *params = p;
    return GR_OK;
}

static gr_status parse_dropout_10(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    dropout_params *p = GR_NEW(arena, dropout_params);
    if (!p) return gr_nomem(err);
    *params = p;
    p->has_seed = gr_attr_find(attrs, "seed") != NULL;
    return gr_attr_int(attrs, "seed", 0, &p->seed, err);
}

/* The ratio of a node in training mode, else 0. */
static gr_status ratio_of(const gr_tensor *ratio, const gr_tensor *training, float *out, gr_err *err)
{
    uint8_t on = 0;
    *out = 0;
    if (training && training->elements) memcpy(&on, training->data, 1);
    if (!on) return GR_OK;
    *out = 0.5f;
    if (ratio && ratio->elements) gr_load_f32(ratio->dtype, 1, ratio->data, 0, 1, out);
    if (*out >= 0 && *out < 1) return GR_OK;
    return gr_fail(err, GR_EINPUT, "a ratio of %g, expected one from 0 up to, and without, 1", (double)*out);
}

static gr_status infer_dropout(const gr_infer *c, gr_err *err)
{
    const dropout_params *p = c->params;
    GR_TRY(gr_require(c, 0, GR_T_NUMBERS, err));
    GR_TRY(gr_require(c, 1, GR_T_FLOATS, err));
    GR_TRY(gr_require(c, 2, GR_T(BOOL), err));
    for (uint32_t i = 1; i < 3; i++) GR_TRY(gr_require_scalar(c, i, err));
    GR_TRY(gr_set_like(c, 0, 0));
    return gr_set_like_as(c, 1, 0, p->typed_mask ? gr_in_dtype(c, 0) : GR_BOOL);
}

static void fill_mask(gr_tensor *mask)
{
    _Alignas(16) uint8_t one[16] = {1};
    const float f = 1;
    if (gr_dtype_is_float(mask->dtype)) gr_store_f32(mask->dtype, 1, &f, one, 0);
    gr_move_fill(mask->elements, gr_dtype_bits(mask->dtype), one, mask->data);
}

static gr_status run_dropout(const gr_step *s, gr_err *err)
{
    const dropout_params *p = s->params;
    const gr_tensor *x = s->in[0];
    gr_tensor *y = s->out[0], *mask = s->nout > 1 ? s->out[1] : NULL;
    float ratio;
    GR_TRY(ratio_of(s->nin > 1 ? s->in[1] : NULL, s->nin > 2 ? s->in[2] : NULL, &ratio, err));
    if (ratio == 0) {
        if (y && y->size && y->data != x->data) memcpy(y->data, x->data, y->size);
        if (mask) fill_mask(mask);
        return GR_OK;
    }
    gr_random r;
    gr_random_seed(&r, p->has_seed ? (uint32_t)p->seed : gr_random_own_seed(s));
    const double scale = 1 / (1 - ratio);
    for (int64_t i = 0; i < x->elements; i++) {
        bool keep = gr_random_uniform(&r) >= ratio;
        double v = 0;
        gr_load_f64(x->dtype, 1, x->data, i, 1, &v);
        v = keep ? v * scale : 0;
        if (y) gr_store_f64(y->dtype, 1, &v, y->data, i);
        if (mask) ((uint8_t *)mask->data)[i] = keep;
    }
    return GR_OK;
}

static const gr_kernel k_dropout[] = {{"ref", NULL, run_dropout, NULL}, {0}};

#define DROPOUT(since, inputs, flags, parse)                                                                           \
    GR_OP_ROW("Dropout", since, 1, inputs, 2, flags, parse, infer_dropout, k_dropout)

/* clang-format off */
const gr_op op_dropout[] = {
    DROPOUT(1, 1, GR_OP_VIEW, parse_dropout_1), DROPOUT(6, 1, GR_OP_VIEW, parse_dropout_1),
    DROPOUT(7, 1, GR_OP_VIEW, parse_dropout_1), DROPOUT(10, 1, GR_OP_VIEW, parse_dropout_10),
    DROPOUT(12, 3, GR_OP_INPLACE, parse_dropout_10),
    DROPOUT(13, 3, GR_OP_INPLACE, parse_dropout_10),
    DROPOUT(22, 3, GR_OP_INPLACE, parse_dropout_10), {0},
};
