/* An arena: memory that is handed out piece by piece and given back all at once.
 *
 * One thread hands out; what it handed out may be read by any thread. The memory comes in chunks: a small first one, so
 * that an empty memtable is cheap, then larger ones up to 4 MiB on huge pages. */
#ifndef LSM_ARENA_H
#define LSM_ARENA_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct arena_chunk;

/* Zero it to start; end with arena_free. */
struct arena {
    uint8_t *at, *end;          /* what is left of the current chunk */
    struct arena_chunk *chunks; /* those in use, the current one first */
    struct arena_chunk *spare;  /* empty; takes over when a piece does not fit into the current one */
    size_t chunk_bytes;         /* of all chunks, the spare one too */
    _Atomic size_t bytes;       /* handed out; any thread may read it */
};

/* Makes sure that pieces of `bytes` bytes in all (each counted as its size + alignment - 1) can be handed out without
 * failing. PLSM_NO_MEMORY otherwise, and the arena is as it was. */
plsm_status arena_reserve(struct arena *arena, size_t bytes);

/* A piece of `size` bytes, aligned to `alignment` (a power of two up to 64); its content is undefined. Room must have
 * been reserved. Valid until arena_free. */
void *arena_alloc(struct arena *arena, size_t size, size_t alignment);

static inline size_t arena_bytes(const struct arena *arena)
{
    return atomic_load_explicit(&arena->bytes, memory_order_relaxed);
}

/* Gives everything back and zeroes the arena; accepts a zeroed one. */
void arena_free(struct arena *arena);

#endif
