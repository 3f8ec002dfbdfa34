/* SPDX-License-Identifier: Apache-2.0 */
#include "generate/search.h"
#include <math.h>

gr_status gr_search_begin(gr_search *s, const gr_decode *x, const gr_generate_options *o, const size_t *which, size_t n,
                          gr_err *err)
{
    const size_t rows = (size_t)x->rows, beams = (size_t)o->num_beams;
    *s = (gr_search){.o = o, .nprompts = n, .prompt_end = x->end, .nbest = (2 + o->eos_count) * beams};
    s->prompts = gr_calloc(n, sizeof *s->prompts);
    s->scores = gr_calloc(rows, sizeof *s->scores);
    s->from = gr_calloc(rows, sizeof *s->from);
    s->next = gr_calloc(rows, sizeof *s->next);
    s->best = gr_calloc(s->nbest, sizeof *s->best);
    bool ok = s->prompts && s->scores && s->from && s->next && s->best;
    for (size_t i = 0; ok && i < n; i++) {
        s->prompts[i].random.state = o->seed + which[i] * UINT64_C(0xD1B54A32D192ED03);
        if (beams < 2) continue;
        ok = (s->prompts[i].finished = gr_calloc(beams, sizeof(gr_finished))) != NULL;
        for (size_t k = 0; ok && k < beams; k++)
            ok = (s->prompts[i].finished[k].ids = gr_calloc((size_t)o->max_new_tokens, sizeof(int64_t))) != NULL;
    }
    if (ok) return GR_OK;
    gr_search_end(s);
    return gr_nomem(err);
}

void gr_search_end(gr_search *s)
{
    for (size_t i = 0; s->prompts && i < s->nprompts; i++) {
        for (int64_t k = 0; s->prompts[i].finished && k < s->o->num_beams; k++) gr_free(s->prompts[i].finished[k].ids);
        gr_free(s->prompts[i].finished);
    }
    gr_free(s->prompts);
    gr_free(s->scores);
    gr_free(s->from);
    gr_free(s->next);
    gr_free(s->best);
    gr_free(s->p);
    gr_free(s->order);
    *s = (gr_search){0};
}

static bool ends(const gr_generate_options *o, int64_t token)
{
    for (size_t i = 0; i < o->eos_count; i++)
        if (o->eos[i] == token) return true;
    return false;
}

/* ---- one row for each prompt ---- */

static gr_status choose_alone(gr_search *s, const gr_decode *x, gr_err *err)
{
    const gr_generate_options *o = s->o;
    const gr_sampling how = {o->temperature, o->top_p, o->top_k};
    if (o->do_sample && !s->p) {
        s->p = gr_calloc((size_t)x->vocab, sizeof *s->p);
        s->order = gr_calloc((size_t)x->vocab, sizeof *s->order);
        if (!s->p || !s->order) return gr_nomem(err);
    }
    for (size_t i = 0; i < s->nprompts; i++) {
        gr_prompt_state *p = &s->prompts[i];
        const float *logits = x->logits + (int64_t)i * x->vocab;
        s->from[i] = (int64_t)i;
        s->next[i] = 0;
        if (p->done) continue;
        s->next[i] = o->do_sample ? gr_choose_random(logits, x->vocab, &how, &p->random, s->p, s->order)
                                  : gr_choose_greatest(logits, x->vocab);
        p->length++;
        p->done = ends(o, s->next[i]);
    }
    return GR_OK;
}

/* ---- beams ---- */

/* Row `row` ends with `token` or, if that is negative, as it is; kept if it is among the best. */
static void finish(gr_search *s, const gr_decode *x, gr_prompt_state *p, int64_t row, int64_t token, double score)
{
    const size_t beams = (size_t)s->o->num_beams, old = (size_t)(x->end - s->prompt_end), length = old + (token >= 0);
    score /= pow((double)length, (double)s->o->length_penalty);
    if (p->nfinished == beams && !(score > p->finished[beams - 1].score)) return;
    size_t at = p->nfinished < beams ? p->nfinished++ : beams - 1;
    int64_t *ids = p->finished[at].ids;
    for (; at > 0 && p->finished[at - 1].score < score; at--) p->finished[at] = p->finished[at - 1];
    memcpy(ids, x->tokens + row * x->capacity + s->prompt_end, old * sizeof *ids);
    if (token >= 0) ids[old] = token;
    p->finished[at] = (gr_finished){score, length, ids};
}

