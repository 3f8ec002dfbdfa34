/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators: every case of tests/ops/<family>.onnxtxt on every kernel of the operator's list, with inputs that are fed,
 * constant, constant at odd addresses, and in place; folded; and inferred with symbols for all dimensions.
 */
#include "exec/packs.h"
#include "op_case.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_FILES = 128, MAX_VALUES = 24, MAX_KERNELS = 512 };

/* ---- which kernels ran at all ---- */

static struct {
    const char *op, *kernel;
    int ran, declined;
} tally[MAX_KERNELS];
static int ntally;

static void count(const char *op, const char *kernel, bool ran)
{
    int i = 0;
    while (i < ntally && (strcmp(tally[i].op, op) || strcmp(tally[i].kernel, kernel))) i++;
    if (i == MAX_KERNELS) return;
    if (i == ntally) {
        tally[ntally].op = op;
        tally[ntally++].kernel = kernel;
    }
    *(ran ? &tally[i].ran : &tally[i].declined) += 1;
}

static bool has_case(const char *op)
{
    for (int i = 0; i < ntally; i++)
        if (!strcmp(tally[i].op, op)) return true;
    return false;
}

static int show_tally(void)
{
    int ran = 0, declined = 0;
    const char *before = "";
    for (size_t f = 0; gr_op_families[f]; f++)
        for (const gr_op *op = gr_op_families[f]; op->name; op++) {
            if (!has_case(op->name) && strcmp(before, op->name)) printf("\n    %s has no case", op->name);
            before = op->name;
        }
    for (int i = 0; i < ntally; i++) {
        ran += tally[i].ran;
        declined += tally[i].declined;
        if (!tally[i].ran) printf("\n    kernel '%s' of %s declined all its cases", tally[i].kernel, tally[i].op);
    }
    printf("\n    %d kernels, %d runs, %d declined\n", ntally, ran, declined);
    ntally = 0;
    return 0;
}

/* ---- one node on one kernel ---- */

typedef enum variant { FED, CONSTANT, UNALIGNED, VARIANTS } variant;
static const char *const variant_names[] = {"fed", "constant", "unaligned"};

typedef struct feed {
    gr_tensor *in[MAX_VALUES]; /* of the graph's inputs */
    size_t count;
} feed;

static feed make_feed(const op_case *c, variant v)
{
    feed f = {.count = c->nin};
    for (size_t i = 0; i < c->nin; i++) {
        f.in[i] = tensor_of(c->in[i], v == UNALIGNED ? SHIFTED : ALIGNED);
        f.in[i]->is_const = v != FED;
    }
    return f;
}

static void free_feed(feed *f)
{
    for (size_t i = 0; i < f->count; i++) tensor_of_free(f->in[i]);
}

/* What a node reads, with the graph's inputs from the feed. */
static void inputs_of(const gr_graph *g, const gr_node *n, const feed *f, gr_tensor **in)
{
    for (uint32_t i = 0; i < n->nin; i++) {
        const gr_value *v = gr_in(n, i);
        in[i] = v ? v->konst : NULL;
        for (size_t k = 0; v && k < g->ninputs; k++)
            if (g->inputs[k] == v) in[i] = f->in[k];
    }
}

static void compare(const op_case *c, size_t output, const gr_tensor *got, const char *how, const char *what)
{
    char why[256];
    const bool same = got && same_tensor(got, c->want[output], why, sizeof why);
    CHECK_ELSE(same, case_fails(c, "%s, %s: output '%s' %s", how, what, c->doc->graph->out.items[output].name,
                                got ? why : "was not made"));
}

static void compare_outputs(const op_case *c, const gr_graph *g, const gr_node *n, gr_tensor **out, const char *how,
                            const char *what)
{
    for (size_t o = 0; o < g->noutputs; o++)
        for (uint32_t i = 0; i < n->nout; i++)
            if (n->out[i] == g->outputs[o]) compare(c, o, out[i], how, what);
}

