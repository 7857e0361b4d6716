/* Writing: the queue of writers, the record, the directory.
 *
 * Writers queue up (turns.h). The first leads: it takes the batches of those behind it into one record, appends that
 * with one call, syncs if one of them wants it, makes the changes visible and wakes the others (group commit, as in the
 * tree). Before it appends, all is prepared that could fail in memory; nothing is visible that is not in the log. */
#include <stdio.h>

#include "base/error.h"
#include "log/append_db.h"
#include "log/append_policy.h"
#include "base/banned.h"

enum {
    GROUP_WRITERS_MAX = 64,
    GROUP_BYTES_MAX = 1 << 20, /* a small write should not wait for many large ones */
    PAYLOAD_KEEP = 4 << 20,    /* a larger buffer is given back */
    OPS_KEEP = 64 << 10,
    AHEAD = 8, /* changes whose bucket, or node, of the directory is under way */
};

struct writer {
    struct turn turn; /* first */
    const struct batch *batch;
    append_prepare *prepare;
    void *arg;
    bool sync;
};

/* --- state -------------------------------------------------------------------------------------------------------- */

void append_break(struct append *db, plsm_status status)
{
    if (db->broken != PLSM_OK)
        return;
    db->broken = status;
    snprintf(db->broken_message, sizeof db->broken_message, "%s", plsm_message());
    condition_broadcast(&db->progress);
    condition_broadcast(&db->work);
}

plsm_status append_writable(const struct append *db)
{
    if (db->broken == PLSM_OK)
        return PLSM_OK;
    return fail(PLSM_READ_ONLY, "%s: read-only since a write failed (%s: %s); open it again once the cause is gone",
                db->path, plsm_status_name(db->broken), db->broken_message);
}

static void break_now(struct append *db, plsm_status status)
{
    mutex_lock(&db->lock);
    append_break(db, status);
    mutex_unlock(&db->lock);
}

/* Older segments first, so that nothing survives without what was written before it. */
plsm_status append_sync_logs(struct append *db)
{
    plsm_status status = PLSM_OK;
    mutex_lock(&db->sync_lock);
    mutex_lock(&db->lock);
    size_t count = 0;
    struct segment *unsealed[PACE_STOP + 2] = {0}; /* with the active one, and one that a flush froze */
    for (size_t i = 0; i < db->segment_count; i++) {
        enum segment_state state = db->segments[i]->state;
        if (state == SEGMENT_ACTIVE || state == SEGMENT_FROZEN) {
            INVARIANT(count < sizeof unsealed / sizeof *unsealed);
            unsealed[count++] = db->segments[i];
        }
    }
    mutex_unlock(&db->lock);
    for (size_t i = 0; i < count && status == PLSM_OK; i++) {
        struct reclog_writer *writer = unsealed[i]->writer; /* NULL: it is being closed, which syncs it, too */
        if (!writer)
            continue;
        if (reclog_synced(writer) < reclog_size(writer)) {
            atomic_fetch_add_explicit(&db->syncs, 1, memory_order_relaxed);
            status = reclog_sync(writer);
        }
    }
    if (status != PLSM_OK)
        break_now(db, status);
    mutex_unlock(&db->sync_lock);
    return status;
}

/* --- a group ------------------------------------------------------------------------------------------------------ */

/* Codes a change behind what the payload has, and finds what it changes in the directory. */
static inline plsm_status take_change(struct append *db, const struct batch_change *change, uint64_t hash,
                                      uint64_t first_seq)
{
    struct segment *s = db->active;
    size_t before = db->payload.size;
    uint64_t base = atomic_load_explicit(&s->size, memory_order_relaxed) + APPEND_RECORD_HEAD, seq = ++db->seq;
    uint64_t offset = base + before - RECLOG_ROOM_BEFORE;
    TRY(append_entry_add(&db->payload, change, seq - first_seq, s->salt, offset));
    size_t size = db->payload.size - before;
    if (size > APPEND_ENTRY_MAX)
        return fail(PLSM_TOO_LARGE, "an entry of %zu bytes", size);
    bool timed = change->timed && change->expires_s > 0;
    return directory_add(db, change, hash, seq, append_place_of(s->slot, offset, size, timed));
}

/* The one change of a batch: its coding overlaps with what it waits for. */
static plsm_status take_one(struct append *db, const struct batch *batch, uint64_t first_seq)
{
    const uint8_t *at = batch->bytes.data, *end = at + batch->bytes.size;
    struct batch_change change;
    while (batch_next(&at, end, &change))
        TRY(take_change(db, &change, key_tree_hash(db->tree, change.key), first_seq));
    INVARIANT(at == end);
    return PLSM_OK;
}

