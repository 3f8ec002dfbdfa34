/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing compiled models: contents, document, tables, and the header last.
 */
#define _GNU_SOURCE
#include "compiled.h"
#include "compiled_format.h"
#include "graph/output.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INLINE_BELOW = 1024 }; /* bytes of a tensor that stay in the document */

typedef struct place { /* of plain contents that several tensors may share */
    const void *data;
    size_t size, offset;
} place;

typedef struct named {
    const void *data;
    const char *name;
} named;

typedef struct saver {
    const gr_compiled_parts *parts;
    gr_arena *arena;
    int fd;
    size_t at; /* end of what has been written */
    gr_compiled_header header;
    const gr_map **files; /* that plain weights stay in, the model first */
    const char **locations;
    size_t nfiles;
    named *names; /* of constants, by address */
    size_t nnames;
    gr_compiled_pack_row *rows;
    size_t nrows, cap_rows;
    char *text;
    size_t text_size, cap_text;
    gr_status status;
    gr_err *err;
} saver;

/* Append bytes at a multiple of `align`; where they are. */
static gr_status append(saver *s, const void *data, size_t size, size_t align, size_t *offset)
{
    *offset = (s->at + align - 1) / align * align;
    if (lseek(s->fd, (off_t)*offset, SEEK_SET) < 0)
        return gr_fail(s->err, GR_EIO, "it cannot be written: %s", strerror(errno));
    s->at = *offset + size;
    return gr_output_write(s->fd, data, size, s->err);
}

static gr_status add_text(saver *s, const char *text, uint64_t *at)
{
    *at = s->text_size;
    for (;; text++) {
        char *c = GR_PUSH(s->arena, s->text, s->text_size, s->cap_text);
        if (!c) return gr_nomem(s->err);
        if (!(*c = *text)) return GR_OK;
    }
}

/* ---- plain weights ---- */

static int by_data(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->data != y->data) return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    return x->size < y->size ? -1 : x->size > y->size;
}

static const gr_map *file_of(const saver *s, const gr_doc_tensor *t, const char **location, size_t *offset)
{
    const uintptr_t at = (uintptr_t)t->data;
    for (size_t i = 0; i < s->nfiles; i++) {
        const gr_map *m = s->files[i];
        const uintptr_t start = (uintptr_t)m->data;
        if (at < start || t->size > m->size || at - start > m->size - t->size) continue;
        *location = s->locations[i];
        *offset = at - start;
        return m;
    }
    return NULL;
}

static bool is_large(const gr_doc_tensor *t) { return t->data && t->dtype != GR_STRING && t->size >= INLINE_BELOW; }

static gr_status point_to(saver *s, gr_doc_tensor *t, const char *location, size_t offset)
{
    gr_doc_prop *props = GR_NEWS(s->arena, 3, gr_doc_prop);
    if (!props) return gr_nomem(s->err);
    props[0] = (gr_doc_prop){"location", location};
    props[1] = (gr_doc_prop){"offset", gr_arena_printf(s->arena, "%zu", offset)};
    props[2] = (gr_doc_prop){"length", gr_arena_printf(s->arena, "%zu", t->size)};
    if (!props[1].value || !props[2].value) return gr_nomem(s->err);
    t->external = (gr_doc_props){3, props};
    t->data = NULL;
    return GR_OK;
}

/* Large tensors that are in none of the files go into this one; each contents once. */
static gr_status write_places(saver *s, place *places, size_t n)
{
    qsort(places, n, sizeof *places, by_data);
    for (size_t i = 0; i < n; i++) {
        if (i && !by_data(&places[i], &places[i - 1]))
            places[i].offset = places[i - 1].offset;
        else
            GR_TRY(append(s, places[i].data, places[i].size, GR_COMPILED_ALIGN, &places[i].offset));
    }
    return GR_OK;
}

