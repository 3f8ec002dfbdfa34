/* SPDX-License-Identifier: Apache-2.0
 *
 * oneDNN, the only file that includes it. 2.6 and 3.x differ in how descriptors are passed and primitives described;
 * the first part hides that.
 *
 * A primitive belongs to its sizes and strides, not to a node: all layers share a few, which a bounded table holds.
 * Nothing is created in a run: the handles of memory objects are changed, and scratch comes from the step.
 */
#include "dnnl.h"
#include "dnnl_calls.h"
#include "simd/simd.h"
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    KEPT = 64,          /* primitives kept although nobody uses them */
    AVX512_CORE = 0x27, /* bits of dnnl_cpu_isa_avx512_core, which 3.x numbers so, too */
    LIBRARY_CACHE = 32, /* primitives that the library's own cache keeps; ours has those that matter */
};

/* ---- descriptors ---- */

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t desc; /* owned */
typedef const_dnnl_memory_desc_t desc_ref;
static bool desc_strided(desc *d, int n, const dnnl_dim_t *dims, const dnnl_dim_t *strides)
{
    return dnnl.memory_desc_create_with_strides(d, n, dims, dnnl_f32, strides) == dnnl_success;
}
static void desc_free(desc *d)
{
    if (*d) dnnl.memory_desc_destroy(*d);
    *d = NULL;
}
static dnnl_status_t matmul_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const desc *a, const desc *b,
                                 const desc *c, dnnl_primitive_attr_t attr)
{
    return dnnl.matmul_primitive_desc_create(pd, engine, *a, *b, NULL, *c, attr);
}
#else
typedef dnnl_memory_desc_t desc;
typedef const dnnl_memory_desc_t *desc_ref;
static bool desc_strided(desc *d, int n, const dnnl_dim_t *dims, const dnnl_dim_t *strides)
{
    return dnnl.memory_desc_init_by_strides(d, n, dims, dnnl_f32, strides) == dnnl_success;
}
static void desc_free(desc *d) { (void)d; }
static dnnl_status_t matmul_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const desc *a, const desc *b,
                                 const desc *c, dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t d;
    dnnl_status_t status = dnnl.matmul_desc_init(&d, a, b, NULL, c);
    return status == dnnl_success ? dnnl.primitive_desc_create(pd, &d, attr, engine, NULL) : status;
}
#endif

/* ---- the process-wide part: engine and primitives ---- */

typedef struct primitive {
    struct primitive *next;
    gr_dnnl_spec spec;
    int threads;
    int users;
    unsigned long used; /* time of last use */
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t object;
} primitive;

static struct {
    bool loaded;
    dnnl_engine_t engine; /* NULL: oneDNN cannot be used */
    bool fast;            /* has its fast kind of implementation */
    pthread_mutex_t lock; /* for what follows */
    primitive *list;
    int count;
    unsigned long time;
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Version 2 has its fast kind with AVX-512 only; elsewhere the library need not even be loaded. */
static bool may_be_fast(void) { return DNNL_VERSION_MAJOR >= 3 || !strcmp(gr_simd_best()->name, "avx512"); }

static void load(void) { shared.loaded = dnnl_load(); }

static bool loaded(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    return shared.loaded;
}

const char *gr_dnnl_version(void)
{
    static char text[32];
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    if (!loaded()) return "none";
    pthread_mutex_lock(&lock);
    const dnnl_version_t *v = dnnl.version();
    if (!text[0]) snprintf(text, sizeof text, "%d.%d.%d", v->major, v->minor, v->patch);
    pthread_mutex_unlock(&lock);
    return text;
}

static void start(void)
{
    int capacity;
    if (!loaded()) return;
    const unsigned target = (unsigned)dnnl.get_effective_cpu_isa();
    shared.fast = DNNL_VERSION_MAJOR >= 3 || (target & AVX512_CORE) == AVX512_CORE;
    if (!getenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY") && dnnl.get_primitive_cache_capacity(&capacity) == dnnl_success &&
        capacity > LIBRARY_CACHE)
        dnnl.set_primitive_cache_capacity(LIBRARY_CACHE);
    if (dnnl.engine_create(&shared.engine, dnnl_cpu, 0) != dnnl_success) shared.engine = NULL;
}

/* Whether a product may be the library's; it is loaded then. */
static bool is_used(bool any_kind, gr_why *why)
{
    static pthread_once_t started = PTHREAD_ONCE_INIT;
    if (!any_kind && !may_be_fast()) return gr_decline(why, "oneDNN is fast with AVX-512 only");
    pthread_once(&started, start);
    if (!shared.engine) return gr_decline(why, "oneDNN is not usable here");
    return any_kind || shared.fast || gr_decline(why, "oneDNN is fast with AVX-512 only");
}

/* ---- descriptors of a product ---- */

typedef struct operands {
    int ndims;
    desc a, b, c;
} operands;

static void operands_free(operands *o)
{
    desc_free(&o->a);
    desc_free(&o->b);
    desc_free(&o->c);
}

/* The matrix dims behind batch dims; an operand that repeats has batch dims of size 1. */
static bool strided(desc *d, const gr_dnnl_spec *s, const int64_t *batch_strides, int64_t rows, int64_t cols,
                    int64_t row, int64_t col)
{
    dnnl_dims_t dims, strides;
    for (int i = 0; i < s->nbatch; i++) {
        dims[i] = batch_strides[i] ? s->batch[i] : 1;
        strides[i] = batch_strides[i];
    }
    dims[s->nbatch] = rows;
    strides[s->nbatch] = row;
    dims[s->nbatch + 1] = cols;
    strides[s->nbatch + 1] = col;
    /* Strides of dims of size 1 mean nothing, but layouts are recognised by them: let them be those of a dense tensor.
     */
    int64_t dense = 1;
    for (int i = s->nbatch + 1; i >= 0; i--) {
        if (dims[i] == 1) strides[i] = dense;
        if (strides[i] * dims[i] > dense) dense = strides[i] * dims[i];
    }
    return desc_strided(d, s->nbatch + 2, dims, strides);
}

static bool describe(const gr_dnnl_spec *s, operands *o)
{
    int64_t c_batch[GR_DNNL_MAX_BATCH];
    for (int64_t i = s->nbatch - 1, stride = s->m * s->n; i >= 0; stride *= s->batch[i--]) c_batch[i] = stride;
    return strided(&o->a, s, s->a_batch, s->m, s->k, s->a_row, s->a_col) &&
           strided(&o->b, s, s->b_batch, s->k, s->n, s->b_row, s->b_col) &&
           strided(&o->c, s, c_batch, s->m, s->n, s->n, 1);
}

static const char *implementation(const_dnnl_primitive_desc_t pd)
{
    const char *name = NULL;
    if (dnnl.primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) != dnnl_success || !name) return "unknown";
    return name;
}

