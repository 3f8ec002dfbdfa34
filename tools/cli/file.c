/* SPDX-License-Identifier: Apache-2.0
 *
 * Files: reading whole ones, and writing so that nothing half-written stays behind.
 */
#include "cli.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Smaller files are read: a map costs page faults, and a file that shrinks under a map kills the process. */
#define MAP_FROM (1u << 20)
/* A pipe has no size that could be checked first. */
#define PIPE_MAX ((size_t)1 << 30)

static bool read_all(int fd, const char *path, size_t expected, cli_file *file, gr_err *err)
{
    uint8_t *data = NULL;
    size_t size = 0, cap = 0;
    for (;;) {
        if (size == cap) data = cli_grow(data, &cap, expected > size ? expected + 1 : size + 65536, 1);
        ssize_t n = read(fd, data + size, cap - size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            free(data);
            return cli_fail(err, GR_EIO, "%s: %s", cli_show(path), strerror(errno));
        }
        if (n == 0) break;
        size += (size_t)n;
        if (size > PIPE_MAX) {
            free(data);
            return cli_fail(err, GR_ELIMIT, "%s: more than 1 GiB comes through a pipe", cli_show(path));
        }
    }
    file->data = data, file->size = size;
    return true;
}

static bool open_fd(int fd, const char *path, const struct stat *st, cli_file **out, gr_err *err)
{
    cli_file *file = cli_alloc(sizeof *file);
    file->refs = 1;
    size_t size = S_ISREG(st->st_mode) && st->st_size > 0 ? (size_t)st->st_size : 0;
    bool ok = true;
    if (size >= MAP_FROM) {
        void *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        ok = map != MAP_FAILED || cli_fail(err, GR_EIO, "%s: %s", cli_show(path), strerror(errno));
        file->data = map, file->size = size, file->mapped = true;
    } else {
        ok = read_all(fd, path, size, file, err);
    }
    if (!ok) {
        free(file);
        return false;
    }
    *out = file;
    return true;
}

bool cli_input_open(const char *path, bool pipes, int *fd, gr_err *err)
{
    struct stat st;
    if (pipes && !strcmp(path, "-")) {
        *fd = STDIN_FILENO;
        return true;
    }
    /* Look before opening: an open of a pipe without a writer never returns. */
    if (stat(path, &st)) return cli_fail(err, GR_EIO, "%s: %s", cli_show(path), strerror(errno));
    if (S_ISDIR(st.st_mode)) return cli_fail(err, GR_EIO, "%s is a folder, not a file", cli_show(path));
    if (!S_ISREG(st.st_mode) && !pipes) return cli_fail(err, GR_EIO, "%s is not a regular file", cli_show(path));
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    return *fd >= 0 || cli_fail(err, GR_EIO, "%s: %s", cli_show(path), strerror(errno));
}

bool cli_file_open(const char *path, bool pipes, cli_file **out, gr_err *err)
{
    struct stat st;
    int fd;
    if (!cli_input_open(path, pipes, &fd, err)) return false;
    if (fd == STDIN_FILENO) path = "standard input";
    bool ok = fstat(fd, &st) == 0 || cli_fail(err, GR_EIO, "%s: %s", cli_show(path), strerror(errno));
    ok = ok && open_fd(fd, path, &st, out, err);
    if (fd != STDIN_FILENO) close(fd);
    return ok;
}

void cli_file_drop(cli_file *file)
{
    if (!file || --file->refs) return;
    if (file->mapped)
        munmap((void *)file->data, file->size);
    else
        free((void *)file->data);
    free(file);
}

bool cli_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool cli_exists(const char *path) { return access(path, F_OK) == 0; }

bool cli_ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

char *cli_join(const char *folder, const char *name)
{
    cli_text path = {0};
    size_t n = strlen(folder);
    cli_add(&path, "%s%s%s", folder, n && folder[n - 1] == '/' ? "" : "/", name);
    return path.data;
}

/* The file being written, for the end of the process by cli_die or an interrupt that is noticed in time. */
static char *unfinished;

static void remove_unfinished(void)
{
    if (unfinished) unlink(unfinished);
}

bool cli_out_open(cli_out *out, const char *path, gr_err *err)
{
    static bool registered;
    *out = (cli_out){.path = cli_strdup(path)};
    if (!registered) atexit(remove_unfinished);
    registered = true;
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        out->file = S_ISDIR(st.st_mode) ? NULL : fopen(path, "wb");
        if (S_ISDIR(st.st_mode)) errno = EISDIR;
    } else {
        cli_text name = {0};
        cli_add(&name, "%s.XXXXXX", path);
        int fd = mkstemp(name.data);
        if (fd < 0) {
            cli_text_free(&name);
        } else {
            mode_t mask = umask(0);
            umask(mask);
            if (fchmod(fd, 0666 & ~mask)) cli_note("%s: %s", cli_show(path), strerror(errno));
            out->temporary = unfinished = name.data;
            out->file = fdopen(fd, "wb");
        }
    }
    if (out->file) return true;
    cli_fail(err, GR_EIO, "%s: %s", cli_show(path), strerror(errno));
    cli_out_abandon(out);
    return false;
}

bool cli_out_write(cli_out *out, const void *data, size_t size, gr_err *err)
{
    if (!size || fwrite(data, 1, size, out->file) == size) return true;
    return cli_fail(err, GR_EIO, "%s: %s", cli_show(out->path), strerror(errno));
}

bool cli_out_commit(cli_out *out, gr_err *err)
{
    FILE *file = out->file;
    out->file = NULL;
    bool ok = fclose(file) == 0;
    ok = ok && (!out->temporary || rename(out->temporary, out->path) == 0);
    if (!ok) cli_fail(err, GR_EIO, "%s: %s", cli_show(out->path), strerror(errno));
    if (ok && out->temporary) {
        free(out->temporary);
        out->temporary = unfinished = NULL;
    }
    cli_out_abandon(out);
    return ok;
}

void cli_out_abandon(cli_out *out)
{
    if (out->file) fclose(out->file);
    if (out->temporary) unlink(out->temporary);
    if (out->temporary == unfinished) unfinished = NULL;
    free(out->temporary);
    free(out->path);
    *out = (cli_out){0};
}
