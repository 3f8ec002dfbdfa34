/* SPDX-License-Identifier: Apache-2.0
 *
 * Einsum. The equation is parsed into lists of labels once; for concrete shapes every label (and every dimension that
 * an ellipsis stands for) becomes an axis with a size and a stride in each operand and in the output, 0 where it does
 * not occur. A label that occurs twice in a term has the sum of its strides: a diagonal. Two float32 operands that make
 * up a batched matrix product go to gr_gemm_batch_run, all else is loops over the axes.
 */
#include "elem.h"
#include "simd/simd.h"

enum { LETTERS = 52, ELLIPSIS = LETTERS, MAX_LABELS = 64, MAX_AXES = LETTERS + GR_MAX_RANK };

typedef struct term {
    int n;
    bool ellipsis;
    int8_t label[MAX_LABELS]; /* 0..51 or ELLIPSIS */
} term;

typedef struct params {
    uint32_t nterms;
    const term *terms;
    term out;
} params;

/* ---- the equation ---- */

static int letter(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    return -1;
}

static char letter_text(int label) { return (char)(label < 26 ? 'A' + label : 'a' + label - 26); }

/* Reads one term up to a comma, an arrow or the end. */
static gr_status parse_term(const char **at, term *t, gr_err *err)
{
    const char *s = *at;
    *t = (term){0};
    for (; *s && *s != ',' && !(s[0] == '-' && s[1] == '>'); s++) {
        if (*s == ' ') continue;
        int label = letter(*s);
        if (!strncmp(s, "...", 3)) {
            if (t->ellipsis) return gr_fail(err, GR_EMODEL, "the equation has two ellipses in one term");
            t->ellipsis = true;
            label = ELLIPSIS;
            s += 2;
        }
        if (label < 0)
            return gr_fail(err, GR_EMODEL,
                           "the equation has '%s' where a letter, an ellipsis, ',' or '->' was expected",
                           gr_show(((char[]){*s, 0})));
        if (t->n == MAX_LABELS)
            return gr_fail(err, GR_EUNSUPPORTED, "the equation has more than %d labels in a term", MAX_LABELS);
        t->label[t->n++] = (int8_t)label;
    }
    *at = s;
    return GR_OK;
}

/* How often each label occurs in all terms; [ELLIPSIS] likewise. */
static void count_labels(const params *p, int64_t *count)
{
    memset(count, 0, (LETTERS + 1) * sizeof *count);
    for (uint32_t i = 0; i < p->nterms; i++)
        for (int k = 0; k < p->terms[i].n; k++) count[p->terms[i].label[k]]++;
}

/* Without an arrow: the ellipsis, then labels that occur once, in the order of their codes. */
static void implicit_output(params *p, const int64_t *count)
{
    if (count[ELLIPSIS]) p->out.label[p->out.n++] = ELLIPSIS, p->out.ellipsis = true;
    for (int label = 0; label < LETTERS; label++)
        if (count[label] == 1) p->out.label[p->out.n++] = (int8_t)label;
}

static gr_status check_output(const params *p, const int64_t *count, gr_err *err)
{
    bool seen[LETTERS + 1] = {false};
    for (int k = 0; k < p->out.n; k++) {
        int label = p->out.label[k];
        if (label != ELLIPSIS && !count[label])
            return gr_fail(err, GR_EMODEL, "the equation's output has label '%c', which no input has",
                           letter_text(label));
        if (seen[label])
            return gr_fail(err, GR_EMODEL, "the equation's output has label '%c' twice", letter_text(label));
        seen[label] = true;
    }
    return GR_OK;
}

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    const char *s;
    int64_t count[LETTERS + 1];
    GR_TRY(gr_attr_string(attrs, "equation", NULL, &s, err));
    if (!s) return gr_fail(err, GR_EMODEL, "attribute 'equation' is missing");
    size_t nterms = 1;
    for (const char *c = s; *c; c++) nterms += *c == ',';
    term *terms = GR_NEWS(arena, nterms, term);
    if (!p || !terms) return gr_nomem(err);
    *out = p;
    p->terms = terms;
    p->nterms = (uint32_t)nterms;
    for (uint32_t i = 0; i < p->nterms; i++) {
        GR_TRY(parse_term(&s, &terms[i], err));
        if (i + 1 < p->nterms && *s++ != ',') return gr_fail(err, GR_EMODEL, "the equation has a ',' behind '->'");
    }
    count_labels(p, count);
    if (!*s) {
        implicit_output(p, count);
        return GR_OK;
    }
    s += 2;
    GR_TRY(parse_term(&s, &p->out, err));
    if (*s) return gr_fail(err, GR_EMODEL, "the equation has '%s' behind its output", gr_show(s));
    return check_output(p, count, err);
}

