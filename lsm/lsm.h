/* The LSM tree: the door of this room.
 *
 * Keys here are whole internal keys: the keyspace byte, then the user's key (2 to LSM_KEY_MAX bytes). The tree knows
 * nothing of what they mean, save that runs are cut where the first byte changes and that filters also hold the
 * directories of keys (every prefix that ends in '/').
 *
 * The way of a write: lsm_write (write.c) -> log record (reclog) -> memtable -> [full] flush.c -> a run in level 0 ->
 * compact.c -> deeper levels; a batch that a memtable would not hold goes into runs at once (spill.c). The way of a
 * read: lsm_get (read.c) -> memtables -> runs by level (run.c: filter, model or fences, page through cache.c). Which
 * runs and memtables exist is a view (db.h), replaced as a whole and published to readers without a lock. */
#ifndef LSM_LSM_H
#define LSM_LSM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/batch.h"
#include "base/codec.h"
#include "base/env.h"
#include "lsm/entry.h"
#include "lsm/inspect.h"
#include "lsm/simulate.h"

enum {
    LSM_KEY_MAX = 8193, /* with the keyspace byte */
    LSM_META_MAX = 255,
    LSM_VALUE_MAX = 1 << 20, /* of one entry of the tree */
    LSM_COMPACT_THREADS_MAX = 16,
    LSM_DIRECTORY_BYTE = 1,  /* keys that begin with it have directories in the filters (lsm_has_prefix) */
};
#define LSM_BATCH_BYTES_MAX (UINT64_C(512) << 20)

/* LSM_CLASSIC writes runs in a layout of their own (page_classic.h, plain fences, a Bloom filter), to compare with; in
 * every mode all runs are read, whatever wrote them. */
enum lsm_index { LSM_TRADITIONAL, LSM_LEARNED, LSM_CLASSIC };
enum lsm_model { LSM_MODEL_AUTO, LSM_MODEL_LINEAR, LSM_MODEL_PLR, LSM_MODEL_NEURAL, LSM_MODEL_TRIE, LSM_MODEL_NONE };

/* What tells whether a run may hold a key, in learned mode: whatever is cheapest; the same with smaller, slower
 * filters; the traditional filter alone; whatever is cheapest, with larger, faster filters (learn/blocked.h). */
enum lsm_filter { LSM_FILTER_AUTO, LSM_FILTER_SMALL, LSM_FILTER_FUSE, LSM_FILTER_BLOCKED };

/* How many sorted runs a level may hold before they are merged into the next (compact_tiers.h): one on each; T - 1 on
 * each, T being size_ratio; T - 1 on each and one on the last; whichever of these suits what is asked of the store
 * (follow.h). Any store opens with any of them. */
enum lsm_policy { LSM_POLICY_LEVELED, LSM_POLICY_TIERED, LSM_POLICY_LAZY, LSM_POLICY_AUTO };

/* Levels are told apart in groups: what is right for the few young runs need not be for the last level. */
enum lsm_group { LSM_GROUP_FIRST, LSM_GROUP_MIDDLE, LSM_GROUP_LAST, LSM_GROUPS };

/* How the runs of a group of levels are learned. */
struct lsm_group_options {
    enum lsm_model model;
    bool embed;            /* the model is a block of its run; otherwise a file of its own beside it */
    uint32_t cache;        /* so many models are kept in memory; 0: none, the traditional index serves */
    uint32_t confidence;   /* parts per million: a model with a lower accuracy on its pages is not used */
    uint64_t error_bytes;  /* how far the raw prediction, in front of its correction, may be off */
    bool update;           /* train runs as they are written; otherwise only retraining does */
    bool incremental;      /* the level's model follows each change of the level */
    uint32_t batch;        /* pages of a level that change before its model is renewed */
    bool batch_prediction; /* lsm_multi_get asks for many keys at a time */
    enum codec codec;      /* of the pages of runs written for these levels */
};

