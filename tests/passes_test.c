/* SPDX-License-Identifier: Apache-2.0
 *
 * Passes: every model of tests/passes is rewritten as its file says, and what comes out is compared with the file: the
 * graph, the rules that applied and the reasons of those that almost did. In every case the graph must hold together, a
 * second walk must find nothing, and the values must be those of the graph without passes.
 */
#include "golden.h"
#include "passes/pass.h"
#include "passes/passes.h"
#include <dirent.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_FILES = 256, MAX_VALUES = 16, NAME = 64 };

static gr_err err;

/* ---- values ---- */

static const gr_sym_binding sizes[] = {{"batch", 2}, {"sequence", 5}, {"past", 3}, {"N", 3}, {"M", 4}};

static void set_element(gr_tensor *x, int64_t i, uint32_t *seed)
{
    const uint32_t n = next_random(seed);
    const float f = (float)(n % 2000) / 500 - 2;
    switch (x->dtype) {
    case GR_FLOAT: ((float *)x->data)[i] = f; break;
    case GR_DOUBLE: ((double *)x->data)[i] = (double)f; break;
    case GR_FLOAT16: ((uint16_t *)x->data)[i] = gr_float_to_half(f); break;
    case GR_BFLOAT16: ((uint16_t *)x->data)[i] = gr_float_to_bfloat(f); break;
    case GR_INT64: ((int64_t *)x->data)[i] = n % 3; break;
    case GR_INT32: ((int32_t *)x->data)[i] = (int32_t)(n % 3); break;
    case GR_BOOL: ((uint8_t *)x->data)[i] = n % 3 != 0; break;
    case GR_INT8:
    case GR_UINT8: ((uint8_t *)x->data)[i] = (uint8_t)n; break;
    default: abort();
    }
}

static gr_tensor *random_input(const gr_type *t, uint32_t *seed)
{
    int64_t dims[GR_MAX_RANK];
    for (int i = 0; i < t->rank; i++)
        if (!gr_sym_eval(t->dims[i], sizes, sizeof sizes / sizeof *sizes, &dims[i])) dims[i] = 4;
    gr_tensor *x = gr_tensor_new(t->dtype, t->rank, dims);
    if (!x) abort();
    for (int64_t i = 0; i < x->elements; i++) set_element(x, i, seed);
    return x;
}

/* Fused operators sum in another order; where the file has 16 bits they round less often. */
static double tolerance(const gr_graph *g, gr_dtype type)
{
    double most = gr_dtype_is_float(type) ? 1e-5 : 0;
    for (const gr_node *n = g->first; n; n = n->next) {
        const gr_value *v = gr_out(n, 0);
        if (v && most > 0 && v->type.dtype == GR_FLOAT16) most = fmax(most, 0x1p-9);
        if (v && most > 0 && v->type.dtype == GR_BFLOAT16) most = fmax(most, 0x1p-6);
    }
    return most;
}

/* Masks leave values that stand for infinity; they are no part of the range. */
static bool is_fill(double x) { return !(fabs(x) < 1e30); }

static void compare_tensors(const golden *c, const char *name, double rtol, const gr_tensor *got, const gr_tensor *want)
{
    double least = DBL_MAX, most = -DBL_MAX;
    bool same = got->dtype == want->dtype && got->rank == want->rank;
    for (int i = 0; same && i < want->rank; i++) same = got->dims[i] == want->dims[i];
    if (!same) golden_fails(c, c->line, "output '%s' has another type or shape than without passes", name);
    for (int64_t i = 0; i < want->elements; i++) {
        const double x = element_of(want, i);
        if (is_fill(x)) continue;
        least = fmin(least, x);
        most = fmax(most, x);
    }
    const double range = most >= least ? fmax(most - least, fmax(fabs(most), fabs(least))) : 0;
    for (int64_t i = 0; same && i < want->elements; i++) {
        const double a = element_of(got, i), b = element_of(want, i);
        const double room = rtol * (is_fill(b) ? fabs(b) : range);
        if (a == b || (isnan(a) && isnan(b)) || (fabs(a - b) <= room && !isinf(b))) continue;
        golden_fails(c, c->line, "element %lld of output '%s' is %.9g, without passes %.9g", (long long)i, name, a, b);
        return;
    }
}

