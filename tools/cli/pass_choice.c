/* SPDX-License-Identifier: Apache-2.0 */
#include "pass_choice.h"
#include "graph/lower.h"
#include <stdlib.h>

void pass_choice_known(const cli_command *self, const char *name)
{
    size_t n;
    const gr_pass *list = gr_pass_list(&n);
    const char **names = cli_array(n, sizeof *names);
    for (size_t i = 0; i < n; i++) {
        names[i] = list[i].name;
        if (strcmp(names[i], name)) continue;
        free(names);
        return;
    }
    const char *near = cli_nearest(name, names, n);
    cli_text all = {0};
    for (size_t i = 0; i < n; i++) cli_add(&all, "%s%s", i ? ", " : "", names[i]);
    if (near) cli_usage(self, "there is no pass '%s'; did you mean '%s'?", cli_show(name), near);
    cli_usage(self, "there is no pass '%s', only %s", cli_show(name), all.data);
}

/* Words apart by commas, of one argument or several. */
static void split_words(cli_list *list)
{
    cli_list words = {0};
    for (size_t i = 0; i < list->n; i++)
        for (const char *at = list->items[i]; *at;) {
            size_t n = strcspn(at, ",");
            if (n) *CLI_PUSH(words.items, words.n, words.cap) = cli_strndup(at, n);
            at += n + (at[n] == ',');
        }
    free(list->items);
    *list = words;
}

void pass_choice_resolve(pass_choice *c, const cli_command *self)
{
    split_words(&c->disable);
    for (size_t i = 0; i < c->disable.n; i++) pass_choice_known(self, c->disable.items[i]);
    c->passes.disabled = c->disable.items;
    c->passes.ndisabled = c->disable.n;
    c->passes.stops = c->stop_after >= 0;
    c->passes.stop_after = c->stop_after;
}

void pass_choice_free(pass_choice *c)
{
    for (size_t i = 0; i < c->disable.n; i++) free((char *)c->disable.items[i]);
    free(c->disable.items);
}

bool cli_write_stdout(void *user, const char *text, size_t size)
{
    (void)user;
    return fwrite(text, 1, size, stdout) == size;
}

gr_status graph_write_text(const gr_graph *g, size_t max_elements, gr_err *err)
{
    gr_text_options options = {.max_elements = max_elements};
    gr_doc *doc;
    GR_TRY(gr_graph_lower(g, &doc, err));
    gr_status status = gr_doc_print_text(doc, &options, cli_write_stdout, NULL, err);
    gr_doc_free(doc);
    return status;
}
