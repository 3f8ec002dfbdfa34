/* SPDX-License-Identifier: Apache-2.0
 *
 * Load a document from a file or memory, whichever form it has, and find its external data. What is no model is
 * named, as far as its first bytes tell.
 */
#include "load.h"
#include "payload.h"

#define DEFAULT_LIMIT ((size_t)512 << 20)

/* ---- external data ---- */

/* A string of decimal digits and nothing else. */
static bool parse_size(const char *text, size_t *out)
{
    size_t v = 0;
    if (!*text) return false;
    for (; *text; text++)
        if (*text < '0' || *text > '9' || !gr_mul(v, 10, &v) || !gr_add(v, (size_t)(*text - '0'), &v)) return false;
    *out = v;
    return true;
}

static gr_status find_entry(const gr_doc_tensor *t, const char *key, const char **out, gr_err *err)
{
    *out = NULL;
    for (size_t i = 0; i < t->external.count; i++) {
        if (strcmp(t->external.items[i].key, key)) continue;
        if (*out)
            return gr_fail(err, GR_EMODEL, "tensor '%s': external data has two entries '%s'", gr_show(t->name), key);
        *out = t->external.items[i].value;
    }
    return GR_OK;
}

static gr_status find_roots(gr_source *s, gr_arena *arena, gr_err *err)
{
    if (s->roots.folder) return GR_OK;
    if (s->folder) return gr_map_roots_of_folder(arena, s->folder, &s->roots, err);
    if (s->path) return gr_map_roots_of_file(arena, s->path, &s->roots, err);
    return gr_fail(err, GR_EINVAL, "the model was loaded from memory without a folder to look in");
}

/* Offset into the external data and bytes that the tensor needs of it. */
static gr_status find_range(const gr_doc_tensor *t, size_t *offset, size_t *size, gr_err *err)
{
    const char *offset_text, *length_text;
    size_t length;
    *offset = 0;
    GR_TRY(find_entry(t, "offset", &offset_text, err));
    GR_TRY(find_entry(t, "length", &length_text, err));
    GR_TRY(gr_payload_size(t, size, err));
    if (offset_text && !parse_size(offset_text, offset))
        return gr_fail(err, GR_EMODEL, "tensor '%s': the offset '%s' of its external data is no decimal number",
                       gr_show(t->name), gr_show(offset_text));
    if (length_text && (!parse_size(length_text, &length) || length != *size))
        return gr_fail(err, GR_EMODEL,
                       "tensor '%s': its external data has length '%s', but its type and dimensions "
                       "need %zu bytes",
                       gr_show(t->name), gr_show(length_text), *size);
    return GR_OK;
}

gr_status gr_source_resolve(gr_source *source, gr_doc *doc, gr_doc_tensor *t, gr_err *err)
{
    const char *location;
    size_t size, offset;
    gr_map *map;
    GR_TRY(find_entry(t, "location", &location, err));
    if (t->dtype == GR_STRING || !location)
        return gr_fail(err, GR_EMODEL, "tensor '%s': external data %s", gr_show(t->name),
                       location ? "cannot hold strings" : "has no entry 'location'");
    GR_TRY(find_range(t, &offset, &size, err));
    gr_status status = GR_OK;
    if (source->self && !strcmp(location, GR_SELF_LOCATION)) {
        map = source->self;
    } else {
        status = find_roots(source, doc->arena, err);
        if (!status) status = gr_map_external(&source->roots, location, &doc->maps, &map, err);
    }
    if (status)
        return gr_fail_context(err, status, "tensor '%s': external data '%s'", gr_show(t->name), gr_show(location));
    if (size > map->size || offset > map->size - size)
        return gr_fail(err, GR_EMODEL, "tensor '%s': external data '%s' has %zu bytes, too few for %zu at offset %zu",
                       gr_show(t->name), gr_show(location), map->size, size, offset);
    if (size == 0) return GR_OK;
    t->data = map->data + offset;
    t->size = size;
    t->mapped = true;
    return GR_OK;
}

/* The textual form names external data like the binary one; its parser leaves the tensors without data. */
typedef struct resolver {
    gr_source *source;
    gr_doc *doc;
    gr_err *err;
} resolver;

static gr_status resolve_graph(const resolver *r, gr_doc_graph *g);

static gr_status resolve_tensor(const resolver *r, gr_doc_tensor *t)
{
    if (!t || !t->external.count || t->data || t->elided) return GR_OK;
    return gr_source_resolve(r->source, r->doc, t, r->err);
}

static gr_status resolve_sparse(const resolver *r, gr_doc_sparse *s)
{
    GR_TRY(resolve_tensor(r, s->values));
    return resolve_tensor(r, s->indices);
}

