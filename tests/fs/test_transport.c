/* Both transports under a file system without anything behind it, in a process of its own: what its files hold follows
 * from the offset, and what is written to them must be that. Interruptions, kills and unmounts must let callers go,
 * also of requests that are answered later.
 * Where nothing can be mounted, or the kernel has no FUSE over io_uring, that is said and left out. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fuse_lowlevel.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/env.h"
#include "base/error.h"
#include "base/sync.h"
#include "fs/transport.h"
#include "tests/fs/readers.h"
#include "base/banned.h"

enum {
    PATTERN = 2,
    WAITING,
    SLOW,
    LATER,
    LINKS,
    PATTERN_BYTES = 4 << 20,
    REQUEST_BYTES = 1 << 20,
    SLOW_MS = 500,
    CROWD = 12
};

static uint8_t pattern[PATTERN_BYTES];

static bool is_pattern(const uint8_t *data, size_t size, uint64_t offset)
{
    return offset <= sizeof pattern && size <= sizeof pattern - offset && memcmp(data, pattern + offset, size) == 0;
}

/* --- the file system ---------------------------------------------------------------------------------------------- */

/* pattern: reads and writes bypass the kernel's cache. waiting: a read waits until its caller is interrupted. slow: a
 * read takes its time. later: a read is answered when somebody asks for the attribute user.answered, or the server
 * ends. Other names are symbolic links to themselves. */
static _Atomic size_t largest_read, largest_write;
static mutex wait_lock;
static condition wait_change;
static bool interrupted; /* wait_lock */

static bool lacks_threads; /* the server's: none can be added */

static struct stat stat_of(fuse_ino_t ino)
{
    mode_t mode = ino == FUSE_ROOT_ID ? S_IFDIR | 0755 : ino >= LINKS ? S_IFLNK | 0777 : S_IFREG | 0644;
    return (struct stat){.st_ino = ino, .st_mode = mode, .st_nlink = 1, .st_size = PATTERN_BYTES};
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    static const char *const names[] = {
        [PATTERN] = "pattern", [WAITING] = "waiting", [SLOW] = "slow", [LATER] = "later"};
    struct fuse_entry_param entry = {.ino = LINKS};
    for (fuse_ino_t ino = PATTERN; ino < LINKS; ino++)
        if (strcmp(name, names[ino]) == 0)
            entry.ino = ino;
    if (entry.ino == LINKS)
        entry.ino += strlen(name);
    entry.attr = stat_of(entry.ino);
    if (strncmp(name, "absent", 6) == 0)
        fuse_reply_err(req, ENOENT);
    else
        fuse_reply_entry(req, &entry);
}

static void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st = stat_of(ino);
    fuse_reply_attr(req, &st, 0);
}

static void do_readlink(fuse_req_t req, fuse_ino_t ino)
{
    char text[4096];
    memset(text, 'x', sizeof text);
    text[ino - LINKS < sizeof text - 1 ? ino - LINKS : sizeof text - 1] = 0;
    fuse_reply_readlink(req, text);
}

static void do_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry = {.ino = LINKS + strlen(target)};
    entry.attr = stat_of(entry.ino);
    if (strcmp(target, name) == 0)
        fuse_reply_entry(req, &entry);
    else
        fuse_reply_err(req, EINVAL);
}

static void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    fi->direct_io = 1;
    fuse_reply_open(req, fi);
}

static void on_interrupt(fuse_req_t req, void *data)
{
    mutex_lock(&wait_lock);
    interrupted = true;
    condition_broadcast(&wait_change);
    mutex_unlock(&wait_lock);
}

/* Also ends by itself after 20 s: a test that fails does not hang. */
static void wait_for_interrupt(fuse_req_t req)
{
    uint64_t end_ns = env_now_ns(env_posix()) + 20000000000;
    mutex_lock(&wait_lock);
    interrupted = false;
    mutex_unlock(&wait_lock);
    fuse_req_interrupt_func(req, on_interrupt, NULL);
    ++*begun;
    mutex_lock(&wait_lock);
    while (!interrupted && env_now_ns(env_posix()) < end_ns)
        condition_wait_ns(&wait_change, &wait_lock, 100000000);
    bool was = interrupted;
    mutex_unlock(&wait_lock);
    fuse_req_interrupt_func(req, NULL, NULL);
    fuse_reply_err(req, was ? EINTR : ETIMEDOUT);
}

