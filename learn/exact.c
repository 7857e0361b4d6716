/* Exact sets: the serialized form, and opening it. Lookups are in exact_find.c.
 *
 * Serialized form, little-endian, 8-byte aligned:
 *    0  u8   format, 1
 *    1  u8   alphabet: 0 binary, 1 decimal, 2 lower hex, 3 upper hex
 *    2  u8   bytes of a number
 *    3  u8   bytes of a segment's start, 0 to 8
 *    4  u8   bytes of a segment's span, 0 to 4
 *    5  u8   bytes of a segment's place in the data, 0 to 4
 *    6  u8   bytes of a segment's class, 0 to 4
 *    7  u8   bytes of a slot, 0 to 5
 *    8  u64  keys
 *   16  u64  base of all starts
 *   24  u64  bytes of data
 *   32  u64  bytes of prefixes
 *   40  u32  groups
 *   44  u32  segments
 *   48  u32  classes
 *   52  u32  slots; 0 when there is one group
 *   56  u32  bytes that all prefixes begin with
 *   60  u32  bytes of the suffix
 *   64  u32  bytes of the shortest prefix behind what all share
 *   68  u32  and of the longest
 *   72  u8   bytes of a prefix offset, 0 to 5; 0 when all prefixes have one length
 *   73  u8   bytes of a group's first segment, 0 to 4; 0 when group i has segment i alone, or when there is one group
 *   74  u8   bits of a slot that name a group, 0 to 32
 *   75  u8   1 when there are samples
 *   76  u8   bits that a start loses when it is looked up in the hints, 0 to 63; 0 without
 *   77  3    zero bytes
 *   80  samples   u64 each: the start of every 16th segment
 *       hints     u32 each, with samples and a single group: number i tells how many samples, less the base and
 *                 shifted, are below i, for i from 0 to the smallest power of two that is not below their number
 *       classes   10 bytes each: u64 inverse, u8 shift, u8 log2 of the positions in a block (see below)
 *       common    what all prefixes begin with
 *       suffix    what all keys end with
 *       slots     a hash table: an empty slot is 0, another is a group's number + 1 and above it bits of the hash
 *       offsets   one per group and one for the end: where its prefix starts
 *       prefixes  in order, without the common bytes
 *       firsts    one per group: its first segment
 *       records   one per segment, in order of group and start: start - base, span - 1, place in the data, class
 *       data      of all segments, one behind the other: a segment's ends where the next one's starts
 *       8 zero bytes, so that a field can be read as an unaligned u64
 *
 * A segment stands for the numbers start + i * step, i from 0 to span - 1, of which those at taken positions i are in
 * the set. Its class tells its step, odd << shift, by the inverse of `odd` modulo 2^64, and how its data look:
 *   no data        every position is taken
 *   block log2 0   a bitmap: position i is bit i % 8 of byte i / 8
 *   9 to 14        blocks of 2^log2 positions (the last may have fewer), and in front of them, when there are several,
 *                  a directory: for each block but the first, where it starts behind the directory, in 1 to 4 bytes
 *                  (the fewest that hold the size of the segment's data)
 * A block without bytes is full. Another starts with a byte: 0x40, and a bitmap follows; or 0x80 when it lists the
 * missing positions, not the taken ones, plus the number l of low bits. Then follow for each bucket of 2^l positions as
 * many 1s as it has positions listed and a 0, from the lowest bit up; the low bits of the listed positions stand at the
 * end of the block, the first ones last: those of number i at bit 8 * size - (i + 1) * l of the block. */
#include <assert.h>

#include "base/error.h"
#include "learn/exact.h"
#include "learn/exact_format.h"
#include "learn/exact_number.h"

#include "base/banned.h"

static_assert(EXACT_HEADER_SIZE == EXACT_RESERVED + 3 && EXACT_HEADER_SIZE % 8 == 0, "samples are aligned");
static_assert(EXACT_BLOCK_LOG2_MAX <= EXACT_LOW_BITS, "all bits of a position can be low ones");
static_assert(7 + EXACT_BLOCK_LOG2_MAX <= 64, "low bits are read with one load");

