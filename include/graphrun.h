/* SPDX-License-Identifier: Apache-2.0
 *
 * graphrun: run an exported BERT-family ONNX graph on a CPU.
 *
 * A short tour. Errors are left out here; tests/api_example.c is this page as a complete program.
 *
 *     gr_model *model;
 *     gr_session *session;
 *     gr_model_load("model.onnx", NULL, &model, &err);
 *     gr_session_create(model, NULL, &session, &err);
 *
 *     int64_t ids[] = {101, 7592, 102}, dims[] = {1, 3};
 *     gr_named_tensor in = {"input_ids", {GR_INT64, 2, dims, ids, sizeof ids}};
 *     gr_named_tensor out = {"last_hidden_state", {0}};
 *     gr_session_run(session, &in, 1, &out, 1, &err);
 *     // out.tensor now describes memory that the session owns until its next run
 *
 *     gr_session_free(session);
 *     gr_model_free(model);
 *
 * Threads: a gr_model may be used by any number of threads and sessions at once; they share its weights. A gr_session
 * serves one thread at a time; only gr_session_cancel may be called beside a run. Sessions wait for each other only where
 * weights are packed or a graph is made, which is once. Many short sequences are done soonest by sessions of one thread
 * (`threads` 1), as many as there are cores and each in a thread of its own, that take batches of about 1,024 tokens from
 * one list. The library keeps no global state that a caller could see, prints nothing, installs no signal handler and
 * never exits.
 */
#ifndef GRAPHRUN_H
#define GRAPHRUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) && !defined(GR_API)
#define GR_API __attribute__((visibility("default")))
#elif !defined(GR_API)
#define GR_API
#endif

#define GR_VERSION_MAJOR 0
#define GR_VERSION_MINOR 1
#define GR_VERSION_PATCH 0

/* The version of the library that is linked, as major * 10000 + minor * 100 + patch. */
GR_API int gr_version(void);
/* The same as "0.1.0", and that of oneDNN, as "2.6.3", or "none" if it cannot be loaded. Static strings. */
GR_API const char *gr_version_string(void);
GR_API const char *gr_onednn_version_string(void);

/* ---- Status -------------------------------------------------------------------------------------------------- */

#define GR_STATUS_MAP(X)                                                                                               \
    X(OK, "success")                                                                                                   \
    X(EINVAL, "invalid argument")                                                                                      \
    X(EIO, "file cannot be read or written")                                                                           \
    X(EFORMAT, "malformed file")                                                                                       \
    X(EMODEL, "invalid model")                                                                                         \
    X(EUNSUPPORTED, "not supported")                                                                                   \
    X(EINPUT, "input does not fit the model")                                                                          \
    X(ELIMIT, "limit exceeded")                                                                                        \
    X(ENOMEM, "out of memory")                                                                                         \
    X(ECANCELLED, "cancelled")

typedef enum gr_status {
#define X(name, text) GR_##name,
    GR_STATUS_MAP(X)
#undef X
} gr_status;

/* A static English phrase for a status. */
GR_API const char *gr_status_text(gr_status status);

/* Filled by a failing call with one complete sentence, left alone by one that succeeds. The caller owns it; every
 * function takes NULL for "not wanted". Names from files are escaped and shortened in it; it is valid UTF-8. */
#define GR_ERR_SIZE 2048
typedef struct gr_err {
    gr_status status;
    char text[GR_ERR_SIZE];
} gr_err;

/* ---- Tensors ------------------------------------------------------------------------------------------------- */

