/* SPDX-License-Identifier: Apache-2.0
 *
 * The graph: names, use lists under every function that changes edges, and that gr_graph_check sees what is broken.
 */
#include "support.h"

static gr_err err;
static gr_arena *arena;
static gr_graph *g;
static const gr_op *op_add, *op_relu;

static void set_up(void)
{
    arena = gr_arena_new();
    g = gr_graph_new(arena, gr_syms_new(arena), "test", NULL);
    op_add = gr_op_find("", "Add", 14, NULL);
    op_relu = gr_op_find("", "Relu", 14, NULL);
}

static void tear_down(void) { gr_arena_free(arena); }

static gr_value *input(const char *name)
{
    gr_value *v = gr_graph_value(g, name);
    v->is_input = true;
    return v;
}

static gr_value *node(const gr_op *op, gr_value *x, gr_value *y, const char *name)
{
    gr_value *in[] = {x, y};
    gr_node *n = gr_graph_node(g, op, NULL, (gr_attrs){0}, y ? 2 : 1, in, 1, name ? &name : NULL);
    gr_insert_before(n, NULL);
    return n->out[0];
}

static void outputs(gr_value *first, gr_value *second)
{
    static const char *names[] = {"out", "again"};
    g->noutputs = second ? 2 : 1;
    g->outputs = GR_NEWS(arena, 2, gr_value *);
    g->next_output = GR_NEWS(arena, 2, int);
    g->output_names = names;
    gr_set_output(g, 0, first);
    if (second) gr_set_output(g, 1, second);
}

#define CHECK_GRAPH() CHECK_OK(gr_graph_check(g, &err))

static void test_names(void)
{
    gr_value *x = gr_graph_value(g, "x"), *taken = gr_graph_value(g, "x"), *none = gr_graph_value(g, NULL);
    CU_ASSERT_PTR_EQUAL(gr_graph_find(g, "x"), x);
    CU_ASSERT_STRING_NOT_EQUAL(taken->name, "x");
    CU_ASSERT_PTR_EQUAL(gr_graph_find(g, taken->name), taken);
    CU_ASSERT_TRUE(*none->name);
    CU_ASSERT_PTR_NULL(gr_graph_find(g, "y"));
    for (int i = 0; i < 500; i++) gr_graph_value(g, "x"); /* the table grows, names stay unique */
    CU_ASSERT_PTR_EQUAL(gr_graph_find(g, "x"), x);
    CU_ASSERT_PTR_EQUAL(gr_graph_find(g, taken->name), taken);
    CU_ASSERT_FALSE(gr_value_lives(x));
}

static void test_constants(void)
{
    const int64_t dims[] = {2, 3}, three[] = {1, 2, 3};
    static const float data[6] = {1, 2, 3, 4, 5, 6};
    gr_value *w = gr_graph_const(g, "w", GR_FLOAT, 2, dims, data);
    gr_value *off = gr_graph_const(g, "off", GR_FLOAT, 1, dims, (const char *)data + 1);
    gr_value *s = gr_graph_scalar(g, "s", 2.5f), *l = gr_graph_ints(g, "l", 3, three),
             *e = gr_graph_ints(g, "e", 0, NULL);
    CU_ASSERT_PTR_EQUAL(w->konst->data, data);
    CU_ASSERT_TRUE(w->konst->aligned && w->konst->is_const && w->konst->size == 24 && w->konst->elements == 6);
    CU_ASSERT_FALSE(off->konst->aligned);
    CU_ASSERT_TRUE(s->konst->rank == 0 && element_of(s->konst, 0) == 2.5);
    CU_ASSERT_TRUE(l->konst->rank == 1 && l->konst->elements == 3 && element_of(l->konst, 2) == 3);
    CU_ASSERT_TRUE(e->konst->elements == 0 && e->konst->size == 0);
    CU_ASSERT_STRING_EQUAL(type_of_value(g, "w"), "float[2, 3]");
    CU_ASSERT_STRING_EQUAL(type_of_value(g, "s"), "float[]");
    const int64_t huge[] = {INT64_MAX, 4};
    CU_ASSERT_PTR_NULL(gr_graph_const(g, "huge", GR_FLOAT, 2, huge, data));
    outputs(w, s);
    CHECK_GRAPH();
}

