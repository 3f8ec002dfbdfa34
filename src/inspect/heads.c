/* SPDX-License-Identifier: Apache-2.0
 *
 * Every head's file is looked for behind the layers; of matches that share a node the largest stays, of equally large ones
 * the one whose requirement the model meets.
 */
#include "heads.h"
#include "heads_match.h"
#include "ops/op.h"
#include <stdio.h>
#include <stdlib.h>

enum { MAX_CANDIDATES = 512, MAX_FOUND = 256, STEPS = 20000 };

typedef struct found {
    gr_head head;
    bool required; /* by name or causality */
} found;

typedef struct search {
    gr_model *model;
    gr_arena *arena;
    const gr_graph *g;
    gr_heads *out;
    size_t ncandidates;
    const gr_value **candidates; /* what a head's output may be */
    int causal;                  /* 1 yes, 0 no, -1 not asked yet */
    size_t nfound;
    found *found;
} search;

/* ---- whether attention looks only back ---- */

static bool fill_input(search *s, const gr_value_info *info, gr_tensor_view *out)
{
    int64_t *dims = GR_NEWS(s->arena, (size_t)(info->rank > 0 ? info->rank : 0), int64_t), n;
    if (!dims || info->rank < 0) return false;
    for (int i = 0; i < info->rank; i++) {
        const char *symbol = info->dims[i].symbol;
        bool past = symbol && strstr(symbol, "past") && !strchr(symbol, '+') && !strstr(symbol, "total");
        dims[i] = info->dims[i].value >= 0 ? info->dims[i].value : past ? 0 : i == 0 ? 1 : 3;
    }
    size_t size;
    if (!gr_elements(info->rank, dims, &n) || !gr_bytes(info->type, n, &size) || size > 1 << 20) return false;
    void *data = gr_arena_alloc(s->arena, size);
    if (!data) return false;
    for (int64_t i = 0; i < n && info->type == GR_INT64; i++) ((int64_t *)data)[i] = 1;
    for (int64_t i = 0; i < n && info->type == GR_INT32; i++) ((int32_t *)data)[i] = 1;
    for (int64_t i = 0; i < n && info->type == GR_FLOAT; i++) ((float *)data)[i] = 1;
    for (int64_t i = 0; i < n && info->type == GR_BOOL; i++) ((bool *)data)[i] = true;
    *out = (gr_tensor_view){info->type, info->rank, dims, data, size};
    return true;
}

static double at(const gr_tensor_view *t, int64_t i)
{
    if (t->type == GR_FLOAT) return (double)((const float *)t->data)[i];
    return t->type == GR_BOOL ? ((const bool *)t->data)[i] : 0;
}

/* [..., queries, keys] hides the last key from the first query but not the other way round. */
static bool hides_the_future(const gr_tensor_view *t)
{
    if (t->rank < 2 || (t->type != GR_FLOAT && t->type != GR_BOOL) || !t->data) return false;
    int64_t rows = t->dims[t->rank - 2], columns = t->dims[t->rank - 1];
    if (rows < 2 || columns < rows) return false;
    double future = at(t, columns - 1), past = at(t, (rows - 1) * columns);
    return t->type == GR_BOOL ? past > future : past - future > 1e3;
}

/* The mask of the first attention, computed for three tokens. */
static bool mask_is_causal(search *s, const gr_value *mask)
{
    size_t n = gr_model_input_count(s->model);
    gr_named_tensor *in = GR_NEWS(s->arena, n, gr_named_tensor), want = {.name = mask->name};
    gr_session *session = NULL;
    gr_session_options options = {.struct_size = sizeof options, .threads = 1, .max_memory = 64 << 20};
    for (size_t i = 0; in && i < n; i++) {
        gr_value_info info;
        if (gr_model_input(s->model, i, &info) != GR_OK || !fill_input(s, &info, &in[i].tensor)) return false;
        in[i].name = info.name;
    }
    bool causal = in && gr_session_create(s->model, &options, &session, NULL) == GR_OK &&
                  gr_session_run(session, in, n, &want, 1, NULL) == GR_OK && hides_the_future(&want.tensor);
    gr_session_free(session);
    return causal;
}

