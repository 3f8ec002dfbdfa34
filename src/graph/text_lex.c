/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens and notes of the textual syntax. Reads no byte beyond the text, allocates only what names and strings need,
 * and finds line and column only when it fails.
 */
#include "text_lex.h"
#include <stdio.h>

/* Bounds on what a stranger's text may ask for: levels of nesting, and memory for the graph besides tensor data. */
enum { MAX_DEPTH = 64 };
static const size_t max_graph_bytes = (size_t)512 << 20;

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool is_word(char c) { return is_alpha(c) || is_digit(c) || c == '_'; }

/* ---- failing ---- */

static gr_status fail_at(const gr_lex *lex, const char *at, gr_status status, const char *what)
{
    size_t line = 1;
    const char *start = lex->begin;
    for (const char *c = lex->begin; c < at && (c = memchr(c, '\n', (size_t)(at - c))); start = ++c) line++;
    return gr_fail(lex->err, status, "%s:%zu:%zu: %s", gr_show(lex->file), line, (size_t)(at - start) + 1, what);
}

gr_status gr_lex_fail(const gr_lex *lex, gr_status status, const char *fmt, ...)
{
    char what[GR_ERR_SIZE / 2];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return fail_at(lex, lex->s - (lex->kind == GR_TOK_STRING), status, what);
}

gr_status gr_lex_expected(const gr_lex *lex, const char *what)
{
    char found[64];
    size_t n = lex->n < sizeof found ? lex->n : sizeof found - 1;
    if (lex->kind == GR_TOK_END) return gr_lex_fail(lex, GR_EFORMAT, "expected %s, but the text ends", what);
    memcpy(found, lex->s, n);
    found[n] = 0;
    return gr_lex_fail(lex, GR_EFORMAT, "expected %s, but found %s'%s'", what,
                       lex->kind == GR_TOK_STRING ? "the string " : "", gr_show(found));
}

/* The graph's memory is bounded; the tensors' is, by the length of the text. */
static gr_status check_memory(const gr_lex *lex)
{
    size_t used = gr_arena_bytes(lex->arena);
    if (used > lex->tensor_bytes && used - lex->tensor_bytes > max_graph_bytes)
        return gr_lex_fail(lex, GR_ELIMIT, "the graph needs more than %zu MiB without its tensors",
                           max_graph_bytes >> 20);
    return GR_OK;
}

gr_status gr_lex_enter(gr_lex *lex)
{
    if (++lex->depth > MAX_DEPTH)
        return gr_lex_fail(lex, GR_ELIMIT, "types or subgraphs are nested more than %d levels deep", MAX_DEPTH);
    return GR_OK;
}

void gr_lex_leave(gr_lex *lex) { lex->depth--; }

/* ---- strings ---- */

/* The end of a string that starts behind its quote: its closing quote, NULL if there is none before `end`. */
static const char *string_end(const char *s, const char *end, bool *escaped)
{
    *escaped = false;
    for (; s < end; s++) {
        if (*s == '"') return s;
        if (*s == '\\') {
            *escaped = true;
            s++;
        }
    }
    return NULL;
}

static size_t unescape(const char *s, size_t n, bool note, char *out)
{
    size_t length = 0;
    for (size_t i = 0; i < n; i++) {
        bool escape = s[i] == '\\' && i + 1 < n;
        if (escape) i++;
        out[length++] = escape && note && s[i] == 'n' ? '\n' : s[i];
    }
    return length;
}

/* A NUL-terminated copy without escapes, NUL bytes as C0 80; NULL if out of memory. */
static const char *decode(gr_lex *lex, const char *s, size_t n, bool note)
{
    size_t nuls = 0, length = 0;
    for (const char *c = s; n && (c = memchr(c, 0, (size_t)(s + n - c))); c++) nuls++;
    if (!nuls && !memchr(s, '\\', n)) return gr_arena_strndup(lex->arena, s, n);
    char *out = gr_arena_alloc(lex->arena, n + nuls + 1);
    if (!out) return NULL;
    char *plain = out + nuls;
    n = unescape(s, n, note, plain);
    for (size_t i = 0; i < n; i++) {
        char c = plain[i];
        if (c == 0) out[length++] = (char)0xC0;
        out[length++] = c == 0 ? (char)0x80 : c;
    }
    out[length] = 0;
    return out;
}

