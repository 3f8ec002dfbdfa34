/* SPDX-License-Identifier: Apache-2.0
 *
 * Alignment, divergence and difference of graphs: a fault planted in a model is named, an equal model in other words is
 * found equal, values that only look alike are not taken for counterparts.
 */
#include "inspect/deviation.h"
#include "inspect/diff.h"
#include "inspect/hash.h"
#include "support.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static gr_err err;

typedef struct loaded {
    gr_doc *doc;
    gr_arena *arena;
    gr_graph *graph;
} loaded;

static gr_doc *load_doc(const char *path)
{
    gr_doc *doc = NULL;
    CU_ASSERT_EQUAL_FATAL(gr_doc_load(path, NULL, &doc, &err), GR_OK);
    return doc;
}

static loaded graph_of(gr_doc *doc)
{
    static const gr_doc_names none;
    loaded l = {.doc = doc, .arena = gr_arena_new()};
    CHECK_OK(gr_graph_build(doc, l.arena, &none, &l.graph, &err));
    CHECK_OK(gr_graph_infer(l.graph, 1 << 20, &err));
    return l;
}

static loaded graph_of_text(const char *text)
{
    gr_doc *doc = NULL;
    CU_ASSERT_EQUAL_FATAL(gr_doc_parse_text(text, strlen(text), "test", &doc, &err), GR_OK);
    return graph_of(doc);
}

static void unload(loaded *l)
{
    gr_arena_free(l->arena);
    gr_doc_free(l->doc);
}

/* ---- another way to say the same ---- */

static const char *respelt(gr_doc *doc, const char *name)
{
    if (!name || !*name) return name;
    for (size_t i = 0; i < doc->graph->in.count; i++)
        if (!strcmp(doc->graph->in.items[i].name, name)) return name;
    for (size_t i = 0; i < doc->graph->out.count; i++)
        if (!strcmp(doc->graph->out.items[i].name, name)) return name;
    return gr_arena_printf(doc->arena, "v%016llx", (unsigned long long)gr_hash_text(name));
}

/* Other names for all inner values, and the nodes from last to first; they are sorted when the graph is built. Nodes
 * keep theirs, by which the tests know them. */
static void respell(gr_doc *doc)
{
    gr_doc_nodes *nodes = &doc->graph->nodes;
    for (size_t i = 0; i < nodes->count; i++) {
        for (size_t k = 0; k < nodes->items[i].in.count; k++)
            nodes->items[i].in.items[k] = respelt(doc, nodes->items[i].in.items[k]);
        for (size_t k = 0; k < nodes->items[i].out.count; k++)
            nodes->items[i].out.items[k] = respelt(doc, nodes->items[i].out.items[k]);
    }
    for (size_t i = 0; i < doc->graph->ninit; i++) doc->graph->init[i]->name = respelt(doc, doc->graph->init[i]->name);
    for (size_t i = 0; i < nodes->count / 2; i++) {
        gr_doc_node n = nodes->items[i];
        nodes->items[i] = nodes->items[nodes->count - 1 - i];
        nodes->items[nodes->count - 1 - i] = n;
    }
    doc->graph->info.count = 0;
}

/* ---- faults ---- */

static gr_doc_tensor *tensor_named(gr_doc *doc, const char *name)
{
    for (size_t i = 0; i < doc->graph->ninit; i++)
        if (!strcmp(doc->graph->init[i]->name, name)) return doc->graph->init[i];
    for (size_t i = 0; i < doc->graph->nodes.count; i++) {
        const gr_doc_node *n = &doc->graph->nodes.items[i];
        if (!strcmp(n->op_type, "Constant") && !strcmp(n->out.items[0], name) &&
            n->attrs.items[0].type == GR_ATTR_TENSOR)
            return n->attrs.items[0].t;
    }
    return NULL;
}

static float *writable(gr_doc *doc, gr_doc_tensor *t)
{
    float *data = gr_arena_alloc(doc->arena, t->size);
    memcpy(data, t->data, t->size);
    t->data = data;
    return data;
}

static bool is_op(const gr_doc_node *n, const char *op) { return !strcmp(n->op_type, op); }

