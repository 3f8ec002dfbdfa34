/* SPDX-License-Identifier: Apache-2.0
 *
 * Patterns as text, matching with backtracking over the orders of commutative operands, and the driver of rules.
 */
#include "pattern.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- patterns ---- */

typedef struct parser {
    const char *at;
    pattern *pool;
    int used;
} parser;

static void skip(parser *p)
{
    while (*p->at == ' ' || *p->at == '\n') p->at++;
}

static void word(parser *p, char *out, size_t room)
{
    size_t n = strcspn(p->at, " ():\n");
    snprintf(out, room, "%.*s", (int)n, p->at);
    p->at += n;
}

/* Whether some version of the operator commutes (the oldest ones do not: they broadcast by attribute). */
static bool may_commute(const char *name)
{
    for (size_t f = 0; gr_op_families[f]; f++)
        for (const gr_op *op = gr_op_families[f]; op->name; op++)
            if ((op->flags & GR_OP_COMMUTES) && *op->name == *name && !strcmp(op->name, name)) return true;
    return false;
}

bool gr_pattern_number(const pattern *t, double x)
{
    return fabs(x - t->number) <= NUMBER_TOLERANCE * fabs(t->number);
}

/* Patterns are ours: what does not parse is a broken invariant, shown by every test that uses the rule. */
static pattern *parse(parser *p)
{
    if (p->used == MAX_PATTERN_NODES) return NULL;
    pattern *t = &p->pool[p->used++];
    *t = (pattern){0};
    skip(p);
    const char *colon = p->at + strcspn(p->at, " ():\n");
    if (*colon == ':' && colon[1] == '(') {
        word(p, t->name, sizeof t->name);
        p->at++;
    }
    if (*p->at != '(') {
        char text[40], *end;
        word(p, text, sizeof text);
        t->number = strtod(text, &end);
        t->kind = *end == 0 && end != text ? P_NUMBER : !strcmp(text, "_") ? P_ANY : text[0] == '$' ? P_CONST : P_NAME;
        snprintf(t->name, sizeof t->name, "%.15s", text + (text[0] == '$'));
        return t;
    }
    p->at++;
    word(p, t->op, sizeof t->op);
    for (skip(p); *p->at && *p->at != ')'; skip(p)) {
        if (!strncmp(p->at, "...", 3)) {
            t->more = true;
            p->at += 3;
            continue;
        }
        if (t->nargs == MAX_ARGS || !(t->args[t->nargs++] = parse(p))) return NULL;
    }
    if (*p->at == ')') p->at++;
    t->commutes = t->nargs == 2 && may_commute(t->op);
    t->commutative = t->commutes;
    if (t->nargs == 2 && t->args[1]->kind == P_NUMBER && t->args[1]->number != 0)
        t->inverse = !strcmp(t->op, "Mul") ? "Div" : !strcmp(t->op, "Div") ? "Mul" : NULL;
    for (int i = 0; i < t->nargs; i++) t->commutative += t->args[i]->commutative;
    return t;
}

/* ---- matching ---- */

typedef struct attempt {
    gr_match m;
    unsigned orders;         /* which commutative nodes have their operands exchanged; the first met is the top bit */
    int commutative, met;
} attempt;

static bool bind_name(attempt *a, const char *name, gr_value *v, gr_node *n)
{
    for (int i = 0; i < a->m.nnames; i++)
        if (!strcmp(a->m.names[i].name, name)) return a->m.names[i].value == v;
    if (a->m.nnames == GR_MATCH_NAMES) return false;
    snprintf(a->m.names[a->m.nnames].name, sizeof a->m.names[0].name, "%s", name);
    a->m.names[a->m.nnames].value = v;
    a->m.names[a->m.nnames++].node = n;
    return true;
}

static bool match_node(attempt *a, const pattern *t, gr_node *n);

static bool match_value(attempt *a, const pattern *t, gr_value *v)
{
    double x;
    switch (t->kind) {
    case P_ANY: return true;
    case P_NAME: return v && bind_name(a, t->name, v, NULL);
    case P_CONST: return v && v->konst && bind_name(a, t->name, v, NULL);
    case P_NUMBER: return v && gr_scalar_of(v, &x) && gr_pattern_number(t, x);
    case P_NODE: break;
    }
    return v && v->def && !v->konst && v->def->out[0] == v && match_node(a, t, v->def);
}

