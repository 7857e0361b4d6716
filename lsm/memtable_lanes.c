/* Adding to the memtable by several writers at once.
 *
 * Writers walk down as readers do, without locks, and lock what they change, for as long as the change takes ("ROWEX":
 * Leis, Scheibner, Kemper, Neumann, "The ART of Practical Synchronization", DaMoN 2016). A lock is a bit in a node's
 * `ended`, or in root_lock for the slot of the root. What it is needed for, with L the node (or root) that `slot`, the
 * place where the walk arrived, is in:
 *   - the content of `slot` changes (two keys part there, or a larger copy takes the place of what it led to): L;
 *   - a node gets a child, or the key that ends at it: that node;
 *   - a node is replaced by a larger copy with one more child: that node, then L. From then on it is ART_REPLACED,
 *     and whoever comes to lock it begins again from the root;
 *   - a version goes into the list of a leaf: nothing. Leaves stay for ever, and nothing leaves the list.
 * Under the lock it is looked again whether what was seen on the way is still there. Locks are taken from below to
 * above only, and two at most, so no circle of waiting can come about.
 *
 * A walk may pass through a node that was replaced meanwhile, since it leads to everything that was below it then. What
 * it finds there is right nevertheless: a leaf or a node that can be reached is there for good, or is marked; where a
 * prefix has been parted above it, it only has one more node above, whose prefix is a part of its own. And nothing is
 * changed in a node that was replaced, for its mark is seen under its lock. The same goes for a walk that begins where
 * an earlier one of the same lane ended.
 *
 * The versions of a key are in the order of their numbers, whoever comes first: a version is put in front of the first
 * one whose number is not above its own. Readers of older numbers pass over it.
 *
 * Leaves and versions come from the arena of the lane. Nodes come from the memtable's own, under nodes_lock, for which
 * room is reserved for all that all lanes may still need: which of them will find a node full, nobody knows before. */
#include "base/error.h"
#include "lsm/memtable_private.h"

#include "base/banned.h"

/* Between what a walk sees and its lock others may do anything. A test that wants to choose what defines this. */
#ifndef MEMTABLE_INTERLEAVE
#define MEMTABLE_INTERLEAVE() ((void)0)
#endif

enum {
    SPINS = 100,          /* looks at a lock before the processor is given up: its holder has lost its own */
    ADDITIONS_AHEAD = 16, /* for which room for nodes is reserved in advance: small writes need the lock seldom then */
};

/* --- reserving ---------------------------------------------------------------------------------------------------- */

/* Makes room for nodes for `entries` more additions, and for some that will be reserved next: what is there for so many
 * suffices for those that are left of them, whatever the others have made. */
static plsm_status reserve_nodes(struct memtable *m, size_t entries)
{
    size_t promised = 0;
    for (unsigned i = 0; i < MEMTABLE_LANES; i++) /* what ends meanwhile counts all the same */
        promised += atomic_load_explicit(&m->lanes[i].promised, memory_order_acquire);
    mutex_lock(&m->nodes_lock);
    plsm_status status = arena_reserve(&m->arena, memtable_node_bytes_max(m, promised + entries + ADDITIONS_AHEAD));
    mutex_unlock(&m->nodes_lock);
    if (status == PLSM_OK)
        m->unpromised = entries + ADDITIONS_AHEAD;
    return status;
}

plsm_status memtable_lane_reserve(struct memtable *m, unsigned number, size_t entries, size_t bytes)
{
    struct memtable_lane *lane = &m->lanes[number];
    INVARIANT(atomic_load_explicit(&lane->promised, memory_order_acquire) == 0);
    if (entries > MEMTABLE_ENTRIES_MAX || bytes > SIZE_MAX / 4)
        return fail(PLSM_NO_MEMORY, "no memory for %zu entries of %zu bytes in the memtable", entries, bytes);
    if (!m->beside) {
        for (unsigned i = 0; i < MEMTABLE_LANES; i++)
            m->lanes[i].place.slot = NULL;
        m->unpromised = 0;
        m->beside = true;
    }
    TRY(arena_reserve(&lane->arena, entries * ENTRY_FIXED_BYTES_MAX + bytes));
    if (entries > m->unpromised)
        TRY(reserve_nodes(m, entries));
    m->unpromised -= entries;
    atomic_store_explicit(&lane->promised, entries, memory_order_relaxed);
    return PLSM_OK;
}

void memtable_lane_end(struct memtable *m, unsigned number)
{
    atomic_store_explicit(&m->lanes[number].promised, 0, memory_order_release);
}

bool memtable_lane_in_order(const struct memtable *m, unsigned number)
{
    return m->lanes[number].place.in_order >= IN_ORDER;
}

/* --- locks -------------------------------------------------------------------------------------------------------- */

