/* Binary fuse filter, 3-wise (Graf and Lemire, "Binary Fuse Filters: Fast and Smaller Than Xor Filters", JEA 2022),
 * with packed fingerprints of 1 to 16 bits.
 *
 * A key's hash names three slots in three consecutive segments; the filter says yes when the exclusive or of the three
 * fingerprints there is the key's own fingerprint. Building peels the slots: a slot that only one remaining key uses
 * can be given its value last, so keys are taken away one by one and the values set in the opposite order.
 *
 * What building costs is cache misses, so it is one sweep from the first slot to the last. Keys are brought into the
 * order of their first segment. Each step of the sweep enters the keys of one segment into their slots and peels, first
 * in first out, what that makes possible in the segments that no later key can touch. So a window of three segments is
 * worked on at a time, and the loads of neighbouring keys in the queue do not wait for each other.
 *
 * Serialized form, little-endian:
 *    0  u8   format, 1
 *    1  u8   fingerprint bits, 1 to 16
 *    2  u16  0
 *    4  u32  segment length: a power of two, 4 to 2^18; 0 in a filter without slots
 *    8  u64  distinct hashes
 *   16  u64  seed
 *   24  u32  segment count times segment length; slots are this plus two segments
 *   28  u32  0
 *   32       slots * bits bits, slot i at bit i * bits (lowest bit first), filled up with 0 to a byte
 *        +4  zero bytes, so that a slot can be read as an unaligned u32 (7 bits of offset + 16 are within 32)
 * Without slots the filter answers no when it has no keys, and yes to everything when it has keys. */
#include <assert.h>
#include <math.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"
#include "learn/filter.h"
#include "learn/hashes.h"
#include "learn/scratch.h"

#include "base/banned.h"

enum {
    FORMAT = 1,
    HEADER_SIZE = 32,
    PADDING_SIZE = 4,
    SEGMENT_LENGTH_MIN = 4,
    SEGMENT_LENGTH_MAX = 1 << 18, /* two slots take 18 bits each from the low 36 of the hash */
    ATTEMPTS_MAX = 128,           /* one attempt fails for a few sets in a hundred */
    ATTEMPTS_PER_SIZE = 8,        /* then the table grows by an eighth */
    ATTEMPTS_UNSORTED = 3,        /* then equal hashes are looked for */
    STEPS_MAX = 1024,             /* of the sweep: so many places are written to when keys are ordered */
    LAW_KEYS_MIN = 1000,          /* from so many keys on the shape follows segments_needed() */
    SPARING_KEYS_MIN = 500000,    /* and from so many on it keeps within SPARING_SLOTS slots for 1,000 keys */
    SPARING_SLOTS = 1137,         /* 9.1 bits per key for 8 bits */
    BUILD_LENGTH_MAX = 1 << 13,   /* a window of three such segments fits a second-level cache while building */
};
static_assert(7 + FILTER_BITS_MAX <= 32, "a slot is read with one 32-bit load");

/* --- reading --- */

/* Which slots a hash names. */
struct slots {
    uint32_t at[3];
};

/* Exclusive or with less than a segment stays inside a segment, as segment lengths are powers of two: slots are in
 * range for every hash. */
static inline struct slots slots_of(const struct filter *filter, uint64_t mixed)
{
    uint32_t first = hash_scale(mixed, filter->segment_count_length);
    uint32_t second = (first + filter->segment_length) ^ ((uint32_t)(mixed >> 18) & filter->segment_length_mask);
    uint32_t third = (first + 2 * filter->segment_length) ^ ((uint32_t)mixed & filter->segment_length_mask);
    return (struct slots){{first, second, third}};
}

static inline uint32_t fingerprint_of(uint64_t mixed)
{
    return (uint32_t)(mixed ^ (mixed >> 32));
}

static inline uint32_t load_slot(const uint8_t *fingerprints, uint32_t bits, uint32_t slot)
{
    uint64_t bit = (uint64_t)slot * bits;
    return get_u32(fingerprints + (bit >> 3)) >> (bit & 7);
}

