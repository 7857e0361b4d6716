/* Open files: reading, writing, and when what was written is published (fs/inode.h). */
#include <errno.h>
#include <fcntl.h>
#include <syslog.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "fs/file.h"
#include "fs/ops.h"
#include "fs/privileges.h"
#include "fs/push.h"
#include "fs/sync.h"
#include "fs/transport.h"
#include "fs/xattr.h"
#include "base/banned.h"

static struct inode *inode_of(const struct fuse_file_info *fi)
{
    return (struct inode *)(uintptr_t)fi->fh;
}

struct inode *file_get(struct fs *fs, fuse_ino_t ino, const struct fuse_file_info *fi)
{
    return fs->no_open ? inode_get(fs, node_of(fs, ino)) : inode_of(fi);
}

void file_put(struct fs *fs, struct inode *inode)
{
    if (fs->no_open && inode)
        inode_put(fs, inode);
}

struct inode *file_begin(struct fs *fs, fuse_ino_t ino, const struct fuse_file_info *fi)
{
    tree_share(&fs->nodes);
    struct inode *inode = file_get(fs, ino, fi);
    if (inode)
        mutex_lock(&inode->lock);
    else
        tree_unshare(&fs->nodes);
    return inode;
}

void file_end(struct fs *fs, struct inode *inode)
{
    if (fs->no_open)
        inode_settle(fs, inode);
    mutex_unlock(&inode->lock);
    file_put(fs, inode);
    tree_unshare(&fs->nodes);
}

int write_errno(struct fs *fs, plsm_status status)
{
    return status == PLSM_TOO_LARGE ? EFBIG : fs_errno_of_change(fs, status);
}

int content_errno(struct fs *fs, const struct inode *inode, plsm_status status)
{
    bool gone = inode_gone(inode) || (fs->no_open && inode->node->expires);
    return status == PLSM_NOT_FOUND && gone ? ESTALE : write_errno(fs, status);
}

struct inode *open_handle(struct fs *fs, struct node *node, bool writes)
{
    struct inode *inode = inode_get(fs, node);
    if (inode) {
        mutex_lock(&fs->nodes.lock);
        inode->handles++;
        inode->writers += writes;
        mutex_unlock(&fs->nodes.lock);
    }
    return inode;
}

void close_handle(struct fs *fs, struct inode *inode, bool writes, bool used)
{
    struct node *node = inode->node;
    bool lost = false;
    tree_share(&fs->nodes);
    mutex_lock(&inode->lock);
    mutex_lock(&fs->nodes.lock);
    bool last = --inode->handles == 0;
    inode->writers -= writes;
    inode->mappable = inode->mappable && !last;
    mutex_unlock(&fs->nodes.lock);
    /* A reader that closes says nothing about what a writer is in the middle of. */
    plsm_status status = last || (writes && used) ? inode_publish(fs, inode) : PLSM_OK;
    if (last && status != PLSM_OK) {
        syslog(LOG_ERR, "content of a closed file is lost: %s", plsm_message());
        fs_errno_of_change(fs, status);
        inode_discard(fs, inode);
        lost = true;
    } else if (last && inode->edit && !inode_gone(inode)) {
        /* Something else may hold the inode for a moment: what was kept for the handles can go already. */
        plsm_edit_close(inode->edit);
        inode->edit = NULL;
        inode->loaded = false;
    }
    mutex_unlock(&inode->lock);
    tree_unshare(&fs->nodes);
    /* Attributes only: the size is again the old one. Cached content goes at the next open (NODE_STALE). */
    if (lost && fs->session)
        fuse_lowlevel_notify_inval_inode(fs->session, (fuse_ino_t)(uintptr_t)node, -1, 0);
    inode_put(fs, inode);
}

