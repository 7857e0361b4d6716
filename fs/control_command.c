/* Commands of .plsm/ctl, and the two threads that answer requests when what they asked for is done. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"
#include "base/text.h"
#include "fs/control_ops.h"
#include "fs/control_private.h"
#include "fs/mountpoint.h"
#include "fs/ops.h"
#include "base/banned.h"

enum { LINE_MAX = 40000 };

static const char help[] = "Commands, one a line; each write returns when its commands are done:\n"
                           "  flush                        write what is in memory to files\n"
                           "  compact [FROM [TO]]          give back the space of what was deleted and overwritten,\n"
                           "                               of the keys in [FROM, TO) or of all\n"
                           "  retrain [all]                train the models of runs that have none, or of all\n"
                           "  reset                        zero the counters of the statistics\n"
                           "  checkpoint DIRECTORY [NAME]  keep the state of the store in a directory of checkpoints,\n"
                           "                               an absolute path outside the mount\n"
                           "FROM, TO and DIRECTORY have the escapes \\t \\n \\\\ \\0 \\xHH; a space is \\x20.\n"
                           "\nThe last results, oldest first:\n";

/* --- results ------------------------------------------------------------------------------------------------------ */

void control_result(struct control *control, const char *format, ...)
{
    char line[BATCH_ERROR_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    for (char *c = line; *c; c++)
        if (*c == '\n')
            *c = ' ';
    size_t size = strlen(line) + 1;
    char *copy = mem_alloc(size);
    if (!copy)
        return; /* the caller has its error code all the same */
    memcpy(copy, line, size);
    mutex_lock(&control->lock);
    char **slot = &control->results[control->result_count++ % RESULTS];
    mem_free(*slot);
    *slot = copy;
    mutex_unlock(&control->lock);
}

plsm_status control_command_text(struct control *control, struct buf *out)
{
    plsm_status status = buf_append(out, help, sizeof help - 1);
    mutex_lock(&control->lock);
    for (unsigned i = 0; i < RESULTS && status == PLSM_OK; i++) {
        const char *line = control->results[(control->result_count + i) % RESULTS];
        if (line)
            status = buf_printf(out, "  %s\n", line);
    }
    mutex_unlock(&control->lock);
    return status;
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

enum { WORDS = 3 };
enum command_kind { FLUSH, COMPACT, RETRAIN, RESET, CHECKPOINT };
struct command {
    const char *name;
    int words_min, words_max;
};
static const struct command commands[] = {
    [FLUSH] = {"flush", 1, 1}, [COMPACT] = {"compact", 1, 3},       [RETRAIN] = {"retrain", 1, 2},
    [RESET] = {"reset", 1, 1}, [CHECKPOINT] = {"checkpoint", 2, 3},
};

/* The words of a checkpoint become strings; and the daemon has left the directory in which it was started. */
static plsm_status check_path(const struct buf *word, bool is_directory)
{
    if (word->size > 0 && memchr(word->data, 0, word->size))
        return fail(PLSM_INVALID, "checkpoint: there is no NUL byte in names");
    if (is_directory && (word->size == 0 || word->data[0] != '/'))
        return fail(PLSM_INVALID, "checkpoint: the directory must be an absolute path");
    return PLSM_OK;
}

/* Cuts a line into words, the first of which is the name of the command. PLSM_INVALID: it is none. */
static plsm_status parse(plsm_slice line, plsm_slice words[WORDS], int *count, enum command_kind *kind)
{
    const char *at = line.data, *end = at + line.size;
    char quoted[128];
    *count = 0;
    for (;;) {
        while (at < end && *at == ' ')
            at++;
        if (at == end)
            break;
        const char *start = at;
        while (at < end && *at != ' ')
            at++;
        if (*count == WORDS) {
            *count = WORDS + 1;
            break;
        }
        words[(*count)++] = slice(start, (size_t)(at - start));
    }
    for (size_t i = 0; *count > 0 && i < sizeof commands / sizeof *commands; i++) {
        if (!slice_equal(words[0], slice_of(commands[i].name)))
            continue;
        *kind = (enum command_kind)i;
        if (*count < commands[i].words_min || *count > commands[i].words_max ||
            (*kind == RETRAIN && *count == 2 && !slice_equal(words[1], slice_of("all"))))
            return fail(PLSM_INVALID, "%s: wrong arguments", commands[i].name);
        return PLSM_OK;
    }
    return fail(PLSM_INVALID, "%s: no such command", text_quote(quoted, sizeof quoted, line));
}

/* Whether all of these lines are commands; empty ones count as such. */
static plsm_status check_lines(plsm_slice lines)
{
    const char *at = lines.data, *end = at + lines.size;
    plsm_slice words[WORDS];
    struct buf word = {0};
    plsm_status status = PLSM_OK;
    while (at < end && status == PLSM_OK) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        plsm_slice line = slice(at, (size_t)((newline ? newline : end) - at));
        enum command_kind kind = FLUSH;
        int count = 0;
        at += line.size + 1;
        if (line.size == 0)
            continue;
        status = parse(line, words, &count, &kind);
        for (int i = 1; i < count && status == PLSM_OK; i++) {
            status = text_unescape_all(&word, words[i]);
            if (status == PLSM_OK && kind == CHECKPOINT)
                status = check_path(&word, i == 1);
        }
    }
    buf_free(&word);
    return status;
}

/* `directory` is terminated. What the mount covers could only be reached through this daemon, which may be about to end
 * and waits for its commands then. */
static plsm_status checkpoint(struct control *control, const char *directory, const char *name)
{
    plsm_checkpoint_options options = {.name = name};
    plsm_checkpoint_info info;
    char *path = NULL;
    plsm_status status = absolute_path(directory, "directory of checkpoints", &path);
    if (status == PLSM_OK && path_is_within(path, control->fs->options.directory))
        status = fail(PLSM_INVALID, "%s: is in the mount", directory);
    if (status == PLSM_OK)
        status = plsm_checkpoint(control->fs->db, path, &options, &info);
    if (status == PLSM_OK)
        control_result(control,
                       "checkpoint %s: %" PRIu64 " files, %" PRIu64 " bytes; new: %" PRIu64 " files, %" PRIu64
                       " bytes copied, %" PRIu64 " linked",
                       info.name, info.files, info.bytes, info.new_files, info.copied_bytes, info.linked_bytes);
    mem_free(path);
    return status;
}

static plsm_status run_line(struct control *control, plsm_slice line)
{
    plsm *db = control->fs->db;
    plsm_slice words[WORDS];
    struct buf first = {0}, second = {0};
    enum command_kind kind = FLUSH;
    int count = 0;
    plsm_status status = parse(line, words, &count, &kind);
    if (status == PLSM_OK && count > 1)
        status = text_unescape_all(&first, words[1]);
    if (status == PLSM_OK && count > 2)
        status = text_unescape_all(&second, words[2]);
    if (status == PLSM_OK && kind == CHECKPOINT)
        status = buf_append(&first, "", 1);
    if (status == PLSM_OK && kind == CHECKPOINT && count > 2)
        status = buf_append(&second, "", 1);
    if (status == PLSM_OK) {
        switch (kind) {
        case FLUSH:
            status = plsm_flush(db);
            break;
        case COMPACT:
            status = plsm_compact(db, buf_slice(&first), buf_slice(&second));
            break;
        case RETRAIN:
            status = plsm_retrain(db, count > 1, NULL, NULL);
            break;
        case RESET:
            control_reset(control);
            break;
        case CHECKPOINT:
            status = checkpoint(control, (const char *)first.data, (const char *)second.data);
        }
    }
    buf_free(&first);
    buf_free(&second);
    return status;
}

/* Runs whole lines until one fails; returns 0 or an errno value. */
static int run_lines(struct control *control, plsm_slice lines)
{
    const char *at = lines.data, *end = at + lines.size;
    int error = 0;
    while (at < end && !error) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        plsm_slice line = slice(at, (size_t)((newline ? newline : end) - at));
        char quoted[128];
        at += line.size + 1;
        if (line.size == 0)
            continue;
        uint64_t start_ns = env_now_ns(env_posix());
        plsm_status status = run_line(control, line);
        control_levels_outdate(control);
        double seconds = (double)(env_now_ns(env_posix()) - start_ns) / 1e9;
        text_quote(quoted, sizeof quoted, line);
        if (status == PLSM_OK)
            control_result(control, "%s: done in %.3f s", quoted, seconds);
        else
            control_result(control, "%s: %s", quoted, plsm_message());
        error = fs_errno(control->fs, status);
        control->count_commands++;
    }
    return error;
}