/* The library's fast kind of implementation, or any if that is asked for. */
static bool accepted(const gr_dnnl_spec *s, const_dnnl_primitive_desc_t pd, gr_why *why)
{
    const char *name = implementation(pd);
    if (s->any_kind || !strncmp(name, "brg", 3)) return true;
    return gr_decline(why, "oneDNN has only '%s' for it", name);
}

/* ---- primitives ---- */

static void primitive_free(primitive *p)
{
    if (p->object) dnnl.primitive_destroy(p->object);
    if (p->pd) dnnl.primitive_desc_destroy(p->pd);
    gr_free(p);
}

static bool spec_same(const gr_dnnl_spec *x, const gr_dnnl_spec *y)
{
    const size_t dims = (size_t)x->nbatch * sizeof *x->batch;
    return x->m == y->m && x->n == y->n && x->k == y->k && x->nbatch == y->nbatch && x->a_row == y->a_row &&
           x->a_col == y->a_col && x->b_row == y->b_row && x->b_col == y->b_col && x->any_kind == y->any_kind &&
           !memcmp(x->batch, y->batch, dims) && !memcmp(x->a_batch, y->a_batch, dims) &&
           !memcmp(x->b_batch, y->b_batch, dims);
}

static primitive *primitive_new(const gr_dnnl_spec *s, int threads, gr_why *why)
{
    primitive *p = gr_calloc(1, sizeof *p);
    if (!p) {
        gr_decline(why, "out of memory");
        return NULL;
    }
    operands o = {0};
    dnnl_primitive_attr_t attr = NULL;
    p->spec = *s;
    p->threads = threads;
    bool good = describe(s, &o) && dnnl.primitive_attr_create(&attr) == dnnl_success &&
                dnnl.primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) == dnnl_success &&
                matmul_desc(&p->pd, shared.engine, &o.a, &o.b, &o.c, attr) == dnnl_success;
    if (!good) gr_decline(why, "oneDNN refuses the product");
    good = good && accepted(s, p->pd, why);
    if (good && dnnl.primitive_create(&p->object, p->pd) != dnnl_success)
        good = gr_decline(why, "oneDNN cannot make the primitive");
    if (attr) dnnl.primitive_attr_destroy(attr);
    operands_free(&o);
    if (good) return p;
    primitive_free(p);
    return NULL;
}

/* Free the one that was used longest ago while more than KEPT have no user. The lock is held. */
static void primitives_trim(void)
{
    for (;;) {
        primitive **oldest = NULL;
        int idle = 0;
        for (primitive **p = &shared.list; *p; p = &(*p)->next) {
            if ((*p)->users) continue;
            idle++;
            if (!oldest || (*p)->used < (*oldest)->used) oldest = p;
        }
        if (idle <= KEPT) return;
        primitive *gone = *oldest;
        *oldest = gone->next;
        primitive_free(gone);
    }
}

