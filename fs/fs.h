/* What belongs to one mount. */
#ifndef FS_FS_H
#define FS_FS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/histogram.h"
#include "base/sync.h"
#include "fs/node.h"
#include "fs/options.h"
#include "store/plsm.h"

struct fuse_session;
struct transport;
struct control;
struct env_thread;
struct sync_waiter;
struct handle;

/* The operations that are timed: fs.OP.* in .stats. */
#define FS_OPS(X)                                                                                                      \
    X(lookup) X(forget) X(getattr) X(setattr) X(readlink) X(mknod) X(mkdir) X(unlink) X(rmdir) X(symlink) X(rename)    \
    X(link) X(open) X(read) X(write) X(flush) X(release) X(fsync) X(opendir) X(readdir) X(readdirplus) X(releasedir)   \
    X(fsyncdir) X(statfs) X(create) X(setxattr) X(getxattr) X(listxattr) X(removexattr) X(fallocate) X(lseek)          \
    X(copy_file_range)
enum fs_op {
#define FS_OP_ENUM(name) FS_OP_##name,
    FS_OPS(FS_OP_ENUM)
#undef FS_OP_ENUM
    FS_OP_COUNT
};

struct fs {
    plsm *db;
    struct mount_options options;
    struct fuse_session *session;
    struct transport *transport; /* how requests come (fs/transport.h) */
    dev_t device;                /* of the mount, as the kernel shows it; 0: not known */
    struct node_table nodes;
    /* While the kernel knows more nodes than these, with those of .plsm and of snapshots, listings only name what they
     * list: each node that they hand out stays, with its inode in the kernel, until that is short of memory. Of a
     * mount; views go by that of theirs. */
    size_t listed_nodes_max;
    uid_t owner; /* who mounted it: owns what has no attributes, and the control file */
    gid_t owner_group;
    /* of entries without attributes */
    uint32_t default_uid, default_gid, default_file_mode, default_directory_mode;
    /* with which names, and content and attributes, are written: PLSM_SYNC with the options dirsync and sync */
    plsm_durability names_durability, content_durability;
    bool no_open;         /* files are never opened: fs/file.h */
    uint64_t ttl_s;       /* the store's option: files expire so many seconds after they are published */
    _Atomic bool expires; /* some file does */
    _Atomic bool stale;   /* with no_open: some node may be NODE_STALE, which the ticker sees to (fs/inode.h) */

    struct inode *dirty;  /* list of those with something unpublished; table lock */
    struct handle *handles; /* fs/handles.h; table lock */

    /* the thread that publishes what has been dirty for long (fs/inode.h) */
    mutex ticker_lock;
    condition ticker_wake;
    bool ticker_stop;

    struct {
        uint64_t path_hash; /* 0: nothing is kept here */
        uint32_t count, changes;
    } counted[256];        /* what count_directories found (fs/link.h); counted lock */
    mutex counted_lock;

    struct control *control; /* fs/control.h */
    struct absent *absent;   /* fs/commit.h */
    _Atomic(struct server *) server; /* fs/server.h; NULL: none */
    _Atomic uint64_t batch_bytes; /* of batches that are being put together from outside, all together */

    /* Of a view of a snapshot (fs/control_snapshot.c), which is a file system in this one; 0 and NULL otherwise. */
    struct fs *mount;              /* that it is in */
    const plsm_snapshot *snapshot; /* what it shows */
    uintptr_t tag;                 /* added to the addresses of its nodes in the kernel's identifiers */
    uint64_t ino_mask;             /* over its inode numbers, so that they differ from those of the same files now */

    /* the thread that syncs (fs/sync.h) */
    mutex sync_lock;
    condition sync_wake, sync_done; /* of that thread; of those that wait for it in their own */
    struct sync_waiter *sync_waiters; /* sync lock, as the rest */
    unsigned sync_waiting;            /* how many those are */
    struct env_thread *sync_thread;
    bool syncing;                     /* somebody is, that thread or another */
    unsigned sync_company;            /* how many asked around the last one, */
    uint64_t sync_ns;                 /* and what it took */
    bool sync_stop;

    mutex error_lock;
    uint64_t errors, error_logged_ns; /* error lock */
    char error_last[512];             /* error lock; empty: none yet */

    bool serving;       /* requests are answered */
    _Atomic bool ended; /* the loop is over */

    struct histogram op_ns[FS_OP_COUNT];
};

/* The errno a caller of the mount gets for a failure of the store. Failures that are not the caller's doing (I/O,
 * damage, no memory) are counted, remembered for .stats, and logged, at most one per second. */
int fs_errno(struct fs *fs, plsm_status status);
/* The same where the tree lock or a handle keeps the entry there, so that PLSM_NOT_FOUND is a fault within: EIO. */
int fs_errno_of_change(struct fs *fs, plsm_status status);

/* Runs until the file system is unmounted or a signal ends it; everything is published when it returns. `ready` is
 * called once requests are answered. Returns 0 or an errno value; where `serving` is not set, plsm_message says why. */
int fs_serve(struct fs *fs, void (*ready)(void *arg), void *arg);

#endif
