/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention in tiles, float32.
 *
 * A task is one head of one sample, or a stretch of its queries if there are few heads. It packs k^T and v once and
 * passes over them with a tile of queries at a time, scores in blocks that stay in the cache. Blocks in which no query
 * of the tile sees a key are left out. What a task does depends neither on the batch nor on the number of threads, save
 * for where stretches end, which changes no sum. Under a mask with one row for each sequence, keys before the first and
 * behind the last that it lets be seen are left out: a padded sequence has the bits that it has alone.
 */
#include "attention.h"
#include "ops/elem.h"
#include "rows.h"
#include "simd/simd.h"
#include "threads.h"

enum {
    TILE = GR_ATTEND_ROWS, /* queries */
    TASKS_PER_THREAD = 4,
    PARALLEL_FLOPS = 500000, /* about ten microseconds of one core: what waking others costs */
    SINGLE_FLOPS = 50000,    /* the same where a single query waits for keys and values from memory */
};

typedef struct tiled {
    gr_att_layout l;
    gr_att_place k, v;          /* of keys and values with the past in front */
    const float *keys, *values; /* NULL: as the inputs say */
    int64_t stretches;
    bool masks;  /* what hides keys is the mask alone, the same for all heads */
    bool trims;  /* that, and it has one row for each sequence */
    bool spells; /* masks are written out as rows of floats where they cannot be left out */
    int64_t row; /* floats from one row of scores to the next */
    gr_att_seen *seen;
    int64_t seen_of[3]; /* strides of batch, head and query */
    int64_t seen_count;
    size_t present, looks, packed_k, packed_v, thread; /* bytes: joined keys and values, seen, each thread's part */
} tiled;

/* What a task needs to know of its sequence: where it begins in the operands, in elements, and how long it is. */
typedef struct sequence {
    int64_t q, k, v, y;
    int64_t queries, keys;
    int64_t skipped; /* keys that are left out before the first */
    bool plain;      /* its mask is zeros */
} sequence;

static bool is_float(const gr_step *s, uint32_t i) { return !gr_step_in(s, i) || s->in[i]->dtype == GR_FLOAT; }

