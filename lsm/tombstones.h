/* Range tombstones: deletions of all keys of a range, as sorted pieces that do not overlap.
 *
 * A deletion of [from, to) with sequence number s hides, from readers at s and above, every version of the keys in it
 * that is older: those in older sources (memtable, then runs from the newest down), and in its own source those with a
 * sequence number below s. A version with the same number came behind the deletion, in the same group of writes, and
 * stays. Deletions overlap as they like; readers want to know of one key which deletions cover it. So a list is kept
 * cut into fragments ("fragmented range tombstones", as in Pebble and RocksDB): sorted, disjoint, each with the
 * numbers of all deletions that cover it, newest first. A key is looked up by bisection.
 *
 *     deletions       [a, m) 5, [f, z) 9
 *     fragments       [a, f) 5    [f, m) 9 5    [m, z) 9
 *
 * A range lies within one first byte of keys (the keyspace): `to` may be at most the one-byte key that follows it.
 *
 * The block of a run (run_format.h names its place), numbers as varints:
 *   count of fragments, at least 1; then of each
 *     size of from, from, size of to, to     to above from, from not below the `to` before
 *     count of sequence numbers, at least 1
 *     the newest, then of each other how much smaller it is than the one before, at least 1 */
#ifndef LSM_TOMBSTONES_H
#define LSM_TOMBSTONES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "lsm/arena.h"
#include "lsm/entry.h"

/* A deletion beneath a newer one. */
struct tombstone_older {
    uint64_t seq;
    uint32_t source;
    const struct tombstone_older *older;
};

/* One fragment. */
struct tombstone {
    plsm_slice from, to;
    uint64_t seq;    /* of the newest deletion */
    uint32_t source; /* that it is from, where several are merged: 0 the newest */
    bool settled;    /* its oldest deletion need not be kept: set by whoever merges, when nothing older is left */
    const struct tombstone_older *older; /* the others, newest first */
};

/* A list. Who made it owns the memory and says how long it stays. */
struct tombstones {
    size_t count, capacity;
    struct tombstone *list;
};

/* --- reading ---------------------------------------------------------------------------------------------------- */

/* The first fragment that does not end at or before `key`; count when all do. */
size_t tombstones_reaching(const struct tombstones *t, plsm_slice key);
/* The fragment that covers `key`, or NULL. */
const struct tombstone *tombstones_find(const struct tombstones *t, plsm_slice key);
/* The same for keys asked in order: *at starts 0 and moves on. */
const struct tombstone *tombstones_next(const struct tombstones *t, size_t *at, plsm_slice key);
/* The newest deletion of a fragment that a reader at `seq` sees: its sequence number, 0 when there is none. */
static inline uint64_t tombstone_visible(const struct tombstone *t, uint64_t seq)
{
    if (t->seq <= seq)
        return t->seq;
    const struct tombstone_older *older = t->older;
    while (older && older->seq > seq)
        older = older->older;
    return older ? older->seq : 0;
}
/* The same for the fragment that covers `key`; 0 when none does. */
static inline uint64_t tombstones_covering(const struct tombstones *t, plsm_slice key, uint64_t seq)
{
    const struct tombstone *found = tombstones_find(t, key);
    return found ? tombstone_visible(found, seq) : 0;
}

/* --- making ----------------------------------------------------------------------------------------------------- */

/* Bytes to reserve in an arena so that a list of `count` fragments can be copied by tombstones_copy and take `more`
 * deletions by tombstones_add. */
size_t tombstones_bytes(size_t count, size_t more);
/* A copy of a list (NULL: an empty one) in the arena, with room for `more` deletions; keys and older deletions are
 * shared. Room must have been reserved. */
struct tombstones *tombstones_copy(struct arena *arena, const struct tombstones *from, size_t more);
/* A copy of a key in the arena, in which room must have been reserved. */
plsm_slice tombstones_key(struct arena *arena, plsm_slice key);
/* Adds a deletion that is newer than all others at its place, keys not copied: the list must have room. Where the
 * newest deletion of a fragment has a number from `low` on, nobody can see that one and not this one, so it is
 * replaced; others are kept beneath. PLSM_NO_MEMORY when that needs room which was not reserved. */
plsm_status tombstones_add(struct tombstones *t, struct arena *arena, plsm_slice from, plsm_slice to, uint64_t seq,
                           uint32_t source, uint64_t low);

/* --- merging ---------------------------------------------------------------------------------------------------- */

/* The deletions of several sources on their way into new runs. Zero it to start. */
struct tombstone_merge {
    struct arena arena;
    struct tombstones list;
    uint64_t cutoff; /* of two deletions at or below this only the newer one is needed */
};
void tombstone_merge_free(struct tombstone_merge *m);
/* Adds all of a source; sources oldest first, the newest is number 0. Keys are not copied. PLSM_NO_MEMORY. */
plsm_status tombstone_merge_add(struct tombstone_merge *m, const struct tombstones *source, uint32_t number);

/* Joins neighbours that say the same: pieces of deletions that were cut where runs end. After all sources are added. */
void tombstone_merge_join(struct tombstone_merge *m);

/* What becomes of a version of source `source` under a fragment (NULL: under none), in a merge with that `cutoff`.
 * True: a deletion that every reader sees hides it; it goes. Otherwise, where every reader sees it, entry->seq becomes
 * 0, or the number of a deletion that is kept beside it and came before it, so that it is not taken for older. (It may
 * have had a number of that kind before: only a number above the cutoff is the one it was written with.) */
bool tombstone_judge(const struct tombstone *t, uint64_t cutoff, uint32_t source, struct entry *entry);
/* Whether every key in [smallest, largest] is hidden in sources from `source` on by deletions of newer ones that every
 * reader sees. */
bool tombstone_merge_covers(const struct tombstone_merge *m, plsm_slice smallest, plsm_slice largest, uint32_t source);

/* --- the block -------------------------------------------------------------------------------------------------- */

/* Counts the deletions of a fragment that are to be kept. */
size_t tombstone_kept(const struct tombstone *t);
/* Appends a fragment, as far as it is to be kept, with other bounds. PLSM_NO_MEMORY. */
plsm_status tombstone_encode(struct buf *out, const struct tombstone *t, plsm_slice from, plsm_slice to);
/* Reads a block of `count` fragments; *out is one piece of memory, to be freed with mem_free. PLSM_CORRUPT without a
 * message: the caller knows the file. PLSM_NO_MEMORY. */
plsm_status tombstones_decode(plsm_slice block, uint64_t count, struct tombstones **out);

/* Whether a batch or a block may hold such a range: not empty, and within one first byte. */
bool tombstone_range_sound(plsm_slice from, plsm_slice to);
/* The largest key that may be below `to`, where that can be said; otherwise `to` itself. */
plsm_slice tombstone_last_key(plsm_slice to);

#endif
