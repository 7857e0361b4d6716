/* Small objects. See slab.h. */
#include "log/slab.h"

#include <stdbool.h>
#include "base/banned.h"

enum {
    CHUNK_BYTES_MIN = 64 << 10, /* from here on chunks come from huge pages */
    CHUNK_BYTES_MAX = 1 << 20,
};

struct slab_chunk {
    struct slab_chunk *next;
    size_t size;
};

struct slab_limbo {
    struct slab_limbo *next;
    uint64_t epoch;
    unsigned count;
    struct {
        void *object;
        size_t size;
    } entries[SLAB_LIMBO];
};

/* In front of a large object. */
struct large {
    struct epoch_node node;
    struct mem_account *account;
};

static inline size_t rounded(size_t size)
{
    return (size + SLAB_GRAIN - 1) & ~(size_t)(SLAB_GRAIN - 1);
}

/* Readers are done with it. */
static void reuse(struct slab *slab, void *object, size_t size)
{
    void **list = &slab->reusable[rounded(size) / SLAB_GRAIN];
    *(void **)object = *list;
    *list = object;
}

/* Lets those in limbo out for whom the time has come. */
static void release(struct slab *slab)
{
    while (slab->oldest && epoch_quiescent(slab->epoch, slab->oldest->epoch)) {
        struct slab_limbo *limbo = slab->oldest;
        for (unsigned i = 0; i < limbo->count; i++)
            reuse(slab, limbo->entries[i].object, limbo->entries[i].size);
        slab->oldest = limbo->next;
        if (!slab->oldest)
            slab->newest_next = NULL;
        if (slab->filling) {
            mem_free(limbo);
        } else {
            limbo->count = 0;
            limbo->next = NULL;
            slab->filling = limbo;
        }
    }
}

static bool add_chunk(struct slab *slab)
{
    size_t bytes = slab->bytes / 4 & ~(size_t)4095;
    bytes = bytes < CHUNK_BYTES_MIN ? CHUNK_BYTES_MIN : bytes > CHUNK_BYTES_MAX ? CHUNK_BYTES_MAX : bytes;
    struct slab_chunk *chunk = mem_alloc(bytes);
    if (!chunk)
        return false;
    *chunk = (struct slab_chunk){.next = slab->chunks, .size = bytes};
    slab->chunks = chunk;
    slab->bytes += bytes;
    slab->next = (uint8_t *)(chunk + 1);
    slab->end = (uint8_t *)chunk + bytes;
    return true;
}

static void *take_large(struct slab *slab, size_t size)
{
    struct large *large = mem_alloc(sizeof *large + size);
    if (!large)
        return NULL;
    large->account = slab->account;
    return large + 1;
}

static void *take(struct slab *slab, size_t size)
{
    if (size > SLAB_SMALL_MAX)
        return take_large(slab, size);
    size = rounded(size);
    void **list = &slab->reusable[size / SLAB_GRAIN];
    if (!*list && slab->oldest)
        release(slab);
    void *object = *list;
    if (object) {
        *list = *(void **)object;
        return object;
    }
    if ((size_t)(slab->end - slab->next) < size && !add_chunk(slab))
        return NULL;
    object = slab->next;
    slab->next += size;
    return object;
}

void *slab_take(struct slab *slab, size_t size)
{
    struct mem_account *before = mem_account_use(slab->account);
    void *object = take(slab, size ? size : 1);
    mem_account_use(before);
    if (object)
        slab->used_bytes += rounded(size);
    return object;
}

void slab_give_back(struct slab *slab, void *object, size_t size)
{
    slab->used_bytes -= rounded(size);
    if (size <= SLAB_SMALL_MAX) {
        reuse(slab, object, size ? size : 1);
        return;
    }
    struct mem_account *before = mem_account_use(slab->account);
    mem_free((struct large *)object - 1);
    mem_account_use(before);
}

static void free_large(struct epoch_node *node)
{
    struct large *large = (struct large *)node;
    struct mem_account *before = mem_account_use(large->account);
    mem_free(large);
    mem_account_use(before);
}

void slab_retire(struct slab *slab, void *object, size_t size)
{
    slab->used_bytes -= rounded(size);
    if (size > SLAB_SMALL_MAX) {
        epoch_retire(slab->epoch, &((struct large *)object - 1)->node, free_large);
        return;
    }
    struct mem_account *before = mem_account_use(slab->account);
    struct slab_limbo *limbo = slab->filling;
    if (limbo && limbo->count == SLAB_LIMBO) {
        limbo->epoch = epoch_advance(slab->epoch);
        limbo->next = NULL;
        if (slab->newest_next)
            *slab->newest_next = limbo;
        else
            slab->oldest = limbo;
        slab->newest_next = &limbo->next;
        slab->filling = limbo = NULL;
        release(slab);
        limbo = slab->filling;
    }
    if (!limbo) {
        limbo = slab->filling = mem_alloc(sizeof *limbo);
        if (limbo) {
            limbo->count = 0;
            limbo->next = NULL;
        }
    }
    if (limbo) {
        limbo->entries[limbo->count].object = object;
        limbo->entries[limbo->count++].size = size ? size : 1;
    }
    mem_account_use(before);
}

void slab_destroy(struct slab *slab)
{
    struct mem_account *before = mem_account_use(slab->account);
    while (slab->chunks) {
        struct slab_chunk *chunk = slab->chunks;
        slab->chunks = chunk->next;
        mem_free(chunk);
    }
    while (slab->oldest) {
        struct slab_limbo *limbo = slab->oldest;
        slab->oldest = limbo->next;
        mem_free(limbo);
    }
    mem_free(slab->filling);
    mem_account_use(before);
    *slab = (struct slab){.epoch = slab->epoch, .account = slab->account};
}
