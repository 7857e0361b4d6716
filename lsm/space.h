/* Free space: what is kept of it, and for what. The idea stands at the top of space.c. */
#ifndef LSM_SPACE_H
#define LSM_SPACE_H

#include "base/space.h"

struct lsm;

struct space_kept {
    uint64_t unflushed; /* bytes in memtables, and of values in their logs: flushes may write them once more */
    uint64_t deleting; /* bytes that no merge may take: for deletions, flushes, and opening */
    uint64_t writing;  /* bytes below which only what frees space is written; what is between is for merges */
};

/* What is kept on a file system of `bytes_total`: for deleting, what is in memtables, which is written once more by
 * their flush, and a 32nd of the file system or 4 MiB; for writing in addition one file of the largest (file_size) and
 * the largest merge that may soon be due (merge_bytes, of which no more than a quarter of the file system counts).
 * Example: 64 MiB, 1 MiB unflushed, files of 1 MiB, 5 MiB to be merged: 3 MiB for deleting, and 9 MiB for writing.
 * Pure. */
struct space_kept space_kept(uint64_t bytes_total, uint64_t unflushed, uint64_t file_size, uint64_t merge_bytes);

/* Which part of values that stay in a memtable's log (kept.h) counts for its size: a 16th, but where a log of so many
 * would be more than a 64th of the file system, as much as keeps it below that: what is in logs must be written anew
 * when they are given up, and when the process dies. Examples: buffer_size 64 MiB: a 16th from 64 GiB on, a 2nd on 8
 * GiB, all on 4 GiB and less. Pure. */
enum { SPACE_KEPT_SHARE_MAX = 16 };
uint64_t space_kept_share(uint64_t buffer_size, uint64_t bytes_total);

/* Cuts buffer_size and file_size to what suits the file system (base/space.h), when a store is opened for writing, and
 * sets kept_share. */
void space_fit_options(struct lsm *db);

/* Whether it is time to look at the free space, and the look, which sets space_low. The leader's. Where little is free
 * because a flush runs it waits for that, 2 s at most: a flush gives its log back, or what it has written where that
 * was too much. */
bool space_is_unknown(const struct lsm *db);
plsm_status space_look(struct lsm *db);
/* What space_check_batch says of a batch now. */
plsm_status space_check(const struct lsm *db, const struct batch *batch);

/* Whether what is kept for writing stays free when `bytes` more are written. Outside of lock. Errors as env_space. */
plsm_status space_has_for(struct lsm *db, uint64_t bytes, bool *out);

/* What a merge may take now (space_merge_floor). */
struct merge_room {
    uint64_t bytes;
    uint64_t floor_bytes; /* so much must stay free */
};
/* Outside of lock. Errors as env_space. */
plsm_status space_for_merge(struct lsm *db, struct merge_room *out);
/* PLSM_NO_SPACE, by space_refuse_merge, when less than the floor is free by now, whoever took it. */
plsm_status space_for_more(const struct lsm *db, const struct merge_room *room);
/* How much of a value log must be garbage, in millionths, for the rest to be written anew: separate_garbage, or a
 * fourth of it while space is low, when what is given back is worth more. */
uint32_t values_garbage_ppm(const struct lsm *db);
/* PLSM_OK for such a failure of a merge, to who only gave the occasion: it is tried again, and nobody waits for it. */
plsm_status space_excuse(plsm_status status);

#endif
