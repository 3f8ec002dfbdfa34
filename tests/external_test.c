/* SPDX-License-Identifier: Apache-2.0
 *
 * External data: what a model may reach beside it and what not, and the maps it lies in.
 */
#define _GNU_SOURCE
#include "doc.h"
#include "hostile.h"
#include "map.h"
#include <CUnit/CUnit.h>
#include <sys/stat.h>
#include <unistd.h>

static gr_err err;

/* A tensor of two floats in another file; offset and length NULL: no such entries. */
static bytes external_tensor(const char *location, size_t location_size, const char *offset, const char *length)
{
    const char *keys[] = {"offset", "length"}, *values[] = {offset, length};
    bytes t = tensor_head("w", GR_FLOAT, 1, (int64_t[]){2}), entry = {0};
    put_int(&t, TENSOR_LOCATION, 1);
    put_text(&entry, 1, "location");
    put_bytes(&entry, 2, location, location_size);
    put_message(&t, TENSOR_EXTERNAL, &entry);
    for (int i = 0; i < 2; i++) {
        if (!values[i]) continue;
        put_text(&entry, 1, keys[i]);
        put_text(&entry, 2, values[i]);
        put_message(&t, TENSOR_EXTERNAL, &entry);
    }
    return t;
}

static void write_external(const char *model, const char *location, const char *offset, const char *length)
{
    bytes t = external_tensor(location, strlen(location), offset, length);
    bytes m = model_of_tensor(&t);
    scratch_write(model, m.data, m.size);
    bytes_free(&m);
}

static void check_external(const char *model, const char *text)
{
    gr_doc *doc = NULL;
    gr_status status = gr_doc_load(scratch_path(model), NULL, &doc, &err);
    if (text) {
        CU_ASSERT_NOT_EQUAL(status, GR_OK);
        CHECK_SAYS(text);
        CHECK_SAYS("tensor 'w'");
    } else {
        CU_ASSERT_EQUAL(status, GR_OK);
        if (status) fprintf(stderr, "got \"%s\"\n", err.text);
    }
    if (!status && !text) {
        const gr_doc_tensor *w = doc->graph->init[0];
        CU_ASSERT(w->mapped && w->size == 8 && !memcmp(w->data, "abcdefgh", 8));
    }
    gr_doc_free(doc);
}

static void test_external(void)
{
    static const struct {
        const char *location, *offset, *length, *says;
    } cases[] = {
        {"w.bin", NULL, NULL, NULL},
        {"w.bin", "0", "8", NULL},
        {"./sub/w.bin", "4", "8", NULL},
        {"link.bin", "0", "8", NULL},
        {"w.bin", "1", "8", "too few for 8 at offset 1"},
        {"w.bin", "18446744073709551615", "8", "too few"},
        {"w.bin", "18446744073709551616", "8", "no decimal number"},
        {"w.bin", "-1", NULL, "no decimal number"},
        {"w.bin", "+1", NULL, "no decimal number"},
        {"w.bin", " 1", NULL, "no decimal number"},
        {"w.bin", "0x1", NULL, "no decimal number"},
        {"w.bin", "", NULL, "no decimal number"},
        {"w.bin", "0", "7", "length '7'"},
        {"w.bin", "0", "-8", "length '-8'"},
        {"w.bin", "0", "18446744073709551624", "length '18446744073709551624'"},
        {"", NULL, NULL, "name is empty"},
        {"/etc/hostname", NULL, NULL, "absolute"},
        {"../w.bin", NULL, NULL, "'..'"},
        {"sub/../w.bin", NULL, NULL, "'..'"},
        {"sub/..", NULL, NULL, "'..'"},
        {"sub", NULL, NULL, "a folder"},
        {"pipe", NULL, NULL, "a pipe"},
        {"missing.bin", NULL, NULL, "No such file"},
        {"loop.bin", NULL, NULL, "cannot be read"},
        {"outside.bin", NULL, NULL, "link that leads out"},
        {"outside/passwd", NULL, NULL, "link that leads out"},
        {"w.bin/x", NULL, NULL, "Not a directory"},
    };
    mkdir(scratch_path("sub"), 0777);
    scratch_write("w.bin", "abcdefgh", 8);
    scratch_write("sub/w.bin", "1234abcdefgh", 12);
    CU_ASSERT_EQUAL(mkfifo(scratch_path("pipe"), 0666), 0);
    CU_ASSERT_EQUAL(symlink("w.bin", scratch_path("link.bin")), 0);
    CU_ASSERT_EQUAL(symlink("loop.bin", scratch_path("loop.bin")), 0);
    CU_ASSERT_EQUAL(symlink("/etc/passwd", scratch_path("outside.bin")), 0);
    CU_ASSERT_EQUAL(symlink("/etc", scratch_path("outside")), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_external("model.onnx", cases[i].location, cases[i].offset, cases[i].length);
        check_external("model.onnx", cases[i].says);
    }
    gr_doc *doc = NULL;
    CU_ASSERT_EQUAL(gr_doc_load(scratch_path("pipe"), NULL, &doc, &err), GR_EIO);
    bytes t = external_tensor("w.bin\0.txt", 10, NULL, NULL), m = model_of_tensor(&t);
    scratch_write("model.onnx", m.data, m.size);
    check_external("model.onnx", "NUL byte");
    bytes_free(&m);
}