/* False: the node has been replaced, and is not locked. */
static bool lock(_Atomic uintptr_t *word)
{
    for (unsigned tries = 0;; tries++) {
        uintptr_t seen = atomic_load_explicit(word, memory_order_acquire);
        if (seen & ART_REPLACED)
            return false;
        if (!(seen & ART_LOCKED) && atomic_compare_exchange_weak_explicit(word, &seen, seen | ART_LOCKED,
                                                                          memory_order_acquire, memory_order_relaxed))
            return true;
        if (tries < SPINS)
            spin_pause();
        else
            spin_yield();
    }
}

/* Sets the rest of what the lock is in, and unlocks. */
static void unlock_as(_Atomic uintptr_t *word, uintptr_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

static void unlock(_Atomic uintptr_t *word)
{
    unlock_as(word, atomic_load_explicit(word, memory_order_relaxed) & ~(uintptr_t)ART_LOCKED);
}

/* --- adding ------------------------------------------------------------------------------------------------------- */

/* An addition on its way. */
struct addition {
    struct memtable *table;
    struct memtable_lane *lane;
    const struct entry *entry;
    struct art_leaf *leaf; /* made for it; NULL: not yet */
    bool again;            /* its key was there */
    /* Where the walk is: `slot` is in what `lock` locks, and keys below agree with the entry's up to `depth`. */
    _Atomic uintptr_t *lock, *slot;
    size_t depth;
};

enum outcome { ADDED, GO_ON, BEGIN_AGAIN };

static struct art_leaf *own_leaf(struct addition *a)
{
    if (!a->leaf)
        a->leaf = leaf_make(&a->lane->arena, a->entry);
    return a->leaf;
}

/* Puts a version into the list of a leaf. */
static void insert_version(struct addition *a, struct art_leaf *leaf)
{
    struct art_version *version = NULL;
    if (a->leaf) {
        version = (struct art_version *)leaf_newest(a->leaf);
    } else {
        version = arena_alloc(&a->lane->arena, version_bytes(a->entry), ART_LEAF_ALIGNMENT);
        version_fill(version, NULL, a->entry);
    }
    a->again = true;
    _Atomic(const struct art_version *) *link = &leaf->newest;
    const struct art_version *next = atomic_load_explicit(link, memory_order_acquire);
    MEMTABLE_INTERLEAVE();
    do {
        while (next && next->seq > version->seq) {
            link = &((struct art_version *)next)->older;
            next = atomic_load_explicit(link, memory_order_acquire);
        }
        atomic_store_explicit(&version->older, next, memory_order_relaxed);
    } while (!atomic_compare_exchange_weak_explicit(link, &next, version, memory_order_release, memory_order_acquire));
    if (link == &leaf->newest)
        tally_newest(&a->lane->tally, a->entry, next);
    else
        tally_add(&a->lane->tally.again, 1);
    a->lane->place.key = art_leaf_key(leaf);
}

/* Locks what `slot` is in if that still leads to `at`; otherwise says how to go on. */
static bool lock_slot(struct addition *a, uintptr_t at, enum outcome *otherwise)
{
    if (!lock(a->lock)) {
        *otherwise = BEGIN_AGAIN;
        return false;
    }
    if (art_load(a->slot) == at)
        return true;
    unlock(a->lock);
    *otherwise = GO_ON;
    return false;
}

static enum outcome add_first(struct addition *a)
{
    enum outcome otherwise;
    struct art_leaf *leaf = own_leaf(a);
    MEMTABLE_INTERLEAVE();
    if (!lock_slot(a, 0, &otherwise))
        return otherwise;
    publish(a->slot, art_child(leaf, ART_LEAF));
    unlock(a->lock);
    return ADDED;
}

/* The entry's key and those below `at` part at `depth`. */
static enum outcome part(struct addition *a, uintptr_t at, const uint8_t *other, size_t other_size, size_t depth)
{
    enum outcome otherwise;
    struct art_leaf *leaf = own_leaf(a);
    MEMTABLE_INTERLEAVE();
    if (!lock_slot(a, at, &otherwise))
        return otherwise;
    mutex_lock(&a->table->nodes_lock);
    uintptr_t node = memtable_parting(a->table, at, other, other_size, depth, leaf);
    mutex_unlock(&a->table->nodes_lock);
    publish(a->slot, node);
    unlock(a->lock);
    return ADDED;
}

static enum outcome add_at_leaf(struct addition *a, uintptr_t at)
{
    struct art_leaf *leaf = art_leaf(at);
    plsm_slice added = a->entry->key;
    const uint8_t *key = added.size ? added.data : leaf->key; /* of no bytes: any pointer but NULL */
    size_t depth = a->depth, common = depth + slice_common(slice(leaf->key + depth, leaf->key_size - depth),
                                                           slice(key + depth, added.size - depth));
    if (common < leaf->key_size || common < added.size)
        return part(a, at, leaf->key, leaf->key_size, common);
    insert_version(a, leaf);
    return ADDED;
}

static enum outcome add_ended(struct addition *a, struct art_node *node)
{
    struct art_leaf *ended = art_ended(node);
    if (!ended) {
        struct art_leaf *leaf = own_leaf(a);
        MEMTABLE_INTERLEAVE();
        if (!lock(&node->ended))
            return BEGIN_AGAIN;
        ended = art_ended(node);
        unlock_as(&node->ended, (uintptr_t)(ended ? ended : leaf));
        if (!ended)
            return ADDED;
    }
    insert_version(a, ended);
    return ADDED;
}

/* Adds a child to a full node, which is locked: a larger copy takes its place. */
static enum outcome grow(struct addition *a, uintptr_t at, uint8_t byte)
{
    struct memtable *m = a->table;
    struct art_node *node = art_node(at);
    enum outcome otherwise;
    enum art_type grown_from;
    if (!lock_slot(a, at, &otherwise)) {
        unlock(&node->ended);
        return BEGIN_AGAIN; /* somebody parted the prefix in front of the node: it hangs below another one */
    }
    mutex_lock(&m->nodes_lock);
    uintptr_t grown = art_add(&m->arena, at, byte, art_child(a->leaf, ART_LEAF), &grown_from);
    node_made(m, grown_from + 1);
    mutex_unlock(&m->nodes_lock);
    publish(a->slot, grown);
    unlock_as(&node->ended, (uintptr_t)art_ended(node) | ART_REPLACED);
    unlock(a->lock);
    return ADDED;
}

static void walk_to(struct addition *a, struct art_node *node, _Atomic uintptr_t *slot)
{
    a->lock = &node->ended;
    a->slot = slot;
    a->depth = (size_t)node->depth + 1;
}

/* A key below a node that had no child on its byte. */
static enum outcome add_child(struct addition *a, uintptr_t at, uint8_t byte)
{
    struct art_node *node = art_node(at);
    enum art_type grown_from;
    struct art_leaf *leaf = own_leaf(a);
    MEMTABLE_INTERLEAVE();
    if (!lock(&node->ended))
        return BEGIN_AGAIN;
    _Atomic uintptr_t *slot = art_find(at, byte);
    if (slot) {
        unlock(&node->ended);
        walk_to(a, node, slot);
        return GO_ON;
    }
    if (art_is_full(at))
        return grow(a, at, byte);
    art_add(NULL, at, byte, art_child(leaf, ART_LEAF), &grown_from);
    unlock(&node->ended);
    return ADDED;
}

static enum outcome step(struct addition *a)
{
    plsm_slice key = a->entry->key;
    uintptr_t at = art_load(a->slot);
    if (!at)
        return add_first(a);
    if (art_type(at) == ART_LEAF)
        return add_at_leaf(a, at);
    struct art_node *node = art_node(at);
    size_t common = agreed(node, key, a->depth);
    if (common < node->depth)
        return part(a, at, node->key, node->depth, common);
    if (key.size == node->depth)
        return add_ended(a, node);
    uint8_t byte = ((const uint8_t *)key.data)[node->depth];
    _Atomic uintptr_t *next = art_find(at, byte);
    if (!next)
        return add_child(a, at, byte);
    walk_to(a, node, next);
    return GO_ON;
}

void memtable_lane_add(struct memtable *m, unsigned number, const struct entry *entry)
{
    struct memtable_lane *lane = &m->lanes[number];
    struct memtable_place *place = &lane->place;
    struct addition a = {.table = m, .lane = lane, .entry = entry, .lock = &m->root_lock, .slot = &m->root};
    INVARIANT(entry->key.size <= MEMTABLE_KEY_MAX && entry->meta.size <= UINT8_MAX && entry->value.size <= UINT32_MAX);
    if (place_leads_to(place, entry->key)) {
        a.lock = place->lock;
        a.slot = place->slot;
        a.depth = place->depth;
    }
    for (enum outcome outcome = GO_ON; outcome != ADDED;) {
        outcome = step(&a);
        if (outcome == BEGIN_AGAIN) {
            a.lock = &m->root_lock;
            a.slot = &m->root;
            a.depth = 0;
        }
    }
    if (!a.again)
        tally_first(&lane->tally, entry);
    if (a.leaf)
        place->key = art_leaf_key(a.leaf); /* also of a leaf that was not needed in the end: it is the same key */
    place->lock = a.lock;
    place->slot = a.slot;
    place->depth = a.depth;
    uint64_t added = atomic_load_explicit(&lane->added, memory_order_relaxed);
    atomic_store_explicit(&lane->added, added + 1, memory_order_relaxed);
}
