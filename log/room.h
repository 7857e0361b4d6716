/* Room that is kept for deleting. What an append-only store deletes takes space first: a disk that is full could never
 * be emptied again, and the store not even be opened. */
#ifndef LOG_ROOM_H
#define LOG_ROOM_H

#include <stdatomic.h>

#include "base/batch.h"
#include "base/env.h"

struct room {
    uint64_t since_bytes; /* of batches, since the last look at the free space; the writer adds to it */
    uint64_t every_bytes; /* after so many the next one is due */
    uint64_t spare_bytes; /* that were free then, beside what is unwritten; where others have taken the room of that,
                             all that were free */
    bool looked;
    atomic_bool low;
};

/* What is kept on a file system of `bytes_total`, beside `unwritten` bytes that are to be written anyway: for writing,
 * a segment and 4 MiB, a tenth of the file system at most; of that for deleting, of which merges take half at most,
 * 1 MiB, a 64th at most. Example: 64 MiB, segments of 1 MiB, 2 MiB unwritten: 7 MiB and 3 MiB. Pure. */
struct room_kept {
    uint64_t writing, deleting;
};
struct room_kept room_kept(uint64_t bytes_total, uint64_t unwritten, uint64_t segment_size);

/* Before a batch: looks at the free space of the store's file system, anew after each MiB, on a small
 * one more often. After it `low` tells whether less
 * is free than what is kept for writing. Errors as env_space. One thread at a time. */
plsm_status room_look(struct room *room, struct env *env, const char *path, uint64_t unwritten, uint64_t segment_size);
/* How many bytes a merge may take now: what is not kept, or half of what is free, for the merges that come last must
 * not wait for room that only they make. Errors as env_space. */
plsm_status room_for_merge(struct env *env, const char *path, uint64_t unwritten, uint64_t *bytes);
/* PLSM_NO_SPACE, with the message that says why a merge is not made. */
plsm_status room_refuse_merge(const char *path);
/* Whether a failure is one of space: nothing is broken. */
static inline bool room_is_lacking(plsm_status status)
{
    return status == PLSM_NO_SPACE || status == PLSM_QUOTA;
}
/* PLSM_NO_SPACE for a batch that must not be written while space is low: all but those that only delete, and small ones
 * with a deletion in them, as a rename is one; and for all when it would take the room of what is unwritten. */
plsm_status room_check(const struct room *room, const char *path, const struct batch *batch);

#endif
