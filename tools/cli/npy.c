/* SPDX-License-Identifier: Apache-2.0
 *
 * numpy's .npy: a header that is a Python dictionary, then the elements. What is stored as numpy and the model want it
 * is used where it lies; other byte order, column order and odd bool bytes are copied.
 */
#include "tensor.h"
#include <stdlib.h>

#define HEADER_MAX 65536

/* Type characters of numpy and what they are here. */
static const struct kind {
    char letter;
    int bytes;
    gr_dtype type;
} kinds[] = {
    {'b', 1, GR_BOOL},  {'i', 1, GR_INT8},   {'i', 2, GR_INT16},     {'i', 4, GR_INT32},       {'i', 8, GR_INT64},
    {'u', 1, GR_UINT8}, {'u', 2, GR_UINT16}, {'u', 4, GR_UINT32},    {'u', 8, GR_UINT64},      {'f', 2, GR_FLOAT16},
    {'f', 4, GR_FLOAT}, {'f', 8, GR_DOUBLE}, {'c', 8, GR_COMPLEX64}, {'c', 16, GR_COMPLEX128},
};
#define KINDS (sizeof kinds / sizeof *kinds)

typedef struct header {
    const char *at, *end;
    char descr[16];
    bool fortran, has_descr, has_fortran, has_shape;
    int rank;
    int64_t dims[CLI_MAX_RANK];
} header;

static void skip(header *h)
{
    while (h->at < h->end && (*h->at == ' ' || *h->at == '\t' || *h->at == '\n' || *h->at == '\r')) h->at++;
}

static bool take(header *h, char c)
{
    skip(h);
    if (h->at == h->end || *h->at != c) return false;
    h->at++;
    return true;
}

static bool take_word(header *h, const char *word)
{
    size_t n = strlen(word);
    skip(h);
    if ((size_t)(h->end - h->at) < n || memcmp(h->at, word, n)) return false;
    h->at += n;
    return true;
}

static bool take_string(header *h, char *out, size_t room)
{
    skip(h);
    if (h->at == h->end || (*h->at != '\'' && *h->at != '"')) return false;
    char quote = *h->at++;
    size_t n = 0;
    while (h->at < h->end && *h->at != quote && *h->at != '\\' && *h->at && n + 1 < room) out[n++] = *h->at++;
    out[n] = 0;
    return take(h, quote);
}

static bool take_shape(header *h)
{
    if (!take(h, '(')) return false;
    for (h->rank = 0; !take(h, ')');) {
        int64_t dim = 0;
        skip(h);
        const char *first = h->at;
        for (; h->at < h->end && *h->at >= '0' && *h->at <= '9'; h->at++)
            if (__builtin_mul_overflow(dim, 10, &dim) || __builtin_add_overflow(dim, *h->at - '0', &dim)) return false;
        if (h->at == first || h->rank == CLI_MAX_RANK) return false;
        if (h->at < h->end && *h->at == 'L') h->at++; /* a long of Python 2 */
        h->dims[h->rank++] = dim;
        if (!take(h, ',')) return take(h, ')') && h->rank > 1;
    }
    return true;
}

static bool take_entry(header *h, gr_err *err)
{
    char key[24];
    if (!take_string(h, key, sizeof key) || !take(h, ':'))
        return cli_fail(err, GR_EFORMAT, "the .npy header is malformed");
    bool *seen = !strcmp(key, "descr")           ? &h->has_descr
                 : !strcmp(key, "fortran_order") ? &h->has_fortran
                 : !strcmp(key, "shape")         ? &h->has_shape
                                                 : NULL;
    if (!seen || *seen) return cli_fail(err, GR_EFORMAT, "the .npy header has a wrong key '%s'", cli_show(key));
    *seen = true;
    if (seen == &h->has_descr) {
        skip(h);
        if (h->at < h->end && *h->at == '[')
            return cli_fail(err, GR_EUNSUPPORTED, "the .npy file holds records, not numbers");
        return take_string(h, h->descr, sizeof h->descr) ||
               cli_fail(err, GR_EFORMAT, "the type in the .npy header is malformed");
    }
    if (seen == &h->has_fortran) {
        h->fortran = take_word(h, "True");
        return h->fortran || take_word(h, "False") ||
               cli_fail(err, GR_EFORMAT, "the order in the .npy header is malformed");
    }
    return take_shape(h) ||
           cli_fail(err, GR_EFORMAT, "the shape in the .npy header is malformed or has over %d dimensions",
                    CLI_MAX_RANK);
}

