/* SPDX-License-Identifier: Apache-2.0
 *
 * com.microsoft's MatMulNBits (x, codes, scales, zeros, -, bias), whose weights lie as [n, k] codes of 2, 4 or 8
 * bits, becomes WeightOnlyLinear of the same memory: it takes activation and residual with it, leaves rows of padding
 * out, and is multiplied in bytes in sessions of bytes. Not if the graph is strict; where activations have scales of
 * blocks in the file, only in sessions of bytes.
 */
#include "passes.h"
#include "match.h"

enum { X, CODES, SCALES, ZEROS, GROUPS, BIAS };

typedef struct form {
    int64_t k, n, block, bits;
} form;

static bool form_of(const gr_node *n, form *f)
{
    return gr_attr_int(n->attrs, "K", 0, &f->k, NULL) == GR_OK && gr_attr_int(n->attrs, "N", 0, &f->n, NULL) == GR_OK &&
           gr_attr_int(n->attrs, "block_size", 0, &f->block, NULL) == GR_OK &&
           gr_attr_int(n->attrs, "bits", 4, &f->bits, NULL) == GR_OK;
}

static bool check(const gr_match *m, gr_why *why)
{
    const gr_node *n = m->root;
    const gr_value *zeros = gr_in(n, ZEROS), *bias = gr_in(n, BIAS);
    form f;
    int64_t level = 0;
    if (!form_of(n, &f) || gr_attr_int(n->attrs, "accuracy_level", 0, &level, NULL) != GR_OK)
        return gr_nomatch(why, "its attributes are not known");
    if (level == 4 && !n->graph->by_row) return gr_nomatch(why, "its activations have scales of blocks");
    if (gr_in(n, X)->type.dtype != GR_FLOAT || gr_in(n, SCALES)->konst->dtype != GR_FLOAT)
        return gr_nomatch(why, "its scales are not floats");
    if (gr_in(n, GROUPS)) return gr_nomatch(why, "its blocks are in another order");
    if (f.k % f.block) return gr_nomatch(why, "its last block is not whole");
    if (zeros && (!zeros->konst || zeros->konst->dtype != GR_UINT8 || f.k / f.block * f.bits % 8))
        return gr_nomatch(why, "its zero points do not lie as those of a matrix");
    if (bias && (!bias->konst || bias->konst->dtype != GR_FLOAT || bias->type.rank != 1))
        return gr_nomatch(why, "its bias is not a constant row");
    return true;
}

/* Zero points in the middle, where the operator has none. */
static const void *middle(gr_graph *g, const form *f)
{
    const size_t bytes = (size_t)(f->n * (f->k / f->block) * f->bits + 7) / 8;
    uint8_t *to = gr_arena_alloc(g->arena, bytes);
    if (to) memset(to, f->bits == 8 ? 0x80 : f->bits == 4 ? 0x88 : 0xAA, bytes);
    return to;
}

static gr_value *rewrite(gr_build *b, const gr_match *m)
{
    const gr_node *n = m->root;
    form f;
    if (!form_of(n, &f)) return NULL;
    const gr_dtype type = f.bits == 8 ? GR_UINT8 : f.bits == 4 ? GR_UINT4 : GR_UINT2;
    const int64_t codes[] = {f.n, f.k}, blocks[] = {f.n, f.k / f.block};
    const gr_value *w = gr_in(n, CODES), *s = gr_in(n, SCALES), *z = gr_in(n, ZEROS);
    const void *zeros = z ? z->konst->data : middle(b->g, &f);
    gr_value *in[] = {gr_in(n, X), gr_graph_const(b->g, w->name, type, 2, codes, w->konst->data),
                      gr_graph_const(b->g, s->name, GR_FLOAT, 2, blocks, s->konst->data),
                      zeros ? gr_graph_const(b->g, z ? z->name : "zeros", type, 2, blocks, zeros) : NULL,
                      gr_in(n, BIAS)};
    if (!in[1] || !in[2] || !in[3]) return gr_err_write(b->err, GR_ENOMEM, "out of memory"), NULL;
    gr_attr attrs[] = {gr_attr_of_int("transB", 1), gr_attr_of_string("activation", ""), gr_attr_of_int("axis", 1),
                       gr_attr_of_int("block_size", f.block)};
    return gr_build_node(b, "graphrun", "WeightOnlyLinear", gr_build_attrs(b, 4, attrs), 5, in);
}

static const char *const patterns[] = {"(MatMulNBits _ $w $s ...)", NULL};
static const gr_rule rule = {"quant-nbits", patterns, check, rewrite, NULL, NULL, false};

gr_status gr_pass_quant_nbits(gr_graph *g, int *hits, gr_err *err)
{
    return !g->strict ? gr_apply_rule(g, &rule, hits, err) : GR_OK;
}
