/* SPDX-License-Identifier: Apache-2.0
 *
 * Elements as unsigned integers that compare as the elements do, so that sorting needs no code per type.
 */
#ifndef GR_ORDER_H
#define GR_ORDER_H

#include "op.h"

/* Both zeros are one key; every NaN is the greatest. For numbers and bool. */
static inline uint64_t gr_sort_key(gr_dtype t, const void *data, int64_t i)
{
    const uint64_t sign = UINT64_C(1) << 63;
    double x;
    switch ((int)t) {
    case GR_BOOL: return ((const uint8_t *)data)[i] != 0;
    case GR_UINT8: return ((const uint8_t *)data)[i];
    case GR_UINT16: return ((const uint16_t *)data)[i];
    case GR_UINT32: return ((const uint32_t *)data)[i];
    case GR_UINT64: return ((const uint64_t *)data)[i];
    case GR_INT8: return (uint64_t)((const int8_t *)data)[i] ^ sign;
    case GR_INT16: return (uint64_t)((const int16_t *)data)[i] ^ sign;
    case GR_INT32: return (uint64_t)((const int32_t *)data)[i] ^ sign;
    case GR_INT64: return (uint64_t)((const int64_t *)data)[i] ^ sign;
    case GR_FLOAT: x = ((const float *)data)[i]; break;
    case GR_DOUBLE: x = ((const double *)data)[i]; break;
    case GR_FLOAT16: x = gr_half_to_float(((const uint16_t *)data)[i]); break;
    case GR_BFLOAT16: x = gr_bfloat_to_float(((const uint16_t *)data)[i]); break;
    default: return 0;
    }
    if (x != x) return UINT64_MAX;
    if (x == 0) return sign;
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u & sign ? ~u : u | sign;
}

#endif
