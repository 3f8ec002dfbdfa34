/* SPDX-License-Identifier: Apache-2.0
 *
 * What generation asks of a session beyond graphrun.h.
 */
#ifndef GR_SESSION_H
#define GR_SESSION_H

#include "exec/plan.h"

/* For the runs to come. */
typedef struct gr_session_mode {
    gr_plan_caches caches;   /* a past's input is where its cache begins; it need not be dense */
    const char *switch_name; /* as in gr_variant; NULL: none */
    bool switch_on;
} gr_session_mode;
void gr_session_set_mode(gr_session *s, const gr_session_mode *mode);

#endif
