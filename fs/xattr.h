/* Extended attributes, with the mount option xattr.
 *
 * Without it the four operations are not in libfuse's table: the kernel gets ENOSYS once and never asks again. With it
 * each file that is written costs a message more (the kernel asks for security.capability), and each entry of `ls -l`
 * two.
 *
 * Each attribute is an entry of its own in the keyspace PLSM_INTERNAL:
 *   key     "fs.xattr" (8 bytes), id (8 bytes, big-endian), name (1 to 255 bytes, none of them NUL)
 *   meta    empty
 *   value   the value of the attribute, 0 to 65,536 bytes
 * The id stands in the attributes of the file (`xattrs` in fs/attr.h), whose meta follows it wherever it is moved; it
 * is given at the first attribute and never again: the inode number, or a new identifier where that is only made up
 * from the key. So an entry without the id has none, which costs no read. The first attribute is written in one batch
 * with the meta that holds the id, and all go in one batch with the name (fs/xattr_sweep.h: how, where the name does
 * not go through the kernel). Another layout will have another prefix.
 *
 * user.plsm.NAME are made up when asked for by name, read-only, and not listed, so that no copy takes them along
 * (fs/xattr_virtual.c): level, run, page, prediction, sha256.
 *
 * Namespaces: user.*, trusted.* (root alone: the kernel sees to it; hidden from lists of others), security.*; all else,
 * ACLs above all (system.posix_acl_*), is EOPNOTSUPP. security.capability goes when content or owner change. */
#ifndef FS_XATTR_H
#define FS_XATTR_H

#include "fs/inode.h"

enum { XATTR_NAME_SIZE_MAX = 255, XATTR_VALUE_SIZE_MAX = 65536, XATTR_LIST_BYTES_MAX = 65536 };
#define XATTR_RECORDS "fs.xattr" /* what the key of each record begins with */
#define XATTR_VIRTUAL_PREFIX "user.plsm."

/* Adds to `batch` the removal of all that is kept under an id; nothing for 0. Errors as reading the store. */
plsm_status xattr_delete_all(struct fs *fs, uint64_t id, plsm_batch *batch);

/* Before content or owner change: takes security.capability away, with the lock of the inode. Also in mounts without
 * the option. */
plsm_status xattr_drop_capability(struct fs *fs, struct inode *inode);

/* The value of user.plsm.NAME for the entry with that key, or for a shared value when `shared` is not 0 (fs/link.h; it
 * has a digest, but stands at none of its names), to `out` (appended). *known false: there is no such one.
 * `no_value`: only its size matters, any bytes will do. PLSM_NOT_FOUND: this entry does not have it. */
plsm_status xattr_virtual(struct fs *fs, plsm_slice key, uint64_t shared, const char *name, bool no_value,
                          struct buf *out, bool *known);

#endif
