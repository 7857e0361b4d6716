/* Nodes of the control surface, and the operations on them. */
#include <errno.h>
#include <fcntl.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/env.h"
#include "base/error.h"
#include "fs/control_private.h"
#include "fs/control_ops.h"
#include "fs/ops.h"
#include "base/banned.h"

static const struct control_file {
    const char *name;
    enum control_kind kind;
    mode_t mode;
} top_files[] = {
    {"/", CONTROL_STATS_TEXT, S_IFREG | 0600},
    {"batch", CONTROL_BATCH, S_IFREG | 0600},
    {"batch.error", CONTROL_BATCH_ERROR, S_IFREG | 0400},
    {"ctl", CONTROL_CTL, S_IFREG | 0600},
    {"levels", CONTROL_LEVELS, S_IFDIR | 0500},
    {"metrics", CONTROL_METRICS, S_IFREG | 0400},
    {"range", CONTROL_RANGES, S_IFDIR | 0500},
    {"snapshots", CONTROL_SNAPSHOTS, S_IFDIR | 0700},
    {"stats.json", CONTROL_STATS_JSON, S_IFREG | 0400},
};
enum { TOP_FILES = sizeof top_files / sizeof *top_files };

/* Inode numbers of what is not in the store: below 2^16, where no identifier is (plsm_new_id). */
enum { INO_FIRST = 2 };

/* --- what a node is ----------------------------------------------------------------------------------------------- */

static const struct control_file *find_top(plsm_slice name)
{
    for (int i = 0; i < TOP_FILES; i++)
        if (slice_equal(name, slice_of(top_files[i].name)))
            return &top_files[i];
    return NULL;
}

enum control_kind control_kind(const struct control *control, const struct node *node)
{
    struct range range;
    const struct control_file *file = NULL;
    if (node == &control->nodes.root)
        return CONTROL_TOP;
    switch (control_kind(control, node_parent(node))) {
    case CONTROL_TOP:
        file = find_top(control_name(node));
        return file ? file->kind : CONTROL_NONE;
    case CONTROL_LEVELS:
        return CONTROL_LEVEL;
    case CONTROL_RANGES:
        return !range_parse(control_name(node), &range) ? CONTROL_NONE : range.tsv ? CONTROL_TSV : CONTROL_RANGE;
    case CONTROL_RANGE:
        return CONTROL_ENTRY;
    default:
        return CONTROL_NONE;
    }
}

void control_top_list(void (*each)(void *arg, const char *name), void *arg)
{
    for (int i = 1; i < TOP_FILES; i++)
        each(arg, top_files[i].name);
}

bool control_top_is_directory(const char *name)
{
    const struct control_file *file = find_top(slice_of(name));
    return file && S_ISDIR(file->mode);
}

static bool is_text(enum control_kind kind)
{
    return kind == CONTROL_STATS_TEXT || kind == CONTROL_STATS_JSON || kind == CONTROL_METRICS || kind == CONTROL_CTL ||
           kind == CONTROL_BATCH || kind == CONTROL_BATCH_ERROR || kind == CONTROL_LEVEL;
}

static bool is_directory(enum control_kind kind)
{
    return kind == CONTROL_TOP || kind == CONTROL_LEVELS || kind == CONTROL_RANGES || kind == CONTROL_RANGE ||
           kind == CONTROL_SNAPSHOTS;
}

void control_fixed_attr(struct control *control, enum control_kind kind, plsm_slice name, struct attr *attr)
{
    mode_t mode = kind == CONTROL_TOP ? S_IFDIR | 0700 : kind == CONTROL_RANGE ? S_IFDIR | 0500 : S_IFREG | 0400;
    uint64_t ino = INO_FIRST;
    for (int i = 0; i < TOP_FILES; i++)
        if (top_files[i].kind == kind) {
            mode = top_files[i].mode;
            ino = (uint64_t)(INO_FIRST + 1 + i);
        }
    if (kind == CONTROL_LEVEL || kind == CONTROL_RANGE || kind == CONTROL_TSV)
        ino = key_hash(name.data, name.size) >> 2 | UINT64_C(1) << 62;
    *attr = (struct attr){.ino = ino, .mode = mode, .uid = control->fs->owner, .gid = control->fs->owner_group};
    control_set_times(attr, control->start_wall_ns);
}

