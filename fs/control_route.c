/* The way of each request: to the control surface, to a view of a snapshot, or to the mount itself. One table of its
 * own
 * in front of the operations, so that none of those need know of control nodes. */
#include <errno.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "fs/control_ops.h"
#include "fs/control_private.h"
#include "fs/ops.h"
#include "base/banned.h"

static struct fuse_lowlevel_ops inner;

enum way { TO_MOUNT, TO_CONTROL, TO_VIEW };

static enum way way_of(fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID || !(ino & TAG_MASK) ? TO_MOUNT : ino & TAG_CONTROL ? TO_CONTROL : TO_VIEW;
}

static bool is_found(fuse_ino_t ino)
{
    return ino != FUSE_ROOT_ID && (ino & TAG_MASK) == TAG_FOUND;
}

/* What a lookup has found stands for the handle of an open file. */
static uint64_t found_in(fuse_ino_t ino)
{
    return ino & ~(fuse_ino_t)TAG_MASK;
}

static struct fuse_file_info *with_found(fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (is_found(ino))
        fi->fh = found_in(ino);
    return fi;
}

/* The mode of .plsm keeps others out already; this is in case someone has a directory of it open or as the current
 * one. */
static bool permitted(fuse_req_t req)
{
    uid_t uid = fuse_req_ctx(req)->uid;
    return uid == 0 || uid == fs_of(req)->owner;
}

static struct node *node_in(fuse_ino_t ino)
{
    return (struct node *)((uintptr_t)ino & ~(uintptr_t)TAG_MASK);
}

/* ROUTED(NAME, PARAMETERS, ARGUMENTS, INO, CONTROL, VIEW): sends to the mount, or does CONTROL or VIEW, if permitted.
 * */
#define ROUTED(name, parameters, arguments, ino, on_control, on_view)                                                  \
    static void routed_##name parameters                                                                               \
    {                                                                                                                  \
        enum way way = way_of(ino);                                                                                    \
        if (way == TO_MOUNT)                                                                                           \
            inner.name arguments;                                                                                      \
        else if (!permitted(req))                                                                                      \
            fuse_reply_err(req, EACCES);                                                                               \
        else if (way == TO_CONTROL)                                                                                    \
            on_control;                                                                                                \
        else                                                                                                           \
            on_view;                                                                                                   \
    }
#define REFUSE(code) fuse_reply_err(req, code)
#define NODE node_in(ino)

static void routed_lookup(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    enum way way = way_of(ino);
    if (way == TO_MOUNT && ino == FUSE_ROOT_ID && name_reserved(&fs_of(req)->nodes.root, name))
        control_lookup(req, NULL, name);
    else if (way == TO_MOUNT)
        inner.lookup(req, ino, name);
    else if (!permitted(req))
        fuse_reply_err(req, EACCES);
    else if (way == TO_CONTROL)
        control_lookup(req, NODE, name);
    else
        past_lookup(req, NODE, name);
}

/* False: it is the mount's. */
static bool forget_one(struct fs *fs, fuse_ino_t ino, uint64_t lookups)
{
    enum way way = way_of(ino);
    if (is_found(ino))
        control_forget_found(fs, found_in(ino));
    else if (way == TO_CONTROL)
        control_forget(fs, NODE, lookups);
    else if (way == TO_VIEW)
        past_forget(fs, NODE, lookups);
    return way != TO_MOUNT;
}

static void routed_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
    if (forget_one(fs_of(req), ino, lookups))
        fuse_reply_none(req);
    else
        inner.forget(req, ino, lookups);
}

static void routed_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!forget_one(fs_of(req), forgets[i].ino, forgets[i].nlookup))
            forgets[kept++] = forgets[i];
    if (kept > 0)
        inner.forget_multi(req, kept, forgets);
    else
        fuse_reply_none(req);
}

