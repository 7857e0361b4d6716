/* What is done beside reading and writing: preparing segments, sealing, merging, removing files; in a thread for each
 * of the first two and one for the others, or in the calls of writers. They are apart because each waits for the disk,
 * and merges for long, while writers need another segment, and one that is full to be sealed. */
#include "log/append_hint.h"
#include "log/append_policy.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/banned.h"

enum {
    LOOK_EVERY_MS = 1000, /* for merges whose hour has come, and files that readers held */
    PRUNED_AT_ONCE = 2000,
    GIVE_WAY_NS = 20000,
    CLOSING_BYTES = 16 << 10,        /* a record, and blocks of the file system's own */
    CLOSING_BYTES_AMPLE = 256 << 10, /* free space from which on nobody need count */
};

void append_give_way(struct append *db)
{
    if (db->has_threads)
        env_sleep_ns(db->env, GIVE_WAY_NS);
}

/* --- files that count no more ------------------------------------------------------------------------------------- */

plsm_status append_garbage_reserve(struct append *db, size_t count)
{
    size_t wanted = db->garbage_count + count;
    if (wanted <= db->garbage_capacity)
        return PLSM_OK;
    size_t capacity = wanted * 2;
    struct garbage *grown = mem_realloc(db->garbage, capacity * sizeof *grown);
    if (!grown)
        return fail(PLSM_NO_MEMORY, "no memory for a list of segments");
    db->garbage = grown;
    db->garbage_capacity = capacity;
    return PLSM_OK;
}

void append_garbage_add(struct append *db, uint64_t number, bool removable)
{
    INVARIANT(db->garbage_count < db->garbage_capacity);
    db->garbage[db->garbage_count++] = (struct garbage){number, removable};
}

void append_garbage_release(struct append *db, uint64_t number)
{
    for (size_t i = 0; i < db->garbage_count; i++)
        if (db->garbage[i].number == number)
            db->garbage[i].removable = true;
}

static bool gone(plsm_status status)
{
    return status == PLSM_OK || status == PLSM_NOT_FOUND;
}

/* Until their removal survives power loss they stay in the list, which goes into the next merged segment: one that came
 * back otherwise would count again. */
static void collect(struct append *db)
{
    char path[APPEND_PATH_MAX];
    struct env_lock *pin = NULL;
    uint64_t *numbers = NULL;
    size_t count = 0, removed = 0;
    for (int i = 0; i < 2; i++) /* segments are retired in two steps */
        epoch_reclaim(db->epoch);
    mutex_lock(&db->lock);
    if (db->garbage_count > 0 && db->broken == PLSM_OK)
        numbers = mem_alloc(db->garbage_count * sizeof *numbers);
    for (size_t i = 0; numbers && i < db->garbage_count; i++)
        if (db->garbage[i].removable)
            numbers[count++] = db->garbage[i].number;
    mutex_unlock(&db->lock);
    snprintf(path, sizeof path, "%s/LOCK", db->path);
    if (count == 0 || env_lock(db->env, path, APPEND_LOCK_PIN, true, &pin) != PLSM_OK) {
        mem_free(numbers);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        segment_path(db, "hint", numbers[i], path);
        env_remove(db->env, path);
        segment_path(db, "segment", numbers[i], path);
        if (gone(env_remove(db->env, path)))
            numbers[removed++] = numbers[i];
    }
    env_unlock(pin);
    if (removed > 0) {
        plsm_status status = env_sync_dir(db->env, db->path);
        mutex_lock(&db->lock);
        if (status != PLSM_OK) /* it is not tried again, not by who prepares a segment either */
            append_break(db, status);
        for (size_t i = 0; i < removed && status == PLSM_OK; i++)
            for (size_t k = 0; k < db->garbage_count; k++)
                if (db->garbage[k].number == numbers[i])
                    db->garbage[k--] = db->garbage[--db->garbage_count];
        mutex_unlock(&db->lock);
    }
    mem_free(numbers);
}

void append_garbage_collect(struct append *db)
{
    struct fail_kept kept;
    fail_keep(&kept); /* of a failure that left this to be removed */
    collect(db);
    fail_again(PLSM_OK, &kept);
}

/* --- sealing ------------------------------------------------------------------------------------------------------ */