/* One of a node's operands that is a float constant with that many elements or more. */
static gr_doc_tensor *constant_of(gr_doc *doc, const gr_doc_node *n, int64_t least, int64_t most)
{
    for (size_t i = 0; i < n->in.count; i++) {
        gr_doc_tensor *t = tensor_named(doc, n->in.items[i]);
        if (t && t->dtype == GR_FLOAT && t->elements >= least && t->elements <= most) return t;
    }
    return NULL;
}

enum fault { WEIGHT, SHIFT, SCALE, EPSILON, ACTIVATION, BIAS, FAULTS };

/* Plant a fault of this kind in a node if it has a place for it. */
static bool plant(gr_doc *doc, gr_doc_node *n, enum fault fault)
{
    gr_doc_tensor *big = constant_of(doc, n, 16, INT64_MAX), *one = constant_of(doc, n, 1, 1);
    float value = 0;
    if (one) memcpy(&value, one->data, sizeof value);
    switch (fault) {
    case WEIGHT:
        if (!big || !is_op(n, "MatMul")) return false;
        writable(doc, big)[big->elements / 3] += 0.5f;
        return true;
    case SHIFT:
        if (!big || !is_op(n, "Mul")) return false;
        for (int64_t i = 0; i < big->elements; i++) writable(doc, big)[i] += 0.25f;
        return true;
    case SCALE:
        if (!one || (!is_op(n, "Div") && !is_op(n, "Mul")) || fabsf(value) < 0.1f || fabsf(value) > 100) return false;
        *writable(doc, one) *= 1.02f;
        return true;
    case EPSILON:
        if (!one || !is_op(n, "Add") || value > 1e-4f) return false;
        *writable(doc, one) = 1e-2f;
        return true;
    case ACTIVATION:
        if (!is_op(n, "Erf") && !is_op(n, "Tanh")) return false;
        n->op_type = is_op(n, "Erf") ? "Tanh" : "Erf";
        return true;
    default:
        if (!big || !is_op(n, "Add") || big->rank != 1) return false;
        n->op_type = "Identity"; /* x + b becomes x */
        if (tensor_named(doc, n->in.items[0])) n->in.items[0] = n->in.items[1];
        n->in.count = 1;
        return true;
    }
}

/* The fault-th kind of fault in the nth node that takes it; the node's name, or NULL. */
static const char *plant_nth(gr_doc *doc, enum fault fault, int nth)
{
    for (size_t i = 0; i < doc->graph->nodes.count; i++) {
        gr_doc_node *n = &doc->graph->nodes.items[i];
        gr_doc_node before = *n;
        gr_doc_tensor *t = constant_of(doc, n, 1, INT64_MAX);
        const void *data = t ? t->data : NULL;
        const char *in = n->in.count ? n->in.items[0] : NULL;
        if (!plant(doc, n, fault)) continue;
        if (nth-- == 0) return n->name;
        *n = before;
        if (in) n->in.items[0] = in;
        if (t) t->data = data;
    }
    return NULL;
}

/* ---- comparing ---- */

typedef struct inputs {
    int64_t ids[14], types[14], mask[14];
    gr_tensor tensors[8];
    const gr_tensor *list[8];
} inputs;

/* Two rows of seven, the second padded. */
static const gr_tensor *const *inputs_of(inputs *in, const gr_graph *g)
{
    for (int i = 0; i < 14; i++) in->ids[i] = 5 + 7 * i, in->types[i] = i % 7 > 3, in->mask[i] = i < 11;
    for (size_t i = 0; i < g->ninputs; i++) {
        int64_t *data = strstr(g->inputs[i]->name, "mask")   ? in->mask
                        : strstr(g->inputs[i]->name, "type") ? in->types
                                                             : in->ids;
        in->tensors[i] = (gr_tensor){.kind = GR_KIND_TENSOR,
                                     .dtype = GR_INT64,
                                     .rank = 2,
                                     .dims = {2, 7},
                                     .elements = 14,
                                     .size = sizeof in->ids,
                                     .data = data};
        in->list[i] = &in->tensors[i];
    }
    return in->list;
}

static gr_divergence divergence(const loaded *a, const loaded *b, gr_align **align)
{
    gr_divergence d = {0};
    gr_divergence_options options = {.tolerance = {0, -1}, .threads = 1};
    inputs x, y;
    CHECK_OK(gr_align_graphs(a->graph, b->graph, b->arena, 1, align, &err));
    CHECK_OK(
        gr_divergence_find(*align, inputs_of(&x, a->graph), inputs_of(&y, b->graph), &options, b->arena, &d, &err));
    return d;
}

