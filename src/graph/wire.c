/* SPDX-License-Identifier: Apache-2.0
 *
 * Scan protobuf bytes against protobuf-c's own descriptors and rewrite them as a skeleton. Each message is read twice:
 * a survey finds out which occurrence of a singular field counts, then the fields that count are written. Recursion is
 * bounded by GR_WIRE_MAX_DEPTH; bytes that the rules leave out are never touched.
 */
#include "wire.h"
#include <assert.h>
#include <limits.h>

/* ---- fields ---- */

bool gr_wire_varint(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
    uint64_t v = 0;
    const uint8_t *p = *at;
    for (unsigned shift = 0; p < end && shift < 70; shift += 7) {
        uint8_t b = *p++;
        v |= shift < 64 ? (uint64_t)(b & 0x7F) << shift : 0;
        if (!(b & 0x80)) {
            *at = p;
            *value = v;
            return true;
        }
    }
    return false;
}

enum { END_GROUP = 4, TAG_BYTES = 5, VARINT_BYTES = 10 };

/* Read tag and, of bytes, length. */
static const char *head(const uint8_t **at, const uint8_t *end, gr_wire_field *f, bool *cut)
{
    uint64_t tag, v;
    f->start = *at;
    *cut = false;
    if (!gr_wire_varint(at, end, &tag)) {
        *cut = end - *at < VARINT_BYTES;
        return *cut ? "has a field cut off in its tag" : "has a tag that is no varint";
    }
    if (*at - f->start > TAG_BYTES || tag > UINT32_MAX || tag >> 3 == 0) return "has a tag that is out of range";
    f->number = (uint32_t)(tag >> 3);
    f->type = tag & 7;
    f->data = *at;
    f->value = 0;
    size_t left = (size_t)(end - *at);
    switch (f->type) {
    case GR_WIRE_VARINT:
        if (!gr_wire_varint(at, end, &f->value)) {
            *cut = left < VARINT_BYTES;
            return *cut ? "has a number cut off" : "has a varint of more than ten bytes";
        }
        break;
    case GR_WIRE_FIXED64:
    case GR_WIRE_FIXED32: {
        size_t n = f->type == GR_WIRE_FIXED64 ? 8 : 4;
        if ((*cut = left < n)) return "has a number cut off";
        for (size_t i = n; i-- > 0;) f->value = f->value << 8 | f->data[i];
        *at += n;
        break;
    }
    case GR_WIRE_BYTES:
        if (!gr_wire_varint(at, end, &v)) {
            *cut = left < VARINT_BYTES;
            return *cut ? "has a length cut off" : "has a length that is no varint";
        }
        if ((*cut = v > (size_t)(end - *at))) return "has a field that is longer than the bytes there are";
        f->data = *at;
        *at += v;
        break;
    case GR_WIRE_GROUP:
    case END_GROUP: break;
    default: return "has a field of a wire type that does not exist";
    }
    f->size = (size_t)(*at - f->data);
    return NULL;
}

const char *gr_wire_next(const uint8_t **at, const uint8_t *end, gr_wire_field *f, bool *cut)
{
    const char *wrong = head(at, end, f, cut);
    if (wrong) return wrong;
    if (f->type == END_GROUP) return "ends a group that was not begun";
    if (f->type != GR_WIRE_GROUP) return NULL;
    uint32_t open[GR_WIRE_MAX_DEPTH] = {f->number};
    size_t depth = 1;
    while (depth > 0) {
        gr_wire_field in;
        if ((*cut = *at == end)) return "has a group that does not end";
        if ((wrong = head(at, end, &in, cut))) return wrong;
        if (in.type == GR_WIRE_GROUP) {
            if (depth == GR_WIRE_MAX_DEPTH) return "has groups nested too deep";
            open[depth++] = in.number;
        } else if (in.type == END_GROUP && open[--depth] != in.number) {
            return "ends a group that was not begun";
        }
    }
    f->size = (size_t)(*at - f->data);
    return NULL;
}

