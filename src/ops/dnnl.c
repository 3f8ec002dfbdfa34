/* SPDX-License-Identifier: Apache-2.0
 *
 * oneDNN, the only file that includes it. 2.6 and 3.x differ in how descriptors are passed and primitives described;
 * the first part hides that.
 *
 * A weight's layout is what the library picks for 128 rows; that explicit layout then serves every number of rows. A
 * primitive belongs to its sizes, types, layout and epilogue, not to a node: all layers share a few, which a bounded
 * table holds. Nothing is created in a run: the handles of memory objects are changed, and scratch comes from the step.
 */
#include "dnnl.h"
#include "dnnl_calls.h"
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PROBE_ROWS = 128,
    KEPT = 64,          /* primitives kept although nobody uses them */
    AVX512_CORE = 0x27, /* bits of dnnl_cpu_isa_avx512_core, which 3.x numbers so, too */
    LIBRARY_CACHE = 32, /* primitives that the library's own cache keeps; ours has those that matter */
};

/* ---- descriptors ---- */

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t desc; /* owned */
typedef const_dnnl_memory_desc_t desc_ref;
static desc_ref ref(const desc *d) { return *d; }
static bool desc_strided(desc *d, int n, const dnnl_dim_t *dims, const dnnl_dim_t *strides)
{
    return dnnl.memory_desc_create_with_strides(d, n, dims, dnnl_f32, strides) == dnnl_success;
}
static bool desc_any(desc *d, int n, const dnnl_dim_t *dims)
{
    return dnnl.memory_desc_create_with_tag(d, n, dims, dnnl_f32, dnnl_format_tag_any) == dnnl_success;
}
static bool desc_copy(desc *d, desc_ref from) { return dnnl.memory_desc_clone(d, from) == dnnl_success; }
static uint64_t desc_hash(const desc *d) { return (uint64_t)(uintptr_t)*d; } /* opaque: like no other */
static void desc_free(desc *d)
{
    if (*d) dnnl.memory_desc_destroy(*d);
    *d = NULL;
}
static dnnl_status_t matmul_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const desc *a, const desc *b,
                                 const desc *bias, const desc *c, dnnl_primitive_attr_t attr)
{
    return dnnl.matmul_primitive_desc_create(pd, engine, *a, *b, bias ? *bias : NULL, *c, attr);
}
static dnnl_status_t append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t kind, float alpha)
{
    return dnnl.post_ops_append_eltwise(ops, kind, alpha, 0);
}
#else
typedef dnnl_memory_desc_t desc;
typedef const dnnl_memory_desc_t *desc_ref;
static desc_ref ref(const desc *d) { return d; }
static bool desc_strided(desc *d, int n, const dnnl_dim_t *dims, const dnnl_dim_t *strides)
{
    return dnnl.memory_desc_init_by_strides(d, n, dims, dnnl_f32, strides) == dnnl_success;
}
static bool desc_any(desc *d, int n, const dnnl_dim_t *dims)
{
    return dnnl.memory_desc_init_by_tag(d, n, dims, dnnl_f32, dnnl_format_tag_any) == dnnl_success;
}
static bool desc_copy(desc *d, desc_ref from)
{
    *d = *from;
    return true;
}
static uint64_t desc_hash(const desc *d)
{
    uint64_t h = 0;
    for (size_t i = 0; i < sizeof *d; i++) h = (h ^ ((const unsigned char *)d)[i]) * UINT64_C(0x100000001B3);
    return h;
}
static void desc_free(desc *d) { (void)d; }
static dnnl_status_t matmul_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const desc *a, const desc *b,
                                 const desc *bias, const desc *c, dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t d;
    dnnl_status_t status = dnnl.matmul_desc_init(&d, a, b, bias, c);
    return status == dnnl_success ? dnnl.primitive_desc_create(pd, &d, attr, engine, NULL) : status;
}
static dnnl_status_t append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t kind, float alpha)
{
    return dnnl.post_ops_append_eltwise(ops, 1, kind, alpha, 0);
}
#endif

static void desc_release(void *d)
{
    desc_free(d);
    gr_free(d);
}

/* ---- the process-wide part: engine and primitives ---- */

typedef struct primitive {
    struct primitive *next;
    gr_dnnl_spec spec;
    int threads;
    bool packed;   /* B is in the layout `weights` */
    desc weights;
    int users;
    unsigned long used; /* time of last use */
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t object;
} primitive;

