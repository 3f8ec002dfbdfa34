/* SPDX-License-Identifier: Apache-2.0
 *
 * The cases of tests/passes. A file is rewritten as a whole, with the models as they stand there.
 */
#include "golden.h"
#include "graph/lower.h"
#include "passes/pass.h"
#include <stdio.h>
#include <stdlib.h>

enum { LARGE = 64 }; /* elements of a constant that is not written out */

void golden_fails(const golden *c, unsigned line, const char *fmt, ...)
{
    char text[2 * GR_ERR_SIZE];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    fail_at(c->file, line, "%s", text);
}

/* ---- graphs as text ---- */

typedef struct naming {
    const gr_graph *before;
    size_t count, cap;
    const char **names; /* that the file does not have */
    gr_arena *arena;
} naming;

/* `inside` a branch names are those of its own values, but for what it reads of the graph around it. */
static const char *renamed(naming *n, const char *name, bool inside)
{
    char number[24];
    size_t i = 0;
    if (!name || !*name || gr_graph_find(n->before, name)) return name;
    while (i < n->count && strcmp(n->names[i], name)) i++;
    if (i == n->count && inside) return name;
    if (i == n->count) *GR_PUSH(n->arena, n->names, n->count, n->cap) = name;
    snprintf(number, sizeof number, "_%zu", i + 1);
    return gr_arena_strdup(n->arena, number);
}

static void rename_values(naming *n, gr_doc_graph *g, bool inside)
{
    for (size_t k = 0; k < g->nodes.count; k++) {
        gr_doc_node *node = &g->nodes.items[k];
        for (size_t i = 0; i < node->in.count; i++) node->in.items[i] = renamed(n, node->in.items[i], inside);
        for (size_t i = 0; i < node->out.count; i++) node->out.items[i] = renamed(n, node->out.items[i], inside);
        for (size_t i = 0; i < node->attrs.count; i++)
            if (node->attrs.items[i].type == GR_ATTR_GRAPH) rename_values(n, node->attrs.items[i].g, true);
    }
    for (size_t i = 0; i < g->ninit; i++) g->init[i]->name = renamed(n, g->init[i]->name, inside);
    g->info.count = 0;
}

static uint64_t content(const gr_doc_tensor *t)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < t->size; i++) h = (h ^ ((const unsigned char *)t->data)[i]) * 1099511628211u;
    return h;
}

static gr_spell_fn as_it_is(const gr_node *n)
{
    (void)n;
    return NULL;
}

static bool append(void *user, const char *data, size_t size) { return fwrite(data, 1, size, user) == size; }

char *golden_text(const gr_graph *g, const gr_graph *before)
{
    gr_err err = {0};
    gr_doc *doc;
    char *text = NULL;
    size_t size;
    const gr_lower_options how = {.body = as_it_is};
    const gr_text_options print = {.max_elements = LARGE, .content = content};
    if (gr_graph_lower_as(g, &how, &doc, &err) != GR_OK) return NULL;
    naming n = {.before = before, .arena = doc->arena};
    rename_values(&n, doc->graph, false);
    FILE *f = open_memstream(&text, &size);
    if (!f || gr_doc_print_text(doc, &print, append, f, &err) != GR_OK) abort();
    fclose(f);
    gr_doc_free(doc);
    const char *head = strstr(text, "\n>\n"); /* versions and the like */
    if (head) memmove(text, head + 3, strlen(head + 3) + 1);
    return text;
}

/* ---- files ---- */

static bool starts(const char *line, const char *with) { return !strncmp(line, with, strlen(with)); }

static const char *after_line(const char *at)
{
    at += strcspn(at, "\n");
    return at + (*at == '\n');
}

/* Where a line that is `mark` alone begins, or the end. */
static const char *find_line(const char *at, const char *end, const char *mark)
{
    const size_t n = strlen(mark);
    while (at < end && !(starts(at, mark) && (at[n] == '\n' || !at[n]))) at = after_line(at);
    return at < end ? at : end;
}

static unsigned lines_between(const char *from, const char *to)
{
    unsigned n = 0;
    for (; from < to; from++) n += *from == '\n';
    return n;
}

