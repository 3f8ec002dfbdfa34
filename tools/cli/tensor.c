/* SPDX-License-Identifier: Apache-2.0
 *
 * Elements of every type as numbers, conversion, shapes as text, reading a file by its ending.
 */
#include "tensor.h"
#include <math.h>
#include <stdlib.h>

gr_tensor_view cli_view(const cli_tensor *t)
{
    return (gr_tensor_view){t->type, t->rank, t->dims, (void *)t->data, t->size};
}

bool cli_tensor_make(cli_tensor *out, gr_dtype type, int rank, const int64_t *dims, gr_err *err)
{
    int64_t own[CLI_MAX_RANK] = {0}; /* dims may be those of *out */
    if (rank > 0 && rank <= CLI_MAX_RANK) dims = memcpy(own, dims, (size_t)rank * sizeof *dims);
    *out = (cli_tensor){.type = type, .rank = rank};
    if (rank > CLI_MAX_RANK || !cli_tensor_bytes(type, rank, dims, &out->elements, &out->size))
        return cli_fail(err, GR_ELIMIT, "a tensor of %s is too large", cli_shape(type, rank, dims));
    memcpy(out->dims, own, sizeof own);
    out->owned = calloc(out->size ? out->size : 1, 1);
    out->data = out->owned;
    return out->owned || cli_fail(err, GR_ENOMEM, "out of memory for %s", cli_shape(type, rank, dims));
}

void cli_tensor_free(cli_tensor *t)
{
    for (size_t i = 0; i < t->count; i++) cli_tensor_free(&t->items[i]);
    free(t->items);
    free(t->name);
    free(t->owned);
    cli_file_drop(t->file);
    *t = (cli_tensor){0};
}

bool cli_is_float(gr_dtype t)
{
    return t == GR_FLOAT || t == GR_DOUBLE || t == GR_FLOAT16 || t == GR_BFLOAT16 ||
           (t >= GR_FLOAT8E4M3FN && t <= GR_FLOAT8E5M2FNUZ) || t == GR_FLOAT4E2M1 || t == GR_FLOAT8E8M0;
}

bool cli_is_int(gr_dtype t)
{
    return (t >= GR_UINT8 && t <= GR_INT64) || t == GR_UINT32 || t == GR_UINT64 || t == GR_UINT4 || t == GR_INT4 ||
           t == GR_UINT2 || t == GR_INT2;
}

/* The value of a small float: sign, `exponent` bits biased by `bias`, `mantissa` bits; no infinity or NaN in it. */
static double small_float(unsigned bits, int exponent, int mantissa, int bias)
{
    unsigned e = (bits >> mantissa) & ((1u << exponent) - 1), m = bits & ((1u << mantissa) - 1);
    double value = e ? ldexp(1 + ldexp(m, -mantissa), (int)e - bias) : ldexp(m, 1 - bias - mantissa);
    return (bits >> (exponent + mantissa)) & 1 ? -value : value;
}

static double half_value(unsigned h)
{
    if ((h & 0x7c00) == 0x7c00) return h & 0x3ff ? NAN : h & 0x8000 ? -INFINITY : INFINITY;
    return small_float(h, 5, 10, 15);
}

static double float8_value(gr_dtype type, unsigned b)
{
    switch (type) {
    case GR_FLOAT8E4M3FN: return (b & 0x7f) == 0x7f ? NAN : small_float(b, 4, 3, 7);
    case GR_FLOAT8E4M3FNUZ: return b == 0x80 ? NAN : small_float(b, 4, 3, 8);
    case GR_FLOAT8E5M2FNUZ: return b == 0x80 ? NAN : small_float(b, 5, 2, 16);
    case GR_FLOAT8E8M0: return b == 0xff ? NAN : ldexp(1, (int)b - 127);
    default:
        if ((b & 0x7c) == 0x7c) return b & 3 ? NAN : b & 0x80 ? -INFINITY : INFINITY;
        return small_float(b, 5, 2, 15);
    }
}

/* Element i as a T, at any address. */
#define LOAD(T) (((const struct __attribute__((packed, may_alias)) { T v; } *)data)[i].v)

/* Bits of an element that is smaller than a byte; the first one is in the low bits. */
static unsigned packed(const void *data, int64_t i, unsigned bits)
{
    int64_t per = 8 / (int64_t)bits;
    return (unsigned)((const uint8_t *)data)[i / per] >> ((unsigned)(i % per) * bits) & ((1u << bits) - 1);
}

