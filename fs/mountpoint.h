/* The directory a store is mounted on. */
#ifndef FS_MOUNTPOINT_H
#define FS_MOUNTPOINT_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/bytes.h"

/* An absolute path without symbolic links. What it names need not be there, or may be a dead mount, but the directory
 * that it is in must be. `what` says in a message what the path is for. *out is allocated, terminated, and the caller's
 * to free with mem_free. */
plsm_status absolute_path(const char *given, const char *what, char **out);

/* Whether `path` is `directory` or below it, both as absolute_path gives them. */
bool path_is_within(const char *path, const char *directory);

/* Makes an absolute path of DIRECTORY, cleans away a dead mount that a killed daemon left there, and checks that it
 * is a directory on which no plsm store is mounted and that /dev/fuse can be used. *path is allocated, terminated,
 * and the caller's to free with mem_free. Fails with a message for the user. */
plsm_status mountpoint_prepare(const char *directory, char **path);

/* Where a store, by its absolute path, is mounted in this mount namespace: allocated, the caller's to free with
 * mem_free; NULL: nowhere. The mount may be dead. */
char *mountpoint_of_store(const char *store);

/* The device number of what is mounted on `directory`; 0: it cannot be told. Asks a daemon nothing. */
dev_t mountpoint_device(const char *directory);
/* Whether anything is mounted inside of the file system with this device number, by whatever path, in this mount
 * namespace; true also when that cannot be told. */
bool mountpoint_has_mounts(dev_t device);

/* Makes the mount on `directory` read-only or not, and changes its flags by a list of mount options as libfuse takes
 * them ("nosuid,exec"); flags that are not in it stay. The daemon goes on as it is. Fails with a message for the user:
 * no plsm store is mounted there, not root, the store itself was opened read-only, files are open for writing. */
plsm_status mountpoint_remount(const char *directory, bool read_only, const char *list);

/* Mounts by `mount` (with `arg`), which returns 0 or not, and collects what it and fusermount3 say on standard error
 * into one line. */
plsm_status mountpoint_mount(const char *path, int (*mount)(void *arg, const char *path), void *arg);

#endif
