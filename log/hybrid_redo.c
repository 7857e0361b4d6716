/* The redo log; see hybrid_redo.h. */
#include "log/hybrid_redo.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "log/hybrid.h"

#include "base/banned.h"

enum {
    PATH_SIZE = 4096,
    HEAD_ONLY = 544 + 32 + REDO_HEAD_SIZE, /* bytes of a log without batches, at most (base/reclog.c) */
};

void redo_path(const char *directory, uint64_t number, char *out, size_t size)
{
    snprintf(out, size, "%s/" HYBRID_MARK "redo-%06" PRIu64, directory, number);
}

void redo_init(struct redo *redo, struct env *env, const char *directory, bool mapped)
{
    *redo = (struct redo){.env = env, .directory = directory, .mapped = mapped};
    mutex_init(&redo->lock);
    mutex_init(&redo->sync_lock);
    condition_init(&redo->sync_ended);
}

void redo_destroy(struct redo *redo)
{
    if (!redo->env)
        return;
    for (size_t i = 0; i < redo->old_count; i++)
        reclog_close(redo->old[i].writer);
    reclog_close(redo->current.writer);
    mem_free(redo->old);
    mutex_destroy(&redo->lock);
    mutex_destroy(&redo->sync_lock);
    condition_destroy(&redo->sync_ended);
    *redo = (struct redo){0};
}

void redo_abandon(struct redo *redo, struct redo_log *log)
{
    char path[PATH_SIZE];
    if (!log->writer)
        return;
    reclog_close(log->writer);
    redo_path(redo->directory, log->number, path, sizeof path);
    env_remove(redo->env, path);
    log->writer = NULL;
}

plsm_status redo_create(struct redo *redo, uint64_t number, struct redo_log *out)
{
    char path[PATH_SIZE], reason[512];
    *out = (struct redo_log){.number = number};
    redo_path(redo->directory, number, path, sizeof path);
    plsm_status status = redo->mapped ? reclog_create_mapped(redo->env, path, REDO_MAGIC, &out->writer)
                                      : reclog_create(redo->env, path, REDO_MAGIC, &out->writer);
    if (status == PLSM_OK)
        status = env_sync_dir(redo->env, redo->directory);
    if (status == PLSM_OK)
        return PLSM_OK;
    snprintf(reason, sizeof reason, "%s", plsm_message());
    if (out->writer)
        redo_abandon(redo, out);
    else
        env_remove(redo->env, path);
    return fail(status, "%s", reason);
}

/* Room for one more old log. */
static plsm_status make_room(struct redo *redo)
{
    if (redo->old_count < redo->old_capacity)
        return PLSM_OK;
    size_t capacity = redo->old_capacity ? 2 * redo->old_capacity : 4;
    struct redo_log *old = mem_realloc(redo->old, capacity * sizeof *old);
    if (!old)
        return fail(PLSM_NO_MEMORY, "no memory for another redo log");
    redo->old = old;
    redo->old_capacity = capacity;
    return PLSM_OK;
}

plsm_status redo_switch(struct redo *redo, const struct redo_log *next)
{
    uint8_t head[REDO_HEAD_SIZE] = {0};
    mutex_lock(&redo->lock);
    plsm_status status = make_room(redo);
    if (redo->current.writer) {
        put_u64(head, redo->current.number);
        put_u64(head + 8, reclog_size(redo->current.writer));
    }
    put_u64(head + 16, redo->store);
    plsm_slice part = slice(head, sizeof head);
    if (status == PLSM_OK)
        status = reclog_append(next->writer, REDO_HEAD, &part, 1);
    if (status == PLSM_OK) {
        if (redo->current.writer)
            redo->old[redo->old_count++] = redo->current;
        redo->current = *next;
    }
    mutex_unlock(&redo->lock);
    return status;
}

plsm_status redo_append(struct redo *redo, const struct batch *batch)
{
    plsm_slice bytes = buf_slice(&batch->bytes);
    if (batch->roomy)
        TRY(reclog_append_in_place(redo->current.writer, REDO_BATCH, batch->bytes.data, batch->bytes.size));
    else
        TRY(reclog_append(redo->current.writer, REDO_BATCH, &bytes, 1));
    atomic_store_explicit(&redo->appended, atomic_load_explicit(&redo->appended, memory_order_relaxed) + 1,
                          memory_order_release);
    return PLSM_OK;
}

/* While `syncing` is set: the old logs first. */
static plsm_status sync_all(struct redo *redo)
{
    for (size_t i = 0;; i++) {
        mutex_lock(&redo->lock);
        bool is_old = i < redo->old_count;
        struct reclog_writer *writer = is_old ? redo->old[i].writer : redo->current.writer;
        mutex_unlock(&redo->lock);
        if (writer && reclog_synced(writer) < reclog_size(writer))
            TRY(reclog_sync(writer));
        if (!is_old)
            return PLSM_OK;
    }
}

/* Ends what set `syncing`. */
static plsm_status sync_for_all(struct redo *redo)
{
    uint64_t appended = atomic_load_explicit(&redo->appended, memory_order_acquire);
    plsm_status status = sync_all(redo);
    mutex_lock(&redo->sync_lock);
    if (status == PLSM_OK)
        atomic_store_explicit(&redo->synced, appended, memory_order_release);
    redo->syncing = false;
    condition_broadcast(&redo->sync_ended);
    mutex_unlock(&redo->sync_lock);
    return status;
}

