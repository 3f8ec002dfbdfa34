/* SPDX-License-Identifier: Apache-2.0
 *
 * Provenance: small graphs whose fates are known node by node, a long chain, and whole models, where every node of the
 * file must have exactly one fate and every fate must point at a node that stands.
 */
#include "inspect/provenance.h"
#include "model.h"
#include "support.h"
#include <stdio.h>
#include <stdlib.h>

static gr_err err;

#define HEAD "<ir_version: 10, opset_import: [\"\" : 17]> "

typedef struct expected {
    const char *node, *fate, *into; /* into: operator, or NULL */
} expected;

static const gr_origin *origin_of(const gr_provenance *p, const char *name)
{
    for (size_t i = 0; i < p->count; i++)
        if (!strcmp(p->items[i].source->name, name)) return &p->items[i];
    return NULL;
}

static void check_fates(const char *text, const expected *e)
{
    built b = infer_text(text);
    gr_provenance p;
    if (!b.graph) return;
    CHECK_OK(gr_passes_run(b.graph, NULL, &err));
    CHECK_OK(gr_graph_infer(b.graph, 1 << 20, &err));
    CHECK_OK(gr_provenance_of(b.graph, b.arena, &p, &err));
    size_t n = 0;
    for (; e[n].node; n++) {
        const gr_origin *o = origin_of(&p, e[n].node);
        if (!o)
            FAIL("'%s' has no fate", e[n].node);
        else
            CHECK_THAT(!strcmp(gr_fate_name(o->fate), e[n].fate) && !o->into == !e[n].into &&
                           (!o->into || !strcmp(o->into->op->name, e[n].into)),
                       "'%s' is %s into %s, expected %s into %s", e[n].node, gr_fate_name(o->fate),
                       o->into ? o->into->op->name : "nothing", e[n].fate, e[n].into ? e[n].into : "nothing");
    }
    CU_ASSERT_EQUAL(p.count, n);
    built_free(&b);
}

static void test_small(void)
{
    /* A replaced root, what only it read, a merged duplicate, a no-op, a dead node, constants with and without readers.
     */
    check_fates(
        HEAD "g (float[B, 4] x) => (float[B, 4] y, float[B, 4] z) {\n"
             "  half = Constant <value_float: float = 0.5> ()\n  idle = Constant <value_float: float = 3.0> ()\n"
             "  root2 = Constant <value_float: float = 1.4142135> ()\n  one = Constant <value_float: float = 1.0> ()\n"
             "  d = Div (x, root2)\n  e = Erf (d)\n  f = Add (e, one)\n  h = Mul (x, f)\n  y = Mul (h, half)\n"
             "  a = Exp (x)\n  b = Exp (x)\n  i = Identity (b)\n  z = Add (a, i)\n  lost = Neg (a)\n}",
        (const expected[]){{"half", "folded", NULL},
                           {"idle", "dead", NULL},
                           {"root2", "folded", NULL},
                           {"one", "folded", NULL},
                           {"d", "fused", "Gelu"},
                           {"e", "fused", "Gelu"},
                           {"f", "fused", "Gelu"},
                           {"h", "fused", "Gelu"},
                           {"y", "fused", "Gelu"},
                           {"a", "executed", "Exp"},
                           {"b", "fused", "Exp"},
                           {"i", "fused", "Exp"},
                           {"z", "executed", "Add"},
                           {"lost", "dead", NULL},
                           {0}});
    /* Shape arithmetic, standing or not, is no part of a run. */
    check_fates(
        HEAD
        "g (float[B, 4] x) => (float[C] y, int64[2] t) {\n"
        "  s = Shape (x)\n  zero = Constant <value_ints: ints = [0]> ()\n  b = Gather (s, zero)\n"
        "  four = Constant <value_ints: ints = [-1]> ()\n  y = Reshape (x, four)\n  t = Concat <axis = 0> (b, b)\n}",
        (const expected[]){{"s", "folded", NULL},
                           {"zero", "folded", NULL},
                           {"b", "folded", NULL},
                           {"four", "folded", NULL},
                           {"y", "executed", "Reshape"},
                           {"t", "folded", NULL},
                           {0}});
}

static void test_bodies(void)
{
    /* A branch that is lifted, one that is never taken, and bodies that run. */
    check_fates(HEAD "g (float[B, 4] x, bool c) => (float[B, 4] y, float[B, 4] z) {\n"
                     "  k = Constant <value_float: float = 2.0> ()\n"
                     "  true = Constant <value: tensor = bool t {1}> ()\n"
                     "  y = If (true) <then_branch = yes () => (float[B, 4] p) { p0 = Mul (x, k)\n p = Exp (p0) },\n"
                     "       else_branch = no () => (float[B, 4] q) { q = Neg (x) }>\n"
                     "  z = If (c) <then_branch = yes2 () => (float[B, 4] r) { r = Mul (x, k) },\n"
                     "       else_branch = no2 () => (float[B, 4] s) { s = Identity (x) }>\n}",
                (const expected[]){{"k", "folded", NULL},
                                   {"true", "folded", NULL},
                                   {"y", "fused", "Exp"},
                                   {"p0", "executed", "Mul"},
                                   {"p", "executed", "Exp"},
                                   {"q", "dead", NULL},
                                   {"z", "executed", "If"},
                                   {"r", "executed", "If"},
                                   {"s", "executed", "If"},
                                   {0}});
}

