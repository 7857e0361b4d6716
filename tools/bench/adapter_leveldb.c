/* LevelDB through its C interface, set up as its documentation advises ("Performance" in doc/index.md): filters of 10
 * bits, a block cache that holds everything, a write buffer as large as the others have, as many open files as it may
 * have files, no compression. It maps its files and copies each value that it returns. It has no call that waits for
 * compactions: the bench then waits until the process stops using the processor, as it does for all. */
#include "tools/bench/adapter.h"

#if __has_include(<leveldb/c.h>)

#include <leveldb/c.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

#include "base/banned.h"

#define FUNCTIONS(X)                                                                                                   \
    X(leveldb_options_create)                                                                                          \
    X(leveldb_options_destroy)                                                                                         \
    X(leveldb_options_set_create_if_missing)                                                                           \
    X(leveldb_options_set_compression)                                                                                 \
    X(leveldb_options_set_write_buffer_size)                                                                           \
    X(leveldb_options_set_filter_policy)                                                                               \
    X(leveldb_options_set_max_open_files)                                                                              \
    X(leveldb_options_set_cache)                                                                                       \
    X(leveldb_filterpolicy_create_bloom)                                                                               \
    X(leveldb_filterpolicy_destroy)                                                                                    \
    X(leveldb_cache_create_lru)                                                                                        \
    X(leveldb_cache_destroy)                                                                                           \
    X(leveldb_open)                                                                                                    \
    X(leveldb_close)                                                                                                   \
    X(leveldb_writeoptions_create)                                                                                     \
    X(leveldb_writeoptions_destroy)                                                                                    \
    X(leveldb_writeoptions_set_sync)                                                                                   \
    X(leveldb_readoptions_create)                                                                                      \
    X(leveldb_readoptions_destroy)                                                                                     \
    X(leveldb_writebatch_create)                                                                                       \
    X(leveldb_writebatch_destroy)                                                                                      \
    X(leveldb_writebatch_clear)                                                                                        \
    X(leveldb_writebatch_put)                                                                                          \
    X(leveldb_writebatch_delete)                                                                                       \
    X(leveldb_write)                                                                                                   \
    X(leveldb_put)                                                                                                     \
    X(leveldb_delete)                                                                                                  \
    X(leveldb_get)                                                                                                     \
    X(leveldb_create_iterator)                                                                                         \
    X(leveldb_iter_destroy)                                                                                            \
    X(leveldb_iter_seek_to_first)                                                                                      \
    X(leveldb_iter_seek)                                                                                               \
    X(leveldb_iter_next)                                                                                               \
    X(leveldb_iter_valid)                                                                                              \
    X(leveldb_iter_key)                                                                                                \
    X(leveldb_iter_value)                                                                                              \
    X(leveldb_iter_get_error)                                                                                          \
    X(leveldb_free)

#define FIELD(function) __typeof__(function) *function;
static struct {
    FUNCTIONS(FIELD)
} api;

struct level_db {
    leveldb_t *db;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_writeoptions_t *write_options;
    leveldb_readoptions_t *read_options;
};

struct level_session {
    struct level_db *db;
    leveldb_writebatch_t *batch;
    char *value; /* of the last get */
    leveldb_iterator_t *it;
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
        missing = adapter_load("libleveldb.so", names, functions, COUNT);
    if (!loaded && !missing) {
        memcpy(&api, functions, sizeof api);
        loaded = true;
    }
    return missing;
}

static plsm_status check(char *error)
{
    if (!error)
        return PLSM_OK;
    plsm_status status = fail(PLSM_IO, "leveldb: %s", error);
    api.leveldb_free(error);
    return status;
}

static plsm_status close_store(void *handle)
{
    struct level_db *db = handle;
    if (db->db)
        api.leveldb_close(db->db);
    api.leveldb_cache_destroy(db->cache);
    api.leveldb_filterpolicy_destroy(db->filter);
    api.leveldb_writeoptions_destroy(db->write_options);
    api.leveldb_readoptions_destroy(db->read_options);
    mem_free(db);
    return PLSM_OK;
}

/* "Budget one open file per 2MB of working set" (options.h), above the default. */
static int open_files(const struct adapter_options *options)
{
    return 1000 + (int)(options->keys * (options->value_bytes + 32) >> 21);
}

