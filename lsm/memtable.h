/* The memtable: what was written last, in memory, in order.
 *
 * An adaptive radix tree (Leis, Kemper, Neumann: "The Adaptive Radix Tree", ICDE 2013) over whole keys, with the
 * versions of a key in a list, newest first. One writer at a time, or several, each in a lane of its own; any number of
 * readers at once without locks: nodes and versions are published with release stores, replaced nodes stay readable
 * until the memtable is destroyed (all memory comes from arenas), and nothing is ever removed (a deletion is a
 * version). Chosen by measurement: shared
 * facts, section 3 (insert 402 ns random, lookup 207; B+tree 452 and 409; the hash table is faster but cannot iterate
 * while it is written). */
#ifndef LSM_MEMTABLE_H
#define LSM_MEMTABLE_H

#include <stdbool.h>

#include "base/status.h"
#include "lsm/entry.h"
#include "lsm/tombstones.h"

enum { MEMTABLE_KEY_MAX = 65535 }; /* bytes; the store's limit is lower */

struct memtable;
struct mem_account;

struct arena_pool;

/* An empty memtable with one reference, which the caller owns; its memory comes from `pool` (NULL: none), which must
 * outlive it. NULL: no memory. */
struct memtable *memtable_create(struct arena_pool *pool);
/* Its memory is charged to `account` (base/alloc.h), also what it gives to its pool. Before anything is reserved. */
void memtable_charge(struct memtable *m, struct mem_account *account);
void memtable_ref(struct memtable *m);
void memtable_unref(struct memtable *m); /* frees at the last one; accepts NULL */

/* Makes sure that `entries` more entries with `bytes` bytes of keys, metas and values in all can be added without
 * failing. PLSM_NO_MEMORY otherwise, and the memtable is as it was. Writer only. */
plsm_status memtable_reserve(struct memtable *m, size_t entries, size_t bytes);
/* The same for one entry. */
plsm_status memtable_reserve_one(struct memtable *m, size_t bytes);
/* Gives back what was reserved for many entries and not taken: by the worst case, several times what they take. Writer
 * only. */
void memtable_trim(struct memtable *m);
/* Adds a version; its bytes are copied. Room must have been reserved. entry->seq must not be below that of any version
 * already there. Readers at a lower sequence number do not see it. Writer only. */
void memtable_add(struct memtable *m, const struct entry *entry);

/* The way to where a key is to be added, gone step by step while other keys are added: each step asks for the memory
 * that the next one needs, so that the waits of several keys overlap ("asynchronous memory access chaining": Kocberber,
 * Falsafi, Grot, VLDB 2015). A hint: the tree may change meanwhile. Zero it to start. Writer only. */
struct memtable_approach {
    const void *node; /* with its type in the low bits */
    bool begun;
};
void memtable_approach(const struct memtable *m, plsm_slice key, struct memtable_approach *approach);
/* Whether most keys that were added lately are neighbours of those before: then such a way does not pay. Writer only.
 */
bool memtable_in_order(const struct memtable *m);

/* Several writers at once: each has a lane, for which whoever hands out sequence numbers reserves room (one thread at a
 * time), through which one thread then adds, and which it ends. Versions of one key may come in any order of their
 * numbers; those with the same number must come through one lane, and the last of them is the newest. While any lane
 * has a reservation that has not ended, nothing may be reserved or added but through lanes. What is reserved and added
 * happens before what comes after only as the caller orders it. PLSM_NO_MEMORY, and nothing is reserved. */
enum { MEMTABLE_LANES = 4 };
plsm_status memtable_lane_reserve(struct memtable *m, unsigned lane, size_t entries, size_t bytes);
void memtable_lane_add(struct memtable *m, unsigned lane, const struct entry *entry);
void memtable_lane_end(struct memtable *m, unsigned lane);
bool memtable_lane_in_order(const struct memtable *m, unsigned lane); /* as memtable_in_order, for who adds there */

