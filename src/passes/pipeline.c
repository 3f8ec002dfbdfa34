/* SPDX-License-Identifier: Apache-2.0
 *
 * The order of passes.
 */
#include "pass.h"
#include "passes.h"

static const gr_pass pipeline[] = {
    /* What cannot run or changes nothing goes first, so that rules need few spellings. */
    {"inline-if", gr_pass_inline_if},
    {"widen", gr_pass_widen},
    {"parts", gr_pass_parts},
    {"no-op", gr_pass_noop},
    {"einsum", gr_pass_einsum},
    {"duplicates", gr_pass_duplicates},
    {"chains", gr_pass_chains},
    {"common", gr_pass_common},
    {"reshape", gr_pass_reshape},
    {"expand", gr_pass_expand},
    {"quant-weights", gr_pass_quant_weights},
    /* Small formulas before what is made of them: a linear layer takes its activation and residual with it. */
    {"layer-norm", gr_pass_layer_norm},
    {"gelu", gr_pass_gelu},
    {"quant", gr_pass_quant},
    {"sentence", gr_pass_sentence},
    {"linear", gr_pass_linear},
    {"attention", gr_pass_attention},
    {"embeddings", gr_pass_embeddings},
    {"add-layer-norm", gr_pass_add_layer_norm},
    {"linear-residual", gr_pass_linear_residual},
    {"quant-residual", gr_pass_quant_residual},
    /* Layers that have found neither activation nor residual by now are the projections of attention. */
    {"projections", gr_pass_projections},
};

enum { PASSES = sizeof pipeline / sizeof *pipeline };

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

/* Passes without rules of their own count as one rule of their name. */
static void note_hits(gr_graph *g, const gr_pass *pass, int hits)
{
    gr_log *log = g->log;
    for (size_t i = 0; log && i < log->nhits; i++)
        if (!strcmp(log->hits[i].pass, pass->name)) return;
    for (int i = 0; log && i < hits; i++) gr_hit(g, pass->name);
}

static gr_status run_pass(gr_graph *g, const gr_pass *pass, const gr_pass_options *o, int64_t *rewrites, gr_err *err)
{
    int hits = 0, swept = 0;
    if (g->log) {
        g->log->pass = pass->name;
        g->log->rewrites = &hits;
        g->log->last = o->stop_after - *rewrites;
    }
    GR_TRY(pass->run(g, &hits, err));
    *rewrites += hits;
    note_hits(g, pass, hits);
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

gr_status gr_passes_run(gr_graph *g, const gr_pass_options *options, gr_err *err)
{
    int swept = 0;
    int64_t rewrites = 0;
    if (options && !(g->log = GR_NEW(g->arena, gr_log))) return gr_nomem(err);
    if (options) g->log->stops = options->stops;
    GR_TRY(gr_pass_dead(g, &swept, err));
    for (size_t i = 0; i < PASSES; i++) {
        if (disabled(options, pipeline[i].name)) continue;
        if (options && options->stops && rewrites >= options->stop_after) break;
        GR_TRY(run_pass(g, &pipeline[i], options, &rewrites, err));
    }
    if (!g->log) return GR_OK;
    g->log->stops = false;
    return keep_misses(g, err);
}