static gr_status move_tensors(saver *s, gr_doc_graph *g)
{
    place *places = GR_NEWS(s->arena, g->ninit, place);
    const char *location;
    size_t n = 0, offset;
    if (!places) return gr_nomem(s->err);
    for (size_t i = 0; i < g->ninit; i++)
        if (is_large(g->init[i]) && !file_of(s, g->init[i], &location, &offset))
            places[n++] = (place){g->init[i]->data, g->init[i]->size, 0};
    GR_TRY(write_places(s, places, n));
    for (size_t i = 0; i < g->ninit; i++) {
        gr_doc_tensor *t = g->init[i];
        if (!is_large(t)) continue;
        if (!file_of(s, t, &location, &offset)) {
            const place key = {t->data, t->size, 0}, *found = bsearch(&key, places, n, sizeof *places, by_data);
            location = GR_SELF_LOCATION;
            offset = found->offset;
        }
        GR_TRY(point_to(s, t, location, offset));
    }
    return GR_OK;
}

/* A copy of the document as deep as it is changed. */
static gr_status copy_doc(saver *s, gr_doc *out, gr_doc_graph *graph)
{
    const gr_doc *doc = s->parts->doc;
    *out = *doc;
    *graph = *doc->graph;
    out->graph = graph;
    gr_doc_tensor *tensors = GR_NEWS(s->arena, graph->ninit, gr_doc_tensor);
    gr_doc_tensor **list = GR_NEWS(s->arena, graph->ninit, gr_doc_tensor *);
    if (!tensors || !list) return gr_nomem(s->err);
    for (size_t i = 0; i < graph->ninit; i++) {
        tensors[i] = *graph->init[i];
        tensors[i].external.count = 0;
        list[i] = &tensors[i];
    }
    graph->init = list;
    return GR_OK;
}

/* ---- packed weights ---- */

static int by_address(const void *a, const void *b)
{
    const uintptr_t x = (uintptr_t)((const named *)a)->data, y = (uintptr_t)((const named *)b)->data;
    return x < y ? -1 : x > y;
}

static gr_status name_constants(saver *s)
{
    const gr_graph *g = s->parts->graph;
    const size_t most = g->nvalues;
    if (!(s->names = GR_NEWS(s->arena, most, named))) return gr_nomem(s->err);
    for (const gr_node *n = g->first; n; n = n->next)
        for (uint32_t i = 0; i < n->nin && s->nnames < most; i++) {
            const gr_value *v = gr_in(n, i);
            /* A constant that many read is met many times: the first of its readers is enough. */
            if (v && v->konst && v->konst->data && v->uses == &n->in[i])
                s->names[s->nnames++] = (named){v->konst->data, v->name};
        }
    qsort(s->names, s->nnames, sizeof *s->names, by_address);
    return GR_OK;
}

static const char *name_of(const saver *s, const void *data)
{
    const named wanted = {data, NULL}, *found = bsearch(&wanted, s->names, s->nnames, sizeof *s->names, by_address);
    return found ? found->name : NULL;
}

/* Packs of what is no constant of the graph are made again. */
static bool is_named(const saver *s, const gr_pack_key *key)
{
    for (int b = 0; b < 2; b++)
        if (key->beside[b] && !name_of(s, key->beside[b])) return false;
    return name_of(s, key->data) != NULL;
}

static bool save_pack(void *user, const gr_pack_key *key, const gr_pack *pack)
{
    saver *s = user;
    if (!is_named(s, key) || pack->empty || !pack->size) return true;
    gr_compiled_pack_row *r = GR_PUSH(s->arena, s->rows, s->nrows, s->cap_rows);
    size_t offset = 0;
    if (!r) {
        s->status = gr_nomem(s->err);
        return false;
    }
    *r = (gr_compiled_pack_row){.rows = key->rows, .cols = key->cols, .row = key->row, .col = key->col,
                                .size = pack->size, .form = key->form, .dtype = key->dtype};
    s->status = add_text(s, name_of(s, key->data), &r->value);
    for (int b = 0; b < 2 && !s->status; b++) {
        r->beside[b] = GR_COMPILED_NONE;
        if (key->beside[b]) s->status = add_text(s, name_of(s, key->beside[b]), &r->beside[b]);
    }
    if (!s->status) s->status = add_text(s, key->layout, &r->kernel);
    if (!s->status) s->status = append(s, pack->data, pack->size, GR_COMPILED_PAGE, &offset);
    r->offset = offset;
    return s->status == GR_OK;
}