static struct {
    bool loaded;
    char layout[64];      /* what packs of weights are good for */
    dnnl_engine_t engine; /* NULL: oneDNN cannot be used */
    enum { AUTO, NEVER, ALWAYS, SLOW } mode; /* SLOW: its fast kind does not exist for this CPU */
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

static void choose_mode(void)
{
    const char *mode = getenv("GRAPHRUN_DNNL");
    if (!may_be_fast()) shared.mode = SLOW;
    if (mode && !strcmp(mode, "never")) shared.mode = NEVER;
    if (mode && !strcmp(mode, "always")) shared.mode = ALWAYS;
}

static void start(void)
{
    int capacity;
    if (!loaded()) return;
    const unsigned target = (unsigned)dnnl.get_effective_cpu_isa();
    if (shared.mode == AUTO && DNNL_VERSION_MAJOR < 3 && (target & AVX512_CORE) != AVX512_CORE) return;
    snprintf(shared.layout, sizeof shared.layout, "oneDNN %s for %x", gr_dnnl_version(), target);
    if (!getenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY") && dnnl.get_primitive_cache_capacity(&capacity) == dnnl_success &&
        capacity > LIBRARY_CACHE)
        dnnl.set_primitive_cache_capacity(LIBRARY_CACHE);
    if (dnnl.engine_create(&shared.engine, dnnl_cpu, 0) != dnnl_success) shared.engine = NULL;
}

/* Whether a product may be the library's; it is loaded then. */
static bool is_used(bool constant_weights, gr_why *why)
{
    static pthread_once_t chosen = PTHREAD_ONCE_INIT, started = PTHREAD_ONCE_INIT;
    pthread_once(&chosen, choose_mode);
    if (shared.mode == NEVER) return gr_decline(why, "oneDNN is switched off");
    if (shared.mode == SLOW) return gr_decline(why, "oneDNN is fast with AVX-512 only");
    if (constant_weights && shared.mode != ALWAYS) return gr_decline(why, "constant weights are for the packed kernel");
    pthread_once(&started, start);
    return shared.engine || gr_decline(why, "oneDNN is not usable here");
}

/* ---- descriptors of a product ---- */

typedef struct operands {
    int ndims;
    desc a, b, bias, c;
} operands;

static void operands_free(operands *o)
{
    desc_free(&o->a);
    desc_free(&o->b);
    desc_free(&o->bias);
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

static bool describe(const gr_dnnl_spec *s, const desc *weights, operands *o)
{
    int64_t c_batch[GR_DNNL_MAX_BATCH];
    for (int64_t i = s->nbatch - 1, stride = s->m * s->n; i >= 0; stride *= s->batch[i--]) c_batch[i] = stride;
    const int64_t none[GR_DNNL_MAX_BATCH] = {0};
    return strided(&o->a, s, s->a_batch, s->m, s->k, s->a_row, s->a_col) &&
           (weights ? desc_copy(&o->b, ref(weights)) : strided(&o->b, s, s->b_batch, s->k, s->n, s->b_row, s->b_col)) &&
           (!s->bias || strided(&o->bias, s, none, 1, s->n, s->n, 1)) &&
           strided(&o->c, s, c_batch, s->m, s->n, s->n, 1);
}

static bool epilogue(const gr_dnnl_spec *s, const desc *c, dnnl_post_ops_t ops)
{
    dnnl_status_t status = dnnl_success;
    switch (s->act) {
    case GR_ACT_NONE: break;
    case GR_ACT_GELU_ERF: status = append_eltwise(ops, dnnl_eltwise_gelu_erf, 0); break;
    case GR_ACT_GELU_TANH: status = append_eltwise(ops, dnnl_eltwise_gelu_tanh, 0); break;
    case GR_ACT_RELU: status = append_eltwise(ops, dnnl_eltwise_relu, 0); break;
    case GR_ACT_TANH: status = append_eltwise(ops, dnnl_eltwise_tanh, 0); break;
    case GR_ACT_SIGMOID: status = append_eltwise(ops, dnnl_eltwise_logistic, 0); break;
    case GR_ACT_SILU: status = append_eltwise(ops, dnnl_eltwise_swish, 1); break;
    case GR_ACT_QUICK_GELU: status = append_eltwise(ops, dnnl_eltwise_swish, 1.702f); break;
    }
    if (status == dnnl_success && s->residual) status = dnnl.post_ops_append_binary(ops, dnnl_binary_add, ref(c));
    return status == dnnl_success;
}

static bool attributes(const gr_dnnl_spec *s, const desc *c, dnnl_primitive_attr_t *attr)
{
    dnnl_post_ops_t ops = NULL;
    bool good = dnnl.primitive_attr_create(attr) == dnnl_success &&
                dnnl.primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user) == dnnl_success &&
                dnnl.post_ops_create(&ops) == dnnl_success && epilogue(s, c, ops) &&
                dnnl.primitive_attr_set_post_ops(*attr, ops) == dnnl_success;
    if (ops) dnnl.post_ops_destroy(ops);
    return good;
}

static const char *implementation(const_dnnl_primitive_desc_t pd)
{
    const char *name = NULL;
    if (dnnl.primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) != dnnl_success || !name) return "unknown";
    return name;
}

