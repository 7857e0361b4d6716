/* The index of the hybrid log: from the hash of a key to the address where its chain of records begins.
 *
 * A table of 2^k buckets, each one cache line: seven entries and a link to a further bucket. Bits 0 to k - 1 of the
 * hash choose the bucket, bits 15 to 33 are the tag. An entry, 64 bits:
 *
 *      bits 0 to 44   the address, in units of 8 bytes; 0: the entry is free
 *      bits 45 to 63  the tag
 *
 * Keys of one bucket and one tag share an entry, and so a chain. As k begins at 15, the bit by which a bucket is split
 * in two when the table grows is one of the tag: growing reads no record.
 *
 * Growing. A table of twice the size takes the place of the old one at once, and each change of the index then moves a
 * few buckets into it. Readers go to the old table for what has not been moved yet; nobody waits.
 *
 * One thread changes the index at a time; any number read it, each inside an epoch of the domain that was given. */
#ifndef LOG_HYBRID_INDEX_H
#define LOG_HYBRID_INDEX_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/epoch.h"
#include "base/status.h"

enum {
    INDEX_ENTRIES = 7,     /* of a bucket */
    INDEX_BITS_LEAST = 15, /* of the number of buckets */
    INDEX_TAG_BITS = 19,
    INDEX_ADDRESS_BITS = 64 - INDEX_TAG_BITS,
};
#define INDEX_ADDRESS_MASK ((UINT64_C(1) << INDEX_ADDRESS_BITS) - 1)

struct index_bucket {
    _Alignas(64) _Atomic uint64_t entries[INDEX_ENTRIES];
    _Atomic(struct index_bucket *) next;
};
_Static_assert(sizeof(struct index_bucket) == 64, "a bucket is a cache line");

struct index_table;
struct hybrid_index {
    _Atomic(struct index_table *) table;
    struct epoch *epoch;
    uint8_t apart[48]; /* on another line than what readers look at: */
    uint64_t used;     /* entries that are not free */
    uint64_t promised; /* calls of index_put that were reserved and have not come */
};

struct index_table {
    struct epoch_node node;
    unsigned bits;
    struct index_bucket *buckets;
    _Atomic(struct index_table *) old; /* what is still to be moved from; NULL: nothing */
    _Atomic uint64_t moved;            /* buckets of `old` that have been moved */
    struct index_slab *slabs;          /* memory of further buckets */
    struct index_bucket *spare;        /* further buckets that nobody uses */
    uint64_t spare_count;
};

/* An index for about `keys` keys. PLSM_NO_MEMORY. */
plsm_status index_create(struct hybrid_index *index, struct epoch *epoch, uint64_t keys);
void index_destroy(struct hybrid_index *index); /* nobody may be reading; accepts a zeroed one */

/* Makes sure that the next `changes` calls of index_put cannot fail, and grows the table where it is full. Entries with
 * an address below `floor` are free. PLSM_NO_MEMORY. */
plsm_status index_reserve(struct hybrid_index *index, uint64_t changes, uint64_t floor);
/* Sets the address at which the chain of a hash begins; after index_reserve. */
void index_put(struct hybrid_index *index, uint64_t hash, uint64_t address, uint64_t floor);
uint64_t index_bytes(const struct hybrid_index *index); /* of memory */

static inline uint64_t index_tag(uint64_t hash)
{
    return hash >> INDEX_BITS_LEAST << INDEX_ADDRESS_BITS;
}

static inline uint64_t index_address(uint64_t entry)
{
    return (entry & INDEX_ADDRESS_MASK) * 8;
}

/* The bucket in which the entry of a hash is looked for. */
static inline const struct index_bucket *index_bucket_of(const struct hybrid_index *index, uint64_t hash)
{
    struct index_table *table = atomic_load_explicit(&((struct hybrid_index *)(uintptr_t)index)->table,
                                                     memory_order_acquire);
    struct index_table *old = atomic_load_explicit(&table->old, memory_order_acquire);
    if (__builtin_expect(old != NULL, 0)) {
        uint64_t at = hash & ((UINT64_C(1) << old->bits) - 1);
        if (at >= atomic_load_explicit(&table->moved, memory_order_acquire))
            return &old->buckets[at];
    }
    return &table->buckets[hash & ((UINT64_C(1) << table->bits) - 1)];
}

/* The address at which the chain of a hash begins; 0: there is none. */
static inline uint64_t index_find(const struct hybrid_index *index, uint64_t hash)
{
    const struct index_bucket *bucket = index_bucket_of(index, hash);
    uint64_t tag = index_tag(hash);
    do {
        for (unsigned i = 0; i < INDEX_ENTRIES; i++) {
            uint64_t entry = atomic_load_explicit(&((struct index_bucket *)(uintptr_t)bucket)->entries[i],
                                                  memory_order_acquire);
            uint64_t units = entry ^ tag; /* of the address, where the tags are the same */
            if (units - 1 < INDEX_ADDRESS_MASK)
                return units * 8;
        }
        bucket = atomic_load_explicit(&((struct index_bucket *)(uintptr_t)bucket)->next, memory_order_acquire);
    } while (__builtin_expect(bucket != NULL, 0));
    return 0;
}

/* Brings the line of a hash in that is about to be looked for. */
static inline void index_prefetch(const struct hybrid_index *index, uint64_t hash)
{
    __builtin_prefetch(index_bucket_of(index, hash));
}

#endif