/* All changes of a batch in a pipeline, as get_some in append_read.c has it, so that what they wait for overlaps. */
static plsm_status take_many(struct append *db, const struct batch *batch, uint64_t first_seq)
{
    const uint8_t *at = batch->bytes.data, *end = at + batch->bytes.size;
    struct {
        struct batch_change change;
        uint64_t hash;
    } ring[2 * AHEAD + 1];
    size_t taken = 0, room = sizeof ring / sizeof *ring, ahead = batch->count < AHEAD ? batch->count : AHEAD;
    for (size_t step = 0; step < taken + 2 * ahead + 1; step++) {
        size_t i = step;
        if (i == taken && batch_next(&at, end, &ring[i % room].change)) {
            ring[i % room].hash = key_tree_hash(db->tree, ring[i % room].change.key);
            taken++;
        }
        i = step - ahead; /* below 0 is above all */
        if (i < taken)
            key_tree_prefetch_to_add(db->tree, ring[i % room].change.key, ring[i % room].hash);
        i = step - 2 * ahead;
        if (i < taken)
            TRY(take_change(db, &ring[i % room].change, ring[i % room].hash, first_seq));
    }
    INVARIANT(at == end);
    return PLSM_OK;
}

/* Under the lock of the directory. */
static plsm_status take_batch(struct append *db, const struct batch *batch, uint64_t first_seq)
{
    return batch->count > 1 ? take_many(db, batch, first_seq) : take_one(db, batch, first_seq);
}

static plsm_status begin(struct append *db, const struct batch **batches, unsigned count, uint64_t first_seq)
{
    db->payload.size = 0;
    TRY(buf_reserve(&db->payload, RECLOG_ROOM_BEFORE));
    db->payload.size = RECLOG_ROOM_BEFORE;
    mutex_lock(&db->directory);
    plsm_status status = directory_begin(db);
    for (unsigned i = 0; i < count && status == PLSM_OK; i++)
        if (batches[i])
            status = take_batch(db, batches[i], first_seq);
    if (status == PLSM_OK)
        status = directory_ready(db);
    if (status == PLSM_OK)
        status = buf_reserve(&db->payload, RECLOG_ROOM_BEHIND);
    mutex_unlock(&db->directory);
    return status;
}

/* Others reset these meanwhile, and merges count writes, too. */
static void count(_Atomic uint64_t *counter, uint64_t amount)
{
    atomic_fetch_add_explicit(counter, amount, memory_order_relaxed);
}

static void count_group(struct append *db, uint64_t changes, uint64_t bytes, uint64_t written)
{
    count(&db->puts, changes);
    count(&db->user_bytes, bytes);
    count(&db->write_calls, 1);
    count(&db->write_bytes, written);
}

/* The changes that were coded, as a record that is made around them. */
static plsm_status append_record(struct segment *s, uint64_t first_seq, struct buf *payload)
{
    size_t size = payload->size - RECLOG_ROOM_BEFORE;
    if (size > RECLOG_PAYLOAD_MAX)
        return fail(PLSM_TOO_LARGE, "changes of %zu bytes as they are coded", size);
    return reclog_append_in_place(s->writer, first_seq, payload->data + RECLOG_ROOM_BEFORE, size);
}

static plsm_status write_group(struct append *db, const struct batch **batches, unsigned count, uint64_t bytes,
                               bool sync)
{
    struct segment *s = db->active;
    uint64_t before = db->seq;
    plsm_status status = begin(db, batches, count, before + 1);
    if (status == PLSM_OK)
        status = append_record(s, before + 1, &db->payload);
    if (status == PLSM_OK) {
        atomic_store_explicit(&s->size, reclog_size(s->writer), memory_order_release);
        if (sync)
            status = append_sync_logs(db);
    } else if (reclog_broken(s->writer)) {
        break_now(db, status);
    }
    if (status != PLSM_OK) {
        struct fail_kept kept;
        fail_keep(&kept);
        directory_undo(db);
        db->seq = before;
        return fail_again(status, &kept);
    }
    uint64_t written = db->payload.size - RECLOG_ROOM_BEFORE;
    count_group(db, db->seq - before, bytes, written);
    directory_install(db, db->seq);
    append_rest(db, written);
    return PLSM_OK;
}

static plsm_status apply(struct append *db, const struct batch **batches, unsigned count, bool sync)
{
    uint64_t changes = 0, bytes = 0;
    for (unsigned i = 0; i < count; i++)
        if (batches[i]) {
            changes += batches[i]->count;
            bytes += batches[i]->bytes.size;
        }
    if (bytes > APPEND_BATCH_BYTES_MAX)
        return fail(PLSM_TOO_LARGE, "a batch of %llu bytes is above the limit of %llu", (unsigned long long)bytes,
                    (unsigned long long)APPEND_BATCH_BYTES_MAX);
    if (changes == 0)
        return sync ? append_sync_logs(db) : PLSM_OK;
    db->room.since_bytes += bytes;
    plsm_status status = write_group(db, batches, count, bytes, sync);
    if (db->payload.capacity > PAYLOAD_KEEP)
        buf_free(&db->payload);
    if (db->op_capacity > OPS_KEEP) {
        mem_free(db->ops);
        db->ops = NULL;
        db->op_capacity = 0;
    }
    return status;
}

