/* Opening and closing a store, and what is passed on to its engine as it is. */
#include "base/alloc.h"
#include "base/bytes.h"
#include "store/expiry.h"
#include "store/extents.h"
#include "store/internal.h"

#include "base/banned.h"

plsm_status key_check(plsm_keyspace keyspace, plsm_slice key)
{
    if (keyspace < PLSM_NAMES || keyspace > PLSM_INTERNAL)
        return fail(PLSM_INVALID, "there is no keyspace %d", (int)keyspace);
    if (key.size == 0)
        return fail(PLSM_INVALID, "a key must have at least one byte");
    if (key.size > PLSM_KEY_MAX)
        return fail(PLSM_TOO_LARGE, "a key of %zu bytes: the limit is %u", key.size, PLSM_KEY_MAX);
    return PLSM_OK;
}

plsm_status bound_check(plsm_keyspace keyspace, plsm_slice bound)
{
    return key_check(keyspace, bound.size ? bound : slice("", 1));
}

plsm_status key_check_public(plsm_keyspace keyspace, plsm_slice key)
{
    TRY(key_check(keyspace, key));
    if (keyspace == PLSM_EXTENTS)
        return fail(PLSM_INVALID, "extents are written with plsm_edit_write only");
    if (keyspace == PLSM_INTERNAL && *(const uint8_t *)key.data == INTERNAL_PREFIX)
        return fail(PLSM_INVALID, "internal keys that start with a NUL byte belong to the store itself");
    return PLSM_OK;
}

void key_join(struct store_key *out, plsm_keyspace keyspace, plsm_slice key)
{
    INVARIANT(key.size <= PLSM_KEY_MAX);
    out->size = 1 + key.size;
    out->bytes[0] = (uint8_t)keyspace;
    copy_short(out->bytes + 1, key.data, key.size);
}

void engine_value_free(struct engine_value *value)
{
    mem_free(value->memory);
    *value = (struct engine_value){0};
}

/* Frees the handle; the engine must be closed. */
static void free_handle(plsm *db)
{
    struct batch *spare = atomic_load(&db->spare);
    if (spare)
        batch_free(spare);
    mem_free(spare);
    epoch_destroy(db->blind_writes);
    ids_destroy(&db->ids);
    owners_destroy(&db->owners);
    db->magic = 0;
    mem_free(db);
}

plsm_status plsm_open_env(struct env *env, const char *path, plsm_open_flags flags, const char *options, plsm **out)
{
    struct store_options parsed;
    TRY(store_options_parse(options, &parsed));
    if ((flags & PLSM_READ && flags & (PLSM_CREATE | PLSM_EXCLUSIVE)) ||
        (flags & PLSM_EXCLUSIVE && !(flags & PLSM_CREATE)))
        return fail(PLSM_INVALID, "%s: these ways to open exclude each other", path);
    const struct engine *engine = NULL;
    TRY(engine_choose(env, path, &parsed, &engine));
    plsm *db = mem_zalloc(sizeof *db);
    if (!db)
        return fail(PLSM_NO_MEMORY, "%s: no memory to open the store", path);
    db->magic = STORE_MAGIC;
    db->env = env;
    db->options = parsed;
    db->engine = engine;
    db->read_only = flags & PLSM_READ;
    ids_init(&db->ids);
    owners_init(&db->owners);
    struct batch *spare = mem_zalloc(sizeof *spare);
    atomic_init(&db->spare, spare);
    db->blind_writes = epoch_create();
    atomic_init(&db->next_expiry_s, UINT64_MAX);

    plsm_status status = spare && db->blind_writes ? db->engine->open(env, path, flags, &parsed, &db->tree)
                                                   : fail(PLSM_NO_MEMORY, "%s: no memory to open the store", path);
    if (status == PLSM_OK && !db->read_only) {
        status = extents_recover(db);
        if (status == PLSM_OK)
            status = expiry_recover(db);
        if (status)
            db->engine->close(db->tree);
    }
    if (status) {
        free_handle(db);
        return status;
    }
    *out = db;
    return PLSM_OK;
}

plsm_status plsm_open(const char *path, plsm_open_flags flags, const char *options, plsm **out)
{
    return plsm_open_env(env_posix(), path, flags, options, out);
}

void plsm_catch_lost_pages(void)
{
    env_posix_catch_lost_pages();
}

plsm_status plsm_close(plsm *db)
{
    if (!db)
        return PLSM_OK;
    INVARIANT(db->magic == STORE_MAGIC);
    if (!db->read_only)
        expiry_reap(db);
    plsm_status status = db->engine->close(db->tree);
    free_handle(db);
    return status;
}

void plsm_get_abilities(plsm *db, plsm_abilities *out)
{
    INVARIANT(db->magic == STORE_MAGIC);
    *out = (plsm_abilities){
        .engine = db->engine->name,
        .ordered = db->engine->ordered,
        .snapshots = db->engine->snapshots,
        .atomic_batches = db->engine->atomic_batches,
        .bulk_loads = db->engine->bulk_create,
        .volatile_writes = db->engine->volatile_writes,
        .range_deletions = db->engine->range_deletions,
        .key_size_max = PLSM_KEY_MAX,
        .value_size_max = PLSM_VALUE_MAX,
        .read_only = db->read_only || db->engine->is_read_only(db->tree),
        .ttl_s = db->options.ttl,
        .spills_above = db->engine->spills_above ? db->engine->spills_above(db->tree) : 0,
    };
}

plsm_status plsm_sync(plsm *db)
{
    TRY(refuse_writes(db));
    expiry_reap(db);
    return db->engine->sync(db->tree);
}

plsm_status plsm_flush(plsm *db)
{
    TRY(refuse_writes(db));
    expiry_reap(db);
    return db->engine->flush(db->tree);
}

plsm_status plsm_reclaim(plsm *db)
{
    TRY(refuse_writes(db));
    if (atomic_load_explicit(&db->reclaimable, memory_order_relaxed) < PLSM_RECLAIM)
        return PLSM_OK;
    uint64_t bytes = atomic_exchange(&db->reclaimable, 0);
    plsm_status status = db->engine->flush(db->tree);
    if (status != PLSM_OK)
        atomic_fetch_add(&db->reclaimable, bytes);
    return status;
}

plsm_status plsm_retrain(plsm *db, bool all, void (*progress)(void *arg, uint64_t done, uint64_t bytes), void *arg)
{
    INVARIANT(db->magic == STORE_MAGIC);
    TRY(refuse_writes(db));
    if (!db->engine->retrain)
        return fail(PLSM_UNSUPPORTED, "the engine %s has no models", db->engine->name);
    return db->engine->retrain(db->tree, all, progress, arg);
}

plsm_status plsm_compact(plsm *db, plsm_slice from, plsm_slice to)
{
    TRY(refuse_writes(db));
    expiry_reap(db);
    if (from.size == 0 && to.size == 0)
        return db->engine->compact(db->tree, from, to);
    struct store_key first, last;
    TRY(bound_check(PLSM_NAMES, from));
    TRY(bound_check(PLSM_NAMES, to));
    key_join(&first, PLSM_NAMES, from);
    key_join(&last, to.size ? PLSM_NAMES : PLSM_NAMES + 1, to);
    return db->engine->compact(db->tree, key_slice(&first), key_slice(&last));
}