/* Element types, numbered as in ONNX's TensorProto.DataType. */
#define GR_DTYPE_MAP(X) /* name, number, ONNX's textual name, bits */                                                  \
    X(FLOAT, 1, "float", 32)                                                                                           \
    X(UINT8, 2, "uint8", 8)                                                                                            \
    X(INT8, 3, "int8", 8)                                                                                              \
    X(UINT16, 4, "uint16", 16)                                                                                         \
    X(INT16, 5, "int16", 16)                                                                                           \
    X(INT32, 6, "int32", 32)                                                                                           \
    X(INT64, 7, "int64", 64)                                                                                           \
    X(STRING, 8, "string", 0)                                                                                          \
    X(BOOL, 9, "bool", 8)                                                                                              \
    X(FLOAT16, 10, "float16", 16)                                                                                      \
    X(DOUBLE, 11, "double", 64)                                                                                        \
    X(UINT32, 12, "uint32", 32)                                                                                        \
    X(UINT64, 13, "uint64", 64)                                                                                        \
    X(COMPLEX64, 14, "complex64", 64)                                                                                  \
    X(COMPLEX128, 15, "complex128", 128)                                                                               \
    X(BFLOAT16, 16, "bfloat16", 16)                                                                                    \
    X(FLOAT8E4M3FN, 17, "float8e4m3fn", 8)                                                                             \
    X(FLOAT8E4M3FNUZ, 18, "float8e4m3fnuz", 8)                                                                         \
    X(FLOAT8E5M2, 19, "float8e5m2", 8)                                                                                 \
    X(FLOAT8E5M2FNUZ, 20, "float8e5m2fnuz", 8)                                                                         \
    X(UINT4, 21, "uint4", 4)                                                                                           \
    X(INT4, 22, "int4", 4)                                                                                             \
    X(FLOAT4E2M1, 23, "float4e2m1", 4)                                                                                 \
    X(FLOAT8E8M0, 24, "float8e8m0", 8)                                                                                 \
    X(UINT2, 25, "uint2", 2)                                                                                           \
    X(INT2, 26, "int2", 2)

typedef enum gr_dtype {
    GR_UNDEFINED = 0,
#define X(name, number, text, bits) GR_##name = number,
    GR_DTYPE_MAP(X)
#undef X
} gr_dtype;

/* ONNX's textual name of an element type ("float", "int64"), or "undefined". */
GR_API const char *gr_dtype_name(gr_dtype type);
/* Bits of one element as stored: 8 for bool, 4 for int4 (two to a byte, low half first), 0 for strings. */
GR_API int gr_dtype_bits(gr_dtype type);

/* A dense row-major tensor in somebody's memory. As an input it is borrowed for the time of the call and not written;
 * `data` needs no alignment. A rank of 0 is a scalar (dims may be NULL), a dimension of 0 an empty tensor (data may be
 * NULL). `size` is in bytes. */
typedef struct gr_tensor_view {
    gr_dtype type;
    int rank;
    const int64_t *dims;
    void *data;
    size_t size;
} gr_tensor_view;

/* Sequences and optionals, told by their rank: of a sequence `data` is an array of views, its items, `size` the bytes of
 * that array and `type` the items' type; an optional that is empty has no data. One that is not is what it holds. */
enum { GR_VIEW_SEQUENCE = -2, GR_VIEW_EMPTY = -3 };

typedef struct gr_named_tensor {
    const char *name;
    gr_tensor_view tensor;
} gr_named_tensor;

/* ---- Models -------------------------------------------------------------------------------------------------- */

typedef struct gr_model gr_model;

typedef enum gr_log_level { GR_LOG_INFO, GR_LOG_DISPATCH } gr_log_level;
/* Called from the thread that loads or runs, with one line without a newline; `user` is passed through. */
typedef void (*gr_log_fn)(void *user, gr_log_level level, const char *line);

typedef struct gr_model_options {
    size_t struct_size;     /* sizeof(gr_model_options), so that later versions can add fields */
    size_t max_graph_bytes; /* memory for the graph without its weights; 0: 512 MiB */
    bool no_passes;         /* true: run the nodes of the file as they are */
    /* true: what the file rounds is rounded so. Products between DequantizeLinear, which it has in floats, are computed
     * in floats; otherwise their sums are exact integers, which is faster and mostly nearer to the model before it was
     * quantised. Products of integers are exact in either case. */
    bool strict;
    gr_log_fn log; /* told why a compiled model is not used as it is; NULL: silent */
    void *log_user;
} gr_model_options;

