/* The page cache. See cache.h.
 *
 * A frame's number is its place in one range of addresses, in 4 KiB and one more: first the small frames, as many as
 * the cache has pages, then the large ones, as many as fill it. So a hit needs not know which size it meets. Half of
 * the range at most is in use: `resident` counts the pages that were touched and not given back, and a frame that would
 * exceed the limit is had only after free frames of the other size were given back to the kernel (they are bare then).
 *
 * Which state a frame is in: enum frame_list. Each size has a ceiling: frames from there on are given back once they
 * are free. The mutex guards everything but the slots, the pins and the marks; slots change from 0 to a number and back
 * to 0 only under it. */
#include "lsm/cache.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/sync.h"
#include "lsm/cache_policy.h"
#include "lsm/page.h"
#include "base/banned.h"

enum {
    EVICT_BATCH = 16,
    SCAN_PREFETCH_BYTES = 192, /* header, fingerprints, and the slots of up to 55 entries */
    GRANULE_HUGE = 512,        /* 4 KiB in which ceilings move: a huge page, or less where no huge pages are used */
    GRANULE_SMALL = 8,
};
#define HUGE_PAGES_LEAST (UINT64_C(128) << 20) /* an elastic cache from here on: a huge page is less than 2 % of it */

/* The frames of one size. */
struct pool {
    uint32_t first, blocks;   /* number of the first frame; 4 KiB that each takes */
    uint32_t capacity, fresh; /* frames; those from `fresh` on were never used */
    uint32_t ceiling, step;   /* frames, and how many it moves by */
    enum frame_list free, bare;
};
enum { SMALL, LARGE, POOLS };

struct cache {
    uint8_t *memory;
    struct cache_policy policy;
    union frame_user {
        cache_slot *owner; /* of a published frame */
        uint64_t epoch;    /* of one in limbo: it may be used again once that is over */
    } * users;             /* by number, as all that follow */
    _Atomic uint32_t *pins;
    struct epoch *epoch;
    uint32_t capacity; /* 4 KiB */
    uint32_t numbers;  /* in all */
    bool huge;
    mutex lock;
    struct pool pools[POOLS];
    uint32_t limit;            /* 4 KiB that may be resident */
    uint32_t resident, in_use; /* 4 KiB: touched; of those, neither free nor in limbo */
    uint32_t leaving;          /* of the resident ones, from the ceilings on */
    uint64_t over;             /* this epoch and all before it are over */
};

/* Bytes beside the page for each number; the arrays are one longer. */
enum { FRAME_EXTRA = sizeof(union frame_user) + sizeof(_Atomic uint32_t) + CACHE_POLICY_BYTES };

/* --- making ------------------------------------------------------------------------------------------------------- */

static plsm_status map_all(struct cache *cache)
{
    size_t count = (size_t)cache->numbers + 1;
    struct policy_frame *frames = mem_map(count * sizeof *frames);
    _Atomic uint8_t *used = mem_map(count * sizeof *used);
    struct policy_ghost *ghosts = mem_map(count * sizeof *ghosts);
    policy_init(&cache->policy, frames, used, ghosts, cache->capacity, cache->numbers);
    cache->memory = mem_map((size_t)cache->numbers * PAGE_SIZE);
    cache->users = mem_map(count * sizeof *cache->users);
    cache->pins = mem_map(count * sizeof *cache->pins);
    bool all = frames && used && ghosts && cache->memory && cache->users && cache->pins;
    return all ? PLSM_OK : PLSM_NO_MEMORY;
}

