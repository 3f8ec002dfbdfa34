/* SPDX-License-Identifier: Apache-2.0
 *
 * raw_data and packed floats are in the document's layout already and stay where they are. The other typed fields hold
 * numbers of any type of up to 32 bits as int32, uint32 as uint64, complex numbers as pairs, and bit patterns of small
 * floats and packed 4-bit and 2-bit numbers as int32 too.
 */
#include "payload.h"

static const char *field_name(uint32_t field)
{
    switch (field) {
    case GR_PAYLOAD_FLOAT: return "float_data";
    case GR_PAYLOAD_INT32: return "int32_data";
    case GR_PAYLOAD_STRING: return "string_data";
    case GR_PAYLOAD_INT64: return "int64_data";
    case GR_PAYLOAD_DOUBLE: return "double_data";
    case GR_PAYLOAD_UINT64: return "uint64_data";
    default: return "raw_data";
    }
}

/* The typed field in which a type's elements are kept. */
static uint32_t field_of(gr_dtype type)
{
    switch (type) {
    case GR_FLOAT:
    case GR_COMPLEX64: return GR_PAYLOAD_FLOAT;
    case GR_DOUBLE:
    case GR_COMPLEX128: return GR_PAYLOAD_DOUBLE;
    case GR_INT64: return GR_PAYLOAD_INT64;
    case GR_UINT32:
    case GR_UINT64: return GR_PAYLOAD_UINT64;
    case GR_STRING: return GR_PAYLOAD_STRING;
    default: return GR_PAYLOAD_INT32;
    }
}

/* Bytes of one number of the typed field in the document's layout. */
static size_t width_of(gr_dtype type)
{
    size_t bytes = (size_t)gr_dtype_bits(type) / 8;
    if (type == GR_COMPLEX64 || type == GR_COMPLEX128) bytes /= 2;
    return bytes ? bytes : 1;
}

static gr_wire_ref ref_at(const gr_payload *p, size_t i)
{
    gr_wire_ref r;
    memcpy(&r, (const char *)p->refs + i * sizeof r, sizeof r);
    return r;
}

/* Walks the numbers or strings of all references, in file order. The scan has checked the bytes. */
typedef struct cursor {
    const gr_payload *payload;
    size_t index; /* of the next reference */
    gr_wire_ref ref;
    const uint8_t *at, *end;
} cursor;

static bool cursor_next(cursor *c, gr_wire_field *f)
{
    while (c->at == c->end) {
        if (c->index == c->payload->count) return false;
        c->ref = ref_at(c->payload, c->index++);
        c->at = c->payload->file + c->ref.offset;
        c->end = c->at + c->ref.size;
    }
    bool cut;
    if (c->ref.fields) return !gr_wire_next(&c->at, c->end, f, &cut);
    size_t n = c->ref.field == GR_PAYLOAD_FLOAT ? 4 : c->ref.field == GR_PAYLOAD_DOUBLE ? 8 : 0;
    if (!n) return gr_wire_varint(&c->at, c->end, &f->value);
    if ((size_t)(c->end - c->at) < n) return false;
    f->value = 0;
    for (size_t i = n; i-- > 0;) f->value = f->value << 8 | c->at[i];
    c->at += n;
    return true;
}

/* How many numbers or strings the references hold. False if a packed run is malformed: the scan leaves those it refers
 * to alone, so that it need not read them. */
static bool count_elements(const gr_payload *p, size_t *out)
{
    size_t total = 0;
    for (size_t i = 0; i < p->count; i++) {
        gr_wire_ref r = ref_at(p, i);
        const uint8_t *at = p->file + r.offset, *end = at + r.size;
        if (r.fields) {
            cursor c = {.payload = &(gr_payload){p->file, &r, 1}};
            for (gr_wire_field f; cursor_next(&c, &f);) total++;
        } else if (r.field == GR_PAYLOAD_FLOAT || r.field == GR_PAYLOAD_DOUBLE) {
            size_t n = r.field == GR_PAYLOAD_FLOAT ? 4 : 8;
            if (r.size % n) return false;
            total += r.size / n;
        } else {
            for (uint64_t v; at < end; total++)
                if (!gr_wire_varint(&at, end, &v)) return false;
        }
    }
    *out = total;
    return true;
}

/* Is a number of int32_data one of the type? Bit patterns may be written as signed numbers. */
static bool in_range(gr_dtype type, int64_t v)
{
    switch (type) {
    case GR_INT8: return v >= INT8_MIN && v <= INT8_MAX;
    case GR_UINT8: return v >= 0 && v <= UINT8_MAX;
    case GR_INT16: return v >= INT16_MIN && v <= INT16_MAX;
    case GR_UINT16: return v >= 0 && v <= UINT16_MAX;
    case GR_FLOAT16:
    case GR_BFLOAT16: return v >= INT16_MIN && v <= UINT16_MAX;
    case GR_INT32:
    case GR_BOOL: return true;
    default: return v >= INT8_MIN && v <= UINT8_MAX;
    }
}

