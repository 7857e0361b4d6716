/* When to compact, and the background threads. What is done stands in compact_job.c. */
#include "lsm/db.h"

#include <stdio.h>

#include "base/error.h"
#include "base/banned.h"

enum {
    RETRY_NS = 1000 * 1000 * 1000,      /* after a failure that may pass */
    SPARE_IDLE_NS = 1000 * 1000 * 1000, /* without a write: what logs hold in spare is given up */
    AGE_CHECK_NS = 1000 * 1000 * 1000,  /* for old data, and for another mix of operations */
};
#define RETRY_NS_MAX (UINT64_C(16) * RETRY_NS)

/* Takes the right to compact; false when the store is closing. Under lock. */
static bool claim(struct lsm *db, bool manual)
{
    db->manual_waiting += manual;
    while (db->compacting && !db->closing)
        condition_wait(&db->progress, &db->lock);
    db->manual_waiting -= manual;
    if (db->closing && db->options.background)
        return false;
    db->compacting = true;
    return true;
}

static void unclaim(struct lsm *db)
{
    mutex_lock(&db->lock);
    db->compacting = false;
    condition_broadcast(&db->progress);
    condition_broadcast(&db->work);
    mutex_unlock(&db->lock);
    epoch_reclaim(db->epoch);
}

struct version *version_newest(struct lsm *db)
{
    mutex_lock(&db->lock);
    struct version *version = db->version;
    version_ref(version);
    mutex_unlock(&db->lock);
    return version;
}

/* Says where the output of a plan will lie, before anybody can put a bulk load there. Under edit_lock. */
static void announce(struct lsm *db, const struct compaction *plan)
{
    struct merging *m = &db->merging;
    *m = (struct merging){plan->output_level, plan->runs[0]->facts.smallest, plan->runs[0]->facts.largest};
    for (size_t i = 1; i < plan->run_count; i++) {
        const struct run_facts *facts = &plan->runs[i]->facts;
        if (slice_compare(facts->smallest, m->smallest) < 0)
            m->smallest = facts->smallest;
        if (slice_compare(facts->largest, m->largest) > 0)
            m->largest = facts->largest;
    }
}

/* It is done, before the runs go that the plan names. */
static void announce_end(struct lsm *db)
{
    mutex_lock(&db->edit_lock);
    db->merging = (struct merging){0};
    mutex_unlock(&db->edit_lock);
}

static struct follow_totals totals_now(const struct lsm *db)
{
    return (struct follow_totals){.puts = counter_read(&db->counters, COUNT_CHANGES),
                                  .lookups = counter_read(&db->counters, COUNT_GETS),
                                  .found = counter_read(&db->counters, COUNT_GETS_FOUND),
                                  .scans = counter_read(&db->counters, COUNT_SCANS),
                                  .scan_entries = counter_read(&db->counters, COUNT_SCAN_ENTRIES)};
}

/* Whether it is time to look whether another policy suits better. Under lock. */
static bool look_needed(const struct lsm *db)
{
    if (!db->follow.on)
        return false;
    struct follow_totals now = totals_now(db);
    uint64_t entries = version_entries(db->version);
    return entries > 0 && follow_due(&db->follow, &now, entries);
}

/* Takes up the policy that suits what is asked of the store, if it is time. By who has compacting. */
static void look(struct lsm *db)
{
    uint64_t bytes = 0;
    mutex_lock(&db->edit_lock);
    mutex_lock(&db->lock);
    if (look_needed(db)) {
        struct follow_totals now = totals_now(db);
        for (unsigned level = 0; level < LSM_LEVELS; level++)
            bytes += db->version->levels[level].bytes;
        db->options.policy = follow_look(&db->follow, &now, &db->options, version_entries(db->version), bytes);
        db->writers_depth = writers_depth(db->version, &db->options);
    }
    mutex_unlock(&db->lock);
    mutex_unlock(&db->edit_lock);
}

/* Runs to be rewritten for a value log that can be emptied within `room`. PLSM_NO_SPACE: none can, though some ought to
 * be. */
