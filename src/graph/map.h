/* SPDX-License-Identifier: Apache-2.0
 *
 * Files mapped read-only, and where a model may look for its external data.
 */
#ifndef GR_MAP_H
#define GR_MAP_H

#include "base.h"

/* A mapped file, private and read-only. `data` is not NULL even if size is 0. */
typedef struct gr_map {
    struct gr_map *next;
    const uint8_t *data;
    size_t size;
    uint64_t device, inode; /* which file it is, whatever it is called */
    int64_t modified;       /* when it was last written, in ns */
    char *fetched;          /* by stretch: see gr_map_fetch */
    int fd;                 /* the open file, for gr_map_read; -1 if it is closed */
    char *location;         /* by which it was last asked for as external data; NULL if never */
} gr_map;

/* Map a regular file and put it before *list, unless it is there already. Never waits for a pipe or device. `path` is
 * not part of error sentences. */
gr_status gr_map_file(const char *path, gr_map **list, gr_map **out, gr_err *err);
/* While a large file's structure is read, which is a few pages strewn over it, the kernel had better not read what lies
 * between: it is most of the file. `on` false when that is done. */
void gr_map_sparse_reads(const gr_map *map, bool on);
/* Unmap all. NULL is allowed. */
void gr_map_free(gr_map *list);

/* Folders in which external data may lie, canonical. `folder`: the one that the model's path names; everything below
 * it. `target`: the one that holds the model's file itself if that path is a link; only what lies directly in it, for
 * caches in which a model and its data are links into one folder of blobs. */
typedef struct gr_map_roots {
    char *folder, *target;
} gr_map_roots;

/* Roots of a model file, or of a folder (then only that). Owned by the arena. */
gr_status gr_map_roots_of_file(gr_arena *arena, const char *path, gr_map_roots *out, gr_err *err);
gr_status gr_map_roots_of_folder(gr_arena *arena, const char *folder, gr_map_roots *out, gr_err *err);

/* Map the file that an external tensor's `location` (a document's string) names. Relative, without "..", and not
 * outside of the roots, also not by a link. */
gr_status gr_map_external(const gr_map_roots *roots, const char *location, gr_map **list, gr_map **out, gr_err *err);

/* Give back the memory of the whole pages inside data .. data + size; they are read from the file again if they are
 * needed. Does nothing unless all of it lies in one of `maps`: other memory would lose its contents. */
void gr_map_dontneed(const gr_map *maps, const void *data, size_t size);

/* Pages are fetched in stretches of so many bytes. */
enum { GR_MAP_STRETCH = 2 << 20 };
/* Whether there is something to fetch of data .. data + size: it lies in one of `maps`, and some stretch has not been. */
bool gr_map_may_fetch(const gr_map *maps, const void *data, size_t size);
/* Make the pages of the stretch around `address`, which lies in one of `maps`, present, if that was not done before: in one
 * go that takes much less time than faults, and threads do not wait for each other. From any thread. */
void gr_map_fetch(const gr_map *maps, const void *address);

/* Whether gr_map_read can read data .. data + size. */
bool gr_map_may_read(const gr_map *maps, const void *data, size_t size);
/* Copy bytes of the file to memory without making pages of the map present: what is read once costs less so than by
 * mapping and unmapping its pages. From any thread. False if the file cannot be read; the map is as good as before. */
bool gr_map_read(const gr_map *maps, const void *data, size_t size, void *to);

#endif
