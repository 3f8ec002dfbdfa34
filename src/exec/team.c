/* SPDX-License-Identifier: Apache-2.0
 *
 * Parallel loops on threads that a calling thread keeps. Each thread takes one piece after another from a counter, and
 * the caller waits only for those that have taken a piece: a worker whose core another process has taken, or that wakes
 * late, holds nobody up, as it would at the barrier of an OpenMP team. Who waits spins briefly and then sleeps. Workers
 * keep off the caller's core. One that was put off its own in the middle of a piece gets that of the waiting caller,
 * and goes back afterwards.
 */
#define _GNU_SOURCE
#include "threads.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Turns of the waiting loop, some 20 microseconds: as long as the steps between two loops of a model take. */
enum { SPINS = 1000, LINE = 64 };
enum {
    GLANCE = 200,        /* turns in which a running thread's processor time is seen to grow */
    LOOK_AGAIN = 200000, /* nanoseconds that the caller sleeps before it looks again which workers run */
};

/* The gate counts workers in the loop. While OPEN is set more may come; WAITS: the caller sleeps until it is 0. */
#define OPEN  (1u << 31)
#define WAITS (1u << 30)

typedef struct worker {
    _Alignas(LINE) _Atomic unsigned calls; /* changes when there is a loop to join, or the end */
    _Atomic bool asleep;
    struct team *team;
    pthread_t thread;
    int number; /* from 1 on; the caller is 0 */
    _Atomic pid_t id;
    _Atomic int core;    /* where it joined the loop */
    _Atomic bool within; /* the loop */
    /* The caller's: */
    bool fetched; /* to the caller's core */
    int avoids;   /* the core that it is kept off: the caller's, or -1 */
} worker;

typedef struct team {
    _Alignas(LINE) _Atomic unsigned gate;
    _Alignas(LINE) _Atomic int64_t next;
    _Alignas(LINE) int64_t items;
    int threads;
    gr_piece *piece;
    void *user;
    pid_t process;
    _Atomic bool ends;
    int wanted, count; /* workers asked for; workers that could be started */
    bool movable;
    cpu_set_t cores;
    worker workers[];
} team;

static _Thread_local team *own;
static _Thread_local bool inside;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool has_key;

static void futex_wait(_Atomic unsigned *word, unsigned value, const struct timespec *most)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, most, NULL, 0);
}

static void futex_wake(_Atomic unsigned *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0); }

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void take_pieces(team *t, int number)
{
    for (int64_t i; (i = atomic_fetch_add_explicit(&t->next, 1, memory_order_relaxed)) < t->items;)
        t->piece(t->user, i, number);
}

/* ---- workers ---- */

static void join_loop(worker *w)
{
    team *t = w->team;
    unsigned gate = atomic_load(&t->gate);
    do {
        if (!(gate & OPEN)) return;
    } while (!atomic_compare_exchange_weak(&t->gate, &gate, gate + 1));
    /* The fields of the loop stay as they are until we leave. */
    w->core = sched_getcpu();
    w->within = true;
    if (w->number < t->threads) take_pieces(t, w->number);
    w->within = false;
    if (atomic_fetch_sub(&t->gate, 1) == WAITS + 1) futex_wake(&t->gate);
}

static void await_call(worker *w, unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&w->calls, memory_order_acquire) != seen) return;
        relax();
    }
    atomic_store(&w->asleep, true);
    while (atomic_load(&w->calls) == seen) futex_wait(&w->calls, seen, NULL);
    atomic_store(&w->asleep, false);
}

static void *work(void *user)
{
    worker *w = user;
    w->id = (pid_t)syscall(SYS_gettid);
    gr_flush_denormals();
    omp_set_num_threads(1);
    inside = true;
    for (unsigned seen = 0;;) {
        await_call(w, seen);
        seen = atomic_load(&w->calls);
        if (w->team->ends) return NULL;
        join_loop(w);
    }
}

