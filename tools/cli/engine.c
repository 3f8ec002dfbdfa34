/* SPDX-License-Identifier: Apache-2.0 */
#include "engine.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

char *engine_model_path(const char *path)
{
    return cli_is_folder(path) ? cli_join(path, "model.onnx") : cli_strdup(path);
}

static void log_line(void *user, gr_log_level level, const char *line)
{
    (void)user, (void)level;
    fprintf(stderr, "%s\n", line);
}

static void note_line(void *user, gr_log_level level, const char *line)
{
    (void)user, (void)level;
    cli_note("%s", line);
}

bool engine_load(engine *e, const char *path, gr_err *err)
{
    gr_model_options options = {.struct_size = sizeof options, .no_passes = e->no_passes, .strict = e->strict,
                                .log = note_line};
    double start = cli_now();
    e->model = NULL, e->session = NULL;
    engine_precision(e); /* a wrong word is told before the model is read */
    e->path = engine_model_path(path);
    if (gr_model_load(e->path, &options, &e->model, err) != GR_OK) {
        e->model = NULL;
        return false;
    }
    e->load_seconds = cli_now() - start;
    return true;
}

gr_precision engine_precision(const engine *e)
{
    const char *word = e->precision;
    static const char *const words[] = {[GR_PRECISION_F32] = "f32", [GR_PRECISION_BF16] = "bf16",
                                        [GR_PRECISION_INT8] = "int8", [GR_PRECISION_AUTO] = "auto"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (word && !strcmp(word, words[i])) return (gr_precision)i;
    if (!word) return e->model ? gr_model_precision(e->model) : GR_PRECISION_F32;
    cli_usage(NULL, "--precision is f32, bf16, int8 or auto, not '%s'", cli_show(word));
}

bool engine_open(engine *e, const char *path, gr_err *err)
{
    return engine_load(e, path, err) && engine_start(e, err);
}

static bool create(const engine *e, gr_log_fn log, gr_session **out, gr_err *err)
{
    gr_session_options options = {.struct_size = sizeof options,
                                  .threads = (int)(e->threads > 4096 ? 4096 : e->threads),
                                  .max_memory = e->session_memory,
                                  .max_total = e->session_memory,
                                  .log = log,
                                  .profile = e->profile,
                                  .skip_padding = e->skip_padding,
                                  .few_runs = e->few_runs,
                                  .precision = engine_precision(e)};
    return gr_session_create(e->model, &options, out, err) == GR_OK;
}

/* What is left for sessions of the memory that the process may take. */
static bool share_memory(engine *e, gr_err *err)
{
    enum { RESERVE = 512 << 10 }; /* for reading lines and printing */
    if (!e->max_memory) return true;
    const size_t threads = e->threads > 0 ? (size_t)e->threads : (size_t)gr_default_threads();
    const size_t taken = engine_anonymous_memory() + threads * ENGINE_THREAD_BYTES + RESERVE;
    if (taken >= e->max_memory)
        return cli_fail(err, GR_ELIMIT, "the program and the model's graph take %zu bytes of memory, the limit is %zu",
                        taken, e->max_memory);
    e->session_memory = (e->max_memory - taken) / (e->sharing ? e->sharing : 1);
    return true;
}

bool engine_start(engine *e, gr_err *err)
{
    if (share_memory(e, err) && create(e, e->verbose ? log_line : NULL, &e->session, err)) return true;
    e->session = NULL;
    engine_close(e);
    return false;
}

bool engine_add_session(engine *e, gr_session **out, gr_err *err)
{
    if (!create(e, NULL, out, err)) return false;
    *CLI_PUSH(e->more, e->more_count, e->more_cap) = *out;
    return true;
}

void engine_close(engine *e)
{
    for (size_t i = 0; i < e->more_count; i++) gr_session_free(e->more[i]);
    free(e->more);
    gr_session_free(e->session);
    gr_model_free(e->model);
    free(e->path);
    e->path = NULL, e->model = NULL, e->session = NULL, e->more = NULL, e->more_count = e->more_cap = 0;
}

bool engine_fail(const engine *e, gr_err *err)
{
    if (!e->path || strstr(err->text, cli_show(e->path))) return false;
    return cli_fail_context(err, "%s", cli_show(e->path));
}

_Noreturn void engine_die(const engine *e, const gr_err *err)
{
    if (engine_interrupted() && err->status == GR_ECANCELLED) exit(CLI_EXIT_INTERRUPT);
    gr_err whole = *err;
    engine_fail(e, &whole);
    cli_die(CLI_EXIT_FAILURE, "%s", whole.text);
}

static volatile sig_atomic_t interrupted;
static engine *volatile running;
static sem_t *volatile wake;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
    for (size_t i = 0; running && i < running->more_count; i++) gr_session_cancel(running->more[i]);
    if (running && running->session) gr_session_cancel(running->session);
    if (wake) sem_post(wake);
}

void engine_wake_on_interrupt(sem_t *news) { wake = news; }

void engine_catch_interrupt(engine *e)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    running = e;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool engine_interrupted(void) { return interrupted; }

void engine_check_interrupt(void)
{
    if (interrupted) exit(CLI_EXIT_INTERRUPT);
}

void progress_start(progress *p, size_t total, const char *unit)
{
    *p = (progress){!cli_quiet && total != 1 && isatty(STDERR_FILENO), unit, cli_now(), 0, total};
}

void progress_step(progress *p, size_t done, int64_t tokens)
{
    enum { WIDTH = 30, PER_SECOND = 10 };
    static const char marks[] = "##############################..............................";
    double now = cli_now();
    if (!p->on || (done != p->total && now - p->last < 1.0 / PER_SECOND)) return;
    p->last = now;
    double seconds = now - p->start;
    if (p->total) {
        size_t filled = WIDTH * done / p->total;
        fprintf(stderr, "\r[%.*s] %zu/%zu %s", WIDTH, marks + WIDTH - filled, done, p->total, p->unit);
    } else {
        fprintf(stderr, "\r%zu %s", done, p->unit);
    }
    if (tokens && seconds > 0) fprintf(stderr, ", %s tokens/s", cli_thousands((int64_t)((double)tokens / seconds)));
    fputs("\033[K", stderr);
    fflush(stderr);
}

void progress_clear(const progress *p)
{
    if (p->on) fputs("\r\033[K", stderr);
}

size_t engine_anonymous_memory(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long long kib = 0;
    if (!status) return 0;
    while (fgets(line, sizeof line, status))
        if (sscanf(line, "RssAnon: %llu", &kib) == 1) break;
    fclose(status);
    return (size_t)kib * 1024;
}