/* ---- notes and white space ---- */

static void skip_blanks(const char **s, const char *end)
{
    while (*s < end && (**s == ' ' || **s == '\t')) ++*s;
}

/* A string at *s, in the arena. False if there is none; *out is NULL then, or if out of memory. */
static bool note_string(gr_lex *lex, const char **s, const char *end, const char **out)
{
    bool escaped;
    *out = NULL;
    skip_blanks(s, end);
    if (*s == end || **s != '"') return false;
    const char *close = string_end(*s + 1, end, &escaped);
    if (!close) return false;
    *out = decode(lex, *s + 1, (size_t)(close - *s - 1), true);
    *s = close + 1;
    return true;
}

static bool note_hex(const char **s, const char *end, uint64_t *out)
{
    int digits = 0;
    *out = 0;
    skip_blanks(s, end);
    for (; *s < end && (is_digit(**s) || (**s >= 'a' && **s <= 'f')); ++*s, digits++)
        *out = *out << 4 | (uint64_t)(is_digit(**s) ? **s - '0' : **s - 'a' + 10);
    return digits > 0 && digits <= 16;
}

/* One note between s and the end of its line. */
static gr_status read_note(gr_lex *lex, const char *s, const char *end)
{
    gr_notes *notes = &lex->notes;
    const char *first, *second;
    skip_blanks(&s, end);
    const char *key = s;
    while (s < end && is_alpha(*s)) s++;
    size_t n = (size_t)(s - key);
    if (n == 4 && !memcmp(key, "bits", 4)) {
        uint64_t bits;
        if (!note_hex(&s, end, &bits)) return GR_OK;
        notes->bits = bits;
        notes->any = notes->has_bits = true;
        return GR_OK;
    }
    const char **field = n == 3 && !memcmp(key, "doc", 3)            ? &notes->doc
                         : n == 4 && !memcmp(key, "name", 4)         ? &notes->name
                         : n == 10 && !memcmp(key, "denotation", 10) ? &notes->denotation
                                                                     : NULL;
    if (!field && !(n == 4 && !memcmp(key, "meta", 4))) return GR_OK;
    if (!note_string(lex, &s, end, &first)) return GR_OK;
    if (!first) return gr_nomem(lex->err);
    notes->any = true;
    if (field) {
        *field = first;
        return GR_OK;
    }
    skip_blanks(&s, end);
    if (s == end || *s++ != ':' || !note_string(lex, &s, end, &second)) return GR_OK;
    gr_doc_prop *prop = GR_PUSH(lex->arena, notes->meta.items, notes->meta.count, notes->meta_cap);
    if (!second || !prop) return gr_nomem(lex->err);
    *prop = (gr_doc_prop){first, second};
    return check_memory(lex);
}

static gr_status skip_space(gr_lex *lex)
{
    if (lex->notes.any) lex->notes = (gr_notes){0};
    for (;;) {
        while (lex->at < lex->end && is_space(*lex->at)) lex->at++;
        if (lex->at == lex->end || *lex->at != '#') return GR_OK;
        const char *line_end = memchr(lex->at, '\n', (size_t)(lex->end - lex->at));
        const char *comment = lex->at + 1;
        if (!line_end) line_end = lex->end;
        lex->at = line_end;
        if (comment < line_end && *comment == ':') GR_TRY(read_note(lex, comment + 1, line_end));
    }
}

/* ---- tokens ---- */

/* The length of the number at s, and whether it has a point or an exponent; 0 if it is malformed. */
static size_t number_length(const char *s, const char *end, bool *is_float)
{
    const char *c = s;
    *is_float = false;
    if (c < end && *c == '-') c++;
    if (c < end && is_alpha(*c)) {
        while (c < end && is_word(*c)) c++;
        double ignored;
        *is_float = true;
        return gr_text_to_double(s, (size_t)(c - s), &ignored) ? (size_t)(c - s) : 0;
    }
    const char *first = c;
    while (c < end && is_digit(*c)) c++;
    if (c == first) return 0;
    if (c < end && *c == '.' && !(c + 1 < end && c[1] == '.')) {
        *is_float = true;
        for (c++; c < end && is_digit(*c);) c++;
    }
    if (c < end && (*c == 'e' || *c == 'E')) {
        *is_float = true;
        if (++c < end && (*c == '-' || *c == '+')) c++;
        if (c == end || !is_digit(*c)) return 0;
        while (c < end && is_digit(*c)) c++;
    }
    return c < end && is_word(*c) ? 0 : (size_t)(c - s);
}