/* Waking on the caller's core, as it may where others are busy, a worker would wait behind the caller. */
static void keep_off(worker *w, int core)
{
    cpu_set_t others = w->team->cores;
    if (!w->team->movable || w->avoids == core || !w->id || core < 0 || core >= CPU_SETSIZE) return;
    CPU_CLR(core, &others);
    sched_setaffinity(w->id, sizeof others, &others);
    w->avoids = core;
}

static void call(worker *w)
{
    atomic_fetch_add(&w->calls, 1);
    if (atomic_load(&w->asleep)) futex_wake(&w->calls);
}

/* ---- teams ---- */

static void team_end(void *user)
{
    team *t = user;
    own = NULL;
    if (t->process != getpid()) return; /* a fork: its workers are in the other process */
    t->ends = true;
    for (int i = 0; i < t->count; i++) call(&t->workers[i]);
    for (int i = 0; i < t->count; i++) pthread_join(t->workers[i].thread, NULL);
    free(t);
}

static void make_key(void) { has_key = pthread_key_create(&key, team_end) == 0; }

/* It belongs to the thread, not to a session, and ends with it. */
static team *team_new(int wanted)
{
    sigset_t all, old;
    team *t = NULL;
    const size_t size = sizeof *t + (size_t)wanted * sizeof *t->workers;
    pthread_once(&once, make_key);
    if (!has_key || !(t = aligned_alloc(LINE, (size + LINE - 1) / LINE * LINE))) return NULL;
    *t = (team){.process = getpid(), .wanted = wanted};
    t->movable = sched_getaffinity(0, sizeof t->cores, &t->cores) == 0 && CPU_COUNT(&t->cores) > 1;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are for the program's threads */
    for (int i = 0; i < wanted; i++) {
        worker *w = &t->workers[i];
        *w = (worker){.team = t, .number = i + 1, .avoids = -1};
        if (pthread_create(&w->thread, NULL, work, w)) break;
        t->count++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_setspecific(key, t);
    return t;
}

static team *team_of(int threads)
{
    if (own && own->process == getpid() && own->wanted >= threads - 1) return own;
    if (own) team_end(own);
    own = team_new(threads - 1);
    return own;
}

bool gr_in_parallel(void) { return inside || omp_in_parallel(); }

int gr_team_size(void) { return gr_in_parallel() ? 1 : omp_get_max_threads(); }

/* ---- workers whose core has been taken ---- */

static int64_t processor_time(const worker *w)
{
    clockid_t clock;
    struct timespec t = {0};
    if (pthread_getcpuclockid(w->thread, &clock) == 0) clock_gettime(clock, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static bool stands_still(worker *w)
{
    if (!w->within || w->fetched) return false;
    const int64_t before = processor_time(w);
    for (int i = 0; i < GLANCE; i++) relax();
    return processor_time(w) == before && w->within;
}

/* One worker that has a piece and no core is moved to ours, which we are about to leave. */
static void fetch_worker(team *t)
{
    const int here = sched_getcpu();
    if (!t->movable || here < 0 || here >= CPU_SETSIZE || !CPU_ISSET(here, &t->cores)) return;
    for (int i = 0; i < t->count; i++) {
        worker *w = &t->workers[i];
        if (!stands_still(w)) continue;
        cpu_set_t ours;
        CPU_ZERO(&ours);
        CPU_SET(here, &ours);
        w->fetched = sched_setaffinity(w->id, sizeof ours, &ours) == 0;
        return;
    }
}

/* Fetched workers back to where they were. */
static void send_back(team *t)
{
    for (int i = 0; i < t->count; i++) {
        worker *w = &t->workers[i];
        if (!w->fetched) continue;
        cpu_set_t there;
        CPU_ZERO(&there);
        CPU_SET(w->core, &there);
        sched_setaffinity(w->id, sizeof there, &there);
        w->fetched = false;
        w->avoids = -1;
        keep_off(w, sched_getcpu());
    }
}

/* No worker may come any more; wait for those that are in. */
static void close_gate(team *t)
{
    unsigned gate = atomic_fetch_and(&t->gate, ~OPEN) & ~OPEN;
    for (int i = 0; gate && i < SPINS; i++, gate = atomic_load(&t->gate)) relax();
    while (gate & ~WAITS) {
        fetch_worker(t);
        gate = atomic_load(&t->gate);
        if ((gate & ~WAITS) && (gate & WAITS || atomic_compare_exchange_weak(&t->gate, &gate, gate | WAITS)))
            futex_wait(&t->gate, gate | WAITS, &(struct timespec){0, LOOK_AGAIN});
        gate = atomic_load(&t->gate);
    }
    atomic_store(&t->gate, 0);
    send_back(t);
}

void gr_parallel(int64_t items, int threads, gr_piece *piece, void *user)
{
    if (threads > items) threads = (int)items;
    team *t = threads > 1 && !gr_in_parallel() ? team_of(threads) : NULL;
    if (!t) {
        for (int64_t i = 0; i < items; i++) piece(user, i, 0);
        return;
    }
    t->items = items;
    t->threads = threads;
    t->piece = piece;
    t->user = user;
    atomic_store(&t->next, 0);
    atomic_store(&t->gate, OPEN);
    const int here = sched_getcpu();
    for (int i = 0; i < t->count && i < threads - 1; i++) {
        keep_off(&t->workers[i], here);
        call(&t->workers[i]);
    }
    inside = true;
    take_pieces(t, 0);
    inside = false;
    close_gate(t);
}

/* Stretches of a loop: `whole` ones of about the same length, then `shrinking` ones over the last `tail` elements, each
 * shorter than the one before by the same amount (Tzeng and Ni, Trapezoid self-scheduling, 1993). */
typedef struct parts {
    int64_t count, tail, whole, shrinking;
    int threads;
    gr_part *part;
    void *user;
} parts;

static int64_t begin_of(const parts *p, int64_t i)
{
    if (i < p->whole) return (p->count - p->tail) * i / p->whole;
    const int64_t left = p->whole + p->shrinking - i;
    return left <= 0 ? p->count : p->count - p->tail * left * left / (p->shrinking * p->shrinking);
}

static void run_one(void *user, int64_t i, int thread)
{
    const parts *p = user;
    const int64_t first = begin_of(p, i), end = begin_of(p, i + 1);
    if (first < end) p->part(p->user, first, end, begin_of(p, i + p->threads), thread);
}

void gr_parallel_parts(int64_t count, int64_t most, int threads, gr_part *part, void *user)
{
    enum { TAIL = 4 }; /* stretches of the greatest length for each thread */
    if (count <= 0) return;
    if (threads <= 1 || count == 1) {
        for (int64_t i = 0, end; i < count; i = end) {
            end = count - i < most ? count : i + most;
            part(user, i, end, end, 0);
        }
        return;
    }
    const int64_t tail = most < count / threads / TAIL ? most * threads * TAIL : count;
    parts p = {count, tail, (count - tail + most - 1) / most, (2 * tail + most - 1) / most, threads, part, user};
    gr_parallel(p.whole + p.shrinking, threads, run_one, &p);
}

typedef struct rows {
    gr_stretch *stretch;
    void *user;
} rows;

static void run_stretch(void *user, int64_t first, int64_t end, int64_t next, int thread)
{
    const rows *r = user;
    (void)next;
    r->stretch(r->user, first, end, thread);
}

void gr_parallel_rows(int64_t count, int threads, gr_stretch *stretch, void *user)
{
    enum { PIECES = 8 }; /* per thread, if all were of the greatest length */
    const int64_t pieces = threads > 1 ? (int64_t)threads * PIECES : 1;
    gr_parallel_parts(count, (count + pieces - 1) / pieces, threads, run_stretch, &(rows){stretch, user});
}
