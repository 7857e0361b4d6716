/* What the operations on open files share; see fs/ops.h for locks.
 *
 * With publish=write files are not opened where the kernel can do without (fs->no_open): open and flush are answered
 * ENOSYS, after which it sends neither them nor releases, for no file of the mount, also not for those that it creates.
 * Then there are no handles. Each request finds the inode by its node, publishes what it changes, and lets go of the
 * inode; what fails is dropped at once. Nobody tells who has a file open, so
 *   - the content of a file that is unlinked or replaced is kept, as an edit, until the kernel forgets the node, which
 *     it does with the last close (fs/remove.c);
 *   - any file may be mapped for writing (fs/space.c), and who may write a file counts as who writes (fs/privileges.c);
 *   - nothing is pushed (fs/push.h), and a store whose files expire is mounted with handles, as who has a file open
 *     goes on reading it; in others a file whose key alone expires (plsm_put_expiring) is then ESTALE for who has it;
 *   - files below .plsm are another node at each lookup (fs/control.h).
 * Directories are opened all the same: where a listing goes on at each cookie is kept with the open directory
 * (fs/list.c). Without opendir the kernel also keeps listings itself, and `ls -l` becomes a lookup for each entry. */
#ifndef FS_FILE_H
#define FS_FILE_H

#include <fuse_lowlevel.h>

#include "fs/inode.h"

/* Begins a request on an open file: shares the tree lock, and locks the inode. NULL: no memory, and nothing to end. */
struct inode *file_begin(struct fs *fs, fuse_ino_t ino, const struct fuse_file_info *fi);
void file_end(struct fs *fs, struct inode *inode);
/* The inode of an open file, without its lock, for file_put, both with the tree lock shared. NULL: no memory. */
struct inode *file_get(struct fs *fs, fuse_ino_t ino, const struct fuse_file_info *fi);
void file_put(struct fs *fs, struct inode *inode); /* accepts NULL */
/* The errno a caller gets for a failed write. */
int write_errno(struct fs *fs, plsm_status status);
/* What a failure to get at a file's content means. */
int content_errno(struct fs *fs, const struct inode *inode, plsm_status status);
/* Reads or writes at an offset; with the lock of the inode. *got is less than `size` only at the end. What a write has
 * failed with is kept in the inode: fs/inode.h. */
plsm_status read_content(struct fs *fs, struct inode *inode, uint64_t offset, void *data, size_t size, size_t *got);
plsm_status write_content(struct fs *fs, struct inode *inode, uint64_t offset, const void *data, size_t size);

#endif
