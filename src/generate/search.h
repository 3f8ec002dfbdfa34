/* SPDX-License-Identifier: Apache-2.0
 *
 * Which token each row of a group goes on with, and when a prompt is done.
 */
#ifndef GR_SEARCH_H
#define GR_SEARCH_H

#include "generate/choose.h"
#include "generate/decode.h"

typedef struct gr_finished { /* a beam that has ended */
    double score;            /* log probability / length ^ penalty */
    size_t length;
    int64_t *ids;
} gr_finished;

typedef struct gr_prompt_state {
    bool done;
    size_t length;         /* without beams: tokens so far */
    gr_random random;
    size_t nfinished;
    gr_finished *finished; /* num_beams, best first */
} gr_prompt_state;

typedef struct gr_search {
    const gr_generate_options *o;
    size_t nprompts;
    int64_t prompt_end;    /* column after the prompts */
    gr_prompt_state *prompts;
    double *scores;        /* of rows */
    int64_t *from, *next;  /* of rows: the row it goes on from, and its next token */
    gr_step_on *best;
    size_t nbest;
    float *p;              /* of the vocabulary, for sampling */
    int64_t *order;
} gr_search;

/* `which`: numbers of the prompts, which seeds depend on. gr_search_end also after a failure. */
gr_status gr_search_begin(gr_search *s, const gr_decode *x, const gr_generate_options *o, const size_t *which, size_t n,
                          gr_err *err);
/* From the logits of the last column: append a column, or set *done. */
gr_status gr_search_advance(gr_search *s, gr_decode *x, bool *done, gr_err *err);
/* New tokens of prompt i to `ids`; returns how many. */
size_t gr_search_result(const gr_search *s, const gr_decode *x, size_t i, int64_t *ids);
void gr_search_end(gr_search *s);

#endif
