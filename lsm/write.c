/* Writing: the queue of writers, group commit, the log, the memtable.
 *
 * Writers queue up. The first is the leader: it takes the batches of those behind it into one log record, appends it
 * with one call, syncs if any of them asked for it, adds the changes to the memtable, makes them visible and wakes the
 * others (group commit, as in most logging databases since Gawlick and Kinkade 1985). Which sequence numbers the
 * changes of a group get stands in write_group.h.
 *
 * The queue is that of turns.h. A thread that writes by itself takes no lock at all. Threads that write one small thing
 * after another do not change places with each write: who finds another one at it hovers first, for a put takes less
 * time than the lines it touches take to get from one processor to another.
 *
 * While writers of larger batches come from several threads, groups go into the memtable beside each other: a leader
 * that has appended its group hands the queue on to the next one and only then adds its changes, through a lane of the
 * memtable. So one thread appends while others add. Such a group is a flight: numbers are given as they take off, and
 * it becomes visible once it has landed and all before it have, so in the order of numbers: each waits until `seq` is
 * at the number in front of its own. What has to look at the state or to change more than the memtable (a write with
 * `prepare`, one that syncs, a deletion of a range, a rotation) waits until all have landed, and goes alone. A thread
 * that writes by itself always does, for it has nobody to hand anything to.
 *
 * Waiting costs more than writing: putting a thread to sleep and waking it takes some microseconds, a put well under
 * one. So those with small writes hover, and whoever is right behind the leader looks for a moment whether its turn has
 * come. Syncing costs more than waiting: those who were served by the last sync are mostly back in a moment with their
 * next write, so a leader that is about to sync waits for as many as there were lately, for a part of the time that a
 * sync takes (as PostgreSQL's commit_delay, but by what is measured).
 *
 * A batch that is larger than a memtable goes another way (spill.c).
 *
 * A sync that goes with no write (lsm_sync) does not queue: it takes its turn with other syncs alone, and writers go on
 * beside it, but for those who ask for a sync of their own.
 *
 * Nothing is visible that is not in the log, and what is synced is synced with everything before it: older logs first.
 */
#include "lsm/db.h"

#include <stdio.h>

#include "base/error.h"
#include "lsm/kept.h"
#include "lsm/spill.h"
#include "lsm/write_group.h"
#include "base/banned.h"

enum {
    GROUP_WRITERS_MAX = 64,
    GROUP_BYTES_MAX = 1 << 20, /* a small write should not wait for many large ones */
    SPINS = 200,               /* looks for a landing, about 3 us, before going to sleep */
    COMPANY_SHARE = 4,         /* the part of a sync that is waited for company */
    COMPANY_NS_MAX = 200 * 1000,
    COMPANY_NS_MIN = 20 * 1000,  /* below that, syncs are too cheap to wait for anybody */
    COMPANY_PAUSE = 8,           /* groups that do not wait after waiting was in vain */
    CROWD_GROUPS = 64,           /* groups that go beside others after writers met */
    BESIDE_BYTES_MAX = 16 << 10, /* of a group of such batches, but for its first */
    LARGE_SHARE = 8,             /* of a memtable, from which on a group is a large one */
    LOOK_SHARE = 8,              /* of the room in the memtable, after which it is looked at again */
    ENTRY_BYTES = 128,           /* that an entry takes there beside its own, about, with its share of nodes */
};
_Static_assert((int)BATCH_ROOM_BEFORE == (int)RECLOG_ROOM_BEFORE && (int)BATCH_ROOM_BEHIND == (int)RECLOG_ROOM_BEHIND,
               "a record fits around a batch with room");

struct writer {
    struct turn turn; /* first */
    const struct batch *batch;
    const struct batch_change *change; /* all that the batch holds; NULL: not told */
    lsm_prepare *prepare;
    void *arg;
    bool sync;
};

/* --- a group ------------------------------------------------------------------------------------------------------ */

