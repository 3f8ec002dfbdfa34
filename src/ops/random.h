/* SPDX-License-Identifier: Apache-2.0
 *
 * Random numbers: the Mersenne Twister MT19937 (Matsumoto and Nishimura, 1998), seeded and read as NumPy's RandomState
 * does, so that a seed gives the numbers that ONNX's reference implementation has for it.
 */
#ifndef GR_RANDOM_H
#define GR_RANDOM_H

#include "op.h"
#include <math.h>

enum { GR_TWISTER = 624, GR_TWISTER_STEP = 397 };

typedef struct gr_random {
    uint32_t key[GR_TWISTER];
    int at;
    bool has_normal;
    double normal; /* normal deviates are made in pairs: the second one */
} gr_random;

static inline void gr_random_seed(gr_random *r, uint32_t seed)
{
    for (int i = 0; i < GR_TWISTER; i++) {
        r->key[i] = seed;
        seed = UINT32_C(1812433253) * (seed ^ seed >> 30) + (uint32_t)i + 1;
    }
    r->at = GR_TWISTER;
    r->has_normal = false;
    r->normal = 0;
}

/* A node without a seed has one of its own, the same in every run. */
static inline uint32_t gr_random_own_seed(const gr_step *s)
{
    return UINT32_C(0x9e3779b9) * (s->node ? s->node->id + 1 : 1);
}

static inline uint32_t gr_random_bits(gr_random *r)
{
    if (r->at == GR_TWISTER) {
        for (int i = 0; i < GR_TWISTER; i++) {
            uint32_t y = (r->key[i] & 0x80000000) | (r->key[(i + 1) % GR_TWISTER] & 0x7fffffff);
            r->key[i] = r->key[(i + GR_TWISTER_STEP) % GR_TWISTER] ^ y >> 1 ^ (y & 1 ? UINT32_C(0x9908b0df) : 0);
        }
        r->at = 0;
    }
    uint32_t y = r->key[r->at++];
    y ^= y >> 11;
    y ^= y << 7 & UINT32_C(0x9d2c5680);
    y ^= y << 15 & UINT32_C(0xefc60000);
    return y ^ y >> 18;
}

/* Uniform in [0, 1), with 53 bits. */
static inline double gr_random_uniform(gr_random *r)
{
    uint32_t high = gr_random_bits(r) >> 5, low = gr_random_bits(r) >> 6;
    return (high * 67108864.0 + low) / 9007199254740992.0;
}

/* Standard normal, by the polar method. */
static inline double gr_random_normal(gr_random *r)
{
    double x, y, square;
    r->has_normal = !r->has_normal;
    if (!r->has_normal) return r->normal;
    do {
        x = 2 * gr_random_uniform(r) - 1;
        y = 2 * gr_random_uniform(r) - 1;
        square = x * x + y * y;
    } while (square >= 1 || square == 0);
    double f = sqrt(-2 * log(square) / square);
    r->normal = f * x;
    return f * y;
}

#endif
