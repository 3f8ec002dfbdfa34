/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON written piece by piece; commas and quotes are taken care of. Numbers that JSON lacks (NaN, infinities) are null.
 */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include "cli.h"

typedef struct cli_json {
    cli_text *out;
    bool first; /* in the innermost list or object so far */
} cli_json;

/* `key` is NULL inside a list and for the whole document. */
void json_open(cli_json *j, const char *key, char bracket);      /* '{' or '[' */
void json_close(cli_json *j, char bracket);                      /* '}' or ']' */
void json_text(cli_json *j, const char *key, const char *value); /* NULL: null */
void json_int(cli_json *j, const char *key, int64_t value);
void json_number(cli_json *j, const char *key, double value); /* as many digits as a float needs */
void json_bool(cli_json *j, const char *key, bool value);
void json_dims(cli_json *j, const char *key, int rank, const int64_t *dims);

#endif
