/* What memtable.c and memtable_iterator.c share. */
#ifndef LSM_MEMTABLE_PRIVATE_H
#define LSM_MEMTABLE_PRIVATE_H

#include "base/bytes.h"
#include "lsm/art.h"
#include "lsm/memtable.h"

struct memtable {
    _Atomic uintptr_t root; /* 0 while empty */
    const struct tombstones *_Atomic ranges; /* NULL: none */
    char apart[64];         /* what every lookup reads is not on the cache line that every addition writes */
    _Atomic uint64_t count; /* versions, and deletions of ranges */
    _Atomic unsigned references;
    /* Writer only. */
    struct arena arena;
    struct tombstones *draft; /* what is to be published as `ranges` next; NULL: nothing */
    size_t draft_ranges;      /* for how many there is room */
    /* Where the walk of the last addition ended: a place that stays in the tree until the next one, which begins there
     * if its key begins with the same `place_depth` bytes. Keys in order seldom walk from the root then. */
    _Atomic uintptr_t *place; /* NULL: nowhere yet */
    size_t place_depth;
    int in_order; /* 0 to IN_ORDER_MOST: up with an addition that began there, down faster with one that did not */
    plsm_slice place_key; /* of that addition, in the arena */
    size_t nodes[ART_TYPE_COUNT]; /* in the tree, by type: bounds what the next additions can need */
};

static inline const struct art_version *leaf_newest(const struct art_leaf *leaf)
{
    return atomic_load_explicit(&leaf->newest, memory_order_acquire);
}

static inline void version_entry(const struct art_leaf *leaf, const struct art_version *version, struct entry *out)
{
    out->key = art_leaf_key(leaf);
    out->meta = slice(version->bytes, version->meta_size);
    out->value = slice(version->bytes + version->meta_size, version->value_size);
    out->seq = version->seq;
    out->expires_s = 0;
    out->kind = (enum batch_kind)version->kind;
    out->separated = false;
    if (__builtin_expect(version->kind & ART_VERSION_EXPIRES, 0)) {
        out->kind = (enum batch_kind)(version->kind & ~ART_VERSION_EXPIRES);
        out->expires_s = get_u64(version->bytes + version->meta_size + version->value_size);
    }
}

#endif
