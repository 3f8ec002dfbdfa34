/* SPDX-License-Identifier: Apache-2.0
 *
 * Products in bfloat16 and in bytes: how near results stay to those in floats, that a sequence has the same bits alone
 * and in any batch, with any number of threads, what weights take in memory, and that a second run allocates nothing.
 */
#include "ragged.h"
#include "support.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static gr_err err;

/* ---- models ---- */

/* The least cosine between rows of the tokens that are there. */
static double least_cosine(const ragged *r, const gr_tensor_view *x, const gr_tensor_view *y)
{
    const int64_t width = x->dims[x->rank - 1], rows = x->rank == 3 ? r->tokens : 1;
    double least = 1;
    for (int64_t b = 0; b < r->batch; b++)
        for (int64_t i = 0; i < (x->rank == 3 ? r->length[b] : 1); i++) {
            const float *p = (const float *)x->data + (b * rows + i) * width,
                        *q = (const float *)y->data + (b * rows + i) * width;
            double pq = 0, pp = 0, qq = 0;
            for (int64_t j = 0; j < width; j++) {
                pq += (double)p[j] * q[j];
                pp += (double)p[j] * p[j];
                qq += (double)q[j] * q[j];
            }
            const double cosine = pp > 0 && qq > 0 ? pq / sqrt(pp * qq) : pp == qq;
            if (!(cosine >= least)) least = cosine;
        }
    return least;
}

typedef struct mode {
    gr_precision precision;
    const char *name;
    double least; /* cosine to floats of any row */
    const char *claim; /* of GRAPHRUN_BF16 */
} mode;

/* Random weights of 32 columns are harder than trained ones of hundreds. */
static const mode modes[] = {{GR_PRECISION_BF16, "bf16 weights", 0.999, "never"},
                             {GR_PRECISION_BF16, "bf16", 0.999, "always"},
                             {GR_PRECISION_INT8, "int8", 0.99, "never"}};
enum { MODES = sizeof modes / sizeof *modes };

typedef struct seen {
    int models;
    double least[MODES];
} seen;

static void check_sequences(const char *name, gr_model *m, const ragged *r, const mode *k, const trial *batch)
{
    for (int64_t b = 0; b < r->batch; b++) {
        const gr_session_options one = {.struct_size = sizeof one, .threads = 1, .precision = k->precision};
        int64_t dims[2];
        gr_named_tensor in[MAX_INPUTS];
        trial alone;
        cut(r, b, dims, in);
        if (run_trial(m, &one, in, r->nin, &alone))
            for (size_t i = 0; i < alone.count; i++)
                CHECK_THAT(!compares(&batch->out[i].tensor, r->batch, r->tokens) ||
                               same_sequence(&batch->out[i].tensor, b, &alone.out[i].tensor, 0, r->tokens, r->length[b]),
                           "%s, %s: '%s' of sequence %lld is another one alone", name, k->name, alone.out[i].name,
                           (long long)b);
        free_trial(&alone);
    }
}

static void check_mode(const char *name, gr_model *m, const ragged *r, const trial *floats, size_t which, seen *seen)
{
    const mode *k = &modes[which];
    const gr_session_options two = {.struct_size = sizeof two, .threads = 2, .precision = k->precision};
    trial t;
    setenv("GRAPHRUN_BF16", k->claim, 1);
    if (run_trial(m, &two, r->in, r->nin, &t)) {
        for (size_t i = 0; i < t.count; i++) {
            const gr_tensor_view *x = &floats->out[i].tensor, *y = &t.out[i].tensor;
            if (!compares(x, r->batch, r->tokens) || x->dims[x->rank - 1] < 8) continue; /* few numbers say little */
            const double cosine = least_cosine(r, x, y);
            if (cosine < seen->least[which]) seen->least[which] = cosine;
            CHECK_THAT(cosine >= k->least, "%s, %s: '%s' has a row with a cosine of %.5f to that in floats", name,
                       k->name, t.out[i].name, cosine);
        }
        if (is_open(m)) check_sequences(name, m, r, k, &t);
    }
    free_trial(&t);
}

