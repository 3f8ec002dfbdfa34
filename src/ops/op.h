/* SPDX-License-Identifier: Apache-2.0
 *
 * What an operator is. One file per family, src/ops/<stem>.c, defines `const gr_op op_<stem>[]`, ended by a row without a
 * name; the build makes the table of all families from the file names. A row reads like the ONNX schema block; of the
 * rows with one name the highest `since` <= the model's opset wins. Adding an operator touches one file.
 */
#ifndef GR_OP_H
#define GR_OP_H

#include "graph/ir.h"

/* ---- Attributes: for parse functions. The first call that fails writes the sentence. ---- */
const gr_attr *gr_attr_find(gr_attrs attrs, const char *name);
/* Value of an attribute, or `missing` if it is absent. GR_EMODEL if it has another type. */
gr_status gr_attr_int(gr_attrs attrs, const char *name, int64_t missing, int64_t *out, gr_err *err);
gr_status gr_attr_float(gr_attrs attrs, const char *name, float missing, float *out, gr_err *err);
gr_status gr_attr_string(gr_attrs attrs, const char *name, const char *missing, const char **out, gr_err *err);
/* A list of ints; *n = -1 if absent. Points into the attribute. */
gr_status gr_attr_ints(gr_attrs attrs, const char *name, int64_t *n, const int64_t **out, gr_err *err);
/* An int that must lie in [min, max]. */
gr_status gr_attr_int_in(gr_attrs attrs, const char *name, int64_t missing, int64_t min, int64_t max, int64_t *out,
                         gr_err *err);
/* An int that stands for a bool, or an element type by its number. */
gr_status gr_attr_bool(gr_attrs attrs, const char *name, bool missing, bool *out, gr_err *err);
gr_status gr_attr_dtype(gr_attrs attrs, const char *name, gr_dtype missing, gr_dtype *out, gr_err *err);

/* For operators whose one attribute is this. */
typedef struct gr_epsilon {
    float epsilon;
} gr_epsilon;
gr_status gr_parse_epsilon(gr_attrs attrs, gr_arena *arena, float missing, const void **params, gr_err *err);

/* ---- Inference: what an infer function sees. It writes out[i] for every output. Its sentences need not name the
 * node: the caller puts "node 'x' (Softmax): " before them. ---- */
typedef struct gr_infer {
    gr_arena *arena;
    gr_syms *syms;
    const gr_op *op;
    const void *params;
    const gr_node *node;          /* for control flow; NULL in some tests */
    uint32_t nin, nout;
    const gr_type *const *in;     /* in[i] is NULL for an absent optional input; kind NONE: nothing known */
    const gr_tensor *const *konst; /* konst[i]: contents if constant, else NULL; data is aligned */
    const gr_ivals *const *ivals; /* ivals[i]: symbolic contents of a small integer or bool tensor, else NULL; set for
                                     constants too */
    gr_type *out;
} gr_infer;

static inline bool gr_has(const gr_infer *c, uint32_t i) { return i < c->nin && c->in[i]; }
static inline bool gr_rank_known(const gr_infer *c, uint32_t i) { return gr_has(c, i) && c->in[i]->rank >= 0; }
/* An array of dims to fill and hand to gr_set. Never NULL: an allocation that fails is remembered by the caller. */
gr_dim *gr_dims(const gr_infer *c, int rank);
/* Output o is a tensor of that type. Rank GR_RANK_UNKNOWN: dims NULL. */
gr_status gr_set(const gr_infer *c, uint32_t o, gr_dtype dtype, int rank, const gr_dim *dims);
/* Output o has type and shape of input i; the same with another element type. */
gr_status gr_set_like(const gr_infer *c, uint32_t o, uint32_t i);
gr_status gr_set_like_as(const gr_infer *c, uint32_t o, uint32_t i, gr_dtype dtype);
/* Shape that inputs first..last broadcast to (NumPy rules), as output o of that type. Fails if they do not fit. */
gr_status gr_set_broadcast(const gr_infer *c, uint32_t o, uint32_t first, uint32_t last, gr_dtype dtype, gr_err *err);
/* An integer input whose contents are known (constant or symbolic): number of elements and values; false if not. */
bool gr_known_ints(const gr_infer *c, uint32_t i, int64_t *n, const gr_dim **v);
/* The same for one that must have exactly one element. */
bool gr_known_int(const gr_infer *c, uint32_t i, gr_dim *v);
/* Require that input i is a tensor with one of the types in the mask (GR_T(FLOAT) | ...) or not yet known. */
#define GR_T(name)   (UINT64_C(1) << GR_##name)
#define GR_T_FLOATS  (GR_T(FLOAT) | GR_T(DOUBLE) | GR_T(FLOAT16) | GR_T(BFLOAT16))
#define GR_T_INTS    (GR_T(INT8) | GR_T(INT16) | GR_T(INT32) | GR_T(INT64) | GR_T(UINT8) | GR_T(UINT16) | GR_T(UINT32) | GR_T(UINT64))
#define GR_T_NUMBERS (GR_T_FLOATS | GR_T_INTS)
#define GR_T_ALL     (GR_T_NUMBERS | GR_T(BOOL))
gr_status gr_require(const gr_infer *c, uint32_t i, uint64_t mask, gr_err *err);
/* Inputs i and j must have the same element type. */
gr_status gr_require_same(const gr_infer *c, uint32_t i, uint32_t j, gr_err *err);
/* Dimension `axis` of input i, if its rank is known, and *d are one; what is known of it is written to *d. */
gr_status gr_unify_dim(const gr_infer *c, uint32_t i, int axis, gr_dim *d, gr_err *err);
/* Axis in [-rank, rank) to [0, rank); fails with a sentence. */
gr_status gr_axis(int64_t axis, int rank, int *out, gr_err *err);

