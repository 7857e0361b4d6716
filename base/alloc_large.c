/* Large allocations, on huge pages: what lookups touch at random (filters, models, slots of the cache) costs a miss of
 * the TLB for nearly every small page (shared facts, section 1: huge pages are worth about 1.5x).
 *
 * Up to LARGE_SHARED bytes: runs of small pages out of blocks of one huge page each, first fit. A block that nobody
 * uses is kept for the next one, further ones are given back. Above that: a mapping of its own, whose last part is in
 * small pages where a huge one would be mostly empty. All of them start at a multiple of SMALL_PAGE, which malloc's
 * hardly ever do, so that freeing those costs no look at the table of blocks. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "base/alloc_private.h"
#include "base/sync.h"

#include "base/banned.h"

enum {
    PAGES = HUGE_PAGE / SMALL_PAGE, /* of a block */
    BUCKETS = 4096,
};

#if defined(__SANITIZE_ADDRESS__)
#define LARGE_OFF 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LARGE_OFF 1
#endif
#endif
#ifndef LARGE_OFF
#define LARGE_OFF 0
#endif

struct block {
    struct block *next;   /* of its bucket */
    struct block *sister; /* the next one that is shared */
    uint8_t *memory;
    size_t size; /* mapped */
    bool shared;
    unsigned used;        /* pages of a shared one */
    uint16_t runs[PAGES]; /* of a shared one: length of the run that begins at a page; 0: none does */
    bool taken[PAGES];
};

static mutex lock = PTHREAD_MUTEX_INITIALIZER;
static struct block *buckets[BUCKETS], *shared_blocks;
static unsigned idle_blocks; /* shared ones that nobody uses */
static _Atomic uint64_t unused_bytes;

static struct block **bucket_of(const void *memory)
{
    return &buckets[(uintptr_t)memory / HUGE_PAGE % BUCKETS];
}

/* Under lock, as what follows. */
static void enter_bucket(struct block *block)
{
    struct block **bucket = bucket_of(block->memory);
    block->next = *bucket;
    *bucket = block;
}

static void leave_bucket(const struct block *block)
{
    struct block **link = bucket_of(block->memory);
    while (*link != block)
        link = &(*link)->next;
    *link = block->next;
}

/* Under lock. */
static struct block *find_block(const void *memory)
{
    uintptr_t at = (uintptr_t)memory & ~(uintptr_t)(HUGE_PAGE - 1);
    struct block *block = *bucket_of(memory);
    while (block && (uintptr_t)block->memory != at)
        block = block->next;
    /* Behind a mapping of its own there may be others' memory before the next huge page begins. */
    return block && (block->shared || block->memory == memory) ? block : NULL;
}

/* How much to map for an allocation of its own: whole huge pages where that adds no more than an eighth, else small
 * pages behind the last whole one. Examples: 1.9 MiB takes 2 MiB; 2.1 MiB takes 2.1 MiB, of which 2 are a huge page. */
static size_t own_size(size_t size)
{
    size_t whole = (size + HUGE_PAGE - 1) & ~(size_t)(HUGE_PAGE - 1);
    return whole - size <= size / 8 ? whole : small_page_round(size);
}

/* Under lock. */
static struct block *block_create(size_t size, bool shared)
{
    struct block *block = calloc(1, shared ? sizeof *block : offsetof(struct block, runs));
    if (!block)
        return NULL;
    block->memory = map_pages(size, HUGE_PAGE);
    if (!block->memory) {
        free(block);
        return NULL;
    }
    block->size = size;
    block->shared = shared;
    enter_bucket(block);
    if (shared) {
        block->sister = shared_blocks;
        shared_blocks = block;
        idle_blocks++;
        unused_bytes += size;
    }
    return block;
}

/* Under lock. */
static void block_destroy(struct block *block)
{
    struct block **link = &shared_blocks;
    leave_bucket(block);
    for (; block->shared && *link != block;)
        link = &(*link)->sister;
    if (block->shared) {
        *link = block->sister;
        idle_blocks--;
        unused_bytes -= block->size;
    }
    munmap(block->memory, block->size);
    free(block);
}

