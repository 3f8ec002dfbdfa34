/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps of a row tile's inner loop in assembly, for AVX2: with twelve sums, two vectors of B and an element of A in
 * sixteen registers GCC moves sums about, and where another thread shares the core, instructions decide: 20 for twelve
 * multiplications here, and no less is possible with tiles of this form.
 */
#ifndef GR_STEPS_AVX2_H
#define GR_STEPS_AVX2_H

#include "vec.h"

#if GR_LANES == 8 && defined(__FMA__) && defined(__x86_64__)
#define HAS_AVX2_STEPS 1

/* Step `at` behind the pointers: two vectors of B, and each row's element of A times both. */
#define LOAD_B(at) "vmovups " #at "*64(%[b]), %%ymm14\n\tvmovups " #at "*64+32(%[b]), %%ymm15\n\t"
#define ROW(r, place, at)                                                                                              \
    "vbroadcastss " #at "*4" place ", %%ymm13\n\t"                                                                     \
    "vfmadd231ps %%ymm14, %%ymm13, %[x" #r "]\n\tvfmadd231ps %%ymm15, %%ymm13, %[y" #r "]\n\t"
#define STEP_1(at) LOAD_B(at) ROW(0, "(%[a])", at)
#define STEP_2(at) STEP_1(at) ROW(1, "(%[a],%[lda])", at)
#define STEP_3(at) STEP_2(at) ROW(2, "(%[a],%[lda],2)", at)
#define STEP_4(at) STEP_3(at) ROW(3, "(%[a3])", at)
#define STEP_5(at) STEP_4(at) ROW(4, "(%[a3],%[lda])", at)
#define STEP_6(at) STEP_5(at) ROW(5, "(%[a3],%[lda],2)", at)
#define SUM(r)     [x##r] "+x"(acc[r][0]), [y##r] "+x"(acc[r][1])
#define SUMS_1     SUM(0)
#define SUMS_2     SUMS_1, SUM(1)
#define SUMS_3     SUMS_2, SUM(2)
#define SUMS_4     SUMS_3, SUM(3)
#define SUMS_5     SUMS_4, SUM(4)
#define SUMS_6     SUMS_5, SUM(5)
#define EIGHT(S)   S(0) S(1) S(2) S(3) S(4) S(5) S(6) S(7)
#define SIXTEEN(S) EIGHT(S) S(8) S(9) S(10) S(11) S(12) S(13) S(14) S(15)
#define STEPS_IN_ASM(steps, rows)                                                                                      \
    __asm__ volatile(steps                                                                                             \
                     : SUMS_##rows                                                                                     \
                     : [a] "r"(a), [a3] "r"(a3), [lda] "r"(lda), [b] "r"(b)                                            \
                     : "memory", "xmm13", "xmm14", "xmm15")
#define CASE(rows)                                                                                                     \
    case rows:                                                                                                         \
        if (count == 16)                                                                                               \
            STEPS_IN_ASM(SIXTEEN(STEP_##rows), rows);                                                                  \
        else if (count == 8)                                                                                           \
            STEPS_IN_ASM(EIGHT(STEP_##rows), rows);                                                                    \
        else                                                                                                           \
            STEPS_IN_ASM(STEP_##rows(0), rows);                                                                        \
        break;

/* 16 steps of k, 8 or 1, of `rows` rows, `lda` bytes apart, of which a3 is the fourth, for a panel of floats. */
VINLINE void avx2_steps(const int count, const int rows, const char *a, const char *a3, int64_t lda, const char *b,
                        vf (*acc)[8])
{
    switch (rows) {
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
        CASE(5)
        CASE(6)
    }
}
#else
#define HAS_AVX2_STEPS 0
#endif

#endif
