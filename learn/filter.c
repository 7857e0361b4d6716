/* Binary fuse filter, 3-wise (Graf and Lemire, "Binary Fuse Filters: Fast and Smaller Than Xor Filters", JEA 2022),
 * with packed fingerprints of 1 to 16 bits.
 *
 * A key's hash names three slots in three consecutive segments; the filter says yes when the exclusive or of the three
 * fingerprints there is the key's own fingerprint. Building peels the slots: a slot that only one remaining key uses
 * can be given its value last, so keys are taken away one by one and the values set in the opposite order. Keys are
 * first brought into the order of their first segment, so that a window of three segments, which fits the cache, is
 * worked on at a time.
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

#include "base/banned.h"

enum {
    FORMAT = 1,
    HEADER_SIZE = 32,
    PADDING_SIZE = 4,
    SEGMENT_LENGTH_MIN = 4,
    SEGMENT_LENGTH_MAX = 1 << 18, /* two slots take 18 bits each from the low 36 of the hash */
    ATTEMPTS_MAX = 128,           /* one attempt fails for about one set in a hundred */
    ATTEMPTS_PER_SIZE = 8,        /* then the table grows by an eighth */
    PARTITIONS_MAX = 4096,
};
static_assert(7 + FILTER_BITS_MAX <= 32, "a slot is read with one 32-bit load");

/* --- reading --- */

/* Which slots a hash names. */
struct slots {
    uint32_t at[3];
};

/* The seed makes a different draw of every attempt; the finalizer of MurmurHash3 spreads it over all bits. */
static inline uint64_t mix(uint64_t hash, uint64_t seed)
{
    hash += seed;
    hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdu;
    hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53u;
    return hash ^ (hash >> 33);
}

/* Exclusive or with less than a segment stays inside a segment, as segment lengths are powers of two: slots are in
 * range for every hash. */
