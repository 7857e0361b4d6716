/* The thinnest file system that FUSE allows, for bench-mount to measure the mount against: files in memory, nothing
 * behind them, nothing checked that the kernel checks, every reply cached for as long as the kernel likes. What it
 * takes is what the round trips take.
 *
 *     null_fs auto|dev|uring DIRECTORY [BACKING]    serves in the foreground until it is unmounted, by the mount's
 *                                                   transport
 *
 * With BACKING, a directory, what files hold is passed through to files there, which are removed as soon as they are
 * made: what a large file costs on that file system with FUSE in front of it.
 *
 * Directories are arrays of their entries in the order of making; a cookie is an index in one. One lock is held while
 * nodes are looked at, never while the kernel is spoken to. */
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/error.h"
#include "fs/transport.h"
#include "base/banned.h"

#define CACHE_SECONDS 86400.0

struct node {
    struct node *parent, *hash_next; /* parent NULL: the root, or removed */
    uint64_t lookups;
    struct stat attr;
    char *name, *data;      /* owned */
    struct node **entries;  /* of a directory, NULL where one was removed; owned */
    size_t count, capacity; /* of entries */
    size_t index, live;     /* in the parent's entries; entries that are there */
    int file;               /* with `backing`, of a file: what holds its content; otherwise 0 */
};

enum { BUCKETS = 1 << 20 };

static struct node *buckets[BUCKETS], root;
static uint64_t next_ino = 2;
static const char *backing; /* NULL: content is in memory */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct node *node_of(fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? &root : (struct node *)(uintptr_t)ino;
}

static void *must(void *memory)
{
    if (!memory)
        abort(); /* a measurement that runs out of memory is none */
    return memory;
}

static struct node **bucket_of(const struct node *parent, const char *name)
{
    uint64_t hash = key_hash(name, strlen(name)) ^ (uintptr_t)parent * UINT64_C(0x9e3779b97f4a7c15);
    return &buckets[hash >> 20 & (BUCKETS - 1)];
}

static struct node *find(const struct node *parent, const char *name)
{
    struct node *node = *bucket_of(parent, name);
    while (node && (node->parent != parent || strcmp(node->name, name) != 0))
        node = node->hash_next;
    return node;
}

static void attach(struct node *node, struct node *parent, const char *name)
{
    struct node **bucket = bucket_of(parent, name);
    if (parent->count == parent->capacity) {
        parent->capacity = parent->capacity ? parent->capacity * 2 : 16;
        parent->entries = must(realloc(parent->entries, parent->capacity * sizeof *parent->entries));
    }
    free(node->name);
    node->name = must(strdup(name));
    node->parent = parent;
    node->hash_next = *bucket;
    *bucket = node;
    node->index = parent->count++;
    parent->entries[node->index] = node;
    parent->live++;
}

static void detach(struct node *node)
{
    struct node **link = bucket_of(node->parent, node->name);
    while (*link != node)
        link = &(*link)->hash_next;
    *link = node->hash_next;
    node->parent->entries[node->index] = NULL;
    if (--node->parent->live == 0)
        node->parent->count = 0;
    node->parent = NULL;
    node->attr.st_nlink = 0;
}

static void forget(struct node *node, uint64_t lookups)
{
    if (node == &root)
        return;
    node->lookups -= lookups;
    if (node->lookups || node->parent)
        return;
    free(node->name);
    free(node->data);
    free(node->entries);
    if (node->file)
        close(node->file);
    free(node);
}

static void fill(struct node *node, struct fuse_entry_param *entry)
{
    node->lookups++;
    *entry = (struct fuse_entry_param){.ino = (fuse_ino_t)(uintptr_t)node,
                                       .attr = node->attr,
                                       .attr_timeout = CACHE_SECONDS,
                                       .entry_timeout = CACHE_SECONDS};
}

static struct timespec now(void)
{
    struct timespec at = {0};
    clock_gettime(CLOCK_REALTIME_COARSE, &at);
    return at;
}