/* Attributes and size of a node of this kind and name; `parent` is its directory's name. With `fresh` a text is made
 * anew. */
static plsm_status stat_kind(struct control *control, fuse_req_t req, enum control_kind kind, plsm_slice parent,
                             plsm_slice name, bool fresh, struct attr *attr, uint64_t *size)
{
    struct control_text *text = NULL;
    struct path key;
    *size = 0;
    control_fixed_attr(control, kind, name, attr);
    if (kind == CONTROL_ENTRY)
        return range_find(control, parent, name, &key, attr, size);
    if (kind == CONTROL_TSV)
        return control_stat_tsv(control, req, name, fresh, NULL, attr, size);
    if (!is_text(kind))
        return kind == CONTROL_NONE ? PLSM_NOT_FOUND : PLSM_OK;
    TRY(control_text_take(control, kind, name, fresh, &text));
    *size = text->text.size;
    control_set_times(attr, text->taken_wall_ns);
    control_text_put(control, text);
    return PLSM_OK;
}

static plsm_status stat_node(struct control *control, fuse_req_t req, const struct node *node, bool fresh,
                             struct attr *attr, uint64_t *size)
{
    plsm_slice parent = node->parent ? control_name(node_parent(node)) : slice(NULL, 0);
    return stat_kind(control, req, control_kind(control, node), parent, control_name(node), fresh, attr, size);
}

plsm_status control_stat(struct fs *fs, const char *name, struct attr *attr, uint64_t *size)
{
    enum control_kind kind = strcmp(name, CONTROL_STATS) == 0 ? CONTROL_STATS_TEXT : CONTROL_TOP;
    return stat_kind(fs->control, NULL, kind, slice(NULL, 0), slice(NULL, 0), false, attr, size);
}

/* --- handles ------------------------------------------------------------------------------------------------------ */

static void free_handle(struct fs *fs, struct handle *base)
{
    struct control *control = fs->control;
    struct control_handle *handle = (struct control_handle *)base;
    control_text_put(control, handle->text);
    control_batch_free(control, handle->batch);
    control_stream_close(handle->stream);
    plsm_edit_close(handle->edit);
    buf_free(&handle->line);
    buf_free(&handle->writers);
    mutex_destroy(&handle->lock);
    if (handle->node) {
        control_forget(fs, handle->node, 1);
        control->found--;
    }
    mem_free(handle);
}

static void put_handle(struct control *control, struct control_handle *handle)
{
    if (atomic_fetch_sub(&handle->users, 1) > 1)
        return;
    handle_remove(control->fs, &handle->handle);
    free_handle(control->fs, &handle->handle);
}

/* --- names and attributes ----------------------------------------------------------------------------------------- */

static void reply_error(fuse_req_t req, struct fs *fs, plsm_status status)
{
    bool left = status == PLSM_INVALID && (fuse_req_interrupted(req) || fs->control->counts.stop);
    fuse_reply_err(req, left ? EINTR : fs_errno(fs, status));
}

static struct control_handle *create_handle(struct fs *fs, enum control_kind kind)
{
    struct control_handle *handle = mem_zalloc(sizeof *handle);
    if (!handle)
        return NULL;
    mutex_init(&handle->lock);
    handle->users = 1;
    handle->kind = kind;
    handle_add(fs, &handle->handle, free_handle);
    return handle;
}

