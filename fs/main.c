/* plsmd, the daemon behind mount.plsm.
 *
 * It forks first. The child opens the store, mounts it and answers the kernel's first message; only then does it report
 * through a pipe, leave the terminal and go on, and the parent exits with 0. Whatever fails before is one line on the
 * caller's terminal. Exit codes are those of mount(8): 1 wrong usage, 2 the system refused what is needed for any mount
 * (memory, a process), 32 the mount failed. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include <fuse_lowlevel.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/env.h"
#include "base/error.h"
#include "fs/commit.h"
#include "fs/control.h"
#include "fs/handles.h"
#include "fs/inode.h"
#include "fs/mountpoint.h"
#include "fs/ops.h"
#include "fs/session.h"
#include "fs/transport.h"
#include "base/banned.h"

#ifndef PLSM_RELEASE
#define PLSM_RELEASE "0.1.0"
#endif

enum { EXIT_USAGE = 1, EXIT_SYSTEM = 2, EXIT_MOUNT = 32 };

/* A daemon that was unmounted a moment ago may still be writing its last bytes. */
static const uint64_t lock_wait_ns = 10000000000, lock_retry_ns = 50000000;

/* --- setting up --------------------------------------------------------------------------------------------------- */

static plsm_status open_store(struct fs *fs)
{
    const struct mount_options *options = &fs->options;
    unsigned flags = (options->create && !options->read_only ? PLSM_CREATE : 0) | (options->read_only ? PLSM_READ : 0);
    uint64_t start_ns = env_now_ns(env_posix());
    plsm_status status = PLSM_OK;
    for (;;) {
        status = plsm_open(options->store, (plsm_open_flags)flags, (const char *)options->store_options.data, &fs->db);
        if (status != PLSM_LOCKED || env_now_ns(env_posix()) - start_ns > lock_wait_ns)
            break;
        char *elsewhere = mountpoint_of_store(options->store);
        if (elsewhere) { /* this one is not about to end */
            status = fail(status, "%s: the store is mounted on %s already; unmount it first: fusermount3 -u %s",
                          options->store, elsewhere, elsewhere);
            mem_free(elsewhere);
            break;
        }
        env_sleep_ns(env_posix(), lock_retry_ns);
    }
    if (status == PLSM_OK) {
        plsm_abilities abilities;
        plsm_get_abilities(fs->db, &abilities);
        fs->ttl_s = abilities.ttl_s;
        fs->expires = fs->ttl_s > 0;
        fs->listed_nodes_max = list_nodes_max(fs->db);
    }
    if (status == PLSM_NO_STORE)
        return fail(status, "%s: no store there; create one with `plsm create %s` or mount with -o create",
                    options->store, options->store);
    return status;
}

/* The root's attributes are made when the store is mounted for the first time. */
static plsm_status make_root(struct fs *fs)
{
    plsm_read_options options = {.keyspace = PLSM_INTERNAL, .no_value = true};
    plsm_value value = {0};
    plsm_status status = plsm_get(fs->db, &options, slice_of(ROOT_KEY), &value);
    plsm_value_free(&value);
    if (status != PLSM_NOT_FOUND || fs->options.read_only)
        return status == PLSM_NOT_FOUND ? PLSM_OK : status;
    struct inode *inode = inode_get(fs, &fs->nodes.root);
    if (!inode)
        return fail(PLSM_NO_MEMORY, "no memory for the root");
    mutex_lock(&inode->lock);
    status = inode_load(fs, inode);
    if (status == PLSM_OK) {
        inode_touch(fs, inode, true);
        inode->attr.atime = inode->attr.mtime;
        status = inode_publish(fs, inode);
    }
    mutex_unlock(&inode->lock);
    if (status == PLSM_OK)
        inode_put(fs, inode);
    return status;
}

/* Appends "name=value" for libfuse, in which commas and backslashes of the value are escaped. */
static plsm_status append_escaped(struct buf *list, const char *name, const char *value)
{
    TRY(buf_printf(list, "%s%s=", list->size ? "," : "", name));
    for (; *value; value++) {
        if (*value == ',' || *value == '\\')
            TRY(buf_append(list, "\\", 1));
        TRY(buf_append(list, value, 1));
    }
    return PLSM_OK;
}

