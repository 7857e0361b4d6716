/* Replays operations on a store and on the model at once and compares every answer.
 *
 * Nothing here asserts: a step that finds a wrong answer says so in `failure` and returns false, so that a list can be
 * replayed again and again while it shrinks. */
#ifndef TESTS_HARNESS_REPLAY_H
#define TESTS_HARNESS_REPLAY_H

#include "base/env.h"
#include "tests/harness/model.h"

struct replay {
    struct env *env;
    const char *path;
    const char *options;
    struct model *model;
    plsm *db;        /* NULL while it cannot be opened (tolerant) */
    struct env *clock; /* env_memory_create: whose time the list sets; NULL: the machine's time, and nothing expires */
    bool must_exist; /* replay_start does not create it */

    /* Faults are about: an operation may also fail with an error that faults explain, and what a failed write left is
     * settled at the next reopen. */
    bool tolerant;
    /* Compact in a thread of its own while the list goes on (the store must have background=1). */
    bool compact_beside;

    bool created;    /* an open has succeeded: from now on it must be there */
    uint64_t errors; /* tolerated so far */
    char failure[1024];

    /* private */
    struct env_thread *compaction;
    plsm_status compaction_status;
    struct op batch[WORKLOAD_BATCH];
    size_t batch_count;
    plsm_bulk *bulk; /* a load left open, and the puts in it */
    struct op bulk_puts[WORKLOAD_BATCH];
    size_t bulk_count;
    uint64_t bulk_clock_s; /* when they were made */
    struct {
        plsm_snapshot *handle;
        uint64_t at;
    } snapshots[WORKLOAD_SLOTS];
    struct {
        plsm_iterator *handle;
        plsm_snapshot *snapshot; /* what it reads, not owned: closed before the snapshot is */
        struct model_cursor cursor;
    } iterators[WORKLOAD_SLOTS];
    plsm_value value;
    uint8_t *scratch; /* a value */
    uint8_t *probes;  /* three keys */
};

/* Opens (creating it where missing) the store at `path` and takes over `model`, whose newest moment it must hold. The
 * strings must outlive it. False: `failure` says why; destroy it all the same. */
bool replay_start(struct replay *replay, struct env *env, const char *path, const char *options, struct model *model);
/* Does one operation. */
bool replay_step(struct replay *replay, const struct op *op);
/* Closes what is open; also an error of the close is a failure unless tolerant. */
bool replay_stop(struct replay *replay);
/* Frees everything but the model; closes what is still open. */
void replay_destroy(struct replay *replay);

/* The store's entry for a key, into `value`; an error status where it cannot be read. */
plsm_status observe(plsm *db, unsigned key, plsm_value *value, struct observed *observed);
/* Finds which moment in [low, high] of a model an open store shows, by reading every key. UINT64_MAX: none, or a read
 * failed; `failure` says which. */
uint64_t find_moment(plsm *db, const struct model *model, uint64_t low, uint64_t high, char *failure, size_t size);
/* Reads every key by itself and settles the failed writes; with `tolerant` an unreadable key is no failure. */
bool replay_settle(struct replay *replay);

/* Whether the store holds exactly the model at a moment: every key of the key space by itself, the names forward and
 * backward. Where a read fails the rest is still compared, and *status is the first such error. False: something was
 * wrong, and `failure` says what. */
bool verify_state(plsm *db, const struct model *model, uint64_t at, plsm_status *status, char *failure, size_t size);

#endif
