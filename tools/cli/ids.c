/* SPDX-License-Identifier: Apache-2.0
 *
 * Token ids from text, checked as whole tokens, and their batches.
 */
#include "ids.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* A window of more ids than that is full whatever its lines; a longer line is taken for no line of ids. */
enum { MANY_IDS = 1 << 20, LINE_MAX_BYTES = 64 << 20 };

cli_token_text cli_token(const char *token, size_t size)
{
    cli_token_text out = {{0}};
    memcpy(out.s, token, size < 40 ? size : 40);
    return out;
}

const char *cli_id_parse(const char *token, size_t size, int64_t *out)
{
    size_t i = size && token[0] == '-';
    bool minus = i;
    int64_t v = 0;
    if (i == size) return "no whole number";
    for (; i < size; i++) {
        if (token[i] < '0' || token[i] > '9') return "no whole number";
        int64_t digit = token[i] - '0';
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, minus ? -digit : digit, &v))
            return "out of the range of 64-bit numbers";
    }
    *out = v;
    return NULL;
}

static bool add_token(cli_ids *ids, const char *token, size_t size, gr_err *err)
{
    int64_t id;
    const char *wrong = cli_id_parse(token, size, &id);
    if (wrong)
        return cli_fail(err, GR_EFORMAT, "'%s%s' is %s", cli_show(cli_token(token, size).s), size > 40 ? "…" : "",
                        wrong);
    *CLI_PUSH(ids->ids, ids->id_count, ids->id_cap) = id;
    return true;
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == ',' || c == '\r' || c == '\f' || c == '\v'; }

static bool parse_line(cli_ids *ids, const char *at, const char *end, int64_t number, int64_t paragraph, gr_err *err)
{
    size_t first = ids->id_count;
    int64_t boundary = -1;
    while (at < end && *at != '#') {
        if (is_space(*at)) {
            at++;
        } else if (*at == '|') {
            if (boundary >= 0) return cli_fail(err, GR_EFORMAT, "there is a second '|', and a pair has two segments");
            boundary = (int64_t)(ids->id_count - first);
            at++;
        } else if (*at == 0) {
            return cli_fail(err, GR_EFORMAT, "there is a NUL byte");
        } else {
            const char *start = at;
            while (at < end && !is_space(*at) && *at != '|' && *at != '#' && *at != 0) at++;
            if (!add_token(ids, start, (size_t)(at - start), err)) return false;
        }
    }
    int64_t length = (int64_t)(ids->id_count - first);
    if (!length && boundary >= 0) return cli_fail(err, GR_EFORMAT, "there are no ids around '|'");
    if (!length) return true;
    *CLI_PUSH(ids->lines, ids->line_count, ids->line_cap) =
        (cli_line){number, (int64_t)first, length, boundary < 0 ? length : boundary, paragraph};
    return true;
}

static bool is_blank(const char *at, const char *end)
{
    while (at < end && is_space(*at)) at++;
    return at == end;
}

/* ---- Reading ---- */

struct cli_ids_reader {
    int fd; /* -1: all is there */
    char *data;
    size_t at, size, cap;
    int64_t number, paragraph; /* of the line before */
    bool open;                 /* the paragraph has lines */
};

/* Room for more, in front of which only what has not been parsed is kept. */
static bool fill(cli_ids_reader *r, gr_err *err)
{
    enum { PIECE = 1 << 16 };
    if (r->size - r->at > LINE_MAX_BYTES)
        return cli_fail(err, GR_ELIMIT, "line %lld is longer than %d MiB", (long long)r->number + 1, LINE_MAX_BYTES >> 20);
    if (r->at) memmove(r->data, r->data + r->at, r->size -= r->at);
    r->at = 0;
    r->data = cli_grow(r->data, &r->cap, r->size + PIECE, 1);
    ssize_t n;
    do n = read(r->fd, r->data + r->size, r->cap - r->size);
    while (n < 0 && errno == EINTR);
    if (n < 0) return cli_fail(err, GR_EIO, "%s", strerror(errno));
    if (n == 0) {
        if (r->fd != STDIN_FILENO) close(r->fd);
        r->fd = -1;
    }
    r->size += (size_t)n;
    return true;
}

