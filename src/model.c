/* SPDX-License-Identifier: Apache-2.0
 *
 * Models: loading, variants of the graph, and what a caller can ask about a file.
 */
#include "model.h"
#include "compiled.h"
#include "exec/packs.h"
#include "graph/map.h"
#include "inspect/optimize.h"
#include "inspect/outline.h"
#include "passes/pass.h"
#include "summary.h"
#include "ops/dnnl.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT(x)  #x
#define VALUE(x) TEXT(x)

/* Folding before the passes must not unfold what they can use as it is (a transposed weight); after them, what still
 * stands before a weight (dequantisation) is computed once instead of in every run. */
enum { FOLD_SMALL = 1 << 20 };
#define FOLD_LARGE ((size_t)1 << 30)

/* Made once, then read without the lock: runs look their graph up each time. */
typedef struct made {
    struct made *_Atomic next;
    gr_variant variant;
    gr_arena *arena;
    gr_graph *graph;
} made;

struct gr_model {
    gr_doc *doc;
    gr_arena *arena;
    gr_model_options options;
    gr_packs *packs;
    pthread_mutex_t lock;  /* held by who adds to `graphs` or describes */
    made *_Atomic graphs;  /* the plain one is the first made; they are only added, at the end */
    size_t ninputs, noutputs;
    gr_value_info *inputs, *outputs;
    gr_model_summary summary;
    char *path;             /* NULL: loaded from memory */
    bool compiled, fused;   /* fused: the document is the graph after the passes */
    gr_precision precision;
    char *origin_path;      /* of the model that it was compiled from, or NULL */
    gr_model *origin;       /* loaded when first needed */
};

int gr_version(void) { return GR_VERSION_MAJOR * 10000 + GR_VERSION_MINOR * 100 + GR_VERSION_PATCH; }

const char *gr_version_string(void)
{
    return VALUE(GR_VERSION_MAJOR) "." VALUE(GR_VERSION_MINOR) "." VALUE(GR_VERSION_PATCH);
}

const char *gr_onednn_version_string(void) { return gr_dnnl_version(); }

/* ---- variants ---- */

static bool same_variant(const gr_variant *a, const gr_variant *b)
{
    if (a->passes || b->passes || a->raw != b->raw || a->by_row != b->by_row || a->nameless != b->nameless ||
        a->overridden.count != b->overridden.count)
        return false;
    if (!a->switch_name != !b->switch_name || (a->switch_name && (strcmp(a->switch_name, b->switch_name) || a->switch_on != b->switch_on)))
        return false;
    for (size_t i = 0; i < a->overridden.count; i++)
        if (strcmp(a->overridden.items[i], b->overridden.items[i])) return false;
    return true;
}

static void forget_names(gr_graph *g)
{
    for (size_t i = 0; i < g->ninputs; i++) {
        gr_type *t = &g->inputs[i]->type;
        gr_dim *dims = t->rank > 0 ? GR_NEWS(g->arena, (size_t)t->rank, gr_dim) : NULL;
        if (!dims) continue;
        for (int d = 0; d < t->rank; d++) dims[d] = t->dims[d].expr ? gr_sym_fresh(g->syms) : t->dims[d];
        t->dims = dims;
    }
}

/* Readers of an input of type bool see a constant; the input itself remains, for callers to feed. */
static gr_status fix_switch(gr_graph *g, const gr_variant *v, gr_err *err)
{
    gr_value *input = gr_graph_find(g, v->switch_name);
    int64_t dims[GR_MAX_RANK];
    bool *on = GR_NEW(g->arena, bool);
    if (!on) return gr_nomem(err);
    *on = v->switch_on;
    if (!input || !input->is_input || input->type.dtype != GR_BOOL || input->type.rank < 0)
        return gr_fail(err, GR_EINVAL, "the model has no input '%s' of type bool", gr_show(v->switch_name));
    for (int i = 0; i < input->type.rank; i++) dims[i] = 1;
    gr_value *fixed = gr_graph_const(g, NULL, GR_BOOL, input->type.rank, dims, on);
    if (!fixed) return gr_nomem(err);
    gr_replace_uses(input, fixed);
    return GR_OK;
}

/* A type that the file declares and that inference contradicts makes a bad model. Shapes are left alone: exporters
 * write shapes that do not hold. */
