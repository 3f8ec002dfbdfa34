/* SPDX-License-Identifier: Apache-2.0
 *
 * Types and constants of the textual syntax. Sizes are checked before memory is asked for: a constant cannot have more
 * elements than the rest of the text can spell, unless it leaves them out.
 */
#include "text_lex.h"

/* ---- types ---- */

static bool find_dtype(const char *s, size_t n, gr_dtype *out)
{
    static const struct row {
        const char *name;
        gr_dtype dtype;
    } rows[] = {{"undefined", GR_UNDEFINED},
#define X(name, number, text, bits) {text, GR_##name},
                GR_DTYPE_MAP(X)
#undef X
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strlen(rows[i].name) == n && !memcmp(rows[i].name, s, n)) {
            *out = rows[i].dtype;
            return true;
        }
    return false;
}

bool gr_text_is_type(const char *s, size_t n)
{
    static const char *const words[] = {"seq", "map", "optional", "sparse_tensor", "opaque"};
    gr_dtype ignored;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i]) == n && !memcmp(words[i], s, n)) return true;
    return find_dtype(s, n, &ignored);
}

static gr_status parse_dim(gr_lex *lex, gr_doc_dim *dim)
{
    *dim = (gr_doc_dim){.value = -1, .denotation = lex->notes.denotation};
    if (lex->kind == '?') return gr_lex_next(lex);
    if (lex->kind == GR_TOK_IDENT || lex->kind == GR_TOK_STRING) return gr_lex_name(lex, "a dimension", &dim->param);
    GR_TRY(gr_lex_int(lex, "a dimension, as a number, a name or '?'", &dim->value));
    if (dim->value < 0) dim->value = -1;
    return GR_OK;
}

/* No brackets: a scalar. []: the rank is unknown. */
static gr_status parse_shape(gr_lex *lex, gr_doc_type *type)
{
    gr_doc_dim *dims = NULL;
    size_t n = 0, cap = 0;
    bool found;
    GR_TRY(gr_lex_accept(lex, '[', &found));
    if (!found) return GR_OK;
    GR_TRY(gr_lex_accept(lex, ']', &found));
    if (found) {
        type->rank = -1;
        return GR_OK;
    }
    do {
        gr_doc_dim *dim = GR_PUSH(lex->arena, dims, n, cap);
        if (!dim) return gr_nomem(lex->err);
        GR_TRY(parse_dim(lex, dim));
        GR_TRY(gr_lex_accept(lex, ',', &found));
    } while (found);
    if (n > INT32_MAX) return gr_lex_fail(lex, GR_ELIMIT, "a shape has more than %d dimensions", INT32_MAX);
    type->dims = dims;
    type->rank = (int)n;
    return gr_lex_expect(lex, ']', "',' or ']' after a dimension");
}

static gr_status parse_dtype(gr_lex *lex, const char *what, gr_dtype *out)
{
    if (lex->kind != GR_TOK_IDENT || !find_dtype(lex->s, lex->n, out)) return gr_lex_expected(lex, what);
    return gr_lex_next(lex);
}

static gr_status parse_opaque(gr_lex *lex, gr_doc_type *type)
{
    const char *head, *last;
    bool found;
    if (lex->kind == ')') return GR_OK;
    GR_TRY(gr_lex_dotted(lex, "the name of an opaque type", &head, &last));
    if (head) last = gr_arena_printf(lex->arena, "%s.%s", head, last);
    if (!last) return gr_nomem(lex->err);
    type->opaque_name = last;
    GR_TRY(gr_lex_accept(lex, ',', &found));
    if (!found) return GR_OK;
    type->opaque_domain = last;
    return gr_lex_name(lex, "the name of an opaque type", &type->opaque_name);
}

/* What stands in the parentheses of a type. */
static gr_status parse_inner(gr_lex *lex, gr_doc_type *type)
{
    if (lex->kind == ')' && type->kind != GR_KIND_MAP && type->kind != GR_KIND_SPARSE) return GR_OK;
    switch (type->kind) {
    case GR_KIND_OPAQUE: return parse_opaque(lex, type);
    case GR_KIND_SPARSE:
        GR_TRY(parse_dtype(lex, "the element type of a sparse tensor", &type->dtype));
        return parse_shape(lex, type);
    case GR_KIND_MAP:
        GR_TRY(parse_dtype(lex, "the key type of a map", &type->dtype));
        GR_TRY(gr_lex_expect(lex, ',', "',' after the key type of a map"));
        return lex->kind == ')' ? GR_OK : gr_text_parse_type(lex, &type->elem);
    default: return gr_text_parse_type(lex, &type->elem);
    }
}

