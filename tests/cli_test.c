/* SPDX-License-Identifier: Apache-2.0
 *
 * The command's own file formats: ids, .npy, .npz, TensorProto, numbers as text; good files, odd ones, and bad ones by
 * class.
 */
#include "collect.h"
#include "compare.h"
#include "hostile.h"
#include "ids.h"
#include "json.h"
#include "show.h"
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

static cli_file *file_of(const void *data, size_t size)
{
    cli_file *file = cli_alloc(sizeof *file);
    uint8_t *copy = malloc(size ? size : 1);
    if (size) memcpy(copy, data, size);
    *file = (cli_file){copy, size, 1, false};
    return file;
}

static cli_file *text_file(const char *text) { return file_of(text, strlen(text)); }

/* ---- ids ---- */

static bool parse_ids(const void *data, size_t size, cli_ids *out, gr_err *err)
{
    cli_file *file = file_of(data, size);
    bool ok = cli_ids_parse(file, out, err);
    cli_file_drop(file);
    return ok;
}

static void test_ids_good(void)
{
    gr_err err = {.text = ""};
    cli_ids ids;
    static const char text[] =
        "\xef\xbb\xbf# three lines\r\n101, 7592 102\r\n\n  \t\n5,6|7 # pair\n-1 007\t9223372036854775807";
    CU_ASSERT_FATAL(parse_ids(text, sizeof text - 1, &ids, &err));
    CU_ASSERT_EQUAL(ids.line_count, 3);
    CU_ASSERT_EQUAL(ids.lines[0].number, 2);
    CU_ASSERT_EQUAL(ids.lines[0].length, 3);
    CU_ASSERT_EQUAL(ids.lines[0].boundary, 3);
    CU_ASSERT_EQUAL(ids.lines[1].number, 5);
    CU_ASSERT_EQUAL(ids.lines[1].boundary, 2);
    CU_ASSERT_EQUAL(ids.lines[1].length, 3);
    CU_ASSERT(ids.lines[0].paragraph != ids.lines[1].paragraph);
    CU_ASSERT(ids.lines[1].paragraph == ids.lines[2].paragraph);
    CU_ASSERT_EQUAL(ids.ids[6], -1);
    CU_ASSERT_EQUAL(ids.ids[7], 7);
    CU_ASSERT_EQUAL(ids.ids[8], INT64_MAX);
    cli_ids_free(&ids);
}

