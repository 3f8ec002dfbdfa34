/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows in bfloat16 beside their floats: where a product takes its rows rounded, whoever makes them writes them so, too,
 * while they are in the cache, instead of the product reading them all once more.
 */
#ifndef GR_ROUNDED_H
#define GR_ROUNDED_H

#include "exec/plan_data.h"

/* For steps whose kernels are prepared: settles which of them write rounded rows, and where these live. */
gr_status gr_rounded_place(gr_plan *p, gr_err *err);
void gr_rounded_bind(gr_plan *p, char *block);

#endif