/* The first of `count` free pages in a row; PAGES: there are not as many. */
static unsigned find_run(const struct block *block, unsigned count)
{
    unsigned free_pages = 0;
    if (PAGES - block->used < count)
        return PAGES;
    for (unsigned i = 0; i < PAGES; i++) {
        free_pages = block->taken[i] ? 0 : free_pages + 1;
        if (free_pages == count)
            return i + 1 - count;
    }
    return PAGES;
}

/* Under lock. */
static void *take_run(unsigned count)
{
    unsigned first = PAGES;
    struct block *block = shared_blocks;
    for (; block && (first = find_run(block, count)) == PAGES;)
        block = block->sister;
    if (!block) {
        block = block_create(HUGE_PAGE, true);
        first = 0;
    }
    if (!block)
        return NULL;
    idle_blocks -= block->used == 0;
    block->used += count;
    block->runs[first] = (uint16_t)count;
    memset(block->taken + first, true, count);
    unused_bytes -= (size_t)count * SMALL_PAGE;
    return block->memory + (size_t)first * SMALL_PAGE;
}

void *large_alloc(size_t size, bool zeroed)
{
    void *memory = NULL;
    if (LARGE_OFF || size > SIZE_MAX / 2)
        return NULL;
    mutex_lock(&lock);
    if (size <= LARGE_SHARED) {
        memory = take_run((unsigned)(small_page_round(size) / SMALL_PAGE));
    } else {
        struct block *block = block_create(own_size(size), false);
        memory = block ? block->memory : NULL;
    }
    mutex_unlock(&lock);
    if (memory && zeroed && size <= LARGE_SHARED)
        memset(memory, 0, size);
    return memory;
}

/* Under lock. */
static void give_back(struct block *block, unsigned first)
{
    unsigned count = block->runs[first];
    block->runs[first] = 0;
    memset(block->taken + first, false, count);
    block->used -= count;
    unused_bytes += (size_t)count * SMALL_PAGE;
    if (block->used > 0)
        return;
    idle_blocks++;
    if (idle_blocks > 1)
        block_destroy(block);
}

static unsigned page_in(const struct block *block, const void *memory)
{
    return (unsigned)((size_t)((const uint8_t *)memory - block->memory) / SMALL_PAGE);
}

bool large_free(void *memory)
{
    if ((uintptr_t)memory % SMALL_PAGE != 0)
        return false;
    mutex_lock(&lock);
    struct block *block = find_block(memory);
    if (block && block->shared)
        give_back(block, page_in(block, memory));
    else if (block)
        block_destroy(block);
    mutex_unlock(&lock);
    return block != NULL;
}

void *large_grow(void *memory, size_t size)
{
    void *grown = NULL;
    if ((uintptr_t)memory % SMALL_PAGE != 0 || size > SIZE_MAX / 2)
        return NULL;
    mutex_lock(&lock);
    struct block *block = find_block(memory);
    size_t wanted = own_size(size);
    if (block && !block->shared && wanted > block->size) {
        uint8_t *place = map_pages(wanted, HUGE_PAGE); /* so that whole huge pages move there */
        grown = place ? mremap(memory, block->size, wanted, MREMAP_MAYMOVE | MREMAP_FIXED, place) : NULL;
        /* Even so `place` may be unmapped by now, and be another thread's: it is left alone. Where it is still there
         * that costs addresses only, for nobody has touched it. */
        if (grown == MAP_FAILED)
            grown = NULL;
    }
    if (grown) {
        leave_bucket(block);
        block->memory = grown;
        block->size = wanted;
        enter_bucket(block);
    }
    mutex_unlock(&lock);
    return grown;
}

size_t large_size(const void *memory)
{
    if ((uintptr_t)memory % SMALL_PAGE != 0)
        return 0;
    mutex_lock(&lock);
    const struct block *block = find_block(memory);
    size_t size = !block ? 0 : block->shared ? (size_t)block->runs[page_in(block, memory)] * SMALL_PAGE : block->size;
    mutex_unlock(&lock);
    return size;
}

uint64_t mem_unused(void)
{
    return unused_bytes;
}
