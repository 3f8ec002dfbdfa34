/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading compiled models. The file may come from a stranger: every offset, size and string is checked before it is used,
 * and files beside it are reached by the rules for external data.
 */
#include "compiled.h"
#include "compiled_format.h"
#include <stdio.h>

#define DAMAGED "it is a compiled model, and damaged: %s"

static bool begins(const gr_map *m)
{
    return m->size >= sizeof(GR_COMPILED_MAGIC) && !memcmp(m->data, GR_COMPILED_MAGIC, sizeof(GR_COMPILED_MAGIC));
}

/* `count` rows of `size` bytes at `offset`, within the tail. */
static bool table_fits(const gr_compiled_header *h, uint64_t offset, uint64_t count, size_t size)
{
    return offset % 8 == 0 && offset >= h->doc_offset && offset <= h->file_size &&
           count <= (h->file_size - offset) / size;
}

static gr_status read_header(const gr_map *m, gr_compiled_header *h, gr_err *err)
{
    if (m->size < sizeof *h) return gr_fail(err, GR_EFORMAT, DAMAGED, "it ends within its header");
    memcpy(h, m->data, sizeof *h);
    if (h->format != GR_COMPILED_FORMAT || h->order != GR_COMPILED_ORDER)
        return gr_fail(err, GR_EFORMAT, "it is a compiled model of another version or machine: compile the model again");
    if (h->file_size != m->size) return gr_fail(err, GR_EFORMAT, DAMAGED, "its size is not what it was");
    if (h->doc_offset < sizeof *h || h->doc_offset > h->file_size || h->doc_size > h->file_size - h->doc_offset ||
        !table_fits(h, h->packs_offset, h->pack_count, sizeof(gr_compiled_pack_row)) ||
        !table_fits(h, h->sources_offset, h->source_count, sizeof(gr_compiled_source_row)) ||
        !table_fits(h, h->text_offset, h->text_size, 1) || !h->text_size)
        return gr_fail(err, GR_EFORMAT, DAMAGED, "its parts do not lie within it");
    gr_compiled_header bare = *h;
    bare.checksum = 0;
    uint64_t sum = gr_compiled_hash(0, &bare, sizeof bare);
    sum = gr_compiled_hash(sum, m->data + h->doc_offset, m->size - h->doc_offset);
    if (sum != h->checksum) return gr_fail(err, GR_EFORMAT, DAMAGED, "its checksum is wrong");
    if (m->data[h->text_offset + h->text_size - 1])
        return gr_fail(err, GR_EFORMAT, DAMAGED, "its text does not end");
    h->maker[sizeof h->maker - 1] = 0;
    return GR_OK;
}

static const char *text_at(const gr_map *m, const gr_compiled_header *h, uint64_t at)
{
    return at < h->text_size ? (const char *)m->data + h->text_offset + at : NULL;
}

static bool read_pack(const gr_map *m, const gr_compiled_header *h, uint64_t i, gr_compiled_pack *out)
{
    gr_compiled_pack_row r;
    memcpy(&r, m->data + h->packs_offset + i * sizeof r, sizeof r);
    const char *value = text_at(m, h, r.value), *kernel = text_at(m, h, r.kernel);
    if (!value || !kernel || r.offset % GR_COMPILED_ALIGN || r.offset > h->doc_offset ||
        r.size > h->doc_offset - r.offset || r.dtype < 0 || r.dtype > INT32_MAX)
        return false;
    *out = (gr_compiled_pack){.value = value, .data = m->data + r.offset, .size = r.size};
    out->key = (gr_pack_key){.dtype = (gr_dtype)r.dtype, .rows = r.rows, .cols = r.cols, .row = r.row, .col = r.col,
                             .layout = kernel, .form = r.form};
    for (int b = 0; b < 2; b++) {
        out->beside[b] = r.beside[b] == GR_COMPILED_NONE ? NULL : text_at(m, h, r.beside[b]);
        if (!out->beside[b] && r.beside[b] != GR_COMPILED_NONE) return false;
    }
    return true;
}

static gr_status read_packs(gr_compiled *c, const gr_compiled_header *h, gr_err *err)
{
    if (!(c->packs = GR_NEWS(c->arena, h->pack_count, gr_compiled_pack))) return gr_nomem(err);
    for (; c->npacks < h->pack_count; c->npacks++)
        if (!read_pack(c->file, h, c->npacks, &c->packs[c->npacks]))
            return gr_fail(err, GR_EFORMAT, DAMAGED, "a packed weight does not lie within it");
    return GR_OK;
}

