/* Writing: the queue of writers, group commit, the log, the memtable.
 *
 * Writers queue up. The first is the leader: it takes the batches of those behind it into one log record, appends it
 * with one call, syncs if any of them asked for it, adds the changes to the memtable, makes them visible and wakes the
 * others (group commit, as in most logging databases since Gawlick and Kinkade 1985). Which sequence numbers the changes
 * of a group get stands in write_group.h.
 *
 * Nothing is visible that is not in the log, and what is synced is synced with everything before it: older logs first.
 */
#include "lsm/db.h"

#include <stdio.h>

#include "base/error.h"
#include "lsm/write_group.h"
#include "base/banned.h"

enum {
    GROUP_WRITERS_MAX = 64,
    GROUP_BYTES_MAX = 1 << 20,   /* a small write should not wait for many large ones */
    SPACE_CHECK_BYTES = 1 << 20, /* of log between two looks at the free space */
    SMALL_BATCH_BYTES = 64 << 10,
    WAIT_NS = 500 * 1000 * 1000, /* then conditions are looked at again */
};

struct writer {
    const struct batch *batch;
    lsm_prepare *prepare;
    void *arg;
    bool sync, done;
    plsm_status status;
    struct writer *next;
    condition wake;
    char message[256]; /* of the leader, when it failed for all */
};

/* --- free space --------------------------------------------------------------------------------------------------- */

/* Deleting takes space first (a log record, later a run), so some is kept for it: without that a full disk could never
 * be emptied again. Small batches with a deletion in them pass (a rename is one). */
static bool frees_space(const struct batch *batch)
{
    struct batch_change change;
    const uint8_t *at = batch->bytes.data, *end = at + batch->bytes.size;
    bool puts = false, deletes = false;
    while (batch_next(&at, end, &change)) {
        bool deletion = change.kind == BATCH_DELETE || change.kind == BATCH_DELETE_RANGE;
        puts |= !deletion;
        deletes |= deletion;
    }
    return !puts || (deletes && batch->bytes.size <= SMALL_BATCH_BYTES);
}

static plsm_status look_at_space(struct lsm *db)
{
    uint64_t log_bytes = reclog_size(db->active.log);
    struct env_space space;
    if (!db->space_low && log_bytes - db->space_checked_bytes < SPACE_CHECK_BYTES)
        return PLSM_OK;
    TRY(env_space(db->env, db->path, &space));
    uint64_t reserve = 2 * db->options.buffer_size + (4 << 20);
    if (reserve > space.bytes_total / 10)
        reserve = space.bytes_total / 10;
    db->space_low = space.bytes_free < reserve;
    db->space_checked_bytes = log_bytes;
    return PLSM_OK;
}

static plsm_status check_space(const struct lsm *db, const struct batch *batch)
{
    if (db->space_low && !frees_space(batch))
        return fail(PLSM_NO_SPACE, "%s: the file system is nearly full; delete something first (deleting still works)",
                    db->path);
    return PLSM_OK;
}

/* --- room in the memtable ----------------------------------------------------------------------------------------- */

plsm_status leader_rotate(struct lsm *db)
{
    struct memlog fresh = {.log_first = db->next_log, .log_last = db->next_log};
    struct view *view = view_alloc();
    plsm_status status = PLSM_OK;
    fresh.table = db_memtable_create(db);
    if (!view || !fresh.table)
        status = fail(PLSM_NO_MEMORY, "no memory for a memtable");
    if (status == PLSM_OK)
        status = log_create(db, fresh.log_first, reclog_size(db->active.log), false, &fresh.log);
    if (status == PLSM_OK) { /* logs must follow each other without a gap, also after power loss */
        status = env_sync_dir(db->env, db->path);
        if (status != PLSM_OK) { /* never retried: it could succeed with the name lost */
            mutex_lock(&db->lock);
            db_background_failed(db, status);
            mutex_unlock(&db->lock);
        }
    }
    if (status != PLSM_OK) {
        reclog_close(fresh.log);
        memtable_unref(fresh.table);
        view_release(view);
        return status;
    }
    mutex_lock(&db->lock);
    db->frozen[db->frozen_count++] = db->active;
    db->active = fresh;
    db->next_log++;
    db->space_checked_bytes = 0;
    view_publish(db, view);
    condition_broadcast(&db->work);
    mutex_unlock(&db->lock);
    return PLSM_OK;
}

