/* The hybrid log: the door of this engine (after FASTER: Chandramouli et al., "FASTER: A Concurrent Key-Value Store
 * with In-Place Updates", SIGMOD 2018; Prasaad et al., "Concurrent Prefix Recovery: Performing CPR on a Database",
 * SIGMOD 2019).
 *
 * Keys here are whole internal keys: the keyspace byte, then the user's key (2 to HYBRID_KEY_MAX bytes).
 *
 * Addresses. All records (hybrid_record.h) stand in one log, at logical addresses that only grow:
 *
 *      floor      begin           head             read-only          tail
 *        | waiting  |     disk      |   in memory     |    mutable      |
 *
 * From read-only on a record is updated where it stands if the new value fits; below, a new record is appended. From
 * head on the log is in memory (hybrid_memory.c: pages, which are written to segment files, hybrid_segment.h, before
 * they are let go); below, a record is read from its segment, or from the cache of such records (hybrid_cache.h). An
 * opening leaves nothing in memory; then head goes back as reads ask for what is below, in the background or with the
 * next write (hybrid_return.c). From begin on the log counts; what is below waits for snapshots that may still need it,
 * and is then removed with its segment.
 *
 * Index. A hash table of cache lines (hybrid_index.h) leads to the newest record of a key or of one of the few keys
 * that share its entry; each record names the one before it. A lookup in memory so touches one line of the index and
 * the record.
 *
 * Writers are serialised by one mutex: that is what `prepare` asks for, and what keeps chains in the order of
 * addresses. What they wait for most is lines of memory; a thread that has met another writer fetches them before it
 * takes it. Readers take no lock and count no references: they are inside an epoch (base/epoch.h), and copy a record
 * that may be updated in place between two looks at its sequence number.
 *
 * Snapshots. A snapshot is an address: the tail at that moment, below which nothing is updated in place any more. A
 * chain walk that passes over what is above sees that moment. So an iterator (hybrid_iterator.c) sees one moment; the
 * names, which have no order here, it collects by reading through the log, and sorts. Keys of other keyspaces, few and
 * looked through often, stand in an ordered map as well (key_tree.h), until no snapshot can ask for them any more; and
 * so do the names while one listing follows another (hybrid_name_order.c).
 *
 * Durability. A batch is one record of the redo log (hybrid_redo.h) before it is applied. A recovery point
 * (hybrid_state.h) makes all of the log read-only, writes it out and drops the redo log up to that moment; writers wait
 * for none of it. Opening reads the log up to the last recovery point, which rebuilds the index, and replays the redo
 * log behind it. What is written without the redo log is there again from the recovery point on only.
 *
 * Space. What is overwritten, deleted or expired is garbage. While there is too much of it the oldest segment goes:
 * what is live in it is copied to the tail, a recovery point is taken, the file is removed (hybrid_compact.c). */
#ifndef LOG_HYBRID_H
#define LOG_HYBRID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/batch.h"
#include "base/env.h"

enum {
    HYBRID_KEY_MAX = 8193, /* with the keyspace byte */
    HYBRID_META_MAX = 255,
    HYBRID_VALUE_MAX = 128 << 10,
    HYBRID_NAMES = 1, /* keys that begin with it have no order, but counted directories */
};
#define HYBRID_BATCH_BYTES_MAX (UINT64_C(512) << 20)
#define HYBRID_MARK "hybrid-" /* every store of this engine has a file of this name and a number behind; no other has */

struct hybrid_options {
    struct env *env;
    bool create, exclusive, read_only;
    uint64_t memory;      /* bytes of the log that are kept in memory, with the cache of records; there is a least */
    bool memory_of_all;   /* what else is in memory, above all the index, is charged to it: the log has what is left */
    uint64_t buffer_size; /* bytes written, at least, in front of a recovery point that nobody asks for; from 64 KiB */
    uint64_t file_size;   /* of a segment; at least 64 KiB */
    uint32_t garbage_ppm; /* millionths of the log that are garbage, above which it is compacted */
    bool redo;            /* writes go into a redo log; false: they survive from the next recovery point on */
    bool log_mapped;      /* its records are stored to mapped memory where that is safe (ENV_LOG) */
    bool background;      /* flush, take recovery points and compact in a thread; false: inside the writing calls */
};

/* What a write survives. */
enum hybrid_durability {
    HYBRID_VOLATILE, /* nothing until the next recovery point */
    HYBRID_LOGGED,   /* the death of the process; HYBRID_VOLATILE where there is no redo log */
    HYBRID_SYNC,     /* power loss, with all that was written before */
};

struct hybrid;
struct hybrid_snapshot;
struct hybrid_iterator;

/* Opens the store in directory `path`; errors as plsm_open in store/plsm.h. A store that is read only beside
 * its writer, or alone, is as its redo log says at this moment, which is replayed into memory, whatever the bound; as
 * long as it is open the writer removes no file. */
plsm_status hybrid_open(const char *path, const struct hybrid_options *options, struct hybrid **out);
/* Takes a recovery point and closes; the handle is gone also on an error. Accepts NULL. */
plsm_status hybrid_close(struct hybrid *db);
bool hybrid_is_read_only(struct hybrid *db);

/* --- writing ---------------------------------------------------------------------------------------------------- */

/* Makes the final batch of a write that depends on the present state: no other write comes between. It may read and
 * iterate, and point *batch elsewhere (memory that lives until hybrid_write returns). An error refuses the write. */