/* ---- Execution ---- */
typedef struct gr_packs gr_packs; /* weights in kernels' layouts, shared by all plans (exec/packs.h); NULL in unit tests */

/* Which rows of a grid of tokens [batch, tokens] a value holds, one behind the other in the order of the grid. What is
 * in it is known only in a run: rows that nobody can see, as those of padding, or that nobody reads, are left out. */
typedef struct gr_rows {
    int64_t batch, tokens;
    int64_t count;
    int64_t most;   /* never more than so many; 0: all of the grid */
    int32_t *index; /* [count]: number of each row in the grid */
    int64_t *first; /* [batch + 1]: where the rows of each sequence begin, then count */
} gr_rows;

/* One operator made ready for concrete shapes. In prepare, tensors have types and dims, and data only if is_const. In
 * run, all have data. A step belongs to one session: prepare may keep state for run in it. */
typedef struct gr_step {
    const gr_op *op;
    const void *params;
    const gr_node *node;  /* for messages and control flow; NULL in unit tests */
    uint32_t nin, nout;
    gr_tensor **in;       /* NULL: absent */
    gr_tensor **out;      /* NULL: not wanted */
    const struct gr_kernel *kernel;
    void *state;          /* the kernel's own, from prepare until release */
    size_t scratch_size;  /* bytes that prepare asks for; */
    void *scratch;        /* at run: 64-byte aligned, contents undefined */
    gr_arena *arena;      /* for what lives as long as the step */
    gr_packs *packs;
    gr_precision precision; /* of products with constant weights; never GR_PRECISION_AUTO */
    int64_t plain_rows;     /* so many rows are not worth packing weights, if nobody has packed them; 0: all are */
    int threads;          /* that the run will use, also the OpenMP default inside prepare and run */
    double flops;         /* multiplications and additions, if the kernel counts them */
    /* Rows that output 0 holds, and with it the inputs of the same grid; NULL: all. Tensors have their full dims, but
     * only that many rows of memory mean something. Set for operators with GR_OP_ROWS only; all of their kernels but the
     * last heed it, or decline. */
    const gr_rows *rows;
    const gr_rows *key_rows; /* GR_OP_KEY_ROWS: those of inputs 1 and 2 */
    /* Rows rounded by gr_gemm_round. A kernel that takes input 0 so, in dense rows of `takes_row` elements, could do
     * without the last takes_bytes of its scratch if somebody made them; one that can give output 0 so, in dense rows of
     * an even number of elements, sets gives_row, and gives_only if it need not write the floats then. 0: neither. */
    int64_t takes_row, gives_row;
    size_t takes_bytes;
    bool gives_only, only_rounded; /* nobody reads the floats of output 0 */
    const void *rounded_in;        /* at run, or NULL */
    void *rounded_out;             /* at run: where they are wanted, or NULL */
    /* Floats in a row of input 0, or of output 0, if the kernel can read, or write, rows that are further apart; else 0.
     * At run the distance of such rows in floats, or 0: they are dense. */
    int64_t takes_apart, gives_apart;
    int64_t in_stride, out_stride;
    struct gr_exec *exec; /* limits, cancel and the interpreter for subgraphs; NULL in unit tests */
} gr_step;

struct gr_body;
struct gr_spell;

