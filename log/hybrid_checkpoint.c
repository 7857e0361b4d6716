/* Recovery points (after the fold-over checkpoints of FASTER): all of the log becomes read-only and is written out, and
 * batches go into a new redo log from the same moment on. The writers stop for that moment only. */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "log/hybrid_private.h"

#include "base/banned.h"

enum { FILES_BYTES = 12 << 10 }; /* of a recovery point beside the log: its file, a redo log's and a segment's head */

/* What was true at the moment of a recovery point. */
struct moment_taken {
    uint64_t tail, begin, live, names, appended, unsaved, volatile_bytes;
};

static bool has_changed(struct hybrid *db)
{
    return counted(&db->unsaved_bytes) > 0 || address_of(&db->begin) != db->state.begin || db->state.number == 0 ||
           db->replayed;
}

/* The moment itself. */
static plsm_status take_moment(struct hybrid *db, const struct redo_log *next, struct moment_taken *out)
{
    mutex_lock(&db->write_lock);
    plsm_status status = next->writer ? redo_switch(&db->redo, next) : PLSM_OK;
    if (status == PLSM_OK) {
        *out = (struct moment_taken){.tail = address_of(&db->tail),
                                     .begin = address_of(&db->begin),
                                     .live = counted(&db->live),
                                     .names = counted(&db->names),
                                     .appended = atomic_load(&db->redo.appended),
                                     .unsaved = atomic_exchange(&db->unsaved_bytes, 0),
                                     .volatile_bytes = counted(&db->volatile_bytes)};
        make_read_only(db, out->tail);
    }
    mutex_unlock(&db->write_lock);
    return status;
}

/* The segments as they are now, with memory of the caller's. They stay as long as checkpoint_lock is held. */
static plsm_status list_segments(struct hybrid *db, struct hybrid_segment ***out, size_t *count)
{
    mutex_lock(&db->flush_lock);
    const struct hybrid_segments *list = hybrid_segments_of(db);
    *count = list->count;
    *out = mem_alloc(list->count * sizeof **out);
    if (*out)
        memcpy(*out, list->at, list->count * sizeof **out);
    mutex_unlock(&db->flush_lock);
    return *out ? PLSM_OK : fail(PLSM_NO_MEMORY, "%s: no memory for its segments", db->path);
}

static plsm_status sync_segments(struct hybrid *db, struct hybrid_segment *const *segments, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t end = hybrid_segment_end(segments[i]);
        if (segments[i]->synced >= end)
            continue;
        TRY(env_sync(atomic_load(&segments[i]->file)));
        segments[i]->synced = end;
    }
    return atomic_exchange(&db->new_names, false) ? env_sync_dir(db->env, db->path) : PLSM_OK;
}

static plsm_status make_state(const struct hybrid *db, const struct moment_taken *taken,
                              struct hybrid_segment *const *segments, size_t count, struct hybrid_state *out)
{
    *out = (struct hybrid_state){.number = db->state.number + 1,
                                 .begin = taken->begin,
                                 .tail = taken->begin,
                                 .redo = db->redo.current.writer ? db->redo.current.number : db->next_redo,
                                 .next_segment = atomic_load(&((struct hybrid *)(uintptr_t)db)->next_segment),
                                 .live = taken->live,
                                 .names = taken->names,
                                 .store = db->store};
    out->segments = mem_alloc(count * sizeof out->segments[0]);
    if (!out->segments)
        return fail(PLSM_NO_MEMORY, "%s: no memory for a recovery point", db->path);
    for (size_t i = 0; i < count; i++) {
        uint64_t end = hybrid_segment_end(segments[i]) < taken->tail ? hybrid_segment_end(segments[i]) : taken->tail;
        if (segments[i]->start >= taken->tail || end <= taken->begin)
            continue;
        out->segments[out->count++] =
            (struct state_segment){segments[i]->number, segments[i]->start, end, segments[i]->salt};
        out->tail = end;
    }
    return PLSM_OK;
}

