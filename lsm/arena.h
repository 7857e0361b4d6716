/* An arena: memory that is handed out piece by piece and given back all at once.
 *
 * One thread hands out; what it handed out may be read by any thread. The memory comes in chunks: a small first one, so
 * that an empty memtable is cheap, then larger ones up to 4 MiB on huge pages. Those may come from a pool and go back
 * there: memory fresh from the kernel has to be zeroed by it, which costs as much as filling it. */
#ifndef LSM_ARENA_H
#define LSM_ARENA_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/status.h"
#include "base/sync.h"

struct arena_chunk;

/* Chunks that arenas gave back and others will take; for any thread. */
struct arena_pool {
    mutex lock;
    struct arena_chunk *chunks;
    size_t bytes, bytes_max; /* kept, and at most */
};
void arena_pool_init(struct arena_pool *pool, size_t bytes_max);
size_t arena_pool_bytes(struct arena_pool *pool);
/* Frees what it keeps; no arena may use it any more. */
void arena_pool_destroy(struct arena_pool *pool);

/* Zero it to start, save for the pool; end with arena_free. */
struct arena {
    struct arena_pool *pool;    /* NULL: none */
    uint8_t *at, *end;          /* what is left of the current chunk */
    struct arena_chunk *chunks; /* those in use, the current one first */
    struct arena_chunk *spare;  /* empty; takes over when a piece does not fit into the current one */
    size_t chunk_bytes;         /* of all chunks, the spare one too */
    struct mem_account *account; /* that chunks are charged to; NULL: none */
    _Atomic size_t bytes;       /* handed out; any thread may read it */
};

/* Makes sure that pieces of `bytes` bytes in all (each counted as its size + alignment - 1) can be handed out without
 * failing. PLSM_NO_MEMORY otherwise, and the arena is as it was. */
plsm_status arena_reserve(struct arena *arena, size_t bytes);

/* A piece of `size` bytes, aligned to `alignment` (a power of two up to 64); its content is undefined. Room must have
 * been reserved. Valid until arena_free. */
void *arena_alloc(struct arena *arena, size_t size, size_t alignment);

/* Gives back what is left of chunks that were made larger than the common ones for a reservation. What was reserved
 * and not handed out yet is so no more. */
void arena_trim(struct arena *arena);

static inline size_t arena_bytes(const struct arena *arena)
{
    return atomic_load_explicit(&arena->bytes, memory_order_relaxed);
}

/* Gives everything back and zeroes the arena; accepts a zeroed one. */
void arena_free(struct arena *arena);

#endif
