/* SPDX-License-Identifier: Apache-2.0
 *
 * Compiled models: one file with the optimised graph as an ONNX document and the packed weights, which are mapped and
 * used where they are. It either stands for itself, or leaves the plain weights in the model's file beside it.
 */
#ifndef GR_COMPILED_H
#define GR_COMPILED_H

#include "exec/packs.h"
#include "graph/ir.h"
#include "graph/map.h"

typedef struct gr_compiled_pack {
    const char *value, *beside[2]; /* names of the constants in the graph that the key points to, or NULL */
    gr_pack_key key;    /* without them */
    const void *data;   /* in the file */
    size_t size;
} gr_compiled_pack;

/* What such a file says; all of it is checked, but for the document and the contents of packs. */
typedef struct gr_compiled {
    gr_arena *arena;
    gr_map *maps;  /* the file and those with its weights; once a document is loaded, the document's */
    gr_map *file;
    size_t doc_offset, doc_size;
    bool fused;    /* the document is the graph after the passes */
    bool strict;
    gr_precision precision;
    size_t npacks;
    gr_compiled_pack *packs;
    const char *origin; /* path of the model it was made of, NULL if that is not beside it */
    const char *misfit; /* NULL, or why packs, and weights elsewhere, are not what they were: "stale", "foreign" */
} gr_compiled;

/* *is: whether the file is a compiled model. Where it is not, or cannot be opened, *out holds nothing and the status is
 * GR_OK; a damaged one gives GR_EFORMAT. */
gr_status gr_compiled_open(const char *path, gr_compiled *out, bool *is, gr_err *err);
void gr_compiled_close(gr_compiled *c);

/* What is written. Tensors of the document are left as they are. */
typedef struct gr_compiled_parts {
    const gr_doc *doc;
    bool fused, strict, standalone;
    gr_precision precision;
    const gr_graph *graph; /* whose constants were packed */
    gr_packs *packs;
    const char *model;     /* path of the file that the weights come from, or NULL */
    const gr_map *maps;    /* it and its external data */
} gr_compiled_parts;
gr_status gr_compiled_save(const gr_compiled_parts *parts, const char *path, gr_err *err);

#endif