/* ---- shapes ---- */

/* Dimensions that the ellipsis of a term stands for, when the operand has that rank. */
static gr_status ellipsis_rank(const term *t, uint32_t i, int rank, int *out, gr_err *err)
{
    int named = t->n - t->ellipsis;
    if (t->ellipsis ? rank < named : rank != named)
        return gr_fail(err, GR_EMODEL, "input %u has rank %d, the equation gives it %s%d", i, rank,
                       t->ellipsis ? "at least " : "", named);
    *out = rank - named;
    return GR_OK;
}

/* Sizes of all labels, and of the ellipsis' dimensions aligned at its end; false in `known` where an operand's rank is
 * not known. */
typedef struct sizes {
    bool known[LETTERS], ranks_known;
    gr_dim label[LETTERS], ellipsis[GR_MAX_RANK];
    int rank; /* of the ellipsis: the greatest of all operands */
} sizes;

static gr_status merge(const gr_infer *c, uint32_t i, gr_dim *into, gr_dim d, gr_err *err)
{
    gr_dim old = *into;
    if (gr_sym_broadcast(c->syms, old, d, into)) return GR_OK;
    return gr_fail(err, GR_EMODEL, "dimension %s of input %u does not fit %s of an input before it",
                   gr_sym_text(c->syms, d), i, gr_sym_text(c->syms, old));
}

