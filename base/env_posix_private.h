/* What the files of the POSIX backend share. */
#ifndef BASE_ENV_POSIX_PRIVATE_H
#define BASE_ENV_POSIX_PRIVATE_H

#include <stdatomic.h>
#include <string.h>

#include "base/env.h"

/* Makes sure that a file has a descriptor, *fd, that stays open until it is unpinned. PLSM_IO. */
plsm_status posix_descriptor_pin(struct env_file *file, int *fd);
void posix_descriptor_unpin(struct env_file *file);

/* Watches a mapping of a file from before it is used until after: when a page of it is lost, *lost becomes true and the
 * page zeros, instead of SIGBUS, if that is caught (env_posix_catch_lost_pages). NULL: no memory. */
struct posix_watch;
struct posix_watch *posix_watch_add(const void *start, size_t size, atomic_bool *lost);
void posix_watch_remove(struct posix_watch *watch); /* accepts NULL */

/* The mapping of a log: a window of the file, from a page border on, whose space is taken already. Zero: none. The
 * appending thread's. */
struct posix_map {
    bool on;                   /* appends may go through it: it is served, and nothing went wrong so far */
    atomic_bool lost;          /* a page that was stored to; for good */
    uint8_t *memory;           /* of the window; NULL: none yet */
    struct posix_watch *watch; /* of the window */
    uint64_t start;            /* of the window in the file */
    uint64_t end;              /* of what may be stored to in the window */
    uint64_t passed;           /* up to here the window was stored to, and is not any more */
    uint64_t taken;            /* up to here space was taken in advance */
    uint64_t filled;           /* up to here there are pages for it */
    uint64_t over;             /* up to here they are there from the file that is written over */
    uint64_t synced;           /* where the file ended at the first append after the last sync; 0: none yet */
    uint64_t apart;            /* up to here pages may be kept together with those from before: not to be copied to */
};
/* The file has `size` bytes in pages that are there and are to be used again. False: it is off. */
bool posix_map_over(struct posix_map *map, uint64_t size);
/* Copies up to *size bytes to `offset`, where the file ends, and sets *size to how many. False: nothing was done, and
 * the bytes are to be written: the map is off, there is no space to take, it is too much to copy, it would cost the
 * next sync too much, or the file was cut, which then is a loss. */
bool posix_map_copy(struct posix_map *map, int fd, uint64_t offset, const void *data, size_t *size);
/* The file was synced, and ends at `offset`. */
void posix_map_synced(struct posix_map *map, uint64_t offset);
/* The same as posix_map_copy where all of it goes to pages that are there already, as most of it does: inline. */
enum { POSIX_COPY_BYTES_MAX = 2 << 10 };
static inline bool posix_map_copy_there(struct posix_map *map, uint64_t offset, const void *data, size_t size)
{
    if (!map->memory || size > POSIX_COPY_BYTES_MAX || offset < map->apart || offset + size > map->filled ||
        offset + size > map->end)
        return false;
    memcpy(map->memory + (offset - map->start), data, size);
    return true;
}
/* Whether what was copied may not be the file's, since a page of it was lost. Behind the copy. */
static inline bool posix_map_lost(const struct posix_map *map)
{
    atomic_signal_fence(memory_order_seq_cst); /* this thread's own copy */
    return __builtin_expect(atomic_load_explicit(&map->lost, memory_order_relaxed), 0);
}
/* Whether a file has fewer bytes than `end`: somebody cut it. Within its last page that is no SIGBUS for a store behind
 * its new end, which is lost all the same. */
bool posix_is_cut(int fd, uint64_t end);
/* Unmaps and switches it off. What was copied is the file's. */
void posix_map_stop(struct posix_map *map);

/* Asks what the file system of a file is. *takes: writing costs less where space was taken before: on ext4, which
 * otherwise promises it to each block apart and finds it when the block is written out (256 KiB took 40 us without and
 * 27 with it). *maps: it serves stores to preallocated space without fail. */
void posix_ask_system(int fd, bool *takes, bool *maps);
/* Takes the space of a large piece that is about to be written at `offset`, where the file ends; for a log, of more,
 * while much is free. False: the file system has no way to, so do not ask again (ext2 and ext3 look like ext4). */
enum { POSIX_TAKE_BYTES_MIN = 64 << 10 };
bool posix_take(struct posix_map *map, int fd, uint64_t offset, size_t size);

/* As fdatasync, of a part of a file only: 0, or -1 and errno. */
int posix_sync_part(int fd, uint64_t from, uint64_t to);

/* The first `size` bytes of a file as memory, for reads here and there; false: it cannot be. */
struct posix_view {
    void *memory;
    uint64_t size;
    struct posix_watch *watch;
};
bool posix_view_map(struct posix_view *view, int fd, uint64_t size, atomic_bool *lost);
void posix_view_unmap(struct posix_view *view); /* does nothing to a zero one */

/* Reads pieces through io_uring where the kernel has it (env_ops.read_many). */
void posix_read_many(struct env *env, struct env_piece *pieces, size_t count);

#endif