gr_status gr_text_parse_type(gr_lex *lex, gr_doc_type **out)
{
    gr_doc_type *type = *out = GR_NEW(lex->arena, gr_doc_type);
    if (!type) return gr_nomem(lex->err);
    type->denotation = lex->notes.denotation;
    if (lex->kind == GR_TOK_IDENT && find_dtype(lex->s, lex->n, &type->dtype)) {
        type->kind = GR_KIND_TENSOR;
        GR_TRY(gr_lex_next(lex));
        return parse_shape(lex, type);
    }
    type->kind = gr_lex_is_word(lex, "seq")             ? GR_KIND_SEQUENCE
                 : gr_lex_is_word(lex, "optional")      ? GR_KIND_OPTIONAL
                 : gr_lex_is_word(lex, "map")           ? GR_KIND_MAP
                 : gr_lex_is_word(lex, "sparse_tensor") ? GR_KIND_SPARSE
                 : gr_lex_is_word(lex, "opaque")        ? GR_KIND_OPAQUE
                                                        : GR_KIND_NONE;
    if (type->kind == GR_KIND_NONE) return gr_lex_expected(lex, "a type");
    GR_TRY(gr_lex_enter(lex));
    GR_TRY(gr_lex_next(lex));
    GR_TRY(gr_lex_expect(lex, '(', "'(' after a type's name"));
    GR_TRY(parse_inner(lex, type));
    gr_lex_leave(lex);
    return gr_lex_expect(lex, ')', "')' at the end of a type");
}

/* ---- constants ---- */

gr_status gr_text_parse_props(gr_lex *lex, gr_doc_props *out)
{
    size_t cap = 0;
    bool found;
    *out = (gr_doc_props){0};
    GR_TRY(gr_lex_expect(lex, '[', "'['"));
    GR_TRY(gr_lex_accept(lex, ']', &found));
    if (found) return GR_OK;
    do {
        gr_doc_prop *prop = GR_PUSH(lex->arena, out->items, out->count, cap);
        if (!prop) return gr_nomem(lex->err);
        GR_TRY(gr_lex_string(lex, "a key in quotes", &prop->key));
        GR_TRY(gr_lex_expect(lex, ':', "':' after a key"));
        GR_TRY(gr_lex_string(lex, "a value in quotes", &prop->value));
        GR_TRY(gr_lex_accept(lex, ',', &found));
    } while (found);
    return gr_lex_expect(lex, ']', "',' or ']' after a value");
}

/* Integers that an element type's literals may have. 16-bit and 8-bit floats are written as their bits, in which case
 * ONNX's parser allows the sign of its 32-bit field; so are packed bytes of the types below 8 bits. */
static void literal_range(gr_dtype dtype, int64_t *low, int64_t *high)
{
    int bits = gr_dtype_bits(dtype) < 8 ? 8 : gr_dtype_bits(dtype);
    bool is_signed = gr_dtype_is_signed(dtype), is_unsigned = gr_dtype_is_int(dtype) && !is_signed;
    *low = is_unsigned || dtype == GR_BOOL ? 0 : -((int64_t)1 << (bits - 1));
    *high = is_signed ? ((int64_t)1 << (bits - 1)) - 1 : ((int64_t)1 << bits) - 1;
}

static gr_status parse_integer(gr_lex *lex, gr_dtype dtype, void *out)
{
    int64_t value, low, high;
    if (dtype == GR_UINT64) {
        uint64_t u;
        GR_TRY(gr_lex_uint(lex, &u));
        memcpy(out, &u, sizeof u);
        return GR_OK;
    }
    gr_lex before = *lex;
    GR_TRY(gr_lex_int(lex, "an integer", &value));
    if (dtype != GR_INT64) {
        literal_range(dtype, &low, &high);
        if (value < low || value > high)
            return gr_lex_fail(&before, GR_EFORMAT, "%lld is out of range for %s", (long long)value,
                               gr_dtype_name(dtype));
    }
    /* Little endian, as raw_data: the low bytes come first. */
    for (int i = 0; i < (gr_dtype_bits(dtype) + 7) / 8; i++)
        ((unsigned char *)out)[i] = (unsigned char)(value >> 8 * i);
    return GR_OK;
}