#define MODEL(name) GR_SOURCE_DIR "/models/" name "/model.onnx"

static void test_faults(void)
{
    static const char *const models[] = {MODEL("bert-tiny"), MODEL("bert-tiny-cls"), MODEL("gpt2-tiny")};
    int planted = 0;
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        loaded a = graph_of(load_doc(models[m]));
        for (int t = 0; t < 3 * FAULTS; t++) {
            gr_doc *doc = load_doc(models[m]);
            const char *name = plant_nth(doc, (enum fault)(t % FAULTS), t / FAULTS);
            if (t % 2) respell(doc);
            loaded b = graph_of(doc);
            gr_align *align;
            gr_divergence d = divergence(&a, &b, &align);
            if (!name && d.first) FAIL("%s is unchanged but differs at '%s'", models[m], d.first->b->name);
            if (name && !d.first) FAIL("%s, fault %d in '%s': not found", models[m], t, name);
            bool right = name && d.first && !strcmp(d.first->b->def->name, name);
            /* An Identity is no node of the graph: of a bias dropped, A's node is what is missing. */
            if (name && t % FAULTS == BIAS && d.first) right = right || (d.nonly_a && !strcmp(d.only_a[0]->name, name));
            if (name && d.first && !right)
                FAIL("%s, fault %d in '%s': '%s' is named", models[m], t, name, d.first->b->def->name);
            planted += right;
            unload(&b);
        }
        unload(&a);
    }
    CU_ASSERT(planted >= 30);
}

static void test_equal(void)
{
    loaded a = graph_of(load_doc(MODEL("bert-tiny")));
    gr_doc *doc = load_doc(MODEL("bert-tiny"));
    respell(doc);
    loaded b = graph_of(doc);
    gr_align *align;
    gr_diff diff;
    gr_divergence d = divergence(&a, &b, &align);
    CU_ASSERT_EQUAL(align->paired, align->nodes_a);
    CU_ASSERT_EQUAL(align->nodes_a, align->nodes_b);
    CU_ASSERT_PTR_NULL(d.first);
    CU_ASSERT(d.count > 100 && d.worst && d.worst->cumulative.error == 0);
    CHECK_OK(gr_diff_make(a.doc, b.doc, align, b.arena, &diff, &err));
    CU_ASSERT_EQUAL(diff.nmetadata + diff.ninterface + diff.nonly_a + diff.nonly_b, 0);
    CU_ASSERT_EQUAL(diff.nattrs + diff.nwired + diff.nconsts, 0);
    unload(&a);
    unload(&b);
}

#define HEAD "<ir_version: 8, opset_import: [\"\": 17]> g (int64[2, 7] ids) => (float[2, 7] y)\n"

/* The same in two spellings: (x / 8) * s and (x * s) / 8 part inside and meet again, which is no divergence. */
static void test_spellings(void)
{
    loaded a = graph_of_text(HEAD "<float e = {8}, float s = {3}> { x = Cast <to = 1> (ids) \n h = Div (x, e) \n"
                                  "m = Mul (h, s) \n y = Softmax (m) }");
    loaded b = graph_of_text(HEAD "<float e = {8}, float s = {3}> { x = Cast <to = 1> (ids) \n h = Mul (x, s) \n"
                                  "m = Div (h, e) \n y = Softmax (m) }");
    gr_align *align;
    gr_divergence d = divergence(&a, &b, &align);
    CU_ASSERT_PTR_NULL(d.first);
    unload(&a);
    unload(&b);
}

