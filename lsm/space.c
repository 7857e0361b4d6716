/* Free space on the file system of a store.
 *
 * A tree gives room back by writing: deletions go into the log, the memtable and a run, and only merges then write anew
 * what is left, beside what they will remove. So room is kept in two steps. Below the first only batches that free
 * space are taken: what is between the two is for the merges that follow them. Below the second there is what deletions
 * themselves need, and opening, of which a merge takes no more than half. One that does not fit is given up, with what
 * it wrote, and leaves everything as it was. A flush may take all, since it gives a log back; deletions wait for its
 * end then. */
#include "lsm/space.h"

#include "base/error.h"
#include "lsm/db.h"
#include "base/banned.h"

enum {
    SPARE_BYTES_MAX = 4 << 20,
    SPARE_PARTS = 32,
    MERGE_PARTS = 4,
    GARBAGE_PARTS = 4,
    AWAITED_BELOW_BYTES = 128 << 10, /* spare bytes that may not do for a deletion */
    AWAITED_NS = 50000000,
    AWAITED_TIMES = 40,
};

uint64_t space_kept_share(uint64_t buffer_size, uint64_t bytes_total)
{
    uint64_t share = bytes_total / SPACE_PARTS / buffer_size;
    if (bytes_total == 0 || share > SPACE_KEPT_SHARE_MAX)
        return SPACE_KEPT_SHARE_MAX;
    return share > 0 ? share : 1;
}

struct space_kept space_kept(uint64_t bytes_total, uint64_t unflushed, uint64_t file_size, uint64_t merge_bytes)
{
    uint64_t spare = bytes_total / SPARE_PARTS, most = bytes_total / MERGE_PARTS;
    struct space_kept kept = {.unflushed = unflushed,
                              .deleting = unflushed + (spare < SPARE_BYTES_MAX ? spare : SPARE_BYTES_MAX)};
    kept.writing = kept.deleting + file_size + (merge_bytes < most ? merge_bytes : most);
    return kept;
}

/* What a flush of it may have to write: values that stay in its log too, if the log is not worth to be kept, or was
 * written by a process that died. */
static uint64_t bytes_of(const struct memlog *memlog)
{
    return memtable_bytes(memlog->table) + atomic_load_explicit(&memlog->kept_bytes, memory_order_relaxed);
}

/* Under lock. */
static struct space_kept kept_now(const struct lsm *db, uint64_t bytes_total)
{
    uint64_t unflushed = bytes_of(&db->active), largest = db->options.file_size;
    for (unsigned i = 0; i < db->frozen_count; i++)
        unflushed += bytes_of(&db->frozen[i]);
    if (db->kept_above != SIZE_MAX && largest < db->options.buffer_size * db->kept_share)
        largest = db->options.buffer_size * db->kept_share;
    return space_kept(bytes_total, unflushed, largest, compaction_room(db->version, &db->options));
}

void space_fit_options(struct lsm *db)
{
    struct env_space space;
    if (db->options.read_only || env_space(db->env, db->path, &space) != PLSM_OK)
        return;
    db->options.buffer_size = space_fit(db->options.buffer_size, space.bytes_total);
    db->options.file_size = space_fit(db->options.file_size, space.bytes_total);
    db->kept_share = space_kept_share(db->options.buffer_size, space.bytes_total);
}

/* --- writers ------------------------------------------------------------------------------------------------------ */

bool space_is_unknown(const struct lsm *db)
{
    return db->space_low || db->space_unseen_bytes >= db->space_every_bytes;
}

/* Waits for a flush that runs to get on, where it may be why little is free; one that has ended since may be as well,
 * if it ran while the free space was looked at: `begun` began before that, and `ran`. Under lock. */
static bool await_flush(struct lsm *db, uint64_t begun, bool ran)
{
    if (!db->space_low || db->space_spare_bytes >= AWAITED_BELOW_BYTES)
        return false;
    if (!db->flushing)
        return ran || db->flushes_begun != begun;
    condition_wait_ns(&db->progress, &db->lock, AWAITED_NS);
    return true;
}

/* One look; *again: a flush was waited for, or a log given up. */
static plsm_status look(struct lsm *db, bool *again)
{
    struct env_space space;
    mutex_lock(&db->lock);
    uint64_t begun = db->flushes_begun;
    bool ran = db->flushing;
    mutex_unlock(&db->lock);
    TRY(env_space(db->env, db->path, &space));
    mutex_lock(&db->lock);
    struct space_kept kept = kept_now(db, space.bytes_total);
    bool stuck = db->compaction_lacks_space && db->writers_depth >= db->options.l0_stop;
    bool low = space.bytes_free < kept.writing || stuck;
    db->space_tight = space.bytes_free < kept.deleting;
    db->space_spare_bytes = space_spare(space.bytes_free, kept.unflushed);
    if (low && !db->space_low) /* value logs with less garbage are due now */
        condition_broadcast(&db->work);
    db->space_low = low;
    *again = await_flush(db, begun, ran);
    mutex_unlock(&db->lock);
    if (low && log_drop_spare(db))
        *again = true;
    db->space_unseen_bytes = 0;
    db->space_every_bytes = space_look_every(space.bytes_total);
    return PLSM_OK;
}

plsm_status space_look(struct lsm *db)
{
    bool again = true;
    for (unsigned i = 0; again && i < AWAITED_TIMES; i++)
        TRY(look(db, &again));
    return PLSM_OK;
}

plsm_status space_check(const struct lsm *db, const struct batch *batch)
{
    return space_check_batch(db->space_low, db->space_spare_bytes, db->path, batch);
}

plsm_status space_has_for(struct lsm *db, uint64_t bytes, bool *out)
{
    struct env_space space;
    TRY(env_space(db->env, db->path, &space));
    mutex_lock(&db->lock);
    struct space_kept kept = kept_now(db, space.bytes_total);
    mutex_unlock(&db->lock);
    *out = space.bytes_free >= kept.writing && space.bytes_free - kept.writing >= bytes;
    return PLSM_OK;
}

/* --- merges ------------------------------------------------------------------------------------------------------- */

plsm_status space_for_merge(struct lsm *db, struct merge_room *out)
{
    struct env_space space;
    *out = (struct merge_room){0};
    TRY(env_space(db->env, db->path, &space));
    mutex_lock(&db->lock);
    struct space_kept kept = kept_now(db, space.bytes_total);
    mutex_unlock(&db->lock);
    out->floor_bytes = space_merge_floor(space.bytes_free, kept.deleting);
    out->bytes = space.bytes_free - out->floor_bytes;
    return PLSM_OK;
}

plsm_status space_for_more(const struct lsm *db, const struct merge_room *room)
{
    struct env_space space;
    TRY(env_space(db->env, db->path, &space));
    return space.bytes_free < room->floor_bytes ? space_refuse_merge(db->path) : PLSM_OK;
}

uint32_t values_garbage_ppm(const struct lsm *db)
{
    uint32_t ppm = db->options.separate_garbage_ppm;
    return db->space_low && ppm < 1000000 ? ppm / GARBAGE_PARTS : ppm;
}

plsm_status space_excuse(plsm_status status)
{
    return space_is_lacking(status) ? PLSM_OK : status;
}