/* Why a kernel declines, or a rule does not match. */
typedef struct gr_why {
    char text[400];
    const gr_node *node; /* of a rule: the one to blame, or NULL */
} gr_why;
/* Always false: `return gr_decline(why, "rank %d > 6", rank);` */
bool gr_decline(gr_why *why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

typedef struct gr_kernel {
    const char *name;
    /* NULL: always ready. One that declines leaves nothing behind: release is called only after it returned true. */
    bool (*prepare)(gr_step *s, gr_why *why);
    gr_status (*run)(const gr_step *s, gr_err *err);   /* sentences as for infer */
    void (*release)(gr_step *s);                       /* NULL: nothing to release */
} gr_kernel;

enum gr_op_flags {
    GR_OP_VIEW = 1,        /* output 0 is input 0 in another shape: no step, no copy */
    GR_OP_MOVE = 2,        /* elements of outputs are copies of elements of inputs 0 (all data inputs for Concat and
                              the like, marked GR_OP_MOVE_ALL): kernels accept any element type of 8 bytes */
    GR_OP_MOVE_ALL = 4,
    GR_OP_FOREIGN = 4096,  /* in ai.onnx, where only ONNX Runtime has it */
    GR_OP_COMMUTES = 8,    /* inputs 0 and 1 may be exchanged */
    GR_OP_INPLACE = 16,    /* output 0 may share memory with an input of the same size: each element is read before it
                              is written, element by element */
    GR_OP_UNALIGNED = 32,  /* kernels read constant inputs at any alignment */
    GR_OP_DYNAMIC = 64,    /* the output's shape depends on values (NonZero, Loop): run through the interpreter when
                              inference leaves a dimension unknown, never folded if it has subgraphs */
    GR_OP_IMPURE = 128,    /* random: never folded or merged */
    GR_OP_NARROW = 512,    /* kernels read constant inputs that are stored narrower than their type (ir.h: gr_tensor) */
    GR_OP_UNPACKS = 1024,  /* makes floats of constant codes: not folded for a matrix of codes, which stays small */
    GR_OP_ROWS = 2048,     /* row i of the outputs (all axes but the last) depends on row i of the inputs that have as
                              many, and on constants */
    GR_OP_ANY_ROWS = 8192, /* makes any row of output 0 from whole inputs */
    GR_OP_POOL_ROWS = 16384, /* reads rows of input 0, those of step->key_rows; rows are left out whose weights in input
                              1, [batch, tokens, 1], are 0 */
    GR_OP_KEY_ROWS = 4096, /* that, for input 0 alone; inputs 1 and 2 are keys and values, input 3 is added to scores */
    GR_OP_PLAIN_GRAPHS = 256, /* a graph attribute that is absent stands for the graph that gives its input back */
};

struct gr_op {
    const char *name;
    int since;             /* opset version */
    struct { int min, max; } in; /* max -1: variadic */
    int out;               /* greatest number of outputs; -1: variadic */
    unsigned flags;
    /* Attributes to a params struct in the arena, defaults applied. NULL: the operator has none. */
    gr_status (*parse)(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err);
    gr_status (*infer)(const gr_infer *c, gr_err *err);
    /* Element-wise on symbolic integers, n of them broadcast together; NULL if it cannot. */
    gr_dim (*symbolic)(gr_syms *s, const gr_dim *args, int n, const void *params);
    /* Symbolic contents of output 0 in c->arena when they follow from types and known inputs (Shape, Range); else NULL. */
    const gr_ivals *(*contents)(const gr_infer *c);
    const gr_kernel *kernels; /* fastest first, ended by an empty row; the last never declines what infer accepted */
    const char *domain;    /* NULL: ai.onnx */
    /* For operators that are put together from others (exec/body.h); else NULL. */
    gr_status (*body)(struct gr_body *b);
    /* Writes what a node is in operators that everybody has (graph/spell.h): for the domain graphrun, what is foreign to
     * ai.onnx, and what older opsets lack; else NULL. */
    gr_status (*function)(struct gr_spell *s);
    const char *const *graphs; /* names of graph attributes in the order of node->subgraphs, NULL-ended; NULL: none */
};

/* The row of a fused operator of ours, whose file has the functions by these names. */
#define GR_FUSED_ROW(name_, least, most, outputs, flags_)                                                              \
    {                                                                                                                  \
        .name = name_, .since = 1, .in = {least, most}, .out = outputs, .flags = flags_, .parse = parse,               \
        .infer = infer, .kernels = kernels, .function = spell, .domain = "graphrun"                                    \
    }

/* The row for an operator, or NULL: and then *since_out says the lowest known version (0: unknown operator). */
const gr_op *gr_op_find(const char *domain, const char *name, int64_t opset, int *lowest);
/* All families, each ended by a row without a name; the list ended by NULL. */
extern const gr_op *const gr_op_families[];

/* Whether a node is an operator of that name, in any domain. Every pass asks this of every node. */
static inline bool gr_is_named(const gr_node *n, const char *name)
{
    return *n->op->name == *name && !strcmp(n->op->name, name);
}
/* The same for ai.onnx alone; false for NULL. */
static inline bool gr_is_op(const gr_node *n, const char *name) { return n && !n->op->domain && gr_is_named(n, name); }

/* ---- Loops that families share (ops/loops.h has the typed ones) ---- */

/* Parameters of a step with the type that the operator's parse made. */
#define GR_PARAMS(T, s) ((const T *)(s)->params)
/* Element strides of t when broadcast to `rank` dims of `out`: 0 where it repeats. */
void gr_broadcast_strides(const gr_tensor *t, int rank, const int64_t *out, int64_t *strides);
/* Dense row-major strides, in elements. */
void gr_dense_strides(int rank, const int64_t *dims, int64_t *strides);

#endif