static gr_status parse_value(gr_lex *lex, gr_dtype dtype, void *out)
{
    float f;
    double d;
    bool half = dtype == GR_FLOAT16 || dtype == GR_BFLOAT16;
    if (dtype == GR_DOUBLE || dtype == GR_COMPLEX128) {
        GR_TRY(gr_lex_double(lex, &d));
        memcpy(out, &d, sizeof d);
        return GR_OK;
    }
    if (dtype == GR_FLOAT || dtype == GR_COMPLEX64) {
        GR_TRY(gr_lex_float(lex, &f));
        memcpy(out, &f, sizeof f);
        return GR_OK;
    }
    if (half && lex->kind != GR_TOK_INT) {
        GR_TRY(gr_lex_float(lex, &f));
        uint16_t bits = dtype == GR_FLOAT16 ? gr_float_to_half(f) : gr_float_to_bfloat(f);
        memcpy(out, &bits, sizeof bits);
        return GR_OK;
    }
    return parse_integer(lex, dtype, out);
}

/* Memory for the data of a constant, which the bound on the graph's memory does not count. NULL if out of memory. */
static void *alloc_data(gr_lex *lex, size_t count, size_t size)
{
    size_t before = gr_arena_bytes(lex->arena);
    void *data = gr_arena_array(lex->arena, count, size);
    lex->tensor_bytes += gr_arena_bytes(lex->arena) - before;
    return data;
}

static gr_status wrong_count(const gr_lex *lex, const gr_doc_tensor *t, const char *than)
{
    return gr_lex_fail(lex, GR_EFORMAT, "the constant '%s' has %lld elements, but %s values are given",
                       gr_show(t->name), (long long)t->elements, than);
}

static gr_status next_value(gr_lex *lex, const gr_doc_tensor *t, int64_t i, int64_t count)
{
    if (i > 0 && lex->kind == '}') return wrong_count(lex, t, "fewer");
    if (i == count) return wrong_count(lex, t, "more");
    return i > 0 ? gr_lex_expect(lex, ',', "',' or '}' after a value") : GR_OK;
}

static gr_status parse_strings(gr_lex *lex, gr_doc_tensor *t)
{
    gr_bytes_view *strings = alloc_data(lex, (size_t)t->elements, sizeof *strings);
    if (!strings) return gr_nomem(lex->err);
    for (int64_t i = 0; i < t->elements; i++) {
        GR_TRY(next_value(lex, t, i, t->elements));
        GR_TRY(gr_lex_bytes(lex, &strings[i]));
    }
    t->strings = strings;
    return GR_OK;
}

/* Pack elements that were read as bytes. */
static gr_status pack(gr_lex *lex, gr_doc_tensor *t, const unsigned char *literals)
{
    int bits = gr_dtype_bits(t->dtype), mask = (1 << bits) - 1;
    size_t per_byte = 8 / (size_t)bits;
    bool is_signed = t->dtype == GR_INT4 || t->dtype == GR_INT2;
    unsigned char *packed = alloc_data(lex, t->size, 1);
    if (!packed) return gr_nomem(lex->err);
    for (size_t i = 0; i < (size_t)t->elements; i++) {
        int value = literals[i];
        if (value > mask && !(is_signed && value >= 256 - (mask + 1) / 2))
            return gr_lex_fail(lex, GR_EFORMAT, "element %zu of the constant '%s' is out of range for %s", i,
                               gr_show(t->name), gr_dtype_name(t->dtype));
        packed[i / per_byte] |= (unsigned char)((value & mask) << (i % per_byte * (size_t)bits));
    }
    t->data = packed;
    return GR_OK;
}

/* Types below 8 bits: a literal per packed byte, as ONNX's parser takes them, or one per element. Where there is but
 * one element the two agree, unless the unused bits of its byte are set. */
