/* SPDX-License-Identifier: Apache-2.0 */
#include "hash.h"

enum { LANES = 8, MAX_DEPTH = 64 };
#define PRIME_A UINT64_C(0x9e3779b97f4a7c15)
#define PRIME_B UINT64_C(0xd6e8feb86659fd93)

uint64_t gr_hash_mix(uint64_t hash, uint64_t more)
{
    uint64_t x = (hash ^ more) * PRIME_B + PRIME_A;
    x ^= x >> 32;
    x = (x + (hash << 7 | hash >> 57)) * PRIME_A;
    return x ^ x >> 29;
}

/* Eight independent chains, so that memory and not the latency of multiplication sets the pace. */
uint64_t gr_hash_bytes(const void *data, size_t size, uint64_t seed)
{
    const unsigned char *p = data;
    uint64_t lane[LANES], hash = seed ^ (uint64_t)size * PRIME_B;
    size_t left = size;
    for (unsigned i = 0; i < LANES; i++) lane[i] = seed + (i + 1) * PRIME_A;
    for (; left >= sizeof lane; left -= sizeof lane, p += sizeof lane) {
        uint64_t words[LANES];
        memcpy(words, p, sizeof words);
        for (unsigned i = 0; i < LANES; i++) {
            lane[i] = (lane[i] ^ words[i]) * PRIME_B;
            lane[i] ^= lane[i] >> 31;
        }
    }
    for (unsigned i = 0; i < LANES; i++) hash = gr_hash_mix(hash, lane[i]);
    for (; left >= 8; left -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        hash = gr_hash_mix(hash, word);
    }
    uint64_t rest = 0;
    if (left) memcpy(&rest, p, left);
    return gr_hash_mix(hash, rest);
}

uint64_t gr_hash_text(const char *text)
{
    return text ? gr_hash_bytes(text, strlen(text), 1) : gr_hash_bytes("", 0, 1);
}

static uint64_t hash_elements(gr_dtype dtype, int rank, const int64_t *dims, const void *data, size_t size)
{
    uint64_t hash = gr_hash_mix((uint64_t)dtype, (uint64_t)rank);
    for (int i = 0; i < rank; i++) hash = gr_hash_mix(hash, (uint64_t)dims[i]);
    return data && size ? gr_hash_bytes(data, size, hash) : hash;
}

uint64_t gr_hash_doc_tensor(const gr_doc_tensor *t)
{
    uint64_t hash = hash_elements(t->dtype, t->rank, t->dims, t->data, t->size);
    for (int64_t i = 0; t->strings && i < t->elements; i++)
        hash = gr_hash_mix(hash, gr_hash_bytes(t->strings[i].data, t->strings[i].size, 2));
    return hash;
}

uint64_t gr_hash_tensor(const gr_tensor *t)
{
    return t->kind == GR_KIND_TENSOR ? hash_elements(t->dtype, t->rank, t->dims, t->data, t->size) : 0;
}

/* ---- attributes ---- */

static uint64_t hash_attr(const gr_attr *a, int depth);

static uint64_t hash_attr_list(gr_attrs attrs, int depth)
{
    uint64_t sum = attrs.count; /* a sum: order does not matter */
    for (size_t i = 0; i < attrs.count; i++) sum += hash_attr(&attrs.items[i], depth);
    return sum;
}

