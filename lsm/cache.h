/* The page cache: frames shared by all runs, of two sizes: 4 KiB for the pages of runs that are not compressed, and
 * large ones for those of compressed runs, which are kept unpacked. Both draw on the same bytes: what one size does not
 * use is the other's, and eviction goes over both together.
 *
 * Each run has an array with a slot per page, which holds the number of the frame the page is in (0: none), so a hit is
 * two dependent loads and no hash table. Readers touch slots and frames inside an epoch bracket only; a frame that was
 * evicted is used again after all readers of that time have left, and after it is not pinned any more.
 *
 * Which page leaves: cache_policy.h. Scans and compactions read around the cache.
 *
 * How much it may hold can be changed at any time (cache_resize). It shrinks from the highest frames down, so that what
 * is left stays in whole huge pages: their pages are evicted, and once no reader can look at a frame any more, the
 * system gets its memory back. */
#ifndef LSM_CACHE_H
#define LSM_CACHE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/epoch.h"
#include "base/status.h"

struct cache;
typedef _Atomic uint32_t cache_slot; /* frame number; 0: not cached */

/* A cache of `bytes` (rounded down to pages; 0: a cache that holds nothing) with large frames of `large_size` bytes, a
 * multiple of 8 KiB. Its memory is resident only as it fills. NULL: no memory. */
struct cache *cache_create(uint64_t bytes, size_t large_size, struct epoch *epoch);
/* One that is to be resized, up to `bytes_most`, which it holds at first. */
struct cache *cache_create_elastic(uint64_t bytes_most, size_t large_size, struct epoch *epoch);
void cache_destroy(struct cache *cache); /* accepts NULL; no reader may be left */
/* From now on an elastic cache takes at most `bytes`, with what it knows of each page, but for frames that are pinned
 * or being filled, and until the readers of this moment have left: call it again then. Takes nothing but the cache's
 * own lock and allocates nothing; may be called inside an epoch bracket. */
void cache_resize(struct cache *cache, uint64_t bytes);

/* The frame whose number stands in a slot, marked as used; NULL when the slot is empty. Inside an epoch bracket; valid
 * until its end. */
const uint8_t *cache_lookup(struct cache *cache, cache_slot *slot);

/* The same, without a mark and without touching the page. */
const uint8_t *cache_peek(const struct cache *cache, const cache_slot *slot);

/* As cache_lookup, without a bracket: the page stays until cache_unpin(number). For scans, which look at a page for
 * long. */
const uint8_t *cache_pin(struct cache *cache, cache_slot *slot, uint32_t *number);
void cache_unpin(struct cache *cache, uint32_t number);
/* Pins the frame of a page that was got inside the epoch bracket which is still open. Returns its number; 0: the page
 * is in no frame. */
uint32_t cache_pin_page(struct cache *cache, const uint8_t *page);

/* The same, and brings the front of the page and its mark, which cache_lookup will look at, towards the processor's
 * cache: both at once, as each costs a walk through page tables too, during which processors get little else done. */
const uint8_t *cache_fetch(const struct cache *cache, const cache_slot *slot);

/* Brings what a scan needs first of the page in a slot towards the processor's cache: its front, its mark and its pins.
 * For a scan that will be there soon (the hardware's own prefetch stops at page borders). Where the page is, so that
 * the rest can be brought little by little: a processor has few loads under way at once, and one that asks for a whole
 * page waits for most of it. NULL: it is in no frame. It may be evicted at any time: not to be looked at. */
const uint8_t *cache_prefetch(const struct cache *cache, const cache_slot *slot);

/* Brings the first line of the pages in `count` slots towards the processor's cache, for the walks through page tables:
 * those of several pages overlap, and a later cache_prefetch does without one. */
void cache_approach(const struct cache *cache, const cache_slot *slots, uint32_t count);

/* A frame to read a page into, owned by the caller until published or dropped; *number is its number. NULL when none
 * can be had without waiting: then read into memory of your own. */
uint8_t *cache_take(struct cache *cache, uint32_t *number);
/* The same for a page of `size` bytes: a small frame or a large one. NULL also for a page that is larger than both. */
uint8_t *cache_take_sized(struct cache *cache, size_t size, uint32_t *number);
/* Puts a filled frame into its slot. Returns the page that is in the slot afterwards: another thread may have been
 * faster, then that one's; or, where the cache has shrunk meanwhile, the page, and the slot is empty. Inside an epoch
 * bracket. */
const uint8_t *cache_publish(struct cache *cache, cache_slot *slot, uint32_t number);
void cache_drop(struct cache *cache, uint32_t number);

/* Releases all frames of a run that is being destroyed: nobody can reach its slots any more. Those that are pinned stay
 * until they are not. */
void cache_forget(struct cache *cache, cache_slot *slots, uint32_t count);

uint64_t cache_bytes(const struct cache *cache);     /* pages in use */
uint64_t cache_bytes_max(const struct cache *cache); /* pages that it may hold now */
uint64_t cache_resident(const struct cache *cache);  /* memory that it takes, all in all */

#endif