int resize_content(struct fs *fs, struct inode *inode, uint64_t size)
{
    plsm_status status = inode_load(fs, inode);
    if (size > PLSM_VALUE_MAX)
        return EFBIG;
    if (status == PLSM_OK)
        status = xattr_drop_capability(fs, inode);
    inode->failed = PLSM_OK; /* cutting off what a failed write began is a way to go on after it */
    atomic_fetch_and(&inode->node->flags, (uint8_t)~NODE_FILLED); /* the kernel drops its pages */
    if (status == PLSM_OK && size == 0 && !inode->edit) {
        inode->written = inode->written || (!inode->fresh && inode->size > 0);
        inode->fresh = true;
        inode_note(fs, inode);
        return 0;
    }
    if (status == PLSM_OK)
        status = inode_open_content(fs, inode);
    if (status == PLSM_OK && plsm_edit_size(inode->edit) != size) {
        status = plsm_edit_truncate(inode->edit, size);
        inode->written = true;
        inode_note(fs, inode);
    }
    return status == PLSM_OK ? 0 : content_errno(fs, inode, status);
}

/* open(O_TRUNC): unlike truncate(2), this does not count as written (fs/inode.h), but for the option sync. */
static int truncate_at_open(struct fs *fs, fuse_req_t req, struct inode *inode)
{
    bool written = inode->written;
    int error = resize_content(fs, inode, 0);
    uint32_t mode = inode->attr.mode;
    if (error)
        return error;
    if (inode->written && !written && !fs->options.sync) {
        inode->written = inode->flushed_once = false;
        inode->truncated = true;
    }
    if (fuse_req_ctx(req)->uid != 0)
        privileges_drop(req, &inode->attr);
    inode_touch(fs, inode, true);
    if (fs->options.sync)
        error = fs_errno_of_change(fs, inode_publish(fs, inode));
    /* The kernel leaves these bits to us and so believes its own. */
    if (inode->attr.mode != mode && fs->session)
        fuse_lowlevel_notify_inval_inode(fs->session, (fuse_ino_t)(uintptr_t)inode->node, -1, 0);
    return error;
}

/* After a failed write to the disk. Told at the open: what a close tells many programs do not hear. */
static bool turned_read_only(struct fs *fs)
{
    plsm_abilities abilities;
    plsm_get_abilities(fs->db, &abilities);
    return abilities.read_only;
}

/* Attributes and content of a file that may expire stay with who has it open. */
static plsm_status keep_expiring(struct fs *fs, struct inode *inode)
{
    TRY(inode_load(fs, inode));
    return inode->fresh ? PLSM_OK : inode_open_content(fs, inode);
}

void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    struct inode *inode = NULL;
    int error = 0;
    struct node *node = node_of(fs, ino);
    bool writes = (fi->flags & O_ACCMODE) != O_RDONLY;
    if (fs->no_open) {
        fuse_reply_err(req, ENOSYS); /* and the kernel asks no more */
        return;
    }
    tree_share(&fs->nodes);
    inode = open_handle(fs, node, writes);
    if (!inode)
        error = ENOMEM;
    else if (writes && node->flags & NODE_VALUE)
        error = EPERM;
    else if (writes && turned_read_only(fs))
        error = EROFS;
    if (!error) {
        mutex_lock(&inode->lock);
        inode->mappable = inode->mappable || (fi->flags & O_ACCMODE) == O_RDWR;
        if (inode_gone(inode) && !inode->edit && !inode->fresh)
            error = ESTALE;
        else if (fi->flags & O_TRUNC)
            error = truncate_at_open(fs, req, inode);
        else if (node->expires && keep_expiring(fs, inode) != PLSM_OK)
            error = ESTALE; /* it has expired */
        else if (!writes && !(fi->flags & O_DIRECT))
            push_content(fs, inode);
        mutex_unlock(&inode->lock);
    }
    tree_unshare(&fs->nodes);
    if (error) {
        if (inode)
            close_handle(fs, inode, writes, false);
        fuse_reply_err(req, error);
        return;
    }
    fi->fh = (uintptr_t)inode;
    fi->noflush = !writes || fs->options.publish_write; /* writes have told all */
    /* The kernel has seen every change, so its pages are right, unless content was lost. */
    fi->keep_cache = !(atomic_fetch_and(&node->flags, (uint8_t)~NODE_STALE) & NODE_STALE);
    if (fuse_reply_open(req, fi) != 0)
        close_handle(fs, inode, writes, false);
}

plsm_status read_content(struct fs *fs, struct inode *inode, uint64_t offset, void *data, size_t size, size_t *got)
{
    *got = 0;
    if (inode->fresh && !inode->edit)
        return PLSM_OK;
    TRY(inode_open_content(fs, inode));
    return plsm_edit_read(inode->edit, offset, data, size, got);
}