/* The library's fast kind of implementation, or any if that is asked for. */
static bool accepted(const_dnnl_primitive_desc_t pd, gr_why *why)
{
    const char *name = implementation(pd);
    if (shared.mode == ALWAYS || !strncmp(name, "brg", 3)) return true;
    return gr_decline(why, "oneDNN has only '%s' for it", name);
}

/* ---- weights ---- */

static bool reorder(const desc *from, const void *source, const desc *to, void *target)
{
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t object = NULL;
    dnnl_memory_t in = NULL, out = NULL;
    dnnl_stream_t stream = NULL;
    bool good = dnnl.reorder_primitive_desc_create(&pd, ref(from), shared.engine, ref(to), shared.engine, NULL) ==
                    dnnl_success &&
                dnnl.primitive_create(&object, pd) == dnnl_success &&
                dnnl.memory_create(&in, ref(from), shared.engine, (void *)(uintptr_t)source) == dnnl_success &&
                dnnl.memory_create(&out, ref(to), shared.engine, target) == dnnl_success &&
                dnnl.stream_create(&stream, shared.engine, dnnl_stream_default_flags) == dnnl_success;
    if (good) {
        const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, in}, {DNNL_ARG_TO, out}};
        good = dnnl.primitive_execute(object, stream, 2, args) == dnnl_success &&
               dnnl.stream_wait(stream) == dnnl_success;
    }
    if (stream) dnnl.stream_destroy(stream);
    if (out) dnnl.memory_destroy(out);
    if (in) dnnl.memory_destroy(in);
    if (object) dnnl.primitive_destroy(object);
    if (pd) dnnl.primitive_desc_destroy(pd);
    return good;
}

/* The layout for a constant B: what the library wants at PROBE_ROWS. */
static bool probe(const gr_dnnl_spec *s, desc *layout, gr_why *why)
{
    const gr_dnnl_spec plain = {.m = PROBE_ROWS, .n = s->n, .k = s->k, .a_row = s->k, .a_col = 1};
    const dnnl_dims_t dims = {s->k, s->n}, transposed = {1, s->k};
    operands o = {0};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    bool good = strided(&o.a, &plain, NULL, plain.m, plain.k, plain.k, 1) && desc_any(&o.b, 2, dims) &&
                strided(&o.c, &plain, NULL, plain.m, plain.n, plain.n, 1) && attributes(&plain, &o.c, &attr) &&
                matmul_desc(&pd, shared.engine, &o.a, &o.b, NULL, &o.c, attr) == dnnl_success;
    if (!good) gr_decline(why, "oneDNN refuses the product");
    good = good && accepted(pd, why);
    if (good && !strncmp(implementation(pd), "brg", 3))
        good = desc_copy(layout, dnnl.primitive_desc_query_md(pd, dnnl_query_weights_md, 0));
    else if (good) /* no layout of its own: for tests, one that the weights do not have already */
        good = desc_strided(layout, 2, dims, transposed);
    if (pd) dnnl.primitive_desc_destroy(pd);
    if (attr) dnnl.primitive_attr_destroy(attr);
    operands_free(&o);
    return good;
}

typedef struct pack_job {
    const gr_dnnl_spec *spec;
    const float *weights;
    desc layout; /* taken over by the pack */
} pack_job;

