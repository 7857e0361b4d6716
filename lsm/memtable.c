/* The memtable: adding and finding. The tree's layout and the rules of its concurrency are in lsm/art.h. */
#include "lsm/memtable.h"

#include "base/alloc.h"
#include "base/error.h"
#include "lsm/memtable_private.h"

#include "base/banned.h"

struct memtable *memtable_create(struct arena_pool *pool)
{
    struct memtable *m = mem_zalloc(sizeof *m);
    if (m) {
        atomic_init(&m->references, 1);
        m->arena.pool = pool;
        for (unsigned i = 0; i < MEMTABLE_LANES; i++)
            m->lanes[i].arena.pool = pool;
        mutex_init(&m->nodes_lock);
    }
    return m;
}

void memtable_charge(struct memtable *m, struct mem_account *account)
{
    m->arena.account = account;
    for (unsigned i = 0; i < MEMTABLE_LANES; i++)
        m->lanes[i].arena.account = account;
}

void memtable_ref(struct memtable *m)
{
    atomic_fetch_add_explicit(&m->references, 1, memory_order_relaxed);
}

void memtable_unref(struct memtable *m)
{
    /* Acquire and release, so that everybody's last use comes before the memory goes. */
    if (!m || atomic_fetch_sub_explicit(&m->references, 1, memory_order_acq_rel) != 1)
        return;
    arena_free(&m->arena);
    for (unsigned i = 0; i < MEMTABLE_LANES; i++)
        arena_free(&m->lanes[i].arena);
    mutex_destroy(&m->nodes_lock);
    mem_free(m);
}

size_t memtable_bytes(const struct memtable *m)
{
    size_t bytes = arena_bytes(&m->arena);
    for (unsigned i = 0; i < MEMTABLE_LANES; i++)
        bytes += arena_bytes(&m->lanes[i].arena);
    return bytes;
}

uint64_t memtable_count(const struct memtable *m)
{
    uint64_t count = atomic_load_explicit(&m->count, memory_order_relaxed);
    for (unsigned i = 0; i < MEMTABLE_LANES; i++)
        count += atomic_load_explicit(&m->lanes[i].added, memory_order_relaxed);
    return count;
}

struct memtable_keys memtable_keys(const struct memtable *m)
{
    uint64_t again = atomic_load_explicit(&m->tally.again, memory_order_relaxed);
    uint64_t deleted = atomic_load_explicit(&m->tally.deleted, memory_order_relaxed);
    for (unsigned i = 0; i < MEMTABLE_LANES; i++) {
        again += atomic_load_explicit(&m->lanes[i].tally.again, memory_order_relaxed);
        deleted += atomic_load_explicit(&m->lanes[i].tally.deleted, memory_order_relaxed);
    }
    uint64_t count = memtable_count(m), keys = count > again ? count - again : 0;
    if ((int64_t)deleted < 0)
        deleted = 0;
    deleted = deleted < keys ? deleted : keys;
    size_t fixed = count * (offsetof(struct art_version, bytes) + ART_LEAF_ALIGNMENT / 2) +
                   keys * (offsetof(struct art_leaf, key) + ART_LEAF_ALIGNMENT / 2) +
                   atomic_load_explicit(&m->node_bytes, memory_order_relaxed);
    size_t bytes = memtable_bytes(m);
    double share =
        count > deleted ? (double)(keys - deleted) / (double)(count - deleted) : 0; /* of versions that put */
    return (struct memtable_keys){.put = keys - deleted,
                                  .deleted = deleted,
                                  .bytes = bytes > fixed ? (uint64_t)(share * (double)(bytes - fixed)) : 0};
}

/* --- reserving ---------------------------------------------------------------------------------------------------- */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* An upper bound for the nodes that `entries` additions can make. Each makes at most one: a node of 4, or a copy of a
 * full node in the next size. Only nodes that exist can be near full; one made meanwhile takes 13 additions to go from
 * 4 children to 17, and 33 from 16 to 49.
 * Example: one addition to an empty table: 1 node of 16 at most (nothing can grow beyond). */
