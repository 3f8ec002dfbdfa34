/* SPDX-License-Identifier: Apache-2.0
 *
 * The textual syntax: what the grammar says, what it must refuse and where, exact numbers, and that printing and parsing
 * undo each other.
 */
#define _GNU_SOURCE
#include "text_case.h"
#include "text_lex.h"
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- models, functions, nodes ---- */

static void test_model(void)
{
    gr_doc *doc =
        text_parse("<ir_version: 8, opset_import: [\"\" : 17, \"a.b\" : 1], producer_name: \"p\", model_version: -3,\n"
              " domain: \"d\", doc_string: \"\", metadata_props: [\"k\" : \"v\"]> # a comment\n"
              "agraph (float[N, 3] x, z) => (float y) { y = Relu(x) }");
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    CU_ASSERT_EQUAL(doc->ir_version, 8);
    CU_ASSERT_EQUAL(doc->opsets.count, 2);
    CU_ASSERT_STRING_EQUAL(doc->opsets.items[1].domain, "a.b");
    CU_ASSERT(doc->has_model_version && doc->model_version == -3);
    CU_ASSERT(doc->producer_version == NULL && !strcmp(doc->domain, "d") && !strcmp(doc->doc_string, ""));
    CU_ASSERT_STRING_EQUAL(doc->metadata.items[0].value, "v");
    CU_ASSERT_STRING_EQUAL(doc->graph->name, "agraph");
    CU_ASSERT_EQUAL(doc->graph->in.count, 2);
    CU_ASSERT_PTR_NULL(doc->graph->in.items[1].type);
    CU_ASSERT_EQUAL(doc->graph->in.items[0].type->rank, 2);
    CU_ASSERT_STRING_EQUAL(doc->graph->in.items[0].type->dims[0].param, "N");
    CU_ASSERT_EQUAL(doc->graph->in.items[0].type->dims[1].value, 3);
    CU_ASSERT_STRING_EQUAL(doc->graph->nodes.items[0].op_type, "Relu");
    gr_doc_free(doc);
    doc = text_parse("g () => () {}"); /* without a head */
    CU_ASSERT(doc && doc->graph && doc->ir_version == 0);
    gr_doc_free(doc);
    check_prints("\xEF\xBB\xBF" HEAD "g (float x = {1})\r\n=> () < > {}", "<\n   float x = {1}\n>");
}

static void test_functions(void)
{
    gr_doc *doc =
        text_parse(HEAD "g () => () {} <domain: \"d\", opset_import: [\"\":17], overload: \"o\", doc_string: \"s\">\n"
                   "f <a, b: float = 1, \"c\", d: ints = []> (float[N] x, y) => (z) <int64 t> { z = Op <v = @a> (x) }\n"
                   "<domain: \"d\", opset_import: []> h () => () {}");
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    CU_ASSERT_EQUAL_FATAL(doc->nfunctions, 2);
    const gr_doc_function *f = &doc->functions[0];
    CU_ASSERT(!strcmp(f->name, "f") && !strcmp(f->domain, "d") && !strcmp(f->overload, "o"));
    CU_ASSERT(f->attr_names.count == 2 && !strcmp(f->attr_names.items[1], "c"));
    CU_ASSERT(f->attr_defaults.count == 2 && f->attr_defaults.items[0].f == 1);
    CU_ASSERT(f->in.count == 2 && f->info.count == 2 && !strcmp(f->info.items[1].name, "t"));
    CU_ASSERT_STRING_EQUAL(f->nodes.items[0].attrs.items[0].ref, "a");
    CU_ASSERT_EQUAL(f->nodes.items[0].attrs.items[0].type, GR_ATTR_UNDEFINED);
    gr_doc_free(doc);
    static const char *const alone[] = {
        "<opset_import: [\"\" : 17], domain: \"heads\"> pooler (x) => (y) { y = Tanh (x) }",
        "f <a> (x) => (y) { y = Tanh (x) }",
        "<domain: \"d\", opset_import: []> f () => () {}\n<domain: \"d\", opset_import: []> g () => () {}",
    };
    for (size_t i = 0; i < 3; i++) {
        doc = text_parse(alone[i]);
        CU_ASSERT(doc && !doc->graph && doc->nfunctions == 1 + (i == 2));
        gr_doc_free(doc);
        text t = text_reprinted(alone[i], strlen(alone[i]), NULL);
        free(t.s);
    }
    check_refused("<ir_version: 8> g () => () {} <ir_version: 8> f () => () {}", GR_EFORMAT, "only models have");
    check_refused("<ir_version: 8, overload: \"o\"> g () => () {}", GR_EFORMAT, "overload");
}

