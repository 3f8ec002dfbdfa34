/* SPDX-License-Identifier: Apache-2.0
 *
 * Constant weights in the layouts that kernels want, made once and shared by all plans and sessions of a model. Safe
 * for threads: who asks for a pack while another thread makes it waits for that.
 */
#ifndef GR_PACKS_H
#define GR_PACKS_H

#include "graph/map.h"
#include "ops/op.h"

/* A matrix is known by where its contents lie, so that data must outlive the packs and never change: constants of the
 * model, never a value of one run. Element (i, j) is data[i * row + j * col]. */
typedef struct gr_pack_key {
    const void *data;
    gr_dtype dtype;
    int64_t rows, cols, row, col;
    const char *layout; /* name of the kernel's layout; a static string */
    /* What else the pack is made from, as the scales and zero points of codes, and how; or NULL and 0. */
    const void *beside[2];
    int64_t form;
} gr_pack_key;

typedef struct gr_pack {
    void *data; /* from gr_pack_alloc */
    size_t size;
    bool empty; /* set before `make` or by gr_pack_alloc: the contents are not to be written */
    const void *saved; /* set before `make`: contents that a compiled model brings, or NULL */
    size_t saved_size;
} gr_pack;

/* Memory of pack->size bytes, 64-byte aligned, as pack->data, for `make`. Contents of that size which were saved are
 * taken as they are. False if out of memory. */
bool gr_pack_alloc(gr_pack *pack);
/* Whether there are such contents; a `make` that finds them unfit sets pack->saved to NULL. */
bool gr_pack_fits_saved(const gr_pack *pack);
void gr_pack_release(gr_pack *pack); /* that memory, for a `make` that fails */

/* Pages of `maps` (may be NULL) that hold a weight are given back when it is packed; the list must outlive the packs.
 * NULL if out of memory. */
gr_packs *gr_packs_new(const gr_map *maps);
/* The same for plans that are looked at and never run: nothing is packed, no weight is read. */
gr_packs *gr_packs_new_empty(void);
void gr_packs_free(gr_packs *packs); /* NULL is allowed */
size_t gr_packs_bytes(gr_packs *packs); /* of memory; what was saved is not counted */

/* Whether there is a pack of that key, made or saved. */
bool gr_packs_has(gr_packs *packs, const gr_pack_key *key);
/* The pack of that key; made by `make` if it is not there, which fills *pack and returns whether it could. `source` bytes
 * from key->data on are what was packed. NULL if `make` failed or memory is out. */
const gr_pack *gr_packs_get(gr_packs *packs, const gr_pack_key *key, size_t source,
                            bool (*make)(void *user, gr_pack *pack), void *user);
/* Contents for the pack of that key, 64-byte aligned, which outlive the packs and are never written. They are of some
 * file: `make` has to check what it relies on. False if out of memory. */
bool gr_packs_add_saved(gr_packs *packs, const gr_pack_key *key, const void *data, size_t size);
/* Call `visit` for every pack that has been made, until it returns false. No pack is made meanwhile. */
bool gr_packs_visit(gr_packs *packs, bool (*visit)(void *user, const gr_pack_key *key, const gr_pack *pack),
                    void *user);
/* A 64-byte aligned copy of `size` bytes; NULL if out of memory. */
void *gr_packs_aligned(gr_packs *packs, const void *data, size_t size);
/* The contents of a constant that is stored in 16 bits as floats, 64-byte aligned; NULL if out of memory. */
void *gr_packs_widened(gr_packs *packs, const gr_tensor *t);

/* Weights of a model's file that all threads are about to read: make their pages present, in parallel. */
void gr_packs_fetch(const gr_packs *packs, const void *data, size_t size);
/* Whether weights are of a file that can be read beside its map; and the weights, read by all threads into `room` (64-byte
 * aligned, of their size, which is not 0) or, if that fails, where they are. */
bool gr_packs_may_read(const gr_packs *packs, const void *data, size_t size);
const void *gr_packs_read(const gr_packs *packs, const void *data, size_t size, void *room);

/* Elements of 16 bits, or floats, at any address, as floats; in parallel if they are many. */
void gr_widen(gr_dtype dtype, const void *from, int64_t n, float *to);
/* The same for constants: the greatest numbers that float16 has stand for "as great as can be", in masks and clips, and
 * become the greatest floats. */
void gr_widen_const(gr_dtype dtype, const void *from, int64_t n, float *to);

#endif