struct lsm_options {
    struct env *env;
    bool create, exclusive, read_only;
    enum lsm_index index;
    uint64_t buffer_size; /* bytes of a memtable before it is flushed; at least 64 KiB (or 0: see `memory`) */
    uint64_t spill_above; /* bytes of a batch that goes into runs at once; 0: by buffer_size (spill.h) */
    uint64_t cache_size;  /* bytes of the page cache; 0: none */
    uint64_t memory;      /* bytes for all that the tree keeps in memory (budget.h), of which the cache, up to
                             cache_size, has what the rest leaves; then buffer_size 0 is a share of it. 0: no budget */
    uint32_t size_ratio;  /* each level is that many times larger than the one above; 2 to 64 */
    uint64_t file_size;   /* where compaction cuts runs; at least 64 KiB */
    enum lsm_policy policy;
    uint32_t runs_per_level;  /* sorted runs on each level but the last; 0: as the policy says */
    uint32_t runs_last_level; /* and on the last one */
    uint32_t deletions_compact; /* percent of a run's entries that are deletions above which it is compacted; 0: off */
    uint64_t compact_age_s;     /* runs with older data are compacted down to the last level; 0: off */
    uint32_t compact_threads;   /* a large compaction is split into up to so many parts, 1 to LSM_COMPACT_THREADS_MAX */
    uint32_t l0_compact;  /* runs in level 0 that start a compaction */
    uint32_t l0_slowdown; /* from here on writers are paced */
    uint32_t l0_stop;     /* here they wait */
    uint32_t filter_bits; /* fingerprint bits of the last level's filters, 4 to 16; 0: no filters */
    enum lsm_filter filter;
    bool filter_young;         /* one table answers for all runs above the last level, where filters would */
    uint32_t base_fpr_ppm;  /* instead of filter_bits: false positives per million on the last level; 0: unset */
    uint32_t background;    /* 1: flush and compaction in threads of their own; 0: inside the writing call (tests) */
    bool log_mapped;        /* log records are stored to mapped memory where that is safe (ENV_LOG), not written */
    uint64_t separate_above;       /* values of at least so many bytes go into value logs; 0: none does */
    uint32_t separate_garbage_ppm; /* of a value log, in millionths: with more garbage what is left is written anew */
    uint64_t manifest_size; /* the MANIFEST is rewritten when it grows above; at least 4 KiB */
    struct lsm_group_options groups[LSM_GROUPS];
    uint32_t compression_page;       /* bytes of a page that is packed as one: a multiple of 4 KiB up to 32 KiB; larger
                                        ones, of runs written with other options, are read around the page cache */
    uint32_t compression_dictionary; /* bytes of a dictionary for zstd, at most; 0: none; 256 to 64 KiB */
    uint64_t model_run_bytes, model_level_bytes, model_store_bytes; /* budgets of metadata; what exceeds is not used */
    uint32_t train_every;    /* runs are trained at every so many-th flush or compaction, those left out then too */
    uint32_t validation_ppm; /* lookups per million that are done again the traditional way and compared */
    bool verify_checksums;   /* of pages when they are loaded (always on, save for measurements) */
    bool simulate;           /* charge what is read and written as if it were on the device of `simulation` */
    struct simulation_options simulation;
};
void lsm_options_default(struct lsm_options *options);

struct lsm;
struct lsm_snapshot;
struct lsm_iterator;

/* Opens the store in directory `path`. Errors as plsm_open in store/plsm.h. */
plsm_status lsm_open(const char *path, const struct lsm_options *options, struct lsm **out);
/* Syncs and closes; the handle is gone also on an error. Accepts NULL. */
plsm_status lsm_close(struct lsm *db);
bool lsm_is_read_only(struct lsm *db);

/* --- writing ---------------------------------------------------------------------------------------------------- */

/* Makes the final batch of a write whose content depends on the present state. Called when all earlier writes are
 * visible and no later one can come between; it reads with lsm_get(db, NULL, ...). It may point *batch elsewhere (the
 * memory must live until lsm_write returns). An error refuses the write: nothing is changed and lsm_write returns
 * it. */
typedef plsm_status lsm_prepare(void *arg, struct lsm *db, const struct batch **batch);

/* Applies a batch atomically. `prepare` may be NULL. With `sync` it and everything before it survives power loss; so
 * does one that is spilled (spill.c), which only the tree knows. */