static gr_status resolve_attrs(const resolver *r, gr_attrs attrs)
{
    for (size_t i = 0; i < attrs.count; i++) {
        const gr_attr *a = &attrs.items[i];
        if (a->ref) continue;
        if (a->type == GR_ATTR_TENSOR) GR_TRY(resolve_tensor(r, a->t));
        if (a->type == GR_ATTR_GRAPH) GR_TRY(resolve_graph(r, a->g));
        if (a->type == GR_ATTR_SPARSE) GR_TRY(resolve_sparse(r, a->sparse));
        for (size_t k = 0; k < a->count; k++) {
            if (a->type == GR_ATTR_TENSORS) GR_TRY(resolve_tensor(r, a->tensors[k]));
            if (a->type == GR_ATTR_GRAPHS) GR_TRY(resolve_graph(r, a->graphs[k]));
            if (a->type == GR_ATTR_SPARSES) GR_TRY(resolve_sparse(r, a->sparses[k]));
        }
    }
    return GR_OK;
}

static gr_status resolve_nodes(const resolver *r, gr_doc_nodes nodes)
{
    for (size_t i = 0; i < nodes.count; i++) GR_TRY(resolve_attrs(r, nodes.items[i].attrs));
    return GR_OK;
}

static gr_status resolve_graph(const resolver *r, gr_doc_graph *g)
{
    if (!g) return GR_OK;
    for (size_t i = 0; i < g->ninit; i++) GR_TRY(resolve_tensor(r, g->init[i]));
    for (size_t i = 0; i < g->nsparse; i++) GR_TRY(resolve_sparse(r, g->sparse[i]));
    return resolve_nodes(r, g->nodes);
}

static gr_status resolve_all(gr_source *source, gr_doc *doc, gr_err *err)
{
    resolver r = {source, doc, err};
    for (size_t i = 0; i < doc->nfunctions; i++) {
        GR_TRY(resolve_attrs(&r, doc->functions[i].attr_defaults));
        GR_TRY(resolve_nodes(&r, doc->functions[i].nodes));
    }
    return resolve_graph(&r, doc->graph);
}

/* ---- what a file is ---- */

static bool begins(const uint8_t *data, size_t size, const char *with, size_t n)
{
    return size >= n && !memcmp(data, with, n);
}

