/* SPDX-License-Identifier: Apache-2.0
 *
 * The order of passes.
 */
#include "pass.h"
#include "passes.h"

static const gr_pass pipeline[] = {
    /* What cannot run or changes nothing goes first, so that rules need few spellings. */
    {"inline-if", gr_pass_inline_if},
    {"parts", gr_pass_parts},
    {"no-op", gr_pass_noop},
    {"chains", gr_pass_chains},
    {"common", gr_pass_common},
    {"reshape", gr_pass_reshape},
    {"expand", gr_pass_expand},
    /* Small formulas before what is made of them: a linear layer takes its activation and residual with it. */
    {"layer-norm", gr_pass_layer_norm},
    {"gelu", gr_pass_gelu},
    {"linear", gr_pass_linear},
    {"attention", gr_pass_attention},
    {"add-layer-norm", gr_pass_add_layer_norm},
    {"linear-residual", gr_pass_linear_residual},
};

gr_status gr_passes_run(gr_graph *g, gr_err *err)
{
    int hits = 0;
    GR_TRY(gr_pass_dead(g, &hits, err));
    for (size_t i = 0; i < sizeof pipeline / sizeof *pipeline; i++) {
        hits = 0;
        GR_TRY(pipeline[i].run(g, &hits, err));
        if (hits) GR_TRY(gr_pass_dead(g, &hits, err));
#ifndef NDEBUG
        GR_TRY(gr_graph_check(g, err));
#endif
    }
    return GR_OK;
}
