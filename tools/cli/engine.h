/* SPDX-License-Identifier: Apache-2.0
 *
 * What the commands that run a model share: opening it with the options of the command line, cancelling by Ctrl-C, the
 * progress bar.
 */
#ifndef CLI_ENGINE_H
#define CLI_ENGINE_H

#include "args.h"
#include <semaphore.h>

typedef struct engine {
    char *path;
    int64_t threads;
    size_t max_memory;    /* of the process */
    size_t sharing;       /* sessions that share what is left of it; 0: one */
    size_t session_memory;
    bool no_passes, strict;
    const char *verbose;
    bool profile; /* time every step */
    bool skip_padding;
    bool few_runs;
    const char *precision; /* NULL: f32 */
    gr_model *model;
    gr_session *session;
    gr_session **more; /* of engine_add_session */
    size_t more_count, more_cap;
    double load_seconds;
} engine;

/* Rows for a command's table of options; `e` is the engine. */
#define ENGINE_OPTIONS(e)                                                                                              \
    {"--threads", "N", CLI_INT, &(e).threads, "threads to run with (0: what affinity and cgroup allow)", 0},           \
        {"--max-memory",                                                                                               \
         "BYTES",                                                                                                      \
         CLI_SIZE,                                                                                                     \
         &(e).max_memory,                                                                                              \
         "limit for the memory of the process, save files, as 512M or 2G;\nbatches are split to stay below it",           \
         0},                                                                                                           \
        {"--precision", "WHAT", CLI_WORD, &(e).precision,                                                              \
         "f32 (default), bf16 or int8: what weights of products are kept in;\nauto: bf16 where that is fast and near to f32", 0}, \
        {"--no-passes", NULL, CLI_FLAG, &(e).no_passes, "run the nodes of the file as they are", 0},                   \
        {"--strict", NULL, CLI_FLAG, &(e).strict, "round as a quantised file says, also between DequantizeLinear", 0}, \
    {                                                                                                                  \
        "--verbose", "WHAT", CLI_WORD, &(e).verbose, "dispatch: say on stderr which kernel runs each node, and why", 0 \
    }

/* The model of a path; a folder stands for the model.onnx in it. To be freed. */
char *engine_model_path(const char *path);
/* Load only, or load and make ready. On failure nothing is left to close. */
bool engine_load(engine *e, const char *path, gr_err *err);
/* What the options ask for; without one, what the model was compiled for. Ends the process if it is no precision. */
gr_precision engine_precision(const engine *e);
bool engine_open(engine *e, const char *path, gr_err *err);
/* Make ready what engine_load has loaded. */
bool engine_start(engine *e, gr_err *err);
/* One more session with the same options; it is closed with the others. */
bool engine_add_session(engine *e, gr_session **out, gr_err *err);
void engine_close(engine *e);
/* Put the model's path before a sentence that does not name it, and return false. */
bool engine_fail(const engine *e, gr_err *err);
/* End the process with that sentence. */
_Noreturn void engine_die(const engine *e, const gr_err *err);

/* From here on Ctrl-C cancels the runs of the engine's sessions; a second one kills. engine_check_interrupt ends the
 * process with status 130 if there was one. */
void engine_catch_interrupt(engine *e);
/* It posts this semaphore, too; NULL: none. */
void engine_wake_on_interrupt(sem_t *news);
bool engine_interrupted(void);
void engine_check_interrupt(void);

/* A bar on stderr if that is a terminal; nothing otherwise. */
typedef struct progress {
    bool on;
    const char *unit;
    double start, last;
    size_t total; /* 0: not known */
} progress;
void progress_start(progress *p, size_t total, const char *unit);
void progress_step(progress *p, size_t done, int64_t tokens);
void progress_clear(const progress *p);

/* What starting a thread adds to a process: the pages of its stack and of the C library that it writes to. */
enum { ENGINE_THREAD_BYTES = 40 << 10 };
/* Bytes of anonymous memory that this process holds, 0 if the system doesn't say. */
size_t engine_anonymous_memory(void);

#endif
