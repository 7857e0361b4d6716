/* The attributes of a file as they stand in the meta of its entry.
 *
 * Layout, all numbers little-endian, varints as in base/bytes.h:
 *   u8      bits 5..7: version, 1; bits 0..4: code of the mode (attr.c lists them), 0: the mode follows as a varint
 *   u8      flags: which of the following are there (enum attr_flags in attr.c); unknown ones are an error
 *   [varint mode]          when its code is 0: type and permissions as in st_mode, at most 16 bits
 *   varint  inode number
 *   [varint uid]           otherwise 0
 *   [varint gid]           otherwise equal to uid
 *   time    mtime
 *   [time   ctime]         otherwise equal to mtime
 *   [time   atime]         otherwise equal to mtime
 *   [varint rdev]          of device files, otherwise 0
 *   [varint xattrs]        the id under which extended attributes are kept (fs/xattr.h), otherwise 0: there are none
 * A time is a u64: (seconds + 2^33) << 30 | nanoseconds, good for the years 1698 to 2242; with the flag ATTR_WIDE_TIMES
 * each time of this entry is an i64 of seconds and a u32 of nanoseconds instead.
 *
 * So the file of an ordinary user takes about 15 bytes and one of root's 13. The size is not here: the store tells it,
 * as it does how many names a file has. An entry without meta (put through the library) has the attributes that the
 * caller makes up; see fs/inode.h. */
#ifndef FS_ATTR_H
#define FS_ATTR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "base/slice.h"
#include "base/status.h"

struct attr {
    uint64_t ino;
    uint32_t mode; /* type and permissions, as st_mode */
    uint32_t uid, gid;
    uint64_t rdev; /* as makedev() gives it */
    uint64_t xattrs; /* id of the records of extended attributes; 0: it never had any */
    struct timespec mtime, ctime, atime;
    uint64_t holes; /* bytes of the content that take no space; not in the meta: whoever knows sets it */
    uint32_t other_names; /* hard links beside this name: not in the meta, the store tells it too */
    uint64_t expires_s; /* of the entry: not in its meta; 0: never */
};

enum { ATTR_SIZE_MAX = 2 + 3 + 10 + 5 + 5 + 3 * 12 + 10 + 10 };

/* Writes the meta of `attr` to `to`, which has ATTR_SIZE_MAX bytes of room; returns its size. Nanoseconds must be below
 * 10^9 and the mode within 16 bits. */
size_t attr_encode(const struct attr *attr, uint8_t *to);

/* PLSM_VERSION: written by a later version of plsm. PLSM_CORRUPT: not attributes. */
plsm_status attr_decode(plsm_slice meta, struct attr *attr);

/* What a change of owner, or of content by somebody else than root, takes from the mode: set-uid, and set-gid where the
 * group may execute or who makes the change is not in it; nothing from directories. */
void attr_drop_privileges(struct attr *attr, bool in_group);

/* Fills *st as stat(2) shows a file of `size` bytes. */
void attr_to_stat(const struct attr *attr, uint64_t size, struct stat *st);

#endif