/* Everything of the moment goes to the disk. */
static plsm_status write_moment(struct hybrid *db, const struct moment_taken *taken, struct hybrid_state *state)
{
    struct hybrid_segment **segments = NULL;
    size_t count = 0;
    bool renamed = false;
    TRY(flush_until(db, taken->tail));
    plsm_status status = list_segments(db, &segments, &count);
    if (status == PLSM_OK) {
        status = sync_segments(db, segments, count);
        if (status != PLSM_OK) /* never tried again */
            hybrid_break(db, status);
    }
    if (status == PLSM_OK)
        status = make_state(db, taken, segments, count, state);
    if (status == PLSM_OK)
        status = state_write(db->env, db->path, state, &renamed);
    if (status == PLSM_IO || (status != PLSM_OK && renamed))
        hybrid_break(db, status);
    mem_free(segments);
    return status;
}

/* Segments that are not appended to any more are opened to be read, so that the number of descriptors is bounded. What
 * cannot be opened now stays as it is. */
static void reopen_segments(struct hybrid *db)
{
    struct hybrid_segment **segments = NULL;
    size_t count = 0, closing = 0;
    if (list_segments(db, &segments, &count) != PLSM_OK)
        return;
    struct env_file **files = mem_alloc(count * sizeof *files);
    for (size_t i = 0; files && i < count; i++) {
        struct env_file *file = NULL;
        mutex_lock(&db->flush_lock);
        bool done = segments[i]->appended_to && segments[i] != db->writing;
        mutex_unlock(&db->flush_lock);
        if (!done || segments[i]->synced < hybrid_segment_end(segments[i]) ||
            env_open(db->env, segments[i]->path, ENV_READ, &file) != PLSM_OK)
            continue;
        files[closing++] = atomic_exchange(&segments[i]->file, file);
        segments[i]->appended_to = false;
    }
    if (closing > 0)
        wait_for_readers(db);
    for (size_t i = 0; i < closing; i++)
        env_close(files[i]);
    mem_free(files);
    mem_free(segments);
}

/* After it: only when it is whole do volatile writes count as saved, since a sync beside it must wait for it. */
static void end_moment(struct hybrid *db, const struct moment_taken *taken, bool whole)
{
    mutex_lock(&db->write_lock);
    if (whole)
        own_add(&db->volatile_bytes, -taken->volatile_bytes);
    else
        own_add(&db->unsaved_bytes, taken->unsaved);
    mutex_unlock(&db->write_lock);
}

static void finish_segment(struct hybrid *db, uint64_t tail)
{
    mutex_lock(&db->flush_lock);
    if (db->writing && db->writing->start < tail)
        db->writing = NULL;
    mutex_unlock(&db->flush_lock);
}

/* One that is cut short for want of room would only have taken some. */
static plsm_status check_room(const struct hybrid *db)
{
    uint64_t unwritten = unwritten_bytes(db);
    struct env_space space;
    TRY(env_space(db->env, db->path, &space));
    if (unwritten + FILES_BYTES <= space.bytes_free)
        return PLSM_OK;
    return fail(PLSM_NO_SPACE, "%s: a recovery point needs %" PRIu64 " bytes, %" PRIu64 " are free", db->path,
                unwritten + FILES_BYTES, space.bytes_free);
}

plsm_status take_recovery_point(struct hybrid *db, bool whole_files)
{
    struct redo_log next = {0};
    struct moment_taken taken;
    struct hybrid_state state = {0};
    TRY(hybrid_writable(db));
    if (!has_changed(db)) {
        if (whole_files)
            finish_segment(db, UINT64_MAX);
        return PLSM_OK;
    }
    TRY(check_room(db));
    uint64_t since_ns = env_now_ns(db->env);
    plsm_status status = db->options.redo ? redo_create(&db->redo, db->next_redo++, &next) : PLSM_OK;
    if (status == PLSM_OK)
        status = take_moment(db, &next, &taken);
    if (status == PLSM_IO) /* also of a sync of the directory, which is never tried again */
        hybrid_break(db, status);
    if (status != PLSM_OK) {
        redo_abandon(&db->redo, &next);
        return status;
    }
    status = write_moment(db, &taken, &state);
    end_moment(db, &taken, status == PLSM_OK);
    if (status != PLSM_OK) {
        state_free(&state);
        return status;
    }
    state_free(&db->state);
    db->state = state;
    db->replayed = false;
    redo_drop_old(&db->redo, taken.appended);
    if (whole_files)
        finish_segment(db, taken.tail);
    reopen_segments(db);
    remove_pending(db);
    remove_leftovers(db);
    count_add(&db->counters.recovery_points, 1);
    count_add(&db->counters.recovery_point_ns, env_now_ns(db->env) - since_ns);
    return PLSM_OK;
}

