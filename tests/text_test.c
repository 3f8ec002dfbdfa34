/* SPDX-License-Identifier: Apache-2.0
 *
 * Text that is broken, deep, long or mutated, failing memory, and every model of a folder of exports there and back.
 */
#include "text_case.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- errors and hostile text ---- */

static void test_errors(void)
{
    check_refused("", GR_EFORMAT, "test:1:1: expected the name of a graph or function, but the text ends");
    check_refused("\n\n  <ir_version: x", GR_EFORMAT, "test:3:16: expected an integer, but found 'x'");
    check_refused("<nonsense: 1>", GR_EFORMAT, "test:1:2: expected a key such as");
    check_refused("<ir_version: 99999999999999999999>", GR_EFORMAT, "test:1:14: an integer does not fit");
    check_refused("<opset_import: [x : 1]>", GR_EFORMAT, "a domain in quotes");
    check_refused("<doc_string: \"abc", GR_EFORMAT, "test:1:14: a string has no closing quote");
    check_refused("<doc_string: \"abc\\", GR_EFORMAT, "no closing quote");
    check_refused("g (x) => (y) { y = Op (x) ", GR_EFORMAT, "but the text ends");
    check_refused("g (x) -> (y) {}", GR_EFORMAT, "malformed");
    check_refused("g (x) = > (y) {}", GR_EFORMAT, "'=>'");
    check_refused("g x => (y) {}", GR_EFORMAT, "'(' and the inputs of a graph");
    check_refused("g (x) => (y) { y = Op (x) ; }", GR_EFORMAT, "test:1:27: this byte starts no token");
    check_refused("g (x) => (y) { y = (x) }", GR_EFORMAT, "an operator");
    check_refused("g (x) => (y) { y Op (x) }", GR_EFORMAT, "',' or '=' after an output, but found 'Op'");
    check_refused("g (x) => (y) { ) }", GR_EFORMAT, "a node or '}'");
    check_refused("g (x,) => (y) { }", GR_EFORMAT, "a value's type and name");
    check_refused("g (x) => (y) { } trailing", GR_EFORMAT, "but the text ends");
    check_refused("g (x) => (y) { y = \"%n%s\xff\"", GR_EFORMAT, "but the text ends");
    check_refused("g (x) => (y) { \"%n%s\xff\" y }", GR_EFORMAT, "found 'y'");
    check_refused("%n%s", GR_EFORMAT, "test:1:1: this byte");
}

static void add_times(text *t, const char *s, int n)
{
    for (int i = 0; i < n; i++) text_add(t, s);
}

static void test_nesting(void)
{
    text t = {0};
    text_add(&t, "g (");
    add_times(&t, "seq(", 1000000);
    check_refused(t.s, GR_ELIMIT, "nested more than 64 levels deep");
    t.n = 0;
    text_add(&t, "g () => () {");
    add_times(&t, "x = If () <a = g () => () {", 100000);
    check_refused(t.s, GR_ELIMIT, "nested more than 64 levels deep");
    t.n = 0;
    text_add(&t, "g () => () {");
    add_times(&t, "x = If () <a = g () => () {", 50);
    add_times(&t, "}>", 50);
    text_add(&t, "}");
    text out = text_reprinted(t.s, t.n, NULL);
    free(out.s);
    free(t.s);
}

