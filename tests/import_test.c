/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading ONNX files: models written byte by byte, hostile ones of every class that a loader must refuse, and odd ones
 * that it must read as protobuf means them.
 */
#include "doc.h"
#include "hostile.h"
#include <CUnit/CUnit.h>

static gr_err err;

/* Load and free `model`; the document is NULL on failure. */
static gr_doc *load(bytes *model)
{
    gr_doc *doc = NULL;
    err.text[0] = 0;
    gr_status status = gr_doc_load_memory(model->data, model->size, NULL, "test", NULL, &doc, &err);
    CU_ASSERT(status ? !doc && status == err.status : doc != NULL);
    return doc;
}

#define CHECK_REFUSED(model, expected, text)                                                                           \
    do {                                                                                                               \
        gr_doc *doc_ = load(&(model));                                                                                 \
        CU_ASSERT_PTR_NULL(doc_);                                                                                      \
        CU_ASSERT_EQUAL(err.status, expected);                                                                         \
        CHECK_SAYS(text);                                                                                              \
        gr_doc_free(doc_);                                                                                             \
        bytes_free(&(model));                                                                                          \
    } while (0)

static bytes model_of_attr(bytes *attr)
{
    bytes n = node_of("Op"), g = {0};
    put_message(&n, NODE_ATTR, attr);
    put_message(&g, GRAPH_NODE, &n);
    return model_of(&g);
}

/* ---- depth ---- */

static bytes nested_graphs(int levels)
{
    bytes inner = {0};
    for (int i = 0; i < levels; i++) {
        bytes a = {0}, n = node_of("If"), g = {0};
        put_text(&a, ATTR_NAME, "then_branch");
        put_int(&a, ATTR_TYPE, GR_ATTR_GRAPH);
        put_message(&a, ATTR_G, &inner);
        put_message(&n, NODE_ATTR, &a);
        put_message(&g, GRAPH_NODE, &n);
        inner = g;
    }
    return model_of(&inner);
}

static void test_depth(void)
{
    bytes m = nested_graphs(32), type = {0}, value = {0}, g = {0}, deep = {0};
    gr_doc *doc = load(&m);
    CU_ASSERT_PTR_NOT_NULL(doc);
    gr_doc_free(doc);
    bytes_free(&m);
    m = nested_graphs(2000);
    CHECK_REFUSED(m, GR_ELIMIT, "nested more than 100 deep");
    for (int i = 0; i < 500; i++) {
        bytes sequence = {0};
        put_message(&sequence, 1, &type);
        put_message(&type, i % 2 ? 4 : 9, &sequence);
    }
    put_text(&value, 1, "x");
    put_message(&value, 2, &type);
    put_message(&g, GRAPH_IN, &value);
    m = model_of(&g);
    CHECK_REFUSED(m, GR_ELIMIT, "nested more than 100 deep");
    /* What nobody knows is not looked into, but groups must end. */
    for (int i = 0; i < 5000; i++) {
        bytes outer = {0};
        put_message(&outer, 9999, &deep);
        deep = outer;
    }
    m = model_of(&g);
    put_message(&m, 100, &deep);
    for (int i = 0; i < 50; i++) put_tag(&m, 200, 3);
    for (int i = 0; i < 50; i++) put_tag(&m, 200, 4);
    doc = load(&m);
    CU_ASSERT_PTR_NOT_NULL(doc);
    gr_doc_free(doc);
    for (int i = 0; i < 100000; i++) put_tag(&m, 200, 3);
    CHECK_REFUSED(m, GR_EFORMAT, "groups nested too deep");
    m = model_of(&g);
    put_tag(&m, 200, 3);
    put_tag(&m, 201, 4);
    CHECK_REFUSED(m, GR_EFORMAT, "ends a group that was not begun");
}

/* ---- amplification ---- */

static bytes model_of_many(uint32_t field, size_t n, const char *contents, size_t size)
{
    bytes g = {0};
    for (size_t i = 0; i < n; i++) put_bytes(&g, field, contents, size);
    return model_of(&g);
}

