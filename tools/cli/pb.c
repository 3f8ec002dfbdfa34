/* SPDX-License-Identifier: Apache-2.0
 *
 * ONNX's TensorProto, as the input_0.pb of its test data: read at the level of the wire, and written.
 *
 * Reading agrees with protobuf: of a field that stands once the last one counts, repeated numbers may come packed or
 * not and in pieces, unknown fields are passed over.
 */
#include "tensor.h"
#include <stdlib.h>

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, GROUP = 3, END_GROUP = 4, FIXED32 = 5, MAX_GROUPS = 100 };

enum { /* fields of TensorProto */
       DIMS = 1,
       DATA_TYPE = 2,
       SEGMENT = 3,
       FLOAT_DATA = 4,
       INT32_DATA = 5,
       STRING_DATA = 6,
       INT64_DATA = 7,
       NAME = 8,
       RAW_DATA = 9,
       DOUBLE_DATA = 10,
       UINT64_DATA = 11,
       EXTERNAL_DATA = 13,
       DATA_LOCATION = 14
};

typedef struct wire {
    const uint8_t *at, *end;
} wire;

static bool varint(wire *w, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70 && w->at < w->end; shift += 7) {
        uint8_t byte = *w->at++;
        if (shift < 64) v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = v;
            return true;
        }
    }
    return false;
}

/* Typed data while it is collected: numbers in 64 bits, in the order of the file. */
typedef struct message {
    uint64_t type, location;
    size_t rank;
    int64_t dims[CLI_MAX_RANK];
    const uint8_t *name, *raw;
    size_t name_size, raw_size, external, strings;
    bool has_raw, segment;
    int typed; /* the field that `numbers` came from */
    uint64_t *numbers;
    size_t count, cap;
} message;

static bool add_number(message *m, int field, uint64_t v, gr_err *err)
{
    if (field == DIMS) {
        if (m->rank == CLI_MAX_RANK)
            return cli_fail(err, GR_EUNSUPPORTED, "the tensor has over %d dimensions", CLI_MAX_RANK);
        m->dims[m->rank++] = (int64_t)v;
        return true;
    }
    if (m->typed && m->typed != field) return cli_fail(err, GR_EFORMAT, "the tensor's data comes in two fields");
    m->typed = field;
    *CLI_PUSH(m->numbers, m->count, m->cap) = v;
    return true;
}

static uint64_t fixed(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--) v = v << 8 | p[i];
    return v;
}

/* The wire type of the elements of a repeated number, -1 for other fields. */
static int element_wire(unsigned field)
{
    switch (field) {
    case DIMS:
    case INT32_DATA:
    case INT64_DATA:
    case UINT64_DATA: return VARINT;
    case FLOAT_DATA: return FIXED32;
    case DOUBLE_DATA: return FIXED64;
    default: return -1;
    }
}

static bool add_packed(message *m, int field, int element, const uint8_t *data, size_t size, gr_err *err)
{
    wire w = {data, data + size};
    while (w.at < w.end) {
        uint64_t v;
        if (element == VARINT) {
            if (!varint(&w, &v)) return cli_fail(err, GR_EFORMAT, "the protobuf data is malformed");
        } else {
            int bytes = element == FIXED32 ? 4 : 8;
            if (w.end - w.at < bytes) return cli_fail(err, GR_EFORMAT, "the protobuf data is malformed");
            v = fixed(w.at, bytes);
            w.at += bytes;
        }
        if (!add_number(m, field, v, err)) return false;
    }
    return true;
}

static bool add_bytes(message *m, int field, const uint8_t *data, size_t size, gr_err *err)
{
    int element = element_wire((unsigned)field);
    if (element >= 0) return add_packed(m, field, element, data, size, err);
    if (field == NAME) m->name = data, m->name_size = size;
    if (field == RAW_DATA) m->raw = data, m->raw_size = size, m->has_raw = true;
    if (field == STRING_DATA) m->strings++;
    if (field == EXTERNAL_DATA) m->external++;
    if (field == SEGMENT) m->segment = true;
    return true;
}

