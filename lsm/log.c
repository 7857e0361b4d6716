/* The logs of a store: their names, their first records, and the one that is made in advance.
 *
 * A rotation makes no system call that waits for the disk when the next log is there already: once the memtable is half
 * full, the flusher makes it, with its header synced and its name durable. So it may be seen, by a reader or after a
 * crash, while it holds no record yet. */
#include <stdio.h>

#include "base/error.h"
#include "lsm/db.h"
#include "base/banned.h"

void log_path(const struct lsm *db, uint64_t number, char *path, size_t size)
{
    snprintf(path, size, "%s/log-%08llu", db->path, (unsigned long long)number);
}

plsm_status log_open(struct lsm *db, uint64_t number, struct reclog_writer **out)
{
    char path[4096];
    log_path(db, number, path, sizeof path);
    return (db->options.log_mapped ? reclog_create_mapped : reclog_create)(db->env, path, LOG_MAGIC, out);
}

plsm_status log_begin(struct lsm *db, uint64_t number, uint64_t size_before, bool closed_before,
                      struct reclog_writer **log)
{
    uint8_t identity[LOG_IDENTITY_BYTES];
    put_u64(identity, db->store_id);
    put_u64(identity + 8, number);
    put_u64(identity + 16, size_before);
    put_u64(identity + 24, closed_before);
    plsm_status status = reclog_append(*log, LOG_USER_IDENTITY, &(plsm_slice){identity, sizeof identity}, 1);
    if (status == PLSM_OK)
        simulated_write(db->context.simulated, reclog_size(*log));
    if (status != PLSM_OK) {
        reclog_close(*log);
        *log = NULL;
    }
    return status;
}

plsm_status log_create(struct lsm *db, uint64_t number, uint64_t size_before, bool closed_before,
                       struct reclog_writer **out)
{
    TRY(log_open(db, number, out));
    return log_begin(db, number, size_before, closed_before, out);
}

plsm_status log_values(struct lsm *db, uint64_t number, struct value_log **out)
{
    *out = NULL;
    if (db->kept_above == SIZE_MAX)
        return PLSM_OK;
    *out = value_log_create(&db->context, number | VALUE_LOG_WRITTEN, 0, 0);
    return *out ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for a log");
}

/* --- the next log ------------------------------------------------------------------------------------------------- */

void log_prepare(struct lsm *db)
{
    struct reclog_writer *log = NULL;
    uint64_t number = db->next_log;
    db->preparing = true;
    mutex_unlock(&db->lock);
    plsm_status status = log_open(db, number, &log), synced = PLSM_OK;
    if (status == PLSM_OK)
        status = synced = env_sync_dir(db->env, db->path);
    if (status != PLSM_OK) {
        reclog_close(log);
        log = NULL;
    }
    mutex_lock(&db->lock);
    if (synced != PLSM_OK) /* never retried: it could succeed with the name lost */
        db_background_failed(db, synced);
    db->preparing = false;
    db->next_log_state = NEXT_LOG_TRIED; /* after a failure the rotation tries again, and tells */
    db->prepared_log = log;
    condition_broadcast(&db->progress);
}

plsm_status log_next(struct lsm *db, uint64_t number, struct reclog_writer **out)
{
    uint64_t size_before = reclog_size(db->active.log);
    mutex_lock(&db->lock);
    while (db->preparing)
        condition_wait(&db->progress, &db->lock);
    *out = db->prepared_log;
    db->prepared_log = NULL;
    db->next_log_state = NEXT_LOG_TAKEN;
    mutex_unlock(&db->lock);
    if (*out)
        return log_begin(db, number, size_before, false, out);
    TRY(log_create(db, number, size_before, false, out));
    /* Logs follow each other without a gap, also after power loss. */
    plsm_status status = env_sync_dir(db->env, db->path);
    if (status != PLSM_OK) { /* never retried: it could succeed with the name lost */
        mutex_lock(&db->lock);
        db_background_failed(db, status);
        mutex_unlock(&db->lock);
    }
    return status;
}

void log_drop_prepared(struct lsm *db)
{
    if (!db->prepared_log)
        return;
    reclog_close(db->prepared_log);
    db->prepared_log = NULL;
    garbage_add(db, 'l', db->next_log); /* a reader beside may have seen it */
}
