/* SPDX-License-Identifier: Apache-2.0 */
#include "compare_report.h"
#include "inspect/deviation.h"
#include "inspect/diff.h"
#include "ops/op.h"
#include "tensor.h"
#include <math.h>
#include <stdlib.h>

enum { OUTPUTS_MAX = 64 };

/* ---- pieces ---- */

/* "Add 'x'", or "the Add that makes 'y'" where the file gives no name. */
static void add_node(cli_text *out, const gr_node *n)
{
    if (*n->name)
        cli_add(out, "%s '%s'", n->op->name, cli_show(n->name));
    else
        cli_add(out, "the %s that makes '%s'", n->op->name, gr_out(n, 0) ? cli_show(gr_out(n, 0)->name) : "");
}

static void add_index(cli_text *out, const gr_compared *c, int64_t at)
{
    int64_t below = 1;
    cli_add(out, "[");
    for (int d = 0; d < c->rank; d++) below *= c->dims[d];
    for (int d = 0; d < c->rank; d++) {
        below = c->dims[d] ? below / c->dims[d] : 0;
        cli_add(out, "%s%lld", d ? ", " : "", (long long)(below ? at / below % c->dims[d] : 0));
    }
    cli_add(out, "]");
}

static void add_deviation(cli_text *out, const gr_compared *c, const gr_deviation *d)
{
    if (d->at < 0 && isinf(d->error)) {
        cli_add(out, "another type or shape than in A");
        return;
    }
    cli_add(out, "%.3g", d->error);
    if (d->error == 0) return;
    cli_add(out, " (A %.7g, B %.7g at ", d->a, d->b);
    add_index(out, c, d->at);
    cli_add(out, "), ");
    if (isinf(d->excess))
        cli_add(out, "where they must be equal");
    else
        cli_add(out, "%.3g times what is allowed", d->excess);
}

static const gr_compared *compared_of(const gr_divergence *f, const gr_value *v)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->items[i].b == v) return &f->items[i];
    return NULL;
}

/* ---- text ---- */

static void add_constant(cli_text *out, const compare_report *r, const gr_value *b)
{
    const gr_value *a = r->align->a_of[b->id];
    gr_change c = gr_change_of(a->konst, b->konst);
    cli_add(out, "  constant '%s'", cli_show(b->name));
    if (strcmp(a->name, b->name)) cli_add(out, " (in A '%s')", cli_show(a->name));
    if (!c.same_shape)
        cli_add(out, " is %s, in A %s\n", cli_shape(b->konst->dtype, b->konst->rank, b->konst->dims),
                cli_shape(a->konst->dtype, a->konst->rank, a->konst->dims));
    else if (c.elements == 1)
        cli_add(out, " is %.9g, in A %.9g\n", gr_element(b->konst, 0), gr_element(a->konst, 0));
    else
        cli_add(out, " differs in %lld of %lld elements, by %.3g at most\n", (long long)c.changed,
                (long long)c.elements, c.greatest);
}

static void add_attributes(cli_text *out, const compare_report *r, const gr_node *n)
{
    gr_arena *arena = gr_arena_new();
    gr_attr_change *changes = NULL;
    size_t count = arena ? gr_attr_changes(r->align->node_a_of[n->id]->attrs, n->attrs, arena, &changes) : 0;
    for (size_t i = 0; i < count; i++) {
        cli_add(out, "  attribute '%s' of ", cli_show(changes[i].name));
        add_node(out, n);
        cli_add(out, " is %s, in A %s\n", changes[i].b, changes[i].a);
    }
    gr_arena_free(arena);
}

static void add_region(cli_text *out, const compare_report *r)
{
    const gr_divergence *f = r->found;
    for (size_t i = 0; i < f->nconsts; i++) add_constant(out, r, f->consts[i]);
    for (size_t i = 0; i < f->nattrs; i++) add_attributes(out, r, f->attrs[i]);
    for (size_t i = 0; i < f->nonly_a; i++) {
        cli_add(out, "  only in A: ");
        add_node(out, f->only_a[i]);
        cli_add(out, "\n");
    }
    for (size_t i = 0; i < f->nonly_b; i++) {
        cli_add(out, "  only in B: ");
        add_node(out, f->only_b[i]);
        cli_add(out, "\n");
    }
}

