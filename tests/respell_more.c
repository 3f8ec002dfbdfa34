/* SPDX-License-Identifier: Apache-2.0
 *
 * More equivalent spellings: formulas that exporters write differently, shapes and axes given in other ways, masks
 * turned round, pieces cut and put together again, and stretches of nodes as functions.
 */
#include "speller.h"
#include "support.h"
#include <limits.h>
#include <math.h>

enum { AXES = 8 };

static size_t maker_of(speller *s, const char *name)
{
    for (size_t i = 0; i < s->g->nodes.count; i++)
        for (size_t k = 0; k < spell_node_at(s, i)->out.count; k++)
            if (!strcmp(spell_node_at(s, i)->out.items[k], name)) return i;
    return SIZE_MAX;
}

/* The node that makes a value, if it is of that operator. */
static gr_doc_node *made_by(speller *s, const char *name, const char *op)
{
    const size_t at = maker_of(s, name);
    return at != SIZE_MAX && spell_is_op(spell_node_at(s, at), op) ? spell_node_at(s, at) : NULL;
}

static const char *scalar(speller *s, float x) { return spell_add_const(s, GR_FLOAT, 0, 1, &x, sizeof x); }
static const char *whole(speller *s, int64_t x) { return spell_add_const(s, GR_INT64, 1, 1, &x, sizeof x); }

/* The result of node `at` is op(a, b) now; b NULL: op(a). */
static bool becomes(speller *s, size_t at, const char *op, const char *a, const char *b)
{
    gr_doc_node *n = spell_node_at(s, at);
    const char **in = spell_room_for(s, 2 * sizeof *in);
    if (!in) return false;
    in[0] = a;
    in[1] = b;
    n->op_type = op;
    n->in = (gr_doc_names){b ? 2 : 1, in};
    n->attrs = (gr_attrs){0};
    return true;
}

/* ---- formulas ---- */

static bool negated_summand(speller *s, size_t at)
{
    gr_doc_node *n = spell_node_at(s, at);
    float c;
    if (!spell_is_op(n, "Sub") || s->opset < 7) return false;
    if (spell_scalar_of(s, n->in.items[1], &c)) return becomes(s, at, "Add", n->in.items[0], scalar(s, -c));
    if (!spell_scalar_of(s, n->in.items[0], &c)) return false;
    const char *x = n->in.items[1];
    return becomes(s, at + 1, "Add", spell_add_node(s, at, "Neg", 1, &x, NULL), scalar(s, c));
}

/* x / Sqrt(v) by way of powers and reciprocals. */
static bool inverse_root(speller *s, size_t at)
{
    gr_doc_node *n = spell_node_at(s, at);
    const gr_doc_node *root = spell_is_op(n, "Div") && s->opset >= 7 ? made_by(s, n->in.items[1], "Sqrt") : NULL;
    if (!root) return false;
    const char *x = n->in.items[0], *r = n->in.items[1], *power[] = {root->in.items[0], NULL};
    switch (spell_below(s, 4)) {
    case 0: return becomes(s, at + 1, "Mul", x, spell_add_node(s, at, "Reciprocal", 1, &r, NULL));
    case 1:
        power[1] = scalar(s, -0.5f);
        return becomes(s, at + 1, "Mul", x, spell_add_node(s, at, "Pow", 2, power, NULL));
    case 2:
        power[1] = scalar(s, 0.5f);
        return becomes(s, at + 1, "Div", x, spell_add_node(s, at, "Pow", 2, power, NULL));
    default: power[0] = scalar(s, 1), power[1] = r;
    }
    return becomes(s, at + 1, "Mul", x, spell_add_node(s, at, "Div", 2, power, NULL));
}

static bool power_of_two(speller *s, size_t at)
{
    gr_doc_node *n = spell_node_at(s, at);
    const gr_type *t = spell_is_op(n, "Mul") && s->opset >= 7 ? spell_type_of(s, n->in.items[0]) : NULL;
    if (!t || t->dtype != GR_FLOAT || strcmp(n->in.items[0], n->in.items[1])) return false;
    return becomes(s, at, "Pow", n->in.items[0], scalar(s, 2));
}

