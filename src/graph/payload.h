/* SPDX-License-Identifier: Apache-2.0
 *
 * The elements of a tensor: from wherever an ONNX file keeps them to the one layout that documents have.
 */
#ifndef GR_PAYLOAD_H
#define GR_PAYLOAD_H

#include "doc.h"
#include "wire.h"

/* TensorProto's fields that hold elements. */
typedef enum gr_payload_field {
    GR_PAYLOAD_FLOAT = 4,
    GR_PAYLOAD_INT32 = 5,
    GR_PAYLOAD_STRING = 6,
    GR_PAYLOAD_INT64 = 7,
    GR_PAYLOAD_RAW = 9,
    GR_PAYLOAD_DOUBLE = 10,
    GR_PAYLOAD_UINT64 = 11,
} gr_payload_field;

/* Where they are: `count` gr_wire_refs at any alignment, with offsets into `file`. */
typedef struct gr_payload {
    const uint8_t *file;
    const void *refs;
    size_t count;
} gr_payload;

/* Set data, size, strings and mapped of a tensor whose dtype, dims and elements are set. What lies in the file in the
 * document's layout is pointed to, the rest is decoded into the arena. Refuses fields that do not fit the type, numbers
 * out of the type's range, and another count than the dims say. */
gr_status gr_payload_read(gr_arena *arena, const gr_payload *payload, gr_doc_tensor *tensor, gr_err *err);

/* Bytes of a tensor's elements in the document's layout, which are none for strings. */
gr_status gr_payload_size(const gr_doc_tensor *tensor, size_t *out, gr_err *err);

#endif
