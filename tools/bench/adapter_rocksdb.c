/* RocksDB through its C interface, set up as its wiki advises ("Setup Options and Basic Tuning", "Block Cache",
 * "RocksDB Bloom Filter") for point reads in a store that fits into memory: block-based table of the newest format with
 * 4 KiB blocks (point reads) and a hash index inside blocks, full filters of 10 bits, a block cache that holds
 * everything, dynamic level sizes, two background threads, pipelined writes where several threads write. Indexes and
 * filters are kept outside of the cache, as the others keep theirs. The log is on; checksums are as they come. Reads
 * pin blocks instead of copying values, but those of many keys copy: the call that pins theirs wants a column family,
 * which the C interface of 7.8 gives only to who opens the store with a list of them. */
#include "tools/bench/adapter.h"

#if __has_include(<rocksdb/c.h>)

#include <rocksdb/c.h>
#include <string.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"

#include "base/banned.h"

/* The functions used; `api` holds one pointer for each, of the type that the header declares. */
#define FUNCTIONS(X)                                                                                                   \
    X(rocksdb_options_create)                                                                                          \
    X(rocksdb_options_destroy)                                                                                         \
    X(rocksdb_options_set_create_if_missing)                                                                           \
    X(rocksdb_options_increase_parallelism)                                                                            \
    X(rocksdb_options_set_compression)                                                                                 \
    X(rocksdb_options_set_write_buffer_size)                                                                           \
    X(rocksdb_options_set_enable_pipelined_write)                                                                      \
    X(rocksdb_options_set_level_compaction_dynamic_level_bytes)                                                        \
    X(rocksdb_options_set_block_based_table_factory)                                                                   \
    X(rocksdb_block_based_options_create)                                                                              \
    X(rocksdb_block_based_options_destroy)                                                                             \
    X(rocksdb_block_based_options_set_block_size)                                                                      \
    X(rocksdb_block_based_options_set_format_version)                                                                  \
    X(rocksdb_block_based_options_set_filter_policy)                                                                   \
    X(rocksdb_block_based_options_set_block_cache)                                                                     \
    X(rocksdb_block_based_options_set_data_block_index_type)                                                           \
    X(rocksdb_block_based_options_set_data_block_hash_ratio)                                                           \
    X(rocksdb_filterpolicy_create_bloom_full)                                                                          \
    X(rocksdb_cache_create_lru)                                                                                        \
    X(rocksdb_cache_destroy)                                                                                           \
    X(rocksdb_open)                                                                                                    \
    X(rocksdb_close)                                                                                                   \
    X(rocksdb_flush)                                                                                                   \
    X(rocksdb_flushoptions_create)                                                                                     \
    X(rocksdb_flushoptions_destroy)                                                                                    \
    X(rocksdb_property_int)                                                                                            \
    X(rocksdb_writeoptions_create)                                                                                     \
    X(rocksdb_writeoptions_destroy)                                                                                    \
    X(rocksdb_writeoptions_set_sync)                                                                                   \
    X(rocksdb_readoptions_create)                                                                                      \
    X(rocksdb_readoptions_destroy)                                                                                     \
    X(rocksdb_writebatch_create)                                                                                       \
    X(rocksdb_writebatch_destroy)                                                                                      \
    X(rocksdb_writebatch_clear)                                                                                        \
    X(rocksdb_writebatch_put)                                                                                          \
    X(rocksdb_writebatch_delete)                                                                                       \
    X(rocksdb_write)                                                                                                   \
    X(rocksdb_put)                                                                                                     \
    X(rocksdb_delete)                                                                                                  \
    X(rocksdb_get_pinned)                                                                                              \
    X(rocksdb_multi_get)                                                                                               \
    X(rocksdb_pinnableslice_value)                                                                                     \
    X(rocksdb_pinnableslice_destroy)                                                                                   \
    X(rocksdb_create_iterator)                                                                                         \
    X(rocksdb_iter_destroy)                                                                                            \
    X(rocksdb_iter_seek_to_first)                                                                                      \
    X(rocksdb_iter_seek)                                                                                               \
    X(rocksdb_iter_next)                                                                                               \
    X(rocksdb_iter_valid)                                                                                              \
    X(rocksdb_iter_key)                                                                                                \
    X(rocksdb_iter_value)                                                                                              \
    X(rocksdb_iter_get_error)                                                                                          \
    X(rocksdb_free)