static primitive *primitive_get(const gr_dnnl_spec *s, gr_why *why)
{
    const int threads = omp_get_max_threads();
    pthread_mutex_lock(&shared.lock);
    primitive *p = shared.list;
    while (p && !(p->threads == threads && spec_same(&p->spec, s))) p = p->next;
    if (!p && (p = primitive_new(s, threads, why))) {
        p->next = shared.list;
        shared.list = p;
    }
    if (p) {
        p->users++;
        p->used = ++shared.time;
    }
    pthread_mutex_unlock(&shared.lock);
    return p;
}

static void primitive_put(primitive *p)
{
    pthread_mutex_lock(&shared.lock);
    p->users--;
    primitives_trim();
    pthread_mutex_unlock(&shared.lock);
}

/* ---- products ---- */

enum { ARG_A, ARG_B, ARG_C, ARG_SCRATCH, ARGS };

struct gr_dnnl_matmul {
    primitive *primitive;
    dnnl_stream_t stream;
    size_t scratch;
    int nargs;
    dnnl_exec_arg_t args[ARGS];
    dnnl_memory_t memory[ARGS]; /* NULL: the product has no such operand */
};

static bool add_argument(gr_dnnl_matmul *m, int which, int argument, desc_ref d)
{
    if (dnnl.memory_create(&m->memory[which], d, shared.engine, DNNL_MEMORY_NONE) != dnnl_success) {
        m->memory[which] = NULL;
        return false;
    }
    m->args[m->nargs++] = (dnnl_exec_arg_t){argument, m->memory[which]};
    return true;
}

static bool arguments(gr_dnnl_matmul *m)
{
    const_dnnl_primitive_desc_t pd = m->primitive->pd;
    const desc_ref scratch = dnnl.primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    m->scratch = scratch ? dnnl.memory_desc_get_size(scratch) : 0;
    return add_argument(m, ARG_A, DNNL_ARG_SRC, dnnl.primitive_desc_query_md(pd, dnnl_query_src_md, 0)) &&
           add_argument(m, ARG_B, DNNL_ARG_WEIGHTS, dnnl.primitive_desc_query_md(pd, dnnl_query_weights_md, 0)) &&
           add_argument(m, ARG_C, DNNL_ARG_DST, dnnl.primitive_desc_query_md(pd, dnnl_query_dst_md, 0)) &&
           (!m->scratch || add_argument(m, ARG_SCRATCH, DNNL_ARG_SCRATCHPAD, scratch)) &&
           dnnl.stream_create(&m->stream, shared.engine, dnnl_stream_default_flags) == dnnl_success;
}

gr_dnnl_matmul *gr_dnnl_new(const gr_dnnl_spec *spec, gr_why *why)
{
    if (!is_used(spec->any_kind, why)) return NULL;
    bool empty = spec->m <= 0 || spec->n <= 0 || spec->k <= 0;
    for (int i = 0; i < spec->nbatch; i++) empty = empty || spec->batch[i] <= 0;
    if (empty) {
        gr_decline(why, "a dimension of size 0");
        return NULL;
    }
    gr_dnnl_matmul *m = gr_calloc(1, sizeof *m);
    if (!m || !(m->primitive = primitive_get(spec, why))) {
        if (!m) gr_decline(why, "out of memory");
        gr_free(m);
        return NULL;
    }
    if (arguments(m)) return m;
    gr_decline(why, "oneDNN cannot make memory objects");
    gr_dnnl_free(m);
    return NULL;
}

void gr_dnnl_free(gr_dnnl_matmul *m)
{
    if (!m) return;
    for (int i = 0; i < ARGS; i++)
        if (m->memory[i]) dnnl.memory_destroy(m->memory[i]);
    if (m->stream) dnnl.stream_destroy(m->stream);
    primitive_put(m->primitive);
    gr_free(m);
}

size_t gr_dnnl_scratch(const gr_dnnl_matmul *m) { return m->scratch; }

static bool point(gr_dnnl_matmul *m, int which, const void *data)
{
    return !m->memory[which] || dnnl.memory_set_data_handle(m->memory[which], (void *)(uintptr_t)data) == dnnl_success;
}

gr_status gr_dnnl_run(gr_dnnl_matmul *m, const float *a, const float *b, float *c, void *scratch, gr_err *err)
{
    if (!point(m, ARG_A, a) || !point(m, ARG_B, b) || !point(m, ARG_C, c) || !point(m, ARG_SCRATCH, scratch))
        return gr_fail(err, GR_ENOMEM, "oneDNN does not take the operands of a matrix product");
    const dnnl_status_t status = dnnl.primitive_execute(m->primitive->object, m->stream, m->nargs, m->args);
    if (status == dnnl_success && dnnl.stream_wait(m->stream) == dnnl_success) return GR_OK;
    return gr_fail(err, GR_ENOMEM, "oneDNN cannot compute a matrix product (status %d)", (int)status);
}
