/* SPDX-License-Identifier: Apache-2.0
 *
 * A file that gets its name when all of it is there: written beside it, and then renamed.
 */
#define _GNU_SOURCE
#include "output.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

gr_status gr_output_write(int fd, const void *data, size_t size, gr_err *err)
{
    for (const char *at = data; size;) {
        ssize_t n = write(fd, at, size < (1u << 30) ? size : 1u << 30);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return gr_fail(err, GR_EIO, "it cannot be written: %s", n ? strerror(errno) : "disk full");
        at += n;
        size -= (size_t)n;
    }
    return GR_OK;
}

/* Create a file beside `path`, with the permissions that a new file gets. */
static int create_beside(const char *path, char *name, size_t room)
{
    for (unsigned i = 0; i < 1000; i++) {
        int n = snprintf(name, room, "%s.%ld.%u.tmp", path, (long)getpid(), i);
        if (n < 0 || (size_t)n >= room) {
            errno = ENAMETOOLONG;
            return -1;
        }
        int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
}

gr_status gr_output_open(gr_output *o, const char *path, gr_err *err)
{
    struct stat st;
    *o = (gr_output){.path = path, .fd = -1};
    if (!stat(path, &st) && !S_ISREG(st.st_mode))
        return gr_fail(err, GR_EIO, "'%s': there is something that is not a file", gr_show(path));
    o->fd = create_beside(path, o->temporary, sizeof o->temporary);
    if (o->fd < 0) return gr_fail(err, GR_EIO, "'%s': it cannot be written: %s", gr_show(path), strerror(errno));
    return GR_OK;
}

gr_status gr_output_close(gr_output *o, gr_err *err)
{
    int fd = o->fd;
    o->fd = -1;
    if (fd < 0 || !close(fd)) return GR_OK;
    return gr_fail(err, GR_EIO, "'%s': it cannot be written: %s", gr_show(o->path), strerror(errno));
}

gr_status gr_output_rename(gr_output *o, gr_err *err)
{
    if (!*o->temporary) return GR_OK;
    if (rename(o->temporary, o->path))
        return gr_fail(err, GR_EIO, "'%s': it cannot be written: %s", gr_show(o->path), strerror(errno));
    *o->temporary = 0;
    return GR_OK;
}

void gr_output_abandon(gr_output *o)
{
    if (o->fd >= 0) close(o->fd);
    if (*o->temporary) unlink(o->temporary);
}
