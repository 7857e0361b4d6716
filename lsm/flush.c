/* Flushing a memtable to level 0, and installing edits. */
#include "lsm/db.h"

#include <stdio.h>

#include "base/error.h"
#include "lsm/cursor.h"
#include "lsm/output.h"
#include "base/banned.h"

/* Finishes a run of level 0; *w becomes NULL. */
static plsm_status finish_run(struct lsm *db, struct run_writer **w, uint64_t seq_max, struct edit *edit)
{
    uint64_t bytes = 0;
    plsm_status status = output_finish(db, *w, 0, seq_max, edit, &bytes);
    counter_add(&db->counters, COUNT_FLUSH_BYTES, bytes);
    *w = NULL;
    return status;
}

static plsm_status write_table(struct lsm *db, const struct memtable *table, struct edit *edit)
{
    struct cursor_options options = {.seq = SEQ_MAX, .all_versions = true};
    struct cursor cursor;
    struct run_writer *w = NULL;
    uint64_t cutoff = snapshot_cutoff(db), newer_seq = SEQ_MAX, seq_max = 0;
    plsm_slice key = {0};
    struct output_job job;
    output_job_start(db, memtable_bytes(table), env_wall_ns(db->env) / 1000000000, &job);
    plsm_status status = cursor_open_memtable(&cursor, table, &options);
    for (cursor_first(&cursor); status == PLSM_OK && cursor.valid; cursor_next(&cursor)) {
        struct entry entry = cursor.entry;
        bool same = key.size && slice_equal(entry.key, key);
        if (same && newer_seq <= cutoff) /* hidden from every reader there is or can be */
            continue;
        if (w && *(const uint8_t *)key.data != *(const uint8_t *)entry.key.data)
            status = finish_run(db, &w, seq_max, edit);
        if (status == PLSM_OK && !w)
            status = output_start(db, 0, &job, &w);
        if (status != PLSM_OK)
            break;
        key = entry.key;
        newer_seq = entry.seq;
        if (entry.seq > seq_max)
            seq_max = entry.seq;
        if (entry.seq <= cutoff)
            entry.seq = 0;
        status = run_writer_add(w, &entry);
    }
    if (status == PLSM_OK)
        status = cursor.status;
    if (status == PLSM_OK && w)
        status = finish_run(db, &w, seq_max, edit);
    run_writer_destroy(w);
    cursor_close(&cursor);
    if (seq_max > edit->seq)
        edit->seq = seq_max;
    return status;
}

plsm_status flush_table(struct lsm *db, const struct memtable *table, struct edit *edit)
{
    struct mem_account *before = budget_enter(&db->budget, BUDGET_COMPACTION);
    plsm_status status = write_table(db, table, edit);
    budget_leave(before);
    return status;
}

/* After an edit is in the MANIFEST: the next version, and a view of it. */
static void adopt(struct lsm *db, struct edit *edit, struct version *next, struct view *view, bool flushed)
{
    struct version *old = db->version;
    struct memlog gone = {0};
    mutex_lock(&db->lock);
    for (size_t i = 0; i < edit->removed_count; i++) {
        const struct level *level = &old->levels[edit->removed[i].level];
        for (size_t j = 0; j < level->count; j++) {
            bool moved = false;
            for (size_t k = 0; k < edit->added_count; k++)
                moved |= edit->added[k].run == level->runs[j];
            if (level->runs[j]->facts.number == edit->removed[i].number && !moved)
                atomic_store(&level->runs[j]->obsolete, true);
        }
    }
    db->version = next;
    version_settle(next);
    version_tell_runs(next, false);
    if (flushed) {
        while (db->syncing) /* the leader may be at this log */
            condition_wait(&db->progress, &db->lock);
        gone = db->frozen[0];
        db->frozen_count--;
        for (unsigned i = 0; i < db->frozen_count; i++)
            db->frozen[i] = db->frozen[i + 1];
        db->log_floor = edit->log_floor;
    }
    view_publish(db, view);
    condition_broadcast(&db->progress);
    condition_broadcast(&db->work);
    mutex_unlock(&db->lock);
    version_unref(old);
    if (flushed) {
        reclog_close(gone.log);
        memtable_unref(gone.table);
        for (uint64_t number = gone.log_first; number <= gone.log_last; number++)
            garbage_add(db, 'l', number);
    }
}

