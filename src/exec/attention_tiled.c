/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention in tiles, float32.
 *
 * A task is one head of one sample, or a stretch of its queries if there are few heads. It packs k^T and v once, and
 * for each tile of queries writes scores into scratch of the thread, turns them into probabilities there and multiplies
 * them with v straight into y. Only keys that some query of the tile can see take part. What a task does depends
 * neither on the batch nor on the number of threads, save for where stretches end, which changes no sum.
 * Under a mask with one row for each sequence, keys before the first and behind the last that it lets be seen are left
 * out: a padded sequence has the bits that it has alone. */
#include "attention.h"
#include "ops/elem.h"
#include "rows.h"
#include "simd/simd.h"
#include "threads.h"

enum {
    TILE = 48, /* queries: a multiple of the row tiles of products */
    TASKS_PER_THREAD = 4,
    PARALLEL_FLOPS = 500000, /* about ten microseconds of one core: what waking others costs */
};

typedef struct tiled {
    gr_att_layout l;
    gr_att_place k, v;          /* of keys and values with the past in front */
    const float *keys, *values; /* NULL: as the inputs say */
    int64_t tile, stretches;
    bool trims;  /* the mask has one row for each sequence, and nothing else hides keys */
    int64_t row; /* floats from one row of scores to the next */
    size_t present, packed_k, packed_v, thread; /* bytes: joined keys and values, then each thread's part */
} tiled;

/* What a task needs to know of its sequence: where it begins in the operands, in elements, and how long it is. */
typedef struct sequence {
    int64_t q, k, v, y;
    int64_t queries, keys;
    int64_t skipped; /* keys that are left out before the first */
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
    int threads = gr_step_threads(s);
    int64_t tasks = l->batch * l->heads, tiles;
    t->tile = l->queries < TILE ? l->queries : TILE;
    tiles = (l->queries + t->tile - 1) / t->tile;
    t->stretches = tasks >= (int64_t)threads * TASKS_PER_THREAD ? 1 : (threads * TASKS_PER_THREAD + tasks - 1) / tasks;
    if (threads == 1) t->stretches = 1;
    if (t->stretches > tiles) t->stretches = tiles;
    t->row = (l->total + 15) / 16 * 16;
    t->packed_k = gr_gemm_small_scratch(l->total, l->head);
    t->packed_v = gr_gemm_small_scratch(l->v_head, l->total);
    t->present = joined_size(s, l, PRESENT_KEY, l->head) + joined_size(s, l, PRESENT_VALUE, l->v_head);
    size_t scores, all;
    if (t->packed_k > SIZE_MAX / 8 || t->packed_v > SIZE_MAX / 8) return false;
    if (!gr_mul((size_t)(t->tile + 1) * sizeof(float), (size_t)t->row, &scores) || scores > SIZE_MAX / 8) return false;
    t->packed_k = up(t->packed_k);
    t->packed_v = up(t->packed_v);
    t->thread = t->packed_k + t->packed_v + up(scores);
    return gr_mul(t->thread, (size_t)threads, &all) && gr_add(all, t->present, &s->scratch_size);
}