static gr_status number_token(gr_lex *lex)
{
    bool is_float;
    lex->n = number_length(lex->s, lex->end, &is_float);
    lex->kind = is_float ? GR_TOK_FLOAT : GR_TOK_INT;
    if (lex->n == 0) return fail_at(lex, lex->s, GR_EFORMAT, "a number is malformed");
    return GR_OK;
}

static gr_status string_token(gr_lex *lex)
{
    const char *close = string_end(lex->s + 1, lex->end, &lex->escaped);
    if (!close) return fail_at(lex, lex->s, GR_EFORMAT, "a string has no closing quote");
    lex->kind = GR_TOK_STRING;
    lex->s++;
    lex->n = (size_t)(close - lex->s);
    lex->at = close + 1;
    return GR_OK;
}

gr_status gr_lex_next(gr_lex *lex)
{
    GR_TRY(skip_space(lex));
    GR_TRY(check_memory(lex));
    const char *s = lex->s = lex->at;
    size_t left = (size_t)(lex->end - s);
    lex->n = 0;
    lex->kind = GR_TOK_END;
    if (left == 0) return GR_OK;
    lex->n = 1;
    lex->kind = (unsigned char)*s;
    if (is_alpha(*s) || *s == '_') {
        lex->kind = GR_TOK_IDENT;
        while (lex->n < left && is_word(s[lex->n])) lex->n++;
    } else if (is_digit(*s) || *s == '-') {
        GR_TRY(number_token(lex));
    } else if (*s == '"') {
        return string_token(lex);
    } else if (left >= 2 && s[0] == '=' && s[1] == '>') {
        lex->kind = GR_TOK_ARROW;
        lex->n = 2;
    } else if (left >= 3 && s[0] == '.' && s[1] == '.' && s[2] == '.') {
        lex->kind = GR_TOK_DOTS;
        lex->n = 3;
    } else if (!memchr("()[]{}<>,:=@?.", *s, 14)) {
        return fail_at(lex, s, GR_EFORMAT, "this byte starts no token of the textual syntax");
    }
    lex->at = s + lex->n;
    return GR_OK;
}

gr_status gr_lex_start(gr_lex *lex, const char *text, size_t size, const char *file, gr_arena *arena, gr_err *err)
{
    *lex = (gr_lex){.begin = text, .end = text + size, .at = text, .file = file, .arena = arena, .err = err};
    if (size >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3)) lex->at += 3; /* a byte order mark */
    return gr_lex_next(lex);
}

gr_status gr_lex_accept(gr_lex *lex, int kind, bool *found)
{
    *found = lex->kind == kind;
    return *found ? gr_lex_next(lex) : GR_OK;
}

gr_status gr_lex_expect(gr_lex *lex, int kind, const char *what)
{
    return lex->kind == kind ? gr_lex_next(lex) : gr_lex_expected(lex, what);
}

bool gr_lex_is_word(const gr_lex *lex, const char *word)
{
    return lex->kind == GR_TOK_IDENT && strlen(word) == lex->n && !memcmp(lex->s, word, lex->n);
}

gr_status gr_lex_name(gr_lex *lex, const char *what, const char **out)
{
    if (lex->kind != GR_TOK_IDENT && lex->kind != GR_TOK_STRING) return gr_lex_expected(lex, what);
    *out = decode(lex, lex->s, lex->n, false);
    return *out ? gr_lex_next(lex) : gr_nomem(lex->err);
}

