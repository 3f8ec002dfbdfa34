/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers as text, elements, comparison, and what the command writes.
 */
#include "cli_case.h"
#include "collect.h"
#include "compare.h"
#include "hostile.h"
#include "json.h"
#include "show.h"
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- numbers ---- */

static bool parse_numbers(const char *text, gr_dtype type, int rank, cli_tensor *out, gr_err *err)
{
    cli_file *file = text_file(text);
    bool ok = cli_numbers_parse(file, type, rank, out, err);
    cli_file_drop(file);
    return ok;
}

static void test_numbers(void)
{
    gr_err err = {.text = ""};
    cli_tensor t;
    CU_ASSERT_FATAL(parse_numbers("1 2 3\n4,5,6\n", GR_UNDEFINED, -1, &t, &err));
    CU_ASSERT(t.type == GR_INT64 && t.rank == 2 && t.dims[0] == 2 && t.dims[1] == 3);
    cli_tensor_free(&t);
    CU_ASSERT_FATAL(parse_numbers("# shape: [2, 1, 2]\n# shape of things\n1.5 -2e3\n.5 -inf\n", GR_FLOAT, 3, &t, &err));
    CU_ASSERT(t.rank == 3 && t.dims[2] == 2 && cli_value(t.type, t.data, 1) == -2000 &&
              isinf(cli_value(t.type, t.data, 3)));
    cli_tensor_free(&t);
    CU_ASSERT_FATAL(parse_numbers("# type float16\n1 2", GR_UNDEFINED, 1, &t, &err));
    CU_ASSERT(t.type == GR_FLOAT16 && t.rank == 1 && t.dims[0] == 2 && cli_value(t.type, t.data, 1) == 2);
    cli_tensor_free(&t);
    CU_ASSERT_FATAL(parse_numbers("true\nfalse", GR_BOOL, 1, &t, &err));
    CU_ASSERT(t.elements == 2 && cli_integer(t.type, t.data, 0) == 1 && cli_integer(t.type, t.data, 1) == 0);
    cli_tensor_free(&t);
    CU_ASSERT_FATAL(parse_numbers("7", GR_INT32, 0, &t, &err));
    CU_ASSERT(t.rank == 0 && t.type == GR_INT32);
    cli_tensor_free(&t);

    CU_ASSERT(!parse_numbers("1 2\n3", GR_INT64, -1, &t, &err));
    CHECK_SAYS("different lengths");
    CU_ASSERT(!parse_numbers("1\n2x", GR_INT64, -1, &t, &err));
    CHECK_SAYS("line 2: '2x' is no number");
    CU_ASSERT(!parse_numbers("1.5", GR_INT64, -1, &t, &err));
    CHECK_SAYS("is no int64");
    CU_ASSERT(!parse_numbers("300", GR_UINT8, -1, &t, &err));
    CHECK_SAYS("is no uint8");
    CU_ASSERT(!parse_numbers("+3", GR_FLOAT, -1, &t, &err));
    CU_ASSERT(!parse_numbers("0x1p3", GR_FLOAT, -1, &t, &err));
    CU_ASSERT(!parse_numbers("# shape 4611686018427387904x4\n1", GR_FLOAT, -1, &t, &err));
    CHECK_SAYS("do not fill");
    CU_ASSERT(!parse_numbers("# shape: 2xx\n1", GR_FLOAT, -1, &t, &err));
    CU_ASSERT(!parse_numbers("# shape: -1\n1", GR_FLOAT, -1, &t, &err));
    CHECK_SAYS("shape is malformed");
    CU_ASSERT(!parse_numbers("# type: quaternion\n1", GR_FLOAT, -1, &t, &err));
    CHECK_SAYS("no type");
}

/* ---- elements, comparison ---- */

