/* Writing: single keys, batches, and the retirement of large values.
 *
 * What the look costs. A put or delete of a key that holds a reference must retire the extents, so it must know. While
 * the store holds no large value (db->references is false) nothing is looked at: the batch goes straight to the engine,
 * which may commit it in a group. Afterwards each changed key of the names costs one get without its value, under the
 * engine's write serialisation: about 0.1 us for absent keys (filters) and 0.6 us for present ones, beside 1.3 us of a
 * put (0.8 M keys, all cached). `store.lookups_before_write` in `.stats` counts them. A deletion of a range walks over
 * the names in it then.
 *
 * A write that must look is a group of its own in the engine. So that durable ones still share a sync, they are written
 * without one and then wait for a sync, which the engine does for all that wait at that time.
 *
 * The switch. store_expect_references sets the flag, starts an epoch of blind_writes and waits until every write that
 * is inside of an older one has returned. A write enters before it reads the flag, with a full barrier between, so
 * either it sees the flag set or it is waited for: no blind write can be ordered behind the first reference. Who finds
 * the flag set by another thread that still waits must wait, too. Entering writes nothing that threads share.
 *
 * One put or deletion of a small entry goes the shortest way: its batch is encoded on the stack, once, with room for
 * the engine to make a record of its log around it, and is told to the engine beside its encoding, which need not read
 * it then. */
#include "base/alloc.h"
#include "store/batch.h"
#include "store/edit.h"
#include "store/expiry.h"
#include "store/extents.h"
#include "store/internal.h"
#include "store/resolve.h"

#include "base/banned.h"

enum {
    SPARE_MAX = 256 << 10, /* a larger batch is not kept for reuse */
    DRAIN_STEP_NS = 20000,
};

plsm_status refuse_updating(const plsm *db)
{
    INVARIANT(db->magic == STORE_MAGIC);
    for (const struct updating *at = store_updating; __builtin_expect(at != NULL, 0); at = at->outer)
        if (at->db == db)
            return fail(PLSM_INVALID,
                        "the function of a plsm_update may read the store that it is called for, but not write");
    return PLSM_OK;
}

plsm_status refuse_writes(plsm *db)
{
    TRY(refuse_updating(db));
    return db->read_only ? fail(PLSM_READ_ONLY, "the store was opened read-only") : PLSM_OK;
}

bool store_write_begin(plsm *db)
{
    epoch_enter(db->blind_writes);
    bool look = atomic_load(&db->references);
    if (look)
        epoch_exit(db->blind_writes);
    return look;
}

void store_write_end(plsm *db, bool look)
{
    if (!look)
        epoch_exit(db->blind_writes);
}

void store_expect_references(plsm *db)
{
    if (atomic_load_explicit(&db->references_awaited, memory_order_acquire))
        return;
    atomic_store(&db->references, true);
    uint64_t epoch = epoch_advance(db->blind_writes);
    while (!epoch_quiescent(db->blind_writes, epoch))
        env_sleep_ns(db->env, DRAIN_STEP_NS);
    atomic_store_explicit(&db->references_awaited, true, memory_order_release);
}

static void retired_free(struct retired *retired)
{
    mem_free(retired->items);
    *retired = (struct retired){0};
}

plsm_status retire_in_batch(const struct reference *reference, struct batch *out, struct retired *retired)
{
    if (retired->count == retired->capacity) {
        size_t capacity = retired->capacity ? 2 * retired->capacity : 4;
        struct reference *items = mem_realloc(retired->items, capacity * sizeof *items);
        if (!items)
            return fail(PLSM_NO_MEMORY, "no memory to replace %zu large values", capacity);
        retired->items = items;
        retired->capacity = capacity;
    }
    TRY(extents_add_orphan(out, reference));
    retired->items[retired->count++] = *reference;
    return PLSM_OK;
}

void retire_finish(plsm *db, struct retired *retired)
{
    for (size_t i = 0; i < retired->count; i++)
        if (owners_retire(&db->owners, &retired->items[i]))
            extents_retire(db, &retired->items[i]);
    retired_free(retired);
}