static struct cache *create(uint64_t bytes, size_t large_size, bool huge, struct epoch *epoch)
{
    enum { CAPACITY_MAX = UINT32_MAX / 2 - UINT16_MAX };
    struct cache *cache = mem_zalloc(sizeof *cache);
    if (!cache)
        return NULL;
    uint64_t capacity = bytes / PAGE_SIZE;
    cache->capacity = capacity > CAPACITY_MAX ? CAPACITY_MAX : (uint32_t)capacity;
    cache->limit = cache->capacity;
    cache->huge = huge;
    cache->epoch = epoch;
    mutex_init(&cache->lock);
    uint32_t blocks = (uint32_t)(large_size / PAGE_SIZE);
    INVARIANT(blocks >= 2 && blocks <= UINT16_MAX);
    cache->pools[SMALL] = (struct pool){
        .first = 1, .blocks = 1, .capacity = cache->capacity, .free = FRAME_FREE_SMALL, .bare = FRAME_BARE_SMALL};
    cache->pools[LARGE] = (struct pool){.first = cache->capacity + 1,
                                        .blocks = blocks,
                                        .capacity = cache->capacity / blocks,
                                        .free = FRAME_FREE_LARGE,
                                        .bare = FRAME_BARE_LARGE};
    for (unsigned i = 0; i < POOLS; i++) {
        struct pool *pool = &cache->pools[i];
        uint32_t step = (huge ? GRANULE_HUGE : GRANULE_SMALL) / pool->blocks;
        pool->step = step > 0 ? step : 1;
        pool->ceiling = pool->capacity;
    }
    cache->numbers = cache->capacity + cache->pools[LARGE].capacity * blocks;
    if (cache->capacity > 0 && map_all(cache) != PLSM_OK) {
        cache_destroy(cache);
        return NULL;
    }
    return cache;
}

struct cache *cache_create(uint64_t bytes, size_t large_size, struct epoch *epoch)
{
    return create(bytes, large_size, true, epoch);
}

struct cache *cache_create_elastic(uint64_t bytes_most, size_t large_size, struct epoch *epoch)
{
    struct cache *cache = create(bytes_most, large_size, bytes_most >= HUGE_PAGES_LEAST, epoch);
    if (cache && cache->memory && !cache->huge)
        mem_small_pages(cache->memory, (size_t)cache->numbers * PAGE_SIZE);
    return cache;
}

