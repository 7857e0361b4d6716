/* Data pages: reading and building. The layout stands in page.h. */
#include "lsm/page.h"

#include <math.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "lsm/lsm.h"
#include "lsm/page_classic.h"
#include "lsm/page_private.h"
#include "lsm/value_log.h"
#include "base/banned.h"

enum { HAS_META = 4, HAS_SEQ = 8, EXPIRES = 16, SEPARATED = 32, KIND_MASK = 3 };

static const struct page_header *header(const uint8_t *page)
{
    return (const struct page_header *)page;
}

/* Where the fingerprints start in a page of that span. */
static size_t fixed_size(unsigned span)
{
    return span > 1 ? PAGE_HEADER + sizeof(uint64_t) : PAGE_HEADER;
}

const uint8_t *page_slots(const uint8_t *page)
{
    return page + ((fixed_size(header(page)->span) + header(page)->count + 1u) & ~(size_t)1);
}

plsm_slice page_prefix(const uint8_t *page)
{
    return slice(page_slots(page) + 2u * header(page)->count, header(page)->prefix_size);
}

const uint8_t *page_entry_parse(const uint8_t *at, const uint8_t *end, struct entry *entry)
{
    uint64_t key_size = 0, value_size = 0, meta_size = 0;
    if (at >= end)
        return NULL;
    uint8_t flags = *at++;
    entry->kind = (enum batch_kind)(flags & KIND_MASK);
    entry->separated = flags & SEPARATED;
    entry->seq = entry->expires_s = 0;
    if (!(at = get_varint(at, end, &key_size)))
        return NULL;
    if (entry->kind != BATCH_DELETE && !(at = get_varint(at, end, &value_size)))
        return NULL;
    if (flags & HAS_META) {
        if (at >= end)
            return NULL;
        meta_size = *at++;
    }
    if ((flags & HAS_SEQ) && !(at = get_varint(at, end, &entry->seq)))
        return NULL;
    if (__builtin_expect(flags & EXPIRES, 0) &&
        (entry->kind == BATCH_DELETE || !(at = get_varint(at, end, &entry->expires_s)) || entry->expires_s == 0))
        return NULL;
    size_t left = (size_t)(end - at);
    if (key_size > left || meta_size > left - key_size)
        return NULL;
    entry->key = slice(at, key_size);
    entry->meta = slice(at + key_size, meta_size);
    entry->value = slice(at + key_size + meta_size, value_size);
    return at + key_size + meta_size;
}

bool page_entry_sound(const struct entry *entry, size_t shared)
{
    size_t key_size = shared + entry->key.size;
    return key_size >= 1 && key_size <= LSM_KEY_MAX && entry->value.size <= LSM_VALUE_MAX && entry->seq <= SEQ_MAX &&
           (unsigned)entry->kind < ENTRY_KINDS && (!entry->separated || entry->kind == BATCH_PUT);
}

bool page_value_sound(const struct entry *entry)
{
    struct value_pointer pointer;
    return !entry->separated || value_pointer_read(entry->value, &pointer);
}

static bool header_fits(const struct page_header *h, size_t size)
{
    return size >= PAGE_SIZE && size % PAGE_SIZE == 0 && (size_t)h->span * PAGE_SIZE == size && h->codec == 0 &&
           h->count > 0 && (h->span == 1 || h->layout == PAGE_PACKED) && h->layout <= PAGE_CLASSIC;
}

plsm_status page_verify_head(const uint8_t *page, size_t size, uint64_t seed, bool checksummed, bool *complete)
{
    const struct page_header *h = header(page);
    if (checksummed && h->checksum != checksum(page + sizeof h->checksum, PAGE_SIZE - sizeof h->checksum, seed))
        return PLSM_CORRUPT;
    if (!header_fits(h, size) || (h->span > 1 && h->count > 1))
        return PLSM_CORRUPT;
    if (h->layout == PAGE_CLASSIC) {
        *complete = true;
        return page_classic_verify(page);
    }
    size_t fixed = (size_t)(page_slots(page) - page) + 2u * h->count + h->prefix_size;
    struct entry entry;
    const uint8_t *value = NULL, *end = page + PAGE_SIZE;
    if (fixed <= PAGE_SIZE && get_u16(page_slots(page)) >= fixed && get_u16(page_slots(page)) < PAGE_SIZE)
        value = page_entry_parse(page + get_u16(page_slots(page)), end, &entry);
    if (value && !page_entry_sound(&entry, h->prefix_size))
        return PLSM_CORRUPT;
    /* A reference, or a pointer, is always handed out whole. */
    bool whole_value = value && entry.value.size <= (size_t)(end - value);
    *complete = value && (whole_value || (entry.kind != BATCH_REFERENCE && !entry.separated));
    return whole_value && !page_value_sound(&entry) ? PLSM_CORRUPT : PLSM_OK;
}