static void resize(struct node *node, size_t size)
{
    if (node->file && ftruncate(node->file, (off_t)size) != 0)
        abort();
    if (!node->file && size > (size_t)node->attr.st_size) {
        node->data = must(realloc(node->data, size));
        memset(node->data + node->attr.st_size, 0, size - (size_t)node->attr.st_size);
    }
    node->attr.st_size = (off_t)size;
    node->attr.st_blocks = (blkcnt_t)((size + 511) / 512);
    node->attr.st_mtim = node->attr.st_ctim = now();
}

/* --- operations --------------------------------------------------------------------------------------------------- */

static void null_init(void *userdata, struct fuse_conn_info *connection)
{
    unsigned want = FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
                    FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_HANDLE_KILLPRIV;
    connection->want = want & connection->capable;
    connection->time_gran = 1;
}

static void null_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry = {.entry_timeout = CACHE_SECONDS};
    pthread_mutex_lock(&lock);
    struct node *node = find(node_of(parent), name);
    if (node)
        fill(node, &entry);
    pthread_mutex_unlock(&lock);
    fuse_reply_entry(req, &entry);
}

static void null_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
    pthread_mutex_lock(&lock);
    forget(node_of(ino), lookups);
    pthread_mutex_unlock(&lock);
    fuse_reply_none(req);
}

static void null_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < count; i++)
        forget(node_of(forgets[i].ino), forgets[i].nlookup);
    pthread_mutex_unlock(&lock);
    fuse_reply_none(req);
}

static void null_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    pthread_mutex_lock(&lock);
    struct stat attr = node_of(ino)->attr;
    pthread_mutex_unlock(&lock);
    fuse_reply_attr(req, &attr, CACHE_SECONDS);
}

static void null_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi)
{
    struct node *node = node_of(ino);
    pthread_mutex_lock(&lock);
    if (to_set & FUSE_SET_ATTR_MODE)
        node->attr.st_mode = (node->attr.st_mode & S_IFMT) | (st->st_mode & 07777);
    if (to_set & FUSE_SET_ATTR_UID)
        node->attr.st_uid = st->st_uid;
    if (to_set & FUSE_SET_ATTR_GID)
        node->attr.st_gid = st->st_gid;
    if (to_set & FUSE_SET_ATTR_SIZE)
        resize(node, (size_t)st->st_size);
    if (to_set & FUSE_SET_ATTR_MTIME)
        node->attr.st_mtim = to_set & FUSE_SET_ATTR_MTIME_NOW ? now() : st->st_mtim;
    if (to_set & FUSE_SET_ATTR_ATIME)
        node->attr.st_atim = to_set & FUSE_SET_ATTR_ATIME_NOW ? now() : st->st_atim;
    struct stat attr = node->attr;
    pthread_mutex_unlock(&lock);
    fuse_reply_attr(req, &attr, CACHE_SECONDS);
}

static int must_open(void)
{
    int file = open(backing, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file < 0)
        abort();
    return file;
}

static int make(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_entry_param *entry)
{
    pthread_mutex_lock(&lock);
    int error = find(node_of(parent), name) ? EEXIST : 0;
    if (!error) {
        struct node *node = must(calloc(1, sizeof *node));
        node->attr = (struct stat){.st_ino = next_ino++,
                                   .st_mode = mode,
                                   .st_nlink = 1,
                                   .st_uid = fuse_req_ctx(req)->uid,
                                   .st_gid = fuse_req_ctx(req)->gid,
                                   .st_blksize = 4096};
        node->attr.st_atim = node->attr.st_mtim = node->attr.st_ctim = now();
        node->file = backing && S_ISREG(mode) ? must_open() : 0;
        attach(node, node_of(parent), name);
        fill(node, entry);
    }
    pthread_mutex_unlock(&lock);
    return error;
}

static void null_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct fuse_entry_param entry;
    int error = make(req, parent, name, mode, &entry);
    if (error)
        fuse_reply_err(req, error);
    else
        fuse_reply_entry(req, &entry);
}

