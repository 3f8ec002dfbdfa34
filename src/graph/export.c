/* SPDX-License-Identifier: Apache-2.0
 *
 * From a document to an ONNX file. The document is walked twice: once to learn the length of each message, which comes
 * before its contents, and once to write. Weights go from where they are to the file without a copy in between.
 */
#define _GNU_SOURCE
#include "doc.h"
#include "output.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

enum { VARINT = 0, BYTES = 2, FIXED32 = 5 };
enum { BUFFER = 1 << 16 };
/* Weights outside begin at pages, so that readers can map them; smaller tensors stay inside. */
enum { EXTERNAL_ALIGN = 4096, EXTERNAL_FROM = 1024 };

/* `sizes` has the length of every message in the order in which they begin; fd < 0 while it is being made. */
typedef struct writer {
    int fd;
    const char *external; /* location of weights outside, or NULL */
    int external_fd;
    size_t external_total;
    size_t total; /* bytes that came before */
    size_t *sizes, nsizes, room, next;
    uint8_t *buffer;
    size_t used;
    gr_status status; /* the first failure; writing goes on without effect then */
    gr_err *err;
} writer;

static void flush_to(writer *w, int fd, const uint8_t *data, size_t size)
{
    if (!w->status) w->status = gr_output_write(fd, data, size, w->err);
}

static void flush_buffer(writer *w)
{
    flush_to(w, w->fd, w->buffer, w->used);
    w->used = 0;
}

static void put(writer *w, const void *data, size_t size)
{
    w->total += size;
    if (w->fd < 0 || w->status || !size) return;
    if (size > BUFFER - w->used) flush_buffer(w);
    if (size > BUFFER) {
        flush_to(w, w->fd, data, size);
        return;
    }
    memcpy(w->buffer + w->used, data, size);
    w->used += size;
}

static void put_varint(writer *w, uint64_t v)
{
    uint8_t bytes[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) bytes[n++] = (uint8_t)(v | 0x80);
    bytes[n++] = (uint8_t)v;
    put(w, bytes, n);
}

static void put_tag(writer *w, unsigned field, unsigned type) { put_varint(w, field << 3 | type); }

static void put_int(writer *w, unsigned field, int64_t v)
{
    put_tag(w, field, VARINT);
    put_varint(w, (uint64_t)v);
}

static void put_float(writer *w, float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    uint8_t bytes[4] = {(uint8_t)u, (uint8_t)(u >> 8), (uint8_t)(u >> 16), (uint8_t)(u >> 24)};
    put(w, bytes, sizeof bytes);
}

static void put_bytes(writer *w, unsigned field, const void *data, size_t size)
{
    put_tag(w, field, BYTES);
    put_varint(w, size);
    put(w, data, size);
}

/* Text of a document, in which C0 80 stands for NUL. */
static void put_text(writer *w, unsigned field, const char *text)
{
    size_t n = strlen(text), size = n;
    for (const char *p = text; (p = strstr(p, "\xC0\x80")); p += 2) size--;
    put_tag(w, field, BYTES);
    put_varint(w, size);
    for (const char *p; (p = strstr(text, "\xC0\x80")); text = p + 2) {
        put(w, text, (size_t)(p - text));
        put(w, "", 1);
    }
    put(w, text, strlen(text));
}

static void put_optional(writer *w, unsigned field, const char *text)
{
    if (text) put_text(w, field, text);
}

/* For text that is "" when it is absent. */
static void put_nonempty(writer *w, unsigned field, const char *text)
{
    if (text && *text) put_text(w, field, text);
}

static size_t *size_slot(writer *w)
{
    if (w->nsizes == w->room) {
        size_t room = w->room ? w->room * 2 : 1024;
        size_t *grown = gr_realloc(w->sizes, room * sizeof *grown);
        if (!grown) {
            w->status = gr_nomem(w->err);
            return NULL;
        }
        w->sizes = grown;
        w->room = room;
    }
    return &w->sizes[w->nsizes++];
}

/* A message within a message lies between these two; `mark` goes from one to the other. */
typedef struct mark {
    size_t index, start;
} mark;

