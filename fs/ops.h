/* The operations of the mount, as libfuse calls them (fuse_lowlevel.h says what each must do). fs/session.c puts them
 * into libfuse's table. Each takes the locks it needs (order in fs/node.h) and answers its request exactly once. */
#ifndef FS_OPS_H
#define FS_OPS_H

#include <fuse_lowlevel.h>

#include "fs/entry.h"
#include "fs/fs.h"

/* How long the kernel may keep names and attributes: it makes all changes itself or is told of them (fs/commit.h), but
 * for what expires. */
#define CACHE_SECONDS 86400.0

static inline struct fs *fs_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

/* The kernel's identifiers of nodes: 1 for the root, otherwise the address, to which the two lowest bits are added:
 * none for the nodes of the mount, TAG_CONTROL or TAG_VIEW for those below .plsm (fs/control.h). With TAG_FOUND it is
 * no node but what a lookup below .plsm has found. */
enum { TAG_CONTROL = 1, TAG_VIEW = 2, TAG_FOUND = 3, TAG_MASK = 3 };
static inline struct node *node_of(struct fs *fs, fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? &fs->nodes.root : (struct node *)((uintptr_t)ino & ~(uintptr_t)TAG_MASK);
}
static inline fuse_ino_t node_ino(const struct fs *fs, const struct node *node)
{
    return node == &fs->nodes.root && !fs->tag ? FUSE_ROOT_ID : (fuse_ino_t)((uintptr_t)node | fs->tag);
}

/* fs/lookup.c */
void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups);
void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi);
void fs_readlink(fuse_req_t req, fuse_ino_t ino);
void fs_statfs(fuse_req_t req, fuse_ino_t ino);

/* fs/create.c */
void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void fs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);

/* fs/link.c */
void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);

/* fs/remove.c */
void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
               unsigned flags);

/* fs/file.c */
void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void fs_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset, struct fuse_file_info *fi);
void fs_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi);

/* fs/space.c */
void fs_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi);
void fs_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi);
void fs_copy_file_range(fuse_req_t req, fuse_ino_t from_ino, off_t from_offset, struct fuse_file_info *from_fi,
                        fuse_ino_t to_ino, off_t to_offset, struct fuse_file_info *to_fi, size_t size, int flags);

/* fs/list.c */
void fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void fs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi);

/* fs/xattr.c */
void fs_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void fs_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void fs_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void fs_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

/* For fs->listed_nodes_max, by the store's option memory. */
size_t list_nodes_max(plsm *db);
/* As fs_opendir; false: it failed, so that no release follows. */
bool open_listing(fuse_req_t req, struct fuse_file_info *fi);
/* As fs_readdir and fs_readdirplus, of a directory of any view. */
void list_directory(struct fs *fs, fuse_req_t req, struct node *node, size_t size, off_t offset,
                    struct fuse_file_info *fi, bool plus);

/* --- shared between them ------------------------------------------------------------------------------------------ */

/* An entry as the store had it, on its way to the kernel. */
struct stored_entry {
    plsm_slice piece;
    uint8_t node_flags;
    struct attr attr;
    uint64_t size;
    uint64_t shared;       /* as in struct entry */
    uint32_t publications; /* publications_in its directory, read before the store was */
};

/* Changes when an inode that a name in `parent` stands for is published. */
static inline uint32_t publications_in(const struct fs *fs, const struct node *parent)
{
    return parent->publications + fs->nodes.shared.publications;
}

/* Fills what lookup, readdirplus, mkdir, create and so on answer with, and counts the lookup. Returns 0 or an errno
 * value.
 *
 * What was read from the store may be old by now: the file may have been open then, written but not published, and be
 * published and closed since, so that no inode tells. The kernel would believe the old size, as it asked behind the
 * write. That is what `publications` is for: when it has changed, the entry is read again. */
int fill_entry(struct fs *fs, struct node *parent, const struct stored_entry *stored, struct fuse_entry_param *out);

/* The conditions that nothing has a new name: neither a file, with the key `file`, nor a directory. Behind the key
 * there must be a '/'. */
plsm_status if_nothing_there(plsm_batch *batch, plsm_slice file);
/* Before a name in `parent` goes: makes a directory that exists only through what lies in it permanent, in `batch`, so
 * that it does not vanish with its last entry. */
plsm_status keep_directory(struct fs *fs, struct node *parent, plsm_batch *batch);
/* After a change in `parent`: sets its times. */
void touch_directory(struct fs *fs, struct node *parent);

/* Counts a handle of a file; `writes`: it may write. NULL: no memory. */
struct inode *open_handle(struct fs *fs, struct node *node, bool writes);
/* Gives it back: when it could write or was the last one, publishes what is not yet, and, where that fails and no
 * handle is left to try again, drops it. `used`: somebody had it; else what others write is not published. Must be
 * called without locks. */
void close_handle(struct fs *fs, struct inode *inode, bool writes, bool used);

/* Cuts or extends the content; with the lock of the inode. Returns 0 or an errno value. */
int resize_content(struct fs *fs, struct inode *inode, uint64_t size);

#endif
