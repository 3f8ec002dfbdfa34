/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of a transformer, one line each with its figures, then what goes in and comes out.
 */
#include "dump.h"
#include <stdlib.h>

typedef struct figures {
    int64_t nodes, parameters;
    double work;
} figures;

static void put_crossing(const gr_view *w, const char *title, const gr_value *const *values, size_t n, cli_text *out)
{
    enum { SHOWN = 8 };
    for (size_t i = 0; i < n && i < SHOWN; i++)
        cli_add(out, "    %-4s %s %s\n", i ? "" : title, cli_show(values[i]->name),
                cli_show(gr_type_text(w->graph->syms, w->arena, &values[i]->type)));
    if (n > SHOWN) cli_add(out, "         and %s more\n", cli_thousands((int64_t)(n - SHOWN)));
}

static void put_line(const gr_view *w, const char *name, const figures *f, cli_text *out)
{
    cli_add(out, "%s  %s node%s, %s parameters", name, cli_thousands(f->nodes), f->nodes == 1 ? "" : "s",
            cli_thousands(f->parameters));
    if (w->plan)
        cli_add(out, ", %s operations, %.1f %%", dump_scaled(f->work), w->work > 0 ? 100 * f->work / w->work : 0);
    cli_add(out, "\n");
}

bool dump_parts(const gr_view *view, const dump_options *options, dump_sink *sink, gr_err *err)
{
    (void)err, (void)options;
    size_t n = view->outline.nparts;
    figures *all = cli_array(n + 1, sizeof *all); /* the last: in the open */
    for (size_t i = 0; i < view->node_count; i++) {
        const gr_view_node *x = &view->nodes[i];
        figures *f = &all[x->part == GR_VIEW_NONE ? n : x->part];
        f->nodes++;
        f->parameters += x->parameters;
        f->work += x->work;
    }
    for (size_t i = 0; i < n; i++) {
        const gr_part *p = &view->outline.parts[i];
        put_line(view, cli_show(p->name), &all[i], &sink->text);
        put_crossing(view, "in", (const gr_value *const *)p->inputs, p->ninputs, &sink->text);
        put_crossing(view, "out", (const gr_value *const *)p->outputs, p->noutputs, &sink->text);
        dump_spill(sink);
    }
    if (!n) cli_add(&sink->text, "no parts of a transformer were found\n");
    if (all[n].nodes) put_line(view, "in the open:", &all[n], &sink->text);
    free(all);
    return true;
}
