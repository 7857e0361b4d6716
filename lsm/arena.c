#include "lsm/arena.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/error.h"

#include "base/banned.h"

enum {
    CHUNK_BYTES_MIN = 64 << 10,
    CHUNK_BYTES_MAX = 4 << 20, /* two huge pages: few enough system calls, little enough left over at the end */
    CHUNK_BYTES_MAP = 1 << 20, /* from here on straight from the kernel: only touched pages are resident */
    HUGE_PAGE_BYTES = 2 << 20,
    CHUNK_HEADER_BYTES = 64, /* keeps the first piece on its own cache line */
    CACHE_LINE = 64,
    FETCHED_AHEAD = 1024, /* half and twice as much serve as well */
    FETCHED_MOST = 512,   /* of a piece; behind a larger one the processor has seen by itself where it goes on */
};

struct arena_chunk {
    struct arena_chunk *next;
    size_t size; /* with this header */
};

_Static_assert(sizeof(struct arena_chunk) <= CHUNK_HEADER_BYTES, "the header fits");

/* --- the pool ----------------------------------------------------------------------------------------------------- */

void arena_pool_init(struct arena_pool *pool, size_t bytes_max)
{
    *pool = (struct arena_pool){.bytes_max = bytes_max};
    mutex_init(&pool->lock);
}

size_t arena_pool_bytes(struct arena_pool *pool)
{
    mutex_lock(&pool->lock);
    size_t bytes = pool->bytes;
    mutex_unlock(&pool->lock);
    return bytes;
}

void arena_pool_destroy(struct arena_pool *pool)
{
    for (struct arena_chunk *chunk = pool->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        mem_unmap(chunk, chunk->size);
    }
    mutex_destroy(&pool->lock);
    *pool = (struct arena_pool){0};
}

/* Only chunks of the common size are kept: any arena can use them. */
static struct arena_chunk *pool_take(struct arena_pool *pool, size_t size)
{
    struct arena_chunk *chunk = NULL;
    if (!pool || size != CHUNK_BYTES_MAX)
        return NULL;
    mutex_lock(&pool->lock);
    if ((chunk = pool->chunks)) {
        pool->chunks = chunk->next;
        pool->bytes -= chunk->size;
    }
    mutex_unlock(&pool->lock);
    return chunk;
}

static bool pool_give(struct arena_pool *pool, struct arena_chunk *chunk)
{
    if (!pool || chunk->size != CHUNK_BYTES_MAX)
        return false;
    mutex_lock(&pool->lock);
    bool kept = pool->bytes + chunk->size <= pool->bytes_max;
    if (kept) {
        chunk->next = pool->chunks;
        pool->chunks = chunk;
        pool->bytes += chunk->size;
    }
    mutex_unlock(&pool->lock);
    return kept;
}

/* --- chunks ------------------------------------------------------------------------------------------------------- */

static void chunk_destroy(struct arena *arena, struct arena_chunk *chunk)
{
    if (!chunk)
        return;
    arena->chunk_bytes -= chunk->size;
    if (pool_give(arena->pool, chunk))
        return;
    struct mem_account *before = mem_account_use(arena->account);
    if (chunk->size >= CHUNK_BYTES_MAP)
        mem_unmap(chunk, chunk->size);
    else
        mem_free(chunk);
    mem_account_use(before);
}

