/* SPDX-License-Identifier: Apache-2.0
 *
 * What two files say differently, without running them. Names of nodes and of inner values and the order of nodes say
 * nothing; names of inputs and outputs do.
 */
#ifndef GR_DIFF_H
#define GR_DIFF_H

#include "align.h"

typedef struct gr_attr_change {
    const char *name, *a, *b; /* values as text; "absent" */
} gr_attr_change;
/* Attributes in which two nodes differ, in the arena; their number. */
size_t gr_attr_changes(gr_attrs a, gr_attrs b, gr_arena *arena, gr_attr_change **out);

typedef struct gr_diff_text {
    const char *what, *a, *b; /* a or b NULL: absent */
} gr_diff_text;

typedef struct gr_diff_pair {
    const void *a, *b; /* gr_node or gr_value */
} gr_diff_pair;

typedef struct gr_diff {
    size_t nmetadata, ninterface, nonly_a, nonly_b, nattrs, nwired, nconsts;
    gr_diff_text *metadata, *interface; /* versions, producer, properties; inputs and outputs */
    const gr_node **only_a, **only_b;
    gr_diff_pair *attrs;  /* nodes with other attributes */
    gr_diff_pair *wired;  /* nodes that read other values */
    gr_diff_pair *consts; /* constants with other contents; each once */
} gr_diff;

/* The difference of two documents whose graphs, built but not inferred, have been aligned. */
gr_status gr_diff_make(const gr_doc *a, const gr_doc *b, const gr_align *align, gr_arena *arena, gr_diff *out,
                       gr_err *err);

#endif
