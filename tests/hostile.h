/* SPDX-License-Identifier: Apache-2.0
 *
 * Write protobuf by hand, also such as no library would write; a folder for files of a test.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include "graphrun.h"
#include <stdio.h>
#include <string.h>

/* Bytes being written; start from {0}. Aborts the test program when out of memory. */
typedef struct bytes {
    uint8_t *data;
    size_t size, room;
} bytes;

void bytes_free(bytes *b);
void put_raw(bytes *b, const void *data, size_t size);
void put_varint(bytes *b, uint64_t value);
/* With `pad` more bytes than it needs. */
void put_padded_varint(bytes *b, uint64_t value, int pad);
void put_tag(bytes *b, uint32_t field, int wire_type);
void put_int(bytes *b, uint32_t field, int64_t value);
void put_float(bytes *b, uint32_t field, float value);
void put_bytes(bytes *b, uint32_t field, const void *data, size_t size);
void put_text(bytes *b, uint32_t field, const char *text);
/* A nested message; `inner` is freed and empty afterwards. */
void put_message(bytes *b, uint32_t field, bytes *inner);

/* Fields that the tests use. */
enum { MODEL_IR = 1, MODEL_PRODUCER = 2, MODEL_GRAPH = 7, MODEL_OPSET = 8, MODEL_TRAINING = 20, MODEL_FUNCTION = 25 };
enum { GRAPH_NODE = 1, GRAPH_NAME = 2, GRAPH_INIT = 5, GRAPH_IN = 11, GRAPH_OUT = 12, GRAPH_SPARSE = 15 };
enum { NODE_IN = 1, NODE_OUT = 2, NODE_OP = 4, NODE_ATTR = 5 };
enum { ATTR_NAME = 1, ATTR_F = 2, ATTR_I = 3, ATTR_T = 5, ATTR_G = 6, ATTR_INTS = 8, ATTR_TYPE = 20, ATTR_REF = 21 };
enum { TENSOR_DIMS = 1, TENSOR_TYPE = 2, TENSOR_FLOATS = 4, TENSOR_INT32S = 5, TENSOR_STRINGS = 6, TENSOR_INT64S = 7 };
enum { TENSOR_NAME = 8, TENSOR_RAW = 9, TENSOR_UINT64S = 11, TENSOR_EXTERNAL = 13, TENSOR_LOCATION = 14 };

/* Parts of models. What a function puts into another message it empties. */
bytes node_of(const char *op); /* from x to y */
bytes attr_head(const char *name, int type);
bytes tensor_head(const char *name, gr_dtype type, int rank, const int64_t *dims);
bytes model_of(bytes *graph);
bytes model_of_tensor(bytes *tensor);
/* One with something of everything. */
bytes full_model(void);

/* A folder that is there for the time of a suite: its init and cleanup functions, paths in it (two are kept), files. */
int scratch_make(void);
int scratch_remove(void);
const char *scratch_path(const char *name);
void scratch_write(const char *name, const void *data, size_t size);

/* An error is one line that says `text`. */
static inline bool says(const gr_err *e, const char *text) { return strstr(e->text, text) && !strchr(e->text, '\n'); }

#define CHECK_SAYS(part)                                                                                               \
    do {                                                                                                               \
        bool says_ = says(&err, part);                                                                                 \
        CU_ASSERT(says_);                                                                                              \
        if (!says_) fprintf(stderr, "line %d: got \"%s\"\n", __LINE__, err.text);                                      \
    } while (0)

#endif
