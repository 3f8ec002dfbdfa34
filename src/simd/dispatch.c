/* SPDX-License-Identifier: Apache-2.0
 *
 * Which of the compiled instruction sets this CPU runs.
 */
#include "isa.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const gr_simd *simd = &gr_simd_base;
static const gr_tiles *tiles = &gr_tiles_base;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)
/* Not every compiler's __builtin_cpu_supports knows it. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static bool has_bfloat(void)
{
    enum { AVX512_BF16 = 1 << 5 };
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & AVX512_BF16);
}
#endif

static void choose(void)
{
#if defined(__x86_64__)
    const char *most = getenv("GRAPHRUN_ISA");
    if (most && !strcmp(most, "base")) return;
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c()) return;
    simd = &gr_simd_avx2;
    tiles = &gr_tiles_avx2;
    if (most && !strcmp(most, "avx2")) return;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl"))
        return;
    simd = &gr_simd_avx512;
    tiles = has_bfloat() ? &gr_tiles_avx512bf16 : &gr_tiles_avx512;
#endif
}

bool gr_simd_has_bfloat(void)
{
    const char *claim = getenv("GRAPHRUN_BF16");
    if (claim && !strcmp(claim, "always")) return true;
#if defined(__x86_64__)
    return gr_tiles_best() == &gr_tiles_avx512bf16 && !(claim && !strcmp(claim, "never"));
#else
    return false;
#endif
}

const gr_simd *gr_simd_best(void)
{
    pthread_once(&once, choose);
    return simd;
}

const gr_tiles *gr_tiles_best(void)
{
    pthread_once(&once, choose);
    return tiles;
}
