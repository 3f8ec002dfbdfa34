/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps that extend a cache in the memory where it is (gr_plan_caches in exec/plan.h).
 */
#ifndef GR_GROW_H
#define GR_GROW_H

#include "exec/plan_data.h"

/* If the step is the Concat of one of the plan's caches, make it one that appends. Its shapes are known, its inputs have
 * their slots. */
bool gr_grow_step(gr_plan *p, plan_step *ps);

#endif
