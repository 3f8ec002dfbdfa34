/* SPDX-License-Identifier: Apache-2.0
 *
 * com.microsoft's operators on quantised tensors. QLinearAdd and QLinearMul have kernels of their own, with the steps
 * of arithmetic that ONNX Runtime has, so that results are the same bits; the others compute in floats between
 * DequantizeLinear and QuantizeLinear, pools with channels last between Transposes. DynamicQuantizeMatMul quantises its
 * left operand first.
 */
#include "codes.h"
#include "elem.h"
#include "exec/body.h"

/* ---- QLinearAdd, QLinearMul: a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero ---- */

enum { A, A_SCALE, A_ZERO, B, B_SCALE, B_ZERO, Y_SCALE, Y_ZERO };

static gr_status one_element(const gr_infer *c, uint32_t i, gr_err *err)
{
    for (int d = 0; gr_rank_known(c, i) && d < c->in[i]->rank; d++)
        if (gr_dim_known(c->in[i]->dims[d]) && c->in[i]->dims[d].k != 1)
            return gr_fail(err, GR_EMODEL, "input %u must have one element, dimension %d is %lld", i, d,
                           (long long)c->in[i]->dims[d].k);
    return GR_OK;
}

static gr_status infer_binary(const gr_infer *c, gr_err *err)
{
    const uint64_t codes = GR_T_BYTES | GR_T(INT16) | GR_T(UINT16);
    static const uint32_t of_type[] = {A_ZERO, B, B_ZERO, Y_ZERO}, floats[] = {A_SCALE, B_SCALE, Y_SCALE};
    if (!gr_has(c, A) || !gr_has(c, B) || !gr_has(c, Y_SCALE))
        return gr_fail(err, GR_EMODEL, "an operand or a scale is missing");
    GR_TRY(gr_require(c, A, codes, err));
    for (size_t i = 0; i < sizeof of_type / sizeof *of_type; i++) GR_TRY(gr_require_same(c, of_type[i], A, err));
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) GR_TRY(gr_require(c, floats[i], GR_T(FLOAT), err));
    for (uint32_t i = A_SCALE; i <= Y_ZERO; i++)
        if (i != B) GR_TRY(one_element(c, i, err));
    gr_type a = *c->in[A], b = *c->in[B];
    gr_infer only = *c;
    const gr_type *two[] = {&a, &b};
    only.nin = 2;
    only.in = two;
    return gr_set_broadcast(&only, 0, 0, 1, c->in[A]->dtype, err);
}

typedef struct job {
    gr_dtype dtype;
    const void *a, *b;
    void *y;
    bool product;
    int a_zero, b_zero, y_zero;
    float a_ratio, b_ratio, fixed, ratio; /* of the sum; of the product */
    float least, greatest;
} job;

/* One rounding for a product and a sum, as a fused multiplication and addition has. */
static float fused(float x, float y, float z) { return (float)((double)x * (double)y + (double)z); }

/* y = round(a * a_ratio + (b * b_ratio + fixed)), where fixed takes in all zero points, or
 * y = round((a - a_zero) * (b - b_zero) * ratio + y_zero) */
static void binary_span(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)
{
    const job *j = user;
    const int64_t sa = gr_loop_step(l, 0), sb = gr_loop_step(l, 1);
    for (int64_t i = 0, m; i < n; i += m) {
        int32_t a[GR_SPAN], b[GR_SPAN], y[GR_SPAN];
        m = n - i < GR_SPAN ? n - i : GR_SPAN;
        gr_codes_load(j->dtype, j->a, off[0] + i * sa, sa ? m : 1, a);
        gr_codes_load(j->dtype, j->b, off[1] + i * sb, sb ? m : 1, b);
        float fixed = j->fixed;
        if (!sa) fixed += (float)a[0] * j->a_ratio;
        if (!sb) fixed += (float)b[0] * j->b_ratio;
        for (int64_t k = 0; k < m; k++) {
            const int32_t u = a[k * sa], v = b[k * sb];
            float x = fixed;
            if (j->product) {
                x = (float)((int64_t)(u - j->a_zero) * (v - j->b_zero)) * j->ratio + (float)j->y_zero;
            } else {
                if (sb) x = fused((float)v, j->b_ratio, x);
                if (sa) x = fused((float)u, j->a_ratio, x);
            }
            y[k] = gr_round_within(x, j->least, j->greatest);
        }
        gr_codes_store(j->dtype, j->y, at + i, m, y);
    }
}

