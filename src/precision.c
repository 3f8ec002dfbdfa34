/* SPDX-License-Identifier: Apache-2.0 */
#include "precision.h"
#include "exec/packs.h"
#include "session.h"
#include "simd/simd.h"
#include <math.h>

/* Rows of fewer numbers have hardly a direction: they are compared all together. */
static bool is_near(const gr_tensor_view *x, const gr_tensor_view *y)
{
    enum { SHORTEST = 8 };
    const double least = 0.999;
    const size_t count = x->size / sizeof(float);
    size_t width = x->rank ? (size_t)x->dims[x->rank - 1] : 1;
    if (x->type != GR_FLOAT || !count) return true;
    if (y->size != x->size) return false;
    if (width < SHORTEST) width = count;
    for (size_t i = 0; i < count; i += width) {
        const float *a = (const float *)x->data + i, *b = (const float *)y->data + i;
        double ab = 0, aa = 0, bb = 0;
        for (size_t j = 0; j < width; j++) {
            ab += (double)a[j] * b[j];
            aa += (double)a[j] * a[j];
            bb += (double)b[j] * b[j];
        }
        if (aa != bb && !(ab >= least * sqrt(aa) * sqrt(bb))) return false;
    }
    return true;
}

/* A session in floats, whose packed weights go with it, and one in bfloat16, on inputs of the caller. */
static gr_status run_both(gr_model *model, const gr_session_options *options, const gr_named_tensor *inputs, size_t nin,
                          gr_named_tensor *outputs, size_t nout, bool *near, gr_err *err)
{
    gr_session_options o = *options;
    gr_session *floats = NULL, *rounded = NULL;
    o.log = NULL;
    o.precision = GR_PRECISION_BF16;
    gr_status status = gr_session_create(model, &o, &rounded, err);
    o.precision = GR_PRECISION_F32;
    if (status == GR_OK) status = gr_session_create(model, &o, &floats, err);
    gr_packs *own = gr_packs_new(NULL);
    if (status == GR_OK && !own) status = gr_nomem(err);
    if (status == GR_OK) {
        gr_session_use_packs(floats, own);
        status = gr_session_run(floats, inputs, nin, outputs, nout, err);
    }
    if (status == GR_OK) status = gr_session_run(rounded, inputs, nin, outputs + nout, nout, err);
    *near = status == GR_OK;
    for (size_t i = 0; *near && i < nout; i++) *near = is_near(&outputs[i].tensor, &outputs[nout + i].tensor);
    gr_session_free(floats);
    gr_session_free(rounded);
    gr_packs_free(own);
    return status;
}

gr_status gr_precision_choose(gr_model *model, const gr_session_options *options, const gr_named_tensor *inputs,
                              size_t nin, const gr_named_tensor *outputs, size_t nout, gr_precision *out, gr_err *err)
{
    bool near = false;
    const bool has = gr_simd_has_bfloat();
    if (has) {
        gr_named_tensor *both = gr_calloc(2 * nout + 1, sizeof *both);
        if (!both) return gr_nomem(err);
        for (size_t i = 0; i < 2 * nout; i++) both[i].name = outputs[i % nout].name;
        gr_status status = run_both(model, options, inputs, nin, both, nout, &near, err);
        gr_free(both);
        GR_TRY(status);
    }
    *out = near ? GR_PRECISION_BF16 : GR_PRECISION_F32;
    if (options->log)
        options->log(options->log_user, GR_LOG_INFO,
                     near  ? "precision: bf16, whose outputs are near to those in floats"
                     : has ? "precision: f32, as outputs in bf16 are not near to those in floats"
                           : "precision: f32, as this CPU does not multiply bfloat16");
    return GR_OK;
}