size_t memtable_node_bytes_max(const struct memtable *m, size_t entries)
{
    size_t slack = ART_NODE_ALIGNMENT - 1;
    size_t to_256 = least(entries, m->nodes[ART_48] + entries / 33);
    size_t to_48 = least(entries - to_256, m->nodes[ART_16] + entries / 13);
    size_t rest = entries - to_256 - to_48;
    return to_256 * (sizeof(struct art_node256) + slack) + to_48 * (sizeof(struct art_node48) + slack) +
           rest * (sizeof(struct art_node16) + slack);
}

plsm_status memtable_reserve(struct memtable *m, size_t entries, size_t bytes)
{
    return memtable_reserve_ranges(m, entries, bytes, 0);
}

plsm_status memtable_reserve_ranges(struct memtable *m, size_t entries, size_t bytes, size_t ranges)
{
    if (entries > MEMTABLE_ENTRIES_MAX || bytes > SIZE_MAX / 4)
        return fail(PLSM_NO_MEMORY, "no memory for %zu entries of %zu bytes in the memtable", entries, bytes);
    if (__builtin_expect(m->beside, 0)) {
        m->place.slot = NULL;
        m->beside = false;
    }
    const struct tombstones *there = memtable_ranges(m);
    if (ranges)
        bytes += tombstones_bytes(there ? there->count : 0, ranges);
    m->draft_ranges = ranges;
    return arena_reserve(&m->arena, entries * ENTRY_FIXED_BYTES_MAX + memtable_node_bytes_max(m, entries) + bytes);
}

plsm_status memtable_reserve_one(struct memtable *m, size_t bytes)
{
    size_t most = ENTRY_FIXED_BYTES_MAX + sizeof(struct art_node256) + ART_NODE_ALIGNMENT - 1; /* beside its bytes */
    size_t left = (size_t)(m->arena.end - m->arena.at);
    return __builtin_expect(left >= most && left - most >= bytes && !m->beside, 1) ? PLSM_OK
                                                                                   : memtable_reserve(m, 1, bytes);
}

void memtable_trim(struct memtable *m)
{
    arena_trim(&m->arena);
}

/* --- prefetching -------------------------------------------------------------------------------------------------- */

/* Asks for what a walk will need next from a node or leaf whose first cache line has not arrived yet. `byte` is
 * what it will branch on if it skips no prefix. */
static inline void prefetch_for(uintptr_t at, uint8_t byte)
{
    const char *place = (const char *)(at & ~(uintptr_t)ART_TYPE_MASK);
    __builtin_prefetch(place);
    switch (art_type(at)) {
    case ART_16:
        __builtin_prefetch(place + 64);
        __builtin_prefetch(place + 128);
        break;
    case ART_48:
        __builtin_prefetch(place + offsetof(struct art_node48, index) + byte);
        break;
    case ART_256:
        __builtin_prefetch(place + offsetof(struct art_node256, children) + byte * sizeof(uintptr_t));
        break;
    default:
        __builtin_prefetch(place + 64);
    }
}

void memtable_approach(const struct memtable *m, plsm_slice key, struct memtable_approach *approach)
{
    uintptr_t at = (uintptr_t)approach->node;
    size_t depth = 0;
    if (!approach->begun) {
        approach->begun = true;
        at = art_load(&m->root);
    } else if (at) {
        const struct art_node *node = art_node(at);
        const _Atomic uintptr_t *slot = NULL;
        if (art_type(at) != ART_LEAF && node->depth < key.size) {
            depth = node->depth;
            slot = art_find(at, ((const uint8_t *)key.data)[depth++]);
        }
        at = slot ? art_load(slot) : 0;
    }
    if (at)
        prefetch_for(at, depth < key.size ? ((const uint8_t *)key.data)[depth] : 0);
    approach->node = (const void *)at;
}

bool memtable_in_order(const struct memtable *m)
{
    return m->place.in_order >= IN_ORDER;
}

/* --- adding ------------------------------------------------------------------------------------------------------- */

