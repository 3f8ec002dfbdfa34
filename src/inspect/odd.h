/* SPDX-License-Identifier: Apache-2.0
 *
 * What a file does unlike any encoder, told from the node alone: what is made of rows of embeddings before they are
 * normalised, positions that do not count up, what follows the layer of a pooler, GELUs with another function than Erf.
 * For layers beside each other see peers.h.
 */
#ifndef GR_ODD_H
#define GR_ODD_H

#include "passes/pass.h"

/* Append a remark for each to *list in `arena`. `maker`: the file's node that makes a value of g, by its id, or NULL. */
gr_status gr_find_odd(const gr_graph *g, const gr_source *const *maker, gr_arena *arena, gr_arena *scratch,
                      gr_near_miss **list, size_t *n, size_t *cap, gr_err *err);

#endif