/* ---- the skeleton ---- */

enum { MAX_FIELDS = 32 };

/* A message's bytes lie in one piece, or in several that are to be merged. In file order. */
typedef struct piece {
    const uint8_t *at, *end;
} piece;

typedef struct pieces {
    const piece *items;
    size_t count;
} pieces;

/* What the survey of a message found. `first`: where the singular field or the oneof's present member begins to count;
 * `last`: its last occurrence. */
typedef struct survey {
    const uint8_t *first[MAX_FIELDS], *last[MAX_FIELDS];
    uint32_t count[MAX_FIELDS];
} survey;

typedef struct scan {
    const uint8_t *base, *end;
    const ProtobufCMessageDescriptor *root;
    const gr_wire_rule *rules;
    size_t rule_count;
    size_t limit, cost;
    uint8_t *out;
    size_t used, room;
    gr_wire_ref *refs; /* of the message being written: messages that have some contain none that has */
    size_t nrefs, refs_room;
    gr_err *err;
} scan;

static gr_status charge(scan *s, size_t bytes)
{
    if (bytes <= s->limit && s->cost <= s->limit - bytes) {
        s->cost += bytes;
        return GR_OK;
    }
    return gr_fail(s->err, GR_ELIMIT, "the graph without its weights needs more than the limit of %zu MiB of memory",
                   s->limit >> 20);
}

/* Make room for `bytes` more in a growing array; its size is part of what was charged. */
static gr_status grow(scan *s, void *array, size_t used, size_t bytes, size_t *room)
{
    void **p = array;
    if (bytes <= *room - used) return GR_OK;
    size_t want = *room ? *room : 4096;
    while (want - used < bytes) want *= 2;
    void *grown = gr_realloc(*p, want);
    if (!grown) return gr_nomem(s->err);
    *p = grown;
    *room = want;
    return GR_OK;
}

static gr_status put(scan *s, const void *data, size_t size)
{
    GR_TRY(grow(s, &s->out, s->used, size, &s->room));
    if (size) memcpy(s->out + s->used, data, size);
    s->used += size;
    return GR_OK;
}

static gr_status put_varint(scan *s, uint64_t v)
{
    uint8_t bytes[VARINT_BYTES];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) bytes[n++] = (uint8_t)(v | 0x80);
    bytes[n++] = (uint8_t)v;
    return put(s, bytes, n);
}

static gr_status put_tag(scan *s, uint32_t number, int type)
{
    return put_varint(s, (uint64_t)number << 3 | (unsigned)type);
}

static const gr_wire_rule *rule_of(const scan *s, const ProtobufCMessageDescriptor *d, uint32_t number)
{
    for (size_t i = 0; i < s->rule_count; i++)
        if (s->rules[i].message == d && s->rules[i].field == number) return &s->rules[i];
    return NULL;
}

static int wire_type(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE: return GR_WIRE_FIXED64;
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT: return GR_WIRE_FIXED32;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE: return GR_WIRE_BYTES;
    default: return GR_WIRE_VARINT;
    }
}

/* The schema's field, or NULL if there is none or the wire type is another's: then it is an unknown field, too. */
static const ProtobufCFieldDescriptor *known(const ProtobufCMessageDescriptor *d, const gr_wire_field *f)
{
    if (f->number > INT_MAX) return NULL;
    const ProtobufCFieldDescriptor *fd = protobuf_c_message_descriptor_get_field(d, f->number);
    if (!fd) return NULL;
    int type = wire_type(fd->type);
    bool packed = fd->label == PROTOBUF_C_LABEL_REPEATED && f->type == GR_WIRE_BYTES;
    return f->type == type || packed ? fd : NULL;
}

