/* Room for the next write: place in the active memtable, and how fast writers may go. Free space: space.c.
 *
 * All of it is the leader's (write.c). */
#include "lsm/db.h"

#include "base/error.h"
#include "base/banned.h"

enum {
    WAIT_NS = 500 * 1000 * 1000,        /* then conditions are looked at again */
    PACE_STEP_NS = 1000 * 1000,         /* a shorter sleep takes longer than it is asked to */
    TIGHT_PARTS = 4,                    /* of buffer_size a memtable may have where space is tight */
    PACE_LONGEST_NS = 20 * 1000 * 1000, /* to be waited for in all */
    PACE_SLEEP_NS = 8 * 1000 * 1000,    /* at once, by small writes: others are fewer, and would not be slowed enough */
    PACE_SMALL_BYTES = 8 << 10,
};

/* --- the memtable ------------------------------------------------------------------------------------------------- */

plsm_status leader_rotate(struct lsm *db)
{
    struct memlog fresh = {.log_first = db->next_log, .log_last = db->next_log};
    struct view *view = view_alloc();
    plsm_status status = PLSM_OK;
    fresh.table = db_memtable_create(db);
    if (!view || !fresh.table)
        status = fail(PLSM_NO_MEMORY, "no memory for a memtable");
    if (status == PLSM_OK)
        status = log_values(db, fresh.log_first, &fresh.values);
    if (status == PLSM_OK)
        status = log_next(db, fresh.log_first, &fresh.log);
    if (status != PLSM_OK) {
        reclog_close(fresh.log);
        value_log_unref(fresh.values);
        if (db->next_log_state == NEXT_LOG_TAKEN)
            db->next_log_state = NEXT_LOG_NOT_WANTED;
        memtable_unref(fresh.table);
        view_release(view);
        return status;
    }
    if (fresh.values)
        fresh.values->salt = reclog_salt(fresh.log);
    mutex_lock(&db->lock);
    db->frozen[db->frozen_count++] = db->active;
    db->active = fresh;
    db->next_log++;
    db->next_log_state = NEXT_LOG_NOT_WANTED;
    db->look_bytes = 0;
    view_publish(db, view);
    condition_broadcast(&db->work);
    mutex_unlock(&db->lock);
    return PLSM_OK;
}

/* --- pace --------------------------------------------------------------------------------------------------------- */

/* How long the leader should be held back for what the last group wrote. Under lock. */
static uint64_t pace_ns(struct lsm *db, uint64_t now_ns)
{
    uint64_t ns = pacing_ns(db->writers_depth, db->options.l0_slowdown, db->options.l0_stop, db->group_bytes);
    if (db->frozen_count < FROZEN_MAX || !db->flushing)
        return ns;
    uint64_t used = memlog_bytes(db, &db->active), size = db->options.buffer_size;
    uint64_t queued = queue_pacing_ns(db->group_bytes, used < size ? size - used : 0, db->flush_expected_ns,
                                      now_ns - db->flush_start_ns);
    return ns > queued ? ns : queued;
}

/* Slows the leader down while compaction is behind, or no memtable may be frozen until a flush ends, so that it never
 * has to stop for long. What is to be waited adds up, and time that passes anyway counts, until a sleep is worth it.
 * Under lock, which it gives up meanwhile. */
static void pace(struct lsm *db)
{
    bool free = db->writers_depth < db->options.l0_slowdown && db->frozen_count < FROZEN_MAX;
    if (free || !db->options.background)
        return;
    uint64_t now_ns = env_now_ns(db->env), ns = pace_ns(db, now_ns);
    if (db->paced_until_ns < now_ns)
        db->paced_until_ns = now_ns;
    db->paced_until_ns += ns;
    ns = db->paced_until_ns - now_ns;
    if (ns < PACE_STEP_NS)
        return;
    if (ns > PACE_LONGEST_NS)
        db->paced_until_ns = now_ns + PACE_LONGEST_NS;
    uint64_t longest = db->group_bytes <= PACE_SMALL_BYTES ? PACE_SLEEP_NS : PACE_LONGEST_NS;
    ns = ns < longest ? ns : longest;
    mutex_unlock(&db->lock);
    env_sleep_ns(db->env, ns);
    counter_add(&db->counters, COUNT_STALL_NS, ns);
    mutex_lock(&db->lock);
}

/* Does the work of the background threads where there are none. Under lock, which it gives up meanwhile. */
static plsm_status work_inline(struct lsm *db)
{
    bool worked = false;
    mutex_unlock(&db->lock);
    plsm_status status = flush_oldest(db);
    if (status == PLSM_OK)
        status = space_excuse(compact_pending(db, false, &worked));
    if (status == PLSM_OK)
        train_pending(db);
    garbage_collect(db);
    mutex_lock(&db->lock);
    return status;
}

/* Waits for the threads to get on; returns their error when they cannot. Under lock. */
static plsm_status wait_for_progress(struct lsm *db)
{
    if (db->background_status != PLSM_OK)
        return fail(db->background_status, "%s", db->background_message);
    uint64_t start_ns = env_now_ns(db->env);
    condition_broadcast(&db->work);
    condition_wait_ns(&db->progress, &db->lock, WAIT_NS);
    counter_add(&db->counters, COUNT_STALL_NS, env_now_ns(db->env) - start_ns);
    return PLSM_OK;
}

/* Whether writers must wait for level 0 to get smaller. Under lock. */
static bool is_behind(struct lsm *db)
{
    bool behind = db->writers_depth >= db->options.l0_stop;
    if (behind && db->compaction_lacks_space) { /* waiting would not help, deleting may */
        db->space_low = true;
        behind = false;
    }
    return behind;
}

plsm_status leader_await_levels(struct lsm *db)
{
    mutex_lock(&db->lock);
    plsm_status status = db_writable(db);
    while (status == PLSM_OK && is_behind(db)) {
        status = db->options.background ? wait_for_progress(db) : work_inline(db);
        if (status == PLSM_OK)
            status = db_writable(db);
    }
    mutex_unlock(&db->lock);
    return status;
}

plsm_status make_room(struct lsm *db)
{
    pace(db);
    for (;;) {
        TRY(db_writable(db));
        uint64_t bytes = memlog_bytes(db, &db->active);
        if (bytes < db->options.buffer_size / (db->space_tight ? TIGHT_PARTS : 1)) {
            if (bytes >= db->options.buffer_size / 2 && db->options.background &&
                db->next_log_state == NEXT_LOG_NOT_WANTED) {
                db->next_log_state = NEXT_LOG_WANTED;
                condition_broadcast(&db->work);
            }
            return PLSM_OK;
        }
        mutex_unlock(&db->lock);
        leader_await_landing(db);
        mutex_lock(&db->lock);
        bool behind = is_behind(db);
        bool full = db->frozen_count == FROZEN_MAX || behind;
        if (full) {
            TRY(db->options.background ? wait_for_progress(db) : work_inline(db));
            continue;
        }
        mutex_unlock(&db->lock);
        plsm_status status = leader_rotate(db);
        mutex_lock(&db->lock);
        if (status == PLSM_OK && !db->options.background)
            status = space_excuse(work_inline(db)); /* there is room in memory; as long as there is, it can wait */
        TRY(status);
    }
}