gr_status gr_lex_dotted(gr_lex *lex, const char *what, const char **head, const char **last)
{
    char *joined = NULL;
    size_t n = 0, cap = 0;
    *head = NULL;
    GR_TRY(gr_lex_name(lex, what, last));
    while (lex->kind == '.') {
        /* The NUL that ends what is joined so far becomes the dot. */
        if (joined) joined[n - 1] = '.';
        for (const char *c = *last;; c++) {
            char *place = GR_PUSH(lex->arena, joined, n, cap);
            if (!place) return gr_nomem(lex->err);
            *place = *c;
            if (!*c) break;
        }
        GR_TRY(gr_lex_next(lex));
        GR_TRY(gr_lex_name(lex, what, last));
    }
    *head = joined;
    return GR_OK;
}

gr_status gr_lex_string(gr_lex *lex, const char *what, const char **out)
{
    return lex->kind == GR_TOK_STRING ? gr_lex_name(lex, what, out) : gr_lex_expected(lex, what);
}

gr_status gr_lex_bytes(gr_lex *lex, gr_bytes_view *out)
{
    if (lex->kind != GR_TOK_STRING) return gr_lex_expected(lex, "a string in quotes");
    char *bytes = gr_arena_alloc(lex->arena, lex->n + 1);
    if (!bytes) return gr_nomem(lex->err);
    *out = (gr_bytes_view){bytes, lex->n};
    if (lex->escaped)
        out->size = unescape(lex->s, lex->n, false, bytes);
    else
        memcpy(bytes, lex->s, lex->n);
    bytes[out->size] = 0;
    return gr_lex_next(lex);
}

/* The digits of an integer token; false if it does not fit. */
static bool read_digits(const gr_lex *lex, bool *negative, uint64_t *out)
{
    uint64_t value = 0;
    *negative = lex->s[0] == '-';
    for (size_t i = *negative; i < lex->n; i++)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, lex->s[i] - '0', &value))
            return false;
    *out = value;
    return true;
}

gr_status gr_lex_int(gr_lex *lex, const char *what, int64_t *out)
{
    bool negative;
    uint64_t value;
    if (lex->kind != GR_TOK_INT) return gr_lex_expected(lex, what);
    if (!read_digits(lex, &negative, &value) || value > (uint64_t)INT64_MAX + negative)
        return gr_lex_fail(lex, GR_EFORMAT, "an integer does not fit into 64 bits");
    *out = (int64_t)(negative ? -value : value);
    return gr_lex_next(lex);
}

gr_status gr_lex_uint(gr_lex *lex, uint64_t *out)
{
    bool negative;
    if (lex->kind != GR_TOK_INT) return gr_lex_expected(lex, "an integer");
    if (!read_digits(lex, &negative, out) || (negative && *out))
        return gr_lex_fail(lex, GR_EFORMAT, "an integer is negative or does not fit into 64 bits");
    return gr_lex_next(lex);
}

bool gr_lex_is_float(const gr_lex *lex)
{
    double ignored;
    return lex->kind == GR_TOK_INT || lex->kind == GR_TOK_FLOAT ||
           (lex->kind == GR_TOK_IDENT && gr_text_to_double(lex->s, lex->n, &ignored));
}

gr_status gr_lex_float(gr_lex *lex, float *out)
{
    if (!gr_lex_is_float(lex)) return gr_lex_expected(lex, "a number");
    if (!gr_text_to_float(lex->s, lex->n, out))
        return gr_lex_fail(lex, GR_EFORMAT, "a number is too large for a float");
    GR_TRY(gr_lex_next(lex));
    if (*out != *out && lex->notes.has_bits) {
        uint32_t bits = (uint32_t)lex->notes.bits;
        if ((bits & 0x7FFFFFFF) > 0x7F800000) memcpy(out, &bits, sizeof bits);
    }
    return GR_OK;
}

gr_status gr_lex_double(gr_lex *lex, double *out)
{
    if (!gr_lex_is_float(lex)) return gr_lex_expected(lex, "a number");
    if (!gr_text_to_double(lex->s, lex->n, out))
        return gr_lex_fail(lex, GR_EFORMAT, "a number is too large for a double");
    GR_TRY(gr_lex_next(lex));
    if (*out != *out && lex->notes.has_bits) {
        uint64_t bits = lex->notes.bits;
        if ((bits & INT64_MAX) > 0x7FF0000000000000) memcpy(out, &bits, sizeof bits);
    }
    return GR_OK;
}