/* By whose turn it is. A failure is final: nobody knows what reached the disk. */
static plsm_status sync_in_turn(struct lsm *db)
{
    plsm_status status = PLSM_OK;
    struct reclog_writer *logs[FROZEN_MAX + 1];
    unsigned count = 0;
    mutex_lock(&db->lock);
    for (unsigned i = 0; i < db->frozen_count; i++)
        if (db->frozen[i].log)
            logs[count++] = db->frozen[i].log;
    logs[count++] = db->active.log;
    uint64_t number = db->active.log_last, size = reclog_size(db->active.log);
    db->syncing = true;
    mutex_unlock(&db->lock);
    for (unsigned i = 0; i < count && status == PLSM_OK; i++)
        if (reclog_synced(logs[i]) < reclog_size(logs[i])) {
            counter_add(&db->counters, COUNT_SYNCS, 1);
            status = reclog_sync(logs[i]);
        }
    mutex_lock(&db->lock);
    if (status != PLSM_OK) { /* here, before a flush may take the broken log away */
        db_break(db, status);
    } else {
        db->synced_log = number;
        db->synced_size = size;
    }
    db->syncing = false;
    condition_broadcast(&db->progress);
    mutex_unlock(&db->lock);
    return status;
}

/* Syncs all that has been appended by now. Who comes while another one is at it waits for that, and finds mostly that
 * a third one, who waited too, has then synced for all of them. *took_ns becomes what its own sync took, if any. */
static plsm_status sync_logs(struct lsm *db, uint64_t *took_ns)
{
    mutex_lock(&db->lock);
    uint64_t number = db->active.log_last, size = reclog_size(db->active.log);
    mutex_unlock(&db->lock);
    mutex_lock(&db->sync_turn);
    bool done = db->synced_log > number || (db->synced_log == number && db->synced_size >= size);
    uint64_t start_ns = env_now_ns(db->env);
    plsm_status status = done ? PLSM_OK : sync_in_turn(db);
    if (!done)
        *took_ns = env_now_ns(db->env) - start_ns;
    mutex_unlock(&db->sync_turn);
    return status;
}

plsm_status leader_sync_logs(struct lsm *db)
{
    db->leader_syncs = true;
    plsm_status status = sync_logs(db, &db->sync_ns);
    db->leader_syncs = false;
    return status;
}

/* Writers that are served together: one record in the log, one sequence number. */
struct group {
    const struct batch *batches[GROUP_WRITERS_MAX];
    unsigned count;
    bool sync;
    struct writer *last;
    const struct batch_change *change;   /* all that it changes; NULL: that is in the parts */
    plsm_slice parts[GROUP_WRITERS_MAX]; /* of those that change something */
    size_t part_count;
    size_t value_max; /* size of the largest value */
    struct write_group write;
};

/* Counts a record of so many changes, which has grown the log. */
static void count_record(struct lsm *db, size_t changes, size_t bytes, uint64_t log_bytes)
{
    simulated_write(db->context.simulated, log_bytes);
    struct counter_stripe *counters = counters_mine(&db->counters);
    stripe_add(counters, COUNT_LOG_WRITES, 1);
    stripe_add(counters, COUNT_CHANGES, changes);
    stripe_add(counters, COUNT_LOG_BYTES, bytes);
    db->unlooked_bytes += bytes + changes * ENTRY_BYTES;
    db->space_unseen_bytes += bytes;
}

/* The parts of the group's record; *bytes becomes what its changes take in the memtable. */
static plsm_status make_parts(struct lsm *db, struct group *g, const plsm_slice **parts, size_t *count, size_t *bytes)
{
    *parts = g->parts;
    *count = g->part_count;
    if (__builtin_expect(g->value_max < db->kept_above, 1))
        return PLSM_OK;
    struct kept_record *kept = db->kept;
    TRY(kept_record_make(db->active.log, db->kept_above, g->parts, g->part_count, kept));
    write_group_keep(&g->write, db->kept_above, db->active.values->number,
                     reclog_size(db->active.log) + RECLOG_RECORD_BYTES);
    g->change = NULL; /* where a value stands in the log follows from where it stands in its batch */
    *bytes += (size_t)(kept->values * VALUE_POINTER_BYTES_MAX - kept->value_bytes);
    *parts = kept_record_parts(kept, count);
    return PLSM_OK;
}

