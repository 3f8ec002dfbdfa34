/* SPDX-License-Identifier: Apache-2.0
 *
 * What generation and the choice of a precision ask of a session beyond graphrun.h.
 */
#ifndef GR_SESSION_H
#define GR_SESSION_H

#include "exec/plan.h"

/* The session keeps its packed weights there, and not with those of the model. To be called before its first run; the
 * packs must outlive it. */
void gr_session_use_packs(gr_session *session, gr_packs *packs);

/* For the runs to come. */
typedef struct gr_session_mode {
    gr_plan_caches caches;   /* a past's input is where its cache begins; it need not be dense */
    const char *switch_name; /* as in gr_variant; NULL: none */
    bool switch_on;
    const int64_t *picks;    /* rows of outputs that are wanted (gr_plan_options), valid during the runs */
    size_t npicks;
} gr_session_mode;
void gr_session_set_mode(gr_session *s, const gr_session_mode *mode);

#endif