static bool by_division(speller *s, size_t at)
{
    gr_doc_node *n = spell_node_at(s, at);
    float c;
    if (!spell_is_op(n, "Mul") || !spell_scalar_of(s, n->in.items[1], &c) || c == 0 || !isnormal(1 / c)) return false;
    if (spell_init_of(s, n->in.items[1])->rank) return false;
    return becomes(s, at, "Div", n->in.items[0], scalar(s, 1 / c));
}

/* A factor on scores as its root on queries and on keys. */
static bool shared_scale(speller *s, size_t at)
{
    gr_doc_node *n = spell_node_at(s, at);
    const bool div = spell_is_op(n, "Div");
    float c;
    if ((!div && !spell_is_op(n, "Mul")) || !spell_scalar_of(s, n->in.items[1], &c) || !(c > 0)) return false;
    const gr_doc_node *product = made_by(s, n->in.items[0], "MatMul");
    if (!product || spell_init_of(s, n->in.items[1])->rank || spell_init_of(s, product->in.items[1])) return false;
    const char *root = scalar(s, sqrtf(div ? 1 / c : c)), *q[] = {product->in.items[0], root},
               *k[] = {product->in.items[1], root};
    q[0] = spell_add_node(s, at, "Mul", 2, q, NULL);
    k[0] = spell_add_node(s, at + 1, "Mul", 2, k, NULL);
    return becomes(s, at + 2, "MatMul", q[0], k[0]);
}

/* x W + b as Gemm, between two Reshapes where x has more than two axes. */
static bool as_gemm(speller *s, size_t at)
{
    gr_doc_node *n = spell_node_at(s, at);
    if (!spell_is_op(n, "Add") || s->opset < 10) return false;
    const size_t bias_at = spell_init_of(s, n->in.items[0]) ? 0 : 1;
    const gr_doc_tensor *bias = spell_init_of(s, n->in.items[bias_at]);
    const gr_doc_node *product = made_by(s, n->in.items[1 - bias_at], "MatMul");
    const gr_doc_tensor *w = product ? spell_init_of(s, product->in.items[1]) : NULL;
    const gr_type *t = w ? spell_type_of(s, product->in.items[0]) : NULL;
    if (!bias || bias->rank != 1 || !w || w->rank != 2 || w->dims[1] != bias->dims[0] || !t || t->rank < 2)
        return false;
    if (t->dtype != GR_FLOAT || w->dtype != GR_FLOAT) return false;
    /* Behind another layer the rows between the two would stay flat. */
    if (made_by(s, product->in.items[0], "Add") || made_by(s, product->in.items[0], "Reshape")) return false;
    const char *x = product->in.items[0], *in[] = {x, product->in.items[1], n->in.items[bias_at]};
    if (t->rank == 2) {
        const char *y = spell_add_node(s, at, "Gemm", 3, in, NULL);
        return becomes(s, at + 1, "Identity", y, NULL);
    }
    const int64_t flat[] = {-1, w->dims[0]}, width = w->dims[1];
    const char *to[] = {x, spell_add_const(s, GR_INT64, 1, 2, flat, sizeof flat)};
    const char *shape[] = {spell_add_node(s, at, "Shape", 1, &x, NULL), whole(s, 0), whole(s, -1)};
    in[0] = spell_add_node(s, at + 1, "Reshape", 2, to, NULL);
    const char *y = spell_add_node(s, at + 2, "Gemm", 3, in, NULL);
    const char *parts[] = {spell_add_node(s, at + 3, "Slice", 3, shape, NULL), whole(s, width)};
    const gr_attr axis = {.name = "axis", .type = GR_ATTR_INT, .i = 0};
    const char *back = spell_add_node(s, at + 4, "Concat", 2, parts, &axis);
    return becomes(s, at + 5, "Reshape", y, back);
}

static bool other_branch(speller *s, size_t at)
{
    gr_doc_node *n = spell_node_at(s, at);
    if (!spell_is_op(n, "Where")) return false;
    const char *condition = n->in.items[0], *kept = n->in.items[1], **in = n->in.items;
    in[1] = in[2];
    in[2] = kept;
    in[0] = spell_add_node(s, at, "Not", 1, &condition, NULL);
    return true;
}