/* A read that waits, where it may. */
struct late {
    struct late *next;
    fuse_req_t req;
    struct transport_ticket ticket;
};
static mutex late_lock;
static struct late *late; /* late_lock */

static void answer_late(struct late *self, int error)
{
    transport_resume(&self->ticket);
    fuse_reply_err(self->req, error);
    mem_free(self);
}

static struct late *take_late(void)
{
    mutex_lock(&late_lock);
    struct late *all = late;
    late = NULL;
    mutex_unlock(&late_lock);
    return all;
}

static void answer_all_late(struct late *all)
{
    for (struct late *next = NULL; all; all = next) {
        next = all->next;
        fuse_req_interrupt_func(all->req, NULL, NULL);
        answer_late(all, EDOM);
    }
}

static void on_late_interrupt(fuse_req_t req, void *data)
{
    struct late *self = data;
    mutex_lock(&late_lock);
    struct late **at = &late;
    while (*at && *at != self)
        at = &(*at)->next;
    bool found = *at;
    if (found)
        *at = self->next;
    mutex_unlock(&late_lock);
    if (found)
        answer_late(self, EINTR);
}

static void read_later(fuse_req_t req)
{
    struct late *self = mem_zalloc(sizeof *self);
    if (lacks_threads)
        refuse_submissions();
    if (!transport_defer(&self->ticket)) {
        mem_free(self);
        ++*begun;
        fuse_reply_buf(req, "x", 1);
        return;
    }
    self->req = req;
    fuse_req_interrupt_func(req, on_late_interrupt, self);
    mutex_lock(&late_lock);
    self->next = late;
    late = self;
    mutex_unlock(&late_lock);
    ++*begun;
}

static void do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    if (ino == WAITING) {
        wait_for_interrupt(req);
        return;
    }
    if (ino == LATER) {
        read_later(req);
        return;
    }
    if (ino == SLOW) {
        ++*begun;
        env_sleep_ns(env_posix(), SLOW_MS * UINT64_C(1000000));
    }
    if (size > largest_read)
        largest_read = size;
    /* With memory of the transport, and with other memory, and from behind its beginning. */
    uint8_t *given = transport_reply_memory(size), *own = given && size % 3 == 0 ? NULL : mem_alloc(size + 1);
    uint8_t *data = !own ? given : given && size % 3 == 1 && size > 1 ? given + 1 : own;
    size_t got = offset < PATTERN_BYTES ? PATTERN_BYTES - (size_t)offset : 0;
    got = got < size ? got : size;
    got -= given && data == given + 1 && got == size;
    memcpy(data, pattern + offset, got);
    fuse_reply_buf(req, (const char *)data, got);
    mem_free(own);
}

static void do_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    if (size > largest_write)
        largest_write = size;
    if (is_pattern((const uint8_t *)data, size, (uint64_t)offset))
        fuse_reply_write(req, size);
    else
        fuse_reply_err(req, EIO);
}

static void do_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
    bool good = strcmp(name, "user.echo") == 0 && is_pattern((const uint8_t *)value, size, 0);
    fuse_reply_err(req, good ? 0 : EINVAL);
}

static void do_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    char text[32];
    bool answers = strcmp(name, "user.answered") == 0;
    struct late *answered = answers ? take_late() : NULL;
    size_t value = strcmp(name, "user.largest_read") == 0 ? largest_read : answers ? 0 : largest_write;
    for (const struct late *each = answered; each; each = each->next)
        value++;
    snprintf(text, sizeof text, "%zu", value);
    if (size == 0)
        fuse_reply_xattr(req, strlen(text) + 1);
    else
        fuse_reply_buf(req, text, strlen(text) + 1);
    answer_all_late(answered); /* after its own answer */
}