static gr_status malformed(scan *s, const ProtobufCMessageDescriptor *d, const char *wrong, bool cut,
                           const uint8_t *where, const uint8_t *end)
{
    size_t offset = (size_t)(where - s->base);
    if (cut && d == s->root && end == s->end)
        return gr_fail(s->err, GR_EFORMAT, "the file is truncated: message %s %s (at byte %zu of %zu)", d->short_name,
                       wrong, offset, (size_t)(s->end - s->base));
    return gr_fail(s->err, GR_EFORMAT, "not valid protobuf: message %s %s (at byte %zu)", d->short_name, wrong, offset);
}

static gr_status next(scan *s, const ProtobufCMessageDescriptor *d, const uint8_t **at, const uint8_t *end,
                      gr_wire_field *f)
{
    bool cut;
    const char *wrong = gr_wire_next(at, end, f, &cut);
    return wrong ? malformed(s, d, wrong, cut, f->start, end) : GR_OK;
}

/* A oneof's members share the place that says which is set; another member that comes later clears the ones before. */
static void clear_rivals(const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *fd, survey *v)
{
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *other = &d->fields[i];
        if (other != fd && (other->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
            other->quantifier_offset == fd->quantifier_offset)
            v->count[i] = 0;
    }
}

static gr_status take_survey(scan *s, const ProtobufCMessageDescriptor *d, pieces p, survey *v)
{
    memset(v->count, 0, sizeof v->count);
    for (size_t i = 0; i < p.count; i++) {
        for (const uint8_t *at = p.items[i].at; at < p.items[i].end;) {
            gr_wire_field f;
            GR_TRY(next(s, d, &at, p.items[i].end, &f));
            const ProtobufCFieldDescriptor *fd = known(d, &f);
            if (!fd) continue;
            size_t k = (size_t)(fd - d->fields);
            if (fd->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) clear_rivals(d, fd, v);
            if (v->count[k]++ == 0) v->first[k] = f.start;
            v->last[k] = f.start;
        }
    }
    for (size_t i = 0; i < s->rule_count; i++) {
        const gr_wire_rule *r = &s->rules[i];
        if (r->message != d || r->action != GR_WIRE_REQUIRE) continue;
        const ProtobufCFieldDescriptor *fd = protobuf_c_message_descriptor_get_field(d, r->field);
        size_t k = (size_t)(fd - d->fields);
        gr_wire_field f = {0};
        const uint8_t *at = v->last[k];
        if (v->count[k]) GR_TRY(next(s, d, &at, s->end, &f));
        if (f.size == 0)
            return gr_fail(s->err, GR_EMODEL, "message %s without '%s' (at byte %zu)", d->short_name, fd->name,
                           (size_t)((p.count ? p.items[0].at : s->base) - s->base));
    }
    return GR_OK;
}

/* Protobuf cuts numbers to 32 bits; no writer means that. Both ways to write a negative number are read. */
static bool fits_32(uint64_t v) { return v <= UINT32_MAX || v >= (uint64_t)INT32_MIN; }

static bool is_32(const ProtobufCFieldDescriptor *fd)
{
    return fd->type == PROTOBUF_C_TYPE_INT32 || fd->type == PROTOBUF_C_TYPE_ENUM;
}

/* Elements of a packed run, all checked. */
static gr_status check_packed(scan *s, const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *fd,
                              const gr_wire_field *f, size_t *count)
{
    int type = wire_type(fd->type);
    size_t n = 0, width = type == GR_WIRE_FIXED64 ? 8 : 4;
    const uint8_t *at = f->data, *end = f->data + f->size;
    if (type != GR_WIRE_VARINT) {
        if (f->size % width)
            return malformed(s, d, "has a packed list that ends within a number", false, f->start, end);
        *count = f->size / width;
        return GR_OK;
    }
    for (uint64_t v; at < end; n++)
        if (!gr_wire_varint(&at, end, &v) || (is_32(fd) && !fits_32(v)))
            return malformed(s, d, "has a packed list with a number that is malformed or out of range", false, at, end);
    *count = n;
    return GR_OK;
}

