/* SPDX-License-Identifier: Apache-2.0
 *
 * Counts of what passes made against counts of what the file's nodes promise, told from the file alone: from operators
 * that appear once in each formula (a Softmax between products, an Erf), not from the patterns of the rules.
 */
#include "explain.h"
#include "exec/plan.h"
#include "graph/missing.h"
#include "odd.h"
#include "passes/match.h"
#include "peers.h"
#include "provenance.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>

/* Elements of a formula are looked for this many nodes away; layers are told apart up to this number. */
enum { NEAR = 6, MAX_LAYERS = 4096, MAX_REMARKS = 64 };
/* Epsilons of models in use lie between 1e-12 and 1e-3. */
#define LARGE_EPSILON 1e-2

static bool ends(const char *name, const char *with)
{
    size_t n = strlen(name), m = strlen(with);
    return n >= m && !strcmp(name + n - m, with);
}

static bool holds(const gr_node *n, const char *part) { return strstr(n->op->name, part) != NULL; }

static bool has_gelu(const gr_node *n)
{
    const char *activation = "";
    if (gr_attr_string(n->attrs, "activation", "", &activation, NULL) != GR_OK) return false;
    return !strncmp(activation, "gelu", 4);
}

gr_fusion_kind gr_fusion_of(const gr_node *n)
{
    if (ends(n->op->name, "Attention")) return GR_FUSION_ATTENTION;
    if (holds(n, "LayerNormalization")) return GR_FUSION_LAYER_NORM;
    if (holds(n, "Gelu")) return GR_FUSION_GELU;
    if (n->op->domain && !strcmp(n->op->domain, "graphrun") && (holds(n, "Linear") || holds(n, "Projections")))
        return GR_FUSION_LINEAR;
    return GR_FUSIONS;
}

/* The sum of embeddings, normalised if it has a scale. */
static bool is_embeddings(const gr_node *n)
{
    return n->op->domain && !strcmp(n->op->domain, "graphrun") && gr_is_named(n, "Embeddings");
}

/* ---- what the file promises ---- */

typedef struct look { /* sources by what they read and make */
    const gr_provenance *p;
    const gr_source **maker, **reader; /* by value id, of the main graph; a reader: the first */
    const gr_graph *g;
} look;

static const gr_source *maker_of(const look *l, const gr_value *v)
{
    return v && v->graph == l->g ? l->maker[v->id] : NULL;
}

static bool op_is(const gr_source *s, const char *op) { return s && !strcmp(s->op, op); }

static bool is_product(const gr_source *s)
{
    return s && (strstr(s->op, "MatMul") || op_is(s, "Einsum") || op_is(s, "Gemm"));
}

/* Whether a product is among the first readers of what a node makes. */
static bool leads_to_product(const look *l, const gr_source *s)
{
    for (int i = 0; i < NEAR && s && s->node && gr_out(s->node, 0); i++) {
        const gr_value *v = gr_out(s->node, 0);
        s = v->graph == l->g ? l->reader[v->id] : NULL;
        if (is_product(s)) return true;
    }
    return false;
}

/* Whether some node on the way back along first inputs satisfies the test; `side` also tries second inputs. */
static const gr_source *behind(const look *l, const gr_source *s, const char *op, int depth)
{
    for (uint32_t i = 0; s && depth > 0 && i < s->nin && i < 2; i++) {
        const gr_source *m = maker_of(l, s->in[i]);
        if (op_is(m, op)) return m;
        if ((m = behind(l, m, op, depth - 1))) return m;
    }
    return NULL;
}

static bool reads_number(const gr_source *s, double want)
{
    double x;
    for (uint32_t i = 0; s && i < s->nin; i++)
        if (gr_scalar_of(s->in[i], &x) && fabs(x - want) < 0.01 * fabs(want)) return true;
    return false;
}

/* 0.044715 stands nowhere but in GELU's approximation. */
static bool takes_cubic(const look *l, const gr_source *s, int depth)
{
    if (!s || depth == 0) return false;
    if (reads_number(s, 0.044715) || reads_number(s, 0.044715 * 0.79788456)) return true;
    for (uint32_t i = 0; i < s->nin && i < 2; i++)
        if (takes_cubic(l, maker_of(l, s->in[i]), depth - 1)) return true;
    return false;
}