/* Groups are unknown fields; what is in them belongs to nobody. */
static bool pass_group(int *groups, int *depth, int field, bool begins)
{
    if (begins && *depth < MAX_GROUPS) return groups[(*depth)++] = field, true;
    return !begins && *depth > 0 && groups[--*depth] == field;
}

static bool read_fields(message *m, wire w, gr_err *err)
{
    int groups[MAX_GROUPS], depth = 0;
    while (w.at < w.end) {
        uint64_t key, v;
        if (!varint(&w, &key) || key >> 3 == 0 || key >> 3 > 536870911)
            return cli_fail(err, GR_EFORMAT, "the protobuf data is malformed");
        int field = (int)(key >> 3), type = (int)(key & 7);
        if (type == GROUP || type == END_GROUP) {
            if (!pass_group(groups, &depth, field, type == GROUP))
                return cli_fail(err, GR_EFORMAT, "the protobuf data is malformed");
            continue;
        }
        int fixed_size = type == FIXED32 ? 4 : type == FIXED64 ? 8 : 0;
        bool ok = true;
        if (type == VARINT || type == BYTES)
            ok = varint(&w, &v) && (type == VARINT || v <= (uint64_t)(w.end - w.at));
        else
            ok = fixed_size && w.end - w.at >= fixed_size;
        if (!ok) return cli_fail(err, GR_EFORMAT, "the protobuf data is malformed");
        if (type == BYTES) {
            if (!depth && !add_bytes(m, field, w.at, (size_t)v, err)) return false;
            w.at += v;
            continue;
        }
        if (fixed_size) v = fixed(w.at, fixed_size), w.at += fixed_size;
        if (depth) continue;
        if (field == DATA_TYPE && type == VARINT) m->type = v;
        if (field == DATA_LOCATION && type == VARINT) m->location = v;
        if (element_wire((unsigned)field) == type && !add_number(m, field, v, err)) return false;
    }
    return depth == 0 || cli_fail(err, GR_EFORMAT, "the protobuf data is malformed");
}

/* The typed field that holds a type's elements, and how many numbers make `elements` of them. */
static int typed_field(gr_dtype type, int64_t elements, size_t *numbers)
{
    int bits = gr_dtype_bits(type);
    *numbers = (size_t)(bits < 8 ? (elements * bits + 7) / 8 : elements);
    switch (type) {
    case GR_FLOAT: return FLOAT_DATA;
    case GR_COMPLEX64: *numbers = 2 * (size_t)elements; return FLOAT_DATA;
    case GR_DOUBLE: return DOUBLE_DATA;
    case GR_COMPLEX128: *numbers = 2 * (size_t)elements; return DOUBLE_DATA;
    case GR_INT64: return INT64_DATA;
    case GR_UINT32:
    case GR_UINT64: return UINT64_DATA;
    default: return INT32_DATA;
    }
}

/* The numbers are stored by their low bytes; those that say more than the type holds are refused. */
static bool unpack_numbers(const message *m, cli_tensor *t, gr_err *err)
{
    size_t numbers;
    int field = typed_field(t->type, t->elements, &numbers);
    if (m->count != numbers || (m->count && m->typed != field))
        return cli_fail(err, GR_EFORMAT, "the tensor claims %s, and its data has %zu numbers",
                        cli_shape(t->type, t->rank, t->dims), m->count);
    size_t width = numbers ? t->size / numbers : 0;
    bool is_signed = t->type == GR_INT8 || t->type == GR_INT16;
    if (!cli_tensor_make(t, t->type, t->rank, t->dims, err)) return false;
    for (size_t i = 0; i < numbers; i++) {
        uint64_t v = m->numbers[i];
        int64_t s = (int64_t)v, top = width < 4 ? (int64_t)1 << (8 * width) : 0;
        bool fits = field != INT32_DATA || (s >= INT32_MIN && s <= INT32_MAX);
        if (top) fits = is_signed ? s >= -top / 2 && s < top / 2 : s >= 0 && s < top;
        if (t->type == GR_BOOL) fits = v <= 1;
        if (t->type == GR_UINT32) fits = v <= UINT32_MAX;
        if (!fits) return cli_fail(err, GR_EFORMAT, "number %zu of the tensor is no %s", i, gr_dtype_name(t->type));
        for (size_t b = 0; b < width; b++) ((uint8_t *)t->owned)[i * width + b] = (uint8_t)(v >> (8 * b));
    }
    return true;
}

