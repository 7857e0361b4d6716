/* .plsm/snapshots: the mount as it was. A view is a file system of its own over the same store, with a table of nodes
 * and
 * a snapshot that all its reads go to; lookups and listings are those of the mount (fs/entry.h, fs/list.c).
 *
 * A view that was dropped keeps its snapshot until nobody has a file or directory of it open, and its nodes until the
 * kernel has forgotten them. Where files are not opened (fs/file.h) it keeps the snapshot as long as the nodes. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"
#include "fs/control_private.h"
#include "fs/entry.h"
#include "fs/inode.h"
#include "fs/ops.h"
#include "base/banned.h"

enum { VIEWS_MAX = 1000 };

struct view {
    struct fs fs;
    struct view *next; /* this and what follows: lock of the control */
    char name[NAME_SIZE_MAX + 1];
    bool dropped;
    unsigned users; /* open handles, and operations under way */
};

/* Above every node is the root of the table, or the parent of the nodes of shared values. */
static struct view *view_of(const struct node *node)
{
    while (node->parent)
        node = node_parent(node);
    bool shared = (node->flags & NODE_SHARED_PARENT) == NODE_SHARED_PARENT;
    size_t offset = shared ? offsetof(struct view, fs.nodes.shared) : offsetof(struct view, fs.nodes.root);
    return (struct view *)((char *)(uintptr_t)node - offset);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static void free_view(struct view *view)
{
    plsm_snapshot_destroy(view->fs.db, (plsm_snapshot *)(uintptr_t)view->fs.snapshot);
    node_table_destroy(&view->fs.nodes);
    mem_unmap(view, sizeof *view);
}

/* Frees what nobody needs any more. Lock of the control held. */
static void release_locked(struct control *control, struct view *view)
{
    if (!view->dropped || view->users > 0)
        return;
    mutex_lock(&view->fs.nodes.lock);
    bool known = view->fs.nodes.root.lookups > 0 || view->fs.nodes.count > 0;
    mutex_unlock(&view->fs.nodes.lock);
    if (known && control->fs->no_open)
        return;
    plsm_snapshot_destroy(view->fs.db, (plsm_snapshot *)(uintptr_t)view->fs.snapshot);
    view->fs.snapshot = NULL;
    if (known)
        return;
    struct view **link = &control->views;
    while (*link != view)
        link = &(*link)->next;
    *link = view->next;
    free_view(view);
}

/* Begins an operation or opens a handle; NULL: the snapshot is gone, which has been answered. */
static struct view *begin(fuse_req_t req, const struct node *node)
{
    struct control *control = fs_of(req)->control;
    struct view *view = view_of(node);
    mutex_lock(&control->lock);
    bool there = !view->dropped;
    view->users += there;
    mutex_unlock(&control->lock);
    if (there)
        return view;
    fuse_reply_err(req, ESTALE);
    return NULL;
}

static void end(struct fs *fs, struct view *view)
{
    mutex_lock(&fs->control->lock);
    view->users--;
    release_locked(fs->control, view);
    mutex_unlock(&fs->control->lock);
}

static plsm_status take(struct control *control, const char *name, struct view **out)
{
    struct fs *mount = control->fs;
    struct view *view = mem_map(sizeof *view);
    if (!view)
        return fail(PLSM_NO_MEMORY, "no memory for a snapshot");
    plsm_status status = node_table_init(&view->fs.nodes);
    if (status == PLSM_OK && !(view->fs.snapshot = plsm_snapshot_create(mount->db))) {
        node_table_destroy(&view->fs.nodes);
        status = PLSM_NO_MEMORY;
    }
    if (status != PLSM_OK) {
        mem_unmap(view, sizeof *view);
        return status;
    }
    view->fs.mount = mount;
    view->fs.db = mount->db;
    view->fs.owner = mount->owner;
    view->fs.owner_group = mount->owner_group;
    view->fs.default_uid = mount->default_uid;
    view->fs.default_gid = mount->default_gid;
    view->fs.default_file_mode = mount->default_file_mode;
    view->fs.default_directory_mode = mount->default_directory_mode;
    view->fs.options.read_only = true;
    view->fs.tag = TAG_VIEW;
    view->fs.nodes.root.lookups = 1; /* that of the answer to mkdir */
    memcpy(view->name, name, strlen(name) + 1);
    *out = view;
    return PLSM_OK;
}

/* The view of a name, or NULL. Lock of the control held. */
static struct view *find_locked(struct control *control, const char *name)
{
    struct view *view = control->views;
    while (view && (view->dropped || strcmp(view->name, name) != 0))
        view = view->next;
    return view;
}

void snapshots_free(struct control *control)
{
    for (struct view *view = control->views, *next = NULL; view; view = next) {
        next = view->next;
        free_view(view);
    }
    control->views = NULL;
}

size_t snapshots_count(struct control *control)
{
    size_t count = 0;
    mutex_lock(&control->lock);
    for (const struct view *view = control->views; view; view = view->next)
        count += !view->dropped;
    mutex_unlock(&control->lock);
    return count;
}

/* Adds up what `measure` says of the nodes of .plsm and of all views, dropped ones too: the kernel knows them. */
static size_t sum_nodes(struct control *control, size_t (*measure)(struct node_table *nodes))
{
    size_t sum = measure(&control->nodes);
    mutex_lock(&control->lock);
    for (struct view *view = control->views; view; view = view->next)
        sum += measure(&view->fs.nodes);
    mutex_unlock(&control->lock);
    return sum;
}

size_t control_node_count(struct control *control)
{
    return sum_nodes(control, node_count) + control->found;
}

size_t control_node_bytes(struct control *control)
{
    return sum_nodes(control, node_bytes);
}

/* Without the lock of the control: it may take long. A view stays meanwhile. */
void control_trim(struct control *control)
{
    node_trim(&control->nodes);
    mutex_lock(&control->lock);
    for (struct view *view = control->views, *next = NULL; view; view = next) {
        view->users++;
        mutex_unlock(&control->lock);
        node_trim(&view->fs.nodes);
        mutex_lock(&control->lock);
        next = view->next;
        view->users--;
        release_locked(control, view);
    }
    mutex_unlock(&control->lock);
}

/* --- in snapshots/ ------------------------------------------------------------------------------------------------ */

void snapshots_list(struct control *control, void (*each)(void *arg, const char *name), void *arg)
{
    mutex_lock(&control->lock);
    for (const struct view *view = control->views; view; view = view->next)
        if (!view->dropped)
            each(arg, view->name);
    mutex_unlock(&control->lock);
}

/* Answers with the root of a view, of which a lookup has been counted. */
static void reply_root(fuse_req_t req, struct view *view)
{
    struct fs *fs = fs_of(req);
    struct node *root = &view->fs.nodes.root;
    struct fuse_entry_param entry = {
        .ino = node_ino(&view->fs, root), .entry_timeout = CACHE_SECONDS, .attr_timeout = CACHE_SECONDS};
    struct attr attr;
    uint64_t size = 0;
    tree_share(&view->fs.nodes);
    plsm_status status = inode_stat(&view->fs, root, &attr, &size);
    tree_unshare(&view->fs.nodes);
    attr_to_stat(&attr, size, &entry.attr);
    if (status != PLSM_OK)
        fuse_reply_err(req, fs_errno(fs, status));
    if (status != PLSM_OK || fuse_reply_entry(req, &entry) != 0)
        past_forget(fs, root, 1);
}

void snapshots_lookup(fuse_req_t req, struct control *control, const char *name)
{
    mutex_lock(&control->lock);
    struct view *view = find_locked(control, name);
    if (view) {
        mutex_lock(&view->fs.nodes.lock);
        view->fs.nodes.root.lookups++;
        mutex_unlock(&view->fs.nodes.lock);
        view->users++;
    }
    mutex_unlock(&control->lock);
    if (!view) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    struct fs *fs = fs_of(req);
    reply_root(req, view);
    end(fs, view);
}

void snapshots_mkdir(fuse_req_t req, struct control *control, const char *name)
{
    struct fs *fs = control->fs;
    struct view *view = NULL;
    plsm_status status = PLSM_OK;
    if (strlen(name) > NAME_SIZE_MAX) {
        fuse_reply_err(req, ENAMETOOLONG);
        return;
    }
    mutex_lock(&control->lock);
    int error = find_locked(control, name) ? EEXIST : 0;
    mutex_unlock(&control->lock);
    if (!error && snapshots_count(control) >= VIEWS_MAX)
        error = ENOSPC;
    if (!error && (status = take(control, name, &view)) != PLSM_OK)
        error = fs_errno(fs, status);
    if (error) {
        fuse_reply_err(req, error);
        return;
    }
    mutex_lock(&control->lock); /* the kernel makes no two names in one directory at once */
    view->fs.ino_mask = UINT64_C(1) << 60 | ++control->views_taken << 44;
    view->next = control->views;
    view->users = 1;
    control->views = view;
    mutex_unlock(&control->lock);
    control->count_snapshots++;
    reply_root(req, view);
    end(fs, view);
}

void snapshots_rmdir(fuse_req_t req, struct control *control, const char *name)
{
    mutex_lock(&control->lock);
    struct view *view = find_locked(control, name);
    if (view) {
        view->dropped = true;
        release_locked(control, view);
    }
    mutex_unlock(&control->lock);
    fuse_reply_err(req, view ? 0 : ENOENT);
}

/* --- in a view ---------------------------------------------------------------------------------------------------- */

void past_forget(struct fs *fs, struct node *node, uint64_t lookups)
{
    struct control *control = fs->control;
    struct view *view = view_of(node);
    mutex_lock(&control->lock);
    if (node->parent) {
        node_forget(&view->fs.nodes, node, lookups);
    } else {
        mutex_lock(&view->fs.nodes.lock);
        node->lookups -= lookups;
        mutex_unlock(&view->fs.nodes.lock);
    }
    release_locked(control, view);
    mutex_unlock(&control->lock);
}

void past_lookup(fuse_req_t req, struct node *parent, const char *name)
{
    struct fs *fs = fs_of(req);
    struct view *view = begin(req, parent);
    struct entry entry;
    struct fuse_entry_param reply = {.entry_timeout = CACHE_SECONDS};
    if (!view)
        return;
    tree_share(&view->fs.nodes);
    int error = entry_find(&view->fs, parent, name, &entry, NULL);
    if (!error) {
        struct stored_entry stored = {.piece = entry_piece(&entry),
                                      .node_flags = entry.node_flags,
                                      .attr = entry.attr,
                                      .size = entry.size,
                                      .shared = entry.shared,
                                      .publications = parent->publications};
        error = fill_entry(&view->fs, parent, &stored, &reply);
    }
    tree_unshare(&view->fs.nodes);
    if (error && error != ENOENT)
        fuse_reply_err(req, error);
    else if (fuse_reply_entry(req, &reply) != 0 && reply.ino)
        past_forget(fs, node_of(&view->fs, reply.ino), 1);
    end(fs, view);
}

void past_getattr(fuse_req_t req, struct node *node)
{
    struct fs *fs = fs_of(req);
    struct view *view = begin(req, node);
    struct attr attr;
    struct stat st;
    uint64_t size = 0;
    if (!view)
        return;
    tree_share(&view->fs.nodes);
    plsm_status status = inode_stat(&view->fs, node, &attr, &size);
    tree_unshare(&view->fs.nodes);
    if (status == PLSM_OK) {
        attr_to_stat(&attr, size, &st);
        fuse_reply_attr(req, &st, CACHE_SECONDS);
    } else {
        fuse_reply_err(req, fs_errno_of_change(fs, status));
    }
    end(fs, view);
}

void past_readlink(fuse_req_t req, struct node *node)
{
    struct fs *fs = fs_of(req);
    struct view *view = begin(req, node);
    plsm_value value = {0};
    char *target = NULL;
    if (!view)
        return;
    plsm_status status = inode_read_entry(&view->fs, node, false, &value);
    if (status == PLSM_OK && !value.large)
        target = strndup(value.value.data ? value.value.data : "", value.value.size);
    if (target)
        fuse_reply_readlink(req, target);
    else
        fuse_reply_err(req, status == PLSM_OK ? ENOMEM : fs_errno_of_change(fs, status));
    free(target);
    plsm_value_free(&value);
    end(fs, view);
}

void past_open(fuse_req_t req, struct node *node, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    bool writes = (fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC;
    if (writes || fs->no_open) {
        fuse_reply_err(req, writes && !fs->no_open ? EROFS : ENOSYS);
        return;
    }
    struct view *view = begin(req, node);
    if (!view)
        return;
    fi->keep_cache = 1; /* nothing changes here */
    fi->noflush = 1;
    if (fuse_reply_open(req, fi) != 0)
        end(fs, view);
}

void past_read(fuse_req_t req, struct node *node, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    struct view *view = view_of(node); /* the handle keeps its snapshot, or the node does */
    size_t got = 0;
    uint8_t *data = mem_alloc(size ? size : 1);
    plsm_status status = data ? inode_read_value(&view->fs, node, (uint64_t)offset, data, size, &got)
                              : fail(PLSM_NO_MEMORY, "no memory to read");
    if (status == PLSM_OK)
        fuse_reply_buf(req, (const char *)data, got);
    else
        fuse_reply_err(req, fs_errno_of_change(fs, status));
    mem_free(data);
}

void past_release(fuse_req_t req, struct node *node, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    if (!fs->no_open)
        end(fs, view_of(node));
    fuse_reply_err(req, 0);
}

void past_opendir(fuse_req_t req, struct node *node, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    struct view *view = begin(req, node); /* until the release */
    if (view && !open_listing(req, fi))
        end(fs, view);
}

void past_readdir(fuse_req_t req, struct node *node, size_t size, off_t offset, struct fuse_file_info *fi, bool plus)
{
    list_directory(&view_of(node)->fs, req, node, size, offset, fi, plus);
}

void past_releasedir(fuse_req_t req, struct node *node, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    struct view *view = view_of(node);
    fs_releasedir(req, (fuse_ino_t)(uintptr_t)node, fi);
    end(fs, view);
}
