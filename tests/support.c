/* SPDX-License-Identifier: Apache-2.0
 *
 * Helpers of the suites.
 */
#include "support.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void fail_at(const char *file, unsigned line, const char *fmt, ...)
{
    char text[GR_ERR_SIZE + 256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    CU_assertImplementation(CU_FALSE, line, text, file, "", CU_FALSE);
}

char *read_text(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    long size = -1;
    if (f && !fseek(f, 0, SEEK_END) && (size = ftell(f)) > 0 && !fseek(f, 0, SEEK_SET) &&
        (text = malloc((size_t)size + 1)) != NULL)
        text[fread(text, 1, (size_t)size, f)] = 0;
    if (f) fclose(f);
    return text;
}

gr_status build_text(const char *text, built *out, gr_err *err)
{
    *out = (built){0};
    gr_status status = gr_doc_parse_text(text, strlen(text), "text", &out->doc, err);
    if (status != GR_OK) return status;
    if (!(out->arena = gr_arena_new())) status = gr_nomem(err);
    if (status == GR_OK) status = gr_graph_build(out->doc, out->arena, NULL, &out->graph, err);
    if (status == GR_OK) status = gr_graph_check(out->graph, err);
    if (status != GR_OK) built_free(out);
    return status;
}

built infer_text(const char *text)
{
    gr_err err = {0};
    built b;
    gr_status status = build_text(text, &b, &err);
    if (status == GR_OK && (status = gr_graph_infer(b.graph, 1 << 20, &err)) != GR_OK) built_free(&b);
    if (status == GR_OK && (status = gr_graph_check(b.graph, &err)) != GR_OK) built_free(&b);
    if (status != GR_OK) FAIL("%s", err.text);
    return b;
}

void built_free(built *b)
{
    gr_arena_free(b->arena);
    gr_doc_free(b->doc);
    *b = (built){0};
}

int count_ops(const gr_graph *g, const char *op)
{
    int n = 0;
    for (const gr_node *node = g->first; node; node = node->next) n += !strcmp(node->op->name, op);
    return n;
}

gr_node *find_op(const gr_graph *g, const char *op)
{
    for (gr_node *node = g->first; node; node = node->next)
        if (!strcmp(node->op->name, op)) return node;
    return NULL;
}

const char *type_of_value(const gr_graph *g, const char *name)
{
    const gr_value *v = gr_graph_find(g, name);
    return v ? gr_type_text(g->syms, g->arena, &v->type) : "no such value";
}

double element_of(const gr_tensor *t, int64_t i)
{
    union {
        float f;
        double d;
        uint16_t h;
        int64_t l;
        uint64_t ul;
        int32_t i;
        uint32_t u;
        int16_t s;
    } x;
    size_t size = (size_t)gr_dtype_bits(t->dtype) / 8;
    const uint8_t *at = (const uint8_t *)t->data + (size_t)i * size;
    if (size <= sizeof x) memcpy(&x, at, size);
    switch (t->dtype) {
    case GR_FLOAT: return (double)x.f;
    case GR_DOUBLE: return x.d;
    case GR_FLOAT16: return (double)gr_half_to_float(x.h);
    case GR_BFLOAT16: return (double)gr_bfloat_to_float(x.h);
    case GR_INT64: return (double)x.l;
    case GR_UINT64: return (double)x.ul;
    case GR_INT32: return x.i;
    case GR_UINT32: return x.u;
    case GR_INT16: return x.s;
    case GR_UINT16: return x.h;
    case GR_INT8: return *(const int8_t *)at;
    case GR_UINT8:
    case GR_BOOL: return *at;
    default: return (double)NAN;
    }
}

/* Expected values are computed in double and written with seven digits. Kernels sum in another order and approximate
 * exp, erf and tanh within a few units in the last place, which a difference of large terms magnifies. The half types
 * are computed in float and rounded once or twice. */
static bool close_enough(gr_dtype type, double got, double want)
{
    double atol = 1e-5, rtol = 1e-4;
    if (got == want || (isnan(got) && isnan(want))) return true;
    if (type == GR_DOUBLE) atol = rtol = 2e-7;
    if (type == GR_FLOAT16) atol = 2e-4, rtol = 0x1p-9;
    if (type == GR_BFLOAT16) atol = 1e-3, rtol = 0x1p-6;
    return fabs(got - want) <= atol + rtol * fabs(want) && !isinf(want);
}

bool same_tensor(const gr_tensor *got, const gr_tensor *want, char *why, size_t room)
{
    snprintf(why, room, "is %s of rank %d, expected %s of rank %d", gr_dtype_name(got->dtype), got->rank,
             gr_dtype_name(want->dtype), want->rank);
    if (got->kind != GR_KIND_TENSOR || got->dtype != want->dtype || got->rank != want->rank) return false;
    for (int i = 0; i < want->rank; i++) {
        snprintf(why, room, "dimension %d is %lld, expected %lld", i, (long long)got->dims[i],
                 (long long)want->dims[i]);
        if (got->dims[i] != want->dims[i]) return false;
    }
    if (!gr_dtype_is_float(want->dtype)) {
        size_t each = (size_t)(gr_dtype_bits(want->dtype) + 7) / 8;
        for (size_t at = 0; at < want->size; at += each) {
            if (!memcmp((char *)got->data + at, (char *)want->data + at, each)) continue;
            int64_t i = (int64_t)(at / each);
            snprintf(why, room, "element %lld is %.17g, expected %.17g", (long long)i, element_of(got, i),
                     element_of(want, i));
            return false;
        }
        return true;
    }
    for (int64_t i = 0; i < want->elements; i++) {
        double a = element_of(got, i), b = element_of(want, i);
        if (close_enough(want->dtype, a, b)) continue;
        snprintf(why, room, "element %lld is %.9g, expected %.9g", (long long)i, a, b);
        return false;
    }
    return true;
}

static bool opened(gr_status status, const gr_session_options *options, running *out, gr_err *err)
{
    if (status == GR_OK) status = gr_session_create(out->model, options, &out->session, err);
    if (status == GR_OK) return true;
    FAIL("%s", err->text);
    close_running(out);
    return false;
}

bool open_text(const char *text, const gr_model_options *model, const gr_session_options *session, running *out)
{
    gr_err err = {0};
    *out = (running){0};
    return opened(gr_model_load_memory(text, strlen(text), NULL, model, &out->model, &err), session, out, &err);
}

bool open_file(const char *path, const gr_model_options *model, const gr_session_options *session, running *out)
{
    gr_err err = {0};
    *out = (running){0};
    return opened(gr_model_load(path, model, &out->model, &err), session, out, &err);
}

void close_running(running *r)
{
    gr_session_free(r->session);
    gr_model_free(r->model);
    *r = (running){0};
}

gr_named_tensor view_of(const char *name, gr_dtype type, int rank, const int64_t *dims, void *data)
{
    size_t size = (size_t)gr_dtype_bits(type) / 8;
    for (int i = 0; i < rank; i++) size *= (size_t)dims[i];
    return (gr_named_tensor){name, {type, rank, dims, data, size}};
}

void check_floats(const gr_tensor_view *t, int64_t count, const float *want)
{
    if (t->type != GR_FLOAT || t->size != (size_t)count * sizeof *want) {
        FAIL("it is %s of %zu bytes, expected %lld floats", gr_dtype_name(t->type), t->size, (long long)count);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        float x;
        memcpy(&x, (const char *)t->data + (size_t)i * sizeof x, sizeof x);
        CHECK_THAT(close_enough(GR_FLOAT, (double)x, (double)want[i]), "element %lld is %g, expected %g", (long long)i,
                   (double)x, (double)want[i]);
    }
}

uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}
