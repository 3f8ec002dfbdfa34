/* SPDX-License-Identifier: Apache-2.0
 *
 * Commands, their options and their help. One table per command gives both what is parsed and what --help prints.
 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include "cli.h"

typedef struct cli_list {
    const char **items;
    size_t n, cap;
} cli_list;

typedef enum cli_kind {
    CLI_FLAG,   /* bool * */
    CLI_UNFLAG, /* bool *, set to false */
    CLI_WORD,   /* const char ** */
    CLI_INT,    /* int64_t *, from `min` on */
    CLI_REAL,   /* double *, not negative */
    CLI_SIZE,   /* size_t *: bytes, with K, M, G or T for powers of 1024 */
    CLI_WORDS   /* cli_list *, repeatable */
} cli_kind;

typedef struct cli_option {
    const char *name, *value; /* "--batch", "N" */
    cli_kind kind;
    void *target;
    const char *help; /* lines apart by '\n' */
    int64_t min;
} cli_option;

typedef struct cli_command {
    const char *name;
    int (*run)(const struct cli_command *self, int argc, char **argv); /* argv[0] is the first after the name */
    const char *line;                                                  /* one line for the overview */
    const char *synopsis;                                              /* "graphrun info MODEL [options]" */
    const char *text;                                                  /* what it does, at length */
} cli_command;

extern const cli_command cli_run_command, cli_info_command, cli_verify_command, cli_bench_command, cli_print_command,
    cli_profile_command, cli_plan_command, cli_ops_command,
    cli_heads_command, cli_extract_command;

extern const cli_command cli_compare_command, cli_diff_command;

extern const cli_command cli_explain_command, cli_generate_command;

/* Fill the targets and the positional arguments. Handles --help. A mistake ends the process with status 2. `options`
 * ends with a NULL name. */
void cli_parse(const cli_command *command, const cli_option *options, int argc, char **argv, cli_list *positional);
/* "graphrun: sentence" and a pointer to --help, status 2. */
_Noreturn void cli_usage(const cli_command *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

extern const cli_command cli_optimize_command;
extern const cli_command cli_compile_command;

/* The one of names[0..n) that is nearest to a mistyped word, NULL if none is near. */
const char *cli_nearest(const char *word, const char *const *names, size_t n);

/* "1x8,4x128": up to 3 sizes each. Returns the count, 0 if malformed. */
typedef struct cli_sizes {
    int count;
    int64_t at[3];
} cli_sizes;
size_t cli_parse_sizes(const char *text, cli_sizes *out, size_t room);

#endif