static inline struct slots slots_of(const struct filter *filter, uint64_t mixed)
{
    uint32_t first = (uint32_t)(((unsigned __int128)mixed * filter->segment_count_length) >> 64);
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

bool filter_may_contain(const struct filter *filter, uint64_t hash)
{
    if (filter->segment_length == 0)
        return filter->keys != 0;
    uint64_t mixed = mix(hash, filter->seed);
    struct slots s = slots_of(filter, mixed);
    uint32_t difference = fingerprint_of(mixed) ^ load_slot(filter->fingerprints, filter->bits, s.at[0]) ^
                          load_slot(filter->fingerprints, filter->bits, s.at[1]) ^
                          load_slot(filter->fingerprints, filter->bits, s.at[2]);
    return (difference & ((1u << filter->bits) - 1)) == 0;
}

void filter_prefetch(const struct filter *filter, uint64_t hash)
{
    if (filter->segment_length == 0)
        return;
    struct slots s = slots_of(filter, mix(hash, filter->seed));
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
    uint64_t *ordered;  /* mixed hashes by first segment; then the peeled ones, in the order of peeling */
    uint64_t *slot_xor; /* per slot: exclusive or of the mixed hashes that use it */
    uint8_t *slot_uses; /* per slot: 4 * how many use it, + exclusive or of which of their three slots it is */
    uint32_t *alone;    /* slots that had a single user: a queue */
    uint8_t *which;     /* per peeled hash: which of its three slots is its own */
    uint32_t partition_start[PARTITIONS_MAX + 1];
};

static void peeling_free(struct peeling *p)
{
    mem_free(p->ordered);
    mem_free(p->slot_xor);
    mem_free(p->slot_uses);
    mem_free(p->alone);
    mem_free(p->which);
    mem_free(p);
}

/* Segment length and count by the formulas of the paper for 3-wise filters (found by experiment there), with `attempt`
 * for the table to grow when seeds keep failing. */
static void choose_shape(struct filter *filter, uint64_t keys, unsigned attempt)
{
    double n = keys < 2 ? 2 : (double)keys;
    uint32_t length = 1u << (unsigned)floor(log(n) / log(3.33) + 2.25);
    if (length > SEGMENT_LENGTH_MAX)
        length = SEGMENT_LENGTH_MAX;
    double factor = fmax(1.125, 0.875 + 0.25 * log(1000000.0) / log(n));
    for (unsigned grown = attempt / ATTEMPTS_PER_SIZE; grown > 0; grown--)
        factor *= 1.125;
    uint64_t segments = ((uint64_t)ceil(n * factor) + length - 1) / length;
    segments = segments > 3 ? segments - 2 : 1;
    filter->segment_length = length;
    filter->segment_length_mask = length - 1;
    filter->segment_count_length = (uint32_t)(segments * length);
}

uint64_t filter_size(uint64_t keys, unsigned bits)
{
    struct filter filter = {.bits = bits};
    if (keys)
        choose_shape(&filter, keys, 0);
    return HEADER_SIZE + fingerprint_bytes(&filter);
}

static plsm_status peeling_reserve(struct peeling *p, const struct filter *filter, size_t keys)
{
    uint64_t slots = slot_count(filter);
    mem_free(p->slot_xor);
    mem_free(p->slot_uses);
    mem_free(p->alone);
    p->slot_xor = mem_alloc(slots * sizeof *p->slot_xor);
    p->slot_uses = mem_alloc(slots);
    p->alone = mem_alloc(slots * sizeof *p->alone);
    if (!p->ordered)
        p->ordered = mem_alloc(keys * sizeof *p->ordered);
    if (!p->which)
        p->which = mem_alloc(keys);
    if (!p->slot_xor || !p->slot_uses || !p->alone || !p->ordered || !p->which)
        return fail(PLSM_NO_MEMORY, "filter: no memory to build one over %zu keys", keys);
    return PLSM_OK;
}

/* Counting sort of the mixed hashes by their top bits, one partition per segment or so. */
static void order_by_segment(struct peeling *p, const struct filter *filter, const uint64_t *hashes, size_t count)
{
    unsigned bits = 1;
    while ((1u << bits) < filter->segment_count_length / filter->segment_length && (2u << bits) <= PARTITIONS_MAX)
        bits++;
    uint32_t *start = p->partition_start;
    memset(start, 0, ((1u << bits) + 1) * sizeof *start);
    for (size_t i = 0; i < count; i++)
        start[(mix(hashes[i], filter->seed) >> (64 - bits)) + 1]++;
    for (unsigned i = 0; i < 1u << bits; i++)
        start[i + 1] += start[i];
    for (size_t i = 0; i < count; i++) {
        uint64_t mixed = mix(hashes[i], filter->seed);
        p->ordered[start[mixed >> (64 - bits)]++] = mixed;
    }
}

/* Enters every hash in its three slots. False when a slot has more users than can be counted (64: this seed is bad). */
static bool count_uses(struct peeling *p, const struct filter *filter, size_t count)
{
    uint64_t slots = slot_count(filter);
    memset(p->slot_xor, 0, slots * sizeof *p->slot_xor);
    memset(p->slot_uses, 0, slots);
    uint8_t overflow = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t mixed = p->ordered[i];
        struct slots s = slots_of(filter, mixed);
        for (unsigned k = 0; k < 3; k++) {
            uint8_t uses = (uint8_t)((p->slot_uses[s.at[k]] + 4) ^ k);
            overflow |= uses < 4; /* wrapped around: 64 users */
            p->slot_uses[s.at[k]] = uses;
            p->slot_xor[s.at[k]] ^= mixed;
        }
    }
    return !overflow;
}

