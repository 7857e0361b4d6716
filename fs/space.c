/* The space of files: fallocate, where their holes are, and copies within the mount.
 *
 * A hole is what the store keeps nothing for: whole extents of 128 KiB that were never written or were punched out.
 *
 * Space is not set aside: the store writes behind what it has, so no place on the disk belongs to a file. An allocation
 * is refused with ENOSPC when the disk has not that much to give at that moment; later writes may still fail. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/env.h"
#include "base/error.h"
#include "fs/file.h"
#include "fs/ops.h"
#include "fs/xattr.h"
#include "base/banned.h"

enum {
    COPY_PART_BYTES = 1 << 20,      /* copied with the locks held once */
    COPY_CALL_BYTES = 64 << 20,     /* copied by one request: the caller asks again, and can be interrupted between */
    EXTENT_BYTES = PLSM_INLINE_MAX, /* parts end at multiples of it, so that extents pass through in one piece */
};

/* --- fallocate ---------------------------------------------------------------------------------------------------- */

/* Whether the disk has room for what of [offset, end) is not there yet. */
static plsm_status check_room(struct fs *fs, struct inode *inode, uint64_t offset, uint64_t end)
{
    struct env_space space;
    uint64_t stored = 0;
    if (inode->edit)
        TRY(plsm_edit_stored(inode->edit, &stored));
    TRY(env_space(env_posix(), fs->options.store, &space));
    uint64_t wanted = end - offset;
    if (wanted > stored && wanted - stored > space.bytes_free)
        return fail(PLSM_NO_SPACE, "no room for %llu bytes: %llu are free", (unsigned long long)(wanted - stored),
                    (unsigned long long)space.bytes_free);
    return PLSM_OK;
}

static plsm_status punch(struct fs *fs, struct inode *inode, uint64_t offset, uint64_t size)
{
    TRY(inode_open_content(fs, inode));
    if (offset >= plsm_edit_size(inode->edit))
        return PLSM_OK;
    plsm_status status = plsm_edit_punch(inode->edit, offset, size);
    inode->failed = status;
    inode->written = true;
    inode_touch(fs, inode, true);
    return status;
}

/* With the lock of the inode. Returns 0 or an errno value. */
static int allocate(struct fs *fs, struct inode *inode, int mode, uint64_t offset, uint64_t size)
{
    uint64_t end = offset + size;
    bool clears = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
    if (inode->node->flags & NODE_VALUE)
        return EPERM;
    plsm_status status = inode_load(fs, inode);
    if (status == PLSM_OK && !(mode & FALLOC_FL_PUNCH_HOLE))
        status = check_room(fs, inode, offset, end);
    if (status == PLSM_OK)
        status = xattr_drop_capability(fs, inode);
    if (status == PLSM_OK && clears)
        status = punch(fs, inode, offset, size);
    if (status != PLSM_OK)
        return content_errno(fs, inode, status);
    if (mode & FALLOC_FL_KEEP_SIZE || end <= inode_size(inode))
        return 0;
    int error = resize_content(fs, inode, end);
    if (!error)
        inode_touch(fs, inode, true);
    return error;
}

void fs_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
    int error = 0;
    if (mode & ~known)
        error = EOPNOTSUPP;
    else if (offset < 0 || length <= 0)
        error = EINVAL;
    else if ((uint64_t)length > PLSM_VALUE_MAX || (uint64_t)offset > PLSM_VALUE_MAX - (uint64_t)length)
        error = EFBIG;
    struct inode *inode = error ? NULL : file_begin(fs, ino, fi);
    if (inode) {
        error = allocate(fs, inode, mode, (uint64_t)offset, (uint64_t)length);
        if (!error)
            error = write_errno(fs, inode_changed(fs, inode));
        file_end(fs, inode);
    } else if (!error) {
        error = ENOMEM;
    }
    fuse_reply_err(req, error);
}

/* --- lseek -------------------------------------------------------------------------------------------------------- */

/* All of it is data. */
static int seek_dense(uint64_t offset, uint64_t size, bool hole, uint64_t *found)
{
    *found = hole ? size : offset;
    return offset < size ? 0 : ENXIO;
}

/* A program may have written into a hole through a shared mapping, and the kernel asks where holes are without having
 * told of that. Only handles for reading and writing can be mapped so (for as long, they are not released); without
 * handles it may be any file. */
static int seek(struct fs *fs, struct inode *inode, uint64_t offset, bool hole, uint64_t *found)
{
    plsm_status status = inode_load(fs, inode);
    if (status == PLSM_OK && (inode->mappable || (fs->no_open && !fs->options.read_only)))
        return seek_dense(offset, inode_size(inode), hole, found);
    if (status == PLSM_OK && inode->fresh && !inode->edit)
        return ENXIO;
    if (status == PLSM_OK)
        status = inode_open_content(fs, inode);
    if (status == PLSM_OK)
        status = plsm_edit_seek(inode->edit, offset, hole, found);
    return status == PLSM_NOT_FOUND && inode->edit ? ENXIO : status == PLSM_OK ? 0 : content_errno(fs, inode, status);
}

void fs_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    uint64_t found = 0;
    int error = 0;
    if (offset < 0 || (whence != SEEK_DATA && whence != SEEK_HOLE))
        error = offset < 0 ? ENXIO : EINVAL;
    struct inode *inode = error ? NULL : file_begin(fs, ino, fi);
    if (inode) {
        error = seek(fs, inode, (uint64_t)offset, whence == SEEK_HOLE, &found);
        file_end(fs, inode);
    } else if (!error) {
        error = ENOMEM;
    }
    if (error)
        fuse_reply_err(req, error);
    else
        fuse_reply_lseek(req, (off_t)found);
}

/* --- copy_file_range ---------------------------------------------------------------------------------------------- */

