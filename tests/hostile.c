/* SPDX-License-Identifier: Apache-2.0
 *
 * The wire format is simple enough that a dozen lines write any of it, valid or not.
 */
#define _GNU_SOURCE
#include "hostile.h"
#include "doc.h"
#include <CUnit/CUnit.h>
#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void bytes_free(bytes *b)
{
    free(b->data);
    *b = (bytes){0};
}

void put_raw(bytes *b, const void *data, size_t size)
{
    if (size > b->room - b->size) {
        b->room = (b->size + size) * 2 + 64;
        b->data = realloc(b->data, b->room);
        if (!b->data) abort();
    }
    if (size) memcpy(b->data + b->size, data, size);
    b->size += size;
}

void put_padded_varint(bytes *b, uint64_t value, int pad)
{
    uint8_t out[32];
    size_t n = 0;
    for (; value >= 0x80; value >>= 7) out[n++] = (uint8_t)(value | 0x80);
    out[n++] = (uint8_t)value;
    for (; pad > 0; pad--) {
        out[n - 1] |= 0x80;
        out[n++] = 0;
    }
    put_raw(b, out, n);
}

void put_varint(bytes *b, uint64_t value) { put_padded_varint(b, value, 0); }
void put_tag(bytes *b, uint32_t field, int wire_type) { put_varint(b, (uint64_t)field << 3 | (unsigned)wire_type); }

void put_int(bytes *b, uint32_t field, int64_t value)
{
    put_tag(b, field, 0);
    put_varint(b, (uint64_t)value);
}

void put_float(bytes *b, uint32_t field, float value)
{
    put_tag(b, field, 5);
    put_raw(b, &value, sizeof value);
}

void put_bytes(bytes *b, uint32_t field, const void *data, size_t size)
{
    put_tag(b, field, 2);
    put_varint(b, size);
    put_raw(b, data, size);
}

void put_text(bytes *b, uint32_t field, const char *text) { put_bytes(b, field, text, strlen(text)); }

void put_message(bytes *b, uint32_t field, bytes *inner)
{
    put_bytes(b, field, inner->data, inner->size);
    bytes_free(inner);
}

/* A model around a graph, which is emptied. */
bytes model_of(bytes *graph)
{
    bytes m = {0}, opset = {0};
    put_int(&m, MODEL_IR, 8);
    put_int(&opset, 2, 17);
    put_message(&m, MODEL_OPSET, &opset);
    put_message(&m, MODEL_GRAPH, graph);
    return m;
}

bytes tensor_head(const char *name, gr_dtype type, int rank, const int64_t *dims)
{
    bytes t = {0};
    for (int i = 0; i < rank; i++) put_int(&t, TENSOR_DIMS, dims[i]);
    put_int(&t, TENSOR_TYPE, type);
    put_text(&t, TENSOR_NAME, name);
    return t;
}

bytes model_of_tensor(bytes *tensor)
{
    bytes g = {0};
    put_message(&g, GRAPH_INIT, tensor);
    return model_of(&g);
}

bytes node_of(const char *op)
{
    bytes n = {0};
    put_text(&n, NODE_IN, "x");
    put_text(&n, NODE_OUT, "y");
    put_text(&n, NODE_OP, op);
    return n;
}

bytes attr_head(const char *name, int type)
{
    bytes a = {0};
    put_text(&a, ATTR_NAME, name);
    if (type) put_int(&a, ATTR_TYPE, type);
    return a;
}

bytes full_model(void)
{
    bytes a = {0}, n = {0}, g = {0}, t, sub = {0}, sparse = {0}, f = {0}, prop = {0};
    put_text(&g, GRAPH_NAME, "graph");
    n = node_of("Add");
    put_text(&n, NODE_IN, "");
    put_text(&n, 3, "add\none");
    put_text(&n, 7, "com.example");
    a = attr_head("body", GR_ATTR_GRAPH);
    put_text(&sub, GRAPH_NAME, "");
    put_message(&a, ATTR_G, &sub);
    put_message(&n, NODE_ATTR, &a);
    a = attr_head("value", GR_ATTR_TENSOR);
    t = tensor_head("", GR_INT64, 0, NULL);
    put_int(&t, TENSOR_INT64S, -7);
    put_message(&a, ATTR_T, &t);
    put_message(&n, NODE_ATTR, &a);
    a = attr_head("scales", GR_ATTR_FLOATS);
    put_float(&a, 7, 1.5f);
    put_float(&a, 7, __builtin_nanf(""));
    put_message(&n, NODE_ATTR, &a);
    a = attr_head("names", GR_ATTR_STRINGS);
    put_bytes(&a, 9, "x\0y", 3);
    put_message(&n, NODE_ATTR, &a);
    a = attr_head("alpha", GR_ATTR_FLOAT);
    put_text(&a, ATTR_REF, "outer_alpha");
    put_message(&n, NODE_ATTR, &a);
    put_text(&prop, 1, "key");
    put_text(&prop, 2, "value");
    put_message(&n, 9, &prop);
    put_message(&g, GRAPH_NODE, &n);
    t = tensor_head("empty", GR_FLOAT, 2, (int64_t[]){0, 3});
    put_message(&g, GRAPH_INIT, &t);
    t = tensor_head("text", GR_STRING, 1, (int64_t[]){1});
    put_bytes(&t, TENSOR_STRINGS, "s\0", 2);
    put_message(&g, GRAPH_INIT, &t);
    t = tensor_head("values", GR_FLOAT, 1, (int64_t[]){1});
    put_float(&t, TENSOR_FLOATS, 2);
    put_message(&sparse, 1, &t);
    t = tensor_head("", GR_INT64, 1, (int64_t[]){1});
    put_int(&t, TENSOR_INT64S, 3);
    put_message(&sparse, 2, &t);
    put_int(&sparse, 3, 10);
    put_message(&g, GRAPH_SPARSE, &sparse);
    bytes m = model_of(&g);
    put_bytes(&m, MODEL_PRODUCER, "pro\0ducer", 9);
    put_text(&f, 1, "fun");
    put_text(&f, 10, "com.example");
    put_text(&f, 4, "x");
    put_text(&f, 5, "y");
    put_text(&f, 6, "outer_alpha");
    n = node_of("Relu");
    put_message(&f, 7, &n);
    put_message(&m, MODEL_FUNCTION, &f);
    return m;
}

static char folder[512];

const char *scratch_path(const char *name)
{
    static char path[2][1024];
    static unsigned turn;
    turn ^= 1;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

void scratch_write(const char *name, const void *data, size_t size)
{
    FILE *f = fopen(scratch_path(name), "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fwrite(data, 1, size, f), size);
    fclose(f);
}

int scratch_make(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/graphrun-import-XXXXXX", base ? base : "/tmp");
    return mkdtemp(folder) ? 0 : 1;
}

static void remove_tree(const char *path)
{
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        char inner[1024];
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (snprintf(inner, sizeof inner, "%s/%s", path, e->d_name) >= (int)sizeof inner || lstat(inner, &st)) continue;
        if (S_ISDIR(st.st_mode))
            remove_tree(inner);
        else
            unlink(inner);
    }
    if (d) closedir(d);
    rmdir(path);
}

int scratch_remove(void)
{
    remove_tree(folder);
    return 0;
}
