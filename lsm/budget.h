/* One budget for all memory of a store.
 *
 * Memory is charged where objects are made and freed, with what it really takes (accounts of base/alloc.h); lookups
 * charge nothing. What is left of the budget is the page cache's: it shrinks when others take more, and grows when they
 * give back. What others need they get: a budget that is too small for them leaves the cache its floor.
 *
 * Not charged, since it lives for one call or is small: values on their way to a caller, batches, views, versions, the
 * MANIFEST's records, states of codecs (one per thread at work), and what the simulation of I/O keeps of devices. */
#ifndef LSM_BUDGET_H
#define LSM_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/sync.h"
#include "lsm/cache.h"

enum budget_user {
    BUDGET_MEMTABLES,
    BUDGET_FILTERS,    /* memberships, filters, the tables over young runs */
    BUDGET_INDEX,      /* of runs: fences, models, slots, offsets, bounds; routers */
    BUDGET_ITERATORS,  /* their buffers; pages that they pin are the cache's */
    BUDGET_COMPACTION, /* all that flushes, compactions and trainings work with */
    BUDGET_USERS
};

struct budget {
    uint64_t bytes; /* 0: none; memory is counted all the same */
    struct cache *cache;
    mutex lock; /* of what follows; under any other lock, above the cache's */
    uint64_t cache_bytes;
    struct budget_account {
        struct mem_account account; /* first: `changed` finds the rest by it */
        struct budget *budget;
    } users[BUDGET_USERS];
};

/* Readies a zeroed budget of `bytes`, 0: none. */
void budget_init(struct budget *b, uint64_t bytes);
void budget_destroy(struct budget *b); /* nothing is charged any more */
/* From now on this cache gives way; elastic where there is a budget. NULL: none any more. */
void budget_set_cache(struct budget *b, struct cache *cache);

/* This thread charges to a user of `b` (NULL: to nobody) until budget_leave gets what this returned. */
static inline struct mem_account *budget_enter(struct budget *b, enum budget_user user)
{
    return mem_account_use(b ? &b->users[user].account : NULL);
}
static inline void budget_leave(struct mem_account *before)
{
    mem_account_use(before);
}

/* Lets the cache follow what the others have. Happens by itself when they change. */
void budget_settle(struct budget *b);
uint64_t budget_used(const struct budget *b, enum budget_user user); /* bytes */
/* Bytes in all: users, the cache, and what huge pages have to spare (of this process). */
uint64_t budget_total(const struct budget *b);

/* --- policy: pure ------------------------------------------------------------------------------------------------- */

/* What the cache may take of a budget when the others have `others`: the rest, and at least a sixteenth. Example:
 * 32 MiB, others 12: 20 MiB; others 40: 2 MiB. */
uint64_t budget_cache_bytes(uint64_t bytes, uint64_t others);
/* Bytes of a memtable, where none are given: a sixteenth of the budget, between 64 KiB and 64 MiB. There are up to
 * three of them, and each may take nearly twice as much as its entries, so memtables take three eighths at most.
 * Example: 32 MiB: 2 MiB; 1 GiB and more: 64 MiB. */
uint64_t budget_buffer_bytes(uint64_t bytes);
/* Entries at which a compaction begins the next run, for what building a filter and models of one takes: 64 bytes each
 * at the peak, and an eighth of the budget in all; UINT64_MAX where there is no budget. Example: 32 MiB: 65,536. */
uint64_t budget_run_entries(uint64_t bytes);

#endif
