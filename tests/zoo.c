/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading cases, and the table of the zoo.
 */
#include "zoo.h"
#include "support.h"
#include <stdio.h>
#include <stdlib.h>

bool zoo_exists(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f) fclose(f);
    return f != NULL;
}

void zoo_free(zoo_tensors *t)
{
    for (size_t i = 0; i < t->count; i++) {
        cli_tensor_free(t->items[i]);
        free(t->items[i]);
    }
    t->count = 0;
}

bool zoo_read(const char *folder, const char *kind, const gr_model *model,
              gr_status (*info)(const gr_model *, size_t, gr_value_info *), zoo_tensors *out, gr_err *err)
{
    const cli_read_options options = {.rank = -1};
    for (out->count = 0; out->count < ZOO_TENSORS;) {
        char path[1024];
        size_t n;
        gr_value_info declared;
        snprintf(path, sizeof path, "%s/%s_%zu.pb", folder, kind, out->count);
        if (!zoo_exists(path)) return true;
        cli_tensor *t;
        if (!cli_tensors_read(path, &options, &t, &n, err)) return false;
        const char *name = t->name && *t->name                           ? t->name
                           : info(model, out->count, &declared) == GR_OK ? declared.name
                                                                         : "?";
        out->items[out->count] = t;
        out->views[out->count++] = (gr_named_tensor){name, cli_view(t)};
    }
    return true;
}

const char *zoo_folder(void)
{
    const char *given = getenv("GR_ZOO_DIR");
#ifdef GR_ZOO_DIR
    if (!given || !*given) given = GR_ZOO_DIR;
#endif
    return given;
}

void zoo_column(const char *row, int index, char *out, size_t room)
{
    for (; index && row; index--) row = strchr(row, '\t') ? strchr(row, '\t') + 1 : NULL;
    snprintf(out, room, "%.*s", row ? (int)strcspn(row, "\t\r\n") : 0, row ? row : "");
}

bool zoo_cell(const char *name, int column, char *out, size_t room)
{
    char path[1024], row[4096], first[128];
    bool found = false;
    snprintf(path, sizeof path, "%s/zoo.tsv", zoo_folder());
    FILE *f = fopen(path, "r");
    while (f && !found && fgets(row, sizeof row, f)) {
        zoo_column(row, 0, first, sizeof first);
        found = !strcmp(first, name);
    }
    if (f) fclose(f);
    if (found) zoo_column(row, column, out, room);
    return found;
}

int zoo_each(zoo_fn *fn, void *user)
{
    char path[1024], row[4096], name[128], dtype[32];
    int cases = 0;
    if (!zoo_folder()) return 0;
    snprintf(path, sizeof path, "%s/zoo.tsv", zoo_folder());
    FILE *f = fopen(path, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    char *head = fgets(row, sizeof row, f);
    zoo_column(row, 11, dtype, sizeof dtype);
    CU_ASSERT_TRUE(head && !strcmp(dtype, "dtype"));
    for (; fgets(row, sizeof row, f); cases++) {
        zoo_column(row, 0, name, sizeof name);
        zoo_column(row, 11, dtype, sizeof dtype);
        snprintf(path, sizeof path, "%s/%s", zoo_folder(), name);
        fn(name, path, dtype, user);
    }
    fclose(f);
    return cases;
}