static mark begin(writer *w, unsigned field)
{
    mark m = {w->next++, 0};
    put_tag(w, field, BYTES);
    if (w->fd >= 0)
        put_varint(w, w->sizes[m.index]);
    else if (!w->status)
        size_slot(w);
    m.start = w->total;
    return m;
}

static void end(writer *w, mark m)
{
    if (w->fd >= 0 || w->status) return;
    w->sizes[m.index] = w->total - m.start;
    put_varint(w, w->sizes[m.index]);
}

/* ---- the messages; field numbers as in proto/onnx.proto ---- */

static void put_props(writer *w, unsigned field, gr_doc_props props)
{
    for (size_t i = 0; i < props.count; i++) {
        mark m = begin(w, field);
        put_optional(w, 1, props.items[i].key);
        put_optional(w, 2, props.items[i].value);
        end(w, m);
    }
}

static void put_names(writer *w, unsigned field, gr_doc_names names)
{
    for (size_t i = 0; i < names.count; i++) put_text(w, field, names.items[i]);
}

static void put_int_list(writer *w, unsigned field, size_t n, const int64_t *v)
{
    for (size_t i = 0; i < n; i++) put_int(w, field, v[i]);
}

static void put_prop(writer *w, unsigned field, const char *key, const char *value)
{
    mark m = begin(w, field);
    put_text(w, 1, key);
    put_text(w, 2, value);
    end(w, m);
}

static void put_outside(writer *w, const gr_doc_tensor *t)
{
    char offset[24], length[24];
    size_t at = (w->external_total + EXTERNAL_ALIGN - 1) / EXTERNAL_ALIGN * EXTERNAL_ALIGN;
    snprintf(offset, sizeof offset, "%zu", at);
    snprintf(length, sizeof length, "%zu", t->size);
    put_prop(w, 13, "location", w->external);
    put_prop(w, 13, "offset", offset);
    put_prop(w, 13, "length", length);
    put_int(w, 14, 1);
    w->external_total = at + t->size;
    if (w->fd < 0 || w->status) return;
    if (lseek(w->external_fd, (off_t)at, SEEK_SET) < 0)
        w->status = gr_fail(w->err, GR_EIO, "it cannot be written: %s", strerror(errno));
    flush_to(w, w->external_fd, t->data, t->size);
}

/* Contents that the document itself says are elsewhere. */
static bool is_elsewhere(const gr_doc_tensor *t) { return t->external.count && !t->data && t->size; }

static void put_tensor_in(writer *w, unsigned field, const gr_doc_tensor *t, bool outside)
{
    size_t size = 0;
    bool complete =
        t->dtype == GR_STRING ? t->strings || !t->elements : gr_bytes(t->dtype, t->elements, &size) && t->size == size;
    if ((t->elided || !complete) && !w->status)
        w->status = gr_fail(w->err, GR_EMODEL, "tensor '%s' cannot be saved without its contents, which %s",
                            gr_show(t->name), t->elided ? "the text it was read from leaves out" : "are missing");
    if (w->status) return;
    mark m = begin(w, field);
    put_int_list(w, 1, (size_t)t->rank, t->dims);
    put_int(w, 2, t->dtype);
    put_optional(w, 8, t->name);
    put_optional(w, 12, t->doc_string);
    put_props(w, 16, t->metadata);
    if (t->dtype == GR_STRING)
        for (int64_t i = 0; i < t->elements; i++) put_bytes(w, 6, t->strings[i].data, t->strings[i].size);
    else if (is_elsewhere(t)) {
        put_props(w, 13, t->external);
        put_int(w, 14, 1);
    } else if (outside && t->size >= EXTERNAL_FROM)
        put_outside(w, t);
    else
        put_bytes(w, 9, t->data, t->size);
    end(w, m);
}

static void put_tensor(writer *w, unsigned field, const gr_doc_tensor *t) { put_tensor_in(w, field, t, false); }

static void put_sparse(writer *w, unsigned field, const gr_doc_sparse *s)
{
    mark m = begin(w, field);
    put_tensor(w, 1, s->values);
    put_tensor(w, 2, s->indices);
    put_int_list(w, 3, (size_t)s->rank, s->dims);
    end(w, m);
}

