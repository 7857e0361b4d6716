#include "fs/attr.h"

#include <assert.h>
#include <stdbool.h>

#include "base/bytes.h"
#include "base/error.h"
#include "store/plsm.h"
#include "base/banned.h"

enum { ATTR_VERSION = 1, ATTR_VERSION_SHIFT = 5, ATTR_CODE_MASK = 31 };

enum attr_flags {
    ATTR_UID = 1,
    ATTR_GID = 2,
    ATTR_CTIME = 4,
    ATTR_ATIME = 8,
    ATTR_RDEV = 16,
    ATTR_WIDE_TIMES = 32,
    ATTR_XATTRS = 128,
    ATTR_FLAGS_ALL = 63 | ATTR_XATTRS
};

/* Modes with a code of their own, by code - 1. Part of the format: only append, 31 at most. These cover all but a few
 * of the files of a Debian installation and of home directories with the usual umasks. */
static const uint16_t mode_codes[] = {
    0100644, 0040755, 0100755, 0120777,         0100664, 0040775, 0100775, 0100600, 0040700, 0100444, 0100640, 0040750,
    0100666, 0040777, 0100777, 0100755 | 04000, 0041777, 0100400, 0100660, 0040770, 0100700, 0100555, 0042775,
};
static_assert(sizeof mode_codes / sizeof mode_codes[0] <= ATTR_CODE_MASK, "a code fits its bits");
static_assert((int)ATTR_SIZE_MAX <= (int)PLSM_META_MAX, "attributes fit the meta of an entry");

static const int64_t narrow_seconds_min = -(INT64_C(1) << 33), narrow_seconds_end = INT64_C(1) << 33;