static bool parse_header(header *h, gr_err *err)
{
    if (!take(h, '{')) return cli_fail(err, GR_EFORMAT, "the .npy header is no dictionary");
    while (!take(h, '}')) {
        if (!take_entry(h, err)) return false;
        if (!take(h, ',')) {
            if (take(h, '}')) break;
            return cli_fail(err, GR_EFORMAT, "the .npy header is malformed");
        }
    }
    skip(h);
    if (h->at != h->end || !h->has_descr || !h->has_fortran || !h->has_shape)
        return cli_fail(err, GR_EFORMAT, "the .npy header is incomplete");
    return true;
}

static bool parse_type(const char *descr, gr_dtype *type, bool *big, gr_err *err)
{
    const char *d = descr;
    if (strchr("OVUSMm", *d ? d[1] : 0) || *d == 'O')
        return cli_fail(err, GR_EUNSUPPORTED, "the .npy file holds '%s', not numbers", cli_show(descr));
    *big = *d == '>';
    if (*d == '<' || *d == '>' || *d == '|' || *d == '=') d++;
    for (size_t i = 0; i < KINDS; i++) {
        char text[8];
        snprintf(text, sizeof text, "%c%d", kinds[i].letter, kinds[i].bytes);
        if (strcmp(text, d)) continue;
        *type = kinds[i].type;
        *big = *big && kinds[i].bytes > 1;
        return true;
    }
    return cli_fail(err, GR_EUNSUPPORTED, "the .npy file holds type '%s', which is not supported", cli_show(descr));
}

static void swap_bytes(uint8_t *data, size_t size, size_t width)
{
    for (size_t i = 0; i + width <= size; i += width)
        for (size_t a = 0; a < width / 2; a++) {
            uint8_t byte = data[i + a];
            data[i + a] = data[i + width - 1 - a], data[i + width - 1 - a] = byte;
        }
}

/* Copy a tensor whose first dimension varies fastest into row-major order. */
static void from_fortran(const cli_tensor *t, const uint8_t *from, uint8_t *to, size_t width)
{
    int64_t index[CLI_MAX_RANK] = {0}, stride[CLI_MAX_RANK], at = 0;
    for (int d = 0; d < t->rank; d++) stride[d] = d ? stride[d - 1] * t->dims[d - 1] : 1;
    for (int64_t i = 0; i < t->elements; i++) {
        memcpy(to + (size_t)i * width, from + (size_t)at * width, width);
        for (int d = t->rank - 1; d >= 0; d--) {
            at += stride[d];
            if (++index[d] < t->dims[d]) break;
            at -= stride[d] * t->dims[d];
            index[d] = 0;
        }
    }
}

static bool copy_elements(cli_tensor *t, const uint8_t *from, const header *h, bool big, gr_err *err)
{
    bool complex = t->type == GR_COMPLEX64 || t->type == GR_COMPLEX128;
    size_t width = (size_t)gr_dtype_bits(t->type) / 8;
    uint8_t *to = malloc(t->size ? t->size : 1);
    if (!to) return cli_fail(err, GR_ENOMEM, "out of memory for %s", cli_shape(t->type, t->rank, t->dims));
    if (h->fortran && t->rank > 1)
        from_fortran(t, from, to, width);
    else if (t->size)
        memcpy(to, from, t->size);
    if (big) swap_bytes(to, t->size, complex ? width / 2 : width);
    for (size_t i = 0; t->type == GR_BOOL && i < t->size; i++) to[i] = to[i] != 0;
    t->owned = to, t->data = to;
    return true;
}

