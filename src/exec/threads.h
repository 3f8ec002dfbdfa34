/* SPDX-License-Identifier: Apache-2.0
 *
 * How many threads a run uses, and the state that they need in it.
 */
#ifndef GR_THREADS_H
#define GR_THREADS_H

/* Make `threads` the size of OpenMP's teams for this thread, and flush denormals in all of the team. Returns what
 * gr_threads_leave needs to restore both. */
typedef struct gr_threads_state {
    int threads;
    unsigned fp;
} gr_threads_state;
gr_threads_state gr_threads_enter(int threads);
/* The same for work that is mostly the caller's alone: no team is waked for it. */
gr_threads_state gr_threads_enter_alone(int threads);
void gr_threads_leave(gr_threads_state state);

#endif