static inline void store_slot(uint8_t *fingerprints, uint32_t bits, uint32_t slot, uint32_t value)
{
    uint64_t bit = (uint64_t)slot * bits;
    uint8_t *at = fingerprints + (bit >> 3);
    put_u32(at, get_u32(at) | value << (bit & 7)); /* slots are zero until they are set, once */
}

/* 0 when the hash passes. `filter` has slots. Without a branch but the one on the number of bits, which a caller's loop
 * over one filter always takes the same way. */
static inline uint32_t difference(const struct filter *filter, const uint8_t *fingerprints, uint64_t mixed)
{
    uint32_t bits = filter->bits;
    struct slots s = slots_of(filter, mixed);
    uint32_t wanted = fingerprint_of(mixed);
    if (bits == 8) /* what the last level has, and below level 0: nothing to shift */
        return (uint8_t)(wanted ^ fingerprints[s.at[0]] ^ fingerprints[s.at[1]] ^ fingerprints[s.at[2]]);
    if (bits == 16)
        return (uint16_t)(wanted ^ get_u16(fingerprints + 2 * (size_t)s.at[0]) ^
                          get_u16(fingerprints + 2 * (size_t)s.at[1]) ^ get_u16(fingerprints + 2 * (size_t)s.at[2]));
    return (wanted ^ load_slot(fingerprints, bits, s.at[0]) ^ load_slot(fingerprints, bits, s.at[1]) ^
            load_slot(fingerprints, bits, s.at[2])) &
           ((1u << bits) - 1);
}

bool filter_may_contain(const struct filter *filter, uint64_t hash)
{
    if (filter->segment_length == 0)
        return filter->blocked.blocks ? blocked_may_contain(&filter->blocked, hash)
               : filter->bloom.bits   ? bloom_may_contain(&filter->bloom, hash)
                                      : filter->keys != 0;
    return difference(filter, filter->fingerprints, hash_mix(hash, filter->seed)) == 0;
}

size_t filter_missing(const struct filter *filter, const uint64_t *hashes, size_t count)
{
    const struct filter f = *filter;
    size_t missing = 0;
    if (f.blocked.blocks)
        return blocked_missing(&f.blocked, hashes, count);
    for (size_t i = 0; f.segment_length == 0 && i < count; i++)
        missing += !filter_may_contain(filter, hashes[i]);
    for (size_t i = 0; f.segment_length != 0 && i < count; i++)
        missing += difference(&f, f.fingerprints, hash_mix(hashes[i], f.seed)) != 0;
    return missing;
}

void filter_prefetch(const struct filter *filter, uint64_t hash)
{
    if (filter->segment_length == 0) {
        if (filter->blocked.blocks)
            __builtin_prefetch(blocked_place(&filter->blocked, hash));
        return;
    }
    struct slots s = slots_of(filter, hash_mix(hash, filter->seed));
    for (int i = 0; i < 3; i++)
        __builtin_prefetch(filter->fingerprints + ((uint64_t)s.at[i] * filter->bits >> 3));
}

static uint64_t slot_count(const struct filter *filter)
{
    return (uint64_t)filter->segment_count_length + 2 * (uint64_t)filter->segment_length;
}

static uint64_t fingerprint_bytes(const struct filter *filter)
{
    return filter->segment_length ? (slot_count(filter) * filter->bits + 7) / 8 + PADDING_SIZE : 0;
}

