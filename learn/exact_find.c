/* Lookups in exact sets. The layout stands at the top of exact.c. Whatever the bytes, exact_open has seen that every
 * part lies inside them; only the lists in blocks are not checked beforehand, and end with their block. */
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <assert.h>

#include "base/checksum.h"
#include "learn/exact.h"
#include "learn/exact_format.h"
#include "learn/exact_number.h"

#include "base/banned.h"

/* --- positions listed in a block --- */

/* How many bits are set up to and including each byte, one count per byte. */
static inline uint64_t running_counts(uint64_t word)
{
    word -= word >> 1 & 0x55 * EXACT_EACH_BYTE;
    word = (word & 0x33 * EXACT_EACH_BYTE) + (word >> 2 & 0x33 * EXACT_EACH_BYTE);
    word = (word + (word >> 4)) & 0x0f * EXACT_EACH_BYTE;
    return word * EXACT_EACH_BYTE;
}

/* Which bit of `word` is the set bit number `rank`, counted from 0? It must have that many; `counts` are its running
 * counts. Without branches: the byte is the number of counts that are not above the rank (Vigna, "Broadword
 * implementation of rank/select queries", WEA 2008), and inside the byte the same again with a byte per bit. */
static inline unsigned select_bit(uint64_t word, uint64_t counts, unsigned rank)
{
    const uint64_t tops = 0x80 * EXACT_EACH_BYTE;
    uint64_t below = (((rank * EXACT_EACH_BYTE | tops) - counts) & tops) >> 7;
    unsigned byte_bit = (unsigned)(below * EXACT_EACH_BYTE >> 56) * 8;
    rank -= (unsigned)(counts << 8 >> byte_bit & 0xff);
    uint64_t spread = (word >> byte_bit & 0xff) * EXACT_EACH_BYTE & UINT64_C(0x8040201008040201);
    spread = ((spread + 0x7f * EXACT_EACH_BYTE) >> 7 & EXACT_EACH_BYTE) * EXACT_EACH_BYTE;
    below = (((rank * EXACT_EACH_BYTE | tops) - spread) & tops) >> 7;
    return byte_bit + (unsigned)(below * EXACT_EACH_BYTE >> 56);
}

/* The bit, behind the first byte of a block of `size` bytes, where bucket `bucket` starts: behind the zero that ends
 * the one before. In damaged blocks it may lie at or beyond the end. */
static uint64_t bucket_bit_portable(const uint8_t *block, uint64_t size, uint32_t bucket)
{
    uint64_t bit = 0, end = 8 * (size - 1);
    for (unsigned zeros = bucket - 1; bucket > 0 && bit < end; bit += 64) {
        uint64_t word = ~get_u64(block + 1 + bit / 8), counts = running_counts(word);
        unsigned count = (unsigned)(counts >> 56);
        if (zeros < count)
            return bit + select_bit(word, counts, zeros) + 1;
        zeros -= count;
    }
    return bit;
}

#if defined(__x86_64__)
/* The same with PDEP, which lays a bit down at the place of the set bit in question. */
__attribute__((target("bmi,bmi2,popcnt"))) static uint64_t bucket_bit_bmi2(const uint8_t *block, uint64_t size,
                                                                           uint32_t bucket)
{
    uint64_t bit = 0, end = 8 * (size - 1);
    for (unsigned zeros = bucket - 1; bucket > 0 && bit < end; bit += 64) {
        uint64_t word = ~get_u64(block + 1 + bit / 8);
        unsigned count = (unsigned)__builtin_popcountll(word);
        if (zeros < count)
            return bit + _tzcnt_u64(_pdep_u64(UINT64_C(1) << zeros, word)) + 1;
        zeros -= count;
    }
    return bit;
}
#endif

bool exact_fast_select(void)
{
#if defined(__x86_64__)
    /* The first two generations of Zen have PDEP, but take up to hundreds of cycles for it. */
    return __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt") &&
           !__builtin_cpu_is("znver1") && !__builtin_cpu_is("znver2");
#else
    return false;
#endif
}

