/* Appending to a log through memory, and reading files so.
 *
 * A write(2) of 128 bytes costs 1.1 us here, a copy into a mapping a few ns and its share of page faults. Where the
 * page must be made, the first store to it is a fault of 5.7 us on ext4. So pages are made in front of the copies, by
 * writing zeros to many at once: with that a page costs 1.3 us in all (64 MiB of log, records of 128 bytes), what
 * pwrite takes for it as well. Pieces of several pages are written, so that no page is filled twice. Both may be mixed:
 * on Linux a mapping and write(2) share the pages of the file.
 *
 * A kernel with large folios makes one of what is written at once, and a store through a mapping dirties all of it: a
 * sync after each record wrote 256 KiB each time (ext4, Linux 6.18). write(2) dirties blocks. So the pieces made after
 * a sync are as large as what was appended since, beginning with a page; what is left of those made before is written.
 *
 * The window is larger than the space that is taken, so that it is seldom moved: mmap and munmap wait until no other
 * thread of the process is inside of a page fault beside it, which took up to 18 ms where one was not scheduled.
 *
 * Space is taken with fallocate before it is mapped, so that no store can fail for want of it. That holds where a block
 * once given stays: not where files are copied on write (btrfs, zfs, xfs with shared extents, which cp makes), nor over
 * a network. So only file systems known to keep blocks in place are mapped. Whatever goes wrong here, the log goes on
 * with pwrite, which tells the error; only when a page that was stored to is lost nothing goes on: env_posix_lost.c. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/env_posix_private.h"

#include "base/banned.h"

enum {
    PAGE = 4096,
    TAKEN_BYTES_MIN =
        256 << 10, /* at a time; as much as there is already, within these limits: small logs stay small */
    TAKEN_BYTES_MAX = 4 << 20,
    TAKEN_PARTS = 16,             /* no more than such a part of what is free */
    FILLED_BYTES_MAX = 256 << 10, /* with 64 KiB a page costs 1.9 us, with 1 MiB 1.1 */
    WINDOW_BYTES = 64 << 20,      /* addresses that are mapped at once */
};

void posix_ask_system(int fd, bool *takes, bool *maps)
{
    struct statfs status;
    *takes = *maps = false;
    if (fstatfs(fd, &status) != 0)
        return;
    *takes = status.f_type == EXT4_SUPER_MAGIC;
    *maps = *takes || status.f_type == TMPFS_MAGIC;
}

bool posix_map_over(struct posix_map *map, uint64_t size)
{
    map->over = map->taken = map->filled = size & ~(uint64_t)(PAGE - 1);
    return map->on;
}

static void unmap(struct posix_map *map)
{
    posix_watch_remove(map->watch);
    if (map->memory)
        munmap(map->memory, WINDOW_BYTES);
    map->watch = NULL;
    map->memory = NULL;
}

void posix_map_stop(struct posix_map *map)
{
    unmap(map);
    map->on = false; /* `lost` stays, and is read beside by who syncs */
    map->start = map->end = map->passed = map->taken = map->filled = map->over = map->synced = map->apart = 0;
}

/* `bytes`, which is as much as there is already, within limits and in whole pages. */
static uint64_t within(uint64_t bytes, uint64_t least, uint64_t most)
{
    bytes &= ~(uint64_t)(PAGE - 1);
    return bytes < least ? least : bytes < most ? bytes : most;
}

/* Whether so much is free that `bytes` may be taken in advance: the last of a file system must not be held by what is
 * yet to be written. */
static bool is_plenty(int fd, uint64_t bytes)
{
    struct statfs status;
    return fstatfs(fd, &status) == 0 && (uint64_t)status.f_bavail * (uint64_t)status.f_bsize >= bytes * TAKEN_PARTS;
}

/* Takes `bytes` of space from `from` on. */
static bool take_space(struct posix_map *map, int fd, uint64_t from, uint64_t bytes)
{
    int failed = 0;
    do
        failed = fallocate(fd, 0, (off_t)from, (off_t)bytes);
    while (failed && errno == EINTR);
    map->taken = failed ? map->taken : from + bytes;
    return !failed;
}

bool posix_take(struct posix_map *map, int fd, uint64_t offset, size_t size)
{
    uint64_t page = offset & ~(uint64_t)(PAGE - 1), from = page > map->taken ? page : map->taken;
    if (size < POSIX_TAKE_BYTES_MIN || (map->on && offset + size <= map->taken))
        return true;
    uint64_t ahead = within(offset, TAKEN_BYTES_MIN, TAKEN_BYTES_MAX);
    uint64_t needed = (offset + size - from + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    uint64_t bytes = needed > ahead ? needed : ahead;
    if (map->on && is_plenty(fd, bytes)) {
        if (take_space(map, fd, from, bytes))
            return true;
        int error = errno;
        posix_map_stop(map);
        return error != EOPNOTSUPP;
    }
    /* No more than that: nobody would give the rest back, or little is free. Who writes will tell of a failure. */
    return fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size) == 0 || errno != EOPNOTSUPP;
}