static bool finish(const message *m, cli_file *file, cli_tensor *out, gr_err *err)
{
    if (m->type > GR_INT2 || gr_dtype_bits((gr_dtype)m->type) == 0)
        return cli_fail(err, GR_EUNSUPPORTED, "tensors of type %s (%llu) are not supported",
                        gr_dtype_name((gr_dtype)m->type), (unsigned long long)m->type);
    if (m->external || m->location) return cli_fail(err, GR_EUNSUPPORTED, "the tensor's data is in another file");
    if (m->segment || m->strings) return cli_fail(err, GR_EUNSUPPORTED, "segments and strings are not supported");
    *out = (cli_tensor){.type = (gr_dtype)m->type, .rank = (int)m->rank};
    memcpy(out->dims, m->dims, sizeof m->dims);
    if (!cli_tensor_bytes(out->type, out->rank, out->dims, &out->elements, &out->size))
        return cli_fail(err, GR_EFORMAT, "the tensor claims an impossible %s",
                        cli_shape(out->type, out->rank, out->dims));
    if (m->has_raw && m->raw_size && m->count)
        return cli_fail(err, GR_EFORMAT, "the tensor's data comes in two fields");
    if (!m->has_raw || (m->raw_size == 0 && m->count)) {
        if (out->elements > (int64_t)m->count * 4)
            return cli_fail(err, GR_EFORMAT, "the tensor claims %s, and its data has %zu numbers",
                            cli_shape(out->type, out->rank, out->dims), m->count);
        if (unpack_numbers(m, out, err)) return true;
        cli_tensor_free(out);
        return false;
    }
    if (m->raw_size != out->size)
        return cli_fail(err, GR_EFORMAT, "the tensor claims %s, %zu bytes, and has %zu",
                        cli_shape(out->type, out->rank, out->dims), out->size, m->raw_size);
    out->data = m->raw;
    out->file = file;
    file->refs++;
    return true;
}

bool cli_pb_parse(cli_file *file, const uint8_t *data, size_t size, cli_tensor *out, gr_err *err)
{
    message m = {0};
    *out = (cli_tensor){0};
    bool ok = read_fields(&m, (wire){data, data + size}, err) && finish(&m, file, out, err);
    if (ok && m.name_size) {
        if (memchr(m.name, 0, m.name_size)) {
            cli_tensor_free(out);
            ok = cli_fail(err, GR_EFORMAT, "the tensor's name holds a NUL");
        } else {
            out->name = cli_strndup((const char *)m.name, m.name_size);
        }
    }
    free(m.numbers);
    return ok;
}

/* ---- Sequences and optionals: messages around tensors ---- */

enum { ELEM_TYPE = 2, TENSOR_VALUE = 3, SEQUENCE_VALUE = 5 };

typedef struct part {
    const uint8_t *data;
    size_t size;
} part;