static plsm_status open_store(const char *path, const struct adapter_options *options, void **out)
{
    struct level_db *db = mem_zalloc(sizeof *db);
    if (!db)
        return PLSM_NO_MEMORY;
    db->cache = api.leveldb_cache_create_lru(options->cache_bytes);
    db->filter = api.leveldb_filterpolicy_create_bloom(10);
    db->write_options = api.leveldb_writeoptions_create();
    db->read_options = api.leveldb_readoptions_create();
    api.leveldb_writeoptions_set_sync(db->write_options, options->sync);
    leveldb_options_t *settings = api.leveldb_options_create();
    api.leveldb_options_set_create_if_missing(settings, 1);
    api.leveldb_options_set_compression(settings, leveldb_no_compression);
    api.leveldb_options_set_write_buffer_size(settings, ENGINE_BUFFER_BYTES);
    api.leveldb_options_set_filter_policy(settings, db->filter);
    api.leveldb_options_set_cache(settings, db->cache);
    api.leveldb_options_set_max_open_files(settings, open_files(options));
    char *error = NULL;
    db->db = api.leveldb_open(settings, path, &error);
    api.leveldb_options_destroy(settings);
    plsm_status status = check(error);
    if (status != PLSM_OK)
        close_store(db);
    else
        *out = db;
    return status;
}

static plsm_status settle(void *handle)
{
    (void)handle;
    return PLSM_OK;
}

static plsm_status session_start(void *db, void **out)
{
    struct level_session *session = mem_zalloc(sizeof *session);
    if (!session)
        return PLSM_NO_MEMORY;
    session->db = db;
    session->batch = api.leveldb_writebatch_create();
    *out = session;
    return PLSM_OK;
}

static void forget(struct level_session *session)
{
    if (session->value)
        api.leveldb_free(session->value);
    session->value = NULL;
}

static void session_end(void *handle)
{
    struct level_session *session = handle;
    if (!session)
        return;
    forget(session);
    if (session->it)
        api.leveldb_iter_destroy(session->it);
    api.leveldb_writebatch_destroy(session->batch);
    mem_free(session);
}

static plsm_status write_records(void *handle, const struct adapter_record *records, uint32_t count)
{
    struct level_session *session = handle;
    char *error = NULL;
    if (count == 1 && records->deletion) {
        api.leveldb_delete(session->db->db, session->db->write_options, records->key.data, records->key.size, &error);
        return check(error);
    }
    if (count == 1) {
        api.leveldb_put(session->db->db, session->db->write_options, records->key.data, records->key.size,
                        records->value.data, records->value.size, &error);
        return check(error);
    }
    api.leveldb_writebatch_clear(session->batch);
    for (uint32_t i = 0; i < count; i++)
        if (records[i].deletion)
            api.leveldb_writebatch_delete(session->batch, records[i].key.data, records[i].key.size);
        else
            api.leveldb_writebatch_put(session->batch, records[i].key.data, records[i].key.size, records[i].value.data,
                                       records[i].value.size);
    api.leveldb_write(session->db->db, session->db->write_options, session->batch, &error);
    return check(error);
}

static plsm_status get(void *handle, plsm_slice key, plsm_slice *value)
{
    struct level_session *session = handle;
    char *error = NULL;
    forget(session);
    session->value =
        api.leveldb_get(session->db->db, session->db->read_options, key.data, key.size, &value->size, &error);
    TRY(check(error));
    value->data = session->value;
    return session->value ? PLSM_OK : PLSM_NOT_FOUND;
}

static plsm_status seek(void *handle, plsm_slice from)
{
    struct level_session *session = handle;
    session->it = api.leveldb_create_iterator(session->db->db, session->db->read_options);
    if (from.size > 0)
        api.leveldb_iter_seek(session->it, from.data, from.size);
    else
        api.leveldb_iter_seek_to_first(session->it);
    session->fresh = true;
    return PLSM_OK;
}

static bool step(void *handle, plsm_slice *key, plsm_slice *value)
{
    struct level_session *session = handle;
    if (!session->fresh)
        api.leveldb_iter_next(session->it);
    session->fresh = false;
    if (!api.leveldb_iter_valid(session->it))
        return false;
    key->data = api.leveldb_iter_key(session->it, &key->size);
    value->data = api.leveldb_iter_value(session->it, &value->size);
    return true;
}

static plsm_status scan_end(void *handle)
{
    struct level_session *session = handle;
    char *error = NULL;
    api.leveldb_iter_get_error(session->it, &error);
    api.leveldb_iter_destroy(session->it);
    session->it = NULL;
    return check(error);
}

const struct adapter adapter_leveldb = {
    .name = "leveldb",
    .lack = lack,
    .open = open_store,
    .close = close_store,
    .settle = settle,
    .session = session_start,
    .session_end = session_end,
    .write = write_records,
    .get = get,
    .seek = seek,
    .step = step,
    .scan_end = scan_end,
};

#else

static const char *lack(void)
{
    return "built without leveldb/c.h (Debian: libleveldb-dev)";
}

const struct adapter adapter_leveldb = {.name = "leveldb", .lack = lack};

#endif
