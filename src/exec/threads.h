/* SPDX-License-Identifier: Apache-2.0
 *
 * How many threads a run uses, the state that they need in it, and how loops are split among them.
 */
#ifndef GR_THREADS_H
#define GR_THREADS_H

#include <stdbool.h>
#include <stdint.h>

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

/* Flush-to-zero and denormals-are-zero for this thread; the old state. */
unsigned gr_flush_denormals(void);

/* Piece i of a loop; `thread` is less than the `threads` of the loop and no other piece has it meanwhile. */
typedef void gr_piece(void *user, int64_t i, int thread);
/* Calls piece for all i in [0, items), on up to `threads` threads, the caller among them, in any order; returns when
 * all have been done. One loop within another runs on the thread that calls it, as 0. */
void gr_parallel(int64_t items, int threads, gr_piece *piece, void *user);

/* Elements [first, end); the thread's next ones will begin at `next` if all get along alike. */
typedef void gr_part(void *user, int64_t first, int64_t end, int64_t next, int thread);
/* The same for a loop over `count` elements that cost about the same: in stretches of at most `most`, shorter and
 * shorter towards the end, because threads whose cores are shared get along at different speeds. */
void gr_parallel_parts(int64_t count, int64_t most, int threads, gr_part *part, void *user);

typedef void gr_stretch(void *user, int64_t first, int64_t end, int thread);
/* The same for elements that cost little each. */
void gr_parallel_rows(int64_t count, int threads, gr_stretch *stretch, void *user);

/* Threads that a loop here can have: those of the run, or 1 within a loop. */
int gr_team_size(void);
bool gr_in_parallel(void);

#endif
