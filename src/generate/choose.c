/* SPDX-License-Identifier: Apache-2.0 */
#include "generate/choose.h"
#include <math.h>
#include <stdlib.h>

double gr_random_next(gr_random *r)
{
    uint64_t z = r->state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

int64_t gr_choose_greatest(const float *logits, int64_t n)
{
    int64_t best = -1;
    for (int64_t i = 0; i < n; i++)
        if (logits[i] == logits[i] && (best < 0 || logits[i] > logits[best])) best = i;
    return best < 0 ? 0 : best;
}

/* Let order[0..k) be the k greatest of p, greatest first, of equal ones the earlier: a heap with the least on top. */
static bool before(const float *p, int64_t a, int64_t b) { return p[a] > p[b] || (p[a] == p[b] && a < b); }

static void sift(const float *p, int64_t *heap, int64_t n, int64_t at)
{
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && before(p, heap[child], heap[child + 1])) child++;
        if (!before(p, heap[at], heap[child])) return;
        const int64_t t = heap[at];
        heap[at] = heap[child];
        heap[child] = t;
    }
}

static void take_greatest(const float *p, int64_t n, int64_t k, int64_t *order)
{
    for (int64_t i = 0; i < k; i++) order[i] = i;
    for (int64_t i = k / 2; i-- > 0;) sift(p, order, k, i);
    for (int64_t i = k; i < n; i++) {
        if (!before(p, i, order[0])) continue;
        order[0] = i;
        sift(p, order, k, 0);
    }
    for (int64_t end = k; end-- > 1;) {
        const int64_t t = order[0];
        order[0] = order[end];
        order[end] = t;
        sift(p, order, end, 0);
    }
}

int64_t gr_choose_random(const float *logits, int64_t n, const gr_sampling *s, gr_random *r, float *p, int64_t *order)
{
    const float most = logits[gr_choose_greatest(logits, n)];
    const float heat = s->temperature > 1e-6f ? s->temperature : 1e-6f;
    int64_t kept = s->top_k > 0 && s->top_k < n ? s->top_k : n;
    double sum = 0, below = 0;
    for (int64_t i = 0; i < n; i++) p[i] = logits[i] == logits[i] ? expf((logits[i] - most) / heat) : 0;
    const bool all = kept == n && s->top_p >= 1;
    if (!all) take_greatest(p, n, kept, order);
    for (int64_t i = 0; i < kept; i++) sum += (double)p[all ? i : order[i]];
    if (s->top_p < 1) {
        double part = 0;
        int64_t few = 0;
        while (few < kept && (few == 0 || part < (double)s->top_p * sum)) part += (double)p[order[few++]];
        kept = few;
        sum = part;
    }
    const double at = gr_random_next(r) * sum;
    int64_t last = all ? 0 : order[0];
    for (int64_t i = 0; i < kept; i++) {
        const int64_t token = all ? i : order[i];
        if (p[token] <= 0) continue;
        last = token;
        below += (double)p[token];
        if (at < below) break;
    }
    return last;
}

size_t gr_choose_best(const float *logits, int64_t n, size_t beams, const double *scores, gr_step_on *best, size_t room)
{
    size_t count = 0;
    for (size_t b = 0; b < beams; b++) {
        const float *x = logits + (int64_t)b * n;
        const double most = (double)x[gr_choose_greatest(x, n)];
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += (double)expf(x[i] - (float)most);
        const double base = scores[b] - most - log(sum);
        for (int64_t i = 0; i < n; i++) {
            const double score = base + (double)x[i];
            if (!(score > -INFINITY) || (count == room && !(score > best[room - 1].score))) continue;
            size_t at = count < room ? count++ : room - 1;
            for (; at > 0 && best[at - 1].score < score; at--) best[at] = best[at - 1];
            best[at] = (gr_step_on){score, (int64_t)b, i};
        }
    }
    return count;
}