static plsm_status pick_values(const struct lsm *db, const struct version *version, uint64_t room,
                               struct compaction *plan, bool *found)
{
    uint32_t ppm = values_garbage_ppm(db);
    plsm_status status = PLSM_OK;
    *found = compaction_pick_values(version, ppm, room, plan, &status);
    if (*found || !compaction_pick_values(version, ppm, UINT64_MAX, plan, &status))
        return status;
    compaction_free(plan);
    return status == PLSM_OK ? space_refuse_merge(db->path) : status;
}

/* What is due, with value logs last: of them, what there is room for. Under edit_lock. */
static plsm_status pick(const struct lsm *db, const struct version *version, uint64_t room, struct compaction *plan,
                        bool *found)
{
    plsm_status status = PLSM_OK;
    *found = compaction_pick(version, &db->options, db->compact_cursor, db_now_s(db), plan, &status);
    if (status != PLSM_OK || (*found && plan->collects == 0))
        return status;
    compaction_free(plan);
    return pick_values(db, version, room, plan, found);
}

/* One compaction, of value logs only or of anything. */
static plsm_status compact_once(struct lsm *db, bool values_only, bool *worked)
{
    struct compaction plan = {0};
    struct merge_room room;
    *worked = false;
    TRY(space_for_merge(db, &room));
    mutex_lock(&db->edit_lock);
    struct version *version = version_newest(db);
    plsm_status status = values_only ? pick_values(db, version, room.bytes, &plan, worked)
                                     : pick(db, version, room.bytes, &plan, worked);
    if (*worked && status == PLSM_OK)
        announce(db, &plan);
    mutex_unlock(&db->edit_lock);
    if (*worked && status == PLSM_OK) {
        status = compaction_run(db, version, &plan);
        announce_end(db);
    }
    compaction_free(&plan);
    version_unref(version);
    return status;
}

/* Under lock. */
static bool compact_needed(struct lsm *db)
{
    struct compaction plan = {0};
    plsm_status status = PLSM_OK;
    bool needed = compaction_pick(db->version, &db->options, db->compact_cursor, db_now_s(db), &plan, &status);
    if (!needed)
        needed = compaction_pick_values(db->version, values_garbage_ppm(db), UINT64_MAX, &plan, &status);
    compaction_free(&plan);
    return needed;
}

/* Remembers how a compaction ended. One that lacked room is tried again, less often each time: what it wrote until then
 * was in vain. Under lock. */
static void note_end(struct lsm *db, plsm_status status)
{
    db->compaction_lacks_space = space_is_lacking(status);
    if (db->compaction_lacks_space) {
        uint64_t ns = 2 * db->compact_delay_ns;
        db->compact_delay_ns = ns < RETRY_NS ? RETRY_NS : ns < RETRY_NS_MAX ? ns : RETRY_NS_MAX;
        db->compact_after_ns = env_now_ns(db->env) + db->compact_delay_ns;
    } else if (status == PLSM_OK) {
        db->compact_delay_ns = db->compact_after_ns = 0;
        db->background_status = PLSM_OK;
    } else if (!db->closing) {
        db_background_failed(db, status);
    }
}

/* Removes what the last step replaced, before the next one needs room. */
static void let_go(struct lsm *db)
{
    epoch_reclaim(db->epoch);
    garbage_collect(db);
    fit_young(db);
}

static plsm_status compact_values_instead(struct lsm *db, plsm_status lacking, bool *worked)
{
    struct fail_kept kept;
    fail_keep(&kept);
    let_go(db);
    plsm_status status = compact_once(db, true, worked);
    return status == PLSM_OK && !*worked ? fail_again(lacking, &kept) : status;
}

