/* SPDX-License-Identifier: Apache-2.0
 *
 * The textual syntax: what the grammar says, what it must refuse and where, exact numbers, hostile text, and that
 * printing and parsing undo each other.
 */
#define _GNU_SOURCE
#include "text_lex.h"
#include <CUnit/CUnit.h>
#include <dirent.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define HEAD        "<ir_version: 8, opset_import: [\"\" : 17]>\n"
#define MODEL(body) HEAD "g (float[N] x) => (float[N] y) " body

static gr_err err;

typedef struct text {
    char *s;
    size_t n, room;
} text;

static bool append(void *user, const char *s, size_t n)
{
    text *t = user;
    if (t->n + n + 1 > t->room) {
        t->room = (t->n + n + 1) * 2;
        t->s = realloc(t->s, t->room);
        if (!t->s) abort();
    }
    memcpy(t->s + t->n, s, n);
    t->n += n;
    t->s[t->n] = 0;
    return true;
}

static void add(text *t, const char *s) { append(t, s, strlen(s)); }

static gr_doc *parse_bytes(const char *s, size_t n)
{
    gr_doc *doc = NULL;
    err.text[0] = 0;
    /* A copy of just these bytes, so that a sanitizer sees reads beyond them. */
    char *copy = malloc(n ? n : 1);
    if (!copy) abort();
    memcpy(copy, s, n);
    gr_status status = gr_doc_parse_text(copy, n, "test", &doc, &err);
    free(copy);
    CU_ASSERT(status ? !doc && status == err.status && err.text[0] : doc != NULL);
    return doc;
}

static gr_doc *parse(const char *s)
{
    gr_doc *doc = parse_bytes(s, strlen(s));
    if (!doc) fprintf(stderr, "%s\n", err.text);
    return doc;
}

static void free_doc(gr_doc *doc)
{
    gr_doc_free(doc);
}

static text print(const gr_doc *doc, const gr_text_options *options)
{
    text t = {0};
    CU_ASSERT_EQUAL(gr_doc_print_text(doc, options, append, &t, &err), GR_OK);
    return t;
}

/* Print what `s` gives; then parse and print again, which must not change it. */
static text printed(const char *s, size_t n, const gr_text_options *options)
{
    text first = {0}, second = {0};
    gr_doc *doc = parse_bytes(s, n), *again = NULL;
    CU_ASSERT_PTR_NOT_NULL(doc);
    if (doc) first = print(doc, options);
    if (doc) again = parse_bytes(first.s, first.n);
    CU_ASSERT_PTR_NOT_NULL(again);
    if (again) {
        second = print(again, options);
        CU_ASSERT(first.n == second.n && !memcmp(first.s, second.s, first.n));
    } else {
        fprintf(stderr, "%s\n", err.text);
    }
    free_doc(doc);
    free_doc(again);
    free(second.s);
    if (!first.s) add(&first, "");
    return first;
}

static void check_prints(const char *s, const char *wanted)
{
    text t = printed(s, strlen(s), NULL);
    bool found = strstr(t.s, wanted) != NULL;
    CU_ASSERT(found);
    if (!found) fprintf(stderr, "wanted: %s\nprinted: %s\n", wanted, t.s);
    free(t.s);
}

/* The node, declaration or attribute `s` comes back as it is. */
static void check_node(const char *s)
{
    text t = {0};
    add(&t, MODEL("{ "));
    add(&t, s);
    add(&t, " }");
    check_prints(t.s, s);
    free(t.s);
}

static void check_declaration(const char *s, const char *wanted)
{
    text t = {0};
    add(&t, MODEL("< "));
    add(&t, s);
    add(&t, " > { }");
    check_prints(t.s, wanted);
    free(t.s);
}

static void check_refused(const char *s, gr_status status, const char *says)
{
    gr_doc *doc = parse_bytes(s, strlen(s));
    CU_ASSERT_PTR_NULL(doc);
    CU_ASSERT_EQUAL(err.status, status);
    bool found = strstr(err.text, says) != NULL;
    CU_ASSERT(found);
    if (!found) fprintf(stderr, "wanted: %s\ngot: %s\n", says, err.text);
    free_doc(doc);
}

static void check_value_refused(const char *declaration, const char *says)
{
    text t = {0};
    add(&t, MODEL("< "));
    add(&t, declaration);
    add(&t, " > { }");
    check_refused(t.s, GR_EFORMAT, says);
    free(t.s);
}