static void check_refusal(const op_case *c, gr_status status, const gr_err *err, const char *how)
{
    if (status == GR_OK)
        case_fails(c, "%s: it was not refused", how);
    else
        CHECK_ELSE(strstr(err->text, c->error),
                   case_fails(c, "%s: the sentence lacks '%s': %s", how, c->error, err->text));
}

static void run_kernel(const op_case *c, const gr_graph *g, const gr_node *n, const gr_kernel *k, variant v)
{
    gr_err err = {0};
    feed f = make_feed(c, v);
    gr_tensor *in[MAX_VALUES], *out[MAX_VALUES] = {0};
    gr_exec exec = {.threads = v == FED ? 1 : 2, .packs = gr_packs_new(NULL)};
    inputs_of(g, n, &f, in);
    gr_status status =
        gr_eval(&exec, n->op, n->params, n, k->name, n->nin, (const gr_tensor *const *)in, n->nout, NULL, out, &err);
    bool last = !k[1].name, declined = status == GR_EUNSUPPORTED && strstr(err.text, "no kernel for it");
    count(n->op->name, k->name, !declined);
    if (declined && last)
        case_fails(c, "the last kernel, '%s', declines: %s", k->name, err.text);
    else if (c->bad && !declined)
        check_refusal(c, status, &err, k->name);
    else if (status != GR_OK && !declined)
        case_fails(c, "%s, %s: %s", k->name, variant_names[v], err.text);
    else if (!declined)
        compare_outputs(c, g, n, out, k->name, variant_names[v]);
    for (uint32_t i = 0; i < n->nout; i++) gr_tensor_free(out[i]);
    gr_packs_free(exec.packs);
    free_feed(&f);
}

/* Output 0 in the memory of input `taken`, as plans place it. */
static void run_in_place(const op_case *c, const gr_graph *g, const gr_node *n, const gr_kernel *k, uint32_t taken)
{
    gr_err err = {0};
    gr_why why;
    feed f = make_feed(c, FED);
    gr_tensor *in[MAX_VALUES], result, *out[MAX_VALUES] = {&result};
    gr_exec exec = {.threads = 2};
    inputs_of(g, n, &f, in);
    size_t o = 0;
    while (o < g->noutputs && g->outputs[o] != n->out[0]) o++;
    const gr_tensor *want = o < g->noutputs ? c->want[o] : NULL;
    if (want && in[taken] && !in[taken]->is_const && in[taken]->dtype == want->dtype && in[taken]->size == want->size) {
        result = *want;
        result.data = in[taken]->data;
        gr_step s = {.op = n->op,
                     .params = n->params,
                     .node = n,
                     .nin = n->nin,
                     .nout = n->nout,
                     .in = in,
                     .out = out,
                     .kernel = k,
                     .arena = gr_arena_new(),
                     .threads = 2,
                     .exec = &exec};
        if (!s.arena) abort();
        if (!k->prepare || k->prepare(&s, &why)) {
            if (s.scratch_size && !(s.scratch = gr_malloc_aligned(s.scratch_size))) abort();
            gr_status status = k->run(&s, &err);
            if (status != GR_OK)
                case_fails(c, "%s, in place: %s", k->name, err.text);
            else
                compare(c, o, &result, k->name, "in place");
            if (k->release) k->release(&s);
            gr_free_aligned(s.scratch, s.scratch_size);
        }
        gr_arena_free(s.arena);
    }
    free_feed(&f);
}

static void run_node(const op_case *c, const gr_graph *g, const gr_node *n)
{
    if (n->nin > MAX_VALUES || n->nout > MAX_VALUES || c->nin > MAX_VALUES) {
        case_fails(c, "has more than %d values", MAX_VALUES);
        return;
    }
    for (const gr_kernel *k = n->op->kernels; k->name; k++) {
        for (int v = 0; v < VARIANTS; v++) run_kernel(c, g, n, k, (variant)v);
        for (uint32_t i = 0; i < n->nin && (n->op->flags & GR_OP_INPLACE) && !c->bad; i++) run_in_place(c, g, n, k, i);
    }
}

