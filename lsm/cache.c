/* The page cache. See cache.h.
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

struct cache {
    uint8_t *memory;
    struct frame *frames;
    _Atomic uint32_t *pins; /* per frame */
    _Atomic uint8_t *used;  /* per frame: since the hand passed; apart, so that a hit touches few lines */
    struct epoch *epoch;
    uint32_t capacity; /* frames */
    mutex lock;
    uint32_t fresh; /* frames from here on were never used */
    uint32_t hand;
    uint32_t *free_stack, free_count;
    struct limbo {
        uint32_t number;
        uint64_t epoch;
    } * limbo; /* ring of `capacity` */
    uint32_t limbo_first, limbo_count;
};

struct cache *cache_create(uint64_t bytes, struct epoch *epoch)
{
    struct cache *cache = mem_zalloc(sizeof *cache);
    if (!cache)
        return NULL;
    uint64_t capacity = bytes / PAGE_SIZE;
    cache->capacity = capacity > UINT32_MAX - 1 ? UINT32_MAX - 1 : (uint32_t)capacity;
    cache->epoch = epoch;
    mutex_init(&cache->lock);
    if (cache->capacity == 0)
        return cache;
    cache->memory = mem_map((size_t)cache->capacity * PAGE_SIZE);
    cache->pins = mem_map(cache->capacity * sizeof *cache->pins);
    cache->frames = mem_map(cache->capacity * sizeof *cache->frames);
    cache->used = mem_map(cache->capacity * sizeof *cache->used);
    cache->free_stack = mem_map(cache->capacity * sizeof *cache->free_stack);
    cache->limbo = mem_map(cache->capacity * sizeof *cache->limbo);
    if (!cache->memory || !cache->frames || !cache->used || !cache->pins || !cache->free_stack || !cache->limbo) {
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
    unmap(cache->memory, (size_t)cache->capacity * PAGE_SIZE);
    unmap(cache->pins, cache->capacity * sizeof *cache->pins);
    unmap(cache->frames, cache->capacity * sizeof *cache->frames);
    unmap(cache->used, cache->capacity * sizeof *cache->used);
    unmap(cache->free_stack, cache->capacity * sizeof *cache->free_stack);
    unmap(cache->limbo, cache->capacity * sizeof *cache->limbo);
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

/* Unpublishes up to EVICT_BATCH frames and puts them into limbo. */
static void evict(struct cache *cache)
{
    unsigned evicted = 0;
    for (unsigned step = 0; step < EVICT_STEPS_MAX + EVICT_BATCH && evicted < EVICT_BATCH; step++) {
        uint32_t at = cache->hand;
        cache->hand = at + 1 == cache->capacity ? 0 : at + 1;
        struct frame *frame = &cache->frames[at];
        cache_slot *owner = atomic_load_explicit(&frame->owner, memory_order_acquire);
        if (!owner || atomic_load_explicit(&cache->pins[at], memory_order_relaxed))
            continue;
        if (step < EVICT_STEPS_MAX && atomic_exchange_explicit(&cache->used[at], 0, memory_order_relaxed))
            continue;
        atomic_store_explicit(&frame->owner, NULL, memory_order_relaxed);
        atomic_store_explicit(owner, 0, memory_order_release);
        uint32_t place = (cache->limbo_first + cache->limbo_count++) % cache->capacity;
        cache->limbo[place].number = at + 1;
        evicted++;
    }
    if (!evicted)
        return;
    uint64_t epoch = epoch_advance(cache->epoch);
    for (unsigned i = 0; i < evicted; i++)
        cache->limbo[(cache->limbo_first + cache->limbo_count - 1 - i) % cache->capacity].epoch = epoch;
}

uint8_t *cache_take(struct cache *cache, uint32_t *number)
{
    uint32_t taken = 0;
    mutex_lock(&cache->lock);
    if (cache->free_count) {
        taken = cache->free_stack[--cache->free_count];
    } else if (cache->fresh < cache->capacity) {
        taken = ++cache->fresh;
    } else if (cache->capacity) {
        if (!cache->limbo_count)
            evict(cache);
        bool quiescent = true;
        for (uint32_t left = cache->limbo_count; left > 0 && !taken && quiescent; left--) {
            const struct limbo oldest = cache->limbo[cache->limbo_first];
            quiescent = epoch_quiescent(cache->epoch, oldest.epoch);
            if (!quiescent)
                break;
            cache->limbo_first = (cache->limbo_first + 1) % cache->capacity;
            cache->limbo_count--;
            if (atomic_load_explicit(&cache->pins[oldest.number - 1], memory_order_acquire) == 0)
                taken = oldest.number;
            else /* pinned after it was chosen: to the end of the queue */
                cache->limbo[(cache->limbo_first + cache->limbo_count++) % cache->capacity] = oldest;
        }
        if (!taken && (quiescent || cache->limbo_count < EVICT_BATCH))
            evict(cache); /* so that one is ready soon */
    }
    mutex_unlock(&cache->lock);
    *number = taken;
    return taken ? frame_memory(cache, taken) : NULL;
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
        cache->free_stack[cache->free_count++] = number;
    mutex_unlock(&cache->lock);
    return mark(cache, won ? number : there);
}

void cache_drop(struct cache *cache, uint32_t number)
{
    mutex_lock(&cache->lock);
    cache->free_stack[cache->free_count++] = number;
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
        cache->free_stack[cache->free_count++] = number;
    }
    mutex_unlock(&cache->lock);
}

uint64_t cache_bytes(const struct cache *cache)
{
    struct cache *c = (struct cache *)cache;
    mutex_lock(&c->lock);
    uint64_t used = c->fresh - c->free_count - c->limbo_count;
    mutex_unlock(&c->lock);
    return used * PAGE_SIZE;
}
