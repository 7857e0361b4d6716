/* Inside the store: its handle and what the files of this room share.
 *
 * Internal keys of the store start with a NUL byte, so that other rooms may keep keys of their own in that keyspace:
 *   "\0id"                            u64: no identifier from here on was ever given (ids.c)
 *   "\0edit" be64 id, be64 generation empty: an edit may have written pieces of that generation (extents.c)
 *   "\0orphan" be64 id                the reference whose pieces are being deleted (extents.c)
 *   "\0expire" be64 second, be64 id   the name of a large value that expires then (expiry.c) */
#ifndef STORE_INTERNAL_H
#define STORE_INTERNAL_H

#include <stdatomic.h>

#include "base/batch.h"
#include "base/env.h"
#include "base/epoch.h"
#include "base/error.h"
#include "store/engine.h"
#include "store/ids.h"
#include "store/options.h"
#include "store/owners.h"
#include "store/plsm.h"
#include "store/value.h"

#define STORE_MAGIC 0x73746f72u

enum { INTERNAL_PREFIX = 0 }; /* the first byte of the store's own keys in PLSM_INTERNAL */

/* Counters of this room, all relaxed: they are for `.stats` only. */
struct store_counters {
    _Atomic uint64_t commits, large_commits, extents_written, copies, retired, retire_failures, lookups_before_write;
    _Atomic uint64_t expired; /* large values */
    uint64_t recovered_edits, recovered_orphans; /* at open */
};

struct sharing;

struct plsm {
    uint32_t magic;
    bool read_only;
    const struct engine *engine;
    void *tree; /* the engine's own handle */
    struct env *env;
    struct store_options options;
    struct ids ids;
    struct owners owners;
    struct store_counters counters;

    /* Whether an entry of the names may be a reference. While it is false, nothing that a put or a delete replaces can
     * have extents, so they need not look. Once true it stays. See write.c. */
    _Atomic bool references;
    _Atomic bool references_awaited; /* `references` is true, and all writes that may not have seen that have ended */
    struct epoch *blind_writes; /* those that began while `references` was false are inside */
    _Atomic uint64_t patch_pages; /* kept by all edits: store/edit_patch.c */
    _Atomic uint64_t reclaimable; /* bytes of extents whose deletion was written since the last plsm_reclaim */
    /* A batch that plsm_put and plsm_delete reuse, so that they need not allocate one per call; NULL: in use. */
    struct batch *_Atomic spare;
    _Atomic uint64_t next_expiry_s; /* when a large value expires next; UINT64_MAX: none does (expiry.c) */
    atomic_bool reaping;
};

/* How long a put is to live. */
struct lifetime {
    bool timed;         /* false: nobody says, so for ever */
    uint64_t expires_s; /* since 1970; 0: for ever */
};

/* plsm_open on any environment: how tests put a crashing disk below a whole store. */
plsm_status plsm_open_env(struct env *env, const char *path, plsm_open_flags flags, const char *options, plsm **out);

/* A whole internal key. */
struct store_key {
    size_t size;
    uint8_t bytes[PLSM_KEY_MAX + 1];
};

static inline plsm_slice key_slice(const struct store_key *key)
{
    return (plsm_slice){key->bytes, key->size};
}

/* PLSM_INVALID: a caller's number that is none of the enum's. */
static inline plsm_status durability_check(plsm_durability durability)
{
    if (__builtin_expect((unsigned)durability <= PLSM_VOLATILE, 1))
        return PLSM_OK;
    return fail(PLSM_INVALID, "there is no durability %d", (int)durability);
}

/* PLSM_INVALID, PLSM_TOO_LARGE. */
plsm_status key_check(plsm_keyspace keyspace, plsm_slice key);
/* The same for a bound or a prefix, which may be empty. */
plsm_status bound_check(plsm_keyspace keyspace, plsm_slice bound);
/* The same for keys that the public door writes: PLSM_INVALID also for what belongs to the store itself. */
plsm_status key_check_public(plsm_keyspace keyspace, plsm_slice key);
/* Joins keyspace and key, which must have been checked (or be a bound of up to PLSM_KEY_MAX bytes). */
void key_join(struct store_key *out, plsm_keyspace keyspace, plsm_slice key);