static void compare_values(const golden *c, const gr_graph *plain, const gr_graph *rewritten)
{
    gr_tensor *in[MAX_VALUES], *want[MAX_VALUES] = {0}, *got[MAX_VALUES] = {0};
    uint32_t seed = 99;
    if (plain->ninputs > MAX_VALUES || plain->noutputs > MAX_VALUES) abort();
    for (size_t i = 0; i < plain->ninputs; i++) in[i] = random_input(&plain->inputs[i]->type, &seed);
    if (gr_eval_graph(NULL, plain, (const gr_tensor *const *)in, want, &err) != GR_OK)
        golden_fails(c, c->line, "does not run without passes: %s", err.text);
    else if (gr_eval_graph(NULL, rewritten, (const gr_tensor *const *)in, got, &err) != GR_OK)
        golden_fails(c, c->line, "does not run after the passes: %s", err.text);
    for (size_t i = 0; i < plain->noutputs; i++) {
        if (want[i] && got[i])
            compare_tensors(c, plain->output_names[i], fmax(c->rows, tolerance(plain, want[i]->dtype)), got[i], want[i]);
        gr_tensor_free(want[i]);
        gr_tensor_free(got[i]);
    }
    for (size_t i = 0; i < plain->ninputs; i++) gr_tensor_free(in[i]);
}

/* ---- one case ---- */

static gr_status run_passes(const golden *c, gr_graph *g)
{
    const char *left_out[GOLDEN_PASSES * 2];
    gr_pass_options o = {.disabled = left_out};
    size_t count;
    const gr_pass *all = gr_pass_list(&count);
    for (size_t i = 0; i < count && c->npasses; i++) {
        bool wanted = false;
        for (size_t k = 0; k < c->npasses; k++) wanted |= !strcmp(c->passes[k], all[i].name);
        if (!wanted) left_out[o.ndisabled++] = all[i].name;
    }
    gr_status status = gr_passes_run(g, &o, &err);
    if (status == GR_OK) status = gr_graph_check(g, &err);
    return status;
}

/* What the file is to say: the graph, or that it is as before, with what the passes noted. */
static char *outcome(const gr_graph *g, const char *before, const char *after)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (!f) abort();
    fputs(strcmp(before, after) ? after : "unchanged\n", f);
    for (size_t i = 0; i < g->log->nhits; i++)
        fprintf(f, "%s%s %lld", i ? ", " : "# applied: ", g->log->hits[i].rule, (long long)g->log->hits[i].count);
    if (g->log->nhits) fputs("\n", f);
    for (size_t i = 0; i < g->log->nmisses; i++) fprintf(f, "# missed: %s\n", g->log->misses[i].why);
    fclose(f);
    return text;
}

static void check_idle(const golden *c, gr_graph *g, const gr_graph *plain, const char *text)
{
    int swept = 0;
    if (gr_graph_infer(g, c->fold, &err) || run_passes(c, g) || gr_pass_dead(g, &swept, &err)) {
        golden_fails(c, c->line, "a second walk fails: %s", err.text);
        return;
    }
    for (size_t i = 0; i < g->log->nhits; i++)
        golden_fails(c, c->line, "'%s' applies again in a second walk", g->log->hits[i].rule);
    char *again = golden_text(g, plain);
    if (again && strcmp(again, text)) golden_fails(c, c->line, "a second walk makes another graph:\n%s", again);
    free(again);
}