static gr_status save_packs(saver *s)
{
    GR_TRY(name_constants(s));
    gr_packs_visit(s->parts->packs, save_pack, s);
    return s->status;
}

/* ---- files beside ---- */

/* The folder of a path, canonical. */
static gr_status folder_of(saver *s, const char *path, const char **out)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? gr_arena_strndup(s->arena, path, (size_t)(slash - path) + 1) : gr_arena_strdup(s->arena, ".");
    gr_map_roots roots;
    if (!folder) return gr_nomem(s->err);
    GR_TRY(gr_map_roots_of_folder(s->arena, folder, &roots, s->err));
    *out = roots.folder;
    return GR_OK;
}

/* Whether the rules for external data reach the file from a folder. */
static bool reaches(const char *folder, const char *location, const gr_map *m)
{
    gr_map *maps = NULL, *found;
    const gr_map_roots roots = {.folder = (char *)(uintptr_t)folder};
    bool same = gr_map_external(&roots, location, &maps, &found, NULL) == GR_OK && found->device == m->device &&
                found->inode == m->inode;
    gr_map_free(maps);
    return same;
}

/* A file that weights may stay in; false: the rules do not reach it. */
static bool add_file(saver *s, const char *folder, const gr_map *m, const char *location)
{
    if (!location || !reaches(folder, location, m)) return false;
    s->files[s->nfiles] = m;
    s->locations[s->nfiles++] = location;
    return true;
}

/* The model and its external data, if they are in the folder of the compiled file; else none. */
static gr_status find_files(saver *s, const char *path)
{
    const gr_compiled_parts *p = s->parts;
    const char *here, *there, *slash = p->model ? strrchr(p->model, '/') : NULL;
    const gr_map *model = p->maps;
    size_t count = 1;
    struct stat st;
    GR_TRY(folder_of(s, path, &here));
    if (!p->model || p->standalone || folder_of(s, p->model, &there) != GR_OK || strcmp(here, there)) return GR_OK;
    if (stat(p->model, &st)) return GR_OK;
    while (model && (model->device != st.st_dev || model->inode != st.st_ino)) model = model->next;
    for (const gr_map *m = p->maps; m; m = m->next) count++;
    s->files = GR_NEWS(s->arena, count, const gr_map *);
    s->locations = GR_NEWS(s->arena, count, const char *);
    if (!s->files || !s->locations) return gr_nomem(s->err);
    bool all = model && add_file(s, here, model, slash ? slash + 1 : p->model);
    for (const gr_map *m = p->maps; m && all; m = m->next)
        if (m != model) all = add_file(s, here, m, m->location);
    if (!all) s->nfiles = 0;
    return GR_OK;
}

/* ---- tables and header ---- */

static gr_status save_sources(saver *s)
{
    gr_compiled_source_row *rows = GR_NEWS(s->arena, s->nfiles, gr_compiled_source_row);
    size_t offset;
    if (!rows) return gr_nomem(s->err);
    for (size_t i = 0; i < s->nfiles; i++) {
        const gr_map *m = s->files[i];
        rows[i] = (gr_compiled_source_row){.size = m->size, .modified = m->modified,
                                           .hash = gr_compiled_hash(0, m->data, m->size)};
        GR_TRY(add_text(s, s->locations[i], &rows[i].location));
    }
    GR_TRY(append(s, rows, s->nfiles * sizeof *rows, 8, &offset));
    s->header.sources_offset = offset;
    s->header.source_count = s->nfiles;
    return GR_OK;
}