static void test_external_memory(void)
{
    gr_doc *doc = NULL;
    scratch_write("memory.bin", "abcdefgh", 8);
    bytes t = external_tensor("memory.bin", 10, NULL, NULL), m = model_of_tensor(&t);
    CU_ASSERT_EQUAL(gr_doc_load_memory(m.data, m.size, scratch_path("."), "m", NULL, &doc, &err), GR_OK);
    gr_doc_free(doc);
    CU_ASSERT_EQUAL(gr_doc_load_memory(m.data, m.size, NULL, "m", NULL, &doc, &err), GR_EINVAL);
    CHECK_SAYS("without a folder");
    bytes_free(&m);
}

/* A cache keeps blobs in one folder, and a snapshot of links to them. */
static void test_external_cache(void)
{
    mkdir(scratch_path("blobs"), 0777);
    mkdir(scratch_path("blobs/deep"), 0777);
    mkdir(scratch_path("snapshots"), 0777);
    mkdir(scratch_path("snapshots/1"), 0777);
    write_external("blobs/aaaa", "model.onnx_data", NULL, NULL);
    scratch_write("blobs/bbbb", "abcdefgh", 8);
    scratch_write("blobs/deep/cccc", "abcdefgh", 8);
    CU_ASSERT_EQUAL(symlink("../../blobs/aaaa", scratch_path("snapshots/1/model.onnx")), 0);
    CU_ASSERT_EQUAL(symlink("../../blobs/bbbb", scratch_path("snapshots/1/model.onnx_data")), 0);
    check_external("snapshots/1/model.onnx", NULL);
    unlink(scratch_path("snapshots/1/model.onnx_data"));
    CU_ASSERT_EQUAL(symlink("../../blobs/deep/cccc", scratch_path("snapshots/1/model.onnx_data")), 0);
    check_external("snapshots/1/model.onnx", "link that leads out");
    unlink(scratch_path("snapshots/1/model.onnx_data"));
    CU_ASSERT_EQUAL(symlink("../../w.bin", scratch_path("snapshots/1/model.onnx_data")), 0);
    scratch_write("w.bin", "abcdefgh", 8);
    check_external("snapshots/1/model.onnx", "link that leads out");
}

static void test_dontneed(void)
{
    static char page[1 << 16];
    memset(page, 7, sizeof page);
    scratch_write("pages.bin", page, sizeof page);
    gr_map *maps = NULL, *map = NULL, *again = NULL;
    CU_ASSERT_EQUAL_FATAL(gr_map_file(scratch_path("pages.bin"), &maps, &map, &err), GR_OK);
    CU_ASSERT_EQUAL(gr_map_file(scratch_path("pages.bin"), &maps, &again, &err), GR_OK);
    CU_ASSERT_PTR_EQUAL(map, again);
    gr_map_dontneed(maps, map->data + 1, map->size - 1);
    CU_ASSERT_EQUAL(memcmp(map->data, page, sizeof page), 0);
    gr_map_dontneed(maps, page, sizeof page); /* not a map: keeps its contents */
    gr_map_dontneed(maps, map->data, map->size + 1);
    CU_ASSERT(page[5000] == 7 && map->data[5000] == 7);
    gr_map_free(maps);
}

/* What is read is what is mapped, also of a file that has lost its name, and nothing is read behind its end. */
static void test_read(void)
{
    enum { FILES = 10, SIZE = 5000 };
    static char page[SIZE], copy[SIZE];
    gr_map *maps = NULL, *map = NULL;
    int open = 0;
    for (int i = 0; i < FILES; i++) {
        for (int j = 0; j < SIZE; j++) page[j] = (char)(i + j);
        scratch_write("part.bin", page, sizeof page);
        CU_ASSERT_EQUAL_FATAL(gr_map_file(scratch_path("part.bin"), &maps, &map, &err), GR_OK);
        unlink(scratch_path("part.bin"));
        const bool may = gr_map_may_read(maps, map->data, SIZE);
        open += may;
        CU_ASSERT_EQUAL(gr_map_read(maps, map->data + 1, SIZE - 1, copy), may);
        CU_ASSERT(!may || !memcmp(copy, page + 1, SIZE - 1));
        CU_ASSERT(!gr_map_may_read(maps, map->data + 1, SIZE) && !gr_map_read(maps, map->data + 1, SIZE, copy));
    }
    CU_ASSERT(open > 0 && open < FILES); /* models of very many files do not use up descriptors */
    CU_ASSERT(!gr_map_may_read(maps, page, SIZE));
    gr_map_free(maps);

    scratch_write("part.bin", page, SIZE);
    maps = NULL;
    CU_ASSERT_EQUAL_FATAL(gr_map_file(scratch_path("part.bin"), &maps, &map, &err), GR_OK);
    CU_ASSERT_EQUAL(truncate(scratch_path("part.bin"), 100), 0);
    CU_ASSERT(gr_map_read(maps, map->data, 100, copy) && !gr_map_read(maps, map->data, 101, copy));
    gr_map_free(maps);
}

static CU_TestInfo external_tests[] = {
    {"locations, offsets, lengths", test_external},
    {"a model in memory", test_external_memory},
    {"a cache of links", test_external_cache},
    {"pages given back", test_dontneed},
    {"read beside the map", test_read},
    CU_TEST_INFO_NULL,
};

extern CU_SuiteInfo suite_external;
CU_SuiteInfo suite_external = {"external", scratch_make, scratch_remove, NULL, NULL, external_tests};
