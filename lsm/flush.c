/* Flushing a memtable to level 0, and installing edits. */
#include "lsm/db.h"

#include <stdio.h>

#include "base/error.h"
#include "lsm/kept.h"
#include "lsm/output.h"
#include "lsm/separated.h"
#include "base/banned.h"

#define SECOND_NS UINT64_C(1000000000)

enum {
    LOOK_ENTRIES = 1024, /* of a memtable, between two looks at whether the next log is wanted */
    SPARE_MOST = 2,      /* times buffer_size is a log that may serve again */
};

/* A memtable on its way into runs of level 0. */
struct flush {
    struct lsm *db;
    const struct memlog *memlog;
    struct edit *edit;
    uint64_t values_number; /* of its log as a value log in the runs; 0: it is none, its values are copied */
    struct output_job job;
    struct run_writer *writer;
    struct output_values values;
    uint8_t byte; /* with which the keys of its run begin */
    uint64_t seq_max, now_s;
    uint64_t newer_seq; /* of the version in front of this one, of the same key */
    uint64_t entries;   /* so far */
    size_t range_at;    /* where the walk is among the range tombstones */
    struct tombstone_merge merge;
    struct output_ranges ranges;
};

/* Finishes a run, with its range tombstones. */
static plsm_status finish_run(struct flush *f)
{
    uint64_t bytes = 0;
    if (!f->writer)
        return PLSM_OK;
    TRY(output_add_ranges(&f->ranges, f->writer, f->byte, (plsm_slice){0}));
    plsm_status status = output_finish(f->db, f->writer, 0, f->seq_max, f->edit, &bytes);
    counter_add(&f->db->counters, COUNT_FLUSH_BYTES, bytes);
    f->writer = NULL;
    return status;
}

static plsm_status start_run(struct flush *f, uint8_t byte)
{
    f->byte = byte;
    return output_start(f->db, 0, &f->job, &f->writer);
}

/* Writes runs for the range tombstones in front of keys that begin with `byte`, which have no entries beside them. */
static plsm_status write_ranges(struct flush *f, unsigned byte)
{
    uint8_t first = 0;
    while (output_ranges_left(&f->ranges, byte, (plsm_slice){0}, &first)) {
        TRY(start_run(f, first));
        TRY(finish_run(f));
    }
    return PLSM_OK;
}

/* An entry that points into the memtable's log gets its value back, or points to it as runs do: from `bytes`. */
static plsm_status settle_value(struct flush *f, struct entry *entry, uint8_t *bytes)
{
    struct value_pointer pointer = value_pointer_of(entry);
    INVARIANT(f->memlog->values && pointer.log == f->memlog->values->number);
    if (f->values_number) {
        pointer.log = f->values_number;
        entry->value = slice(bytes, value_pointer_write(bytes, &pointer));
        return PLSM_OK;
    }
    f->values.record.size = 0;
    TRY(separated_read(f->memlog->values, entry->key, entry, SIM_SCAN, &f->values.record, &entry->value));
    entry->separated = false;
    return PLSM_OK;
}

static plsm_status add_entry(struct flush *f, struct entry *entry)
{
    uint8_t pointer[VALUE_POINTER_BYTES_MAX];
    if (__builtin_expect(entry->separated, 0))
        TRY(settle_value(f, entry, pointer));
    uint8_t byte = *(const uint8_t *)entry->key.data;
    if (f->writer && f->byte != byte)
        TRY(finish_run(f));
    if (!f->writer) {
        TRY(write_ranges(f, byte));
        TRY(start_run(f, byte));
    }
    return output_add(f->db, NULL, &f->values, f->writer, entry, f->edit);
}