/* A place in the list of a block: the bit of the high part to be looked at, and how many positions come before. */
struct listed {
    const uint8_t *block;
    uint64_t bit, bit_count; /* behind the first byte; as many as the block has, low bits included */
    uint64_t rank;
    unsigned low_bits;
};

/* The start of bucket `bucket`. */
static inline struct listed find_bucket(const uint8_t *block, uint64_t size, uint32_t bucket, bool fast)
{
    uint64_t bit = 0;
#if defined(__x86_64__)
    if (fast)
        bit = bucket_bit_bmi2(block, size, bucket);
    else
#endif
        bit = bucket_bit_portable(block, size, bucket);
    return (struct listed){.block = block,
                           .bit = bit,
                           .bit_count = 8 * (size - 1),
                           .rank = bit - bucket,
                           .low_bits = block[0] & EXACT_LOW_BITS};
}

static inline bool listed_is_set(const struct listed *l)
{
    return l->bit < l->bit_count && (l->block[1 + l->bit / 8] >> (l->bit % 8) & 1);
}

/* The low bits of the position at hand; all ones when the list of a damaged block reaches into its own low bits. */
static inline uint32_t listed_low(const struct listed *l)
{
    uint32_t mask = (1u << l->low_bits) - 1;
    uint64_t from_end = (l->rank + 1) * l->low_bits;
    if (from_end > l->bit_count)
        return mask;
    uint64_t bit = l->bit_count - from_end;
    return (uint32_t)(get_u64(l->block + 1 + bit / 8) >> (bit % 8)) & mask;
}

/* Is `low` among the low bits of the bucket that starts at `l`? One by one. */
static bool bucket_lists(struct listed l, uint32_t low)
{
    for (; listed_is_set(&l); l.bit++, l.rank++)
        if (listed_low(&l) == low)
            return true;
    return false;
}

/* The same, all at once when they fit a word: the exclusive or with copies of `low` has a field of zeroes where one is
 * equal, and only then does subtracting 1 from each field reach the top bit of one that had none (Lamport 1975). How
 * many there are is hard to foresee, so that a loop would cost more than this. */
static inline bool bucket_lists_fast(const struct listed *l, uint32_t low)
{
    /* A one at the bottom of each field of 1, 2, ... bits: 2^(n * bits) - 1 divided by 2^bits - 1. */
#define ONES(bits) ((UINT64_MAX >> 64 % (bits)) / ((UINT64_C(1) << (bits)) - 1))
    static const uint64_t ones[] = {0,       ONES(1), ONES(2),  ONES(3),  ONES(4),  ONES(5),  ONES(6), ONES(7),
                                    ONES(8), ONES(9), ONES(10), ONES(11), ONES(12), ONES(13), ONES(14)};
#undef ONES
    static_assert(sizeof ones / sizeof *ones == EXACT_BLOCK_LOG2_MAX + 1, "one for each number of low bits");
    if (l->bit >= l->bit_count)
        return false;
    uint64_t high = get_u64(l->block + 1 + l->bit / 8) >> (l->bit % 8);
    unsigned count = (unsigned)__builtin_ctzll(~high | UINT64_C(1) << 63), field_bits = count * l->low_bits;
    uint64_t end = (l->rank + count) * l->low_bits;
    if (l->low_bits == 0 || count > 56 || field_bits > 56 || end > l->bit_count)
        return bucket_lists(*l, low);
    uint64_t bit = l->bit_count - end, mask = (UINT64_C(1) << field_bits) - 1, each = ones[l->low_bits] & mask;
    uint64_t fields = get_u64(l->block + 1 + bit / 8) >> (bit % 8) & mask;
    fields ^= low * each;
    return (fields - each) & ~fields & each << (l->low_bits - 1);
}