static void check_node_refused(const char *node, const char *says)
{
    text t = {0};
    add(&t, MODEL("{ "));
    add(&t, node);
    add(&t, " }");
    check_refused(t.s, GR_EFORMAT, says);
    free(t.s);
}

/* ---- models, functions, nodes ---- */

static void test_model(void)
{
    gr_doc *doc =
        parse("<ir_version: 8, opset_import: [\"\" : 17, \"a.b\" : 1], producer_name: \"p\", model_version: -3,\n"
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
    free_doc(doc);
    doc = parse("g () => () {}"); /* without a head */
    CU_ASSERT(doc && doc->graph && doc->ir_version == 0);
    free_doc(doc);
    check_prints("\xEF\xBB\xBF" HEAD "g (float x = {1})\r\n=> () < > {}", "<\n   float x = {1}\n>");
}

static void test_functions(void)
{
    gr_doc *doc =
        parse(HEAD "g () => () {} <domain: \"d\", opset_import: [\"\":17], overload: \"o\", doc_string: \"s\">\n"
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
    free_doc(doc);
    static const char *const alone[] = {
        "<opset_import: [\"\" : 17], domain: \"heads\"> pooler (x) => (y) { y = Tanh (x) }",
        "f <a> (x) => (y) { y = Tanh (x) }",
        "<domain: \"d\", opset_import: []> f () => () {}\n<domain: \"d\", opset_import: []> g () => () {}",
    };
    for (size_t i = 0; i < 3; i++) {
        doc = parse(alone[i]);
        CU_ASSERT(doc && !doc->graph && doc->nfunctions == 1 + (i == 2));
        free_doc(doc);
        text t = printed(alone[i], strlen(alone[i]), NULL);
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
    gr_doc *doc = parse(MODEL("{ y = Op (x) [\"\"] y = d.Op () }"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    CU_ASSERT(!doc->graph->nodes.items[0].name && !*doc->graph->nodes.items[1].name);
    CU_ASSERT(!*doc->graph->nodes.items[0].domain && !strcmp(doc->graph->nodes.items[1].domain, "d"));
    free_doc(doc);
}

static void test_names(void)
{
    static const char odd[] = MODEL("{ \"a\\\"b\\\\c\nd\0e\" = Op <s = \"\0\xff\\n\"> () }");
    text t = printed(odd, sizeof odd - 1, NULL);
    gr_doc *doc = parse_bytes(odd, sizeof odd - 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    const gr_doc_node *node = &doc->graph->nodes.items[0];
    CU_ASSERT_STRING_EQUAL(node->out.items[0], "a\"b\\c\nd\xC0\x80"
                                               "e");
    CU_ASSERT_EQUAL(node->attrs.items[0].s.size, 3);
    CU_ASSERT(!memcmp(node->attrs.items[0].s.data, "\0\xffn", 3));
    static const char back[] = "\"a\\\"b\\\\c\nd\0e\" = Op <s: string = \"\0\xffn\">";
    CU_ASSERT_PTR_NOT_NULL(memmem(t.s, t.n, back, sizeof back - 1));
    free(t.s);
    free_doc(doc);
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
    gr_doc *doc = parse(MODEL("< float[-1] a, float b, float[] c, float, seq > {}"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    const gr_doc_value *v = doc->graph->info.items;
    CU_ASSERT(v[0].type->dims[0].value == -1 && !v[0].type->dims[0].param);
    CU_ASSERT(v[1].type->rank == 0 && v[2].type->rank == -1);
    CU_ASSERT(!strcmp(v[3].name, "float") && !v[3].type && !strcmp(v[4].name, "seq"));
    free_doc(doc);
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
    gr_doc *doc = parse(MODEL("<float[3] w = ..., float[2] e = [\"location\": \"f\"]> {}"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    CU_ASSERT(doc->graph->init[0]->elided && doc->graph->init[0]->size == 12 && !doc->graph->init[0]->data);
    CU_ASSERT(!doc->graph->init[1]->elided && doc->graph->init[1]->external.count == 1);
    free_doc(doc);
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
    gr_doc *doc = parse(s);
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
    text t = print(doc, &plain);
    CU_ASSERT(!strstr(t.s, "doc") && !strstr(t.s, "meta") && !strstr(t.s, "BATCH") &&
              strstr(t.s, "#: name \"sub graph\""));
    free(t.s);
    free_doc(doc);
    t = printed(s, strlen(s), NULL);
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
    add(&t, "0.");
    for (int i = 0; i < 100000; i++) add(&t, "0");
    for (int i = 0; i < 100000; i++) add(&t, "12");
    add(&t, "e100000");
    CU_ASSERT(gr_text_to_double(t.s, t.n, &d) && d == 0.12121212121212121212);
    free(t.s);
}

static void test_nan_bits(void)
{
    static const char s[] = MODEL("<float[4] w = {nan,-nan #: bits ff800001\n, nan #: bits 7fc00001\n,1},"
                                  " double[2] d = {nan #: bits 7ff8000000000001\n,nan #: bits 0\n}> {}");
    gr_doc *doc = parse(s);
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    uint32_t f[4];
    uint64_t d[2];
    memcpy(f, doc->graph->init[0]->data, sizeof f);
    memcpy(d, doc->graph->init[1]->data, sizeof d);
    CU_ASSERT(f[0] == 0x7FC00000 && f[1] == 0xFF800001 && f[2] == 0x7FC00001 && f[3] == 0x3F800000);
    CU_ASSERT(d[0] == 0x7FF8000000000001 && d[1] == 0x7FF8000000000000);
    free_doc(doc);
    text t = printed(s, sizeof s - 1, NULL);
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
    text t = printed(s, sizeof s - 1, &options);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(t.s, "float[2] w = ...,\n   float v = {3},\n   string[3] t = ...,\n   float[0] e = {}\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(t.s, "a: tensor = float[3] n ...>"));
    free(t.s);
    options = (gr_text_options){.max_elements = SIZE_MAX, .dense_above = 1};
    t = printed(s, sizeof s - 1, &options);
    CU_ASSERT_PTR_NOT_NULL(strstr(t.s, "float[2] w = [\"base64\": \"\nAACAPwAAAEA=\"],\n   float v = {3},\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(t.s, "a: tensor = float[3] n = [\"base64\""));
    text plain = printed(t.s, t.n, NULL);
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
    gr_doc *doc = parse(MODEL("{ y = Op (x) }"));
    size_t left = 10;
    CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
    CU_ASSERT_EQUAL(gr_doc_print_text(doc, NULL, write_little, &left, &err), GR_EIO);
    free_doc(doc);
}

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
    for (int i = 0; i < n; i++) add(t, s);
}

static void test_nesting(void)
{
    text t = {0};
    add(&t, "g (");
    add_times(&t, "seq(", 1000000);
    check_refused(t.s, GR_ELIMIT, "nested more than 64 levels deep");
    t.n = 0;
    add(&t, "g () => () {");
    add_times(&t, "x = If () <a = g () => () {", 100000);
    check_refused(t.s, GR_ELIMIT, "nested more than 64 levels deep");
    t.n = 0;
    add(&t, "g () => () {");
    add_times(&t, "x = If () <a = g () => () {", 50);
    add_times(&t, "}>", 50);
    add(&t, "}");
    text out = printed(t.s, t.n, NULL);
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
        add(&t, rows[i].first);
        add_times(&t, rows[i].repeated, rows[i].times);
        add(&t, rows[i].last);
        gr_doc *doc = parse_bytes(t.s, t.n);
        CU_ASSERT_EQUAL(doc != NULL, rows[i].good);
        if (doc) {
            text out = print(doc, NULL);
            free(out.s);
        }
        free_doc(doc);
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
    gr_doc *doc = parse_bytes(s, n);
    if (!doc) return;
    text t = print(doc, NULL);
    gr_doc *again = parse_bytes(t.s, t.n);
    CU_ASSERT_PTR_NOT_NULL(again);
    free_doc(again);
    free_doc(doc);
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
        gr_status status = gr_doc_parse_text(sample, sizeof sample - 1, NULL, &doc, &err);
        if (status == GR_OK) status = gr_doc_print_text(doc, NULL, append, &t, &err);
        gr_malloc_fail_after(0);
        done = status == GR_OK;
        CU_ASSERT(done || status == GR_ENOMEM);
        free_doc(doc);
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
    gr_status status = gr_doc_load(path, NULL, &doc, &err);
    CU_ASSERT_EQUAL(status, GR_OK);
    if (status) return;
    text t = print(doc, &all), short_text = print(doc, &some), dense_text = print(doc, &dense);
    text again = printed(t.s, t.n, &all), short_again = printed(short_text.s, short_text.n, &some);
    text from_dense = printed(dense_text.s, dense_text.n, &all);
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
    {"errors", test_errors},
    {"nesting", test_nesting},
    {"long text", test_long},
    {"mutations", test_mutations},
    {"memory fails", test_memory_fails},
    {"zoo", test_zoo},
    CU_TEST_INFO_NULL,
};

CU_SuiteInfo suite_text = {"text", NULL, NULL, NULL, NULL, tests};