static void check_model(const char *name, const char *folder, const char *dtype, void *user)
{
    static zoo_tensors in;
    char path[1024];
    int64_t length[8];
    gr_model *m = NULL;
    ragged r = {.length = length};
    trial floats = {0};
    seen *seen = user;
    if (strcmp(dtype, "float32")) return;
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    CHECK_OK(gr_model_load(path, NULL, &m, &err));
    snprintf(path, sizeof path, "%s/test_data_set_1", folder);
    if (m && zoo_read(path, "input", m, gr_model_input, &in, &err) && is_ragged(&in, &r) &&
        run_trial(m, NULL, r.in, r.nin, &floats)) {
        seen->models++;
        for (size_t i = 0; i < MODES; i++) check_mode(name, m, &r, &floats, i, seen);
    }
    free_trial(&floats);
    zoo_free(&in);
    gr_model_free(m);
}

/* Quantised models: their own arithmetic is no measure of precision, so only for bits. */
static void check_quantised(const char *name, const char *folder, const char *dtype, void *user)
{
    static zoo_tensors in;
    const mode *bytes = &modes[MODES - 1];
    const gr_session_options two = {.struct_size = sizeof two, .threads = 2, .precision = bytes->precision};
    char path[1024];
    int64_t length[8];
    gr_model *m = NULL;
    ragged r = {.length = length};
    trial t = {0};
    if (strcmp(dtype, "int8") && strcmp(dtype, "int4")) return;
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    CHECK_OK(gr_model_load(path, NULL, &m, &err));
    snprintf(path, sizeof path, "%s/test_data_set_1", folder);
    if (m && zoo_read(path, "input", m, gr_model_input, &in, &err) && is_ragged(&in, &r) && is_open(m) &&
        run_trial(m, &two, r.in, r.nin, &t)) {
        ++*(int *)user;
        check_sequences(name, m, &r, bytes, &t);
    }
    free_trial(&t);
    zoo_free(&in);
    gr_model_free(m);
}

static void test_quantised(void)
{
    int models = 0;
    zoo_each(check_quantised, &models);
    printf("(%d models) ", models);
}

static void test_models(void)
{
    static const char *const own[] = {"bert-tiny", "bert-tiny-cls", "bert-tiny-encoder"};
    seen s = {.least = {1, 1, 1}};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        char folder[512];
        snprintf(folder, sizeof folder, GR_SOURCE_DIR "/models/%s", own[i]);
        check_model(own[i], folder, "float32", &s);
    }
    zoo_each(check_model, &s);
    unsetenv("GRAPHRUN_BF16");
    printf("(%d models, least cosine %.5f with bf16 weights, %.5f in bf16 and %.5f in int8) ", s.models, s.least[0],
           s.least[1], s.least[2]);
    CU_ASSERT_TRUE(s.models >= 3);
}

/* ---- one layer ---- */

enum { K = 256, N = 200, ROWS = 70 };

typedef struct data {
    float w[K * N], b[N], x[ROWS * K];
} data;

static float uniform(uint32_t *seed) { return (float)(next_random(seed) % 20001) / 10000.0f - 1; }

/* Rows differ in size. */
static void make_data(data *d)
{
    uint32_t seed = 5;
    for (int i = 0; i < K * N; i++) d->w[i] = uniform(&seed) * 0.1f;
    for (int i = 0; i < N; i++) d->b[i] = uniform(&seed);
    for (int i = 0; i < ROWS * K; i++) d->x[i] = uniform(&seed) * (float)(1 + i / K);
}

static void add_numbers(cli_text *text, const char *what, const char *format, const float *x, int n, float scale)
{
    cli_add(text, "%s = {", what);
    for (int i = 0; i < n; i++) {
        cli_add(text, "%s", i ? ", " : "");
        cli_add(text, format, (double)roundf(x[i] * scale));
    }
    cli_add(text, "}");
}

/* Weights as floats of four decimals, or as bytes for activations that are quantised in the run. */
static char *layer_text(const data *d, bool bytes)
{
    cli_text text = {0};
    cli_add(&text, "<ir_version: 10, opset_import: [\"\" : 17]> g (float[n, %d] x) => (float[n, %d] y) <", K, N);
    if (bytes) {
        char name[64];
        snprintf(name, sizeof name, "int8[%d, %d] w", K, N);
        add_numbers(&text, name, "%.0f", d->w, K * N, 1000);
        cli_add(&text, ", float s = {0.001}> { q, a, z = DynamicQuantizeLinear (x) m = MatMulInteger (q, w, z)"
                       " f = Cast <to = 1> (m) t = Mul (a, s) y = Mul (f, t) }");
    } else {
        char name[64];
        snprintf(name, sizeof name, "float[%d, %d] w", K, N);
        add_numbers(&text, name, "%.0fe-4", d->w, K * N, 10000);
        snprintf(name, sizeof name, ", float[%d] b", N);
        add_numbers(&text, name, "%.0fe-4", d->b, N, 10000);
        cli_add(&text, "> { p = MatMul (x, w) y = Add (p, b) }");
    }
    return text.data;
}

