/* Beginning segments: preparing them ahead, and changing from one to the next without waiting for the disk.
 *
 * A segment is prepared before it is needed, by a thread of its own: its file is made, the header written, both synced
 * with the name, the file mapped and given a slot. Then it is `ready`: a file without a head, of which opening knows
 * that it was never used. Whoever begins a segment takes the ready one and appends the head, which syncs nothing. The
 * segment that was written to before is frozen, and sealed by another thread (append_work.c). So the writer whose
 * record does not fit any more, with all who wait behind it, waits for memory alone.
 *
 * Why no promise is weaker for it:
 *
 * What was synced stays. A sync goes over all segments that are not sealed, the oldest first, and covers each from its
 * head on (append_sync_logs); header and name were on the disk before that. A segment that is being sealed was synced
 * before others take it for sealed (segment_seal).
 *
 * Nothing stays without what was written before it. Where power is lost any part of an unsealed segment may be missing,
 * be it the head. Records count up to the first that is missing, so without a head none does. A segment that was begun
 * later does not count then: its head says up to which change those before must be there. Nor can it be sealed, since
 * sealing goes one by one, the oldest first, and one that is sealed was synced as a whole. A reader beside the writer
 * reads one file after another, while segments are begun and sealed: it reads the newest first, so that it finds all
 * that was written before what it has found (append_recover.c).
 *
 * A missing segment is known by the list in the newest one. For that the order of their numbers must be that in which
 * they are begun, those that merges write among them. So all begin such as are ready, in the order in which these were
 * given their numbers, and who takes one is the only one to begin a segment until its head is written and, unless a
 * merge fills it, it is in the list that the next head will have. Where power is lost before the head of the newest is
 * on the disk, the one before is the newest, and its list has all others.
 *
 * Writers that are faster than the disk would fill one segment after another that is not sealed. They slow down when
 * some wait (pace_rest_ns in append_policy.h), and stop only when many do.
 *
 * A directory that could not be synced is not synced again: the log turns read-only (segment_prepare). Anything else
 * that fails ahead of need fails nobody: it is tried again by whoever needs the segment, and told then. */
#include <stdio.h>

#include "base/error.h"
#include "log/append_db.h"
#include "log/append_policy.h"
#include "base/banned.h"

enum { AHEAD_PARTS = 4 /* small stores need no other segment: one is prepared when a quarter of this one is full */ };

/* --- ahead of need ------------------------------------------------------------------------------------------------ */

bool append_ahead_due(const struct append *db)
{
    return db->ready_count == 0 && !db->preparing && db->active &&
           atomic_load_explicit(&db->active->size, memory_order_relaxed) >= db->options.segment_size / AHEAD_PARTS;
}

bool append_is_ready(const struct append *db)
{
    return db->ready_count > 0 && !db->beginning;
}

/* Has so many ready. Under lock, which is let go meanwhile. */
static plsm_status get_ready(struct append *db, unsigned count)
{
    plsm_status status = PLSM_OK;
    while (db->ready_count < count && status == PLSM_OK) {
        status = append_writable(db);
        if (status == PLSM_OK && db->preparing) {
            condition_wait(&db->progress, &db->lock);
        } else if (status == PLSM_OK) {
            struct segment *fresh = NULL;
            db->preparing = true;
            mutex_unlock(&db->lock);
            status = segment_prepare(db, &fresh);
            mutex_lock(&db->lock);
            INVARIANT(db->ready_count < APPEND_READY_MAX);
            if (fresh)
                db->ready[db->ready_count++] = fresh;
            db->preparing = false;
            condition_broadcast(&db->progress);
        }
    }
    return status;
}

plsm_status append_ahead(struct append *db)
{
    mutex_lock(&db->lock);
    plsm_status status = get_ready(db, 1);
    mutex_unlock(&db->lock);
    return status;
}

void append_ahead_drop(struct append *db)
{
    for (unsigned i = 0; i < db->ready_count; i++)
        segment_discard(db->ready[i]);
    db->ready_count = 0;
}

/* --- beginning ---------------------------------------------------------------------------------------------------- */

/* Under lock: *out is the caller's to begin; nobody else begins one until it is. At least `left` stay ready. */
static plsm_status take_ready(struct append *db, unsigned left, struct segment **out)
{
    plsm_status status = PLSM_OK;
    while (status == PLSM_OK && (db->beginning || db->ready_count <= left)) {
        if (db->ready_count <= left)
            status = get_ready(db, left + 1);
        else
            condition_wait(&db->progress, &db->lock);
    }
    if (status == PLSM_OK) {
        *out = db->ready[0];
        for (unsigned i = 1; i < db->ready_count; i++)
            db->ready[i - 1] = db->ready[i];
        db->ready_count--;
        db->beginning = true;
    }
    return status;
}

