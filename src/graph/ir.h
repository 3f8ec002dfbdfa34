/* SPDX-License-Identifier: Apache-2.0
 *
 * The graph that passes work on: nodes in topological order, values with use lists. The graph's arena owns all of it;
 * nothing in it is freed alone. Ids are for dumps and side arrays: a pass that needs to remember something per value
 * allocates an array of graph->nvalues entries.
 */
#ifndef GR_IR_H
#define GR_IR_H

#include "doc.h"
#include "sym.h"

#define GR_MAX_RANK 16
#define GR_RANK_UNKNOWN (-1)

typedef struct gr_op gr_op;
typedef struct gr_graph gr_graph;
typedef struct gr_node gr_node;
typedef struct gr_value gr_value;

/* "Rank unknown", "rank 0" and "dimension unknown" are three different states: rank -1; rank 0; a fresh symbol. */
typedef struct gr_type {
    gr_kind kind;               /* GR_KIND_NONE: nothing known */
    gr_dtype dtype;             /* tensors; GR_UNDEFINED: not known */
    int rank;                   /* tensors; GR_RANK_UNKNOWN, or number of dims */
    const gr_dim *dims;
    const struct gr_type *elem; /* sequences and optionals */
} gr_type;

/* Values of a small integer or bool tensor as symbolic integers, row-major, one per element of its (known) shape. */
#define GR_MAX_SYMBOLIC 1024
typedef struct gr_ivals {
    int64_t n;
    gr_dim v[];
} gr_ivals;

/* A tensor with concrete shape. Whoever made it owns `data`; in a graph, data lies in the model file or an arena. A
 * constant's data may be at any alignment unless `aligned`. Sequences hold their elements in `items`.
 * A constant matrix of type float may be stored in 16 bits, as the file has it: its tensor says float16 or bfloat16 then
 * where its value says float (gr_is_narrow). */
typedef struct gr_tensor {
    gr_kind kind; /* GR_KIND_TENSOR, GR_KIND_SEQUENCE, or GR_KIND_OPTIONAL for one that is empty */
    gr_dtype dtype;
    int rank;
    int64_t dims[GR_MAX_RANK];
    int64_t elements; /* product of dims */
    size_t size;      /* bytes */
    void *data;
    /* Elements from one item of axis 0 and of axis 1 to the next where they are apart, as in a cache with room for more
     * tokens; 0: dense. Only what reads and extends caches meets such a tensor (exec/plan.h). */
    int64_t row_pitch, head_pitch;
    bool is_const;    /* contents known before run and never changing: may be packed */
    bool aligned;     /* data is aligned to its element */
    bool mapped;      /* data lies in a read-only mapped file */
    size_t count;     /* sequence */
    struct gr_tensor **items;
} gr_tensor;

typedef struct gr_use { /* one input slot of a node */
    gr_value *value;    /* NULL: an absent optional input */
    gr_node *user;
    struct gr_use *next, **link;
} gr_use;

struct gr_value {
    uint32_t id;
    uint32_t nuses;
    gr_graph *graph;
    const char *name;     /* unique within the graph; never NULL, never "" */
    gr_type type;
    const gr_ivals *ivals; /* symbolic contents if known, else NULL */
    gr_tensor *konst;      /* contents if constant (initializer or folded), else NULL */
    gr_node *def;          /* NULL: graph input or constant */
    gr_use *uses;
    gr_value *became;      /* what its readers read instead since gr_replace_uses, or the outer value that it stands for */
    int output_index;      /* >= 0: one of its positions among the graph's outputs */
    bool is_input, is_output;
    bool widened; /* holds in float what the file has in 16 bits */
};

struct gr_node {
    uint32_t id;
    const char *name; /* from the file or "" */
    const gr_op *op;
    const void *params; /* parsed attributes, as op->parse made them */
    gr_attrs attrs;     /* the attributes themselves, for printing and saving */
    gr_graph *graph;
    gr_node *prev, *next;
    uint32_t nin, nout;
    uint32_t ncaptured;     /* of nin: the last ones are outer values that the node's subgraphs use */
    uint32_t nsubgraphs;
    gr_graph **subgraphs;   /* If: then, else; Loop and Scan: body */
    gr_value **out;         /* an absent optional output is NULL */
    gr_use *in;
};

