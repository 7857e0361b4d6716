/* Bulk loads: sorted entries go into runs at once, without log, memtable and compaction.
 *
 * The runs are written as those of a compaction are, while anything else goes on, and nobody sees them. At the end they
 * come into the tree by one edit, as the leader of the write queue does it: so a load is one write among the others.
 *
 * Recency. A load is newer than all that was written before, so its runs must stand above what they overlap. All
 * memtables are flushed first: level 0 is ordered by sequence numbers, and a merge there may join a run of the load
 * with older ones, so nothing older may come behind the load. Then each run goes as deep as bulk_level allows.
 *
 * Visibility. The pages were written before the sequence number of the load is known, and hold 0. So the runs carry it
 * in memory (run->seq), where snapshots of before are too; once these are gone, at the latest after reopening, 0 is
 * right. (RocksDB keeps such a number, the global one of an ingested file, in the file; it can stay here since no
 * snapshot outlives the process.) The active memtable is replaced before the view is: whoever still looks at the old
 * view sees nothing of the load, and nothing that was written after it either.
 *
 * Durability. Later writes may be lost in a power loss that a load survives, never earlier ones: the logs are synced
 * first. */
#include "lsm/bulk.h"

#include "base/alloc.h"
#include "base/error.h"
#include "lsm/cursor.h"
#include "lsm/ingest.h"
#include "lsm/output.h"
#include "lsm/write_group.h"
#include "base/banned.h"

/* --- policy ------------------------------------------------------------------------------------------------------- */

unsigned bulk_level_for(const struct version *version, const struct lsm_options *options, uint64_t bytes)
{
    unsigned level = version_last_level(version);
    if (level == 0)
        level = 1;
    while (tier_policy(options).partial && level + 1 < LSM_LEVELS &&
           version->levels[level].bytes + bytes > level_bytes_max(options, level))
        level++;
    return level;
}

static bool overlaps(const struct version *version, unsigned level, plsm_slice smallest, plsm_slice largest)
{
    const struct level *l = &version->levels[level];
    size_t first = 0;
    if (level > 0)
        return version_overlapping(version, level, smallest, largest, &first) > 0;
    for (size_t i = 0; i < l->count; i++)
        if (run_overlaps(l->runs[i], smallest, largest))
            return true;
    return false;
}

unsigned bulk_level(const struct version *version, const struct merging *merging, unsigned deepest, plsm_slice smallest,
                    plsm_slice largest)
{
    unsigned level = 0;
    if (overlaps(version, 0, smallest, largest))
        return 0;
    while (level < deepest && !overlaps(version, level + 1, smallest, largest))
        level++;
    bool amid = level > 0 && level == merging->level && slice_compare(merging->smallest, largest) <= 0 &&
                slice_compare(merging->largest, smallest) >= 0;
    return amid ? level - 1 : level;
}

