/* What the operations on open files share; see fs/ops.h for locks. */
#ifndef FS_FILE_H
#define FS_FILE_H

#include <fuse_lowlevel.h>

#include "fs/inode.h"

static inline struct inode *inode_of(const struct fuse_file_info *fi)
{
    return (struct inode *)(uintptr_t)fi->fh;
}

/* The errno a caller gets for a failed write. */
int write_errno(struct fs *fs, plsm_status status);
/* What a failure to get at a file's content means. */
int content_errno(struct fs *fs, const struct inode *inode, plsm_status status);
/* Reads or writes at an offset; with the lock of the inode. *got is less than `size` only at the end. What a write has
 * failed with is kept in the inode: fs/inode.h. */
plsm_status read_content(struct fs *fs, struct inode *inode, uint64_t offset, void *data, size_t size, size_t *got);
plsm_status write_content(struct fs *fs, struct inode *inode, uint64_t offset, const void *data, size_t size);

#endif
