/* The session with the kernel: what is negotiated, the loop, its end, and errors. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/env.h"
#include "base/error.h"
#include "fs/control.h"
#include "fs/inode.h"
#include "fs/mountpoint.h"
#include "fs/ops.h"
#include "fs/readahead.h"
#include "fs/server.h"
#include "fs/session.h"
#include "fs/sync.h"
#include "fs/transport.h"
#include "fs/xattr_sweep.h"
#include "base/banned.h"

/* --- errors ------------------------------------------------------------------------------------------------------- */

static const int errnos[PLSM_STATUS_COUNT] = {
    [PLSM_OK] = 0,
    [PLSM_NOT_FOUND] = ENOENT,
    [PLSM_INVALID] = EINVAL,
    [PLSM_TOO_LARGE] = EFBIG,
    [PLSM_NO_MEMORY] = ENOMEM,
    [PLSM_NO_SPACE] = ENOSPC,
    [PLSM_IO] = EIO,
    [PLSM_CORRUPT] = EIO,
    [PLSM_VERSION] = EIO,
    [PLSM_LOCKED] = EBUSY,
    [PLSM_READ_ONLY] = EROFS,
    [PLSM_EXISTS] = EEXIST,
    [PLSM_CONFLICT] = EIO, /* the tree lock should have kept the entry there */
    [PLSM_NO_STORE] = EIO,
    [PLSM_PERMISSION] = EIO, /* of the daemon in its own files: no matter of the caller's */
    [PLSM_UNSUPPORTED] = EOPNOTSUPP,
    [PLSM_QUOTA] = EDQUOT,
};

/* Counts, remembers and logs the failure that plsm_message tells. */
static void note_error(struct fs *fs, plsm_status status)
{
    uint64_t now_ns = env_now_ns(env_posix());
    bool log = false;
    mutex_lock(&fs->error_lock);
    fs->errors++;
    snprintf(fs->error_last, sizeof fs->error_last, "%s", plsm_message());
    for (char *c = fs->error_last; *c; c++)
        if (*c == '\n')
            *c = ' '; /* one line in .stats */
    if (fs->error_logged_ns == 0 || now_ns - fs->error_logged_ns > 1000000000) {
        fs->error_logged_ns = now_ns;
        log = true;
    }
    mutex_unlock(&fs->error_lock);
    if (log)
        syslog(LOG_ERR, "%s: %s", plsm_status_name(status), plsm_message());
}

int fs_errno(struct fs *fs, plsm_status status)
{
    int error = (unsigned)status < PLSM_STATUS_COUNT ? errnos[status] : EIO;
    fs = fs->mount ? fs->mount : fs; /* where .stats tells it */
    if (error == EIO || error == ENOMEM)
        note_error(fs, status);
    return error;
}

int fs_errno_of_change(struct fs *fs, plsm_status status)
{
    if (status != PLSM_NOT_FOUND)
        return fs_errno(fs, status);
    note_error(fs, status);
    return EIO;
}

/* --- the table of operations, timed ------------------------------------------------------------------------------- */

static void init(void *userdata, struct fuse_conn_info *connection)
{
    struct fs *fs = userdata;
    unsigned want = FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS | FUSE_CAP_CACHE_SYMLINKS |
                    FUSE_CAP_ASYNC_DIO;
    /* Who has a file open that expires goes on reading it: that needs to know who has. */
    fs->no_open = fs->options.publish_write && !fs->ttl_s && connection->capable & FUSE_CAP_NO_OPEN_SUPPORT;
    if (!fs->no_open) /* otherwise a truncation comes by itself, as there is no open to tell it */
        want |= FUSE_CAP_ATOMIC_O_TRUNC;
    /* The kernel knows of every change, so it need not guess from times whether its pages are still right. */
    want |= FUSE_CAP_EXPLICIT_INVAL_DATA;
    /* Otherwise each chown costs a getattr more. */
    want |= FUSE_CAP_HANDLE_KILLPRIV;
    connection->want = want & connection->capable;
    connection->time_gran = 1;
}

uint32_t session_init_flags(void)
{
    return FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV;
}