plsm_status filter_open(plsm_slice bytes, struct filter *out)
{
    const uint8_t *at = bytes.data;
    *out = (struct filter){0};
    if (bytes.size > 0 && at[0] == BLOOM_FORMAT) {
        TRY(bloom_open(bytes, &out->bloom));
        out->keys = out->bloom.keys;
        return PLSM_OK;
    }
    if (bytes.size > 0 && at[0] == BLOCKED_FORMAT) {
        TRY(blocked_open(bytes, &out->blocked));
        out->keys = out->blocked.keys;
        return PLSM_OK;
    }
    if (bytes.size < HEADER_SIZE)
        return fail(PLSM_CORRUPT, "filter: %zu bytes are less than its header", bytes.size);
    if (at[0] != FORMAT)
        return fail(PLSM_CORRUPT, "filter: unknown format %u (this program knows %d)", at[0], FORMAT);
    struct filter f = {.fingerprints = at + HEADER_SIZE,
                       .seed = get_u64(at + 16),
                       .segment_length = get_u32(at + 4),
                       .segment_count_length = get_u32(at + 24),
                       .bits = at[1],
                       .keys = get_u64(at + 8)};
    f.segment_length_mask = f.segment_length ? f.segment_length - 1 : 0;
    if (f.bits < FILTER_BITS_LEAST || f.bits > FILTER_BITS_MAX || get_u16(at + 2) != 0 || get_u32(at + 28) != 0)
        return fail(PLSM_CORRUPT, "filter: %u fingerprint bits or reserved bytes not zero", f.bits);
    bool sound = f.segment_length == 0
                     ? f.segment_count_length == 0
                     : f.segment_length >= SEGMENT_LENGTH_MIN && f.segment_length <= SEGMENT_LENGTH_MAX &&
                           (f.segment_length & f.segment_length_mask) == 0 && f.segment_count_length != 0 &&
                           (f.segment_count_length & f.segment_length_mask) == 0 && slot_count(&f) <= UINT32_MAX;
    if (!sound)
        return fail(PLSM_CORRUPT, "filter: segment length %u and slots %u do not fit", f.segment_length,
                    f.segment_count_length);
    if (bytes.size != HEADER_SIZE + fingerprint_bytes(&f))
        return fail(PLSM_CORRUPT, "filter: %zu bytes instead of %llu", bytes.size,
                    (unsigned long long)(HEADER_SIZE + fingerprint_bytes(&f)));
    *out = f;
    return PLSM_OK;
}

/* --- building --- */

/* Scratch of one build; sized for the present shape of the filter. */
struct peeling {
    uint64_t *ordered;      /* hashes by first segment; then the peeled ones, mixed, in the order of peeling */
    uint8_t *which;         /* per peeled hash: which of its three slots is its own */
    uint64_t *slot_xor;     /* per slot: exclusive or of the mixed hashes that use it */
    uint8_t *slot_uses;     /* per slot: how many use it */
    uint32_t *alone;        /* slots that had a single user: a queue */
    struct scratch scratch; /* holds the five arrays */
    size_t peeled;          /* how many hashes were peeled */
    uint64_t sum;           /* of the hashes that were given and are not entered yet */
    unsigned step_shift;    /* a step of the sweep is 2^step_shift slots: whole segments */
    uint32_t steps;
    uint32_t step_end[STEPS_MAX + 1]; /* in `ordered`: where the hashes of each step end */
};

static plsm_status peeling_reserve(struct peeling *p, const struct filter *filter, size_t keys)
{
    uint64_t slots = slot_count(filter);
    size_t size = keys * (sizeof *p->ordered + sizeof *p->which) +
                  slots * (sizeof *p->slot_xor + sizeof *p->slot_uses) + (slots + 1) * sizeof *p->alone;
    p->ordered = scratch_reserve(&p->scratch, size);
    if (!p->ordered)
        return fail(PLSM_NO_MEMORY, "filter: no memory to build one over %zu keys", keys);
    p->slot_xor = p->ordered + keys;
    p->alone = (uint32_t *)(void *)(p->slot_xor + slots);
    p->slot_uses = (uint8_t *)(p->alone + slots + 1); /* one to write to in vain */
    p->which = p->slot_uses + slots;
    return PLSM_OK;
}

/* Segments, and how many, for less than LAW_KEYS_MIN keys: the formulas of the paper. */
static uint64_t choose_small(uint64_t keys, uint32_t *length)
{
    double n = keys < 2 ? 2 : (double)keys;
    *length = 1u << (unsigned)floor(log(n) / log(3.33) + 2.25);
    double slots = ceil(n * (0.875 + 0.25 * log(1000000.0) / log(n)));
    uint64_t segments = ((uint64_t)slots + *length - 1) / *length;
    return segments < 3 ? 3 : segments;
}

/* So many segments of `length` slots that nearly every seed works. All but two of them together need `slack` slots for
 * each key: the limit for endless filters, 1.0894 (1 / 0.9179), and something to make up for places where keys happen
 * to crowd; they are the denser the shorter the segments are, and the more likely the more there are. The two factors
 * were found by experiment: a few seeds in a hundred fail, from 1,000 to 10^7 keys. */
