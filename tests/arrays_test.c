/* SPDX-License-Identifier: Apache-2.0
 *
 * Arrays in files: .npy, .npz, TensorProto; good ones, odd ones, and bad ones by class.
 */
#include "cli_case.h"
#include "hostile.h"
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdlib.h>
#include <zlib.h>

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

static CU_TestInfo tests[] = {
    {"npy: good and odd", test_npy_good},
    {"npy: bad", test_npy_bad},
    {"npz", test_npz},
    {"npz: mutations", test_npz_mutations},
    {"pb: good and odd", test_pb_good},
    {"pb: bad", test_pb_bad},
    CU_TEST_INFO_NULL,
};

CU_SuiteInfo suite_arrays = {"arrays", scratch_make, scratch_remove, NULL, NULL, tests};
