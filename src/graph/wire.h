/* SPDX-License-Identifier: Apache-2.0
 *
 * The protobuf wire format, read by hand. protobuf-c copies every field, recurses without a limit and allocates
 * whatever a file asks for; so a file is scanned first and rewritten as a skeleton that is safe and cheap to unpack.
 */
#ifndef GR_WIRE_H
#define GR_WIRE_H

#include "base.h"
#include <protobuf-c/protobuf-c.h>

/* Messages within messages, as in Google's protobuf libraries. */
#define GR_WIRE_MAX_DEPTH 100

enum { GR_WIRE_VARINT = 0, GR_WIRE_FIXED64 = 1, GR_WIRE_BYTES = 2, GR_WIRE_GROUP = 3, GR_WIRE_FIXED32 = 5 };

/* One field. `value`: of numbers, zero-extended. `data`, `size`: contents on the wire, for GR_WIRE_BYTES without the
 * length. `start`: the first byte of the tag. */
typedef struct gr_wire_field {
    uint32_t number;
    int type;
    uint64_t value;
    const uint8_t *start, *data;
    size_t size;
} gr_wire_field;

/* Read the field at *at, which is before `end`, and move behind it; a group is one field and its insides are not
 * looked at. Returns NULL, or what is wrong as the rest of a sentence ("has ..."); *cut then says whether it is that
 * bytes are missing at the end. */
const char *gr_wire_next(const uint8_t **at, const uint8_t *end, gr_wire_field *field, bool *cut);
/* Read a varint of at most ten bytes. False if it does not end before `end` or is longer. */
bool gr_wire_varint(const uint8_t **at, const uint8_t *end, uint64_t *value);

typedef enum gr_wire_action {
    GR_WIRE_SKIP,    /* leave the field out */
    GR_WIRE_REFER,   /* leave the field out, and put a gr_wire_ref into the message's field `carrier` */
    GR_WIRE_REQUIRE, /* refuse a message in which this bytes field is absent or empty */
} gr_wire_action;

typedef struct gr_wire_rule {
    const ProtobufCMessageDescriptor *message;
    uint32_t field;
    gr_wire_action action;
    uint32_t carrier; /* a bytes field that is left out itself; its contents are an array of gr_wire_ref */
} gr_wire_rule;

/* Contents of a referred field: an offset into the scanned bytes. A singular field has one, the one that counts. A
 * repeated field has one for each packed run of elements, and one for each run of adjacent fields with an element
 * each, which then includes the tags (`fields`). */
typedef struct gr_wire_ref {
    uint64_t offset, size;
    uint32_t field;
    uint32_t fields;
} gr_wire_ref;

/* Rewrite `data` as a skeleton: a message with the same meaning to every protobuf library, in canonical form. Fields
 * that the schema does not know are gone, of a repeated singular field the last is left, the pieces of a split message
 * are merged, `rules` are applied. Every length, varint and packed run that is left is valid. `limit` bounds what
 * skeleton, unpacked message and a document made from it take in memory; beyond it GR_ELIMIT, and GR_EFORMAT for
 * malformed bytes. *out is the caller's, to be freed with gr_free; GR_ENOMEM leaves nothing behind. */
gr_status gr_wire_skeleton(const void *data, size_t size, const ProtobufCMessageDescriptor *root,
                           const gr_wire_rule *rules, size_t rule_count, size_t limit, uint8_t **out, size_t *out_size,
                           gr_err *err);

#endif