bool cli_npy_parse(cli_file *file, const uint8_t *data, size_t size, cli_tensor *out, gr_err *err)
{
    *out = (cli_tensor){0};
    if (size < 10 || memcmp(data, "\x93NUMPY", 6)) return cli_fail(err, GR_EFORMAT, "not a .npy file");
    int version = data[6];
    if (version < 1 || version > 3 || (version > 1 && size < 12))
        return cli_fail(err, GR_EFORMAT, "version %d of .npy is not known", version);
    size_t start = version == 1 ? 10 : 12;
    size_t length = (size_t)data[8] | (size_t)data[9] << 8;
    if (version > 1) length |= (size_t)data[10] << 16 | (size_t)data[11] << 24;
    if (length > HEADER_MAX || length > size - start)
        return cli_fail(err, GR_EFORMAT, "the .npy header claims %zu bytes, and %zu are there", length, size - start);

    header h = {.at = (const char *)data + start, .end = (const char *)data + start + length};
    bool big = false;
    if (!parse_header(&h, err) || !parse_type(h.descr, &out->type, &big, err)) return false;
    out->rank = h.rank;
    memcpy(out->dims, h.dims, sizeof h.dims);
    if (!cli_tensor_bytes(out->type, out->rank, out->dims, &out->elements, &out->size))
        return cli_fail(err, GR_EFORMAT, "the .npy file claims an impossible %s",
                        cli_shape(out->type, out->rank, out->dims));
    const uint8_t *elements = data + start + length;
    size_t present = size - start - length;
    if (out->size > present)
        return cli_fail(err, GR_EFORMAT, "the .npy file claims %s, %zu bytes, and %zu are there",
                        cli_shape(out->type, out->rank, out->dims), out->size, present);

    bool odd = big || (h.fortran && out->rank > 1);
    for (size_t i = 0; out->type == GR_BOOL && i < out->size && !odd; i++) odd = elements[i] > 1;
    if (odd) return copy_elements(out, elements, &h, big, err);
    out->data = elements;
    out->file = file;
    file->refs++;
    return true;
}

gr_dtype cli_npy_type(gr_dtype type)
{
    for (size_t i = 0; i < KINDS; i++)
        if (kinds[i].type == type) return type;
    if (cli_is_float(type)) return GR_FLOAT;
    if (type == GR_INT4 || type == GR_INT2) return GR_INT8;
    if (type == GR_UINT4 || type == GR_UINT2) return GR_UINT8;
    return GR_UNDEFINED;
}

bool cli_npy_header(gr_dtype type, int rank, const int64_t *dims, cli_text *out)
{
    const struct kind *kind = NULL;
    for (size_t i = 0; i < KINDS; i++)
        if (kinds[i].type == type) kind = &kinds[i];
    if (!kind) return false;
    cli_text text = {0};
    cli_add(&text, "{'descr': '%c%c%d', 'fortran_order': False, 'shape': (", kind->bytes > 1 ? '<' : '|', kind->letter,
            kind->bytes);
    for (int i = 0; i < rank; i++) cli_add(&text, "%s%lld", i ? ", " : "", (long long)dims[i]);
    cli_add(&text, "%s), }", rank == 1 ? "," : "");
    while ((10 + text.size + 1) % 64) cli_add_bytes(&text, " ", 1);
    cli_add_bytes(&text, "\n", 1);
    char start[10] = {'\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0, (char)(text.size & 0xff), (char)(text.size >> 8)};
    cli_add_bytes(out, start, sizeof start);
    cli_add_bytes(out, text.data, text.size);
    cli_text_free(&text);
    return true;
}