static bool is_causal(search *s)
{
    if (s->causal >= 0) return s->causal;
    s->causal = 0;
    for (const gr_node *n = s->g->first; n && !s->causal; n = n->next) {
        size_t length = strlen(n->op->name);
        if (length < 9 || strcmp(n->op->name + length - 9, "Attention")) continue;
        int64_t a = 0, b = 0;
        gr_attr_int(n->attrs, "is_causal", 0, &a, NULL);
        gr_attr_int(n->attrs, "unidirectional", 0, &b, NULL);
        s->causal = a || b;
        for (uint32_t i = 3; i < n->nin && !s->causal; i++) {
            const gr_value *v = gr_in(n, i);
            if (v && v->type.rank >= 2 && !v->konst) s->causal = mask_is_causal(s, v);
        }
        break;
    }
    for (size_t i = 0; i < s->g->noutputs && !s->causal; i++)
        s->causal = strstr(s->g->output_names[i], "present") != NULL; /* only what looks back keeps keys and values */
    return s->causal;
}

/* ---- one head ---- */

static const char *property(const gr_doc *d, const char *key)
{
    for (size_t i = 0; i < d->metadata.count; i++)
        if (d->metadata.items[i].key && !strcmp(d->metadata.items[i].key, key)) return d->metadata.items[i].value;
    return NULL;
}

static bool names_hold(const gr_head *h, const gr_graph *g, const char *part)
{
    for (size_t i = 0; i < h->nweights; i++)
        if (strstr(h->weights[i].value->name, part)) return true;
    for (size_t i = 0; i < h->noutputs; i++)
        for (int o = h->outputs[i]->output_index; o >= 0; o = g->next_output[o])
            if (strstr(g->output_names[o], part)) return true;
    return false;
}

static bool meets(search *s, const gr_head *h, const char *requirement)
{
    if (!requirement) return true;
    if (!strcmp(requirement, "causal")) return is_causal(s);
    return !strncmp(requirement, "name ", 5) && names_hold(h, s->g, requirement + 5);
}

static const gr_value *embedding_table(const search *s, const gr_value *w)
{
    for (const gr_use *u = w->uses; u; u = u->next) {
        const gr_part *p = s->out->outline.part_of[u->user->id];
        if (p && p->kind == GR_PART_EMBEDDINGS) return w;
    }
    return NULL;
}

static bool note(search *s, const head_match *m, const char *stem, const char *name, const char *requirement,
                 const gr_value **outputs)
{
    gr_head h = {.name = gr_arena_strdup(s->arena, name), .file = stem, .nnodes = (size_t)m->nnodes};
    h.nodes = GR_NEWS(s->arena, h.nnodes, const gr_node *);
    h.weights = GR_NEWS(s->arena, (size_t)m->ntrail, gr_head_weight);
    h.outputs = GR_NEWS(s->arena, m->head->noutputs, const gr_value *);
    h.roles = GR_NEWS(s->arena, m->head->noutputs, const char *);
    if (!h.name || !h.nodes || !h.weights || !h.outputs || !h.roles) return false;
    memcpy(h.nodes, m->nodes, h.nnodes * sizeof *h.nodes);
    for (int i = 0; i < m->ntrail; i++) {
        const gr_value *p = m->trail[i], *g = m->bound[p->id];
        if (!p->konst || p->def) continue;
        const char *role = strrchr(p->name, '/') ? strrchr(p->name, '/') + 1 : p->name; /* within the function */
        h.weights[h.nweights++] = (gr_head_weight){gr_arena_strdup(s->arena, role), g};
        if (g->konst->rank == 2 && !h.tied) h.tied = embedding_table(s, g);
    }
    for (size_t i = 0; i < m->head->noutputs; i++) {
        h.outputs[h.noutputs] = outputs[i];
        h.roles[h.noutputs++] = gr_arena_strdup(s->arena, m->head->output_names[i]);
    }
    bool alone = h.nnodes == 1 && outputs[0]->output_index < 0; /* one node says too little for something inside */
    if (s->nfound < MAX_FOUND && !alone && meets(s, &h, requirement)) s->found[s->nfound++] = (found){h, requirement != NULL};
    return true;
}

