/* SPDX-License-Identifier: Apache-2.0
 *
 * A model as a document: what an .onnx file or its textual form says, one to one, nothing resolved. import.c and
 * text_parse.c make it, export.c and text_print.c write it, build.c turns it into the IR and lower.c the IR into it.
 * It lives in one arena; tensors point into mapped files where they can.
 *
 * Strings are NUL-terminated. A NUL byte inside a name in the file is held as the two bytes C0 80 ("modified UTF-8"),
 * so that names that differ stay different; export writes it back. A field that is absent is NULL or 0.
 */
#ifndef GR_DOC_H
#define GR_DOC_H

#include "base.h"

typedef struct gr_bytes_view {
    const char *data;
    size_t size;
} gr_bytes_view;

typedef struct gr_doc_prop {
    const char *key, *value;
} gr_doc_prop;

typedef struct gr_doc_props {
    size_t count;
    gr_doc_prop *items;
} gr_doc_props;

typedef struct gr_doc_names {
    size_t count;
    const char **items;
} gr_doc_names;

/* A tensor. `dims` are checked: none negative, elements and bytes do not overflow. `data` holds `size` bytes in ONNX's
 * raw_data layout (little endian, sub-byte types packed) at any alignment, in a map or in the arena; NULL if `elided`
 * (a text dump left the contents out) or if size is 0. Strings: `strings` has one per element. */
typedef struct gr_doc_tensor {
    const char *name;
    gr_dtype dtype;
    int rank;
    const int64_t *dims;
    int64_t elements;
    const void *data;
    size_t size;
    const gr_bytes_view *strings;
    bool elided;
    bool mapped;             /* data lies in a mapped file (or the caller's memory), not in the arena */
    gr_doc_props external;   /* external_data entries as in the file, for printing and writing back */
    const char *doc_string;
    gr_doc_props metadata;
} gr_doc_tensor;

typedef struct gr_doc_sparse {
    gr_doc_tensor *values, *indices; /* values->name names it */
    int rank;
    const int64_t *dims;
} gr_doc_sparse;

typedef struct gr_doc_dim {
    int64_t value;     /* -1: not given as a number */
    const char *param; /* NULL: not named */
    const char *denotation;
} gr_doc_dim;

typedef enum gr_kind { GR_KIND_NONE, GR_KIND_TENSOR, GR_KIND_SEQUENCE, GR_KIND_OPTIONAL, GR_KIND_MAP, GR_KIND_SPARSE, GR_KIND_OPAQUE } gr_kind;

typedef struct gr_doc_type {
    gr_kind kind;
    gr_dtype dtype;           /* tensor, sparse: element; map: key */
    int rank;                 /* tensor, sparse: -1 if no shape is given */
    const gr_doc_dim *dims;
    struct gr_doc_type *elem; /* sequence, optional: element; map: value; NULL if absent */
    const char *opaque_domain, *opaque_name; /* opaque only */
    const char *denotation;
} gr_doc_type;

typedef struct gr_doc_value {
    const char *name;
    gr_doc_type *type; /* may be NULL */
    const char *doc_string;
    gr_doc_props metadata;
} gr_doc_value;

typedef struct gr_doc_values {
    size_t count;
    gr_doc_value *items;
} gr_doc_values;

typedef struct gr_doc_graph gr_doc_graph;

/* Numbered as AttributeProto.AttributeType. */
typedef enum gr_attr_type {
    GR_ATTR_UNDEFINED, GR_ATTR_FLOAT, GR_ATTR_INT, GR_ATTR_STRING, GR_ATTR_TENSOR, GR_ATTR_GRAPH,
    GR_ATTR_FLOATS, GR_ATTR_INTS, GR_ATTR_STRINGS, GR_ATTR_TENSORS, GR_ATTR_GRAPHS,
    GR_ATTR_SPARSE, GR_ATTR_SPARSES, GR_ATTR_TYPE, GR_ATTR_TYPES,
} gr_attr_type;

typedef struct gr_attr {
    const char *name;
    const char *ref;   /* name of the enclosing function's attribute that gives the value; else NULL */
    gr_attr_type type;
    const char *doc_string;
    size_t count;      /* of the list types */
    union {
        float f;
        int64_t i;
        gr_bytes_view s;
        gr_doc_tensor *t;
        gr_doc_graph *g;
        gr_doc_sparse *sparse;
        gr_doc_type *tp;
        const float *floats;
        const int64_t *ints;
        const gr_bytes_view *strings;
        gr_doc_tensor **tensors;
        gr_doc_graph **graphs;
        gr_doc_sparse **sparses;
        gr_doc_type **types;
    };
} gr_attr;

typedef struct gr_attrs {
    size_t count;
    const gr_attr *items;
} gr_attrs;

