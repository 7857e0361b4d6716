/* A data page: what the learned and the traditional index both point at, and one read from the disk.
 *
 * A page is a unit of one or more 4 KiB blocks, aligned in the file. One that spans several blocks holds a single
 * entry that is too large for one; its first block can be verified and used alone, so that asking for the size or the
 * meta of a large value does not read it. In a compressed run units stand in another form (unit.h), and a page that
 * spans several blocks may hold many entries; in memory both are as here. Layout, offsets in bytes:
 *
 *    0  u64  checksum of bytes 8 to 4095, seeded with the run's salt xor the unit's offset in the file
 *    8  u16  count: entries
 *   10  u16  prefix size: bytes that all keys of the page begin with
 *   12  u16  span: 4 KiB blocks of the unit
 *   14  u8   codec of the bytes behind the header: 0; others only as unit.h has them
 *   15  u8   layout of what follows: 0: as here (packed), 1: classic (page_classic.h)
 *  (16  u64  only where span > 1: checksum of the blocks behind the first, seeded with the complement of that seed;
 *            all that follows stands 8 bytes further back)
 *   16  u8   fingerprint[count]: the low byte of each key's hash; one candidate on average for an exact search
 *       -    padding to an even offset
 *       u16  slot[count]: offset of each entry, in key order, versions of one key newest first
 *       -    the common prefix
 *       -    the entries, each:
 *              u8      kind (bits 0-1), has meta (bit 2), has sequence number (bit 3), expires (bit 4), separated (bit
 *                      5): the value is a pointer into a value log (value_log.h)
 *              varint  key size without the prefix
 *              varint  value size            (not for deletions)
 *              u8      meta size             (if bit 2)
 *              varint  sequence number       (if bit 3; otherwise 0: seen by every reader)
 *              varint  second since 1970 from which on it is as if deleted (if bit 4; not 0, and not of deletions)
 *              -       key without the prefix, meta, value
 *       -    zeros to the end of the unit */
#ifndef LSM_PAGE_H
#define LSM_PAGE_H

#include <stdbool.h>

#include "base/bytes.h"
#include "lsm/entry.h"

enum {
    PAGE_SIZE = 4096, /* of a block: what a device reads at once */
    PAGE_SHIFT = 12,
    PAGE_HEADER = 16,
    PAGE_LINES = 128, /* two lines of the processor's cache */
};

enum page_layout { PAGE_PACKED, PAGE_CLASSIC };

struct page_header {
    uint64_t checksum;
    uint16_t count, prefix_size, span;
    uint8_t codec, layout; /* enum page_layout */
};
_Static_assert(sizeof(struct page_header) == PAGE_HEADER, "page header layout");

/* --- reading: `page` is a whole unit that page_verify accepted --- */

/* Checks the checksum (when `checksummed`) and that every size stays inside: afterwards the functions below cannot
 * leave the page. `size` is the unit's size by the run's index. PLSM_CORRUPT without a message: the caller knows file
 * and offset. */
plsm_status page_verify(const uint8_t *page, size_t size, uint64_t seed, bool checksummed);
/* The same for the first block of a unit of `size` bytes when only that was read. On PLSM_OK *complete tells whether
 * key and meta of its entry are inside the block; then page_entry may be used, and page_compare and page_find,
 * as long as the value is not touched. */
plsm_status page_verify_head(const uint8_t *page, size_t size, uint64_t seed, bool checksummed, bool *complete);
/* The same as page_verify for a page that a unit of a compressed run was turned into: there is no checksum, and several
 * blocks may hold many entries. */
plsm_status page_verify_unpacked(const uint8_t *page, size_t size);

static inline unsigned page_count(const uint8_t *page) { return ((const struct page_header *)page)->count; }
static inline size_t page_bytes(const uint8_t *page)
{
    return (size_t)((const struct page_header *)page)->span * PAGE_SIZE;
}
static inline bool page_is_classic(const uint8_t *page)
{
    return ((const struct page_header *)page)->layout == PAGE_CLASSIC;
}

/* --- reading in parts: of packed pages only --- */

plsm_slice page_prefix(const uint8_t *page);
/* Where the slots are. */
const uint8_t *page_slots(const uint8_t *page);
/* The entry at `at` in a page that ends at `end`, without the page's prefix: entry->key is the rest of the key. */
void page_entry_at(const uint8_t *at, const uint8_t *end, struct entry *entry);
/* The same; short keys and values without meta and sequence number, which most are, without a call. */
static inline void page_entry_fast(const uint8_t *at, const uint8_t *end, struct entry *entry)
{
    if (__builtin_expect(at[0] == BATCH_PUT && ((at[1] | at[2]) & 0x80) == 0, 1)) {
        size_t key = at[1], value = at[2];
        *entry = (struct entry){.key = slice(at + 3, key), .value = slice(at + 3 + key, value), .kind = BATCH_PUT};
        return;
    }
    page_entry_at(at, end, entry);
}
/* The same by its slot. */
static inline void page_entry(const uint8_t *page, unsigned slot, struct entry *entry)
{
    page_entry_fast(page + get_u16(page_slots(page) + 2 * slot), page + page_bytes(page), entry);
}

/* --- searching: in both layouts --- */

/* Exact search by fingerprint: the first slot at or behind `from` whose key is `key`, or page_count when there is none;
 * fills *entry (its key is what is stored of it) when found. `hash` is key_hash(key). Where `from` is not 0, the slot
 * before it must not be above the key. */