static gr_status put_scalar(scan *s, const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *fd,
                            const gr_wire_field *f)
{
    size_t elements = 1;
    bool bytes = f->type == GR_WIRE_BYTES, packed = bytes && wire_type(fd->type) != GR_WIRE_BYTES;
    if (packed) GR_TRY(check_packed(s, d, fd, f, &elements));
    if (!bytes && is_32(fd) && !fits_32(f->value))
        return gr_fail(s->err, GR_EFORMAT, "the field '%s' of message %s is a number beyond 32 bits (at byte %zu)",
                       fd->name, d->short_name, (size_t)(f->start - s->base));
    /* Bytes stand in the skeleton, the message and the document, each copy rounded up; elements in the latter two, and
     * protobuf-c remembers each field while it works. */
    size_t most = 3 * (f->size < SIZE_MAX / 4 ? f->size : SIZE_MAX / 4);
    GR_TRY(charge(s, most + (fd->label == PROTOBUF_C_LABEL_REPEATED ? 128 : 64)));
    GR_TRY(charge(s, packed ? 16 * elements : 0));
    GR_TRY(put_tag(s, f->number, f->type));
    if (f->type == GR_WIRE_VARINT) return put_varint(s, f->value);
    if (bytes) GR_TRY(put_varint(s, f->size));
    return put(s, f->data, f->size);
}

static gr_status refer(scan *s, const ProtobufCFieldDescriptor *fd, const gr_wire_field *f)
{
    bool list = fd->label == PROTOBUF_C_LABEL_REPEATED,
         packed = f->type == GR_WIRE_BYTES && wire_type(fd->type) != f->type;
    if (packed && f->size == 0) return GR_OK;
    uint64_t offset = (uint64_t)(f->data - s->base);
    gr_wire_ref r = {offset, f->size, f->number, list && !packed};
    if (r.fields) {
        r.offset = (uint64_t)(f->start - s->base);
        r.size = offset + f->size - r.offset;
        gr_wire_ref *before = s->nrefs ? &s->refs[s->nrefs - 1] : NULL;
        if (before && before->fields && before->field == r.field && before->offset + before->size == r.offset) {
            before->size += r.size;
            return GR_OK;
        }
    }
    GR_TRY(charge(s, 4 * sizeof r));
    GR_TRY(grow(s, &s->refs, s->nrefs * sizeof r, sizeof r, &s->refs_room));
    s->refs[s->nrefs++] = r;
    return GR_OK;
}

static gr_status put_refs(scan *s, uint32_t carrier)
{
    size_t bytes = s->nrefs * sizeof *s->refs;
    GR_TRY(put_tag(s, carrier, GR_WIRE_BYTES));
    GR_TRY(put_varint(s, bytes));
    GR_TRY(put(s, s->refs, bytes));
    s->nrefs = 0;
    return GR_OK;
}

static gr_status put_message(scan *s, const ProtobufCMessageDescriptor *d, pieces p, int depth);

/* A nested message: its length is known when it has been written, so there is room for the longest. */
static gr_status put_nested(scan *s, const ProtobufCFieldDescriptor *fd, pieces p, int depth)
{
    enum { LENGTH = 5 };
    static const uint8_t padding[LENGTH];
    if (depth == GR_WIRE_MAX_DEPTH)
        return gr_fail(s->err, GR_ELIMIT, "messages are nested more than %d deep (at byte %zu)", GR_WIRE_MAX_DEPTH,
                       (size_t)((p.count ? p.items[0].at : s->base) - s->base));
    GR_TRY(put_tag(s, fd->id, GR_WIRE_BYTES));
    GR_TRY(put(s, padding, LENGTH));
    size_t start = s->used;
    GR_TRY(put_message(s, fd->descriptor, p, depth + 1));
    size_t size = s->used - start;
    if (size > INT_MAX) return gr_fail(s->err, GR_ELIMIT, "the graph without its weights is larger than 2 GiB");
    for (int i = 0; i < LENGTH; i++)
        s->out[start - LENGTH + (size_t)i] = (uint8_t)((size >> 7 * i & 0x7F) | (i < LENGTH - 1) << 7);
    return GR_OK;
}

