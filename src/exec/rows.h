/* SPDX-License-Identifier: Apache-2.0
 *
 * Which rows of a token grid each value of a plan has to hold. A model's padding is known from the mask that is added
 * to the scores of its attention: a key whose scores vanish under it is seen by nobody, and where a classifier reads
 * the first row of the last layer, nobody sees the others. Such rows are not computed: values hold the rows that
 * somebody reads, one behind the other, and a sequence costs what it costs alone.
 *
 * The sets are chosen when the plan is made, their contents in each run from the mask's values; in a batch without
 * padding they are all rows.
 */
#ifndef GR_ROWS_H
#define GR_ROWS_H

#include "ops/op.h"

/* Keys that a row of `n` mask values lets be seen: those before the first and behind the last of them add nothing to
 * any sum, for exp of a score so far below the greatest is 0. If a row masks all alike, all are seen. */
void gr_live_keys(const float *mask, int64_t n, int64_t *begin, int64_t *end);

/* Copy the rows that `to` holds from those that `from` holds (NULL: all); both of one grid, `to` within `from`. */
void gr_rows_copy(const gr_rows *from, const void *x, const gr_rows *to, void *y, size_t row_bytes);

struct gr_plan;
/* Choose sets for the steps of a plan that have not been prepared yet, and add the copies from one set to another.
 * Leaves a plan alone that has no use for it. */
gr_status gr_rows_choose(struct gr_plan *plan, gr_err *err);
/* In a run, before step plan->rows_from: fill the sets. */
void gr_rows_fill(struct gr_plan *plan);
/* Whether a node's steps come first: those that masks are made of. */
gr_status gr_rows_find_early(struct gr_plan *plan, gr_err *err);

#endif