/* sqrt(mean + epsilon), also as a power of 1/2 or -1/2. */
static bool is_deviation(const look *l, const gr_source *s)
{
    bool power = op_is(s, "Pow") && (reads_number(s, 0.5) || reads_number(s, -0.5));
    if (!op_is(s, "Sqrt") && !power) return false;
    const gr_source *add = maker_of(l, s->in[0]);
    while (op_is(add, "Cast") || op_is(add, "DequantizeLinear") || op_is(add, "QuantizeLinear"))
        add = maker_of(l, add->in[0]);
    const gr_source *mean = op_is(add, "Add") ? behind(l, add, "ReduceMean", NEAR) : NULL;
    return mean && behind(l, mean, "Sub", NEAR); /* without it, it is RMS normalisation */
}

static gr_fusion_kind promise(const look *l, const gr_source *s)
{
    if (strstr(s->op, "Attention")) return GR_FUSION_ATTENTION;
    if (strstr(s->op, "LayerNorm")) return GR_FUSION_LAYER_NORM;
    if (op_is(s, "Erf") || strstr(s->op, "Gelu")) return GR_FUSION_GELU;
    if (op_is(s, "Softmax") && leads_to_product(l, s)) return GR_FUSION_ATTENTION;
    if (op_is(s, "Tanh") && takes_cubic(l, maker_of(l, s->in[0]), 3)) return GR_FUSION_GELU;
    if (is_deviation(l, s)) return GR_FUSION_LAYER_NORM;
    bool weight = s->nin > 1 && s->in[1] && s->in[1]->konst && s->in[1]->type.rank == 2;
    return is_product(s) && weight ? GR_FUSION_LINEAR : GR_FUSIONS;
}

static gr_status count_promises(look *l, const gr_graph *g, gr_arena *scratch, gr_explanation *out, gr_err *err)
{
    l->g = g;
    l->maker = GR_NEWS(scratch, g->nvalues + 1, const gr_source *);
    l->reader = GR_NEWS(scratch, g->nvalues + 1, const gr_source *);
    if (!l->maker || !l->reader) return gr_nomem(err);
    for (size_t i = l->p->count; i-- > 0;) {
        const gr_origin *o = &l->p->items[i];
        const gr_source *s = o->source;
        if (o->graph != g || !s->node) continue;
        for (uint32_t k = 0; k < s->node->nout; k++)
            if (s->node->out[k]) l->maker[s->node->out[k]->id] = s;
        for (uint32_t k = 0; k < s->nin; k++)
            if (s->in[k] && s->in[k]->graph == g) l->reader[s->in[k]->id] = s;
    }
    for (size_t i = 0; i < l->p->count; i++) {
        const gr_origin *o = &l->p->items[i];
        bool runs = o->fate == GR_FATE_FUSED || o->fate == GR_FATE_EXECUTED;
        gr_fusion_kind kind = o->graph == g && o->source->node && runs ? promise(l, o->source) : GR_FUSIONS;
        if (kind != GR_FUSIONS) out->fusions[kind].expected++;
    }
    return GR_OK;
}

/* Layers by the numbers in names: "encoder.layer.11.output", "h.3.attn", "/layer.0/", "layers_2_". */
static void note_layer(const char *name, bool *seen)
{
    static const char *const stems[] = {"layer", "layers", "h", "block", "blocks", "transformer_block"};
    for (size_t i = 0; i < sizeof stems / sizeof *stems; i++) {
        size_t n = strlen(stems[i]);
        for (const char *at = strstr(name, stems[i]); at; at = strstr(at + 1, stems[i])) {
            bool starts = at == name || !isalnum((unsigned char)at[-1]);
            if (!starts || (at[n] != '.' && at[n] != '_' && at[n] != '/') || !isdigit((unsigned char)at[n + 1]))
                continue;
            long k = strtol(at + n + 1, NULL, 10);
            if (k < MAX_LAYERS) seen[k] = true;
        }
    }
}

static void count_layers(const gr_graph *g, gr_explanation *out)
{
    bool seen[MAX_LAYERS] = {false};
    for (size_t i = 0; i < g->nsources; i++) {
        const gr_source *s = &g->sources[i];
        note_layer(s->name, seen);
        for (uint32_t k = 0; k < s->nin; k++)
            if (s->in[k] && s->in[k]->konst) note_layer(s->in[k]->name, seen);
    }
    while (out->layers < MAX_LAYERS && seen[out->layers]) out->layers++;
}

/* ---- what is there ---- */