static const struct fuse_lowlevel_ops operations = {.lookup = do_lookup,
                                                    .getattr = do_getattr,
                                                    .readlink = do_readlink,
                                                    .symlink = do_symlink,
                                                    .open = do_open,
                                                    .read = do_read,
                                                    .write = do_write,
                                                    .setxattr = do_setxattr,
                                                    .getxattr = do_getxattr};

/* --- its process -------------------------------------------------------------------------------------------------- */

struct report {
    char message[256]; /* empty: mounted */
    char name[16];     /* of the transport */
    unsigned threads;
};

static void *stop_at_signal(void *arg)
{
    sigset_t set;
    int number = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigwait(&set, &number);
    transport_stop(arg);
    return NULL;
}

static int serve(const char *directory, const struct transport_options *options, int pipe_fd)
{
    char *argv[] = {(char *)"pattern", (char *)"-o", (char *)"fsname=pattern", NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, argv);
    struct transport *transport = NULL;
    struct report report = {.message = "mount"};
    pthread_t thread;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    mutex_init(&late_lock);
    mutex_init(&wait_lock);
    condition_init(&wait_change);
    struct fuse_session *session = fuse_session_new(&args, &operations, sizeof operations, NULL);
    fuse_opt_free_args(&args);
    bool mounted = false;
    if (session && transport_create(session, options, &transport) == PLSM_OK) {
        mounted = fuse_session_mount(session, directory) == 0;
        if (mounted && transport_open(transport) == PLSM_OK && transport_start(transport) == PLSM_OK &&
            pthread_create(&thread, NULL, stop_at_signal, transport) == 0) {
            snprintf(report.name, sizeof report.name, "%s", transport_name(transport));
            report.threads = transport_threads(transport);
            report.message[0] = 0;
        }
    }
    if (report.message[0] && *plsm_message())
        snprintf(report.message, sizeof report.message, "%s", plsm_message());
    ssize_t written = write(pipe_fd, &report, sizeof report);
    if (report.message[0] == 0) {
        transport_wait(transport);
        answer_all_late(take_late());
        kill(getpid(), SIGTERM);
        pthread_join(thread, NULL);
    }
    transport_destroy(transport);
    if (mounted)
        fuse_session_unmount(session);
    if (session)
        fuse_session_destroy(session);
    return written == (ssize_t)sizeof report && report.message[0] == 0 ? 0 : 1;
}

static char directory[64];
static pid_t server;
static struct report served;

/* Mounts; false: it cannot, as served.message says. */
static bool mount_pattern(enum transport_kind kind, unsigned threads)
{
    struct transport_options options = {.kind = kind, .threads = threads};
    int ends[2];
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    server = fork();
    ck_assert_int_ge(server, 0);
    if (server == 0) {
        alarm(90); /* whatever happens, it goes */
        close(ends[0]);
        exit(serve(directory, &options, ends[1]));
    }
    close(ends[1]);
    memset(&served, 0, sizeof served);
    ssize_t got = read(ends[0], &served, sizeof served);
    ck_assert_int_eq(got, (ssize_t)sizeof served);
    close(ends[0]);
    if (served.message[0])
        ck_assert_int_gt(waitpid(server, NULL, 0), 0);
    return served.message[0] == 0;
}

/* Its exit code; -1: it did not end within 10 s; -2: by a signal. */
static int wait_for_server(void)
{
    int status = 0;
    for (int i = 0; i < 1000; i++) {
        if (waitpid(server, &status, WNOHANG) == server)
            return WIFEXITED(status) ? WEXITSTATUS(status) : -2;
        env_sleep_ns(env_posix(), 10000000);
    }
    kill(server, SIGKILL);
    waitpid(server, &status, 0);
    return -1;
}