static plsm_status append_parts(struct lsm *db, struct group *g, size_t changes, size_t ranges, size_t bytes)
{
    struct reclog_writer *log = db->active.log;
    uint64_t size_before = reclog_size(log);
    const plsm_slice *parts = NULL;
    size_t count = 0, in_memory = bytes;
    TRY(make_parts(db, g, &parts, &count, &in_memory));
    bool alone = g->write.lane == WRITE_GROUP_ALONE;
    bool in_place = g->count == 1 && g->batches[0]->roomy && !g->write.keeps;
    TRY(alone ? memtable_reserve_ranges(g->write.table, changes, in_memory, ranges)
              : memtable_lane_reserve(g->write.table, g->write.lane, changes, in_memory));
    plsm_status status = in_place ? reclog_append_in_place(log, g->write.first, g->batches[0]->bytes.data, bytes)
                                  : reclog_append(log, g->write.first, parts, count);
    if (status != PLSM_OK) {
        if (!alone)
            memtable_lane_end(g->write.table, g->write.lane);
        return status;
    }
    count_record(db, changes, bytes, reclog_size(log) - size_before);
    if (g->write.keeps) {
        atomic_fetch_add_explicit(&db->active.kept_bytes, db->kept->value_bytes, memory_order_relaxed);
        counter_add(&db->counters, COUNT_KEPT_BYTES, db->kept->value_bytes);
    }
    return PLSM_OK;
}

static plsm_status check_space(const struct lsm *db, const struct group *g)
{
    for (unsigned i = 0; i < g->count; i++)
        if (g->batches[i] && g->batches[i]->count > 0)
            TRY(space_check(db, g->batches[i]));
    return PLSM_OK;
}

/* Whether an append failed only for want of room. That may be there by now: a flush that took all of it gives its log
 * back, or what it has written; a merge does, and the spare log has some. */
static bool is_worth_another(const struct lsm *db, plsm_status status)
{
    return space_is_lacking(status) && !reclog_broken(db->active.log);
}

/* The same, once more where there may be room by now. */
static plsm_status append_in_room(struct lsm *db, struct group *g, size_t changes, size_t ranges, size_t bytes)
{
    plsm_status status = append_parts(db, g, changes, ranges, bytes);
    if (!is_worth_another(db, status))
        return status;
    log_drop_spare(db);
    TRY(space_look(db));
    TRY(check_space(db, g));
    return append_parts(db, g, changes, ranges, bytes);
}

/* Appends the batches as one record; then they may be added to the memtable. Leader, without lock. */
static plsm_status append(struct lsm *db, struct group *g)
{
    size_t changes = 0, ranges = 0, bytes = 0;
    g->part_count = g->value_max = 0;
    for (unsigned i = 0; i < g->count; i++) {
        const struct batch *batch = g->batches[i];
        if (!batch || batch->count == 0)
            continue;
        g->parts[g->part_count++] = buf_slice(&batch->bytes);
        changes += batch->count;
        ranges += batch->ranges;
        bytes += batch->bytes.size;
        g->value_max = batch->value_max > g->value_max ? batch->value_max : g->value_max;
    }
    TRY(check_space(db, g));
    if (bytes > LSM_BATCH_BYTES_MAX)
        return fail(PLSM_TOO_LARGE, "a batch of %zu bytes is above the limit of %llu", bytes,
                    (unsigned long long)LSM_BATCH_BYTES_MAX);
    if (g->part_count)
        TRY(append_in_room(db, g, changes, ranges, bytes));
    db->group_bytes = bytes;
    if (g->part_count && g->write.keeps)
        db->group_bytes -= db->kept->value_bytes - db->kept->value_bytes / db->kept_share;
    return PLSM_OK;
}

static void add_to_memtable(struct group *g)
{
    if (g->change)
        write_group_add_one(&g->write, g->change);
    else
        for (size_t i = 0; i < g->part_count; i++)
            write_group_add(&g->write, g->parts[i]);
    write_group_end(&g->write);
}

/* Does all that a group is, while no other one is under way. Leader, without lock. */
static plsm_status apply(struct lsm *db, struct group *g)
{
    TRY(append(db, g));
    if (g->sync)
        TRY(leader_sync_logs(db));
    add_to_memtable(g);
    if (g->part_count)
        atomic_store_explicit(&db->seq, g->write.seq, memory_order_release);
    return PLSM_OK;
}

/* --- the queue ---------------------------------------------------------------------------------------------------- */

/* The one behind a writer in the queue; NULL: nobody. */
static struct writer *behind(const struct writer *w)
{
    return (struct writer *)turn_behind(&w->turn);
}

