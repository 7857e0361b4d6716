/* Bulk loads. Large values are replaced as write.c says of a put: a name that holds a reference gets another value, so
 * its extents are an orphan from that moment on, or a shared value has a name less. While there may be references, the
 * names inside the bounds of the load are walked for them, when no write can come between; what makes them orphans is
 * part of the load. */
#include "base/alloc.h"
#include "store/batch.h"
#include "store/extents.h"
#include "store/resolve.h"

#include "base/banned.h"

#define BULK_MAGIC 0x62756c6bu

struct plsm_bulk {
    uint32_t magic;
    plsm *db;
    struct engine_bulk *tree;
    struct resolve replaced; /* its `out` becomes part of the load */
};

plsm_status plsm_bulk_create(plsm *db, plsm_bulk **out)
{
    *out = NULL;
    TRY(refuse_writes(db));
    if (!db->engine->bulk_create)
        return fail(PLSM_UNSUPPORTED, "the engine %s has no bulk loads, and takes in no files of others",
                    db->engine->name);
    plsm_bulk *bulk = mem_zalloc(sizeof *bulk);
    if (!bulk)
        return fail(PLSM_NO_MEMORY, "no memory for a bulk load");
    bulk->magic = BULK_MAGIC;
    bulk->db = db;
    bulk->replaced.db = db;
    plsm_status status = db->engine->bulk_create(db->tree, &bulk->tree);
    if (status != PLSM_OK) {
        mem_free(bulk);
        return status;
    }
    *out = bulk;
    return PLSM_OK;
}

void plsm_bulk_destroy(plsm_bulk *bulk)
{
    if (!bulk)
        return;
    INVARIANT(bulk->magic == BULK_MAGIC);
    bulk->db->engine->bulk_destroy(bulk->tree);
    resolve_free(&bulk->replaced);
    bulk->magic = 0;
    mem_free(bulk);
}

static plsm_status put(plsm_bulk *bulk, plsm_keyspace keyspace, plsm_slice key, plsm_slice meta, plsm_slice value,
                       uint64_t expires_s)
{
    struct store_key whole;
    INVARIANT(bulk->magic == BULK_MAGIC);
    TRY(key_check_public(keyspace, key));
    TRY(batch_check_entry(meta, value));
    key_join(&whole, keyspace, key);
    return bulk->db->engine->bulk_put(bulk->tree, BATCH_PUT, key_slice(&whole), meta, value, expires_s);
}

plsm_status plsm_bulk_put(plsm_bulk *bulk, plsm_keyspace keyspace, plsm_slice key, plsm_slice meta, plsm_slice value)
{
    bool named = keyspace == PLSM_NAMES && key.size > 0;
    return put(bulk, keyspace, key, meta, value, named ? store_lifetime(bulk->db, key).expires_s : 0);
}

plsm_status plsm_bulk_put_expiring(plsm_bulk *bulk, plsm_slice key, plsm_slice meta, plsm_slice value,
                                   uint64_t expires_s)
{
    return put(bulk, PLSM_NAMES, key, meta, value, expires_s);
}

/* What a file may bring in is names with small values: what stands under identifiers is of the other store. */
static plsm_status allow(void *arg, plsm_slice key, plsm_slice meta, plsm_slice value)
{
    const uint8_t *bytes = key.data;
    (void)arg;
    if (bytes[0] != PLSM_NAMES)
        return fail(PLSM_INVALID, "it holds inodes, extents or internal keys of another store");
    TRY(key_check_public((plsm_keyspace)bytes[0], slice(bytes + 1, key.size - 1)));
    return batch_check_entry(meta, value);
}

plsm_status plsm_bulk_add_file(plsm_bulk *bulk, const char *path)
{
    INVARIANT(bulk->magic == BULK_MAGIC);
    return bulk->db->engine->bulk_add_file(bulk->tree, path, allow, NULL);
}

/* An entry of the names that is a reference: let go of when the load has another value for its key. */
static plsm_status replace(plsm_bulk *bulk, plsm_slice key)
{
    const struct engine *engine = bulk->db->engine;
    struct engine_value value = {0};
    bool is_replaced = false;
    TRY(engine->bulk_contains(bulk->tree, key, &is_replaced));
    if (!is_replaced)
        return PLSM_OK;
    plsm_status status = engine->get_any(bulk->db->tree, NULL, key, false, &value);
    if (status == PLSM_OK)
        status = resolve_let_go(&bulk->replaced, value.value);
    engine_value_free(&value);
    return status;
}

/* Is an engine_prepare. */
static plsm_status find_replaced(void *arg, const struct batch **also)
{
    static const uint8_t names_end[1] = {PLSM_NAMES + 1};
    plsm_bulk *bulk = arg;
    const struct engine *engine = bulk->db->engine;
    struct engine_iterator *it = NULL;
    struct engine_entry entry;
    plsm_slice smallest, largest;
    batch_clear(&bulk->replaced.out);
    overlay_clear(&bulk->replaced.overlay);
    bulk->replaced.retired.count = 0;
    if (!engine->bulk_bounds(bulk->tree, &smallest, &largest) || *(const uint8_t *)smallest.data > PLSM_NAMES)
        return PLSM_OK;
    TRY(engine->iterator_create(bulk->db->tree, NULL, smallest, slice(names_end, 1), true, &it));
    engine->iterator_show_expired(it);
    plsm_status status = PLSM_OK;
    for (bool valid = engine->iterator_first(it, &entry); status == PLSM_OK && valid;
         valid = engine->iterator_next(it, &entry)) {
        if (slice_compare(entry.key, largest) > 0)
            break;
        if (entry.kind == BATCH_REFERENCE)
            status = replace(bulk, entry.key);
    }
    if (status == PLSM_OK)
        status = engine->iterator_status(it);
    engine->iterator_destroy(it);
    *also = &bulk->replaced.out;
    return status;
}

plsm_status plsm_bulk_finish(plsm_bulk *bulk)
{
    INVARIANT(bulk->magic == BULK_MAGIC);
    TRY(refuse_writes(bulk->db));
    bool look = store_write_begin(bulk->db);
    plsm_status status = bulk->db->engine->bulk_finish(bulk->tree, look ? find_replaced : NULL, bulk);
    if (status == PLSM_OK)
        retire_finish(bulk->db, &bulk->replaced.retired);
    store_write_end(bulk->db, look);
    return status;
}
