/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"
#include <math.h>

/* Bytes of a well-formed UTF-8 sequence above ASCII, or 0. */
static size_t sequence(const unsigned char *s)
{
    size_t n = s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

static void quoted(cli_text *out, const char *text)
{
    cli_add_bytes(out, "\"", 1);
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        size_t n = *s < 0x80 ? 1 : sequence(s);
        if (*s == '"' || *s == '\\')
            cli_add(out, "\\%c", *s);
        else if (*s < 0x20 || *s == 0x7f)
            cli_add(out, "\\u%04x", *s);
        else if (n)
            cli_add_bytes(out, (const char *)s, n);
        else
            cli_add_bytes(out, "\xef\xbf\xbd", 3); /* what is no UTF-8 can't be in JSON: U+FFFD */
        s += n ? n : 1;
    }
    cli_add_bytes(out, "\"", 1);
}

static void begin(cli_json *j, const char *key)
{
    if (!j->first && j->out->size) cli_add_bytes(j->out, ", ", 2);
    j->first = false;
    if (!key) return;
    quoted(j->out, key);
    cli_add_bytes(j->out, ": ", 2);
}

void json_open(cli_json *j, const char *key, char bracket)
{
    begin(j, key);
    cli_add_bytes(j->out, &bracket, 1);
    j->first = true;
}

void json_close(cli_json *j, char bracket)
{
    cli_add_bytes(j->out, &bracket, 1);
    j->first = false;
}

void json_text(cli_json *j, const char *key, const char *value)
{
    begin(j, key);
    if (value)
        quoted(j->out, value);
    else
        cli_add_bytes(j->out, "null", 4);
}

void json_int(cli_json *j, const char *key, int64_t value)
{
    begin(j, key);
    cli_add(j->out, "%lld", (long long)value);
}

void json_number(cli_json *j, const char *key, double value)
{
    begin(j, key);
    if (isfinite(value))
        cli_add(j->out, "%.9g", value);
    else
        cli_add_bytes(j->out, "null", 4);
}

void json_bool(cli_json *j, const char *key, bool value)
{
    begin(j, key);
    cli_add(j->out, value ? "true" : "false");
}

void json_dims(cli_json *j, const char *key, int rank, const int64_t *dims)
{
    json_open(j, key, '[');
    for (int i = 0; i < rank; i++) json_int(j, NULL, dims[i]);
    json_close(j, ']');
}