static void null_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    null_mknod(req, parent, name, S_IFDIR | (mode & 07777), 0);
}

static void null_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (fi->flags & O_TRUNC) {
        pthread_mutex_lock(&lock);
        resize(node_of(ino), 0);
        pthread_mutex_unlock(&lock);
    }
    fi->keep_cache = 1;
    fi->noflush = (fi->flags & O_ACCMODE) == O_RDONLY;
    fuse_reply_open(req, fi);
}

static void null_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
    struct fuse_entry_param entry;
    int error = make(req, parent, name, S_IFREG | (mode & 07777), &entry);
    fi->keep_cache = 1;
    if (error)
        fuse_reply_err(req, error);
    else
        fuse_reply_create(req, &entry, fi);
}

static void null_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct node *node = node_of(ino);
    char small[4096];
    pthread_mutex_lock(&lock);
    size_t left = offset < node->attr.st_size ? (size_t)(node->attr.st_size - offset) : 0;
    size_t got = left < size ? left : size;
    char *copy = got <= sizeof small ? small : must(malloc(got));
    if (got && !node->file)
        memcpy(copy, node->data + offset, got);
    pthread_mutex_unlock(&lock);
    if (got && node->file && pread(node->file, copy, got, offset) != (ssize_t)got)
        fuse_reply_err(req, EIO);
    else
        fuse_reply_buf(req, copy, got);
    if (copy != small)
        free(copy);
}

static void write_through(fuse_req_t req, struct node *node, const char *data, size_t size, off_t offset)
{
    ssize_t wrote = pwrite(node->file, data, size, offset);
    if (wrote < 0) {
        fuse_reply_err(req, errno);
        return;
    }
    pthread_mutex_lock(&lock);
    if (offset + wrote > node->attr.st_size)
        node->attr.st_size = offset + wrote;
    node->attr.st_mtim = node->attr.st_ctim = now();
    pthread_mutex_unlock(&lock);
    fuse_reply_write(req, (size_t)wrote);
}

static void null_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
                       struct fuse_file_info *fi)
{
    struct node *node = node_of(ino);
    if (node->file) {
        write_through(req, node, data, size, offset);
        return;
    }
    pthread_mutex_lock(&lock);
    if ((size_t)offset + size > (size_t)node->attr.st_size)
        resize(node, (size_t)offset + size);
    memcpy(node->data + offset, data, size);
    pthread_mutex_unlock(&lock);
    fuse_reply_write(req, size);
}

static void reply_done(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    fuse_reply_err(req, 0);
}

static void null_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
    int file = node_of(ino)->file;
    fuse_reply_err(req, file && (data_only ? fdatasync(file) : fsync(file)) != 0 ? errno : 0);
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    pthread_mutex_lock(&lock);
    struct node *node = find(node_of(parent), name);
    int error = !node ? ENOENT : node->live ? ENOTEMPTY : 0;
    if (!error) {
        detach(node);
        forget(node, 0);
    }
    pthread_mutex_unlock(&lock);
    fuse_reply_err(req, error);
}

static void null_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                        const char *new_name, unsigned flags)
{
    pthread_mutex_lock(&lock);
    struct node *node = find(node_of(parent), name), *old = find(node_of(new_parent), new_name);
    if (node && old) {
        detach(old);
        forget(old, 0);
    }
    if (node) {
        detach(node);
        attach(node, node_of(new_parent), new_name);
        node->attr.st_nlink = 1;
    }
    pthread_mutex_unlock(&lock);
    fuse_reply_err(req, node ? 0 : ENOENT);
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, bool plus)
{
    struct node *directory = node_of(ino);
    char *data = must(malloc(size));
    size_t used = 0;
    pthread_mutex_lock(&lock);
    for (size_t i = (size_t)offset; i < directory->count; i++) {
        struct node *node = directory->entries[i];
        struct fuse_entry_param entry;
        if (!node)
            continue;
        fill(node, &entry);
        size_t needed = plus ? fuse_add_direntry_plus(req, data + used, size - used, node->name, &entry, (off_t)i + 1)
                             : fuse_add_direntry(req, data + used, size - used, node->name, &entry.attr, (off_t)i + 1);
        if (!plus || needed > size - used)
            node->lookups--;
        if (needed > size - used)
            break;
        used += needed;
    }
    pthread_mutex_unlock(&lock);
    fuse_reply_buf(req, data, used);
    free(data);
}