static char *copy(const char *from, const char *to)
{
    const size_t n = (size_t)(to - from);
    char *text = malloc(n + 1);
    if (!text) abort();
    memcpy(text, from, n);
    text[n] = 0;
    return text;
}

static const char *known_pass(const char *name, size_t n)
{
    size_t count;
    const gr_pass *all = gr_pass_list(&count);
    for (size_t i = 0; i < count; i++)
        if (strlen(all[i].name) == n && !strncmp(all[i].name, name, n)) return all[i].name;
    return NULL;
}

/* "a, b, c" up to the end of the line. */
static void set_passes(golden *c, const char *list, unsigned line)
{
    const char *end = list + strcspn(list, "\n");
    for (c->npasses = 0; list < end;) {
        const size_t n = strcspn(list, ",\n");
        const char *pass = known_pass(list, n);
        if (n == 3 && starts(list, "all")) break;
        if (pass && c->npasses < GOLDEN_PASSES)
            c->passes[c->npasses++] = pass;
        else
            golden_fails(c, line, "there is no pass '%.*s'", (int)n, list);
        list += n;
        list += strspn(list, ", ");
    }
}

static void find_settings(golden *c)
{
    static const char passes[] = "# passes: ", fold[] = "# fold: ", rows[] = "# bytes: ";
    unsigned line = c->line;
    for (const char *at = c->model; *at; at = after_line(at), line++) {
        if (starts(at, passes)) set_passes(c, at + strlen(passes), line);
        if (starts(at, fold)) c->fold = strtoul(at + strlen(fold), NULL, 10);
        if (starts(at, rows)) c->rows = strtod(at + strlen(rows), NULL);
    }
}

static void compare(const golden *c, const char *got)
{
    const char *want = c->want ? c->want : "";
    unsigned line = c->want_line;
    if (!c->want) {
        golden_fails(c, c->line, "nothing is expected yet; GR_GOLDENS=write adds what comes out:\n%s", got);
        return;
    }
    for (; *got && *want; want = after_line(want), got = after_line(got), line++) {
        const size_t n = strcspn(got, "\n");
        if (strncmp(got, want, n + 1)) break;
    }
    CHECK_ELSE(!*got && !*want, golden_fails(c, line, "is '%.*s', expected '%.*s'", (int)strcspn(got, "\n"), got,
                                             (int)strcspn(want, "\n"), want));
}

static void one_case(golden *c, char *(*run)(const golden *c), FILE *out)
{
    find_settings(c);
    char *got = run(c);
    if (got && !out) compare(c, got);
    if (out) fprintf(out, "%s-->\n%s", c->model, got ? got : c->want ? c->want : "");
    free(got);
}

static void write_back(const char *path, const char *text, const char *before)
{
    FILE *f = strcmp(text, before) ? fopen(path, "wb") : NULL;
    if (f) fputs(text, f);
    if (f) fclose(f);
}

void golden_file(const char *path, char *(*run)(const golden *c))
{
    const char *write = getenv("GR_GOLDENS");
    char *text = read_text(path), *new_text = NULL;
    size_t size;
    FILE *out = write && !strcmp(write, "write") ? open_memstream(&new_text, &size) : NULL;
    golden c = {.file = strstr(path, "tests/passes"), .fold = 1 << 20};
    if (!text) {
        FAIL("%s cannot be read", path);
        return;
    }
    /* The folder names the pass unless the file does. */
    const char *slash = strrchr(path, '/'), *folder = slash;
    while (folder[-1] != '/') folder--;
    if (known_pass(folder, (size_t)(slash - folder)))
        c.passes[c.npasses++] = known_pass(folder, (size_t)(slash - folder));
    for (const char *at = text, *end = text + strlen(text); at < end;) {
        const char *stop = find_line(at, end, "---"), *middle = find_line(at, stop, "-->");
        c.line = 1 + lines_between(text, at);
        c.want_line = 1 + lines_between(text, after_line(middle));
        c.model = copy(at, middle);
        c.want = middle < stop ? copy(after_line(middle), stop) : NULL;
        one_case(&c, run, out);
        free(c.model);
        free(c.want);
        at = stop < end ? after_line(stop) : end;
        if (out && stop < end) fputs("---\n", out);
    }
    if (out) {
        fclose(out);
        write_back(path, new_text, text);
    }
    free(new_text);
    free(text);
}
