/* Nodes of the memtable's adaptive radix tree (Leis, Kemper, Neumann, ICDE 2013), private to lsm/memtable*.c.
 *
 *   root ──> node (depth 1)                 depth: the offset in the key of the byte that a node branches on
 *            ├─ 'a' ──> leaf "xa7..."       ended: the leaf whose key is exactly `depth` bytes long, if there is one
 *            ├─ 'b' ──> node (depth 5) ...  key:   the bytes of some key below; its first `depth` bytes are the
 *            └─ ended: leaf "x"                    prefix that all keys below have in common
 *
 * A node does not keep the bytes it skips: coming from depth d they are key[d .. depth). So when a prefix is split the
 * lower node stays as it is, and a reader that came the old way is as right as one that comes the new way.
 *
 * Concurrency of readers: they take no lock. What a reader can reach is never changed but for these, each published by
 * one release store after what it leads to is complete, and read with acquire:
 *   - a child pointer is replaced by one that leads to all that the old one led to, and more;
 *   - nodes of 4 and 16 append a key byte and a child behind `count`, then raise `count`;
 *   - nodes of 48 and 256 fill an empty child, then its index byte, then its bit;
 *   - `ended` goes from nothing to a leaf, and a link of a leaf's list of versions to a version that links to what it
 *     linked to before.
 * A node that was replaced by a larger copy stays readable and leads to everything that was below it then.
 *
 * Concurrency of writers: one alone, or several of whom each locks what it changes (memtable_lanes.c). */
#ifndef LSM_ART_H
#define LSM_ART_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/slice.h"
#include "lsm/arena.h"

/* Reading a whole vector of key bytes includes bytes behind `count` that the writer may be filling in; the result is
 * masked by `count`, but the thread sanitizer cannot know that. */
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
#define ART_SSE2 1
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#undef ART_SSE2
#endif
#endif
#endif
#ifdef ART_SSE2
#include <emmintrin.h>
#endif

/* A child pointer carries in its low bits what it points to, so that a reader knows the layout of a node, and can
 * prefetch from it, before the node has arrived in the cache. 0: no child. */
enum art_type { ART_LEAF = 1, ART_4, ART_16, ART_48, ART_256, ART_TYPE_COUNT };
enum { ART_TYPE_MASK = 7, ART_NODE_ALIGNMENT = 64, ART_LEAF_ALIGNMENT = 8 };
/* In `ended`: a writer changes the node or one of its children's places; a larger copy has taken the node's place. */
enum { ART_LOCKED = 1, ART_REPLACED = 2 };

struct art_version {
    _Atomic(const struct art_version *) older;
    uint64_t seq;
    uint32_t value_size;
    uint8_t kind, meta_size;
    uint8_t bytes[]; /* meta, then value, then with ART_VERSION_EXPIRES in `kind` a u64: since 1970, in seconds */
};
enum { ART_VERSION_EXPIRES = 16, ART_VERSION_SEPARATED = 32 }; /* the latter as `separated` of struct entry */

struct art_leaf {
    _Atomic(const struct art_version *) newest; /* never NULL once the leaf can be reached */
    uint16_t key_size;
    uint8_t key[];
};

struct art_node {
    uint16_t depth;
    _Atomic uint16_t count; /* children; not kept by nodes of 256 */
    uint32_t tail;          /* the 4 bytes before `depth` where it is at least 4: most prefixes need no look at `key` */
    const uint8_t *key;
    _Atomic uintptr_t ended; /* a leaf or 0; ART_LOCKED and ART_REPLACED in its low bits are for writers */
};

struct art_node4 {
    struct art_node head;
    uint8_t keys[4], unused[4]; /* in order of arrival */
    _Atomic uintptr_t children[4];
};

struct art_node16 {
    struct art_node head;
    uint8_t keys[16];
    _Atomic uintptr_t children[16];
};

struct art_node48 {
    struct art_node head;
    _Atomic uint64_t present[4]; /* a bit per key byte, for walking in order */
    _Atomic uint8_t index[256];  /* 0, or 1 + the child's position */
    _Atomic uintptr_t children[48];
};

struct art_node256 {
    struct art_node head;
    _Atomic uint64_t present[4];
    _Atomic uintptr_t children[256];
};

_Static_assert(sizeof(struct art_node4) == 64, "a node of 4 is one cache line");
_Static_assert(sizeof(struct art_node) == 24, "head and key bytes of a node of 16 share a cache line");