static float scale_of(const gr_step *s, uint32_t i) { return gr_step_in(s, i) ? *(const float *)s->in[i]->data : 1; }

static int zero_of(const gr_step *s, uint32_t i)
{
    int32_t v = 0;
    if (gr_step_in(s, i)) gr_codes_load(s->in[i]->dtype, s->in[i]->data, 0, 1, &v);
    return v;
}

static void run_binary(const gr_step *s, bool product)
{
    const gr_tensor *y = s->out[0];
    const float a = scale_of(s, A_SCALE), b = scale_of(s, B_SCALE), c = scale_of(s, Y_SCALE);
    job j = {.dtype = y->dtype,
             .a = s->in[A]->data,
             .b = s->in[B]->data,
             .y = y->data,
             .product = product,
             .a_zero = zero_of(s, A_ZERO),
             .b_zero = zero_of(s, B_ZERO),
             .y_zero = zero_of(s, Y_ZERO),
             .a_ratio = a / c,
             .b_ratio = b / c,
             .ratio = a * b / c};
    int least, greatest;
    gr_code_range(y->dtype, &least, &greatest);
    j.least = (float)least;
    j.greatest = (float)greatest;
    j.fixed = (float)j.y_zero - (j.a_ratio * (float)j.a_zero + j.b_ratio * (float)j.b_zero);
    const gr_tensor *in[] = {s->in[A], s->in[B]};
    gr_loop l = gr_loop_make(2, in, y->rank, y->dims);
    gr_loop_run(&l, 4, binary_span, &j);
}

static gr_status run_add(const gr_step *s, gr_err *err) { return (void)err, run_binary(s, false), GR_OK; }
static gr_status run_mul(const gr_step *s, gr_err *err) { return (void)err, run_binary(s, true), GR_OK; }

static const gr_kernel add_kernels[] = {{"ref", NULL, run_add, NULL}, {0}};
static const gr_kernel mul_kernels[] = {{"ref", NULL, run_mul, NULL}, {0}};

/* ---- the others: x, x_scale, x_zero, y_scale, y_zero ---- */

typedef struct params {
    const char *op;
    int64_t axis, opset;
    bool has_axis, has_alpha;
    float alpha;
} params;

static gr_status make(gr_attrs attrs, gr_arena *arena, const char *op, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    *out = p;
    if (!p) return gr_nomem(err);
    p->op = op;
    p->has_axis = gr_attr_find(attrs, "axis") != NULL;
    GR_TRY(gr_attr_int(attrs, "axis", -1, &p->axis, err));
    GR_TRY(gr_attr_int(attrs, "opset", 13, &p->opset, err));
    return gr_attr_float(attrs, "alpha", 0.01F, &p->alpha, err);
}

static gr_status parse_sigmoid(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return make(attrs, arena, "Sigmoid", out, err);
}

static gr_status parse_leaky(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    GR_TRY(make(attrs, arena, "LeakyRelu", out, err));
    ((params *)(uintptr_t)*out)->has_alpha = true;
    return GR_OK;
}

static gr_status parse_softmax(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    GR_TRY(make(attrs, arena, "Softmax", out, err));
    params *p = (params *)(uintptr_t)*out;
    if (!p->has_axis) p->axis = p->opset < 13 ? 1 : -1;
    p->has_axis = true;
    return GR_OK;
}

static gr_value *dequantized(gr_body *b, uint32_t x)
{
    return GR_BODY_NODE(b, "DequantizeLinear", GR_NO_ATTRS, gr_body_in(b, x), gr_body_in(b, x + 1),
                        gr_body_in(b, x + 2));
}

