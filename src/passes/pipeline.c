/* SPDX-License-Identifier: Apache-2.0
 *
 * The order of passes.
 */
#include "pass.h"
#include "passes.h"

static const gr_pass pipeline[] = {
    /* What cannot run or changes nothing goes first, so that rules need few spellings. */
    {"inline-if", gr_pass_inline_if, false},
    {"split-sequence", gr_pass_split_sequence, false},
    {"widen", gr_pass_widen, false},
    {"parts", gr_pass_parts, false},
    {"quant-operators", gr_pass_quant_operators, false},
    {"duplicates", gr_pass_duplicates, false},
    {"quant-pairs", gr_pass_quant_pairs, false},
    {"mask-sizes", gr_pass_mask_sizes, false},
    {"no-op", gr_pass_noop, true},
    {"einsum", gr_pass_einsum, true},
    {"chains", gr_pass_chains, true},
    {"common", gr_pass_common, true},
    {"reshape", gr_pass_reshape, true},
    {"expand", gr_pass_expand, true},
    {"linear", gr_pass_linear, true}, /* here, as its spellings are one only afterwards */
    {"quant-weights", gr_pass_quant_weights, false},
    {"quant-nbits", gr_pass_quant_nbits, false},
    /* Small formulas before what is made of them: a linear layer takes its activation and residual with it. */
    {"layer-norm", gr_pass_layer_norm, false},
    {"norm-parts", gr_pass_norm_parts, false},
    {"gelu", gr_pass_gelu, false},
    {"quant", gr_pass_quant, false},
    {"sentence", gr_pass_sentence, false},
    {"linear-activation", gr_pass_linear_activation, false},
    {"attention", gr_pass_attention, false},
    {"attention-rows", gr_pass_attention_rows, false},
    {"embeddings", gr_pass_embeddings, false},
    {"add-layer-norm", gr_pass_add_layer_norm, false},
    {"linear-residual", gr_pass_linear_residual, false},
    {"quant-residual", gr_pass_quant_residual, false},
    {"quant-rows", gr_pass_quant_rows, false},
    /* Layers that have found neither activation nor residual by now are the projections of attention. */
    {"projections", gr_pass_projections, false},
};

enum { PASSES = sizeof pipeline / sizeof *pipeline, ROUNDS = 4 };

const gr_pass *gr_pass_list(size_t *count)
{
    *count = PASSES;
    return pipeline;
}

static bool disabled(const gr_pass_options *o, const char *name)
{
    for (size_t i = 0; o && i < o->ndisabled; i++)
        if (!strcmp(o->disabled[i], name)) return true;
    return false;
}

static int64_t noted(const gr_log *log)
{
    int64_t sum = 0;
    for (size_t i = 0; log && i < log->nhits; i++) sum += log->hits[i].count;
    return sum;
}

static gr_status run_pass(gr_graph *g, const gr_pass *pass, const gr_pass_options *o, int64_t *rewrites, gr_err *err)
{
    int hits = 0, swept = 0;
    const int64_t before = noted(g->log);
    const unsigned long failures = gr_malloc_failures();
    if (g->log) {
        g->log->pass = pass->name;
        g->log->rewrites = &hits;
        g->log->last = o->stop_after - *rewrites;
    }
    GR_TRY(pass->run(g, &hits, err));
    if (gr_malloc_failures() != failures) return gr_nomem(err); /* what was not fused for that has other bits */
    *rewrites += hits;
    /* Passes without rules of their own count as one rule of their name. */
    const bool by_rules = noted(g->log) != before;
    for (int i = 0; g->log && i < hits && !by_rules; i++) gr_hit(g, pass->name);
    if (hits) GR_TRY(gr_pass_dead(g, &swept, err));
#ifndef NDEBUG
    GR_TRY(gr_graph_check(g, err));
#endif
    return o && o->after ? o->after(o->user, g, pass->name, hits, err) : GR_OK;
}

/* A near miss counts if its anchor was not taken after all, nor computed before the run. */
static gr_status keep_misses(gr_graph *g, gr_err *err)
{
    gr_log *log = g->log;
    size_t kept = 0;
    bool *stands = gr_calloc(g->nnodes + 1, sizeof *stands);
    if (!stands) return gr_nomem(err);
    for (const gr_node *n = g->first; n; n = n->next) stands[n->id] = true;
    for (size_t i = 0; i < log->nmisses; i++) {
        const gr_node *anchor = log->misses[i].anchor;
        if (stands[anchor->id] && !(gr_out(anchor, 0) && anchor->out[0]->konst)) log->misses[kept++] = log->misses[i];
    }
    log->nmisses = kept;
    gr_free(stands);
    return GR_OK;
}

/* The passes from `first` that are repeated together, or one alone. *first is the one after them then. */
static gr_status run_group(gr_graph *g, size_t *first, const gr_pass_options *o, int64_t *rewrites, gr_err *err)
{
    size_t end = *first + 1;
    while (pipeline[*first].repeats && end < PASSES && pipeline[end].repeats) end++;
    for (int round = 0; round < ROUNDS; round++) {
        const int64_t before = *rewrites;
        for (size_t i = *first; i < end; i++) {
            if (disabled(o, pipeline[i].name)) continue;
            if (o && o->stops && *rewrites >= o->stop_after) break;
            GR_TRY(run_pass(g, &pipeline[i], o, rewrites, err));
        }
        if (*rewrites == before || !pipeline[*first].repeats) break;
    }
    *first = end;
    return GR_OK;
}

gr_status gr_passes_run(gr_graph *g, const gr_pass_options *options, gr_err *err)
{
    int swept = 0;
    int64_t rewrites = 0;
    if (options && !(g->log = GR_NEW(g->arena, gr_log))) return gr_nomem(err);
    if (options) g->log->stops = options->stops;
    GR_TRY(gr_pass_dead(g, &swept, err));
    for (size_t i = 0; i < PASSES;) GR_TRY(run_group(g, &i, options, &rewrites, err));
    if (!g->log) return GR_OK;
    g->log->stops = false;
    return keep_misses(g, err);
}