static void add_first(cli_text *out, const compare_report *r)
{
    const gr_compared *c = r->found->first;
    cli_add(out, "first divergence: '%s', %s, computed by ", cli_show(c->b->name),
            cli_shape(c->dtype, c->rank, c->dims));
    add_node(out, c->b->def);
    cli_add(out, "\n");
    if (c->a && (strcmp(c->a->name, c->b->name) || strcmp(c->a->def->op->name, c->b->def->op->name))) {
        cli_add(out, "  in A '%s', computed by ", cli_show(c->a->name));
        add_node(out, c->a->def);
        cli_add(out, "\n");
    }
    cli_add(out, "  own error         ");
    add_deviation(out, c, &c->own);
    cli_add(out, "\n  cumulative error  ");
    add_deviation(out, c, &c->cumulative);
    cli_add(out, "\n");
    if (r->align) add_region(out, r);
}

static int by_own(const void *x, const void *y)
{
    const gr_compared *a = *(const gr_compared *const *)x, *b = *(const gr_compared *const *)y;
    double p = a->measured ? a->own.excess : -1, q = b->measured ? b->own.excess : -1;
    if (p != q) return p < q ? 1 : -1;
    p = a->cumulative.excess, q = b->cumulative.excess;
    if (p != q) return p < q ? 1 : -1;
    return (a > b) - (a < b);
}

static const gr_compared **sorted(const gr_divergence *f)
{
    const gr_compared **order = cli_array(f->count + 1, sizeof *order);
    for (size_t i = 0; i < f->count; i++) order[i] = &f->items[i];
    qsort(order, f->count, sizeof *order, by_own);
    return order;
}

static void add_row(cli_text *out, const gr_compared *c, const char *name)
{
    char own[24] = "-";
    if (c->measured) snprintf(own, sizeof own, "%.3g", c->own.error);
    cli_add(out, "  %-10s  %-10.3g  %-10.3g  %s  ", own, c->cumulative.error, c->cumulative.scale, cli_show(name));
    add_node(out, c->b->def);
    cli_add(out, "\n");
}

static void add_table(cli_text *out, const compare_report *r)
{
    const gr_compared **order = sorted(r->found);
    cli_add(out, "own error   cumulative  scale       value, node; the worst first\n");
    for (size_t i = 0; i < r->found->count && (int64_t)i < r->table; i++) add_row(out, order[i], order[i]->b->name);
    free(order);
}

static void add_outputs(cli_text *out, const compare_report *r, const gr_graph *b)
{
    cli_add(out, "outputs: ");
    bool first = true;
    for (size_t i = 0; i < b->noutputs; i++) {
        if (i == OUTPUTS_MAX) {
            cli_add(out, " and %zu more", b->noutputs - i);
            break;
        }
        const gr_compared *c = compared_of(r->found, b->outputs[i]);
        cli_add(out, "%s%s ", first ? "" : ", ", cli_show(b->output_names[i]));
        first = false;
        if (!c)
            cli_add(out, "not compared");
        else if (isinf(c->cumulative.error))
            cli_add(out, "unlike");
        else if (c->cumulative.error == 0)
            cli_add(out, "equal");
        else
            cli_add(out, "error %.3g of %.3g", c->cumulative.error, c->cumulative.scale);
    }
    cli_add(out, "\n");
}

static size_t unlike_constants(const gr_align *l)
{
    size_t n = 0;
    for (uint32_t i = 0; i < l->b->nvalues; i++)
        n += l->a_of[i] && gr_is_leaf(l->a_of[i]) && l->content_b[i] != l->content_a[l->a_of[i]->id];
    return n;
}

static void add_silent(cli_text *out, const compare_report *r)
{
    const gr_align *l = r->align;
    size_t consts = unlike_constants(l), nodes = l->nodes_a + l->nodes_b - 2 * l->paired;
    if (!consts && !nodes) return;
    cli_add(out,
            "The graphs are not the same (%zu constant%s, %zu node%s), but that has no effect beyond the tolerance "
            "on these inputs; see graphrun diff.\n",
            consts, consts == 1 ? "" : "s", nodes, nodes == 1 ? "" : "s");
}

