/* SPDX-License-Identifier: Apache-2.0
 *
 * Single elements of floating-point tensors as double, and offsets in boxes of strides: what reference kernels that are
 * not element-wise (normalisations, losses, attention) are written with.
 */
#ifndef GR_ELEM_H
#define GR_ELEM_H

#include "loops.h"

static inline double gr_at(const gr_tensor *t, int64_t i)
{
    double v = 0;
    gr_load_f64(t->dtype, 1, t->data, i, 1, &v);
    return v;
}

/* The same of a constant that stands at any address. */
static inline double gr_at_unaligned(const gr_tensor *t, int64_t i)
{
    double value = 0;
    GR_DISPATCH_FLOATS(t->dtype, T, {
        T x;
        memcpy(&x, (const char *)t->data + i * (int64_t)sizeof x, sizeof x);
        value = (double)GR_GET(x);
    })
    return value;
}

static inline void gr_at_put(const gr_tensor *t, int64_t i, double v) { gr_store_f64(t->dtype, 1, &v, t->data, i); }

/* v as a tensor of that floating-point type would hold it. */
static inline double gr_rounded(gr_dtype t, double v)
{
    _Alignas(8) unsigned char cell[8] = {0};
    gr_store_f64(t, 1, &v, cell, 0);
    gr_load_f64(t, 1, cell, 0, 1, &v);
    return v;
}

static inline const gr_tensor *gr_step_in(const gr_step *s, uint32_t i) { return i < s->nin ? s->in[i] : NULL; }
static inline const gr_tensor *gr_step_out(const gr_step *s, uint32_t o) { return o < s->nout ? s->out[o] : NULL; }
/* Size of the team that scratch of a step is made for. */
static inline int gr_step_threads(const gr_step *s) { return s->threads > 0 ? s->threads : 1; }

/* n elements of a floating-point tensor as float: in place if it holds floats, else converted into `buffer`. */
static inline const float *gr_row_read(const gr_tensor *t, int64_t first, int64_t n, float *buffer)
{
    if (t->dtype == GR_FLOAT) return (const float *)t->data + first;
    gr_load_f32(t->dtype, n, t->data, first, 1, buffer);
    return buffer;
}
/* Where to put n floats for t: into t itself or `buffer`; gr_row_write completes it. */
static inline float *gr_row_open(const gr_tensor *t, int64_t first, float *buffer)
{
    return t->dtype == GR_FLOAT ? (float *)t->data + first : buffer;
}
static inline void gr_row_write(const gr_tensor *t, int64_t first, int64_t n, const float *row)
{
    if (t->dtype != GR_FLOAT) gr_store_f32(t->dtype, n, row, t->data, first);
}

/* Product of dims[first..last). */
static inline int64_t gr_extent(const gr_tensor *t, int first, int last)
{
    int64_t n = 1;
    for (int i = first; i < last; i++) n *= t->dims[i];
    return n;
}

/* Offset of the index-th element, in row-major order, of a box with these strides. */
static inline int64_t gr_offset(int rank, const int64_t *dims, const int64_t *strides, int64_t index)
{
    int64_t offset = 0;
    for (int i = rank - 1; i >= 0; i--) {
        offset += index % dims[i] * strides[i];
        index /= dims[i];
    }
    return offset;
}

/* Input i is absent, has an unknown shape, or repeats over the dims of input x and never the other way round. */
static inline gr_status gr_require_onto(const gr_infer *c, uint32_t i, uint32_t x, gr_err *err)
{
    if (!gr_rank_known(c, i) || !gr_rank_known(c, x)) return GR_OK;
    const gr_type *a = c->in[i], *b = c->in[x];
    if (a->rank > b->rank)
        return gr_fail(err, GR_EMODEL, "input %u has rank %d, more than rank %d of input %u", i, a->rank, b->rank, x);
    for (int k = 0; k < a->rank; k++) {
        gr_dim d = a->dims[k], onto = b->dims[k + b->rank - a->rank], unused;
        bool fits = gr_dim_known(d) && gr_dim_known(onto) ? d.k == 1 || d.k == onto.k
                                                          : gr_sym_broadcast(c->syms, d, onto, &unused);
        if (!fits)
            return gr_fail(err, GR_EMODEL, "dimension %s of input %u does not broadcast to %s of input %u",
                           gr_sym_text(c->syms, d), i, gr_sym_text(c->syms, onto), x);
    }
    return GR_OK;
}

#endif