/* Everything behind the contents, in the order of the format. */
static gr_status save_tail(saver *s, const gr_doc *doc)
{
    gr_compiled_header *h = &s->header;
    size_t offset, size;
    uint64_t unused;
    GR_TRY(append(s, "", 0, GR_COMPILED_PAGE, &offset));
    GR_TRY(gr_doc_write(doc, s->fd, &size, s->err));
    h->doc_offset = offset;
    h->doc_size = size;
    s->at += size;
    GR_TRY(append(s, s->rows, s->nrows * sizeof *s->rows, 8, &offset));
    h->packs_offset = offset;
    h->pack_count = s->nrows;
    GR_TRY(save_sources(s));
    GR_TRY(add_text(s, "", &unused));
    GR_TRY(append(s, s->text, s->text_size, 8, &offset));
    h->text_offset = offset;
    h->text_size = s->text_size;
    h->file_size = s->at;
    return GR_OK;
}

/* The checksums are of what stands in the file by now. */
static gr_status save_header(saver *s)
{
    gr_compiled_header *h = &s->header;
    memcpy(h->magic, GR_COMPILED_MAGIC, sizeof(GR_COMPILED_MAGIC));
    h->format = GR_COMPILED_FORMAT;
    h->order = GR_COMPILED_ORDER;
    h->flags = (s->parts->fused ? GR_COMPILED_FUSED : 0) | (s->parts->strict ? GR_COMPILED_STRICT : 0);
    h->precision = s->parts->precision;
    gr_compiled_maker(h->maker, sizeof h->maker);
    char *p = mmap(NULL, h->file_size, PROT_READ, MAP_PRIVATE, s->fd, 0);
    if (p == MAP_FAILED) return gr_fail(s->err, GR_EIO, "it cannot be read back: %s", strerror(errno));
    h->contents = gr_compiled_hash(0, p + GR_COMPILED_PAGE, h->doc_offset - GR_COMPILED_PAGE);
    const uint64_t sum = gr_compiled_hash(0, h, sizeof *h);
    h->checksum = gr_compiled_hash(sum, p + h->doc_offset, h->file_size - h->doc_offset);
    munmap(p, h->file_size);
    s->at = 0;
    size_t offset;
    return append(s, h, sizeof *h, 1, &offset);
}

static gr_status save_all(saver *s, const char *path)
{
    gr_doc doc;
    gr_doc_graph graph;
    GR_TRY(copy_doc(s, &doc, &graph));
    GR_TRY(find_files(s, path));
    s->at = GR_COMPILED_PAGE;
    GR_TRY(move_tensors(s, &graph));
    GR_TRY(save_packs(s));
    GR_TRY(save_tail(s, &doc));
    return save_header(s);
}

static gr_status check_target(const gr_compiled_parts *p, const char *path, gr_err *err)
{
    struct stat st;
    if (stat(path, &st)) return GR_OK;
    for (const gr_map *m = p->maps; m; m = m->next)
        if (m->device == st.st_dev && m->inode == st.st_ino)
            return gr_fail(err, GR_EINVAL, "'%s' is the model, or holds its weights", gr_show(path));
    return GR_OK;
}

gr_status gr_compiled_save(const gr_compiled_parts *parts, const char *path, gr_err *err)
{
    gr_output out = {.fd = -1};
    GR_TRY(check_target(parts, path, err));
    saver s = {.parts = parts, .arena = gr_arena_new(), .err = err};
    if (!s.arena) return gr_nomem(err);
    gr_status status = gr_output_open(&out, path, err);
    if (!status) {
        s.fd = out.fd;
        status = save_all(&s, path);
        if (status) status = gr_fail_context(err, status, "'%s'", gr_show(path));
    }
    if (!status) status = gr_output_close(&out, err);
    if (!status) status = gr_output_rename(&out, err);
    gr_output_abandon(&out);
    gr_arena_free(s.arena);
    return status;
}