plsm_status lsm_write(struct lsm *db, const struct batch *batch, lsm_prepare *prepare, void *arg, bool sync);
/* The same of a batch of one change, no deletion of a range, which *change tells, with slices into the batch. */
plsm_status lsm_write_one(struct lsm *db, const struct batch *batch, const struct batch_change *change, bool sync);
/* Batches of at least so many bytes, without values that stay in the log (kept.h), are spilled: they take no memory in
 * the tree. */
uint64_t lsm_spills_above(const struct lsm *db);
/* Makes everything acknowledged so far survive power loss. */
plsm_status lsm_sync(struct lsm *db);
/* Writes what is in memory to runs and waits. */
plsm_status lsm_flush(struct lsm *db);
/* A file of a checkpoint: see struct engine_file in store/engine.h, which it is for. */
struct lsm_file {
    const char *name, *path; /* path NULL: lsm_file_make writes it */
    uint64_t size, identity; /* 0: not known */
    bool optional;
    void *made_of;
};
/* Flushes, and calls `each` for all files of the tree as it is then: those of runs, their models beside them, value
 * logs, a MANIFEST, and an empty log. They stay while it is called, and writers go on. Returns the first error of
 * `each`, or those of lsm_flush. */
plsm_status lsm_checkpoint(struct lsm *db, plsm_status (*each)(void *arg, const struct lsm_file *file), void *arg);
/* Writes the file without a path into a directory and syncs it and its name. PLSM_NO_SPACE, PLSM_IO, PLSM_NO_MEMORY. */
plsm_status lsm_file_make(const struct lsm_file *file, const char *directory);

/* Compacts all that overlaps [from, to) (empty: open) down to the last level and waits. */
plsm_status lsm_compact(struct lsm *db, plsm_slice from, plsm_slice to);

/* Trains the runs that have no usable model, or all of them, and keeps the models in files beside them; makes the
 * models of the levels anew. `progress` (may be NULL) gets bytes of runs done, and in all. PLSM_READ_ONLY,
 * PLSM_NO_SPACE, PLSM_NO_MEMORY, PLSM_IO, PLSM_CORRUPT (of a page that was read). */
plsm_status lsm_retrain(struct lsm *db, bool all, void (*progress)(void *arg, uint64_t done, uint64_t bytes),
                        void *arg);

/* --- bulk loads (bulk.c) ---------------------------------------------------------------------------------------- */

/* Entries in key order go into runs at once, which come into the tree together. One thread at a time; destroy it before
 * the store is closed. PLSM_READ_ONLY, PLSM_NO_MEMORY. */
struct lsm_bulk;
plsm_status lsm_bulk_create(struct lsm *db, struct lsm_bulk **out);
/* Adds an entry, a BATCH_PUT or a BATCH_REFERENCE; its size must be within the limits. PLSM_INVALID: its key does not
 * come behind the one before it, and nothing is changed; after PLSM_IO, PLSM_NO_SPACE and PLSM_NO_MEMORY only destroy
 * is of use. */
plsm_status lsm_bulk_put(struct lsm_bulk *bulk, enum batch_kind kind, plsm_slice key, plsm_slice meta, plsm_slice value,
                         uint64_t expires_s);
/* Adds all of a file that holds a run of another store; it is copied and checked first. All its keys must come behind
 * those before. `allow` refuses entries that the caller would not have written, by whatever it returns. PLSM_NOT_FOUND:
 * there is no such file; PLSM_CORRUPT, PLSM_VERSION: it is no run, or a damaged or newer one; PLSM_INVALID: the order
 * is wrong, or it holds more than plain puts. After these, and what `allow` returns, the load is as it was; after the
 * errors of lsm_bulk_put it is not. */
typedef plsm_status lsm_bulk_allow(void *arg, plsm_slice key, plsm_slice meta, plsm_slice value);
plsm_status lsm_bulk_add_file(struct lsm_bulk *bulk, const char *path, lsm_bulk_allow *allow, void *arg);
/* Called when all earlier writes are visible and no later one can come between, as lsm_prepare: may add to the load
 * with lsm_bulk_put, and may give changes that become part of it, none of them of a key in it (the memory must live
 * until lsm_bulk_finish returns; other writers wait meanwhile). */
typedef plsm_status lsm_bulk_prepare(void *arg, const struct batch **also);
/* Makes all of it visible at once, newer than all that was written before, and durable with that. After an error none
 * of it is there, or (of a durable write that failed at the last) the next opening tells. `prepare` may be NULL. */
