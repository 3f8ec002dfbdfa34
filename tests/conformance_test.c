/* SPDX-License-Identifier: Apache-2.0
 *
 * ONNX's node tests, as tests/conformance/make_cases.py writes them, through the public C API: with all passes on two threads, and with
 * none on one. tests/conformance/manifest.txt has a line for each case, "name pass" or "name refused: sentence", where the
 * sentence is part of what the library says. A case that does otherwise, better or worse, fails the suite; so does
 * every wrong result and every error that is not GR_EUNSUPPORTED, listed or not.
 *
 * The cases are looked for in $GR_CONFORMANCE_DIR, else where the build puts them. With $GR_CONFORMANCE_UPDATE the
 * suite writes what it saw to that file, wrong cases left out. $GR_CONFORMANCE_ONLY picks cases by a part of their name.
 */
#include "compare.h"
#include "support.h"
#include "tensor.h"
#include <stdio.h>
#include <stdlib.h>

#ifndef GR_CONFORMANCE_DIR
#define GR_CONFORMANCE_DIR GR_BINARY_DIR "/conformance"
#endif
#define MANIFEST GR_SOURCE_DIR "/tests/conformance/manifest.txt"

enum { MAX_LINE = 1024, MAX_SLOTS = 32 };

/* ---- lists of lines ---- */

typedef struct lines {
    char **items;
    size_t count, cap;
} lines;

static bool read_lines(const char *path, lines *out)
{
    char line[MAX_LINE];
    FILE *f = fopen(path, "r");
    *out = (lines){0};
    if (!f) return false;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = 0;
        if (line[0] && line[0] != '#') *CLI_PUSH(out->items, out->count, out->cap) = cli_strdup(line);
    }
    fclose(f);
    return true;
}

static void free_lines(lines *l)
{
    for (size_t i = 0; i < l->count; i++) free(l->items[i]);
    free(l->items);
}

/* What follows "name " in a manifest that is sorted by name; NULL if there is no such line. */
static const char *line_of(const lines *manifest, const char *name)
{
    size_t n = strlen(name), low = 0, high = manifest->count;
    while (low < high) {
        size_t at = low + (high - low) / 2;
        const char *line = manifest->items[at];
        int order = strncmp(line, name, n);
        if (order == 0 && line[n] == ' ') return line + n + 1;
        if (order < 0) low = at + 1;
        else high = at;
    }
    return NULL;
}

/* ---- one case ---- */

typedef struct node_case {
    const char *folder, *name;
    double rtol, atol;
    size_t nin, nout;
    bool random; /* zeros and ones that nobody can know */
    cli_tensor in[MAX_SLOTS], want[MAX_SLOTS];
} node_case;

typedef enum outcome { PASS, REFUSED, WRONG } outcome;

static size_t count_words(const char *words)
{
    size_t n = 0;
    for (; *(words += strspn(words, " ")) && n < MAX_SLOTS; n++) words += strcspn(words, " ");
    return n;
}

static bool read_description(node_case *c)
{
    char path[MAX_LINE];
    lines l;
    snprintf(path, sizeof path, "%s/%s/case.txt", c->folder, c->name);
    if (!read_lines(path, &l)) return false;
    for (size_t i = 0; i < l.count; i++) {
        if (!strncmp(l.items[i], "rtol ", 5)) c->rtol = strtod(l.items[i] + 5, NULL);
        if (!strncmp(l.items[i], "atol ", 5)) c->atol = strtod(l.items[i] + 5, NULL);
        if (!strcmp(l.items[i], "random")) c->random = true;
        if (!strncmp(l.items[i], "inputs ", 7)) c->nin = count_words(l.items[i] + 7);
        if (!strncmp(l.items[i], "outputs ", 8)) c->nout = count_words(l.items[i] + 8);
    }
    free_lines(&l);
    return c->nout > 0;
}

/* Of the kind that the model declares. Tensors of strings stay empty: the library refuses the models that have them. */
static gr_status read_value(const node_case *c, const char *role, size_t i, const gr_value_info *info, cli_tensor *out,
                            gr_err *err)
{
    char path[MAX_LINE];
    cli_file *file;
    snprintf(path, sizeof path, "%s/%s/test_data_set_0/%s_%zu.pb", c->folder, c->name, role, i);
    if (!cli_file_open(path, false, &file, err)) return GR_EINVAL;
    bool ok = cli_pb_parse_as(file, info->kind, out, err);
    cli_file_drop(file);
    return ok || err->status == GR_EUNSUPPORTED ? GR_OK : GR_EINVAL;
}

