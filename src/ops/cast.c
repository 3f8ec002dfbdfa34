/* SPDX-License-Identifier: Apache-2.0
 *
 * Cast, CastLike and BitCast. A float outside of an integer type's range, and NaN, become what x86-64 conversions give,
 * as in NumPy and ONNX Runtime: the least int32 or int64 for those types, and the low bits of such for smaller ones and
 * unsigned ones. Integers keep their low bits. Anything but zero is true.
 */
#include "elementwise.h"
#include "minifloat.h"

#define T_MINI                                                                                                         \
    (GR_T(FLOAT8E4M3FN) | GR_T(FLOAT8E4M3FNUZ) | GR_T(FLOAT8E5M2) | GR_T(FLOAT8E5M2FNUZ) | GR_T(FLOAT8E8M0) |          \
     GR_T(FLOAT4E2M1))
#define T_TINY (GR_T(UINT4) | GR_T(INT4) | GR_T(UINT2) | GR_T(INT2))
#define T_CAST (GR_T_ALL | T_MINI | T_TINY)

struct params {
    gr_dtype to; /* GR_UNDEFINED: that of input 1 */
    bool saturate;
    int round; /* of float8e8m0: 1 up, 0 nearest, -1 down */
};

/* ---- Elements of less than a byte, the first in the lowest bits ---- */
static int64_t get_tiny(gr_dtype t, const uint8_t *src, int64_t i)
{
    int bits = gr_dtype_bits(t), each = 8 / bits;
    int v = src[i / each] >> (i % each * bits) & ((1 << bits) - 1);
    bool is_signed = t == GR_INT4 || t == GR_INT2;
    return is_signed && v >> (bits - 1) ? v - (1 << bits) : v;
}
static void put_tiny(gr_dtype t, uint8_t *dst, int64_t i, uint64_t v)
{
    int bits = gr_dtype_bits(t), each = 8 / bits, shift = (int)(i % each) * bits, mask = (1 << bits) - 1;
    dst[i / each] = (uint8_t)((dst[i / each] & ~(mask << shift)) | (int)(v & (uint64_t)mask) << shift);
}

/* ---- A span of the source in the class of its type ---- */
typedef struct span {
    gr_class class;
    union {
        float f32[GR_SPAN];
        double f64[GR_SPAN];
        int64_t i64[GR_SPAN];
        uint64_t u64[GR_SPAN];
    };
} span;

static void load(const gr_tensor *t, int64_t at, int64_t n, span *v)
{
    if (T_TINY >> t->dtype & 1) {
        v->class = GR_CLASS_I64;
        for (int64_t i = 0; i < n; i++) v->i64[i] = get_tiny(t->dtype, t->data, at + i);
        return;
    }
    if (T_MINI >> t->dtype & 1) {
        const gr_minifloat *f = gr_minifloat_find(t->dtype);
        v->class = GR_CLASS_F32;
        bool tiny = t->dtype == GR_FLOAT4E2M1;
        for (int64_t i = at; i < at + n; i++) {
            uint8_t code = tiny ? (uint8_t)get_tiny(GR_UINT4, t->data, i) : ((const uint8_t *)t->data)[i];
            v->f32[i - at] = gr_minifloat_decode(f, code);
        }
        return;
    }
    v->class = gr_class_of(t->dtype);
    switch (v->class) {
    case GR_CLASS_F32: gr_load_f32(t->dtype, n, t->data, at, 1, v->f32); break;
    case GR_CLASS_F64: gr_load_f64(t->dtype, n, t->data, at, 1, v->f64); break;
    case GR_CLASS_I64: gr_load_i64(t->dtype, n, t->data, at, 1, v->i64); break;
    case GR_CLASS_U64: gr_load_u64(t->dtype, n, t->data, at, 1, v->u64); break;
    }
}

/* ---- From one class to another ---- */
static int64_t to_int64(double v) { return v >= -0x1p63 && v < 0x1p63 ? (int64_t)v : INT64_MIN; }
static int64_t to_int32(double v) { return v > -0x1p31 - 1 && v < 0x1p31 ? (int32_t)v : INT32_MIN; }
/* As a 64-bit register would hold v for an integer type, of which the store keeps the low bits. */
static int64_t to_int(gr_dtype t, double v)
{
    if (t == GR_INT64 || t == GR_UINT32) return to_int64(v);
    if (t == GR_UINT64) return v >= 0x1p63 ? (v < 0x1p64 ? (int64_t)(uint64_t)v : 0) : to_int64(v);
    return to_int32(v);
}

/* v rounded to float in such a way that rounding on to fewer bits gives what rounding once would. */
static float to_float_odd(double v)
{
    float f = (float)v;
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if (v != v || (double)f == v || (u & 1) || isinf(f)) return f;
    u += fabs((double)f) > fabs(v) ? UINT32_MAX : 1; /* the neighbour on v's side has an odd last bit */
    memcpy(&f, &u, sizeof f);
    return f;
}

#define EACH(expression)                                                                                               \
    for (int64_t i = 0; i < n; i++) expression;                                                                        \
    break

