/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers beside each other. All layers of an encoder are made alike, so a node that one layer has otherwise than all
 * the others was hardly meant to be so, whatever the passes made of it.
 */
#ifndef GR_PEERS_H
#define GR_PEERS_H

#include "passes/pass.h"
#include "provenance.h"

/* Append to *list a remark for each node in which one layer of the file differs from the others, which are alike: a few
 * at most, and none if layers differ in many ways. With two layers either may be meant; the reason names both. */
gr_status gr_compare_layers(const gr_graph *g, const gr_provenance *p, gr_arena *arena, gr_arena *scratch,
                            gr_near_miss **list, size_t *n, size_t *cap, gr_err *err);

/* Whether a node of the file multiplies matrices; *a and *b are the operands. */
bool gr_source_product(const gr_source *s, const gr_value **a, const gr_value **b);

#endif