/* How many writers there are from `first` on, up to what a group may have. The leader's. */
static unsigned queued(const struct writer *first)
{
    unsigned count = 0;
    for (const struct writer *w = first; w && count < GROUP_WRITERS_MAX; w = behind(w))
        count++;
    return count;
}

/* Whether what a writer wants changes nothing but the memtable. */
static bool can_fly(const struct writer *w)
{
    return w->batch && w->batch->ranges == 0 && w->batch->count > 0 && !w->prepare && !w->sync;
}

static bool is_large(const struct lsm *db, size_t bytes)
{
    return bytes >= db->options.buffer_size / LARGE_SHARE;
}

/* Whether a leader's group goes beside others. */
static bool goes_beside(const struct lsm *db, const struct writer *leader)
{
    return db->crowd > 0 && can_fly(leader) && leader->batch->bytes.size > TURNS_SHORT_BYTES &&
           !is_large(db, leader->batch->bytes.size) && !db->space_low;
}

/* Who joins the first writer: those behind it, as long as none has to look at the state first. */
static void gather(struct lsm *db, struct writer *first, bool beside, struct group *g)
{
    size_t bytes = 0;
    g->count = 0;
    g->sync = false;
    g->change = NULL;
    for (struct writer *w = first; w && g->count < GROUP_WRITERS_MAX; w = behind(w)) {
        size_t size = w->batch ? w->batch->bytes.size : 0;
        if (g->count > 0 && (w->prepare || db->space_low || bytes + size > GROUP_BYTES_MAX))
            break;
        if (g->count > 0 && beside && (bytes + size > BESIDE_BYTES_MAX || !can_fly(w)))
            break;
        g->change = g->count == 0 ? w->change : NULL;
        g->batches[g->count++] = w->batch;
        g->last = w;
        bytes += size;
        g->sync |= w->sync;
        if (w->prepare)
            break;
    }
}

/* Waits, before a sync, for those whom the last syncs served. Leader. */
static void await_company(struct lsm *db, const struct writer *first)
{
    uint64_t ns = db->sync_ns / COMPANY_SHARE;
    unsigned there = queued(first);
    if (there >= db->company || ns < COMPANY_NS_MIN)
        return;
    if (db->company_pause > 0) {
        db->company_pause--;
        return;
    }
    uint64_t end_ns = env_now_ns(db->env) + (ns < COMPANY_NS_MAX ? ns : COMPANY_NS_MAX), now_ns = 0;
    mutex_lock(&db->lock);
    for (; there < db->company && (now_ns = env_now_ns(db->env)) < end_ns; there = queued(first)) {
        atomic_store(&db->awaited, db->company - there);
        if (queued(first) == there) /* who comes from here on is counted */
            condition_wait_ns(&db->company_came, &db->lock, end_ns - now_ns);
    }
    atomic_store(&db->awaited, 0);
    mutex_unlock(&db->lock);
    if (there < db->company)
        db->company_pause = COMPANY_PAUSE;
}

/* A writer has come: the leader may be waiting for it. */
static void tell_arrival(struct lsm *db)
{
    unsigned awaited = atomic_load(&db->awaited);
    while (awaited > 0 && !atomic_compare_exchange_weak(&db->awaited, &awaited, awaited - 1))
        ;
    if (awaited != 1)
        return;
    mutex_lock(&db->lock);
    condition_signal(&db->company_came);
    mutex_unlock(&db->lock);
}

/* Takes all writers up to `last` out of the queue and returns who is to lead then; NULL: nobody is there, and this
 * thread does not lead any more. `met`: others were on their way into the memtable beside them. */
static inline struct turn *leave_queue(struct lsm *db, struct writer *last, bool met)
{
    if (behind(last) || met)
        db->crowd = CROWD_GROUPS;
    else
        db->crowd -= db->crowd > 0;
    return turns_leave(&db->turns, &last->turn);
}

/* Tells all of the group of `me`, this thread's own writer, how it ended. They have left the queue. */
static void tell_group(struct lsm *db, struct writer *me, const struct group *g, plsm_status status)
{
    bool locked = false;
    turns_tell_served(&db->turns, &me->turn, g->count, status, &locked);
    if (locked)
        mutex_unlock(&db->lock);
}

/* --- groups beside each other ------------------------------------------------------------------------------------- */