/* Is the position taken? */
static bool block_holds(const uint8_t *block, uint64_t size, uint32_t position, bool fast)
{
    if (size == 0)
        return true;
    if (block[0] & EXACT_IS_BITMAP)
        return block[1 + position / 8] >> (position % 8) & 1;
    struct listed l = find_bucket(block, size, position >> (block[0] & EXACT_LOW_BITS), fast);
    return bucket_lists_fast(&l, position & ((1u << l.low_bits) - 1)) == !(block[0] & EXACT_OF_MISSING);
}

/* Is a position from `first` to `last` taken? */
static bool bitmap_holds_any(const uint8_t *bitmap, uint64_t first, uint64_t last)
{
    uint64_t byte = first / 8, end = last / 8;
    unsigned bits = bitmap[byte] & 0xffu << (first % 8);
    for (; byte < end; bits = bitmap[++byte])
        if (bits)
            return true;
    return bits & 0xffu >> (7 - last % 8);
}

static bool block_holds_any(const uint8_t *block, uint64_t size, uint32_t first, uint32_t last, bool fast)
{
    if (size == 0)
        return true;
    if (block[0] & EXACT_IS_BITMAP)
        return bitmap_holds_any(block + 1, first, last);
    unsigned low_bits = block[0] & EXACT_LOW_BITS;
    uint32_t bucket = first >> low_bits;
    struct listed l = find_bucket(block, size, bucket, fast);
    for (; l.bit < l.bit_count && bucket <= last >> low_bits; l.bit++) {
        if (!listed_is_set(&l)) {
            bucket++;
            continue;
        }
        uint32_t position = bucket << low_bits | listed_low(&l);
        l.rank++;
        if (position < first)
            continue;
        if (!(block[0] & EXACT_OF_MISSING))
            return position <= last;
        /* Missing positions one behind the other push `first` along. */
        if (position > first || first == last)
            return position > first;
        first++;
    }
    return (block[0] & EXACT_OF_MISSING) != 0;
}

/* --- positions of a segment --- */

/* The position of `number`; false when it is none of the segment's. The product is the quotient when the step divides
 * the difference, and otherwise larger than any quotient can be (Granlund and Montgomery), so one comparison tells both
 * this and whether the quotient is within the span. A number below the start gives a difference that wrapped around,
 * and then the quotient would lead beyond 2^64, where no segment reaches. */
static inline bool segment_position(const struct exact_segment *s, uint64_t number, uint64_t *position)
{
    uint64_t product = (number - s->start) * s->inverse;
    *position = product >> s->shift | product << (-s->shift & 63);
    return *position <= s->last;
}

static bool segment_holds(const struct exact_segment *s, uint64_t position, bool fast)
{
    if (s->data_size == 0)
        return true;
    if (s->block_log2 == 0)
        return s->data[position / 8] >> (position % 8) & 1;
    struct block block = find_block(s, position >> s->block_log2);
    return block_holds(block.bytes, block.size, (uint32_t)position & ((1u << s->block_log2) - 1), fast);
}

static bool segment_holds_any(const struct exact_segment *s, uint64_t first, uint64_t last, bool fast)
{
    if (first > last)
        return false;
    if (s->data_size == 0)
        return true;
    if (s->block_log2 == 0)
        return bitmap_holds_any(s->data, first, last);
    uint32_t mask = (1u << s->block_log2) - 1;
    uint64_t from = first >> s->block_log2, to = last >> s->block_log2;
    for (uint64_t i = from; i <= to; i++) {
        struct block block = find_block(s, i);
        if (block_holds_any(block.bytes, block.size, i == from ? (uint32_t)first & mask : 0,
                            i == to ? (uint32_t)last & mask : mask, fast))
            return true;
    }
    return false;
}

/* --- lookups --- */