/* One number of a typed field as the bits of its type. */
static bool narrow(gr_dtype type, uint32_t field, uint64_t *value)
{
    if (field == GR_PAYLOAD_UINT64) return type == GR_UINT64 || *value <= UINT32_MAX;
    if (field != GR_PAYLOAD_INT32) return true;
    if (*value > UINT32_MAX && *value < (uint64_t)INT32_MIN) return false;
    int64_t v = (int32_t)(uint32_t)*value;
    if (!in_range(type, v)) return false;
    *value = type == GR_BOOL ? v != 0 : (uint64_t)v;
    return true;
}

static gr_status decode(gr_arena *arena, const gr_payload *p, gr_doc_tensor *t, size_t size, gr_err *err)
{
    size_t width = width_of(t->dtype), at = 0;
    uint8_t *data = gr_arena_alloc(arena, size);
    if (!data) return gr_nomem(err);
    cursor c = {.payload = p};
    for (gr_wire_field f; at < size && cursor_next(&c, &f);) {
        if (!narrow(t->dtype, c.ref.field, &f.value))
            return gr_fail(err, GR_EMODEL, "tensor '%s': a number in %s is out of the range of %s", gr_show(t->name),
                           field_name(c.ref.field), gr_dtype_name(t->dtype));
        for (size_t i = 0; i < width; i++) data[at++] = (uint8_t)(f.value >> 8 * i);
    }
    t->data = data;
    return GR_OK;
}

static gr_status read_strings(gr_arena *arena, const gr_payload *p, gr_doc_tensor *t, gr_err *err)
{
    gr_bytes_view *strings = GR_NEWS(arena, (size_t)t->elements, gr_bytes_view);
    if (!strings) return gr_nomem(err);
    cursor c = {.payload = p};
    gr_wire_field f;
    for (int64_t i = 0; i < t->elements && cursor_next(&c, &f); i++)
        strings[i] = (gr_bytes_view){(const char *)f.data, f.size};
    t->strings = strings;
    t->mapped = true;
    return GR_OK;
}

gr_status gr_payload_size(const gr_doc_tensor *t, size_t *out, gr_err *err)
{
    if (gr_bytes(t->dtype, t->elements, out)) return GR_OK;
    return gr_fail(err, GR_EMODEL, "tensor '%s' has more elements than fit into memory", gr_show(t->name));
}

/* Typed fields: one number per element but for pairs and packed bits. */
static gr_status read_typed(gr_arena *arena, const gr_payload *p, gr_doc_tensor *t, size_t size, gr_err *err)
{
    bool strings = t->dtype == GR_STRING;
    size_t have, want = strings ? (size_t)t->elements : size / width_of(t->dtype);
    uint32_t field = ref_at(p, 0).field;
    for (size_t i = 0; i < p->count; i++)
        if (ref_at(p, i).field != field_of(t->dtype))
            return gr_fail(err, GR_EMODEL, "tensor '%s' keeps elements in %s, but those of %s belong in %s",
                           gr_show(t->name), field_name(ref_at(p, i).field), gr_dtype_name(t->dtype),
                           field_name(field_of(t->dtype)));
    if (!count_elements(p, &have))
        return gr_fail(err, GR_EFORMAT, "tensor '%s': %s is malformed", gr_show(t->name), field_name(field));
    if (have != want)
        return gr_fail(err, GR_EMODEL, "tensor '%s' has %zu numbers in %s where its dimensions need %zu",
                       gr_show(t->name), have, field_name(field), want);
    if (want == 0) return GR_OK;
    if (strings) return read_strings(arena, p, t, err);
    t->size = size;
    gr_wire_ref r = ref_at(p, 0);
    if (p->count == 1 && !r.fields && (field == GR_PAYLOAD_FLOAT || field == GR_PAYLOAD_DOUBLE)) {
        t->data = p->file + r.offset;
        t->mapped = true;
        return GR_OK;
    }
    return decode(arena, p, t, size, err);
}

gr_status gr_payload_read(gr_arena *arena, const gr_payload *p, gr_doc_tensor *t, gr_err *err)
{
    size_t size;
    GR_TRY(gr_payload_size(t, &size, err));
    gr_wire_ref raw = {0};
    for (size_t i = 0; i < p->count; i++)
        if (ref_at(p, i).field == GR_PAYLOAD_RAW) raw = ref_at(p, i);
    if (raw.field && p->count > 1) {
        for (size_t i = 0; i < p->count; i++)
            if (ref_at(p, i).field != GR_PAYLOAD_RAW && ref_at(p, i).size > 0)
                return gr_fail(err, GR_EMODEL, "tensor '%s' has elements in both raw_data and %s", gr_show(t->name),
                               field_name(ref_at(p, i).field));
    } else if (!raw.field && p->count) {
        return read_typed(arena, p, t, size, err);
    }
    if (t->dtype == GR_STRING && raw.size > 0)
        return gr_fail(err, GR_EMODEL, "tensor '%s' keeps strings in raw_data", gr_show(t->name));
    if (t->dtype == GR_STRING ? t->elements > 0 : raw.size != size)
        return gr_fail(err, GR_EMODEL, "tensor '%s' has %zu bytes of data where %s and its dimensions need %zu",
                       gr_show(t->name), (size_t)raw.size, gr_dtype_name(t->dtype), size);
    if (size == 0) return GR_OK;
    t->data = p->file + raw.offset;
    t->size = size;
    t->mapped = true;
    return GR_OK;
}
