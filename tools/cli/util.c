/* SPDX-License-Identifier: Apache-2.0
 *
 * Errors, memory, growing text and numbers for people.
 */
#include "cli.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

bool cli_quiet;
const char *cli_program = "graphrun";
int cli_failure_status = CLI_EXIT_FAILURE;

bool cli_fail(gr_err *err, gr_status status, const char *fmt, ...)
{
    if (!err) return false;
    va_list args;
    va_start(args, fmt);
    err->status = status;
    vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    return false;
}

bool cli_fail_context(gr_err *err, const char *fmt, ...)
{
    if (!err) return false;
    char prefix[512], sentence[GR_ERR_SIZE];
    va_list args;
    va_start(args, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, args);
    va_end(args);
    memcpy(sentence, err->text, sizeof sentence);
    size_t used = (size_t)snprintf(err->text, sizeof err->text, "%s: ", prefix),
           size = strnlen(sentence, sizeof sentence - 1);
    if (size > sizeof err->text - 1 - used) size = sizeof err->text - 1 - used;
    memcpy(err->text + used, sentence, size);
    err->text[used + size] = 0;
    return false;
}

_Noreturn void cli_die(int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fflush(stdout);
    fprintf(stderr, "%s: ", cli_program);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    exit(code == CLI_EXIT_FAILURE ? cli_failure_status : code);
}

void cli_note(const char *fmt, ...)
{
    if (cli_quiet) return;
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "%s: note: ", cli_program);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
}

/* Bytes of the UTF-8 sequence at s, 0 if it is broken, overlong, a surrogate or a control. */
static size_t utf8_length(const unsigned char *s)
{
    if (s[0] < 0x20 || s[0] == 0x7f) return 0;
    if (s[0] < 0x80) return 1;
    size_t n = s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (s[0] == 0xe0 && s[1] < 0xa0) return 0;
    if (s[0] == 0xed && s[1] > 0x9f) return 0;
    if (s[0] == 0xf0 && s[1] < 0x90) return 0;
    if (s[0] == 0xf4 && s[1] > 0x8f) return 0;
    if (s[0] == 0xc2 && s[1] < 0xa0) return 0;                                  /* C1 controls */
    if (s[0] == 0xe2 && s[1] == 0x80 && s[2] >= 0xaa && s[2] <= 0xae) return 0; /* direction overrides */
    return n;
}

cli_shown cli_show_name(const char *name)
{
    cli_shown out;
    size_t used = 0;
    const unsigned char *s = (const unsigned char *)(name ? name : "");
    const size_t room = sizeof out.s - 8;
    while (*s && used < room) {
        size_t n = *s == '\\' || *s == '\'' ? 0 : utf8_length(s);
        if (n) {
            memcpy(out.s + used, s, n);
            used += n, s += n;
        } else if (*s == '\\' || *s == '\'') {
            out.s[used++] = '\\', out.s[used++] = (char)*s++;
        } else {
            used += (size_t)snprintf(out.s + used, 5, "\\x%02x", *s++);
        }
    }
    memcpy(out.s + used, *s ? "…" : "", *s ? 4 : 1);
    return out;
}

void *cli_alloc(size_t size)
{
    void *memory = calloc(size ? size : 1, 1);
    if (!memory) cli_die(CLI_EXIT_FAILURE, "out of memory");
    return memory;
}

void *cli_array(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) cli_die(CLI_EXIT_FAILURE, "out of memory");
    return cli_alloc(bytes);
}

void *cli_grow(void *items, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap) return items;
    size_t cells = *cap ? *cap : 8, bytes;
    while (cells < need && cells <= SIZE_MAX / 2) cells *= 2;
    if (cells < need || __builtin_mul_overflow(cells, size, &bytes)) cli_die(CLI_EXIT_FAILURE, "out of memory");
    items = realloc(items, bytes);
    if (!items) cli_die(CLI_EXIT_FAILURE, "out of memory");
    *cap = cells;
    return items;
}

char *cli_strndup(const char *text, size_t size)
{
    char *copy = cli_alloc(size + 1);
    memcpy(copy, text, size);
    return copy;
}

char *cli_strdup(const char *text) { return cli_strndup(text, strlen(text)); }

bool cli_tensor_bytes(gr_dtype type, int rank, const int64_t *dims, int64_t *elements, size_t *bytes)
{
    int64_t n = 1, nonzero = 1;
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 0) return false;
        if (dims[i] && __builtin_mul_overflow(nonzero, dims[i], &nonzero)) return false;
        if (dims[i] == 0) n = 0;
    }
    if (n) n = nonzero;
    int64_t bits;
    int width = gr_dtype_bits(type);
    if (width <= 0 || __builtin_mul_overflow(nonzero, (int64_t)width, &bits) || bits > INT64_MAX - 7) return false;
    *elements = n;
    *bytes = n ? (size_t)((bits + 7) / 8) : 0;
    return true;
}

void cli_add_bytes(cli_text *text, const char *data, size_t size)
{
    text->data = cli_grow(text->data, &text->cap, text->size + size + 1, 1);
    memcpy(text->data + text->size, data, size);
    text->size += size;
    text->data[text->size] = 0;
}

void cli_add(cli_text *text, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0) cli_die(CLI_EXIT_FAILURE, "out of memory");
    text->data = cli_grow(text->data, &text->cap, text->size + (size_t)n + 1, 1);
    vsnprintf(text->data + text->size, (size_t)n + 1, fmt, again);
    text->size += (size_t)n;
    va_end(again);
}

void cli_text_free(cli_text *text)
{
    free(text->data);
    *text = (cli_text){0};
}

void cli_flush(cli_text *text)
{
    if (text->size && fwrite(text->data, 1, text->size, stdout) != text->size)
        cli_die(CLI_EXIT_FAILURE, "standard output: %s", strerror(errno));
    if (fflush(stdout)) cli_die(CLI_EXIT_FAILURE, "standard output: %s", strerror(errno));
    text->size = 0;
}

cli_number cli_thousands_of(int64_t value)
{
    char digits[32];
    cli_number out;
    size_t n = (size_t)snprintf(digits, sizeof digits, "%lld", (long long)value), used = 0;
    for (size_t i = 0; i < n; i++) {
        out.s[used++] = digits[i];
        if ((n - i - 1) % 3 == 0 && i + 1 < n && digits[i] != '-') out.s[used++] = ',';
    }
    out.s[used] = 0;
    return out;
}

cli_number cli_bytes_of(double bytes)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    cli_number out;
    size_t i = 0;
    while (bytes >= 1024 && i < 4) bytes /= 1024, i++;
    snprintf(out.s, sizeof out.s, i ? "%.1f %s" : "%.0f %s", bytes, unit[i]);
    return out;
}

double cli_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