/* ---- axes and shapes ---- */

static bool set_attr(speller *s, gr_doc_node *n, gr_attr a)
{
    gr_attr *items = spell_room_for(s, (n->attrs.count + 1) * sizeof *items);
    if (!items) return false;
    for (size_t i = 0; i < n->attrs.count; i++)
        items[i] = strcmp(n->attrs.items[i].name, a.name) ? n->attrs.items[i] : a;
    n->attrs.items = items;
    return true;
}

/* Axes counted from the other end. */
static bool axis_from_behind(speller *s, size_t at)
{
    static const char *const names[] = {"Softmax", "Concat", "Gather", "ReduceMean", "Split", "Squeeze", "Unsqueeze"};
    gr_doc_node *n = spell_node_at(s, at);
    bool known = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) known |= spell_is_op(n, names[i]);
    const gr_type *t = known && s->opset >= 11 ? spell_type_of(s, n->in.items[0]) : NULL;
    const gr_type *y = t && spell_is_op(n, "Unsqueeze") ? spell_type_of(s, n->out.items[0]) : t;
    if (!y || y->rank < 1) return false;
    for (size_t i = 0; i < n->attrs.count; i++) {
        gr_attr a = n->attrs.items[i];
        int64_t axes[AXES];
        if (!strcmp(a.name, "axis")) {
            a.i += a.i < 0 ? y->rank : -y->rank;
        } else if (!strcmp(a.name, "axes") && a.count <= AXES) {
            for (size_t k = 0; k < a.count; k++) axes[k] = a.ints[k] + (a.ints[k] < 0 ? y->rank : -y->rank);
            a = spell_ints_attr(s, "axes", a.count, axes);
        } else {
            continue;
        }
        return set_attr(s, n, a);
    }
    const gr_doc_tensor *c = n->in.count == 2 ? spell_init_of(s, n->in.items[1]) : NULL;
    int64_t axes[AXES];
    if (spell_is_op(n, "Gather") || spell_is_op(n, "Split") || spell_is_op(n, "Concat")) return false;
    if (!c || c->dtype != GR_INT64 || c->rank > 1 || c->elements > AXES || !c->data) return false;
    memcpy(axes, c->data, c->size);
    for (int64_t k = 0; k < c->elements; k++) axes[k] += axes[k] < 0 ? y->rank : -y->rank;
    n->in.items[1] = spell_add_const(s, GR_INT64, c->rank, c->elements, axes, c->size);
    return true;
}

/* The target of a Reshape: a 0 computed, a number as 0, or one left open. */
static bool other_target(speller *s, size_t at)
{
    gr_doc_node *n = spell_node_at(s, at);
    const gr_doc_tensor *c = spell_is_op(n, "Reshape") ? spell_init_of(s, n->in.items[1]) : NULL;
    const gr_type *t = c ? spell_type_of(s, n->in.items[0]) : NULL;
    int64_t to[AXES];
    bool open = false;
    if (!t || !c->data || c->elements < 1 || c->elements > AXES || n->attrs.count) return false;
    memcpy(to, c->data, c->size);
    for (int64_t i = 0; i < c->elements; i++) open |= to[i] == -1;
    const int i = (int)spell_below(s, (size_t)c->elements);
    const bool copies = i < t->rank && gr_dim_known(t->dims[i]) && t->dims[i].k == to[i];
    if (to[i] > 0 && (copies || !open)) {
        to[i] = copies && (open || spell_below(s, 2)) ? 0 : -1;
        n->in.items[1] = spell_add_const(s, GR_INT64, 1, c->elements, to, c->size);
        return true;
    }
    if (to[i] || c->elements != (i + 1)) return false;
    /* the last is copied: compute it */
    const char *x = n->in.items[0], *in[] = {spell_add_node(s, at, "Shape", 1, &x, NULL), whole(s, i)};
    const char *last = spell_add_node(s, at + 1, "Gather", 2, in, NULL);
    const gr_attr axis = {.name = "axis", .type = GR_ATTR_INT, .i = 0};
    const char *parts[] = {spell_add_const(s, GR_INT64, 1, i, to, (size_t)i * sizeof *to), last};
    const char *target = spell_add_node(s, at + 2, "Concat", 2, parts, &axis);
    return becomes(s, at + 3, "Reshape", x, target);
}

