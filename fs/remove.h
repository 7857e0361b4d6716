/* What removing and renaming over a name have in common. All under the exclusive tree lock. */
#ifndef FS_REMOVE_H
#define FS_REMOVE_H

#include "fs/entry.h"
#include "fs/inode.h"
#include "fs/link.h"

/* Before the name of `node` (NULL: none) goes: sees to it that who has it open keeps attributes and content. *inode is
 * for finish_gone, which must follow with whether the name has gone. (The file may have other names: fs/link.h.) Where
 * files are not opened, anybody may have it open; most likely nobody has, so content that cannot be read may go. */
plsm_status prepare_gone(struct fs *fs, struct node *node, const struct entry *entry, struct inode **inode);
void finish_gone(struct fs *fs, struct inode *inode, bool gone);

/* The node of a file whose name `entry` was not found under, since it has expired or a batch has deleted it while it
 * was written, goes as if it had been unlinked; does nothing when there is none. */
plsm_status remove_vanished_file(struct fs *fs, struct node *parent, const struct entry *entry);
/* The same by name; takes the exclusive tree lock itself. Returns 0 or an errno value. */
int drop_vanished(struct fs *fs, struct node *parent, const char *name);

/* Counts deletions in the store of names in or below `parent`: new ones, or those that a directory which has gone from
 * there has counted until now. */
void names_removed(struct node *parent, uint32_t count);

/* After the batch with keep_directory was written. */
static inline void directory_kept(struct node *parent)
{
    while (parent->flags & NODE_SYNTHETIC)
        parent = node_parent(parent);
    atomic_fetch_and(&parent->flags, (uint8_t)~NODE_IMPLIED);
}

#endif