/* --- tasks -------------------------------------------------------------------------------------------------------- */

bool queue_add(struct queue *queue, struct task *task)
{
    mutex_lock(&queue->lock);
    bool room = !queue->stop && (!queue->waiting_max || queue->waiting < queue->waiting_max);
    if (room) {
        queue->waiting++;
        *queue->last = task;
        queue->last = &task->next;
        condition_signal(&queue->wake);
    }
    mutex_unlock(&queue->lock);
    return room;
}

struct task *queue_next(struct queue *queue)
{
    mutex_lock(&queue->lock);
    while (!queue->first && !queue->stop)
        condition_wait(&queue->wake, &queue->lock);
    struct task *task = queue->first;
    if (task) {
        queue->first = task->next;
        if (!queue->first)
            queue->last = &queue->first;
        queue->waiting--;
    }
    mutex_unlock(&queue->lock);
    return task;
}

void control_reply(fuse_req_t req, int error, size_t written)
{
    if (error || written == 0)
        fuse_reply_err(req, error);
    else
        fuse_reply_write(req, written);
}

static void answer(struct task *task)
{
    transport_resume(&task->ticket);
    control_reply(task->req, task->error, task->written);
}

void control_run_kernel(void *arg)
{
    struct control *control = arg;
    struct task *task = NULL;
    while ((task = queue_next(&control->kernel))) {
        notices_send(control->fs, &task->notices);
        if (task->req)
            answer(task);
        mem_free(task);
    }
}