static bool time_equal(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool time_narrow(struct timespec t)
{
    return t.tv_sec >= narrow_seconds_min && t.tv_sec < narrow_seconds_end;
}

static uint8_t *put_time(uint8_t *to, struct timespec t, bool wide)
{
    if (wide) {
        put_u64(to, (uint64_t)t.tv_sec);
        put_u32(to + 8, (uint32_t)t.tv_nsec);
        return to + 12;
    }
    put_u64(to, (uint64_t)(t.tv_sec - narrow_seconds_min) << 30 | (uint64_t)t.tv_nsec);
    return to + 8;
}

static const uint8_t *get_time(const uint8_t *from, const uint8_t *end, struct timespec *t, bool wide)
{
    size_t size = wide ? 12 : 8;
    if (!from || (size_t)(end - from) < size)
        return NULL;
    if (wide) {
        t->tv_sec = (int64_t)get_u64(from);
        t->tv_nsec = get_u32(from + 8);
    } else {
        uint64_t packed = get_u64(from);
        t->tv_sec = (int64_t)(packed >> 30) + narrow_seconds_min;
        t->tv_nsec = (long)(packed & ((1u << 30) - 1));
    }
    return t->tv_nsec < 1000000000 ? from + size : NULL;
}

size_t attr_encode(const struct attr *attr, uint8_t *to)
{
    uint8_t *at = to + 2, flags = 0, code = 0;
    INVARIANT(attr->mode <= UINT16_MAX && attr->mtime.tv_nsec < 1000000000 && attr->ctime.tv_nsec < 1000000000 &&
              attr->atime.tv_nsec < 1000000000);
    for (uint8_t i = 0; i < sizeof mode_codes / sizeof mode_codes[0] && !code; i++)
        if (mode_codes[i] == attr->mode)
            code = (uint8_t)(i + 1);
    if (!code)
        at = put_varint(at, attr->mode);
    at = put_varint(at, attr->ino);
    if (attr->uid) {
        flags |= ATTR_UID;
        at = put_varint(at, attr->uid);
    }
    if (attr->gid != attr->uid) {
        flags |= ATTR_GID;
        at = put_varint(at, attr->gid);
    }
    bool wide = !time_narrow(attr->mtime) || !time_narrow(attr->ctime) || !time_narrow(attr->atime);
    if (wide)
        flags |= ATTR_WIDE_TIMES;
    at = put_time(at, attr->mtime, wide);
    if (!time_equal(attr->ctime, attr->mtime)) {
        flags |= ATTR_CTIME;
        at = put_time(at, attr->ctime, wide);
    }
    if (!time_equal(attr->atime, attr->mtime)) {
        flags |= ATTR_ATIME;
        at = put_time(at, attr->atime, wide);
    }
    if (attr->rdev) {
        flags |= ATTR_RDEV;
        at = put_varint(at, attr->rdev);
    }
    if (attr->xattrs) {
        flags |= ATTR_XATTRS;
        at = put_varint(at, attr->xattrs);
    }
    to[0] = (uint8_t)(ATTR_VERSION << ATTR_VERSION_SHIFT | code);
    to[1] = flags;
    INVARIANT(at - to <= ATTR_SIZE_MAX);
    return (size_t)(at - to);
}

/* A varint that fits 32 bits; passes NULL on, so that a chain of reads needs one check at its end. */
static const uint8_t *get_u32_varint(const uint8_t *from, const uint8_t *end, uint32_t *value)
{
    uint64_t wide = 0;
    from = from ? get_varint(from, end, &wide) : NULL;
    *value = (uint32_t)wide;
    return wide <= UINT32_MAX ? from : NULL;
}

plsm_status attr_decode(plsm_slice meta, struct attr *attr)
{
    const uint8_t *at = meta.data, *end = at + meta.size;
    *attr = (struct attr){0};
    if (meta.size < 2)
        return fail(PLSM_CORRUPT, "attributes of %zu bytes: at least 2 are needed", meta.size);
    if (at[0] >> ATTR_VERSION_SHIFT != ATTR_VERSION || at[1] & ~ATTR_FLAGS_ALL)
        return fail(PLSM_VERSION, "attributes have version %d and flags %#x: this plsm knows version %d and flags %#x",
                    at[0] >> ATTR_VERSION_SHIFT, at[1], ATTR_VERSION, ATTR_FLAGS_ALL);
    unsigned code = at[0] & ATTR_CODE_MASK, flags = at[1];
    if (code > sizeof mode_codes / sizeof mode_codes[0])
        return fail(PLSM_VERSION, "attributes have the unknown mode code %u", code);
    bool wide = flags & ATTR_WIDE_TIMES;
    at += 2;
    if (code)
        attr->mode = mode_codes[code - 1];
    else
        at = get_u32_varint(at, end, &attr->mode);
    at = at ? get_varint(at, end, &attr->ino) : NULL;
    if (flags & ATTR_UID)
        at = get_u32_varint(at, end, &attr->uid);
    attr->gid = attr->uid;
    if (flags & ATTR_GID)
        at = get_u32_varint(at, end, &attr->gid);
    at = get_time(at, end, &attr->mtime, wide);
    attr->ctime = attr->atime = attr->mtime;
    if (flags & ATTR_CTIME)
        at = get_time(at, end, &attr->ctime, wide);
    if (flags & ATTR_ATIME)
        at = get_time(at, end, &attr->atime, wide);
    if (flags & ATTR_RDEV)
        at = at ? get_varint(at, end, &attr->rdev) : NULL;
    if (flags & ATTR_XATTRS)
        at = at ? get_varint(at, end, &attr->xattrs) : NULL;
    if (at != end || attr->mode > UINT16_MAX)
        return fail(PLSM_CORRUPT, "attributes of %zu bytes end too early, too late or hold a value out of range",
                    meta.size);
    return PLSM_OK;
}

void attr_drop_privileges(struct attr *attr, bool in_group)
{
    if (S_ISDIR(attr->mode))
        return;
    attr->mode &= ~(uint32_t)S_ISUID;
    if (attr->mode & S_IXGRP || !in_group)
        attr->mode &= ~(uint32_t)S_ISGID;
}

void attr_to_stat(const struct attr *attr, uint64_t size, struct stat *st)
{
    bool directory = S_ISDIR(attr->mode);
    *st = (struct stat){.st_ino = attr->ino,
                        .st_mode = attr->mode,
                        .st_nlink = 1 + (nlink_t)attr->other_names,
                        .st_uid = attr->uid,
                        .st_gid = attr->gid,
                        .st_rdev = attr->rdev,
                        .st_size = directory ? 4096 : (off_t)size,
                        .st_blksize = 4096,
                        .st_blocks = directory ? 0 : (blkcnt_t)((size - attr->holes + 511) / 512),
                        .st_atim = attr->atime,
                        .st_mtim = attr->mtime,
                        .st_ctim = attr->ctime};
}