static gr_status check_declared(const gr_graph *g, const gr_doc_values *values, const char *what, gr_err *err)
{
    for (size_t i = 0; i < values->count; i++) {
        const gr_doc_type *t = values->items[i].type;
        const gr_value *v = values->items[i].name ? gr_graph_find(g, values->items[i].name) : NULL;
        if (!t || !v || t->kind != GR_KIND_TENSOR || v->type.kind != GR_KIND_TENSOR) continue;
        if (t->dtype == v->type.dtype || t->dtype == GR_UNDEFINED || v->type.dtype == GR_UNDEFINED) continue;
        return gr_fail(err, GR_EMODEL, "%s '%s' is declared as %s but is computed as %s", what, gr_show(v->name),
                       gr_dtype_name(t->dtype), gr_dtype_name(v->type.dtype));
    }
    return GR_OK;
}

static gr_status build_variant(gr_model *m, const gr_variant *v, made *out, gr_err *err)
{
    bool first = m->graphs == NULL;
    GR_TRY(gr_graph_build(m->doc, out->arena, &v->overridden, &out->graph, err));
    if (v->nameless) forget_names(out->graph);
    if (v->switch_name) GR_TRY(fix_switch(out->graph, v, err));
    GR_TRY(gr_graph_infer(out->graph, FOLD_SMALL, err));
    if (first) {
        GR_TRY(check_declared(out->graph, &m->doc->graph->out, "output", err));
        GR_TRY(check_declared(out->graph, &m->doc->graph->info, "value", err));
        GR_TRY(gr_summary_file(m->doc, out->graph, m->arena, &m->summary, err));
    }
    out->graph->strict = m->options.strict;
    out->graph->by_row = v->by_row;
    if (!v->raw && !m->options.no_passes && !m->fused) GR_TRY(gr_passes_run(out->graph, v->passes, err));
    GR_TRY(gr_graph_infer(out->graph, FOLD_LARGE, err));
#ifndef NDEBUG
    GR_TRY(gr_graph_check(out->graph, err));
#endif
    return GR_OK;
}

static gr_status add_variant(gr_model *m, const gr_variant *v, const gr_graph **out, gr_err *err)
{
    made *n = gr_calloc(1, sizeof *n);
    if (!n || !(n->arena = gr_arena_new())) {
        gr_free(n);
        return gr_nomem(err);
    }
    n->variant = *v;
    n->variant.overridden.items = GR_NEWS(n->arena, v->overridden.count, const char *);
    gr_status status = n->variant.overridden.items ? GR_OK : gr_nomem(err);
    if (v->switch_name && !(n->variant.switch_name = gr_arena_strdup(n->arena, v->switch_name))) status = gr_nomem(err);
    for (size_t i = 0; status == GR_OK && i < v->overridden.count; i++)
        if (!(n->variant.overridden.items[i] = gr_arena_strdup(n->arena, v->overridden.items[i]))) status = gr_nomem(err);
    if (status == GR_OK) status = build_variant(m, &n->variant, n, err);
    if (status != GR_OK) {
        gr_arena_free(n->arena);
        gr_free(n);
        return status;
    }
    made *_Atomic *end = &m->graphs;
    for (made *last; (last = *end);) end = &last->next;
    *end = n;
    *out = n->graph;
    return GR_OK;
}

/* What a fused graph cannot be turned into is made of the model that it was compiled from. */
static gr_status origin_graph(gr_model *m, const gr_variant *v, const gr_graph **out, gr_err *err)
{
    gr_status status = GR_OK;
    pthread_mutex_lock(&m->lock);
    if (!m->origin) status = gr_model_load(m->origin_path, &m->options, &m->origin, err);
    pthread_mutex_unlock(&m->lock);
    return status == GR_OK ? gr_model_graph(m->origin, v, out, err) : status;
}

static bool find_variant(gr_model *m, const gr_variant *v, const gr_graph **out)
{
    const made *n = m->graphs;
    while (n && !same_variant(&n->variant, v)) n = n->next;
    if (n) *out = n->graph;
    return n;
}

gr_status gr_model_graph(gr_model *m, const gr_variant *v, const gr_graph **out, gr_err *err)
{
    gr_status status = GR_OK;
    const bool other = v->raw || v->nameless || v->passes;
    if (m->fused && m->origin_path && other) return origin_graph(m, v, out, err);
    if (m->fused && v->nameless)
        return gr_fail(err, GR_EINPUT, "dimensions of one name differ between the inputs, and the compiled model was "
                                       "fused for equal ones: run the model itself");
    if (find_variant(m, v, out)) return GR_OK;
    pthread_mutex_lock(&m->lock);
    if (!find_variant(m, v, out)) status = add_variant(m, v, out, err);
    pthread_mutex_unlock(&m->lock);
    return status;
}

