/* The life of the control surface: what it begins with, its threads, and its end. */
#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"
#include "fs/control_private.h"
#include "base/banned.h"

enum { COMMANDS_WAITING_MAX = 64 };

static void queue_init(struct queue *queue)
{
    mutex_init(&queue->lock);
    condition_init(&queue->wake);
    queue->last = &queue->first;
}

static void queue_stop(struct queue *queue)
{
    mutex_lock(&queue->lock);
    queue->stop = true;
    condition_signal(&queue->wake);
    mutex_unlock(&queue->lock);
    env_thread_join(queue->thread);
    queue->thread = NULL;
}

static void queue_destroy(struct queue *queue)
{
    mutex_destroy(&queue->lock);
    condition_destroy(&queue->wake);
}

plsm_status control_create(struct fs *fs)
{
    struct control *control = mem_zalloc(sizeof *control);
    if (!control)
        return fail(PLSM_NO_MEMORY, "no memory for the control surface");
    plsm_status status = node_table_init(&control->nodes);
    if (status != PLSM_OK) {
        mem_free(control);
        return status;
    }
    control->fs = fs;
    control->start_wall_ns = env_wall_ns(env_posix());
    mutex_init(&control->lock);
    queue_init(&control->commands);
    control->commands.waiting_max = COMMANDS_WAITING_MAX;
    queue_init(&control->kernel);
    queue_init(&control->counts);
    queue_init(&control->drops);
    fs->control = control;
    return PLSM_OK;
}

plsm_status control_start(struct fs *fs)
{
    struct control *control = fs->control;
    TRY(env_thread_start(env_posix(), control_run_kernel, control, &control->kernel.thread));
    if (fs->no_open)
        TRY(env_thread_start(env_posix(), control_run_drops, control, &control->drops.thread));
    TRY(env_thread_start(env_posix(), control_run_counts, control, &control->counts.thread));
    return env_thread_start(env_posix(), control_run_commands, control, &control->commands.thread);
}

void control_stop_notices(struct fs *fs)
{
    queue_stop(&fs->control->drops);
    queue_stop(&fs->control->kernel);
}

void control_stop(struct fs *fs)
{
    queue_stop(&fs->control->counts);
    queue_stop(&fs->control->commands);
    queue_stop(&fs->control->kernel);
    queue_stop(&fs->control->drops);
}

void control_destroy(struct fs *fs)
{
    struct control *control = fs->control;
    if (!control)
        return;
    control_texts_forget(control);
    control_levels_free(control);
    snapshots_free(control);
    for (int i = 0; i < RESULTS; i++)
        mem_free(control->results[i]);
    node_table_destroy(&control->nodes);
    queue_destroy(&control->commands);
    queue_destroy(&control->kernel);
    queue_destroy(&control->counts);
    queue_destroy(&control->drops);
    mutex_destroy(&control->lock);
    mem_free(control);
    fs->control = NULL;
}
