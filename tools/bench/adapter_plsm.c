/* plsm's own engines, through its public header like any other program. Values are copied out, as plsm_get always does.
 * What an engine of them lacks is what plsm_options_check says when it is asked for. */
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "store/plsm.h"
#include "tools/bench/adapter.h"

#include "base/banned.h"

struct plsm_db {
    plsm *db;
    plsm_durability durability;
};

struct plsm_session {
    struct plsm_db *db;
    plsm_batch *batch;
    plsm_value value;
    plsm_value *values; /* of get_many, so many */
    uint32_t value_count;
    struct buf large; /* a value above PLSM_INLINE_MAX, as read */
    plsm_iterator *it;
    bool fresh;         /* the iterator stands on an entry that step has not given yet */
    plsm_status status; /* of reading large values of a scan */
};

static const char *lack_lsm(void)
{
    return NULL;
}

static const char *lack_appendlog(void)
{
    return plsm_options_check("engine=appendlog") == PLSM_OK ? NULL : "plsm was built without this engine";
}

static const char *lack_hybridlog(void)
{
    return plsm_options_check("engine=hybridlog") == PLSM_OK ? NULL : "plsm was built without this engine";
}

static plsm_status open_engine(const char *engine, const char *path, const struct adapter_options *options, void **out)
{
    struct buf text = {0};
    struct plsm_db *db = mem_zalloc(sizeof *db);
    plsm_status status = db ? PLSM_OK : PLSM_NO_MEMORY;
    if (status == PLSM_OK)
        status = buf_printf(&text, "engine=%s,cache_size=%llu,buffer_size=%d", engine,
                            (unsigned long long)options->cache_bytes, ENGINE_BUFFER_BYTES);
    if (status == PLSM_OK && options->index)
        status = buf_printf(&text, ",index=%s", options->index);
    if (status == PLSM_OK && options->options)
        status = buf_printf(&text, ",%s", options->options);
    if (status == PLSM_OK)
        status = buf_append(&text, "", 1);
    if (status == PLSM_OK)
        status = plsm_open(path, PLSM_CREATE, (const char *)text.data, &db->db);
    buf_free(&text);
    if (status != PLSM_OK) {
        mem_free(db);
        return status;
    }
    db->durability = options->sync ? PLSM_SYNC : PLSM_NONE;
    *out = db;
    return PLSM_OK;
}

static plsm_status open_lsm(const char *path, const struct adapter_options *options, void **out)
{
    return open_engine("lsm", path, options, out);
}

static plsm_status open_appendlog(const char *path, const struct adapter_options *options, void **out)
{
    return open_engine("appendlog", path, options, out);
}

static plsm_status open_hybridlog(const char *path, const struct adapter_options *options, void **out)
{
    return open_engine("hybridlog", path, options, out);
}

static plsm_status close_store(void *handle)
{
    struct plsm_db *db = handle;
    plsm_status status = plsm_close(db->db);
    mem_free(db);
    return status;
}

static plsm_status settle(void *handle)
{
    struct plsm_db *db = handle;
    return plsm_flush(db->db);
}

static void session_end(void *handle)
{
    struct plsm_session *session = handle;
    if (!session)
        return;
    plsm_iterator_destroy(session->it);
    plsm_value_free(&session->value);
    for (uint32_t i = 0; i < session->value_count; i++)
        plsm_value_free(&session->values[i]);
    mem_free(session->values);
    buf_free(&session->large);
    plsm_batch_destroy(session->batch);
    mem_free(session);
}

static plsm_status session_start(void *db, void **out)
{
    struct plsm_session *session = mem_zalloc(sizeof *session);
    if (!session)
        return PLSM_NO_MEMORY;
    session->db = db;
    session->batch = plsm_batch_create();
    if (!session->batch) {
        session_end(session);
        return PLSM_NO_MEMORY;
    }
    *out = session;
    return PLSM_OK;
}

static plsm_status write_records(void *handle, const struct adapter_record *records, uint32_t count)
{
    struct plsm_session *session = handle;
    if (count == 1 && records->deletion)
        return plsm_delete(session->db->db, records->key, session->db->durability);
    if (count == 1)
        return plsm_put(session->db->db, records->key, records->value, session->db->durability);
    plsm_batch_clear(session->batch);
    for (uint32_t i = 0; i < count; i++)
        TRY(records[i].deletion
                ? plsm_batch_delete(session->batch, PLSM_NAMES, records[i].key)
                : plsm_batch_put(session->batch, PLSM_NAMES, records[i].key, (plsm_slice){0}, records[i].value));
    return plsm_write(session->db->db, session->batch, session->db->durability);
}

