/* A run: one immutable sorted file, and what is kept in memory to read it. */
#ifndef LSM_RUN_H
#define LSM_RUN_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/env.h"
#include "base/sync.h"
#include "learn/fences.h"
#include "learn/membership.h"
#include "learn/model.h"
#include "lsm/budget.h"
#include "lsm/cache.h"
#include "lsm/compression.h"
#include "lsm/counters.h"
#include "lsm/lsm.h"
#include "lsm/page.h"
#include "lsm/run_format.h"
#include "lsm/samples.h"
#include "lsm/simulated.h"
#include "lsm/unit.h"
#include "lsm/tombstones.h"
#include "lsm/young_runs.h"

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

/* The models that are in memory, of one group of levels: at most so many, the least recently used go. */
struct model_shelf {
    mutex lock;
    struct run_body **bodies; /* that have a model on the shelf */
    uint32_t count, most, hand;
    _Atomic bool full; /* from now on it matters which ones are used */
};

/* What all runs of a store share. */
struct run_context {
    struct env *env;
    const char *path; /* of the store */
    struct cache *cache;
    struct compression *compression;
    struct budget *budget; /* NULL: memory is not counted */
    struct epoch *epoch;
    struct counters *counters;
    enum lsm_index index;
    const struct lsm_options *options;
    struct samples *samples;  /* NULL: traditional mode */
    struct young_runs *young; /* NULL: each run is asked by itself */
    struct model_shelf shelves[LSM_GROUPS];
    bool verify_checksums;
    struct simulated *simulated; /* NULL: no I/O is simulated */
    /* A run (r) or value log (v) whose last reference went and that no version holds any more: its file may go. */
    void (*discard)(void *arg, char kind, uint64_t number);
    void *discard_arg;
};

/* What entries of a run point to in one value log: bytes of whole records. */
struct run_values {
    uint64_t log, bytes;
};

/* What the MANIFEST knows of a run. */
struct run_facts {
    uint64_t number, file_size;
    uint64_t salt; /* of the file: a file of another store, or of another run, is not taken for it */
    uint64_t entries, deletions, key_bytes, value_bytes, filter_keys, seq_max;
    uint64_t oldest_s; /* since 1970: when the oldest of its entries were flushed; 0: before this was kept */
    uint64_t expiring; /* puts among its entries that expire */
    uint64_t due_s;    /* since 1970: from when on about half of its entries have expired; 0: never (expiry.h) */
    uint32_t units;
    bool versions;
    uint64_t ranges; /* fragments of range tombstones (tombstones.h) */
    /* Keys; owned by the run, or by whoever passes the facts. They enclose its range tombstones too, so the run need
     * not have entries with these keys. `largest` may be the key at which a tombstone ends, which it does not cover. */
    plsm_slice smallest, largest;
    const struct run_values *values; /* by number of the value log; likewise */
    size_t values_count;
};

/* A model in use. Readers look at it inside an epoch bracket only: it may be replaced or taken off its shelf. */
struct run_model {
    struct epoch_node node;
    struct mem_account *account; /* it is charged to; as in all that follow */
    struct model *model;
    struct model_info info;
};

/* The traditional filter of a run in memory. */
struct run_filter {
    struct epoch_node node;
    struct mem_account *account;
    struct buf bytes;
    struct filter filter;
};

/* What tells whether a run may hold a key. */
struct run_membership {
    struct epoch_node node;
    struct mem_account *account;
    bool none; /* nothing does: the run has no filter */
    struct membership membership;
    struct buf bytes; /* empty where it is the traditional filter alone */
};

/* Why a run has no model at hand. */
enum model_state {
    MODEL_UNWANTED, /* traditional mode, or switched off for its levels */
    MODEL_MISSING,  /* there should be one; it was not trained, is damaged, or of an unknown version: a fallback */
    MODEL_THERE,    /* in the file, perhaps not in memory */
};

/* What traditional mode keeps in memory of a run, for simulated I/O alone: not counted as memory of this mode. */
struct run_traditional {
    const struct fences *fences;
    const struct filter *filter; /* NULL: the run has none */
    uint64_t bytes;              /* of both in memory */
    struct fences *own_fences;   /* where the body does not have them: these */
    struct buf own_filter_bytes;
    struct filter own_filter;
};