/* The result has the type of x, also where no zero point says so. */
static void quantize(gr_body *b, gr_value *y, uint32_t scale, gr_dtype dtype)
{
    gr_attr attr = GR_INT_ATTR("output_dtype", dtype);
    b->out[0] = GR_BODY_NODE(b, "QuantizeLinear", ((gr_attrs){gr_body_in(b, scale + 1) ? 0 : 1, &attr}), y,
                             gr_body_in(b, scale), gr_body_in(b, scale + 1));
}

static gr_status unary_body(gr_body *b)
{
    const params *p = b->params;
    gr_attr axis = GR_INT_ATTR("axis", p->axis), alpha = GR_FLOAT_ATTR("alpha", p->alpha);
    gr_attrs attrs = {p->has_axis || p->has_alpha, p->has_axis ? &axis : &alpha};
    gr_dtype dtype = gr_body_dtype(b, gr_body_in(b, 0));
    int rank = p->opset < 13 ? gr_body_rank(b, gr_body_in(b, 0)) : 0;
    if (rank > 0 && p->axis != -1 && p->axis != rank - 1) /* up to opset 12 all axes from there on are one */
        return gr_fail(b->err, GR_EUNSUPPORTED, "the softmax of opset %lld over several axes is not supported",
                       (long long)p->opset);
    quantize(b, GR_BODY_NODE(b, p->op, attrs, dequantized(b, 0)), 3, dtype);
    return GR_OK;
}

/* ---- pools and means: x, x_scale, x_zero, y_scale, y_zero ---- */

typedef struct pool_params {
    gr_attrs attrs; /* of the operator on floats */
    bool channels_last;
    int64_t naxes;
    const int64_t *axes;
} pool_params;

static gr_status parse_pool(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    pool_params *p = GR_NEW(arena, pool_params);
    gr_attr *kept = GR_NEWS(arena, attrs.count, gr_attr);
    *out = p;
    if (!p || !kept) return gr_nomem(err);
    p->attrs.items = kept;
    for (size_t i = 0; i < attrs.count; i++)
        if (strcmp(attrs.items[i].name, "channels_last") != 0 && strcmp(attrs.items[i].name, "axes") != 0)
            kept[p->attrs.count++] = attrs.items[i];
    GR_TRY(gr_attr_ints(attrs, "axes", &p->naxes, &p->axes, err));
    return gr_attr_bool(attrs, "channels_last", false, &p->channels_last, err);
}

/* The axis behind the batch goes to the end, or the last one to behind the batch. */
static gr_value *move_channels(gr_body *b, gr_value *v, int rank, bool last)
{
    int64_t perm[GR_MAX_RANK] = {0};
    for (int i = 1; i < rank; i++) perm[i] = last ? (i + 1 < rank ? i + 1 : 1) : (i > 1 ? i - 1 : rank - 1);
    return gr_body_transpose(b, v, rank, perm);
}

static gr_status pool(gr_body *b, const char *op)
{
    const pool_params *p = b->params;
    const gr_dtype dtype = gr_body_dtype(b, gr_body_in(b, 0));
    const int rank = p->channels_last ? gr_body_rank(b, gr_body_in(b, 0)) : 0;
    if (b->open) return GR_OK;
    gr_value *x = dequantized(b, 0);
    if (rank > 2) x = move_channels(b, x, rank, false);
    gr_value *y = GR_BODY_NODE(b, op, p->attrs, x);
    if (rank > 2) y = move_channels(b, y, rank, true);
    quantize(b, y, 3, dtype);
    return GR_OK;
}

/* How many elements of a window that reaches beyond the padding count is not what AveragePool says of it. */
static gr_status average_body(gr_body *b)
{
    const pool_params *p = b->params;
    bool up, counted;
    GR_TRY(gr_attr_bool(p->attrs, "ceil_mode", false, &up, b->err));
    GR_TRY(gr_attr_bool(p->attrs, "count_include_pad", false, &counted, b->err));
    if (up && counted)
        return gr_fail(b->err, GR_EUNSUPPORTED, "ceil_mode together with count_include_pad is not supported");
    return pool(b, "AveragePool");
}