static plsm_status make_session(struct fs *fs)
{
    struct buf list = {0};
    plsm_status status = PLSM_OK;
    const char *given = (const char *)fs->options.kernel_options.data;
    if (*given)
        status = buf_append(&list, given, strlen(given));
    if (status == PLSM_OK)
        status = append_escaped(&list, "fsname", fs->options.store);
    if (status == PLSM_OK)
        status = buf_printf(&list, ",subtype=plsm,default_permissions%s%s%s", fs->options.read_only ? ",ro" : "",
                            fs->options.allow_other || geteuid() == 0 ? ",allow_other" : "",
                            fs->options.debug ? ",debug" : "");
    if (status == PLSM_OK)
        status = buf_append(&list, "", 1);
    if (status == PLSM_OK) {
        char *argv[] = {(char *)"plsmd", (char *)"-o", (char *)list.data, NULL};
        struct fuse_args args = FUSE_ARGS_INIT(3, argv);
        struct fuse_lowlevel_ops operations = session_operations(fs->options.xattr);
        fs->session = fuse_session_new(&args, &operations, sizeof operations, fs);
        fuse_opt_free_args(&args);
        if (!fs->session)
            status = fail(PLSM_INVALID, "libfuse refuses the options %s", (const char *)list.data);
    }
    buf_free(&list);
    return status;
}

static int mount_session(void *arg, const char *path)
{
    return fuse_session_mount(arg, path);
}

/* A store that its own mount covers could only be reached through the daemon that needs it. */
static plsm_status check_not_covered(const char *store, const char *directory)
{
    if (path_is_within(store, directory))
        return fail(PLSM_INVALID, "%s: the mount would cover the store %s; mount it on a directory beside the store",
                    directory, store);
    return PLSM_OK;
}

/* What the options say becomes absolute, before the store is opened: the daemon leaves its directory, and the store
 * goes on opening files by the path that it was given. */
static plsm_status start(struct fs *fs, char **store_path, char **mount_path)
{
    struct rlimit files;
    TRY(mountpoint_prepare(fs->options.directory, mount_path));
    TRY(absolute_path(fs->options.store, "store", store_path));
    fs->options.store = *store_path;
    fs->options.directory = *mount_path;
    TRY(check_not_covered(*store_path, *mount_path));
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    TRY(open_store(fs));
    TRY(node_table_init(&fs->nodes));
    TRY(absent_create(&fs->absent));
    TRY(control_create(fs));
    TRY(make_root(fs));
    TRY(make_session(fs));
    fs->options.transport.init_flags = session_init_flags();
    TRY(transport_create(fs->session, &fs->options.transport, &fs->transport));
    return mountpoint_mount(*mount_path, mount_session, fs->session);
}

/* --- the daemon --------------------------------------------------------------------------------------------------- */

/* What the parent is told: one byte of exit code, then the line for the terminal. */
static void report(int pipe_fd, int code, const char *message)
{
    unsigned char byte = (unsigned char)code;
    if (pipe_fd < 0) {
        if (code)
            fprintf(stderr, "mount.plsm: %s\n", message);
        return;
    }
    if (write(pipe_fd, &byte, 1) == 1 && code) {
        ssize_t written = write(pipe_fd, message, strlen(message));
        (void)written; /* the parent says something of its own when it gets no text */
    }
    close(pipe_fd);
}

/* The mount works: lets the terminal and the caller go. */
static void on_ready(void *arg)
{
    int pipe_fd = *(int *)arg;
    if (pipe_fd < 0)
        return;
    setsid();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (chdir("/") == 0 && null >= 0)
        for (int fd = 0; fd < 3; fd++)
            dup2(null, fd);
    if (null > 2)
        close(null);
    report(pipe_fd, 0, "");
    *(int *)arg = -1;
}

static void log_fuse(enum fuse_log_level level, const char *format, va_list arguments)
{
    vsyslog((int)level, format, arguments);
}

static void tear_down(struct fs *fs)
{
    transport_destroy(fs->transport);
    if (fs->session)
        fuse_session_destroy(fs->session);
    handles_destroy_all(fs);
    control_destroy(fs);
    absent_destroy(fs->absent);
    inode_destroy_all(fs);
    node_table_destroy(&fs->nodes);
    mutex_destroy(&fs->ticker_lock);
    condition_destroy(&fs->ticker_wake);
    mutex_destroy(&fs->error_lock);
    mutex_destroy(&fs->counted_lock);
    mutex_destroy(&fs->sync_lock);
    condition_destroy(&fs->sync_wake);
    condition_destroy(&fs->sync_done);
}

static void set_defaults(struct fs *fs, const struct mount_options *options)
{
    fs->options = *options;
    fs->owner = getuid();
    fs->owner_group = getgid();
    fs->default_uid = options->uid == OPTION_ID_UNSET ? fs->owner : options->uid;
    fs->default_gid = options->gid == OPTION_ID_UNSET ? fs->owner_group : options->gid;
    fs->default_file_mode = S_IFREG | (0666 & ~options->file_mask);
    fs->default_directory_mode = S_IFDIR | (0777 & ~options->directory_mask);
    fs->names_durability = options->sync || options->dirsync ? PLSM_SYNC : PLSM_NONE;
    fs->content_durability = options->sync ? PLSM_SYNC : PLSM_NONE;
}

