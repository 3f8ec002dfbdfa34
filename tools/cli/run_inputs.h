/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of --input: ids, and tensors by name.
 */
#ifndef CLI_RUN_INPUTS_H
#define CLI_RUN_INPUTS_H

#include "ids.h"
#include "tensor.h"

typedef struct run_inputs {
    const gr_model *model;
    size_t max_memory;
    cli_tensor *tensors; /* each named as an input of the model */
    size_t count, cap;
    const char *ids_path;   /* NULL: no ids were given as lines */
    bool later;             /* lines are left to the caller, with `reader` */
    cli_ids_reader *reader;
    cli_ids ids;
} run_inputs;

/* Take one argument of --input: NAME=FILE where NAME is an input of the model, else a file. Mistakes end the process.
 */
void run_inputs_add(run_inputs *r, const char *text);
/* Some of the lines, as cli_ids_read; a sentence names their file. */
bool run_inputs_read(run_inputs *r, size_t lines, int64_t group, cli_ids *out, bool *end, gr_err *err);
void run_inputs_free(run_inputs *r);

#endif