/* The name of a well-known kind of file, or NULL. */
static const char *other_kind(const uint8_t *data, size_t size)
{
    static const struct {
        unsigned at, length;
        const char *magic, *kind;
    } kinds[] = {
        {0, 23, "version https://git-lfs", "a Git LFS pointer; fetch the model with 'git lfs pull'"},
        {0, 4, "PK\3\4", "a zip archive, as a PyTorch checkpoint is"},
        {0, 2, "\x1F\x8B", "gzip-compressed data"},
        {0, 4, "\x28\xB5\x2F\xFD", "zstd-compressed data"},
        {0, 5, "\3757zXZ", "xz-compressed data"},
        {8, 2, "{\"", "a safetensors file"},
        {0, 6, "\x93NUMPY", "a NumPy array"},
        {0, 4, "\x89HDF", "an HDF5 file"},
        {0, 14, "graphrun plan\n", "a compiled model of graphrun, which is run, and not looked into"},
        {0, 4, "GGUF", "a GGUF file"},
        {0, 4, "ORTM", "an ORT format model"},
        {4, 4, "ORTM", "an ORT format model"},
        {4, 4, "TFL3", "a TensorFlow Lite model"},
        {0, 4, "\177ELF", "an executable or library"},
        {257, 5, "ustar", "a tar archive"},
        {0, 2, "\x80\2", "a Python pickle, as an old PyTorch checkpoint is"},
        {0, 2, "\x80\3", "a Python pickle"},
        {0, 2, "\x80\4", "a Python pickle"},
        {0, 2, "\x80\5", "a Python pickle"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (size > kinds[i].at && begins(data + kinds[i].at, size - kinds[i].at, kinds[i].magic, kinds[i].length))
            return kinds[i].kind;
    size_t n = 0;
    for (; n < size && n < 64; n++)
        if ((data[n] < 0x20 || data[n] > 0x7E) && !(data[n] >= '\t' && data[n] <= '\r')) return NULL;
    if (size && *data == '<') return "HTML or XML, perhaps an error page";
    if (size && *data == '{') return "JSON";
    return size ? "text" : NULL;
}

/* Textual syntax starts with '<' behind space and comments, and does not go on like a tag of HTML or XML. */
static bool is_text(const char *path, const uint8_t *data, size_t size)
{
    static const char suffix[] = ".onnxtxt";
    size_t n = path ? strlen(path) : 0, at = 0;
    if (n >= sizeof suffix - 1 && !strcmp(path + n - (sizeof suffix - 1), suffix)) return true;
    if (begins(data, size, "\xEF\xBB\xBF", 3)) at = 3;
    while (at < size && (data[at] == '#' || data[at] == ' ' || (data[at] >= '\t' && data[at] <= '\r'))) {
        const uint8_t *line = data[at] == '#' ? memchr(data + at, '\n', size - at) : data + at;
        if (!line) return false;
        at = (size_t)(line - data) + 1;
    }
    if (at >= size || data[at++] != '<') return false;
    while (at < size && (data[at] == ' ' || (data[at] >= '\t' && data[at] <= '\r'))) at++;
    return begins(data + at, size - at, "ir_version", 10) || begins(data + at, size - at, "opset_import", 12) ||
           begins(data + at, size - at, "producer_", 9) || begins(data + at, size - at, "domain", 6) ||
           begins(data + at, size - at, "model_version", 13) || begins(data + at, size - at, "doc_string", 10) ||
           begins(data + at, size - at, "metadata_props", 14);
}

/* ---- documents ---- */

/* `maps`: NULL, or the file that `data` is the contents of. */
static gr_status read_protobuf(const void *data, size_t size, gr_source *source, size_t limit, gr_map *maps,
                               gr_doc **out, gr_err *err)
{
    gr_arena *arena = gr_arena_new();
    gr_doc *doc = arena ? GR_NEW(arena, gr_doc) : NULL;
    if (!doc) {
        gr_arena_free(arena);
        gr_map_free(maps);
        return gr_nomem(err);
    }
    doc->arena = arena;
    doc->maps = maps;
    *out = doc;
    if (size == 0) return gr_fail(err, GR_EMODEL, "the file is empty");
    if (maps) gr_map_sparse_reads(maps, true);
    gr_status status = gr_import(doc, data, size, source, limit, err);
    if (maps) gr_map_sparse_reads(maps, false);
    const char *kind = status == GR_EFORMAT ? other_kind(data, size) : NULL;
    return kind ? gr_fail(err, GR_EFORMAT, "not an ONNX model, it looks like %s", kind) : status;
}

/* `maps` is the document's from now on, or freed. */
static gr_status read_any(const void *data, size_t size, const char *name, gr_source *source,
                          const gr_doc_limits *limits, gr_map *maps, gr_doc **out, gr_err *err)
{
    size_t limit = limits && limits->max_graph_bytes ? limits->max_graph_bytes : DEFAULT_LIMIT;
    gr_doc *doc = NULL;
    gr_status status;
    if (is_text(source->path, data, size)) {
        status = gr_doc_parse_text(data, size, name, &doc, err);
        if (status) {
            gr_map_free(maps);
            return status;
        }
        doc->maps = maps;
        status = resolve_all(source, doc, err);
    } else {
        status = read_protobuf(data, size, source, limit, maps, &doc, err);
    }
    if (!status) {
        *out = doc;
        return GR_OK;
    }
    gr_doc_free(doc);
    return gr_fail_context(err, status, "'%s'", gr_show(name));
}

gr_status gr_doc_load(const char *path, const gr_doc_limits *limits, gr_doc **out, gr_err *err)
{
    gr_map *maps = NULL, *map;
    gr_source source = {.path = path};
    gr_status status = gr_map_file(path, &maps, &map, err);
    if (status) return gr_fail_context(err, status, "'%s'", gr_show(path));
    return read_any(map->data, map->size, path, &source, limits, maps, out, err);
}

gr_status gr_doc_load_memory(const void *data, size_t size, const char *folder, const char *name,
                             const gr_doc_limits *limits, gr_doc **out, gr_err *err)
{
    gr_source source = {.folder = folder};
    if (!data && size) return gr_fail(err, GR_EINVAL, "no memory is given to load a model from");
    return read_any(data ? data : "", size, name ? name : "model in memory", &source, limits, NULL, out, err);
}

gr_status gr_doc_load_part(const char *path, gr_map *self, gr_map *maps, size_t offset, size_t size, const gr_doc_limits *limits,
                           gr_doc **out, gr_err *err)
{
    gr_source source = {.path = path, .self = self};
    gr_doc *doc = NULL;
    size_t limit = limits && limits->max_graph_bytes ? limits->max_graph_bytes : DEFAULT_LIMIT;
    gr_status status = read_protobuf(self->data + offset, size, &source, limit, maps, &doc, err);
    if (status) gr_doc_free(doc);
    else *out = doc;
    return status;
}

void gr_doc_free(gr_doc *doc)
{
    for (gr_doc *next; doc; doc = next) {
        next = doc->next;
        gr_map_free(doc->maps);
        gr_arena_free(doc->arena);
    }
}
