/* What main.c needs of the session beside fs_serve (fs/fs.h). */
#ifndef FS_SESSION_H
#define FS_SESSION_H

struct fuse_lowlevel_ops;

const struct fuse_lowlevel_ops *session_operations(void);

/* Blocks the signals that end the daemon, before any thread starts: one thread waits for them. */
void session_block_signals(void);

#endif
