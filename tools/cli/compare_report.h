/* SPDX-License-Identifier: Apache-2.0
 *
 * What "graphrun compare" found, as text and as JSON.
 */
#ifndef CLI_COMPARE_REPORT_H
#define CLI_COMPARE_REPORT_H

#include "inspect/divergence.h"
#include "json.h"

typedef struct compare_report {
    const char *name_a, *name_b; /* paths */
    const char *level;           /* of the graphs: "raw", "optimized"; NULL: of the two that are compared */
    char inputs[160];            /* where they came from */
    const gr_align *align;       /* NULL: saved values */
    const gr_divergence *found;
    bool all;
    int64_t table; /* lines of the table of values; 0: none */
} compare_report;

void compare_report_text(const compare_report *r, cli_text *out);
void compare_report_json(const compare_report *r, cli_text *out);

#endif
