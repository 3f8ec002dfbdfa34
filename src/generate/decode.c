/* SPDX-License-Identifier: Apache-2.0 */
#include "generate/decode.h"

enum { IDS, MASK, POSITIONS, TYPES, FEEDS };

gr_status gr_decode_new(gr_decode *x, gr_arena *arena, gr_err *err)
{
    const gr_decoder *d = x->d;
    x->inputs = GR_NEWS(arena, FEEDS + 1 + d->ncaches, gr_named_tensor);
    x->outputs = GR_NEWS(arena, 1 + d->ncaches, gr_named_tensor);
    x->pasts = GR_NEWS(arena, d->ncaches, const char *);
    x->presents = GR_NEWS(arena, d->ncaches, const char *);
    x->dims = gr_arena_array(arena, d->ncaches, sizeof *x->dims);
    x->cache = GR_NEWS(arena, d->ncaches, char *);
    x->spare = GR_NEWS(arena, d->ncaches, char *);
    x->cache_size = GR_NEWS(arena, d->ncaches, size_t);
    if (!x->inputs || !x->outputs || !x->pasts || !x->presents || !x->dims || !x->cache || !x->spare || !x->cache_size)
        return gr_nomem(err);
    for (size_t i = 0; i < d->ncaches; i++) {
        x->pasts[i] = d->caches[i].past;
        x->presents[i] = d->caches[i].present;
    }
    return GR_OK;
}

/* ---- memory ---- */

enum { LINE = 64 };

void gr_decode_end(gr_decode *x)
{
    gr_free_pages(x->block, x->block_size);
    x->block = NULL;
    for (int f = 0; f < FEEDS; f++) {
        gr_free(x->feed[f]);
        x->feed[f] = NULL;
    }
    gr_free_aligned(x->aside, x->aside_size);
    x->aside = NULL;
    x->aside_size = 0;
    gr_free(x->tokens);
    gr_free(x->start);
    gr_free(x->lasts);
    gr_free(x->logits);
    x->tokens = x->start = x->lasts = NULL;
    x->logits = NULL;
    x->rows = 0;
    x->vocab = 0;
    x->cache_bytes = 0;
}

/* Elements of one row of a cache with room for `tokens`. */
static bool row_elements(const gr_cache_role *c, int64_t tokens, int64_t *out)
{
    int64_t dims[GR_MAX_RANK];
    for (int i = 0; i < c->rank; i++) dims[i] = i == c->batch_axis ? 1 : i == c->axis ? tokens : c->dims[i];
    return gr_elements(c->rank, dims, out);
}

/* In one block, which has huge pages where one cache is too small for them. It is zeros. */
static gr_status new_caches(gr_decode *x, gr_err *err)
{
    const size_t copies = x->in_place ? 1 : 2;
    size_t room;
    x->block_size = 0;
    for (size_t i = 0; i < x->d->ncaches; i++) {
        const gr_cache_role *c = &x->d->caches[i];
        int64_t elements;
        size_t bytes;
        if (!row_elements(c, GR_SLACK + x->capacity, &elements) || __builtin_mul_overflow(elements, x->rows, &elements) ||
            !gr_bytes(c->dtype, elements, &bytes) || !gr_mul(bytes / LINE + 1, copies * LINE, &room) ||
            !gr_add(x->block_size, room, &x->block_size))
            return gr_fail(err, GR_ELIMIT, "a cache of %lld tokens would not fit into memory", (long long)x->capacity);
        x->cache_size[i] = bytes;
        x->cache_bytes += bytes;
        if (bytes > x->aside_size) x->aside_size = bytes;
    }
    char *at = x->block = gr_malloc_pages(x->block_size);
    if (!at) return gr_fail(err, GR_ENOMEM, "out of memory for a cache of %zu bytes", x->block_size);
    for (size_t i = 0; i < x->d->ncaches; i++) {
        room = (x->cache_size[i] / LINE + 1) * LINE;
        x->cache[i] = at;
        x->spare[i] = x->in_place ? NULL : at + room;
        at += room * copies;
    }
    if (!x->in_place || x->beams < 2) return GR_OK;
    x->aside = gr_malloc_aligned(x->aside_size);
    return x->aside ? GR_OK : gr_nomem(err);
}