/* Are the fields of the header possible, by themselves and beside each other? */
static bool header_sound(const struct exact *set, const uint8_t *header, size_t size)
{
    bool one = set->groups == 1;
    return set->alphabet < EXACT_ALPHABETS && set->width >= 1 && set->width <= exact_width_max(set->alphabet) &&
           set->start_size <= 8 && set->span_size <= 4 && set->at_size <= 4 && set->class_size <= 4 &&
           set->slot_size <= 5 && set->offset_size <= 5 && set->first_size <= 4 && header[EXACT_SAMPLED] <= 1 &&
           set->hint_shift <= 63 && (get_u32(header + EXACT_HINT_SHIFT) >> 8) == 0 && set->keys > 0 &&
           set->groups > 0 && set->segments >= set->groups && set->class_count > 0 && set->data_size <= size &&
           get_u64(header + EXACT_PREFIXES_SIZE) <= size && set->rest_min <= set->rest_max &&
           (set->offset_size == 0) == (set->rest_min == set->rest_max) && one == (set->rest_max == 0) &&
           (one ? set->slot_count == 0 && set->slot_size == 0 && set->index_bits == 0
                : set->slot_count > set->groups && set->index_bits <= 32 && set->index_bits <= 8 * set->slot_size &&
                      (uint64_t)set->groups >> set->index_bits == 0) &&
           (set->offset_size > 0 || get_u64(header + EXACT_PREFIXES_SIZE) == (uint64_t)set->groups * set->rest_min) &&
           (set->first_size > 0 || one || set->groups == set->segments);
}

/* Points the arrays into the bytes. False when there should be more or fewer. */
static bool place_sections(struct exact *set, const uint8_t *header)
{
    uint64_t at = EXACT_HEADER_SIZE, total = EXACT_HEADER_SIZE + EXACT_PADDING_SIZE;
    const uint8_t **sections[] = {&set->samples, &set->hints,   &set->classes, &set->common,
                                  &set->suffix,  &set->slots,   &set->offsets, &set->prefixes,
                                  &set->firsts,  &set->records, &set->data};
    const uint64_t sizes[] = {8 * (uint64_t)set->sample_count,
                              set->hint_buckets ? 4 * ((uint64_t)set->hint_buckets + 1) : 0,
                              (uint64_t)set->class_count * EXACT_CLASS_SIZE,
                              set->common_size,
                              set->suffix_size,
                              (uint64_t)set->slot_count * set->slot_size,
                              set->offset_size ? ((uint64_t)set->groups + 1) * set->offset_size : 0,
                              get_u64(header + EXACT_PREFIXES_SIZE),
                              (uint64_t)set->groups * set->first_size,
                              (uint64_t)set->segments * set->record_size,
                              set->data_size};
    enum { SECTIONS = sizeof sizes / sizeof *sizes };
    for (size_t i = 0; i < SECTIONS; i++)
        total += sizes[i];
    if (total != set->size)
        return false;
    for (size_t i = 0; i < SECTIONS; i++) {
        *sections[i] = header + at;
        at += sizes[i];
    }
    return true;
}

static bool groups_sound(const struct exact *set)
{
    uint64_t at = 0, size = (uint64_t)(set->firsts - set->prefixes);
    for (uint64_t i = 0; set->offset_size && i <= set->groups; i++) {
        uint64_t start = at;
        at = exact_load(set->offsets + i * set->offset_size, set->offset_size);
        bool sound = i == 0 ? at == 0 : at >= start + set->rest_min && at - start <= set->rest_max && at <= size;
        if (!sound || (i == set->groups && at != size))
            return false;
    }
    for (uint64_t i = 0; i < set->groups; i++)
        if ((i > 0 && slice_compare(group_rest(set, i - 1), group_rest(set, i)) >= 0) ||
            (i == 0 ? group_first(set, 0) != 0 : group_first(set, i) <= group_first(set, i - 1)) ||
            group_first(set, i) >= set->segments)
            return false;
    for (uint64_t i = 0; i < set->slot_count; i++) {
        uint64_t entry = exact_load(set->slots + i * set->slot_size, set->slot_size);
        uint64_t index = entry & set->index_mask;
        if (entry != 0 && (index == 0 || index > set->groups))
            return false;
    }
    return true;
}

