/* SPDX-License-Identifier: Apache-2.0
 *
 * Token ids from text, checked as whole tokens, and their batches.
 */
#include "ids.h"
#include <stdlib.h>

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

bool cli_ids_parse(const cli_file *file, cli_ids *out, gr_err *err)
{
    const char *at = (const char *)file->data, *end = at + file->size;
    int64_t paragraph = 0;
    size_t in_paragraph = 0;
    *out = (cli_ids){0};
    if (file->size >= 3 && !memcmp(at, "\xef\xbb\xbf", 3)) at += 3;
    for (int64_t number = 1; at < end; number++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;
        if (is_blank(at, stop) && out->line_count > in_paragraph) paragraph++, in_paragraph = out->line_count;
        if (!parse_line(out, at, stop, number, paragraph, err)) {
            cli_ids_free(out);
            return cli_fail_context(err, "line %lld", (long long)number);
        }
        at = stop < end ? stop + 1 : end;
    }
    if (out->line_count) return true;
    cli_ids_free(out);
    return cli_fail(err, GR_EFORMAT, "there are no ids");
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
    size_t window = rules->window ? rules->window : n, batches = 0;
    key *keys = cli_array(window < n ? window : n, sizeof *keys);
    for (size_t start = 0; start < n; start += window) {
        size_t count = n - start < window ? n - start : window;
        for (size_t i = 0; i < count; i++) keys[i] = (key){items[start + i].length, items[start + i].lines, start + i};
        qsort(keys, count, sizeof *keys, by_length);
        for (size_t i = 0; i < count; i++) {
            order[start + i] = keys[i].index;
            const cli_item *first = i ? &items[order[starts[batches - 1]]] : NULL;
            if (!first || !joins(first, &items[keys[i].index], (int64_t)(start + i - starts[batches - 1]), rules))
                starts[batches++] = start + i;
        }
    }
    starts[batches] = n;
    free(keys);
    return batches;
}
