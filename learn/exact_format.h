/* What building and reading an exact set share. Private to learn/exact*.c; the layout stands at the top of exact.c. */
#ifndef LEARN_EXACT_FORMAT_H
#define LEARN_EXACT_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "learn/exact.h"

enum {
    EXACT_FORMAT = 1,
    /* offsets in the header */
    EXACT_ALPHABET = 1,
    EXACT_WIDTH = 2,
    EXACT_START_SIZE = 3,
    EXACT_SPAN_SIZE = 4,
    EXACT_AT_SIZE = 5,
    EXACT_CLASS_INDEX_SIZE = 6,
    EXACT_SLOT_SIZE = 7,
    EXACT_KEYS = 8,
    EXACT_START_BASE = 16,
    EXACT_DATA_SIZE = 24,
    EXACT_PREFIXES_SIZE = 32,
    EXACT_GROUPS = 40,
    EXACT_SEGMENTS = 44,
    EXACT_CLASSES = 48,
    EXACT_SLOTS = 52,
    EXACT_COMMON_SIZE = 56,
    EXACT_SUFFIX_SIZE = 60,
    EXACT_REST_MIN = 64,
    EXACT_REST_MAX = 68,
    EXACT_OFFSET_SIZE = 72,
    EXACT_FIRST_SIZE = 73,
    EXACT_INDEX_BITS = 74,
    EXACT_SAMPLED = 75,
    EXACT_HINT_SHIFT = 76,
    EXACT_RESERVED = 77,
    EXACT_HEADER_SIZE = 80,

    EXACT_CLASS_SIZE = 10, /* inverse, shift, block */
    EXACT_CLASS_SHIFT = 8,
    EXACT_CLASS_BLOCK = 9,
    EXACT_PADDING_SIZE = 8,   /* so that any field can be read as an unaligned u64 */
    EXACT_SAMPLE_STRIDE = 16, /* segments from one sample of their starts to the next */

    EXACT_BLOCK_LOG2_MIN = 7, /* positions in a block */
    EXACT_BLOCK_LOG2_MAX = 14,
    /* the first byte of a block */
    EXACT_LOW_BITS = 0x0f,
    EXACT_IS_BITMAP = 0x40,
    EXACT_OF_MISSING = 0x80,
};

/* Ones where a field of `size` bytes, 0 to 8, is in a word. */
static inline uint64_t exact_mask(unsigned size)
{
    return ~(UINT64_MAX << (4 * size) << (4 * size));
}

/* A field of `size` bytes; eight bytes are read whatever the size. */
static inline uint64_t exact_load(const uint8_t *at, unsigned size)
{
    return get_u64(at) & exact_mask(size);
}

/* How many buckets the hints have: at least one for each sample, a power of two. */
static inline uint32_t exact_hint_buckets(uint32_t samples)
{
    return samples < 2 ? 1 : UINT32_C(2) << (31 - __builtin_clz(samples - 1));
}

/* Bytes of an entry of a block directory in front of blocks, where both are `total` bytes. The writer chooses the
 * smallest that holds the total, so the reader needs no field for it. */
static inline unsigned exact_directory_entry_size(uint64_t total)
{
    return total < 1 << 8 ? 1 : total < 1 << 16 ? 2 : total < 1 << 24 ? 3 : 4;
}

/* The inverse of an odd number modulo 2^64, by Newton's iteration: each step doubles the right bits, from three. */
static inline uint64_t exact_inverse(uint64_t odd)
{
    uint64_t inverse = odd;
    for (int bits = 3; bits < 64; bits *= 2)
        inverse *= 2 - odd * inverse;
    return inverse;
}

/* --- parts of an opened set --- */

static inline const uint8_t *record_at(const struct exact *set, uint64_t segment)
{
    return set->records + segment * set->record_size;
}

static inline uint64_t segment_start(const struct exact *set, uint64_t segment)
{
    return set->start_base + (get_u64(record_at(set, segment)) & set->start_mask);
}

