/* SPDX-License-Identifier: Apache-2.0
 *
 * See names.h.
 */
#include "names.h"

uint32_t gr_name_hash(const char *name)
{
    uint64_t h = 14695981039346656037u;
    for (const unsigned char *p = (const unsigned char *)name; *p; p++) h = (h ^ *p) * 1099511628211u;
    return (uint32_t)(h ^ h >> 32);
}

static gr_name *slot_of(const gr_names *t, const char *name, uint32_t hash)
{
    size_t i = hash & (t->cap - 1);
    while (t->slots[i].name && (t->slots[i].hash != hash || strcmp(t->slots[i].name, name))) i = (i + 1) & (t->cap - 1);
    return &t->slots[i];
}

static bool grow(gr_names *t, gr_arena *arena)
{
    gr_names grown = {.count = t->count, .cap = t->cap ? 2 * t->cap : 16};
    if (!(grown.slots = GR_NEWS(arena, grown.cap, gr_name))) return false;
    for (size_t i = 0; i < t->cap; i++) {
        if (!t->slots[i].name) continue;
        size_t k = t->slots[i].hash & (grown.cap - 1); /* all differ: only a free slot is looked for */
        while (grown.slots[k].name) k = (k + 1) & (grown.cap - 1);
        grown.slots[k] = t->slots[i];
    }
    *t = grown;
    return true;
}

gr_name *gr_names_add(gr_names *t, gr_arena *arena, const char *name)
{
    if (2 * (t->count + 1) > t->cap && !grow(t, arena)) return NULL;
    const uint32_t hash = gr_name_hash(name);
    gr_name *e = slot_of(t, name, hash);
    if (!e->name) {
        e->name = name;
        e->hash = hash;
        t->count++;
    }
    return e;
}

gr_name *gr_names_find(const gr_names *t, const char *name)
{
    gr_name *e = t->cap ? slot_of(t, name, gr_name_hash(name)) : NULL;
    return e && e->name ? e : NULL;
}
