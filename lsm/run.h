/* A run: one immutable sorted file, and what is kept in memory to read it. */
#ifndef LSM_RUN_H
#define LSM_RUN_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/env.h"
#include "base/sync.h"
#include "learn/fences.h"
#include "learn/filter.h"
#include "learn/model.h"
#include "lsm/cache.h"
#include "lsm/counters.h"
#include "lsm/lsm.h"
#include "lsm/run_format.h"

/* The first 8 bytes of a key as a number, zeros behind a shorter one: where two heads differ, their order is the
 * keys'. */
static inline uint64_t key_head(plsm_slice key)
{
    if (__builtin_expect(key.size >= 8, 1))
        return get_be64(key.data);
    uint8_t bytes[8] = {0};
    if (key.size)
        memcpy(bytes, key.data, key.size);
    return get_be64(bytes);
}

/* What all runs of a store share. */
struct run_context {
    struct env *env;
    const char *path; /* of the store */
    struct cache *cache;
    struct epoch *epoch;
    struct counters *counters;
    enum lsm_index index;
    bool verify_checksums;
    /* A run whose last reference went and that no version holds any more: its file may go. */
    void (*discard)(void *arg, uint64_t number);
    void *discard_arg;
};

/* What the MANIFEST knows of a run. */
struct run_facts {
    uint64_t number, file_size;
    uint64_t salt; /* of the file: a file of another store, or of another run, is not taken for it */
    uint64_t entries, deletions, key_bytes, value_bytes, filter_keys, seq_max;
    uint32_t units;
    bool versions;
    plsm_slice smallest, largest; /* keys; owned by the run, or by whoever passes the facts */
};

/* What is loaded at the first use. */
struct run_body {
    struct env_file *file;
    struct run_footer footer;
    uint32_t *offsets;      /* NULL: unit u starts at block u + 1 */
    cache_slot *slots;      /* one per unit */
    struct buf filter_bytes;
    struct filter filter;
    bool has_filter;
    struct model *model;    /* NULL: read through fences */
    struct model_info model_info;
    bool model_failed;      /* there should be one, but it is missing, damaged or of an unknown version */
    struct fences *_Atomic fences; /* NULL until needed where a model serves */
};

struct run {
    uint32_t magic;
    _Atomic uint32_t references;
    atomic_bool obsolete;   /* not in the newest version: the file goes with the last reference */
    const struct run_context *context;
    struct run_facts facts;
    uint64_t smallest_head, largest_head; /* key_head of the bounds */
    struct run_body *_Atomic body;
    mutex loading;
    uint8_t bounds[];       /* smallest and largest key */
};

/* A run as the MANIFEST describes it, with one reference; nothing is read yet. NULL: no memory. */
struct run *run_create(const struct run_context *context, const struct run_facts *facts);
void run_ref(struct run *run);
void run_unref(struct run *run); /* accepts NULL */
/* Writes the path of run `number` into `path`. */
void run_path(const struct run_context *context, uint64_t number, char *path, size_t size);
/* Loads what is needed to read. PLSM_CORRUPT, PLSM_VERSION, PLSM_IO, PLSM_NO_MEMORY. */
plsm_status run_open(struct run *run, struct run_body **out);
/* The traditional index, loaded when it is not there yet. */
plsm_status run_fences(struct run *run, struct run_body *body, struct fences **out);

static inline bool run_overlaps(const struct run *run, plsm_slice smallest, plsm_slice largest)
{
    return slice_compare(run->facts.smallest, largest) <= 0 && slice_compare(run->facts.largest, smallest) >= 0;
}

/* Whether `key` lies inside the bounds of a run; `head` is its key_head. */
static inline bool run_encloses(const struct run *run, plsm_slice key, uint64_t head)
{
    if (head > run->smallest_head && head < run->largest_head)
        return true;
    return slice_compare(run->facts.smallest, key) <= 0 && slice_compare(run->facts.largest, key) >= 0;
}

/* Of runs in key order: the first that does not end before `key`; `count` when all do. */
static inline size_t runs_reaching(struct run *const *runs, size_t count, plsm_slice key, uint64_t head)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct run *run = runs[middle];
        if (run->largest_head < head || (run->largest_head == head && slice_compare(run->facts.largest, key) < 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* --- pages --- */

static inline uint64_t run_unit_block(const struct run_body *body, uint32_t unit)
{
    return body->offsets ? body->offsets[unit] : (uint64_t)unit + 1;
}
static inline size_t run_unit_bytes(const struct run_body *body, uint32_t unit)
{
    return (size_t)(run_unit_block(body, unit + 1) - run_unit_block(body, unit)) * PAGE_SIZE;
}

/* A page in use: in the cache (then valid until the epoch bracket ends) or in memory of its own. Not zeroed on purpose:
 * set `heap` to NULL before the first use. */
struct page_hold {
    const uint8_t *page;
    uint8_t *heap;
    uint8_t own[PAGE_SIZE];
};
/* Makes hold->page the page of a unit, verified. With `head_only` a unit of several blocks may be there with its first
 * block only (sizes, key and meta are right, the value is not there). Inside an epoch bracket. */
plsm_status run_page(struct run *run, struct run_body *body, uint32_t unit, bool head_only, struct page_hold *hold);
void page_hold_free(struct page_hold *hold);
static inline void page_hold_release(struct page_hold *hold)
{
    if (hold->heap)
        page_hold_free(hold);
}

/* Where a page that failed its checks is told: always PLSM_CORRUPT. */
plsm_status run_page_corrupt(const struct run *run, uint32_t unit) __attribute__((cold));

/* --- lookups --- */

/* The newest version of `key` with seq <= `seq` in this run: PLSM_NOT_FOUND when there is none here. On PLSM_OK the
 * entry's meta and value are in hold->page (its key without the page's prefix). The filter is asked first. Inside an
 * epoch bracket. *probed tells whether the index was asked (the filter said maybe). */
plsm_status run_get(struct run *run, plsm_slice key, uint64_t hash, uint64_t seq, bool no_value, struct page_hold *hold,
                    struct entry *entry, bool *probed);

/* Whether a key of this run may begin with `prefix`, which ends in '/'; `hash` is its key_hash. False is certain. */
plsm_status run_may_have_directory(struct run *run, uint64_t hash, bool *out);

/* The first place (unit, slot) whose key is >= key, behind the last entry: unit == facts.units. hold->page is the page
 * of that unit when it is inside. Inside an epoch bracket. */
plsm_status run_seek(struct run *run, struct run_body *body, plsm_slice key, struct page_hold *hold, uint32_t *unit,
                     unsigned *slot);

#endif