void control_run_drops(void *arg)
{
    struct control *control = arg;
    struct task *task = NULL;
    while ((task = queue_next(&control->drops))) {
        if (control->drops.stop)
            notices_drop(&task->notices); /* the kernel forgets everything soon */
        else
            notices_send(control->fs, &task->notices);
        mem_free(task);
    }
}

/* A signal to whoever waits for a command: it is told so at once, and the command goes on. */
static void on_interrupt(fuse_req_t req, void *arg)
{
    struct task *task = arg;
    struct queue *queue = &fs_of(req)->control->commands;
    mutex_lock(&queue->lock);
    struct transport_ticket ticket = task->ticket;
    bool first = !task->answered;
    task->answered = true;
    mutex_unlock(&queue->lock);
    if (first) {
        transport_resume(&ticket);
        fuse_reply_err(req, EINTR);
    }
}

void control_run_commands(void *arg)
{
    struct control *control = arg;
    struct task *task = NULL;
    while ((task = queue_next(&control->commands))) {
        task->error = control->commands.stop ? EIO : run_lines(control, buf_slice(&task->commands));
        mutex_lock(&control->commands.lock);
        bool answered = task->answered;
        task->answered = true;
        mutex_unlock(&control->commands.lock);
        if (!answered) {
            /* No interrupt comes between this and the answer: libfuse calls them under a lock of its own. */
            fuse_req_interrupt_func(task->req, NULL, NULL);
            answer(task);
        }
        buf_free(&task->commands);
        mem_free(task);
    }
}