/* Under lock. */
static struct segment *oldest_frozen(const struct append *db, uint64_t through)
{
    for (size_t i = 0; i < db->segment_count && db->segments[i]->number <= through; i++)
        if (db->segments[i]->state == SEGMENT_FROZEN)
            return db->segments[i];
    return NULL;
}

/* Smoothed, so that one slow segment makes no writer slow for long. */
static void note_speed(struct append *db, uint64_t bytes, uint64_t took_ns)
{
    uint64_t mib = bytes >> 20, before = atomic_load_explicit(&db->seal_ns, memory_order_relaxed);
    if (mib > 0)
        atomic_store_explicit(&db->seal_ns, before ? (before + took_ns / mib) / 2 : took_ns / mib,
                              memory_order_relaxed);
}

/* A record that says that a segment is whole needs room, and to fail at it is final. So where there is little, what was
 * taken in advance is given back first, and where that is not enough either, it is not tried yet. */
static plsm_status make_room_to_close(struct append *db, struct segment *s)
{
    struct env_space space;
    TRY(env_space(db->env, db->path, &space));
    if (space.bytes_free >= CLOSING_BYTES_AMPLE)
        return PLSM_OK;
    TRY(reclog_trim(s->writer));
    TRY(env_space(db->env, db->path, &space));
    return space.bytes_free >= CLOSING_BYTES
               ? PLSM_OK
               : fail(PLSM_NO_SPACE, "%s: no room to close a segment; make some on the file system", db->path);
}

static plsm_status seal(struct append *db, struct segment *s)
{
    struct hint hint = {0};
    struct segment_scan scan;
    uint64_t begun_ns = env_now_ns(db->env);
    TRY(make_room_to_close(db, s));
    plsm_status status = segment_seal(s);
    if (status != PLSM_OK) {
        mutex_lock(&db->lock);
        append_break(db, status);
        mutex_unlock(&db->lock);
        return status;
    }
    segment_map(s, atomic_load(&s->size));
    status = hint_make(db, s->number, &hint, &scan);
    if (status == PLSM_OK) {
        s->tombstones = hint.facts.tombstones;
        s->seq_min = hint.facts.seq_min;
        s->seq_max = hint.facts.seq_max;
        s->hinted = hint_write(db, &hint) == PLSM_OK; /* otherwise opening takes longer */
    } else {                                          /* nothing is known of it: it may hold anything */
        s->seq_min = 1;                               /* the first change of a store */
        s->seq_max = UINT64_MAX;
    }
    hint_free(&hint);
    note_speed(db, atomic_load(&s->size), env_now_ns(db->env) - begun_ns);
    mutex_lock(&db->lock);
    s->state = SEGMENT_SEALED;
    atomic_fetch_sub_explicit(&db->frozen, 1, memory_order_relaxed);
    db->sealed++;
    condition_broadcast(&db->progress);
    condition_broadcast(&db->work);
    mutex_unlock(&db->lock);
    return PLSM_OK;
}

/* One at a time, the oldest first. Who waits looks again after each: writers may freeze others all the time, and only
 * those count that were there when it was called. */
plsm_status work_seal(struct append *db, uint64_t through)
{
    plsm_status status = PLSM_OK;
    mutex_lock(&db->lock);
    through = through < db->next_number ? through : db->next_number - 1;
    for (struct segment *s; status == PLSM_OK && (s = oldest_frozen(db, through)) != NULL;) {
        status = append_writable(db);
        if (status == PLSM_OK && db->sealing) {
            condition_wait(&db->progress, &db->lock);
        } else if (status == PLSM_OK) {
            db->sealing = true;
            mutex_unlock(&db->lock);
            status = seal(db, s);
            mutex_lock(&db->lock);
            db->sealing = false;
            condition_broadcast(&db->progress);
        }
    }
    mutex_unlock(&db->lock);
    return status;
}

/* --- merging ------------------------------------------------------------------------------------------------------ */

/* The two lowest numbers of an entry that sealed segments have: of the one with the lowest, of the others. */
struct lowest {
    const struct segment *segment;
    uint64_t seq, others;
};

