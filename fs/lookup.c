/* Names, attributes, and what else does not change the tree. */
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/env.h"
#include "base/error.h"
#include "fs/commit.h"
#include "fs/inode.h"
#include "fs/link.h"
#include "fs/ops.h"
#include "fs/privileges.h"
#include "fs/xattr.h"
#include "base/banned.h"

/* How long the kernel may keep a name and its attributes. What may not last without a change that comes through it is
 * kept no longer than it lasts: a file that expires until then, one that is not published yet, and a directory that is
 * there only by what is in it, as long as files live. */
static double cache_seconds(struct fs *fs, const struct node *node, const struct attr *attr)
{
    uint64_t now_ns = attr->expires_s ? env_wall_ns(env_posix()) : 0;
    double left_s = (double)attr->expires_s - (double)now_ns / 1e9;
    uint8_t flags = node->flags;
    if (flags & NODE_DIRECTORY && !(flags & NODE_IMPLIED))
        return CACHE_SECONDS;
    if (attr->expires_s == 0)
        left_s = fs->ttl_s ? (double)fs->ttl_s : CACHE_SECONDS;
    return left_s < 0 ? 0 : left_s < CACHE_SECONDS ? left_s : CACHE_SECONDS;
}

int fill_entry(struct fs *fs, struct node *parent, const struct stored_entry *stored, struct fuse_entry_param *out)
{
    struct attr attr = stored->attr;
    uint64_t size = stored->size;
    struct node *node = stored->shared ? node_enter_shared(&fs->nodes, stored->shared)
                                       : node_enter(&fs->nodes, parent, stored->piece, stored->node_flags);
    if (!node)
        return ENOMEM;
    if (!inode_overlay(fs, node, &attr, &size) && publications_in(fs, parent) != stored->publications) {
        plsm_status status = inode_stat(fs, node, &attr, &size);
        if (status != PLSM_OK) {
            inode_forget(fs, node, 1);
            return fs_errno_of_change(fs, status);
        }
    }
    double seconds = cache_seconds(fs, node, &attr);
    if ((attr.expires_s || fs->ttl_s) && !(node->flags & NODE_DIRECTORY)) {
        atomic_store(&node->expires, true);
        atomic_store(&fs->expires, true);
    }
    *out = (struct fuse_entry_param){.ino = node_ino(fs, node), .attr_timeout = seconds, .entry_timeout = seconds};
    attr.other_names += count_directories(fs, node);
    attr_to_stat(&attr, size, &out->attr);
    return 0;
}

/* Whether a file of that name, which was not found, has expired and may be published again by who has it open. */
static bool may_come_back(struct fs *fs, struct node *parent, const struct entry *entry)
{
    struct node *node = atomic_load(&fs->expires) ? node_hold(&fs->nodes, parent, entry_piece(entry), 0) : NULL;
    bool may = node && node->expires;
    if (node)
        inode_forget(fs, node, 1);
    return may;
}

void fs_lookup(fuse_req_t req, fuse_ino_t parent_ino, const char *name)
{
    struct fs *fs = fs_of(req);
    struct node *parent = node_of(fs, parent_ino);
    struct entry entry;
    struct fuse_entry_param reply = {.entry_timeout = CACHE_SECONDS};
    tree_share(&fs->nodes);
    struct stored_entry stored = {.publications = publications_in(fs, parent)};
    int error = entry_find(fs, parent, name, &entry, NULL);
    if (error == ENOENT) {
        absent_note(fs, parent, slice_of(name));
        if (may_come_back(fs, parent, &entry))
            reply.entry_timeout = 0;
    }
    if (!error) {
        stored.piece = entry_piece(&entry);
        stored.node_flags = entry.node_flags;
        stored.attr = entry.attr;
        stored.size = entry.size;
        stored.shared = entry.shared;
        error = fill_entry(fs, parent, &stored, &reply);
    }
    tree_unshare(&fs->nodes);
    if (error && error != ENOENT)
        fuse_reply_err(req, error);
    else if (fuse_reply_entry(req, &reply) != 0 && reply.ino) /* ENOENT: ino is 0, which the kernel keeps too */
        inode_forget(fs, node_of(fs, reply.ino), 1);
}

void fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
    if (ino != FUSE_ROOT_ID)
        inode_forget(fs_of(req), node_of(fs_of(req), ino), lookups);
    fuse_reply_none(req);
}

void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        if (forgets[i].ino != FUSE_ROOT_ID)
            inode_forget(fs_of(req), node_of(fs_of(req), forgets[i].ino), forgets[i].nlookup);
    fuse_reply_none(req);
}

static void reply_attr(fuse_req_t req, struct fs *fs, const struct node *node, const struct attr *attr, uint64_t size)
{
    struct stat st;
    attr_to_stat(attr, size, &st);
    if (node->flags & NODE_GONE)
        st.st_nlink = 0;
    fuse_reply_attr(req, &st, cache_seconds(fs, node, attr));
}

void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    struct node *node = node_of(fs, ino);
    struct attr attr;
    uint64_t size = 0;
    tree_share(&fs->nodes);
    plsm_status status = inode_stat(fs, node, &attr, &size);
    if (status == PLSM_OK)
        attr.other_names += count_directories(fs, node);
    tree_unshare(&fs->nodes);
    if (status == PLSM_OK)
        reply_attr(req, fs, node, &attr, size);
    else
        fuse_reply_err(req, status == PLSM_NOT_FOUND ? ESTALE : fs_errno(fs, status));
}

