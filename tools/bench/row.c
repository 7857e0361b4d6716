/* One process per row: forked before any engine has been opened, so it is a clean start each time, and its resource
 * usage is that of the row alone. The child sends its result through a pipe; the parent removes the files, whatever
 * happened. */
#include "tools/bench/row.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/env.h"
#include "base/error.h"
#include "tools/bench/quantile.h"

#include "base/banned.h"

static char top[PATH_MAX];                       /* of all rows; empty: none */
static volatile sig_atomic_t signalled, running; /* running: the process id of a child; 0: there is none */
static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
enum { SIGNALS = sizeof signals / sizeof *signals };

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info, (void)type, (void)walk;
    return remove(path);
}

void rows_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Ends the child, whatever it is doing, and notes the signal: removing files is for the main line, once the child is
 * gone. */
static void on_signal(int number)
{
    signalled = number;
    if (running > 0)
        kill(running, SIGKILL);
}

static void handle_signals(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler}; /* no SA_RESTART: waiting calls return */
    for (int i = 0; i < SIGNALS; i++)
        sigaction(signals[i], &action, NULL);
}

const char *rows_directory(const char *parent)
{
    if (!parent)
        parent = getenv("TMPDIR");
    return parent && *parent ? parent : "/tmp";
}

plsm_status rows_begin(const char *parent)
{
    parent = rows_directory(parent);
    if (snprintf(top, sizeof top, "%s/plsm-bench-XXXXXX", parent) >= (int)sizeof top) {
        top[0] = '\0';
        return fail(PLSM_INVALID, "%s: the path is too long", parent);
    }
    handle_signals(on_signal);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* what a child has started and left behind is ours then */
    if (!mkdtemp(top)) {
        int error = errno;
        top[0] = '\0';
        return fail_errno(error, parent, "make a directory for the benchmark");
    }
    return PLSM_OK;
}

void rows_end(void)
{
    if (top[0])
        rows_remove(top);
    top[0] = '\0';
    handle_signals(SIG_DFL);
    if (signalled)
        raise(signalled);
}

/* What the child sends back, in front of the result. */
struct report {
    plsm_status status;
    char message[512];
};

/* What is to be done in a child process. */
struct errand {
    rows_work *work;
    void *arg, *result;
    size_t result_size;
};

static void must_write(int out, const void *data, size_t size)
{
    if (write(out, data, size) != (ssize_t)size) /* a pipe takes this much at once */
        _exit(1);
}

/* The child must not outlive us and write on where we remove: the kernel ends it when we end (and when that happened
 * before it could ask for that, it sees so itself). */
static void child(const struct errand *errand, const char *directory, int out, pid_t parent)
{
    struct report report = {0};
    handle_signals(SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    report.status = errand->work(errand->arg, directory, errand->result);
    snprintf(report.message, sizeof report.message, "%s", plsm_message());
    fflush(NULL);
    must_write(out, &report, sizeof report);
    must_write(out, errand->result, errand->result_size);
    _exit(0);
}

/* Memory that nobody has used for a while may be the host's, where this is a virtual machine: whoever touches it first
 * pays for having it back, which can take ten times as long as clearing it. In turns that would always be the engine
 * behind the one that gave most back. So as much as a row needs in the beginning is touched in front of each. */
static void touch_memory(void)
{
    const size_t most = (size_t)512 << 20, page = (size_t)sysconf(_SC_PAGESIZE);
    size_t size = (size_t)sysconf(_SC_AVPHYS_PAGES) / 4 * page;
    size = size < most ? size : most;
    uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return;
    madvise(memory, size, MADV_HUGEPAGE);
    for (size_t at = 0; at < size; at += page)
        memory[at] = 1;
    munmap(memory, size);
}

/* What a child that was killed has started ends with it, but not at once: it shall not write on where we remove. */
static void wait_for_orphans(void)
{
    for (int i = 0; i < 200; i++) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid < 0 && errno != EINTR)
            return; /* there are none */
        if (pid == 0)
            env_sleep_ns(env_posix(), 10000000);
    }
}

