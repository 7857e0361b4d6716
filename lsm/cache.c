/* The page cache. See cache.h.
 *
 * A frame's number is its place in one range of addresses, in 4 KiB and one more: first the small frames, as many as the
 * cache has pages, then the large ones, as many as fill it. So a hit needs not know which size it meets. Half of the
 * range at most is in use: `resident` counts the pages that were touched and not given back, and a frame that would
 * exceed the capacity is had only after free frames of the other size were given back to the kernel (they are `bare`
 * then).
 *
 * A frame is free (on the free stack or never used), owned by a thread that fills it, published (its owner slot holds
 * its number), or in limbo (evicted; readers may still look at it). The mutex guards everything but the slots and the
 * marks; slots change from 0 to a number by compare-and-swap (cache_publish) and back to 0 only under the mutex. */
#include "lsm/cache.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/sync.h"
#include "lsm/page.h"
#include "base/banned.h"

enum {
    EVICT_STEPS_MAX = 64,
    EVICT_BATCH = 16,
    SCAN_PREFETCH_BYTES =
        PAGE_SIZE, /* half of it is slower than none: the streams of several runs confuse the hardware */
};

struct frame {
    cache_slot *_Atomic owner; /* NULL: not published */
};

/* The frames of one size. Numbers stand on two stacks: free ones whose memory is resident, and bare ones. */
struct pool {
    uint32_t first, blocks;   /* number of the first frame; 4 KiB that each takes */
    uint32_t capacity, fresh; /* frames; those from `fresh` on were never used */
    uint32_t *free_stack, free_count;
    uint32_t *bare_stack, bare_count;
};
enum { SMALL, LARGE, POOLS };

struct cache {
    uint8_t *memory;
    struct frame *frames;
    _Atomic uint32_t *pins; /* per number */
    _Atomic uint8_t *used;  /* per number: since the hand passed; apart, so that a hit touches few lines */
    struct epoch *epoch;
    uint32_t capacity; /* 4 KiB */
    uint32_t numbers;  /* in all */
    mutex lock;
    struct pool pools[POOLS];
    uint32_t resident, in_use; /* 4 KiB: touched; of those, neither free nor in limbo */
    uint32_t hand;             /* over the frames of both sizes that were ever used */
    struct limbo {
        uint32_t number;
        uint64_t epoch;
    } * limbo; /* ring of `capacity` */
    uint32_t limbo_first, limbo_count;
};

static bool pool_map(struct pool *pool)
{
    pool->free_stack = mem_map(pool->capacity * sizeof *pool->free_stack);
    pool->bare_stack = mem_map(pool->capacity * sizeof *pool->bare_stack);
    return pool->free_stack && pool->bare_stack;
}

struct cache *cache_create(uint64_t bytes, size_t large_size, struct epoch *epoch)
{
    enum { CAPACITY_MAX = UINT32_MAX / 2 - UINT16_MAX };
    struct cache *cache = mem_zalloc(sizeof *cache);
    if (!cache)
        return NULL;
    uint64_t capacity = bytes / PAGE_SIZE;
    cache->capacity = capacity > CAPACITY_MAX ? CAPACITY_MAX : (uint32_t)capacity;
    cache->epoch = epoch;
    mutex_init(&cache->lock);
    uint32_t blocks = (uint32_t)(large_size / PAGE_SIZE);
    INVARIANT(blocks >= 2 && blocks <= UINT16_MAX);
    cache->pools[SMALL] = (struct pool){.first = 1, .blocks = 1, .capacity = cache->capacity};
    cache->pools[LARGE] =
        (struct pool){.first = cache->capacity + 1, .blocks = blocks, .capacity = cache->capacity / blocks};
    cache->numbers = cache->capacity + cache->pools[LARGE].capacity * blocks;
    if (cache->capacity == 0)
        return cache;
    cache->memory = mem_map((size_t)cache->numbers * PAGE_SIZE);
    cache->pins = mem_map(cache->numbers * sizeof *cache->pins);
    cache->frames = mem_map(cache->numbers * sizeof *cache->frames);
    cache->used = mem_map(cache->numbers * sizeof *cache->used);
    cache->limbo = mem_map(cache->capacity * sizeof *cache->limbo);
    if (!cache->memory || !cache->frames || !cache->used || !cache->pins || !cache->limbo ||
        !pool_map(&cache->pools[SMALL]) || (cache->pools[LARGE].capacity && !pool_map(&cache->pools[LARGE]))) {
        cache_destroy(cache);
        return NULL;
    }
    return cache;
}

static void unmap(void *memory, size_t size)
{
    if (memory)
        mem_unmap(memory, size);
}