static uint64_t segments_needed(uint64_t keys, uint32_t length)
{
    double n = (double)keys;
    double slack = 1.0894 + (0.55 + 0.27 * log(n * 1.0894 / length + 2)) / sqrt(length);
    return (uint64_t)ceil(n * slack / length) + 2;
}

/* The length of segments that needs the fewest slots. Short segments crowd; of long ones the two at the end are long.
 * Worked example, 600,000 keys: 335 of 2,048 make 686,080 slots, 166 of 4,096 make 679,936, 84 of 8,192 make 688,128:
 * the second. Where even the fewest are more than a large filter may have, some more seeds will fail (a third, for
 * 500,000 keys): the length that is hurt least by the segments it lacks. */
static uint64_t choose_large(uint64_t keys, uint32_t *length)
{
    uint64_t slots_max = keys < SPARING_KEYS_MIN ? UINT64_MAX : keys * SPARING_SLOTS / 1000, segments_best = 0;
    double lack_best = INFINITY;
    for (uint32_t candidate = 64; candidate <= BUILD_LENGTH_MAX; candidate *= 2) {
        uint64_t needed = segments_needed(keys, candidate);
        uint64_t segments = needed <= slots_max / candidate ? needed : slots_max / candidate;
        double lack = (double)((needed - segments) * candidate) * sqrt(candidate);
        if (lack < lack_best || (lack <= lack_best && segments * candidate <= segments_best * *length)) {
            lack_best = lack;
            segments_best = segments;
            *length = candidate;
        }
    }
    return segments_best;
}

/* `attempt`: the table grows when seeds keep failing. */
static void choose_shape(struct filter *filter, uint64_t keys, unsigned attempt)
{
    uint32_t length = 0;
    uint64_t segments = keys < LAW_KEYS_MIN ? choose_small(keys, &length) : choose_large(keys, &length);
    for (unsigned grown = attempt / ATTEMPTS_PER_SIZE; grown > 0; grown--)
        segments += segments / 8 + 1;
    filter->segment_length = length;
    filter->segment_length_mask = length - 1;
    filter->segment_count_length = (uint32_t)((segments - 2) * length);
}

uint64_t filter_size(uint64_t keys, unsigned bits)
{
    struct filter filter = {.bits = bits};
    if (keys)
        choose_shape(&filter, keys, 0);
    return HEADER_SIZE + fingerprint_bytes(&filter);
}

/* In the loops that follow, what a store could alias is held in locals: a reload per key is felt. */

/* Counting sort of the hashes by the step of the sweep that their first slot belongs to. */
static void order_by_step(struct peeling *p, const struct filter *filter, const uint64_t *hashes, size_t count)
{
    const struct filter f = *filter;
    uint32_t last_slot = f.segment_count_length - 1, *end = p->step_end;
    uint64_t *ordered = p->ordered;
    unsigned shift = (unsigned)__builtin_ctz(f.segment_length);
    while (last_slot >> shift >= STEPS_MAX)
        shift++;
    p->step_shift = shift;
    p->steps = (last_slot >> shift) + 1;
    memset(end, 0, (p->steps + 1) * sizeof *end);
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += hashes[i];
        end[(slots_of(&f, hash_mix(hashes[i], f.seed)).at[0] >> shift) + 1]++;
    }
    p->sum = sum;
    for (uint32_t i = 0; i < p->steps; i++)
        end[i + 1] += end[i];
    for (size_t i = 0; i < count; i++) /* end[i], so far where step i starts, moves to where it ends */
        ordered[end[slots_of(&f, hash_mix(hashes[i], f.seed)).at[0] >> shift]++] = hashes[i];
}

/* Enters p->ordered[from, to) in their three slots each, and brings `hashes` into the same order. False when a slot has
 * more users than can be counted (256: this seed is bad). */
