/* Compaction: merging runs of one level into the next, and the background threads. */
#include "lsm/db.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "lsm/merge.h"
#include "lsm/output.h"
#include "base/banned.h"

enum {
    STOP_CHECK_ENTRIES = 4096,     /* how often a compaction looks whether the store is closing */
    RETRY_NS = 1000 * 1000 * 1000, /* after a failure that may pass */
    ADOPT_CHECK_NS = 1000 * 1000 * 1000,
};

/* A compaction being carried out. */
struct job {
    struct lsm *db;
    const struct compaction *plan;
    struct version *version; /* the one it was picked from; a reference */
    uint64_t cutoff;
    struct output_job output;
    struct run_writer *writer;
    struct buf last_key; /* of the entry before, kept or not */
    uint64_t newer_seq;  /* the sequence number of the next newer version of that key */
    uint64_t seq_max;
    size_t below[LSM_LEVELS]; /* per deeper level: first run that does not end before the current key */
    struct edit edit;
    uint64_t bytes;
};

static plsm_status finish_output(struct job *job)
{
    uint64_t bytes = 0;
    if (!job->writer)
        return PLSM_OK;
    plsm_status status = output_finish(job->db, job->writer, job->plan->output_level, job->seq_max, &job->edit, &bytes);
    job->writer = NULL;
    job->bytes += bytes;
    return status;
}

/* Whether a deeper level may hold an older version of `key`. Keys must be asked in order. */
static bool exists_below(struct job *job, plsm_slice key)
{
    for (unsigned level = job->plan->output_level + 1; level < LSM_LEVELS; level++) {
        const struct level *l = &job->version->levels[level];
        size_t *at = &job->below[level];
        while (*at < l->count && slice_compare(l->runs[*at]->facts.largest, key) < 0)
            ++*at;
        if (*at < l->count && slice_compare(l->runs[*at]->facts.smallest, key) <= 0)
            return true;
    }
    return false;
}

/* Decides about one version and writes it when it is to be kept. */
static plsm_status take(struct job *job, struct entry entry)
{
    struct lsm *db = job->db;
    bool same = job->last_key.size && slice_equal(entry.key, buf_slice(&job->last_key));
    bool hidden = same && job->newer_seq <= job->cutoff;
    uint64_t seq = entry.seq;
    if (!same) {
        if (job->writer && (run_writer_size(job->writer) >= db->options.file_size ||
                            *job->last_key.data != *(const uint8_t *)entry.key.data))
            TRY(finish_output(job)); /* only between keys: all versions of one stay in one run */
        job->last_key.size = 0;
        TRY(buf_append(&job->last_key, entry.key.data, entry.key.size));
    }
    job->newer_seq = hidden ? job->newer_seq : seq;
    if (hidden)
        return PLSM_OK;
    if (seq <= job->cutoff) {
        if (entry.kind == BATCH_DELETE && !exists_below(job, entry.key))
            return PLSM_OK;
        entry.seq = 0;
    }
    if (!job->writer)
        TRY(output_start(job->db, job->plan->output_level, &job->output, &job->writer));
    return run_writer_add(job->writer, &entry);
}

static bool must_stop(struct lsm *db)
{
    mutex_lock(&db->lock);
    bool stop = db->closing || db->broken != PLSM_OK;
    mutex_unlock(&db->lock);
    return stop;
}

static plsm_status merge_all(struct job *job, struct merge *merge)
{
    uint64_t entries = 0;
    for (merge_first(merge); merge_valid(merge); merge_next(merge)) {
        if (++entries % STOP_CHECK_ENTRIES == 0 && must_stop(job->db))
            return fail(PLSM_READ_ONLY, "%s: closing", job->db->path);
        TRY(take(job, *merge_entry(merge)));
    }
    TRY(merge->status);
    return finish_output(job);
}

/* Opens the cursors of a plan: each run of level 0 by itself (newest first), a deeper level as one. */
static plsm_status open_cursors(const struct compaction *plan, struct cursor *cursors, unsigned *count)
{
    struct cursor_options options = {.seq = SEQ_MAX, .all_versions = true, .bulk = true};
    if (plan->level == 0) {
        for (size_t i = 0; i < plan->upper_count; i++, ++*count)
            TRY(cursor_open_runs(&cursors[*count], &plan->runs[i], 1, &options));
    } else {
        TRY(cursor_open_runs(&cursors[*count], plan->runs, plan->upper_count, &options));
        ++*count;
    }
    if (plan->lower_count) {
        TRY(cursor_open_runs(&cursors[*count], plan->runs + plan->upper_count, plan->lower_count, &options));
        ++*count;
    }
    return PLSM_OK;
}

