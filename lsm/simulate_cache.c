/* The shadow cache. See simulate_cache.h. */
#include "lsm/simulate_cache.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

enum { USED = 1 };

_Static_assert(sizeof(struct shadow_frame) == 16, "24 bytes per block, with two entries of the table");

plsm_status shadow_cache_init(struct shadow_cache *cache, uint32_t frames_max)
{
    *cache = (struct shadow_cache){0};
    if (frames_max == 0)
        return PLSM_OK;
    cache->table_size = (uint64_t)frames_max * 2;
    cache->frames = mem_zalloc(frames_max * sizeof *cache->frames);
    cache->table = mem_zalloc(cache->table_size * sizeof *cache->table);
    if (!cache->frames || !cache->table) {
        shadow_cache_free(cache);
        return fail(PLSM_NO_MEMORY, "no memory for a simulated cache of %u blocks", frames_max);
    }
    cache->frames_max = frames_max;
    cache->capacity = frames_max;
    return PLSM_OK;
}

void shadow_cache_free(struct shadow_cache *cache)
{
    mem_free(cache->frames);
    mem_free(cache->table);
    *cache = (struct shadow_cache){0};
}

/* The place of the table where the search for a block begins. Blocks are mixed well: neighbours that stood side by side
 * would make long clusters. */
static uint64_t home_of(const struct shadow_cache *cache, uint64_t run, uint64_t block)
{
    uint64_t hash = (run * 0x9e3779b97f4a7c15u) ^ block;
    hash = (hash ^ (hash >> 32)) * 0xd6e8feb86659fd93u;
    hash = (hash ^ (hash >> 32)) * 0xd6e8feb86659fd93u;
    return (uint64_t)(((unsigned __int128)hash * cache->table_size) >> 64);
}

static uint64_t next_place(const struct shadow_cache *cache, uint64_t place)
{
    return place + 1 == cache->table_size ? 0 : place + 1;
}

/* The place of a block in the table, or the free one where it would be put. Half of the table is free, so it ends. */
static uint64_t find(const struct shadow_cache *cache, uint64_t run, uint64_t block)
{
    uint64_t place = home_of(cache, run, block);
    for (; cache->table[place]; place = next_place(cache, place)) {
        const struct shadow_frame *frame = &cache->frames[cache->table[place] - 1];
        if (frame->run == run && frame->block_used >> 1 == block)
            break;
    }
    return place;
}

static uint64_t place_of(const struct shadow_cache *cache, uint32_t at)
{
    const struct shadow_frame *frame = &cache->frames[at];
    uint64_t place = find(cache, frame->run, frame->block_used >> 1);
    INVARIANT(cache->table[place] == at + 1);
    return place;
}

/* Frees a place; what follows moves up where its search would otherwise end at the gap (Knuth, volume 3, algorithm
 * 6.4 R), so that there are no tombstones. */
static void free_place(struct shadow_cache *cache, uint64_t gap)
{
    for (uint64_t at = next_place(cache, gap); cache->table[at]; at = next_place(cache, at)) {
        const struct shadow_frame *frame = &cache->frames[cache->table[at] - 1];
        uint64_t home = home_of(cache, frame->run, frame->block_used >> 1);
        if (at - home >= at - gap) { /* unsigned: a place behind `at` is one before the end of the table, so farther */
            cache->table[gap] = cache->table[at];
            gap = at;
        }
    }
    cache->table[gap] = 0;
}

/* The frame whose turn it is to go: the hand stands on it. */
static uint32_t choose(struct shadow_cache *cache)
{
    for (unsigned step = 0;; step++) {
        if (cache->hand >= cache->count)
            cache->hand = 0;
        struct shadow_frame *frame = &cache->frames[cache->hand];
        if (!(frame->block_used & USED) || step == SHADOW_STEPS_MAX)
            return cache->hand;
        frame->block_used &= ~(uint64_t)USED;
        cache->hand++;
    }
}

/* Empties a frame; the last one takes its place. */
static void take_out(struct shadow_cache *cache, uint32_t at)
{
    uint32_t last = cache->count - 1;
    free_place(cache, place_of(cache, at));
    if (at != last) {
        cache->table[place_of(cache, last)] = at + 1;
        cache->frames[at] = cache->frames[last];
    }
    cache->count = last;
}

bool shadow_cache_touch(struct shadow_cache *cache, uint64_t run, uint64_t block)
{
    if (cache->count == 0)
        return false;
    uint32_t number = cache->table[find(cache, run, block)];
    if (number)
        cache->frames[number - 1].block_used |= USED;
    return number != 0;
}

void shadow_cache_add(struct shadow_cache *cache, uint64_t run, uint64_t block)
{
    if (cache->capacity == 0)
        return;
    uint32_t at = cache->count;
    if (cache->count < cache->capacity) {
        cache->count++;
    } else {
        at = choose(cache);
        free_place(cache, place_of(cache, at));
        cache->hand = at + 1;
    }
    uint64_t place = find(cache, run, block);
    INVARIANT(cache->table[place] == 0);
    cache->table[place] = at + 1;
    cache->frames[at] = (struct shadow_frame){.run = run, .block_used = block << 1 | USED};
}

void shadow_cache_resize(struct shadow_cache *cache, uint32_t capacity)
{
    INVARIANT(capacity <= cache->frames_max);
    cache->capacity = capacity;
    while (cache->count > capacity)
        take_out(cache, choose(cache));
}

void shadow_cache_forget(struct shadow_cache *cache, uint64_t run)
{
    for (uint32_t at = 0; at < cache->count;) {
        if (cache->frames[at].run == run)
            take_out(cache, at);
        else
            at++;
    }
}
