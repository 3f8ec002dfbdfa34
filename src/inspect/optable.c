/* SPDX-License-Identifier: Apache-2.0
 *
 * Types are not written down in the tables: inference is asked with one type after the other for the first input, while
 * nothing is known of the others; of those that may be left out all are given, or none.
 */
#include "inspect/optable.h"
#include "exec/body.h"
#include <stdlib.h>

enum { INPUTS = 16, OUTPUTS = 16 };

static const char *domain_of(const gr_op *op) { return op->domain ? op->domain : ""; }

static int by_name(const void *a, const void *b)
{
    const gr_op *const *x = a, *const *y = b;
    int order = strcmp(domain_of(*x), domain_of(*y));
    if (!order) order = strcmp((*x)->name, (*y)->name);
    return order ? order : (*x)->since - (*y)->since;
}

/* ---- types ---- */

/* Attributes that some operators must have; the others take no notice. */
static gr_attrs some_attributes(void)
{
    static const int64_t ones[] = {1, 1};
    static const gr_attr items[] = {
        {.name = "to", .type = GR_ATTR_INT, .i = GR_FLOAT},
        {.name = "kernel_shape", .type = GR_ATTR_INTS, .count = 2, .ints = ones},
        {.name = "num_heads", .type = GR_ATTR_INT, .i = 1},
        {.name = "q_num_heads", .type = GR_ATTR_INT, .i = 1},
        {.name = "num_groups", .type = GR_ATTR_INT, .i = 1},
        {.name = "direction", .type = GR_ATTR_STRING, .s = {"LEFT", 4}},
        {.name = "kv_num_heads", .type = GR_ATTR_INT, .i = 1},
        {.name = "blocksize", .type = GR_ATTR_INT, .i = 1},
        {.name = "block_size", .type = GR_ATTR_INT, .i = 32},
        {.name = "bits", .type = GR_ATTR_INT, .i = 4},
        {.name = "K", .type = GR_ATTR_INT, .i = 32},
        {.name = "N", .type = GR_ATTR_INT, .i = 32},
        {.name = "Y_scale", .type = GR_ATTR_FLOAT, .f = 1},
        {.name = "size", .type = GR_ATTR_INT, .i = 1},
        {.name = "epsilon", .type = GR_ATTR_FLOAT, .f = 1},
        {.name = "axis", .type = GR_ATTR_INT, .i = 0},
        {.name = "equation", .type = GR_ATTR_STRING, .s = {"...->...", 8}},
    };
    return (gr_attrs){sizeof items / sizeof *items, (gr_attr *)(uintptr_t)items};
}

static bool accepts(const gr_op *op, gr_arena *arena, gr_syms *syms, const void *params, const gr_type *first, int nin)
{
    static const gr_type unknown = {.kind = GR_KIND_TENSOR, .rank = GR_RANK_UNKNOWN};
    const gr_type *in[INPUTS] = {first};
    const gr_tensor *konst[INPUTS] = {NULL};
    const gr_ivals *ivals[INPUTS] = {NULL};
    gr_type out[OUTPUTS] = {{.kind = GR_KIND_NONE}};
    gr_err why = {GR_OK, ""};
    int nout = op->out < 1 || op->out > OUTPUTS ? 1 : op->out;
    if (nin < 1) nin = 1;
    if (nin > INPUTS) return false;
    for (int i = 1; i < nin; i++) in[i] = &unknown;
    gr_infer c = {.arena = arena,
                  .syms = syms,
                  .op = op,
                  .params = params,
                  .nin = (uint32_t)nin,
                  .nout = (uint32_t)nout,
                  .in = in,
                  .konst = konst,
                  .ivals = ivals,
                  .out = out};
    return op->infer(&c, &why) == GR_OK;
}

static gr_status types_of(gr_op_entry *e, gr_err *err)
{
    const gr_op *op = e->newest;
    const void *params = NULL;
    gr_err why = {GR_OK, ""};
    if (op->in.max == 0 || op->graphs || e->composed) return GR_OK;
    gr_arena *arena = gr_arena_new();
    gr_syms *syms = arena ? gr_syms_new(arena) : NULL;
    if (!syms) {
        gr_arena_free(arena);
        return gr_nomem(err);
    }
    const bool ready = !op->parse || op->parse(some_attributes(), arena, &params, &why) == GR_OK;
    for (int t = GR_FLOAT; ready && t <= GR_INT2; t++) {
        const gr_type tensor = {.kind = GR_KIND_TENSOR, .dtype = (gr_dtype)t, .rank = GR_RANK_UNKNOWN};
        const gr_type sequence = {.kind = GR_KIND_SEQUENCE, .rank = GR_RANK_UNKNOWN, .elem = &tensor};
        for (int k = 0; k < 2; k++) {
            const int nin = k ? op->in.max : op->in.min;
            if (accepts(op, arena, syms, params, &tensor, nin) || accepts(op, arena, syms, params, &sequence, nin))
                e->types |= UINT64_C(1) << t;
        }
    }
    gr_arena_free(arena);
    return GR_OK;
}

/* ---- entries ---- */

gr_status gr_op_entries(gr_arena *arena, size_t *count, gr_op_entry **out, gr_err *err)
{
    size_t n = 0, rows = 0;
    for (size_t f = 0; gr_op_families[f]; f++)
        for (const gr_op *op = gr_op_families[f]; op->name; op++) rows++;
    const gr_op **sorted = GR_NEWS(arena, rows, const gr_op *);
    gr_op_entry *entries = GR_NEWS(arena, rows, gr_op_entry);
    if (!sorted || !entries) return gr_nomem(err);
    rows = 0;
    for (size_t f = 0; gr_op_families[f]; f++)
        for (const gr_op *op = gr_op_families[f]; op->name; op++) sorted[rows++] = op;
    qsort(sorted, rows, sizeof *sorted, by_name);
    for (size_t i = 0; i < rows; i++) {
        const gr_op *op = sorted[i];
        gr_op_entry *e = n ? &entries[n - 1] : NULL;
        if (!e || strcmp(e->name, op->name) || strcmp(e->domain, domain_of(op))) {
            e = &entries[n++];
            e->domain = domain_of(op);
            e->name = op->name;
        }
        e->newest = op;
        if (e->nversions < GR_OP_VERSIONS) e->versions[e->nversions++] = op->since;
    }
    for (size_t i = 0; i < n; i++) {
        gr_op_entry *e = &entries[i];
        e->composed = e->newest->body != NULL;
        for (const gr_kernel *k = e->newest->kernels; !e->composed && k->name && e->nkernels < GR_OP_KERNELS; k++)
            e->kernels[e->nkernels++] = k->name;
        GR_TRY(types_of(e, err));
    }
    *count = n;
    *out = entries;
    return GR_OK;
}
