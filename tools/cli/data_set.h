/* SPDX-License-Identifier: Apache-2.0
 *
 * Data sets in ONNX's layout: a folder with input_I.pb and output_I.pb.
 */
#ifndef CLI_DATA_SET_H
#define CLI_DATA_SET_H

#include "tensor.h"

typedef struct data_set {
    cli_tensor *in, *out;
    size_t in_count, out_count;
} data_set;

/* Whether a folder is one: it has an output_0.pb. */
bool set_is(const char *folder);
/* Read kind_0.pb, kind_1.pb and so on as far as there are, each as the kind of value that the model has there; `kind` is
 * "input" or "output". */
bool set_read(const gr_model *model, const char *folder, const char *kind, cli_tensor **out, size_t *count, gr_err *err);
void set_free(data_set *d);

/* The value that a tensor belongs to: the one of its name, else the one of its number; NULL if there is none. */
const char *set_value_name(const gr_model *model, gr_status (*get)(const gr_model *, size_t, gr_value_info *),
                           size_t count, const cli_tensor *tensor, size_t index);

#endif
