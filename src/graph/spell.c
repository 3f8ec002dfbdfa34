/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing function bodies line by line.
 */
#include "spell.h"
#include <math.h>
#include <stdio.h>

int gr_spell_rank(const gr_spell *s, uint32_t i)
{
    const gr_type *t = gr_spell_in(s, i);
    return t && t->kind == GR_KIND_TENSOR ? t->rank : GR_RANK_UNKNOWN;
}

int64_t gr_spell_dim(const gr_spell *s, uint32_t i, int d)
{
    int rank = gr_spell_rank(s, i);
    if (d < 0) d += rank;
    if (d < 0 || d >= rank || s->in[i]->dims[d].expr) return -1;
    return s->in[i]->dims[d].k;
}

gr_dtype gr_spell_dtype(const gr_spell *s, uint32_t i)
{
    const gr_type *t = gr_spell_in(s, i);
    return t ? t->dtype : GR_UNDEFINED;
}

/* ---- text ---- */

static void add_bytes(gr_spell *s, const char *text, size_t size)
{
    if (s->failed) return;
    if (s->room - s->used <= size) {
        size_t room = 2 * s->room + size + 512;
        char *grown = gr_arena_alloc(s->arena, room);
        if (!grown) {
            s->failed = true;
            return;
        }
        if (s->used) memcpy(grown, s->text, s->used);
        s->text = grown;
        s->room = room;
    }
    memcpy(s->text + s->used, text, size);
    s->used += size;
    s->text[s->used] = 0;
}

static void add(gr_spell *s, const char *text) { add_bytes(s, text, strlen(text)); }

static void add_int(gr_spell *s, int64_t x)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%lld", (long long)x);
    add_bytes(s, text, (size_t)n);
}

void gr_spell_begin(gr_spell *s, const char *inputs, const char *outputs)
{
    const gr_op *op = s->node->op;
    add(s, "<domain: \"");
    add(s, op->domain ? op->domain : "");
    add(s, "\", opset_import: [\"\" : ");
    add_int(s, s->opset);
    add(s, "]>\n");
    add(s, op->name);
    add(s, " (");
    add(s, inputs);
    add(s, ") => (");
    add(s, outputs);
    add(s, ")\n{\n");
}

void gr_spell_node(gr_spell *s, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *line = n < 0 ? NULL : gr_arena_alloc(s->arena, (size_t)n + 1);
    if (line) {
        vsnprintf(line, (size_t)n + 1, fmt, again);
        add(s, "    ");
        add_bytes(s, line, (size_t)n);
        add(s, "\n");
    } else {
        s->failed = true;
    }
    va_end(again);
}

void gr_spell_float(gr_spell *s, const char *name, gr_dtype dtype, double x)
{
    /* The grammar knows inf and nan, but not every reader of it does. */
    if (dtype == GR_DOUBLE)
        gr_spell_node(s, "%s = Constant <value = double {%.17g}> ()", name, x);
    else if (dtype == GR_FLOAT || dtype == GR_UNDEFINED)
        gr_spell_node(s, "%s = Constant <value = float {%.9g}> ()", name, x);
    else {
        gr_spell_node(s, "%s_float = Constant <value = float {%.9g}> ()", name, x);
        gr_spell_node(s, "%s = Cast <to = %d> (%s_float)", name, (int)dtype, name);
    }
}

static void add_list(gr_spell *s, int64_t n, const int64_t *v)
{
    for (int64_t i = 0; i < n; i++) {
        if (i) add(s, ", ");
        add_int(s, v[i]);
    }
}

void gr_spell_ints(gr_spell *s, const char *name, int64_t n, const int64_t *v)
{
    add(s, "    ");
    add(s, name);
    add(s, " = Constant <value = int64[");
    add_int(s, n);
    add(s, "] {");
    add_list(s, n, v);
    add(s, "}> ()\n");
}

/* ---- spellings ---- */