/* What is loaded at the first use. */
struct run_body {
    struct env_file *file;
    struct run_footer footer;
    struct run_extension extension; /* zeros in a run of version 1 */
    uint32_t *offsets;                         /* NULL: unit u starts at block u + 1 */
    uint8_t offset_shift;                      /* they are counted in 1 << that many bytes */
    bool compressed;                           /* units are packed (unit.h) */
    struct dictionary *dictionary;             /* that they are packed with; NULL: none */
    struct tombstones *ranges;                 /* NULL: none */
    cache_slot *slots;                         /* one per unit */
    struct page_shape shape;                   /* of units that are pages of one block */
    struct run_membership *_Atomic membership; /* NULL until needed */
    struct run_filter *_Atomic filter;         /* NULL until needed */
    struct run_model *_Atomic model;           /* NULL: see model_state */
    _Atomic uint8_t model_state;               /* enum model_state */
    _Atomic bool model_used;                   /* since the shelf was last looked through */
    struct fences *_Atomic fences;             /* NULL until needed where a model serves */
    struct run_traditional *_Atomic traditional; /* NULL until needed */
};

struct run {
    uint32_t magic;
    _Atomic uint32_t references;
    atomic_bool obsolete;  /* not in the newest version: the file goes with the last reference */
    _Atomic uint8_t level; /* in the newest version */
    uint8_t young_place;   /* in the table over young runs; under edit_lock, once the run is in a version */
    uint64_t young_need;   /* entries it takes there, as far as is known; UINT64_MAX: it does not belong; likewise */
    enum lsm_group group;  /* of the level it was written for, or found on */
    struct run_context *context;
    struct run_facts facts;
    uint64_t smallest_head, largest_head; /* key_head of the bounds */
    /* What stands for a 0 as sequence number of its entries: in a run of a bulk load the one of that load, until the
     * store is closed (snapshots of before do not outlive it); 0 in all others. Set before a version has the run. */
    uint64_t seq;
    struct run_body *_Atomic body;
    mutex loading;
    struct run_values values[]; /* of the facts; behind them the smallest and the largest key */
};

void run_context_destroy(struct run_context *context);

/* A run as the MANIFEST describes it, with one reference; nothing is read yet. NULL: no memory. */
struct run *run_create(struct run_context *context, const struct run_facts *facts);
void run_ref(struct run *run);
void run_unref(struct run *run); /* accepts NULL */
/* The run gives its place in the table over young runs back; versions that name it keep it alive. */
void run_leave_young(struct run *run);
/* Appends to a file of the store that is being written, counts that, and charges it where I/O is simulated. Errors as
 * env_append. */
plsm_status run_context_append(const struct run_context *context, struct env_file *file, const void *data, size_t size);
/* Writes the path of run `number` into `path`. */
void run_path(const struct run_context *context, uint64_t number, char *path, size_t size);
/* PLSM_VERSION, with a message that names the file, where the format of a run is not known. */
plsm_status run_check_version(uint32_t version, const char *path);
/* Loads what is needed to read. PLSM_CORRUPT, PLSM_VERSION, PLSM_IO, PLSM_NO_MEMORY. */
plsm_status run_open(struct run *run, struct run_body **out);
/* The traditional index, loaded when it is not there yet. */
plsm_status run_fences(struct run *run, struct run_body *body, struct fences **out);
/* Reads a whole block that the footer names; `place` is of the footer. PLSM_CORRUPT when its checksum is wrong, with
 * `name` in the message. */
plsm_status run_read_block(struct run_body *body, const struct run_block_place *place, const char *name,
                           struct buf *out);
/* Reads the traditional index anew; the caller closes it. */
plsm_status run_read_fences(const struct run *run, struct run_body *body, struct fences **out);

/* Bytes in memory of an open run's index: of its model, and of fences where they were needed. Inside an epoch
 * bracket. */
static inline uint64_t run_index_bytes(const struct run_body *body)
{
    const struct run_model *model = atomic_load_explicit(&body->model, memory_order_acquire);
    const struct fences *fences = atomic_load_explicit(&body->fences, memory_order_acquire);
    return (model ? model->info.memory_bytes : 0) + (fences ? fences_memory(fences) : 0);
}