/* x of a node that multiplies by the reciprocal of what the pattern divides by, or the other way round. */
static gr_value *other_operand(const pattern *t, const gr_node *n)
{
    double c;
    if (!t->inverse || n->nin != 2 || !gr_is_op(n, t->inverse)) return NULL;
    const uint32_t first = *t->inverse == 'D';
    /* Only a product may have its number first. */
    for (uint32_t i = first; i < 2; i++)
        if (gr_scalar_of(gr_in(n, i), &c) && c != 0 && gr_pattern_number(t->args[1], 1 / c)) return gr_in(n, 1 - i);
    return NULL;
}

static bool match_node(attempt *a, const pattern *t, gr_node *n)
{
    gr_value *x = n->nsubgraphs ? NULL : other_operand(t, n);
    if ((!gr_is_named(n, t->op) && !x) || n->nsubgraphs) return false;
    if (t->nargs > (int)n->nin ? true : !t->more && (int)n->nin > t->nargs) return false;
    if (t->name[0] && !bind_name(a, t->name, n->out[0], n)) return false;
    bool known = false;
    for (int i = 0; i < a->m.nnodes; i++) known |= a->m.nodes[i] == n;
    if (!known) {
        if (a->m.nnodes == GR_MATCH_NODES) return false;
        a->m.nodes[a->m.nnodes++] = n;
    }
    bool swap = false;
    if (t->commutes && x) a->met++;
    if (x) return match_value(a, t->args[0], x);
    if (t->commutes) swap = (a->orders >> (a->commutative - ++a->met) & 1) && (n->op->flags & GR_OP_COMMUTES);
    for (int i = 0; i < t->nargs; i++)
        if (!match_value(a, t->args[i], gr_in(n, (uint32_t)(swap ? 1 - i : i)))) return false;
    return true;
}

/* Whether the values inside are seen by nobody else. */
bool gr_match_closed(const gr_match *m, gr_why *why)
{
    for (int i = 0; i < m->nnodes; i++) {
        const gr_node *n = m->nodes[i];
        for (uint32_t o = 0; o < n->nout; o++) {
            const gr_value *v = n->out[o];
            if (!v || (n == m->root && o == 0)) continue;
            if (v->is_output)
                return gr_nomatch_at(why, n, "'%s' inside is an output of the graph", gr_show(gr_node_label(n)));
            for (const gr_use *u = v->uses; u; u = u->next) {
                bool inside = false;
                for (int k = 0; k < m->nnodes; k++) inside |= m->nodes[k] == u->user;
                if (!inside)
                    return gr_nomatch_at(why, n, "'%s' inside is also read by %s '%s'", gr_show(gr_node_label(n)),
                                         u->user->op->name, gr_show(gr_node_label(u->user)));
            }
        }
    }
    return true;
}

/* ---- the driver ---- */