static void apply_attributes(struct attr *attr, const struct stat *st, int to_set, struct timespec now)
{
    if (to_set & FUSE_SET_ATTR_UID)
        attr->uid = st->st_uid;
    if (to_set & FUSE_SET_ATTR_GID)
        attr->gid = st->st_gid;
    if (to_set & FUSE_SET_ATTR_MODE)
        attr->mode = (attr->mode & S_IFMT) | (st->st_mode & 07777);
    if (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW))
        attr->atime = to_set & FUSE_SET_ATTR_ATIME_NOW ? now : st->st_atim;
    if (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW))
        attr->mtime = to_set & FUSE_SET_ATTR_MTIME_NOW ? now : st->st_mtim;
}

/* The bits of the mode that a change takes, and the capability. Returns 0 or an errno value. */
static int drop_privileges(struct fs *fs, fuse_req_t req, struct inode *inode, int to_set)
{
    bool owner = to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID);
    if ((to_set & ~FUSE_SET_ATTR_CTIME) == 0)
        return privileges_drop_untold(req, inode);
    if (owner || (to_set & FUSE_SET_ATTR_SIZE && fuse_req_ctx(req)->uid != 0))
        privileges_drop(req, &inode->attr);
    if (owner && !S_ISDIR(inode->attr.mode))
        return fs_errno_of_change(fs, xattr_drop_capability(fs, inode));
    return 0;
}

/* With the lock of the inode. `by_handle`: ftruncate, which is published at the flush that will come. */
static int set_attributes(struct fs *fs, fuse_req_t req, struct inode *inode, const struct stat *st, int to_set,
                          bool by_handle)
{
    struct attr old = {0};
    bool old_dirty = inode->attr_dirty;
    plsm_status status = inode_load(fs, inode);
    int error = 0;
    if (status != PLSM_OK)
        return status == PLSM_NOT_FOUND ? ESTALE : fs_errno(fs, status);
    if (inode->node->flags & (NODE_SYNTHETIC | NODE_VALUE))
        return EPERM;
    old = inode->attr;
    error = drop_privileges(fs, req, inode, to_set);
    bool resized = to_set & FUSE_SET_ATTR_SIZE;
    if (!error && resized)
        error = resize_content(fs, inode, (uint64_t)st->st_size);
    if (error) {
        inode->attr.mode = old.mode;
        return error;
    }
    inode_touch(fs, inode, resized);
    apply_attributes(&inode->attr, st, to_set, inode->attr.ctime);
    /* Attributes of a file with unpublished content wait for it (fs/inode.h). */
    if ((resized ? by_handle : inode_content_dirty(inode)) && !fs->options.sync)
        return 0;
    status = inode_publish(fs, inode);
    if (status == PLSM_OK)
        return 0;
    error = fs_errno_of_change(fs, status);
    if (resized && !inode->handles && !fs->no_open) { /* nobody will try again: what is in the store stands */
        inode_discard(fs, inode);
    } else if (!resized) {
        inode->attr = old;
        inode->attr_dirty = old_dirty;
        inode_note(fs, inode);
    }
    return error;
}

void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    struct attr attr;
    uint64_t size = 0;
    struct node *node = node_of(fs, ino);
    int error = ENOMEM;
    tree_share(&fs->nodes);
    struct inode *inode = inode_get(fs, node);
    if (inode) {
        mutex_lock(&inode->lock);
        error = set_attributes(fs, req, inode, st, to_set, fi && !fs->options.publish_write);
        if (error && fs->no_open && !(node->flags & NODE_DIRECTORY)) /* times of a directory may wait to be written */
            inode_settle(fs, inode);
        mutex_unlock(&inode->lock);
        if (!error)
            error = fs_errno(fs, inode_stat(fs, node, &attr, &size));
        if (!error)
            attr.other_names += count_directories(fs, node);
        inode_put(fs, inode);
    }
    tree_unshare(&fs->nodes);
    if (error)
        fuse_reply_err(req, error);
    else
        reply_attr(req, fs, node, &attr, size);
}

void fs_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct fs *fs = fs_of(req);
    struct node *node = node_of(fs, ino);
    plsm_value value = {0};
    char *target = NULL;
    tree_share(&fs->nodes);
    plsm_status status =
        node->flags & NODE_GONE ? fail(PLSM_NOT_FOUND, "gone") : inode_read_entry(fs, node, false, &value);
    tree_unshare(&fs->nodes);
    if (status == PLSM_OK && !value.large)
        target = strndup(value.value.data ? value.value.data : "", value.value.size);
    if (target)
        fuse_reply_readlink(req, target);
    else
        fuse_reply_err(req, status == PLSM_NOT_FOUND ? ESTALE : status == PLSM_OK ? ENOMEM : fs_errno(fs, status));
    free(target);
    plsm_value_free(&value);
}

void fs_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct fs *fs = fs_of(req);
    struct env_space space;
    plsm_status status = env_space(env_posix(), fs->options.store, &space);
    if (status != PLSM_OK) {
        fuse_reply_err(req, fs_errno(fs, status));
        return;
    }
    /* Files are not counted apart: only bytes limit them. So both counts are 0, as Btrfs has it. */
    struct statvfs out = {.f_bsize = 4096,
                          .f_frsize = 4096,
                          .f_blocks = space.bytes_total / 4096,
                          .f_bfree = space.bytes_free / 4096,
                          .f_bavail = space.bytes_free / 4096,
                          .f_namemax = NAME_SIZE_MAX};
    fuse_reply_statfs(req, &out);
}