void gr_spell_axes(gr_spell *s, const char *y, const char *op, const char *x, int64_t n, const int64_t *axes)
{
    bool early = !strcmp(op, "Squeeze") || !strcmp(op, "Unsqueeze") || !strcmp(op, "ReduceSum");
    char name[64];
    if (s->opset >= (early ? 13 : 18)) {
        snprintf(name, sizeof name, "%s_axes", y);
        gr_spell_ints(s, name, n, axes);
        gr_spell_node(s, "%s = %s (%s, %s)", y, op, x, name);
        return;
    }
    add(s, "    ");
    add(s, y);
    add(s, " = ");
    add(s, op);
    add(s, " <axes = [");
    add_list(s, n, axes);
    add(s, "]> (");
    add(s, x);
    add(s, ")\n");
}

void gr_spell_slice(gr_spell *s, const char *y, const char *x, int64_t axis, const char *begin, const char *end)
{
    gr_spell_node(s, "%s_axis = Constant <value = int64[1] {%lld}> ()", y, (long long)axis);
    gr_spell_node(s, "%s = Slice (%s, %s, %s, %s_axis)", y, x, begin, end, y);
}

void gr_spell_length(gr_spell *s, const char *n, const char *x, int64_t axis)
{
    gr_spell_node(s, "%s_shape = Shape (%s)", n, x);
    gr_spell_node(s, "%s_index = Constant <value = int64[1] {%lld}> ()", n, (long long)axis);
    gr_spell_node(s, "%s = Gather (%s_shape, %s_index)", n, n, n);
}

static void spell_gelu_erf(gr_spell *s, const char *y, const char *x, gr_dtype dtype)
{
    gr_spell_float(s, "half", dtype, 0.5);
    gr_spell_float(s, "one", dtype, 1);
    gr_spell_float(s, "root", dtype, M_SQRT1_2);
    gr_spell_node(s, "scaled = Mul (%s, root)", x);
    gr_spell_node(s, "erf = Erf (scaled)");
    gr_spell_node(s, "factor = Add (erf, one)");
    gr_spell_node(s, "halved = Mul (%s, half)", x);
    gr_spell_node(s, "%s = Mul (halved, factor)", y);
}

static void spell_gelu_tanh(gr_spell *s, const char *y, const char *x, gr_dtype dtype)
{
    gr_spell_float(s, "half", dtype, 0.5);
    gr_spell_float(s, "one", dtype, 1);
    gr_spell_float(s, "cubic", dtype, 0.044715);
    gr_spell_float(s, "root", dtype, 0.79788456080286536);
    gr_spell_node(s, "square = Mul (%s, %s)", x, x);
    gr_spell_node(s, "cube = Mul (square, %s)", x);
    gr_spell_node(s, "term = Mul (cube, cubic)");
    gr_spell_node(s, "sum = Add (%s, term)", x);
    gr_spell_node(s, "scaled = Mul (sum, root)");
    gr_spell_node(s, "tanh = Tanh (scaled)");
    gr_spell_node(s, "factor = Add (tanh, one)");
    gr_spell_node(s, "halved = Mul (%s, half)", x);
    gr_spell_node(s, "%s = Mul (halved, factor)", y);
}

void gr_spell_activation(gr_spell *s, const char *y, const char *activation, const char *x, gr_dtype dtype)
{
    bool gelu = !strcmp(activation, "gelu"), gelu_tanh = !strcmp(activation, "gelu_tanh");
    if ((gelu || gelu_tanh) && s->opset >= 20)
        gr_spell_node(s, "%s = Gelu <approximate = \"%s\"> (%s)", y, gelu ? "none" : "tanh", x);
    else if (gelu)
        spell_gelu_erf(s, y, x, dtype);
    else if (gelu_tanh)
        spell_gelu_tanh(s, y, x, dtype);
    else if (!strcmp(activation, "relu"))
        gr_spell_node(s, "%s = Relu (%s)", y, x);
    else if (!strcmp(activation, "tanh"))
        gr_spell_node(s, "%s = Tanh (%s)", y, x);
    else if (!strcmp(activation, "sigmoid"))
        gr_spell_node(s, "%s = Sigmoid (%s)", y, x);
    else if (!strcmp(activation, "silu")) {
        gr_spell_node(s, "sigmoid = Sigmoid (%s)", x);
        gr_spell_node(s, "%s = Mul (%s, sigmoid)", y, x);
    } else if (!strcmp(activation, "quick_gelu")) {
        gr_spell_float(s, "alpha", dtype, 1.702);
        gr_spell_node(s, "scaled = Mul (%s, alpha)", x);
        gr_spell_node(s, "sigmoid = Sigmoid (scaled)");
        gr_spell_node(s, "%s = Mul (%s, sigmoid)", y, x);
    } else
        gr_spell_node(s, "%s = Identity (%s)", y, x);
}