gr_status gr_decode_begin(gr_decode *x, int64_t rows, int64_t beams, int64_t capacity, gr_err *err)
{
    gr_decode_end(x);
    x->rows = rows;
    x->beams = beams;
    x->capacity = capacity;
    x->past = 0;
    x->rounded = x->in_place && x->d->mask.name && x->d->positions.name;
    size_t cells, wide;
    if (!gr_mul((size_t)rows, (size_t)capacity + GR_SLACK, &cells) || !gr_mul(cells, sizeof(int64_t), &wide))
        return gr_fail(err, GR_ELIMIT, "%lld rows of %lld tokens would not fit into memory", (long long)rows,
                       (long long)capacity);
    x->tokens = gr_calloc(cells, sizeof *x->tokens);
    x->start = gr_calloc((size_t)rows, sizeof *x->start);
    x->lasts = gr_calloc((size_t)rows, sizeof *x->lasts);
    bool ok = x->tokens && x->start && x->lasts;
    for (int f = 0; f < FEEDS; f++) ok &= (x->feed[f] = gr_calloc(cells, sizeof(int64_t))) != NULL;
    return ok ? new_caches(x, err) : gr_nomem(err);
}

/* ---- what a run is fed ---- */

/* Columns [begin, end) of rows first, first + step, ... with `past` columns before them. */
typedef struct run {
    int64_t first, count, step, begin, end, past;
} run;

void gr_decode_put(gr_dtype type, void *to, int64_t at, int64_t value)
{
    switch ((int)type) {
    case GR_INT64: ((int64_t *)to)[at] = value; break;
    case GR_INT32: ((int32_t *)to)[at] = (int32_t)value; break;
    case GR_FLOAT: ((float *)to)[at] = (float)value; break;
    default: ((uint8_t *)to)[at] = value != 0; break;
    }
}

static void feed(gr_decode *x, const run *r, int which, const gr_input_role *role, int64_t (*dims)[2], size_t *n)
{
    if (!role->name) return;
    const int64_t width = r->end - r->begin + (which == MASK ? r->past : 0);
    for (int64_t i = 0; i < r->count; i++) {
        const int64_t row = r->first + i * r->step, start = x->start[row];
        for (int64_t k = 0; k < width; k++) {
            const int64_t column = r->end - width + k, position = column > start ? column - start : 0;
            const int64_t values[FEEDS] = {which == IDS ? x->tokens[row * x->capacity + column] : 0, column >= start,
                                           position, 0};
            gr_decode_put(role->dtype, x->feed[which], i * width + k, values[which]);
        }
    }
    (*dims)[0] = r->count;
    (*dims)[1] = width;
    const size_t bytes = (size_t)(r->count * width) * (size_t)gr_dtype_bits(role->dtype) / 8;
    x->inputs[(*n)++] = (gr_named_tensor){role->name, {role->dtype, 2, *dims, x->feed[which], bytes}};
}

/* Where a cache that grows in place has column `column` of row `row`. */
static float *cache_at(const gr_decode *x, size_t i, int64_t row, int64_t head, int64_t column)
{
    const int64_t *d = x->d->caches[i].dims, room = GR_SLACK + x->capacity;
    return (float *)x->cache[i] + ((row * d[1] + head) * room + GR_SLACK + column) * d[3];
}

static size_t feed_caches(gr_decode *x, const run *r, size_t n)
{
    for (size_t i = 0; i < x->d->ncaches; i++) {
        const gr_cache_role *c = &x->d->caches[i];
        int64_t *dims = x->dims[i], elements;
        memcpy(dims, c->dims, sizeof c->dims);
        dims[c->batch_axis] = r->count;
        dims[c->axis] = r->past;
        gr_elements(c->rank, dims, &elements);
        void *data = x->in_place ? (void *)cache_at(x, i, r->first, 0, r->begin - r->past) : x->cache[i];
        x->inputs[n++] = (gr_named_tensor){
            c->past, {c->dtype, c->rank, dims, data, (size_t)elements * (size_t)gr_dtype_bits(c->dtype) / 8}};
    }
    return n;
}

/* ---- after a run ---- */

/* A present that was given as a whole, into a cache that grows in place. */
static void absorb(gr_decode *x, const run *r, size_t i, const gr_tensor_view *t)
{
    const int64_t heads = t->dims[1], rows = t->dims[2] * t->dims[3];
    for (int64_t k = 0; k < r->count * heads; k++)
        memcpy(cache_at(x, i, r->first + k / heads * r->step, k % heads, r->begin), (const float *)t->data + k * rows,
               (size_t)rows * sizeof(float));
}