gr_precision gr_model_precision(const gr_model *m) { return m->precision; }
gr_packs *gr_model_packs(gr_model *m) { return m->packs; }
const gr_doc *gr_model_doc(const gr_model *m) { return m->doc; }

size_t gr_model_mapped_bytes(const gr_model *m)
{
    size_t sum = 0;
    for (const gr_map *map = m->doc->maps; map; map = map->next) sum += map->size;
    return sum;
}

size_t gr_model_graph_bytes(gr_model *m)
{
    pthread_mutex_lock(&m->lock);
    size_t sum = gr_arena_bytes(m->arena);
    for (const gr_doc *d = m->doc; d; d = d->next) sum += gr_arena_bytes(d->arena);
    for (const made *n = m->graphs; n; n = n->next) sum += gr_arena_bytes(n->arena);
    if (m->origin) sum += gr_model_graph_bytes(m->origin);
    pthread_mutex_unlock(&m->lock);
    return sum;
}

bool gr_model_can_override(const gr_model *m, const char *name)
{
    bool input = false, initializer = false;
    for (size_t i = 0; i < m->doc->graph->in.count; i++) input |= !strcmp(m->doc->graph->in.items[i].name, name);
    for (size_t i = 0; i < m->doc->graph->ninit && input; i++)
        initializer |= m->doc->graph->init[i]->name && !strcmp(m->doc->graph->init[i]->name, name);
    return initializer;
}

/* ---- description ---- */

static gr_value_kind kind_of(const gr_type *t)
{
    if (t->kind == GR_KIND_TENSOR || t->kind == GR_KIND_NONE) return GR_VALUE_TENSOR;
    if (t->kind == GR_KIND_SEQUENCE) return !t->elem || t->elem->kind <= GR_KIND_TENSOR ? GR_VALUE_SEQUENCE : GR_VALUE_OTHER;
    if (t->kind != GR_KIND_OPTIONAL) return GR_VALUE_OTHER;
    gr_value_kind held = t->elem ? kind_of(t->elem) : GR_VALUE_TENSOR;
    return held == GR_VALUE_TENSOR ? GR_VALUE_OPTIONAL : held == GR_VALUE_SEQUENCE ? GR_VALUE_OPTIONAL_SEQUENCE : GR_VALUE_OTHER;
}

static gr_status describe(gr_model *m, gr_syms *syms, const char *name, const gr_type *t, bool optional,
                          gr_value_info *out, gr_err *err)
{
    gr_value_kind kind = kind_of(t);
    if (t->kind == GR_KIND_OPTIONAL) optional = true;
    while (t->kind != GR_KIND_TENSOR && t->elem) t = t->elem;
    gr_dim_info *dims = t->rank > 0 ? GR_NEWS(m->arena, (size_t)t->rank, gr_dim_info) : NULL;
    if (t->rank > 0 && !dims) return gr_nomem(err);
    for (int i = 0; i < t->rank; i++) {
        dims[i] = (gr_dim_info){t->dims[i].expr ? -1 : t->dims[i].k, NULL};
        if (!t->dims[i].expr) continue;
        const char *text = gr_sym_text(syms, t->dims[i]);
        if (text[0] != '?') dims[i].symbol = gr_arena_strdup(m->arena, text);
    }
    *out = (gr_value_info){name, t->dtype, t->rank, dims, optional, kind};
    return GR_OK;
}

/* The type that the file gives, for what inference does not know: dimension by dimension where both have a rank. */
static gr_type merge_declared(gr_arena *arena, gr_syms *syms, gr_type t, const gr_doc_type *d)
{
    if (!d || d->kind != GR_KIND_TENSOR || d->rank < 0 || (t.rank >= 0 && t.rank != d->rank)) return t;
    gr_dim *dims = GR_NEWS(arena, (size_t)d->rank, gr_dim);
    if (!dims) return t;
    for (int i = 0; i < d->rank; i++) {
        dims[i] = t.rank >= 0 ? t.dims[i] : gr_sym_fresh(syms);
        bool unknown = dims[i].expr && gr_sym_text(syms, dims[i])[0] == '?';
        if (unknown && d->dims[i].value >= 0) dims[i] = GR_DIM(d->dims[i].value);
        if (unknown && d->dims[i].value < 0 && d->dims[i].param && *d->dims[i].param)
            dims[i] = gr_sym_named(syms, d->dims[i].param);
    }
    return gr_type_tensor(t.dtype ? t.dtype : d->dtype, d->rank, dims);
}