/* Long inputs of every kind take time in proportion: a quadratic step would show as minutes. */
static void test_long(void)
{
    static const struct {
        const char *first, *repeated, *last;
        int times;
        bool good;
    } rows[] = {
        {"g () => () {", "a = B (c)\n", "}", 300000, true},
        {"g () => () { a = B (", "c,", ") }", 1000000, true},
        {"g () => () { a = B <x = [", "1,", "1]> () }", 1000000, true},
        {"g () => () { a = B <x = 1", ",y=2", "> () }", 300000, true},
        {"g () => () { a = ", "d.", "B () }", 1000000, true},
        {"g () => () <float[1000001] w = {", "0.1,", "2}> {}", 1000000, true},
        {"g () => () <string[1000001] w = {", "\"\",", "\"\"}> {}", 1000000, true},
        {"g () => () <float[", "1,", "1] w> {}", 1000000, true},
        {"g () => () {", "#: meta \"k\": \"v\"\n", "a = B () }", 300000, true},
        {"g () => () {", "# comment\n", "a = B () }", 1000000, true},
        {"g () => () { \"", "\\\"", "\" = B () }", 1000000, true},
        {"g () => () {} ", "f () => () {}\n", "", 200000, true},
        {"g () => () { a = B ()", "\n", "!", 3000000, false},
        {"g () => () { a = B <x = ", "9", "> () }", 3000000, false},
        {"g () => () { a = B <x = \"", "x", "", 3000000, false},
        {"", "(", "", 3000000, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        text t = {0};
        text_add(&t, rows[i].first);
        add_times(&t, rows[i].repeated, rows[i].times);
        text_add(&t, rows[i].last);
        gr_doc *doc = text_parse_bytes(t.s, t.n);
        CU_ASSERT_EQUAL(doc != NULL, rows[i].good);
        if (doc) {
            text out = text_print(doc, NULL);
            free(out.s);
        }
        gr_doc_free(doc);
        free(t.s);
    }
}

static const char sample[] = "<ir_version: 8, opset_import: [\"\" : 17, \"d\" : 1], metadata_props: [\"k\" : \"v\"]>\n"
                             "#: doc \"graph\"\ng (float[N,?,\"a b\"] x, seq(map(string, int64[])) s) => (y) <\n"
                             "float[2] w = {1.5, nan #: bits 7fc00001\n}, uint4[3] u = {1,2,3}, string[2] t = "
                             "{\"a\\\\\", \"\"}, int64[2] e = [\"location\": \"f\"],\n"
                             "float[3] b = [\"base64\": \"AACAPwAAAEAAAEBA\"], sparse_tensor(float[3]) z = (float[1] "
                             "{1}, int64[1] {2}), float[9] l = ..., float v> {\n"
                             "#: meta \"a\": \"b\\n\"\n[n] y, \"\" = d.e.Op:o <a = 1, b: floats = [1, -inf], c = "
                             "\"s\", t = float[1] {1}, r: int = @q,\n"
                             "g = h (float x) => (z) { z = Neg (x) }, p = opaque(a.b, c)> (x, , w) }\n"
                             "<domain: \"d\", opset_import: [\"\" : 17]> f <q, alpha: float = 1e-5> (float x, y) => "
                             "(z) <int8 k> { z = Add (x, y) }\n";

static void try_bytes(const char *s, size_t n)
{
    gr_doc *doc = text_parse_bytes(s, n);
    if (!doc) return;
    text t = text_print(doc, NULL);
    gr_doc *again = text_parse_bytes(t.s, t.n);
    CU_ASSERT_PTR_NOT_NULL(again);
    gr_doc_free(again);
    gr_doc_free(doc);
    free(t.s);
}

/* Every beginning of a text that uses all of the grammar, and the text with bytes changed, dropped and doubled.
 * Whatever is accepted prints to what is accepted. */
static void test_mutations(void)
{
    static const char bytes[] = "\"\\#:<>{}()[]=.,@?-01eE\n\0\xff xn";
    size_t size = sizeof sample - 1;
    uint32_t random = 7;
    for (size_t n = 0; n <= size; n++) try_bytes(sample, n);
    for (int i = 0; i < 30000; i++) {
        char copy[2 * sizeof sample];
        size_t n = size;
        memcpy(copy, sample, size);
        for (int edits = 1 + i % 3; edits > 0; edits--) {
            random = random * 1664525 + 1013904223;
            size_t at = (random >> 8) % n, length = 1 + (random >> 4) % 7;
            if (length > n - at) length = n - at;
            if (random % 3 == 0) {
                copy[at] = bytes[(random >> 3) % (sizeof bytes - 1)];
            } else if (random % 3 == 1) {
                memmove(copy + at, copy + at + length, n - at - length);
                n -= length;
            } else {
                memmove(copy + at + length, copy + at, n - at);
                n += length;
            }
        }
        try_bytes(copy, n);
    }
}

static void test_memory_fails(void)
{
    bool done = false;
    for (long n = 1; n < 200 && !done; n++) {
        gr_doc *doc = NULL;
        text t = {0};
        gr_malloc_fail_after(n);
        gr_status status = gr_doc_parse_text(sample, sizeof sample - 1, NULL, &doc, &text_err);
        if (status == GR_OK) status = gr_doc_print_text(doc, NULL, text_append, &t, &text_err);
        gr_malloc_fail_after(0);
        done = status == GR_OK;
        CU_ASSERT(done || status == GR_ENOMEM);
        gr_doc_free(doc);
        free(t.s);
    }
    CU_ASSERT(done);
}

/* ---- the zoo ---- */

#ifdef GR_ZOO_DIR
static void check_file(const char *path)
{
    gr_doc *doc = NULL;
    gr_text_options all = {.max_elements = SIZE_MAX}, some = {.max_elements = 8}, dense = {.max_elements = SIZE_MAX, .dense_above = 8};
    gr_status status = gr_doc_load(path, NULL, &doc, &text_err);
    CU_ASSERT_EQUAL(status, GR_OK);
    if (status) return;
    text t = text_print(doc, &all), short_text = text_print(doc, &some), dense_text = text_print(doc, &dense);
    text again = text_reprinted(t.s, t.n, &all), short_again = text_reprinted(short_text.s, short_text.n, &some);
    text from_dense = text_reprinted(dense_text.s, dense_text.n, &all);
    CU_ASSERT(t.n == again.n && !memcmp(t.s, again.s, t.n));
    CU_ASSERT(short_text.n == short_again.n && !memcmp(short_text.s, short_again.s, short_text.n));
    CU_ASSERT(t.n == from_dense.n && !memcmp(t.s, from_dense.s, t.n));
    free(t.s);
    free(short_text.s);
    free(dense_text.s);
    free(again.s);
    free(short_again.s);
    free(from_dense.s);
    gr_doc_free(doc);
}
#endif

static void test_zoo(void)
{
#ifdef GR_ZOO_DIR
    DIR *dir = opendir(GR_ZOO_DIR);
    int count = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s/model.onnx", GR_ZOO_DIR, entry->d_name);
        FILE *file = fopen(path, "rb");
        if (!file) continue;
        fclose(file);
        check_file(path);
        count++;
    }
    if (dir) closedir(dir);
    if (count == 0) printf("\n    no models in %s: skipped\n", GR_ZOO_DIR);
#else
    puts("\n    GR_ZOO_DIR is not set: skipped");
#endif
}

static CU_TestInfo tests[] = {
    {"errors", test_errors},
    {"nesting", test_nesting},
    {"long text", test_long},
    {"mutations", test_mutations},
    {"memory fails", test_memory_fails},
    {"zoo", test_zoo},
    CU_TEST_INFO_NULL,
};

CU_SuiteInfo suite_text = {"text", NULL, NULL, NULL, NULL, tests};
