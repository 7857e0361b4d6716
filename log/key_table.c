/* The hash table. See key_table.h.
 *
 * Of a hash the upper bits choose the region, the lower 32 the bucket in it, and those from 32 on are the tag. A key is
 * in its bucket or, when that has no free word, in one behind it with only such in between; a word once taken is never
 * free again in its region (what is removed becomes DEAD, and may be taken by another key), so a lookup ends at the
 * first free word. */
#include "log/key_table.h"

#include "base/checksum.h"
#include "base/error.h"
#include "base/banned.h"

enum {
    LINE = 64,
    SLOTS = 8,          /* of a bucket */
    BUCKETS_MIN = 32,   /* of a region */
    BUCKETS_MAX = 4096, /* 256 KiB: written anew in about a millisecond */
    FULL_PERCENT = 80,  /* of the words of a region that are taken when it is written anew */
    GROW_PERCENT = 65,  /* of them that are keys: from here on it becomes larger */
    DEPTH_MAX = 24,
    FILL_PERCENT = 70, /* at most, in a prepared table */
    AHEAD = 16,        /* nodes that are fetched at a time */
    ADDRESS_BITS = 48,
    NODE_MOSTLY = 32, /* bytes of a node, at most, for most keys */
    DEAD = 1,         /* a word that was a key's; no address */
};
#define ADDRESS_MASK ((UINT64_C(1) << ADDRESS_BITS) - 1)

struct key_region {
    struct epoch_node retired;
    struct mem_account *account;
    uint32_t buckets;
    uint32_t taken, dead; /* words that are not free; of them, dead */
    unsigned depth;       /* upper bits that all hashes in it share */
    _Atomic uint64_t *words;
};

struct key_directory {
    struct epoch_node retired;
    struct mem_account *account;
    unsigned depth; /* upper bits of a hash that choose the entry */
    _Atomic(struct key_region *) regions[];
};

static inline size_t entry_of(uint64_t hash, unsigned depth)
{
    return (size_t)(hash >> 1 >> (63 - depth));
}

static inline uint32_t bucket_of(const struct key_region *region, uint64_t hash)
{
    return (uint32_t)((hash & UINT32_MAX) * region->buckets >> 32);
}

static inline uint64_t tag_of(uint64_t hash)
{
    return (hash >> 32) << ADDRESS_BITS;
}

static inline struct key_node *node_of(uint64_t word)
{
    return (struct key_node *)(uintptr_t)(word & ADDRESS_MASK);
}

static inline struct key_region *region_of(const struct key_table *table, uint64_t hash)
{
    const struct key_directory *directory = atomic_load_explicit(&table->directory, memory_order_acquire);
    return atomic_load_explicit(&directory->regions[entry_of(hash, directory->depth)], memory_order_acquire);
}

void key_table_prefetch(const struct key_table *table, uint64_t hash)
{
    const struct key_region *region = region_of(table, hash);
    __builtin_prefetch((const void *)(region->words + (size_t)bucket_of(region, hash) * SLOTS));
}

bool key_table_prefetch_node(const struct key_table *table, uint64_t hash)
{
    const struct key_region *region = region_of(table, hash);
    const _Atomic uint64_t *words = region->words + (size_t)bucket_of(region, hash) * SLOTS;
    uint64_t tag = tag_of(hash);
    for (unsigned i = 0; i < SLOTS; i++) {
        uint64_t word = atomic_load_explicit(&words[i], memory_order_acquire);
        if ((word & ~ADDRESS_MASK) == tag && word > DEAD) {
            __builtin_prefetch(node_of(word));
            __builtin_prefetch((const uint8_t *)node_of(word) + NODE_MOSTLY - 1); /* many cross a line */
            return true;
        }
    }
    return false;
}

struct key_node *key_table_find(const struct key_table *table, plsm_slice key, uint64_t hash)
{
    const struct key_region *region = region_of(table, hash);
    uint64_t tag = tag_of(hash);
    uint32_t bucket = bucket_of(region, hash);
    for (uint32_t looked = 0; looked < region->buckets; looked++) {
        const _Atomic uint64_t *words = region->words + (size_t)bucket * SLOTS;
        for (unsigned i = 0; i < SLOTS; i++) {
            uint64_t word = atomic_load_explicit(&words[i], memory_order_acquire);
            if ((word ^ tag) <= ADDRESS_MASK && word > DEAD) {
                struct key_node *node = node_of(word);
                if (slice_equal(key_node_key(node), key))
                    return node;
            } else if (word == 0) {
                return NULL;
            }
        }
        bucket = bucket + 1 == region->buckets ? 0 : bucket + 1;
    }
    return NULL;
}