plsm_status hybrid_flush(struct hybrid *db)
{
    mutex_lock(&db->checkpoint_lock);
    plsm_status status = take_recovery_point(db, false);
    mutex_unlock(&db->checkpoint_lock);
    return status;
}

/* --- removing segments -------------------------------------------------------------------------------------------- */

/* Whether no snapshot needs what is below pending_end; then nothing leads there any more. */
static bool raise_floor(struct hybrid *db)
{
    bool free_now = db->pending_end > 0 && db->state.begin >= db->pending_end;
    mutex_lock(&db->write_lock);
    for (const struct hybrid_snapshot *s = db->snapshots; s; s = s->next)
        free_now = free_now && s->begin >= db->pending_end;
    if (free_now)
        atomic_store_explicit(&db->floor, db->pending_end, memory_order_release);
    mutex_unlock(&db->write_lock);
    return free_now;
}

/* Their files are left over then. */
static void let_segments_go(struct hybrid *db, struct hybrid_segment *const *gone, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        count_add(&db->log_bytes, -(hybrid_segment_end(gone[i]) - gone[i]->start));
        hybrid_segment_free(gone[i]);
    }
}

void remove_pending(struct hybrid *db)
{
    if (db->pending_end == 0 || !raise_floor(db))
        return;
    wait_for_readers(db); /* those that began before the log did where it does now may ask for one still */
    mutex_lock(&db->flush_lock);
    struct hybrid_segments *before = hybrid_segments_of(db), *list = hybrid_segments_alloc(before->count);
    struct hybrid_segment **gone = mem_alloc(before->count * sizeof *gone);
    size_t gone_count = 0;
    for (size_t i = 0; list && gone && i < before->count; i++) {
        if (hybrid_segment_end(before->at[i]) <= db->pending_end && before->at[i] != db->writing)
            gone[gone_count++] = before->at[i];
        else
            list->at[list->count++] = before->at[i];
    }
    if (list && gone)
        hybrid_segments_publish(db, list);
    else
        mem_free(list); /* the next time */
    mutex_unlock(&db->flush_lock);
    if (list && gone) {
        db->pending_end = 0;
        wait_for_readers(db);
    }
    let_segments_go(db, gone, gone_count);
    mem_free(gone);
}

/* --- files of a checkpoint ---------------------------------------------------------------------------------------- */

static plsm_status tell_files(struct hybrid *db, plsm_status (*each)(void *arg, const struct hybrid_file *file),
                              void *arg)
{
    char path[4096], name[64];
    struct hybrid_segment **segments = NULL;
    size_t count = 0;
    TRY(list_segments(db, &segments, &count));
    plsm_status status = PLSM_OK;
    for (size_t i = 0, j = 0; i < count && j < db->state.count && status == PLSM_OK; i++) {
        if (segments[i]->number != db->state.segments[j].number)
            continue;
        j++;
        snprintf(name, sizeof name, HYBRID_MARK "segment-%06" PRIu64, segments[i]->number);
        uint64_t size = hybrid_segment_offset(segments[i], hybrid_segment_end(segments[i]));
        status = each(arg, &(struct hybrid_file){name, segments[i]->path, size, segments[i]->salt ^ size});
    }
    mem_free(segments);
    state_path(db->path, db->state.number, path, sizeof path);
    snprintf(name, sizeof name, HYBRID_MARK "%06" PRIu64, db->state.number);
    return status == PLSM_OK ? each(arg, &(struct hybrid_file){.name = name, .path = path}) : status;
}

plsm_status hybrid_checkpoint(struct hybrid *db, plsm_status (*each)(void *arg, const struct hybrid_file *file),
                              void *arg)
{
    mutex_lock(&db->checkpoint_lock);
    plsm_status status = take_recovery_point(db, true);
    if (status == PLSM_OK)
        status = tell_files(db, each, arg);
    mutex_unlock(&db->checkpoint_lock);
    return status;
}
