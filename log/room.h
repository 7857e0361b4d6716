/* Room that is kept for deleting. What an append-only store deletes takes space first: a disk that is full could never
 * be emptied again, and the store not even be opened. */
#ifndef LOG_ROOM_H
#define LOG_ROOM_H

#include "base/batch.h"
#include "base/env.h"

struct room {
    uint64_t since_bytes; /* of batches, since the last look at the free space; the writer adds to it */
    bool looked, low;
};

/* Before a batch: looks at the free space of the store's file system, each MiB anew. After it `low` tells whether less
 * is free than what is kept: `bytes`, which are a segment's and of what is to be written anyway, and 4 MiB; a tenth of
 * the file system at most. Errors as env_space. One thread at a time. */
plsm_status room_look(struct room *room, struct env *env, const char *path, uint64_t bytes);
/* PLSM_NO_SPACE for a batch that must not be written while space is low: all but those that only delete, and small ones
 * with a deletion in them, as a rename is one. */
plsm_status room_check(const struct room *room, const char *path, const struct batch *batch);

#endif