struct copy {
    fuse_ino_t from_ino, to_ino;
    const struct fuse_file_info *from_fi, *to_fi;
    struct inode *from, *to; /* of the part under way */
    uint64_t from_offset, to_offset, left;
    uint8_t *buffer; /* COPY_PART_BYTES */
};

/* Bytes of the hole at the place that is copied from, up to what is left; 0: there is data, or the end. */
static plsm_status hole_bytes(struct copy *c, uint64_t *bytes)
{
    plsm_edit *edit = c->from->edit;
    uint64_t data = 0, size = plsm_edit_size(edit);
    *bytes = 0;
    if (c->from_offset >= size)
        return PLSM_OK;
    plsm_status status = plsm_edit_seek(edit, c->from_offset, false, &data);
    if (status == PLSM_NOT_FOUND)
        data = size;
    else if (status != PLSM_OK)
        return status;
    *bytes = data - c->from_offset < c->left ? data - c->from_offset : c->left;
    return PLSM_OK;
}

/* Takes the next part from the source: *got bytes in the buffer, or a hole of *hole bytes. */
static plsm_status take_part(struct fs *fs, struct copy *c, size_t *got, uint64_t *hole)
{
    plsm_status status = PLSM_OK;
    size_t size = COPY_PART_BYTES - (size_t)(c->to_offset % EXTENT_BYTES);
    *got = 0;
    *hole = 0;
    mutex_lock(&c->from->lock);
    if (!c->from->fresh || c->from->edit) {
        status = inode_open_content(fs, c->from);
        if (status == PLSM_OK)
            status = hole_bytes(c, hole);
        if (status == PLSM_OK && *hole == 0)
            status = read_content(fs, c->from, c->from_offset, c->buffer, c->left < size ? (size_t)c->left : size, got);
    }
    mutex_unlock(&c->from->lock);
    return status;
}

/* Makes a hole of the target where it has data, and lets it grow over the rest. */
static plsm_status put_hole(struct fs *fs, struct copy *c, uint64_t bytes)
{
    struct inode *to = c->to;
    uint64_t end = c->to_offset + bytes;
    TRY(inode_load(fs, to));
    TRY(punch(fs, to, c->to_offset, bytes));
    plsm_status status = end > plsm_edit_size(to->edit) ? plsm_edit_truncate(to->edit, end) : PLSM_OK;
    to->failed = status;
    to->written = true;
    inode_touch(fs, to, true);
    return status == PLSM_OK ? inode_changed(fs, to) : status;
}

static plsm_status copy_part(struct fs *fs, struct copy *c, uint64_t *copied)
{
    size_t got = 0;
    uint64_t hole = 0;
    plsm_status status = PLSM_OK;
    *copied = 0;
    TRY(take_part(fs, c, &got, &hole));
    mutex_lock(&c->to->lock);
    if (hole)
        status = put_hole(fs, c, hole);
    else if (got)
        status = write_content(fs, c->to, c->to_offset, c->buffer, got);
    if (fs->no_open)
        inode_settle(fs, c->to);
    mutex_unlock(&c->to->lock);
    *copied = hole ? hole : got;
    return status;
}

/* Copies a part of one open file to the other. Returns 0 or an errno value. */
static int copy_between(struct fs *fs, struct copy *c, uint64_t *copied)
{
    int error = ENOMEM;
    *copied = 0;
    tree_share(&fs->nodes);
    c->from = file_get(fs, c->from_ino, c->from_fi);
    c->to = file_get(fs, c->to_ino, c->to_fi);
    if (c->from && c->to) {
        plsm_status status = c->to->node->flags & NODE_VALUE ? PLSM_OK : copy_part(fs, c, copied);
        error = c->to->node->flags & NODE_VALUE ? EPERM : content_errno(fs, c->from, status);
    }
    file_put(fs, c->from);
    file_put(fs, c->to);
    tree_unshare(&fs->nodes);
    return error;
}

/* Returns 0 or an errno value. *done is what was copied before. */
static int copy(struct fs *fs, struct copy *c, uint64_t *done)
{
    uint64_t copied = 0;
    int error = 0;
    *done = 0;
    c->buffer = mem_alloc(COPY_PART_BYTES);
    if (!c->buffer)
        return ENOMEM;
    do {
        error = copy_between(fs, c, &copied);
        if (error)
            break;
        c->from_offset += copied;
        c->to_offset += copied;
        c->left -= copied;
        *done += copied;
    } while (copied > 0 && c->left > 0);
    mem_free(c->buffer);
    return *done > 0 ? 0 : error;
}

void fs_copy_file_range(fuse_req_t req, fuse_ino_t from_ino, off_t from_offset, struct fuse_file_info *from_fi,
                        fuse_ino_t to_ino, off_t to_offset, struct fuse_file_info *to_fi, size_t size, int flags)
{
    struct fs *fs = fs_of(req);
    uint64_t done = 0;
    int error = 0;
    if (flags || from_offset < 0 || to_offset < 0)
        error = EINVAL;
    else if ((uint64_t)to_offset >= PLSM_VALUE_MAX)
        error = EFBIG;
    if (!error) {
        uint64_t left = size < COPY_CALL_BYTES ? size : COPY_CALL_BYTES, room = PLSM_VALUE_MAX - (uint64_t)to_offset;
        struct copy c = {.from_ino = from_ino,
                         .to_ino = to_ino,
                         .from_fi = from_fi,
                         .to_fi = to_fi,
                         .from_offset = (uint64_t)from_offset,
                         .to_offset = (uint64_t)to_offset,
                         .left = left < room ? left : room};
        error = copy(fs, &c, &done);
    }
    if (error)
        fuse_reply_err(req, error);
    else
        fuse_reply_write(req, (size_t)done);
}
