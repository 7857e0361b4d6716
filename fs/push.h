/* Content that goes to the kernel before it asks: whoever opens a small file to read it finds its pages there.
 *
 * A message costs the reader a wake-up of the daemon and one back, many times what a small value takes to copy
 * (FUSE_NOTIFY_STORE, which nobody waits for). So opening is one message and reading none, also where a tree is read in
 * order by tar or grep -r, and nothing is pushed that is only listed.
 *
 * The kernel takes the pages of a file for itself while it waits for a read or a write of them, and a push waits for
 * the pages. So only a file that nobody else has open is pushed to, while the lock of its inode keeps other opens
 * waiting: then no read or write of it is under way, nobody writes to it meanwhile, and what is pushed is the newest
 * content. */
#ifndef FS_PUSH_H
#define FS_PUSH_H

#include "fs/inode.h"

/* The largest content that is pushed: larger ones are often opened for a part of them. */
enum { PUSH_SIZE_MAX = 32 << 10 };

/* Gives the kernel the content of a file that has just been opened for reading, if it is small and the kernel has not
 * been given it before. Failures are for the reads to tell. With the lock of the inode and the tree lock shared; the
 * new handle counts already. */
void push_content(struct fs *fs, struct inode *inode);

#endif