/* Load a model from an .onnx file or, if its name ends in .onnxtxt, from ONNX's textual syntax. The file is mapped, not
 * read: weights stay in the page cache, shared between processes, and the file must not be changed while the model
 * lives. External data is looked for beside the file and never outside its folder. `options` may be NULL. On success
 * *out is the caller's, to be freed with gr_model_free. A model that needs operators or types that are missing is
 * refused with GR_EUNSUPPORTED and a sentence that names all of them. */
GR_API gr_status gr_model_load(const char *path, const gr_model_options *options, gr_model **out, gr_err *err);
/* The same from memory, which must outlive the model and stay unchanged. `folder` is where external data is looked
 * for; NULL refuses models that have any. */
GR_API gr_status gr_model_load_memory(const void *data, size_t size, const char *folder, const gr_model_options *options,
                                      gr_model **out, gr_err *err);
/* What products with constant weights (linear layers, projections, decoders) are computed in; everything else, sums
 * and epilogues included, is float. Weights are packed when a session first needs them, once for all sessions of the
 * model that have the same precision. A row's result is the same alone and in any batch. */
typedef enum gr_precision {
    GR_PRECISION_F32,  /* floats */
    GR_PRECISION_BF16, /* weights rounded to bfloat16: half the memory */
    /* Weights as bytes with one scale for each column, rows of activations as bytes with one scale for each: a quarter of
     * the memory. Layers of dynamically quantised files are computed so, too, from their own weights, unless the model is
     * strict. */
    GR_PRECISION_INT8,
    /* BF16 where the CPU multiplies bfloat16 and the outputs of the session's first run keep a cosine of 0.999 to those
     * in floats, row by row; else F32. */
    GR_PRECISION_AUTO
} gr_precision;

typedef struct gr_compile_options {
    size_t struct_size;     /* sizeof(gr_compile_options) */
    bool standalone;        /* true: plain weights are stored too, although the model lies beside the file */
    gr_precision precision; /* of the sessions that have packed the weights; not AUTO */
} gr_compile_options;

/* Store the optimised graph of a model, and its weights as the sessions that it has had by now have packed them, in one
 * file that gr_model_load takes like a model: the packed weights are mapped then, not made, and shared between
 * processes. Prepare a session (gr_session_prepare) before. If the file is written into the folder of the model, weights
 * that are needed as they are stay in the model's file; else they are stored too, and the file stands for itself.
 * Packed weights are good for the version of this library and of oneDNN and for the instruction sets that made them;
 * where those differ, or the model's file has changed, loading takes that model instead, or packs anew, and says so to
 * the log. `options` may be NULL. */
GR_API gr_status gr_model_compile(gr_model *model, const char *path, const gr_compile_options *options, gr_err *err);
/* Whether a compiled model holds what was written, packed weights included, which loading does not look at, and the
 * model beside it is what it was. Reads all of the file. */
GR_API gr_status gr_model_check_compiled(const char *path, gr_err *err);
/* What a compiled model was packed for; F32 for every other. A session does not take it over by itself. */
GR_API gr_precision gr_model_precision(const gr_model *model);

/* Free a model after all of its sessions. NULL is allowed. */
GR_API void gr_model_free(gr_model *model);

/* One dimension as the model declares it: `value` >= 0, or -1 and then `symbol` is its name or expression
 * ("sequence", "past + sequence") or NULL if the model says nothing about it. */
typedef struct gr_dim_info {
    int64_t value;
    const char *symbol;
} gr_dim_info;

typedef enum gr_value_kind {
    GR_VALUE_TENSOR,
    GR_VALUE_SEQUENCE,
    GR_VALUE_OPTIONAL,          /* a tensor or nothing */
    GR_VALUE_OPTIONAL_SEQUENCE, /* a sequence or nothing */
    GR_VALUE_OTHER,             /* what cannot be fed: a map, a sequence of sequences */
} gr_value_kind;