void cache_destroy(struct cache *cache)
{
    if (!cache)
        return;
    size_t count = (size_t)cache->numbers + 1;
    mem_unmap(cache->policy.frames, count * sizeof *cache->policy.frames);
    mem_unmap((void *)cache->policy.used, count * sizeof *cache->policy.used);
    mem_unmap(cache->policy.ghosts, count * sizeof *cache->policy.ghosts);
    mem_unmap(cache->memory, (size_t)cache->numbers * PAGE_SIZE);
    mem_unmap(cache->users, count * sizeof *cache->users);
    mem_unmap((void *)cache->pins, count * sizeof *cache->pins);
    mutex_destroy(&cache->lock);
    mem_free(cache);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static uint8_t *frame_memory(const struct cache *cache, uint32_t number)
{
    return cache->memory + (size_t)(number - 1) * PAGE_SIZE;
}

static const uint8_t *mark(struct cache *cache, uint32_t number)
{
    _Atomic uint8_t *used = &cache->policy.used[number];
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

const uint8_t *cache_fetch(const struct cache *cache, const cache_slot *slot)
{
    uint32_t number = atomic_load_explicit(slot, memory_order_acquire);
    if (!number)
        return NULL;
    const uint8_t *page = frame_memory(cache, number);
    __builtin_prefetch((const void *)&cache->policy.used[number]);
    __builtin_prefetch(page);
    __builtin_prefetch(page + 64);
    return page;
}

const uint8_t *cache_pin(struct cache *cache, cache_slot *slot, uint32_t *number)
{
    const uint8_t *page = NULL;
    /* The pin is set inside the bracket: whoever takes an evicted frame again has waited for the bracket, sees the
     * pin. */
    epoch_enter(cache->epoch);
    *number = atomic_load_explicit(slot, memory_order_acquire);
    if (*number) {
        atomic_fetch_add_explicit(&cache->pins[*number], 1, memory_order_relaxed);
        page = mark(cache, *number);
    }
    epoch_exit(cache->epoch);
    return page;
}

uint32_t cache_pin_page(struct cache *cache, const uint8_t *page)
{
    uintptr_t first = (uintptr_t)cache->memory, at = (uintptr_t)page;
    if (!cache->memory || at < first || at - first >= (size_t)cache->numbers * PAGE_SIZE)
        return 0;
    uint32_t number = (uint32_t)((at - first) / PAGE_SIZE) + 1;
    atomic_fetch_add_explicit(&cache->pins[number], 1, memory_order_relaxed); /* as in cache_pin */
    return number;
}

void cache_unpin(struct cache *cache, uint32_t number)
{
    atomic_fetch_sub_explicit(&cache->pins[number], 1, memory_order_release);
}

const uint8_t *cache_prefetch(const struct cache *cache, const cache_slot *slot)
{
    uint32_t number = atomic_load_explicit(slot, memory_order_relaxed);
    if (!number)
        return NULL;
    const uint8_t *page = frame_memory(cache, number);
    __builtin_prefetch((const void *)&cache->pins[number], 1);
    __builtin_prefetch((const void *)&cache->policy.used[number]);
    for (size_t line = 0; line < SCAN_PREFETCH_BYTES; line += 64)
        __builtin_prefetch(page + line);
    return page;
}

void cache_approach(const struct cache *cache, const cache_slot *slots, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = atomic_load_explicit(&slots[i], memory_order_relaxed);
        __builtin_prefetch(frame_memory(cache, number ? number : 1)); /* any for what is in none: no branch */
    }
}

/* --- frames between uses. All under the lock ---------------------------------------------------------------------- */

/* The frames of a size are told by their numbers. */
static struct pool *pool_of(struct cache *cache, uint32_t number)
{
    return &cache->pools[number >= cache->pools[LARGE].first];
}

static uint32_t index_of(const struct pool *pool, uint32_t number)
{
    return (number - pool->first) / pool->blocks;
}

static bool is_leaving(struct cache *cache, uint32_t number)
{
    const struct pool *pool = pool_of(cache, number);
    return index_of(pool, number) >= pool->ceiling;
}

/* Gives the memory of a frame that nobody uses back. */
static void strip(struct cache *cache, uint32_t number)
{
    const struct pool *pool = pool_of(cache, number);
    mem_discard(frame_memory(cache, number), (size_t)pool->blocks * PAGE_SIZE);
    policy_move(&cache->policy, number, pool->bare);
    cache->resident -= pool->blocks;
}

/* Nobody uses the frame any more. */
static void set_free(struct cache *cache, uint32_t number)
{
    const struct pool *pool = pool_of(cache, number);
    if (is_leaving(cache, number)) {
        cache->leaving -= pool->blocks;
        strip(cache, number);
    } else {
        policy_move(&cache->policy, number, pool->free);
    }
}

/* Puts a frame that is taken or published where it waits for its readers to leave; to be stamped. */
static void enter_limbo(struct cache *cache, uint32_t number)
{
    policy_move(&cache->policy, number, FRAME_LIMBO);
    cache->in_use -= pool_of(cache, number)->blocks;
}

/* Puts the last `count` frames of the limbo under an epoch that begins now. */
static void stamp(struct cache *cache, uint32_t count)
{
    uint64_t epoch = count > 0 ? epoch_advance(cache->epoch) : 0;
    for (uint32_t number = cache->policy.tails[FRAME_LIMBO]; count-- > 0;
         number = cache->policy.frames[number].previous)
        cache->users[number].epoch = epoch;
}

static void unpublish(struct cache *cache, uint32_t number)
{
    atomic_store_explicit(cache->users[number].owner, 0, memory_order_release);
    enter_limbo(cache, number);
}

/* Evicts some pages. */
static void evict(struct cache *cache)
{
    uint32_t evicted = 0, most = cache->limit / EVICT_BATCH + 1;
    most = most < EVICT_BATCH ? most : EVICT_BATCH;
    for (unsigned tries = 0; tries < 4 * EVICT_BATCH && evicted < most; tries++) {
        uint32_t number = policy_victim(&cache->policy);
        if (!number)
            break;
        if (atomic_load_explicit(&cache->pins[number], memory_order_relaxed)) {
            policy_move(&cache->policy, number, FRAME_MAIN);
            continue;
        }
        unpublish(cache, number);
        evicted++;
    }
    stamp(cache, evicted);
}

/* Frees the frame that has been in limbo longest, if nobody can be looking at it. *quiescent: there are frames in limbo
 * that could be looked at. */
static bool leave_limbo(struct cache *cache, bool *quiescent)
{
    for (uint32_t left = cache->policy.counts[FRAME_LIMBO]; left > 0; left--) {
        uint32_t number = cache->policy.heads[FRAME_LIMBO];
        uint64_t epoch = cache->users[number].epoch;
        *quiescent = epoch <= cache->over || epoch_quiescent(cache->epoch, epoch);
        if (!*quiescent)
            return false;
        cache->over = epoch > cache->over ? epoch : cache->over;
        if (atomic_load_explicit(&cache->pins[number], memory_order_acquire) == 0) {
            set_free(cache, number);
            return true;
        }
        policy_move(&cache->policy, number, FRAME_LIMBO); /* pinned after it was chosen: to the end of the queue */
    }
    return false;
}

/* --- taking and publishing ---------------------------------------------------------------------------------------- */

/* The ceiling is above a frame that is about to be used. */
static void raise_ceiling(struct cache *cache, struct pool *pool, uint32_t index)
{
    uint32_t before = pool->ceiling;
    if (index < before)
        return;
    uint32_t ceiling = (index / pool->step + 1) * pool->step;
    pool->ceiling = ceiling < pool->capacity ? ceiling : pool->capacity;
    for (uint32_t i = before; i < pool->ceiling && i < pool->fresh; i++) {
        enum frame_list list = cache->policy.frames[pool->first + i * pool->blocks].list;
        cache->leaving -= list == FRAME_LIMBO || list == FRAME_TAKEN ? pool->blocks : 0;
    }
}

/* A frame of this size that is free, or that there is room for; 0: none. */
static uint32_t take_now(struct cache *cache, struct pool *pool)
{
    struct cache_policy *p = &cache->policy;
    uint32_t number = p->heads[pool->free];
    if (number)
        return number;
    if (cache->resident + pool->blocks > cache->limit)
        return 0;
    number = p->tails[pool->bare]; /* the last one is the lowest of those that left with a shrinking cache */
    if (!number && pool->fresh == pool->capacity)
        return 0;
    if (!number)
        number = pool->first + pool->fresh++ * pool->blocks;
    raise_ceiling(cache, pool, index_of(pool, number));
    cache->resident += pool->blocks;
    return number;
}

static uint8_t *take(struct cache *cache, unsigned which, uint32_t *number)
{
    struct pool *pool = &cache->pools[which], *other = &cache->pools[!which];
    struct cache_policy *p = &cache->policy;
    uint32_t taken = 0;
    bool quiescent = true;
    mutex_lock(&cache->lock);
    bool more = cache->limit >= pool->blocks;
    taken = more ? take_now(cache, pool) : 0;
    if (!taken && more && !p->counts[FRAME_LIMBO])
        evict(cache);
    while (!taken && more) {
        if (p->heads[other->free])
            strip(cache, p->heads[other->free]);
        else
            more = leave_limbo(cache, &quiescent);
        taken = take_now(cache, pool);
    }
    if (!taken && cache->limit && (quiescent || p->counts[FRAME_LIMBO] < EVICT_BATCH))
        evict(cache); /* so that one is ready soon */
    if (taken) {
        policy_move(p, taken, FRAME_TAKEN);
        cache->in_use += pool->blocks;
    }
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
    set_free(cache, number);
}

const uint8_t *cache_publish(struct cache *cache, cache_slot *slot, uint32_t number)
{
    mutex_lock(&cache->lock);
    uint32_t there = atomic_load_explicit(slot, memory_order_acquire);
    if (there) {
        give_back(cache, number);
    } else if (is_leaving(cache, number)) { /* for this reader only */
        enter_limbo(cache, number);
        stamp(cache, 1);
    } else {
        cache->users[number].owner = slot;
        policy_admit(&cache->policy, number, (uintptr_t)slot);
        atomic_store_explicit(slot, number, memory_order_release);
    }
    mutex_unlock(&cache->lock);
    return there ? mark(cache, there) : frame_memory(cache, number);
}

void cache_drop(struct cache *cache, uint32_t number)
{
    mutex_lock(&cache->lock);
    give_back(cache, number);
    mutex_unlock(&cache->lock);
}

void cache_forget(struct cache *cache, cache_slot *slots, uint32_t count)
{
    uint32_t pinned = 0;
    mutex_lock(&cache->lock);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = atomic_load_explicit(&slots[i], memory_order_relaxed);
        if (number && atomic_load_explicit(&cache->pins[number], memory_order_acquire) == 0) {
            give_back(cache, number);
        } else if (number) { /* somebody still looks at it */
            enter_limbo(cache, number);
            pinned++;
        }
    }
    stamp(cache, pinned);
    mutex_unlock(&cache->lock);
}