int64_t cli_integer(gr_dtype type, const void *data, int64_t i)
{
    switch (type) {
    case GR_UINT8:
    case GR_BOOL: return LOAD(uint8_t);
    case GR_INT8: return LOAD(int8_t);
    case GR_UINT16: return LOAD(uint16_t);
    case GR_INT16: return LOAD(int16_t);
    case GR_UINT32: return LOAD(uint32_t);
    case GR_INT32: return LOAD(int32_t);
    case GR_INT64: return LOAD(int64_t);
    case GR_UINT64: return (int64_t)LOAD(uint64_t);
    case GR_UINT4: return (int64_t)packed(data, i, 4);
    case GR_UINT2: return (int64_t)packed(data, i, 2);
    case GR_INT4: return (int64_t)(packed(data, i, 4) ^ 8) - 8;
    case GR_INT2: return (int64_t)(packed(data, i, 2) ^ 2) - 2;
    default: return 0;
    }
}

double cli_value(gr_dtype type, const void *data, int64_t i)
{
    switch (type) {
    case GR_FLOAT: return (double)LOAD(float);
    case GR_DOUBLE: return LOAD(double);
    case GR_COMPLEX64: i *= 2; return (double)LOAD(float);
    case GR_COMPLEX128: i *= 2; return LOAD(double);
    case GR_FLOAT16: return half_value(LOAD(uint16_t));
    case GR_BFLOAT16: {
        uint32_t bits = (uint32_t)LOAD(uint16_t) << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        return (double)value;
    }
    case GR_FLOAT8E4M3FN:
    case GR_FLOAT8E4M3FNUZ:
    case GR_FLOAT8E5M2:
    case GR_FLOAT8E5M2FNUZ:
    case GR_FLOAT8E8M0: return float8_value(type, LOAD(uint8_t));
    case GR_FLOAT4E2M1: return small_float(packed(data, i, 4), 2, 1, 1);
    case GR_UINT64: return (double)LOAD(uint64_t);
    default: return (double)cli_integer(type, data, i);
    }
}

#define STORE(T, v)                                                                                                    \
    do {                                                                                                               \
        T store_ = (T)(v);                                                                                             \
        memcpy((char *)data + (size_t)i * sizeof store_, &store_, sizeof store_);                                      \
    } while (0)

bool cli_store_integer(gr_dtype type, void *data, int64_t i, int64_t v)
{
    switch (type) {
    case GR_BOOL: STORE(uint8_t, v != 0); return v == 0 || v == 1;
    case GR_UINT8: STORE(uint8_t, v); return v >= 0 && v <= UINT8_MAX;
    case GR_INT8: STORE(int8_t, v); return v >= INT8_MIN && v <= INT8_MAX;
    case GR_UINT16: STORE(uint16_t, v); return v >= 0 && v <= UINT16_MAX;
    case GR_INT16: STORE(int16_t, v); return v >= INT16_MIN && v <= INT16_MAX;
    case GR_UINT32: STORE(uint32_t, v); return v >= 0 && v <= UINT32_MAX;
    case GR_INT32: STORE(int32_t, v); return v >= INT32_MIN && v <= INT32_MAX;
    case GR_INT64: STORE(int64_t, v); return true;
    case GR_UINT64: STORE(uint64_t, v); return v >= 0;
    default: return cli_store_float(type, data, i, (double)v);
    }
}

/* Round to nearest, ties to even. */
static uint16_t half_bits(double value)
{
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    double a = fabs(value);
    if (isnan(value)) return 0x7e00;
    if (a >= 65520) return sign | 0x7c00;
    int e;
    if (a == 0) return sign;
    frexp(a, &e);
    if (e < -13) return sign | (uint16_t)nearbyint(ldexp(a, 24));
    return (uint16_t)(sign | (uint16_t)(nearbyint(ldexp(a, 11 - e)) + ((e + 14 - 1) * 1024)));
}

