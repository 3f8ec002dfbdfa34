/* SPDX-License-Identifier: Apache-2.0 */
#include "compiled_format.h"
#include "graphrun.h"
#include "simd/igemm.h"
#include "simd/simd.h"
#include <stdio.h>
#include <string.h>

enum { BLOCK = 1 << 20, LANES = 4 };

static uint64_t mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 32;
}

static uint64_t hash_block(const unsigned char *data, size_t size)
{
    uint64_t lanes[LANES] = {1, 2, 3, 4}, word[LANES], h = size;
    size_t at = 0;
    for (; size - at >= sizeof word; at += sizeof word) {
        memcpy(word, data + at, sizeof word);
        for (int i = 0; i < LANES; i++) lanes[i] = mix(lanes[i], word[i]);
    }
    for (; at < size; at++) h = mix(h, data[at]);
    for (int i = 0; i < LANES; i++) h = mix(h, lanes[i]);
    return h;
}

uint64_t gr_compiled_hash(uint64_t seed, const void *data, size_t size)
{
    enum { AT_ONCE = 64 };
    const unsigned char *bytes = data;
    uint64_t part[AT_ONCE];
    for (size_t at = 0; at < size;) {
        const size_t left = (size - at + BLOCK - 1) / BLOCK, n = left < AT_ONCE ? left : AT_ONCE;
#pragma omp parallel for if (n > 1)
        for (size_t i = 0; i < n; i++) {
            const size_t from = at + i * BLOCK;
            part[i] = hash_block(bytes + from, size - from < BLOCK ? size - from : BLOCK);
        }
        for (size_t i = 0; i < n; i++) seed = mix(seed, part[i]);
        at = size - at > n * BLOCK ? at + n * BLOCK : size;
    }
    return seed;
}

void gr_compiled_maker(char *text, size_t room)
{
    memset(text, 0, room);
    const gr_simd *simd = gr_simd_best();
    snprintf(text, room, "graphrun %s, kernels %s, %s and %s", gr_version_string(), simd->name,
             gr_simd_has_bfloat() ? simd->pairs : simd->bfloat, gr_igemm_layout(false));
}