/* ---- by way of something else ---- */

/* A mask by way of numbers. */
static const char *numbers(speller *s, size_t at, const char *x, const gr_type *t)
{
    const gr_attr to = {.name = "to", .type = GR_ATTR_INT, .i = spell_below(s, 2) ? GR_INT32 : GR_FLOAT},
                  back = {.name = "to", .type = GR_ATTR_INT, .i = GR_BOOL};
    if (t->dtype != GR_BOOL) return NULL;
    const char *y = spell_add_node(s, at, "Cast", 1, &x, &to);
    return spell_add_node(s, at + 1, "Cast", 1, &y, &back);
}

static const char *one_piece(speller *s, size_t at, const char *x, const gr_type *t)
{
    if (t->rank < 1 || s->opset < 10 || spell_init_of(s, x)) return NULL;
    const int64_t i = spell_below(s, (size_t)t->rank);
    const gr_attr axis = {.name = "axis", .type = GR_ATTR_INT, .i = i};
    if (spell_below(s, 2)) return spell_add_node(s, at, "Concat", 1, &x, &axis);
    const char *in[] = {x, whole(s, 0), whole(s, INT64_MAX), whole(s, i)};
    return spell_add_node(s, at, "Slice", 4, in, NULL);
}

/* Split in two and concatenated again; a weight would be a copy then, which counts as another. */
static const char *two_pieces(speller *s, size_t at, const char *x, const gr_type *t)
{
    if (t->rank < 1 || spell_init_of(s, x)) return NULL;
    const int i = (int)spell_below(s, (size_t)t->rank);
    if (!gr_dim_known(t->dims[i]) || t->dims[i].k < 2) return NULL;
    const int64_t first = 1 + spell_below(s, (size_t)t->dims[i].k - 1), sizes[] = {first, t->dims[i].k - first};
    const gr_attr axis = {.name = "axis", .type = GR_ATTR_INT, .i = i};
    const char *in[] = {x, s->opset < 13 ? NULL : spell_add_const(s, GR_INT64, 1, 2, sizes, sizeof sizes)};
    const char **out = spell_room_for(s, 2 * sizeof *out);
    gr_attr *attrs = spell_room_for(s, 2 * sizeof *attrs);
    const char *name = spell_add_node(s, at, "Split", in[1] ? 2 : 1, in, &axis);
    if (!out || !attrs) return NULL;
    gr_doc_node *split = spell_node_at(s, at);
    out[0] = name;
    out[1] = spell_new_name(s);
    split->out = (gr_doc_names){2, out};
    attrs[0] = axis;
    if (!in[1]) {
        attrs[1] = spell_ints_attr(s, "split", 2, sizes);
        split->attrs = (gr_attrs){2, attrs};
    }
    return spell_add_node(s, at + 1, "Concat", 2, out, &axis);
}

static bool by_numbers(speller *s, size_t at) { return spell_insert(s, at, numbers); }
static bool by_one_piece(speller *s, size_t at) { return spell_insert(s, at, one_piece); }
static bool by_two_pieces(speller *s, size_t at) { return spell_insert(s, at, two_pieces); }

const spelling more_spellings[] = {{"sub", negated_summand}, {"root", inverse_root},       {"power", power_of_two},
                                   {"divide", by_division},  {"scale", shared_scale},      {"as-gemm", as_gemm},
                                   {"where", other_branch},  {"behind", axis_from_behind}, {"target", other_target},
                                   {"bool", by_numbers},     {"piece", by_one_piece},      {"pieces", by_two_pieces}};
const size_t more_spellings_count = sizeof more_spellings / sizeof *more_spellings;
_Static_assert(sizeof more_spellings / sizeof *more_spellings <= MORE_SPELLINGS, "there is no room to count them");

