/* Recovery: what the directory of a store holds, and the logs replayed. */
#ifndef LSM_RECOVER_H
#define LSM_RECOVER_H

#include "base/number_list.h"
#include "lsm/db.h"

/* Numbers of the files in a store's directory, sorted. */
struct inventory {
    struct number_list runs, logs, manifests, models, values;
    struct name_list {
        char **names;
        size_t count, capacity;
    } temporary;     /* names of unfinished files */
    bool foreign;    /* something is there that is not ours */
    plsm_status status;
};
/* Lists the directory. PLSM_NO_STORE when there is no such directory (or it is a file). */
plsm_status inventory_read(struct lsm *db, struct inventory *out);
void inventory_free(struct inventory *inventory);
/* Whether a directory without a MANIFEST may hold a creation that did not come to its end, of which nothing can be left
 * but logs without a batch. PLSM_CORRUPT: it was a store, and its MANIFEST is gone; else as reclog_read. */
plsm_status inventory_check_unborn(const struct lsm *db, const struct inventory *inventory);

/* What replaying the logs found. */
struct replay {
    struct memtable *table; /* what is not in runs; a reference is held */
    struct value_log *values; /* readers: the logs that it points into; a reference is held */
    struct edit edit;       /* runs written meanwhile, because the memtable was full (writers only) */
    uint64_t log_last;      /* the highest log number there is; floor - 1 when there is none */
    uint64_t logs;          /* files read */
    uint64_t seq_last;      /* of the last record replayed */
    uint64_t end_last;      /* size of the last of them */
    bool clean;             /* every log was closed in order */
    bool lost;              /* the last one follows on a loss: nothing of it counts */
    bool keep;              /* set by the caller: nothing is to be written into runs, however much it is */
    bool overtaken;         /* readers: a bulk load, which is in no log, came in after the MANIFEST was read */
    uint64_t grown_log, grown_end; /* readers: the log that the next one says to be longer than it was read to be */
};
/* Replays the logs from `floor` on into memory. Sets db->seq. PLSM_CORRUPT when a log is missing or damaged below what
 * was synced. A tear ends the replay: what stands in later logs was never synced and came after it. PLSM_CONFLICT, only
 * of a store that is open for reading: a log was longer than it was read to be, by a writer beside or because its end
 * is lost; the same grown_log and grown_end in *out at the next call say that it is lost. *out is zero otherwise. Or,
 * with *out->overtaken, a record does not follow the one before it: sequence numbers leave out nothing but bulk loads.
 * */
plsm_status replay_logs(struct lsm *db, const struct inventory *inventory, uint64_t floor, struct replay *out);
/* The same of a store that is open for reading: a log may grow while it is read, until the writer goes on in the next
 * one, whose file may have been there before. What the next one says of it decides: when it had grown, all is read
 * again, up to a hundred times. */
plsm_status replay_settled(struct lsm *db, const struct inventory *inventory, uint64_t floor, struct replay *out);
void replay_free(struct replay *replay);
/* Makes what the logs from `floor` on hold survive power loss. */
plsm_status replay_sync_logs(struct lsm *db, const struct inventory *inventory, uint64_t floor);

#endif