/* Fills the handle of a lookup: what is read from it, and attributes and size of that. */
static plsm_status fill_found(struct control *control, struct control_handle *handle)
{
    const struct node *node = handle->node;
    plsm_slice name = control_name(node);
    struct path key;
    control_fixed_attr(control, handle->kind, name, &handle->attr);
    if (handle->kind == CONTROL_TSV)
        return PLSM_OK; /* the look at its attributes that follows counts it: count_found */
    if (handle->kind == CONTROL_ENTRY) {
        TRY(range_find(control, control_name(node_parent(node)), name, &key, &handle->attr, &handle->size));
        TRY(plsm_edit_open(control->fs->db, path_slice(&key), 0, &handle->edit));
        handle->size = plsm_edit_size(handle->edit);
        return PLSM_OK;
    }
    if (!is_text(handle->kind))
        return PLSM_NOT_FOUND;
    TRY(control_text_take(control, handle->kind, name, true, &handle->text));
    handle->size = handle->text->text.size;
    control_set_times(&handle->attr, handle->text->taken_wall_ns);
    return PLSM_OK;
}

/* What is found under these few names may stay until they are looked up again: a text each. */
static bool may_stay(enum control_kind kind)
{
    return kind == CONTROL_STATS_TEXT || kind == CONTROL_STATS_JSON || kind == CONTROL_METRICS ||
           kind == CONTROL_BATCH_ERROR;
}

/* Has the kernel drop the name of what was found, so that it forgets it with the last close, or now when nobody opens
 * it: a name that may not be kept it keeps all the same, until it is looked up again. */
static struct task *drop_task(const struct node *node)
{
    struct task *task = mem_zalloc(sizeof *task);
    if (task)
        notices_add_name(&task->notices, (uintptr_t)node_parent(node) | TAG_CONTROL, control_name(node));
    return task;
}

/* Answers a lookup of a file where files are not opened. What is found does not change any more, but each lookup finds
 * it anew. Takes over the lookup of the node. */
static void reply_found(fuse_req_t req, struct node *node)
{
    struct fs *fs = fs_of(req);
    struct control *control = fs->control;
    struct fuse_entry_param entry = {0};
    enum control_kind kind = control_kind(control, node);
    struct control_handle *handle = create_handle(fs, kind);
    struct task *drop = may_stay(kind) ? NULL : drop_task(node);
    if (!handle || (!drop && !may_stay(kind))) {
        fuse_reply_err(req, ENOMEM);
        control_forget(fs, node, 1);
        if (handle)
            put_handle(control, handle);
    } else {
        handle->node = node;
        control->found++;
        plsm_status status = fill_found(control, handle);
        entry.ino = (fuse_ino_t)((uintptr_t)handle | TAG_FOUND);
        entry.attr_timeout = kind == CONTROL_TSV ? 0 : CACHE_SECONDS;
        attr_to_stat(&handle->attr, handle->size, &entry.attr);
        if (status != PLSM_OK)
            reply_error(req, fs, status);
        if (status != PLSM_OK || fuse_reply_entry(req, &entry) != 0)
            put_handle(control, handle);
        else if (drop && queue_add(&control->drops, drop))
            return;
    }
    if (drop)
        notices_drop(&drop->notices);
    mem_free(drop);
}

static void reply_entry(fuse_req_t req, struct node *node)
{
    struct fs *fs = fs_of(req);
    if (fs->no_open && !is_directory(control_kind(fs->control, node))) {
        reply_found(req, node);
        return;
    }
    struct fuse_entry_param entry = {.ino = (fuse_ino_t)((uintptr_t)node | TAG_CONTROL)};
    struct attr attr;
    uint64_t size = 0;
    plsm_status status = stat_node(fs->control, req, node, true, &attr, &size);
    if (status == PLSM_OK) {
        /* No timeouts for files: each lookup makes a new text, of another size. */
        bool directory = is_directory(control_kind(fs->control, node));
        entry.entry_timeout = entry.attr_timeout = directory ? CACHE_SECONDS : 0;
        attr_to_stat(&attr, size, &entry.attr);
        if (fuse_reply_entry(req, &entry) == 0)
            return;
    } else {
        reply_error(req, fs, status);
    }
    control_forget(fs, node, 1);
}