/* Of the inode or, where files are not opened and nothing is under way with it, of the store. */
static int read_file(struct fs *fs, fuse_ino_t ino, const struct fuse_file_info *fi, uint64_t offset, void *data,
                     size_t size, size_t *got)
{
    struct node *node = node_of(fs, ino);
    struct inode *inode = fs->no_open ? inode_get_existing(fs, node) : inode_of(fi);
    plsm_status status = PLSM_OK;
    int error = 0;
    if (inode) {
        mutex_lock(&inode->lock);
        status = read_content(fs, inode, offset, data, size, got);
        mutex_unlock(&inode->lock);
        error = status == PLSM_OK ? 0 : content_errno(fs, inode, status);
        file_put(fs, inode);
        return error;
    }
    status = node->flags & NODE_GONE ? PLSM_NOT_FOUND : inode_read_value(fs, node, offset, data, size, got);
    bool gone = status == PLSM_NOT_FOUND && (node->expires || node->flags & NODE_GONE);
    return status == PLSM_OK ? 0 : gone ? ESTALE : write_errno(fs, status);
}

void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    struct node *node = node_of(fs, ino);
    size_t got = 0;
    /* From memory of the transport a reply is not copied once more. */
    char *given = transport_reply_memory(size), *own = given ? NULL : mem_alloc(size), *data = given ? given : own;
    if (!data) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    tree_share(&fs->nodes);
    int error = read_file(fs, ino, fi, (uint64_t)offset, data, size, &got);
    tree_unshare(&fs->nodes);
    if (!(node->flags & NODE_FILLED))
        atomic_fetch_or(&node->flags, NODE_FILLED);
    if (error)
        fuse_reply_err(req, error);
    else
        fuse_reply_buf(req, data, got);
    mem_free(own);
}

plsm_status write_content(struct fs *fs, struct inode *inode, uint64_t offset, const void *data, size_t size)
{
    TRY(inode_load(fs, inode));
    TRY(xattr_drop_capability(fs, inode));
    TRY(inode_open_content(fs, inode));
    plsm_status status = plsm_edit_write(inode->edit, offset, data, size);
    inode->failed = status;
    inode->written = true; /* also when it failed: flush has to tell */
    inode_touch(fs, inode, true);
    return status == PLSM_OK ? inode_changed(fs, inode) : status;
}

void fs_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    if (size > PLSM_VALUE_MAX || (uint64_t)offset > PLSM_VALUE_MAX - size) {
        fuse_reply_err(req, EFBIG); /* not a failed write: what was written before stays and is published */
        return;
    }
    struct inode *inode = file_begin(fs, ino, fi);
    if (!inode) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    int error = 0;
    if (inode->node->flags & NODE_VALUE) /* nobody was told so at an open */
        error = EPERM;
    else
        error = content_errno(fs, inode, write_content(fs, inode, (uint64_t)offset, data, size));
    file_end(fs, inode);
    if (error)
        fuse_reply_err(req, error);
    else
        fuse_reply_write(req, size);
}

void fs_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    plsm_status status = PLSM_OK;
    struct inode *inode = inode_of(fi);
    if (fs->no_open) {
        fuse_reply_err(req, ENOSYS); /* writes have told all */
        return;
    }
    tree_share(&fs->nodes);
    mutex_lock(&inode->lock);
    if (inode->truncated && !inode->written && !inode->flushed_once)
        inode->flushed_once = true;
    else
        status = inode_publish(fs, inode);
    mutex_unlock(&inode->lock);
    tree_unshare(&fs->nodes);
    fuse_reply_err(req, write_errno(fs, status));
}

void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (!fs_of(req)->no_open) /* else of a file that was created before the kernel knew */
        close_handle(fs_of(req), inode_of(fi), (fi->flags & O_ACCMODE) != O_RDONLY, true);
    fuse_reply_err(req, 0);
}

void fs_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    struct inode *inode = file_begin(fs, ino, fi);
    if (!inode) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    int error = write_errno(fs, inode_publish(fs, inode));
    file_end(fs, inode);
    if (error)
        fuse_reply_err(req, error);
    else
        sync_and_reply(fs, req);
}
