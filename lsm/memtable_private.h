/* What the files of the memtable share. */
#ifndef LSM_MEMTABLE_PRIVATE_H
#define LSM_MEMTABLE_PRIVATE_H

#include "base/bytes.h"
#include "base/sync.h"
#include "lsm/art.h"
#include "lsm/memtable.h"

enum {
    /* Of what an entry takes beside its bytes: leaf and version are one piece each at most, rounded up. */
    ENTRY_FIXED_BYTES_MAX =
        sizeof(struct art_leaf) + sizeof(struct art_version) + sizeof(uint64_t) + 3 * (ART_LEAF_ALIGNMENT - 1),
    IN_ORDER_MOST = 8,
    IN_ORDER = 4,
    IN_ORDER_MISS = 3, /* of counters, every tenth begins elsewhere */
};
#define MEMTABLE_ENTRIES_MAX (SIZE_MAX / 16384) /* at once: keeps the arithmetic of reservations in range */

/* Where a writer's last walk ended: its next one begins there if its key begins with the same `depth` bytes. Keys in
 * order seldom walk from the root then. */
struct memtable_place {
    _Atomic uintptr_t *slot; /* NULL: nowhere yet */
    _Atomic uintptr_t *lock; /* of what `slot` is in; only writers beside others need it */
    size_t depth;
    int in_order;   /* 0 to IN_ORDER_MOST: up with an addition that began there, down faster with one that did not */
    plsm_slice key; /* of that addition, in an arena */
};

/* For telling how many keys there are; each changes with what is not a put of a new key alone. Its writer's. */
struct memtable_tally {
    _Atomic uint64_t again;   /* versions of keys that were there, and deletions of ranges */
    _Atomic uint64_t deleted; /* keys that became deleted less those that ceased to be: may be below 0 for one writer */
};

/* What one of several writers at once has for itself. */
struct memtable_lane {
    struct arena arena; /* of leaves and versions */
    struct memtable_place place;
    _Atomic size_t promised; /* entries that it may still add; 0: nobody uses it */
    _Atomic uint64_t added;  /* ever; only who uses it changes it */
    struct memtable_tally tally;
    char apart[64];
};

struct memtable {
    _Atomic uintptr_t root; /* 0 while empty */
    const struct tombstones *_Atomic ranges; /* NULL: none */
    char apart[64];         /* what every lookup reads is not on the cache line that every addition writes */
    _Atomic uint64_t count; /* versions and deletions of ranges, but for what came through lanes */
    _Atomic unsigned references;
    struct memtable_tally tally; /* likewise */
    /* Writer only. */
    struct arena arena;
    struct tombstones *draft; /* what is to be published as `ranges` next; NULL: nothing */
    size_t draft_ranges;      /* for how many there is room */
    struct memtable_place place;
    size_t nodes[ART_TYPE_COUNT]; /* in the tree, by type: bounds what the next additions can need */
    _Atomic uint64_t node_bytes;  /* of all that were ever in it */
    /* Of several writers, memtable_lanes.c. */
    bool beside; /* lanes are in use, or were last: whoever was alone before did not mark what it replaced, and whoever
                    is alone next does not look at marks, so places of the one are none of the other */
    size_t unpromised; /* additions that there is room for nodes for, beside what lanes were promised; who reserves */
    mutex nodes_lock; /* of `arena` and `nodes`, while lanes are in use */
    _Atomic uintptr_t root_lock; /* as `ended` of nodes: of `root` */
    struct memtable_lane lanes[MEMTABLE_LANES];
};

static inline const struct art_version *leaf_newest(const struct art_leaf *leaf)
{
    return atomic_load_explicit(&leaf->newest, memory_order_acquire);
}

static inline const struct art_version *version_older(const struct art_version *version)
{
    return atomic_load_explicit(&version->older, memory_order_acquire);
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
    if (__builtin_expect(version->kind >= ART_VERSION_EXPIRES, 0)) {
        out->kind = (enum batch_kind)(version->kind & (ART_VERSION_EXPIRES - 1));
        out->separated = version->kind & ART_VERSION_SEPARATED;
        if (version->kind & ART_VERSION_EXPIRES)
            out->expires_s = get_u64(version->bytes + version->meta_size + version->value_size);
    }
}

static inline void tally_add(_Atomic uint64_t *what, uint64_t more)
{
    atomic_store_explicit(what, atomic_load_explicit(what, memory_order_relaxed) + more, memory_order_relaxed);
}

/* A node of this type was made for the tree, as a part of it or in the place of one of the type before. */
static inline void node_made(struct memtable *m, enum art_type type)
{
    static const uint16_t sizes[ART_TYPE_COUNT] = {[ART_4] = sizeof(struct art_node4),
                                                   [ART_16] = sizeof(struct art_node16),
                                                   [ART_48] = sizeof(struct art_node48),
                                                   [ART_256] = sizeof(struct art_node256)};
    m->nodes[type - 1] -= type > ART_4;
    m->nodes[type]++;
    tally_add(&m->node_bytes, sizes[type] + ART_NODE_ALIGNMENT / 2); /* half of that is left unused in front of it */
}