static const char *path_of(const char *name)
{
    static _Thread_local char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

/* --- what is tested with each transport ----------------------------------------------------------------------- */

/* Requests of all shapes: with and without a header of their own, with and without a payload. */
static void check_shapes(void)
{
    char text[4096], name[256];
    struct stat st;
    ck_assert_int_eq(stat(path_of("pattern"), &st), 0);
    ck_assert_int_eq(st.st_size, PATTERN_BYTES);
    ck_assert_int_eq(stat(path_of("absent"), &st), -1);
    ck_assert_int_eq(errno, ENOENT);
    for (size_t size = 1; size < sizeof name; size += 23) {
        memset(name, 'n', size);
        name[size] = 0;
        ck_assert_int_eq(readlink(path_of(name), text, sizeof text), (ssize_t)size);
    }
    ck_assert_int_eq(symlink("absent-link", path_of("absent-link")), 0);
    ck_assert_int_eq(symlink("absent-other", path_of("absent-link")), -1);
    ck_assert_int_eq(setxattr(path_of("pattern"), "user.echo", pattern, 40000, 0), 0);
    ck_assert_int_eq(setxattr(path_of("pattern"), "user.echo", pattern, 1, 0), 0);
    ck_assert_int_eq(setxattr(path_of("pattern"), "user.echo", pattern + 1, 100, 0), -1);
    ck_assert_int_eq(mkdir(path_of("absent-directory"), 0755), -1);
    ck_assert_int_eq(errno, ENOSYS);
}

/* One pass over the file in requests of `size` bytes at odd places. */
static bool pass_over(size_t size, bool writes)
{
    uint8_t *data = mem_map(size); /* whole pages: otherwise requests are smaller */
    int fd = open(path_of("pattern"), O_RDWR);
    bool good = data && fd >= 0;
    for (uint64_t offset = size % 4099; good && offset + size <= PATTERN_BYTES; offset += size) {
        if (writes) {
            memcpy(data, pattern + offset, size);
            good = pwrite(fd, data, size, (off_t)offset) == (ssize_t)size;
        } else {
            ssize_t got = pread(fd, data, size, (off_t)offset);
            good = got > 0 && got <= (ssize_t)size && is_pattern(data, (size_t)got, offset);
        }
    }
    if (fd >= 0)
        close(fd);
    mem_unmap(data, size);
    return good;
}

static void check_large(void)
{
    static const size_t sizes[] = {REQUEST_BYTES, 3 * REQUEST_BYTES / 2, 100000, 65536};
    char text[32] = "";
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        ck_assert(pass_over(sizes[i], true));
        ck_assert(pass_over(sizes[i], false));
    }
    ck_assert_int_gt(getxattr(path_of("pattern"), "user.largest_read", text, sizeof text), 0);
    ck_assert_int_eq(atoi(text), REQUEST_BYTES);
    ck_assert_int_gt(getxattr(path_of("pattern"), "user.largest_write", text, sizeof text), 0);
    ck_assert_int_eq(atoi(text), REQUEST_BYTES);
}

static void *client(void *arg)
{
    size_t number = (uintptr_t)arg;
    bool good = true;
    for (int i = 0; i < 6 && good; i++) {
        struct stat st;
        char name[16];
        snprintf(name, sizeof name, "%.*s", (int)number + 1, "links-links");
        good = lstat(path_of(name), &st) == 0 && st.st_ino == LINKS + number + 1 &&
               pass_over(200000 + number * 1000, i % 2);
    }
    return (void *)(uintptr_t)good;
}

static void check_parallel(void)
{
    pthread_t threads[8];
    for (size_t i = 0; i < 8; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, client, (void *)(uintptr_t)i), 0);
    for (size_t i = 0; i < 8; i++) {
        void *good = NULL;
        pthread_join(threads[i], &good);
        ck_assert_ptr_nonnull(good);
    }
}

/* From each processor, while a request waits that one of them sent. */
static void check_others_go_on(void)
{
    cpu_set_t allowed, one;
    struct stat st;
    ck_assert_int_eq(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed))
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
        ck_assert_int_eq(stat(path_of("pattern"), &st), 0);
    }
    ck_assert_int_eq(sched_setaffinity(0, sizeof allowed, &allowed), 0);
}