static void test_ids_bad(void)
{
    static const struct {
        const char *text;
        size_t size;
        const char *says;
    } bad[] = {
        {"1 2x 3", 6, "'2x' is no whole number"},
        {"1\n2\n1e5", 7, "line 3: '1e5'"},
        {"+3", 2, "'+3'"},
        {"-", 1, "'-'"},
        {"--1", 3, "'--1'"},
        {"0x10", 4, "'0x10'"},
        {"1.0", 3, "'1.0'"},
        {"9223372036854775808", 19, "out of the range"},
        {"-9223372036854775809", 20, "out of the range"},
        {"1 \0 2", 5, "line 1: there is a NUL byte"},
        {"12\0", 3, "NUL"},
        {"1 | 2 | 3", 9, "second '|'"},
        {"|", 1, "no ids around"},
        {"", 0, "no ids"},
        {"# nothing\n\n", 11, "no ids"},
        {"1 \xef\xbb\xbf"
         "2",
         6, "line 1"},
        {"\xff\xfe"
         "1\0",
         4, "line 1"},
        {"1\x1b[2J", 5, "\\x1b"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        gr_err err = {.text = ""};
        cli_ids ids;
        CU_ASSERT(!parse_ids(bad[i].text, bad[i].size, &ids, &err));
        CHECK_SAYS(bad[i].says);
    }
}

static void test_ids_long(void)
{
    enum { COUNT = 1000000 };
    gr_err err = {.text = ""};
    cli_ids ids;
    char *text = malloc(2 * COUNT);
    for (size_t i = 0; i < COUNT; i++) memcpy(text + 2 * i, "7 ", 2);
    CU_ASSERT_FATAL(parse_ids(text, 2 * COUNT, &ids, &err));
    CU_ASSERT_EQUAL(ids.lines[0].length, COUNT);
    cli_ids_free(&ids);
    memset(text, '1', 2 * COUNT); /* one token of two million digits */
    CU_ASSERT(!parse_ids(text, 2 * COUNT, &ids, &err));
    CHECK_SAYS("out of the range");
    CU_ASSERT(strlen(err.text) < 200);
    free(text);
}

static void test_batches(void)
{
    static const cli_item items[] = {{0, 1, 9}, {1, 1, 3}, {2, 1, 9}, {3, 1, 4}, {4, 1, 3}, {5, 1, 100}};
    size_t order[6], starts[7];
    cli_batch_rules rules = {2, 1000, false, 6};
    CU_ASSERT_EQUAL(cli_batches(items, 6, &rules, order, starts), 3);
    static const size_t sorted[] = {1, 4, 3, 0, 2, 5};
    CU_ASSERT(!memcmp(order, sorted, sizeof sorted));
    CU_ASSERT(starts[1] == 2 && starts[2] == 4 && starts[3] == 6);

    rules = (cli_batch_rules){32, 1000, true, 6};
    CU_ASSERT_EQUAL(cli_batches(items, 6, &rules, order, starts), 4);
    rules = (cli_batch_rules){32, 12, false, 6}; /* 3 + 3 + 4 fit 3 x 4; 9 alone; 100 is over and alone */
    CU_ASSERT_EQUAL(cli_batches(items, 6, &rules, order, starts), 4);
    CU_ASSERT(starts[1] == 3 && starts[2] == 4 && starts[3] == 5);
    rules = (cli_batch_rules){32, 1000, false, 2}; /* windows stay in order */
    CU_ASSERT_EQUAL(cli_batches(items, 6, &rules, order, starts), 3);
    CU_ASSERT(order[0] == 1 && order[1] == 0 && order[2] == 3 && order[3] == 2);
}

/* ---- .npy ---- */

/* A file with this header; `claim` is added to the length that it claims. */
static cli_file *npy_file(const char *header, const void *data, size_t size, int claim)
{
    bytes b = {0};
    size_t n = strlen(header) + (size_t)claim;
    uint8_t start[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (uint8_t)n, (uint8_t)(n >> 8)};
    put_raw(&b, start, sizeof start);
    put_raw(&b, header, strlen(header));
    put_raw(&b, data, size);
    cli_file *file = file_of(b.data, b.size);
    bytes_free(&b);
    return file;
}

static bool parse_npy(cli_file *file, cli_tensor *out, gr_err *err)
{
    bool ok = cli_npy_parse(file, file->data, file->size, out, err);
    cli_file_drop(file);
    return ok;
}

static void test_npy_good(void)
{
    gr_err err = {.text = ""};
    cli_tensor t;
    int16_t values[6] = {1, 2, 3, 4, 5, 6};
    CU_ASSERT_FATAL(parse_npy(
        npy_file("{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }  \n", values, 12, 0), &t, &err));
    CU_ASSERT(t.type == GR_INT16 && t.rank == 2 && t.dims[0] == 2 && t.dims[1] == 3 && t.file && !t.owned);
    CU_ASSERT_EQUAL(cli_integer(t.type, t.data, 5), 6);
    cli_tensor_free(&t);

    /* Columns first: values 1 2 | 3 4 | 5 6 are the columns of a 2 x 3 matrix. */
    CU_ASSERT_FATAL(
        parse_npy(npy_file("{\"shape\":(2,3),\"fortran_order\":True,\"descr\":\"<i2\"}", values, 12, 0), &t, &err));
    static const int16_t rows[6] = {1, 3, 5, 2, 4, 6};
    CU_ASSERT(!memcmp(t.data, rows, 12));
    cli_tensor_free(&t);

    CU_ASSERT_FATAL(
        parse_npy(npy_file("{'descr': '>i2', 'fortran_order': False, 'shape': (6,), }", values, 12, 0), &t, &err));
    CU_ASSERT_EQUAL(cli_integer(t.type, t.data, 0), 256);
    cli_tensor_free(&t);

    CU_ASSERT_FATAL(
        parse_npy(npy_file("{'descr': '|b1', 'fortran_order': False, 'shape': (3L,), }", "\0\2\1", 3, 0), &t, &err));
    CU_ASSERT(!memcmp(t.data, "\0\1\1", 3));
    cli_tensor_free(&t);

    CU_ASSERT_FATAL(parse_npy(
        npy_file("{'descr': '<f8', 'fortran_order': False, 'shape': (), }", "\0\0\0\0\0\0\360\77", 8, 0), &t, &err));
    CU_ASSERT(t.rank == 0 && t.elements == 1 && cli_value(t.type, t.data, 0) == 1);
    cli_tensor_free(&t);

    CU_ASSERT_FATAL(
        parse_npy(npy_file("{'descr': '<f4', 'fortran_order': True, 'shape': (0, 4), }", "", 0, 0), &t, &err));
    CU_ASSERT(t.elements == 0 && t.size == 0);
    cli_tensor_free(&t);
}

static void test_npy_bad(void)
{
    static const struct {
        const char *header;
        int claim;
        const char *says;
    } bad[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 60000, "claims"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1000,), }", 0, "8 are there"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", 0, "impossible"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4611686018427387904, 4), }", 0, "impossible"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387984, 0, 4611686018427387984), }", 0,
         "impossible"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 0, "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -2), }", 0, "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2), }", 0, "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': 2, }", 0, "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': "
         "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1), }",
         0, "32"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", 0, "not numbers"},
        {"{'descr': '<U4', 'fortran_order': False, 'shape': (2,), }", 0, "not numbers"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", 0, "records"},
        {"{'descr': '<f16', 'fortran_order': False, 'shape': (2,), }", 0, "not supported"},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (2,), }", 0, "order"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 0, "wrong key"},
        {"{'descr': '<f4', 'shape': (2,), }", 0, "incomplete"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } x", 0, "incomplete"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'evil': __import__('os') }", 0, "wrong key"},
        {"__import__('os').system('true')", 0, "dictionary"},
        {"", 0, "dictionary"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        gr_err err = {.text = ""};
        cli_tensor t;
        CU_ASSERT(!parse_npy(npy_file(bad[i].header, "12345678", 8, bad[i].claim), &t, &err));
        CHECK_SAYS(bad[i].says);
    }
    gr_err err = {.text = ""};
    cli_tensor t;
    CU_ASSERT(!parse_npy(file_of("\x93NUMPY\2\0\xff\xff\xff\xff", 12), &t, &err));
    CHECK_SAYS("claims 4294967295 bytes");
    CU_ASSERT(!parse_npy(file_of("\x93NUMPY\2\0\xff", 9), &t, &err));
    CU_ASSERT(!parse_npy(file_of("\x93NUMPY\7\0\xff\xff\xff\xff", 12), &t, &err));
    CHECK_SAYS("version 7");
    CU_ASSERT(!parse_npy(file_of("", 0), &t, &err));
    CHECK_SAYS("not a .npy file");
}