static void test_elements(void)
{
    static const double halves[] = {0, 1, -2.5, 65504, 6.103515625e-05, 5.9604644775390625e-08, INFINITY};
    uint16_t h;
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++) {
        CU_ASSERT(cli_store_float(GR_FLOAT16, &h, 0, halves[i]));
        CU_ASSERT_EQUAL(cli_value(GR_FLOAT16, &h, 0), halves[i]);
    }
    CU_ASSERT(cli_store_float(GR_FLOAT16, &h, 0, 65520) && isinf(cli_value(GR_FLOAT16, &h, 0)));
    CU_ASSERT(cli_store_float(GR_FLOAT16, &h, 0, 1 + 1.0 / 2048) && h == 0x3c00); /* a tie goes to even */
    CU_ASSERT(cli_store_float(GR_FLOAT16, &h, 0, 6.1e-05) && cli_value(GR_FLOAT16, &h, 0) < 6.103515625e-05);
    static const uint8_t nibbles[] = {0x87, 0x0f};
    CU_ASSERT(cli_integer(GR_INT4, nibbles, 0) == 7 && cli_integer(GR_INT4, nibbles, 1) == -8 &&
              cli_integer(GR_INT4, nibbles, 2) == -1);
    CU_ASSERT(cli_integer(GR_UINT2, nibbles, 0) == 3 && cli_integer(GR_UINT2, nibbles, 3) == 2);
    static const uint8_t e4m3[] = {0x7e, 0x38, 0x01}, e5m2[] = {0x7b, 0x7c};
    CU_ASSERT(cli_value(GR_FLOAT8E4M3FN, e4m3, 0) == 448 && cli_value(GR_FLOAT8E4M3FN, e4m3, 1) == 1);
    CU_ASSERT(cli_value(GR_FLOAT8E4M3FN, e4m3, 2) == 0.001953125);
    CU_ASSERT(cli_value(GR_FLOAT8E5M2, e5m2, 0) == 57344 && isinf(cli_value(GR_FLOAT8E5M2, e5m2, 1)));

    gr_err err = {.text = ""};
    cli_tensor t;
    int64_t dims[] = {2};
    CU_ASSERT_FATAL(cli_tensor_make(&t, GR_INT64, 1, dims, &err));
    ((int64_t *)t.owned)[1] = (int64_t)1 << 32;
    CU_ASSERT(!cli_convert(&t, GR_INT32, &err));
    CHECK_SAYS("4294967296");
    ((int64_t *)t.owned)[1] = -7;
    CU_ASSERT(cli_convert(&t, GR_INT32, &err) && t.type == GR_INT32 && cli_integer(t.type, t.data, 1) == -7);
    CU_ASSERT(cli_convert(&t, GR_FLOAT, &err) && cli_value(t.type, t.data, 1) == -7);
    CU_ASSERT(!cli_convert(&t, GR_INT64, &err));
    cli_tensor_free(&t);
}

static void test_compare(void)
{
    static const int64_t dims[] = {2, 2}, other[] = {4};
    float a[] = {1, 2, 3, 4}, b[] = {1, 2, 3, 4.001f}, c[] = {1, NAN, 3, INFINITY};
    gr_tensor_view va = {GR_FLOAT, 2, dims, a, sizeof a}, vb = {GR_FLOAT, 2, dims, b, sizeof b},
                   vc = {GR_FLOAT, 2, dims, c, sizeof c};
    gr_tensor_view flat = {GR_FLOAT, 1, other, a, sizeof a};
    compare_limits limits = {1e-4, 1e-4, -2};
    compare_result r = compare_tensors(&va, &vb, &limits);
    CU_ASSERT(!r.ok && r.at == 3 && fabs(r.error - 0.001) < 1e-6 && r.cosine < 1);
    r = compare_tensors(&va, &vb, &(compare_limits){1e-2, 0, -2});
    CU_ASSERT(r.ok);
    r = compare_tensors(&vc, &vc, &limits);
    CU_ASSERT(r.ok && r.error == 0);
    r = compare_tensors(&va, &vc, &limits);
    CU_ASSERT(!r.ok && isinf(r.error));
    r = compare_tensors(&vc, &va, &(compare_limits){INFINITY, 0, 0.5});
    CU_ASSERT(!r.ok);
    r = compare_tensors(&flat, &va, &limits);
    CU_ASSERT(!r.ok && strstr(r.why, "float[2, 2]"));
    int64_t i[] = {INT64_MIN, 0, 3, 4}, j[] = {INT64_MAX, 0, 3, 4};
    gr_tensor_view vi = {GR_INT64, 2, dims, i, sizeof i}, vj = {GR_INT64, 2, dims, j, sizeof j};
    CU_ASSERT(compare_tensors(&vi, &vi, &limits).ok &&
              !compare_tensors(&vi, &vj, &(compare_limits){INFINITY, 1, -1}).ok);
}

/* ---- what is written ---- */

