/* Writing: the queue of writers, group commit, the log, the memtable.
 *
 * Writers queue up. The first is the leader: it takes the batches of those behind it into one log record, appends it
 * with one call, syncs if any of them asked for it, adds the changes to the memtable, makes them visible and wakes the
 * others (group commit, as in most logging databases since Gawlick and Kinkade 1985). Which sequence numbers the
 * changes of a group get stands in write_group.h.
 *
 * While writers come from several threads, groups go into the memtable beside each other: a leader that has appended
 * its group hands the queue on to the next one and only then adds its changes, through a lane of the memtable. So one
 * thread appends while others add. Such a group is a flight: numbers are given as they take off, and it becomes visible
 * once it has landed and all before it have, so in the order of numbers. What has to look at the state or to change
 * more than the memtable (a write with `prepare`, one that syncs, a deletion of a range, a rotation) waits until all
 * have landed, and goes alone. A thread that writes by itself always does, for it has nobody to hand anything to. Nor
 * do small batches go beside others: less would be gained than handing over costs. Instead a leader serves a few small
 * writes behind its own before it hands over.
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
    COMPANY_NS_MIN = 20 * 1000,  /* below that, syncs are too cheap to wait for anybody */
    COMPANY_PAUSE = 8,           /* groups that do not wait after waiting was in vain */
    CROWD_GROUPS = 64,           /* groups that go beside others after writers met */
    BESIDE_BYTES_MIN = 4 << 10,  /* of a batch that goes beside others: smaller ones cost less than to hand over */
    BESIDE_BYTES_MAX = 16 << 10, /* of a group of such batches, but for its first */
    SERVED_MAX = 4,              /* groups of others that a leader serves before it goes */
};
_Static_assert(MEMTABLE_LANES <= 32, "lanes are bits of a word");

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

/* Writers that are served together: one record in the log, one sequence number. */
struct group {
    const struct batch *batches[GROUP_WRITERS_MAX];
    unsigned count;
    bool sync;
    plsm_slice parts[GROUP_WRITERS_MAX]; /* of those that change something */
    size_t part_count;
    struct write_group write;
};

static plsm_status append_parts(struct lsm *db, struct group *g, size_t changes, size_t ranges, size_t bytes)
{
    uint64_t size_before = reclog_size(db->active.log);
    bool alone = g->write.lane == WRITE_GROUP_ALONE;
    TRY(alone ? memtable_reserve_ranges(g->write.table, changes, bytes, ranges)
              : memtable_lane_reserve(g->write.table, g->write.lane, changes, bytes));
    plsm_status status = reclog_append(db->active.log, g->write.first, g->parts, g->part_count);
    if (status != PLSM_OK) {
        if (!alone)
            memtable_lane_end(g->write.table, g->write.lane);
        return status;
    }
    simulated_write(db->context.simulated, reclog_size(db->active.log) - size_before);
    struct counter_stripe *counters = counters_mine(&db->counters);
    stripe_add(counters, COUNT_WRITES, 1);
    stripe_add(counters, COUNT_CHANGES, changes);
    stripe_add(counters, COUNT_WRITE_BYTES, bytes);
    stripe_add(counters, COUNT_LOG_BYTES, bytes);
    stripe_add(counters, COUNT_USER_BYTES, bytes);
    return PLSM_OK;
}

/* Appends the batches as one record; then they may be added to the memtable. Leader, without lock. */
static plsm_status append(struct lsm *db, struct group *g)
{
    size_t changes = 0, ranges = 0, bytes = 0;
    g->part_count = 0;
    for (unsigned i = 0; i < g->count; i++) {
        const struct batch *batch = g->batches[i];
        if (!batch || batch->count == 0)
            continue;
        g->parts[g->part_count++] = buf_slice(&batch->bytes);
        changes += batch->count;
        ranges += batch->ranges;
        bytes += batch->bytes.size;
        TRY(space_check(db, batch));
    }
    if (bytes > LSM_BATCH_BYTES_MAX)
        return fail(PLSM_TOO_LARGE, "a batch of %zu bytes is above the limit of %llu", bytes,
                    (unsigned long long)LSM_BATCH_BYTES_MAX);
    if (g->part_count)
        TRY(append_parts(db, g, changes, ranges, bytes));
    db->group_bytes = bytes;
    return PLSM_OK;
}

