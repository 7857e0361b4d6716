/* Writing: the queue of writers, group commit, the log, the memtable.
 *
 * Writers queue up. The first is the leader: it takes the batches of those behind it into one log record, appends it
 * with one call, syncs if any of them asked for it, adds the changes to the memtable, makes them visible and wakes the
 * others (group commit, as in most logging databases since Gawlick and Kinkade 1985). Which sequence numbers the
 * changes of a group get stands in write_group.h.
 *
 * Waiting costs more than writing: putting a thread to sleep and waking it takes some microseconds, a put well under
 * one. So the one behind a leader that does not sync first looks for a moment whether its turn has come. Syncing costs
 * more than waiting: those who were served by the last sync are mostly back in a moment with their next write, so a
 * leader that is about to sync waits for as many as there were lately, for a part of the time that a sync takes (as
 * PostgreSQL's commit_delay, but by what is measured).
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
    GROUP_BYTES_MAX = 1 << 20, /* a small write should not wait for many large ones */
    SPINS = 200,               /* looks for one's turn, about 3 us, before going to sleep */
    MESSAGE_BYTES = 256,
    COMPANY_SHARE = 4, /* the part of a sync that is waited for company */
    COMPANY_NS_MAX = 200 * 1000,
    COMPANY_NS_MIN = 20 * 1000, /* below that, syncs are too cheap to wait for anybody */
    COMPANY_PAUSE = 8,          /* groups that do not wait after waiting was in vain */
};

enum writer_state { WAITS, LEADS, IS_DONE };

/* On the stack of its thread. Who is served may return as soon as it sees IS_DONE: setting that is the last thing that
 * is done to a writer, unless it sleeps, for then it needs the lock to wake up. */
struct writer {
    const struct batch *batch;
    lsm_prepare *prepare;
    void *arg;
    bool sync, sleeps; /* sleeps: in `wake`, which is nothing before; under lock */
    _Atomic enum writer_state state;
    plsm_status status;
    struct writer *next;
    condition wake;
    char *message; /* MESSAGE_BYTES: of the leader, when it failed for all */
};

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
    uint64_t start_ns = env_now_ns(db->env);
    for (unsigned i = 0; i < count && status == PLSM_OK; i++)
        if (reclog_synced(logs[i]) < reclog_size(logs[i])) {
            counter_add(&db->counters, COUNT_SYNCS, 1);
            status = reclog_sync(logs[i]);
        }
    mutex_lock(&db->lock);
    if (status != PLSM_OK) /* here, before a flush may take the broken log away */
        db_break(db, status);
    db->syncing = false;
    db->sync_ns = env_now_ns(db->env) - start_ns;
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
        TRY(space_check(db, batches[i]));
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
        struct counter_stripe *counters = counters_mine(&db->counters);
        stripe_add(counters, COUNT_WRITES, 1);
        stripe_add(counters, COUNT_CHANGES, changes);
        stripe_add(counters, COUNT_WRITE_BYTES, bytes);
        stripe_add(counters, COUNT_LOG_BYTES, bytes);
        stripe_add(counters, COUNT_USER_BYTES, bytes);
    }
    db->group_bytes = bytes;
    if (sync)
        TRY(leader_sync_logs(db));
    for (size_t i = 0; i < part_count; i++)
        write_group_add(&group, parts[i]);
    write_group_end(&group);
    if (part_count)
        atomic_store_explicit(&db->seq, group.seq, memory_order_release);
    return PLSM_OK;
}