static bool may_trim(const gr_step *s, const gr_att_layout *l)
{
    const gr_att_params *p = GR_PARAMS(gr_att_params, s);
    const gr_tensor *mask = gr_step_in(s, MASK);
    return p->fused && mask && mask->dtype == GR_FLOAT && l->mask[1] == 0 && l->mask[2] == 0 && l->mask[3] == 1 &&
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
    if (!tiled_sizes(s, t)) return gr_decline(why, "too large");
    t->trims = may_trim(s, l);
    if (s->key_rows && (!t->trims || s->in[QUERY]->rank != 3 || s->in[KEY]->rank != 3))
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

/* The bias of the first n keys for a query: NULL for none, the mask itself if that is all of it, else made in `row`. */
static const float *bias_row(const gr_step *s, const tiled *t, int64_t b, int64_t h, int64_t query, int64_t n,
                             int64_t skipped, float *row)
{
    const gr_att_layout *l = &t->l;
    const gr_tensor *mask = gr_step_in(s, MASK);
    const int64_t at = mask ? b * l->mask[0] + h * l->mask[1] + query * l->mask[2] : 0, step = l->mask[3];
    if (t->trims) return (const float *)mask->data + at + skipped;
    const gr_att_span seen = gr_att_visible(s, l, b, query);
    if (seen.begin == 0 && seen.end >= n) {
        if (!mask) return NULL;
        if (mask->dtype == GR_FLOAT && step == 1) return (const float *)mask->data + at;
    }
    for (int64_t i = 0; i < n; i++) {
        row[i] = 0;
        if (i < seen.begin || i >= seen.end)
            row[i] = -INFINITY;
        else if (mask && mask->dtype == GR_BOOL)
            row[i] = ((const uint8_t *)mask->data)[at + i * step] ? 0 : -INFINITY;
        else if (mask)
            row[i] = ((const float *)mask->data)[at + i * step];
    }
    return row;
}

/* Where in its sequence the i-th query is that is held. */
static int64_t query_at(const gr_step *s, int64_t b, int64_t i)
{
    return s->rows ? s->rows->index[s->rows->first[b] + i] - b * s->rows->tokens : i;
}

/* Scores of the first n keys to probabilities, for `rows` queries from `query` on. */
static void probabilities(const gr_step *s, const tiled *t, int64_t b, int64_t h, int64_t query, int64_t rows,
                          int64_t n, int64_t skipped, float *scores)
{
    const gr_simd *v = gr_simd_best();
    const gr_att_params *p = GR_PARAMS(gr_att_params, s);
    const bool same_bias = t->l.mask[2] == 0 && !p->causal && p->left < 0 && p->right < 0;
    const float *bias = NULL;
    bool none = false;
    for (int64_t i = 0; i < rows; i++) {
        float *x = scores + i * t->row, scale = (float)t->l.scale;
        if (i == 0 || !same_bias) {
            bias = bias_row(s, t, b, h, query_at(s, b, query + i), n, skipped, scores + t->tile * t->row);
            none = p->zero_empty && bias && v->max((size_t)n, bias) == -INFINITY;
        }
        if (none) {
            memset(x, 0, (size_t)n * sizeof *x);
            continue;
        }
        if (p->softcap > 0) {
            v->binary_scalar[GR_V_MUL]((size_t)n, x, scale / p->softcap, x);
            v->unary[GR_V_TANH]((size_t)n, x, x);
            scale = p->softcap;
        }
        v->softmax((size_t)n, x, scale, bias, x);
    }
}

/* Probabilities of all keys for `rows` queries: times the factors, and to the output for them. */
static void finish_probabilities(const gr_step *s, const tiled *t, int64_t b, int64_t h, int64_t query, int64_t rows,
                                 float *scores)
{
    const gr_att_layout *l = &t->l;
    const gr_tensor *factors = gr_step_in(s, FACTORS), *out = gr_step_out(s, SCORES);
    for (int64_t i = 0; i < rows && (factors || out); i++) {
        float *x = scores + i * t->row;
        if (factors) {
            const int64_t at = b * l->factors[0] + h * l->factors[1] + (query + i) * l->factors[2];
            const float *f = (const float *)factors->data + at;
            for (int64_t k = 0; k < l->total; k++) x[k] *= f[k * l->factors[3]];
        }
        if (out)
            memcpy((float *)out->data + ((b * l->heads + h) * l->queries + query + i) * l->total, x,
                   (size_t)l->total * sizeof *x);
    }
}

/* Keys up to the last that a query of the tile can see. A mask's values tell, too, whoever has made it causal; what it
 * hides adds zeros, so leaving it out behind the last key changes no bit. */
static int64_t seen_keys(const gr_step *s, const tiled *t, int64_t b, int64_t h, int64_t query, int64_t rows)
{
    const gr_att_layout *l = &t->l;
    const gr_tensor *mask = gr_step_in(s, MASK);
    const bool reads = mask && l->mask[3] == 1 && mask->dtype == GR_FLOAT;
    int64_t n = 1, from, to;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t at = query_at(s, b, query + i);
        const gr_att_span v = gr_att_visible(s, l, b, at);
        int64_t end = v.end;
        if (end <= n) continue;
        if (reads && v.begin == 0) {
            gr_live_keys((const float *)mask->data + b * l->mask[0] + h * l->mask[1] + at * l->mask[2], end, &from,
                         &to);
            end = to;
        }
        if (end > n) n = end;
    }
    return n;
}