static void test_collect(void)
{
    static const char *const names[] = {"/a/../b", "y"};
    gr_err err = {.text = ""};
    collect c;
    const char *path = scratch_path("out.npz");
    CU_ASSERT_FATAL(collect_open(&c, path, false, names, 2, &err));
    float one[] = {1, 2}, two[] = {3, 4, 5};
    uint16_t half[] = {0x3f80}; /* bfloat16 */
    for (size_t i = 0; i < 2; i++) {
        int64_t dims[] = {i ? 3 : 2};
        gr_tensor_view v = {GR_FLOAT, 1, dims, i ? two : one, 4 * (size_t)dims[0]}, w = {GR_BFLOAT16, 0, NULL, half, 2};
        cli_tensor rows[2];
        CU_ASSERT_FATAL(collect_copy(&rows[0], "v", &v, &err) && collect_copy(&rows[1], "w", &w, &err));
        collect_add(&c, rows, 1);
    }
    CU_ASSERT(collect_lengths(&c, 1, (int64_t[]){2}, (int64_t[]){2, 3}, &err));
    CU_ASSERT(!cli_exists(path));
    CU_ASSERT(collect_write(&c, &err) && cli_exists(path));
    collect_free(&c);

    cli_tensor *t;
    size_t n;
    cli_read_options options = {GR_UNDEFINED, -1, 1 << 20, false, GR_VALUE_TENSOR};
    CU_ASSERT_FATAL(cli_tensors_read(path, &options, &t, &n, &err));
    static const float filled[] = {1, 2, 0, 3, 4, 5};
    CU_ASSERT(n == 3 && !strcmp(t[0].name, "a/_./b") && t[0].rank == 2 && !memcmp(t[0].data, filled, sizeof filled));
    CU_ASSERT(t[1].type == GR_FLOAT && cli_value(t[1].type, t[1].data, 1) == 1);
    CU_ASSERT(!strcmp(t[2].name, "lengths") && cli_integer(t[2].type, t[2].data, 1) == 3);
    free_tensors(t, n);

    CU_ASSERT_FATAL(collect_open(&c, path, true, names, 1, &err)); /* given up: the old file stays */
    collect_free(&c);
    CU_ASSERT(cli_exists(path));
    CU_ASSERT(!collect_open(&c, "out.txt", true, names, 1, &err) && err.status == GR_EINVAL);
    collect_free(&c);
    CU_ASSERT(!collect_open(&c, "out.npy", true, names, 2, &err) && err.status == GR_EINVAL);
    collect_free(&c);
    CU_ASSERT(!collect_open(&c, scratch_path("no/such/out.npz"), true, names, 1, &err));
    collect_free(&c);
}

static void test_show(void)
{
    cli_text out = {0};
    cli_json j = {&out, true};
    json_open(&j, NULL, '{');
    json_text(&j, "a\"\n\x01\xff", "\xe2\x82\xac\\");
    json_number(&j, "nan", NAN);
    json_open(&j, "list", '[');
    json_int(&j, NULL, -1);
    json_bool(&j, NULL, true);
    json_close(&j, ']');
    json_close(&j, '}');
    CU_ASSERT_STRING_EQUAL(
        out.data, "{\"a\\\"\\u000a\\u0001\xef\xbf\xbd\": \"\xe2\x82\xac\\\\\", \"nan\": null, \"list\": [-1, true]}");
    cli_text_free(&out);

    static const int64_t dims[] = {1, 3};
    float logits[] = {0, 2, 1};
    gr_tensor_view v = {GR_FLOAT, 2, dims, logits, sizeof logits};
    show_options o = {2, NULL, NULL, 0, false, 6};
    show_tensor(&out, "logits", &v, &o);
    CU_ASSERT_STRING_EQUAL(out.data, "  logits  float[1, 3]  0 … 2  : 0 2 1\n       0 → 1 0.6652 · 2 0.2447\n");
    cli_text_free(&out);

    CU_ASSERT_STRING_EQUAL(cli_thousands(109482240), "109,482,240");
    CU_ASSERT_STRING_EQUAL(cli_thousands(-1234), "-1,234");
    CU_ASSERT_STRING_EQUAL(cli_thousands(0), "0");
    CU_ASSERT_STRING_EQUAL(cli_show("a\x1b\xc3\xa9\xff%n"), "a\\x1b\xc3\xa9\\xff%n");
    char name[1000];
    memset(name, 'x', 999), name[999] = 0;
    CU_ASSERT(strlen(cli_show(name)) < 128);
}

static CU_TestInfo tests[] = {
    {"numbers", test_numbers},
    {"elements", test_elements},
    {"compare", test_compare},
    {"written arrays", test_collect},
    {"summary and JSON", test_show},
    CU_TEST_INFO_NULL,
};

CU_SuiteInfo suite_cli = {"cli", scratch_make, scratch_remove, NULL, NULL, tests};
