/* The inside of struct lsm: what the files of this room share.
 *
 * Locks, in the order in which they are taken:
 *   edit_lock   one edit at a time: flush and compaction install their results one after another. Held over I/O.
 *   collect_lock   of removing files: held over I/O.
 *   sync_turn   of syncing the logs, the leader's or beside it (lsm_sync). Held over I/O.
 *   lock        everything in struct lsm that is not said to belong to somebody else. Never held over I/O.
 *   garbage_lock, snapshot_lock, those of the cache and of runs: leaves.
 * The leader of the write queue (write.c) owns the active memtable and the logs without a lock: there is one leader at
 * a time, and only it appends and rotates. Who has sync_turn syncs the logs, beside it or as it; `syncing` keeps them
 * open. The leader adds entries to the memtable, and those who led before it and have not finished; for what they must
 * not be beside, it waits for them (leader_await_landing). What it needs to know of others before it writes it reads
 * without lock, from members that are atomic: they may change right behind a look under lock, too. It takes lock when
 * something is to be done but writing.
 *
 * Readers take no lock: they enter the epoch, load the view, load the sequence number, in this order. A view may hold
 * runs from which versions were dropped that a reader at an older sequence number would need; a sequence number loaded
 * after the view is not older than the one that dropping was decided by. */
#ifndef LSM_DB_H
#define LSM_DB_H

#include "base/epoch.h"
#include "base/reclog.h"
#include "base/sync.h"
#include "base/turns.h"
#include "lsm/arena.h"
#include "lsm/follow.h"
#include "lsm/manifest.h"
#include "lsm/memtable.h"
#include "lsm/space.h"

#define LOG_MAGIC "PLSMLOG\0"

/* A log begins with a record of four u64: the store's id, the log's number, the size at which the log before it was
 * left (0: that log is not needed), and whether that one was closed in order, so synced (1) or not (0). The size tells
 * a log that lost its unsynced end in a power loss from a whole one: what stands in later logs came after the loss and
 * must not be seen without it. Of a closed log nothing can be lost but by damage. The user field of all other records
 * is their sequence number. */
enum { LOG_USER_IDENTITY = 0, LOG_IDENTITY_BYTES = 32 };

enum {
    LSM_STRUCT_MAGIC = 0x6c736d31,
    FROZEN_MAX = 2,  /* memtables that wait for their flush; more would only hide that the disk is too slow */
    LOCK_WRITER = 0, /* slots of the LOCK file: exclusive for the process that writes, */
    LOCK_PIN = 1,    /* shared for readers beside it: while one is held, no file is removed */
};

/* A memtable and the logs its content is in. */
struct memlog {
    struct memtable *table;
    struct reclog_writer *log;    /* of the newest of its logs */
    uint64_t log_first, log_last; /* numbers */
    struct value_log *values;     /* logs that it points into (kept.h): the newest; of a store that is open for reading
                                     several. A reference is held; NULL: none */
    _Atomic uint64_t kept_bytes;  /* of values in the newest that it points to, or did; the leader's */
};

/* What readers see. */
struct view {
    struct epoch_node node;
    _Atomic uint32_t references; /* one belongs to struct lsm until the view is replaced and all epochs of then ended */
    struct version *version;
    unsigned table_count;
    struct memtable *tables[FROZEN_MAX + 1]; /* newest first */
    struct value_log *values[FROZEN_MAX + 1]; /* of each: logs that it points into; NULL: none */
};

struct lsm_snapshot {
    uint64_t seq;
    struct lsm_snapshot *next, **link;
};

struct garbage {
    struct garbage_file {
        char kind; /* r: run, v: value log, l: log, s: log that may serve again, m: MANIFEST */
        uint64_t number;
    } * files;
    size_t count, capacity;
};

/* Where the output of the compaction under way will lie; level 0: there is none. */
struct merging {
    unsigned level;
    plsm_slice smallest, largest; /* of its inputs */
};