static gr_status parse_packed(gr_lex *lex, gr_doc_tensor *t)
{
    size_t n = 0, cap = 0;
    unsigned char *literals = NULL;
    bool negative = false;
    while (lex->kind != '}') {
        GR_TRY(next_value(lex, t, (int64_t)n, t->elements));
        unsigned char *literal = GR_PUSH(lex->arena, literals, n, cap);
        if (!literal) return gr_nomem(lex->err);
        negative = lex->n > 0 && lex->s[0] == '-';
        GR_TRY(parse_integer(lex, t->dtype, literal));
    }
    if (n == t->size && (n != (size_t)t->elements || (literals[0] >> gr_dtype_bits(t->dtype) && !negative))) {
        t->data = literals;
        return GR_OK;
    }
    return n == (size_t)t->elements ? pack(lex, t, literals) : wrong_count(lex, t, "fewer");
}

static gr_status parse_values(gr_lex *lex, gr_doc_tensor *t)
{
    bool is_complex = t->dtype == GR_COMPLEX64 || t->dtype == GR_COMPLEX128;
    int bits = gr_dtype_bits(t->dtype);
    uint64_t room = (uint64_t)(lex->end - lex->s) / 2 + 1; /* a value and its comma are two bytes */
    uint64_t least = bits > 0 && bits < 8 ? t->size : (uint64_t)t->elements;
    if (t->elements == 0) return GR_OK;
    if (lex->kind == '}' || least > room) return wrong_count(lex, t, "fewer");
    if (t->dtype == GR_STRING) return parse_strings(lex, t);
    if (bits < 8) return parse_packed(lex, t);
    char *data = alloc_data(lex, t->size, 1);
    if (!data) return gr_nomem(lex->err);
    int64_t count = is_complex ? 2 * t->elements : t->elements;
    size_t step = (size_t)bits / (is_complex ? 16 : 8);
    for (int64_t i = 0; i < count; i++) {
        GR_TRY(next_value(lex, t, i, count));
        GR_TRY(parse_value(lex, t->dtype, data + (size_t)i * step));
    }
    t->data = data;
    return GR_OK;
}