static struct art_leaf *leaf_create(struct memtable *m, const struct entry *entry)
{
    struct art_leaf *leaf = leaf_make(&m->arena, entry);
    tally_first(&m->tally, entry);
    m->place.key = art_leaf_key(leaf);
    return leaf;
}

static void leaf_add(struct memtable *m, struct art_leaf *leaf, const struct entry *entry)
{
    const struct art_version *older = leaf_newest(leaf);
    INVARIANT(entry->seq >= older->seq);
    struct art_version *version = arena_alloc(&m->arena, version_bytes(entry), ART_LEAF_ALIGNMENT);
    version_fill(version, older, entry);
    tally_newest(&m->tally, entry, older);
    atomic_store_explicit(&leaf->newest, version, memory_order_release);
    m->place.key = art_leaf_key(leaf);
}

uintptr_t memtable_parting(struct memtable *m, uintptr_t old, const uint8_t *other, size_t other_size, size_t depth,
                           struct art_leaf *leaf)
{
    struct art_node4 *n = art_create(&m->arena, other, depth);
    uintptr_t node = art_child(n, ART_4);
    enum art_type grown;
    if (other_size == depth)
        atomic_init(&n->head.ended, (uintptr_t)art_leaf(old));
    else
        art_add(&m->arena, node, other[depth], old, &grown);
    if (leaf->key_size == depth)
        atomic_init(&n->head.ended, (uintptr_t)leaf);
    else
        art_add(&m->arena, node, leaf->key[depth], art_child(leaf, ART_LEAF), &grown);
    node_made(m, ART_4);
    return node;
}

/* A key below `node` that has no child on its byte yet. */
static void add_child(struct memtable *m, _Atomic uintptr_t *slot, uintptr_t node, uint8_t byte,
                      const struct entry *entry)
{
    enum art_type grown_from;
    uintptr_t leaf = art_child(leaf_create(m, entry), ART_LEAF);
    uintptr_t grown = art_add(&m->arena, node, byte, leaf, &grown_from);
    if (!grown_from)
        return;
    node_made(m, grown_from + 1);
    publish(slot, grown);
}

/* Where the walk ends at a leaf: another version of its key, or a key that parts from it. */
static void add_at_leaf(struct memtable *m, _Atomic uintptr_t *slot, size_t depth, const struct entry *entry)
{
    struct art_leaf *leaf = art_leaf(art_load(slot));
    const uint8_t *key = entry->key.size ? entry->key.data : leaf->key; /* of no bytes: any pointer but NULL */
    size_t common = depth + slice_common(slice(leaf->key + depth, leaf->key_size - depth),
                                         slice(key + depth, entry->key.size - depth));
    if (common == leaf->key_size && common == entry->key.size)
        leaf_add(m, leaf, entry);
    else
        publish(slot, memtable_parting(m, art_load(slot), leaf->key, leaf->key_size, common, leaf_create(m, entry)));
}

static void add_ended(struct memtable *m, struct art_node *node, const struct entry *entry)
{
    struct art_leaf *leaf = art_ended(node);
    if (leaf)
        leaf_add(m, leaf, entry);
    else
        atomic_store_explicit(&node->ended, (uintptr_t)leaf_create(m, entry), memory_order_release);
}