/* TAKEN: by a rotation, up to its end. Until then `next_log` is the number of a log in use, which nobody may make. */
enum next_log { NEXT_LOG_NOT_WANTED, NEXT_LOG_WANTED, NEXT_LOG_TRIED, NEXT_LOG_TAKEN };

struct lsm {
    uint32_t magic;
    struct lsm_options options; /* as opened, but for `policy`, which is never LSM_POLICY_AUTO: that changes under
                                   edit_lock and lock, by who has compacting */
    struct env *env;
    char *path;
    struct epoch *epoch;
    struct budget budget;
    struct cache *cache;
    struct arena_pool pool; /* of memtables: with those that wait for their flush never more than there may be */
    struct counters counters;
    struct samples *samples;  /* NULL: traditional mode, or nothing to choose */
    struct young_runs *young; /* NULL: each run is asked by itself */
    struct run_context context;
    struct env_lock *writer_lock, *pin_lock;
    uint64_t store_id;

    struct view *_Atomic view;
    _Atomic uint64_t seq; /* newest sequence number that readers may see */

    mutex edit_lock;
    struct manifest *manifest; /* under edit_lock */
    struct merging merging;    /* likewise: no plan may be made from a version in front of a bulk load behind it */

    mutex lock;
    struct version *version;          /* the newest; changed under edit_lock and lock */
    struct memlog active;             /* the leader's; changed under lock */
    struct memlog frozen[FROZEN_MAX]; /* oldest first */
    _Atomic unsigned frozen_count;
    /* The log after the active one: made in advance by who flushes once the leader wants it. */
    _Atomic enum next_log next_log_state;
    struct reclog_writer *prepared_log; /* number next_log, without a record yet; NULL: none */
    bool preparing;                     /* somebody is at it */
    bool prepared_over;                 /* it was made out of a spare one */
    uint64_t spare_log; /* number that the spare log had; 0: there is none */
    bool spare_fails;   /* on this file system none is made a log again: no more are kept */
    uint64_t flush_start_ns, flush_expected_ns; /* of the flush under way; expected from the one before, 0: unknown */
    uint64_t flush_bytes_per_s;
    uint64_t flushes_begun; /* so far, for whoever measures what they take */
    uint64_t next_number, next_log, log_floor;
    _Atomic unsigned awaited; /* so many writers are yet to come before the leader goes on; 0: it does not wait */
    condition company_came;
    _Atomic unsigned awaits_landing; /* threads that sleep until `seq` has moved */
    condition landing;
    _Atomic plsm_status broken; /* not PLSM_OK: the store turned read-only, for this reason */
    char broken_message[512];
    plsm_status background_status; /* of the last flush or compaction, when it may be tried again */
    char background_message[512];
    bool closing, flushing, compacting;
    bool compaction_lacks_space;    /* the last one was given up for want of room */
    uint64_t compact_after_ns;      /* then: when the thread tries again, */
    uint64_t compact_delay_ns;      /* and how long that is: longer each time */
    uint64_t jobs;            /* flushes and compactions started: every so many-th trains */
    uint64_t adopted_keys;              /* adopt.c: lookups that have been used up */
    uint64_t adopt_lookups;             /* likewise: that there were when it looked last */
    bool training_due;        /* what they left out is to be trained */
    mutex sync_turn;          /* who syncs the logs has it */
    uint64_t synced_log, synced_size; /* all up to there is synced; sync turn */
    atomic_bool syncing;      /* somebody is at the logs: they must not be closed */
    atomic_bool leader_syncs; /* writers wait for that */
    unsigned manual_waiting;  /* manual compactions that want to be next */
    condition work, progress; /* for the threads; for whoever waits for them */
    struct env_thread *flusher, *compactor;
    _Atomic unsigned writers_depth; /* of the version */
    struct follow follow;     /* changed by who has compacting */
    struct buf compact_cursor[LSM_LEVELS]; /* of each level, the run merged last; owner: who has compacting */