/* Does the work of the background threads where there are none. Under lock, which it gives up meanwhile. */
static plsm_status work_inline(struct lsm *db)
{
    bool worked = false;
    mutex_unlock(&db->lock);
    plsm_status status = flush_oldest(db);
    if (status == PLSM_OK)
        status = compact_pending(db, false, &worked);
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

/* Slows the leader down while compaction is behind, so that it never has to stop for long. Under lock. */
static void pace(struct lsm *db, uint64_t bytes)
{
    uint64_t ns =
        db->options.background ? pacing_ns(db->writers_depth, db->options.l0_slowdown, db->options.l0_stop, bytes) : 0;
    if (!ns)
        return;
    mutex_unlock(&db->lock);
    env_sleep_ns(db->env, ns);
    counter_add(&db->counters, COUNT_STALL_NS, ns);
    mutex_lock(&db->lock);
}

/* Makes sure that the active memtable may take more. Leader, under lock, which it gives up at times. */
static plsm_status make_room(struct lsm *db, uint64_t bytes)
{
    pace(db, bytes);
    for (;;) {
        TRY(db_writable(db));
        if (memtable_bytes(db->active.table) < db->options.buffer_size)
            return PLSM_OK;
        bool full = db->frozen_count == FROZEN_MAX || db->writers_depth >= db->options.l0_stop;
        if (full) {
            TRY(db->options.background ? wait_for_progress(db) : work_inline(db));
            continue;
        }
        mutex_unlock(&db->lock);
        plsm_status status = leader_rotate(db);
        mutex_lock(&db->lock);
        if (status == PLSM_OK && !db->options.background)
            status = work_inline(db);
        TRY(status);
    }
}

/* --- a group ------------------------------------------------------------------------------------------------------ */

/* A failure is final: nobody knows what reached the disk. */
plsm_status leader_sync_logs(struct lsm *db)
{
    plsm_status status = PLSM_OK;
    struct reclog_writer *logs[FROZEN_MAX + 1];
    unsigned count = 0;
    mutex_lock(&db->lock);
    for (unsigned i = 0; i < db->frozen_count; i++)
        if (db->frozen[i].log)
            logs[count++] = db->frozen[i].log;
    logs[count++] = db->active.log;
    db->syncing = true;
    mutex_unlock(&db->lock);
    for (unsigned i = 0; i < count && status == PLSM_OK; i++)
        if (reclog_synced(logs[i]) < reclog_size(logs[i])) {
            counter_add(&db->counters, COUNT_SYNCS, 1);
            status = reclog_sync(logs[i]);
        }
    mutex_lock(&db->lock);
    if (status != PLSM_OK) /* here, before a flush may take the broken log away */
        db_break(db, status);
    db->syncing = false;
    condition_broadcast(&db->progress);
    mutex_unlock(&db->lock);
    return status;
}

/* Appends the batches as one record and adds them to the memtable. Leader, without lock. */
static plsm_status apply(struct lsm *db, const struct batch **batches, unsigned count, bool sync)
{
    plsm_slice parts[GROUP_WRITERS_MAX];
    size_t changes = 0, ranges = 0, bytes = 0, part_count = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!batches[i] || batches[i]->count == 0)
            continue;
        parts[part_count++] = buf_slice(&batches[i]->bytes);
        changes += batches[i]->count;
        ranges += batches[i]->ranges;
        bytes += batches[i]->bytes.size;
        TRY(check_space(db, batches[i]));
    }
    if (bytes > LSM_BATCH_BYTES_MAX)
        return fail(PLSM_TOO_LARGE, "a batch of %zu bytes is above the limit of %llu", bytes,
                    (unsigned long long)LSM_BATCH_BYTES_MAX);
    struct write_group group;
    write_group_begin(&group, db->active.table, atomic_load_explicit(&db->seq, memory_order_relaxed) + 1);
    if (part_count) {
        uint64_t size_before = reclog_size(db->active.log);
        TRY(memtable_reserve_ranges(db->active.table, changes, bytes, ranges));
        TRY(reclog_append(db->active.log, group.first, parts, part_count));
        simulated_write(db->context.simulated, reclog_size(db->active.log) - size_before);
        counter_add(&db->counters, COUNT_WRITES, 1);
        counter_add(&db->counters, COUNT_WRITE_BYTES, bytes);
        counter_add(&db->counters, COUNT_LOG_BYTES, bytes);
        counter_add(&db->counters, COUNT_USER_BYTES, bytes);
    }
    if (sync)
        TRY(leader_sync_logs(db));
    for (size_t i = 0; i < part_count; i++)
        write_group_add(&group, parts[i]);
    write_group_end(&group);
    if (part_count)
        atomic_store_explicit(&db->seq, group.seq, memory_order_release);
    return PLSM_OK;
}

/* A writer that only wants what is there to be synced. It must not fail for want of memory or space: what it stands for
 * is visible already. So such writers make groups of their own, for which nothing is allocated. */
static bool only_syncs(const struct writer *w)
{
    return !w->batch && !w->prepare;
}

