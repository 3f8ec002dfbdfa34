/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading the cases of tests/ops.
 */
#include "op_case.h"
#include <stdio.h>
#include <stdlib.h>

void case_fails(const op_case *c, const char *fmt, ...)
{
    char text[GR_ERR_SIZE];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    fail_at(c->file, c->line, "%s: %s", c->doc && c->doc->graph ? c->doc->graph->name : "?", text);
}

/* ---- values ---- */

static gr_doc_tensor *take(op_case *c, const char *name)
{
    for (size_t i = 0; i < c->nrest; i++) {
        gr_doc_tensor *t = c->rest[i];
        if (strcmp(t->name, name)) continue;
        memmove(c->rest + i, c->rest + i + 1, (--c->nrest - i) * sizeof *c->rest);
        return t;
    }
    return NULL;
}

gr_tensor *tensor_of(const gr_doc_tensor *t, alignment how)
{
    gr_tensor *out = gr_calloc(1, sizeof *out);
    char *data = gr_malloc_aligned(t->size + 64);
    if (!out || !data) abort();
    if (how == SHIFTED) data++;
    if (t->size) memcpy(data, t->data, t->size);
    *out = (gr_tensor){.kind = GR_KIND_TENSOR,
                       .dtype = t->dtype,
                       .rank = t->rank,
                       .elements = t->elements,
                       .size = t->size,
                       .data = data};
    if (t->rank) memcpy(out->dims, t->dims, (size_t)t->rank * sizeof *t->dims);
    out->aligned = how == ALIGNED || gr_dtype_bits(t->dtype) <= 8;
    return out;
}

void tensor_of_free(gr_tensor *t)
{
    if (!t) return;
    char *data = t->data;
    gr_free_aligned(data - ((uintptr_t)data & 1), t->size + 64);
    gr_free(t);
}

/* Outputs first: a value that is both is expected to come out as it went in. */
static bool take_values(op_case *c)
{
    gr_doc_graph *g = c->doc->graph;
    bool good = true;
    c->nout = g->out.count;
    c->nin = g->in.count;
    c->nrest = g->ninit;
    c->want = calloc(c->nout + 1, sizeof(void *));
    c->in = calloc(c->nin + 1, sizeof(void *));
    c->rest = calloc(c->nrest + 1, sizeof(void *));
    if (!c->want || !c->in || !c->rest) abort();
    if (c->nrest) memcpy(c->rest, g->init, c->nrest * sizeof *c->rest);
    for (size_t i = 0; i < c->nout; i++) {
        const gr_doc_tensor *t = take(c, g->out.items[i].name);
        if (t)
            c->want[i] = tensor_of(t, ALIGNED);
        else if (!c->bad)
            good = false;
    }
    for (size_t i = 0; i < c->nin; i++) good &= (c->in[i] = take(c, g->in.items[i].name)) != NULL;
    return good;
}

bool kept_input(const op_case *c, size_t i, keep which)
{
    const gr_doc_tensor *t = c->in[i];
    return which == KEEP_ALL || (which == KEEP_LISTS && t->dtype == GR_INT64 && t->rank <= 1);
}

gr_status build_case(op_case *c, keep which, built *out, gr_err *err)
{
    gr_doc_graph *g = c->doc->graph;
    *out = (built){.arena = gr_arena_new()};
    g->init = GR_NEWS(c->doc->arena, c->nrest + c->nin, gr_doc_tensor *);
    if (!out->arena || !g->init) abort();
    g->ninit = 0;
    for (size_t i = 0; i < c->nrest; i++) g->init[g->ninit++] = c->rest[i];
    for (size_t i = 0; i < c->nin; i++)
        if (kept_input(c, i, which)) g->init[g->ninit++] = c->in[i];
    gr_status status = gr_graph_build(c->doc, out->arena, NULL, &out->graph, err);
    if (status == GR_OK) status = gr_graph_check(out->graph, err);
    if (status != GR_OK) built_free(out);
    return status;
}

/* ---- files ---- */

static void find_error(op_case *c)
{
    static const char mark[] = "# error: ";
    const char *at = strstr(c->text, mark);
    if (at)
        snprintf(c->error, sizeof c->error, "%.*s", (int)strcspn(at + sizeof mark - 1, "\r\n"), at + sizeof mark - 1);
}

static void free_case(op_case *c)
{
    for (size_t i = 0; i < c->nout; i++) tensor_of_free(c->want[i]);
    free(c->want);
    free(c->in);
    free(c->rest);
    gr_doc_free(c->doc);
}

static bool blank(const char *text)
{
    while (*text) {
        text += strspn(text, " \t\r\n");
        if (*text != '#') return !*text;
        text += strcspn(text, "\n");
    }
    return true;
}

static bool one_case(op_case *c, void (*run)(op_case *c))
{
    gr_err err = {0};
    find_error(c);
    if (gr_doc_parse_text(c->text, strlen(c->text), c->file, &c->doc, &err) != GR_OK || !c->doc->graph) {
        case_fails(c, "%s", err.text);
        return false;
    }
    c->bad = !strncmp(c->doc->graph->name, "bad_", 4);
    if (take_values(c))
        run(c);
    else
        case_fails(c, "an input or output has no initializer");
    free_case(c);
    return true;
}

bool each_case(const char *path, void (*run)(op_case *c))
{
    char *text = read_text(path), *at = text, *next;
    const char *name = strstr(path, "tests/");
    unsigned line = 1, count = 0;
    bool good = text != NULL;
    for (; at; at = next) {
        char *end = strncmp(at, "---\n", 4) ? strstr(at, "\n---\n") : at - 1;
        next = end ? end + 5 : NULL;
        if (end) end[1] = 0;
        op_case c = {.file = name ? name : path, .line = line, .text = at};
        for (const char *p = at; *p; p++) line += *p == '\n';
        line += next != NULL;
        if (blank(at)) continue;
        good &= one_case(&c, run);
        count++;
    }
    free(text);
    return good && count;
}
