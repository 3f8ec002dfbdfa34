/* SPDX-License-Identifier: Apache-2.0
 *
 * mmap, and the rule for external data: a name in a file that a stranger made must not reach any other file of the
 * reader's. Both the folder and the file are made canonical first, so that links are judged by where they lead.
 */
#define _GNU_SOURCE
#include "map.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static gr_status check_regular(const struct stat *st, gr_err *err)
{
    if (S_ISREG(st->st_mode)) return GR_OK;
    return gr_fail(err, GR_EIO, "it is %s, not a regular file",
                   S_ISDIR(st->st_mode) ? "a folder" : "a pipe or a device");
}

static gr_map *find(gr_map *list, const struct stat *st)
{
    for (; list; list = list->next)
        if (list->device == st->st_dev && list->inode == st->st_ino) return list;
    return NULL;
}

/* A model may be spread over very many files; those of a program that embeds the library are few. */
enum { MOST_OPEN = 8 };

static bool may_stay_open(const gr_map *list)
{
    int n = 0;
    for (; list; list = list->next) n += list->fd >= 0;
    return n < MOST_OPEN;
}

/* The descriptor becomes the map's, or is left to the caller if that fails. */
static gr_status map_open(int fd, const struct stat *st, gr_map **list, gr_map **out, gr_err *err)
{
    if ((uint64_t)st->st_size > SIZE_MAX) return gr_fail(err, GR_EIO, "it is larger than the address space");
    gr_map *m = gr_calloc(1, sizeof *m);
    if (!m) return gr_nomem(err);
    m->data = (const uint8_t *)"";
    m->size = (size_t)st->st_size;
    m->device = st->st_dev;
    m->inode = st->st_ino;
    m->modified = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    if (m->size) {
        void *p = mmap(NULL, m->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            int error = errno;
            gr_free(m);
            return gr_fail(err, GR_EIO, "it cannot be mapped: %s", strerror(error));
        }
        m->data = p;
        m->fetched = gr_calloc(m->size / GR_MAP_STRETCH + 1, 1);
        if (!m->fetched) {
            munmap(p, m->size);
            gr_free(m);
            return gr_nomem(err);
        }
    }
    m->fd = fd;
    if (!may_stay_open(*list)) {
        close(fd);
        m->fd = -1;
    }
    m->next = *list;
    *list = *out = m;
    return GR_OK;
}

gr_status gr_map_file(const char *path, gr_map **list, gr_map **out, gr_err *err)
{
    struct stat st;
    /* Opening a device can have effects, so look first; a pipe put there in between does not block either. */
    if (stat(path, &st)) return gr_fail(err, GR_EIO, "it cannot be read: %s", strerror(errno));
    GR_TRY(check_regular(&st, err));
    if ((*out = find(*list, &st))) return GR_OK;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return gr_fail(err, GR_EIO, "it cannot be opened: %s", strerror(errno));
    gr_status status = fstat(fd, &st) ? gr_fail(err, GR_EIO, "it cannot be read: %s", strerror(errno)) : GR_OK;
    if (!status) status = check_regular(&st, err);
    if (!status) status = map_open(fd, &st, list, out, err);
    if (status) close(fd);
    return status;
}

/* Smaller files are mostly structure, or read ahead in one go. */
enum { SPARSE_FROM = 16 << 20 };

void gr_map_sparse_reads(const gr_map *map, bool on)
{
    if (map->size >= SPARSE_FROM) madvise((void *)(uintptr_t)map->data, map->size, on ? MADV_RANDOM : MADV_NORMAL);
}

void gr_map_free(gr_map *list)
{
    for (gr_map *m = list, *next; m; m = next) {
        next = m->next;
        if (m->size) munmap((void *)(uintptr_t)m->data, m->size);
        if (m->fd >= 0) close(m->fd);
        gr_free(m->fetched);
        gr_free(m->location);
        gr_free(m);
    }
}

/* ---- external data ---- */

static void cut_to_folder(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash) slash[slash == path] = 0;
}

static gr_status canonical(gr_arena *arena, const char *path, bool folder_of, char **out, gr_err *err)
{
    char full[PATH_MAX];
    if (!realpath(path, full)) return gr_fail(err, GR_EIO, "it cannot be read: %s", strerror(errno));
    if (folder_of) cut_to_folder(full);
    *out = gr_arena_strdup(arena, full);
    return *out ? GR_OK : gr_nomem(err);
}

gr_status gr_map_roots_of_folder(gr_arena *arena, const char *folder, gr_map_roots *out, gr_err *err)
{
    out->target = NULL;
    return canonical(arena, *folder ? folder : ".", false, &out->folder, err);
}

gr_status gr_map_roots_of_file(gr_arena *arena, const char *path, gr_map_roots *out, gr_err *err)
{
    char *folder = gr_arena_strdup(arena, strchr(path, '/') ? path : "./");
    if (!folder) return gr_nomem(err);
    cut_to_folder(folder);
    GR_TRY(canonical(arena, folder, false, &out->folder, err));
    return canonical(arena, path, true, &out->target, err);
}