/* Chains that vanish from either end, as long as hostile files have them. */
static void test_chain(void)
{
    enum { LENGTH = 300000, ROOM = 64 };
    char *text = malloc((size_t)LENGTH * ROOM);
    if (!text) abort();
    int at = sprintf(text, HEAD "g (float[4] v0) => (float[4] y) {\n");
    for (int i = 0; i < LENGTH; i++)
        at += sprintf(text + at, "  v%d = %s (v%d)\n", i + 1, i % 2 ? "Identity" : "Neg", i);
    sprintf(text + at, "  y = Exp (v%d)\n}", LENGTH / 2);
    built b = infer_text(text);
    gr_provenance p = {0};
    if (b.graph) {
        CHECK_OK(gr_passes_run(b.graph, NULL, &err));
        CHECK_OK(gr_provenance_of(b.graph, b.arena, &p, &err));
        CU_ASSERT_EQUAL(p.count, LENGTH + 1);
        CU_ASSERT_EQUAL(p.fates[GR_FATE_DEAD], LENGTH / 2);
        CU_ASSERT_EQUAL(p.fates[GR_FATE_EXECUTED], LENGTH / 4 + 1);
        CU_ASSERT_EQUAL(p.fates[GR_FATE_FUSED], LENGTH / 4);
    }
    built_free(&b);
    free(text);
}

/* Sources of a graph and of the bodies in it. */
static size_t count_sources(const gr_graph *g)
{
    size_t n = g->nsources;
    for (size_t i = 0; i < g->nsources; i++)
        for (uint32_t s = 0; g->sources[i].node && s < g->sources[i].node->nsubgraphs; s++)
            n += count_sources(g->sources[i].node->subgraphs[s]);
    return n;
}

/* Every node has one fate, with a node that stands where the fate names one. */
static void check_whole(const char *path)
{
    gr_model *m;
    const gr_graph *g;
    gr_provenance p;
    gr_variant plain = {0};
    gr_arena *arena = gr_arena_new();
    gr_status status = gr_model_load(path, NULL, &m, &err);
    if (status != GR_OK) {
        if (status != GR_EUNSUPPORTED) FAIL("%s", err.text);
        gr_arena_free(arena);
        return;
    }
    CHECK_OK(gr_model_graph(m, &plain, &g, &err));
    CHECK_OK(gr_provenance_of(g, arena, &p, &err));
    bool *stands = calloc(g->nnodes + 1, sizeof *stands), *seen = calloc(g->nnodes + 1, sizeof *seen);
    if (!stands || !seen) abort();
    for (const gr_node *n = g->first; n; n = n->next) stands[n->id] = true;
    if (p.count != count_sources(g)) FAIL("%s: %zu fates of %zu nodes", path, p.count, count_sources(g));
    for (size_t i = 0; i < p.count; i++) {
        const gr_origin *o = &p.items[i];
        bool needs = o->fate == GR_FATE_FUSED || o->fate == GR_FATE_EXECUTED;
        if (needs != (o->into != NULL) || (o->into && !stands[o->into->id]))
            FAIL("%s: '%s' is %s into a node that does not stand", path, o->source->name, gr_fate_name(o->fate));
        if (!o->source->node || o->graph != g) continue;
        if (seen[o->source->node->id]) FAIL("%s: '%s' has two fates", path, o->source->name);
        seen[o->source->node->id] = true;
    }
    CU_ASSERT_TRUE(p.fates[GR_FATE_FUSED] > 0);
    free(stands);
    free(seen);
    gr_model_free(m);
    gr_arena_free(arena);
}

static void test_models(void)
{
    static const char *const names[] = {"bert-tiny", "bert-tiny-cls", "bert-tiny-encoder", "gpt2-tiny"};
    char path[1024];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, GR_SOURCE_DIR "/models/%s/model.onnx", names[i]);
        check_whole(path);
    }
}

static void test_zoo(void)
{
    char path[1024], row[4096];
    const char *zoo = getenv("GR_ZOO_DIR");
#ifdef GR_ZOO_DIR
    if (!zoo || !*zoo) zoo = GR_ZOO_DIR;
#endif
    if (zoo) snprintf(path, sizeof path, "%s/zoo.tsv", zoo);
    FILE *f = zoo ? fopen(path, "r") : NULL;
    if (!f) {
        printf("(there is none) ");
        return;
    }
    for (int line = 0; fgets(row, sizeof row, f); line++) {
        if (!line) continue;
        snprintf(path, sizeof path, "%s/%.*s/model.onnx", zoo, (int)strcspn(row, "\t"), row);
        check_whole(path);
    }
    fclose(f);
}

static CU_TestInfo tests[] = {
    {"small graphs", test_small},         {"bodies", test_bodies}, {"a long chain", test_chain},
    {"models of this tree", test_models}, {"zoo", test_zoo},       CU_TEST_INFO_NULL};
CU_SuiteInfo suite_provenance = {"provenance", NULL, NULL, NULL, NULL, tests};
