/* SPDX-License-Identifier: Apache-2.0 */
#include "deviation.h"
#include "exec/eval.h"
#include <math.h>

/* Additive masks fill with -1e4 or less. Fills say nothing about the size of the other elements, and all of them mean
 * the same. */
#define MASK_FILL 9999.0

#define LOAD(T)                                                                                                        \
    {                                                                                                                  \
        T x;                                                                                                           \
        memcpy(&x, (const char *)t->data + (size_t)i * sizeof x, sizeof x);                                            \
        return (double)x;                                                                                              \
    }

double gr_element(const gr_tensor *t, int64_t i)
{
    uint16_t half;
    switch (t->dtype) {
    case GR_FLOAT: LOAD(float)
    case GR_DOUBLE: LOAD(double)
    case GR_INT64: LOAD(int64_t)
    case GR_INT32: LOAD(int32_t)
    case GR_INT16: LOAD(int16_t)
    case GR_INT8: LOAD(int8_t)
    case GR_UINT64: LOAD(uint64_t)
    case GR_UINT32: LOAD(uint32_t)
    case GR_UINT16: LOAD(uint16_t)
    case GR_BOOL:
    case GR_UINT8: LOAD(uint8_t)
    case GR_FLOAT16:
    case GR_BFLOAT16:
        memcpy(&half, (const char *)t->data + (size_t)i * sizeof half, sizeof half);
        return (double)(t->dtype == GR_FLOAT16 ? gr_half_to_float(half) : gr_bfloat_to_float(half));
    default: return 0;
    }
}

static bool numeric(gr_dtype t) { return gr_dtype_is_float(t) || gr_dtype_is_int(t) || t == GR_BOOL; }

/* In units of the type's rounding: one node may sum in another order, several add up, a whole network a little more. */
static double default_rtol(gr_dtype a, gr_dtype b, gr_distance distance)
{
    static const double single[] = {1e-6, 1e-5, 1e-4}, half[] = {2e-3, 1e-2, 1e-2}, brain[] = {1.6e-2, 5e-2, 5e-2};
    if (a == GR_BFLOAT16 || b == GR_BFLOAT16) return brain[distance];
    if (a == GR_FLOAT16 || b == GR_FLOAT16) return half[distance];
    return single[distance];
}

static bool same_dims(const gr_tensor *a, const gr_tensor *b)
{
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i]) return false;
    return true;
}

static double scale_of(const gr_tensor *t)
{
    double scale = 0;
    for (int64_t i = 0; i < t->elements; i++) {
        double x = fabs(gr_element(t, i));
        if (x > scale && x < MASK_FILL) scale = x;
    }
    return scale;
}

static gr_deviation compare_bytes(const gr_tensor *a, const gr_tensor *b)
{
    bool same = a->size == b->size && (!a->size || !memcmp(a->data, b->data, a->size));
    return (gr_deviation){.error = same ? 0 : INFINITY, .excess = same ? 0 : INFINITY};
}

gr_deviation gr_deviation_of(const gr_tensor *a, const gr_tensor *b, const gr_tolerance *tolerance,
                             gr_distance distance)
{
    gr_deviation d = {0};
    bool floats = gr_dtype_is_float(a->dtype) && gr_dtype_is_float(b->dtype);
    if (!same_dims(a, b) || (a->dtype != b->dtype && !floats))
        return (gr_deviation){.error = INFINITY, .excess = INFINITY, .at = -1};
    if (!numeric(a->dtype)) return compare_bytes(a, b);
    double rtol = tolerance->rtol >= 0 ? tolerance->rtol : default_rtol(a->dtype, b->dtype, distance);
    if (a->dtype == b->dtype && a->size == b->size && a->size && !memcmp(a->data, b->data, a->size)) return d;
    d.scale = floats ? scale_of(a) : 0;
    for (int64_t i = 0; i < a->elements; i++) {
        double x = gr_element(a, i), y = gr_element(b, i);
        if (x == y || (isnan(x) && isnan(y)) || (floats && x < -MASK_FILL && y < -MASK_FILL)) continue;
        double error = fabs(x - y), allowed = tolerance->atol;
        if (floats) allowed += rtol * (fabs(x) > d.scale && isfinite(x) ? fabs(x) : d.scale);
        if (isnan(error)) error = INFINITY;
        double excess = allowed > 0 ? error / allowed : INFINITY;
        if (error > d.error) d.error = error;
        if (excess > d.excess) d.excess = excess, d.at = i, d.a = x, d.b = y;
    }
    return d;
}

gr_change gr_change_of(const gr_tensor *a, const gr_tensor *b)
{
    gr_change c = {.same_shape = same_dims(a, b) && numeric(a->dtype) && numeric(b->dtype), .elements = a->elements};
    double norm = 0, change = 0;
    for (int64_t i = 0; c.same_shape && i < a->elements; i++) {
        double x = gr_element(a, i), d = gr_element(b, i) - x;
        if (isfinite(x)) norm += x * x;
        if (d == 0 || (isnan(d) && isnan(x))) continue;
        c.changed++;
        change += d * d;
        if (fabs(d) > c.greatest || isnan(d)) c.greatest = isnan(d) ? INFINITY : fabs(d);
    }
    c.norm = sqrt(norm), c.change = sqrt(change);
    return c;
}

gr_tensor *gr_tensor_in(const gr_tensor *t, gr_dtype dtype)
{
    if (t->dtype == dtype) return gr_tensor_copy(t);
    if (!gr_dtype_is_float(t->dtype) || !gr_dtype_is_float(dtype)) return NULL;
    gr_tensor *out = gr_tensor_new(dtype, t->rank, t->dims);
    for (int64_t i = 0; out && i < t->elements; i++) {
        double x = gr_element(t, i);
        if (dtype == GR_FLOAT)
            ((float *)out->data)[i] = (float)x;
        else if (dtype == GR_DOUBLE)
            ((double *)out->data)[i] = x;
        else
            ((uint16_t *)out->data)[i] =
                dtype == GR_FLOAT16 ? gr_float_to_half((float)x) : gr_float_to_bfloat((float)x);
    }
    return out;
}