static void null_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    list(req, ino, size, offset, false);
}

static void null_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    list(req, ino, size, offset, true);
}

static void null_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    fuse_reply_open(req, fi);
}

static void null_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct statvfs out = {
        .f_bsize = 4096, .f_frsize = 4096, .f_blocks = 1 << 30, .f_bfree = 1 << 30, .f_bavail = 1 << 30};
    fuse_reply_statfs(req, &out);
}

static const struct fuse_lowlevel_ops operations = {
    .init = null_init,
    .lookup = null_lookup,
    .forget = null_forget,
    .forget_multi = null_forget_multi,
    .getattr = null_getattr,
    .setattr = null_setattr,
    .mknod = null_mknod,
    .mkdir = null_mkdir,
    .open = null_open,
    .create = null_create,
    .read = null_read,
    .write = null_write,
    .flush = reply_done,
    .release = reply_done,
    .fsync = null_fsync,
    .unlink = remove_name,
    .rmdir = remove_name,
    .rename = null_rename,
    .opendir = null_opendir,
    .readdir = null_readdir,
    .readdirplus = null_readdirplus,
    .releasedir = reply_done,
    .statfs = null_statfs,
};

/* By the transport that the mount has. */
static plsm_status serve(struct fuse_session *session, const struct transport_options *options, const char *directory)
{
    struct transport *transport = NULL;
    plsm_status status = transport_create(session, options, &transport);
    if (status == PLSM_OK && fuse_session_mount(session, directory) != 0)
        status = fail(PLSM_IO, "cannot mount on %s", directory);
    if (status == PLSM_OK)
        status = transport_open(transport);
    if (status == PLSM_OK)
        status = transport_start(transport);
    if (status == PLSM_OK)
        transport_wait(transport);
    transport_destroy(transport);
    fuse_session_unmount(session);
    return status;
}

static enum transport_kind kind_of(const char *name)
{
    return strcmp(name, "uring") == 0 ? TRANSPORT_URING : strcmp(name, "dev") == 0 ? TRANSPORT_DEV : TRANSPORT_AUTO;
}

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: null_fs auto|dev|uring DIRECTORY [BACKING]\n");
        return 1;
    }
    backing = argc == 4 ? argv[3] : NULL;
    struct transport_options transport = {.kind = kind_of(argv[1]),
                                          .init_flags = FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV};
    /* The options of a mount that users share, as plsm has them. */
    char name[] = "null_fs", flag[] = "-o", options[] = "default_permissions,fsname=null_fs,subtype=null_fs";
    char shared[] = "default_permissions,allow_other,fsname=null_fs,subtype=null_fs";
    char *arguments[] = {name, flag, geteuid() == 0 ? shared : options, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, arguments);
    root.attr =
        (struct stat){.st_ino = 1, .st_mode = S_IFDIR | 0755, .st_nlink = 1, .st_uid = getuid(), .st_gid = getgid()};
    root.attr.st_mtim = root.attr.st_ctim = root.attr.st_atim = now();
    sigset_t kick;
    sigemptyset(&kick);
    sigaddset(&kick, SIGUSR2);
    sigprocmask(SIG_BLOCK, &kick, NULL);
    struct fuse_session *session = fuse_session_new(&args, &operations, sizeof operations, NULL);
    plsm_status status = session ? serve(session, &transport, argv[2]) : fail(PLSM_NO_MEMORY, "no session");
    if (status != PLSM_OK)
        fprintf(stderr, "null_fs: %s\n", plsm_message());
    if (session)
        fuse_session_destroy(session);
    fuse_opt_free_args(&args);
    return status != PLSM_OK;
}