/* A chunk with room for `bytes`: as large as all before it together, within the limits. */
static struct arena_chunk *chunk_create(struct arena *arena, size_t bytes)
{
    size_t size = arena->chunk_bytes;
    if (size < CHUNK_BYTES_MIN)
        size = CHUNK_BYTES_MIN;
    if (size > CHUNK_BYTES_MAX)
        size = CHUNK_BYTES_MAX;
    if (bytes > SIZE_MAX / 2)
        return NULL;
    if (size < bytes + CHUNK_HEADER_BYTES)
        size = bytes + CHUNK_HEADER_BYTES;
    if (size >= CHUNK_BYTES_MAP)
        size = (size + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;

    struct arena_chunk *chunk = pool_take(arena->pool, size);
    struct mem_account *before = mem_account_use(arena->account);
    if (!chunk)
        chunk = size >= CHUNK_BYTES_MAP ? mem_map(size) : mem_alloc(size);
    mem_account_use(before);
    if (!chunk)
        return NULL;
    chunk->next = NULL;
    chunk->size = size;
    arena->chunk_bytes += size;
    return chunk;
}

plsm_status arena_reserve(struct arena *arena, size_t bytes)
{
    if ((size_t)(arena->end - arena->at) >= bytes)
        return PLSM_OK;
    if (arena->spare && arena->spare->size - CHUNK_HEADER_BYTES >= bytes)
        return PLSM_OK;
    struct arena_chunk *chunk = chunk_create(arena, bytes);
    if (!chunk)
        return fail(PLSM_NO_MEMORY, "no memory for %zu bytes of the memtable", bytes);
    chunk_destroy(arena, arena->spare);
    arena->spare = chunk;
    return PLSM_OK;
}

/* The piece's place in the current chunk, or NULL when it does not fit. */
static uint8_t *place(struct arena *arena, size_t size, size_t alignment)
{
    size_t skip = -(uintptr_t)arena->at & (alignment - 1), left = (size_t)(arena->end - arena->at);
    return skip <= left && size <= left - skip ? arena->at + skip : NULL;
}

/* Pieces are written as they are handed out, and memory that comes from a pool has left the cache since: stores would
 * wait for it. So as much as is handed out now is asked for further ahead. (An entry in order took 28 ns without, 22
 * with it.) At the end of a chunk that is behind it, which harms nobody. */
static inline void fetch_ahead(const uint8_t *piece, size_t size)
{
    for (size_t at = 0; at < size && at < FETCHED_MOST; at += CACHE_LINE)
        __builtin_prefetch((const void *)((uintptr_t)piece + FETCHED_AHEAD + at), 1);
}

void *arena_alloc(struct arena *arena, size_t size, size_t alignment)
{
    uint8_t *piece = arena->at ? place(arena, size, alignment) : NULL;
    if (__builtin_expect(!piece, 0)) {
        struct arena_chunk *chunk = arena->spare;
        INVARIANT(chunk);
        arena->spare = NULL;
        chunk->next = arena->chunks;
        arena->chunks = chunk;
        arena->at = (uint8_t *)chunk + CHUNK_HEADER_BYTES;
        arena->end = (uint8_t *)chunk + chunk->size;
        piece = place(arena, size, alignment);
        INVARIANT(piece);
    }
    fetch_ahead(piece, size);
    size_t bytes = arena_bytes(arena) + (size_t)(piece + size - arena->at);
    arena->at = piece + size;
    /* Only this thread writes it: no need for an atomic addition. */
    atomic_store_explicit(&arena->bytes, bytes, memory_order_relaxed);
    return piece;
}

void arena_trim(struct arena *arena)
{
    struct arena_chunk *chunk = arena->chunks;
    if (arena->spare && arena->spare->size > CHUNK_BYTES_MAX) {
        chunk_destroy(arena, arena->spare);
        arena->spare = NULL;
    }
    if (!chunk || chunk->size <= CHUNK_BYTES_MAX)
        return;
    size_t used = (size_t)(arena->at - (uint8_t *)chunk);
    size_t kept = (used + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    if (kept >= chunk->size)
        return;
    struct mem_account *before = mem_account_use(arena->account);
    mem_unmap((uint8_t *)chunk + kept, chunk->size - kept);
    mem_account_use(before);
    arena->chunk_bytes -= chunk->size - kept;
    chunk->size = kept;
    arena->end = (uint8_t *)chunk + kept;
}

void arena_free(struct arena *arena)
{
    for (struct arena_chunk *chunk = arena->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        chunk_destroy(arena, chunk);
    }
    chunk_destroy(arena, arena->spare);
    *arena = (struct arena){0};
}