static inline enum art_type art_type(uintptr_t child)
{
    return (enum art_type)(child & ART_TYPE_MASK);
}

static inline struct art_node *art_node(uintptr_t child)
{
    return (struct art_node *)(child & ~(uintptr_t)ART_TYPE_MASK);
}

static inline struct art_leaf *art_leaf(uintptr_t child)
{
    return (struct art_leaf *)(child & ~(uintptr_t)ART_TYPE_MASK);
}

static inline uintptr_t art_child(const void *target, enum art_type type)
{
    return (uintptr_t)target | type;
}

static inline uintptr_t art_load(const _Atomic uintptr_t *slot)
{
    return atomic_load_explicit(slot, memory_order_acquire);
}

static inline struct art_leaf *art_ended(const struct art_node *node)
{
    return art_leaf(atomic_load_explicit(&node->ended, memory_order_acquire));
}

static inline unsigned art_count(const struct art_node *node)
{
    return atomic_load_explicit(&node->count, memory_order_acquire);
}

static inline plsm_slice art_leaf_key(const struct art_leaf *leaf)
{
    return (plsm_slice){leaf->key, leaf->key_size};
}

/* The bits of the first `count` of `keys` that equal `byte`; `keys` has room for 4 or 16. */
static inline unsigned art_match(const uint8_t *keys, unsigned count, unsigned room, uint8_t byte)
{
#ifdef ART_SSE2
    __m128i all;
    if (room == 4) {
        int four;
        memcpy(&four, keys, 4);
        all = _mm_cvtsi32_si128(four);
    } else {
        all = _mm_loadu_si128((const __m128i *)keys);
    }
    unsigned equal = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(all, _mm_set1_epi8((char)byte)));
    return equal & ((1u << count) - 1);
#else
    unsigned equal = 0;
    for (unsigned i = 0; i < count; i++)
        equal |= (unsigned)(keys[i] == byte) << i;
    return equal & ((1u << room) - 1);
#endif
}

/* Where the child on `byte` of a node stands, or NULL. */
static inline _Atomic uintptr_t *art_find(uintptr_t node, uint8_t byte)
{
    switch (art_type(node)) {
    case ART_4: {
        struct art_node4 *n = (struct art_node4 *)art_node(node);
        unsigned equal = art_match(n->keys, art_count(&n->head), 4, byte);
        return equal ? &n->children[__builtin_ctz(equal)] : NULL;
    }
    case ART_16: {
        struct art_node16 *n = (struct art_node16 *)art_node(node);
        unsigned equal = art_match(n->keys, art_count(&n->head), 16, byte);
        return equal ? &n->children[__builtin_ctz(equal)] : NULL;
    }
    case ART_48: {
        struct art_node48 *n = (struct art_node48 *)art_node(node);
        unsigned position = atomic_load_explicit(&n->index[byte], memory_order_acquire);
        return position ? &n->children[position - 1] : NULL;
    }
    default: {
        struct art_node256 *n = (struct art_node256 *)art_node(node);
        return art_load(&n->children[byte]) ? &n->children[byte] : NULL;
    }
    }
}

/* The child with the lowest byte >= `from` (0 to 256), or with the highest byte <= `upto` (-1 to 255); 0 when there is
 * none. *byte gets its byte. */
uintptr_t art_at_or_above(uintptr_t node, int from, int *byte);
uintptr_t art_at_or_below(uintptr_t node, int upto, int *byte);

/* Whether a node has no room for another child. Under its lock. */
static inline bool art_is_full(uintptr_t node)
{
    static const uint16_t room[ART_TYPE_COUNT] = {[ART_4] = 4, [ART_16] = 16, [ART_48] = 48};
    return art_type(node) != ART_256 && art_count(art_node(node)) == room[art_type(node)];
}

/* For a writer that is alone or has locked the node; room in the arena reserved: */

/* A node of 4 without children that branches at `depth`; `key` is a key below it and has at least `depth` bytes. */
struct art_node4 *art_create(struct arena *arena, const uint8_t *key, size_t depth);
/* Adds a child on a byte that has none. Returns the node, or the larger copy that must take its place; ART_4, ART_16 or
 * ART_48 in *grown_from then, 0 otherwise. */
uintptr_t art_add(struct arena *arena, uintptr_t node, uint8_t byte, uintptr_t child, enum art_type *grown_from);

#endif