/* timed_NAME: calls fs_NAME and notes how long that took. The request is gone afterwards. */
#define TIMED(name, parameters, arguments)                                                                             \
    static void timed_##name parameters                                                                                \
    {                                                                                                                  \
        struct fs *fs = fs_of(req);                                                                                    \
        uint64_t start_ns = env_now_ns(env_posix());                                                                   \
        fs_##name arguments;                                                                                           \
        histogram_add(&fs->op_ns[FS_OP_##name], env_now_ns(env_posix()) - start_ns);                                   \
    }

TIMED(lookup, (fuse_req_t req, fuse_ino_t parent, const char *name), (req, parent, name))
TIMED(forget, (fuse_req_t req, fuse_ino_t ino, uint64_t lookups), (req, ino, lookups))
TIMED(getattr, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi))
TIMED(setattr, (fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi),
      (req, ino, st, to_set, fi))
TIMED(readlink, (fuse_req_t req, fuse_ino_t ino), (req, ino))
TIMED(mknod, (fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev),
      (req, parent, name, mode, rdev))
TIMED(mkdir, (fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode), (req, parent, name, mode))
TIMED(unlink, (fuse_req_t req, fuse_ino_t parent, const char *name), (req, parent, name))
TIMED(rmdir, (fuse_req_t req, fuse_ino_t parent, const char *name), (req, parent, name))
TIMED(symlink, (fuse_req_t req, const char *target, fuse_ino_t parent, const char *name), (req, target, parent, name))
TIMED(rename,
      (fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
       unsigned flags),
      (req, parent, name, new_parent, new_name, flags))
TIMED(link, (fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name), (req, ino, parent, name))
TIMED(open, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi))
TIMED(read, (fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi),
      (req, ino, size, offset, fi))
TIMED(write, (fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset, struct fuse_file_info *fi),
      (req, ino, data, size, offset, fi))
TIMED(flush, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi))
TIMED(release, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi))
TIMED(fsync, (fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi), (req, ino, data_only, fi))
TIMED(opendir, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi))
TIMED(readdir, (fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi),
      (req, ino, size, offset, fi))
TIMED(readdirplus, (fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi),
      (req, ino, size, offset, fi))
TIMED(releasedir, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi))
TIMED(fsyncdir, (fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi), (req, ino, data_only, fi))
TIMED(statfs, (fuse_req_t req, fuse_ino_t ino), (req, ino))
TIMED(create, (fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi),
      (req, parent, name, mode, fi))
TIMED(setxattr, (fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags),
      (req, ino, name, value, size, flags))
TIMED(getxattr, (fuse_req_t req, fuse_ino_t ino, const char *name, size_t size), (req, ino, name, size))
TIMED(listxattr, (fuse_req_t req, fuse_ino_t ino, size_t size), (req, ino, size))
TIMED(removexattr, (fuse_req_t req, fuse_ino_t ino, const char *name), (req, ino, name))
TIMED(fallocate, (fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi),
      (req, ino, mode, offset, length, fi))
TIMED(lseek, (fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi),
      (req, ino, offset, whence, fi))
TIMED(copy_file_range,
      (fuse_req_t req, fuse_ino_t from_ino, off_t from_offset, struct fuse_file_info *from_fi, fuse_ino_t to_ino,
       off_t to_offset, struct fuse_file_info *to_fi, size_t size, int flags),
      (req, from_ino, from_offset, from_fi, to_ino, to_offset, to_fi, size, flags))

static const struct fuse_lowlevel_ops operations = {
    .init = init,
#define OPERATION(name) .name = timed_##name,
    FS_OPS(OPERATION)
#undef OPERATION
        .forget_multi = fs_forget_multi,
    /* Locks are left out: libfuse answers ENOSYS, and the kernel then keeps them itself, without asking again. */
};

struct fuse_lowlevel_ops session_operations(bool xattr)
{
    struct fuse_lowlevel_ops chosen = operations;
    if (!xattr) { /* libfuse answers ENOSYS: the kernel never asks again, not even at each write */
        chosen.setxattr = NULL;
        chosen.getxattr = NULL;
        chosen.listxattr = NULL;
        chosen.removexattr = NULL;
    }
    return control_route(&chosen);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

static const int ending_signals[] = {SIGTERM, SIGINT, SIGHUP};

static sigset_t ending_set(bool with_wake)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof ending_signals / sizeof ending_signals[0]; i++)
        sigaddset(&set, ending_signals[i]);
    if (with_wake)
        sigaddset(&set, SIGUSR2);
    return set;
}

