/* SPDX-License-Identifier: Apache-2.0
 *
 * graphdump's formats of every model that there is, at every level: text is read back as a graph with types, JSON is
 * JSON, and the model loaded once more gives the same bytes.
 */
#include "dump/dump.h"
#include "dump/shapes.h"
#include "support.h"
#include "zoo.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEEPEST = 64 };

static gr_err err;

/* ---- JSON ---- */

static const char *skip_space(const char *at)
{
    while (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r') at++;
    return at;
}

/* Behind the string, number or word at `at`; NULL: there is none. */
static const char *skip_scalar(const char *at)
{
    static const char *const words[] = {"true", "false", "null"};
    char *end;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strncmp(at, words[i], strlen(words[i]))) return at + strlen(words[i]);
    if (*at != '"') {
        if (*at != '-' && !isdigit((unsigned char)*at)) return NULL;
        if (*at == '0' && isalnum((unsigned char)at[1])) return NULL;
        strtod(at, &end);
        return end > at ? end : NULL;
    }
    for (at++; *at != '"'; at++) {
        if ((unsigned char)*at < ' ') return NULL;
        if (*at == '\\' && (!at[1] || !strchr("\"\\/bfnrtu", *++at))) return NULL;
    }
    return at + 1;
}

/* Whether the whole text is one JSON value; *line is where it is not. */
static bool is_json(const char *text, long *line)
{
    char open[DEEPEST];
    int depth = 0;
    const char *at = skip_space(text);
    bool first = true; /* nothing stands in the innermost bracket yet */
    do {
        if (!first && depth && *at != open[depth - 1]) {
            if (*at != ',') break;
            at = skip_space(at + 1);
            if (*at == open[depth - 1]) break;
        }
        if (depth && *at == open[depth - 1]) {
            depth--, at++, first = false;
        } else {
            if (depth && open[depth - 1] == '}') {
                const char *key = *at == '"' ? skip_scalar(at) : NULL;
                if (!key || *(key = skip_space(key)) != ':') break;
                at = skip_space(key + 1);
            }
            first = *at == '{' || *at == '[';
            if (first && depth == DEEPEST) break;
            const char *end = first ? at + 1 : skip_scalar(at);
            if (first) open[depth++] = *at == '{' ? '}' : ']';
            if (!end) break;
            at = end;
        }
        at = skip_space(at);
    } while (depth);
    *line = 1;
    for (const char *c = text; c < at; c++) *line += *c == '\n';
    return !depth && !*at && at > text;
}

static void test_json(void)
{
    static const char *const good[] = {"{}", "[1, -2.5e3, \"a\\\"\", {\"b\": [true, null]}, []]\n", "0"};
    static const char *const bad[] = {"",      "{",       "[1,]",   "[1 2]",     "{\"a\" 1}", "{1: 2}",
                                      "[nan]", "[1] [2]", "[\"\n\"]", "{\"a\": 1,}", "[1}",       "[inf]"};
    long line;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK_THAT(is_json(good[i], &line), "%s is JSON", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_THAT(!is_json(bad[i], &line), "'%s' is no JSON", bad[i]);
}

/* ---- dumps ---- */

static const char *const levels[] = {"raw", "canonical", "fused", "outlined", "plan"};

typedef struct format {
    const char *name;
    dump_fn write;
    int from; /* the first level at which it is tried */
} format;

static const format formats[] = {{"text", dump_text, 0}, {"json", dump_json, 0}, {"dot", dump_dot, 3}, {"tree", dump_tree, 3}};

enum { LEVELS = sizeof levels / sizeof *levels, FORMATS = sizeof formats / sizeof *formats };

typedef struct dumps {
    char *text[LEVELS][FORMATS]; /* NULL: it failed, and the test has */
} dumps;

static char *dump(const char *name, const gr_view *view, const dump_options *options, dump_fn write)
{
    char *text = NULL;
    size_t size;
    dump_sink sink = {.file = open_memstream(&text, &size)};
    CU_ASSERT_PTR_NOT_NULL_FATAL(sink.file);
    bool written = write(view, options, &sink, &err);
    written = dump_drain(&sink, NULL, &err) && written;
    fclose(sink.file);
    CHECK_THAT(written, "%s: %s: %s", name, options->level, err.text);
    return text;
}

static void dump_levels(const char *name, const char *path, dumps *out)
{
    const cli_sizes sizes = {1, {8}};
    gr_model *model = NULL;
    dump_shapes shapes = {0};
    CHECK_OK(gr_model_load(path, NULL, &model, &err));
    if (!model) return;
    CHECK_THAT(dump_shapes_make(model, &sizes, &shapes, &err), "%s: %s", name, err.text);
    for (int i = 0; i < LEVELS; i++) {
        const gr_view_options o = {
            .level = (gr_view_level)i, .inputs = shapes.inputs, .input_count = shapes.count, .origins = true};
        const dump_options d = {.model = name, .level = levels[i], .shape = shapes.text, .constants = SIZE_MAX};
        gr_view *view = NULL;
        CHECK_ELSE(gr_view_new(model, &o, &view, &err) == GR_OK, FAIL("%s: %s: %s", name, levels[i], err.text));
        for (int k = 0; view && k < FORMATS; k++)
            if (i >= formats[k].from) out->text[i][k] = dump(name, view, &d, formats[k].write);
        gr_view_free(view);
    }
    dump_shapes_free(&shapes);
    gr_model_free(model);
}

static void check_text(const char *name, const char *level, const char *text)
{
    built b;
    gr_status status = build_text(text, &b, &err);
    if (status == GR_OK) {
        status = gr_graph_infer(b.graph, 1 << 20, &err);
        built_free(&b);
    }
    CHECK_THAT(status == GR_OK, "%s: %s: its text: %s", name, level, err.text);
}

static void check_model(const char *name, const char *path)
{
    dumps one = {0}, two = {0};
    long line;
    dump_levels(name, path, &one);
    dump_levels(name, path, &two);
    for (int i = 0; i < LEVELS; i++) {
        for (int k = 0; k < FORMATS; k++) {
            const char *a = one.text[i][k], *b = two.text[i][k];
            CHECK_THAT(!a == !b && (!a || !strcmp(a, b)), "%s: %s, %s: not the same twice", name, levels[i],
                       formats[k].name);
            if (a && formats[k].write == dump_text) check_text(name, levels[i], a);
            if (a && formats[k].write == dump_json)
                CHECK_THAT(is_json(a, &line), "%s: %s: no JSON in line %ld", name, levels[i], line);
            free(one.text[i][k]);
            free(two.text[i][k]);
        }
    }
}

static void check_case(const char *name, const char *folder, const char *dtype, void *user)
{
    char path[1024];
    (void)dtype, (void)user;
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    check_model(name, path);
}

static void test_model(void) { check_model("bert-tiny", GR_SOURCE_DIR "/models/bert-tiny/model.onnx"); }
static void test_zoo(void) { zoo_each(check_case, NULL); }

static CU_TestInfo tests[] = {{"JSON is told from what is none", test_json},
                              {"a model's dumps", test_model},
                              {"the zoo's dumps", test_zoo},
                              CU_TEST_INFO_NULL};
CU_SuiteInfo suite_dump = {"dump", NULL, NULL, NULL, NULL, tests};
