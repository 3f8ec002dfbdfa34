/* SPDX-License-Identifier: Apache-2.0 */
#include "positions.h"
#include <stdlib.h>
#include <string.h>

bool cli_is_positions(const char *text)
{
    if (!strcmp(text, "first") || !strcmp(text, "last")) return true;
    const char *at = strncmp(text, "mask:", 5) ? text : text + 5;
    for (bool more = true; more;) {
        const size_t digits = strspn(at, "0123456789");
        if (!digits || digits > 18) return false;
        at += digits;
        more = *at == ',' && at[-1] != ':' && text[0] != 'm';
        at += more;
    }
    return !*at;
}

bool cli_has_position(const char *positions, int64_t i, int64_t length, int64_t id)
{
    const char *at = positions;
    if (!strcmp(at, "first")) return i == 0;
    if (!strcmp(at, "last")) return i == length - 1;
    if (!strncmp(at, "mask:", 5)) return id == strtoll(at + 5, NULL, 10);
    for (char *end; *at; at = *end ? end + 1 : end)
        if (strtoll(at, &end, 10) == i) return true;
    return false;
}