/* Checks the structure of a packed page whose header is right. */
static plsm_status verify_packed(const uint8_t *page, size_t size)
{
    const struct page_header *h = header(page);
    size_t fixed = (size_t)(page_slots(page) - page) + 2u * h->count + h->prefix_size;
    if (fixed > size)
        return PLSM_CORRUPT;
    for (unsigned i = 0; i < h->count; i++) {
        struct entry entry;
        uint16_t offset = get_u16(page_slots(page) + 2 * i);
        if (offset < fixed || offset >= size)
            return PLSM_CORRUPT;
        const uint8_t *value = page_entry_parse(page + offset, page + size, &entry);
        if (!value || entry.value.size > (size_t)(page + size - value) || !page_entry_sound(&entry, h->prefix_size) ||
            !page_value_sound(&entry))
            return PLSM_CORRUPT;
    }
    return PLSM_OK;
}

plsm_status page_verify(const uint8_t *page, size_t size, uint64_t seed, bool checksummed)
{
    const struct page_header *h = header(page);
    bool complete = false;
    TRY(page_verify_head(page, size, seed, checksummed, &complete));
    if (h->layout == PAGE_CLASSIC)
        return PLSM_OK;
    if (h->span > 1 && checksummed &&
        get_u64(page + PAGE_HEADER) != checksum(page + PAGE_SIZE, size - PAGE_SIZE, ~seed))
        return PLSM_CORRUPT;
    return verify_packed(page, size);
}

plsm_status page_verify_unpacked(const uint8_t *page, size_t size)
{
    const struct page_header *h = header(page);
    if (!header_fits(h, size))
        return PLSM_CORRUPT;
    return h->layout == PAGE_CLASSIC ? page_classic_verify(page) : verify_packed(page, size);
}

void page_entry_at(const uint8_t *at, const uint8_t *end, struct entry *entry)
{
    const uint8_t *value = page_entry_parse(at, end, entry);
    INVARIANT(value != NULL); /* page_verify looked */
}

int page_compare(const uint8_t *page, unsigned slot, plsm_slice key)
{
    if (page_is_classic(page))
        return page_classic_compare(page, slot, key);
    plsm_slice prefix = page_prefix(page);
    if (key.size < prefix.size) {
        int order = memcmp(prefix.data, key.data, key.size);
        return order ? order : 1;
    }
    int order = memcmp(prefix.data, key.data, prefix.size);
    if (order)
        return order;
    struct entry entry;
    page_entry(page, slot, &entry);
    return slice_compare(entry.key, slice((const uint8_t *)key.data + prefix.size, key.size - prefix.size));
}

enum {
    MATCH = 64
}; /* fingerprints at a time: most pages have no more, so that which branch comes next is no matter
                        of where the key is */

/* A bit per fingerprint at `at` (MATCH of them) that equals `wanted`; of these only the first `left` count. Those read
 * behind the last fingerprint are inside the page: of n there, 2 n bytes of slots follow, and a page is PAGE_SIZE large
 * at least. */
static inline uint64_t match(const uint8_t *at, uint8_t wanted, unsigned left)
{
    uint64_t mask = 0;
#if defined(__SSE2__)
    const __m128i *blocks = (const void *)at, all = _mm_set1_epi8((char)wanted);
    for (unsigned i = 0; i < MATCH / 16; i++)
        mask |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128(blocks + i), all)) << 16 * i;
#else
    for (unsigned i = 0; i < MATCH; i++)
        mask |= (uint64_t)(at[i] == wanted) << i;
#endif
    return left < MATCH ? mask & ((UINT64_C(1) << left) - 1) : mask;
}