typedef struct gr_value_info {
    const char *name;
    gr_dtype type; /* of a sequence's or optional's tensors too; so are rank and dims */
    int rank;      /* -1: unknown */
    const gr_dim_info *dims;
    bool optional; /* an input that has a default in the file, or is empty if it is left out */
    gr_value_kind kind;
} gr_value_info;

/* Inputs that must or may be fed, and outputs, in the order of the file. The strings live as long as the model.
 * gr_model_input and gr_model_output return GR_EINVAL beyond the count. */
GR_API size_t gr_model_input_count(const gr_model *model);
GR_API size_t gr_model_output_count(const gr_model *model);
GR_API gr_status gr_model_input(const gr_model *model, size_t index, gr_value_info *out);
GR_API gr_status gr_model_output(const gr_model *model, size_t index, gr_value_info *out);

/* The same for any value of the file by its name, inside the graph too; rank -1 and dims NULL where inference knows
 * nothing. GR_EINVAL if there is none of that name. `dims` and `symbol`s are owned by the model. Thread-safe. */
GR_API gr_status gr_model_value(gr_model *model, const char *name, gr_value_info *out, gr_err *err);

/* What is in a model: opsets, operators with counts, parameters by module. Every pointer lives as long as the model. */
typedef struct gr_count {
    const char *domain; /* "" for ai.onnx */
    const char *name;
    int64_t count;
} gr_count;

typedef struct gr_model_summary {
    int64_t ir_version;
    const char *producer_name, *producer_version, *graph_name;
    size_t opset_count;
    const gr_count *opsets; /* count: the version; name: NULL */
    size_t op_count;
    const gr_count *ops; /* as in the file, functions inlined; sorted by count */
    size_t step_count;   /* operators left after the passes */
    const gr_count *steps;
    int64_t layer_steps; /* greatest number of steps from one attention to the next; 0: there are no two */
    size_t parameter_count_by_module;
    const gr_count *modules; /* name: as "embeddings"; count: elements; in the order of the graph */
    int64_t parameters;      /* elements of all floating-point and quantised weights; a weight stored once counts once */
    int64_t weight_bytes;
    gr_dtype weight_type; /* of the greatest part of the floating-point weights; GR_UNDEFINED if there are none */
} gr_model_summary;

GR_API void gr_model_summarize(const gr_model *model, gr_model_summary *out);

/* Write the model in ONNX's textual syntax: as the file has it, as it runs after the passes, or the latter as calls of
 * functions, one for each part (embeddings, encoder.layer.0 ..., pooler, heads). `max_elements`: longer
 * tensors are elided by a marker (0: all are; SIZE_MAX: none). `write` gets pieces of the text and returns false to
 * stop, which ends the call with GR_EIO. */
typedef enum gr_print_level { GR_PRINT_FILE, GR_PRINT_OPTIMIZED, GR_PRINT_OUTLINED } gr_print_level;
typedef bool (*gr_write_fn)(void *user, const char *text, size_t size);
GR_API gr_status gr_model_print(gr_model *model, gr_print_level level, size_t max_elements, gr_write_fn write,
                                void *user, gr_err *err);

/* ---- Sessions ------------------------------------------------------------------------------------------------ */

typedef struct gr_session gr_session;

