/* SPDX-License-Identifier: Apache-2.0
 *
 * Quantised models under `strict` are bit for bit in their integer parts, with passes and without: for every node that
 * makes integers of codes or codes of floats, its inputs and outputs are fetched in one run, the node is computed again
 * by its reference kernel from those inputs, and all of its integer outputs must be the same.
 */
#include "exec/packs.h"
#include "model.h"
#include "support.h"
#include "zoo.h"
#include <stdio.h>

enum { MAX_VALUES = 1024, MAX_NODES = 512, MAX_OPERANDS = 16 };

typedef struct totals {
    int cases;
    size_t nodes, values;
} totals;

static bool makes_integers(const gr_node *n)
{
    static const char *const ops[] = {"MatMulInteger",     "ConvInteger",  "QLinearMatMul", "QLinearConv",
                                      "QuantizeLinear",    "QLinearAdd",   "QLinearMul",    "QGemm",
                                      "DynamicQuantizeLinear"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (!strcmp(n->op->name, ops[i])) return true;
    return false;
}

/* What is fetched, each value once. */
typedef struct wanted {
    const gr_value *values[MAX_VALUES];
    gr_named_tensor views[MAX_VALUES];
    size_t count;
    const gr_node *nodes[MAX_NODES];
    size_t nnodes;
} wanted;

static void want(wanted *w, const gr_value *v)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->values[i] == v) return;
    if (!v || v->konst || w->count == MAX_VALUES) return;
    w->values[w->count] = v;
    w->views[w->count++] = WANTED(v->name);
}

static gr_tensor *tensor_of_value(const wanted *w, const gr_value *v, gr_tensor *room)
{
    if (!v) return NULL;
    *room = (gr_tensor){0};
    if (v->konst) return v->konst;
    for (size_t i = 0; i < w->count; i++) {
        const gr_tensor_view *t = &w->views[i].tensor;
        if (w->values[i] != v) continue;
        *room = (gr_tensor){.kind = GR_KIND_TENSOR, .dtype = t->type, .rank = t->rank, .data = t->data, .size = t->size,
                            .aligned = true};
        if (t->rank) memcpy(room->dims, t->dims, (size_t)t->rank * sizeof *t->dims);
        gr_elements(room->rank, room->dims, &room->elements);
        return room;
    }
    return NULL;
}

static bool is_whole(gr_dtype t) { return t != GR_FLOAT && t != GR_FLOAT16 && t != GR_BFLOAT16 && t != GR_DOUBLE; }

static void compute_again(const char *name, const wanted *w, const gr_node *n, totals *all)
{
    gr_tensor in_room[MAX_OPERANDS], out_room, *in[MAX_OPERANDS], *out[MAX_OPERANDS] = {0};
    gr_err err = {0};
    gr_exec exec = {.threads = 1};
    if (n->nin > MAX_OPERANDS || n->nout > MAX_OPERANDS) return;
    for (uint32_t i = 0; i < n->nin; i++) in[i] = tensor_of_value(w, gr_in(n, i), &in_room[i]);
    const gr_kernel *last = n->op->kernels;
    while (last[1].name) last++;
    gr_status status = gr_eval(&exec, n->op, n->params, n, last->name, n->nin, (const gr_tensor *const *)in, n->nout,
                               NULL, out, &err);
    if (status != GR_OK) FAIL("%s: node '%s': %s", name, n->name, err.text);
    for (uint32_t o = 0; status == GR_OK && o < n->nout; o++) {
        const gr_tensor *got = tensor_of_value(w, gr_out(n, o), &out_room);
        if (!got || !is_whole(got->dtype)) continue;
        CHECK_THAT(got->size == out[o]->size && !memcmp(got->data, out[o]->data, got->size),
                   "%s: output %u of node '%s' (%s) differs from its reference", name, o, n->name, n->op->name);
        all->values += (size_t)got->elements;
    }
    all->nodes += status == GR_OK;
    for (uint32_t o = 0; o < n->nout; o++) gr_tensor_free(out[o]);
}

static void check_graph(const char *name, const char *folder, bool passes, totals *all)
{
    static zoo_tensors in;
    static wanted w;
    char path[1024];
    running r;
    gr_err err = {0};
    const gr_graph *g;
    const gr_variant plain = {0};
    const gr_model_options strict = {.struct_size = sizeof strict, .strict = true, .no_passes = !passes};
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    if (!open_file(path, &strict, NULL, &r)) return;
    w.count = w.nnodes = 0;
    CHECK_OK(gr_model_graph(r.model, &plain, &g, &err));
    for (const gr_node *n = g->first; n && w.nnodes < MAX_NODES; n = n->next) {
        if (!makes_integers(n)) continue;
        w.nodes[w.nnodes++] = n;
        for (uint32_t i = 0; i < n->nin; i++) want(&w, gr_in(n, i));
        for (uint32_t o = 0; o < n->nout; o++) want(&w, gr_out(n, o));
    }
    snprintf(path, sizeof path, "%s/test_data_set_0", folder);
    bool read = zoo_read(path, "input", r.model, gr_model_input, &in, &err);
    if (!read) FAIL("%s: %s", name, err.text);
    if (read && w.nnodes) {
        CHECK_OK(gr_session_run(r.session, in.views, in.count, w.views, w.count, &err));
        if (err.status == GR_OK)
            for (size_t i = 0; i < w.nnodes; i++) compute_again(name, &w, w.nodes[i], all);
        all->cases++;
    }
    zoo_free(&in);
    close_running(&r);
}

static void check_case(const char *name, const char *folder, const char *dtype, void *user)
{
    totals *all = user;
    if (!strncmp(dtype, "float", 5) || !strncmp(dtype, "bfloat", 6)) return;
    check_graph(name, folder, false, &all[0]);
    check_graph(name, folder, true, &all[1]);
}

static void test_zoo(void)
{
    totals all[2] = {{0}, {0}};
    if (!zoo_each(check_case, all)) {
        printf("(there is none) ");
        return;
    }
    for (int i = 0; i < 2; i++) {
        printf("\n    %s passes: %d models, %zu nodes, %zu integers ", i ? "with" : "without", all[i].cases, all[i].nodes,
               all[i].values);
        CU_ASSERT_TRUE(all[i].cases > 0 && all[i].values > 0);
    }
}

static CU_TestInfo tests[] = {{"integers of quantised models", test_zoo}, CU_TEST_INFO_NULL};
CU_SuiteInfo suite_strict = {"strict", NULL, NULL, NULL, NULL, tests};