#define FIELD(function) __typeof__(function) *function;
static struct {
    FUNCTIONS(FIELD)
} api;

struct rocks_db {
    rocksdb_t *db;
    rocksdb_cache_t *cache;
    rocksdb_writeoptions_t *write_options;
    rocksdb_readoptions_t *read_options;
};

/* Of reads of many keys: room for `room` of each; the first `count` values are to be freed. */
struct rocks_many {
    const char **keys;
    char **values, **errors;
    size_t *key_sizes, *value_sizes;
    uint32_t room, count;
};

struct rocks_session {
    struct rocks_db *db;
    rocksdb_writebatch_t *batch;
    rocksdb_pinnableslice_t *pinned; /* of the last get */
    struct rocks_many many;
    rocksdb_iterator_t *it;
    bool fresh;
};

static const char *lack(void)
{
#define NAME(function) #function,
    static const char *const names[] = {FUNCTIONS(NAME)};
    enum { COUNT = sizeof names / sizeof *names };
    _Static_assert(sizeof api == COUNT * sizeof(void *), "one pointer per name");
    static bool loaded;
    const char *missing = NULL;
    void *functions[COUNT];
    if (!loaded)
        missing = adapter_load("librocksdb.so", names, functions, COUNT);
    if (!loaded && !missing) {
        memcpy(&api, functions, sizeof api);
        loaded = true;
    }
    return missing;
}

/* Turns RocksDB's error text, if any, into a status and frees it. */
static plsm_status check(char *error)
{
    if (!error)
        return PLSM_OK;
    plsm_status status = fail(PLSM_IO, "rocksdb: %s", error);
    api.rocksdb_free(error);
    return status;
}

