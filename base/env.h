/* The environment: every call to the kernel for storage, time, threads and randomness, behind one table.
 *
 * Three backends: env_posix (the real thing), env_memory (files in memory that know which bytes and which directory
 * entries were synced, and can produce the image a crash would leave) and env_fault (passes through to another backend
 * and makes the n-th call of a kind fail). Rooms above never call the kernel for these things themselves, so a test can
 * put a crashing, lying or full disk underneath everything.
 *
 * Backends may return short counts from read and append, as the kernel does; rooms call the env_* functions at the end
 * of this header, which loop. All functions may be called from any number of threads, but two appends to one file must
 * not overlap. Every failure sets the message with the path. */
#ifndef BASE_ENV_H
#define BASE_ENV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/status.h"

struct env;
struct env_file;
struct env_lock;
struct env_thread;

enum env_open_flags {
    ENV_READ = 1,   /* an immutable file, to be read; its descriptor may be closed and reopened by path (see below) */
    ENV_APPEND = 2, /* to be appended to (and read back); created when missing, emptied when there */
    ENV_LOG = 4,    /* the same for many small appends: space may be taken in advance, and what is appended copied into
                       memory that is the file's (see below) */
    ENV_LOG_OVER = 8, /* the same in place of a file that nobody needs any more: what is appended is written over what
                         it holds, from its start on; its space and its pages in memory serve again (see below) */
};

struct env_space {
    uint64_t bytes_total, bytes_free; /* of the file system; free as for an ordinary user */
    uint64_t files_total, files_free;
};

/* One of several reads issued together. */
struct env_piece {
    struct env_file *file;
    uint64_t offset;
    void *data;
    size_t size;
    plsm_status status; /* out: as env_read would have returned; its message may be another piece's */
};

struct env_ops {
    /* --- storage: the calls that a crash test enumerates are marked (*) --- */

    /* (*) Opens a file. PLSM_NOT_FOUND when ENV_READ or ENV_LOG_OVER and it does not exist; PLSM_UNSUPPORTED when
     * ENV_LOG_OVER and nothing is won on its file system, PLSM_EXISTS when it has a second name, under which it may be
     * needed. */
    plsm_status (*open)(struct env *env, const char *path, enum env_open_flags flags, struct env_file **out);
    void (*close)(struct env_file *file);
    /* Reads at most `size` bytes at `offset`; *got less than `size` may mean the end or just a short read; 0 is the
     * end. */
    plsm_status (*read)(struct env_file *file, uint64_t offset, void *data, size_t size, size_t *got);
    /* Reads what it can of several pieces at once; sets their status, or leaves it at PLSM_UNSUPPORTED where the piece
     * is to be read by itself. NULL: it never can. */
    void (*read_many)(struct env *env, struct env_piece *pieces, size_t count);
    /* Maps the first `size` bytes of an ENV_READ file; NULL: it never can. See env_map. */
    plsm_status (*map)(struct env_file *file, uint64_t size, atomic_bool *lost, const void **out);
    /* (*) Appends at most `size` bytes at the end; *put may be less than `size` (but not 0). */
    plsm_status (*append)(struct env_file *file, const void *data, size_t size, size_t *put);
    /* (*) The same of pieces, none of them empty, as if they stood behind each other. NULL: they are appended one by
     * one. */
    plsm_status (*append_pieces)(struct env_file *file, const plsm_slice *pieces, size_t count, size_t *put);
    /* (*) Makes the bytes (not the name) survive power loss. */
    plsm_status (*sync)(struct env_file *file);
    /* Both for bytes that are appended now, of the rest of the file nothing; some of them as append does. NULL: there
     * is no way to do that at once. */
    plsm_status (*append_synced)(struct env_file *file, const void *data, size_t size, size_t *put);
    /* (*) Cuts the file to `size` bytes, which must not be more than it has. Of an ENV_LOG file what was taken in
     * advance goes too, and nothing is taken from then on. */
    plsm_status (*truncate)(struct env_file *file, uint64_t size);
    plsm_status (*size)(struct env_file *file, uint64_t *size);
    /* (*) Replaces `to` atomically. */
    plsm_status (*rename)(struct env *env, const char *from, const char *to);
    /* (*) Gives each of two files or directories the name of the other, atomically; neither may be in the other.
     * PLSM_NOT_FOUND: one is not there; PLSM_UNSUPPORTED: the file system cannot do it, or NULL here. */
    plsm_status (*exchange)(struct env *env, const char *one, const char *other);
    /* (*) Gives a file a second name. PLSM_EXISTS when that is there already; PLSM_UNSUPPORTED where it cannot be: on
     * another file system, or NULL here. */
    plsm_status (*link)(struct env *env, const char *from, const char *to);
    /* (*) Removes a file, or an empty directory. */
    plsm_status (*remove)(struct env *env, const char *path);
    /* (*) PLSM_EXISTS when it is there already. */
    plsm_status (*make_dir)(struct env *env, const char *path);
    /* (*) Makes the names in a directory (created, renamed, removed) survive power loss. */
    plsm_status (*sync_dir)(struct env *env, const char *path);
    /* Calls `each` with every name but . and .. in no given order. PLSM_NOT_FOUND when there is no such directory. */
    plsm_status (*list)(struct env *env, const char *path, void (*each)(void *arg, const char *name), void *arg);
    plsm_status (*space)(struct env *env, const char *path, struct env_space *out);
    /* Locks byte `slot` of an existing file (open-file-description locks: two opens in one process exclude each other
     * too), creating the file when missing and possible. PLSM_LOCKED at once when held elsewhere in a way that
     * excludes. */
    plsm_status (*lock)(struct env *env, const char *path, unsigned slot, bool exclusive, struct env_lock **out);
    void (*unlock)(struct env_lock *lock);