static inline plsm_keyspace options_keyspace(const plsm_read_options *options)
{
    return options && options->keyspace ? options->keyspace : PLSM_NAMES;
}

static inline const struct engine_snapshot *options_snapshot(const plsm_read_options *options)
{
    return options ? (const struct engine_snapshot *)options->snapshot : NULL;
}

void engine_value_free(struct engine_value *value);

/* --- read.c ----------------------------------------------------------------------------------------------------- */

/* What the engine found, as callers see it; nothing where `status` is no PLSM_OK, which is returned. */
plsm_status hand_out(plsm_status status, const struct engine_value *value, const struct sharing *sharing,
                     plsm_value *out);

/* --- write.c ---------------------------------------------------------------------------------------------------- */

/* References whose extents are to be deleted after the write that removed them. */
struct retired {
    struct reference *items;
    size_t count, capacity;
};

/* Adds to `out` what makes a replaced entry's extents an orphan, and notes it in `retired`. Called under the engine's
 * write serialisation, in the batch that removes the last reference. */
plsm_status retire_in_batch(const struct reference *reference, struct batch *out, struct retired *retired);
/* Deletes them, or leaves them to the edit that has them open. After the write only. Frees the list. */
void retire_finish(plsm *db, struct retired *retired);

/* Brackets a write of names. Returns whether it must look at what it replaces. */
bool store_write_begin(plsm *db);
void store_write_end(plsm *db, bool look);
/* The engine's write with a `prepare`, between these two; a durable one syncs behind it (why: write.c). Retires what
 * `resolve` has, and frees it. `special`: references or shared values may be met. */
struct resolve;
plsm_status store_write_prepared(plsm *db, const struct batch *changes, engine_prepare *prepare, void *arg,
                                 struct resolve *resolve, bool special, plsm_durability durability);
/* Writes a batch, resolving what must be; retires what it replaces. */
plsm_status store_write(plsm *db, const plsm_batch *batch, plsm_durability durability);
/* Puts one key with a meta; the limits have been checked. */
plsm_status store_put(plsm *db, plsm_slice key, plsm_slice meta, plsm_slice value, struct lifetime lifetime,
                      plsm_durability durability);
/* By the option ttl, which is not 0; directories, which end in '/', live for ever (expiry.c). */
struct lifetime lifetime_by_ttl(const plsm *db, plsm_slice name);
/* How long a name that is put without saying it lives. */
static inline struct lifetime store_lifetime(const plsm *db, plsm_slice name)
{
    return __builtin_expect(db->options.ttl != 0, 0) ? lifetime_by_ttl(db, name) : (struct lifetime){0};
}
/* Called before the first reference is written: from here on all writers look at what they replace. */
void store_expect_references(plsm *db);

/* PLSM_INVALID inside of the function of a plsm_update of this store: for what would wait for that very write. */
plsm_status refuse_updating(const plsm *db);
/* The same; PLSM_READ_ONLY when it was opened with PLSM_READ. */
plsm_status refuse_writes(plsm *db);

/* A batch of one small change of the names that is encoded on the stack, with room for the engine to make a record of
 * its log around it. */
enum { SMALL_BYTES = 1 << 10 };
struct small_batch {
    struct batch batch;
    uint8_t room[BATCH_ROOM_BEFORE + SMALL_BYTES + BATCH_ROOM_BEHIND];
};
static inline bool small_batch_fits(const struct batch_change *change)
{
    return change->key.size + change->meta.size + change->value.size <= SMALL_BYTES - BATCH_CHANGE_BYTES;
}
/* The slices of *change then are those of the encoding. */
static inline __attribute__((always_inline)) void small_batch_make(struct small_batch *small,
                                                                   struct batch_change *change)
{
    small->batch = (struct batch){.bytes = {.data = small->room + BATCH_ROOM_BEFORE, .capacity = SMALL_BYTES},
                                  .count = 1,
                                  .value_max = change->value.size,
                                  .roomy = true};
    small->batch.bytes.size = batch_encode(small->batch.bytes.data, PLSM_NAMES, change);
}

/* --- update.c --------------------------------------------------------------------------------------------------- */

/* The stores in the functions of whose plsm_updates this thread is, the innermost first; NULL: in none. */
struct updating {
    const plsm *db;
    const struct updating *outer;
};
extern _Thread_local const struct updating *store_updating;

#endif
