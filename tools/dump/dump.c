/* SPDX-License-Identifier: Apache-2.0
 *
 * What the formats share, and the textual one.
 */
#include "dump.h"
#include "ops/op.h"
#include <errno.h>
#include <stdlib.h>

enum { SPILL = 1 << 16 };

static void write_out(dump_sink *s, size_t n)
{
    if (n && !s->failed && fwrite(s->text.data, 1, n, s->file) != n) s->failed = errno ? errno : EIO;
}

void dump_spill(dump_sink *s)
{
    if (s->text.size < SPILL) return;
    size_t n = s->text.size - 1;
    write_out(s, n);
    s->text.data[0] = s->text.data[n];
    s->text.size = 1;
}

bool dump_drain(dump_sink *s, const char *path, gr_err *err)
{
    write_out(s, s->text.size);
    cli_text_free(&s->text);
    if (!s->failed && fflush(s->file)) s->failed = errno;
    return !s->failed ||
           cli_fail(err, GR_EIO, "%s: %s", path ? cli_show(path) : "standard output", strerror(s->failed));
}

dump_name dump_op_name(const gr_view_node *n)
{
    dump_name out;
    snprintf(out.s, sizeof out.s, "%s%s%s", n->domain, *n->domain ? "." : "", n->node->op->name);
    return out;
}

cli_number dump_scaled_of(double x)
{
    static const char *const unit[] = {"", " k", " M", " G", " T", " P", " E"};
    cli_number out;
    size_t i = 0;
    while (x >= 999.95 && i < 6) x /= 1000, i++;
    snprintf(out.s, sizeof out.s, i ? "%.1f%s" : "%.0f%s", x, unit[i]);
    return out;
}

static bool gather(void *user, const char *text, size_t size)
{
    dump_sink *s = user;
    cli_add_bytes(&s->text, text, size);
    dump_spill(s);
    return !s->failed;
}

bool dump_text(const gr_view *view, const dump_options *options, dump_sink *sink, gr_err *err)
{
    gr_doc *doc;
    const gr_text_options text = {.max_elements = options->constants};
    if (gr_view_lower(view, &doc, err) != GR_OK) return false;
    gr_status status = gr_doc_print_text(doc, &text, gather, sink, err);
    gr_doc_free(doc);
    return status == GR_OK || sink->failed;
}