static void check_interrupts(const char *name, bool others)
{
    pid_t pid = start_reader(path_of(name));
    if (others)
        check_others_go_on();
    kill(pid, SIGUSR1);
    ck_assert_int_eq(end_reader(pid), EINTR);
    pid = start_reader(path_of(name));
    kill(pid, SIGKILL);
    ck_assert_int_eq(end_reader(pid), 1000 + SIGKILL);
}

/* `slow` and `waiting`: what is read meanwhile; answer: what the former is answered with. */
static void check_ends(enum transport_kind kind, unsigned threads, const char *slow, const char *waiting, int answer)
{
    /* unmounted */
    ck_assert_int_eq(umount2(directory, 0), 0);
    ck_assert_int_eq(wait_for_server(), 0);
    /* busy: refused; aborted: callers and the server go */
    ck_assert(mount_pattern(kind, threads));
    pid_t pid = start_reader(path_of(slow));
    ck_assert_int_eq(umount2(directory, 0), -1);
    ck_assert_int_eq(errno, EBUSY);
    umount2(directory, MNT_FORCE);
    int error = end_reader(pid);
    ck_assert_msg(error == ENOTCONN || error == ECONNABORTED || error == ECANCELED, "errno %d", error);
    umount2(directory, MNT_DETACH);
    ck_assert_int_eq(wait_for_server(), 0);
    /* told to end while a file is open and a request is under way, which is answered */
    ck_assert(mount_pattern(kind, threads));
    int fd = open(path_of("pattern"), O_RDONLY);
    pid = start_reader(path_of(slow));
    kill(server, SIGTERM);
    ck_assert_int_eq(wait_for_server(), 0);
    ck_assert_int_eq(end_reader(pid), answer);
    uint8_t byte = 0;
    ck_assert_int_eq(pread(fd, &byte, 1, 0), -1);
    close(fd);
    umount2(directory, MNT_DETACH);
    /* killed */
    ck_assert(mount_pattern(kind, threads));
    pid = start_reader(path_of(waiting));
    kill(server, SIGKILL);
    ck_assert_int_eq(wait_for_server(), -2);
    error = end_reader(pid);
    ck_assert_msg(error == ENOTCONN || error == ECONNABORTED || error == ECANCELED, "errno %d", error);
    struct stat st;
    ck_assert_int_eq(lstat(path_of("other"), &st), -1);
    ck_assert_int_eq(errno, ENOTCONN);
    ck_assert_int_eq(umount2(directory, MNT_DETACH), 0);
}

/* Many reads from one processor that are answered later: at least and at most so many of them, the others at once; and
 * all else goes on meanwhile. */
