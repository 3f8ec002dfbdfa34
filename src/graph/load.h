/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the ways to load a document and the reader of protobuf: where a model comes from, and its external data.
 */
#ifndef GR_LOAD_H
#define GR_LOAD_H

#include "doc.h"
#include "map.h"

/* Where external data may be: beside the file `path`, or in `folder`; nowhere if both are NULL. */
typedef struct gr_source {
    const char *path, *folder;
    gr_map_roots roots; /* found when first needed */
    gr_map *self;       /* a file that the document is part of, as GR_SELF_LOCATION; or NULL */
} gr_source;

/* Point a tensor with `external` entries to its bytes in another file, which doc->maps then has. */
gr_status gr_source_resolve(gr_source *source, gr_doc *doc, gr_doc_tensor *tensor, gr_err *err);

/* Fill a document that has an arena from a ModelProto, which must outlive it. `limit`: see gr_doc_limits. */
gr_status gr_import(gr_doc *doc, const void *file, size_t size, gr_source *source, size_t limit, gr_err *err);

#endif
