/* SPDX-License-Identifier: Apache-2.0
 *
 * What passes note on their way. Notes are found by anchor through a search from the newest back that ends early:
 * a pass notes all about one anchor before it goes on.
 */
#include "pass.h"
#include <stdarg.h>
#include <stdio.h>

enum { LOOK_BACK = 16, MAX_MISSES = 4096, MAX_RULES = 64 };

void gr_miss_at(gr_graph *g, const char *rule, const gr_node *anchor, const gr_node *culprit, int depth,
                const char *why)
{
    gr_log *log = g->log;
    if (!log) return;
    gr_near_miss *m = NULL;
    for (size_t i = log->nmisses; i > 0 && i + LOOK_BACK > log->nmisses && !m; i--)
        if (log->misses[i - 1].anchor == anchor && !strcmp(log->misses[i - 1].rule, rule)) m = &log->misses[i - 1];
    if (m && m->depth > depth) return;
    if (!m && log->nmisses == MAX_MISSES) return;
    const char *copy = gr_arena_strdup(g->arena, why);
    if (copy && !m) m = GR_PUSH(g->arena, log->misses, log->nmisses, log->capmisses);
    if (copy && m) *m = (gr_near_miss){rule, anchor, culprit, copy, depth};
}

void gr_miss(gr_graph *g, const char *rule, const gr_node *anchor, const gr_node *culprit, const char *fmt, ...)
{
    char why[GR_ERR_SIZE];
    va_list args;
    if (!g->log) return;
    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    gr_miss_at(g, rule, anchor, culprit, 0, why);
}

void gr_hit(gr_graph *g, const char *rule)
{
    gr_log *log = g->log;
    if (!log) return;
    for (size_t i = 0; i < log->nhits; i++)
        if (!strcmp(log->hits[i].rule, rule) && !strcmp(log->hits[i].pass, log->pass)) {
            log->hits[i].count++;
            return;
        }
    gr_hits *h = log->nhits < MAX_RULES ? GR_PUSH(g->arena, log->hits, log->nhits, log->caphits) : NULL;
    if (h) *h = (gr_hits){log->pass, rule, 1};
}
