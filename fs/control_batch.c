/* .plsm/batch: changes as lines of text, committed together. Each write is parsed when it comes, so that a wrong line
 * is told at once and again at close; the commit is one batch of the store, all or nothing. */
#include <errno.h>
#include <stdio.h>
#include <syslog.h>

#include "base/alloc.h"
#include "base/error.h"
#include "fs/control_private.h"
#include "store/changes.h"
#include "base/banned.h"

struct control_batch {
    plsm_batch *batch;
    struct change_parser parser;
    uint64_t charged;   /* commit_charge */
    plsm_status failed; /* what a write of it came to: nothing is committed */
    uint64_t changes;
    bool conditions;
};

void control_batch_free(struct control *control, struct control_batch *batch)
{
    if (!batch)
        return;
    commit_discharge(control->fs, &batch->charged);
    plsm_batch_destroy(batch->batch);
    changes_free(&batch->parser);
    mem_free(batch);
}

static struct control_batch *create(void)
{
    struct control_batch *batch = mem_zalloc(sizeof *batch);
    if (!batch)
        return NULL;
    batch->batch = plsm_batch_create();
    batch->parser.size_max = PLSM_INLINE_MAX;
    if (batch->batch)
        return batch;
    mem_free(batch);
    return NULL;
}

static plsm_status add_change(void *arg, const struct change *change)
{
    struct control_batch *batch = arg;
    batch->changes++;
    return changes_add(batch->batch, change);
}

/* A condition that does not hold is no fault of the mount, as it would be elsewhere. */
static int batch_errno(struct fs *fs, plsm_status status)
{
    return status == PLSM_CONFLICT ? ECANCELED : fs_errno(fs, status);
}

static void refuse(struct control *control)
{
    char error[BATCH_ERROR_SIZE];
    snprintf(error, sizeof error, "%s", plsm_message());
    for (char *c = error; *c; c++)
        if (*c == '\n')
            *c = ' ';
    control_result(control, "batch: refused: %s", error);
    control->count_refused++;
    mutex_lock(&control->lock);
    memcpy(control->batch_error, error, sizeof error);
    mutex_unlock(&control->lock);
}

static plsm_status finish(struct control *control, struct control_batch *batch, plsm_durability durability,
                          struct notices *notices)
{
    plsm_status status = commit_batch(control->fs, batch->batch, durability, notices);
    if (status != PLSM_OK) {
        refuse(control);
        return status;
    }
    control->count_batches += batch->changes > 0;
    control->count_changes += batch->changes;
    mutex_lock(&control->lock);
    control->batch_error[0] = 0;
    mutex_unlock(&control->lock);
    return PLSM_OK;
}

/* Commits what has been parsed, if nothing has failed before, and answers. Returns what it came to. */
static plsm_status commit_and_answer(struct control *control, struct control_batch *batch, fuse_req_t req,
                                     plsm_durability durability, size_t written)
{
    plsm_status status = batch->failed;
    struct task *task = mem_zalloc(sizeof *task);
    if (!task) {
        fuse_reply_err(req, ENOMEM);
        return PLSM_NO_MEMORY;
    }
    bool deferred = transport_defer(&task->ticket);
    task->req = deferred ? req : NULL;
    task->written = written;
    if (status == PLSM_OK)
        status = finish(control, batch, durability, &task->notices);
    task->error = batch_errno(control->fs, status);
    /* The other thread tells the kernel what has changed, and then answers: who sees the close return sees the change.
     * Where the answer cannot wait, telling is the first thing behind it. */
    if (!deferred)
        control_reply(req, task->error, written);
    if (queue_add(&control->kernel, task))
        return status;
    notices_drop(&task->notices);
    if (deferred) {
        transport_resume(&task->ticket);
        control_reply(req, task->error, written);
    }
    mem_free(task);
    return status;
}

/* No close will come: commits the lines that have an end. */
static void commit_lines(struct control *control, struct control_batch *batch, fuse_req_t req, size_t written)
{
    batch->failed = commit_and_answer(control, batch, req, PLSM_NONE, written);
    plsm_batch_clear(batch->batch);
    commit_discharge(control->fs, &batch->charged);
    batch->changes = 0;
}

void control_batch_write(struct control *control, struct control_handle *handle, fuse_req_t req, plsm_slice data)
{
    if (!handle->batch)
        handle->batch = create();
    struct control_batch *batch = handle->batch;
    if (!batch) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    plsm_status status = batch->failed;
    if (status == PLSM_OK) {
        status = changes_parse(&batch->parser, data, add_change, batch);
        if (status == PLSM_OK)
            status = commit_charge(control->fs, &batch->charged, plsm_batch_bytes(batch->batch));
        if (status != PLSM_OK)
            refuse(control);
        batch->failed = status;
    }
    if (status == PLSM_OK && handle->node && batch->changes > 0)
        commit_lines(control, batch, req, data.size);
    else
        control_reply(req, batch_errno(control->fs, status), data.size);
}

void control_batch_kill(struct control *control, struct control_handle *handle)
{
    struct control_batch *batch = handle->batch;
    if (!batch || batch->failed != PLSM_OK)
        return;
    batch->failed = fail(PLSM_CONFLICT, "a signal ended a process that wrote to it: nothing of it is done");
    refuse(control);
}

void control_batch_commit(struct control *control, struct control_handle *handle, fuse_req_t req,
                          plsm_durability durability, bool last)
{
    struct control_batch *batch = handle->batch;
    plsm_status status = PLSM_OK;
    handle->batch = NULL; /* what is written behind this begins a new one */
    if (!batch) {
        if (durability == PLSM_SYNC && !control->fs->options.read_only)
            status = plsm_sync(control->fs->db);
        fuse_reply_err(req, fs_errno(control->fs, status));
        return;
    }
    const char *why = batch->failed != PLSM_OK ? "it was refused before" : NULL;
    if (batch->failed == PLSM_OK) {
        batch->failed = changes_parse_end(&batch->parser, add_change, batch);
        if (batch->failed != PLSM_OK)
            refuse(control);
    }
    status = commit_and_answer(control, batch, req, durability, 0);
    if (last && status != PLSM_OK)
        syslog(LOG_WARNING, "a batch is not done, and whoever wrote it is not told: %s", why ? why : plsm_message());
    control_batch_free(control, batch);
}

void control_batch_abandon(struct control *control, struct control_handle *handle)
{
    struct control_batch *batch = handle->batch;
    if (!batch || batch->failed != PLSM_OK || !batch->parser.begun)
        return;
    fail(PLSM_INVALID, "the last line has no end: it is not done");
    refuse(control);
    syslog(LOG_WARNING, "a batch is not done, and whoever wrote it is not told: %s", plsm_message());
}
