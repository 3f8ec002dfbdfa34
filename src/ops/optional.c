/* SPDX-License-Identifier: Apache-2.0
 *
 * Optional, OptionalHasElement and OptionalGetElement. An optional that has an element is that tensor or sequence; only
 * one that may be empty has a type of its own, and only an empty one is a value of that kind.
 */
#include "exec/eval.h"
#include "move.h"

static gr_status infer_has(const gr_infer *c, gr_err *err)
{
    (void)err;
    return gr_set(c, 0, GR_BOOL, 0, NULL);
}

static gr_status run_has(const gr_step *s, gr_err *err)
{
    (void)err;
    *(uint8_t *)s->out[0]->data = s->nin > 0 && s->in[0] && s->in[0]->kind != GR_KIND_OPTIONAL;
    return GR_OK;
}

/* ---- Optional: hands on what it gets, or is empty and has the type that an attribute says ---- */

typedef struct optional_params {
    gr_dtype dtype;
} optional_params;

static gr_status parse_optional(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    optional_params *p = GR_NEW(arena, optional_params);
    const gr_attr *a = gr_attr_find(attrs, "type");
    if (!p) return gr_nomem(err);
    *params = p;
    if (a && a->type != GR_ATTR_TYPE) return gr_fail(err, GR_EMODEL, "attribute 'type' must be a type");
    const gr_doc_type *t = a ? a->tp : NULL;
    while (t && t->kind != GR_KIND_TENSOR) t = t->elem;
    p->dtype = t ? t->dtype : GR_UNDEFINED;
    return GR_OK;
}

static gr_status infer_optional(const gr_infer *c, gr_err *err)
{
    const optional_params *p = c->params;
    if (gr_has(c, 0) && c->in[0]->kind != GR_KIND_NONE) {
        if (c->in[0]->kind == GR_KIND_TENSOR) GR_TRY(gr_require_movable(c, 0, err));
        return gr_set_like(c, 0, 0);
    }
    gr_type *elem = GR_NEW(c->arena, gr_type);
    if (!elem) return gr_nomem(err);
    elem->rank = GR_RANK_UNKNOWN;
    c->out[0] = (gr_type){.kind = GR_KIND_OPTIONAL, .dtype = p->dtype, .rank = GR_RANK_UNKNOWN, .elem = elem};
    return GR_OK;
}

/* ---- OptionalGetElement ---- */

static gr_status infer_get(const gr_infer *c, gr_err *err)
{
    if (!gr_has(c, 0)) return gr_fail(err, GR_EMODEL, "input 0 is missing");
    const gr_type *t = c->in[0]->kind == GR_KIND_OPTIONAL ? c->in[0]->elem : c->in[0];
    if (t && t->kind == GR_KIND_TENSOR && c->in[0] == t) GR_TRY(gr_require_movable(c, 0, err));
    if (!t || t->kind == GR_KIND_NONE) return gr_set(c, 0, GR_UNDEFINED, GR_RANK_UNKNOWN, NULL);
    c->out[0] = *t;
    return GR_OK;
}

static gr_status run_same(const gr_step *s, gr_err *err)
{
    static const gr_tensor none = {.kind = GR_KIND_OPTIONAL};
    return gr_out_same(s, 0, s->nin > 0 && s->in[0] ? s->in[0] : &none, err);
}

static gr_status run_get(const gr_step *s, gr_err *err)
{
    if (s->in[0]->kind == GR_KIND_OPTIONAL) return gr_fail(err, GR_EINPUT, "the optional value is empty");
    return gr_out_same(s, 0, s->in[0], err);
}

static const gr_kernel has_kernels[] = {{"ref", NULL, run_has, NULL}, {0}};
static const gr_kernel same_kernels[] = {{"ref", NULL, run_same, NULL}, {0}};
static const gr_kernel get_kernels[] = {{"ref", NULL, run_get, NULL}, {0}};

#define HAS(since, min) GR_OP_ROW("OptionalHasElement", since, min, 1, 1, 0, NULL, infer_has, has_kernels)
#define GET(since)      GR_OP_ROW("OptionalGetElement", since, 1, 1, 1, GR_OP_DYNAMIC, NULL, infer_get, get_kernels)
#define OPTIONAL(since)                                                                                                \
    GR_OP_ROW("Optional", since, 0, 1, 1, GR_OP_DYNAMIC, parse_optional, infer_optional, same_kernels)

const gr_op op_optional[] = {HAS(15, 1), HAS(18, 0), HAS(28, 0), GET(15), GET(18), GET(28), OPTIONAL(15), OPTIONAL(28), {0}};