/* Names count inside a subgraph: what is wired to what is told by them alone. */
static uint64_t hash_graph(const gr_doc_graph *g, int depth)
{
    uint64_t hash = 3;
    if (!g || depth > MAX_DEPTH) return hash;
    for (size_t i = 0; i < g->in.count; i++) hash = gr_hash_mix(hash, gr_hash_text(g->in.items[i].name));
    for (size_t i = 0; i < g->ninit; i++)
        hash = gr_hash_mix(gr_hash_mix(hash, gr_hash_text(g->init[i]->name)), gr_hash_doc_tensor(g->init[i]));
    for (size_t i = 0; i < g->nodes.count; i++) {
        const gr_doc_node *n = &g->nodes.items[i];
        hash = gr_hash_mix(gr_hash_mix(hash, gr_hash_text(n->op_type)), gr_hash_text(n->domain));
        for (size_t k = 0; k < n->in.count; k++) hash = gr_hash_mix(hash, gr_hash_text(n->in.items[k]));
        for (size_t k = 0; k < n->out.count; k++) hash = gr_hash_mix(hash, gr_hash_text(n->out.items[k]));
        hash = gr_hash_mix(hash, hash_attr_list(n->attrs, depth + 1));
    }
    for (size_t i = 0; i < g->out.count; i++) hash = gr_hash_mix(hash, gr_hash_text(g->out.items[i].name));
    return hash;
}

static uint64_t hash_listed(const gr_attr *a, size_t i, int depth)
{
    switch (a->type) {
    case GR_ATTR_STRINGS: return gr_hash_bytes(a->strings[i].data, a->strings[i].size, 4);
    case GR_ATTR_TENSORS: return gr_hash_doc_tensor(a->tensors[i]);
    case GR_ATTR_GRAPHS: return hash_graph(a->graphs[i], depth);
    default: return 0;
    }
}

static uint64_t hash_attr(const gr_attr *a, int depth)
{
    uint64_t hash = gr_hash_mix(gr_hash_text(a->name), (uint64_t)a->type);
    switch (a->type) {
    case GR_ATTR_FLOAT: return gr_hash_mix(hash, gr_hash_bytes(&a->f, sizeof a->f, 5));
    case GR_ATTR_INT: return gr_hash_mix(hash, (uint64_t)a->i);
    case GR_ATTR_STRING: return gr_hash_mix(hash, gr_hash_bytes(a->s.data, a->s.size, 4));
    case GR_ATTR_TENSOR: return gr_hash_mix(hash, gr_hash_doc_tensor(a->t));
    case GR_ATTR_SPARSE:
        return gr_hash_mix(gr_hash_mix(hash, gr_hash_doc_tensor(a->sparse->values)),
                           gr_hash_doc_tensor(a->sparse->indices));
    case GR_ATTR_GRAPH: return gr_hash_mix(hash, hash_graph(a->g, depth));
    case GR_ATTR_FLOATS: return gr_hash_mix(hash, gr_hash_bytes(a->floats, a->count * sizeof *a->floats, 6));
    case GR_ATTR_INTS: return gr_hash_mix(hash, gr_hash_bytes(a->ints, a->count * sizeof *a->ints, 7));
    default: break;
    }
    for (size_t i = 0; i < a->count; i++) hash = gr_hash_mix(hash, hash_listed(a, i, depth));
    return hash;
}

uint64_t gr_hash_attrs(gr_attrs attrs) { return hash_attr_list(attrs, 0); }

/* ---- constants of a graph ---- */

uint64_t *gr_hash_constants(const gr_graph *g, gr_arena *arena, int threads)
{
    uint64_t *hashes = GR_NEWS(arena, g->nvalues, uint64_t);
    const gr_value **all = GR_NEWS(arena, g->nvalues, const gr_value *);
    int64_t n = 0;
    if (!hashes || !all) return NULL;
    bool *seen = GR_NEWS(arena, g->nvalues, bool);
    if (!seen) return NULL;
    GR_FOR_NODES(node, g)
    {
        for (uint32_t i = 0; i < node->nin; i++) {
            const gr_value *v = gr_in(node, i);
            if (!v || v->graph != g || !v->konst || seen[v->id]) continue;
            seen[v->id] = true;
            all[n++] = v;
        }
    }
    for (size_t i = 0; i < g->noutputs; i++) {
        const gr_value *v = g->outputs[i];
        if (v->graph == g && v->konst && !seen[v->id]) seen[v->id] = true, all[n++] = v;
    }
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads > 0 ? threads : 1) if (n > 1)
    for (int64_t i = 0; i < n; i++) hashes[all[i]->id] = gr_hash_tensor(all[i]->konst);
    return hashes;
}