/* The traditional index and filter, whatever this mode keeps in memory (run_traditional.c). Valid as long as the run.
 * PLSM_CORRUPT, PLSM_IO, PLSM_NO_MEMORY. */
plsm_status run_traditional(struct run *run, struct run_body *body, const struct run_traditional **out);
void run_traditional_free(struct run_traditional *t); /* accepts NULL */

static inline bool run_overlaps(const struct run *run, plsm_slice smallest, plsm_slice largest)
{
    return slice_compare(run->facts.smallest, largest) <= 0 && slice_compare(run->facts.largest, smallest) >= 0;
}

/* The keyspace of a run: all its keys begin with it. */
static inline uint8_t run_first_byte(const struct run *run)
{
    return *(const uint8_t *)run->facts.smallest.data;
}

/* Whether `run` is a part of the same sorted run as `before` (NULL: none). Both of level 0, of one first byte. */
static inline bool run_same_sorted(const struct run *before, const struct run *run)
{
    return before && before->facts.seq_max == run->facts.seq_max;
}

/* Whether `key` lies inside the bounds of a run; `head` is its key_head. */
static inline bool run_encloses(const struct run *run, plsm_slice key, uint64_t head)
{
    if (head > run->smallest_head && head < run->largest_head)
        return true;
    return slice_compare(run->facts.smallest, key) <= 0 && slice_compare(run->facts.largest, key) >= 0;
}

/* Whether all keys of a run are below `key`; `head` is its key_head. */
static inline bool run_ends_before(const struct run *run, plsm_slice key, uint64_t head)
{
    return run->largest_head < head || (run->largest_head == head && slice_compare(run->facts.largest, key) < 0);
}

/* Of runs in key order: the first that does not end before `key`; `count` when all do. */
static inline size_t runs_reaching(struct run *const *runs, size_t count, plsm_slice key, uint64_t head)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (run_ends_before(runs[middle], key, head))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* --- membership (run_membership.c) --- */

/* What tells whether a run may hold a key, loaded when it is not there yet; not with run->loading held. In traditional
 * mode that is the traditional filter; otherwise it serves where the run has nothing else, or what it has is damaged or
 * of a newer version. Valid until the end of the epoch bracket. */
plsm_status run_membership(struct run *run, struct run_body *body, struct run_membership **out);
/* The traditional filter, likewise; *out NULL: the run has none. */
plsm_status run_filter(struct run *run, struct run_body *body, const struct filter **out);
/* Nobody will ask them soon: gives their memory back. Not with locks held: what was retired before may be freed now. */
void run_membership_retire(struct run *run, struct run_body *body);
/* Frees them; nobody reads them any more. */
void run_membership_drop(struct run_body *body);
/* Bytes of memory that they take. Inside an epoch bracket. */
uint64_t run_membership_bytes(const struct run_body *body);

/* --- models (run_model.c) --- */

/* Loads the model that belongs to a run: from a file of its own beside it, or else from its block. A model that cannot
 * be used is no error: the traditional index serves. PLSM_NO_MEMORY, PLSM_IO. */
plsm_status run_model_load(struct run *run, struct run_body *body);
/* The model of a run, if it has one: put on the shelf again when it was taken off. Inside an epoch bracket. */
struct run_model *run_model_again(struct run *run, struct run_body *body);
static inline struct run_model *run_model(struct run *run, struct run_body *body)
{
    struct run_model *model = atomic_load_explicit(&body->model, memory_order_acquire);
    if (__builtin_expect(!model, 0))
        return atomic_load_explicit(&body->model_state, memory_order_relaxed) == MODEL_THERE
                   ? run_model_again(run, body)
                   : NULL;
    if (atomic_load_explicit(&run->context->shelves[run->group].full, memory_order_relaxed))
        atomic_store_explicit(&body->model_used, true, memory_order_relaxed);
    return model;
}
/* Puts a newly trained model (its LIDX block) in the place of what a run has; with `keep` it is also written into a
 * file of its own. PLSM_NO_MEMORY, PLSM_IO, PLSM_NO_SPACE. */