static struct key_region *region_create(struct key_table *table, uint32_t buckets, unsigned depth)
{
    size_t head = (sizeof(struct key_region) + LINE - 1) / LINE * LINE;
    struct mem_account *before = mem_account_use(table->account);
    struct key_region *region = mem_zalloc(head + (size_t)buckets * LINE + LINE);
    mem_account_use(before);
    if (!region)
        return NULL;
    *region = (struct key_region){.account = table->account, .buckets = buckets, .depth = depth};
    uintptr_t from = ((uintptr_t)region + head + LINE - 1) & ~(uintptr_t)(LINE - 1);
    region->words = (_Atomic uint64_t *)from;
    return region;
}

static void region_free(struct epoch_node *node)
{
    struct key_region *region = (struct key_region *)node;
    struct mem_account *before = mem_account_use(region->account);
    mem_free(region);
    mem_account_use(before);
}

static struct key_directory *directory_create(struct key_table *table, unsigned depth)
{
    struct mem_account *before = mem_account_use(table->account);
    struct key_directory *directory =
        mem_zalloc(sizeof *directory + ((size_t)1 << depth) * sizeof(struct key_region *));
    mem_account_use(before);
    if (directory) {
        directory->account = table->account;
        directory->depth = depth;
    }
    return directory;
}

static void directory_free(struct epoch_node *node)
{
    struct key_directory *directory = (struct key_directory *)node;
    struct mem_account *before = mem_account_use(directory->account);
    mem_free(directory);
    mem_account_use(before);
}

/* All regions of a directory and the directory itself. */
static void free_all(struct key_directory *directory)
{
    if (!directory)
        return;
    struct key_region *last = NULL;
    for (size_t i = 0; i < (size_t)1 << directory->depth; i++) {
        struct key_region *region = atomic_load_explicit(&directory->regions[i], memory_order_relaxed);
        if (region && region != last)
            region_free(&region->retired);
        last = region;
    }
    directory_free(&directory->retired);
}

bool key_table_init(struct key_table *table, struct epoch *epoch, struct mem_account *account)
{
    *table = (struct key_table){.epoch = epoch, .account = account};
    return key_table_prepare(table, 0);
}

void key_table_destroy(struct key_table *table)
{
    free_all(atomic_load_explicit(&table->directory, memory_order_relaxed));
    atomic_store_explicit(&table->directory, NULL, memory_order_relaxed);
}

bool key_table_prepare(struct key_table *table, uint64_t keys)
{
    uint64_t buckets = keys * 100 / (SLOTS * FILL_PERCENT) + BUCKETS_MIN;
    unsigned depth = 0;
    while (buckets >> depth > BUCKETS_MAX * 2 / 3) /* room to grow before it is split */
        depth++;
    struct key_directory *directory = directory_create(table, depth);
    for (size_t i = 0; directory && i < (size_t)1 << depth; i++) {
        struct key_region *region = region_create(table, (uint32_t)(buckets >> depth), depth);
        if (!region) {
            free_all(directory);
            return false;
        }
        atomic_store_explicit(&directory->regions[i], region, memory_order_relaxed);
    }
    if (!directory)
        return false;
    free_all(atomic_load_explicit(&table->directory, memory_order_relaxed));
    atomic_store_explicit(&table->directory, directory, memory_order_release);
    return true;
}

/* False: the region has no free word. */
static bool insert(struct key_region *region, uint64_t word, uint64_t hash)
{
    if (region->taken - region->dead == region->buckets * SLOTS)
        return false;
    uint32_t bucket = bucket_of(region, hash);
    for (;;) {
        _Atomic uint64_t *words = region->words + (size_t)bucket * SLOTS;
        for (unsigned i = 0; i < SLOTS; i++) {
            uint64_t there = atomic_load_explicit(&words[i], memory_order_relaxed);
            if (there > DEAD)
                continue;
            region->taken += there == 0;
            region->dead -= there == DEAD;
            atomic_store_explicit(&words[i], word, memory_order_release);
            return true;
        }
        bucket = bucket + 1 == region->buckets ? 0 : bucket + 1;
    }
}

/* Enters all of `from` into one region, or into two by the next bit of the hash. False: they are not even, and one has
 * not enough room. */
static bool distribute(const struct key_region *from, struct key_region *to[2])
{
    size_t count = (size_t)from->buckets * SLOTS;
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD < count)
            __builtin_prefetch(node_of(atomic_load_explicit(&from->words[i + AHEAD], memory_order_relaxed)));
        uint64_t word = atomic_load_explicit(&from->words[i], memory_order_relaxed);
        if (word <= DEAD)
            continue;
        const struct key_node *node = node_of(word);
        uint64_t hash = key_hash(node->key, node->size);
        if (!insert(to[to[1] && (hash >> (63 - from->depth) & 1)], word, hash))
            return false;
    }
    return true;
}

