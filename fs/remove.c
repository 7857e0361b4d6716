/* Names that go. Under the exclusive tree lock: nobody else has a path in hand.
 *
 * Whole trees. "rm -r" removes name by name, so what it leaves in the store is a deletion for each, which every scan
 * that passes there walks over until compaction has brought them to the last level. So where many names have gone
 * from below a directory, its own removal is not the deletion of its key "d/" but that of the range ["d/", "d0"), of
 * all keys that begin with "d/": readers pass at once over what runs and older memtables have in it, and the deletions
 * in its own memtable go with the flush. (60,000 deletions in runs: "ls" of the directory above 0.4 ms, not 4.4.)
 *
 * That changes nothing else. Of the keys in the range none is there but "d/", with an empty value, as
 * entry_empty_directory has just found, by the keys in the store, whatever names they show under. Since then no key can
 * have come: all that writes names has the tree lock, shared (files that are made or published) or exclusive (what the
 * library puts through the daemon, fs/commit.c), and this one has it alone from before the look until after the write.
 * What is written later is newer than the deletion, and stays; so a file that has expired while somebody has it open
 * can be published again. What is open but unlinked has its content in its edit, and lost its place in the store when
 * its name went; a name of a shared value in the range would have been seen; extended attributes are in another
 * keyspace, by number. Snapshots and iterators that are older do not see the deletion. Only entries that have expired
 * may still be in the range: they go a little sooner, their large values too (plsm_delete_range), and do not show again
 * where the clock is set back. */
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
    else if (goes && fs->no_open && S_ISREG(inode->attr.mode) && inode_open_content(fs, inode) == PLSM_NO_MEMORY)
        status = PLSM_NO_MEMORY;
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

plsm_status remove_vanished_file(struct fs *fs, struct node *parent, const struct entry *entry)
{
    struct node *node = node_find(&fs->nodes, parent, entry_piece(entry), 0);
    if (!node)
        return PLSM_OK;
    struct inode *inode = inode_get(fs, node);
    if (!inode)
        return fail(PLSM_NO_MEMORY, "no memory for an inode");
    /* Who has it open has its content open too (fs_open), or writes it; without opens it is too late to keep it
     * (fs/file.h). */
    finish_gone(fs, inode, true);
    return PLSM_OK;
}

int drop_vanished(struct fs *fs, struct node *parent, const char *name)
{
    struct entry entry;
    plsm_status status = PLSM_OK;
    tree_exclude(&fs->nodes);
    int error = entry_find(fs, parent, name, &entry, NULL);
    if (error == ENOENT)
        status = remove_vanished_file(fs, parent, &entry);
    tree_unexclude(&fs->nodes);
    return error && error != ENOENT ? error : fs_errno_of_change(fs, status);
}

/* From so many deletions below a directory on they are worth that of a range, which goes alone through the log and
 * costs each scan and lookup in its memtable or run a search among those of ranges. A scan over as many takes 70 us. */
enum { REMOVED_MANY = 1000 };

void names_removed(struct node *parent, uint32_t count)
{
    while (parent->flags & NODE_SYNTHETIC)
        parent = node_parent(parent);
    parent->removed = parent->removed < UINT32_MAX - count ? parent->removed + count : UINT32_MAX;
}

/* Whether a directory, which is empty, goes with the range of all keys below it. */
static bool goes_as_range(struct fs *fs, const struct node *node)
{
    plsm_abilities abilities;
    plsm_get_abilities(fs->db, &abilities);
    return node->removed >= REMOVED_MANY && abilities.range_deletions;
}

static plsm_status delete_key(plsm_batch *batch, plsm_slice key, bool as_range)
{
    uint8_t end[PLSM_KEY_MAX];
    if (as_range)
        return plsm_batch_delete_range(batch, PLSM_NAMES, key, prefix_end(key, end));
    return plsm_batch_delete(batch, PLSM_NAMES, key);
}

/* Deletes an entry; the value of a directory's key instead is emptied. */
static plsm_status delete_entry(struct fs *fs, struct node *parent, const struct entry *entry, struct inode *inode,
                                bool as_range)
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
        status = delete_key(batch, key, as_range);
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
    uint32_t below = directory && inode ? inode->node->removed : 0;
    bool as_range = directory && inode && goes_as_range(fs, inode->node);
    status = delete_entry(fs, parent, &entry, inode, as_range);
    finish_gone(fs, inode, status == PLSM_OK);
    if (status == PLSM_OK) {
        directory_kept(parent);
        names_removed(parent, as_range ? 1 : below + 1);
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