static size_t up(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* Scratch for a cache of past and new rows, if no output holds them. */
static size_t joined_size(const gr_step *s, const gr_att_layout *l, uint32_t o, int64_t size)
{
    if (!l->past || gr_step_out(s, o)) return 0;
    return up((size_t)(l->batch * l->kv_heads * l->total * size) * sizeof(float));
}

static bool tiled_sizes(gr_step *s, tiled *t)
{
    const gr_att_layout *l = &t->l;
    const int threads = gr_step_threads(s);
    const int64_t tasks = l->batch * l->heads, tiles = (l->queries + TILE - 1) / TILE;
    t->stretches = tasks >= (int64_t)threads * TASKS_PER_THREAD ? 1 : (threads * TASKS_PER_THREAD + tasks - 1) / tasks;
    if (threads == 1) t->stretches = 1;
    if (t->stretches > tiles) t->stretches = tiles;
    t->row = (l->total + 15) / 16 * 16;
    t->packed_k = gr_gemm_small_scratch(l->total, l->head);
    t->packed_v = gr_gemm_small_scratch(l->v_head, l->total);
    t->present = joined_size(s, l, PRESENT_KEY, l->head) + joined_size(s, l, PRESENT_VALUE, l->v_head);
    size_t rows, all;
    if (t->packed_k > SIZE_MAX / 8 || t->packed_v > SIZE_MAX / 8) return false;
    if (!gr_mul((size_t)TILE * sizeof(float), (size_t)t->row, &rows) || rows > SIZE_MAX / 8) return false;
    if (!gr_mul((size_t)t->seen_count, sizeof *t->seen, &t->looks) || t->looks > SIZE_MAX / 8) return false;
    t->looks = up(t->looks);
    t->packed_k = up(t->packed_k);
    t->packed_v = up(t->packed_v);
    t->thread = t->packed_k + t->packed_v + (t->spells ? up(rows) : 0);
    t->thread += (size_t)TILE * ((size_t)l->head + GR_ATTEND_KEYS) * sizeof(float);
    return gr_mul(t->thread, (size_t)threads, &all) && gr_add(all, t->present + t->looks, &s->scratch_size);
}

/* Which queries differ in what they see. */
static void count_looks(const gr_step *s, tiled *t)
{
    const gr_att_params *p = GR_PARAMS(gr_att_params, s);
    const gr_att_layout *l = &t->l;
    const bool by_query = l->mask[2] || p->causal || p->left >= 0 || p->right >= 0;
    const bool by_batch = l->mask[0] || gr_step_in(s, VALID) || (by_query && s->rows);
    t->seen_of[2] = by_query;
    t->seen_of[1] = l->mask[1] ? by_query ? l->queries : 1 : 0;
    const int64_t one = (l->mask[1] ? l->heads : 1) * (by_query ? l->queries : 1);
    t->seen_of[0] = by_batch ? one : 0;
    t->seen_count = by_batch ? one * l->batch : one;
}

static bool only_masks(const gr_step *s, const gr_att_layout *l)
{
    const gr_att_params *p = GR_PARAMS(gr_att_params, s);
    const gr_tensor *mask = gr_step_in(s, MASK);
    return p->fused && mask && mask->dtype == GR_FLOAT && l->mask[1] == 0 && l->mask[3] == 1 &&
           l->mask_keys == l->total && !l->past && !p->causal && p->left < 0 && p->right < 0 && !gr_step_in(s, VALID) &&
           !gr_step_in(s, FACTORS) && !gr_step_out(s, SCORES);
}

bool gr_att_tiled_prepare(gr_step *s, gr_why *why)
{
    const gr_att_params *p = GR_PARAMS(gr_att_params, s);
    const gr_tensor *mask = gr_step_in(s, MASK);
    for (uint32_t i = QUERY; i <= PAST_VALUE; i++)
        if (i != MASK && !is_float(s, i)) return gr_decline(why, "input %u is not float", i);
    if (mask && mask->dtype != GR_FLOAT && mask->dtype != GR_BOOL)
        return gr_decline(why, "the mask is not float or bool");
    if (p->precision != GR_UNDEFINED && p->precision != GR_FLOAT) return gr_decline(why, "the softmax is not in float");
    if (gr_step_out(s, SCORES) && p->mode != PROBABILITIES)
        return gr_decline(why, "the scores are wanted as an output");
    if (!is_float(s, FACTORS)) return gr_decline(why, "the factors are not float");
    tiled *t = GR_NEW(s->arena, tiled);
    if (!t) return gr_decline(why, "out of memory");
    t->l = gr_att_layout_of(s);
    const gr_att_layout *l = &t->l;
    if (!gr_step_out(s, Y)) return gr_decline(why, "the result is not wanted");
    if (!l->batch || !l->heads || !l->queries || !l->total || !l->head || !l->v_head)
        return gr_decline(why, "an operand is empty");
    t->masks = only_masks(s, l);
    t->trims = t->masks && l->mask[2] == 0;
    t->spells = mask && (mask->dtype != GR_FLOAT || l->mask[3] != 1);
    count_looks(s, t);
    if (!tiled_sizes(s, t)) return gr_decline(why, "too large");
    if (s->key_rows && (!t->masks || s->in[QUERY]->rank != 3 || s->in[KEY]->rank != 3))
        return gr_decline(why, "rows are not those of one grid");
    if (s->rows && (s->in[QUERY]->rank != 3 || gr_step_in(s, FACTORS) || gr_step_out(s, SCORES)))
        return gr_decline(why, "rows are not those of one grid");
    s->flops = 2.0 * (double)(l->batch * l->heads * l->queries) * (double)l->total * (double)(l->head + l->v_head);
    if (s->in[QUERY]->rank == 3 && l->v_head % 2 == 0) s->gives_row = l->heads * l->v_head;
    s->state = t;
    return true;
}

/* Sets where keys (or values) lie for a run, joining past and new rows if there is a past. */
static const float *joined(const gr_step *s, const gr_att_layout *l, uint32_t o, uint32_t past, uint32_t now,
                           int64_t size, gr_att_place *at, char **scratch)
{
    gr_att_write_present(s, l, o, past, now, *at, size);
    if (!l->past) return s->in[now]->data;
    void *to = gr_step_out(s, o) ? s->out[o]->data : *scratch;
    if (!gr_step_out(s, o)) gr_att_concatenate(l, gr_step_in(s, past), s->in[now], *at, size, sizeof(float), to);
    *scratch += joined_size(s, l, o, size);
    *at = (gr_att_place){l->kv_heads * l->total * size, l->total * size, size};
    return to;
}

/* n elements of a mask as floats to add. */
static const float *spell_mask(const gr_tensor *mask, int64_t at, int64_t step, int64_t n, float *row)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = at + i * step;
        if (mask->dtype == GR_BOOL)
            row[i] = ((const uint8_t *)mask->data)[j] ? 0 : -INFINITY;
        else
            row[i] = ((const float *)mask->data)[j];
    }
    return row;
}