plsm_status redo_sync(struct redo *redo)
{
    uint64_t wanted = atomic_load_explicit(&redo->appended, memory_order_acquire);
    if (atomic_load_explicit(&redo->synced, memory_order_acquire) >= wanted)
        return PLSM_OK;
    mutex_lock(&redo->sync_lock);
    while (redo->syncing && atomic_load_explicit(&redo->synced, memory_order_acquire) < wanted)
        condition_wait(&redo->sync_ended, &redo->sync_lock);
    bool mine = atomic_load_explicit(&redo->synced, memory_order_acquire) < wanted;
    redo->syncing = redo->syncing || mine;
    mutex_unlock(&redo->sync_lock);
    return mine ? sync_for_all(redo) : PLSM_OK;
}

void redo_drop_old(struct redo *redo, uint64_t appended)
{
    mutex_lock(&redo->sync_lock);
    while (redo->syncing) /* one of them, maybe */
        condition_wait(&redo->sync_ended, &redo->sync_lock);
    mutex_lock(&redo->lock);
    size_t count = redo->old_count;
    redo->old_count = 0;
    mutex_unlock(&redo->lock);
    for (size_t i = 0; i < count; i++)
        reclog_close(redo->old[i].writer);
    if (atomic_load_explicit(&redo->synced, memory_order_relaxed) < appended)
        atomic_store_explicit(&redo->synced, appended, memory_order_release);
    mutex_unlock(&redo->sync_lock);
}

/* --- replaying ---------------------------------------------------------------------------------------------------- */

struct replaying {
    plsm_status (*each)(void *arg, plsm_slice batch);
    void *arg;
    const char *path;
    const struct redo_logs *logs; /* the one that is being read is at `now` */
    size_t now;
    uint64_t *ends;   /* up to where those in front of it were read */
    uint64_t head_at; /* offset of its head, once that was met */
    bool has_head;
    bool skips; /* it does not follow on what was there */
    bool found;
};

static plsm_status take_head(struct replaying *r, plsm_slice payload, uint64_t offset)
{
    const uint8_t *bytes = payload.data;
    if ((payload.size != REDO_HEAD_SIZE && payload.size != REDO_HEAD_SIZE_OLDEST) || r->has_head)
        return fail(PLSM_CORRUPT, "%s: offset %" PRIu64 ": is no head of a redo log; restore it from a backup", r->path,
                    offset);
    uint64_t before = get_u64(bytes), size = get_u64(bytes + 8);
    uint64_t store = payload.size == REDO_HEAD_SIZE ? get_u64(bytes + 16) : 0;
    if (store && r->logs->store && store != r->logs->store)
        return fail(PLSM_CORRUPT, "%s: is a redo log of another store; restore it from a backup", r->path);
    r->has_head = true;
    r->head_at = offset;
    if (r->skips || before == 0 || before < r->logs->first)
        return PLSM_OK;
    if (size <= HEAD_ONLY) /* there was nothing in it: so it may have been removed */
        return PLSM_OK;
    size_t i = 0;
    while (i < r->now && r->logs->numbers[i] != before)
        i++;
    if (i == r->now)
        return fail(PLSM_CORRUPT, "%s: the redo log %" PRIu64 " before it is missing; restore it from a backup",
                    r->path, before);
    r->skips = r->ends[i] < size;
    r->found |= r->skips;
    return PLSM_OK;
}

static plsm_status take_record(void *arg, uint64_t user, plsm_slice payload, uint64_t offset)
{
    struct replaying *r = arg;
    if (user == REDO_HEAD)
        return take_head(r, payload, offset);
    if (user != REDO_BATCH || !r->has_head)
        return fail(PLSM_CORRUPT, "%s: offset %" PRIu64 ": is no record of a redo log; restore it from a backup",
                    r->path, offset);
    if (r->skips)
        return PLSM_OK;
    r->found = true;
    plsm_status status = r->each(r->arg, payload);
    if (status == PLSM_INVALID)
        return fail(PLSM_CORRUPT, "%s: offset %" PRIu64 ": the batch there is none; restore it from a backup", r->path,
                    offset);
    return status;
}

plsm_status redo_replay(struct env *env, const char *directory, const struct redo_logs *logs,
                        plsm_status (*each)(void *arg, plsm_slice batch), void *arg, struct redo_found *found)
{
    char path[PATH_SIZE];
    struct replaying r = {.each = each, .arg = arg, .path = path, .logs = logs};
    r.ends = mem_zalloc(logs->count * sizeof r.ends[0]);
    plsm_status status = r.ends ? PLSM_OK : fail(PLSM_NO_MEMORY, "%s: no memory to read the redo log", directory);
    for (r.now = 0; r.now < logs->count && status == PLSM_OK; r.now++) {
        struct reclog_result result;
        redo_path(directory, logs->numbers[r.now], path, sizeof path);
        r.has_head = false;
        status = reclog_read(env, path, REDO_MAGIC, take_record, &r, &result);
        if (status == PLSM_NOT_FOUND)
            status = fail(PLSM_CORRUPT, "%s: the redo log was there, and is not any more; open the store again", path);
        r.ends[r.now] = result.records_end;
        if (status == PLSM_OK && r.skips && r.has_head && result.synced > r.head_at)
            status =
                fail(PLSM_CORRUPT,
                     "%s: was synced, but one before it has lost its end; restore the redo logs from a backup", path);
    }
    mem_free(r.ends);
    *found = (struct redo_found){r.found, r.skips};
    return status;
}

plsm_status redo_sync_files(struct env *env, const char *directory, const uint64_t *numbers, size_t count)
{
    char path[PATH_SIZE];
    plsm_status status = PLSM_OK;
    for (size_t i = 0; i < count && status == PLSM_OK; i++) {
        struct env_file *file = NULL;
        redo_path(directory, numbers[i], path, sizeof path);
        status = env_open(env, path, ENV_READ, &file);
        if (status == PLSM_OK)
            status = env_sync(file);
        env_close(file);
    }
    return status;
}