static inline bool version_deletes(const struct art_version *version)
{
    return (version->kind & (ART_VERSION_EXPIRES - 1)) == BATCH_DELETE;
}

/* A key is there now that was not. */
static inline void tally_first(struct memtable_tally *tally, const struct entry *entry)
{
    if (entry->kind == BATCH_DELETE)
        tally_add(&tally->deleted, 1);
}

/* A version has come in front of `older`, which was the newest. */
static inline void tally_newest(struct memtable_tally *tally, const struct entry *entry,
                                const struct art_version *older)
{
    tally_add(&tally->again, 1);
    if ((entry->kind == BATCH_DELETE) != version_deletes(older))
        tally_add(&tally->deleted, entry->kind == BATCH_DELETE ? 1 : (uint64_t)-1);
}

/* --- adding ------------------------------------------------------------------------------------------------------- */

static inline size_t version_bytes(const struct entry *entry)
{
    return offsetof(struct art_version, bytes) + entry->meta.size + entry->value.size +
           (entry->expires_s ? sizeof(uint64_t) : 0);
}

static inline void version_fill(struct art_version *version, const struct art_version *older, const struct entry *entry)
{
    atomic_init(&version->older, older);
    version->seq = entry->seq;
    version->value_size = (uint32_t)entry->value.size;
    version->kind = (uint8_t)(entry->kind | (entry->separated ? ART_VERSION_SEPARATED : 0));
    version->meta_size = (uint8_t)entry->meta.size;
    copy_short(version->bytes, entry->meta.data, entry->meta.size);
    copy_short(version->bytes + entry->meta.size, entry->value.data, entry->value.size);
    if (__builtin_expect(entry->expires_s != 0, 0)) {
        version->kind |= ART_VERSION_EXPIRES;
        put_u64(version->bytes + entry->meta.size + entry->value.size, entry->expires_s);
    }
}

/* Leaf and first version stand together: a lookup that finds the one has most likely loaded the other. */
static inline struct art_leaf *leaf_make(struct arena *arena, const struct entry *entry)
{
    size_t key_end = offsetof(struct art_leaf, key) + entry->key.size;
    size_t at = (key_end + ART_LEAF_ALIGNMENT - 1) / ART_LEAF_ALIGNMENT * ART_LEAF_ALIGNMENT;
    struct art_leaf *leaf = arena_alloc(arena, at + version_bytes(entry), ART_LEAF_ALIGNMENT);
    struct art_version *version = (struct art_version *)((uint8_t *)leaf + at);
    version_fill(version, NULL, entry);
    leaf->key_size = (uint16_t)entry->key.size;
    copy_short(leaf->key, entry->key.data, entry->key.size);
    atomic_init(&leaf->newest, version);
    return leaf;
}

/* How far `key` agrees with a node's prefix, given that it does up to `depth`: at most the node's depth. */
static inline size_t agreed(const struct art_node *node, plsm_slice key, size_t depth)
{
    if (node->depth == depth)
        return depth;
    if (key.size == 0) /* its data may be NULL */
        return 0;
    const uint8_t *bytes = key.data;
    if (key.size >= node->depth && node->depth >= 4 && node->depth - depth <= 4 &&
        get_u32(bytes + node->depth - 4) == node->tail)
        return node->depth;
    return depth + slice_common(slice(bytes + depth, key.size - depth), slice(node->key + depth, node->depth - depth));
}

/* Whether the first `size` bytes of both keys are there and the same. */
static inline bool begins_alike(plsm_slice a, plsm_slice b, size_t size)
{
    return a.size >= size && b.size >= size && bytes_equal(a.data, b.data, size);
}

/* Whether a walk to `key` may begin where the last one ended. */
static inline bool place_leads_to(struct memtable_place *place, plsm_slice key)
{
    bool leads = place->slot && begins_alike(key, place->key, place->depth);
    if (leads)
        place->in_order += place->in_order < IN_ORDER_MOST;
    else
        place->in_order -= place->in_order < IN_ORDER_MISS ? place->in_order : IN_ORDER_MISS;
    return leads;
}

/* Points a slot at something new, which is complete. */
static inline void publish(_Atomic uintptr_t *slot, uintptr_t child)
{
    atomic_store_explicit(slot, child, memory_order_release);
}

/* A node at `depth` for the place of `old`, where the key of `leaf` and those below `old` part: `other` is one of
 * these, `other_size` its size (or any size above `depth`). */
uintptr_t memtable_parting(struct memtable *m, uintptr_t old, const uint8_t *other, size_t other_size, size_t depth,
                           struct art_leaf *leaf);

/* The bytes of nodes that `entries` additions can make at most. */
size_t memtable_node_bytes_max(const struct memtable *m, size_t entries);

#endif