static bool double_directory(struct key_table *table)
{
    struct key_directory *old = atomic_load_explicit(&table->directory, memory_order_relaxed);
    struct key_directory *directory = directory_create(table, old->depth + 1);
    if (!directory)
        return false;
    for (size_t i = 0; i < (size_t)2 << old->depth; i++)
        atomic_store_explicit(&directory->regions[i], atomic_load_explicit(&old->regions[i / 2], memory_order_relaxed),
                              memory_order_relaxed);
    atomic_store_explicit(&table->directory, directory, memory_order_release);
    epoch_retire(table->epoch, &old->retired, directory_free);
    return true;
}

/* What a full region is to become: one or two with so many buckets. False: no memory. */
static bool create_copies(struct key_table *table, const struct key_region *old, uint32_t buckets, bool split,
                          struct key_region *fresh[2])
{
    for (;; buckets *= 2) {
        fresh[0] = region_create(table, buckets, old->depth + split);
        fresh[1] = split ? region_create(table, buckets, old->depth + 1) : NULL;
        bool enough = fresh[0] && (fresh[1] || !split);
        if (enough && distribute(old, fresh))
            return true;
        for (unsigned i = 0; i < 2; i++)
            if (fresh[i])
                region_free(&fresh[i]->retired);
        if (!enough)
            return false;
    }
}

/* Writes a full region anew: without what is dead, larger, or as two. */
static bool renew(struct key_table *table, struct key_region *old, uint64_t hash)
{
    struct key_region *fresh[2] = {0};
    uint32_t live = old->taken - old->dead, buckets = old->buckets;
    bool split = false;
    if ((uint64_t)live * 100 > (uint64_t)buckets * SLOTS * GROW_PERCENT) { /* else what is dead takes the room */
        split = buckets >= BUCKETS_MAX && old->depth < DEPTH_MAX;
        buckets = split ? buckets / 8 * 5 : buckets < 512 ? buckets * 2 : buckets / 4 * 5;
    }
    if (split && old->depth == atomic_load_explicit(&table->directory, memory_order_relaxed)->depth &&
        !double_directory(table))
        return false;
    if (!create_copies(table, old, buckets, split, fresh))
        return false;
    struct key_directory *directory = atomic_load_explicit(&table->directory, memory_order_relaxed);
    size_t width = (size_t)1 << (directory->depth - old->depth);
    size_t first = entry_of(hash, directory->depth) & ~(width - 1);
    for (size_t i = 0; i < width; i++)
        atomic_store_explicit(&directory->regions[first + i], fresh[split && i >= width / 2], memory_order_release);
    epoch_retire(table->epoch, &old->retired, region_free);
    return true;
}

bool key_table_add(struct key_table *table, struct key_node *node, uint64_t hash)
{
    struct key_region *region = region_of(table, hash);
    while ((uint64_t)region->taken * 100 >= (uint64_t)region->buckets * SLOTS * FULL_PERCENT) {
        if (!renew(table, region, hash))
            return false;
        region = region_of(table, hash);
    }
    INVARIANT((uintptr_t)node >> ADDRESS_BITS == 0);
    insert(region, tag_of(hash) | (uintptr_t)node, hash);
    return true;
}

void key_table_remove(struct key_table *table, const struct key_node *node, uint64_t hash)
{
    struct key_region *region = region_of(table, hash);
    uint64_t wanted = tag_of(hash) | (uintptr_t)node;
    for (uint32_t bucket = bucket_of(region, hash);; bucket = bucket + 1 == region->buckets ? 0 : bucket + 1)
        for (unsigned i = 0; i < SLOTS; i++) {
            _Atomic uint64_t *word = &region->words[(size_t)bucket * SLOTS + i];
            uint64_t there = atomic_load_explicit(word, memory_order_relaxed);
            INVARIANT(there != 0); /* it is there */
            if (there != wanted)
                continue;
            region->dead++;
            atomic_store_explicit(word, DEAD, memory_order_release);
            return;
        }
}

uint64_t key_table_count(const struct key_table *table)
{
    const struct key_directory *directory = atomic_load_explicit(&table->directory, memory_order_acquire);
    const struct key_region *last = NULL;
    uint64_t count = 0;
    for (size_t i = 0; i < (size_t)1 << directory->depth; i++) {
        const struct key_region *region = atomic_load_explicit(&directory->regions[i], memory_order_acquire);
        if (region != last)
            count += region->taken - region->dead;
        last = region;
    }
    return count;
}
