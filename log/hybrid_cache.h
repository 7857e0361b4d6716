/* The cache of records that are on disk only. A record never changes at its address, and no address is used twice while
 * a store is open, so nothing in it is ever wrong.
 *
 * Sets of four places, chosen by the address. A place is the address in memory of a record, whose lowest bits, zeros
 * there, are a tag of the record's own: so of the four hardly ever another one is looked at than the one that is asked
 * for. A record that was asked for again since it came gets a second chance. */
#ifndef LOG_HYBRID_CACHE_H
#define LOG_HYBRID_CACHE_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/epoch.h"
#include "base/sync.h"
#include "log/hybrid_record.h"

enum { CACHE_WAYS = 4, CACHE_TAG_BITS = 4 };

struct cached_record {
    struct epoch_node node;
    uint64_t address;
    uint32_t size;
    atomic_bool asked_for;
    _Alignas(8) uint8_t bytes[]; /* a struct hybrid_record */
};

struct hybrid_cache {
    _Atomic uintptr_t *places; /* NULL: there is no cache. Of it, 0: nothing is there */
    uint64_t sets;             /* a power of two */
    struct epoch *epoch;
    _Atomic uint64_t bytes, limit; /* what it holds; what it may hold */
    mutex lock;                    /* of whoever puts in or takes out */
    uint64_t hand;                 /* where taking out goes on */
};

/* `bytes_most`: what the limit will ever be. PLSM_NO_MEMORY. */
plsm_status record_cache_create(struct hybrid_cache *cache, struct epoch *epoch, uint64_t bytes_most);
void record_cache_destroy(struct hybrid_cache *cache); /* nobody may be reading; accepts a zeroed one */

/* Inside an epoch: the record at an address, valid until its end; NULL: not here. */
const struct hybrid_record *record_cache_find(struct hybrid_cache *cache, uint64_t address);
/* Memory for a record of `size` bytes, to be filled by the caller; NULL: none. */
struct cached_record *cached_record_create(uint64_t address, uint64_t size);
/* Takes it over. Inside an epoch: it stays valid until the end of that, also where it found no place. */
void record_cache_insert(struct hybrid_cache *cache, struct cached_record *record);
/* Takes out what is above the limit. */
void record_cache_set_limit(struct hybrid_cache *cache, uint64_t limit);

#endif
