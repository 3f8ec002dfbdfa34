/* SPDX-License-Identifier: Apache-2.0
 *
 * Models with inputs and expected outputs in folders, in ONNX's layout of backend tests.
 */
#ifndef TEST_ZOO_H
#define TEST_ZOO_H

#include "graphrun.h"
#include "tensor.h"

enum { ZOO_TENSORS = 80 };

typedef struct zoo_tensors {
    cli_tensor *items[ZOO_TENSORS];
    gr_named_tensor views[ZOO_TENSORS];
    size_t count;
} zoo_tensors;

/* <folder>/<kind>_0.pb and so on; a tensor without a name is the model's at that place (`info`: its inputs or outputs).
 * To be freed in any case. */
bool zoo_read(const char *folder, const char *kind, const gr_model *model,
              gr_status (*info)(const gr_model *, size_t, gr_value_info *), zoo_tensors *out, gr_err *err);
void zoo_free(zoo_tensors *t);

/* Where the zoo is ($GR_ZOO_DIR, or what the build has found); NULL: nowhere. */
const char *zoo_folder(void);
/* Column `index` of a row of its table. */
void zoo_column(const char *row, int index, char *out, size_t room);
/* The same of the row of a case by its name; false if there is none. */
bool zoo_cell(const char *name, int column, char *out, size_t room);
/* For every case; `dtype` is the table's. Returns how many there are. */
typedef void zoo_fn(const char *name, const char *folder, const char *dtype, void *user);
int zoo_each(zoo_fn *fn, void *user);

bool zoo_exists(const char *path);

#endif
