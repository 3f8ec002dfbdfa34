/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun verify: run the data sets that lie beside a model in ONNX's layout and compare.
 */
#include "compare.h"
#include "data_set.h"
#include "engine.h"
#include "json.h"
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* Of exports as deep as these results move by 1e-6 to 1e-5 with the order of summation. Who computes in 16 bits rounds
 * to 2^-11 or 2^-8 in every step, and a result of other steps is some of those away. */
#define TOLERANCE        1e-4
#define TOLERANCE_HALF   1e-2
#define TOLERANCE_BFLOAT 8e-2
#define TOLERANCE_INT8   3e-1

typedef struct verify {
    compare_limits limits;
    bool by_weights; /* no limits are given: the type of the model's weights says what to expect */
    bool json, no_passes, strict;
    const char *precision;
    int64_t threads;
    size_t max_memory;
    const char *verbose;
    bool many; /* one line per case */
    cli_text out;
    cli_json j;
    size_t cases, passed, failed, errors;
} verify;

/* One model with its data sets. */
typedef struct test_case {
    char *name, *model;
    char **sets;
    size_t set_count, set_cap;
} test_case;

typedef struct case_result {
    size_t sets;
    double error, cosine;
    bool ok;
    cli_text why; /* the first output that is wrong */
} case_result;

/* ---- Finding ---- */

/* By the number at the end, then by name. */
static int by_number(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    const char *p = x + strlen(x), *q = y + strlen(y);
    while (p > x && p[-1] >= '0' && p[-1] <= '9') p--;
    while (q > y && q[-1] >= '0' && q[-1] <= '9') q--;
    size_t n = strlen(p + strspn(p, "0")), m = strlen(q + strspn(q, "0"));
    if (n != m) return n < m ? -1 : 1;
    int c = strcmp(p + strspn(p, "0"), q + strspn(q, "0"));
    return c ? c : strcmp(x, y);
}

/* A folder is a data set, or holds some as test_data_set_N. */
static void add_sets(test_case *t, const char *folder)
{
    if (set_is(folder)) {
        *CLI_PUSH(t->sets, t->set_count, t->set_cap) = cli_strdup(folder);
        return;
    }
    DIR *dir = opendir(folder);
    size_t before = t->set_count;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (strncmp(entry->d_name, "test_data_set_", 14)) continue;
        char *path = cli_join(folder, entry->d_name);
        if (cli_is_folder(path))
            *CLI_PUSH(t->sets, t->set_count, t->set_cap) = path;
        else
            free(path);
    }
    if (dir) closedir(dir);
    if (t->set_count > before) qsort(t->sets + before, t->set_count - before, sizeof *t->sets, by_number);
}

static char *last_part(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    size_t start = n;
    while (start > 0 && path[start - 1] != '/') start--;
    return cli_strndup(path + start, n - start);
}

/* The folder that a path lies in. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? cli_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : cli_strdup(".");
}

static bool find_model(const char *folder, test_case *t)
{
    static const char *const names[] = {"model.onnx", "model.onnxtxt"};
    for (size_t i = 0; i < 2; i++) {
        t->model = cli_join(folder, names[i]);
        if (cli_exists(t->model)) return true;
        free(t->model);
    }
    t->model = NULL;
    return false;
}

static void free_case(test_case *t)
{
    for (size_t i = 0; i < t->set_count; i++) free(t->sets[i]);
    free(t->sets);
    free(t->name);
    free(t->model);
    *t = (test_case){0};
}

/* ---- Running one data set ---- */

static bool bind(const engine *e, const data_set *d, gr_named_tensor *in, gr_named_tensor *out, gr_err *err)
{
    size_t ins = gr_model_input_count(e->model), outs = gr_model_output_count(e->model);
    for (size_t i = 0; i < d->in_count; i++) {
        in[i] = (gr_named_tensor){set_value_name(e->model, gr_model_input, ins, &d->in[i], i), cli_view(&d->in[i])};
        if (!in[i].name) return cli_fail(err, GR_EINPUT, "input_%zu.pb has no input in the model", i);
    }
    for (size_t i = 0; i < d->out_count; i++) {
        out[i] = (gr_named_tensor){.name = set_value_name(e->model, gr_model_output, outs, &d->out[i], i)};
        if (!out[i].name) return cli_fail(err, GR_EINPUT, "output_%zu.pb has no output in the model", i);
    }
    return true;
}

