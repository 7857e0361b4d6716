/* The directory a store is mounted on. */
#ifndef FS_MOUNTPOINT_H
#define FS_MOUNTPOINT_H

#include "base/bytes.h"

/* Makes an absolute path of DIRECTORY, cleans away a dead mount that a killed daemon left there, and checks that it
 * is a directory on which no plsm store is mounted and that /dev/fuse can be used. *path is allocated, terminated,
 * and the caller's to free with mem_free. Fails with a message for the user. */
plsm_status mountpoint_prepare(const char *directory, char **path);

/* Mounts by `mount` (with `arg`), which returns 0 or not, and collects what it and fusermount3 say on standard error
 * into one line. */
plsm_status mountpoint_mount(const char *path, int (*mount)(void *arg, const char *path), void *arg);

#endif
