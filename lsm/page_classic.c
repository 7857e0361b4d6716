/* Classic pages: reading, writing and bringing them into the packed layout. The layout stands in page_classic.h. */
#include "lsm/page_classic.h"

#include <assert.h>

#include "base/checksum.h"
#include "base/error.h"
#include "lsm/page_private.h"
#include "base/banned.h"

static unsigned restart_count(unsigned count)
{
    return (count + PAGE_RESTART_INTERVAL - 1) / PAGE_RESTART_INTERVAL;
}

/* Where the restart offsets begin: no entry goes beyond. */
static const uint8_t *restarts_of(const uint8_t *page)
{
    return page + PAGE_SIZE - 2 * restart_count(page_count(page));
}

plsm_status page_classic_verify(const uint8_t *page)
{
    const struct page_header *h = (const struct page_header *)page;
    size_t key_size = 0;
    if (h->prefix_size != 0 || PAGE_HEADER + 2 * (size_t)restart_count(h->count) > PAGE_SIZE)
        return PLSM_CORRUPT;
    const uint8_t *at = page + PAGE_HEADER, *restarts = restarts_of(page);
    for (unsigned slot = 0; slot < h->count; slot++) {
        struct entry entry;
        uint64_t shared = 0;
        bool restart = slot % PAGE_RESTART_INTERVAL == 0;
        if (restart && get_u16(restarts + slot / PAGE_RESTART_INTERVAL * 2) != at - page)
            return PLSM_CORRUPT;
        const uint8_t *flags = get_varint(at, restarts, &shared);
        if (!flags || shared > (restart ? 0 : key_size) || (size_t)(flags - at) != varint_size(shared))
            return PLSM_CORRUPT;
        const uint8_t *value = page_entry_parse(flags, restarts, &entry);
        if (!value || entry.value.size > (size_t)(restarts - value) || !page_entry_sound(&entry, shared) ||
            !page_value_sound(&entry))
            return PLSM_CORRUPT;
        key_size = shared + entry.key.size;
        at = value + entry.value.size;
    }
    return PLSM_OK;
}

/* --- walking ------------------------------------------------------------------------------------------------------ */

/* A walk over entries from a restart point on. Not zeroed on purpose: the key is filled from its front. */
struct walk {
    const uint8_t *at;  /* the entry that comes next */
    const uint8_t *end; /* of all entries */
    struct entry entry; /* the present one; its key: what follows the shared bytes */
    size_t key_size;
    uint8_t key[PAGE_SIZE]; /* whole: its bytes all come from entries behind the restart point, so it is shorter */
};

static void walk_start(struct walk *w, const uint8_t *page, unsigned restart)
{
    w->end = restarts_of(page);
    w->at = page + get_u16(w->end + 2 * restart);
}

static inline void walk_next(struct walk *w)
{
    uint64_t shared = 0;
    page_entry_fast(get_varint(w->at, w->end, &shared), w->end, &w->entry);
    memcpy(w->key + shared, w->entry.key.data, w->entry.key.size);
    w->key_size = shared + w->entry.key.size;
    w->at = (const uint8_t *)w->entry.value.data + w->entry.value.size;
}

/* Walks to a slot. */
static void walk_to(struct walk *w, const uint8_t *page, unsigned slot)
{
    walk_start(w, page, slot / PAGE_RESTART_INTERVAL);
    for (unsigned steps = slot % PAGE_RESTART_INTERVAL + 1; steps > 0; steps--)
        walk_next(w);
}

/* The whole key at a restart point. */
static plsm_slice restart_key(const uint8_t *page, const uint8_t *restarts, unsigned restart)
{
    struct entry entry;
    page_entry_fast(page + get_u16(restarts + 2 * restart) + 1, restarts, &entry); /* behind a shared length of 0 */
    return entry.key;
}

/* The last restart point whose key is below `key`, or the first: the first entry with a key >= `key` comes behind it
 * and not behind the next one, even where versions of one key go over restart points. */