/* Takes away keys that are alone in a slot until none is; returns how many went. p->ordered then has them in order. */
static size_t peel(struct peeling *p, const struct filter *filter)
{
    uint64_t slots = slot_count(filter);
    size_t queued = 0, peeled = 0;
    for (uint64_t slot = 0; slot < slots; slot++) {
        p->alone[queued] = (uint32_t)slot;
        queued += p->slot_uses[slot] >> 2 == 1;
    }
    while (queued > 0) {
        uint32_t slot = p->alone[--queued];
        if (p->slot_uses[slot] >> 2 != 1)
            continue; /* its key went by way of another slot */
        uint64_t mixed = p->slot_xor[slot];
        unsigned own = p->slot_uses[slot] & 3;
        struct slots s = slots_of(filter, mixed);
        p->which[peeled] = (uint8_t)own;
        p->ordered[peeled++] = mixed; /* the entries here were counted into slots and are not needed any more */
        for (unsigned k = 0; k < 3; k++) {
            uint32_t other = s.at[k];
            p->slot_uses[other] = (uint8_t)((p->slot_uses[other] - 4) ^ k);
            p->slot_xor[other] ^= mixed;
            p->alone[queued] = other;
            queued += k != own && p->slot_uses[other] >> 2 == 1;
        }
    }
    return peeled;
}

static void assign(const struct peeling *p, const struct filter *filter, size_t count, uint8_t *fingerprints)
{
    uint32_t mask = (1u << filter->bits) - 1;
    for (size_t i = count; i-- > 0;) {
        uint64_t mixed = p->ordered[i];
        struct slots s = slots_of(filter, mixed);
        unsigned own = p->which[i];
        uint32_t value = fingerprint_of(mixed);
        value ^= load_slot(fingerprints, filter->bits, s.at[own == 0 ? 1 : 0]);
        value ^= load_slot(fingerprints, filter->bits, s.at[own == 2 ? 1 : 2]);
        store_slot(fingerprints, filter->bits, s.at[own], value & mask);
    }
}

/* Least significant digit radix sort, 11 bits a pass, so that a build with repeated hashes stays linear. */
static void sort_hashes(uint64_t *hashes, uint64_t *scratch, size_t count)
{
    uint32_t start[(1 << 11) + 1];
    for (unsigned shift = 0; shift < 66; shift += 11) {
        memset(start, 0, sizeof start);
        for (size_t i = 0; i < count; i++)
            start[((hashes[i] >> shift) & 0x7ff) + 1]++;
        for (size_t i = 0; i < 1 << 11; i++)
            start[i + 1] += start[i];
        for (size_t i = 0; i < count; i++)
            scratch[start[(hashes[i] >> shift) & 0x7ff]++] = hashes[i];
        uint64_t *swap = hashes;
        hashes = scratch;
        scratch = swap;
    }
    /* Six passes: the sorted array is where it was at the start. */
}

static size_t drop_neighbours(uint64_t *hashes, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (i == 0 || hashes[i] != hashes[kept - 1])
            hashes[kept++] = hashes[i];
    return kept;
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
        assign(p, filter, filter->keys, at + HEADER_SIZE);
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
    bool distinct = false;
    unsigned attempt = 0;
    if (!p)
        return fail(PLSM_NO_MEMORY, "filter: no memory to build one");
    /* In a run's order the versions of a key are neighbours, so this finds all duplicates but colliding hashes. */
    count = drop_neighbours(hashes, count);
    filter.keys = count;
    for (; count > 0 && attempt < ATTEMPTS_MAX; attempt++) {
        struct filter shape = filter;
        choose_shape(&shape, count, attempt);
        if (shape.segment_count_length != filter.segment_count_length || !p->alone) {
            filter = shape;
            if ((status = peeling_reserve(p, &filter, count)))
                goto done;
        }
        filter.seed = splitmix64(&seeds);
        order_by_segment(p, &filter, hashes, count);
        if (count_uses(p, &filter, count) && peel(p, &filter) == count)
            break;
        /* Equal hashes never peel; now is the time to look for them. */
        if (!distinct) {
            sort_hashes(hashes, p->ordered, count);
            filter.keys = count = drop_neighbours(hashes, count);
            distinct = true;
        }
    }
    if (attempt == ATTEMPTS_MAX) /* never seen: a filter that says yes to everything is still right */
        filter.segment_length = filter.segment_length_mask = filter.segment_count_length = 0;
    status = emit(&filter, p, out);
done:
    peeling_free(p);
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
