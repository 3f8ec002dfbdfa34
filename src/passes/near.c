/* SPDX-License-Identifier: Apache-2.0
 *
 * Why a rule did not apply. A pattern is laid over the surroundings of an anchor once more, this time going on where
 * something does not fit: of all patterns, places and orders of operands the one that covers most, less what is wrong,
 * is what the reader meant, and what is wrong there is the reason. Runs only for graphs with a log.
 */
#include "pattern.h"
#include <stdio.h>

/* Effort is limited: per anchor by the nodes above it that are tried as roots, in all by nodes that are compared. */
enum { MAX_ROOTS = 24, MAX_READERS = 6, MAX_BETWEEN = 3, MAX_EFFORT = 4000000, WHY_SIZE = 512 };

typedef struct state {
    gr_match m;
    int misfits;
    char why[WHY_SIZE]; /* the first misfit */
    const gr_node *culprit;
} state;

typedef struct search {
    const gr_rule *rule;
    const gr_node *anchor;
    state best;
    bool found;
    long effort;
    uint8_t *seen; /* by node id: explained already, as part of another's surroundings */
} search;

static int score(const state *s) { return 2 * s->m.nnodes - 3 * s->misfits; }

static void misfit(state *s, const gr_node *culprit, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void misfit(state *s, const gr_node *culprit, const char *fmt, ...)
{
    va_list args;
    if (s->misfits++) return;
    va_start(args, fmt);
    vsnprintf(s->why, sizeof s->why, fmt, args);
    va_end(args);
    s->culprit = culprit;
}

#define label(n) gr_show(gr_node_label(n))

/* "adds", so that a sentence can say what a node does with a constant. */
static const char *verb(const gr_node *n)
{
    static const char *const verbs[][2] = {{"Add", "adds"},       {"Sub", "subtracts"}, {"Mul", "multiplies by"},
                                           {"Div", "divides by"}, {"Pow", "raises to"}, {NULL, NULL}};
    int i = 0;
    while (verbs[i][0] && strcmp(verbs[i][0], n->op->name)) i++;
    return verbs[i][0] ? verbs[i][1] : "reads";
}

static const char *maker_of(const gr_value *v)
{
    return !v            ? "nothing"
           : v->konst    ? "a constant"
           : v->is_input ? "an input of the graph"
           : v->def      ? v->def->op->name
                         : "nothing";
}

/* ---- values ---- */

static bool covers(const state *s, const gr_node *n)
{
    for (int i = 0; i < s->m.nnodes; i++)
        if (s->m.nodes[i] == n) return true;
    return false;
}

static void lay_node(search *c, state *s, const pattern *t, gr_node *n);

static gr_value *bound(const state *s, const char *name)
{
    for (int i = 0; i < s->m.nnames; i++)
        if (!strcmp(s->m.names[i].name, name)) return s->m.names[i].value;
    return NULL;
}

/* False: the name stands for something else. */
static bool bind(state *s, const char *name, gr_value *v, gr_node *n)
{
    gr_value *before = bound(s, name);
    if (before || s->m.nnames == GR_MATCH_NAMES) return before == v;
    snprintf(s->m.names[s->m.nnames].name, sizeof s->m.names[0].name, "%s", name);
    s->m.names[s->m.nnames].value = v;
    s->m.names[s->m.nnames++].node = n;
    return true;
}

static void lay_number(state *s, const pattern *t, gr_value *v, const gr_node *user)
{
    double x;
    if (gr_scalar_of(v, &x) && gr_pattern_number(t, x)) return;
    if (gr_scalar_of(v, &x))
        misfit(s, user, "'%s' %s %g, expected %g", label(user), verb(user), x, t->number);
    else
        misfit(s, user, "'%s' %s '%s' (%s), expected the number %g", label(user), verb(user), v ? gr_show(v->name) : "",
               maker_of(v), t->number);
}

/* What was expected, behind a few nodes that stand between (a Cast, a pair of quantisations). */
static gr_node *behind(const pattern *t, const gr_value *v)
{
    for (int i = 0; i < MAX_BETWEEN && v && v->def && !v->konst; i++) {
        v = gr_in(v->def, 0);
        if (v && v->def && !v->konst && gr_is_named(v->def, t->op)) return v->def;
    }
    return NULL;
}

static void lay_args(search *c, state *s, const pattern *t, gr_node *n, bool swap);

/* Go on under a node with the wrong operator, if what it reads is what was expected to be read. */
static void lay_others(search *c, state *s, const pattern *t, gr_node *n)
{
    state before = *s, other;
    if (t->nargs != (int)n->nin) return;
    if (!covers(s, n) && before.m.nnodes < GR_MATCH_NODES) before.m.nodes[before.m.nnodes++] = n;
    if (t->name[0]) bind(&before, t->name, n->out[0], n);
    for (int swap = 0; swap < (t->nargs == 2 ? 2 : 1); swap++) {
        other = before;
        lay_args(c, &other, t, n, swap == 1);
        if (score(&other) > score(s)) *s = other;
    }
}

/* A node stands where another operator was expected. */
static void lay_wrong_node(search *c, state *s, const pattern *t, gr_value *v, const gr_node *user)
{
    gr_node *n = v && !v->konst ? v->def : NULL;
    gr_node *under = behind(t, v);
    state through = *s, instead = *s;
    if (under) {
        misfit(&through, n, "'%s' (%s) stands between '%s' and '%s'", label(n), n->op->name, label(under), label(user));
        lay_node(c, &through, t, under);
    }
    if (n && v->nuses == 1) {
        misfit(&instead, n, "'%s' is a %s, expected %s", label(n), n->op->name, t->op);
        lay_others(c, &instead, t, n);
    } else {
        misfit(&instead, user, "'%s' reads '%s' (%s), expected the result of a %s", label(user),
               v ? gr_show(v->name) : "", maker_of(v), t->op);
    }
    *s = under && score(&through) >= score(&instead) ? through : instead;
}

static void lay_value(search *c, state *s, const pattern *t, gr_value *v, gr_node *user)
{
    switch (t->kind) {
    case P_ANY: return;
    case P_NUMBER: lay_number(s, t, v, user); return;
    case P_CONST:
        if (!v || !v->konst)
            misfit(s, user, "'%s' %s '%s', expected a constant", label(user), verb(user), v ? gr_show(v->name) : "");
        if (v) bind(s, t->name, v, NULL);
        return;
    case P_NAME:
        if (v && bind(s, t->name, v, NULL)) return;
        misfit(s, user, "'%s' reads '%s' where '%s' was expected, as elsewhere in the formula", label(user),
               v ? gr_show(v->name) : "", bound(s, t->name) ? gr_show(bound(s, t->name)->name) : t->name);
        return;
    case P_NODE: break;
    }
    if (v && v->def && !v->konst && v->def->out[0] == v && gr_is_named(v->def, t->op))
        lay_node(c, s, t, v->def);
    else
        lay_wrong_node(c, s, t, v, user);
}

/* ---- nodes ---- */

static void lay_args(search *c, state *s, const pattern *t, gr_node *n, bool swap)
{
    for (int i = 0; i < t->nargs; i++) lay_value(c, s, t->args[i], gr_in(n, (uint32_t)(swap ? 1 - i : i)), n);
}

static void lay_node(search *c, state *s, const pattern *t, gr_node *n)
{
    if (c->effort-- <= 0) {
        misfit(s, n, "'%s' was not looked at: there is too much to compare", label(n));
        return;
    }
    if (t->nargs > (int)n->nin || (!t->more && (int)n->nin > t->nargs))
        misfit(s, n, "'%s' (%s) has %u inputs, expected %d", label(n), n->op->name, n->nin, t->nargs);
    if (t->name[0] && !bind(s, t->name, n->out[0], n))
        misfit(s, n, "'%s' stands where '%s' was expected, as elsewhere in the formula", label(n),
               gr_show(bound(s, t->name)->name));
    if (!covers(s, n) && s->m.nnodes < GR_MATCH_NODES) s->m.nodes[s->m.nnodes++] = n;
    state before = *s;
    lay_args(c, s, t, n, false);
    if (t->nargs != 2 || s->misfits == before.misfits || n->nin != 2) return;
    state other = before;
    lay_args(c, &other, t, n, true);
    if (!t->commutes && other.misfits == before.misfits)
        misfit(&other, n, "'%s' (%s) has its operands exchanged", label(n), n->op->name);
    else if (!t->commutes)
        return;
    if (score(&other) > score(s)) *s = other;
}

/* ---- places ---- */

/* Everything fits: then something else kept the rule from applying. */
static void look_closer(search *c, state *s)
{
    gr_why why = {0};
    if (gr_match_closed(&s->m, &why) && (!c->rule->check || c->rule->check(&s->m, &why)))
        gr_nomatch_at(&why, s->m.root, "what would replace '%s' has another type", label(s->m.root));
    misfit(s, why.node ? why.node : c->anchor, "%s", why.text);
}

static void try_root(search *c, const pattern *t, gr_node *root)
{
    state s = {.m = {.g = root->graph, .root = root}};
    if (!root->out[0] || root->out[0]->konst || c->effort <= 0) return;
    if (gr_is_named(root, t->op)) {
        lay_node(c, &s, t, root);
    } else {
        c->effort--;
        misfit(&s, root, "'%s' is a %s, expected %s", label(root), root->op->name, t->op);
        lay_others(c, &s, t, root);
    }
    if (!covers(&s, c->anchor)) return;
    if (!s.misfits) look_closer(c, &s);
    if (c->found && score(&s) <= score(&c->best)) return;
    c->best = s;
    c->found = true;
}

/* The anchor and nodes above it, nearest first. */
static int roots_above(gr_node *anchor, gr_node **out)
{
    int n = 1;
    out[0] = anchor;
    for (int i = 0; i < n; i++) {
        int readers = 0;
        const gr_value *v = gr_out(out[i], 0);
        for (const gr_use *u = v ? v->uses : NULL; u && readers < MAX_READERS && n < MAX_ROOTS;
             u = u->next, readers++) {
            bool known = u->user->graph != anchor->graph;
            for (int k = 0; k < n; k++) known |= out[k] == u->user;
            if (!known) out[n++] = u->user;
        }
    }
    return n;
}

static int pattern_nodes(const pattern *t)
{
    int n = t->kind == P_NODE;
    for (int i = 0; i < t->nargs; i++) n += pattern_nodes(t->args[i]);
    return n;
}

static void explain_anchor(search *c, gr_graph *g, gr_node *anchor, pattern *const *roots, int n)
{
    gr_node *places[MAX_ROOTS];
    int nplaces = roots_above(anchor, places), smallest = GR_MATCH_NODES;
    c->anchor = anchor;
    c->found = false;
    for (int i = 0; i < n; i++) {
        int size = pattern_nodes(roots[i]);
        if (size < smallest) smallest = size;
        for (int k = 0; k < nplaces; k++) try_root(c, roots[i], places[k]);
    }
    const state *s = &c->best;
    if (c->found && (c->rule->sure || 2 * s->m.nnodes > smallest)) {
        for (int i = 0; i < s->m.nnodes; i++) c->seen[s->m.nodes[i]->id] = 1;
        gr_miss_at(g, g->log->pass, anchor, s->culprit, s->m.nnodes, s->why);
    } else if (c->rule->sure) {
        gr_miss_at(g, g->log->pass, anchor, anchor, 0, "nothing around it is of the form that was expected");
    }
}

gr_status gr_explain_rule(gr_graph *g, const gr_rule *rule, pattern *const *roots, int n, gr_err *err)
{
    search *c = gr_calloc(1, sizeof *c);
    if (!c || !(c->seen = gr_calloc(g->nnodes + 1, 1))) {
        gr_free(c);
        return gr_nomem(err);
    }
    c->rule = rule;
    c->effort = MAX_EFFORT;
    for (gr_node *node = g->first; node; node = node->next)
        if (gr_is_named(node, rule->anchor) && node->out[0] && !node->out[0]->konst && !c->seen[node->id] &&
            (!rule->expected || rule->expected(node)))
            explain_anchor(c, g, node, roots, n);
    gr_free(c->seen);
    gr_free(c);
    return GR_OK;
}