static void reply_attr(fuse_req_t req, struct node *node)
{
    struct fs *fs = fs_of(req);
    struct attr attr;
    uint64_t size = 0;
    struct stat st;
    plsm_status status = stat_node(fs->control, req, node, false, &attr, &size);
    if (status != PLSM_OK) {
        reply_error(req, fs, status);
        return;
    }
    attr_to_stat(&attr, size, &st);
    fuse_reply_attr(req, &st, is_directory(control_kind(fs->control, node)) ? CACHE_SECONDS : 0);
}

/* Opens and counts the .tsv that a lookup has found, once. Mutex of the handle held. */
static plsm_status count_found(struct control *control, fuse_req_t req, struct control_handle *handle)
{
    struct control_stream *stream = NULL;
    plsm_slice name = control_name(handle->node);
    if (handle->kind != CONTROL_TSV || handle->stream)
        return PLSM_OK;
    TRY(control_stream_open(control, name, &stream));
    plsm_status status = control_stat_tsv(control, req, name, true, stream, &handle->attr, &handle->size);
    if (status == PLSM_OK)
        handle->stream = stream;
    else
        control_stream_close(stream);
    return status;
}

static void reply_attr_found(fuse_req_t req, struct control_handle *handle)
{
    struct fs *fs = fs_of(req);
    struct stat st;
    mutex_lock(&handle->lock);
    plsm_status status = count_found(fs->control, req, handle);
    attr_to_stat(&handle->attr, handle->size, &st);
    mutex_unlock(&handle->lock);
    if (status == PLSM_OK)
        fuse_reply_attr(req, &st, CACHE_SECONDS);
    else
        reply_error(req, fs, status);
}

static void look(struct task *task)
{
    if (task->found)
        reply_attr_found(task->req, task->found);
    else if (task->entered)
        reply_entry(task->req, task->node);
    else
        reply_attr(task->req, task->node);
}

void control_run_counts(void *arg)
{
    struct control *control = arg;
    struct task *task = NULL;
    while ((task = queue_next(&control->counts))) {
        transport_resume(&task->ticket);
        look(task);
        mem_free(task);
    }
}

/* Answers a look at something. What takes long does not keep a thread of the transport, where the answer can wait:
 * those hear of interrupts too. */
static void look_soon(struct control *control, const struct task *what, bool takes_long)
{
    struct task own = *what, *task = takes_long ? mem_zalloc(sizeof *task) : NULL;
    if (task) {
        *task = *what;
        bool deferred = transport_defer(&task->ticket);
        if (deferred && queue_add(&control->counts, task))
            return;
        if (deferred)
            transport_resume(&task->ticket);
        mem_free(task);
    }
    look(&own);
}

/* Answers a lookup, with what it `entered`, or a getattr. Where files are not opened no lookup counts: the kernel holds
 * the lock of the directory until it is answered, for which dropping names waits (control_run_drops). */
static void reply_look(fuse_req_t req, struct node *node, bool entered)
{
    struct fs *fs = fs_of(req);
    struct task task = {.req = req, .node = node, .entered = entered};
    look_soon(fs->control, &task, control_kind(fs->control, node) == CONTROL_TSV && !fs->no_open);
}

static void look_at_found(fuse_req_t req, struct control_handle *handle)
{
    struct task task = {.req = req, .found = handle};
    look_soon(fs_of(req)->control, &task, handle->kind == CONTROL_TSV);
}

/* Any of them may be a parent: what it is its name says. */
static struct node *enter(struct control *control, struct node *parent, const char *name)
{
    return node_enter(&control->nodes, parent, slice_of(name), NODE_DIRECTORY);
}