typedef struct gr_session_options {
    size_t struct_size; /* sizeof(gr_session_options) */
    int threads;        /* 0: as many as affinity and cgroup quota allow */
    size_t max_memory;  /* bytes of activations, scratch and outputs for one run; 0: no limit but the machine's memory */
    int max_plans;      /* shapes kept ready; 0: 16 */
    int64_t max_iterations; /* of all Loop and Scan nodes in one run together; 0: 131,072 */
    gr_log_fn log;          /* NULL: silent */
    void *log_user;
    bool profile;           /* true: time every step of a run, for gr_session_step */
    /* true: in outputs [batch, tokens, ...], rows of tokens that the attention mask hides need not be computed, and are
     * zeros then. false: they are what the graph makes of them. What nobody can see is not computed in either case. */
    bool skip_padding;
    gr_precision precision; /* 0: floats */
    /* true: the session runs once or a few times. Floats that nobody has packed for the kernels yet are read where they
     * are then, which brings the first result sooner, takes no memory, and makes each run longer. Results are the same. */
    bool few_runs;
    /* Bytes that activations, scratch, plans and packed weights (those of the model's other sessions, too) may take
     * together; 0: no limit. To stay below it plans of other shapes are given up, and weights that would not fit are read
     * where they are. A run that does not fit fails with GR_ELIMIT and the number that it needs. */
    size_t max_total;
} gr_session_options;

/* Make ready to run. `options` may be NULL. The model must outlive the session. */
GR_API gr_status gr_session_create(gr_model *model, const gr_session_options *options, gr_session **out, gr_err *err);
/* NULL is allowed. No run may be under way. */
GR_API void gr_session_free(gr_session *session);

/* Run the graph.
 *
 * `inputs`: by name, in any order; inputs with a default may be left out.
 * `outputs`: the wanted values by name: outputs of the graph or any value inside it. For each, a `tensor.data` of NULL
 * asks for memory that the session owns, which stays valid until the session's next run or end; otherwise `data` and
 * `size` are the caller's buffer, which the result is written to. In both cases type, rank, dims and size are set on
 * success (dims are the session's); a view that the session filled counts as NULL in its next run. Sequences always are
 * the session's. Only what the wanted values need is computed. On failure the contents of the caller's buffers are undefined.
 *
 * The first run of a shape plans it; later runs of that shape allocate nothing. Beyond 16 MiB the pages of activations go
 * back to the system when a run ends, but for the results, and are taken anew by the next run that needs them. */
GR_API gr_status gr_session_run(gr_session *session, const gr_named_tensor *inputs, size_t input_count,
                                gr_named_tensor *outputs, size_t output_count, gr_err *err);

/* Of outputs [batch, tokens, ...] only some rows are wanted in the runs to come: those with these numbers (sequence *
 * tokens + token; ascending, each once), as [count, ...] with the bits that they have in a full run. What only other rows
 * need is not computed. An output that has no such rows, or cannot be had so, is whole. count 0: all rows again. */
GR_API gr_status gr_session_pick(gr_session *session, const int64_t *rows, size_t count, gr_err *err);

/* Ask the run that is under way, if any, to stop soon with GR_ECANCELLED. From any thread or a signal handler. */
GR_API void gr_session_cancel(gr_session *session);

/* Bytes, for the session (its own memory) and for the model (packed weights that all sessions share). */
typedef struct gr_memory_info {
    size_t arena_bytes;  /* activations and scratch during a run of the largest shape so far */
    size_t plan_bytes;   /* plans, and values that depend on shapes only */
    size_t packed_bytes; /* weights in the layout of the kernels, owned by the model */
    size_t mapped_bytes; /* file pages mapped, owned by the model; packed weights of a compiled one among them */
    size_t plan_count;
    size_t graph_bytes;  /* the model without its weights */
} gr_memory_info;
GR_API void gr_session_memory(const gr_session *session, gr_memory_info *out);

/* The work of the plan that ran last: floating-point operations of its matrix products, and steps. */
typedef struct gr_work_info {
    double flops;
    size_t steps;
} gr_work_info;
GR_API void gr_session_work(const gr_session *session, gr_work_info *out);

/* Plan for the shapes of these inputs, whose data may be NULL, and these outputs, without running: what
 * gr_session_memory and gr_session_work then say is what a run takes, and the first run of that shape has nothing left to
 * prepare. */
GR_API gr_status gr_session_prepare(gr_session *session, const gr_named_tensor *inputs, size_t input_count,
                                    const gr_named_tensor *outputs, size_t output_count, gr_err *err);