static void test_difference(void)
{
    loaded a = graph_of_text(HEAD "<float w = {3}> { x = Cast <to = 1> (ids) \n h = Mul (x, w) \n k = Relu (h) \n"
                                  "y = Softmax <axis = -1> (k) }");
    loaded b = graph_of_text(
        "<ir_version: 9, opset_import: [\"\": 17]> g (int64[2, 7] ids) => (float[2, 7] y, float[2, 7] z)\n"
        "<float w = {4}> { x = Cast <to = 1> (ids) \n h = Mul (w, x) \n y = Softmax <axis = 0> (h) \n"
        "z = Neg (h) }");
    gr_align *align;
    gr_diff d;
    gr_attr_change *changes;
    CHECK_OK(gr_align_graphs(a.graph, b.graph, b.arena, 1, &align, &err));
    CHECK_OK(gr_diff_make(a.doc, b.doc, align, b.arena, &d, &err));
    CU_ASSERT_EQUAL_FATAL(d.nmetadata, 1);
    CU_ASSERT_STRING_EQUAL(d.metadata[0].what, "IR version");
    CU_ASSERT_EQUAL_FATAL(d.ninterface, 1);
    CU_ASSERT(!d.interface[0].a && d.interface[0].b);
    CU_ASSERT_EQUAL_FATAL(d.nonly_a, 1);
    CU_ASSERT_STRING_EQUAL(gr_out(d.only_a[0], 0)->name, "k");
    CU_ASSERT_EQUAL_FATAL(d.nonly_b, 1);
    CU_ASSERT_STRING_EQUAL(gr_out(d.only_b[0], 0)->name, "z");
    CU_ASSERT_EQUAL_FATAL(d.nattrs, 1);
    const gr_node *m = d.attrs[0].a, *n = d.attrs[0].b;
    CU_ASSERT_EQUAL_FATAL(gr_attr_changes(m->attrs, n->attrs, b.arena, &changes), 1);
    CU_ASSERT_STRING_EQUAL(changes[0].name, "axis");
    CU_ASSERT_STRING_EQUAL(changes[0].a, "-1");
    CU_ASSERT_STRING_EQUAL(changes[0].b, "0");
    CU_ASSERT_EQUAL(d.nconsts, 1);
    unload(&a);
    unload(&b);
}

static void test_deviation(void)
{
    float x[4] = {1, -2, -1e9f, NAN}, y[4] = {1, -2.001f, -1e9f, NAN};
    gr_tensor a = {
        .kind = GR_KIND_TENSOR, .dtype = GR_FLOAT, .rank = 1, .dims = {4}, .elements = 4, .size = 16, .data = x};
    gr_tensor b = a;
    gr_tolerance by_type = {0, -1}, loose = {0.01, 0};
    b.data = y;
    gr_deviation d = gr_deviation_of(&a, &b, &by_type, GR_SOME_NODES);
    CU_ASSERT(d.at == 1 && d.scale == 2 && d.excess > 40 && d.excess < 60); /* of 2e-5: the fill is no scale */
    CU_ASSERT(gr_deviation_of(&a, &b, &loose, GR_SOME_NODES).excess < 1);
    y[3] = 0;
    d = gr_deviation_of(&a, &b, &loose, GR_SOME_NODES);
    CU_ASSERT(isinf(d.error) && isinf(d.excess) && d.at == 3);
    b.dims[0] = 2, b.elements = 2, b.size = 8;
    d = gr_deviation_of(&a, &b, &loose, GR_SOME_NODES);
    CU_ASSERT(isinf(d.excess) && d.at == -1);
    CU_ASSERT(!gr_change_of(&a, &b).same_shape);
}

/* Hashes are kept in other people's diffs: they stay what they are. */
static void test_hashes(void)
{
    char text[300];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)(i * 7);
    CU_ASSERT_EQUAL(gr_hash_bytes(text, sizeof text, 1), gr_hash_bytes(text, sizeof text, 1));
    for (size_t i = 0; i < sizeof text; i++) {
        uint64_t before = gr_hash_bytes(text, sizeof text, 1);
        text[i] ^= 1;
        CU_ASSERT_NOT_EQUAL(gr_hash_bytes(text, sizeof text, 1), before);
        text[i] ^= 1;
        CU_ASSERT_NOT_EQUAL(gr_hash_bytes(text, i, 1), gr_hash_bytes(text, i + 1, 1));
    }
    CU_ASSERT_EQUAL(gr_hash_text("graphrun"), UINT64_C(0x3c90f9f8b2b07357));
}

static CU_TestInfo tests[] = {
    {"planted faults are named", test_faults},
    {"a model in other words is the same", test_equal},
    {"two spellings of a formula are no divergence", test_spellings},
    {"what two files say differently", test_difference},
    {"deviation of tensors", test_deviation},
    {"hashes of contents", test_hashes},
    CU_TEST_INFO_NULL,
};

CU_SuiteInfo suite_compare = {"compare", NULL, NULL, NULL, NULL, tests};