/* Waits until all up to a number are visible. */
static void await_seq(struct lsm *db, uint64_t seq)
{
    for (unsigned i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&db->seq, memory_order_acquire) >= seq)
            return;
        spin_pause();
    }
    mutex_lock(&db->lock);
    atomic_fetch_add(&db->awaits_landing, 1);
    while (atomic_load(&db->seq) < seq)
        condition_wait(&db->landing, &db->lock);
    atomic_fetch_sub(&db->awaits_landing, 1);
    mutex_unlock(&db->lock);
}

void leader_await_landing(struct lsm *db)
{
    await_seq(db, db->flight_seq);
}

/* A lane that nobody uses, preferably always the same one for a thread; waits for one to get free. Leader. */
static unsigned await_lane(struct lsm *db)
{
    for (;;) {
        for (unsigned i = 0; i < MEMTABLE_LANES; i++) {
            unsigned lane = (counter_stripe + i) % MEMTABLE_LANES;
            if (!atomic_load_explicit(&db->lanes[lane].taken, memory_order_acquire))
                return lane;
        }
        uint64_t seq = atomic_load_explicit(&db->seq, memory_order_acquire);
        await_seq(db, seq < db->flight_seq ? seq + 1 : seq); /* lanes are left before that */
    }
}

/* The newest number that was given away. Leader. */
static uint64_t newest_seq(const struct lsm *db)
{
    uint64_t seq = atomic_load_explicit(&db->seq, memory_order_acquire);
    return seq < db->flight_seq ? db->flight_seq : seq;
}

/* Makes a group visible once all before it are. */
static void land(struct lsm *db, const struct group *g)
{
    atomic_store_explicit(&db->lanes[g->write.lane].taken, false, memory_order_release);
    await_seq(db, g->write.first - 1);
    atomic_store(&db->seq, g->write.seq);
    if (atomic_load(&db->awaits_landing) == 0)
        return;
    mutex_lock(&db->lock);
    condition_broadcast(&db->landing);
    mutex_unlock(&db->lock);
}

/* Adds a group that has been appended to the memtable while the next leader is at work. */
static void fly(struct lsm *db, struct writer *me, struct group *g)
{
    bool met = atomic_load_explicit(&db->seq, memory_order_relaxed) < db->flight_seq;
    atomic_store_explicit(&db->lanes[g->write.lane].taken, true, memory_order_relaxed);
    db->flight_seq = g->write.seq;
    turns_hand_over(&db->turns, leave_queue(db, g->last, met));
    add_to_memtable(g);
    land(db, g);
    tell_group(db, me, g, PLSM_OK);
}

/* --- the leader --------------------------------------------------------------------------------------------------- */

/* Whether the active memtable may take more, and is not so full that the next log is to be made: make_room sees to
 * that. It is not looked at again before a part of what is left can have been used up. */
static bool has_room(struct lsm *db)
{
    if (db->unlooked_bytes < db->look_bytes)
        return true;
    size_t bytes = (size_t)memlog_bytes(db, &db->active), limit = db->options.buffer_size;
    if (db->options.background && db->next_log_state == NEXT_LOG_NOT_WANTED)
        limit /= 2;
    if (bytes >= limit)
        return false;
    db->unlooked_bytes = 0;
    db->look_bytes = (limit - bytes) / LOOK_SHARE;
    return true;
}

/* Whether nothing is to be done before the next write. Without lock, so as it was a moment ago. */
static bool is_ready(struct lsm *db)
{
    return has_room(db) && db->broken == PLSM_OK && db->frozen_count < FROZEN_MAX &&
           db->writers_depth < db->options.l0_slowdown && !space_is_unknown(db);
}

/* Makes sure that there is room for a write. */
static plsm_status make_ready(struct lsm *db)
{
    if (__builtin_expect(is_ready(db), 1))
        return PLSM_OK;
    mutex_lock(&db->lock);
    plsm_status status = db_writable(db);
    if (status == PLSM_OK)
        status = make_room(db);
    mutex_unlock(&db->lock);
    return status == PLSM_OK && space_is_unknown(db) ? space_look(db) : status;
}

/* After a failure: if a log cannot be written any more, nothing can; if it is room that lacks, there may be some. A log
 * that somebody else's sync has just broken is left to them, who know the reason. */