/* --- how much it holds -------------------------------------------------------------------------------------------- */

/* Moves the ceiling of a size down by one step. Returns how many pages were evicted. */
static uint32_t lower_ceiling(struct cache *cache, struct pool *pool)
{
    uint32_t before = pool->ceiling < pool->fresh ? pool->ceiling : pool->fresh, evicted = 0;
    pool->ceiling = (before - 1) / pool->step * pool->step;
    for (uint32_t i = pool->ceiling; i < before; i++) {
        uint32_t number = pool->first + i * pool->blocks;
        enum frame_list list = cache->policy.frames[number].list;
        if (list == pool->bare)
            continue;
        cache->leaving += pool->blocks;
        if (list == pool->free) {
            set_free(cache, number);
        } else if (list >= FRAME_NEW) {
            unpublish(cache, number);
            evicted++;
        }
    }
    return evicted;
}

void cache_resize(struct cache *cache, uint64_t bytes)
{
    bool quiescent;
    uint32_t evicted = 0;
    mutex_lock(&cache->lock);
    uint64_t limit = bytes / (PAGE_SIZE + FRAME_EXTRA), part = cache->huge ? GRANULE_HUGE : 0;
    limit = limit > part ? limit - part : 0; /* of a huge page all is resident when a part is used */
    cache->limit = limit < cache->capacity ? (uint32_t)limit : cache->capacity;
    while (cache->resident - cache->leaving > cache->limit) {
        struct pool *small = &cache->pools[SMALL], *large = &cache->pools[LARGE];
        uint32_t small_top = small->ceiling < small->fresh ? small->ceiling : small->fresh;
        uint32_t large_top = large->ceiling < large->fresh ? large->ceiling : large->fresh;
        evicted += lower_ceiling(cache, small_top >= large_top * large->blocks ? small : large);
    }
    stamp(cache, evicted);
    while (cache->leaving > 0 && leave_limbo(cache, &quiescent))
        continue;
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

uint64_t cache_bytes_max(const struct cache *cache)
{
    struct cache *c = (struct cache *)cache;
    mutex_lock(&c->lock);
    uint64_t limit = c->limit;
    mutex_unlock(&c->lock);
    return limit * PAGE_SIZE;
}

uint64_t cache_resident(const struct cache *cache)
{
    struct cache *c = (struct cache *)cache;
    uint64_t bytes = 0;
    mutex_lock(&c->lock);
    for (unsigned i = 0; i < POOLS; i++) {
        const struct pool *pool = &c->pools[i];
        uint64_t last = c->huge ? pool->fresh % pool->step : 0; /* the rest of a huge page */
        bytes += (uint64_t)pool->fresh * pool->blocks * FRAME_EXTRA;
        bytes += last ? (pool->step - last) * pool->blocks * PAGE_SIZE : 0;
    }
    bytes += (uint64_t)c->resident * PAGE_SIZE;
    mutex_unlock(&c->lock);
    return bytes;
}