static void routed_rename(fuse_req_t req, fuse_ino_t ino, const char *name, fuse_ino_t new_ino, const char *new_name,
                          unsigned flags)
{
    if (way_of(ino) == TO_MOUNT && way_of(new_ino) == TO_MOUNT)
        inner.rename(req, ino, name, new_ino, new_name, flags);
    else
        fuse_reply_err(req, way_of(ino) == TO_VIEW || way_of(new_ino) == TO_VIEW ? EROFS : EPERM);
}

static void routed_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_ino, const char *new_name)
{
    if (way_of(ino) == TO_MOUNT && way_of(new_ino) == TO_MOUNT)
        inner.link(req, ino, new_ino, new_name);
    else
        fuse_reply_err(req, way_of(new_ino) == TO_VIEW ? EROFS : EPERM);
}

static void routed_copy_file_range(fuse_req_t req, fuse_ino_t ino, off_t offset, struct fuse_file_info *fi,
                                   fuse_ino_t out, off_t out_offset, struct fuse_file_info *out_fi, size_t size,
                                   int flags)
{
    if (way_of(ino) == TO_MOUNT && way_of(out) == TO_MOUNT)
        inner.copy_file_range(req, ino, offset, fi, out, out_offset, out_fi, size, flags);
    else
        fuse_reply_err(req, EOPNOTSUPP); /* the kernel then reads and writes */
}

static void routed_statfs(fuse_req_t req, fuse_ino_t ino)
{
    inner.statfs(req, FUSE_ROOT_ID);
}

ROUTED(getattr, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi), ino,
       is_found(ino) ? control_getattr_found(req, found_in(ino)) : control_getattr(req, NODE), past_getattr(req, NODE))
ROUTED(setattr, (fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi),
       (req, ino, st, to_set, fi), ino,
       is_found(ino) ? control_setattr_found(req, found_in(ino), to_set) : control_setattr(req, NODE, to_set),
       REFUSE(EROFS))
ROUTED(readlink, (fuse_req_t req, fuse_ino_t ino), (req, ino), ino, REFUSE(EINVAL), past_readlink(req, NODE))
ROUTED(mknod, (fuse_req_t req, fuse_ino_t ino, const char *name, mode_t mode, dev_t rdev), (req, ino, name, mode, rdev),
       ino, REFUSE(EPERM), REFUSE(EROFS))
ROUTED(mkdir, (fuse_req_t req, fuse_ino_t ino, const char *name, mode_t mode), (req, ino, name, mode), ino,
       control_mkdir(req, NODE, name), REFUSE(EROFS))
ROUTED(unlink, (fuse_req_t req, fuse_ino_t ino, const char *name), (req, ino, name), ino, REFUSE(EPERM), REFUSE(EROFS))
ROUTED(rmdir, (fuse_req_t req, fuse_ino_t ino, const char *name), (req, ino, name), ino, control_rmdir(req, NODE, name),
       REFUSE(EROFS))
ROUTED(symlink, (fuse_req_t req, const char *target, fuse_ino_t ino, const char *name), (req, target, ino, name), ino,
       REFUSE(EPERM), REFUSE(EROFS))
ROUTED(create, (fuse_req_t req, fuse_ino_t ino, const char *name, mode_t mode, struct fuse_file_info *fi),
       (req, ino, name, mode, fi), ino, REFUSE(EPERM), REFUSE(EROFS))
ROUTED(open, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi), ino,
       control_open(req, NODE, fi), past_open(req, NODE, fi))
ROUTED(opendir, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi), ino,
       control_opendir(req, NODE, fi), past_opendir(req, NODE, fi))
ROUTED(setxattr, (fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags),
       (req, ino, name, value, size, flags), ino, REFUSE(EPERM), REFUSE(EROFS))
ROUTED(getxattr, (fuse_req_t req, fuse_ino_t ino, const char *name, size_t size), (req, ino, name, size), ino,
       REFUSE(ENODATA), REFUSE(ENODATA))