plsm_status lsm_bulk_finish(struct lsm_bulk *bulk, lsm_bulk_prepare *prepare, void *arg);
/* What was not finished is removed. Accepts NULL. */
void lsm_bulk_destroy(struct lsm_bulk *bulk);
/* For `prepare`: the smallest and the largest key, which live as long as the load (false: it is empty); whether a key
 * is in it. PLSM_CORRUPT, PLSM_IO, PLSM_NO_MEMORY. */
bool lsm_bulk_bounds(const struct lsm_bulk *bulk, plsm_slice *smallest, plsm_slice *largest);
plsm_status lsm_bulk_contains(struct lsm_bulk *bulk, plsm_slice key, bool *out);

/* --- reading ---------------------------------------------------------------------------------------------------- */

/* A found entry; zero before the first use. The bytes are copied into `memory`, which grows and is reused. */
struct lsm_value {
    plsm_slice value, meta; /* into memory; valid until the next use */
    uint64_t value_size;    /* also when the value itself was not asked for */
    uint64_t expires_s;     /* since 1970; 0: never */
    enum batch_kind kind;   /* BATCH_PUT or BATCH_REFERENCE */
    void *memory;
    size_t capacity;
};
void lsm_value_free(struct lsm_value *value);
/* PLSM_NOT_FOUND, or as plsm_get. `snapshot` may be NULL. With `no_value` a put's value is left empty (references are
 * always returned). */
plsm_status lsm_get(struct lsm *db, const struct lsm_snapshot *snapshot, plsm_slice key, bool no_value,
                    struct lsm_value *out);

/* The same, but an entry whose time has come is found, too: for who deletes such. */
plsm_status lsm_get_any(struct lsm *db, const struct lsm_snapshot *snapshot, plsm_slice key, bool no_value,
                        struct lsm_value *out);

/* A found entry where it stands: nothing is copied. */
struct lsm_pin {
    plsm_slice value, meta; /* valid until it is released */
    uint64_t expires_s;
    enum batch_kind kind;   /* BATCH_PUT or BATCH_REFERENCE */
    enum { LSM_PIN_NOTHING, LSM_PIN_MEMTABLE, LSM_PIN_FRAME, LSM_PIN_COPY } held;
    void *holder;   /* a memtable, or memory of the pin's own */
    uint32_t frame; /* of the cache */
};
/* As lsm_get, but what *out then shows stays as it is, whatever is written, until it is released; *out need not be set
 * before, and holds nothing after an error. In a memtable or a frame of the cache it is kept there; where the page is
 * in neither (it is large, or the cache has no room) the pin owns a copy. Not done again by validation_ppm. */
plsm_status lsm_get_pinned(struct lsm *db, const struct lsm_snapshot *snapshot, plsm_slice key, struct lsm_pin *out);
void lsm_pin_release(struct lsm *db, struct lsm_pin *pin); /* before the store is closed; again does nothing */
/* As lsm_get for `count` keys at one moment, many of them under way at once, so that waiting for memory and for the
 * disk overlaps: statuses[i] is what lsm_get would have returned for keys[i] and outs[i] its value. Returns PLSM_OK, or
 * the first status that is neither PLSM_OK nor PLSM_NOT_FOUND. */
plsm_status lsm_multi_get(struct lsm *db, const struct lsm_snapshot *snapshot, const plsm_slice *keys, size_t count,
                          bool no_value, struct lsm_value *outs, plsm_status *statuses);
/* Whether a key starts with `prefix` (which must hold at least the keyspace byte). Prefixes that end in '/' are looked
 * up in the filters first. */
plsm_status lsm_has_prefix(struct lsm *db, const struct lsm_snapshot *snapshot, plsm_slice prefix, bool *out);

struct lsm_snapshot *lsm_snapshot_create(struct lsm *db);                 /* NULL: no memory */
void lsm_snapshot_destroy(struct lsm *db, struct lsm_snapshot *snapshot); /* accepts NULL */

/* [from, to), empty: open; copied. Stands nowhere at first. Semantics as plsm_iterator_* in store/plsm.h. */
plsm_status lsm_iterator_create(struct lsm *db, const struct lsm_snapshot *snapshot, plsm_slice from, plsm_slice to,
                                struct lsm_iterator **out);
