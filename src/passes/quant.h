/* SPDX-License-Identifier: Apache-2.0
 *
 * What the passes on quantised graphs share.
 */
#ifndef GR_QUANT_H
#define GR_QUANT_H

#include "match.h"

/* Every dimension is known to be 1. */
bool gr_quant_is_one(const gr_value *v);
/* The DequantizeLinear of constant 2-D codes that makes v, maybe with a transposition in between; NULL if v is something
 * else. */
const gr_node *gr_quant_weight(const gr_value *v, bool *transposed);
/* Axis and block size of a DequantizeLinear of two dimensions, the axis from 0 to 1; false if out of range. */
bool gr_quant_layout(const gr_node *dequantize, int64_t *axis, int64_t *block);

#endif