void session_block_signals(void)
{
    sigset_t set = ending_set(true);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* Asks for an ordinary unmount, which fails while files are open. */
static bool unmount(const char *directory)
{
    char *const argv[] = {(char *)"fusermount3", (char *)"-u", (char *)"-q", (char *)"--", (char *)directory, NULL};
    char *const environment[] = {(char *)"PATH=/usr/bin:/bin:/usr/local/bin", NULL};
    pid_t child = 0;
    int wait_status = 0;
    if (geteuid() == 0)
        return umount2(directory, UMOUNT_NOFOLLOW) == 0;
    if (posix_spawnp(&child, "fusermount3", NULL, NULL, argv, environment) != 0)
        return false;
    while (waitpid(child, &wait_status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
}

/* The thread that waits for a signal, and has time before. It unmounts while the loop still answers: so the kernel can
 * write out what programs have changed through mmap. Then the loop ends by itself; where files are open it is told to.
 */
static void wait_for_signal(void *arg)
{
    struct fs *fs = arg;
    sigset_t set = ending_set(false);
    int number = 0;
    bool unmounted = false, again = false;
    readahead_widen(fs->device);
    while (!again) {
        if (sigwait(&set, &number) != 0)
            continue;
        if (fs->ended) /* fs_serve wants this thread to go */
            return;
        /* Another mount namespace may keep the session alive: whoever asks again means it. */
        again = unmounted || !unmount(fs->options.directory);
        unmounted = true;
    }
    control_stop_notices(fs);
    transport_stop(fs->transport);
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

/* Fork first, threads after: the store's own threads were started in this process too. */
static plsm_status begin(struct fs *fs, struct env_thread **ticker, struct env_thread **signals,
                         struct xattr_sweep **sweep)
{
    TRY(transport_open(fs->transport));
    fs->device = mountpoint_device(fs->options.directory);
    TRY(env_thread_start(env_posix(), inode_ticker, fs, ticker));
    TRY(control_start(fs));
    TRY(sync_start(fs));
    if (fs->options.xattr && !fs->options.read_only && xattr_sweep_start(fs, sweep) != PLSM_OK)
        syslog(LOG_WARNING, "extended attributes that no file has are not looked for: %s", plsm_message());
    TRY(env_thread_start(env_posix(), wait_for_signal, fs, signals));
    return transport_start(fs->transport);
}

int fs_serve(struct fs *fs, void (*ready)(void *arg), void *arg)
{
    struct env_thread *ticker = NULL, *signals = NULL;
    struct xattr_sweep *sweep = NULL;
    plsm_status status = begin(fs, &ticker, &signals, &sweep);
    struct server *server = NULL;
    if (status == PLSM_OK && !fs->options.read_only && server_start(fs, &server) != PLSM_OK)
        syslog(LOG_WARNING, "commands on the mounted store are not served: %s", plsm_message());
    atomic_store(&fs->server, server);
    if (status == PLSM_OK) {
        fs->serving = true;
        ready(arg);
        transport_wait(fs->transport);
    }
    /* No longer mounted: nobody can reach what is not published but this process. */
    fs->ended = true;
    if (signals) {
        kill(getpid(), SIGTERM);
        env_thread_join(signals);
    }
    xattr_sweep_end(sweep);
    atomic_store(&fs->server, NULL);
    server_stop(server);
    control_stop(fs);
    mutex_lock(&fs->ticker_lock);
    fs->ticker_stop = true;
    condition_signal(&fs->ticker_wake);
    mutex_unlock(&fs->ticker_lock);
    env_thread_join(ticker);
    sync_end(fs); /* its replies need the transport */
    transport_destroy(fs->transport);
    fs->transport = NULL;
    fuse_session_unmount(fs->session);
    if (fs->serving)
        status = inode_publish_all(fs);
    return status == PLSM_OK ? 0 : fs_errno_of_change(fs, status);
}