/* Waits for the child. */
static int wait_for(pid_t pid)
{
    int status = 0;
    siginfo_t ended;
    running = pid;
    if (signalled) /* between the fork and now */
        kill(pid, SIGKILL);
    while (waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        continue;
    running = 0; /* before its number can become another's */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFSIGNALED(status))
        wait_for_orphans();
    return status;
}

/* A broken pipe ends us as it ended the child: as other tools end. */
static void end_by_pipe(void)
{
    rows_end();
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
}

static plsm_status collect(int in, int exit_status, const struct errand *errand)
{
    struct report report = {0};
    ssize_t got = read(in, &report, sizeof report);
    if (WIFSIGNALED(exit_status))
        return fail(PLSM_IO, "killed by signal %d", WTERMSIG(exit_status));
    if (got != sizeof report || read(in, errand->result, errand->result_size) != (ssize_t)errand->result_size)
        return fail(PLSM_IO, "ended without a result");
    return report.status == PLSM_OK ? PLSM_OK : fail(report.status, "%s", report.message);
}

plsm_status rows_apart(rows_work *work, void *arg, void *result, size_t result_size)
{
    char directory[PATH_MAX];
    int ends[2];
    struct errand errand = {work, arg, result, result_size};
    INVARIANT(result_size + sizeof(struct report) <= PIPE_BUF);
    if (signalled)
        rows_end();
    if (snprintf(directory, sizeof directory, "%s/row", top) >= (int)sizeof directory)
        return fail(PLSM_INVALID, "%s: the path is too long", top);
    if (mkdir(directory, 0700) < 0)
        return fail_errno(errno, directory, "make a directory");
    if (pipe(ends) < 0)
        return fail_errno(errno, "a pipe", "open");
    touch_memory();
    fflush(NULL); /* or the child would have a copy to write */
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        close(ends[0]);
        child(&errand, directory, ends[1], parent);
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return fail_errno(errno, "a process for the benchmark", "start");
    }
    int exit_status = wait_for(pid);
    plsm_status status = collect(ends[0], exit_status, &errand);
    close(ends[0]);
    rows_remove(directory);
    if (signalled)
        rows_end();
    if (WIFSIGNALED(exit_status) && WTERMSIG(exit_status) == SIGPIPE)
        end_by_pipe();
    return status;
}

static plsm_status run_workload(void *arg, const char *directory, void *result)
{
    return workload_run(arg, directory, result);
}

struct series {
    const struct row_options *options;
    const struct workload *const *list;
    uint32_t count;
};

static plsm_status run_series(void *arg, const char *directory, void *result)
{
    const struct series *series = arg;
    return workload_series(series->options, series->list, series->count, directory, result);
}

plsm_status row_run_series(const struct row_options *options, const struct workload *const *list, uint32_t count,
                           struct row_result *results)
{
    char what[128];
    struct series series = {options, list, count};
    plsm_status status = rows_apart(run_series, &series, results, count * sizeof *results);
    if (status == PLSM_OK)
        return PLSM_OK;
    snprintf(what, sizeof what, "%s to %s on %s%s%s", list[0]->name, list[count - 1]->name, options->engine->name,
             options->index ? " " : "", options->index ? options->index : "");
    return fail_context(status, what);
}

plsm_status row_run(const struct row_options *options, struct row_result *result)
{
    char what[128];
    struct row_options copy = *options;
    plsm_status status = rows_apart(run_workload, &copy, result, sizeof *result);
    if (status == PLSM_OK)
        return PLSM_OK;
    snprintf(what, sizeof what, "%s on %s%s%s", options->workload->name, options->engine->name,
             options->index ? " " : "", options->index ? options->index : "");
    return fail_context(status, what);
}

void row_median(const struct row_result *results, uint32_t count, struct row_result *median)
{
    INVARIANT(count > 0 && count <= ROW_REPEAT_MAX);
    for (int figure = 0; figure < ROW_FIGURES; figure++) {
        double values[ROW_REPEAT_MAX];
        for (uint32_t i = 0; i < count; i++) {
            struct row_result result = results[i];
            values[i] = row_figures(&result)[figure];
        }
        row_figures(median)[figure] = quantile(values, count, 0.5);
    }
}
