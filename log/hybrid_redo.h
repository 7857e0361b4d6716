/* The redo log of the hybrid log: record logs (base/reclog.h) "hybrid-redo-NUMBER" of magic "plsmhred". A record's user
 * is one of
 *
 *      0  a batch (base/batch.h), without deletions of ranges: those are in it key by key
 *      1  the head, the first record of a log, 24 bytes: u64 the number of the log before it, u64 the size of that one
 *         (reclog_size) when this one took over; both 0: there is none whose batches are still needed; u64 store, as in
 *         recovery points (hybrid_state.h), which logs have not that were written before stores had a number
 *
 * A recovery point begins a new one and, when it is whole, removes those before. Until then they are replayed one after
 * the other; a log that follows one that has lost its end is not, as writes must not be there without those before
 * them. Where something in it was synced that is damage: a sync of a log syncs those before it first. */
#ifndef LOG_HYBRID_REDO_H
#define LOG_HYBRID_REDO_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/batch.h"
#include "base/reclog.h"
#include "base/sync.h"

enum redo_record { REDO_BATCH = 0, REDO_HEAD = 1, REDO_HEAD_SIZE = 24, REDO_HEAD_SIZE_OLDEST = 16 };
#define REDO_MAGIC "plsmhred"

struct redo_log {
    struct reclog_writer *writer;
    uint64_t number;
};

/* Appending is under the write_lock of the store, and so is what takes `lock`: `current` and `old` change under both.
 * sync_lock, never taken while holding `lock`: of `syncing`, which is set during a sync: there is one at a time, whose
 * result serves all who wait for sync_ended. They leave together: with a lock for the time of a sync the next one would
 * begin before the second of them has seen that the last one was his. */
struct redo {
    struct env *env;
    const char *directory;
    bool mapped;
    uint64_t store; /* set before the first redo_switch */
    mutex lock, sync_lock;
    condition sync_ended;
    bool syncing;
    struct redo_log current; /* writer NULL: there is no redo log */
    struct redo_log *old;    /* behind the last recovery point, oldest first */
    size_t old_count, old_capacity;
    _Atomic uint64_t appended, synced; /* batches so far; those that survive power loss */
};

void redo_init(struct redo *redo, struct env *env, const char *directory, bool mapped);
/* Closes all; what they hold stays. */
void redo_destroy(struct redo *redo);

/* Creates log `number`, durable by its name, for redo_switch. PLSM_NO_SPACE, PLSM_IO, PLSM_NO_MEMORY: it is not
 * there. */
plsm_status redo_create(struct redo *redo, uint64_t number, struct redo_log *out);
/* Batches go into `next` from now on. After an error they go where they went. */
plsm_status redo_switch(struct redo *redo, const struct redo_log *next);
/* Appends a batch; not synced. Errors as reclog_append. */
plsm_status redo_append(struct redo *redo, const struct batch *batch);
/* All that was appended before survives power loss. A failure is never retried: the log is broken. */
plsm_status redo_sync(struct redo *redo);
/* Closes the old logs, which may be removed then: a recovery point has all that `appended` counted at its moment. */
void redo_drop_old(struct redo *redo, uint64_t appended);
void redo_path(const char *directory, uint64_t number, char *out, size_t size);
void redo_abandon(struct redo *redo, struct redo_log *log); /* closes and removes one that was not switched to */

/* The logs that are to be replayed. */
struct redo_logs {
    const uint64_t *numbers; /* of those that are there, ascending */
    size_t count;
    uint64_t first; /* number from which on none may be missing in front of one that is there */
    uint64_t store; /* 0: of any */
};
/* What stood in redo logs. */
struct redo_found {
    bool any;     /* something: batches, also those that had to be left out */
    bool skipped; /* some had to be left out: a log that follows would be, too */
};
/* Replays them in order. Where something stood in them they must not be met again by who reads what is written next.
 * PLSM_CORRUPT: also where one is missing, or of another store, and where `each` calls a batch PLSM_INVALID;
 * PLSM_VERSION, PLSM_IO, PLSM_NO_MEMORY, or what `each` returned. */
plsm_status redo_replay(struct env *env, const char *directory, const struct redo_logs *logs,
                        plsm_status (*each)(void *arg, plsm_slice batch), void *arg, struct redo_found *found);
/* Makes what they hold survive power loss. Errors as env_open and env_sync. */
plsm_status redo_sync_files(struct env *env, const char *directory, const uint64_t *numbers, size_t count);

#endif