    /* --- time, randomness, threads --- */
    uint64_t (*now_ns)(struct env *env);  /* monotonic */
    uint64_t (*cpu_ns)(struct env *env);  /* processor time of the calling thread */
    uint64_t (*wall_ns)(struct env *env); /* since 1970 */
    void (*sleep_ns)(struct env *env, uint64_t ns);
    void (*random)(struct env *env, void *data, size_t size); /* from the kernel; env_memory: from its seed */
    plsm_status (*thread_start)(struct env *env, void (*run)(void *arg), void *arg, struct env_thread **out);
    void (*thread_join)(struct env_thread *thread); /* waits for its end and frees it */
};

/* Backends embed these as their first member. */
struct env {
    const struct env_ops *ops;
};
struct env_file {
    struct env *env;
    const char *path; /* as it was opened; owned by the backend, valid until closed */
};
struct env_lock {
    struct env *env;
};
struct env_thread {
    struct env *env;
};

/* The POSIX backend; static, never freed. It keeps at most ENV_DESCRIPTORS_MAX descriptors of ENV_READ files open
 * (least recently used closed first, reopened by path when needed; PLSM_IO when the path then leads to another file),
 * so the number of runs is not limited by RLIMIT_NOFILE. Files are made with mode 0600, directories with 0700. */
enum { ENV_DESCRIPTORS_MAX = 512 };
struct env *env_posix(void);

/* From now on a page of a mapped file that cannot be had is an error, as told with ENV_LOG and env_map, and not the end
 * of the process. Handles SIGBUS for all the process; what is not about such a page goes to who handled it before. A
 * thread that has the signal blocked gets no help. For who owns the process: the first call counts, others do nothing.
 */
void env_posix_catch_lost_pages(void);

/* Files opened with ENV_LOG. Their size, for whoever opens them to read, also after a crash, may be more than what was
 * appended: the rest is zeros, space taken in advance; only a truncate takes it away (closing does not). The handle
 * that appends sees what was appended. All else is as with ENV_APPEND: an append that has returned survives the death
 * of the process, and a sync makes it survive power loss. Without it any part of what was appended may be lost, and
 * reads as zeros then: also a part in front of others that are there.
 * env_posix appends small pieces through a shared mapping of preallocated space, which the kernel writes back as it
 * does what was written; large ones, and all where the file system is not known to serve such a mapping without asking
 * for space again, with pwrite (those of 64 KiB and more on ext4 to preallocated space, too, as with ENV_APPEND). One
 * thing differs: where the disk is gone or has turned read-only, or the file was cut short, the kernel cannot refuse a
 * store to memory: it sends SIGBUS. Where that is caught the append fails with PLSM_IO, and so does from then on
 * whatever would change or sync the file; otherwise the process ends, and nothing acknowledged is lost by that which an
 * error from write(2) would have saved. A file that was cut within the page that is appended to brings no signal: the
 * next sync, or append that needs a new page, tells of it.
 *
 * After ENV_LOG_OVER what the file held before stands behind what was appended, instead of zeros, and after a power
 * loss in the place of any part of that which was not synced: who reads it must tell the two apart. A truncate takes
 * it away. The file must have no holes. What is gained:
 * appending to new pages takes their allocation, a file that grows is more to sync than one that does not, and to
 * remove one of many pages costs, too. */

/* Whole-buffer calls that loop over short counts. */