plsm_status compact_pending(struct lsm *db, bool once, bool *worked)
{
    plsm_status status = PLSM_OK;
    bool more = true;
    *worked = false;
    mutex_lock(&db->lock);
    bool mine = claim(db, false);
    mutex_unlock(&db->lock);
    if (!mine)
        return PLSM_OK;
    while (status == PLSM_OK && more) {
        look(db);
        status = compact_once(db, false, &more);
        if (space_is_lacking(status)) /* value logs may give room with less */
            status = compact_values_instead(db, status, &more);
        *worked |= more;
        more &= !once;
        let_go(db);
    }
    unclaim(db);
    if (space_is_lacking(status)) /* tried again soon */
        log_drop_spare(db);
    mutex_lock(&db->lock);
    note_end(db, status);
    mutex_unlock(&db->lock);
    return status;
}

/* Merges what a level has in a range into the next one, as much at once as there is room for. By who has compacting. */
static plsm_status compact_level(struct lsm *db, unsigned level, plsm_slice from, plsm_slice to, bool *worked)
{
    struct compaction plan = {0};
    struct merge_room room;
    *worked = false;
    TRY(space_for_merge(db, &room));
    plsm_status status = PLSM_OK;
    mutex_lock(&db->edit_lock);
    struct version *version = version_newest(db);
    unsigned last = version_last_level(version);
    bool work = (level < last || level == 0) && compaction_pick_range(version, level, from, to, &plan, &status);
    if (work && status == PLSM_OK)
        status = compaction_limit(version, room.bytes, &plan);
    *worked = work && status == PLSM_OK;
    if (*worked)
        announce(db, &plan);
    mutex_unlock(&db->edit_lock);
    if (*worked) {
        status = compaction_run(db, version, &plan);
        announce_end(db);
    }
    compaction_free(&plan);
    version_unref(version);
    return status;
}

/* A step of a manual compaction: of a level, or, behind the last one, of value logs. */
static plsm_status compact_step(struct lsm *db, unsigned level, plsm_slice from, plsm_slice to, bool *worked)
{
    *worked = false;
    mutex_lock(&db->lock);
    bool mine = claim(db, true);
    mutex_unlock(&db->lock);
    if (!mine)
        return fail(PLSM_READ_ONLY, "%s: closing", db->path);
    plsm_status status =
        level + 1 < LSM_LEVELS ? compact_level(db, level, from, to, worked) : compact_once(db, true, worked);
    unclaim(db);
    garbage_collect(db); /* before more is written */
    if (space_is_lacking(status))
        log_drop_spare(db);
    return status;
}

/* *lacks: there was no room for a part of it, the rest was done. */
static plsm_status compact_levels(struct lsm *db, plsm_slice from, plsm_slice to, bool *lacks)
{
    plsm_status status = PLSM_OK;
    *lacks = false;
    for (unsigned level = 0; status == PLSM_OK && level < LSM_LEVELS; level++)
        for (bool worked = true; worked && status == PLSM_OK;) {
            status = compact_step(db, level, from, to, &worked);
            worked &= level > 0; /* of level 0 all at once */
            if (space_is_lacking(status)) {
                *lacks = true;
                worked = false;
                status = PLSM_OK;
            }
        }
    return status;
}

plsm_status lsm_compact(struct lsm *db, plsm_slice from, plsm_slice to)
{
    static const uint8_t lowest[1] = {0};
    struct buf highest = {0};
    bool lacks = false;
    plsm_status status = lsm_flush(db);
    if (status == PLSM_OK && to.size == 0) { /* above every key: LSM_KEY_MAX times 0xff */
        status = buf_reserve(&highest, LSM_KEY_MAX);
        if (status == PLSM_OK) {
            memset(highest.data, 0xff, LSM_KEY_MAX);
            to = slice(highest.data, LSM_KEY_MAX);
        }
    }
    if (from.size == 0)
        from = slice(lowest, 1);
    if (status == PLSM_OK)
        status = compact_levels(db, from, to, &lacks);
    if (status == PLSM_OK && lacks) /* some of it may have given room for the rest */
        status = compact_levels(db, from, to, &lacks);
    if (status == PLSM_OK && lacks)
        status = space_refuse_merge(db->path);
    buf_free(&highest);
    return status;
}

/* --- the threads -------------------------------------------------------------------------------------------------- */

