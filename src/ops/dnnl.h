/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products by oneDNN, behind types of our own: dnnl.c is the only file that knows oneDNN, 2.6 or 3.x.
 *
 * A product is used only if oneDNN has its fast kind of implementation for it ("brg..."), which needs AVX-512 in 2.x;
 * its other one packs weights anew in every call. The library is loaded when a product may be its. Constant weights are
 * not for it: it adds up in blocks of k and would give other bits than the packed kernel, which alone can leave rows
 * out and read weights of 16 bits.
 */
#ifndef GR_DNNL_H
#define GR_DNNL_H

#include "op.h"

enum { GR_DNNL_MAX_BATCH = 6 }; /* batch dims */

/* float32, C = A x B. Batch dims: stride 0 where an operand repeats; C is dense. */
typedef struct gr_dnnl_spec {
    int64_t m, n, k;
    int nbatch;
    int64_t batch[GR_DNNL_MAX_BATCH], a_batch[GR_DNNL_MAX_BATCH], b_batch[GR_DNNL_MAX_BATCH];
    int64_t a_row, a_col, b_row, b_col;
    bool any_kind; /* whatever implementation there is; for tests on CPUs that have no fast one */
} gr_dnnl_spec;

typedef struct gr_dnnl_matmul gr_dnnl_matmul; /* serves one run at a time */

/* NULL: declined, and *why says so. The current number of OpenMP threads is the one of the runs. */
gr_dnnl_matmul *gr_dnnl_new(const gr_dnnl_spec *spec, gr_why *why);
void gr_dnnl_free(gr_dnnl_matmul *m); /* NULL is allowed */
size_t gr_dnnl_scratch(const gr_dnnl_matmul *m);
/* `scratch` is 64-byte aligned. */
gr_status gr_dnnl_run(gr_dnnl_matmul *m, const float *a, const float *b, float *c, void *scratch, gr_err *err);

/* Of the library, as "2.6.3", or "none" if it cannot be loaded; a static string. */
const char *gr_dnnl_version(void);

#endif