static void put_shape(writer *w, unsigned field, const gr_doc_type *t)
{
    if (t->rank < 0) return;
    mark m = begin(w, field);
    for (int i = 0; i < t->rank; i++) {
        const gr_doc_dim *d = &t->dims[i];
        mark dim = begin(w, 1);
        if (d->value >= 0)
            put_int(w, 1, d->value);
        else
            put_optional(w, 2, d->param);
        put_optional(w, 3, d->denotation);
        end(w, dim);
    }
    end(w, m);
}

static void put_type(writer *w, unsigned field, const gr_doc_type *t)
{
    static const unsigned numbers[] = {
        [GR_KIND_TENSOR] = 1, [GR_KIND_SEQUENCE] = 4, [GR_KIND_MAP] = 5,
        [GR_KIND_OPAQUE] = 7, [GR_KIND_SPARSE] = 8,   [GR_KIND_OPTIONAL] = 9,
    };
    if (!t) return;
    mark m = begin(w, field);
    if (t->kind != GR_KIND_NONE) {
        mark kind = begin(w, numbers[t->kind]);
        if (t->kind == GR_KIND_TENSOR || t->kind == GR_KIND_SPARSE || t->kind == GR_KIND_MAP) put_int(w, 1, t->dtype);
        if (t->kind == GR_KIND_TENSOR || t->kind == GR_KIND_SPARSE) put_shape(w, 2, t);
        put_type(w, t->kind == GR_KIND_MAP ? 2 : 1, t->elem);
        end(w, kind);
    }
    put_optional(w, 6, t->denotation);
    end(w, m);
}

static void put_values(writer *w, unsigned field, gr_doc_values values)
{
    for (size_t i = 0; i < values.count; i++) {
        const gr_doc_value *v = &values.items[i];
        mark m = begin(w, field);
        put_optional(w, 1, v->name);
        put_type(w, 2, v->type);
        put_optional(w, 3, v->doc_string);
        put_props(w, 4, v->metadata);
        end(w, m);
    }
}

static void put_graph(writer *w, unsigned field, const gr_doc_graph *g);

static void put_attr_value(writer *w, const gr_attr *a)
{
    switch (a->type) {
    case GR_ATTR_UNDEFINED: break;
    case GR_ATTR_FLOAT:
        put_tag(w, 2, FIXED32);
        put_float(w, a->f);
        break;
    case GR_ATTR_INT: put_int(w, 3, a->i); break;
    case GR_ATTR_STRING: put_bytes(w, 4, a->s.data, a->s.size); break;
    case GR_ATTR_TENSOR: put_tensor(w, 5, a->t); break;
    case GR_ATTR_GRAPH: put_graph(w, 6, a->g); break;
    case GR_ATTR_SPARSE: put_sparse(w, 22, a->sparse); break;
    case GR_ATTR_TYPE: put_type(w, 14, a->tp); break;
    case GR_ATTR_FLOATS:
        for (size_t i = 0; i < a->count; i++) {
            put_tag(w, 7, FIXED32);
            put_float(w, a->floats[i]);
        }
        break;
    case GR_ATTR_INTS: put_int_list(w, 8, a->count, a->ints); break;
    case GR_ATTR_STRINGS:
        for (size_t i = 0; i < a->count; i++) put_bytes(w, 9, a->strings[i].data, a->strings[i].size);
        break;
    case GR_ATTR_TENSORS:
        for (size_t i = 0; i < a->count; i++) put_tensor(w, 10, a->tensors[i]);
        break;
    case GR_ATTR_GRAPHS:
        for (size_t i = 0; i < a->count; i++) put_graph(w, 11, a->graphs[i]);
        break;
    case GR_ATTR_SPARSES:
        for (size_t i = 0; i < a->count; i++) put_sparse(w, 23, a->sparses[i]);
        break;
    case GR_ATTR_TYPES:
        for (size_t i = 0; i < a->count; i++) put_type(w, 15, a->types[i]);
        break;
    }
}