static uint16_t bfloat_bits(double value)
{
    float f = (float)value;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (isnan(value)) return 0x7fc0;
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

bool cli_store_float(gr_dtype type, void *data, int64_t i, double v)
{
    switch (type) {
    case GR_FLOAT: STORE(float, v); return true;
    case GR_DOUBLE: STORE(double, v); return true;
    case GR_FLOAT16: STORE(uint16_t, half_bits(v)); return true;
    case GR_BFLOAT16: STORE(uint16_t, bfloat_bits(v)); return true;
    default: return false;
    }
}

bool cli_convert(cli_tensor *t, gr_dtype type, gr_err *err)
{
    if (t->type == type || type == GR_UNDEFINED || t->rank < 0) return true;
    bool whole = cli_is_int(t->type) || t->type == GR_BOOL;
    bool to_float = type == GR_FLOAT || type == GR_DOUBLE || type == GR_FLOAT16 || type == GR_BFLOAT16;
    bool to_whole = type == GR_BOOL || (cli_is_int(type) && gr_dtype_bits(type) >= 8);
    if (!(to_float && (whole || cli_is_float(t->type))) && !(to_whole && whole))
        return cli_fail(err, GR_EINPUT, "it holds %s, and the model wants %s", gr_dtype_name(t->type),
                        gr_dtype_name(type));
    cli_tensor out;
    if (!cli_tensor_make(&out, type, t->rank, t->dims, err)) return false;
    for (int64_t i = 0; i < t->elements; i++) {
        bool fits = to_whole ? !(t->type == GR_UINT64 && type != GR_UINT64 && cli_integer(t->type, t->data, i) < 0) &&
                                   cli_store_integer(type, out.owned, i, cli_integer(t->type, t->data, i))
                             : cli_store_float(type, out.owned, i, cli_value(t->type, t->data, i));
        if (!fits) {
            cli_tensor_free(&out);
            return cli_fail(err, GR_EINPUT, "element %lld is %lld, which does not fit into the %s that the model wants",
                            (long long)i, (long long)cli_integer(t->type, t->data, i), gr_dtype_name(type));
        }
    }
    out.name = t->name;
    t->name = NULL;
    cli_tensor_free(t);
    *t = out;
    return true;
}

static void shape_add(cli_shape_text *out, size_t *used, const char *text)
{
    size_t room = sizeof out->s - 8 - *used, n = strlen(text);
    if (*used + 8 >= sizeof out->s || n > room) return;
    memcpy(out->s + *used, text, n + 1);
    *used += n;
}

cli_shape_text cli_shape_of(gr_dtype type, int rank, const int64_t *dims)
{
    cli_shape_text out;
    size_t used = 0;
    shape_add(&out, &used, gr_dtype_name(type));
    shape_add(&out, &used, "[");
    for (int i = 0; i < rank; i++) {
        char dim[32];
        snprintf(dim, sizeof dim, "%s%lld", i ? ", " : "", (long long)dims[i]);
        shape_add(&out, &used, dim);
    }
    shape_add(&out, &used, "]");
    return out;
}

static void declared_add(cli_shape_text *out, size_t *at, const gr_value_info *info)
{
    shape_add(out, at, gr_dtype_name(info->type));
    if (info->rank < 0) return;
    shape_add(out, at, "[");
    for (int i = 0; i < info->rank; i++) {
        char dim[32];
        if (i) shape_add(out, at, ", ");
        snprintf(dim, sizeof dim, "%lld", (long long)info->dims[i].value);
        if (info->dims[i].value >= 0)
            shape_add(out, at, dim);
        else
            shape_add(out, at, info->dims[i].symbol ? cli_show(info->dims[i].symbol) : "?");
    }
    shape_add(out, at, "]");
}

cli_shape_text cli_declared_of(const gr_value_info *info)
{
    static const char *const open[] = {"", "seq(", "optional(", "optional(seq(", "other("};
    static const char *const close[] = {"", ")", ")", "))", ")"};
    cli_shape_text out;
    size_t used = 0;
    shape_add(&out, &used, open[info->kind]);
    declared_add(&out, &used, info);
    shape_add(&out, &used, close[info->kind]);
    return out;
}

cli_shape_text cli_view_text(const gr_tensor_view *v)
{
    cli_shape_text out = {"optional, empty"};
    if (v->rank >= 0) return cli_shape_of(v->type, v->rank, v->dims);
    if (v->rank == GR_VIEW_SEQUENCE)
        snprintf(out.s, sizeof out.s, "seq(%s) of %zu", gr_dtype_name(v->type), v->size / sizeof *v);
    return out;
}

bool cli_tensors_read(const char *path, const cli_read_options *options, cli_tensor **out, size_t *count, gr_err *err)
{
    cli_file *file;
    *out = NULL, *count = 0;
    bool npy = cli_ends_with(path, ".npy"), pb = cli_ends_with(path, ".pb"), npz = cli_ends_with(path, ".npz");
    if (!cli_file_open(path, options->pipes, &file, err)) return false;
    bool ok;
    if (npz) {
        ok = cli_npz_parse(file, options->max_inflated, out, count, err);
    } else {
        *out = cli_alloc(sizeof **out);
        ok = npy  ? cli_npy_parse(file, file->data, file->size, *out, err)
             : pb ? cli_pb_parse_as(file, options->kind, *out, err)
                  : cli_numbers_parse(file, options->type, options->rank, *out, err);
        if (ok) *count = 1;
        if (!ok) free(*out), *out = NULL;
    }
    cli_file_drop(file);
    return ok || cli_fail_context(err, "%s", cli_show(path));
}