/* Type and shape are as expected, and every element is 0 or 1. */
static bool same_kind(const gr_tensor_view *got, const gr_tensor_view *want)
{
    if (got->type != want->type || got->rank != want->rank || got->size != want->size) return false;
    if (want->rank && memcmp(got->dims, want->dims, (size_t)want->rank * sizeof *want->dims)) return false;
    int64_t n = (int64_t)(got->size / (size_t)(gr_dtype_bits(got->type) / 8));
    for (int64_t i = 0; i < n; i++) {
        double v = cli_value(got->type, got->data, i);
        if (v != 0 && v != 1) return false;
    }
    return true;
}

/* bfloat16 has two units in its last place, as ONNX's own runner grants them. */
static bool same_view(const node_case *c, const char *name, const gr_tensor_view *got, const gr_tensor_view *want,
                        gr_err *err)
{
    compare_limits limits = {c->atol, c->rtol, -2};
    if (want->type == GR_BFLOAT16 && limits.rtol < 0x1p-6) limits.rtol = 0x1p-6;
    compare_result r = compare_tensors(got, want, &limits);
    if (r.ok) return true;
    if (r.why[0]) return cli_fail(err, GR_EINVAL, "output '%s': %s", name, r.why);
    return cli_fail(err, GR_EINVAL, "output '%s': element %lld is %.9g, expected %.9g", name, (long long)r.at,
                    cli_value(got->type, got->data, r.at), cli_value(want->type, want->data, r.at));
}

static bool same(const node_case *c, const char *name, const gr_tensor_view *got, const cli_tensor *want, gr_err *err)
{
    gr_tensor_view expected = cli_view(want);
    if (c->random)
        return same_kind(got, &expected) || cli_fail(err, GR_EINVAL, "output '%s' is no tensor of zeros and ones", name);
    if (got->rank >= 0 && want->rank >= 0) return same_view(c, name, got, &expected, err);
    if (got->rank != want->rank || got->size != want->size)
        return cli_fail(err, GR_EINVAL, "output '%s' is %d of %zu bytes, expected %d of %zu", name, got->rank, got->size,
                        want->rank, want->size);
    for (size_t i = 0; i < want->count; i++)
        if (!same_view(c, name, (const gr_tensor_view *)got->data + i, (const gr_tensor_view *)want->data + i, err))
            return false;
    return true;
}

static gr_status run_session(node_case *c, gr_model *model, gr_session *session, gr_err *err)
{
    gr_named_tensor in[MAX_SLOTS], out[MAX_SLOTS];
    gr_value_info info = {0};
    size_t nin = 0;
    for (size_t i = 0; i < c->nin && gr_model_input(model, i, &info) == GR_OK; i++) {
        GR_TRY(read_value(c, "input", i, &info, &c->in[i], err));
        if (c->in[i].type || c->in[i].rank < 0) in[nin++] = (gr_named_tensor){info.name, cli_view(&c->in[i])};
    }
    for (size_t i = 0; i < c->nout; i++) {
        gr_status status = gr_model_output(model, i, &info);
        out[i] = (gr_named_tensor){.name = status == GR_OK ? info.name : NULL};
        GR_TRY(read_value(c, "output", i, &info, &c->want[i], err));
    }
    GR_TRY(gr_session_run(session, in, nin, out, c->nout, err));
    for (size_t i = 0; i < c->nout; i++)
        if (!same(c, out[i].name, &out[i].tensor, &c->want[i], err)) return GR_EINVAL;
    return GR_OK;
}

static gr_status run_model(node_case *c, gr_model *model, int threads, gr_err *err)
{
    gr_session *session;
    gr_session_options options = {.struct_size = sizeof options, .threads = threads};
    GR_TRY(gr_session_create(model, &options, &session, err));
    gr_status status = run_session(c, model, session, err);
    gr_session_free(session);
    for (size_t i = 0; i < MAX_SLOTS; i++) {
        cli_tensor_free(&c->in[i]);
        cli_tensor_free(&c->want[i]);
    }
    return status;
}

static outcome run_once(node_case *c, bool no_passes, gr_err *err)
{
    char path[MAX_LINE];
    gr_model *model = NULL;
    gr_model_options options = {.struct_size = sizeof options, .no_passes = no_passes};
    snprintf(path, sizeof path, "%s/%s/model.onnx", c->folder, c->name);
    gr_status status = gr_model_load(path, &options, &model, err);
    if (status == GR_OK) status = run_model(c, model, no_passes ? 1 : 2, err);
    gr_model_free(model);
    return status == GR_OK ? PASS : status == GR_EUNSUPPORTED ? REFUSED : WRONG;
}

static outcome run_case(const char *folder, const char *name, gr_err *err)
{
    node_case *c = cli_alloc(sizeof *c);
    outcome o = WRONG;
    c->folder = folder;
    c->name = name;
    if (!read_description(c)) {
        cli_fail(err, GR_EIO, "case.txt cannot be read");
    } else {
        o = run_once(c, false, err);
        if (o == PASS && (o = run_once(c, true, err)) != PASS) {
            cli_fail_context(err, "without passes");
            o = WRONG;
        }
    }
    free(c);
    return o;
}

