/* Compaction, and the thread that does what is due. */
#include <stdio.h>

#include "base/alloc.h"
#include "log/hybrid_private.h"

#include "base/banned.h"

enum {
    COPY_AT_ONCE = 64, /* records, while writers wait */
    RETRY_NS = 1000000000,
    IDLE_NS = 1000000000,
    LISTING_KEPT_NS = 1000000000, /* unused: who lists comes again at once, or never */
    ORDER_KEPT_S = 10,            /* unused: to make it takes longer than a listing */
    AHEAD_PARTS = 4, /* pages older than three of four parts of the memory are written out before they must leave */
};

/* --- compaction --------------------------------------------------------------------------------------------------- */

struct compacting {
    struct hybrid *db;
    uint64_t addresses[COPY_AT_ONCE];
    size_t count;
    uint64_t bytes; /* of all records */
};

static plsm_status copy_collected(struct compacting *c)
{
    mutex_lock(&c->db->write_lock);
    plsm_status status = copy_live(c->db, c->addresses, c->count);
    mutex_unlock(&c->db->write_lock);
    c->count = 0;
    return status;
}

/* What is not the newest of its key never will be again; the rest is looked at once more when nobody writes. */
static plsm_status collect_newest(void *arg, const struct hybrid_record *record, uint64_t address)
{
    struct compacting *c = arg;
    struct found found;
    plsm_slice key = record_key(record);
    c->bytes += record_size(record);
    if (record_sizes(record).kind == BATCH_DELETE)
        return PLSM_OK;
    TRY(find_record(c->db, moment_now(c->db), key_hash(key.data, key.size), key, &found));
    if (found.record && found.address == address)
        c->addresses[c->count++] = address;
    return c->count == COPY_AT_ONCE ? copy_collected(c) : PLSM_OK;
}

/* The oldest segment that counts, if nothing is appended to it any more: its end, and its size; 0: there is none. */
static uint64_t oldest_end(struct hybrid *db, uint64_t *size)
{
    uint64_t end = 0;
    mutex_lock(&db->flush_lock);
    const struct hybrid_segments *list = hybrid_segments_of(db);
    for (size_t i = 0; i < list->count && end == 0 && list->at[i] != db->writing; i++)
        if (hybrid_segment_end(list->at[i]) > address_of(&db->begin)) {
            end = hybrid_segment_end(list->at[i]);
            *size = end - list->at[i]->start;
        }
    mutex_unlock(&db->flush_lock);
    return end;
}

/* Whether what lives in a segment, of `size` bytes, may be copied: it takes room until the segment is gone, and so do
 * the bytes that are to be written out in front of it. */
static plsm_status check_room(const struct hybrid *db, uint64_t size)
{
    uint64_t room = 0, live = counted(&db->live_bytes);
    TRY(room_for_merge(db->env, db->path, unwritten_bytes(db), &room));
    return (size < live ? size : live) <= room ? PLSM_OK : space_refuse_merge(db->path);
}

plsm_status compact_oldest(struct hybrid *db, bool although_some_wait, bool *done)
{
    *done = false;
    remove_pending(db);
    uint64_t size = 0, end = oldest_end(db, &size);
    if ((db->pending_end > 0 && !although_some_wait) || end == 0)
        return PLSM_OK;
    TRY(check_room(db, size));
    struct compacting c = {.db = db};
    TRY(hybrid_scan(db, address_of(&db->begin), end, collect_newest, &c));
    if (c.count > 0)
        TRY(copy_collected(&c));
    mutex_lock(&db->write_lock);
    atomic_store_explicit(&db->begin, end, memory_order_release);
    mutex_unlock(&db->write_lock);
    db->pending_end = end;
    count_add(&db->unused_bytes, -(size - c.bytes));
    count_add(&db->counters.compacted_segments, 1);
    *done = true;
    return take_recovery_point(db, false);
}

plsm_status hybrid_compact(struct hybrid *db)
{
    bool done = true;
    mutex_lock(&db->checkpoint_lock);
    plsm_status status = take_recovery_point(db, true);
    remove_pending(db);
    uint64_t until = address_of(&db->tail), size, end = oldest_end(db, &size);
    while (status == PLSM_OK && done && garbage_bytes(db) > 0 && end && end <= until) {
        status = compact_oldest(db, true, &done);
        end = oldest_end(db, &size);
    }
    remove_leftovers(db);
    mutex_unlock(&db->checkpoint_lock);
    return status;
}

/* Whether so much is garbage that the oldest segment is to go. Example: a log of 1,000 bytes of which 400 are live is
 * compacted with garbage_ppm 500,000, but not with 600,000. */
