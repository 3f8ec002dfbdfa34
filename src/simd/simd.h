/* SPDX-License-Identifier: Apache-2.0
 *
 * Own vector kernels for float32: one portable source, src/simd/kernels.c, compiled once per instruction set and chosen
 * at run time. Everything works on contiguous rows at any alignment; x and y may be the same memory. Results of an
 * element do not depend on its place in a row of the same length, nor on threads.
 */
#ifndef GR_SIMD_H
#define GR_SIMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum gr_simd_unary { /* y[i] = f(x[i]); error bounds in ulp are stated in kernels.c and tested */
    GR_V_EXP, GR_V_LOG, GR_V_ERF, GR_V_TANH, GR_V_SIGMOID, GR_V_GELU_ERF, GR_V_GELU_TANH, GR_V_QUICK_GELU, GR_V_SILU,
    GR_V_RELU, GR_V_SQRT, GR_V_NEG, GR_V_ABS, GR_V_RECIPROCAL, GR_V_UNARY_COUNT
};
enum gr_simd_binary { GR_V_ADD, GR_V_SUB, GR_V_MUL, GR_V_DIV, GR_V_MIN, GR_V_MAX, GR_V_BINARY_COUNT };

enum gr_gemm_store { /* how elements of constants are stored */
    GR_STORE_FLOAT, GR_STORE_HALF, GR_STORE_BFLOAT,
    GR_STORE_PAIRS /* of packed B: words of two bfloat16 numbers, of k and, in the upper half, of k + 1 */
};

/* Attention of some queries of one head: y = softmax(scale q k^T + bias) v. A row has the same bits whatever rows are
 * beside it, and keys of weight zero behind the others do not change them. */
enum { GR_ATTEND_ROWS = 24, GR_ATTEND_KEYS = 256 }; /* greatest number; keys that make a block */

typedef struct gr_attend {
    int64_t rows, head, v_head;
    int64_t first, keys; /* from the block with key `first` on, up to key `keys`, at least one */
    const float *q;
    int64_t q_row;
    float scale;
    const float *packed_k, *packed_v; /* from gr_gemm_small_pack: k as [head][keys], v as [depth][v_head] */
    int64_t depth;                    /* at least `keys` */
    /* Where packed_k is NULL, for one row of queries: both as they are, elements of a key or value contiguous. */
    const float *k, *v;
    int64_t k_row, v_row;
    const float *const *bias;         /* a pointer to [keys] for each row, or NULL */
    const int64_t *begin, *end;       /* keys that each row sees, or NULL: all */
    float cap;                        /* scores become cap * tanh(score / cap); 0: they do not */
    const float *const *factors;      /* weights of row i are multiplied by factors[i][key * factors_step], or NULL */
    int64_t factors_step;
    float *weights; /* [rows][weights_row], for the weights of keys before `keys` if first is 0, or NULL */
    int64_t weights_row;
    float empty;                      /* 0, or NaN: the result of a row of scores that are all -inf */
    float *y;
    int64_t y_row;
    float *room; /* GR_ATTEND_ROWS * (head + GR_ATTEND_KEYS), 64-byte aligned */
} gr_attend;

typedef struct gr_simd {
    const char *name; /* "avx512", "avx2", "base" */
    const char *bfloat, *pairs; /* the same for weights rounded to bfloat16 and pairs of them, for caches of packed weights */
    void (*unary[GR_V_UNARY_COUNT])(size_t n, const float *x, float *y);
    void (*binary[GR_V_BINARY_COUNT])(size_t n, const float *a, const float *b, float *y);
    void (*binary_scalar[GR_V_BINARY_COUNT])(size_t n, const float *a, float b, float *y); /* a op b */
    void (*scalar_binary[GR_V_BINARY_COUNT])(size_t n, float a, const float *b, float *y);
    /* y = softmax(x * scale + mask); mask may be NULL. Rows that are all -inf give NaN, as the formula does. */
    void (*softmax)(size_t n, const float *x, float scale, const float *mask, float *y);
    void (*attend)(const gr_attend *g);
    /* s = x + residual (residual may be NULL; s is also stored to sum if that is not NULL),
     * y = (s - mean(s)) / sqrt(var(s) + eps) * gamma + beta; two-pass variance; gamma and beta may be NULL. */
    void (*layernorm)(size_t n, const float *x, const float *residual, const float *gamma, const float *beta, float eps,
                      float *sum, float *y);
    /* Elements of 16 bits, at any address, as floats; `store` is not GR_STORE_FLOAT. */
    void (*widen)(enum gr_gemm_store store, size_t n, const void *x, float *y);
    float (*dot)(size_t n, const float *a, const float *b);
    float (*sum)(size_t n, const float *x);
    float (*max)(size_t n, const float *x);
    /* The inner loop of products with operands that stay in the first-level cache, for the speed that no product
     * exceeds: so many floating-point operations in `turns` turns. */
    double (*multiply)(int64_t turns);
} gr_simd;

/* The best for this CPU; GRAPHRUN_ISA=base|avx2|avx512 in the environment lowers it. Never NULL. */
const gr_simd *gr_simd_best(void);
/* Whether the CPU multiplies bfloat16 numbers; GRAPHRUN_BF16=always in the environment says so, for tests, and =never
 * denies it. */
bool gr_simd_has_bfloat(void);

