/* Records of extended attributes (fs/xattr.h) whose file goes without the mount. A name that the kernel removes takes
 * them along by itself; these are the other ways:
 *   - changes from outside while the store is mounted (fs/commit.h): the removal is in the same batch;
 *   - the library and the commands on a store that is not mounted, which know nothing of attributes, and files that
 *     expire: a thread looks for such records after each mount with the option xattr.
 *
 * Why that thread can go on while the mount serves. It has a snapshot from before the first request. A record is one of
 * nobody when no entry of the snapshot has its id, neither as that of its records nor as its inode number (by which the
 * first attribute is kept). Identifiers are given once: so whoever is to have that id later must have it from an entry
 * of then, and there is none. It costs a walk over all names without their values, but only where there are records. */
#ifndef FS_XATTR_SWEEP_H
#define FS_XATTR_SWEEP_H

#include "fs/fs.h"

struct xattr_sweep;

/* Adds to `batch` the removal of all records of files that it replaces or removes. Those of a file that shares its
 * content with other names stay, and those of one that a process has unpublished content of, which will publish it with
 * its attributes. Exclusive tree lock. Errors as reading the store. */
plsm_status xattr_drop_replaced(struct fs *fs, plsm_batch *batch);
/* The same for one key that is to be replaced by other means. */
plsm_status xattr_drop_of(struct fs *fs, plsm_slice key, plsm_batch *batch);

/* Begins to look; before the first request. *out is NULL when there are no records. PLSM_NO_MEMORY, and errors as
 * reading the store. */
plsm_status xattr_sweep_start(struct fs *fs, struct xattr_sweep **out);
/* Ends it, done or not. Accepts NULL. */
void xattr_sweep_end(struct xattr_sweep *sweep);
/* Waits until it is done; *removed becomes the number of ids whose records are gone. For tests. */
plsm_status xattr_sweep_wait(struct xattr_sweep *sweep, uint64_t *removed);

#endif
