#include "fs/push.h"

#include <fuse_lowlevel.h>

#include "fs/ops.h"
#include "base/banned.h"

/* Whether this handle is the only one, and the store has what it will read. */
static bool may_push(struct fs *fs, const struct inode *inode)
{
    if (!fs->session || node_is_shared(inode->node) || inode->edit || inode->fresh || inode_content_dirty(inode) ||
        inode->node->flags & (NODE_FILLED | NODE_STALE | NODE_GONE))
        return false;
    mutex_lock(&fs->nodes.lock);
    bool only = inode->handles == 1;
    mutex_unlock(&fs->nodes.lock);
    return only;
}

void push_content(struct fs *fs, struct inode *inode)
{
    struct path path;
    plsm_pin pin;
    if (!may_push(fs, inode) || node_path(inode->node, &path) != PLSM_OK)
        return;
    if (inode->loaded && (inode->size == 0 || inode->size > PUSH_SIZE_MAX))
        return;
    if (plsm_get_pinned(fs->db, NULL, path_slice(&path), &pin) != PLSM_OK)
        return;
    if (!pin.large && pin.size > 0 && pin.size <= PUSH_SIZE_MAX) {
        struct fuse_bufvec content = FUSE_BUFVEC_INIT(pin.value.size);
        content.buf[0].mem = (void *)(uintptr_t)pin.value.data; /* only read from */
        fuse_ino_t ino = (fuse_ino_t)(uintptr_t)inode->node;
        bool stored = fuse_lowlevel_notify_store(fs->session, ino, 0, &content, 0) == 0;
        if (plsm_pin_lost(fs->db, &pin)) /* the kernel asks for it then, and hears of the error */
            fuse_lowlevel_notify_inval_inode(fs->session, ino, 0, 0);
        else if (stored)
            atomic_fetch_or(&inode->node->flags, NODE_FILLED);
    }
    plsm_pin_release(fs->db, &pin);
}