static bool enter(struct peeling *p, const struct filter *filter, uint64_t *hashes, size_t from, size_t to)
{
    const struct filter f = *filter;
    const uint64_t *ordered = p->ordered;
    uint64_t *slot_xor = p->slot_xor;
    uint8_t *slot_uses = p->slot_uses;
    uint64_t sum = p->sum;
    unsigned overflow = 0;
    for (size_t i = from; i < to; i++) {
        uint64_t mixed = hash_mix(ordered[i], f.seed);
        struct slots s = slots_of(&f, mixed);
        hashes[i] = ordered[i];
        sum -= ordered[i];
        for (unsigned k = 0; k < 3; k++) {
            overflow |= ++slot_uses[s.at[k]] == 0;
            slot_xor[s.at[k]] ^= mixed;
        }
    }
    p->sum = sum;
    return !overflow;
}

/* Takes away keys that are alone in a slot until none is: starts with the slots [from, to), follows into all before. */
static void peel(struct peeling *p, const struct filter *filter, uint32_t from, uint32_t to)
{
    const struct filter f = *filter;
    unsigned segment_shift = (unsigned)__builtin_ctz(f.segment_length);
    uint64_t *ordered = p->ordered, *slot_xor = p->slot_xor;
    uint8_t *slot_uses = p->slot_uses, *which = p->which;
    uint32_t *alone = p->alone;
    size_t queued = 0, peeled = p->peeled;
    for (uint32_t slot = from; slot < to; slot++) {
        alone[queued] = slot;
        queued += slot_uses[slot] == 1;
    }
    /* A slot enters the queue when its users become one, so at most once: the queue never holds more than there are. */
    for (size_t next = 0; next < queued; next++) {
        uint32_t slot = alone[next];
        if (slot_uses[slot] != 1)
            continue; /* its key went by way of another slot */
        uint64_t mixed = slot_xor[slot];
        struct slots s = slots_of(&f, mixed);
        unsigned own = (slot >> segment_shift) - (s.at[0] >> segment_shift);
        which[peeled] = (uint8_t)own;
        ordered[peeled++] = mixed; /* the entries up to here are in their slots and not needed any more */
        slot_uses[slot] = 0;
        for (unsigned k = 0; k < 2; k++) {
            uint32_t other = s.at[k + (own <= k)]; /* from memory: which one cannot be predicted */
            uint8_t uses = --slot_uses[other];
            slot_xor[other] ^= mixed;
            alone[queued] = other;
            queued += (uses == 1) & (other < to);
        }
    }
    p->peeled = peeled;
}

/* Whether all of p->ordered could be peeled. It then has them in the order of peeling. */
static bool sweep(struct peeling *p, const struct filter *filter, uint64_t *hashes)
{
    uint32_t zeroed = 0, done = 0, slots = (uint32_t)slot_count(filter);
    size_t entered = 0;
    bool countable = true;
    p->peeled = 0;
    for (uint32_t step = 0; step < p->steps; step++) {
        bool last = step == p->steps - 1;
        uint32_t end = last ? slots : (step + 1) << p->step_shift;
        uint32_t reach = last ? slots : end + 2 * filter->segment_length;
        /* Zeroed here and not all at once: it brings the slots into the cache, which random access would not. */
        memset(p->slot_xor + zeroed, 0, (reach - zeroed) * sizeof *p->slot_xor);
        memset(p->slot_uses + zeroed, 0, reach - zeroed);
        zeroed = reach;
        countable &= enter(p, filter, hashes, entered, p->step_end[step]);
        entered = p->step_end[step];
        if (countable) /* if not, `hashes` still needs to be written to the end */
            peel(p, filter, done, end);
        done = end;
    }
    INVARIANT(p->sum == 0); /* the caller, who asks for `hashes` again, asks for the ones it gave */
    return p->peeled == entered;
}

static void assign(const struct peeling *p, const struct filter *filter, uint8_t *fingerprints)
{
    const struct filter f = *filter;
    const uint64_t *ordered = p->ordered;
    const uint8_t *which = p->which;
    for (size_t i = p->peeled; i-- > 0;) {
        uint64_t mixed = ordered[i];
        struct slots s = slots_of(&f, mixed);
        uint32_t own = s.at[which[i]]; /* its fingerprint is still 0 */
        if (f.bits == 8)
            fingerprints[own] = (uint8_t)difference(&f, fingerprints, mixed);
        else
            store_slot(fingerprints, f.bits, own, difference(&f, fingerprints, mixed));
    }
}