/* The same as memtable_reserve with `ranges` deletions of ranges more, whose keys count in `bytes`. */
plsm_status memtable_reserve_ranges(struct memtable *m, size_t entries, size_t bytes, size_t ranges);
/* Adds a deletion of [from, to), copied; `first` is the first sequence number of its group. Room must have been
 * reserved with memtable_reserve_ranges since the last memtable_publish_ranges, and `seq` must be above the numbers of
 * all versions that it is to hide. Readers see it after memtable_publish_ranges only. Writer only. */
void memtable_add_range(struct memtable *m, plsm_slice from, plsm_slice to, uint64_t seq, uint64_t first);
void memtable_publish_ranges(struct memtable *m);
/* The deletions of ranges, as they were published last; NULL: none. Valid as long as the memtable. Each publication
 * copies all there are, so a memtable takes a few thousand of them (its size grows, and it is flushed). */
const struct tombstones *memtable_ranges(const struct memtable *m);

/* The newest version of `key` with seq <= `seq`, or a deletion where one of a range hides it; its slices stay valid as
 * long as the memtable. */
bool memtable_get(const struct memtable *m, plsm_slice key, uint64_t seq, struct entry *out);

/* Memory in use (bytes of the arena that were handed out); versions and deletions of ranges added. */
size_t memtable_bytes(const struct memtable *m);
uint64_t memtable_count(const struct memtable *m);
/* Keys by what their newest versions are; what deletions of ranges hide is not looked at. Beside writers not of one
 * moment, and never of more keys than there are versions. */
struct memtable_keys {
    uint64_t put, deleted;
    uint64_t bytes; /* of the keys, metas and values of the former, about */
};
struct memtable_keys memtable_keys(const struct memtable *m);

/* Calls `visit` for every version there is: keys in order, the versions of a key newest first, `newest` set for the
 * first of them; what the entry's slices point to stays as long as the memtable, and the entry itself is the visitor's
 * to change. Ends with what `visit` returns when that is not PLSM_OK. For a memtable to which nobody adds any more.
 * PLSM_NO_MEMORY. */
typedef plsm_status memtable_visit(void *arg, struct entry *entry, bool newest);
plsm_status memtable_walk(const struct memtable *m, memtable_visit *visit, void *arg);

/* Walks keys in order, both ways, while a writer may be adding: keys that were there when the iterator last sought are
 * met; newer ones may be. At each key all versions can be read. Hold a reference to the memtable meanwhile. An iterator
 * that stands nowhere (new, or moved over an end) stays there until it seeks. It may be moved in memory, not copied. */
enum { MEMTABLE_STEPS = 32 }; /* branches on the path to a key that need no allocation */
struct memtable_step {
    const void *node; /* with its type in the low bits: lsm/art.h */
    int branch;       /* a key byte; -1 for the key that ends at the node */
};
struct memtable_iterator {
    const struct memtable *table;
    const void *leaf;            /* NULL: stands nowhere */
    struct memtable_step *steps; /* the path from the root to `leaf`; NULL while it fits into `own_steps` */
    size_t depth, capacity;
    bool failed; /* no memory for the path; stands nowhere */
    struct memtable_step own_steps[MEMTABLE_STEPS];
};
void memtable_iterator_init(struct memtable_iterator *it, const struct memtable *m);
void memtable_iterator_destroy(struct memtable_iterator *it);
void memtable_iterator_first(struct memtable_iterator *it);
void memtable_iterator_last(struct memtable_iterator *it);
void memtable_iterator_seek(struct memtable_iterator *it, plsm_slice key);        /* first key >= key */
void memtable_iterator_seek_before(struct memtable_iterator *it, plsm_slice key); /* last key < key */
void memtable_iterator_next(struct memtable_iterator *it);
void memtable_iterator_previous(struct memtable_iterator *it);
static inline bool memtable_iterator_valid(const struct memtable_iterator *it) { return it->leaf != NULL; }
plsm_slice memtable_iterator_key(const struct memtable_iterator *it);
/* The versions at the current key, newest first: *cursor starts NULL; false when there are no more. */
bool memtable_iterator_version(const struct memtable_iterator *it, const void **cursor, struct entry *out);

#endif