static void test_edges(void)
{
    gr_value *x = input("x"), *y = input("y");
    gr_value *s = node(op_add, x, y, "s"), *d = node(op_add, s, s, "d"), *r = node(op_relu, d, NULL, "r");
    outputs(r, NULL);
    CHECK_GRAPH();
    CU_ASSERT_TRUE(x->nuses == 1 && s->nuses == 2 && d->nuses == 1 && r->nuses == 0 && r->is_output);

    gr_set_input(d->def, 1, x);
    CHECK_GRAPH();
    CU_ASSERT_TRUE(x->nuses == 2 && s->nuses == 1);
    gr_set_input(d->def, 1, NULL);
    CHECK_GRAPH();
    CU_ASSERT_TRUE(x->nuses == 1 && !gr_in(d->def, 1) && !gr_in(d->def, 7));
    gr_set_input(d->def, 1, s);

    gr_value *between[] = {s};
    gr_node *n = gr_graph_node(g, op_relu, NULL, (gr_attrs){0}, 1, between, 1, NULL);
    gr_insert_before(n, d->def);
    gr_set_input(d->def, 0, n->out[0]);
    CHECK_GRAPH();
    CU_ASSERT_TRUE(n->prev == s->def && n->next == d->def && gr_graph_find(g, n->out[0]->name) == n->out[0]);

    gr_move_before(n, r->def);
    CHECK_FAILS(gr_graph_check(g, &err), GR_EMODEL, "before it is defined");
    gr_move_before(n, d->def);
    CHECK_GRAPH();
    gr_move_before(r->def, NULL);
    CHECK_GRAPH();
    CU_ASSERT_PTR_EQUAL(g->last, r->def);
}

static void test_replace(void)
{
    gr_value *x = input("x"), *a = node(op_relu, x, NULL, "a"), *b = node(op_relu, a, NULL, "b");
    gr_value *c = node(op_add, b, b, "c");
    outputs(b, c);
    gr_replace_uses(b, a); /* output "out" reads a now and is still called "out" */
    CHECK_GRAPH();
    CU_ASSERT_TRUE(g->outputs[0] == a && a->is_output && a->output_index == 0 && !b->is_output &&
                   b->output_index == -1);
    CU_ASSERT_TRUE(a->nuses == 3 && b->nuses == 0);
    CU_ASSERT_STRING_EQUAL(g->output_names[0], "out");
    gr_erase(b->def);
    CHECK_GRAPH();
    CU_ASSERT_TRUE(a->nuses == 2 && !gr_value_lives(b) && gr_value_lives(a));
    gr_replace_uses(a, x); /* an input as an output */
    CHECK_GRAPH();
    CU_ASSERT_TRUE(g->outputs[0] == x && x->is_output);
    gr_set_output(g, 1, x);
    CU_ASSERT_TRUE(x->output_index >= 0 && !c->is_output);
    gr_set_output(g, 0, c);
    CU_ASSERT_TRUE(x->output_index == 1 && c->output_index == 0);
    CHECK_GRAPH();
    gr_set_output(g, 1, c);
    CU_ASSERT_TRUE(!x->is_output && c->output_index >= 0);
}

static void test_erase_constant(void)
{
    gr_value *x = input("x"), *a = node(op_relu, x, NULL, "a"), *b = node(op_relu, a, NULL, "b");
    static const float one = 1;
    outputs(b, NULL);
    gr_value *k = gr_graph_const(g, "k", GR_FLOAT, 0, NULL, &one);
    a->konst = k->konst; /* folded: its node may go, its readers stay */
    a->type = k->type;
    gr_erase(a->def);
    CHECK_GRAPH();
    CU_ASSERT_TRUE(gr_value_lives(a) && a->nuses == 1 && x->nuses == 0 && g->first == b->def);
}

static void test_take_name(void)
{
    gr_value *x = input("x"), *old = node(op_relu, x, NULL, "old"), *new = node(op_relu, x, NULL, "new");
    outputs(new, NULL);
    gr_take_name(new, old);
    CU_ASSERT_STRING_EQUAL(new->name, "old");
    CU_ASSERT_STRING_EQUAL(old->name, "new");
    CU_ASSERT_PTR_EQUAL(gr_graph_find(g, "old"), new);
    CU_ASSERT_PTR_EQUAL(gr_graph_find(g, "new"), old);
    for (int i = 0; i < 200; i++) gr_graph_value(g, NULL); /* survives growth of the table */
    CU_ASSERT_PTR_EQUAL(gr_graph_find(g, "old"), new);
    CHECK_GRAPH();
}

