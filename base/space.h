/* Sizes that suit the file system that a store is on.
 *
 * An append-only store needs room to give room back: what deletes takes space first, and merging writes anew before it
 * removes. So its pieces must be small beside the file system, or the last of it could not be used, nor be freed. */
#ifndef BASE_SPACE_H
#define BASE_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/batch.h"
#include "base/status.h"

enum { SPACE_PARTS = 64, SPACE_PIECE_MIN = 64 << 10, SPACE_LOOK_PARTS = 256, SPACE_LOOK_MAX = 1 << 20 };

/* What a piece of `wanted` bytes is cut to on a file system of `bytes_total` (0: nobody knows): a 64th of it, 64 KiB at
 * least. Examples: 64 MiB wanted: on 4 GiB and more all of it, on 64 MiB 1 MiB. Pure. */
static inline uint64_t space_fit(uint64_t wanted, uint64_t bytes_total)
{
    uint64_t most = bytes_total / SPACE_PARTS;
    if (most < SPACE_PIECE_MIN)
        most = SPACE_PIECE_MIN;
    return bytes_total > 0 && wanted > most ? most : wanted;
}

/* After how many written bytes the free space is to be looked at again: a 256th of the file system, 1 MiB at most.
 * Example: 64 MiB: after 256 KiB. Pure. */
static inline uint64_t space_look_every(uint64_t bytes_total)
{
    uint64_t every = bytes_total / SPACE_LOOK_PARTS;
    return every < SPACE_LOOK_MAX ? every : SPACE_LOOK_MAX;
}

/* How many of `bytes_free` no merge may take: what is kept, or half of it, for the merges that come last must not wait
 * for room that only they make. Pure. */
static inline uint64_t space_merge_floor(uint64_t bytes_free, uint64_t kept)
{
    return kept < bytes_free / 2 ? kept : bytes_free / 2;
}

/* What is free beside `unwritten` bytes that are to be written anyway; where others have taken the room of that, all
 * that is free. Pure. */
uint64_t space_spare(uint64_t bytes_free, uint64_t unwritten);

/* PLSM_NO_SPACE for a batch that must not be written to the store at `path` while space is `low`: all but those that
 * only delete, and small ones with a deletion in them, as a rename is one; and for all that would take the room of what
 * is unwritten, beside which `spare_bytes` are free. */
plsm_status space_check_batch(bool low, uint64_t spare_bytes, const char *path, const struct batch *batch);

/* PLSM_NO_SPACE, with the message that says why a merge is not made. */
plsm_status space_refuse_merge(const char *path);

/* Whether a failure is one of space: nothing is broken. */
static inline bool space_is_lacking(plsm_status status)
{
    return status == PLSM_NO_SPACE || status == PLSM_QUOTA;
}

#endif