static void add_to_memtable(struct group *g)
{
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

/* Whether a writer may go beside others. Under lock. */
static bool goes_beside(const struct lsm *db, const struct writer *w)
{
    return db->crowd > 0 && w->batch && w->batch->bytes.size >= BESIDE_BYTES_MIN && w->batch->ranges == 0 &&
           !w->prepare && !w->sync && !db->space_low;
}

/* Who joins the first writer: those behind it, as long as none has to look at the state first. Under lock. */
static void gather(struct lsm *db, bool beside, struct group *g)
{
    size_t bytes = 0;
    g->count = 0;
    g->sync = false;
    for (struct writer *w = db->writers; w && g->count < GROUP_WRITERS_MAX; w = w->next) {
        size_t size = w->batch ? w->batch->bytes.size : 0;
        if (g->count > 0 &&
            (w->prepare || db->space_low || bytes + size > GROUP_BYTES_MAX || only_syncs(w) != only_syncs(db->writers)))
            break;
        if (g->count > 0 && beside && (bytes + size > BESIDE_BYTES_MAX || !goes_beside(db, w)))
            break;
        g->batches[g->count++] = w->batch;
        bytes += size;
        g->sync |= w->sync;
        if (w->prepare)
            break;
    }
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

/* Lets the next leader begin. Under lock. */
static void hand_over(struct lsm *db)
{
    if (db->writers)
        set_state(db->writers, LEADS);
}

/* Takes the group out of the queue. Under lock. */
static void leave_queue(struct lsm *db, const struct group *g)
{
    db->queued -= g->count;
    if (g->sync)
        db->company = db->queued + g->count < GROUP_WRITERS_MAX ? db->queued + g->count : GROUP_WRITERS_MAX;
    for (unsigned i = 0; i < g->count; i++) {
        struct writer *w = db->writers;
        db->writers = w->next;
        if (!w->next)
            db->writers_end = &db->writers;
    }
    if (db->writers || db->flights)
        db->crowd = CROWD_GROUPS;
    else
        db->crowd -= db->crowd > 0;
}

/* Tells all of the group, from `first` on, how it ended; `me` is this thread's own writer. Under lock; they have left
 * the queue. */
static void tell_group(struct writer *first, const struct writer *me, const struct group *g, plsm_status status)
{
    struct writer *next = first;
    for (unsigned i = 0; i < g->count; i++) {
        struct writer *w = next;
        next = w->next;
        w->status = status;
        if (w == me)
            continue;
        if (status != PLSM_OK)
            snprintf(w->message, MESSAGE_BYTES, "%s", plsm_message());
        set_state(w, IS_DONE);
    }
}

/* --- groups beside each other ------------------------------------------------------------------------------------- */

/* A group that is in the log and on its way into the memtable; on the stack of its leader, which may return as soon as
 * it sees that it is visible: setting that is the last thing that is done to it, unless it sleeps. */
struct flight {
    uint64_t seq;
    unsigned lane;
    bool landed, sleeps; /* under lock */
    _Atomic bool visible;
    condition wake; /* nothing unless `sleeps` */
    struct flight *next;
};

/* Waits until no other group is under way. Leader, under lock, which it gives up meanwhile. */
void leader_await_landing(struct lsm *db)
{
    while (db->flights) {
        db->awaits_landing = true;
        condition_wait(&db->landing, &db->lock);
    }
}

/* A lane that nobody uses, when there is one. The same. */
static unsigned await_lane(struct lsm *db)
{
    while (db->lanes == (UINT32_C(1) << MEMTABLE_LANES) - 1) {
        db->awaits_landing = true;
        condition_wait(&db->landing, &db->lock);
    }
    return (unsigned)__builtin_ctz(~db->lanes);
}

/* The newest number that was given away. Leader, under lock. */
static uint64_t newest_seq(const struct lsm *db)
{
    return db->flights ? db->last_flight->seq : atomic_load_explicit(&db->seq, memory_order_relaxed);
}

static void take_off(struct lsm *db, struct flight *f)
{
    if (db->flights)
        db->last_flight->next = f;
    else
        db->flights = f;
    db->last_flight = f;
    db->lanes |= UINT32_C(1) << f->lane;
}

/* Makes those visible that have landed and that nothing is in front of. Under lock. */
static void show_landed(struct lsm *db)
{
    bool any = false;
    while (db->flights && db->flights->landed) {
        struct flight *f = db->flights;
        bool sleeps = f->sleeps;
        db->flights = f->next;
        db->lanes &= ~(UINT32_C(1) << f->lane);
        atomic_store_explicit(&db->seq, f->seq, memory_order_release);
        atomic_store_explicit(&f->visible, true, memory_order_release);
        if (sleeps)
            condition_signal(&f->wake);
        any = true;
    }
    if (any && db->awaits_landing) {
        db->awaits_landing = false;
        condition_broadcast(&db->landing);
    }
}

/* Waits until those before it have landed, too. Under lock; returns whether it is still held. */
static bool await_visible(struct lsm *db, struct flight *f)
{
    if (atomic_load_explicit(&f->visible, memory_order_relaxed))
        return true;
    mutex_unlock(&db->lock);
    for (unsigned i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&f->visible, memory_order_acquire))
            return false;
        spin_pause();
    }
    mutex_lock(&db->lock);
    if (atomic_load_explicit(&f->visible, memory_order_relaxed))
        return true;
    condition_init(&f->wake);
    f->sleeps = true;
    while (!atomic_load_explicit(&f->visible, memory_order_relaxed))
        condition_wait(&f->wake, &db->lock);
    condition_destroy(&f->wake);
    return true;
}

