/* SPDX-License-Identifier: Apache-2.0
 *
 * graphdump: the formats. Each writes one view to a sink; what a name from a file can hold is each format's own care.
 */
#ifndef DUMP_H
#define DUMP_H

#include "cli.h"
#include "inspect/view.h"

/* Text on its way to a file, in pieces. The first failure is remembered and ends in a sentence when the sink is drained. */
typedef struct dump_sink {
    cli_text text;
    FILE *file;
    int failed; /* errno */
} dump_sink;

/* Write what has gathered if it is much; at least the last byte stays, which cli_json looks at. */
void dump_spill(dump_sink *s);
bool dump_drain(dump_sink *s, const char *path, gr_err *err);

typedef struct dump_options {
    const char *model; /* its path, for titles */
    const char *level, *shape; /* as they are called; shape NULL: none could be used */
    size_t constants;  /* elements of the longest constant that is printed */
    bool stats;        /* read weights and tell their range */
    bool color;
    size_t width;      /* columns; 0: no limit */
    int64_t depth;     /* of the tree; 0: no limit */
} dump_options;

typedef bool (*dump_fn)(const gr_view *view, const dump_options *options, dump_sink *sink, gr_err *err);
bool dump_text(const gr_view *view, const dump_options *options, dump_sink *sink, gr_err *err);
bool dump_tree(const gr_view *view, const dump_options *options, dump_sink *sink, gr_err *err);
bool dump_dot(const gr_view *view, const dump_options *options, dump_sink *sink, gr_err *err);
bool dump_json(const gr_view *view, const dump_options *options, dump_sink *sink, gr_err *err);
/* Not a format of its own: the outline's parts, one after another. */
bool dump_parts(const gr_view *view, const dump_options *options, dump_sink *sink, gr_err *err);

/* "MatMul", "graphrun.Linear". Lives until the end of the full expression. */
typedef struct dump_name {
    char s[160];
} dump_name;
dump_name dump_op_name(const gr_view_node *n);
#define dump_op(n) (dump_op_name(n).s)

/* 22347000000 as "22.3 G". */
cli_number dump_scaled_of(double x);
#define dump_scaled(x) (dump_scaled_of(x).s)

#endif
