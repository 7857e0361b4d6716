/* The environment on POSIX (Linux) system calls.
 *
 * Files opened with ENV_READ share at most ENV_DESCRIPTORS_MAX descriptors. Each such file has one word of state: the
 * number of reads that use its descriptor at this moment (pins), and a bit that says whether it has one. A read adds a
 * pin and, if the bit was set, goes ahead: no lock. Otherwise it takes the table's mutex, evicts another file's
 * descriptor by the clock algorithm (an approximation of LRU; Corbato 1968) and reopens its own. Eviction exchanges
 * "has one, no pins" for "has none" in one step, so a descriptor is never closed under a read. */
#include "base/env.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/env_posix_private.h"
#include "base/error.h"
#include "base/sync.h"

#include "base/banned.h"

enum { FILE_MODE = 0600, DIRECTORY_MODE = 0700 }; /* values are private data */
#define HAS_DESCRIPTOR (UINT64_C(1) << 32)

struct posix_file {
    struct env_file base;
    enum env_open_flags flags;
    int fd;               /* ENV_READ: written under table.lock while the state has neither bit nor valid pins */
    _Atomic uint64_t end; /* not ENV_READ: bytes appended */
    struct posix_map map; /* ENV_LOG; zero otherwise */
    bool takes;           /* not ENV_READ: the space of large pieces, before they are written */
    atomic_bool synced;   /* since the last append */
    atomic_bool copied;   /* through the map, since the last cut */
    /* ENV_LOG_OVER: up to here stands what the file held before, where nothing was appended; 0: nowhere. And what is
     * synced of what was appended. */
    _Atomic uint64_t over, synced_end;
    /* ENV_READ only: */
    _Atomic uint64_t state; /* HAS_DESCRIPTOR | pins */
    atomic_bool referenced; /* read since the clock hand passed */
    unsigned place;         /* in table.open, under table.lock, while it has a descriptor */
    struct posix_view view; /* zero: none */
    dev_t device;           /* which file it is: a path that was given to another one must not be read as this one */
    ino_t inode;
    char path[];
};

struct posix_lock {
    struct env_lock base;
    int fd;
};

struct posix_thread {
    struct env_thread base;
    pthread_t thread;
    void (*run)(void *arg);
    void *arg;
};