/* A new MANIFEST in place of one that has grown. Under edit_lock. */
static plsm_status roll_over(struct lsm *db)
{
    struct manifest *fresh = NULL;
    bool named = false;
    mutex_lock(&db->lock);
    struct manifest_state state = {.version = db->version,
                                   .log_floor = db->log_floor,
                                   .next_number = db->next_number,
                                   .seq = atomic_load(&db->seq),
                                   .store_id = db->store_id};
    mutex_unlock(&db->lock);
    uint64_t number = manifest_number(db->manifest);
    plsm_status status = manifest_create(&db->context, number + 1, &state, &fresh, &named);
    if (status == PLSM_OK) {
        manifest_close(db->manifest, false);
        db->manifest = fresh;
        garbage_add(db, 'm', number);
    } else if (named) {
        mutex_lock(&db->lock);
        db_break(db, status);
        mutex_unlock(&db->lock);
    } else {
        status = PLSM_OK; /* the old one serves on; tried again after the next edit */
    }
    return status;
}

/* Marks the runs of an edit that did not come to be: their files go with them. */
static void disown(const struct edit *edit)
{
    for (size_t i = 0; i < edit->added_count; i++) {
        struct run *run = edit->added[i].run;
        bool moved = false;
        for (size_t j = 0; j < edit->removed_count; j++)
            moved |= edit->removed[j].number == run->facts.number;
        if (!moved)
            atomic_store(&run->obsolete, true);
    }
}

plsm_status install_edit(struct lsm *db, struct edit *edit, bool flushed)
{
    struct version *next = NULL;
    struct view *view = view_alloc();
    plsm_status status = view ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for a view");
    mutex_lock(&db->edit_lock);
    mutex_lock(&db->lock);
    if (status == PLSM_OK)
        status = db_writable(db);
    edit->next_number = db->next_number;
    mutex_unlock(&db->lock);
    if (status == PLSM_OK)
        status = version_apply(db->version, edit, &next);
    if (status == PLSM_OK)
        status = version_train(next, &db->options, true);
    if (status == PLSM_OK)
        status = manifest_append(db->manifest, edit);
    if (status == PLSM_OK) {
        adopt(db, edit, next, view, flushed);
        if (manifest_size(db->manifest) > db->options.manifest_size)
            status = roll_over(db);
    } else {
        version_unref(next);
        view_release(view);
        if (manifest_broken(db->manifest)) {
            /* Nobody knows whether the edit is on the disk: its runs must stay. */
            mutex_lock(&db->lock);
            db_break(db, status);
            mutex_unlock(&db->lock);
        } else {
            disown(edit);
        }
    }
    mutex_unlock(&db->edit_lock);
    return status;
}

plsm_status flush_oldest(struct lsm *db)
{
    struct edit edit = {0};
    mutex_lock(&db->lock);
    while (db->flushing)
        condition_wait(&db->progress, &db->lock);
    if (db->frozen_count == 0) {
        mutex_unlock(&db->lock);
        return PLSM_OK;
    }
    db->flushing = true;
    struct memlog oldest = db->frozen[0];
    mutex_unlock(&db->lock);

    edit.log_floor = oldest.log_last + 1;
    plsm_status status = flush_table(db, oldest.table, &edit);
    if (status == PLSM_OK) /* the runs' names must be as durable as the record that names them */
        status = env_sync_dir(db->env, db->path);
    if (status == PLSM_OK)
        status = install_edit(db, &edit, true);
    else
        disown(&edit);
    edit_free(&edit);

    mutex_lock(&db->lock);
    db->flushing = false;
    if (status == PLSM_OK) {
        counter_add(&db->counters, COUNT_FLUSHES, 1);
        db->background_status = PLSM_OK;
    } else {
        db_background_failed(db, status);
    }
    condition_broadcast(&db->progress);
    mutex_unlock(&db->lock);
    epoch_reclaim(db->epoch);
    return status;
}