/* Under lock. */
static struct lowest find_lowest(const struct append *db)
{
    struct lowest lowest = {.seq = UINT64_MAX, .others = UINT64_MAX};
    for (size_t i = 0; i < db->segment_count; i++) {
        const struct segment *s = db->segments[i];
        if (s->state != SEGMENT_SEALED)
            continue;
        if (!lowest.segment || s->seq_min < lowest.seq) {
            lowest.others = lowest.seq;
            lowest.seq = s->seq_min;
            lowest.segment = s;
        } else if (s->seq_min < lowest.others) {
            lowest.others = s->seq_min;
        }
    }
    return lowest;
}

/* Bytes of deletions in a segment that a merge would copy: all, unless nothing that is older is left. */
static uint64_t kept_tombstones(const struct lowest *lowest, const struct segment *s)
{
    uint64_t others = s == lowest->segment ? lowest->others : lowest->seq;
    return others < s->seq_max ? s->tombstones : 0;
}

/* Under lock. *lacks: there is none for which there is room. */
static size_t choose(struct append *db, bool all, uint64_t room, struct segment **out, bool *lacks)
{
    struct merge_limits limits = {db->options.segment_size, room, db->options.merge_garbage_ppm};
    size_t count = 0, chosen = 0, places[MERGE_CHOSEN_MAX];
    struct merge_candidate *candidates = mem_alloc((db->segment_count + 1) * sizeof *candidates);
    struct segment **sealed = mem_alloc((db->segment_count + 1) * sizeof *sealed);
    struct lowest lowest = find_lowest(db);
    for (size_t i = 0; candidates && sealed && i < db->segment_count; i++) {
        struct segment *s = db->segments[i];
        if (s->state != SEGMENT_SEALED)
            continue;
        candidates[count] = (struct merge_candidate){.size = atomic_load(&s->size),
                                                     .kept = atomic_load(&s->live) + kept_tombstones(&lowest, s)};
        sealed[count++] = s;
    }
    if (count > 0)
        chosen = merge_choose(candidates, count, &limits, all, places);
    limits.room = UINT64_MAX;
    *lacks = count > 0 && chosen == 0 && merge_choose(candidates, count, &limits, all, places) > 0;
    for (size_t i = 0; i < chosen; i++)
        out[i] = sealed[places[i]];
    mem_free(candidates);
    mem_free(sealed);
    return chosen;
}

/* One merge; *done: there was nothing to be merged. With merge_lock. */
static plsm_status merge_some(struct append *db, bool all, bool *done)
{
    struct segment *victims[MERGE_CHOSEN_MAX];
    uint64_t room = 0;
    bool lacks = false;
    TRY(room_for_merge(db->env, db->path, 0, &room));
    mutex_lock(&db->lock);
    plsm_status status = append_writable(db);
    size_t count = status == PLSM_OK && !db->stopping ? choose(db, all, room, victims, &lacks) : 0;
    mutex_unlock(&db->lock);
    *done = count == 0;
    if (lacks)
        return space_refuse_merge(db->path);
    if (count == 0)
        return status;
    status = merge_segments(db, victims, count);
    append_garbage_collect(db);
    return status;
}

/* The next segment to be written anew by itself: a torn one for which there is `room`. So is one that was closed, if
 * others have been left out: what is written says of those, too, that they do not count, until their files are gone.
 * Under lock. */
static struct segment *next_torn(const struct append *db, uint64_t room, bool *lacks)
{
    *lacks = false;
    for (size_t i = 0; i < db->segment_count; i++)
        if (db->segments[i]->state == SEGMENT_TORN) {
            if (!db->segments[i]->kept || atomic_load(&db->segments[i]->live) <= room)
                return db->segments[i];
            *lacks = true;
        }
    return db->loss && db->segment_count > 1 ? db->segments[db->segment_count - 2] : NULL; /* the last is just begun */
}

plsm_status work_merge_torn(struct append *db)
{
    plsm_status status = PLSM_OK;
    while (status == PLSM_OK) {
        uint64_t room = 0;
        bool lacks = false;
        TRY(room_for_merge(db->env, db->path, 0, &room));
        mutex_lock(&db->lock);
        struct segment *torn = next_torn(db, room, &lacks);
        status = append_writable(db);
        mutex_unlock(&db->lock);
        if (!torn || status != PLSM_OK)
            return status != PLSM_OK ? status : lacks ? space_refuse_merge(db->path) : PLSM_OK;
        status = merge_segments(db, &torn, 1);
        db->loss &= status != PLSM_OK;
        append_garbage_collect(db);
    }
    return status;
}