/* Which group has the prefix whose bytes behind the common ones are `rest`? */
static bool find_group(const struct exact *set, plsm_slice rest, uint64_t *group)
{
    *group = 0;
    if (set->slot_count == 0)
        return slice_equal(rest, group_rest(set, 0));
    uint64_t hash = key_hash(rest.data, rest.size);
    uint64_t slot = (uint64_t)(((unsigned __int128)hash * set->slot_count) >> 64);
    uint64_t tag = hash & set->slot_mask >> set->index_bits;
    for (uint64_t probes = 0; probes < set->slot_count; probes++) {
        uint64_t entry = get_u64(set->slots + slot * set->slot_size) & set->slot_mask;
        if (entry == 0)
            break;
        *group = (entry & set->index_mask) - 1;
        if (entry >> set->index_bits == tag) {
            plsm_slice other = group_rest(set, *group);
            if (other.size == rest.size && exact_bytes_equal(other.data, rest.data, rest.size))
                return true;
        }
        slot = slot + 1 == set->slot_count ? 0 : slot + 1;
    }
    return false;
}

/* Segments one behind the other. */
struct segments {
    uint64_t first, count;
};

/* Among which segments of the group, at least one, is the last that starts at or below `number`? Where a group has
 * many, samples of their starts narrow them down to what is a few cache lines, and where it is the only group, hints
 * tell between which samples to look: hardly any are left where segments are spread evenly. */
static inline struct segments narrow_segments(const struct exact *set, uint64_t group, uint64_t number)
{
    uint64_t first = group_first(set, group), end = group_first(set, group + 1);
    if (set->sample_count == 0 || end - first <= 2 * EXACT_SAMPLE_STRIDE)
        return (struct segments){first, end - first};
    /* The samples inside the group: from the first one behind its first segment. */
    uint64_t low = first / EXACT_SAMPLE_STRIDE + 1, samples = (end - 1) / EXACT_SAMPLE_STRIDE + 1 - low, below = low;
    if (set->hint_buckets) {
        uint64_t bucket = number > set->start_base ? (number - set->start_base) >> set->hint_shift : 0;
        bucket = bucket < set->hint_buckets ? bucket : set->hint_buckets - 1;
        below = get_u32(set->hints + 4 * bucket);
        samples = get_u32(set->hints + 4 * bucket + 4) - below;
    }
    while (samples > 0) {
        uint64_t half = (samples + 1) / 2;
        below += get_u64(set->samples + 8 * (below + half - 1)) <= number ? half : 0;
        samples -= half;
    }
    if (below > low)
        first = (below - 1) * EXACT_SAMPLE_STRIDE;
    else
        below = low;
    if (below * EXACT_SAMPLE_STRIDE < end)
        end = below * EXACT_SAMPLE_STRIDE;
    return (struct segments){first, end - first};
}

/* The last segment of the group that starts at or below `number`, or its first. */
static inline uint64_t find_segment(const struct exact *set, uint64_t group, uint64_t number)
{
    struct segments s = narrow_segments(set, group, number);
    while (s.count > 1) {
        uint64_t half = s.count / 2;
        s.first += segment_start(set, s.first + half) <= number ? half : 0;
        s.count -= half;
    }
    return s.first;
}

bool exact_group_holds(const struct exact *set, uint64_t group, uint64_t number)
{
    struct exact_segment s = load_segment(set, find_segment(set, group, number));
    uint64_t position = 0;
    return segment_position(&s, number, &position) && segment_holds(&s, position, set->fast_select);
}

/* The first number behind `number` for which a search for its segment may begin elsewhere, by the hints. */
static uint64_t hint_end(const struct exact *set, uint64_t number)
{
    uint64_t bucket = number > set->start_base ? (number - set->start_base) >> set->hint_shift : 0;
    if (bucket + 1 >= set->hint_buckets)
        return UINT64_MAX;
    unsigned __int128 end = set->start_base + ((unsigned __int128)(bucket + 1) << set->hint_shift);
    return end < UINT64_MAX ? (uint64_t)end : UINT64_MAX;
}

/* Finds the segment of `number`, where it is not the one at hand. */
static inline void look_for(const struct exact *set, uint64_t group, uint64_t number, struct exact_look *look)
{
    if (number >= look->from && number < look->below && look->group == group)
        return;
    uint64_t index = find_segment(set, group, number), end = group_first(set, group + 1);
    uint64_t hint = hint_end(set, number), next = index + 1 < end ? segment_start(set, index + 1) : UINT64_MAX;
    look->segment = load_segment(set, index);
    look->group = group;
    look->from = number;
    look->below = hint < next ? hint : next;
}