/* ---- functions ---- */

static bool has_name(const gr_doc_names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (!strcmp(names->items[i], name)) return true;
    return false;
}

static bool is_result(speller *s, const char *name)
{
    for (size_t i = 0; i < s->g->out.count; i++)
        if (!strcmp(s->g->out.items[i].name, name)) return true;
    return false;
}

/* Names that nodes [from, from + n) read of others, and those that they make for others. */
static bool borders(speller *s, size_t from, size_t n, gr_doc_names *in, gr_doc_names *out)
{
    gr_doc_names made = {0};
    size_t room = 0;
    for (size_t i = from; i < from + n; i++) room += spell_node_at(s, i)->in.count + spell_node_at(s, i)->out.count;
    in->items = spell_room_for(s, (room + 1) * sizeof *in->items);
    out->items = spell_room_for(s, (room + 1) * sizeof *out->items);
    made.items = spell_room_for(s, (room + 1) * sizeof *made.items);
    if (s->broke) return false;
    for (size_t i = from; i < from + n; i++) {
        const gr_doc_node *node = spell_node_at(s, i);
        for (size_t k = 0; k < node->in.count; k++) {
            const char *name = node->in.items[k];
            if (*name && !has_name(&made, name) && !has_name(in, name)) in->items[in->count++] = name;
        }
        for (size_t k = 0; k < node->out.count; k++)
            if (*node->out.items[k]) made.items[made.count++] = node->out.items[k];
    }
    for (size_t k = 0; k < made.count; k++) {
        bool read = is_result(s, made.items[k]);
        for (size_t i = 0; i < s->g->nodes.count; i++)
            read |= (i < from || i >= from + n) && has_name(&spell_node_at(s, i)->in, made.items[k]);
        if (read) out->items[out->count++] = made.items[k];
    }
    return in->count && out->count;
}

/* Room for one function more, and a model that may have functions. */
static gr_doc_function *new_function(speller *s)
{
    gr_doc *d = s->doc;
    gr_doc_function *all = spell_room_for(s, (d->nfunctions + 1) * sizeof *all);
    gr_doc_opset *sets = spell_room_for(s, (d->opsets.count + 1) * sizeof *sets);
    if (!all || !sets) return NULL;
    if (d->nfunctions) memcpy(all, d->functions, d->nfunctions * sizeof *all);
    memcpy(sets, d->opsets.items, d->opsets.count * sizeof *sets);
    bool known = false;
    for (size_t i = 0; i < d->opsets.count; i++) known |= !strcmp(sets[i].domain, "respelt");
    if (!known) sets[d->opsets.count++] = (gr_doc_opset){.domain = "respelt", .version = 1};
    d->opsets.items = sets;
    d->functions = all;
    if (d->ir_version < 8) d->ir_version = 8;
    all[d->nfunctions] =
        (gr_doc_function){.name = spell_new_name(s), .domain = "respelt", .overload = "", .doc_string = ""};
    all[d->nfunctions].opsets = d->opsets;
    return &all[d->nfunctions++];
}

void spell_wrap(speller *s)
{
    gr_doc_nodes *nodes = &s->g->nodes;
    gr_doc_names in = {0}, out = {0};
    if (nodes->count < 4) return;
    const size_t from = spell_below(s, nodes->count - 2), n = 1 + spell_below(s, nodes->count - from);
    if (!borders(s, from, n, &in, &out)) return;
    gr_doc_function *f = new_function(s);
    gr_doc_node *body = spell_room_for(s, n * sizeof *body);
    if (!f || !body) return;
    memcpy(body, &nodes->items[from], n * sizeof *body);
    f->in = in;
    f->out = out;
    f->nodes = (gr_doc_nodes){n, body};
    nodes->items[from] =
        (gr_doc_node){.name = "", .op_type = f->name, .domain = f->domain, .overload = "", .in = in, .out = out};
    memmove(&nodes->items[from + 1], &nodes->items[from + n], (nodes->count - from - n) * sizeof *nodes->items);
    nodes->count -= n - 1;
}