static void add_index(cli_text *out, const cli_tensor *t, int64_t at)
{
    cli_add(out, "[");
    for (int d = 0; d < t->rank; d++) {
        int64_t below = 1;
        for (int a = d + 1; a < t->rank; a++) below *= t->dims[a];
        cli_add(out, "%s%lld", d ? ", " : "", (long long)(below ? at / below % t->dims[d] : 0));
    }
    cli_add(out, "]");
}

static void judge(verify *v, const cli_tensor *expected, const gr_named_tensor *got, size_t width, case_result *result)
{
    gr_tensor_view want = cli_view(expected);
    compare_result c = compare_values(&got->tensor, &want, &v->limits);
    cli_text detail = {0};
    if (*c.why)
        cli_add(&detail, "%s", c.why);
    else {
        cli_add(&detail, "greatest error %.3g", c.error);
        if (c.error > 0 && expected->rank >= 0) {
            cli_add(&detail, " at ");
            add_index(&detail, expected, c.at);
            if (cli_is_float(expected->type)) cli_add(&detail, ", least cosine %.7f", c.cosine);
        }
    }
    if (!c.ok && result->ok) cli_add(&result->why, "%s: %s", cli_show(got->name), detail.data);
    if (c.error > result->error) result->error = c.error;
    if (c.cosine < result->cosine) result->cosine = c.cosine;
    result->ok = result->ok && c.ok;
    if (v->json) {
        json_open(&v->j, NULL, '{');
        json_text(&v->j, "name", got->name);
        json_bool(&v->j, "ok", c.ok);
        json_number(&v->j, "error", c.error);
        json_number(&v->j, "cosine", c.cosine);
        json_close(&v->j, '}');
    } else if (!v->many) {
        cli_add(&v->out, "  %-*s  %s  %s%s\n", (int)width, cli_show(got->name),
                cli_view_text(&want).s, detail.data, c.ok ? "" : "  WRONG");
    }
    cli_text_free(&detail);
}

static bool run_set(verify *v, engine *e, const char *folder, case_result *result, gr_err *err)
{
    data_set d = {0};
    bool ok = set_read(e->model, folder, "input", &d.in, &d.in_count, err) &&
              set_read(e->model, folder, "output", &d.out, &d.out_count, err);
    if (ok && !d.out_count) ok = cli_fail(err, GR_EIO, "%s: there is no output_0.pb", cli_show(folder));
    gr_named_tensor *in = cli_array(d.in_count, sizeof *in), *out = cli_array(d.out_count, sizeof *out);
    ok = ok && bind(e, &d, in, out, err) && gr_session_run(e->session, in, d.in_count, out, d.out_count, err) == GR_OK;
    if (ok) {
        char *name = last_part(folder);
        size_t width = 0;
        for (size_t i = 0; i < d.out_count; i++)
            if (strlen(out[i].name) > width && strlen(out[i].name) <= 40) width = strlen(out[i].name);
        if (v->json) {
            json_open(&v->j, NULL, '{');
            json_text(&v->j, "set", name);
            json_open(&v->j, "outputs", '[');
        } else if (!v->many) {
            cli_add(&v->out, "%s\n", cli_show(name));
        }
        for (size_t i = 0; i < d.out_count; i++) judge(v, &d.out[i], &out[i], width, result);
        if (v->json) json_close(&v->j, ']'), json_close(&v->j, '}');
        result->sets++;
        free(name);
    }
    free(in);
    free(out);
    set_free(&d);
    return ok;
}

/* ---- Cases ---- */