/* A block over `positions` positions. */
static bool block_sound(const struct block *block, uint64_t positions)
{
    if (block->size == 0)
        return true;
    unsigned low_bits = block->bytes[0] & EXACT_LOW_BITS;
    return block->bytes[0] == EXACT_IS_BITMAP
               ? block->size == 1 + (positions + 7) / 8
               : !(block->bytes[0] & ~(EXACT_LOW_BITS | EXACT_OF_MISSING)) && low_bits <= EXACT_BLOCK_LOG2_MAX &&
                     block->size >= 1 + (((positions - 1) >> low_bits) + 8) / 8;
}

static bool positions_sound(const struct exact_segment *s)
{
    if (s->data_size == 0)
        return true;
    if (s->block_log2 == 0)
        return s->data_size == s->last / 8 + 1;
    uint64_t count = block_count(s), entry_size = exact_directory_entry_size(s->data_size);
    if ((count - 1) * entry_size > s->data_size)
        return false;
    uint64_t left = s->data_size - (count - 1) * entry_size; /* bytes from the end of the block before to the end */
    for (uint64_t i = 0; i < count; i++) {
        struct block block = find_block(s, i);
        uint64_t positions = i + 1 < count ? UINT64_C(1) << s->block_log2 : s->last - (i << s->block_log2) + 1;
        if (block.size > left || !block_sound(&block, positions))
            return false;
        left -= block.size;
    }
    return true;
}

static bool hints_sound(const struct exact *set)
{
    uint32_t below = 0;
    for (uint64_t i = 0; set->hint_buckets && i <= set->hint_buckets; i++) {
        uint32_t hint = get_u32(set->hints + 4 * i);
        if (hint < below || hint > set->sample_count)
            return false;
        below = hint;
    }
    return set->hint_buckets == 0 || below == set->sample_count;
}

static bool segments_sound(const struct exact *set)
{
    for (uint64_t i = 0; i < set->class_count; i++) {
        const uint8_t *class = set->classes + i * EXACT_CLASS_SIZE;
        unsigned block_log2 = class[EXACT_CLASS_BLOCK];
        if (!(class[0] & 1) || class[EXACT_CLASS_SHIFT] > 63 || block_log2 > EXACT_BLOCK_LOG2_MAX ||
            (block_log2 > 0 && block_log2 < EXACT_BLOCK_LOG2_MIN))
            return false;
    }
    uint64_t at = 0;
    for (uint64_t group = 0, i = 0; i < set->segments; i++) {
        uint64_t end = segment_data_at(set, i + 1), start = segment_start(set, i);
        if (segment_class(set, i) >= set->class_count || segment_data_at(set, i) != at || end < at ||
            end > set->data_size)
            return false;
        at = end;
        bool is_first = i == group_first(set, group);
        group += is_first;
        struct exact_segment s = load_segment(set, i);
        unsigned __int128 last = s.start + (unsigned __int128)(exact_inverse(s.inverse) << s.shift) * s.last;
        if (last > UINT64_MAX || !positions_sound(&s) || (!is_first && segment_start(set, i - 1) >= start) ||
            (i % EXACT_SAMPLE_STRIDE == 0 && set->sample_count &&
             get_u64(set->samples + i / EXACT_SAMPLE_STRIDE * 8) != start))
            return false;
    }
    return true;
}

