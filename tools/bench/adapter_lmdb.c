/* LMDB, set up as lmdb.h advises: a map far larger than the data, MDB_NOSYNC where writes need not survive power loss
 * (what others do by not syncing their logs), MDB_NOMEMINIT, and MDB_WRITEMAP, which takes less than half the time for
 * writes (a stray pointer of the program could then damage the store, which a benchmark need not fear).
 * Read transactions are kept and renewed, as it advises too: after each write of the session and every READS_PER_VIEW
 * reads, so it pays less than the others for seeing new data; the bench lets it. */
#include "tools/bench/adapter.h"

#if __has_include(<lmdb.h>)

#include <lmdb.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/error.h"

#include "base/banned.h"

enum { READS_PER_VIEW = 1000 };

#define FUNCTIONS(X)                                                                                                   \
    X(mdb_strerror)                                                                                                    \
    X(mdb_env_create)                                                                                                  \
    X(mdb_env_open)                                                                                                    \
    X(mdb_env_close)                                                                                                   \
    X(mdb_env_set_mapsize)                                                                                             \
    X(mdb_env_set_maxreaders)                                                                                          \
    X(mdb_txn_begin)                                                                                                   \
    X(mdb_txn_commit)                                                                                                  \
    X(mdb_txn_abort)                                                                                                   \
    X(mdb_txn_reset)                                                                                                   \
    X(mdb_txn_renew)                                                                                                   \
    X(mdb_dbi_open)                                                                                                    \
    X(mdb_get)                                                                                                         \
    X(mdb_put)                                                                                                         \
    X(mdb_del)                                                                                                         \
    X(mdb_cursor_open)                                                                                                 \
    X(mdb_cursor_close)                                                                                                \
    X(mdb_cursor_get)

#define FIELD(function) __typeof__(function) *function;
static struct {
    FUNCTIONS(FIELD)
} api;

struct map_db {
    MDB_env *env;
    MDB_dbi names;
};

struct map_session {
    struct map_db *db;
    MDB_txn *view; /* kept between reads; reset while !viewing */
    bool viewing;
    unsigned reads; /* since the view was renewed */
    MDB_cursor *cursor;
    MDB_cursor_op next;
    MDB_val from;
    int scan_result;
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
        missing = adapter_load("liblmdb.so", names, functions, COUNT);
    if (!loaded && !missing) {
        memcpy(&api, functions, sizeof api);
        loaded = true;
    }
    return missing;
}

static plsm_status check(int result)
{
    return result == 0 ? PLSM_OK : fail(PLSM_IO, "lmdb: %s", api.mdb_strerror(result));
}

static plsm_status close_store(void *handle)
{
    struct map_db *db = handle;
    if (db->env)
        api.mdb_env_close(db->env);
    mem_free(db);
    return PLSM_OK;
}

static plsm_status open_tree(struct map_db *db)
{
    MDB_txn *txn = NULL;
    TRY(check(api.mdb_txn_begin(db->env, NULL, 0, &txn)));
    plsm_status status = check(api.mdb_dbi_open(txn, NULL, 0, &db->names));
    if (status == PLSM_OK)
        return check(api.mdb_txn_commit(txn));
    api.mdb_txn_abort(txn);
    return status;
}

static plsm_status open_store(const char *path, const struct adapter_options *options, void **out)
{
    /* Address space only. Pages stay about half full under random inserts, and copies on write need free ones. */
    size_t map_size = (size_t)options->keys * (options->value_bytes + 64) * 8 + ((size_t)1 << 30);
    unsigned flags = MDB_NOTLS | MDB_NOMEMINIT | MDB_WRITEMAP | (options->sync ? 0 : MDB_NOSYNC);
    struct map_db *db = mem_zalloc(sizeof *db);
    if (!db)
        return PLSM_NO_MEMORY;
    mkdir(path, 0700); /* where that fails, open tells */
    plsm_status status = check(api.mdb_env_create(&db->env));
    if (status == PLSM_OK)
        status = check(api.mdb_env_set_mapsize(db->env, map_size));
    if (status == PLSM_OK)
        status = check(api.mdb_env_set_maxreaders(db->env, options->threads + 8));
    if (status == PLSM_OK)
        status = check(api.mdb_env_open(db->env, path, flags, 0600));
    if (status == PLSM_OK)
        status = open_tree(db);
    if (status != PLSM_OK)
        close_store(db);
    else
        *out = db;
    return status;
}