static void put_attrs(writer *w, unsigned field, gr_attrs attrs)
{
    for (size_t i = 0; i < attrs.count; i++) {
        const gr_attr *a = &attrs.items[i];
        mark m = begin(w, field);
        put_text(w, 1, a->name);
        put_optional(w, 13, a->doc_string);
        put_int(w, 20, a->type);
        put_optional(w, 21, a->ref);
        if (!a->ref) put_attr_value(w, a);
        end(w, m);
    }
}

static void put_nodes(writer *w, unsigned field, gr_doc_nodes nodes)
{
    for (size_t i = 0; i < nodes.count; i++) {
        const gr_doc_node *n = &nodes.items[i];
        mark m = begin(w, field);
        put_names(w, 1, n->in);
        put_names(w, 2, n->out);
        put_optional(w, 3, n->name);
        put_text(w, 4, n->op_type);
        put_attrs(w, 5, n->attrs);
        put_optional(w, 6, n->doc_string);
        put_nonempty(w, 7, n->domain);
        put_nonempty(w, 8, n->overload);
        put_props(w, 9, n->metadata);
        end(w, m);
    }
}

static void put_graph(writer *w, unsigned field, const gr_doc_graph *g)
{
    mark m = begin(w, field);
    put_nodes(w, 1, g->nodes);
    put_optional(w, 2, g->name);
    for (size_t i = 0; i < g->ninit; i++) put_tensor_in(w, 5, g->init[i], w->external != NULL);
    put_optional(w, 10, g->doc_string);
    put_values(w, 11, g->in);
    put_values(w, 12, g->out);
    put_values(w, 13, g->info);
    for (size_t i = 0; i < g->nsparse; i++) put_sparse(w, 15, g->sparse[i]);
    put_props(w, 16, g->metadata);
    end(w, m);
}

static void put_opsets(writer *w, unsigned field, gr_doc_opsets opsets)
{
    for (size_t i = 0; i < opsets.count; i++) {
        mark m = begin(w, field);
        put_text(w, 1, opsets.items[i].domain);
        put_int(w, 2, opsets.items[i].version);
        end(w, m);
    }
}

static void put_function(writer *w, unsigned field, const gr_doc_function *f)
{
    mark m = begin(w, field);
    put_optional(w, 1, f->name);
    put_names(w, 4, f->in);
    put_names(w, 5, f->out);
    put_names(w, 6, f->attr_names);
    put_nodes(w, 7, f->nodes);
    put_optional(w, 8, f->doc_string);
    put_opsets(w, 9, f->opsets);
    put_optional(w, 10, f->domain);
    put_attrs(w, 11, f->attr_defaults);
    put_values(w, 12, f->info);
    put_nonempty(w, 13, f->overload);
    put_props(w, 14, f->metadata);
    end(w, m);
}

static void put_model(writer *w, const gr_doc *d)
{
    put_int(w, 1, d->ir_version);
    put_optional(w, 2, d->producer_name);
    put_optional(w, 3, d->producer_version);
    put_optional(w, 4, d->domain);
    if (d->has_model_version) put_int(w, 5, d->model_version);
    put_optional(w, 6, d->doc_string);
    put_opsets(w, 8, d->opsets);
    if (d->graph) put_graph(w, 7, d->graph);
    put_props(w, 14, d->metadata);
    for (size_t i = 0; i < d->nfunctions; i++) put_function(w, 25, &d->functions[i]);
}

/* ---- the file ---- */

static gr_status write_contents(writer *w, const gr_doc *doc, const gr_output *model, const gr_output *data)
{
    w->fd = model->fd;
    w->external_fd = data->fd;
    w->total = w->next = w->external_total = 0;
    put_model(w, doc);
    flush_buffer(w);
    return w->status ? gr_fail_context(w->err, w->status, "'%s'", gr_show(model->path)) : GR_OK;
}

