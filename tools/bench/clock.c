#include "tools/bench/clock.h"

#include <stdio.h>
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

uint64_t clock_read_bytes(void)
{
    unsigned long long bytes = 0;
    FILE *file = fopen("/proc/self/io", "r");
    if (!file)
        return 0;
    if (fscanf(file, "rchar: %llu", &bytes) != 1)
        bytes = 0;
    fclose(file);
    return bytes;
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
