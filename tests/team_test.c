/* SPDX-License-Identifier: Apache-2.0
 *
 * Parallel loops: every piece once, numbers of threads that nobody shares, loops in loops, several callers, forks.
 */
#define _GNU_SOURCE
#include "exec/threads.h"
#include "support.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, ITEMS = 1000, CALLERS = 3, LOOPS = 300 };

typedef struct loop {
    int threads;
    _Atomic int done[ITEMS];
    _Atomic int holders[THREADS]; /* pieces that have this number now */
    _Atomic int wrong;
    int64_t count, most; /* of a loop in parts */
} loop;

static void count_piece(void *user, int64_t i, int thread)
{
    loop *l = user;
    if (thread < 0 || thread >= l->threads || l->holders[thread]++ != 0) {
        l->wrong++;
        return;
    }
    l->done[i]++;
    l->holders[thread]--;
}

static void count_stretch(void *user, int64_t first, int64_t end, int thread)
{
    for (int64_t i = first; i < end; i++) count_piece(user, i, thread);
}

static void count_part(void *user, int64_t first, int64_t end, int64_t next, int thread)
{
    loop *l = user;
    if (end <= first || end - first > l->most || next < end || next > l->count) l->wrong++;
    count_stretch(user, first, end, thread);
}

static int mistakes(const loop *l, int64_t items)
{
    int n = l->wrong;
    for (int64_t i = 0; i < ITEMS; i++) n += l->done[i] != (i < items);
    return n;
}

static void test_pieces(void)
{
    const int64_t items[] = {0, 1, 2, 3, THREADS, 17, ITEMS};
    for (int threads = 1; threads <= THREADS; threads++)
        for (size_t i = 0; i < sizeof items / sizeof *items; i++) {
            loop pieces = {.threads = threads}, rows = {.threads = threads};
            gr_parallel(items[i], threads, count_piece, &pieces);
            CU_ASSERT_EQUAL(mistakes(&pieces, items[i]), 0);
            gr_parallel_rows(items[i], threads, count_stretch, &rows);
            CU_ASSERT_EQUAL(mistakes(&rows, items[i]), 0);
            for (int64_t most = 1; most <= 2 * items[i]; most = 3 * most + 1) {
                loop parts = {.threads = threads, .count = items[i], .most = most};
                gr_parallel_parts(items[i], most, threads, count_part, &parts);
                CU_ASSERT_EQUAL(mistakes(&parts, items[i]), 0);
            }
        }
}

/* Plain results of workers must be there when the loop returns: no atomics between them and the caller. */
static void add_one(void *user, int64_t i, int thread)
{
    (void)thread;
    ((int *)user)[i]++;
}

static void *run_loops(void *user)
{
    int counts[ITEMS] = {0}, *wrong = user;
    for (int n = 0; n < LOOPS; n++) {
        const int items = 1 + n * 7 % ITEMS;
        gr_parallel(items, 2 + n % (THREADS - 1), add_one, counts);
        for (int i = 0; i < items; i++) {
            *wrong += counts[i] != 1;
            counts[i] = 0;
        }
    }
    return NULL;
}

static void test_callers(void)
{
    pthread_t threads[CALLERS];
    int wrong[CALLERS] = {0};
    for (int i = 0; i < CALLERS; i++) CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, run_loops, &wrong[i]), 0);
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(threads[i], NULL);
        CU_ASSERT_EQUAL(wrong[i], 0);
    }
}

static void inner(void *user, int64_t i, int thread)
{
    (void)i;
    if (thread != 0 || !gr_in_parallel() || gr_team_size() != 1) atomic_fetch_add((_Atomic int *)user, 1);
}

static void outer(void *user, int64_t i, int thread)
{
    (void)i, (void)thread;
    gr_parallel(3, THREADS, inner, user);
}

static void test_nested(void)
{
    _Atomic int wrong = 0;
    CU_ASSERT_FALSE(gr_in_parallel());
    gr_parallel(10, THREADS, outer, &wrong);
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_FALSE(gr_in_parallel());
}

/* A forked process has none of its parent's threads, but loops go on. */
static void test_fork(void)
{
    int wrong = 0, status = -1;
    run_loops(&wrong);
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        run_loops(&wrong);
        _exit(wrong != 0);
    }
    CU_ASSERT_TRUE_FATAL(child > 0);
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_EQUAL(status, 0);
}

enum { NAP = 5000, PATIENCE = 2000 }; /* microseconds; naps until a worker should have come */

typedef struct taken {
    _Atomic int core, others; /* where the worker was at the end of its piece; cores that it may use at its start */
    int caller;
} taken;

/* The caller's piece ends when the worker has begun one; the worker leaves its core in the middle of its own. */
static void lose_core(void *user, int64_t i, int thread)
{
    taken *t = user;
    cpu_set_t cores;
    (void)i;
    if (thread == 0) {
        for (int n = 0; n < PATIENCE && t->others == 0; n++) usleep(NAP / 5);
        t->caller = sched_getcpu();
        return;
    }
    sched_getaffinity(0, sizeof cores, &cores);
    t->others = CPU_COUNT(&cores);
    usleep(4 * NAP);
    t->core = sched_getcpu();
}

/* Workers keep off the caller's core; one that has lost its own gets the caller's, and leaves it afterwards. */
static void test_lost_core(void)
{
    cpu_set_t all;
    CU_ASSERT_EQUAL_FATAL(sched_getaffinity(0, sizeof all, &all), 0);
    const int cores = CPU_COUNT(&all);
    if (cores < 2) return;
    taken start = {0}, first = {0}, second = {0};
    gr_parallel(2, 2, lose_core, &start); /* until the worker runs */
    gr_parallel(2, 2, lose_core, &first);
    CU_ASSERT_EQUAL(first.others, cores - 1);
    /* The caller may itself be moved by the system between its piece and its waiting, but not again and again. */
    for (int n = 0; n < 10 && first.core != first.caller; n++) gr_parallel(2, 2, lose_core, &first);
    CU_ASSERT_EQUAL(first.core, first.caller);
    gr_parallel(2, 2, lose_core, &second);
    CU_ASSERT_EQUAL(second.others, cores - 1);
    CU_ASSERT_EQUAL(sched_getaffinity(0, sizeof all, &all), 0);
    CU_ASSERT_EQUAL(CPU_COUNT(&all), cores);
}

static void *with_own_team(void *user)
{
    (void)user;
    test_lost_core();
    return NULL;
}

static void test_cores(void)
{
    pthread_t thread;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, with_own_team, NULL), 0);
    pthread_join(thread, NULL);
}

static CU_TestInfo tests[] = {{"every piece once", test_pieces},
                              {"several callers", test_callers},
                              {"loops in loops", test_nested},
                              {"a worker that loses its core", test_cores},
                              {"after a fork", test_fork},
                              CU_TEST_INFO_NULL};

CU_SuiteInfo suite_team = {"team", NULL, NULL, NULL, NULL, tests};
