/* SPDX-License-Identifier: Apache-2.0 */
#include "stats.h"
#include <math.h>

static bool element(gr_dtype type, const char *data, int64_t i, double *out)
{
    union {
        float f;
        double d;
        uint16_t h;
        int16_t s;
        int32_t i;
        int64_t l;
    } x;
    switch (type) {
    case GR_FLOAT:
        memcpy(&x.f, data + 4 * i, 4);
        *out = (double)x.f;
        return true;
    case GR_DOUBLE:
        memcpy(&x.d, data + 8 * i, 8);
        *out = x.d;
        return true;
    case GR_FLOAT16:
        memcpy(&x.h, data + 2 * i, 2);
        *out = (double)gr_half_to_float(x.h);
        return true;
    case GR_BFLOAT16:
        memcpy(&x.h, data + 2 * i, 2);
        *out = (double)gr_bfloat_to_float(x.h);
        return true;
    case GR_INT8: *out = (int8_t)data[i]; return true;
    case GR_UINT8: *out = (uint8_t)data[i]; return true;
    case GR_INT4: *out = (int8_t)((uint8_t)data[i / 2] << (i % 2 ? 0 : 4)) >> 4; return true;
    case GR_UINT4: *out = (uint8_t)data[i / 2] >> (i % 2 ? 4 : 0) & 15; return true;
    default: return false;
    }
}

bool dump_stats_of(const gr_tensor *t, dump_stats *out)
{
    dump_stats s = {.least = INFINITY, .greatest = -INFINITY};
    double x, squares = 0;
    for (int64_t i = 0; t->data && i < t->elements; i++) {
        if (!element(t->dtype, t->data, i, &x)) return false;
        if (!isfinite(x)) {
            s.odd++;
            continue;
        }
        s.count++;
        double off = x - s.mean;
        s.mean += off / (double)s.count;
        squares += off * (x - s.mean);
        if (x < s.least) s.least = x;
        if (x > s.greatest) s.greatest = x;
    }
    if (s.count) s.deviation = sqrt(squares / (double)s.count);
    *out = s;
    return s.count > 0;
}