static bool compaction_is_due(const struct hybrid *db)
{
    uint64_t all = counted(&db->log_bytes);
    uint64_t written =
        address_of(&db->flushed) - address_of(&db->begin); /* of more than one segment, the first is full */
    return written > 2 * db->options.file_size && db->options.garbage_ppm < 1000000 &&
           garbage_bytes(db) >
               all / 1000000 * db->options.garbage_ppm + all % 1000000 * db->options.garbage_ppm / 1000000;
}

/* --- what is due -------------------------------------------------------------------------------------------------- */

bool maintenance_is_due(struct hybrid *db)
{
    bool save = recovery_point_is_due(db);
    if (__builtin_expect(!save && !compaction_is_due(db), 1))
        return false;
    uint64_t retry_ns = counted(&db->retry_ns), compact_ns = counted(&db->compact_ns);
    if (!save && compact_ns > retry_ns)
        retry_ns = compact_ns;
    return atomic_load(&db->broken) == PLSM_OK && (retry_ns == 0 || env_now_ns(db->env) >= retry_ns);
}

static void forget_unused(struct hybrid *db)
{
    listings_forget(db, LISTING_KEPT_NS);
    name_order_forget(db, ORDER_KEPT_S * UINT64_C(1000000000));
}

plsm_status do_maintenance(struct hybrid *db)
{
    bool done = false;
    plsm_status status = PLSM_OK;
    forget_unused(db);
    mutex_lock(&db->checkpoint_lock);
    if (recovery_point_is_due(db))
        status = take_recovery_point(db, false);
    if (status == PLSM_OK && compaction_is_due(db))
        status = compact_oldest(db, false, &done);
    /* Where nothing can be done, as snapshots or a segment that is not full hold it back, compaction alone need not be
     * asked for soon; behind the next recovery point it is. */
    bool later = compaction_is_due(db) && !done;
    atomic_store(&db->retry_ns, status != PLSM_OK ? env_now_ns(db->env) + RETRY_NS : 0);
    atomic_store(&db->compact_ns, later ? env_now_ns(db->env) + RETRY_NS : 0);
    mutex_unlock(&db->checkpoint_lock);
    return status;
}

/* Writes pages out before somebody waits for them to leave. */
static void flush_ahead(struct hybrid *db)
{
    uint64_t most = counted(&db->pages_most), kept = (most - most / AHEAD_PARTS) << db->page_bits;
    uint64_t tail = address_of(&db->tail), target = tail > kept ? (tail - kept) & ~(page_bytes(db) - 1) : 0;
    if (target <= address_of(&db->flushed))
        return;
    mutex_lock(&db->write_lock);
    make_read_only(db, target);
    mutex_unlock(&db->write_lock);
    (void)flush_until(db, target); /* whoever needs the room is told */
}

/* Looks at some of the keys that may have died; the rest at once in the next turn. */
static void drain_dead(struct hybrid *db)
{
    bool others = key_order_drain(db, &db->others), names = key_order_drain(db, &db->name_order.keys);
    if (!others && !names)
        return;
    atomic_store(&db->woken, true);
    give_writers_way(db);
}

/* What is due of a store that is written to. */
static void tend(struct hybrid *db)
{
    flush_ahead(db);
    if (maintenance_is_due(db))
        (void)do_maintenance(db); /* it is tried again, or the store is broken and says why */
    else
        forget_unused(db);
    drain_dead(db);
    if (atomic_load(&db->snapshot_gone)) {
        atomic_store(&db->snapshot_gone, false);
        mutex_lock(&db->checkpoint_lock);
        remove_pending(db);
        remove_leftovers(db);
        mutex_unlock(&db->checkpoint_lock);
    }
    epoch_reclaim(db->epoch); /* the page that left last */
}

static void run(void *arg)
{
    struct hybrid *db = arg;
    mutex_lock(&db->work_lock);
    while (!db->stop) {
        if (!atomic_exchange(&db->woken, false))
            condition_wait_ns(&db->work, &db->work_lock, IDLE_NS);
        mutex_unlock(&db->work_lock);
        atomic_store(&db->woken, false);
        if (db->options.read_only)
            forget_unused(db);
        else
            tend(db);
        if (return_is_due(db)) {
            return_page(db);
            atomic_store(&db->woken, true); /* there may be more, one at a time */
        }
        mutex_lock(&db->work_lock);
    }
    mutex_unlock(&db->work_lock);
}

plsm_status maintenance_start(struct hybrid *db)
{
    return env_thread_start(db->env, run, db, &db->thread);
}

void maintenance_stop(struct hybrid *db)
{
    if (!db->thread)
        return;
    mutex_lock(&db->work_lock);
    db->stop = true;
    condition_broadcast(&db->work);
    mutex_unlock(&db->work_lock);
    env_thread_join(db->thread);
    db->thread = NULL;
}

void maintenance_wake(struct hybrid *db)
{
    if (!db->thread || atomic_exchange(&db->woken, true))
        return;
    mutex_lock(&db->work_lock);
    condition_signal(&db->work);
    mutex_unlock(&db->work_lock);
}