typedef plsm_status hybrid_prepare(void *arg, const struct batch **batch);

/* Applies a batch, all or nothing. `prepare` may be NULL; `batch` too when prepare supplies one. PLSM_READ_ONLY;
 * PLSM_NO_SPACE, PLSM_NO_MEMORY, PLSM_IO: nothing was changed, but after an I/O error the store is read-only. */
plsm_status hybrid_write(struct hybrid *db, const struct batch *batch, hybrid_prepare *prepare, void *arg,
                         enum hybrid_durability durability);
/* The same of a batch of one put, reference or deletion of a key, which *change tells, with slices into the batch. */
plsm_status hybrid_write_one(struct hybrid *db, const struct batch *batch, const struct batch_change *change,
                             enum hybrid_durability durability);
plsm_status hybrid_sync(struct hybrid *db);  /* everything acknowledged so far survives power loss */
plsm_status hybrid_flush(struct hybrid *db); /* takes a recovery point */
/* Removes all garbage that was there at the call, save what snapshots still need. */
plsm_status hybrid_compact(struct hybrid *db);

/* A file of a checkpoint: see struct engine_file in store/engine.h, which it is for. */
struct hybrid_file {
    const char *name, *path;
    uint64_t size, identity;
};
/* Takes a recovery point and calls `each` for the files that are the store at that moment; they stay, and do not
 * change, while it is called. Writers go on. Returns the first error of `each`. */
plsm_status hybrid_checkpoint(struct hybrid *db, plsm_status (*each)(void *arg, const struct hybrid_file *file),
                              void *arg);

/* --- reading ---------------------------------------------------------------------------------------------------- */

/* A found entry; zero before the first use. The bytes are copied into `memory`, which grows and is reused. */
struct hybrid_value {
    plsm_slice value, meta; /* into memory; valid until the next use */
    uint64_t value_size;    /* also when the value itself was not asked for */
    uint64_t expires_s;     /* since 1970; 0: never */
    enum batch_kind kind;   /* BATCH_PUT or BATCH_REFERENCE */
    void *memory;
    size_t capacity;
};

/* PLSM_NOT_FOUND; PLSM_CORRUPT, PLSM_IO, PLSM_NO_MEMORY. `snapshot` may be NULL. With `no_value` the value of a put is
 * left empty; with `any` entries whose time has come are found, too. */
plsm_status hybrid_get(struct hybrid *db, const struct hybrid_snapshot *snapshot, plsm_slice key, bool no_value,
                       bool any, struct hybrid_value *out);
/* The same for many keys at one moment; returns the first status that is neither PLSM_OK nor PLSM_NOT_FOUND. */
plsm_status hybrid_multi_get(struct hybrid *db, const struct hybrid_snapshot *snapshot, const plsm_slice *keys,
                             size_t count, bool no_value, struct hybrid_value *outs, plsm_status *statuses);
/* Whether a key starts with `prefix`, which holds at least the keyspace byte. Of names and without a snapshot, prefixes
 * that end in '/' (or are all names) cost one look into a table, unless only entries that expire are below them or they
 * have more than 64 slashes; others cost a walk through the log. */
plsm_status hybrid_has_prefix(struct hybrid *db, const struct hybrid_snapshot *snapshot, plsm_slice prefix, bool *out);

struct hybrid_snapshot *hybrid_snapshot_create(struct hybrid *db); /* NULL: no memory */
void hybrid_snapshot_destroy(struct hybrid *db, struct hybrid_snapshot *snapshot); /* accepts NULL */

struct hybrid_entry {
    plsm_slice key, meta, value; /* valid until the iterator moves */
    uint64_t expires_s;
    enum batch_kind kind;
};
/* Over [from, to) in the order of keys; an empty bound is open. Stands nowhere at first. The names of the range are
 * collected and sorted here, unless they are in order. With `no_value` the value of a put has its size but no bytes. */
plsm_status hybrid_iterator_create(struct hybrid *db, const struct hybrid_snapshot *snapshot, plsm_slice from,
                                   plsm_slice to, bool no_value, struct hybrid_iterator **out);
void hybrid_iterator_show_expired(struct hybrid_iterator *it); /* before the first move */
void hybrid_iterator_destroy(struct hybrid_iterator *it);      /* accepts NULL */
/* Moves return the entry that the iterator then stands on, or NULL at an end and after an error. */
const struct hybrid_entry *hybrid_iterator_first(struct hybrid_iterator *it);
const struct hybrid_entry *hybrid_iterator_last(struct hybrid_iterator *it);
const struct hybrid_entry *hybrid_iterator_seek(struct hybrid_iterator *it, plsm_slice key);
const struct hybrid_entry *hybrid_iterator_seek_before(struct hybrid_iterator *it, plsm_slice key);
const struct hybrid_entry *hybrid_iterator_next(struct hybrid_iterator *it);
const struct hybrid_entry *hybrid_iterator_previous(struct hybrid_iterator *it);
plsm_status hybrid_iterator_status(const struct hybrid_iterator *it);

/* --- looking inside --------------------------------------------------------------------------------------------- */

/* Takes a recovery point, reads all segments, and compares them with the index and the counts; see plsm_check. */
plsm_status hybrid_check(struct hybrid *db, void (*report)(void *arg, const char *line),
                         void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg);
void hybrid_statistics(struct hybrid *db,
                       void (*each)(void *arg, const char *name, bool is_real, uint64_t integer, double real),
                       void *arg);
void hybrid_statistics_reset(struct hybrid *db);

#endif