bool exact_group_holds_next(const struct exact *set, uint64_t group, uint64_t number, struct exact_look *look)
{
    uint64_t position = 0;
    look_for(set, group, number, look);
    return segment_position(&look->segment, number, &position) &&
           segment_holds(&look->segment, position, set->fast_select);
}

uint64_t exact_group_holds_even(const struct exact *set, uint64_t group, uint64_t number, uint64_t step, uint64_t count,
                                struct exact_look *look)
{
    const struct exact_segment *s = &look->segment;
    uint64_t position = 0;
    look_for(set, group, number, look);
    if (s->data_size > 0 || !segment_position(s, number, &position))
        return 0;
    uint64_t most = (look->below - 1 - number) / step + 1;
    count = count < most ? count : most;
    /* Where both of the first two are in it, its step divides this one; the last one being in it then says that those
     * between are, too. */
    bool holds = count > 1 && segment_position(s, number + step, &position) &&
                 segment_position(s, number + (count - 1) * step, &position);
    return holds ? count : 0;
}

bool exact_find_group(const struct exact *set, plsm_slice rest, uint64_t *group)
{
    return find_group(set, rest, group);
}

/* Takes the number and what stands between the common prefix and it out of a key. False when the key does not look like
 * those in the set. */
static inline bool take_apart(const struct exact *set, plsm_slice key, uint64_t *number, plsm_slice *rest)
{
    size_t fixed = (size_t)set->common_size + set->width + set->suffix_size;
    if (key.size < fixed + set->rest_min || key.size > fixed + set->rest_max)
        return false;
    const uint8_t *bytes = key.data;
    size_t end = key.size - set->suffix_size;
    *rest = slice(bytes + set->common_size, key.size - fixed);
    return exact_read_number(set->alphabet, set->width, set->number_mask, bytes, end, number) &&
           exact_bytes_equal(bytes, set->common, set->common_size) &&
           exact_bytes_equal(bytes + end, set->suffix, set->suffix_size);
}

bool exact_contains(const struct exact *set, plsm_slice key)
{
    uint64_t number = 0, position = 0;
    plsm_slice rest;
    if (!take_apart(set, key, &number, &rest))
        return false;
    if (set->segments == 1)
        return segment_position(&set->only, number, &position) && segment_holds(&set->only, position, set->fast_select);
    uint64_t group = 0;
    if (set->rest_max > 0 && !find_group(set, rest, &group))
        return false;
    return exact_group_holds(set, group, number);
}

static inline void prefetch_position(const struct exact_segment *s, uint64_t number)
{
    uint64_t position = 0;
    if (!segment_position(s, number, &position) || s->data_size == 0)
        return;
    if (s->block_log2 == 0) {
        __builtin_prefetch(s->data + position / 8);
        return;
    }
    struct block block = find_block(s, position >> s->block_log2);
    __builtin_prefetch(block.bytes);
    __builtin_prefetch(block.bytes + block.size);
}

/* Of many groups, the one in the first slot, most often the right one: its prefix and its segment. Waiting for the slot
 * pays: slots are few bytes in all, and calls in a row wait together. */
static void prefetch_group(const struct exact *set, plsm_slice rest)
{
    uint64_t slot = (uint64_t)(((unsigned __int128)key_hash(rest.data, rest.size) * set->slot_count) >> 64);
    uint64_t entry = get_u64(set->slots + slot * set->slot_size) & set->slot_mask;
    if (entry == 0)
        return;
    uint64_t group = (entry & set->index_mask) - 1;
    if (set->offset_size == 0)
        __builtin_prefetch(set->prefixes + group * set->rest_min);
    else
        __builtin_prefetch(set->offsets + group * set->offset_size);
    if (set->first_size == 0)
        __builtin_prefetch(record_at(set, group));
    else
        __builtin_prefetch(set->firsts + group * set->first_size);
}

