/* SPDX-License-Identifier: Apache-2.0
 *
 * Cut a piece out of a graph: what some values are made from, from others on, as a document of its own.
 */
#ifndef GR_EXTRACT_H
#define GR_EXTRACT_H

#include "outline.h"

typedef struct gr_cut {
    size_t nfrom, nto;
    const gr_value **from; /* these become inputs; none: the graph's own inputs, as far as they are needed */
    const gr_value **to;   /* these become outputs */
} gr_cut;

/* The piece as a document that points into the graph; weights that it doesn't need are left out. GR_EINVAL if `to` needs
 * inputs of the graph that `from` doesn't cover (the sentence names them), or if `to` doesn't depend on one of `from`. */
gr_status gr_extract(const gr_graph *g, const gr_cut *cut, gr_doc **out, gr_err *err);

/* The cut along a part's borders; it points into the outline. */
gr_cut gr_extract_part(const gr_part *part);

/* Values by a name: of a value, an output, or a part, which stands for its inputs (`to` false) or outputs. GR_EINVAL if
 * there is none, or if passes have dissolved it. The arena owns the list. */
gr_status gr_extract_find(const gr_outline *o, const char *name, bool to, gr_arena *arena, size_t *n,
                          const gr_value ***out, gr_err *err);

#endif