/* What the file calls an optional may be known to hold something, and is one for the caller all the same. */
static gr_value_kind declared_kind(const gr_doc_type *t, gr_value_kind inferred)
{
    if (t->kind == GR_KIND_SEQUENCE && inferred == GR_VALUE_TENSOR) return GR_VALUE_SEQUENCE;
    if (t->kind != GR_KIND_OPTIONAL || !t->elem) return inferred;
    return t->elem->kind == GR_KIND_SEQUENCE ? GR_VALUE_OPTIONAL_SEQUENCE : GR_VALUE_OPTIONAL;
}

static gr_status describe_all(gr_model *m, gr_graph *g, gr_err *err)
{
    const gr_doc_graph *d = m->doc->graph;
    gr_arena *scratch = g->arena;
    m->inputs = GR_NEWS(m->arena, d->in.count, gr_value_info);
    m->outputs = GR_NEWS(m->arena, g->noutputs, gr_value_info);
    if (!m->inputs || !m->outputs) return gr_nomem(err);
    for (size_t i = 0; i < d->in.count; i++) {
        const char *name = d->in.items[i].name;
        const gr_value *v = gr_graph_find(g, name);
        bool optional = v && !v->is_input;
        /* Before IR version 4 all initializers had to be listed as inputs; that is no offer to feed them. */
        if (!v || (optional && m->doc->ir_version < 4)) continue;
        GR_TRY(describe(m, g->syms, name, &v->type, optional, &m->inputs[m->ninputs++], err));
    }
    for (size_t i = 0; i < g->noutputs; i++) {
        gr_type t = merge_declared(scratch, g->syms, g->outputs[i]->type, d->out.items[i].type);
        gr_value_info *info = &m->outputs[m->noutputs++];
        GR_TRY(describe(m, g->syms, g->output_names[i], &t, false, info, err));
        info->optional = false;
        if (d->out.items[i].type) info->kind = declared_kind(d->out.items[i].type, info->kind);
    }
    return GR_OK;
}

size_t gr_model_input_count(const gr_model *m) { return m->ninputs; }
size_t gr_model_output_count(const gr_model *m) { return m->noutputs; }

gr_status gr_model_input(const gr_model *m, size_t index, gr_value_info *out)
{
    if (index >= m->ninputs) return GR_EINVAL;
    *out = m->inputs[index];
    return GR_OK;
}

gr_status gr_model_output(const gr_model *m, size_t index, gr_value_info *out)
{
    if (index >= m->noutputs) return GR_EINVAL;
    *out = m->outputs[index];
    return GR_OK;
}

gr_status gr_model_value(gr_model *m, const char *name, gr_value_info *out, gr_err *err)
{
    if (!m || !name || !out) return gr_fail(err, GR_EINVAL, "gr_model_value: arguments must not be NULL");
    const gr_graph *g;
    gr_variant plain = {0}, raw = {.raw = true};
    GR_TRY(gr_model_graph(m, &plain, &g, err));
    gr_value *v = gr_graph_find(g, name);
    if (!v || !gr_value_lives(v)) {
        GR_TRY(gr_model_graph(m, &raw, &g, err));
        v = gr_graph_find(g, name);
    }
    if (!v || !gr_value_lives(v)) return gr_fail(err, GR_EINVAL, "the model has no value '%s'", gr_show(name));
    pthread_mutex_lock(&m->lock); /* the arena and the pool of symbols are not safe alone */
    gr_status status = describe(m, g->syms, v->name, &v->type, false, out, err);
    pthread_mutex_unlock(&m->lock);
    return status;
}

void gr_model_summarize(const gr_model *m, gr_model_summary *out) { *out = m->summary; }

static gr_status lower_outlined(const gr_graph *g, gr_doc **out, gr_err *err)
{
    gr_outline o;
    gr_arena *arena = gr_arena_new();
    if (!arena) return gr_nomem(err);
    gr_status status = gr_outline_make(g, arena, &o, err);
    if (status == GR_OK) status = gr_outline_lower(&o, out, err);
    gr_arena_free(arena);
    return status;
}