/* y of rows [first, first + rows) in a session that is closed again; zeros if it fails. */
static void run_layer(gr_model *m, gr_precision precision, int threads, float *x, int64_t first, int64_t rows, float *y,
                      gr_memory_info *memory)
{
    const gr_session_options options = {.struct_size = sizeof options, .threads = threads, .precision = precision};
    const int64_t dims[] = {rows, K};
    gr_named_tensor in = FLOATS("x", 2, dims, x + first * K), out = WANTED("y");
    gr_session *s = NULL;
    memset(y, 0, (size_t)(rows * N) * sizeof *y);
    CHECK_OK(gr_session_create(m, &options, &s, &err));
    if (!s) return;
    CHECK_OK(gr_session_run(s, &in, 1, &out, 1, &err));
    if (out.tensor.data) memcpy(y, out.tensor.data, (size_t)(rows * N) * sizeof *y);
    gr_malloc_fail_after(1);
    CHECK_OK(gr_session_run(s, &in, 1, &out, 1, &err)); /* once more, without an allocation */
    gr_malloc_fail_after(0);
    if (memory) gr_session_memory(s, memory);
    gr_session_free(s);
}

static gr_model *open_layer(const data *d, bool bytes, bool strict, char **text)
{
    const gr_model_options options = {.struct_size = sizeof options, .strict = strict};
    gr_model *m = NULL;
    *text = layer_text(d, bytes);
    CHECK_OK(gr_model_load_memory(*text, strlen(*text), NULL, &options, &m, &err));
    return m;
}

/* Square root of the mean of squared errors, in that of the floats. */
static double error_of(const float *x, const float *y, int n)
{
    double error = 0, sum = 0;
    for (int i = 0; i < n; i++) {
        error += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
        sum += (double)y[i] * y[i];
    }
    return sqrt(error / sum);
}

static data d;
static float want[ROWS * N], got[ROWS * N], part[ROWS * N];

static void check_rows(gr_model *m, gr_precision precision)
{
    static const int64_t pieces[][2] = {{0, 1}, {69, 1}, {3, 5}, {0, 64}, {17, 53}};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        for (int threads = 1; threads <= 3; threads++) {
            const int64_t first = pieces[i][0], rows = pieces[i][1];
            run_layer(m, precision, threads, d.x, first, rows, part, NULL);
            CHECK_THAT(!memcmp(part, got + first * N, (size_t)(rows * N) * sizeof *part),
                       "precision %d, %d threads: rows from %d on are others alone", precision, threads, (int)first);
        }
}

/* `claim`: whether the CPU is said to multiply bfloat16. */
static void check_layer(const char *claim)
{
    static const double bound[] = {[GR_PRECISION_F32] = 0, [GR_PRECISION_BF16] = 0.004, [GR_PRECISION_INT8] = 0.015};
    size_t bytes[3] = {0};
    make_data(&d);
    setenv("GRAPHRUN_BF16", claim, 1);
    for (gr_precision p = GR_PRECISION_F32; p <= GR_PRECISION_INT8; p++) {
        gr_memory_info memory = {0};
        char *text;
        gr_model *m = open_layer(&d, false, false, &text);
        if (m) run_layer(m, p, 2, d.x, 0, ROWS, got, &memory);
        if (p == GR_PRECISION_F32) memcpy(want, got, sizeof want);
        const double error = error_of(got, want, ROWS * N);
        CHECK_THAT(error <= bound[p], "precision %d: an error of %.5f", p, error);
        bytes[p] = memory.packed_bytes;
        if (m) check_rows(m, p);
        gr_model_free(m);
        free(text);
    }
    CHECK_THAT(bytes[0] >= K * N * sizeof(float) && bytes[1] * 2 == bytes[0] && bytes[2] * 10 <= bytes[0] * 3,
               "packed weights take %zu, %zu and %zu bytes", bytes[0], bytes[1], bytes[2]);
    unsetenv("GRAPHRUN_BF16");
}

static void test_layer(void)
{
    check_layer("never");
    check_layer("always");
}