/* Waits for something to flush. What logs hold in spare is given up when nothing is written for a while. Under lock. */
static void await_work(struct lsm *db)
{
    if (!log_has_spare(db)) {
        condition_wait(&db->work, &db->lock);
        return;
    }
    uint64_t log = db->active.log_last, size = reclog_size(db->active.log);
    if (condition_wait_ns(&db->work, &db->lock, SPARE_IDLE_NS) || db->closing)
        return;
    if (log == db->active.log_last && size == reclog_size(db->active.log))
        log_give_up_spare(db);
}

static void flusher(void *arg)
{
    struct lsm *db = arg;
    mutex_lock(&db->lock);
    while (!db->closing) {
        bool healthy = db->broken == PLSM_OK;
        if (healthy && db->next_log_state == NEXT_LOG_WANTED) {
            log_prepare(db);
            continue;
        }
        if (db->frozen_count == 0 || !healthy) {
            await_work(db);
            continue;
        }
        mutex_unlock(&db->lock);
        plsm_status status = flush_oldest(db);
        garbage_collect(db);
        mutex_lock(&db->lock);
        if (status != PLSM_OK && !db->closing) {
            log_give_up_spare(db);
            condition_wait_ns(&db->work, &db->lock, RETRY_NS);
        }
    }
    mutex_unlock(&db->lock);
}

/* Whether some run will be worth rewriting when time has passed. */
static bool expires(const struct version *version)
{
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        for (size_t i = 0; i < version->levels[level].count; i++)
            if (version->levels[level].runs[i]->facts.due_s > 0)
                return true;
    return false;
}

static void compactor(void *arg)
{
    struct lsm *db = arg;
    bool may_adopt = true;
    uint64_t adopt_ns = 0; /* when to look for runs to adopt again; 0: not of itself */
    mutex_lock(&db->lock);
    while (!db->closing) {
        bool healthy = db->broken == PLSM_OK;
        bool may = healthy && !db->manual_waiting && !db->compacting && env_now_ns(db->env) >= db->compact_after_ns;
        bool compact = may && (look_needed(db) || compact_needed(db));
        bool train = healthy && db->training_due;
        if (!compact && !train) {
            if (healthy && may_adopt) {
                mutex_unlock(&db->lock);
                enum adoption outcome = adopt_pending(db);
                mutex_lock(&db->lock);
                may_adopt = outcome == ADOPTION_DONE;
                adopt_ns = outcome == ADOPTION_SOON ? ADOPT_SOON_NS : outcome == ADOPTION_LATER ? ADOPT_LATER_NS : 0;
                continue; /* there may be other things to do by now */
            }
            if (adopt_ns || db->options.compact_age_s || db->follow.on || db->compact_after_ns || expires(db->version))
                condition_wait_ns(&db->work, &db->lock, adopt_ns ? adopt_ns : AGE_CHECK_NS);
            else
                condition_wait(&db->work, &db->lock);
            may_adopt = true;
            continue;
        }
        bool worked = false;
        mutex_unlock(&db->lock);
        plsm_status status = compact ? compact_pending(db, true, &worked) : PLSM_OK;
        if (status == PLSM_OK)
            train_pending(db);
        garbage_collect(db);
        mutex_lock(&db->lock);
        if (status != PLSM_OK && !db->closing && !db->compact_after_ns)
            condition_wait_ns(&db->work, &db->lock, RETRY_NS);
    }
    mutex_unlock(&db->lock);
}

void background_start(struct lsm *db, plsm_status *status)
{
    if (db->options.read_only) {
        *status = env_thread_start(db->env, adopt_while_open, db, &db->compactor);
        return;
    }
    *status = env_thread_start(db->env, flusher, db, &db->flusher);
    if (*status == PLSM_OK)
        *status = env_thread_start(db->env, compactor, db, &db->compactor);
}

void background_stop(struct lsm *db)
{
    mutex_lock(&db->lock);
    db->closing = true;
    condition_broadcast(&db->work);
    condition_broadcast(&db->progress);
    mutex_unlock(&db->lock);
    env_thread_join(db->flusher);
    env_thread_join(db->compactor);
    db->flusher = db->compactor = NULL;
}
