/* SPDX-License-Identifier: Apache-2.0 */
#include "compare.h"
#include "show.h"
#include <math.h>

static bool same_shape(const gr_tensor_view *a, const gr_tensor_view *b)
{
    if (a->type != b->type || a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i]) return false;
    return true;
}

static double whole_difference(gr_dtype type, const gr_tensor_view *a, const gr_tensor_view *b, int64_t i)
{
    int64_t x = cli_integer(type, a->data, i), y = cli_integer(type, b->data, i), d;
    if (x == y) return 0;
    if (type == GR_UINT64)
        return (double)((uint64_t)x > (uint64_t)y ? (uint64_t)x - (uint64_t)y : (uint64_t)y - (uint64_t)x);
    return __builtin_sub_overflow(x, y, &d) ? fabs((double)x - (double)y) : fabs((double)d);
}

static double cosine_of(const gr_tensor_view *a, const gr_tensor_view *b, int64_t first, int64_t n)
{
    double dot = 0, aa = 0, bb = 0;
    bool equal = true;
    for (int64_t i = first; i < first + n; i++) {
        double x = cli_value(a->type, a->data, i), y = cli_value(b->type, b->data, i);
        if (!isfinite(x) && (x == y || (isnan(x) && isnan(y)))) continue;
        equal = equal && x == y;
        dot += x * y, aa += x * x, bb += y * y;
    }
    if (equal) return 1;
    double c = dot / sqrt(aa * bb);
    return isnan(c) ? 0 : c > 1 ? 1 : c;
}

/* Complex tensors are twice as many numbers. */
static gr_tensor_view real_view(const gr_tensor_view *v, int64_t *n, int64_t dims[1])
{
    gr_tensor_view out = *v;
    *n = show_elements(v);
    if (v->type != GR_COMPLEX64 && v->type != GR_COMPLEX128) return out;
    out.type = v->type == GR_COMPLEX64 ? GR_FLOAT : GR_DOUBLE;
    dims[0] = *n *= 2;
    out.rank = 1, out.dims = dims;
    return out;
}

compare_result compare_tensors(const gr_tensor_view *got, const gr_tensor_view *expected, const compare_limits *limits)
{
    compare_result r = {.ok = true, .cosine = 1};
    if (!same_shape(got, expected) || got->type == GR_STRING) {
        r.ok = false, r.error = INFINITY;
        snprintf(r.why, sizeof r.why, "it is %.100s and should be %.100s", cli_shape(got->type, got->rank, got->dims),
                 cli_shape(expected->type, expected->rank, expected->dims));
        return r;
    }
    int64_t n, dims_a[1], dims_b[1];
    gr_tensor_view a = real_view(got, &n, dims_a), b = real_view(expected, &n, dims_b);
    bool whole = cli_is_int(a.type) || a.type == GR_BOOL;
    double worst = 0, whole_atol = isfinite(limits->atol) ? limits->atol : 0;
    for (int64_t i = 0; i < n; i++) {
        double x = cli_value(a.type, a.data, i), y = cli_value(b.type, b.data, i);
        double d = whole ? whole_difference(a.type, &a, &b, i) : x == y || (isnan(x) && isnan(y)) ? 0 : fabs(x - y);
        if (isnan(d)) d = INFINITY;
        double over = d - (d == 0 ? 0 : whole ? whole_atol : limits->atol + limits->rtol * fabs(y));
        if (isnan(over)) over = INFINITY; /* infinite expected, and something else here */
        if (d > r.error && worst <= 0) r.at = i;
        if (d > r.error) r.error = d;
        if (d > 0 && over > worst) worst = over, r.at = i;
    }
    r.ok = worst <= 0;
    int64_t row = a.rank ? a.dims[a.rank - 1] : 1;
    for (int64_t i = 0; !whole && row > 0 && i < n; i += row) {
        double c = cosine_of(&a, &b, i, row);
        r.cosine = c < r.cosine ? c : r.cosine;
    }
    if (limits->cosine >= -1 && r.cosine < limits->cosine) r.ok = false;
    return r;
}

compare_result compare_values(const gr_tensor_view *got, const gr_tensor_view *expected, const compare_limits *limits)
{
    if (expected->rank >= 0 && got->rank >= 0) return compare_tensors(got, expected, limits);
    compare_result all = {.ok = true, .cosine = 1};
    size_t n = expected->size / sizeof(gr_tensor_view);
    if (got->rank != expected->rank || got->size != expected->size) {
        all.ok = false, all.error = INFINITY;
        snprintf(all.why, sizeof all.why, "it is %.100s and should be %.100s", cli_view_text(got).s,
                 cli_view_text(expected).s);
        return all;
    }
    for (size_t i = 0; i < n && all.ok; i++) {
        compare_result r = compare_tensors((const gr_tensor_view *)got->data + i,
                                           (const gr_tensor_view *)expected->data + i, limits);
        if (r.error < all.error) r.error = all.error;
        if (r.cosine > all.cosine) r.cosine = all.cosine;
        all = r;
    }
    return all;
}
