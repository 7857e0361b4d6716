/* The shadow cache of the simulated device: which blocks would be in memory, without their bytes.
 *
 * The policy is that of the page cache (cache.h), so that a simulated hit is what the engine would have had: a clock
 * with a second chance (Corbato 1968) in which an access marks a block, a block enters marked, and the hand passes at
 * most SHADOW_STEPS_MAX marked ones before it takes what it meets. It differs in one thing: the page cache evicts 16
 * frames at a time because readers may still look at them, here nobody looks, so one is evicted when one is needed.
 *
 * Frames stand without gaps in an array; an open-addressed table with linear probing, twice as large, leads from
 * (run, block) to a frame. 24 bytes per block, of which the system gives what is touched. Every call but resize and
 * forget takes O(1), in the worst case SHADOW_STEPS_MAX steps of the hand. No locks: the caller has one. */
#ifndef LSM_SIMULATE_CACHE_H
#define LSM_SIMULATE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { SHADOW_STEPS_MAX = 64 };

struct shadow_frame {
    uint64_t run;
    uint64_t block_used; /* block number * 2 + the mark */
};

/* Zero it before shadow_cache_init; after that, private to simulate_cache.c but for `count`. */
struct shadow_cache {
    struct shadow_frame *frames; /* of which `count` are in use */
    uint32_t *table;             /* frame number + 1; 0: free */
    uint64_t table_size;
    uint32_t frames_max; /* room in `frames` */
    uint32_t capacity;   /* allowed at present */
    uint32_t count;
    uint32_t hand;
};

/* An empty cache of at most `frames_max` blocks (0: it never holds one), all of which it may use. PLSM_NO_MEMORY leaves
 * it zeroed. */
plsm_status shadow_cache_init(struct shadow_cache *cache, uint32_t frames_max);
void shadow_cache_free(struct shadow_cache *cache); /* accepts a zeroed one */

/* Whether a block is in the cache; marks it when it is. `block` is below 2^63. */
bool shadow_cache_touch(struct shadow_cache *cache, uint64_t run, uint64_t block);
/* Puts in a block that is not there, for which another may have to go. Does nothing at capacity 0. */
void shadow_cache_add(struct shadow_cache *cache, uint64_t run, uint64_t block);
/* From now on at most `capacity` blocks (no more than frames_max); what is over that is evicted at once. O(evicted). */
void shadow_cache_resize(struct shadow_cache *cache, uint32_t capacity);
/* Takes all blocks of a run out. O(count). */
void shadow_cache_forget(struct shadow_cache *cache, uint64_t run);

#endif
