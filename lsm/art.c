#include "lsm/art.h"

#include "base/error.h"

#include "base/banned.h"

/* --- the neighbours of a byte ------------------------------------------------------------------------------------- */

static uintptr_t above_unsorted(const uint8_t *keys, const _Atomic uintptr_t *children, unsigned count, unsigned room,
                                int from, int *byte)
{
#ifdef ART_SSE2
    __m128i all = room == 4 ? _mm_setr_epi8((char)keys[0], (char)keys[1], (char)keys[2], (char)keys[3], 0, 0, 0, 0, 0,
                                            0, 0, 0, 0, 0, 0, 0)
                            : _mm_loadu_si128((const __m128i *)keys);
    const __m128i index = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m128i valid = _mm_cmplt_epi8(index, _mm_set1_epi8((char)count));
    valid = _mm_and_si128(valid, _mm_cmpeq_epi8(_mm_max_epu8(all, _mm_set1_epi8((char)from)), all));
    unsigned mask = (unsigned)_mm_movemask_epi8(valid);
    if (!mask)
        return 0;
    /* What is not wanted becomes 255; the minimum of the rest by halving. */
    __m128i least = _mm_or_si128(all, _mm_xor_si128(valid, _mm_set1_epi8(-1)));
    least = _mm_min_epu8(least, _mm_srli_si128(least, 8));
    least = _mm_min_epu8(least, _mm_srli_si128(least, 4));
    least = _mm_min_epu8(least, _mm_srli_si128(least, 2));
    least = _mm_min_epu8(least, _mm_srli_si128(least, 1));
    *byte = _mm_cvtsi128_si32(least) & 0xff;
    mask &= (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(all, _mm_set1_epi8((char)*byte)));
    return art_load(&children[__builtin_ctz(mask)]);
#else
    int best = 256, at = 0;
    for (unsigned i = 0; i < count && i < room; i++)
        if (keys[i] >= from && keys[i] < best) {
            best = keys[i];
            at = (int)i;
        }
    *byte = best;
    return best < 256 ? art_load(&children[at]) : 0;
#endif
}

static uintptr_t below_unsorted(const uint8_t *keys, const _Atomic uintptr_t *children, unsigned count, int upto,
                                int *byte)
{
    int best = -1, at = 0;
    for (unsigned i = 0; i < count; i++)
        if (keys[i] <= upto && keys[i] > best) {
            best = keys[i];
            at = (int)i;
        }
    *byte = best;
    return best >= 0 ? art_load(&children[at]) : 0;
}

static int bit_at_or_above(const _Atomic uint64_t *present, int from)
{
    for (int word = from / 64; word < 4; word++) {
        uint64_t bits = atomic_load_explicit(&present[word], memory_order_acquire);
        if (word == from / 64)
            bits &= UINT64_MAX << (from % 64);
        if (bits)
            return word * 64 + __builtin_ctzll(bits);
    }
    return -1;
}

static int bit_at_or_below(const _Atomic uint64_t *present, int upto)
{
    for (int word = upto / 64; word >= 0; word--) {
        uint64_t bits = atomic_load_explicit(&present[word], memory_order_acquire);
        if (word == upto / 64)
            bits &= UINT64_MAX >> (63 - upto % 64);
        if (bits)
            return word * 64 + 63 - __builtin_clzll(bits);
    }
    return -1;
}

static uintptr_t child_of_48(const struct art_node48 *n, int byte)
{
    return art_load(&n->children[atomic_load_explicit(&n->index[byte], memory_order_acquire) - 1]);
}

uintptr_t art_at_or_above(uintptr_t node, int from, int *byte)
{
    if (from > 255)
        return 0;
    switch (art_type(node)) {
    case ART_4: {
        const struct art_node4 *n = (const struct art_node4 *)art_node(node);
        return above_unsorted(n->keys, n->children, art_count(&n->head), 4, from, byte);
    }
    case ART_16: {
        const struct art_node16 *n = (const struct art_node16 *)art_node(node);
        return above_unsorted(n->keys, n->children, art_count(&n->head), 16, from, byte);
    }
    case ART_48: {
        const struct art_node48 *n = (const struct art_node48 *)art_node(node);
        *byte = bit_at_or_above(n->present, from);
        return *byte < 0 ? 0 : child_of_48(n, *byte);
    }
    default: {
        const struct art_node256 *n = (const struct art_node256 *)art_node(node);
        *byte = bit_at_or_above(n->present, from);
        return *byte < 0 ? 0 : art_load(&n->children[*byte]);
    }
    }
}

uintptr_t art_at_or_below(uintptr_t node, int upto, int *byte)
{
    if (upto < 0)
        return 0;
    switch (art_type(node)) {
    case ART_4: {
        const struct art_node4 *n = (const struct art_node4 *)art_node(node);
        return below_unsorted(n->keys, n->children, art_count(&n->head), upto, byte);
    }
    case ART_16: {
        const struct art_node16 *n = (const struct art_node16 *)art_node(node);
        return below_unsorted(n->keys, n->children, art_count(&n->head), upto, byte);
    }
    case ART_48: {
        const struct art_node48 *n = (const struct art_node48 *)art_node(node);
        *byte = bit_at_or_below(n->present, upto);
        return *byte < 0 ? 0 : child_of_48(n, *byte);
    }
    default: {
        const struct art_node256 *n = (const struct art_node256 *)art_node(node);
        *byte = bit_at_or_below(n->present, upto);
        return *byte < 0 ? 0 : art_load(&n->children[*byte]);
    }
    }
}