    struct turns turns; /* of writers */
    /* the leader's */
    uint64_t flight_seq;    /* of the last group that went beside others: those up to `seq` have landed */
    unsigned crowd;         /* groups that still go beside others: writers met not long ago */
    unsigned company;       /* writers there were when the last sync had ended, with those it served */
    unsigned company_pause; /* so many syncs do not wait for company */
    uint64_t sync_ns;       /* what the last sync took */
    uint64_t space_unseen_bytes;  /* written since the free space was last looked at, */
    uint64_t space_every_bytes;   /* and after how many it is to be; 0 before the first time */
    atomic_bool space_low;        /* anybody may look */
    bool space_tight;             /* memtables are to be flushed early: a flush gives their logs back */
    uint64_t space_spare_bytes;   /* that were free then, beside what is to be flushed; where others have taken the room
                                     of that, all that were free */
    uint64_t group_bytes;    /* of the last group's changes, as memlog_bytes counts them */
    size_t kept_above;       /* values of so many bytes stay in the log (kept.h); SIZE_MAX: none does */
    struct kept_record *kept; /* of the last group with such values */
    uint64_t kept_share;      /* of such values this part counts for a memtable's size (space.h); set at opening */
    uint64_t paced_until_ns; /* what it wrote is paid for then */
    size_t unlooked_bytes; /* written, about, since it looked how full the active memtable is */
    size_t look_bytes;     /* after so many it looks again */
    /* Lanes of the memtable that groups on their way into it use: the leader's to take, theirs to give back. */
    struct lane_use {
        char apart[64];
        atomic_bool taken;
    } lanes[MEMTABLE_LANES];
    char apart_last[64];

    mutex snapshot_lock;
    struct lsm_snapshot *snapshots; /* newest first */

    mutex collect_lock; /* one thread removes at a time: the pin that it takes would keep a second one from it */
    mutex garbage_lock;
    struct garbage garbage;
};

/* Its size as `buffer_size` limits it: values that stay in the log cost no memory and no work at the flush, but time to
 * replay, the wait for their sync, and room where they must be written anew. */
static inline uint64_t memlog_bytes(const struct lsm *db, const struct memlog *memlog)
{
    return memtable_bytes(memlog->table) +
           atomic_load_explicit(&memlog->kept_bytes, memory_order_relaxed) / db->kept_share;
}

/* Seconds since 1970, as ages of runs are told. */
static inline uint64_t db_now_s(const struct lsm *db)
{
    return env_wall_ns(db->env) / 1000000000;
}

/* An empty memtable, charged to the budget. NULL: no memory. */
struct memtable *db_memtable_create(struct lsm *db);

/* --- view.c --- */
/* Makes a view of the present state and publishes it; the old one is retired. Under lock. `fresh` is memory for it,
 * from view_alloc (so that publishing cannot fail). */
struct view *view_alloc(void); /* NULL: no memory */
void view_publish(struct lsm *db, struct view *fresh);
struct view *view_acquire(struct lsm *db); /* with a reference */
/* The same, and the sequence number to read at: of the snapshot, or the newest. The view is the newest then, too: in an
 * older one the active memtable may hold what was written behind a bulk load which that view does not have. */
struct view *view_acquire_at(struct lsm *db, const struct lsm_snapshot *snapshot, uint64_t *seq);
void view_release(struct view *view);      /* accepts NULL */
/* The value log that an entry of the view points into; NULL: there is none. */
struct value_log *view_value_log(const struct view *view, uint64_t number);
/* Sequence number below or at which only the newest version of a key is needed by anybody. */
uint64_t snapshot_cutoff(struct lsm *db);

/* --- options.c --- */
/* PLSM_INVALID: some cannot be, or do not go together. */
plsm_status options_check(const struct lsm_options *options);

