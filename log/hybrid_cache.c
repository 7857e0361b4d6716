/* The cache of records; see hybrid_cache.h. */
#include "log/hybrid_cache.h"

#include <stdbool.h>
#include <stddef.h>

#include "base/alloc.h"
#include "base/error.h"

#include "base/banned.h"

enum { BYTES_PER_PLACE = 256, SETS_LEAST = 16, TAGS = 1 << CACHE_TAG_BITS };
_Static_assert(_Alignof(max_align_t) >= TAGS, "the address of what was allocated has room for a tag");

static struct cached_record *record_of(uintptr_t place)
{
    return (struct cached_record *)(place & ~(uintptr_t)(TAGS - 1));
}

plsm_status record_cache_create(struct hybrid_cache *cache, struct epoch *epoch, uint64_t bytes_most)
{
    uint64_t sets = SETS_LEAST;
    while (sets * CACHE_WAYS * BYTES_PER_PLACE < bytes_most)
        sets *= 2;
    mutex_init(&cache->lock);
    cache->epoch = epoch;
    cache->sets = sets;
    cache->places = mem_map(sets * CACHE_WAYS * sizeof cache->places[0]);
    return cache->places ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for a cache of records");
}

void record_cache_destroy(struct hybrid_cache *cache)
{
    if (!cache->epoch)
        return;
    /* An empty one is not looked through: that would bring all its pages in. */
    for (uint64_t i = 0; atomic_load(&cache->bytes) > 0 && i < cache->sets * CACHE_WAYS; i++)
        mem_free(record_of(atomic_load(&cache->places[i])));
    mem_unmap(cache->places, cache->sets * CACHE_WAYS * sizeof cache->places[0]);
    mutex_destroy(&cache->lock);
    *cache = (struct hybrid_cache){0};
}

static uint64_t hash_of(uint64_t address)
{
    return address * UINT64_C(0x9e3779b97f4a7c15);
}

static _Atomic uintptr_t *set_of(const struct hybrid_cache *cache, uint64_t hash)
{
    return &cache->places[(hash >> 20 & (cache->sets - 1)) * CACHE_WAYS];
}

static uintptr_t tag_of(uint64_t hash)
{
    return hash >> (64 - CACHE_TAG_BITS);
}

const struct hybrid_record *record_cache_find(struct hybrid_cache *cache, uint64_t address)
{
    uint64_t hash = hash_of(address);
    _Atomic uintptr_t *set = set_of(cache, hash);
    for (unsigned i = 0; i < CACHE_WAYS; i++) {
        uintptr_t place = atomic_load_explicit(&set[i], memory_order_acquire);
        struct cached_record *there = record_of(place);
        if (place % TAGS != tag_of(hash) || !there || there->address != address)
            continue;
        if (!atomic_load_explicit(&there->asked_for, memory_order_relaxed))
            atomic_store_explicit(&there->asked_for, true, memory_order_relaxed);
        return (const struct hybrid_record *)(const void *)there->bytes;
    }
    return NULL;
}

struct cached_record *cached_record_create(uint64_t address, uint64_t size)
{
    struct cached_record *record = mem_alloc(sizeof *record + size);
    if (record)
        *record = (struct cached_record){.address = address, .size = (uint32_t)size};
    return record;
}

static void record_free(struct epoch_node *node)
{
    mem_free(node); /* its first member */
}
_Static_assert(offsetof(struct cached_record, node) == 0, "freed by its node");

/* Under the lock: empties a place. */
static void take_out(struct hybrid_cache *cache, _Atomic uintptr_t *place)
{
    struct cached_record *there = record_of(atomic_load_explicit(place, memory_order_relaxed));
    if (!there)
        return;
    atomic_store_explicit(place, 0, memory_order_release);
    atomic_fetch_sub_explicit(&cache->bytes, sizeof *there + there->size, memory_order_relaxed);
    epoch_retire(cache->epoch, &there->node, record_free);
}

/* Under the lock: takes records out, those first that nobody asked for again, until there are at most `bytes`. */
static void shrink(struct hybrid_cache *cache, uint64_t bytes)
{
    uint64_t places = cache->sets * CACHE_WAYS;
    for (uint64_t i = 0; i < 2 * places && atomic_load_explicit(&cache->bytes, memory_order_relaxed) > bytes; i++) {
        _Atomic uintptr_t *place = &cache->places[cache->hand++ & (places - 1)];
        struct cached_record *there = record_of(atomic_load_explicit(place, memory_order_relaxed));
        if (there && !atomic_exchange_explicit(&there->asked_for, false, memory_order_relaxed))
            take_out(cache, place);
    }
}

/* The place of a set for one more: a free one, or that of a record that nobody asked for again. */
static _Atomic uintptr_t *choose_place(_Atomic uintptr_t *set, uint64_t address)
{
    for (unsigned i = 0; i < CACHE_WAYS; i++) {
        struct cached_record *there = record_of(atomic_load_explicit(&set[i], memory_order_relaxed));
        if (!there || there->address == address)
            return &set[i];
    }
    for (unsigned i = 0; i < CACHE_WAYS; i++)
        if (!atomic_exchange_explicit(&record_of(atomic_load(&set[i]))->asked_for, false, memory_order_relaxed))
            return &set[i];
    return &set[address / RECORD_ALIGN % CACHE_WAYS];
}

void record_cache_insert(struct hybrid_cache *cache, struct cached_record *record)
{
    uint64_t size = sizeof *record + record->size;
    mutex_lock(&cache->lock);
    uint64_t limit = atomic_load_explicit(&cache->limit, memory_order_relaxed);
    if (size > limit / 8) {
        mutex_unlock(&cache->lock);
        epoch_retire(cache->epoch, &record->node, record_free);
        return;
    }
    uint64_t hash = hash_of(record->address);
    _Atomic uintptr_t *place = choose_place(set_of(cache, hash), record->address);
    take_out(cache, place);
    shrink(cache, limit - size);
    atomic_store_explicit(place, (uintptr_t)record | tag_of(hash), memory_order_release);
    atomic_fetch_add_explicit(&cache->bytes, size, memory_order_relaxed);
    mutex_unlock(&cache->lock);
}

void record_cache_set_limit(struct hybrid_cache *cache, uint64_t limit)
{
    mutex_lock(&cache->lock);
    atomic_store_explicit(&cache->limit, limit, memory_order_relaxed);
    shrink(cache, limit);
    mutex_unlock(&cache->lock);
}