/* What is known of references and shared values (`special`) is followed by writes that survive, such as the deletion of
 * extents: it must not be lost in front of them. */
static plsm_durability durability_of(plsm_durability durability, bool special)
{
    return durability == PLSM_VOLATILE && special ? PLSM_NONE : durability;
}

plsm_status store_write_prepared(plsm *db, const struct batch *changes, engine_prepare *prepare, void *arg,
                                 struct resolve *resolve, bool special, plsm_durability durability)
{
    bool sync = durability == PLSM_SYNC;
    durability = sync ? PLSM_NONE : durability_of(durability, special);
    plsm_status status = db->engine->write(db->tree, changes, prepare, arg, durability);
    if (status == PLSM_OK) {
        status = sync ? db->engine->sync(db->tree) : PLSM_OK;
        retire_finish(db, &resolve->retired);
    }
    resolve_free(resolve);
    return status;
}

/* Between store_write_begin, which has returned `look`, and store_write_end. */
static plsm_status write_begun(plsm *db, const plsm_batch *batch, bool look, plsm_durability durability)
{
    bool special = look || batch_special_count(batch) > 0;
    if (!resolve_is_needed(batch, look))
        return db->engine->write(db->tree, &batch->changes, NULL, NULL, durability_of(durability, special));
    struct resolve resolve = {.db = db, .in = batch, .look = look};
    return store_write_prepared(db, &batch->changes, resolve_prepare, &resolve, &resolve, special, durability);
}

plsm_status store_write(plsm *db, const plsm_batch *batch, plsm_durability durability)
{
    if (batch->links)
        store_expect_references(db);
    expiry_reap_due(db);
    bool look = store_write_begin(db);
    plsm_status status = write_begun(db, batch, look, durability);
    store_write_end(db, look);
    return status;
}

plsm_status plsm_write(plsm *db, const plsm_batch *batch, plsm_durability durability)
{
    TRY(refuse_writes(db));
    TRY(durability_check(durability));
    INVARIANT(batch->magic == BATCH_MAGIC);
    if (plsm_batch_count(batch) == 0 && batch_condition_count(batch) == 0)
        return durability == PLSM_SYNC ? plsm_sync(db) : PLSM_OK;
    if (db->options.ttl == 0 || !batch->names)
        return store_write(db, batch, durability);
    plsm_batch timed = *batch; /* shares all but the changes */
    timed.changes = (struct batch){0};
    plsm_status status = expiry_default(db, &batch->changes, &timed.changes);
    if (status == PLSM_OK)
        status = store_write(db, &timed, durability);
    batch_free(&timed.changes);
    return status;
}

/* One change of the names that must look at what it replaces. */
static __attribute__((noinline)) plsm_status write_looking(plsm *db, const struct batch *changes,
                                                           plsm_durability durability)
{
    plsm_batch batch = {.magic = BATCH_MAGIC, .changes = *changes, .names = true};
    return write_begun(db, &batch, true, durability);
}

/* Writes one change of the names that fits into SMALL_BYTES: threads share nothing here. The slices of *change do not
 * stay as they are. */
static inline __attribute__((always_inline)) plsm_status write_small(plsm *db, struct batch_change *change,
                                                                     plsm_durability durability)
{
    struct small_batch small;
    small_batch_make(&small, change);
    expiry_reap_due(db);
    bool look = store_write_begin(db);
    plsm_status status = PLSM_OK;
    if (__builtin_expect(look, 0))
        status = write_looking(db, &small.batch, durability);
    else if (db->engine->write_one)
        status = db->engine->write_one(db->tree, &small.batch, change, durability);
    else
        status = db->engine->write(db->tree, &small.batch, NULL, NULL, durability);
    store_write_end(db, look);
    return status;
}

