/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of packed weights: open addressing, never shrinking, one lock.
 */
#include "packs.h"
#include "exec/threads.h"
#include "simd/simd.h"
#include <float.h>
#include <omp.h>
#include <pthread.h>

/* Packs from this size on have pages of their own: among other blocks of malloc they would leave gaps. */
enum { PAGES_FROM = 64 << 10 };

typedef struct entry {
    gr_pack_key key;
    gr_pack pack;
    bool ready; /* made; else only saved */
} entry;

struct gr_packs {
    pthread_mutex_t lock;
    const gr_map *maps;
    entry **slots;
    size_t count, room; /* room is a power of two or 0 */
    size_t bytes;
    bool empty;
};

gr_packs *gr_packs_new(const gr_map *maps)
{
    gr_packs *p = gr_calloc(1, sizeof *p);
    if (!p) return NULL;
    p->maps = maps;
    if (pthread_mutex_init(&p->lock, NULL)) {
        gr_free(p);
        return NULL;
    }
    return p;
}

gr_packs *gr_packs_new_empty(void)
{
    gr_packs *p = gr_packs_new(NULL);
    if (p) p->empty = true;
    return p;
}

void gr_packs_free(gr_packs *p)
{
    if (!p) return;
    for (size_t i = 0; i < p->room; i++) {
        entry *e = p->slots[i];
        if (!e) continue;
        gr_pack_release(&e->pack);
        gr_free(e);
    }
    gr_free(p->slots);
    pthread_mutex_destroy(&p->lock);
    gr_free(p);
}

size_t gr_packs_bytes(gr_packs *p)
{
    if (!p) return 0;
    pthread_mutex_lock(&p->lock);
    const size_t bytes = p->bytes;
    pthread_mutex_unlock(&p->lock);
    return bytes;
}

static uint64_t hash(const gr_pack_key *k)
{
    const uint64_t parts[] = {(uint64_t)(uintptr_t)k->data, (uint64_t)k->dtype, (uint64_t)k->rows,
                              (uint64_t)k->cols, (uint64_t)k->row, (uint64_t)k->col, (unsigned char)k->layout[0],
                              (uint64_t)(uintptr_t)k->beside[0]};
    uint64_t h = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        h = (h ^ parts[i]) * UINT64_C(0x9E3779B97F4A7C15);
        h ^= h >> 29;
    }
    return h;
}

static bool same(const gr_pack_key *a, const gr_pack_key *b)
{
    return a->data == b->data && a->dtype == b->dtype && a->rows == b->rows && a->cols == b->cols &&
           a->row == b->row && a->col == b->col && a->beside[0] == b->beside[0] && a->beside[1] == b->beside[1] &&
           a->form == b->form && !strcmp(a->layout, b->layout);
}

/* The slot that holds the key, or the free one where it belongs. room > count. */
static entry **slot_of(entry **slots, size_t room, const gr_pack_key *key)
{
    size_t i = (size_t)hash(key) & (room - 1);
    while (slots[i] && !same(&slots[i]->key, key)) i = (i + 1) & (room - 1);
    return &slots[i];
}

static bool grow(gr_packs *p)
{
    const size_t room = p->room ? p->room * 2 : 64;
    entry **slots = gr_calloc(room, sizeof *slots);
    if (!slots) return false;
    for (size_t i = 0; i < p->room; i++)
        if (p->slots[i]) *slot_of(slots, room, &p->slots[i]->key) = p->slots[i];
    gr_free(p->slots);
    p->slots = slots;
    p->room = room;
    return true;
}

bool gr_packs_has(gr_packs *p, const gr_pack_key *key)
{
    pthread_mutex_lock(&p->lock);
    const bool has = p->room && *slot_of(p->slots, p->room, key);
    pthread_mutex_unlock(&p->lock);
    return has;
}

/* The entry of that key, new if need be. */
static entry *entry_of(gr_packs *p, const gr_pack_key *key)
{
    if (p->room) {
        entry *e = *slot_of(p->slots, p->room, key);
        if (e) return e;
    }
    if (2 * (p->count + 1) > p->room && !grow(p)) return NULL;
    entry *e = gr_calloc(1, sizeof *e);
    if (!e) return NULL;
    e->key = *key;
    *slot_of(p->slots, p->room, key) = e;
    p->count++;
    return e;
}

bool gr_packs_add_saved(gr_packs *p, const gr_pack_key *key, const void *data, size_t size)
{
    pthread_mutex_lock(&p->lock);
    entry *e = entry_of(p, key);
    if (e && !e->ready) {
        e->pack.saved = data;
        e->pack.saved_size = size;
    }
    pthread_mutex_unlock(&p->lock);
    return e != NULL;
}

bool gr_packs_visit(gr_packs *p, bool (*visit)(void *user, const gr_pack_key *key, const gr_pack *pack), void *user)
{
    bool on = true;
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; on && i < p->room; i++)
        if (p->slots[i] && p->slots[i]->ready) on = visit(user, &p->slots[i]->key, &p->slots[i]->pack);
    pthread_mutex_unlock(&p->lock);
    return on;
}

static bool borrows(const gr_pack *pack) { return pack->saved && pack->data == pack->saved; }

bool gr_pack_fits_saved(const gr_pack *pack)
{
    return pack->saved && pack->saved_size == pack->size;
}

bool gr_pack_alloc(gr_pack *pack)
{
    if (gr_pack_fits_saved(pack)) {
        pack->data = (void *)(uintptr_t)pack->saved;
        pack->empty = true;
        return true;
    }
    pack->data = pack->size >= PAGES_FROM ? gr_malloc_pages(pack->size) : gr_malloc_aligned(pack->size);
    return pack->data != NULL;
}