/* What stands in a field that holds messages, and the number ELEM_TYPE. */
static bool find_parts(wire w, int wanted, part **out, size_t *count, uint64_t *elem, gr_err *err)
{
    size_t cap = 0;
    while (w.at < w.end) {
        uint64_t key, v;
        if (!varint(&w, &key) || !varint(&w, &v) || ((key & 7) != VARINT && (key & 7) != BYTES) ||
            ((key & 7) == BYTES && v > (uint64_t)(w.end - w.at)))
            return cli_fail(err, GR_EFORMAT, "the protobuf data is malformed");
        if (key == (ELEM_TYPE << 3 | VARINT)) *elem = v;
        if (key == ((uint64_t)wanted << 3 | BYTES)) *CLI_PUSH(*out, *count, cap) = (part){w.at, (size_t)v};
        if ((key & 7) == BYTES) w.at += v;
    }
    return true;
}

static bool parse_sequence(cli_file *file, part p, cli_tensor *out, gr_err *err)
{
    part *parts = NULL;
    size_t n = 0;
    uint64_t elem = 0;
    bool ok = find_parts((wire){p.data, p.data + p.size}, TENSOR_VALUE, &parts, &n, &elem, err);
    if (ok && elem > 1) ok = cli_fail(err, GR_EUNSUPPORTED, "only sequences of tensors are supported");
    gr_tensor_view *views = cli_array(n, sizeof *views);
    *out = (cli_tensor){.rank = GR_VIEW_SEQUENCE, .data = views, .owned = views, .size = n * sizeof *views};
    out->items = cli_array(n, sizeof *out->items);
    for (; ok && out->count < n; out->count++) {
        cli_tensor *item = &out->items[out->count];
        if (!(ok = cli_pb_parse(file, parts[out->count].data, parts[out->count].size, item, err))) break;
        views[out->count] = cli_view(item);
        out->type = item->type;
    }
    free(parts);
    if (!ok) cli_tensor_free(out);
    return ok;
}

bool cli_pb_parse_as(cli_file *file, gr_value_kind kind, cli_tensor *out, gr_err *err)
{
    part all = {file->data, file->size}, *parts = NULL;
    size_t n = 0;
    uint64_t elem = 0;
    *out = (cli_tensor){.rank = GR_VIEW_EMPTY};
    if (kind == GR_VALUE_SEQUENCE) return parse_sequence(file, all, out, err);
    if (kind == GR_VALUE_TENSOR) return cli_pb_parse(file, file->data, file->size, out, err);
    int field = kind == GR_VALUE_OPTIONAL ? TENSOR_VALUE : SEQUENCE_VALUE;
    if (kind == GR_VALUE_OTHER) return cli_fail(err, GR_EUNSUPPORTED, "only tensors and sequences of them are supported");
    bool ok = find_parts((wire){all.data, all.data + all.size}, field, &parts, &n, &elem, err);
    if (ok && n && kind == GR_VALUE_OPTIONAL) ok = cli_pb_parse(file, parts[n - 1].data, parts[n - 1].size, out, err);
    if (ok && n && kind != GR_VALUE_OPTIONAL) ok = parse_sequence(file, parts[n - 1], out, err);
    free(parts);
    return ok;
}

static void write_varint(cli_text *out, uint64_t v)
{
    do {
        char byte = (char)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        cli_add_bytes(out, &byte, 1);
        v >>= 7;
    } while (v);
}

void cli_pb_write(const char *name, const gr_tensor_view *t, cli_text *out)
{
    cli_text dims = {0};
    for (int i = 0; i < t->rank; i++) write_varint(&dims, (uint64_t)t->dims[i]);
    if (t->rank) {
        write_varint(out, DIMS << 3 | BYTES), write_varint(out, dims.size);
        cli_add_bytes(out, dims.data, dims.size);
    }
    write_varint(out, DATA_TYPE << 3 | VARINT), write_varint(out, (uint64_t)t->type);
    write_varint(out, NAME << 3 | BYTES), write_varint(out, strlen(name));
    cli_add_bytes(out, name, strlen(name));
    write_varint(out, RAW_DATA << 3 | BYTES), write_varint(out, t->size);
    if (t->size) cli_add_bytes(out, t->data, t->size);
    cli_text_free(&dims);
}
