/* SPDX-License-Identifier: Apache-2.0
 *
 * A weight that a file has twice is read, and packed, once: constants with the same type, shape and contents become
 * one. Sizes are compared first, then two samples, and all of the contents only where both agree, so that a model
 * without duplicates is hardly read for it: a page that is not in memory yet costs more than a pass. For the same
 * reason weights whose shape many others have, as those of layers, are left alone; what files have twice is the
 * largest, the embeddings and a decoder tied to them. Small ones stay: their names tell where they belong. Requires
 * nothing.
 */
#include "pass.h"
#include "passes.h"

enum { LEAST = 64 << 10, SAMPLES = 2, MANY = 8 }; /* bytes below which it is not worth it; see above */

typedef struct weight {
    gr_value *v;
    uint64_t hash; /* of type, shape and samples */
    int count;     /* of that shape */
} weight;

static bool is_weight(const gr_value *v)
{
    return v && v->konst && v->konst->kind == GR_KIND_TENSOR && v->konst->size >= LEAST && !v->is_output &&
           v->konst->data;
}

static uint64_t mix(uint64_t h, uint64_t x) { return ((h ^ x) * UINT64_C(0x9E3779B97F4A7C15)) ^ (h >> 31); }

static uint64_t hash_shape(const gr_value *v)
{
    const gr_tensor *t = v->konst;
    uint64_t h = mix((uint64_t)t->dtype << 32 | (uint64_t)v->type.dtype, (uint64_t)t->rank);
    for (int i = 0; i < t->rank; i++) h = mix(h, (uint64_t)t->dims[i]);
    return h;
}

static uint64_t hash_samples(const gr_tensor *t, uint64_t h)
{
    for (size_t i = 0; i < SAMPLES; i++) {
        uint64_t word;
        memcpy(&word, (const char *)t->data + (t->size - sizeof word) / SAMPLES * i, sizeof word);
        h = mix(h, word);
    }
    return h;
}

static bool same(const gr_value *v, const gr_value *w)
{
    const gr_tensor *a = v->konst, *b = w->konst;
    if (v->type.dtype != w->type.dtype || a->dtype != b->dtype || a->rank != b->rank || a->size != b->size) return false;
    if (memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims)) return false;
    return a->data == b->data || !memcmp(a->data, b->data, a->size);
}

static weight *slot(weight *table, size_t room, uint64_t hash)
{
    size_t i = (size_t)hash & (room - 1);
    while (table[i].v && table[i].hash != hash) i = (i + 1) & (room - 1);
    return &table[i];
}

/* Constants that nodes read, each once. */
static size_t collect(const gr_graph *g, bool *seen, gr_value **out)
{
    size_t n = 0;
    for (const gr_node *node = g->first; node; node = node->next)
        for (uint32_t i = 0; i < node->nin; i++) {
            gr_value *v = gr_in(node, i);
            if (!is_weight(v) || seen[v->id]) continue;
            seen[v->id] = true;
            out[n++] = v;
        }
    return n;
}

static void merge(gr_value **values, size_t n, weight *shapes, weight *contents, size_t room, int *hits)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t hash = hash_shape(values[i]);
        weight *shape = slot(shapes, room, hash);
        *shape = (weight){values[i], hash, shape->count + 1};
    }
    for (size_t i = 0; i < n; i++) {
        gr_value *v = values[i];
        const weight *shape = slot(shapes, room, hash_shape(v));
        if (shape->count < 2 || shape->count > MANY) continue;
        const uint64_t hash = hash_samples(v->konst, shape->hash);
        weight *w = slot(contents, room, hash);
        if (!w->v) *w = (weight){v, hash, 1};
        if (w->v == v || !same(w->v, v)) continue;
        gr_replace_uses(v, w->v);
        ++*hits;
    }
}

gr_status gr_pass_duplicates(gr_graph *g, int *hits, gr_err *err)
{
    size_t room = 64;
    while (room < 2 * (size_t)g->nvalues) room *= 2;
    bool *seen = gr_calloc(g->nvalues + 1, sizeof *seen);
    gr_value **values = gr_calloc(g->nvalues + 1, sizeof *values);
    weight *shapes = gr_calloc(room, sizeof *shapes), *contents = gr_calloc(room, sizeof *contents);
    const bool ok = seen && values && shapes && contents;
    if (ok && !gr_pass_stopped(g)) merge(values, collect(g, seen, values), shapes, contents, room, hits);
    gr_free(seen);
    gr_free(values);
    gr_free(shapes);
    gr_free(contents);
    return ok ? GR_OK : gr_nomem(err);
}
