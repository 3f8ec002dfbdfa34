/* SPDX-License-Identifier: Apache-2.0 */
#include "collect.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

bool collect_open(collect *c, const char *path, bool whole, const char *const *names, size_t outputs, gr_err *err)
{
    *c = (collect){.outputs = outputs, .whole = whole};
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    c->npy = cli_ends_with(path, ".npy");
    c->folder = cli_is_folder(path) || !*base || (!c->npy && !cli_ends_with(path, ".npz") && !strchr(base + 1, '.'));
    if (!c->folder && !c->npy && !cli_ends_with(path, ".npz"))
        return cli_fail(err, GR_EINVAL, "--output %s: give FILE.npz, FILE.npy or a folder", cli_show(path));
    if (c->npy && !c->folder && outputs != 1)
        return cli_fail(
            err, GR_EINVAL,
            "--output %s holds one array and there are %zu outputs: give FILE.npz, a folder or one --fetch NAME",
            cli_show(path), outputs);
    if (c->folder && mkdir(path, 0777) && errno != EEXIST)
        return cli_fail(err, GR_EIO, "%s: %s", cli_show(path), strerror(errno));
    if (!c->folder && !cli_out_open(&c->out, path, err)) return false;
    c->path = cli_strdup(path);
    c->names = cli_array(outputs, sizeof *c->names);
    for (size_t i = 0; i < outputs; i++) c->names[i] = cli_strdup(names[i]);
    return true;
}

void collect_free(collect *c)
{
    for (size_t i = 0; c->rows && i < c->items * c->outputs; i++) cli_tensor_free(&c->rows[i]);
    for (size_t i = 0; c->names && i < c->outputs; i++) free(c->names[i]);
    cli_out_abandon(&c->out);
    cli_tensor_free(&c->lengths);
    free(c->rows);
    free(c->names);
    free(c->path);
    *c = (collect){0};
}

bool collect_copy(cli_tensor *t, const char *name, const gr_tensor_view *row, gr_err *err)
{
    gr_dtype type = cli_npy_type(row->type);
    if (row->rank < 0)
        return cli_fail(err, GR_EUNSUPPORTED, "output '%s' is %s, and only tensors can be written to files",
                        cli_show(name), cli_view_text(row).s);
    if (type == GR_UNDEFINED)
        return cli_fail(err, GR_EUNSUPPORTED, "output '%s', %s, has no form in numpy", cli_show(name),
                        cli_shape(row->type, row->rank, row->dims));
    if (!cli_tensor_make(t, type, row->rank, row->dims, err)) return false;
    if (type == row->type) {
        if (t->size) memcpy(t->owned, row->data, t->size);
        return true;
    }
    for (int64_t i = 0; i < t->elements; i++) {
        if (type == GR_FLOAT)
            cli_store_float(type, t->owned, i, cli_value(row->type, row->data, i));
        else
            cli_store_integer(type, t->owned, i, cli_integer(row->type, row->data, i));
    }
    return true;
}

void collect_add(collect *c, cli_tensor *rows, size_t items)
{
    const size_t have = c->items * c->outputs, more = items * c->outputs;
    c->rows = cli_grow(c->rows, &c->cap, have + more, sizeof *c->rows);
    memcpy(c->rows + have, rows, more * sizeof *rows);
    memset(rows, 0, more * sizeof *rows);
    c->items += items;
}

bool collect_lengths(collect *c, int rank, const int64_t *dims, const int64_t *values, gr_err *err)
{
    if (!cli_tensor_make(&c->lengths, GR_INT64, rank, dims, err)) return false;
    memcpy(c->lengths.owned, values, c->lengths.size);
    return true;
}

/* One array: its rows, of which each dimension may be shorter than `dims` says. */
typedef struct array {
    const cli_tensor *rows;
    size_t count, step;
    gr_dtype type;
    int rank; /* of a row */
    int64_t dims[CLI_MAX_RANK];
    bool whole;
} array;

static bool put_zeros(cli_put_fn put, void *to, size_t size, gr_err *err)
{
    static const char zeros[4096];
    for (; size; size -= size < sizeof zeros ? size : sizeof zeros)
        if (!put(to, zeros, size < sizeof zeros ? size : sizeof zeros, err)) return false;
    return true;
}

/* The elements below one index of the axes before `axis`; `size` and `filled` are bytes of that part in the row and in
 * the array. */
static bool put_part(const array *a, const cli_tensor *row, int axis, const char *data, size_t size, size_t filled,
                     cli_put_fn put, void *to, gr_err *err)
{
    if (size == filled) return !size || put(to, data, size, err);
    if (!size) return put_zeros(put, to, filled, err);
    size_t n = (size_t)row->dims[axis], m = (size_t)a->dims[axis];
    for (size_t i = 0; i < n; i++)
        if (!put_part(a, row, axis + 1, data + i * (size / n), size / n, filled / m, put, to, err)) return false;
    return put_zeros(put, to, (m - n) * (filled / m), err);
}