static plsm_status emit(const struct filter *filter, const struct peeling *p, struct buf *out)
{
    uint64_t body = fingerprint_bytes(filter);
    if (buf_reserve(out, HEADER_SIZE + body))
        return fail(PLSM_NO_MEMORY, "filter: no memory for its %llu bytes", (unsigned long long)body);
    uint8_t *at = out->data + out->size;
    memset(at, 0, HEADER_SIZE + body);
    at[0] = FORMAT;
    at[1] = (uint8_t)filter->bits;
    put_u32(at + 4, filter->segment_length);
    put_u64(at + 8, filter->keys);
    put_u64(at + 16, filter->seed);
    put_u32(at + 24, filter->segment_count_length);
    if (filter->segment_length)
        assign(p, filter, at + HEADER_SIZE);
    out->size += HEADER_SIZE + body;
    return PLSM_OK;
}

plsm_status filter_build(uint64_t *hashes, size_t count, unsigned bits, struct buf *out)
{
    if (bits < FILTER_BITS_LEAST || bits > FILTER_BITS_MAX)
        return fail(PLSM_INVALID, "filter: %u fingerprint bits; %d to %d are possible", bits, FILTER_BITS_LEAST,
                    FILTER_BITS_MAX);
    if (count > UINT32_MAX / 8)
        return fail(PLSM_TOO_LARGE, "filter: %zu keys in one run are too many", count);
    struct filter filter = {.bits = bits};
    struct peeling *p = mem_zalloc(sizeof *p);
    plsm_status status = PLSM_OK;
    uint64_t seeds = 0x706c736d; /* any constant: the same keys give the same bytes */
    unsigned attempt = 0;
    if (!p)
        return fail(PLSM_NO_MEMORY, "filter: no memory to build one");
    /* In a run's order the versions of a key are neighbours, so this finds all duplicates but colliding hashes. */
    count = hashes_drop_neighbours(hashes, count);
    filter.keys = count;
    for (; count > 0 && attempt < ATTEMPTS_MAX; attempt++) {
        struct filter shape = filter;
        /* Equal hashes never peel: look for them once chance is an unlikely reason. */
        if (attempt == ATTEMPTS_UNSORTED) {
            hashes_sort(hashes, p->ordered, count);
            filter.keys = shape.keys = count = hashes_drop_neighbours(hashes, count);
        }
        choose_shape(&shape, count, attempt);
        if (!p->ordered || shape.segment_length != filter.segment_length ||
            shape.segment_count_length != filter.segment_count_length) {
            filter = shape;
            if ((status = peeling_reserve(p, &filter, count)))
                goto done;
        }
        filter.seed = splitmix64(&seeds);
        order_by_step(p, &filter, hashes, count);
        if (sweep(p, &filter, hashes))
            break;
    }
    if (attempt == ATTEMPTS_MAX) /* never seen: a filter that says yes to everything is still right */
        filter.segment_length = filter.segment_length_mask = filter.segment_count_length = 0;
    status = emit(&filter, p, out);
done:
    scratch_free(&p->scratch);
    mem_free(p);
    return status;
}

/* --- policy --- */

unsigned filter_bits_for_level(unsigned level, unsigned last_level, unsigned bits_last, unsigned size_ratio)
{
    uint64_t smaller = 1; /* how many times smaller than the last level; 2^16 is enough to reach the maximum */
    for (; level < last_level && size_ratio > 1 && smaller < 1u << FILTER_BITS_MAX; level++)
        smaller *= size_ratio;
    unsigned bits = bits_last + (63 - (unsigned)__builtin_clzll(smaller));
    return bits < FILTER_BITS_MIN ? FILTER_BITS_MIN : bits > FILTER_BITS_MAX ? FILTER_BITS_MAX : bits;
}

unsigned filter_bits_for_rate(uint64_t parts_per_million)
{
    unsigned bits = FILTER_BITS_MIN;
    while (bits < FILTER_BITS_MAX && 1000000 > parts_per_million << bits)
        bits++;
    return bits;
}