static bool run_case_sets(verify *v, const test_case *t, case_result *result, gr_err *err)
{
    engine e = {.threads = v->threads, .max_memory = v->max_memory, .no_passes = v->no_passes, .strict = v->strict,
                .precision = v->precision, .verbose = v->verbose};
    if (!t->set_count)
        return cli_fail(err, GR_EIO, "%s: there is no test_data_set folder beside it", cli_show(t->model));
    if (!engine_open(&e, t->model, err)) {
        free(e.path);
        return false;
    }
    if (v->by_weights) {
        gr_model_summary summary;
        gr_model_summarize(e.model, &summary);
        const char *precision = e.precision ? e.precision : "f32";
        const bool bfloat = summary.weight_type == GR_BFLOAT16 || !strcmp(precision, "bf16") || !strcmp(precision, "auto");
        v->limits.atol = v->limits.rtol = !strcmp(precision, "int8")        ? TOLERANCE_INT8
                                          : bfloat                            ? TOLERANCE_BFLOAT
                                          : summary.weight_type == GR_FLOAT16 ? TOLERANCE_HALF
                                                                              : TOLERANCE;
    }
    bool ok = true;
    engine_catch_interrupt(&e);
    for (size_t i = 0; ok && i < t->set_count; i++) {
        engine_check_interrupt();
        ok = run_set(v, &e, t->sets[i], result, err);
        if (!ok && engine_interrupted()) exit(CLI_EXIT_INTERRUPT);
        if (!ok && !strstr(err->text, cli_show(t->sets[i]))) cli_fail_context(err, "%s", cli_show(t->sets[i]));
    }
    engine_catch_interrupt(&(engine){0});
    engine_close(&e);
    return ok;
}

static void run_case(verify *v, const test_case *t)
{
    case_result r = {.ok = true, .cosine = 1};
    gr_err err = {.text = ""};
    if (v->json) {
        json_open(&v->j, NULL, '{');
        json_text(&v->j, "case", t->name);
        json_open(&v->j, "sets", '[');
    }
    bool ran = run_case_sets(v, t, &r, &err);
    v->cases++;
    v->passed += ran && r.ok, v->failed += ran && !r.ok, v->errors += !ran;
    if (v->json) {
        json_close(&v->j, ']');
        json_text(&v->j, "result", !ran ? "error" : r.ok ? "ok" : "wrong");
        if (!ran) json_text(&v->j, "reason", err.text);
        json_close(&v->j, '}');
    } else if (v->many && ran) {
        cli_add(&v->out, "%-5s  %-36s  %zu set%s  greatest error %.3g%s%s\n", r.ok ? "ok" : "WRONG", cli_show(t->name),
                r.sets, r.sets == 1 ? " " : "s", r.error, r.ok ? "" : "  ", r.ok ? "" : r.why.data);
    } else if (v->many) {
        cli_add(&v->out, "ERROR  %-36s  %s\n", cli_show(t->name), err.text);
    } else if (!ran) {
        cli_flush(&v->out);
        cli_die(CLI_EXIT_FAILURE, "%s", err.text);
    } else {
        cli_add(&v->out, "%s: %zu data set%s, greatest error %.3g\n", r.ok ? "ok" : "wrong", r.sets,
                r.sets == 1 ? "" : "s", r.error);
    }
    cli_text_free(&r.why);
    if (!v->json) cli_flush(&v->out);
}

/* What the arguments mean: one model file and folders with its data sets, or folders that each are a case. */
static void run_arguments(verify *v, const cli_command *self, const cli_list *args)
{
    test_case t = {0};
    if (!cli_is_folder(args->items[0])) {
        t.model = cli_strdup(args->items[0]);
        t.name = last_part(args->items[0]);
        for (size_t i = 1; i < args->n; i++) {
            if (!cli_is_folder(args->items[i])) cli_usage(self, "%s is no folder", cli_show(args->items[i]));
            add_sets(&t, args->items[i]);
        }
        char *folder = folder_of(args->items[0]);
        if (args->n == 1) add_sets(&t, folder);
        free(folder);
        run_case(v, &t);
        free_case(&t);
        return;
    }
    bool sets_follow = args->n > 1; /* MODEL_FOLDER DIR...: folders without a model of their own */
    for (size_t i = 1; i < args->n && sets_follow; i++) {
        sets_follow = !find_model(args->items[i], &t);
        free_case(&t);
    }
    v->many = args->n > 1 && !sets_follow;
    for (size_t i = 0; i < (sets_follow ? 1 : args->n); i++) {
        gr_err err;
        t.name = last_part(args->items[i]);
        if (!find_model(args->items[i], &t)) {
            cli_fail(&err, GR_EIO, "%s: there is no model.onnx", cli_show(args->items[i]));
            if (!v->many) cli_die(CLI_EXIT_FAILURE, "%s", err.text);
            t.model = cli_join(args->items[i], "model.onnx");
        }
        for (size_t s = 1; sets_follow && s < args->n; s++) add_sets(&t, args->items[s]);
        if (!sets_follow) add_sets(&t, args->items[i]);
        run_case(v, &t);
        free_case(&t);
    }
}

