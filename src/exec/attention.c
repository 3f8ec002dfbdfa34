/* SPDX-License-Identifier: Apache-2.0
 *
 * Operands of attention: strides, keys that a query may see, caches of keys and values.
 */
#include "attention.h"
#include "ops/elem.h"
#include "rows.h"

static gr_att_place place_of(const gr_tensor *t, int64_t size)
{
    if (t->head_pitch) return (gr_att_place){t->row_pitch, t->head_pitch, size};
    if (t->rank == 4) return (gr_att_place){t->dims[1] * t->dims[2] * size, t->dims[2] * size, size};
    return (gr_att_place){t->dims[1] * t->dims[2], size, t->dims[2]};
}

gr_att_layout gr_att_layout_of(const gr_step *s)
{
    const gr_att_params *p = GR_PARAMS(gr_att_params, s);
    const gr_tensor *q = s->in[QUERY], *k = s->in[KEY], *v = s->in[VALUE], *y = s->out[Y], *mask = gr_step_in(s, MASK);
    gr_att_layout l = {.batch = q->dims[0],
                       .heads = q->rank == 4 ? q->dims[1] : p->heads,
                       .kv_heads = k->rank == 4 ? k->dims[1] : p->kv_heads,
                       .queries = q->dims[q->rank - 2],
                       .keys = k->dims[k->rank - 2]};
    l.head = q->rank == 4 ? q->dims[3] : q->dims[2] / l.heads;
    l.v_head = v->rank == 4 ? v->dims[3] : v->dims[2] / l.kv_heads;
    l.past = gr_step_in(s, PAST_KEY) ? s->in[PAST_KEY]->dims[2] : 0;
    l.total = l.past + l.keys;
    l.q = place_of(q, l.head);
    l.k = place_of(k, l.head);
    l.v = place_of(v, l.v_head);
    if (y) l.y = place_of(y, l.v_head);
    l.scale = p->scaled ? (double)p->scale : 1 / sqrt((double)l.head);
    l.mask_keys = l.total;
    int64_t full[4] = {l.batch, l.heads, l.queries, l.total};
    if (gr_step_in(s, FACTORS)) gr_broadcast_strides(s->in[FACTORS], 4, full, l.factors);
    if (!mask) return l;
    int64_t columns = mask->rank ? mask->dims[mask->rank - 1] : 1;
    if (columns < l.total && (columns != 1 || (p->pads_mask && mask->rank))) l.mask_keys = full[3] = columns;
    gr_broadcast_strides(mask, 4, full, l.mask);
    return l;
}

gr_att_span gr_att_visible(const gr_step *s, const gr_att_layout *l, int64_t b, int64_t query)
{
    const gr_att_params *p = GR_PARAMS(gr_att_params, s);
    const gr_tensor *valid = gr_step_in(s, VALID);
    int64_t n = valid ? ((const int64_t *)valid->data)[b] : l->total;
    int64_t at = query + (valid ? n - l->queries : l->past); /* position of the query among the keys */
    gr_att_span v = {0, n < l->mask_keys ? n : l->mask_keys};
    if (p->causal && at + 1 < v.end) v.end = at + 1;
    if (p->right >= 0 && at + p->right + 1 < v.end) v.end = at + p->right + 1;
    if (p->left >= 0 && at - p->left > v.begin) v.begin = at - p->left;
    if (v.end < v.begin) v.begin = v.end = 0;
    return v;
}

/* All of n elements of `size` bytes are the same. */
static bool alike(const void *x, int64_t n, size_t size)
{
    return n < 2 || memcmp(x, (const char *)x + size, (size_t)(n - 1) * size) == 0;
}

gr_att_seen gr_att_look(const gr_step *s, const gr_att_layout *l, int64_t b, int64_t h, int64_t query)
{
    const gr_tensor *mask = gr_step_in(s, MASK);
    const gr_att_span v = gr_att_visible(s, l, b, query);
    gr_att_seen seen = {v.begin, v.end, true};
    if (!mask || v.begin == v.end) return seen;
    const int64_t at = b * l->mask[0] + h * l->mask[1] + query * l->mask[2] + v.begin * l->mask[3];
    const int64_t n = l->mask[3] ? v.end - v.begin : 1;
    if (mask->dtype == GR_BOOL) {
        const uint8_t *m = (const uint8_t *)mask->data + at;
        int64_t from = 0, to = n;
        while (from < to && !m[from]) from++;
        while (to > from && !m[to - 1]) to--;
        seen.plain = from < to && !memchr(m + from, 0, (size_t)(to - from));
        if (n > 1 && from < to) seen.begin = v.begin + from, seen.end = v.begin + to;
        return seen;
    }
    const float *m = (const float *)mask->data + at;
    if (n > 1) {
        int64_t from, to;
        gr_live_keys(m, n, &from, &to);
        seen.begin = v.begin + from, seen.end = v.begin + to;
        m += from;
    }
    seen.plain = m[0] == 0 && (n == 1 || alike(m, seen.end - seen.begin, sizeof *m));
    return seen;
}

gr_status gr_att_check_valid(const gr_step *s, const gr_att_layout *l, gr_err *err)
{
    const gr_tensor *valid = gr_step_in(s, VALID);
    for (int64_t b = 0; valid && b < l->batch; b++) {
        int64_t n = ((const int64_t *)valid->data)[b];
        if (n < 0 || n > l->total)
            return gr_fail(err, GR_EINPUT, "nonpad_kv_seqlen has %lld, expected 0 to %lld", (long long)n,
                           (long long)l->total);
    }
    return GR_OK;
}

void gr_att_concatenate(const gr_att_layout *l, const gr_tensor *past, const gr_tensor *now, gr_att_place at,
                        int64_t size, size_t bytes, void *present)
{
    char *to = present;
    for (int64_t i = 0; i < l->batch * l->kv_heads; i++) {
        size_t row = (size_t)size * bytes, old = row * (size_t)l->past;
        if (past && old) memcpy(to, (const char *)past->data + (size_t)i * old, old);
        to += old;
        int64_t from = i / l->kv_heads * at.batch + i % l->kv_heads * at.head;
        for (int64_t t = 0; t < l->keys; t++, to += row)
            if (row) memcpy(to, (const char *)now->data + (size_t)(from + t * at.token) * bytes, row);
    }
}

void gr_att_write_present(const gr_step *s, const gr_att_layout *l, uint32_t o, uint32_t past, uint32_t now,
                          gr_att_place at, int64_t size)
{
    const gr_tensor *present = gr_step_out(s, o);
    size_t bytes = (size_t)gr_dtype_bits(s->in[now]->dtype) / 8;
    if (present && present->elements)
        gr_att_concatenate(l, gr_step_in(s, past), s->in[now], at, size, bytes, present->data);
}