/* The other engines hand out values of any size, so this reads those that are kept in extents. */
static plsm_status read_large(struct plsm_session *session, plsm_slice key, uint64_t size, plsm_slice *value)
{
    size_t got = 0;
    session->large.size = 0;
    TRY(buf_reserve(&session->large, size));
    TRY(plsm_read(session->db->db, NULL, key, 0, session->large.data, size, &got));
    *value = slice(session->large.data, got);
    return PLSM_OK;
}

static plsm_status get(void *handle, plsm_slice key, plsm_slice *value)
{
    struct plsm_session *session = handle;
    plsm_status status = plsm_get(session->db->db, NULL, key, &session->value);
    if (status == PLSM_OK && session->value.large)
        return read_large(session, key, session->value.size, value);
    *value = session->value.value;
    return status;
}

static plsm_status get_many(void *handle, const plsm_slice *keys, uint32_t count, plsm_slice *values,
                            plsm_status *statuses)
{
    struct plsm_session *session = handle;
    if (session->value_count < count) {
        plsm_value *more = mem_realloc(session->values, count * sizeof *more);
        if (!more)
            return fail(PLSM_NO_MEMORY, "no memory for %u values", count);
        memset(more + session->value_count, 0, (count - session->value_count) * sizeof *more);
        session->values = more;
        session->value_count = count;
    }
    plsm_status status = plsm_multi_get(session->db->db, NULL, keys, count, session->values, statuses);
    for (uint32_t i = 0; i < count; i++)
        values[i] = session->values[i].value;
    return status;
}

struct modification {
    struct plsm_session *session;
    plsm_slice value;
    bool found;
};

/* Copies the old value, as `get` does. */
static plsm_status modify_value(void *arg, const plsm_value *old, plsm_outcome *outcome, plsm_slice *value)
{
    struct modification *m = arg;
    struct buf *copy = &m->session->large;
    m->found = old;
    copy->size = 0;
    if (!old)
        return PLSM_OK;
    *outcome = PLSM_REPLACE;
    *value = m->value;
    return buf_append(copy, old->value.data, old->value.size);
}

static plsm_status modify(void *handle, plsm_slice key, plsm_slice value, plsm_slice *old)
{
    struct modification m = {.session = handle, .value = value};
    if (value.size > PLSM_INLINE_MAX) { /* updates are of values that are no larger */
        TRY(get(handle, key, old));
        return plsm_put(m.session->db->db, key, value, m.session->db->durability);
    }
    TRY(plsm_update(m.session->db->db, key, modify_value, &m, m.session->db->durability));
    *old = buf_slice(&m.session->large);
    return m.found ? PLSM_OK : PLSM_NOT_FOUND;
}

static plsm_status seek(void *handle, plsm_slice from)
{
    struct plsm_session *session = handle;
    plsm_slice none = {0};
    TRY(plsm_iterator_create(session->db->db, NULL, none, none, &session->it));
    if (from.size > 0)
        plsm_iterator_seek(session->it, from);
    else
        plsm_iterator_first(session->it);
    session->fresh = true;
    session->status = PLSM_OK;
    return PLSM_OK;
}

static bool step(void *handle, plsm_slice *key, plsm_slice *value)
{
    struct plsm_session *session = handle;
    if (!session->fresh)
        plsm_iterator_next(session->it);
    session->fresh = false;
    if (!plsm_iterator_valid(session->it))
        return false;
    *key = plsm_iterator_key(session->it);
    *value = plsm_iterator_value(session->it);
    if (plsm_iterator_large(session->it))
        session->status = read_large(session, *key, plsm_iterator_size(session->it), value);
    return session->status == PLSM_OK;
}

static plsm_status scan_end(void *handle)
{
    struct plsm_session *session = handle;
    plsm_status status = plsm_iterator_status(session->it);
    plsm_iterator_destroy(session->it);
    session->it = NULL;
    return session->status == PLSM_OK ? status : session->status;
}

#define CALLS                                                                                                          \
    .own = true, .close = close_store, .settle = settle, .session = session_start, .session_end = session_end,         \
    .write = write_records, .get = get, .get_many = get_many, .modify = modify, .seek = seek, .step = step,            \
    .scan_end = scan_end

const struct adapter adapter_lsm = {
    CALLS, .name = "lsm", .reads_by_calls = true, .has_index = true, .lack = lack_lsm, .open = open_lsm,
};
const struct adapter adapter_appendlog = {
    CALLS, .name = "appendlog", .calls_with = "log=written", .lack = lack_appendlog, .open = open_appendlog,
};
const struct adapter adapter_hybridlog = {
    CALLS,
    .name = "hybridlog",
    .reads_by_calls = true,
    .unordered = true,
    .lack = lack_hybridlog,
    .open = open_hybridlog,
};