/* The same of one that does not. */
static __attribute__((noinline)) plsm_status write_not_small(plsm *db, const struct batch_change *change,
                                                             plsm_durability durability)
{
    plsm_batch batch = {.magic = BATCH_MAGIC, .names = true};
    struct batch *spare = atomic_exchange_explicit(&db->spare, NULL, memory_order_acquire);
    if (spare)
        batch.changes = *spare;
    plsm_status status =
        change->timed ? batch_add_timed(&batch.changes, change->kind, PLSM_NAMES, change->key, change->meta,
                                        change->value, change->expires_s)
                      : batch_add(&batch.changes, change->kind, PLSM_NAMES, change->key, change->meta, change->value);
    if (status == PLSM_OK)
        status = store_write(db, &batch, durability);
    batch_clear(&batch.changes);
    if (batch.changes.bytes.capacity > SPARE_MAX)
        batch_free(&batch.changes);
    if (spare) {
        *spare = batch.changes;
        atomic_store_explicit(&db->spare, spare, memory_order_release);
    } else {
        batch_free(&batch.changes);
    }
    return status;
}

/* Writes one change of the names. */
static inline __attribute__((always_inline)) plsm_status write_one(plsm *db, struct batch_change *change,
                                                                   plsm_durability durability)
{
    return small_batch_fits(change) ? write_small(db, change, durability) : write_not_small(db, change, durability);
}

plsm_status store_put(plsm *db, plsm_slice key, plsm_slice meta, plsm_slice value, struct lifetime lifetime,
                      plsm_durability durability)
{
    struct batch_change change = {.kind = BATCH_PUT,
                                  .timed = lifetime.timed,
                                  .expires_s = lifetime.expires_s,
                                  .key = key,
                                  .meta = meta,
                                  .value = value};
    return write_one(db, &change, durability);
}

/* A single write may go on: as refuse_writes, durability_check and key_check say. */
static inline plsm_status check_single(plsm *db, plsm_slice key, plsm_durability durability)
{
    TRY(refuse_writes(db));
    TRY(durability_check(durability));
    return __builtin_expect(key.size - 1 < PLSM_KEY_MAX, 1) ? PLSM_OK : key_check(PLSM_NAMES, key);
}

/* A value that does not fit into the tree as one entry. */
static plsm_status put_large(plsm *db, plsm_slice key, plsm_slice value, struct lifetime lifetime,
                             plsm_durability durability)
{
    plsm_edit *edit = NULL;
    TRY(plsm_edit_open(db, key, PLSM_EDIT_NEW, &edit));
    edit->lifetime = lifetime;
    plsm_status status = plsm_edit_write(edit, 0, value.data, value.size);
    if (status == PLSM_OK)
        status = plsm_edit_commit(edit, slice(NULL, 0), durability);
    plsm_edit_close(edit);
    return status;
}

static plsm_status put(plsm *db, plsm_slice key, plsm_slice value, struct lifetime lifetime, plsm_durability durability)
{
    if (value.size > PLSM_INLINE_MAX)
        return put_large(db, key, value, lifetime, durability);
    return store_put(db, key, slice(NULL, 0), value, lifetime, durability);
}

plsm_status plsm_put(plsm *db, plsm_slice key, plsm_slice value, plsm_durability durability)
{
    TRY(check_single(db, key, durability));
    if (db->options.ttl != 0 || value.size > SMALL_BYTES)
        return put(db, key, value, store_lifetime(db, key), durability);
    struct batch_change change = {.kind = BATCH_PUT, .key = key, .value = value};
    return write_one(db, &change, durability);
}

plsm_status plsm_put_expiring(plsm *db, plsm_slice key, plsm_slice value, uint64_t expires_s,
                              plsm_durability durability)
{
    TRY(check_single(db, key, durability));
    return put(db, key, value, (struct lifetime){.timed = true, .expires_s = expires_s}, durability);
}

plsm_status plsm_delete(plsm *db, plsm_slice key, plsm_durability durability)
{
    TRY(check_single(db, key, durability));
    struct batch_change change = {.kind = BATCH_DELETE, .key = key};
    return write_one(db, &change, durability);
}

plsm_status plsm_delete_range(plsm *db, plsm_slice from, plsm_slice to, plsm_durability durability)
{
    plsm_batch batch = {.magic = BATCH_MAGIC};
    plsm_status status = plsm_batch_delete_range(&batch, PLSM_NAMES, from, to);
    if (status == PLSM_OK)
        status = plsm_write(db, &batch, durability);
    batch_free(&batch.changes);
    return status;
}