static gr_status check_location(const char *location, gr_err *err)
{
    if (!*location) return gr_fail(err, GR_EMODEL, "its name is empty");
    if (strstr(location, "\xC0\x80")) return gr_fail(err, GR_EMODEL, "its name has a NUL byte");
    if (*location == '/') return gr_fail(err, GR_EMODEL, "its path is absolute");
    for (const char *part = location; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (part[0] == '.' && part[1] == '.' && (part[2] == '/' || !part[2]))
            return gr_fail(err, GR_EMODEL, "its path contains '..'");
    }
    return GR_OK;
}

/* Is `path` below `root`, or directly in it? Both are canonical. */
static bool inside(const char *path, const char *root, bool directly)
{
    size_t n = strcmp(root, "/") ? strlen(root) : 0;
    return !strncmp(path, root, n) && path[n] == '/' && !(directly && strchr(path + n + 1, '/'));
}

/* The canonical path of `location` seen from a folder. False: errno says why. */
static bool resolve(const char *folder, const char *location, char full[PATH_MAX])
{
    char joined[PATH_MAX];
    size_t a = strlen(folder), b = strlen(location);
    if (a + b + 2 > sizeof joined) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(joined, folder, a);
    joined[a] = '/';
    memcpy(joined + a + 1, location, b + 1);
    return realpath(joined, full) != NULL;
}

gr_status gr_map_external(const gr_map_roots *roots, const char *location, gr_map **list, gr_map **out, gr_err *err)
{
    char full[PATH_MAX];
    GR_TRY(check_location(location, err));
    for (gr_map *m = *list; m; m = m->next) {
        if (!m->location || strcmp(m->location, location)) continue;
        *out = m;
        return GR_OK;
    }
    bool found = resolve(roots->folder, location, full);
    if (!found && errno == ENOENT && roots->target) found = resolve(roots->target, location, full);
    if (!found) return gr_fail(err, GR_EIO, "it cannot be read: %s", strerror(errno));
    if (!inside(full, roots->folder, false) && !(roots->target && inside(full, roots->target, true)))
        return gr_fail(err, GR_EMODEL, "it is a link that leads out of the model's folder");
    GR_TRY(gr_map_file(full, list, out, err));
    size_t n = strlen(location) + 1;
    char *copy = gr_malloc(n);
    if (!copy) return gr_nomem(err);
    memcpy(copy, location, n);
    gr_free((*out)->location);
    (*out)->location = copy;
    return GR_OK;
}

static const gr_map *map_of(const gr_map *maps, const void *data, size_t size)
{
    for (; maps; maps = maps->next) {
        const uintptr_t at = (uintptr_t)data, start = (uintptr_t)maps->data;
        if (at >= start && size <= maps->size && at - start <= maps->size - size) return maps;
    }
    return NULL;
}

void gr_map_dontneed(const gr_map *maps, const void *data, size_t size)
{
    const uintptr_t at = (uintptr_t)data, page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t first = (at + page - 1) / page * page, last = (at + size) / page * page;
    if (first < last && map_of(maps, data, size)) madvise((void *)first, last - first, MADV_DONTNEED);
}

bool gr_map_may_fetch(const gr_map *maps, const void *data, size_t size)
{
    const gr_map *m = map_of(maps, data, size);
    if (!m || !size) return false;
    const size_t at = (size_t)((const uint8_t *)data - m->data);
    for (size_t i = at / GR_MAP_STRETCH; i <= (at + size - 1) / GR_MAP_STRETCH; i++)
        if (!__atomic_load_n(&m->fetched[i], __ATOMIC_RELAXED)) return true;
    return false;
}

void gr_map_fetch(const gr_map *maps, const void *address)
{
#ifdef MADV_POPULATE_READ
    const gr_map *m = map_of(maps, address, 1);
    const size_t i = (size_t)((const uint8_t *)address - m->data) / GR_MAP_STRETCH, at = i * GR_MAP_STRETCH;
    const size_t size = m->size - at < GR_MAP_STRETCH ? m->size - at : GR_MAP_STRETCH;
    if (__atomic_exchange_n(&m->fetched[i], 1, __ATOMIC_RELAXED)) return;
    madvise((void *)(uintptr_t)(m->data + at), size, MADV_POPULATE_READ);
#else
    (void)maps, (void)address;
#endif
}

bool gr_map_may_read(const gr_map *maps, const void *data, size_t size)
{
    const gr_map *m = map_of(maps, data, size);
    return m && m->fd >= 0;
}

bool gr_map_read(const gr_map *maps, const void *data, size_t size, void *to)
{
    const gr_map *m = map_of(maps, data, size);
    if (!m || m->fd < 0) return false;
    const size_t at = (size_t)((const uint8_t *)data - m->data);
    for (size_t done = 0; done < size;) {
        const ssize_t n = pread(m->fd, (char *)to + done, size - done, (off_t)(at + done));
        if (n <= 0 && !(n < 0 && errno == EINTR)) return false;
        if (n > 0) done += (size_t)n;
    }
    return true;
}