typedef struct gr_doc_node {
    const char *name, *op_type, *domain, *overload, *doc_string; /* name may be NULL or ""; domain "" is ai.onnx */
    gr_doc_names in, out; /* "" is an absent optional one */
    gr_attrs attrs;
    gr_doc_props metadata;
} gr_doc_node;

typedef struct gr_doc_nodes {
    size_t count;
    gr_doc_node *items;
} gr_doc_nodes;

struct gr_doc_graph {
    const char *name, *doc_string;
    gr_doc_nodes nodes;
    gr_doc_values in, out, info;
    size_t ninit, nsparse;
    gr_doc_tensor **init;
    gr_doc_sparse **sparse;
    gr_doc_props metadata;
};

typedef struct gr_doc_opset {
    const char *domain; /* "" is ai.onnx */
    int64_t version;
} gr_doc_opset;

typedef struct gr_doc_opsets {
    size_t count;
    gr_doc_opset *items;
} gr_doc_opsets;

typedef struct gr_doc_function {
    const char *name, *domain, *overload, *doc_string;
    gr_doc_names in, out, attr_names; /* attr_names: required ones */
    gr_attrs attr_defaults;
    gr_doc_nodes nodes;
    gr_doc_opsets opsets;
    gr_doc_values info;
    gr_doc_props metadata;
} gr_doc_function;

typedef struct gr_doc {
    gr_arena *arena; /* owns all of it but the maps */
    struct gr_map *maps; /* files mapped, see map.h; freed by gr_doc_free */
    struct gr_doc *next; /* documents that this one points into; likewise */
    int64_t ir_version;
    bool has_model_version;
    int64_t model_version;
    const char *producer_name, *producer_version, *domain, *doc_string;
    gr_doc_opsets opsets;
    gr_doc_props metadata;
    gr_doc_graph *graph;
    size_t nfunctions;
    gr_doc_function *functions;
} gr_doc;

typedef struct gr_doc_limits {
    size_t max_graph_bytes; /* structs and strings without weights */
} gr_doc_limits;

/* Read a file: by its name .onnxtxt is textual syntax, else protobuf (a file that holds text is recognised too).
 * `path` is used in messages and to find external data. */
gr_status gr_doc_load(const char *path, const gr_doc_limits *limits, gr_doc **out, gr_err *err);
/* From memory, which must outlive the document. `folder` NULL: external data is refused. `name` is for messages. */
gr_status gr_doc_load_memory(const void *data, size_t size, const char *folder, const char *name,
                             const gr_doc_limits *limits, gr_doc **out, gr_err *err);
/* From `offset` of the file `path`, which is mapped as `self`; tensors may lie in it, too. `maps`, which has it, becomes
 * the document's, or is freed. */
gr_status gr_doc_load_part(const char *path, struct gr_map *self, struct gr_map *maps, size_t offset, size_t size,
                           const gr_doc_limits *limits, gr_doc **out, gr_err *err);
/* The location of what lies in the same file as the document; no file is called so. */
#define GR_SELF_LOCATION "//self"
void gr_doc_free(gr_doc *doc);

/* Textual syntax (text_parse.c, text_print.c). */
gr_status gr_doc_parse_text(const char *text, size_t size, const char *name, gr_doc **out, gr_err *err);
typedef struct gr_text_options {
    size_t max_elements; /* tensors with more are elided by a marker that parses back as `elided`; SIZE_MAX: none */
    size_t dense_above;  /* tensors with more are written as base64, which only our parser reads; 0: none are */
    uint64_t (*content)(const gr_doc_tensor *); /* NULL, or: stands as "#<16 hex digits>" for what is elided, which
                                                   nothing parses */
    bool no_notes;       /* leave out what the grammar has no place for: doc strings, metadata, denotations */
} gr_text_options;
gr_status gr_doc_print_text(const gr_doc *doc, const gr_text_options *options, gr_write_fn write, void *user, gr_err *err);

/* Write protobuf (export.c): to a file, written beside it first and then renamed. Weights are inside, or in a file of
 * external data. */
typedef struct gr_save_options {
    const char *external; /* that file, in the folder of the model; NULL: "<model>.data" if the model is too large, */
    size_t max_inside;    /* which is above so many bytes (0: 2 GiB, where protobuf ends) */
} gr_save_options;
/* Options NULL: as gr_doc_save. */
gr_status gr_doc_save_as(const gr_doc *doc, const char *path, const gr_save_options *options, gr_err *err);
gr_status gr_doc_save(const gr_doc *doc, const char *path, gr_err *err); /* weights inside */
/* The bytes of the file go to `fd`, *size of them. Tensors without data keep the `external` entries that they have.
 * Sentences do not name the file. */
gr_status gr_doc_write(const gr_doc *doc, int fd, size_t *size, gr_err *err);

#endif