void exact_prefetch(const struct exact *set, plsm_slice key)
{
    enum { CACHE_LINE = 64 };
    uint64_t number = 0;
    plsm_slice rest;
    if (!take_apart(set, key, &number, &rest))
        return;
    if (set->segments == 1) {
        prefetch_position(&set->only, number);
    } else if (set->slot_count) {
        prefetch_group(set, rest);
    } else if (set->sample_count == 0) {
        struct exact_segment s = load_segment(set, find_segment(set, 0, number));
        prefetch_position(&s, number);
    } else {
        struct segments s = narrow_segments(set, 0, number);
        const uint8_t *end = record_at(set, s.first + s.count);
        for (const uint8_t *at = record_at(set, s.first); at < end; at += CACHE_LINE)
            __builtin_prefetch(at);
    }
}

/* Does a group hold a number from `low` to `high`? */
static bool group_holds_any(const struct exact *set, uint64_t group, uint64_t low, uint64_t high)
{
    struct exact_segment s = load_segment(set, find_segment(set, group, high));
    if (s.start > high)
        return false;
    if (s.start >= low)
        return true;
    /* Segments before this one end below its start, and those behind it start above `high`. */
    uint64_t step = exact_inverse(s.inverse) << s.shift, first = (low - s.start - 1) / step + 1;
    uint64_t last = (high - s.start) / step;
    return segment_holds_any(&s, first, last < s.last ? last : s.last, set->fast_select);
}

/* Does the group hold a key whose number and suffix begin with `part`, which is not empty? */
static bool group_has_part(const struct exact *set, uint64_t group, plsm_slice part)
{
    uint8_t least[EXACT_WIDTH_MAX], most[EXACT_WIDTH_MAX];
    size_t given = part.size < set->width ? part.size : set->width;
    uint64_t low = 0, high = 0;
    memset(least, exact_digit_min(set->alphabet), sizeof least);
    memset(most, exact_digit_max(set->alphabet), sizeof most);
    memcpy(least, part.data, given);
    memcpy(most, part.data, given);
    return exact_read_number(set->alphabet, set->width, set->number_mask, least, set->width, &low) &&
           exact_read_number(set->alphabet, set->width, set->number_mask, most, set->width, &high) &&
           memcmp((const uint8_t *)part.data + given, set->suffix, part.size - given) == 0 &&
           group_holds_any(set, group, low, high);
}

/* Does a prefix, without the common bytes, begin with `part`? */
static bool some_group_begins_with(const struct exact *set, plsm_slice part)
{
    uint64_t low = 0, count = set->groups; /* the first that is not below it is at low to low + count */
    while (count > 0) {
        uint64_t half = count / 2;
        if (slice_compare(group_rest(set, low + half), part) < 0) {
            low += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return low < set->groups && slice_starts_with(group_rest(set, low), part);
}

bool exact_has_prefix(const struct exact *set, plsm_slice prefix)
{
    plsm_slice common = slice(set->common, set->common_size);
    if (prefix.size <= common.size)
        return slice_starts_with(common, prefix);
    if (!slice_starts_with(prefix, common))
        return false;
    plsm_slice part = slice((const uint8_t *)prefix.data + common.size, prefix.size - common.size);
    if (part.size <= set->rest_max && some_group_begins_with(set, part))
        return true;
    /* Otherwise it ends inside the number or the suffix of a group's keys: try each length that such a group's prefix
     * can have. */
    size_t tail = (size_t)set->width + set->suffix_size, size = part.size > tail ? part.size - tail : 0;
    for (size = size > set->rest_min ? size : set->rest_min; size <= set->rest_max && size < part.size; size++) {
        uint64_t group = 0;
        if (find_group(set, slice(part.data, size), &group) &&
            group_has_part(set, group, slice((const uint8_t *)part.data + size, part.size - size)))
            return true;
    }
    return false;
}