plsm_status exact_open(plsm_slice bytes, struct exact *out)
{
    *out = (struct exact){0};
    const uint8_t *header = bytes.data;
    if (bytes.size < EXACT_HEADER_SIZE)
        return fail(PLSM_CORRUPT, "exact set: %zu bytes are less than its header", bytes.size);
    if (header[0] != EXACT_FORMAT)
        return fail(PLSM_CORRUPT, "exact set: unknown format %u (this program knows %d)", header[0], EXACT_FORMAT);
    struct exact set = {.keys = get_u64(header + EXACT_KEYS),
                        .start_base = get_u64(header + EXACT_START_BASE),
                        .data_size = get_u64(header + EXACT_DATA_SIZE),
                        .size = bytes.size,
                        .groups = get_u32(header + EXACT_GROUPS),
                        .segments = get_u32(header + EXACT_SEGMENTS),
                        .class_count = get_u32(header + EXACT_CLASSES),
                        .slot_count = get_u32(header + EXACT_SLOTS),
                        .common_size = get_u32(header + EXACT_COMMON_SIZE),
                        .suffix_size = get_u32(header + EXACT_SUFFIX_SIZE),
                        .rest_min = get_u32(header + EXACT_REST_MIN),
                        .rest_max = get_u32(header + EXACT_REST_MAX),
                        .alphabet = header[EXACT_ALPHABET],
                        .width = header[EXACT_WIDTH],
                        .start_size = header[EXACT_START_SIZE],
                        .span_size = header[EXACT_SPAN_SIZE],
                        .at_size = header[EXACT_AT_SIZE],
                        .class_size = header[EXACT_CLASS_INDEX_SIZE],
                        .slot_size = header[EXACT_SLOT_SIZE],
                        .offset_size = header[EXACT_OFFSET_SIZE],
                        .first_size = header[EXACT_FIRST_SIZE],
                        .index_bits = header[EXACT_INDEX_BITS],
                        .hint_shift = header[EXACT_HINT_SHIFT]};
    if (!header_sound(&set, header, bytes.size))
        return fail(PLSM_CORRUPT, "exact set: the fields of its header do not fit together");
    set.start_mask = exact_mask(set.start_size);
    set.span_mask = exact_mask(set.span_size);
    set.at_mask = exact_mask(set.at_size);
    set.class_mask = exact_mask(set.class_size);
    set.slot_mask = exact_mask(set.slot_size);
    set.index_mask = (UINT64_C(1) << set.index_bits) - 1;
    set.number_mask = exact_number_mask(set.alphabet, set.width);
    set.fast_select = exact_fast_select();
    set.record_size = (uint8_t)(set.start_size + set.span_size + set.at_size + set.class_size);
    if (header[EXACT_SAMPLED])
        set.sample_count = (set.segments - 1) / EXACT_SAMPLE_STRIDE + 1;
    if (set.sample_count > 0 && set.groups == 1)
        set.hint_buckets = exact_hint_buckets(set.sample_count);
    if (!place_sections(&set, header))
        return fail(PLSM_CORRUPT, "exact set: %zu bytes are not what its header says", bytes.size);
    if (!groups_sound(&set))
        return fail(PLSM_CORRUPT, "exact set: its groups are malformed or out of order");
    if (!hints_sound(&set) || !segments_sound(&set))
        return fail(PLSM_CORRUPT, "exact set: its segments are malformed or out of order");
    if (set.segments == 1)
        set.only = load_segment(&set, 0);
    *out = set;
    return PLSM_OK;
}

void exact_get_info(const struct exact *set, struct exact_info *out)
{
    static const char *const names[EXACT_ALPHABETS] = {"binary", "decimal", "hex", "HEX"};
    *out = (struct exact_info){.alphabet = names[set->alphabet],
                               .width = set->width,
                               .groups = set->groups,
                               .group_bytes = (uint64_t)(set->records - set->slots),
                               .segment_bytes = (uint64_t)(set->data - set->records) + 8 * (uint64_t)set->sample_count};
    for (uint64_t i = 0; i < set->segments; i++) {
        struct exact_segment s = load_segment(set, i);
        bool is_bitmap = s.data_size > 0 && s.block_log2 == 0;
        out->progressions += s.data_size == 0;
        out->bitmaps += is_bitmap;
        out->coded += s.data_size > 0 && !is_bitmap;
        *(is_bitmap ? &out->bitmap_bytes : &out->coded_bytes) += s.data_size;
    }
}