/* A node of the file, functions written out, as it was before any pass. inspect/provenance.h tells what became of it. */
typedef struct gr_source {
    const char *name;    /* as in gr_node, behind the names of the calls around it */
    gr_node *node;       /* NULL: a Constant, or an Identity of a constant, that never was a node here */
    gr_value *value;     /* then: the constant */
    const char *op;
    uint32_t nin;
    gr_value *const *in; /* what it read, an absent input NULL */
} gr_source;

struct gr_graph {
    gr_arena *arena; /* shared with the graphs inside it */
    gr_syms *syms;   /* likewise */
    const char *name;
    gr_graph *parent;      /* of a subgraph */
    gr_node *first, *last;
    uint32_t nnodes;       /* ids given out, nodes erased included */
    uint32_t nvalues;      /* ids given out */
    size_t ninputs, noutputs;
    gr_value **inputs;     /* graph inputs proper first, then, for a subgraph, the captured values */
    size_t ncaptured;      /* of ninputs: the last ones, in the order of the node's captured inputs */
    gr_value **outputs;    /* one value may stand in several places */
    const char **output_names;
    int *next_output;      /* of output i: the next position of the same value, or -1 */
    int64_t opset;         /* of ai.onnx */
    struct gr_names *names; /* name -> value */
    size_t nsources, capsources;
    gr_source *sources;    /* in an order in which a node follows those it reads; a subgraph has its own */
    bool lifted;           /* a subgraph whose nodes were moved to the graph outside; their values became those there */
    bool strict;           /* passes keep the file's arithmetic between codes and floats (graphrun.h) */
    bool by_row;           /* passes may let activations be quantised row by row where the file has one scale for all */
    struct gr_log *log;    /* what passes note on their way (passes/pass.h); NULL: nobody asks */
};

static inline gr_value *gr_in(const gr_node *n, uint32_t i) { return i < n->nin ? n->in[i].value : NULL; }
static inline gr_value *gr_out(const gr_node *n, uint32_t i) { return i < n->nout ? n->out[i] : NULL; }
/* What messages call a node: its name, or that of its first output. */
static inline const char *gr_node_label(const gr_node *n)
{
    for (uint32_t i = 0; !*n->name && i < n->nout; i++)
        if (n->out[i]) return n->out[i]->name;
    return n->name;
}
#define GR_FOR_NODES(n, g) for (gr_node *n = (g)->first, *next_ = n ? n->next : NULL; n; n = next_, next_ = n ? n->next : NULL)

/* ---- Building: NULL means out of memory. ---- */
gr_graph *gr_graph_new(gr_arena *arena, gr_syms *syms, const char *name, gr_graph *parent);
/* A new value; if the name is taken or NULL, a number is appended to it. */
gr_value *gr_graph_value(gr_graph *g, const char *name);
gr_value *gr_graph_find(const gr_graph *g, const char *name);
/* Whether a value still has the contents that the file gives it: an input, a constant, or made by a node that has not
 * been erased. */
static inline bool gr_value_lives(const gr_value *v) { return !v->widened && (v->is_input || v->konst || v->def); }
static inline bool gr_is_16_bit(gr_dtype t) { return t == GR_FLOAT16 || t == GR_BFLOAT16; }
/* A constant of type float that is stored in 16 bits. */
static inline bool gr_is_narrow(const gr_value *v)
{
    return v->konst && v->type.dtype == GR_FLOAT && gr_is_16_bit(v->konst->dtype);
}
/* A constant value over memory that lives as long as the graph; `data` may be at any alignment. */
gr_value *gr_graph_const(gr_graph *g, const char *name, gr_dtype dtype, int rank, const int64_t *dims, const void *data);
/* A constant of rank 0, or of rank 1 from int64s; contents are copied. */
gr_value *gr_graph_scalar(gr_graph *g, const char *name, float x);
gr_value *gr_graph_ints(gr_graph *g, const char *name, int64_t n, const int64_t *v);
/* A node that stands nowhere yet; its outputs are new values named after `out_names` (NULL: derived from the op). */
gr_node *gr_graph_node(gr_graph *g, const gr_op *op, const void *params, gr_attrs attrs, uint32_t nin,
                       gr_value *const *in, uint32_t nout, const char *const *out_names);

/* ---- The functions that change edges, and no others do. ---- */

/* Put a new node before `at`, or at the end if `at` is NULL.        a → at      becomes   a → n → at */
void gr_insert_before(gr_node *n, gr_node *at);
/* Let input slot i of n read v (NULL: absent).                      u ─→ n.i    becomes   v ─→ n.i */
void gr_set_input(gr_node *n, uint32_t i, gr_value *v);
/* Let every reader of `old`, graph outputs included, read `new`.
 * Where `old` is a graph output the output keeps its name.          old → a, b  becomes   new → a, b
 * The old value remembers the new one. */