ROUTED(removexattr, (fuse_req_t req, fuse_ino_t ino, const char *name), (req, ino, name), ino, REFUSE(EPERM),
       REFUSE(EROFS))
ROUTED(fallocate, (fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t size, struct fuse_file_info *fi),
       (req, ino, mode, offset, size, fi), ino, REFUSE(EOPNOTSUPP), REFUSE(EROFS))
ROUTED(lseek, (fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi),
       (req, ino, offset, whence, fi), ino, REFUSE(EINVAL), REFUSE(EINVAL))

static void routed_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    if (way_of(ino) == TO_MOUNT)
        inner.listxattr(req, ino, size);
    else if (size == 0)
        fuse_reply_xattr(req, 0);
    else
        fuse_reply_buf(req, NULL, 0);
}

/* What follows an open was permitted then. */
#undef ROUTED
#define ROUTED(name, parameters, arguments, on_control, on_view)                                                       \
    static void routed_##name parameters                                                                               \
    {                                                                                                                  \
        enum way way = way_of(ino);                                                                                    \
        if (way == TO_MOUNT)                                                                                           \
            inner.name arguments;                                                                                      \
        else if (way == TO_CONTROL)                                                                                    \
            on_control;                                                                                                \
        else                                                                                                           \
            on_view;                                                                                                   \
    }

ROUTED(read, (fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi),
       (req, ino, size, offset, fi), control_read(req, size, offset, with_found(ino, fi)),
       past_read(req, NODE, size, offset, fi))
ROUTED(write, (fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset, struct fuse_file_info *fi),
       (req, ino, data, size, offset, fi), control_write(req, slice(data, size), offset, with_found(ino, fi)),
       REFUSE(EROFS))
ROUTED(flush, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi), control_flush(req, fi),
       REFUSE(0))
ROUTED(fsync, (fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi), (req, ino, data_only, fi),
       control_fsync(req, with_found(ino, fi)), REFUSE(0))
ROUTED(release, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi), control_release(req, fi),
       past_release(req, NODE, fi))
ROUTED(readdir, (fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi),
       (req, ino, size, offset, fi), control_readdir(req, NODE, size, offset, fi, false),
       past_readdir(req, NODE, size, offset, fi, false))
ROUTED(readdirplus, (fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi),
       (req, ino, size, offset, fi), control_readdir(req, NODE, size, offset, fi, true),
       past_readdir(req, NODE, size, offset, fi, true))
ROUTED(releasedir, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi),
       control_releasedir(req, fi), past_releasedir(req, NODE, fi))
ROUTED(fsyncdir, (fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi), (req, ino, data_only, fi),
       REFUSE(0), REFUSE(0))

struct fuse_lowlevel_ops control_route(const struct fuse_lowlevel_ops *operations)
{
    inner = *operations;
    struct fuse_lowlevel_ops routed = inner;
    /* Only those that the mount has: libfuse answers for the others, on all nodes alike. */
#define SEND(name)                                                                                                     \
    if (inner.name)                                                                                                    \
    routed.name = routed_##name
    SEND(lookup);
    SEND(forget);
    SEND(forget_multi);
    SEND(getattr);
    SEND(setattr);
    SEND(readlink);
    SEND(mknod);
    SEND(mkdir);
    SEND(unlink);
    SEND(rmdir);
    SEND(symlink);
    SEND(rename);
    SEND(link);
    SEND(create);
    SEND(open);
    SEND(read);
    SEND(write);
    SEND(flush);
    SEND(release);
    SEND(fsync);
    SEND(opendir);
    SEND(readdir);
    SEND(readdirplus);
    SEND(releasedir);
    SEND(fsyncdir);
    SEND(statfs);
    SEND(setxattr);
    SEND(getxattr);
    SEND(listxattr);
    SEND(removexattr);
    SEND(fallocate);
    SEND(lseek);
    SEND(copy_file_range);
#undef SEND
    return routed;
}