static int run(const cli_command *self, int argc, char **argv)
{
    verify v = {.limits = {-1, -1, -2}};
    engine options_of = {0};
    cli_list args = {0};
    double atol = -1, rtol = -1, cosine = -2;
    const cli_option options[] = {
        {"--atol", "X", CLI_REAL, &atol, "absolute tolerance (default 1e-4; 1e-2 for a model with float16\nweights, 8e-2 with bfloat16, 0.3 in int8)", 0},
        {"--rtol", "X", CLI_REAL, &rtol, "tolerance relative to the expected value (default: as --atol's)", 0},
        {"--cosine", "C", CLI_REAL, &cosine,
         "least cosine of every row (last axis) of an output; in place of the\ntolerances if none is given", 0},
        {"--json", NULL, CLI_FLAG, &v.json, "print JSON instead of text", 0},
        ENGINE_OPTIONS(options_of),
        {0}};
    cli_parse(self, options, argc, argv, &args);
    if (!args.n) cli_usage(self, "give a model");
    bool none = atol < 0 && rtol < 0;
    v.limits = (compare_limits){atol >= 0             ? atol
                                : cosine >= 0 && none ? INFINITY
                                                      : TOLERANCE,
                                rtol >= 0            ? rtol
                                : none && cosine < 0 ? TOLERANCE
                                                     : 0,
                                cosine};
    if (rtol < 0 && atol >= 0) v.limits.rtol = TOLERANCE;
    v.by_weights = none && cosine < 0;
    v.threads = options_of.threads, v.max_memory = options_of.max_memory;
    v.no_passes = options_of.no_passes, v.strict = options_of.strict, v.verbose = options_of.verbose;
    v.precision = options_of.precision;
    v.j = (cli_json){&v.out, true};
    if (v.json) json_open(&v.j, NULL, '{'), json_open(&v.j, "cases", '[');
    run_arguments(&v, self, &args);
    if (v.json) {
        json_close(&v.j, ']');
        json_int(&v.j, "ok", (int64_t)v.passed);
        json_int(&v.j, "wrong", (int64_t)v.failed);
        json_int(&v.j, "errors", (int64_t)v.errors);
        json_close(&v.j, '}');
        cli_add(&v.out, "\n");
    } else if (v.many) {
        cli_add(&v.out, "%zu of %zu ok, %zu wrong, %zu not run\n", v.passed, v.cases, v.failed, v.errors);
    }
    cli_flush(&v.out);
    cli_text_free(&v.out);
    free(args.items);
    return v.passed == v.cases ? CLI_EXIT_OK : CLI_EXIT_FAILURE;
}

const cli_command cli_verify_command = {
    "verify", run, "run a model's test data and compare",
    "graphrun verify MODEL [DIR...] [options]\n       graphrun verify FOLDER... [options]",
    "MODEL is a file or a folder with model.onnx in it. Each DIR is a data set in ONNX's layout (input_I.pb,\n"
    "output_I.pb; a tensor belongs to the input or output of its name, else to that of its number) or a\n"
    "folder with some, as test_data_set_0; without DIR, those beside the model. Several folders that each\n"
    "hold a model give one line each and a summary.\n"
    "\n"
    "A value is right if it is equal, or |value - expected| <= atol + rtol * |expected|; NaN is equal to\n"
    "NaN, and whole numbers have no rtol. Prints the greatest error of each output; the exit status is 1\n"
    "if one is beyond the tolerance or a model does not run."};