/* Random edits of a chain, checked after each. */
static void test_random(void)
{
    uint32_t seed = 7;
    gr_value *values[64] = {input("x"), input("y")};
    int n = 2;
    for (; n < 40; n++) {
        gr_value *a = values[next_random(&seed) % (uint32_t)n], *b = values[next_random(&seed) % (uint32_t)n];
        values[n] = node(op_add, a, b, NULL);
    }
    outputs(values[n - 1], values[n - 2]);
    CHECK_GRAPH();
    for (int round = 0; round < 200; round++) {
        int to = 2 + (int)(next_random(&seed) % 38), from = (int)(next_random(&seed) % (uint32_t)to);
        gr_value *v = values[to];
        if (!v->def) continue;
        while (!gr_value_lives(values[from])) from--;
        if (next_random(&seed) % 3)
            gr_set_input(v->def, next_random(&seed) % 2, values[from]);
        else
            gr_replace_uses(v, values[from]);
        if (!v->nuses && !v->is_output) gr_erase(v->def);
        gr_status status = gr_graph_check(g, &err);
        if (status != GR_OK) FAIL("round %d: %s", round, err.text);
    }
    CHECK_GRAPH();
}

static void test_check_sees(void)
{
    gr_value *x = input("x"), *a = node(op_relu, x, NULL, "a"), *b = node(op_relu, a, NULL, "b");
    outputs(b, NULL);
    CHECK_GRAPH();
    a->nuses = 5;
    CHECK_FAILS(gr_graph_check(g, &err), GR_EMODEL, "uses");
    a->nuses = 1;
    a->def = b->def;
    CHECK_FAILS(gr_graph_check(g, &err), GR_EMODEL, "another definition");
    a->def = g->first;
    g->first->out[0] = b;
    CHECK_FAILS(gr_graph_check(g, &err), GR_EMODEL, "");
    g->first->out[0] = a;
    b->is_output = false;
    CHECK_FAILS(gr_graph_check(g, &err), GR_EMODEL, "output");
    b->is_output = true;
    g->last->prev = NULL;
    CHECK_FAILS(gr_graph_check(g, &err), GR_EMODEL, "list");
    g->last->prev = g->first;
    gr_value *k = gr_graph_scalar(g, "k", 1);
    k->type.dtype = GR_DOUBLE;
    CHECK_FAILS(gr_graph_check(g, &err), GR_EMODEL, "constant");
    k->type.dtype = GR_FLOAT;
    CHECK_GRAPH();
}

static void test_types(void)
{
    const gr_dim dims[] = {gr_sym_named(g->syms, "batch"), GR_DIM(768)};
    gr_type t = gr_type_tensor(GR_FLOAT, 2, dims), unknown = gr_type_tensor(GR_INT64, GR_RANK_UNKNOWN, NULL);
    gr_type scalar = gr_type_tensor(GR_BOOL, 0, NULL), seq = {.kind = GR_KIND_SEQUENCE, .elem = &t};
    CU_ASSERT_STRING_EQUAL(gr_type_text(g->syms, arena, &t), "float[batch, 768]");
    CU_ASSERT_STRING_EQUAL(gr_type_text(g->syms, arena, &unknown), "int64[...]");
    CU_ASSERT_STRING_EQUAL(gr_type_text(g->syms, arena, &scalar), "bool[]");
    CU_ASSERT_STRING_EQUAL(gr_type_text(g->syms, arena, &seq), "seq(float[batch, 768])");
    CU_ASSERT_FALSE(gr_type_is_static(&t));
    CU_ASSERT_FALSE(gr_type_is_static(&unknown));
    CU_ASSERT_FALSE(gr_type_is_static(&seq));
    CU_ASSERT_TRUE(gr_type_is_static(&scalar));
}

static CU_TestInfo tests[] = {
    {"names", test_names},
    {"constants", test_constants},
    {"inputs of nodes", test_edges},
    {"replacing and outputs", test_replace},
    {"erasing what is constant", test_erase_constant},
    {"taking a name", test_take_name},
    {"random edits", test_random},
    {"the check sees faults", test_check_sees},
    {"types", test_types},
    CU_TEST_INFO_NULL,
};
CU_SuiteInfo suite_ir = {"ir", NULL, NULL, set_up, tear_down, tests};