static gr_status write_files(writer *w, const gr_doc *doc, const char *path, const char *data_path)
{
    gr_output model = {.fd = -1}, data = {.fd = -1};
    gr_status status = gr_output_open(&model, path, w->err);
    if (!status && data_path) status = gr_output_open(&data, data_path, w->err);
    if (!status) status = write_contents(w, doc, &model, &data);
    if (!status) status = gr_output_close(&data, w->err);
    if (!status) status = gr_output_close(&model, w->err);
    if (!status) status = gr_output_rename(&data, w->err);
    if (!status) status = gr_output_rename(&model, w->err);
    gr_output_abandon(&data);
    gr_output_abandon(&model);
    return status;
}

/* The path of external data: a relative one below the folder of the model, as readers want it. */
static gr_status data_path(const char *path, const char *location, char *out, size_t room, gr_err *err)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    bool above = !strcmp(location, "..") || !strncmp(location, "../", 3) || strstr(location, "/../");
    size_t n = strlen(location);
    if (!n || location[0] == '/' || location[n - 1] == '/' || above || (n > 2 && !strcmp(location + n - 3, "/..")))
        return gr_fail(err, GR_EINVAL, "external data '%s' must be a file in the folder of '%s'", gr_show(location),
                       gr_show(path));
    if (!strcmp(location, name))
        return gr_fail(err, GR_EINVAL, "'%s' cannot be both the model and its external data", gr_show(path));
    int size = snprintf(out, room, "%.*s%s", (int)(name - path), path, location);
    return size > 0 && (size_t)size < room ? GR_OK : gr_fail(err, GR_EIO, "'%s': its name is too long", gr_show(path));
}

static gr_status measure(writer *w, const gr_doc *doc, const char *external)
{
    w->external = external;
    w->fd = -1;
    w->total = w->external_total = w->nsizes = w->next = 0;
    put_model(w, doc);
    return w->status;
}

static gr_status save(writer *w, const gr_doc *doc, const char *path, const gr_save_options *o)
{
    char location[PATH_MAX], data[PATH_MAX];
    const char *slash = strrchr(path, '/');
    /* Readers built on Google's library stop at 2 GiB. */
    size_t limit = o && o->max_inside ? o->max_inside : INT_MAX;
    gr_status status = measure(w, doc, o ? o->external : NULL);
    if (!status && w->total > limit && o && !o->external) {
        int n = snprintf(location, sizeof location, "%s.data", slash ? slash + 1 : path);
        if (n < 0 || (size_t)n >= sizeof location)
            return gr_fail(w->err, GR_EIO, "'%s': its name is too long", gr_show(path));
        status = measure(w, doc, location);
    }
    if (status) return gr_fail_context(w->err, status, "'%s'", gr_show(path));
    if (w->total > INT_MAX)
        return gr_fail(w->err, GR_ELIMIT, "'%s': it would have %zu bytes, and protobuf files end at 2 GiB",
                       gr_show(path), w->total);
    if (w->external) GR_TRY(data_path(path, w->external, data, sizeof data, w->err));
    if (!(w->buffer = gr_malloc(BUFFER))) return gr_nomem(w->err);
    return write_files(w, doc, path, w->external ? data : NULL);
}

gr_status gr_doc_save_as(const gr_doc *doc, const char *path, const gr_save_options *options, gr_err *err)
{
    writer w = {.fd = -1, .external_fd = -1, .err = err};
    gr_status status = save(&w, doc, path, options);
    gr_free(w.buffer);
    gr_free(w.sizes);
    return status;
}

gr_status gr_doc_save(const gr_doc *doc, const char *path, gr_err *err)
{
    return gr_doc_save_as(doc, path, NULL, err);
}

gr_status gr_doc_write(const gr_doc *doc, int fd, size_t *size, gr_err *err)
{
    writer w = {.fd = -1, .external_fd = -1, .err = err};
    gr_status status = measure(&w, doc, NULL);
    if (!status && !(w.buffer = gr_malloc(BUFFER))) status = gr_nomem(err);
    if (!status) {
        w.fd = fd;
        w.total = w.next = 0;
        put_model(&w, doc);
        flush_buffer(&w);
        status = w.status;
    }
    *size = w.total;
    gr_free(w.buffer);
    gr_free(w.sizes);
    return status;
}
