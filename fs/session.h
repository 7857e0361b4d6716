/* What main.c needs of the session beside fs_serve (fs/fs.h). */
#ifndef FS_SESSION_H
#define FS_SESSION_H

#include <stdbool.h>

#include <fuse_lowlevel.h>

/* What libfuse calls; those for extended attributes only where they are wanted. */
struct fuse_lowlevel_ops session_operations(bool xattr);

/* Blocks the signals that end the daemon, before any thread starts: one thread waits for them. */
void session_block_signals(void);

#endif