/* The same, but values of large entries need not be there (their sizes are): for listings. */
plsm_status lsm_iterator_create_no_value(struct lsm *db, const struct lsm_snapshot *snapshot, plsm_slice from,
                                         plsm_slice to, struct lsm_iterator **out);
/* Shows entries whose time has come, too; before the first move. */
void lsm_iterator_show_expired(struct lsm_iterator *it);
void lsm_iterator_destroy(struct lsm_iterator *it); /* accepts NULL */
void lsm_iterator_first(struct lsm_iterator *it);
void lsm_iterator_last(struct lsm_iterator *it);
void lsm_iterator_seek(struct lsm_iterator *it, plsm_slice key);
void lsm_iterator_seek_before(struct lsm_iterator *it, plsm_slice key);
const struct entry *lsm_iterator_next(struct lsm_iterator *it); /* its entry then; NULL: it is not valid */
/* The next entries at once, at most `most` and LSM_AHEAD_MAX: as many as can be told without reading a page, and are
 * puts without meta that do not expire. All of them are valid until the iterator moves; it stands on the last of them,
 * but lsm_iterator_entry must not be called before it has moved again. 0: it stands where it stood; what comes next is
 * for lsm_iterator_next to tell. After a move forward. */
enum { LSM_AHEAD_MAX = 32 };
size_t lsm_iterator_ahead(struct lsm_iterator *it, struct key_value *out, size_t most);
/* So many of them were not looked at: they do not count as steps. */
void lsm_iterator_unused(struct lsm_iterator *it, size_t count);
void lsm_iterator_previous(struct lsm_iterator *it);
bool lsm_iterator_valid(const struct lsm_iterator *it);
plsm_status lsm_iterator_status(const struct lsm_iterator *it);
/* The current entry (key, meta, value, kind: BATCH_PUT or BATCH_REFERENCE); valid until the iterator moves. */
const struct entry *lsm_iterator_entry(const struct lsm_iterator *it);

/* --- looking inside --------------------------------------------------------------------------------------------- */

/* Reads every run and checks everything that can be checked; see plsm_check. */
plsm_status lsm_check(struct lsm *db, void (*report)(void *arg, const char *line),
                      void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg);

/* Where a lookup of a key would look on a level. */
struct lsm_place {
    uint64_t run;  /* its number */
    uint32_t page; /* 0 when not asked for */
    bool learned;  /* the page is the answer of a model alone */
};
/* The run of a level that encloses `key` (on level 0 the newest of them), and with `page` the page of it that its index
 * names: filters are not asked, no page is read, nothing is counted. PLSM_NOT_FOUND: no run of the level encloses it.
 * PLSM_CORRUPT, PLSM_IO, PLSM_NO_MEMORY: the run could not be opened. */
plsm_status lsm_locate(struct lsm *db, plsm_slice key, unsigned level, bool page, struct lsm_place *out);

/* Where a key stands. */
struct lsm_found {
    bool in_memory;     /* in a memtable: the rest is 0 */
    unsigned level;
    uint64_t run;       /* its number */
    uint32_t page;      /* that holds the entry */
    uint32_t predicted; /* page that the index named */
    bool learned;       /* that was the answer of a model alone */
};
/* Finds the newest entry of a key as a lookup does, but counts nothing (simulated I/O is charged) and asks no table of
 * young runs. PLSM_NOT_FOUND: there is none, or it is a deletion (what a range deletion hides may be told as found: ask
 * for keys that are there). PLSM_CORRUPT, PLSM_IO, PLSM_NO_MEMORY. */
plsm_status lsm_find(struct lsm *db, plsm_slice key, struct lsm_found *out);

/* Calls `each` with every statistic of the tree: an integer, or a real when is_real. Names as blueprint section 7. */
void lsm_statistics(struct lsm *db,
                    void (*each)(void *arg, const char *name, bool is_real, uint64_t integer, double real), void *arg);
void lsm_statistics_reset(struct lsm *db);
/* The name of the device whose I/O is simulated: a profile's, "own", or "off". Static. */
const char *lsm_simulated_device(const struct lsm *db);

#endif