void gr_pack_release(gr_pack *pack)
{
    if (!borrows(pack) && pack->size >= PAGES_FROM) gr_free_pages(pack->data, pack->size);
    else if (!borrows(pack)) gr_free_aligned(pack->data, pack->size);
    pack->data = NULL;
}

static const gr_pack *get(gr_packs *p, const gr_pack_key *key, size_t source, bool (*make)(void *user, gr_pack *pack),
                          void *user)
{
    entry *e = entry_of(p, key);
    if (!e || e->ready) return e ? &e->pack : NULL;
    e->pack.empty = p->empty;
    if (!make(user, &e->pack)) return NULL;
    e->ready = true;
    if (borrows(&e->pack)) return &e->pack;
    p->bytes += e->pack.size;
    gr_map_dontneed(p->maps, key->data, source);
    return &e->pack;
}

const gr_pack *gr_packs_get(gr_packs *p, const gr_pack_key *key, size_t source,
                            bool (*make)(void *user, gr_pack *pack), void *user)
{
    pthread_mutex_lock(&p->lock);
    const gr_pack *pack = get(p, key, source, make, user);
    pthread_mutex_unlock(&p->lock);
    return pack;
}

typedef struct span {
    const void *data;
    size_t size;
} span;

static bool make_copy(void *user, gr_pack *pack)
{
    const span *s = user;
    pack->size = s->size;
    if (!gr_pack_alloc(pack)) return false;
    if (s->size && !pack->empty) memcpy(pack->data, s->data, s->size);
    return true;
}

void *gr_packs_aligned(gr_packs *p, const void *data, size_t size)
{
    span s = {data, size};
    const gr_pack_key key = {.data = data, .rows = (int64_t)size, .cols = 1, .layout = "aligned"};
    const gr_pack *pack = gr_packs_get(p, &key, size, make_copy, &s);
    return pack ? pack->data : NULL;
}

typedef struct fetch {
    const gr_map *maps;
    const char *data;
    size_t size;
} fetch;

static void fetch_stretch(void *user, int64_t i, int thread)
{
    const fetch *f = user;
    const size_t at = (size_t)i * GR_MAP_STRETCH;
    (void)thread;
    gr_map_fetch(f->maps, f->data + (at < f->size ? at : f->size - 1));
}

void gr_packs_fetch(const gr_packs *p, const void *data, size_t size)
{
    if (!p || !gr_map_may_fetch(p->maps, data, size)) return;
    gr_parallel((int64_t)(size / GR_MAP_STRETCH) + 2, gr_team_size(), fetch_stretch, &(fetch){p->maps, data, size});
}

typedef struct reading {
    const gr_map *maps;
    const char *data;
    char *room;
    size_t size;
    bool failed;
} reading;

enum { READ_AT_ONCE = 256 * 1024 };

static void read_piece(void *user, int64_t i, int thread)
{
    reading *r = user;
    const size_t at = (size_t)i * READ_AT_ONCE, size = r->size - at < READ_AT_ONCE ? r->size - at : READ_AT_ONCE;
    (void)thread;
    if (!gr_map_read(r->maps, r->data + at, size, r->room + at)) __atomic_store_n(&r->failed, true, __ATOMIC_RELAXED);
}

bool gr_packs_may_read(const gr_packs *p, const void *data, size_t size)
{
    return p && gr_map_may_read(p->maps, data, size);
}

const void *gr_packs_read(const gr_packs *p, const void *data, size_t size, void *room)
{
    reading r = {p->maps, data, room, size, false};
    gr_parallel((int64_t)((size - 1) / READ_AT_ONCE) + 1, gr_team_size(), read_piece, &r);
    return r.failed ? data : room;
}

/* ---- 16 bits ---- */

#define HALF_MAX 65504.0f
enum { WIDEN_AT_ONCE = 32 * 1024 };

void gr_widen(gr_dtype dtype, const void *from, int64_t n, float *to)
{
    const enum gr_gemm_store store = dtype == GR_FLOAT16 ? GR_STORE_HALF : GR_STORE_BFLOAT;
    if (dtype == GR_FLOAT) {
        if (n) memcpy(to, from, (size_t)n * sizeof *to);
        return;
    }
    const int64_t parts = (n + WIDEN_AT_ONCE - 1) / WIDEN_AT_ONCE;
#pragma omp parallel for if (parts > 1)
    for (int64_t p = 0; p < parts; p++) {
        const int64_t at = p * WIDEN_AT_ONCE, count = n - at < WIDEN_AT_ONCE ? n - at : WIDEN_AT_ONCE;
        gr_simd_best()->widen(store, (size_t)count, (const char *)from + at * 2, to + at);
    }
}

void gr_widen_const(gr_dtype dtype, const void *from, int64_t n, float *to)
{
    gr_widen(dtype, from, n, to);
    for (int64_t i = 0; dtype == GR_FLOAT16 && i < n; i++)
        if (to[i] == HALF_MAX || to[i] == -HALF_MAX) to[i] = to[i] < 0 ? -FLT_MAX : FLT_MAX;
}

static bool make_widened(void *user, gr_pack *pack)
{
    const gr_tensor *t = user;
    if (!gr_bytes(GR_FLOAT, t->elements, &pack->size) || !gr_pack_alloc(pack)) return false;
    if (!pack->empty) gr_widen_const(t->dtype, t->data, t->elements, pack->data);
    return true;
}

void *gr_packs_widened(gr_packs *p, const gr_tensor *t)
{
    const gr_pack_key key = {.data = t->data, .dtype = t->dtype, .rows = t->elements, .cols = 1, .layout = "widened"};
    gr_tensor copy = *t;
    const gr_pack *pack = gr_packs_get(p, &key, t->size, make_widened, &copy);
    return pack ? pack->data : NULL;
}