/* Queries [query, query + rows) of one head, whose packed keys and values are in `own`. */
static void tile_run(const gr_step *s, const tiled *t, const sequence *z, int64_t b, int64_t h, int64_t query,
                     int64_t rows, char *own)
{
    const gr_att_layout *l = &t->l;
    const float *q = (const float *)s->in[QUERY]->data + z->q + h * l->q.head + query * l->q.token;
    float *y = (float *)s->out[Y]->data + z->y + h * l->y.head + query * l->y.token;
    float *scores = (float *)(own + t->packed_k + t->packed_v);
    const int64_t n = t->trims ? z->keys : seen_keys(s, t, b, h, query, rows);
    gr_gemm_small_packed(rows, n, l->head, 1, q, l->q.token, own, scores, t->row);
    probabilities(s, t, b, h, query, rows, n, z->skipped, scores);
    const bool whole = gr_step_in(s, FACTORS) || gr_step_out(s, SCORES);
    for (int64_t i = 0; i < rows && n < z->keys && whole; i++)
        memset(scores + i * t->row + n, 0, (size_t)(z->keys - n) * sizeof *scores);
    finish_probabilities(s, t, b, h, query, rows, scores);
    gr_gemm_small_part(rows, l->v_head, n, z->keys, 1, scores, t->row, own + t->packed_k, y, l->y.token);
    for (int64_t i = 0; i < rows && s->rounded_out; i++) {
        const float *row = y + i * l->y.token;
        gr_gemm_round_row(l->v_head, row, (uint16_t *)s->rounded_out + (row - (const float *)s->out[Y]->data));
    }
}

static sequence sequence_of(const gr_step *s, const tiled *t, int64_t b)
{
    const gr_att_layout *l = &t->l;
    const gr_rows *rows = s->rows, *keys = s->key_rows;
    sequence z = {b * l->q.batch, b * t->k.batch, b * t->v.batch, b * l->y.batch, l->queries, l->total, 0};
    if (t->trims) {
        int64_t begin, end;
        gr_live_keys((const float *)s->in[MASK]->data + b * l->mask[0], l->total, &begin, &end);
        z.skipped = begin;
        z.keys = end - begin;
        if (keys) { /* what is held may begin before the first key that is seen */
            begin -= keys->index[keys->first[b]] - b * keys->tokens;
            z.k = keys->first[b] * t->k.token;
            z.v = keys->first[b] * t->v.token;
        }
        z.k += begin * t->k.token;
        z.v += begin * t->v.token;
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
    int64_t b = task / t->stretches / l->heads, h = task / t->stretches % l->heads, part = task % t->stretches;
    const sequence z = sequence_of(s, t, b);
    int64_t kv = h / (l->heads / l->kv_heads), tiles = (z.queries + t->tile - 1) / t->tile;
    if (tiles * part / t->stretches == tiles * (part + 1) / t->stretches) return;
    gr_gemm_small_pack(l->head, z.keys, t->keys + z.k + kv * t->k.head, 1, t->k.token, own);
    gr_gemm_small_pack(z.keys, l->v_head, t->values + z.v + kv * t->v.head, t->v.token, 1, own + t->packed_k);
    for (int64_t i = tiles * part / t->stretches; i < tiles * (part + 1) / t->stretches; i++) {
        int64_t first = i * t->tile, rows = z.queries - first < t->tile ? z.queries - first : t->tile;
        tile_run(s, t, &z, b, h, first, rows, own);
    }
}

typedef struct tasks {
    const gr_step *s;
    const tiled *t;
    char *own; /* scratch of the first thread */
} tasks;

static void tasks_run(void *user, int64_t i, int thread)
{
    const tasks *all = user;
    task_run(all->s, all->t, i, all->own + (size_t)thread * all->t->thread);
}

gr_status gr_att_tiled_run(const gr_step *s, gr_err *err)
{
    tiled t = *(const tiled *)s->state;
    const gr_att_layout *l = &t.l;
    char *joins = s->scratch, *own = joins + t.present;
    GR_TRY(gr_att_check_valid(s, l, err));
    t.k = l->k, t.v = l->v;
    t.keys = joined(s, l, PRESENT_KEY, PAST_KEY, KEY, l->head, &t.k, &joins);
    t.values = joined(s, l, PRESENT_VALUE, PAST_VALUE, VALUE, l->v_head, &t.v, &joins);
    gr_parallel(l->batch * l->heads * t.stretches, s->flops >= PARALLEL_FLOPS ? gr_step_threads(s) : 1, tasks_run,
                &(tasks){s, &t, own});
    return GR_OK;
}
