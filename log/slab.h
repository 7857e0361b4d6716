/* Small objects by the million, of any size, without a word of overhead for each, which readers may still look at for a
 * while after they have been given back (base/epoch.h).
 *
 * One thread at a time takes and gives back: the caller sees to that. Objects are aligned to 8 bytes. */
#ifndef LOG_SLAB_H
#define LOG_SLAB_H

#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/epoch.h"

enum {
    SLAB_GRAIN = 8,
    SLAB_SMALL_MAX = 1024, /* larger objects come from mem_alloc, one by one */
    SLAB_LIMBO = 500,     /* objects that wait for the same epoch */
};

struct slab_limbo;

/* Zero it but for `epoch` and `account`; end it with slab_destroy. */
struct slab {
    struct epoch *epoch;
    struct mem_account *account; /* for all its memory; may be NULL */
    struct slab_chunk *chunks;
    uint8_t *next, *end; /* of the newest chunk */
    uint64_t bytes;      /* of chunks */
    void *reusable[SLAB_SMALL_MAX / SLAB_GRAIN + 1];
    struct slab_limbo *filling, *oldest, **newest_next; /* given back; readers may be at them */
    uint64_t used_bytes; /* taken and not given back, rounded to SLAB_GRAIN */
};

/* NULL: no memory. The content is not set. */
void *slab_take(struct slab *slab, size_t size);
/* Gives back what no reader can have seen. */
void slab_give_back(struct slab *slab, void *object, size_t size);
/* Gives back what new readers cannot reach any more. It stays as it is until all who may know it have left. Never
 * fails: where there is no memory to remember it, a small object is lost until slab_destroy. */
void slab_retire(struct slab *slab, void *object, size_t size);
/* Frees all; no reader may be inside. Large objects that were not given back are lost. */
void slab_destroy(struct slab *slab);

#endif
