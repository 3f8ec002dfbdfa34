/* SPDX-License-Identifier: Apache-2.0 */
#include "ragged.h"
#include "support.h"
#include <stdlib.h>
#include <string.h>

void free_trial(trial *t)
{
    for (size_t i = 0; i < t->count; i++) free(t->out[i].tensor.data);
}

bool run_trial(gr_model *m, const gr_session_options *options, const gr_named_tensor *in, size_t nin, trial *t)
{
    gr_err err = {GR_OK, ""};
    gr_session *s = NULL;
    gr_step_info step;
    *t = (trial){0};
    size_t n = gr_model_output_count(m);
    for (size_t i = 0; i < n && i < MAX_OUTPUTS; i++) {
        gr_value_info info;
        gr_model_output(m, i, &info);
        t->out[i] = (gr_named_tensor){.name = info.name};
    }
    bool ran = gr_session_create(m, options, &s, &err) == GR_OK && n <= MAX_OUTPUTS &&
               gr_session_run(s, in, nin, t->out, n, &err) == GR_OK;
    if (!ran) FAIL("%s", err.text);
    for (size_t i = 0; ran && i < n; i++) {
        gr_tensor_view *v = &t->out[i].tensor;
        void *copy = malloc(v->size + 1);
        if (!copy) abort();
        if (v->size) memcpy(copy, v->data, v->size);
        for (int d = 0; d < v->rank && d < 8; d++) t->dims[i][d] = v->dims[d];
        v->data = copy;
        v->dims = t->dims[i];
        t->count++;
    }
    for (size_t i = 0; ran && gr_session_step(s, i, &step, NULL) == GR_OK; i++) t->flops += step.flops;
    if (ran) gr_session_memory(s, &t->memory);
    gr_session_free(s);
    return ran;
}

bool same_sequence(const gr_tensor_view *x, int64_t a, const gr_tensor_view *y, int64_t b, int64_t tokens, int64_t rows)
{
    if (!x->rank || !x->dims[0] || !y->dims[0]) return true;
    size_t size = x->size / (size_t)x->dims[0], other = y->size / (size_t)y->dims[0], bytes = size;
    if (x->rank >= 3 || (x->rank == 2 && x->dims[1] == tokens)) bytes = size / (size_t)x->dims[1] * (size_t)rows;
    return bytes <= other && !memcmp((char *)x->data + (size_t)a * size, (char *)y->data + (size_t)b * other, bytes);
}

bool is_open(const gr_model *m)
{
    gr_value_info info;
    return gr_model_input(m, 0, &info) == GR_OK && info.rank == 2 && info.dims[0].value < 0 && info.dims[1].value < 0;
}

bool compares(const gr_tensor_view *t, int64_t batch, int64_t tokens)
{
    if (t->type != GR_FLOAT || t->rank < 2 || t->rank > 3 || t->dims[0] != batch) return false;
    return t->rank == 2 || t->dims[1] == tokens;
}

static int64_t element(const gr_tensor_view *t, int64_t i)
{
    const bool narrow = t->type == GR_INT32;
    const size_t size = narrow ? sizeof(int32_t) : sizeof(int64_t);
    int32_t small = 0;
    int64_t large = 0; /* files put their tensors at any address */
    memcpy(narrow ? (void *)&small : (void *)&large, (const char *)t->data + (size_t)i * size, size);
    return narrow ? small : large;
}

bool is_ragged(const zoo_tensors *in, ragged *r)
{
    const gr_tensor_view *mask = NULL;
    if (in->count < 2 || in->count > MAX_INPUTS) return false;
    for (size_t i = 0; i < in->count; i++) {
        const gr_tensor_view *t = &in->views[i].tensor;
        if (t->rank != 2 || (t->type != GR_INT64 && t->type != GR_INT32) || t->dims[0] > 8) return false;
        if (!strcmp(in->views[i].name, "attention_mask")) mask = t;
        r->in[i] = in->views[i];
    }
    if (!mask) return false;
    r->nin = in->count;
    r->batch = mask->dims[0];
    r->tokens = mask->dims[1];
    for (int64_t b = 0; b < r->batch; b++) {
        int64_t n = r->tokens;
        while (n && !element(mask, b * r->tokens + n - 1)) n--;
        for (int64_t i = 0; i < n; i++)
            if (!element(mask, b * r->tokens + i)) return false;
        r->length[b] = n;
    }
    return true;
}

void unmask(const ragged *r, int64_t *ones, gr_named_tensor *out)
{
    const int64_t n = r->batch * r->tokens;
    for (size_t i = 0; i < r->nin; i++) {
        out[i] = r->in[i];
        if (strcmp(out[i].name, "attention_mask")) continue;
        const bool narrow = out[i].tensor.type == GR_INT32;
        for (int64_t k = 0; k < n; k++) {
            if (narrow) ((int32_t *)ones)[k] = 1;
            else ones[k] = 1;
        }
        out[i].tensor.data = ones;
    }
}

void cut(const ragged *r, int64_t b, int64_t dims[2], gr_named_tensor *out)
{
    dims[0] = 1;
    dims[1] = r->length[b];
    for (size_t i = 0; i < r->nin; i++) {
        out[i] = r->in[i];
        size_t row = r->in[i].tensor.size / (size_t)r->batch;
        out[i].tensor.dims = dims;
        out[i].tensor.data = (char *)r->in[i].tensor.data + (size_t)b * row;
        out[i].tensor.size = row / (size_t)r->tokens * (size_t)dims[1];
    }
}
