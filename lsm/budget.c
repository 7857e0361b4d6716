/* See budget.h. */
#include "lsm/budget.h"

#include "base/banned.h"

enum {
    CACHE_LEAST_PART = 16,
    BUFFER_PART = 16,
    BUFFER_LEAST = 64 << 10,
    BUFFER_MOST = 64 << 20,
    BUILD_PART = 8,
    BUILD_ENTRY_BYTES = 64,
    GROW_PART = 64, /* the cache grows in steps of this part: it should not follow each buffer that comes and goes */
};

uint64_t budget_cache_bytes(uint64_t bytes, uint64_t others)
{
    uint64_t least = bytes / CACHE_LEAST_PART;
    return others < bytes && bytes - others > least ? bytes - others : least;
}

uint64_t budget_buffer_bytes(uint64_t bytes)
{
    uint64_t buffer = bytes / BUFFER_PART;
    if (buffer < BUFFER_LEAST)
        return BUFFER_LEAST;
    return buffer < BUFFER_MOST ? buffer : BUFFER_MOST;
}

uint64_t budget_run_entries(uint64_t bytes)
{
    return bytes ? bytes / BUILD_PART / BUILD_ENTRY_BYTES : UINT64_MAX;
}

static void changed(struct mem_account *account)
{
    struct budget *b = ((struct budget_account *)(void *)account)->budget; /* its first member */
    if (b->bytes > 0)
        budget_settle(b);
}

void budget_init(struct budget *b, uint64_t bytes)
{
    b->bytes = bytes;
    mutex_init(&b->lock);
    for (unsigned i = 0; i < BUDGET_USERS; i++) {
        b->users[i].account.changed = changed;
        b->users[i].budget = b;
    }
}

void budget_destroy(struct budget *b)
{
    mutex_destroy(&b->lock);
}

void budget_set_cache(struct budget *b, struct cache *cache)
{
    mutex_lock(&b->lock);
    b->cache = cache;
    b->cache_bytes = b->bytes;
    mutex_unlock(&b->lock);
    if (b->bytes > 0)
        budget_settle(b);
}

uint64_t budget_used(const struct budget *b, enum budget_user user)
{
    int64_t bytes = atomic_load_explicit(&b->users[user].account.bytes, memory_order_relaxed);
    return bytes > 0 ? (uint64_t)bytes : 0;
}

static uint64_t others(const struct budget *b)
{
    uint64_t bytes = mem_unused();
    for (unsigned i = 0; i < BUDGET_USERS; i++)
        bytes += budget_used(b, (enum budget_user)i);
    return bytes;
}

uint64_t budget_total(const struct budget *b)
{
    return others(b) + (b->cache ? cache_resident(b->cache) : 0);
}

void budget_settle(struct budget *b)
{
    mutex_lock(&b->lock);
    uint64_t bytes = budget_cache_bytes(b->bytes, others(b));
    bool grow = bytes > b->cache_bytes + b->bytes / GROW_PART;
    if (b->cache && (grow || bytes < b->cache_bytes || cache_resident(b->cache) > bytes)) {
        b->cache_bytes = bytes;
        cache_resize(b->cache, bytes);
    }
    mutex_unlock(&b->lock);
}