static struct {
    mutex lock;
    unsigned count, hand;
    struct posix_file *open[ENV_DESCRIPTORS_MAX];
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int open_retry(const char *path, int flags, mode_t mode)
{
    int fd = 0;
    do
        fd = open(path, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* --- the descriptor table --- */

/* Takes the file out of the table. Under the lock. */
static void table_remove(struct posix_file *file)
{
    table.open[file->place] = table.open[--table.count];
    table.open[file->place]->place = file->place;
}

/* Puts the file right behind the clock hand, so that the hand meets it last: what it stood at moves to the end, from
 * where table_evict took what now stands there. Under the lock. */
static void table_insert(struct posix_file *file)
{
    unsigned place = table.hand < table.count ? table.hand : table.count;
    table.hand = place + 1;
    if (place < table.count) {
        table.open[table.count] = table.open[place];
        table.open[table.count]->place = table.count;
    }
    table.open[place] = file;
    file->place = place;
    table.count++;
}

/* Closes the descriptor that was used least recently, roughly; false when each is being read from. Under the lock. */
static bool table_evict(void)
{
    for (unsigned steps = 2 * table.count; steps > 0; steps--) {
        if (table.hand >= table.count)
            table.hand = 0;
        struct posix_file *file = table.open[table.hand];
        uint64_t idle = HAS_DESCRIPTOR;
        if (atomic_exchange_explicit(&file->referenced, false, memory_order_relaxed)) {
            table.hand++;
        } else if (atomic_compare_exchange_strong(&file->state, &idle, 0)) {
            table_remove(file);
            close(file->fd);
            return true;
        } else {
            table.hand++;
        }
    }
    return false;
}

/* Opens the file's descriptor and leaves it pinned once. Under the lock; the file has none. */
static plsm_status table_open(struct posix_file *file, bool first)
{
    const char *path = file->base.path;
    while (table.count == ENV_DESCRIPTORS_MAX && !table_evict())
        sched_yield(); /* all in use: one pread each, which end without needing this lock */
    int fd = open_retry(path, O_RDONLY, 0);
    while (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
        if (!table_evict())
            return fail_errno(EMFILE, path, "cannot open; raise the limit of open files (ulimit -n)");
        fd = open_retry(path, O_RDONLY, 0);
    }
    struct stat status;
    if (fd < 0)
        return fail_errno(errno, path, first ? "cannot open for reading" : "cannot open again for reading");
    if (fstat(fd, &status) != 0) {
        plsm_status failure = fail_errno(errno, path, "cannot read its status");
        close(fd);
        return failure;
    }
    if (first) {
        file->device = status.st_dev;
        file->inode = status.st_ino;
    } else if (file->device != status.st_dev || file->inode != status.st_ino) {
        close(fd);
        return fail(PLSM_IO, "%s: another file took this name while the store was open; close and open the store",
                    path);
    }
    file->fd = fd;
    table_insert(file);
    atomic_fetch_add(&file->state, HAS_DESCRIPTOR + 1);
    return PLSM_OK;
}

/* Makes sure that file->fd is open, and stays so until descriptor_unpin. */
static plsm_status descriptor_pin(struct posix_file *file)
{
    if (file->flags != ENV_READ)
        return PLSM_OK;
    if (!atomic_load_explicit(&file->referenced, memory_order_relaxed))
        atomic_store_explicit(&file->referenced, true, memory_order_relaxed);
    if (__builtin_expect(atomic_fetch_add_explicit(&file->state, 1, memory_order_acquire) >= HAS_DESCRIPTOR, 1))
        return PLSM_OK;
    atomic_fetch_sub(&file->state, 1); /* the pin was on nothing */
    plsm_status status = PLSM_OK;
    mutex_lock(&table.lock);
    if (atomic_load(&file->state) >=
        HAS_DESCRIPTOR) /* another thread opened it; evicting takes the lock, so it stays */
        atomic_fetch_add(&file->state, 1);
    else
        status = table_open(file, false);
    mutex_unlock(&table.lock);
    return status;
}

static void descriptor_unpin(struct posix_file *file)
{
    if (file->flags == ENV_READ)
        atomic_fetch_sub_explicit(&file->state, 1, memory_order_release);
}

plsm_status posix_descriptor_pin(struct env_file *base, int *fd)
{
    struct posix_file *file = (struct posix_file *)base;
    TRY(descriptor_pin(file));
    *fd = file->fd;
    return PLSM_OK;
}

void posix_descriptor_unpin(struct env_file *base)
{
    descriptor_unpin((struct posix_file *)base);
}

/* --- files --- */

/* Whether a file that is open may be written over. */
static plsm_status may_be_over(struct posix_file *file)
{
    struct stat status;
    if (fstat(file->fd, &status) != 0)
        return fail_errno(errno, file->path, "cannot look at it");
    if (status.st_nlink != 1)
        return fail(PLSM_EXISTS, "%s: is not written over: it has a second name", file->path);
    if (!posix_map_over(&file->map, (uint64_t)status.st_size))
        return fail(PLSM_UNSUPPORTED, "%s: is not written over: its file system gains nothing", file->path);
    file->over = (uint64_t)status.st_size;
    return PLSM_OK;
}

/* Opens what is to be appended to. */
static plsm_status open_to_append(struct posix_file *file)
{
    bool over = file->flags == ENV_LOG_OVER;
    file->fd = open_retry(file->path, over ? O_RDWR : O_RDWR | O_CREAT | O_TRUNC, FILE_MODE);
    if (file->fd < 0)
        return fail_errno(errno, file->path, over ? "cannot open to write over it" : "cannot create");
    bool maps = false;
    posix_ask_system(file->fd, &file->takes, &maps);
    if (file->flags == ENV_APPEND)
        return PLSM_OK;
    file->flags = ENV_LOG;
    file->map.on = maps;
    plsm_status status = over ? may_be_over(file) : PLSM_OK;
    if (status != PLSM_OK)
        close(file->fd);
    return status;
}

static plsm_status posix_open(struct env *env, const char *path, enum env_open_flags flags, struct env_file **out)
{
    TRY(env_check_flags(path, flags));
    size_t size = strlen(path) + 1;
    struct posix_file *file = mem_zalloc(sizeof *file + size);
    if (!file)
        return fail(PLSM_NO_MEMORY, "%s: no memory to open it", path);
    memcpy(file->path, path, size);
    file->base.env = env;
    file->base.path = file->path;
    file->flags = flags;
    file->fd = -1;
    plsm_status status = PLSM_OK;
    if (flags == ENV_READ) {
        mutex_lock(&table.lock);
        status = table_open(file, true);
        mutex_unlock(&table.lock);
        if (status == PLSM_OK)
            descriptor_unpin(file);
    } else {
        status = open_to_append(file);
    }
    if (status != PLSM_OK) {
        mem_free(file);
        return status;
    }
    *out = &file->base;
    return PLSM_OK;
}

static void posix_close(struct env_file *base)
{
    struct posix_file *file = (struct posix_file *)base;
    if (file->flags != ENV_READ) {
        posix_map_stop(&file->map);
        close(file->fd); /* what must last was synced before; there is nobody to tell here */
    } else {
        mutex_lock(&table.lock);
        uint64_t state = atomic_load(&file->state);
        INVARIANT(state == 0 || state == HAS_DESCRIPTOR); /* closed while a read was going on */
        if (state) {
            table_remove(file);
            close(file->fd);
        }
        mutex_unlock(&table.lock);
        posix_view_unmap(&file->view);
    }
    mem_free(file);
}

static plsm_status posix_map(struct env_file *base, uint64_t size, atomic_bool *lost, const void **out)
{
    struct posix_file *file = (struct posix_file *)base;
    if (file->flags != ENV_READ || file->view.memory)
        return PLSM_UNSUPPORTED;
    TRY(descriptor_pin(file));
    bool mapped = posix_view_map(&file->view, file->fd, size, lost);
    descriptor_unpin(file);
    *out = file->view.memory;
    return mapped ? PLSM_OK : PLSM_UNSUPPORTED;
}

static plsm_status posix_read(struct env_file *base, uint64_t offset, void *data, size_t size, size_t *got)
{
    struct posix_file *file = (struct posix_file *)base;
    if (file->flags == ENV_LOG) { /* behind its end are zeros, or what it held before */
        uint64_t end = atomic_load_explicit(&file->end, memory_order_acquire);
        uint64_t left = offset < end ? end - offset : 0;
        size = size < left ? size : (size_t)left;
    }
    TRY(descriptor_pin(file));
    ssize_t count = 0;
    do
        count = pread(file->fd, data, size, (off_t)offset);
    while (count < 0 && errno == EINTR);
    int error = errno;
    descriptor_unpin(file);
    if (__builtin_expect(count < 0, 0)) {
        char what[64];
        snprintf(what, sizeof what, "cannot read %zu bytes at offset %" PRIu64, size, offset);
        return fail_errno(error, base->path, what);
    }
    *got = (size_t)count;
    return PLSM_OK;
}

/* Once a page that was stored to is lost nobody knows what the file has, so nothing is done to it any more. */
static plsm_status need_append(const struct posix_file *file, const char *what)
{
    if (file->flags == ENV_READ)
        return fail(PLSM_INVALID, "%s: cannot %s: it is open for reading only", file->path, what);
    if (posix_map_lost(&file->map))
        return fail(PLSM_IO,
                    "%s: cannot %s: a page of it that is mapped was lost: the disk failed, or it was cut short",
                    file->path, what);
    return PLSM_OK;
}

/* What a call wrote at the end of the file: `count`, or -1 and errno. */
static plsm_status appended(struct posix_file *file, size_t size, ssize_t count, size_t *put)
{
    uint64_t end = atomic_load_explicit(&file->end, memory_order_relaxed);
    if (count <= 0) { /* 0 for more than 0 bytes is no progress and no error: a device that cannot */
        int error = count < 0 ? errno : EIO;
        char what[64];
        snprintf(what, sizeof what, "cannot append %zu bytes at offset %" PRIu64, size, end);
        return fail_errno(error, file->path, what);
    }
    atomic_store_explicit(&file->end, end + (uint64_t)count, memory_order_release);
    *put = (size_t)count;
    return PLSM_OK;
}

static plsm_status posix_append(struct env_file *base, const void *data, size_t size, size_t *put)
{
    struct posix_file *file = (struct posix_file *)base;
    uint64_t end = atomic_load_explicit(&file->end, memory_order_relaxed);
    if (__builtin_expect(atomic_load_explicit(&file->synced, memory_order_relaxed), 0)) {
        atomic_store_explicit(&file->synced, false, memory_order_relaxed);
        posix_map_synced(&file->map, end);
    }
    if (posix_map_copy_there(&file->map, end, data, size) && !posix_map_lost(&file->map)) {
        atomic_store_explicit(&file->end, end + size, memory_order_release);
        *put = size;
        return PLSM_OK;
    }
    TRY(need_append(file, "append"));
    if (posix_map_copy(&file->map, file->fd, end, data, &size)) {
        TRY(need_append(file, "append"));
        atomic_store_explicit(&file->copied, true, memory_order_relaxed);
        atomic_store_explicit(&file->end, end + size, memory_order_release);
        *put = size;
        return PLSM_OK;
    }
    TRY(need_append(file, "append"));
    ssize_t count = 0;
    if (file->takes)
        file->takes = posix_take(&file->map, file->fd, end, size);
    do
        count = pwrite(file->fd, data, size, (off_t)end);
    while (count < 0 && errno == EINTR);
    return appended(file, size, count, put);
}

static plsm_status posix_append_pieces(struct env_file *base, const plsm_slice *pieces, size_t count, size_t *put)
{
    enum { AT_ONCE = 64 };
    struct posix_file *file = (struct posix_file *)base;
    struct iovec vector[AT_ONCE];
    size_t size = 0;
    TRY(need_append(file, "append"));
    count = count < AT_ONCE ? count : AT_ONCE;
    for (size_t i = 0; i < count; i++) {
        vector[i] = (struct iovec){(void *)(uintptr_t)pieces[i].data, pieces[i].size};
        size += pieces[i].size;
    }
    off_t end = (off_t)atomic_load_explicit(&file->end, memory_order_relaxed);
    ssize_t done = 0;
    if (file->takes)
        file->takes = posix_take(&file->map, file->fd, (uint64_t)end, size);
    do
        done = pwritev(file->fd, vector, (int)count, end);
    while (done < 0 && errno == EINTR);
    return appended(file, size, done, put);
}

static plsm_status posix_append_synced(struct env_file *base, const void *data, size_t size, size_t *put)
{
    struct posix_file *file = (struct posix_file *)base;
    const struct iovec vector = {(void *)(uintptr_t)data, size};
    TRY(need_append(file, "append"));
    off_t end = (off_t)atomic_load_explicit(&file->end, memory_order_relaxed);
    ssize_t done = 0;
    do
        done = pwritev2(file->fd, &vector, 1, end, RWF_DSYNC);
    while (done < 0 && errno == EINTR);
    return appended(file, size, done, put);
}

/* Of a file that is written over what was appended since the last sync: behind its end stand bytes that may never have
 * reached the disk, and need not. */
static int sync_appended(struct posix_file *file, uint64_t end)
{
    int failed = posix_sync_part(file->fd, atomic_load(&file->synced_end), end);
    if (!failed)
        atomic_store(&file->synced_end, end); /* of two syncs beside each other either one's: both are true */
    return failed;
}

static plsm_status posix_sync(struct env_file *base)
{
    struct posix_file *file = (struct posix_file *)base;
    TRY(descriptor_pin(file));
    int failed = 0, error = 0;
    uint64_t end = atomic_load_explicit(&file->end, memory_order_acquire);
    bool part = end < atomic_load_explicit(&file->over, memory_order_relaxed);
    atomic_store_explicit(&file->synced, true, memory_order_relaxed);
    do
        failed = part ? sync_appended(file, end) : fdatasync(file->fd);
    while (failed && errno == EINTR);
    error = errno;
    if (file->flags == ENV_LOG && posix_is_cut(file->fd, end) && atomic_load(&file->copied))
        atomic_store(&file->map.lost, true);
    descriptor_unpin(file);
    if (failed)
        return fail_errno(error, base->path, "cannot sync its bytes to the disk");
    return file->flags == ENV_READ ? PLSM_OK : need_append(file, "sync its bytes to the disk");
}

static plsm_status posix_truncate(struct env_file *base, uint64_t size)
{
    struct posix_file *file = (struct posix_file *)base;
    TRY(need_append(file, "truncate"));
    uint64_t end = atomic_load(&file->end);
    if (size > end)
        return fail(PLSM_INVALID, "%s: cannot truncate %" PRIu64 " bytes to %" PRIu64, base->path, end, size);
    posix_map_stop(&file->map); /* a store behind the new end would be a SIGBUS */
    atomic_store_explicit(&file->over, 0, memory_order_relaxed);
    atomic_store(&file->copied, false); /* a sync beside takes the new end for no loss */
    int failed = 0;
    do
        failed = ftruncate(file->fd, (off_t)size);
    while (failed && errno == EINTR);
    if (failed)
        return fail_errno(errno, base->path, "cannot truncate");
    atomic_store(&file->end, size);
    return PLSM_OK;
}

static plsm_status posix_size(struct env_file *base, uint64_t *size)
{
    struct posix_file *file = (struct posix_file *)base;
    if (file->flags != ENV_READ) {
        *size = atomic_load_explicit(&file->end, memory_order_acquire);
        return PLSM_OK;
    }
    TRY(descriptor_pin(file));
    struct stat status;
    int failed = fstat(file->fd, &status), error = errno;
    descriptor_unpin(file);
    if (failed)
        return fail_errno(error, base->path, "cannot read its size");
    *size = (uint64_t)status.st_size;
    return PLSM_OK;
}

/* --- names --- */

static plsm_status posix_rename(struct env *env, const char *from, const char *to)
{
    if (rename(from, to) == 0)
        return PLSM_OK;
    int error = errno;
    plsm_status status = fail_errno(error, from, "cannot rename");
    return fail(status, "%s (to %s)", plsm_message(), to);
}

static plsm_status posix_exchange(struct env *env, const char *one, const char *other)
{
    if (renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) == 0)
        return PLSM_OK;
    int error = errno;
    if (error == EINVAL || error == ENOSYS || error == EOPNOTSUPP || error == EXDEV)
        return fail(PLSM_UNSUPPORTED, "%s: cannot change names with %s: %s", one, other, strerror(error));
    plsm_status status = fail_errno(error, one, "cannot change names");
    return fail(status, "%s (with %s)", plsm_message(), other);
}

static plsm_status posix_link(struct env *env, const char *from, const char *to)
{
    if (link(from, to) == 0)
        return PLSM_OK;
    int error = errno;
    if (error == EEXIST)
        return fail(PLSM_EXISTS, "%s: there already", to);
    if (error == EXDEV || error == EPERM || error == EMLINK || error == EOPNOTSUPP || error == ENOSYS)
        return fail(PLSM_UNSUPPORTED, "%s: cannot also be %s: %s", from, to, strerror(error));
    return fail_errno(error, from, "cannot link");
}

static plsm_status posix_remove(struct env *env, const char *path)
{
    if (unlink(path) == 0)
        return PLSM_OK;
    int error = errno;
    if (error == EISDIR || error == EPERM) { /* a directory: Linux answers EISDIR, POSIX EPERM */
        if (rmdir(path) == 0)
            return PLSM_OK;
        if (errno != ENOTDIR) /* else it is a file, and the first answer stands */
            error = errno;
    }
    return fail_errno(error, path, "cannot remove");
}

static plsm_status posix_make_dir(struct env *env, const char *path)
{
    if (mkdir(path, DIRECTORY_MODE) == 0)
        return PLSM_OK;
    if (errno == EEXIST)
        return fail(PLSM_EXISTS, "%s: cannot make this directory: something is there already", path);
    return fail_errno(errno, path, "cannot make this directory");
}

static plsm_status posix_sync_dir(struct env *env, const char *path)
{
    int fd = open_retry(path, O_RDONLY | O_DIRECTORY, 0), failed = 0;
    if (fd < 0)
        return fail_errno(errno, path, "cannot open this directory to sync it");
    do
        failed = fsync(fd);
    while (failed && errno == EINTR);
    plsm_status status = failed ? fail_errno(errno, path, "cannot sync this directory to the disk") : PLSM_OK;
    close(fd);
    return status;
}

static plsm_status posix_list(struct env *env, const char *path, void (*each)(void *arg, const char *name), void *arg)
{
    DIR *directory = opendir(path);
    if (!directory && errno == ENOTDIR)
        return fail(PLSM_NOT_FOUND, "%s: is no directory", path);
    if (!directory)
        return fail_errno(errno, path, "cannot list this directory");
    struct dirent *entry = NULL;
    while (errno = 0, (entry = readdir(directory)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            each(arg, entry->d_name);
    plsm_status status = errno ? fail_errno(errno, path, "cannot read this directory") : PLSM_OK;
    closedir(directory);
    return status;
}

static plsm_status posix_space(struct env *env, const char *path, struct env_space *out)
{
    struct statvfs status;
    int failed = 0;
    do
        failed = statvfs(path, &status);
    while (failed && errno == EINTR);
    if (failed)
        return fail_errno(errno, path, "cannot ask its file system for space");
    *out = (struct env_space){
        .bytes_total = (uint64_t)status.f_blocks * status.f_frsize,
        .bytes_free = (uint64_t)status.f_bavail * status.f_frsize,
        .files_total = status.f_files,
        .files_free = status.f_favail,
    };
    return PLSM_OK;
}

/* --- locks --- */

static plsm_status posix_lock(struct env *env, const char *path, unsigned slot, bool exclusive, struct env_lock **out)
{
    struct posix_lock *lock = mem_zalloc(sizeof *lock);
    if (!lock)
        return fail(PLSM_NO_MEMORY, "%s: no memory to lock it", path);
    lock->base.env = env;
    lock->fd = open_retry(path, O_RDWR | O_CREAT, FILE_MODE);
    /* A reader may share a lock in a place where it must not write. */
    if (lock->fd < 0 && !exclusive && (errno == EROFS || errno == EACCES || errno == EPERM))
        lock->fd = open_retry(path, O_RDONLY, 0);
    if (lock->fd < 0) {
        plsm_status status = fail_errno(errno, path, "cannot open to lock it");
        mem_free(lock);
        return status;
    }
    struct flock range = {
        .l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET, .l_start = (off_t)slot, .l_len = 1};
    int failed = 0;
    do
        failed = fcntl(lock->fd, F_OFD_SETLK, &range);
    while (failed && errno == EINTR);
    if (failed) {
        plsm_status status = errno == EAGAIN || errno == EACCES
                                 ? fail(PLSM_LOCKED, "%s: byte %u is locked by another open of the store", path, slot)
                                 : fail_errno(errno, path, "cannot lock");
        close(lock->fd);
        mem_free(lock);
        return status;
    }
    *out = &lock->base;
    return PLSM_OK;
}

static void posix_unlock(struct env_lock *base)
{
    struct posix_lock *lock = (struct posix_lock *)base;
    close(lock->fd); /* the lock belongs to the open file description and goes with it */
    mem_free(lock);
}

/* --- time, randomness, threads --- */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t posix_now_ns(struct env *env)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t posix_cpu_ns(struct env *env)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static uint64_t posix_wall_ns(struct env *env)
{
    return clock_ns(CLOCK_REALTIME);
}

static void posix_sleep_ns(struct env *env, uint64_t ns)
{
    struct timespec left = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
        ;
}

static void posix_random(struct env *env, void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t now = getrandom((uint8_t *)data + done, size - done, 0);
        INVARIANT(now > 0 || errno == EINTR); /* Linux 3.17 and later: nothing else can go wrong */
        if (now > 0)
            done += (size_t)now;
    }
}

static void *thread_main(void *arg)
{
    struct posix_thread *thread = arg;
    thread->run(thread->arg);
    return NULL;
}

static plsm_status posix_thread_start(struct env *env, void (*run)(void *arg), void *arg, struct env_thread **out)
{
    struct posix_thread *thread = mem_zalloc(sizeof *thread);
    if (!thread)
        return fail(PLSM_NO_MEMORY, "no memory to start a thread");
    thread->base.env = env;
    thread->run = run;
    thread->arg = arg;
    /* The program's main thread handles signals; a library's thread must not take them from it. */
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* of what this thread does itself */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread->thread, NULL, thread_main, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        mem_free(thread);
        return fail(PLSM_NO_MEMORY, "cannot start a thread (error %d); raise the limit of processes (ulimit -u)",
                    error);
    }
    *out = &thread->base;
    return PLSM_OK;
}

static void posix_thread_join(struct env_thread *base)
{
    struct posix_thread *thread = (struct posix_thread *)base;
    int error = pthread_join(thread->thread, NULL);
    INVARIANT(error == 0);
    mem_free(thread);
}

static const struct env_ops posix_ops = {
    .open = posix_open,
    .close = posix_close,
    .read = posix_read,
    .read_many = posix_read_many,
    .map = posix_map,
    .append = posix_append,
    .append_pieces = posix_append_pieces,
    .append_synced = posix_append_synced,
    .sync = posix_sync,
    .truncate = posix_truncate,
    .size = posix_size,
    .rename = posix_rename,
    .exchange = posix_exchange,
    .link = posix_link,
    .remove = posix_remove,
    .make_dir = posix_make_dir,
    .sync_dir = posix_sync_dir,
    .list = posix_list,
    .space = posix_space,
    .lock = posix_lock,
    .unlock = posix_unlock,
    .now_ns = posix_now_ns,
    .cpu_ns = posix_cpu_ns,
    .wall_ns = posix_wall_ns,
    .sleep_ns = posix_sleep_ns,
    .random = posix_random,
    .thread_start = posix_thread_start,
    .thread_join = posix_thread_join,
};

struct env *env_posix(void)
{
    static struct env env = {&posix_ops};
    return &env;
}
