/* SPDX-License-Identifier: Apache-2.0
 *
 * Compiled models: they compute the bits of the model they were made of, without packing anything; what is stale,
 * foreign or damaged is found out; and no file of a stranger leads outside of itself.
 */
#include "compiled_format.h"
#include "model.h"
#include "support.h"
#include "zoo.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BERT GR_SOURCE_DIR "/models/bert-tiny/model.onnx"
enum { LENGTH = 7, MAX_INPUTS = 8 };

static gr_err err;
static char folder[64], logged[512];

static int make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/graphrun-compiled-XXXXXX");
    return mkdtemp(folder) ? 0 : 1;
}

static const char *path_of(const char *name)
{
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static int remove_folder(void)
{
    static const char *const names[] = {"a.onnx", "a.plan", "b.plan", "zoo.plan"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(path_of(names[i]));
    return rmdir(folder);
}

typedef struct bytes {
    unsigned char *data;
    size_t size;
} bytes;

static bytes read_bytes(const char *path)
{
    bytes b = {0};
    struct stat st;
    FILE *f = fopen(path, "rb");
    if (f && !fstat(fileno(f), &st) && (b.data = malloc((size_t)st.st_size + 1)))
        b.size = fread(b.data, 1, (size_t)st.st_size, f);
    if (f) fclose(f);
    CU_ASSERT_FATAL(b.size > 0);
    return b;
}

static void write_bytes(const char *path, const void *data, size_t size)
{
    unlink(path); /* who has it mapped keeps the old one */
    FILE *f = fopen(path, "wb");
    CU_ASSERT_FATAL(f && fwrite(data, 1, size, f) == size && !fclose(f));
}

static void keep_line(void *user, gr_log_level level, const char *line)
{
    (void)user, (void)level;
    snprintf(logged, sizeof logged, "%s", line);
}

static gr_status load(const char *path, gr_model **out)
{
    const gr_model_options o = {.struct_size = sizeof o, .log = keep_line};
    *logged = 0;
    return gr_model_load(path, &o, out, &err);
}

/* ---- runs ---- */

/* The outputs of a run, one behind the other. */
typedef struct result {
    gr_status status;
    unsigned char *data;
    size_t size, packed; /* packed: bytes that were not mapped */
} result;

static result run_session(gr_model *m, gr_named_tensor *in, size_t nin, gr_session_options o)
{
    result r = {0};
    gr_session *s = NULL;
    gr_named_tensor out[ZOO_TENSORS];
    o.struct_size = sizeof o;
    size_t n = gr_model_output_count(m);
    for (size_t i = 0; i < n && i < ZOO_TENSORS; i++) {
        gr_value_info info;
        gr_model_output(m, i, &info);
        out[i] = (gr_named_tensor){.name = info.name};
    }
    r.status = gr_session_create(m, &o, &s, &err);
    if (r.status == GR_OK) r.status = gr_session_run(s, in, nin, out, n, &err);
    for (size_t i = 0; r.status == GR_OK && i < n; i++) {
        r.data = realloc(r.data, r.size + out[i].tensor.size + 1);
        CU_ASSERT_FATAL(r.data != NULL);
        memcpy(r.data + r.size, out[i].tensor.data, out[i].tensor.size);
        r.size += out[i].tensor.size;
    }
    gr_memory_info memory = {0};
    if (s) gr_session_memory(s, &memory);
    r.packed = memory.packed_bytes;
    gr_session_free(s);
    return r;
}

static result run_with(gr_model *m, gr_named_tensor *in, size_t nin, gr_precision precision)
{
    return run_session(m, in, nin, (gr_session_options){.precision = precision});
}

static bool same(const result *a, const result *b)
{
    return a->status == b->status && a->size == b->size && (!a->size || !memcmp(a->data, b->data, a->size));
}

/* Ids that any encoder has, the same for every input. */
static result run_model(gr_model *m, gr_precision precision)
{
    static int64_t ids[2 * LENGTH], dims[] = {2, LENGTH};
    gr_named_tensor in[MAX_INPUTS];
    size_t n = gr_model_input_count(m);
    CU_ASSERT_FATAL(n <= MAX_INPUTS);
    for (int i = 0; i < 2 * LENGTH; i++) ids[i] = 1;
    for (size_t i = 0; i < n; i++) {
        gr_value_info info;
        gr_model_input(m, i, &info);
        in[i] = INTS(info.name, 2, dims, ids);
    }
    return run_with(m, in, n, precision);
}

/* Compile a model that has run in that precision; what it computed. */
static result compile(const char *model, const char *to, bool standalone, gr_precision precision)
{
    gr_model *m = NULL;
    const gr_compile_options o = {.struct_size = sizeof o, .standalone = standalone, .precision = precision};
    CHECK_OK(load(model, &m));
    CU_ASSERT_FATAL(m != NULL);
    result r = run_model(m, precision);
    CU_ASSERT_EQUAL(r.status, GR_OK);
    CU_ASSERT(r.packed > 0);
    CHECK_OK(gr_model_compile(m, to, &o, &err));
    gr_model_free(m);
    return r;
}

/* Load and run: the same bits as `want`, packing something or not, and the log says `says`. */
static void check_runs(const char *path, const result *want, gr_precision precision, bool packs, const char *says)
{
    gr_model *m = NULL;
    CHECK_OK(load(path, &m));
    if (!m) return;
    CHECK_THAT(strstr(logged, says) && (*says || !*logged), "the log says '%s', expected '%s'", logged, says);
    result r = run_model(m, precision);
    CHECK_THAT(r.status == GR_OK, "%s", err.text);
    CU_ASSERT(same(&r, want));
    CHECK_THAT(packs == (r.packed > 0), "%zu bytes were packed", r.packed);
    free(r.data);
    gr_model_free(m);
}

/* ---- beside the model ---- */

static void copy_model(void)
{
    bytes b = read_bytes(BERT);
    write_bytes(path_of("a.onnx"), b.data, b.size);
    free(b.data);
}

static void test_precisions(void)
{
    for (gr_precision p = GR_PRECISION_F32; p <= GR_PRECISION_INT8; p++) {
        copy_model();
        result want = compile(path_of("a.onnx"), path_of("a.plan"), false, p);
        check_runs(path_of("a.plan"), &want, p, false, "");
        free(want.data);
        want = compile(path_of("a.onnx"), path_of("b.plan"), true, p);
        unlink(path_of("a.onnx"));
        check_runs(path_of("b.plan"), &want, p, false, "");
        gr_model *m = NULL;
        CHECK_OK(load(path_of("b.plan"), &m));
        if (m) CU_ASSERT_EQUAL(gr_model_precision(m), p);
        gr_model_free(m);
        free(want.data);
    }
}

static void test_stale(void)
{
    copy_model();
    result want = compile(path_of("a.onnx"), path_of("a.plan"), false, GR_PRECISION_F32);
    copy_model(); /* another file with the same contents */
    check_runs(path_of("a.plan"), &want, GR_PRECISION_F32, false, "");
    bytes b = read_bytes(path_of("a.onnx"));
    b.data[b.size / 2] ^= 0x40; /* of some weight */
    write_bytes(path_of("a.onnx"), b.data, b.size);
    gr_model *m = NULL;
    CHECK_OK(load(path_of("a.onnx"), &m));
    result changed = m ? run_model(m, GR_PRECISION_F32) : (result){0};
    gr_model_free(m);
    CU_ASSERT(!same(&want, &changed));
    check_runs(path_of("a.plan"), &changed, GR_PRECISION_F32, true, "stale");
    unlink(path_of("a.onnx"));
    CHECK_FAILS(load(path_of("a.plan"), &m), GR_EIO, "its weights are in 'a.onnx' beside it");
    free(b.data);
    free(want.data);
    free(changed.data);
}

/* Name of a value that passes have dissolved. */
static bool dissolved(gr_model *m, char *name, size_t room)
{
    const gr_graph *raw, *fused;
    if (gr_model_graph(m, &(gr_variant){.raw = true}, &raw, &err) || gr_model_graph(m, &(gr_variant){0}, &fused, &err))
        return false;
    for (const gr_node *n = raw->first; n; n = n->next) {
        const gr_value *v = gr_graph_find(fused, n->out[0]->name);
        if (v && gr_value_lives(v)) continue;
        snprintf(name, room, "%s", n->out[0]->name);
        return true;
    }
    return false;
}

/* What the fused graph lacks comes from the model; other options want the model itself. */
static void test_origin(void)
{
    gr_model *m = NULL;
    gr_value_info info;
    char name[256] = "";
    copy_model();
    free(compile(path_of("a.onnx"), path_of("a.plan"), false, GR_PRECISION_F32).data);
    const gr_model_options plain = {.struct_size = sizeof plain, .no_passes = true, .log = keep_line};
    CHECK_OK(gr_model_load(path_of("a.plan"), &plain, &m, &err));
    CU_ASSERT(strstr(logged, "other options") != NULL);
    gr_model_free(m);
    CHECK_OK(load(path_of("a.onnx"), &m));
    CU_ASSERT_FATAL(m && dissolved(m, name, sizeof name));
    CHECK_FAILS(gr_model_compile(m, path_of("a.onnx"), NULL, &err), GR_EINVAL, "is the model");
    gr_model_free(m);
    CHECK_OK(load(path_of("a.plan"), &m));
    CHECK_OK(gr_model_value(m, name, &info, &err));
    CHECK_FAILS(gr_model_value(m, "no such value", &info, &err), GR_EINVAL, "no value");
    CHECK_FAILS(gr_model_compile(m, path_of("b.plan"), NULL, &err), GR_EINVAL, "compiled already");
    gr_model_free(m);
}

/* ---- damage ---- */

static gr_compiled_header header_of(const bytes *b)
{
    gr_compiled_header h;
    memcpy(&h, b->data, sizeof h);
    return h;
}

static void sum_again(bytes *b, gr_compiled_header *h)
{
    h->checksum = 0;
    uint64_t sum = gr_compiled_hash(0, h, sizeof *h);
    h->checksum = gr_compiled_hash(sum, b->data + h->doc_offset, b->size - h->doc_offset);
    memcpy(b->data, h, sizeof *h);
}

static void check_refused(const bytes *b, size_t size, const char *what, size_t at)
{
    gr_model *m = NULL;
    write_bytes(path_of("b.plan"), b->data, size);
    gr_status status = load(path_of("b.plan"), &m);
    if (status == GR_OK) FAIL("%s %zu is not noticed", what, at);
    gr_model_free(m);
}

static void test_damaged(void)
{
    result want = compile(BERT, path_of("a.plan"), true, GR_PRECISION_F32);
    bytes b = read_bytes(path_of("a.plan"));
    gr_compiled_header h = header_of(&b);
    for (size_t size = 1; size < b.size; size += 1 + size / 3) check_refused(&b, size, "an end at", size);
    for (size_t at = 0; at < sizeof h; at += 3) {
        b.data[at] ^= 0x10;
        check_refused(&b, b.size, "a flipped bit in the header at", at);
        b.data[at] ^= 0x10;
    }
    for (size_t i = 0; i < 60; i++) {
        const size_t at = h.doc_offset + i * (b.size - h.doc_offset - 1) / 59;
        b.data[at] ^= 0x01;
        check_refused(&b, b.size, "a flipped bit at", at);
        b.data[at] ^= 0x01;
    }
    for (size_t i = 0; i < 20; i++) {
        const size_t at = GR_COMPILED_PAGE + i * (h.doc_offset - GR_COMPILED_PAGE - 1) / 19;
        b.data[at] ^= 0x40;
        write_bytes(path_of("b.plan"), b.data, b.size);
        CHECK_FAILS(gr_model_check_compiled(path_of("b.plan"), &err), GR_EFORMAT, "not what was written");
        b.data[at] ^= 0x40;
    }
    CHECK_OK(gr_model_check_compiled(path_of("a.plan"), &err));
    CHECK_FAILS(gr_model_check_compiled(BERT, &err), GR_EFORMAT, "no compiled model");
    strcpy(h.maker, "somebody else");
    sum_again(&b, &h);
    write_bytes(path_of("b.plan"), b.data, b.size);
    check_runs(path_of("b.plan"), &want, GR_PRECISION_F32, true, "foreign");
    free(b.data);
    free(want.data);
}

/* Whoever writes such a file can sum it, too: whatever its parts say, nothing outside of it is touched. */
static void test_hostile(void)
{
    uint32_t random = 7;
    for (gr_precision p = GR_PRECISION_F32; p <= GR_PRECISION_INT8; p += 2) {
        free(compile(BERT, path_of("a.plan"), true, p).data);
        const bytes good = read_bytes(path_of("a.plan"));
        bytes b = {malloc(good.size), good.size};
        CU_ASSERT_FATAL(b.data != NULL);
        int ran = 0;
        for (int i = 0; i < 120; i++) {
            memcpy(b.data, good.data, b.size);
            gr_compiled_header h = header_of(&b);
            const size_t tables = h.packs_offset, from = i % 3 == 0 ? h.doc_offset : i % 3 == 1 ? tables : sizeof h;
            const size_t end = i % 3 == 0 ? tables : i % 3 == 1 ? b.size : h.doc_offset;
            for (int k = 0; k < 1 + i % 5; k++)
                b.data[from + next_random(&random) % (end - from)] = (unsigned char)next_random(&random);
            if (i % 10 == 9) /* a number of the header */
                b.data[24 + next_random(&random) % 80] ^= (unsigned char)(1u << next_random(&random) % 8);
            h = header_of(&b);
            if (h.doc_offset <= b.size) sum_again(&b, &h);
            write_bytes(path_of("b.plan"), b.data, b.size);
            gr_model *m = NULL;
            if (load(path_of("b.plan"), &m) != GR_OK) continue;
            result r = run_model(m, p);
            ran += r.status == GR_OK;
            free(r.data);
            gr_model_free(m);
        }
        CU_ASSERT(ran > 20); /* those whose contents only are other numbers */
        free(b.data);
        free(good.data);
    }
}

/* ---- the zoo ---- */

typedef struct tally {
    int run, packing;
} tally;

/* Load a file of the case, run it, and compare; bytes that were packed. */
static size_t check_way(const char *name, const char *path, zoo_tensors *in, bool few_runs, const result *want)
{
    gr_model *m = NULL;
    CHECK_OK(load(path, &m));
    if (!m) return 0;
    result got = run_session(m, in->views, in->count, (gr_session_options){.few_runs = few_runs});
    CHECK_THAT(same(want, &got), "%s: other results from %s: %s", name, path, err.text);
    free(got.data);
    gr_model_free(m);
    return got.packed;
}

static void check_case(const char *name, const char *place, const char *dtype, void *user)
{
    tally *t = user;
    static zoo_tensors in;
    gr_model *m = NULL;
    char model[1024], path[1024];
    (void)dtype;
    snprintf(model, sizeof model, "%s/model.onnx", place);
    snprintf(path, sizeof path, "%s/test_data_set_0", place);
    if (load(model, &m) != GR_OK) return;
    result want = {.status = GR_EINPUT};
    if (zoo_read(path, "input", m, gr_model_input, &in, &err))
        want = run_with(m, in.views, in.count, GR_PRECISION_F32);
    if (want.status == GR_OK) {
        const gr_compile_options o = {.struct_size = sizeof o, .standalone = true};
        CHECK_OK(gr_model_compile(m, path_of("zoo.plan"), &o, &err));
        t->run++;
        t->packing += check_way(name, path_of("zoo.plan"), &in, false, &want) > 0;
        check_way(name, model, &in, true, &want);
    }
    zoo_free(&in);
    free(want.data);
    gr_model_free(m);
}

/* The bits of what is compiled, and of weights that are read where they are, are those of packed ones. */
static void test_zoo(void)
{
    tally t = {0};
    if (!zoo_folder()) return;
    zoo_each(check_case, &t);
    CHECK_THAT(t.run > 0 && t.packing * 20 <= t.run, "%d of %d compiled models pack something", t.packing, t.run);
}

/* Weights that somebody has packed are used so, and few runs of a small model leave none packed. */
static void test_few_runs(void)
{
    gr_model *m = NULL;
    CHECK_OK(load(BERT, &m));
    CU_ASSERT_FATAL(m != NULL);
    static int64_t ids[LENGTH], dims[] = {1, LENGTH};
    for (int i = 0; i < LENGTH; i++) ids[i] = 1;
    gr_named_tensor in[MAX_INPUTS];
    const size_t n = gr_model_input_count(m);
    CU_ASSERT_FATAL(n <= MAX_INPUTS);
    for (size_t i = 0; i < n; i++) {
        gr_value_info info;
        gr_model_input(m, i, &info);
        in[i] = INTS(info.name, 2, dims, ids);
    }
    result plain = run_session(m, in, n, (gr_session_options){.few_runs = true});
    CU_ASSERT(plain.status == GR_OK && plain.packed == 0);
    result packed = run_session(m, in, n, (gr_session_options){0});
    CU_ASSERT(same(&plain, &packed) && packed.packed > 0);
    result again = run_session(m, in, n, (gr_session_options){.few_runs = true, .threads = 1});
    CU_ASSERT(same(&plain, &again) && again.packed == packed.packed);
    free(plain.data);
    free(packed.data);
    free(again.data);
    gr_model_free(m);
}

static CU_TestInfo tests[] = {{"precisions", test_precisions}, {"stale", test_stale},     {"origin", test_origin},
                              {"damaged", test_damaged},       {"hostile", test_hostile}, {"zoo", test_zoo},
                              {"few_runs", test_few_runs},
                              CU_TEST_INFO_NULL};
CU_SuiteInfo suite_compiled = {"compiled", make_folder, remove_folder, NULL, NULL, tests};