/* Whether a file is what it was: by its size and time or, if only the time differs, by its contents. */
static bool is_unchanged(const gr_map *m, const gr_compiled_source_row *r)
{
    if (m->size != r->size) return false;
    return m->modified == r->modified || gr_compiled_hash(0, m->data, m->size) == r->hash;
}

static gr_status read_sources(gr_compiled *c, const gr_compiled_header *h, const char *path, gr_err *err)
{
    gr_map_roots roots;
    if (h->source_count) GR_TRY(gr_map_roots_of_file(c->arena, path, &roots, err));
    for (uint64_t i = 0; i < h->source_count; i++) {
        gr_compiled_source_row r;
        memcpy(&r, c->file->data + h->sources_offset + i * sizeof r, sizeof r);
        const char *location = text_at(c->file, h, r.location);
        gr_map *map;
        if (!location) return gr_fail(err, GR_EFORMAT, DAMAGED, "a file has no name");
        gr_status status = gr_map_external(&roots, location, &c->maps, &map, err);
        if (status)
            return gr_fail_context(err, status, "its weights are in '%s' beside it", gr_show(location));
        if (i == 0 && !(c->origin = gr_arena_printf(c->arena, "%s/%s", roots.folder, location))) return gr_nomem(err);
        if (map == c->file) return gr_fail(err, GR_EFORMAT, DAMAGED, "it names itself as the model");
        if (!is_unchanged(map, &r)) c->misfit = "stale";
    }
    return GR_OK;
}

static gr_status read_all(gr_compiled *c, const char *path, gr_err *err)
{
    gr_compiled_header h;
    char maker[sizeof h.maker];
    GR_TRY(read_header(c->file, &h, err));
    c->doc_offset = h.doc_offset;
    c->doc_size = h.doc_size;
    c->fused = h.flags & GR_COMPILED_FUSED;
    c->strict = h.flags & GR_COMPILED_STRICT;
    if (h.precision > GR_PRECISION_INT8) return gr_fail(err, GR_EFORMAT, DAMAGED, "its precision does not exist");
    c->precision = (gr_precision)h.precision;
    gr_compiled_maker(maker, sizeof maker);
    if (strcmp(maker, h.maker)) c->misfit = "foreign";
    GR_TRY(read_packs(c, &h, err));
    return read_sources(c, &h, path, err);
}

gr_status gr_compiled_open(const char *path, gr_compiled *out, bool *is, gr_err *err)
{
    gr_map *maps = NULL, *file;
    *out = (gr_compiled){0};
    *is = gr_map_file(path, &maps, &file, NULL) == GR_OK && begins(file);
    if (!*is) {
        gr_map_free(maps);
        return GR_OK;
    }
    out->maps = maps;
    out->file = file;
    gr_status status = (out->arena = gr_arena_new()) ? read_all(out, path, err) : gr_nomem(err);
    if (status == GR_OK) return GR_OK;
    gr_compiled_close(out);
    return gr_fail_context(err, status, "'%s'", gr_show(path));
}

void gr_compiled_close(gr_compiled *c)
{
    gr_map_free(c->maps);
    gr_arena_free(c->arena);
    *c = (gr_compiled){0};
}

gr_status gr_model_check_compiled(const char *path, gr_err *err)
{
    gr_compiled c;
    gr_compiled_header h;
    bool is;
    if (!path) return gr_fail(err, GR_EINVAL, "gr_model_check_compiled: path must not be NULL");
    GR_TRY(gr_compiled_open(path, &c, &is, err));
    if (!is) return gr_fail(err, GR_EFORMAT, "'%s': it cannot be read, or is no compiled model", gr_show(path));
    memcpy(&h, c.file->data, sizeof h);
    const size_t from = h.doc_offset < GR_COMPILED_PAGE ? h.doc_offset : GR_COMPILED_PAGE;
    gr_status status = GR_OK;
    if (gr_compiled_hash(0, c.file->data + from, h.doc_offset - from) != h.contents)
        status = gr_fail(err, GR_EFORMAT, DAMAGED, "its packed weights are not what was written");
    else if (c.misfit && !strcmp(c.misfit, "stale"))
        status = gr_fail(err, GR_EFORMAT, "it is stale: the model beside it has changed since it was compiled");
    gr_compiled_close(&c);
    return status ? gr_fail_context(err, status, "'%s'", gr_show(path)) : GR_OK;
}
