/* The engines under test behind one small table: one adapter per file, adapter_*.c.
 *
 * All get the same: keys and values as they are, no compression, writes logged, sync as asked. Rivals are set up as
 * their own documentation advises for this use; each adapter says how and why at its top. Their libraries are
 * loaded at run time (dlopen), so that plsm itself depends on none of them.
 *
 * Durability is of one class for all. Without `sync` a write has reached the kernel when the call returns, so that it
 * survives the death of the process; with it, it survives power loss. How each engine does it:
 *
 *   plsm         (each of its engines) PLSM_NONE: the log record has been handed to the kernel; PLSM_SYNC: and synced
 *   RocksDB      WriteOptions::sync false: written to the log by a write call; true: and synced
 *   LevelDB      the same
 *   LMDB         MDB_NOSYNC: pages and the meta page are in the shared map, which is the kernel's; a power loss may
 *                then damage the whole store, which is weaker than what the others promise; without it: synced
 *   WiredTiger   transaction_sync=(enabled,method=none): the log buffer is written to the kernel at each commit
 *                (without transaction_sync it would stay in the process, which is weaker); method=fsync: and synced */
#ifndef TOOLS_BENCH_ADAPTER_H
#define TOOLS_BENCH_ADAPTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/status.h"

struct adapter_options {
    uint64_t keys;          /* about how many there will be */
    uint32_t value_bytes;
    uint32_t threads;
    uint64_t cache_bytes;   /* of the engine's own cache */
    bool sync;              /* each write call survives power loss */
    const char *index;      /* of plsm: "learned", "traditional", "classic" */
    const char *options;    /* further ones of plsm, or NULL */
};

enum { ENGINE_BUFFER_BYTES = 64 << 20 }; /* write buffer of each engine that has one */

struct adapter_record {
    plsm_slice key, value;
    bool deletion; /* of the key; `value` is not looked at */
};

/* `db` and `session` are the adapter's own. A session belongs to one thread. Failures set plsm_message(). */
struct adapter {
    const char *name;
    bool own;       /* one of plsm's engines, which plsm.h opens by this name */
    bool has_index; /* has the modes that --index chooses from */
    bool unordered; /* sorts its keys for each scan */
    bool reads_by_calls; /* reads files with read calls, so that the kernel counts its pages; false: maps them */
    const char *calls_with; /* an option with which one that maps files reads them by calls, or NULL */
    /* Why it cannot be used here, or NULL: static text. */
    const char *(*lack)(void);
    plsm_status (*open)(const char *path, const struct adapter_options *options, void **db);
    plsm_status (*close)(void *db);
    /* Writes out what is buffered and waits for background work, as far as the engine has calls for that. */
    plsm_status (*settle)(void *db);
    plsm_status (*session)(void *db, void **session);
    void (*session_end)(void *session); /* accepts NULL */
    /* One atomic write of `count` records; deleting a key that is not there is no error. */
    plsm_status (*write)(void *session, const struct adapter_record *records, uint32_t count);
    /* PLSM_NOT_FOUND when absent; *value is valid until the session's next call. */
    plsm_status (*get)(void *session, plsm_slice key, plsm_slice *value);
    /* The same of `count` keys, each with a status of its own, in one call of the engine; returns the first that is
     * neither PLSM_OK nor PLSM_NOT_FOUND. NULL: `get` of one after another. */
    plsm_status (*get_many)(void *session, const plsm_slice *keys, uint32_t count, plsm_slice *values,
                            plsm_status *statuses);
    /* Reads a key as `get` does and gives it another value, in one step. NULL: `get`, then `write`. */
    plsm_status (*modify)(void *session, plsm_slice key, plsm_slice value, plsm_slice *old);
    /* Starts a scan at the first key >= from (empty: at the first of all); step gives the entries, one a call, until it
     * returns false; scan_end tells whether all went well. */
    plsm_status (*seek)(void *session, plsm_slice from);
    bool (*step)(void *session, plsm_slice *key, plsm_slice *value);
    plsm_status (*scan_end)(void *session);
};

extern const struct adapter adapter_lsm, adapter_appendlog, adapter_hybridlog, adapter_rocksdb, adapter_leveldb,
    adapter_lmdb, adapter_wiredtiger;

/* All of them, ended by NULL. */
extern const struct adapter *const adapters[];
const struct adapter *adapter_find(const char *name, size_t size); /* NULL: none of that name */

/* Loads `library` and looks up `count` functions; NULL when all are there, otherwise what is missing (static until the
 * next call). */
const char *adapter_load(const char *library, const char *const *names, void **functions, int count);

#endif
