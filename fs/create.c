/* Making names: files, directories, symbolic links, special files. */
#include <errno.h>
#include <fcntl.h>

#include "base/bytes.h"
#include "base/env.h"
#include "base/error.h"
#include "fs/inode.h"
#include "fs/link.h"
#include "fs/ops.h"
#include "fs/remove.h"
#include "base/banned.h"

plsm_status keep_directory(struct fs *fs, struct node *parent, plsm_batch *batch)
{
    struct path path;
    struct attr attr;
    uint64_t size = 0;
    uint8_t meta[ATTR_SIZE_MAX];
    /* A synthetic directory may vanish, but not the real one that it is in. */
    while (parent->flags & NODE_SYNTHETIC)
        parent = node_parent(parent);
    if (!(parent->flags & NODE_IMPLIED))
        return PLSM_OK;
    TRY(node_path(parent, &path));
    /* Not made up here: a rename above may have made them permanent, which this node has not been told. */
    TRY(inode_stat(fs, parent, &attr, &size));
    return plsm_batch_put(batch, PLSM_NAMES, path_slice(&path), slice(meta, attr_encode(&attr, meta)), slice(NULL, 0));
}

void touch_directory(struct fs *fs, struct node *parent)
{
    while (parent->flags & NODE_SYNTHETIC)
        parent = node_parent(parent);
    struct inode *inode = inode_get(fs, parent);
    if (!inode)
        return; /* no memory: only its times are not right */
    mutex_lock(&inode->lock);
    plsm_status status = inode_load(fs, inode);
    if (status == PLSM_OK)
        inode_touch(fs, inode, true);
    else
        fs_errno_of_change(fs, status);
    mutex_unlock(&inode->lock);
    inode_put(fs, inode);
}

/* The attributes of what the caller of this request makes in `parent`. */
static plsm_status new_attr(struct fs *fs, fuse_req_t req, struct node *parent, mode_t mode, dev_t rdev,
                            struct attr *attr)
{
    struct attr above;
    uint64_t size = 0, wall_ns = env_wall_ns(env_posix());
    struct timespec now = {(time_t)(wall_ns / 1000000000), (long)(wall_ns % 1000000000)};
    const struct fuse_ctx *caller = fuse_req_ctx(req);
    *attr = (struct attr){
        .mode = mode, .uid = caller->uid, .gid = caller->gid, .mtime = now, .ctime = now, .atime = now, .rdev = rdev};
    TRY(inode_stat(fs, parent, &above, &size));
    if (above.mode & S_ISGID) { /* a directory shared by a group gives it on */
        attr->gid = above.gid;
        if (S_ISDIR(mode))
            attr->mode |= S_ISGID;
    }
    plsm_status status = plsm_new_id(fs->db, &attr->ino);
    return status == PLSM_NOT_FOUND ? PLSM_IO : status; /* a file of the store is not there: no name of the caller's */
}

plsm_status if_nothing_there(plsm_batch *batch, plsm_slice file)
{
    plsm_slice directory = slice(file.data, file.size + 1);
    TRY(plsm_batch_if_absent(batch, PLSM_NAMES, file));
    return directory.size <= PLSM_KEY_MAX ? plsm_batch_if_absent(batch, PLSM_NAMES, directory) : PLSM_OK;
}

/* Writes the new entry: nothing may be there, neither a file nor a directory. */
static plsm_status write_new(struct fs *fs, const struct entry *entry, const struct attr *attr, plsm_slice value)
{
    uint8_t meta[ATTR_SIZE_MAX];
    plsm_slice file = path_slice(&entry->key), directory = slice(file.data, file.size + 1);
    plsm_slice key = S_ISDIR(attr->mode) ? directory : file;
    plsm_batch *batch = plsm_batch_create();
    if (!batch)
        return fail(PLSM_NO_MEMORY, "no memory for a batch");
    plsm_status status = if_nothing_there(batch, file);
    if (status == PLSM_OK)
        status = plsm_batch_put(batch, PLSM_NAMES, key, slice(meta, attr_encode(attr, meta)), value);
    if (status == PLSM_OK)
        status = plsm_write(fs->db, batch, fs->names_durability);
    plsm_batch_destroy(batch);
    return status;
}

/* Whether the kernel knows a file of that name, which is not in the store, and which the new one must not be taken for:
 * it has expired, or it is being written, a batch has deleted it, and the new one is of another type. */
static bool is_in_the_way(struct fs *fs, struct node *parent, const struct entry *entry, mode_t mode)
{
    bool other_type = !S_ISREG(mode) && !S_ISDIR(mode);
    if (!other_type && !atomic_load(&fs->expires))
        return false;
    struct node *node = node_hold(&fs->nodes, parent, entry_piece(entry), 0);
    bool known = node && (other_type || node->expires);
    if (node)
        inode_forget(fs, node, 1);
    return known;
}

/* Makes an entry; the tree lock is shared. Returns 0 or an errno value and fills the reply; EAGAIN: a file is in
 * the way, drop_vanished and try again. */
