#include "tests/harness/pool.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

#include "base/banned.h"

enum { WORKERS_MAX = 64, FAILURE_SIZE = 1024, FAILURES_SHOWN = 10 };

struct worker {
    pid_t process; /* 0: free */
    int pipe;
    char label[160];
};

struct pool {
    unsigned limit, running, failures;
    bool beyond;
    struct worker workers[WORKERS_MAX];
};

/* --- in the child ------------------------------------------------------------------------------------------------- */

static void run_job(pool_job *job, void *arg, unsigned seconds, int pipe) __attribute__((noreturn));

static void run_job(pool_job *job, void *arg, unsigned seconds, int pipe)
{
    char failure[FAILURE_SIZE] = "";
    /* libcheck's handlers kill the whole process group, us and our parent included. */
    signal(SIGALRM, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    alarm(seconds);
    enum verdict verdict = job(arg, failure, sizeof failure);
#if defined(__SANITIZE_ADDRESS__)
    /* The child leaves by _exit, which would skip this: an error path that leaks is found here. */
    if (verdict != VERDICT_FAILED && __lsan_do_recoverable_leak_check()) {
        snprintf(failure, sizeof failure, "memory leaked (see above)");
        verdict = VERDICT_FAILED;
    }
#endif
    /* Less than a pipe holds, so this never waits for the reader. */
    if (verdict == VERDICT_FAILED && write(pipe, failure, strlen(failure)) < 0)
        _exit(VERDICT_FAILED);
    _exit((int)verdict);
}

/* --- in the parent ------------------------------------------------------------------------------------------------ */

static pid_t start_child(pool_job *job, void *arg, unsigned seconds, int *reading)
{
    int ends[2];
    if (pipe(ends) != 0) {
        perror("pipe");
        abort();
    }
    fflush(NULL);
    pid_t process = fork();
    if (process < 0) {
        perror("fork");
        abort();
    }
    if (process == 0) {
        close(ends[0]);
        run_job(job, arg, seconds, ends[1]);
    }
    close(ends[1]);
    *reading = ends[0];
    return process;
}

/* Takes the result of a child that has ended. */
static enum verdict take_result(int status, int reading, char *failure, size_t size)
{
    ssize_t got = read(reading, failure, size - 1);
    failure[got > 0 ? got : 0] = '\0';
    close(reading);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code == VERDICT_PASSED || code == VERDICT_FAILED || code == VERDICT_BEYOND)
        return (enum verdict)code;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        snprintf(failure, size, "took too long (does it hang?)");
    else if (WIFSIGNALED(status))
        snprintf(failure, size, "crashed: %s", strsignal(WTERMSIG(status)));
    else
        snprintf(failure, size, "ended with exit status %d (a sanitizer's report?)", code);
    return VERDICT_FAILED;
}

bool pool_alone(pool_job *job, void *arg, unsigned seconds, char *failure, size_t size)
{
    int reading, status;
    pid_t process = start_child(job, arg, seconds, &reading);
    if (waitpid(process, &status, 0) != process)
        abort();
    return take_result(status, reading, failure, size) != VERDICT_FAILED;
}

struct pool *pool_create(unsigned workers)
{
    struct pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        abort();
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    pool->limit = workers ? workers : processors > 0 ? (unsigned)processors : 1;
    pool->limit = (unsigned)setting("TEST_JOBS", pool->limit);
    pool->limit = pool->limit > WORKERS_MAX ? WORKERS_MAX : pool->limit ? pool->limit : 1;
    return pool;
}

void pool_destroy(struct pool *pool)
{
    if (pool)
        pool_wait(pool);
    free(pool);
}

static void reap(struct pool *pool)
{
    int status;
    pid_t process = wait(&status);
    if (process < 0) {
        perror("wait");
        abort();
    }
    for (unsigned i = 0; i < pool->limit; i++) {
        struct worker *worker = &pool->workers[i];
        if (worker->process != process)
            continue;
        char failure[FAILURE_SIZE];
        enum verdict verdict = take_result(status, worker->pipe, failure, sizeof failure);
        worker->process = 0;
        pool->running--;
        pool->beyond = pool->beyond || verdict == VERDICT_BEYOND;
        if (verdict == VERDICT_FAILED && pool->failures++ < FAILURES_SHOWN)
            fprintf(stderr, "%s: %s\n", worker->label, failure);
    }
}

void pool_start(struct pool *pool, pool_job *job, void *arg, unsigned seconds, const char *label)
{
    while (pool->running == pool->limit)
        reap(pool);
    struct worker *worker = pool->workers;
    while (worker->process)
        worker++;
    snprintf(worker->label, sizeof worker->label, "%s", label);
    worker->process = start_child(job, arg, seconds, &worker->pipe);
    pool->running++;
}

unsigned pool_wait(struct pool *pool)
{
    while (pool->running > 0)
        reap(pool);
    return pool->failures;
}

bool pool_beyond(struct pool *pool)
{
    bool beyond = pool->beyond;
    pool->beyond = false;
    return beyond;
}

unsigned pool_failures(const struct pool *pool)
{
    return pool->failures;
}

unsigned long setting(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoul(text, NULL, 0) : otherwise;
}
