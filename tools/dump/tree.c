/* SPDX-License-Identifier: Apache-2.0
 *
 * The tree of modules with the nodes in them, each line with its parameters, work and share. Siblings that are equal
 * but for a number ("0" to "11") are one line, and so are equal nodes that follow each other; the figures of such a
 * line and of those within it are for all of them together, so that the parts of a whole always add up.
 */
#include "dump.h"
#include "stats.h"
#include <stdlib.h>

typedef struct line {
    char *left;                /* branches and label */
    size_t branch;             /* bytes of it that are branches */
    size_t bold, dim;          /* of the label: bytes of a module's name; from where on it is detail */
    int64_t nodes, parameters; /* -1: none to show */
    double work;
    bool figures;
} line;

typedef struct tree {
    const gr_view *w;
    const dump_options *o;
    uint32_t *first; /* node of each module and those within it, for order */
    line *lines;
    size_t n, cap;
    cli_text branches; /* what is left of the children of the line at hand */
} tree;

/* ---- members that look alike ---- */

typedef struct group {
    uint32_t module, count, next; /* the first, how many, the child after them */
    char label[GR_VIEW_NAME * 4];
} group;

/* Where the last number of a name is; false if it has none. */
static bool number_in(const char *name, size_t *at, size_t *size, int64_t *value)
{
    size_t n = strlen(name), end = n;
    while (end > 0 && (name[end - 1] < '0' || name[end - 1] > '9')) end--;
    *at = end;
    while (*at > 0 && name[*at - 1] >= '0' && name[*at - 1] <= '9') --*at;
    *size = end - *at;
    if (!*size || *size > 9) return false;
    *value = strtoll(name + *at, NULL, 10);
    return true;
}

static bool continues(const gr_view *w, uint32_t a, uint32_t b, int64_t step)
{
    const gr_view_module *x = &w->modules[a], *y = &w->modules[b];
    size_t at, size, at2, size2;
    int64_t value, value2;
    if (x->likeness != y->likeness || x->nodes != y->nodes || x->parameters != y->parameters) return false;
    if (!number_in(x->name, &at, &size, &value) || !number_in(y->name, &at2, &size2, &value2)) return false;
    return at == at2 && !memcmp(x->name, y->name, at) && !strcmp(x->name + at + size, y->name + at2 + size2) &&
           value2 == value + step;
}

static group group_from(const gr_view *w, uint32_t module)
{
    group g = {module, 1, w->modules[module].next, ""};
    uint32_t last = module;
    size_t at = 0, size = 0;
    int64_t value = 0;
    while (g.next != GR_VIEW_NONE && continues(w, module, g.next, g.count)) {
        g.count++;
        last = g.next;
        g.next = w->modules[last].next;
    }
    const char *name = w->modules[module].name;
    if (g.count == 1) {
        snprintf(g.label, sizeof g.label, "%s", cli_show(name));
        return g;
    }
    number_in(name, &at, &size, &value);
    char before[GR_VIEW_NAME + 1] = "";
    memcpy(before, name, at);
    snprintf(g.label, sizeof g.label, "%s[%lld-%lld]%s", cli_show(before), (long long)value,
             (long long)value + g.count - 1, cli_show(name + at + size));
    return g;
}

/* The one group that is all there is in a module, else false. */
static bool only_group(const gr_view *w, uint32_t module, group *out)
{
    const gr_view_module *m = &w->modules[module];
    if (m->own_nodes || m->first_child == GR_VIEW_NONE) return false;
    *out = group_from(w, m->first_child);
    return out->next == GR_VIEW_NONE;
}

/* ---- lines ---- */

static line *add_line(tree *t, bool last, cli_text *label)
{
    cli_text left = {0};
    cli_add(&left, "%s%s", t->branches.size ? t->branches.data : "", last ? "└─ " : "├─ ");
    size_t branch = left.size;
    cli_add(&left, "%s", label->data);
    line *l = CLI_PUSH(t->lines, t->n, t->cap);
    *l = (line){.left = left.data, .branch = branch, .nodes = -1, .parameters = -1};
    cli_text_free(label);
    return l;
}

