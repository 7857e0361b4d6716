/* A file system in memory that can be crashed.
 *
 * It records every storage call that changes something (create, append, sync, truncate, rename, link, remove,
 * make_dir, sync_dir) in a journal. env_memory_crash builds, from the first `calls` entries of that journal, a new file
 * system as a crash after that call would leave it. So one run of a workload gives all crash points: nothing is run
 * again. */
#ifndef BASE_ENV_MEMORY_H
#define BASE_ENV_MEMORY_H

#include "base/env.h"

/* A file opened with ENV_LOG shows zeros behind what was appended to whoever reads it (env.h), in steps of 4 KiB; after
 * KEEP they are there, after each power loss they are or are not, as the seed wants. */
enum env_crash {
    ENV_CRASH_KEEP,    /* the process died, the kernel lives: everything written is there */
    ENV_CRASH_DROP,    /* power loss, nothing unsynced survived: bytes and directory entries as last synced */
    ENV_CRASH_TORN,    /* power loss: per file, a prefix of the unsynced bytes survived, its last 512-byte sector
                          possibly with garbage in it; of each directory's unsynced changes, a prefix */
    ENV_CRASH_REORDER, /* power loss: each unsynced 512-byte sector (a lost one reads as zeros) and each unsynced
                          directory change survived or not, independently */
    ENV_CRASH_COUNT
};

/* An empty file system holding only the directory "/". `seed` drives its randomness. NULL: no memory. */
struct env *env_memory_create(uint64_t seed);
void env_memory_destroy(struct env *env); /* accepts NULL */

/* Sets the time that env_wall_ns tells, in seconds since 1970; it then stands still until it is set again. 0, and
 * before the first call: the machine's. A file system after a crash begins with that of the one it was made from. */
void env_memory_set_wall_s(struct env *env, uint64_t seconds);

/* Limits the bytes that files may take together, from now on: in blocks of 4 KiB, those included that have no name any
 * more but are open still. What does not fit is PLSM_NO_SPACE, after a part that fits was appended; names take nothing.
 * 0, and before the first call: there is no limit. A file system after a crash begins without one. */
void env_memory_set_capacity(struct env *env, uint64_t bytes);

/* Storage calls recorded so far; the position to hand to env_memory_crash. */
uint64_t env_memory_calls(struct env *env);
/* The file system after a crash behind journal entry `calls` (0: before the first); with `calls` less than all, an
 * append that is entry `calls` may be cut at any length in TORN and REORDER. `seed` decides what is kept; locks are
 * gone; what is there is durable, and its own journal is empty. NULL: no memory. */
struct env *env_memory_crash(struct env *env, uint64_t calls, enum env_crash kind, uint64_t seed);

/* The journal names what entry `call` (1-based) did, for a failing test's report: "append /s/log-000003 4096". */
void env_memory_describe(struct env *env, uint64_t call, char *text, size_t size);

/* Direct access for corruption tests: the whole content of a file. Valid until the next call that changes the file.
 * What is changed through it is as if the file had been written so: later crash images have it too. */
plsm_status env_memory_content(struct env *env, const char *path, uint8_t **data, size_t *size);

#endif