gr_status gr_spell_norm_attrs(gr_spell *s, gr_spell_norm *n)
{
    int rank = gr_spell_rank(s, 0);
    GR_TRY(gr_attr_int(s->node->attrs, "axis", -1, &n->axis, s->err));
    GR_TRY(gr_attr_float(s->node->attrs, "epsilon", 1e-5f, &n->epsilon, s->err));
    if (n->axis >= 0 && rank < 0) return gr_fail(s->err, GR_EUNSUPPORTED, "the rank of its input is not known");
    if (n->axis >= 0) n->axis -= rank;
    return GR_OK;
}

/* normal = (x - mean(x)) / sqrt(variance(x) + epsilon), in float where x is shorter, in the type of the result. */
static void spell_normal(gr_spell *s, const gr_spell_norm *norm)
{
    int64_t axes[GR_MAX_RANK], n = 0;
    const char *x = norm->x;
    bool brief = norm->from == GR_FLOAT16 || norm->from == GR_BFLOAT16;
    gr_dtype type = brief ? GR_FLOAT : norm->from;
    for (int64_t axis = norm->axis; axis < 0 && n < GR_MAX_RANK; axis++) axes[n++] = axis;
    if (brief) {
        gr_spell_node(s, "wide = Cast <to = %d> (%s)", (int)type, x);
        x = "wide";
    }
    if (!norm->rms) {
        gr_spell_axes(s, "mean", "ReduceMean", x, n, axes);
        gr_spell_node(s, "deviation = Sub (%s, mean)", x);
        x = "deviation";
    }
    gr_spell_node(s, "square = Mul (%s, %s)", x, x);
    gr_spell_axes(s, "variance", "ReduceMean", "square", n, axes);
    gr_spell_float(s, "epsilon", type, (double)norm->epsilon);
    gr_spell_node(s, "shifted = Add (variance, epsilon)");
    gr_spell_node(s, "width = Sqrt (shifted)");
    gr_spell_node(s, "%s = Div (%s, width)", type == norm->to ? "normal" : "quotient", x);
    if (type != norm->to) gr_spell_node(s, "normal = Cast <to = %d> (quotient)", (int)norm->to);
}

void gr_spell_layer_norm(gr_spell *s, const char *y, const gr_spell_norm *n)
{
    const char *bias = n->bias ? n->bias : "";
    if (s->opset >= 17 && !n->rms && n->from == n->to) {
        gr_spell_node(s, "%s = LayerNormalization <axis = %lld, epsilon = %.9g> (%s, %s%s%s)", y, (long long)n->axis,
                      (double)n->epsilon, n->x, n->scale, n->bias ? ", " : "", bias);
        return;
    }
    spell_normal(s, n);
    gr_spell_node(s, "%s = Mul (normal, %s)", n->bias ? "weighted" : y, n->scale);
    if (n->bias) gr_spell_node(s, "%s = Add (weighted, %s)", y, bias);
}

/* ---- reading ---- */

gr_status gr_spell_text(const gr_node *n, gr_spell_fn fn, int64_t opset, gr_arena *arena, const char **out, gr_err *err)
{
    const gr_type **in = GR_NEWS(arena, n->nin, const gr_type *), **results = GR_NEWS(arena, n->nout, const gr_type *);
    if (!in || !results) return gr_nomem(err);
    for (uint32_t i = 0; i < n->nin; i++) in[i] = gr_in(n, i) ? &gr_in(n, i)->type : NULL;
    for (uint32_t i = 0; i < n->nout; i++) results[i] = n->out[i] ? &n->out[i]->type : NULL;
    gr_spell s = {.arena = arena,
                  .node = n,
                  .in = in,
                  .out = results,
                  .nin = n->nin,
                  .nout = n->nout,
                  .opset = opset,
                  .err = err};
    GR_TRY(fn(&s));
    add(&s, "}\n");
    if (s.failed) return gr_nomem(err);
    *out = s.text;
    return GR_OK;
}