static bool make_pack(void *user, gr_pack *pack)
{
    pack_job *j = user;
    const gr_dnnl_spec plain = {0};
    desc from = {0}, *kept = gr_calloc(1, sizeof *kept);
    pack->size = dnnl.memory_desc_get_size(ref(&j->layout));
    pack->layout = desc_hash(&j->layout);
    bool good = kept && gr_pack_alloc(pack) &&
                strided(&from, &plain, NULL, j->spec->k, j->spec->n, j->spec->b_row, j->spec->b_col) &&
                desc_copy(kept, ref(&j->layout)) &&
                (pack->empty || reorder(&from, j->weights, kept, pack->data));
    desc_free(&from);
    if (good) {
        pack->extra = kept;
        pack->free_extra = desc_release;
        return true;
    }
    gr_pack_release(pack);
    if (kept) desc_release(kept);
    return false;
}

static const gr_pack *packed_weights(gr_packs *packs, const gr_dnnl_spec *s, const float *weights, gr_why *why)
{
    const gr_pack_key key = {.data = weights, .dtype = GR_FLOAT, .rows = s->k, .cols = s->n, .row = s->b_row,
                             .col = s->b_col, .layout = shared.layout};
    const gr_pack *pack = gr_packs_find(packs, &key);
    if (pack) return pack;
    pack_job j = {.spec = s, .weights = weights};
    if (!probe(s, &j.layout, why)) return NULL;
    pack = gr_packs_get(packs, &key, (size_t)s->k * (size_t)s->n * sizeof(float), make_pack, &j);
    desc_free(&j.layout);
    if (!pack) gr_decline(why, "no memory for packed weights");
    return pack;
}

/* ---- primitives ---- */

static void primitive_free(primitive *p)
{
    if (p->object) dnnl.primitive_destroy(p->object);
    if (p->pd) dnnl.primitive_desc_destroy(p->pd);
    desc_free(&p->weights);
    gr_free(p);
}

/* What a primitive is known by; the weights' own strides are not part of it once they are packed. */
static bool spec_same(const gr_dnnl_spec *x, const gr_dnnl_spec *y, bool packed)
{
    const size_t dims = (size_t)x->nbatch * sizeof *x->batch;
    return x->m == y->m && x->n == y->n && x->k == y->k && x->nbatch == y->nbatch && x->a_row == y->a_row &&
           x->a_col == y->a_col && x->bias == y->bias && x->residual == y->residual && x->act == y->act &&
           !memcmp(x->batch, y->batch, dims) && !memcmp(x->a_batch, y->a_batch, dims) &&
           !memcmp(x->b_batch, y->b_batch, dims) && (packed || (x->b_row == y->b_row && x->b_col == y->b_col));
}

static primitive *primitive_new(const gr_dnnl_spec *s, const desc *weights, int threads, gr_why *why)
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
    p->packed = weights != NULL;
    bool good = (!weights || desc_copy(&p->weights, ref(weights))) && describe(s, weights, &o) &&
                attributes(s, &o.c, &attr) &&
                matmul_desc(&p->pd, shared.engine, &o.a, &o.b, s->bias ? &o.bias : NULL, &o.c, attr) == dnnl_success;
    if (!good) gr_decline(why, "oneDNN refuses the product");
    good = good && accepted(p->pd, why);
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