/* Where in its sequence the i-th query is that is held. */
static int64_t query_at(const gr_step *s, int64_t b, int64_t i)
{
    return s->rows ? s->rows->index[s->rows->first[b] + i] - b * s->rows->tokens : i;
}

typedef struct tasks {
    const gr_step *s;
    const tiled *t;
    char *own; /* scratch of the first thread */
} tasks;

static void look(void *user, int64_t first, int64_t end, int thread)
{
    const gr_step *s = ((const tasks *)user)->s;
    const tiled *t = ((const tasks *)user)->t;
    const int64_t queries = t->seen_of[2] ? t->l.queries : 1, heads = t->seen_of[1] ? t->l.heads : 1;
    (void)thread;
    for (int64_t i = first; i < end; i++) {
        const int64_t b = i / queries / heads, query = i % queries;
        if (t->seen_of[2] && s->rows && query >= s->rows->first[b + 1] - s->rows->first[b]) continue;
        t->seen[i] = gr_att_look(s, &t->l, b, i / queries % heads, t->seen_of[2] ? query_at(s, b, query) : 0);
    }
}

static gr_att_seen seen_at(const tiled *t, int64_t b, int64_t h, int64_t query)
{
    return t->seen[b * t->seen_of[0] + h * t->seen_of[1] + query * t->seen_of[2]];
}

static const float *factors_of(const gr_att_layout *l, const gr_tensor *factors, int64_t b, int64_t h, int64_t query)
{
    return (const float *)factors->data + b * l->factors[0] + h * l->factors[1] + query * l->factors[2];
}

/* Queries [query, query + rows) of one head, whose packed keys and values are in `own`. */
static void tile_run(const gr_step *s, const tiled *t, const sequence *z, int64_t b, int64_t h, int64_t query,
                     int64_t rows, const float *q, char *own, float *y)
{
    const gr_att_params *p = GR_PARAMS(gr_att_params, s);
    const gr_att_layout *l = &t->l;
    const gr_tensor *mask = gr_step_in(s, MASK);
    const gr_tensor *factors = gr_step_in(s, FACTORS), *out = gr_step_out(s, SCORES);
    float *weights = out ? (float *)out->data + ((b * l->heads + h) * l->queries + query) * l->total : NULL;
    const float *bias[TILE], *factor[TILE], *packed_v = (const float *)(own + t->packed_k);
    const int64_t kv = h / (l->heads / l->kv_heads);
    int64_t begin[TILE], end[TILE], first = z->keys, n = 1;
    bool plain = true, parts = false;
    float *room = (float *)(own + t->packed_k + t->packed_v), *spelt = room + TILE * (l->head + GR_ATTEND_KEYS);
    for (int64_t i = 0; i < rows; i++) {
        const gr_att_seen seen = t->trims ? (gr_att_seen){0, z->keys, z->plain} : seen_at(t, b, h, query + i);
        const int64_t before = t->trims ? 0 : z->skipped;
        begin[i] = seen.begin - before, end[i] = seen.end - before;
        plain = plain && seen.plain;
        if (begin[i] < end[i] && begin[i] < first) first = begin[i];
        if (end[i] > n) n = end[i];
    }
    if (first >= n || out) first = 0;
    for (int64_t i = 0; i < rows; i++) {
        parts = parts || begin[i] > 0 || end[i] < n;
        if (factors) factor[i] = factors_of(l, factors, b, h, query + i);
        if (plain) continue;
        const int64_t row = t->l.mask[2] ? query_at(s, b, query + i) : 0;
        const int64_t at = b * l->mask[0] + h * l->mask[1] + row * l->mask[2];
        bias[i] = t->spells ? spell_mask(mask, at, l->mask[3], n, spelt + i * t->row)
                            : (const float *)mask->data + at + z->skipped;
    }
    gr_simd_best()->attend(&(gr_attend){.rows = rows,
                                        .head = l->head,
                                        .v_head = l->v_head,
                                        .first = first,
                                        .keys = n,
                                        .q = q,
                                        .q_row = l->q.token,
                                        .scale = (float)l->scale,
                                        .cap = p->softcap,
                                        .packed_k = z->queries > 1 ? (const float *)own : NULL,
                                        .packed_v = packed_v,
                                        .depth = z->keys,
                                        .k = t->keys + z->k + kv * t->k.head,
                                        .k_row = t->k.token,
                                        .v = t->values + z->v + kv * t->v.head,
                                        .v_row = t->v.token,
                                        .bias = plain ? NULL : bias,
                                        .begin = parts ? begin : NULL,
                                        .end = parts ? end : NULL,
                                        .factors = factors ? factor : NULL,
                                        .factors_step = l->factors[3],
                                        .weights = weights,
                                        .weights_row = l->total,
                                        .empty = p->zero_empty ? 0 : NAN,
                                        .y = y,
                                        .y_row = l->y.token,
                                        .room = room});
    for (int64_t i = 0; i < rows && weights; i++)
        memset(weights + i * l->total + n, 0, (size_t)(l->total - n) * sizeof *weights);
    for (int64_t i = 0; i < rows && s->rounded_out; i++) {
        const float *row = y + i * l->y.token;
        gr_gemm_round_row(l->v_head, row, (uint16_t *)s->rounded_out + (row - (const float *)s->out[Y]->data));
    }
}