/* Whether no beam that still runs can become better than the worst that has ended. */
static bool settled(const gr_search *s, const gr_decode *x, const gr_prompt_state *p, double best)
{
    const size_t beams = (size_t)s->o->num_beams;
    const double length = (double)(x->end - s->prompt_end + 1);
    return p->nfinished == beams && p->finished[beams - 1].score >= best / pow(length, (double)s->o->length_penalty);
}

static void choose_beams(gr_search *s, const gr_decode *x, size_t prompt)
{
    gr_prompt_state *p = &s->prompts[prompt];
    const int64_t beams = s->o->num_beams, first = (int64_t)prompt * beams;
    const bool start = x->end == s->prompt_end; /* all beams are the same yet */
    int64_t kept = 0;
    for (int64_t k = 0; k < beams; k++) {
        s->from[first + k] = first + k;
        s->next[first + k] = 0;
    }
    if (p->done) return;
    const size_t n = gr_choose_best(x->logits + first * x->vocab, x->vocab, start ? 1 : (size_t)beams, s->scores + first,
                                    s->best, s->nbest);
    for (size_t i = 0; i < n && kept < beams; i++) {
        const gr_step_on *b = &s->best[i];
        if (ends(s->o, b->token)) {
            if ((int64_t)i < beams) finish(s, x, p, first + b->from, b->token, b->score);
            continue;
        }
        s->from[first + kept] = first + b->from;
        s->next[first + kept++] = b->token;
    }
    p->done = kept < beams || settled(s, x, p, s->best[0].score);
    for (size_t i = 0, k = 0; i < n && k < (size_t)kept; i++)
        if (!ends(s->o, s->best[i].token)) s->scores[first + (int64_t)k++] = s->best[i].score;
}

/* Beams that run at the end count as they are. */
static void finish_all(gr_search *s, const gr_decode *x)
{
    const int64_t beams = s->o->num_beams;
    for (size_t i = 0; i < s->nprompts; i++)
        for (int64_t k = 0; k < beams && !s->prompts[i].done; k++)
            finish(s, x, &s->prompts[i], (int64_t)i * beams + k, -1, s->scores[(int64_t)i * beams + k]);
}

/* ---- both ---- */

gr_status gr_search_advance(gr_search *s, gr_decode *x, bool *done, gr_err *err)
{
    const bool beams = s->o->num_beams > 1;
    *done = true;
    if (beams) {
        for (size_t i = 0; i < s->nprompts; i++) choose_beams(s, x, i);
        gr_decode_reorder(x, s->from);
    } else {
        GR_TRY(choose_alone(s, x, err));
    }
    for (int64_t i = 0; i < x->rows; i++) x->tokens[i * x->capacity + x->end] = s->next[i];
    x->end++;
    for (size_t i = 0; i < s->nprompts; i++) *done &= s->prompts[i].done;
    if (!*done && x->end - s->prompt_end < s->o->max_new_tokens) return GR_OK;
    if (beams) finish_all(s, x);
    *done = true;
    return GR_OK;
}

size_t gr_search_result(const gr_search *s, const gr_decode *x, size_t i, int64_t *ids)
{
    const gr_prompt_state *p = &s->prompts[i];
    const bool beams = s->o->num_beams > 1;
    const size_t n = !beams ? p->length : p->nfinished ? p->finished[0].length : 0;
    memcpy(ids, beams ? p->finished[0].ids : x->tokens + (int64_t)i * x->capacity + s->prompt_end, n * sizeof *ids);
    return n;
}