static plsm_status open_store(const char *path, const struct adapter_options *options, void **out)
{
    struct rocks_db *db = mem_zalloc(sizeof *db);
    if (!db)
        return PLSM_NO_MEMORY;
    rocksdb_block_based_table_options_t *table = api.rocksdb_block_based_options_create();
    db->cache = api.rocksdb_cache_create_lru(options->cache_bytes);
    api.rocksdb_block_based_options_set_block_cache(table, db->cache);
    api.rocksdb_block_based_options_set_block_size(table, 4096);
    api.rocksdb_block_based_options_set_format_version(table, 5);
    api.rocksdb_block_based_options_set_filter_policy(table, api.rocksdb_filterpolicy_create_bloom_full(10));
    api.rocksdb_block_based_options_set_data_block_index_type(
        table, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
    api.rocksdb_block_based_options_set_data_block_hash_ratio(table, 0.75);
    rocksdb_options_t *settings = api.rocksdb_options_create();
    api.rocksdb_options_set_create_if_missing(settings, 1);
    api.rocksdb_options_increase_parallelism(settings, 2);
    api.rocksdb_options_set_enable_pipelined_write(settings, options->threads > 1);
    api.rocksdb_options_set_compression(settings, rocksdb_no_compression);
    api.rocksdb_options_set_write_buffer_size(settings, ENGINE_BUFFER_BYTES);
    api.rocksdb_options_set_level_compaction_dynamic_level_bytes(settings, 1);
    api.rocksdb_options_set_block_based_table_factory(settings, table);
    char *error = NULL;
    db->db = api.rocksdb_open(settings, path, &error);
    api.rocksdb_options_destroy(settings);
    api.rocksdb_block_based_options_destroy(table);
    plsm_status status = check(error);
    if (status != PLSM_OK) {
        api.rocksdb_cache_destroy(db->cache);
        mem_free(db);
        return status;
    }
    db->write_options = api.rocksdb_writeoptions_create();
    api.rocksdb_writeoptions_set_sync(db->write_options, options->sync);
    db->read_options = api.rocksdb_readoptions_create();
    *out = db;
    return PLSM_OK;
}

static plsm_status close_store(void *handle)
{
    struct rocks_db *db = handle;
    api.rocksdb_close(db->db);
    api.rocksdb_cache_destroy(db->cache);
    api.rocksdb_writeoptions_destroy(db->write_options);
    api.rocksdb_readoptions_destroy(db->read_options);
    mem_free(db);
    return PLSM_OK;
}

/* The C interface of 7.8 has no call that waits for compactions, so ask again and again. */
static bool busy(struct rocks_db *db)
{
    static const char *const properties[] = {"rocksdb.num-running-compactions", "rocksdb.compaction-pending",
                                             "rocksdb.num-running-flushes", "rocksdb.mem-table-flush-pending"};
    for (size_t i = 0; i < sizeof properties / sizeof *properties; i++) {
        uint64_t value = 0;
        if (api.rocksdb_property_int(db->db, properties[i], &value) == 0 && value > 0)
            return true;
    }
    return false;
}

static plsm_status settle(void *handle)
{
    struct rocks_db *db = handle;
    rocksdb_flushoptions_t *options = api.rocksdb_flushoptions_create(); /* waits, by default */
    char *error = NULL;
    api.rocksdb_flush(db->db, options, &error);
    api.rocksdb_flushoptions_destroy(options);
    TRY(check(error));
    while (busy(db))
        env_sleep_ns(env_posix(), 5000000);
    return PLSM_OK;
}

static plsm_status session_start(void *db, void **out)
{
    struct rocks_session *session = mem_zalloc(sizeof *session);
    if (!session)
        return PLSM_NO_MEMORY;
    session->db = db;
    session->batch = api.rocksdb_writebatch_create();
    *out = session;
    return PLSM_OK;
}

static void unpin(struct rocks_session *session)
{
    if (session->pinned)
        api.rocksdb_pinnableslice_destroy(session->pinned);
    session->pinned = NULL;
}

static void free_values(struct rocks_many *many)
{
    for (uint32_t i = 0; i < many->count; i++)
        if (many->values[i])
            api.rocksdb_free(many->values[i]);
    many->count = 0;
}

static void session_end(void *handle)
{
    struct rocks_session *session = handle;
    if (!session)
        return;
    unpin(session);
    free_values(&session->many);
    mem_free(session->many.keys);
    if (session->it)
        api.rocksdb_iter_destroy(session->it);
    api.rocksdb_writebatch_destroy(session->batch);
    mem_free(session);
}

static plsm_status write_records(void *handle, const struct adapter_record *records, uint32_t count)
{
    struct rocks_session *session = handle;
    char *error = NULL;
    if (count == 1 && records->deletion) {
        api.rocksdb_delete(session->db->db, session->db->write_options, records->key.data, records->key.size, &error);
        return check(error);
    }
    if (count == 1) {
        api.rocksdb_put(session->db->db, session->db->write_options, records->key.data, records->key.size,
                        records->value.data, records->value.size, &error);
        return check(error);
    }
    api.rocksdb_writebatch_clear(session->batch);
    for (uint32_t i = 0; i < count; i++)
        if (records[i].deletion)
            api.rocksdb_writebatch_delete(session->batch, records[i].key.data, records[i].key.size);
        else
            api.rocksdb_writebatch_put(session->batch, records[i].key.data, records[i].key.size, records[i].value.data,
                                       records[i].value.size);
    api.rocksdb_write(session->db->db, session->db->write_options, session->batch, &error);
    return check(error);
}

static plsm_status get(void *handle, plsm_slice key, plsm_slice *value)
{
    struct rocks_session *session = handle;
    char *error = NULL;
    unpin(session);
    session->pinned = api.rocksdb_get_pinned(session->db->db, session->db->read_options, key.data, key.size, &error);
    TRY(check(error));
    if (!session->pinned)
        return PLSM_NOT_FOUND;
    value->data = api.rocksdb_pinnableslice_value(session->pinned, &value->size);
    return PLSM_OK;
}

/* All lists are in one piece of memory, that of the keys. */
static plsm_status make_room(struct rocks_many *many, uint32_t count)
{
    if (many->room >= count)
        return PLSM_OK;
    const char **keys = mem_alloc(count * (3 * sizeof *keys + 2 * sizeof *many->key_sizes));
    if (!keys)
        return fail(PLSM_NO_MEMORY, "no memory for %u values", count);
    mem_free(many->keys);
    *many = (struct rocks_many){.keys = keys, .room = count};
    many->values = (char **)(keys + count);
    many->errors = many->values + count;
    many->key_sizes = (size_t *)(many->errors + count);
    many->value_sizes = many->key_sizes + count;
    return PLSM_OK;
}

static plsm_status get_many(void *handle, const plsm_slice *keys, uint32_t count, plsm_slice *values,
                            plsm_status *statuses)
{
    struct rocks_session *session = handle;
    struct rocks_many *many = &session->many;
    plsm_status status = PLSM_OK;
    free_values(many);
    TRY(make_room(many, count));
    for (uint32_t i = 0; i < count; i++) {
        many->keys[i] = keys[i].data;
        many->key_sizes[i] = keys[i].size;
    }
    api.rocksdb_multi_get(session->db->db, session->db->read_options, count, many->keys, many->key_sizes, many->values,
                          many->value_sizes, many->errors);
    many->count = count;
    for (uint32_t i = 0; i < count; i++) {
        statuses[i] = check(many->errors[i]);
        if (status == PLSM_OK)
            status = statuses[i];
        if (statuses[i] == PLSM_OK && !many->values[i])
            statuses[i] = PLSM_NOT_FOUND;
        values[i] = (plsm_slice){many->values[i], many->values[i] ? many->value_sizes[i] : 0};
    }
    return status;
}

static plsm_status seek(void *handle, plsm_slice from)
{
    struct rocks_session *session = handle;
    session->it = api.rocksdb_create_iterator(session->db->db, session->db->read_options);
    if (from.size > 0)
        api.rocksdb_iter_seek(session->it, from.data, from.size);
    else
        api.rocksdb_iter_seek_to_first(session->it);
    session->fresh = true;
    return PLSM_OK;
}

static bool step(void *handle, plsm_slice *key, plsm_slice *value)
{
    struct rocks_session *session = handle;
    if (!session->fresh)
        api.rocksdb_iter_next(session->it);
    session->fresh = false;
    if (!api.rocksdb_iter_valid(session->it))
        return false;
    key->data = api.rocksdb_iter_key(session->it, &key->size);
    value->data = api.rocksdb_iter_value(session->it, &value->size);
    return true;
}

static plsm_status scan_end(void *handle)
{
    struct rocks_session *session = handle;
    char *error = NULL;
    api.rocksdb_iter_get_error(session->it, &error);
    api.rocksdb_iter_destroy(session->it);
    session->it = NULL;
    return check(error);
}

const struct adapter adapter_rocksdb = {
    .name = "rocksdb",
    .reads_by_calls = true,
    .lack = lack,
    .open = open_store,
    .close = close_store,
    .settle = settle,
    .session = session_start,
    .session_end = session_end,
    .write = write_records,
    .get = get,
    .get_many = get_many,
    .seek = seek,
    .step = step,
    .scan_end = scan_end,
};

#else

static const char *lack(void)
{
    return "built without rocksdb/c.h (Debian: librocksdb-dev)";
}

const struct adapter adapter_rocksdb = {.name = "rocksdb", .lack = lack};

#endif