static gr_status global_body(gr_body *b) { return pool(b, "GlobalAveragePool"); }

static gr_status mean_body(gr_body *b)
{
    const pool_params *p = b->params;
    gr_value *axes = p->naxes < 0 ? NULL : gr_body_ints(b, p->naxes, p->axes);
    quantize(b, GR_BODY_NODE(b, "ReduceMean", p->attrs, dequantized(b, 0), axes), 3,
             gr_body_dtype(b, gr_body_in(b, 0)));
    return GR_OK;
}

/* ---- Concat and Where ---- */

static gr_status parse_concat(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return make(attrs, arena, "Concat", out, err);
}

/* y_scale, y_zero, then x, scale, zero of every input */
static gr_status concat_body(gr_body *b)
{
    const params *p = b->params;
    enum { MOST = 64 };
    gr_value *in[MOST];
    uint32_t n = 0;
    if (b->nin < 5 || (b->nin - 2) % 3 || b->nin > 2 + 3 * MOST)
        return gr_fail(b->err, GR_EMODEL, "%u inputs are not those of one to %d tensors", b->nin, MOST);
    gr_dtype dtype = gr_body_dtype(b, gr_body_in(b, 2));
    for (uint32_t i = 2; i < b->nin; i += 3) in[n++] = dequantized(b, i);
    gr_value *y = gr_body_node(b, "Concat", GR_ATTRS(GR_INT_ATTR("axis", p->axis)), n, in, 1, NULL);
    quantize(b, y, 0, dtype);
    return GR_OK;
}

/* condition, x, x_scale, x_zero, y, y_scale, y_zero, z_scale, z_zero */
static gr_status where_body(gr_body *b)
{
    gr_dtype dtype = gr_body_dtype(b, gr_body_in(b, 1));
    quantize(b, GR_BODY_NODE(b, "Where", GR_NO_ATTRS, gr_body_in(b, 0), dequantized(b, 1), dequantized(b, 4)), 7,
             dtype);
    return GR_OK;
}

/* a, b, b_scale, b_zero?, bias? */
static gr_status dynamic_body(gr_body *b)
{
    gr_value *a = gr_body_in(b, 0), *q[3];
    gr_body_node(b, "DynamicQuantizeLinear", GR_NO_ATTRS, 1, &a, 3, q);
    b->out[0] = GR_BODY_NODE(b, "com.microsoft.MatMulIntegerToFloat", GR_NO_ATTRS, q[0], gr_body_in(b, 1), q[1],
                             gr_body_in(b, 2), q[2], gr_body_in(b, 3), gr_body_in(b, 4));
    return GR_OK;
}

#define BINARY(name_, kernels_)                                                                                        \
    {                                                                                                                  \
        .name = name_, .since = 1, .in = {7, 8}, .out = 1, .infer = infer_binary, .kernels = kernels_,                 \
        .domain = "com.microsoft"                                                                                      \
    }
#define ROW(name_, least, most, parse_, body_) GR_CONTRIB_ROW(name_, least, most, 1, parse_, body_)
const gr_op op_contrib_quantize[] = {
    BINARY("QLinearAdd", add_kernels),
    BINARY("QLinearMul", mul_kernels),
    ROW("QLinearSigmoid", 4, 5, parse_sigmoid, unary_body),
    ROW("QLinearLeakyRelu", 4, 5, parse_leaky, unary_body),
    ROW("QLinearSoftmax", 4, 5, parse_softmax, unary_body),
    ROW("QLinearAveragePool", 4, 5, parse_pool, average_body),
    ROW("QLinearGlobalAveragePool", 4, 5, parse_pool, global_body),
    ROW("QLinearReduceMean", 4, 5, parse_pool, mean_body),
    ROW("QLinearConcat", 5, -1, parse_concat, concat_body),
    ROW("QLinearWhere", 8, 9, NULL, where_body),
    ROW("DynamicQuantizeMatMul", 3, 5, NULL, dynamic_body),
    {0},
};