static plsm_status merge_plan(struct job *job)
{
    const struct compaction *plan = job->plan;
    struct merge merge = {0};
    unsigned count = 0;
    struct cursor *cursors = mem_zalloc((plan->upper_count + 1) * sizeof *cursors);
    if (!cursors)
        return fail(PLSM_NO_MEMORY, "no memory for a compaction");
    plsm_status status = open_cursors(plan, cursors, &count);
    if (status == PLSM_OK)
        status = merge_init(&merge, cursors, count, true);
    if (status == PLSM_OK)
        status = merge_all(job, &merge);
    merge_destroy(&merge);
    for (unsigned i = 0; i < plan->upper_count + 1; i++)
        cursor_close(&cursors[i]);
    mem_free(cursors);
    return status;
}

static plsm_status remove_inputs(struct job *job)
{
    const struct compaction *plan = job->plan;
    for (size_t i = 0; i < plan->upper_count + plan->lower_count; i++) {
        uint64_t seq = plan->runs[i]->facts.seq_max;
        job->seq_max = seq > job->seq_max ? seq : job->seq_max;
        unsigned level = i < plan->upper_count ? plan->level : plan->output_level;
        TRY(edit_remove(&job->edit, level, plan->runs[i]->facts.number));
    }
    return PLSM_OK;
}

/* Carries out a plan that was picked from `version`. */
static plsm_status run_compaction(struct lsm *db, struct version *version, const struct compaction *plan)
{
    struct job job = {.db = db, .plan = plan, .version = version, .cutoff = snapshot_cutoff(db)};
    plsm_status status = remove_inputs(&job);
    if (status == PLSM_OK && plan->trivial) {
        run_ref(plan->runs[0]);
        status = edit_add(&job.edit, plan->output_level, plan->runs[0]);
    } else if (status == PLSM_OK) {
        output_job_start(db, &job.output);
        status = merge_plan(&job);
        if (status == PLSM_OK)
            status = env_sync_dir(db->env, db->path);
    }
    if (status == PLSM_OK) {
        status = install_edit(db, &job.edit, false);
    } else {
        for (size_t i = 0; i < job.edit.added_count && !plan->trivial; i++)
            atomic_store(&job.edit.added[i].run->obsolete, true);
    }
    if (status == PLSM_OK) {
        counter_add(&db->counters, plan->trivial ? COUNT_TRIVIAL_MOVES : COUNT_COMPACTIONS, 1);
        counter_add(&db->counters, COUNT_COMPACT_BYTES, job.bytes);
        struct buf *cursor = &db->compact_cursor[plan->level];
        plsm_slice last = plan->runs[plan->upper_count - 1]->facts.smallest;
        cursor->size = 0;
        status = buf_append(cursor, last.data, last.size);
    }
    run_writer_destroy(job.writer);
    buf_free(&job.last_key);
    edit_free(&job.edit);
    return status;
}

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

/* A reference to the newest version. */
static struct version *newest(struct lsm *db)
{
    mutex_lock(&db->lock);
    struct version *version = db->version;
    version_ref(version);
    mutex_unlock(&db->lock);
    return version;
}

static plsm_status compact_once(struct lsm *db, bool *worked)
{
    struct compaction plan = {0};
    plsm_status status = PLSM_OK;
    struct version *version = newest(db);
    *worked = compaction_pick(version, &db->options, db->compact_cursor, &plan, &status);
    if (*worked && status == PLSM_OK)
        status = run_compaction(db, version, &plan);
    compaction_free(&plan);
    version_unref(version);
    return status;
}

/* Under lock. */
static bool compact_needed(struct lsm *db)
{
    struct compaction plan = {0};
    plsm_status status = PLSM_OK;
    bool needed = compaction_pick(db->version, &db->options, db->compact_cursor, &plan, &status);
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
        struct version *version = newest(db);
        unsigned last = version_last_level(version);
        if ((level < last || level == 0) && compaction_pick_range(version, level, from, to, &plan, &status) &&
            status == PLSM_OK)
            status = run_compaction(db, version, &plan);
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
        if (db->frozen_count == 0 || db->broken != PLSM_OK) {
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

static void compactor(void *arg)
{
    struct lsm *db = arg;
    bool may_adopt = true, later = false;
    mutex_lock(&db->lock);
    while (!db->closing) {
        bool healthy = db->broken == PLSM_OK;
        bool compact = healthy && !db->manual_waiting && !db->compacting && compact_needed(db);
        bool train = healthy && db->training_due;
        if (!compact && !train) {
            if (healthy && may_adopt) {
                mutex_unlock(&db->lock);
                enum adoption outcome = adopt_pending(db);
                mutex_lock(&db->lock);
                may_adopt = outcome == ADOPTION_DONE;
                later = outcome == ADOPTION_LATER;
                continue; /* there may be other things to do by now */
            }
            if (later)
                condition_wait_ns(&db->work, &db->lock, ADOPT_CHECK_NS);
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
