/* The logs of a store: their names, their first records, the one that is made in advance, and the spare one.
 *
 * A rotation makes no system call that waits for the disk when the next log is there already: once the memtable is half
 * full, the flusher makes it, with its header synced and its name durable, or whoever flushes: a flush may take longer
 * than the other half does. So it may be seen, by a reader or after a crash, while it holds no record yet.
 *
 * The file of a log that is not needed any more is kept as the spare one, "log-NUMBER.tmp", and the next log is made
 * out of it: its pages and its space are there already (ENV_LOG_OVER). Getting them from ext4 and giving them back was
 * a tenth of what a put in a large batch costs, and a file that does not grow is less to sync. RocksDB and PostgreSQL
 * do the same with their write-ahead logs. At most one is kept, of those that this process wrote and that held no large
 * values, and only while writers are at work and the disk has room: it goes when space is short, when nothing was
 * written for a moment (unless there is no thread to see that: background=0), and at closing. */
#include <stdio.h>

#include "base/error.h"
#include "lsm/db.h"
#include "base/banned.h"

void log_path(const struct lsm *db, uint64_t number, char *path, size_t size)
{
    snprintf(path, size, "%s/log-%08llu", db->path, (unsigned long long)number);
}

/* --- the spare log ------------------------------------------------------------------------------------------------ */

static void spare_path(const struct lsm *db, uint64_t number, char *path, size_t size)
{
    char name[4096];
    log_path(db, number, name, sizeof name);
    snprintf(path, size, "%s.tmp", name);
}

/* The number of the spare log, which is the caller's from then on; 0: there is none. */
static uint64_t take_spare(struct lsm *db)
{
    mutex_lock(&db->lock);
    uint64_t number = db->spare_log;
    db->spare_log = 0;
    mutex_unlock(&db->lock);
    return number;
}

/* Under lock. */
static bool wants_spare(const struct lsm *db)
{
    bool room = !db->space_low && !db->space_tight && db->background_status == PLSM_OK;
    return db->options.log_mapped && !db->spare_fails && room && !db->closing && db->spare_log == 0;
}

void log_retire(struct lsm *db, uint64_t number)
{
    char path[4096], spare[4100];
    log_path(db, number, path, sizeof path);
    spare_path(db, number, spare, sizeof spare);
    mutex_lock(&db->lock);
    bool wanted = wants_spare(db);
    mutex_unlock(&db->lock);
    if (!wanted || env_rename(db->env, path, spare) != PLSM_OK) {
        env_remove(db->env, path); /* a failure costs space until the next opening, no more */
        return;
    }
    mutex_lock(&db->lock);
    wanted = wants_spare(db); /* still */
    if (wanted)
        db->spare_log = number;
    mutex_unlock(&db->lock);
    if (!wanted)
        env_remove(db->env, spare);
}

bool log_drop_spare(struct lsm *db)
{
    char spare[4100];
    struct fail_kept kept;
    uint64_t number = take_spare(db);
    if (number == 0)
        return false;
    fail_keep(&kept); /* of a failure that it is dropped for */
    spare_path(db, number, spare, sizeof spare);
    env_remove(db->env, spare);
    fail_again(PLSM_OK, &kept);
    return true;
}

/* A log out of the spare one, if there is one that serves. */
static bool open_spare(struct lsm *db, const char *path, struct reclog_writer **out)
{
    char spare[4100];
    uint64_t number = take_spare(db);
    if (number == 0)
        return false;
    spare_path(db, number, spare, sizeof spare);
    plsm_status status = reclog_create_over(db->env, spare, path, LOG_MAGIC, out);
    if (status == PLSM_OK)
        return true;
    env_remove(db->env, spare);
    mutex_lock(&db->lock);
    db->spare_fails |= status == PLSM_UNSUPPORTED;
    mutex_unlock(&db->lock);
    return false;
}

/* --- a log -------------------------------------------------------------------------------------------------------- */

static plsm_status log_open(struct lsm *db, uint64_t number, bool *over, struct reclog_writer **out)
{
    char path[4096];
    log_path(db, number, path, sizeof path);
    *over = open_spare(db, path, out);
    if (*over)
        return PLSM_OK;
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
    bool over = false;
    TRY(log_open(db, number, &over, out));
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
    bool over = false;
    db->preparing = true;
    mutex_unlock(&db->lock);
    plsm_status status = log_open(db, number, &over, &log), synced = PLSM_OK;
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
    db->prepared_over = log && over;
    condition_broadcast(&db->progress);
}

void log_prepare_early(struct lsm *db)
{
    if (atomic_load_explicit(&db->next_log_state, memory_order_relaxed) != NEXT_LOG_WANTED)
        return;
    struct mem_account *before = mem_account_use(NULL);
    mutex_lock(&db->lock);
    if (db->next_log_state == NEXT_LOG_WANTED && !db->preparing && db->broken == PLSM_OK) {
        db->next_log_state = NEXT_LOG_TRIED;
        log_prepare(db);
    }
    mutex_unlock(&db->lock);
    mem_account_use(before);
}

bool log_has_spare(const struct lsm *db)
{
    return db->spare_log != 0 || (db->prepared_log && db->prepared_over);
}

void log_give_up_spare(struct lsm *db)
{
    mutex_unlock(&db->lock);
    log_drop_spare(db);
    mutex_lock(&db->lock);
    if (!db->prepared_log || !db->prepared_over || db->preparing || db->broken != PLSM_OK)
        return;
    struct reclog_writer *log = db->prepared_log;
    db->prepared_log = NULL;
    db->preparing = true;
    mutex_unlock(&db->lock);
    reclog_close(log);
    mutex_lock(&db->lock);
    log_prepare(db); /* under the same number: emptied */
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