static void check_late(unsigned least, unsigned most)
{
    cpu_set_t allowed, one;
    pid_t pids[CROWD];
    char text[32] = "";
    unsigned late_ones = 0, before = *begun;
    int cpu = 0;
    ck_assert_int_eq(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    while (!CPU_ISSET(cpu, &allowed))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    for (size_t i = 0; i < CROWD; i++)
        pids[i] = fork_reader(path_of("later"));
    ck_assert_int_eq(sched_setaffinity(0, sizeof allowed, &allowed), 0);
    await_reads(before + CROWD);
    check_others_go_on();
    ck_assert_int_gt(getxattr(path_of("pattern"), "user.answered", text, sizeof text), 0);
    unsigned waiting = (unsigned)atoi(text);
    ck_assert_msg(waiting >= least && waiting <= most, "%u wait, not %u to %u", waiting, least, most);
    for (size_t i = 0; i < CROWD; i++) {
        int error = end_reader(pids[i]);
        ck_assert_msg(error == 0 || error == EDOM, "errno %d", error);
        late_ones += error == EDOM;
    }
    ck_assert_uint_eq(late_ones, waiting);
}

/* Whether any may wait: over io_uring two threads of each processor never do. */
static bool may_wait(enum transport_kind kind, unsigned threads)
{
    return kind == TRANSPORT_DEV || threads == 0 || threads > 2 * (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
}

static void check_waiting(enum transport_kind kind, unsigned threads)
{
    if (kind == TRANSPORT_DEV) {
        check_late(CROWD, CROWD);
    } else if (!may_wait(kind, threads)) {
        check_late(0, 0);
    } else {
        check_late(1, CROWD - 1);
        check_late(2, CROWD - 1); /* threads have been added */
    }
    if (may_wait(kind, threads))
        check_interrupts("later", true);
}

static void check_transport(enum transport_kind kind, const char *name)
{
    static const unsigned counts[] = {0, 1, 3};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        if (!mount_pattern(kind, counts[i])) {
            printf("left out, %s: %s\n", name, served.message);
            ck_assert_int_ne(kind, TRANSPORT_DEV);
            return;
        }
        ck_assert_str_eq(served.name, name);
        ck_assert_uint_ge(served.threads, counts[i] ? counts[i] : 1);
        check_shapes();
        check_large();
        check_parallel();
        check_waiting(kind, counts[i]);
        if (kind == TRANSPORT_URING || served.threads > 1) /* somebody must read the interruption */
            check_interrupts("waiting", counts[i] == 0);
        check_ends(kind, counts[i], "slow", "waiting", 0);
        if (may_wait(kind, counts[i])) {
            ck_assert(mount_pattern(kind, counts[i]));
            check_ends(kind, counts[i], "later", "later", EDOM);
        }
    }
}

START_TEST(test_dev)
{
    check_transport(TRANSPORT_DEV, "dev");
}
END_TEST

/* The kernel's switch, under the lock that mounts have while it is turned on for them: another test may be mounting.
 * Y, or N also where there is none. *fd holds the lock. */
static char lock_switch(int *fd)
{
    char state = 'N';
    *fd = open("/sys/module/fuse/parameters/enable_uring", O_RDONLY | O_CLOEXEC);
    if (*fd >= 0)
        ck_assert(flock(*fd, LOCK_SH) == 0 && read(*fd, &state, 1) == 1);
    return state;
}

START_TEST(test_uring)
{
    int fd = -1;
    char before = lock_switch(&fd);
    close(fd);
    check_transport(TRANSPORT_URING, "uring");
    ck_assert_int_eq(lock_switch(&fd), before);
    close(fd);
}
END_TEST

/* Where no threads can be added, those from the beginning go on, and their mount with them. */
START_TEST(test_uring_lacks_threads)
{
    lacks_threads = true;
    bool mounted = mount_pattern(TRANSPORT_URING, 0);
    lacks_threads = false;
    if (!mounted) {
        printf("left out, uring: %s\n", served.message);
        return;
    }
    for (int i = 0; i < 2; i++)
        check_late(1, CROWD - 1);
    check_shapes();
    ck_assert_int_eq(umount2(directory, 0), 0);
    ck_assert_int_eq(wait_for_server(), 0);
}
END_TEST

/* What is offered is taken, and what is not is not insisted on. */
START_TEST(test_auto)
{
    int fd = -1;
    char on = lock_switch(&fd);
    ck_assert(mount_pattern(TRANSPORT_AUTO, 0));
    if (on == 'N')
        ck_assert_str_eq(served.name, "dev");
    check_shapes();
    ck_assert_int_eq(umount2(directory, 0), 0);
    ck_assert_int_eq(wait_for_server(), 0);
    close(fd);
}
END_TEST

static void make_directory(void)
{
    snprintf(directory, sizeof directory, "/tmp/plsm-transport-XXXXXX");
    if (!mkdtemp(directory))
        perror(directory);
}

static void remove_directory(void)
{
    umount2(directory, MNT_DETACH);
    rmdir(directory);
}

int main(void)
{
    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) {
        puts("left out: mounts need root and /dev/fuse");
        return 0;
    }
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (uint8_t)(i * 131 + (i >> 8) * 17 + (i >> 20));
    begun = mmap(NULL, sizeof *begun, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (begun == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    Suite *suite = suite_create("transport");
    TCase *tests = tcase_create("tests");
    tcase_add_unchecked_fixture(tests, make_directory, remove_directory);
    tcase_add_test(tests, test_dev);
    tcase_add_test(tests, test_uring);
    tcase_add_test(tests, test_uring_lacks_threads);
    tcase_add_test(tests, test_auto);
    tcase_set_timeout(tests, 100);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
