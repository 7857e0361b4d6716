/* The operations on control nodes, as fs/control_route.c calls them. Each answers its request exactly once. */
#ifndef FS_CONTROL_OPS_H
#define FS_CONTROL_OPS_H

#include <fuse_lowlevel.h>

#include "base/slice.h"
#include "fs/node.h"

struct control;
struct fs;

void control_lookup(fuse_req_t req, struct node *parent, const char *name); /* parent NULL: the root of the mount */
void control_forget(struct fs *fs, struct node *node, uint64_t lookups);
/* What a lookup of a file has found, where files are not opened: `handle` is a struct control_handle. */
void control_forget_found(struct fs *fs, uint64_t handle);
void control_getattr_found(fuse_req_t req, uint64_t handle);
void control_setattr_found(fuse_req_t req, uint64_t handle, int to_set);
void control_getattr(fuse_req_t req, struct node *node);
void control_setattr(fuse_req_t req, struct node *node, int to_set);
void control_mkdir(fuse_req_t req, struct node *parent, const char *name);
void control_rmdir(fuse_req_t req, struct node *parent, const char *name);
void control_open(fuse_req_t req, struct node *node, struct fuse_file_info *fi);
void control_read(fuse_req_t req, size_t size, off_t offset, struct fuse_file_info *fi);
void control_write(fuse_req_t req, plsm_slice data, off_t offset, struct fuse_file_info *fi);
void control_flush(fuse_req_t req, struct fuse_file_info *fi);
void control_fsync(fuse_req_t req, struct fuse_file_info *fi);
void control_release(fuse_req_t req, struct fuse_file_info *fi);
/* What the command "reset" does: zeroes the counters. */
void control_reset(struct control *control);

#endif