/* ---- Matrix product with a packed right-hand side: C = act(alpha * A x B + bias) + residual ----
 * B is packed once into column panels. The sum over k of every element of C runs in the same order whatever m, threads
 * and position are, so a row has the same bits in any batch. */
enum gr_gemm_act {
    GR_ACT_NONE, GR_ACT_GELU_ERF, GR_ACT_GELU_TANH, GR_ACT_RELU, GR_ACT_TANH, GR_ACT_SIGMOID, GR_ACT_SILU,
    GR_ACT_QUICK_GELU
};

size_t gr_gemm_packed_size(int64_t k, int64_t n); /* bytes; depends on the instruction set in use */
/* B[k][n] is at b[k * row + n * col] (strides in elements; any byte alignment). Runs in parallel over panels. */
void gr_gemm_pack(int64_t k, int64_t n, const float *b, int64_t row, int64_t col, float *packed);
/* The same for elements of 16 bits, into half the size. */
void gr_gemm_pack_narrow(int64_t k, int64_t n, const void *b, int64_t row, int64_t col, void *packed);

/* Floats, rounded to bfloat16. */
void gr_gemm_pack_bfloat(int64_t k, int64_t n, const float *b, int64_t row, int64_t col, void *packed);
/* Numbers of any kind, rounded to bfloat16 and in pairs: room is that of gr_gemm_pairs(k) rows of floats. */
void gr_gemm_pack_pairs(enum gr_gemm_store from, int64_t k, int64_t n, const void *b, int64_t row, int64_t col,
                        void *packed);
static inline int64_t gr_gemm_pairs(int64_t k) { return k / 2 + k % 2; }
/* Rows of A for them, gr_gemm_pairs(k) words each, one behind the other. In parallel as gr_gemm_run. */
void gr_gemm_round(int64_t m, int64_t k, const float *a, int64_t lda, void *rows);
void gr_gemm_round_row(int64_t k, const float *a, void *row);

/* Of GR_STORE_PAIRS, A and B hold words of two bfloat16 numbers, and k and lda count words. Products are exact and
 * added up in floats, the upper first. */
typedef struct gr_gemm {
    int64_t m, n, k;
    const void *a;        /* floats, or words */
    int64_t lda;          /* row stride of A in elements; columns are contiguous */
    const void *packed;   /* from gr_gemm_pack; elements of 16 bits are widened as they are read */
    enum gr_gemm_store store;
    /* Where packed is NULL: B as in gr_gemm_pack, whose panels each thread packs into its part of `room` as it needs
     * them, gr_gemm_room bytes for each, 64-byte aligned. The bits are the same; for few rows only. */
    const void *plain;
    int64_t plain_row, plain_col;
    void *room;
    float alpha;
    const float *bias;     /* [n] or NULL */
    const float *residual; /* [m][n] with row stride ldc, or NULL; added after the activation */
    enum gr_gemm_act act;
    float *c;
    int64_t ldc;
    uint16_t *rounded;     /* C as gr_gemm_round makes it, n is even; or NULL. C may be NULL then */
} gr_gemm;
size_t gr_gemm_room(int64_t k); /* bytes for one thread; SIZE_MAX if too large */
/* Over the whole of C, with the current OpenMP team; in the calling thread alone if that is in a parallel region. C
 * must not overlap A or the residual. A, C and packed are aligned to their elements, bias and residual need not be. */
void gr_gemm_run(const gr_gemm *g);
/* The same for up to GR_GEMM_MAX products that do not depend on each other, shared out among the threads together. Each
 * has the bits that it has alone. */
enum { GR_GEMM_MAX = 8 };
void gr_gemm_run_all(const gr_gemm *g, int count);

/* A product of operands with any strides, B not constant, over a batch: for every index of the batch dims,
 * C = alpha * A x B. B is packed into scratch in each run; a batch of at least as many items as threads is spread over
 * the threads by item, else each item by itself is. */
typedef struct gr_gemm_batch {
    int64_t m, n, k;
    int nbatch;             /* number of batch dims, <= 14 */
    const int64_t *batch;   /* sizes of the batch dims */
    const float *a, *b;
    float *c;
    const int64_t *a_batch, *b_batch, *c_batch; /* strides of the batch dims, in elements as all strides; 0: repeats */
    int64_t a_row, a_col, b_row, b_col, c_row;  /* columns of C are contiguous */
    float alpha;
    void *scratch;          /* gr_gemm_batch_scratch bytes, 64-byte aligned */
} gr_gemm_batch;
/* Bytes of scratch for the sizes and strides in g and at most that many threads; false if they do not fit a size_t. */
bool gr_gemm_batch_scratch(const gr_gemm_batch *g, int threads, size_t *bytes);
void gr_gemm_batch_run(const gr_gemm_batch *g);

/* One small product in the calling thread, for use inside a parallel region: pack B once into memory of
 * gr_gemm_small_scratch bytes (64-byte aligned; SIZE_MAX if too large), multiply any number of row blocks with it. Rows
 * of A have contiguous columns, so do rows of C. B[k][n] is at b[k * row + n * col]. */
size_t gr_gemm_small_scratch(int64_t n, int64_t k);
void gr_gemm_small_pack(int64_t k, int64_t n, const float *b, int64_t row, int64_t col, void *packed);
void gr_gemm_small_packed(int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t a_row,
                          const void *packed, float *c, int64_t c_row);

#endif