plsm_status run_model_replace(struct run *run, struct run_body *body, plsm_slice block, bool keep);
/* Where a run's model may be; the first that can be used serves. */
enum model_place { MODEL_BESIDE, MODEL_EMBEDDED, MODEL_PLACES };
/* Reads the LIDX block in one of these places. PLSM_NOT_FOUND: there is none; PLSM_CORRUPT, PLSM_VERSION (of the file
 * that it is in), PLSM_IO, PLSM_NO_MEMORY. */
plsm_status run_model_read(const struct run *run, struct run_body *body, enum model_place place, struct buf *out);
/* Whether a model may serve a run: one of another run would be wrong everywhere; one below the wished confidence, or
 * above its budget, would serve, but is not wanted. PLSM_CORRUPT with a message that says why not. */
plsm_status run_model_suits(const struct run *run, const struct model_info *info);
/* What a model of a run must keep to, whose fences would take `fences_bytes` of memory. */
struct model_wish run_model_wish(const struct run_context *context, enum lsm_group group, uint64_t fences_bytes);
/* Frees the model with the run. */
void run_model_drop(struct run *run, struct run_body *body);
/* The path of the file for the model of run `number`. */
void run_model_path(const struct run_context *context, uint64_t number, char *path, size_t size);
/* Writes that file, synced, under its name (the directory is the caller's to sync). */
plsm_status run_model_write(const struct run_context *context, uint64_t number, uint64_t salt, plsm_slice block);

/* --- pages (run.c; of compressed runs: run_unit.c) --- */

/* Where a unit starts in the file; its bytes there. */
static inline uint64_t run_unit_offset(const struct run_body *body, uint32_t unit)
{
    return body->offsets ? (uint64_t)body->offsets[unit] << body->offset_shift : ((uint64_t)unit + 1) * PAGE_SIZE;
}
static inline size_t run_unit_bytes(const struct run_body *body, uint32_t unit)
{
    return (size_t)(run_unit_offset(body, unit + 1) - run_unit_offset(body, unit));
}
/* Whether a unit surely holds a single entry and has a first block that can be read alone. Others are kept in the cache
 * (but packed ones that turn out to be split), and read together with others of a group. */
