/* Records of the hybrid log, the same in memory and on disk. All numbers are little-endian; a record stands at an
 * address that is a multiple of 8 and does not cross the end of a page, whose size the header of its segment tells.
 *
 *      0  u64  previous: address of the next older record of this chain of the index; 0: none. All ones: no record, the
 *              rest of the page is not used
 *      8  u64  replaces: bits 3 to 47 (with three zeros below) the address of the live record of the same key that this
 *              one replaces; 0: there was none. Bit 0: that one expires. Bits 48 to 63: its size in units of 8 bytes
 *     16  u64  checksum (XXH3-64) of the whole record with this field 0, seeded with the segment's salt XOR the
 *              address; filled in when the record is written out
 *     24  u64  bits 0 to 31 size of the value; 32 to 47 of the key; 48 to 55 of the meta; 56 to 63 kind (base/batch.h:
 *              put, deletion or reference), with BATCH_TIMED where it says when it expires
 *     32  u32  room: bytes set aside behind the key, a multiple of 8
 *     36  u32  sequence: of changes in place; even
 *     40  key, then zeros up to a multiple of 8
 *         room: with BATCH_TIMED u64 seconds since 1970; meta; value; the rest is of no meaning
 *
 * `replaces` makes counting a matter of reading the log once, in order: a put is a new key unless it replaces a record
 * that was counted, a deletion takes a key away only where it replaces such a record. What it names below the begin of
 * the log was never counted. An update in place changes neither `previous` nor `replaces`.
 *
 * In memory. Records from read-only on may be changed by the one writer while they are read: `sizes` and the words of
 * the room are then read and written as atomic words, between two looks at `sequence`, which is odd meanwhile. All else
 * is written before the index leads to the record. */
#ifndef LOG_HYBRID_RECORD_H
#define LOG_HYBRID_RECORD_H

#include <assert.h>
#include <stdatomic.h>

#include "base/batch.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "log/hybrid.h"

struct hybrid_record {
    uint64_t previous, replaces, checksum;
    _Atomic uint64_t sizes;
    uint32_t room;
    _Atomic uint32_t sequence;
    uint8_t key[];
};

enum { RECORD_HEAD = 40, RECORD_ALIGN = 8 };
static_assert(sizeof(struct hybrid_record) == RECORD_HEAD, "format");
static_assert(offsetof(struct hybrid_record, checksum) == 16 && offsetof(struct hybrid_record, sizes) == 24, "format");
static_assert(offsetof(struct hybrid_record, room) == 32 && offsetof(struct hybrid_record, sequence) == 36, "format");

#define RECORD_PAD UINT64_MAX
#define ADDRESS_MAX (UINT64_C(1) << 48)
enum { ADDRESS_FIRST = 64 }; /* of an empty log: 0 is no address */

static inline uint64_t round_8(uint64_t size)
{
    return (size + 7) & ~UINT64_C(7);
}

/* No record is larger: every page holds one. */
enum {
    RECORD_MAX = RECORD_HEAD + (HYBRID_KEY_MAX + 7) / 8 * 8 + (8 + HYBRID_META_MAX + HYBRID_VALUE_MAX + 7) / 8 * 8
};

/* What `sizes` says. */
struct record_sizes {
    uint32_t value;
    uint16_t key;
    uint8_t meta;
    uint8_t kind; /* enum batch_kind */
    bool timed;
};

static inline uint64_t sizes_pack(struct record_sizes s)
{
    return s.value | (uint64_t)s.key << 32 | (uint64_t)s.meta << 48 |
           (uint64_t)(s.kind | (s.timed ? BATCH_TIMED : 0)) << 56;
}

static inline struct record_sizes sizes_unpack(uint64_t word)
{
    uint8_t kind = (uint8_t)(word >> 56);
    return (struct record_sizes){.value = (uint32_t)word,
                                 .key = (uint16_t)(word >> 32),
                                 .meta = (uint8_t)(word >> 48),
                                 .kind = kind & (BATCH_TIMED - 1),
                                 .timed = kind & BATCH_TIMED};
}

/* Bytes of the room that are used. */
static inline uint64_t sizes_payload(struct record_sizes s)
{
    return (s.timed ? 8u : 0u) + s.meta + (uint64_t)s.value;
}

static inline uint64_t record_size_of(uint64_t key_size, uint64_t room)
{
    return RECORD_HEAD + round_8(key_size) + room;
}

static inline struct record_sizes record_sizes(const struct hybrid_record *record)
{
    return sizes_unpack(atomic_load_explicit(&((struct hybrid_record *)(uintptr_t)record)->sizes,
                                             memory_order_acquire));
}

/* Of a put that has neither meta nor a time: all bits but those of the sizes of its value and its key are 0. */
static inline bool sizes_plain(uint64_t word)
{
    return word >> 48 == 0;
}
_Static_assert(BATCH_PUT == 0, "no bit of the kind");

/* The key's size never changes. */
static inline plsm_slice record_key(const struct hybrid_record *record)
{
    return slice(record->key, record_sizes(record).key);
}

static inline uint64_t record_size(const struct hybrid_record *record)
{
    return record_size_of(record_sizes(record).key, record->room);
}

