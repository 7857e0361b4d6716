/* WiredTiger, set up as its documentation advises ("Tuning"): a log that is written at each commit (see adapter.h), a
 * cache that holds everything, checkpoints when the log has grown by 1 GiB or after a minute (what MongoDB sets), one
 * session and one kept cursor a thread, keys and values as raw bytes, no compression and no prefix compression (both
 * are off by default), pages of the default sizes. Reads of the cursor return a pointer into the cache; the cursor is
 * reset before the session writes, as it advises, so that no old page is pinned. A write that meets another thread's
 * is rolled back by the engine and done again. It maps its files. */
#include "tools/bench/adapter.h"

#if __has_include(<wiredtiger.h>)

#include <wiredtiger.h>

#include <stdio.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"

#include "base/banned.h"

#define TABLE "table:names"

static struct {
    __typeof__(wiredtiger_open) *open;
    __typeof__(wiredtiger_strerror) *strerror;
} api;

struct tiger_db {
    WT_CONNECTION *connection;
};

struct tiger_session {
    WT_SESSION *session;
    WT_CURSOR *cursor; /* of reads and writes */
    plsm_slice from;   /* of a scan that has not been stepped yet */
    bool fresh;
    int scan_result;
};

static const char *lack(void)
{
    static const char *const names[] = {"wiredtiger_open", "wiredtiger_strerror"};
    void *functions[2];
    const char *missing = NULL;
    if (api.open)
        return NULL;
    missing = adapter_load("libwiredtiger.so", names, functions, 2);
    if (!missing)
        memcpy(&api, functions, sizeof api);
    return missing;
}

static plsm_status check(int result)
{
    return result == 0 ? PLSM_OK : fail(PLSM_IO, "wiredtiger: %s", api.strerror(result));
}

static plsm_status close_store(void *handle)
{
    struct tiger_db *db = handle;
    int result = db->connection ? db->connection->close(db->connection, NULL) : 0;
    mem_free(db);
    return check(result);
}

static plsm_status create_table(struct tiger_db *db)
{
    WT_SESSION *session = NULL;
    TRY(check(db->connection->open_session(db->connection, NULL, NULL, &session)));
    plsm_status status = check(session->create(session, TABLE, "key_format=u,value_format=u"));
    plsm_status closed = check(session->close(session, NULL));
    return status == PLSM_OK ? closed : status;
}

static plsm_status open_store(const char *path, const struct adapter_options *options, void **out)
{
    char settings[512];
    const uint64_t least = 16 << 20; /* it wants some room for pages at work */
    uint64_t cache = options->cache_bytes > least ? options->cache_bytes : least;
    struct tiger_db *db = mem_zalloc(sizeof *db);
    if (!db)
        return PLSM_NO_MEMORY;
    mkdir(path, 0700); /* where that fails, open tells */
    snprintf(settings, sizeof settings,
             "create,cache_size=%llu,log=(enabled=true,archive=true,file_max=100MB),"
             "transaction_sync=(enabled=true,method=%s),checkpoint=(wait=60,log_size=1GB),session_max=%u",
             (unsigned long long)cache, options->sync ? "fsync" : "none", options->threads + 32);
    plsm_status status = check(api.open(path, NULL, settings, &db->connection));
    if (status == PLSM_OK)
        status = create_table(db);
    if (status != PLSM_OK)
        close_store(db);
    else
        *out = db;
    return status;
}

static plsm_status settle(void *handle)
{
    struct tiger_db *db = handle;
    WT_SESSION *session = NULL;
    TRY(check(db->connection->open_session(db->connection, NULL, NULL, &session)));
    plsm_status status = check(session->checkpoint(session, NULL));
    plsm_status closed = check(session->close(session, NULL));
    return status == PLSM_OK ? closed : status;
}

static void session_end(void *handle)
{
    struct tiger_session *session = handle;
    if (!session)
        return;
    session->session->close(session->session, NULL); /* and its cursor */
    mem_free(session);
}

