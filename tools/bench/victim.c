#include "tools/bench/victim.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

#include "base/banned.h"

struct last_words {
    plsm_status status;
    char message[512];
    double figure;
};

__attribute__((noreturn)) static void live(victim_work *work, const void *arg, int out, pid_t parent)
{
    struct last_words words = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    words.status = work(arg, &words.figure);
    snprintf(words.message, sizeof words.message, "%s", plsm_message());
    if (write(out, &words, sizeof words) != (ssize_t)sizeof words)
        _exit(1);
    for (;;)
        pause();
}

plsm_status victim_run(victim_work *work, const void *arg, double *figure)
{
    struct last_words words = {0};
    int ends[2];
    ssize_t got = 0;
    if (pipe(ends) < 0)
        return fail_errno(errno, "a pipe", "open");
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        close(ends[0]);
        live(work, arg, ends[1], parent);
    }
    close(ends[1]);
    if (pid < 0) {
        int error = errno;
        close(ends[0]);
        return fail_errno(error, "a process that is to be killed", "start");
    }
    while ((got = read(ends[0], &words, sizeof words)) < 0 && errno == EINTR)
        continue;
    close(ends[0]);
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    if (got != (ssize_t)sizeof words)
        return fail(PLSM_IO, "the process that was to be killed ended before");
    *figure = words.figure;
    return words.status == PLSM_OK ? PLSM_OK : fail(words.status, "%s", words.message);
}