static void add_times(cli_text *label, int64_t times)
{
    if (times > 1) cli_add(label, " ×%lld", (long long)times);
}

static size_t push_branch(tree *t, bool last)
{
    size_t size = t->branches.size;
    cli_add(&t->branches, "%s", last ? "   " : "│  ");
    return size;
}

static void pop_branch(tree *t, size_t size)
{
    t->branches.size = size;
    if (t->branches.data) t->branches.data[size] = 0;
}

static bool alike(const gr_view *w, const gr_view_node *a, const gr_view_node *b)
{
    if (a->node->op != b->node->op || a->parameters != b->parameters || a->work != b->work || a->runs != b->runs ||
        a->kernel != b->kernel || !a->node->nout || !b->node->nout)
        return false;
    if (a->out[0] == GR_VIEW_NONE || b->out[0] == GR_VIEW_NONE) return a->out[0] == b->out[0];
    return !strcmp(w->values[a->out[0]].type, w->values[b->out[0]].type);
}

static void add_stats(tree *t, const gr_view_node *n, bool last)
{
    uint32_t known = 0;
    size_t size = push_branch(t, last);
    for (uint32_t i = 0; i < n->node->nin; i++) known += n->in[i] != GR_VIEW_NONE && t->w->values[n->in[i]].parameter;
    for (uint32_t i = 0; i < n->node->nin; i++) {
        const gr_view_value *v = n->in[i] == GR_VIEW_NONE ? NULL : &t->w->values[n->in[i]];
        dump_stats s;
        if (!v || !v->parameter || !known--) continue;
        cli_text label = {0};
        cli_add(&label, "%s  ", cli_show(v->value->name));
        size_t bold = label.size;
        if (dump_stats_of(v->value->konst, &s))
            cli_add(&label, "%.4g … %.4g, mean %.4g, deviation %.4g", s.least, s.greatest, s.mean, s.deviation);
        line *l = add_line(t, known == 0, &label);
        l->dim = bold;
    }
    pop_branch(t, size);
}

/* "Linear ×3 float[32, 64] → float[batch, 64]"; *dim: where the types begin. */
static void add_node_label(const tree *t, const gr_view_node *n, int64_t count, cli_text *label, size_t *dim)
{
    cli_add(label, "%s", cli_show(dump_op(n)));
    add_times(label, count);
    *dim = label->size;
    for (uint32_t i = 0; i < n->node->nin; i++)
        if (n->in[i] != GR_VIEW_NONE && t->w->values[n->in[i]].parameter)
            cli_add(label, " %s", cli_show(t->w->values[n->in[i]].type));
    if (n->node->nout && n->out[0] != GR_VIEW_NONE) cli_add(label, " → %s", cli_show(t->w->values[n->out[0]].type));
    if (t->w->level == GR_VIEW_PLAN) cli_add(label, " (%s)", n->kernel ? n->kernel : "view");
}

static void add_nodes(tree *t, uint32_t index, int64_t count, int64_t times, bool last)
{
    const gr_view_node *n = &t->w->nodes[index];
    cli_text label = {0};
    size_t dim;
    add_node_label(t, n, count, &label, &dim);
    line *l = add_line(t, last, &label);
    l->dim = dim;
    l->figures = true;
    l->parameters = n->parameters ? n->parameters * count * times : -1;
    l->work = n->work * (double)(count * times);
    if (t->o->stats) add_stats(t, n, last);
}

/* How many nodes from own[at] on are alike and have no module between them. */
static uint32_t run_of(const tree *t, const gr_view_module *m, uint32_t at, uint32_t before)
{
    const uint32_t *own = t->w->by_module + m->first_node;
    uint32_t n = 1;
    while (at + n < m->own_nodes && own[at + n] < before &&
           alike(t->w, &t->w->nodes[own[at]], &t->w->nodes[own[at + n]]))
        n++;
    return n;
}