static bool is_fused(const gr_node *n)
{
    if (gr_fusion_of(n) != GR_FUSIONS || (n->op->domain && !strcmp(n->op->domain, "graphrun"))) return true;
    /* A product with weights runs on the same kernels as a linear layer, without a bias to take along. */
    return (holds(n, "MatMul") || gr_is_named(n, "Gemm")) && gr_in(n, 1) && gr_in(n, 1)->konst;
}

/* The node of the file that added an epsilon, or the fused one itself. */
static const gr_node *adder_of(const gr_provenance *p, const gr_node *n, double eps)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->items[i].into == n && op_is(p->items[i].source, "Add") && reads_number(p->items[i].source, eps))
            return p->items[i].source->node;
    return n;
}

static void remark_epsilon(const gr_provenance *p, const gr_node *n, gr_arena *arena, gr_explanation *out, size_t *cap)
{
    float eps = 0;
    if (gr_attr_float(n->attrs, "epsilon", 0, &eps, NULL) != GR_OK || !((double)eps > LARGE_EPSILON)) return;
    if (out->nremarks == MAX_REMARKS) return;
    gr_near_miss *m = GR_PUSH(arena, out->remarks, out->nremarks, *cap);
    const gr_node *adder = adder_of(p, n, (double)eps);
    const char *why =
        gr_arena_printf(arena, "'%s' adds %g where a small epsilon was expected; it is fused all the same",
                        gr_show(gr_node_label(adder)), (double)eps);
    if (m) *m = (gr_near_miss){"layer-norm", n, adder, why ? why : "", 0};
}

static void count_casts(const gr_origin *o, gr_explanation *out)
{
    const gr_source *s = o->source;
    const gr_value *from = s->nin ? s->in[0] : NULL, *to = s->node ? gr_out(s->node, 0) : NULL;
    if (!op_is(s, "Cast") || !from || !to || from->type.dtype == to->type.dtype) return;
    if (!gr_dtype_is_float(from->type.dtype) || !gr_dtype_is_float(to->type.dtype)) return;
    out->casts++;
    out->casts_left += o->fate == GR_FATE_EXECUTED;
}

static gr_work_row *row_of(gr_arena *arena, gr_explanation *out, const char *op, size_t *cap)
{
    for (size_t i = 0; i < out->nrows; i++)
        if (!strcmp(out->rows[i].op, op)) return &out->rows[i];
    gr_work_row *r = GR_PUSH(arena, out->rows, out->nrows, *cap);
    if (r) *r = (gr_work_row){.op = op};
    return r;
}

static int by_work(const void *a, const void *b)
{
    const gr_work_row *x = a, *y = b;
    if (x->work != y->work) return x->work > y->work ? -1 : 1;
    if (x->steps != y->steps) return x->steps > y->steps ? -1 : 1;
    return strcmp(x->op, y->op);
}

/* Steps by the file's shapes alone: what stands and is not computed before the run. */
static gr_status count_nodes(const gr_provenance *p, const gr_graph *g, const bool *runs, const double *work,
                             gr_arena *arena, gr_explanation *out, size_t *remarks, gr_err *err)
{
    size_t cap = 0;
    for (const gr_node *n = g->first; n; n = n->next) {
        gr_fusion_kind kind = gr_fusion_of(n);
        if (!runs[n->id]) continue;
        out->steps++;
        /* Layers in one step are as many as have an output. */
        for (uint32_t o = 0; kind == GR_FUSION_LINEAR && o < n->nout; o++)
            out->fusions[kind].count += n->out[o] != NULL;
        if (kind != GR_FUSIONS && kind != GR_FUSION_LINEAR) out->fusions[kind].count++;
        if (kind != GR_FUSION_GELU && has_gelu(n)) out->fusions[GR_FUSION_GELU].count++;
        if (is_embeddings(n) && gr_in(n, 0)) out->fusions[GR_FUSION_LAYER_NORM].count++;
        if (kind == GR_FUSION_LAYER_NORM || is_embeddings(n)) remark_epsilon(p, n, arena, out, remarks);
        if (work) out->work += work[n->id];
        if (is_fused(n)) continue;
        gr_work_row *r = row_of(arena, out, n->op->name, &cap);
        if (!r) return gr_nomem(err);
        out->unfused++;
        r->steps++;
        if (work) r->work += work[n->id];
        if (work) out->unfused_work += work[n->id];
    }
    if (out->nrows) qsort(out->rows, out->nrows, sizeof *out->rows, by_work);
    return GR_OK;
}

