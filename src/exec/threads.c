/* SPDX-License-Identifier: Apache-2.0
 *
 * Loops that runs spend their time in are team.c's, others and oneDNN's are OpenMP's. The default count honours
 * affinity and the CPU quota of the container, as a team larger than the quota is throttled as a whole.
 */
#define _GNU_SOURCE
#include "threads.h"
#include "graphrun.h"
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

unsigned gr_flush_denormals(void)
{
#if defined(__x86_64__)
    unsigned old = _mm_getcsr();
    _mm_setcsr(old | 0x8040);
    return old;
#elif defined(__aarch64__)
    unsigned long old;
    __asm__ volatile("mrs %0, fpcr" : "=r"(old));
    __asm__ volatile("msr fpcr, %0" : : "r"(old | 1ul << 24));
    return (unsigned)old;
#else
    return 0;
#endif
}

static void restore_denormals(unsigned old)
{
#if defined(__x86_64__)
    _mm_setcsr(old);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"((unsigned long)old));
#else
    (void)old;
#endif
}

gr_threads_state gr_threads_enter_alone(int threads)
{
    gr_threads_state state = {omp_get_max_threads(), 0};
    if (threads != state.threads) omp_set_num_threads(threads);
    state.fp = gr_flush_denormals();
    return state;
}

gr_threads_state gr_threads_enter(int threads)
{
    /* OpenMP's threads keep their state, and new ones have that of the thread that starts them. */
    static _Thread_local int flushed = 1;
    gr_threads_state state = gr_threads_enter_alone(threads);
    if (threads > flushed) {
#pragma omp parallel
        gr_flush_denormals();
        flushed = threads;
    }
    return state;
}

void gr_threads_leave(gr_threads_state state)
{
    /* The team belongs to the thread that made it; only its caller's own state is the program's. */
    restore_denormals(state.fp);
    if (omp_get_max_threads() != state.threads) omp_set_num_threads(state.threads);
}

/* Threads that a quota of the form "200000 100000" or two files allow; 0: no quota. */
static int from_quota(double quota, double period)
{
    if (quota <= 0 || period <= 0) return 0;
    double n = quota / period;
    return n < 1 ? 1 : (int)(n + 0.999);
}

static double read_number(const char *path)
{
    char text[64] = "";
    FILE *f = fopen(path, "re");
    if (!f) return -1;
    bool got = fgets(text, sizeof text, f) != NULL;
    fclose(f);
    return got ? strtod(text, NULL) : -1;
}

static int quota_v2(const char *folder)
{
    char path[4200], text[64] = "", *end;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", folder);
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    bool got = fgets(text, sizeof text, f) != NULL;
    fclose(f);
    if (!got || text[0] == 'm') return 0;
    double quota = strtod(text, &end);
    return from_quota(quota, strtod(end, NULL));
}

/* The tightest quota from this process's group up to the root. */
static int cgroup_threads(void)
{
    char line[4096];
    int best = from_quota(read_number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
                          read_number("/sys/fs/cgroup/cpu/cpu.cfs_period_us"));
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, "0::", 3)) continue;
        char *folder = line + 3;
        folder[strcspn(folder, "\n")] = 0;
        for (;;) {
            int n = quota_v2(strcmp(folder, "/") ? folder : "");
            if (n && (!best || n < best)) best = n;
            char *slash = strrchr(folder, '/');
            if (!slash || folder[0] == 0) break;
            *slash = 0;
        }
    }
    if (f) fclose(f);
    return best;
}

int gr_default_threads(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : omp_get_num_procs();
    int quota = cgroup_threads();
    if (quota && quota < n) n = quota;
    return n < 1 ? 1 : n;
}