plsm_status env_open(struct env *env, const char *path, enum env_open_flags flags, struct env_file **out);
/* For those who implement it: PLSM_INVALID when they are none of env_open_flags. */
plsm_status env_check_flags(const char *path, enum env_open_flags flags);
void env_close(struct env_file *file); /* accepts NULL */
/* Reads exactly `size` bytes; PLSM_CORRUPT with a message naming file and offset when the file ends before. */
plsm_status env_read(struct env_file *file, uint64_t offset, void *data, size_t size);
/* Reads up to `size` bytes until the end of the file; *got says how many. */
plsm_status env_read_some(struct env_file *file, uint64_t offset, void *data, size_t size, size_t *got);
/* As env_read for each of `count` pieces, all under way at once where the system can (io_uring). Returns the first
 * piece's status that is not PLSM_OK. */
plsm_status env_read_many(struct env *env, struct env_piece *pieces, size_t count);
/* Shows the first `size` bytes of an ENV_READ file as memory, until it is closed; once for each handle. `size` may be
 * more than the file has (a file that another handle appends to): what is behind its end must not be touched. What is
 * not in memory is read when it is touched, a page at a time, as fits reads here and there. Where the disk then fails,
 * or the file was cut short, the kernel cannot return an error: it sends SIGBUS. Where that is caught
 * (env_posix_catch_lost_pages) *lost becomes true and the page zeros, otherwise the process ends. So who has read asks
 * env_map_whole then, and reads with env_read if it is not. `lost` is the caller's, false before, and stays until the
 * file is closed.
 * PLSM_UNSUPPORTED, without a message that counts: it cannot be mapped, so read it. */
plsm_status env_map(struct env_file *file, uint64_t size, atomic_bool *lost, const void **out);
/* Whether all that this thread has read so far from a mapping was the file's. */
static inline bool env_map_whole(const atomic_bool *lost)
{
#ifdef __SANITIZE_THREAD__ /* which knows no fences */
    atomic_signal_fence(memory_order_seq_cst);
#else
    atomic_thread_fence(memory_order_acquire);
#endif
    return __builtin_expect(!atomic_load_explicit(lost, memory_order_relaxed), 1);
}
/* Appends all of it or fails; after a failure any part may have reached the file. */
plsm_status env_append(struct env_file *file, const void *data, size_t size);
/* The same of pieces behind each other, with one call where the system can. For large ones: nothing is copied through a
 * mapping. */
plsm_status env_append_pieces(struct env_file *file, const plsm_slice *pieces, size_t count);
plsm_status env_sync(struct env_file *file);
/* Appends bytes that survive power loss when it returns; nothing else of the file is written, where the system can. */
plsm_status env_append_synced(struct env_file *file, const void *data, size_t size);
plsm_status env_truncate(struct env_file *file, uint64_t size);
plsm_status env_size(struct env_file *file, uint64_t *size);
const char *env_path(const struct env_file *file); /* the path it was opened with; valid until closed */
plsm_status env_rename(struct env *env, const char *from, const char *to);
plsm_status env_exchange(struct env *env, const char *one, const char *other);
plsm_status env_link(struct env *env, const char *from, const char *to);
plsm_status env_remove(struct env *env, const char *path);
plsm_status env_make_dir(struct env *env, const char *path);
plsm_status env_sync_dir(struct env *env, const char *path);
/* The same for the directory that `path` is in, so for the name `path` itself; it may end in slashes. PLSM_INVALID: it
 * is too long. */
plsm_status env_sync_parent(struct env *env, const char *path);
plsm_status env_list(struct env *env, const char *path, void (*each)(void *arg, const char *name), void *arg);
/* Of a file called PREFIX and digits: the number, and what stands behind the digits; 0: the name is something else, and
 * *rest is left as it is. */
uint64_t env_file_number(const char *name, const char *prefix, const char **rest);
plsm_status env_space(struct env *env, const char *path, struct env_space *out);
plsm_status env_lock(struct env *env, const char *path, unsigned slot, bool exclusive, struct env_lock **out);
void env_unlock(struct env_lock *lock); /* accepts NULL */
uint64_t env_now_ns(struct env *env);
uint64_t env_cpu_ns(struct env *env);
uint64_t env_wall_ns(struct env *env);
void env_sleep_ns(struct env *env, uint64_t ns);
void env_random(struct env *env, void *data, size_t size);
plsm_status env_thread_start(struct env *env, void (*run)(void *arg), void *arg, struct env_thread **out);
void env_thread_join(struct env_thread *thread); /* accepts NULL */

#endif