/* Adds a group that has been appended to the memtable while the next leader is at work. Under lock; returns whether it
 * is still held. */
static bool fly(struct lsm *db, struct writer *first, const struct writer *me, struct group *g)
{
    struct flight flight = {.seq = g->write.seq, .lane = g->write.lane};
    leave_queue(db, g);
    take_off(db, &flight);
    hand_over(db);
    mutex_unlock(&db->lock);
    add_to_memtable(g);
    mutex_lock(&db->lock);
    flight.landed = true;
    show_landed(db);
    bool locked = await_visible(db, &flight), alone = g->count == 1 && first == me;
    if (!locked && !alone)
        mutex_lock(&db->lock);
    tell_group(first, me, g, PLSM_OK);
    return locked || !alone;
}

/* --- the leader --------------------------------------------------------------------------------------------------- */

/* Makes sure that there is room for a write. Under lock. */
static plsm_status make_ready(struct lsm *db, const struct writer *leader)
{
    TRY(db_writable(db));
    if (only_syncs(leader))
        return PLSM_OK;
    TRY(make_room(db));
    if (!space_is_unknown(db))
        return PLSM_OK;
    mutex_unlock(&db->lock);
    plsm_status status = space_look(db);
    mutex_lock(&db->lock);
    return status;
}

/* Serves the first writer and those who join it. Under lock; returns whether it is still held. *handed_over: somebody
 * else leads by now; otherwise it is held, and they have left the queue. */
static bool serve(struct lsm *db, const struct writer *me, bool *handed_over)
{
    struct group g; /* large, so not zeroed */
    struct writer *leader = db->writers;
    bool beside = false;
    *handed_over = false;
    g.count = 1;
    g.sync = false;
    plsm_status status = make_ready(db, leader);
    if (status == PLSM_OK) {
        beside = goes_beside(db, leader);
        unsigned lane = beside ? await_lane(db) : WRITE_GROUP_ALONE;
        if (!beside)
            leader_await_landing(db);
        if (leader->sync && !leader->prepare)
            await_company(db);
        gather(db, beside, &g);
        uint64_t first = newest_seq(db) + 1;
        mutex_unlock(&db->lock);
        if (leader->prepare) {
            status = leader->prepare(leader->arg, db, &g.batches[0]);
            first = atomic_load_explicit(&db->seq, memory_order_relaxed) + 1; /* it may have loaded in bulk */
        }
        write_group_begin(&g.write, db->active.table, lane, first);
        if (status == PLSM_OK)
            status = beside ? append(db, &g) : apply(db, &g);
        mutex_lock(&db->lock);
    }
    *handed_over = beside && status == PLSM_OK;
    if (*handed_over)
        return fly(db, leader, me, &g);
    for (unsigned i = 0; status != PLSM_OK && i <= db->frozen_count; i++) {
        const struct reclog_writer *log = i < db->frozen_count ? db->frozen[i].log : db->active.log;
        if (log && reclog_broken(log))
            db_break(db, status);
    }
    leave_queue(db, &g);
    tell_group(leader, me, &g, status);
    return true;
}

/* Whether the first writer of the queue is served by who just led. What the next leader would have to fetch from this
 * processor, the log's end, the memtable's and the queue's, is here already; so small writes of several threads are
 * made by one at a time. Nothing that may take long is done for others; nor is anything behind a failure, whose message
 * is this thread's. Under lock. */
static bool serves_next(const struct lsm *db, const struct writer *me)
{
    const struct writer *w = db->writers;
    return me->status == PLSM_OK && w && w->batch && w->batch->bytes.size < BESIDE_BYTES_MIN && !w->prepare &&
           !w->sync && !db->space_low && memtable_bytes(db->active.table) < db->options.buffer_size &&
           db->frozen_count < FROZEN_MAX && db->writers_depth < db->options.l0_slowdown;
}

/* The leader's part. Under lock; returns whether it is still held. */
static bool lead(struct lsm *db, const struct writer *me)
{
    for (unsigned served = 0;; served++) {
        bool handed_over = false, locked = serve(db, me, &handed_over);
        if (handed_over)
            return locked;
        if (served == SERVED_MAX || !serves_next(db, me))
            break;
    }
    hand_over(db);
    return true;
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
        locked = lead(db, &me);
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

/* So that writers do not wait for the disk while this one freezes the memtable at the head of their queue. */
static void prepare_log(struct lsm *db)
{
    mutex_lock(&db->lock);
    bool wanted = db->options.background && db->background_status == PLSM_OK && memtable_count(db->active.table) > 0;
    if (wanted && !db->prepared_log && !db->preparing) {
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
        TRY(compact_pending(db, false, &worked));
    garbage_collect(db);
    return PLSM_OK;
}
