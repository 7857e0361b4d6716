/* What main.c needs of the session beside fs_serve (fs/fs.h). */
#ifndef FS_SESSION_H
#define FS_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include <fuse_lowlevel.h>

/* What libfuse calls; those for extended attributes only where they are wanted. */
struct fuse_lowlevel_ops session_operations(bool xattr);

/* Flags of INIT for transport_create: lookups and listings of one directory side by side, and no getattr with each
 * chown. */
uint32_t session_init_flags(void);

/* Blocks the signals that end the daemon, before any thread starts: one thread waits for them. */
void session_block_signals(void);

#endif