unsigned page_find(const uint8_t *page, plsm_slice key, uint64_t hash, unsigned from, struct entry *entry)
{
    if (page_is_classic(page))
        return page_classic_find(page, key, from, entry);
    unsigned count = header(page)->count;
    const uint8_t *fingerprints = page + fixed_size(header(page)->span), *slots = page_slots(page);
    const uint8_t *end = page + page_bytes(page);
    plsm_slice prefix = slice(slots + 2u * count, header(page)->prefix_size);
    if (!slice_starts_with(key, prefix))
        return count;
    plsm_slice rest = slice((const uint8_t *)key.data + prefix.size, key.size - prefix.size);
    for (unsigned base = from; base < count; base += MATCH)
        for (uint64_t mask = match(fingerprints + base, (uint8_t)hash, count - base); mask; mask &= mask - 1) {
            unsigned slot = base + (unsigned)__builtin_ctzll(mask);
            const uint8_t *at = page + get_u16(slots + 2 * slot);
            __builtin_prefetch(at + 64); /* entries rarely fit one cache line */
            page_entry_fast(at, end, entry);
            if (slice_equal(entry->key, rest))
                return slot;
        }
    return count;
}

void page_fetch_entry(const uint8_t *page, uint64_t hash)
{
    unsigned count = header(page)->count;
    const uint8_t *fingerprints = page + fixed_size(header(page)->span), *slots = page_slots(page);
    for (unsigned base = 0; base < count; base += MATCH) {
        uint64_t mask = match(fingerprints + base, (uint8_t)hash, count - base);
        if (!mask)
            continue;
        const uint8_t *entry = page + get_u16(slots + 2 * (base + (unsigned)__builtin_ctzll(mask)));
        __builtin_prefetch(entry);
        __builtin_prefetch(entry + 64);
        return;
    }
}

struct page_shape page_shape_of(double entries)
{
    enum { HALF_BYTES = 2700 }; /* 1.3 times 2,048 */
    unsigned count = entries > 1 ? (unsigned)entries : 1;
    unsigned from = PAGE_HEADER + 3 * count, rest = from < PAGE_SIZE / 2 ? PAGE_SIZE - from : PAGE_SIZE / 2;
    unsigned before = (unsigned)(HALF_BYTES / sqrt(count)), size = 2 * before + rest / count;
    return (struct page_shape){.entries_from = (uint16_t)(PAGE_SIZE - rest),
                               .before = (uint16_t)(before < PAGE_SIZE ? before : PAGE_SIZE),
                               .size = (uint16_t)(size < PAGE_SIZE ? size : PAGE_SIZE)};
}

void page_fetch_seek(const uint8_t *page)
{
    enum { PARTS = 8 }; /* three halvings, and both ends */
    unsigned count = page_is_classic(page) ? 0 : header(page)->count;
    const uint8_t *slots = page_slots(page);
    for (unsigned i = 0; i <= PARTS && count > 0; i++)
        __builtin_prefetch(page + get_u16(slots + 2 * (size_t)((count - 1) * i / PARTS)));
}