/* Under lock. */
static void freeze(struct append *db, struct segment *s)
{
    s->state = SEGMENT_FROZEN;
    atomic_fetch_add_explicit(&db->frozen, 1, memory_order_relaxed);
}

/* Under lock. */
static plsm_status activate(struct append *db, struct segment *fresh)
{
    TRY(segment_list_add(db, fresh));
    if (db->active)
        freeze(db, db->active);
    db->active = fresh;
    db->look_at = db->options.segment_size / AHEAD_PARTS;
    condition_broadcast(&db->work);
    return PLSM_OK;
}

plsm_status segment_create(struct append *db, enum segment_state state, struct segment **out)
{
    struct fail_kept kept;
    struct segment *fresh = NULL;
    *out = NULL;
    mutex_lock(&db->lock);
    plsm_status status = take_ready(db, state == SEGMENT_FILLED && db->has_threads, &fresh); /* merges can wait */
    mutex_unlock(&db->lock);
    TRY(status);
    fresh->state = state;
    status = segment_begin(fresh);
    mutex_lock(&db->lock);
    if (status == PLSM_OK && state == SEGMENT_ACTIVE)
        status = activate(db, fresh);
    if (status == PLSM_OK)
        db->begun = fresh->number;
    db->beginning = false;
    condition_broadcast(&db->progress);
    mutex_unlock(&db->lock);
    if (status == PLSM_OK) {
        *out = fresh;
        return PLSM_OK;
    }
    fail_keep(&kept);
    segment_discard(fresh);
    return fail_again(status, &kept);
}

plsm_status append_roll(struct append *db)
{
    struct segment *fresh = NULL;
    return segment_create(db, SEGMENT_ACTIVE, &fresh);
}

/* --- when one is full --------------------------------------------------------------------------------------------- */

/* Up to which number segments must be sealed before another one may be frozen; 0: none. Under lock. */
static uint64_t sealed_first(const struct append *db)
{
    unsigned frozen = atomic_load_explicit(&db->frozen, memory_order_relaxed), sealed = 0;
    if (frozen < PACE_STOP)
        return 0;
    for (size_t i = 0;; i++) {
        sealed += db->segments[i]->state == SEGMENT_FROZEN;
        if (sealed > frozen - PACE_STOP) /* more than one behind flushes, which wait for none before they freeze */
            return db->segments[i]->number;
    }
}

/* There is room in the active segment still, but another one will be needed. */
static void ask_ahead(struct append *db)
{
    db->look_at = db->options.segment_size;
    if (db->has_threads) {
        mutex_lock(&db->lock);
        condition_broadcast(&db->work);
        mutex_unlock(&db->lock);
    } else {
        append_ahead(db); /* who needs it is told */
    }
}

plsm_status append_make_room(struct append *db)
{
    if (atomic_load_explicit(&db->active->size, memory_order_relaxed) < db->options.segment_size) {
        ask_ahead(db);
        return PLSM_OK;
    }
    mutex_lock(&db->lock);
    uint64_t through = sealed_first(db);
    mutex_unlock(&db->lock);
    if (through) {
        uint64_t since_ns = env_now_ns(db->env);
        TRY(work_seal(db, through));
        atomic_fetch_add_explicit(&db->stall_ns, env_now_ns(db->env) - since_ns, memory_order_relaxed);
    }
    TRY(append_roll(db));
    if (!db->has_threads)
        work_do(db, false); /* the write itself does not depend on it */
    return PLSM_OK;
}

void append_rest(struct append *db, uint64_t bytes)
{
    unsigned frozen = atomic_load_explicit(&db->frozen, memory_order_relaxed);
    if (__builtin_expect(frozen < PACE_FROM, 1) || !db->has_threads)
        return;
    uint64_t seal_ns = atomic_load_explicit(&db->seal_ns, memory_order_relaxed);
    uint64_t rest_ns = pace_rest_ns(env_now_ns(db->env), bytes, frozen, seal_ns, &db->rest_due_ns);
    if (rest_ns == 0)
        return;
    env_sleep_ns(db->env, rest_ns);
    atomic_fetch_add_explicit(&db->stall_ns, rest_ns, memory_order_relaxed);
}