/* --- open.c --- */
/* Turns the store read-only for good: further writes get this status and the calling thread's message. Under lock. */
void db_break(struct lsm *db, plsm_status status);
/* Remembers a failure that may pass (no space, no memory), or breaks the store. Under lock. */
void db_background_failed(struct lsm *db, plsm_status status);
/* PLSM_OK, or why writing is impossible. Under lock. */
plsm_status db_writable(const struct lsm *db);

/* --- log.c --- */
void log_path(const struct lsm *db, uint64_t number, char *path, size_t size);
/* A log of this process that is not needed any more, nor read: becomes the spare one, or is removed. */
void log_retire(struct lsm *db, uint64_t number);
/* Removes the spare log. False: there was none. Keeps this thread's message. */
bool log_drop_spare(struct lsm *db);
/* Whether more space is taken by logs than those in use need. Under lock. */
bool log_has_spare(const struct lsm *db);
/* Gives it back, also what the log made in advance has of it. The flusher's; under lock, which it gives up meanwhile.
 */
void log_give_up_spare(struct lsm *db);
/* Writes a log's first record; closes it on failure, *log is NULL then. */
plsm_status log_begin(struct lsm *db, uint64_t number, uint64_t size_before, bool closed_before,
                      struct reclog_writer **log);
/* Creates a log, with its first record; the caller syncs the directory. */
plsm_status log_create(struct lsm *db, uint64_t number, uint64_t size_before, bool closed_before,
                       struct reclog_writer **out);
/* A log that is to be made, as a value log, for values that stay in it: *out gets a reference; NULL where none does.
 * Its salt is set once it is there. PLSM_NO_MEMORY. */
plsm_status log_values(struct lsm *db, uint64_t number, struct value_log **out);
/* Makes the next log in advance, so that a rotation need not wait for the disk. The flusher's; under lock, which it
 * gives up meanwhile. */
void log_prepare(struct lsm *db);
/* The same by who flushes, where it is wanted and nobody is at it. Outside of lock. */
void log_prepare_early(struct lsm *db);
/* The same by the leader, with its first record: the one made in advance, or now. Outside of lock. The caller sets
 * next_log_state once next_log has moved, or the log is closed. */
plsm_status log_next(struct lsm *db, uint64_t number, struct reclog_writer **out);
/* Takes away a log that was made in advance and holds nothing. Where it stays, the next opening finds a log that was
 * not closed, and writes what the others hold into a run. At closing. */
void log_drop_prepared(struct lsm *db);

/* --- room.c: the leader's --- */
/* Makes sure that the active memtable may take more, and holds the leader back for what the last group wrote. Under
 * lock, which it gives up at times. */
plsm_status make_room(struct lsm *db);
/* Waits until level 0 may take more, as make_room does where the memtable is full. Outside of lock. */
plsm_status leader_await_levels(struct lsm *db);
/* Freezes the active memtable and starts a new one with a new log; there must be room for it, and no
 * group may be on its way there. Outside of lock. */
plsm_status leader_rotate(struct lsm *db);

/* --- garbage.c --- */
void garbage_add(struct lsm *db, char kind, uint64_t number);
/* Removes what is not needed, unless a reader pins it, or another thread is at it. Outside of all locks. */
void garbage_collect(struct lsm *db);
/* The same behind another thread that is at it: what this one no longer needs is gone then. */
void garbage_collect_all(struct lsm *db);

/* --- flush.c --- */
/* Writes a memtable into runs of level 0 and adds them to the edit; of its logs only those that it points into matter.
 */
plsm_status flush_table(struct lsm *db, const struct memlog *memlog, struct edit *edit);
/* Flushes the oldest frozen memtable, if there is one; others wait for whoever is at it. Takes lock itself. */
plsm_status flush_oldest(struct lsm *db);
/* Applies an edit: MANIFEST first, then the view. `flushed` true: the oldest frozen memtable is in it and goes. */
plsm_status install_edit(struct lsm *db, struct edit *edit, bool flushed);
/* The same for a bulk load, whose first `count` runs, of `bytes` in all, first get the level that is right by now.
 * Leader. */