void cache_destroy(struct cache *cache)
{
    if (!cache)
        return;
    unmap(cache->memory, (size_t)cache->numbers * PAGE_SIZE);
    unmap(cache->pins, cache->numbers * sizeof *cache->pins);
    unmap(cache->frames, cache->numbers * sizeof *cache->frames);
    unmap(cache->used, cache->numbers * sizeof *cache->used);
    unmap(cache->limbo, cache->capacity * sizeof *cache->limbo);
    for (unsigned i = 0; i < POOLS; i++) {
        unmap(cache->pools[i].free_stack, cache->pools[i].capacity * sizeof *cache->pools[i].free_stack);
        unmap(cache->pools[i].bare_stack, cache->pools[i].capacity * sizeof *cache->pools[i].bare_stack);
    }
    mutex_destroy(&cache->lock);
    mem_free(cache);
}

static uint8_t *frame_memory(const struct cache *cache, uint32_t number)
{
    return cache->memory + (size_t)(number - 1) * PAGE_SIZE;
}

static const uint8_t *mark(struct cache *cache, uint32_t number)
{
    _Atomic uint8_t *used = &cache->used[number - 1];
    if (!atomic_load_explicit(used, memory_order_relaxed)) /* do not dirty the line at every hit */
        atomic_store_explicit(used, 1, memory_order_relaxed);
    return frame_memory(cache, number);
}

const uint8_t *cache_lookup(struct cache *cache, cache_slot *slot)
{
    uint32_t number = atomic_load_explicit(slot, memory_order_acquire);
    if (!number)
        return NULL;
    const uint8_t *page = frame_memory(cache, number);
    __builtin_prefetch(page); /* header and fingerprints, then slots: what a search reads first */
    __builtin_prefetch(page + 64);
    return mark(cache, number);
}

const uint8_t *cache_peek(const struct cache *cache, const cache_slot *slot)
{
    uint32_t number = atomic_load_explicit(slot, memory_order_acquire);
    return number ? frame_memory(cache, number) : NULL;
}

const uint8_t *cache_pin(struct cache *cache, cache_slot *slot, uint32_t *number)
{
    const uint8_t *page = NULL;
    /* The pin is set inside the bracket: whoever takes an evicted frame again has waited for the bracket, sees the
     * pin. */
    epoch_enter(cache->epoch);
    *number = atomic_load_explicit(slot, memory_order_acquire);
    if (*number) {
        atomic_fetch_add_explicit(&cache->pins[*number - 1], 1, memory_order_relaxed);
        page = mark(cache, *number);
    }
    epoch_exit(cache->epoch);
    return page;
}

void cache_unpin(struct cache *cache, uint32_t number)
{
    atomic_fetch_sub_explicit(&cache->pins[number - 1], 1, memory_order_release);
}

void cache_prefetch(const struct cache *cache, const cache_slot *slot)
{
    uint32_t number = atomic_load_explicit(slot, memory_order_relaxed);
    if (!number)
        return;
    for (size_t line = 0; line < SCAN_PREFETCH_BYTES; line += 64)
        __builtin_prefetch(frame_memory(cache, number) + line);
}

/* The frames of a size are told by their numbers. */
static struct pool *pool_of(struct cache *cache, uint32_t number)
{
    return &cache->pools[number >= cache->pools[LARGE].first];
}

/* The frame at a place of the hand's round, among those that were ever used. */
static uint32_t number_at(const struct cache *cache, uint32_t place)
{
    const struct pool *small = &cache->pools[SMALL], *large = &cache->pools[LARGE];
    if (place < small->fresh)
        return small->first + place;
    return large->first + (place - small->fresh) * large->blocks;
}

/* Unpublishes up to EVICT_BATCH frames and puts them into limbo. */
static void evict(struct cache *cache)
{
    unsigned evicted = 0;
    uint32_t round = cache->pools[SMALL].fresh + cache->pools[LARGE].fresh;
    for (unsigned step = 0; step < EVICT_STEPS_MAX + EVICT_BATCH && evicted < EVICT_BATCH && round > 0; step++) {
        if (cache->hand >= round)
            cache->hand = 0;
        uint32_t number = number_at(cache, cache->hand++), at = number - 1;
        struct frame *frame = &cache->frames[at];
        cache_slot *owner = atomic_load_explicit(&frame->owner, memory_order_acquire);
        if (!owner || atomic_load_explicit(&cache->pins[at], memory_order_relaxed))
            continue;
        if (step < EVICT_STEPS_MAX && atomic_exchange_explicit(&cache->used[at], 0, memory_order_relaxed))
            continue;
        atomic_store_explicit(&frame->owner, NULL, memory_order_relaxed);
        atomic_store_explicit(owner, 0, memory_order_release);
        uint32_t place = (cache->limbo_first + cache->limbo_count++) % cache->capacity;
        cache->limbo[place].number = number;
        cache->in_use -= pool_of(cache, number)->blocks;
        evicted++;
    }
    if (!evicted)
        return;
    uint64_t epoch = epoch_advance(cache->epoch);
    for (unsigned i = 0; i < evicted; i++)
        cache->limbo[(cache->limbo_first + cache->limbo_count - 1 - i) % cache->capacity].epoch = epoch;
}

static void put_free(struct cache *cache, uint32_t number)
{
    struct pool *pool = pool_of(cache, number);
    pool->free_stack[pool->free_count++] = number;
}