static void add_group(tree *t, group g, int64_t times, int64_t depth, bool last);

/* What is in a module, nodes and modules in the order of the graph. Recursion ends at GR_VIEW_DEPTH. */
static void add_contents(tree *t, uint32_t module, int64_t times, int64_t depth)
{
    const gr_view_module *m = &t->w->modules[module];
    uint32_t child = m->first_child, at = 0;
    if (t->o->depth && depth > t->o->depth) return;
    while (at < m->own_nodes || child != GR_VIEW_NONE) {
        uint32_t node = at < m->own_nodes ? t->w->by_module[m->first_node + at] : GR_VIEW_NONE;
        if (child != GR_VIEW_NONE && (node == GR_VIEW_NONE || t->first[child] < node)) {
            group g = group_from(t->w, child);
            child = g.next;
            add_group(t, g, times, depth, child == GR_VIEW_NONE && at == m->own_nodes);
        } else {
            uint32_t count = run_of(t, m, at, child == GR_VIEW_NONE ? GR_VIEW_NONE : t->first[child]);
            at += count;
            add_nodes(t, node, count, times, child == GR_VIEW_NONE && at == m->own_nodes);
        }
    }
}

static void add_group(tree *t, group g, int64_t times, int64_t depth, bool last)
{
    cli_text label = {0};
    int64_t members = g.count;
    group inner;
    cli_add(&label, "%s", g.label);
    while (only_group(t->w, g.module, &inner)) {
        cli_add(&label, ".%s", inner.label);
        members *= inner.count;
        g = inner;
    }
    size_t bold = label.size, dim = bold;
    add_times(&label, members);
    const gr_view_module *m = &t->w->modules[g.module];
    const gr_view_node *only = m->nodes == 1 && m->own_nodes == 1 ? &t->w->nodes[t->w->by_module[m->first_node]] : NULL;
    if (only) {
        cli_add(&label, ": ");
        add_node_label(t, only, 1, &label, &dim);
    }
    times *= members;
    line *l = add_line(t, last, &label);
    l->bold = bold;
    l->dim = dim;
    l->figures = true;
    l->nodes = m->nodes * times;
    l->parameters = m->parameters * times;
    l->work = m->work * (double)times;
    if (only && t->o->stats) add_stats(t, only, last);
    if (only) return;
    size_t size = push_branch(t, last);
    add_contents(t, g.module, times, depth + 1);
    pop_branch(t, size);
}

static void find_first(tree *t)
{
    const gr_view *w = t->w;
    t->first = cli_array(w->module_count, sizeof *t->first);
    memset(t->first, 0xff, w->module_count * sizeof *t->first);
    for (size_t i = w->node_count; i-- > 0;) t->first[w->nodes[i].module] = (uint32_t)i;
    for (size_t i = w->module_count; i-- > 1;) {
        uint32_t *above = &t->first[w->modules[i].parent];
        if (t->first[i] < *above) *above = t->first[i];
    }
}

/* ---- layout ---- */

enum {
    NODES = 7,
    PARAMETERS = 14,
    WORK = 9,
    SHARE = 8,
    COLUMNS = NODES + PARAMETERS + WORK + SHARE,
    MIN_LEFT = 24,
    MAX_LEFT = 100
};

/* Characters of UTF-8 text. */
static size_t characters(const char *s)
{
    size_t n = 0;
    for (; *s; s++) n += (*s & 0xc0) != 0x80;
    return n;
}

static void put_label(const tree *t, const line *l, size_t room, cli_text *out)
{
    const char *codes[] = {"\033[2m", "\033[0;1m", "\033[0m", "\033[2m"};
    const size_t starts[] = {0, l->branch, l->branch + l->bold, l->branch + l->dim};
    size_t used = 0, total = characters(l->left);
    bool cut = total > room;
    for (size_t i = 0; l->left[i];) {
        for (int c = 0; t->o->color && c < 4; c++)
            if (starts[c] == i) cli_add(out, "%s", codes[c]);
        size_t n = 1;
        while ((l->left[i + n] & 0xc0) == 0x80) n++;
        if (cut && used + 1 == room) break;
        cli_add_bytes(out, l->left + i, n);
        used++;
        i += n;
    }
    if (t->o->color) cli_add(out, "\033[0m");
    if (cut) cli_add(out, "…");
    if (l->figures)
        for (used += cut; used < room; used++) cli_add_bytes(out, " ", 1);
}

