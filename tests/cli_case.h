/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of the command's own formats that stand in memory.
 */
#ifndef TEST_CLI_CASE_H
#define TEST_CLI_CASE_H

#include "cli.h"
#include "tensor.h"
#include <stdlib.h>

/* To be dropped by cli_file_drop; holds a copy. */
static inline cli_file *file_of(const void *data, size_t size)
{
    cli_file *file = cli_alloc(sizeof *file);
    uint8_t *copy = malloc(size ? size : 1);
    if (size) memcpy(copy, data, size);
    *file = (cli_file){copy, size, 1, false};
    return file;
}

static inline cli_file *text_file(const char *text) { return file_of(text, strlen(text)); }

static inline void free_tensors(cli_tensor *tensors, size_t count)
{
    for (size_t i = 0; i < count; i++) cli_tensor_free(&tensors[i]);
    free(tensors);
}

/* A .npy of `count` zeros of one byte. */

#endif