static plsm_status flush_entry(void *arg, struct entry *entry, bool newest)
{
    struct flush *f = arg;
    uint64_t cutoff = f->merge.cutoff;
    if (++f->entries % LOOK_ENTRIES == 0)
        log_prepare_early(f->db);
    if (!newest && f->newer_seq <= cutoff) /* hidden from every reader there is or can be */
        return PLSM_OK;
    if (entry->seq > f->seq_max)
        f->seq_max = entry->seq;
    f->newer_seq = entry->seq;
    if (__builtin_expect(entry->expires_s != 0, 0))
        output_expire(f->db, f->now_s, entry);
    if (__builtin_expect(f->merge.list.count == 0, 1)) {
        entry->seq = entry->seq <= cutoff ? 0 : entry->seq; /* as tombstone_judge has it without a range */
        return add_entry(f, entry);
    }
    const struct tombstone *range = tombstones_next(&f->merge.list, &f->range_at, entry->key);
    return tombstone_judge(range, cutoff, 0, entry) ? PLSM_OK : add_entry(f, entry);
}

static plsm_status write_table(struct lsm *db, const struct memlog *memlog, struct edit *edit)
{
    const struct memtable *table = memlog->table;
    struct flush f = {
        .db = db, .memlog = memlog, .edit = edit, .now_s = db_now_s(db), .merge = {.cutoff = snapshot_cutoff(db)}};
    const struct tombstones *ranges = memtable_ranges(table);
    f.merge.arena.account = mem_account_now();
    plsm_status status = kept_take_over(db, memlog, edit, &f.values_number);
    if (status == PLSM_OK && ranges)
        status = tombstone_merge_add(&f.merge, ranges, 0);
    output_job_start(db, memtable_bytes(table), f.now_s, &f.job);
    f.job.flush = true;
    tombstone_merge_join(&f.merge);
    f.ranges.list = &f.merge.list;
    for (size_t i = 0; i < f.merge.list.count; i++)
        if (f.merge.list.list[i].seq > f.seq_max)
            f.seq_max = f.merge.list.list[i].seq;
    if (status == PLSM_OK)
        status = memtable_walk(table, flush_entry, &f);
    if (status == PLSM_OK)
        status = finish_run(&f);
    if (status == PLSM_OK)
        status = write_ranges(&f, UINT8_MAX + 1);
    if (status == PLSM_OK)
        status = output_values_finish(&f.values, edit);
    counter_add(&db->counters, COUNT_FLUSH_BYTES, f.values.bytes);
    output_values_end(&f.values);
    run_writer_destroy(f.writer);
    output_ranges_free(&f.ranges);
    tombstone_merge_free(&f.merge);
    if (f.seq_max > edit->seq)
        edit->seq = f.seq_max;
    return status;
}

plsm_status flush_table(struct lsm *db, const struct memlog *memlog, struct edit *edit)
{
    struct mem_account *before = budget_enter(&db->budget, BUDGET_COMPACTION);
    plsm_status status = write_table(db, memlog, edit);
    budget_leave(before);
    return status;
}