unsigned bulk_deepest(const struct version *version, unsigned deepest, const struct run_facts *facts)
{
    unsigned last = version_last_level(version), above = last > 0 ? last - 1 : 0;
    return facts->deletions > 0 && deepest > above ? above : deepest;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

struct lsm_bulk {
    struct lsm *db;
    struct output_job output;
    struct run_writer *writer; /* of the run being written; NULL: there is none */
    struct buf last_key;
    struct edit edit; /* the finished runs, in key order; their levels are chosen at the end */
    size_t named;     /* so many of them have names that are durable */
    uint64_t bytes;   /* of their files */
    uint64_t user_bytes;
    const struct bulk_batch *batch; /* that is spilled; NULL: it is a load of lsm_bulk_* */
    struct output_values values;    /* of that */
    bool broken;                    /* by a failure that cannot be taken back */
    bool ended;                     /* installed, or failed at it */
};

plsm_status lsm_bulk_create(struct lsm *db, struct lsm_bulk **out)
{
    *out = NULL;
    INVARIANT(db->magic == LSM_STRUCT_MAGIC);
    if (db->options.read_only)
        return fail(PLSM_READ_ONLY, "%s: opened read-only", db->path);
    struct lsm_bulk *bulk = mem_zalloc(sizeof *bulk);
    if (!bulk)
        return fail(PLSM_NO_MEMORY, "no memory for a bulk load");
    bulk->db = db;
    output_job_start(db, db->options.file_size, db_now_s(db), &bulk->output);
    *out = bulk;
    return PLSM_OK;
}

plsm_status bulk_create_of_batch(struct lsm *db, const struct bulk_batch *of, struct lsm_bulk **out)
{
    TRY(lsm_bulk_create(db, out));
    (*out)->batch = of;
    (*out)->output.bytes = of->bytes;
    (*out)->output.flush = true; /* keys and values stay where they are */
    return PLSM_OK;
}

void lsm_bulk_destroy(struct lsm_bulk *bulk)
{
    if (!bulk)
        return;
    struct lsm *db = bulk->db;
    struct mem_account *before = budget_enter(&db->budget, BUDGET_COMPACTION);
    run_writer_destroy(bulk->writer);
    output_values_end(&bulk->values);
    buf_free(&bulk->last_key);
    budget_leave(before);
    if (!bulk->ended)
        edit_disown(&bulk->edit);
    edit_free(&bulk->edit);
    mem_free(bulk);
    garbage_collect(db);
}

static plsm_status usable(const struct lsm_bulk *bulk)
{
    if (bulk->ended)
        return fail(PLSM_INVALID, "the bulk load has ended");
    return bulk->broken ? fail(PLSM_INVALID, "the bulk load has failed before; destroy it and begin again") : PLSM_OK;
}

static plsm_status finish_run(struct lsm_bulk *bulk)
{
    uint64_t bytes = 0;
    if (!bulk->writer)
        return PLSM_OK;
    struct mem_account *before = budget_enter(&bulk->db->budget, BUDGET_COMPACTION);
    plsm_status status = output_finish(bulk->db, bulk->writer, 0, 0, &bulk->edit, &bytes);
    budget_leave(before);
    bulk->writer = NULL;
    bulk->bytes += bytes;
    return status;
}

/* Where a batch would go: its keys may be anywhere. What others have written since the memtables were flushed is not
 * looked at. Under lock. */
static unsigned batch_level(const struct lsm *db, const struct bulk_batch *batch)
{
    static const struct merging none;
    unsigned deepest = bulk_level_for(db->version, &db->options, batch->bytes);
    return batch->ranges->count > 0 ? 0 : bulk_level(db->version, &none, deepest, batch->smallest, batch->largest);
}

/* Starts a run, for the level where it would go by what is known yet. */
static plsm_status start_run(struct lsm_bulk *bulk)
{
    struct lsm *db = bulk->db;
    mutex_lock(&db->lock);
    unsigned level = bulk->batch ? batch_level(db, bulk->batch)
                                 : bulk_level_for(db->version, &db->options, bulk->bytes + db->options.file_size);
    mutex_unlock(&db->lock);
    return output_start(db, level, &bulk->output, &bulk->writer);
}

static plsm_status cut(struct lsm_bulk *bulk)
{
    plsm_status status = finish_run(bulk);
    struct mem_account *before = budget_enter(&bulk->db->budget, BUDGET_COMPACTION);
    if (status == PLSM_OK)
        status = output_values_finish(&bulk->values, &bulk->edit);
    budget_leave(before);
    bulk->broken = status != PLSM_OK;
    return status;
}

/* Whether the run that is being written ends in front of a key. */
static bool ends_before(const struct lsm_bulk *bulk, plsm_slice key)
{
    const struct lsm *db = bulk->db;
    return run_writer_size(bulk->writer) >= db->options.file_size ||
           run_writer_entries(bulk->writer) >= budget_run_entries(db->budget.bytes) ||
           *bulk->last_key.data != *(const uint8_t *)key.data;
}

static plsm_status remember(struct lsm_bulk *bulk, plsm_slice key)
{
    bulk->last_key.size = 0;
    return buf_append(&bulk->last_key, key.data, key.size);
}

static plsm_status add(struct lsm_bulk *bulk, struct entry *entry)
{
    if (bulk->writer && ends_before(bulk, entry->key))
        TRY(finish_run(bulk));
    struct mem_account *before = budget_enter(&bulk->db->budget, BUDGET_COMPACTION);
    bulk->user_bytes += entry->key.size + entry->meta.size + entry->value.size;
    plsm_status status = remember(bulk, entry->key);
    if (status == PLSM_OK && !bulk->writer)
        status = start_run(bulk);
    if (status == PLSM_OK)
        status = bulk->batch ? output_add(bulk->db, NULL, &bulk->values, bulk->writer, entry, &bulk->edit)
                             : run_writer_add(bulk->writer, entry);
    budget_leave(before);
    return status;
}

plsm_status bulk_add(struct lsm_bulk *bulk, struct entry *entry)
{
    TRY(usable(bulk));
    plsm_status status = add(bulk, entry);
    bulk->broken = status != PLSM_OK;
    return status;
}

/* Keys must ascend. */
static plsm_status check_order(const struct lsm_bulk *bulk, plsm_slice key)
{
    int shown = (int)(key.size - 1 < 200 ? key.size - 1 : 200);
    if (bulk->last_key.size == 0 || slice_compare(key, buf_slice(&bulk->last_key)) > 0)
        return PLSM_OK;
    return fail(PLSM_INVALID, "the key \"%.*s\" does not come behind the one before it", shown,
                (const char *)key.data + 1);
}

plsm_status lsm_bulk_put(struct lsm_bulk *bulk, enum batch_kind kind, plsm_slice key, plsm_slice meta, plsm_slice value,
                         uint64_t expires_s)
{
    TRY(usable(bulk));
    INVARIANT(kind == BATCH_PUT || kind == BATCH_REFERENCE);
    INVARIANT(key.size >= 1 && key.size <= LSM_KEY_MAX && meta.size <= LSM_META_MAX && value.size <= LSM_VALUE_MAX);
    TRY(check_order(bulk, key));
    struct entry entry = {.key = key, .meta = meta, .value = value, .expires_s = expires_s, .kind = kind};
    plsm_status status = add(bulk, &entry);
    bulk->broken = status != PLSM_OK;
    return status;
}

/* A run of another store becomes one of the load. */
static plsm_status add_run(struct lsm_bulk *bulk, struct run *run)
{
    const struct run_facts *facts = &run->facts;
    plsm_status status = cut(bulk);
    struct mem_account *before = budget_enter(&bulk->db->budget, BUDGET_COMPACTION);
    if (status == PLSM_OK)
        status = remember(bulk, facts->largest);
    budget_leave(before);
    bulk->bytes += facts->file_size;
    bulk->user_bytes += facts->key_bytes + facts->value_bytes;
    if (status == PLSM_OK) {
        run_ref(run);
        status = edit_add(&bulk->edit, 0, run);
    }
    bulk->broken = status != PLSM_OK;
    return status;
}

plsm_status lsm_bulk_add_file(struct lsm_bulk *bulk, const char *path, lsm_bulk_allow *allow, void *arg)
{
    struct ingest_rules rules = {allow, arg};
    struct run *run = NULL;
    TRY(usable(bulk));
    TRY(ingest_run(bulk->db, path, &rules, &run));
    plsm_status status = check_order(bulk, run->facts.smallest);
    if (status == PLSM_OK)
        status = add_run(bulk, run);
    if (status != PLSM_OK)
        atomic_store(&run->obsolete, true);
    run_unref(run);
    return status;
}

/* --- looking at it ------------------------------------------------------------------------------------------------ */

bool lsm_bulk_bounds(const struct lsm_bulk *bulk, plsm_slice *smallest, plsm_slice *largest)
{
    const struct edit *edit = &bulk->edit;
    if (edit->added_count == 0)
        return false;
    *smallest = edit->added[0].run->facts.smallest;
    *largest = edit->added[edit->added_count - 1].run->facts.largest;
    return true;
}

/* The finished run whose bounds enclose the key; NULL: none does. */
static struct run *enclosing(const struct lsm_bulk *bulk, plsm_slice key)
{
    size_t low = 0, high = bulk->edit.added_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (slice_compare(bulk->edit.added[middle].run->facts.largest, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    struct run *run = low < bulk->edit.added_count ? bulk->edit.added[low].run : NULL;
    return run && slice_compare(run->facts.smallest, key) <= 0 ? run : NULL;
}

plsm_status lsm_bulk_contains(struct lsm_bulk *bulk, plsm_slice key, bool *out)
{
    struct cursor_options options = {.seq = SEQ_MAX, .no_value = true};
    struct cursor cursor = {0};
    struct run *run = enclosing(bulk, key);
    *out = false;
    if (!run)
        return PLSM_OK;
    TRY(cursor_open_runs(&cursor, &run, 1, &options));
    cursor_seek(&cursor, key);
    plsm_status status = cursor.status;
    *out = status == PLSM_OK && cursor.valid && slice_equal(cursor.entry.key, key);
    cursor_close(&cursor);
    return status;
}

/* --- bringing it in ----------------------------------------------------------------------------------------------- */

/* Flushes until at most `left` memtables are frozen. */
static plsm_status flush_down_to(struct lsm *db, unsigned left)
{
    for (;;) {
        mutex_lock(&db->lock);
        bool more = db->frozen_count > left;
        plsm_status status = more ? db_writable(db) : PLSM_OK;
        mutex_unlock(&db->lock);
        if (!more || status != PLSM_OK)
            return status;
        TRY(flush_oldest(db));
    }
}

plsm_status bulk_flush_leading(struct lsm *db)
{
    TRY(flush_down_to(db, FROZEN_MAX - 1));
    TRY(leader_rotate(db));
    return flush_down_to(db, 0);
}

static plsm_status sync_names(struct lsm *db)
{
    plsm_status status = env_sync_dir(db->env, db->path);
    if (status != PLSM_OK) { /* never retried: it could succeed with names lost, also of others */
        mutex_lock(&db->lock);
        db_background_failed(db, status);
        mutex_unlock(&db->lock);
    }
    return status;
}

/* Writes the changes that belong to the load into runs of their own, from `seq` on: they come in by the same edit, or
 * not at all. */
static plsm_status write_also(struct lsm_bulk *bulk, const struct batch *also, uint64_t seq)
{
    struct lsm *db = bulk->db;
    struct write_group group;
    if (!also || also->count == 0)
        return PLSM_OK;
    struct memtable *table = db_memtable_create(db);
    if (!table)
        return fail(PLSM_NO_MEMORY, "no memory for a memtable");
    write_group_begin(&group, table, WRITE_GROUP_ALONE, seq);
    plsm_status status = memtable_reserve_ranges(table, also->count, also->bytes.size, also->ranges);
    if (status == PLSM_OK) {
        write_group_add(&group, buf_slice(&also->bytes));
        write_group_end(&group);
        status = flush_table(db, &(struct memlog){.table = table}, &bulk->edit);
    }
    memtable_unref(table);
    return status == PLSM_OK ? sync_names(db) : status;
}

struct finishing {
    struct lsm_bulk *bulk;
    lsm_bulk_prepare *prepare;
    void *arg;
};

/* Nothing is in the load, nor does anything belong to it. */
static bool is_empty(const struct lsm_bulk *bulk, const struct batch *also)
{
    return bulk->edit.added_count == 0 && (!also || also->count == 0) &&
           (!bulk->batch || bulk->batch->ranges->count == 0);
}

/* The leader's part: no write is under way. */
static plsm_status bring_in(void *arg, struct lsm *db, const struct batch **batch)
{
    struct finishing *f = arg;
    struct lsm_bulk *bulk = f->bulk;
    const struct batch *also = NULL, *ranges = bulk->batch ? bulk->batch->ranges : NULL;
    *batch = NULL;
    if (f->prepare)
        TRY(f->prepare(f->arg, &also));
    TRY(cut(bulk));
    if (is_empty(bulk, also))
        return PLSM_OK;
    size_t count = bulk->edit.added_count;
    db->space_unseen_bytes += bulk->bytes + bulk->values.bytes;
    if (count > bulk->named)
        TRY(sync_names(db));
    TRY(leader_sync_logs(db));
    TRY(bulk_flush_leading(db));
    uint64_t seq = atomic_load_explicit(&db->seq, memory_order_relaxed);
    bulk->edit.seq = seq;
    TRY(write_also(bulk, ranges, seq + 1));
    seq = bulk->edit.seq + 1;
    for (size_t i = 0; i < count; i++)
        bulk->edit.added[i].run->seq = bulk->edit.added[i].run->facts.seq_max = seq;
    bulk->edit.seq = seq;
    TRY(write_also(bulk, also, seq + 1)); /* of a number of their own: they may lie between the runs */
    bulk->ended = true;                   /* whatever comes of it */
    /* What deletes ranges that the runs may lie in stands on level 0, so they do, too. */
    return install_bulk(db, &bulk->edit, ranges && ranges->count ? 0 : count, bulk->bytes);
}

/* The load is in, or failed for good. */
static plsm_status settle(struct lsm_bulk *bulk, plsm_status status)
{
    struct lsm *db = bulk->db;
    bool worked = false;
    bulk->broken = status != PLSM_OK;
    TRY(status);
    counter_add(&db->counters, COUNT_LOADED_BYTES, bulk->batch ? bulk->batch->bytes : bulk->user_bytes);
    counter_add(&db->counters, COUNT_BULK_BYTES, bulk->bytes + bulk->values.bytes);
    counter_add(&db->counters, bulk->batch ? COUNT_SPILLS : COUNT_BULK_LOADS, 1);
    counter_add(&db->counters, COUNT_CHANGES, bulk->batch ? bulk->batch->changes : 0);
    /* Where there are no threads for it. A failure here is remembered, and told to the next writer. */
    if (!db->options.background && flush_down_to(db, 0) == PLSM_OK)
        compact_pending(db, false, &worked);
    epoch_reclaim(db->epoch);
    garbage_collect(db);
    return PLSM_OK;
}

plsm_status lsm_bulk_finish(struct lsm_bulk *bulk, lsm_bulk_prepare *prepare, void *arg)
{
    struct lsm *db = bulk->db;
    TRY(usable(bulk));
    TRY(cut(bulk));
    if (is_empty(bulk, NULL) && !prepare)
        return PLSM_OK;
    struct finishing finishing = {bulk, prepare, arg};
    plsm_status status = sync_names(db);
    bulk->named = bulk->edit.added_count;
    if (status == PLSM_OK) /* most of it here, where writers need not wait */
        status = lsm_flush(db);
    if (status == PLSM_OK)
        status = lsm_write(db, NULL, bring_in, &finishing, false);
    return settle(bulk, status);
}

plsm_status bulk_finish_leading(struct lsm_bulk *bulk)
{
    struct finishing finishing = {.bulk = bulk};
    const struct batch *nothing;
    TRY(usable(bulk));
    return settle(bulk, bring_in(&finishing, bulk->db, &nothing));
}
