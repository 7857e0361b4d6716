/* One table of fingerprints and run slots over all young runs: making, finding, entering. See young.h, and
 * young_private.h for how it works. */
#include "base/alloc.h"
#include "base/error.h"
#include "learn/young_private.h"

#include "base/banned.h"

enum {
    DESIGN_PERCENT = 86,
    ROUNDED_PART = 16,   /* of a table, the most that it becomes larger so that it can be divided */
    PREFETCH_AHEAD = 16, /* as many cache misses as a processor has in flight (shared facts, section 1) */
};

/* --- the table as a whole --- */

static bool have_vectors(void)
{
#ifdef YOUNG_SSE2
    return true;
#else
    return false;
#endif
}

void young_use_portable(struct young *young)
{
    young->vectors = false;
}

static size_t size_of(uint64_t bucket_count)
{
    return sizeof(struct young) + bucket_count * sizeof(struct bucket);
}

static const uint64_t per_group = (uint64_t)GROUP * LANES * DESIGN_PERCENT; /* hundredths of entries */

static uint64_t groups_for(uint64_t entries)
{
    return entries ? (entries * 100 + per_group - 1) / per_group : 1;
}

static struct young *create(uint64_t groups)
{
    struct young *young = mem_map(size_of(groups * GROUP)); /* zeroed: empty */
    if (!young)
        return NULL;
    young->bucket_count = (uint32_t)(groups * GROUP);
    young->vectors = have_vectors();
    return young;
}

/* So many pieces, or a few more, that the number can be divided by 2 from 16 on, by 4 from 48, by 6 from 80, by 12 from
 * 176, by 24 from 368 and so on. */
static uint64_t divisible(uint64_t groups)
{
    uint64_t parts = 1, more = 2;
    while ((more - 1) * ROUNDED_PART <= groups) {
        parts = more;
        more = parts < 6 ? parts + 2 : parts * 2;
    }
    return (groups + parts - 1) / parts * parts;
}

struct young *young_create(uint64_t entries)
{
    if (entries > UINT32_MAX / GROUP / (ROUNDED_PART + 1) * ROUNDED_PART * per_group / 100)
        return NULL; /* more buckets than have numbers */
    return create(divisible(groups_for(entries)));
}

void young_destroy(struct young *young)
{
    if (young)
        mem_unmap(young, size_of(young->bucket_count));
}

static uint64_t capacity(const struct young *young)
{
    return (uint64_t)young->bucket_count * LANES;
}

uint64_t young_size(const struct young *young)
{
    return capacity(young) * DESIGN_PERCENT / 100;
}

uint64_t young_room(const struct young *young)
{
    uint64_t entries = atomic_load_explicit(&young->entries, memory_order_relaxed), size = young_size(young);
    return entries < size ? size - entries : 0;
}

uint64_t young_memory(const struct young *young)
{
    return size_of(young->bucket_count);
}

void young_count(const struct young *young, struct young_counts *out)
{
    out->entries = atomic_load_explicit(&young->entries, memory_order_relaxed);
    out->capacity = capacity(young);
    out->load = (double)out->entries / (double)out->capacity;
    out->slots = atomic_load_explicit(&young->slots, memory_order_relaxed);
    out->probes_further = atomic_load_explicit(&young->probes_further, memory_order_relaxed);
}

/* --- finding --- */

/* Where the entries of a hash can be. */
struct path {
    uint64_t spread;
    uint32_t home, fingerprint;
};

/* Fingerprint 0 stands for an empty lane, so 1 is twice as frequent. */
static inline struct path path_of(const struct young *young, uint64_t hash)
{
    uint32_t home = (uint32_t)((hash >> 32) * young->bucket_count >> 32);
    uint32_t fingerprint = hash & 0xffff;
    fingerprint += fingerprint == 0;
    return (struct path){spread_of(fingerprint), home, fingerprint};
}

static inline uint32_t bucket_number(const struct path *path, unsigned step)
{
    return path->home ^ distance(path->spread, step);
}