void control_lookup(fuse_req_t req, struct node *parent, const char *name)
{
    struct control *control = fs_of(req)->control;
    struct node *node = NULL;
    if (!parent) { /* in the root: .plsm, or .stats */
        bool top = strcmp(name, CONTROL_DIRECTORY) == 0;
        node = top ? &control->nodes.root : enter(control, &control->nodes.root, "/");
    } else if (control_kind(control, parent) == CONTROL_SNAPSHOTS) {
        snapshots_lookup(req, control, name);
        return;
    } else if (is_directory(control_kind(control, parent)) && strlen(name) <= NAME_SIZE_MAX && name[0] != '/') {
        node = enter(control, parent, name);
    } else {
        fuse_reply_err(req, strlen(name) > NAME_SIZE_MAX ? ENAMETOOLONG : ENOENT);
        return;
    }
    if (node)
        reply_look(req, node, true);
    else
        fuse_reply_err(req, ENOMEM);
}

static struct control_handle *found_handle(uint64_t handle)
{
    return (struct control_handle *)(uintptr_t)handle;
}

void control_forget_found(struct fs *fs, uint64_t found)
{
    struct control_handle *handle = found_handle(found);
    mutex_lock(&handle->lock);
    control_batch_abandon(fs->control, handle);
    control_command_abandon(fs->control, handle);
    mutex_unlock(&handle->lock);
    put_handle(fs->control, handle);
}

void control_getattr_found(fuse_req_t req, uint64_t handle)
{
    look_at_found(req, found_handle(handle));
}

void control_forget(struct fs *fs, struct node *node, uint64_t lookups)
{
    if (node->parent) /* .plsm itself stays */
        node_forget(&fs->control->nodes, node, lookups);
}

void control_getattr(fuse_req_t req, struct node *node)
{
    reply_look(req, node, false);
}

/* "echo reset > .stats" truncates it, which means nothing. */
static bool may_set(int to_set)
{
    return !(to_set & ~(FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_CTIME | FUSE_SET_ATTR_MTIME));
}

void control_setattr_found(fuse_req_t req, uint64_t handle, int to_set)
{
    if (may_set(to_set))
        look_at_found(req, found_handle(handle));
    else
        fuse_reply_err(req, EPERM);
}

void control_setattr(fuse_req_t req, struct node *node, int to_set)
{
    if (!may_set(to_set))
        fuse_reply_err(req, EPERM);
    else
        reply_attr(req, node);
}

void control_mkdir(fuse_req_t req, struct node *parent, const char *name)
{
    struct control *control = fs_of(req)->control;
    if (control_kind(control, parent) == CONTROL_SNAPSHOTS)
        snapshots_mkdir(req, control, name);
    else
        fuse_reply_err(req, EPERM);
}

void control_rmdir(fuse_req_t req, struct node *parent, const char *name)
{
    struct control *control = fs_of(req)->control;
    if (control_kind(control, parent) == CONTROL_SNAPSHOTS)
        snapshots_rmdir(req, control, name);
    else
        fuse_reply_err(req, EPERM);
}

/* --- open files --------------------------------------------------------------------------------------------------- */

static struct control_handle *handle_of(const struct fuse_file_info *fi)
{
    return (struct control_handle *)(uintptr_t)fi->fh;
}

static plsm_status open_kind(struct control *control, const struct node *node, struct control_handle *handle,
                             bool reads)
{
    struct path key;
    struct attr attr;
    uint64_t size = 0;
    if (is_text(handle->kind) && reads)
        return control_text_take(control, handle->kind, control_name(node), false, &handle->text);
    if (handle->kind == CONTROL_TSV) {
        control->count_ranges++;
        return control_stream_open(control, control_name(node), &handle->stream);
    }
    if (handle->kind == CONTROL_ENTRY) {
        TRY(range_find(control, control_name(node_parent(node)), control_name(node), &key, &attr, &size));
        return plsm_edit_open(control->fs->db, path_slice(&key), 0, &handle->edit);
    }
    return PLSM_OK;
}