static inline uint8_t *record_room(const struct hybrid_record *record)
{
    return (uint8_t *)(uintptr_t)record->key + round_8(record_sizes(record).key);
}

/* --- what a record replaces --- */

enum { REPLACES_TIMED = 1, REPLACES_SIZE_SHIFT = 48 };
#define REPLACES_ADDRESS (((UINT64_C(1) << REPLACES_SIZE_SHIFT) - 1) & ~UINT64_C(7))

static inline uint64_t replaces_pack(uint64_t address, uint64_t size, bool timed)
{
    return address | (timed ? REPLACES_TIMED : 0) | size / 8 << REPLACES_SIZE_SHIFT;
}

static inline uint64_t replaces_address(uint64_t replaces)
{
    return replaces & REPLACES_ADDRESS;
}

static inline uint64_t replaces_size(uint64_t replaces)
{
    return (replaces >> REPLACES_SIZE_SHIFT) * 8;
}
static_assert(RECORD_MAX / 8 < 1 << 16, "the size of what is replaced fits");

/* Whether `size` bytes at `record` begin with a whole record, by its own sizes alone; *whole is its size. */
static inline bool record_fits(const struct hybrid_record *record, uint64_t size, uint64_t *whole)
{
    *whole = RECORD_HEAD;
    if (size < RECORD_HEAD)
        return false;
    *whole = record_size(record);
    return *whole <= size;
}

/* Whether the sizes of a record that was read are possible. */
static inline bool record_sane(const struct hybrid_record *record)
{
    struct record_sizes s = record_sizes(record);
    return s.key >= 2 && s.key <= HYBRID_KEY_MAX && s.value <= HYBRID_VALUE_MAX && s.kind <= BATCH_REFERENCE &&
           record->room % RECORD_ALIGN == 0 && record->room <= RECORD_MAX && sizes_payload(s) <= record->room &&
           record_size(record) <= RECORD_MAX;
}

/* The checksum that the record at `address` must have; it is a whole one, and nobody changes it. */
static inline uint64_t record_checksum(struct hybrid_record *record, uint64_t address, uint64_t salt)
{
    uint64_t kept = record->checksum;
    record->checksum = 0;
    uint64_t sum = checksum(record, record_size(record), salt ^ address);
    record->checksum = kept;
    return sum;
}

/* --- words that may change while they are read ---
 *
 * Two at a time, as volatile ones: what is torn, also in between, the sequence number tells, and the fences keep the
 * looks at that in order (Boehm, "Can seqlocks get along with programming language memory models?", MSPC 2012).
 * ThreadSanitizer knows neither of the two: there they are atomic, one by one. */
#if defined(__SANITIZE_THREAD__)
#define RECORD_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RECORD_TSAN 1
#endif
#endif

typedef uint64_t record_pair __attribute__((vector_size(16), aligned(8), may_alias));

/* `size` is a multiple of 8. */
static inline void words_read(void *to, const uint8_t *from, size_t size)
{
    uint8_t *target = (uint8_t *)to;
#ifndef RECORD_TSAN
    for (; size >= 2 * sizeof(record_pair); size -= 2 * sizeof(record_pair)) {
        record_pair first = *(const volatile record_pair *)(const void *)from;
        record_pair second = *(const volatile record_pair *)(const void *)(from + sizeof first);
        memcpy(target, &first, sizeof first);
        memcpy(target + sizeof first, &second, sizeof second);
        target += 2 * sizeof(record_pair);
        from += 2 * sizeof(record_pair);
    }
#endif
    for (; size > 0; size -= 8, target += 8, from += 8)
        put_u64(target, __atomic_load_n((const uint64_t *)(const void *)from, __ATOMIC_ACQUIRE));
#ifndef RECORD_TSAN
    atomic_thread_fence(memory_order_acquire);
#endif
}

/* The last size % 8 bytes, of which there are some, as a word; zeros behind. */
static inline uint64_t last_word(const uint8_t *from, size_t size)
{
    uint64_t word = 0;
    size_t rest = size % 8;
    if (size >= 8)
        return get_u64(from + size - 8) >> (64 - 8 * rest);
    copy_short((uint8_t *)&word, from + size - rest, rest);
    return word;
}

/* Any size: zeros up to a multiple of 8. */
static inline void words_write(uint8_t *to, const void *from, size_t size)
{
    const uint8_t *source = (const uint8_t *)from;
    size_t left = size;
#ifndef RECORD_TSAN
    atomic_thread_fence(memory_order_release);
    for (; left >= 2 * sizeof(record_pair); left -= 2 * sizeof(record_pair)) {
        record_pair first, second;
        memcpy(&first, source, sizeof first);
        memcpy(&second, source + sizeof first, sizeof second);
        *(volatile record_pair *)(void *)to = first;
        *(volatile record_pair *)(void *)(to + sizeof first) = second;
        to += 2 * sizeof(record_pair);
        source += 2 * sizeof(record_pair);
    }
#endif
    for (; left >= 8; left -= 8, to += 8, source += 8)
        __atomic_store_n((uint64_t *)(void *)to, get_u64(source), __ATOMIC_RELEASE);
    if (left > 0)
        __atomic_store_n((uint64_t *)(void *)to, last_word((const uint8_t *)from, size), __ATOMIC_RELEASE);
}

#endif