static char *rewrite(const golden *c, const built *plain, built *b)
{
    int swept = 0;
    if (gr_pass_dead(b->graph, &swept, &err) != GR_OK) return NULL;
    char *before = golden_text(b->graph, plain->graph), *after = NULL, *all = NULL;
    gr_status status = run_passes(c, b->graph);
    if (status == GR_OK) status = gr_graph_infer(b->graph, c->fold, &err);
    if (status == GR_OK) status = gr_pass_dead(b->graph, &swept, &err);
    if (status == GR_OK) after = golden_text(b->graph, plain->graph);
    if (after && before) {
        all = outcome(b->graph, before, after);
        compare_values(c, plain->graph, b->graph);
        check_idle(c, b->graph, plain->graph, after);
    } else {
        golden_fails(c, c->line, "the passes fail: %s", err.text);
    }
    free(before);
    free(after);
    return all;
}

static bool build_golden(const golden *c, built *out)
{
    static const char head[] = "<ir_version: 10, opset_import: [\"\" : 17]> ";
    const char *model = c->model;
    while (*model == '#') model += strcspn(model, "\n") + 1;
    char *text = malloc(strlen(model) + sizeof head);
    if (!text) abort();
    sprintf(text, "%s%s", *model == '<' ? "" : head, model);
    gr_status status = build_text(text, out, &err);
    free(text);
    if (status == GR_OK && (status = gr_graph_infer(out->graph, c->fold, &err)) != GR_OK) built_free(out);
    if (status != GR_OK) golden_fails(c, c->line, "%s", err.text);
    return status == GR_OK;
}

static char *run_case(const golden *c)
{
    built plain, b;
    if (!build_golden(c, &plain)) return NULL;
    char *text = NULL;
    if (build_golden(c, &b)) {
        b.graph->by_row = c->rows > 0;
        text = rewrite(c, &plain, &b);
        built_free(&b);
    }
    built_free(&plain);
    return text;
}

/* ---- files ---- */

static char names[MAX_FILES][2 * NAME];
static CU_TestInfo tests[MAX_FILES + 1];
static int next_file;

static void test_file(void)
{
    char path[sizeof GR_SOURCE_DIR + 3 * NAME];
    snprintf(path, sizeof path, GR_SOURCE_DIR "/tests/passes/%s.onnxtxt", names[next_file++]);
    golden_file(path, run_case);
}

static bool has_cases(const char *pass)
{
    const size_t n = strlen(pass);
    for (int i = 0; i < MAX_FILES; i++)
        if (!strncmp(names[i], pass, n) && names[i][n] == '/') return true;
    return false;
}

static void test_folders(void)
{
    size_t count;
    const gr_pass *all = gr_pass_list(&count);
    next_file = 0;
    for (size_t i = 0; i < count; i++)
        CHECK_THAT(has_cases(all[i].name), "tests/passes/%s has no cases", all[i].name);
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

static int list_folder(const char *folder, int n)
{
    char path[sizeof GR_SOURCE_DIR + 2 * NAME];
    snprintf(path, sizeof path, GR_SOURCE_DIR "/tests/passes/%.*s", NAME, folder);
    DIR *dir = *folder == '.' ? NULL : opendir(path);
    for (struct dirent *e; dir && n < MAX_FILES - 1 && (e = readdir(dir));) {
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || strcmp(dot, ".onnxtxt") || dot - e->d_name >= NAME) continue;
        snprintf(names[n++], sizeof names[0], "%.*s/%.*s", NAME - 1, folder, (int)(dot - e->d_name), e->d_name);
    }
    if (dir) closedir(dir);
    return n;
}

/* One test per file; the table must stand before main registers the suites. */
__attribute__((constructor)) static void list_files(void)
{
    DIR *dir = opendir(GR_SOURCE_DIR "/tests/passes");
    int n = 0;
    for (struct dirent *e; dir && (e = readdir(dir));) n = list_folder(e->d_name, n);
    if (dir) closedir(dir);
    qsort(names, (size_t)n, sizeof names[0], by_name);
    tests[0] = (CU_TestInfo){"every pass has cases", test_folders};
    for (int i = 0; i < n; i++) tests[i + 1] = (CU_TestInfo){names[i], test_file};
}

CU_SuiteInfo suite_passes = {"passes", NULL, NULL, NULL, NULL, tests};
