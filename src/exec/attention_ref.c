/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention, the kernel that takes all types: every tensor of ONNX's function body is rounded to the type it has there.
 */
#include "attention.h"
#include "ops/elem.h"

bool gr_att_ref_prepare(gr_step *s, gr_why *why)
{
    (void)why;
    gr_att_layout l = gr_att_layout_of(s);
    s->scratch_size = ((size_t)l.total + 1) * sizeof(double);
    return true;
}

/* Element j of row t of k or v, the past before the new. */
static double key_at(const gr_tensor *past, const gr_tensor *now, const gr_att_layout *l, gr_att_place at, int64_t size,
                     int64_t b, int64_t h, int64_t t, int64_t j)
{
    if (t < l->past) return gr_at(past, ((b * l->kv_heads + h) * l->past + t) * size + j);
    return gr_at(now, b * at.batch + h * at.head + (t - l->past) * at.token + j);
}

static double dot(const gr_step *s, const gr_att_layout *l, int64_t b, int64_t h, int64_t query, int64_t key)
{
    gr_dtype dtype = s->in[QUERY]->dtype;
    int64_t first = b * l->q.batch + h * l->q.head + query * l->q.token;
    double sum = 0, root = l->scale < 0 ? 1 : gr_rounded(dtype, sqrt(l->scale)), rest = l->scale < 0 ? l->scale : 1;
    for (int64_t j = 0; j < l->head; j++) {
        double x = gr_at(s->in[QUERY], first + j);
        double y =
            key_at(gr_step_in(s, PAST_KEY), s->in[KEY], l, l->k, l->head, b, h / (l->heads / l->kv_heads), key, j);
        sum += gr_rounded(dtype, x * root) * gr_rounded(dtype, y * root);
    }
    return gr_rounded(dtype, sum * rest);
}

static double bias_at(const gr_step *s, const gr_att_layout *l, gr_att_span seen, int64_t b, int64_t h, int64_t query,
                      int64_t key)
{
    const gr_tensor *mask = gr_step_in(s, MASK);
    double bias = key < seen.begin || key >= seen.end ? -INFINITY : 0;
    if (!mask || key >= l->mask_keys) return bias;
    double m = gr_at(mask, b * l->mask[0] + h * l->mask[1] + query * l->mask[2] + key * l->mask[3]);
    return bias + (mask->dtype != GR_BOOL ? m : m != 0 ? 0 : -INFINITY);
}

static void put_scores(const gr_step *s, const gr_att_layout *l, enum gr_att_mode mode, int64_t row, const double *x)
{
    const gr_tensor *scores = gr_step_out(s, SCORES);
    if (scores && GR_PARAMS(gr_att_params, s)->mode == mode)
        gr_store_f64(scores->dtype, l->total, x, scores->data, row * l->total);
}

/* x[i] = exp(x[i] - max) / sum(exp(x - max)) in the type of the softmax, then in that of q */
static void softmax(const gr_step *s, int64_t n, double *x)
{
    const gr_att_params *p = GR_PARAMS(gr_att_params, s);
    gr_dtype dtype = s->in[QUERY]->dtype, precision = p->precision == GR_UNDEFINED ? dtype : p->precision;
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) max = fmax(max, x[i] = gr_rounded(precision, x[i]));
    for (int64_t i = 0; i < n; i++) sum += x[i] = gr_rounded(precision, exp(gr_rounded(precision, x[i] - max)));
    sum = gr_rounded(precision, sum);
    for (int64_t i = 0; i < n; i++) x[i] = gr_rounded(dtype, gr_rounded(precision, x[i] / sum));
}

/* Probabilities of all keys for one query into p. */
static void ref_row(const gr_step *s, const gr_att_layout *l, int64_t b, int64_t h, int64_t query, double *p)
{
    const gr_att_params *a = GR_PARAMS(gr_att_params, s);
    gr_dtype dtype = s->in[QUERY]->dtype;
    int64_t row = (b * l->heads + h) * l->queries + query;
    gr_att_span seen = gr_att_visible(s, l, b, query);
    double greatest = -INFINITY, cap = (double)a->softcap;
    for (int64_t t = 0; t < l->total; t++) p[t] = dot(s, l, b, h, query, t);
    put_scores(s, l, RAW, row, p);
    for (int64_t t = 0; t < l->total && cap > 0; t++) p[t] = gr_rounded(dtype, tanh(p[t] / cap) * cap);
    put_scores(s, l, CAPPED, row, p);
    for (int64_t t = 0; t < l->total; t++) {
        double bias = bias_at(s, l, seen, b, h, query, t);
        greatest = fmax(greatest, bias);
        p[t] = gr_rounded(dtype, p[t] + bias);
    }
    put_scores(s, l, BIASED, row, p);
    softmax(s, l->total, p);
    if (a->zero_empty && greatest == -INFINITY) memset(p, 0, (size_t)l->total * sizeof *p);
    const gr_tensor *factors = gr_step_in(s, FACTORS);
    const int64_t at = b * l->factors[0] + h * l->factors[1] + query * l->factors[2];
    for (int64_t t = 0; factors && t < l->total; t++)
        p[t] = gr_rounded(dtype, p[t] * gr_at(factors, at + t * l->factors[3]));
    put_scores(s, l, PROBABILITIES, row, p);
}

gr_status gr_att_ref_run(const gr_step *s, gr_err *err)
{
    gr_att_layout l = gr_att_layout_of(s);
    double *p = s->scratch;
    const gr_tensor *y = gr_step_out(s, Y);
    GR_TRY(gr_att_check_valid(s, &l, err));
    gr_att_write_present(s, &l, PRESENT_KEY, PAST_KEY, KEY, l.k, l.head);
    gr_att_write_present(s, &l, PRESENT_VALUE, PAST_VALUE, VALUE, l.v, l.v_head);
    if (!(y && y->elements) && !gr_step_out(s, SCORES)) return GR_OK;
    int64_t rows = l.batch * l.heads * l.queries;
    for (int64_t i = 0; i < rows; i++) {
        int64_t b = i / l.queries / l.heads, h = i / l.queries % l.heads, query = i % l.queries;
        ref_row(s, &l, b, h, query, p);
        for (int64_t j = 0; y && j < l.v_head; j++) {
            double sum = 0;
            for (int64_t t = 0; t < l.total; t++)
                sum += p[t] * key_at(gr_step_in(s, PAST_VALUE), s->in[VALUE], &l, l.v, l.v_head, b,
                                     h / (l.heads / l.kv_heads), t, j);
            gr_at_put(y, b * l.y.batch + h * l.y.head + query * l.y.token + j, sum);
        }
    }
    return GR_OK;
}