static plsm_status settle(void *handle)
{
    (void)handle; /* it writes nothing later */
    return PLSM_OK;
}

static plsm_status session_start(void *db, void **out)
{
    struct map_session *session = mem_zalloc(sizeof *session);
    if (!session)
        return PLSM_NO_MEMORY;
    session->db = db;
    *out = session;
    return PLSM_OK;
}

static void session_end(void *handle)
{
    struct map_session *session = handle;
    if (!session)
        return;
    if (session->cursor)
        api.mdb_cursor_close(session->cursor);
    if (session->view)
        api.mdb_txn_abort(session->view);
    mem_free(session);
}

/* A reset transaction keeps its slot in the reader table, which is what makes renewing it cheap. */
static void end_view(struct map_session *session)
{
    if (session->viewing)
        api.mdb_txn_reset(session->view);
    session->viewing = false;
}

static plsm_status begin_view(struct map_session *session)
{
    if (session->viewing && ++session->reads < READS_PER_VIEW)
        return PLSM_OK;
    end_view(session);
    session->reads = 0;
    TRY(check(session->view ? api.mdb_txn_renew(session->view)
                            : api.mdb_txn_begin(session->db->env, NULL, MDB_RDONLY, &session->view)));
    session->viewing = true;
    return PLSM_OK;
}

static plsm_status write_records(void *handle, const struct adapter_record *records, uint32_t count)
{
    struct map_session *session = handle;
    MDB_txn *txn = NULL;
    end_view(session); /* an old view keeps pages from being reused */
    TRY(check(api.mdb_txn_begin(session->db->env, NULL, 0, &txn)));
    for (uint32_t i = 0; i < count; i++) {
        MDB_val key = {records[i].key.size, (void *)records[i].key.data};
        MDB_val value = {records[i].value.size, (void *)records[i].value.data};
        int result = records[i].deletion ? api.mdb_del(txn, session->db->names, &key, NULL)
                                         : api.mdb_put(txn, session->db->names, &key, &value, 0);
        if (result != 0 && !(records[i].deletion && result == MDB_NOTFOUND)) {
            api.mdb_txn_abort(txn);
            return check(result);
        }
    }
    return check(api.mdb_txn_commit(txn));
}

static plsm_status get(void *handle, plsm_slice key, plsm_slice *value)
{
    struct map_session *session = handle;
    TRY(begin_view(session));
    MDB_val wanted = {key.size, (void *)key.data}, found = {0};
    int result = api.mdb_get(session->view, session->db->names, &wanted, &found);
    if (result == MDB_NOTFOUND)
        return PLSM_NOT_FOUND;
    *value = (plsm_slice){found.mv_data, found.mv_size};
    return check(result);
}

static plsm_status seek(void *handle, plsm_slice from)
{
    struct map_session *session = handle;
    end_view(session);
    TRY(begin_view(session));
    TRY(check(api.mdb_cursor_open(session->view, session->db->names, &session->cursor)));
    session->from = (MDB_val){from.size, (void *)from.data};
    session->next = from.size > 0 ? MDB_SET_RANGE : MDB_FIRST;
    return PLSM_OK;
}

static bool step(void *handle, plsm_slice *key, plsm_slice *value)
{
    struct map_session *session = handle;
    MDB_val found_key = session->from, found = {0};
    session->scan_result = api.mdb_cursor_get(session->cursor, &found_key, &found, session->next);
    session->next = MDB_NEXT;
    if (session->scan_result != 0)
        return false;
    *key = (plsm_slice){found_key.mv_data, found_key.mv_size};
    *value = (plsm_slice){found.mv_data, found.mv_size};
    return true;
}

static plsm_status scan_end(void *handle)
{
    struct map_session *session = handle;
    api.mdb_cursor_close(session->cursor);
    session->cursor = NULL;
    return session->scan_result == MDB_NOTFOUND ? PLSM_OK : check(session->scan_result);
}

const struct adapter adapter_lmdb = {
    .name = "lmdb",
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
    return "built without lmdb.h (Debian: liblmdb-dev)";
}

const struct adapter adapter_lmdb = {.name = "lmdb", .lack = lack};

#endif