/* Operations of each step: what its kernel counts, and at least one for each element that it makes. */
static gr_status measure(gr_model *m, const gr_graph *g, const gr_tensor *inputs, double *work, gr_err *err)
{
    gr_plan_options options = {.threads = 1, .packs = gr_model_packs(m)};
    gr_plan *plan;
    GR_TRY(gr_plan_new(g, inputs, g->noutputs, g->outputs, &options, &plan, err));
    for (size_t i = 0; i < gr_plan_steps(plan); i++) {
        gr_step_info s = gr_plan_step(plan, i);
        const gr_value *v = gr_graph_find(g, s.output);
        double made = s.rank >= 0 && s.dims ? 1 : 0;
        for (int d = 0; s.dims && d < s.rank; d++) made *= (double)s.dims[d];
        if (v && v->def) work[v->def->id] += s.flops > made ? s.flops : made;
    }
    gr_plan_free(plan);
    return GR_OK;
}

/* ---- weights that are there twice ---- */

enum { SMALLEST = 64 << 10, SAMPLES = 64 }; /* bytes from which it matters; words */

typedef struct stored {
    const gr_value *value;
    uint64_t hash; /* of a sample */
    size_t order;
} stored;

/* A sample is enough to tell most apart; those it does not are compared whole. */
static uint64_t sample_of(const gr_tensor *t)
{
    uint64_t h = 14695981039346656037u;
    size_t step = t->size / SAMPLES & ~(size_t)7;
    for (size_t i = 0; i < SAMPLES; i++) {
        uint64_t word;
        memcpy(&word, (const char *)t->data + i * step, sizeof word);
        h = (h ^ word) * 1099511628211u;
        h ^= h >> 29;
    }
    return h;
}

static int by_size(const void *a, const void *b)
{
    const stored *x = a, *y = b;
    const gr_tensor *s = x->value->konst, *t = y->value->konst;
    if (s->size != t->size) return s->size > t->size ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static int by_content(const void *a, const void *b)
{
    const stored *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static bool same_contents(const gr_tensor *a, const gr_tensor *b)
{
    return a->data == b->data || (a->dtype == b->dtype && !memcmp(a->data, b->data, a->size));
}

/* Among tensors of one size. */
static gr_status find_equal(stored *s, size_t n, gr_arena *arena, gr_explanation *out, size_t *cap, gr_err *err)
{
    for (size_t i = 0; i < n; i++) s[i].hash = sample_of(s[i].value->konst);
    qsort(s, n, sizeof *s, by_content);
    for (size_t i = 1, first = 0; i < n; i++) {
        const gr_tensor *a = s[first].value->konst, *b = s[i].value->konst;
        if (s[i].hash != s[first].hash || !same_contents(a, b)) {
            first = i;
            continue;
        }
        if (a->data == b->data) continue; /* stored once, and read under two names */
        gr_twice *t = GR_PUSH(arena, out->twice, out->ntwice, *cap);
        if (!t) return gr_nomem(err);
        *t = (gr_twice){s[i].value, s[first].value};
        out->twice_bytes += (int64_t)b->size;
    }
    return GR_OK;
}

/* Tensors of one size only are compared, so that most weights are never read. */
static gr_status find_twice(const gr_graph *g, gr_arena *arena, gr_arena *scratch, gr_explanation *out, gr_err *err)
{
    size_t n = 0, cap = 0, twice = 0;
    stored *list = NULL;
    bool *seen = GR_NEWS(scratch, g->nvalues + 1, bool);
    if (!seen) return gr_nomem(err);
    for (size_t i = 0; i < g->nsources; i++)
        for (uint32_t k = 0; k < g->sources[i].nin; k++) {
            const gr_value *v = g->sources[i].in[k];
            bool weight = v && v->graph == g && v->konst && !v->def && v->konst->kind == GR_KIND_TENSOR;
            if (!weight || v->konst->size < SMALLEST || seen[v->id]) continue;
            stored *s = GR_PUSH(scratch, list, n, cap);
            if (!s) return gr_nomem(err);
            seen[v->id] = true;
            *s = (stored){v, 0, n};
        }
    if (n) qsort(list, n, sizeof *list, by_size);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && list[end].value->konst->size == list[i].value->konst->size;) end++;
        if (end > i + 1) GR_TRY(find_equal(list + i, end - i, arena, out, &twice, err));
    }
    return GR_OK;
}

/* ---- all of it ---- */

