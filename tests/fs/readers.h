/* Processes that read a file of a mount, for test_transport.c, and a system that lacks something for its server. */
#ifndef TESTS_FS_READERS_H
#define TESTS_FS_READERS_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "base/env.h"

enum {
    POLL_NS = 5000000,
    POLLS = 4000, /* 20 s: longer than anything takes on a busy machine */
};

/* Shared with the server: reads of waiting, slow and later that it has got so far as they go before they wait. */
static _Atomic unsigned *begun;

/* From now on the calling thread and those it starts cannot submit to a ring without waiting for it, and so cannot
 * register: as where a control group has no memory left. */
static void refuse_submissions(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_enter, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])), /* how many it waits for */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof code / sizeof code[0], .filter = code};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        abort();
}

static void on_signal(int number) {}

/* A process that reads a file once; its exit code is the errno of that. */
static pid_t fork_reader(const char *path)
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct sigaction wake = {.sa_handler = on_signal}; /* and the call is not begun again */
        uint8_t byte = 0;
        sigaction(SIGUSR1, &wake, NULL);
        int fd = open(path, O_RDONLY);
        _exit(fd < 0 ? errno : (errno = 0, read(fd, &byte, 1) == 1) ? 0 : errno);
    }
    return pid;
}

static void await_reads(unsigned count)
{
    for (unsigned i = 0; i < POLLS && *begun < count; i++)
        env_sleep_ns(env_posix(), POLL_NS);
    ck_assert_uint_ge(*begun, count);
}

static pid_t start_reader(const char *path)
{
    unsigned before = *begun;
    pid_t pid = fork_reader(path);
    await_reads(before + 1);
    return pid;
}

static int end_reader(pid_t pid)
{
    int status = 0;
    for (int i = 0; i < 500; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
        env_sleep_ns(env_posix(), 10000000);
    }
    kill(pid, SIGKILL);
    return -1;
}

#endif