static bool same_type(const gr_type *a, const gr_type *b)
{
    if (a->dtype != b->dtype || a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (!a->dims[i].expr != !b->dims[i].expr || (!a->dims[i].expr && a->dims[i].k != b->dims[i].k)) return false;
    return true;
}

/* Erase what nobody reads any more, readers first. */
static void erase_unused(const gr_match *m)
{
    bool again = true, gone[GR_MATCH_NODES] = {false};
    while (again) {
        again = false;
        for (int i = 0; i < m->nnodes; i++) {
            gr_node *n = m->nodes[i];
            bool used = gone[i];
            for (uint32_t o = 0; o < n->nout; o++) used |= n->out[o] && (n->out[o]->nuses || n->out[o]->is_output);
            if (used) continue;
            gr_erase(n);
            gone[i] = again = true;
        }
    }
}

static gr_status replace(const gr_rule *rule, const gr_match *m, bool *done, gr_err *err)
{
    gr_build b = {m->g, m->root, err};
    gr_value *old = m->root->out[0];
    gr_err failed = {GR_OK, ""};
    b.err = &failed;
    *done = false;
    gr_value *new = rule->rewrite(&b, m);
    if (!new && failed.status == GR_ENOMEM) return gr_nomem(err);
    if (!new || !same_type(&new->type, &old->type)) return GR_OK; /* what was built is dead and goes with the next sweep */
    gr_replace_uses(old, new);
    gr_take_name(new, old);
    if (new->def && !*new->def->name) new->def->name = m->root->name;
    erase_unused(m);
    *done = true;
    return GR_OK;
}

/* Whether it is worth while to begin. */
static bool may_match(const pattern *t, const gr_node *n)
{
    return gr_is_named(n, t->op) || (!n->nsubgraphs && other_operand(t, n));
}

static bool find_match(const gr_rule *rule, const pattern *t, gr_graph *g, gr_node *n, attempt *a, gr_why *why)
{
    int commutative = t->commutative;
    for (unsigned orders = 0; orders < 1u << commutative; orders++) {
        *a = (attempt){.m = {.g = g, .root = n}, .orders = orders, .commutative = commutative};
        if (!match_node(a, t, n)) {
            orders |= (1u << (commutative - a->met)) - 1; /* nodes that were not met make no difference */
            continue;
        }
        if (!gr_match_closed(&a->m, why)) continue;
        if (!rule->check || rule->check(&a->m, why)) return true;
    }
    return false;
}

gr_status gr_apply_rule(gr_graph *g, const gr_rule *rule, int *hits, gr_err *err)
{
    enum { MAX_PATTERNS = 32 };
    int n = 0;
    while (n < MAX_PATTERNS && rule->patterns[n]) n++;
    pattern *pool = gr_malloc((size_t)n * MAX_PATTERN_NODES * sizeof *pool), *roots[MAX_PATTERNS];
    attempt *a = gr_malloc(sizeof *a);
    gr_status status = pool && a ? GR_OK : gr_nomem(err);
    for (int i = 0; status == GR_OK && i < n; i++) {
        parser p = {rule->patterns[i], pool + (size_t)i * MAX_PATTERN_NODES, 0};
        if (!(roots[i] = parse(&p)) || roots[i]->commutative > MAX_COMMUTATIVE)
            status = gr_fail(err, GR_EINVAL, "pattern of rule %s is too long", rule->name);
    }
    for (gr_node *node = g->first, *next; status == GR_OK && node && !gr_pass_stopped(g); node = next) {
        next = node->next;
        for (int i = 0; i < n; i++) {
            if (!may_match(roots[i], node) || !node->out[0] || node->out[0]->konst) continue;
            gr_why why = {0}; /* not before: clearing it for what cannot match took a third of the time of long graphs */
            bool done = false;
            if (!find_match(rule, roots[i], g, node, a, &why)) continue;
            if ((status = replace(rule, &a->m, &done, err)) != GR_OK) break;
            if (!done) continue;
            gr_hit(g, rule->name);
            ++*hits;
            break;
        }
    }
    if (status == GR_OK && g->log && rule->anchor && !gr_pass_stopped(g)) status = gr_explain_rule(g, rule, roots, n, err);
    gr_free(pool);
    gr_free(a);
    return status;
}

/* ---- for rules ---- */

gr_value *gr_bound(const gr_match *m, const char *name)
{
    for (int i = 0; i < m->nnames; i++)
        if (!strcmp(m->names[i].name, name)) return m->names[i].value;
    return NULL;
}

gr_node *gr_bound_node(const gr_match *m, const char *name)
{
    for (int i = 0; i < m->nnames; i++)
        if (!strcmp(m->names[i].name, name)) return m->names[i].node;
    return NULL;
}

bool gr_nomatch(gr_why *why, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(why->text, sizeof why->text, fmt, args);
    va_end(args);
    return false;
}

bool gr_nomatch_at(gr_why *why, const gr_node *node, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(why->text, sizeof why->text, fmt, args);
    va_end(args);
    why->node = node;
    return false;
}

bool gr_scalar_of(const gr_value *v, double *out)
{
    if (!v || !v->konst || v->konst->kind != GR_KIND_TENSOR || v->konst->elements != 1) return false;
    const void *p = v->konst->data;
    union {
        float f;
        double d;
        int64_t l;
        int32_t i;
        uint16_t h;
    } x;
    switch (v->konst->dtype) {
    case GR_FLOAT: return memcpy(&x.f, p, 4), *out = (double)x.f, true;
    case GR_DOUBLE: return memcpy(&x.d, p, 8), *out = x.d, true;
    case GR_INT64: return memcpy(&x.l, p, 8), *out = (double)x.l, true;
    case GR_INT32: return memcpy(&x.i, p, 4), *out = x.i, true;
    case GR_FLOAT16: return memcpy(&x.h, p, 2), *out = (double)gr_half_to_float(x.h), true;
    case GR_BFLOAT16: return memcpy(&x.h, p, 2), *out = (double)gr_bfloat_to_float(x.h), true;
    default: return false;
    }
}

bool gr_ints_of(const gr_value *v, int64_t *n, int64_t *out, int64_t max)
{
    if (!v || !v->konst || v->konst->rank > 1 || v->konst->elements > max) return false;
    if (v->konst->dtype != GR_INT64 && v->konst->dtype != GR_INT32) return false;
    *n = v->konst->elements;
    for (int64_t i = 0; i < *n; i++) {
        int32_t narrow;
        if (v->konst->dtype == GR_INT64) {
            memcpy(&out[i], (const char *)v->konst->data + i * 8, 8);
        } else {
            memcpy(&narrow, (const char *)v->konst->data + i * 4, 4);
            out[i] = narrow;
        }
    }
    return true;
}

bool gr_reduced_axes(const gr_node *n, int64_t *count, int64_t *axes, bool *keepdims)
{
    const gr_value *x = gr_in(n, 0);
    const int64_t *given;
    int64_t keep = 1;
    if (!x || x->type.rank < 0 || gr_attr_int(n->attrs, "keepdims", 1, &keep, NULL) != GR_OK) return false;
    if (gr_in(n, 1)) {
        if (!gr_ints_of(gr_in(n, 1), count, axes, GR_MAX_RANK)) return false;
    } else {
        if (gr_attr_ints(n->attrs, "axes", count, &given, NULL) != GR_OK || *count < 0 || *count > GR_MAX_RANK) return false;
        memcpy(axes, given, (size_t)*count * sizeof *axes);
    }
    for (int64_t i = 0; i < *count; i++) {
        if (axes[i] < 0) axes[i] += x->type.rank;
        if (axes[i] < 0 || axes[i] >= x->type.rank) return false;
    }
    *keepdims = keep != 0;
    return true;
}

bool gr_reduces_last_axis(const gr_node *n)
{
    int64_t count, axes[GR_MAX_RANK];
    bool keep;
    return n && gr_reduced_axes(n, &count, axes, &keep) && keep && count == 1 && axes[0] == gr_in(n, 0)->type.rank - 1;
}

gr_attr gr_attr_of_int(const char *name, int64_t i) { return (gr_attr){.name = name, .type = GR_ATTR_INT, .i = i}; }
gr_attr gr_attr_of_float(const char *name, float f) { return (gr_attr){.name = name, .type = GR_ATTR_FLOAT, .f = f}; }

gr_attr gr_attr_of_string(const char *name, const char *s)
{
    return (gr_attr){.name = name, .type = GR_ATTR_STRING, .s = {s, strlen(s)}};
}

gr_attrs gr_build_attrs(gr_build *b, size_t n, const gr_attr *items)
{
    gr_attr *copy = GR_NEWS(b->g->arena, n, gr_attr);
    if (!copy) {
        gr_err_write(b->err, GR_ENOMEM, "out of memory");
        return (gr_attrs){0};
    }
    memcpy(copy, items, n * sizeof *items);
    return (gr_attrs){n, copy};
}

gr_value *gr_build_node(gr_build *b, const char *domain, const char *name, gr_attrs attrs, uint32_t nin,
                        gr_value *const *in)
{
    /* Fused operators are of the newest version, whatever the file's opset is: the graph holds operators, not names. */
    const gr_op *op = gr_op_find(domain, name, INT32_MAX, NULL);
    const void *params = NULL;
    if (!op) return gr_err_write(b->err, GR_EUNSUPPORTED, "operator %s is not known", name), NULL;
    if (op->parse && op->parse(attrs, b->g->arena, &params, b->err) != GR_OK) return NULL;
    while (nin && !in[nin - 1]) nin--;
    gr_node *n = gr_graph_node(b->g, op, params, attrs, nin, in, 1, NULL);
    if (!n) return gr_err_write(b->err, GR_ENOMEM, "out of memory"), NULL;
    gr_insert_before(n, b->at);
    return gr_node_infer(n, b->err) == GR_OK ? n->out[0] : NULL;
}