static plsm_status session_start(void *handle, void **out)
{
    struct tiger_db *db = handle;
    struct tiger_session *session = mem_zalloc(sizeof *session);
    if (!session)
        return PLSM_NO_MEMORY;
    int result = db->connection->open_session(db->connection, NULL, "isolation=snapshot", &session->session);
    if (result != 0) {
        mem_free(session);
        return check(result);
    }
    result = session->session->open_cursor(session->session, TABLE, NULL, NULL, &session->cursor);
    if (result != 0)
        session_end(session);
    else
        *out = session;
    return check(result);
}

static WT_ITEM item(plsm_slice bytes)
{
    return (WT_ITEM){.data = bytes.data, .size = bytes.size};
}

static int write_one(struct tiger_session *session, const struct adapter_record *record)
{
    WT_CURSOR *cursor = session->cursor;
    WT_ITEM key = item(record->key), value = item(record->value);
    cursor->set_key(cursor, &key);
    if (record->deletion) {
        int result = cursor->remove(cursor);
        return result == WT_NOTFOUND ? 0 : result;
    }
    cursor->set_value(cursor, &value);
    return cursor->insert(cursor); /* overwrites, as cursors do by default */
}

static int write_all(struct tiger_session *session, const struct adapter_record *records, uint32_t count)
{
    WT_SESSION *tiger = session->session;
    int result = tiger->begin_transaction(tiger, NULL);
    for (uint32_t i = 0; i < count && result == 0; i++)
        result = write_one(session, &records[i]);
    if (result == 0)
        return tiger->commit_transaction(tiger, NULL);
    tiger->rollback_transaction(tiger, NULL);
    return result;
}

static plsm_status write_records(void *handle, const struct adapter_record *records, uint32_t count)
{
    struct tiger_session *session = handle;
    int result = session->cursor->reset(session->cursor);
    while (result == 0 || result == WT_ROLLBACK) {
        result = count == 1 ? write_one(session, records) : write_all(session, records, count);
        if (result != WT_ROLLBACK)
            break;
    }
    return check(result);
}

static plsm_status get(void *handle, plsm_slice key, plsm_slice *value)
{
    struct tiger_session *session = handle;
    WT_CURSOR *cursor = session->cursor;
    WT_ITEM wanted = item(key), found = {0};
    cursor->set_key(cursor, &wanted);
    int result = cursor->search(cursor);
    if (result == WT_NOTFOUND)
        return PLSM_NOT_FOUND;
    if (result == 0)
        result = cursor->get_value(cursor, &found);
    *value = slice(found.data, found.size);
    return check(result);
}

static plsm_status seek(void *handle, plsm_slice from)
{
    struct tiger_session *session = handle;
    session->from = from;
    session->fresh = true;
    session->scan_result = 0;
    return check(session->cursor->reset(session->cursor));
}

/* A search for the nearest key may stand in front of it. */
static int first_entry(struct tiger_session *session)
{
    WT_CURSOR *cursor = session->cursor;
    WT_ITEM wanted = item(session->from);
    int side = 0;
    if (session->from.size == 0)
        return cursor->next(cursor);
    cursor->set_key(cursor, &wanted);
    int result = cursor->search_near(cursor, &side);
    return result == 0 && side < 0 ? cursor->next(cursor) : result;
}

static bool step(void *handle, plsm_slice *key, plsm_slice *value)
{
    struct tiger_session *session = handle;
    WT_CURSOR *cursor = session->cursor;
    WT_ITEM found_key = {0}, found = {0};
    int result = session->fresh ? first_entry(session) : cursor->next(cursor);
    session->fresh = false;
    if (result == 0)
        result = cursor->get_key(cursor, &found_key);
    if (result == 0)
        result = cursor->get_value(cursor, &found);
    session->scan_result = result;
    *key = slice(found_key.data, found_key.size);
    *value = slice(found.data, found.size);
    return result == 0;
}

static plsm_status scan_end(void *handle)
{
    struct tiger_session *session = handle;
    int result = session->scan_result == WT_NOTFOUND ? 0 : session->scan_result;
    int reset = session->cursor->reset(session->cursor);
    return check(result ? result : reset);
}

const struct adapter adapter_wiredtiger = {
    .name = "wiredtiger",
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
    return "built without wiredtiger.h (Debian: libwiredtiger-dev)";
}

const struct adapter adapter_wiredtiger = {.name = "wiredtiger", .lack = lack};

#endif