/* All ways to find the head's outputs from the i-th on; every full one is noted. */
static bool match_outputs(search *s, head_match *m, size_t i, const gr_value **outputs, const char *stem, const gr_doc *doc)
{
    const char *name = property(doc, "head");
    if (i == m->head->noutputs) return note(s, m, stem, name ? name : stem, property(doc, "requires"), outputs);
    for (size_t k = 0; k < s->ncandidates; k++) {
        int ntrail = m->ntrail, nnodes = m->nnodes;
        m->budget = STEPS;
        outputs[i] = s->candidates[k];
        if (!gr_head_match(m, m->head->outputs[i], s->candidates[k])) continue;
        if (!match_outputs(s, m, i + 1, outputs, stem, doc)) return false;
        gr_head_undo(m, ntrail, nnodes);
    }
    return true;
}

static gr_status try_head(search *s, const gr_head_file *file, gr_err *err)
{
    gr_model *head = NULL;
    const gr_graph *p;
    gr_variant plain = {0};
    const gr_value *outputs[HEAD_OUTPUTS];
    gr_status status = gr_model_load_memory(file->text, file->size, NULL, NULL, &head, err);
    if (status == GR_OK) status = gr_model_graph(head, &plain, &p, err);
    if (status == GR_OK && p->noutputs <= HEAD_OUTPUTS) {
        head_match *m = GR_NEW(s->arena, head_match);
        if (m) *m = (head_match){.head = p, .model = s->g, .hidden = s->out->outline.hidden};
        if (m) m->bound = GR_NEWS(s->arena, p->nvalues, const gr_value *);
        if (!m || !m->bound || !match_outputs(s, m, 0, outputs, file->stem, gr_model_doc(head))) status = gr_nomem(err);
    }
    gr_model_free(head);
    return status == GR_OK ? GR_OK : gr_fail_context(err, status, "head '%s'", file->stem);
}

/* ---- choosing ---- */

static int by_size(const void *a, const void *b)
{
    const found *x = a, *y = b;
    if (x->head.nnodes != y->head.nnodes) return x->head.nnodes > y->head.nnodes ? -1 : 1;
    if (x->required != y->required) return x->required ? -1 : 1;
    int order = strcmp(x->head.file, y->head.file);
    return order ? order : (int)x->head.outputs[0]->id - (int)y->head.outputs[0]->id;
}

static bool choose(search *s)
{
    bool *taken = GR_NEWS(s->arena, s->g->nnodes, bool);
    s->out->heads = GR_NEWS(s->arena, s->nfound, gr_head);
    if (!taken || !s->out->heads) return false;
    if (s->nfound) qsort(s->found, s->nfound, sizeof *s->found, by_size);
    for (size_t i = 0; i < s->nfound; i++) {
        const gr_head *h = &s->found[i].head;
        bool is_free = true;
        for (size_t k = 0; k < h->nnodes; k++) is_free &= !taken[h->nodes[k]->id];
        if (!is_free) continue;
        for (size_t k = 0; k < h->nnodes; k++) taken[h->nodes[k]->id] = true;
        s->out->heads[s->out->nheads++] = *h;
    }
    return true;
}

static bool find_candidates(search *s)
{
    s->candidates = GR_NEWS(s->arena, MAX_CANDIDATES, const gr_value *);
    s->found = GR_NEWS(s->arena, MAX_FOUND, found);
    if (!s->candidates || !s->found) return false;
    for (const gr_node *n = s->g->last; n; n = n->prev) {
        const gr_part *p = s->out->outline.part_of[n->id];
        for (uint32_t o = 0; o < n->nout && (!p || p->kind >= GR_PART_POOLER); o++)
            if (n->out[o] && s->ncandidates < MAX_CANDIDATES) s->candidates[s->ncandidates++] = n->out[o];
    }
    return true;
}

/* ---- words ---- */

static bool is_same(const gr_value *a, const gr_value *b) { return a == b || gr_head_peel(a) == gr_head_peel(b); }

