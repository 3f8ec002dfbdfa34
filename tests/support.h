/* SPDX-License-Identifier: Apache-2.0
 *
 * What several suites need: graphs from text, comparison of tensors, failures with a message of their own.
 */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include "exec/eval.h"
#include <CUnit/CUnit.h>

/* A failed assertion of the running test with this message; file and line may be those of test data. */
void fail_at(const char *file, unsigned line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#define FAIL(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)

/* An assertion that does, or says, something when it does not hold. */
#define CHECK_ELSE(condition, failure)                                                                                 \
    do {                                                                                                               \
        if (condition) {                                                                                               \
            CU_PASS("");                                                                                               \
        } else {                                                                                                       \
            failure;                                                                                                   \
        }                                                                                                              \
    } while (0)
#define CHECK_THAT(condition, ...) CHECK_ELSE(condition, FAIL(__VA_ARGS__))
/* `call` must succeed; shows the sentence in `err` if not. */
#define CHECK_OK(call) CHECK_THAT((call) == GR_OK, "%s: %s", #call, err.text)
/* `call` must fail with that status and a sentence that holds `text`. */
#define CHECK_FAILS(call, expected, part)                                                                              \
    do {                                                                                                               \
        gr_status status_ = (call);                                                                                    \
        CHECK_THAT(status_ == (expected) && strstr(err.text, part), "%s: expected %s and '%s', got %s: %s", #call,     \
                   #expected, part, gr_status_text(status_), status_ ? err.text : "");                                 \
    } while (0)

/* A file that is not empty, ended by a 0; NULL if it cannot be read. To be freed. */
char *read_text(const char *path);

/* A graph from textual syntax, with all that it stands on. */
typedef struct built {
    gr_doc *doc;
    gr_arena *arena;
    gr_graph *graph;
} built;
/* Parse and build, nothing inferred; on failure nothing needs to be freed. */
gr_status build_text(const char *text, built *out, gr_err *err);
/* The same, inferred and folded as a model is; failures fail the test, and graph is NULL. */
built infer_text(const char *text);
void built_free(built *b);

int count_ops(const gr_graph *g, const char *op);
gr_node *find_op(const gr_graph *g, const char *op);
/* "float[batch, 4]" of a value of the graph, by name; lives as long as the graph. */
const char *type_of_value(const gr_graph *g, const char *name);

/* Element of a numeric tensor. */
double element_of(const gr_tensor *t, int64_t i);
/* Type, shape and contents: whole numbers exactly, floats within what their type and a different order of summation
 * allow, NaN as NaN. Writes what differs. */
bool same_tensor(const gr_tensor *got, const gr_tensor *want, char *why, size_t room);

/* A model with a session; `text` must outlive it. False and a failure of the test if it does not open. */
typedef struct running {
    gr_model *model;
    gr_session *session;
} running;
bool open_text(const char *text, const gr_model_options *model, const gr_session_options *session, running *out);
bool open_file(const char *path, const gr_model_options *model, const gr_session_options *session, running *out);
void close_running(running *r);

/* Inputs and outputs of a run; dims has `rank` numbers. */
#define FLOATS(name, rank, dims, data) view_of(name, GR_FLOAT, rank, dims, data)
#define INTS(name, rank, dims, data)   view_of(name, GR_INT64, rank, dims, data)
gr_named_tensor view_of(const char *name, gr_dtype type, int rank, const int64_t *dims, void *data);
#define WANTED(n) ((gr_named_tensor){.name = (n)})
/* A float output of that many elements with these values. */
void check_floats(const gr_tensor_view *t, int64_t count, const float *want);

/* Integers for data, the same on every machine. */
uint32_t next_random(uint32_t *state);

#endif