static void test_amplification(void)
{
    bytes m = model_of_many(GRAPH_NODE, 300000, "", 0), n = {0}, g = {0};
    CHECK_REFUSED(m, GR_EMODEL, "NodeProto without 'op_type'");
    for (int i = 0; i < 300000; i++) put_bytes(&n, NODE_ATTR, "", 0);
    put_text(&n, NODE_OP, "Op");
    put_message(&g, GRAPH_NODE, &n);
    m = model_of(&g);
    CHECK_REFUSED(m, GR_EMODEL, "AttributeProto without 'name'");
    m = model_of_many(GRAPH_NODE, 3000000, "\"\1A", 3);
    CHECK_REFUSED(m, GR_ELIMIT, "limit of 512 MiB");
    m = model_of_many(GRAPH_NODE, 5000, "\"\1A", 3);
    gr_doc *doc = NULL;
    gr_doc_limits limits = {1 << 20};
    CU_ASSERT_EQUAL(gr_doc_load_memory(m.data, m.size, NULL, "test", &limits, &doc, &err), GR_ELIMIT);
    CHECK_SAYS("limit of 1 MiB");
    limits.max_graph_bytes = 16 << 20;
    CU_ASSERT_EQUAL(gr_doc_load_memory(m.data, m.size, NULL, "test", &limits, &doc, &err), GR_OK);
    CU_ASSERT(gr_arena_bytes(doc->arena) < limits.max_graph_bytes);
    gr_doc_free(doc);
    bytes_free(&m);
}

/* ---- the wire ---- */