/* A Softmax between products that no rule has spoken of. */
static gr_status note_silent(const look *l, const gr_graph *g, gr_arena *arena, gr_explanation *out, gr_err *err)
{
    const gr_log *log = g->log;
    size_t n = log->nmisses, cap = 0, made = 0;
    gr_near_miss *all = NULL;
    for (size_t i = 0; i < n; i++) {
        gr_near_miss *m = GR_PUSH(arena, all, made, cap);
        if (!m) return gr_nomem(err);
        *m = log->misses[i];
    }
    for (size_t i = 0; i < l->p->count; i++) {
        const gr_origin *o = &l->p->items[i];
        if (o->fate != GR_FATE_EXECUTED || o->graph != g || !op_is(o->source, "Softmax") ||
            promise(l, o->source) != GR_FUSION_ATTENTION)
            continue;
        bool spoken = false;
        for (size_t k = 0; k < n; k++) spoken |= log->misses[k].anchor == o->into;
        gr_near_miss *m = spoken ? NULL : GR_PUSH(arena, all, made, cap);
        if (m) *m = (gr_near_miss){"attention", o->into, o->into, "its surroundings are of no form that is known", 0};
    }
    for (size_t i = 0; i < l->p->count; i++) {
        const gr_node *node = l->p->items[i].source->node;
        if (!node || !gr_is_missing(node)) continue;
        const char *why = gr_arena_printf(arena, "the operator %s of '%s' is missing", gr_show(node->op->name),
                                          gr_show(gr_node_label(node)));
        gr_near_miss *m = why ? GR_PUSH(arena, all, made, cap) : NULL;
        if (!m) return gr_nomem(err);
        *m = (gr_near_miss){"operator", node, node, why, 0};
        out->missing++;
    }
    out->misses = all;
    out->nmisses = made;
    return GR_OK;
}

static gr_status explain(gr_model *m, const gr_graph *g, const gr_tensor *inputs, gr_arena *arena, gr_arena *scratch,
                         gr_explanation *out, gr_err *err)
{
    gr_provenance p;
    bool *runs = GR_NEWS(scratch, g->nnodes + 1, bool);
    double *work = GR_NEWS(scratch, g->nnodes + 1, double);
    gr_err no_work = {GR_OK, ""};
    size_t remarks = 0;
    if (!runs || !work) return gr_nomem(err);
    GR_TRY(gr_provenance_of(g, scratch, &p, err));
    for (const gr_node *n = g->first; n; n = n->next) runs[n->id] = true;
    for (size_t i = 0; i < p.count; i++) {
        const gr_source *s = p.items[i].source;
        if (p.items[i].graph == g && s->node && p.items[i].fate == GR_FATE_FOLDED) runs[s->node->id] = false;
        count_casts(&p.items[i], out);
    }
    look l = {.p = &p};
    GR_TRY(count_promises(&l, g, scratch, out, err));
    GR_TRY(note_silent(&l, g, arena, out, err));
    count_layers(g, out);
    out->why = "no shape was given";
    if (inputs && measure(m, g, inputs, work, &no_work) == GR_OK) out->why = NULL;
    if (no_work.status == GR_ENOMEM) return gr_nomem(err);
    if (no_work.status != GR_OK) out->why = gr_arena_strdup(arena, no_work.text);
    GR_TRY(count_nodes(&p, g, runs, out->why ? NULL : work, arena, out, &remarks, err));
    GR_TRY(gr_find_odd(g, l.maker, arena, scratch, &out->remarks, &out->nremarks, &remarks, err));
    GR_TRY(gr_compare_layers(g, &p, arena, scratch, &out->remarks, &out->nremarks, &remarks, err));
    return find_twice(g, arena, scratch, out, err);
}

gr_status gr_explain(gr_model *m, const gr_graph *g, const gr_tensor *inputs, gr_arena *arena, gr_explanation *out,
                     gr_err *err)
{
    static const gr_fusion kinds[GR_FUSIONS] = {
        {"attention", 0, 0, "one for each Softmax between two products"},
        {"layernorm", 0, 0, "one for each root of a variance, or LayerNormalization"},
        {"gelu", 0, 0, "one for each Erf, Tanh of a cubic, or Gelu"},
        {"linear", 0, 0, "one for each product with a matrix of weights"},
    };
    gr_arena *scratch = gr_arena_new();
    *out = (gr_explanation){0};
    memcpy(out->fusions, kinds, sizeof kinds);
    gr_status status = scratch ? explain(m, g, inputs, arena, scratch, out, err) : gr_nomem(err);
    gr_arena_free(scratch);
    return status;
}