void control_open(fuse_req_t req, struct node *node, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    struct control *control = fs->control;
    struct control_handle *handle = fs->no_open ? NULL : create_handle(fs, control_kind(control, node));
    if (!handle) {
        fuse_reply_err(req, fs->no_open ? ENOSYS : ENOMEM);
        return;
    }
    if (handle->kind == CONTROL_BATCH || handle->kind == CONTROL_CTL)
        handle->opener = control_process_of(fuse_req_ctx(req)->pid);
    plsm_status status = open_kind(control, node, handle, (fi->flags & O_ACCMODE) != O_WRONLY);
    fi->fh = (uintptr_t)handle;
    fi->direct_io = 1; /* what is in it is of this handle alone: nothing to cache */
    if (status != PLSM_OK)
        reply_error(req, fs, status);
    if (status != PLSM_OK || fuse_reply_open(req, fi) != 0)
        put_handle(control, handle);
}

static plsm_slice text_at(const struct control_text *text, uint64_t offset, size_t size)
{
    if (!text || offset >= text->text.size)
        return slice(NULL, 0);
    size_t left = text->text.size - (size_t)offset;
    return slice(text->text.data + offset, size < left ? size : left);
}

void control_read(fuse_req_t req, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    struct control *control = fs->control;
    struct control_handle *handle = handle_of(fi);
    size_t got = 0;
    if (handle->kind == CONTROL_TSV && !handle->stream) { /* the kernel asks for its size first */
        fuse_reply_err(req, EIO);
        return;
    }
    if (!handle->stream && !handle->edit) {
        plsm_slice text = text_at(handle->text, (uint64_t)offset, size);
        fuse_reply_buf(req, text.data, text.size);
        return;
    }
    uint8_t *data = mem_alloc(size ? size : 1);
    plsm_status status = data ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory to read a control file");
    mutex_lock(&handle->lock);
    if (handle->node && handle->stream && !handle->counted) { /* no open told of it */
        handle->counted = true;
        control->count_ranges++;
    }
    if (status == PLSM_OK && handle->stream)
        status = control_stream_read(handle->stream, (uint64_t)offset, data, size, &got);
    else if (status == PLSM_OK)
        status = plsm_edit_read(handle->edit, (uint64_t)offset, data, size, &got);
    mutex_unlock(&handle->lock);
    if (status == PLSM_OK)
        fuse_reply_buf(req, (const char *)data, got);
    else
        reply_error(req, fs, status);
    mem_free(data);
}

static void reset_statistics(struct fs *fs)
{
    struct control *control = fs->control;
    plsm_statistics_reset(fs->db);
    for (int op = 0; op < FS_OP_COUNT; op++)
        histogram_reset(&fs->op_ns[op]);
    _Atomic uint64_t *const counts[] = {&control->count_commands, &control->count_batches, &control->count_changes,
                                        &control->count_refused,  &control->count_ranges,  &control->count_snapshots};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        atomic_store(counts[i], 0);
    control_texts_forget(control);
    mutex_lock(&fs->error_lock);
    fs->errors = 0;
    fs->error_last[0] = 0;
    mutex_unlock(&fs->error_lock);
}

void control_reset(struct control *control)
{
    reset_statistics(control->fs);
}

/* Whoever writes may be ended by a signal later, when others have written too. */
static plsm_status note_writer(struct control_handle *handle, pid_t thread)
{
    if (!handle->batch && handle->line.size == 0)
        handle->writer = 0;
    if (thread == handle->writer)
        return PLSM_OK;
    if (!handle->writer)
        handle->writers.size = 0;
    pid_t process = control_process_of(thread);
    TRY(buf_append(&handle->writers, &process, sizeof process));
    handle->writer = thread;
    return PLSM_OK;
}

static bool has_written(const struct control_handle *handle, pid_t process)
{
    const pid_t *writers = (const pid_t *)(const void *)handle->writers.data;
    for (size_t i = 0; i < handle->writers.size / sizeof *writers; i++)
        if (writers[i] == process)
            return true;
    return false;
}

