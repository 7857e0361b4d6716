/* Set-id bits and capabilities, which a change of content or owner takes from a file. The kernel leaves the bits to us
 * (FUSE_CAP_HANDLE_KILLPRIV), without saying who is in which group, and tells of a write, and of a chown that names no
 * owner, by one and the same setattr, with nothing to set. Who has the file open for writing is taken for who writes,
 * and where nobody opens files (fs/file.h), who may write it. */
#ifndef FS_PRIVILEGES_H
#define FS_PRIVILEGES_H

#include <fuse_lowlevel.h>

#include "fs/inode.h"

/* Takes from the mode what a change by the caller takes: set-uid, and set-gid where the group may execute or he is not
 * in it; nothing from directories. */
void privileges_drop(fuse_req_t req, struct attr *attr);
/* The same for a setattr with nothing to set; with the lock of the inode, whose attributes are there. Returns 0, or
 * EPERM for a chown by somebody else that would take something. */
int privileges_drop_untold(fuse_req_t req, struct inode *inode);

#endif