/* --- the queue ---------------------------------------------------------------------------------------------------- */

static struct writer *behind(const struct writer *w)
{
    return (struct writer *)turn_behind(&w->turn);
}

/* Wants no more than that what is there is synced: that must not fail because of another one's batch. */
static bool only_syncs(const struct writer *w)
{
    return !w->batch && !w->prepare;
}

/* Writers that are served together, from the leader to `last`. */
struct group {
    const struct batch *batches[GROUP_WRITERS_MAX];
    unsigned count;
    bool sync;
    struct writer *last;
};

/* Who joins the first writer: those behind it, as long as none has to look at the state first, and none where space is
 * low, which not all batches get. */
static void gather(struct append *db, struct writer *first, struct group *g)
{
    size_t bytes = 0;
    g->count = 0;
    for (struct writer *w = first; w && g->count < (db->room.low ? 1 : GROUP_WRITERS_MAX); w = behind(w)) {
        size_t size = w->batch ? w->batch->bytes.size : 0;
        if (g->count > 0 && (w->prepare || bytes + size > GROUP_BYTES_MAX || only_syncs(w) != only_syncs(first)))
            break;
        g->batches[g->count++] = w->batch;
        g->last = w;
        bytes += size;
        g->sync |= w->sync;
        if (w->prepare)
            break;
    }
}

/* Tells all of the leader's group how it ended, and the next one that it leads. They have left the queue. */
static void tell_all(struct append *db, struct writer *leader, const struct group *g, struct turn *next,
                     plsm_status status)
{
    bool locked = false;
    turns_tell_served(&db->turns, &leader->turn, g->count, status, &locked);
    if (next)
        turns_tell(&db->turns, next, TURN_LEADS, &locked);
    if (locked)
        mutex_unlock(&db->lock);
}

/* Makes sure that there is room for a write. */
static plsm_status make_ready(struct append *db, const struct writer *leader)
{
    if (__builtin_expect(db->broken != PLSM_OK, 0)) {
        mutex_lock(&db->lock);
        plsm_status status = append_writable(db);
        mutex_unlock(&db->lock);
        return status;
    }
    if (only_syncs(leader))
        return PLSM_OK;
    if (atomic_load_explicit(&db->active->size, memory_order_relaxed) >= db->look_at)
        TRY(append_make_room(db));
    return room_look(&db->room, db->env, db->path, 0, db->options.segment_size);
}

static void lead(struct append *db, struct writer *leader)
{
    struct group g; /* large, so not zeroed */
    g.count = 1;
    g.sync = false;
    g.last = leader;
    plsm_status status = make_ready(db, leader);
    if (status == PLSM_OK) {
        gather(db, leader, &g);
        if (leader->prepare)
            status = leader->prepare(leader->arg, &g.batches[0]);
        if (status == PLSM_OK && g.batches[0])
            status = room_check(&db->room, db->path, g.batches[0]);
        if (status == PLSM_OK)
            status = apply(db, g.batches, g.count, g.sync);
    }
    tell_all(db, leader, &g, turns_leave(&db->turns, &g.last->turn), status);
}

/* Returns once a writer that has found another one leads or is done. */
static enum turn_state wait_for_turn(struct append *db, struct writer *me)
{
    bool is_short = me->prepare || (me->batch && me->batch->bytes.size <= TURNS_SHORT_BYTES), second;
    if ((is_short && !me->sync && turns_hover(&db->turns, &me->turn)) || turns_queue(&db->turns, &me->turn, &second))
        return TURN_LEADS;
    return turns_await(&db->turns, &me->turn, second && !me->sync);
}

plsm_status append_write(struct append *db, const struct batch *batch, append_prepare *prepare, void *arg, bool sync)
{
    char message[TURN_MESSAGE_BYTES];
    struct writer me; /* but for what sleeping needs */
    turn_init(&me.turn, message);
    me.batch = batch;
    me.prepare = prepare;
    me.arg = arg;
    me.sync = sync;
    if (db->options.read_only)
        return fail(PLSM_READ_ONLY, "%s: opened read-only", db->path);
    if (turns_try(&db->turns, &me.turn) || wait_for_turn(db, &me) == TURN_LEADS)
        lead(db, &me);
    else if (me.turn.status != PLSM_OK)
        fail(me.turn.status, "%s", message);
    return me.turn.status;
}

plsm_status append_sync(struct append *db)
{
    return append_write(db, NULL, NULL, NULL, true);
}
