/* When to compact, and the background threads. What is done stands in compact_job.c. */
#include "lsm/db.h"

#include <stdio.h>

#include "base/error.h"
#include "base/banned.h"

enum {
    RETRY_NS = 1000 * 1000 * 1000,     /* after a failure that may pass */
    AGE_CHECK_NS = 1000 * 1000 * 1000, /* for old data, and for another mix of operations */
};

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

static plsm_status compact_once(struct lsm *db, bool *worked)
{
    struct compaction plan = {0};
    plsm_status status = PLSM_OK;
    mutex_lock(&db->edit_lock);
    struct version *version = version_newest(db);
    *worked = compaction_pick(version, &db->options, db->compact_cursor, db_now_s(db), &plan, &status);
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
    compaction_free(&plan);
    return needed;
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
        status = compact_once(db, &more);
        *worked |= more;
        more &= !once;
    }
    unclaim(db);
    mutex_lock(&db->lock);
    if (status == PLSM_OK)
        db->background_status = PLSM_OK;
    else if (!db->closing)
        db_background_failed(db, status);
    mutex_unlock(&db->lock);
    return status;
}

plsm_status lsm_compact(struct lsm *db, plsm_slice from, plsm_slice to)
{
    static const uint8_t lowest[1] = {0};
    struct buf highest = {0};
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
    for (unsigned level = 0; status == PLSM_OK && level + 1 < LSM_LEVELS; level++) {
        struct compaction plan = {0};
        mutex_lock(&db->lock);
        bool mine = claim(db, true);
        mutex_unlock(&db->lock);
        if (!mine) {
            status = fail(PLSM_READ_ONLY, "%s: closing", db->path);
            break;
        }
        mutex_lock(&db->edit_lock);
        struct version *version = version_newest(db);
        unsigned last = version_last_level(version);
        bool work = (level < last || level == 0) && compaction_pick_range(version, level, from, to, &plan, &status) &&
                    status == PLSM_OK;
        if (work)
            announce(db, &plan);
        mutex_unlock(&db->edit_lock);
        if (work) {
            status = compaction_run(db, version, &plan);
            announce_end(db);
        }
        compaction_free(&plan);
        version_unref(version);
        unclaim(db);
    }
    buf_free(&highest);
    garbage_collect(db);
    return status;
}

/* --- the threads -------------------------------------------------------------------------------------------------- */

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
            condition_wait(&db->work, &db->lock);
            continue;
        }
        mutex_unlock(&db->lock);
        plsm_status status = flush_oldest(db);
        garbage_collect(db);
        mutex_lock(&db->lock);
        if (status != PLSM_OK && !db->closing)
            condition_wait_ns(&db->work, &db->lock, RETRY_NS);
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
        bool compact = healthy && !db->manual_waiting && !db->compacting && (look_needed(db) || compact_needed(db));
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
            if (adopt_ns || db->options.compact_age_s || db->follow.on || expires(db->version))
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
        if (status != PLSM_OK && !db->closing)
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