/* Frees the frame that has been in limbo longest, if nobody can be looking at it. *quiescent: there are frames in limbo
 * that could be looked at. */
static bool leave_limbo(struct cache *cache, bool *quiescent)
{
    for (uint32_t left = cache->limbo_count; left > 0; left--) {
        const struct limbo oldest = cache->limbo[cache->limbo_first];
        *quiescent = epoch_quiescent(cache->epoch, oldest.epoch);
        if (!*quiescent)
            return false;
        cache->limbo_first = (cache->limbo_first + 1) % cache->capacity;
        cache->limbo_count--;
        if (atomic_load_explicit(&cache->pins[oldest.number - 1], memory_order_acquire) == 0) {
            put_free(cache, oldest.number);
            return true;
        }
        /* pinned after it was chosen: to the end of the queue */
        cache->limbo[(cache->limbo_first + cache->limbo_count++) % cache->capacity] = oldest;
    }
    return false;
}

/* A frame of this size that is free, or that there is room for; 0: none. */
static uint32_t take_now(struct cache *cache, struct pool *pool)
{
    if (pool->free_count)
        return pool->free_stack[--pool->free_count];
    if (cache->resident + pool->blocks > cache->capacity)
        return 0;
    cache->resident += pool->blocks;
    if (pool->bare_count)
        return pool->bare_stack[--pool->bare_count];
    INVARIANT(pool->fresh < pool->capacity); /* all of them together fill the capacity */
    return pool->first + pool->fresh++ * pool->blocks;
}

/* Gives the memory of a free frame back, so that there is room for one of the other size; false: none is free. */
static bool strip(struct cache *cache, struct pool *pool)
{
    if (!pool->free_count)
        return false;
    uint32_t number = pool->free_stack[--pool->free_count];
    mem_discard(frame_memory(cache, number), (size_t)pool->blocks * PAGE_SIZE);
    pool->bare_stack[pool->bare_count++] = number;
    cache->resident -= pool->blocks;
    return true;
}

static uint8_t *take(struct cache *cache, unsigned which, uint32_t *number)
{
    struct pool *pool = &cache->pools[which], *other = &cache->pools[!which];
    uint32_t taken = 0;
    bool quiescent = true, more = pool->capacity > 0;
    mutex_lock(&cache->lock);
    taken = more ? take_now(cache, pool) : 0;
    if (!taken && more && !cache->limbo_count)
        evict(cache);
    while (!taken && more) {
        more = strip(cache, other) || leave_limbo(cache, &quiescent);
        taken = take_now(cache, pool);
    }
    if (!taken && pool->capacity && (quiescent || cache->limbo_count < EVICT_BATCH))
        evict(cache); /* so that one is ready soon */
    if (taken)
        cache->in_use += pool->blocks;
    mutex_unlock(&cache->lock);
    *number = taken;
    return taken ? frame_memory(cache, taken) : NULL;
}

uint8_t *cache_take(struct cache *cache, uint32_t *number)
{
    return take(cache, SMALL, number);
}

uint8_t *cache_take_sized(struct cache *cache, size_t size, uint32_t *number)
{
    *number = 0;
    if (size <= PAGE_SIZE)
        return take(cache, SMALL, number);
    return size <= (size_t)cache->pools[LARGE].blocks * PAGE_SIZE ? take(cache, LARGE, number) : NULL;
}

/* A frame that somebody owned goes back. Under the mutex. */
static void give_back(struct cache *cache, uint32_t number)
{
    cache->in_use -= pool_of(cache, number)->blocks;
    put_free(cache, number);
}

const uint8_t *cache_publish(struct cache *cache, cache_slot *slot, uint32_t number)
{
    /* Under the mutex: otherwise the hand could meet the frame between the slot and its owner being set. */
    mutex_lock(&cache->lock);
    uint32_t there = 0;
    bool won =
        atomic_compare_exchange_strong_explicit(slot, &there, number, memory_order_acq_rel, memory_order_acquire);
    if (won)
        atomic_store_explicit(&cache->frames[number - 1].owner, slot, memory_order_release);
    else
        give_back(cache, number);
    mutex_unlock(&cache->lock);
    return mark(cache, won ? number : there);
}

void cache_drop(struct cache *cache, uint32_t number)
{
    mutex_lock(&cache->lock);
    give_back(cache, number);
    mutex_unlock(&cache->lock);
}

void cache_forget(struct cache *cache, cache_slot *slots, uint32_t count)
{
    mutex_lock(&cache->lock);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = atomic_load_explicit(&slots[i], memory_order_relaxed);
        if (!number)
            continue;
        atomic_store_explicit(&cache->frames[number - 1].owner, NULL, memory_order_relaxed);
        give_back(cache, number);
    }
    mutex_unlock(&cache->lock);
}

uint64_t cache_bytes(const struct cache *cache)
{
    struct cache *c = (struct cache *)cache;
    mutex_lock(&c->lock);
    uint64_t used = c->in_use;
    mutex_unlock(&c->lock);
    return used * PAGE_SIZE;
}
