/* SPDX-License-Identifier: Apache-2.0
 *
 * What the passes on normalisations share.
 */
#ifndef GR_NORM_H
#define GR_NORM_H

#include "match.h"

/* Whether v is one row of floats as wide as x, in a shape that adds no dimension to it. */
bool gr_norm_row(const gr_value *v, const gr_value *x);
/* Such a constant with one dimension, if its elements are floats. NULL for NULL, or failed. */
gr_value *gr_norm_flat(gr_build *b, gr_value *v);
/* Whether every element is `want`: of a constant, or of one that is filled at run time. */
bool gr_norm_filled(const gr_value *v, float want);

#endif