static gr_status measure_term(const gr_infer *c, uint32_t i, sizes *z, gr_err *err)
{
    const term *t = &GR_PARAMS(params, c)->terms[i];
    const gr_type *x = c->in[i];
    int extra = 0;
    if (x->rank > GR_MAX_RANK) return gr_fail(err, GR_EUNSUPPORTED, "rank %d is more than %d", x->rank, GR_MAX_RANK);
    GR_TRY(ellipsis_rank(t, i, x->rank, &extra, err));
    for (; z->rank < extra; z->rank++) z->ellipsis[GR_MAX_RANK - 1 - z->rank] = GR_DIM(1);
    for (int k = 0, d = 0; k < t->n; k++) {
        int label = t->label[k];
        if (label == ELLIPSIS) {
            for (int e = extra; e > 0; e--) GR_TRY(merge(c, i, &z->ellipsis[GR_MAX_RANK - e], x->dims[d++], err));
        } else if (!z->known[label]) {
            z->known[label] = true;
            z->label[label] = x->dims[d++];
        } else {
            GR_TRY(merge(c, i, &z->label[label], x->dims[d++], err));
        }
    }
    return GR_OK;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    sizes z = {.ranks_known = true};
    if (c->nin != p->nterms)
        return gr_fail(err, GR_EMODEL, "the equation has %u terms, but there are %u inputs", p->nterms, c->nin);
    for (uint32_t i = 0; i < c->nin; i++) {
        if (!gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
        GR_TRY(gr_require(c, i, GR_T_NUMBERS, err));
        GR_TRY(gr_require_same(c, i, 0, err));
        if (gr_rank_known(c, i))
            GR_TRY(measure_term(c, i, &z, err));
        else
            z.ranks_known = false;
    }
    gr_dtype dtype = c->in[0]->dtype;
    if (p->out.ellipsis && !z.ranks_known) return gr_set(c, 0, dtype, GR_RANK_UNKNOWN, NULL);
    int rank = p->out.n - p->out.ellipsis + (p->out.ellipsis ? z.rank : 0), at = 0;
    if (rank > GR_MAX_RANK)
        return gr_fail(err, GR_EUNSUPPORTED, "the output has rank %d, more than %d", rank, GR_MAX_RANK);
    gr_dim *d = gr_dims(c, rank);
    for (int k = 0; k < p->out.n; k++) {
        int label = p->out.label[k];
        if (label == ELLIPSIS)
            for (int e = z.rank; e > 0; e--) d[at++] = z.ellipsis[GR_MAX_RANK - e];
        else
            d[at++] = z.known[label] ? z.label[label] : gr_sym_fresh(c->syms);
    }
    return gr_set(c, 0, dtype, rank, d);
}

/* ---- axes ---- */

typedef struct plan {
    int n, nout; /* axes, the first nout of which are the output's, in its order */
    int64_t size[MAX_AXES];
    int64_t out[MAX_AXES];   /* strides */
    int64_t (*in)[MAX_AXES]; /* of operand i: in[i] */
} plan;

/* Axis of a label, added behind the others if it is new. */
static int axis_of(plan *g, int8_t *axes, int label)
{
    if (axes[label] < 0) {
        axes[label] = (int8_t)g->n;
        g->size[g->n] = 1;
        g->n++;
    }
    return axes[label];
}

enum { AXIS_KEYS = LETTERS + GR_MAX_RANK }; /* letters, then dims of the ellipsis counted from its end */

/* Calls for each dimension of a term: its axis key. */
static int term_keys(const term *t, int extra, int *keys)
{
    int n = 0;
    for (int k = 0; k < t->n; k++) {
        if (t->label[k] != ELLIPSIS)
            keys[n++] = t->label[k];
        else
            for (int e = extra; e > 0; e--) keys[n++] = LETTERS + e - 1;
    }
    return n;
}

static plan *plan_make(gr_step *s)
{
    const params *p = GR_PARAMS(params, s);
    plan *g = GR_NEW(s->arena, plan);
    int8_t axes[AXIS_KEYS];
    int keys[MAX_LABELS + GR_MAX_RANK], extra = 0;
    if (!g || !(g->in = gr_arena_array(s->arena, s->nin, sizeof *g->in))) return NULL;
    memset(axes, -1, sizeof axes);
    for (uint32_t i = 0; i < s->nin; i++) {
        int e = s->in[i]->rank - (p->terms[i].n - p->terms[i].ellipsis);
        if (e > extra) extra = e;
    }
    int n = term_keys(&p->out, p->out.ellipsis ? extra : 0, keys);
    int64_t dense[GR_MAX_RANK];
    gr_dense_strides(n, s->out[0]->dims, dense);
    for (int d = 0; d < n; d++) g->out[axis_of(g, axes, keys[d])] = dense[d];
    g->nout = g->n;
    for (uint32_t i = 0; i < s->nin; i++) {
        const gr_tensor *x = s->in[i];
        term_keys(&p->terms[i], x->rank - (p->terms[i].n - p->terms[i].ellipsis), keys);
        for (int d = 0; d < x->rank; d++) {
            int axis = axis_of(g, axes, keys[d]);
            if (x->dims[d] != 1) g->size[axis] = x->dims[d];
        }
    }
    for (uint32_t i = 0; i < s->nin; i++) {
        const gr_tensor *x = s->in[i];
        gr_dense_strides(x->rank, x->dims, dense);
        term_keys(&p->terms[i], x->rank - (p->terms[i].n - p->terms[i].ellipsis), keys);
        for (int d = 0; d < x->rank; d++)
            if (x->dims[d] != 1) g->in[i][axes[keys[d]]] += dense[d];
    }
    return g;
}

/* ---- ref: out[o] = sum over the other axes of the product of the operands ---- */

static bool ref_prepare(gr_step *s, gr_why *why)
{
    s->state = plan_make(s);
    return s->state || gr_decline(why, "out of memory");
}

static gr_status ref_run(const gr_step *s, gr_err *err)
{
    const plan *g = s->state;
    gr_dtype dtype = s->in[0]->dtype;
    int64_t outer = s->out[0]->elements, inner = 1;
    for (int a = g->nout; a < g->n; a++)
        if (__builtin_mul_overflow(inner, g->size[a], &inner))
            return gr_fail(err, GR_ELIMIT, "the sums of the equation have too many terms");
    for (int64_t o = 0; o < outer; o++) {
        double real = 0;
        uint64_t whole = 0; /* integers wrap at their width, of which these are the low bits */
        for (int64_t k = 0; k < inner; k++) {
            double product = 1;
            uint64_t whole_product = 1;
            for (uint32_t i = 0; i < s->nin; i++) {
                int64_t at = gr_offset(g->nout, g->size, g->in[i], o) +
                             gr_offset(g->n - g->nout, g->size + g->nout, g->in[i] + g->nout, k);
                uint64_t v = 0;
                if (gr_dtype_is_float(dtype))
                    product *= gr_at(s->in[i], at);
                else
                    gr_load_u64(dtype, 1, s->in[i]->data, at, 1, &v), whole_product *= v;
            }
            real += product;
            whole += whole_product;
        }
        if (gr_dtype_is_float(dtype))
            gr_at_put(s->out[0], o, real);
        else
            gr_store_u64(dtype, 1, &whole, s->out[0]->data, o);
    }
    return GR_OK;
}

/* ---- float32, two operands: C[batch, m, n] = A[batch, m, k] B[batch, k, n] ---- */

typedef struct side { /* axes that one loop of the product runs over, merged into one */
    int64_t size, a, b, c;
    bool used;
} side;

typedef struct product {
    gr_gemm_batch g;
    int swap; /* the second operand is A */
    int64_t batch[GR_MAX_RANK], a[GR_MAX_RANK], b[GR_MAX_RANK], c[GR_MAX_RANK];
} product;

/* Put an axis inside those of a loop, if the strides of all operands allow it. */
static bool side_merge(side *v, side axis)
{
    if (v->used && (v->a != axis.a * axis.size || v->b != axis.b * axis.size || v->c != axis.c * axis.size))
        return false;
    *v = (side){v->size * axis.size, axis.a, axis.b, axis.c, true};
    return true;
}

static bool side_into_batch(product *q, const side *v)
{
    if (!v->used) return true;
    if (q->g.nbatch == 14) return false; /* limit of gr_gemm_batch */
    int at = q->g.nbatch++;
    q->batch[at] = v->size, q->a[at] = v->a, q->b[at] = v->b, q->c[at] = v->c;
    return true;
}

/* Sorts the axes into m, n, k and batch. The last output axis is n (or m, and then the operands change places); an axis
 * of m or n that does not merge with its inner neighbours becomes a batch axis over which an operand repeats. */
static bool product_find(const plan *g, product *q, gr_why *why)
{
    side m = {.size = 1}, n = m, k = m;
    const int64_t *a = g->in[0], *b = g->in[1];
    int last = g->nout - 1;
    while (last >= 0 && g->size[last] == 1) last--;
    if (last >= 0 && a[last] && !b[last]) {
        q->swap = 1;
        a = g->in[1], b = g->in[0];
    }
    if (last >= 0 && a[last]) return gr_decline(why, "the last output axis is in both operands");
    for (int i = 0; i < g->n; i++) {
        side axis = {g->size[i], a[i], b[i], g->out[i], true};
        if (axis.size == 1) continue;
        if (i >= g->nout) {
            if (!axis.a || !axis.b) return gr_decline(why, "a label of one operand is summed alone");
            if (!side_merge(&k, axis)) return gr_decline(why, "the summed axes do not merge");
            continue;
        }
        side *v = axis.a && axis.b ? NULL : axis.b ? &n : &m;
        if (!v || !side_merge(v, axis)) {
            if (!side_into_batch(q, v ? v : &axis)) return gr_decline(why, "too many batch axes");
            if (v) *v = axis;
        }
    }
    if (!n.used) n.c = 1;
    q->g = (gr_gemm_batch){.m = m.size,
                           .n = n.size,
                           .k = k.size,
                           .nbatch = q->g.nbatch,
                           .a_row = m.a,
                           .a_col = k.a,
                           .b_row = k.b,
                           .b_col = n.b,
                           .c_row = m.used ? m.c : n.size,
                           .alpha = 1};
    return n.c == 1 || gr_decline(why, "the columns of the product are not contiguous");
}

static bool gemm_prepare(gr_step *s, gr_why *why)
{
    if (s->nin != 2) return gr_decline(why, "%u operands", s->nin);
    if (s->in[0]->dtype != GR_FLOAT) return gr_decline(why, "elements are %s", gr_dtype_name(s->in[0]->dtype));
    if (!s->in[0]->elements || !s->in[1]->elements) return gr_decline(why, "an operand is empty");
    plan *g = plan_make(s);
    product *q = GR_NEW(s->arena, product);
    if (!g || !q) return gr_decline(why, "out of memory");
    if (!product_find(g, q, why)) return false;
    s->state = q;
    s->flops = 2.0 * (double)s->out[0]->elements * (double)q->g.k;
    q->g.batch = q->batch, q->g.a_batch = q->a, q->g.b_batch = q->b, q->g.c_batch = q->c;
    return gr_gemm_batch_scratch(&q->g, gr_step_threads(s), &s->scratch_size) || gr_decline(why, "too large");
}

static gr_status gemm_run(const gr_step *s, gr_err *err)
{
    (void)err;
    const product *q = s->state;
    gr_gemm_batch g = q->g;
    g.a = s->in[q->swap]->data;
    g.b = s->in[!q->swap]->data;
    g.c = s->out[0]->data;
    g.scratch = s->scratch;
    gr_gemm_batch_run(&g);
    return GR_OK;
}

/* ---- float32, any one or two operands whose summed axes merge: one sum after the other ---- */

typedef struct sums {
    const plan *g;
    side k; /* c is not used */
} sums;

static bool sums_prepare(gr_step *s, gr_why *why)
{
    if (s->nin > 2) return gr_decline(why, "%u operands", s->nin);
    if (s->in[0]->dtype != GR_FLOAT) return gr_decline(why, "elements are %s", gr_dtype_name(s->in[0]->dtype));
    const plan *g = plan_make(s);
    sums *q = GR_NEW(s->arena, sums);
    if (!g || !q) return gr_decline(why, "out of memory");
    *q = (sums){g, {.size = 1}};
    for (int i = g->nout; i < g->n; i++) {
        side axis = {g->size[i], g->in[0][i], s->nin > 1 ? g->in[1][i] : 0, 0, true};
        if (axis.size != 1 && !side_merge(&q->k, axis)) return gr_decline(why, "the summed axes do not merge");
    }
    s->state = q;
    s->flops = 2.0 * (double)s->out[0]->elements * (double)q->k.size;
    return true;
}

static gr_status sums_run(const gr_step *s, gr_err *err)
{
    (void)err;
    const sums *q = s->state;
    const plan *g = q->g;
    const gr_simd *v = gr_simd_best();
    const float one = 1, *a = s->in[0]->data, *b = s->nin > 1 ? s->in[1]->data : &one;
    float *c = s->out[0]->data;
    const side k = q->k;
#pragma omp parallel for schedule(static) if (s->flops >= GR_PARALLEL_MIN)
    for (int64_t o = 0; o < s->out[0]->elements; o++) {
        const float *x = a + gr_offset(g->nout, g->size, g->in[0], o);
        const float *y = s->nin > 1 ? b + gr_offset(g->nout, g->size, g->in[1], o) : b;
        double sum = 0;
        if (k.size > 1 && k.a == 1 && k.b == 1)
            sum = (double)v->dot((size_t)k.size, x, y);
        else
            for (int64_t i = 0; i < k.size; i++) sum += (double)x[i * k.a] * (double)y[i * k.b];
        c[o] = (float)sum;
    }
    return GR_OK;
}

static const gr_kernel kernels[] = {{"gemm", gemm_prepare, gemm_run, NULL},
                                    {"sums", sums_prepare, sums_run, NULL},
                                    {"ref", ref_prepare, ref_run, NULL},
                                    {0}};

#define ROW(version)                                                                                                   \
    {                                                                                                                  \
        .name = "Einsum", .since = version, .in = {1, -1}, .out = 1, .parse = parse, .infer = infer,                   \
        .kernels = kernels                                                                                             \
    }

const gr_op op_einsum[] = {ROW(12), ROW(28), {0}};
