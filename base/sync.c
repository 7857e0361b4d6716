/* Mutexes and condition variables. */
#include "base/sync.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "base/error.h"

#include "base/banned.h"

void mutex_init(mutex *m)
{
    int error = pthread_mutex_init(m, NULL);
    INVARIANT(error == 0); /* glibc: default attributes need no memory */
}

void mutex_destroy(mutex *m)
{
    int error = pthread_mutex_destroy(m);
    INVARIANT(error == 0); /* EBUSY: destroyed while held */
}

void spin_yield(void)
{
    sched_yield();
}

void condition_init(condition *c)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    /* A timeout must not jump when somebody sets the clock. */
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    int error = pthread_cond_init(c, &attributes);
    INVARIANT(error == 0);
    pthread_condattr_destroy(&attributes);
}

void condition_destroy(condition *c)
{
    pthread_cond_destroy(c);
}

int condition_wait_ns(condition *c, mutex *m, uint64_t timeout_ns)
{
    enum { SECOND = 1000000000 };
    /* Beyond a century is for ever: keeps time_t from overflowing when a caller passes UINT64_MAX. */
    const uint64_t timeout_ns_max = UINT64_C(100) * 366 * 86400 * SECOND;
    if (timeout_ns > timeout_ns_max)
        timeout_ns = timeout_ns_max;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t nsec = (uint64_t)until.tv_nsec + timeout_ns % SECOND;
    until.tv_sec += (time_t)(timeout_ns / SECOND + nsec / SECOND);
    until.tv_nsec = (long)(nsec % SECOND);
    return pthread_cond_timedwait(c, m, &until) != ETIMEDOUT;
}