/* Step `index` of the run or plan before, in the order in which steps run. Pointers live until the session's next run.
 * GR_EINVAL beyond the number that gr_session_work gives. */
typedef struct gr_step_info {
    const char *node;   /* the file's name for it, or "" */
    const char *output; /* name of its first output */
    const char *op, *domain;
    const char *kernel; /* "interpreter" where shapes depend on data */
    int rank;           /* of the first output, where its shape is known before the run */
    const int64_t *dims;
    double flops;       /* floating-point operations of matrix products, for the rows that were computed */
    size_t bytes;       /* of its operands, each once; 0 where shapes depend on data */
    size_t constant_bytes; /* of these, of the model's constants, as they stand in its file */
    double start, seconds; /* in a profiled run: since its begin, and how long; else 0 */
} gr_step_info;
GR_API gr_status gr_session_step(const gr_session *session, size_t index, gr_step_info *out, gr_err *err);

/* ---- Generation ---------------------------------------------------------------------------------------------- */

/* A causal language model that goes on from token ids: exports with a cache (past keys and values in, present ones
 * out), with both forms in one file behind a switch, or without a cache. What inputs and outputs are for is recognised
 * by what the graph does with them. Where it can, a cache grows in place: a step copies none of the past. */
typedef struct gr_generator gr_generator;

/* GR_EUNSUPPORTED, with a sentence about what is missing, for a model that is no causal decoder. `options` (may be NULL)
 * are those of the session inside. The model must outlive the generator, which serves one thread at a time. */
GR_API gr_status gr_generator_create(gr_model *model, const gr_session_options *options, gr_generator **out, gr_err *err);
/* NULL is allowed. */
GR_API void gr_generator_free(gr_generator *generator);

typedef struct gr_generate_options {
    size_t struct_size;     /* sizeof(gr_generate_options) */
    int64_t max_new_tokens; /* 0: 20 */
    int64_t num_beams;      /* 0 or 1: no beam search */
    bool do_sample;         /* draw tokens at random instead of taking the likeliest; not with beams */
    float temperature;      /* 0: 1 */
    float top_p;            /* 0: 1, all */
    int64_t top_k;          /* 0: all */
    uint64_t seed;          /* one seed, one result, whatever the batch */
    float length_penalty;   /* beams are ranked by log probability / length ^ this; 0: 1 */
    const int64_t *eos;     /* tokens that end a sequence */
    size_t eos_count;
    size_t max_batch;       /* prompts that run together; 0: 16 */
    bool copy_cache;        /* true: let the graph copy the past in every step, as if it could not grow in place */
} gr_generate_options;

/* Token ids; as a result owned by the generator until its next run or end. */
typedef struct gr_sequence {
    const int64_t *ids;
    size_t count;
} gr_sequence;

/* Go on from each of `count` prompts. results[i] are the tokens after prompt i, the one that ended it included. `options`
 * may be NULL. A prompt's tokens do not depend on what runs beside it, save for rounding where lengths differ. */
GR_API gr_status gr_generator_run(gr_generator *generator, const gr_sequence *prompts, size_t count,
                                  const gr_generate_options *options, gr_sequence *results, gr_err *err);
/* Ask the run that is under way, if any, to stop soon with GR_ECANCELLED. From any thread or a signal handler. */
GR_API void gr_generator_cancel(gr_generator *generator);

/* Of the last run. */
typedef struct gr_generate_info {
    int64_t prompt_tokens, new_tokens;
    int64_t steps;          /* runs of the model behind the first ones, which read the prompts */
    double prompt_seconds, step_seconds;
    double least_step_seconds;
    size_t cache_bytes;
    bool cached, in_place;  /* the model has a cache; it grew in place */
} gr_generate_info;
GR_API void gr_generator_info(const gr_generator *generator, gr_generate_info *out);

/* Threads that a session with `threads` = 0 uses here: affinity and cgroup CPU quota, at least 1. */
GR_API int gr_default_threads(void);

#ifdef __cplusplus
}
#endif
#endif