gr_status gr_model_print(gr_model *m, gr_print_level level, size_t max_elements, gr_write_fn write, void *user,
                         gr_err *err)
{
    gr_text_options options = {.max_elements = max_elements};
    if (level == GR_PRINT_FILE) return gr_doc_print_text(m->doc, &options, write, user, err);
    const gr_graph *g;
    gr_variant plain = {0};
    gr_doc *doc;
    GR_TRY(gr_model_graph(m, &plain, &g, err));
    GR_TRY(level == GR_PRINT_OUTLINED ? lower_outlined(g, &doc, err) : gr_graph_lower(g, &doc, err));
    gr_status status = gr_doc_print_text(doc, &options, write, user, err);
    gr_doc_free(doc);
    return status;
}

/* ---- compiling ---- */

/* The fused graph says all there is to know, but for inputs that may be left out, constants in 16 bits, which passes
 * keep as they are, and graphs in nodes. */
static bool says_all(const gr_model *m, const gr_graph *g)
{
    for (size_t i = 0; i < m->doc->graph->in.count; i++)
        if (gr_model_can_override(m, m->doc->graph->in.items[i].name)) return false;
    for (const gr_node *n = g->first; n; n = n->next) {
        if (n->nsubgraphs) return false;
        for (uint32_t i = 0; i < n->nin; i++)
            if (gr_in(n, i) && gr_is_narrow(gr_in(n, i))) return false;
    }
    return true;
}

gr_status gr_model_compile(gr_model *m, const char *path, const gr_compile_options *options, gr_err *err)
{
    gr_compile_options o = {0};
    gr_compiled_parts parts = {.strict = m && m->options.strict};
    gr_variant plain = {0};
    gr_doc *fused = NULL;
    if (!m || !path) return gr_fail(err, GR_EINVAL, "gr_model_compile: model and path must not be NULL");
    if (options && options->struct_size > sizeof o)
        return gr_fail(err, GR_EINVAL, "gr_model_compile: options are of a later version of this library");
    if (options) memcpy(&o, options, options->struct_size);
    if ((unsigned)o.precision > GR_PRECISION_INT8)
        return gr_fail(err, GR_EINVAL, "gr_model_compile: weights are packed as f32, bf16 or int8");
    if (m->compiled || m->options.no_passes)
        return gr_fail(err, GR_EINVAL, m->compiled ? "the model is compiled already"
                                                   : "a model without passes cannot be compiled");
    GR_TRY(gr_model_graph(m, &plain, &parts.graph, err));
    /* Where the file's opset lacks what the passes have built, they run again when it is loaded. */
    if (says_all(m, parts.graph) && gr_optimize(m, GR_FORM_NATIVE, &fused, NULL) != GR_OK) fused = NULL;
    parts.doc = fused ? fused : m->doc;
    parts.fused = fused != NULL;
    parts.standalone = o.standalone;
    parts.precision = o.precision;
    parts.packs = m->packs;
    parts.model = m->path;
    parts.maps = m->doc->maps;
    gr_status status = gr_compiled_save(&parts, path, err);
    gr_doc_free(fused);
    return status;
}

/* ---- loading ---- */

static gr_status take_compiled(gr_model *m, const gr_compiled *c, gr_err *err)
{
    m->compiled = true;
    m->fused = c->fused;
    m->precision = c->precision;
    if (c->origin && !(m->origin_path = gr_arena_strdup(m->arena, c->origin))) return gr_nomem(err);
    return GR_OK;
}

static const void *contents_of(const gr_graph *g, const char *name)
{
    const gr_value *v = gr_graph_find(g, name);
    return v && v->konst ? v->konst->data : NULL;
}

static gr_status take_packs(gr_model *m, const gr_compiled *c, const gr_graph *g, gr_err *err)
{
    for (size_t i = 0; i < c->npacks && !c->misfit; i++) {
        const gr_compiled_pack *p = &c->packs[i];
        gr_pack_key key = p->key;
        bool found = (key.data = contents_of(g, p->value)) != NULL;
        for (int b = 0; b < 2; b++)
            if (p->beside[b]) found = (key.beside[b] = contents_of(g, p->beside[b])) != NULL && found;
        if (found && !gr_packs_add_saved(m->packs, &key, p->data, p->size)) return gr_nomem(err);
    }
    return GR_OK;
}