/* Where a segment's data start; `segment` may be the number of segments. */
static inline uint64_t segment_data_at(const struct exact *set, uint64_t segment)
{
    if (segment == set->segments)
        return set->data_size;
    return get_u64(record_at(set, segment) + set->start_size + set->span_size) & set->at_mask;
}

static inline uint64_t segment_class(const struct exact *set, uint64_t segment)
{
    return get_u64(record_at(set, segment) + set->record_size - set->class_size) & set->class_mask;
}

static inline struct exact_segment load_segment(const struct exact *set, uint64_t index)
{
    const uint8_t *class = set->classes + EXACT_CLASS_SIZE * segment_class(set, index);
    uint64_t at = segment_data_at(set, index);
    return (struct exact_segment){.start = segment_start(set, index),
                                  .last = get_u64(record_at(set, index) + set->start_size) & set->span_mask,
                                  .data = set->data + at,
                                  .data_size = segment_data_at(set, index + 1) - at,
                                  .inverse = get_u64(class),
                                  .shift = class[EXACT_CLASS_SHIFT],
                                  .block_log2 = class[EXACT_CLASS_BLOCK]};
}

static inline plsm_slice group_rest(const struct exact *set, uint64_t group)
{
    if (set->offset_size == 0)
        return slice(set->prefixes + group * set->rest_min, set->rest_min);
    const uint8_t *at = set->offsets + group * set->offset_size;
    uint64_t start = exact_load(at, set->offset_size), end = exact_load(at + set->offset_size, set->offset_size);
    return slice(set->prefixes + start, (size_t)(end - start));
}

/* The first segment of a group; `group` may be the number of groups. */
static inline uint64_t group_first(const struct exact *set, uint64_t group)
{
    if (group == set->groups)
        return set->segments;
    return set->first_size ? exact_load(set->firsts + group * set->first_size, set->first_size) : group;
}

struct block {
    const uint8_t *bytes;
    uint64_t size;
};

/* Blocks in a segment that has them. */
static inline uint64_t block_count(const struct exact_segment *s)
{
    return (s->last >> s->block_log2) + 1;
}

static inline struct block find_block(const struct exact_segment *s, uint64_t number)
{
    uint64_t count = block_count(s);
    unsigned entry_size = exact_directory_entry_size(s->data_size);
    uint64_t directory_size = (count - 1) * entry_size, end = s->data_size - directory_size, start = 0;
    const uint8_t *entry = s->data + number * entry_size; /* where the block behind this one starts */
    if (number > 0)
        start = exact_load(entry - entry_size, entry_size);
    if (number + 1 < count)
        end = exact_load(entry, entry_size);
    return (struct block){s->data + directory_size + start, end - start};
}

/* Of exact_find.c: the group of what a key has between the common prefix and its number; whether a group has a
 * number. */
bool exact_find_group(const struct exact *set, plsm_slice rest, uint64_t *group);
bool exact_group_holds(const struct exact *set, uint64_t group, uint64_t number);
/* The same for numbers that go up, most of which lead to the segment of the one before. Zero `look` to start. */
struct exact_look {
    struct exact_segment segment;
    uint64_t group, from, below; /* of which numbers in [from, below) lead to it */
};
bool exact_group_holds_next(const struct exact *set, uint64_t group, uint64_t number, struct exact_look *look);
/* How many of `count` numbers (2 or more, `step` apart, from `number` on) it is known to have at once: those in one
 * segment without gaps. 0: ask for each. */
uint64_t exact_group_holds_even(const struct exact *set, uint64_t group, uint64_t number, uint64_t step, uint64_t count,
                                struct exact_look *look);

/* Whether exact_find.c may use instructions of this processor to find bits. */
bool exact_fast_select(void);
/* For tests: from now on it does not, for this set. Before the set is shared between threads. */
static inline void exact_use_portable(struct exact *set)
{
    set->fast_select = false;
}

#endif