static void convert_to_float(span *v, int64_t n, bool twice)
{
    switch (v->class) {
    case GR_CLASS_F32: break;
    case GR_CLASS_F64: EACH(v->f32[i] = twice ? to_float_odd(v->f64[i]) : (float)v->f64[i]);
    case GR_CLASS_I64: EACH(v->f32[i] = (float)v->i64[i]);
    case GR_CLASS_U64: EACH(v->f32[i] = (float)v->u64[i]);
    }
    v->class = GR_CLASS_F32;
}
static void convert_to_double(span *v, int64_t n)
{
    switch (v->class) {
    case GR_CLASS_F32:
        for (int64_t i = n; i-- > 0;) v->f64[i] = v->f32[i]; /* backwards: the elements grow */
        break;
    case GR_CLASS_F64: break;
    case GR_CLASS_I64: EACH(v->f64[i] = (double)v->i64[i]);
    case GR_CLASS_U64: EACH(v->f64[i] = (double)v->u64[i]);
    }
    v->class = GR_CLASS_F64;
}
static void convert_to_int(span *v, int64_t n, gr_dtype to)
{
    if (v->class == GR_CLASS_I64 || v->class == GR_CLASS_U64) return;
    convert_to_double(v, n);
    for (int64_t i = 0; i < n; i++) v->i64[i] = to == GR_BOOL ? v->f64[i] != 0 : to_int(to, v->f64[i]);
    v->class = GR_CLASS_I64;
}

static void store(const struct params *p, gr_tensor *t, int64_t at, int64_t n, span *v)
{
    gr_dtype to = t->dtype;
    uint8_t *bytes = t->data;
    if (T_MINI >> to & 1) {
        const gr_minifloat *f = gr_minifloat_find(to);
        convert_to_float(v, n, true);
        for (int64_t i = 0; i < n; i++) {
            uint8_t code = to == GR_FLOAT8E8M0 ? gr_e8m0_encode(v->f32[i], p->saturate, p->round)
                                               : gr_minifloat_encode(f, v->f32[i], p->saturate);
            if (to == GR_FLOAT4E2M1)
                put_tiny(GR_UINT4, bytes, at + i, code);
            else
                bytes[at + i] = code;
        }
    } else if (to == GR_DOUBLE) {
        convert_to_double(v, n);
        gr_store_f64(to, n, v->f64, bytes, at);
    } else if (gr_dtype_is_float(to)) {
        convert_to_float(v, n, to != GR_FLOAT);
        gr_store_f32(to, n, v->f32, bytes, at);
    } else {
        convert_to_int(v, n, to);
        if (T_TINY >> to & 1)
            for (int64_t i = 0; i < n; i++) put_tiny(to, bytes, at + i, v->u64[i]);
        else
            gr_store_u64(to, n, v->u64, bytes, at);
    }
}

/* ---- Kernels ---- */
typedef struct job {
    const struct params *params;
    const gr_tensor *x;
    gr_tensor *y;
} job;

static void cast_span(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)
{
    const job *j = user;
    (void)l, (void)off;
    for (int64_t i = 0; i < n; i += GR_SPAN) {
        span v;
        int64_t m = n - i < GR_SPAN ? n - i : GR_SPAN;
        load(j->x, at + i, m, &v);
        store(j->params, j->y, at + i, m, &v);
    }
}

static gr_status cast_ref(const gr_step *s, gr_err *err)
{
    (void)err;
    job j = {s->params, s->in[0], s->out[0]};
    gr_loop l = {.rank = 1, .total = s->in[0]->elements, .dims = {s->in[0]->elements}};
    if (s->in[0]->dtype == s->out[0]->dtype) {
        memmove(s->out[0]->data, s->in[0]->data, s->in[0]->size);
    } else if (gr_dtype_bits(s->out[0]->dtype) < 8) { /* neighbours share bytes: one thread */
        if (l.total) cast_span(&j, &l, 0, l.total, NULL);
        for (int64_t i = l.total; i % (8 / gr_dtype_bits(s->out[0]->dtype)); i++)
            put_tiny(s->out[0]->dtype, s->out[0]->data, i, 0); /* the rest of the last byte */
    } else {
        gr_loop_run(&l, 2, cast_span, &j);
    }
    return GR_OK;
}
static const gr_kernel cast_kernels[] = {{"ref", NULL, cast_ref, NULL}, {0}};

static gr_status bits_ref(const gr_step *s, gr_err *err)
{
    (void)err;
    if (s->out[0]->size) memmove(s->out[0]->data, s->in[0]->data, s->out[0]->size);
    return GR_OK;
}
static const gr_kernel bits_kernels[] = {{"ref", NULL, bits_ref, NULL}, {0}};