static bool map_window(struct posix_map *map, int fd, uint64_t from)
{
    unmap(map);
    map->start = map->end = from;
    void *memory = mmap(NULL, WINDOW_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)from);
    if (memory == MAP_FAILED)
        return false;
    map->memory = memory;
    map->watch = posix_watch_add(memory, WINDOW_BYTES, &map->lost);
    return map->watch;
}

/* Takes space behind `offset` if there is none left and has it in the window, which is moved where it is not. What lies
 * before stays mapped, but without its pages. */
static bool reach(struct posix_map *map, int fd, uint64_t offset)
{
    uint64_t from = offset & ~(uint64_t)(PAGE - 1);
    uint64_t bytes = within(offset, TAKEN_BYTES_MIN, TAKEN_BYTES_MAX);
    if (offset >= map->taken && (!is_plenty(fd, bytes) || !take_space(map, fd, from, bytes)))
        return false;
    uint64_t end = map->taken - from < TAKEN_BYTES_MAX ? map->taken : from + TAKEN_BYTES_MAX;
    if ((!map->memory || end > map->start + WINDOW_BYTES) && !map_window(map, fd, from))
        return false;
    if (map->end > map->start)
        madvise(map->memory + (map->passed - map->start), (size_t)(from - map->passed), MADV_DONTNEED);
    map->passed = from;
    map->end = end;
    return true;
}

/* Makes pages from the end of the file at `offset`, where nothing but zeros is, or from where there are some already.
 * What fails here may be tried by whoever writes. */
static bool fill(struct posix_map *map, int fd, uint64_t offset)
{
    static const uint8_t zeros[FILLED_BYTES_MAX];
    uint64_t from = map->filled > offset ? map->filled : offset;
    uint64_t to = (from & ~(uint64_t)(PAGE - 1)) + within(offset - map->synced, PAGE, FILLED_BYTES_MAX);
    to = to < map->end ? to : map->end;
    while (from < to) {
        ssize_t put = pwrite(fd, zeros, (size_t)(to - from), (off_t)from);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        from += (uint64_t)put;
    }
    map->filled = to;
    return true;
}

void posix_map_synced(struct posix_map *map, uint64_t offset)
{
    map->synced = offset;
    map->apart = map->filled;
    if (map->apart > offset && map->apart <= map->over) { /* the next ones only, as many as are mostly kept together */
        uint64_t next = (offset & ~(uint64_t)(FILLED_BYTES_MAX - 1)) + FILLED_BYTES_MAX;
        map->apart = map->apart < next ? map->apart : next;
    }
}

bool posix_is_cut(int fd, uint64_t end)
{
    struct stat status;
    return fstat(fd, &status) == 0 && (uint64_t)status.st_size < end;
}

bool posix_map_copy(struct posix_map *map, int fd, uint64_t offset, const void *data, size_t *size)
{
    if (!map->on || *size > POSIX_COPY_BYTES_MAX || offset < map->apart)
        return false;
    if (map->memory && posix_is_cut(fd, offset)) { /* what is made below would hide it */
        atomic_store(&map->lost, true);
        return false;
    }
    if ((!map->memory || offset >= map->end) && !reach(map, fd, offset)) {
        posix_map_stop(map);
        return false;
    }
    if (*size > map->end - offset)
        *size = (size_t)(map->end - offset);
    if (offset + *size > map->filled && !fill(map, fd, offset)) {
        posix_map_stop(map);
        return false;
    }
    memcpy(map->memory + (offset - map->start), data, *size);
    return true;
}

/* msync does what fdatasync does, of what is mapped. */
int posix_sync_part(int fd, uint64_t from, uint64_t to)
{
    from &= ~(uint64_t)(PAGE - 1);
    if (from >= to)
        return 0;
    void *part = mmap(NULL, (size_t)(to - from), PROT_READ, MAP_SHARED, fd, (off_t)from);
    if (part == MAP_FAILED)
        return fdatasync(fd);
    int failed = msync(part, (size_t)(to - from), MS_SYNC), error = errno;
    munmap(part, (size_t)(to - from));
    errno = error;
    return failed;
}

bool posix_view_map(struct posix_view *view, int fd, uint64_t size, atomic_bool *lost)
{
    if (size == 0 || size > SIZE_MAX / 2)
        return false;
    void *memory = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return false;
    *view = (struct posix_view){memory, size, posix_watch_add(memory, (size_t)size, lost)};
    if (!view->watch) {
        posix_view_unmap(view);
        return false;
    }
    madvise(memory, (size_t)size, MADV_RANDOM); /* a page that is touched is read alone */
    return true;
}

void posix_view_unmap(struct posix_view *view)
{
    posix_watch_remove(view->watch);
    if (view->memory)
        munmap(view->memory, (size_t)view->size);
    *view = (struct posix_view){0};
}
