/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensors as text: numbers apart by spaces or commas, one row per line; in comments "# shape 2x3" and "# type float".
 * Without a shape, rows make a matrix; a model that wants a vector or a scalar gets one.
 */
#include "tensor.h"
#include "ids.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>

typedef struct reader {
    gr_dtype type;
    bool has_shape, whole;
    int rank;
    int64_t dims[CLI_MAX_RANK];
    int64_t rows, columns;
    double *values; /* used when the type is a floating-point one */
    int64_t *integers;
    size_t count, cap, integer_cap;
} reader;

static bool word_is(const char *token, size_t size, const char *word)
{
    return strlen(word) == size && !memcmp(token, word, size);
}

/* "2x3", "[2, 3]", "" (a scalar). */
static bool read_shape(reader *r, char *at)
{
    int rank = 0;
    while (*(at += strspn(at, " \t[](),x\r"))) {
        if (rank == CLI_MAX_RANK || *at < '0' || *at > '9') return false;
        errno = 0;
        r->dims[rank++] = strtoll(at, &at, 10);
        if (errno || (*at && !strchr(" \t,x])\r", *at))) return false;
    }
    r->rank = rank;
    r->has_shape = true;
    return true;
}

/* "shape 2x3" or "type int64", with or without a colon. Without one, what can't be read is some other remark. */
static bool read_comment(reader *r, const char *text, size_t size, gr_err *err)
{
    char line[256];
    if (size >= sizeof line) return true;
    memcpy(line, text, size);
    line[size] = 0;
    char *at = line + strspn(line, " \t");
    size_t word = strcspn(at, ": \t");
    bool colon = at[word] == ':';
    char *rest = at + word + strspn(at + word, ": \t");
    if (word_is(at, word, "type")) {
        rest[strcspn(rest, " \t\r")] = 0;
        for (int t = GR_FLOAT; t <= GR_INT2; t++)
            if (!strcmp(gr_dtype_name((gr_dtype)t), rest)) return r->type = (gr_dtype)t, true;
        return !colon || cli_fail(err, GR_EFORMAT, "'%s' is no type", cli_show(rest));
    }
    if (!word_is(at, word, "shape") || r->has_shape || (!colon && !*rest)) return true;
    return read_shape(r, rest) || !colon || cli_fail(err, GR_EFORMAT, "the shape is malformed");
}

static bool read_float(const char *token, size_t size, double *out)
{
    char copy[64], *end;
    bool minus = size && *token == '-';
    const char *rest = token + minus;
    size_t left = size - minus;
    if (word_is(rest, left, "inf") || word_is(rest, left, "nan")) {
        *out = *rest == 'n' ? NAN : minus ? -INFINITY : INFINITY;
        return true;
    }
    if (size >= sizeof copy || !size || *token == '+') return false;
    memcpy(copy, token, size);
    copy[size] = 0;
    if (strspn(copy, "0123456789.eE+-") < size) return false;
    *out = strtod(copy, &end);
    return end == copy + size;
}

static bool read_token(reader *r, const char *token, size_t size, gr_err *err)
{
    int64_t integer = 0;
    double value = 0;
    bool whole = cli_id_parse(token, size, &integer) == NULL;
    if (!whole && r->type == GR_BOOL) {
        whole = word_is(token, size, "true") || word_is(token, size, "false");
        integer = size == 4;
    }
    if (whole)
        value = (double)integer;
    else if (!read_float(token, size, &value))
        return cli_fail(err, GR_EFORMAT, "'%s' is no number", cli_show(cli_token(token, size).s));
    r->whole = r->whole && whole;
    size_t n = r->count;
    *CLI_PUSH(r->values, n, r->cap) = value;
    *CLI_PUSH(r->integers, r->count, r->integer_cap) = integer;
    return true;
}

static bool read_line(reader *r, const char *at, const char *end, gr_err *err)
{
    size_t before = r->count;
    if (memchr(at, 0, (size_t)(end - at))) return cli_fail(err, GR_EFORMAT, "there is a NUL byte");
    while (at < end && *at != '#') {
        const char *start = at;
        while (at < end && !strchr(" \t,\r#", *at)) at++;
        if (at > start && !read_token(r, start, (size_t)(at - start), err)) return false;
        if (at == start) at++;
    }
    if (at < end && !read_comment(r, at + 1, (size_t)(end - at - 1), err)) return false;
    int64_t columns = (int64_t)(r->count - before);
    if (!columns) return true;
    if (r->rows && columns != r->columns) r->columns = -1;
    if (!r->rows) r->columns = columns;
    r->rows++;
    return true;
}

static bool settle_shape(reader *r, int rank, gr_err *err)
{
    if (r->has_shape) return true;
    if (rank == 0 && r->count == 1) {
        r->rank = 0;
    } else if (rank == 1) {
        r->rank = 1, r->dims[0] = (int64_t)r->count;
    } else if (r->columns < 0) {
        return cli_fail(err, GR_EFORMAT, "the rows have different lengths; a comment '# shape 2x3' gives a shape");
    } else {
        r->rank = 2, r->dims[0] = r->rows, r->dims[1] = r->columns;
    }
    return true;
}

bool cli_numbers_parse(const cli_file *file, gr_dtype type, int rank, cli_tensor *out, gr_err *err)
{
    reader r = {.type = type, .whole = true};
    const char *at = (const char *)file->data, *end = at + file->size;
    bool ok = true;
    *out = (cli_tensor){0};
    if (file->size >= 3 && !memcmp(at, "\xef\xbb\xbf", 3)) at += 3;
    for (int64_t line = 1; ok && at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;
        ok = read_line(&r, at, stop, err) || cli_fail_context(err, "line %lld", (long long)line);
        at = stop < end ? stop + 1 : end;
    }
    if (r.type == GR_UNDEFINED) r.type = r.whole ? GR_INT64 : GR_FLOAT;
    ok = ok && settle_shape(&r, rank, err);
    int64_t elements;
    size_t bytes;
    if (ok && (!cli_tensor_bytes(r.type, r.rank, r.dims, &elements, &bytes) || elements != (int64_t)r.count))
        ok = cli_fail(err, GR_EFORMAT, "%zu numbers do not fill %s", r.count, cli_shape(r.type, r.rank, r.dims));
    ok = ok && cli_tensor_make(out, r.type, r.rank, r.dims, err);
    for (size_t i = 0; ok && i < r.count; i++) {
        ok = cli_is_float(r.type) ? cli_store_float(r.type, out->owned, (int64_t)i, r.values[i])
                                  : r.whole && cli_store_integer(r.type, out->owned, (int64_t)i, r.integers[i]);
        if (!ok) cli_fail(err, GR_EFORMAT, "number %zu, %.17g, is no %s", i + 1, r.values[i], gr_dtype_name(r.type));
    }
    if (!ok) cli_tensor_free(out);
    free(r.values);
    free(r.integers);
    return ok;
}