static unsigned restart_below(const uint8_t *page, plsm_slice key)
{
    const uint8_t *restarts = restarts_of(page);
    unsigned low = 0, high = restart_count(page_count(page)) - 1;
    while (low < high) {
        unsigned middle = (low + high + 1) / 2;
        if (slice_compare(restart_key(page, restarts, middle), key) < 0)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* The first slot at or behind `from` whose key is >= `key`, which *w then stands on; page_count when there is none.
 * *order is how the key there compares. */
static unsigned walk_seek(struct walk *w, const uint8_t *page, plsm_slice key, unsigned from, int *order)
{
    unsigned count = page_count(page), restart = restart_below(page, key);
    if (restart < from / PAGE_RESTART_INTERVAL)
        restart = from / PAGE_RESTART_INTERVAL;
    walk_start(w, page, restart);
    for (unsigned slot = restart * PAGE_RESTART_INTERVAL; slot < count; slot++) {
        walk_next(w);
        if (slot >= from && (*order = slice_compare(slice(w->key, w->key_size), key)) >= 0)
            return slot;
    }
    return count;
}

unsigned page_classic_find(const uint8_t *page, plsm_slice key, unsigned from, struct entry *entry)
{
    struct walk w;
    int order = 1;
    unsigned count = page_count(page);
    if (from >= count)
        return count;
    unsigned slot = walk_seek(&w, page, key, from, &order);
    if (order != 0)
        return count;
    *entry = w.entry;
    return slot;
}

unsigned page_classic_seek(const uint8_t *page, plsm_slice key)
{
    struct walk w;
    int order = 0;
    return walk_seek(&w, page, key, 0, &order);
}

int page_classic_compare(const uint8_t *page, unsigned slot, plsm_slice key)
{
    struct walk w;
    walk_to(&w, page, slot);
    return slice_compare(slice(w.key, w.key_size), key);
}

plsm_slice page_classic_key(const uint8_t *page, unsigned slot, uint8_t *buffer)
{
    struct walk w;
    walk_to(&w, page, slot);
    memcpy(buffer, w.key, w.key_size);
    return slice(buffer, w.key_size);
}

/* --- bringing into the packed layout ------------------------------------------------------------------------------ */

/* Why it fits: let the entries from one restart point up to the next take R bytes for what is stored of their keys, H
 * for their headers and V for metas and values. There are at most 16 of them, and each key consists of bytes among the
 * R, so whole keys take at most 16 R. A packed header is not longer than a classic one (a key below 4 KiB has a size of
 * at most two bytes, where the classic header has two sizes), and the 3 bytes of fingerprint and slot are not more than
 * a header. So all of it takes at most 16 R + 2 H + V, which is below 16 times what it took; and all entries of a page,
 * without its header and one restart offset at least, take 4,078 bytes. What stands in front of the fingerprints, and
 * the padding behind them, come on top. */
enum { EXPANDED_FIXED = PAGE_HEADER + sizeof(uint64_t) };
static_assert(EXPANDED_FIXED + 1 + PAGE_RESTART_INTERVAL * (PAGE_SIZE - PAGE_HEADER - 2) <= PAGE_EXPANDED_SIZE,
              "an expanded page fits its buffer");
static_assert(PAGE_EXPANDED_SIZE - 1 <= UINT16_MAX, "offsets within an expanded page are u16");

void page_classic_expand(const uint8_t *page, uint8_t *out)
{
    unsigned count = page_count(page);
    /* Its true span is known at the end only; it does not matter to those who read it, but for where slots are. */
    struct page_header h = {.count = (uint16_t)count, .span = PAGE_EXPANDED_SIZE / PAGE_SIZE};
    memcpy(out, &h, sizeof h);
    uint8_t *slots = out + ((EXPANDED_FIXED + count + 1u) & ~(size_t)1);
    memset(out + sizeof h, 0, (size_t)(slots - out) - sizeof h);
    const uint8_t *at = page + PAGE_HEADER, *end = restarts_of(page), *key_before = out;
    uint8_t *to = slots + 2 * count;
    for (unsigned slot = 0; slot < count; slot++) {
        struct entry entry;
        uint64_t shared = 0;
        const uint8_t *flags = get_varint(at, end, &shared);
        page_entry_fast(flags, end, &entry);
        const uint8_t *rest = entry.key.data, *sizes = flags + 1;
        while (*sizes++ & 0x80)
            ; /* the key's size: those of meta and value, and the sequence number, follow */
        at = (const uint8_t *)entry.value.data + entry.value.size;
        size_t key_size = shared + entry.key.size, rest_size = (size_t)(at - rest); /* with meta and value */
        INVARIANT((size_t)(to - out) + 1 + varint_size(key_size) + (size_t)(rest - sizes) + shared + rest_size <=
                  PAGE_EXPANDED_SIZE);
        put_u16(slots + 2 * slot, (uint16_t)(to - out));
        *to++ = *flags;
        to = put_varint(to, key_size);
        while (sizes < rest)
            *to++ = *sizes++;
        memcpy(to, key_before, shared);
        memcpy(to + shared, rest, rest_size);
        key_before = to;
        to += shared + rest_size;
    }
}

/* --- building ----------------------------------------------------------------------------------------------------- */

static plsm_slice staged_key(const struct page_staged *staged)
{
    return slice(staged->key, staged->key_size);
}

size_t page_classic_growth(const struct page_builder *b, const struct entry *entry, size_t shared)
{
    bool restart = b->count % PAGE_RESTART_INTERVAL == 0;
    shared = restart ? 0 : shared;
    size_t rest = entry->key.size - shared;
    return varint_size(shared) + varint_size(rest) + rest + page_entry_other(entry) + (restart ? sizeof(uint16_t) : 0);
}

void page_classic_write(const struct page_builder *b, uint64_t seed, uint8_t *page)
{
    struct page_header h = {.count = (uint16_t)b->count, .span = 1, .layout = PAGE_CLASSIC};
    memcpy(page, &h, sizeof h);
    uint8_t *to = page + PAGE_HEADER, *restarts = page + PAGE_SIZE - 2 * restart_count(b->count);
    for (unsigned slot = 0; slot < b->count; slot++) {
        const struct page_staged *staged = &b->entries[slot];
        bool restart = slot % PAGE_RESTART_INTERVAL == 0;
        size_t shared = restart ? 0 : slice_common(staged_key(staged - 1), staged_key(staged));
        if (restart)
            put_u16(restarts + slot / PAGE_RESTART_INTERVAL * 2, (uint16_t)(to - page));
        to = put_varint(to, shared);
        to = page_entry_write(to, staged, shared);
    }
    INVARIANT(to <= restarts);
    memset(to, 0, (size_t)(restarts - to));
    put_u64(page, checksum(page + sizeof h.checksum, PAGE_SIZE - sizeof h.checksum, seed));
}