static void put_figures(const tree *t, const line *l, cli_text *out)
{
    if (!l->figures) return;
    bool measured = t->w->plan != NULL;
    cli_add(out, "%*s", NODES, l->nodes < 0 ? "" : cli_thousands(l->nodes));
    bool work = measured && (l->work > 0 || l->nodes >= 0);
    if (!work && l->parameters < 0) return;
    cli_add(out, "%*s", PARAMETERS, l->parameters < 0 ? "" : cli_thousands(l->parameters));
    if (work) cli_add(out, "%*s", WORK, dump_scaled(l->work));
    if (work && t->w->work > 0) cli_add(out, "%*.1f %%", SHARE - 2, 100 * l->work / t->w->work);
}

static void put_values(const gr_view *w, const char *title, const uint32_t *values, size_t n, cli_text *out)
{
    enum { SHOWN = 12 };
    for (size_t i = 0; i < n && i < SHOWN; i++) {
        const gr_view_value *v = &w->values[values[i]];
        cli_add(out, "%-8s %s %s\n", i ? "" : title, cli_show(v->value->name), cli_show(v->type));
    }
    if (n > SHOWN) cli_add(out, "         and %s more\n", cli_thousands((int64_t)(n - SHOWN)));
}

static void put_head(const tree *t, size_t room, cli_text *out)
{
    const gr_view *w = t->w;
    cli_add(out, "%s, %s: %s node%s, %s parameters", cli_show(t->o->model), t->o->level,
            cli_thousands((int64_t)w->node_count), w->node_count == 1 ? "" : "s", cli_thousands(w->parameters));
    if (w->plan) cli_add(out, ", %s operations at %s", dump_scaled(w->work), t->o->shape ? t->o->shape : "this shape");
    if (w->level == GR_VIEW_PLAN) cli_add(out, ", %s of memory", cli_bytes(w->block));
    cli_add(out, "\n");
    put_values(w, w->part ? "from" : "inputs", w->inputs, w->input_count, out);
    put_values(w, w->part ? "to" : "outputs", w->outputs, w->output_count, out);
    if (!w->plan) cli_add(out, "%-8s not known: %s\n", "work", w->work_missing);
    cli_add(out, "\n%*s%*s%*s", (int)room, "", NODES, "nodes", PARAMETERS, "parameters");
    if (w->plan) cli_add(out, "%*s%*s", WORK, "work", SHARE, "share");
    cli_add(out, "\n");
}

bool dump_tree(const gr_view *view, const dump_options *options, dump_sink *sink, gr_err *err)
{
    (void)err;
    tree t = {.w = view, .o = options};
    size_t room = MIN_LEFT;
    find_first(&t);
    add_contents(&t, 0, 1, 1);
    for (size_t i = 0; i < t.n; i++)
        if (characters(t.lines[i].left) > room) room = characters(t.lines[i].left);
    size_t most = options->width > COLUMNS + MIN_LEFT ? options->width - COLUMNS : options->width ? MIN_LEFT : MAX_LEFT;
    if (room > most) room = most;
    put_head(&t, room, &sink->text);
    for (size_t i = 0; i < t.n; i++) {
        put_label(&t, &t.lines[i], room, &sink->text);
        put_figures(&t, &t.lines[i], &sink->text);
        while (sink->text.size > 1 && sink->text.data[sink->text.size - 1] == ' ') sink->text.size--;
        cli_add(&sink->text, "\n");
        dump_spill(sink);
        free(t.lines[i].left);
    }
    free(t.lines);
    free(t.first);
    cli_text_free(&t.branches);
    return true;
}