/* ---- Attributes and inference ---- */
static gr_status parse_how(gr_attrs attrs, gr_arena *arena, struct params **out, gr_err *err)
{
    const char *mode;
    struct params *p = GR_NEW(arena, struct params);
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_bool(attrs, "saturate", true, &p->saturate, err));
    GR_TRY(gr_attr_string(attrs, "round_mode", "up", &mode, err));
    if (!strcmp(mode, "up"))
        p->round = 1;
    else if (!strcmp(mode, "down"))
        p->round = -1;
    else if (strcmp(mode, "nearest"))
        return gr_fail(err, GR_EMODEL, "attribute 'round_mode' is '%s', expected up, down or nearest", gr_show(mode));
    *out = p;
    return GR_OK;
}

static gr_status parse_like(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    struct params *p;
    GR_TRY(parse_how(attrs, arena, &p, err));
    *params = p;
    return GR_OK;
}

static gr_status parse_cast(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    struct params *p;
    GR_TRY(parse_how(attrs, arena, &p, err));
    GR_TRY(gr_attr_dtype(attrs, "to", GR_UNDEFINED, &p->to, err));
    if (p->to == GR_UNDEFINED) return gr_fail(err, GR_EMODEL, "attribute 'to' is missing");
    *params = p;
    return GR_OK;
}

/* ONNX 1 names the type: "FLOAT". */
static gr_status parse_cast_1(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    const gr_attr *to = gr_attr_find(attrs, "to");
    if (to && to->type == GR_ATTR_INT) return parse_cast(attrs, arena, params, err);
    const char *name;
    struct params *p = GR_NEW(arena, struct params);
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_string(attrs, "to", "", &name, err));
#define X(type, number, text, bits)                                                                                    \
    if (!strcmp(name, #type)) p->to = GR_##type;
    GR_DTYPE_MAP(X)
#undef X
    if (p->to == GR_UNDEFINED)
        return gr_fail(err, GR_EMODEL, "attribute 'to' is '%s', which is not an element type", gr_show(name));
    p->saturate = true;
    *params = p;
    return GR_OK;
}

static gr_status check_target(gr_dtype to, uint64_t mask, gr_err *err)
{
    if (mask >> to & 1) return GR_OK;
    return gr_fail(err, GR_EUNSUPPORTED, "elements cannot be converted to %s", gr_dtype_name(to));
}

static gr_status infer_cast(const gr_infer *c, gr_err *err)
{
    const struct params *p = c->params;
    GR_TRY(gr_need(c, 1, T_CAST, err));
    GR_TRY(check_target(p->to, T_CAST, err));
    return gr_set_like_as(c, 0, 0, p->to);
}

static gr_status infer_like(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_need(c, 2, T_CAST, err));
    return gr_set_like_as(c, 0, 0, c->in[1]->dtype);
}

static gr_status infer_bits(const gr_infer *c, gr_err *err)
{
    const struct params *p = c->params;
    uint64_t mask = T_CAST | GR_T(COMPLEX64) | GR_T(COMPLEX128);
    GR_TRY(gr_need(c, 1, mask, err));
    GR_TRY(check_target(p->to, mask, err));
    gr_dtype from = c->in[0]->dtype;
    if (from && gr_dtype_bits(from) != gr_dtype_bits(p->to))
        return gr_fail(err, GR_EMODEL, "%s and %s differ in size", gr_dtype_name(from), gr_dtype_name(p->to));
    return gr_set_like_as(c, 0, 0, p->to);
}

/* Of integers and bools to such. */
static gr_dim symbolic(gr_syms *s, const gr_dim *a, int n, const void *params)
{
    const struct params *p = params;
    (void)n;
    if (p->to == GR_BOOL) return gr_sym_not(s, gr_sym_eq(s, a[0], GR_DIM(0)));
    if (p->to == GR_INT64) return a[0];
    if (p->to == GR_INT32) return gr_dim_known(a[0]) ? GR_DIM((int32_t)a[0].k) : a[0];
    return gr_sym_fresh(s);
}

/* clang-format off */
#define CAST(since_, parse_)                                                                                           \
    {.name = "Cast", .since = since_, .in = {1, 1}, .out = 1, .flags = GR_OP_INPLACE | GR_OP_UNPACKS, .parse = parse_, \
     .infer = infer_cast, .symbolic = symbolic, .kernels = cast_kernels}
#define LIKE(since_)                                                                                                   \
    {.name = "CastLike", .since = since_, .in = {2, 2}, .out = 1, .parse = parse_like, .infer = infer_like,            \
     .kernels = cast_kernels}

const gr_op op_cast[] = {
    CAST(1, parse_cast_1), CAST(6, parse_cast), CAST(9, parse_cast), CAST(13, parse_cast), CAST(19, parse_cast),
    CAST(21, parse_cast), CAST(23, parse_cast), CAST(24, parse_cast), CAST(25, parse_cast), CAST(28, parse_cast),
    LIKE(15), LIKE(19), LIKE(21), LIKE(23), LIKE(24), LIKE(25),
    {.name = "BitCast", .since = 26, .in = {1, 1}, .out = 1, .flags = GR_OP_INPLACE, .parse = parse_cast,
     .infer = infer_bits, .kernels = bits_kernels},
    {0}};
/* clang-format on */