static void run_graph(const op_case *c, const gr_graph *g)
{
    gr_err err = {0};
    feed f = make_feed(c, FED);
    gr_tensor **out = calloc(c->nout + 1, sizeof *out);
    gr_exec exec = {.threads = 2};
    if (!out) abort();
    gr_status status = gr_eval_graph(&exec, g, (const gr_tensor *const *)f.in, out, &err);
    if (c->bad)
        check_refusal(c, status, &err, "graph");
    else if (status != GR_OK)
        case_fails(c, "graph: %s", err.text);
    for (size_t i = 0; i < c->nout && !c->bad && status == GR_OK; i++) compare(c, i, out[i], "graph", "fed");
    for (size_t i = 0; i < c->nout; i++) gr_tensor_free(out[i]);
    if (!status) CU_ASSERT_TRUE(exec.live_bytes < (size_t)1 << 40);
    free(out);
    free_feed(&f);
}

/* ---- inference ---- */

enum { MAX_SYMBOLS = 128 };
typedef struct symbols {
    gr_sym_binding of[MAX_SYMBOLS];
    size_t count;
} symbols;

/* Every dimension of every input by a name of its own. */
static void name_dimensions(const op_case *c, gr_graph *g, symbols *s)
{
    for (size_t i = 0; i < g->ninputs; i++) {
        gr_type *t = &g->inputs[i]->type;
        const gr_doc_tensor *value = NULL;
        for (size_t k = 0; k < c->nin; k++)
            if (!strcmp(c->in[k]->name, g->inputs[i]->name)) value = c->in[k];
        gr_dim *dims = value ? GR_NEWS(g->arena, (size_t)value->rank, gr_dim) : NULL;
        if (!dims) continue;
        for (int d = 0; d < value->rank && s->count < MAX_SYMBOLS; d++) {
            const char *name = gr_arena_printf(g->arena, "d%zu_%d", i, d);
            dims[d] = gr_sym_named(g->syms, name);
            s->of[s->count++] = (gr_sym_binding){name, value->dims[d]};
        }
        *t = gr_type_tensor(value->dtype, value->rank, dims);
    }
}

static void check_type(const op_case *c, const gr_value *v, const gr_tensor *want, const symbols *s, const char *how)
{
    int64_t n;
    if (v->type.kind == GR_KIND_NONE) return;
    if (v->type.kind != GR_KIND_TENSOR || (v->type.dtype && v->type.dtype != want->dtype) ||
        (v->type.rank >= 0 && v->type.rank != want->rank)) {
        case_fails(c, "%s: '%s' is inferred as %s of rank %d, but is %s of rank %d", how, v->name,
                   gr_dtype_name(v->type.dtype), v->type.rank, gr_dtype_name(want->dtype), want->rank);
        return;
    }
    for (int d = 0; d < v->type.rank; d++) {
        if (!gr_sym_eval(v->type.dims[d], s->of, s->count, &n) || n == want->dims[d]) continue;
        case_fails(c, "%s: dimension %d of '%s' is inferred as %s = %lld, but is %lld", how, d, v->name,
                   gr_sym_text(v->graph->syms, v->type.dims[d]), (long long)n, (long long)want->dims[d]);
    }
}

static void check_contents(const op_case *c, const gr_value *v, const gr_tensor *want, const symbols *s,
                           const char *how)
{
    char why[256];
    int64_t n;
    if (v->konst && !same_tensor(v->konst, want, why, sizeof why))
        case_fails(c, "%s: '%s' is folded, but %s", how, v->name, why);
    if (!v->ivals) return;
    if (v->ivals->n != want->elements) {
        case_fails(c, "%s: '%s' is known to have %lld elements, but has %lld", how, v->name, (long long)v->ivals->n,
                   (long long)want->elements);
        return;
    }
    for (int64_t i = 0; i < v->ivals->n; i++) {
        if (!gr_sym_eval(v->ivals->v[i], s->of, s->count, &n) || (double)n == element_of(want, i)) continue;
        case_fails(c, "%s: element %lld of '%s' is inferred as %s = %lld, but is %.17g", how, (long long)i, v->name,
                   gr_sym_text(v->graph->syms, v->ivals->v[i]), (long long)n, element_of(want, i));
    }
}