static sequence sequence_of(const gr_step *s, const tiled *t, int64_t b)
{
    const gr_att_layout *l = &t->l;
    const gr_rows *rows = s->rows, *keys = s->key_rows;
    sequence z = {b * l->q.batch, b * t->k.batch, b * t->v.batch, b * l->y.batch, l->queries, l->total, 0, false};
    if (t->trims) {
        const gr_att_seen seen = seen_at(t, b, 0, 0);
        int64_t begin = seen.begin;
        z.skipped = begin;
        z.keys = seen.end - begin;
        z.plain = seen.plain;
        if (keys) { /* what is held may begin before the first key that is seen */
            begin -= keys->index[keys->first[b]] - b * keys->tokens;
            z.k = keys->first[b] * t->k.token;
            z.v = keys->first[b] * t->v.token;
        }
        z.k += begin * t->k.token;
        z.v += begin * t->v.token;
    } else if (keys) {
        z.skipped = keys->index[keys->first[b]] - b * keys->tokens;
        z.keys = keys->first[b + 1] - keys->first[b];
        z.k = keys->first[b] * t->k.token;
        z.v = keys->first[b] * t->v.token;
    }
    if (rows) {
        z.q = rows->first[b] * l->q.token;
        z.y = rows->first[b] * l->y.token;
        z.queries = rows->first[b + 1] - rows->first[b];
    }
    return z;
}

static void task_run(const gr_step *s, const tiled *t, int64_t task, char *own)
{
    const gr_att_layout *l = &t->l;
    const int64_t b = task / t->stretches / l->heads, h = task / t->stretches % l->heads, part = task % t->stretches;
    const sequence z = sequence_of(s, t, b);
    const int64_t kv = h / (l->heads / l->kv_heads), tiles = (z.queries + TILE - 1) / TILE;
    const int64_t last = tiles * (part + 1) / t->stretches;
    if (tiles * part / t->stretches == last) return;
    if (z.queries > 1) { /* a single one reads keys and values but once */
        gr_gemm_small_pack(l->head, z.keys, t->keys + z.k + kv * t->k.head, 1, t->k.token, own);
        gr_gemm_small_pack(z.keys, l->v_head, t->values + z.v + kv * t->v.head, t->v.token, 1, own + t->packed_k);
    }
    for (int64_t i = tiles * part / t->stretches; i < last; i++) {
        const int64_t query = i * TILE, rows = z.queries - query < TILE ? z.queries - query : TILE;
        const float *q = (const float *)s->in[QUERY]->data + z.q + h * l->q.head + query * l->q.token;
        float *y = (float *)s->out[Y]->data + z.y + h * l->y.head + query * l->y.token;
        tile_run(s, t, &z, b, h, query, rows, q, own, y);
    }
}

static void tasks_run(void *user, int64_t i, int thread)
{
    const tasks *all = user;
    task_run(all->s, all->t, i, all->own + (size_t)thread * all->t->thread);
}

gr_status gr_att_tiled_run(const gr_step *s, gr_err *err)
{
    tiled t = *(const tiled *)s->state;
    const gr_att_layout *l = &t.l;
    char *joins = s->scratch, *own = joins + t.present + t.looks;
    GR_TRY(gr_att_check_valid(s, l, err));
    t.k = l->k, t.v = l->v;
    t.seen = (gr_att_seen *)(joins + t.present);
    t.keys = joined(s, l, PRESENT_KEY, PAST_KEY, KEY, l->head, &t.k, &joins);
    t.values = joined(s, l, PRESENT_VALUE, PAST_VALUE, VALUE, l->v_head, &t.v, &joins);
    tasks all = {s, &t, own};
    const int threads = s->flops >= (l->queries > 1 ? PARALLEL_FLOPS : SINGLE_FLOPS) ? gr_step_threads(s) : 1;
    gr_parallel_rows(t.seen_count, t.seen_of[2] ? threads : 1, look, &all);
    gr_parallel(l->batch * l->heads * t.stretches, threads, tasks_run, &all);
    return GR_OK;
}