static primitive *primitive_get(const gr_dnnl_spec *s, const desc *weights, gr_why *why)
{
    const int threads = omp_get_max_threads();
    pthread_mutex_lock(&shared.lock);
    primitive *p = shared.list;
    while (p && !(p->threads == threads && p->packed == (weights != NULL) && spec_same(&p->spec, s, p->packed) &&
                  (!weights || dnnl.memory_desc_equal(ref(&p->weights), ref(weights)))))
        p = p->next;
    if (!p && (p = primitive_new(s, weights, threads, why))) {
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

enum { ARG_A, ARG_B, ARG_C, ARG_BIAS, ARG_RESIDUAL, ARG_SCRATCH, ARGS };

struct gr_dnnl_matmul {
    primitive *primitive;
    dnnl_stream_t stream;
    size_t scratch;
    int nargs;
    dnnl_exec_arg_t args[ARGS];
    dnnl_memory_t memory[ARGS]; /* NULL: the product has no such operand */
};

static bool add_argument(gr_dnnl_matmul *m, int which, int argument, desc_ref d, void *data)
{
    if (dnnl.memory_create(&m->memory[which], d, shared.engine, data) != dnnl_success) {
        m->memory[which] = NULL;
        return false;
    }
    m->args[m->nargs++] = (dnnl_exec_arg_t){argument, m->memory[which]};
    return true;
}

static bool arguments(gr_dnnl_matmul *m, const gr_dnnl_spec *s, void *weights)
{
    const_dnnl_primitive_desc_t pd = m->primitive->pd;
    const desc_ref c = dnnl.primitive_desc_query_md(pd, dnnl_query_dst_md, 0);
    const desc_ref scratch = dnnl.primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    const int post_op = s->act == GR_ACT_NONE ? 0 : 1; /* place of the residual among them */
    m->scratch = scratch ? dnnl.memory_desc_get_size(scratch) : 0;
    return add_argument(m, ARG_A, DNNL_ARG_SRC, dnnl.primitive_desc_query_md(pd, dnnl_query_src_md, 0),
                        DNNL_MEMORY_NONE) &&
           add_argument(m, ARG_B, DNNL_ARG_WEIGHTS, dnnl.primitive_desc_query_md(pd, dnnl_query_weights_md, 0),
                        weights ? weights : DNNL_MEMORY_NONE) &&
           add_argument(m, ARG_C, DNNL_ARG_DST, c, DNNL_MEMORY_NONE) &&
           (!s->bias || add_argument(m, ARG_BIAS, DNNL_ARG_BIAS,
                                     dnnl.primitive_desc_query_md(pd, dnnl_query_weights_md, 1), DNNL_MEMORY_NONE)) &&
           (!s->residual || add_argument(m, ARG_RESIDUAL, DNNL_ARG_ATTR_MULTIPLE_POST_OP(post_op) | DNNL_ARG_SRC_1, c,
                                         DNNL_MEMORY_NONE)) &&
           (!m->scratch || add_argument(m, ARG_SCRATCH, DNNL_ARG_SCRATCHPAD, scratch, DNNL_MEMORY_NONE)) &&
           dnnl.stream_create(&m->stream, shared.engine, dnnl_stream_default_flags) == dnnl_success;
}

gr_dnnl_matmul *gr_dnnl_new(gr_packs *packs, const gr_dnnl_spec *spec, const float *weights, gr_why *why)
{
    if (!is_used(weights != NULL, why)) return NULL;
    bool empty = spec->m <= 0 || spec->n <= 0 || spec->k <= 0;
    for (int i = 0; i < spec->nbatch; i++) empty = empty || spec->batch[i] <= 0;
    if (empty) {
        gr_decline(why, "a dimension of size 0");
        return NULL;
    }
    const gr_pack *pack = weights ? packed_weights(packs, spec, weights, why) : NULL;
    if (weights && !pack) return NULL;
    gr_dnnl_matmul *m = gr_calloc(1, sizeof *m);
    if (!m || !(m->primitive = primitive_get(spec, pack ? pack->extra : NULL, why))) {
        if (!m) gr_decline(why, "out of memory");
        gr_free(m);
        return NULL;
    }
    if (arguments(m, spec, pack ? pack->data : NULL)) return m;
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
    return !m->memory[which] ||
           dnnl.memory_set_data_handle(m->memory[which], (void *)(uintptr_t)data) == dnnl_success;
}

gr_status gr_dnnl_run(gr_dnnl_matmul *m, const float *a, const float *b, const float *bias, const float *residual,
                      float *c, void *scratch, gr_err *err)
{
    if (!point(m, ARG_A, a) || (b && !point(m, ARG_B, b)) || !point(m, ARG_BIAS, bias) ||
        !point(m, ARG_RESIDUAL, residual) || !point(m, ARG_C, c) || !point(m, ARG_SCRATCH, scratch))
        return gr_fail(err, GR_ENOMEM, "oneDNN does not take the operands of a matrix product");
    const dnnl_status_t status = dnnl.primitive_execute(m->primitive->object, m->stream, m->nargs, m->args);
    if (status == dnnl_success && dnnl.stream_wait(m->stream) == dnnl_success) return GR_OK;
    return gr_fail(err, GR_ENOMEM, "oneDNN cannot compute a matrix product (status %d)", (int)status);
}