static inline uint64_t slots_in_bucket(const struct young *young, const struct bucket *bucket, uint32_t fingerprint,
                                       unsigned step)
{
    uint64_t slots = 0;
    for (uint32_t lanes = lanes_equal(young, bucket, fingerprint); lanes; lanes &= lanes - 1) {
        uint32_t tag = tag_at(bucket, first_lane(lanes));
        if (tag >> STEP_SHIFT == step)
            slots |= UINT64_C(1) << (tag & SLOT_MASK);
    }
    return slots;
}

/* The steps behind home, for a search that met its overflow bit there. */
static __attribute__((noinline)) uint64_t find_further(const struct young *young, const struct path *path)
{
    uint64_t slots = 0;
    bool further = true;
    for (unsigned step = 1; step < STEPS && further; step++) {
        const struct bucket *bucket = &young->buckets[bucket_number(path, step)];
        slots |= slots_in_bucket(young, bucket, path->fingerprint, step);
        further = overflow_of(bucket) & overflow_bit(path->spread);
    }
    /* The table is const to its readers, but for this. */
    atomic_fetch_add_explicit(&((struct young *)young)->probes_further, 1, memory_order_relaxed);
    return slots;
}

uint64_t young_find(const struct young *young, uint64_t hash)
{
    struct path path = path_of(young, hash);
    const struct bucket *bucket = &young->buckets[path.home];
    uint64_t before, after, slots;
    do {
        before = load_returns(young);
        slots = slots_in_bucket(young, bucket, path.fingerprint, 0);
        if (__builtin_expect(overflow_of(bucket) & overflow_bit(path.spread), 0))
            slots |= find_further(young, &path);
        after = load_returns(young);
    } while (__builtin_expect(before != after, 0));
    return slots;
}

void young_prefetch(const struct young *young, uint64_t hash)
{
    __builtin_prefetch(&young->buckets[path_of(young, hash).home]);
}

/* --- entering --- */

/* Sets the overflow bits in front of `step`. */
static void mark_path(struct young *young, const struct path *path, unsigned step)
{
    for (unsigned before = 0; before < step; before++) {
        struct bucket *bucket = &young->buckets[bucket_number(path, before)];
        uint64_t bit = (uint64_t)overflow_bit(path->spread) << OVERFLOW_SHIFT;
        uint64_t word = load_word(bucket, OVERFLOW_WORD);
        if (!(word & bit))
            store_word(bucket, OVERFLOW_WORD, word | bit);
    }
}

static inline void put(struct young *young, const struct path *path, struct bucket *bucket, unsigned lane,
                       unsigned slot, unsigned step)
{
    store_entry(bucket, lane, path->fingerprint, tag_of(slot, step));
    mark_path(young, path, step);
}

/* Moves the entry in a lane to a later bucket of its path. False: they are full. */
static bool move_away(struct young *young, uint32_t number, unsigned lane)
{
    struct bucket *bucket = &young->buckets[number];
    uint32_t fingerprint = fingerprint_at(bucket, lane), tag = tag_at(bucket, lane);
    struct path path = {.spread = spread_of(fingerprint), .fingerprint = fingerprint};
    unsigned step = tag >> STEP_SHIFT;
    path.home = number ^ distance(path.spread, step);
    while (++step < STEPS) {
        struct bucket *target = &young->buckets[bucket_number(&path, step)];
        uint32_t empty = lanes_equal(young, target, 0);
        if (empty) { /* the old lane last: see Concurrency */
            put(young, &path, target, first_lane(empty), tag & SLOT_MASK, step);
            store_fingerprint(bucket, lane, 0);
            return true;
        }
    }
    return false;
}

/* For a hash whose four buckets are full: makes room in one. */
static __attribute__((noinline)) bool enter_by_moving(struct young *young, const struct path *path, unsigned slot)
{
    for (unsigned step = 0; step < STEPS; step++) {
        uint32_t number = bucket_number(path, step);
        for (unsigned lane = 0; lane < LANES; lane++) {
            if (move_away(young, number, lane)) {
                put(young, path, &young->buckets[number], lane, slot, step);
                return true;
            }
        }
    }
    return false;
}