static void test_wire_last_wins(void)
{
    bytes m = {0}, g = {0}, t, dim = {0}, shape = {0}, type = {0}, tensor_type = {0}, value = {0};
    put_int(&m, MODEL_IR, 3);
    put_text(&g, GRAPH_NAME, "first");
    t = tensor_head("w", GR_FLOAT, 1, (int64_t[]){2});
    put_bytes(&t, TENSOR_RAW, "abc", 3);
    put_bytes(&t, TENSOR_RAW, "AAAABBBB", 8);
    put_message(&g, GRAPH_INIT, &t);
    put_message(&m, MODEL_GRAPH, &g);
    put_int(&m, MODEL_IR, 8);
    /* The graph goes on in a second piece. Of a oneof, the member that comes last counts. */
    put_text(&dim, 2, "n");
    put_int(&dim, 1, 5);
    put_message(&shape, 1, &dim);
    put_int(&dim, 1, 5);
    put_text(&dim, 2, "n");
    put_message(&shape, 1, &dim);
    put_int(&tensor_type, 1, GR_INT64);
    put_message(&type, 1, &tensor_type);
    put_message(&tensor_type, 2, &shape);
    put_message(&type, 1, &tensor_type);
    put_text(&value, 1, "x");
    put_message(&value, 2, &type);
    put_message(&g, GRAPH_IN, &value);
    put_text(&g, GRAPH_NAME, "second");
    put_message(&m, MODEL_GRAPH, &g);
    gr_doc *doc = load(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    CU_ASSERT_EQUAL(doc->ir_version, 8);
    CU_ASSERT_STRING_EQUAL(doc->graph->name, "second");
    CU_ASSERT_EQUAL(doc->graph->ninit, 1);
    CU_ASSERT_EQUAL(memcmp(doc->graph->init[0]->data, "AAAABBBB", 8), 0);
    CU_ASSERT_EQUAL(doc->graph->in.count, 1);
    const gr_doc_type *x = doc->graph->in.items[0].type;
    CU_ASSERT_EQUAL(x->dtype, GR_INT64);
    CU_ASSERT_EQUAL_FATAL(x->rank, 2);
    CU_ASSERT(x->dims[0].value == 5 && !x->dims[0].param);
    CU_ASSERT(x->dims[1].value == -1 && !strcmp(x->dims[1].param, "n"));
    gr_doc_free(doc);
    bytes_free(&m);
}

static void test_wire_oneof_message(void)
{
    /* tensor, then sequence, then tensor: the first tensor is forgotten. */
    bytes type = {0}, part = {0}, value = {0}, g = {0}, shape = {0};
    put_int(&part, 1, GR_FLOAT);
    put_message(&part, 2, &shape);
    put_message(&type, 1, &part);
    put_message(&type, 4, &part);
    put_int(&part, 1, GR_INT8);
    put_message(&type, 1, &part);
    put_text(&value, 1, "x");
    put_message(&value, 2, &type);
    put_message(&g, GRAPH_OUT, &value);
    bytes m = model_of(&g);
    gr_doc *doc = load(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    const gr_doc_type *x = doc->graph->out.items[0].type;
    CU_ASSERT(x->kind == GR_KIND_TENSOR && x->dtype == GR_INT8 && x->rank == -1);
    gr_doc_free(doc);
    bytes_free(&m);
}

static void test_wire_spellings(void)
{
    /* Padded varints, packed and unpacked lists, and a known field of another wire type, which is an unknown field. */
    bytes a = {0}, packed = {0};
    put_text(&a, ATTR_NAME, "axes");
    put_tag(&a, ATTR_INTS, 0);
    put_padded_varint(&a, 1, 8);
    put_varint(&packed, (uint64_t)-2);
    put_padded_varint(&packed, 3, 5);
    put_message(&a, ATTR_INTS, &packed);
    put_int(&a, ATTR_INTS, 4);
    put_float(&a, ATTR_INTS, 9);
    put_padded_varint(&a, ATTR_TYPE << 3, 2);
    put_padded_varint(&a, GR_ATTR_INTS, 1);
    bytes m = model_of_attr(&a);
    gr_doc *doc = load(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    const gr_attr *axes = &doc->graph->nodes.items[0].attrs.items[0];
    CU_ASSERT_EQUAL_FATAL(axes->count, 4);
    CU_ASSERT(axes->ints[0] == 1 && axes->ints[1] == -2 && axes->ints[2] == 3 && axes->ints[3] == 4);
    gr_doc_free(doc);
    bytes_free(&m);
}

static void test_wire_malformed(void)
{
    bytes m = {0}, g = {0};
    put_tag(&m, 0, 0);
    put_varint(&m, 1);
    CHECK_REFUSED(m, GR_EFORMAT, "tag that is out of range");
    put_tag(&m, 1, 0);
    put_padded_varint(&m, 1, 10);
    put_raw(&m, "aaaaaaaaaaaa", 12);
    CHECK_REFUSED(m, GR_EFORMAT, "varint of more than ten bytes");
    put_tag(&m, 1, 7);
    put_raw(&m, "aaaaaaaaaaaa", 12);
    CHECK_REFUSED(m, GR_EFORMAT, "wire type that does not exist");
    put_tag(&m, MODEL_GRAPH, 2);
    put_varint(&m, UINT64_MAX);
    CHECK_REFUSED(m, GR_EFORMAT, "truncated");
    put_tag(&g, GRAPH_NAME, 2);
    put_varint(&g, 100);
    m = model_of(&g);
    put_int(&m, MODEL_IR, 1);
    CHECK_REFUSED(m, GR_EFORMAT, "not valid protobuf: message GraphProto has a field that is longer");
    bytes a = {0};
    put_text(&a, ATTR_NAME, "k");
    put_bytes(&a, ATTR_INTS, "\x80", 1);
    m = model_of_attr(&a);
    CHECK_REFUSED(m, GR_EFORMAT, "packed list");
    put_text(&a, ATTR_NAME, "k");
    put_int(&a, ATTR_TYPE, (int64_t)1 << 32 | 1);
    m = model_of_attr(&a);
    CHECK_REFUSED(m, GR_EFORMAT, "'type' of message AttributeProto is a number beyond 32 bits");
}

static void test_skipped_fields(void)
{
    bytes g = {0};
    put_text(&g, GRAPH_NAME, "g");
    bytes m = model_of(&g);
    put_text(&m, MODEL_TRAINING, "this is not looked at");
    gr_doc *doc = load(&m);
    CU_ASSERT_PTR_NOT_NULL(doc);
    gr_doc_free(doc);
    bytes_free(&m);
}

/* ---- names ---- */

static void test_names(void)
{
    static char long_name[1 << 20];
    bytes n = {0}, g = {0};
    memset(long_name, 'n', sizeof long_name - 1);
    put_bytes(&n, NODE_IN, "a\0x", 3);
    put_bytes(&n, NODE_IN, "a\0y", 3);
    put_text(&n, NODE_IN, "");
    put_text(&n, NODE_OUT, long_name);
    put_bytes(&n, NODE_OP, "Gather\0x", 8);
    put_bytes(&n, 7, "\0", 1);
    put_message(&g, GRAPH_NODE, &n);
    bytes m = model_of(&g);
    gr_doc *doc = load(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    const gr_doc_node *node = &doc->graph->nodes.items[0];
    CU_ASSERT_STRING_EQUAL(node->op_type, "Gather\xC0\x80x");
    CU_ASSERT_STRING_NOT_EQUAL(node->in.items[0], node->in.items[1]);
    CU_ASSERT_STRING_EQUAL(node->in.items[2], "");
    CU_ASSERT_STRING_EQUAL(node->domain, "\xC0\x80");
    CU_ASSERT_STRING_EQUAL(node->out.items[0], long_name);
    gr_doc_free(doc);
    bytes_free(&m);
    put_bytes(&n, NODE_OP, "a\xC0\x80", 3);
    put_message(&g, GRAPH_NODE, &n);
    m = model_of(&g);
    CHECK_REFUSED(m, GR_EFORMAT, "C0 80");
    bytes t = tensor_head("%n%s\n\x1b[31m'\xff", GR_FLOAT, 1, (int64_t[]){-1});
    m = model_of_tensor(&t);
    CHECK_REFUSED(m, GR_EMODEL, "'%n%s\\x0a\\x1b[31m\\'\\xff' has a negative dimension");
}

/* ---- tensors ---- */

static void test_tensor_sizes(void)
{
    static const struct {
        int64_t dims[2];
        const char *says;
    } bad[] = {
        {{INT64_C(1) << 61, 8}, "more elements than can be counted"},
        {{(INT64_C(1) << 62) + 80, 1}, "more elements than fit"},
        {{-40, -8}, "negative dimension"},
        {{INT64_MIN, 1}, "negative dimension"},
        {{INT64_C(1) << 40, 1}, "has 320 bytes of data"},
        {{80, 2}, "has 320 bytes of data"},
        {{79, 1}, "has 320 bytes of data"},
        {{0, 1}, "has 320 bytes of data"},
        {{0, INT64_C(1) << 62}, "has 320 bytes of data"},
    };
    char data[320] = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        bytes t = tensor_head("w", GR_FLOAT, 2, bad[i].dims);
        put_bytes(&t, TENSOR_RAW, data, sizeof data);
        bytes m = model_of_tensor(&t);
        CHECK_REFUSED(m, GR_EMODEL, bad[i].says);
    }
    bytes t = tensor_head("w", GR_FLOAT, 1, (int64_t[]){80});
    bytes m = model_of_tensor(&t);
    CHECK_REFUSED(m, GR_EMODEL, "has 0 bytes of data where float and its dimensions need 320");
    t = tensor_head("w", GR_FLOAT, 1, (int64_t[]){INT64_C(1) << 55});
    put_bytes(&t, TENSOR_FLOATS, data, sizeof data);
    m = model_of_tensor(&t);
    CHECK_REFUSED(m, GR_EMODEL, "has 80 numbers in float_data where its dimensions need");
}

static void test_tensor_conflicts(void)
{
    bytes t = tensor_head("w", GR_FLOAT, 0, NULL), m, entry = {0};
    put_bytes(&t, TENSOR_RAW, "abcd", 4);
    put_float(&t, TENSOR_FLOATS, 1);
    m = model_of_tensor(&t);
    CHECK_REFUSED(m, GR_EMODEL, "in both raw_data and float_data");
    t = tensor_head("w", GR_FLOAT, 0, NULL);
    put_int(&t, TENSOR_INT64S, 1);
    m = model_of_tensor(&t);
    CHECK_REFUSED(m, GR_EMODEL, "in int64_data, but those of float belong in float_data");
    t = tensor_head("w", GR_STRING, 0, NULL);
    put_bytes(&t, TENSOR_RAW, "abcd", 4);
    m = model_of_tensor(&t);
    CHECK_REFUSED(m, GR_EMODEL, "strings in raw_data");
    t = tensor_head("w", GR_FLOAT, 0, NULL);
    put_bytes(&t, TENSOR_RAW, "abcd", 4);
    put_int(&t, TENSOR_LOCATION, 1);
    put_text(&entry, 1, "location");
    put_text(&entry, 2, "w.bin");
    put_message(&t, TENSOR_EXTERNAL, &entry);
    m = model_of_tensor(&t);
    CHECK_REFUSED(m, GR_EMODEL, "external data and elements in the file");
    t = tensor_head("w", (gr_dtype)0, 0, NULL);
    m = model_of_tensor(&t);
    CHECK_REFUSED(m, GR_EMODEL, "no element type");
    t = tensor_head("w", (gr_dtype)99, 0, NULL);
    m = model_of_tensor(&t);
    CHECK_REFUSED(m, GR_EUNSUPPORTED, "element type 99");
    t = tensor_head("w", GR_INT8, 0, NULL);
    put_int(&t, TENSOR_INT32S, 300);
    m = model_of_tensor(&t);
    CHECK_REFUSED(m, GR_EMODEL, "out of the range of int8");
    t = tensor_head("w", GR_UINT32, 0, NULL);
    put_int(&t, TENSOR_UINT64S, INT64_C(1) << 32);
    m = model_of_tensor(&t);
    CHECK_REFUSED(m, GR_EMODEL, "out of the range of uint32");
    t = tensor_head("w", GR_INT32, 0, NULL);
    put_bytes(&t, TENSOR_INT32S, "\x80", 1);
    m = model_of_tensor(&t);
    CHECK_REFUSED(m, GR_EFORMAT, "int32_data is malformed");
}

/* A tensor of `n` elements of `type` whose typed field holds the varints `v`, half of them packed. */
static void check_typed(gr_dtype type, uint32_t field, int64_t n, size_t count, const int64_t *v, const void *want,
                        size_t size)
{
    bytes t = tensor_head("w", type, 1, &n), packed = {0};
    size_t i = 0;
    for (; i < count / 2; i++) put_varint(&packed, (uint64_t)v[i]);
    put_message(&t, field, &packed);
    for (; i < count; i++) put_int(&t, field, v[i]);
    bytes m = model_of_tensor(&t);
    gr_doc *doc = load(&m);
    CU_ASSERT_PTR_NOT_NULL(doc);
    if (doc) {
        const gr_doc_tensor *w = doc->graph->init[0];
        CU_ASSERT(w->size == size && w->data && !memcmp(w->data, want, size));
        CU_ASSERT(!w->mapped);
    }
    gr_doc_free(doc);
    bytes_free(&m);
}

static void test_tensor_typed(void)
{
    check_typed(GR_INT8, TENSOR_INT32S, 3, 3, (int64_t[]){-1, 127, -128}, (int8_t[]){-1, 127, -128}, 3);
    check_typed(GR_UINT8, TENSOR_INT32S, 2, 2, (int64_t[]){255, 0}, (uint8_t[]){255, 0}, 2);
    check_typed(GR_BOOL, TENSOR_INT32S, 3, 3, (int64_t[]){1, 0, 256}, (uint8_t[]){1, 0, 1}, 3);
    check_typed(GR_INT16, TENSOR_INT32S, 2, 2, (int64_t[]){-300, 300}, (int16_t[]){-300, 300}, 4);
    check_typed(GR_INT32, TENSOR_INT32S, 2, 2, (int64_t[]){-300, UINT32_MAX}, (int32_t[]){-300, -1}, 8);
    check_typed(GR_FLOAT16, TENSOR_INT32S, 2, 2, (int64_t[]){0x3C00, 0xFBFF}, (uint16_t[]){0x3C00, 0xFBFF}, 4);
    check_typed(GR_INT4, TENSOR_INT32S, 3, 2, (int64_t[]){0xF1, 0x02}, (uint8_t[]){0xF1, 0x02}, 2);
    check_typed(GR_INT64, TENSOR_INT64S, 2, 2, (int64_t[]){INT64_MIN, 5}, (int64_t[]){INT64_MIN, 5}, 16);
    check_typed(GR_UINT64, TENSOR_UINT64S, 2, 2, (int64_t[]){-1, 5}, (uint64_t[]){UINT64_MAX, 5}, 16);
    check_typed(GR_UINT32, TENSOR_UINT64S, 1, 1, (int64_t[]){UINT32_MAX}, (uint32_t[]){UINT32_MAX}, 4);
    float values[] = {1, 2, 3};
    bytes t = tensor_head("w", GR_FLOAT, 1, (int64_t[]){3});
    put_bytes(&t, TENSOR_FLOATS, values, sizeof values);
    bytes m = model_of_tensor(&t);
    gr_doc *doc = load(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    CU_ASSERT(doc->graph->init[0]->mapped && !memcmp(doc->graph->init[0]->data, values, sizeof values));
    gr_doc_free(doc);
    bytes_free(&m);
    t = tensor_head("w", GR_COMPLEX64, 1, (int64_t[]){2});
    put_bytes(&t, TENSOR_FLOATS, values, sizeof values);
    put_float(&t, TENSOR_FLOATS, 4);
    m = model_of_tensor(&t);
    doc = load(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    CU_ASSERT(doc->graph->init[0]->size == 16 && !memcmp(doc->graph->init[0]->data, values, sizeof values));
    gr_doc_free(doc);
    bytes_free(&m);
    t = tensor_head("w", GR_STRING, 1, (int64_t[]){3});
    put_text(&t, TENSOR_STRINGS, "one");
    put_bytes(&t, TENSOR_STRINGS, "\0", 1);
    put_text(&t, TENSOR_STRINGS, "");
    m = model_of_tensor(&t);
    doc = load(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    const gr_bytes_view *s = doc->graph->init[0]->strings;
    CU_ASSERT(s[0].size == 3 && !memcmp(s[0].data, "one", 3) && s[1].size == 1 && s[2].size == 0);
    gr_doc_free(doc);
    bytes_free(&m);
}

/* ---- attributes ---- */

static void test_attributes(void)
{
    bytes a = attr_head("axis", 0), m;
    put_int(&a, ATTR_I, INT64_MAX);
    m = model_of_attr(&a);
    CHECK_REFUSED(m, GR_EMODEL, "attribute 'axis' does not say its type");
    a = attr_head("axis", 0);
    put_int(&a, ATTR_I, INT64_MAX);
    m = model_of_attr(&a);
    put_int(&m, MODEL_IR, 1);
    gr_doc *doc = load(&m); /* as files of IR version 1 have it */
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    const gr_attr *axis = &doc->graph->nodes.items[0].attrs.items[0];
    CU_ASSERT(axis->type == GR_ATTR_INT && axis->i == INT64_MAX);
    gr_doc_free(doc);
    bytes_free(&m);
    a = attr_head("axis", GR_ATTR_INT); /* a zero that the writer left out */
    m = model_of_attr(&a);
    doc = load(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    axis = &doc->graph->nodes.items[0].attrs.items[0];
    CU_ASSERT(axis->type == GR_ATTR_INT && axis->i == 0);
    gr_doc_free(doc);
    bytes_free(&m);
    a = attr_head("axis", GR_ATTR_INT);
    put_float(&a, ATTR_F, 1);
    m = model_of_attr(&a);
    CHECK_REFUSED(m, GR_EMODEL, "attribute 'axis' has a value of another type");
    a = attr_head("value", GR_ATTR_TENSOR);
    m = model_of_attr(&a);
    CHECK_REFUSED(m, GR_EMODEL, "node '' (Op): attribute 'value' has no value");
    a = attr_head("value", 77);
    m = model_of_attr(&a);
    CHECK_REFUSED(m, GR_EMODEL, "attribute 'value' has type 77");
    a = attr_head("value", GR_ATTR_INT);
    put_int(&a, ATTR_I, 1);
    put_text(&a, ATTR_REF, "outer");
    m = model_of_attr(&a);
    CHECK_REFUSED(m, GR_EMODEL, "has a value and refers to 'outer'");
}

/* ---- what is no model ---- */

static void test_not_onnx(void)
{
    static const struct {
        const char *data;
        size_t size;
        const char *says;
    } files[] = {
        {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", 58, "Git LFS pointer"},
        {"<!DOCTYPE html><html><body>404</body></html>", 44, "HTML"},
        {"<html>\n<head><title>Not found</title></head></html>", 51, "HTML"},
        {"{\"error\": \"not found\"}", 22, "JSON"},
        {"PK\3\4\0\0\0\0\0\0\0\0\0\0", 14, "zip archive"},
        {"\x1F\x8B\x08\0\0\0\0\0\0\3", 10, "gzip"},
        {"\x80\2}q\0(X\5\0\0\0", 11, "pickle"},
        {"\x10\0\0\0\0\0\0\0{\"a\":1}         ", 24, "safetensors"},
        {"ir_version: 8\ngraph {\n}\n", 24, "text"},
        {"\0\0\0\0\0\0\0\0", 8, "not valid protobuf"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        bytes m = {0};
        put_raw(&m, files[i].data, files[i].size);
        CHECK_REFUSED(m, GR_EFORMAT, files[i].says);
    }
    bytes m = {0};
    CHECK_REFUSED(m, GR_EMODEL, "empty");
    put_int(&m, MODEL_IR, 8);
    CHECK_REFUSED(m, GR_EMODEL, "no graph");
    gr_doc *doc = NULL;
    CU_ASSERT_EQUAL(gr_doc_load("no/such/model.onnx", NULL, &doc, &err), GR_EIO);
    CHECK_SAYS("'no/such/model.onnx': it cannot be read: No such file");
    CU_ASSERT_EQUAL(gr_doc_load(".", NULL, &doc, &err), GR_EIO);
    CHECK_SAYS("a folder, not a regular file");
    CU_ASSERT_EQUAL(gr_doc_load("no/such/model.onnx", NULL, &doc, NULL), GR_EIO);
}

/* No bytes crash: every prefix, and every byte changed in some ways. */
static void test_mutations(void)
{
    static const uint8_t flips[] = {0x01, 0x04, 0x80, 0xFF};
    bytes m = full_model();
    size_t size = m.size;
    for (m.size = 0; m.size < size; m.size++) gr_doc_free(load(&m));
    for (size_t i = 0; i < size; i++) {
        for (size_t k = 0; k < sizeof flips; k++) {
            m.data[i] ^= flips[k];
            gr_doc_free(load(&m));
            m.data[i] ^= flips[k];
        }
    }
    bytes_free(&m);
}

static CU_TestInfo import_tests[] = {
    {"depth", test_depth},
    {"amplification", test_amplification},
    {"wire: last wins, pieces merge", test_wire_last_wins},
    {"wire: oneof of messages", test_wire_oneof_message},
    {"wire: spellings", test_wire_spellings},
    {"wire: malformed", test_wire_malformed},
    {"fields left out", test_skipped_fields},
    {"names", test_names},
    {"tensors: sizes", test_tensor_sizes},
    {"tensors: conflicts", test_tensor_conflicts},
    {"tensors: typed fields", test_tensor_typed},
    {"attributes", test_attributes},
    {"not a model", test_not_onnx},
    {"mutations", test_mutations},
    CU_TEST_INFO_NULL,
};

extern CU_SuiteInfo suite_import;
CU_SuiteInfo suite_import = {"import", NULL, NULL, NULL, NULL, import_tests};