static gr_status keep_logits(gr_decode *x, const run *r, const gr_tensor_view *t, gr_err *err)
{
    /* All tokens, or the last ones alone. */
    const int64_t new = t->rank == 3 ? t->dims[1] : t->rank == 2 ? 1 : 0, vocab = new ? t->dims[t->rank - 1] : 0;
    if (t->type != GR_FLOAT || new < 1 || t->dims[0] != r->count || vocab < 1 || (x->vocab && vocab != x->vocab))
        return gr_fail(err, GR_EUNSUPPORTED, "output '%s' is not float[%lld, tokens, vocabulary] as expected",
                       gr_show(x->d->logits), (long long)r->count);
    size_t bytes;
    x->vocab = vocab;
    if (!x->logits &&
        (!gr_mul((size_t)x->vocab * sizeof(float), (size_t)x->rows, &bytes) || !(x->logits = gr_malloc(bytes))))
        return gr_nomem(err);
    for (int64_t i = 0; i < r->count; i++)
        memcpy(x->logits + (r->first + i * r->step) * x->vocab, (const float *)t->data + ((i + 1) * new - 1) * x->vocab,
               (size_t)x->vocab * sizeof(float));
    return GR_OK;
}

static gr_status go(gr_decode *x, const run *r, gr_err *err)
{
    const gr_decoder *d = x->d;
    const bool fresh = x->cached && r->past == 0, whole = x->cached && (!x->in_place || (fresh && d->cache_switch));
    int64_t dims[FEEDS][2], one = 1;
    bool on = !fresh;
    size_t n = 0;
    gr_session_mode mode = {.switch_name = d->cache_switch, .switch_on = on};
    if (x->cached && x->in_place && !whole)
        mode.caches = (gr_plan_caches){d->ncaches, x->pasts, x->presents, GR_SLACK + x->capacity, r->step};
    const int64_t new = r->end - r->begin;
    for (int64_t i = 0; i < r->count && new > 1; i++) x->lasts[i] = (i + 1) * new - 1;
    mode.picks = x->lasts;
    mode.npicks = new > 1 ? (size_t)r->count : 0;
    gr_session_set_mode(x->session, &mode);
    feed(x, r, IDS, &d->ids, &dims[IDS], &n);
    feed(x, r, MASK, &d->mask, &dims[MASK], &n);
    feed(x, r, POSITIONS, &d->positions, &dims[POSITIONS], &n);
    feed(x, r, TYPES, &d->types, &dims[TYPES], &n);
    if (d->cache_switch) x->inputs[n++] = (gr_named_tensor){d->cache_switch, {GR_BOOL, d->switch_rank, &one, &on, 1}};
    if (x->cached) n = feed_caches(x, r, n);
    size_t nout = 0;
    x->outputs[nout++] = (gr_named_tensor){d->logits, {0}};
    for (size_t i = 0; whole && i < d->ncaches; i++) {
        gr_tensor_view into = {0};
        if (!x->in_place) into = (gr_tensor_view){.data = x->spare[i], .size = x->cache_size[i]};
        x->outputs[nout++] = (gr_named_tensor){d->caches[i].present, into};
    }
    GR_TRY(gr_session_run(x->session, x->inputs, n, x->outputs, nout, err));
    for (size_t i = 0; whole && i < d->ncaches; i++) {
        if (x->in_place) {
            absorb(x, r, i, &x->outputs[1 + i].tensor);
            continue;
        }
        char *t = x->cache[i];
        x->cache[i] = x->spare[i];
        x->spare[i] = t;
    }
    return keep_logits(x, r, &x->outputs[0].tensor, err);
}

/* ---- prompts and steps ---- */

/* Row i of a copied cache becomes what was row from[i], or row i / beams if that is NULL, of `count` rows. */
static void move_rows(gr_decode *x, size_t k, int64_t count, const int64_t *from)
{
    const gr_cache_role *c = &x->d->caches[k];
    int64_t row, outer = 1;
    row_elements(c, x->past, &row);
    for (int a = 0; a < c->batch_axis; a++) outer *= c->dims[a];
    const size_t bytes = (size_t)(row / outer) * (size_t)gr_dtype_bits(c->dtype) / 8;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < x->rows; i++)
            memcpy(x->spare[k] + (size_t)(o * x->rows + i) * bytes,
                   x->cache[k] + (size_t)(o * count + (from ? from[i] : i / x->beams)) * bytes, bytes);
    char *t = x->cache[k];
    x->cache[k] = x->spare[k];
    x->spare[k] = t;
}