static inline bool run_unit_is_large(const struct run_body *body, uint32_t unit)
{
    return run_unit_bytes(body, unit) > (body->compressed ? UNIT_WHOLE_MAX : PAGE_SIZE);
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
plsm_status run_page_uncharged(struct run *run, struct run_body *body, uint32_t unit, bool head_only,
                               struct page_hold *hold);
/* What it comes to where the page is not in the cache and the run is compressed. */
plsm_status run_page_unpack(struct run *run, struct run_body *body, uint32_t unit, bool head_only,
                            struct page_hold *hold);
/* The same, as a point read of the mode the store is in: simulated I/O, where there is any, is charged for it. */
static inline plsm_status run_page(struct run *run, struct run_body *body, uint32_t unit, bool head_only,
                                   struct page_hold *hold)
{
    if (__builtin_expect(run->context->simulated != NULL, 0))
        simulated_page(run, body, unit, head_only);
    return run_page_uncharged(run, body, unit, head_only, hold);
}
/* The page of a unit of a compressed run whose bytes, as they stand in the file, were read to `stored`: in the cache,
 * or in *heap (to be freed with mem_free; NULL otherwise). Inside an epoch bracket. Errors as run_page_uncharged. */
plsm_status run_unit_take(struct run *run, struct run_body *body, uint32_t unit, struct codec_context *context,
                          const uint8_t *stored, const uint8_t **page, uint8_t **heap);
/* The same, not through the cache, into *memory of *capacity bytes, which grow as needed (mem_realloc). */
plsm_status run_unit_unpack(struct run *run, struct run_body *body, uint32_t unit, const uint8_t *stored,
                            uint8_t **memory, size_t *capacity);
void page_hold_free(struct page_hold *hold);
static inline void page_hold_release(struct page_hold *hold)
{
    if (hold->heap)
        page_hold_free(hold);
}

/* Copies a key of a page together, into LSM_KEY_MAX bytes; returns its slice. */
plsm_slice run_page_key(const uint8_t *page, unsigned slot, uint8_t *buffer);

/* Reads bytes of a run's file, counted. */
plsm_status run_read_counted(struct run *run, struct run_body *body, uint64_t offset, void *data, size_t size);
/* Where a page that failed its checks is told: always PLSM_CORRUPT. */
plsm_status run_page_corrupt(const struct run *run, uint32_t unit) __attribute__((cold));

/* --- lookups (run_lookup.c) --- */

/* What is asked of a run. */
struct run_question {
    plsm_slice key;
    uint64_t hash; /* key_hash of it */
    uint64_t seq;  /* the newest version at or below this is wanted */
    bool no_value;
    struct counter_stripe *counts; /* of the calling thread */
    uint64_t now_s; /* since 1970, once something was found that expires; 0: nobody asked for it yet */
    struct simulated_trace *trace; /* where a get leaves what it found, for simulated I/O; NULL */
};

/* One question to one run, in steps, so that other things can be done while cache lines come. All inside one epoch
 * bracket; the steps in this order. */
struct run_search {
    struct run *run;
    struct run_body *body;
    struct run_model *model;           /* NULL: read through fences */
    struct run_membership *membership; /* NULL: it is known already that the run may hold the key */
    struct partitioned_query query;    /* set where the membership is not a filter of keys */
    struct model_probe probe;
    const uint8_t *page; /* of `unit`, when somebody has read it already; NULL */
    uint32_t unit;
    uint32_t version_unit; /* afterwards, where the run has the key: where looking at its versions ended; else 0 */
    bool learned, begun;
};

/* Readies a search. With `asked` the run's membership is not asked any more: something else said maybe. False: what is
 * needed is not loaded yet (run_search_load does that). */
static inline bool run_search_init(struct run_search *s, struct run *run, bool asked)
{
    struct run_body *body = atomic_load_explicit(&run->body, memory_order_acquire);
    s->run = run;
    s->body = body;
    s->page = NULL;
    s->version_unit = 0;
    s->begun = false;
    if (__builtin_expect(!body, 0))
        return false;
    s->model = run_model(run, body);
    s->membership = asked ? NULL : atomic_load_explicit(&body->membership, memory_order_acquire);
    return asked || s->membership;
}
plsm_status run_search_load(struct run_search *s, bool asked);
/* Asks the model, and fetches what the next steps will read. Not needed, but it should be early. */
void run_search_begin(struct run_search *s, const struct run_question *q);
/* Fetches what the filter will read; asks it. False: the run does not have the key. */
void run_search_prefetch_filter(struct run_search *s, const struct run_question *q);
bool run_search_may_contain(struct run_search *s, const struct run_question *q);
/* Settles which page to look at, and fetches its place in the cache. */
plsm_status run_search_locate(struct run_search *s, const struct run_question *q);
/* Fetches the front of that page from memory; false when it is not in the cache (or a large unit): it will be read from
 * the file. */
bool run_search_fetch_page(const struct run_search *s);
/* The same, and the lines in which the entry most likely is: it need not be waited for after the front then. For a
 * lookup that is alone; in a group of them run_search_fetch_entry fetches less. */
bool run_search_fetch_likely(const struct run_search *s, const struct run_question *q);
/* Fetches the entry that the fingerprints of that page point to, when the page is in memory. */
void run_search_fetch_entry(const struct run_search *s, const struct run_question *q);
/* Fetches what an ordered search of that page compares with, when the page is in memory. */
void run_search_fetch_ordered(const struct run_search *s);
/* Looks there: PLSM_NOT_FOUND when the run does not have the key (or no version of it at or below q->seq). On PLSM_OK
 * the entry's meta and value are in hold->page (its key without the page's prefix). */
plsm_status run_search_find(struct run_search *s, const struct run_question *q, struct page_hold *hold,
                            struct entry *entry);

/* Whether a key of this run may begin with `prefix`, which ends in '/'; `hash` is its key_hash. False is certain. */
plsm_status run_may_have_directory(struct run *run, plsm_slice prefix, uint64_t hash, bool *out);

/* The first place (unit, slot) whose key is >= key, behind the last entry: unit == facts.units. hold->page is the page
 * of that unit when it is inside. Inside an epoch bracket. */
plsm_status run_seek(struct run *run, struct run_body *body, plsm_slice key, struct page_hold *hold, uint32_t *unit,
                     unsigned *slot);

#endif