/* Mounts and serves; returns the exit code. `pipe_fd` -1: in the foreground. */
static int run(struct mount_options *options, int pipe_fd)
{
    struct fs *fs = mem_zalloc(sizeof *fs);
    char *store_path = NULL, *mount_path = NULL;
    int code = 0;
    if (!fs) {
        report(pipe_fd, EXIT_SYSTEM, "no memory");
        return EXIT_SYSTEM;
    }
    set_defaults(fs, options);
    mutex_init(&fs->ticker_lock);
    condition_init(&fs->ticker_wake);
    mutex_init(&fs->error_lock);
    mutex_init_brief(&fs->counted_lock);
    mutex_init(&fs->sync_lock);
    condition_init(&fs->sync_wake);
    condition_init(&fs->sync_done);
    session_block_signals();
    plsm_catch_lost_pages();
    openlog("plsmd", LOG_PID | (pipe_fd < 0 ? LOG_PERROR : 0), LOG_DAEMON);
    plsm_status status = start(fs, &store_path, &mount_path);
    if (status != PLSM_OK) {
        code = EXIT_MOUNT;
        report(pipe_fd, code, plsm_message());
    } else {
        if (pipe_fd >= 0)
            fuse_set_log_func(log_fuse);
        int error = fs_serve(fs, on_ready, &pipe_fd);
        code = error ? EXIT_MOUNT : 0;
        if (error && !fs->serving)
            report(pipe_fd, code, plsm_message());
    }
    tear_down(fs);
    status = plsm_close(fs->db); /* after the last edit is gone */
    if (status != PLSM_OK) {
        syslog(LOG_ERR, "closing the store: %s", plsm_message());
        code = EXIT_MOUNT;
    }
    mem_free(store_path);
    mem_free(mount_path);
    mem_free(fs);
    return code;
}

/* Waits for the child's report and gives it to the terminal. */
static int wait_for_report(pid_t child, int pipe_fd)
{
    char message[2048];
    size_t size = 0;
    ssize_t got = 0;
    int status = 0;
    while (size < sizeof message - 1 &&
           ((got = read(pipe_fd, message + size, sizeof message - 1 - size)) > 0 || (got < 0 && errno == EINTR)))
        size += got > 0 ? (size_t)got : 0;
    message[size] = 0;
    if (size > 0 && message[0] == 0)
        return 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (size > 1)
        fprintf(stderr, "mount.plsm: %s\n", message + 1);
    else
        fprintf(stderr, "mount.plsm: the daemon ended before the mount worked (%s %d); see the system's log\n",
                WIFSIGNALED(status) ? "signal" : "exit code",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return size > 0 && message[0] ? message[0] : EXIT_MOUNT;
}

static int daemonise(struct mount_options *options)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        fprintf(stderr, "mount.plsm: pipe: %s\n", strerror(errno));
        return EXIT_SYSTEM;
    }
    pid_t child = fork();
    if (child < 0) {
        fprintf(stderr, "mount.plsm: fork: %s\n", strerror(errno));
        return EXIT_SYSTEM;
    }
    if (child == 0) {
        close(ends[0]);
        return run(options, ends[1]);
    }
    close(ends[1]);
    int code = wait_for_report(child, ends[0]);
    close(ends[0]);
    return code;
}

/* mount(8) passes its own -f, "fake": do all but the mount. */
static bool called_by_mount(void)
{
    char path[32], name[16] = "";
    snprintf(path, sizeof path, "/proc/%ld/comm", (long)getppid());
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool read = fgets(name, sizeof name, file) != NULL;
    fclose(file);
    return read && strcmp(name, "mount\n") == 0;
}

int main(int argc, char **argv)
{
    struct mount_options options;
    int code = 0;
    plsm_status status = mount_options_parse(argc, argv, &options);
    if (status != PLSM_OK) {
        fprintf(stderr, "%s%s\nmount.plsm: %s\n", mount_usage, plsm_options_help(), plsm_message());
        code = EXIT_USAGE;
    } else if (options.help) {
        printf("%s%s", mount_usage, plsm_options_help());
    } else if (options.version) {
        printf("mount.plsm %s\n", PLSM_RELEASE);
    } else if (options.foreground && !options.debug && called_by_mount()) {
        code = 0;
    } else if (options.remount) {
        status = mountpoint_remount(options.directory, options.read_only, (const char *)options.kernel_options.data);
        code = status == PLSM_OK ? 0 : EXIT_MOUNT;
        report(-1, code, plsm_message());
    } else {
        code = options.foreground ? run(&options, -1) : daemonise(&options);
    }
    mount_options_free(&options);
    return code;
}