static const char *words_of(const search *s, const gr_value *v)
{
    const gr_heads *h = s->out;
    const gr_part *p = v->def ? h->outline.part_of[v->def->id] : NULL;
    for (size_t i = 0; i < h->nheads; i++)
        for (size_t k = 0; k < h->heads[i].noutputs; k++)
            if (is_same(h->heads[i].outputs[k], v))
                return gr_arena_printf(s->arena, "%s of %s", h->heads[i].roles[k], h->heads[i].name);
    if (h->outline.hidden && is_same(v, h->outline.hidden)) return "hidden states";
    if (!p) return "not recognised";
    if (p->kind == GR_PART_LAYER && v->type.rank == 4) {
        size_t n = strlen(v->def->op->name);
        bool attention = gr_is_named(v->def, "Softmax") || (n > 9 && !strcmp(v->def->op->name + n - 9, "Attention") && v->def->nout < 3);
        return gr_arena_printf(s->arena, "%s of %s", attention ? "attention probabilities" : "keys or values", p->name);
    }
    if (p->kind == GR_PART_HEAD) return "made by an unknown head";
    return gr_arena_printf(s->arena, "%s of %s", p->kind == GR_PART_LAYER ? "hidden states" : "output", p->name);
}

/* Names of heads but poolers, losses last; false if there are none. */
static bool join_names(const gr_heads *h, char *text, size_t room)
{
    size_t n = 0;
    for (int losses = 0; losses < 2; losses++)
        for (size_t i = 0; i < h->nheads && n + 64 < room; i++) {
            const char *name = h->heads[i].name;
            if (!strcmp(name, "pooler") || (strcmp(name, "loss") == 0) != losses) continue;
            n += (size_t)snprintf(text + n, room - n, "%s%.48s", n ? " + " : "", name);
        }
    return n > 0;
}

static bool describe(search *s)
{
    gr_heads *h = s->out;
    char text[512];
    bool unknown = false, pooler = false;
    h->outputs = GR_NEWS(s->arena, s->g->noutputs, const char *);
    for (size_t i = 0; h->outputs && i < s->g->noutputs; i++) {
        if (!(h->outputs[i] = words_of(s, s->g->outputs[i]))) return false;
        unknown |= !strncmp(h->outputs[i], "made by", 7);
    }
    for (size_t i = 0; i < h->nheads; i++) pooler |= !strcmp(h->heads[i].name, "pooler");
    if (join_names(h, text, sizeof text))
        h->summary = gr_arena_strdup(s->arena, text);
    else if (!h->outline.hidden)
        h->summary = "no transformer found";
    else
        h->summary = unknown ? "unknown head" : pooler ? "base model with pooler" : "base model";
    return h->outputs && h->summary;
}

gr_status gr_heads_find(gr_model *m, gr_arena *arena, gr_heads *out, gr_err *err)
{
    search s = {.model = m, .arena = arena, .out = out, .causal = -1};
    gr_variant plain = {0};
    *out = (gr_heads){0};
    GR_TRY(gr_model_graph(m, &plain, &s.g, err));
    GR_TRY(gr_outline_make(s.g, arena, &out->outline, err));
    if (!find_candidates(&s)) return gr_nomem(err);
    for (const gr_head_file *f = gr_head_files; f->stem && out->outline.hidden; f++) GR_TRY(try_head(&s, f, err));
    if (!choose(&s) || !describe(&s)) return gr_nomem(err);
    return GR_OK;
}

bool gr_head_cut(const gr_head *head, const gr_graph *g, gr_arena *arena, gr_cut *out)
{
    bool *own = GR_NEWS(arena, g->nnodes, bool), *seen = GR_NEWS(arena, g->nvalues, bool);
    const gr_value **from = NULL;
    size_t n = 0, cap = 0;
    if (!own || !seen) return false;
    for (size_t i = 0; i < head->nnodes; i++) own[head->nodes[i]->id] = true;
    for (size_t i = 0; i < head->nnodes; i++)
        for (uint32_t k = 0; k < head->nodes[i]->nin; k++) {
            const gr_value *v = gr_in(head->nodes[i], k);
            if (!v || v->konst || seen[v->id] || (v->def && own[v->def->id])) continue;
            const gr_value **slot = GR_PUSH(arena, from, n, cap);
            if (!slot) return false;
            seen[v->id] = true;
            *slot = v;
        }
    *out = (gr_cut){n, head->noutputs, from, head->outputs};
    return true;
}
