/* The stores of a comparison: one per layout on disk, opened once per mode. */
#ifndef TOOLS_BENCH_STORES_H
#define TOOLS_BENCH_STORES_H

#include <limits.h>

#include "tools/bench/compare.h"
#include "tools/bench/stats.h"

struct stores {
    const struct compare_plan *plan;
    const struct data *data;
    const char *directory;
    uint64_t entry_bytes;        /* of a key and its value, about */
    plsm *db[COMPARE_MODES_MAX]; /* NULL: not open */
    plsm *guide;                 /* tells keys in their order; has no cache, nothing is measured through it */
    uint32_t *young;             /* indexes of the keys that were written last; may repeat */
    uint64_t young_count, young_capacity;
};

/* Where keys live: of each level some, by index. */
struct level_keys {
    uint32_t *list[STATS_LEVELS_MAX];
    uint64_t count[STATS_LEVELS_MAX];
};
enum { LEVEL_KEYS_MAX = 1 << 16, LEVEL_KEYS_LEAST = 64 }; /* of a level; with fewer than the least it is left out */

void stores_init(struct stores *stores, const struct compare_plan *plan, const struct data *data,
                 const char *directory);
/* Closes everything and frees; accepts a zeroed struct. Files stay. */
void stores_free(struct stores *stores);

/* The mode (its number in the plan) that wrote the store that `mode` reads: traditional reads what learned wrote. */
uint32_t stores_owner(const struct compare_plan *plan, uint32_t mode);
/* Opens one in DIRECTORY/NAME-MODE. Write buffer and files are scaled to the data, so that few keys make as many levels
 * as many keys do with the store's defaults; options of the user come behind that, `forced` (may be NULL) last. */
plsm_status stores_open_one(const struct stores *stores, const char *name, uint32_t mode, plsm_open_flags flags,
                            const char *forced, plsm **out);
/* Bytes of a store's write buffer by default. */
uint64_t stores_buffer_bytes(const struct stores *stores);

/* Writes all keys in random order into each store, in one thread, so that its form does not depend on chance; then some
 * of them again, so that level 0 has files. */
plsm_status stores_load(struct stores *stores);
/* Opens all modes read-only, and the guide; `forced` as above. */
plsm_status stores_open(struct stores *stores, const char *forced);
void stores_close(struct stores *stores);
void stores_remove(struct stores *stores); /* closes, and removes the files */

/* Finds keys of each level by asking for them and looking which level's count went up; where stores differ, only keys
 * that live on the same level of all are taken. Free with level_keys_free, also after a failure. */
plsm_status stores_classify(const struct stores *stores, struct level_keys *out);
void level_keys_free(struct level_keys *keys);

/* Writes keys in version 0 in batches: the one at place i of index_of(arg, i), for i in [first, first + count). */
plsm_status stores_write(const struct stores *stores, plsm *db, uint64_t (*index_of)(const void *arg, uint64_t i),
                         const void *arg, uint64_t first, uint64_t count);

#endif