static void test_nodes(void)
{
    check_node("[label] y, \"\", z = com.microsoft.Op:ov <a: int = 1> (x, \"\", w)");
    check_node("[\"odd/label\"] y = Op ()");
    check_node("= Sink (x)");
    check_node("y = \"pkg.torch.2.1\".\"odd op\":\"o v\" <\"odd name\": int = 1> (x)");
    check_node("y = ai.onnx.float <seq: int = 1> (\"float\")");
    check_prints(MODEL("{ y = Op (x, , z, ) <a = 1> }"), "y = Op <a: int = 1> (x, \"\", z)");
    check_prints(MODEL("{ y = Op (,) [l] z=Op(,x)}"), "   y = Op (\"\")\n   [l] z = Op (\"\", x)\n");
    check_prints(MODEL("{ [] y = a . b . Op (x) }"), "   y = a.b.Op (x)\n");
    check_prints(
        MODEL("{ y = Op <body = b (float x) => (z) {z = Neg(x)}, n = 1> (x) }"),
        "   y = Op (x) <body: graph = b (float x) => (z)\n      {\n         z = Neg (x)\n      }, n: int = 1>\n");
    gr_doc *doc = text_parse(MODEL("{ y = Op (x) [\"\"] y = d.Op () }"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    CU_ASSERT(!doc->graph->nodes.items[0].name && !*doc->graph->nodes.items[1].name);
    CU_ASSERT(!*doc->graph->nodes.items[0].domain && !strcmp(doc->graph->nodes.items[1].domain, "d"));
    gr_doc_free(doc);
}

static void test_names(void)
{
    static const char odd[] = MODEL("{ \"a\\\"b\\\\c\nd\0e\" = Op <s = \"\0\xff\\n\"> () }");
    text t = text_reprinted(odd, sizeof odd - 1, NULL);
    gr_doc *doc = text_parse_bytes(odd, sizeof odd - 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    const gr_doc_node *node = &doc->graph->nodes.items[0];
    CU_ASSERT_STRING_EQUAL(node->out.items[0], "a\"b\\c\nd\xC0\x80"
                                               "e");
    CU_ASSERT_EQUAL(node->attrs.items[0].s.size, 3);
    CU_ASSERT(!memcmp(node->attrs.items[0].s.data, "\0\xffn", 3));
    static const char back[] = "\"a\\\"b\\\\c\nd\0e\" = Op <s: string = \"\0\xffn\">";
    CU_ASSERT_PTR_NOT_NULL(memmem(t.s, t.n, back, sizeof back - 1));
    free(t.s);
    gr_doc_free(doc);
}

/* ---- types and constants ---- */

static void test_types(void)
{
    static const char *const types[] = {
        "float",
        "float[]",
        "float[1]",
        "float[N,?,\"a + b\",0]",
        "seq(float[N])",
        "optional(seq(int64))",
        "bfloat16[2]",
        "map(string, seq(int64[]))",
        "sparse_tensor(double[3,4])",
        "opaque()",
        "opaque(a.b.c)",
        "opaque(a.b,c)",
        "undefined[2]",
        "seq()",
        "map(int64, )",
        "uint4[N]",
        "sparse_tensor(float[])",
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char s[100];
        snprintf(s, sizeof s, "%s v", types[i]);
        check_declaration(s, s);
        snprintf(s, sizeof s, "y = Op <t: type_proto = %s> ()", types[i]);
        check_node(s);
    }
    gr_doc *doc = text_parse(MODEL("< float[-1] a, float b, float[] c, float, seq > {}"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    const gr_doc_value *v = doc->graph->info.items;
    CU_ASSERT(v[0].type->dims[0].value == -1 && !v[0].type->dims[0].param);
    CU_ASSERT(v[1].type->rank == 0 && v[2].type->rank == -1);
    CU_ASSERT(!strcmp(v[3].name, "float") && !v[3].type && !strcmp(v[4].name, "seq"));
    gr_doc_free(doc);
    check_value_refused("float[x", "test:2:42: expected ',' or ']' after a dimension, but found '>'");
    check_value_refused("floaty[2] x", "after a value, but found '['");
    check_value_refused("seq(floaty) x", "expected a type, but found 'floaty'");
    check_value_refused("float[1.5] x", "expected a dimension");
    check_value_refused("map(seq, float) x", "key type");
    check_value_refused("sparse_tensor(seq(float)) x", "element type");
}

static void test_constants(void)
{
    static const char *const same[] = {
        "float[2] w = {1.5,-0}",
        "double w = {0.1}",
        "int8[2] w = {-128,127}",
        "uint8[2] w = {0,255}",
        "bool[2] w = {0,1}",
        "int16 w = {-32768}",
        "uint16 w = {65535}",
        "int32 w = {-2147483648}",
        "uint32 w = {4294967295}",
        "int64[2] w = {-9223372036854775808,9223372036854775807}",
        "uint64 w = {18446744073709551615}",
        "float16[2] w = {15360,64512}",
        "bfloat16 w = {16256}",
        "float8e5m2[2] w = {1,255}",
        "complex64[2] w = {1,2,3,4}",
        "complex128 w = {0.1,-inf}",
        "string[2] w = {\"a\",\"\"}",
        "float[0,2] w = {}",
        "uint4[3] w = {33,3}",
        "int4 w = {15}",
        "int4 w = {255}",
        "uint2[5] w = {228,1}",
        "float4e2m1[2] w = {18}",
        "float[2,2] w = [\"location\": \"f\", \"offset\": \"4\"]",
        "int64 w = [\"location\": \"f\"]",
        "sparse_tensor(float[3,4]) w = (float[2] {1,2}, int64[2] {0,5})",
        "sparse_tensor(float[3]) w = (float[1] {1}, int64[1,1] i {2})",
        "float[1000000] w = ...",
        "string w = ...",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        check_declaration(same[i], same[i]);
        /* The same without a name is an attribute's value. */
        if (strncmp(same[i], "sparse", 6) == 0 || strchr(same[i], ':')) continue;
        const char *equal = strstr(same[i], " w = ");
        char node[200];
        snprintf(node, sizeof node, "y = Op <t: tensor = %.*s w %s> ()", (int)(equal - same[i]), same[i], equal + 5);
        check_node(node);
    }
    check_node("y = Op <t: tensor = float[2] = [\"location\": \"f\"], n: int = 1> ()");
    check_node("y = Op <s: sparse_tensor = sparse_tensor(float[3]) (float[1] {1}, int64[1] {2})> ()");
    check_declaration("uint4[3] w = {1,2,3}", "uint4[3] w = {33,3}");
    check_declaration("int4[3] w = {-1,-8,7}", "int4[3] w = {143,7}");
    check_declaration("int4 w = {-1}", "int4 w = {15}");
    check_declaration("int2[5] w = {-1,0,1,-2,1}", "int2[5] w = {147,1}");
    check_declaration("float16[3] w = {1.0, -inf, 1e-3}", "float16[3] w = {15360,64512,5145}");
    check_declaration("float[2] w = {...}", "float[2] w = ...");
    check_declaration("float[3] w = [\"base64\": \"AACAPwAA\nAEAAAEBA\"]", "float[3] w = {1,2,3}");
    check_declaration("uint8[1] w = [\"base64\": \"/w==\"]", "uint8[1] w = {255}");
    check_declaration("float[0] w = [\"base64\": \"\"]", "float[0] w = {}");
    gr_doc *doc = text_parse(MODEL("<float[3] w = ..., float[2] e = [\"location\": \"f\"]> {}"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    CU_ASSERT(doc->graph->init[0]->elided && doc->graph->init[0]->size == 12 && !doc->graph->init[0]->data);
    CU_ASSERT(!doc->graph->init[1]->elided && doc->graph->init[1]->external.count == 1);
    gr_doc_free(doc);
}

static void test_constants_refused(void)
{
    check_value_refused("float[2] w = {1}", "the constant 'w' has 2 elements, but fewer values are given");
    check_value_refused("float[2] w = {1,2,3}", "2 elements, but more values are given");
    check_value_refused("float[0] w = {1}", "'}'");
    check_value_refused("float[1] w = {}", "fewer");
    check_value_refused("uint4[4] w = {1,2,3}", "fewer");
    check_value_refused("uint4[4] w = {1,2,3,4,5}", "more");
    check_value_refused("uint4[4] w = {1,2,3,16}", "element 3 of the constant 'w' is out of range for uint4");
    check_value_refused("string[2] w = {\"a\"}", "fewer");
    check_value_refused("string w = {1}", "a string in quotes");
    check_value_refused("uint8 w = {256}", "256 is out of range for uint8");
    check_value_refused("int8 w = {-129}", "-129 is out of range for int8");
    check_value_refused("uint64 w = {-1}", "negative");
    check_value_refused("uint64 w = {18446744073709551616}", "64 bits");
    check_value_refused("int64 w = {9223372036854775808}", "64 bits");
    check_value_refused("int64 w = {1.0}", "an integer");
    check_value_refused("float w = {1e39}", "too large");
    check_value_refused("double w = {-1e309}", "too large");
    check_value_refused("float[2] w = {1 2}", "',' or '}'");
    check_value_refused("float w = {0x10}", "malformed");
    check_value_refused("float[N] w = {1}", "in numbers");
    check_value_refused("float[-1] w = {1}", "in numbers");
    check_value_refused("float[] w = {1}", "in numbers");
    check_value_refused("undefined w = {1}", "type of a tensor");
    check_value_refused("seq(float) w = {1}", "type of a tensor");
    check_value_refused("w = {1}", "no type");
    check_value_refused("float[1000000000000] w = {1}", "fewer");
    check_value_refused("string[1000000000000] w = {\"\"}", "fewer");
    check_value_refused("float[1000000000000] w = [\"base64\": \"\"]", "fewer");
    check_value_refused("float[4294967296,4294967296] w = ...", "64 bits");
    check_value_refused("double[4611686018427387904] w = ...", "64 bits");
    check_value_refused("float[0,4294967296,4294967296] w = ...", "64 bits");
    check_value_refused("float w = [\"base64\": \"AAA\"]", "fewer");
    check_value_refused("float w = [\"base64\": \"AAAAAAAAAAA\"]", "more");
    check_value_refused("float w = [\"base64\": \"AA*AAAA\"]", "no base64");
    check_value_refused("float w = [\"a\": 1]", "a value in quotes");
    check_value_refused("sparse_tensor(float[2]) w = {1}", "'(' and the values of a sparse tensor");
}

static void test_attributes(void)
{
    static const char *const same[] = {
        "f: float = 1",
        "f: float = -inf",
        "i: int = -5",
        "s: string = \"a\\\"\"",
        "fs: floats = [1, 0.5]",
        "is: ints = [1, 2]",
        "ss: strings = [\"\", \"b\"]",
        "e: ints = []",
        "ts: tensors = [float {1}, int64[1] n {2}]",
        "tp: type_protos = [float[N], seq(float)]",
        "r: float = @a",
        "r = @a",
        "r: ints = @\"a b\"",
        "u: undefined",
        "sp: sparse_tensors = [sparse_tensor(float[2]) (float[1] {1}, int64[1] {2})]",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        char node[200];
        snprintf(node, sizeof node, "y = Op <%s> ()", same[i]);
        check_node(node);
    }
    check_prints(
        MODEL("{ y = Op <a = 1, b = 1.0, c = \"s\", d = [1], e = [1, 2.5], f = [\"s\"], g = float[1] {1}, h = float,"
              " i = nan, j = NaN, k: floats = [1, inf], l = [float, seq(float)]> () }"),
        "<a: int = 1, b: float = 1, c: string = \"s\", d: ints = [1], e: floats = [1, 2.5], f: strings = [\"s\"], "
        "g: tensor = float[1] {1}, h: type_proto = float, i: float = nan, j: float = nan, k: floats = [1, inf], "
        "l: type_protos = [float, seq(float)]>");
    check_prints(MODEL("{ y = Op <gs = [a () => () {}, b () => () {}]> () }"), "gs: graphs = [a () => ()");
    check_node_refused("y = Op <a = []> ()", "a type for the attribute with an empty list");
    check_node_refused("y = Op <a: int = []> ()", "a list where one value is expected");
    check_node_refused("y = Op <a: int = 1.5> ()", "not of its declared type");
    check_node_refused("y = Op <a: ints = 1> ()", "not of its declared type");
    check_node_refused("y = Op <a: ints = [1.5]> ()", "mixes types");
    check_node_refused("y = Op <a = [1, \"s\"]> ()", "mixes types");
    check_node_refused("y = Op <a: nonsense = 1> ()", "an attribute's type");
    check_node_refused("y = Op <a = 9223372036854775808> ()", "64 bits");
    check_node_refused("y = Op <a = [@b]> ()", "an attribute's value");
    check_node_refused("y = Op <> ()", "an attribute's name");
    check_node_refused("y = Op <a = 1 (x)", "',' or '>'");
}

/* ---- notes ---- */

static void test_notes(void)
{
    static const char s[] = HEAD "#: doc \"graph\"\n#: meta \"k\": \"v\"\ng (#: doc \"input\"\n#: denotation "
                                 "\"TENSOR\"\nfloat[#: denotation \"BATCH\"\nN] x)"
                                 " => (y) <#: doc \"init\\nline\"\nfloat w = {1}> {\n#: doc \"node \\\"1\\\"\"\n#: "
                                 "meta \"a\": \"1\"\n#: meta \"b\": \"\"\n"
                                 "y = Op <#: doc \"attr\"\nt = #: name \"odd/name\"\n#: doc \"const\"\nfloat {1}> (x)\n"
                                 "z = If (x) <b = #: name \"sub graph\"\ng () => () {}> }\n#: meta \"f\": "
                                 "\"g\"\n<domain: \"d\", opset_import: []> f () => () {}";
    gr_doc *doc = text_parse(s);
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    const gr_doc_graph *g = doc->graph;
    const gr_doc_node *node = g->nodes.items;
    CU_ASSERT(!strcmp(g->doc_string, "graph") && g->metadata.count == 1);
    CU_ASSERT(!strcmp(g->in.items[0].doc_string, "input") && !strcmp(g->in.items[0].type->denotation, "TENSOR"));
    CU_ASSERT_STRING_EQUAL(g->in.items[0].type->dims[0].denotation, "BATCH");
    CU_ASSERT_STRING_EQUAL(g->init[0]->doc_string, "init\nline");
    CU_ASSERT(!strcmp(node->doc_string, "node \"1\"") && node->metadata.count == 2);
    CU_ASSERT_STRING_EQUAL(node->attrs.items[0].doc_string, "attr");
    CU_ASSERT_STRING_EQUAL(node->attrs.items[0].t->name, "odd/name");
    CU_ASSERT_STRING_EQUAL(node->attrs.items[0].t->doc_string, "const");
    CU_ASSERT_STRING_EQUAL(node[1].attrs.items[0].g->name, "sub graph");
    CU_ASSERT_EQUAL(doc->functions[0].metadata.count, 1);
    gr_text_options plain = {.max_elements = SIZE_MAX, .no_notes = true};
    text t = text_print(doc, &plain);
    CU_ASSERT(!strstr(t.s, "doc") && !strstr(t.s, "meta") && !strstr(t.s, "BATCH") &&
              strstr(t.s, "#: name \"sub graph\""));
    free(t.s);
    gr_doc_free(doc);
    t = text_reprinted(s, strlen(s), NULL);
    CU_ASSERT_PTR_NOT_NULL(strstr(t.s, "#: doc \"init\\nline\"\n"));
    free(t.s);
    /* What does not read as a note is a comment. */
    check_prints(
        MODEL("{ #: doc\n#: doc x\n#: doc \"open\n#:nothing\n#: meta \"a\" \"b\"\n#: bits zz\n#:\ny = Op () } #"),
        "{\n   y = Op ()\n}");
}

/* ---- numbers ---- */

static void check_float(float value, const char *wanted)
{
    char s[GR_NUMBER_ROOM];
    float again;
    size_t n = gr_float_to_text(value, s);
    CU_ASSERT(n < sizeof s && gr_text_to_float(s, n, &again) && !memcmp(&value, &again, sizeof value));
    CU_ASSERT(!wanted || (strlen(wanted) == n && !memcmp(s, wanted, n)));
}

static void test_floats(void)
{
    static const struct {
        float value;
        const char *text;
    } rows[] = {{0, "0"},
                {-0.0f, "-0"},
                {1, "1"},
                {0.1f, "0.1"},
                {1e-12f, "1e-12"},
                {16777216, "16777216"},
                {3.4028235e38f, "3.4028235e38"},
                {1e-45f, "1e-45"},
                {1.1754944e-38f, "1.1754944e-38"},
                {1e20f, "1e20"},
                {0.044715f, "0.044715"},
                {1.4142135f, "1.4142135"},
                {0.00001f, "0.00001"},
                {0.000001f, "1e-6"},
                {-3.4028235e38f, "-3.4028235e38"},
                {123456.7f, "123456.7"},
                {INFINITY, "inf"},
                {-INFINITY, "-inf"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check_float(rows[i].value, rows[i].text);
    uint32_t bits = 1;
    for (int i = 0; i < 200000; i++) {
        float f;
        bits = bits * 1664525 + 1013904223;
        memcpy(&f, &bits, sizeof f);
        if (f == f) check_float(f, NULL);
        check_float((float)(int32_t)bits * 1e-10f, NULL);
    }
    char s[GR_NUMBER_ROOM];
    static const double doubles[] = {0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308, 123456789012345680.0, -1e-5, 2.5};
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++) {
        double again;
        CU_ASSERT(gr_text_to_double(s, gr_double_to_text(doubles[i], s), &again) && again == doubles[i]);
    }
}

static void test_number_text(void)
{
    static const struct {
        const char *text;
        bool good;
        float value;
    } rows[] = {
        {"1.000000059604644775390625", true, 1},                              /* the middle goes to the even one */
        {"1.00000005960464477539062500000000000000000001", true, 1.0000001f}, /* a digit beyond decides */
        {"16777217", true, 16777216},
        {"3.4028235677973367e38", false, 0},
        {"3.40282356e38", true, 3.4028235e38f},
        {"1e-46", true, 0},
        {"0e99999999999999999999", true, 0},
        {"1e-99999999999999999999", true, 0},
        {"1e99", false, 0},
        {"7.0064923216240854e-46", true, 1e-45f},
        {"", false, 0},
        {"-", false, 0},
        {"1e", false, 0},
        {"1.2.3", false, 0},
        {"5.", true, 5},
        {"1x", false, 0},
        {"NaNs", false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        float f = 0;
        bool good = gr_text_to_float(rows[i].text, strlen(rows[i].text), &f);
        CU_ASSERT(good == rows[i].good && (!good || f == rows[i].value));
    }
    text t = {0};
    double d;
    text_add(&t, "0.");
    for (int i = 0; i < 100000; i++) text_add(&t, "0");
    for (int i = 0; i < 100000; i++) text_add(&t, "12");
    text_add(&t, "e100000");
    CU_ASSERT(gr_text_to_double(t.s, t.n, &d) && d == 0.12121212121212121212);
    free(t.s);
}

static void test_nan_bits(void)
{
    static const char s[] = MODEL("<float[4] w = {nan,-nan #: bits ff800001\n, nan #: bits 7fc00001\n,1},"
                                  " double[2] d = {nan #: bits 7ff8000000000001\n,nan #: bits 0\n}> {}");
    gr_doc *doc = text_parse(s);
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    uint32_t f[4];
    uint64_t d[2];
    memcpy(f, doc->graph->init[0]->data, sizeof f);
    memcpy(d, doc->graph->init[1]->data, sizeof d);
    CU_ASSERT(f[0] == 0x7FC00000 && f[1] == 0xFF800001 && f[2] == 0x7FC00001 && f[3] == 0x3F800000);
    CU_ASSERT(d[0] == 0x7FF8000000000001 && d[1] == 0x7FF8000000000000);
    gr_doc_free(doc);
    text t = text_reprinted(s, sizeof s - 1, NULL);
    CU_ASSERT(strstr(t.s, "{nan,-nan #: bits ff800001\n") && strstr(t.s, "#: bits 7ff8000000000001\n"));
    free(t.s);
}

static void test_locale(void)
{
    char old[64];
    snprintf(old, sizeof old, "%s", setlocale(LC_NUMERIC, NULL));
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "fr_FR.UTF-8")) {
        puts("\n    no locale with a decimal comma is installed here: skipped");
        return;
    }
    check_declaration("float[2] w = {1.5,1e-30}, double v = {0.1}", "float[2] w = {1.5,1e-30}");
    setlocale(LC_NUMERIC, old);
}

/* ---- choices of the printer ---- */

static void test_options(void)
{
    static const char s[] = MODEL("<float[2] w = {1,2}, float v = {3}, string[3] t = {\"\",\"\",\"\"}, float[0] e = {}>"
                                  "{ y = Op <a = float[3] n {1,2,3}> () }");
    gr_text_options options = {.max_elements = 1};
    text t = text_reprinted(s, sizeof s - 1, &options);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(t.s, "float[2] w = ...,\n   float v = {3},\n   string[3] t = ...,\n   float[0] e = {}\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(t.s, "a: tensor = float[3] n ...>"));
    free(t.s);
    options = (gr_text_options){.max_elements = SIZE_MAX, .dense_above = 1};
    t = text_reprinted(s, sizeof s - 1, &options);
    CU_ASSERT_PTR_NOT_NULL(strstr(t.s, "float[2] w = [\"base64\": \"\nAACAPwAAAEA=\"],\n   float v = {3},\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(t.s, "a: tensor = float[3] n = [\"base64\""));
    text plain = text_reprinted(t.s, t.n, NULL);
    CU_ASSERT_PTR_NOT_NULL(strstr(plain.s, "float[2] w = {1,2}"));
    free(t.s);
    free(plain.s);
}

static bool write_little(void *user, const char *s, size_t n)
{
    (void)s;
    size_t *left = user;
    if (n > *left) return false;
    *left -= n;
    return true;
}

static void test_write_fails(void)
{
    gr_doc *doc = text_parse(MODEL("{ y = Op (x) }"));
    size_t left = 10;
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    CU_ASSERT_EQUAL(gr_doc_print_text(doc, NULL, write_little, &left, &text_err), GR_EIO);
    gr_doc_free(doc);
}

static CU_TestInfo tests[] = {
    {"model", test_model},
    {"functions", test_functions},
    {"nodes", test_nodes},
    {"names", test_names},
    {"types", test_types},
    {"constants", test_constants},
    {"constants that are refused", test_constants_refused},
    {"attributes", test_attributes},
    {"notes", test_notes},
    {"floats are exact", test_floats},
    {"spellings of numbers", test_number_text},
    {"bits of nan", test_nan_bits},
    {"locale", test_locale},
    {"options", test_options},
    {"write fails", test_write_fails},
    CU_TEST_INFO_NULL,
};

CU_SuiteInfo suite_syntax = {"syntax", NULL, NULL, NULL, NULL, tests};