void control_write(fuse_req_t req, plsm_slice data, off_t offset, struct fuse_file_info *fi)
{
    struct control *control = fs_of(req)->control;
    struct control_handle *handle = handle_of(fi);
    if (handle->kind == CONTROL_STATS_TEXT) {
        if (slice_equal(data, slice_of("reset")) || slice_equal(data, slice_of("reset\n"))) {
            control_reset(control);
            fuse_reply_write(req, data.size);
        } else {
            fuse_reply_err(req, EINVAL);
        }
        return;
    }
    atomic_fetch_add(&handle->users, 1);
    mutex_lock(&handle->lock);
    handle->closed = false;
    if (handle->kind != CONTROL_CTL && handle->kind != CONTROL_BATCH)
        fuse_reply_err(req, EBADF);
    else if (!handle->node && note_writer(handle, fuse_req_ctx(req)->pid) != PLSM_OK)
        fuse_reply_err(req, ENOMEM);
    else if (handle->kind == CONTROL_CTL)
        control_command_write(control, handle, req, data, offset);
    else
        control_batch_write(control, handle, req, data);
    mutex_unlock(&handle->lock);
    put_handle(control, handle);
}

unsigned control_opened_beside(struct control *control, const struct control_handle *handle)
{
    struct fs *fs = control->fs;
    unsigned count = 0;
    mutex_lock(&fs->nodes.lock);
    for (const struct handle *at = fs->handles; at; at = at->next) {
        const struct control_handle *other = (const struct control_handle *)at;
        count += at->destroy == free_handle && other != handle && other->kind == handle->kind &&
                 other->opener == handle->opener && !other->closed;
    }
    mutex_unlock(&fs->nodes.lock);
    return count;
}

/* What a process has written that a signal ended. */
static void drop_written(struct control *control, struct control_handle *handle)
{
    control_batch_kill(control, handle);
    control_command_drop(handle);
}

/* With `last` nobody hears of a failure any more. */
static void finish_written(fuse_req_t req, struct control_handle *handle, plsm_durability durability, bool last)
{
    struct control *control = fs_of(req)->control;
    if (handle->kind == CONTROL_CTL)
        control_command_flush(control, handle, req);
    else if (handle->kind == CONTROL_BATCH)
        control_batch_commit(control, handle, req, durability, last);
    else
        fuse_reply_err(req, 0);
}

void control_flush(fuse_req_t req, struct fuse_file_info *fi)
{
    struct control *control = fs_of(req)->control;
    struct control_handle *handle = handle_of(fi);
    enum closing closing = CLOSING;
    pid_t process = 0;
    if (control->fs->no_open) {
        fuse_reply_err(req, ENOSYS);
        return;
    }
    atomic_fetch_add(&handle->users, 1);
    mutex_lock(&handle->lock);
    if (handle->kind == CONTROL_BATCH || handle->kind == CONTROL_CTL)
        closing = control_closing(control, handle, fuse_req_ctx(req)->pid, &process);
    if (closing == CLOSING_KILLED && has_written(handle, process))
        drop_written(control, handle);
    handle->closed = handle->closed || closing == CLOSING;
    if (closing == CLOSING)
        finish_written(req, handle, PLSM_NONE, false);
    else
        fuse_reply_err(req, 0);
    mutex_unlock(&handle->lock);
    put_handle(control, handle);
}

void control_fsync(fuse_req_t req, struct fuse_file_info *fi)
{
    struct control *control = fs_of(req)->control;
    struct control_handle *handle = handle_of(fi);
    atomic_fetch_add(&handle->users, 1);
    mutex_lock(&handle->lock);
    finish_written(req, handle, PLSM_SYNC, false);
    mutex_unlock(&handle->lock);
    put_handle(control, handle);
}

/* What is left by then: the processes that closed it had, or seemed to have, copies of it. */
void control_release(fuse_req_t req, struct fuse_file_info *fi)
{
    struct control *control = fs_of(req)->control;
    struct control_handle *handle = handle_of(fi);
    if (control->fs->no_open) { /* nothing was opened */
        fuse_reply_err(req, 0);
        return;
    }
    mutex_lock(&handle->lock);
    finish_written(req, handle, PLSM_NONE, true);
    mutex_unlock(&handle->lock);
    put_handle(control, handle);
}