static int base64_digit(unsigned char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* ["base64": "..."]: all bytes of the data; line breaks may stand between the digits. */
static gr_status parse_base64(gr_lex *lex, gr_doc_tensor *t)
{
    uint32_t held = 0;
    int bits = 0;
    size_t n = 0;
    GR_TRY(gr_lex_next(lex));
    GR_TRY(gr_lex_expect(lex, ':', "':' after a key"));
    if (lex->kind != GR_TOK_STRING) return gr_lex_expected(lex, "a value in quotes");
    if (t->dtype == GR_STRING) return gr_lex_fail(lex, GR_EFORMAT, "strings are not stored as base64");
    if (lex->n / 4 < t->size / 3) return wrong_count(lex, t, "fewer");
    unsigned char *data = alloc_data(lex, t->size, 1);
    if (!data) return gr_nomem(lex->err);
    for (size_t i = 0; i < lex->n && lex->s[i] != '='; i++) {
        if (lex->s[i] == '\n' || lex->s[i] == '\r') continue;
        int digit = base64_digit((unsigned char)lex->s[i]);
        if (digit < 0)
            return gr_lex_fail(lex, GR_EFORMAT, "a byte of the constant '%s' is no base64", gr_show(t->name));
        held = held << 6 | (uint32_t)digit;
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        if (n == t->size) return wrong_count(lex, t, "more");
        data[n++] = (unsigned char)(held >> bits);
    }
    if (n < t->size) return wrong_count(lex, t, "fewer");
    if (t->size) t->data = data;
    GR_TRY(gr_lex_next(lex));
    return gr_lex_expect(lex, ']', "']' after base64 data");
}

/* The type's dimensions as those of a constant, with its sizes. */
static gr_status set_shape(gr_lex *lex, const gr_doc_type *type, int64_t **out, int *rank, int64_t *elements)
{
    int64_t *dims = NULL;
    bool numbers = type->rank >= 0;
    for (int i = 0; i < type->rank; i++) numbers &= type->dims[i].value >= 0;
    if (!numbers) return gr_lex_fail(lex, GR_EFORMAT, "the shape of a constant must be given in numbers");
    if (type->rank > 0 && !(dims = GR_NEWS(lex->arena, (size_t)type->rank, int64_t))) return gr_nomem(lex->err);
    for (int i = 0; i < type->rank; i++) dims[i] = type->dims[i].value;
    *out = dims;
    *rank = type->rank;
    if (!gr_elements(type->rank, dims, elements))
        return gr_lex_fail(lex, GR_EFORMAT, "the number of elements of a constant does not fit into 64 bits");
    return GR_OK;
}

gr_status gr_text_parse_data(gr_lex *lex, const gr_doc_type *type, gr_doc_tensor *t)
{
    int64_t *dims;
    bool found;
    if (type->kind != GR_KIND_TENSOR || type->dtype == GR_UNDEFINED)
        return gr_lex_fail(lex, GR_EFORMAT, "a constant must have the type of a tensor");
    t->dtype = type->dtype;
    GR_TRY(set_shape(lex, type, &dims, &t->rank, &t->elements));
    t->dims = dims;
    if (!gr_bytes(t->dtype, t->elements, &t->size))
        return gr_lex_fail(lex, GR_EFORMAT, "the size of a constant does not fit into 64 bits");
    if (lex->kind == '[') {
        gr_lex bracket = *lex;
        GR_TRY(gr_lex_next(lex));
        if (lex->kind == GR_TOK_STRING && lex->n == 6 && !memcmp(lex->s, "base64", 6)) {
            GR_TRY(parse_base64(lex, t));
        } else {
            *lex = bracket;
            GR_TRY(gr_text_parse_props(lex, &t->external));
        }
    } else {
        GR_TRY(gr_lex_accept(lex, '{', &found));
        if (lex->kind == GR_TOK_DOTS) {
            GR_TRY(gr_lex_next(lex));
            t->elided = t->elements > 0;
        } else if (!found) {
            return gr_lex_expected(lex, "'{' and the values of a constant, or '...' in their place");
        } else {
            GR_TRY(parse_values(lex, t));
        }
        if (found && lex->kind == ',') return wrong_count(lex, t, "more");
        if (found) GR_TRY(gr_lex_expect(lex, '}', "'}' after the values"));
    }
    return GR_OK;
}

bool gr_text_is_constant(const gr_lex *lex)
{
    return lex->kind == '{' || lex->kind == '=' || lex->kind == '[' || lex->kind == GR_TOK_DOTS ||
           lex->kind == GR_TOK_IDENT || lex->kind == GR_TOK_STRING;
}

gr_status gr_text_parse_constant(gr_lex *lex, const gr_doc_type *type, const gr_notes *notes, gr_doc_tensor **out)
{
    gr_doc_tensor *t = *out = GR_NEW(lex->arena, gr_doc_tensor);
    bool found;
    if (!t) return gr_nomem(lex->err);
    t->doc_string = notes->doc;
    t->metadata = notes->meta;
    if (lex->kind == GR_TOK_IDENT || lex->kind == GR_TOK_STRING)
        GR_TRY(gr_lex_name(lex, "the name of a constant", &t->name));
    if (notes->name) t->name = notes->name;
    GR_TRY(gr_lex_accept(lex, '=', &found));
    return gr_text_parse_data(lex, type, t);
}

static gr_status parse_part(gr_lex *lex, gr_doc_tensor **out)
{
    gr_doc_type *type;
    gr_notes notes = lex->notes;
    GR_TRY(gr_text_parse_type(lex, &type));
    return gr_text_parse_constant(lex, type, &notes, out);
}

gr_status gr_text_parse_sparse(gr_lex *lex, const gr_doc_type *type, const char *name, gr_doc_sparse **out)
{
    gr_doc_sparse *sparse = *out = GR_NEW(lex->arena, gr_doc_sparse);
    int64_t *dims, elements;
    bool found;
    if (!sparse) return gr_nomem(lex->err);
    GR_TRY(set_shape(lex, type, &dims, &sparse->rank, &elements));
    sparse->dims = dims;
    GR_TRY(gr_lex_accept(lex, '=', &found));
    GR_TRY(gr_lex_expect(lex, '(', "'(' and the values of a sparse tensor"));
    GR_TRY(parse_part(lex, &sparse->values));
    GR_TRY(gr_lex_expect(lex, ',', "',' and the indices of a sparse tensor"));
    GR_TRY(parse_part(lex, &sparse->indices));
    if (name) sparse->values->name = name;
    return gr_lex_expect(lex, ')', "')' after the indices of a sparse tensor");
}
