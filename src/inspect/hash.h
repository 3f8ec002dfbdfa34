/* SPDX-License-Identifier: Apache-2.0
 *
 * Content as 64 bits: bytes, tensors, attributes. The same on every machine and in every version, so that hashes can be
 * printed and kept; equal content gives equal hashes, but nobody may rely on the opposite against an adversary.
 */
#ifndef GR_HASH_H
#define GR_HASH_H

#include "graph/ir.h"

/* As fast as memory is read. */
uint64_t gr_hash_bytes(const void *data, size_t size, uint64_t seed);
uint64_t gr_hash_text(const char *text); /* NULL is as "" */
/* Fold one more hash into another; the order of folding matters. */
uint64_t gr_hash_mix(uint64_t hash, uint64_t more);

/* Type, dims and elements of a document's tensor, or of a constant; both give the same hash for the same content. */
uint64_t gr_hash_doc_tensor(const gr_doc_tensor *t);
uint64_t gr_hash_tensor(const gr_tensor *t);
/* A list of attributes in whichever order; doc strings are left out. */
uint64_t gr_hash_attrs(gr_attrs attrs);

/* Hashes of the contents of all constants of a graph, by id of value (0 where there is none), on `threads` threads.
 * The array lives in `arena`; NULL if out of memory. */
uint64_t *gr_hash_constants(const gr_graph *g, gr_arena *arena, int threads);

#endif