/* The next line, without its end; *at is NULL behind the last. It lives until the next call. */
static bool next_line(cli_ids_reader *r, const char **at, const char **stop, gr_err *err)
{
    for (size_t seen = 0;;) {
        const char *from = r->data + r->at;
        const size_t left = r->size - r->at;
        const char *found = left > seen ? memchr(from + seen, '\n', left - seen) : NULL;
        if (!found && r->fd >= 0) {
            seen = left;
            if (!fill(r, err)) return false;
            continue;
        }
        *at = r->at < r->size ? from : NULL;
        *stop = found ? found : r->data + r->size;
        r->at = found ? (size_t)(found - r->data) + 1 : r->size;
        return true;
    }
}

static bool is_full(const cli_ids *ids, size_t lines, int64_t group)
{
    const bool many = lines < SIZE_MAX && ids->id_count >= MANY_IDS;
    return (ids->line_count >= lines || many) && (group < 2 || ids->line_count % (size_t)group == 0);
}

static bool read_lines(cli_ids_reader *r, size_t lines, int64_t group, cli_ids *out, bool *end, gr_err *err)
{
    static const char mark[] = "\xef\xbb\xbf";
    const char *at, *stop;
    for (bool parted = false; !is_full(out, lines, group) || (group == 0 && !parted);) {
        if (!next_line(r, &at, &stop, err)) return false;
        if ((*end = !at)) return true;
        if (!r->number++ && stop - at >= 3 && !memcmp(at, mark, 3)) at += 3;
        parted = is_blank(at, stop) && r->open;
        if (parted) r->paragraph++, r->open = false;
        const size_t before = out->line_count;
        if (!parse_line(out, at, stop, r->number, r->paragraph, err))
            return cli_fail_context(err, "line %lld", (long long)r->number);
        r->open |= out->line_count > before;
    }
    return true;
}

bool cli_ids_read(cli_ids_reader *r, size_t lines, int64_t group, cli_ids *out, bool *end, gr_err *err)
{
    const bool first = !r->number;
    *out = (cli_ids){0};
    *end = false;
    if (read_lines(r, lines, group, out, end, err) && (out->line_count || !first)) return true;
    if (*end) cli_fail(err, GR_EFORMAT, "there are no ids");
    cli_ids_free(out);
    return false;
}

bool cli_ids_open(const char *path, cli_ids_reader **out, gr_err *err)
{
    int fd;
    if (!cli_input_open(path, true, &fd, err)) return false;
    *out = cli_alloc(sizeof **out);
    (*out)->fd = fd;
    return true;
}

void cli_ids_close(cli_ids_reader *r)
{
    if (!r) return;
    if (r->fd >= 0 && r->fd != STDIN_FILENO) close(r->fd);
    free(r->data);
    free(r);
}

bool cli_ids_parse(const cli_file *file, cli_ids *out, gr_err *err)
{
    bool end;
    cli_ids_reader r = {.fd = -1, .data = (char *)(uintptr_t)file->data, .size = file->size};
    return cli_ids_read(&r, SIZE_MAX, 1, out, &end, err);
}

void cli_ids_free(cli_ids *ids)
{
    free(ids->ids);
    free(ids->lines);
    *ids = (cli_ids){0};
}

typedef struct key {
    int64_t length;
    size_t lines, index;
} key;

static int by_length(const void *a, const void *b)
{
    const key *x = a, *y = b;
    if (x->lines != y->lines) return x->lines < y->lines ? -1 : 1;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

/* In ascending order the next item is the longest, so it alone decides what the batch would be padded to. */
static bool joins(const cli_item *first, const cli_item *next, int64_t rows, const cli_batch_rules *rules)
{
    if (rows + 1 > rules->rows || next->lines != first->lines) return false;
    if (rules->equal_lengths && next->length != first->length) return false;
    return next->length * (int64_t)next->lines <= rules->tokens / (rows + 1);
}

size_t cli_batches(const cli_item *items, size_t n, const cli_batch_rules *rules, size_t *order, size_t *starts)
{
    size_t batches = 0;
    key *keys = cli_array(n, sizeof *keys);
    for (size_t i = 0; i < n; i++) keys[i] = (key){items[i].length, items[i].lines, i};
    qsort(keys, n, sizeof *keys, by_length);
    for (size_t i = 0; i < n; i++) {
        order[i] = keys[i].index;
        const cli_item *first = i ? &items[order[starts[batches - 1]]] : NULL;
        if (!first || !joins(first, &items[keys[i].index], (int64_t)(i - starts[batches - 1]), rules))
            starts[batches++] = i;
    }
    starts[batches] = n;
    free(keys);
    return batches;
}