unsigned page_seek(const uint8_t *page, plsm_slice key)
{
    if (page_is_classic(page))
        return page_classic_seek(page, key);
    unsigned count = header(page)->count;
    plsm_slice prefix = page_prefix(page);
    size_t shared = key.size < prefix.size ? key.size : prefix.size;
    int order = shared ? memcmp(key.data, prefix.data, shared) : 0;
    if (order)
        return order < 0 ? 0 : count;
    if (key.size < prefix.size)
        return 0;
    plsm_slice rest = slice((const uint8_t *)key.data + prefix.size, key.size - prefix.size);
    unsigned low = 0, high = count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        struct entry entry;
        page_entry(page, middle, &entry);
        if (slice_compare(entry.key, rest) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void page_builder_free(struct page_builder *b)
{
    buf_free(&b->staged);
    mem_free(b->entries);
    *b = (struct page_builder){0};
}

plsm_slice page_builder_first(const struct page_builder *b)
{
    return slice(b->entries[0].key, b->entries[0].key_size);
}

plsm_slice page_builder_last(const struct page_builder *b)
{
    const struct page_staged *last = &b->entries[b->count - 1];
    return slice(last->key, last->key_size);
}

/* An upper bound of the finished page: all key sizes counted as if they were the largest. */
static inline size_t page_size_bound(unsigned count, size_t prefix_size, size_t key_bytes, size_t key_size_max,
                                     size_t other_bytes)
{
    return PAGE_HEADER + sizeof(uint64_t) + count + 1 + 2u * count + prefix_size + (key_bytes - count * prefix_size) +
           count * varint_size(key_size_max - prefix_size) + other_bytes;
}

/* Keys are in order: what all of them share is the least that neighbours do. */
static inline size_t prefix_with(const struct page_builder *b, size_t shared)
{
    return shared < b->prefix_size ? shared : b->prefix_size;
}

bool page_builder_fits_exactly(const struct page_builder *b, const struct entry *entry, size_t shared)
{
    if (b->count == 0)
        return true;
    if (b->layout == PAGE_CLASSIC)
        return PAGE_HEADER + b->classic_bytes + page_classic_growth(b, entry, shared) <= PAGE_SIZE;
    size_t key_size_max = entry->key.size > b->key_size_max ? entry->key.size : b->key_size_max;
    return page_size_bound(b->count + 1, prefix_with(b, shared), b->key_bytes + entry->key.size, key_size_max,
                           b->other_bytes + page_entry_other(entry)) <= (b->size_max ? b->size_max : PAGE_SIZE);
}

static plsm_status grow_entries(struct page_builder *b)
{
    unsigned capacity = b->capacity ? 2 * b->capacity : 64;
    struct page_staged *grown = mem_realloc(b->entries, capacity * sizeof *grown);
    if (!grown)
        return fail(PLSM_NO_MEMORY, "no memory to build a page");
    b->entries = grown;
    b->capacity = capacity;
    return PLSM_OK;
}

/* Follows bytes that were staged at [from, from + size) and are at `to` now. */
static void follow(const uint8_t **at, uintptr_t from, size_t size, const uint8_t *to)
{
    uintptr_t offset = (uintptr_t)*at - from;
    if (offset < size)
        *at = to + offset;
}

/* Makes room for `size` bytes more in `staged`, which may move. */
static plsm_status grow_staged(struct page_builder *b, size_t size)
{
    uintptr_t from = (uintptr_t)b->staged.data;
    TRY(buf_reserve(&b->staged, size + 2 * PAGE_SIZE));
    for (unsigned i = 0; i < b->count; i++) {
        struct page_staged *entry = &b->entries[i];
        follow(&entry->key, from, b->staged.size, b->staged.data);
        follow(&entry->meta, from, b->staged.size, b->staged.data);
        follow(&entry->value, from, b->staged.size, b->staged.data);
    }
    return PLSM_OK;
}

static inline const uint8_t *stage(struct page_builder *b, plsm_slice bytes)
{
    uint8_t *to = b->staged.data + b->staged.size;
    copy_short(to, bytes.data, bytes.size);
    b->staged.size += bytes.size;
    return to;
}

plsm_status page_builder_add(struct page_builder *b, const struct entry *entry, uint64_t hash, size_t shared,
                             bool stays)
{
    size_t size = entry->key.size + entry->meta.size + entry->value.size;
    if (b->count == b->capacity)
        TRY(grow_entries(b));
    if (!stays && size > b->staged.capacity - b->staged.size)
        TRY(grow_staged(b, size));
    if (b->layout == PAGE_CLASSIC)
        b->classic_bytes += page_classic_growth(b, entry, shared);
    b->prefix_size = b->count == 0 ? entry->key.size : prefix_with(b, shared);
    struct page_staged *staged = &b->entries[b->count++];
    staged->key = stays ? entry->key.data : stage(b, entry->key);
    staged->meta = stays ? entry->meta.data : stage(b, entry->meta);
    staged->value = stays ? entry->value.data : stage(b, entry->value);
    staged->seq = entry->seq;
    staged->expires_s = entry->expires_s;
    staged->key_size = (uint32_t)entry->key.size;
    staged->value_size = (uint32_t)entry->value.size;
    staged->meta_size = (uint8_t)entry->meta.size;
    staged->kind = (uint8_t)entry->kind;
    staged->fingerprint = (uint8_t)hash;
    staged->separated = entry->separated;
    b->key_bytes += entry->key.size;
    if (entry->key.size > b->key_size_max)
        b->key_size_max = entry->key.size;
    b->other_bytes += page_entry_other(entry);
    return PLSM_OK;
}

/* Kind and sizes of an entry; what is behind them is nothing but key and value where it is `plain`. */
static inline uint8_t *write_head(uint8_t *to, const struct page_staged *staged, size_t key_size, bool plain)
{
    if (__builtin_expect(plain && (key_size | staged->value_size) < 128, 1)) {
        to[0] = BATCH_PUT;
        to[1] = (uint8_t)key_size;
        to[2] = (uint8_t)staged->value_size;
        return to + 3;
    }
    *to++ = (uint8_t)(staged->kind | (staged->meta_size ? HAS_META : 0) | (staged->seq ? HAS_SEQ : 0) |
                      (staged->expires_s ? EXPIRES : 0) | (staged->separated ? SEPARATED : 0));
    to = put_varint(to, key_size);
    if (staged->kind != BATCH_DELETE)
        to = put_varint(to, staged->value_size);
    if (staged->meta_size)
        *to++ = staged->meta_size;
    if (staged->seq)
        to = put_varint(to, staged->seq);
    if (staged->expires_s)
        to = put_varint(to, staged->expires_s);
    return to;
}

uint8_t *page_entry_write(uint8_t *to, const struct page_staged *staged, size_t shared)
{
    size_t key_size = staged->key_size - shared;
    bool plain = (staged->kind | staged->meta_size | staged->seq | staged->expires_s | staged->separated) == 0;
    to = write_head(to, staged, key_size, plain);
    copy_short(to, staged->key + shared, key_size);
    to += key_size;
    if (staged->meta_size)
        memcpy(to, staged->meta, staged->meta_size);
    to += staged->meta_size;
    copy_short(to, staged->value, staged->value_size);
    return to + staged->value_size;
}

static plsm_status finish_packed(const struct page_builder *b, uint64_t seed, struct buf *out)
{
    size_t bound = page_size_bound(b->count, b->prefix_size, b->key_bytes, b->key_size_max, b->other_bytes);
    size_t span = (bound + PAGE_SIZE - 1) / PAGE_SIZE, size = span * PAGE_SIZE;
    INVARIANT((span == 1 || b->count == 1 || size <= b->size_max) && span <= UINT16_MAX);
    TRY(buf_reserve(out, size));
    uint8_t *page = out->data + out->size;
    struct page_header h = {
        .count = (uint16_t)b->count, .prefix_size = (uint16_t)b->prefix_size, .span = (uint16_t)span};
    memcpy(page, &h, sizeof h);
    uint8_t *fingerprints = page + fixed_size((unsigned)span);
    uint8_t *slot = page + (((size_t)(fingerprints - page) + b->count + 1u) & ~(size_t)1);
    slot[-1] = 0; /* the padding, where there is any; otherwise overwritten below */
    uint8_t *to = slot + 2u * b->count;
    memcpy(to, b->entries[0].key, b->prefix_size);
    to += b->prefix_size;
    for (unsigned i = 0; i < b->count; i++) {
        fingerprints[i] = b->entries[i].fingerprint;
        put_u16(slot + 2 * i, (uint16_t)(to - page));
        to = page_entry_write(to, &b->entries[i], b->prefix_size);
    }
    memset(to, 0, (size_t)(page + size - to));
    if (span > 1)
        put_u64(page + PAGE_HEADER, b->size_max ? 0 : checksum(page + PAGE_SIZE, size - PAGE_SIZE, ~seed));
    if (!b->size_max)
        put_u64(page, checksum(page + sizeof h.checksum, PAGE_SIZE - sizeof h.checksum, seed));
    out->size += size;
    return PLSM_OK;
}

plsm_status page_builder_finish(struct page_builder *b, uint64_t seed, struct buf *out)
{
    INVARIANT(b->count > 0);
    if (b->layout == PAGE_CLASSIC && PAGE_HEADER + b->classic_bytes <= PAGE_SIZE) {
        TRY(buf_reserve(out, PAGE_SIZE));
        page_classic_write(b, seed, out->data + out->size);
        out->size += PAGE_SIZE;
    } else {
        TRY(finish_packed(b, seed, out));
    }
    b->count = 0;
    b->staged.size = b->prefix_size = b->key_bytes = b->key_size_max = b->other_bytes = b->classic_bytes = 0;
    return PLSM_OK;
}