/* --- building ----------------------------------------------------------------------------------------------------- */

struct art_node4 *art_create(struct arena *arena, const uint8_t *key, size_t depth)
{
    INVARIANT(depth <= UINT16_MAX);
    struct art_node4 *n = arena_alloc(arena, sizeof *n, ART_NODE_ALIGNMENT);
    memset(n, 0, sizeof *n);
    n->head.depth = (uint16_t)depth;
    n->head.key = key;
    if (depth >= 4)
        memcpy(&n->head.tail, key + depth - 4, 4);
    return n;
}

static void *copy_head(struct arena *arena, const struct art_node *from, size_t size)
{
    struct art_node *n = arena_alloc(arena, size, ART_NODE_ALIGNMENT);
    memset(n, 0, size);
    n->depth = from->depth;
    n->tail = from->tail;
    n->key = from->key;
    atomic_init(&n->ended, (uintptr_t)art_ended(from));
    atomic_init(&n->count, art_count(from));
    return n;
}

static void set_present(_Atomic uint64_t *present, uint8_t byte)
{
    uint64_t bits = atomic_load_explicit(&present[byte / 64], memory_order_relaxed);
    atomic_store_explicit(&present[byte / 64], bits | UINT64_C(1) << (byte % 64), memory_order_release);
}

static uintptr_t grow_4(struct arena *arena, const struct art_node4 *old)
{
    struct art_node16 *n = copy_head(arena, &old->head, sizeof *n);
    for (unsigned i = 0; i < 4; i++) {
        n->keys[i] = old->keys[i];
        atomic_init(&n->children[i], art_load(&old->children[i]));
    }
    return art_child(n, ART_16);
}

static uintptr_t grow_16(struct arena *arena, const struct art_node16 *old)
{
    struct art_node48 *n = copy_head(arena, &old->head, sizeof *n);
    for (unsigned i = 0; i < 16; i++) {
        atomic_init(&n->children[i], art_load(&old->children[i]));
        atomic_init(&n->index[old->keys[i]], (uint8_t)(i + 1));
        set_present(n->present, old->keys[i]);
    }
    return art_child(n, ART_48);
}

static uintptr_t grow_48(struct arena *arena, const struct art_node48 *old)
{
    struct art_node256 *n = copy_head(arena, &old->head, sizeof *n);
    for (int byte = 0; (byte = bit_at_or_above(old->present, byte)) >= 0; byte++) {
        atomic_init(&n->children[byte], child_of_48(old, byte));
        set_present(n->present, (uint8_t)byte);
    }
    return art_child(n, ART_256);
}

static void append_unsorted(struct art_node *head, uint8_t *keys, _Atomic uintptr_t *children, uint8_t byte,
                            uintptr_t child)
{
    unsigned count = art_count(head);
    keys[count] = byte;
    atomic_store_explicit(&children[count], child, memory_order_release);
    atomic_store_explicit(&head->count, (uint16_t)(count + 1), memory_order_release);
}

static void add_to_48(struct art_node48 *n, uint8_t byte, uintptr_t child)
{
    unsigned count = art_count(&n->head);
    atomic_store_explicit(&n->children[count], child, memory_order_release);
    atomic_store_explicit(&n->index[byte], (uint8_t)(count + 1), memory_order_release);
    set_present(n->present, byte);
    atomic_store_explicit(&n->head.count, (uint16_t)(count + 1), memory_order_release);
}

uintptr_t art_add(struct arena *arena, uintptr_t node, uint8_t byte, uintptr_t child, enum art_type *grown_from)
{
    *grown_from = 0;
    enum art_type type = art_type(node);
    if (art_is_full(node)) {
        *grown_from = type;
        if (type == ART_4)
            node = grow_4(arena, (struct art_node4 *)art_node(node));
        else if (type == ART_16)
            node = grow_16(arena, (struct art_node16 *)art_node(node));
        else
            node = grow_48(arena, (struct art_node48 *)art_node(node));
    }
    struct art_node *n = art_node(node);
    switch (art_type(node)) {
    case ART_4:
        append_unsorted(n, ((struct art_node4 *)n)->keys, ((struct art_node4 *)n)->children, byte, child);
        break;
    case ART_16:
        append_unsorted(n, ((struct art_node16 *)n)->keys, ((struct art_node16 *)n)->children, byte, child);
        break;
    case ART_48:
        add_to_48((struct art_node48 *)n, byte, child);
        break;
    default:
        atomic_store_explicit(&((struct art_node256 *)n)->children[byte], child, memory_order_release);
        set_present(((struct art_node256 *)n)->present, byte);
    }
    return node;
}