/* After an edit is in the MANIFEST: the next version, and a view of it; then the sequence number of a bulk load, from
 * which on readers see it. */
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
    for (size_t i = 0; i < old->values_count; i++)
        if (!version_values_of(next, old->values[i].log->number))
            atomic_store(&old->values[i].log->obsolete, true);
    for (size_t i = 0; i < edit->values_count; i++) /* all that it holds was deleted before it was flushed */
        if (!version_values_of(next, edit->values[i]->number))
            atomic_store(&edit->values[i]->obsolete, true);
    db->version = next;
    version_settle(next);
    version_tell_runs(next, false);
    if (flushed) {
        while (db->syncing) /* somebody may be at this log */
            condition_wait(&db->progress, &db->lock);
        gone = db->frozen[0];
        db->frozen_count--;
        for (unsigned i = 0; i < db->frozen_count; i++)
            db->frozen[i] = db->frozen[i + 1];
        db->log_floor = edit->log_floor;
    }
    view_publish(db, view);
    if (edit->seq > atomic_load_explicit(&db->seq, memory_order_relaxed))
        atomic_store_explicit(&db->seq, edit->seq, memory_order_release);
    condition_broadcast(&db->progress);
    condition_broadcast(&db->work);
    mutex_unlock(&db->lock);
    version_unref(old);
    if (flushed) {
        bool serves = gone.kept_bytes == 0 && reclog_size(gone.log) <= SPARE_MOST * db->options.buffer_size;
        reclog_close(gone.log);
        memtable_unref(gone.table);
        for (uint64_t number = gone.log_first; number <= gone.log_last; number++)
            if (gone.kept_bytes > 0 && gone.values->number == (number | VALUE_LOG_WRITTEN))
                atomic_store(&gone.values->obsolete, true); /* views may read from it */
            else
                garbage_add(db, serves && number == gone.log_last ? 's' : 'l', number);
        value_log_unref(gone.values);
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

/* The same as install_edit, under edit_lock. */
static plsm_status install(struct lsm *db, struct edit *edit, bool flushed)
{
    struct version *next = NULL;
    struct view *view = view_alloc();
    plsm_status status = view ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for a view");
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
        return manifest_size(db->manifest) > db->options.manifest_size ? roll_over(db) : PLSM_OK;
    }
    version_unref(next);
    view_release(view);
    if (manifest_broken(db->manifest)) {
        /* Nobody knows whether the edit is on the disk: its runs must stay. */
        mutex_lock(&db->lock);
        db_break(db, status);
        mutex_unlock(&db->lock);
    } else {
        edit_disown(edit);
    }
    return status;
}

plsm_status install_edit(struct lsm *db, struct edit *edit, bool flushed)
{
    mutex_lock(&db->edit_lock);
    plsm_status status = install(db, edit, flushed);
    mutex_unlock(&db->edit_lock);
    return status;
}

plsm_status install_bulk(struct lsm *db, struct edit *edit, size_t count, uint64_t bytes)
{
    mutex_lock(&db->edit_lock);
    unsigned deepest = bulk_level_for(db->version, &db->options, bytes);
    for (size_t i = 0; i < count; i++) {
        const struct run_facts *facts = &edit->added[i].run->facts;
        unsigned most = bulk_deepest(db->version, deepest, facts);
        edit->added[i].level = bulk_level(db->version, &db->merging, most, facts->smallest, facts->largest);
    }
    plsm_status status = install(db, edit, false);
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
    db->flushes_begun++;
    struct memlog oldest = db->frozen[0];
    uint64_t bytes = memlog_bytes(db, &oldest), start_ns = env_now_ns(db->env);
    db->flush_start_ns = start_ns;
    db->flush_expected_ns = db->flush_bytes_per_s ? bytes * SECOND_NS / db->flush_bytes_per_s : 0;
    mutex_unlock(&db->lock);

    edit.log_floor = oldest.log_last + 1;
    plsm_status status = flush_table(db, &oldest, &edit);
    if (status == PLSM_OK) /* the runs' names must be as durable as the record that names them */
        status = env_sync_dir(db->env, db->path);
    if (status == PLSM_OK) {
        log_prepare_early(db); /* before a leader goes on that waits for the end of this */
        status = install_edit(db, &edit, true);
    } else {
        edit_disown(&edit);
    }
    edit_free(&edit);
    if (status != PLSM_OK) { /* before anybody who waits for the end of it looks at the free space */
        garbage_collect_all(db);
        log_drop_spare(db);
    }

    mutex_lock(&db->lock);
    db->flushing = false;
    if (status == PLSM_OK) {
        uint64_t ns = env_now_ns(db->env) - start_ns;
        counter_add(&db->counters, COUNT_FLUSHES, 1);
        if (bytes >= db->options.buffer_size / 4) /* a small one is mostly waiting for the disk */
            db->flush_bytes_per_s = bytes * SECOND_NS / (ns ? ns : 1);
        db->background_status = PLSM_OK;
    } else {
        db_background_failed(db, status);
    }
    condition_broadcast(&db->progress);
    mutex_unlock(&db->lock);
    epoch_reclaim(db->epoch);
    return status;
}
