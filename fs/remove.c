/* Names that go. Under the exclusive tree lock: nobody else has a path in hand. */
#include <errno.h>

#include "base/bytes.h"
#include "base/error.h"
#include "fs/inode.h"
#include "fs/link.h"
#include "fs/ops.h"
#include "fs/remove.h"
#include "fs/xattr.h"
#include "base/banned.h"

plsm_status prepare_gone(struct fs *fs, struct node *node, const struct entry *entry, struct inode **out)
{
    plsm_status status = PLSM_OK;
    *out = NULL;
    if (!node)
        return PLSM_OK; /* the kernel does not know it, so nobody has it */
    struct inode *inode = inode_get(fs, node);
    if (!inode)
        return fail(PLSM_NO_MEMORY, "no memory for an inode");
    mutex_lock(&inode->lock);
    if (!inode->loaded) {
        inode->attr = entry->attr;
        inode->size = entry->size;
        inode->loaded = true;
    }
    bool goes = inode->attr.other_names == 0;
    if (goes && inode->handles && !(node->flags & NODE_DIRECTORY) && !inode->fresh)
        status = inode_open_content(fs, inode); /* who has it open goes on reading it */
    mutex_unlock(&inode->lock);
    if (status == PLSM_OK) {
        *out = inode;
        return PLSM_OK;
    }
    inode_put(fs, inode);
    return status;
}

void finish_gone(struct fs *fs, struct inode *inode, bool gone)
{
    if (!inode)
        return;
    if (gone && inode->attr.other_names > 0) {
        mutex_lock(&inode->lock);
        inode->attr.other_names--;
        mutex_unlock(&inode->lock);
    } else if (gone) {
        mutex_lock(&inode->lock);
        node_remove(&fs->nodes, inode->node);
        inode_pin(fs, inode);
        inode->attr.ctime = inode_now();
        inode_publish(fs, inode); /* of what is gone nothing is written: only takes it from the list of dirty ones */
        mutex_unlock(&inode->lock);
    }
    inode_put(fs, inode);
}

plsm_status remove_expired(struct fs *fs, struct node *parent, const struct entry *entry)
{
    struct node *node = node_find(&fs->nodes, parent, entry_piece(entry), 0);
    if (!node || !node->expires)
        return PLSM_OK;
    struct inode *inode = inode_get(fs, node);
    if (!inode)
        return fail(PLSM_NO_MEMORY, "no memory for an inode");
    finish_gone(fs, inode, true); /* who has it open has its content open too (fs_open) */
    return PLSM_OK;
}

int drop_expired(struct fs *fs, struct node *parent, const char *name)
{
    struct entry entry;
    plsm_status status = PLSM_OK;
    tree_exclude(&fs->nodes);
    int error = entry_find(fs, parent, name, &entry, NULL);
    if (error == ENOENT)
        status = remove_expired(fs, parent, &entry);
    tree_unexclude(&fs->nodes);
    return error && error != ENOENT ? error : fs_errno_of_change(fs, status);
}

/* Deletes an entry; the value of a directory's key instead is emptied. */
static plsm_status delete_entry(struct fs *fs, struct node *parent, const struct entry *entry, struct inode *inode)
{
    plsm_batch *batch = plsm_batch_create();
    plsm_slice key = path_slice(&entry->key);
    struct attr attr;
    uint64_t size = 0;
    uint8_t meta[ATTR_SIZE_MAX];
    if (!batch)
        return fail(PLSM_NO_MEMORY, "no memory for a batch");
    plsm_status status = keep_directory(fs, parent, batch);
    if (status == PLSM_OK)
        status = touch_other_names(entry, inode, inode_now(), batch);
    if (status == PLSM_OK && entry->node_flags & NODE_VALUE) {
        status = inode_stat(fs, parent, &attr, &size);
        if (status == PLSM_OK)
            status = plsm_batch_put(batch, PLSM_NAMES, key, slice(meta, attr_encode(&attr, meta)), slice(NULL, 0));
    } else if (status == PLSM_OK) {
        status = plsm_batch_delete(batch, PLSM_NAMES, key);
        if (status == PLSM_OK && entry->attr.other_names == 0)
            status = xattr_delete_all(fs, entry->attr.xattrs, batch);
    }
    if (status == PLSM_OK)
        status = plsm_write(fs->db, batch, fs->names_durability);
    plsm_batch_destroy(batch);
    return status;
}

/* A synthetic directory goes with the last key in it, but "rm -r" still wants to remove it. */
static int remove_vanished(struct fs *fs, struct node *parent, const struct entry *entry)
{
    struct inode *inode = NULL;
    struct node *node = entry_node(fs, parent, entry);
    if (!node || !(node->flags & NODE_SYNTHETIC))
        return ENOENT;
    plsm_status status = prepare_gone(fs, node, entry, &inode);
    finish_gone(fs, inode, status == PLSM_OK);
    return fs_errno_of_change(fs, status);
}

static int remove_name(struct fs *fs, struct node *parent, const char *name, bool directory)
{
    struct entry entry;
    struct inode *inode = NULL;
    plsm_status status = PLSM_OK;
    bool empty = true;
    if (name_reserved(parent, name))
        return EPERM;
    int error = entry_find(fs, parent, name, &entry, NULL);
    if (error == ENOENT && directory)
        return remove_vanished(fs, parent, &entry);
    if (error)
        return error;
    if ((bool)(entry.node_flags & NODE_DIRECTORY) != directory)
        return directory ? ENOTDIR : EISDIR;
    if (entry.node_flags & NODE_SYNTHETIC)
        return ENOTEMPTY; /* it is there because something is in it */
    if (directory)
        status = entry_empty_directory(fs, path_slice(&entry.key), &empty);
    if (status == PLSM_OK && !empty)
        return ENOTEMPTY;
    if (status == PLSM_OK)
        status = prepare_gone(fs, entry_node(fs, parent, &entry), &entry, &inode);
    if (status != PLSM_OK)
        return fs_errno_of_change(fs, status);
    status = delete_entry(fs, parent, &entry, inode);
    finish_gone(fs, inode, status == PLSM_OK);
    if (status == PLSM_OK) {
        directory_kept(parent);
        if (directory)
            directories_changed(fs, parent);
        touch_directory(fs, parent);
    }
    return fs_errno_of_change(fs, status);
}

static void remove_and_reply(fuse_req_t req, fuse_ino_t parent, const char *name, bool directory)
{
    struct fs *fs = fs_of(req);
    tree_exclude(&fs->nodes);
    int error = remove_name(fs, node_of(fs, parent), name, directory);
    tree_unexclude(&fs->nodes);
    fuse_reply_err(req, error);
}

void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_and_reply(req, parent, name, false);
}

void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_and_reply(req, parent, name, true);
}
