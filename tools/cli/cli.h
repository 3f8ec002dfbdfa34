/* SPDX-License-Identifier: Apache-2.0
 *
 * What every part of the command shares: errors, memory, growing text, names made fit for a terminal, files.
 *
 * Readers of files return false and write one sentence into a gr_err, so that they can be tested and so that the
 * caller can add a line number or go on with the next case. Only the commands themselves end the process.
 */
#ifndef CLI_H
#define CLI_H

#include "graphrun.h"
#include <stdio.h>
#include <string.h>

#define CLI_EXIT_OK        0
#define CLI_EXIT_FAILURE   1
#define CLI_EXIT_USAGE     2
#define CLI_EXIT_INTERRUPT 130

/* ---- Errors ---- */

/* Write the sentence and return false. err may be NULL. */
bool cli_fail(gr_err *err, gr_status status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Put "prefix: " before the sentence that is there, and return false. */
bool cli_fail_context(gr_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Name of the program in front of sentences; "graphrun" unless another one says its own first. */
extern const char *cli_program;
/* Print "graphrun: sentence" to stderr and exit; unfinished output files are removed. */
_Noreturn void cli_die(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same without exit, for what the user should know but can live with; --quiet silences it. */
void cli_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
extern bool cli_quiet;
/* What cli_die makes of CLI_EXIT_FAILURE: commands whose status 1 has a meaning of its own, as diff's has, say 2. */
extern int cli_failure_status;

/* A name from a file made fit for a message: control bytes, quotes and broken UTF-8 escaped, shortened.
 * cli_show(name) lives until the end of the full expression. */
typedef struct cli_shown {
    char s[128];
} cli_shown;
cli_shown cli_show_name(const char *name);
#define cli_show(name) (cli_show_name(name).s)

/* ---- Memory: these end the process when there is none. Sizes that come from a file are checked before. ---- */

void *cli_alloc(size_t size); /* zeroed */
void *cli_array(size_t count, size_t size);
void *cli_grow(void *items, size_t *cap, size_t need, size_t size);
char *cli_strdup(const char *text);
char *cli_strndup(const char *text, size_t size);

/* Append one element to items[n], of capacity cap. */
#define CLI_PUSH(items, n, cap) ((items) = cli_grow((items), &(cap), (n) + 1, sizeof *(items)), &(items)[(n)++])

/* Bytes of a tensor; false if the shape is not one or does not fit. */
bool cli_tensor_bytes(gr_dtype type, int rank, const int64_t *dims, int64_t *elements, size_t *bytes);

/* ---- Text that grows; always terminated once something was added ---- */

typedef struct cli_text {
    char *data;
    size_t size, cap;
} cli_text;
void cli_add(cli_text *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cli_add_bytes(cli_text *text, const char *data, size_t size);
void cli_text_free(cli_text *text);
/* Write the text to stdout and empty it; a failing stdout ends the process. */
void cli_flush(cli_text *text);

/* 109482240 as "109,482,240"; bytes as "417.6 MiB". */
typedef struct cli_number {
    char s[48];
} cli_number;
cli_number cli_thousands_of(int64_t value);
cli_number cli_bytes_of(double bytes);
#define cli_thousands(value) (cli_thousands_of(value).s)
#define cli_bytes(value)     (cli_bytes_of((double)(value)).s)

/* ---- Files ---- */

/* The contents of a file, mapped or read, shared by the tensors that point into it. */
typedef struct cli_file {
    const uint8_t *data;
    size_t size;
    int refs;
    bool mapped;
} cli_file;
/* For reading; "-" is standard input if `pipes` allows what isn't a regular file. */
bool cli_input_open(const char *path, bool pipes, int *fd, gr_err *err);
/* The same and its contents. Free with cli_file_drop. */
bool cli_file_open(const char *path, bool pipes, cli_file **out, gr_err *err);
void cli_file_drop(cli_file *file);

bool cli_is_folder(const char *path);
bool cli_exists(const char *path);
bool cli_ends_with(const char *text, const char *end);
/* "folder/name", to be freed. */
char *cli_join(const char *folder, const char *name);

/* A file written beside its destination and renamed into place by cli_out_commit, so that a stopped run leaves none or
 * the old one. What is no regular file (a pipe, a device) is written directly. */
typedef struct cli_out {
    FILE *file;
    char *path, *temporary;
} cli_out;
bool cli_out_open(cli_out *out, const char *path, gr_err *err);
bool cli_out_write(cli_out *out, const void *data, size_t size, gr_err *err);
bool cli_out_commit(cli_out *out, gr_err *err);
void cli_out_abandon(cli_out *out); /* harmless after a commit */

double cli_now(void); /* seconds of a monotonic clock */

#endif