/* ---- .npz ---- */

static void put_le(bytes *b, uint64_t v, int n)
{
    for (int i = 0; i < n; i++) put_raw(b, &(uint8_t){(uint8_t)(v >> (8 * i))}, 1);
}

typedef struct zip_lies {
    unsigned flags, method;
    int64_t unpacked, packed, crc; /* -1: the truth */
    const char *name;
    bool deflate;
    int times; /* entries in the directory for the one member */
} zip_lies;

static cli_file *zip_of(const void *data, size_t size, zip_lies lies)
{
    bytes b = {0}, packed = {0};
    if (lies.deflate) {
        z_stream z = {0};
        deflateInit2(&z, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
        packed.size = packed.room = deflateBound(&z, size) + 16;
        packed.data = malloc(packed.size);
        z.next_in = (Bytef *)data, z.avail_in = (uInt)size, z.next_out = packed.data, z.avail_out = (uInt)packed.size;
        CU_ASSERT_EQUAL(deflate(&z, Z_FINISH), Z_STREAM_END);
        packed.size = z.total_out;
        deflateEnd(&z);
    } else {
        put_raw(&packed, data, size);
    }
    uint64_t crc = lies.crc < 0 ? crc32(0, data, (uInt)size) : (uint64_t)lies.crc;
    uint64_t in = lies.packed < 0 ? packed.size : (uint64_t)lies.packed,
             out = lies.unpacked < 0 ? size : (uint64_t)lies.unpacked;
    size_t name = strlen(lies.name), times = lies.times ? (size_t)lies.times : 1;
    put_le(&b, 0x04034b50, 4), put_le(&b, 20, 2), put_le(&b, lies.flags, 2), put_le(&b, lies.method, 2),
        put_le(&b, 0, 4);
    put_le(&b, crc, 4), put_le(&b, in, 4), put_le(&b, out, 4), put_le(&b, name, 2), put_le(&b, 0, 2);
    put_raw(&b, lies.name, name), put_raw(&b, packed.data, packed.size);
    size_t at = b.size;
    for (size_t i = 0; i < times; i++) {
        put_le(&b, 0x02014b50, 4), put_le(&b, 20, 2), put_le(&b, 20, 2), put_le(&b, lies.flags, 2),
            put_le(&b, lies.method, 2);
        put_le(&b, 0, 4), put_le(&b, crc, 4), put_le(&b, in, 4), put_le(&b, out, 4), put_le(&b, name, 2),
            put_le(&b, 0, 8);
        put_le(&b, 0, 4), put_le(&b, 0, 4), put_raw(&b, lies.name, name);
    }
    size_t directory = b.size - at;
    put_le(&b, 0x06054b50, 4), put_le(&b, 0, 4), put_le(&b, times, 2), put_le(&b, times, 2), put_le(&b, directory, 4),
        put_le(&b, at, 4);
    put_le(&b, 0, 2);
    cli_file *file = file_of(b.data, b.size);
    bytes_free(&b);
    bytes_free(&packed);
    return file;
}

static bool parse_npz(cli_file *file, cli_tensor **out, size_t *count, gr_err *err)
{
    bool ok = cli_npz_parse(file, 1 << 20, out, count, err);
    cli_file_drop(file);
    return ok;
}

static void free_tensors(cli_tensor *tensors, size_t count)
{
    for (size_t i = 0; i < count; i++) cli_tensor_free(&tensors[i]);
    free(tensors);
}

/* A .npy of `count` zeros of one byte. */
static bytes zeros_npy(size_t count)
{
    bytes b = {0};
    cli_text header = {0};
    int64_t dims[1] = {(int64_t)count};
    CU_ASSERT(cli_npy_header(GR_UINT8, 1, dims, &header));
    put_raw(&b, header.data, header.size);
    cli_text_free(&header);
    uint8_t *zeros = calloc(count + 1, 1);
    put_raw(&b, zeros, count);
    free(zeros);
    return b;
}

static void test_npz(void)
{
    static const zip_lies truth = {0, 0, -1, -1, -1, "x.npy", false, 0};
    bytes npy = zeros_npy(1000), big = zeros_npy(2 << 20);
    gr_err err = {.text = ""};
    cli_tensor *t;
    size_t n;
    for (int deflated = 0; deflated < 2; deflated++) {
        zip_lies lies = truth;
        lies.deflate = deflated, lies.method = deflated ? 8 : 0;
        CU_ASSERT_FATAL(parse_npz(zip_of(npy.data, npy.size, lies), &t, &n, &err));
        CU_ASSERT(n == 1 && !strcmp(t[0].name, "x") && t[0].elements == 1000);
        free_tensors(t, n);
        lies.crc = 1;
        CU_ASSERT(!parse_npz(zip_of(npy.data, npy.size, lies), &t, &n, &err));
        CHECK_SAYS("damaged");
        lies = truth, lies.deflate = deflated, lies.method = deflated ? 8 : 0;
        lies.packed = UINT32_MAX - 1;
        CU_ASSERT(!parse_npz(zip_of(npy.data, npy.size, lies), &t, &n, &err));
        lies.packed = -1, lies.unpacked = 10;
        CU_ASSERT(!parse_npz(zip_of(npy.data, npy.size, lies), &t, &n, &err));
    }
    zip_lies lies = truth;
    lies.deflate = true, lies.method = 8, lies.unpacked = 0xfffffff0; /* claims 4 GB of a few bytes */
    CU_ASSERT(!parse_npz(zip_of(npy.data, npy.size, lies), &t, &n, &err));
    CHECK_SAYS("more bytes than its data can hold");
    lies.unpacked = -1; /* 2 MB that are really there, over the limit of 1 MB */
    CU_ASSERT(!parse_npz(zip_of(big.data, big.size, lies), &t, &n, &err));
    CHECK_SAYS("limit");
    lies = truth, lies.method = 12;
    CU_ASSERT(!parse_npz(zip_of(npy.data, npy.size, lies), &t, &n, &err));
    CHECK_SAYS("method 12");
    lies = truth, lies.flags = 1;
    CU_ASSERT(!parse_npz(zip_of(npy.data, npy.size, lies), &t, &n, &err));
    CHECK_SAYS("encrypted");
    lies = truth, lies.times = 2;
    CU_ASSERT(!parse_npz(zip_of(npy.data, npy.size, lies), &t, &n, &err));
    CHECK_SAYS("two members");
    lies = truth, lies.name = "/etc/passwd"; /* no array, so not looked at */
    CU_ASSERT_FATAL(parse_npz(zip_of("x", 1, lies), &t, &n, &err));
    CU_ASSERT_EQUAL(n, 0);
    free_tensors(t, n);
    lies.name = "/../../x.npy"; /* names are only compared */
    CU_ASSERT_FATAL(parse_npz(zip_of(npy.data, npy.size, lies), &t, &n, &err));
    CU_ASSERT_STRING_EQUAL(t[0].name, "/../../x");
    free_tensors(t, n);
    CU_ASSERT(!parse_npz(text_file("PK\5\6 and no archive at all"), &t, &n, &err));
    CHECK_SAYS("not a .npz file");
    bytes_free(&npy);
    bytes_free(&big);
}

/* Every file that is a good one cut short or with one byte changed is read or refused. */
static void test_npz_mutations(void)
{
    static const zip_lies truth = {0, 8, -1, -1, -1, "x.npy", true, 0};
    bytes npy = zeros_npy(50);
    cli_file *good = zip_of(npy.data, npy.size, truth);
    cli_tensor *t;
    size_t n;
    for (size_t i = 0; i < good->size; i++) {
        if (parse_npz(file_of(good->data, i), &t, &n, NULL)) free_tensors(t, n);
        for (int flip = 0; flip < 3; flip++) {
            cli_file *bad = file_of(good->data, good->size);
            ((uint8_t *)bad->data)[i] ^= flip == 0 ? 1 : flip == 1 ? 0x80 : 0xff;
            if (parse_npz(bad, &t, &n, NULL)) free_tensors(t, n);
        }
    }
    cli_file_drop(good);
    bytes_free(&npy);
}

/* ---- TensorProto ---- */

static bool parse_pb(bytes *b, cli_tensor *out, gr_err *err)
{
    cli_file *file = file_of(b->data, b->size);
    bool ok = cli_pb_parse(file, file->data, file->size, out, err);
    cli_file_drop(file);
    bytes_free(b);
    return ok;
}

static void test_pb_good(void)
{
    gr_err err = {.text = ""};
    cli_tensor t;
    static const int64_t dims[] = {2, 2};
    static const float values[] = {1, 2, 3, 4};
    bytes b = tensor_head("x", GR_FLOAT, 2, dims);
    put_bytes(&b, TENSOR_RAW, values, sizeof values);
    CU_ASSERT_FATAL(parse_pb(&b, &t, &err));
    CU_ASSERT(t.rank == 2 && t.type == GR_FLOAT && !strcmp(t.name, "x") && cli_value(t.type, t.data, 3) == 4);
    cli_tensor_free(&t);

    b = tensor_head("x", GR_FLOAT, 2, dims); /* some packed, some not */
    put_bytes(&b, TENSOR_FLOATS, values, 8);
    put_float(&b, TENSOR_FLOATS, 3), put_float(&b, TENSOR_FLOATS, 4);
    CU_ASSERT_FATAL(parse_pb(&b, &t, &err));
    CU_ASSERT(!memcmp(t.data, values, sizeof values));
    cli_tensor_free(&t);

    b = tensor_head("x", GR_INT64, 1, dims);
    put_int(&b, TENSOR_TYPE, GR_INT8); /* the last one wins */
    put_int(&b, TENSOR_INT32S, -128), put_int(&b, TENSOR_INT32S, 127);
    put_text(&b, TENSOR_NAME, "y");
    CU_ASSERT_FATAL(parse_pb(&b, &t, &err));
    CU_ASSERT(t.type == GR_INT8 && !strcmp(t.name, "y") && cli_integer(t.type, t.data, 0) == -128);
    cli_tensor_free(&t);

    b = tensor_head("x", GR_FLOAT16, 1, dims);
    put_int(&b, TENSOR_INT32S, 0x3c00), put_int(&b, TENSOR_INT32S, 0xc000);
    CU_ASSERT_FATAL(parse_pb(&b, &t, &err));
    CU_ASSERT(cli_value(t.type, t.data, 0) == 1 && cli_value(t.type, t.data, 1) == -2);
    cli_tensor_free(&t);

    b = tensor_head("", GR_INT64, 1, (int64_t[]){0});
    put_bytes(&b, TENSOR_RAW, "", 0);
    CU_ASSERT_FATAL(parse_pb(&b, &t, &err));
    CU_ASSERT(t.elements == 0);
    cli_tensor_free(&t);

    cli_text out = {0}; /* and what is written reads back */
    float data[4] = {1, 2, 3, 4};
    gr_tensor_view view = {GR_FLOAT, 2, dims, data, sizeof data};
    cli_pb_write("name", &view, &out);
    b = (bytes){0};
    put_raw(&b, out.data, out.size);
    cli_text_free(&out);
    CU_ASSERT_FATAL(parse_pb(&b, &t, &err));
    CU_ASSERT(t.rank == 2 && !strcmp(t.name, "name") && !memcmp(t.data, data, sizeof data));
    cli_tensor_free(&t);
}

static void test_pb_bad(void)
{
    static const int64_t dims[] = {4}, huge[] = {((int64_t)1 << 62) + 80, 4}, negative[] = {-4, -8}, many[] = {1 << 30};
    gr_err err = {.text = ""};
    cli_tensor t;
    bytes b = tensor_head("x", GR_FLOAT, 1, dims);
    put_bytes(&b, TENSOR_RAW, "12345678", 8);
    CU_ASSERT(!parse_pb(&b, &t, &err));
    CHECK_SAYS("16 bytes, and has 8");
    b = tensor_head("x", GR_FLOAT, 2, huge);
    put_bytes(&b, TENSOR_RAW, "12345678", 8);
    CU_ASSERT(!parse_pb(&b, &t, &err));
    CHECK_SAYS("impossible");
    b = tensor_head("x", GR_FLOAT, 2, negative);
    CU_ASSERT(!parse_pb(&b, &t, &err));
    CHECK_SAYS("impossible");
    b = tensor_head("x", GR_FLOAT, 1, many); /* claims 4 GB and has nothing */
    CU_ASSERT(!parse_pb(&b, &t, &err));
    CHECK_SAYS("0 numbers");
    b = tensor_head("x", GR_FLOAT, 1, dims);
    put_bytes(&b, TENSOR_RAW, "1234567812345678", 16);
    put_float(&b, TENSOR_FLOATS, 1);
    CU_ASSERT(!parse_pb(&b, &t, &err));
    CHECK_SAYS("two fields");
    b = tensor_head("x", GR_INT8, 1, (int64_t[]){1});
    put_int(&b, TENSOR_INT32S, 128);
    CU_ASSERT(!parse_pb(&b, &t, &err));
    CHECK_SAYS("no int8");
    b = tensor_head("x", GR_BOOL, 1, (int64_t[]){1});
    put_int(&b, TENSOR_INT32S, 2);
    CU_ASSERT(!parse_pb(&b, &t, &err));
    b = tensor_head("x", GR_FLOAT, 1, dims);
    put_int(&b, TENSOR_LOCATION, 1);
    CU_ASSERT(!parse_pb(&b, &t, &err));
    CHECK_SAYS("another file");
    b = tensor_head("x", GR_STRING, 1, (int64_t[]){1});
    put_text(&b, TENSOR_STRINGS, "s");
    CU_ASSERT(!parse_pb(&b, &t, &err));
    CHECK_SAYS("not supported");
    b = tensor_head("x", (gr_dtype)77, 1, dims);
    CU_ASSERT(!parse_pb(&b, &t, &err));
    b = tensor_head("x", GR_FLOAT, 0, NULL);
    put_bytes(&b, TENSOR_NAME, "a\0b", 3);
    put_float(&b, TENSOR_FLOATS, 1);
    CU_ASSERT(!parse_pb(&b, &t, &err));
    CHECK_SAYS("NUL");
    b = (bytes){0};
    put_raw(&b, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10);
    CU_ASSERT(!parse_pb(&b, &t, &err));
    CHECK_SAYS("malformed");

    b = tensor_head("x", GR_INT64, 1, (int64_t[]){1});
    put_int(&b, TENSOR_INT64S, 5);
    for (size_t i = 0; i < b.size; i++) { /* cut anywhere: read or refused */
        bytes cut = {0};
        put_raw(&cut, b.data, i);
        if (parse_pb(&cut, &t, NULL)) cli_tensor_free(&t);
    }
    bytes_free(&b);
}

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
    CU_ASSERT_FATAL(collect_open(&c, path, 2, false, names, 2, &err));
    float one[] = {1, 2}, two[] = {3, 4, 5};
    uint16_t half[] = {0x3f80}; /* bfloat16 */
    for (size_t i = 0; i < 2; i++) {
        int64_t dims[] = {i ? 3 : 2};
        gr_tensor_view v = {GR_FLOAT, 1, dims, i ? two : one, 4 * (size_t)dims[0]}, w = {GR_BFLOAT16, 0, NULL, half, 2};
        CU_ASSERT(collect_add(&c, i, 0, &v, &err) && collect_add(&c, i, 1, &w, &err));
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

    CU_ASSERT_FATAL(collect_open(&c, path, 1, true, names, 1, &err)); /* given up: the old file stays */
    collect_free(&c);
    CU_ASSERT(cli_exists(path));
    CU_ASSERT(!collect_open(&c, "out.txt", 1, true, names, 1, &err) && err.status == GR_EINVAL);
    collect_free(&c);
    CU_ASSERT(!collect_open(&c, "out.npy", 1, true, names, 2, &err) && err.status == GR_EINVAL);
    collect_free(&c);
    CU_ASSERT(!collect_open(&c, scratch_path("no/such/out.npz"), 1, true, names, 1, &err));
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
    show_options o = {2, NULL, 0, false, 6};
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

static CU_TestInfo cli_tests[] = {
    {"ids: good and odd", test_ids_good},
    {"ids: bad", test_ids_bad},
    {"ids: long", test_ids_long},
    {"batches", test_batches},
    {"npy: good and odd", test_npy_good},
    {"npy: bad", test_npy_bad},
    {"npz", test_npz},
    {"npz: mutations", test_npz_mutations},
    {"pb: good and odd", test_pb_good},
    {"pb: bad", test_pb_bad},
    {"numbers", test_numbers},
    {"elements", test_elements},
    {"compare", test_compare},
    {"written arrays", test_collect},
    {"summary and JSON", test_show},
    CU_TEST_INFO_NULL,
};

extern CU_SuiteInfo suite_cli;
CU_SuiteInfo suite_cli = {"cli", scratch_make, scratch_remove, NULL, NULL, cli_tests};