void memtable_add(struct memtable *m, const struct entry *entry)
{
    plsm_slice key = entry->key;
    INVARIANT(key.size <= MEMTABLE_KEY_MAX && entry->meta.size <= UINT8_MAX && entry->value.size <= UINT32_MAX);
    uint64_t count = atomic_load_explicit(&m->count, memory_order_relaxed);
    _Atomic uintptr_t *slot = &m->root, *next;
    size_t depth = 0;
    if (place_leads_to(&m->place, key)) {
        slot = m->place.slot;
        depth = m->place.depth;
    }
    for (;; slot = next) {
        uintptr_t at = art_load(slot);
        if (!at) {
            publish(slot, art_child(leaf_create(m, entry), ART_LEAF));
            break;
        }
        if (art_type(at) == ART_LEAF) {
            add_at_leaf(m, slot, depth, entry);
            break;
        }
        struct art_node *node = art_node(at);
        size_t common = agreed(node, key, depth);
        if (common < node->depth) {
            publish(slot, memtable_parting(m, at, node->key, node->depth, common, leaf_create(m, entry)));
            break;
        }
        if (key.size == node->depth) {
            add_ended(m, node, entry);
            break;
        }
        uint8_t byte = ((const uint8_t *)key.data)[node->depth];
        next = art_find(at, byte);
        if (!next) {
            add_child(m, slot, at, byte, entry);
            break;
        }
        depth = (size_t)node->depth + 1;
    }
    m->place.slot = slot;
    m->place.depth = depth;
    atomic_store_explicit(&m->count, count + 1, memory_order_relaxed);
}

void memtable_add_range(struct memtable *m, plsm_slice from, plsm_slice to, uint64_t seq, uint64_t first)
{
    uint64_t count = atomic_load_explicit(&m->count, memory_order_relaxed);
    if (!m->draft)
        m->draft = tombstones_copy(&m->arena, memtable_ranges(m), m->draft_ranges);
    from = tombstones_key(&m->arena, from);
    to = tombstones_key(&m->arena, to);
    INVARIANT(tombstones_add(m->draft, &m->arena, from, to, seq, 0, first) == PLSM_OK); /* room was reserved */
    tally_add(&m->tally.again, 1);
    atomic_store_explicit(&m->count, count + 1, memory_order_relaxed);
}

void memtable_publish_ranges(struct memtable *m)
{
    if (m->draft)
        atomic_store_explicit(&m->ranges, m->draft, memory_order_release);
    m->draft = NULL;
}

const struct tombstones *memtable_ranges(const struct memtable *m)
{
    return atomic_load_explicit(&m->ranges, memory_order_acquire);
}

/* --- finding ------------------------------------------------------------------------------------------------------ */

/* Skips prefixes without looking at them but for their last bytes: the leaf holds the whole key and is compared. */
static const struct art_leaf *find(const struct memtable *m, plsm_slice key)
{
    const uint8_t *bytes = key.data;
    uintptr_t at = art_load(&m->root);
    for (size_t depth = 0; at && art_type(at) != ART_LEAF; depth++) {
        const struct art_node *node = art_node(at);
        if (depth < key.size)
            prefetch_for(at, bytes[depth]);
        /* Not simply depth = node->depth: as long as no prefix is skipped, the branch predictor lets the processor go
         * on before the node has arrived. */
        if (node->depth != depth) {
            depth = node->depth;
            if (key.size < depth || (depth >= 4 && get_u32(bytes + depth - 4) != node->tail))
                return NULL;
        }
        if (depth == key.size) {
            const struct art_leaf *ended = art_ended(node);
            return ended && slice_equal(art_leaf_key(ended), key) ? ended : NULL;
        }
        const _Atomic uintptr_t *slot = art_find(at, bytes[depth]);
        at = slot ? art_load(slot) : 0;
    }
    if (!at)
        return NULL;
    const struct art_leaf *leaf = art_leaf(at);
    __builtin_prefetch((const char *)leaf + 64);
    return slice_equal(art_leaf_key(leaf), key) ? leaf : NULL;
}

bool memtable_get(const struct memtable *m, plsm_slice key, uint64_t seq, struct entry *out)
{
    const struct art_leaf *leaf = find(m, key);
    const struct art_version *version = leaf ? leaf_newest(leaf) : NULL;
    while (version && version->seq > seq)
        version = version_older(version);
    const struct tombstones *ranges = memtable_ranges(m);
    if (__builtin_expect(ranges != NULL, 0)) {
        uint64_t deleted = tombstones_covering(ranges, key, seq);
        if (deleted > (version ? version->seq : 0)) {
            *out = (struct entry){.key = key, .seq = deleted, .kind = BATCH_DELETE};
            return true;
        }
    }
    if (!version)
        return false;
    version_entry(leaf, version, out);
    return true;
}