/* Enters what has that path; *entered counts new entries. False: no room. */
static bool enter(struct young *young, unsigned slot, const struct path *path, uint64_t *entered)
{
    for (unsigned step = 0; step < STEPS; step++) {
        struct bucket *bucket = &young->buckets[bucket_number(path, step)];
        for (uint32_t lanes = lanes_equal(young, bucket, path->fingerprint); lanes; lanes &= lanes - 1)
            if (tag_at(bucket, first_lane(lanes)) == tag_of(slot, step))
                return true;
        uint32_t empty = lanes_equal(young, bucket, 0);
        if (empty) {
            put(young, path, bucket, first_lane(empty), slot, step);
            ++*entered;
            return true;
        }
    }
    bool room = enter_by_moving(young, path, slot);
    *entered += room;
    return room;
}

/* What to fetch for a hash that will be entered soon, once home has arrived: the next bucket, should home be full. (Not
 * a function that fetches: gcc 12 drops calls of those as without effect.) */
static inline const struct bucket *second_place(const struct young *young, uint64_t hash)
{
    struct path path = path_of(young, hash);
    bool full = !lanes_equal(young, &young->buckets[path.home], 0);
    return &young->buckets[bucket_number(&path, full)];
}

bool young_insert(struct young *young, unsigned slot, const uint64_t *hashes, size_t count)
{
    uint64_t slots = atomic_load_explicit(&young->slots, memory_order_relaxed), entered = 0;
    INVARIANT(slot < YOUNG_SLOTS && !(slots >> slot & 1));
    bool room = true;
    for (size_t i = 0; i < count && room; i++) {
        if (i + 2 * PREFETCH_AHEAD < count)
            __builtin_prefetch(&young->buckets[path_of(young, hashes[i + 2 * PREFETCH_AHEAD]).home], 1);
        if (i + PREFETCH_AHEAD < count)
            __builtin_prefetch(second_place(young, hashes[i + PREFETCH_AHEAD]), 1);
        struct path path = path_of(young, hashes[i]);
        room = enter(young, slot, &path, &entered);
    }
    uint64_t entries = atomic_load_explicit(&young->entries, memory_order_relaxed);
    atomic_store_explicit(&young->entries, entries + entered, memory_order_relaxed);
    atomic_store_explicit(&young->slots, slots | UINT64_C(1) << slot, memory_order_relaxed);
    young->slot_entries[slot] = entered;
    if (!room)
        young_remove(young, UINT64_C(1) << slot);
    return room;
}

/* --- giving everything to a smaller table --- */

/* Home is a share of the bucket count that the high bits of the hash say, rounded down. So where one table has `parts`
 * times as many buckets as the other, homes in the smaller are those in the larger divided by `parts`. */
static bool enter_bucket(struct young *smaller, const struct young *young, uint32_t number, uint32_t parts)
{
    const struct bucket *bucket = &young->buckets[number];
    for (uint32_t lanes = ~lanes_equal(young, bucket, 0) & ALL_LANES; lanes; lanes &= lanes - 1) {
        uint32_t fingerprint = fingerprint_at(bucket, first_lane(lanes)), tag = tag_at(bucket, first_lane(lanes));
        struct path path = {.spread = spread_of(fingerprint), .fingerprint = fingerprint};
        path.home = (number ^ distance(path.spread, tag >> STEP_SHIFT)) / parts;
        if (!enter(smaller, tag & SLOT_MASK, &path, &smaller->slot_entries[tag & SLOT_MASK]))
            return false;
    }
    return true;
}

struct young *young_shrink(const struct young *young, uint64_t entries)
{
    uint32_t groups = young->bucket_count / GROUP;
    uint64_t least = groups_for(entries), sum = 0;
    uint32_t parts = least < groups ? (uint32_t)(groups / least) : 1;
    while (groups % parts)
        parts--;
    struct young *smaller = parts > 1 ? create(groups / parts) : NULL;
    if (!smaller)
        return NULL;
    smaller->vectors = young->vectors;
    for (uint32_t number = 0; number < young->bucket_count; number++)
        if (!enter_bucket(smaller, young, number, parts)) {
            young_destroy(smaller);
            return NULL;
        }
    for (unsigned slot = 0; slot < YOUNG_SLOTS; slot++)
        sum += smaller->slot_entries[slot];
    atomic_init(&smaller->entries, sum);
    atomic_init(&smaller->slots, atomic_load_explicit(&young->slots, memory_order_relaxed));
    atomic_init(&smaller->probes_further, atomic_load_explicit(&young->probes_further, memory_order_relaxed));
    return smaller;
}