/* Gives whole lines to the thread, or answers. Takes over `lines`. */
static void start(struct control *control, fuse_req_t req, struct buf *lines, size_t written)
{
    plsm_status status = check_lines(buf_slice(lines));
    struct task *task = NULL;
    int error = 0;
    if (status != PLSM_OK) {
        control_result(control, "refused: %s", plsm_message());
        error = status == PLSM_NO_MEMORY ? ENOMEM : EINVAL;
    } else {
        task = mem_zalloc(sizeof *task);
        error = task ? 0 : ENOMEM;
    }
    if (task) {
        *task = (struct task){.req = req, .written = written, .commands = *lines};
        *lines = (struct buf){0};
        /* Where the answer cannot wait for the commands, it says that they will be done. */
        bool deferred = transport_defer(&task->ticket);
        task->answered = !deferred;
        if (deferred)
            fuse_req_interrupt_func(req, on_interrupt, task);
        if (queue_add(&control->commands, task)) {
            if (!deferred)
                control_reply(req, 0, written);
            return;
        }
        if (deferred)
            fuse_req_interrupt_func(req, NULL, NULL);
        bool answered = deferred && task->answered;
        struct transport_ticket ticket = task->ticket;
        buf_free(&task->commands);
        mem_free(task);
        if (answered)
            return;
        if (deferred)
            transport_resume(&ticket);
        error = EBUSY;
    }
    buf_free(lines);
    fuse_reply_err(req, error);
}

/* Of a handle of a lookup each write is whole commands. Of one that does not begin with a page the kernel cuts off what
 * is up to the next page. */
static bool is_whole(const struct control_handle *handle, plsm_slice data, off_t offset)
{
    enum { PAGE = 4096 };
    return handle->node && ((uint64_t)offset + data.size) % PAGE != 0;
}

void control_command_write(struct control *control, struct control_handle *handle, fuse_req_t req, plsm_slice data,
                           off_t offset)
{
    struct buf lines = {0};
    const char *bytes = data.data, *newline = data.size ? memrchr(bytes, '\n', data.size) : NULL;
    size_t whole = is_whole(handle, data, offset) ? data.size : newline ? (size_t)(newline - bytes) + 1 : 0;
    plsm_status status = PLSM_OK;
    if (whole > 0) {
        lines = handle->line;
        handle->line = (struct buf){0};
        status = buf_append(&lines, bytes, whole);
    }
    if (status == PLSM_OK && handle->line.size + data.size - whole > LINE_MAX)
        status = PLSM_TOO_LARGE;
    if (status == PLSM_OK)
        status = buf_append(&handle->line, bytes + whole, data.size - whole);
    if (status != PLSM_OK) {
        handle->line.size = 0;
        buf_free(&lines);
        fuse_reply_err(req, status == PLSM_NO_MEMORY ? ENOMEM : EINVAL);
    } else if (whole > 0) {
        start(control, req, &lines, data.size);
    } else {
        fuse_reply_write(req, data.size);
    }
}

void control_command_flush(struct control *control, struct control_handle *handle, fuse_req_t req)
{
    struct buf lines = handle->line;
    handle->line = (struct buf){0};
    if (lines.size > 0)
        start(control, req, &lines, 0);
    else
        fuse_reply_err(req, 0);
}

void control_command_abandon(struct control *control, struct control_handle *handle)
{
    char quoted[128];
    if (handle->line.size == 0)
        return;
    text_quote(quoted, sizeof quoted, buf_slice(&handle->line));
    control_result(control, "refused: %s: the last line has no end: it is not done", quoted);
    syslog(LOG_WARNING, "a command is not done, and whoever wrote it is not told: %s", quoted);
    control_command_drop(handle);
}

void control_command_drop(struct control_handle *handle)
{
    buf_free(&handle->line);
}