/* Bad cases may be accepted: their shapes are not known here. */
static void infer(op_case *c, keep which, const char *how)
{
    built b;
    gr_err err = {0};
    symbols s = {.count = 0};
    if (build_case(c, which, &b, &err) != GR_OK) {
        if (!c->bad) case_fails(c, "%s: %s", how, err.text);
        return;
    }
    name_dimensions(c, b.graph, &s);
    gr_status status = gr_graph_infer(b.graph, 1 << 20, &err);
    if (status == GR_OK) status = gr_graph_check(b.graph, &err);
    if (status != GR_OK && !c->bad) case_fails(c, "%s: %s", how, err.text);
    for (size_t i = 0; i < b.graph->noutputs && status == GR_OK && !c->bad; i++) {
        check_type(c, b.graph->outputs[i], c->want[i], &s, how);
        check_contents(c, b.graph->outputs[i], c->want[i], &s, how);
    }
    const gr_node *n = b.graph->first;
    bool folds = which == KEEP_ALL && n && !n->next && !n->nsubgraphs && !(n->op->flags & (GR_OP_IMPURE | GR_OP_UNPACKS));
    if (folds && status == GR_OK && !c->bad && n->out[0] && !n->out[0]->konst) case_fails(c, "%s: did not fold", how);
    built_free(&b);
}

/* ---- files ---- */

static void run_case(op_case *c)
{
    built b;
    gr_err err = {0};
    gr_status status = build_case(c, KEEP_NONE, &b, &err);
    infer(c, KEEP_NONE, "symbolic shapes");
    infer(c, KEEP_LISTS, "symbolic shapes and known lists");
    infer(c, KEEP_ALL, "constants");
    if (status != GR_OK) {
        if (c->bad)
            check_refusal(c, status, &err, "build");
        else
            case_fails(c, "%s", err.text);
        return;
    }
    const gr_node *n = b.graph->first;
    if (n && !n->next) run_node(c, b.graph, n);
    for (; n && b.graph->first->next; n = n->next) count(n->op->name, "(in a graph)", true);
    run_graph(c, b.graph);
    built_free(&b);
}

static char names[MAX_FILES][64];
static CU_TestInfo tests[MAX_FILES + 1];

static void test_file(void)
{
    char path[1024];
    snprintf(path, sizeof path, GR_SOURCE_DIR "/tests/ops/%s.onnxtxt", CU_get_current_test()->pName);
    if (!each_case(path, run_case)) FAIL("%s has no cases or some that cannot be read", path);
}

static void test_folder(void)
{
    int n = 0;
    while (tests[n].pName) n++;
    CU_ASSERT_TRUE(n > 1); /* this one is always there */
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

/* One test per file; the table must stand before main registers the suites. */
__attribute__((constructor)) static void list_files(void)
{
    DIR *dir = opendir(GR_SOURCE_DIR "/tests/ops");
    int n = 0;
    for (struct dirent *e; dir && n < MAX_FILES - 1 && (e = readdir(dir));) {
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || strcmp(dot, ".onnxtxt") || dot - e->d_name >= (long)sizeof names[0]) continue;
        snprintf(names[n++], sizeof names[0], "%.*s", (int)(dot - e->d_name), e->d_name);
    }
    if (dir) closedir(dir);
    qsort(names, (size_t)n, sizeof names[0], by_name);
    tests[0] = (CU_TestInfo){"the folder has files", test_folder};
    for (int i = 0; i < n; i++) tests[i + 1] = (CU_TestInfo){names[i], test_file};
}

CU_SuiteInfo suite_ops = {"ops", NULL, show_tally, NULL, NULL, tests};