/* `compiled`: NULL, or the file that brought the document. */
static gr_status open_model(gr_doc *doc, const char *path, const gr_compiled *compiled, const gr_model_options *options,
                            gr_model **out, gr_err *err)
{
    gr_model *m = gr_calloc(1, sizeof *m);
    if (!m) {
        gr_doc_free(doc);
        return gr_nomem(err);
    }
    const gr_graph *g = NULL;
    gr_variant plain = {0};
    pthread_mutex_init(&m->lock, NULL);
    m->doc = doc;
    m->options = *options;
    m->arena = gr_arena_new();
    m->packs = gr_packs_new(doc->maps);
    gr_status status = m->arena && m->packs ? GR_OK : gr_nomem(err);
    if (status == GR_OK && path && !(m->path = gr_arena_strdup(m->arena, path))) status = gr_nomem(err);
    if (status == GR_OK && compiled) status = take_compiled(m, compiled, err);
    if (status == GR_OK) status = gr_model_graph(m, &plain, &g, err);
    if (status == GR_OK) status = describe_all(m, m->graphs->graph, err);
    if (status == GR_OK) status = gr_summary_steps(g, m->arena, &m->summary, err);
    if (status == GR_OK && compiled) status = take_packs(m, compiled, g, err);
    if (status != GR_OK) {
        gr_model_free(m);
        return status;
    }
    *out = m;
    return GR_OK;
}

static gr_status read_options(const gr_model_options *given, gr_model_options *out, gr_err *err)
{
    *out = (gr_model_options){0};
    if (!given) return GR_OK;
    if (given->struct_size > sizeof *out)
        return gr_fail(err, GR_EINVAL, "gr_model_load: options are of a later version of this library");
    memcpy(out, given, given->struct_size);
    return GR_OK;
}

static gr_status load_plain(const char *path, const gr_model_options *o, gr_model **out, gr_err *err)
{
    gr_doc *doc;
    gr_doc_limits limits = {o->max_graph_bytes};
    GR_TRY(gr_doc_load(path, &limits, &doc, err));
    gr_status status = open_model(doc, path, NULL, o, out, err);
    return status == GR_OK ? GR_OK : gr_fail_context(err, status, "%s", gr_show(path));
}

static gr_status load_compiled(const char *path, gr_compiled *c, const gr_model_options *o, gr_model **out, gr_err *err)
{
    gr_doc *doc;
    gr_doc_limits limits = {o->max_graph_bytes};
    const char *misfit = c->misfit;
    if (o->no_passes || o->strict != c->strict) misfit = "other options";
    if (misfit && !c->misfit && !c->origin)
        return gr_fail(err, GR_EUNSUPPORTED,
                       "%s: it was compiled with other options, and stands for itself: load the model with these",
                       gr_show(path));
    if (misfit && o->log) {
        char line[512];
        snprintf(line, sizeof line, "%s: %s, so %s", gr_show(path), misfit,
                 c->origin ? "the model is loaded instead" : "weights are packed again");
        o->log(o->log_user, GR_LOG_INFO, line);
    }
    if (misfit && c->origin) return load_plain(c->origin, o, out, err);
    gr_map *maps = c->maps;
    c->maps = NULL;
    GR_TRY(gr_doc_load_part(path, c->file, maps, c->doc_offset, c->doc_size, &limits, &doc, err));
    return open_model(doc, path, c, o, out, err);
}

gr_status gr_model_load(const char *path, const gr_model_options *options, gr_model **out, gr_err *err)
{
    gr_model_options o;
    gr_compiled c;
    bool compiled;
    if (!path || !out) return gr_fail(err, GR_EINVAL, "gr_model_load: path and out must not be NULL");
    GR_TRY(read_options(options, &o, err));
    GR_TRY(gr_compiled_open(path, &c, &compiled, err));
    if (!compiled) return load_plain(path, &o, out, err);
    gr_status status = load_compiled(path, &c, &o, out, err);
    gr_compiled_close(&c);
    return status;
}

gr_status gr_model_load_memory(const void *data, size_t size, const char *folder, const gr_model_options *options,
                               gr_model **out, gr_err *err)
{
    gr_doc *doc;
    gr_model_options o;
    if (!data || !out) return gr_fail(err, GR_EINVAL, "gr_model_load_memory: data and out must not be NULL");
    GR_TRY(read_options(options, &o, err));
    gr_doc_limits limits = {o.max_graph_bytes};
    GR_TRY(gr_doc_load_memory(data, size, folder, "memory", &limits, &doc, err));
    return open_model(doc, NULL, NULL, &o, out, err);
}

void gr_model_free(gr_model *m)
{
    if (!m) return;
    for (made *n = m->graphs, *next; n; n = next) {
        next = n->next;
        gr_arena_free(n->arena);
        gr_free(n);
    }
    gr_model_free(m->origin);
    gr_packs_free(m->packs);
    gr_arena_free(m->arena);
    gr_doc_free(m->doc);
    pthread_mutex_destroy(&m->lock);
    gr_free(m);
}
