/* SPDX-License-Identifier: Apache-2.0
 *
 * A map from names to whatever its user keeps for them: open addressing, grown in an arena. Names are not copied.
 */
#ifndef GR_NAMES_H
#define GR_NAMES_H
#include "base.h"

typedef struct gr_name {
    const char *name; /* NULL: the slot is free */
    uint32_t hash;    /* so that names of other slots are seldom read, which are all over the memory */
    uint32_t index;   /* the user's, as is value; 0 and NULL when new */
    void *value;
} gr_name;

typedef struct gr_names {
    size_t count, cap;
    gr_name *slots;
} gr_names;

/* FNV-1a (draft-eastlake-fnv), folded because slots are chosen by its low bits. */
uint32_t gr_name_hash(const char *name);
/* The entry of a name, valid until the next is added. Added if it is new, then NULL if out of memory. */
gr_name *gr_names_add(gr_names *names, gr_arena *arena, const char *name);
/* NULL if there is none. */
gr_name *gr_names_find(const gr_names *names, const char *name);

#endif
