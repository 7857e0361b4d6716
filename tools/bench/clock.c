#include "tools/bench/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"

#include "base/banned.h"

static uint64_t read_clock(clockid_t clock)
{
    struct timespec at = {0};
    clock_gettime(clock, &at);
    return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

uint64_t clock_thread_cpu_ns(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t clock_process_cpu_ns(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

/* "RAN QUEUED TIMES": nanoseconds on a processor, and waiting for one; `last` where it cannot be read. */
static uint64_t read_queued(int file, uint64_t last)
{
    char text[96] = "", *rest = text;
    if (file < 0 || pread(file, text, sizeof text - 1, 0) <= 0)
        return last;
    (void)strtoull(text, &rest, 10);
    return strtoull(rest, NULL, 10);
}

void clock_hold_look(struct clock_hold *hold)
{
    struct rusage usage = {0};
    if (hold->file == 0)
        hold->file = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    getrusage(RUSAGE_THREAD, &usage);
    hold->sleeps = (uint64_t)usage.ru_nvcsw;
    hold->queued_ns = read_queued(hold->file, hold->queued_ns);
    hold->cpu_ns = clock_thread_cpu_ns();
}

uint64_t clock_held_ns(struct clock_hold *hold, uint64_t took_ns)
{
    struct clock_hold before = *hold;
    clock_hold_look(hold);
    uint64_t queued_ns = hold->queued_ns - before.queued_ns, cpu_ns = hold->cpu_ns - before.cpu_ns;
    uint64_t held_ns = took_ns > queued_ns ? took_ns - queued_ns : 0;
    return hold->sleeps == before.sleeps && cpu_ns < held_ns ? cpu_ns : held_ns;
}

void clock_hold_end(struct clock_hold *hold)
{
    if (hold->file > 0)
        close(hold->file);
    *hold = (struct clock_hold){0};
}

/* The number of the line "NAME: NUMBER" of a file in /proc; 0: there is none. */
static uint64_t proc_number(const char *path, const char *name)
{
    char line[256];
    unsigned long long number = 0;
    size_t size = strlen(name);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, name, size) == 0 && line[size] == ':') {
            number = strtoull(line + size + 1, NULL, 10);
            break;
        }
    if (file)
        fclose(file);
    return number;
}

uint64_t clock_read_bytes(void)
{
    return proc_number("/proc/self/io", "rchar");
}

uint64_t clock_read_calls(void)
{
    return proc_number("/proc/self/io", "syscr");
}

uint64_t clock_disk_bytes(void)
{
    return proc_number("/proc/self/io", "read_bytes");
}

uint64_t clock_written_bytes(void)
{
    uint64_t calls = proc_number("/proc/self/io", "wchar"), dirty = proc_number("/proc/self/io", "write_bytes");
    return calls > dirty ? calls : dirty;
}

struct clock_memory clock_memory(void)
{
    return (struct clock_memory){.resident_bytes = 1024 * proc_number("/proc/self/status", "VmRSS"),
                                 .anonymous_bytes = 1024 * proc_number("/proc/self/status", "RssAnon")};
}

void clock_wait_until_idle(void)
{
    const uint64_t interval_ns = 20000000, idle_ns = 1000000;
    uint64_t before = clock_process_cpu_ns();
    for (int quiet = 0; quiet < 5;) {
        env_sleep_ns(env_posix(), interval_ns);
        uint64_t now = clock_process_cpu_ns();
        quiet = now - before < idle_ns ? quiet + 1 : 0;
        before = now;
    }
}
