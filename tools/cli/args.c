/* SPDX-License-Identifier: Apache-2.0 */
#include "args.h"
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

_Noreturn void cli_usage(const cli_command *command, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const char *name = command ? command->name : "";
    fprintf(stderr, "%s: ", cli_program);
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "; see %s %s%s--help\n", cli_program, name, *name ? " " : "");
    va_end(args);
    exit(CLI_EXIT_USAGE);
}

/* Edits (insert, remove, replace, swap neighbours) between two short words. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b), row[3][64];
    if (n >= 63 || m >= 63) return SIZE_MAX;
    for (size_t j = 0; j <= m; j++) row[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *now = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = up[j - 1] + (a[i - 1] != b[j - 1]);
            if (up[j] + 1 < best) best = up[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && up2[j - 2] + 1 < best)
                best = up2[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[n % 3][m];
}

const char *cli_nearest(const char *word, const char *const *names, size_t n)
{
    size_t best = strlen(word) / 3 + 2;
    const char *found = NULL;
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(word, names[i]);
        if (d < best) best = d, found = names[i];
    }
    return found;
}

/* ---- Help ---- */

static void print_help(const cli_command *command, const cli_option *options)
{
    cli_text out = {0};
    cli_add(&out, "usage: %s\n\n%s\n\noptions:\n", command->synopsis, command->text);
    for (const cli_option *o = options; o->name; o++) {
        char left[48];
        snprintf(left, sizeof left, "%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
        for (const char *at = o->help; at;) {
            const char *end = strchr(at, '\n');
            cli_add(&out, "  %-22s  %.*s\n", left, (int)(end ? (size_t)(end - at) : strlen(at)), at);
            left[0] = 0;
            at = end ? end + 1 : NULL;
        }
    }
    cli_add(&out, "  %-22s  %s\n", "--help", "this text");
    if (cli_failure_status == CLI_EXIT_FAILURE)
        cli_add(&out, "\nexit status: 0 success, 1 failure, 2 wrong use, 130 interrupted\n");
    cli_flush(&out);
    cli_text_free(&out);
}

/* ---- Values ---- */

static bool parse_size(const char *text, size_t *out)
{
    char *end;
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    static const char units[] = "KMGT";
    const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    if (errno || (*end && !unit)) return false;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    if (unit && end[1] && strcmp(end + 1, "B") && strcmp(end + 1, "iB")) return false;
    if (v > SIZE_MAX >> shift) return false;
    *out = (size_t)v << shift;
    return true;
}

static bool parse_int(const char *text, int64_t *out)
{
    char *end;
    if (!(*text == '-' ? text[1] >= '0' && text[1] <= '9' : *text >= '0' && *text <= '9')) return false;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return !errno && !*end;
}

static bool parse_real(const char *text, double *out)
{
    char *end;
    if (!strchr("0123456789.", *text) || !*text) return false;
    *out = strtod(text, &end);
    return !*end && isfinite(*out);
}

size_t cli_parse_sizes(const char *text, cli_sizes *out, size_t room)
{
    size_t n = 0;
    for (const char *at = text;; at++) {
        if (n == room) return 0;
        cli_sizes *s = &out[n++];
        for (s->count = 0;; at++) {
            char *end;
            if (s->count == 3 || *at < '0' || *at > '9') return 0;
            errno = 0;
            long long v = strtoll(at, &end, 10);
            if (errno || v < 1 || v > INT32_MAX) return 0;
            s->at[s->count++] = v;
            at = end;
            if (*at != 'x') break;
        }
        if (!*at) return n;
        if (*at != ',') return 0;
    }
}

static void store(const cli_command *command, const cli_option *o, const char *value)
{
    int64_t number;
    switch (o->kind) {
    case CLI_WORD: *(const char **)o->target = value; break;
    case CLI_WORDS: {
        cli_list *list = o->target;
        *CLI_PUSH(list->items, list->n, list->cap) = value;
        break;
    }
    case CLI_INT:
        if (!parse_int(value, &number) || number < o->min)
            cli_usage(command, "%s wants a whole number from %lld on, not '%s'", o->name, (long long)o->min,
                      cli_show(value));
        *(int64_t *)o->target = number;
        break;
    case CLI_REAL:
        if (!parse_real(value, o->target))
            cli_usage(command, "%s wants a number that is not negative, not '%s'", o->name, cli_show(value));
        break;
    case CLI_SIZE:
        if (!parse_size(value, o->target))
            cli_usage(command, "%s wants bytes as 512M or 2G, not '%s'", o->name, cli_show(value));
        break;
    default: break;
    }
}

static const cli_option *find_option(const cli_command *command, const cli_option *options, const char *arg,
                                     size_t size)
{
    const char *names[64];
    size_t n = 0;
    for (const cli_option *o = options; o->name; o++) {
        if (strlen(o->name) == size && !memcmp(o->name, arg, size)) return o;
        if (n < 64) names[n++] = o->name;
    }
    char word[64] = "";
    memcpy(word, arg, size < sizeof word ? size : sizeof word - 1);
    const char *near = cli_nearest(word, names, n);
    if (near) cli_usage(command, "there is no option '%s'; did you mean %s?", cli_show(word), near);
    cli_usage(command, "there is no option '%s'", cli_show(word));
}

void cli_parse(const cli_command *command, const cli_option *options, int argc, char **argv, cli_list *positional)
{
    bool only_names = false;
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        if (only_names || arg[0] != '-' || !arg[1]) {
            *CLI_PUSH(positional->items, positional->n, positional->cap) = arg;
            continue;
        }
        if (!strcmp(arg, "--")) {
            only_names = true;
            continue;
        }
        if (!strcmp(arg, "--help") || !strcmp(arg, "-h")) {
            print_help(command, options);
            exit(CLI_EXIT_OK);
        }
        const char *equals = strchr(arg, '=');
        const cli_option *o = find_option(command, options, arg, equals ? (size_t)(equals - arg) : strlen(arg));
        if (o->kind == CLI_FLAG || o->kind == CLI_UNFLAG) {
            if (equals) cli_usage(command, "%s takes no value", o->name);
            *(bool *)o->target = o->kind == CLI_FLAG;
        } else if (equals) {
            store(command, o, equals + 1);
        } else {
            if (i + 1 == argc) cli_usage(command, "%s wants %s", o->name, o->value);
            store(command, o, argv[++i]);
        }
    }
}