void compare_report_text(const compare_report *r, cli_text *out)
{
    const gr_divergence *f = r->found;
    const gr_graph *b = r->align ? r->align->b : f->count ? f->items[0].b->graph : NULL;
    cli_add(out, "A %s\nB %s\n", cli_show(r->name_a), cli_show(r->name_b));
    if (r->align)
        cli_add(out, "%zu of A's %zu and B's %zu nodes correspond%s%s%s, %zu values are compared on %s\n",
                r->align->paired, r->align->nodes_a, r->align->nodes_b, r->level ? " in the " : "",
                r->level ? r->level : "", r->level ? " graphs" : "", f->count, r->inputs);
    else
        cli_add(out, "%zu values are compared on %s\n", f->count, r->inputs);
    if (r->table) add_table(out, r);
    if (f->first)
        add_first(out, r);
    else if (f->worst->cumulative.error == 0)
        cli_add(out, "no divergence: all are equal\n");
    else
        cli_add(out, "no divergence: the greatest error is %.3g of %.3g at '%s'\n", f->worst->cumulative.error,
                f->worst->cumulative.scale, cli_show(f->worst->b->name));
    if (b) add_outputs(out, r, b);
    if (!f->first && r->align && r->level) add_silent(out, r);
}

/* ---- JSON ---- */

static void json_node(cli_json *j, const char *key, const gr_node *n)
{
    json_open(j, key, '{');
    json_text(j, "name", n->name);
    json_text(j, "op", n->op->name);
    json_text(j, "output", gr_out(n, 0) ? gr_out(n, 0)->name : NULL);
    json_close(j, '}');
}

static void json_nodes(cli_json *j, const char *key, const gr_node *const *nodes, size_t n)
{
    json_open(j, key, '[');
    for (size_t i = 0; i < n; i++) json_node(j, NULL, nodes[i]);
    json_close(j, ']');
}

static void json_deviation(cli_json *j, const char *key, const gr_deviation *d)
{
    json_open(j, key, '{');
    json_number(j, "error", d->error);
    json_number(j, "scale", d->scale);
    json_bool(j, "within_tolerance", d->excess <= 1);
    json_int(j, "at", d->at);
    json_number(j, "a", d->a);
    json_number(j, "b", d->b);
    json_close(j, '}');
}

static void json_compared(cli_json *j, const char *key, const gr_compared *c)
{
    json_open(j, key, '{');
    json_text(j, "value", c->b->name);
    json_text(j, "value_a", c->a ? c->a->name : NULL);
    json_dims(j, "shape", c->rank, c->dims);
    json_node(j, "node", c->b->def);
    if (c->a) json_node(j, "node_a", c->a->def);
    if (c->measured) json_deviation(j, "own", &c->own);
    json_deviation(j, "cumulative", &c->cumulative);
    json_close(j, '}');
}

void compare_report_json(const compare_report *r, cli_text *out)
{
    const gr_divergence *f = r->found;
    cli_json j = {out, true};
    json_open(&j, NULL, '{');
    json_text(&j, "a", r->name_a);
    json_text(&j, "b", r->name_b);
    json_text(&j, "inputs", r->inputs);
    json_text(&j, "level", r->level);
    json_bool(&j, "diverges", f->first != NULL);
    if (r->align) {
        json_int(&j, "nodes_a", (int64_t)r->align->nodes_a);
        json_int(&j, "nodes_b", (int64_t)r->align->nodes_b);
        json_int(&j, "paired", (int64_t)r->align->paired);
    }
    if (f->first) {
        json_compared(&j, "first", f->first);
        json_open(&j, "constants", '[');
        for (size_t i = 0; i < f->nconsts; i++) json_text(&j, NULL, f->consts[i]->name);
        json_close(&j, ']');
        json_nodes(&j, "attributes", f->attrs, f->nattrs);
        json_nodes(&j, "only_a", f->only_a, f->nonly_a);
        json_nodes(&j, "only_b", f->only_b, f->nonly_b);
    }
    if (f->worst) json_compared(&j, "worst", f->worst);
    json_open(&j, "values", '[');
    for (size_t i = 0; r->all && i < f->count; i++) json_compared(&j, NULL, &f->items[i]);
    json_close(&j, ']');
    json_close(&j, '}');
    cli_add(out, "\n");
}