/* Tells a writer that its turn has come or gone. Under lock. */
static void set_state(struct writer *w, enum writer_state state)
{
    bool sleeps = w->sleeps;
    atomic_store_explicit(&w->state, state, memory_order_release);
    if (sleeps)
        condition_signal(&w->wake);
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

/* Waits, before a sync, for those whom the last syncs served. Leader, under lock, which it gives up meanwhile. */
static void await_company(struct lsm *db)
{
    uint64_t ns = db->sync_ns / COMPANY_SHARE;
    if (db->queued >= db->company || ns < COMPANY_NS_MIN)
        return;
    if (db->company_pause > 0) {
        db->company_pause--;
        return;
    }
    uint64_t end_ns = env_now_ns(db->env) + (ns < COMPANY_NS_MAX ? ns : COMPANY_NS_MAX), now_ns = 0;
    db->awaits_company = true;
    while (db->queued < db->company && (now_ns = env_now_ns(db->env)) < end_ns)
        condition_wait_ns(&db->company_came, &db->lock, end_ns - now_ns);
    db->awaits_company = false;
    if (db->queued < db->company)
        db->company_pause = COMPANY_PAUSE;
}

/* Takes the group out of the queue, tells the others how it ended and wakes the next leader. Under lock. */
static void finish_group(struct lsm *db, struct writer *leader, unsigned count, bool sync, plsm_status status)
{
    db->queued -= count;
    if (sync)
        db->company = db->queued + count < GROUP_WRITERS_MAX ? db->queued + count : GROUP_WRITERS_MAX;
    for (unsigned i = 0; i < count; i++) {
        struct writer *w = db->writers;
        db->writers = w->next;
        if (!w->next)
            db->writers_end = &db->writers;
        w->status = status;
        if (w == leader)
            continue;
        if (status != PLSM_OK)
            snprintf(w->message, MESSAGE_BYTES, "%s", plsm_message());
        set_state(w, IS_DONE);
    }
    if (db->writers)
        set_state(db->writers, LEADS);
}

/* The leader's part. Under lock at both ends. */
static void lead(struct lsm *db, struct writer *leader)
{
    const struct batch *batches[GROUP_WRITERS_MAX];
    bool sync = false;
    unsigned count = 1;
    plsm_status status = db_writable(db);
    if (status == PLSM_OK && !only_syncs(leader))
        status = make_room(db);
    if (status == PLSM_OK && !only_syncs(leader) && space_is_unknown(db)) {
        mutex_unlock(&db->lock);
        status = space_look(db);
        mutex_lock(&db->lock);
    }
    if (status == PLSM_OK) {
        if (leader->sync && !leader->prepare)
            await_company(db);
        count = gather(db, batches, &sync);
        mutex_unlock(&db->lock);
        if (leader->prepare)
            status = leader->prepare(leader->arg, db, &batches[0]);
        if (status == PLSM_OK)
            status = apply(db, batches, count, sync);
        mutex_lock(&db->lock);
    }
    for (unsigned i = 0; status != PLSM_OK && i <= db->frozen_count; i++) {
        const struct reclog_writer *log = i < db->frozen_count ? db->frozen[i].log : db->active.log;
        if (log && reclog_broken(log))
            db_break(db, status);
    }
    finish_group(db, leader, count, sync, status);
}

/* Waits until somebody has served this writer or it is the first. Under lock; returns whether it is still held. */
static bool wait_for_turn(struct lsm *db, struct writer *me)
{
    if (db->writers->next == me && !me->sync && !db->syncing) {
        mutex_unlock(&db->lock);
        for (unsigned i = 0; i < SPINS && atomic_load_explicit(&me->state, memory_order_acquire) == WAITS; i++)
            spin_pause();
        if (atomic_load_explicit(&me->state, memory_order_acquire) == IS_DONE)
            return false;
        mutex_lock(&db->lock);
    }
    if (atomic_load_explicit(&me->state, memory_order_relaxed) == WAITS) {
        condition_init(&me->wake);
        me->sleeps = true;
        while (atomic_load_explicit(&me->state, memory_order_relaxed) == WAITS)
            condition_wait(&me->wake, &db->lock);
        condition_destroy(&me->wake);
    }
    return true;
}

plsm_status lsm_write(struct lsm *db, const struct batch *batch, lsm_prepare *prepare, void *arg, bool sync)
{
    INVARIANT(db->magic == LSM_STRUCT_MAGIC);
    char message[MESSAGE_BYTES];
    struct writer me = {.batch = batch, .prepare = prepare, .arg = arg, .sync = sync, .message = message};
    if (db->options.read_only)
        return fail(PLSM_READ_ONLY, "%s: opened read-only", db->path);
    mutex_lock(&db->lock);
    bool first = db->writers == NULL, locked = true;
    atomic_init(&me.state, first ? LEADS : WAITS);
    *db->writers_end = &me;
    db->writers_end = &me.next;
    if (++db->queued >= db->company && db->awaits_company)
        condition_signal(&db->company_came);
    if (!first)
        locked = wait_for_turn(db, &me);
    enum writer_state state = atomic_load_explicit(&me.state, memory_order_acquire);
    if (state == LEADS)
        lead(db, &me);
    if (locked)
        mutex_unlock(&db->lock);
    if (state == IS_DONE && me.status != PLSM_OK)
        fail(me.status, "%s", message);
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