/* With merge_lock. */
static plsm_status merge_due(struct append *db, bool all)
{
    plsm_status status = PLSM_OK, torn = work_merge_torn(db);
    if (torn != PLSM_OK && !space_is_lacking(torn))
        return torn;
    if (!all && !merge_window_open(append_now_s(db), db->options.merge_from, db->options.merge_to))
        return PLSM_OK;
    mutex_lock(&db->lock);
    size_t rounds = 2 * db->segment_count + 2;
    mutex_unlock(&db->lock);
    for (bool done = false; !done && rounds > 0 && status == PLSM_OK; rounds--) {
        status = merge_some(db, all, &done);
        if (status == PLSM_OK && !done && !db->has_threads) /* writers have gone on */
            status = work_seal(db, UINT64_MAX);
    }
    return status == PLSM_OK ? torn : status;
}

static plsm_status merge_and_collect(struct append *db, bool all)
{
    mutex_lock(&db->merge_lock);
    plsm_status status = merge_due(db, all);
    append_garbage_collect(db);
    mutex_unlock(&db->merge_lock);
    return status;
}

plsm_status work_do(struct append *db, bool merge_all)
{
    plsm_status sealed = work_seal(db, UINT64_MAX);
    if (sealed != PLSM_OK && !space_is_lacking(sealed))
        return sealed;
    TRY(merge_and_collect(db, merge_all)); /* merging may make room */
    return sealed == PLSM_OK ? PLSM_OK : work_seal(db, UINT64_MAX);
}

plsm_status append_compact(struct append *db)
{
    if (db->options.read_only)
        return fail(PLSM_READ_ONLY, "%s: opened read-only", db->path);
    TRY(append_flush(db));
    return work_do(db, true);
}

/* --- the threads -------------------------------------------------------------------------------------------------- */

/* Under lock: what fails is tried again, but not at once; a failed sync has broken the store. */
static void wait_for_work(struct append *db)
{
    if (!db->stopping)
        condition_wait_ns(&db->work, &db->lock, LOOK_EVERY_MS * UINT64_C(1000000));
}

static void prepare_on(void *arg)
{
    struct append *db = arg;
    mutex_lock(&db->lock);
    while (!db->stopping) {
        bool due = append_ahead_due(db);
        mutex_unlock(&db->lock);
        plsm_status status = due ? append_ahead(db) : PLSM_OK;
        mutex_lock(&db->lock);
        if (status != PLSM_OK || !append_ahead_due(db))
            wait_for_work(db);
    }
    mutex_unlock(&db->lock);
}

static void seal_on(void *arg)
{
    struct append *db = arg;
    mutex_lock(&db->lock);
    while (!db->stopping) {
        mutex_unlock(&db->lock);
        plsm_status status = work_seal(db, UINT64_MAX);
        mutex_lock(&db->lock);
        if (status != PLSM_OK || !oldest_frozen(db, UINT64_MAX))
            wait_for_work(db);
    }
    mutex_unlock(&db->lock);
}

static void merge_on(void *arg)
{
    struct append *db = arg;
    mutex_lock(&db->lock);
    while (!db->stopping) {
        uint64_t sealed = db->sealed;
        mutex_unlock(&db->lock);
        directory_prune(db, PRUNED_AT_ONCE);
        plsm_status status = merge_and_collect(db, false);
        mutex_lock(&db->lock);
        if (status != PLSM_OK || db->sealed == sealed)
            wait_for_work(db);
    }
    mutex_unlock(&db->lock);
}

plsm_status work_start(struct append *db)
{
    static void (*const each[APPEND_THREADS])(void *arg) = {prepare_on, seal_on, merge_on};
    db->has_threads = true;
    for (unsigned i = 0; i < APPEND_THREADS; i++)
        TRY(env_thread_start(db->env, each[i], db, &db->threads[i]));
    return PLSM_OK;
}

void work_stop(struct append *db)
{
    mutex_lock(&db->lock);
    db->stopping = true;
    condition_broadcast(&db->work);
    mutex_unlock(&db->lock);
    for (unsigned i = 0; i < APPEND_THREADS; i++) {
        env_thread_join(db->threads[i]);
        db->threads[i] = NULL;
    }
    db->has_threads = false;
    mutex_lock(&db->lock);
    db->stopping = false;
    mutex_unlock(&db->lock);
}