/* ---- all cases ---- */

static const char refused[] = "refused: ";

/* A reason of the manifest that is part of the sentence stays. */
static void write_line(FILE *out, const char *name, const char *line, outcome o, const gr_err *err)
{
    const char *file = strstr(err->text, "/model.onnx: "), *reason = file ? file + 13 : err->text;
    if (line && !strncmp(line, refused, sizeof refused - 1) && strstr(reason, line + sizeof refused - 1))
        reason = line + sizeof refused - 1;
    fprintf(out, "%s %s%s\n", name, o == PASS ? "pass" : refused, o == PASS ? "" : reason);
}

static void judge(const char *name, const char *line, outcome o, const gr_err *err)
{
    if (o == WRONG)
        FAIL("%s fails: %s", name, err->text);
    else if (!line)
        FAIL("%s is not in the manifest; it %s %s", name, o == PASS ? "passes" : "is refused:", o ? err->text : "");
    else if (!strcmp(line, "pass") && o == REFUSED)
        FAIL("%s is refused: %s", name, err->text);
    else if (strcmp(line, "pass") && (strncmp(line, refused, sizeof refused - 1) || !line[sizeof refused - 1]))
        FAIL("%s has a line that says neither 'pass' nor 'refused: ' and why", name);
    else if (strcmp(line, "pass") && o == PASS)
        FAIL("%s passes now, its line in the manifest is out of date", name);
    else
        CHECK_THAT(o != REFUSED || strstr(err->text, line + sizeof refused - 1),
                   "%s is refused for another reason than the manifest's: %s", name, err->text);
}

static void run_cases(const char *folder, const lines *cases, const lines *manifest)
{
    const char *update = getenv("GR_CONFORMANCE_UPDATE"), *only = getenv("GR_CONFORMANCE_ONLY");
    FILE *out = update && *update ? fopen(update, "w") : NULL;
    size_t count[WRONG + 1] = {0};
    for (size_t i = 0; i < cases->count; i++) {
        gr_err err = {.text = ""};
        const char *name = cases->items[i];
        if (only && !strstr(name, only)) continue;
        outcome o = run_case(folder, name, &err);
        count[o]++;
        judge(name, line_of(manifest, name), o, &err);
        if (out && o != WRONG) write_line(out, name, line_of(manifest, name), o, &err);
    }
    if (out) fclose(out);
    printf("\n    %zu of %zu cases pass, %zu are refused, %zu fail ", count[PASS], cases->count, count[REFUSED],
           count[WRONG]);
}

static void test_cases(void)
{
    char path[MAX_LINE];
    lines cases, manifest;
    const char *folder = getenv("GR_CONFORMANCE_DIR");
    if (!folder || !*folder) folder = GR_CONFORMANCE_DIR;
    snprintf(path, sizeof path, "%s/cases.txt", folder);
    if (!read_lines(path, &cases)) {
        printf("\n    skipped: tests/conformance/make_cases.py has not written its cases to %s ", folder);
        return;
    }
    if (!read_lines(MANIFEST, &manifest)) FAIL("%s cannot be read", MANIFEST);
    run_cases(folder, &cases, &manifest);
    for (size_t i = 0; i < manifest.count; i++) {
        size_t n = strcspn(manifest.items[i], " ");
        bool known = false;
        for (size_t k = 0; k < cases.count && !known; k++)
            known = !strncmp(cases.items[k], manifest.items[i], n) && !cases.items[k][n];
        if (!known) FAIL("the manifest has a line about %.*s, which is no case", (int)n, manifest.items[i]);
    }
    free_lines(&cases);
    free_lines(&manifest);
}

static void test_manifest(void)
{
    lines l;
    if (!read_lines(MANIFEST, &l)) FAIL("%s cannot be read", MANIFEST);
    CU_ASSERT_TRUE(l.count > 1000);
    for (size_t i = 1; i < l.count; i++) {
        char a[MAX_LINE], b[MAX_LINE];
        snprintf(a, sizeof a, "%.*s", (int)strcspn(l.items[i - 1], " "), l.items[i - 1]);
        snprintf(b, sizeof b, "%.*s", (int)strcspn(l.items[i], " "), l.items[i]);
        if (strcmp(a, b) >= 0) FAIL("the manifest is not sorted at %s", b);
    }
    free_lines(&l);
}

static CU_TestInfo tests[] = {
    {"manifest is sorted", test_manifest}, {"cases are as the manifest says", test_cases}, CU_TEST_INFO_NULL};
CU_SuiteInfo suite_conformance = {"conformance", NULL, NULL, NULL, NULL, tests};
