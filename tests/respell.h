/* SPDX-License-Identifier: Apache-2.0
 *
 * Write a model down in another way that means the same: what one exporter does and another does not. Fusion must not
 * depend on any of it.
 */
#ifndef TEST_RESPELL_H
#define TEST_RESPELL_H

#include "graph/ir.h"

/* Change the main graph of a document `count` times at places and in ways that *seed chooses, then rename its inner
 * values, drop the names of its nodes and bring these into another order. `types` is the same graph inferred, which
 * tells the types of values. Returns how many changes were made; `what` gets their names. False: out of memory. */
bool respell(gr_doc *doc, const gr_graph *types, uint32_t *seed, int count, char *what, size_t room);

#endif