void gr_replace_uses(gr_value *old, gr_value *new);
/* Exchange the names of two values: what replaces a value is found under its name. */
void gr_take_name(gr_value *v, gr_value *from);
/* Take a node out whose outputs nobody reads, or that are constants by now (asserted).
 *                                                                   x → n       becomes   x */
void gr_erase(gr_node *n);
/* Let graph output i be v.                                          u ─→ out i  becomes   v ─→ out i */
void gr_set_output(gr_graph *g, size_t i, gr_value *v);

/* Move node n before `at` without changing edges; the caller keeps the order topological. */
void gr_move_before(gr_node *n, gr_node *at);

/* Bytes of the constants that nodes read, each counted once. */
size_t gr_graph_constant_bytes(const gr_graph *g);

/* Everything that must always hold: use lists both ways, order, single definition, outputs, types of constants.
 * GR_EMODEL with a sentence about the first fault. For tests and debug builds. */
gr_status gr_graph_check(const gr_graph *g, gr_err *err);

/* ---- Types ---- */
gr_type gr_type_tensor(gr_dtype dtype, int rank, const gr_dim *dims);
bool gr_type_is_static(const gr_type *t); /* a tensor with every dimension a number */
/* "float[batch, 768]", "int64[]", "float[?]" with rank unknown; in the arena. */
const char *gr_type_text(gr_syms *s, gr_arena *a, const gr_type *t);

/* ---- From and to documents (build.c, lower.c) ---- */

/* Resolve a document: functions inlined, subgraphs, Constants and Identity-of-constant resolved, nodes sorted, operators
 * looked up and their attributes parsed. All that is missing is reported in one message. The graph points into the
 * document, which must outlive it. An initializer that is also a graph input becomes a constant, unless its name is
 * among the `overridden` (may be NULL): then it is an input. */
gr_status gr_graph_build(const gr_doc *doc, gr_arena *arena, const gr_doc_names *overridden, gr_graph **out,
                         gr_err *err);
/* A constant value with the contents of a document's tensor: pointing at it, or, if it is small and unaligned or bool,
 * at a copy (build_const.c). */
gr_status gr_graph_const_of(gr_graph *g, const char *name, const gr_doc_tensor *t, gr_value **out, gr_err *err);
gr_status gr_graph_const_sparse(gr_graph *g, const char *name, const gr_doc_sparse *s, gr_value **out, gr_err *err);
/* The constant that a Constant node stands for. */
gr_status gr_graph_const_node(gr_graph *g, const char *name, gr_attrs attrs, gr_value **out, gr_err *err);
/* A document that says what the graph says now. It points into the graph. */
gr_status gr_graph_lower(const gr_graph *g, gr_doc **out, gr_err *err);
/* A value's declaration under a name; false: out of memory. */
bool gr_lower_value(gr_arena *a, const gr_value *v, const char *name, gr_doc_value *out);

/* ---- Inference (infer.c) ---- */

/* What is known of every value of a graph, by id. */
typedef struct gr_facts {
    gr_arena *arena;
    gr_syms *syms;
    gr_type *types;
    const gr_ivals **ivals; /* symbolic contents of small integer tensors */
    gr_tensor **konst;      /* contents, if they are known */
} gr_facts;

typedef struct gr_fold {
    size_t max_output;  /* bytes of one folded output; 0: fold nothing but shape arithmetic */
    size_t budget;      /* bytes of all of them; counted down */
    size_t followed;    /* elements of symbolic contents so far; they have a limit, too */
    bool only_new;      /* leave nodes alone whose inputs are all constants of the graph itself */
    struct gr_exec *exec;
} gr_fold;

/* Facts about all values of g from those about its inputs and constants, which the caller has filled in. Nodes whose
 * inputs are known are run within the limits of `fold`; results live in f->arena. */
gr_status gr_infer_facts(const gr_graph *g, gr_facts *f, gr_fold *fold, gr_err *err);

/* Types, symbolic contents and constants of the outputs of one node from those of its inputs, recorded in the values. For
 * a node that a pass has made. */
gr_status gr_node_infer(gr_node *n, gr_err *err);

/* The same recorded in the graph: types, symbolic contents and constants of its values, of its subgraphs too. Nothing is
 * removed. `max_output`: as in gr_fold. */
gr_status gr_graph_infer(gr_graph *g, size_t max_output, gr_err *err);

#endif