/* y = (x w) v, and h = x w if that is wanted. */
static size_t run_chain(gr_model *m, int64_t first, int64_t rows, bool middle, float *y)
{
    const gr_session_options options = {.struct_size = sizeof options, .threads = 2, .precision = GR_PRECISION_BF16};
    const int64_t dims[] = {rows, K};
    gr_named_tensor in = FLOATS("x", 2, dims, d.x + first * K), out[] = {WANTED("y"), WANTED("h")};
    gr_memory_info memory = {0};
    gr_session *s = NULL;
    CHECK_OK(gr_session_create(m, &options, &s, &err));
    CHECK_OK(gr_session_run(s, &in, 1, out, middle ? 2 : 1, &err));
    if (out->tensor.data) memcpy(y, out->tensor.data, (size_t)(rows * K) * sizeof *y);
    if (middle) CHECK_THAT(out[1].tensor.size == (size_t)(rows * N) * sizeof *y, "the middle is not there");
    gr_session_memory(s, &memory);
    gr_session_free(s);
    return memory.arena_bytes;
}

/* A product that another one alone reads writes its rows rounded, in half the memory; the bits are those of rows that are
 * rounded later. */
static void test_chain(void)
{
    static float whole[ROWS * K], other[ROWS * K];
    cli_text text = {0};
    char name[64];
    gr_model *m = NULL;
    make_data(&d);
    cli_add(&text, "<ir_version: 10, opset_import: [\"\" : 17]> g (float[n, %d] x) => (float[n, %d] y) <", K, K);
    snprintf(name, sizeof name, "float[%d, %d] w", K, N);
    add_numbers(&text, name, "%.0fe-4", d.w, K * N, 10000);
    snprintf(name, sizeof name, ", float[%d, %d] v", N, K);
    add_numbers(&text, name, "%.0fe-4", d.w, K * N, 10000);
    cli_add(&text, "> { h = MatMul (x, w) y = MatMul (h, v) }");
    setenv("GRAPHRUN_BF16", "always", 1);
    CHECK_OK(gr_model_load_memory(text.data, strlen(text.data), NULL, NULL, &m, &err));
    if (m) {
        const size_t less = run_chain(m, 0, ROWS, false, whole), more = run_chain(m, 0, ROWS, true, other);
        CHECK_THAT(!memcmp(whole, other, sizeof whole), "rows that the first product rounds are others");
        CHECK_THAT(less + ROWS * N * sizeof(float) <= more, "%zu bytes without the middle, %zu with it", less, more);
        run_chain(m, 3, 5, false, other);
        CHECK_THAT(!memcmp(whole + 3 * K, other, 5 * K * sizeof *other), "rows are others alone");
    }
    unsetenv("GRAPHRUN_BF16");
    gr_model_free(m);
    free(text.data);
}

/* Rows of zeros give the bias; what is not finite spoils its own row alone. */
static void test_odd_rows(void)
{
    static float x[6 * K];
    static const float special[] = {0, 1e-40f, 3e38f, NAN, INFINITY};
    char *text;
    make_data(&d);
    gr_model *m = open_layer(&d, false, false, &text);
    memcpy(x, d.x, sizeof x);
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < (i < 2 ? K : 1); j++) x[i * K + j] = special[i];
    if (m) run_layer(m, GR_PRECISION_INT8, 2, x, 0, 6, got, NULL);
    if (m) run_layer(m, GR_PRECISION_INT8, 2, d.x, 5, 1, part, NULL);
    CU_ASSERT_FALSE(memcmp(got + 5 * N, part, N * sizeof *part));
    for (int j = 0; j < N; j++) {
        const float bias = roundf(d.b[j] * 10000) / 10000;
        CHECK_THAT(fabsf(got[j] - bias) < 1e-6f && fabsf(got[N + j] - bias) < 1e-6f, "column %d: %g and %g for %g", j,
                   (double)got[j], (double)got[N + j], (double)bias);
        CHECK_THAT(isfinite(got[2 * N + j]) && !isfinite(got[3 * N + j]) && !isfinite(got[4 * N + j]),
                   "column %d: %g, %g, %g", j, (double)got[2 * N + j], (double)got[3 * N + j], (double)got[4 * N + j]);
    }
    gr_model_free(m);
    free(text);
}

