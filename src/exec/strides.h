/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows a cache line further apart: where they would lie a multiple of 4 KiB apart, as those between the two
 * feed-forward products do, the lines that a row tile reads all fall into one set of the first-level cache.
 */
#ifndef GR_STRIDES_H
#define GR_STRIDES_H

#include "exec/plan_data.h"

/* For steps whose kernels are prepared: settles which values have a gap behind each row. */
gr_status gr_strides_place(gr_plan *p, gr_err *err);

#endif