/* Who joins the first writer: those behind it, as long as none has to look at the state first. */
static unsigned gather(struct lsm *db, const struct batch **batches, bool *sync)
{
    unsigned count = 0;
    size_t bytes = 0;
    *sync = false;
    for (struct writer *w = db->writers; w && count < GROUP_WRITERS_MAX; w = w->next) {
        size_t size = w->batch ? w->batch->bytes.size : 0;
        if (count > 0 &&
            (w->prepare || db->space_low || bytes + size > GROUP_BYTES_MAX || only_syncs(w) != only_syncs(db->writers)))
            break;
        batches[count++] = w->batch;
        bytes += size;
        *sync |= w->sync;
        if (w->prepare)
            break;
    }
    return count;
}

/* Takes the group out of the queue, tells the others how it ended and wakes the next leader. Under lock. */
static void finish_group(struct lsm *db, struct writer *leader, unsigned count, plsm_status status)
{
    for (unsigned i = 0; i < count; i++) {
        struct writer *w = db->writers;
        db->writers = w->next;
        if (!w->next)
            db->writers_end = &db->writers;
        w->status = status;
        if (w == leader)
            continue;
        if (status != PLSM_OK)
            snprintf(w->message, sizeof w->message, "%s", plsm_message());
        w->done = true;
        condition_signal(&w->wake);
    }
    if (db->writers)
        condition_signal(&db->writers->wake);
}

/* The leader's part. Under lock at both ends. */
static plsm_status lead(struct lsm *db, struct writer *leader, unsigned *count)
{
    const struct batch *batches[GROUP_WRITERS_MAX];
    bool sync = false;
    *count = 1;
    plsm_status status = db_writable(db);
    if (status == PLSM_OK && !only_syncs(leader)) {
        TRY(make_room(db, leader->batch ? leader->batch->bytes.size : 0));
        mutex_unlock(&db->lock);
        status = look_at_space(db);
        mutex_lock(&db->lock);
    }
    *count = gather(db, batches, &sync);
    mutex_unlock(&db->lock);
    if (status == PLSM_OK && leader->prepare)
        status = leader->prepare(leader->arg, db, &batches[0]);
    if (status == PLSM_OK)
        status = apply(db, batches, *count, sync);
    mutex_lock(&db->lock);
    for (unsigned i = 0; i <= db->frozen_count; i++) {
        const struct reclog_writer *log = i < db->frozen_count ? db->frozen[i].log : db->active.log;
        if (status != PLSM_OK && log && reclog_broken(log))
            db_break(db, status);
    }
    return status;
}

plsm_status lsm_write(struct lsm *db, const struct batch *batch, lsm_prepare *prepare, void *arg, bool sync)
{
    INVARIANT(db->magic == LSM_STRUCT_MAGIC);
    struct writer me = {.batch = batch, .prepare = prepare, .arg = arg, .sync = sync};
    if (db->options.read_only)
        return fail(PLSM_READ_ONLY, "%s: opened read-only", db->path);
    mutex_lock(&db->lock);
    bool waits = db->writers != NULL;
    condition_init(&me.wake);
    *db->writers_end = &me;
    db->writers_end = &me.next;
    while (waits && !me.done && db->writers != &me)
        condition_wait(&me.wake, &db->lock);
    if (!me.done) {
        unsigned count = 1;
        plsm_status status = lead(db, &me, &count);
        finish_group(db, &me, count, status);
        mutex_unlock(&db->lock);
    } else {
        mutex_unlock(&db->lock);
        if (me.status != PLSM_OK)
            fail(me.status, "%s", me.message);
    }
    condition_destroy(&me.wake);
    return me.status;
}

plsm_status lsm_sync(struct lsm *db)
{
    return lsm_write(db, NULL, NULL, NULL, true);
}

/* Freezes the active memtable as part of the queue, so that no other leader is at it. */
static plsm_status freeze(void *arg, struct lsm *db, const struct batch **batch)
{
    bool *frozen = arg;
    *batch = NULL;
    mutex_lock(&db->lock);
    bool room = db->frozen_count < FROZEN_MAX, empty = memtable_count(db->active.table) == 0;
    mutex_unlock(&db->lock);
    *frozen = empty;
    if (empty || !room)
        return PLSM_OK;
    TRY(leader_rotate(db));
    *frozen = true;
    return PLSM_OK;
}

plsm_status lsm_flush(struct lsm *db)
{
    bool frozen = false, worked = false;
    while (!frozen) {
        TRY(lsm_write(db, NULL, freeze, &frozen, false));
        for (bool more = true; more;) { /* all that is frozen, by this thread or by the flusher */
            TRY(flush_oldest(db));
            mutex_lock(&db->lock);
            more = db->frozen_count > 0;
            plsm_status status = more ? db_writable(db) : PLSM_OK;
            mutex_unlock(&db->lock);
            TRY(status);
        }
    }
    if (!db->options.background && !db->closing)
        TRY(compact_pending(db, false, &worked));
    garbage_collect(db);
    return PLSM_OK;
}
