#include "tools/bench/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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