unsigned page_find(const uint8_t *page, plsm_slice key, uint64_t hash, unsigned from, struct entry *entry);
/* Brings the first entry whose fingerprint is that of `hash` towards the processor's cache. */
void page_fetch_entry(const uint8_t *page, uint64_t hash);
/* What packed pages of one block are like in a run: to guess where in one of them an entry is before anything of it has
 * been read. */
struct page_shape {
    uint16_t entries_from; /* header, fingerprints and slots end about here */
    uint16_t before, size; /* an entry is mostly within `size` bytes that begin `before` bytes in front of the guess */
};
/* The shape of pages that hold `entries` entries on average. Of n keys spread at random over a page, the rank of one is
 * off its expectation by sqrt(n) / 2 in the middle of the page, and by 4/5 of that on average, so its place by
 * 2,048 / sqrt(n) bytes; 1.3 times that to either side finds nearly 9 of 10. Prefetching all of it costs little: what
 * takes long is the walk through page tables, and that is one for all lines of a page. Example: 32 entries of 124
 * bytes: from 112, 477 in front, 1,078 in all. Pure. */
struct page_shape page_shape_of(double entries);
/* Brings what a search of the page reads first towards the cache, and the entry, where the guess is right that it is
 * behind within / 256 of the entries. */
static inline void page_fetch_likely(const uint8_t *page, const struct page_shape *shape, unsigned within)
{
    unsigned at = shape->entries_from + (((unsigned)PAGE_SIZE - shape->entries_from) * within >> 8);
    unsigned from = at > shape->before ? at - shape->before : 0;
    /* As many lines for all keys of a run, so that no branch depends on the key; from the middle, where the entry is
     * likeliest, since lines come in one after another. */
    unsigned size = (shape->size + PAGE_LINES - 1u) & ~(PAGE_LINES - 1u), last = (unsigned)PAGE_SIZE - size;
    const uint8_t *first = page + ((from < last ? from : last) & ~(PAGE_LINES / 2 - 1u)), *end = first + size;
    const uint8_t *up = first + size / 2, *down = up;
    for (; up < end; up += PAGE_LINES / 2) {
        down -= PAGE_LINES / 2;
        __builtin_prefetch(up);
        __builtin_prefetch(down);
        __asm__ volatile("" : : "r"(up), "r"(down)); /* to gcc prefetching has no effect: it would leave out the loop */
    }
}
/* Brings what the first steps of an ordered search compare with towards the cache, all at once: one after another each
 * would be a miss of its own. The front of the page should be there. */
void page_fetch_seek(const uint8_t *page);
/* Ordered search: the first slot whose key is >= key; page_count when all are smaller. */
unsigned page_seek(const uint8_t *page, plsm_slice key);
/* Compares the key of a slot with `key`, as slice_compare. */
int page_compare(const uint8_t *page, unsigned slot, plsm_slice key);

/* --- building --- */

/* Zero it to start; `layout` and `size_max` may be set then. */
struct page_builder {
    enum page_layout layout;
    size_t size_max;       /* packed pages only: up to this, a multiple of PAGE_SIZE, entries go into one page, which
                              gets no checksum; 0: PAGE_SIZE, and a checksum */
    struct buf staged;     /* key, meta and value of those of the entries added so far that do not stay elsewhere */
    struct page_staged {   /* all of them */
        const uint8_t *key, *meta, *value; /* in `staged`, or where the caller has them */
        uint64_t seq, expires_s;
        uint32_t key_size, value_size;
        uint8_t meta_size, kind, fingerprint;
        bool separated;
    } *entries;
    unsigned count, capacity;
    size_t prefix_size;    /* common to all keys so far */
    size_t key_bytes;      /* sum of key sizes */
    size_t key_size_max;
    size_t other_bytes;    /* of all entries, without keys and their sizes */
    size_t classic_bytes;  /* of all entries and restart points, in the classic layout */
};
void page_builder_free(struct page_builder *b);
bool page_builder_fits_exactly(const struct page_builder *b, const struct entry *entry, size_t shared);
/* Whether the entry still fits into one page together with those that are there; always true for the first. `shared` is
 * slice_common of its key and the key before it; anything for the first. */
static inline bool page_builder_fits(const struct page_builder *b, const struct entry *entry, size_t shared)
{
    enum { FIXED = 64, EACH = 8 }; /* more than page and entry can need beside keys, metas, values and numbers */
    size_t most = FIXED + b->key_bytes + b->other_bytes + EACH * (b->count + (size_t)1) + entry->key.size +
                  entry->meta.size + entry->value.size + 3 * VARINT_SIZE_MAX;
    bool surely = most <= PAGE_SIZE && b->layout == PAGE_PACKED; /* mostly, until the page is nearly full */
    return surely || page_builder_fits_exactly(b, entry, shared);
}
/* Adds an entry; keys must come in order; `shared` as above. `stays`: its key, meta and value stay where they are until
 * the page is finished; otherwise they are copied. PLSM_NO_MEMORY. */
plsm_status page_builder_add(struct page_builder *b, const struct entry *entry, uint64_t hash, size_t shared,
                             bool stays);
static inline bool page_builder_empty(const struct page_builder *b) { return b->count == 0; }
plsm_slice page_builder_first(const struct page_builder *b);
plsm_slice page_builder_last(const struct page_builder *b);
/* Appends the finished unit to `out` (its size is a multiple of PAGE_SIZE) and empties the builder. */
plsm_status page_builder_finish(struct page_builder *b, uint64_t seed, struct buf *out);

#endif