static int make(struct fs *fs, fuse_req_t req, struct node *parent, const char *name, mode_t mode, dev_t rdev,
                plsm_slice value, struct fuse_entry_param *reply)
{
    struct entry entry;
    bool creatable = false, directory = S_ISDIR(mode);
    if (name_reserved(parent, name))
        return EPERM;
    if (parent->flags & NODE_GONE) /* a batch has deleted it, and another has its place */
        return ENOENT;
    int error = entry_find(fs, parent, name, &entry, &creatable);
    if (error == 0)
        return EEXIST;
    if (error != ENOENT)
        return error;
    if (!creatable)
        return EINVAL;
    if (is_in_the_way(fs, parent, &entry, mode))
        return EAGAIN;
    entry.key.bytes[entry.key.size] = '/';
    if (directory && entry.key.size >= PLSM_KEY_MAX)
        return ENAMETOOLONG;
    plsm_status status = new_attr(fs, req, parent, mode, rdev, &entry.attr);
    if (status != PLSM_OK)
        return fs_errno(fs, status);
    status = write_new(fs, &entry, &entry.attr, value);
    if (status != PLSM_OK)
        return status == PLSM_TOO_LARGE ? ENAMETOOLONG : fs_errno_of_change(fs, status);
    entry.key.size += directory;
    if (directory)
        directories_changed(fs, parent);
    touch_directory(fs, parent);
    struct stored_entry stored = {.piece = entry_piece(&entry),
                                  .node_flags = directory ? NODE_DIRECTORY : 0,
                                  .attr = entry.attr,
                                  .size = value.size,
                                  .publications = publications_in(fs, parent)};
    return fill_entry(fs, parent, &stored, reply);
}

static int make_in_place(struct fs *fs, fuse_req_t req, struct node *parent, const char *name, mode_t mode, dev_t rdev,
                         plsm_slice value, struct fuse_entry_param *reply)
{
    int error = make(fs, req, parent, name, mode, rdev, value, reply);
    while (error == EAGAIN) {
        tree_unshare(&fs->nodes);
        error = drop_vanished(fs, parent, name);
        tree_share(&fs->nodes);
        if (!error)
            error = make(fs, req, parent, name, mode, rdev, value, reply);
    }
    return error;
}

static void make_and_reply(fuse_req_t req, fuse_ino_t parent_ino, const char *name, mode_t mode, dev_t rdev,
                           plsm_slice value)
{
    struct fs *fs = fs_of(req);
    struct fuse_entry_param reply;
    tree_share(&fs->nodes);
    int error = make_in_place(fs, req, node_of(fs, parent_ino), name, mode, rdev, value, &reply);
    tree_unshare(&fs->nodes);
    if (error)
        fuse_reply_err(req, error);
    else if (fuse_reply_entry(req, &reply) != 0)
        inode_forget(fs, node_of(fs, reply.ino), 1);
}

void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    make_and_reply(req, parent, name, mode, S_ISCHR(mode) || S_ISBLK(mode) ? rdev : 0, slice(NULL, 0));
}

void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    make_and_reply(req, parent, name, S_IFDIR | (mode & 07777), 0, slice(NULL, 0));
}

void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    make_and_reply(req, parent, name, S_IFLNK | 0777, 0, slice_of(target));
}

void fs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    struct fuse_entry_param reply = {0};
    struct inode *inode = NULL;
    tree_share(&fs->nodes);
    bool writes = (fi->flags & O_ACCMODE) != O_RDONLY;
    int error = make_in_place(fs, req, node_of(fs, parent), name, S_IFREG | (mode & 07777), 0, slice(NULL, 0), &reply);
    if (!error && !fs->no_open) {
        inode = open_handle(fs, node_of(fs, reply.ino), writes);
        error = inode ? 0 : ENOMEM;
    }
    if (inode) {
        mutex_lock(&inode->lock);
        inode->mappable = (fi->flags & O_ACCMODE) == O_RDWR;
        inode->fresh = true;      /* the store has it as empty since just now */
        if (inode->node->expires) /* later it may have expired */
            error = fs_errno_of_change(fs, inode_load(fs, inode));
        mutex_unlock(&inode->lock);
    }
    tree_unshare(&fs->nodes);
    if (error) {
        if (inode)
            close_handle(fs, inode, writes, false);
        if (reply.ino)
            inode_forget(fs, node_of(fs, reply.ino), 1);
        fuse_reply_err(req, error);
        return;
    }
    fi->fh = (uintptr_t)inode;
    fi->keep_cache = 1;
    /* Writes have told all. Without opens a flush is not sent anyway, but what was written through a mapping is. */
    fi->noflush = !writes || (fs->options.publish_write && !fs->no_open);
    if (fuse_reply_create(req, &reply, fi) != 0) {
        if (inode)
            close_handle(fs, inode, writes, false);
        inode_forget(fs, node_of(fs, reply.ino), 1);
    }
}