static bool emit_array(const void *what, cli_put_fn put, void *to, gr_err *err)
{
    const array *a = what;
    int64_t dims[CLI_MAX_RANK + 1] = {(int64_t)a->count}, elements;
    size_t filled;
    cli_text header = {0};
    memcpy(dims + 1, a->dims, sizeof a->dims);
    bool ok = cli_tensor_bytes(a->type, a->rank, a->dims, &elements, &filled) &&
              cli_npy_header(a->type, a->rank + !a->whole, a->whole ? a->dims : dims, &header);
    if (!ok) return cli_fail(err, GR_ELIMIT, "an array of %s is too large", cli_shape(a->type, a->rank, a->dims));
    ok = put(to, header.data, header.size, err);
    for (size_t i = 0; ok && i < a->count; i++) {
        const cli_tensor *row = &a->rows[i * a->step];
        ok = put_part(a, row, 0, row->data, row->size, filled, put, to, err);
    }
    cli_text_free(&header);
    return ok;
}

static bool describe(const collect *c, size_t output, array *a, gr_err *err)
{
    const cli_tensor *first = &c->rows[output];
    *a = (array){first, c->items, c->outputs, first->type, first->rank, {0}, c->whole};
    if (a->rank >= CLI_MAX_RANK && !a->whole)
        return cli_fail(err, GR_EUNSUPPORTED, "output '%s' has too many dimensions", cli_show(c->names[output]));
    for (size_t i = 0; i < c->items; i++) {
        const cli_tensor *row = &c->rows[i * c->outputs + output];
        if (row->rank != a->rank || row->type != a->type)
            return cli_fail(err, GR_EUNSUPPORTED, "the rows of output '%s' do not fit together",
                            cli_show(c->names[output]));
        for (int d = 0; d < a->rank; d++)
            if (row->dims[d] > a->dims[d]) a->dims[d] = row->dims[d];
    }
    return true;
}

/* A name from a model as the name of a file or of a member: no leading slash, no "..", no control bytes; in a folder
 * nothing but letters, digits and "._-". Made unique among those before. */
static char *safe_name(const collect *c, const char *name, size_t index, char **before)
{
    char *out = cli_strdup(name + strspn(name, "/"));
    for (char *s = out; *s; s++) {
        bool plain =
            (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || strchr("._-", *s);
        bool up = s[0] == '.' && (s == out || (s[-1] == '/' && s[1] == '.' && (s[2] == '/' || !s[2])));
        if (up || (c->folder && !plain) || (unsigned char)*s < 0x20 || *s == 0x7f || *s == '\\') *s = '_';
    }
    if (c->folder && strlen(out) > 200) out[200] = 0;
    bool taken = !*out;
    for (size_t i = 0; i < index; i++) taken = taken || !strcmp(before[i], out);
    if (!taken) return out;
    cli_text other = {0};
    cli_add(&other, "%s.%zu", *out ? out : "output", index);
    free(out);
    return other.data;
}

static bool put_out(void *to, const void *data, size_t size, gr_err *err) { return cli_out_write(to, data, size, err); }

static bool write_member(collect *c, cli_zip *zip, const char *name, const array *a, gr_err *err)
{
    cli_text file = {0};
    cli_add(&file, "%s.npy", name);
    bool ok;
    if (c->folder) {
        cli_out out;
        char *path = cli_join(c->path, file.data);
        ok = cli_out_open(&out, path, err);
        if (ok) {
            ok = emit_array(a, put_out, &out, err) && cli_out_commit(&out, err);
            cli_out_abandon(&out);
        }
        free(path);
    } else {
        ok = cli_zip_add(zip, file.data, emit_array, a, err);
    }
    cli_text_free(&file);
    return ok;
}

bool collect_write(collect *c, gr_err *err)
{
    cli_zip zip = {.out = &c->out};
    char **used = cli_array(c->outputs + 1, sizeof *used);
    bool ok = true;
    for (size_t o = 0; ok && o < c->outputs; o++) {
        array a;
        used[o] = safe_name(c, c->names[o], o, used);
        ok = describe(c, o, &a, err);
        if (ok && c->npy && !c->folder)
            ok = emit_array(&a, put_out, &c->out, err);
        else
            ok = ok && write_member(c, &zip, used[o], &a, err);
    }
    if (ok && c->lengths.type && (!c->npy || c->folder)) {
        array a = {&c->lengths, 1, 1, GR_INT64, c->lengths.rank, {0}, true};
        memcpy(a.dims, c->lengths.dims, sizeof a.dims);
        used[c->outputs] = safe_name(c, "lengths", c->outputs, used);
        ok = write_member(c, &zip, used[c->outputs], &a, err);
    }
    if (ok && !c->folder) ok = (c->npy || cli_zip_end(&zip, err)) && cli_out_commit(&c->out, err);
    for (size_t i = 0; i <= c->outputs; i++) free(used[i]);
    free(used);
    cli_text_free(&zip.directory);
    return ok;
}
