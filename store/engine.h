/* What an engine offers to the store: a table of functions over whole internal keys (the keyspace byte, then the user's
 * key). The rest of this room reaches the engine only through this table, so that another engine is another table.
 *
 * Semantics, unless said otherwise here, are those of the function of the same name in store/plsm.h. */
#ifndef STORE_ENGINE_H
#define STORE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/batch.h"
#include "base/env.h"
#include "store/plsm.h"

struct store_options;

/* A found entry; zero before the first use. The slices point into `memory`, which grows and is reused. */
struct engine_value {
    plsm_slice value, meta;
    uint64_t value_size; /* also when the value itself was not asked for */
    uint64_t expires_s;  /* since 1970; 0: never */
    enum batch_kind kind;
    void *memory;
    size_t capacity;
};

/* That an engine's own value is an engine_value under another name, so that what a lookup finds is written once. */
#define ENGINE_VALUE_MEMBER(type, member)                                                                              \
    _Static_assert(offsetof(struct engine_value, member) == offsetof(struct type, member), #member)
#define ENGINE_VALUE_IS(type)                                                                                          \
    ENGINE_VALUE_MEMBER(type, value);                                                                                  \
    ENGINE_VALUE_MEMBER(type, meta);                                                                                   \
    ENGINE_VALUE_MEMBER(type, value_size);                                                                             \
    ENGINE_VALUE_MEMBER(type, expires_s);                                                                              \
    ENGINE_VALUE_MEMBER(type, kind);                                                                                   \
    ENGINE_VALUE_MEMBER(type, memory);                                                                                 \
    ENGINE_VALUE_MEMBER(type, capacity);                                                                               \
    _Static_assert(sizeof(struct engine_value) == sizeof(struct type), "and nothing else")

struct engine_entry {
    plsm_slice key, meta, value; /* valid until the iterator moves */
    uint64_t expires_s;
    enum batch_kind kind;
};

struct engine_pin {
    plsm_slice value, meta;
    uint64_t expires_s;
    enum batch_kind kind;
    uint32_t held; /* the engine's own, with what follows; 0: nothing */
    uint32_t frame;
    void *holder;
};

struct engine_snapshot;
struct engine_iterator;

/* Up to this size of the key an entry's key, meta (255 bytes) and reference lie in the first 4 KiB of its page, which
 * is all that is read of a large page without values. */
enum { ENGINE_KEY_WHOLE = 3500 };

/* Makes the final batch of a write that depends on the present state: see lsm_prepare in lsm/lsm.h. It reads with the
 * engine's `get` and no snapshot. */
typedef plsm_status engine_prepare(void *arg, const struct batch **batch);

struct engine_bulk;

/* A file that a store is made of at one moment, for checkpoints. It does not change any more, and stays while the
 * engine tells of it. */
struct engine_file {
    const char *name;  /* in the directory of the store */
    const char *path;  /* where it is; NULL: `make` writes it */
    uint64_t size;     /* 0: not known beforehand */
    uint64_t identity; /* files of this name and identity serve alike; 0: not known */
    bool optional;     /* need not be there */
    /* Writes the file, under its name, into a directory, and syncs it. */
    plsm_status (*make)(const struct engine_file *file, const char *directory);
    void *arg; /* the engine's own */
};
typedef plsm_status engine_each_file(void *arg, const struct engine_file *file);

enum { ENGINE_MANY = 128 };

/* Which functions may be NULL, for what an engine has nothing like: retrain, checkpoint, spills_above, all of bulk_*,
 * tune, locate and find, simulated_device, all of inspect_*. The functions of plsm.h then return PLSM_UNSUPPORTED and
 * name the engine, or leave out what they would have told. All others must be there; flush and compact may have nothing
 * to do.
 *
 * For writing an engine holds byte ENGINE_LOCK_WRITER of the file LOCK in the directory of the store, exclusively. */
enum { ENGINE_LOCK_WRITER = 0 };

struct engine {
    const char *name; /* as the option `engine` has it */
    const char *mark; /* every store of this engine, and none of another, has a file of this name and a number behind */
    plsm_status (*open)(struct env *env, const char *path, plsm_open_flags flags, const struct store_options *options,
                        void **out);
    plsm_status (*close)(void *tree);
    bool (*is_read_only)(void *tree);

    /* `prepare` may be NULL; `batch` may be NULL when prepare supplies one. PLSM_VOLATILE is PLSM_NONE to an engine
     * that does not declare volatile_writes. */
    plsm_status (*write)(void *tree, const struct batch *batch, engine_prepare *prepare, void *arg,
                         plsm_durability durability);
    /* The same of a batch of one put, reference or deletion of a key, which *change tells, with slices into the batch.
     * NULL: write serves. */
    plsm_status (*write_one)(void *tree, const struct batch *batch, const struct batch_change *change,
                             plsm_durability durability);
    /* Batches of at least so many bytes go to files at once and take no memory in the engine, where values that stay in
     * its log do not count. NULL: none do. */
    uint64_t (*spills_above)(void *tree);
    plsm_status (*sync)(void *tree);
    plsm_status (*flush)(void *tree);
    plsm_status (*compact)(void *tree, plsm_slice from, plsm_slice to);
    plsm_status (*retrain)(void *tree, bool all, void (*progress)(void *arg, uint64_t done, uint64_t bytes), void *arg);

    /* Writes what is in memory to files, and calls `each` for all files that a directory needs to be this store as it
     * is then. Writers go on meanwhile. Returns the first error of `each`. */
    plsm_status (*checkpoint)(void *tree, engine_each_file *each, void *arg);

    /* Bulk loads: see lsm_bulk_* in lsm/lsm.h. NULL: this engine has none. Limits and keyspaces are checked. */
    plsm_status (*bulk_create)(void *tree, struct engine_bulk **out);
    plsm_status (*bulk_put)(struct engine_bulk *bulk, enum batch_kind kind, plsm_slice key, plsm_slice meta,
                            plsm_slice value, uint64_t expires_s);
    plsm_status (*bulk_add_file)(struct engine_bulk *bulk, const char *path,
                                 plsm_status (*allow)(void *arg, plsm_slice key, plsm_slice meta, plsm_slice value),
                                 void *arg);
    plsm_status (*bulk_finish)(struct engine_bulk *bulk, engine_prepare *prepare, void *arg);
    void (*bulk_destroy)(struct engine_bulk *bulk);
    /* plsm_tune of this engine; NULL: there is nothing to choose. */
    plsm_status (*tune)(const plsm_workload *workload, plsm_setting *settings, size_t *count);
    bool (*bulk_bounds)(const struct engine_bulk *bulk, plsm_slice *smallest, plsm_slice *largest);
    plsm_status (*bulk_contains)(struct engine_bulk *bulk, plsm_slice key, bool *out);

    /* References are returned also with `no_value`. */
    plsm_status (*get)(void *tree, const struct engine_snapshot *snapshot, plsm_slice key, bool no_value,
                       struct engine_value *out);
    /* The same, but an entry whose time has come is found, too. References whose time has come stay in the tree until
     * they are deleted; other entries may be gone. */
    plsm_status (*get_any)(void *tree, const struct engine_snapshot *snapshot, plsm_slice key, bool no_value,
                           struct engine_value *out);
    /* The entry where it stands, until unpin: as plsm_get_pinned. *out need not be set, and holds nothing after an
     * error. */
    plsm_status (*get_pinned)(void *tree, const struct engine_snapshot *snapshot, plsm_slice key,
                              struct engine_pin *out);
    void (*unpin)(void *tree, struct engine_pin *pin); /* only `held` to `holder` need be as they were */
    bool (*pin_lost)(const struct engine_pin *pin);    /* as plsm_pin_lost, likewise; NULL: never */
    /* Up to ENGINE_MANY keys at one moment; statuses as `get` would have returned them. Returns the first that is
     * neither PLSM_OK nor PLSM_NOT_FOUND. */
    plsm_status (*multi_get)(void *tree, const struct engine_snapshot *snapshot, const plsm_slice *keys, size_t count,
                             bool no_value, struct engine_value *outs, plsm_status *statuses);
    plsm_status (*has_prefix)(void *tree, const struct engine_snapshot *snapshot, plsm_slice prefix, bool *out);
    struct engine_snapshot *(*snapshot_create)(void *tree);
    void (*snapshot_destroy)(void *tree, struct engine_snapshot *snapshot);

    /* With `no_value` only the size of a value counts, its bytes need not be there: large ones are not read. References
     * are there when the key is not above ENGINE_KEY_WHOLE. */
    plsm_status (*iterator_create)(void *tree, const struct engine_snapshot *snapshot, plsm_slice from, plsm_slice to,
                                   bool no_value, struct engine_iterator **out);
    /* Before the first move: entries whose time has come are shown, too. */
    void (*iterator_show_expired)(struct engine_iterator *it);
    void (*iterator_destroy)(struct engine_iterator *it);
    /* Moves return whether the iterator then stands on an entry, and fill it in when it does: one call per step. */
    bool (*iterator_first)(struct engine_iterator *it, struct engine_entry *out);
    bool (*iterator_last)(struct engine_iterator *it, struct engine_entry *out);
    bool (*iterator_seek)(struct engine_iterator *it, plsm_slice key, struct engine_entry *out);
    bool (*iterator_seek_before)(struct engine_iterator *it, plsm_slice key, struct engine_entry *out);
    bool (*iterator_next)(struct engine_iterator *it, struct engine_entry *out);
    bool (*iterator_previous)(struct engine_iterator *it, struct engine_entry *out);
    plsm_status (*iterator_status)(const struct engine_iterator *it);
    /* The next entries at once, at most `most`: as many as are easily told, and are puts without meta that do not
     * expire. All of them are valid until the iterator moves; it stands on the last one. 0: it stands where it stood,
     * and iterator_next has to be called. After a move forward. NULL: the engine cannot. */
    size_t (*iterator_ahead)(struct engine_iterator *it, struct key_value *out, size_t most);
    /* So many of them were not looked at: they are not counted as steps. NULL as iterator_ahead. */
    void (*iterator_unused)(struct engine_iterator *it, size_t count);

    /* Both NULL: the engine has no levels. */
    plsm_status (*locate)(void *tree, plsm_slice key, unsigned level, bool page, plsm_place *out);
    plsm_status (*find)(void *tree, plsm_slice key, plsm_found *out); /* of a key that is there */
    plsm_status (*check)(void *tree, void (*report)(void *arg, const char *line),
                         void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg);
    void (*statistics)(void *tree,
                       void (*each)(void *arg, const char *name, bool is_real, uint64_t integer, double real),
                       void *arg);
    void (*statistics_reset)(void *tree);
    const char *(*simulated_device)(void *tree); /* a profile's name, "own", or "off"; static. NULL: none */

    /* What plsm_inspect_* call, with whole internal keys; NULL: there is nothing like it inside of this engine. */
    plsm_status (*inspect_runs)(void *tree, void (*each)(void *arg, const plsm_run_info *run), void *arg);
    void (*inspect_values)(void *tree, void (*each)(void *arg, const plsm_value_log_info *log), void *arg);
    plsm_status (*inspect_keys)(void *tree, uint64_t run, const plsm_inspect_options *options,
                                void (*each)(void *arg, const plsm_page_info *page), void *arg, plsm_keys_info *out);
    plsm_status (*inspect_levels)(void *tree, const plsm_inspect_options *options,
                                  void (*each)(void *arg, const plsm_level_info *level), void *arg,
                                  plsm_lookup_info *out);
    plsm_status (*inspect_profile)(void *tree, const plsm_inspect_options *options, plsm_profile *out);

    /* What it can do: see struct plsm_abilities. */
    bool ordered, snapshots, atomic_batches, volatile_writes, range_deletions;
};

extern const struct engine engine_lsm, engine_appendlog, engine_hybridlog;

/* The engine of the store in a directory, by its files; NULL: there is none. PLSM_NO_STORE: it is no directory,
 * but something else; PLSM_IO, PLSM_PERMISSION. */
plsm_status engine_of_store(struct env *env, const char *path, const struct engine **out);
/* PLSM_INVALID, with the names that there are. */
plsm_status engine_by_name(const char *name, const struct engine **out);
/* The engine that a directory is, or is to be, a store of: as its files tell; where there is no store yet, that of the
 * option `engine`, or the LSM tree. PLSM_INVALID: the option asks for another one than the store has; PLSM_IO. */
plsm_status engine_choose(struct env *env, const char *path, const struct store_options *options,
                          const struct engine **out);

#endif