static void note_failed_append(struct lsm *db, plsm_status status)
{
    mutex_lock(&db->lock);
    for (unsigned i = 0; i <= db->frozen_count; i++) {
        const struct reclog_writer *log = i < db->frozen_count ? db->frozen[i].log : db->active.log;
        if (log && reclog_broken(log) && !(status == PLSM_READ_ONLY && db->syncing))
            db_break(db, status);
    }
    mutex_unlock(&db->lock);
    if (space_is_lacking(status))
        log_drop_spare(db);
}

/* Writes one change of a writer that has no company, while nothing else is to be done: what lead does, without a group.
 * False: that is not so, or it lacked room, and nothing was done. */
static bool lead_single(struct lsm *db, struct writer *me)
{
    const struct batch *batch = me->batch;
    if (!me->change || me->sync || !batch->roomy || batch->value_max >= db->kept_above || behind(me) || !is_ready(db) ||
        atomic_load_explicit(&db->seq, memory_order_acquire) < db->flight_seq)
        return false;
    struct memtable *table = db->active.table;
    struct reclog_writer *log = db->active.log;
    const struct batch_change *change = me->change;
    size_t bytes = batch->bytes.size;
    struct entry entry = {.key = change->key,
                          .meta = change->meta,
                          .value = change->value,
                          .seq = atomic_load_explicit(&db->seq, memory_order_relaxed) + 1,
                          .expires_s = change->expires_s,
                          .kind = change->kind};
    plsm_status status = memtable_reserve_one(table, bytes);
    uint64_t size_before = reclog_size(log);
    if (status == PLSM_OK)
        status = reclog_append_in_place(log, entry.seq, batch->bytes.data, bytes);
    if (__builtin_expect(status == PLSM_OK, 1)) {
        memtable_add(table, &entry);
        atomic_store_explicit(&db->seq, entry.seq, memory_order_release);
        count_record(db, 1, bytes, reclog_size(log) - size_before);
        db->group_bytes = bytes;
    } else if (is_worth_another(db, status)) {
        return false;
    } else {
        note_failed_append(db, status);
    }
    turns_hand_over(&db->turns, leave_queue(db, me, false));
    me->turn.status = status;
    return true;
}

/* Behind a large group that was written: it may have filled the memtable many times over, and that is not to wait in
 * memory until somebody writes again. What fails is left to the next write, which tries once more; it is not held back
 * for the group a second time. */
static void end_large(struct lsm *db)
{
    memtable_trim(db->active.table);
    mutex_lock(&db->lock);
    (void)make_room(db);
    db->group_bytes = 0;
    mutex_unlock(&db->lock);
}

/* The only change of a batch, if it is no deletion of a range; NULL: it holds others, or none. */
static const struct batch_change *only_change(const struct batch *batch, struct batch_change *change)
{
    const uint8_t *at = batch ? batch->bytes.data : NULL;
    bool one = batch && batch->count == 1 && batch->ranges == 0;
    return one && batch_next(&at, at + batch->bytes.size, change) ? change : NULL;
}

/* Makes a batch that depends on the state, and writes it where it is too large for the memtable: the group then has
 * nothing left to do. */
static plsm_status make_batch(struct lsm *db, struct writer *me, struct group *g, struct batch_change *change)
{
    TRY(me->prepare(me->arg, db, &g->batches[0]));
    if (spill_is_due(db, g->batches[0])) {
        TRY(spill_leading(db, g->batches[0]));
        g->batches[0] = NULL;
    }
    g->change = only_change(g->batches[0], change);
    return PLSM_OK;
}

/* Serves the first writer and those who join it, and lets the next one lead. */
static void lead(struct lsm *db, struct writer *me)
{
    struct group g; /* large, so not zeroed */
    struct batch_change change;
    bool beside = false;
    g.count = 1;
    g.sync = false;
    g.last = me;
    plsm_status status = make_ready(db);
    if (status == PLSM_OK) {
        beside = goes_beside(db, me);
        unsigned lane = beside ? await_lane(db) : WRITE_GROUP_ALONE;
        if (!beside)
            leader_await_landing(db);
        if (me->sync && !me->prepare)
            await_company(db, me);
        gather(db, me, beside, &g);
        uint64_t first = newest_seq(db) + 1;
        if (me->prepare) {
            status = make_batch(db, me, &g, &change);
            first = atomic_load_explicit(&db->seq, memory_order_relaxed) + 1; /* it may have loaded in bulk */
        }
        write_group_begin(&g.write, db->active.table, lane, first);
        if (status == PLSM_OK)
            status = beside ? append(db, &g) : apply(db, &g);
    }
    if (beside && status == PLSM_OK) {
        fly(db, me, &g);
        return;
    }
    if (status != PLSM_OK)
        note_failed_append(db, status);
    else if (__builtin_expect(is_large(db, db->group_bytes), 0))
        end_large(db);
    if (g.sync)
        db->company = queued(me);
    struct turn *next = leave_queue(db, g.last, false);
    tell_group(db, me, &g, status); /* first: those that a sync has served are to be back for the next one */
    turns_hand_over(&db->turns, next);
}