/* Merge what counts of a split message: writing its pieces one after the other is what protobuf means by that. */
static gr_status put_merged(scan *s, const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *fd, pieces p,
                            const survey *v, int depth)
{
    size_t k = (size_t)(fd - d->fields), n = 0;
    GR_TRY(charge(s, v->count[k] * sizeof(piece)));
    piece *parts = gr_malloc(v->count[k] * sizeof *parts);
    if (!parts) return gr_nomem(s->err);
    gr_status status = GR_OK;
    for (size_t i = 0; i < p.count && !status; i++) {
        for (const uint8_t *at = p.items[i].at; at < p.items[i].end && !status;) {
            gr_wire_field f;
            status = next(s, d, &at, p.items[i].end, &f);
            if (!status && known(d, &f) == fd && f.start >= v->first[k]) parts[n++] = (piece){f.data, f.data + f.size};
        }
    }
    if (!status) status = put_nested(s, fd, (pieces){parts, n}, depth);
    gr_free(parts);
    return status;
}

static gr_status put_field(scan *s, const ProtobufCMessageDescriptor *d, const gr_wire_field *f, pieces p,
                           const survey *v, int depth, uint32_t *carrier)
{
    const ProtobufCFieldDescriptor *fd = known(d, f);
    if (!fd) return GR_OK;
    size_t k = (size_t)(fd - d->fields);
    bool list = fd->label == PROTOBUF_C_LABEL_REPEATED, message = fd->type == PROTOBUF_C_TYPE_MESSAGE;
    const gr_wire_rule *rule = rule_of(s, d, f->number);
    if (rule && rule->action == GR_WIRE_SKIP) return GR_OK;
    if (!list && (v->count[k] == 0 || f->start != (message ? v->first[k] : v->last[k]))) return GR_OK;
    if (rule && rule->action == GR_WIRE_REFER) {
        *carrier = rule->carrier;
        return refer(s, fd, f);
    }
    if (!message) return put_scalar(s, d, fd, f);
    if (list) GR_TRY(charge(s, 128));
    if (!list && v->count[k] > 1) return put_merged(s, d, fd, p, v, depth);
    piece one = {f->data, f->data + f->size};
    return put_nested(s, fd, (pieces){&one, 1}, depth);
}

static gr_status put_message(scan *s, const ProtobufCMessageDescriptor *d, pieces p, int depth)
{
    survey v;
    uint32_t carrier = 0;
    assert(d->n_fields <= MAX_FIELDS);
    /* The document's struct is no larger than protobuf-c's. */
    GR_TRY(charge(s, 2 * d->sizeof_message + 32));
    GR_TRY(take_survey(s, d, p, &v));
    for (size_t i = 0; i < p.count; i++) {
        for (const uint8_t *at = p.items[i].at; at < p.items[i].end;) {
            gr_wire_field f;
            GR_TRY(next(s, d, &at, p.items[i].end, &f));
            GR_TRY(put_field(s, d, &f, p, &v, depth, &carrier));
        }
    }
    return carrier ? put_refs(s, carrier) : GR_OK;
}

gr_status gr_wire_skeleton(const void *data, size_t size, const ProtobufCMessageDescriptor *root,
                           const gr_wire_rule *rules, size_t rule_count, size_t limit, uint8_t **out, size_t *out_size,
                           gr_err *err)
{
    const uint8_t *base = size ? data : (const uint8_t *)"";
    scan s = {.base = base,
              .end = base + size,
              .root = root,
              .rules = rules,
              .rule_count = rule_count,
              .limit = limit,
              .err = err};
    piece all = {s.base, s.end};
    gr_status status = put_message(&s, root, (pieces){&all, 1}, 0);
    gr_free(s.refs);
    if (status) {
        gr_free(s.out);
        return status;
    }
    *out = s.out;
    *out_size = s.used;
    return GR_OK;
}