/* With one scale for all rows the small ones lose; with one for each they do not, unless the model is strict. */
static void test_dynamic(void)
{
    static float exact[ROWS * N];
    char *text;
    make_data(&d);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < N; j++) {
            double sum = 0;
            for (int k = 0; k < K; k++) sum += (double)d.x[i * K + k] * roundf(d.w[k * N + j] * 1000) / 1000;
            exact[i * N + j] = (float)sum;
        }
    gr_model *m = open_layer(&d, true, false, &text);
    if (m) {
        run_layer(m, GR_PRECISION_F32, 2, d.x, 0, ROWS, want, NULL);
        run_layer(m, GR_PRECISION_INT8, 2, d.x, 0, ROWS, got, NULL);
        CU_ASSERT_TRUE(error_of(want, exact, N) > 0.05);
        CU_ASSERT_TRUE(error_of(got, exact, N) < 0.015);
        check_rows(m, GR_PRECISION_INT8);
    }
    gr_model_free(m);
    free(text);
    m = open_layer(&d, true, true, &text);
    if (m) run_layer(m, GR_PRECISION_INT8, 2, d.x, 0, ROWS, got, NULL);
    CU_ASSERT_FALSE(memcmp(got, want, sizeof got));
    gr_model_free(m);
    free(text);
}

/* ---- the precision that the first run chooses ---- */

static void keep_line(void *user, gr_log_level level, const char *line)
{
    if (level == GR_LOG_INFO && !strncmp(line, "precision: ", 11)) snprintf(user, 64, "%s", line + 11);
}

/* `claim`: whether the CPU is said to multiply bfloat16. The first output's bits are those of a session of `expected`. */
static void check_choice(gr_model *m, const char *claim, gr_precision expected, const char *said)
{
    char line[64] = "";
    const gr_session_options options = {
        .struct_size = sizeof options, .precision = GR_PRECISION_AUTO, .log = keep_line, .log_user = line};
    const int64_t dims[] = {ROWS, K};
    gr_named_tensor in = FLOATS("x", 2, dims, d.x), out = WANTED("y");
    gr_memory_info memory;
    gr_session *s = NULL;
    setenv("GRAPHRUN_BF16", claim, 1);
    CHECK_OK(gr_session_create(m, &options, &s, &err));
    CHECK_OK(gr_session_prepare(s, &in, 1, &out, 1, &err));
    for (int i = 0; i < 2; i++) CHECK_OK(gr_session_run(s, &in, 1, &out, 1, &err));
    run_layer(m, expected, 2, d.x, 0, ROWS, want, NULL);
    CHECK_THAT(out.tensor.size == sizeof want && !memcmp(out.tensor.data, want, sizeof want) && !strncmp(line, said, strlen(said)),
               "the choice is another: %s", line);
    gr_session_memory(s, &memory);
    CU_ASSERT_EQUAL(memory.plan_count, 1);
    gr_session_free(s);
    unsetenv("GRAPHRUN_BF16");
}

static void test_auto(void)
{
    char *text;
    make_data(&d);
    gr_model *m = open_layer(&d, false, false, &text);
    if (m) check_choice(m, "always", GR_PRECISION_BF16, "bf16");
    gr_model_free(m);
    free(text);
    /* Columns that are the difference of great numbers, which rounding makes noise. */
    for (int k = 1; k < K; k += 2)
        for (int j = 0; j < N; j++) d.w[k * N + j] = 0.0001f - d.w[(k - 1) * N + j];
    for (int i = 0; i < ROWS * K; i++) d.x[i] = 1;
    memset(d.b, 0, sizeof d.b);
    m = open_layer(&d, false, false, &text);
    if (m) check_choice(m, "always", GR_PRECISION_F32, "f32, as outputs");
    gr_model_free(m);
    free(text);
}

static void test_options(void)
{
    running r;
    const gr_session_options wrong = {.struct_size = sizeof wrong, .precision = (gr_precision)7};
    if (!open_text("<ir_version: 10, opset_import: [\"\" : 17]> g (float[n] x) => (float[n] y) { y = Neg (x) }", NULL,
                   NULL, &r))
        return;
    gr_session *s = NULL;
    CHECK_FAILS(gr_session_create(r.model, &wrong, &s, &err), GR_EINVAL, "precision 7");
    close_running(&r);
}

static CU_TestInfo tests[] = {{"models", test_models},     {"a layer", test_layer}, {"rounded rows", test_chain},
                              {"odd rows", test_odd_rows}, {"dynamic", test_dynamic}, {"auto", test_auto},
                              {"options", test_options},   {"quantised", test_quantised}, CU_TEST_INFO_NULL};
CU_SuiteInfo suite_precision = {"precision", NULL, NULL, NULL, NULL, tests};