/* Returns once a writer that has found another one leads or is done. */
static enum turn_state wait_for_turn(struct lsm *db, struct writer *me)
{
    bool is_short = me->prepare || (me->batch && me->batch->bytes.size <= TURNS_SHORT_BYTES), second;
    if ((is_short && !me->sync && !db->leader_syncs && turns_hover(&db->turns, &me->turn)) ||
        turns_queue(&db->turns, &me->turn, &second))
        return TURN_LEADS;
    tell_arrival(db);
    return turns_await(&db->turns, &me->turn, second && !me->sync && !db->leader_syncs);
}

static inline __attribute__((always_inline)) plsm_status write_queued(struct lsm *db, const struct batch *batch,
                                                                      const struct batch_change *change,
                                                                      lsm_prepare *prepare, void *arg, bool sync)
{
    INVARIANT(db->magic == LSM_STRUCT_MAGIC);
    char message[TURN_MESSAGE_BYTES];
    struct writer me; /* but for what sleeping needs */
    turn_init(&me.turn, message);
    me.batch = batch;
    me.change = change;
    me.prepare = prepare;
    me.arg = arg;
    me.sync = sync;
    if (db->options.read_only)
        return fail(PLSM_READ_ONLY, "%s: opened read-only", db->path);
    if (__builtin_expect(turns_try(&db->turns, &me.turn), 1) || wait_for_turn(db, &me) == TURN_LEADS) {
        if (!lead_single(db, &me))
            lead(db, &me);
    } else if (me.turn.status != PLSM_OK) {
        fail(me.turn.status, "%s", message);
    }
    return me.turn.status;
}

plsm_status lsm_write(struct lsm *db, const struct batch *batch, lsm_prepare *prepare, void *arg, bool sync)
{
    if (__builtin_expect(!prepare && spill_is_due(db, batch), 0))
        return spill_write(db, batch);
    return write_queued(db, batch, NULL, prepare, arg, sync);
}

plsm_status lsm_write_one(struct lsm *db, const struct batch *batch, const struct batch_change *change, bool sync)
{
    return write_queued(db, batch, change, NULL, NULL, sync);
}

uint64_t lsm_spills_above(const struct lsm *db)
{
    return db->options.spill_above;
}

/* Beside the queue: writers go on meanwhile. */
plsm_status lsm_sync(struct lsm *db)
{
    INVARIANT(db->magic == LSM_STRUCT_MAGIC);
    if (db->options.read_only)
        return fail(PLSM_READ_ONLY, "%s: opened read-only", db->path);
    mutex_lock(&db->lock);
    plsm_status status = db_writable(db);
    mutex_unlock(&db->lock);
    uint64_t took_ns = 0;
    return status == PLSM_OK ? sync_logs(db, &took_ns) : status;
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

/* So that writers do not wait for the disk while this one freezes the memtable at the head of their queue. */
static void prepare_log(struct lsm *db)
{
    mutex_lock(&db->lock);
    bool healthy = db->broken == PLSM_OK && db->background_status == PLSM_OK;
    bool wanted = healthy && db->options.background && memtable_count(db->active.table) > 0;
    if (wanted && !db->prepared_log && !db->preparing && db->next_log_state != NEXT_LOG_TAKEN) {
        db->next_log_state = NEXT_LOG_TRIED; /* by the flusher no more */
        log_prepare(db);
    }
    mutex_unlock(&db->lock);
}

plsm_status lsm_flush(struct lsm *db)
{
    bool frozen = false, worked = false;
    while (!frozen) {
        prepare_log(db);
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
        TRY(space_excuse(compact_pending(db, false, &worked)));
    garbage_collect(db);
    return PLSM_OK;
}
