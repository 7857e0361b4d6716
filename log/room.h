/* Room that is kept for deleting. What an append-only store deletes takes space first: a disk that is full could never
 * be emptied again, and the store not even be opened. */
#ifndef LOG_ROOM_H
#define LOG_ROOM_H

#include <stdatomic.h>

#include "base/batch.h"
#include "base/env.h"
#include "base/space.h"

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

/* Before a batch: looks at the free space of the store's file system, anew after each MiB, on a small one more often.
 * After it `low` tells whether less is free than what is kept for writing. Errors as env_space. One thread at a
 * time. */
plsm_status room_look(struct room *room, struct env *env, const char *path, uint64_t unwritten, uint64_t segment_size);
/* How many bytes a merge may take now (space_merge_floor). Errors as env_space. */
plsm_status room_for_merge(struct env *env, const char *path, uint64_t unwritten, uint64_t *bytes);
/* What space_check_batch says of a batch now. */
plsm_status room_check(const struct room *room, const char *path, const struct batch *batch);

#endif