plsm_status install_bulk(struct lsm *db, struct edit *edit, size_t count, uint64_t bytes);

/* --- write.c --- */
/* Waits until all groups that were appended are in the memtable and visible. Leader, without lock. */
void leader_await_landing(struct lsm *db);
/* Syncs the logs, oldest first. Leader, without lock. A failure is final. */
plsm_status leader_sync_logs(struct lsm *db);

/* --- bulk.c: policy --- */
/* On which level `bytes` of new runs belong, where nothing is in the way: the last, or below it the first that has room
 * for them. Example: level 1 may hold 256 MiB and holds 200, nothing is below: 50 MiB go to level 1, 100 MiB to level
 * 2. */
unsigned bulk_level_for(const struct version *version, const struct lsm_options *options, uint64_t bytes);
/* Where a run from `smallest` to `largest` that is newer than everything may stand: at most on `deepest`, above all
 * that it overlaps, and not among what a compaction may be writing. Example: deepest 3, a run of level 2 overlaps it:
 * level 1. One of level 1 does: level 0, where runs may overlap. */
unsigned bulk_level(const struct version *version, const struct merging *merging, unsigned deepest, plsm_slice smallest,
                    plsm_slice largest);
/* At most on which level a run may stand that is to go no deeper than `deepest`: above the last one where it deletes,
 * since only a merge from above takes deletions away. Example: the last level is 2: on 1, or `deepest` if it deletes
 * nothing. */
unsigned bulk_deepest(const struct version *version, unsigned deepest, const struct run_facts *facts);

/* --- adopt.c --- */
enum adoption {
    ADOPTION_NONE,  /* there is nothing to do, or no room, until the version changes */
    ADOPTION_SOON,  /* not enough lookups yet, but they are coming in */
    ADOPTION_LATER, /* there are none */
    ADOPTION_DONE,  /* one was looked at; there may be more */
};
/* Enters one run that should be in the table over young runs and is not, when it is worth it; calls fit_young as well.
 * A failure costs speed and nothing else. One thread at a time, outside of all locks. */
enum adoption adopt_pending(struct lsm *db);
/* Looks after the size of that table: young_runs_fit, which tells what is returned. After compactions; outside of all
 * locks. */
bool fit_young(struct lsm *db);
/* When to look again after ADOPTION_SOON and ADOPTION_LATER: what waits costs each lookup, and looking costs little. */
enum { ADOPT_SOON_NS = 100 * 1000 * 1000, ADOPT_LATER_NS = 1000 * 1000 * 1000 };
/* Does so as long as there is something to do: the thread of a store that is open for reading alone. */
void adopt_while_open(void *db);

/* --- train.c --- */
/* Puts a version with the same runs in the place of the newest one: places among the young runs are looked at anew, and
 * with `train` the models of levels are made anew. PLSM_NO_MEMORY. */
plsm_status version_renew(struct lsm *db, bool train);
/* Trains what was left out, when it is time. A failure costs speed and nothing else: those runs are served by their
 * fences until the next time. Outside of all locks. */
void train_pending(struct lsm *db);

/* --- compact_job.c --- */
/* Carries out a plan that was picked from `version`, by whoever has compacting. */
plsm_status compaction_run(struct lsm *db, struct version *version, const struct compaction *plan);

/* --- compact.c --- */
struct version *version_newest(struct lsm *db); /* with a reference */
/* Compacts while some level asks for it. Claims `compacting`. With `once` at most one step. */
plsm_status compact_pending(struct lsm *db, bool once, bool *worked);
void background_start(struct lsm *db, plsm_status *status);
void background_stop(struct lsm *db);

#endif