/* The rows of the prompts to those of their beams. */
static void spread_rows(gr_decode *x)
{
    for (size_t k = 0; k < x->d->ncaches && x->beams > 1; k++) move_rows(x, k, x->rows / x->beams, NULL);
}

/* Columns [begin, end) of a cache that grows in place, from a row to another. */
static void copy_columns(gr_decode *x, size_t i, int64_t from, int64_t to, int64_t begin, int64_t end)
{
    const int64_t *d = x->d->caches[i].dims;
    for (int64_t h = 0; h < d[1]; h++)
        memcpy(cache_at(x, i, to, h, begin), cache_at(x, i, from, h, begin), (size_t)((end - begin) * d[3]) * sizeof(float));
}

gr_status gr_decode_prompts(gr_decode *x, gr_err *err)
{
    for (int64_t i = 0, n; i < x->rows; i += n) {
        for (n = x->beams; i + n < x->rows && x->start[i + n] == x->start[i]; n += x->beams) {}
        const run r = {i, n / x->beams, x->beams, x->start[i], x->end, 0};
        GR_TRY(go(x, &r, err));
    }
    x->past = x->end - x->start[0];
    for (int64_t i = 0; i < x->rows; i++)
        if (i % x->beams)
            memcpy(x->logits + i * x->vocab, x->logits + (i - i % x->beams) * x->vocab,
                   (size_t)x->vocab * sizeof(float));
    if (!x->cached) return GR_OK;
    if (!x->in_place) spread_rows(x);
    for (size_t k = 0; x->in_place && k < x->d->ncaches; k++)
        for (int64_t i = 0; i < x->rows; i++)
            if (i % x->beams) copy_columns(x, k, i - i % x->beams, i, x->start[i], x->end);
    return GR_OK;
}

gr_status gr_decode_step(gr_decode *x, gr_err *err)
{
    int64_t start = x->start[0];
    for (int64_t i = 1; i < x->rows; i++) start = x->start[i] < start ? x->start[i] : start;
    run r = {0, x->rows, 1, x->end - 1, x->end, x->end - 1 - start};
    if (!x->cached) {
        r = (run){0, x->rows, 1, start, x->end, 0};
        return go(x, &r, err);
    }
    const run exact = r;
    if (x->rounded) {
        r.past = (r.past + GR_SLACK - 1) / GR_SLACK * GR_SLACK;
        if (go(x, &r, NULL) == GR_OK) return GR_OK;
        x->rounded = false; /* as where positions end before the next multiple */
    }
    GR_TRY(go(x, &exact, err));
    x->past++;
    return GR_OK;
}

/* ---- beams ---- */

/* The first column in which the tokens of two rows differ. */
static int64_t parting(const gr_decode *x, int64_t a, int64_t b)
{
    int64_t c = x->start[a];
    while (c < x->end && x->tokens[a * x->capacity + c] == x->tokens[b * x->capacity + c]) c++;
    return c;
}

/* One pair of a cache that grows in place. What is read is first laid aside, for it may be overwritten. */
static void reorder_in_place(gr_decode *x, size_t k, const int64_t *from)
{
    const int64_t *d = x->d->caches[k].dims;
    for (int aside = 1; aside >= 0; aside--) {
        float *t = x->aside;
        for (int64_t i = 0; i < x->rows; i++) {
            const int64_t begin = from[i] == i ? x->end : parting(x, i, from[i]), n = (x->end - begin) * d[3];
            for (int64_t h = 0; h < d[1] && n; h++, t += n)
                memcpy(aside ? t : cache_at(x, k, i, h, begin), aside ? cache_at(x, k, from[i], h, begin) : t,
                       (size_t)n * sizeof *t);
        }
    }
}

void gr_decode_reorder(gr_decode *x, const int64_t *from)
{
    for (size_t k = 0; x->cached && k < x->d->ncaches; k++) {
        if (x->in_place)
            reorder_in_place(x, k, from);
        else
            move_rows(x, k, x->rows, from);
    }
    int64_t *old = x->feed[IDS]; /* free between runs, and as large */
    memcpy(old, x->tokens, (size_t)(x->rows * x->capacity) * sizeof *old);
    for (int64_t i = 0; i < x->rows; i++)
        memcpy(x->tokens + i * x->capacity, old + from[i] * x->capacity, (size_t)x->capacity * sizeof *old);
}
