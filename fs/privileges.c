/* Set-id bits. See privileges.h. */
#include "fs/privileges.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/banned.h"

/* As the kernel of each process tells it; nobody knows of one that is gone or in another namespace. */
static bool is_in_other_groups(fuse_req_t req, uint32_t gid)
{
    int count = fuse_req_getgroups(req, 0, NULL), i = 0;
    gid_t *groups = count > 0 ? mem_alloc((size_t)count * sizeof *groups) : NULL;
    int known = groups ? fuse_req_getgroups(req, count, groups) : 0;
    known = known < count ? known : count;
    while (i < known && groups[i] != gid)
        i++;
    mem_free(groups);
    return i < known;
}

static bool is_root(fuse_req_t req)
{
    return fuse_req_ctx(req)->uid == 0;
}

void privileges_drop(fuse_req_t req, struct attr *attr)
{
    bool asks = (attr->mode & (S_ISGID | S_IXGRP)) == S_ISGID; /* otherwise the group does not matter */
    attr_drop_privileges(
        attr, asks && (is_root(req) || fuse_req_ctx(req)->gid == attr->gid || is_in_other_groups(req, attr->gid)));
}

/* Whether somebody has the file open for writing or, where that is not known (fs/file.h), this caller could have. */
static bool has_writer(fuse_req_t req, const struct inode *inode)
{
    struct fs *fs = fuse_req_userdata(req);
    const struct attr *attr = &inode->attr;
    if (fs->no_open)
        return is_root(req) || attr->mode & S_IWOTH ||
               (attr->mode & S_IWGRP && (fuse_req_ctx(req)->gid == attr->gid || is_in_other_groups(req, attr->gid)));
    mutex_lock(&fs->nodes.lock);
    bool has = inode->writers > 0;
    mutex_unlock(&fs->nodes.lock);
    return has;
}

int privileges_drop_untold(fuse_req_t req, struct inode *inode)
{
    struct attr before = inode->attr;
    bool written = S_ISREG(before.mode) && has_writer(req, inode);
    /* A write by root is told of only where it takes a capability, and takes no more than that. */
    if (written && is_root(req) && before.xattrs)
        return 0;
    privileges_drop(req, &inode->attr);
    if (inode->attr.mode == before.mode || written || is_root(req) || fuse_req_ctx(req)->uid == before.uid)
        return 0;
    inode->attr = before;
    return EPERM;
}
